"""Models compared over folds: the values are those of `evaluate`, and the test is paired and corrected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import warpfactor as wf


@pytest.fixture(scope="module")
def ratings():
    return wf.datasets.make_ratings(50, 40, 900, random_state=1).ratings.drop_duplicates()


def estimator(**params):
    return wf.MatrixFactorization(random_state=0, verbose=0, n_epochs=5, reg=0.05, **params)


@pytest.fixture(scope="module")
def found(ratings):
    models = {"four": estimator(n_factors=4), "one": estimator(n_factors=1)}
    metrics = ("rmse", "ndcg", "coverage")
    return wf.compare(models, ratings, cv=3, k=(5, 10), metrics=metrics, random_state=7)


def test_values_are_those_of_each_fold(found, ratings):
    values = found.values("one")
    assert list(values) == ["rmse", "ndcg@5", "ndcg@10", "coverage@5", "coverage@10"]
    for fold, (train, test) in enumerate(wf.splits.RatingKFold(3, random_state=7).split(ratings)):
        train, test = ratings.take(train), ratings.take(test)
        wanted = wf.evaluate(
            estimator(n_factors=1).fit(train),
            test,
            k=(5, 10),
            train=train,
            relevant_from=found.relevant_from,
            metrics=("rmse", "ndcg", "coverage"),
        )
        assert {name: of_folds[fold] for name, of_folds in values.items()} == wanted.values()
        assert (found.n_train[fold], found.n_test[fold]) == (len(train), len(test))
        for name in ("mean", "biases", "popularity"):
            np.testing.assert_equal(
                {key: each[fold] for key, each in found.values(name).items()},
                wanted.baselines[name].values(),
            )


def test_the_test_is_paired_and_knows_that_folds_share_ratings(found):
    a, b = found.values("one")["rmse"], found.values("four")["rmse"]
    naive = stats.ttest_rel(a, b)
    share = np.mean(found.n_test / found.n_train)
    t = naive.statistic * np.sqrt((1 / 3) / (1 / 3 + share))
    assert found.p_values["one"]["rmse"] == pytest.approx(2 * stats.t.sf(abs(t), 2), rel=1e-9)
    assert found.p_values["one"]["rmse"] > naive.pvalue
    assert found.reference == "four" and np.isnan(found.p_values["four"]["rmse"])
    assert np.isnan(found.p_values["mean"]["ndcg@5"]) and found.p_values["mean"]["rmse"] < 0.05


def test_equal_models_do_not_differ(ratings):
    same = estimator(n_factors=2)
    found = wf.compare({"a": same, "b": same}, ratings, 3, metrics="rmse", baselines=False)
    assert found.p_values["b"]["rmse"] == 1
    assert not hasattr(same, "model_")


def test_the_table_has_means_spread_and_stars(found):
    header, *lines = str(found).splitlines()
    assert header.split()[:3] == ["rmse", "ndcg@5", "ndcg@10"]
    rmse = found.values("mean")["rmse"]
    assert f"mean        {rmse.mean():.4f} ± {rmse.std(ddof=1):.4f}*" in "\n".join(lines)
    assert "mean ± standard deviation over 3 folds" in str(found)
    assert "*: differs from four with p < 0.05" in str(found)
    frame = found.to_frame()
    assert list(frame) == ["model", "metric", "mean", "std", "p"]
    assert len(frame) == 5 * 5
    row = frame[(frame.model == "mean") & (frame.metric == "rmse")].iloc[0]
    assert (row["mean"], row["std"]) == (rmse.mean(), rmse.std(ddof=1))


def test_the_table_in_a_notebook_has_what_the_printed_one_has(ratings):
    found = wf.compare({"<b>": estimator()}, ratings, 2, metrics="rmse", random_state=0)
    page = found._repr_html_()
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert f"{found.values('mean')['rmse'].mean():.4f} ±" in page
    assert "<p>mean ± standard deviation over 2 folds" in page


def test_a_model_without_any_value_has_no_row(ratings):
    one = wf.MatrixFactorization(2, n_epochs=2, random_state=0, verbose=0)
    found = wf.compare({"one": one}, ratings, cv=2, metrics="rmse", random_state=0)
    named = [line.split()[0] for line in str(found).splitlines()[1:4]]
    assert named == ["one", "mean", "biases"]
    assert "popularity" not in str(found) and "popularity" in found.evaluations


def test_a_single_fold_has_no_spread_and_no_test(ratings):
    half = np.arange(len(ratings)) % 2 == 0
    timed = wf.Ratings.from_arrays(*ratings.to_arrays(), timestamps=np.arange(len(ratings)))
    found = wf.compare({"b": wf.baselines.BiasOnly()}, timed, [(half, ~half)], clip=True)
    assert list(found.evaluations) == ["b", "mean", "biases", "popularity", "recent"]
    assert np.isnan(found.p_values["mean"]["rmse"])
    assert "±" not in str(found).splitlines()[1] and "*" not in str(found)
    assert found.evaluations["b"][0].clip == (ratings.values.min(), ratings.values.max())


@pytest.mark.parametrize(
    ("models", "how", "message"),
    [
        ({}, {}, "models is {}; it must be a mapping of names to estimators"),
        ([estimator()], {}, "it must be a mapping of names to estimators"),
        ({"mean": estimator()}, {}, "models has the name 'mean', which is a baseline's"),
        ({1: estimator(), "1": estimator()}, {}, "two names that are the same text"),
        ({"a": estimator()}, {"cv": 1}, "cv is 1; it must be at least 2"),
        *(
            (
                {"a": estimator()},
                {"cv": cv, "random_state": None},
                "^cv is .* an integer of at least 2",
            )
            for cv in ("3", 1.5, None, np.nan, [])
        ),
        ({"a": estimator()}, {"cv": "3", "random_state": 0}, "^cv is '3'; it must be an integer"),
        ({"a": estimator()}, {"cv": 10**6}, "^cv is 1000000; it must not be above the number of"),
        ({"a": 5}, {}, r"^models\['a'\] is 5; it must be an estimator"),
        ({"a": wf.MatrixFactorization}, {}, r"^models\['a'\] is <class"),
        ({"a": estimator()}, {"metrics": 5}, "^metrics is 5; it must be a name or several"),
        (
            {"a": estimator()},
            {"relevant_from": 99},
            "fold 0 has no test rating of relevant_from 99",
        ),
        ({"a": estimator()}, {"metrics": "auk"}, "metrics is 'auk'"),
        ({"a": estimator()}, {"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_bad_input_is_named(ratings, models, how, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wf.compare(models, ratings, **{"cv": 2, "random_state": 0, **how})


def test_all_models_are_compared_on_the_same_ratings(ratings):
    folds = [(ratings.users > 0, ratings.users == 0)]
    with pytest.raises(ValueError, match=r"models\['a'\] has no prediction for .* unknown='mean'"):
        wf.compare({"a": estimator(unknown="nan")}, ratings, folds)
    found = wf.compare({"a": estimator()}, ratings, folds)
    assert {each[0].n_users for each in found.evaluations.values()} == {1}
