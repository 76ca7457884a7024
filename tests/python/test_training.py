"""What training computes: the step, the objective, the schedules, stopping, determinism."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import reference
import warpfactor as wf

ISAS = wf.show_config("dicts")["built_instruction_sets"]


def planted(n_users=300, n_items=200, n=6000, seed=0):
    return wf.datasets.make_ratings(n_users, n_items, n, random_state=seed)


def small_problem(seed=0, n_users=7, n_items=5, k=3, n=23):
    rng = np.random.default_rng(seed)
    users = np.r_[np.arange(n_users), rng.integers(0, n_users, n - n_users)].astype(np.int32)
    items = np.r_[np.arange(n_items), rng.integers(0, n_items, n - n_items)].astype(np.int32)
    values = rng.normal(3, 1.5, n).astype(np.float32)
    P, Q = rng.normal(0, 0.5, (n_users, k)), rng.normal(0, 0.5, (n_items, k))
    return users, items, values, P, Q


def model_of(**params):
    return wf.MatrixFactorization(**{"random_state": 0, "verbose": 0, **params})


@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_pass_with_a_tiny_step_moves_along_the_gradient_of_the_documented_objective(
    biases, normalize, per_row
):
    users, items, values, P, Q = small_problem()
    weights = np.linspace(0.5, 2, len(values))
    rate, reg, reg_bias = 1e-7, 0.3, 0.2
    strengths = {"reg_row": (2.5, 0.7), "reg_bias_row": (0.4, 1.9)} if per_row else {}
    model = model_of(
        n_factors=3, n_epochs=1, learning_rate=rate, reg=reg, reg_bias=reg_bias, biases=biases,
        normalize=normalize, schedule="constant", init=(P, Q), dtype="float64",
        **(reference.PLAIN | strengths),
    ).fit(np.c_[users, items], values, sample_weight=weights)  # fmt: skip

    w, z, s = standardized(values, weights, biases, normalize)
    assert model.global_mean_ == pytest.approx(
        np.average(values.astype(float), weights=weights) if biases else 0.0, rel=1e-6
    )
    start = [P / np.sqrt(s), Q / np.sqrt(s), np.zeros(len(P)), np.zeros(len(Q))]

    def objective(*rows):
        return reference.objective(*rows, users, items, z, w, reg, reg_bias, **strengths)

    # The ratings are float32 in the core, the steps are second order in the rate.
    check_moved_along_the_gradient(objective, start, scaled(model, s), rate, biases, 1e-4)


@pytest.mark.parametrize("sides", ["users", "items", "both"])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_with_prior_means_a_step_is_along_the_gradient_of_the_documented_objective(
    biases, normalize, sides
):
    # Full batches: a step is the gradient times the rate, however large the rate. The means move
    # after the second epoch, so the third step is the first that they are in.
    users, items, values, P, Q = small_problem()
    weights = np.linspace(0.5, 2, len(values))
    rate, reg, reg_bias = 0.02, 0.3, 0.2
    strengths = {"reg_row": (2.5, 0.7), "reg_bias_row": (0.4, 1.9)}
    before, after = (
        model_of(
            n_factors=3, n_epochs=n, optimizer="gd", learning_rate=rate, reg=reg,
            reg_bias=reg_bias, biases=biases, normalize=normalize, schedule="constant",
            init=(P, Q), dtype="float64", implicit_feedback=sides, reg_implicit=0.5, **strengths,
        ).fit(np.c_[users, items], values, sample_weight=weights)
        for n in (2, 3)
    )  # fmt: skip
    w, z, s = standardized(values, weights, biases, normalize)
    start = scaled(before, s)
    rated = np.zeros((len(P), len(Q)))
    rated[users, items] = 1
    means = [np.zeros_like(array) for array in start]
    for side, (name, matrix) in enumerate((("users", rated), ("items", rated.T))):
        if sides in (name, "both"):
            own = reference.PriorMeans(matrix, 3, 0.5)
            means[side], means[side + 2] = own.step(start[side], start[side + 2])
            assert np.abs(means[side]).max() > 0.05

    def objective(*rows):
        return reference.objective(
            *rows, users, items, z, w, reg, reg_bias, means=means, **strengths
        )

    # The ratings are float32 in the core; a difference of an objective of about 50 over 2e-5 is
    # off by up to 50 * 1e-16 / 2e-5.
    check_moved_along_the_gradient(objective, start, scaled(after, s), rate, biases, 1e-5)


def standardized(values, weights, biases, normalize):
    """Weights with a mean of 1, the ratings in the units of training, and s."""
    w = weights / weights.mean()
    mean = np.average(values.astype(float), weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
    s = deviation if normalize else 1.0
    return w, (values.astype(float) - (mean if biases else 0.0)) / s, s


def scaled(model, s):
    """P, Q, b_u and b_i in the units of training."""
    factors = (model.user_factors_ / np.sqrt(s), model.item_factors_ / np.sqrt(s))
    return [*factors, model.user_biases_ / s, model.item_biases_ / s]


def check_moved_along_the_gradient(objective, start, ended, rate, biases, tolerance):
    for part, (before, after) in enumerate(zip(start, ended, strict=True)):
        if part >= 2 and not biases:
            assert not after.any()
            continue
        for index in np.ndindex(before.shape):
            moved = [array.copy() for array in start]
            h = 1e-5
            moved[part][index] = before[index] + h
            up = objective(*moved)
            moved[part][index] = before[index] - h
            slope = (up - objective(*moved)) / (2 * h)
            assert (before[index] - after[index]) / rate == pytest.approx(
                slope, rel=tolerance, abs=tolerance
            )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 2, 3, 7, 16, 17, 33, 100, 1024])
def test_epochs_on_conflict_free_data_agree_with_numpy(k, dtype):
    # Each user and each item is rated once, so the order of the ratings does not matter.
    rng = np.random.default_rng(k)
    n = 40
    users, items = np.arange(n), rng.permutation(n)
    values = rng.normal(0, 1, n).astype(np.float32)
    P, Q = rng.normal(0, 1 / np.sqrt(k), (2, n, k))
    model = model_of(
        n_factors=k, n_epochs=4, learning_rate=0.1, reg=0.05, reg_bias=0.02, init=(P, Q),
        normalize=False, schedule="linear", dtype=dtype, **reference.PLAIN,
    ).fit(np.c_[users, items], values)  # fmt: skip
    mu = values.astype(float).mean()
    bu, bi = np.zeros(n), np.zeros(n)
    for t in range(4):
        mse = reference.sgd_pass(
            P, Q, bu, bi, users, items, values - mu, np.ones(n), 0.1 * (1 - t / 4), 0.05, 0.02, True
        )
        assert model.history_[t]["train_rmse"] == pytest.approx(np.sqrt(mse), rel=1e-5)
    # Four steps, each a dot product of k terms: a few roundings of size eps per term.
    tolerance = 4 * (k + 8) * float(np.finfo(dtype).eps) + 1e-6
    np.testing.assert_allclose(model.user_factors_, P, atol=tolerance)
    np.testing.assert_allclose(model.item_factors_, Q, atol=tolerance)
    np.testing.assert_allclose(model.user_biases_, bu, atol=tolerance)
    np.testing.assert_allclose(model.item_biases_, bi, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_blocked_gives_the_same_bytes_for_any_number_of_threads(dtype):
    ratings = planted(2000, 1500, 120_000).ratings  # enough for a grid of several blocks
    fits = [
        model_of(n_factors=24, n_epochs=3, parallel="blocked", n_threads=t, dtype=dtype).fit(
            ratings
        )
        for t in (1, 2, 5)
    ]
    assert [m.n_threads_ for m in fits] == [1, 2, 5]
    for other in fits[1:]:
        assert other.user_factors_.tobytes() == fits[0].user_factors_.tobytes()
        assert other.item_factors_.tobytes() == fits[0].item_factors_.tobytes()
        assert other.user_biases_.tobytes() == fits[0].user_biases_.tobytes()
        assert other.item_biases_.tobytes() == fits[0].item_biases_.tobytes()
        assert [h["train_rmse"] for h in other.history_] == [
            h["train_rmse"] for h in fits[0].history_
        ]


SAME_BITS = """
import sys
import warpfactor as wf
data = wf.datasets.make_ratings(n_users=3000, n_items=2000, n_ratings=240_000, random_state=0)
fits = [
    wf.MatrixFactorization(
        n_factors=20, n_epochs=2, optimizer=sys.argv[1], loss=sys.argv[2], n_threads=t,
        random_state=0, verbose=0,
    ).fit(data.ratings)
    for t in (1, 2, 3, 7)
]
assert [m.n_threads_ for m in fits] == [1, 2, 3, 7], [m.n_threads_ for m in fits]
bits = {
    b"".join(a.tobytes() for a in (m.user_factors_, m.item_factors_, m.user_biases_, m.item_biases_))
    for m in fits
}
print(fits[0].instruction_set_, len(bits))
"""


@pytest.mark.parametrize(
    ("optimizer", "loss"), [("sgd", "squared"), ("adagrad", "squared"), ("sgd", "poisson")]
)
@pytest.mark.parametrize("isa", wf.show_config("dicts")["built_instruction_sets"])
def test_blocked_gives_the_same_bytes_with_each_instruction_set(isa, optimizer, loss):
    done = subprocess.run(
        [sys.executable, "-c", SAME_BITS, optimizer, loss],
        env={**os.environ, "WARPFACTOR_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "WARPFACTOR_ISA" in done.stderr:
        pytest.skip(f"this processor does not run {isa}")
    assert (done.returncode, done.stdout.split()) == (0, [isa, "1"]), done.stderr


def test_adagrad_learns_as_well_as_sgd():
    train, test = wf.train_test_split(planted(600, 400, 40_000).ratings, 0.2, random_state=0)
    errors = {
        optimizer: wf.metrics.rmse(
            test.values,
            model_of(n_factors=8, n_epochs=30, optimizer=optimizer, learning_rate=rate, init=0.1)
            .fit(train)
            .predict(test),
        )
        for optimizer, rate in (("sgd", 0.04), ("adagrad", 0.2))
    }
    assert errors["adagrad"] == pytest.approx(errors["sgd"], rel=0.05)


def test_a_user_with_half_of_the_ratings_trains_with_any_number_of_threads():
    rng = np.random.default_rng(0)
    n = 100_000
    users = np.where(np.arange(n) % 2 == 0, 17, rng.integers(0, 2000, n))
    items = rng.integers(0, 1000, n)
    values = 3 + np.sin(items) + 0.1 * rng.standard_normal(n)
    ratings = wf.Ratings.from_arrays(users, items, values)
    fits = [model_of(n_factors=8, n_epochs=10, n_threads=t).fit(ratings) for t in (1, 4)]
    assert fits[0].history_[-1]["train_rmse"] < 0.2  # without item effects: 0.7
    assert fits[0].user_factors_.tobytes() == fits[1].user_factors_.tobytes()


def test_the_seed_decides():
    ratings = planted().ratings
    a, b, c = (model_of(random_state=s, n_epochs=9).fit(ratings).user_factors_ for s in (1, 1, 2))
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != c.tobytes()


def test_random_state_takes_every_kind_that_scikit_learn_does():
    ratings = planted().ratings
    for make in (np.random.RandomState, np.random.default_rng):
        a, b = (model_of(random_state=make(3), n_epochs=1).fit(ratings) for _ in range(2))
        assert a.user_factors_.tobytes() == b.user_factors_.tobytes()
    model_of(random_state=None, n_epochs=1).fit(ratings)


def test_hogwild_ends_near_blocked():
    data = planted(2000, 1500, 120_000)
    train, test = wf.train_test_split(data.ratings, 0.1, random_state=0)
    errors = {
        parallel: wf.metrics.rmse(
            test.values,
            model_of(n_factors=8, parallel=parallel, n_threads=4).fit(train).predict(test),
        )
        for parallel in ("blocked", "hogwild")
    }
    assert errors["hogwild"] == pytest.approx(errors["blocked"], rel=0.005)


def test_training_comes_near_the_noise_floor_and_beats_the_biases_alone():
    data = planted(1000, 500, 100_000)
    train, test = wf.train_test_split(data.ratings, 0.1, random_state=0)
    model = model_of(n_factors=16).fit(train, validation=test)
    reached = wf.metrics.rmse(test.values, model.predict(test))
    biases_only = model_of(n_factors=1, init=0.0).fit(train)  # zero factors stay zero
    assert not biases_only.user_factors_.any()
    assert reached < wf.metrics.rmse(test.values, biases_only.predict(test))
    assert data.noise_floor * 0.97 < reached < data.noise_floor * 1.12


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("inverse_time", [1, 1 / 1.1, 1 / 1.2, 1 / 1.3]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.8535533905932737, 0.5, 0.1464466094067262]),
    ],
)
def test_the_learning_rate_follows_its_schedule(schedule, factors):
    model = model_of(n_epochs=4, learning_rate=0.02, schedule=schedule).fit(planted().ratings)
    rates = [h["learning_rate"] for h in model.history_]
    np.testing.assert_allclose(rates, 0.02 * np.array(factors), rtol=1e-12)


def test_a_rating_scale_makes_no_difference_with_normalize():
    ratings = planted().ratings
    users, items, values = ratings.to_arrays()
    X = np.c_[users, items]
    base = model_of(n_factors=5).fit(X, values)
    scaled = model_of(n_factors=5).fit(X, 50 * values)
    np.testing.assert_allclose(scaled.predict(X), 50 * base.predict(X), rtol=1e-4)


def test_a_weight_of_two_acts_as_the_rating_twice_and_zero_as_no_rating():
    X = np.array([[0, 0], [1, 1], [2, 2]])
    y = np.array([1.0, 2.0, 5.0])
    params = {
        "n_factors": 2,
        "n_epochs": 50,
        "biases": False,
        "normalize": False,
        "learning_rate": 0.02,
    }
    init = (np.full((3, 2), 0.7), np.full((3, 2), 0.9))
    zero = model_of(**params, init=init).fit(X, y, sample_weight=[1, 0, 1])
    np.testing.assert_allclose(zero.user_factors_[1], 0.7, rtol=1e-6)
    # Weights 2 and 1, scaled to a mean of 1, are 4/3 and 2/3.
    init = tuple(factors[:2] for factors in init)
    once = model_of(**params, init=init, schedule="constant")
    once.fit(X[:2], y[:2], sample_weight=[2, 1])
    for row, weight in ((0, 4 / 3), (1, 2 / 3)):
        P, Q = np.full((1, 2), 0.7), np.full((1, 2), 0.9)
        for _ in range(50):
            reference.sgd_pass(
                P, Q, np.zeros(1), np.zeros(1), [0], [0], y[[row]], np.array([weight]), 0.02,
                once.chosen_["reg"], 0, False,
            )  # fmt: skip
        np.testing.assert_allclose(once.user_factors_[row], P[0], rtol=1e-4)


def test_early_stopping_returns_the_best_epoch():
    train, test = wf.train_test_split(planted(300, 200, 4000).ratings, 0.3, random_state=0)
    overfit = {
        "n_factors": 64,
        "reg": 0.0,
        "learning_rate": 0.1,
        "schedule": "constant",
        "n_epochs": 40,
    }
    model = model_of(**overfit, early_stopping=2).fit(train, validation=test)
    curve = [h["valid_rmse"] for h in model.history_]
    assert len(curve) < 40
    assert model.n_epochs_ == int(np.argmin(curve)) + 1 == len(curve) - 2
    # The pairs that training cannot improve are not in the curve.
    known = model.predict(test)
    rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    assert wf.metrics.rmse(test.values[rated], known[rated]) == pytest.approx(min(curve), rel=1e-5)

    full = model_of(**overfit, early_stopping=False).fit(train, validation=test)
    assert len(full.history_) == 40
    assert full.n_epochs_ == 40  # without early stopping the validation set only watches
    assert wf.metrics.rmse(test.values[rated], full.predict(test)[rated]) == pytest.approx(
        full.history_[-1]["valid_rmse"], rel=1e-5
    )


def test_validation_takes_what_fit_takes():
    train, test = wf.train_test_split(planted().ratings, 0.2, random_state=0)
    users, items, values = test.to_arrays()
    curves = [
        [h["valid_rmse"] for h in model_of(n_epochs=3).fit(train, validation=v).history_]
        for v in (test, (np.c_[users, items], values))
    ]
    assert curves[0] == curves[1]
    assert np.isfinite(curves[0]).all()
    assert np.isnan(model_of(n_epochs=1).fit(train).history_[0]["valid_rmse"])


def test_callbacks_see_every_epoch_and_may_stop():
    seen, also = [], []

    def stop_at_three(record):
        seen.append(record)
        return record["epoch"] == 3

    model = model_of(callbacks=[stop_at_three, also.append]).fit(planted().ratings)
    assert [r["epoch"] for r in seen] == [r["epoch"] for r in also] == [1, 2, 3]
    assert [r["train_rmse"] for r in seen] == [r["train_rmse"] for r in model.history_]
    assert len(model.history_) == 3


def test_an_error_in_a_callback_reaches_the_caller_and_leaves_the_old_fit():
    ratings = planted().ratings
    model = model_of(n_epochs=2).fit(ratings)
    before = model.user_factors_

    def fail(record):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        model.set_params(callbacks=[fail]).fit(ratings)
    assert model.user_factors_ is before


def test_a_learning_rate_that_diverges_says_so():
    with pytest.raises(wf.DivergedError, match=r"epoch \d+.*lower learning_rate") as caught:
        model_of(learning_rate=50.0).fit(planted().ratings)
    assert caught.value.epoch >= 1


@pytest.mark.parametrize("params", [{}, {"biases": False}, {"n_factors": 512}])
@pytest.mark.parametrize("outlier", [55.0, 1e3, 1e6])
def test_one_mistyped_rating_neither_diverges_nor_ruins_the_model(outlier, params):
    train, test = wf.train_test_split(planted(500, 300, 30_000).ratings, 0.1, random_state=0)
    X = np.c_[train.users, train.items]
    y = train.values.copy()
    y[17] = outlier
    X_test = np.c_[test.users, test.items]
    clean, spoiled = (model_of(**params).fit(X, values) for values in (train.values, y))
    assert np.isfinite(spoiled.predict(X_test)).all()
    if outlier < 100:  # beyond, that one rating is nearly all of the standard deviation
        errors = [wf.metrics.rmse(test.values, m.predict(X_test)) for m in (clean, spoiled)]
        assert errors[1] < 1.05 * errors[0]


@pytest.mark.parametrize("tail", [1.5, 2.5])
def test_play_counts_and_uneven_weights_train(tail):
    ratings = planted(500, 300, 30_000).ratings
    X = np.c_[ratings.users, ratings.items]
    rng = np.random.default_rng(0)
    heavy = np.exp(tail * rng.normal(size=len(ratings)))
    counts = model_of().fit(X, np.round(heavy) + 1)
    assert counts.history_[-1]["train_rmse"] < counts.history_[0]["train_rmse"]
    weighted = model_of().fit(X, ratings.values, sample_weight=heavy)
    assert weighted.score(X, ratings.values, sample_weight=heavy) > 0.2


@pytest.mark.parametrize("biases", [True, False])
def test_rows_without_ratings_stay_zero(biases):
    D = np.ma.masked_all((6, 5))
    D[0, :3] = [1, 2, 3]
    D[4, 1:4] = [5, 4, 1]
    model = model_of(n_factors=3, biases=biases).fit(D)
    assert model.user_factors_.shape == (6, 3)
    assert model.item_factors_.shape == (5, 3)
    assert not model.user_factors_[[1, 2, 3, 5]].any()
    assert not model.item_factors_[4].any()
    assert model.user_factors_[[0, 4]].all()


def test_no_epochs_returns_the_initial_factors():
    rng = np.random.default_rng(0)
    P, Q = rng.normal(size=(4, 2)), rng.normal(size=(3, 2))
    D = rng.normal(size=(4, 3))
    model = model_of(n_factors=2, n_epochs=0, init=(P, Q)).fit(D)
    np.testing.assert_allclose(model.user_factors_, P, rtol=1e-6)
    np.testing.assert_allclose(model.item_factors_, Q, rtol=1e-6)
    assert model.history_ == [] and model.n_epochs_ == 0


SIGNALLED = """
import os, signal, sys, threading, time
import numpy as np
import warpfactor as wf
n, users, items = 4_000_000, 1000, 500
rng = np.random.default_rng(0)
codes = [rng.integers(0, rows, n, dtype=np.int32) for rows in (users, items)]
ratings = wf.Ratings(*codes, rng.random(n, np.float32), np.arange(users), np.arange(items))
model = wf.MatrixFactorization(n_factors=1024, n_epochs=1000, n_threads=1, verbose=0)
when = []
def interrupt():
    time.sleep(0.5)
    when.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    model.fit(ratings)
