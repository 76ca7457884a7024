"""Timestamps: numbers as they are, dates as seconds since 1970, without a loss of order."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import where_typed
from .columns import as_numbers, is_missing
from .ids import arrow_numbers, as_arrow, as_numpy, decode_dictionary, require_no_nulls

__all__ = [
    "DATES",
    "EARLIEST",
    "LATEST",
    "UNITS",
    "as_date",
    "as_timestamps",
    "holds_times",
    "is_date",
    "unit_of_time",
]

# From 1995, when the first recommenders had written logs, to 2040. Seconds since 1970 in this range
# have nine or ten digits, which ratings, and ids that count from 1, do not begin at.
EARLIEST, LATEST = 788_918_400, 2_208_988_800
UNITS = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}

_INT64_MAX = 2**63 - 1
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# The units of NumPy that are as coarse as a second, and those finer than Arrow's finest.
_COARSE, _TOO_FINE = ("Y", "M", "W", "D", "h", "m", "s"), ("ps", "fs", "as")
# So many values tell whether a column is one of times.
_FIRST = 100
_EPOCH = datetime.datetime(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)
# Arrow takes no zone in the first and wants one in the second; nanoseconds reach to 2262 only.
_TEXT_TYPES = [pa.timestamp(unit, zone) for unit in ("us", "ns") for zone in (None, "UTC")]
# Where days, months and years stand between dots, they stand in this order; with slashes there are two.
# As RE2 and Python read it.
_DOTTED = r"^([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})( +[0-9]|$)"
# What makes ISO 8601 of it, step by step. Not strptime of Arrow: it takes 31.02.2024 for 2 March.
_TO_ISO = (
    (r"^([0-9]\.[0-9]{1,2}\.[0-9]{4})", r"0\1"),
    (r"^([0-9]{2})\.([0-9]\.[0-9]{4})", r"\1.0\2"),
    (r"^([0-9]{2})\.([0-9]{2})\.([0-9]{4})", r"\3-\2-\1"),
    (r"^([0-9]{4}-[0-9]{2}-[0-9]{2}) +", r"\1 "),
    (r"^([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]:)", r"\1 0\2"),
)
DATES = "2024-05-31, 2024-05-31T23:59:59.5Z or 31.05.2024"


class _Ticks(NamedTuple):
    """Dates as integers since 1970."""

    counts: NDArray[np.int64]
    per_second: int


def as_timestamps(values: Any, name: str) -> NDArray[Any]:
    """Return a column of numbers or dates as a new array of int64 or float64.

    Numbers stay as they are. Dates of any library and unit (those of a time zone by UTC), and texts
    of ISO 8601 or like 31.05.2024, become seconds since 1970: int64 where all are whole, else float64.
    Dates that float64 cannot keep apart (parts of a microsecond; parts of a second before 1684 or
    after 2255) stay integers, in nanoseconds or their own unit. Order and equality are those of the dates always.

    Raises
    ------
    ValueError
        If a value is missing, no number and no date, or out of the range of int64.
    """
    column = as_arrow(values, name)
    if column is None:
        array = as_numpy(values, name)
        if array.ndim != 1:
            raise ValueError(f"{name} has shape {array.shape}; it must be 1-D: pass one column")
        ticks = _numpy_ticks(array, name)
        values = array
    else:
        if pa.types.is_dictionary(column.type):
            column = decode_dictionary(column)
        ticks = _arrow_ticks(column, name)
        values = column
        if pa.types.is_decimal(column.type) and column.type.scale > 0:
            # Arrow's cast does not round to the nearest float64, which is what keeps the order.
            values = np.array(column.to_pylist(), object)
    return _plain(values, name) if ticks is None else _seconds(ticks)


def unit_of_time(low: float, high: float) -> str | None:
    """Find the unit in which numbers are times from 1995 to 2040, counted from 1970."""
    for unit, size in UNITS.items():
        if EARLIEST * size <= low and high <= LATEST * size:
            return unit
    return None


def as_date(stamp: float, unit: str, form: str = "%Y-%m-%d") -> str:
    """Write a timestamp of a unit as a date of UTC."""
    return datetime.datetime.fromtimestamp(float(stamp) / UNITS[unit], datetime.UTC).strftime(form)


def is_date(text: str) -> bool:
    """Whether a text is a date: ISO 8601, or a day, a month and a year between dots."""
    if re.match(_DOTTED, text):
        for pattern, iso in _TO_ISO:
            text = re.sub(pattern, iso, text)
    if not re.match(r"\d{4}-\d\d-\d\d", text):
        return False
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def holds_times(column: Any) -> bool:
    """Whether any of a column's first values is a time, as `as_timestamps` reads it."""
    rows = getattr(column, "iloc", column)
    for at in range(min(len(column), _FIRST)):
        try:
            as_timestamps(rows[at : at + 1], "timestamp")
        except ValueError:
            continue
        return True
    return False


