"""The entries that are there of a sparse matrix, a masked array, or an array with NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Entries",
    "check_matrix_shape",
    "is_masked",
    "is_matrix",
    "is_sparse",
    "looks_like_columns",
    "matrix_entries",
    "stands_for_matrix",
]

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


def stands_for_matrix(X: Any) -> bool:
    """Whether `X` is users × items, if `Ratings.from_any` takes it without a y."""
    return getattr(X, "ndim", 0) == 2 and not hasattr(X, "columns")


def check_matrix_shape(
    shape: tuple[int, int], user_ids: NDArray[Any], item_ids: NDArray[Any], name: str
) -> None:
    """Raise ValueError unless a matrix has a row for each user id and a column for each item id.

    Rows and columns are the ids 0, 1, 2, ..., so the last row is the user of the highest id. A matrix
    of another shape is as a rule one whose rows have been cut, which would be taken for other users.
    """
    if user_ids.dtype == object or item_ids.dtype == object:
        return  # the look-up says that the ids are no integers
    wanted = int(user_ids[-1]) + 1, int(item_ids[-1]) + 1
    if tuple(shape) != wanted:
        sizes = len(user_ids), len(item_ids)
        highest = f" with ids up to {user_ids[-1]} and {item_ids[-1]}" if sizes != wanted else ""
        raise ValueError(
            f"{name} has shape {tuple(shape)}, but the model has {sizes[0]} users and {sizes[1]} items"
            f"{highest}: rows and columns of a matrix are the ids 0, 1, 2, ..., so it must have shape "
            f"{wanted}. If rows were cut from a larger matrix, as scikit-learn does it, they would be "
            "taken for other users: divide ratings by warpfactor.train_test_split, or pass (n, 2) "
            "pairs of ids"
        )


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
