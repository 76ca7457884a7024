"""Figures of `wf.plot`: what they draw, by the numbers on their axes."""

from __future__ import annotations

import io
import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

import warpfactor as wf
from warpfactor.report import measures
from warpfactor.report.naming import clean, shortened

TINY = {"n_factors": 2, "n_epochs": 5, "reg": 0.05, "random_state": 0, "verbose": 0, "n_threads": 1}


@pytest.fixture(scope="module")
def parts():
    ratings = wf.datasets.make_ratings(100, 60, 2400, random_state=0).ratings
    return wf.train_test_split(ratings, 0.25, random_state=0)


@pytest.fixture(scope="module")
def model(parts):
    train, test = parts
    return wf.MatrixFactorization(**TINY, early_stopping=False).fit(train, validation=test)


@pytest.fixture
def ax():
    return Figure().add_subplot()


def lines(ax):
    """The lines on axes by their labels, each as x and y."""
    return {line.get_label(): line.get_xydata().T for line in ax.get_lines()}


def test_figures_are_drawn_where_they_are_told(model, parts, ax):
    assert wf.plot.history(model, ax=ax) is ax
    before = plt.get_fignums()
    fresh = wf.plot.residuals(model, parts[1])
    (made,) = set(plt.get_fignums()) - set(before)
    assert plt.figure(made).axes == [fresh]
    plt.close(made)


def test_history_has_the_errors_of_all_epochs_and_which_was_kept(model, parts, ax):
    train, test = parts
    wf.plot.history(model, ax=ax)
    drawn = lines(ax)
    for label, name in (("validation", "valid_rmse"), ("training", "train_rmse")):
        epochs, errors = drawn[label]
        assert epochs.tolist() == list(range(1, len(model.history_) + 1))
        assert errors.tolist() == [record[name] for record in model.history_]
    assert "kept" not in drawn and ax.get_ylabel() == "RMSE"
    overfit = {"n_factors": 16, "n_epochs": 60, "reg": 0.0, "reg_row": 0.0, "schedule": "constant"}
    diverging = wf.MatrixFactorization(**TINY | overfit, loss="huber").fit(train, validation=test)
    assert diverging.n_epochs_ < len(diverging.history_)  # or there is nothing to show
    other = Figure().add_subplot()
    wf.plot.history(diverging.model_, ax=other)
    assert lines(other)["kept"][0].tolist() == [diverging.n_epochs_] * 2
    assert other.get_ylabel() == "huber loss"
    with pytest.raises(ValueError, match="model has an empty history_"):
        wf.plot.history(wf.baselines.Mean().fit(train))


def test_errors_are_those_of_the_ratings_of_each_group(model, parts, ax):
    train, test = parts
    models = {"model": model, "mean": wf.baselines.Mean().fit(train)}
    wf.plot.errors(models | {"popularity": wf.baselines.Popularity().fit(train)}, test, ax=ax)
    drawn = lines(ax)
    assert set(drawn) == set(models)  # popularity predicts nothing
    for name, each in models.items():
        errors = test.values.astype(float) - each.predict(test)
        expected = [
            np.sqrt(np.mean(errors[test.values == value] ** 2)) for value in (1, 2, 3, 4, 5)
        ]
        assert drawn[name][1] == pytest.approx(expected)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4", "5"]
    # The bars behind are the groups' shares.
    (behind,) = (other for other in ax.get_figure().axes if other is not ax)
    shares = [np.mean(test.values == value) for value in (1, 2, 3, 4, 5)]
    assert [bar.get_height() for bar in behind.patches] == pytest.approx(shares)


@pytest.mark.parametrize("by", ["activity", "popularity"])
def test_groups_by_training_ratings_have_enough_test_ratings(by, model, parts, ax):
    train, test = parts
    side = "users" if by == "activity" else "items"
    counts = np.bincount(getattr(train, side), minlength=100)[getattr(test, side)]
    wf.plot.errors(model, test, by=by, ax=ax)
    labels = [label.get_text() for label in ax.get_xticklabels()]
    starts = [int(label.removesuffix("+")) for label in labels]
    assert len(starts) > 1 and labels[-1][-1] == "+"
    errors = test.values.astype(float) - model.predict(test)
    expected = []
    for low, high in zip(starts, [*starts[1:], np.inf], strict=True):
        group = (counts >= low) & (counts < high)
        assert group.sum() >= 20
        expected.append(np.sqrt(np.mean(errors[group] ** 2)))
    assert counts.min() >= starts[0]
    assert lines(ax)["model"][1] == pytest.approx(expected)


