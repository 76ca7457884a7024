"""What threads do at once with one model, one set of ratings or one loss: the same as one thread alone, to the bit.

Without the GIL (free-threaded Python) these show races that it hides; with it, a short switch interval shows some.
"""

from __future__ import annotations

import importlib.util
import io
import os
import pickle
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import warpfactor as wf
from warpfactor.serving import device
from warpfactor.serving.tables import SeenItems
from warpfactor.shared_state import SharedChange, ignored_warnings
from warpfactor.training.progress import EpochBar

N_THREADS = 6
# More of them look longer for what goes wrong once in a thousand times.
N_ROUNDS = int(os.environ.get("WARPFACTOR_THREAD_ROUNDS", "1"))


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
    xp = types.SimpleNamespace(cuda=cuda)
    monkeypatch.setattr(device, "array_module", lambda: xp)
    monkeypatch.setattr(device, "upload", lambda _, array: slow_copy(array))
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


# --- all at once ---------------------------------------------------------------------------------


class Snapshots(wf.callbacks.Callback):
    """Asks for the model of each epoch."""

    def on_train_begin(self, fit):
        self.fit, self.told = fit, ["begin"]

    def on_epoch_end(self, record):
        self.told.append((record["epoch"], self.fit.model().item_factors_.tobytes()))

    def on_train_end(self, model):
        self.told.append(None if model is None else model.item_factors_.tobytes())


def watched_fit(ratings, seed):
    watcher, seen = Snapshots(), []
    callbacks = [watcher, lambda record: seen.append(record["train_rmse"])]
    wf.MatrixFactorization(**QUICK | {"random_state": seed}, callbacks=callbacks).fit(ratings)
    return repr(watcher.told), repr(seen)


def refits(ratings, seed):
    model = wf.MatrixFactorization(**QUICK | {"random_state": seed}, warm_start=True)
    first = model.fit(ratings).predict(ratings)
    again = model.fit(ratings.take(np.arange(900))).predict(ratings)
    return bits((first, again, model.partial_fit(ratings.take(np.arange(50))).item_factors_))


def kept_and_resumed(ratings, seed, folder):
    path = folder / f"{threading.get_ident()}.checkpoint"
    settings = QUICK | {"random_state": seed}
    stop = wf.MatrixFactorization(**settings, callbacks=[lambda record: record["epoch"] == 2])
    stop.fit(ratings, checkpoint=path, resume=False)
    return bits(wf.MatrixFactorization(**settings).fit(ratings, resume=path).predict(ratings))


def raised(error, call, *given, **named):
    with pytest.raises(error) as told:
        call(*given, **named)
    return type(told.value).__name__, str(told.value), getattr(told.value, "epoch", None)


def own_loss(seed):
    factor = (0.5, 0.25, 2.0)[seed]
    loss = wf.losses.custom(lambda r, x: factor * abs(r - x) ** 2)
    return str(loss), bits(loss.evaluate(np.arange(5.0), np.ones(5))), loss.cuda_source("float32")


