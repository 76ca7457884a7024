"""Columns of any library and type: read right, or refused by a ValueError with name, value and fix."""

from __future__ import annotations

import array
import datetime as dt
import decimal
import fractions
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from warpfactor.data.columns import as_float32, check_weights
from warpfactor.data.ids import encode_ids
from warpfactor.data.times import as_timestamps

D, F = decimal.Decimal, fractions.Fraction
REFUSED = None


def ids(values: Any, name: str) -> list[Any]:
    codes, distinct = encode_ids(values, name)
    return distinct[codes].tolist()


def ratings(values: Any, name: str) -> list[float]:
    found = as_float32(values, name)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert not (isinstance(values, np.ndarray) and np.shares_memory(found, values))
    return found.tolist()


def times(values: Any, name: str) -> list[float]:
    return as_timestamps(values, name).tolist()


def check(values: Any, as_rating: Any, as_id: Any, as_time: Any) -> None:
    """Compare what a column is as ratings, ids and times; REFUSED where it is none."""
    for read, expected in ((ratings, as_rating), (ids, as_id), (times, as_time)):
        if expected is not REFUSED:
            assert read(values, "column") == expected, read.__name__
            continue
        # pyarrow's errors are ValueErrors too, without name or fix.
        with pytest.raises(ValueError, match=r"^column( |:).*(:|;) ") as error:
            read(values, "column")
        assert type(error.value) is ValueError, read.__name__


ONE = [1, 2, 3]
WORDS = ["b", "a", "b"]


@pytest.mark.parametrize(
    ("values", "as_rating", "as_id", "as_time"),
    [
        (np.array(ONE, np.longdouble), ONE, ONE, ONE),
        (np.array([1.5, 2], np.longdouble), [1.5, 2], REFUSED, [1.5, 2]),
        (np.array(ONE, np.float16), ONE, ONE, ONE),
        (np.array(ONE, ">f4"), ONE, ONE, ONE),
        (np.array(ONE, ">i8"), ONE, ONE, ONE),
        (np.array([True, False]), [1, 0], REFUSED, REFUSED),
        (np.array(ONE, complex), REFUSED, REFUSED, REFUSED),
        (np.zeros(2, [("a", int)]), REFUSED, REFUSED, REFUSED),
        (np.zeros(2, "V4"), REFUSED, REFUSED, REFUSED),
        (np.array(ONE, "m8[s]"), REFUSED, REFUSED, REFUSED),
        (np.array(ONE, "M8[s]"), REFUSED, REFUSED, ONE),
        (np.array(1.0), REFUSED, REFUSED, REFUSED),
        (np.ones((3, 1)), REFUSED, REFUSED, REFUSED),
        (np.array([b"1", b"2"]), REFUSED, ["1", "2"], REFUSED),
        (np.array(["1", "2"]), REFUSED, ["1", "2"], REFUSED),
        (np.array(["1", "2"], np.dtypes.StringDType()), REFUSED, ["1", "2"], REFUSED),
        (np.array([1, None], object), REFUSED, REFUSED, REFUSED),
        (np.array([1, 2.5], object), [1, 2.5], REFUSED, [1, 2.5]),
        (np.array(ONE, object), ONE, ONE, ONE),
        ([D("1.5"), D(2)], [1.5, 2], REFUSED, [1.5, 2]),
        ([F(1, 2), F(2)], [0.5, 2], REFUSED, [0.5, 2]),
        ([D("NaN")], REFUSED, REFUSED, REFUSED),
        ([D("sNaN")], REFUSED, REFUSED, REFUSED),
        ([10**30, 2], [np.float32(1e30), 2], REFUSED, [1e30, 2]),
        ([10**400], REFUSED, REFUSED, REFUSED),
        ([1, "2"], REFUSED, REFUSED, REFUSED),
        ([1, float("nan")], REFUSED, REFUSED, REFUSED),
        ([1, 2j], REFUSED, REFUSED, REFUSED),
        ([[1], [2]], REFUSED, REFUSED, REFUSED),
        ([[1], [2, 3]], REFUSED, REFUSED, REFUSED),
        ([dt.time(1)], REFUSED, REFUSED, REFUSED),
        ([dt.timedelta(1)], REFUSED, REFUSED, REFUSED),
        ([b"a"], REFUSED, REFUSED, REFUSED),
        ([np.datetime64("NaT")], REFUSED, REFUSED, REFUSED),
        ([object()], REFUSED, REFUSED, REFUSED),
        ([uuid.UUID(int=1)], REFUSED, [uuid.UUID(int=1)], REFUSED),
        (5, REFUSED, REFUSED, REFUSED),
        ("123", REFUSED, REFUSED, REFUSED),
        (b"123", REFUSED, REFUSED, REFUSED),
        (None, REFUSED, REFUSED, REFUSED),
        ({1, 2}, REFUSED, REFUSED, REFUSED),
        ({1: 2}, REFUSED, REFUSED, REFUSED),
        ({1: 2}.values(), [2], [2], [2]),
        (range(3), [0, 1, 2], [0, 1, 2], [0, 1, 2]),
        (memoryview(np.array(ONE)), ONE, ONE, ONE),
        (array.array("d", ONE), ONE, ONE, ONE),
        (np.ma.array(ONE, mask=[0, 1, 0]), REFUSED, REFUSED, REFUSED),
        (np.ma.array(ONE), ONE, ONE, ONE),
    ],
)
def test_columns_of_numpy_and_python(values, as_rating, as_id, as_time):
    check(values, as_rating, as_id, as_time)


