"""Timestamps of any kind: order and equality are kept, numbers stay, dates become seconds."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpfactor as wf
from warpfactor.data.ratings import Ratings
from warpfactor.data.times import as_timestamps

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# 2020 in each unit: neighbouring ticks there are the ones that rounding would join.
START = 1_577_836_800


def numpy_dates(ticks, unit):
    return np.array(ticks, f"M8[{unit}]")


def arrow_dates(ticks, unit):
    return pa.array(ticks, pa.timestamp(unit))


def zoned_dates(ticks, unit):
    return pa.chunked_array([pa.array(ticks, pa.timestamp(unit, "Asia/Tokyo"))])


def pandas_dates(ticks, unit):
    return pytest.importorskip("pandas").Series(numpy_dates(ticks, unit))


def pandas_zoned(ticks, unit):
    return pandas_dates(ticks, unit).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")


def pandas_objects(ticks, unit):
    return pandas_zoned(ticks, unit).astype(object)


def polars_dates(ticks, unit):
    return pytest.importorskip("polars").from_arrow(
        arrow_dates(ticks, "us" if unit == "s" else unit)
    )


def texts(ticks, unit):
    return [f"{text}Z" for text in np.datetime_as_string(numpy_dates(ticks, unit))]


def python_dates(ticks, unit):
    return [np.datetime64(tick, unit) for tick in ticks]


KINDS = [
    numpy_dates, arrow_dates, zoned_dates, pandas_dates, pandas_zoned, pandas_objects, texts,
    python_dates,
]  # fmt: skip


@pytest.mark.parametrize("unit", PER_SECOND)
@pytest.mark.parametrize("make", KINDS)
@settings(deadline=None, max_examples=25)
@given(parts=st.lists(st.integers(0, 10**10), min_size=2, max_size=8))
def test_order_and_equality_are_those_of_the_dates(make, unit, parts):
    ticks = [START * PER_SECOND[unit] + part for part in parts]
    found = as_timestamps(make(ticks, unit), "t").tolist()
    for a, time in zip(ticks, found, strict=True):
        for b, other in zip(ticks, found, strict=True):
            assert (a < b) == (time < other) and (a == b) == (time == other)


@pytest.mark.parametrize("unit", PER_SECOND)
@pytest.mark.parametrize("make", KINDS)
@settings(deadline=None, max_examples=25)
@given(parts=st.lists(st.integers(0, 5), min_size=2, max_size=12), share=st.floats(0.1, 0.9))
def test_no_rating_is_tested_that_is_older_than_one_trained_on(make, unit, parts, share):
    ticks = [START * PER_SECOND[unit] + part for part in parts]
    n = len(ticks)
    n_test = min(max(1, round(share * n)), n - 1)
    ratings = Ratings.from_arrays([1] * n, range(n), range(n), timestamps=make(ticks, unit))
    train, test = wf.train_test_split(ratings, n_test, by="time")
    at = [part.values.astype(int).tolist() for part in (train, test)]
    assert max(ticks[i] for i in at[0]) <= min(ticks[i] for i in at[1])


SECONDS = [START, START + 86_400]


@pytest.mark.parametrize(
    "dates",
    [
        *(numpy_dates([s * n for s in SECONDS], unit) for unit, n in PER_SECOND.items()),
        *(zoned_dates([s * n for s in SECONDS], unit) for unit, n in PER_SECOND.items()),
        np.array(["2020-01-01", "2020-01-02"], "M8[D]"),
        np.array(["2020-01-01", "2020-01-02"], ">M8[D]"),
        np.array(["2020-01-01T00", "2020-01-02T00"], "M8[h]"),
        [dt.date(2020, 1, 1), dt.date(2020, 1, 2)],
        [dt.datetime(2020, 1, 1), dt.date(2020, 1, 2)],
        [
            dt.datetime(2020, 1, 1, 2, tzinfo=ZoneInfo("Europe/Kyiv")),
            dt.datetime(2020, 1, 2, tzinfo=dt.UTC),
        ],
        pa.array([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], pa.date32()),
        pa.array([dt.date(2020, 1, 1), dt.date(2020, 1, 2)], pa.date64()),
        pa.array([dt.date(2020, 1, 1), dt.date(2020, 1, 2)]).dictionary_encode(),
        pa.RunEndEncodedArray.from_arrays([1, 2], pa.array(SECONDS, pa.timestamp("s"))),
        ["2020-01-01", "2020-01-02"],
        ["01.01.2020", "2.1.2020"],
        np.array(["1.1.2020 0:00", "02.01.2020  00:00:00"]),
        np.array(["2020-01-01T00:00", "2020-01-02 00:00:00"]),
        pa.array(["2020-01-01T00:00:00Z", "2020-01-02T02:00:00+02:00"]).dictionary_encode(),
        pa.array(["2020-01-01T00:00:00.000", "2020-01-02"], pa.string_view()),
    ],
)
def test_whole_seconds_are_int64(dates):
    found = as_timestamps(dates, "t")
    assert found.dtype == np.int64 and found.tolist() == SECONDS


def test_polars_dates_of_all_units_agree():
    for unit, n in list(PER_SECOND.items())[1:]:
        assert as_timestamps(polars_dates([s * n for s in SECONDS], unit), "t").tolist() == SECONDS
    pl = pytest.importorskip("polars")
    assert (
        as_timestamps(pl.Series([dt.date(2020, 1, 1), dt.date(2020, 1, 2)]), "t").tolist()
        == SECONDS
    )


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (numpy_dates([1500, 2000], "ms"), [1.5, 2.0]),
        (arrow_dates([1, 2], "us"), [1e-6, 2e-6]),
        (numpy_dates([1_000, 2_000], "ns"), [1e-6, 2e-6]),
        (["1970-01-01T00:00:00.25Z"], [0.25]),
        ([dt.datetime(1970, 1, 1, 0, 0, 1, 500_000)], [1.5]),
        ([dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)], [-0.5]),
    ],
)
def test_parts_of_a_second_are_float64_seconds(dates, expected):
    found = as_timestamps(dates, "t")
    assert found.dtype == np.float64 and found.tolist() == expected


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        (numpy_dates([1, 2_000_000_000], "ns"), [1, 2_000_000_000]),
        (numpy_dates([7_000], "ps"), [7]),
        ([np.datetime64(1, "ns"), dt.datetime(1970, 1, 1, 0, 0, 2)], [1, 2_000_000_000]),
        ([dt.datetime(9999, 12, 31, 23, 59, 59, 999_999)], [253_402_300_799_999_999]),
        (["9999-12-31T23:59:59.999999"], [253_402_300_799_999_999]),
        (numpy_dates([2**53 + 1, 0], "us"), [2**53 + 1, 0]),
    ],
)
def test_dates_finer_than_float64_seconds_stay_integers(dates, expected):
    found = as_timestamps(dates, "t")
    assert found.dtype == np.int64 and found.tolist() == expected


@pytest.mark.parametrize(
    ("numbers", "dtype"),
    [
        ([1_577_836_800_123, 2**62], np.int64),
        ([1.25, -3.5], np.float64),
        (np.array([1, 2**63 - 1], np.uint64), np.int64),
        (np.array([1, 2], ">i4"), np.int64),
        (np.array([1.5, 2.5], np.float16), np.float64),
        (np.array([1.5, 2.5], np.longdouble), np.float64),
        (pa.array([Decimal(2**60 + 1), Decimal(2**60)]), np.int64),
        (pa.array([Decimal("1.5"), Decimal("2.5")]), np.float64),
        (np.array([2**53 + 1, 2**53], object), np.int64),
        ([Decimal("1.5"), 2], np.float64),
    ],
)
def test_numbers_stay_as_they_are(numbers, dtype):
    found = as_timestamps(numbers, "t")
    given = numbers.to_pylist() if isinstance(numbers, pa.Array) else list(numbers)
    assert found.dtype == dtype and found.tolist() == given


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["NaT", "NaT"], "t: 'NaT' at position 0 is neither a number nor a date"),
        (np.array(["2020", "NaT"], "M8[s]"), "t: 1 missing value.*position 1"),
        ([dt.date(2020, 1, 1), None], "t: 1 missing value.*position 1"),
        (["2020-01-01", None], r"t: 1 missing value.*\(None\) at position 1"),
        (pa.array([1, None], pa.timestamp("s")), "t: 1 missing"),
        (pa.array(["2020-01-01", None]), "t: 1 missing"),
        (np.ma.array([1, 2], mask=[0, 1]), "t: the value at position 1 is masked"),
        (["2020-01-01", "31.05.2020"], "'31.05.2020' at position 1: write all dates in one way"),
        (["31.05.2020", "2020-01-01"], "'2020-01-01' at position 1: write all dates in one way"),
        (["30.01.2020", "30.02.2020"], "t: '30.02.2020' at position 1 is neither"),
        (["31.05.20", "01.06.20"], "t: '31.05.20' at position 0 is neither"),
        (["05/31/2020"], "t: '05/31/2020' at position 0 .* like 2024-05-31, .* or 31.05.2024"),
        (["966666603", "966666604"], "t: '966666603' at position 0 is text: convert it to numbers"),
        (["2020-01-01T00:00:00Z", "2020-01-01T00:00:00"], "all or none must have a time zone"),
        (
            [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)],
            "all or none must have a time zone",
        ),
        ([dt.datetime(2020, 1, 1), 3], "holds dates, and 3 at position 1"),
        (np.array([10**12], "M8[Y]"), "does not fit into s since 1970"),
        (np.array([1], "M8[ps]"), "does not fit into ns since 1970"),
        ([np.datetime64(1, "ns"), dt.datetime(9999, 1, 1)], "which int64 does not hold: round"),
        (np.array([True]), "t holds dtype bool; it must be numbers or dates"),
        (np.array([1], "m8[s]"), r"t holds dtype timedelta64\[s\].*must be numbers or dates"),
        ([dt.timedelta(1)], "must be numbers or dates"),
        ([dt.time(1)], "must be numbers or dates"),
        (pa.array([1], pa.time32("s")), "must be numbers or dates"),
        (np.array([1j]), "must be numbers or dates"),
        (np.array([2**63], np.uint64), "9223372036854775808 at position 0 is beyond int64"),
        ([2**63 + 1, 2**63], "cannot tell apart"),
        (np.array([1, 3], np.longdouble) / 4 + 2**53, "cannot tell apart"),
        ([Decimal("1577836800.000000001"), Decimal("1577836800.000000002")], "cannot tell apart"),
        (pa.array([Decimal("1577836800.000000001"), Decimal(1577836800)]), "cannot tell apart"),
        ([np.inf], "t: inf at position 0"),
        (5, "t is int 5; it must be one column"),
        (np.array(5), r"t has shape \(\); it must be 1-D"),
        (np.ones((2, 2)), r"t has shape \(2, 2\)"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_named(values, message):
    with pytest.raises(ValueError, match=message) as error:
        as_timestamps(values, "t")
    assert type(error.value) is ValueError


def test_no_dates_have_no_times():
    for empty in ([], np.empty(0, "M8[ns]"), pa.array([], pa.date32()), pa.array([], pa.string())):
        assert as_timestamps(empty, "t").tolist() == []
