from __future__ import annotations

import gzip
import io
import os
import re
import time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, parquet

from warpfactor.data.files import read_pairs, read_ratings
from warpfactor.data.ratings import Ratings


@pytest.fixture
def read(tmp_path):
    """Write a file and read it; the triples of the ratings."""

    def write_and_read(content: str | bytes, name: str = "ratings.csv", **options):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return triples(read_ratings(path, **options))

    return write_and_read


def triples(ratings) -> list[tuple]:
    return list(zip(*(array.tolist() for array in ratings.to_arrays()), strict=True))


@pytest.mark.parametrize("sep", ["::", "\t", ",", ";", "|", " "])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.filterwarnings("ignore:.*taken in their order")
def test_separator_header_and_line_end_are_found(read, sep, header, end, bom):
    lines = [["who", "what", "mark"]] * header + [["1", "x", "3"], ["2", "yz", "4.5"]]
    text = bom + end.join(sep.join(line) for line in lines) + end
    assert read(text) == [(1, "x", 3.0), (2, "yz", 4.5)]


def test_an_explicit_separator_is_used(read):
    assert read("1:2,5:3\n", sep=":") == [(1, "2,5", 3.0)]
    assert read("1\t2\t3\n", sep="\\t") == [(1, 2, 3.0)]
    assert read("1\t2,2\t3,3,3,3\n", format="tsv", rating=0, user=1, item=2) == [
        ("2,2", "3,3,3,3", 1)
    ]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["1", "20", "-3", "0"], [1, 20, -3, 0]),
        (["1", "020"], ["1", "020"]),
        (["1", "+2"], ["1", "+2"]),
        (["1", " 2"], ["1", " 2"]),
        (["1", "-0"], ["1", "-0"]),
        (["1", "1.0"], ["1", "1.0"]),
        (["1", "9223372036854775807"], [1, 2**63 - 1]),
        (["1", "9223372036854775808"], ["1", "9223372036854775808"]),
        (["NA", "null"], ["NA", "null"]),
        (['"a,b"', '"c""d"'], ["a,b", 'c"d']),
    ],
)
def test_ids_are_integers_only_if_nothing_is_lost(read, ids, expected):
    assert [user for user, _, _ in read("".join(f"{i},x,1\n" for i in ids))] == expected


@given(
    rows=st.lists(
        st.tuples(st.text("01-+aé", min_size=1, max_size=4), st.floats(-9, 9, width=32)), min_size=1
    )
)
def test_any_text_ids_come_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("text") / "r.csv"
    path.write_text("user,item,rating\n" + "".join(f"{u},i,{r!r}\n" for u, r in rows), "utf-8")
    ratings = read_ratings(path)
    assert [str(user) for user in ratings.to_arrays()[0]] == [user for user, _ in rows]
    assert ratings.values.tolist() == [rating for _, rating in rows]


def test_columns_are_found_by_name_or_chosen(read):
    text = "x,Rating,movieId,user_id\n9,1,2,3\n"
    assert read(text) == [(3, 2, 1.0)]
    assert read(text, user="x", rating=3) == [(9, 2, 3.0)]
    assert read("5,1,2,3\n", user=1, item=2, rating=3) == [(1, 2, 3.0)]
    assert read("1,2,3\n4,5,6\n", user="1", item="2", rating="3") == [(4, 5, 6.0)]
    assert read("1,2,3\n4,5,6\n", header=True) == [(4, 5, 6.0)]


def test_blank_lines_and_encodings_and_compression(read):
    assert read("\n\nuser,item,rating\n\n1,2,3\n\n") == [(1, 2, 3.0)]
    assert read("\n1::2::3\n\n") == [(1, 2, 3.0)]
    assert read("é,2,3\n".encode("latin-1"), encoding="latin-1") == [("é", 2, 3.0)]
    assert read(gzip.compress(b"1,2,3\n"), "ratings.csv.gz") == [(1, 2, 3.0)]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["1,2,3,50", "1,2,3,60"], [50, 60]),
        (["1,2,3,1970-01-01 00:00:05", "1,2,3,1970-01-01 00:01:00"], [5, 60]),
        (["1,2,3,0.5", "1,2,3,6"], [0.5, 6]),
        (["1,2,3,x", "1,2,3,6"], None),
        (["1,2,3,5", "1,2,3,"], None),
    ],
)
def test_a_fourth_column_is_the_time_if_it_can_be(tmp_path, lines, expected):
    path = tmp_path / "r.csv"
    path.write_text("\n".join(lines))
    found = read_ratings(path).timestamps
    assert found is None if expected is None else found.tolist() == expected
    if expected is None:
        with pytest.raises(ValueError, match="timestamp"):
            read_ratings(path, timestamp=3)


