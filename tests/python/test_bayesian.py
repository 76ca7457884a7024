"""Bayesian matrix factorization: its posterior, and what the estimator makes of it."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

import warpfactor as wf

SMALL = {"n_factors": 3, "n_samples": 12, "n_burn_in": 15, "random_state": 0, "verbose": 0}


def small_ratings(n_users=40, n_items=30, n=500, seed=0) -> wf.Ratings:
    return wf.datasets.make_ratings(n_users, n_items, n, random_state=seed).ratings


def fitted(ratings=None, **params):
    return wf.BayesianMatrixFactorization(**SMALL | params).fit(ratings or small_ratings())


class ReferenceChains:
    """The same posterior sampled in another way: many chains at once, whole rows at a time, in NumPy.

    All arrays have the chains as their first axis. `observed` counts the ratings of each pair, which
    are equal; `met` says which pairs count for the prior means.
    """

    def __init__(self, z, observed, met, k, *, by_row, implicit, n_chains, seed):
        self.rng = np.random.default_rng(seed)
        self.k, self.by_row, self.implicit = k, by_row, implicit
        self.sides = [
            Side(values, seen, pairs, k, n_chains, self.rng)
            for values, seen, pairs in ((z, observed, met), (z.T, observed.T, met.T))
        ]
        self.alpha = np.ones(n_chains)

    def gamma(self, shape, rate):
        return self.rng.gamma(shape, 1 / rate)

    def sweep(self):
        users, items = self.sides
        users.draw_rows(items, self.alpha, self.by_row, self.rng)
        squares = items.draw_rows(users, self.alpha, self.by_row, self.rng)
        self.alpha = self.gamma((1 + users.seen.sum()) / 2, (1 + squares) / 2)
        for side in self.sides:
            side.draw_prior(self.rng)
            if self.implicit:
                side.draw_coefficients(self.rng)

    def scores(self):
        """(chains, users, items)."""
        users, items = (side.rows for side in self.sides)
        return (
            users[:, :, None, -1]
            + items[:, None, :, -1]
            + users[..., :-1] @ items[..., :-1].transpose(0, 2, 1)
        )


class Side:
    """One side's rows: k factors, and the bias last."""

    def __init__(self, values, seen, met, k, n_chains, rng):
        self.values, self.seen = values, seen
        n_rows, n_others = seen.shape
        self.rows = 0.1 * rng.standard_normal((n_chains, n_rows, k + 1))
        self.noise = np.ones((n_chains, n_rows))
        self.means, self.precisions = np.zeros((n_chains, k + 1)), np.ones((n_chains, k + 1))
        self.met = met / np.sqrt(met.sum(1, keepdims=True))
        self.y = np.zeros((n_chains, n_others, k + 1))
        self.rho = np.full((n_chains, k + 1), 100.0)

    def prior_means(self):
        return self.means[:, None] + self.met @ self.y

    def draw_rows(self, other, alpha, by_row, rng):
        prior = self.prior_means()
        x = other.rows.copy()
        x[..., -1] = 1
        total = np.zeros(len(alpha))
        for row, seen in enumerate(self.seen):
            weight = alpha[:, None] * self.noise[:, row, None] * other.noise * seen
            A = np.einsum("cn,cni,cnj->cij", weight, x, x)
            A += self.precisions[:, :, None] * np.eye(A.shape[-1])
            target = self.values[row] - other.rows[..., -1]
            h = np.einsum("cn,cn,cni->ci", weight, target, x) + self.precisions * prior[:, row]
            L = np.linalg.cholesky(A)
            e = rng.standard_normal(h.shape)[..., None]
            self.rows[:, row] = (
                np.linalg.solve(A, h[..., None]) + np.linalg.solve(L.transpose(0, 2, 1), e)
            )[..., 0]
            errors = target - np.einsum("cni,ci->cn", x, self.rows[:, row])
            squares = (other.noise * seen * errors**2).sum(1)
            if by_row:
                rate = 10 + alpha * squares / 2
                self.noise[:, row] = rng.gamma(10 + seen.sum() / 2, 1 / rate)
            total += self.noise[:, row] * squares
        return total

    def draw_prior(self, rng):
        n = len(self.seen)
        above = self.rows - self.met @ self.y
        squares = ((above - self.means[:, None]) ** 2).sum(1)
        self.precisions = rng.gamma((n + 2) / 2, 2 / (1 + self.means**2 + squares))
        centre = above.sum(1) / (n + 1)
        e = rng.standard_normal(centre.shape)
        self.means = centre + e / np.sqrt((n + 1) * self.precisions)

    def draw_coefficients(self, rng):
        above = self.rows - self.means[:, None]
        n = self.met.shape[1]
        lam, rho = self.precisions[..., None, None], self.rho[..., None, None]
        A = lam * (self.met.T @ self.met) + rho * np.eye(n)  # (chains, columns, n, n)
        h = lam[..., 0] * np.einsum("un,cuf->cfn", self.met, above)
        L = np.linalg.cholesky(A)
        e = rng.standard_normal(h.shape)[..., None]
        y = np.linalg.solve(A, h[..., None]) + np.linalg.solve(L.transpose(0, 1, 3, 2), e)
        self.y = y[..., 0].transpose(0, 2, 1)
        self.rho = rng.gamma((1 + n) / 2, 1 / (0.005 + (self.y**2).sum(1) / 2))


