"""Predictions, recommendations and model files, computed on the device of the model."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import warpfactor as wf
from problems import model_of, planted, scores_of
from warpfactor import _core

# Sums of k terms in float32, of numbers whose products come to about 4.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def host(array):
    """A NumPy array of what may be CuPy's."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.fixture(scope="module")
def data():
    return planted(150, 120, 3000)


@pytest.fixture(scope="module", params=[1, 7, 64, 129])
def fitted(place, data, request):
    return model_of(n_factors=request.param, n_epochs=3, init=0.3, **place).fit(data)


@pytest.fixture(scope="module")
def on_device(cuda, data):
    return model_of(n_factors=24, n_epochs=3, init=0.3, device=cuda).fit(data)


def all_scores(model):
    users, items = np.indices((len(model.user_ids_), len(model.item_ids_)))
    return scores_of(model, users.ravel(), items.ravel()).reshape(users.shape)


def check_ranking(ids, scores, item_ids, exact, n):
    """The best by exact scores, except those that are too close to tell apart in float32."""
    for row, row_scores, expected in zip(ids, scores, exact, strict=True):
        best = np.sort(expected[np.isfinite(expected)])[::-1][:n]
        full = len(best)
        np.testing.assert_allclose(row_scores[:full], best, **CLOSE)
        np.testing.assert_allclose(
            expected[np.searchsorted(item_ids, row[:full])], row_scores[:full], **CLOSE
        )
        assert len(set(row[:full].tolist())) == full
        assert (row[full:] == -1).all() and np.isnan(row_scores[full:]).all()


def test_predict_is_the_documented_formula(fitted, data):
    predicted = fitted.predict(data)
    assert predicted.dtype == ("float64" if fitted.dtype == "float64" else "float32")
    np.testing.assert_allclose(predicted, scores_of(fitted, data.users, data.items), **CLOSE)


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("n", [1, 10, 31, 32, 33, 120])
def test_recommend_is_the_brute_force_ranking(fitted, data, n, exclude_seen):
    ids, scores = fitted.recommend(data.user_ids, n=n, exclude_seen=exclude_seen)
    assert ids.shape == scores.shape == (150, n)
    exact = all_scores(fitted)
    if exclude_seen:
        exact[data.users, data.items] = -np.inf
    exact[:, np.bincount(data.items, minlength=data.n_items) == 0] = -np.inf
    check_ranking(ids, scores, data.item_ids, exact, n)


@pytest.mark.parametrize("bound", [{"confidence": 0.5}, {"confidence": 4}, {"exploration": 2}])
def test_bounds_are_the_brute_force_ranking(fitted, data, bound):
    model = fitted.model_
    biases, factors, lengths, _ = _core.uncertainty(
        model.user_factors_,
        model.item_factors_,
        model.item_biases_,
        model.user_counts_,
        model.item_counts_,
        start_bias=model.start_bias_,
        biases=model.has_biases_,
        link=model.link_,
        train_rmse=model.history_[model.n_epochs_ - 1]["train_rmse"],
    )
    variances = biases.astype(float) + lengths[:-1, None].astype(float) * factors
    deviations = np.sqrt(variances)
    assert (factors > 0).all() and deviations.max() > 1.1 * deviations.min()
    times = bound.get("exploration", 0) - bound.get("confidence", 0)
    exact = all_scores(fitted) + times * deviations
    exact[data.users, data.items] = -np.inf
    exact[:, np.bincount(data.items, minlength=data.n_items) == 0] = -np.inf
    ids, bounds = fitted.recommend(data.user_ids, n=12, **bound)
    check_ranking(ids, bounds, data.item_ids, exact, 12)


