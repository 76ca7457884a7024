"""`wf.cross_validate`, and what scikit-learn's model selection does to everything that holds ratings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import max_error, mean_squared_error
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    train_test_split,
    validation_curve,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler

import warpfactor as wf

N_USERS, N_ITEMS = 40, 25


def table(n: int = 400, seed: int = 0) -> np.ndarray:
    """Users × items, 0 where no rating is; each user and each item has ratings."""
    rng = np.random.default_rng(seed)
    D = np.zeros((N_USERS, N_ITEMS))
    D.flat[rng.choice(D.size, n, replace=False)] = 1
    return D * (rng.normal(0, 1, (N_USERS, 1)) + rng.normal(3, 1, N_ITEMS)).round(2)


D = table()
ROWS, COLUMNS = np.nonzero(D)
PAIRS, Y = np.column_stack([ROWS, COLUMNS]), D[ROWS, COLUMNS].astype(np.float32)
TRIPLES = {"user": ROWS, "item": COLUMNS, "rating": Y}
MATRICES = {
    "csr_array": sp.csr_array(D),
    "csr_matrix": sp.csr_matrix(D),
    "csc_array": sp.csc_array(D),
    "coo_array": sp.coo_array(D),
    "masked": np.ma.masked_equal(D, 0),
    "dense": np.where(D == 0, np.nan, D),
}
RATINGS = wf.Ratings.from_pairs(PAIRS, Y)
FRAMES = {
    # An index that is no position, and a column of no use.
    "pandas": pd.DataFrame({**TRIPLES, "note": "x"}, index=np.arange(len(Y)) * 3 + 5),
    "polars": pl.DataFrame(TRIPLES),
}
ROLES = {"Ratings": RATINGS, **FRAMES, "arrow": pa.table(TRIPLES)}


def model(**changes) -> wf.MatrixFactorization:
    params = {"n_factors": 2, "n_epochs": 4, "random_state": 0, "verbose": 0}
    return wf.MatrixFactorization(**params | changes)


# wf.cross_validate


def test_folds_are_those_of_training_by_hand():
    cv = wf.splits.RatingKFold(4, random_state=7)
    result = wf.cross_validate(model(), RATINGS, cv)
    for fold, (train, test) in enumerate(cv.split(RATINGS)):
        fitted = model().fit(RATINGS.take(train))
        held_out = RATINGS.take(test)
        predicted = fitted.predict(held_out)
        assert result["test_rmse"][fold] == wf.metrics.rmse(held_out, predicted)
        assert result["test_mae"][fold] == wf.metrics.mae(held_out, predicted)
        assert (result["n_train"][fold], result["n_test"][fold]) == (len(train), len(test))
    assert list(result) == [
        "test_rmse", "test_mae", "n_train", "n_test", "n_unknown", "fit_time", "score_time",
    ]  # fmt: skip
    assert all(values.shape == (4,) for values in result.values())
    assert (result["fit_time"] > 0).all() and (result["score_time"] > 0).all()


@pytest.mark.parametrize("name", [*MATRICES, *ROLES])
def test_all_that_holds_ratings_is_divided_by_rating(name):
    data = {**MATRICES, **ROLES}[name]
    expected = wf.cross_validate(model(), RATINGS, 3, random_state=0)
    found = wf.cross_validate(model(), data, 3, random_state=0)
    assert found["n_test"].tolist() == [134, 133, 133]
    if name != "csc_array":  # its ratings come in another order, so the seed picks others
        np.testing.assert_allclose(found["test_rmse"], expected["test_rmse"], rtol=1e-6)
    assert (found["test_rmse"] < np.std(Y)).all(), "better than the mean: users are themselves"


@pytest.mark.parametrize("by", ["random", "user", "time"])
def test_a_number_of_folds_means_the_splitter_of_its_kind(by):
    times = np.random.default_rng(0).integers(0, 99, len(Y))
    data = wf.Ratings.from_arrays(ROWS, COLUMNS, Y, timestamps=times)
    splitter = {
        "random": wf.splits.RatingKFold(3, random_state=5),
        "user": wf.splits.UserKFold(3, random_state=5),
        "time": wf.splits.TimeSplit(3),
    }[by]
    seed = None if by == "time" else 5
    expected = wf.cross_validate(model(), data, splitter)
    found = wf.cross_validate(model(), data, 3, by=by, random_state=seed)
    assert found["test_rmse"].tolist() == expected["test_rmse"].tolist()
    assert found["n_unknown"].tolist() == expected["n_unknown"].tolist()


def test_splitters_of_scikit_learn_divide_the_ratings():
    for cv in (KFold(4), KFold(4, shuffle=True, random_state=0), ShuffleSplit(2, random_state=0)):
        folds = list(cv.split(PAIRS))
        expected = [model().fit(RATINGS.take(a)).predict(RATINGS.take(b)) for a, b in folds]
        for given in (cv, folds, iter(folds)):
            found = wf.cross_validate(model(), RATINGS, given)
            for fold, (_, test) in enumerate(folds):
                assert found["test_rmse"][fold] == wf.metrics.rmse(Y[test], expected[fold])
    masks = [(np.arange(len(Y)) % 2 == 0, np.arange(len(Y)) % 2 == 1)]
    positions = [tuple(np.flatnonzero(mask) for mask in masks[0])]
    assert (
        wf.cross_validate(model(), RATINGS, masks)["test_mae"]
        == wf.cross_validate(model(), RATINGS, positions)["test_mae"]
    )


def test_users_that_are_not_trained_on_are_counted():
    result = wf.cross_validate(model(), RATINGS, GroupKFold(4))
    assert result["n_unknown"].tolist() == result["n_test"].tolist()
    for train, test in wf.splits.RatingKFold(30, random_state=0).split(RATINGS):
        found = wf.cross_validate(model(n_epochs=1), RATINGS, [(train, test)])["n_unknown"]
        unknown = ~(np.isin(ROWS[test], ROWS[train]) & np.isin(COLUMNS[test], COLUMNS[train]))
        assert found == [unknown.sum()]
    strings = wf.Ratings.from_arrays(np.char.mod("u%d", ROWS), COLUMNS, Y)
    assert (wf.cross_validate(model(), strings, GroupKFold(4))["n_unknown"] > 0).all()
    with pytest.raises(
        ValueError, match=r"in fold 0 \d+ of \d+ predictions are NaN.*unknown='mean'"
    ):
        wf.cross_validate(model(unknown="nan"), RATINGS, GroupKFold(4))
    with pytest.raises(ValueError, match="training rating"):
        wf.cross_validate(model(unknown="raise"), RATINGS, GroupKFold(4))


def test_metrics_are_names_or_functions():
    def bias(true, predicted):
        return np.mean(predicted - true)

    def run(metrics):
        return wf.cross_validate(model(), RATINGS, 2, random_state=0, metrics=metrics)

    result = run(["rmse", mean_squared_error, bias])
    np.testing.assert_allclose(result["test_rmse"] ** 2, result["test_mean_squared_error"])
    assert "test_mae" not in result and (abs(result["test_bias"]) < 1).all()
    assert next(iter(run("mae"))) == "test_mae"
    assert next(iter(run(max_error))) == "test_max_error"
    named = run({"worst": max_error, "error": bias})
    assert list(named)[:2] == ["test_worst", "test_error"]


def test_models_are_clones_and_are_returned_if_asked_for():
    given = model()
    result = wf.cross_validate(given, RATINGS, 3, return_models=True)
    assert not hasattr(given, "model_") and len(result["models"]) == 3
    for fitted, n in zip(result["models"], result["n_train"], strict=True):
        assert fitted.model_.n_ratings_ == n
        assert fitted.user_ids_.tolist() == list(range(N_USERS))
    assert len(pd.DataFrame(result)) == 3


def test_the_result_prints_as_a_table():
    result = wf.cross_validate(model(), RATINGS, 3, random_state=0, return_models=True)
    head, *rows = str(result).splitlines()
    assert head.split() == [name.removeprefix("test_") for name in result if name != "models"]
    assert [row[:6].strip() for row in rows] == ["fold 0", "fold 1", "fold 2", "mean", "std"]
    assert rows[0].split()[2:6] == [
        f"{result['test_rmse'][0]:.4f}", f"{result['test_mae'][0]:.4f}", "266", "134",
    ]  # fmt: skip
    assert rows[3].split()[1] == f"{result['test_rmse'].mean():.4f}"
    assert rows[4].split()[1] == f"{result['test_rmse'].std():.4f}"
    assert len({len(row) for row in (head, *rows)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cv": 1}, "cv is 1; it must be at least 2"),
        ({"cv": True}, "cv is True"),
        ({"cv": 5.0}, "cv is 5.0; it must be an integer of at least 2, a splitter"),
        ({"cv": "user"}, "cv is 'user'; it must be an integer of at least 2"),
        ({"cv": 500}, "^cv is 500; it must not be above the number of ratings, 400"),
        ({"cv": []}, r"cv is \[\], without a fold; it must be an integer of at least 2"),
        ({"cv": None}, "cv is None; it must be an integer of at least 2"),
        ({"cv": 500, "by": "user"}, "^cv is 500; it must not be above the number of ratings of"),
        ({"cv": [5]}, r"fold 0 of cv is 5; it must be a pair"),
        ({"cv": [([0, 1], [2]), ([0, 1], [])]}, "the test part of fold 1 of cv is empty"),
        ({"cv": [([False] * 400, [True] * 400)]}, "the training part of fold 0 of cv is empty"),
        ({"cv": [([0], [400])]}, "positions from 400 to 400; there are 400 ratings"),
        ({"cv": [([-1], [0])]}, "positions from -1 to -1"),
        ({"cv": [([0.5], [0])]}, "has dtype float64"),
        ({"cv": [([True] * 4, [0])]}, "is a mask of 4 values for 400 ratings"),
        ({"cv": [([0, 1, 2], [2, 3])]}, "1 ratings are in both parts of fold 0 of cv"),
        ({"by": "last"}, "by is 'last'; it must be 'random', 'user' or 'time'"),
        ({"by": "time"}, "^by='time' needs timestamps, and the ratings have none"),
        ({"cv": KFold(3), "by": "user"}, "by is 'user', and cv is KFold"),
        ({"cv": KFold(3), "random_state": 0}, "random_state is 0, and cv is KFold"),
        ({"random_state": -1}, "random_state is -1"),
        ({"metrics": "rsme"}, "metrics is 'rsme'; it must be 'mae' or 'rmse', or a function"),
        ({"metrics": []}, r"metrics is \[\]; it must be names"),
        ({"metrics": 3}, "metrics is 3; it must be names"),
        ({"metrics": [3]}, "metrics holds 3; each must be one of"),
        ({"metrics": ["mae", "mae"]}, "metrics has 'mae' twice"),
        ({"ratings": np.ones((5, 5), int)}, "ratings is an array of dtype int64"),
        ({"model": model().fit(PAIRS, Y).model_, "error": TypeError}, "cannot be cloned: clone"),
        ({"model": "svd", "error": TypeError}, "Cannot clone object .*svd"),
    ],
)
def test_bad_arguments_are_named(change, message):
    given = {"model": model(), "ratings": RATINGS, **change}
    error = given.pop("error", ValueError)
    with pytest.raises(error, match=message):
        wf.cross_validate(**given)


# scikit-learn's own functions. They take the first axis of X for samples; of a matrix these are users.

TOOLS = {
    "cross_val_score": lambda X, y=None, **how: cross_val_score(model(), X, y, cv=2, **how),
    "cross_validate": lambda X, y=None, **how: cross_validate(model(), X, y, cv=2, **how),
    "cross_val_predict": lambda X, y=None, **how: cross_val_predict(model(), X, y, cv=2, **how),
    "learning_curve": lambda X, y=None, **how: learning_curve(
        model(), X, y, cv=2, train_sizes=[0.5, 1.0], **how
    )[2],
    "validation_curve": lambda X, y=None, **how: validation_curve(
        model(), X, y, cv=2, param_name="reg", param_range=[0.1, 0.2], **how
    )[1],
    "GridSearchCV": lambda X, y=None, **how: (
        GridSearchCV(model(), {"n_factors": [1, 2]}, cv=2, **how)
        .fit(X, y)
        .cv_results_["mean_test_score"]
    ),
    "RandomizedSearchCV": lambda X, y=None, **how: (
        RandomizedSearchCV(model(), {"n_factors": [1, 2]}, n_iter=2, cv=2, **how)
        .fit(X, y)
        .cv_results_["mean_test_score"]
    ),
    "a pipeline": lambda X, y=None, **how: cross_val_score(
        Pipeline([("scaled", MaxAbsScaler()), ("mf", model())]), X, y, cv=2, **how
    ),
}
CUT = "scikit-learn's cross-validation cut from a matrix.*write warpfactor.cross_validate"


# Two folds of 40 rows have 20 and 20: their shape does not tell.
@pytest.mark.filterwarnings("ignore:X is 20 rows")
@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "validation_curve"])
@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_cut_by_rows_is_refused(tool, name):
    with pytest.raises(ValueError, match=f"(?s){CUT}"):
        TOOLS[tool](MATRICES[name])


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_cut_by_rows_is_warned_of_where_errors_are_hidden(name):
    with pytest.warns(UserWarning, match=CUT):
        scores = TOOLS["validation_curve"](MATRICES[name])
    assert np.isnan(scores).all()


@pytest.mark.parametrize("name", ["csr_array", "masked", "dense"])
def test_worker_processes_refuse_it_too(name):
    with pytest.raises(ValueError, match=f"(?s){CUT}"):
        TOOLS["cross_val_score"](MATRICES[name], n_jobs=2)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "a pipeline"])
def test_ratings_are_refused_and_their_pairs_work(tool):
    with pytest.raises(TypeError, match=r"to_pairs\(\).*warpfactor.cross_validate"):
        TOOLS[tool](RATINGS)
    expected, found = TOOLS[tool](PAIRS, Y), TOOLS[tool](*RATINGS.to_pairs())
    if isinstance(found, dict):
        expected, found = expected["test_score"], found["test_score"]
    np.testing.assert_array_equal(found, expected)


def test_ratings_are_not_split_by_scikit_learn():
    with pytest.raises(TypeError, match=r"Ratings cannot be indexed: take\(positions or mask\)"):
        train_test_split(RATINGS)


@pytest.mark.parametrize("name", MATRICES)
def test_the_pairs_of_a_matrix_are_what_the_error_says(name):
    X, y = wf.Ratings.from_any(MATRICES[name]).to_pairs()
    assert sorted(zip(*X.T, y, strict=True)) == sorted(zip(*PAIRS.T, Y, strict=True))
    assert np.isfinite(cross_val_score(model(), X, y, cv=3)).all()


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "a pipeline"])
@pytest.mark.parametrize("name", FRAMES)
def test_tables_of_ratings_are_cut_by_rating(tool, name):
    expected = TOOLS[tool](PAIRS, Y)
    found = TOOLS[tool](FRAMES[name])
    if isinstance(found, dict):
        expected, found = expected["test_score"], found["test_score"]
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, expected)


def test_a_search_on_a_table_trains_the_best_on_all_of_it():
    search = GridSearchCV(model(), {"n_factors": [1, 2]}, cv=3).fit(FRAMES["pandas"])
    assert search.best_estimator_.model_.n_ratings_ == len(Y)
    assert search.score(FRAMES["pandas"]) == search.score(PAIRS, Y)


class ByMatrix(RegressorMixin, BaseEstimator):
    """Someone's estimator of pairs, which trains by a matrix."""

    def fit(self, X, y):
        S = sp.coo_array((y, X.T), shape=D.shape)
        self.model_ = model().fit(S)
        return self

    def predict(self, X):
        return self.model_.predict(X)


