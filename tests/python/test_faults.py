"""What damaged, hostile and hurried use must not do: crash, hang, answer wrong, or raise foreign errors."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import random
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import warpfactor as wf
from warpfactor.formulas.time_limit import TimeIsOver, ended_after

QUICK = {"n_factors": 2, "n_epochs": 2, "verbose": 0, "random_state": 0}
posix = pytest.mark.skipif(os.name != "posix", reason="of POSIX")


def run(code, *, timeout=60, **options):
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=timeout, check=False, **options,
    )  # fmt: skip


# --- Arrow columns that are handed over ---------------------------------------------------------

N = 20
TEXT = pa.py_buffer(b"ab" * N)


def texts(changed_at, to, kind=None, dtype=np.int32):
    """Texts one of whose offsets points elsewhere."""
    offsets = np.arange(0, 2 * N + 1, 2, dtype=dtype)
    offsets[changed_at] = to
    return pa.Array.from_buffers(kind or pa.string(), N, [None, pa.py_buffer(offsets), TEXT])


def coded(index, values):
    """A dictionary one of whose positions is another."""
    indices = np.arange(N, dtype=np.int32) % 3
    indices[4] = index
    kind = pa.dictionary(pa.int32(), values.type)
    return pa.DictionaryArray.from_buffers(kind, N, [None, pa.py_buffer(indices)], values)


DAMAGED = {
    "an offset beyond the end": texts(5, 10**6),
    "a falling offset": texts(7, 3),
    "a wide offset": texts(5, 10**12, pa.large_string(), np.int64),
    "the position -1": coded(-1, pa.array(["ab", "b", "c"])),
    "a position beyond the dictionary": coded(77, pa.array(["ab", "b", "c"])),
    "the position -1 of numbers": coded(-1, pa.array([1.0, 2.0, 3.0])),
    "bytes that are no UTF-8": pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, 2], np.int32)), pa.py_buffer(b"\xff\xfe")]
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def fitted():
    ratings = wf.Ratings.from_arrays(["ab", "cd", "b"], ["ab", "b", "c"], [1.0, 2.0, 3.0])
    return wf.MatrixFactorization(**QUICK).fit(ratings)


def ways(fitted, column):
    """Every way in which a column comes in."""
    n = len(column)
    users, items = pa.array(np.arange(n) % 5), pa.array(np.arange(n) % 4)
    ratings = pa.array(np.arange(n) * 1.0)
    estimator = wf.MatrixFactorization(**QUICK)
    good = wf.Ratings.from_arrays(users, items, ratings)
    lists = pa.ListArray.from_arrays(pa.array([0, n], pa.int32()), column)
    model = fitted.model_
    return {
        "users": lambda: estimator.fit(pa.table({"user": column, "item": items, "rating": ratings})),
        "items": lambda: estimator.fit(pa.table({"user": users, "item": column, "rating": ratings})),
        "ratings": lambda: estimator.fit(pa.table({"user": users, "item": items, "rating": column})),
        "from_arrays": lambda: wf.Ratings.from_arrays(column, items, ratings),
        "times": lambda: wf.Ratings.from_arrays(users, items, ratings, timestamps=column),
        "weights": lambda: estimator.fit(good, sample_weight=column),
        "implicit": lambda: estimator.fit(good, implicit=pa.table({"user": column, "item": items})),
        "predict": lambda: fitted.predict(pa.table({"user": column, "item": items})),
        "recommend": lambda: fitted.recommend(column, n=1),
        "groups": lambda: fitted.recommend(lists, n=1, group="mean"),
        "candidates": lambda: fitted.recommend("ab", n=1, items=column),
        "exclude": lambda: fitted.recommend("ab", n=1, exclude=column),
        "similar": lambda: fitted.similar_items(column, n=1),
        "fold-in": lambda: model.fold_in_users(pa.table({"user": column, "item": items, "rating": ratings})),
        "split": lambda: wf.train_test_split(pa.table({"user": column, "item": items, "rating": ratings})),
    }  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_arrow_column_is_refused_wherever_it_comes_in(fitted, damage):
    for name, way in ways(fitted, DAMAGED[damage]).items():
        with pytest.raises(ValueError, match=r"damaged|UTF-8") as caught:
            way()
        assert type(caught.value) is ValueError, name


def test_arrow_files_with_flipped_bits_are_read_or_refused(tmp_path):
    from pyarrow import feather

    n = 60
    table = pa.table({
        "user": pa.array([f"u{i % 20}" for i in range(n)]).dictionary_encode(),
        "item": [f"item {i % 9}" for i in range(n)], "rating": np.arange(n) % 5 * 1.0,
    })  # fmt: skip
    files = []
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        sink = io.BytesIO()
        with new(sink, table.schema) as writer:
            writer.write_table(table)
        files.append(sink.getvalue())
    for compression in ("lz4", "uncompressed"):
        sink = io.BytesIO()
        feather.write_feather(table, sink, compression=compression)
        files.append(sink.getvalue())
    rng = random.Random(0)
    path = tmp_path / "r.arrow"
    n_refused = 0
    for at in range(240):
        content = bytearray(files[at % 4])
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            wf.read_ratings(path)
        except ValueError as error:
            assert type(error) is ValueError and str(error).startswith(str(path))
            n_refused += 1
    assert n_refused > 50


# --- numbers and texts beyond all measure --------------------------------------------------------


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), "x" * 100_000, ["x" * 100_000], b"x" * 100_000]
)
def test_no_parameter_takes_a_foreign_error_or_a_long_message(value):
    ratings = wf.datasets.make_ratings(30, 20, 200, random_state=0).ratings
    for kind in (wf.MatrixFactorization, wf.BayesianMatrixFactorization):
        for name in kind().get_params():
            try:
                kind(**{"verbose": 0, "n_factors": 2, name: value}).fit(ratings)
            except ValueError as error:
                assert type(error) is ValueError and len(str(error)) < 1000, name
            else:
                assert name == "validation_fraction", name  # only numbers draw something


@pytest.mark.parametrize("value", [10**400, "x" * 100_000, ["x" * 100_000]])
def test_no_option_of_reading_takes_a_foreign_error_or_a_long_message(tmp_path, value):
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\n1,10,5\n2,11,4\n3,10,3\n")
    for name in inspect.signature(wf.read_ratings).parameters:
        if name == "path":
            continue
        try:
            wf.read_ratings(path, **{name: value})
        except ValueError as error:
            assert type(error) is ValueError and len(str(error)) < 1000, name


def test_a_long_id_makes_no_long_message(fitted):
    strict = fitted.model_.with_options(unknown="raise")
    long = "x" * 1_000_000
    for call in (
        lambda: fitted.similar_items(long),
        lambda: strict.recommend(long),
        lambda: strict.predict(np.array([[long, "b"]], dtype=object)),
    ):
        with pytest.raises(ValueError) as caught:
            call()
        assert len(str(caught.value)) < 1000


# --- formulas ------------------------------------------------------------------------------------


def nested(inner, outer, n):
    """A function of a function, and so on."""
    for _ in range(n):
        inner = outer.replace("@", inner)
    return inner


@pytest.mark.parametrize(
    "text",
    [
        nested("x - r", "tanh(@)", 12),
        nested("x - r", "sinh(0.1*(@))", 12),
        nested("x - r", "cosh(0.1*(@))", 12),
        nested("x - r", "sin(tanh(@))", 12),
        nested("(x - r)**2", "arctan(1 + (@))", 12),
    ],
)
def test_nested_functions_are_derived_in_a_moment(text):
    pytest.importorskip("sympy")
    begin = time.process_time()
    assert wf.losses.CustomLoss.from_text(text).derivative != 0
    assert time.process_time() - begin < 10


@pytest.mark.parametrize(
    "text",
    [
        "(x - r)**(r - r + 101)", "(x + r)**(abs(r) - abs(r) - 1000)",
        "(x - r)**(r - r + 2)**(r - r + 9)**(r - r + 9)",
    ],
)  # fmt: skip
def test_an_exponent_that_turns_out_to_be_a_number_is_limited(text):
    pytest.importorskip("sympy")
    begin = time.process_time()
    with pytest.raises(ValueError, match="those above 100 leave the range"):
        _ = wf.losses.CustomLoss.from_text(text).derivative
    assert time.process_time() - begin < 5


def test_a_formula_that_takes_too_long_is_refused(monkeypatch):
    pytest.importorskip("sympy")
    from warpfactor.formulas import derive, losses

    def for_ever(*_):
        while True:
            pass

    monkeypatch.setattr(losses, "_MOST_SECONDS", 0.05)
    monkeypatch.setattr(derive, "differentiate", for_ever)
    with pytest.raises(ValueError, match=r"within 0\.05 seconds: write it shorter"):
        _ = wf.losses.CustomLoss.from_text("(x - r)**2").derivative


def test_a_time_limit_ends_the_thread_that_it_was_set_in_and_no_later_work():
    ended = []

    def work():
        try:
            with ended_after(0.02):
                while True:
                    pass
        except TimeIsOver:
            ended.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(200):
        with contextlib.suppress(TimeIsOver), ended_after(1e-5):
            pass
    thread.join(timeout=30)
    assert ended == [True]


@pytest.mark.parametrize(
    "text",
    [
        "(r - clip(x, 2*x - 3, 4))**2", "(r - clip(x, 3, 2*x - 4))**2", "(r - clip(2*x, x, 3))**2",
        "(r - clip(x, 4, x/2))**2", "(r - clip(x, 3 - x, x - 1))**2",
    ],
)  # fmt: skip
def test_the_slope_of_clip_is_right_where_its_bounds_cross(text):
    pytest.importorskip("sympy")
    loss = wf.losses.CustomLoss.from_text(text)
    x = np.linspace(-4.98, 8.03, 401)  # no corner lies on it
    step = 1e-6
    below, above = (loss.evaluate(2.5, x + d)[0] for d in (-step, step))
    slopes = loss.evaluate(2.5, x)[1]
    # Rounding: eps times the largest loss over the step; and no third derivative of squares.
    bound = 4 * np.finfo(float).eps * max(above.max(), 1) / step
    corner = np.abs(loss.evaluate(2.5, x + step)[1] - loss.evaluate(2.5, x - step)[1]) > 1e-3
    assert corner.sum() < 5
    assert np.abs((above - below) / (2 * step) - slopes)[~corner].max() < bound


# --- threads, processes, interpreters ------------------------------------------------------------


@pytest.mark.parametrize("what", ["fit", "callback", "recommend", "predict", "save", "read"])
def test_a_daemon_thread_at_work_does_not_abort_the_end_of_a_process(tmp_path, what):
    path = tmp_path / "r.csv"
    path.write_text(
        "user,item,rating\n" + "".join(f"u{n % 997},{n % 89},{n % 5}\n" for n in range(20_000))
    )
    ended = run(f"""
        import threading, time
        import warpfactor as wf
        ratings = wf.datasets.make_ratings(800, 400, 16_000, random_state=0).ratings
        quick = dict(n_factors=4, n_epochs=2, verbose=0, random_state=0)
        model = wf.MatrixFactorization(**quick).fit(ratings)
        calls = {{
            "fit": lambda: wf.MatrixFactorization(**quick).fit(ratings),
            "callback": lambda: wf.MatrixFactorization(**quick | dict(
                n_epochs=10**6, learning_rate=0.01, reg=0.1, reg_row=0, callbacks=[lambda r: None],
            )).fit(wf.Ratings.from_arrays([1, 2], [1, 2], [1.0, 2.0])),
            "recommend": lambda: model.recommend(model.user_ids_, n=3),
            "predict": lambda: model.predict(ratings),
            "save": lambda: model.save({str(tmp_path / "m")!r}),
            "read": lambda: wf.read_ratings({str(path)!r}),
        }}
        call = calls[{what!r}]
        started = threading.Event()
        def work():
            started.set()
            while True:
                call()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
        time.sleep(0.15)
    """)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_a_refit_in_another_thread_never_shows_half_a_model():
    sets = [
        wf.datasets.make_ratings(*shape, random_state=0).ratings
        for shape in ((60, 40, 800), (90, 50, 1200))
    ]
    fits = [wf.MatrixFactorization(**QUICK).fit(ratings) for ratings in sets]
    pairs = np.array([[u, i] for u in range(30) for i in range(20)])

    def answers(model):
        predicted = model.predict(pairs).tobytes()
        items, scores = model.recommend(np.arange(10), n=5)
        return predicted, items.tobytes(), scores.tobytes()

    wholes = [set(parts) for parts in zip(*map(answers, fits), strict=True)]
    model = wf.MatrixFactorization(**QUICK).fit(sets[0])
    over = threading.Event()

    def refit():
        for at in range(60):
            model.fit(sets[at % 2])
        over.set()

    thread = threading.Thread(target=refit)
    thread.start()
    while not over.is_set():
        for got, whole in zip(answers(model), wholes, strict=True):
            assert got in whole
    thread.join()


@posix
def test_a_refit_that_is_interrupted_leaves_the_model_before_or_the_new_one():
    ended = run("""
        import random, signal, time
        import numpy as np
        import warpfactor as wf
        quick = dict(n_factors=2, n_epochs=2, verbose=0, random_state=0)
        sets = [wf.datasets.make_ratings(60, 40, 800, random_state=s).ratings for s in (0, 1)]
        pairs = np.array([[u, i] for u in range(30) for i in range(20)])
        wholes = {wf.MatrixFactorization(**quick).fit(s).predict(pairs).tobytes() for s in sets}
        model = wf.MatrixFactorization(**quick).fit(sets[0])
        began = time.perf_counter()
        model.fit(sets[0])
        draw, seconds = random.Random(0), time.perf_counter() - began
        def stop(*_):
            raise KeyboardInterrupt
        signal.signal(signal.SIGALRM, stop)
        n_stopped = 0
        for at in range(120):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + seconds * draw.random())
                model.fit(sets[at % 2])
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_stopped += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert model.predict(pairs).tobytes() in wholes, at
        assert n_stopped > 10, n_stopped
    """)
    assert ended.returncode == 0, ended.stderr


@posix
def test_a_process_may_be_forked_while_a_thread_compiles_a_loss():
    pytest.importorskip("numba")
    ended = run("""
        import os, threading, time, warnings
        import warpfactor as wf
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads, from 3.12 on
        loss = wf.losses.CustomLoss.from_text("(r - x)**2")
        thread = threading.Thread(target=lambda: loss.address("float32"))
        thread.start()
        time.sleep(0.02)
        child = os.fork()
        if child == 0:
            wf.losses.CustomLoss.from_text("abs(r - x)").address("float32")
            os._exit(0)
        end = time.monotonic() + 40
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                raise SystemExit(status)
            time.sleep(0.02)
        os.kill(child, 9)
        raise SystemExit("the child hangs")
    """)
    assert ended.returncode == 0, ended.stderr


def test_a_sub_interpreter_is_refused():
    ended = run("""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        try:
            failed = interpreters.run_string(interpreters.create(), "import warpfactor")
        except Exception as error:
            failed = error
        assert "sub-interpreter of Python: use a process of its own" in str(failed), failed
    """)
    assert ended.returncode == 0, ended.stderr


# --- standard output -----------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("stdout", [">&-", "> /dev/full"])
@pytest.mark.parametrize("arguments", ["--help", "--version", "predict --help", "peek r.csv"])
def test_a_standard_output_that_takes_nothing_is_one_line(tmp_path, arguments, stdout):
    (tmp_path / "r.csv").write_text("user,item,rating\n1,10,5\n2,11,4\n3,10,3\n")
    ended = subprocess.run(
        f"{sys.executable} -m warpfactor {arguments} {stdout}",
        shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.startswith("warpfactor: error: standard output cannot be written: ")
    assert ended.stderr.count("\n") == 1


@posix
def test_a_standard_error_that_takes_nothing_ends_no_training(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n1,10,5\n2,11,4\n3,10,3\n")
    for number, stderr in enumerate(
        ["2>&-", "2>/dev/full"] if Path("/dev/full").exists() else ["2>&-"]
    ):
        command = f"{sys.executable} -m warpfactor train r.csv --n-epochs 2 -o m{number} {stderr}"
        ended = subprocess.run(
            command, shell=True, cwd=tmp_path, stdout=subprocess.DEVNULL, timeout=60, check=False
        )
        assert ended.returncode == 0
        assert wf.load(tmp_path / f"m{number}").n_epochs_ in (1, 2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_standard_error_that_takes_nothing_ends_no_fit_from_the_disk(tmp_path):
    # With verbose=2 reading has lines of its own.
    ended = run(
        f"""
        import sys
        import warpfactor as wf
        sys.stderr = open("/dev/full", "w")
        ratings = wf.datasets.make_ratings(60, 40, 800, random_state=0).ratings
        model = wf.MatrixFactorization(2, n_epochs=2, verbose=2)
        model.fit([ratings.to_frame("arrow")], scratch={str(tmp_path)!r})
        print(len(model.history_), flush=True)
        import os
        os._exit(0)  # as the interpreter would complain of the full device
    """
    )
    assert ended.returncode == 0 and ended.stdout == "2\n", ended.stderr


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc and asks glibc")
def test_memory_does_not_grow_with_use():
    soak = Path(__file__).parents[1] / "soak" / "soak.py"
    if not soak.exists():
        pytest.skip("a copy of the tests alone")
    command = [
        sys.executable,
        str(soak),
        "--fits",
        "80",
        "--predicts",
        "1600",
        "--saves",
        "80",
        "--rounds",
        "8",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
