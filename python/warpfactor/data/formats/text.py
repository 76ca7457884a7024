"""Delimited text: csv, tsv, MovieLens "::", and any other separator, quotes and numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from mmap import ACCESS_READ, mmap
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...checks import option
from ..ids import KIND_NAMES, IdError, TextIds, arrow_numbers, read_id
from ..roles import find_common
from ..times import DATES, as_timestamps, is_date
from .dialect import NULLS, Dialect, is_blank_row, judge, parse_number
from .lending import Loans, read_lent
from .quotes import find_quotes
from .reading import STRIPPED, Coded, Reading, Request, Sink
from .rewrite import (
    arrow_separator,
    arrow_stream,
    blocks,
    is_rewritten,
    marked,
    restored,
    rewritten_parts,
    slices,
)
from .source import NothingThere, Source

__all__ = ["find_dialect", "read", "read_dialect"]

_TEXT = pa.string()
_SIDES = ("user", "item")
_BLOCK = 1 << 20
# If more of the rows cannot be read, the file is read as something that it is not.
_MOST = 0.5
# So many values tell whether a column of texts may hold times.
_FIRST_TIMES = 100
_WITH_COMMA = r"^([+-]?[0-9]+),([0-9]*)$"


def find_dialect(source: Source, request: Request) -> Dialect:
    """Judge the layout over a sample, and the quotes over the whole file."""
    given = request.text
    dialect = judge(source, request.wanted, given)
    if given.quote == "":
        return dialect
    if given.quote is None and not _holds_quotes(source, dialect):
        return replace(dialect, quote="", escape="")
    quote, escape = find_quotes(
        lambda: blocks(source, dialect.encoding, dialect.begin),
        dialect.sep,
        given.quote,
        all_quoted=dialect.all_quoted,
        escape=given.escape or "",
        first_line=dialect.begin + 1,
    )
    return replace(dialect, quote=quote, escape=escape)


def _holds_quotes(source: Source, dialect: Dialect) -> bool:
    """Whether there are quotes behind the line of names."""
    skip = dialect.skip if dialect.skip - dialect.begin < 2 else dialect.begin
    if source.packing or dialect.encoding != "utf-8":
        return any(b'"' in block for block in blocks(source, dialect.encoding, skip))
    with source.path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        at = 0
        for _ in range(skip):
            at = data.find(b"\n", at) + 1
        return data.find(b'"', at) >= 0


def read(source: Source, request: Request, format: str = "text") -> Reading:
    """Read delimited text.

    A clean file is parsed once, by Arrow on all threads. Only one that is not is looked at more
    closely, to say which row is at fault, or to leave such rows out.
    """
    return read_dialect(source, request, find_dialect(source, request), format)


def read_dialect(
    source: Source, request: Request, dialect: Dialect, format: str = "text"
) -> Reading:
    """Read delimited text of a known layout."""
    try:
        if request.sink is not None:
            return _stream_clean(source, request, dialect, format, request.sink)
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
    ids = [_ids_of(role, request, dialect, _rows_at_most(source)) for role in _SIDES]
    values: list[NDArray[np.float32]] = []
    times: list[Any] = []
    for batch in _batches(source, dialect, types):
        columns = dict(zip(types, batch.columns, strict=True))
        for role, texts in zip(_SIDES, ids, strict=True):
            texts.add(_restored(columns[role], dialect))
        if request.needs_ratings:
            if columns["rating"].null_count:
                raise _Unclean
            values.append(arrow_numbers(columns["rating"]).copy())
        if "timestamp" in types:
            times.append(columns["timestamp"])
    numbers = None
    if request.needs_ratings:
        numbers = _concatenated(values, np.float32)
        if not np.isfinite(numbers).all():
            raise _Unclean
    stamps = _times(times, dialect, request) if times else None
    return _reading(format, dialect, [Coded(*texts.finish()) for texts in ids], numbers, stamps)


def _stream_clean(
    source: Source, request: Request, dialect: Dialect, format: str, sink: Sink
) -> Reading:
    """Hand on the rows of a clean file; of another, none."""
    if dialect.thousands:
        raise _Unclean
    types: dict[str, Any] = {"user": _TEXT, "item": _TEXT, "rating": pa.float32()}
    names = [f"{role} column {dialect.names[dialect.found[role]]!r}" for role in _SIDES]
    sink.begin_file()
    n_rows = 0
    try:
        for batch in _batches(source, dialect, types):
            *texts, numbers = batch.columns
            if numbers.null_count:
                raise _Unclean
            values = arrow_numbers(numbers)
            users, items = (
                (name, _restored(each, dialect)) for name, each in zip(names, texts, strict=True)
            )
            if not np.isfinite(values).all() or not sink.add_texts(users, items, values):
                raise _Unclean
            n_rows += len(values)
    except BaseException:
        sink.forget_file()
        raise
    if not n_rows:
        raise NothingThere("the file holds nothing but a header")
    nothing = Coded(np.empty(0, np.int32), np.empty(0, np.int64))
    return Reading(
        format, nothing, nothing, None, names=dialect.names, found=dialect.found, from_text=True
    )


def _concatenated(parts: list[Any], dtype: Any) -> NDArray[Any]:
    """Join arrays, letting go of each when it is copied."""
    joined = np.empty(sum(map(len, parts)), dtype)
    end = len(joined)
    while parts:
        part = parts.pop()
        if isinstance(part, pa.Array):
            part = arrow_numbers(part)
        joined[end - len(part) : end] = part
        end -= len(part)
    return joined


def _rows_at_most(source: Source) -> int:
    # A row has three fields of a character, two separators and a line end.
    return 0 if source.packing else source.path.stat().st_size // 6


def _ids_of(role: str, request: Request, dialect: Dialect, n_rows: int = 0) -> TextIds:
    name = f"{role} column {dialect.names[dialect.found[role]]!r}"
    kind: Any = request.kinds[_SIDES.index(role)]
    return TextIds(name, kind, strip=request.strip, n_rows=n_rows)


def _restored(texts: Any, dialect: Dialect) -> Any:
    """Texts of the file, where separators inside quotes were rewritten for Arrow."""
    if not dialect.quote or len(dialect.sep) == 1:
        return texts
    return pa.array([restored(text, dialect) for text in texts.to_pylist()], _TEXT)


def _reading(
    format: str,
    dialect: Dialect,
    sides: list[Coded],
    values: NDArray[np.float32] | None,
    times: NDArray[Any] | None,
) -> Reading:
    if not len(sides[0].codes):
        raise NothingThere("the file holds nothing but a header")
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


def _times(parts: list[Any], dialect: Dialect, request: Request) -> NDArray[Any] | None:
    """Timestamps of the batches of a column, which are let go of; None if they are none."""
    # Of a column that was taken by its place, anything may be in it.
    is_guess = request.wanted["timestamp"] is None and not _has_named_times(dialect)
    kind = parts[0].type
    if any(part.null_count for part in parts) or kind == _TEXT:
        # Numbers are texts to Arrow where their decimal mark is not the ratings'.
        if not is_guess or (kind == _TEXT and _all_times(parts[0][:_FIRST_TIMES], dialect)):
            raise _Unclean
        return None
    if kind in (pa.int64(), pa.float64()):
        numbers = _concatenated(parts, kind.to_pandas_dtype())
        if np.isfinite(numbers).all():
            return numbers
    name = f"timestamp column {dialect.names[dialect.found['timestamp']]!r}"
    try:
        return np.asarray(as_timestamps(pa.chunked_array(parts), name))
    except ValueError as error:
        if not is_guess:
            raise _Unclean from error
        return None


def _has_named_times(dialect: Dialect) -> bool:
    at = dialect.found.get("timestamp")
    return at is not None and find_common([dialect.names[at]], "timestamp") is not None


def _batches(
    source: Source, dialect: Dialect, types: Mapping[str, Any], on_bad_row: Any = None
) -> Iterator[Any]:
    """Read the columns of some roles by Arrow, with a given type or (None) one it finds out.

    Batches come in the order of the file. Arrow's reader of whole tables parses on all threads, the
    one that streams on one: so a file is read a slice of lines at a time, unless a quoted field may
    hold a line end.
    """
    from pyarrow import csv as arrow_csv

    names = [str(at) for at in range(len(dialect.names))]
    keys = {role: names[dialect.found[role]] for role in types}
    known = {keys[role]: kind for role, kind in types.items() if kind is not None}

    def options(skip: int) -> dict[str, Any]:
        return {
            "read_options": arrow_csv.ReadOptions(
                column_names=names, skip_rows=skip, block_size=_BLOCK
            ),
            "parse_options": arrow_csv.ParseOptions(
                delimiter=arrow_separator(dialect),
                quote_char=dialect.quote or False,
                newlines_in_values=bool(dialect.quote),
                invalid_row_handler=on_bad_row,
            ),
            "convert_options": arrow_csv.ConvertOptions(
                include_columns=list(keys.values()),
                column_types=known,
                null_values=sorted(NULLS),
                decimal_point=dialect.decimal if dialect.decimal in ".," else ".",
            ),
        }

    if dialect.quote:
        loans = Loans()
        with arrow_stream(source, dialect) as file:
            try:
                try:
                    reader = arrow_csv.open_csv(loans.file(file), **options(0))
                except pa.ArrowInvalid as error:
                    if "Empty CSV file" in str(error):
                        return
                    raise
                with reader:
                    yield from reader
            finally:
                reader = None
                loans.await_return()
        return

    def tables() -> Iterator[Any]:
        skip = dialect.skip
        parts: Iterator[Any] = slices(source)
        begins_file = not is_rewritten(source, dialect)
        if not begins_file:
            skip, parts = 0, rewritten_parts(source, dialect)
        for lines in parts:
            try:
                given = lines if begins_file else marked(lines)
                table = read_lent(arrow_csv.read_csv, given, **options(skip))
            except pa.ArrowInvalid as error:
                if "Empty CSV file" not in str(error):
                    raise
                continue
            finally:
                skip, begins_file = 0, False
            # What was found out of the first slice holds for all.
            known.update(zip(table.column_names, table.schema.types, strict=True))
            yield table

    parsed = tables()
    if source.is_whole:
        # A small file, for which a thread takes longer than it saves.
        for table in parsed:
            yield from table.to_batches()
        return
    # The next slice is read and parsed while the ids of this one are encoded.
    with ThreadPoolExecutor(1) as worker:
        pending = worker.submit(next, parsed, None)
        while (table := pending.result()) is not None:
            pending = worker.submit(next, parsed, None)
            yield from table.to_batches()
            del table


def _is_blank(row: Any) -> bool:
    return row.actual_columns == 1 and not row.text.strip(" \t\r\n")


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
        n_misshapen += not _is_blank(row)
        return "skip"

    roles = [role for role in dialect.found if role in request.wanted]
    types = dict.fromkeys(roles, _TEXT)
    batches = list(_batches(source, dialect, types, on_bad_row))
    if not batches:
        raise NothingThere("the file holds nothing but a header")
    table = pa.Table.from_batches(batches)
    columns = {role: table.column(at) for at, role in enumerate(roles)}
    n_rows = len(table)
    good = np.ones(n_rows, bool)
    for role in _SIDES:
        texts = columns[role]
        if request.strip:
            texts = pc.utf8_trim(texts, STRIPPED)
        good &= np.asarray(pc.binary_length(texts).to_numpy()) > 0
        kind: Any = request.kinds[_SIDES.index(role)]
        if kind in ("int", "uuid"):
            coded = texts.combine_chunks().dictionary_encode()
            fits = [read_id(text, kind) is not None for text in coded.dictionary.to_pylist()]
            good &= np.array(fits)[arrow_numbers(coded.indices)]
    values = None
    if request.needs_ratings:
        numbers = _numbers(columns.pop("rating"), dialect)
        with np.errstate(over="ignore"):
            values = numbers.astype(np.float32)
        good &= np.isfinite(values)
    stamps, are_times = None, np.ones(n_rows, bool)
    if "timestamp" in columns:
        stamps, are_times = _stamps(columns.pop("timestamp"), dialect)
        if request.wanted["timestamp"] is not None:
            good &= are_times
    n_bad = n_misshapen + n_rows - np.count_nonzero(good)
    fault = next(_faults(source, request, dialect), None) if n_bad else None
    if n_bad and not request.skip_bad:
        also = f" ({n_bad - 1:,} more such row(s))" if n_bad > 1 else ""
        told = f"{fault}{also}" if fault else f"{n_bad:,} row(s) cannot be read"
        fix = f"mend the file, or pass {option('on_error', 'skip')} to leave such rows out"
        if n_bad > _MOST * (n_rows + n_misshapen):
            fix = (
                f"most rows are such: if another column holds it, pass {option('rating')} (or "
                f"{option('user')}, {option('item')}, {option('timestamp')}) with its name or position; "
                f"else {option('sep')}, {option('quote')}, {option('decimal')} and "
                f"{option('thousands')} say how the file is written"
            )
        raise ValueError(f"{told}; {fix}")
    if not good.any():
        raise ValueError(f"no row can be read; {fault}" if fault else "no row can be read")
    kept = slice(None) if good.all() else good
    problem = ""
    if stamps is not None:
        stamps = stamps[kept]
        if not are_times[kept].all():
            stamps, problem = None, _time_problem(source, request, dialect)
    mask = None if good.all() else pa.array(good)
    sides = []
    for role in _SIDES:
        texts = _ids_of(role, request, dialect, n_rows)
        for chunk in (columns[role] if mask is None else columns[role].filter(mask)).chunks:
            texts.add(_restored(chunk, dialect))
        sides.append(Coded(*texts.finish()))
    reading = _reading(format, dialect, sides, None if values is None else values[kept], stamps)
    reading.n_skipped, reading.first_skipped = int(n_bad), f"the first is {fault}" if fault else ""
    reading.times_problem = problem
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
    return _parsed(texts)


def _time_numbers(column: Any, dialect: Dialect) -> NDArray[np.float64]:
    """Times of a column of texts, NaN where there is none.

    Their decimal mark may differ from that of the ratings, and a single "." or "," is one unless it
    groups digits by threes.
    """
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    if dialect.thousands:
        grouped = pc.match_substring_regex(texts, _grouped(dialect.thousands))
        bare = pc.replace_substring(texts, dialect.thousands, "")
        texts = pc.if_else(grouped, bare, texts)
    return _parsed(pc.replace_substring_regex(texts, _WITH_COMMA, r"\1.\2"))


def _grouped(mark: str) -> str:
    """A number whose digits a mark groups by threes."""
    return rf"^[+-]?[0-9]{{1,3}}({re.escape(mark)}[0-9]{{3}})+([.,][0-9]*)?$"


def _time_number(text: str, dialect: Dialect) -> float | None:
    """Read one time as `_time_numbers` does; None if it is none."""
    text = text.strip()
    mark = dialect.thousands
    if mark and re.match(_grouped(mark), text):
        text = text.replace(mark, "")
    return parse_number(re.sub(_WITH_COMMA, r"\1.\2", text))


def _all_times(texts: Any, dialect: Dialect) -> bool:
    given = [text for text in texts.to_pylist() if text is not None]
    return bool(given) and all(_time_number(text, dialect) is not None for text in given)


def _parsed(texts: Any) -> NDArray[np.float64]:
    import pyarrow.compute as pc

    texts = pc.replace_substring_regex(texts, r"^\+", "")
    number = r"^-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    is_number = pc.match_substring_regex(texts, number)
    texts = pc.if_else(is_number, texts, pa.scalar(None, pa.large_string()))
    numbers = texts.cast(pa.float64()).to_numpy()
    return np.asarray(numbers, np.float64)


def _stamps(column: Any, dialect: Dialect) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Timestamps of a column of texts, numbers or dates, and which of the texts are such."""
    import pyarrow.compute as pc

    numbers = _time_numbers(column, dialect)
    good = np.isfinite(numbers)
    if good.any():
        numbers = np.where(good, numbers, 0)
        whole = (numbers == np.trunc(numbers)).all() and np.abs(numbers).max() < 2**53
        return numbers.astype(np.int64) if whole else numbers, good
    texts = pc.utf8_trim_whitespace(column.cast(pa.large_string()))
    good = np.array([is_date(text) for text in texts.to_pylist()], bool)
    try:
        dates = as_timestamps(texts.filter(pa.array(good)), "timestamp")
    except ValueError:
        return numbers, np.zeros(len(numbers), bool)
    stamps = np.zeros(len(numbers), dates.dtype)
    stamps[good] = dates
    return stamps, good