def union() -> pa.Array:
    parts = [pa.array([1]), pa.array(["a"])]
    return pa.UnionArray.from_dense(
        pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), parts
    )


@pytest.mark.parametrize(
    ("values", "as_rating", "as_id", "as_time"),
    [
        (pa.array([D("1.5"), D(2)]), [1.5, 2], REFUSED, [1.5, 2]),
        (pa.array([D(2**60), D(2)]), [2.0**60, 2], [2**60, 2], [2**60, 2]),
        (pa.array([D("1.5")], pa.decimal256(50, 1)), [1.5], REFUSED, [1.5]),
        (pa.array([D(10**30)], pa.decimal128(38, 0)), REFUSED, REFUSED, REFUSED),
        (pa.array([3, 1, 3]).dictionary_encode(), [3, 1, 3], [3, 1, 3], [3, 1, 3]),
        (pa.array([3.5, 1]).dictionary_encode(), [3.5, 1], REFUSED, [3.5, 1]),
        (pa.array(WORDS).dictionary_encode(), REFUSED, WORDS, REFUSED),
        (pa.DictionaryArray.from_arrays([0, 1], pa.array([1.0, None])), REFUSED, REFUSED, REFUSED),
        # An entry that no row uses is no rating.
        (pa.DictionaryArray.from_arrays([0, 0], pa.array([1.0, 2.5])), [1, 1], [1, 1], [1, 1]),
        (pa.array([[1]]), REFUSED, REFUSED, REFUSED),
        (pa.array([[1]], pa.list_(pa.int64(), 1)), REFUSED, REFUSED, REFUSED),
        (pa.array([{"a": 1}]), REFUSED, REFUSED, REFUSED),
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), REFUSED, REFUSED, REFUSED),
        (union(), REFUSED, REFUSED, REFUSED),
        (pa.array(WORDS, pa.large_string()), REFUSED, WORDS, REFUSED),
        (pa.array(WORDS, pa.string_view()), REFUSED, WORDS, REFUSED),
        (pa.array([b"a"], pa.large_binary()), REFUSED, REFUSED, REFUSED),
        (pa.RunEndEncodedArray.from_arrays([2, 3], pa.array([5, 6])), [5, 5, 6], [5, 5, 6], [5, 5, 6]),
        (pa.RunEndEncodedArray.from_arrays([2], pa.array(["a"])), REFUSED, ["a", "a"], REFUSED),
        (pa.array(np.array(ONE, np.float16)), ONE, ONE, ONE),
        (pa.array(ONE, pa.uint8()), ONE, ONE, ONE),
        (pa.nulls(2), REFUSED, REFUSED, REFUSED),
        (pa.array([1, None]), REFUSED, REFUSED, REFUSED),
        (pa.array([True, False]), [1, 0], REFUSED, REFUSED),
        (pa.chunked_array([[1], [], [2, 3]], pa.int64()), ONE, ONE, ONE),
        (pa.array(ONE, pa.date32()), REFUSED, REFUSED, [86_400, 172_800, 259_200]),
        (pa.array(ONE, pa.duration("s")), REFUSED, REFUSED, REFUSED),
        (pa.array(ONE, pa.time32("s")), REFUSED, REFUSED, REFUSED),
        (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), REFUSED, REFUSED, REFUSED),
        (pa.array([b"1" * 16], pa.binary(16)).cast(pa.uuid()), REFUSED,
         [uuid.UUID(bytes=b"1" * 16)], REFUSED),
        (pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1], pa.int8())), REFUSED, REFUSED, REFUSED),
        (pa.scalar(3), REFUSED, REFUSED, REFUSED),
        (pa.table({"a": ONE}), REFUSED, REFUSED, REFUSED),
    ],
)  # fmt: skip
def test_columns_of_arrow(values, as_rating, as_id, as_time):
    check(values, as_rating, as_id, as_time)


