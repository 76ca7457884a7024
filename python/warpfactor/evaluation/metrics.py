"""Errors of predicted ratings, summed in double precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data.ratings import Ratings

__all__ = ["mae", "rmse"]


def rmse(
    y_true: ArrayLike | Ratings, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Root mean squared error, sqrt(Σ w (y - ŷ)² / Σ w).

    Parameters
    ----------
    y_true : array-like of shape (n,), or Ratings
        The ratings.
    y_pred : array-like of shape (n,)
        The predictions.
    sample_weight : array-like of shape (n,), default None
        Weights w, not negative; None weighs all alike.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If lengths differ, there is no rating, a value is not finite, or the weights are negative or
        sum to 0.
    """
    errors, weights = _errors(y_true, y_pred, sample_weight)
    return float(np.sqrt(np.average(np.square(errors), weights=weights)))


def mae(
    y_true: ArrayLike | Ratings, y_pred: ArrayLike, *, sample_weight: ArrayLike | None = None
) -> float:
    """Mean absolute error, Σ w |y - ŷ| / Σ w; parameters and errors as of `rmse`."""
    errors, weights = _errors(y_true, y_pred, sample_weight)
    return float(np.average(np.abs(errors), weights=weights))


def _errors(
    y_true: ArrayLike | Ratings, y_pred: ArrayLike, sample_weight: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    true = _finite(y_true.values if isinstance(y_true, Ratings) else y_true, "y_true")
    hint = ': predict with unknown="mean" to have no NaN for unknown ids'
    predicted = _finite(y_pred, "y_pred", hint)
    weights = None if sample_weight is None else _finite(sample_weight, "sample_weight")
    lengths = {len(array) for array in (true, predicted, weights) if array is not None}
    if len(lengths) > 1:
        weighed = "" if weights is None else f" and sample_weight {len(weights)}"
        raise ValueError(f"y_true has {len(true)} values, y_pred {len(predicted)}{weighed}")
    if not len(true):
        raise ValueError("y_true is empty: an error needs at least one rating")
    if weights is not None and (weights.min() < 0 or weights.sum() == 0):
        raise ValueError(
            f"sample_weight has the minimum {weights.min()} and the sum {weights.sum()}; weights "
            "must not be negative, and their sum must be above 0"
        )
    return true - predicted, weights


def _finite(values: ArrayLike, name: str, hint: str = "") -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has dtype {array.dtype} and shape {array.shape}; it must be a 1-D array of real "
            "numbers"
        )
    finite = np.isfinite(array)
    if not finite.all():
        at = int(finite.argmin())
        raise ValueError(f"{name} is {array[at]} at position {at}{hint}")
    return array.astype(np.float64, copy=False)
