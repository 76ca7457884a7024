"""Errors of predicted ratings, and what ranked lists are worth.

See `warpfactor.evaluation.metrics` and `warpfactor.evaluation.ranking`.
"""

from .evaluation.metrics import mae, rmse
from .evaluation.ranking import (
    auc,
    coverage,
    hit_rate,
    mean_average_precision,
    mrr,
    ndcg,
    novelty,
    popularity_share,
    precision,
    ranking,
    recall,
    top_k,
)

__all__ = [
    "auc",
    "coverage",
    "hit_rate",
    "mae",
    "mean_average_precision",
    "mrr",
    "ndcg",
    "novelty",
    "popularity_share",
    "precision",
    "ranking",
    "recall",
    "rmse",
    "top_k",
]
