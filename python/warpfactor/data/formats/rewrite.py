"""A text as Arrow can read it: UTF-8, one character between fields, no comments, no escapes."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any, Self

from .dialect import Dialect
from .quotes import BLANKS
from .source import Source

__all__ = [
    "ByteStream",
    "arrow_separator",
    "arrow_stream",
    "blocks",
    "is_rewritten",
    "marked",
    "restored",
    "rewritten_parts",
    "slices",
]

_BLOCK = 1 << 22
# Of a line or a row. All of it is kept until its end is found.
_LONGEST = 1 << 26
_TOO_LONG = "a line is longer than 64 MiB: this is no table of ratings"
# What is parsed of a file at a time, so that its memory is small beside the result's.
_SLICE = 1 << 25
_MARK = "\ufeff".encode()
# Stands for a separator of several characters. A file that holds it too is refused.
_UNIT = "\x1f"
# "^" knows only "\n".
_LINE_BEGIN = rb"(?:(?<=[\r\n])|\A)"


def blocks(source: Source, encoding: str = "utf-8", skip: int = 0) -> Iterator[bytes]:
    """Give a text in UTF-8, some MiB of whole lines at a time, without its first lines."""
    rest, is_first = b"", True
    with _utf8(source, encoding) as file:
        for part in iter(lambda: file.read(_BLOCK), b""):
            rest += part.removeprefix(_MARK) if is_first else part
            is_first = False
            # "\r" alone ends lines too, but "\r\n" must not be cut in two.
            cut = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1
            whole, rest = rest[:cut], rest[cut:]
            if skip:
                whole, skip = _without_lines(whole, skip)
            if whole:
                yield whole
            if len(rest) > _LONGEST:
                raise ValueError(_TOO_LONG)
    if skip:
        rest, _ = _without_lines(rest, skip)
    if rest:
        yield rest


def slices(source: Source) -> Iterator[memoryview]:
    """Whole lines of a file, many at a time, in memory that is used again for the next ones."""
    memory = bytearray(min(_SLICE, source.path.stat().st_size + 1))
    begun = 0
    with source.path.open("rb", buffering=0) as file:
        while True:
            with memoryview(memory) as view:
                n_read = file.readinto(view[begun:]) or 0
                end = begun + n_read
                if not n_read:
                    if begun:
                        yield view[:begun]
                    return
                # "\r" alone ends lines too, but "\r\n" must not be cut in two.
                cut = max(memory.rfind(b"\n", 0, end), memory.rfind(b"\r", 0, end - 1)) + 1
                if cut:
                    yield view[:cut]
            begun = end - cut
            if begun == len(memory):
                if begun > _LONGEST:
                    raise ValueError(_TOO_LONG)
                memory = memory + bytearray(len(memory))
            elif cut:
                memory[:begun] = memory[cut:end]


def is_rewritten(source: Source, dialect: Dialect) -> bool:
    """Whether Arrow needs a text of its own in place of the file's."""
    plain = dialect.encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii")
    single = len(dialect.sep) == 1
    return not (plain and single) or bool(source.packing or dialect.comment or dialect.escape)


def arrow_separator(dialect: Dialect) -> str:
    """What separates fields in the text for Arrow."""
    if dialect.sep == BLANKS:
        return "\t"
    return dialect.sep if len(dialect.sep) == 1 else _UNIT


def restored(text: str, dialect: Dialect) -> str:
    """Undo in a field what was done to separators inside quotes."""
    return text.replace(_UNIT, dialect.sep) if arrow_separator(dialect) == _UNIT else text


def arrow_stream(source: Source, dialect: Dialect) -> Any:
    """Open the text for Arrow, without the lines before the data."""
    parts = rewritten_parts(source, dialect)
    first = marked(next(parts, b""))
    return io.BufferedReader(ByteStream(chain([first], parts)), 1 << 20)


def marked(lines: Any) -> Any:
    """Whole lines of a text, so that Arrow leaves a byte order mark that begins them.

    Arrow takes one away from the beginning of all that it parses. Behind the beginning of the file it
    belongs to an id (two files that were joined have one there), whichever line a part begins with.
    """
    return _MARK + lines if lines[: len(_MARK)] == _MARK else lines


