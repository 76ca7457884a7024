"""Full-batch gradient descent on a masked matrix: the program that warpfactor grew from."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import as_float
from ..data.matrices import matrix_entries

__all__ = ["matrix_factorization_bgd"]


def matrix_factorization_bgd(
    D: Any,
    P: ArrayLike,
    Q: ArrayLike,
    steps: int = 5000,
    alpha: float = 0.0002,
    beta: float = 0.02,
    *,
    n_threads: int | None = None,
) -> tuple[NDArray[Any], NDArray[Any]]:
    r"""Factorize a masked matrix, D ≈ PQ, by full-batch gradient descent from given factors.

    Minimizes, over the entries of D that are there,

        E = Σ (d_ij - p_i · q_j)² + β/2 (‖P‖² + ‖Q‖²)

    by `steps` steps P ← P - α ∂E/∂P, Q ← Q - α ∂E/∂Q, both gradients taken at the same P and Q:

        ∂E/∂P = -2 (D - PQ) Qᵀ + β P,    ∂E/∂Q = -2 Pᵀ (D - PQ) + β Q

    where D - PQ is zero at the missing entries. A step costs time in proportion to the entries that
    are there, and no array of D's shape is made from a sparse D.

    Parameters
    ----------
    D : masked array, array or scipy.sparse matrix of shape (m, n)
        The matrix. Missing: what is masked, or NaN in an array without a mask, or not stored in a
        sparse matrix (an explicit zero is an entry, and one stored twice counts twice).
    P : array-like of shape (m, k)
        Where P starts. Its rank is the rank of the factorization.
    Q : array-like of shape (k, n)
        Where Q starts.
    steps : int, default 5000
        Steps to take; 0 returns copies of P and Q.
    alpha : float, default 0.0002
        α > 0, the step size. What is too large for the data diverges.
    beta : float, default 0.02
        β >= 0, the strength of the L2 penalty, counted once per element of P and Q.
    n_threads : int or None, default None
        Threads to use at most; None: the processors that this process may use. The result does not
        depend on it.

    Returns
    -------
    P, Q : ndarray of shape (m, k) and (k, n)
        The factors after the last step, new arrays: float32 if both were given as float32 (or
        float16), else float64. All arithmetic is in that type. What was given is read until then,
        and not kept.

    Raises
    ------
    ValueError
        If the shapes do not fit or a value is not valid; the text says which and how.
    DivergedError
        If the factors leave the range of numbers; `epoch` is the step in which it showed.

    Examples
    --------
    >>> import numpy as np
    >>> import warpfactor as wf
    >>> D = np.ma.masked_equal([[5, 3, 0, 1], [4, 0, 0, 1], [1, 1, 0, 5], [1, 0, 0, 4]], 0)
    >>> rng = np.random.default_rng(0)
    >>> P, Q = wf.matrix_factorization_bgd(D, rng.random((4, 2)), rng.random((2, 4)))
    >>> bool(abs(D - P @ Q).max() < 0.3)
    True
    """
    P, Q = _factors("P", P), _factors("Q", Q)
    narrow = all(array.dtype in (np.float16, np.float32) for array in (P, Q))
    dtype = np.dtype(np.float32 if narrow else np.float64)
    if not isinstance(D, np.ndarray) and not hasattr(D, "tocoo"):
        D = np.asarray(D)
    rows, columns, values, shape = matrix_entries(D, "D")
    if not len(values):
        raise ValueError(f"D of shape {shape} holds no entry: everything is missing")
    if P.shape[1] != Q.shape[0]:
        raise ValueError(
            f"P has shape {P.shape} and Q {Q.shape}; P must be (m, k) and Q (k, n) with the same k"
        )
    if (P.shape[0], Q.shape[1]) != shape:
        raise ValueError(
            f"P has shape {P.shape} and Q {Q.shape}; for D of shape {shape} they must be "
            f"({shape[0]}, k) and (k, {shape[1]})"
        )
    if not isinstance(steps, numbers.Integral) or isinstance(steps, bool) or steps < 0:
        raise ValueError(f"steps is {steps!r:.80}; it must be an integer of at least 0")
    if n_threads is not None and (
        not isinstance(n_threads, numbers.Integral) or isinstance(n_threads, bool) or n_threads < 1
    ):
        raise ValueError(f"n_threads is {n_threads!r:.80}; it must be None or an integer above 0")
    new_P = np.array(P, dtype, order="C")
    new_Q = np.array(Q.T, dtype, order="C")
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype)
    for name, array in (("D", values), ("P", new_P), ("Q", new_Q)):
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} holds NaN, infinity or a number beyond {dtype}; every entry must be finite"
            )
    _core.descend(
        np.ascontiguousarray(rows),
        np.ascontiguousarray(columns),
        values,
        new_P,
        new_Q,
        int(steps),
        _real("alpha", alpha),
        _real("beta", beta),
        int(n_threads or 0),
    )
    return new_P, np.ascontiguousarray(new_Q.T)


def _factors(name: str, given: ArrayLike) -> NDArray[Any]:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(f"{name} has masked entries; initial factors must all be given")
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has dtype {array.dtype}; initial factors must be real numbers")
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; it must be 2-D and not empty")
    return array


def _real(name: str, value: Any) -> float:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r:.80}; it must be a number")
    return as_float(name, value)  # its range is checked in the core