def test_candidates_and_exclusions_are_the_brute_force_ranking(fitted, data):
    some = data.item_ids[::3]
    ids, scores = fitted.recommend(data.user_ids, n=12, items=some, exclude=some[:5], min_ratings=3)
    exact = all_scores(fitted)
    exact[data.users, data.items] = -np.inf
    counts = np.bincount(data.items, minlength=data.n_items)
    exact[:, ~np.isin(data.item_ids, some[5:]) | (counts < 3)] = -np.inf
    check_ranking(ids, scores, data.item_ids, exact, 12)


def test_score_items_and_similar_users_are_those_of_the_formula(fitted, data):
    users, items = data.user_ids[:40], data.item_ids[::7]
    codes = np.searchsorted(data.item_ids, items)
    known = np.bincount(data.items, minlength=data.n_items)[codes] > 0
    scores = fitted.score_items(users, items)
    np.testing.assert_allclose(scores[:, known], all_scores(fitted)[:40, codes[known]], **CLOSE)
    P = fitted.user_factors_.astype(float)
    unit = P / np.maximum(np.linalg.norm(P, axis=1, keepdims=True), 1e-300)
    exact = unit[:40] @ unit.T
    exact[np.arange(40), np.arange(40)] = -np.inf
    exact[:, np.bincount(data.users, minlength=data.n_users) == 0] = -np.inf
    ids, cosines = fitted.similar_users(users, n=9)
    check_ranking(ids, cosines, data.user_ids, exact, 9)


@pytest.mark.parametrize("n", [1, 7, 119])
def test_similar_items_are_ranked_by_cosine(fitted, data, n):
    rated = np.unique(data.items)
    ids, scores = fitted.similar_items(data.item_ids[rated], n=n)
    Q = fitted.item_factors_.astype(float)
    unit = Q / np.maximum(np.linalg.norm(Q, axis=1, keepdims=True), 1e-300)
    exact = unit[rated] @ unit.T
    exact[np.arange(len(rated)), rated] = -np.inf
    exact[:, np.bincount(data.items, minlength=data.n_items) == 0] = -np.inf
    check_ranking(ids, scores, data.item_ids, exact, n)


def test_recommend_on_many_items_and_factors(device):
    # More items than a block of threads looks at at once, and ties: the first item comes first.
    rng = np.random.default_rng(0)
    n_items = 70_000
    X = np.c_[np.arange(n_items) % 5, np.arange(n_items)]
    model = model_of(n_factors=2, n_epochs=0, biases=False, device=device,
                     init=(np.ones((5, 2)), np.ones((n_items, 2))))  # fmt: skip
    ids, scores = model.fit(X, rng.normal(size=n_items)).recommend(np.arange(5), n=4)
    # User u has seen u, u + 5, ...
    expected = [[i for i in range(9) if i % 5 != u][:4] for u in range(5)]
    assert ids.tolist() == expected
    np.testing.assert_allclose(scores, 2, rtol=1e-6)


def test_one_user_and_none(fitted):
    ids, scores = fitted.recommend(3, n=4)
    assert ids.shape == scores.shape == (4,)
    np.testing.assert_array_equal(ids, fitted.recommend([3], n=4)[0][0])
    assert fitted.recommend([], n=3)[0].shape == (0, 3)
    assert fitted.predict(np.empty((0, 2), int)).shape == (0,)


@pytest.mark.parametrize("unknown", ["mean", "nan", "raise"])
def test_unknown_users_and_items_follow_the_parameter(device, data, unknown):
    model = model_of(n_factors=5, n_epochs=3, unknown=unknown, device=device).fit(data)
    X = np.array([[0, 0], [9999, 0], [0, 9999], [9999, 9999]])
    if unknown == "raise":
        with pytest.raises(ValueError, match="3 pairs"):
            model.predict(X)
        with pytest.raises(ValueError, match="user 9999 has no training ratings"):
            model.recommend([1, 9999])
        return
    mean, bu, bi = model.global_mean_, model.user_biases_[0], model.item_biases_[0]
    predicted = model.predict(X)
    if unknown == "nan":
        assert np.isnan(predicted[1:]).all() and np.isfinite(predicted[0])
    else:
        np.testing.assert_allclose(predicted[1:], [mean + bi, mean + bu, mean], rtol=1e-5)
        ids, _ = model.recommend([9999, 0], n=3)
        best = np.argsort(-model.item_biases_, kind="stable")[:3]
        np.testing.assert_array_equal(ids[0], data.item_ids[best])


