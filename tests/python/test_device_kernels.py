"""Answers on a CUDA device without one: a CuPy that does nothing but hold arrays, and copies that come late.

The package sees `LateCupy` in CuPy's place, whose arrays lie on the host and cannot compute: any operation of arrays,
which CuPy would compile a kernel for, fails. Copies are done when somebody waits for them and no sooner, so that a
missing wait gives wrong answers. The kernels are the twin's where the core is a twin build, else `host_kernels.py`.
"""

from __future__ import annotations

import ctypes
import re
import sys
import types
from contextlib import nullcontext

import numpy as np
import pytest

import host_kernels
import warpfactor as wf
from warpfactor import _core
from warpfactor.serving import cuda, device_flow, device_kernels


class Event:
    def __init__(self, stream):
        self.stream, self.number = stream, stream.n_submitted

    def synchronize(self):
        self.stream.run(self.number)


class Stream:
    """A stream whose work is done when somebody waits for it."""

    def __init__(self, non_blocking=False):
        self.work, self.n_submitted, self.n_done, self.ptr = [], 0, 0, id(self)

    def submit(self, work):
        self.work.append(work)
        self.n_submitted += 1

    def run(self, number):
        while self.n_done < number:
            self.n_done += 1
            self.work.pop(0)()

    def record(self):
        return Event(self)

    def wait_event(self, event):
        self.submit(event.synchronize)

    def synchronize(self):
        self.run(self.n_submitted)


class Current(Stream):
    """The stream of the kernels, which run at once, and with them what was submitted before."""

    def submit(self, work):
        super().submit(work)
        self.run(self.n_submitted)


class Pointer:
    def __init__(self, array, offset=0):
        self.array, self.offset = array, offset
        self.ptr = array.ctypes.data + offset

    def __add__(self, offset):
        return Pointer(self.array, self.offset + offset)

    def copy_from_host_async(self, address, n_bytes, stream):
        stream.submit(lambda: ctypes.memmove(self.ptr, address, n_bytes))

    def copy_to_host_async(self, address, n_bytes, stream):
        stream.submit(lambda: ctypes.memmove(address, self.ptr, n_bytes))


class Held:
    """An array that can be held, cut and copied, and that is all."""

    def __init__(self, array):
        self._array = array
        for name in ("shape", "dtype", "strides", "ndim", "nbytes", "itemsize"):
            setattr(self, name, getattr(array, name))
        self.data = Pointer(array)

    def __len__(self):
        return len(self._array)

    def __getitem__(self, at):
        parts = at if isinstance(at, tuple) else (at,)
        assert all(isinstance(part, (int, slice)) for part in parts), "a kernel would gather"
        return Held(self._array[at])

    def reshape(self, *shape):
        view = self._array.reshape(*shape)
        assert np.shares_memory(view, self._array) or not view.size, "a kernel would copy"
        return Held(view)

    @property
    def __cuda_array_interface__(self):
        return {**self._array.__array_interface__, "version": 3, "stream": None}

    def __bool__(self):
        raise AssertionError("a kernel would compute")

    # Without these, == would compare identities.
    def __eq__(self, other):
        raise AssertionError("a kernel would compute")

    __hash__ = None


class LateCupy(types.ModuleType):
    """Allocations, copies and streams of CuPy."""

    __version__ = "14.0"
    ndarray = Held

    def __init__(self):
        super().__init__("cupy")
        self.current = Current()
        self.pinned = []  # kept, so that nothing else lies where a late copy goes
        self.cuda = types.SimpleNamespace(
            Device=lambda index: nullcontext(),
            Stream=Stream,
            get_current_stream=lambda: self.current,
            alloc_pinned_memory=self.alloc_pinned_memory,
            memory=types.SimpleNamespace(OutOfMemoryError=MemoryError),
            runtime=types.SimpleNamespace(
                getDeviceCount=lambda: 1,
                memGetInfo=lambda: (1 << 30, 1 << 30),
                CUDARuntimeError=RuntimeError,
            ),
        )

    def alloc_pinned_memory(self, n_bytes):
        self.pinned.append(np.full(n_bytes + 64, 0x5A, np.uint8))
        return memoryview(self.pinned[-1])

    @staticmethod
    def empty(shape, dtype=float):
        array = np.empty(shape, dtype)
        array.view(np.uint8).reshape(-1)[:] = 0x5A
        return Held(array)

    @staticmethod
    def asarray(values):
        return values if isinstance(values, Held) else Held(np.array(values))

    @staticmethod
    def asnumpy(values):
        return values._array.copy()

    @staticmethod
    def get_default_memory_pool():
        return types.SimpleNamespace(free_bytes=lambda: 0)


