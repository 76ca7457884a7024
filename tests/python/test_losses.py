"""The losses and penalties: their slopes, their steps, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest

import reference
import warpfactor as wf
from warpfactor import _core

LOSSES = [row["name"] for row in _core.losses() if row["name"] != "custom"]
LABELS = ("logistic", "squared_hinge")


def model_of(**params):
    return wf.MatrixFactorization(**{"random_state": 0, "verbose": 0, **params})


def grid_of(loss):
    """Ratings and scores, away from the places where the loss has a kink."""
    ratings = {"logistic": [-1, 1], "squared_hinge": [-1, 1], "poisson": [0.0, 0.3, 1, 8]}
    r, x = np.meshgrid(ratings.get(loss, [-3, -1, 0, 0.5, 4.5]), np.linspace(-6.07, 6.07, 120))
    keep = x > 0.01 if loss == "poisson" else np.ones_like(x, bool)
    return r[keep], x[keep]


DELTA = 0.7


def terms_of(loss, r, x):
    r, x = (np.ascontiguousarray(a, dtype=float) for a in (r, x))
    return _core.loss_terms(loss, r, x, DELTA)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_slope_is_the_central_difference_of_its_loss(loss):
    r, x = grid_of(loss)
    h = 1e-5
    _, slope = terms_of(loss, r, x)
    up, down = terms_of(loss, r, x + h)[0], terms_of(loss, r, x - h)[0]
    # Rounding: a few ulps of a loss of up to 64, over h. Truncation: h²/6 times the third derivative
    # nearby, which is 2r/x³ for poisson and at most 0.1 for the others.
    third = 2 * r / (x - h) ** 3 if loss == "poisson" else 0.1
    difference = np.abs(slope - (up - down) / (2 * h))
    assert (difference <= 4 * 64 * np.finfo(float).eps / h + h**2 / 6 * third).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_and_slope_is_sympys(loss):
    sp = pytest.importorskip("sympy")
    r, x, delta = sp.symbols("r x delta", real=True)
    e = r - x
    formula = {
        "squared": e**2 / 2,
        "absolute": sp.Abs(e),
        "huber": sp.Piecewise(
            (e**2 / 2, sp.Abs(e) <= delta), (delta * (sp.Abs(e) - delta / 2), True)
        ),
        "logistic": sp.log(1 + sp.exp(-r * x)),
        "squared_hinge": sp.Max(0, 1 - r * x) ** 2 / 2,
        "poisson": r * sp.log(r / x) - r + x,
    }[loss]
    # 0 log 0 = 0 is a limit, which SymPy takes if told.
    empty = sp.limit(formula, r, 0, "+") if loss == "poisson" else formula
    exact = {0.0: (empty, sp.diff(empty, x)), None: (formula, sp.diff(formula, x))}
    ratings, scores = grid_of(loss)
    found = zip(*terms_of(loss, ratings, scores), strict=True)
    for at_r, at_x, mine in zip(ratings, scores, found, strict=True):
        values = {r: sp.Float(at_r, 30), x: sp.Float(at_x, 30), delta: sp.Float(DELTA, 30)}
        theirs = [float(e.subs(values).evalf(30)) for e in exact.get(at_r, exact[None])]
        assert mine == pytest.approx(theirs, rel=1e-12, abs=1e-13), (at_r, at_x)


PENALTIES = [(0.3, 0.0), (0.3, 1.0), (0.3, 0.4)]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("strength", "l1_ratio"), PENALTIES)
def test_a_step_follows_the_slope_of_its_penalty(strength, l1_ratio, side):
    # One user and one item whose factors are a grid on one side and 0 on the other: the prediction
    # and the rating are 0, so the loss has no slope, and what moves the grid is the penalty.
    sp = pytest.importorskip("sympy")
    grid = np.linspace(-2.03, 2.03, 80)
    start = [np.zeros((1, 80)), np.zeros((1, 80))]
    start[side][0] = grid
    rate = 1e-3
    reg = [7.0, 7.0]
    reg[side] = strength
    model = model_of(
        n_factors=80, n_epochs=1, learning_rate=rate, reg=tuple(reg), l1_ratio=l1_ratio,
        biases=False, schedule="constant", init=tuple(start), dtype="float64",
    ).fit([(0, 0)], [0.0])  # fmt: skip
    moved = (model.user_factors_, model.item_factors_)
    assert not moved[1 - side].any()
    slope = (grid - moved[side][0]) / rate

    w = sp.symbols("w", real=True)
    formula = strength * (l1_ratio * sp.Abs(w) + (1 - l1_ratio) / 2 * w**2)
    exact = [float(sp.diff(formula, w).subs(w, v)) for v in grid]
    np.testing.assert_allclose(slope, exact, rtol=1e-11, atol=1e-12)
    h = 1e-6
    up, down = (reference.penalty_of(grid + step, strength, l1_ratio) for step in (h, -h))
    np.testing.assert_allclose(slope, (up - down) / (2 * h), atol=1e-9)


def ratings_for(loss, n, rng):
    values = rng.normal(0.5, 1, n)
    if loss in LABELS:
        return np.where(values > 0, 1.0, -1.0)
    return np.round(np.exp(values)) if loss == "poisson" else values


STEPS = {
    "L2": {"reg": 0.05, "reg_bias": 0.02},
    "L2 of each side": {"reg": (0.3, 0.02), "reg_bias": (0.01, 0.2)},
    "L1": {"reg": (0.5, 0.2), "reg_bias": (0.1, 0.3), "l1_ratio": 1.0},
    "elastic net": {"reg": (0.5, 0.2), "reg_bias": (0.1, 0.3), "l1_ratio": 0.4},
    "non-negative": {"reg": 0.1, "reg_bias": 0.1, "nonnegative": True},
    "non-negative, L1": {"reg": 0.3, "reg_bias": 0.1, "nonnegative": True, "l1_ratio": 0.7},
}


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("penalties", STEPS)
@pytest.mark.parametrize("loss", LOSSES)
def test_epochs_on_conflict_free_data_agree_with_numpy(loss, penalties, biases, optimizer):
    params = STEPS[penalties]
    if params.get("nonnegative") and loss in LABELS:
        return  # refused, see test_bad_input.py
    # Each user and each item is rated once, so the order of the ratings does not matter.
    rng = np.random.default_rng(1)
    n, k = 40, 5
    users, items = np.arange(n), rng.permutation(n)
    values = ratings_for(loss, n, rng).astype(np.float32).astype(float)
    weights = rng.uniform(0.5, 1.5, n).astype(np.float32).astype(float)
    P, Q = rng.normal(0, 1 / np.sqrt(k), (2, n, k))
    nonnegative = loss == "poisson" or params.get("nonnegative", False)
    if nonnegative:
        P, Q = np.abs(P), np.abs(Q)
    model = model_of(
        n_factors=k, n_epochs=4, learning_rate=0.1, init=(P, Q), normalize=False, dtype="float64",
        loss=loss, huber_delta=DELTA, biases=biases, optimizer=optimizer, **reference.PLAIN, **params,
    ).fit(np.c_[users, items], values, sample_weight=weights)  # fmt: skip

    w = weights / weights.mean()
    mean = np.average(values, weights=w)
    shift = offset = start = 0.0
    max_slope = np.inf
    if loss == "logistic" and biases:
        share = (mean + 1) / 2
        offset = np.log(share / (1 - share))
    elif loss not in LABELS and biases and not nonnegative:
        shift = mean
    if nonnegative and biases:
        start = mean / 2
    if loss == "poisson":
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=w))
        max_slope = 5 * max(1, deviation / mean)
    assert model.global_mean_ == pytest.approx(shift + offset, rel=1e-9)
    bu, bi = np.full(n, start), np.full(n, start)
    squares = (np.zeros(n), np.zeros(n)) if optimizer == "adagrad" else None
    for t in range(4):
        mean_loss = reference.sgd_pass(
            P, Q, bu, bi, users, items, values - shift, w, 0.1 * (1 - t / 4), params["reg"],
            params["reg_bias"], biases, loss=loss, delta=DELTA, offset=offset,
            l1_ratio=params.get("l1_ratio", 0.0), lowest=0.0 if nonnegative else -np.inf,
            max_slope=max_slope, squares=squares,
        )  # fmt: skip
        assert model.history_[t]["train_loss"] == pytest.approx(mean_loss, rel=2e-6)
    # The core's ratings and weights are float32.
    for mine, expected in (
        (model.user_factors_, P),
        (model.item_factors_, Q),
        (model.user_biases_, bu),
        (model.item_biases_, bi),
    ):
        np.testing.assert_allclose(mine, expected, atol=2e-6)
    if "l1_ratio" in params:
        assert (model.user_factors_ == 0).any()


def planted(n_users=400, n_items=250, n=40_000, seed=0):
    """Pairs with a low-rank score of standard deviation 1."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
    P, Q = rng.normal(0, 1, (n_users, 4)), rng.normal(0, 1, (n_items, 4))
    score = (P[users] * Q[items]).sum(1) / 2.5
    score += 0.4 * rng.normal(0, 1, n_users)[users] + 0.4 * rng.normal(0, 1, n_items)[items]
    return np.c_[users, items], score, rng


