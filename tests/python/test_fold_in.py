"""Fold-in, partial_fit and warm_start: a fitted model that takes in new users, items and ratings."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import warpfactor as wf
from shell import succeed, warpfactor
from warpfactor.model.model import Model
from warpfactor.serving.tables import Options

RATINGS = wf.datasets.make_ratings(60, 40, 1200, random_state=0).ratings
PARAMS: dict[str, Any] = {
    "n_factors": 6,
    "random_state": 0,
    "verbose": 0,
    "dtype": "float64",
    "reg": 0.04,
    "reg_row": 3.0,
    "reg_implicit": 2.0,
    "init": 0.05,
}


def fitted(ratings: wf.Ratings = RATINGS, **changed: Any) -> Model:
    return wf.MatrixFactorization(**{**PARAMS, **changed}).fit(ratings).model_


def without_some(side: str, n: int = 5) -> tuple[wf.Ratings, wf.Ratings]:
    """The ratings without the first rows of a side, and theirs."""
    codes = RATINGS.users if side == "users" else RATINGS.items
    return (
        RATINGS.take(codes >= n).k_core(),
        RATINGS.take(codes < n).k_core(),
    )


def known(ratings: wf.Ratings, model: Model) -> wf.Ratings:
    """The ratings whose user and item the model has."""
    users, items = model.is_known(ratings)
    return ratings.take(users & items)


def objective(
    model: Model, ratings: wf.Ratings, side: str, row: int, y: Any, p: Any, b: float
) -> float:
    """What training minimizes, as docs/explanations/accuracy.md has it, of one row, in the units of the ratings."""
    told = {**model.get_params(), **model.chosen_}
    own, other = ("user", "item") if side == "users" else ("item", "user")
    mine = getattr(ratings, side) == row
    others = getattr(ratings, "items" if side == "users" else "users")[mine]
    ids = getattr(ratings, f"{other}_ids")
    at = np.searchsorted(getattr(model, f"{other}_ids_"), ids[others])
    scale = model._record.score_scale
    n = len(at)

    def strength(name: str) -> float:
        value = told[name]
        return value if np.isscalar(value) else value[own == "item"]

    met = np.unique(at)
    mean = y[0][met].sum(axis=0) / np.sqrt(len(met))
    bias_mean = y[1][met].sum() / np.sqrt(len(met))
    q = getattr(model, f"{other}_factors_")[at]
    errors = ratings.values[mine] - model.global_mean_ - getattr(model, f"{other}_biases_")[at]
    errors = errors - b - q @ p
    # z = r / s, and factors are in √s.
    return float(
        (errors**2).sum() / scale**2
        + (strength("reg") * n + strength("reg_row")) * ((p - mean) ** 2).sum() / scale
        + (strength("reg_bias") * n + strength("reg_bias_row")) * (b - bias_mean) ** 2 / scale**2
    )


@pytest.mark.parametrize("side", ["users", "items"])
def test_new_rows_are_the_least_of_what_training_minimizes(side: str) -> None:
    old, new = without_some(side)
    model = fitted(old)
    new = new.take(known_others(new, model, side))
    folded = model.fold_in_users(new) if side == "users" else model.fold_in_items(new)
    own = "user" if side == "users" else "item"
    y = model._fold_in._prior_coefficients(own, Options())
    factors, biases = getattr(folded, f"{own}_factors_"), getattr(folded, f"{own}_biases_")
    rng = np.random.default_rng(0)
    for row, name in enumerate(getattr(new, f"{own}_ids")):
        if not (getattr(new, side) == row).any():
            continue
        at = int(np.searchsorted(getattr(folded, f"{own}_ids_"), name))
        p, b = factors[at], float(biases[at])
        least = objective(model, new, side, row, y, p, b)
        for _ in range(10):  # it is convex: nothing nearby, in any direction, is lower
            by = rng.normal(size=len(p) + 1) * 1e-3
            assert objective(model, new, side, row, y, p + by[:-1], b + by[-1]) > least


def known_others(ratings: wf.Ratings, model: Model, side: str) -> Any:
    return model.is_known(ratings)[1 if side == "users" else 0]


@pytest.mark.parametrize("side", ["user", "item"])
def test_prior_means_solve_the_ridge_regression_on_who_rated_what(side: str) -> None:
    model = fitted()
    factors, biases = getattr(model, f"{side}_factors_"), getattr(model, f"{side}_biases_")
    n, m = (60, 40) if side == "user" else (40, 60)
    X = np.zeros((n, m))
    users, items = RATINGS.users, RATINGS.items
    X[(users, items) if side == "user" else (items, users)] = 1
    X /= np.sqrt(np.maximum(X.sum(axis=1, keepdims=True), 1))
    y, y_biases = model._fold_in._prior_coefficients(side, Options())
    for rho, rows, found in ((2.0, factors, y), (10.0, biases[:, None], y_biases[:, None])):
        A = X.T @ X + rho * np.eye(m)
        exact = np.linalg.solve(A, X.T @ rows)
        scale = 1 / np.sqrt(np.diag(A))
        condition = np.linalg.cond(A * scale * scale[:, None])
        # Conjugate gradients' bound in the norm of A (Saad, Iterative methods, theorem 6.29).
        rate = (np.sqrt(condition) - 1) / (np.sqrt(condition) + 1)
        error = np.sqrt(np.einsum("mf,mn,nf->f", found - exact, A, found - exact))
        size = np.sqrt(np.einsum("mf,mn,nf->f", exact, A, exact))
        assert (error <= 2 * rate**6 * size).all()


@pytest.mark.parametrize("plain", [False, True])
def test_known_users_folded_in_from_their_ratings_stay_near_where_they_are(plain: bool) -> None:
    params = {"reg_row": 0.0, "reg_bias": 0.05, "reg_bias_row": 0.0, "implicit_feedback": "none"}
    model = fitted(**(params if plain else {}), n_epochs=100)
    folded = model.fold_in_users(RATINGS)
    before, after = model.predict(RATINGS), folded.predict(RATINGS)
    # The users' least given the items fits the ratings about as well as what training has found.
    assert wf.metrics.rmse(RATINGS.values, after) < 1.05 * wf.metrics.rmse(RATINGS.values, before)
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert folded.item_factors_ is not None
    np.testing.assert_array_equal(folded.item_factors_, model.item_factors_)


def test_the_folded_model_knows_the_new_users_and_keeps_the_old() -> None:
    old, new = without_some("users")
    model = fitted(old)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded = model.fold_in_users(known(RATINGS, fitted()).take(known_users_of(new)))
    assert set(folded.user_ids_) == set(RATINGS.user_ids)
    at = np.searchsorted(folded.user_ids_, model.user_ids_)
    np.testing.assert_array_equal(folded.user_factors_[at], model.user_factors_)
    np.testing.assert_array_equal(folded.user_biases_[at], model.user_biases_)
    np.testing.assert_array_equal(folded.user_counts_[at], model.user_counts_)
    assert len(model.user_ids_) == old.n_users, "the given model is unchanged"
    user = new.user_ids[0]
    mine = new.item_ids[np.unique(new.items[new.users == 0])]
    code = int(np.searchsorted(folded.user_ids_, user))
    indptr, items = folded.seen_
    np.testing.assert_array_equal(folded.item_ids_[items[indptr[code] : indptr[code + 1]]], mine)
    listed, _ = folded.recommend(user, n=40)
    assert not set(mine.tolist()) & {each for each in listed.tolist() if each >= 0}
    assert folded.user_counts_[code] == (new.users == 0).sum()


def known_users_of(new: wf.Ratings) -> Any:
    return np.isin(RATINGS.user_ids[RATINGS.users], new.user_ids)


def test_pairs_and_values_are_taken_as_fit_takes_them() -> None:
    old, new = without_some("users")
    model = fitted(old)
    X, y = new.to_pairs()
    for learn in (model.fold_in_users, model.updated):
        np.testing.assert_array_equal(learn(X, y).user_factors_, learn(new).user_factors_)


def test_folding_in_again_replaces_a_user() -> None:
    old, new = without_some("users")
    model = fitted(old)
    twice = model.fold_in_users(new.take(new.users == 0)).fold_in_users(
        new.take((new.users == 0) & (np.arange(len(new)) % 2 == 0))
    )
    code = int(np.searchsorted(twice.user_ids_, new.user_ids[0]))
    assert twice.user_counts_[code] == ((new.users == 0) & (np.arange(len(new)) % 2 == 0)).sum()
    indptr, _ = twice.seen_
    assert indptr[code + 1] - indptr[code] <= twice.user_counts_[code]


def test_a_saved_model_folds_in_alike(tmp_path: Path) -> None:
    old, new = without_some("users")
    model = fitted(old)
    model.save(tmp_path / "m.safetensors")
    direct = model.fold_in_users(new)
    for other in (wf.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        folded = other.fold_in_users(new)
        np.testing.assert_array_equal(folded.user_factors_, direct.user_factors_)
        np.testing.assert_array_equal(folded.user_biases_, direct.user_biases_)
    direct.save(tmp_path / "folded.safetensors")
    loaded = wf.load(tmp_path / "folded.safetensors")
    np.testing.assert_array_equal(loaded.predict(new), direct.predict(new))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype: str) -> None:
    old, new = without_some("users", 30)
    model = fitted(old, dtype=dtype)
    one, three = (
        Model(model._tables, model._record).with_options(n_threads=n).fold_in_users(new)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one.user_factors_, three.user_factors_)
    np.testing.assert_array_equal(one.user_biases_, three.user_biases_)


@pytest.mark.parametrize("ids", ["int", "str", "uint64"])
def test_ids_of_any_kind_stay_sorted_and_distinct(ids: str) -> None:
    def names(codes: Any) -> Any:
        if ids == "str":
            return np.array([f"user {code}" for code in codes], object)
        return codes if ids == "int" else [int(code) + 2**63 * int(code % 2) for code in codes]

    users = np.repeat(np.arange(20), 8)
    items = np.tile(np.arange(8), 20)
    values = (users * items % 5 + 1).astype(np.float32)
    base = users < 10
    model = fitted(wf.Ratings.from_arrays(names(users[base]), items[base], values[base]))
    folded = model.fold_in_users(
        wf.Ratings.from_arrays(names(users[~base]), items[~base], values[~base])
    )
    expected = wf.Ratings.from_arrays(names(users), items, values).user_ids
    assert folded.user_ids_.tolist() == expected.tolist()
    assert folded.user_ids_.dtype == expected.dtype


def test_a_visitor_gets_what_a_folded_in_user_gets() -> None:
    old, new = without_some("users")
    model = fitted(old)
    one = new.take(new.users == 0)
    folded = model.fold_in_users(one)
    items, values = one.item_ids[one.items].tolist(), one.values.tolist()
    for confidence in (0.0, 2.0):
        ids, scores = folded.recommend(new.user_ids[0], 5, confidence=0.0)
        for given in (one, (items, values), dict(zip(items, values, strict=True))):
            own, own_scores = model.recommend(ratings=given, n=5)
            if len(set(items)) == len(items) or not isinstance(given, dict):
                np.testing.assert_array_equal(own, ids)
                np.testing.assert_array_equal(own_scores, scores)
        _, lowered = model.recommend(ratings=one, n=5, confidence=confidence)
        assert (lowered <= scores).all()


def test_items_that_the_model_does_not_know_are_told() -> None:
    model = fitted()
    with pytest.warns(
        UserWarning, match=r"1 of 2 ratings are of 1 item that the model does not know \(item 999\)"
    ):
        model.recommend(ratings={1: 5.0, 999: 1.0})
    with pytest.raises(ValueError, match="no item that the model knows"):
        model.recommend(ratings={999: 1.0})
    with pytest.raises(ValueError, match="no user that the model knows"):
        model.fold_in_items(wf.Ratings.from_arrays([999], [1], [5.0]))


def test_what_a_visitor_cannot_be_is_an_error() -> None:
    model = fitted()
    with pytest.raises(ValueError, match="users and ratings are given"):
        model.recommend(3, ratings={1: 5.0})
    with pytest.raises(ValueError, match="neither users nor ratings"):
        model.recommend()
    with pytest.raises(ValueError, match="ratings is of 2 users"):
        model.recommend(ratings=wf.Ratings.from_arrays([1, 2], [1, 2], [5.0, 4.0]))
    with pytest.raises(ValueError, match=r"ratings is 5; it must be \{item: rating"):
        model.recommend(ratings=5)
    with pytest.raises(ValueError, match="ratings"):
        model.recommend(ratings={})
    with pytest.raises(ValueError, match="ratings of a visitor make no group: leave group out"):
        model.recommend(ratings={1: 5.0}, group="mean")
    with pytest.raises(ValueError, match="ratings has items and values of lengths 1 and 2; each"):
        model.recommend(ratings=([1], [5.0, 1.0]))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"loss": "absolute"}, "the loss absolute"),
        ({"l1_ratio": 0.5}, "an L1 part"),
        ({"nonnegative": True}, "nonnegative factors"),
    ],
)
def test_models_without_a_closed_form_refuse(params: dict[str, Any], words: str) -> None:
    model = (
        wf.MatrixFactorization(n_factors=2, n_epochs=1, random_state=0, verbose=0, **params)
        .fit(RATINGS)
        .model_
    )
    for call in (model.fold_in_users, model.fold_in_items, model.updated):
        with pytest.raises(ValueError, match=words):
            call(RATINGS)


def test_models_of_several_members_refuse() -> None:
    ensemble = wf.Ensemble(
        wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0), 2, intervals=False
    )
    with pytest.raises(ValueError, match="mean of several members"):
        ensemble.fit(RATINGS).fold_in_users(RATINGS)


def test_partial_fit_learns_new_rows_and_moves_rated_ones_alone() -> None:
    order = np.random.default_rng(0).permutation(len(RATINGS))
    first, second = RATINGS.take(order[:1100]).k_core(), RATINGS.take(order[1100:]).k_core()
    estimator = wf.MatrixFactorization(**PARAMS)
    assert estimator.partial_fit(first) is estimator
    before = estimator.model_
    estimator.partial_fit(second)
    after = estimator.model_
    assert set(after.user_ids_) == set(RATINGS.user_ids[np.unique(RATINGS.users)])
    assert after.n_ratings_ == len(RATINGS)
    assert after.user_counts_.sum() == len(RATINGS)
    assert before.n_ratings_ == 1100, "the model before is unchanged"
    rated = np.isin(before.user_ids_, second.user_ids)
    at = np.searchsorted(after.user_ids_, before.user_ids_)
    np.testing.assert_array_equal(after.user_factors_[at][~rated], before.user_factors_[~rated])
    assert (after.user_factors_[at][rated] != before.user_factors_[rated]).any(axis=1).all()
    assert wf.metrics.rmse(second.values, after.predict(second)) < wf.metrics.rmse(
        second.values, before.predict(second)
    )


def test_partial_fit_predicts_about_as_well_as_a_fit_of_all() -> None:
    data = wf.datasets.make_ratings(300, 200, 16_000, random_state=1).ratings
    order = np.random.default_rng(0).permutation(len(data))
    train, test = order[:14_000], data.take(order[14_000:])
    params = {**PARAMS, "dtype": "float32"}
    ongoing = wf.MatrixFactorization(**params)
    for part in np.array_split(train, 5):
        ongoing.partial_fit(data.take(part).k_core())
    whole = wf.MatrixFactorization(**params).fit(data.take(train))
    first = wf.MatrixFactorization(**params).fit(data.take(train[: len(train) // 5]))
    errors = [wf.metrics.rmse(test.values, each.predict(test)) for each in (whole, ongoing, first)]
    # Nearer to the fit of all than a quarter of the way back to the fit of the first part.
    assert errors[1] - errors[0] < 0.25 * (errors[2] - errors[0])


def test_a_failed_partial_fit_changes_nothing() -> None:
    estimator = wf.MatrixFactorization(**PARAMS).fit(RATINGS)
    model = estimator.model_
    with pytest.raises(ValueError, match=r"X \(users\) holds the string"):
        estimator.partial_fit(wf.Ratings.from_arrays(["ann"], [1], [5.0]))
    assert estimator.model_ is model


def test_warm_start_goes_on_from_the_fitted_rows() -> None:
    estimator = wf.MatrixFactorization(**PARAMS, warm_start=True).fit(RATINGS)
    first = estimator.model_
    estimator.set_params(n_epochs=0).fit(RATINGS)
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_"):
        np.testing.assert_allclose(getattr(estimator, name), getattr(first, name), rtol=1e-12)
    assert estimator.global_mean_ == first.global_mean_
    cold = wf.MatrixFactorization(**{**PARAMS, "n_epochs": 1}).fit(RATINGS)
    warm = estimator.set_params(n_epochs=1).fit(RATINGS)
    assert warm.history_[0]["train_rmse"] < cold.history_[0]["train_rmse"]


def test_warm_start_keeps_what_was_chosen_and_takes_new_rows() -> None:
    old, _ = without_some("users")
    estimator = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0, warm_start=True).fit(
        old
    )
    kept = {name: value for name, value in estimator.chosen_.items() if name.startswith("reg")}
    estimator.fit(RATINGS)
    assert kept.items() <= estimator.chosen_.items()
    assert len(estimator.user_ids_) == RATINGS.n_users
    assert estimator.user_factors_[:5].any()
    with pytest.raises(ValueError, match="n_factors is 3; with warm_start=True it must be"):
        estimator.set_params(n_factors=3).fit(RATINGS)


def test_warm_start_carries_on_without_biases_and_with_labels() -> None:
    labels = wf.Ratings.from_arrays(
        RATINGS.users, RATINGS.items, (RATINGS.values > 3).astype(np.float32)
    )
    for params, ratings in (({"biases": False}, RATINGS), ({"loss": "logistic"}, labels)):
        estimator = wf.MatrixFactorization(**{**PARAMS, **params}, warm_start=True).fit(ratings)
        first = estimator.history_[0]["train_loss"]
        assert estimator.fit(ratings).history_[0]["train_loss"] < first


@pytest.mark.parametrize("new", ["users", "items", "ratings"])
def test_the_command_adds_to_a_model_file(new: str, tmp_path: Path) -> None:
    old, more = without_some("items" if new == "items" else "users")
    model, ratings = tmp_path / "m.safetensors", tmp_path / "more.csv"
    fitted(old).save(model)
    wf.write_ratings(more, ratings)
    output = tmp_path / "grown.safetensors"
    printed = succeed("fold-in", model, ratings, "--output", output, "--new", new)
    assert f"saved    {output}" in printed.out
    grown = wf.load(output)
    assert len(grown.user_ids_) == 60 and len(grown.item_ids_) == 40
    before = wf.load(model)
    ways = {"users": before.fold_in_users, "items": before.fold_in_items, "ratings": before.updated}
    np.testing.assert_array_equal(grown.predict(RATINGS), ways[new](more).predict(RATINGS))


def test_the_command_names_its_options_in_errors(tmp_path: Path) -> None:
    model, ratings = tmp_path / "m.safetensors", tmp_path / "more.csv"
    fitted().save(model)
    wf.write_ratings(RATINGS, ratings)
    failed = warpfactor("fold-in", model, ratings, "--output", tmp_path / "o", "--new", "all")
    assert failed.code == 1 and "--new is 'all'" in failed.err
    assert "give --output FILE" in warpfactor("fold-in", model, ratings).err


def test_mistyped_ratings_are_warned_of_and_infinite_rows_refused():
    ratings = wf.datasets.make_ratings(60, 40, 900, random_state=0).ratings
    estimator = wf.MatrixFactorization(4, n_epochs=4, reg=0.05, random_state=0, verbose=0).fit(
        ratings
    )
    before = estimator.item_biases_.copy()
    for call in (
        lambda: estimator.model_.fold_in_users(wf.Ratings.from_arrays([99], [1], [500.0])),
        lambda: estimator.recommend(ratings={1: 500.0}),
        lambda: estimator.partial_fit([[0, 1]], [500.0]),
    ):
        with pytest.warns(
            UserWarning, match=r"1 of 1 ratings are far outside .* \(the first: 500\)"
        ):
            call()
    model = wf.MatrixFactorization(4, n_epochs=4, reg=0.05, random_state=0, verbose=0).fit(ratings)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="factors are not finite"):
        model.partial_fit([[0, 1]], [1e38])
    np.testing.assert_array_equal(model.item_biases_, before)


def test_a_visitors_unknown_items_tell_nothing_of_what_is_known():
    ratings = wf.datasets.make_ratings(60, 40, 900, random_state=0).ratings
    fit = {"n_epochs": 6, "reg": 0.05, "init": 0.1, "random_state": 0, "verbose": 0}
    model = wf.MatrixFactorization(4, **fit).fit(ratings).model_
    _, without = model.recommend(ratings={1: 5.0, 2: 2.0}, confidence=2)
    strange = {1: 5.0, 2: 2.0} | dict.fromkeys(range(1000, 1030), 3.0)
    with pytest.warns(UserWarning, match="does not know"):
        _, beside = model.recommend(ratings=strange, confidence=2)
    np.testing.assert_array_equal(beside, without)
