"""Models trained with custom losses and penalties do what the formulas say."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

import reference
import warpfactor as wf
from warpfactor import _core
from warpfactor.losses import abs, custom, exp, log, maximum, penalty, where


def model_of(**params):
    return wf.MatrixFactorization(**{"random_state": 0, "verbose": 0, **params})


@pytest.fixture(scope="module")
def data():
    made = wf.datasets.make_ratings(300, 120, 12_000, random_state=3).ratings
    return wf.train_test_split(made, test_size=0.2, random_state=0)


def rmse_of(model, test):
    return wf.metrics.rmse(test.values, model.predict(test))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [5, 32, 64, 100, 128])
def test_a_custom_squared_loss_reaches_the_built_ins_rmse(data, k, dtype):
    train, test = data
    built_in = model_of(n_factors=k, dtype=dtype).fit(train, validation=test)
    own = model_of(n_factors=k, dtype=dtype, loss=custom(lambda r, x: (r - x) ** 2))
    own.fit(train, validation=test)
    assert rmse_of(own, test) == pytest.approx(rmse_of(built_in, test), abs=5e-5)
    for record, other in zip(own.history_, built_in.history_, strict=True):
        assert record["valid_rmse"] == pytest.approx(other["valid_rmse"], abs=2e-4)
        assert record["valid_loss"] == pytest.approx(record["valid_rmse"] ** 2, rel=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"optimizer": "adam", "batch_size": 64},
        {"optimizer": "adagrad"},
        {"optimizer": "gd", "n_epochs": 60},
        {"batch_size": 50, "momentum": 0.5},
        {"parallel": "hogwild"},
        {"nonnegative": True},
        {"biases": False},
        {"l1_ratio": 0.1, "reg": 0.01},
    ],
)
def test_every_way_of_training_takes_a_custom_loss(data, params):
    train, test = data
    built_in = model_of(n_factors=8, **params).fit(train)
    own = model_of(n_factors=8, loss=custom(lambda r, x: (r - x) ** 2), **params).fit(train)
    assert rmse_of(own, test) == pytest.approx(rmse_of(built_in, test), abs=2e-3)


def test_a_custom_huber_loss_is_the_built_in_one():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 40, 2000), rng.integers(0, 30, 2000)])
    y = rng.normal(0, 1, 40)[X[:, 0]] + rng.normal(0, 1, 30)[X[:, 1]] + rng.standard_t(2, 2000)
    # In standardized units, and without scaling of the slopes, which the built-in one has not.
    y = (y - y.mean()) / y.std()
    common = {"n_factors": 4, "normalize": False, "dtype": "float64"}
    huber = custom(
        lambda r, x: where(abs(r - x) <= 0.7, (r - x) ** 2 / 2, 0.7 * abs(r - x) - 0.245)
    )
    own = model_of(loss=huber, **common).fit(X, y)
    built_in = model_of(loss="huber", huber_delta=0.7, **common).fit(X, y)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), rtol=0, atol=1e-6)
    assert own.history_[-1]["train_loss"] == pytest.approx(built_in.history_[-1]["train_loss"])


def test_a_custom_huber_loss_is_less_drawn_by_outliers(data):
    train, test = data
    rng = np.random.default_rng(0)
    values = train.values.copy()
    spoilt = rng.random(len(values)) < 0.05
    values[spoilt] += 40
    dirty = (train.user_ids[train.users], train.item_ids[train.items])
    X = np.column_stack(dirty)
    huber = custom(lambda r, x: where(abs(r - x) < 1, (r - x) ** 2 / 2, abs(r - x) - 0.5))
    squared = rmse_of(model_of(n_factors=4).fit(X, values), test)
    robust = rmse_of(model_of(n_factors=4, loss=huber).fit(X, values), test)
    assert robust < 1.1
    assert robust < 0.5 * squared


def test_underestimates_that_cost_twice_are_rarer(data):
    """With one item the best prediction is the expectile, where twice the shortfall is the excess."""
    rng = np.random.default_rng(1)
    y = rng.normal(3, 1, 4000)
    X = np.zeros((len(y), 2), int)
    cost = custom(lambda r, x: where(x < r, 2, 1) * (r - x) ** 2)
    model = model_of(loss=cost, n_factors=1, reg=0, reg_bias=0, dtype="float64", n_epochs=400)
    level = model.fit(X, y).predict([[0, 0]])[0]
    low, high = np.maximum(y - level, 0).sum(), np.maximum(level - y, 0).sum()
    assert 2 * low == pytest.approx(high, rel=0.03)
    assert level > y.mean() + 0.2

    train, test = data
    even = model_of(n_factors=8).fit(train).predict(test)
    wary = model_of(n_factors=8, loss=cost).fit(train).predict(test)
    assert (wary < test.values).mean() < (even < test.values).mean() - 0.05


def test_quantiles_of_ratings_of_one_item():
    rng = np.random.default_rng(2)
    y = rng.exponential(1, 5000)
    X = np.zeros((len(y), 2), int)
    pinball = custom(lambda r, x: maximum(0.9 * (r - x), -0.1 * (r - x)))
    model = model_of(loss=pinball, n_factors=1, reg=0, reg_bias=0, n_epochs=40).fit(X, y)
    assert (y < model.predict([[0, 0]])[0]).mean() == pytest.approx(0.9, abs=0.02)


def test_a_constant_factor_of_a_loss_counts_only_without_normalize(data):
    train, test = data
    once = custom(lambda r, x: (r - x) ** 2 / 2)
    tenfold = custom(lambda r, x: 5 * (r - x) ** 2)
    predictions = [
        model_of(n_factors=8, loss=loss).fit(train).predict(test) for loss in (once, tenfold)
    ]
    np.testing.assert_allclose(*predictions, rtol=0, atol=1e-3)
    # As written: ten times the slope is ten times the rate and a tenth of the penalty.
    common = {"n_factors": 8, "normalize": False, "dtype": "float64"}
    strengths = {"reg": 0.1, "reg_bias": 0.1, "reg_row": 3.0, "reg_bias_row": 2.0}
    tenfold_strengths = {name: 10 * strength for name, strength in strengths.items()}
    for priors in ("none", "both"):
        common["implicit_feedback"] = priors
        one = model_of(loss=once, learning_rate=0.02, **strengths, **common).fit(train)
        ten = model_of(loss=tenfold, learning_rate=0.002, **tenfold_strengths, **common).fit(train)
        np.testing.assert_allclose(one.predict(test), ten.predict(test), rtol=0, atol=1e-9)


def test_a_loss_sees_ratings_and_predictions_as_the_user_knows_them():
    """On a scale of 0 to 100 a loss that is flat below an error of 5 leaves errors up to 5."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 30, 3000), rng.integers(0, 20, 3000)])
    y = 50 + 15 * rng.normal(size=30)[X[:, 0]] + rng.uniform(-4, 4, 3000)
    flat = custom(lambda r, x: maximum(abs(r - x) - 5, 0) ** 2)
    model = model_of(loss=flat, n_factors=2, reg=0, reg_bias=0).fit(X, y)
    errors = np.abs(model.predict(X) - y)
    assert np.quantile(errors, 0.95) < 6
    assert model.history_[-1]["train_loss"] < 1