class ByteStream(io.RawIOBase):
    """Bytes of an iterator as a file."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._rest:
            part = next(self._parts, None)
            if part is None:
                return 0
            self._rest = memoryview(part)
        n = min(len(target), len(self._rest))
        target[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n


def rewritten_parts(source: Source, dialect: Dialect) -> Iterator[bytes]:
    """The text for Arrow, some MiB of whole lines at a time, without the lines before the data."""
    parts = blocks(source, dialect.encoding, dialect.skip)
    if dialect.comment:
        mark = dialect.comment.encode()
        # The line stays, as an empty one, so that lines are counted as in the file.
        line = re.compile(_LINE_BEGIN + re.escape(mark) + rb"[^\r\n]*")
        parts = (line.sub(b"", part) if mark in part else part for part in parts)
    if dialect.escape:
        parts = _doubled(parts, dialect.quote.encode(), dialect.escape.encode())
    if dialect.sep == BLANKS:
        parts = map(_tabbed, parts)
    elif len(dialect.sep) > 1:
        parts = _separated(parts, dialect.sep.encode())
    return parts


_ENDS = re.compile(_LINE_BEGIN + rb"[ \t]+|[ \t]+(?=[\r\n]|\Z)")
_RUNS = re.compile(rb"[ \t]+")
# What needs a search; most texts have one space between two fields and none around them.
_ODD = (b"\t", b"  ", b" \n", b" \r", b"\n ", b"\r ")


def _tabbed(part: bytes) -> bytes:
    """Put a tab in place of each run of blanks, and none at the ends of lines."""
    if part[:1] == b" " or part[-1:] == b" " or any(odd in part for odd in _ODD):
        return _RUNS.sub(b"\t", _ENDS.sub(b"", part))
    return part.replace(b" ", b"\t")


def _separated(parts: Iterator[bytes], sep: bytes) -> Iterator[bytes]:
    unit = _UNIT.encode()
    for part in parts:
        if unit in part:
            raise ValueError(
                f"the text holds the control character 0x1f, which stands for the separator "
                f"{sep.decode()!r} while it is read: replace it in the file"
            )
        yield part.replace(sep, unit)


def _doubled(parts: Iterator[bytes], quote: bytes, escape: bytes) -> Iterator[bytes]:
    """Write quotes inside quoted fields doubled in place of escaped, as Arrow reads them."""
    mark, sign = re.escape(quote), re.escape(escape)
    # One that is not closed goes to the end: what is in it must not be tried again, quote by quote.
    field = re.compile(
        mark
        + rb"((?:[^"
        + mark
        + sign
        + rb"]|"
        + sign
        + rb".|"
        + sign
        + rb"$)*+)("
        + mark
        + rb")?",
        re.DOTALL,
    )
    pair = re.compile(sign + rb"([" + mark + sign + rb"])")

    def one(match: re.Match[bytes]) -> bytes:
        if not match[2]:
            return match[0]
        inner = pair.sub(lambda found: found[1] * (2 if found[1] == quote else 1), match[1])
        return quote + inner + quote

    rest = b""
    for part in parts:
        rest += part
        cut = _cut_outside(rest, field)
        yield field.sub(one, rest[:cut])
        rest = rest[cut:]
        if len(rest) > _LONGEST:
            raise ValueError(f"a row is longer than 64 MiB: some {quote.decode()} is not closed")
    yield field.sub(one, rest)


def _cut_outside(text: bytes, field: re.Pattern[bytes]) -> int:
    """Where the last line ends that no quoted field goes beyond."""
    cut = end = 0
    for match in field.finditer(text):
        # Zero where there is no line end: then the cut before holds.
        cut = max(cut, _last_line(text, end, match.start()))
        if not match[2]:
            return cut
        end = match.end()
    return max(cut, _last_line(text, end, len(text)))


def _last_line(text: bytes, begin: int, end: int) -> int:
    """Where the last line that ends in a part of a text ends; 0 if none does."""
    return max(text.rfind(b"\n", begin, end), text.rfind(b"\r", begin, end)) + 1


def _utf8(source: Source, encoding: str) -> Any:
    file = source.open()
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "ascii"):
        return file
    return _Recoded(file, encoding)


class _Recoded:
    """A text of another encoding, as UTF-8."""

    def __init__(self, file: Any, encoding: str) -> None:
        self._text = io.TextIOWrapper(file, encoding, newline="")
        self._encoding = encoding

    def read(self, size: int) -> bytes:
        try:
            return self._text.read(size).encode()
        except UnicodeDecodeError as error:
            raise ValueError(f"the text is not {self._encoding}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._text.close()


def _without_lines(text: bytes, skip: int) -> tuple[bytes, int]:
    """Leave out the first lines; how many are still to be left out."""
    at = 0
    for end in re.finditer(rb"\r\n|\r|\n", text):
        if not skip:
            break
        at = end.end()
        skip -= 1
    return (text[at:], 0) if not skip else (b"", skip)
