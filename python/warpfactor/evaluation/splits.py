"""Dividing ratings into a part to train on and parts to validate and to test on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import check_choice, option, where_typed
from ..data.ratings import Ratings
from ..seeds import RandomState, generator_from

__all__ = [
    "check_size",
    "count_of",
    "latest_first",
    "ranks_of_each_user",
    "timestamps_for",
    "train_test_split",
    "train_validation_test_split",
]

By = Literal["random", "user", "time", "last"]
_WAYS = ("random", "user", "time", "last")


def train_test_split(
    ratings: Any,
    test_size: float = 0.1,
    *,
    by: By = "random",
    random_state: RandomState = None,
) -> tuple[Ratings, Ratings]:
    """Split ratings in two.

    Parameters
    ----------
    ratings : Ratings, or anything `Ratings.from_any` takes
        What to split.
    test_size : float or int, default 0.1
        A fraction between 0 and 1, or how many ratings (of each user, if `by` is "user" or "last").
    by : {"random", "user", "time", "last"}, default "random"
        Which ratings are for the test.

        "random" : any, all alike.
        "user" : the fraction (rounded) of every user's ratings, chosen at random.
        "time" : the latest of all, so that nothing is trained on that came after a test rating.
        "last" : the fraction (rounded) of every user's ratings, the latest ones; ``test_size=1``
        leaves out each user's last rating.

        With "user" and "last" each user keeps one rating for training, so that a user's only rating
        is never in the test. With "random" and "time" a user may have test ratings alone; the
        predictions for such users follow the model's `unknown`. Of ratings with the same timestamp,
        those that come later in `ratings` count as later.
    random_state : int, RandomState, Generator or None, default None
        Seed of the choice; None differs every time. Not used by "time" and "last".

    Returns
    -------
    train, test : Ratings
        Both with all of the user and item ids, and in the original order.

    Raises
    ------
    ValueError
        If a part would be empty, a parameter is invalid, or `by` is "time" or "last" and there are
        no timestamps.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    >>> train, test = wf.train_test_split(ratings, test_size=0.1, random_state=0)
    >>> len(train), len(test)
    (540, 60)
    """
    train, test = _parts(ratings, {"test_size": test_size}, by, random_state)
    return train, test


def train_validation_test_split(
    ratings: Any,
    validation_size: float = 0.1,
    test_size: float = 0.1,
    *,
    by: By = "random",
    random_state: RandomState = None,
) -> tuple[Ratings, Ratings, Ratings]:
    """Split ratings in three: to train on, to stop early by or choose parameters by, and to test on.

    Parameters
    ----------
    ratings : Ratings, or anything `Ratings.from_any` takes
        What to split.
    validation_size, test_size : float or int, default 0.1
        As `test_size` of `train_test_split`. Both fractions are of all `ratings`.
    by : {"random", "user", "time", "last"}, default "random"
        As in `train_test_split`, with the same rules for users of few ratings and equal timestamps.
        "time" tests on the latest ratings and validates on those just before; so does "last" for
        each user. A user with too few ratings for all parts keeps one for training, then has some
        for the test, and only then for validation.
    random_state : int, RandomState, Generator or None, default None
        Seed of the choice; None differs every time. Not used by "time" and "last".

    Returns
    -------
    train, validation, test : Ratings
        All with all of the user and item ids, and in the original order.

    Raises
    ------
    ValueError
        As `train_test_split`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    >>> train, validation, test = wf.train_validation_test_split(
    ...     ratings, validation_size=0.1, test_size=0.2, random_state=0
    ... )
    >>> len(train), len(validation), len(test)
    (420, 60, 120)
    >>> model = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0)
    >>> model.fit(train, validation=validation).predict(test).shape
    (120,)
    """
    sizes = {"test_size": test_size, "validation_size": validation_size}
    train, test, validation = _parts(ratings, sizes, by, random_state)
    return train, validation, test


def check_size(name: str, size: Any) -> None:
    """Raise ValueError unless a size is a fraction between 0 and 1 or a count of at least 1."""
    is_count = isinstance(size, (int, np.integer)) and not isinstance(size, bool)
    if not (is_count and size >= 1) and not (_is_fraction(size) and 0 < size < 1):
        raise ValueError(
            f"{option(name)} is {size!r:.80}; it must be a fraction between 0 and 1 or a count of at "
            "least 1"
        )


def count_of(size: float, n: int) -> int:
    """Return how many of n a size is: a count, up to n, or a fraction rounded."""
    return round(float(size) * n) if _is_fraction(size) else min(int(size), n)


def latest_first(timestamps: NDArray[Any]) -> NDArray[np.intp]:
    """Return the positions from the latest to the earliest; of equals the last one comes first."""
    return np.argsort(timestamps, kind="stable")[::-1]


def ranks_of_each_user(users: NDArray[Any], order: NDArray[np.intp]) -> NDArray[np.int64]:
    """Number each user's ratings from 0 in a given order.

    Parameters
    ----------
    users : ndarray of shape (n_ratings,)
        The code of each rating's user.
    order : ndarray of shape (n_ratings,)
        A permutation of the positions.

    Returns
    -------
    ndarray of shape (n_ratings,), int64
        How many ratings of the same user stand before each rating.
    """
    counts = np.bincount(users)
    by_user = order[np.argsort(users[order], kind="stable")]
    ranks = np.empty(len(users), np.int64)
    ranks[by_user] = np.arange(len(users)) - (np.cumsum(counts) - counts)[users[by_user]]
    return ranks


def _parts(
    ratings: Any, sizes: Mapping[str, float], by: str, random_state: RandomState
) -> list[Ratings]:
    """Return the training part, then one for each size; the first one is served first."""
    data = Ratings.from_any(ratings, name="ratings")
    for name, size in sizes.items():
        check_size(name, size)
    check_choice("by", by, _WAYS)
    rng = generator_from(random_state)
    counts = [count_of(size, len(data)) for size in sizes.values()]
    if by in ("time", "last"):
        order = latest_first(timestamps_for(data, by))
    elif by == "user":
        order = rng.permutation(len(data))
    else:
        order = rng.choice(len(data), min(sum(counts), len(data)), replace=False)
    if by in ("user", "last"):
        part = _of_each_user(data, sizes, order)
    else:
        part = np.zeros(len(data), np.int8)
        for number, until in enumerate(np.cumsum(counts), 1):
            part[order[until - counts[number - 1] : until]] = number
    found = np.bincount(part, minlength=len(sizes) + 1).tolist()
    if 0 in found:
        given = ", ".join(option(name, size) for name, size in sizes.items())
        names = ["training", *(name.removesuffix("_size") for name in sizes)]
        shares = ", ".join(f"{n} for {name}" for n, name in zip(found, names, strict=True))
        raise ValueError(
            f"{given} with {option('by', by)} divides {len(data)} ratings into {shares}: each part "
            "needs at least one"
        )
    return [data.take(part == number) for number in range(len(found))]


def _of_each_user(
    data: Ratings, sizes: Mapping[str, float], order: NDArray[np.intp]
) -> NDArray[np.int8]:
    ranks = ranks_of_each_user(data.users, order)
    counts = np.bincount(data.users)
    part = np.zeros(len(data), np.int8)
    taken = np.zeros(len(counts), np.int64)
    for number, size in enumerate(sizes.values(), 1):
        wanted = (
            np.rint(counts * size).astype(np.int64)
            if _is_fraction(size)
            else count_of(size, len(data))
        )
        until = np.minimum(taken + wanted, np.maximum(counts - 1, 0))
        part[(taken[data.users] <= ranks) & (ranks < until[data.users])] = number
        taken = until
    return part


def _is_fraction(size: Any) -> bool:
    return isinstance(size, (float, np.floating))


def timestamps_for(data: Ratings, by: str) -> NDArray[Any]:
    """Return the timestamps of ratings that are to be divided `by` time; raise ValueError without."""
    if data.timestamps is not None:
        return data.timestamps
    passed = where_typed(
        "timestamps= to Ratings.from_arrays, or timestamp= to read_ratings or Ratings.from_frame",
        option("timestamp"),
    )
    raise ValueError(
        f"{option('by', by)} needs timestamps, and the ratings have none: pass {passed}"
    )
