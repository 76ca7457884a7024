"""The entries that are there of a sparse matrix, a masked array, or an array with NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Entries", "is_masked", "is_matrix", "is_sparse", "looks_like_columns", "matrix_entries"]

_INT32_MAX = 2**31 - 1


class Entries(NamedTuple):
    """The entries of a matrix that are there."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[Any]
    shape: tuple[int, int]


def is_sparse(X: Any) -> bool:
    """Whether an object is a matrix or array of scipy.sparse."""
    # scipy.sparse takes a tenth of a second to import, and only its objects have this method.
    return hasattr(X, "tocoo")


def is_masked(X: Any) -> bool:
    """Whether an object is a masked array of NumPy."""
    return isinstance(X, np.ma.MaskedArray)


def is_matrix(X: Any) -> bool:
    """Whether an object stands for a matrix of users × items, and not for pairs of ids."""
    if is_masked(X) or is_sparse(X):
        return True
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] != 2 and X.dtype.kind == "f"


def looks_like_columns(X: Any) -> bool:
    """Whether an array without a mask may be columns of user, item, rating and perhaps timestamp.

    A matrix of three or four items may look so too, if all users rated the first two, by whole
    numbers.
    """
    if not (isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] in (3, 4) and len(X)):
        return False
    if is_masked(X) or X.dtype.kind != "f":
        return not is_masked(X)
    ids = X[:, :2]
    if np.isnan(X[:, 2]).all():
        return False
    with np.errstate(invalid="ignore"):
        return bool(((ids >= 0) & (ids == np.trunc(ids)) & np.isfinite(ids)).all())


def matrix_entries(D: Any, name: str, *, copy: bool = False) -> Entries:
    """Take the entries out of a matrix.

    Parameters
    ----------
    D : sparse matrix, masked array or array of shape (n_users, n_items)
        The matrix, which is not changed.
    name : str
        What the error messages call it.
    copy : bool, default False
        Whether rows and columns must be arrays of their own. Values may share memory with `D` in any
        case.

    Raises
    ------
    ValueError
        If `D` is not 2-D and real, or too large.
    """
    if D.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has dtype {D.dtype}; it must be real numbers: convert it with astype(float)"
        )
    if len(D.shape) != 2 or max(D.shape) > _INT32_MAX:
        raise ValueError(
            f"{name} has shape {D.shape}; it must be (n_users, n_items), each below 2**31"
        )
    if is_sparse(D):
        # It may be D itself, whose arrays SciPy's own methods reorder in place.
        coo = D.tocoo(copy=False)
        rows, columns, values = coo.row, coo.col, coo.data
    else:
        present = ~(np.ma.getmaskarray(D) if is_masked(D) else np.isnan(D))
        rows, columns = np.nonzero(present)
        values = np.asarray(D)[present]
    rows, columns = (np.asarray(codes).astype(np.int32, copy=copy) for codes in (rows, columns))
    return Entries(rows, columns, values, (int(D.shape[0]), int(D.shape[1])))
