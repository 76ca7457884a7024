from __future__ import annotations

import numpy as np
import pytest

from warpfactor.datasets import make_ratings
from warpfactor.metrics import rmse


@pytest.fixture(scope="module")
def movielens_like():
    return make_ratings(random_state=0)


def test_expected_values_reach_the_noise_floor(movielens_like):
    ratings, floor, expected = movielens_like
    # The standard error of a mean square over 10⁶ ratings is about 0.1 %.
    assert rmse(ratings, expected) == pytest.approx(floor, rel=3e-3)
    assert rmse(ratings, expected + np.float32(0.1)) > floor * 1.005
    residual = ratings.values - expected
    assert abs(residual.mean()) < 4 * floor / np.sqrt(len(ratings))


def test_defaults_look_like_movielens(movielens_like):
    ratings, floor, _ = movielens_like
    assert (ratings.n_ratings, *ratings.shape) == (1_000_209, 6040, 3706)
    assert set(np.unique(ratings.values)) == {1, 2, 3, 4, 5}
    assert ratings.values.mean() == pytest.approx(3.58, abs=0.15)
    assert ratings.values.std() == pytest.approx(1.12, abs=0.1)
    assert 0.80 <= floor <= 0.85
    per_user, per_item = np.bincount(ratings.users), np.bincount(ratings.items)
    assert per_user.min() >= 20
    assert per_user.max() > 10 * np.median(per_user)
    assert per_item.max() > 10 * np.median(per_item)


@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (1, 10, 5), (10, 1, 10), (3, 4, 1), (50, 40, 1000), (200, 300, 5000)]
)
def test_pairs_are_distinct_and_as_many_as_asked(shape):
    n_users, n_items, n_ratings = shape
    ratings = make_ratings(*shape, random_state=1).ratings
    assert ratings.shape == (n_users, n_items)
    pairs = ratings.users.astype(np.int64) * n_items + ratings.items
    assert len(np.unique(pairs)) == len(pairs) == n_ratings


def test_the_grid_is_the_one_asked_for():
    made = make_ratings(100, 80, 3000, scale=(-2, 3, 0.5), n_factors=3, noise=0.3, random_state=2)
    assert np.isin(made.ratings.values, np.arange(-2, 3.25, 0.5)).all()
    assert rmse(made.ratings, made.expected) == pytest.approx(made.noise_floor, rel=0.06)


def test_a_seed_gives_the_same_ratings_and_another_gives_others():
    first, again, other = (make_ratings(50, 40, 500, random_state=seed) for seed in (7, 7, 8))
    for a, b in zip(first.ratings.to_arrays(), again.ratings.to_arrays(), strict=True):
        assert a.tobytes() == b.tobytes()
    assert first.expected.tobytes() == again.expected.tobytes()
    assert first.noise_floor == again.noise_floor
    assert first.ratings.values.tobytes() != other.ratings.values.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_ratings": 1001}, "n_ratings is 1001; it must be at most 1000"),
        ({"n_ratings": 0}, "n_ratings is 0"),
        ({"n_ratings": 1e2}, "n_ratings is 100.0; it must be an integer"),
        ({"n_users": 0}, "n_users is 0"),
        ({"n_factors": -1}, "n_factors is -1"),
        ({"noise": 0}, "noise is 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"scale": (1, 5, 0.3)}, "whole number of steps"),
        ({"scale": (5, 1, 1)}, "scale is"),
        ({"scale": (1, 5, 0)}, "scale is"),
        ({"random_state": "x"}, "random_state is 'x'"),
    ],
)
def test_bad_arguments_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        make_ratings(**({"n_users": 50, "n_items": 40, "n_ratings": 100} | change))
