"""What to say of objects that hold no ratings, or that could be read in two ways."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .matrices import looks_like_columns

__all__ = ["describe_kind", "hint_for", "no_ratings"]


def describe_kind(X: Any) -> str:
    """Say what an object is."""
    if isinstance(X, np.ndarray):
        return f"{type(X).__name__} of dtype {X.dtype} and shape {X.shape}"
    return type(X).__name__ if hasattr(X, "__len__") else f"{type(X).__name__} {X!r:.60}"


def no_ratings(X: Any, name: str) -> str:
    """Say why an object is not read as ratings, and what to write in its place."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 2:
        return f"{name} holds pairs of ids but no ratings: pass y too, or a Ratings"
    if looks_like_columns(X):
        return _two_readings(X, name)
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "iub":
        return (
            f"{name} is an array of dtype {X.dtype}, which cannot say what is missing: pass floats "
            "with NaN, numpy.ma.masked_equal(X, 0), or Ratings.from_dense(X) if nothing is"
        )
    return (
        f"{name} is {describe_kind(X)}; it must be Ratings, a sparse matrix, a masked array, a 2-D "
        f"float array with NaN, a table, or pairs of ids together with y{hint_for(X, name)}"
    )


def _two_readings(X: NDArray[Any], name: str) -> str:
    """Say that an array may be columns, or a matrix, and how to write each."""
    is_number = X.dtype.kind in "fiub"
    rating = f"{name}[:, 2]" if is_number else f"{name}[:, 2].astype(float)"
    arguments = f"{name}[:, 0], {name}[:, 1], {rating}"
    roles = "user, item and rating"
    if X.shape[1] == 4:
        arguments += f", timestamps={name}[:, 3]"
        roles = "user, item, rating and timestamp"
    columns = f"If its columns are {roles}, write warpfactor.Ratings.from_arrays({arguments})"
    if not is_number:
        return f"{name} is {describe_kind(X)}. {columns}"
    return (
        f"{name} has shape {X.shape}, and could be two things. {columns}. If it is a matrix of "
        f"{X.shape[1]} items, write warpfactor.Ratings.from_dense({name})"
    )


def hint_for(X: Any, name: str) -> str:
    """Say what to do about an object that people try, as the end of a sentence."""
    if isinstance(X, (str, bytes, PathLike)):
        return "; warpfactor.read_ratings reads files"
    if isinstance(X, dict):
        return f"; pass pandas.DataFrame({name}) or pyarrow.table({name})"
    if isinstance(X, (list, tuple)) and X and isinstance(X[0], (list, tuple)):
        if len(X[0]) == 3:
            columns = f"user, item and rating, write warpfactor.Ratings.from_arrays(*zip(*{name}))"
        elif len(X[0]) == 4:
            columns = (
                f"user, item, rating and timestamp, write u, i, r, t = zip(*{name}) and "
                "warpfactor.Ratings.from_arrays(u, i, r, timestamps=t)"
            )
        else:
            return ""
        return (
            f". If each row is {columns}. If they are the rows of a matrix, write "
            f"warpfactor.Ratings.from_dense({name})"
        )
    # pandas' Series, polars' LazyFrame, Spark's DataFrame
    for method in ("reset_index", "collect", "toPandas"):
        if hasattr(X, method):
            return f"; pass {name}.{method}()"
    return ""
