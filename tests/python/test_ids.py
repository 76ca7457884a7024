from __future__ import annotations

import pickle
import re
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpfactor import _core
from warpfactor.data.ids import (
    IdError,
    convert_ids,
    encode_id_columns,
    encode_ids,
    encode_texts,
    id_kind,
    lookup_ids,
    pack_ids,
    read_id,
    unpack_ids,
)

U1, U2 = uuid.UUID(int=1), uuid.UUID(int=2**127)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
columns = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.integers(0, 2**64 - 1), min_size=1),
    st.lists(texts, min_size=1),
    st.lists(st.uuids(), min_size=1),
)


@given(columns)
def test_codes_and_ids_give_the_values_back(values):
    codes, ids = encode_ids(values, "users")
    assert codes.dtype == np.int32
    assert ids[codes].tolist() == values
    assert ids.tolist() == sorted(set(values))


@given(columns)
def test_packed_ids_come_back_the_same(values):
    ids = encode_ids(values, "users")[1]
    packed = pack_ids(ids)
    assert all(array.dtype.kind in "iu" for array in packed.values())
    back = unpack_ids(packed, id_kind(ids))
    assert back.dtype == ids.dtype
    assert back.tolist() == ids.tolist()


@given(columns, columns)
def test_lookup_finds_known_ids_and_no_others(known, wanted):
    ids = encode_ids(known, "users")[1]
    if id_kind(ids) != id_kind(encode_ids(wanted, "users")[1]):
        with pytest.raises(ValueError, match="the model's are "):
            lookup_ids(ids, wanted, "user ids")
        return
    for values in (wanted, known):  # apart: together they may fit neither int64 nor uint64
        codes = lookup_ids(ids, values, "user ids")
        assert codes.dtype == np.int32
        assert codes.tolist() == [ids.tolist().index(v) if v in known else -1 for v in values]


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 3], np.int8),
        np.array([3, 0, 1, 0, 3], np.uint16)[::2],
        np.array([3, 1, 3], ">i4"),
        np.array([3.0, 1.0, 3.0]),
        np.array([3, 1.0, 3], object),
        [3, 1, 3],
        (3, np.int32(1), 3),
        pa.array([3, 1, 3], pa.uint32()),
        pa.chunked_array([[3, 1], [3]]),
        pa.array([3, 1, 3]).dictionary_encode(),
        pa.array([3.0, 1.0, 3.0]),
        np.ma.array([3, 1, 3], mask=False),
    ],
)
def test_integers_of_any_container_become_int64(values):
    codes, ids = encode_ids(values, "users")
    assert ids.dtype == np.int64
    assert (codes.tolist(), ids.tolist()) == ([1, 0, 1], [1, 3])


@pytest.mark.parametrize(
    "values",
    [
        ["010", "", "010"],
        np.array(["010", "", "010"]),
        np.array([b"010", b"", b"010"]),
        np.array(["010", "", "010"], np.dtypes.StringDType()),
        np.array(["010", "", "010"], object),
        pa.array(["010", "", "010"]),
        pa.array(["010", "", "010"], pa.string_view()),
        pa.array(["010", "", "010"]).dictionary_encode(),
        pa.chunked_array(
            [pa.array(["010", ""]).dictionary_encode(), pa.array(["010"]).dictionary_encode()]
        ),
        pa.DictionaryArray.from_arrays([2, 0, 2], ["", "unused", "010"]),
        pa.DictionaryArray.from_arrays([2, 0, 1], ["", "010", "010"]),
    ],
)
def test_strings_of_any_container_keep_leading_zeros(values):
    codes, ids = encode_ids(values, "users")
    assert (codes.tolist(), ids.tolist()) == ([1, 0, 1], ["", "010"])
    assert ids.dtype == object and type(ids[1]) is str


