"""Epochs that train the first factors alone, on every device."""

from __future__ import annotations

import numpy as np
import pytest

import warpfactor as wf
from problems import PLAIN, bytes_of, model_of, planted, scores_of

# Each rating's row of either side is its own, or all ratings make one step: the order, which the device chooses, does not
# matter.
WAYS = {
    "sgd": {},
    "plain sgd": PLAIN,
    "momentum": {"momentum": 0.5},
    "adagrad": {"optimizer": "adagrad"},
    "adagrad by element": {"optimizer": "adagrad", "adagrad_per": "element"},
    "L1": {"l1_ratio": 0.5, "reg": 0.02},
    "gd": {"optimizer": "gd", "learning_rate": 0.5},
}


def diagonal(n: int = 500) -> wf.Ratings:
    rng = np.random.default_rng(0)
    pairs = np.c_[np.arange(n), rng.permutation(n)]
    return wf.Ratings.from_arrays(pairs[:, 0], pairs[:, 1], rng.normal(3, 1, n))


@pytest.mark.parametrize("parallel", ["blocked", "hogwild"])
@pytest.mark.parametrize("way", WAYS)
def test_the_warm_up_is_the_cpus(place, way, parallel):
    params = {
        "n_factors": 100, "warmup_epochs": 2, "warmup_factors": 20, "init": 0.1,
        "parallel": parallel, **WAYS[way],
    }  # fmt: skip
    ratings = diagonal()
    for epochs in (2, 5):
        # Stopped at the end of the warm-up, and not.
        until = [lambda record, last=epochs: record["epoch"] == last]
        expected = model_of(n_epochs=5, callbacks=until, **params, dtype="float64").fit(ratings)
        found = model_of(n_epochs=5, callbacks=until, **params, **place).fit(ratings)
        bound = {"float64": 1e-6, "float32": 2e-5, "float16": 2e-3}[place["dtype"]]
        for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(expected, name), rtol=0, atol=bound
            )
        assert [r["train_rmse"] for r in found.history_] == pytest.approx(
            [r["train_rmse"] for r in expected.history_], rel=max(bound, 1e-5)
        )


@pytest.mark.parametrize("way", [{}, {"batch_size": 300}, {"optimizer": "adagrad"}])
def test_the_other_factors_wait_for_the_end_of_the_warm_up(place, way):
    ratings = planted(300, 200, 6000)
    start = model_of(n_factors=70, n_epochs=0, **way, **place).fit(ratings)
    stop = [lambda record: record["epoch"] == 2]
    during = model_of(
        n_factors=70, n_epochs=4, warmup_epochs=2, callbacks=stop, **way, **place
    ).fit(ratings)  # fmt: skip
    after = model_of(n_factors=70, n_epochs=4, warmup_epochs=2, **way, **place).fit(ratings)
    for name in ("user_factors_", "item_factors_"):
        then, now, end = (getattr(model, name) for model in (start, during, after))
        np.testing.assert_array_equal(now[:, 16:], then[:, 16:])
        assert (now[:, :16] != then[:, :16]).mean() > 0.9
        assert (end[:, 16:] != then[:, 16:]).mean() > 0.9
    assert bytes_of(after) != bytes_of(during)


def test_early_stopping_begins_after_the_warm_up(place):
    # So much overfitting that the first epoch has the lowest validation loss.
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    params = {
        "n_factors": 64, "reg": 0.0, "learning_rate": 0.2, "schedule": "constant", "n_epochs": 12,
        "parallel": "blocked", "warmup_epochs": 5, **PLAIN, **place,
    }  # fmt: skip
    model = model_of(**params, early_stopping=2).fit(train, validation=test)
    curve = [record["valid_loss"] for record in model.history_]
    assert np.argmin(curve) < 5, "the test needs a warm-up that is better than what follows"
    best = 6 + int(np.argmin(curve[5:]))
    assert model.n_epochs_ == best
    stop = [lambda record: record["epoch"] == best]
    until = model_of(**params, callbacks=stop).fit(train, validation=test)
    assert bytes_of(until) == bytes_of(model)
    # The validation loss of a warm-up's epoch is that of the model that a stop there hands back.
    stop = [lambda record: record["epoch"] == 3]
    stopped = model_of(**params, callbacks=stop).fit(train, validation=test)
    rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    predicted = scores_of(stopped, test.users, test.items)
    assert wf.metrics.rmse(test.values[rated], predicted[rated]) == pytest.approx(
        stopped.history_[-1]["valid_rmse"], rel=1e-5
    )


def test_formulas_of_ones_own_warm_up_too(place):
    pytest.importorskip("sympy")
    ratings = diagonal()
    loss = wf.losses.custom(lambda r, x: (r - x) ** 2 / 2)
    penalty = wf.losses.penalty(lambda w: w**2 / 2)
    params = {
        "n_factors": 50, "n_epochs": 3, "warmup_epochs": 2, "init": 0.1, "reg_bias": 0.05,
        "learning_rate": 0.05, **place,
    }  # fmt: skip
    own = model_of(**params, loss=loss, penalty=penalty).fit(ratings)
    built_in = model_of(**params, **PLAIN).fit(ratings)  # as with any penalty of one's own
    bound = {"float64": 1e-6, "float32": 2e-5, "float16": 2e-3}[place["dtype"]]
    for name in ("user_factors_", "item_factors_"):
        np.testing.assert_allclose(getattr(own, name), getattr(built_in, name), rtol=0, atol=bound)
