"""Ratings into files of the formats that `read_ratings` reads."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import check_choice, option, warn
from ..writing import TABLES, whole_path
from .ids import id_kind
from .ratings import Ratings
from .roles import ROLES

__all__ = ["WRITTEN", "write_ratings", "written_format"]

_CHUNK = 1 << 20
_MOST = 2**31 - 1
_PACKINGS = (".gz", ".bz2", ".xz", ".zst", ".lz4")
# RecBole's columns have these types.
_TYPED = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")


class Writer(NamedTuple):
    """How a format is written.

    Attributes
    ----------
    suffixes : tuple of str
        How names of such files end.
    prepare : callable
        Makes of a side's ids what `write` needs, or says that the format cannot hold them.
    write : callable
        Writes ratings, and what was prepared for users and items, into an open file.
    is_text, has_times : bool
        Whether a file can be compressed from outside; whether timestamps are kept.
    """

    suffixes: tuple[str, ...]
    prepare: Callable[[NDArray[Any], str], Any]
    write: Callable[[Ratings, Any, Any, Any], None]
    is_text: bool = False
    has_times: bool = True


def write_ratings(
    ratings: Ratings, path: str | os.PathLike[str], format: str | None = None
) -> None:
    """Write ratings to a file that `read_ratings` reads.

    Ids without a rating are kept by "npz" only. A text does not say whether 17 is an integer or a
    string: strings that are all written as integers are read back by ``ids="str"``. UUIDs stay UUIDs in
    Parquet and Arrow; elsewhere they are strings.

    Parameters
    ----------
    ratings : Ratings
        What to write.
    path : str or path-like
        The file, which is written whole or not at all. Texts are compressed where the name ends in
        .gz, .bz2, .xz, .zst or .lz4 too.
    format : str, default None
        "csv", "tsv", "json" (a list of objects), "jsonl" (an object a line), "parquet", "arrow"
        (Feather), "orc", "npz", "scipy-npz", "matrix-market", "libmf" or "recbole". None goes by how
        the name ends: .csv, .tsv, .txt (as tsv), .json, .jsonl, .ndjson, .parquet, .pq, .feather,
        .arrow, .ipc, .orc, .npz, .mtx or .inter.

    Raises
    ------
    ValueError
        If the suffix or the format is unknown, or the format cannot hold such ids.
    OSError
        If the file cannot be written; what was there stays as it was.
    """
    if not isinstance(ratings, Ratings):
        raise ValueError(
            f"ratings is {type(ratings).__name__}; it must be Ratings: make it with Ratings.from_any"
        )
    name = written_format(path, format)
    writer, packing = WRITTEN[name], _packing(path)
    if packing and not writer.is_text:
        raise ValueError(
            f"{path}: {name} is no text and is not compressed from outside: leave {packing} out of the name"
        )
    try:
        users = writer.prepare(ratings.user_ids, "user")
        items = writer.prepare(ratings.item_ids, "item")
    except ValueError as error:
        raise ValueError(f"{path}: {name} cannot hold the ids: {error}") from error
    if ratings.timestamps is not None and not writer.has_times:
        warn(f"{path}: {name} holds no timestamps; they are left out")
    with whole_path(path) as target, _opened(target, packing) as sink:
        writer.write(ratings, users, items, sink)


def written_format(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Tell the name of the format that `write_ratings` writes into a path.

    Raises
    ------
    ValueError
        If the format is unknown, or if it is None and the name's suffix says none.
    """
    if format is not None:
        return check_choice("format", format, WRITTEN)
    bare = os.fspath(path).removesuffix(_packing(path))
    suffix = Path(bare).suffix.lower()
    for name, writer in WRITTEN.items():
        if suffix in writer.suffixes:
            return name
    listed = ", ".join(each for writer in WRITTEN.values() for each in writer.suffixes)
    told = f"says no format by its suffix {suffix!r}" if suffix else "has no suffix"
    raise ValueError(
        f"{path} {told}: end the name in one of {listed}, or pass {option('format')}, one of "
        f"{', '.join(WRITTEN)}"
    )


def _packing(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix
    return suffix if suffix.lower() in _PACKINGS else ""


def _opened(path: Path, packing: str) -> Any:
    match packing.lower():
        case ".gz":
            return gzip.open(path, "wb")
        case ".bz2":
            return bz2.open(path, "wb")
        case ".xz":
            return lzma.open(path, "wb")
        case ".zst" | ".lz4":
            codec = "zstd" if packing.lower() == ".zst" else "lz4"
            return pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), codec)
    return path.open("wb")


# Texts: rows of columns, with a literal before each and one at the end.


