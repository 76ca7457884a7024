"""The rating sets of `accuracy.py`: the real ones of the data folder, and ten generated ones.

A set is split once, the same way everywhere: pairs sorted by user and item, repeats dropped (the first in the file stays),
and a row is for testing where `numpy.random.default_rng(20261121).random(n) < 0.2`. MovieLens 100K also comes by its
official folds u1 to u5, and MovieLens 1M by its five random folds, of which only the first is in the default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import warpfactor as wf

SPLIT_SEED = 20261121
TEST_SHARE = 0.2


class Rows(NamedTuple):
    """Ratings as three arrays: int32 codes of users and items, float32 ratings."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    ratings: NDArray[np.float32]

    def split(self, held_out: NDArray[np.bool_]) -> tuple[Rows, Rows]:
        """Return the rows that are not held out, and those that are."""
        kept = ~held_out
        return (
            Rows(self.users[kept], self.items[kept], self.ratings[kept]),
            Rows(self.users[held_out], self.items[held_out], self.ratings[held_out]),
        )


class RatingSet(NamedTuple):
    """What to train on and what to test on. Codes run from 0 over all users and items of both."""

    name: str
    train: Rows
    test: Rows
    n_users: int
    n_items: int


class WholeSet(NamedTuple):
    """All ratings, sorted by user and item, each pair once; timestamps where the file has them."""

    rows: Rows
    n_users: int
    n_items: int
    timestamps: NDArray[np.int64] | None = None
    folds: NDArray[np.int8] | None = None


class Recipe(NamedTuple):
    """How to generate ratings: μ + b_u + b_i + p_u·q_i + ε, all terms normal.

    Neither who rates how much nor what is rated depends on taste: a user's number of ratings is log-normal around
    `per_user`, and items are drawn with a weight of 1 / (rank + n_items / 10), in an order that no other number knows of.
    Ratings are not rounded, so `noise` is the least RMSE that anything can have.

    Parameters
    ----------
    n_users, n_items : int
        Shape of the matrix.
    per_user : int
        Mean number of ratings of a user, a fifth of which is for testing.
    biases, taste, noise : float
        Standard deviation of b_u and of b_i, of p_u·q_i, and of ε.
    n_factors : int
        Rank of p_u·q_i.
    """

    n_users: int
    n_items: int
    per_user: int
    biases: float
    taste: float
    noise: float
    n_factors: int = 8


# The seed of each is its place in this list: a new one goes to the end.
GENERATED = {
    "generated-5-noise": Recipe(8000, 1000, 5, biases=0.3, taste=0.2, noise=1.0),
    "generated-5-signal": Recipe(8000, 1000, 5, biases=0.5, taste=1.0, noise=0.3, n_factors=4),
    "generated-10-even": Recipe(5000, 1000, 10, biases=0.4, taste=0.6, noise=0.6),
    "generated-20-biases": Recipe(4000, 2000, 20, biases=0.4, taste=0.0, noise=0.9),
    "generated-20-signal": Recipe(4000, 2000, 20, biases=0.5, taste=1.0, noise=0.3),
    "generated-50-noise": Recipe(2000, 2000, 50, biases=0.3, taste=0.3, noise=1.0),
    "generated-50-even": Recipe(2000, 2000, 50, biases=0.4, taste=0.6, noise=0.6, n_factors=16),
    "generated-100-signal": Recipe(2000, 2000, 100, biases=0.5, taste=1.0, noise=0.3),
    "generated-500-noise": Recipe(1000, 3000, 500, biases=0.3, taste=0.3, noise=1.0),
    "generated-500-signal": Recipe(1000, 3000, 500, biases=0.5, taste=1.0, noise=0.3, n_factors=16),
}

