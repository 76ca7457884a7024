"""What is known of the training of a model."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..serving.bounds import Evidence

__all__ = ["EpochRecord", "Origin", "TrainingRecord", "origin_of"]


class EpochRecord(TypedDict):
    """One epoch as it ended: an entry of `history_`."""

    epoch: int
    seconds: float
    learning_rate: float
    train_rmse: float
    train_loss: float
    valid_rmse: float
    valid_loss: float


class Origin(TypedDict, total=False):
    """When, how and how well a model was trained; what is not known is not there."""

    estimator: str
    at: str
    seconds: float
    test_rmse: float
    n_test: int


def origin_of(estimator: str, started: float) -> Origin:
    """Tell of a training that ends now.

    Parameters
    ----------
    estimator : str
        The name of the estimator's class.
    started : float
        What `time.perf_counter` said when training began.

    Returns
    -------
    Origin
        `at` is the time in UTC by ISO 8601, to the second; `seconds` is wall-clock time, the search
        for strengths included.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Origin(estimator=estimator, at=now, seconds=time.perf_counter() - started)


@dataclass(frozen=True, eq=False)
class TrainingRecord:
    """What is known of the training of a model; its predictions need none of it.

    Parameters
    ----------
    params : mapping
        The estimator's parameters by name, so far as a file can hold them.
    history : tuple of dict
        One record for each epoch that was run.
    n_epochs : int
        The epoch, counted from 1, whose factors were kept.
    n_threads : int
        The threads that trained.
    instruction_set : str
        The kernels that trained.
    loss : str
        The name of the loss; "custom" for a formula.
    user_counts, item_counts : ndarray of shape (n_users,) and (n_items,), uint32
        How many training ratings each row has, of those with a weight above 0.
    n_ratings : int
        How many training ratings have a weight above 0.
    rating_range : (float, float)
        The lowest and the highest of them.
    chosen : mapping
        What training chose where the parameters leave it open, by the parameters' names.
    origin : Origin
        When, how and how well it was trained.
    score_scale : float
        One unit of a score in training, in the units of the ratings; NaN where it is not known.
    """

    params: Mapping[str, Any]
    history: tuple[EpochRecord, ...]
    n_epochs: int
    n_threads: int
    instruction_set: str
    loss: str
    user_counts: NDArray[np.uint32]
    item_counts: NDArray[np.uint32]
    n_ratings: int
    rating_range: tuple[float, float]
    chosen: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    score_scale: float = math.nan

    @property
    def evidence(self) -> Evidence:
        """What the uncertainty of items is derived from."""
        kept = (each["train_rmse"] for each in self.history if each["epoch"] == self.n_epochs)
        return Evidence(self.user_counts, self.item_counts, next(kept, math.nan))