def test_absolute_and_huber_are_less_drawn_by_outliers_than_squared():
    X, score, rng = planted()
    y = 3 + score + 0.3 * rng.normal(size=len(score))
    wild = rng.random(len(y)) < 0.05
    spoiled = np.where(wild, y + rng.choice([-1, 1], len(y)) * rng.uniform(5, 20, len(y)), y)
    train, test = np.arange(len(y)) < 32_000, np.arange(len(y)) >= 32_000
    errors = {
        loss: wf.metrics.rmse(
            3 + score[test],
            model_of(n_factors=8, n_epochs=40, loss=loss, huber_delta=0.3)
            .fit(X[train], spoiled[train])
            .predict(X[test]),
        )
        for loss in ("squared", "absolute", "huber")
    }
    assert errors["absolute"] < 0.8 * errors["squared"]
    assert errors["huber"] < 0.8 * errors["squared"]


@pytest.mark.parametrize("loss", LABELS)
@pytest.mark.parametrize("lower", [-1, 0])
def test_labels_are_told_apart(loss, lower):
    X, score, rng = planted()
    truth = score + 0.5 > 0
    y = np.where(truth ^ (rng.random(len(score)) < 0.05), 1, lower)  # one in twenty is wrong
    train = np.arange(len(y)) < 32_000
    model = model_of(n_factors=8, n_epochs=40, loss=loss, reg=0.02, early_stopping=5)
    model.fit(X[train], y[train], validation=(X[~train], y[~train]))
    predicted = model.predict(X[~train])
    middle = (1 + lower) / 2 if loss == "logistic" else 0
    assert ((predicted > middle) == truth[~train]).mean() > 0.85
    curve = [entry["valid_loss"] for entry in model.history_]
    as_good = np.flatnonzero(curve <= np.minimum.accumulate(curve) * (1 + 5e-4))
    assert model.n_epochs_ == as_good[-1] + 1
    best = model.history_[model.n_epochs_ - 1]
    assert best["valid_rmse"] == pytest.approx(wf.metrics.rmse(y[~train], predicted), rel=1e-5)
    if loss == "logistic":
        assert lower < predicted.min() and predicted.max() < 1
        probability = (predicted - lower) / (1 - lower)
        upper = y[~train] == 1
        assert probability.mean() == pytest.approx(upper.mean(), abs=0.02)
        log_loss = -np.where(upper, np.log(probability), np.log(1 - probability)).mean()
        assert best["valid_loss"] == pytest.approx(log_loss, rel=1e-4)
        assert log_loss < 0.8 * -np.log(np.where(upper, upper.mean(), 1 - upper.mean())).mean()


