"""Lists of ten, judged by the last five ratings of each user: what `accuracy.py --lists` prints.

Held out are each user's last five ratings, by time where the set has timestamps and at random where it has none; users
keep at least five for training, and those who have fewer than ten keep all. An item held out is relevant if its rating
reaches three quarters of the scale: 4 of 1 to 5. Users without a relevant one are left out of hit rate and nDCG, not of
the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rating_models import Model
from rating_sets import SPLIT_SEED, RatingSet, WholeSet
from scipy import sparse

import warpfactor as wf

LENGTH = 10
HELD_OUT = 5
LEAST_KEPT = 5
RELEVANT_SHARE = 0.75
FEW_RATINGS = 5


class Judgement(NamedTuple):
    """Shares from 0 to 1: of users with a relevant item in their list; nDCG; of items that are in any list; of places
    that go to items with at most five ratings."""

    hit: float
    ndcg: float
    coverage: float
    little_known: float
    seconds: float


def hold_out_last(name: str, data: WholeSet) -> RatingSet:
    """Split off each user's last ratings."""
    users = data.rows.users
    times = data.timestamps
    draws = np.random.default_rng(SPLIT_SEED).random(len(users))
    # Ties in time are in random order, so that the order of ids decides nothing.
    order = np.lexsort((draws, users) if times is None else (draws, times, users))
    counts = np.bincount(users, minlength=data.n_users)
    ends = np.cumsum(counts)
    from_end = ends[users[order]] - 1 - np.arange(len(users))
    enough = counts[users[order]] >= HELD_OUT + LEAST_KEPT
    held_out = np.zeros(len(users), bool)
    held_out[order[(from_end < HELD_OUT) & enough]] = True
    return RatingSet(name, *data.rows.split(held_out), data.n_users, data.n_items)


def relevant_from(ratings: NDArray[np.float32]) -> float:
    """Return the least rating that is relevant, on the scale of these."""
    low, high = float(ratings.min()), float(ratings.max())
    return low + RELEVANT_SHARE * (high - low)


def judge(data: RatingSet, model: Model, seed: int, n_threads: int) -> Judgement:
    """Fit a model and judge its lists."""
    assert model.lists is not None
    lists = model.lists(data, seed, n_threads)
    users = np.unique(data.test.users)
    best = np.asarray(lists.best(users, LENGTH))

    rows = data.test.ratings >= relevant_from(np.r_[data.train.ratings, data.test.ratings])
    pairs = np.searchsorted(users, data.test.users[rows]), data.test.items[rows]
    relevant = sparse.coo_array((np.ones(rows.sum()), pairs), shape=(len(users), data.n_items))

    counts = np.bincount(data.train.items, minlength=data.n_items)
    places = best[best >= 0]
    return Judgement(
        hit=wf.metrics.hit_rate(best, relevant, LENGTH),
        ndcg=wf.metrics.ndcg(best, relevant, LENGTH),
        coverage=wf.metrics.coverage(best, int((counts > 0).sum()), LENGTH),
        little_known=float((counts[places] <= FEW_RATINGS).mean()),
        seconds=lists.seconds,
    )
