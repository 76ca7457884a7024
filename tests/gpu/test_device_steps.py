"""Every step of the device is the documented one, as NumPy computes it."""

from __future__ import annotations

import numpy as np
import pytest

import warpfactor as wf
from problems import (
    FULL_BATCH,
    LOSSES,
    OPTIMIZERS,
    PENALTIES,
    PLAIN,
    Problem,
    check_epochs,
    enough_epochs,
    model_of,
    refused,
)

RANKS = [1, 2, 3, 5, 7, 15, 16, 17, 31, 33, 64, 65, 100, 127, 128, 129, 300, 1000, 1024]
# One of each kind of tile.
RANKS_WITH_MEANS = [1, 7, 31, 65, 129, 300]


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_single_rating_makes_the_documented_step(place, optimizer, loss, penalty, biases):
    # No two ratings share a row, so that their order, which the device chooses, does not matter.
    if refused(penalty, loss):
        return
    problem = Problem(loss, nonnegative="non" in penalty, conflict_free=True)
    params = {**OPTIMIZERS[optimizer], **PENALTIES[penalty], "biases": biases}
    # What an optimizer remembers counts from the second epoch on. The slope of the absolute loss
    # jumps, though, and once factors are rounded some predictions are on the other side.
    n_epochs = (
        1 if loss == "absolute" and place["dtype"] == "float16" else enough_epochs(penalty, 3)
    )
    check_epochs(problem, place, {**params, "learning_rate": 0.05, "huber_delta": 0.6}, n_epochs)