@pytest.mark.parametrize("biases", [True, False])
def test_counts_are_predicted_by_their_rates(biases):
    rng = np.random.default_rng(0)
    P, Q = rng.gamma(0.7, 1, (400, 4)), rng.gamma(0.7, 1, (250, 4))
    X = np.c_[rng.integers(0, 400, 60_000), rng.integers(0, 250, 60_000)]
    rate = (P[X[:, 0]] * Q[X[:, 1]]).sum(1) + 0.05
    y = rng.poisson(rate)
    train = np.arange(len(y)) < 48_000
    model = model_of(n_factors=8, n_epochs=40, loss="poisson", biases=biases)
    model.fit(X[train], y[train])
    for factors in (model.user_factors_, model.item_factors_):
        assert factors.min() >= 0
    assert model.user_biases_.min() >= 0 and model.item_biases_.min() >= 0
    predicted = model.predict(X[~train])
    assert predicted.min() >= 0

    def excess(x):  # over the loss of the true rates
        return reference.loss_of("poisson", rate[~train], np.maximum(x, 1e-6)).mean()

    assert excess(predicted) < 0.1 * excess(np.full(len(predicted), y[train].mean()))
    if biases:  # without them, the same `reg` holds the two losses back by different amounts
        squared = model_of(n_factors=8, n_epochs=40, nonnegative=True)
        assert excess(predicted) < excess(squared.fit(X[train], y[train]).predict(X[~train]))


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
def test_l1_gives_exact_zeros_and_little_more_error(optimizer):
    X, score, rng = planted()
    y = score + 0.3 * rng.normal(size=len(score))
    train = np.arange(len(y)) < 32_000
    share, error = {}, {}
    for ratio in (0.0, 0.5, 1.0):
        model = model_of(
            n_factors=16, l1_ratio=ratio, reg=0.01, init=0.1, optimizer=optimizer, n_epochs=30,
            learning_rate=0.2 if optimizer == "adagrad" else 0.04,
        ).fit(X[train], y[train])  # fmt: skip
        share[ratio] = (model.item_factors_ == 0).mean()
        error[ratio] = wf.metrics.rmse(score[~train], model.predict(X[~train]))
    assert share[0.0] == 0 < share[0.5] < share[1.0] < 0.9
    assert error[1.0] < 1.15 * error[0.0]


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", "poisson"])
@pytest.mark.parametrize("biases", [True, False])
def test_non_negative_parts_make_up_the_prediction(loss, biases):
    rng = np.random.default_rng(0)
    P, Q = rng.gamma(1, 1, (200, 3)), rng.gamma(1, 1, (120, 3))
    D = P @ Q.T
    D[rng.random(D.shape) < 0.4] = np.nan
    model = model_of(n_factors=6, n_epochs=30, loss=loss, biases=biases, nonnegative=True).fit(D)
    parts = (model.user_factors_, model.item_factors_, model.user_biases_, model.item_biases_)
    assert all(part.min() >= 0 for part in parts)
    assert model.global_mean_ == 0
    assert (model.user_biases_.any() and model.item_biases_.any()) == biases
    missing = np.argwhere(np.isnan(D))
    truth = (P @ Q.T)[tuple(missing.T)]
    assert wf.metrics.rmse(truth, model.predict(missing)) < 0.5 * truth.std()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_weight_of_two_acts_as_the_rating_twice(loss):
    X, score, rng = planted(60, 50, 1500)
    y = score + rng.normal(size=len(score))
    if loss in LABELS:
        y = np.where(y > 0, 1.0, -1.0)
    elif loss == "poisson":
        y = np.round(np.exp(y))
    heavy = np.arange(len(y)) % 2 == 0
    params = {  # of biases alone, as factors of 0 stay 0: then there is one optimum
        "n_factors": 1, "init": 0.0, "n_epochs": 300, "learning_rate": 0.02, "reg_bias": 0.1,
        "loss": loss, "dtype": "float64", **reference.PLAIN,
    }  # fmt: skip
    weighted = model_of(**params).fit(X, y, sample_weight=np.where(heavy, 2, 1))
    twice = model_of(**params).fit(np.r_[X, X[heavy]], np.r_[y, y[heavy]])
    ignored = model_of(**params).fit(X, y)
    assert weighted.global_mean_ == pytest.approx(twice.global_mean_, abs=1e-6)
    a, b, c = (model.predict(X) for model in (weighted, twice, ignored))
    assert np.std(a - b) < 0.3 * np.std(c - b)


