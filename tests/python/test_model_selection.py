from __future__ import annotations

import numpy as np
import pytest

from warpfactor.data.ratings import Ratings
from warpfactor.evaluation.splits import train_test_split, train_validation_test_split


def numbered(n: int = 200, n_users: int = 7, timestamps: bool = True) -> Ratings:
    """Ratings whose values are their positions, to see where each went."""
    rng = np.random.default_rng(0)
    times = rng.integers(0, 20, n) if timestamps else None
    users = np.r_[np.arange(n_users), rng.integers(0, n_users - 1, n - n_users)]
    return Ratings.from_arrays(users, rng.integers(0, 5, n), np.arange(n), timestamps=times)


WAYS = ["random", "user", "time", "last"]


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("size", [0.25, 3])
@pytest.mark.parametrize("n_parts", [2, 3])
def test_parts_are_disjoint_and_whole_and_in_order(by, size, n_parts):
    ratings = numbered()
    if n_parts == 2:
        parts = train_test_split(ratings, size, by=by, random_state=0)
    else:
        parts = train_validation_test_split(ratings, size, size, by=by, random_state=0)
    assert len(parts) == n_parts
    assert sorted(np.concatenate([part.values for part in parts])) == list(range(200))
    for part in parts:
        assert (np.diff(part.values) > 0).all()
        assert part.user_ids is ratings.user_ids and part.item_ids is ratings.item_ids
        at = part.values.astype(int)
        assert (part.users == ratings.users[at]).all() and (part.items == ratings.items[at]).all()
        assert (part.timestamps == ratings.timestamps[at]).all()


@pytest.mark.parametrize(("test_size", "expected"), [(0.25, 50), (0.1, 20), (17, 17)])
def test_sizes_are_as_asked(test_size, expected):
    for by in ("random", "time"):
        assert len(train_test_split(numbered(), test_size, by=by)[1]) == expected
        parts = train_validation_test_split(numbered(), 0.3, test_size, by=by)
        assert [len(part) for part in parts] == [140 - expected, 60, expected]


@pytest.mark.parametrize("by", ["user", "last"])
def test_every_user_is_tested_alike_and_keeps_a_rating(by):
    ratings = numbered()
    counts = np.bincount(ratings.users)
    assert counts[-1] == 1
    for test_size in (0.3, 0.9, 2, 1000):
        train, test = train_test_split(ratings, test_size, by=by, random_state=0)
        wanted = np.rint(counts * test_size) if isinstance(test_size, float) else test_size
        expected = np.minimum(wanted, counts - 1)
        assert np.bincount(test.users, minlength=7).tolist() == expected.tolist()
        assert np.bincount(train.users).min() >= 1


def test_time_takes_the_latest_and_of_equals_the_last():
    ratings = Ratings.from_arrays([1] * 4, [1, 2, 3, 4], [0, 1, 2, 3], timestamps=[9, 5, 9, 9])
    train, test = train_test_split(ratings, 2, by="time")
    assert train.values.tolist() == [0, 1]
    assert test.values.tolist() == [2, 3]
    parts = train_validation_test_split(ratings, 2, 1, by="time")
    assert [part.values.tolist() for part in parts] == [[1], [0, 2], [3]]


def test_last_takes_each_users_latest_and_of_equals_the_last():
    users, times = [1, 1, 1, 2, 2, 2, 2, 3], [9, 5, 9, 1, 4, 2, 3, 7]
    ratings = Ratings.from_arrays(users, [0] * 8, np.arange(8), timestamps=times)
    train, test = train_test_split(ratings, 1, by="last")
    assert test.values.tolist() == [2, 4]  # user 3 keeps the only rating
    train, test = train_test_split(ratings, 2, by="last")
    assert test.values.tolist() == [0, 2, 4, 6] and train.values.tolist() == [1, 3, 5, 7]
    parts = train_validation_test_split(ratings, 1, 1, by="last")
    assert [part.values.tolist() for part in parts] == [[1, 3, 5, 7], [0, 6], [2, 4]]
    parts = train_validation_test_split(ratings, 2, 2, by="last")
    # User 1 has too few for both: the test part comes first.
    assert [part.values.tolist() for part in parts] == [[1, 3, 7], [5], [0, 2, 4, 6]]


@pytest.mark.parametrize("by", ["user", "random"])
def test_validation_is_drawn_as_the_test_is(by):
    """Over many seeds each rating is as often in the one part as in the other."""
    ratings = numbered(40, n_users=2)
    seen = np.zeros((3, 40))
    for seed in range(300):
        parts = train_validation_test_split(ratings, 0.25, 0.25, by=by, random_state=seed)
        for part, count in zip(parts, seen, strict=True):
            count[part.values.astype(int)] += 1
    drawn = seen[1:, ratings.users == 0]  # user 1 has one rating
    # Binomial with n = 300, p = 1/4: five standard deviations.
    assert (abs(drawn - 75) < 5 * np.sqrt(300 * 0.25 * 0.75)).all()


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
        ({"test_size": 200}, "divides 200 ratings into 0 for training, 200 for test"),
        ({"test_size": 900}, "divides 200 ratings into 0 for training, 200 for test"),
        ({"test_size": 0.001}, "divides 200 ratings into 200 for training, 0 for test"),
        ({"test_size": 0.999}, "divides 200 ratings into 0 for training, 200 for test"),
        ({"by": "item"}, "by is 'item'"),
        ({"by": "time"}, "needs timestamps"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": 1.5}, "random_state is 1.5"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        train_test_split(numbered(timestamps=False), **change)


@pytest.mark.parametrize("by", ["user", "last"])
def test_users_of_one_rating_cannot_be_split(by):
    ratings = Ratings.from_arrays([1, 2], [1, 1], [1, 2], timestamps=[1, 2])
    with pytest.raises(ValueError, match="2 ratings into 2 for training, 0 for test"):
        train_test_split(ratings, 0.5, by=by)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0.6, 0.6), "into 0 for training, 120 for test, 80 for validation"),
        ((100, 100), "into 0 for training, 100 for test, 100 for validation"),
        ((10**30, 10**30), "into 0 for training, 200 for test, 0 for validation"),
        ((0.001, 0.5), "into 100 for training, 100 for test, 0 for validation"),
        ((0.0, 0.5), "validation_size is 0.0; it must be a fraction"),
        ((0.5, 1.5), "test_size is 1.5; it must be a fraction"),
    ],
)
def test_three_parts_that_cannot_be_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        train_validation_test_split(numbered(), *sizes)


@pytest.mark.parametrize("by", ["time", "last"])
@pytest.mark.parametrize("split", [train_test_split, train_validation_test_split])
def test_time_needs_timestamps(split, by):
    with pytest.raises(ValueError, match=f"by='{by}' needs timestamps"):
        split(numbered(timestamps=False), by=by)