def test_a_late_word_in_a_guessed_time_column_spoils_nothing(tmp_path):
    # Arrow takes the type from its first block of a MiB.
    path = tmp_path / "r.csv"
    path.write_text("1,2,3,4\n" * 400_000 + "1,2,3,x\n")
    assert len(read_ratings(path)) == 400_001


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "the file is empty"),
        ("\n\n", {}, "the file is empty"),
        ("user,item,rating\n", {}, "holds nothing but a header"),
        ("a,b\n1,2\n", {}, "2 field.*columns for user, item, rating are needed"),
        ("abc\n", {}, "no separator found in the first line 'abc'"),
        ("1,2,3\n", {"user": "who"}, "user='who' is no column: the columns are '1', '2', '3'"),
        ("1,2,3\n", {"user": 3}, "user=3: there are columns 0 to 2"),
        ("1,2,3\n", {"user": "x", "header": False}, "header=False"),
        ("1,2,3\n", {"sep": ";;"}, "has 1 field.* separated by ';;'"),
        ("1,2,3\n", {"sep": ""}, "sep is ''"),
        ("1,2,3\n", {"encoding": "klingon"}, "encoding is 'klingon'"),
        ("1,2,3\n", {"format": "xls"}, "format is 'xls'"),
        ("1,2,3\n1,2,\n1,2,\n", {}, r"line 2: the rating is missing: '1,2,' \(1 more"),
        ("1,2,\n4,5,6\n", {}, "line 1: the rating is missing: '1,2,'"),
        ("1,2,NA\n4,5,6\n", {}, "line 1: the rating is missing: '1,2,NA'"),
        ("u,i,rating\n,2,3\n", {}, "line 2: the user is missing: ',2,3'"),
        ("1,2,3\n1,,3\n", {}, "line 2: the item is missing: '1,,3'"),
        ("u,i,r\n1,2,3\n1,2,x\n", {}, "line 3: the rating 'x' is not a number: '1,2,x'"),
        ("1,2,3\n1,2,inf\n", {}, "line 2: the rating 'inf' is not a number"),
        ("1,2,3\n1,2\n", {}, r"line 2: has 2 field\(s\) in place of 3: '1,2'"),
        ("1::2::3\n1:x:2::3\n", {}, r"line 2: has 2 field\(s\) in place of 3: '1:x:2::3'"),
        (b"a,2,3\n\xe9,2,3\n", {}, "pass encoding="),
        (b"\xe9,2,3\n", {}, "pass encoding="),
    ],
)
def test_bad_text_is_named_with_the_file(read, content, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        read(content, **options)
    about_an_option = re.match("(format|sep|encoding) is", str(raised.value))
    assert about_an_option or "ratings.csv: " in str(raised.value)


@pytest.fixture
def pairs(tmp_path):
    """Write a file and read its pairs."""

    def write_and_read(content: str, **options):
        path = tmp_path / "pairs.csv"
        path.write_text(content)
        users, items = read_pairs(path, **options)
        return [(u, i) for u, i, _ in triples(Ratings.from_arrays(users, items, [1] * len(users)))]

    return write_and_read


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("ann lee jr,007\nbob,010\n", {}),
        ("item,user\n007,ann lee jr\n010,bob\n", {}),
        ("ann lee jr::007::5\nbob::010::x\n", {}),
        ("who,what\nann lee jr,007\nbob,010\n", {"header": True}),
        ("a,b,c\n1,007,ann lee jr\n,010,bob\n", {"user": "c", "item": "b"}),
        ("007;ann lee jr\n010;bob\n", {"user": 1, "item": 0, "sep": ";"}),
    ],
)
def test_pairs_need_no_rating(pairs, content, options):
    assert pairs(content, **options) == [("ann lee jr", "007"), ("bob", "010")]


def test_pairs_of_arrays_and_tables_are_read(tmp_path):
    np.savez(tmp_path / "p.npz", users=[0, 1], items=[5, 6], user_ids=["b", "a"])
    assert [ids.tolist() for ids in read_pairs(tmp_path / "p.npz")] == [["b", "a"], [5, 6]]
    parquet.write_table(TABLE, tmp_path / "p.parquet")
    users, items = read_pairs(tmp_path / "p.parquet", item="movieId")
    assert (users.tolist(), items.tolist()) == (["01", "2"], [6, 5])


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "pairs.csv: the file is empty"),
        ("user,item\n", {}, "nothing but a header"),
        ("a\n", {}, "no separator found"),
        ("a,b\n", {"sep": ";"}, "1 field.*columns for user, item are needed"),
        ("a,b\nc\n", {}, r"line 2: has 1 field\(s\) in place of 2: 'c'"),
        ("a,b\n,c\n", {}, "line 2: the user is missing: ',c'"),
    ],
)
def test_bad_pairs_are_named(pairs, content, options, message):
    with pytest.raises(ValueError, match=message):
        pairs(content, **options)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_pipe_is_refused_and_not_called_empty(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="no regular file"):
        read_ratings(tmp_path / "pipe")


@pytest.mark.parametrize(
    "path", [io.BytesIO(b"1,2,3\n"), None, 3, b"r.csv", np.ones((3, 3)), [3], {"r.csv": 1}]
)
def test_what_is_no_path_is_named(path):
    for read in (read_ratings, read_pairs):
        with pytest.raises(ValueError, match=r"path (is|holds) .*; it must be a path"):
            read(path)


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".feather", ".csv.gz"])
def test_damaged_files_are_named(read, suffix):
    with pytest.raises(ValueError, match="r" + suffix):
        read(b"garbage", "r" + suffix)


