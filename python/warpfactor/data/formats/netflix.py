"""The Netflix prize's files: a line with a movie's number and ":", then a row for each rating.

The rows are user,rating,date; in probe.txt user alone, in qualifying.txt user,date.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ...checks import option
from ..columns import as_float32
from ..ids import encode_ids
from ..times import as_timestamps
from .lending import read_lent
from .reading import Coded, Reading, Request, in_kind, refuse_columns
from .rewrite import ByteStream, blocks
from .source import NothingThere, Source

__all__ = ["matches", "read", "read_all"]

_BEGIN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*[0-9]{1,18}:[ \t]*\r?\n\s*([0-9]+(?:,[^\r\n:]*)?)(?:[\r\n]|\Z)"
)
_HEADING = re.compile(rb"(?m)^[ \t]*([0-9]{1,18})[ \t]*:[ \t]*(?:\n|\Z)")
_BLANK = re.compile(rb"(?m)^[ \t]*\n")
_USER, _RATING = rb"[0-9]{1,18}", rb"[0-9]+(?:\.[0-9]*)?"
_DATE = rb"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
# By the columns: how a row looks, and Arrow's types.
_ROWS: dict[tuple[str, ...], bytes] = {
    ("user",): _USER,
    ("user", "timestamp"): _USER + rb"," + _DATE,
    ("user", "rating"): _USER + rb"," + _RATING,
    ("user", "rating", "timestamp"): _USER + rb"," + _RATING + rb"," + _DATE,
}
_TYPES = {"user": pa.int64(), "rating": pa.float32(), "timestamp": pa.date32()}


def matches(source: Source) -> bool:
    """Whether a file begins with a movie's line and a row of the kinds that there are."""
    found = _BEGIN.match(source.head)
    return found is not None and _columns(found[1]) is not None


def read(source: Source, request: Request) -> Reading:
    """Read one file."""
    return read_all([source], request)


def read_all(sources: Iterable[Source], request: Request) -> Reading:
    """Read files one after the other, as if they were one."""
    refuse_columns(request, "a Netflix file says by itself what is what")
    again = list(sources)
    found = _BEGIN.match(again[0].head)
    columns = _columns(found[1]) if found else None
    if columns is None:
        raise ValueError(
            "the file is none of the Netflix prize: it must begin with a line such as '1:' and then "
            "hold rows of user,rating,date"
        )
    if request.needs_ratings and "rating" not in columns:
        raise ValueError(
            f"the file holds {' and '.join(columns)} of each pair but no ratings (Netflix's probe and "
            "qualifying sets are so): pass a file with user,rating,date"
        )
    movies = _Movies()
    try:
        table = _parse(_rows(again, movies), columns, request)
        if len(table) == sum(movies.counts):
            return _reading(table, movies, request)
    except pa.ArrowInvalid:
        pass
    # Some row is no row: find it, or leave all such out.
    pattern = rb"(?m)^(?!(?:" + _ROWS[columns] + rb"|[ \t]*[0-9]{1,18}[ \t]*:|)[ \t]*$).*"
    movies = _Movies(re.compile(pattern), request.skip_bad)
    table = _parse(_rows(again, movies), columns, request)
    return _reading(table, movies, request)


def _columns(row: bytes) -> tuple[str, ...] | None:
    bare = row.strip()
    return next((names for names, look in _ROWS.items() if re.fullmatch(look, bare)), None)


@dataclass
class _Movies:
    """What the lines between the rows said.

    Attributes
    ----------
    bad : Pattern or None
        What rows look like that cannot be read; None if nobody looks.
    skip : bool
        Whether those are left out, or are an error.
    ids, counts : list of int
        The movies in the order of the file, and how many rows each has.
    n_skipped, first_skipped : int, str
        How many rows were left out, and what was wrong with the first.
    """

    bad: re.Pattern[bytes] | None = None
    skip: bool = False
    ids: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    n_skipped: int = 0
    first_skipped: str = ""