@pytest.fixture
def cupy(monkeypatch):
    module = LateCupy()
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, True, ""))
    if not _core.cuda_is_twin():
        for name, function in host_kernels.KERNELS.items():
            monkeypatch.setattr(_core, name, function)
    monkeypatch.setattr(_core, "cuda_is_twin", lambda: False)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module


@pytest.fixture(scope="module")
def data():
    return wf.datasets.make_ratings(300, 90, 4000, random_state=0).ratings


@pytest.fixture(params=["consecutive", "gaps", "strings"])
def ratings(data, request):
    if request.param == "consecutive":
        return data
    if request.param == "gaps":
        return wf.Ratings.from_arrays(data.users * 7 - 50, data.items * 3 + 5, data.values)
    users, items = (
        np.char.add(mark, codes.astype(str))
        for mark, codes in (("u", data.users), ("i", data.items))
    )
    return wf.Ratings.from_arrays(users, items, data.values)


@pytest.fixture
def parts(monkeypatch):
    """Parts that are small enough for several to be under way."""
    monkeypatch.setattr(cuda, "_PAIRS_AT_ONCE", 70)
    monkeypatch.setattr(device_kernels, "_LISTS_AT_ONCE", 40)
    monkeypatch.setattr(device_flow, "_STAGED_BYTES", 1000)
    monkeypatch.setattr(device_flow, "_PINNED_BYTES", 20_000)


def fitted_on(ratings, **params):
    model = wf.MatrixFactorization(n_factors=8, n_epochs=3, random_state=0, verbose=0, **params)
    return model.fit(ratings).model_


def host(values):
    return values._array if isinstance(values, Held) else values


def assert_same(model, call, **params):
    here = call(model)
    there = call(model.with_options(device="cuda", **params))
    here, there = (each if isinstance(each, tuple) else (each,) for each in (here, there))
    for mine, theirs in zip(there, here, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        if mine.dtype.kind == "f":
            # Sums of 9 terms up to about 5 in another order.
            np.testing.assert_allclose(host(mine), theirs, rtol=1e-5, atol=1e-5)
    if len(here) == 2 and here[0].size:
        assert (host(there[0]) == here[0]).mean() > 0.97  # rounding may swap neighbours


def extended(ids):
    """Ids of a vocabulary with one that is not of it."""
    return np.append(ids, "nobody" if ids.dtype == object else np.int64(99_999))


@pytest.mark.parametrize("unknown", ["mean", "nan"])
def test_answers_are_those_of_the_cpu_and_compute_with_no_arrays(cupy, ratings, parts, unknown):
    model = fitted_on(ratings, unknown=unknown)
    users, items = extended(model.user_ids_), extended(model.item_ids_)
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(users), 501), rng.integers(0, len(items), 501)
    X = np.column_stack([users[chosen[0]], items[chosen[1]]])
    assert_same(model, lambda m: m.predict(X))
    assert_same(model, lambda m: m.predict(X[:3]))
    assert_same(model, lambda m: m.predict(X[::-2]))
    assert_same(model, lambda m: m.predict(ratings))
    everybody = users if unknown == "mean" else model.user_ids_
    some = model.item_ids_[::2]
    lists = [model.item_ids_[at % 7 :: 5].tolist() for at in range(len(everybody))]
    for how in (
        {},
        {"n": 1},
        {"exclude_seen": False, "n": 33},
        {"confidence": 1.5},
        {"exploration": 0.5, "n": 90},
        {"exploration": 0.5, "random_state": 3},
        {"exploration": 0.5, "random_state": 4, "items": lists},
        {"items": some, "exclude": some[:3], "min_ratings": 5},
        {"items": lists},
        {"items": lists, "exclude": lists[::-1]},
        {"exclude": lists, "n": [1 + at % 9 for at in range(len(everybody))]},
    ):
        assert_same(model, lambda m, how=how: m.recommend(everybody, **how))
    assert_same(model, lambda m: m.recommend(users[0], n=4))
    assert_same(model, lambda m: m.similar_items(model.item_ids_, n=7))
    assert_same(model, lambda m: m.similar_users(model.user_ids_, n=7))
    assert_same(model, lambda m: m.recommend(everybody[:0], n=4))
    assert_same(model, lambda m: m.score_items(everybody))
    assert_same(model, lambda m: m.score_items(everybody[:5], items if unknown == "nan" else some))
    assert_same(model, lambda m: m.score_items(users[0], items[0]))


