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
    "Evidence",
    "Moves",
    "Uncertainty",
    "check_moves",
    "of_visitor",
    "uncertainty",
]

# Beyond, float32 rounds the scores away, and at last overflows.
_MOST_DEVIATIONS = 1_000_000


class Evidence(NamedTuple):
    """What a model was learned from: both sides' training ratings, and how well it fits them.

    `train_rmse` is that of the epoch whose factors were kept; NaN if it is not known. `n_members`: how
    many factorizations the model is the mean of.
    """

    user_counts: NDArray[Any]
    item_counts: NDArray[Any]
    train_rmse: float
    n_members: int = 1


class Uncertainty(NamedTuple):
    """What few ratings leave unknown of scores; see `uncertainty`."""

    bias_variances: NDArray[Any]
    factor_variances: NDArray[Any]
    user_lengths: NDArray[Any]
    noise: float

    @property
    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {
            name: value for name, value in self._asdict().items() if isinstance(value, np.ndarray)
        }


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
    """How scores are moved, and what is unknown of them."""

    moves: Moves
    uncertainty: Uncertainty


def check_moves(confidence: Any, exploration: Any, random_state: RandomState) -> Moves:
    """Return what `recommend` is told of bounds; raise ValueError if it is invalid."""
    given = {"confidence": confidence, "exploration": exploration}
    values = {name: check_number(name, value) for name, value in given.items()}
    for name, value in values.items():
        if not 0 <= value <= _MOST_DEVIATIONS:
            raise ValueError(
                f"{option(name)} is {given[name]!r:.80}; it must be from 0 to {_MOST_DEVIATIONS}: how "
                f"many standard deviations scores are {'lowered' if name == 'confidence' else 'raised'} by"
            )
    if all(values.values()):
        raise ValueError(
            f"{option('confidence')} is {confidence!r:.80} and {option('exploration')} {exploration!r:.80}; one "
            "must be 0: the one lowers scores and the other raises them, by the same deviations"
        )
    if random_state is None:
        return Moves(values["confidence"], values["exploration"])
    if not values["exploration"]:
        raise ValueError(
            f"{option('random_state')} is {random_state!r:.80} and {option('exploration')} 0; give an "
            "exploration above 0: how many deviations the draws have"
        )
    return Moves(0.0, values["exploration"], seed_from(random_state))


def uncertainty(tables: Tables, evidence: Evidence) -> Uncertainty:
    """Return how uncertain the scores of items are because items and users have few ratings.

    The standard deviation s_ui of the score of user u and item i, in the units of scores (with the
    identity link those of the ratings)::

        s_ui² = B_i + L_u F_i
        B_i   = 1 / (n_i/v + 1/t_b)
        F_i   = 1 / (n_i P/(k v) + 1/t_q)
        L_u   = ‖p_u‖² + k / (n_u Q/(k v) + 1/t_p)

    B_i is the posterior variance of b_i, a mean of n_i ratings less the rest of the score (0 without
    biases). F_i is that of each factor of the item: n_i ratings hold Σ p_u p_uᵀ/v ≈ n_i P/(k v) I of
    Fisher information about q_i [1]_. L_u is the expected square of the length of the user's factors,
    of which the ratings tell p_u with a variance in each factor, by the same reasoning. So s_ui² is
    the variance of b_i + p · q_i given p, in the mean over what p may be.

    - n_i, n_u: the item's and the user's training ratings; k: the number of factors, of a model of
      several members that of one.
    - v: the variance of a rating about its score, the squared training RMSE. For labels about
      probabilities p the reciprocal of the information of a label's score, p(1 - p), which is the
      mean squared error of labels 0 and 1.
    - P, Q: the means of ‖p_u‖² and ‖q_i‖² over the training ratings.
    - t_b, t_q, t_p: the variances among items of the biases (about the model's start bias) and of the
      elements of the factors, and among users of those of theirs, by parametric empirical Bayes [2]_:
      t is the mean over the rated rows of the squared estimate plus its posterior variance, which t
      determines in turn.

    What is not known of the user's own taste, ‖q_i‖² times the variance of a factor of the user, is
    left out: a bound lowered by it marks down items with long factors, which are those that people
    like, and its lists are worse than without a bound (docs/explanations/accuracy.md). So are correlations between
    factors. The training RMSE is less than the error on new ratings, so s_ui is somewhat too small.

    Returns
    -------
    bias_variances, factor_variances : ndarray of shape (n_items,), dtype of the factors
        B_i and F_i; for items without ratings as of n_i = 0.
    user_lengths : ndarray of shape (n_users + 1,), dtype of the factors
        L_u; the last is that of a user who is not there, k t_p.
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
    biases, factors, lengths, noise = _core.uncertainty(
        tables.user_factors,
        tables.item_factors,
        tables.item_biases,
        evidence.user_counts,
        evidence.item_counts,
        start_bias=tables.start_bias,
        biases=tables.biases,
        link=tables.link,
        train_rmse=evidence.train_rmse,
        n_members=evidence.n_members,
    )
    return Uncertainty(read_only(biases), read_only(factors), read_only(lengths), noise)


def of_visitor(
    known: Uncertainty, tables: Tables, evidence: Evidence, factors: NDArray[Any], n_ratings: int
) -> Uncertainty:
    """Return what is unknown where the only user has these factors and gave so many ratings.

    `known`, `tables` and `evidence` are the model's, whose users tell what a rating is worth.
    """
    k = len(factors)
    # The reciprocal of a factor's variance grows by the same for each rating, from 1/t_p at none. The user of the
    # fewest has the largest variance, which rounding harms least.
    counts = np.where(evidence.user_counts > 0, evidence.user_counts, np.iinfo(np.uint32).max)
    few = int(np.argmin(counts))
    prior = float(known.user_lengths[-1]) / k
    theirs = tables.user_factors[few].astype(np.float64)
    spread = (float(known.user_lengths[few]) - float(theirs @ theirs)) / k
    own = factors.astype(np.float64)
    length = float(own @ own)
    if prior > 0 and spread > 0:
        per_rating = max(0.0, (1 / spread - 1 / prior) / int(counts[few]))
        length += k / (1 / prior + n_ratings * per_rating)
    lengths = np.array([length, known.user_lengths[-1]], known.user_lengths.dtype)
    return known._replace(user_lengths=read_only(lengths))