def _rows(sources: Iterable[Source], movies: _Movies) -> Iterator[bytes]:
    """Give the rows without the movies' lines, which are noted."""
    for source in sources:
        line, is_headed = 0, False
        for block in blocks(source):
            if b"\r" in block:
                block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            n_lines = block.count(b"\n")
            if movies.bad is not None:
                block = _without_bad(block, movies, source, line)
            line += n_lines
            block = _BLANK.sub(b"", block)
            # What stands before the first movie's line, then numbers and rows in turn.
            first, *others = _HEADING.split(block)
            pieces = [first] if first else []
            if first:
                if not is_headed:
                    raise ValueError(
                        f"{source.path.name} has rows before the first line of a movie, such as '1:'"
                    )
                movies.counts[-1] += _n_lines(first)
            for number, rows in zip(others[::2], others[1::2], strict=True):
                is_headed = True
                movies.ids.append(int(number))
                movies.counts.append(_n_lines(rows))
                pieces.append(rows)
            text = b"".join(pieces)
            if text:
                # A file need not end with a line end, before which the next file goes on.
                yield text if text.endswith(b"\n") else text + b"\n"


def _n_lines(rows: bytes) -> int:
    return rows.count(b"\n") + (bool(rows) and not rows.endswith(b"\n"))


def _without_bad(block: bytes, movies: _Movies, source: Source, line: int) -> bytes:
    assert movies.bad is not None
    found = list(movies.bad.finditer(block))
    if not found:
        return block
    at = line + block.count(b"\n", 0, found[0].start()) + 1
    text = found[0][0].decode("utf-8", "replace")
    said = f"line {at} of {source.path.name} is no row of user, rating and date: {text!r:.80}"
    if not movies.skip:
        raise ValueError(
            f"{said}; mend the file, or pass {option('on_error', 'skip')} to leave such rows out"
        )
    movies.n_skipped += len(found)
    movies.first_skipped = movies.first_skipped or f"the first is {said}"
    return movies.bad.sub(b"", block)


def _parse(parts: Iterator[bytes], columns: tuple[str, ...], request: Request) -> Any:
    from pyarrow import csv

    first = next(parts, None)
    if first is None:
        raise NothingThere(
            "the file holds no rating" if request.needs_ratings else "the file holds no pair"
        )
    text = ByteStream(_all_of(first, parts))
    return read_lent(
        csv.read_csv,
        text,
        read_options=csv.ReadOptions(column_names=list(columns)),
        parse_options=csv.ParseOptions(quote_char=False),
        convert_options=csv.ConvertOptions(
            include_columns=[name for name in columns if name == "user" or name in request.wanted],
            column_types={name: _TYPES[name] for name in columns},
            null_values=[],
        ),
    )


def _all_of(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from parts


def _reading(table: Any, movies: _Movies, request: Request) -> Reading:
    names = table.column_names
    # One column after the other, and let go of each: there may be 10**8 rows.
    columns = {name: table.column(name) for name in names}
    del table
    values = as_float32(columns.pop("rating"), "ratings") if "rating" in names else None
    times = as_timestamps(columns.pop("timestamp"), "dates") if "timestamp" in names else None
    codes, ids = encode_ids(columns.pop("user"), "users")
    users = in_kind(Coded(codes, ids), "users", request.kinds[0], strip=request.strip)
    counts = np.array(movies.counts, np.int64)
    rated = counts > 0
    codes, ids = encode_ids(np.array(movies.ids, np.int64)[rated], "movies")
    codes = np.repeat(codes, counts[rated])
    items = in_kind(Coded(codes, ids), "movies", request.kinds[1], strip=request.strip)
    return Reading(
        "netflix",
        users,
        items,
        values,
        times,
        names=names,
        layout={"blocks": f"{len(ids):,} movies"},
        n_skipped=movies.n_skipped,
        first_skipped=movies.first_skipped,
    )
