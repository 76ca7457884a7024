"""Lower confidence bounds: what few ratings leave unknown of the scores of items."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .. import _core
from ..checks import check_number, option
from ..data.columns import read_only
from .tables import Tables

__all__ = ["Evidence", "Lowering", "check_confidence", "item_deviations"]


class Lowering(NamedTuple):
    """By how much the scores of items are lowered: `confidence` times `item_deviations`."""

    confidence: float
    item_deviations: NDArray[Any]


class Evidence(NamedTuple):
    """What a model was learned from: both sides' training ratings, and how well it fits them.

    `train_rmse` is that of the epoch whose factors were kept; NaN if it is not known.
    """

    user_counts: NDArray[Any]
    item_counts: NDArray[Any]
    train_rmse: float


def check_confidence(value: Any) -> float:
    """Return a `confidence` as a float; raise ValueError unless it is finite and at least 0."""
    confidence = check_number("confidence", value)
    if not 0 <= confidence < math.inf:
        raise ValueError(
            f"{option('confidence')} is {value!r}; it must be a finite number of at least 0: how "
            "many standard deviations scores are lowered by"
        )
    return confidence


def item_deviations(tables: Tables, evidence: Evidence) -> NDArray[Any]:
    """Return how uncertain each item's scores are because the item has few ratings.

    That is the standard deviation s_i, given the ratings and all user factors, of the score that a
    user of average factors gives item i, in the units of scores (with the identity link those of
    the ratings)::

        s_i² = 1 / (n_i/v + 1/t_b)  +  P / (n_i P/(k v) + 1/t_q)

    The first term is the posterior variance of b_i, a mean of n_i ratings less the rest of the
    score (left out without biases). The second is that of p · q_i for a p of mean square length:
    n_i ratings hold Σ p_u p_uᵀ/v ≈ n_i P/(k v) I of Fisher information about q_i [1]_.

    - n_i: the item's training ratings; k: the number of factors.
    - v: the variance of a rating about its score, the squared training RMSE. For labels about
      probabilities p the reciprocal of the information of a label's score, p(1 - p), which is the
      mean squared error of labels 0 and 1.
    - P: the mean of ‖p_u‖² over the training ratings.
    - t_b, t_q: the variances among items of the biases (about the model's start bias) and of the
      elements of the factors, by parametric empirical Bayes [2]_: t is the mean over the rated
      items of the squared estimate plus its posterior variance, which t determines in turn.

    What is not known of the user is the same for all items, and left out. So are correlations
    between factors. The training RMSE is less than the error on new ratings, so s_i is somewhat too
    small.

    Returns
    -------
    ndarray of shape (n_items,), dtype of the factors
        s_i; for items without ratings as of n_i = 0.

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
            f"{option('confidence')} is above 0, and this model's history has no training RMSE to "
            f"derive bounds from: fit it for an epoch or more, or use {option('confidence', 0)}"
        )
    return read_only(
        _core.item_deviations(
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
    )
