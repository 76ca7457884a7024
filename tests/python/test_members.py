"""Folded models: what they predict, what they keep of their members, and their file."""

import pickle

import numpy as np
import pytest

import warpfactor as wf
from model_files import lay_out, taken_apart, tensor
from warpfactor.model.members import Member, Noise, fold
from warpfactor.model.model import Model

N_USERS, N_ITEMS = 7, 5
RANKS = (3, 1, 4)
WEIGHTS = (0.5, 0.2, 0.3)


def a_fit(**params):
    """A small fit whose last user and item have no rating."""
    rng = np.random.default_rng(1)
    ratings = wf.Ratings(
        *np.divmod(np.arange(24, dtype=np.int32), np.int32(4)),
        rng.normal(3, 1, 24).astype(np.float32),
        np.arange(N_USERS) * 10,
        np.arange(N_ITEMS) * 10,
    )
    return wf.MatrixFactorization(**{"n_factors": 3, "random_state": 0, "verbose": 0} | params).fit(
        ratings
    )


def some_members(dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return [
        Member(
            *(rng.normal(0, 1, (n, k)).astype(dtype) for n in (N_USERS, N_ITEMS)),
            *(rng.normal(0, 1, n).astype(dtype) for n in (N_USERS, N_ITEMS)),
            float(rng.normal(3, 1)),
        )
        for k in RANKS
    ]


def folded_model(members=None, weights=WEIGHTS, noise=None, dtype=np.float32, **params):
    """A model of the members; rows, ids and the rest are those of a fit."""
    from dataclasses import replace

    fitted = a_fit(dtype=np.dtype(dtype).name, **params).model_
    folded = fold(members or some_members(dtype), weights, noise=noise)
    tables = replace(fitted._tables, **folded.tables())
    return Model(tables, fitted._record, fitted._options, folded.members)


def pairs_of(model, n_users=N_USERS - 1, n_items=N_ITEMS - 1):
    users, items = np.divmod(np.arange(n_users * n_items), n_items)
    return np.stack([model.user_ids_[users], model.item_ids_[items]], 1), users, items


def score_of(member, users, items):
    """A member's score in double precision."""
    P, Q, b_u, b_i = (array.astype(np.float64) for array in member[:4])
    return member.global_mean + b_u[users] + b_i[items] + (P[users] * Q[items]).sum(1)


def rounding(members, dtype):
    """Of a sum of all factors' products and biases: its terms times the units in the last place."""
    largest = max(float(np.abs(array).max()) for member in members for array in member[:4])
    return (sum(RANKS) + 8) * (largest**2 + 3 * largest) * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_folded_model_predicts_the_weighted_mean_of_its_members(dtype):
    members = some_members(dtype)
    model = folded_model(members, dtype=dtype)
    X, users, items = pairs_of(model)
    scores = np.stack([score_of(member, users, items) for member in members])
    atol = rounding(members, dtype)
    np.testing.assert_allclose(model.predict(X), WEIGHTS @ scores, rtol=0, atol=atol)
    assert model.n_members_ == 3
    assert "3 members, 8 factors" in repr(model)
    # The weights need not sum to 1, and are equal where there are none.
    other = folded_model(members, np.multiply(WEIGHTS, 7), dtype=dtype)
    np.testing.assert_allclose(other.predict(X), WEIGHTS @ scores, rtol=0, atol=atol)
    other = folded_model(members, None, dtype=dtype)
    np.testing.assert_allclose(other.predict(X), scores.mean(0), rtol=0, atol=atol)


def test_the_standard_deviation_is_that_of_the_members_and_the_noise():
    members = some_members()
    rng = np.random.default_rng(3)
    f, g = rng.uniform(0.5, 2, N_USERS), rng.uniform(0.5, 2, N_ITEMS)
    model = folded_model(members, noise=Noise(0.3, 0.7, f, g))
    X, users, items = pairs_of(model)
    scores = np.stack([score_of(member, users, items) for member in members])
    weights = np.array(WEIGHTS)
    spread = weights @ (scores - weights @ scores) ** 2 / (1 - weights @ weights)
    expected = np.sqrt(0.7 * spread + 0.3 * f[users] * g[items])
    predicted, std = model.predict(X, return_std=True)
    assert std.dtype == np.float32
    np.testing.assert_array_equal(predicted, model.predict(X))
    # dσ = d(spread) / 2σ, and the spread is of squares of differences of scores.
    error = 4 * rounding(members, np.float32) * np.abs(scores).max() / expected.min()
    np.testing.assert_allclose(std, expected, rtol=0, atol=error)
    assert model.noise_variance_ == 0.3
    lower, upper = model.predict_interval(X, 0.95)
    np.testing.assert_allclose(upper - predicted, 1.959964 * std, rtol=1e-5)
    np.testing.assert_allclose(predicted - lower, 1.959964 * std, rtol=1e-5)


def test_equal_members_have_no_spread():
    member = some_members()[0]
    model = folded_model([member] * 3, None, noise=Noise(0.25))
    X, _, _ = pairs_of(model)
    _, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(std, 0.5, rtol=1e-5)


def test_a_row_that_is_not_known_is_one_drawn_from_the_others():
    fitted = a_fit(dtype="float64").model_
    member = Member(
        fitted.user_factors_,
        fitted.item_factors_,
        fitted.user_biases_,
        fitted.item_biases_,
        fitted.global_mean_,
    )
    model = folded_model([member], [1], noise=Noise(0.2), dtype=np.float64)
    known_users, known_items = model.user_known_, model.item_known_
    P, Q = fitted.user_factors_[known_users], fitted.item_factors_[known_items]
    b_u, b_i = fitted.user_biases_[known_users], fitted.item_biases_[known_items]
    of_user = np.mean((b_u + P @ Q[1]) ** 2)
    of_item = np.mean((b_i + Q @ P[2]) ** 2)
    of_both = np.mean(b_u**2) + np.mean(b_i**2) + np.mean((P @ Q.T) ** 2)
    ids = fitted.user_ids_, fitted.item_ids_
    X = [(-1, ids[1][1]), (ids[0][2], -1), (-1, -1), (ids[0][2], ids[1][1]), (ids[0][-1], -1)]
    _, std = model.predict(X, return_std=True)
    expected = np.sqrt(0.2 + np.array([of_user, of_item, of_both, 0, of_both]))
    np.testing.assert_allclose(std, expected, rtol=1e-12)
    _, std = model.with_options(unknown="nan").predict(X, return_std=True)
    np.testing.assert_array_equal(np.isnan(std), [True, True, True, False, True])
    with pytest.raises(ValueError, match=r"has no training ratings|without training ratings"):
        model.with_options(unknown="raise").predict(X, return_std=True)


def test_rows_with_few_ratings_are_less_certain():
    member = some_members()[0]
    model = folded_model([member], [1], noise=Noise(0.3, row_variances=(0.8, 0.5, 4.0)))
    ids, n_u, n_i = model.user_ids_, model.user_counts_, model.item_counts_
    pairs = [(0, 0), (-1, 0), (0, -1), (-1, -1), (N_USERS - 1, 0)]
    X = [(ids[u] if u >= 0 else -5, model.item_ids_[i] if i >= 0 else -5) for u, i in pairs]
    counts = [(n_u[u] if u >= 0 else 0, n_i[i] if i >= 0 else 0) for u, i in pairs]
    variance = [0.3 + 0.8 * 4 / (n + 4) + 0.5 * 4 / (m + 4) for n, m in counts]
    np.testing.assert_allclose(model.predict(X, return_std=True)[1], np.sqrt(variance), rtol=1e-6)


def test_intervals_follow_the_table_of_quantiles():
    levels, quantiles = np.array([0.5, 0.8, 0.9]), np.array([1.0, 1.6, 2.0])
    noise = Noise(1.0, levels=levels, quantiles=quantiles)
    assert noise.half_width(0.8) == 1.6
    assert noise.half_width(0.65) == pytest.approx(1.3)
    # Below and above the table: not wider than its first entry, and on with the normal's tail.
    assert noise.half_width(0.99) == pytest.approx(2.0 * 2.575829 / 1.644854, rel=1e-6)
    assert 0 < noise.half_width(0.1) <= 1
    assert Noise(1.0).half_width(0.5) == pytest.approx(0.6744898, rel=1e-6)


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90, "0.9", True, None])
def test_a_coverage_out_of_range_is_refused(coverage):
    model = folded_model(noise=Noise(1.0))
    with pytest.raises(ValueError, match="coverage is"):
        model.predict_interval(pairs_of(model)[0], coverage)


