"""The fitted model: it does not change, and answers like the estimator without scikit-learn."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

import warpfactor as wf


@pytest.fixture(scope="module")
def data():
    ratings = wf.datasets.make_ratings(80, 50, 1500, random_state=0).ratings
    return wf.train_test_split(ratings, test_size=0.2, random_state=0)


@pytest.fixture(scope="module")
def estimator(data):
    train, test = data
    return wf.MatrixFactorization(
        n_factors=5, n_epochs=4, random_state=1, verbose=0, reg=(0.02, 0.1)
    ).fit(train, validation=test)


@pytest.fixture
def model(estimator):
    return estimator.model_


FITTED = (
    "user_factors_", "item_factors_", "user_biases_", "item_biases_", "global_mean_", "user_ids_",
    "item_ids_", "history_", "n_epochs_", "n_threads_", "instruction_set_",
)  # fmt: skip


def test_it_answers_like_the_estimator(estimator, model, data):
    train, test = data
    assert model.predict(test).tobytes() == estimator.predict(test).tobytes()
    assert model.score(test) == estimator.score(test)
    for ask in (
        lambda m: m.recommend(train.user_ids, n=7),
        lambda m: m.recommend(train.user_ids[3], n=4, exclude_seen=False),
        lambda m: m.similar_items(train.item_ids[:5]),
    ):
        for mine, theirs in zip(ask(model), ask(estimator), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    for name in FITTED:
        np.testing.assert_array_equal(getattr(model, name), getattr(estimator, name))
    assert model.get_params() == estimator.get_params()
    assert model.reg == (0.02, 0.1) and model.n_factors == 5


def test_score_is_sklearns(estimator, data):
    from sklearn.metrics import r2_score

    _, test = data
    weights = np.linspace(0, 3, len(test), dtype=np.float32)
    for given in (None, weights):
        exact = test.values.astype(float), estimator.predict(test).astype(float)
        expected = r2_score(*exact, sample_weight=given)
        assert estimator.score(test, sample_weight=given) == pytest.approx(expected, rel=1e-12)
    same = wf.Ratings.from_arrays([0, 1], [0, 1], [3.0, 3.0])
    assert estimator.score(same) == r2_score(same.values, estimator.predict(same))
    assert np.isnan(estimator.score(test.take(np.arange(1))))  # as in scikit-learn
    for wrong, message in (
        (np.ones(3), r"sample_weight has shape \(3,\); it must be"),
        (np.zeros(len(test)), "sample_weight is 0 everywhere"),
        (-np.ones(len(test)), r"sample_weight\[0\] is -1.0; it must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator.score(test, sample_weight=wrong)
    with pytest.raises(ValueError, match=r"some are NaN.*use unknown='mean'"):
        estimator.model_.with_options(unknown="nan").score([(10**6, 0)], [1.0])


def test_what_was_fitted_cannot_be_changed(model):
    for name in ("user_factors_", "n_epochs_", "unknown", "new"):
        with pytest.raises(AttributeError, match=f"does not change, so {name} cannot be set"):
            setattr(model, name, 1)
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_", "user_ids_",
                 "item_ids_", "user_known_", "item_known_", "user_counts_", "item_counts_"):  # fmt: skip
        with pytest.raises(ValueError, match="read-only"):
            getattr(model, name)[0] = 0
    for part in model.seen_:
        with pytest.raises(ValueError, match="read-only"):
            part[0] = 0
    before = model.history_
    model.history_[0]["epoch"] = 99
    model.get_params()["reg"] = 7
    assert model.history_ == before and model.reg == (0.02, 0.1)


def test_a_loaded_model_cannot_be_changed_either(model, tmp_path):
    model.save(tmp_path / "m")
    test_what_was_fitted_cannot_be_changed(wf.load(tmp_path / "m"))


def test_a_refit_leaves_an_earlier_model_as_it_was(data):
    train, test = data
    estimator = wf.MatrixFactorization(n_factors=3, n_epochs=2, random_state=0, verbose=0)
    first = estimator.fit(train).model_
    expected = first.predict(test)
    estimator.set_params(random_state=5).fit(test)
    assert estimator.model_ is not first
    assert first.predict(test).tobytes() == expected.tobytes()


def test_facts_of_the_training_set(model, data):
    train, _ = data
    np.testing.assert_array_equal(
        model.user_counts_, np.bincount(train.users, minlength=train.n_users)
    )
    np.testing.assert_array_equal(model.item_known_, model.item_counts_ > 0)
    assert model.n_ratings_ == len(train)
    assert model.rating_mean_ == pytest.approx(train.values.mean(dtype=np.float64))
    assert model.rating_range_ == (train.values.min(), train.values.max())
    assert (model.loss_, model.link_, model.has_biases_) == ("squared", "identity", True)
    indptr, items = model.seen_
    user = 3
    assert items[indptr[user] : indptr[user + 1]].tolist() == sorted(
        train.items[train.users == user].tolist()
    )


def test_ratings_of_weight_0_are_none_of_its_facts(data):
    train, _ = data
    weights = np.ones(len(train))
    weights[train.values == train.values.max()] = 0
    model = wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0).fit(
        train, sample_weight=weights
    ).model_  # fmt: skip
    assert model.n_ratings_ == weights.sum() == model.user_counts_.sum()
    assert model.rating_range_[1] < train.values.max()


def test_how_it_answers_can_be_chosen(model, data):
    unknown = [(10**6, 0)]
    other = model.with_options(unknown="nan")
    assert np.isnan(other.predict(unknown)).all() and np.isfinite(model.predict(unknown)).all()
    assert other.user_factors_ is not None and other.unknown == "nan" and model.unknown == "mean"
    assert np.shares_memory(other.user_factors_, model.user_factors_)
    changed = copy.copy(other)
    assert changed.set_params(unknown="raise", n_threads=1) is changed
    with pytest.raises(ValueError, match="1 pairs with a user or item without training ratings"):
        changed.predict(unknown)
    with pytest.raises(ValueError, match="has no training ratings"):
        changed.recommend(10**6)
    for options, message in (
        ({"n_factors": 3}, r"n_factors is no option of a fitted model.*from_model\(model\)"),
        ({"unknown": "zero"}, "unknown is 'zero'; it must be 'mean', 'nan' or 'raise'"),
        ({"device": "gpu"}, "device is 'gpu'; it must be"),
        ({"n_threads": 0}, "n_threads is 0; it must be at least 1"),
    ):
        for change in (changed.set_params, changed.with_options):
            with pytest.raises(ValueError, match=message):
                change(**options)
    assert changed.unknown == "raise"


def test_copies_and_pickles_answer_the_same(model, data):
    _, test = data
    for other in (copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.predict(test).tobytes() == model.predict(test).tobytes()
        np.testing.assert_array_equal(
            other.recommend(test.user_ids)[0], model.recommend(test.user_ids)[0]
        )
        assert repr(other) == "Model(80 users, 50 items, 5 factors, squared loss)"
        with pytest.raises(AttributeError):
            other.n_epochs_ = 3
        for array in (other.user_factors_, other.item_biases_, other.item_ids_, *other.seen_):
            assert not array.flags.writeable


def test_an_estimators_fitted_attributes_cannot_be_replaced(estimator, data):
    # A new array would be shown, and predictions would go on with the old one.
    for name in FITTED:
        with pytest.raises(AttributeError, match=rf"{name} is the fitted model's.*use init"):
            setattr(estimator, name, getattr(estimator, name))
    with pytest.raises(AttributeError):
        del estimator.model_._tables
    estimator.predict(data[1])


def test_it_becomes_an_estimator_again(model, data):
    train, test = data
    estimator = wf.MatrixFactorization.from_model(model)
    assert estimator.predict(test).tobytes() == model.predict(test).tobytes()
    again = clone(estimator).set_params(verbose=0).fit(train, validation=test)
    assert again.predict(test).tobytes() == model.predict(test).tobytes()
    with pytest.raises(TypeError, match=r"does not change.*from_model\(model\)\.fit"):
        model.fit(train)
    with pytest.raises(TypeError, match=r"clone MatrixFactorization.from_model"):
        clone(model)


def test_sklearn_takes_it_for_a_fitted_regressor(estimator, model, data):
    from sklearn.base import is_regressor
    from sklearn.frozen import FrozenEstimator
    from sklearn.metrics import get_scorer
    from sklearn.utils.validation import check_is_fitted

    _, test = data
    X = np.c_[test.user_ids[test.users], test.item_ids[test.items]]
    check_is_fitted(model)
    assert is_regressor(model)
    scorer = get_scorer("neg_root_mean_squared_error")
    assert scorer(model, X, test.values) == scorer(estimator, X, test.values)
    frozen = FrozenEstimator(model).fit(X, test.values)
    assert frozen.predict(X).tobytes() == model.predict(X).tobytes()


def test_unfitted_estimators_have_no_fitted_attributes():
    estimator = wf.MatrixFactorization()
    for name in (*FITTED, "model_"):
        assert not hasattr(estimator, name)
    with pytest.raises(AttributeError, match="no user_factors_ yet: call fit first"):
        estimator.user_factors_  # noqa: B018


def test_links_and_unknown_rows_are_one_formula():
    rng = np.random.default_rng(0)
    X = np.c_[rng.integers(0, 30, 900), rng.integers(0, 20, 900)]
    y = rng.integers(0, 2, 900)
    for loss, values in (("logistic", y), ("poisson", y * 3.0), ("logistic", 2 * y - 1)):
        for biases in (True, False):
            model = wf.MatrixFactorization(
                n_factors=3, n_epochs=3, loss=loss, biases=biases, verbose=0, random_state=0
            ).fit(X, values).model_  # fmt: skip
            for user in (0, 10**6):
                ids, scores = model.recommend(user, n=5, exclude_seen=False)
                expected = model.predict([(user, item) for item in ids])
                np.testing.assert_allclose(scores, expected, rtol=1e-6)
            if loss == "logistic":
                low = -1 if values.min() < 0 else 0
                assert ((model.predict(X) > low) & (model.predict(X) < 1)).all()


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


HEAVY = "print(*(m for m in ('sklearn', 'scipy', 'pandas') if m in sys.modules))"


def test_loading_and_answering_need_no_sklearn(model, tmp_path):
    path = tmp_path / "m"
    model.save(path)
    assert run(
        "import sys, warpfactor as wf\n"
        f"model = wf.load({str(path)!r})\n"
        "model.predict([(0, 1)]); model.recommend([3, 4]); model.similar_items(2)\n"
        f"{HEAVY}"
    ) == []  # fmt: skip


def test_the_command_line_trains_and_serves_without_sklearn_and_pandas(data, tmp_path):
    train, _ = data
    lines = ["user::item::rating::time"] + [
        f"{u}::{i}::{v:g}::{n}" for n, (u, i, v) in enumerate(zip(*train.to_arrays(), strict=True))
    ]
    (tmp_path / "r.dat").write_text("\n".join(lines[1:]) + "\n")
    common = "import sys\nfrom warpfactor.cli import app\n"
    ratings, model = str(tmp_path / "r.dat"), str(tmp_path / "m")
    commands = (
        ["train", ratings, "--test-size", "0.1", "-k", "4", "-q", "-o", model],
        ["evaluate", model, ratings],
        ["predict", model, "--user", "3", "--item", "4"],
        ["recommend", model, "--user", "3"],
        ["info", model],
    )
    for command in commands:
        out = run(f"{common}app({command!r}, standalone_mode=False)\n{HEAVY}")
        assert out and not {"sklearn", "scipy", "pandas"} & set(out), command
