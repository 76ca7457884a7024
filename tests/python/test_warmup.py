"""Epochs that train the first factors alone."""

from __future__ import annotations

import numpy as np
import pytest

import warpfactor as wf
from reference import PLAIN

SHAPE = (300, 200, 6000)
OPTIMIZERS = {
    "sgd": {},
    "momentum": {"momentum": 0.5},
    "adagrad": {"optimizer": "adagrad"},
    "adagrad by element": {"optimizer": "adagrad", "adagrad_per": "element"},
    "batches": {"batch_size": 500},
    "gd": {"optimizer": "gd"},
    "gd with momentum": {"optimizer": "gd", "momentum": 0.5},
    "huber, L1": {"loss": "huber", "l1_ratio": 0.5, "reg": 0.01},
    "non-negative": {"nonnegative": True},
    "no biases": {"biases": False},
}


def planted(n_users=SHAPE[0], n_items=SHAPE[1], n=SHAPE[2]):
    return wf.datasets.make_ratings(n_users, n_items, n, random_state=0).ratings


def model_of(**params):
    return wf.MatrixFactorization(**{"random_state": 0, "verbose": 0, **params})


def factors_of(model):
    return model.user_factors_, model.item_factors_


def bytes_of(model):
    arrays = (*factors_of(model), model.user_biases_, model.item_biases_)
    return b"".join(array.tobytes() for array in arrays)


def stop_after(epoch):
    return [lambda record: record["epoch"] == epoch]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", OPTIMIZERS)
def test_the_other_factors_wait_for_the_end_of_the_warm_up(way, dtype):
    params = {"n_factors": 50, "n_epochs": 4, "dtype": dtype, **OPTIMIZERS[way]}
    ratings = planted()
    start = model_of(**{**params, "n_epochs": 0}).fit(ratings)
    during = model_of(**params, warmup_epochs=2, callbacks=stop_after(2)).fit(ratings)
    after = model_of(**params, warmup_epochs=2).fit(ratings)
    assert len(during.history_) == 2
    assert len(after.history_) == 4
    for then, now, end in zip(
        factors_of(start), factors_of(during), factors_of(after), strict=True
    ):
        np.testing.assert_array_equal(now[:, 16:], then[:, 16:])
        assert (now[:, :16] != then[:, :16]).mean() > 0.9
        assert (end[:, 16:] != then[:, 16:]).mean() > 0.9
    assert [r["train_loss"] for r in during.history_] == [
        r["train_loss"] for r in after.history_[:2]
    ]
    assert after.history_[-1]["train_rmse"] < after.history_[0]["train_rmse"]


# Their order does not depend on the rank.
@pytest.mark.parametrize("way", ["batches", "gd", "adagrad", "adagrad by element"])
def test_the_warm_up_trains_the_model_that_the_first_factors_alone_are(way):
    # Strengths are given: a search with another rank may find others.
    params = {"n_epochs": 3, "dtype": "float64", "reg_row": 8.0, **OPTIMIZERS[way]}
    if "adagrad" in way:
        params["batch_size"] = 500
    ratings = planted()
    alone = model_of(n_factors=32, **{**params, "schedule": "constant"}).fit(ratings)
    part = model_of(
        n_factors=100, warmup_epochs=3, warmup_factors=32, callbacks=stop_after(3),
        **{**params, "n_epochs": 4, "schedule": "constant"},
    ).fit(ratings)  # fmt: skip
    for whole, first in zip(factors_of(part), factors_of(alone), strict=True):
        np.testing.assert_allclose(whole[:, :32], first, rtol=0, atol=1e-13)
    np.testing.assert_allclose(part.user_biases_, alone.user_biases_, rtol=0, atol=1e-13)
    assert [r["train_rmse"] for r in part.history_] == pytest.approx(
        [r["train_rmse"] for r in alone.history_], rel=1e-13
    )


