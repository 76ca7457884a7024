"""What a format's reader is asked for, and what it returns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...checks import check_choice, check_flag, option, warn
from ..columns import as_float32, require_equal_lengths
from ..folders import shown_path
from ..ids import convert_ids, encode_ids, encode_texts, id_kind
from ..roles import Column, find_common, guess_by_position
from ..times import as_timestamps
from .dialect import TextOptions, Wanted, check_options
from .source import NothingThere

__all__ = [
    "STRIPPED",
    "Coded",
    "Reading",
    "Request",
    "Sink",
    "checked_request",
    "in_kind",
    "joined",
    "reading_of_columns",
    "refuse_columns",
]

Kinds = tuple[str, str]
# What `strip` takes off, as `TextIds` does.
STRIPPED = " \t\u00a0"
# The latest times of two files differ by less than this, if both count the same unit.
_UNITS_APART = 100


class Sink(Protocol):
    """What takes rows as they are read."""

    def add(self, columns: Mapping[str, Column]) -> None:
        """Take rows of typed columns of users, items and ratings, none of which is missing."""

    def add_texts(self, users: Column, items: Column, values: NDArray[np.float32]) -> bool:
        """Take rows whose ids are texts; False if some are missing or not of their kind."""

    def begin_file(self) -> None:
        """Note where a file begins."""

    def forget_file(self) -> None:
        """Take back the rows of the file that was begun last."""

    def note_columns(self, names: Sequence[str], found: Mapping[str, int]) -> None:
        """Take note of the columns' names, and of which one has which role."""


@dataclass(frozen=True)
class Request:
    """What to read of a file.

    Attributes
    ----------
    wanted : mapping
        The roles, each with a name, a position or None.
    text : TextOptions
        How a text is laid out.
    kinds : (str, str)
        "auto", "int", "str" or "uuid" for the ids of users and of items.
    strip : bool
        Whether blanks around ids are left out.
    skip_bad : bool
        Whether rows that cannot be read are left out, or are an error.
    sink : Sink or None
        Where rows go as they are read, if they are not to be kept: a reader that can hand them on
        returns none. Others return them.
    """

    wanted: Wanted
    text: TextOptions = field(default_factory=TextOptions)
    kinds: Kinds = ("auto", "auto")
    strip: bool = False
    skip_bad: bool = False
    sink: Sink | None = None

    @property
    def needs_ratings(self) -> bool:
        """Whether rows without a rating cannot be read."""
        return "rating" in self.wanted


class Coded(NamedTuple):
    """A column of ids as codes and their vocabulary."""

    codes: NDArray[np.int32]
    ids: NDArray[Any]


