"""The splitters, alone and as scikit-learn's `cv`."""

from __future__ import annotations

import datetime
import doctest
import importlib

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import (
    GridSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)

import warpfactor as wf
from warpfactor.splits import LeaveLastOut, RatingKFold, TimeSplit, UserKFold


def timed(n: int = 300, n_users: int = 20, seed: int = 0) -> wf.Ratings:
    """Ratings in no order of time, with equal timestamps and a user of one rating."""
    rng = np.random.default_rng(seed)
    users = np.r_[np.arange(n_users), rng.integers(0, n_users - 1, n - n_users)]
    items = rng.integers(0, 15, n)
    values = rng.normal(3, 1, n)
    return wf.Ratings.from_arrays(users, items, values, timestamps=rng.integers(0, 50, n))


def every(ratings: wf.Ratings) -> dict[str, object]:
    """The same ratings as all that a splitter takes, with the timestamps."""
    users, items, values = ratings.to_arrays()
    columns = {"user": users, "item": items, "rating": values, "timestamp": ratings.timestamps}
    return {
        "Ratings": ratings,
        "pandas": pd.DataFrame(columns, index=np.arange(len(users)) + 7),
        "polars": pl.DataFrame(columns),
        "arrow": pa.table(columns),
    }


def all_splitters(timestamps=None):
    return [
        RatingKFold(4, random_state=3),
        UserKFold(4, random_state=3),
        LeaveLastOut(2, timestamps=timestamps),
        TimeSplit(3, timestamps=timestamps),
        TimeSplit(2, test_size=0.1, timestamps=timestamps),
    ]


def as_lists(folds):
    return [(train.tolist(), test.tolist()) for train, test in folds]


@pytest.mark.parametrize("at", range(5))
def test_whatever_holds_the_ratings_has_the_same_folds(at):
    ratings = timed()
    users, items, values = ratings.to_arrays()
    expected = as_lists(all_splitters()[at].split(ratings))
    assert len(expected) == all_splitters()[at].get_n_splits()
    for name, X in every(ratings).items():
        assert as_lists(all_splitters()[at].split(X)) == expected, name
    names = np.char.mod("u%02d", users)  # in the order of the numbers
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(int(t)) for t in ratings.timestamps]
    listed = list(zip(names, items, strict=True))
    for X in (np.column_stack([users, items]), np.column_stack([names, items]), listed):
        for times in (ratings.timestamps, ratings.timestamps.tolist(), pd.Series(days), days):
            assert as_lists(all_splitters(times)[at].split(X, values, None)) == expected


@pytest.mark.parametrize("at", range(5))
def test_parts_are_disjoint_and_in_order(at):
    for train, test in all_splitters()[at].split(timed()):
        assert not set(train) & set(test)
        assert (np.diff(train) > 0).all() and (np.diff(test) > 0).all()
        assert len(train) and len(test)


@pytest.mark.parametrize("n_splits", [2, 3, 7])
def test_random_folds_test_each_rating_once(n_splits):
    folds = list(RatingKFold(n_splits, random_state=0).split(timed()))
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(300))
    sizes = [len(test) for _, test in folds]
    assert max(sizes) - min(sizes) <= 1 and len(folds) == n_splits
    assert all(len(train) + len(test) == 300 for train, test in folds)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60), st.integers(2, 6), st.integers(0, 99))
def test_user_folds_spread_each_user(users, n_splits, seed):
    users = np.array(users)
    counts = np.bincount(users, minlength=10)
    several = counts[users] > 1
    splitter = UserKFold(n_splits, random_state=seed)
    pairs = np.column_stack([users, np.arange(len(users))])
    if several.sum() < n_splits:
        with pytest.raises(ValueError, match="ratings of users with more than one"):
            list(splitter.split(pairs))
        return
    folds = list(splitter.split(pairs))
    tested = np.concatenate([test for _, test in folds])
    assert sorted(tested) == np.flatnonzero(several).tolist()  # a user's only rating: never
    per_user = np.array([np.bincount(users[test], minlength=10) for _, test in folds])
    assert (per_user.max(axis=0) - per_user.min(axis=0) <= 1).all()
    assert np.ptp(per_user.sum(axis=1)) <= 1
    for train, test in folds:
        assert set(users[test]) <= set(users[train])
        assert len(train) + len(test) == len(users)


@pytest.mark.parametrize("cls", [RatingKFold, UserKFold])
def test_a_seed_decides(cls):
    def folds(seed):
        return as_lists(cls(3, random_state=seed).split(timed()))

    assert folds(0) == folds(0) != folds(1)
    assert folds(None) != folds(None)
    moving = cls(3, random_state=np.random.RandomState(0))
    assert as_lists(moving.split(timed())) != as_lists(moving.split(timed()))


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(1, 4),
)
def test_the_last_are_left_out(ratings, n):
    users, times = np.array(ratings).T
    pairs = np.column_stack([users, np.arange(len(users))])
    expected = []
    for user in range(5):  # Python's sort is stable: of equals the last one stays last
        mine = sorted(np.flatnonzero(users == user), key=lambda at: times[at])
        expected += mine[max(1, len(mine) - n) :] if mine else []
    splitter = LeaveLastOut(n, timestamps=times)
    if not expected:
        with pytest.raises(ValueError, match="can be left out: each user has one only"):
            list(splitter.split(pairs))
        return
    ((train, test),) = splitter.split(pairs)
    assert test.tolist() == sorted(expected)
    assert sorted([*train, *test]) == list(range(len(users)))


