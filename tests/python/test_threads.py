"""What threads do at once with one model, one set of ratings or one loss: the same as one thread alone, to the bit.

Without the GIL (free-threaded Python) these show races that it hides; with it, a short switch interval shows some.
"""

from __future__ import annotations

import io
import pickle
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import warpfactor as wf
from warpfactor.serving import device
from warpfactor.training.progress import EpochBar

N_THREADS = 6


@pytest.fixture(autouse=True)
def frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def at_once(work, n_threads=N_THREADS):
    """Call work(number) in threads that begin together; return what they return, in order."""
    start = threading.Barrier(n_threads)

    def begin(number):
        start.wait()
        return work(number)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(begin, range(n_threads)))


@pytest.fixture(scope="module")
def ratings():
    return wf.datasets.make_ratings(80, 60, 1_500, random_state=0).ratings


QUICK = {"n_factors": 4, "n_epochs": 3, "verbose": 0, "random_state": 0, "n_threads": 2}


@pytest.fixture(scope="module")
def stored(ratings):
    """A fitted model as bytes: each load has derived nothing yet."""
    return pickle.dumps(wf.MatrixFactorization(**QUICK).fit(ratings).model_)


@pytest.fixture(scope="module")
def text(ratings, tmp_path_factory):
    path = tmp_path_factory.mktemp("threads") / "ratings.csv"
    wf.write_ratings(ratings, path)
    return path


ANSWERS = {
    "predict": lambda model, data: model.predict(data),
    "lists, what users rated left out": lambda model, data: model.recommend(data.user_ids, n=5),
    "lists by lower bounds": lambda model, data: model.recommend(
        data.user_ids, n=5, confidence=0.9
    ),
    "scores": lambda model, data: model.score_items(data.user_ids[:9]),
    "neighbours": lambda model, data: model.similar_items(data.item_ids, n=5),
    "new rows": lambda model, data: model.fold_in_users(data.take(np.arange(200))).user_factors_,
    "more ratings": lambda model, data: model.updated(data.take(np.arange(200))).item_factors_,
    "pickle": lambda model, data: pickle.loads(pickle.dumps(model)).item_factors_,
}


def bits(answer):
    parts = answer if isinstance(answer, tuple) else (answer,)
    return [np.asarray(part).tobytes() for part in parts]


@pytest.mark.parametrize("name", ANSWERS)
def test_a_model_answers_many_threads_as_one(stored, ratings, name):
    alone = bits(ANSWERS[name](pickle.loads(stored), ratings))
    for _ in range(5):
        model = pickle.loads(stored)
        assert (
            at_once(lambda _, model=model: bits(ANSWERS[name](model, ratings)))
            == [alone] * N_THREADS
        )


def test_a_model_answers_different_questions_at_once(stored, ratings):
    alone = [bits(answer(pickle.loads(stored), ratings)) for answer in ANSWERS.values()]
    model = pickle.loads(stored)
    calls = list(ANSWERS.values())
    assert at_once(lambda number: bits(calls[number](model, ratings)), len(calls)) == alone


FITS = {
    "sgd": lambda data, text: (
        wf.MatrixFactorization(**QUICK).fit(data, validation=data).predict(data)
    ),
    "found strengths": lambda data, text: (
        wf.MatrixFactorization(**QUICK, reg="auto").fit(data).predict(data)
    ),
    "sampler": lambda data, text: (
        wf.BayesianMatrixFactorization(
            n_factors=2, n_burn_in=2, n_samples=3, random_state=0, verbose=0, n_threads=1
        )
        .fit(data)
        .predict(data)
    ),
    "ensemble": lambda data, text: (
        wf.Ensemble(wf.MatrixFactorization(**QUICK), 3).fit(data).predict(data)
    ),
    "split and judged": lambda data, text: np.array(
        wf.evaluate(
            wf.MatrixFactorization(**QUICK).fit(wf.train_test_split(data, random_state=0)[0]),
            wf.train_test_split(data, random_state=0)[1],
        ).rmse
    ),
    "read": lambda data, text: (wf.read_ratings(text).users, wf.read_ratings(text).values),
}


@pytest.mark.parametrize("name", FITS)
def test_work_at_once_on_the_same_ratings_is_what_it_is_alone(ratings, text, name):
    alone = bits(FITS[name](ratings, text))
    assert at_once(lambda _: bits(FITS[name](ratings, text))) == [alone] * N_THREADS


def test_a_loss_is_compiled_by_many_threads_as_by_one(ratings):
    pytest.importorskip("numba")
    pytest.importorskip("sympy")

    def fitted(loss):
        model = wf.MatrixFactorization(**QUICK, loss=loss, learning_rate=0.02, reg=0.05)
        return bits(model.fit(ratings).predict(ratings))

    made = [wf.losses.CustomLoss.from_text(f"{factor}*(r - x)**2") for factor in ("0.5", "0.25")]
    at = at_once(lambda number: fitted(made[number % 2]), 4)
    assert at == [fitted(made[number % 2]) for number in range(4)]


def test_callbacks_run_in_the_thread_of_their_fit(ratings):
    def fit(number):
        seen = []
        wf.MatrixFactorization(
            **QUICK | {"random_state": number},
            callbacks=[lambda record: seen.append(threading.get_ident())],
        ).fit(ratings)
        return seen == [threading.get_ident()] * QUICK["n_epochs"]

    assert all(at_once(fit))


def test_epochs_that_end_at_once_are_counted_once_each(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    n_each = 200
    record = {
        "epoch": 1, "seconds": 0.0, "learning_rate": 0.1, "train_rmse": 1.0, "train_loss": 1.0,
        "valid_rmse": float("nan"), "valid_loss": float("nan"),
    }  # fmt: skip
    with EpochBar(N_THREADS * n_each, "squared", verbose=2) as bar:
        at_once(lambda _: [bar.advance(record) for _ in range(n_each)])
    counted = [int(line.split()[1].split("/")[0]) for line in sys.stderr.getvalue().splitlines()]
    assert counted == list(range(1, N_THREADS * n_each + 1))


def test_a_devices_copies_are_made_once_by_all(monkeypatch):
    made = []

    def slow_copy(array):
        time.sleep(0.002)
        made.append(array.size)
        return array.copy()

    stream = types.SimpleNamespace(synchronize=lambda: None)
    cuda = types.SimpleNamespace(get_current_stream=lambda: stream)
    xp = types.SimpleNamespace(asarray=slow_copy, cuda=cuda)
    monkeypatch.setattr(device, "array_module", lambda: xp)
    monkeypatch.setattr(device, "free_bytes", lambda: 10**9)
    memory = device.Memory("a test", 0, 1, 1, None)
    for _ in range(3):
        made.clear()
        copies = device.DeviceCopies(0)
        shared = np.arange(10)
        arrays = [{f"{n}": np.full(100, n), "shared": shared} for n in range(N_THREADS)]
        taken = at_once(lambda n, copies=copies, arrays=arrays: copies.take(arrays[n], memory)[0])
        for n, got in enumerate(taken):
            assert set(got) == {f"{n}", "shared"} and (got[f"{n}"] == n).all()
        assert sorted(made) == [10] + [100] * N_THREADS