def test_a_fit_with_a_warm_up_is_the_two_fits_that_it_consists_of():
    # Full-batch steps, which know no order, from initial factors.
    params = {
        "optimizer": "gd", "biases": False, "learning_rate": 0.002, "schedule": "constant",
        "dtype": "float64", "normalize": False,
    }  # fmt: skip
    ratings = planted()
    whole = model_of(n_factors=40, n_epochs=12, warmup_epochs=7, **params).fit(ratings)
    start = factors_of(model_of(n_factors=40, n_epochs=0, **params).fit(ratings))
    first = model_of(
        n_factors=16, n_epochs=7, init=tuple(part[:, :16] for part in start), **params
    ).fit(ratings)
    joined = tuple(
        np.hstack([trained, part[:, 16:]])
        for trained, part in zip(factors_of(first), start, strict=True)
    )
    second = model_of(n_factors=40, n_epochs=5, init=joined, **params).fit(ratings)
    for found, expected in zip(factors_of(whole), factors_of(second), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    curves = [r["train_rmse"] for model in (first, second) for r in model.history_]
    assert [r["train_rmse"] for r in whole.history_] == pytest.approx(curves, rel=1e-12)


def test_whole_sixteens_warm_up_and_never_more_than_there_are():
    ratings = planted()

    def fit(**params):
        return bytes_of(model_of(n_factors=40, n_epochs=3, **params).fit(ratings))

    plain = fit()
    of_16 = fit(warmup_epochs=2)
    assert of_16 == fit(warmup_epochs=2, warmup_factors=1) != plain
    assert fit(warmup_epochs=2, warmup_factors=17) == fit(warmup_epochs=2, warmup_factors=32)
    assert fit(warmup_epochs=2, warmup_factors=32) not in (of_16, plain)
    for many in (33, 40, 41, 2**31 - 1):
        assert fit(warmup_epochs=2, warmup_factors=many) == plain
    assert fit(warmup_factors=16) == plain


@pytest.mark.parametrize("way", OPTIMIZERS)
def test_the_bytes_do_not_depend_on_the_number_of_threads(way):
    ratings = planted(3000, 2000, 120_000)
    fits = [
        model_of(n_factors=50, n_epochs=3, warmup_epochs=2, n_threads=threads, **OPTIMIZERS[way])
        .fit(ratings)
        for threads in (1, 2, 3)
    ]  # fmt: skip
    assert len({bytes_of(model) for model in fits}) == 1


def test_early_stopping_begins_after_the_warm_up():
    # So much overfitting that the first epoch has the lowest validation loss.
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    params = {
        "n_factors": 64, "reg": 0.0, "learning_rate": 0.2, "schedule": "constant", "n_epochs": 12,
        "init": 0.01, "reg_bias": 0.05, **PLAIN,
    }  # fmt: skip
    model = model_of(**params, warmup_epochs=5, early_stopping=2).fit(train, validation=test)
    curve = [record["valid_loss"] for record in model.history_]
    assert np.argmin(curve) < 5, "the test needs a warm-up that is better than what follows"
    assert model.n_epochs_ == 6 + int(np.argmin(curve[5:]))
    assert len(curve) == model.n_epochs_ + 2
    until = model_of(**params, warmup_epochs=5, callbacks=stop_after(model.n_epochs_)).fit(
        train, validation=test
    )
    assert bytes_of(until) == bytes_of(model)
    # A callback may stop it before: that is the model then.
    stopped = model_of(
        **params, warmup_epochs=5, early_stopping=2, callbacks=stop_after(3)
    ).fit(train, validation=test)  # fmt: skip
    assert stopped.n_epochs_ == len(stopped.history_) == 3
    plain = model_of(**params, warmup_epochs=5, callbacks=stop_after(3)).fit(train)
    assert bytes_of(stopped) == bytes_of(plain)


def test_the_warm_up_saves_time_and_learns():
    data = wf.datasets.make_ratings(2000, 1500, 200_000, random_state=0)
    train, test = wf.train_test_split(data.ratings, 0.1, random_state=0)
    errors, seconds = [], []
    for epochs in (0, 8):
        model = model_of(n_factors=512, n_epochs=10, warmup_epochs=epochs).fit(train)
        errors.append(wf.metrics.rmse(test.values, model.predict(test)))
        seconds.append(min(r["seconds"] for r in model.history_[:8]))
    assert max(errors) < 0.95 * np.std(test.values)
    assert seconds[1] < seconds[0] / 2  # a thirty-second of the factors, the best of eight epochs


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"warmup_epochs": -1}, "warmup_epochs is -1; it must be at least 0"),
        ({"warmup_epochs": 1.5}, r"warmup_epochs is 1.5; it must be an integer"),
        ({"warmup_epochs": 40}, "warmup_epochs is 40; it must be below n_epochs, which is 40"),
        (
            {"warmup_epochs": 1, "n_epochs": 0},
            "warmup_epochs is 1; it must be below n_epochs, which is 0",
        ),
        ({"warmup_factors": 0}, "warmup_factors is 0; it must be at least 1"),
        ({"warmup_factors": "all"}, "warmup_factors is 'all'; it must be an integer"),
        ({"warmup_epochs": 2, "optimizer": "adam"}, "warmup_epochs is 2; it must be 0 with adam"),
        (
            {"warmup_epochs": 2, "init": (np.zeros((4, 64)), np.zeros((3, 64)))},
            "warmup_epochs is 2; it must be 0 with initial factors",
        ),
        (
            {"warmup_epochs": 2, "loss": "poisson", "biases": False},
            "warmup_epochs is 2; it must be 0 without biases",
        ),
    ],
)
def test_what_cannot_warm_up_is_told(params, says):
    pairs = [(u, i) for u in range(4) for i in range(3)]
    with pytest.raises(ValueError, match=says):
        model_of(**params).fit(pairs, np.arange(12.0) % 5 + 1)


def test_it_survives_saving(tmp_path):
    model = model_of(n_epochs=2, warmup_epochs=1, warmup_factors=32).fit(planted())
    model.save(tmp_path / "m.safetensors")
    loaded = wf.load(tmp_path / "m.safetensors")
    assert (loaded.warmup_epochs, loaded.warmup_factors) == (1, 32)
