"""Bad input: an error that names the argument, the value and the fix, or a result that makes sense."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import warpfactor as wf

X = np.array([[0, 0], [0, 1], [1, 0], [2, 1]])
Y = np.array([1.0, 2.0, 3.0, 4.0])


def model_of(**params):
    return wf.MatrixFactorization(
        **{"random_state": 0, "verbose": 0, "n_factors": 2, "n_epochs": 3, **params}
    )


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"n_factors": -1}, "n_factors is -1; it must be from 1 to 1024"),
        ({"n_factors": 0}, "n_factors is 0"),
        ({"n_factors": 1025}, "n_factors is 1025"),
        ({"n_factors": 2.5}, "n_factors is 2.5; it must be an integer"),
        ({"n_factors": True}, "n_factors is True"),
        ({"n_epochs": -1}, "n_epochs is -1"),
        ({"learning_rate": 0}, "learning_rate is 0; it must be finite and above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; it must be a number"),
        ({"reg": -0.1}, "reg is -0.1; it must be finite and at least 0"),
        ({"reg_bias": float("inf")}, "reg_bias is inf"),
        ({"biases": "yes"}, "biases is 'yes'; it must be True or False"),
        ({"reg": (0.1, -0.2)}, r"reg.items is -0.2; it must be finite and at least 0"),
        ({"reg": (0.1, 0.2, 0.3)}, r"reg is \(0.1, 0.2, 0.3\); it must be a number, or a pair"),
        ({"reg_bias": (0.1, "x")}, r"reg_bias is \(0.1, 'x'\); it must be a number, or a pair"),
        (
            {"loss": "mse"},
            "loss is 'mse'; it must be 'squared', 'absolute', 'huber', 'logistic', .*or 'poisson', or one that warpfactor.losses.custom made",
        ),
        ({"huber_delta": 0}, "huber_delta is 0; it must be finite and above 0"),
        ({"huber_delta": "1"}, "huber_delta is '1'; it must be a number"),
        ({"l1_ratio": 1.1}, "l1_ratio is 1.1; it must be from 0"),
        ({"l1_ratio": -0.1}, "l1_ratio is -0.1"),
        ({"nonnegative": 1}, "nonnegative is 1; it must be True or False"),
        (
            {"nonnegative": True, "loss": "logistic"},
            "nonnegative is true; it must be false with the logistic loss",
        ),
        (
            {"nonnegative": True, "init": (-np.ones((3, 2)), np.ones((2, 2)))},
            "init: P holds -1.0; with nonnegative=True, and with loss='poisson', initial factors",
        ),
        (
            {"loss": "poisson", "init": (np.ones((3, 2)), -np.ones((2, 2)))},
            "init: Q holds -1.0; with nonnegative=True, and with loss='poisson', initial factors",
        ),
        ({"optimizer": "Adam"}, "optimizer is 'Adam'; it must be 'sgd', 'adagrad', 'adam' or 'gd'"),
        ({"schedule": "step"}, "schedule is 'step'; it must be 'constant', "),
        ({"parallel": 4}, "parallel is 4; it must be 'auto', 'blocked' or 'hogwild'"),
        ({"init": -1.0}, "init is -1.0; a scale must be finite and at least 0"),
        ({"init": float("nan")}, "init is nan; a scale must be finite"),
        ({"init": "random"}, "init is 'random'"),
        ({"init": (np.ones((3, 2)), np.ones((3, 2)))}, r"Q has shape \(3, 2\); it must be"),
        ({"init": (np.full((3, 2), np.nan), np.ones((2, 2)))}, "P holds NaN"),
        ({"init": (np.full((3, 2), "a"), np.ones((2, 2)))}, "P has dtype"),
        (
            {"dtype": "float16"},
            "dtype is 'float16', which is for CUDA devices, and device is 'cpu'",
        ),
        ({"dtype": "nonsense"}, "dtype is 'nonsense'"),
        ({"device": "gpu"}, "device is 'gpu'; it must be 'cpu', 'cuda'"),
        ({"device": "cuda:x"}, "device is 'cuda:x'"),
        ({"n_threads": 0}, "n_threads is 0; it must be at least 1"),
        ({"n_threads": -2}, "n_threads is -2"),
        ({"n_threads": 2**31}, "n_threads is 2147483648; it must be from 1 to 2147483647"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": "x"}, "random_state is 'x'"),
        ({"early_stopping": 0}, "early_stopping is 0"),
        ({"unknown": "zero"}, "unknown is 'zero'; it must be 'mean', 'nan' or 'raise'"),
        ({"verbose": -1}, "verbose is -1"),
        ({"callbacks": print}, "callbacks is .*; it must be a list of callables"),
        ({"callbacks": [3]}, "callbacks holds 3; each must be callable"),
    ],
)
def test_bad_parameters(params, says):
    with pytest.raises(ValueError, match=says):
        model_of(**params).fit(X, Y)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X, [1, 2, np.nan, 4]), "nan is not finite at position 2"),
        ((X, [1, np.inf, 3, 4]), "inf is not finite at position 1"),
        ((X, [1, 2, 3, 1e300]), "1e\\+300"),
        ((X, Y[:3]), "4.*3|3.*4"),
        ((X[:0], Y[:0]), "no rating|empty|at least one"),
        ((X[:, :1], Y), "shape|column|pair"),
        ((np.c_[X, X], Y), "shape|column|pair"),
        ((X, np.array(["a", "b", "c", "d"])), "y|values|ratings"),
        ((X, np.array([1, 2, None, 4], object)), "None|object"),
        ((X, Y.astype(complex)), "complex"),
        ((np.array([[0.5, 1], [0, 1], [1, 1], [2, 1]]), Y), "0.5"),
        ((np.array([[np.nan, 1], [0, 1], [1, 1], [2, 1]]), Y), "nan"),
        ((np.array([[object(), 1], [0, 1], [1, 1], [2, 1]], object), Y), "object"),
        ((np.array([["a", 1], [3, 1], [1, 1], [2, 1]], object), Y), "str"),
        ((np.ma.masked_all((3, 3)), None), "holds no rating: every entry is missing"),
        ((np.full((3, 3), np.nan), None), "NaN|missing|no rating"),
        ((np.array([[1.0, np.inf], [2.0, 3.0]]), None), "inf"),
        ((sp.csr_array((3, 3)), None), "no rating|empty|stores"),
        ((X, None), "y|ratings"),
        ((np.ones((2, 2), object), None), "no ratings: pass y"),
        ((np.ones(3), None), "shape|2-D|dimension"),
        ((None, None), "None"),
    ],
)
def test_bad_ratings(data, says):
    with pytest.raises((ValueError, TypeError), match=says):
        model_of().fit(*data)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1, 0, 2, 1], r"ratings.values\[2\] is 2; it must be a label with the {loss} loss"),
        ([1, 0, -1, 1], r"ratings.values\[2\] is -1; .* the {loss} .*there is a 0 before"),
        ([-1, 0, -1, 1], r"ratings.values\[1\] is 0; .* the {loss} .*there is a -1 before"),
        ([1, 1, 1, 1], "ratings are all 1; they must have both labels with the {loss} loss"),
        ([0, 0, 0, 0], "ratings are all 0; they must have both labels with the {loss} loss"),
        (Y, r"ratings.values\[1\] is 2"),
    ],
)
def test_bad_labels(loss, values, says):
    with pytest.raises(ValueError, match=says.format(loss=loss)):
        model_of(loss=loss).fit(X, values)


def test_bad_labels_in_the_validation_set():
    with pytest.raises(
        ValueError, match=r"validation.values\[0\] is -1; it must be a label with the logistic loss"
    ):
        model_of(loss="logistic").fit(X, [0, 1, 1, 0], validation=(X, [-1, 1, 1, 1]))
    with pytest.raises(
        ValueError,
        match=r"validation.values\[1\] is -2; it must be at least 0 with the poisson loss",
    ):
        model_of(loss="poisson").fit(X, Y, validation=(X, [1, -2, 1, 1]))


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        ("logistic", r"ratings.values\[19999\] is 7; it must be a label with the logistic loss"),
        (
            "squared_hinge",
            r"ratings.values\[19999\] is 7; it must be a label with the squared_hinge",
        ),
        (
            wf.losses.custom(lambda r, x: (r - x) ** 2 + wf.losses.log(8 - r)),
            r"the custom loss gives inf|the custom loss gives -inf|the custom loss gives nan",
        ),
    ],
    ids=["logistic", "squared_hinge", "custom"],
)
def test_what_a_loss_cannot_take_is_refused_before_the_strengths_are_searched_for(loss, says):
    rng = np.random.default_rng(0)
    X, y = (
        np.c_[rng.integers(0, 300, 20_000), rng.integers(0, 200, 20_000)],
        rng.integers(0, 2, 20_000),
    )
    bad = y.copy()
    bad[-1] = 8 if callable(getattr(loss, "address", None)) else 7
    model = wf.MatrixFactorization(loss=loss, n_factors=4, n_epochs=2, n_threads=1, verbose=0)
    times = []
    for values in (y, bad):
        start = time.process_time()
        if values is bad:
            with pytest.raises(ValueError, match=says):
                model.fit(X, values)
        else:
            model.fit(X, values)
            assert "reg" in model.chosen_
        times.append(time.process_time() - start)
    assert times[1] < times[0] / 3


def test_bad_counts():
    with pytest.raises(
        ValueError,
        match=r"ratings.values\[3\] is -0.5; it must be at least 0 with the poisson loss",
    ):
        model_of(loss="poisson").fit(X, [1, 2, 0, -0.5])


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        ([1, 1, 1], r"sample_weight has shape \(3,\); it must be \(4,\)"),
        ([1, 1, -1, 1], r"sample_weight\[2\] is -1"),
        ([1, 1, np.nan, 1], "sample_weight: nan is not finite at position 2"),
        ([1, 1, 1e39, 1], r"sample_weight: 1e\+39 is beyond float32 at position 2"),
        (np.ones((4, 1)), r"sample_weight has shape \(4, 1\); it must be 1-D"),
        ([0, 0, 0, 0], "sample_weight is 0 everywhere"),
        (["a"] * 4, "sample_weight holds .*; it must be real numbers"),
    ],
)
def test_bad_weights(weights, says):
    with pytest.raises(ValueError, match=says):
        model_of().fit(X, Y, sample_weight=weights)


def test_bad_validation():
    with pytest.raises(ValueError, match="validation: none of its 1 ratings"):
        model_of().fit(X, Y, validation=([(7, 7)], [1.0]))
    with pytest.raises(ValueError, match="nan"):
        model_of().fit(X, Y, validation=([(0, 0)], [np.nan]))


def test_bad_queries():
    model = model_of().fit(X, Y)
    for n in (0, -3, 2.5):
        with pytest.raises(ValueError, match=f"n is {re.escape(str(n))}"):
            model.recommend([0], n=n)
    with pytest.raises(ValueError, match="integers"):
        model.recommend(["0"])
    with pytest.raises(ValueError, match="integers"):
        model.predict([("a", "b")])
    with pytest.raises(ValueError, match=r"shape \(5, 5\)"):
        model.predict(np.ones((5, 5)))
    with pytest.raises(ValueError, match=r"has shape \(3, 1\); .*\(n, 2\) array"):
        model.predict(np.ones((3, 1), int))


def test_an_earlier_fit_survives_a_failed_one():
    model = model_of().fit(X, Y)
    kept = model.predict(X)
    with pytest.raises(ValueError, match="nan"):
        model.fit(X, [1, 2, 3, np.nan])
    np.testing.assert_array_equal(model.predict(X), kept)


@pytest.mark.parametrize(
    ("pairs", "values"),
    [
        ([(0, 0)], [3.0]),
        ([(0, 0), (0, 1), (0, 2)], [1.0, 2.0, 3.0]),
        ([(0, 0), (1, 0), (2, 0)], [1.0, 2.0, 3.0]),
        ([(0, 0), (1, 1), (2, 0)], [4.0, 4.0, 4.0]),
        ([(0, 0), (0, 0)], [0.0, 0.0]),
        ([(2**40, -7), (3, 3)], [1.0, 2.0]),
        ([(0, 0), (1, 1)], [1e-30, 2e-30]),
        ([(0, 0), (1, 1)], [1e30, -1e30]),
        ([(0, 0), (1, 1)], [1000000.0, 1000001.0]),
    ],
)
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("normalize", [True, False])
def test_degenerate_ratings_give_finite_models(pairs, values, biases, normalize):
    model = model_of(biases=biases, normalize=normalize, n_epochs=20)
    try:
        model.fit(pairs, values)
    except wf.DivergedError:
        assert not normalize  # huge ratings with a step meant for standardized ones
        return
    assert np.isfinite(model.user_factors_).all()
    assert np.isfinite(model.item_factors_).all()
    predicted = model.predict(pairs)
    assert np.isfinite(predicted).all()
    if biases and normalize:
        # Within the ratings' range, or a random start's distance from it (s = 1 if all are equal).
        assert np.abs(predicted - np.mean(values)).max() <= max(np.ptp(values), 0.05)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 1e6, width=32)), min_size=1
    ),
    loss=st.sampled_from(["squared", "absolute", "huber", "poisson"]),
    biases=st.booleans(),
    nonnegative=st.booleans(),
    l1_ratio=st.sampled_from([0.0, 0.5, 1.0]),
    optimizer=st.sampled_from(["sgd", "adagrad", "adam", "gd"]),
    batch_size=st.sampled_from([None, 1, 3, 100]),
)
def test_any_small_ratings_train_with_every_loss_and_optimizer(
    rows, loss, biases, nonnegative, l1_ratio, optimizer, batch_size
):
    pairs, y = [row[:2] for row in rows], [row[2] for row in rows]
    params = {"loss": loss, "biases": biases, "nonnegative": nonnegative, "l1_ratio": l1_ratio}
    params |= {"optimizer": optimizer, "batch_size": None if optimizer == "gd" else batch_size}
    model = model_of(**params).fit(pairs, y)
    assert np.isfinite(model.predict(pairs)).all()
    if nonnegative or loss == "poisson":
        assert (model.predict(pairs) >= 0).all()


def test_all_ratings_equal_predict_that_rating():
    model = model_of(n_epochs=20).fit(X, np.full(4, 3.5))
    np.testing.assert_allclose(model.predict(X), 3.5, atol=0.05)


def test_more_threads_than_work_is_fine():
    model = model_of(n_threads=64).fit(X, Y)
    assert model.n_threads_ == 1


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 9)), min_size=1, max_size=40),
    values=st.data(),
    k=st.integers(1, 40),
    biases=st.booleans(),
)
def test_any_small_ratings_train_predict_and_recommend(pairs, values, k, biases):
    y = values.draw(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=len(pairs), max_size=len(pairs))
    )
    model = model_of(n_factors=k, biases=biases).fit(pairs, y)
    assert np.isfinite(model.predict(pairs)).all()
    ids, scores = model.recommend([u for u, _ in pairs], n=3)
    seen = set(pairs)
    for (user, _), row, row_scores in zip(pairs, ids, scores, strict=True):
        for item, score in zip(row, row_scores, strict=True):
            assert np.isnan(score) or (user, item) not in seen