def _plain(values: Any, name: str) -> NDArray[Any]:
    numbers = as_numbers(values, name, "numbers or dates")
    if numbers.dtype.kind == "b":
        raise ValueError(f"{name} holds dtype bool; it must be numbers or dates")
    if numbers.dtype.kind != "f":
        if numbers.dtype == np.uint64 and len(numbers) and numbers.max() > _INT64_MAX:
            at = int(numbers.argmax())
            raise ValueError(
                f"{name}: {numbers[at]} at position {at} is beyond int64: count from a later start"
            )
        return np.array(numbers, np.int64)
    if not np.isfinite(numbers).all():
        at = int(np.isfinite(numbers).argmin())
        raise ValueError(f"{name}: {numbers[at]} at position {at}: drop such rows")
    result = np.array(numbers, np.float64)
    # Objects and long doubles may be finer than float64.
    finer = isinstance(values, np.ndarray) and (values.dtype == object or values.itemsize > 8)
    if finer and len(set(values.tolist())) > len(np.unique(result)):
        raise ValueError(f"{name} holds numbers that float64 cannot tell apart: pass integers")
    return result


def _seconds(ticks: _Ticks) -> NDArray[Any]:
    counts, per_second = ticks
    seconds, parts = np.divmod(counts, per_second)
    if not parts.any():
        return seconds
    if per_second == 10**9 and not (counts % 1000).any():
        counts, per_second = counts // 1000, 10**6
    # Below 2**53 microseconds, neighbouring doubles are less than a microsecond apart.
    limit = 2**53 // (10**6 // per_second) if per_second <= 10**6 else 0
    if -limit < counts.min() <= counts.max() < limit:
        return np.asarray(counts / per_second)
    return np.array(ticks.counts)


def _arrow_ticks(column: Any, name: str) -> _Ticks | None:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        require_no_nulls(column, name)
        column = _parsed(column.cast(pa.large_string()), name)
    elif pa.types.is_date32(kind):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_date64(kind):
        column = column.cast(pa.timestamp("ms"))
    elif not pa.types.is_timestamp(kind):
        return None
    require_no_nulls(column, name)
    return _Ticks(arrow_numbers(column.cast(pa.int64())), _PER_SECOND[column.type.unit])


def _parsed(column: Any, name: str) -> Any:
    """Read dates as `is_date` knows them."""
    import pyarrow.compute as pc  # not above: --help need not wait for it

    iso, dotted = column, pc.match_substring_regex(column, _DOTTED)
    all_dotted = pc.all(dotted).as_py()
    if len(column) and all_dotted:
        for pattern, written in _TO_ISO:
            iso = pc.replace_substring_regex(iso, pattern, written)
    for kind in _TEXT_TYPES:
        try:
            return iso.cast(kind)
        except pa.ArrowInvalid:
            continue
    for at, text in enumerate(column.to_pylist()):
        if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?", text):
            raise ValueError(f"{name}: {text!r} at position {at} is text: convert it to numbers")
        if not is_date(text):
            fix = where_typed(
                "convert it, for example with pandas.to_datetime",
                "write all dates in one of these ways, as a spreadsheet does by the format yyyy-mm-dd",
            )
            raise ValueError(
                f"{name}: {text!r} at position {at} is neither a number nor a date like {DATES}: {fix}"
            )
    if pc.any(dotted).as_py() and not all_dotted:
        other = dotted.to_pylist().index(not dotted[0].as_py())
        raise ValueError(
            f"{name} holds {column[0].as_py()!r} at position 0 and {column[other].as_py()!r} at position "
            f"{other}: write all dates in one way"
        )
    raise ValueError(
        f"{name} holds dates that cannot be read together, such as {column[0].as_py()!r}: all or none "
        "must have a time zone"
    )


