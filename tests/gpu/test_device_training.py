"""What training does beside its steps, on every device: stopping, streaming, failing, learning."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import warpfactor as wf
from problems import (
    LABELS,
    LOSSES,
    PENALTIES,
    PLAIN,
    Problem,
    bytes_of,
    check_epochs,
    model_of,
    planted,
    scores_of,
)

WAYS = {
    "sgd": {},
    "plain sgd": PLAIN,
    "penalties per row": {"implicit_feedback": "none"},
    "momentum": {"momentum": 0.5},
    "adagrad": {"optimizer": "adagrad"},
    "adagrad by element": {"optimizer": "adagrad", "adagrad_per": "element"},
    "adam": {"optimizer": "adam"},
    "batches": {"optimizer": "adam", "batch_size": 500},
    "gd": {"optimizer": "gd"},
    "no biases": {"biases": False},
    "non-negative": {"nonnegative": True, "l1_ratio": 0.3, "reg": 0.01},
    "logistic": {"loss": "logistic"},
    "poisson": {"loss": "poisson"},
}


def labelled(ratings: wf.Ratings, loss: str) -> wf.Ratings:
    """The same, with labels for values where the loss wants them."""
    if loss not in LABELS:
        return ratings
    upper = np.where(ratings.values > np.median(ratings.values), 1, -1).astype(np.float32)
    return wf.Ratings(ratings.users, ratings.items, upper, ratings.user_ids, ratings.item_ids)


@pytest.mark.parametrize("way", WAYS)
def test_blocked_gives_the_same_bytes_for_the_same_seed_alone(place, way):
    ratings = labelled(planted(1500, 700, 30_000), WAYS[way].get("loss", "squared"))
    a, b, c = (
        model_of(n_factors=11, n_epochs=3, random_state=seed, **WAYS[way], **place).fit(ratings)
        for seed in (1, 1, 2)
    )
    assert bytes_of(a) == bytes_of(b) != bytes_of(c)
    assert [r["train_loss"] for r in a.history_] == [r["train_loss"] for r in b.history_]


def test_the_seed_decides_the_order(device):
    # With the same initial factors it is all that is left to differ.
    rng = np.random.default_rng(0)
    init = rng.normal(0, 0.3, (300, 4)), rng.normal(0, 0.3, (200, 4))
    ratings = planted(300, 200, 6000)
    init = init[0][: ratings.n_users], init[1][: ratings.n_items]
    a, b = (
        model_of(n_factors=4, n_epochs=1, init=init, random_state=seed, device=device).fit(ratings)
        for seed in (1, 2)
    )
    assert bytes_of(a) != bytes_of(b)


@pytest.mark.parametrize("reg_row", [0.0, 0.3])  # with prior means that pull little or not at all
def test_early_stopping_goes_back_to_the_best_epoch(place, reg_row):
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    overfit = {
        "n_factors": 64, "reg": 0.0, "learning_rate": 0.1, "schedule": "constant", "n_epochs": 40,
        "reg_row": reg_row,
    }  # fmt: skip
    model = model_of(**overfit, early_stopping=2, **place).fit(train, validation=test)
    curve = [record["valid_rmse"] for record in model.history_]
    assert len(curve) < 40
    assert model.n_epochs_ == int(np.argmin(curve)) + 1 == len(curve) - 2
    # The model that came back is that epoch's, as NumPy sees it; sums of 64 terms in float32.
    rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    predicted = scores_of(model, test.users, test.items)
    assert wf.metrics.rmse(test.values[rated], predicted[rated]) == pytest.approx(
        min(curve), rel=1e-5
    )
    until = model_of(**{**overfit, "n_epochs": model.n_epochs_}, early_stopping=False, **place).fit(
        train, validation=test
    )
    assert bytes_of(until) == bytes_of(model)


@pytest.mark.parametrize("reg", [0.0, 0.04])  # that overfits, and that does not
def test_n_epochs_is_only_a_bound_with_early_stopping(place, reg):
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    params = {"n_factors": 32, "reg": reg, "parallel": "blocked", **PLAIN, **place}
    models = [
        model_of(**params, n_epochs=n, learning_rate=rate).fit(train, validation=test)
        for n, rate in ((500, None), (900, None), (500, 0.1))
    ]
    assert bytes_of(models[0]) == bytes_of(models[1])
    for model in models:
        curve = [record["valid_rmse"] for record in model.history_]
        rates = [record["learning_rate"] for record in model.history_]
        assert len(curve) <= 60
        best = curve[model.n_epochs_ - 1]  # the last of those that are as good as the lowest
        assert best**2 <= min(curve) ** 2 * (1 + 5e-4)
        assert all(each**2 > min(curve) ** 2 * (1 + 5e-4) for each in curve[model.n_epochs_ :])
        rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
        predicted = scores_of(model, test.users, test.items)
        assert wf.metrics.rmse(test.values[rated], predicted[rated]) == pytest.approx(
            best, rel=1e-5
        )
    if reg == 0:  # it went back to a better epoch, and on at a lower rate
        back = next(n for n, rate in enumerate(rates) if rate < 0.5 * (1 - n / 60) * rates[0])
        assert curve[back] < curve[back - 1]


def test_a_model_taken_in_mid_training_is_that_of_its_epoch(place):
    class Third(wf.callbacks.Callback):
        def on_train_begin(self, fit):
            self.fit = fit

        def on_epoch_end(self, record):
            if record["epoch"] == 3:
                self.model = self.fit.model()

    third = Third()
    params = {"n_factors": 20, "n_epochs": 6, "reg": 0.04, "parallel": "blocked", **place}
    watched = model_of(**params, callbacks=[third]).fit(planted(300, 200, 4000))
    plain = model_of(**params).fit(planted(300, 200, 4000))
    stop = [lambda record: record["epoch"] == 3]
    stopped = model_of(**params, callbacks=stop).fit(planted(300, 200, 4000))
    assert bytes_of(watched) == bytes_of(plain)
    assert bytes_of(third.model) == bytes_of(stopped)


def test_without_early_stopping_the_last_epoch_is_kept(place):
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    model = model_of(
        n_factors=32, reg=0.0, learning_rate=0.1, schedule="constant", n_epochs=12,
        early_stopping=False, **PLAIN, **place,
    ).fit(train, validation=test)  # fmt: skip
    curve = [record["valid_rmse"] for record in model.history_]
    assert len(curve) == model.n_epochs_ == 12 > int(np.argmin(curve)) + 1
    rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    predicted = scores_of(model, test.users, test.items)
    assert wf.metrics.rmse(test.values[rated], predicted[rated]) == pytest.approx(
        curve[-1], rel=1e-5
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_the_validation_loss_is_that_of_the_model(place, loss):
    train, test = wf.train_test_split(labelled(planted(300, 200, 6000), loss), 0.2, random_state=0)
    model = model_of(n_factors=5, n_epochs=2, early_stopping=False, loss=loss, **place)
    model.fit(train, validation=test)
    rated = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    r, x = test.values[rated].astype(float), scores_of(model, test.users, test.items)[rated]
    # δ of the Huber loss is in units of the standard deviation, as the loss is reported in those
    # of the ratings; the squared loss comes without its half.
    losses, _ = wf._core.loss_terms(loss, r, x, float(np.std(train.values)))
    expected = losses.mean() * (2 if loss == "squared" else 1)
    assert model.history_[-1]["valid_loss"] == pytest.approx(expected, rel=2e-5)


def test_callbacks_see_every_epoch_and_may_stop(place):
    seen = []

    def stop_at_three(record):
        seen.append(record)
        return record["epoch"] == 3

    model = model_of(n_epochs=20, callbacks=[stop_at_three], **place).fit(planted())
    assert [record["epoch"] for record in seen] == [1, 2, 3]
    assert [r["train_rmse"] for r in seen] == [r["train_rmse"] for r in model.history_]
    whole = model_of(n_epochs=20, **place).fit(planted())
    assert len(whole.history_) == 20
    assert [r["train_rmse"] for r in whole.history_[:3]] == [r["train_rmse"] for r in seen]


@pytest.mark.parametrize("error", [KeyboardInterrupt, LookupError])
def test_an_interrupted_fit_leaves_the_old_one_and_a_usable_device(device, error):
    ratings = planted()
    model = model_of(n_epochs=2, device=device).fit(ratings)
    before, bits = model.user_factors_, bytes_of(model)

    def fail(record):
        raise error("mine")

    with pytest.raises(error, match="mine"):
        model.set_params(callbacks=[fail]).fit(ratings)
    assert model.user_factors_ is before
    assert bytes_of(model.set_params(callbacks=()).fit(ratings)) == bits


# The first fit brings the device up. Nothing of the second one's comes back to Python by itself.
SIGNALLED = """
import os, signal, sys, threading, time
import numpy as np
import warpfactor as wf
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's & ignores
n, users, items = 400_000, 1000, 500
rng = np.random.default_rng(0)
codes = [rng.integers(0, rows, n, dtype=np.int32) for rows in (users, items)]
ratings = wf.Ratings(*codes, rng.random(n, np.float32), np.arange(users), np.arange(items))
few = ratings.take([0, 1, 2])
common = {"device": sys.argv[1], "verbose": 0, "random_state": 0}
wf.MatrixFactorization(n_factors=4, n_epochs=1, **common).fit(few)
model = wf.MatrixFactorization(n_factors=64, n_epochs=10**6, **common)
when = []
def interrupt():
    time.sleep(1)
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
again = wf.MatrixFactorization(n_factors=4, n_epochs=1, **common).fit(few)
print("rmse", again.history_[0]["train_rmse"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to oneself on Windows")
def test_ctrl_c_is_obeyed_and_the_process_stays_usable(device, twin):
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, device],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    late = float(done.stdout.split("late by")[1].split()[0])
    # An epoch of it takes 10 ms or so; the twin's a second or more.
    assert late < (20 if twin and device == "cuda" else 0.5)
    assert "rmse" in done.stdout


def test_a_learning_rate_that_diverges_says_so(place):
    with pytest.raises(wf.DivergedError, match=r"epoch \d+.*lower learning_rate") as caught:
        model_of(learning_rate=50.0, **place).fit(planted())
    assert caught.value.epoch >= 1


def test_rows_without_ratings_stay_zero_and_their_predictions_are_the_mean(place):
    D = np.ma.masked_all((6, 5))
    D[0, :3] = [1, 2, 3]
    D[4, 1:4] = [5, 4, 1]
    for params in ({}, PLAIN):
        model = model_of(n_factors=3, **params, **place).fit(D)
        assert not model.user_factors_[[1, 2, 3, 5]].any()
        assert not model.item_factors_[4].any()
        assert model.user_factors_[[0, 4]].all()
        # The global mean; with biases' penalties of the data's choice, that of all rows and not of all ratings.
        mean = D.mean() if params else model.global_mean_
        assert model.predict([(1, 4)])[0] == pytest.approx(mean, rel=1e-6)


SHAPES = {
    # n_users, n_items, n_ratings, share of the ratings of one user, of one item
    "an item with half of the ratings": (1000, 500, 16_000, 0, 0.5),
    "a user with half of the ratings": (1000, 500, 16_000, 0.5, 0),
    "a user and an item with half of the ratings": (500, 500, 16_000, 0.5, 0.5),
    "one item": (2000, 1, 16_000, 0, 0),
    "one user": (1, 2000, 16_000, 0, 0),
    "one pair, often": (1, 1, 3000, 0, 0),
    "far more users than items": (8000, 7, 32_000, 0, 0),
    "far more items than users": (7, 8000, 32_000, 0, 0),
}


@pytest.mark.parametrize("parallel", ["blocked", "hogwild"])
@pytest.mark.parametrize("shape", SHAPES)
def test_uneven_ratings_are_learned(place, shape, parallel):
    n_users, n_items, n, of_one_user, of_one_item = SHAPES[shape]
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
    users[rng.random(n) < of_one_user] = n_users // 2
    items[rng.random(n) < of_one_item] = n_items // 3
    effects = np.where(users % 2 == 0, 0.6, -0.6) + np.where(items % 3 == 0, 0.8, -0.4)
    values = 3 + effects + 0.1 * rng.standard_normal(n)
    model = model_of(n_factors=6, n_epochs=15, reg=0.01, reg_bias=0.01, parallel=parallel, **place)
    model.fit(np.c_[users, items], values)
    # The effects are 0.6 and 0.57 in standard deviation. A few ratings a row tell them to within a
    # third: what is left is the noise and what reg and the row's own noise keep back.
    assert model.history_[-1]["train_rmse"] < 0.2
    if parallel == "blocked":
        again = model_of(**model.get_params()).fit(np.c_[users, items], values)
        assert bytes_of(again) == bytes_of(model)


def test_one_rating_is_enough(place):
    model = model_of(n_factors=5, **place).fit([("a", "b")], [4.0])
    assert model.predict([("a", "b")])[0] == pytest.approx(4, abs=0.01)


@pytest.mark.parametrize("way", ["sgd", "adam", "batches"])
def test_rows_far_apart_leave_blocks_empty(place, way):
    problem = Problem(conflict_free=True, n=4, k=3)
    spread_users = np.array([0, 1, 69_998, 69_999])
    spread_items = np.array([0, 1, 39_998, 39_999])
    wide = Problem(conflict_free=True, n=4, k=3)
    wide.users, wide.items = spread_users[problem.users], spread_items[problem.items]
    wide.P, wide.Q = np.zeros((70_000, 3)), np.zeros((40_000, 3))
    wide.P[spread_users], wide.Q[spread_items] = problem.P, problem.Q
    ratings = wf.Ratings(
        wide.users.astype(np.int32), wide.items.astype(np.int32),
        wide.values.astype(np.float32), np.arange(70_000), np.arange(40_000),
    )  # fmt: skip
    wide.fit = lambda model: model.fit(ratings)
    params = {"optimizer": "adam" if way == "adam" else "sgd", **PENALTIES["L2"]}
    if way == "batches":
        params["batch_size"] = 2
    model = check_epochs(wide, place, {**params, "learning_rate": 0.05}, 2)
    assert not np.delete(model.user_factors_, spread_users, axis=0).any()


def test_a_validation_set_of_one_rating_is_enough(place):
    ratings = planted()
    model = model_of(n_epochs=2, **place).fit(ratings, validation=ratings.take([5]))
    x = scores_of(model, ratings.users[5:6], ratings.items[5:6])[0]
    at = model.n_epochs_ - 1
    assert model.history_[at]["valid_rmse"] == pytest.approx(
        abs(x - ratings.values[5]), rel=1e-4, abs=1e-5
    )


@pytest.fixture(scope="module")
def many():
    """Ratings that take at least eight bytes each on the device, 1.6 MB, and few to validate with."""
    return wf.train_test_split(planted(800, 520, 203_000), 3000, random_state=0)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("way", ["sgd", "adam", "weighted", "plain sgd"])
def test_a_budget_less_than_the_ratings_changes_nothing(cuda, many, way, dtype):
    train, test = many
    weights = None
    if way == "weighted":
        weights = np.random.default_rng(0).choice([0.5, 1, 2], len(train))
    params = {
        "n_factors": 4, "n_epochs": 3, "optimizer": "adam" if way == "adam" else "sgd",
        "device": cuda, "dtype": dtype,
    }  # fmt: skip
    if way == "plain sgd":
        params |= PLAIN
    fits = []
    for memory in ({}, {"device_memory": 1_200_000}, {"device_memory": 800_000}):
        # The state of adam takes more, and so do the means beside halves: they are float32.
        if memory and way != "plain sgd" and (way == "adam" or dtype == "float16"):
            memory["device_memory"] += 350_000
        model = model_of(**params, **memory)
        fits.append(model.fit(train, sample_weight=weights, validation=test))
    assert len({bytes_of(model) for model in fits}) == 1
    assert len({tuple(r["train_rmse"] for r in model.history_) for model in fits}) == 1
    assert len({tuple(r["valid_rmse"] for r in model.history_) for model in fits}) == 1


@pytest.mark.parametrize(("params", "bytes_allowed"), [(PLAIN, 250_000), ({}, 700_000)])
def test_hogwild_streams_through_a_small_budget(cuda, many, params, bytes_allowed):
    train, test = many
    errors = [
        wf.metrics.rmse(
            test.values,
            model_of(n_factors=4, n_epochs=4, device=cuda, parallel="hogwild", **params, **memory)
            .fit(train)
            .predict(test),
        )
        for memory in ({}, {"device_memory": bytes_allowed})
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.005)


@pytest.mark.parametrize("how", [{"optimizer": "gd"}, {"batch_size": 4096}])
def test_a_budget_less_than_the_batches_changes_nothing(cuda, many, how):
    model = model_of(n_factors=4, n_epochs=2, device=cuda, **how)
    whole = bytes_of(model.fit(many[0]))
    assert bytes_of(model.set_params(device_memory=1_000_000).fit(many[0])) == whole
    with pytest.raises(wf.CudaError, match="device_memory is 100000 bytes"):
        model.set_params(device_memory=100_000).fit(many[0])


def test_auto_is_blocked_on_the_cpu_and_hogwild_on_a_device(device):
    # With so few ratings one tile works at a time, so that hogwild's order is fixed, too.
    ratings = planted(300, 200, 3000)
    by = {
        parallel: bytes_of(
            model_of(n_factors=4, n_epochs=2, device=device, parallel=parallel).fit(ratings)
        )
        for parallel in ("auto", "blocked", "hogwild")
    }
    if device == "cpu":
        assert by["auto"] == by["blocked"]
    else:
        assert by["auto"] == by["hogwild"] != by["blocked"]


def test_a_budget_less_than_the_model_is_an_error_that_names_both(cuda):
    ratings = planted(1500, 700, 20_000)
    model = model_of(n_factors=64, device=cuda, device_memory=100_000)
    with pytest.raises(wf.CudaError, match="device_memory") as caught:
        model.fit(ratings)
    said = str(caught.value).replace(",", "")
    assert "100000" in said and "bytes" in said
    assert not hasattr(model, "user_factors_")
    model.set_params(device_memory=None).fit(ratings)  # nothing of the failure is left


def test_a_full_device_is_an_error_that_names_what_was_asked_and_what_is_free(cuda, cupy, twin):
    if twin:
        pytest.skip("the twin's memory is the host's")
    n = 100_000
    ratings = wf.Ratings(
        np.arange(n, dtype=np.int32), np.zeros(n, np.int32), np.ones(n, np.float32),
        np.arange(n), np.arange(1),
    )  # fmt: skip
    model = model_of(n_factors=256, n_epochs=1, device=cuda)  # factors of 102 MB
    free, _ = cupy.cuda.runtime.memGetInfo()
    taken = cupy.cuda.runtime.malloc(free - (64 << 20))
    try:
        with pytest.raises(wf.CudaError, match=r"\d[\d,. ]*(bytes|[kKMG]i?B).*free"):
            model.fit(ratings)
    finally:
        cupy.cuda.runtime.free(taken)
    model.fit(ratings)  # nothing of the failure is left


@pytest.mark.parametrize("value", [0, -1, 2.5, "1 GB", True])
def test_a_budget_that_is_no_number_of_bytes_is_named(value):
    with pytest.raises(ValueError, match="device_memory is"):
        model_of(device_memory=value).fit(planted())


@pytest.mark.parametrize("index", [99, 2**31 - 1])
def test_a_device_that_is_not_there_is_named(cuda, index):
    with pytest.raises(wf.CudaError, match=str(index)):
        model_of(device=f"cuda:{index}").fit(planted())


def test_devices_by_number_and_auto_are_the_first_one(cuda):
    fits = [model_of(n_epochs=1, device=name).fit(planted()) for name in (cuda, "cuda:0", "auto")]
    assert len({bytes_of(model) for model in fits}) == 1
    on_cpu = model_of(n_epochs=1, device="cpu").fit(planted())
    assert bytes_of(on_cpu) != bytes_of(fits[0])  # it was the device, whose order is another


def test_half_storage_is_the_devices_alone():
    with pytest.raises(ValueError, match="dtype is 'float16'"):
        model_of(dtype="float16", device="cpu").fit(planted())


def test_half_storage_shows_in_float32_attributes_that_are_halves(cuda):
    model = model_of(n_factors=8, n_epochs=2, normalize=False, device=cuda, dtype="float16")
    model.fit(planted())
    for factors in (model.user_factors_, model.item_factors_):
        assert factors.dtype == np.float32
        np.testing.assert_array_equal(factors, factors.astype(np.float16).astype(np.float32))


def test_fits_in_turn_on_one_device_do_not_touch_each_other(cuda):
    ratings, other = planted(), planted(900, 50, 9000, seed=3)
    first = model_of(n_epochs=2, device=cuda).fit(ratings)
    bits = bytes_of(first)
    for k in (1, 100):
        model_of(n_factors=k, n_epochs=1, device=cuda, dtype="float16").fit(other)
    assert bytes_of(first) == bits == bytes_of(model_of(n_epochs=2, device=cuda).fit(ratings))


def test_threads_may_fit_at_the_same_time(cuda):
    from concurrent.futures import ThreadPoolExecutor

    ratings = planted()
    alone = bytes_of(model_of(n_epochs=3, device=cuda).fit(ratings))
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda _: bytes_of(model_of(n_epochs=3, device=cuda).fit(ratings)), range(4))
        )
    assert set(found) == {alone}
