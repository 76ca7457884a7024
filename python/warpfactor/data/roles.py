"""Which column of a table holds the users, the items, the ratings and the timestamps."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

__all__ = ["Column", "Frame", "find_common", "open_frame", "resolve_columns"]

# Matched in this order, ignoring case, all but letters and digits, and "id" at the end.
_COMMON_NAMES = {
    "user": ("user", "u", "usr", "username", "customer", "reviewer"),
    "item": ("item", "i", "movie", "product", "book", "isbn", "asin", "track", "song", "artist"),
    "rating": ("rating", "ratings", "score", "stars", "star", "value", "overall"),
    "timestamp": ("timestamp", "timestamps", "time", "ts", "date", "datetime"),
}


# What error messages call it, and the values.
Column = tuple[str, Any]


class Frame(NamedTuple):
    """A table of any library: its column names, and a function from position to column."""

    names: list[Any]
    column: Callable[[int], Any]

    def columns_of(self, found: Mapping[str, int]) -> dict[str, Column]:
        """Take the columns that `resolve_columns` found, each with a name for error messages."""
        return {r: (f"{r} column {self.names[at]!r}", self.column(at)) for r, at in found.items()}


def open_frame(df: Any) -> Frame | None:
    """Look at a table as columns; None if it is another object.

    A table is one of pandas, polars or Arrow, an object with an Arrow stream (of DuckDB, ibis, ...),
    or a structured NumPy array.
    """
    if hasattr(df, "iloc"):
        return Frame(list(df.columns), lambda at: df.iloc[:, at]) if df.ndim == 2 else None
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
        except (pa.ArrowException, TypeError) as error:
            raise ValueError(
                f"the {type(df).__name__} gives no table that Arrow can read ({error}): pass its "
                "columns to Ratings.from_arrays"
            ) from error
        return Frame(list(table.column_names), table.column)
    return None


def resolve_columns(
    names: Sequence[Any], wanted: Mapping[str, str | int | None], *, named: bool = True
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
    # A fourth column of a table that names its columns is more likely something else.
    by_position = [r for r in wanted if r != "timestamp" or (not found and len(names) > 3)]
    for role in by_position:
        if role in found:
            continue
        at = list(_COMMON_NAMES).index(role)
        if at >= len(names) or at in found.values():
            raise ValueError(
                f"cannot tell which column holds the {role}: the columns are {_listed(names)}; "
                f"rename it to {role!r} or pass {role}= a name or a position"
            )
        found[role] = at
    if len(set(found.values())) < len(found):
        raise ValueError(f"the columns are {found}; each role needs a column of its own")
    return found


def find_common(names: Sequence[Any], role: str) -> int | None:
    """Find the first column with a common name of a role."""
    plain = [re.sub("[^a-z0-9]", "", str(name).lower()).removesuffix("id") for name in names]
    return next((plain.index(common) for common in _COMMON_NAMES[role] if common in plain), None)


def _find_column(names: Sequence[Any], wanted: Any, role: str) -> int:
    if isinstance(wanted, (int, np.integer)) and not isinstance(wanted, bool):
        if 0 <= wanted < len(names):
            return int(wanted)
        raise ValueError(f"{role}={wanted}: there are columns 0 to {len(names) - 1}")
    at = [i for i, name in enumerate(names) if name == wanted]
    if len(at) != 1:
        problem = "is more than one column" if at else "is no column"
        raise ValueError(f"{role}={wanted!r} {problem}: the columns are {_listed(names)}")
    return at[0]


def _listed(names: Sequence[Any]) -> str:
    shown = ", ".join(repr(name) for name in names[:20])
    return shown + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