@pytest.mark.parametrize("loss", ["logistic", "poisson", "squared_hinge"])
def test_answers_of_other_losses_are_in_their_units(device, data, loss):
    values = np.where(data.values > 3, 1.0, 0.0)
    X = np.c_[data.users, data.items]
    model = model_of(n_factors=4, n_epochs=3, loss=loss, device=device).fit(X, values)
    score = scores_of(model, data.users, data.items)
    expected = 1 / (1 + np.exp(-score)) if loss == "logistic" else score
    np.testing.assert_allclose(model.predict(X), expected, **CLOSE)
    ids, scores = model.recommend([0, 1], n=5)
    pairs = np.c_[np.repeat([0, 1], 5), ids.ravel()]
    np.testing.assert_allclose(scores.ravel(), model.predict(pairs), **CLOSE)


def test_strided_and_read_only_inputs_work(fitted, data):
    X = np.c_[data.users, data.items]
    base = fitted.predict(X)
    wide = np.repeat(X, 2, axis=0)[::2]
    assert not wide.flags.c_contiguous
    frozen = np.asfortranarray(X)
    frozen.flags.writeable = False
    for given in (wide, frozen, X.astype(np.int32), X[::-1][::-1], X.tolist()):
        assert fitted.predict(given).tobytes() == base.tobytes()
    users = np.repeat(data.user_ids, 3)[::3]
    np.testing.assert_array_equal(fitted.recommend(users)[0], fitted.recommend(data.user_ids)[0])


def test_a_model_trained_anywhere_is_served_by_the_cpu(fitted, data, tmp_path):
    fitted.save(tmp_path / "m.safetensors")
    served = wf.load(tmp_path / "m.safetensors", device="cpu")
    assert served.device == "cpu"
    assert served.user_factors_.tobytes() == fitted.user_factors_.tobytes()
    np.testing.assert_allclose(served.predict(data), fitted.predict(data), **CLOSE)
    _, expected = fitted.recommend(data.user_ids, n=5)
    np.testing.assert_allclose(served.recommend(data.user_ids, n=5)[1], expected, **CLOSE)
    as_saved = wf.load(tmp_path / "m.safetensors")
    assert as_saved.device == fitted.device
    assert as_saved.predict(data).tobytes() == fitted.predict(data).tobytes()


def test_a_model_trained_on_the_cpu_is_served_by_the_device(cuda, data, tmp_path):
    model = model_of(n_factors=9, n_epochs=3).fit(data)
    model.save(tmp_path / "m.safetensors")
    served = wf.load(tmp_path / "m.safetensors", device=cuda)
    np.testing.assert_allclose(served.predict(data), model.predict(data), **CLOSE)
    # Without a file: the device is a parameter, and what it holds follows the model.
    np.testing.assert_allclose(
        model.set_params(device=cuda).predict(data), served.predict(data), **CLOSE
    )


def test_a_new_fit_is_what_answers_come_from(on_device, data):
    model = model_of(n_factors=24, n_epochs=3, device="cuda").fit(data)
    before = model.predict(data)
    model.recommend([0])
    model.set_params(n_factors=8, random_state=5).fit(data)
    np.testing.assert_allclose(
        model.predict(data), scores_of(model, data.users, data.items), **CLOSE
    )
    _, scores = model.recommend(data.user_ids[:1], n=1, exclude_seen=False)
    np.testing.assert_allclose(scores[0, 0], all_scores(model)[0].max(), **CLOSE)
    assert np.abs(model.predict(data) - before).max() > 1e-3


