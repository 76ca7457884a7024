"""What is told of memory is what is taken; what cannot fit is refused; what fails leaves the process whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf

PROC = Path("/proc/self/status")
linux = pytest.mark.skipif(not PROC.exists(), reason="reads /proc/self/status")
SHAPE = {"n_ratings": 100_000_000, "n_users": 5_000_000, "n_items": 200_000}


def run(code: str, **env: str) -> str:
    """Run a program in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_counts_alone_tell_what_a_fit_takes():
    told = wf.estimate_memory(**SHAPE, n_factors=128, available=16e9)
    assert told.fits is False
    assert told.peak == max(sum(parts.values()) for parts in told.fit.values())
    # Known sizes: 12 bytes a rating and 8 an id; a padded row and a bias of each user and item.
    assert told.fit["epochs"]["ratings"] == 12 * 100_000_000 + 8 * 5_200_000
    assert told.fit["epochs"]["factors and biases"] == 4 * 129 * 5_200_000
    assert told.model["factors and biases"] == 4 * 129 * 5_200_000
    assert told.predict["each pair"] == 12
    # Each of the changes offered does make it fit.
    assert "n_factors=64" in told.smaller
    fewer = wf.estimate_memory(**SHAPE, n_factors=64, available=16e9)
    assert fewer.fits
    assert fewer.peak == told.smaller["n_factors=64"] <= 16e9
    plain = wf.estimate_memory(**SHAPE, n_factors=128, implicit_feedback="none", available=16e9)
    assert plain.fits == ("implicit_feedback='none'" in told.smaller)


def test_an_estimate_prints_as_a_table():
    told = wf.estimate_memory(**SHAPE, n_factors=128, device="cuda", device_memory=24_000_000_000)
    text = repr(told)
    for part in ("preparing", "epochs", "finishing", "factors and biases", "in all", "device"):
        assert part in text
        assert part in told._repr_html_()
    assert "On the device it takes" in told.verdict()
    assert told.device_least < told.device_peak
    assert told.device_available == 24_000_000_000


def test_the_estimator_and_the_ratings_say_the_rest():
    ratings = wf.datasets.make_ratings(300, 200, 5_000, random_state=0).ratings
    estimator = wf.MatrixFactorization(n_factors=20, dtype="float64", optimizer="adam")
    told = wf.estimate_memory(ratings, estimator)
    assert told.fit["epochs"]["optimizer state"] > 2 * 8 * 20 * 500
    assert told.peak == wf.estimate_memory(ratings, estimator, n_factors=20).peak
    assert told.peak < wf.estimate_memory(ratings, estimator, n_factors=40).peak
    assert told.peak < wf.estimate_memory(ratings, estimator, validation_fraction=0.1).peak
    assert told.fits


def test_a_fit_from_disk_is_told_and_offered():
    counts = {"n_ratings": 1_000_000_000, "n_users": 2_000_000, "n_items": 200_000}
    plain = {**counts, "n_factors": 32, "implicit_feedback": "none"}
    whole = wf.estimate_memory(**plain, available=8e9)
    streamed = wf.estimate_memory(**plain, scratch=True, available=8e9)
    assert not whole.fits and streamed.fits
    assert whole.smaller["scratch=FOLDER"] == streamed.peak
    assert "scratch=FOLDER" in whole.verdict()
    assert (
        "ratings" not in streamed.fit["epochs"]
        or streamed.fit["epochs"]["ratings"] == 8 * 2_200_000
    )
    # The bytes that fit itself asks of the disk.
    assert streamed.disk == 1_000_000_000 * 32 and whole.disk == 0
    assert f"{streamed.disk / 1e9:.0f}" in streamed.verdict()
    small = wf.estimate_memory(**plain, scratch=True, buffer=1 << 26)
    assert small.peak < streamed.peak
    # Little memory: a smaller buffer. None: nothing of the kind.
    tight = wf.estimate_memory(**plain, available=streamed.peak - 1)
    assert any(name.startswith("scratch=FOLDER with buffer=") for name in tight.smaller)
    batches = wf.estimate_memory(**plain, batch_size=1000, available=8e9)
    assert not any(name.startswith("scratch") for name in batches.smaller)