def test_a_matrix_that_an_estimator_makes_of_its_pairs_is_no_part_of_a_fold():
    scores = cross_val_score(ByMatrix(), PAIRS, Y, cv=KFold(3, shuffle=True, random_state=0))
    assert np.isfinite(scores).all()
    # Nor is one that has as many rows as the fold has pairs.
    n_pairs = 2 * N_USERS
    assert np.isfinite(cross_val_score(ByMatrix(), PAIRS[:n_pairs], Y[:n_pairs], cv=2)).all()


def test_matrices_are_fitted_as_ever_outside_of_folds():
    for S in MATRICES.values():
        fitted = model().fit(S)
        assert fitted.predict(S).shape == (len(Y),)
        assert fitted.score(S) == pytest.approx(fitted.score(RATINGS))


WRONG = {
    "fewer rows": lambda S: S[:30],
    "fewer columns": lambda S: S[:, :20],
    "cut by scikit-learn": lambda S: train_test_split(S, test_size=0.25, random_state=0)[1],
    "more rows": lambda S: (sp.vstack if sp.issparse(S) else np.ma.vstack)([S, S]),
}


@pytest.mark.parametrize("how", WRONG)
@pytest.mark.parametrize("name", [name for name in MATRICES if name != "coo_array"])
def test_a_matrix_of_another_shape_has_other_users(name, how):
    wrong = WRONG[how](MATRICES[name])
    if name == "dense":
        wrong = np.asarray(wrong)
    fitted = model().fit(MATRICES[name])
    shape = rf"{wrong.shape[0]}, {wrong.shape[1]}"
    message = rf"has shape \({shape}\), but the model has 40 users and 25 items.*train_test_split"
    for use in (fitted.predict, fitted.score, fitted.model_.predict, fitted.model_.score):
        with pytest.raises(ValueError, match="X " + message):
            use(wrong)
    with pytest.raises(ValueError, match="validation " + message):
        model().fit(MATRICES[name], validation=wrong)
    # What says its ids is looked up by them.
    if how != "more rows":
        assert np.isfinite(fitted.predict(wf.Ratings.from_any(wrong))).all()


