"""Prediction on a CUDA device: what the CPU answers, for any input, budget and output; and errors.

Where there is no device, the tests run on a twin: NumPy in CuPy's place, and `host_kernels.py` in place of the
core's kernels (unless the core is itself the twin build).
"""

from __future__ import annotations

import ctypes
import pickle
import re
import sys
import types
import warnings
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone

import host_kernels
import warpfactor as wf
from warpfactor import _core, exchange
from warpfactor.exchange import INSTALL_CUPY
from warpfactor.serving import cuda, device, device_kernels, ridge


def best_items_on_host(
    scores, n_rows, n_cols, row_stride, n, items_out, scores_out, is_double, stream
):
    """`_core.best_items` on addresses of the host."""

    def array_at(address, kind, shape):
        return np.ctypeslib.as_array((kind * int(np.prod(shape))).from_address(address)).reshape(
            shape
        )

    real = ctypes.c_double if is_double else ctypes.c_float
    rows = array_at(scores, real, (n_rows, row_stride))[:, :n_cols]
    items = array_at(items_out, ctypes.c_int32, (n_rows, n))
    best = array_at(scores_out, real, (n_rows, n))
    assert 1 <= n <= _core.most_selected
    for row, item_row, best_row in zip(rows, items, best, strict=True):
        order = np.argsort(-row, kind="stable")
        order = order[row[order] > -np.inf][:n]
        item_row[:], best_row[:] = -1, np.nan
        item_row[: len(order)], best_row[: len(order)] = order, row[order]


@pytest.fixture
def twin(monkeypatch):
    if not _core.cuda_is_twin():
        monkeypatch.setattr(_core, "cuda_is_twin", lambda: True)
        monkeypatch.setattr(_core, "cuda_status", lambda: (True, True, ""))
        monkeypatch.setattr(_core, "best_items", best_items_on_host)
        for name, function in host_kernels.KERNELS.items():
            monkeypatch.setattr(_core, name, function)
    return np


@pytest.fixture(params=["twin", "gpu"])
def xp(request):
    """The array module: NumPy for the twin, CuPy where there is a device."""
    if request.param == "twin":
        return request.getfixturevalue("twin")
    if _core.cuda_is_twin() or device.prediction_problem():
        pytest.skip(f"no GPU: {device.prediction_problem() or 'this is the twin build'}")
    return exchange.array_module()


class Foreign:
    """An array of another library that speaks ``__cuda_array_interface__`` only."""

    def __init__(self, array, stream=None):
        self.array = array
        kept = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": kept["typestr"],
            "data": kept["data"],
            "strides": array.strides,
            "version": 3,
            "stream": stream,
        }