def test_ensembles_and_samples_are_told_and_what_would_do_does():
    counts = {"n_ratings": 20_000_000, "n_users": 300_000, "n_items": 30_000}
    sampler = wf.BayesianMatrixFactorization(n_factors=32, n_threads=2)
    ensemble = wf.Ensemble(wf.MatrixFactorization(64, n_threads=2), n_models=8)
    for estimator, rank in ((sampler, 64 * 32), (ensemble, 8 * 64)):
        told = wf.estimate_memory(estimator=estimator, **counts)
        assert told.model["factors and biases"] == 4 * (rank + 1) * 330_000
        short = wf.estimate_memory(estimator=estimator, **counts, available=0.9 * told.peak)
        assert short.fits is False and len(short.smaller) >= 2
        for change, size in short.smaller.items():
            name, value = change.split("=")
            changed = wf.estimate_memory(estimator=estimator, **counts, **{name: eval(value)})
            assert changed.peak == size <= 0.9 * told.peak, change
        assert "epochs" in repr(told)
    # Members at work at a time, each with its copy of the ratings.
    one, two = (
        wf.estimate_memory(estimator=ensemble, **counts, model__n_threads=n).fit["epochs"]
        for n in (1, 2)
    )
    assert two["members at work"] == 2 * one["members at work"]
    assert two["ratings of the members at work"] == 2 * 12 * 20_000_000
    assert wf.estimate_memory(estimator=wf.Ensemble(), **counts, n_models=2).fit["finishing"]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({**SHAPE, "buffer": 1 << 30}, ValueError, "buffer is 1073741824, and is for fits with"),
        ({**SHAPE, "scratch": True, "buffer": 1}, ValueError, "buffer is 1; it must be at least"),
        ({**SHAPE, "scratch": True, "batch_size": 9}, ValueError, "batch_size is 9; it must be 0"),
        (
            {**SHAPE, "scratch": True, "estimator": wf.BayesianMatrixFactorization()},
            ValueError,
            "BayesianMatrixFactorization trains on ratings in memory",
        ),
        (
            {**SHAPE, "estimator": wf.Ensemble(), "model__factors": 3},
            TypeError,
            "model__factors: Ensemble has no such",
        ),
        ({**SHAPE, "estimator": 3}, TypeError, "estimator is a int"),
        ({}, ValueError, "n_ratings is None"),
        ({"n_ratings": 0, "n_users": 1, "n_items": 1}, ValueError, "n_ratings is 0"),
        ({**SHAPE, "n_factors": 0}, ValueError, "n_factors is 0"),
        ({**SHAPE, "factors": 3}, TypeError, "factors: MatrixFactorization has no such"),
        ({"ratings": "r.csv"}, TypeError, "warpfactor.read_ratings"),
    ],
)
def test_what_is_not_known_is_asked_for(given, error, text):
    with pytest.raises(error, match=text):
        wf.estimate_memory(**given)


