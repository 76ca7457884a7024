"""The models of the baselines, made without scikit-learn: see `warpfactor.evaluation.baselines`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.ratings import Ratings
from ..model.model import Model
from ..model.record import TrainingRecord
from ..parameters import DEFAULTS
from ..serving.tables import Options, SeenItems, Tables
from ..training.fit import fit_model

__all__ = [
    "Judged",
    "baselines_of",
    "bias_model",
    "mean_model",
    "popularity_model",
    "recent_model",
]


class Judged(NamedTuple):
    """A fitted model, what it can be judged by (its predictions, its lists), and its lists' confidence."""

    model: Model
    predicts: bool = True
    ranks: bool = True
    confidence: float = 0.0


@dataclass(frozen=True)
class _Facts:
    """What a model of scores of items needs beside them."""

    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    user_counts: NDArray[np.uint32]
    item_counts: NDArray[np.uint32]
    seen: SeenItems
    rating_range: tuple[float, float]


def _facts(ratings: Ratings) -> _Facts:
    return _Facts(
        ratings.user_ids,
        ratings.item_ids,
        np.bincount(ratings.users, minlength=ratings.n_users).astype(np.uint32),
        np.bincount(ratings.items, minlength=ratings.n_items).astype(np.uint32),
        SeenItems(ratings.n_users, pairs=(ratings.users, ratings.items)),
        (float(ratings.values.min()), float(ratings.values.max())),
    )


def _model(facts: _Facts, mean: float, scores: NDArray[np.float64]) -> Model:
    n_users, n_items = len(facts.user_ids), len(facts.item_ids)
    tables = Tables(
        user_factors=np.zeros((n_users, 1)),
        item_factors=np.zeros((n_items, 1)),
        user_biases=np.zeros(n_users),
        item_biases=scores,
        user_ids=facts.user_ids,
        item_ids=facts.item_ids,
        user_known=facts.user_counts > 0,
        item_known=facts.item_counts > 0,
        seen=facts.seen,
        global_mean=mean,
        rating_mean=mean,
        start_bias=0.0,
        biases=True,
        link="identity",
    )
    record = TrainingRecord(
        params={},
        history=(),
        n_epochs=0,
        n_threads=1,
        instruction_set="",
        loss="squared",
        user_counts=facts.user_counts,
        item_counts=facts.item_counts,
        n_ratings=int(facts.user_counts.sum()),
        rating_range=facts.rating_range,
    )
    return Model(tables, record, Options())


def mean_model(ratings: Ratings) -> Model:
    """Return a model that predicts the mean rating."""
    mean = float(ratings.values.mean(dtype=np.float64))
    return _model(_facts(ratings), mean, np.zeros(ratings.n_items))


def popularity_model(ratings: Ratings) -> Model:
    """Return a model whose scores are the items' numbers of ratings."""
    facts = _facts(ratings)
    return _model(facts, 0.0, facts.item_counts.astype(np.float64))


def recent_model(ratings: Ratings, share: float = 0.1) -> Model:
    """Return a model whose scores are numbers of ratings among the latest; see `RecentPopularity`.

    Raises
    ------
    ValueError
        If the ratings have no timestamps.
    """
    times = ratings.timestamps
    if times is None:
        raise ValueError(
            "RecentPopularity needs to know when ratings were given, and these have no timestamps: "
            "name their column as timestamp=, or use Popularity"
        )
    first = len(times) - max(1, round(share * len(times)))
    latest = times >= np.partition(times, first)[first]
    counts = np.bincount(ratings.items, minlength=ratings.n_items)
    recent = np.bincount(ratings.items[latest], minlength=ratings.n_items)
    return _model(_facts(ratings), 0.0, recent + counts / (len(ratings) + 1.0))


def bias_model(
    X: Any, y: Any = None, *, loss: Any = "squared", n_threads: int | None = None
) -> Model:
    """Return a model of biases alone; see `BiasOnly`."""
    params = {
        "n_factors": 1,
        "init": 0.0,  # factors of zero get no gradient but from each other, and stay zero
        "reg": 0.0,
        "implicit_feedback": "none",
        "loss": loss,
        "n_threads": n_threads,
        "random_state": 0,
        "verbose": 0,
    }
    return fit_model({**DEFAULTS, **params}, X, y)


def baselines_of(model: Model, train: Ratings | None) -> dict[str, Judged]:
    """Return the baselines that can be had, by the names that tables give them.

    Parameters
    ----------
    model : Model
        The model that they stand beside. Without `train` it says what is popular.
    train : Ratings or None
        What it was trained on.
    """
    if train is None:
        facts = _Facts(
            model.user_ids_,
            model.item_ids_,
            np.asarray(model.user_counts_),
            np.asarray(model.item_counts_),
            SeenItems(len(model.user_ids_), lists=model.seen_),
            model.rating_range_,
        )
        counts = facts.item_counts.astype(np.float64)
        popularity = {"popularity": Judged(_model(facts, 0.0, counts), predicts=False)}
        if model.loss_ == "squared_hinge":  # it predicts scores, and keeps no mean of the ratings
            return popularity
        mean = _model(facts, model.rating_mean_, np.zeros(len(counts)))
        return {"mean": Judged(mean, ranks=False), **popularity}
    found = {
        "mean": Judged(mean_model(train), ranks=False),
        "biases": Judged(bias_model(train, n_threads=model.n_threads)),
        "popularity": Judged(popularity_model(train), predicts=False),
    }
    if train.timestamps is not None:
        found["recent"] = Judged(recent_model(train), predicts=False)
    return found
