"""Parquet, Feather, Arrow IPC and ORC: tables whose columns have names and types."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from ...checks import option
from ..roles import Column, resolve_columns, with_times
from ..times import holds_times
from .reading import Reading, Request, Sink, joined, reading_of_columns
from .source import Source, memory_errors
from .whole_rows import whole_rows

__all__ = ["FORMATS", "Columnar"]

# How Hive and Spark name the folder of a missing value.
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
# Bytes unpacked at a time.
_PART = 1 << 22
# Rows handed on at a time.
_ROWS = 1 << 20
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


class _Columns(NamedTuple):
    """The columns of one file that have roles, the names of all, and which rows were left out."""

    names: list[str]
    found: dict[str, int]
    columns: dict[str, Any]
    n_skipped: int
    first_skipped: str

    @property
    def n_rows(self) -> int:
        return len(next(iter(self.columns.values())))


class _Opened(NamedTuple):
    """The names of a file's columns, and functions that read some of them, whole or in parts."""

    names: list[str]
    read: Callable[[list[str]], Any]
    parts: Callable[[list[str]], Iterator[Any]]


class Columnar(NamedTuple):
    """A format of tables: its name, how files begin and their names end, and how to open one."""

    name: str
    about: str
    marks: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    open: Callable[[Source], _Opened]

    def read(self, source: Source, request: Request) -> Reading:
        """Read one file."""
        return self._read([self._columns(source, request)], [source.keys], request)

    def read_all(self, sources: Iterable[Source], request: Request) -> Reading:
        """Read several files as one table.

        Not through pyarrow.dataset, which casts to the types of the first file: it turns the text
        007 into the integer 7 without a word, and takes the folder user=007 for 7.
        """
        parts, keys = [], []
        for source in sources:
            with _within(source):
                parts.append(self._columns(source, request))
            keys.append(source.keys)
        return self._read(parts, keys, request)

    def stream(self, sources: Sequence[Source], request: Request, sink: Sink) -> tuple[int, str]:
        """Hand the rows of several files on, part by part.

        Returns
        -------
        n_skipped, first_skipped : int, str
            How many rows could not be read, and what was wrong with the first.
        """
        n_skipped, first_skipped = 0, ""
        chosen = []
        for source in sources:
            with _within(source):
                chosen.append(self._chosen(source, request))
        given = _values_of_keys(chosen, [source.keys for source in sources])
        for source, names, keys in zip(sources, chosen, given, strict=True):
            n_rows = 0
            with _within(source):
                labels = {role: f"{role} column {name!r}" for role, name in names.items()}
                wanted = [name for role, name in names.items() if role not in keys]
                for part in self.open(source).parts(wanted):
                    table = pa.table(part) if isinstance(part, pa.RecordBatch) else part
                    # Arrow trusts the lengths and positions in a file, and reads where they point.
                    table.validate(full=True)
                    columns: dict[str, Column] = {}
                    for role, name in names.items():
                        column = (
                            pa.chunked_array([pa.repeat(pa.scalar(keys[role]), len(table))])
                            if role in keys
                            else _plain(table.column(name), role)
                        )
                        columns[role] = labels[role], column
                    whole = whole_rows(columns, request, source.path.name, first=n_rows)
                    if whole.n_skipped:
                        first_skipped = first_skipped or whole.first_skipped
                        n_skipped += whole.n_skipped
                    sink.add({role: (labels[role], whole.columns[role]) for role in columns})
                    n_rows += len(table)
        return n_skipped, first_skipped

    def _chosen(self, source: Source, request: Request) -> dict[str, str]:
        """The columns of users, items and ratings of a file that are read in parts, by name."""
        self._require_mark(source)
        names = self.open(source).names
        names += [key for key in source.keys if key not in names]
        found = resolve_columns(names, request.wanted)
        chosen = {role: names[at] for role, at in found.items() if role != "timestamp"}
        _refuse_twice(names, chosen)
        if request.sink is not None:
            request.sink.note_columns(names, found)
        return chosen

    def _require_mark(self, source: Source) -> None:
        if not source.head.startswith(self.marks):
            raise ValueError(
                f"this is no file of {self.about}, which begins with {self.marks[0]!r}; it begins with "
                f"{source.head[:8]!r}: pass {option('format', 'text')} if it is text"
            )

    def _read(
        self, parts: list[_Columns], keys: Sequence[Mapping[str, str]], request: Request
    ) -> Reading:
        _add_keys(parts, keys)
        n_skipped = sum(part.n_skipped for part in parts)
        first_skipped = next((part.first_skipped for part in parts if part.n_skipped), "")
        layout = {"files": f"{len(parts):,}"} if len(parts) > 1 else {}
        # An empty file says nothing of the types.
        filled = [part for part in parts if part.n_rows]
        if n_skipped and not filled:
            raise ValueError(f"no row can be read; {first_skipped}")
        reading = self._joined(filled or parts[:1], request, layout)
        reading.n_skipped, reading.first_skipped = n_skipped, first_skipped
        return reading

    def _joined(self, parts: list[_Columns], request: Request, layout: dict[str, str]) -> Reading:
        first = parts[0]
        roles = [role for role in first.columns if all(role in part.columns for part in parts)]
        alike = all(
            part.columns[role].type == first.columns[role].type for part in parts for role in roles
        )
        if not alike:
            return joined([self._reading(part, part.columns, request, {}) for part in parts])
        columns = {
            role: pa.chunked_array(
                [chunk for part in parts for chunk in part.columns[role].chunks],
                first.columns[role].type,
            )
            for role in roles
        }
        return self._reading(first, columns, request, layout)

    def _reading(
        self, part: _Columns, columns: dict[str, Any], request: Request, layout: dict[str, str]
    ) -> Reading:
        named = _labelled(part.names, part.found, columns)
        return reading_of_columns(
            self.name, named, request, names=part.names, found=part.found, layout=layout
        )

    def _columns(self, source: Source, request: Request) -> _Columns:
        self._require_mark(source)
        names, read, _ = self.open(source)
        keys = [key for key in source.keys if key not in names]
        found = resolve_columns([*names, *keys], request.wanted)

        def holds(at: int) -> bool:
            if at >= len(names) or names.count(names[at]) > 1:
                return False
            table = read([names[at]])
            table.validate(full=True)
            return holds_times(table.column(names[at]))

        found = with_times([*names, *keys], found, request.wanted, holds)
        chosen = {role: [*names, *keys][at] for role, at in found.items()}
        _refuse_twice(names, chosen)
        table = read([name for name in dict.fromkeys(chosen.values()) if name in names])
        # Arrow trusts the lengths and positions in a file, and reads where they point.
        table.validate(full=True)
        columns = {
            role: _plain(table.column(name), role) if name in names else pa.nulls(len(table))
            for role, name in chosen.items()
        }
        # Here, for the row of the file, which a position in several files would hide. What the
        # folders' names give comes later.
        own = {role: column for role, column in columns.items() if chosen[role] in names}
        whole = whole_rows(_labelled([*names, *keys], found, own), request, source.path.name)
        n_rows = len(table) - whole.n_skipped
        columns = {role: whole.columns.get(role, pa.nulls(n_rows)) for role in columns}
        return _Columns([*names, *keys], found, columns, whole.n_skipped, whole.first_skipped)


