from __future__ import annotations

import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warpfactor.data.ids import encode_ids, id_kind, lookup_ids, pack_ids, parse_id, unpack_ids

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
        (["a"], [U1], f"holds {U1}; the model's are strings: pass '{U1}'"),
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


def test_typed_ids_are_read_as_the_models_kind():
    assert parse_id("-17", np.array([1])) == -17
    assert parse_id("017", np.array(["x"], object)) == "017"
    assert parse_id(str(U1), np.array([U1], object)) == U1
    for text, ids in (("x", [1]), ("1_7", [1]), (" 1", [1]), ("1.0", [1])):
        with pytest.raises(ValueError, match="no integer"):
            parse_id(text, np.array(ids))
    with pytest.raises(ValueError, match="no UUID"):
        parse_id("x", np.array([U1], object))


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
