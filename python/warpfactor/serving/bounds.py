"""Confidence bounds: what few ratings leave unknown of the scores of items, for users."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import check_number, option
from ..data.columns import read_only
from ..seeds import RandomState, seed_from
from .tables import Tables

__all__ = [
    "NO_MOVES",
    "Bound",
    "Deviations",
    "Evidence",
    "Moves",
    "check_moves",
    "deviations",
    "of_visitor",
]


class Evidence(NamedTuple):
    """What a model was learned from: both sides' training ratings, and how well it fits them.

    `train_rmse` is that of the epoch whose factors were kept; NaN if it is not known.
    """

    user_counts: NDArray[Any]
    item_counts: NDArray[Any]
    train_rmse: float


class Deviations(NamedTuple):
    """What few ratings leave unknown; see `deviations`."""

    items: NDArray[Any]
    users: NDArray[Any]
    noise: float


class Moves(NamedTuple):
    """By how many standard deviations scores are lowered or raised, and the seed of draws."""

    confidence: float = 0.0
    exploration: float = 0.0
    seed: int | None = None

    def __bool__(self) -> bool:
        return self.confidence > 0 or self.exploration > 0

    @property
    def times(self) -> float:
        """By how many standard deviations scores are raised; below 0: lowered."""
        return self.exploration - self.confidence


NO_MOVES = Moves()


class Bound(NamedTuple):
    """How scores are moved, and the deviations."""

    moves: Moves
    deviations: Deviations


def check_moves(confidence: Any, exploration: Any, random_state: RandomState) -> Moves:
    """Return what `recommend` is told of bounds; raise ValueError if it is invalid."""
    given = {"confidence": confidence, "exploration": exploration}
    values = {name: check_number(name, value) for name, value in given.items()}
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(
                f"{option(name)} is {given[name]!r}; it must be a finite number of at least 0: how "
                f"many standard deviations scores are {'lowered' if name == 'confidence' else 'raised'} by"
            )
    if all(values.values()):
        raise ValueError(
            f"{option('confidence')} is {confidence!r} and {option('exploration')} {exploration!r}; one "
            "must be 0: the one lowers scores and the other raises them, by the same deviations"
        )
    if random_state is None:
        return Moves(values["confidence"], values["exploration"])
    if not values["exploration"]:
        raise ValueError(
            f"{option('random_state')} is {random_state!r} and {option('exploration')} 0; give an "
            "exploration above 0: how many deviations the draws have"
        )
    return Moves(0.0, values["exploration"], seed_from(random_state))


def deviations(tables: Tables, evidence: Evidence) -> Deviations:
    """Return how uncertain scores are because items and users have few ratings.

    The standard deviation s_ui of the score of user u and item i, in the units of scores (with the
    identity link those of the ratings)::

        s_ui² = s_i² + d_u² ‖q_i‖²
        s_i²  = 1 / (n_i/v + 1/t_b)  +  P / (n_i P/(k v) + 1/t_q)
        d_u²  = 1 / (n_u Q/(k v) + 1/t_p)

    s_i² is what the item's ratings leave unknown of the score that a user of average factors gives
    it, given all user factors. Its first term is the posterior variance of b_i, a mean of n_i
    ratings less the rest of the score (left out without biases). The second is that of p · q_i for
    a p of mean square length: n_i ratings hold Σ p_u p_uᵀ/v ≈ n_i P/(k v) I of Fisher information
    about q_i [1]_. d_u² ‖q_i‖² is what the user's ratings leave unknown of p_u · q_i, given q_i, by
    the same reasoning; what they leave unknown of b_u is the same for all items, and left out.

    - n_i, n_u: the item's and the user's training ratings; k: the number of factors.
    - v: the variance of a rating about its score, the squared training RMSE. For labels about
      probabilities p the reciprocal of the information of a label's score, p(1 - p), which is the
      mean squared error of labels 0 and 1.
    - P, Q: the means of ‖p_u‖² and ‖q_i‖² over the training ratings.
    - t_b, t_q, t_p: the variances among items of the biases (about the model's start bias) and of the
      elements of the factors, and among users of those of theirs, by parametric empirical Bayes [2]_:
      t is the mean over the rated rows of the squared estimate plus its posterior variance, which t
      determines in turn.

    Correlations between factors are neglected. The training RMSE is less than the error on new
    ratings, so s_ui is somewhat too small.

    Returns
    -------
    items : ndarray of shape (n_items,), dtype of the factors
        s_i; for items without ratings as of n_i = 0.
    users : ndarray of shape (n_users + 1,), dtype of the factors
        d_u; the last is that of a user who is not there, the root of t_p.
    noise : float
        v.

    Raises
    ------
    ValueError
        If the training RMSE is not known.

    References
    ----------
    .. [1] L. Li, W. Chu, J. Langford, R. E. Schapire, "A contextual-bandit approach to personalized
       news article recommendation", WWW 2010: confidence bounds of an item's linear model, given
       features of the user; there the upper one is taken, to explore.
    .. [2] C. N. Morris, "Parametric empirical Bayes inference: theory and applications", Journal of
       the American Statistical Association 78, 1983.
    """
    if not math.isfinite(evidence.train_rmse):
        raise ValueError(
            "this model's history has no training RMSE to derive bounds and explanations from: fit it "
            f"for an epoch or more, or use {option('confidence', 0)} and {option('exploration', 0)}"
        )
    items, users, noise = _core.deviations(
        tables.user_factors,
        tables.item_factors,
        tables.item_biases,
        evidence.user_counts,
        evidence.item_counts,
        start_bias=tables.start_bias,
        biases=tables.biases,
        link=tables.link,
        train_rmse=evidence.train_rmse,
    )
    return Deviations(read_only(items), read_only(users), noise)


def of_visitor(known: Deviations, evidence: Evidence, n_ratings: int) -> Deviations:
    """Return the deviations where the only user is one that gave so many ratings."""
    # 1/d_u² grows by the same for each rating, from 1/t_p at none.
    most = int(np.argmax(evidence.user_counts))
    prior, least = float(known.users[-1]) ** 2, float(known.users[most]) ** 2
    users = np.full(2, known.users[-1])
    if prior > 0:
        per_rating = (1 / least - 1 / prior) / int(evidence.user_counts[most])
        users[0] = math.sqrt(1 / (1 / prior + n_ratings * per_rating))
    return Deviations(known.items, read_only(users), known.noise)