@contextmanager
def _within(source: Source) -> Iterator[None]:
    """Name the file, of several, in the errors of reading."""
    try:
        with memory_errors():
            yield
    except MemoryError as error:
        raise MemoryError(f"{source.path.name}: {error}") from error
    except (ValueError, OSError, pa.ArrowException) as error:
        raise ValueError(f"{source.path.name}: {error}") from error


def _refuse_twice(names: Sequence[str], chosen: Mapping[str, str]) -> None:
    twice = next((name for name in chosen.values() if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"the file has more than one column {twice!r}: rename all but one")


def _labelled(
    names: Sequence[str], found: Mapping[str, int], columns: Mapping[str, Any]
) -> dict[str, Column]:
    return {
        role: (f"{role} column {names[found[role]]!r}", column) for role, column in columns.items()
    }


def _plain(column: Any, role: str) -> Any:
    """Ids of bytes as text, as Hive and Impala write them."""
    kind = column.type
    is_bytes = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    is_bytes |= pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
    if role not in ("user", "item") or not is_bytes:
        return column
    try:
        return column.cast(pa.large_binary()).cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{role} column holds bytes that are no UTF-8 text: decode them, or cast them to "
            f"integers or UUIDs first"
        ) from error


def _add_keys(parts: list[_Columns], keys: Sequence[Mapping[str, str]]) -> None:
    """Fill in the columns that the folders' names give."""
    chosen = [{role: part.names[at] for role, at in part.found.items()} for part in parts]
    for part, values in zip(parts, _values_of_keys(chosen, keys), strict=True):
        for role, value in values.items():
            part.columns[role] = pa.chunked_array([pa.repeat(pa.scalar(value), part.n_rows)])