@given(
    st.lists(st.integers(-3, 8), min_size=3, max_size=40),
    st.integers(2, 5),
    st.sampled_from([None, 1, 2, 0.1, 0.3]),
)
def test_time_never_trains_on_what_is_later(times, n_splits, size):
    n = len(times)
    window = n // (n_splits + 1) if size is None else size if size >= 1 else round(size * n)
    splitter = TimeSplit(n_splits, test_size=size, timestamps=times)
    pairs = [(0, at) for at in range(n)]
    if window < 1 or n_splits * window >= n:
        with pytest.raises(
            ValueError, match=f"n_splits is {n_splits}, and {n} ratings are too few"
        ):
            list(splitter.split(pairs))
        return
    order = sorted(range(n), key=lambda at: times[at])
    folds = list(splitter.split(pairs))
    assert len(folds) == n_splits
    tested = []
    for train, test in folds:
        assert max(times[at] for at in train) <= min(times[at] for at in test)
        assert sorted(train) == sorted(order[: len(train)])
        assert len(test) == window
        tested += sorted(test, key=order.index)
    assert tested == order[n - n_splits * window :]  # the last window ends with the latest rating


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RatingKFold(1), "n_splits is 1; it must be at least 2"),
        (lambda: UserKFold(2.5), "n_splits is 2.5; it must be an integer"),
        (lambda: TimeSplit(0), "n_splits is 0"),
        (lambda: LeaveLastOut(0), "n is 0; it must be at least 1"),
        (lambda: TimeSplit(2, test_size=0.0), "test_size is 0.0; it must be a fraction"),
        (lambda: RatingKFold(random_state="a"), "random_state is 'a'"),
        (lambda: UserKFold(random_state=-1), "random_state is -1"),
        (lambda: RatingKFold(5).split([(1, 2)] * 3), "n_splits is 5; .* number of ratings, 3"),
        (lambda: RatingKFold(5).split([]), "X is empty"),
        (lambda: UserKFold().split(np.ones((9, 3), int)), r"X has shape \(9, 3\); it must be an"),
        (lambda: LeaveLastOut().split([(1, 2), (1, 3)]), r"pass LeaveLastOut\(timestamps=...\)"),
        (lambda: TimeSplit().split(pd.DataFrame({"u": [1], "i": [1]})), "TimeSplit needs timestamps"),
        (lambda: TimeSplit(timestamps=[1, 2]).split([(1, 2)] * 9), "timestamps has 2 values, and X 9"),
        (lambda: LeaveLastOut(timestamps=["x", "y"]).split([(1, 2), (1, 3)]), "timestamps"),
        (lambda: LeaveLastOut(timestamps=[1, np.nan]).split([(1, 2), (1, 3)]), "timestamps: nan"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        list(make())


def test_splitters_say_what_they_are():
    assert repr(RatingKFold(3, random_state=0)) == "RatingKFold(n_splits=3, random_state=0)"
    assert repr(LeaveLastOut(timestamps=[1, 2])) == "LeaveLastOut(n=1, timestamps=...)"
    assert repr(TimeSplit()) == "TimeSplit(n_splits=5)"


def model() -> wf.MatrixFactorization:
    return wf.MatrixFactorization(n_factors=2, n_epochs=3, random_state=0, verbose=0)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("kind", ["pairs", "pandas pairs", "pandas", "polars"])
def test_they_work_inside_scikit_learn(at, kind):
    ratings = timed()
    users, items, y = ratings.to_arrays()
    cv = all_splitters(ratings.timestamps)[at]
    X = {
        "pairs": np.column_stack([users, items]),
        "pandas pairs": pd.DataFrame({"user": users, "item": items}),
        **every(ratings),
    }[kind]
    y = y if "pairs" in kind else None
    pairs, r = np.column_stack([users, items]), ratings.values
    expected = [
        model().fit(pairs[train], r[train]).score(pairs[test], r[test])
        for train, test in cv.split(ratings)
    ]
    np.testing.assert_array_equal(cross_val_score(model(), X, y, cv=cv), expected)
    assert len(cross_validate(model(), X, y, cv=cv)["test_score"]) == cv.get_n_splits()
    search = GridSearchCV(model(), {"n_factors": [1, 2]}, cv=cv).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    curve = learning_curve(model(), X, y, cv=cv, train_sizes=[0.5, 1.0])[2]
    assert np.isfinite(curve).all()
    if isinstance(cv, RatingKFold):
        assert np.isfinite(cross_val_predict(model(), X, y, cv=cv)).all()
    else:
        with pytest.raises(ValueError, match="only works for partitions"):
            cross_val_predict(model(), X, y, cv=cv)


MATRICES = {
    "csr_array": sp.csr_array,
    "csc_matrix": sp.csc_matrix,
    "coo_array": sp.coo_array,
    "masked": lambda D: np.ma.masked_equal(D, 0),
    "dense": lambda D: np.where(D == 0, np.nan, D),
}


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize("make", MATRICES.values(), ids=MATRICES)
def test_rows_of_a_matrix_are_no_ratings(make, at):
    S = make(np.random.default_rng(0).integers(0, 6, (30, 20)).astype(float))
    cv = all_splitters(np.arange(30))[at]
    with pytest.raises(
        ValueError, match=r"X is a matrix .* write warpfactor.cross_validate\(model"
    ):
        cross_val_score(model(), S, cv=cv)


@pytest.mark.parametrize("name", ["splits", "splitters", "cross_validation"])
def test_the_examples_of_the_docs_hold(name):
    module = importlib.import_module(f"warpfactor.evaluation.{name}")
    found = doctest.testmod(module)
    assert found.failed == 0 and found.attempted > 3