def _time_problem(source: Source, request: Request, dialect: Dialect) -> str:
    """The first row whose timestamp cannot be read, of a column that was found by its name."""
    if not _has_named_times(dialect):
        return ""
    asked = replace(request, wanted={**request.wanted, "timestamp": dialect.found["timestamp"]})
    faults = _faults(source, asked, dialect)
    fault = next((each for each in faults if each.problem.startswith("the timestamp")), None)
    return str(fault) if fault else "its dates cannot be read together"


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
        bare = field.strip(STRIPPED) if request.strip else field
        kind: Any = request.kinds[_SIDES.index(role)]
        if not bare:
            return f"the {role} is missing"
        fits = kind == "auto" or read_id(bare, kind) is not None
        return "" if fits else f"the {role} {bare!r} is not {KIND_NAMES[kind]}"
    if role == "timestamp" and request.wanted["timestamp"] is None:
        return ""
    if field.strip() in NULLS:
        return f"the {role} is missing"
    if role == "timestamp":
        is_time = _time_number(field, dialect) is not None or is_date(field.strip())
        return (
            ""
            if is_time
            else f"the timestamp {field!r:.80} is neither a number nor a date like {DATES}"
        )
    number = parse_number(field, dialect.decimal, dialect.thousands)
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
            fields = bare.split(sep)
            if bare and not is_blank_row(fields):
                yield at, [restored(field, dialect) for field in fields]
        return
    reader = csv.reader(lines, delimiter=sep, quotechar=dialect.quote)
    begin = offset + 1
    try:
        for fields in reader:
            if fields and not is_blank_row(fields):
                yield begin, [restored(field, dialect) for field in fields]
            begin = offset + reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {begin}: {error}") from error
