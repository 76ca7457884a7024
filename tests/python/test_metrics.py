from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from warpfactor.data.ratings import Ratings
from warpfactor.metrics import mae, rmse


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics_agree_with_scikit_learn(weighted):
    true, predicted, weight = np.random.default_rng(0).random((3, 50))
    w = weight if weighted else None
    expected = root_mean_squared_error(true, predicted, sample_weight=w)
    assert rmse(true, predicted, sample_weight=w) == pytest.approx(expected, rel=1e-12)
    expected = mean_absolute_error(true, predicted, sample_weight=w)
    assert mae(true, predicted, sample_weight=w) == pytest.approx(expected, rel=1e-12)


def test_ratings_stand_for_their_values():
    ratings = Ratings.from_arrays([1, 2], [1, 1], [1.0, 4.0])
    assert rmse(ratings, [1, 2]) == pytest.approx(np.sqrt(2))
    assert mae(ratings, [1, 2]) == 1.0


def test_float32_is_summed_in_double_precision():
    # Alone, the squares fit float32; their sum would lose the small ones.
    true = np.full(1_000_000, 4096.0, np.float32)
    true[1:] = 1 / 16
    assert rmse(true, np.zeros_like(true)) == np.sqrt(np.mean(true.astype(float) ** 2))


@pytest.mark.parametrize(
    ("true", "predicted", "weight", "message"),
    [
        ([1, 2], [1], None, "y_true has 2 values, y_pred 1"),
        ([1, 2], [1, 2], [1], "sample_weight 1"),
        ([], [], None, "y_true is empty"),
        ([1, 2], [1, np.nan], None, 'y_pred is nan at position 1.*unknown="mean"'),
        ([np.inf, 2], [1, 2], None, "y_true is inf at position 0"),
        ([1], [[1]], None, r"y_pred has dtype .*\(1, 1\); it must be a 1-D array"),
        (["a"], [1], None, "y_true has dtype .*; it must be"),
        ([1, 2], [1, 2], [0, 0], "sum must be above 0"),
        ([1, 2], [1, 2], [-1, 2], "negative"),
    ],
)
def test_bad_input_is_named(true, predicted, weight, message):
    for metric in (rmse, mae):
        with pytest.raises(ValueError, match=message):
            metric(true, predicted, sample_weight=weight)
