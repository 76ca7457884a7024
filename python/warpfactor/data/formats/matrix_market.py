"""Matrix Market: matrices of users x items, as lists of entries ("coordinate") or dense ("array").

Ids are the file's own numbers of rows and columns, which begin at 1.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from ...checks import option
from .reading import Reading, Request, reading_of_columns, refuse_columns
from .rewrite import blocks
from .source import Source

__all__ = ["matches", "read"]

_BANNER = b"%%matrixmarket"
_INTEGER = rb"[+-]?[0-9]+"
_REAL = rb"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf(?:inity)?))"
_NUMBERS = {"integer": _INTEGER, "unsigned-integer": _INTEGER, "real": _REAL, "double": _REAL}
# How many times larger than a packed file its text can be: more than any matrix of ratings is.
_MOST_PACKED = 10_000


def matches(source: Source) -> bool:
    """Whether a file begins as a Matrix Market file must."""
    return source.head[: len(_BANNER)].lower() == _BANNER


def read(source: Source, request: Request) -> Reading:
    """Read a Matrix Market file."""
    from scipy.io import mminfo, mmread

    refuse_columns(request, "rows of a Matrix Market file are users, columns are items")
    try:
        given = source.seekable()
        n_rows, n_columns, n_entries, layout, field, symmetry = mminfo(given)
        _check_header(source, request, n_entries, field)
        _check_lines(source, layout, field)
        matrix = mmread(source.seekable())
    except OverflowError as error:
        raise ValueError(
            f"the Matrix Market file holds a number that is too large: {error}"
        ) from error
    columns = _entries(matrix)
    asked = {role: column for role, column in columns.items() if role in request.wanted}
    shape = f"{n_rows:,} x {n_columns:,}, {layout}, {field}, {symmetry}"
    return reading_of_columns("matrix-market", asked, request, layout={"matrix": shape})


def _entries(matrix: Any) -> dict[str, tuple[str, Any]]:
    if isinstance(matrix, np.ndarray):
        # A dense matrix cannot leave anything out but by NaN.
        rows, columns = np.nonzero(~np.isnan(matrix))
        values = matrix[rows, columns]
    else:
        rows, columns, values = matrix.row, matrix.col, matrix.data
    return {
        "user": ("rows", rows.astype(np.int64) + 1),
        "item": ("columns", columns.astype(np.int64) + 1),
        "rating": ("entries", values),
    }


def _check_header(source: Source, request: Request, n_entries: int, field: str) -> None:
    if field == "pattern" and request.needs_ratings:
        raise ValueError(
            "the matrix is a pattern, which says where entries are but not what: there are no "
            "ratings to read. Write it with numbers (field='real' of scipy.io.mmwrite)"
        )
    if field not in (*_NUMBERS, "pattern"):
        raise ValueError(
            f"the matrix holds {field} numbers; ratings must be real: write its real part"
        )
    size = source.path.stat().st_size * (_MOST_PACKED if source.packing else 1)
    if n_entries > size:
        raise ValueError(
            f"the header promises {n_entries:,} entries, more than the file can hold: it is cut off or "
            "damaged"
        )


def _check_lines(source: Source, layout: str, field: str) -> None:
    """Raise ValueError for the first line that is no entry.

    SciPy reads numbers up to where they end: 4,5 and 4x as 4, and 4.5 too in a file of integers.
    """
    numbers = [] if field == "pattern" else [_NUMBERS[field]]
    parts = [rb"[0-9]+", rb"[0-9]+", *numbers] if layout == "coordinate" else numbers
    entry = rb"[ \t]*" + rb"[ \t]+".join(parts) + rb"[ \t]*"
    other = re.compile(rb"(?m)^(?!(?:" + entry + rb"|[ \t]*)\r?$).*")
    line = _lines_of_header(source.head)
    for block in blocks(source, skip=line):
        found = other.search(block)
        if found:
            line += block.count(b"\n", 0, found.start()) + 1
            text = found[0].decode("utf-8", "replace").rstrip("\r")
            fix = ""
            if field.endswith("integer") and re.fullmatch(rb"[^,]*\.[0-9]+\s*", found[0]):
                fix = ": write real in place of integer in its first line if that is a number"
            elif b"," in found[0]:
                fix = f": write numbers with a point, or read it as text with {option('format', 'text')}"
            raise ValueError(f"line {line} is no entry of {layout} {field}: {text!r:.80}{fix}")
        line += block.count(b"\n")


def _lines_of_header(head: bytes) -> int:
    """How many lines there are up to that of the matrix's size."""
    for at, text in enumerate(head.split(b"\n"), 1):
        if text.strip() and not text.lstrip().startswith(b"%"):
            return at
    raise ValueError("the Matrix Market file has no line with the matrix's size")
