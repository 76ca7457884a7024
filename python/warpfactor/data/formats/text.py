"""Delimited text: csv, tsv, MovieLens "::", and any other separator, quotes and numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...checks import option
from ..columns import as_timestamps
from ..ids import IdError, arrow_numbers, encode_texts
from .dialect import NULLS, Dialect, judge, parse_number
from .quotes import settle_quotes
from .reading import Coded, Reading, Request
from .rewrite import arrow_separator, arrow_stream, blocks, is_rewritten, restored
from .source import Source

__all__ = ["find_dialect", "read", "read_dialect", "read_tsv"]

_TEXT = pa.string()
_SIDES = ("user", "item")
_BLOCK = 1 << 20


def find_dialect(source: Source, request: Request) -> Dialect:
    """Judge the layout over a sample, and the quotes over the whole file."""
    given = request.text
    dialect = judge(source, request.wanted, given)
    return settle_quotes(source, dialect, given.quote, given.escape)


def read(source: Source, request: Request, format: str = "text") -> Reading:
    """Read delimited text.

    A clean file is parsed once, by Arrow on all threads. Only one that is not is looked at more
    closely, to say which row is at fault, or to leave such rows out.
    """
    return read_dialect(source, request, find_dialect(source, request), format)


def read_tsv(source: Source, request: Request) -> Reading:
    """Read text separated by tabs, unless the user said otherwise."""
    given = request.text if request.text.sep is not None else replace(request.text, sep="\t")
    return read(source, replace(request, text=given))


def read_dialect(
    source: Source, request: Request, dialect: Dialect, format: str = "text"
) -> Reading:
    """Read delimited text of a known layout."""
    try:
        return _read_clean(source, request, dialect, format)
    except _Unclean:
        pass
    except (pa.ArrowInvalid, IdError) as error:
        if _says_encoding(error):
            raise
    return _read_tolerant(source, request, dialect, format)


class _Unclean(Exception):
    """Some rows need a closer look."""


def _says_encoding(error: Exception) -> bool:
    return "utf8" in str(error).lower()


def _read_clean(source: Source, request: Request, dialect: Dialect, format: str) -> Reading:
    if dialect.thousands:
        raise _Unclean
    types: dict[str, Any] = {"user": _TEXT, "item": _TEXT}
    if request.needs_ratings:
        types["rating"] = pa.float32()
    if "timestamp" in dialect.found:
        types["timestamp"] = None
    columns = _parse(source, dialect, types)
    values = None
    if request.needs_ratings:
        column = columns.pop("rating")
        if column.null_count:
            raise _Unclean
        values = arrow_numbers(column)
        if not np.isfinite(values).all():
            raise _Unclean
    times = None
    if "timestamp" in columns:
        column = columns.pop("timestamp")
        if request.wanted["timestamp"] is not None and (column.null_count or column.type == _TEXT):
            raise _Unclean
        if not column.null_count and column.type != _TEXT:
            times = _times(column, dialect, request)
    sides = [_encoded(columns, role, request, dialect) for role in _SIDES]
    return _reading(format, dialect, sides, values, times)


def _reading(
    format: str,
    dialect: Dialect,
    sides: list[Coded],
    values: NDArray[np.float32] | None,
    times: NDArray[Any] | None,
) -> Reading:
    if not len(sides[0].codes):
        raise ValueError("the file holds nothing but a header")
    users, items = sides
    return Reading(
        format,
        users,
        items,
        values,
        times,
        names=dialect.names,
        found=dialect.found,
        layout=dialect.describe(),
        from_text=True,
    )


def _times(column: Any, dialect: Dialect, request: Request) -> NDArray[Any] | None:
    name = f"timestamp column {dialect.names[dialect.found['timestamp']]!r}"
    try:
        return as_timestamps(column, name)
    except ValueError:
        if request.wanted["timestamp"] is not None:
            raise
        return None


def _encoded(columns: dict[str, Any], role: str, request: Request, dialect: Dialect) -> Coded:
    """Encode the ids of a side, and let go of their texts."""
    column = columns.pop(role)
    if dialect.quote and len(dialect.sep) > 1:
        texts = [restored(text, dialect) for text in column.to_pylist()]
        column = pa.chunked_array([pa.array(texts, _TEXT)])
    name = f"{role} column {dialect.names[dialect.found[role]]!r}"
    kind = request.kinds[_SIDES.index(role)]
    return Coded(*encode_texts(column.chunks, name, kind, strip=request.strip))


def _parse(
    source: Source,
    dialect: Dialect,
    types: Mapping[str, Any],
    on_bad_row: Any = None,
    *,
    use_threads: bool = True,
) -> dict[str, Any]:
    """Read the columns of some roles by Arrow, with a given type or (None) one it finds out."""
    from pyarrow import csv as arrow_csv

    names = [str(at) for at in range(len(dialect.names))]
    keys = {role: names[dialect.found[role]] for role in types}
    rewritten = is_rewritten(source, dialect)
    file = arrow_stream(source, dialect) if rewritten else pa.OSFile(str(source.path))
    with file:
        table = arrow_csv.read_csv(
            file,
            read_options=arrow_csv.ReadOptions(
                column_names=names,
                skip_rows=0 if rewritten else dialect.skip,
                use_threads=use_threads,
                block_size=_BLOCK,
            ),
            parse_options=arrow_csv.ParseOptions(
                delimiter=arrow_separator(dialect),
                quote_char=dialect.quote or False,
                newlines_in_values=bool(dialect.quote),
                invalid_row_handler=on_bad_row,
            ),
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(keys.values()),
                column_types={keys[role]: t for role, t in types.items() if t is not None},
                null_values=sorted(NULLS),
                decimal_point=dialect.decimal if dialect.decimal in ".," else ".",
            ),
        )
    return {role: table.column(key) for role, key in keys.items()}


class _Fault(NamedTuple):
    """A row that cannot be read."""

    line: int
    text: str
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}: {self.text!r:.120}"


def _read_tolerant(source: Source, request: Request, dialect: Dialect, format: str) -> Reading:
    """Read all columns as texts, and find the rows that cannot be read."""
    import pyarrow.compute as pc

    _check_encoding(source, dialect)
    n_misshapen = 0

    def on_bad_row(row: Any) -> str:
        nonlocal n_misshapen
        n_misshapen += 1
        return "skip"

    roles = [role for role in dialect.found if role in request.wanted]
    columns = _parse(source, dialect, dict.fromkeys(roles, _TEXT), on_bad_row)
    n_rows = len(columns["user"])
    good = np.ones(n_rows, bool)
    for role in _SIDES:
        texts = columns[role]
        if request.strip:
            texts = pc.utf8_trim_whitespace(texts)
        good &= np.asarray(pc.binary_length(texts).to_numpy()) > 0
    values = None
    if request.needs_ratings:
        numbers = _numbers(columns.pop("rating"), dialect)
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        good &= np.isfinite(values)
    stamps, explicit = None, request.wanted.get("timestamp") is not None
    if "timestamp" in columns:
        stamps = _stamps(columns.pop("timestamp"), dialect)
        if explicit:
            good &= np.isfinite(stamps) if stamps.dtype.kind == "f" else True
    n_bad = n_misshapen + n_rows - np.count_nonzero(good)
    fault = next(_faults(source, request, dialect), None) if n_bad else None
    if n_bad and not request.skip_bad:
        also = f" ({n_bad - 1:,} more such rows)" if n_bad > 1 else ""
        told = f"{fault}{also}" if fault else f"{n_bad:,} row(s) cannot be read"
        raise ValueError(
            f"{told}; mend the file, or pass {option('on_error', 'skip')} to leave such rows out"
        )
    if not good.any():
        raise ValueError(f"no row can be read; {fault}" if fault else "no row can be read")
    kept = slice(None) if good.all() else good
    if stamps is not None:
        stamps = stamps[kept]
        if stamps.dtype.kind == "f" and not np.isfinite(stamps).all():
            stamps = None
    mask = None if good.all() else pa.array(good)
    for role in _SIDES:
        if mask is not None:
            columns[role] = columns[role].filter(mask)
    sides = [_encoded(columns, role, request, dialect) for role in _SIDES]
    reading = _reading(format, dialect, sides, None if values is None else values[kept], stamps)
    reading.n_skipped, reading.first_skipped = int(n_bad), f"the first is {fault}" if fault else ""
    return reading


def _check_encoding(source: Source, dialect: Dialect) -> None:
    """Name the first line that is no text, as Arrow cannot hand out a row that is none."""
    line = dialect.skip + 1
    for part in blocks(source, dialect.encoding, dialect.skip):
        try:
            part.decode()
        except UnicodeDecodeError as error:
            line += part.count(b"\n", 0, error.start)
            raise ValueError(f"line {line} is not {dialect.encoding}: {error}") from error
        line += part.count(b"\n")


def _numbers(column: Any, dialect: Dialect) -> NDArray[np.float64]:
    """Numbers of a column of texts, NaN where there is none."""
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    if dialect.thousands:
        texts = pc.replace_substring(texts, dialect.thousands, "")
    if dialect.decimal != ".":
        texts = pc.replace_substring(texts, ".", " ")
        texts = pc.replace_substring(texts, dialect.decimal, ".")
    texts = pc.replace_substring_regex(texts, r"^\+", "")
    number = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    is_number = pc.match_substring_regex(texts, number)
    texts = pc.if_else(is_number, texts, pa.scalar(None, pa.large_string()))
    numbers = texts.cast(pa.float64()).to_numpy()
    return np.asarray(numbers, np.float64)


def _stamps(column: Any, dialect: Dialect) -> NDArray[Any]:
    """Timestamps of a column of texts: numbers, or dates; NaN where there is none."""
    numbers = _numbers(column, dialect)
    if np.isfinite(numbers).any():
        whole = np.isfinite(numbers).all() and (numbers == np.trunc(numbers)).all()
        return numbers.astype(np.int64) if whole and np.abs(numbers).max() < 2**53 else numbers
    try:
        return np.asarray(as_timestamps(column, "timestamp"))
    except ValueError:
        return numbers


def _faults(source: Source, request: Request, dialect: Dialect) -> Iterator[_Fault]:
    """The rows that cannot be read, in order, each with its line."""
    width = len(dialect.names)
    for line, fields in _rows(source, dialect):
        text = (dialect.sep if len(dialect.sep) < 3 else " ").join(fields)
        if len(fields) != width:
            held = f"has {len(fields)} field(s) in place of {width}"
            yield _Fault(line, text, held)
            continue
        for role in (*_SIDES, "rating", "timestamp"):
            if role not in dialect.found or role not in request.wanted:
                continue
            problem = _problem(role, fields[dialect.found[role]], request, dialect)
            if problem:
                yield _Fault(line, text, problem)
                break


def _problem(role: str, field: str, request: Request, dialect: Dialect) -> str:
    if role in _SIDES:
        bare = field.strip() if request.strip else field
        return "" if bare else f"the {role} is missing"
    if role == "timestamp" and request.wanted["timestamp"] is None:
        return ""
    if field.strip() in NULLS:
        return f"the {role} is missing"
    number = parse_number(field, dialect.decimal, dialect.thousands)
    if role == "timestamp":
        is_time = number is not None or re.match(r"\s*\d{4}-\d\d-\d\d", field)
        return "" if is_time else f"the timestamp {field!r:.80} is neither a number nor a date"
    if number is None:
        return f"the rating {field!r:.80} is not a number"
    with np.errstate(over="ignore"):
        return (
            "" if np.isfinite(np.float32(number)) else f"the rating {field!r:.80} is beyond float32"
        )


def _rows(source: Source, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """All rows of the data with the line on which each begins, by Python."""
    # With newline="" lines end by "\n", "\r\n" and "\r" alike.
    lines = io.TextIOWrapper(arrow_stream(source, dialect), "utf-8", "replace", newline="")
    sep = arrow_separator(dialect)
    offset = dialect.skip
    if not dialect.quote:
        at = offset
        for line in lines:
            at += 1
            bare = line.rstrip("\r\n")
            if bare:
                yield at, [restored(field, dialect) for field in bare.split(sep)]
        return
    reader = csv.reader(lines, delimiter=sep, quotechar=dialect.quote)
    begin = offset + 1
    try:
        for fields in reader:
            if fields:
                yield begin, [restored(field, dialect) for field in fields]
            begin = offset + reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {begin}: {error}") from error
