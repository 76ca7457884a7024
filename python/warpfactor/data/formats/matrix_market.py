"""Matrix Market: matrices of users x items, as lists of entries ("coordinate") or dense ("array").

Ids are the file's own numbers of rows and columns, which begin at 1. Not read through
scipy.io.mmread, which takes 4,5 and 4x for 4, and 4.5 too where the header says integer, and whose
reader of arrays writes beyond them if there are more numbers than the header says.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...checks import option
from .dialect import Dialect
from .lending import read_lent
from .quotes import BLANKS
from .reading import Reading, Request, refuse_columns
from .rewrite import arrow_stream, blocks
from .source import NothingThere, Source
from .whole_rows import matrix_reading

__all__ = ["matches", "read"]

_BANNER = b"%%matrixmarket"
_LAYOUTS = ("coordinate", "array")
_FIELDS = ("real", "double", "integer", "unsigned-integer", "pattern")
# What an entry below the diagonal says of the one above.
_MIRRORED = {"symmetric": 1.0, "skew-symmetric": -1.0}
_NUMBER = rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf(?:inity)?))"
_NAN = ["nan", "NaN", "NAN", "-nan", "-NaN"]


class _Header(NamedTuple):
    """What the first lines say; `n_lines` is their number, `n_entries` that of the lines to come."""

    layout: str
    field: str
    symmetry: str
    n_rows: int
    n_columns: int
    n_entries: int
    n_lines: int


class _Entries(NamedTuple):
    """Row and column numbers from 1, and values, None in a pattern."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    values: NDArray[np.float64] | None


def matches(source: Source) -> bool:
    """Whether a file begins as a Matrix Market file must."""
    return source.head[: len(_BANNER)].lower() == _BANNER


def read(source: Source, request: Request) -> Reading:
    """Read a Matrix Market file."""
    refuse_columns(request, "rows of a Matrix Market file are users, columns are items")
    header = _header(source.head)
    if header.field == "pattern" and request.needs_ratings:
        raise ValueError(
            "the matrix is a pattern, which says where entries are but not what: there are no "
            "ratings to read. Write it with numbers (field='real' of scipy.io.mmwrite)"
        )
    if not header.n_entries:
        raise NothingThere("the matrix holds no entry")
    entries = _listed(source, header) if header.layout == "coordinate" else _dense(source, header)
    rows, columns, values = _mirrored(entries, header)
    asked: dict[str, tuple[str, Any]] = {"user": ("rows", rows), "item": ("columns", columns)}
    if request.needs_ratings:
        # Of a dense matrix NaN is no entry.
        name = "entries" if header.layout == "coordinate" else "entries other than NaN"
        asked["rating"] = (name, values)
    what = f"{header.n_rows:,} x {header.n_columns:,}, {', '.join(header[:3])}"
    return matrix_reading("matrix-market", asked, request, source, {"matrix": what})


def _header(head: bytes) -> _Header:
    lines = head.split(b"\n")
    words = lines[0].decode("utf-8", "replace").lower().split()
    if len(words) != 5 or words[1] != "matrix" or words[2] not in _LAYOUTS:
        raise ValueError(
            f"the first line {' '.join(words)!r:.80} must be %%MatrixMarket matrix, coordinate or array, "
            "the kind of numbers and the symmetry"
        )
    layout, field, symmetry = words[2:]
    if field not in _FIELDS:
        raise ValueError(
            f"the matrix holds {field} numbers; ratings must be real: write its real part"
        )
    if symmetry not in ("general", *_MIRRORED):
        raise ValueError(
            f"the symmetry is {symmetry!r:.80}; it must be general, symmetric or skew-symmetric"
        )
    numbers = 3 if layout == "coordinate" else 2
    for at, line in enumerate(lines[1:], 2):
        if not line.strip() or line.lstrip().startswith(b"%"):
            continue
        if not re.fullmatch(
            rb"\s*[0-9]{1,18}" + rb"\s+[0-9]{1,18}" * (numbers - 1) + rb"\s*", line
        ):
            raise ValueError(
                f"line {at} must hold the matrix's size, {numbers} integers: {line!r:.80}"
            )
        n_rows, n_columns, *given = map(int, line.split())
        if symmetry != "general" and n_rows != n_columns:
            raise ValueError(f"the matrix is {symmetry} and {n_rows} x {n_columns}, not square")
        n_entries = given[0] if given else _size(n_rows, n_columns, symmetry)
        return _Header(layout, field, symmetry, n_rows, n_columns, n_entries, at)
    raise ValueError("the Matrix Market file has no line with the matrix's size")


