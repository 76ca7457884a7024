"""What a model should beat: the mean, the biases alone, and what is popular.

Each is an estimator as `MatrixFactorization` is: ``fit(ratings)`` leaves a `Model` as ``model_``,
with which it predicts, recommends and saves. `warpfactor.evaluate` and `warpfactor.compare` take
them as they take models. A baseline that only predicts has ``ranks = False``, and one that only
recommends ``predicts = False``: tables leave those cells empty.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from numpy.typing import ArrayLike

from ..checks import check_number
from ..data.ratings import Ratings
from ..training.answering import FittedAnswers
from .simple_models import bias_model, mean_model, popularity_model, recent_model

__all__ = ["BiasOnly", "Mean", "Popularity", "RecentPopularity"]


class _Baseline(FittedAnswers):
    """The base of those that train nothing: their model has a mean and a score for each item."""

    predicts: ClassVar[bool] = True
    ranks: ClassVar[bool] = True

    def _options(self) -> dict[str, Any]:
        return {}


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
        self.model_ = mean_model(Ratings.from_any(X, y))
        return self


class BiasOnly(FittedAnswers):
    """Predicts μ + b_u + b_i, without factors, and recommends the items of the highest b_i.

    It is `MatrixFactorization` with factors of zero: the penalties of the biases come from the
    variances of biases and noise, which the core estimates by EM, and the biases are trained by
    SGD.

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
        self.model_ = bias_model(X, y, loss=self.loss, n_threads=self.n_threads)
        return self

    def _options(self) -> dict[str, Any]:
        return {"n_threads": self.n_threads}


class Popularity(_Baseline):
    """Recommends the items with the most training ratings; it predicts no ratings.

    The score of an item is its number of training ratings, n_i. Of equal ones the item of the lower
    id comes first.
    """

    predicts = False

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Count the ratings; `X` and `y` are as of `MatrixFactorization.fit`."""
        self.model_ = popularity_model(Ratings.from_any(X, y))
        return self


class RecentPopularity(_Baseline):
    """Recommends the items with the most of the latest training ratings; it predicts no ratings.

    The score of an item is its number of ratings among the latest. Of equal ones, that with more
    ratings of any time comes first, then the one of the lower id. The ratings need timestamps. It
    is RecentPop of [1]_.

    Parameters
    ----------
    share : float, default 0.1
        Which share of the training ratings counts as the latest, above 0 and at most 1; ratings of
        the same time as the first of them count too.

    References
    ----------
    .. [1] Y. Ji, A. Sun, J. Zhang, C. Li, "A re-visit of the popularity baseline in recommender
       systems", SIGIR 2020.
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
            raise ValueError(f"share is {self.share!r:.80}; it must be above 0 and at most 1")
        self.model_ = recent_model(Ratings.from_any(X, y), share)
        return self