def _numpy_ticks(array: NDArray[Any], name: str) -> _Ticks | None:
    if array.dtype.kind == "M":
        return _datetime64_ticks(array, name)
    if array.dtype.kind in "UT" and len(array):
        return _arrow_ticks(pa.array(array.astype(object), pa.large_string()), name)
    if array.dtype != object or not len(array):
        return None
    kinds = set(map(type, array))
    if all(issubclass(kind, str) for kind in kinds):
        return _arrow_ticks(pa.array(array, pa.large_string()), name)
    dates = (datetime.date, np.datetime64)
    if all(issubclass(kind, dates) for kind in kinds):
        return _object_ticks(array.tolist(), name)
    if any(issubclass(kind, dates) for kind in kinds):
        other = next(at for at, value in enumerate(array) if not isinstance(value, dates))
        _require_times(np.fromiter(map(is_missing, array), bool), name)
        raise ValueError(
            f"{name} holds dates, and {array[other]!r:.60} at position {other}; it must be all dates or "
            "all numbers"
        )
    return None


def _datetime64_ticks(array: NDArray[Any], name: str) -> _Ticks:
    _require_times(np.isnat(array), name)
    if not len(array):
        return _Ticks(np.empty(0, np.int64), 1)
    unit = np.datetime_data(array.dtype)[0]
    unit = "s" if unit in _COARSE else "ns" if unit in _TOO_FINE else unit
    converted = array.astype(f"M8[{unit}]")
    # NumPy lets conversions overflow, and cuts what is too fine, without a word.
    same = converted.astype(array.dtype) == array
    if not same.all():
        at = int(same.argmin())
        raise ValueError(
            f"{name}: {array[at]} at position {at} does not fit into {unit} since 1970 as int64: "
            "pass numbers"
        )
    return _Ticks(converted.astype(np.int64), _PER_SECOND[unit])


def _object_ticks(dates: Sequence[Any], name: str) -> _Ticks:
    _require_times(np.fromiter(map(is_missing, dates), bool), name)
    zoned = [isinstance(date, datetime.datetime) and date.tzinfo is not None for date in dates]
    if any(zoned) and not all(zoned):
        at, other = zoned.index(True), zoned.index(False)
        raise ValueError(
            f"{name} holds {dates[at]!r:.80} at position {at} and {dates[other]!r} at position {other}; "
            "all or none must have a time zone"
        )
    counts = [_nanoseconds(date, name) for date in dates]
    per_second = next(
        n for n in (1, 10**3, 10**6, 10**9) if not any(c % (10**9 // n) for c in counts)
    )
    ticks = [count // (10**9 // per_second) for count in counts]
    if not -_INT64_MAX <= min(ticks) <= max(ticks) <= _INT64_MAX:
        raise ValueError(
            f"{name} runs from {min(ticks)} to {max(ticks)} nanoseconds since 1970, which int64 does not "
            "hold: round the dates to microseconds"
        )
    return _Ticks(np.array(ticks, np.int64), per_second)


def _nanoseconds(date: Any, name: str) -> int:
    """Return an integer of any size."""
    if hasattr(date, "to_datetime64"):  # pandas
        date = date.to_datetime64()
    if isinstance(date, np.datetime64):
        counts, per_second = _datetime64_ticks(np.array([date]), name)
        return int(counts[0]) * (10**9 // per_second)
    if not isinstance(date, datetime.datetime):
        date = datetime.datetime(date.year, date.month, date.day)
    offset = date.utcoffset() or datetime.timedelta()
    since: int = (date.replace(tzinfo=None) - offset - _EPOCH) // _MICROSECOND
    return since * 1000


def _require_times(missing: NDArray[np.bool_], name: str) -> None:
    if missing.any():
        raise ValueError(
            f"{name}: {missing.sum()} missing value(s), the first at position {missing.argmax()}: drop "
            "those rows or fill them in"
        )