@pytest.mark.parametrize(("noise", "implicit"), [("even", "none"), ("rows", "both")])
def test_the_posterior_is_that_of_another_sampler(noise, implicit):
    rng = np.random.default_rng(6)
    n_users, n_items, k, n_chains = 9, 7, 2, 24
    true = rng.standard_normal((n_users, 1)) @ rng.standard_normal((1, n_items))
    values = true + rng.standard_normal((n_users, 1)) + 0.4 * rng.standard_normal(true.shape)
    observed = (rng.random(true.shape) < 0.6).astype(float)
    observed[:, 0] = observed[0] = 1
    observed[2:5, 0] = 2  # who rated what counts these once
    clicks = rng.random(true.shape) < 0.15
    users, items = np.repeat(np.argwhere(observed), observed[observed > 0].astype(int), axis=0).T
    r = values[users, items].astype(np.float32)
    mean, scale = r.astype(float).mean(), r.astype(float).std()

    chains = ReferenceChains(
        (values - mean) / scale, observed, (observed > 0) | clicks, k,
        by_row=noise == "rows", implicit=implicit == "both", n_chains=n_chains, seed=0,
    )  # fmt: skip
    sums, squares, noise_sum, n_samples = 0.0, 0.0, 0.0, 700
    for sweep in range(n_samples + 200):
        chains.sweep()
        if sweep >= 200:
            x = mean + scale * chains.scores()
            sums, squares = sums + x, squares + x**2
            noise_sum = noise_sum + scale**2 / chains.alpha
    expected = sums / n_samples
    every_pair = np.argwhere(np.ones_like(observed))
    models = [
        wf.BayesianMatrixFactorization(
            k, n_samples=2000, n_burn_in=200, n_kept=2000, noise=noise, implicit_feedback=implicit,
            dtype="float64", random_state=seed, verbose=0,
        ).fit(np.c_[users, items], r, implicit=np.argwhere(clicks) if implicit == "both" else None).model_
        for seed in range(n_chains)
    ]  # fmt: skip
    predicted = np.stack([m.predict(every_pair).reshape(observed.shape) for m in models])
    assert_same_mean(predicted, expected)
    # Standard deviations of the posterior are some hundredths to tenths: that is what is compared.
    deviation = np.sqrt(squares / n_samples - expected**2).mean()
    assert standard_error(predicted).mean() < 0.05 * deviation
    if noise == "even":
        variances = [m.predict(every_pair, return_std=True)[1] ** 2 for m in models]
        # The variance about a chain's own mean is less than all, by what chains differ in: both are.
        reference = squares / n_samples - expected**2 + (noise_sum / n_samples)[:, None, None]
        assert_same_mean(np.stack(variances).mean(1), reference.mean((1, 2)))


def standard_error(chains: NDArray[np.float64]) -> NDArray[np.float64]:
    return chains.std(0, ddof=1) / np.sqrt(len(chains))


def assert_same_mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    """The means over independent chains, the first axis, differ by no more than chance would have it.

    Six standard errors, of 2 x 23 degrees of freedom: a chance of 3e-7 for each number.
    """
    error = np.hypot(standard_error(a), standard_error(b))
    assert (np.abs(a.mean(0) - b.mean(0)) < 6 * error).all()


def test_movielens_is_predicted_better_than_by_myfm(data_path):
    with np.load(data_path("ml-100k/ml-100k.npz")) as file:
        X, r = np.c_[file["users"], file["items"]], file["ratings"].astype(np.float32)
        test = file["fold"] == 1
    model = wf.BayesianMatrixFactorization(random_state=0, verbose=0)
    model.fit(X[~test], r[~test], validation=(X[test], r[test]))
    predicted = model.predict(X[test])
    # Seeds differ by 0.0005. Without noise by row and who rated what it is 0.908.
    assert wf.metrics.rmse(r[test], predicted) < 0.8845
    assert model.history_[-1]["valid_rmse"] < 0.8835
    # A share of 20,000 ratings has a standard error of 0.0035 at most; users are not independent.
    for coverage in (0.5, 0.8, 0.95):
        low, high = model.predict_interval(X[test], coverage)
        assert abs(np.mean((low <= r[test]) & (r[test] <= high)) - coverage) < 0.03


