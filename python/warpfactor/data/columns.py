"""Columns of numbers: ratings as float32, timestamps, weights."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..exchange import to_host
from .ids import arrow_numbers, as_arrow, require_no_nulls

__all__ = ["as_float32", "as_timestamps", "check_weights", "not_finite", "require_equal_lengths"]

_INT64_MAX = 2**63 - 1


def as_float32(values: Any, name: str) -> NDArray[np.float32]:
    """Return a column of numbers as contiguous float32, or raise ValueError."""
    numbers = _numbers(values, name)
    if numbers.ndim != 1:
        raise ValueError(f"{name} has shape {numbers.shape}; it must be 1-D")
    with np.errstate(over="ignore"):
        result = np.require(numbers, np.float32, ["C", "A"])
    if not np.isfinite(result).all():
        at = int(np.isfinite(result).argmin())
        raise ValueError(f"{name}: {not_finite(numbers[at])} at position {at}: drop that rating")
    return result


def check_weights(sample_weight: Any, n_ratings: int) -> NDArray[np.float32]:
    """Return weights as float32; raise ValueError unless there is one >= 0 for each rating."""
    weights = as_float32(sample_weight, "sample_weight")
    if len(weights) != n_ratings:
        raise ValueError(
            f"sample_weight has shape {weights.shape}; it must be ({n_ratings},), one per rating"
        )
    if weights.min() < 0:
        at = int(weights.argmin())
        raise ValueError(f"sample_weight[{at}] is {weights[at]}; it must be at least 0")
    if not weights.any():
        raise ValueError("sample_weight is 0 everywhere; at least one weight must be above 0")
    return weights


def as_timestamps(values: Any, name: str) -> NDArray[Any]:
    """Return a column of numbers or dates as int64 or float64; dates as seconds since 1970."""
    column = as_arrow(values)
    if column is None:
        values = np.asarray(values)
        if values.dtype.kind == "M":
            column = pa.array(values.astype("M8[s]"))
        elif values.dtype == object and all(isinstance(v, datetime.date) for v in values.flat):
            try:
                column = pa.array(values, from_pandas=True)
            except pa.ArrowException as error:
                raise ValueError(f"{name}: dates of mixed kinds ({error})") from error
    if column is not None and (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        require_no_nulls(column, name)
        column = column.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    array = _numbers(values if column is None else column, name)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must be 1-D")
    if array.dtype.kind != "f":
        if array.dtype == np.uint64 and len(array) and array.max() > _INT64_MAX:
            raise ValueError(f"{name}: {array.max()} at position {array.argmax()} is beyond int64")
        return np.ascontiguousarray(array, np.int64)
    if not np.isfinite(array).all():
        at = int(np.isfinite(array).argmin())
        raise ValueError(f"{name}: {array[at]} at position {at}: drop such rows")
    return np.ascontiguousarray(array, np.float64)


def _numbers(values: Any, name: str) -> NDArray[Any]:
    """Return a column as an array of real numbers; missing ones may only be NaN."""
    column = as_arrow(values)
    if column is not None:
        require_no_nulls(column, name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        values = arrow_numbers(column)
    if np.ma.is_masked(values):
        at = int(np.argmax(np.ma.getmaskarray(values)))
        raise ValueError(f"{name}: the value at position {at} is masked: drop those rows")
    array = np.asarray(to_host(values))
    if array.dtype.kind not in "fiub":
        found, fix = _first_other(array)
        raise ValueError(f"{name} holds {found}; it must be real numbers: {fix}")
    return array


def _first_other(array: NDArray[Any]) -> tuple[str, str]:
    """Return what is no number, and what to do."""
    if array.dtype == object:
        for at, value in enumerate(array.ravel()):
            if not isinstance(value, (int, float, np.integer, np.floating)):
                return f"{value!r} at position {at}", "drop or convert such values"
    shown = f"{array.ravel()[0]!r}" if array.size else "nothing"
    return f"dtype {array.dtype} (the first is {shown})", "convert them with astype(float)"


def require_equal_lengths(lengths: dict[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"lengths differ: {listed}; each rating needs one entry in all of them")


def not_finite(value: Any) -> str:
    return f"{value} is beyond float32" if np.isfinite(value) else f"{value} is not finite"