def _values_of_keys(
    chosen: Sequence[Mapping[str, str]], keys: Sequence[Mapping[str, str]]
) -> list[dict[str, int | float | str]]:
    """What the folders' names give in each file: integers, if all of them are."""
    values: list[dict[str, int | float | str]] = [{} for _ in chosen]
    for role, name in {role: name for names in chosen for role, name in names.items()}.items():
        given = [each.get(name) for each in keys]
        if not any(given):
            continue
        texts = [None if text in (None, _NO_VALUE) else unquote(text) for text in given]
        if any(text is None for text in texts):
            raise ValueError(
                f"some files lie in no folder {name}=VALUE, or in {name}={_NO_VALUE}: their {role} is "
                "missing"
            )
        numeric = all(_INTEGER.fullmatch(text) for text in texts if text is not None)
        for each, text in zip(values, texts, strict=True):
            assert text is not None
            each[role] = _key(text, role, name, numeric=numeric)
    return values


def _key(text: str, role: str, name: str, *, numeric: bool) -> int | float | str:
    if numeric:
        return int(text)
    if role != "rating":
        return text
    try:
        return float(text)
    except ValueError as error:
        raise ValueError(f"the rating {text!r} of the folder {name}={text} is no number") from error


def _parquet(source: Source) -> _Opened:
    from pyarrow import parquet

    # Buffered: it reads pages, and not a row group's whole column.
    file = parquet.ParquetFile(source.seekable(), buffer_size=_PART)

    def parts(names: list[str]) -> Iterator[Any]:
        yield from file.iter_batches(_ROWS, columns=names)

    return _Opened(file.schema_arrow.names, lambda names: file.read(columns=names), parts)


def _orc(source: Source) -> _Opened:
    from pyarrow import orc

    file = orc.ORCFile(source.seekable())

    def parts(names: list[str]) -> Iterator[Any]:
        for at in range(file.nstripes):
            yield file.read_stripe(at, columns=names)

    return _Opened(file.schema.names, lambda names: file.read(columns=names), parts)


def _arrow(source: Source) -> _Opened:
    from pyarrow import feather

    given = source.seekable()
    if source.head.startswith(b"FEA1"):
        table = feather.read_table(given)
        return _of_table(table)
    file = pa.OSFile(given) if isinstance(given, str) else given
    if not source.head.startswith(b"ARROW1"):
        # The stream format, which has no footer.
        reader = pa.ipc.open_stream(file)
        names = reader.schema.names
        return _Opened(
            names,
            lambda wanted: reader.read_all().select(wanted),
            lambda wanted: (batch.select(wanted) for batch in reader),
        )
    names = pa.ipc.open_file(file).schema.names

    def opened(wanted: list[str]) -> Any:
        places = sorted(names.index(name) for name in wanted)
        options = pa.ipc.IpcReadOptions(included_fields=places)
        return pa.ipc.open_file(file, options=options)

    def parts(wanted: list[str]) -> Iterator[Any]:
        reader = opened(wanted)
        for at in range(reader.num_record_batches):
            yield reader.get_batch(at)

    return _Opened(names, lambda wanted: opened(wanted).read_all(), parts)


def _of_table(table: Any) -> _Opened:
    return _Opened(
        table.column_names, table.select, lambda names: iter(table.select(names).to_batches())
    )


FORMATS = (
    Columnar("parquet", "Apache Parquet", (b"PAR1",), (".parquet", ".pq"), _parquet),
    Columnar(
        "arrow",
        "Arrow IPC: Feather, and streams",
        (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"),
        (".feather", ".arrow", ".arrows", ".ipc"),
        _arrow,
    ),
    Columnar("orc", "Apache ORC", (b"ORC",), (".orc",), _orc),
)
