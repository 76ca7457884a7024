"""Columns of numbers: ratings as float32, weights."""

from __future__ import annotations

import decimal
import numbers
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .. import _core
from .ids import arrow_numbers, as_arrow, as_numpy, require_no_nulls

__all__ = [
    "as_float32",
    "as_numbers",
    "check_weights",
    "is_missing",
    "not_finite",
    "read_only",
    "require_equal_lengths",
]

_FIXES = {
    "M": "pass another column",
    "m": "divide them by a numpy.timedelta64",
    "c": "take their real part",
    "V": "pass one field of them",
}


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Close an array of ours to writing, and return it, or a view that cannot be opened again.

    NumPy lets the owner of memory be opened again, and so a view, if the owner is open.
    """
    if not array.flags.writeable:
        return array
    array.flags.writeable = False
    return array.view()


def as_float32(values: Any, name: str) -> NDArray[np.float32]:
    """Return a column of numbers as a new array of float32, or raise ValueError."""
    given = as_numbers(values, name)
    whole = given.flags.aligned and given.strides[0] % given.itemsize == 0
    if whole and given.dtype in (np.float32, np.float64):
        result, bad = _core.to_floats(given)
    else:
        with np.errstate(over="ignore"):
            result = np.array(given, np.float32, order="C")
        finite = np.isfinite(result)
        bad = -1 if finite.all() else int(finite.argmin())
    if bad >= 0:
        raise ValueError(f"{name}: {not_finite(given[bad])} at position {bad}: drop that rating")
    return result


def check_weights(
    sample_weight: Any, n_ratings: int, *, all_zero: bool = False
) -> NDArray[np.float32]:
    """Return weights as a new array of float32; `all_zero`: whether all may be 0, as of a part.

    Raises
    ------
    ValueError
        Unless there is one >= 0 for each rating.
    """
    weights = as_float32(sample_weight, "sample_weight")
    if len(weights) != n_ratings:
        raise ValueError(
            f"sample_weight has shape {weights.shape}; it must be ({n_ratings},), one per rating"
        )
    if len(weights) and weights.min() < 0:
        at = int(weights.argmin())
        raise ValueError(f"sample_weight[{at}] is {weights[at]}; it must be at least 0")
    if not all_zero and not weights.any():
        raise ValueError("sample_weight is 0 everywhere; at least one weight must be above 0")
    return weights


def as_numbers(values: Any, name: str, wanted: str = "real numbers") -> NDArray[Any]:
    """Return a column as a 1-D array of real numbers, perhaps the given one; NaN may be missing.

    Parameters
    ----------
    values : array-like of shape (n,)
        The column.
    name : str
        What the error messages call it.
    wanted : str, default "real numbers"
        What they say that it must be.

    Raises
    ------
    ValueError
        If a value is missing or no number.
    """
    column = as_arrow(values, name)
    array = as_numpy(values, name) if column is None else _arrow_array(column, name)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}; it must be 1-D: pass one column")
    if array.dtype == object:
        return _object_numbers(array, name, wanted)
    if array.dtype.kind not in "fiub":
        first = f" (the first is {array[0]!r:.80})" if len(array) else ""
        fix = _FIXES.get(array.dtype.kind, "convert them with astype(float)")
        raise ValueError(f"{name} holds dtype {array.dtype}{first}; it must be {wanted}: {fix}")
    return array


def _arrow_array(column: Any, name: str) -> NDArray[Any]:
    require_no_nulls(column, name)
    try:
        if pa.types.is_decimal(column.type):
            # Exact where it can be: timestamps of databases may be decimals without a fraction.
            column = column.cast(pa.int64() if column.type.scale <= 0 else pa.float64())
        return arrow_numbers(column)
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except pa.ArrowException as error:
        raise ValueError(
            f"{name}: a column of type {column.type} holds no numbers ({error}): cast it first"
        ) from error


def _object_numbers(array: NDArray[Any], name: str, wanted: str) -> NDArray[Any]:
    kinds = set(map(type, array))
    if all(issubclass(kind, (int, np.integer)) and kind is not bool for kind in kinds):
        try:
            return array.astype(np.int64)
        except OverflowError:
            pass
    # Databases give decimals. NumPy's bool is no number of Python's.
    takes = (numbers.Real, decimal.Decimal, np.bool_)
    if not all(issubclass(kind, takes) for kind in kinds):
        raise ValueError(_object_problem(array, name, wanted, takes))
    try:
        return array.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} holds numbers that float64 cannot ({error}): convert them with float()"
        ) from error


def _object_problem(array: NDArray[Any], name: str, wanted: str, takes: tuple[type, ...]) -> str:
    missing = [at for at, value in enumerate(array) if is_missing(value)]
    if missing:
        at = missing[0]
        return (
            f"{name}: {len(missing)} missing value(s), the first ({array[at]!r}) at position {at}: "
            "drop those rows or fill them in"
        )
    at = next(at for at, value in enumerate(array) if not isinstance(value, takes))
    fix = (
        "convert them with float()" if isinstance(array[at], str) else "drop or convert such values"
    )
    return f"{name} holds {array[at]!r:.60} at position {at}; it must be {wanted}: {fix}"


def is_missing(value: Any) -> bool:
    """Whether a Python object stands for a missing value other than NaN."""
    # pandas' marks go by name: it is not imported here.
    is_mark = value is None or type(value).__name__ in ("NAType", "NaTType")
    return is_mark or (isinstance(value, np.datetime64) and bool(np.isnat(value)))


def require_equal_lengths(lengths: dict[str, int]) -> None:
    """Raise ValueError unless all columns, by name, have one length."""
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {n}" for name, n in lengths.items())
        raise ValueError(f"lengths differ: {listed}; each rating needs one entry in all of them")


def not_finite(value: Any) -> str:
    """Say what is wrong with a value that float32 does not hold as a finite number."""
    return f"{value} is beyond float32" if np.isfinite(value) else f"{value} is not finite"