@pytest.mark.parametrize("loss", ["logistic", "poisson", "squared"])
@pytest.mark.parametrize("biases", [True, False])
def test_scores_become_predictions_in_the_kernels(cupy, data, parts, loss, biases):
    values = data.values if loss != "logistic" else (data.values > 3).astype(np.float32)
    ratings = wf.Ratings(data.users, data.items, values, data.user_ids, data.item_ids)
    for dtype in ("float32", "float64"):
        model = fitted_on(ratings, loss=loss, biases=biases, dtype=dtype)
        pairs = [(3, 4), (99_999, 4), (3, 99_999), (99_999, 99_998)]
        assert_same(model, lambda m: m.predict(np.array(pairs)))  # noqa: B023
        assert_same(model, lambda m: m.recommend([5, 99_999, 7], n=20))


def test_arrays_of_the_device_stay_there(cupy, data, parts):
    gaps = wf.Ratings.from_arrays(data.users * 7 - 50, data.items * 3 + 5, data.values)
    for ratings in (data, gaps):
        model = fitted_on(ratings)
        there = model.with_options(device="cuda")
        users, items = ratings.user_ids, ratings.item_ids
        X = np.column_stack([np.resize(users, 777), np.resize(items, 777)])
        wide = Held(np.ascontiguousarray(np.repeat(X, 2, axis=1)[::-1].astype(np.int32)))[::-1, ::2]
        for given in (Held(X), wide):
            out = there.predict(given, output="cupy")
            assert isinstance(out, Held)
            np.testing.assert_allclose(host(out), model.predict(X), rtol=1e-5)
            np.testing.assert_allclose(there.predict(given), model.predict(X), rtol=1e-5)
        for asked in (
            users,
            Held(users),
            Held(users.astype(np.uint16) if users[0] >= 0 else users),
        ):
            ids, scores = there.recommend(asked, n=9, output="cupy")
            expected = model.recommend(users, n=9)
            assert isinstance(ids, Held) and isinstance(scores, Held)
            assert (host(ids) == expected[0]).mean() > 0.97
            np.testing.assert_allclose(host(scores), expected[1], rtol=1e-5)
        ids, _ = there.similar_items(Held(items), n=5, output="cupy")
        assert (host(ids) == model.similar_items(items, n=5)[0]).mean() > 0.97