@dataclass
class Reading:
    """What was read of a file.

    Attributes
    ----------
    format : str
        The format's name.
    users, items : Coded
        The ids.
    values : ndarray of float32, or None
        The ratings, if they were wanted.
    times : ndarray or None
        The timestamps, if there are.
    names : sequence of str
        The columns' names in the file.
    found : mapping of str to int
        Which column has which role; empty if the format says it.
    layout : dict of str to str
        How the file is laid out, in words.
    from_text : bool
        Whether ids were texts, whose kind was found out.
    n_skipped, first_skipped : int, str
        How many rows could not be read, and what was wrong with the first.
    times_problem : str
        Why there are no timestamps where they were looked for, with the first row at fault.
    request : Request or None
        What was asked for.
    """

    format: str
    users: Coded
    items: Coded
    values: NDArray[np.float32] | None
    times: NDArray[Any] | None = None
    names: Sequence[str] = ()
    found: Mapping[str, int] = field(default_factory=dict)
    layout: dict[str, str] = field(default_factory=dict)
    from_text: bool = False
    n_skipped: int = 0
    first_skipped: str = ""
    times_problem: str = ""
    request: Request | None = None

    def __len__(self) -> int:
        return len(self.users.codes)

    def without_times(self) -> str:
        """Say that timestamps were left out, why and what to pass; "" if none were."""
        at = self.found.get("timestamp")
        if self.times is not None or (at is None and not self.times_problem):
            return ""
        if at is None:
            return f"the timestamps are left out, as {self.times_problem}"
        name = self.names[at]
        insist = option("timestamp", int(name) if name.isdecimal() else name)
        text = (
            f"column {name!r} was taken for the timestamps and left out, as not all of it is a number "
            "or a date"
        )
        if not self.times_problem:
            return f"{text}: pass {insist} to see which row is at fault"
        advice = f"pass {insist} to make that an error"
        if self.from_text or self.format in ("json", "jsonl"):
            advice += f", and {option('on_error', 'skip')} with it to leave such rows out"
        return f"{text} ({self.times_problem}): {advice}"

    def guess(self) -> str:
        """Say which columns were taken by their position although they have names; "" if none."""
        wanted = {} if self.request is None else self.request.wanted
        return guess_by_position(self.names, self.found, wanted)

    def warn(self, path: Any) -> None:
        """Say what was left out, which columns were guessed, and that all ids hold blanks."""
        if self.n_skipped:
            total = len(self) + self.n_skipped
            warn(
                f"{shown_path(path)}: {self.n_skipped:,} of {total:,} rows left out; {self.first_skipped}",
            )
        # Who asks for strings wants them as they are.
        kinds = ("auto", "auto") if self.request is None else self.request.kinds
        blank = [
            role
            for role, side, kind in zip(
                ("user", "item"), (self.users, self.items), kinds, strict=True
            )
            if kind == "auto"
            and id_kind(side.ids) == "str"
            and all(text != text.strip(STRIPPED) for text in side.ids)
        ]
        if blank:
            warn(
                f"{path}: all {' and '.join(blank)} ids begin or end with a blank, such as "
                f"{getattr(self, f'{blank[0]}s').ids[0]!r:.60}: pass {option('strip', True)} to leave "
                f"blanks out, or {option('ids', 'str')} to keep them",
            )
        guess = self.guess()
        if guess:
            warn(f"{shown_path(path)}: {guess}")
        at = self.found.get("timestamp")
        # A column that was taken by its place is a guess, which may fail.
        if at is None or find_common([self.names[at]], "timestamp") is not None:
            left_out = self.without_times()
            if left_out:
                warn(f"{path}: {left_out}")


def refuse_columns(request: Request, what: str) -> None:
    """Raise ValueError if a column was chosen of a format that has none."""
    for role, wanted in request.wanted.items():
        if wanted is not None:
            raise ValueError(f"{option(role, wanted)} cannot be: {what}")


def reading_of_columns(
    format: str,
    columns: Mapping[str, Column],
    request: Request,
    *,
    names: Sequence[str] = (),
    found: Mapping[str, int] | None = None,
    layout: dict[str, str] | None = None,
) -> Reading:
    """Make a reading of columns by role, whose types say what ids are."""
    users, items = (
        in_kind(Coded(*encode_ids(given, name)), name, kind, strip=request.strip)
        for (name, given), kind in zip(
            (columns["user"], columns["item"]), request.kinds, strict=True
        )
    )
    lengths = {columns["user"][0]: len(users.codes), columns["item"][0]: len(items.codes)}
    values = None
    if request.needs_ratings:
        name, given = columns["rating"]
        values = as_float32(given, name)
        lengths[name] = len(values)
    times, problem = None, ""
    if "timestamp" in columns:
        name, given = columns["timestamp"]
        try:
            times = as_timestamps(given, name)
            lengths[name] = len(times)
        except ValueError as error:
            # A guessed column that holds no times must not spoil the rest.
            if request.wanted.get("timestamp") is not None:
                raise
            problem = str(error).removeprefix(f"{name}: ")
    require_equal_lengths(lengths)
    if not len(users.codes):
        raise NothingThere(
            "the file holds no rating" if request.needs_ratings else "the file holds no pair"
        )
    return Reading(
        format,
        users,
        items,
        values,
        times,
        names=names,
        found=found or {},
        layout=layout or {},
        times_problem=problem,
    )


def in_kind(side: Coded, name: str, kind: str, *, strip: bool = False) -> Coded:
    """Return ids as a kind that they are written as, with blanks around them or without."""
    codes, ids = side
    if strip and id_kind(ids) == "str":
        ranks, ids = encode_texts(
            [pa.array([str(text) for text in ids], pa.string())], name, "str", strip=True
        )
        codes = ranks[codes]
    return Coded(codes, ids) if kind == "auto" else Coded(*convert_ids(codes, ids, kind, name))  # type: ignore[arg-type]


