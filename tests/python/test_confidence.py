"""Recommendations by confidence bounds."""

from __future__ import annotations

import numpy as np
import pytest

import warpfactor as wf
from warpfactor import _core

# The start is given, so that no search leaves the factors at zero.
FIT = {"n_factors": 6, "n_epochs": 8, "init": 0.05, "random_state": 0, "verbose": 0}


@pytest.fixture(scope="module")
def ratings():
    """Ratings of items that have from one to many of them."""
    rng = np.random.default_rng(3)
    users = rng.integers(0, 150, 4000)
    items = np.minimum(rng.geometric(0.04, 4000), 90)
    values = 3 + 0.4 * rng.normal(size=91)[items] + rng.normal(size=4000) * 0.7
    return wf.Ratings.from_any(np.stack([users, items], 1), values)


@pytest.fixture(scope="module")
def model(ratings):
    return wf.MatrixFactorization(**FIT).fit(ratings).model_


def solved(mean_square, information):
    """Return t = mean_square + mean(1 / (information + 1/t)), by bisection."""
    low, high = 0.0, mean_square + np.mean(1 / information)
    for _ in range(200):
        t = (low + high) / 2
        # t - 1 / (information + 1/t), without the cancellation where there is little information.
        grows = mean_square > np.mean(t / (1 + 1 / (information * t)))
        low, high = (t, high) if grows else (low, t)
    return high


def reference(model):
    """Return s_ui as the docstring of `recommend` has it, in float64."""
    known, n = model.item_known_, model.item_counts_.astype(float)
    P, Q = model.user_factors_.astype(float), model.item_factors_.astype(float)
    rmse = next(e["train_rmse"] for e in model.history_ if e["epoch"] == model.n_epochs_)
    v = {"identity": rmse**2, "probability": rmse**-2, "signed_probability": 4 * rmse**-2}
    v = v[model.link_]
    length = np.average((P**2).sum(1), weights=model.user_counts_)
    each = length / (P.shape[1] * v)
    t_q = solved(np.mean(Q[known] ** 2), n[known] * each)
    variances = 1 / (n * each + 1 / t_q)
    biases = 0
    if model.has_biases_:
        b = model.item_biases_[known].astype(float) - model.start_bias_
        biases = 1 / (n / v + 1 / solved(np.mean(b**2), n[known] / v))
    other = np.average((Q**2).sum(1), weights=model.item_counts_)
    m = model.user_counts_.astype(float)
    each = other / (P.shape[1] * v)
    t_p = solved(np.mean(P[model.user_known_] ** 2), m[model.user_known_] * each)
    lengths = (P**2).sum(1) + P.shape[1] / (m * each + 1 / t_p)
    return np.sqrt(biases + lengths[:, None] * variances)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("params", "labels"),
    [
        ({}, None),
        ({"biases": False}, None),
        ({"loss": "poisson"}, None),
        ({"loss": "logistic"}, (0, 1)),
        ({"loss": "logistic"}, (-1, 1)),
        ({"loss": "squared_hinge"}, (-1, 1)),
    ],
)
def test_scores_are_lowered_by_the_deviations_of_the_docstring(ratings, dtype, params, labels):
    y = np.abs(ratings.values) if labels is None else np.where(ratings.values > 3, *labels[::-1])
    data = wf.Ratings(ratings.users, ratings.items, y, ratings.user_ids, ratings.item_ids)
    model = wf.MatrixFactorization(**FIT, **params, dtype=dtype).fit(data).model_
    z = 1.5
    plain, scores = model.recommend(model.user_ids_, n=91, exclude_seen=False)
    ids, bounds = model.recommend(model.user_ids_, n=91, exclude_seen=False, confidence=z)
    assert (np.diff(bounds, axis=1) <= 0).all()

    def by_item(ids, values):
        return np.take_along_axis(values.astype(float), np.argsort(ids, 1), 1)

    x, low = by_item(plain, scores), by_item(ids, bounds)
    if model.link_ != "identity":
        p, lowest = (p if labels[0] == 0 else (p + 1) / 2 for p in (x, low))
        x, low = np.log(p / (1 - p)), np.log(lowest / (1 - lowest))
    # Some twenty roundings of numbers below 8; a logit's grow by 1/(p(1-p)), for p is rounded to 1.
    eps = np.finfo(dtype).eps * 8 * 20
    room = eps if model.link_ == "identity" else eps * (np.exp(np.abs(low)) + np.exp(np.abs(x)) + 2)
    assert (np.abs(x - z * reference(model) - low) <= room).all()


def test_deviations_are_the_errors_of_posterior_means():
    """The error of a posterior mean, over its deviation, has variance 1."""
    rng = np.random.default_rng(11)
    n_items, noise, spread = 4000, 0.8, 0.4
    n = rng.geometric(0.1, n_items)
    truth = spread * rng.normal(size=n_items)
    means = truth + noise * rng.normal(size=n_items) / np.sqrt(n)
    biases = means * n / (n + noise**2 / spread**2)
    variances, *_ = _core.uncertainty(
        np.zeros((1, 1)),
        np.zeros((n_items, 1)),
        biases,
        np.array([n.sum()], np.uint32),
        n.astype(np.uint32),
        start_bias=0.0,
        biases=True,
        link="identity",
        train_rmse=noise,
    )
    exact = np.sqrt(1 / (n / noise**2 + 1 / spread**2))
    # The prior variance comes from 4,000 squares: a relative error of 2.2 %, three times that at most.
    deviations = np.sqrt(variances)
    np.testing.assert_allclose(deviations, exact, rtol=3 * np.sqrt(2 / n_items))
    assert abs(np.mean(((biases - truth) / deviations) ** 2) - 1) < 6 * np.sqrt(2 / n_items)


