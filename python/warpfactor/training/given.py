"""What a fit is given, as the core takes it, and the model made of what the core returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import is_number, option
from ..data.columns import check_weights
from ..data.matrices import check_matrix_shape, stands_for_matrix
from ..data.ratings import Ratings, adopt_ratings, pairs_to_codes
from ..model.members import Members
from ..model.model import Model
from ..model.record import Origin, TrainingRecord
from ..serving.tables import Options, SeenItems, Tables
from .cut_rows import refuse_cut_rows

__all__ = ["Given", "given_ratings", "made_model", "validation_arrays"]

# Of the random streams that begin with a seed, the one that draws validation ratings.
_DRAWN = 0x5EED_0F_FA


class Given(NamedTuple):
    """The ratings of one fit.

    Parameters
    ----------
    ratings : Ratings
        Those to train on.
    weights : ndarray of shape (n_ratings,), float32, or None
        Their weights.
    held_out : RatingArrays or None
        The validation ratings, with the codes of the training ratings' users and items.
    whole : Given or None
        All ratings of which `ratings` and `held_out` are parts, if those were drawn.
    """

    ratings: Ratings
    weights: NDArray[np.float32] | None
    held_out: _core.RatingArrays | None
    whole: Given | None = None

    def arrays(self) -> _core.RatingArrays:
        """Return the ratings to train on, as the core takes them."""
        ratings = self.ratings
        return _core.RatingArrays(ratings.users, ratings.items, ratings.values, self.weights)

    def implicit_codes(
        self, implicit: Any, implicit_feedback: str = "auto"
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the codes of pairs without a rating.

        Those of unknown rows say nothing and are left out.

        Raises
        ------
        ValueError
            If none are left, or `implicit_feedback` is "none".
        """
        if implicit_feedback == "none":
            raise ValueError(
                "implicit is given, and implicit_feedback is 'none', which uses none: leave implicit "
                "out, or use implicit_feedback='auto'"
            )
        user_ids, item_ids = self.ratings.user_ids, self.ratings.item_ids
        users, items = pairs_to_codes(implicit, user_ids, item_ids, "implicit")
        known = (users >= 0) & (items >= 0)
        if not known.any():
            raise ValueError(
                "implicit holds no pair of a user and an item that both have ratings in X: give pairs "
                "of ids as in X"
            )
        return np.ascontiguousarray(users[known]), np.ascontiguousarray(items[known])


def given_ratings(
    X: Any,
    y: ArrayLike | None,
    *,
    sample_weight: ArrayLike | None,
    validation: Any,
    fraction: float | None = None,
    seed: int = 0,
) -> Given:
    """Check and convert the arguments of `fit`; see `MatrixFactorization.fit`.

    Parameters
    ----------
    X, y, sample_weight, validation
        As of `MatrixFactorization.fit`.
    fraction : float or None, default None
        `validation_fraction`, where `validation` is None.
    seed : int
        Of the choice of the validation ratings.
    """
    name = "validation_fraction" if validation is None else "validation"
    drawn = fraction if validation is None else validation
    if drawn is not None and (is_number(drawn) or isinstance(drawn, str)):
        return _drawn(
            given_ratings(X, y, sample_weight=sample_weight, validation=None), name, drawn, seed
        )
    ratings = Ratings.from_any(X, y)
    if y is None and stands_for_matrix(X):
        refuse_cut_rows(X)
    weights = None if sample_weight is None else check_weights(sample_weight, len(ratings))
    held_out = None if validation is None else validation_arrays(validation, ratings)
    return Given(ratings, weights, held_out)


def _drawn(given: Given, name: str, fraction: Any, seed: int) -> Given:
    """Draw a share of the ratings for validation."""
    if not is_number(fraction) or not 0 < fraction < 1:
        raise ValueError(
            f"{option(name)} is {fraction!r}; it must be above 0 and below 1: the share of the ratings "
            "that is held out for early stopping"
        )
    n = len(given.ratings)
    size = round(fraction * n)
    if not 0 < size < n:
        raise ValueError(
            f"{option(name)} is {fraction!r}, which is {size} of {n} ratings; both parts need at least one"
        )
    chosen = np.zeros(n, bool)
    chosen[np.random.default_rng([seed, _DRAWN]).choice(n, size, replace=False)] = True
    test, weights = given.ratings.take(chosen), given.weights
    return Given(
        given.ratings.take(~chosen),
        None if weights is None else weights[~chosen],
        _core.RatingArrays(
            test.users, test.items, test.values, None if weights is None else weights[chosen]
        ),
        given,
    )