def test_a_model_without_noise_says_how_to_get_it():
    fitted = a_fit()
    X, _, _ = pairs_of(fitted.model_)
    for ask in (
        lambda: fitted.predict(X, return_std=True),
        lambda: fitted.model_.predict(X, return_std=True),
        lambda: fitted.predict_interval(X),
        lambda: folded_model().predict(X, return_std=True),
    ):
        with pytest.raises(ValueError, match=r"fit warpfactor\.Ensemble\(MatrixFactorization"):
            ask()
    with pytest.raises(ValueError, match="return_std is 1; it must be True or False"):
        fitted.model_.predict(X, return_std=1)


def test_pairs_that_can_be_read_once_give_both():
    model = folded_model(noise=Noise(1.0))
    X, _, _ = pairs_of(model)
    expected = model.predict(X, return_std=True)
    for once in (iter(X.tolist()), wf.Ratings.from_pairs(X, np.zeros(len(X)))):
        for one, other in zip(model.predict(once, return_std=True), expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_too_many_factors_are_an_error_that_names_the_limit():
    rows = np.zeros((2, 2600), np.float32)
    member = Member(rows, rows, np.zeros(2), np.zeros(2), 0.0)
    with pytest.raises(ValueError, match=r"2 members have 5200 factors in all; .* at most 4096"):
        fold([member, member])


def full_noise():
    rng = np.random.default_rng(5)
    factors = (rng.uniform(0.5, 2, n).astype(np.float32) for n in (N_USERS, N_ITEMS))
    table = np.array([0.5, 0.9]), np.array([0.7, 1.7])
    return Noise(0.3, 0.9, *factors, *table, (0.4, 0.6, 4.0))


@pytest.mark.parametrize("noise", [None, Noise(0.5), full_noise()], ids=["none", "one", "full"])
def test_a_file_and_a_pickle_keep_the_members(tmp_path, noise):
    model = folded_model(noise=noise)
    X, _, _ = pairs_of(model)
    model.save(tmp_path / "model.safetensors")
    for other in (wf.load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        assert other.n_members_ == 3
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        np.testing.assert_array_equal(other._members.weights, model._members.weights)
        for name in ("user_offsets", "item_offsets", "ranks"):
            assert not getattr(other._members, name).flags.writeable
        if noise is not None:
            bounds = zip(other.predict_interval(X), model.predict_interval(X), strict=True)
            for one, another in bounds:
                np.testing.assert_array_equal(one, another)
    # And whatever makes another model of it.
    kept = model.with_seen(wf.Ratings.from_pairs(X, np.zeros(len(X)))).with_options(n_threads=1)
    assert kept.n_members_ == 3


def test_an_ordinary_file_holds_nothing_of_members(tmp_path):
    a_fit().save(tmp_path / "model.safetensors")
    for names in taken_apart(tmp_path / "model.safetensors"):
        assert not [name for name in names if "member" in name]


DAMAGE = {
    "weights": np.array([0.5, 0.2, 0.4]),
    "ranks": np.array([3, 1, 5], np.int32),
    "user_offsets": np.zeros((N_USERS, 2), np.float32),
    "item_offsets": np.full((N_ITEMS, 3), np.nan, np.float32),
    "noise": np.array([-1.0, 1.0]),
    "user_noise": np.ones(N_USERS + 1, np.float32),
    "item_noise": np.ones(N_ITEMS, np.int32),
    "levels": np.array([0.9, 0.5]),
    "quantiles": np.array([1.0]),
    "something": np.array([1.0]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_members_are_an_error(tmp_path, name):
    path = tmp_path / "model.safetensors"
    folded_model(noise=full_noise()).save(path)
    tensors, metadata = taken_apart(path)
    lay_out(path, tensors | {f"members.{name}": tensor(DAMAGE[name])}, metadata)
    with pytest.raises(wf.ModelFileError, match="is damaged"):
        wf.load(path)


def test_members_of_a_member_are_its_own():
    a, b, c = some_members(np.float64)
    inner = fold([a, b], [0.25, 0.75])
    two = Member(*(inner.tables().values()), inner.members)
    model = folded_model([two, c], [0.4, 0.6], dtype=np.float64)
    X, users, items = pairs_of(model)
    scores = np.stack([score_of(member, users, items) for member in (a, b, c)], 1)
    np.testing.assert_allclose(model.member_weights_, [0.1, 0.3, 0.6], rtol=1e-14)
    atol = rounding([a, b, c], np.float64)
    np.testing.assert_allclose(model.member_scores(X), scores, rtol=0, atol=4 * atol)
    np.testing.assert_allclose(model.predict(X), scores @ [0.1, 0.3, 0.6], rtol=0, atol=atol)


def test_a_single_fit_is_its_own_member():
    fitted = a_fit(dtype="float64").model_
    X, _, _ = pairs_of(fitted)
    np.testing.assert_array_equal(fitted.member_weights_, [1])
    np.testing.assert_allclose(fitted.member_scores(X)[:, 0], fitted.predict(X), rtol=1e-13)