def test_items_of_few_ratings_give_way(model):
    def counts(confidence):
        ids, _ = model.recommend(model.user_ids_, n=5, confidence=confidence)
        return model.item_counts_[np.searchsorted(model.item_ids_, ids)].mean()

    assert counts(0) < counts(2) < counts(20)


def test_no_confidence_is_the_prediction(model):
    for mine, theirs in zip(
        model.recommend([1, 2], confidence=0), model.recommend([1, 2]), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_bounds_are_the_same_from_estimator_model_file_and_pickle(model, tmp_path):
    import pickle

    expected = model.recommend([3, 9_999], n=7, confidence=3)
    model.save(tmp_path / "m")
    others = (
        wf.MatrixFactorization.from_model(model),
        wf.load(tmp_path / "m"),
        pickle.loads(pickle.dumps(model)),
        model.with_options(n_threads=1),
    )
    for other in others:
        for mine, theirs in zip(
            other.recommend([3, 9_999], n=7, confidence=3), expected, strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("rmse", [0.0, 0.7])
@pytest.mark.parametrize("size", [0.0, 0.5])
@pytest.mark.parametrize("link", ["identity", "probability"])
def test_deviations_without_noise_or_without_effects_are_finite(rmse, size, link):
    rng = np.random.default_rng(1)
    P, Q, biases = (size * rng.normal(size=shape) for shape in ((9, 3), (7, 3), 7))
    biases_unknown, factors_unknown, lengths, _ = _core.uncertainty(
        P,
        Q,
        biases,
        np.arange(9, dtype=np.uint32),
        np.arange(7, dtype=np.uint32),
        start_bias=0.0,
        biases=True,
        link=link,
        train_rmse=rmse,
    )
    # Ratings without noise leave nothing unknown, and no row differs where no effect does.
    nothing = size == 0 or (rmse == 0 and link == "identity")
    for variances in (biases_unknown, factors_unknown):
        assert np.isfinite(variances).all()
        assert (variances[1:] == 0).all() if nothing else (variances[1:] > 0).all()
    # Users are as long as their factors, and as unknown users may be.
    known = (P**2).sum(axis=1)[1:]
    assert np.isfinite(lengths).all() and (lengths[1:-1] >= known * (1 - 1e-12)).all()
    assert (lengths[-1] > 0) == (size > 0)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (-1, "confidence is -1; it must be from 0 to 1000000"),
        (float("nan"), "confidence is nan; it must be from 0 to 1000000"),
        (float("inf"), "confidence is inf; it must be from 0 to 1000000"),
        (1e300, r"confidence is 1e\+300; it must be from 0 to 1000000"),
        ("high", "confidence is 'high'; it must be a number"),
        (True, "confidence is True; it must be a number"),
        (None, "confidence is None; it must be a number"),
    ],
)
def test_a_bad_confidence_is_named(model, bad, text):
    with pytest.raises(ValueError, match=text):
        model.recommend([1], confidence=bad)


def test_the_highest_multiples_have_finite_scores(model):
    for how in ({"confidence": 1_000_000}, {"exploration": 1e6}):
        assert np.isfinite(model.recommend([1], n=5, **how)[1]).all()
    with pytest.raises(ValueError, match="exploration is 1000001; it must be from 0 to 1000000"):
        model.recommend([1], exploration=1_000_001)


def test_without_a_history_there_is_no_bound(model):
    from dataclasses import replace

    record = replace(model._record, history=())
    bare = wf.Model(model._tables, record)
    with pytest.raises(
        ValueError, match=r"history has no training RMSE .* confidence=0 and exploration=0"
    ):
        bare.recommend([1], confidence=2)
    np.testing.assert_array_equal(bare.recommend([1])[0], model.recommend([1])[0])


@pytest.mark.parametrize("n_members", [2, 8])
def test_members_leave_as_much_unknown_as_one_of_them(ratings, n_members):
    """They are fits to the same ratings, so that more of them know no more and no less."""
    one = wf.MatrixFactorization(**{**FIT, "reg": 0.05})
    alone = one.fit(ratings).model_
    several = wf.Ensemble(one, n_members, intervals=False).fit(ratings).model_
    for how in ({"confidence": 1.0}, {"exploration": 1.0}):
        moved = []
        for model in (alone, several):
            every = {"users": model.user_ids_[:20], "n": 91, "exclude_seen": False}
            _, scores = model.recommend(**every)
            _, by_bound = model.recommend(**every, **how)
            moved.append(abs(np.nanmean(by_bound) - np.nanmean(scores)))
        assert moved[1] == pytest.approx(moved[0], rel=0.1)