MEASURED = """
    import ctypes, gc, re, sys
    from pathlib import Path
    import numpy as np
    import warpfactor as wf
    from warpfactor.data.ratings import adopt_ratings

    # No huge pages, which round each large array up, where the system has some at hand: PR_SET_THP_DISABLE.
    ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)
    n, n_users, n_items = 3_000_000, 60_000, 8_000
    rng = np.random.default_rng(0)
    users = rng.integers(0, n_users, n, np.int32)
    items = rng.integers(0, n_items, n, np.int32)
    values = rng.integers(1, 6, n).astype(np.float32)
    ratings = adopt_ratings(users, items, values, np.arange(n_users), np.arange(n_items))

    def status(field):
        text = Path("/proc/self/status").read_text()
        return 1024 * int(re.search(rf"^{field}:\\s+(\\d+) kB$", text, re.M)[1])

    kinds = dict(wf=wf, MF=wf.MatrixFactorization, BMF=wf.BayesianMatrixFactorization, E=wf.Ensemble)
    params = dict(n_factors=24, n_epochs=2, reg=0.02, reg_row=1.0, n_threads=2, random_state=0, verbose=0)
    wf.MatrixFactorization(**params).fit(ratings.take(np.arange(1000)))
    for more in eval(sys.argv[1]):
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free would serve the fit unseen
        Path("/proc/self/clear_refs").write_text("5")
        before = status("VmRSS")
        if isinstance(more, str):
            estimator, scratch = eval(more, kinds), False
        else:
            scratch = more.pop("scratch", False)
            estimator = wf.MatrixFactorization(**params, **more)
        model = estimator.fit(ratings, **({"scratch": "/var/tmp", "buffer": 1 << 25} if scratch else {}))
        taken = status("VmHWM") - before
        told = wf.estimate_memory(ratings, estimator, scratch=scratch, buffer=1 << 25 if scratch else None)
        print(told.peak - told.fit["epochs"]["ratings"], taken)
        del model, estimator
"""


@linux
def test_the_peak_of_a_fit_is_what_was_told():
    # No ensemble: whether its members meet at their peaks is chance.
    settings = [
        {},
        {"implicit_feedback": "none"},
        {"batch_size": 2000},
        {"optimizer": "gd"},
        {"implicit_feedback": "none", "scratch": True},
        "BMF(16, n_samples=6, n_burn_in=6, n_kept=4, n_threads=2, random_state=0, verbose=0)",
    ]
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak cannot be set back here")
    code = MEASURED.replace("sys.argv[1]", repr(repr(settings)))
    # What glibc keeps of freed arrays, where it does not map them, is not the fit's.
    kept = {"MALLOC_MMAP_THRESHOLD_": "131072"}
    for settings_of, line in zip(settings, run(code, **kept).splitlines(), strict=True):
        told, taken = map(int, line.split())
        # Memory that the allocator kept of the fit before counts as taken already: up to a few MB.
        # What of a buffer is not written to is not resident.
        unused = (1 << 25) * (isinstance(settings_of, dict) and settings_of.get("scratch", False))
        assert 0.95 * taken - 4e6 < told, (settings_of, told, taken)
        if not str(settings_of).startswith(
            "E("
        ):  # members that do not meet at their peaks take less
            assert told < 1.15 * taken + 8e6 + unused, (settings_of, told, taken)


REFUSED = """
    import resource
    import numpy as np
    import warpfactor as wf

    ratings = wf.datasets.make_ratings(2_000, 1_000, 20_000, random_state=0).ratings
    small = dict(n_factors=8, n_epochs=2, reg=0.02, reg_row=1.0, random_state=0, verbose=0, n_threads=2)
    before = wf.MatrixFactorization(**small).fit(ratings)
    wide = wf.Ratings(ratings.users, ratings.items, ratings.values, np.arange(400_000), np.arange(300_000))
    used = 4096 * int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + 900_000_000, -1))
    try:
        wf.MatrixFactorization(**small | {"n_factors": 512}).fit(wide)
    except MemoryError as error:
        print(error)
    after = wf.MatrixFactorization(**small).fit(ratings)
    print(np.array_equal(before.user_factors_, after.user_factors_))
"""


@linux
def test_a_fit_that_cannot_fit_is_refused_with_what_would_do():
    message, same = run(REFUSED).splitlines()
    assert message.startswith("the fit takes at least ")
    assert "RLIMIT_AS" in message
    assert "n_factors=" in message
    assert "WARPFACTOR_CHECK_MEMORY=0" in message
    assert same == "True"
    # Where it may try, the allocation fails, and the process is whole.
    message, same = run(REFUSED, WARPFACTOR_CHECK_MEMORY="0").splitlines()
    assert message.startswith("out of memory in the fit")
    assert same == "True"


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
static _Atomic long calls, failing;
static void *(*real_malloc)(size_t), *(*real_realloc)(void *, size_t), *(*real_calloc)(size_t, size_t);
static char early[65536];
static size_t used;
void fail_at(long n) { atomic_store(&calls, 0); atomic_store(&failing, n); }
long allocations(void) { return atomic_load(&calls); }
/* What the core asks for, itself or by operator new: other libraries answer for themselves. Small objects are not
   tried. */