FILES = {
    "ml-latest-small": "ml-latest-small/ratings.csv",
    "ml-100k": "ml-100k/ml-100k.npz",
    "filmtrust": "filmtrust.npz",
    "movietweetings-100k": "movietweetings-100k.dat",
    "ml-1m": "ml-1m/ml-1m.npz",
    "jester-1": "jester-1.npz",
}
# Sets with test folds of their own, by the number in the file's array `fold`.
ML_100K_FOLDS = {f"ml-100k-u{k}": ("ml-100k", k) for k in range(1, 6)}
ML_1M_FOLDS = {f"ml-1m-fold{k}": ("ml-1m", k) for k in range(1, 6)}
FOLDS = ML_100K_FOLDS | ML_1M_FOLDS
GROUPS = {
    "real": tuple(FILES),
    "folds": (*ML_100K_FOLDS, "ml-1m-fold1"),
    "generated": tuple(GENERATED),
    "ml-1m-folds": tuple(ML_1M_FOLDS),
}
DEFAULT_GROUPS = ("real", "folds", "generated")
DEFAULT = tuple(name for group in DEFAULT_GROUPS for name in GROUPS[group])
ALL = (*FILES, *FOLDS, *GENERATED)


def sets(folder: Path | None, names: Sequence[str] = DEFAULT) -> Iterator[RatingSet]:
    """Yield the named sets, split for testing.

    Parameters
    ----------
    folder : Path or None
        The data folder; None if only generated sets are asked for.
    names : sequence of str, default all but folds 2 to 5 of MovieLens 1M
        Names of `ALL`, or paths of files that `wf.read_ratings` reads.
    """
    for name in names:
        if name in FOLDS:
            source, k = FOLDS[name]
            whole = load(source, folder)
            if whole.folds is None:
                raise ValueError(f"{FILES[source]} has no array fold; {name} needs one")
            held_out = whole.folds == k
        else:
            whole = load(name, folder)
            draws = np.random.default_rng(SPLIT_SEED).random(len(whole.rows.ratings))
            held_out = draws < TEST_SHARE
        train, test = whole.rows.split(held_out)
        yield RatingSet(Path(name).name, train, test, whole.n_users, whole.n_items)


def load(name: str, folder: Path | None) -> WholeSet:
    """Return all of a set: a generated one, one of the data folder, or any file of ratings by its path."""
    if name in GENERATED:
        return generate(GENERATED[name], list(GENERATED).index(name))
    if name not in FILES:
        return _read(Path(name))
    if folder is None:
        raise ValueError(f"the folder is not given, and {name} is one of its sets")
    return _read(folder / FILES[name])


def _read(path: Path) -> WholeSet:
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is neither the name of a set nor a file; names: {', '.join(ALL)}"
        )
    data, folds = wf.read_ratings(path), None
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            folds = arrays.get("fold")
    n_users, n_items = data.shape
    # The first of repeated pairs: `unique` sorts stably. Ids are sorted, so codes sort as ids do.
    _, first = np.unique(data.users.astype(np.int64) * n_items + data.items, return_index=True)
    return WholeSet(
        Rows(data.users[first], data.items[first], data.values[first]),
        n_users,
        n_items,
        None if data.timestamps is None else data.timestamps[first].astype(np.int64),
        None if folds is None else folds[first],
    )


def generate(recipe: Recipe, seed: int) -> WholeSet:
    """Generate a set; the same seed gives the same ratings."""
    rng = np.random.default_rng([SPLIT_SEED, seed])
    activity = rng.lognormal(0.0, 0.6, recipe.n_users)
    counts = np.rint(activity / activity.mean() * recipe.per_user).astype(int)
    counts = counts.clip(2, recipe.n_items // 2)
    weights = 1.0 / (rng.permutation(recipe.n_items) + recipe.n_items / 10)
    weights /= weights.sum()
    users = np.repeat(np.arange(recipe.n_users, dtype=np.int32), counts)
    chosen = [np.sort(rng.choice(recipe.n_items, n, replace=False, p=weights)) for n in counts]
    items = np.concatenate(chosen).astype(np.int32)

    user_biases, item_biases = (
        recipe.biases * rng.standard_normal(n) for n in (recipe.n_users, recipe.n_items)
    )
    # The variance of a sum of k products is k times the product of the variances.
    each = np.sqrt(recipe.taste / np.sqrt(recipe.n_factors))
    P, Q = (
        each * rng.standard_normal((n, recipe.n_factors)) for n in (recipe.n_users, recipe.n_items)
    )
    ratings = (
        3.5
        + user_biases[users]
        + item_biases[items]
        + recipe.noise * rng.standard_normal(len(users))
    )
    ratings += np.einsum("nk,nk->n", P[users], Q[items])
    return WholeSet(Rows(users, items, ratings.astype(np.float32)), recipe.n_users, recipe.n_items)
