"""Lists for everybody, made by the machines of a cluster."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from ..checks import check_count
from ..data.ids import id_kind
from ..model.model import Model
from ..training.estimator import MatrixFactorization
from .cluster import import_ray

__all__ = ["recommend"]


def recommend(
    model: Model | MatrixFactorization,
    users: Any = None,
    n: int = 10,
    *,
    user: str = "user",
    batch_size: int = 4096,
    **options: Any,
) -> Any:
    """Recommend items to many users, as a map over a Ray data set.

    The model is put into the object store once; each task answers a batch of users by
    `Model.recommend`.

    Parameters
    ----------
    model : Model or MatrixFactorization
        A fitted one.
    users : ray.data.Dataset, array-like of ids or None, default None
        Whom to recommend to. None: all users of the model.
    n : int, default 10
        Items of each list, as far as there are so many.
    user : str, default "user"
        The column of a data set that holds the ids.
    batch_size : int, default 4096
        Users of a task.
    **options
        As of `Model.recommend`.

    Returns
    -------
    ray.data.Dataset
        A row for each place of each list: user, rank (from 1), item and score (float). It is made when
        it is read, or written, as by ``write_parquet``.

    Raises
    ------
    ValueError
        If an option is invalid, when the data set is read.
    ImportError
        If Ray is not installed, or without its data sets (``pip install "ray[data]"``).
    """
    ray = import_ray()
    import ray.data as ray_data

    for name in ("ratings", "group", "as_frame", "titles", "output"):
        if name in options:
            raise ValueError(
                f"{name} is given; it must be left out: each row is one user of a list"
            )
    fitted = model if isinstance(model, Model) else model.model_
    n, batch_size = check_count("n", n, 1), check_count("batch_size", batch_size, 1)
    if users is None:
        users = fitted.user_ids_
    if not isinstance(users, ray_data.Dataset):
        ids = np.asarray(users)
        # A data set holds texts, not objects: UUIDs go as they are printed.
        plain = [str(each) for each in ids.tolist()] if ids.dtype == object else ids
        users = ray_data.from_arrow(pa.table({user: plain}))
    # One thread in each task, as many tasks as there are processors.
    reference = ray.put(fitted.with_options(n_threads=1))

    def lists(batch: Any) -> Any:
        held: Model = ray.get(reference)
        ids = batch.column(user)
        if id_kind(held.user_ids_) == "uuid":
            ids = [UUID(each) for each in ids.to_pylist()]
        return held.recommend(ids, n, as_frame="arrow", **options)

    return users.map_batches(lists, batch_size=batch_size, batch_format="pyarrow")
