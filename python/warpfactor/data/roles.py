"""Which column of a table holds the users, the items, the ratings and the timestamps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..checks import option, options, warn, where_typed

__all__ = [
    "ROLES",
    "Column",
    "Frame",
    "all_common",
    "find_common",
    "guess_by_position",
    "open_frame",
    "refuse_repeated",
    "resolve_columns",
    "with_times",
]

# Matched in this order, ignoring case, all but letters and digits, and "id" at the end: see
# `all_common`.
_COMMON_NAMES = {
    "user": ("user", "u", "usr", "username", "customer", "reviewer", "member", "account"),
    "item": (
        *("item", "i", "movie", "film", "product", "book", "isbn", "asin", "parentasin", "track"),
        *("song", "artist", "business", "game", "joke"),
    ),
    "rating": (
        *("rating", "ratings", "r", "score", "stars", "star", "value", "overall", "bookrating"),
        *("userrating", "reviewscore", "preference"),
    ),
    "timestamp": (
        *("timestamp", "timestamps", "time", "ts", "date", "datetime", "unixreviewtime"),
        *("reviewtime", "ratedat", "createdat", "tstamp"),
    ),
}
ROLES = tuple(_COMMON_NAMES)
# RecBole writes the type of a column behind its name.
_TYPE_OF_NAME = re.compile(r":(token|float)(_seq)?$")
# user, item, rating and timestamp: more columns than these need names.
_MOST_BY_POSITION = 4
_MANY_COLUMNS = 12

# How pandas names a table's index, when it writes it and when it reads that.
_UNNAMED = ("", "Unnamed: 0")

# What error messages call it, and the values.
Column = tuple[str, Any]


class Frame(NamedTuple):
    """A table of any library: its column names, and a function from position to column."""

    names: list[Any]
    column: Callable[[int], Any]
    # Whether the names are themselves values of a column, as pandas' pivot leaves them.
    is_pivot: bool = False

    def resolve(self, wanted: Mapping[str, str | int | None]) -> dict[str, int]:
        """Tell which column is which; see `resolve_columns`."""
        found = resolve_columns(self.names, wanted, is_pivot=self.is_pivot)
        refuse_repeated(self.names, found, wanted)
        guess = guess_by_position(self.names, found, wanted)
        if guess:
            warn(f"the table: {guess}")
        return found

    def columns_of(self, found: Mapping[str, int]) -> dict[str, Column]:
        """Take the columns that `resolve_columns` found, each with a name for error messages."""
        return {r: (f"{r} column {self.names[at]!r}", self.column(at)) for r, at in found.items()}


def open_frame(df: Any) -> Frame | None:
    """Look at a table as columns; None if it is another object.

    A table is one of pandas, polars or Arrow, an object with an Arrow stream (of DuckDB, ibis, ...),
    or a structured NumPy array.
    """
    if hasattr(df, "iloc"):
        if df.ndim != 2:
            return None
        is_pivot = getattr(df.columns, "name", None) is not None
        return Frame(list(df.columns), lambda at: df.iloc[:, at], is_pivot)
    if hasattr(df, "get_columns"):
        return Frame(list(df.columns), df.get_columns().__getitem__)
    if isinstance(df, np.ndarray) and df.ndim == 1 and df.dtype.names:
        names = list(df.dtype.names)
        return Frame(names, lambda at: df[names[at]])
    if isinstance(df, (pa.Array, pa.ChunkedArray)) or hasattr(df, "dtype"):
        return None
    if any(hasattr(df, f"__arrow_c_{kind}__") for kind in ("stream", "array")):
        try:
            table = pa.table(df)
        except MemoryError:  # Arrow's is an ArrowException too
            raise
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(
                f"the {type(df).__name__} gives no table that Arrow can read ({error}): pass its "
                "columns to Ratings.from_arrays"
            ) from error
        return Frame(list(table.column_names), table.column)
    return None


def resolve_columns(
    names: Sequence[Any],
    wanted: Mapping[str, str | int | None],
    *,
    named: bool = True,
    is_pivot: bool = False,
) -> dict[str, int]:
    """Tell which column is which.

    Parameters
    ----------
    names : sequence
        The columns' names.
    wanted : mapping of str to str, int or None
        The roles, of "user", "item", "rating" and "timestamp", each with a name, a position, or
        None for a guess by common names, else by position.
    named : bool, default True
        Whether `names` mean anything.
    is_pivot : bool, default False
        Whether the names are ids of items, so that only common names tell a role.

    Returns
    -------
    dict of str to int
        The position of each role; "timestamp" only where there is one.

    Raises
    ------
    ValueError
        If a column does not exist, or the guess would take the same column twice.
    """
    found = {r: _find_column(names, key, r) for r, key in wanted.items() if key is not None}
    if named:
        for role in wanted:
            at = None if role in found else find_common(names, role)
            if at is not None and at not in found.values():
                found[role] = at
    if len(set(found.values())) < len(found):
        told = options(found)
        raise ValueError(f"two columns are the same, {told}: each needs one of its own")
    missing = [role for role in wanted if role != "timestamp" and role not in found]
    if not missing:
        return found
    left = [at for at in range(len(names)) if at not in found.values()]
    canonical = [ROLES.index(role) for role in missing]
    is_pivot = is_pivot or _is_pivot(names)
    counted = named and len(names) > 0 and str(names[0]).strip() in _UNNAMED
    if not found and len(missing) <= len(names) <= _MOST_BY_POSITION and not (is_pivot or counted):
        # A fourth column of a table that names its columns is more likely something else.
        by_position = [r for r in wanted if r != "timestamp" or len(names) > 3]
        return {role: ROLES.index(role) for role in by_position}
    timed = "timestamp" in wanted and wanted["timestamp"] is None and named
    time_at = find_common(names, "timestamp") if timed else None
    others = [at for at in left if at != time_at]
    in_order = len(missing) == len(others) and (len(missing) == 1 or others == canonical)
    # Names that are numbers are the ids of items: a table of users x items. One that is usual for
    # a role is not for another.
    free = [names[at] for at in others]
    # Where names tell some roles, a column that is left over may be anything, such as an age. The
    # only one that is called an id is the id that is missing: anime_id beside user_id and rating.
    by_name = any(wanted[role] is None for role in found if role != "timestamp")
    if missing in (["user"], ["item"]) and len(free) == 1:
        by_name &= not str(free[0]).lower().endswith("id")
    telling = named and (
        (by_name or is_pivot or _are_numbers(free))
        or any(find_common(free, r) is not None for r in wanted)
    )
    if in_order and not telling:
        return found | dict(zip(missing, others, strict=True))
    is_wide = is_pivot or (named and len(free) > 1 and _are_numbers(free))
    is_wide |= not named and len(free) > _MANY_COLUMNS
    raise ValueError(_unclear(names, found, missing, others, named=named, is_wide=is_wide))


def guess_by_position(
    names: Sequence[Any], found: Mapping[str, int], wanted: Mapping[str, str | int | None]
) -> str:
    """Say that columns with names were taken in their order, as no name tells a role; "" if not so.

    Not of pairs, which are users and items in this order, not where names only count the columns, and
    not where a column of users, items or ratings was chosen.
    """
    places = {role: at for role, at in found.items() if role != "timestamp"}
    if "rating" not in wanted or not places or _are_numbers([names[at] for at in places.values()]):
        return ""
    if any(
        wanted[role] is not None or at in all_common(names, role) for role, at in places.items()
    ):
        return ""
    told = ", ".join(f"{role} {names[at]!r:.60}" for role, at in places.items())
    return (
        "no column is named as users, items or ratings usually are, so the columns were taken in their "
        f"order: {told}. Pass {options({role: names[at] for role, at in places.items()})} if that is "
        "right, else the names of the right columns"
    )


def refuse_repeated(
    names: Sequence[Any], found: Mapping[str, int], wanted: Mapping[str, str | int | None]
) -> None:
    """Raise ValueError if a role was found by a name that more than one column has."""
    for role, at in found.items():
        if wanted[role] is None and list(names).count(names[at]) > 1:
            raise ValueError(
                f"more than one column is named {names[at]!r}: pass the position of the {role}, as in "
                f"{option(role, at)}; the columns are {_listed(names)}"
            )


def find_common(names: Sequence[Any], role: str) -> int | None:
    """Find the first column with a common name of a role."""
    return next(iter(all_common(names, role)), None)


def all_common(names: Sequence[Any], role: str) -> list[int]:
    """Find the columns with common names of a role, the likeliest first.

    Users and items are told by ids rather than by names; of ratings and times an id is another thing.
    """
    with_id, without = _places(tuple(map(str, names)))
    groups = (with_id, without) if role in ("user", "item") else (without, with_id)
    return [places[name] for places in groups for name in _COMMON_NAMES[role] if name in places]


def with_times(
    names: Sequence[Any],
    found: dict[str, int],
    wanted: Mapping[str, str | int | None],
    holds_times: Callable[[int], bool],
) -> dict[str, int]:
    """Take the next column of a common name where that found for the timestamps holds none."""
    if wanted.get("timestamp") is not None or "timestamp" not in found:
        return found
    taken = {at for role, at in found.items() if role != "timestamp"}
    places = [at for at in all_common(names, "timestamp") if at not in taken]
    if len(places) < 2 or found["timestamp"] not in places:
        return found
    at = next(filter(holds_times, places), places[0])
    return found | {"timestamp": at}


# Every role is looked for several times, and a table of users x items may have 100,000 columns.
@lru_cache(maxsize=4)
def _places(names: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """Where each name stands first, as names are compared: those with "id" at the end, and others."""
    with_id: dict[str, int] = {}
    without: dict[str, int] = {}
    for at, name in enumerate(names):
        bare = re.sub("[^a-z0-9]", "", _TYPE_OF_NAME.sub("", name.lower()))
        places = with_id if bare.endswith("id") else without
        places.setdefault(bare.removesuffix("id"), at)
    return with_id, without


def _is_pivot(names: Sequence[Any]) -> bool:
    """Whether the columns are named by numbers that do not count them: by the ids of items."""
    numbers = [n for n in names if isinstance(n, (int, np.integer))]
    return len(numbers) == len(names) > 0 and [int(n) for n in numbers] != list(range(len(names)))


def _are_numbers(names: Sequence[Any]) -> bool:
    return all(re.fullmatch(r"-?\d+(\.0)?", str(name)) for name in names)


def _unclear(
    names: Sequence[Any],
    found: Mapping[str, int],
    missing: Sequence[str],
    others: Sequence[int],
    *,
    named: bool,
    is_wide: bool,
) -> str:
    """Say which role has no column, what is left over, and how to say it."""
    *first, last = missing
    roles = f"{', '.join(first)} and {last}" if first else last
    told = ", ".join(f"{role} {names[at]!r:.60}" for role, at in found.items())
    text = f"cannot tell which column holds the {roles}: the columns are {_listed(names)}"
    text += f"; found are {told}" if told else ""
    free = [names[at] for at in others]
    if is_wide:
        matrix = where_typed(
            ", or pass its matrix of ratings to Ratings.from_dense, with NaN where one is missing",
            "",
        )
        return (
            f"{text}. This looks like a table of users x items: make rows of user, item and rating "
            f"of it (pandas and polars: melt or unpivot){matrix}"
        )
    if not free:
        index = where_typed("; an index of pandas is no column: use reset_index()", "")
        return f"{text}. A column for the {roles} is needed{index}"
    # Of a name that is too long to be shown, or would be taken for a position, the position.
    by_name = [
        named and len(str(names[at])) <= 60 and not str(names[at]).isdecimal() for at in others
    ]
    keys = [names[at] if told else at for at, told in zip(others, by_name, strict=True)]
    # Where there are no names, these are the first row's values.
    keys = [
        key for key, at in zip(keys, others, strict=True) if str(names[at]).strip() not in _UNNAMED
    ] or keys
    likely = [name for name in keys if str(name).lower().endswith("id")]
    likely += [name for name in keys if name not in likely]
    passed = options(dict(zip(missing, likely, strict=False)))
    return f"{text}. Pass the name or the position of each, for example {passed}"


def _find_column(names: Sequence[Any], wanted: Any, role: str) -> int:
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        if 0 <= wanted < len(names):
            return int(wanted)
        raise ValueError(
            f"{option(role, int(wanted))}: there are columns 0 to {len(names) - 1}: {_listed(names)}"
        )
    at = [i for i, name in enumerate(names) if name == wanted]
    if len(at) != 1:
        problem = "is more than one column" if at else "is no column"
        raise ValueError(f"{option(role, wanted)} {problem}: the columns are {_listed(names)}")
    return at[0]


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(f"{name!r:.60}" for name in names[:20])
    return shown + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
