"""The tables that commands write: csv, tsv, JSON, JSON lines, Parquet or Arrow, a part at a time."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ..writing import TABLES, is_stream, whole_file

# pyarrow is imported where it is used: --help should not wait for it.
if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "has_table_suffix",
    "id_column",
    "number_column",
    "table_format",
    "write_frame",
    "write_table",
]

_TEXTS = ("csv", "tsv", "json", "jsonl")
_GZIP = ".gz"
_SUFFIXES = {suffix: name for name, suffixes in TABLES.items() for suffix in suffixes} | {
    suffix + _GZIP: name for name in _TEXTS for suffix in TABLES[name]
}


def table_format(
    output: Path | None,
    format: str | None,
    default: str,
    *,
    others: tuple[str, ...] = (),
    by_suffix_alone: bool = False,
) -> str:
    """Choose the format: what ``--format`` says, else what the file's suffix says.

    Parameters
    ----------
    output : Path or None
        The file to write; None: standard output.
    format : str or None
        What ``--format`` says.
    default : str
        The format of standard output, and of pipes and devices without a suffix.
    others : tuple of str
        Formats of this command beside the general ones.
    by_suffix_alone : bool, default False
        Whether the command has no ``--format``.

    Raises
    ------
    ValueError
        If the format or the suffix is unknown, or the format is none for a terminal.
    """
    if format is not None and format not in (*TABLES, *others):
        raise ValueError(f"--format is {format!r}; it must be {_listed(*others, *TABLES)}")
    if output is None:
        format = format or default
        if format in TABLES and format not in _TEXTS and sys.stdout.isatty():
            raise ValueError(f"--format is {format}, which is not for terminals: add --output FILE")
        return format
    suffix = _suffix(output)
    if format is None and suffix not in _SUFFIXES:
        if not suffix and is_stream(output):
            return default
        raise ValueError(
            f"--output is {str(output)!r}; it must end in "
            f"{_listed(*(suffix for suffix in _SUFFIXES if not suffix.endswith(_GZIP)))} "
            f"(or {_GZIP} after one of a text)"
            + ("" if by_suffix_alone else ", or --format must say what to write: ")
            + ("" if by_suffix_alone else _listed(*others, *TABLES))
        )
    return format or _SUFFIXES[suffix]


def has_table_suffix(path: Path) -> bool:
    """Return whether a name is one of a table."""
    return _suffix(path) in _SUFFIXES


def _suffix(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] == [_GZIP] else suffixes[-1:])


def _listed(*names: str) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def id_column(ids: NDArray[Any]) -> Any:
    """Return ids as an Arrow array: of integers, if that is what they are, else of strings."""
    import pyarrow as pa

    if ids.dtype.kind in "iu":
        return number_column(ids)
    return pa.array([str(each) for each in ids], pa.string())


def number_column(values: NDArray[Any]) -> Any:
    """Return an array of numbers as an Arrow array of the same type.

    By its buffer, because `pyarrow.array` imports pandas for an array where that is installed, which
    takes a third of a second.
    """
    import numpy as np
    import pyarrow as pa

    buffer = pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.type_for_alias(values.dtype.name), len(values), [None, buffer])


def write_frame(output: Path, format: str, table: Any) -> None:
    """Write a small Arrow table, whole or not at all."""
    write_table(output, format, (part for part in table.to_batches()), table.schema)


def write_table(output: Path | None, format: str, parts: Iterator[Any], schema: Any) -> None:
    """Write a table, whole or not at all.

    Parameters
    ----------
    output : Path or None
        The file to write; None: standard output.
    format : str
        A name of `TABLES`.
    parts : iterator of pyarrow.RecordBatch
        The rows, a part at a time.
    schema : pyarrow.Schema
        The columns.
    """
    with contextlib.ExitStack() as stack:
        if output is None:
            sys.stdout.flush()
            sink = cast("BinaryIO", sys.stdout.buffer)
        else:
            sink = stack.enter_context(whole_file(output))
            if format in _TEXTS and output.suffix.lower() == _GZIP:
                import gzip

                # Without name and time, so that one table is one sequence of bytes.
                sink = cast(
                    "BinaryIO",
                    stack.enter_context(gzip.GzipFile("", "wb", 6, sink, mtime=0)),
                )
        stack.enter_context(contextlib.closing(cast("Any", parts)))
        write = stack.enter_context(_writer(sink, format, schema))
        for part in parts:
            write(part)


@contextlib.contextmanager
def _writer(sink: BinaryIO, format: str, schema: Any) -> Iterator[Callable[[Any], None]]:
    if format == "jsonl":
        yield lambda part: _write_lines(sink, (f"{record}\n" for record in _json_records(part)))
    elif format == "json":
        before = chain(["[\n"], repeat(",\n"))
        yield lambda part: _write_lines(
            sink, (next(before) + record for record in _json_records(part))
        )
        _write_lines(sink, ["[]\n" if next(before) == "[\n" else "\n]\n"])
    elif format == "parquet":
        from pyarrow import parquet

        with parquet.ParquetWriter(sink, schema) as writer:
            yield writer.write_batch
    elif format == "arrow":
        from pyarrow import ipc

        with ipc.new_file(sink, schema) as writer:
            yield writer.write_batch
    else:
        separator = "," if format == "csv" else "\t"
        sink.write((separator.join(schema.names) + "\n").encode())
        if any(_is_text(kind) for kind in schema.types):
            yield lambda part: _write_delimited(sink, part, separator)
            return
        # Numbers need no quotes, and so not Arrow's functions, whose import brings pandas: 0.3 s.
        from pyarrow import csv

        options = csv.WriteOptions(include_header=False, delimiter=separator, quoting_style="none")
        with csv.CSVWriter(sink, schema, write_options=options) as writer:
            yield writer.write_batch


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _write_delimited(sink: BinaryIO, part: Any, separator: str) -> None:
    """Write rows as text. Arrow's own writer puts quotes around all texts of a column, or around none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.large_string()
    nothing, quote = pa.scalar("", text), pa.scalar('"', text)
    fields = []
    for column in part.columns:
        field = column.cast(text)
        if _is_text(column.type):
            # Of an empty text quotes say that it is not missing.
            needed = pc.match_substring_regex(field, f'[{separator}"\r\n]|^$')
            if pc.any(needed).as_py():
                doubled = pc.replace_substring(field, '"', '""')
                quoted = pc.binary_join_element_wise(quote, doubled, quote, nothing)
                field = pc.if_else(needed, quoted, field)
        fields.append(pc.fill_null(field, nothing))
    lines = pc.binary_join_element_wise(*fields, pa.scalar(separator, text))
    lines = pc.binary_join_element_wise(lines, nothing, pa.scalar("\n", text))
    if len(lines):  # they lie one after the other
        _, offsets, data = lines.buffers()
        ends = memoryview(offsets).cast("q")
        sink.write(memoryview(data)[ends[lines.offset] : ends[lines.offset + len(lines)]])


def _write_lines(sink: BinaryIO, lines: Iterable[str]) -> None:
    sink.write("".join(lines).encode())


def _json_records(part: Any) -> Iterator[str]:
    import json

    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for column in part.columns:
        if pa.types.is_floating(column.type):
            # By way of text: 3.1 of float32 is 3.1 and not 3.0999999046325684. JSON has no NaN.
            finite = pc.if_else(pc.is_finite(column), column, None)
            column = pc.cast(pc.cast(finite, pa.string()), pa.float64())
        columns.append(column.to_pylist())
    names = part.schema.names
    return (
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
        for row in zip(*columns, strict=True)
    )