def test_columns_of_pandas():
    pd = pytest.importorskip("pandas")
    for values, as_rating, as_id, as_time in [
        (pd.Series(pd.arrays.SparseArray([1, 0, 2])), [1, 0, 2], [1, 0, 2], [1, 0, 2]),
        (pd.Series(pd.arrays.SparseArray([1.5, np.nan])), REFUSED, REFUSED, REFUSED),
        (pd.Series(pd.arrays.SparseArray([0.0, 1.5])), [0, 1.5], REFUSED, [0, 1.5]),
        (pd.DataFrame({"a": ONE}).astype(pd.SparseDtype(int, 0))["a"], ONE, ONE, ONE),
        (pd.Series(ONE, dtype="Int64"), ONE, ONE, ONE),
        (pd.Series([1, None], dtype="Int64"), REFUSED, REFUSED, REFUSED),
        (pd.Series([1, 2.5], dtype="Float64"), [1, 2.5], REFUSED, [1, 2.5]),
        (pd.Series([True, False], dtype="boolean"), [1, 0], REFUSED, REFUSED),
        (pd.Series([3, 1, 3], dtype="category"), [3, 1, 3], [3, 1, 3], [3, 1, 3]),
        (pd.Series(WORDS, dtype="category"), REFUSED, WORDS, REFUSED),
        (pd.Series([3.5, None], dtype="category"), REFUSED, REFUSED, REFUSED),
        (pd.Series(pd.period_range("2020", periods=2, freq="M")), REFUSED, REFUSED, REFUSED),
        (pd.Series(pd.interval_range(0, 2)), REFUSED, REFUSED, REFUSED),
        (pd.Series([1j, 2]), REFUSED, REFUSED, REFUSED),
        (pd.Series(pd.to_timedelta([1, 2], unit="s")), REFUSED, REFUSED, REFUSED),
        (pd.Series(pd.to_datetime([1, 2], unit="s")), REFUSED, REFUSED, [1, 2]),
        (pd.Series(WORDS, dtype="string"), REFUSED, WORDS, REFUSED),
        (pd.Series(WORDS, dtype=object), REFUSED, WORDS, REFUSED),
        (pd.Series(ONE, dtype="int32[pyarrow]"), ONE, ONE, ONE),
        (pd.Series([D("1.5")], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), [1.5], REFUSED, [1.5]),
        (pd.Series([D("1.5"), D(2)]), [1.5, 2], REFUSED, [1.5, 2]),
        (pd.Series([1, pd.NA], dtype=object), REFUSED, REFUSED, REFUSED),
        (pd.Series([pd.NaT, pd.Timestamp(0)], dtype=object), REFUSED, REFUSED, REFUSED),
        (pd.Series(np.array(ONE, np.float16)), ONE, ONE, ONE),
        (pd.Index(ONE), ONE, ONE, ONE),
        (pd.array(ONE), ONE, ONE, ONE),
        (pd.DataFrame({"a": ONE}), REFUSED, REFUSED, REFUSED),
    ]:
        check(values, as_rating, as_id, as_time)


