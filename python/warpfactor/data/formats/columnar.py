"""Parquet, Feather, Arrow IPC and ORC: tables whose columns have names and types."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ..roles import Frame, resolve_columns
from .reading import Reading, Request, reading_of_columns
from .source import Source

__all__ = ["FORMATS"]


def _of_table(format: str, names: list[str], table: Any, request: Request) -> Reading:
    found = resolve_columns(names, request.wanted)
    for at in found.values():
        if names.count(names[at]) > 1:
            raise ValueError(
                f"{names.count(names[at])} columns are named {names[at]!r}: write the file with "
                "names that differ"
            )
        # Arrow trusts the lengths and positions in a file, and reads where they point.
        table.column(names[at]).validate(full=True)
    columns = Frame(names, lambda at: table.column(names[at])).columns_of(found)
    return reading_of_columns(format, columns, request, names=names, found=found)


def _parquet(source: Source, request: Request) -> Reading:
    from pyarrow import parquet

    with parquet.ParquetFile(str(source.path)) as file:
        names = file.schema_arrow.names
        found = resolve_columns(names, request.wanted)
        table = file.read(columns=[names[at] for at in found.values()])
    return _of_table("parquet", names, table, request)


def _orc(source: Source, request: Request) -> Reading:
    from pyarrow import orc

    file = orc.ORCFile(str(source.path))
    names = file.schema.names
    found = resolve_columns(names, request.wanted)
    table = file.read(columns=[names[at] for at in found.values()])
    return _of_table("orc", names, table, request)


def _arrow(source: Source, request: Request) -> Reading:
    from pyarrow import feather

    if source.head.startswith(b"FEA1"):
        table = feather.read_table(str(source.path))
        return _of_table("feather", table.column_names, table, request)
    with pa.OSFile(str(source.path)) as file:
        try:
            names = pa.ipc.open_file(file).schema.names
            found = resolve_columns(names, request.wanted)
            options = pa.ipc.IpcReadOptions(included_fields=sorted(found.values()))
            table = pa.ipc.open_file(file, options=options).read_all()
        except pa.ArrowInvalid:
            # The stream format, which has no footer.
            file.seek(0)
            table = pa.ipc.open_stream(file).read_all()
            names = table.column_names
    return _of_table("arrow", names, table, request)


# Name, the bytes that such a file begins with, suffixes, reader.
FORMATS = (
    ("parquet", (b"PAR1",), (".parquet", ".pq"), _parquet),
    (
        "arrow",
        (b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"),
        (".feather", ".arrow", ".arrows", ".ipc"),
        _arrow,
    ),
    ("orc", (b"ORC",), (".orc",), _orc),
)