def test_ids_are_looked_up_once(cupy, data, monkeypatch):
    model = fitted_on(data).with_options(device="cuda")
    model.recommend(data.user_ids)
    asked = []
    find = _core.find_codes

    def counted(**how):
        asked.append(how["n"])
        find(**how)

    monkeypatch.setattr(_core, "find_codes", counted)
    monkeypatch.setattr(device_kernels, "_LISTS_AT_ONCE", 40)
    monkeypatch.setattr(cuda, "find_ids", None)
    monkeypatch.setattr(cuda, "pairs_to_codes", None)
    model.recommend(data.user_ids)
    assert asked == [len(data.user_ids)]
    asked.clear()
    model.predict(np.column_stack([data.user_ids[:90], data.item_ids[:90]]))
    assert asked == [90, 90]


def test_unknown_ids_that_the_device_meets_are_named_as_by_the_cpu(cupy, data, parts):
    model = fitted_on(data, unknown="raise")
    X = np.column_stack([np.resize(data.user_ids, 300), np.resize(data.item_ids, 300)])
    X[123] = 77_777, 3
    X[223] = 5, 88_888
    for call in (
        lambda m: m.predict(X),
        lambda m: m.recommend(X[:, 0]),
        lambda m: m.similar_items(X[:, 1]),
    ):
        said = []
        for place in ("cpu", "cuda"):
            with pytest.raises(
                ValueError, match=r"without training ratings|has no training"
            ) as error:
                call(model.with_options(device=place))
            said.append(str(error.value))
        assert said[0] == said[1]


def test_few_lists_of_many_items_are_searched_in_parts(cupy, monkeypatch):
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 70, 9000), rng.integers(0, 3000, 9000)
    # Equal scores in all parts: of equals the lower item comes first.
    P, Q = rng.integers(-2, 3, (70, 3)), rng.integers(-2, 3, (3000, 3))
    shape = len(np.unique(users)), len(np.unique(items))
    model = (
        wf.MatrixFactorization(
            n_factors=3, n_epochs=0, biases=False, verbose=0, init=(P[: shape[0]], Q[: shape[1]])
        )
        .fit(np.column_stack([users, items]), np.ones(9000))
        .model_
    )
    splits = []
    search = _core.search_items

    def counted(**how):
        splits.append(how["n_splits"])
        search(**how)

    monkeypatch.setattr(_core, "search_items", counted)
    there = model.with_options(device="cuda")
    for n in (1, 10, 33, 300):
        for asked in ([3], list(range(70))):
            mine, theirs = there.recommend(asked, n=n), model.recommend(asked, n=n)
            np.testing.assert_array_equal(mine[0], theirs[0])
            np.testing.assert_allclose(mine[1], theirs[1], rtol=1e-6)
    assert min(splits) > 1
    monkeypatch.setattr(device_kernels, "_PARTS_BYTES", 0)
    splits.clear()
    np.testing.assert_array_equal(
        there.recommend(list(range(70)))[0], model.recommend(list(range(70)))[0]
    )
    assert splits == [2]


def test_a_budget_of_the_model_and_a_list_is_enough(cupy, data):
    model = fitted_on(data)
    with pytest.raises(wf.CudaError, match="recommend needs at least") as error:
        model.with_options(device="cuda", device_memory=1).recommend(data.user_ids)
    least = int(re.search(r"needs at least ([\d,]+) bytes", str(error.value))[1].replace(",", ""))
    with pytest.warns(UserWarning, match="there is room for 1 of 300 rows at a time"):
        few = model.with_options(device="cuda", device_memory=least).recommend(data.user_ids)
    np.testing.assert_allclose(few[1], model.recommend(data.user_ids)[1], rtol=1e-5)
    # Scores are held nowhere: a list takes what is put out of it, whatever the number of items.
    said = re.search(r"([\d,]+) for a tile of one row", str(error.value))[1]
    assert int(said.replace(",", "")) == 10 * (2 * (8 + 4) + 4 + 4)


def test_array_code_fails_here(cupy, data):
    # What the other tests rest on.
    there = fitted_on(data).with_options(device="cuda")
    for call in (
        lambda: there.recommend([[1, 2]], group="mean"),
        lambda: there.recommend([1], diversity=0.5),
    ):
        with pytest.raises((AssertionError, AttributeError, TypeError)):
            call()
