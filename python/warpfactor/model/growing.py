"""A fitted model that takes in new users, items and ratings: as another model."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import ArrayLike

from ..data.ratings import Ratings
from ..serving.answers import Answers
from ..serving.tables import Options, Tables
from .fitted import Fitted
from .folding import FoldIn, Side, visitor_ratings
from .record import TrainingRecord

__all__ = ["Growing"]


class Growing(Fitted):
    """The methods of `Model` that return one which knows more."""

    _options: Options
    _answers: Answers
    _fold_in: FoldIn

    def fold_in_users(self, ratings: Any, y: ArrayLike | None = None) -> Self:
        """Return a model that knows these users as well, without training anew.

        Each user's factors and bias are those that training would look for, given the items as they
        are: the ridge regression of the user's ratings on the items' factors, with the penalties that
        the model was trained with and the prior mean that the rated items tell (:doc:`/explanations/accuracy`). The
        items stay as they are, and so does this model.

        Parameters
        ----------
        ratings, y
            Ratings, or anything `MatrixFactorization.fit` takes as X and y:
            all ratings of these users. Users whom the model knows are replaced by what these ratings
            say. Ratings of items that it does not know are left out, with a warning.

        Returns
        -------
        Model
            With these users among the others: ids, biases, and what they have seen. Old ids keep
            their rows. `n_ratings_`, `history_` and the items' counts stay those of the training.

        Raises
        ------
        ValueError
            If no item of `ratings` is known, ids are of another kind, or the model was trained with
            what leaves no closed form: another loss than "squared", an L1 part, a `penalty`,
            `nonnegative`; or is of several members, as those of `Ensemble` and
            `BayesianMatrixFactorization` are.

        Notes
        -----
        The first call derives what the prior means are made of, in about the time of ten epochs.
        """
        return self._folded(Ratings.from_any(ratings, y, "ratings"), "user")

    def fold_in_items(self, ratings: Any, y: ArrayLike | None = None) -> Self:
        """Return a model that knows these items as well, without training anew.

        As `fold_in_users`, with the sides in each other's places: `ratings` are all ratings of the new
        items by users whom the model knows.

        Parameters
        ----------
        ratings, y
            As of `fold_in_users`.

        Returns
        -------
        Model
            With these items among the others.

        Raises
        ------
        ValueError
            As `fold_in_users`.
        """
        return self._folded(Ratings.from_any(ratings, y, "ratings"), "item")

    def updated(self, ratings: Any, y: ArrayLike | None = None) -> Self:
        """Return a model that has learnt from more ratings; see `MatrixFactorization.partial_fit`.

        Parameters
        ----------
        ratings, y
            Ratings, or anything `MatrixFactorization.fit` takes as X and y: new ratings, of users and items that the model knows or does not.

        Returns
        -------
        Model
            With the new users and items. Old ids keep their rows; those without new ratings keep their
            numbers too.

        Raises
        ------
        ValueError
            As `fold_in_users`.
        """
        given = Ratings.from_any(ratings, y, "ratings")
        return self._grown(*self._fold_in.updated(given, self._options))

    def _served_to_visitor(self, ratings: Any, output: str) -> tuple[Answers, Options]:
        given = visitor_ratings(ratings)
        visitor = self._fold_in.visitor(given, self._options)
        n_known = len(visitor.seen.lists()[1])
        return self._answers.for_visitor(visitor, n_known), self._options

    def _folded(self, ratings: Ratings, side: Side) -> Self:
        return self._grown(*self._fold_in.folded(ratings, side, self._options))

    def _grown(self, tables: Tables, record: TrainingRecord) -> Self:
        return type(self)(tables, record, self._options)  # type: ignore[call-arg]