def test_all_that_threads_do_at_once_is_what_each_does_alone(ratings, text, stored, tmp_path):
    shared = pickle.loads(stored)
    table = wf.Ratings.to_frame(ratings, "arrow")
    npz = tmp_path / "ratings.npz"
    wf.write_ratings(ratings, npz)
    one_file = tmp_path / "model"
    saved = [
        pickle.loads(stored),
        wf.MatrixFactorization(**QUICK | {"random_state": 1}).fit(ratings).model_,
    ]
    saved[0].save(one_file)
    whole = {bits(each.predict(ratings))[0] for each in saved}

    def own_file(seed):
        path = tmp_path / f"{threading.get_ident()}.model"
        shared.save(path)
        return bits(wf.load(path).predict(ratings))

    def file_of_all(seed):
        saved[seed % 2].save(one_file)
        return bits(wf.load(one_file).predict(ratings))[0] in whole

    def fit_of(**settings):
        return lambda seed: wf.MatrixFactorization(**QUICK | settings).fit(ratings)

    diverging, wrong = fit_of(learning_rate=1e12, reg=0.0), fit_of(n_factors=-1)
    works = {
        "watched fit": lambda seed: watched_fit(ratings, seed),
        "refits": lambda seed: refits(ratings, seed),
        "checkpoint": lambda seed: kept_and_resumed(ratings, seed, tmp_path),
        "from disk": lambda seed: bits(
            wf.MatrixFactorization(**QUICK | {"random_state": seed})
            .fit([table], scratch=str(tmp_path))
            .predict(ratings)
        ),
        "divergence": lambda seed: raised(wf.DivergedError, diverging, seed),
        "wrong parameter": lambda seed: raised(ValueError, wrong, seed),
        "no file": lambda seed: raised(FileNotFoundError, wf.load, tmp_path / "none"),
        "damaged file": lambda seed: raised(wf.ModelFileError, wf.load, text),
        "own file": own_file,
        "file of all": file_of_all,
        "npz": lambda seed: bits(wf.read_ratings(npz).users),
        **{name: lambda seed, of=of: bits(of(shared, ratings)) for name, of in ANSWERS.items()},
        **{name: lambda seed, of=of: bits(of(ratings, text)) for name, of in FITS.items()},
    }
    if importlib.util.find_spec("sympy") and importlib.util.find_spec("numba"):
        works["loss"] = own_loss
    alone = {name: [work(seed) for seed in range(3)] for name, work in works.items()}
    before = warnings.filters[:]

    def all_of_them(number):
        order = np.random.default_rng(number)
        wrong = []
        for _ in range(N_ROUNDS):
            for name in order.permutation(sorted(works)):
                seed = int(order.integers(3))
                if works[name](seed) != alone[name][seed]:
                    wrong.append(f"{name}, {seed}")
        return wrong

    assert at_once(all_of_them) == [[]] * N_THREADS
    assert warnings.filters == before


def test_what_users_rated_is_known_while_another_thread_groups_it():
    pairs = np.arange(4000, dtype=np.int32) % 50, np.arange(4000, dtype=np.int32) % 31
    for _ in range(30):
        seen = SeenItems(50, pairs=pairs)

        def ask(number, seen=seen):
            if number == 0:
                return seen.lists()[0][-1] == 50 * 31
            return all(seen.are_kept for _ in range(300))

        assert all(at_once(ask))


def test_a_change_of_what_threads_share_lasts_until_the_last_has_left():
    state = ["as it was"]

    @contextmanager
    def change():
        before, state[0] = state[0], "changed"
        yield
        state[0] = before

    shared = SharedChange(change)
    first, second = threading.Event(), threading.Event()

    def begin_first():
        with shared:
            first.set()
            second.wait(10)

    thread = threading.Thread(target=begin_first)
    thread.start()
    first.wait(10)
    with shared:
        second.set()
        thread.join()
        assert state == ["changed"]
    assert state == ["as it was"]


def test_threads_that_ignore_warnings_leave_the_filters_as_they_were():
    before, show = warnings.filters[:], warnings.showwarning

    def ignore(number):
        for _ in range(100):
            with ignored_warnings((UserWarning, "not of")):
                warnings.warn("not of interest", UserWarning, stacklevel=1)

    at_once(ignore)
    assert warnings.filters == before and warnings.showwarning is show
    with pytest.raises(UserWarning, match="not of interest"):
        warnings.warn("not of interest", UserWarning, stacklevel=1)


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has its lock for good"
)
def test_free_threaded_python_stays_free_of_its_lock():
    # A module that does not declare itself brings the lock back, with a warning.
    program = """
        import importlib, pkgutil, sys
        import warpfactor as wf
        assert not sys._is_gil_enabled()
        ratings = wf.datasets.make_ratings(60, 40, 800, random_state=0).ratings
        model = wf.MatrixFactorization(n_factors=2, n_epochs=2, verbose=0).fit(ratings)
        model.predict(ratings), model.recommend(ratings.user_ids)
        left_out = ("ray", "plot", "report", "cli.report", "formulas.compile", "formulas.derive", "__main__")
        for module in pkgutil.walk_packages(wf.__path__, "warpfactor."):
            if not module.name.removeprefix("warpfactor.").startswith(left_out):
                importlib.import_module(module.name)
        assert not sys._is_gil_enabled()
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    ended = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", textwrap.dedent(program)],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