def test_ratings_of_many_values_are_put_into_ranges(model, parts, ax):
    test = parts[1]
    values = np.linspace(-10, 10, len(test))
    many = wf.Ratings.from_arrays(test.user_ids[test.users], test.item_ids[test.items], values)
    wf.plot.errors(model, many, ax=ax)
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        f"{middle:g}" for middle in range(-9, 10, 2)
    ]


def test_residuals_are_a_density_beside_the_normal_one(model, parts, ax):
    wf.plot.residuals(model, parts[1], ax=ax)
    errors = parts[1].values - model.predict(parts[1])
    (steps,) = (patch for patch in ax.patches if hasattr(patch, "get_data"))
    data = steps.get_data()
    inside = np.mean(np.abs(errors) <= data.edges[-1])
    assert np.sum(data.values * np.diff(data.edges)) == pytest.approx(inside)
    x, y = lines(ax)["normal"]
    assert x[y.argmax()] == pytest.approx(errors.mean(), abs=x[1] - x[0])
    assert f"deviation {errors.std():.3f}" in ax.get_xlabel()


def test_calibration_compares_means_of_like_predictions(model, parts, ax):
    test = parts[1]
    wf.plot.calibration(model, test, ax=ax)
    (bars,) = ax.containers
    predicted, rating = bars.lines[0].get_data()
    order = np.argsort(model.predict(test), kind="stable")
    groups = np.array_split(order, 12)
    assert predicted == pytest.approx([model.predict(test)[group].mean() for group in groups])
    assert rating == pytest.approx([test.values[group].mean() for group in groups])
    with pytest.raises(ValueError, match="kind is 'intervals', and the model has no standard dev"):
        wf.plot.calibration(model, test, kind="intervals", ax=ax)
    with pytest.raises(ValueError, match="kind is 'std'"):
        wf.plot.calibration(model, test, kind="std", ax=ax)


def test_calibration_counts_the_ratings_within_their_intervals(parts, ax):
    train, test = parts
    model = wf.Ensemble(wf.MatrixFactorization(**TINY), n_models=2).fit(train)
    wf.plot.calibration(model, test, ax=ax)
    wanted, found = lines(ax)["test ratings"]
    for share, held in zip(wanted, found, strict=True):
        lower, upper = model.predict_interval(test, share)
        # A rating on a bound, within rounding, may be in or out.
        assert held == pytest.approx(
            np.mean((lower <= test.values) & (test.values <= upper)), abs=1.5 / len(test)
        )
    other = Figure().add_subplot()
    wf.plot.calibration(model, test, kind="mean", ax=other)
    assert other.get_xlabel() == "mean prediction"


