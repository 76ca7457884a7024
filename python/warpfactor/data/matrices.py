"""The entries that are there of a sparse matrix, a masked array, or an array with NaN."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Entries", "is_masked", "is_matrix", "is_sparse", "matrix_entries"]

_INT32_MAX = 2**31 - 1


class Entries(NamedTuple):
    """The entries of a matrix that are there."""

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    values: NDArray[Any]
    shape: tuple[int, int]


def is_sparse(X: Any) -> bool:
    # scipy.sparse takes a tenth of a second to import, and only its objects have this method.
    return hasattr(X, "tocoo")


def is_masked(X: Any) -> bool:
    return isinstance(X, np.ma.MaskedArray)


def is_matrix(X: Any) -> bool:
    if is_masked(X) or is_sparse(X):
        return True
    return isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] != 2 and X.dtype.kind == "f"


def matrix_entries(D: Any, name: str) -> Entries:
    if D.dtype.kind not in "fiub":
        raise ValueError(
            f"{name} has dtype {D.dtype}; it must be real numbers: convert it with astype(float)"
        )
    if len(D.shape) != 2 or max(D.shape) > _INT32_MAX:
        raise ValueError(
            f"{name} has shape {D.shape}; it must be (n_users, n_items), each below 2**31"
        )
    if is_sparse(D):
        coo = D.tocoo(copy=False)
        rows, columns, values = coo.row, coo.col, coo.data
    else:
        present = ~(np.ma.getmaskarray(D) if is_masked(D) else np.isnan(D))
        rows, columns = np.nonzero(present)
        values = np.asarray(D)[present]
    rows, columns = (np.asarray(codes).astype(np.int32, copy=False) for codes in (rows, columns))
    return Entries(rows, columns, values, (int(D.shape[0]), int(D.shape[1])))
