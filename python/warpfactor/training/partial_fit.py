"""Learning from ratings that come after the fit."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from ..checks import renamed_words
from ..data.ratings import Ratings
from .answering import FittedAnswers

__all__ = ["NoPartialFit", "PartialFit"]


class PartialFit(FittedAnswers):
    """An estimator that learns from more ratings by its model alone."""

    def partial_fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Learn from more ratings: tomorrow's, of users and items that are known or new.

        The first call fits. Later ones solve for the rows of the users and items that have new ratings,
        in closed form and in turn, without the ratings of earlier calls, which are not kept: a row is
        taken to be where they left it, with as much weight as they had. The penalties stay as chosen
        in the first call. Rows without new ratings keep their numbers, and old ids their rows. `fit`
        on all ratings now and then undoes what adds up.

        Parameters
        ----------
        X, y
            The new ratings, as of `fit`. A pair that was rated before counts as one more rating.

        Returns
        -------
        self
            Itself, with another `model_`. If it fails, what was fitted is unchanged.

        Raises
        ------
        ValueError
            As `fit` and `Model.fold_in_users`.
        """
        if not self.__sklearn_is_fitted__():
            return self.fit(X, y)  # type: ignore[no-any-return]
        given = Ratings.from_any(X, y)
        with renamed_words(ratings="X"):
            self.model_ = self._answering().updated(given)
        return self


class NoPartialFit(FittedAnswers):
    """An estimator whose model is the mean of several, which have no row in common to solve for."""

    @property
    def partial_fit(self) -> Any:
        """Not there: `hasattr` says so, and who calls it is told what to do."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit, as its model is the mean of several, whose rows are not of "
            "one training: fit it again on all ratings, or keep a MatrixFactorization up to date by its partial_fit"
        )