class Capsule:
    """An array of another library that speaks DLPack only."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **how):
        return self.array.__dlpack__(**how if not isinstance(self.array, np.ndarray) else {})


def host(array):
    return array if isinstance(array, np.ndarray) else array.get()


def model_of(**params):
    return wf.MatrixFactorization(
        **{"random_state": 0, "verbose": 0, "n_factors": 5, "n_epochs": 4, **params}
    )


@pytest.fixture(scope="module")
def data():
    return wf.datasets.make_ratings(60, 45, 900, random_state=0).ratings


@pytest.fixture(scope="module")
def fitted(data):
    return model_of().fit(data)


@pytest.fixture
def model(fitted):
    return pickle.loads(pickle.dumps(fitted))


@pytest.fixture
def gappy(data):
    """Integer ids with gaps, so that they are searched for."""
    return wf.Ratings.from_arrays(data.users * 7 - 50, data.items * 3 + 5, data.values)


def copies_of(model):
    """What predictions of an estimator or a Model have left on a device."""
    return getattr(model, "model_", model)._answers.copies


def on(model, place, call, **params):
    with warnings.catch_warnings():  # tiles of a row are what many tests ask for
        warnings.filterwarnings("ignore", ".* is slow on CUDA device 0: there is room for")
        return call(model.set_params(device=place, **{"device_memory": None, **params}))


def assert_same_predictions(model, X, **params):
    on_cpu = on(model, "cpu", lambda m: m.predict(X))
    on_device = on(model, "cuda", lambda m: m.predict(X), **params)
    assert isinstance(on_device, np.ndarray) and on_device.dtype == on_cpu.dtype
    np.testing.assert_allclose(on_device, on_cpu, rtol=1e-5, atol=1e-5)


def assert_same_lists(on_device, on_cpu):
    (ids, scores), (cpu_ids, cpu_scores) = on_device, on_cpu
    assert ids.shape == cpu_ids.shape and ids.dtype == cpu_ids.dtype
    assert scores.dtype == cpu_scores.dtype
    np.testing.assert_allclose(scores, cpu_scores, rtol=1e-5, atol=1e-5)
    # Another order of summation may swap neighbours whose scores agree to rounding.
    near = np.zeros(scores.shape, bool)
    close = np.abs(np.diff(cpu_scores)) <= 1e-5 * (1 + np.abs(cpu_scores[..., 1:]))
    near[..., 1:] |= close
    near[..., :-1] |= close
    same = ids == cpu_ids
    assert (same | near).all()
    assert same.mean() > 0.9


def assert_same_recommendations(model, users, n=10, exclude_seen=True, *, confidence=0.0, **params):
    def call(m):
        return m.recommend(users, n, exclude_seen=exclude_seen, confidence=confidence)

    on_cpu = on(model, "cpu", call)
    assert_same_lists(on(model, "cuda", call, **params), on_cpu)


def assert_same_neighbours(model, items, n=10, **params):
    on_cpu = on(model, "cpu", lambda m: m.similar_items(items, n))
    assert_same_lists(on(model, "cuda", lambda m: m.similar_items(items, n), **params), on_cpu)


def every_pair(data, extra=99_999):
    users, items = np.append(data.user_ids, extra), np.append(data.item_ids, extra)
    return np.stack(np.meshgrid(users, items), -1).reshape(-1, 2)


def enough_memory(model, call):
    """The smallest `device_memory` for all that a call does, one thing after the other."""
    limit = 1
    while True:
        try:
            limit = least_memory(model, call, limit)
        except pytest.fail.Exception:  # it did not fail
            return limit


def least_memory(model, call, tried=1):
    """The smallest `device_memory` that a call takes, by its own error message."""
    with pytest.raises(wf.CudaError) as error:
        on(model, "cuda", call, device_memory=tried)
    said = re.search(
        r"needs at least ([\d,]+) bytes.*device_memory is [\d,]+: raise it", str(error.value)
    )
    assert said, error.value
    return int(said[1].replace(",", ""))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("biases", [True, False])
def test_predictions_are_those_of_the_cpu(xp, data, dtype, biases):
    model = model_of(dtype=dtype, biases=biases).fit(data)
    X = every_pair(data)
    assert_same_predictions(model, X)
    assert_same_predictions(model, data)
    assert_same_predictions(model, X.tolist())
    assert_same_predictions(model, np.full((60, 45), 1.0))
    assert_same_predictions(model, X[:0])
    assert_same_recommendations(model, [*data.user_ids, 99_999])
    assert_same_recommendations(model, data.user_ids, exclude_seen=False)
    assert_same_recommendations(model, [*data.user_ids, 99_999], confidence=3)
    assert_same_neighbours(model, data.item_ids)


@pytest.mark.parametrize(
    ("params", "values"),
    [
        ({"loss": "logistic"}, [0, 1]),
        ({"loss": "logistic"}, [-1, 1]),
        ({"loss": "squared_hinge"}, [-1, 1]),
        ({"loss": "poisson"}, None),
        ({"nonnegative": True}, None),
        ({"nonnegative": True, "biases": False}, None),
    ],
)
def test_losses_with_links_and_start_biases(xp, data, params, values):
    y = data.values if values is None else np.where(data.values > 3.5, *values[::-1])
    ratings = wf.Ratings(data.users, data.items, y, data.user_ids, data.item_ids)
    model = model_of(**params).fit(ratings)
    assert_same_predictions(model, every_pair(data))
    for confidence in (0, 1.5):
        assert_same_recommendations(model, [*data.user_ids, 99_999], confidence=confidence)


def test_what_lists_are_chosen_from_and_how(xp, model, data):
    users, some = [*data.user_ids, 99_999], data.item_ids[::2]
    for how in (
        {"items": some, "exclude": some[:4], "min_ratings": 12},
        {"items": np.isin(model.item_ids_, some)},
        {"exploration": 1.5, "n": [1 + n % 9 for n in range(len(users))]},
        {"confidence": 1.5, "items": []},
    ):
        lists = [
            on(model, where, lambda m, how=how: m.recommend(users, **how))
            for where in ("cuda", "cpu")
        ]
        assert_same_lists(*lists)


@pytest.mark.parametrize("memory", [None, "tight"])
@pytest.mark.parametrize("confidence", [0, 1.5])
def test_lists_of_each_user_and_of_groups(xp, model, data, confidence, memory):
    rng = np.random.default_rng(0)
    users = [*data.user_ids, 99_999]
    lists = [
        rng.choice(model.item_ids_, rng.integers(0, 30)).tolist() + [777] * (n % 2)
        for n in range(len(users))
    ]
    groups = [[0, 1, 2], [99_999], [3, 99_999], [4], list(range(5, 30)), [99_999, 99_998]]
    for whom, how in (
        (users, {"items": lists}),
        (users, {"exclude": lists, "exclude_seen": False}),
        (users, {"items": lists, "exclude": lists[::-1], "min_ratings": 10}),
        (users[:3], {"items": np.tile(np.arange(45) % 2 == 0, (3, 1))}),
        (users, {"items": [[]] * len(users)}),
        (groups, {"group": "mean"}),
        (groups, {"group": "min", "n": [3, 1, 2, 9, 45, 5]}),
        (groups, {"group": "max", "exclude_seen": False}),
        (groups, {"group": "mean", "items": lists[: len(groups)], "exclude": [1, 2]}),
        ([4, 7], {"group": "min"}),
    ):

        def call(m, whom=whom, how=how):
            return m.recommend(whom, confidence=confidence, **how)

        limit = None if memory is None else least_memory(model, call) + 1
        assert_same_lists(on(model, "cuda", call, device_memory=limit), on(model, "cpu", call))


@pytest.mark.parametrize("share", [0.2, 1.0])
def test_diverse_lists(xp, model, data, share):
    users = [*data.user_ids, 99_999]
    for how in (
        {},
        {"n": 4},
        {"n": 45},
        {"items": data.item_ids[:7]},
        {"items": data.item_ids[:1]},
        {"items": [[int(user) % 45] for user in users]},
        {"exploration": 1.0},
    ):

        def call(m, how=how):
            return m.recommend(users, diversity=share, **how)

        (ids, scores), (cpu_ids, cpu_scores) = on(model, "cuda", call), on(model, "cpu", call)
        same = (ids == cpu_ids).all(axis=1)
        # Two choices of nearly the same worth may change places, and with them all that follow.
        assert same.mean() > 0.95
        np.testing.assert_allclose(scores[same], cpu_scores[same], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_draws_are_those_of_the_cpu(xp, data, dtype):
    model = model_of(dtype=dtype).fit(data)
    for seed in (0, 2**32 - 1):

        def call(m, seed=seed):
            users = [*data.user_ids, 99_999]
            return m.recommend(users, exploration=2.0, random_state=seed)

        assert_same_lists(on(model, "cuda", call), on(model, "cpu", call))
    groups = [[1, 2], [3, 99_999]]
    lists = [
        on(model, where, lambda m: m.recommend(groups, group="mean", exploration=1, random_state=3))
        for where in ("cuda", "cpu")
    ]
    assert_same_lists(*lists)


def rows_of(model):
    """Factors and biases of both sides, those of users first."""
    return [
        np.column_stack([getattr(model, f"{side}_factors_"), getattr(model, f"{side}_biases_")])
        for side in ("user", "item")
    ]


def assert_same_rows(mine, theirs, dtype):
    # The solution's error is at most the condition of a row's matrix, below 1e4 here, times that of its elements: sums
    # of up to a hundred products.
    tolerance = 1e4 * 100 * np.finfo(dtype).eps if dtype == "float64" else 2e-3
    for one, other in zip(rows_of(mine), rows_of(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


FOLDED = [
    # More factors than most rows have ratings, and fewer.
    {"n_factors": 40, "dtype": "float64"},
    {"n_factors": 3, "dtype": "float64"},
    {"n_factors": 8, "dtype": "float32"},
    {"n_factors": 8, "dtype": "float64", "biases": False},
    {"n_factors": 8, "dtype": "float64", "implicit_feedback": "none", "reg": (0.01, 0.2)},
    {"n_factors": 8, "dtype": "float64", "implicit_feedback": "items", "reg_row": 0},
]


@pytest.mark.parametrize("memory", [None, "tight"])
@pytest.mark.parametrize("params", FOLDED)
def test_rows_are_folded_in_as_on_the_cpu(xp, data, params, memory):
    model = model_of(**params).fit(data.take(data.users >= 9).k_core()).model_
    mine = wf.Ratings.from_arrays(
        [
            *data.user_ids[data.users[data.users < 20]],
            5,
            5,
        ],  # new users and known ones, one pair three times
        [*data.item_ids[data.items[data.users < 20]], 3, 3],
        [*data.values[data.users < 20], 1.5, 4],
    )
    mine = mine.take(np.isin(mine.item_ids[mine.items], model.item_ids_)).k_core()
    new = np.where(data.items < 6, data.items + 1000, data.items)
    theirs = wf.Ratings(data.users, new, data.values, data.user_ids, np.arange(1006))
    theirs = theirs.take((data.users >= 9) & (data.items < 6)).k_core()
    for call in (
        lambda m: m.fold_in_users(mine),
        lambda m: m.fold_in_items(theirs),
        lambda m: m.updated(mine),
        lambda m: m.fold_in_users(mine).fold_in_items(theirs),
    ):
        limit = None if memory is None else enough_memory(model, call)
        on_device = on(model, "cuda", call, device_memory=limit)
        assert_same_rows(on_device, on(model, "cpu", call), params["dtype"])


def test_a_visitor_is_answered_on_the_device_beside_the_models_items(xp, model, data):
    rated = {3: 5.0, 8: 1.0, 20: 4.0}
    fitted = model.model_
    for how in ({}, {"confidence": 1.0}, {"items": data.item_ids[:30], "diversity": 0.3}):
        lists = [
            on(fitted, where, lambda m, how=how: m.recommend(ratings=rated, n=5, **how))
            for where in ("cuda", "cpu")
        ]
        assert_same_lists(*lists)
    on(fitted, "cuda", lambda m: m.recommend(data.user_ids, 3))
    held = dict(copies_of(fitted)._held)
    fitted.recommend(ratings=rated, n=5)
    after = copies_of(fitted)._held
    assert all(after[name][1] is held[name][1] for name in ("item_factors", "user_factors"))
    ids, _ = fitted.recommend(ratings=rated, n=3, output="cupy")
    assert isinstance(ids, xp.ndarray)


def test_a_matrix_that_single_precision_leaves_without_a_root_is_solved_in_double(xp):
    # One large rating many times over, and hardly any penalty: 1e8 n + 1e-3 on the diagonal.
    Q, v = np.full((2, 30, 3), 1e4, np.float32), np.full((2, 30), 7, np.float32)
    D = np.full((2, 3), 1e-3, np.float32)
    found = host(ridge._beyond_means(xp, xp.asarray(Q), xp.asarray(v), xp.asarray(D)))
    np.testing.assert_allclose(Q[0, 0] @ found[0].astype(float), 7, rtol=1e-5)
    condition = 30 * 3 * 1e8 / 1e-3
    np.testing.assert_allclose(found, found[0, 0], rtol=condition * np.finfo(np.float64).eps)


def test_too_little_memory_for_a_row_is_told_and_nothing_changes(xp, model, data):
    fitted = model.model_
    with pytest.raises(wf.CudaError, match=r"folding rows in needs at least .*device_memory is 99"):
        on(fitted, "cuda", lambda m: m.fold_in_users(data), device_memory=99)


def test_scores_neighbours_and_reasons(xp, model, data):
    users, items = [*data.user_ids[:20], 99_999], [*data.item_ids[::3], 777]
    for unknown in ("mean", "nan"):
        model.set_params(unknown=unknown)
        mine, theirs = (
            on(model, where, lambda m: m.score_items(users, items)) for where in ("cuda", "cpu")
        )
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    small = on(model, "cuda", lambda m: m.score_items(users[0]), device_memory=60_000)
    np.testing.assert_allclose(small, model.score_items(users[0]), rtol=1e-5, atol=1e-5)
    lists = [on(model, where, lambda m: m.similar_users(users[:9], 7)) for where in ("cuda", "cpu")]
    assert_same_lists(*lists)
    told = [on(model, where, lambda m: m.explain(3, 4)) for where in ("cuda", "cpu")]
    assert told[0].prediction == told[1].prediction and list(told[0].items) == list(told[1].items)


def test_every_choice_of_unknown(xp, model, data):
    X = every_pair(data)
    for unknown in ("mean", "nan"):
        assert_same_predictions(model.set_params(unknown=unknown), X)
    model.set_params(unknown="raise", device="cpu")
    messages = []
    for place in ("cpu", "cuda"):
        for memory in (None, least_memory(model, lambda m: m.predict(X[:0])) + 3000):
            with pytest.raises(ValueError, match="unknown='mean'") as error:
                on(model, place, lambda m: m.predict(X), device_memory=memory)
            messages.append(str(error.value))
    assert len(set(messages)) == 1 and messages[0].startswith("X has 106 pairs with a user")
    for ask in (lambda m: m.recommend([1, 99_999]), lambda m: m.recommend(xp.asarray([1, 99_999]))):
        with pytest.raises(ValueError, match="user 99999 has no training ratings"):
            on(model, "cuda", ask)
    with pytest.raises(ValueError, match="item 99999 has no training ratings"):
        model.similar_items(xp.asarray(99_999))


def test_rows_without_ratings_are_unknown_and_not_recommended(xp):
    D = np.array([[1.0, 2.0, np.nan, 4], [np.nan] * 4, [3.0, 4.0, np.nan, np.nan]])
    model = model_of().fit(D)
    assert_same_predictions(model, [(1, 0), (0, 2), (1, 2), (0, 0)])
    assert_same_recommendations(model, [0, 1, 2], n=4)
    assert_same_neighbours(model, [0, 1, 3], n=4)


@pytest.mark.parametrize("rows", [1, 3])
def test_tiles_of_a_tiny_budget(xp, gappy, rows, monkeypatch):
    model = model_of().fit(gappy)
    X = xp.asarray(every_pair(gappy))
    users, items = gappy.user_ids, gappy.item_ids
    sizes = []
    split = cuda.tiles

    def spy(n, n_rows):
        sizes.append(n_rows)
        return split(n, n_rows)

    for call, same, queries in (
        (lambda m: m.predict(X), assert_same_predictions, X),
        (lambda m: m.recommend(users), assert_same_recommendations, users),
        (lambda m: m.similar_items(items), assert_same_neighbours, items),
    ):
        least = least_memory(model, call)
        one_row = int(re.search(r"([\d,]+) for a tile of one row", shortage(model, call))[1])
        with monkeypatch.context() as patch:
            for module in (cuda, device_kernels):
                patch.setattr(module, "tiles", spy)
            sizes.clear()
            if xp is np or queries is not X:
                same(model, queries, device_memory=least + (rows - 1) * one_row)
            else:
                on(model, "cuda", call, device_memory=least + (rows - 1) * one_row)
        assert rows in sizes
        with pytest.raises(wf.CudaError, match=f"device_memory is {least - 1:,}: raise it"):
            on(model, "cuda", call, device_memory=least - 1)


def test_a_budget_that_makes_tiles_small_says_what_would_do(xp, gappy):
    model = model_of().fit(gappy)
    X = every_pair(gappy)

    def predict(m):
        return m.predict(X)

    least = least_memory(model, predict)
    model.set_params(device="cuda", device_memory=least)
    with pytest.warns(
        UserWarning, match="predict is slow on CUDA device 0: there is room for 1 of"
    ) as said:
        slow = model.predict(X)
    would_do = re.search(
        rf"raise device_memory, which is {least:,}, to ([\d,]+)$", str(said[0].message)
    )
    enough = int(would_do[1].replace(",", ""))
    # What it names is enough, and no more than that: with a hundredth of the tile it would still be said.
    np.testing.assert_array_equal(model.set_params(device_memory=enough).predict(X), slow)
    with pytest.warns(UserWarning, match="there is room for"):
        model.set_params(device_memory=least + (enough - least) // 200).predict(X)


def shortage(model, call):
    with pytest.raises(wf.CudaError) as error:
        on(model, "cuda", call, device_memory=1)
    return str(error.value).replace(",", "")


def test_a_budget_that_one_call_has_filled_does_not_stand_in_the_way_of_the_next(xp, gappy):
    model = model_of().fit(gappy)
    calls = [
        lambda m: m.recommend(gappy.user_ids),
        lambda m: m.similar_items(gappy.item_ids),
        lambda m: m.predict(every_pair(gappy)),
    ]
    least = max(least_memory(model, call) for call in calls)
    for call in calls * 2:
        on(model, "cuda", call, device_memory=least)


def test_too_little_free_memory_says_how_much_is_asked_and_free(xp, model, data, monkeypatch):
    model.set_params(device="cuda")
    monkeypatch.setattr(device, "free_bytes", lambda: 4000)
    with pytest.raises(wf.CudaError, match=r"out of memory: recommend needs at least [\d,]+ bytes "
                       r"on CUDA device 0: .*; [\d,]+ were asked for and 4,000 are free"):  # fmt: skip
        model.recommend(data.user_ids)


def test_more_items_than_there_are_or_than_the_kernel_selects(xp, model, data):
    assert_same_recommendations(model, data.user_ids, n=1000)
    assert_same_neighbours(model, data.item_ids, n=1000)
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 8, 6000), rng.integers(0, 1500, 6000)
    many = model_of().fit(np.c_[users, items], rng.normal(size=6000))
    for n in (1024, 1025, 1500, 5000):
        assert_same_recommendations(many, np.arange(9), n=n)
    assert_same_recommendations(many, np.arange(9), n=1400, exclude_seen=False)


def test_users_who_have_seen_everything_get_empty_slots(xp):
    model = model_of().fit([(1, 1), (1, 2), (1, 3), (2, 3)], [1, 2, 3, 4])
    assert_same_recommendations(model, [1, 2, 1])
    ids, scores = model.set_params(device="cuda").recommend([1])
    assert ids.tolist() == [[-1, -1, -1]] and np.isnan(scores).all()
    unsigned = np.array([2**64 - 1, 3], np.uint64)
    model = model_of(device="cpu").fit(list(zip([0, 0], unsigned, strict=True)), [1, 2])
    assert model.set_params(device="cuda").recommend([0])[0].tolist() == [[0, 0]]


def test_equal_scores_go_by_the_lower_index(xp):
    P, Q = np.zeros((2, 5)), np.zeros((40, 5))
    D = np.full((2, 40), 3.0)
    model = model_of(init=(P, Q), n_epochs=0).fit(D)
    for place in ("cpu", "cuda"):
        ids, _ = on(model, place, lambda m: m.recommend([0, 1], n=7, exclude_seen=False))
        assert ids.tolist() == [list(range(7))] * 2


def test_a_long_list_of_seen_items_is_taken_off_in_steps(xp):
    D = np.where(np.random.default_rng(0).random((4, 300)) < 0.9, 1.0, np.nan)
    D *= np.random.default_rng(1).integers(1, 6, D.shape)
    model = model_of().fit(D)
    assert_same_recommendations(model, [0, 1, 2, 3, 9], n=300)


def test_string_ids(xp, data):
    users, items = (np.char.add(mark, codes.astype(str)) for mark, codes in
                    (("u", data.users), ("i", data.items)))  # fmt: skip
    model = model_of().fit(np.c_[users, items], data.values)
    assert_same_predictions(model, np.c_[users, items])
    assert_same_predictions(model, [("u1", "i2"), ("nobody", "i3")])
    assert_same_recommendations(model, ["u1", "u2", "nobody"])
    assert_same_recommendations(model, "u1")
    assert_same_neighbours(model, ["i1", "i2"])
    for call in (
        lambda m: m.recommend(["u1"], output="cupy"),
        lambda m: m.similar_items(["i1"], output="cupy"),
    ):
        with pytest.raises(ValueError, match=r"output is 'cupy'.*item ids are like 'i0'.*'numpy'"):
            on(model, "cuda", call)
    predicted = on(model, "cuda", lambda m: m.predict([("u1", "i2")], output="cupy"))
    assert isinstance(predicted, xp.ndarray)
    with pytest.raises(ValueError, match="the model's are strings"):
        model.predict(xp.asarray([[1, 2]]))


@pytest.mark.parametrize("kind", ["int64", "int32", "uint8", "uint64"])
@pytest.mark.parametrize("wrap", ["own", "interface", "dlpack"])
@pytest.mark.parametrize("consecutive", [True, False])
def test_integers_on_the_device_are_looked_up_there(xp, data, gappy, kind, wrap, consecutive,
                                                    monkeypatch):  # fmt: skip
    ratings = data if consecutive else gappy
    model = model_of().fit(ratings)
    X = every_pair(ratings, extra=200)
    if kind.startswith("u"):
        X = X[(X >= 0).all(axis=1)]
    X = X.astype(kind)
    wide = xp.zeros((2 * len(X), 3), kind)
    strided = wide[::2, ::2]
    strided[:] = xp.asarray(X)
    for array in (xp.asarray(X), xp.asarray(np.asfortranarray(X)), strided, strided[::-1]):
        expected = model.set_params(device="cpu").predict(host(array))
        given = {"own": lambda a: a, "interface": Foreign, "dlpack": Capsule}[wrap](array)
        with monkeypatch.context() as patch:
            if not (xp is np and wrap == "own"):
                patch.setattr(cuda, "pairs_to_codes", None)
            predicted = model.set_params(device="cuda").predict(given)
        np.testing.assert_allclose(predicted, expected, rtol=1e-5)
        assert_same_lists(
            model.recommend({"own": lambda a: a, "interface": Foreign, "dlpack": Capsule}[wrap](
                array[:, 0])),
            model.set_params(device="cpu").recommend(host(array[:, 0])),
        )  # fmt: skip


def test_a_single_id_on_the_device_gives_one_row(xp, model):
    expected = model.recommend(3, n=4)
    ids, scores = model.set_params(device="cuda").recommend(Foreign(xp.asarray(3)), n=4)
    assert ids.shape == scores.shape == (4,)
    np.testing.assert_array_equal(ids, expected[0])


def test_ids_beyond_the_range_of_the_vocabulary_are_unknown(xp):
    far = [-(2**63), 2**63 - 1, -5, 0, 1, 2]
    X = xp.asarray([[f, 1] for f in far])
    huge = xp.asarray(np.array([[2**64 - 1, 1], [1, 1]], np.uint64))
    for ids in ([1, 2, 3], [-5, 1, 7], [-1, 0, 1]):
        model = model_of(unknown="nan", device="cpu").fit([(i, 1) for i in ids], [1, 2, 3])
        model.set_params(device="cuda")
        assert np.isfinite(model.predict(X)).tolist() == [f in ids for f in far]
        assert np.isfinite(model.predict(huge)).tolist() == [False, True]
    top = np.array([3, 2**64 - 1], np.uint64)
    model = model_of(unknown="nan", device="cpu").fit([(u, 1) for u in top.tolist()], [1, 2])
    model.set_params(device="cuda")
    assert np.isfinite(model.predict(huge)).tolist() == [True, False]
    assert not np.isfinite(model.predict(X)).any()


def test_the_stream_that_an_array_names_is_waited_for(xp, model, data):
    if xp is np:
        pytest.skip("the twin has no streams")
    X = xp.asarray(every_pair(data))
    late, busy = xp.zeros_like(X), xp.ones((4096, 4096))
    stream = xp.cuda.Stream(non_blocking=True)
    xp.cuda.get_current_stream().synchronize()
    with stream:
        for _ in range(20):
            busy = busy @ busy * 0
        late[:] = X
    predicted = on(model, "cuda", lambda m: m.predict(Foreign(late, stream.ptr)))
    np.testing.assert_array_equal(predicted, model.predict(X))


def test_floats_and_odd_shapes_on_the_device_go_the_way_of_the_host(xp, model, data):
    X = xp.asarray(every_pair(data)[:50])
    expected = model.predict(host(X))
    for place in ("cpu", "cuda"):
        floats = Foreign(X.astype(float))
        np.testing.assert_allclose(on(model, place, lambda m: m.predict(floats)), expected, 1e-5)  # noqa: B023
        with pytest.raises(
            ValueError, match=r"X has shape \(50, 1\); it must be an \(n, 2\) array"
        ):
            model.predict(Foreign(X[:, :1]))
        with pytest.raises(ValueError, match=r"0\.5 at position 0 is no exact integer"):
            model.predict(Foreign(xp.asarray([[0.5, 1.0]])))


def test_cupy_output_stays_on_the_device(xp, model, gappy, data):
    for ratings in (data, gappy):
        model = model_of().fit(ratings)
        X, users, items = every_pair(ratings), ratings.user_ids, ratings.item_ids
        expected = model.predict(X), *model.recommend(users), *model.similar_items(items)
        model.set_params(device="cuda")
        for memory in (None, 150_000):
            model.set_params(device_memory=memory)
            got = (
                model.predict(X, output="cupy"),
                *model.recommend(users, output="cupy"),
                *model.similar_items(items, output="cupy"),
            )
            for mine, theirs in zip(got, expected, strict=True):
                assert isinstance(mine, xp.ndarray)
                assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
            for at in (0, 2, 4):
                np.testing.assert_allclose(host(got[at]), expected[at], rtol=1e-4, atol=1e-5)
            assert (host(got[1]) == expected[1]).mean() > 0.95
        one, _ = model.recommend(users[0], n=3, output="cupy")
        assert one.shape == (3,)
        empty, _ = model.recommend([], n=3, output="cupy")
        assert empty.shape == (0, 3)


def test_the_models_arrays_are_copied_once(xp, model, data):
    model.set_params(device="cuda")
    model.recommend(data.user_ids)
    kept = copies_of(model)
    first = {name: array for name, (_, array) in kept._held.items()}
    model.recommend(data.user_ids)
    model.predict(data)
    assert copies_of(model) is kept
    assert all(kept._held[name][1] is array for name, array in first.items())


def test_copies_follow_a_refit_and_stay_out_of_pickles_clones_and_files(xp, model, data, tmp_path):
    model.set_params(device="cuda")
    before = model.predict(data)
    model.recommend(data.user_ids)
    assert copies_of(model) is not None
    again = pickle.loads(pickle.dumps(model))
    assert copies_of(again) is None and not hasattr(clone(model), "model_")
    np.testing.assert_array_equal(again.predict(data), before)
    model.save(tmp_path / "m")
    assert copies_of(wf.load(tmp_path / "m", "cuda")) is None

    model.set_params(device="cpu", random_state=1).fit(data)
    assert_same_predictions(model, data)
    assert_same_recommendations(model, data.user_ids)
    assert not np.allclose(model.predict(data), before)
    best = model.recommend(data.user_ids[:1], n=1)[0][0]
    extra = wf.Ratings.from_arrays(data.user_ids[:1], best, [1.0])
    model = wf.MatrixFactorization.from_model(model.model_.with_seen(extra)).set_params(verbose=0)
    assert_same_recommendations(model, data.user_ids[:1], n=5)


def test_another_device_gets_copies_of_its_own(twin, model, data):
    expected = model.predict(data)
    for place, index in (("cuda:1", 1), ("cuda", 0)):
        np.testing.assert_allclose(on(model, place, lambda m: m.predict(data)), expected, 1e-5)
        assert copies_of(model).index == index


def test_a_failed_fit_keeps_the_model(twin, model, data):
    expected = on(model, "cuda", lambda m: m.predict(data))
    with pytest.raises(ValueError, match="nan"):
        model.fit([(0, 0)], [np.nan])
    np.testing.assert_array_equal(model.predict(data), expected)


@pytest.mark.parametrize("wrap", [Foreign, Capsule])
def test_fit_takes_arrays_that_lie_on_the_device(xp, gappy, wrap):
    users, items, values = gappy.to_arrays()
    X, weights = np.c_[users, items], np.linspace(0.5, 2, len(users))
    base = model_of().fit(X, values, sample_weight=weights, validation=(X[:50], values[:50]))
    wide = xp.zeros((len(X), 5), X.dtype)
    wide[:, 1:4:2] = xp.asarray(X)
    given = wrap(wide[:, 1:4:2])
    y, w = wrap(xp.asarray(np.repeat(values, 2))[::2]), wrap(xp.asarray(weights))
    held_out = given, y
    validation = wrap(xp.asarray(X)[:50]), wrap(xp.asarray(values)[:50])
    model = model_of().fit(given, y, sample_weight=w, validation=validation)
    assert model.user_factors_.tobytes() == base.user_factors_.tobytes()
    assert model.history_[-1]["valid_rmse"] == base.history_[-1]["valid_rmse"]
    assert model.score(*held_out) == base.score(X, values)
    arrays = (wrap(xp.asarray(column)) for column in (users, items, values))
    model = model_of().fit(wf.Ratings.from_arrays(*arrays))
    assert model.user_factors_.tobytes() == model_of().fit(gappy).user_factors_.tobytes()
    D = np.where(np.eye(6) > 0, np.nan, 2.0)
    dense = model_of().fit(wrap(xp.asarray(D)))
    assert dense.user_factors_.tobytes() == model_of().fit(D).user_factors_.tobytes()


@pytest.mark.skipif(not _core.cuda_status()[1], reason=_core.cuda_status()[2])
@pytest.mark.parametrize("params", [{}, {"dtype": "float16"}, {"dtype": "float64"}])
def test_a_model_trained_on_the_device_is_served_on_the_cpu(data, params, tmp_path):
    model = model_of(device="cuda", **params).fit(data, validation=data)
    assert model.user_factors_.dtype == (
        "float64" if params.get("dtype") == "float64" else "float32"
    )
    model.save(tmp_path / "m")
    served = wf.load(tmp_path / "m", "cpu")
    model.set_params(device="cpu")
    assert served.predict(data).tobytes() == model.predict(data).tobytes()
    if not device.prediction_problem():
        assert_same_predictions(model, every_pair(data))
        assert_same_recommendations(model, data.user_ids)


def test_cpu_predictions_take_arrays_that_lie_on_the_device(xp, model, data):
    X = every_pair(data)
    assert model.predict(Foreign(xp.asarray(X))).tobytes() == model.predict(X).tobytes()
    ids, _ = model.recommend(Foreign(xp.asarray(data.user_ids)))
    np.testing.assert_array_equal(ids, model.recommend(data.user_ids)[0])


@pytest.fixture
def usable(monkeypatch):
    """A core that could use CUDA, on a machine without CuPy."""
    monkeypatch.setattr(_core, "cuda_is_twin", lambda: False)
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, True, ""))
    monkeypatch.setitem(sys.modules, "cupy", None)


CALLS = [
    lambda m: m.predict([(0, 0)]),
    lambda m: m.recommend([0]),
    lambda m: m.similar_items([0]),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_device_without_cupy_names_the_command_and_the_way_out(usable, model, call):
    with pytest.raises(wf.CudaError) as error:
        on(model, "cuda", call)
    assert INSTALL_CUPY in str(error.value)
    assert "set_params(device='cpu')" in str(error.value)
    on(model, "auto", call)


def test_arrays_on_a_device_without_cupy_name_the_command(usable, model):
    pairs = Foreign(np.array([[0, 0]]))
    with pytest.raises(wf.CudaError, match=f"read by CuPy. .*: {re.escape(INSTALL_CUPY)}"):
        model.predict(pairs)
    with pytest.raises(wf.CudaError, match=f"read by CuPy. .*: {re.escape(INSTALL_CUPY)}"):
        model_of().fit(pairs, [1.0])


def test_a_broken_cupy_gives_its_reason(usable, model, monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy")
    with pytest.raises(wf.CudaError, match=r"CuPy cannot be imported \(libcudart.so.13: cannot"):
        on(model, "cuda", lambda m: m.predict([(0, 0)]))
    assert "libcudart.so.13" in wf.show_config("dicts")["cupy"]


@pytest.mark.parametrize(
    "reason",
    [
        "warpfactor was built without CUDA: use device='cpu'",
        "no NVIDIA driver is installed: install one, or use device='cpu'",
        "the NVIDIA driver supports CUDA 11.0 and warpfactor was built with 13.0",
        "no CUDA device is visible",
    ],
)
def test_the_reason_of_the_core_is_the_error(model, monkeypatch, reason):
    monkeypatch.setattr(_core, "cuda_is_twin", lambda: False)
    monkeypatch.setattr(_core, "cuda_status", lambda: ("built" not in reason, False, reason))
    for call in CALLS:
        with pytest.raises(wf.CudaError, match=re.escape(reason)):
            on(model, "cuda", call)
        on(model, "auto", call)
    assert wf.show_config("dicts")["cuda_reason"] == reason
    with pytest.raises(ValueError, match=r"output is 'cupy'.*device is 'auto'.*" + reason[:20]):
        model.predict([(0, 0)], output="cupy")


def test_cupy_output_needs_a_cuda_device(model):
    for ask in (
        lambda: model.predict([(0, 0)], output="cupy"),
        lambda: model.recommend([0], output="cupy"),
        lambda: model.similar_items([0], output="cupy"),
    ):
        with pytest.raises(ValueError, match=r"output is 'cupy'.*device is 'cpu': use set_params"):
            ask()
    for output in ("torch", None, 3):
        with pytest.raises(ValueError, match=f"output is {output!r}; it must be 'numpy' or 'cupy'"):
            model.predict([(0, 0)], output=output)


class OutOfMemoryError(MemoryError):
    _size = 123_456


class FakeCupy(types.ModuleType):
    """As much of CuPy as `use_device` asks for."""

    __version__ = "14.0"
    cuda: ClassVar = types.SimpleNamespace(
        Device=nullcontext,
        memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        runtime=types.SimpleNamespace(
            getDeviceCount=lambda: 2, memGetInfo=lambda: (1000, 9999), CUDARuntimeError=RuntimeError
        ),
    )

    @staticmethod
    def get_default_memory_pool():
        return types.SimpleNamespace(free_bytes=lambda: 24)


@pytest.fixture
def fake_cupy(usable, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy("cupy"))


def test_cupys_errors_become_cuda_errors(fake_cupy):
    def raised_inside(index, error):
        with pytest.raises(Exception) as caught, device.use_device(index):
            raise error
        assert type(caught.value) is (ValueError if type(error) is ValueError else wf.CudaError)
        return str(caught.value)

    said = raised_inside(1, OutOfMemoryError("Out of memory allocating 123,456 bytes"))
    assert "out of memory on CUDA device 1: 123,456 bytes were asked for, 1,024 are free" in said
    said = raised_inside(0, RuntimeError("cublas"))
    assert "CUDA device 0: CuPy 14.0 failed with RuntimeError: cublas" in said
    assert raised_inside(0, wf.CudaError("mine")) == "mine"
    assert raised_inside(0, ValueError("bad")) == "bad"


def test_a_device_that_is_not_there_is_named(fake_cupy, model):
    with pytest.raises(wf.CudaError, match=r"device is 'cuda:2', but .* are 0 to 1: use one"):
        on(model, "cuda:2", lambda m: m.predict([(0, 0)]))


def test_show_config_tells_about_cupy(usable, monkeypatch, capsys):
    assert wf.show_config("dicts")["cupy"] == f"CuPy is not installed: {INSTALL_CUPY}"
    monkeypatch.setitem(sys.modules, "cupy", FakeCupy("cupy"))
    assert wf.show_config("dicts")["cupy"] == "14.0"
    wf.show_config()
    assert "cupy:                   14.0\n" in capsys.readouterr().out


@pytest.mark.parametrize("can", [True, False])
def test_load_goes_where_this_machine_can_or_where_it_is_told(model, tmp_path, monkeypatch, can):
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, can, "" if can else "no driver"))
    path = tmp_path / "m.safetensors"
    expected = model.predict([(0, 0)])
    model.set_params(device="cuda:1", dtype="float16", device_memory=10**9).save(path)
    loaded = wf.load(path)
    assert loaded.device == ("cuda:1" if can else "cpu")
    assert (loaded.dtype, loaded.device_memory) == ("float32", 10**9)
    for place in ("cpu", "cuda", "auto", "cuda:1"):
        assert wf.load(path, place).device == wf.load(path, device=place).device == place
    assert wf.load(path, "cpu").predict([(0, 0)]) == expected
    with pytest.raises(ValueError, match="device is 'gpu'; it must be 'cpu'"):
        wf.load(path, "gpu")
    if not can:
        with pytest.raises(wf.CudaError, match="no driver"):
            wf.load(path, "cuda").predict([(0, 0)])
    model.set_params(device="auto").save(path)
    assert wf.load(path).device == "auto"


@pytest.mark.parametrize("memory", [0, -1, 1.5, "1 GB", True])
def test_a_bad_device_memory_is_refused(twin, model, memory):
    with pytest.raises(ValueError, match=f"device_memory is {memory!r}; it must be"):
        model_of(device_memory=memory).fit([(0, 0)], [1.0])
    with pytest.raises(ValueError, match=f"device_memory is {memory!r}; it must be"):
        on(model, "cuda", lambda m: m.predict([(0, 0)]), device_memory=memory)


def test_half_precision_is_for_cuda_devices(monkeypatch):
    with pytest.raises(ValueError, match=r"dtype is 'float16'.*device is 'cpu'.*dtype='float32'"):
        model_of(dtype="float16").fit([(0, 0)], [1.0])
    monkeypatch.setattr(_core, "cuda_status", lambda: (False, False, "not built"))
    with pytest.raises(ValueError, match=r"dtype is 'float16'.*device is 'auto'"):
        model_of(dtype=np.float16, device="auto").fit([(0, 0)], [1.0])