def _write_rows(
    ratings: Ratings, users: Any, items: Any, sink: Any, literals: Sequence[str]
) -> None:
    import pyarrow.compute as pc

    text = pa.large_string()
    for start in range(0, len(ratings), _CHUNK):
        part = slice(start, start + _CHUNK)
        columns = [
            users.take(pa.array(ratings.users[part])),
            items.take(pa.array(ratings.items[part])),
            # The shortest text that is read back as the same number.
            pa.array(ratings.values[part]).cast(text),
        ]
        if len(literals) > 4 and ratings.timestamps is not None:
            columns.append(pa.array(ratings.timestamps[part]).cast(text))
        pieces: list[Any] = []
        for literal, column in zip(literals, columns, strict=False):
            pieces += [pa.scalar(literal, text), column]
        rows = pc.binary_join_element_wise(
            *pieces, pa.scalar(literals[-1], text), pa.scalar("", text)
        )
        # They lie one after the other.
        _, offsets, data = rows.buffers()
        ends = np.frombuffer(offsets, np.int64)
        sink.write(memoryview(data)[ends[rows.offset] : ends[rows.offset + len(rows)]])


def _delimited(sep: str, names: Sequence[str]) -> Callable[[Ratings, Any, Any, Any], None]:
    def write(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
        shown = names if ratings.timestamps is not None else names[:3]
        sink.write(f"{sep.join(shown)}\n".encode())
        _write_rows(ratings, users, items, sink, ("", sep, sep, sep, "\n"))

    return write


_FIELDS = ('{"user": ', ', "item": ', ', "rating": ', ', "timestamp": ')


def _write_json_lines(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    _write_rows(ratings, users, items, sink, (*_FIELDS, "}\n"))


class _List:
    """Takes objects with a comma and a line end before each, and writes a list of them."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._begun = False

    def write(self, objects: memoryview) -> None:
        """Write some more objects."""
        self._sink.write(objects if self._begun else b"[" + bytes(objects[1:]))
        self._begun = True

    def end(self) -> None:
        """Write the end of the list."""
        self._sink.write(b"\n]\n" if self._begun else b"[]\n")


def _write_json(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    written = _List(sink)
    first, *others = _FIELDS
    _write_rows(ratings, users, items, written, (f",\n{first}", *others, "}"))
    written.end()


def _write_libmf(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    _write_rows(ratings, users, items, sink, ("", " ", " ", "\n"))


def _texts(ids: NDArray[Any]) -> list[str]:
    texts = [str(value) for value in ids]
    if "" in texts:
        raise ValueError("one is the empty text, which is read as a missing one; write it as npz")
    return texts


def _quoted(ids: NDArray[Any], role: str) -> Any:
    """Ids for text with commas, in quotes where they need them."""
    if id_kind(ids) == "int":
        return pa.array(ids).cast(pa.large_string())
    return pa.array(
        [
            '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text
            for text in _texts(ids)
        ],
        pa.large_string(),
    )


def _bare(ids: NDArray[Any], role: str) -> Any:
    """Ids for text with tabs, which knows no quotes."""
    if id_kind(ids) == "int":
        return pa.array(ids).cast(pa.large_string())
    texts = _texts(ids)
    bad = next((t for t in texts if t[0] == '"' or any(c in t for c in "\t\r\n")), None)
    if bad is not None:
        raise ValueError(
            f"the {role} {bad!r:.60} has a tab or a line end, or begins with a quote; write csv or parquet"
        )
    return pa.array(texts, pa.large_string())


def _as_json(ids: NDArray[Any], role: str) -> Any:
    if id_kind(ids) == "int":
        return pa.array(ids).cast(pa.large_string())
    return pa.array(
        [json.dumps(text, ensure_ascii=False) for text in _texts(ids)], pa.large_string()
    )


def _integer_texts(low: int) -> Callable[[NDArray[Any], str], Any]:
    return lambda ids, role: pa.array(_integers(ids, role, low)).cast(pa.large_string())


# Tables.


def _column(ids: NDArray[Any], role: str) -> Any:
    if id_kind(ids) == "int":
        return pa.array(ids)
    if id_kind(ids) == "uuid" and len(ids):
        return pa.array([value.bytes for value in ids], pa.binary(16))
    return pa.array(list(ids), pa.large_string())


def _plain_column(ids: NDArray[Any], role: str) -> Any:
    if ids.dtype == np.uint64:
        raise ValueError(f"the {role} {ids[-1]} is beyond int64; write parquet")
    return _column(ids if id_kind(ids) == "int" else np.array([str(i) for i in ids], object), role)


def _tables(ratings: Ratings, users: Any, items: Any) -> Iterator[Any]:
    for start in range(0, len(ratings), _CHUNK):
        part = slice(start, start + _CHUNK)
        columns = {
            "user": _taken(users, ratings.users[part]),
            "item": _taken(items, ratings.items[part]),
            "rating": pa.array(ratings.values[part]),
        }
        if ratings.timestamps is not None:
            columns["timestamp"] = pa.array(ratings.timestamps[part])
        yield pa.table(columns)


def _taken(ids: Any, codes: NDArray[np.int32]) -> Any:
    column = ids.take(pa.array(codes))
    if pa.types.is_fixed_size_binary(column.type):
        return pa.ExtensionArray.from_storage(pa.uuid(), column)
    return column.cast(pa.string()) if pa.types.is_large_string(column.type) else column


def _write_parquet(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    from pyarrow import parquet

    tables = _tables(ratings, users, items)
    first = next(tables)
    with parquet.ParquetWriter(sink, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _write_arrow(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    tables = _tables(ratings, users, items)
    first = next(tables)
    with pa.ipc.new_file(sink, first.schema) as writer:
        writer.write_table(first)
        for table in tables:
            writer.write_table(table)


def _write_orc(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    from pyarrow import orc

    with orc.ORCWriter(sink) as writer:
        for table in _tables(ratings, users, items):
            writer.write(table)


# Arrays and matrices.


def _array(ids: NDArray[Any], role: str) -> NDArray[Any]:
    if id_kind(ids) == "int":
        return ids
    texts = [str(value) for value in ids]
    bad = next((text for text in texts if text.endswith("\0")), None)
    if bad is not None:
        raise ValueError(
            f"the {role} {bad!r:.60} ends in NUL, which NumPy leaves out; write parquet"
        )
    return np.array(texts, str)


def _write_npz(ratings: Ratings, user_ids: Any, item_ids: Any, sink: Any) -> None:
    arrays: dict[str, Any] = {
        "users": ratings.users,
        "items": ratings.items,
        "ratings": ratings.values,
    }
    if ratings.timestamps is not None:
        arrays["timestamps"] = ratings.timestamps
    # Compressed it would take ten times as long.
    np.savez(sink, **arrays, user_ids=user_ids, item_ids=item_ids)


def _integers(ids: NDArray[Any], role: str, low: int = 0) -> NDArray[np.int64]:
    if id_kind(ids) != "int":
        raise ValueError(
            f"they must be integers, and the {role} {str(ids[0])!r:.60} is none; write csv, parquet or npz"
        )
    for value in (int(ids[0]), int(ids[-1])):
        if not low <= value < _MOST:
            raise ValueError(
                f"they must be integers from {low} to {_MOST - 1}, and the {role} {value} is none; "
                "write csv, parquet or npz"
            )
    return ids.astype(np.int64)


def _matrix(ratings: Ratings, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Any:
    """Every rating as an entry, repeats and zeros too."""
    from scipy.sparse import coo_array

    where = rows[ratings.users], columns[ratings.items]
    return coo_array((ratings.values, where), shape=(int(rows[-1]) + 1, int(columns[-1]) + 1))


def _write_scipy(ratings: Ratings, rows: Any, columns: Any, sink: Any) -> None:
    from scipy.sparse import save_npz

    save_npz(sink, _matrix(ratings, rows, columns))


def _write_matrix_market(ratings: Ratings, users: Any, items: Any, sink: Any) -> None:
    # As the other texts: some rows at a time, and compressed where the name says so.
    shape = f"{users[-1]} {items[-1]} {len(ratings)}"
    sink.write(f"%%MatrixMarket matrix coordinate real general\n{shape}\n".encode())
    _write_rows(ratings, users, items, sink, ("", " ", " ", "\n"))


WRITTEN = {
    "csv": Writer(TABLES["csv"], _quoted, _delimited(",", ROLES), is_text=True),
    "tsv": Writer(TABLES["tsv"], _bare, _delimited("\t", ROLES), is_text=True),
    "json": Writer(TABLES["json"], _as_json, _write_json, is_text=True),
    "jsonl": Writer(TABLES["jsonl"], _as_json, _write_json_lines, is_text=True),
    "recbole": Writer((".inter",), _bare, _delimited("\t", _TYPED), is_text=True),
    "libmf": Writer((), _integer_texts(0), _write_libmf, is_text=True, has_times=False),
    "matrix-market": Writer(
        (".mtx",), _integer_texts(1), _write_matrix_market, is_text=True, has_times=False
    ),
    "parquet": Writer(TABLES["parquet"], _column, _write_parquet),
    "arrow": Writer(TABLES["arrow"], _column, _write_arrow),
    "orc": Writer((".orc",), _plain_column, _write_orc),
    "npz": Writer((".npz",), _array, _write_npz),
    "scipy-npz": Writer((), _integers, _write_scipy, has_times=False),
}
