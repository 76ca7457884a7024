"""The columns of (user, item) pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..exchange import to_host
from .hints import describe_kind
from .matrices import is_masked, is_sparse
from .objects import open_table

__all__ = ["pair_columns"]


def pair_columns(X: Any, name: str) -> tuple[Any, Any]:
    """Return the users and the items of an (n, 2) array, a list of pairs, or a table.

    Raises
    ------
    ValueError
        If `X` is another object.
    """
    X = to_host(X)
    table = None if isinstance(X, np.ndarray) and X.dtype.names is None else open_table(X)
    if table is not None:
        found = table.resolve({"user": None, "item": None})
        return table.column(found["user"]), table.column(found["item"])
    if is_masked(X) or is_sparse(X) or isinstance(X, (str, bytes, dict)):
        raise ValueError(f"{name} is {describe_kind(X)}; it must be (n, 2) pairs of ids")
    if not hasattr(X, "__array__") and hasattr(X, "__iter__"):
        return _listed(list(X), name)
    array = np.asarray(X)
    if array.ndim != 2 or array.shape[1] != 2:
        more = array.ndim == 2 and array.shape[1] > 2
        fix = f": pass {name}[:, :2] if they come first" if more else ""
        raise ValueError(
            f"{name} has shape {array.shape}; it must be an (n, 2) array of user and item ids{fix}"
        )
    return array[:, 0], array[:, 1]


def _listed(pairs: list[Any], name: str) -> tuple[list[Any], list[Any]]:
    for at, pair in enumerate(pairs):
        if isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise ValueError(
                f"{name} holds {pair!r:.60} at position {at}; it must be a list of (user, item) pairs"
            )
    return [user for user, _ in pairs], [item for _, item in pairs]