def test_series_of_pandas_and_polars_are_taken():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for values in (
        pd.Series(["b", "a", "b"]),
        pd.Series(["b", "a", "b"], dtype=object),
        pd.Series(["b", "a", "b"], dtype="category"),
        pd.Index(["b", "a", "b"]),
        pl.Series(["b", "a", "b"]),
        pl.Series(["b", "a", "b"], dtype=pl.Categorical),
    ):
        codes, ids = encode_ids(values, "users")
        assert (codes.tolist(), ids.tolist()) == ([1, 0, 1], ["a", "b"])
    for values in (pd.Series([U2, U1]), pl.Series([U2, U1], dtype=pl.Object), pa.array([U2, U1])):
        assert encode_ids(values, "users")[1].tolist() == [U1, U2]
    for values in (
        pd.Series([5, None], dtype="Int64"),
        pd.Series([5.0, None]),
        pl.Series([5, None]),
    ):
        with pytest.raises(ValueError, match="position 1"):
            encode_ids(values, "users")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, "a"], r"users: ids of mixed kinds, 1 at position 0 and 'a' at position 1"),
        (["a", 2, None], r"'a' at position 0 and 2 at position 1"),
        ([U1, "a"], "mixed kinds"),
        (["a", None], r"users: the id at position 1 is missing \(None\)"),
        (["a", float("nan")], "position 1 is missing"),
        ([True, False], "True at position 0 is no id"),
        (np.array([True]), "dtype bool"),
        (np.array([1, 2.5]), "2.5 at position 1 is no exact integer"),
        (np.array([1, np.nan]), "nan at position 1"),
        (np.array([np.inf]), "inf at position 0"),
        (np.array([2.0**53]), "at position 0 is no exact integer"),
        (np.array([2.0**24], np.float32), "as float32"),
        ([1, 2**64], "18446744073709551616 at position 1"),
        ([-1, 2**63], "fit neither int64 nor uint64"),
        (pa.array(["a", None]), "1 missing value.*position 1"),
        (pa.array(["a", None]).dictionary_encode(), "position 1"),
        (pa.DictionaryArray.from_arrays([0, 1], pa.array(["a", None])), "position 1"),
        (np.ma.array([1, 2], mask=[0, 1]), "position 1 is masked"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
        (pa.array([1.5, None]), "missing"),
        (np.zeros((2, 2), int), r"has shape \(2, 2\); it must be 1-D"),
        ([[1, 2]], "is no id"),
        ("abc", "must be one column"),
        (7, "must be one column"),
        (["\ud800"], "not valid Unicode"),
        (np.array([b"\xff"]), "UTF-8"),
        ([1 + 2j], "is no id"),
    ],
)
def test_what_is_no_id_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        encode_ids(values, "users")


def test_integers_beyond_int64_stay_exact():
    codes, ids = encode_ids([2**63, 2**63 + 1, 5], "users")
    assert ids.dtype == np.uint64
    assert ids[codes].tolist() == [2**63, 2**63 + 1, 5]
    assert lookup_ids(ids, [2**63 + 1, 2**63 + 2, 5], "user ids").tolist() == [2, -1, 0]
    assert lookup_ids(ids, [-1, 5], "user ids").tolist() == [-1, 0]
    small = encode_ids([5, 6], "users")[1]
    assert lookup_ids(small, [2**63, 6], "user ids").tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("known", "wanted", "message"),
    [
        ([17], ["17"], "user ids holds the string '17'; the model's are integers: pass 17"),
        ([17], ["x"], "holds the string 'x'; the model's are integers: pass integers"),
        (["17"], [17], "user ids holds 17; the model's are strings: pass '17'"),
        ([U1], [str(U1)], f"the string '{U1}'; the model's are UUIDs: pass uuid.UUID\\('{U1}'\\)"),
        ([str(U1)], [U1], f"holds {U1}; the model's are strings: pass '{U1}'"),
        (["1.0", "2.0"], [1], r"holds 1; the model's are strings: pass '1\.0'"),
        ([" 1", " 2"], [1.0], "holds 1; the model's are strings: pass ' 1'"),
        (["007"], [7], "the model's are strings: pass '007'"),
        ([17], ["017"], "the string '017'; the model's are integers: pass 17"),
        ([17], ["18.0"], "the model's are integers: pass integers, such as 17"),
        ([U1], [f"{{{U1}}}"], f"the model's are UUIDs: pass uuid.UUID\\('{U1}'\\)"),
        (["a"], [U1], r"strings: pass strings, such as 'a' \(none is like uuid.UUID\('"),
        (["a", "b"], [7], r"pass strings, such as 'a', 'b' \(none is like 7\)"),
        ([4, 5], [U1], r"pass integers, such as 4, 5 \(none is like uuid.UUID\('"),
    ],
)
def test_ids_of_another_kind_are_refused_with_the_fix(known, wanted, message):
    with pytest.raises(ValueError, match=message):
        lookup_ids(encode_ids(known, "users")[1], wanted, "user ids")


def test_lookup_of_many_strings_agrees_with_lookup_of_few():
    ids = encode_ids([f"u{i}" for i in range(0, 5000, 2)], "users")[1]
    wanted = [f"u{i}" for i in range(5000)]
    many = lookup_ids(ids, wanted, "user ids")
    assert (many >= 0).tolist() == [True, False] * 2500
    assert many[:100].tolist() == lookup_ids(ids, wanted[:100], "user ids").tolist()