@pytest.mark.parametrize("penalty", ["elastic net", "prior means"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_single_ratings_count_by_their_weights(place, loss, optimizer, penalty):
    if refused(penalty, loss):
        return
    problem = Problem(loss, conflict_free=True, weighted=True)
    params = {**OPTIMIZERS[optimizer], **PENALTIES[penalty], "learning_rate": 0.05}
    n_epochs = (
        1 if loss == "absolute" and place["dtype"] == "float16" else enough_epochs(penalty, 2)
    )
    model = check_epochs(problem, place, params, n_epochs)
    ignored = problem.weights == 0
    assert ignored.any()
    np.testing.assert_array_equal(
        model.user_factors_[problem.users[ignored]], problem.P[problem.users[ignored]]
    )


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_single_ratings_make_the_documented_step_in_standardized_units(place, loss, optimizer):
    if place["dtype"] == "float16":
        return  # initial factors would be rounded: see the same on ordinary data
    problem = Problem(loss, conflict_free=True)
    params = {**OPTIMIZERS[optimizer], **PENALTIES["L2"], "learning_rate": 0.05, "normalize": True}
    check_epochs(problem, place, params, 3)


@pytest.mark.parametrize("penalty", ["L2", "prior means"])
@pytest.mark.parametrize("how", ["sgd", "adam", "adagrad row", "batches"])
@pytest.mark.parametrize("k", RANKS)
def test_every_rank_makes_the_documented_step(place, k, how, penalty):
    if penalty == "prior means" and k not in RANKS_WITH_MEANS:
        return
    problem = Problem(k=k, conflict_free=how != "batches", n=32 if how != "batches" else 64)
    params = {"batch_size": 16} if how == "batches" else {}
    params |= {**OPTIMIZERS["sgd" if how == "batches" else how], **PENALTIES[penalty]}
    check_epochs(problem, place, {**params, "learning_rate": 0.03}, enough_epochs(penalty, 2))


@pytest.mark.parametrize("parallel", ["blocked", "hogwild"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rows_beyond_sixteen_bits_are_told_apart(place, optimizer, parallel):
    if place["dtype"] == "float16":
        return  # where rows are does not depend on it
    # As many rows as make many blocks, whose offsets are short; threads share no row here.
    problem = Problem(k=3, conflict_free=True, n=1 << 17)
    params = {**OPTIMIZERS[optimizer], **PENALTIES["L2"], "parallel": parallel}
    check_epochs(problem, place, {**params, "learning_rate": 0.05}, 1)


@pytest.mark.parametrize("penalty", ["L2", "elastic net", "non-negative, L1", "prior means"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_batch_makes_the_documented_step_of_every_loss(place, optimizer, loss, penalty):
    if refused(penalty, loss):
        return
    problem = Problem(loss, nonnegative="non" in penalty, weighted=True, conflict_free=False, n=64)
    params = {**OPTIMIZERS[optimizer], **PENALTIES[penalty], "batch_size": 10}
    n_epochs = enough_epochs(penalty, 2)
    if loss == "absolute" and place["dtype"] == "float16":
        params["batch_size"], n_epochs = 64, 1  # one step, as above
    params |= {"learning_rate": 0.02, "huber_delta": 0.6}
    check_epochs(problem, place, params, n_epochs)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize("biases", [True, False])
def test_batches_of_every_size_make_the_documented_step(place, batch_size, biases):
    problem = Problem(conflict_free=False, n=64)
    params = {**OPTIMIZERS["adam"], **PENALTIES["L2"], "biases": biases, "batch_size": batch_size}
    check_epochs(problem, place, {**params, "learning_rate": 0.02}, 2)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("optimizer", FULL_BATCH)
def test_every_epoch_of_full_batches_makes_the_documented_step(place, optimizer, penalty):
    problem = Problem(nonnegative="non" in penalty, weighted=True, conflict_free=False, n=64)
    params = {**FULL_BATCH[optimizer], **PENALTIES[penalty], "learning_rate": 0.01}
    check_epochs(problem, place, params, enough_epochs(penalty, 4))


@pytest.mark.parametrize("penalty", ["L2", "prior means"])
@pytest.mark.parametrize("how", [{"optimizer": "gd"}, {"batch_size": 1800}])
def test_large_batches_make_the_documented_step(place, how, penalty):
    # Rows with hundreds of ratings in a batch, which many threads sum, and more than five hundred others.
    problem = Problem(conflict_free=False, n=3000, k=20, hot=True)
    params = {"optimizer": "sgd", **PENALTIES[penalty], "learning_rate": 1e-4}
    check_epochs(problem, place, {**params, **how}, enough_epochs(penalty, 2))


@pytest.mark.parametrize("per_row", [PLAIN, {"reg_row": 3.0, "reg_bias_row": 2.0}])
@pytest.mark.parametrize("optimizer", ["gd", "sgd in one batch"])
def test_a_weight_of_two_is_the_rating_twice(place, optimizer, per_row):
    if place["dtype"] == "float16":
        return  # of the same model, rounded
    problem = Problem(conflict_free=False, n=64)
    heavy = np.arange(64) % 4 == 0
    params = {"n_factors": 4, "n_epochs": 5, "init": (problem.P, problem.Q), **place}
    params |= {"optimizer": "gd"} if optimizer == "gd" else {"batch_size": 1000}
    # Weights are scaled to a mean of 1, which the rate undoes. The penalties per row do not count by weight.
    weights = np.where(heavy, 2.0, 1.0)
    mean = weights.mean()
    of_weighted = {k: v if isinstance(v, str) else v / mean for k, v in per_row.items()}
    weighted = model_of(**params, **of_weighted, learning_rate=0.01 * mean).fit(
        problem.X, problem.values, sample_weight=weights
    )
    params |= {**per_row, "learning_rate": 0.01}
    twice = model_of(**params).fit(
        np.r_[problem.X, problem.X[heavy]], np.r_[problem.values, problem.values[heavy]]
    )
    once = model_of(**params).fit(problem.X, problem.values)
    # The scaled weights are float32, in either dtype.
    np.testing.assert_allclose(weighted.user_factors_, twice.user_factors_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(weighted.item_biases_, twice.item_biases_, rtol=0, atol=1e-5)
    assert np.abs(once.user_factors_ - twice.user_factors_).max() > 1e-3


@pytest.mark.parametrize("schedule", ["constant", "inverse_time", "linear", "cosine"])
def test_the_learning_rate_follows_its_schedule(device, schedule):
    # A schedule's epochs are those of models whose constant rates are the schedule's.
    problem = Problem(conflict_free=True)
    common = {"n_factors": 4, "device": device, "normalize": False}
    whole = problem.fit(
        model_of(**common, n_epochs=3, learning_rate=0.05, schedule=schedule, biases=False,
                 init=(problem.P, problem.Q))
    )  # fmt: skip
    rates = [record["learning_rate"] for record in whole.history_]
    P, Q = problem.P, problem.Q
    for rate in rates:
        part = problem.fit(
            model_of(**common, n_epochs=1, learning_rate=rate, schedule="constant", biases=False,
                     init=(P, Q))
        )  # fmt: skip
        P, Q = part.user_factors_, part.item_factors_
    np.testing.assert_allclose(whole.user_factors_, P, rtol=0, atol=1e-6)
    assert rates[0] == 0.05 and (rates[2] < 0.05) == (schedule != "constant")


def test_no_epochs_return_the_initial_factors(place):
    rng = np.random.default_rng(0)
    P, Q = rng.normal(size=(4, 3)), rng.normal(size=(5, 3))
    model = model_of(n_factors=3, n_epochs=0, init=(P, Q), **place).fit(rng.normal(size=(4, 5)))
    # To z units and back costs a few roundings of the type.
    unit = {"float16": 2.0**-10, "float32": 2.0**-23, "float64": 2.0**-52}[place["dtype"]]
    np.testing.assert_allclose(model.user_factors_, P, rtol=3 * unit)
    np.testing.assert_allclose(model.item_factors_, Q, rtol=3 * unit)
    assert model.history_ == [] and model.n_epochs_ == 0


def test_random_initial_factors_are_the_same_on_every_device(place):
    ratings = wf.datasets.make_ratings(60, 40, 500, random_state=0).ratings
    base = model_of(n_factors=9, n_epochs=0, dtype="float64").fit(ratings)
    model = model_of(n_factors=9, n_epochs=0, **place).fit(ratings)
    # Numbers of about 0.01: the smallest normal half is 6e-5, below which its steps are 6e-8.
    unit = {"float16": 2.0**-10, "float32": 2.0**-22, "float64": 2.0**-51}[place["dtype"]]
    np.testing.assert_allclose(model.user_factors_, base.user_factors_, rtol=unit, atol=6e-8)
    np.testing.assert_allclose(model.item_factors_, base.item_factors_, rtol=unit, atol=6e-8)
    assert model.user_factors_.any()