def test_rows_of_a_matrix_are_the_models_ids():
    """A model of ids 1, 3, 4 takes a matrix whose last row is 4, and no other."""
    fitted = model().fit([(1, 2), (3, 2), (4, 1)], [1, 2, 3])
    by_id = sp.coo_array(([1.0, 2.0, 3.0], ([1, 3, 4], [2, 2, 1])))
    assert by_id.shape == (5, 3)
    pairs = [(1, 2), (3, 2), (4, 1)]
    np.testing.assert_array_equal(fitted.predict(by_id), fitted.predict(pairs))
    for shape in ((3, 2), (4, 3), (5, 4)):
        message = r"3 users and 2 items with ids up to 4 and 2: .* must have shape \(5, 3\)"
        for S in (np.ma.masked_all(shape), sp.csr_array(np.ones(shape))):
            with pytest.raises(ValueError, match=message):
                fitted.predict(S)
    named = model().fit([("a", 2), ("b", 1)], [1, 2])
    with pytest.raises(ValueError, match="strings"):
        named.predict(sp.csr_array(np.ones((2, 3))))


def test_folds_are_a_table_in_a_notebook():
    ratings = wf.datasets.make_ratings(30, 20, 300, random_state=0).ratings
    found = wf.cross_validate(model(), ratings, cv=2, random_state=0)
    page, printed = found._repr_html_(), repr(found)
    assert page.count("<tr>") == len(printed.splitlines()) == 5
    assert all(f"<td>{cell}</td>" in page for cell in printed.splitlines()[1].split()[2:])