except KeyboardInterrupt:
    print("late by", time.perf_counter() - when[0])
else:
    sys.exit("not interrupted")
assert not hasattr(model, "user_factors_")
again = wf.MatrixFactorization(n_factors=4, n_epochs=1, verbose=0).fit(ratings.take([0, 1, 2]))
print("rmse", again.history_[0]["train_rmse"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself on Windows")
def test_ctrl_c_is_obeyed_within_an_epoch_and_the_process_stays_usable():
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    late = float(done.stdout.split("late by")[1].split()[0])
    assert late < 0.5  # an epoch of it takes a second or more
    assert "rmse" in done.stdout


# Without the estimator, as importing scikit-learn would take most of the time.
FORCED = """
import numpy as np
from warpfactor import _core
params = _core.TrainParams()
params["n_factors"], params["n_epochs"] = 20, 3
rng = np.random.default_rng(0)
users, items = (rng.integers(0, n, 4000, dtype=np.int32) for n in (200, 100))
ratings = _core.RatingArrays(users, items, rng.random(4000, np.float32))
result = _core.train_float32(ratings, 200, 100, params)
print(result["instruction_set"], result["history"][-1]["train_rmse"])
"""


def test_a_forced_instruction_set_runs_and_gives_the_same_model():
    errors = {}
    for isa in ISAS:
        done = subprocess.run(
            [sys.executable, "-c", FORCED],
            env={**os.environ, "WARPFACTOR_ISA": isa},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if "must be an instruction set that this build and this processor have" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        name, rmse = done.stdout.split()
        assert name == isa
        errors[isa] = float(rmse)
    assert "baseline" in errors
    assert list(errors.values()) == pytest.approx([errors["baseline"]] * len(errors), rel=1e-5)


def test_an_unknown_instruction_set_is_an_error():
    done = subprocess.run(
        [sys.executable, "-c", "import warpfactor as wf; wf.show_config()"],
        env={**os.environ, "WARPFACTOR_ISA": "avx1024"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "WARPFACTOR_ISA is avx1024; it must be" in done.stderr.splitlines()[-1]
    assert "ValueError" in done.stderr


def test_real_ratings_reach_the_known_quality(data_dir):
    with np.load(data_dir / "ml-100k" / "ml-100k.npz") as z:
        users, items, ratings, fold = (z[key] for key in ("users", "items", "ratings", "fold"))
    errors = []
    for k in (1, 2, 3, 4, 5):
        test = fold == k
        X = np.c_[users, items]
        model = model_of().fit(X[~test], ratings[~test])
        errors.append(wf.metrics.rmse(ratings[test], model.predict(X[test])))
    assert np.mean(errors) < 0.925
