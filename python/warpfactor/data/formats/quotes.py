"""Whether quotes in a text stand around fields or are part of them, judged over the whole file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from typing import NamedTuple

import numpy as np

from ...checks import option
from .dialect import BLANKS, Dialect
from .rewrite import blocks
from .source import Source

__all__ = ["settle_quotes"]

_LINE_ENDS = (10, 13)
_BACKSLASH = 92
# Where these separate, quotes around fields are the rule; elsewhere they need evidence.
_QUOTING_SEPARATORS = (",", ";")


class _Verdict(NamedTuple):
    """What the quotes of a text are, if they stand around fields."""

    # Whether each quote stands at an end of a field, or doubled or escaped inside, and all close.
    is_clean: bool
    # Whether some quoted field holds a separator, a line end or a quote, so that it needs quotes.
    is_needed: bool
    n_quotes: int
    n_escaped: int


def settle_quotes(
    source: Source, dialect: Dialect, given: str | None, escape: str | None
) -> Dialect:
    """Decide whether quotes stand around fields, and how a quote inside them is written.

    Parameters
    ----------
    source : Source
        The file.
    dialect : Dialect
        As judged over a sample.
    given, escape : str or None
        What the user said of both.

    Raises
    ------
    ValueError
        If a quote does not close, or both readings are possible.
    """
    quote = given if given is not None else '"'
    if not quote:
        return replace(dialect, quote="", escape="")
    if given is None and not _holds(source, dialect, quote):
        return replace(dialect, quote="", escape="")
    if escape == "\\" or escape is None:
        doubled = _verdict(source, dialect, quote, escaped=False)
        if not doubled.n_quotes:
            return replace(dialect, quote="", escape="")
        if escape is None and doubled.is_clean:
            if given is None and not _is_evident(dialect, doubled):
                return replace(dialect, quote="", escape="")
            return replace(dialect, quote=quote, escape="")
        escaped = _verdict(source, dialect, quote, escaped=True)
        if escaped.n_escaped and escaped.is_clean:
            return replace(dialect, quote=quote, escape="\\")
        n_closed, fault = _fields(source, dialect, quote)
        if fault is None:
            # Quotes inside a field that does not begin with one are data, whatever others are.
            return replace(dialect, quote=quote if n_closed else "", escape="")
        if given is None and dialect.sep not in _QUOTING_SEPARATORS:
            return replace(dialect, quote="", escape="")
        raise ValueError(
            f"line {fault} holds a field that begins with {quote} and does not end with it: mend the "
            f"file, or pass {option('quote', '')} if quotes are part of the fields"
        )
    return replace(dialect, quote=quote, escape=escape)


def _fields(source: Source, dialect: Dialect, quote: str) -> tuple[int, int | None]:
    """How many fields stand in quotes, and on which line the first begins that is not closed."""
    before, after = _ends_of_separator(dialect.sep)
    mark = re.escape(quote.encode())
    begin, end = (re.escape(bytes(ends)) for ends in (before, after))
    field = re.compile(
        rb"(?:(?<=["
        + begin
        + rb"\r\n])|\A)"
        + mark
        + rb"(?:[^"
        + mark
        + rb"]|"
        + mark * 2
        + rb")*+"
        rb"(" + mark + rb"(?=[" + end + rb"\r\n]|\Z))?"
    )
    text = b"".join(blocks(source, dialect.encoding, dialect.begin))
    n_closed = 0
    for match in field.finditer(text):
        if match[1] is None:
            return n_closed, dialect.begin + text.count(b"\n", 0, match.start()) + 1
        n_closed += 1
    return n_closed, None


def _is_evident(dialect: Dialect, verdict: _Verdict) -> bool:
    """Whether quotes that could stand around fields do so."""
    # Tab-separated and the like mostly have no quotes; a title in quotes keeps them.
    return dialect.sep in _QUOTING_SEPARATORS or verdict.is_needed or dialect.all_quoted


def _holds(source: Source, dialect: Dialect, quote: str) -> bool:
    """Whether there are quotes behind the line of names."""
    mark = quote.encode()
    if source.packing or dialect.encoding != "utf-8":
        return any(mark in block for block in blocks(source, dialect.encoding, dialect.skip))
    with source.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        at = 0
        for _ in range(dialect.skip):
            at = data.find(b"\n", at) + 1
        return data.find(mark, at) >= 0


def _verdict(source: Source, dialect: Dialect, quote: str, *, escaped: bool) -> _Verdict:
    before, after = _ends_of_separator(dialect.sep)
    parts = blocks(source, dialect.encoding, dialect.begin)
    return _scan(parts, ord(quote), before, after, escaped=escaped)


def _ends_of_separator(sep: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bytes that end and begin a separator."""
    if sep == BLANKS:
        return (9, 32), (9, 32)
    coded = sep.encode()
    return (coded[-1],), (coded[0],)


def _scan(
    parts: Iterable[bytes],
    quote: int,
    before: tuple[int, ...],
    after: tuple[int, ...],
    *,
    escaped: bool,
) -> _Verdict:
    is_open, needed, n_quotes, n_escaped = False, False, 0, 0
    # A quote's neighbours may lie in the next block: whole lines are looked at, and the byte before.
    last = 10
    for part in parts:
        data = np.concatenate(([np.uint8(last)], np.frombuffer(part, np.uint8), [np.uint8(10)]))
        at = np.flatnonzero(data == quote)
        at = at[(at > 0) & (at < len(data) - 1)]
        if escaped and len(at):
            n_before = len(at)
            at = at[~_is_escaped(data, at)]
            n_escaped += n_before - len(at)
        n_quotes += len(at)
        opens = (np.arange(len(at)) + is_open) % 2 == 0
        joined_left = np.zeros(len(at), bool)
        joined_left[1:] = (np.diff(at) == 1) & ~opens[:-1]
        joined_right = np.zeros(len(at), bool)
        joined_right[:-1] = joined_left[1:]
        if escaped:
            joined_left[:] = joined_right[:] = False
        fine_left = joined_left | np.isin(data[at - 1], (*before, *_LINE_ENDS))
        fine_right = joined_right | np.isin(data[at + 1], (*after, *_LINE_ENDS))
        fine = np.where(opens, fine_left, fine_right)
        if not fine.all():
            return _Verdict(False, needed, n_quotes, n_escaped)
        if not needed and len(at):
            marks = np.flatnonzero(np.isin(data[1:-1], (*after, *_LINE_ENDS))) + 1
            inside = (np.searchsorted(at, marks) + is_open) % 2 == 1
            needed = bool(inside.any()) or bool(joined_left.any())
        is_open = bool((len(at) + is_open) % 2)
        last = int(data[-2])
    return _Verdict(not is_open, needed, n_quotes, n_escaped)


def _is_escaped(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether an odd number of backslashes stands before each position."""
    places = np.arange(len(data))
    last_other = np.maximum.accumulate(np.where(data != _BACKSLASH, places, -1))
    run = at - 1 - last_other[at - 1]
    return np.asarray(run % 2 == 1)