def test_output_is_on_the_device_where_asked(on_device, cupy, data):
    X = np.c_[data.users, data.items]
    for answer, expected in (
        (on_device.predict(X, output="cupy"), on_device.predict(X)),
        (on_device.predict(X, output="numpy"), on_device.predict(X)),
    ):
        np.testing.assert_array_equal(host(answer), expected)
    assert isinstance(on_device.predict(X, output="cupy"), cupy.ndarray)
    assert isinstance(on_device.predict(X, output="numpy"), np.ndarray)
    for answer, expected in (
        (on_device.recommend([3, 1], n=4, output="cupy"), on_device.recommend([3, 1], n=4)),
        (on_device.recommend(3, n=4, output="cupy"), on_device.recommend(3, n=4)),
        (on_device.similar_items([2, 0], output="cupy"), on_device.similar_items([2, 0])),
    ):
        for part, expected_part in zip(answer, expected, strict=True):
            assert isinstance(part, cupy.ndarray)
            np.testing.assert_array_equal(host(part), expected_part)


def test_parts_that_follow_each_other_are_answered_as_if_alone(on_device, cupy, data):
    # More than two parts of what is copied while the device is at the next one, which the twin never is.
    n_pairs, n_lists = (20_000, 2000) if cupy is np else (2_500_000, 170_000)
    pairs = np.c_[data.users, data.items]
    alone, times = on_device.predict(pairs), n_pairs // len(pairs) + 1
    predicted = on_device.predict(np.tile(pairs, (times, 1)))
    assert predicted.tobytes() == np.tile(alone, times).tobytes()
    ids, scores = on_device.recommend(data.user_ids, n=6)
    times = n_lists // len(ids) + 1
    many = on_device.recommend(np.tile(data.user_ids, times), n=6)
    assert many[0].tobytes() == np.tile(ids, (times, 1)).tobytes()
    assert many[1].tobytes() == np.tile(scores, (times, 1)).tobytes()


FIRST_ANSWERS = """
import sys
import warpfactor as wf
model = wf.load(sys.argv[1], "cuda")
users, items = model.user_ids_[:9], model.item_ids_[:9]
for output in ("numpy", "cupy"):
    model.predict(list(zip(users, items)), output=output)
    model.recommend(users, output=output)
    model.recommend(users, items=[[1, 2]] * 9, confidence=1, output=output)
    model.similar_items(items, output=output)
    model.score_items(users, output=output)
"""


def test_nothing_is_compiled_when_answers_are_first_asked_for(on_device, cupy, tmp_path):
    if cupy is np:
        pytest.skip("the twin compiles nothing at run time")
    on_device.save(tmp_path / "model.safetensors")
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", FIRST_ANSWERS, str(tmp_path / "model.safetensors")]
    subprocess.run(command, check=True, env={**os.environ, "CUPY_CACHE_DIR": str(cache)})
    assert [each.name for each in cache.rglob("*") if each.is_file()] == []


@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_inputs_may_be_on_the_device(on_device, cupy, data, order):
    X = np.c_[data.users, data.items].astype(np.int64)
    given = cupy.asarray(X)
    if order == "F":
        given = cupy.asfortranarray(given)
    elif order == "strided":
        given = cupy.repeat(given, 2, axis=0)[::2]
    assert on_device.predict(given).tobytes() == on_device.predict(X).tobytes()
    users = cupy.asarray(data.user_ids)
    np.testing.assert_array_equal(
        on_device.recommend(users, n=3)[0], on_device.recommend(data.user_ids, n=3)[0]
    )
    np.testing.assert_array_equal(
        host(on_device.recommend(users[::2], n=3, output="cupy")[0]),
        on_device.recommend(data.user_ids[::2], n=3)[0],
    )