def test_no_values_have_no_codes_whatever_the_kind():
    for empty in ([], np.empty(0), np.empty(0, "U1"), pa.array([])):
        assert encode_ids(empty, "users")[0].tolist() == []
        assert lookup_ids(np.array(["a"], object), empty, "user ids").tolist() == []


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("-17", "int", -17),
        ("0", "int", 0),
        ("18446744073709551615", "int", 2**64 - 1),
        ("017", "str", "017"),
        (str(U1), "uuid", U1),
        (f"{{{U2}}}".upper(), "uuid", U2),
        *(
            (text, "int", None)
            for text in ("x", "1_7", " 1", "1.0", "007", "-0", "+1", "", "\u0661")
        ),
        *((text, "uuid", None) for text in ("x", "", "7", f" {U1}", "0_" * 16, " " * 31 + "1")),
    ],
)
def test_an_id_is_read_as_a_kind_only_if_it_is_written_so(text, kind, value):
    assert read_id(text, kind) == value


CANONICAL = re.compile("0|-?[1-9][0-9]*")


def chunked(draw, values):
    """An Arrow column of some texts: chunks of any size and type, slices of larger arrays."""
    chunks, at = [], 0
    while at < len(values):
        size = draw(st.integers(1, len(values)))
        wide, before, after = draw(st.booleans()), draw(st.integers(0, 9)), draw(st.integers(0, 3))
        part = [*["?"] * before, *values[at : at + size], *["?"] * after]
        array = pa.array(part, pa.large_string() if wide else pa.string())
        chunks.append(array.slice(before, len(part) - before - after))
        at += size
    return chunks


written = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(str),
    st.integers(-50, 50).map(str),
    st.sampled_from(["007", "-0", "7.0", "+7", " 7", "7\xa0", "9223372036854775808", "12345678a"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
)


@given(
    st.data(),
    st.one_of(st.lists(st.integers(-99, 99).map(str)), st.lists(written)),
    st.integers(1, 3),
)
def test_texts_of_any_chunks_are_numbered_as_python_would(data, values, n_threads):
    chunks = chunked(data.draw, values)
    codes, ids = encode_texts(iter(chunks), "users", n_threads=n_threads)
    exact = [int(v) for v in values if CANONICAL.fullmatch(v) and -(2**63) <= int(v) < 2**63]
    expected = exact if len(exact) == len(values) else values
    assert codes.dtype == np.int32
    assert ids.dtype == (np.int64 if len(exact) == len(values) else object)
    assert ids.tolist() == sorted(set(expected))
    assert ids[codes].tolist() == expected
    codes, ids = encode_texts(chunks, "users", "str", n_threads=n_threads)
    assert ids.dtype == object
    assert ids[codes].tolist() == values
    if chunks:
        column = pa.chunked_array([chunk.cast(pa.string()) for chunk in chunks])
        assert encode_ids(column, "users")[1].tolist() == sorted(set(values))


@given(st.data(), st.lists(st.one_of(st.none(), st.just(""), written), min_size=1))
def test_missing_texts_are_counted_and_the_first_has_its_row(data, values):
    chunks = chunked(data.draw, values)
    missing = [row for row, value in enumerate(values) if not value]
    if not missing:
        assert len(encode_texts(chunks, "users")[0]) == len(values)
        return
    with pytest.raises(IdError, match="missing, the first in data row") as caught:
        encode_texts(chunks, "users")
    assert (caught.value.row, caught.value.count) == (missing[0], len(missing))


@given(st.data(), st.lists(written, min_size=1), st.sampled_from([" ", "\t", "\xa0", " \xa0\t "]))
def test_blanks_around_texts_are_stripped_on_demand(data, values, blank):
    bare = [value.strip(" \t\xa0") or "x" for value in values]
    padded = [blank + value if len(value) % 2 else value + blank for value in bare]
    stripped = encode_texts(chunked(data.draw, padded), "users", "str", strip=True)
    assert stripped[1][stripped[0]].tolist() == bare
    kept = encode_texts(chunked(data.draw, padded), "users")
    assert kept[1][kept[0]].tolist() == padded


def test_nothing_but_blanks_is_a_missing_id_once_stripped():
    values = pa.array(["a", " \t\xa0", "b", " "])
    assert encode_texts(values, "users")[1].tolist() == [" ", " \t\xa0", "a", "b"]
    with pytest.raises(IdError, match=r"users: 2 id\(s\) missing, the first in data row 2: fill"):
        encode_texts(values, "users", strip=True)


@pytest.mark.parametrize(
    ("kind", "values", "row", "count", "message"),
    [
        ("int", ["1", "007", "2", "007"], 1, 2, r"users: '007' in data row 2 is not an integer \(and in 1 more"),
        ("int", ["1", "2", "3.0"], 2, 1, r"users: '3.0' in data row 3 is not an integer$"),
        ("int", ["x", "y", "-0"], 0, 3, "'x' in data row 1"),
        ("int", ["5", " 5", "6"], 1, 1, "' 5' in data row 2"),
        ("uuid", [str(U1), "7", str(U2)], 1, 1, "'7' in data row 2 is not a UUID"),
    ],
)  # fmt: skip
def test_texts_of_another_kind_are_named_with_their_row(kind, values, row, count, message):
    with pytest.raises(IdError, match=message) as caught:
        encode_texts(pa.array(values), "users", kind)
    assert (caught.value.row, caught.value.count) == (row, count)
    assert "line 17" in caught.value.at("line 17")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.row, again.count) == (str(caught.value), row, count)


