"""What a model should beat: the mean, the biases alone, and what is popular.

Each is an estimator as `MatrixFactorization` is: ``fit(ratings)`` leaves a `Model` as ``model_``, with which it predicts,
recommends and saves. `warpfactor.evaluate` and `warpfactor.compare` take them as they take models. A baseline that only
predicts has ``ranks = False``, and one that only recommends ``predicts = False``: tables leave those cells empty.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_number
from ..data.ratings import Ratings
from ..model.model import Model
from ..model.record import TrainingRecord
from ..serving.tables import Options, SeenItems, Tables
from ..training.answering import FittedAnswers
from ..training.estimator import MatrixFactorization

__all__ = ["BiasOnly", "Mean", "Popularity", "RecentPopularity", "baselines_of"]


class _Baseline(FittedAnswers):
    """The base of those that train nothing: their model has a mean and a score for each item."""

    predicts: ClassVar[bool] = True
    ranks: ClassVar[bool] = True

    def _options(self) -> dict[str, Any]:
        return {}

    def _answer_by(self, ratings: Ratings, mean: float, scores: NDArray[np.float64]) -> Self:
        users = np.bincount(ratings.users, minlength=ratings.n_users).astype(np.uint32)
        items = np.bincount(ratings.items, minlength=ratings.n_items).astype(np.uint32)
        seen = SeenItems(ratings.n_users, pairs=(ratings.users, ratings.items))
        low, high = float(ratings.values.min()), float(ratings.values.max())
        facts = _Facts(ratings.user_ids, ratings.item_ids, users, items, seen, (low, high))
        self.model_ = _model(facts, mean, scores)
        return self


class _Facts:
    """What a model of scores of items needs beside them."""

    def __init__(
        self,
        user_ids: NDArray[Any],
        item_ids: NDArray[Any],
        user_counts: NDArray[np.uint32],
        item_counts: NDArray[np.uint32],
        seen: SeenItems,
        rating_range: tuple[float, float],
    ) -> None:
        self.user_ids, self.item_ids = user_ids, item_ids
        self.user_counts, self.item_counts = user_counts, item_counts
        self.seen, self.rating_range = seen, rating_range


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


class Mean(_Baseline):
    """Predicts the mean of the training ratings; it ranks nothing, as all items tie.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    >>> mean = wf.baselines.Mean().fit(ratings)
    >>> bool(abs(mean.predict(ratings)[0] - ratings.values.mean()) < 1e-6)
    True
    """

    ranks = False

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Take the mean; `X` and `y` are as of `MatrixFactorization.fit`."""
        ratings = Ratings.from_any(X, y)
        mean = float(ratings.values.mean(dtype=np.float64))
        return self._answer_by(ratings, mean, np.zeros(ratings.n_items))


class BiasOnly(FittedAnswers):
    """Predicts μ + b_u + b_i, without factors, and recommends the items of the highest b_i.

    It is `MatrixFactorization` with factors of zero: the penalties of the biases come from the variances of biases and
    noise, which the core estimates by EM, and the biases are trained by SGD.

    Parameters
    ----------
    loss : str, default "squared"
        As of `MatrixFactorization`.
    n_threads : int or None, default None
        Threads to use; None takes all.
    """

    predicts: ClassVar[bool] = True
    ranks: ClassVar[bool] = True

    def __init__(self, *, loss: str = "squared", n_threads: int | None = None) -> None:
        self.loss = loss
        self.n_threads = n_threads

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Train the biases; `X` and `y` are as of `MatrixFactorization.fit`."""
        estimator = MatrixFactorization(
            n_factors=1,
            init=0.0,
            reg=0.0,
            implicit_feedback="none",
            loss=self.loss,
            n_threads=self.n_threads,
            random_state=0,
            verbose=0,
        )
        self.model_ = estimator.fit(X, y).model_
        return self

    def _options(self) -> dict[str, Any]:
        return {"n_threads": self.n_threads}


class Popularity(_Baseline):
    """Recommends the items with the most training ratings; it predicts no ratings.

    The score of an item is its number of training ratings, n_i. Of equal ones the item of the lower id comes first.
    """

    predicts = False

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Count the ratings; `X` and `y` are as of `MatrixFactorization.fit`."""
        ratings = Ratings.from_any(X, y)
        counts = np.bincount(ratings.items, minlength=ratings.n_items)
        return self._answer_by(ratings, 0.0, counts.astype(np.float64))


class RecentPopularity(_Baseline):
    """Recommends the items with the most of the latest training ratings; it predicts no ratings.

    The score of an item is its number of ratings among the latest. Of equal ones, that with more ratings of any time
    comes first, then the one of the lower id. The ratings need timestamps. It is RecentPop of [1]_.

    Parameters
    ----------
    share : float, default 0.1
        Which share of the training ratings counts as the latest, above 0 and at most 1; ratings of the same time as the
        first of them count too.

    References
    ----------
    .. [1] Y. Ji, A. Sun, J. Zhang, C. Li, "A re-visit of the popularity baseline in recommender systems", SIGIR 2020.
    """

    predicts = False

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Count the ratings; `X` and `y` are as of `MatrixFactorization.fit`.

        Raises
        ------
        ValueError
            If `share` is out of range, or the ratings have no timestamps.
        """
        share = check_number("share", self.share)
        if not 0 < share <= 1:
            raise ValueError(f"share is {self.share!r}; it must be above 0 and at most 1")
        ratings = Ratings.from_any(X, y)
        times = ratings.timestamps
        if times is None:
            raise ValueError(
                "RecentPopularity needs to know when ratings were given, and these have no timestamps: "
                "name their column as timestamp=, or use Popularity"
            )
        n_latest = max(1, round(share * len(ratings)))
        latest = times >= np.partition(times, len(times) - n_latest)[len(times) - n_latest]
        counts = np.bincount(ratings.items, minlength=ratings.n_items)
        recent = np.bincount(ratings.items[latest], minlength=ratings.n_items)
        return self._answer_by(ratings, 0.0, recent + counts / (len(ratings) + 1.0))


def baselines_of(model: Model, train: Ratings | None) -> dict[str, Any]:
    """Return the baselines that can be had, fitted, by the names that tables give them.

    Parameters
    ----------
    model : Model
        The model that they stand beside. Without `train` it says what is popular.
    train : Ratings or None
        What it was trained on.
    """
    if train is not None:
        found: dict[str, Any] = {
            "mean": Mean(),
            "biases": BiasOnly(n_threads=model.n_threads),
            "popularity": Popularity(),
        }
        if train.timestamps is not None:
            found["recent"] = RecentPopularity()
        return {name: each.fit(train) for name, each in found.items()}
    indptr, items = model.seen_
    facts = _Facts(
        model.user_ids_,
        model.item_ids_,
        np.asarray(model.user_counts_),
        np.asarray(model.item_counts_),
        SeenItems(len(model.user_ids_), lists=(indptr, items)),
        model.rating_range_,
    )
    mean, popularity = Mean(), Popularity()
    mean.model_ = _model(facts, model.rating_mean_, np.zeros(len(facts.item_ids)))
    popularity.model_ = _model(facts, 0.0, facts.item_counts.astype(np.float64))
    return {"mean": mean, "popularity": popularity}