def test_columns_of_polars():
    pl = pytest.importorskip("polars")
    for values, as_rating, as_id, as_time in [
        (pl.Series([1, -2, 3], dtype=pl.Int128), [1, -2, 3], [1, -2, 3], [1, -2, 3]),
        (pl.Series([1, 2**70], dtype=pl.Int128), [1, 2.0**70], REFUSED, [1, 2.0**70]),
        (pl.Series([1, None], dtype=pl.Int128), REFUSED, REFUSED, REFUSED),
        (pl.Series([D("1.5"), D(2)]), [1.5, 2], REFUSED, [1.5, 2]),
        (pl.Series(WORDS, dtype=pl.Categorical), REFUSED, WORDS, REFUSED),
        (pl.Series(WORDS, dtype=pl.Enum(["a", "b"])), REFUSED, WORDS, REFUSED),
        (pl.Series([dt.date(1970, 1, 2)]), REFUSED, REFUSED, [86_400]),
        (pl.Series([dt.time(1)]), REFUSED, REFUSED, REFUSED),
        (pl.Series([dt.timedelta(1)]), REFUSED, REFUSED, REFUSED),
        (pl.Series([[1], [2]]), REFUSED, REFUSED, REFUSED),
        (pl.Series([[1]], dtype=pl.Array(pl.Int64, 1)), REFUSED, REFUSED, REFUSED),
        (pl.Series([{"a": 1}]), REFUSED, REFUSED, REFUSED),
        (pl.Series([object()], dtype=pl.Object), REFUSED, REFUSED, REFUSED),
        (pl.Series([None, None]), REFUSED, REFUSED, REFUSED),
        (pl.Series([True, False]), [1, 0], REFUSED, REFUSED),
        (pl.Series([b"a"]), REFUSED, REFUSED, REFUSED),
        (pl.Series(WORDS), REFUSED, WORDS, REFUSED),
        (pl.Series(ONE, dtype=pl.Int8), ONE, ONE, ONE),
        (pl.DataFrame({"a": ONE}), REFUSED, REFUSED, REFUSED),
    ]:
        check(values, as_rating, as_id, as_time)
    if hasattr(pl, "UInt128"):
        check(pl.Series(ONE, dtype=pl.UInt128), ONE, ONE, ONE)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["5", "4"], "column holds '5' at position 0; it must be real numbers: convert them with float"),
        (np.array([1j]), r"\(1\+0j|1j\).*: take their real part"),
        (np.zeros(1, [("a", int)]), "pass one field of them"),
        ([1, None, None], r"2 missing value\(s\), the first \(None\) at position 1: drop those rows"),
        (pa.table({"a": [1]}), "column is a Table: pass one column of it"),
    ],
)  # fmt: skip
def test_messages_say_what_and_where_and_the_fix(values, message):
    with pytest.raises(ValueError, match=message):
        as_float32(values, "column")


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", ">f8", "f2"])
def test_long_columns_of_any_layout_are_copied_by_all_threads_and_checked(dtype):
    # Several slices of the core's, the last one short; every value is exact in a half.
    numbers = np.random.default_rng(0).integers(-2000, 2000, 150_001)
    side_by_side = np.zeros((len(numbers), 2), dtype)
    side_by_side[:, 1] = numbers
    packed = np.zeros(len(numbers), [("flag", "i1"), ("rating", dtype)])  # no rating is aligned
    packed["rating"] = numbers
    backwards = np.ascontiguousarray(side_by_side[::-1, 1])[::-1]
    for column in (side_by_side[:, 1], packed["rating"], backwards):
        assert ratings(column, "column") == numbers.tolist()
        for bad in (np.nan, np.inf, -np.inf):
            for first in (0, 65_535, 65_536, 150_000):
                column[first], column[-1] = bad, bad
                with pytest.raises(
                    ValueError, match=f"{bad} is not finite at position {first}: drop"
                ):
                    as_float32(column, "column")
                column[first], column[-1] = numbers[first], numbers[-1]


def test_doubles_beyond_float32_are_named_and_others_are_rounded_once():
    doubles = np.array([1 / 3, 1e-46, -0.0, 1e-40, 3.4e38])
    np.testing.assert_array_equal(as_float32(doubles, "column"), doubles.astype(np.float32))
    assert np.signbit(as_float32(doubles, "column")[2])
    with pytest.raises(ValueError, match=r"column: -1e\+39 is beyond float32 at position 1: drop"):
        as_float32(np.array([1.0, -1e39, np.nan]), "column")
    # By way of a double, 2**60 + 2**36 + 1 would be a tie, and go to the even one below.
    whole = np.array([2**60 + 2**36 + 1])
    assert as_float32(whole, "column").tolist() == [2**60 + 2**37]


@pytest.mark.parametrize("read", [ratings, ids, times])
def test_a_generator_is_read_once(read):
    assert read((i for i in ONE), "column") == ONE


def test_weights_are_read_like_ratings():
    assert check_weights([D("0.5"), 2], 2).tolist() == [0.5, 2]
    with pytest.raises(ValueError, match="sample_weight: 1 missing"):
        check_weights([1, None], 2)