def test_labels_and_counts_by_formulas():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(0, 40, 4000), rng.integers(0, 30, 4000)])
    score = rng.normal(0, 1.5, 40)[X[:, 0]] + rng.normal(0, 1.5, 30)[X[:, 1]]
    y = np.where(rng.random(4000) < 1 / (1 + np.exp(-score)), 1.0, -1.0)
    logistic = custom(lambda r, x: log(1 + exp(-r * x)))
    found = model_of(loss=logistic, n_factors=2).fit(X, y).predict(X)
    assert np.corrcoef(found, score)[0, 1] > 0.95
    counts = rng.poisson(np.exp(score / 3))
    poisson = custom(lambda r, x: x - r * log(maximum(x, 1e-6)))
    rates = model_of(loss=poisson, n_factors=2, nonnegative=True).fit(X, counts).predict(X)
    assert np.corrcoef(rates, np.exp(score / 3))[0, 1] > 0.9
    assert rates.mean() == pytest.approx(counts.mean(), rel=0.05)


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
def test_the_custom_l2_penalty_is_the_built_in_one(data, optimizer):
    train, test = data
    common = {"n_factors": 7, "dtype": "float64", "optimizer": optimizer, "reg": (0.1, 0.05)}
    common |= {"reg_bias": 0.05, **reference.PLAIN}
    own = model_of(penalty=penalty(lambda w: w**2 / 2), **common).fit(train)
    built_in = model_of(**common).fit(train)
    np.testing.assert_allclose(own.predict(test), built_in.predict(test), rtol=0, atol=1e-9)