def joined(given: Given, validation: Any) -> Given:
    """Return the ratings to train on together with the validation ratings, which weigh 1."""
    X, y = validation if isinstance(validation, tuple) else (validation, None)
    first, second = given.ratings, Ratings.from_any(X, y, "validation")
    values = np.concatenate((first.values, second.values))
    same = all(
        mine is theirs or np.array_equal(mine, theirs)
        for mine, theirs in zip(_ids(first), _ids(second), strict=True)
    )
    if same:
        users, items = (
            np.concatenate((getattr(first, name), getattr(second, name)))
            for name in ("users", "items")
        )
        ratings = adopt_ratings(users, items, values, first.user_ids, first.item_ids)
    else:
        ids = zip(first.to_arrays()[:2], second.to_arrays()[:2], strict=True)
        users, items = (np.concatenate(pair) for pair in ids)
        ratings = Ratings.from_arrays(users, items, values)
    weights = given.weights
    if weights is not None:
        weights = np.concatenate((weights, np.ones(len(second), np.float32)))
    return Given(ratings, weights, None)


def _ids(ratings: Ratings) -> tuple[NDArray[Any], NDArray[Any]]:
    return ratings.user_ids, ratings.item_ids


def made_model(
    given: Given,
    result: Mapping[str, Any],
    params: Mapping[str, Any],
    options: Options,
    *,
    biases: bool = True,
    members: Members | None = None,
    chosen: Mapping[str, Any] | None = None,
    origin: Origin | None = None,
) -> Model:
    """Make a model of what the core returned.

    Parameters
    ----------
    given : Given
        The ratings it was trained on.
    result : mapping
        What `_core.train_float32` returns, or its kin.
    params : mapping
        The estimator's parameters, so far as a file can hold them.
    options : Options
        How the model answers.
    biases : bool, default True
        Whether it has μ and biases.
    members : Members or None, default None
        The members whose mean it is.
    chosen : mapping or None, default None
        What training chose where the parameters leave it open.
    origin : Origin or None, default None
        When, how and how well it was trained.
    """
    ratings, weights = (given.whole or given)[
        :2
    ]  # what is recommended leaves out the drawn ones too
    counted = slice(None) if weights is None else weights > 0
    pairs = ratings.users[counted], ratings.items[counted]
    tables = Tables(
        user_factors=result["user_factors"],
        item_factors=result["item_factors"],
        user_biases=result["user_biases"],
        item_biases=result["item_biases"],
        user_ids=ratings.user_ids,
        item_ids=ratings.item_ids,
        user_known=result["user_counts"] > 0,
        item_known=result["item_counts"] > 0,
        seen=SeenItems(ratings.n_users, pairs=pairs),
        global_mean=result["global_mean"],
        rating_mean=result["rating_mean"],
        start_bias=result["start_bias"],
        biases=biases,
        link=result["link"],
    )
    record = TrainingRecord(
        params=params,
        history=tuple(result["history"]),
        n_epochs=result["best_epoch"],
        n_threads=result["n_threads"],
        instruction_set=result["instruction_set"],
        loss=result["loss"],
        user_counts=result["user_counts"],
        item_counts=result["item_counts"],
        n_ratings=result["n_ratings"],
        rating_range=(result["rating_min"], result["rating_max"]),
        chosen=chosen or {},
        origin=origin or Origin(),
        score_scale=result["score_scale"],
    )
    return Model(tables, record, options, members)


def validation_arrays(validation: Any, train: Ratings) -> _core.RatingArrays:
    """Return validation ratings with the codes of the training ratings' users and items."""
    X, y = validation if isinstance(validation, tuple) else (validation, None)
    held_out = Ratings.from_any(X, y, "validation")
    if y is None and stands_for_matrix(X):
        check_matrix_shape(X.shape, train.user_ids, train.item_ids, "validation")
    users, items = pairs_to_codes(held_out, train.user_ids, train.item_ids, "validation")
    return _core.RatingArrays(users, items, held_out.values)