def test_a_pair_of_strengths_is_of_the_users_and_of_the_items():
    X, score, _ = planted()
    even, uneven = (
        model_of(n_factors=8, reg=reg, reg_bias=reg_bias, **reference.PLAIN).fit(X, score)
        for reg, reg_bias in ((0.04, 0.05), ((0.4, 0.04), (0.05, 0.5)))
    )
    assert np.linalg.norm(uneven.user_factors_) < 0.7 * np.linalg.norm(even.user_factors_)
    assert np.linalg.norm(uneven.user_factors_) < 0.7 * np.linalg.norm(uneven.item_factors_)
    assert np.linalg.norm(uneven.item_biases_) < 0.7 * np.linalg.norm(even.item_biases_)
    assert np.linalg.norm(uneven.user_biases_) > 0.9 * np.linalg.norm(even.user_biases_)
    pairs = {"reg": [0.04, 0.04], "reg_bias": (0.05, 0.05)}
    same = model_of(n_factors=8, **pairs, **reference.PLAIN).fit(X, score)
    assert same.user_factors_.tobytes() == even.user_factors_.tobytes()


def test_a_pair_of_strengths_per_row_is_of_the_users_and_of_the_items():
    X, score, _ = planted()
    common = {"n_factors": 8, "reg": 0.04, "implicit_feedback": "none"}
    even, uneven = (
        model_of(reg_row=reg_row, reg_bias_row=reg_bias_row, **common).fit(X, score)
        for reg_row, reg_bias_row in ((5.0, 5.0), ((50.0, 5.0), (5.0, 500.0)))
    )
    assert np.linalg.norm(uneven.user_factors_) < 0.7 * np.linalg.norm(even.user_factors_)
    assert np.linalg.norm(uneven.user_factors_) < 0.7 * np.linalg.norm(uneven.item_factors_)
    assert np.linalg.norm(uneven.item_biases_) < 0.7 * np.linalg.norm(even.item_biases_)
    assert np.linalg.norm(uneven.user_biases_) > 0.9 * np.linalg.norm(even.user_biases_)
    same = model_of(reg_row=[5.0, 5.0], reg_bias_row=(5.0, 5.0), **common).fit(X, score)
    assert same.user_factors_.tobytes() == even.user_factors_.tobytes()