def test_texts_are_read_as_the_kind_that_is_asked_for():
    numbers = pa.array(["10", "9", "10"])
    for kind, ids in (("auto", [9, 10]), ("int", [9, 10]), ("str", ["10", "9"])):
        codes, found = encode_texts(numbers, "users", kind)
        assert found.tolist() == ids and str(found[codes[1]]) == "9"
    spelled = pa.array([str(U2), str(U1).upper(), f"{{{U1}}}"])
    codes, found = encode_texts(spelled, "users", "uuid")
    assert (codes.tolist(), found.tolist()) == ([1, 0, 0], [U1, U2])
    wide = pa.array(["18446744073709551615", "1"])
    assert encode_texts(wide, "users", "int")[1].tolist() == [1, 2**64 - 1]
    assert encode_texts(wide, "users")[1].tolist() == ["1", "18446744073709551615"]
    for kind, dtype in (("auto", np.int64), ("int", np.int64), ("str", object), ("uuid", object)):
        codes, found = encode_texts(iter([]), "users", kind)
        assert (len(codes), len(found), found.dtype) == (0, 0, dtype)


def test_texts_of_any_arrow_type_are_taken():
    values = ["7", "u", "7"]
    for kind in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
    ):
        codes, ids = encode_texts([pa.array(values).cast(kind)], "users")  # fmt: skip
        assert ids[codes].tolist() == values
    bad = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    with pytest.raises(ValueError, match="users: an id is not valid UTF-8"):  # fmt: skip
        encode_texts(bad, "users")


def test_damaged_arrow_buffers_are_refused():
    encoder = _core.TextEncoder()
    with pytest.raises(ValueError, match="damaged at row 0"):
        encoder.add(None, np.array([5, 9], np.int32), b"abc", 0, 1, False)
    with pytest.raises(ValueError, match="make another"):
        encoder.finish()
    with pytest.raises(ValueError, match="which its buffers do not hold"):
        _core.TextEncoder().add(None, np.array([0, 1], np.int32), b"a", 0, 2, False)
    with pytest.raises(MemoryError):
        _core.TextEncoder().reserve(2**61)


def test_encoded_ids_change_their_kind_where_they_are_written_the_same():
    codes = np.array([0, 1, 1], np.int32)
    for before, kind, expected in (
        ([9, 10], "str", ["9", "10", "10"]),
        (["-7", "7"], "int", [-7, 7, 7]),
        ([U1, U2], "str", [str(U1), str(U2), str(U2)]),
        ([str(U1), str(U2)], "uuid", [U1, U2, U2]),
        ([9, 10], "int", [9, 10, 10]),
    ):
        ids = encode_ids(before, "users")[1]
        new_codes, new = convert_ids(codes, ids, kind, "users")
        assert new[new_codes].tolist() == expected
        assert new.tolist() == sorted(set(expected))
    for before, kind in ((["01", "1"], "int"), ([9, 10], "uuid"), ([U1, U2], "int")):
        with pytest.raises(IdError, match="in data row 1 is not"):
            convert_ids(codes, encode_ids(before, "users")[1], kind, "users")


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.integers(1, 3))
def test_integers_are_numbered_as_numpy_would(values, n_threads):
    array = np.array([*values, *range(300)], np.int64)
    codes, ids = _core.encode_integers(array, n_threads)
    expected, inverse = np.unique(array, return_inverse=True)
    assert ids.tolist() == expected.tolist()
    assert codes.tolist() == inverse.tolist()


INTEGERS = {
    "close": lambda n: n,
    "with gaps": lambda n: 3 * n,
    "below zero": lambda n: n - 7,
    "far from zero": lambda n: n + 10**9,
    "far apart": lambda n: n * 1_000_003,
}