@pytest.mark.parametrize("output", ["torch", None, 1])
def test_another_output_is_named(device, data, output):
    model = model_of(n_factors=2, n_epochs=1, device=device).fit(data)
    with pytest.raises(ValueError, match="output is"):
        model.predict(data, output=output)
    with pytest.raises(ValueError, match="output is"):
        model.recommend([0], output=output)
    with pytest.raises(ValueError, match="output is"):
        model.similar_items(data.item_ids[:1], output=output)


def test_ids_that_are_no_numbers_come_back(device, tmp_path):
    pairs = [("ann", "up"), ("ann", "big"), ("bob", "up"), ("eve", "big")]
    model = model_of(n_factors=2, device=device).fit(pairs, [5, 3, 4, 2])
    assert model.recommend("bob", n=2)[0].tolist() == ["big", None]
    assert model.similar_items(["up"], n=1)[0].tolist() == [["big"]]


def test_an_ensemble_answers_there_as_it_does_here(cuda, data):
    model = model_of(n_factors=12, n_epochs=3, init=0.3, device=cuda, parallel="blocked")
    ensemble = wf.Ensemble(model, 3).fit(data)
    fitted = ensemble.model_
    assert fitted.n_members_ == 3
    here = fitted.with_options(device="cpu")
    np.testing.assert_allclose(fitted.predict(data), here.predict(data), **CLOSE)
    for output in ("numpy", "cupy"):
        predicted, std = fitted.predict(data, return_std=True, output=output)
        assert type(predicted) is type(std)
        np.testing.assert_allclose(host(std), here.predict(data, return_std=True)[1], **CLOSE)


def test_lists_of_each_user_and_of_groups_are_those_of_the_cpu(on_device, data):
    there, here = on_device.model_, on_device.model_.with_options(device="cpu")
    rng = np.random.default_rng(0)
    lists = [rng.choice(data.item_ids, 30).tolist() for _ in data.user_ids]
    groups = [[0, 1, 2], [3], list(range(5, 40))]
    for whom, how in (
        (data.user_ids, {"items": lists}),
        (data.user_ids, {"exclude": lists}),
        (data.user_ids, {"exploration": 1.0, "random_state": 3}),
        (groups, {"group": "mean"}),
        (groups, {"group": "min", "exclude": [1, 2]}),
        (groups, {"group": "max", "items": lists[:3]}),
        (data.user_ids, {"diversity": 0.3}),
    ):
        (ids, scores), (cpu_ids, cpu_scores) = (m.recommend(whom, 8, **how) for m in (there, here))
        same = (ids == cpu_ids).all(axis=1)
        assert same.mean() > 0.9, how  # rounding may swap neighbours
        np.testing.assert_allclose(scores[same], cpu_scores[same], **CLOSE)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [4, 64])
def test_rows_are_folded_in_as_on_the_cpu(cuda, data, k, dtype):
    old = data.take(data.users >= 15).k_core()
    new = data.take(data.users < 30).k_core()
    new = new.take(np.isin(new.item_ids[new.items], old.item_ids)).k_core()
    params = {"n_factors": k, "n_epochs": 3, "init": 0.3, "dtype": dtype}
    there = model_of(**params, device=cuda, implicit_feedback="both", reg_row=2.0).fit(old).model_
    here = there.with_options(device="cpu")
    # The condition of a row's matrix, below 1e4, times the rounding of sums of some dozens of products.
    close = 2e-3 if dtype == "float32" else 1e-10
    for call in ("fold_in_users", "updated"):
        mine, theirs = getattr(there, call)(new), getattr(here, call)(new)
        for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
            one, other = getattr(mine, name), getattr(theirs, name)
            np.testing.assert_allclose(one, other, rtol=close, atol=close, err_msg=name)
    rated = {item: 3.0 for item in old.item_ids[:9].tolist()}
    scores = there.recommend(ratings=rated, n=6)[1]
    np.testing.assert_allclose(
        scores, here.recommend(ratings=rated, n=6)[1], rtol=close, atol=close
    )