def test_a_custom_penalty_pulls_where_its_formula_says(data):
    train, _ = data
    # Flat to 0.2, steep beyond: factors gather below.
    wall = penalty(lambda w: maximum(abs(w) - 0.2, 0) ** 2)
    free = model_of(n_factors=8, reg=0.0, normalize=False).fit(train)
    walled = model_of(n_factors=8, reg=20.0, reg_bias=0.0, penalty=wall, normalize=False,
                      n_epochs=100).fit(train)  # fmt: skip
    assert np.quantile(np.abs(free.item_factors_), 0.9) > 0.4
    assert np.quantile(np.abs(walled.item_factors_), 0.9) < 0.3
    assert np.quantile(np.abs(walled.item_factors_), 0.9) > 0.15
    # A penalty that is least at 0.5 draws there what nothing else moves.
    drawn = model_of(n_factors=5, penalty=penalty(lambda w: (w - 0.5) ** 2), reg=50.0,
                     learning_rate=0.005, normalize=False).fit(train)  # fmt: skip
    assert np.abs(drawn.item_factors_ - 0.5).mean() < 0.1


def test_a_penalty_of_the_biases_alone(data):
    train, _ = data
    square = penalty(lambda w: w**2 / 2)
    strict = model_of(n_factors=3, reg=0.02, reg_bias=5.0, penalty=square).fit(train)
    lax = model_of(n_factors=3, reg=0.02, reg_bias=0.0, penalty=square).fit(train)
    assert np.abs(strict.item_biases_).mean() < 0.2 * np.abs(lax.item_biases_).mean()


def test_bits_do_not_depend_on_threads(data):
    train, test = data
    loss = custom(lambda r, x: log(1 + (r - x) ** 2))
    found = [
        model_of(n_factors=20, loss=loss, penalty=penalty(lambda w: w**4), n_threads=n, **extra)
        .fit(train)
        .predict(test)
        .tobytes()
        for extra in ({}, {"batch_size": 500})
        for n in (1, 2, 5)
    ]
    assert len(set(found[:3])) == len(set(found[3:])) == 1


def test_a_custom_model_saves_loads_pickles_and_clones(data, tmp_path):
    train, test = data
    loss = custom(lambda r, x: where(x < r, 2, 1) * (r - x) ** 2)
    model = model_of(n_factors=4, loss=loss, penalty=penalty(lambda w: log(1 + w**2)), n_epochs=3)
    model.fit(train)
    model.save(tmp_path / "m.safetensors")
    loaded = wf.load(tmp_path / "m.safetensors")
    assert loaded.loss == loss
    assert loaded.penalty == model.penalty
    for other in (loaded, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict(test), model.predict(test))
    again = clone(wf.MatrixFactorization.from_model(loaded)).fit(train)
    np.testing.assert_array_equal(again.predict(test), model.predict(test))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": lambda r, x: (r - x) ** 2}, "warpfactor.losses.custom"),
        ({"loss": "custom"}, "loss is 'custom'; it must be 'squared'"),
        ({"penalty": "l1"}, "penalty is 'l1'"),
        ({"penalty": lambda w: w**2}, "warpfactor.losses.penalty"),
    ],
)
def test_what_is_no_loss_or_penalty_is_refused(data, params, message):
    with pytest.raises(ValueError, match=message):
        model_of(**params).fit(data[0])


def test_l1_ratio_and_a_penalty_exclude_each_other(data):
    with pytest.raises(ValueError, match="l1_ratio"):
        model_of(l1_ratio=0.5, penalty=penalty(lambda w: w**2)).fit(data[0])


def test_a_loss_that_is_not_finite_where_training_begins_says_so(data):
    train, _ = data
    with pytest.raises(ValueError, match=r"the custom loss gives .* prediction 0"):
        model_of(loss=custom(lambda r, x: x - r * log(x)), biases=False).fit(train)


def test_the_core_refuses_a_custom_loss_without_a_function():
    params = _core.TrainParams()
    params["loss"] = "custom"
    one = np.zeros(1, np.int32)
    ratings = _core.RatingArrays(one, one, np.ones(1, np.float32))
    with pytest.raises(ValueError, match="loss is custom"):
        _core.train_float32(ratings, 1, 1, params)