def test_popularity_shares_are_of_all_ratings_and_of_all_places(model, ax):
    wf.plot.popularity(model, n=5, ax=ax)
    listed, rated = ([bar.get_height() for bar in bars] for bars in ax.containers)
    assert sum(listed) == pytest.approx(1) and sum(rated) == pytest.approx(1)
    assert rated == sorted(rated, reverse=True)
    counts = np.sort(model.model_.item_counts_)[::-1].astype(int)
    assert rated[0] == pytest.approx(
        counts[: -(-np.count_nonzero(counts) // 10)].sum() / counts.sum()
    )
    ids, scores = model.recommend(model.user_ids_[model.model_.user_known_], 5)
    top = np.argsort(-model.model_.item_counts_.astype(int), kind="stable")[:6]
    assert listed[0] == pytest.approx(
        np.isin(ids[np.isfinite(scores)], model.item_ids_[top]).mean()
    )


def test_the_map_keeps_the_distances_of_what_factors_add_to_scores(model, ax):
    # With two factors nothing is lost in two dimensions.
    titles = {item: f"Film {item}" for item in range(60)}
    wf.plot.embedding(model, titles, n=40, n_titles=5, ax=ax)
    points = np.asarray(ax.collections[0].get_offsets())
    fitted = model.model_
    codes = np.argsort(-fitted.item_counts_.astype(int), kind="stable")[:40]
    columns = fitted.user_factors_[fitted.user_known_] @ fitted.item_factors_[codes].T
    columns = (columns - columns.mean(axis=1, keepdims=True)).T / np.sqrt(fitted.user_known_.sum())
    expected = np.linalg.norm(columns[:, None] - columns[None], axis=-1)
    found = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())
    names = [text.get_text() for text in ax.texts]
    assert 1 <= len(names) <= 5 and set(names) <= set(titles.values())
    # Of the same users' scores by other factors, the map is the same.
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 3
    P, Q = fitted.user_factors_ @ turn, fitted.item_factors_ @ turn / 9
    start = wf.MatrixFactorization(**TINY | {"init": (P, Q), "learning_rate": 1e-30})
    turned = measures.item_map(start.fit(wf.Ratings.from_arrays(*_pairs(fitted))).model_, 40)
    np.testing.assert_allclose(
        np.abs(turned.points), np.abs(points), atol=1e-4 * np.abs(points).max()
    )


def _pairs(fitted):
    indptr, items = fitted.seen_
    users = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    return users, items, np.arange(len(items)) % 5 + 1.0


def test_a_map_of_no_factors_or_one_item_is_no_error(parts, ax):
    flat = wf.MatrixFactorization(**TINY | {"init": 0.0}).fit(parts[0])
    assert np.all(np.asarray(wf.plot.embedding(flat, ax=ax).collections[0].get_offsets()) == 0)
    assert not ax.texts
    one = measures.item_map(flat.model_, 1)
    assert one.points.tolist() == [[0, 0]] and one.shares == (0, 0)


def test_names_are_shown_as_they_can_be_and_never_read_as_formulas(model, ax):
    titles = {item: f"Ca$h $\\undefined{{{item}}} <b>" for item in range(60)}
    wf.plot.embedding(model, titles, ax=ax)
    ax.get_figure().savefig(io.BytesIO(), format="svg")
    assert ax.texts and all(text.get_text().startswith("Ca$h") for text in ax.texts)
    assert clean(" a\n\tb\x00\ud800c ") == "a b c"
    assert clean("👩\u200d🚀") == "👩\u200d🚀"
    assert shortened("abc", 3) == "abc" and shortened("abcd", 3) == "ab…"
    assert shortened("ae\u0301e\u0301", 4) == "ae\u0301…"


def test_pairs_without_a_prediction_are_left_out(parts, ax):
    train, test = parts
    some = train.take(train.users < 60)
    for unknown in ("nan", "raise"):
        model = wf.MatrixFactorization(**TINY, unknown=unknown).fit(some)
        found = measures.scored(model, test)
        assert (
            len(found.values) == np.count_nonzero(test.users < 60) == len(test) - found.n_left_out
        )
        strangers = test.take(test.users >= 60)
        with pytest.raises(
            ValueError, match="test has no pair of a user and an item that the model"
        ):
            wf.plot.residuals(model, strangers, ax=ax)
    others = {"all": wf.baselines.Mean().fit(train), "some": model}
    with pytest.raises(ValueError, match="model has 'some', which predicts"):
        wf.plot.errors(others, test, ax=ax)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda model, test: wf.plot.errors(model, test, by="user"), ValueError, "by is 'user'"),
        (lambda model, test: wf.plot.errors({}, test), ValueError, "at least one"),
        (lambda model, test: wf.plot.history(3), TypeError, "model is 3"),
        (lambda model, test: wf.plot.embedding(model, n=0), ValueError, "n is 0"),
        (lambda model, test: wf.plot.embedding(model, n_titles=-1), ValueError, "n_titles is -1"),
        (lambda model, test: wf.plot.embedding(model, {"x": "y"}), ValueError, "titles has no id"),
        (lambda model, test: wf.plot.popularity(model, n=0), ValueError, "n is 0"),
        (lambda model, test: wf.plot.residuals(model, "r.csv"), ValueError, "test"),
        (lambda model, test: wf.plot.history(wf.Ensemble()), ValueError, "not fitted"),
    ],
)
def test_wrong_arguments_are_named_and_leave_no_figure(call, error, message, model, parts):
    before = plt.get_fignums()
    with pytest.raises(error, match=message):
        call(model, parts[1])
    assert plt.get_fignums() == before


def test_without_matplotlib_the_error_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r'pip install "warpfactor\[plot\]"'):
        wf.plot.history(model)