def _size(n_rows: int, n_columns: int, symmetry: str) -> int:
    """How many numbers a dense file holds: a symmetric one those up to the diagonal."""
    if symmetry == "general":
        return n_rows * n_columns
    return n_rows * (n_rows + 1 if symmetry == "symmetric" else n_rows - 1) // 2


def _listed(source: Source, header: _Header) -> _Entries:
    types = {"row": pa.int64(), "column": pa.int64(), "value": pa.float64()}
    if header.field == "pattern":
        del types["value"]
    table = _parsed(source, header, types)
    rows, columns = (table.column(name).to_numpy() for name in ("row", "column"))
    for name, numbers, most in (
        ("row", rows, header.n_rows),
        ("column", columns, header.n_columns),
    ):
        wrong = (numbers < 1) | (numbers > most)
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"entry {at + 1:,} has the {name} {numbers[at]}; they run from 1 to {most}, which is what "
                f"line {header.n_lines} says"
            )
    values = None if header.field == "pattern" else table.column("value").to_numpy()
    return _Entries(rows, columns, values)


def _dense(source: Source, header: _Header) -> _Entries:
    """Every number is a rating but NaN: a dense matrix cannot leave anything out."""
    values = _parsed(source, header, {"value": pa.float64()}).column("value").to_numpy()
    if header.symmetry == "general":
        columns, rows = np.divmod(np.arange(len(values)), header.n_rows)
    else:
        # Column by column, from the diagonal down or from below it.
        columns, rows = np.triu_indices(header.n_rows, 0 if header.symmetry == "symmetric" else 1)
    there = ~np.isnan(values)
    return _Entries(rows[there] + 1, columns[there] + 1, values[there])


def _mirrored(entries: _Entries, header: _Header) -> _Entries:
    if header.symmetry == "general":
        return entries
    rows, columns, values = entries
    other = rows != columns
    mirrored = None
    if values is not None:
        mirrored = np.concatenate([values, _MIRRORED[header.symmetry] * values[other]])
    return _Entries(
        np.concatenate([rows, columns[other]]), np.concatenate([columns, rows[other]]), mirrored
    )


def _parsed(source: Source, header: _Header, types: dict[str, Any]) -> Any:
    """Read the entries as columns, and check that there are as many as were promised."""
    from pyarrow import csv

    dialect = Dialect(
        sep=BLANKS,
        quote="",
        escape="",
        decimal=".",
        thousands="",
        comment="%",
        encoding="utf-8",
        header=False,
        begin=header.n_lines,
        skip=header.n_lines,
        names=tuple(types),
        found={},
    )
    try:
        with arrow_stream(source, dialect) as text:
            table = read_lent(
                csv.read_csv,
                text,
                read_options=csv.ReadOptions(column_names=list(types)),
                parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=csv.ConvertOptions(column_types=types, null_values=_NAN),
            )
    except pa.ArrowInvalid as error:
        problem = _first_other(source, header, len(types))
        if problem is None and "Empty CSV" not in str(error):
            raise
        n_read = 0
    else:
        problem, n_read = None, len(table)
        if any(table.column(name).null_count for name in types if name != "value"):
            problem = _first_other(source, header, len(types))
    if problem is not None:
        raise ValueError(problem)
    if n_read != header.n_entries:
        raise ValueError(
            f"line {header.n_lines} promises {header.n_entries:,} entries, and there are {n_read:,}: the "
            "file is cut off or damaged"
        )
    return table


def _first_other(source: Source, header: _Header, n_numbers: int) -> str | None:
    """What is wrong with the first line that is no entry."""
    parts = [rb"[0-9]{1,18}", rb"[0-9]{1,18}", _NUMBER][-n_numbers:]
    if header.field == "pattern":
        parts = [rb"[0-9]{1,18}"] * 2
    entry = rb"[ \t]*" + rb"[ \t]+".join(parts) + rb"[ \t]*"
    other = re.compile(rb"(?m)^(?!(?:" + entry + rb"|[ \t]*|%.*)\r?$).*")
    line = header.n_lines
    for block in blocks(source, skip=line):
        found = other.search(block)
        if found:
            line += block.count(b"\n", 0, found.start()) + 1
            text = found[0].decode("utf-8", "replace").rstrip("\r")
            fix = ""
            if "," in text:
                fix = f"; write numbers with a point, or read it with {option('format', 'text')}"
            return f"line {line} is no entry of {header.layout} {header.field}: {text!r:.80}{fix}"
        line += block.count(b"\n")
    return None