def test_the_squared_losss_curve_is_the_square_of_its_rmse():
    X, score, _ = planted(100, 80, 3000)
    model = model_of(n_epochs=3).fit(X, score, validation=(X, score))
    for entry in model.history_:
        assert entry["train_loss"] == entry["train_rmse"] ** 2
        assert entry["valid_loss"] == entry["valid_rmse"] ** 2


def labelled(loss, n=3000, lower=0):
    X, score, _ = planted(100, 80, n)
    if loss in LABELS:
        return X, np.where(score > 0.3, 1, lower)
    return X, np.round(np.exp(score)) if loss == "poisson" else score


@pytest.mark.parametrize("loss", LOSSES)
def test_a_saved_model_predicts_the_same(loss, tmp_path):
    X, y = labelled(loss)
    model = model_of(n_factors=4, loss=loss, reg=(0.02, 0.1), huber_delta=0.5, l1_ratio=0.1)
    model.fit(X, y, validation=(X, y)).save(tmp_path / "m")
    loaded = wf.load(tmp_path / "m")
    asked = np.r_[X[:50], [(10**6, 3), (3, 10**6), (10**6, 10**6)]]
    assert loaded.predict(asked).tobytes() == model.predict(asked).tobytes()
    for mine, theirs in zip(loaded.recommend([3, 10**6]), model.recommend([3, 10**6]), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert loaded.get_params() == model.get_params()
    assert loaded.history_ == model.history_


@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_unknown_users_and_items_are_predicted_from_what_is_left(loss, biases):
    X, y = labelled(loss)
    model = model_of(n_factors=4, loss=loss, biases=biases).fit(X, y)
    nobody = 10**6
    both, item_known = model.predict([(nobody, nobody), (nobody, int(X[0, 1]))])
    if loss == "squared_hinge":
        assert both == 0
    else:
        # Of scores, the mean of the biases is a part of the global mean; it is no mean of ratings.
        centred = biases and loss in ("squared", "absolute", "huber")
        assert both == pytest.approx(model.global_mean_ if centred else y.mean(), rel=1e-5)
        assert both == pytest.approx(y.mean(), abs=0.1 * y.std())
    if biases:
        assert item_known != both
    else:
        assert item_known == both
        return
    for user in (nobody, int(X[0, 0])):
        ids, scores = model.recommend(user, n=3)
        expected = model.predict([(user, item) for item in ids])
        np.testing.assert_allclose(scores, expected, rtol=1e-5)
        assert (np.diff(scores) <= 0).all()
    assert np.isnan(model.set_params(unknown="nan").predict([(nobody, nobody)])).all()


def test_what_a_model_was_trained_with_outlives_set_params():
    X, y = labelled("logistic")
    model = model_of(n_factors=4, loss="logistic").fit(X, y)
    before = model.predict(X)
    model.set_params(loss="squared", nonnegative=True)
    assert model.predict(X).tobytes() == before.tobytes()
