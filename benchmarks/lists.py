"""Lists of ten: hit rate, nDCG and coverage of `recommend`, beside the most popular items.

    python benchmarks/lists.py [--data FOLDER] [--sets NAME ...] [--confidence Z ...] [--surprise]

FOLDER (default: $WARPFACTOR_DATA) holds the rating sets that its README describes. Of each user the last ratings are held
out, five of them or half of the user's ratings if those are fewer: the last by time where the set has it, else chosen by
a seed. Held-out ratings of at least 4 of 5 stars (8 of 10) are relevant; users without any are left out. Lists leave out
what a user rated in training. `--surprise` adds scikit-surprise's SVD with its own defaults, where it is installed
(`pip install "warpfactor[bench]"`), on the same split, ranked without clipping.

hit: share of users with a relevant item in the list. nDCG: of binary relevance. coverage: share of the items with training
ratings that are in some list. few: share of the places that go to items with five training ratings or fewer.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

N = 10
N_HELD_OUT = 5
FEW = 5
# File, and the rating from which one is relevant.
SETS = {
    "ml-latest-small": ("ml-latest-small/ratings.csv", 4),
    "ml-100k": ("ml-100k/u.data", 4),
    "ml-1m": ("ml-1m/ratings.dat", 4),
    "movietweetings": ("movietweetings-100k.dat", 8),
}


class Split(NamedTuple):
    """Pairs of codes: users and items are numbered from 0."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    relevant: list[np.ndarray]  # the items of each user
    n_items: int

    @property
    def counts(self) -> np.ndarray:
        """Training ratings of each item."""
        return np.bincount(self.items, minlength=self.n_items)


def split(path: Path, threshold: float, seed: int) -> Split:
    ratings = wf.read_ratings(path)
    users, items, values = ratings.users, ratings.items, ratings.values
    when = ratings.timestamps
    if when is None:
        when = np.random.default_rng(seed).random(len(users))
    order = np.lexsort((when, users))
    users, items, values = users[order], items[order], values[order]
    counts = np.bincount(users)
    from_last = np.cumsum(counts)[users] - np.arange(len(users))  # 1: the last of its user
    test = from_last <= np.minimum(N_HELD_OUT, counts // 2)[users]
    liked = test & (values >= threshold)
    starts = np.searchsorted(users[liked], np.arange(len(counts) + 1))
    relevant = [items[liked][a:b] for a, b in itertools.pairwise(starts)]
    return Split(users[~test], items[~test], values[~test], relevant, ratings.n_items)


def best_by_score(
    data: Split, asked: np.ndarray, scores: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return the N items of the highest score that each user has not rated."""
    lists = np.empty((len(asked), N), np.int64)
    order = np.argsort(data.users, kind="stable")
    starts = np.searchsorted(data.users[order], np.arange(data.users.max() + 2))
    unrated = data.counts == 0
    for at, user in enumerate(asked):
        x = np.array(scores(user), float)
        x[unrated] = -np.inf
        x[data.items[order][starts[user] : starts[user + 1]]] = -np.inf
        lists[at] = np.argsort(-x, kind="stable")[:N]
    return lists


def surprise_scores(data: Split) -> Callable[[np.ndarray], np.ndarray]:
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    frame = pd.DataFrame(
        {"user": data.users, "item": data.items, "rating": data.values.astype(float)}
    )
    scale = float(data.values.min()), float(data.values.max())
    train = Dataset.load_from_df(frame, Reader(rating_scale=scale)).build_full_trainset()
    model = SVD(random_state=0).fit(train)
    inner = [train.to_inner_iid(item) for item in np.unique(data.items)]
    Q, biases = np.zeros((data.n_items, model.n_factors)), np.zeros(data.n_items)
    Q[np.unique(data.items)], biases[np.unique(data.items)] = model.qi[inner], model.bi[inner]
    return lambda user: Q @ model.pu[train.to_inner_uid(user)] + biases


def candidates(
    data: Split, asked: np.ndarray, options: argparse.Namespace
) -> Iterator[tuple[str, np.ndarray]]:
    counts = data.counts
    yield "most popular", best_by_score(data, asked, lambda user: counts)
    if options.surprise:
        yield "Surprise SVD, defaults", best_by_score(data, asked, surprise_scores(data))
    model = wf.MatrixFactorization(random_state=0, verbose=0)
    model.fit(np.c_[data.users, data.items], data.values)
    for z in options.confidence:
        ids, _ = model.recommend(asked, n=N, confidence=z)
        yield f"warpfactor, confidence {z:g}", ids


def measure(data: Split, asked: np.ndarray, lists: np.ndarray) -> list[str]:
    gains = 1 / np.log2(np.arange(2, N + 2))
    found = np.array(
        [np.isin(row, data.relevant[user]) for row, user in zip(lists, asked, strict=True)]
    )
    ideal = np.array([gains[: min(N, len(data.relevant[user]))].sum() for user in asked])
    coverage = len(np.unique(lists)) / np.count_nonzero(data.counts)
    few = np.mean(data.counts[lists] <= FEW)
    return [
        f"{found.any(1).mean():.4f}",
        f"{np.mean(found @ gains / ideal):.4f}",
        f"{coverage:.1%}",
        f"{few:.2%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--confidence", type=float, nargs="+", default=[0, 1, 2, 5, 10, 15, 20])
    parser.add_argument("--surprise", action="store_true")
    parser.add_argument("--seed", type=int, default=0, help="of what is held out without times")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data FOLDER, or set WARPFACTOR_DATA")
    console = Console(width=110)
    heading(console)
    for name in options.sets:
        file, threshold = SETS[name]
        data = split(Path(options.data) / file, threshold, options.seed)
        asked = np.array([user for user, liked in enumerate(data.relevant) if len(liked)])
        title = f"{name}: {len(data.users):,} training ratings, {len(asked):,} users"
        table = Table("lists", "hit@10", "nDCG@10", "coverage", "few", title=title)
        for what, lists in candidates(data, asked, options):
            table.add_row(what, *measure(data, asked, lists))
        console.print(table)


if __name__ == "__main__":
    main()