def test_missing_files_and_directories_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"):
        read_ratings(tmp_path / "nothing.csv")
    with pytest.raises(ValueError, match="the folder holds no files"):
        read_ratings(tmp_path)


TABLE = pa.table(
    {
        "unused": [["nested"], []],
        "rating": [1.5, 2.0],
        "userId": ["01", "2"],
        "movieId": [6, 5],
        "timestamp": pa.array([1, 2], pa.timestamp("s")),
    }
)


def write_stream(table: pa.Table, path: str) -> None:
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        ("parquet", parquet.write_table),
        ("feather", feather.write_feather),
        ("arrows", write_stream),
    ],
)
def test_columnar_files_are_read(tmp_path, suffix, write):
    path = str(tmp_path / f"r.{suffix}")
    write(TABLE, path)
    ratings = read_ratings(path)
    assert triples(ratings) == [("01", 6, 1.5), ("2", 5, 2.0)]
    assert ratings.timestamps.tolist() == [1, 2]
    assert triples(read_ratings(path, user="movieId", item=2)) == [(6, "01", 1.5), (5, "2", 2.0)]
    with pytest.raises(ValueError, match="user='who' is no column: the columns are 'unused'"):
        read_ratings(path, user="who")


def test_npz_arrays_are_ids_or_positions_in_ids(tmp_path):
    path = tmp_path / "r.npz"
    np.savez(path, users=["b", "a"], items=[3, 3], ratings=[1.0, 2.0], fold=[1, 2])
    assert triples(read_ratings(path)) == [("b", 3, 1.0), ("a", 3, 2.0)]
    assert triples(read_ratings(path, rating="fold")) == [("b", 3, 1.0), ("a", 3, 2.0)]
    np.savez(path, users=[0, 1], items=[1, 1], values=[1, 2], user_ids=["b", "a"], item_ids=[9, 3])
    ratings = read_ratings(path)
    assert triples(ratings) == [("b", 3, 1.0), ("a", 3, 2.0)]
    assert ratings.item_ids.tolist() == [3, 9], "ids without a rating stay"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ratings": None}, "no array 'ratings' or 'values': the file has"),
        ({"users": np.array(["a", 1], object)}, "Python objects"),
        ({"user_ids": [1]}, "users: 1 at position 1 is no position in user_ids"),
        ({"user_ids": [1, 1]}, r"user_ids holds 1 repeated id\(s\)"),
        (
            {"users": [0.0, 1.0], "user_ids": [1, 2]},
            "users has dtype .*; it must be 1-D integer positions",
        ),
        ({"users": [0]}, "lengths differ"),
        ({"ratings": [1, np.nan]}, "array ratings: nan is not finite in row 1"),
    ],
)
def test_bad_npz_arrays_are_named(tmp_path, change, message):
    arrays = {"users": [0, 1], "items": [0, 1], "ratings": [1, 2]} | change
    np.savez(tmp_path / "r.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(ValueError, match=message):
        read_ratings(tmp_path / "r.npz")


@pytest.mark.parametrize(
    ("name", "counts", "scale", "times"),
    [
        ("ml-100k/u.data", (100_000, 943, 1682), (1, 5), True),
        ("ml-100k/ml-100k.npz", (100_000, 943, 1682), (1, 5), True),
        ("ml-1m/ratings.dat", (1_000_209, 6040, 3706), (1, 5), False),
        ("ml-1m/ml-1m.npz", (1_000_209, 6040, 3706), (1, 5), False),
        ("ml-latest-small/ratings.csv", (100_836, 610, 9724), (0.5, 5), True),
        ("movietweetings-100k.dat", (100_000, 16_554, 10_506), (0, 10), True),
        ("filmtrust.npz", (35_497, 1508, 2071), (0.5, 4), False),
        ("jester-1.npz", (1_810_455, 24_983, 100), (-9.95, 10), False),
    ],
)
def test_real_files_have_the_published_counts(data_path, name, counts, scale, times):
    ratings = read_ratings(data_path(name))
    assert (len(ratings), *ratings.shape) == counts
    limits = ratings.values.min(), ratings.values.max()
    assert limits == pytest.approx(scale)
    assert (ratings.timestamps is not None) == times


def test_the_text_and_the_arrays_of_movielens_1m_agree(data_path):
    text, arrays = (read_ratings(data_path(f"ml-1m/{n}")) for n in ("ratings.dat", "ml-1m.npz"))
    for a, b in zip(text.to_arrays(), arrays.to_arrays(), strict=True):
        assert (a == b).all()


def test_movietweetings_keeps_its_leading_zeros(data_path):
    ratings = read_ratings(data_path("movietweetings-100k.dat"))
    assert "0104257" in ratings.item_ids
    assert ratings.user_ids.dtype == np.int64


def test_a_million_lines_take_well_under_a_second(data_path):
    path = data_path("ml-1m/ratings.dat")
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        read_ratings(path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0
