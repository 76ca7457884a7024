"""Every format of the table: read as its own tools write it, written as they read it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import uuid
import warnings
import zipfile
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.io
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc, orc, parquet

import warpfactor
from warpfactor.data.files import read, read_pairs, read_ratings
from warpfactor.data.formats.dialect import TextOptions
from warpfactor.data.formats.reading import checked_request
from warpfactor.data.formats.table import FORMATS
from warpfactor.data.ratings import Ratings
from warpfactor.data.write import WRITTEN, write_ratings, written_format

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "formats.md"
ROLES = ("user", "item", "rating", "timestamp")
FRAME = pd.DataFrame(
    {
        "user": ["007", "b,c", "2020-01-01", "é"],
        "item": [3, 1, 2, 3],
        "rating": [4.5, 1.0, 2.0, 3.0],
        "timestamp": [10, 20, 30, 40],
    }
)
ROWS = [tuple(row) for row in FRAME.itertuples(index=False)]


def rows_of(ratings: Ratings) -> list[tuple]:
    columns = [array.tolist() for array in ratings.to_arrays()]
    if ratings.timestamps is not None:
        columns.append(ratings.timestamps.tolist())
    return list(zip(*columns, strict=True))


def read_as(path, **options):
    """The rows of a file and the name of the format that it was found to be."""
    request = checked_request(dict.fromkeys(ROLES), TextOptions(), "auto", False, "raise")
    return rows_of(read_ratings(path, **options)), read(path, request, None, None).format


def written(tmp_path, content: str | bytes, name: str = "r.txt") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# The table.


def test_the_docs_list_the_formats_that_there_are():
    if not DOCS.exists():
        pytest.skip("the docs are not here")
    table = DOCS.read_text("utf-8").split("## ")[0]
    cells = [[cell.strip() for cell in line.split("|")] for line in table.splitlines()]
    rows = {row[1].strip("`"): row for row in cells if len(row) > 5 and row[1].startswith("`")}
    assert set(rows) == set(FORMATS)
    for name, row in rows.items():
        suffixes = WRITTEN[name].suffixes or ("by name",) if name in WRITTEN else ("no",)
        assert re.findall(r"\.\w+|by name|no", row[5]) == list(suffixes), name


def test_the_docstrings_list_the_formats_that_there_are():
    for function, names in ((read_ratings, FORMATS), (write_ratings, WRITTEN)):
        listed = re.search(r"\n    format : .*\n((?:        .*\n)+)", function.__doc__)[1]
        assert set(re.findall(r'"([a-z-]+)"', listed)) == set(names), function


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"MATLAB 5.0 MAT-file", "a MATLAB file.*scipy.io.loadmat"),
        (b"Obj\x01\x04", "an Avro file.*polars.read_avro"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x08" + bytes(7) + b'{"__metadata__":{}}', "a model .*warpfactor.load"),
    ],
)
def test_files_of_other_programs_are_refused_with_what_reads_them(tmp_path, content, message):
    for name in ("r.csv", "r.parquet", "r.bin"):
        with pytest.raises(ValueError, match=rf"{name}: the file is {message}"):
            read_ratings(written(tmp_path, content + b" " * 99, name))


def test_unknown_formats_are_answered_with_those_there_are(tmp_path):
    path = written(tmp_path, "1,2,3\n")
    for call in (read_ratings, read_pairs):
        with pytest.raises(
            ValueError, match=r"format is 'xls'; it must be .*'parquet'.*'netflix'.*'text'"
        ):
            call(path, format="xls")


# What is written is read back.

INTEGERS = Ratings.from_arrays(
    [5, 1, 5, 2, 5], [7, 7, 9, 1, 7], [0.1, -2, 3, 0, 4.5], timestamps=[4, 3, 2, 1, 2**40]
)
STRINGS = Ratings.from_arrays(
    ["007", " q ", 'We "ird" Al', "NA", "é;x"], ["1", "2", "3", "4", "~"], [1e20, 1e-7, 3, 0, 1 / 3],
    timestamps=[1.5, 2, 3, 4, 5],
)  # fmt: skip
QUOTED = Ratings.from_arrays(
    ["a,b", '"x"', "two\nlines", "c\r\nd"], ["\t", "\\", '\\"', "::"], [1, 2, 3, 4]
)
UUIDS = Ratings.from_arrays([uuid.UUID(int=9), uuid.UUID(int=1)], [1, 2], [3, 4])
BARE = ("tsv", "recbole")
NUMBERED = ("libmf", "matrix-market", "scipy-npz")


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "ratings", [INTEGERS, STRINGS, QUOTED, UUIDS], ids=["int", "str", "quoted", "uuid"]
)
def test_what_is_written_is_read_back(tmp_path, name, ratings):
    path = tmp_path / f"r{(WRITTEN[name].suffixes or ('.x',))[0]}"
    forced = None if WRITTEN[name].suffixes else name
    if (name in NUMBERED and ratings is not INTEGERS) or (name in BARE and ratings is QUOTED):
        with pytest.raises(
            ValueError, match=rf"{path.name}: {name} cannot hold the ids: .*; write csv"
        ):
            write_ratings(ratings, path, forced)
        assert not path.exists()
        return
    lossy = ratings.timestamps is not None and not WRITTEN[name].has_times
    with pytest.warns(UserWarning, match="no timestamps") if lossy else warnings.catch_warnings():
        write_ratings(ratings, path, forced)
    back = read_ratings(path, format=forced, ids="str" if ratings is STRINGS else "auto")
    wanted = rows_of(ratings)
    if ratings is UUIDS and name not in ("parquet", "arrow"):
        wanted = [(str(user), *rest) for user, *rest in wanted]
    assert rows_of(back) == ([row[:3] for row in wanted] if lossy else wanted)
    if not lossy and ratings.timestamps is not None:
        assert back.timestamps.dtype == ratings.timestamps.dtype


@pytest.mark.parametrize("name", ["csv", "json", "jsonl", "npz", "parquet"])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
@given(
    ids=st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1f"),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=4,
    ),
    values=st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=4, max_size=4
    ),
)
def test_any_text_and_number_comes_back(tmp_path, name, ids, values):
    given = Ratings.from_arrays(ids, ids[::-1], values[: len(ids)])
    path = tmp_path / f"r.{name}"
    write_ratings(given, path, name)
    assert rows_of(read_ratings(path, ids="str")) == rows_of(given)


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst", "lz4"])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "json", "jsonl", "inter", "mtx"])
def test_texts_are_compressed_by_the_names_last_suffix(tmp_path, packing, suffix):
    path = tmp_path / f"r.{suffix}.{packing}"
    ratings = Ratings.from_arrays([5, 1], [7, 7], [1, 2])
    write_ratings(ratings, path)
    assert not path.read_bytes().startswith((b"user", b"{", b"[", b"%%"))
    assert rows_of(read_ratings(path)) == rows_of(ratings)


def test_the_package_writes_what_it_reads(tmp_path):
    ratings = warpfactor.Ratings.from_frame(FRAME)
    warpfactor.write_ratings(ratings, tmp_path / "r.parquet")
    assert rows_of(warpfactor.read_ratings(tmp_path / "r.parquet")) == rows_of(ratings)


def test_many_rows_are_written_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("warpfactor.data.write._CHUNK", 100)
    rng = np.random.default_rng(0)
    given = Ratings.from_arrays(
        [f"u{i}" for i in rng.integers(0, 50, 1050)],
        rng.integers(1, 99, 1050),
        rng.normal(size=1050),
    )
    for name in ("csv", "json", "jsonl", "parquet", "arrow", "orc"):
        write_ratings(given, tmp_path / "r", name)
        assert rows_of(read_ratings(tmp_path / "r")) == rows_of(given), name


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        (
            "r.xlsx",
            None,
            r"r.xlsx says no format by its suffix '.xlsx': end the name in one of .csv, .*, or pass format",
        ),
        ("r", None, "r has no suffix: end the name in one of .csv"),
        ("r.gz", None, "r.gz has no suffix"),
        ("r.csv", "text", "format is 'text'; it must be 'csv', 'tsv'"),
        (
            "r.parquet.gz",
            None,
            "parquet is no text and is not compressed from outside: leave .gz out",
        ),
    ],
)
def test_names_that_say_no_format_are_refused(tmp_path, name, format, message):
    with pytest.raises(ValueError, match=message):
        write_ratings(INTEGERS, tmp_path / name, format)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_refused_and_the_old_file_stays(tmp_path):
    path = written(tmp_path, "old", "r.mtx")
    for ids, message in (
        ([0, 1], "integers from 1 to 2147483646, and the user 0 is none"),
        ([1, 2**31], "and the user 2147483648 is none"),
        (["a", "b"], "must be integers, and the user 'a' is none"),
    ):
        with pytest.raises(ValueError, match=message):
            write_ratings(Ratings.from_arrays(ids, [1, 2], [1, 2]), path)
    for name, ids, message in (
        ("r.csv", ["", "b"], "one is the empty text"),
        ("r.tsv", ["a\tb", "b"], r"'a\\tb' has a tab or a line end"),
        ("r.npz", ["a\0", "b"], "ends in NUL"),
        ("r.orc", [2**63, 1], "beyond int64"),
    ):
        with pytest.raises(ValueError, match=message):
            write_ratings(Ratings.from_arrays(ids, [1, 2], [1, 2]), tmp_path / name)
    with pytest.raises(ValueError, match="ratings is DataFrame; it must be Ratings"):
        write_ratings(FRAME, path)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["r.mtx"]
    assert written_format("a/b.CSV.GZ") == "csv"


# Tables.


def write_stream(table: pa.Table, path: str) -> None:
    with pa.OSFile(path, "wb") as sink, ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


TABLE = pa.Table.from_pandas(FRAME, preserve_index=False)
TABLE_WRITERS = {
    "pandas.parquet": lambda path: FRAME.to_parquet(path),
    "pandas.feather": lambda path: FRAME.to_feather(path),
    "pandas.orc": lambda path: FRAME.to_orc(path),
    "polars.parquet": lambda path: pl.from_pandas(FRAME).write_parquet(path),
    "polars.arrow": lambda path: pl.from_pandas(FRAME).write_ipc(path),
    "polars.arrows": lambda path: pl.from_pandas(FRAME).write_ipc_stream(path),
    "stream.arrows": lambda path: write_stream(TABLE, path),
    "zstd.feather": lambda path: feather.write_feather(TABLE, path, compression="zstd"),
    "plain.feather": lambda path: feather.write_feather(TABLE, path, compression="uncompressed"),
    "zlib.orc": lambda path: orc.write_table(TABLE, path, compression="zlib"),
    **{
        f"{codec}.parquet": lambda path, codec=codec: parquet.write_table(
            TABLE, path, compression=codec
        )
        for codec in ("none", "gzip", "zstd", "brotli", "lz4")
    },
    "pages.parquet": lambda path: parquet.write_table(
        TABLE, path, row_group_size=1, data_page_version="2.0"
    ),
}


@pytest.mark.parametrize("name", TABLE_WRITERS)
def test_tables_of_all_writers_are_read(tmp_path, name):
    path = tmp_path / name
    TABLE_WRITERS[name](str(path))
    found = {"parquet": "parquet", "orc": "orc"}.get(name.split(".")[1], "arrow")
    assert read_as(path) == (ROWS, found)
    # By content, whatever the name; and packed from outside.
    for other, content in (
        ("x.csv", path.read_bytes()),
        ("x.gz", gzip.compress(path.read_bytes())),
    ):
        assert read_as(written(tmp_path, content, other)) == (ROWS, found)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(path, "inner.bin")
    assert read_as(tmp_path / "x.zip") == (ROWS, found)


def test_a_feather_file_of_the_first_version_is_read(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            feather.write_feather(TABLE, str(tmp_path / "r.feather"), version=1)
        except (ValueError, NotImplementedError):
            pytest.skip("this pyarrow writes none")
        assert read_as(tmp_path / "r.feather") == (ROWS, "arrow")


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize(
    ("users", "wanted"),
    [
        (pa.array(["b", "a"]).dictionary_encode(), ["b", "a"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
        (pa.array(["b", "a"], pa.string_view()), ["b", "a"]),
        (pa.array([b"b", b"a"]), ["b", "a"]),
        (pa.array([b"007", b"aaa"], pa.binary(3)), ["007", "aaa"]),
        (pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0)), [7, 8]),
        (pa.array([2**63, 1], pa.uint64()), [2**63, 1]),
        (pa.array([7.0, 8.0]), [7, 8]),
        (pa.array([7, 8], pa.int8()), [7, 8]),
        (pa.array([uuid.UUID(int=7).bytes, uuid.UUID(int=8).bytes], pa.uuid()), [uuid.UUID(int=7), uuid.UUID(int=8)]),
    ],
    ids=str,
)  # fmt: skip
def test_ids_of_all_types_of_columns_come_exactly(tmp_path, suffix, users, wanted):
    nested = pa.array([{"rating": [1]}, None])
    ratings = pa.array([Decimal("4.5"), Decimal(2)], pa.decimal128(3, 1))
    table = pa.table({"x": nested, "rating": ratings, "item": [1, 2], "user": users})
    path = str(tmp_path / f"r.{suffix}")
    (parquet.write_table if suffix == "parquet" else feather.write_feather)(table, path)
    assert rows_of(read_ratings(path)) == [(wanted[0], 1, 4.5), (wanted[1], 2, 2.0)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": pa.array([1, 2], pa.date32())},
            r"user column 'user': a column of type date32\[day\] holds no ids",
        ),
        ({"user": [b"\xff", b"a"]}, "user column holds bytes that are no UTF-8 text"),
        ({"user": [[1], [2]]}, "a column of type list"),
        ({"user": [1, None]}, r"user column 'user': 1 missing value\(s\), the first in row 1"),
        ({"user": [1.5, 2]}, "1.5 at position 0 is no exact integer id"),
        (
            {"rating": [1, None]},
            r"rating column 'rating': 1 missing value\(s\), the first in row 1",
        ),
        ({"rating": ["a", "b"]}, "rating column 'rating' holds"),
        ({"rating": [1.0, float("nan")]}, "rating column 'rating': nan is not finite in row 1"),
    ],
)
def test_columns_that_hold_none_are_named(tmp_path, columns, message):
    table = pa.table({"user": [1, 2], "item": [1, 2], "rating": [1, 2]} | columns)
    parquet.write_table(table, tmp_path / "r.parquet")
    with pytest.raises(ValueError, match=rf"r\.parquet: .*{message}"):
        read_ratings(tmp_path / "r.parquet")


GAPPED = {
    "user": ["a", "b", None, "d", "e", "f"],
    "item": [1, None, 3, 4, 5, 6],
    "rating": [1.0, 2.0, 3.0, None, float("nan"), float("-inf")],
    "timestamp": [10, 20, 30, 40, 50, None],
}
WITH_GAPS = {
    "r.parquet": lambda table, path: parquet.write_table(table, path, row_group_size=2),
    "r.feather": lambda table, path: feather.write_feather(table, path),
    "r.arrows": write_stream,
    "r.orc": lambda table, path: orc.write_table(table, path),
}
GAP_TYPES = {
    "plain": {},
    "dictionaries": {
        "user": lambda column: column.dictionary_encode(),
        "rating": lambda column: column.dictionary_encode(),
    },
    "views": {"user": lambda column: column.cast(pa.string_view())},
    "bytes": {"user": lambda column: column.cast(pa.binary())},
    "floats": {"item": lambda column: column.cast(pa.float64()).fill_null(float("nan"))},
    "decimals": {"item": lambda column: column.cast(pa.decimal128(20, 0))},
    "float32": {"rating": lambda column: column.cast(pa.float32())},
    "dates": {"timestamp": lambda column: column.cast(pa.timestamp("s"))},
}


@pytest.mark.parametrize("types", GAP_TYPES)
@pytest.mark.parametrize("name", WITH_GAPS)
def test_rows_of_tables_with_gaps_are_named_or_left_out_if_wanted(tmp_path, name, types):
    if name == "r.orc" and types in ("dictionaries", "views"):
        pytest.skip("ORC has no such types")
    table = pa.table(GAPPED)
    for column, change in GAP_TYPES[types].items():
        table = table.set_column(table.column_names.index(column), column, change(table[column]))
    path = str(tmp_path / name)
    WITH_GAPS[name](table, path)
    with pytest.raises(ValueError, match=r"column 'user': 1 missing .*in row 2 .*on_error='skip'"):
        read_ratings(path)
    told = rf"{name}: 5 of 6 rows left out; the first is row 1 .*{name}, whose item column 'item' holds (no value|nan)"
    with pytest.warns(UserWarning, match=told):
        ratings = read_ratings(path, on_error="skip")
    assert [row[:3] for row in rows_of(ratings)] == [("a", 1, 1.0)]
    with pytest.warns(UserWarning, match="2 of 6 rows left out"):
        users, items = read_pairs(path, on_error="skip")
    assert list(zip(users, items, strict=True)) == [("a", 1), ("d", 4), ("e", 5), ("f", 6)]
    seen = warpfactor.peek(path, on_error="skip")
    assert (seen.n_ratings, seen.n_skipped) == (1, 5)
    assert any("5 of 6 rows are left out; the first is row 1" in odd for odd in seen.odd)


def test_a_timestamp_that_was_asked_for_is_no_gap(tmp_path):
    path = tmp_path / "r.parquet"
    columns = {"user": [1, 2, 3], "item": [1, 2, 3], "rating": [1.0, 2, 3]}
    parquet.write_table(pa.table(columns | {"timestamp": [10, None, 30]}), path)
    with pytest.warns(UserWarning, match="'timestamp' was taken for the timestamps and left out"):
        ratings = read_ratings(path, on_error="skip")
    assert rows_of(ratings) == [(1, 1, 1.0), (2, 2, 2.0), (3, 3, 3.0)]
    with pytest.raises(ValueError, match="timestamp"):
        read_ratings(path, timestamp="timestamp")
    with pytest.warns(UserWarning, match="1 of 3 rows left out.*row 1 .*timestamp"):
        ratings = read_ratings(path, timestamp="timestamp", on_error="skip")
    assert rows_of(ratings) == [(1, 1, 1.0, 10), (3, 3, 3.0, 30)]


def test_gaps_are_counted_over_the_files_of_a_folder(tmp_path):
    whole = pa.table({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]})
    parts = {
        "a": whole,
        "b": pa.table({"user": [3, None], "item": [1, 2], "rating": [1.0, 2.0]}),
        # Of a file without a whole row the types do not matter.
        "c": pa.table({"user": pa.nulls(3), "item": [1, 2, 3], "rating": [1.0, 2.0, 3.0]}),
        "d": whole.slice(0, 0),
    }
    for name, table in parts.items():
        parquet.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet: user column 'user': 1 missing .*in row 1 "):
        read_ratings(tmp_path)
    told = r"4 of 7 rows left out; the first is row 1 \(from 0\) of b\.parquet, whose user column"
    with pytest.warns(UserWarning, match=told):
        ratings = read_ratings(tmp_path, on_error="skip")
    assert rows_of(ratings) == [(1, 1, 1.0), (2, 2, 2.0), (3, 1, 1.0)]
    for only in (tmp_path / "c.parquet", [tmp_path / "c.parquet", tmp_path / "d.parquet"]):
        with pytest.raises(
            ValueError, match=r"no row can be read; the first is row 0 .*c\.parquet"
        ):
            read_ratings(only, on_error="skip")


def test_gaps_beside_a_column_that_folders_give(tmp_path):
    for user, ratings in ((7, [1.0, None]), (8, [float("inf"), 2.0])):
        folder = tmp_path / f"user={user}"
        folder.mkdir()
        parquet.write_table(pa.table({"item": [1, 2], "rating": ratings}), folder / "r.parquet")
    with pytest.warns(UserWarning, match="2 of 4 rows left out"):
        assert rows_of(read_ratings(tmp_path, on_error="skip")) == [(7, 1, 1.0), (8, 2, 2.0)]


@pytest.mark.parametrize(
    "ids", [{}, {"user_ids": ["x", "y", "z"], "item_ids": [5, 6, 7]}], ids=["ids", "codes"]
)
def test_gaps_of_arrays_are_named_or_left_out_if_wanted(tmp_path, ids):
    path = tmp_path / "r.npz"
    values = [1, np.nan, np.inf, 4, 1e300]
    times = np.array([10, 20, 30, "NaT", 50], "M8[s]")
    codes = {"users": [0, 1, 2, 0, 1], "items": [0, 1, 2, 1, 0]}
    np.savez(path, **codes, ratings=values, when=times, **ids)
    with pytest.raises(ValueError, match=r"nan is not finite in row 1 .*on_error='skip'"):
        read_ratings(path)
    shown = (lambda rows: [("xyz"[u], i + 5, *r) for u, i, *r in rows]) if ids else list
    with pytest.warns(UserWarning, match="3 of 5 rows left out; the first is row 1 .* holds nan"):
        ratings = read_ratings(path, on_error="skip")
    assert rows_of(ratings) == shown([(0, 0, 1.0), (0, 1, 4.0)])
    with pytest.warns(UserWarning, match="4 of 5 rows left out"):
        ratings = read_ratings(path, on_error="skip", timestamp="when")
    assert rows_of(ratings) == shown([(0, 0, 1.0, 10)])
    np.savez(path, **codes, ratings=np.full(5, np.nan), **ids)
    with pytest.raises(ValueError, match="no row can be read; the first is row 0"):
        read_ratings(path, on_error="skip")
    np.savez(path, users=[0.0, np.nan, 2], items=[0, 1, 2], ratings=[1, 2, 3])
    with pytest.warns(UserWarning, match="1 of 3 rows left out; the first is row 1 .*array users"):
        assert rows_of(read_ratings(path, on_error="skip")) == [(0, 0, 1.0), (2, 2, 3.0)]


MATRICES = {
    "r.npz": lambda path: sp.save_npz(
        path, sp.coo_array(([1.0, np.nan, 3], ([0, 1, 2], [0, 1, 1])))
    ),
    "listed.mtx": lambda path: path.write_text(
        "%%MatrixMarket matrix coordinate real general\n3 2 3\n1 1 1\n2 2 nan\n3 2 3\n"
    ),
    "dense.mtx": lambda path: path.write_text(
        "%%MatrixMarket matrix array real general\n3 2\n1\nnan\nnan\nnan\n-inf\n3\n"
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_gaps_of_a_matrix_are_named_or_left_out_if_wanted(tmp_path, name):
    path = tmp_path / name
    MATRICES[name](path)
    with pytest.raises(ValueError, match=r"(nan|inf) is not finite in entry 1 .*on_error='skip'"):
        read_ratings(path)
    with pytest.warns(UserWarning, match="1 of 3 rows left out; the first is entry 1 "):
        ratings = read_ratings(path, on_error="skip")
    first = int(name.endswith("mtx"))
    assert rows_of(ratings) == [(first, first, 1.0), (first + 2, first + 1, 3.0)]
    assert len(read_pairs(path)[0]) == 3


def test_a_file_of_several_without_a_good_row_is_an_error(tmp_path):
    good = written(tmp_path, "1,2,3\n", "a.csv")
    for name, content in (("b.csv", "x,y,z\n,2,\n"), ("b.jsonl", lines(RECORD | {"user": None}))):
        bad = written(tmp_path, content, name)
        with pytest.raises(ValueError, match=rf"{name}: no (row|object) can be read"):
            read_ratings(
                [good, bad], on_error="skip", **({"header": False} if name == "b.csv" else {})
            )


def test_names_with_dots_and_names_that_occur_twice(tmp_path):
    path = tmp_path / "r.parquet"
    parquet.write_table(
        pa.table({"user.id": [1], "user": [{"id": 5}], "item": [2], "rating": [3]}), path
    )
    assert rows_of(read_ratings(path, user="user.id")) == [(1, 2, 3.0)]
    with pytest.raises(ValueError, match="a column of type struct"):
        read_ratings(path, user="user")
    columns = [pa.array([1]), pa.array([2]), pa.array([3]), pa.array([4])]
    for write, name in ((parquet.write_table, "t.parquet"), (write_stream, "t.arrows")):
        write(pa.table(columns, ["user", "user", "item", "rating"]), str(tmp_path / name))
        with pytest.raises(ValueError, match="more than one column 'user'"):
            read_ratings(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["pandas.parquet", "pandas.feather", "pandas.orc", "stream.arrows"]
)
def test_damaged_tables_are_named(tmp_path, name):
    path = tmp_path / name
    TABLE_WRITERS[name](str(path))
    whole = path.read_bytes()
    for size in range(5, len(whole) - 1, max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        try:
            assert rows_of(read_ratings(path)) == ROWS  # what was cut off said nothing
        except ValueError as error:
            assert path.name in str(error)


# Folders and lists.


def test_a_list_of_files_of_any_formats_is_one_set(tmp_path):
    FRAME[:2].to_csv(tmp_path / "a.csv", index=False)
    FRAME[2:].to_parquet(tmp_path / "b.parquet")
    assert rows_of(read_ratings([tmp_path / "a.csv", str(tmp_path / "b.parquet")])) == ROWS
    assert rows_of(read_ratings([tmp_path / "a.csv"])) == ROWS[:2]
    users, items = read_pairs([tmp_path / "b.parquet", tmp_path / "a.csv"])
    assert list(zip(users, items, strict=True)) == [row[:2] for row in (*ROWS[2:], *ROWS[:2])]
    with pytest.raises(ValueError, match="path is an empty list"):
        read_ratings([])
    with pytest.raises(FileNotFoundError, match=r"patterns are not expanded: pass the files"):
        read_ratings(tmp_path / "*.csv")
    with pytest.raises(FileNotFoundError, match="addresses are not opened"):
        read_ratings("s3://bucket/ratings.csv")
    with pytest.raises(FileNotFoundError, match=r"~ is not expanded: pass os\.path.expanduser"):
        read_ratings("~/no/such.csv")


def test_what_is_no_path_is_refused_and_not_read_from(tmp_path):
    path = written(tmp_path, "1,2,3\n", "r.csv")
    for opened in (path.open(), path.open("rb"), io.BytesIO(b"1,2,3"), io.StringIO("1,2,3")):
        with opened, pytest.raises(ValueError, match=r"path is an open file .*; it must be a path"):
            read_ratings(opened)
    with path.open("rb") as file:
        with pytest.raises(ValueError, match="an open file"):
            read_pairs(file)
        assert file.read() == b"1,2,3\n"
    for other in (None, 3, b"r.csv", {"path": "r.csv"}, FRAME, pl.from_pandas(FRAME)):
        with pytest.raises(ValueError, match=r"path is \w+; it must be a path, or a list of paths"):
            read_ratings(other)
    with pytest.raises(ValueError, match="path holds 5; it must be"):
        read_ratings([path, 5])
    assert rows_of(read_ratings(each for each in [path])) == [(1, 2, 3.0)]


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc", "npz"])
def test_text_that_is_named_otherwise_is_told_how_to_be_read(tmp_path, suffix):
    path = written(tmp_path, "1,2,3\n", f"r.{suffix}")
    with pytest.raises(ValueError, match=r"this is no .*pass format='text'"):
        read_ratings(path)
    assert rows_of(read_ratings(path, format="text")) == [(1, 2, 3.0)]


@pytest.mark.parametrize(
    "left",
    ["a.csv~", "#a.csv#", "a.csv.bak", "a.csv.orig", "a.csv.md5", "desktop.ini", "Thumbs.db"],
)
def test_what_editors_and_systems_leave_is_no_part_of_a_folder(tmp_path, left):
    written(tmp_path, "1,2,3\n", "set/a.csv")
    written(tmp_path, "1,2,4\n", f"set/{left}")
    assert rows_of(read_ratings(tmp_path / "set")) == [(1, 2, 3.0)]


@pytest.mark.parametrize("suffix", ["parquet", "feather", "orc"])
def test_a_folder_of_tables_is_one_table(tmp_path, suffix):
    write = {
        "parquet": parquet.write_table,
        "feather": feather.write_feather,
        "orc": orc.write_table,
    }[suffix]
    for at in range(4):
        write(TABLE.slice(at, 1), str(tmp_path / f"part-{at}.{suffix}"))
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / ".part-0.crc").write_bytes(b"crc\0")
    (tmp_path / "_temporary").mkdir()
    write(TABLE, str(tmp_path / "_temporary" / f"part-0.{suffix}"))
    assert rows_of(read_ratings(tmp_path)) == ROWS


def test_tables_whose_types_differ_are_joined_or_refused(tmp_path):
    def write(name, **columns):
        parquet.write_table(pa.table(columns), tmp_path / name)

    write("a.parquet", user=pa.array([2**53 + 1], pa.int64()), item=["x"], rating=[1])
    write(
        "b.parquet",
        user=pa.array([7], pa.int32()),
        item=pa.array(["y"]).dictionary_encode(),
        rating=[2.5],
    )
    assert rows_of(read_ratings(tmp_path)) == [(2**53 + 1, "x", 1.0), (7, "y", 2.5)]
    # pyarrow.dataset reads 007 as 7 here.
    write("c.parquet", user=["007"], item=["y"], rating=[1])
    with pytest.raises(ValueError, match="users of different kinds, int and str: pass ids='str'"):
        read_ratings(tmp_path)
    write("c.parquet", item=["y"], rating=[1])
    with pytest.raises(ValueError, match=r"c\.parquet: cannot tell which column holds the user"):
        read_ratings(tmp_path)
    write("c.parquet", user=[None], item=["y"], rating=[1])
    with pytest.raises(ValueError, match=r"c\.parquet: user column 'user': 1 missing"):
        read_ratings(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [(["7", "8"], [7, 8]), (["007", "8"], ["007", "8"]), (["a%20b", "c=d"], ["a b", "c=d"])],
)
def test_folders_that_name_a_value_give_a_column(tmp_path, values, expected):
    for value in values:
        folder = tmp_path / f"user={value}"
        folder.mkdir()
        parquet.write_table(pa.table({"item": [1, 2], "rating": [3, 4]}), folder / "part-0.parquet")
    assert sorted(set(read_ratings(tmp_path).user_ids.tolist()), key=str) == sorted(
        expected, key=str
    )
    assert len(read_ratings(tmp_path)) == 4


def test_a_table_that_pyarrow_partitioned_is_read(tmp_path):
    import pyarrow.dataset as ds

    table = pa.table(
        {"u": ["a", "b"], "item": [1, 2], "rating": [1, 5], "day": ["2020-01-02", "2020-01-01"]}
    )
    schema = pa.schema([("rating", pa.int64()), ("day", pa.string())])
    for at, flavor in enumerate(("hive", "hive")):
        ds.write_dataset(
            table,
            tmp_path / str(at),
            format="parquet",
            partitioning=ds.partitioning(schema, flavor=flavor),
        )
    ratings = read_ratings(tmp_path / "0", timestamp="day")
    assert sorted(rows_of(ratings)) == [("a", 1, 1.0, 1577923200), ("b", 2, 5.0, 1577836800)]


def test_folders_that_give_a_column_of_text_are_refused(tmp_path):
    written(tmp_path, "user,item,x\n1,2,3\n", "rating=5/part-0.csv")
    with pytest.raises(
        ValueError, match="the folder rating=5 gives the rating, which is read of Parquet"
    ):
        read_ratings(tmp_path)
    assert rows_of(read_ratings(tmp_path, rating="x")) == [(1, 2, 3.0)]


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("escape", [False, True])
def test_a_folder_of_spark_is_read(tmp_path, header, escape):
    # Spark quotes what needs it, writes a quote inside as \", and an empty partition as no bytes or
    # as a header alone.
    titles = ["a, b", 'c, "d"' if escape else "c, d", "e"]
    quoted = [f'"{title}"'.replace('"d"', '\\"d\\"') if "," in title else title for title in titles]
    first = "user,item,rating\n" if header else ""
    written(tmp_path, "", "_SUCCESS")
    written(tmp_path, b"crc\0\0\0", "._SUCCESS.crc")
    for at, title in enumerate(quoted):
        written(tmp_path, f"{first}{at},{title},{at + 1}.0\n", f"part-0000{at}-c000.csv")
        written(tmp_path, b"crc\0\0\0", f".part-0000{at}-c000.csv.crc")
    written(tmp_path, first, "part-00003-c000.csv")
    assert rows_of(read_ratings(tmp_path)) == [(at, titles[at], at + 1.0) for at in range(3)]


def test_ids_of_several_texts_are_of_one_kind(tmp_path):
    written(tmp_path, "1,2,3\n", "part-0.csv")
    written(tmp_path, "x,2,3\n", "part-1.csv")
    assert rows_of(read_ratings(tmp_path)) == [("1", 2, 3.0), ("x", 2, 3.0)]


MOVIELENS = {
    "ml-1m": {
        "ratings.dat": "1::1111::5::977777770\n2::666::3::977779999\n",
        "movies.dat": "1::Toy Story (1995)::Animation|Children's\n",
        "users.dat": "1::F::1::10::48067\n",
        "README": "SUMMARY\n=======\n",
    },
    "ml-100k": {
        "u.data": "1\t1111\t5\t977777770\n2\t666\t3\t977779999\n",
        "u.item": "1|Toy Story (1995)|01-Jan-1995||http://x\n",
        "u.user": "1|24|M|technician|85711\n",
        "u1.base": "1\t1111\t5\t977777770\n",
        "u1.test": "2\t666\t3\t977779999\n",
        "mku.sh": "#!/bin/sh\n",
    },
    "ml-latest": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,1111,5.0,977777770\n2,666,3.0,977779999\n",
        "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Animation\n",
        "tags.csv": "userId,movieId,tag,timestamp\n1,2,funny,3\n",
        "README.txt": "Summary\n=======\n",
    },
    "recbole": {
        "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "1\t1111\t5\t977777770\n2\t666\t3\t977779999\n",
        "x.item": "item_id:token\ttitle:token_seq\n1\tToy Story\n",
        "x.user": "user_id:token\tage:token\n1\t24\n",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MOVIELENS)
def test_the_folder_of_a_public_set_gives_its_ratings(tmp_path, name):
    for file, content in MOVIELENS[name].items():
        written(tmp_path, content, f"{name}/{file}")
    expected = [(1, 1111, 5.0, 977777770), (2, 666, 3.0, 977779999)]
    assert rows_of(read_ratings(tmp_path / name)) == expected
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in MOVIELENS[name]:
            archive.write(tmp_path / name / file, f"{name}/{file}")
    assert rows_of(read_ratings(tmp_path / "x.zip")) == expected


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.csv": "user,item,rating\n1,2,3\n", "b.csv": "user,item,stars\n1,2,3\n"}, r"b\.csv has the columns"),
        ({"a.csv": "1,2,3\n", "b.csv": "1,2,3,4\n"}, r"b\.csv has the columns \['0', '1', '2', '3'\]"),
        ({"a.csv": "1,2,3\n", "b.json": '{"user":1,"item":2,"rating":3}\n'}, "of the formats jsonl, text"),
        ({"a.csv": "1,2,3\n", "b.csv": "1,2\n"}, r"b\.csv: .*All files of .* were taken for ratings"),
        ({"ratings.csv": "1,2,3\n", "ratings.csv.gz": gzip.compress(b"1,2,3\n")}, "more than once"),
        ({"ratings.csv": "1,2,3\n", "ratings_old.csv": "user,item,rating\n1,2,3\n"}, "has the columns"),
    ],
)  # fmt: skip
def test_a_folder_whose_ratings_are_unclear_is_listed(tmp_path, files, message):
    for name, content in files.items():
        written(tmp_path, content, f"set/{name}")
    with pytest.raises(ValueError, match=message) as raised:
        read_ratings(tmp_path / "set")
    assert all(name in str(raised.value) for name in files)


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ("_delta_log/0.json", "Delta table.*DeltaTable"),
        (".hoodie/x", "Hudi"),
        ("metadata/v1.metadata.json", "Iceberg"),
    ],
)
def test_tables_with_outdated_files_are_refused(tmp_path, mark, message):
    parquet.write_table(TABLE, tmp_path / "part-0.parquet")
    written(tmp_path, "{}", mark)
    with pytest.raises(ValueError, match=message):
        read_ratings(tmp_path)


def test_a_folder_without_ratings_says_so(tmp_path):
    with pytest.raises(ValueError, match="holds no files"):
        read_ratings(tmp_path)
    for at in range(2):
        written(tmp_path, "", f"part-{at}")
    with pytest.raises(ValueError, match="all of the files are empty"):
        read_ratings(tmp_path)


# Matrices.

DENSE = np.array([[5.0, 0, 3], [0, 0, 1.5]])


@pytest.mark.parametrize(
    "container", [sp.csr_matrix, sp.csc_array, sp.coo_array, sp.bsr_matrix, sp.dia_array]
)
def test_scipys_matrices_are_read(tmp_path, container):
    matrix = container(DENSE)
    sp.save_npz(tmp_path / "r.npz", matrix)
    rows, found = read_as(tmp_path / "r.npz")
    assert found == "scipy-npz"
    assert sorted(rows) == sorted(rows_of(Ratings.from_sparse(matrix)))
    with pytest.raises(ValueError, match="user='x' cannot be: rows of a sparse matrix are users"):
        read_ratings(tmp_path / "r.npz", user="x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "lil"}, "lil"),
        ({"indptr": np.array([0, 2**30, 4], np.int32)}, "indptr must be"),
        ({"indices": np.array([0, 99, 0, 2], np.int32)}, "indices must be < 3"),
        ({"data": np.array([1j] * 4)}, "is of complex128; ratings must be real"),
        ({"shape": None}, "no array 'users'"),
        ({"indptr": None}, "damaged"),
    ],
)
def test_damaged_matrices_of_scipy_are_refused(tmp_path, change, message):
    matrix = sp.csr_matrix(np.array([[1.0, 0, 2], [3, 0, 4]]))
    arrays = {
        "format": np.array(b"csr"), "shape": matrix.shape, "data": matrix.data,
        "indices": matrix.indices, "indptr": matrix.indptr,
    } | change  # fmt: skip
    np.savez(
        tmp_path / "r.npz", **{name: value for name, value in arrays.items() if value is not None}
    )
    with pytest.raises(ValueError, match=rf"r\.npz: .*{message}"):
        read_ratings(tmp_path / "r.npz")


def test_a_damaged_archive_of_arrays_is_named(tmp_path):
    sp.save_npz(tmp_path / "r.npz", sp.csr_matrix(DENSE))
    whole = bytearray((tmp_path / "r.npz").read_bytes())
    for at in range(0, len(whole), 7):
        damaged = whole.copy()
        damaged[at] ^= 0xFF
        path = written(tmp_path, bytes(damaged), "d.npz")
        try:
            read_ratings(path)
        except ValueError as error:
            assert "d.npz" in str(error)


@pytest.mark.parametrize("packing", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_matrix_market_files_of_scipy_are_read(tmp_path, packing, dtype):
    sink = io.BytesIO()
    scipy.io.mmwrite(sink, sp.coo_array((DENSE * 2).astype(dtype)), comment="by scipy")
    pack = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[packing]
    path = written(tmp_path, pack(sink.getvalue()), f"r.mtx{packing}")
    # Numbers of rows and columns are those of the file.
    assert read_as(path) == ([(1, 1, 10.0), (1, 3, 6.0), (2, 3, 3.0)], "matrix-market")


@pytest.mark.parametrize("symmetry", ["general", "symmetric", "skew-symmetric"])
@pytest.mark.parametrize("dense", [False, True])
def test_matrices_of_each_symmetry_are_read_as_scipy_does(tmp_path, symmetry, dense):
    rng = np.random.default_rng(0)
    A = rng.integers(1, 6, (5, 5)).astype(float)
    A = {"general": A, "symmetric": A + A.T, "skew-symmetric": A - A.T}[symmetry]
    path = tmp_path / "r.mtx"
    scipy.io.mmwrite(path, A if dense else sp.coo_array(A), symmetry=symmetry)
    ratings = read_ratings(path)
    found = np.zeros((5, 5))
    users, items, values = ratings.to_arrays()
    found[users - 1, items - 1] = values
    wanted = scipy.io.mmread(path)
    assert (found == (wanted if dense else wanted.toarray())).all()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, None])
def test_damaged_packings_are_named(tmp_path, pack):
    content = "user,item,rating\n" + "".join(f"{i},{i * 7 % 13},3\n" for i in range(500))
    if pack is None:
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ratings.csv", content)
        whole = bytearray(sink.getvalue())
    else:
        whole = bytearray(pack(content.encode()))
    n_refused = 0
    # The last bytes of a zip archive say what is where.
    for at in (
        *range(4, len(whole), max(1, len(whole) // 80)),
        *range(len(whole) - 90, len(whole)),
    ):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :]):
            try:
                read_ratings(written(tmp_path, bytes(damaged), "d.bin"))
            except ValueError as error:
                assert "d.bin" in str(error)
                n_refused += 1
    assert n_refused > 50


BANNER = "%%MatrixMarket matrix"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{BANNER} coordinate real symmetric\n%c\n\n3 3 2\n2 1 4.5\n3 3 1\n", [(1, 2, 4.5), (2, 1, 4.5), (3, 3, 1.0)]),
        (f"{BANNER} coordinate integer skew-symmetric\n2 2 1\n2 1 4\n", [(1, 2, -4.0), (2, 1, 4.0)]),
        (f"{BANNER} array real symmetric\n2 2\n1\n2\n3\n", [(1, 1, 1.0), (1, 2, 2.0), (2, 1, 2.0), (2, 2, 3.0)]),
        (f"{BANNER} array real skew-symmetric\n3 3\n1\n2\n3\n", [(1, 2, -1.0), (1, 3, -2.0), (2, 1, 1.0), (2, 3, -3.0), (3, 1, 2.0), (3, 2, 3.0)]),
        (f"{BANNER} coordinate integer general\n2 2 1\n1 1 4.5\n", [(1, 1, 4.5)]),
        (f"{BANNER} coordinate unsigned-integer general\n%\n2 2 1\n%x\n01 1 4", [(1, 1, 4.0)]),
        (f"{BANNER} array real general\n2 2\n1\n0\nnan\n-4e0\n", [(1, 1, 1.0), (2, 1, 0.0), (2, 2, -4.0)]),
        (f"{BANNER} coordinate real general\r\n9 9 2\r\n 1\t2 3.5 \r\n1 2 0\r\n", [(1, 2, 0.0), (1, 2, 3.5)]),
        (f"{BANNER} coordinate real general\n4000000000 2 1\n4000000000 1 2\n", [(4000000000, 1, 2.0)]),
    ],
)  # fmt: skip
def test_matrix_market_files_of_all_kinds_are_read(tmp_path, text, expected):
    assert sorted(rows_of(read_ratings(written(tmp_path, text, "r.mtx")))) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{BANNER} coordinate pattern general\n2 2 1\n1 1\n", "pattern.*there are no ratings.*field='real'"),
        (f"{BANNER} coordinate complex general\n2 2 1\n1 1 2 3\n", "holds complex numbers"),
        # scipy reads these as 4.
        (f"{BANNER} coordinate real general\n2 2 1\n1 1 4,5\n", r"line 3 is no entry .*'1 1 4,5'; write numbers with a point"),
        (f"{BANNER} coordinate integer general\n2 2 1\n1 1 4.5x\n", "line 3 is no entry of coordinate integer: '1 1 4.5x'"),
        (f"{BANNER} coordinate real general\n%\n2 2 2\n1 1 4\n2 2 4x\n", "line 5 is no entry of coordinate real: '2 2 4x'"),
        (f"{BANNER} coordinate real general\n2 2 1\n1 1 4 5\n", "line 3"),
        (f"{BANNER} coordinate real general\n2 2 1\n3 1 4\n", "entry 1 has the row 3; they run from 1 to 2"),
        (f"{BANNER} coordinate real general\n2 2 3\n1 1 4\n", "line 2 promises 3 entries, and there are 1"),
        (f"{BANNER} coordinate real general\n2 2 99999999999\n1 1 4\n", "promises 99,999,999,999 entries, and there are 1"),
        (f"{BANNER} array real general\n999999 999999\n1\n", "promises"),
        (f"{BANNER} coordinate real general\n2 2 1\n1 99999999999999999999 1\n", "line 3 is no entry"),
        (f"{BANNER} coordinate real general\n2 2 1\n0 1 4\n", "the row 0; they run from 1"),
        (f"{BANNER} array real symmetric\n2 3\n1\n", "not square"),
        (f"{BANNER} array real hermitian\n2 2\n1\n", "the symmetry is 'hermitian'"),
        (f"{BANNER} array real general\n2 1\n1\n2\n3\n", "promises 2 entries, and there are 3"),
        (f"{BANNER} coordinate real general\n2 2 1\n", "promises 1 entries, and there are 0"),
        (f"{BANNER} coordinate real general\n2 2 1\n1 1 nan\n", "nan is not finite"),
        (f"{BANNER} coordinate real general\n2 x 1\n1 1 1\n", "line 2 must hold the matrix's size"),
        (f"{BANNER} coordinate real general\n2 2 1\n1 1 1e99\n", "1e.99 is beyond float32"),
        (f"{BANNER} coordinate real general\n", "r.mtx: "),
        (f"{BANNER} coordinate real general\n0 0 0\n", "holds no entry"),
        ("%%MatrixMarket tensor coordinate real general\n1 1 1\n1 1 1\n", "r.mtx: "),
    ],
)  # fmt: skip
def test_matrix_market_files_without_ratings_are_refused(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_ratings(written(tmp_path, text, "r.mtx"))


def test_pairs_of_a_pattern_are_read_and_a_matrix_has_no_columns(tmp_path):
    path = written(tmp_path, f"{BANNER} coordinate pattern general\n2 2 2\n1 2\n2 1\n", "r.mtx")
    users, items = read_pairs(path)
    assert (users.tolist(), items.tolist()) == ([1, 2], [2, 1])
    with pytest.raises(
        ValueError, match="item='x' cannot be: rows of a Matrix Market file are users"
    ):
        read_pairs(path, item="x")


def test_what_is_written_is_read_by_scipy(tmp_path):
    wanted = sp.coo_array(([1.5, 0, 2, 1.5], ([1, 1, 3, 1], [2, 1, 4, 2]))).toarray()
    ratings = Ratings.from_arrays([1, 1, 3, 1], [2, 1, 4, 2], [1.5, 0, 2, 1.5])
    write_ratings(ratings, tmp_path / "r.npz", "scipy-npz")
    matrix = sp.load_npz(tmp_path / "r.npz")
    assert matrix.nnz == 4
    assert (matrix.toarray() == wanted).all()
    write_ratings(ratings, tmp_path / "r.mtx")
    assert (scipy.io.mmread(tmp_path / "r.mtx").toarray() == wanted[1:, 1:]).all()


# JSON.

JSON_WRITERS = {
    "pandas.jsonl": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "pandas.json": lambda path: FRAME.to_json(path, orient="records"),
    "pandas.jsonl.gz": lambda path: FRAME.to_json(path, orient="records", lines=True),
    "polars.ndjson": lambda path: pl.from_pandas(FRAME).write_ndjson(path),
    "polars.json": lambda path: pl.from_pandas(FRAME).write_json(path),
    "indent.json": lambda path: Path(path).write_text(
        json.dumps(FRAME.to_dict("records"), indent=2)
    ),
}


@pytest.mark.parametrize("name", JSON_WRITERS)
def test_json_of_all_writers_is_read(tmp_path, name):
    JSON_WRITERS[name](str(tmp_path / name))
    assert read_as(tmp_path / name) == (ROWS, "json" if ".json" in Path(name).suffixes else "jsonl")


def lines(*records) -> str:
    return "".join(f"{json.dumps(record)}\n" for record in records)


RECORD = {"user": "a", "item": 1, "rating": 2}


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        # Amazon's reviews, of 2014 and of 2023, and Yelp's.
        (
            lines({"reviewerID": "A2", "asin": "0001", "helpful": [0, 0], "overall": 5.0,
                   "unixReviewTime": 1252800000, "reviewTime": "09 13, 2009", "style": {"x": 1}}),
            {}, [("A2", "0001", 5.0, 1252800000)],
        ),
        (
            lines({"rating": 5.0, "title": "x", "images": [], "asin": "B0", "parent_asin": "B1",
                   "user_id": "AG", "timestamp": 1588888888883}),
            {}, [("AG", "B0", 5.0, 1588888888883)],
        ),
        (
            lines({"review_id": "r", "user_id": "u", "business_id": "b", "stars": 3.0, "text": "t\nx",
                   "date": "1970-01-02 00:00:01"}),
            {}, [("u", "b", 3.0, 86401)],
        ),
        # Ids come exactly.
        (lines(RECORD | {"user": "2020-01-01"}), {}, [("2020-01-01", 1, 2.0)]),
        (lines(RECORD | {"user": "007"}, RECORD | {"user": "7"}), {}, [("007", 1, 2.0), ("7", 1, 2.0)]),
        (lines(RECORD | {"user": 2**63}), {}, [(2**63, 1, 2.0)]),
        (lines(RECORD | {"user": 7.0}), {}, [(7, 1, 2.0)]),
        (lines(RECORD | {"user": 1}, RECORD), {"ids": "str"}, [("1", "1", 2.0), ("a", "1", 2.0)]),
        (lines(RECORD | {"rating": "4.5"}), {}, [("a", 1, 4.5)]),
        (lines(RECORD, {"x": 1} | RECORD | {"rating": 2.5}), {}, [("a", 1, 2.0), ("a", 1, 2.5)]),
        ("\ufeff\n\n" + lines(RECORD) + "\n  \n", {}, [("a", 1, 2.0)]),
        (lines(RECORD).replace("\n", "\r\n"), {}, [("a", 1, 2.0)]),
        (lines(RECORD)[:-1], {}, [("a", 1, 2.0)]),
        # Fields in fields, and of any name.
        (
            lines({"user": {"id": 5, "n": "x"}, "r": {"item": {"id": 6}, "stars": 4}}),
            {"user": "user.id", "item": "r.item.id", "rating": "r.stars"}, [(5, 6, 4.0)],
        ),
        (lines({"a.b": 1, "item": 2, "rating": 3}), {"user": "a.b"}, [(1, 2, 3.0)]),
        (json.dumps([RECORD | {"user": {"id": 1}}]), {"user": "user.id"}, [(1, 1, 2.0)]),
    ],
)  # fmt: skip
def test_objects_of_all_kinds_are_read(tmp_path, text, options, expected):
    assert rows_of(read_ratings(written(tmp_path, text, "r.jsonl"), **options)) == expected


@pytest.mark.parametrize("times", [(1, None), ("soon", "2024-05-31"), ({"$date": 1}, 1)])
def test_times_that_are_none_everywhere_are_left_out_with_a_warning(tmp_path, times):
    text = lines(*(RECORD | {"time": time} for time in times))
    with pytest.warns(UserWarning, match=r"column 'time' .* left out, .* position [01]"):
        assert rows_of(read_ratings(written(tmp_path, text, "r.jsonl"))) == [("a", 1, 2.0)] * 2


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (lines(RECORD, RECORD) + "{oops\n", {}, "line 3 is no JSON .*: '{oops'; mend the file, or pass on_error='skip'"),
        (lines(RECORD, [1, 2]), {}, "line 2 is no JSON object"),
        (lines(RECORD, RECORD | {"rating": None}), {}, r"line 2 has no rating \('rating'\)"),
        (lines(RECORD, {"user": "b", "item": 1}), {}, "line 2 has no rating"),
        (lines(RECORD, RECORD | {"user": None}, RECORD | {"user": ""}), {}, r"line 2 has no user .*\(1 more such\)"),
        (lines(RECORD, RECORD | {"user": True}), {}, "line 2 has true as the user"),
        (lines(RECORD, RECORD | {"rating": "x"}), {}, "line 2 has the rating 'x'"),
        (lines(RECORD, RECORD | {"rating": float("nan")}), {}, "line 2 has the rating nan"),
        (lines(RECORD, RECORD | {"rating": 10**400}), {}, "line 2 has the rating 1000.*not finite"),
        (lines(RECORD, RECORD | {"user": 1}), {}, "holds texts and numbers .'a' in line 1 and 1 in line 2.: pass ids='str'"),
        (lines(RECORD | {"user": {"id": 1}}), {}, r"the user field 'user' holds .*, not one value: pass user='user.id'"),
        (lines(RECORD | {"rating": [1, 2]}), {}, "the rating field 'rating' holds .*1, 2.*, not one value: make an object"),
        (lines({"who": 1, "item": 2, "rating": 3, "x": 4}), {}, "cannot tell which column holds the user"),
        (lines(RECORD), {"user": "who"}, "user='who' is no column: the columns are 'user', 'item', 'rating'"),
        (lines(RECORD | {"time": "soon"}), {"timestamp": "time"}, "time"),
        (json.dumps([RECORD, {"user": 1}]), {}, r"entry 2 has no item"),
        (json.dumps([RECORD, 5]), {}, "entry 2 is no JSON object"),
        (json.dumps([RECORD])[:-1], {}, "the JSON list cannot be read: .*column"),
        ("[]", {"format": "json"}, "the JSON list is empty"),
        (json.dumps(RECORD, indent=1), {}, "line 1 is no JSON.*write one object a line"),
        (FRAME.to_json(), {}, "the file is one object of 'user', 'item'.*orient='records'"),
        ('{"user": ' * 100_000, {}, "line 1 is no JSON"),
        (lines(RECORD).encode() + b'{"user": "\xff", "item": 1, "rating": 1}\n', {}, "line 2 is no JSON"),
        (lines(RECORD) + '{"user": "\\ud800", "item": 1, "rating": 1}\n', {}, "not valid Unicode"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be_read_are_named(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=rf"(?s)r\.jsonl: .*{message}"):
        read_ratings(written(tmp_path, text, "r.jsonl"), **options)


@pytest.mark.parametrize("as_list", [False, True])
def test_objects_that_cannot_be_read_are_left_out_if_wanted(tmp_path, as_list):
    records = [RECORD, {"user": 1}, RECORD | {"rating": None}, RECORD | {"item": 5}]
    path = written(tmp_path, json.dumps(records) if as_list else lines(*records), "r.json")
    with pytest.warns(
        UserWarning, match=r"2 of 4 rows left out; the first is (line|entry) 2 has no item"
    ):
        assert rows_of(read_ratings(path, on_error="skip")) == [("a", 1, 2.0), ("a", 5, 2.0)]


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_objects_of_other_encodings_are_read(tmp_path, encoding, as_list):
    text = json.dumps(RECORD | {"user": "é"}, ensure_ascii=False)
    path = written(tmp_path, (f"[{text}]" if as_list else f"{text}\n").encode(encoding), "r.txt")
    options = {"encoding": encoding} if encoding == "latin-1" else {}
    assert rows_of(read_ratings(path, **options)) == [("é", 1, 2.0)]
    if encoding == "latin-1":
        with pytest.raises(ValueError, match=r"r\.txt: "):
            read_ratings(path)


def test_a_late_object_of_another_type_is_read_exactly(tmp_path):
    # Beyond the sample by which Arrow is told the types.
    records = [RECORD | {"user": 1}] * 5000
    path = written(tmp_path, lines(*records, RECORD | {"user": 2.0, "rating": "3"}), "r.jsonl")
    assert rows_of(read_ratings(path))[-2:] == [(1, 1, 2.0), (2, 1, 3.0)]
    with pytest.raises(ValueError, match=r"'b' in line 5001.: pass ids='str'"):
        read_ratings(written(tmp_path, lines(*records, RECORD | {"user": "b"}), "r.jsonl"))


# Public sets.

NETFLIX = "1:\n1000001,3,2005-09-06\n1000002,5,2005-05-13\n2:\n1000001,4,1970-01-02\n"
NETFLIX_ROWS = [
    (1000001, 1, 3.0, 1125964800),
    (1000002, 1, 5.0, 1115942400),
    (1000001, 2, 4.0, 86400),
]


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t[:-1],
        lambda t: "\n" + t.replace("2:", "2: \n"),
        lambda t: t + "3:\n",
        lambda t: t + "3:",
    ],
)
def test_netflix_blocks_are_read(tmp_path, change):
    path = written(tmp_path, change(NETFLIX), "combined_data_1.txt")
    assert read_as(path) == (NETFLIX_ROWS, "netflix")
    assert rows_of(read_ratings(path, ids="str"))[0][:2] == ("1000001", "1")


def test_a_folder_of_netflix_is_one_set(tmp_path):
    for folder, prefix in (("kaggle", "combined_data_"), ("original/training_set", "mv_000000")):
        first, second = NETFLIX.split("2:\n")
        written(tmp_path, first[:-1], f"{folder}/{prefix}1.txt")
        written(tmp_path, "2:\n" + second, f"{folder}/{prefix}2.txt")
        top = tmp_path / folder.split("/")[0]
        written(top, "1,2003,Dinosaur Planet\n", "movie_titles.csv")
        written(top, "1:\n30878\n", "probe.txt")
        assert rows_of(read_ratings(top)) == NETFLIX_ROWS


def test_the_pairs_of_netflix_are_read(tmp_path):
    for content in (
        "1:\n30878\n2647871\n10:\n1952305\n",
        "1:\n30878,2005-12-19\n2647871,2005-12-19\n10:\n1952305,2005-12-19\n",
    ):
        path = written(tmp_path, content, "probe.txt")
        users, items = read_pairs(path)
        assert (users.tolist(), items.tolist()) == ([30878, 2647871, 1952305], [1, 1, 10])
        with pytest.raises(ValueError, match=r"holds user.* of each pair but no ratings"):
            read_ratings(path)


@pytest.mark.parametrize(
    "bad", ["1,2", "x,3,2005-09-06", "5,3,2005-13-06", "5,,2005-09-06", "5,3,2005-09-06,7"]
)
def test_rows_of_netflix_that_cannot_be_read_are_named(tmp_path, bad):
    path = written(tmp_path, NETFLIX.replace("2:", f"{bad}\n\n2:"), "combined_data_1.txt")
    with pytest.raises(
        ValueError, match=rf"line 4 of combined_data_1.txt is no row .*'{bad}'; .*on_error='skip'"
    ):
        read_ratings(path)
    with pytest.warns(UserWarning, match="1 of 4 rows left out; the first is line 4"):
        assert rows_of(read_ratings(path, on_error="skip")) == NETFLIX_ROWS


def test_netflix_blocks_beyond_the_readers_block(tmp_path, monkeypatch):
    monkeypatch.setattr("warpfactor.data.formats.rewrite._BLOCK", 64)
    rng = np.random.default_rng(0)
    text, expected = "", []
    for movie in range(1, 60):
        text += f"{movie}:\n"
        for user in rng.integers(1, 99, rng.integers(0, 9)):
            text += f"{user},{user % 5 + 1},1970-01-02\n"
            expected.append((int(user), movie, user % 5 + 1.0, 86400))
    assert rows_of(read_ratings(written(tmp_path, text))) == expected
    with pytest.raises(ValueError, match="none of the Netflix prize"):
        read_ratings(written(tmp_path, "1,2,3\n"), format="netflix")
    with pytest.raises(ValueError, match="user=0 cannot be: a Netflix file says by itself"):
        read_ratings(written(tmp_path, text), user=0)


AMAZON = [
    ("A1N4O8VOJZTDVB", "0000031887", 4.0, 1383350400),
    ("#oc-R11D9D7SHXIJB9", "B00H9A60O4", 1.0, 1383350401),
    ("A1AAAAAAAAAAA1", "000000003X", 5.0, 1383333333),
]


@pytest.mark.parametrize("year", [2014, 2018])
def test_amazons_ratings_are_read_in_either_order(tmp_path, year):
    ordered = [(u, i, r, t) if year == 2014 else (i, u, r, t) for u, i, r, t in AMAZON]
    text = "".join(f"{a},{b},{r},{t}\n" for a, b, r, t in ordered)
    path = written(tmp_path, text, "ratings_Books.csv")
    assert read_as(path) == (AMAZON, "amazon")
    assert [row[:2] for row in rows_of(read_ratings(path, user=0, item=1, rating=2))] == [
        row[:2] for row in ordered
    ]
    users, items = read_pairs(path)
    assert list(zip(users, items, strict=True)) == [row[:2] for row in AMAZON]


def test_amazons_ratings_that_tell_no_order_are_shown_both_ways(tmp_path):
    u, i, r, t = AMAZON[0]
    text = f"{u},{i},{r},{t}\n{i},{u},{r},{t}\n" * 3
    with pytest.raises(
        ValueError,
        match=rf"cannot tell users from items.*pass user=0, item=1 if the user is '{u}', or user=1, item=0 if it is '{i}'",
    ):
        read_ratings(written(tmp_path, text))
    with pytest.raises(ValueError, match="cannot tell users from items"):
        read_ratings(written(tmp_path, "x,y,1,2\n"), format="amazon")
    named = "user_id,parent_asin,rating,timestamp\n" + f"{u},{i},{r},{t}\n"
    assert read_as(written(tmp_path, named)) == (AMAZON[:1], "text")


BOOKS = [(900001, "111111111X", 0.0), (900002, "0222222224", 5.0), (900003, "3-442\xff\xe9x", 10.0)]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
@pytest.mark.parametrize("sep", [";", ","])
def test_book_crossings_ratings_are_read(tmp_path, encoding, sep):
    quote = '"' if sep == ";" else ""
    rows = [("User-ID", "ISBN", "Book-Rating"), *((u, i, int(r)) for u, i, r in BOOKS)]
    text = "".join(sep.join(f"{quote}{field}{quote}" for field in row) + "\r\n" for row in rows)
    path = written(tmp_path, text.encode(encoding), "BX-Book-Ratings.csv")
    assert read_as(path) == (BOOKS, "book-crossing")
    assert rows_of(read_ratings(path, encoding="cp1252"))[0] == BOOKS[0]
    written(tmp_path, "User-ID;Location;Age\n1;x;2\n", "set/BX-Users.csv")
    written(tmp_path, text.encode(encoding), "set/BX-Book-Ratings.csv")
    assert rows_of(read_ratings(tmp_path / "set")) == BOOKS


def test_book_crossings_escaped_quotes_are_read(tmp_path):
    text = '"User-ID";"ISBN";"Book-Rating"\n"1";"\\"0432534220\\"";"6"\n"2";"x";"0"\n'
    assert rows_of(read_ratings(written(tmp_path, text))) == [
        (1, '"0432534220"', 6.0),
        (2, "x", 0.0),
    ]


# RecBole, LIBMF, Surprise.


@pytest.mark.parametrize("sep", ["\t", ",", " "])
def test_recboles_files_are_read_by_their_header(tmp_path, sep):
    header = ["item_id:token", "tags:token_seq", "user_id:token", "rating:float", "timestamp:float"]
    rows = [
        ["i1", "", "007", "4.5", "881111111.0"],
        ["i2", "x y" if sep != " " else "x", "8", "1", "5"],
    ]
    text = "\n".join(sep.join(row) for row in (header, *rows)) + "\n"
    path = written(tmp_path, text, "ml.inter")
    expected = [("007", "i1", 4.5, 881111111.0), ("8", "i2", 1.0, 5.0)]
    assert read_as(path) == (expected, "recbole")
    # As RecBole's settings name fields, or with the type.
    for name in ("item_id", "item_id:token"):
        assert rows_of(read_ratings(path, user=name, item="user_id"))[0][:2] == ("i1", "007")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("user_id:token\titem_id:token\ttimestamp:float\n1\t2\t3\n", {}, "cannot tell which column holds the rating"),
        ("user_id:token\titem_id:token_seq\trating:float\n1\t2 3\t3\n", {}, "item column 'item_id:token_seq' holds lists"),
        ("user_id:token\titem_id:token\trating:float\n1\t2\tx\n", {}, "line 2: the rating 'x' is not a number"),
        ("user\titem\trating\n1\t2\t3\n", {"format": "recbole"}, "no header of RecBole.*pass format='text'"),
    ],
)  # fmt: skip
def test_recboles_files_without_ratings_are_refused(tmp_path, text, options, message):
    with pytest.raises(ValueError, match=message):
        read_ratings(written(tmp_path, text, "x.inter"), **options)


def test_what_is_written_is_read_by_the_rules_of_recbole(tmp_path):
    # As Dataset._load_feat of RecBole 1.2.1 does, which NumPy 2 does not run.
    write_ratings(STRINGS, tmp_path / "set.inter")
    header = (tmp_path / "set.inter").read_text("utf-8").splitlines()[0]
    types = dict(field.split(":") for field in header.split("\t"))
    assert types == {
        "user_id": "token",
        "item_id": "token",
        "rating": "float",
        "timestamp": "float",
    }
    dtypes = {
        f"{name}:{kind}": np.float64 if kind == "float" else str for name, kind in types.items()
    }
    frame = pd.read_csv(
        tmp_path / "set.inter", delimiter="\t", dtype=dtypes, encoding="utf-8", engine="python"
    )
    frame.columns = list(types)
    # pandas takes the user NA for a missing one.
    found = [
        (*row[:2], np.float32(row[2]), row[3]) for row in frame.dropna().itertuples(index=False)
    ]
    assert found == [row for row in rows_of(STRINGS) if row[0] != "NA"]


def test_surprise_reads_what_is_written(tmp_path):
    surprise = pytest.importorskip("surprise")
    write_ratings(INTEGERS, tmp_path / "r.csv")
    reader = surprise.Reader(line_format="user item rating timestamp", sep=",", skip_lines=1)
    found = surprise.Dataset.load_from_file(str(tmp_path / "r.csv"), reader).raw_ratings
    assert [(int(u), int(i), np.float32(r), int(t)) for u, i, r, t in found] == rows_of(INTEGERS)


@pytest.mark.parametrize("sep", [" ", "\t", "  ", " \t"])
def test_triples_of_libmf_are_read(tmp_path, sep):
    path = written(tmp_path, f"3{sep}0{sep}4.5\n10{sep}7{sep}2\n")
    expected = [(3, 0, 4.5), (10, 7, 2.0)]
    assert rows_of(read_ratings(path, format="libmf")) == expected
    write_ratings(Ratings.from_arrays([3, 10], [0, 7], [4.5, 2]), path, "libmf")
    assert path.read_text() == "3 0 4.5\n10 7 2\n"


def test_triples_of_libmf_hold_integers(tmp_path):
    with pytest.raises(ValueError, match="LIBMF's ids are integers, and some user is none"):
        read_ratings(written(tmp_path, "a 0 4\nb 1 2\n"), format="libmf")


def test_a_first_row_that_is_too_long_is_named(tmp_path):
    path = written(tmp_path, "1,2,3,4\n" + "1,2,3\n" * 30)
    with pytest.raises(ValueError, match=r"line 1: has 4 field\(s\) in place of 3"):
        read_ratings(path)


# Texts that other libraries write.


@pytest.mark.parametrize("sep", [",", ";", "\t", "|"])
def test_text_of_pandas_and_polars_is_read(tmp_path, sep):
    frame = FRAME.assign(user=[f'a{sep}b "c"', "two\nlines", "007", "é"])
    expected = [tuple(row) for row in frame.itertuples(index=False)]
    frame.to_csv(tmp_path / "pandas.csv", sep=sep, index=False)
    pl.from_pandas(frame).write_csv(tmp_path / "polars.csv", separator=sep)
    pl.from_pandas(frame).write_csv(tmp_path / "all.csv", separator=sep, quote_style="non_numeric")
    for name in ("pandas", "polars", "all"):
        assert rows_of(read_ratings(tmp_path / f"{name}.csv")) == expected, name


def test_files_of_duckdb_are_read(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    frame = FRAME.assign(user=["007", 'b,"c"', "two\nlines", "é"])
    connection.register("ratings", frame)
    expected = [tuple(row) for row in frame.itertuples(index=False)]
    for name, options in {
        "r.csv": "format csv, header", "r.tsv": "format csv, header, delimiter '\t'", "r.parquet": "format parquet",
        "r.json": "format json, array true", "r.ndjson": "format json", "r.csv.gz": "format csv, header, compression gzip",
    }.items():  # fmt: skip
        connection.execute(f"copy ratings to '{tmp_path / name}' ({options})")
        assert rows_of(read_ratings(tmp_path / name)) == expected, name
    connection.execute(
        f"copy (select * from ratings where item < 3) to '{tmp_path / 'set'}' (format parquet, partition_by (item))"
    )
    assert sorted(row[:2] for row in rows_of(read_ratings(tmp_path / "set"))) == [
        ('b,"c"', 1),
        ("two\nlines", 2),
    ]
    connection.execute(
        f"copy (select user::varchar u, item::hugeint item, rating::decimal(9, 2) rating from ratings) to '{tmp_path / 'd.parquet'}'"
    )
    assert [row[1:] for row in rows_of(read_ratings(tmp_path / "d.parquet"))] == [
        row[1:3] for row in expected
    ]


@pytest.mark.parametrize("name", ["csv", "json", "parquet"])
def test_duckdb_and_polars_read_what_is_written(tmp_path, name):
    path = str(tmp_path / f"r.{'ndjson' if name == 'json' else name}")
    ratings = QUOTED if name != "csv" else STRINGS
    write_ratings(ratings, path)
    types = {"schema_overrides": {"item": pl.String}} if name == "csv" else {}
    scan = {"csv": pl.read_csv, "json": pl.read_ndjson, "parquet": pl.read_parquet}[name]
    frame = scan(path, **types)
    assert [row[:2] for row in frame.rows()] == [row[:2] for row in rows_of(ratings)]
    assert frame["rating"].to_numpy().astype(np.float32).tolist() == ratings.values.tolist()
    duckdb = pytest.importorskip("duckdb")
    function = {"csv": "read_csv", "json": "read_json", "parquet": "read_parquet"}[name]
    extra = ", all_varchar=true" if name == "csv" else ""
    found = duckdb.sql(f"select user, item from {function}('{path}'{extra})").fetchall()
    assert found == [row[:2] for row in rows_of(ratings)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("r.parquet", {"sep": ";"}),
        ("r.npz", {"header": True}),
        ("r.mtx", {"decimal": ","}),
        ("r.feather", {"encoding": "latin-1"}),
        ("r.jsonl", {"quote": "'"}),
    ],
)
@pytest.mark.parametrize("is_set", [False, True])
def test_options_of_text_are_refused_where_there_is_none(tmp_path, name, options, is_set):
    path = tmp_path / name
    write_ratings(Ratings.from_arrays([1, 2], [3, 4], [5.0, 4.0]), path)
    ((option, value),) = options.items()
    with pytest.raises(
        ValueError, match=f"{option}={value!r} says how a text is laid out, but the file is"
    ):
        read_ratings([path, path] if is_set else path, **options)


def test_an_excel_file_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "r.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/worksheets/sheet1.xml", "<worksheet/>")
    with pytest.raises(ValueError, match=r"is one of Excel .* save it as csv"):
        read_ratings(path)


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.int8(), pa.uint64()])
@pytest.mark.parametrize("name", ["r.feather", "r.npz"])
def test_ratings_of_any_width_are_read_without_a_warning(tmp_path, kind, name):
    path = tmp_path / name
    values = np.array([3, 4], kind.to_pandas_dtype())
    if name == "r.npz":
        np.savez(path, users=[1, 2], items=[5, 6], ratings=values)
    else:
        feather.write_feather(
            pa.table({"user": [1, 2], "item": [5, 6], "rating": values}), str(path)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rows_of(read_ratings(path)) == [(1, 5, 3.0), (2, 6, 4.0)]
