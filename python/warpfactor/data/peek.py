"""What would be read of a file, and what looks odd in it."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ..checks import check_choice
from .files import named, read
from .folders import Paths, shown_path
from .formats.dialect import TextOptions
from .formats.reading import Reading, Request, checked_request
from .formats.source import Source
from .formats.table import FORMATS, find_format
from .oddities import facts_of, oddities
from .roles import ROLES
from .times import as_date, unit_of_time

__all__ = ["Peek", "ReadingOptions", "peek", "peek_of", "reading_of"]

_N_ROWS = 5
# A terminal's usual width, and what is left of it beside the names of the lines.
_WIDTH = 80
_INDENT = 11
_LONGEST_FIELD = 20


class ReadingOptions(TypedDict, total=False):
    """The keyword arguments of `read_ratings`."""

    user: str | int | None
    item: str | int | None
    rating: str | int | None
    timestamp: str | int | None
    format: str | None
    sep: str | None
    header: bool | None
    quote: str | None
    escape: str | None
    decimal: str | None
    thousands: str | None
    comment: str | None
    encoding: str | None
    ids: Any
    strip: bool
    on_error: str
    member: str | None


@dataclass(frozen=True)
class Peek:
    """What `read_ratings` reads of a file. ``print(peek)`` shows it in 80 columns.

    Attributes
    ----------
    path : str
        The file, or what was given.
    format : str
        The format's name; "" if it was not found.
    layout : dict of str to str
        How the file is laid out, such as its separator, in words.
    columns : dict of str to str
        The columns' names (or positions) and the role of each; "" for one that is not read.
    rows : tuple of tuples of str
        The first ratings: user, item, rating, and the timestamp if there are timestamps.
    lines : tuple of str
        The first lines of a file that cannot be read.
    n_ratings, n_users, n_items : int
        How many there are.
    rating_range : (float, float) or None
        The lowest and the highest rating.
    n_levels : int
        How many distinct ratings there are.
    n_repeats, n_conflicts : int
        How many ratings are of a user and an item that occur before, and how many of those differ
        from the one before.
    n_skipped : int
        How many rows were left out.
    time_range : (str, str) or None
        The earliest and the latest timestamp, as dates if they are.
    odd : tuple of str
        What looks odd, each with what to do. Of a file that cannot be read the error comes first.
    error : str
        Why the file cannot be read; "" if it can.
    """

    path: str
    format: str = ""
    layout: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()
    n_ratings: int = 0
    n_users: int = 0
    n_items: int = 0
    rating_range: tuple[float, float] | None = None
    n_levels: int = 0
    n_repeats: int = 0
    n_conflicts: int = 0
    n_skipped: int = 0
    time_range: tuple[str, str] | None = None
    odd: tuple[str, ...] = ()
    error: str = ""

    def summary(self) -> tuple[str, str]:
        """Say in one line how the file is laid out, and in another what it holds."""
        roles = ", ".join(
            f"{name} -> {role}" if name != role else name
            for name, role in self.columns.items()
            if role
        )
        shape = (
            f"{_counted(self.n_ratings, 'rating')} by {_counted(self.n_users, 'user')} of "
            f"{_counted(self.n_items, 'item')}"
        )
        return (
            f"{self._format_and_layout()}{': ' if roles else ''}{roles}",
            f"{shape}, {self._range()}",
        )

    def __str__(self) -> str:
        paragraphs = [("file", self.path), ("format", self._format_and_layout() or "not known")]
        if self.columns:
            paragraphs.append(("columns", self._columns()))
        lines = [_paragraph(name, text) for name, text in paragraphs]
        if self.error:
            lines += [
                _paragraph("lines" if not at else "", text) for at, text in enumerate(self.lines)
            ]
        else:
            lines += self._table()
            lines += [_paragraph(name, text) for name, text in self._counts()]
        for at, text in enumerate(self.odd):
            lines.append(_paragraph("" if at else "odd", text, bullet="- "))
        if not self.odd:
            lines.append(_paragraph("odd", "nothing"))
        return "\n".join(lines)

    def _format_and_layout(self) -> str:
        # A mark alone, such as a comma, needs quotes to be seen.
        told = ", ".join(
            f"{name} {text if text.isalnum() or len(text) > 2 else repr(text)}"
            for name, text in self.layout.items()
        )
        return f"{self.format} ({told})" if told else self.format

    def _columns(self) -> str:
        return ", ".join(f"{name} ({role or 'not read'})" for name, role in self.columns.items())

    def _table(self) -> list[str]:
        names = ROLES[: len(self.rows[0])]
        rows = [names, *([_cut(field) for field in row] for row in self.rows)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(names))]
        padded = [
            "  ".join(field.ljust(width) for field, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines = [f"{'rows' if not at else '':{_INDENT}}{line}" for at, line in enumerate(padded)]
        return [line[:_WIDTH] for line in lines]

    def _range(self) -> str:
        if self.rating_range is None:
            return "without ratings"
        low, high = self.rating_range
        span = f"all {low:.7g}" if low == high else f"from {low:.7g} to {high:.7g}"
        return span if self.n_levels == 1 else f"{span} ({self.n_levels:,} distinct)"

    def _counts(self) -> list[tuple[str, str]]:
        repeats = "none"
        if self.n_repeats:
            repeats = f"{_counted(self.n_repeats, 'rating')} of a pair that occurs before"
            repeats += f", {self.n_conflicts:,} with another value" if self.n_conflicts else ""
        counts = [
            ("ratings", f"{self.n_ratings:,}, {self._range()}"),
            ("users", f"{self.n_users:,}"),
            ("items", f"{self.n_items:,}"),
            ("repeats", repeats),
            ("left out", _counted(self.n_skipped, "row") if self.n_skipped else "none"),
        ]
        if self.time_range is not None:
            counts.append(("times", " to ".join(self.time_range)))
        return counts


def peek(path: Paths, **options: Unpack[ReadingOptions]) -> Peek:
    """Show what `read_ratings` would read of a file, and what looks odd in it.

    Parameters
    ----------
    path : str or path-like, or a list of them
        As of `read_ratings`.
    **options
        The keyword arguments of `read_ratings`, with the same defaults.

    Returns
    -------
    Peek
        Print it. A file that cannot be read has an `error`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If an option is invalid.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.peek("ratings.csv"))  # doctest: +SKIP
    file       ratings.csv
    format     text (separator ',', quotes none, header yes, encoding utf-8)
    columns    userId (user), movieId (item), rating (rating)
    rows       user  item  rating
               1     31    2.5
               1     1029  3
    ratings    100,004, from 0.5 to 5 (10 distinct)
    users      671
    items      9,066
    repeats    none
    left out   none
    odd        nothing
    """
    request, format, member = _asked(options)
    try:
        reading = read(path, request, format, member)
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:
        return _unreadable(path, format, request.text.encoding, member, str(error))
    return peek_of(reading, path)


def peek_of(reading: Reading, path: Any) -> Peek:
    """Describe what was read."""
    facts = facts_of(reading)
    roles = {at: role for role, at in reading.found.items()}
    return Peek(
        path=shown_path(path),
        format=reading.format,
        layout=dict(reading.layout),
        columns={str(name): roles.get(at, "") for at, name in enumerate(reading.names)},
        rows=_rows(reading),
        n_ratings=facts.n,
        n_users=len(reading.users.ids),
        n_items=len(reading.items.ids),
        rating_range=(float(facts.levels[0]), float(facts.levels[-1])),
        n_levels=len(facts.levels),
        n_repeats=facts.n_repeats,
        n_conflicts=facts.n_conflicts,
        n_skipped=reading.n_skipped,
        time_range=_time_range(reading),
        odd=tuple(oddities(reading, facts)),
    )


def reading_of(path: Paths, **options: Unpack[ReadingOptions]) -> Reading:
    """Read as `read_ratings` does, and keep what it found out of the layout."""
    request, format, member = _asked(options)
    return read(path, request, format, member)


def _asked(options: ReadingOptions) -> tuple[Request, str | None, str | None]:
    given: dict[str, Any] = dict(options)
    wanted = {role: given.pop(role, None) for role in ROLES}
    ids, strip = given.pop("ids", "auto"), given.pop("strip", False)
    on_error = given.pop("on_error", "raise")
    format, member = given.pop("format", None), given.pop("member", None)
    if format is not None:
        check_choice("format", format, FORMATS)
    return checked_request(wanted, TextOptions(**given), ids, strip, on_error), format, member


def _unreadable(
    path: Paths, format: str | None, encoding: str | None, member: str | None, error: str
) -> Peek:
    """What can be said of a file that cannot be read."""
    found = format or ""
    lines: tuple[str, ...] = ()
    if not isinstance(path, (str, os.PathLike)) or Path(path).is_dir():
        return Peek(shown_path(path), found, odd=(error,), error=error)
    with suppress(ValueError, OSError), named(path):  # the error says it
        source = Source(path, member)
        lines = _first_lines(source)
        found = find_format(source, format, encoding).name
    return Peek(shown_path(path), found, lines=lines, odd=(error,), error=error)


def _first_lines(source: Source) -> tuple[str, ...]:
    head = source.head[:4096]
    text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    shown = (repr(line) for line in text.lstrip("\ufeff").splitlines()[:_N_ROWS])
    most = _WIDTH - _INDENT
    return tuple(line if len(line) <= most else line[: most - 4] + "...'" for line in shown)


def _rows(reading: Reading) -> tuple[tuple[str, ...], ...]:
    values, times = reading.values, reading.times
    rows = []
    for at in range(min(_N_ROWS, len(reading))):
        row = [str(side.ids[side.codes[at]]) for side in (reading.users, reading.items)]
        row.append("" if values is None else f"{values[at]:.7g}")
        if times is not None:
            row.append(str(times[at]))
        rows.append(tuple(row))
    return tuple(rows)


def _time_range(reading: Reading) -> tuple[str, str] | None:
    if reading.times is None:
        return None
    low, high = reading.times.min(), reading.times.max()
    # One before 1995 is no reason to show the others as numbers.
    unit = unit_of_time(float(high), float(high))
    if unit is None or low < 0:
        return str(low), str(high)
    return as_date(low, unit_of_time(float(low), float(low)) or unit), as_date(high, unit)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _cut(text: str) -> str:
    """A field as it is, or as Python writes it where that differs, cut if it is long."""
    plain = text if text.isprintable() and text == text.strip() else repr(text)
    return plain if len(plain) <= _LONGEST_FIELD else plain[: _LONGEST_FIELD - 3] + "..."


def _paragraph(name: str, text: str, bullet: str = "") -> str:
    printable = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return textwrap.fill(
        printable,
        _WIDTH,
        initial_indent=f"{name:{_INDENT}}{bullet}",
        subsequent_indent=" " * (_INDENT + len(bullet)),
        replace_whitespace=False,
        drop_whitespace=True,
        break_on_hyphens=False,
    )
