"""Splitting ratings into a part to train on and a part to test on."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.ratings import Ratings
from ..seeds import RandomState, generator_from

__all__ = ["train_test_split"]


def train_test_split(
    ratings: Any,
    test_size: float = 0.1,
    *,
    by: Literal["random", "user", "time"] = "random",
    random_state: RandomState = None,
) -> tuple[Ratings, Ratings]:
    """Split ratings in two.

    Parameters
    ----------
    ratings : Ratings, or anything `Ratings.from_any` takes
        What to split.
    test_size : float or int, default 0.1
        A fraction between 0 and 1, or how many ratings (of each user, if ``by="user"``).
    by : {"random", "user", "time"}, default "random"
        "random" takes test ratings from all alike. "user" takes the fraction (rounded) of every
        user's ratings, but always leaves each user one for training. "time" takes the latest; of
        equally old ones, those that come last.
    random_state : int, RandomState, Generator or None, default None
        Seed of the choice; None differs every time. Not used by "time".

    Returns
    -------
    train, test : Ratings
        Both with all of the user and item ids, and in the original order.

    Raises
    ------
    ValueError
        If a part would be empty, a parameter is invalid, or ``by="time"`` and there are no
        timestamps.
    """
    data = Ratings.from_any(ratings, name="ratings")
    _check_test_size(test_size)
    if by == "user":
        in_test = _by_user(data, test_size, generator_from(random_state))
    elif by == "time":
        in_test = _by_time(data, _n_test(data, test_size))
    elif by == "random":
        in_test = np.zeros(len(data), dtype=bool)
        rng = generator_from(random_state)
        in_test[rng.choice(len(data), _n_test(data, test_size), replace=False, shuffle=False)] = (
            True
        )
    else:
        raise ValueError(f'by is {by!r}; it must be "random", "user" or "time"')
    n_test = np.count_nonzero(in_test)
    if n_test in (0, len(data)):
        raise ValueError(
            f"test_size={test_size} puts {n_test} of {len(data)} ratings into the test part: "
            "both parts need at least one"
        )
    return data.take(~in_test), data.take(in_test)


def _check_test_size(test_size: Any) -> None:
    is_count = isinstance(test_size, (int, np.integer)) and not isinstance(test_size, bool)
    is_fraction = isinstance(test_size, (float, np.floating))
    if not (is_count and test_size >= 1) and not (is_fraction and 0 < test_size < 1):
        raise ValueError(
            f"test_size is {test_size!r}; it must be a fraction between 0 and 1 or a count of at "
            "least 1"
        )


def _n_test(data: Ratings, test_size: float) -> int:
    if isinstance(test_size, (float, np.floating)):
        return round(float(test_size) * len(data))
    if test_size >= len(data):
        raise ValueError(
            f"test_size is {test_size}; it must be below the number of ratings, {len(data)}"
        )
    return int(test_size)


def _by_time(data: Ratings, n_test: int) -> NDArray[np.bool_]:
    if data.timestamps is None:
        raise ValueError(
            'by="time" needs timestamps, and the ratings have none: pass timestamps= to '
            "Ratings.from_arrays, or timestamp= to read_ratings or Ratings.from_frame"
        )
    in_test = np.zeros(len(data), dtype=bool)
    in_test[np.argsort(data.timestamps, kind="stable")[len(data) - n_test :]] = True
    return in_test


def _by_user(data: Ratings, test_size: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    counts = np.bincount(data.users, minlength=data.n_users)
    is_fraction = isinstance(test_size, (float, np.floating))
    wanted = np.rint(counts * test_size).astype(np.int64) if is_fraction else test_size
    n_test = np.minimum(wanted, np.maximum(counts - 1, 0))
    shuffled = rng.permutation(len(data))
    order = shuffled[np.argsort(data.users[shuffled], kind="stable")]
    first = np.cumsum(counts) - counts
    users = data.users[order]
    in_test = np.zeros(len(data), dtype=bool)
    in_test[order[np.arange(len(data)) - first[users] < n_test[users]]] = True
    return in_test