static int fails(size_t size, const void *caller) {
  long n = atomic_load(&failing);
  Dl_info from;
  if (size < 512 || n == 0 || !dladdr(caller, &from) || !from.dli_fname) return 0;
  if (!strstr(from.dli_fname, "/_core.") && !strstr(from.dli_fname, "libstdc++")) return 0;
  if (atomic_fetch_add(&calls, 1) + 1 != n) return 0;
  errno = ENOMEM;
  return 1;
}
void *malloc(size_t size) {
  if (!real_malloc) real_malloc = dlsym(RTLD_NEXT, "malloc");
  return fails(size, __builtin_return_address(0)) ? NULL : real_malloc(size);
}
void *realloc(void *at, size_t size) {
  if (!real_realloc) real_realloc = dlsym(RTLD_NEXT, "realloc");
  return fails(size, __builtin_return_address(0)) ? NULL : real_realloc(at, size);
}
void *calloc(size_t n, size_t size) {
  if (!real_calloc) { /* dlsym itself calls calloc */
    static int asked;
    if (asked) { void *at = early + used; used += (n * size + 15) / 16 * 16; return at; }
    asked = 1;
    real_calloc = dlsym(RTLD_NEXT, "calloc");
  }
  return fails(n * size, __builtin_return_address(0)) ? NULL : real_calloc(n, size);
}
"""

FAILING = """
    import ctypes, os
    import numpy as np
    import warpfactor as wf

    shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
    shim.fail_at.argtypes, shim.allocations.restype = [ctypes.c_long], ctypes.c_long
    ratings = wf.datasets.make_ratings(600, 300, 6_000, random_state=0).ratings
    own = dict(n_factors=12, n_epochs=2, reg=0.02, reg_row=1.0, random_state=0, verbose=0, n_threads=2)
    model = wf.MatrixFactorization(**own).fit(ratings).model_
    pairs = np.column_stack(ratings.to_arrays()[:2])

    def sampled():
        sampler = wf.BayesianMatrixFactorization(n_factors=4, n_samples=3, n_burn_in=1, random_state=0, verbose=0)
        return sampler.fit(ratings).user_factors_

    calls = {
        "fit": lambda: wf.MatrixFactorization(**own).fit(ratings, validation=0.1).user_factors_,
        "batches": lambda: wf.MatrixFactorization(batch_size=100, **own).fit(ratings).user_factors_,
        "sample": sampled,
        "predict": lambda: model.predict(pairs),
        "recommend": lambda: model.recommend(model.user_ids_, n=5)[1],
        "fold_in": lambda: model.fold_in_users(ratings.take(np.arange(500))).user_factors_
        if hasattr(model, "fold_in_users") else np.empty(0),
    }
    for name, call in calls.items():
        expected = call()
        shim.fail_at(1 << 40)
        call()
        count = shim.allocations()
        seen = set()
        for n in range(1, count + 1, max(1, count // 25)):
            shim.fail_at(n)
            try:
                call()
                ended = "returned"
            except BaseException as error:
                ended = type(error).__name__
            shim.fail_at(0)
            seen.add(ended)
        same = np.array_equal(expected, call(), equal_nan=True)
        print(name, count, same, *sorted(seen), sep=",")
"""


@linux
def test_a_failed_allocation_is_a_memory_error_and_leaves_the_process_whole(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler for the allocator that fails")
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", str(source), "-o", str(shim), "-ldl"], check=True
    )
    for line in run(FAILING, LD_PRELOAD=str(shim)).splitlines():
        _, count, same, *ended = line.split(",")
        assert int(count) > 0, line
        assert same == "True", line
        # "returned": with threads there may be fewer allocations another time, or a cache did without.
        assert set(ended) <= {"MemoryError", "returned"}, line
        assert "MemoryError" in ended, line


def test_repeats_are_dropped_as_by_a_dictionary():
    rng = np.random.default_rng(0)
    for n, n_users, n_items in ((1, 1, 1), (300, 5, 7), (5_000, 2_000, 900)):
        users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
        values = rng.integers(1, 6, n).astype(np.float32)
        ratings = wf.Ratings(users, items, values, np.arange(n_users), np.arange(n_items))
        at: dict[tuple[int, int], list[int]] = {}
        for row, pair in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
            at.setdefault(pair, []).append(row)
        for keep, chosen in (("first", 0), ("last", -1), ("mean", -1)):
            rows = sorted(row[chosen] for row in at.values())
            kept = ratings.drop_duplicates(keep)
            np.testing.assert_array_equal(kept.users, users[rows])
            np.testing.assert_array_equal(kept.items, items[rows])
            expected = values[rows]
            if keep == "mean":
                mean = {
                    row[-1]: np.float32(values[row].astype(float).mean()) for row in at.values()
                }
                expected = np.array([mean[row] for row in rows], np.float32)
            np.testing.assert_array_equal(kept.values, expected)


READING = """
    import os
    # One thread of each kind, which reads a file before memory is short: where a new one gets no thread-local
    # data, the C library ends the process.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import resource
    import sys
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv, feather, parquet
    import warpfactor as wf

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    folder, n = sys.argv[1], 700_000
    rng = np.random.default_rng(0)
    table = pa.table({"user": rng.integers(0, 10**9, n), "item": rng.integers(0, 10**9, n), "rating": rng.random(n)})
    parquet.write_table(table, f"{folder}/0.parquet", use_dictionary=False)
    parquet.write_table(table, f"{folder}/1.parquet", use_dictionary=False)
    feather.write_feather(table, f"{folder}/0.feather", compression="zstd")
    csv.write_csv(table, f"{folder}/0.csv")
    few = table.slice(0, 1000)
    sources = [["0.parquet"], ["0.parquet", "1.parquet"], ["0.feather"], ["0.csv"]]
    for names in sources:  # what reading loads and keeps
        for name in names:
            writer = {"parquet": parquet.write_table, "feather": feather.write_feather, "csv": csv.write_csv}
            writer[name[2:]](few, f"{folder}/few.{name[2:]}")
        wf.read_ratings(f"{folder}/few.{names[0][2:]}")
    del table, few
    pa.default_memory_pool().release_unused()
    used = 4096 * int(open("/proc/self/statm").read().split()[0])
    for names in sources:
        for more in (3, 10, 20, 30):
            resource.setrlimit(resource.RLIMIT_AS, (used + more * 1_000_000, -1))
            paths = [f"{folder}/{name}" for name in names]
            try:
                wf.read_ratings(paths if len(paths) > 1 else paths[0])
                ended = "returned"
            except BaseException as error:
                ended = f"{type(error).__name__} {error}"
            resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
            print(names[0], more, ended.replace(chr(10), " "), sep="|")
"""


@linux
def test_too_little_memory_while_reading_is_a_memory_error_that_names_the_file(tmp_path):
    code = READING.replace("sys.argv[1]", repr(str(tmp_path)))
    for _ in range(5):
        try:
            out = run(code, ARROW_DEFAULT_MEMORY_POOL="system")
            break
        except AssertionError as error:
            # So the C library ends a process, whoever started the thread.
            if "cannot allocate memory for thread-local data" not in str(error):
                raise
    else:
        pytest.skip("the C library ended the process each time, as a new thread got no memory")
    lines = [line.split("|", 2) for line in out.splitlines()]
    assert len(lines) == 16
    for name, more, ended in lines:
        assert ended == "returned" or ended.startswith("MemoryError "), (name, more, ended)
        assert ended == "returned" or name in ended or str(tmp_path) in ended, (name, more, ended)
    assert {name for name, _, ended in lines if ended != "returned"} == {name for name, *_ in lines}
