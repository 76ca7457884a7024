"""Losses and penalties of the user's own, compiled for the device."""

from __future__ import annotations

import numpy as np
import pytest

import warpfactor as wf
from problems import (
    OPTIMIZERS,
    PENALTIES,
    Problem,
    bytes_of,
    check_epochs,
    enough_epochs,
    model_of,
    planted,
)
from warpfactor import losses
from warpfactor.losses import custom, penalty

# The built-in ones, as formulas: the same model comes out.
FORMULAS = {
    "squared": lambda r, x: (r - x) ** 2 / 2,
    "absolute": lambda r, x: losses.abs(r - x),
    "huber": lambda r, x: losses.where(
        losses.abs(r - x) <= 0.6, (r - x) ** 2 / 2, 0.6 * losses.abs(r - x) - 0.18
    ),
    "squared_hinge": lambda r, x: losses.maximum(0, 1 - r * x) ** 2 / 2,
}


@pytest.fixture
def own(place, request):
    """Where to train, if what compiles formulas for it is installed."""
    pytest.importorskip("sympy")
    pytest.importorskip("numba")  # for a device's fits too: it compiles the formula for the host
    if place["device"] == "cuda":
        request.getfixturevalue("cupy")
    return place


# On a device each formula is compiled for each type, which takes seconds. All of them are tried in float32, in the other
# types these.
IN_EVERY_TYPE = ("huber", "abs", "exp", "log1p", "power", "where")


def left_out(own, name):
    """Whether a formula is not tried in this type."""
    on_device = own["device"] == "cuda" and own["dtype"] != "float32"
    return on_device and name not in IN_EVERY_TYPE


@pytest.mark.parametrize("penalty_name", ["L2", "prior means"])
@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_of_a_built_in_loss_makes_its_steps(
    own, name, optimizer, batch_size, penalty_name
):
    if left_out(own, name):
        return
    problem = Problem(name, conflict_free=batch_size is None, weighted=True, n=64)
    params = {
        **OPTIMIZERS[optimizer], **PENALTIES[penalty_name], "learning_rate": 0.02, "biases": False,
        "batch_size": batch_size, "huber_delta": 0.6,
    }  # fmt: skip
    n_epochs = enough_epochs(penalty_name, 2)
    check_epochs(problem, own, params, n_epochs, loss=custom(FORMULAS[name]))


# Each function that a formula may be made of; r and x are from about -2 to 4.
FUNCTIONS = {
    "abs": lambda r, x: losses.abs(x - r) * 1.5,
    "arctan": lambda r, x: losses.arctan(x - r) ** 2,
    "clip": lambda r, x: (r - losses.clip(x, -0.5, 0.5)) ** 2,
    "cos": lambda r, x: 1 - losses.cos(x - r),
    "cosh": lambda r, x: losses.cosh(x - r),
    "exp": lambda r, x: losses.exp(-r * x / 4),
    "expm1": lambda r, x: losses.expm1((r - x) / 4) ** 2,
    "log": lambda r, x: losses.log(1 + (r - x) ** 2),
    "log1p": lambda r, x: losses.log1p((r - x) ** 2),
    "logaddexp": lambda r, x: losses.logaddexp(r - x, x - r),
    "maximum": lambda r, x: losses.maximum(2 * (r - x), x - r),
    "minimum": lambda r, x: losses.minimum((r - x) ** 2, 4),
    "power": lambda r, x: losses.abs(r - x) ** 1.5,
    "sigmoid": lambda r, x: losses.sigmoid(x - r) * (x - r),
    "sign": lambda r, x: losses.sign(r) * (r - x),
    "sin": lambda r, x: (losses.sin(x) - r / 4) ** 2,
    "sinh": lambda r, x: losses.sinh(x - r) ** 2 / 8,
    "softplus": lambda r, x: losses.softplus(-r * x),
    "sqrt": lambda r, x: losses.sqrt(1 + (r - x) ** 2),
    "square": lambda r, x: losses.square(r - x),
    "tanh": lambda r, x: losses.tanh(r - x) ** 2,
    "where": lambda r, x: losses.where((x < r) & (r > 0), 3, 1) * (r - x) ** 2,
}


