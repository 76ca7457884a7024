"""Whether quotes in a text stand around fields or are part of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...checks import option

__all__ = ["BLANKS", "find_quotes"]

# As a separator: any run of spaces and tabs.
BLANKS = r"\s+"
_LINE_ENDS = (10, 13)
_BACKSLASH = "\\"
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


def find_quotes(
    blocks: Callable[[], Iterable[bytes]],
    sep: str,
    given: str | None,
    *,
    all_quoted: bool,
    escape: str = "",
    is_cut: bool = False,
    first_line: int = 1,
) -> tuple[str, str]:
    """Decide whether quotes stand around fields, and how a quote inside them is written.

    Parameters
    ----------
    blocks : callable
        Returns the text in UTF-8, some whole lines at a time.
    sep : str
        What separates fields.
    given : str or None
        The quote, if the user said it.
    all_quoted : bool
        Whether some column has quotes around all of its fields.
    escape : str, default ""
        What stands before a quote inside a field, if the user said it.
    is_cut : bool, default False
        Whether the text may end inside a field.
    first_line : int, default 1
        The number of the first line, for errors.

    Returns
    -------
    quote, escape : str
        "" for none of them.

    Raises
    ------
    ValueError
        If a quote does not close, where quotes stand around fields.
    """
    quote = '"' if given is None else given
    if escape:
        if _scan(blocks(), ord(quote), sep, is_cut=is_cut, escape=escape).is_clean:
            return quote, escape
        _, _, fault = _fields(b"".join(blocks()), quote, sep, escape)
        if fault is None:
            return quote, escape
        raise _unclosed(quote, first_line + fault)
    doubled = _scan(blocks(), ord(quote), sep, is_cut=is_cut)
    if not doubled.n_quotes:
        return "", ""
    # Tab-separated and the like mostly have no quotes; a title in quotes keeps them.
    usual = given is not None or sep in _QUOTING_SEPARATORS
    if doubled.is_clean:
        return (quote, "") if usual or doubled.is_needed or all_quoted else ("", "")
    escaped = _scan(blocks(), ord(quote), sep, is_cut=is_cut, escape=_BACKSLASH)
    if escaped.n_escaped and escaped.is_clean:
        return quote, _BACKSLASH
    # Not by the verdict, which ends at the first fault and so knows only the blocks before it.
    n_closed, is_needed, fault = _fields(b"".join(blocks()), quote, sep)
    if fault is None or (is_cut and n_closed):
        # Quotes inside a field that does not begin with one are data, whatever others are.
        return (quote, "") if n_closed and (usual or is_needed or all_quoted) else ("", "")
    if not usual:
        return "", ""
    raise _unclosed(quote, first_line + fault)


def _unclosed(quote: str, line: int) -> ValueError:
    return ValueError(
        f"line {line} holds a field that begins with {quote} and does not end with it: mend the file, "
        f"or pass {option('quote', '')} if quotes are part of the fields"
    )


def _fields(text: bytes, quote: str, sep: str, escape: str = "") -> tuple[int, bool, int | None]:
    """Look at the fields that begin with a quote, up to the first that is not closed.

    Returns
    -------
    n_closed : int
        How many end with a quote.
    is_needed : bool
        Whether one of these holds a separator, a line end or a quote, so that it needs quotes.
    fault : int or None
        How many lines lie before the one that is not closed; None: all are.
    """
    before, after = _ends_of_separator(sep)
    mark, sign = re.escape(quote.encode()), re.escape(escape.encode())
    inner = rb"[^" + mark + sign + rb"]|" + (sign + rb"(?s:.)" if escape else mark * 2)
    begin, end = (re.escape(bytes(ends)) for ends in (before, after))
    field = re.compile(
        rb"(?:(?<=[" + begin + rb"\r\n])|\A)" + mark + rb"(?:" + inner + rb")*+"
        rb"(" + mark + rb"(?=[" + end + rb"\r\n]|\Z))?"
    )  # fmt: skip
    needing = re.compile(b"[" + end + rb"\r\n]|" + mark)
    n_closed, is_needed = 0, False
    for match in field.finditer(text):
        if match[1] is None:
            return n_closed, is_needed, text.count(b"\n", 0, match.start())
        n_closed += 1
        is_needed = is_needed or needing.search(match[0], 1, len(match[0]) - 1) is not None
    return n_closed, is_needed, None


def _ends_of_separator(sep: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The bytes that end and begin a separator."""
    if sep == BLANKS:
        return (9, 32), (9, 32)
    coded = sep.encode()
    return (coded[-1],), (coded[0],)


def _scan(
    parts: Iterable[bytes], quote: int, sep: str, *, is_cut: bool, escape: str = ""
) -> _Verdict:
    before, after = _ends_of_separator(sep)
    is_open, needed, n_quotes, n_escaped = False, False, 0, 0
    # The parts are whole lines, so that of their neighbours only the byte before matters.
    last = 10
    for part in parts:
        data = np.concatenate(([np.uint8(last)], np.frombuffer(part, np.uint8), [np.uint8(10)]))
        at = np.flatnonzero(data == quote)
        at = at[(at > 0) & (at < len(data) - 1)]
        if escape and len(at):
            n_before = len(at)
            at = at[~_is_escaped(data, at, ord(escape))]
            n_escaped += n_before - len(at)
        n_quotes += len(at)
        opens = (np.arange(len(at)) + is_open) % 2 == 0
        doubled = np.zeros(len(at), bool)
        if not escape:
            doubled[1:] = (np.diff(at) == 1) & ~opens[:-1]
        before_doubled = np.zeros(len(at), bool)
        before_doubled[:-1] = doubled[1:]
        begins = doubled | np.isin(data[at - 1], (*before, *_LINE_ENDS))
        ends = before_doubled | np.isin(data[at + 1], (*after, *_LINE_ENDS))
        if not np.where(opens, begins, ends).all():
            return _Verdict(False, needed, n_quotes, n_escaped)
        if not needed and len(at):
            marks = np.flatnonzero(np.isin(data[1:-1], (*after, *_LINE_ENDS))) + 1
            inside = (np.searchsorted(at, marks) + is_open) % 2 == 1
            needed = bool(inside.any()) or bool(doubled.any())
        is_open = bool((len(at) + is_open) % 2)
        last = int(data[-2])
    return _Verdict(is_cut or not is_open, needed, n_quotes, n_escaped)


def _is_escaped(data: NDArray[Any], at: NDArray[Any], escape: int) -> NDArray[np.bool_]:
    """Whether an odd number of escapes stands before each position."""
    places = np.arange(len(data))
    last_other = np.maximum.accumulate(np.where(data != escape, places, -1))
    run = at - 1 - last_other[at - 1]
    return np.asarray(run % 2 == 1)
