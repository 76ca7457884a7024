"""The estimator as users meet it: inputs, predictions, recommendations, scikit-learn's tools."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
import uuid

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import warpfactor as wf
from reference import PLAIN
from warpfactor import _core


def model_of(**params):
    return wf.MatrixFactorization(
        **{"random_state": 0, "verbose": 0, "n_factors": 4, "n_epochs": 5, **params}
    )


@pytest.fixture(scope="module")
def data():
    return wf.datasets.make_ratings(120, 80, 2500, random_state=0).ratings


@pytest.fixture(scope="module")
def pairs(data):
    users, items, values = data.to_arrays()
    return np.c_[users, items], values


@pytest.fixture(scope="module")
def fitted(data):
    return model_of(reg=0.04).fit(data)


def dense_of(data, missing):
    D = np.full(data.shape, missing, float)
    D[data.users, data.items] = data.values
    return D


def test_every_kind_of_input_gives_the_same_model(data, pairs):
    pd, pl, pa = (pytest.importorskip(m) for m in ("pandas", "polars", "pyarrow"))
    X, y = pairs
    order = np.lexsort((data.items, data.users))  # matrices are read row by row
    X, y = X[order], y[order]
    columns = {"user": X[:, 0], "item": X[:, 1], "rating": y}
    nan = dense_of(data, np.nan)
    base = model_of().fit(X, y)
    assert base.user_factors_.shape == (data.n_users, 4)
    for given in [
        (X.tolist(), y.tolist()),
        (X.astype(float), y),
        (wf.Ratings.from_arrays(X[:, 0], X[:, 1], y), None),
        (sp.csr_array(sp.coo_array((y, (X[:, 0], X[:, 1])), shape=data.shape)), None),
        (sp.coo_matrix((y, (X[:, 0], X[:, 1])), shape=data.shape), None),
        (np.ma.masked_invalid(nan), None),
        (nan, None),
        (nan.astype(np.float32), None),
        (pd.DataFrame(columns), None),
        (pl.DataFrame(columns), None),
        (pa.table(columns), None),
        (pd.DataFrame(columns)[["user", "item"]], y),
    ]:
        other = model_of().fit(*given)
        assert other.user_factors_.tobytes() == base.user_factors_.tobytes(), type(given[0])


def test_zeros_that_a_sparse_matrix_stores_are_ratings_and_masked_entries_are_not():
    # Where the strength of the biases is given, the global mean is that of the ratings.
    S = sp.csr_array(([0.0, 4.0, 2.0], ([0, 0, 1], [0, 1, 1])), shape=(2, 2))
    assert S.nnz == 3
    assert model_of(reg_bias_row=0.0).fit(S).global_mean_ == pytest.approx(2)
    D = np.ma.masked_array([[0.0, 4.0], [-99.0, 2.0]], [[False, False], [True, False]])
    assert model_of(reg_bias_row=0.0).fit(D).global_mean_ == pytest.approx(2)


def test_a_repeated_pair_counts_as_two_ratings():
    X = np.array([[0, 0], [0, 0], [1, 1]])
    assert model_of(reg_bias_row=0.0).fit(X, [1.0, 3.0, 5.0]).global_mean_ == pytest.approx(3)


def test_fit_changes_nothing_that_the_user_gave(pairs):
    X, y = (a.copy() for a in pairs)
    P, Q = np.ones((120, 4)), np.ones((80, 4))
    weights = np.ones(len(y))
    before = [a.copy() for a in (X, y, P, Q, weights)]
    model_of(init=(P, Q)).fit(X, y, sample_weight=weights)
    for array, kept in zip((X, y, P, Q, weights), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_strided_and_read_only_arrays_work(pairs):
    X, y = pairs
    base = model_of().fit(X, y)
    wide = np.repeat(X, 2, axis=0)[::2]
    frozen = y.copy()
    frozen.flags.writeable = False
    assert (
        model_of().fit(np.asfortranarray(wide), frozen).predict(X).tobytes()
        == base.predict(X).tobytes()
    )


def test_arrays_that_are_not_aligned_work(data):
    def shifted(array):
        buffer = np.zeros(array.nbytes + 1, np.uint8)
        buffer[1:] = array.view(np.uint8)
        return buffer[1:].view(array.dtype)

    parts = [shifted(a) for a in (data.users, data.items, data.values)]
    assert not any(part.flags.aligned for part in parts)
    moved = wf.Ratings(*parts, data.user_ids, data.item_ids)
    assert (
        model_of().fit(moved).predict(data).tobytes()
        == model_of().fit(data).predict(data).tobytes()
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_predict_is_the_documented_formula(data, dtype):
    model = model_of(dtype=dtype, n_factors=7).fit(data)
    expected = (
        model.global_mean_
        + model.user_biases_[data.users]
        + model.item_biases_[data.items]
        + np.einsum(
            "nf,nf->n",
            model.user_factors_[data.users].astype(float),
            model.item_factors_[data.items],
        )
    )
    predicted = model.predict(data)
    assert predicted.dtype == dtype
    np.testing.assert_allclose(predicted, expected, rtol=1e-5)


def test_predict_takes_pairs_in_any_form(fitted, data, pairs):
    X, y = pairs
    base = fitted.predict(X)
    assert fitted.predict(data).tobytes() == base.tobytes()
    assert fitted.predict(X.tolist()).tobytes() == base.tobytes()
    assert fitted.predict([tuple(X[0])])[0] == base[0]
    shuffled = np.random.default_rng(0).permutation(len(X))
    other_vocabulary = wf.Ratings.from_arrays(X[shuffled, 0], X[shuffled, 1], y[shuffled])
    assert fitted.predict(other_vocabulary).tobytes() == base[shuffled].tobytes()
    assert fitted.predict(np.empty((0, 2), int)).shape == (0,)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_predictions_do_not_depend_on_threads(fitted, data, n_threads):
    model = clone(fitted).set_params(n_threads=n_threads).fit(data)
    assert model.predict(data).tobytes() == fitted.predict(data).tobytes()
    np.testing.assert_array_equal(
        model.recommend(np.arange(9))[0], fitted.recommend(np.arange(9))[0]
    )


def test_unknown_users_and_items_follow_the_parameter(fitted, data):
    u, i = int(data.user_ids[0]), int(data.item_ids[0])
    X = np.array([[u, i], [9999, i], [u, 9999], [9999, 9999]])
    mean, bu, bi = fitted.global_mean_, fitted.user_biases_[0], fitted.item_biases_[0]
    by_mean = clone(fitted).fit(data).predict(X)
    np.testing.assert_allclose(by_mean[1:], [mean + bi, mean + bu, mean], rtol=1e-6)
    by_nan = model_of(reg=0.04, unknown="nan").fit(data).predict(X)
    assert by_nan[0] == by_mean[0]
    assert np.isnan(by_nan[1:]).all()
    with pytest.raises(ValueError, match=r"3 pairs .* at row 1 \(its user 9999; .*unknown="):
        model_of(unknown="raise").fit(data).predict(X)
    unbiased = model_of(biases=False).fit(data)
    np.testing.assert_allclose(unbiased.predict(X)[1:], data.values.mean(), rtol=1e-5)


def test_a_row_of_the_vocabulary_without_training_ratings_is_unknown():
    D = np.array([[1.0, 2.0, np.nan], [np.nan, np.nan, np.nan], [3.0, 4.0, np.nan]])
    model = model_of(unknown="nan").fit(D)
    assert np.isnan(model.predict([(1, 0), (0, 2)])).all()
    assert np.isfinite(model.predict([(0, 0)])).all()


def test_recommend_is_the_brute_force_ranking(fitted, data):
    users = data.user_ids[::7]
    ids, scores = fitted.recommend(users, n=6)
    assert ids.shape == scores.shape == (len(users), 6)
    for row, user in enumerate(users):
        all_scores = fitted.predict(np.c_[np.full(data.n_items, user), data.item_ids])
        seen = data.items[data.user_ids[data.users] == user]
        all_scores[seen] = -np.inf
        best = np.argsort(-all_scores, kind="stable")[:6]
        np.testing.assert_array_equal(ids[row], data.item_ids[best])
        np.testing.assert_allclose(scores[row], all_scores[best], rtol=1e-5)
    with_seen, _ = fitted.recommend(users, n=data.n_items, exclude_seen=False)
    assert all(set(row) == set(data.item_ids) for row in with_seen)


def test_a_rating_of_weight_zero_is_not_seen():
    pairs = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    model = model_of().fit(pairs, [1, 2, 3, 4], sample_weight=[1, 0, 1, 1])
    assert model.recommend("a", n=2)[0].tolist() == ["y", None]


def test_recommend_for_one_user_gives_one_row(fitted):
    ids, scores = fitted.recommend(3, n=4)
    assert ids.shape == scores.shape == (4,)
    np.testing.assert_array_equal(ids, fitted.recommend([3], n=4)[0][0])


def test_slots_beyond_the_unseen_items_are_empty():
    X = [("a", "x"), ("a", "y"), ("b", "z")]
    ids, scores = model_of().fit(X, [1, 2, 3]).recommend(["a", "b"], n=10)
    assert ids.shape == (2, 3)
    assert ids[0].tolist() == ["z", None, None]
    assert np.isnan(scores[0, 1:]).all() and np.isfinite(scores[0, 0])
    ints, _ = model_of().fit([(1, 1), (1, 2), (2, 3)], [1, 2, 3]).recommend([1], n=3)
    assert ints[0].tolist() == [3, -1, -1]


def test_recommend_for_unknown_users(fitted, data):
    ids, _ = fitted.recommend([9999], n=3)
    best = data.item_ids[np.argsort(-fitted.item_biases_, kind="stable")[:3]]
    np.testing.assert_array_equal(ids[0], best)
    for unknown in ("raise", "nan"):
        with pytest.raises(ValueError, match="user 9999 has no training ratings"):
            model_of(unknown=unknown).fit(data).recommend([1, 9999])
    assert fitted.recommend([], n=3)[0].shape == (0, 3)


def test_items_without_training_ratings_are_not_recommended():
    D = np.array([[1.0, 2.0, np.nan], [1.0, 1.0, np.nan]])
    ids, scores = model_of().fit(D).recommend([0, 1], n=3, exclude_seen=False)
    assert (ids[:, 2] == -1).all() and np.isnan(scores[:, 2]).all()
    assert 2 not in ids


def test_similar_items_are_ranked_by_cosine(fitted, data):
    ids, scores = fitted.similar_items(data.item_ids[:5], n=7)
    Q = fitted.item_factors_.astype(float)
    unit = Q / np.linalg.norm(Q, axis=1, keepdims=True)
    for row in range(5):
        cosine = unit @ unit[row]
        cosine[row] = -np.inf
        best = np.argsort(-cosine, kind="stable")[:7]
        np.testing.assert_allclose(scores[row], cosine[best], rtol=1e-4, atol=1e-6)
        assert data.item_ids[row] not in ids[row]
    with pytest.raises(ValueError, match="item 9999 has no training ratings"):
        fitted.similar_items([9999])


@pytest.mark.parametrize(
    "ids",
    [
        ["007", "7", "0104257"],
        [2**40, -5, 0],
        [uuid.UUID(int=n) for n in (5, 1, 9)],
        np.array([2**64 - 1, 3, 4], np.uint64),
    ],
)
def test_ids_come_back_as_they_were_given(ids, tmp_path):
    model = model_of(n_factors=2).fit(list(zip(ids, ids, strict=True)), [1, 2, 3])
    assert set(model.item_ids_.tolist()) == set(np.asarray(ids, object).tolist())
    model.save(tmp_path / "m.safetensors")
    for m in (model, wf.load(tmp_path / "m.safetensors")):
        recommended, _ = m.recommend([ids[0]], n=2)
        assert set(recommended[0].tolist()) == set(np.asarray(ids[1:], object).tolist())
        assert np.isfinite(m.predict([(ids[1], ids[2])])).all()


def test_scikit_learn_finds_the_constructor_in_order():
    model = wf.MatrixFactorization()
    names = set(inspect.signature(wf.MatrixFactorization.__init__).parameters) - {"self"}
    assert set(model.get_params()) == names
    changed = clone(model.set_params(n_factors=7, device="cuda"))
    assert (changed.n_factors, changed.device) == (7, "cuda")


def test_defaults_are_the_cores():
    core, params = _core.TrainParams(), wf.MatrixFactorization().get_params()
    renamed = {"init_scale": "init"}
    elsewhere = {"seed", "patience", "half", "device_index"}  # random_state, early_stopping, dtype
    rows = [row for row in _core.parameters() if row["name"] not in elsewhere]
    assert len(rows) > 20
    for row in rows:
        given = params[renamed.get(row["name"], row["name"])]
        assert given == core[row["name"]] or (given is None and core[row["name"]] == 0)


def test_grid_search_cross_validation_and_pipeline_work(pairs):
    X, y = pairs
    search = GridSearchCV(
        model_of(), {"n_factors": [1, 3], "reg": [0.02, 0.2]}, cv=3,
        scoring="neg_root_mean_squared_error",
    ).fit(X, y)  # fmt: skip
    assert set(search.best_params_) == {"n_factors", "reg"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict(X[:3]).shape == (3,)
    scores = cross_val_score(model_of(), X, y, cv=KFold(3, shuffle=True, random_state=0))
    assert np.isfinite(scores).all() and scores.max() > 0
    pipeline = Pipeline([("same", FunctionTransformer()), ("mf", model_of())]).fit(X, y)
    np.testing.assert_array_equal(pipeline.predict(X), model_of().fit(X, y).predict(X))


def test_what_joblib_hands_to_a_worker_is_read_where_it_lies(pairs, tmp_path):
    # Arrays above a megabyte reach the processes of a search as read-only memory maps of one file.
    X, y = pairs
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "Xy"]
    search = GridSearchCV(model_of(), {"n_factors": [1, 3]}, cv=3)
    np.testing.assert_array_equal(
        search.fit(*mapped).cv_results_["mean_test_score"],
        search.fit(X, y).cv_results_["mean_test_score"],
    )
    assert all(isinstance(each, np.memmap) and not each.flags.writeable for each in mapped)


def test_string_ids_work_in_cross_validation(pairs):
    X, y = pairs
    named = np.char.add("id", X.astype(str))
    assert np.isfinite(cross_val_score(model_of(), named, y, cv=3)).all()


def test_score_is_r_squared(fitted, pairs):
    X, y = pairs
    residual = ((y - fitted.predict(X)) ** 2).sum()
    assert fitted.score(X, y) == pytest.approx(1 - residual / ((y - y.mean()) ** 2).sum(), rel=1e-5)
    assert fitted.score(wf.Ratings.from_pairs(X, y)) == pytest.approx(fitted.score(X, y))


@pytest.mark.parametrize("dump", [pickle.dumps, None])
def test_pickle_and_joblib_keep_the_model(fitted, pairs, tmp_path, dump):
    X, _ = pairs
    if dump:
        again = pickle.loads(dump(fitted))
    else:
        joblib.dump(fitted, tmp_path / "m.joblib")
        again = joblib.load(tmp_path / "m.joblib")
    assert again.predict(X).tobytes() == fitted.predict(X).tobytes()
    np.testing.assert_array_equal(again.recommend([3])[0], fitted.recommend([3])[0])


def test_errors_pickle():
    error = pickle.loads(pickle.dumps(wf.DivergedError("too high", 3)))
    assert (str(error), error.epoch) == ("too high", 3)


def test_the_estimator_is_unfitted_until_fit(data):
    from sklearn.exceptions import NotFittedError

    for use in ("predict", "recommend", "similar_items"):
        with pytest.raises(NotFittedError):
            getattr(model_of(), use)([(0, 0)])


def test_cuda_is_refused_with_the_reason(data):
    config = wf.show_config("dicts")
    if config["cuda_usable"]:
        pytest.skip("CUDA is usable here")
    with pytest.raises(wf.CudaError, match="device='cpu'"):
        model_of(device="cuda").fit(data)
    model_of(device="auto").fit(data)


def test_nothing_is_printed_without_a_terminal(data, capfd):
    wf.MatrixFactorization(n_epochs=2, random_state=0, verbose=1).fit(data)
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_the_threads_used(data, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for verbose in (1, True):
        model = model_of(verbose=verbose).fit(data)
        shown = capsys.readouterr().err
        threads = "1 thread" if model.n_threads_ == 1 else f"{model.n_threads_} threads"
        assert re.search(rf"5 epochs in \d+\.\d\d s with {threads} \(", shown)
    for verbose in (0, False):
        model_of(verbose=verbose).fit(data)
        assert capsys.readouterr().err == ""


def test_a_terminal_shows_the_errors_of_the_epoch_that_was_kept(data, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    train, test = wf.train_test_split(data, 0.3, random_state=0)
    overfit = {"n_factors": 64, "reg": 0.0, "n_epochs": 40, "early_stopping": 2, **PLAIN}
    overfit |= {"learning_rate": 0.1, "schedule": "constant"}
    model = model_of(**overfit, verbose=1).fit(train, validation=test)
    kept = model.history_[model.n_epochs_ - 1]
    assert model.n_epochs_ < len(model.history_) < 40
    assert (
        f": train RMSE {kept['train_rmse']:.4f}, validation RMSE {kept['valid_rmse']:.4f} "
        f"(epoch {model.n_epochs_} kept)\n"
    ) in capsys.readouterr().err


def test_show_config_prints_and_returns(capsys):
    wf.show_config()
    printed = capsys.readouterr().out
    config = wf.show_config("dicts")
    assert config["version"] == wf.__version__
    assert config["instruction_set"] in config["built_instruction_sets"]
    assert config["n_threads"] >= 1
    assert all(f"{name}:" in printed for name in config)
    assert config["cuda_usable"] or config["cuda_reason"]