def test_every_function_is_tried():
    assert set(FUNCTIONS) - {"power"} == {
        name for name in losses.__all__ if name.islower() and name not in ("custom", "penalty")
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_makes_the_step_of_its_slope(own, name):
    if left_out(own, name):
        return
    problem = Problem(conflict_free=True)
    loss = custom(FUNCTIONS[name])
    P, Q, (users, items) = problem.P, problem.Q, (problem.users, problem.items)
    r, x = problem.values, (P[users] * Q[items]).sum(1)
    values, slopes = loss.evaluate(r, x)
    rate, reg = 0.05, 0.2
    model = problem.fit(
        model_of(n_factors=4, n_epochs=1, learning_rate=rate, reg=reg, biases=False,
                 normalize=False, init=(P, Q), loss=loss, **own)
    )  # fmt: skip
    assert model.history_[0]["train_loss"] == pytest.approx(values.mean(), rel=1e-5)
    expected = P.copy()
    expected[users] -= rate * (slopes[:, None] * Q[items] + reg * P[users])
    # The functions are good to a few units in the last place of a number below 10.
    stored = 2.0**-10 * np.abs(expected) if own["dtype"] == "float16" else 0
    assert (np.abs(model.user_factors_ - expected) <= 1e-5 + stored).all()
    assert np.abs(expected - P).max() > 0.01


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_formula_of_l2_is_the_built_in_penalty(own, optimizer):
    problem = Problem(conflict_free=True, weighted=True)
    params = {**OPTIMIZERS[optimizer], **PENALTIES["L2"], "learning_rate": 0.05}
    check_epochs(problem, own, params, 2, penalty=penalty(lambda w: w**2 / 2))


def test_a_formula_of_a_penalty_pulls_by_its_slope(own):
    problem = Problem(conflict_free=True)
    P, Q, (users, items) = problem.P, problem.Q, (problem.users, problem.items)
    wall = penalty(lambda w: losses.maximum(losses.abs(w) - 0.2, 0) ** 2 + losses.exp(w))
    model = problem.fit(
        model_of(n_factors=4, n_epochs=1, learning_rate=0.05, reg=(0.4, 0.1), reg_bias=0.3,
                 normalize=False, init=(P, Q), penalty=wall, **own)
    )  # fmt: skip
    slopes = (P[users] * Q[items]).sum(1) + problem.values.mean() - problem.values
    expected = P.copy()
    expected[users] -= 0.05 * (slopes[:, None] * Q[items] + 0.4 * wall.evaluate(P[users])[1])
    stored = 2.0**-10 * np.abs(expected) if own["dtype"] == "float16" else 0
    assert (np.abs(model.user_factors_ - expected) <= 1e-5 + stored).all()
    # Biases start from 0, where the slope of exp is 1.
    biases = np.zeros(len(P))
    biases[users] = -0.05 * (slopes + 0.3)
    np.testing.assert_allclose(model.user_biases_, biases, rtol=0, atol=1e-5)


def test_slopes_are_scaled_as_the_squared_losss(own):
    train, test = wf.train_test_split(planted(300, 120, 12_000), 0.2, random_state=0)
    built_in = model_of(n_factors=8, **own).fit(train, validation=test)
    tenfold = model_of(n_factors=8, loss=custom(lambda r, x: 10 * (r - x) ** 2), **own)
    tenfold.fit(train, validation=test)
    for record, other in zip(tenfold.history_, built_in.history_, strict=True):
        assert record["valid_rmse"] == pytest.approx(other["valid_rmse"], rel=1e-3)
        assert record["valid_loss"] == pytest.approx(10 * record["valid_rmse"] ** 2, rel=1e-5)


def test_formulas_give_the_same_bytes_for_the_same_seed(own):
    loss = custom(lambda r, x: losses.log(1 + (r - x) ** 2))
    shrink = penalty(lambda w: losses.sqrt(w**2 + 0.01))
    fits = [
        model_of(n_factors=7, n_epochs=2, loss=loss, penalty=shrink, **own).fit(planted())
        for _ in range(2)
    ]
    assert bytes_of(fits[0]) == bytes_of(fits[1])


def test_a_formula_that_diverges_says_so(own):
    problem = Problem(conflict_free=True)
    steep = custom(lambda r, x: (r - x) ** 4)
    model = model_of(n_factors=4, loss=steep, learning_rate=50.0, n_epochs=50, **own)
    with pytest.raises(wf.DivergedError, match=r"epoch \d+.*lower learning_rate"):
        problem.fit(model.set_params(init=(problem.P, problem.Q)))
