"""A warning points to the line that called the package, however deep in it the reason was found."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import warpfactor as wf

RATINGS = wf.datasets.make_ratings(30, 20, 200, random_state=0).ratings
STRANGE = wf.Ratings.from_arrays([1, 1], [3, 99], [4, 2])  # nobody knows item 99


@pytest.fixture(scope="module")
def estimator():
    return wf.MatrixFactorization(2, n_epochs=2, random_state=0, verbose=0).fit(RATINGS)


@pytest.fixture
def damaged(tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n1,2,3\n2,3,4\n3,4,\n", encoding="utf-8")
    return tmp_path / "r.csv"


def timed(ratings):
    users, items, values = ratings.to_arrays()
    times = np.arange(len(ratings))
    return wf.Ratings.from_arrays(users + 1, items + 1, values, timestamps=times)


@pytest.mark.parametrize(
    "call",
    [
        lambda model, path: wf.read_ratings(path, on_error="skip"),
        lambda model, path: wf.MatrixFactorization(2, verbose=0).fit(
            wf.scan_ratings(path, on_error="skip"), scratch=path.parent
        ),
        lambda model, path: wf.write_ratings(timed(RATINGS), path.with_suffix(".mtx")),
        lambda model, path: model.fold_in_users(STRANGE),
        lambda model, path: model.model_.fold_in_users(STRANGE),
        lambda model, path: model.recommend(ratings={3: 5, 99: 1}),
        lambda model, path: wf.evaluate(model, RATINGS, metrics="rmse"),
    ],
    ids=["read", "scan", "write", "estimator", "model", "visitor", "evaluate"],
)
def test_a_warning_points_to_the_line_of_the_user(estimator, damaged, call):
    with pytest.warns(UserWarning) as told:
        call(estimator, damaged)
    first = call.__code__.co_firstlineno
    n_lines = len(inspect.getsource(call).splitlines())
    for each in told:
        assert each.filename == __file__, each
        assert first <= each.lineno < first + n_lines