def joined(parts: Sequence[Reading]) -> Reading:
    """Join the readings of several files."""
    first = parts[0]
    if len(parts) == 1:
        return first
    users = _joined_side([part.users for part in parts], "users", parts)
    items = _joined_side([part.items for part in parts], "items", parts)
    values = None if first.values is None else np.concatenate([p.values for p in parts])
    times, problem = None, ""
    n_without = sum(part.times is None for part in parts)
    if not n_without:
        times = np.concatenate([part.times for part in parts])
        _check_units([part.times for part in parts])
    elif n_without < len(parts) or any(part.times_problem for part in parts):
        problem = f"{n_without:,} of {len(parts):,} files have none that can be read"
        said = [part.times_problem for part in parts if part.times_problem]
        problem += f"; {said[0]}" if said else ""
    skipped = [part for part in parts if part.n_skipped]
    return Reading(
        first.format,
        users,
        items,
        values,
        times,
        names=first.names,
        found=first.found,
        layout=first.layout | {"files": f"{len(parts):,}"},
        from_text=first.from_text,
        n_skipped=sum(part.n_skipped for part in parts),
        first_skipped=skipped[0].first_skipped if skipped else "",
        times_problem=problem,
    )


def _check_units(times: Sequence[Any]) -> None:
    """Refuse timestamps of which some count seconds and others milliseconds or nanoseconds."""
    latest = [float(np.abs(part).max()) for part in times if len(part)]
    if latest and max(latest) > _UNITS_APART * max(min(latest), 1e8):
        raise ValueError(
            f"the files count time in different units: the latest is {min(latest):g} in one and "
            f"{max(latest):g} in another: bring them to one"
        )


def _joined_side(sides: Sequence[Coded], name: str, parts: Sequence[Reading]) -> Coded:
    kinds = {id_kind(side.ids) for side in sides}
    if len(kinds) > 1:
        if not all(part.from_text for part in parts):
            raise ValueError(
                f"the files hold {name} of different kinds, {' and '.join(sorted(kinds))}: pass "
                f"{option('ids', 'str')}"
            )
        # One of the texts has an id that is no integer, so all are texts.
        sides = [in_kind(side, name, "str") for side in sides]
    ranks, ids = encode_ids(np.concatenate([side.ids for side in sides]), name)
    codes = np.empty(sum(len(side.codes) for side in sides), np.int32)
    at_code = at_id = 0
    for side in sides:
        ranks_here = ranks[at_id : at_id + len(side.ids)]
        codes[at_code : at_code + len(side.codes)] = ranks_here[side.codes]
        at_code, at_id = at_code + len(side.codes), at_id + len(side.ids)
    return Coded(codes, ids)


def checked_kinds(ids: Any) -> Kinds:
    """Read the argument `ids`: one kind, or one for users and one for items."""
    pair = tuple(ids) if isinstance(ids, (tuple, list)) else (ids, ids)
    if len(pair) != 2:
        raise ValueError(
            f"{option('ids')} is {ids!r:.80}; it must be one kind, or two (of users, of items)"
        )
    for kind in pair:
        check_choice("ids", kind, ("auto", "str", "int", "uuid"))
    return pair[0], pair[1]


# More than any table has.
_MOST_COLUMNS = 10**9


def checked_request(
    wanted: Wanted, text: TextOptions, ids: Any, strip: Any, on_error: Any
) -> Request:
    """Check what the user asked for."""
    for name, value in vars(text).items():
        if name != "header" and not isinstance(value, str | None):
            raise ValueError(f"{option(name)} is {value!r:.80}; it must be a string")
    for role, column in wanted.items():
        if isinstance(column, int) and abs(column) > _MOST_COLUMNS:
            raise ValueError(
                f"{option(role)} is {column!r:.80}; a position must be below {_MOST_COLUMNS:,}"
            )
    if text.sep is not None and re.fullmatch(r"\\t", text.sep):
        # A shell passes "\t" as two characters.
        text = TextOptions(**{**vars(text), "sep": "\t"})
    if text.escape and text.escape == (text.quote or '"'):
        # A quote that stands before a quote doubles it.
        text = TextOptions(**{**vars(text), "escape": ""})
    check_options(text)
    return Request(
        wanted,
        text,
        checked_kinds(ids),
        check_flag("strip", strip),
        check_choice("on_error", on_error, ("raise", "skip")) == "skip",
    )