@pytest.mark.parametrize("second", INTEGERS)
@pytest.mark.parametrize("first", INTEGERS)
def test_columns_numbered_together_are_numbered_like_each_alone(first, second):
    numbers = np.random.default_rng(0).integers(0, 900, (40_000, 2))
    for made in (
        np.stack([INTEGERS[first](numbers[:, 0]), INTEGERS[second](numbers[:, 1])], axis=1),
        np.stack([INTEGERS[first](numbers[:, 0]), INTEGERS[second](numbers[:, 1])])[:, ::-1].T,
    ):
        for dtype in (np.int64, np.int32):
            pair = made.astype(dtype)
            for (codes, ids), column in zip(
                encode_id_columns(("u", pair[:, 0]), ("i", pair[:, 1])), pair.T, strict=True
            ):
                expected, inverse = np.unique(column, return_inverse=True)
                assert ids.dtype == np.int64 and codes.dtype == np.int32
                assert np.array_equal(ids, expected) and np.array_equal(codes, inverse)


@pytest.mark.parametrize(
    ("users", "items"),
    [
        (np.array([3, 1, 3], np.int64), np.array([2, 2, 1], np.int32)),
        (np.array([3, 1, 3], np.uint8), ["b", "a", "b"]),
        (["b", "a", "b"], [U1, U2, U1]),
        (pa.array([3, 1, 3]), np.array([3, 1, 3])),
        (np.array([3, 1]), np.array([3, 1, 2])),
        (np.array([], np.int64), np.array([], np.int64)),
    ],
)
def test_columns_of_any_kinds_are_numbered_together(users, items):
    for (codes, ids), values in zip(
        encode_id_columns(("u", users), ("i", items)), (users, items), strict=True
    ):
        alone_codes, alone_ids = encode_ids(values, "alone")
        assert codes.tolist() == alone_codes.tolist() and ids.tolist() == alone_ids.tolist()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
@pytest.mark.parametrize("spread", [1, 1_000_003])
def test_integers_of_every_width_and_layout_are_numbered_alike(dtype, spread):
    if np.dtype(dtype).itemsize < 4 and spread > 1:
        spread = 3  # far apart for so few numbers
    numbers = np.random.default_rng(0).integers(0, 40, 3000) * spread
    expected = np.unique(numbers, return_inverse=True)
    pairs = np.zeros((len(numbers), 2), dtype)
    pairs[:, 1] = numbers
    packed = np.zeros(
        len(numbers), [("flag", "i1"), ("id", dtype)]
    )  # no id but the first is aligned
    packed["id"] = numbers
    for column in (pairs[:, 1], pairs[::-1, 1][::-1], pairs[:, 1].copy(), packed["id"]):
        codes, ids = encode_ids(column, "users")
        assert ids.dtype == np.int64
        assert ids.tolist() == expected[0].tolist()
        assert codes.tolist() == expected[1].tolist()


def _packed(utf8: bytes, offsets: list[int]) -> dict[str, np.ndarray]:
    return {"utf8": np.frombuffer(utf8, np.uint8), "offsets": np.array(offsets, np.int64)}


@pytest.mark.parametrize(
    ("arrays", "kind", "message"),
    [
        (_packed(b"ab", [0, 1, 2]), "blob", "kind of ids is 'blob'"),
        (_packed(b"ab", [0, 1, 2]), "int", "must be in the 1-D arrays"),
        ({"values": np.array([1.0])}, "int", "float64"),
        ({"values": np.array([2, 1])}, "int", "sorted and distinct"),
        (_packed(b"ab", [0, 1, 3]), "str", "from 0 to 2"),
        (_packed(b"ab", [1, 2]), "str", "from 0 to 2"),
        (_packed(b"ab", []), "str", "from 0 to 2"),
        (_packed(b"ab", [0, 2, 1, 2]), "str", "fall after position 1"),
        (_packed(b"a\xff", [0, 1, 2]), "str", "not valid UTF-8"),
        (_packed("é".encode(), [0, 1, 2]), "str", "not valid UTF-8"),
        (_packed(b"ba", [0, 1, 2]), "str", r"holds \['b', 'a'\] at position 0"),
        (_packed(b"aa", [0, 1, 2]), "str", "sorted and distinct"),
        (_packed(b"ab", [0, 1, 2]), "uuid", "'a' is no UUID"),
        ({"utf8": np.zeros(1), "offsets": np.zeros(2, int)}, "str", "uint8"),
    ],
)
def test_damaged_ids_are_refused(arrays, kind, message):
    with pytest.raises(ValueError, match=message):
        unpack_ids(arrays, kind)
