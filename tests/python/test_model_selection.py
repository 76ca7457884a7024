from __future__ import annotations

import numpy as np
import pytest

from warpfactor.data.ratings import Ratings
from warpfactor.evaluation.splits import train_test_split


def numbered(n: int = 200, n_users: int = 7, timestamps: bool = True) -> Ratings:
    """Ratings whose values are their positions, to see where each went."""
    rng = np.random.default_rng(0)
    times = rng.integers(0, 20, n) if timestamps else None
    users = np.r_[np.arange(n_users), rng.integers(0, n_users - 1, n - n_users)]
    return Ratings.from_arrays(users, rng.integers(0, 5, n), np.arange(n), timestamps=times)


@pytest.mark.parametrize("by", ["random", "user", "time"])
@pytest.mark.parametrize("test_size", [0.25, 3])
def test_parts_are_disjoint_and_whole_and_in_order(by, test_size):
    ratings = numbered()
    train, test = train_test_split(ratings, test_size, by=by, random_state=0)
    both = np.concatenate([train.values, test.values])
    assert sorted(both) == list(range(200))
    for part in (train, test):
        assert (np.diff(part.values) > 0).all()
        assert part.user_ids is ratings.user_ids and part.item_ids is ratings.item_ids
        at = part.values.astype(int)
        assert (part.users == ratings.users[at]).all() and (part.items == ratings.items[at]).all()
        assert (part.timestamps == ratings.timestamps[at]).all()


@pytest.mark.parametrize(("test_size", "expected"), [(0.25, 50), (0.1, 20), (17, 17)])
def test_sizes_are_as_asked(test_size, expected):
    for by in ("random", "time"):
        assert len(train_test_split(numbered(), test_size, by=by)[1]) == expected


def test_every_user_is_tested_alike_and_keeps_a_rating():
    ratings = numbered()
    counts = np.bincount(ratings.users)
    assert counts[-1] == 1
    for test_size in (0.3, 0.9, 2, 1000):
        train, test = train_test_split(ratings, test_size, by="user", random_state=0)
        wanted = np.rint(counts * test_size) if isinstance(test_size, float) else test_size
        expected = np.minimum(wanted, counts - 1)
        assert np.bincount(test.users, minlength=7).tolist() == expected.tolist()
        assert np.bincount(train.users).min() >= 1


def test_time_takes_the_latest_and_of_equals_the_last():
    ratings = Ratings.from_arrays([1] * 4, [1, 2, 3, 4], [0, 1, 2, 3], timestamps=[9, 5, 9, 9])
    train, test = train_test_split(ratings, 2, by="time")
    assert train.values.tolist() == [0, 1]
    assert test.values.tolist() == [2, 3]


@pytest.mark.parametrize("by", ["random", "user"])
def test_a_seed_decides(by):
    def values(seed):
        return train_test_split(numbered(), 0.5, by=by, random_state=seed)[1].values.tolist()

    assert values(0) == values(0) != values(1)
    assert values(np.random.default_rng(3)) == values(np.random.default_rng(3))
    state = np.random.RandomState(3)
    assert values(state) != values(state), "a RandomState moves on"


def test_anything_that_ratings_takes_is_split():
    train, test = train_test_split(np.ma.masked_equal([[1, 0], [2, 3]], 0), 1, random_state=0)
    assert len(train) == 2 and len(test) == 1 and test.shape == (2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_size": 0.0}, "test_size is 0.0"),
        ({"test_size": 1.0}, "test_size is 1.0"),
        ({"test_size": 0}, "test_size is 0"),
        ({"test_size": -3}, "test_size is -3"),
        ({"test_size": True}, "test_size is True"),
        ({"test_size": "a"}, "test_size is 'a'"),
        ({"test_size": float("nan")}, "test_size is nan"),
        ({"test_size": 200}, "test_size is 200; it must be below the number of ratings, 200"),
        ({"test_size": 0.001}, "puts 0 of 200"),
        ({"test_size": 0.999}, "puts 200 of 200"),
        ({"by": "item"}, "by is 'item'"),
        ({"by": "time"}, "needs timestamps"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": 1.5}, "random_state is 1.5"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        train_test_split(numbered(timestamps=False), **change)


def test_users_of_one_rating_cannot_be_split():
    with pytest.raises(ValueError, match="puts 0 of 2"):
        train_test_split(Ratings.from_arrays([1, 2], [1, 1], [1, 2]), 0.5, by="user")