def test_the_estimator_is_one_of_scikit_learn():
    model = wf.BayesianMatrixFactorization(5, noise="even", random_state=3)
    assert clone(model).get_params() == model.get_params()
    assert set(model.get_params()) == {
        "n_factors", "n_samples", "n_burn_in", "n_kept", "noise", "implicit_feedback", "dtype",
        "n_threads", "random_state", "unknown", "verbose", "callbacks",
    }  # fmt: skip
    with pytest.raises(
        AttributeError, match="this BayesianMatrixFactorization has no user_factors_ yet"
    ):
        _ = model.user_factors_
    X, y = small_ratings().to_pairs()
    search = GridSearchCV(wf.BayesianMatrixFactorization(**SMALL), {"n_factors": [1, 3]}, cv=3)
    assert search.fit(X, y).best_score_ > 0


def test_a_seed_gives_the_same_model_for_any_number_of_threads():
    ratings = small_ratings(300, 200, 15_000)
    one, five, other = (
        fitted(ratings, n_threads=threads, random_state=seed, n_factors=16)
        for threads, seed in ((1, 7), (5, 7), (1, 8))
    )
    assert one.n_threads_ == 1 < five.n_threads_
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_", "global_mean_"):
        assert np.array_equal(getattr(one, name), getattr(five, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
    pairs = ratings.to_pairs()[0][:50]
    deviations = [m.predict(pairs, return_std=True)[1] for m in (one, five)]
    assert np.array_equal(*deviations)


def test_all_kinds_of_ratings_are_taken():
    ratings = small_ratings()
    expected = fitted(ratings).predict(ratings)
    pairs, r = ratings.to_pairs()
    dense = np.full((40, 30), np.nan)
    dense[ratings.users, ratings.items] = ratings.values
    matrix = sparse.coo_matrix((ratings.values, (ratings.users, ratings.items)), (40, 30))
    model = wf.BayesianMatrixFactorization(**SMALL)
    order = np.lexsort((ratings.items, ratings.users))
    of_matrix = fitted(wf.Ratings.from_arrays(*(a[order] for a in (*pairs.T, r))))
    for X in (dense, np.ma.masked_invalid(dense), matrix.tocsr()):
        np.testing.assert_array_equal(
            model.fit(X).user_factors_, of_matrix.user_factors_, strict=True
        )
    assert np.array_equal(model.fit(pairs, r).predict(pairs), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_fitted_model_answers_and_is_saved_like_any_other(dtype, tmp_path):
    ratings = small_ratings()
    model = fitted(ratings, dtype=dtype, n_kept=5)
    assert model.user_factors_.shape == (40, 15) and model.user_factors_.dtype == dtype
    assert model.model_.n_members_ == 5 and model.n_epochs_ == 27 == len(model.history_)
    predicted, deviation = model.predict(ratings, return_std=True)
    assert predicted.dtype == dtype and (deviation**2 > 0.3 * model.model_.noise_variance_).all()
    assert model.score(ratings) > 0.2
    ids, scores = model.recommend(ratings.user_ids[:3], n=4)
    assert ids.shape == scores.shape == (3, 4)
    assert model.similar_items(ratings.item_ids[0], n=2)[0].shape == (2,)
    model.save(tmp_path / "model.safetensors")
    again = [
        wf.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(model)),
        wf.BayesianMatrixFactorization.from_model(wf.load(tmp_path / "model.safetensors")),
    ]
    for other in again:
        np.testing.assert_array_equal(other.predict(ratings), predicted, strict=True)
        np.testing.assert_array_equal(other.predict(ratings, return_std=True)[1], deviation)
        assert other.history_[3]["train_rmse"] == model.history_[3]["train_rmse"]
    # As given: whatever the file holds is the estimator's parameter again.
    params = again[2].get_params() | {"verbose": 0}
    assert params == model.get_params()
    assert np.array_equal(clone(again[2]).fit(ratings).user_factors_, model.user_factors_)


def test_models_of_other_estimators_are_told_apart(tmp_path):
    bayesian, plain = fitted(), wf.MatrixFactorization(2, verbose=0).fit(small_ratings())
    with pytest.raises(
        ValueError, match="which MatrixFactorization does not have: use the estimator"
    ):
        wf.MatrixFactorization.from_model(bayesian.model_)
    with pytest.raises(
        ValueError, match="which BayesianMatrixFactorization does not have: use the"
    ):
        wf.BayesianMatrixFactorization.from_model(plain.model_)
    assert "learning_rate" not in bayesian.model_.get_params()
    assert bayesian.model_.n_burn_in == 15
    with pytest.raises(AttributeError, match="no attribute 'learning_rate'"):
        _ = bayesian.model_.learning_rate


def test_the_history_tells_the_error_of_the_draw_and_then_of_the_mean():
    ratings = small_ratings(80, 60, 2_000)
    train, test = wf.train_test_split(ratings, test_size=0.2, random_state=0)
    model = fitted(train, n_kept=12).fit(train, validation=test)
    last = model.history_[-1]
    assert [record["epoch"] for record in model.history_] == list(range(1, 28))
    assert np.isnan(last["learning_rate"]) and last["valid_loss"] == last["valid_rmse"] ** 2
    known = np.logical_and(*model.model_.is_known(test))
    pairs, r = test.to_pairs()
    # float32: a score of some 5 from 36 products.
    error = wf.metrics.rmse(r[known], model.predict(pairs[known]))
    assert error == pytest.approx(last["valid_rmse"], rel=1e-5)
    # The mean of twelve draws is better than the average draw.
    draws = [record["valid_rmse"] for record in model.history_[8:15]]
    assert last["valid_rmse"] < np.mean(draws)


def test_validation_chooses_nothing():
    ratings = small_ratings()
    train, test = wf.train_test_split(ratings, test_size=0.2, random_state=0)
    plain = fitted(train)
    watched = wf.BayesianMatrixFactorization(**SMALL).fit(train, validation=test)
    assert np.array_equal(plain.user_factors_, watched.user_factors_)
    assert np.isnan(plain.history_[-1]["valid_rmse"])


def test_who_rated_what_takes_pairs_that_are_rated_twice():
    ratings = small_ratings(80, 60, 1_500)
    train, test = wf.train_test_split(ratings, test_size=0.2, random_state=0)
    pairs, r = train.to_pairs()
    X, y = np.concatenate([pairs, pairs]), np.concatenate([r, r])
    params = SMALL | {"n_samples": 300}
    errors = [
        wf.metrics.rmse(
            test.values,
            wf.BayesianMatrixFactorization(**params, implicit_feedback=who).fit(X, y).predict(test),
        )
        for who in ("none", "both")
    ]
    # The pairs are random: they say nothing. A sampler that steps too far goes to infinity.
    assert errors[1] < 1.05 * errors[0]


def test_pairs_without_a_rating_count_as_rated_for_the_prior_means():
    ratings = small_ratings(80, 60, 1_500)
    rng = np.random.default_rng(0)
    pairs = np.c_[rng.integers(0, 80, 400), rng.integers(0, 60, 400)]
    plain = fitted(ratings)

    def factors(**implicit):
        return wf.BayesianMatrixFactorization(**SMALL).fit(ratings, **implicit).user_factors_

    clicked = factors(implicit=pairs)
    assert not np.array_equal(clicked, plain.user_factors_)
    assert np.array_equal(clicked, factors(implicit=np.r_[pairs, pairs]))
    assert np.array_equal(plain.user_factors_, factors(implicit=ratings))
    unknown = np.r_[pairs, [(10**6, 3)]]
    assert np.array_equal(clicked, factors(implicit=unknown))
    with pytest.raises(ValueError, match="implicit holds no pair of a user and an item that both"):
        factors(implicit=[(10**6, 3)])
    with pytest.raises(ValueError, match="implicit is given, and implicit_feedback is 'none'"):
        wf.BayesianMatrixFactorization(**SMALL, implicit_feedback="none").fit(
            ratings, implicit=pairs
        )


def test_a_callback_ends_the_sampling():
    records = []
    model = fitted(callbacks=[lambda record: records.append(record) or record["epoch"] == 20])
    assert len(model.history_) == len(records) == 20 == model.n_epochs_
    assert model.model_.n_members_ == 5
    assert records[0] == pytest.approx(model.history_[0], nan_ok=True)


def test_an_error_leaves_the_earlier_fit():
    model = fitted()
    before = model.user_factors_

    def fail(record):
        raise RuntimeError("enough")

    model.set_params(callbacks=[fail])
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(small_ratings(seed=1))
    assert model.user_factors_ is before


def test_weights_say_how_precise_a_rating_is():
    rng = np.random.default_rng(0)
    users, items = np.divmod(np.arange(1200), 30)
    r = 3 + rng.standard_normal(40)[users] + 0.2 * rng.standard_normal(1200)
    noisy = rng.random(1200) < 0.5
    r[noisy] += 2 * rng.standard_normal(noisy.sum())
    X, true = np.c_[users, items], r[~noisy]
    model = wf.BayesianMatrixFactorization(**SMALL | {"n_samples": 40})
    plain = wf.metrics.rmse(true, model.fit(X, r).predict(X[~noisy]))
    weights = np.where(noisy, 0.01, 1)
    weighted = wf.metrics.rmse(true, model.fit(X, r, sample_weight=weights).predict(X[~noisy]))
    # Half of the noise's variance of 4 in 30 ratings of a user leaves a bias an error of some 0.25.
    assert weighted < 0.7 * plain
    left_out = fitted(wf.Ratings.from_arrays(*X[~noisy].T, r[~noisy])).user_factors_
    of_zero = wf.BayesianMatrixFactorization(**SMALL).fit(X, r, sample_weight=~noisy * 3.0)
    assert np.array_equal(of_zero.user_factors_, left_out)


def test_unknown_users_and_items_are_predicted_by_their_prior():
    ratings = small_ratings()
    model = fitted(ratings)
    new, item = 10**6, ratings.item_ids[3]
    by_item = model.predict([(new, item)])
    assert by_item[0] == pytest.approx(model.global_mean_ + model.item_biases_[3], rel=1e-6)
    assert model.predict([(new, -1)])[0] == pytest.approx(model.global_mean_, rel=1e-6)
    assert np.isnan(model.set_params(unknown="nan").predict([(new, item)])[0])
    with pytest.raises(ValueError, match="unknown"):
        model.set_params(unknown="raise").predict([(new, item)])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_factors": 0}, "n_factors is 0; it must be from 1 to 1024"),
        ({"n_factors": 2.5}, "n_factors is 2.5; it must be an integer"),
        ({"n_samples": 0}, "n_samples is 0; it must be at least 1"),
        ({"n_burn_in": -1}, "n_burn_in is -1; it must be at least 0"),
        ({"n_kept": 0}, "n_kept is 0; it must be at least 1"),
        ({"n_kept": 13}, "n_kept is 13; it must be at most n_samples, which is 12"),
        (
            {"n_kept": 12, "n_factors": 400},
            "n_kept is 12; it must be at most 10 with n_factors 400",
        ),
        ({"noise": "odd"}, "noise is 'odd'; it must be 'even' or 'rows'"),
        (
            {"implicit_feedback": True},
            "implicit_feedback is True; it must be 'auto', 'none', 'users', ",
        ),
        ({"dtype": "float16"}, "dtype is 'float16'; it must be 'float32' or 'float64'"),
        ({"n_threads": 0}, "n_threads is 0; it must be at least 1"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"unknown": "zero"}, "unknown is 'zero'"),
        ({"callbacks": 3}, "callbacks is 3; it must be a list of callables"),
        ({"verbose": -1}, "verbose is -1"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        fitted(**params)


def test_bad_ratings_are_refused():
    model = wf.BayesianMatrixFactorization(**SMALL)
    with pytest.raises(ValueError, match="finite"):
        model.fit([(0, 0), (0, 1)], [1.0, np.inf])
    with pytest.raises(ValueError, match="sample_weight is 0 everywhere"):
        model.fit([(0, 0), (0, 1)], [1.0, 2.0], sample_weight=[0.0, 0.0])
    with pytest.raises(ValueError, match="validation: none of its 1 ratings"):
        model.fit([(0, 0), (0, 1)], [1.0, 2.0], validation=([(7, 7)], [1.0]))


def test_sampling_in_a_thread_leaves_other_threads_running():
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    fitted(small_ratings(500, 400, 60_000), n_factors=64, n_samples=20)
    done.set()
    thread.join()
    assert len(ticks) > 10


@pytest.mark.parametrize("value", [3.0, 0.0, -2.5, 4e6])
def test_ratings_that_are_all_the_same_are_predicted(value):
    rng = np.random.default_rng(0)
    ratings = wf.Ratings.from_arrays(
        rng.integers(0, 40, 600), rng.integers(0, 30, 600), np.full(600, value)
    )
    model = wf.BayesianMatrixFactorization(
        4, n_burn_in=5, n_samples=10, random_state=0, verbose=0
    ).fit(ratings)
    predicted, std = model.predict([(0, 0), (7, 7), (999, 3)], return_std=True)
    # To a few roundings of a number of this size, which is the scale of what is drawn.
    least = np.finfo(np.float32).eps * max(abs(value), 1)
    assert np.abs(predicted - value).max() < 4 * least
    assert (std < 4 * least).all()
