"""Ensembles: their members, their mean, their intervals, and what they refuse."""

import pickle
import signal
import sys
import threading

import numpy as np
import pytest
from sklearn.base import clone

import warpfactor as wf
from reference import PLAIN
from warpfactor.training import ensemble
from warpfactor.training.calibration import HeldOut, held_out_shares
from warpfactor.training.fit import found_strengths

RATINGS = wf.datasets.make_ratings(120, 80, 3_000, random_state=3).ratings


def mf(**params):
    return wf.MatrixFactorization(
        **{"n_factors": 4, "n_epochs": 5, "random_state": 0, "verbose": 0} | params
    )


# As a search would give them; the members search together, a fit alone by itself.
GIVEN = {"reg": 0.04, "reg_row": 8.0, "reg_implicit": 2.0, "init": 0.05}


def seed_of(random_state, number):
    return int(np.random.SeedSequence([random_state, number]).generate_state(1, np.uint64)[0])


def tolerance(model, n_factors):
    """Rounding of a mean of scores: of their terms, each at most the largest score, in float32."""
    return (n_factors + 8) * np.finfo(np.float32).eps * 8


def test_means_of_several_models_say_what_to_do_in_place_of_partial_fit():
    for estimator in (wf.Ensemble(), wf.BayesianMatrixFactorization()):
        assert not hasattr(estimator, "partial_fit")
        with pytest.raises(
            AttributeError, match=r"has no partial_fit.*fit it again on all ratings"
        ):
            estimator.partial_fit([(1, 2)], [3])


def test_an_ensemble_is_the_mean_of_fits_with_seeds_of_their_own():
    model = wf.Ensemble(mf(**GIVEN), 3, intervals=False).fit(RATINGS)
    members = [mf(random_state=seed_of(0, n), **GIVEN).fit(RATINGS) for n in range(3)]
    each = np.stack([member.predict(RATINGS) for member in members], 1)
    assert np.ptp(each, axis=1).mean() > 0.01
    atol = tolerance(model, 12)
    np.testing.assert_allclose(model.predict(RATINGS), each.mean(1), rtol=0, atol=atol)
    scores = model.model_.member_scores(RATINGS)
    np.testing.assert_allclose(scores, each, rtol=0, atol=4 * atol)
    assert model.user_factors_.shape == (120, 12)
    assert model.model_.n_members_ == 3
    assert model.model_.n_ratings_ == 3_000
    np.testing.assert_array_equal(model.model_.user_counts_, members[0].model_.user_counts_)
    assert model.n_epochs_ == 5
    assert [record["epoch"] for record in model.history_] == [1, 2, 3, 4, 5]
    means = np.mean([member.history_[4]["train_rmse"] for member in members])
    assert model.history_[4]["train_rmse"] == pytest.approx(means)


def test_members_share_one_search(monkeypatch):
    searches = []

    def counted(*args, **kwargs):
        searches.append(found_strengths(*args, **kwargs))
        return searches[-1]

    monkeypatch.setattr(ensemble, "found_strengths", counted)
    model = wf.Ensemble(mf(n_epochs="auto"), 3, intervals=False).fit(RATINGS)
    [found] = searches
    assert GIVEN.keys() <= found.keys()
    strengths = {name: value for name, value in found.items() if name != "n_epochs"}
    assert strengths.items() <= model.chosen_.items()
    assert model.model_.get_params()["reg"] is None  # as it was given
    assert model.model_.get_params()["n_epochs"] == "auto"
    # A member is a fit with these strengths, and with half as many epochs again.
    usual = found.get("n_epochs", 40)
    own = found | {"n_epochs": round(1.5 * usual), "random_state": seed_of(0, 1)}
    member = wf.MatrixFactorization(n_factors=4, verbose=0, **own).fit(RATINGS)
    scores = model.model_.member_scores(RATINGS)[:, 1]
    atol = 4 * tolerance(model, 12)
    np.testing.assert_allclose(scores, member.predict(RATINGS), rtol=0, atol=atol)
    assert model.chosen_["n_epochs"] == model.n_epochs_ == own["n_epochs"]

    # Members of other parameters search for themselves, but not those that differ by their seed.
    searches.clear()
    models = [mf(random_state=1), mf(random_state=2), mf(n_factors=2), mf(**GIVEN)]
    model = wf.Ensemble(models, intervals=False).fit(RATINGS)
    assert len([found for found in searches if found]) == 2


def test_pairs_without_a_rating_reach_the_members():
    rng = np.random.default_rng(0)
    pairs = np.c_[rng.integers(0, 120, 500), rng.integers(0, 80, 500)]
    model = wf.Ensemble(mf(**GIVEN), 2, intervals=False)
    plain = model.fit(RATINGS).model_.member_scores(RATINGS)
    clicked = model.fit(RATINGS, implicit=pairs).model_.member_scores(RATINGS)
    assert not np.array_equal(plain, clicked)
    alone = mf(random_state=seed_of(0, 1), **GIVEN).fit(RATINGS, implicit=pairs)
    atol = 4 * tolerance(model, 8)
    np.testing.assert_allclose(clicked[:, 1], alone.predict(RATINGS), rtol=0, atol=atol)
    # All members get them, those of an iterator too.
    again = model.fit(RATINGS, implicit=pairs.tolist()).model_.member_scores(RATINGS)
    np.testing.assert_array_equal(again, clicked)
    with pytest.raises(ValueError, match="implicit holds no pair"):
        model.fit(RATINGS, implicit=[(10**6, 3)])


def test_the_mean_is_nearer_to_new_ratings_than_its_members():
    train, test = wf.train_test_split(RATINGS, test_size=0.2, random_state=0)
    # Weak penalties, so that the members differ; so few ratings choose factors that start narrow.
    member = mf(n_epochs=40, n_factors=8, reg_row=2.0)
    model = wf.Ensemble(member, 4, intervals=False).fit(train).model_
    scores = model.member_scores(test)
    each = np.sqrt(np.mean((test.values[:, None] - scores) ** 2, axis=0))
    # By Jensen's inequality the mean has no larger error than the root mean square of theirs.
    assert wf.metrics.rmse(test.values, model.predict(test)) < np.sqrt(np.mean(each**2)) - 0.001


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_same_bits_for_any_number_of_threads(n_threads):
    one, other = (wf.Ensemble(mf(n_threads=n), 3).fit(RATINGS).model_ for n in (3, n_threads))
    np.testing.assert_array_equal(one.user_factors_, other.user_factors_)
    for bound, same in zip(
        one.predict_interval(RATINGS), other.predict_interval(RATINGS), strict=True
    ):
        np.testing.assert_array_equal(bound, same)


def test_members_leave_out_ratings_of_their_own():
    weights = np.ones(len(RATINGS), np.float32)
    weights[::7] = 0
    rng = np.random.default_rng(0)
    held_out = held_out_shares(RATINGS, weights, 4, rng, keep_rows=False)
    assert len(np.unique(held_out.at)) == len(held_out.at) == 400
    assert (weights[held_out.at] > 0).all()
    np.testing.assert_array_equal(np.bincount(held_out.member), [100] * 4)
    for member in range(4):
        kept = held_out.without(member, len(RATINGS))
        assert (~kept).sum() == 100
        np.testing.assert_array_equal(
            np.flatnonzero(~kept), np.sort(held_out.at[held_out.member == member])
        )


def test_members_of_a_model_without_biases_keep_a_rating_of_each_row():
    n = 200  # every user has two ratings, every item eight
    users, items = np.repeat(np.arange(100), 2), np.arange(n) % 25
    ratings = wf.Ratings.from_arrays(users, items, np.arange(n) % 5)
    rng = np.random.default_rng(0)
    drawn = [held_out_shares(ratings, None, 2, rng, keep_rows=True) for _ in range(50)]
    for held_out in drawn:
        for member in range(2):
            kept = ratings.take(held_out.without(member, n))
            assert np.bincount(kept.users, minlength=100).min() >= 1
            assert np.bincount(kept.items, minlength=25).min() >= 1
    # Of 40, a rating is put back where the user's other one is among the 19 others of its share: one
    # in ten. (An item's eight are hardly ever.)
    assert np.mean([len(held_out.at) for held_out in drawn]) > 35


def test_a_member_does_not_see_what_it_left_out(monkeypatch):
    held_out = HeldOut(np.arange(0, 3_000, 10), np.arange(300) % 2)
    monkeypatch.setattr("warpfactor.training.ensemble.held_out_shares", lambda *_, **__: held_out)
    model = wf.Ensemble(mf(**GIVEN), 2).fit(RATINGS).model_
    for n in range(2):
        member = mf(random_state=seed_of(0, n), **GIVEN).fit(
            RATINGS.take(held_out.without(n, 3_000))
        )
        scores = model.member_scores(RATINGS)[:, n]
        np.testing.assert_allclose(
            scores, member.predict(RATINGS), atol=4 * tolerance(model, 8), rtol=0
        )
    # The model itself has seen all.
    assert model.n_ratings_ == 3_000
    np.testing.assert_array_equal(model.seen_[0], mf(**GIVEN).fit(RATINGS).model_.seen_[0])


SETS = {
    # Users with many ratings and a strong signal, and a sparse set of much noise.
    "signal": ((500, 300, 40_000), {"noise": 0.1}, {}),
    "noise": ((1_500, 900, 30_000), {"noise": 0.35}, {}),
    "float64": ((500, 300, 20_000), {}, {"dtype": "float64", "biases": False}),
}


@pytest.mark.parametrize("name", SETS)
def test_intervals_hold_as_many_new_ratings_as_they_say(name):
    shape, noise, params = SETS[name]
    made = wf.datasets.make_ratings(*shape, random_state=11, **noise).ratings
    train, test = wf.train_test_split(made, test_size=0.3, random_state=1)
    model = wf.Ensemble(mf(n_factors=16, n_epochs=15, **params)).fit(train)
    predicted, std = model.predict(test, return_std=True)
    assert np.sqrt(np.mean(((test.values - predicted) / std) ** 2)) == pytest.approx(1, abs=0.07)
    for coverage in (0.5, 0.8, 0.95):
        lower, upper = model.predict_interval(test, coverage)
        share = np.mean((lower <= test.values) & (test.values <= upper))
        # Three points are promised of the truth; the held-out and test ratings add some chance.
        n = min(len(test), 4 * max(round(0.02 * len(train)), 100))
        chance = 2 * np.sqrt(coverage * (1 - coverage) * (1 / n + 1 / len(test)))
        assert abs(share - coverage) < 0.03 + chance


def test_standard_deviations_follow_the_rows_noise():
    rng = np.random.default_rng(5)
    made = wf.datasets.make_ratings(200, 150, 12_000, random_state=4).ratings
    scale = np.where(np.arange(200) < 100, 0.3, 1.2)
    values = (3 + scale[made.users] * rng.normal(0, 1, len(made))).astype(np.float32)
    ratings = wf.Ratings(made.users, made.items, values, made.user_ids, made.item_ids)
    model = wf.Ensemble(mf()).fit(ratings)
    _, std = model.predict(np.stack([np.arange(200), np.zeros(200, int)], 1), return_std=True)
    # A user has 60 ratings or so, to which 5 of the average variance are added.
    low, high = 0.3**2, 1.2**2
    average = (low + high) / 2
    expected = [np.sqrt((60 * own + 5 * average) / 65) for own in (low, high)]
    np.testing.assert_allclose([std[:100].mean(), std[100:].mean()], expected, rtol=0.1)


def test_rows_that_are_not_known_are_less_certain():
    model = wf.Ensemble(mf()).fit(RATINGS)
    user, item = int(model.model_.user_counts_.argmax()), int(model.model_.item_counts_.argmax())
    _, std = model.predict([(user, item), (-1, item), (user, -1), (-1, -1)], return_std=True)
    assert std[0] < min(std[1], std[2]) <= max(std[1], std[2]) <= std[3]


def test_models_of_several_ranks_are_one_model(tmp_path):
    models = [mf(n_factors=3), mf(n_factors=5, reg=0.1), wf.Ensemble(mf(n_factors=2), 2)]
    model = wf.Ensemble(models, weights=[2, 1, 1]).fit(RATINGS)
    fitted = model.model_
    np.testing.assert_allclose(fitted.member_weights_, [0.5, 0.25, 0.125, 0.125])
    assert fitted.user_factors_.shape == (120, 3 + 5 + 2 + 2)
    scores = fitted.member_scores(RATINGS)
    np.testing.assert_allclose(
        model.predict(RATINGS), scores @ fitted.member_weights_, atol=tolerance(model, 12), rtol=0
    )
    # The last two are of one estimator, and differ.
    assert np.abs(scores[:, 2] - scores[:, 3]).max() > 1e-3
    model.save(tmp_path / "m.safetensors")
    for other in (wf.load(tmp_path / "m.safetensors"), pickle.loads(pickle.dumps(model))):
        for ask in ("predict", "predict_interval", "score"):
            np.testing.assert_array_equal(
                getattr(other, ask)(RATINGS), getattr(model, ask)(RATINGS)
            )
        np.testing.assert_array_equal(other.recommend(5)[0], model.recommend(5)[0])
        np.testing.assert_array_equal(other.similar_items(5)[0], model.similar_items(5)[0])


@pytest.mark.parametrize("order", [1, -1])
def test_samples_and_fits_are_one_model(tmp_path, order):
    sampler = wf.BayesianMatrixFactorization(
        3, n_samples=6, n_burn_in=4, n_kept=3, random_state=0, verbose=0
    )
    model = wf.Ensemble([wf.Ensemble(mf(), 2), sampler][::order]).fit(RATINGS)
    fitted = model.model_
    shares = [[1 / 4] * 2, [1 / 6] * 3][::order]
    np.testing.assert_allclose(fitted.member_weights_, np.concatenate(shares))
    scores = fitted.member_scores(RATINGS)
    atol = tolerance(model, 2 * 4 + 3 * 3)
    np.testing.assert_allclose(
        model.predict(RATINGS), scores @ fitted.member_weights_, atol=atol, rtol=0
    )
    model.save(tmp_path / "m.safetensors")
    loaded = wf.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(loaded.predict_interval(RATINGS), model.predict_interval(RATINGS))
    ids, scores = model.recommend(5, confidence=2)
    np.testing.assert_array_equal(loaded.recommend(5, confidence=2)[0], ids)
    assert np.isfinite(scores).all()


def test_recommendations_leave_out_what_a_member_left_out_too():
    model = wf.Ensemble(mf(), 2).fit(RATINGS)
    rated = set(RATINGS.items[RATINGS.users == 7].tolist())
    ids, _ = model.recommend(7, n=80)
    assert not rated & set(ids.tolist())


def test_weights_of_ratings_reach_the_members():
    weights = np.where(RATINGS.users < 110, 1.0, 0.0)
    model = wf.Ensemble(mf(), 2).fit(RATINGS, sample_weight=weights)
    assert not model.model_.user_known_[110:].any()
    assert model.model_.n_ratings_ == int(weights.sum())
    _, std = model.predict(RATINGS, return_std=True)
    assert np.isfinite(std).all()


def test_validation_reaches_the_members():
    train, valid = wf.train_test_split(RATINGS, test_size=0.2, random_state=0)
    overfit = mf(n_epochs=200, learning_rate=0.1, reg=0, **PLAIN)
    model = wf.Ensemble(overfit, 2).fit(train, validation=valid)
    assert len(model.history_) < 200
    assert np.isfinite(model.history_[0]["valid_rmse"])
    X, y = valid.to_pairs()
    other = wf.Ensemble(overfit, 2).fit(train, validation=(X, y))
    np.testing.assert_array_equal(other.user_factors_, model.user_factors_)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_losses_of_labels_have_a_mean_but_no_intervals(loss):
    labels = wf.Ratings(
        RATINGS.users,
        RATINGS.items,
        np.where(RATINGS.values > 3, 1, -1).astype(np.float32),
        RATINGS.user_ids,
        RATINGS.item_ids,
    )
    model = wf.Ensemble(mf(loss=loss), 2).fit(labels)
    scores = model.model_.member_scores(labels).mean(1)
    expected = 2 / (1 + np.exp(-scores)) - 1 if loss == "logistic" else scores
    np.testing.assert_allclose(model.predict(labels), expected, atol=tolerance(model, 8), rtol=0)
    with pytest.raises(ValueError, match="of a loss without labels"):
        model.predict(labels, return_std=True)


def test_few_ratings_have_a_mean_but_no_intervals():
    few = RATINGS.take(np.arange(30))
    model = wf.Ensemble(mf(), 2).fit(few)
    assert np.isfinite(model.predict(few)).all()
    with pytest.raises(ValueError, match="needs a model that knows"):
        model.predict_interval(few)
    one = wf.Ensemble(mf(), 4).fit(RATINGS.take([0]))
    assert np.isfinite(one.predict(RATINGS)).all()


def test_ratings_that_are_all_the_same_have_narrow_intervals():
    same = wf.Ratings(
        RATINGS.users,
        RATINGS.items,
        np.full(3_000, 4, np.float32),
        RATINGS.user_ids,
        RATINGS.item_ids,
    )
    model = wf.Ensemble(mf()).fit(same)
    predicted, std = model.predict(same, return_std=True)
    np.testing.assert_allclose(predicted, 4, atol=0.05)
    assert (std < 0.05).all()
    assert np.isfinite(np.stack(model.predict_interval(same))).all()


def test_a_single_member_has_intervals_too():
    train, test = wf.train_test_split(RATINGS, test_size=0.2, random_state=0)
    model = wf.Ensemble(mf(), 1).fit(train)
    lower, upper = model.predict_interval(test, 0.9)
    assert 0.8 < np.mean((lower <= test.values) & (test.values <= upper)) < 0.99


def test_how_it_answers_is_set_through_its_model():
    model = wf.Ensemble(mf(), 2).fit(RATINGS)
    model.set_params(model__unknown="nan")
    predicted, std = model.predict([(0, 0), (-5, 0)], return_std=True)
    np.testing.assert_array_equal(np.isnan(predicted), [False, True])
    np.testing.assert_array_equal(np.isnan(std), [False, True])


def test_it_is_an_estimator():
    model = wf.Ensemble(mf(), 2, intervals=False)
    assert clone(model).get_params()["model__n_factors"] == 4
    with pytest.raises(AttributeError, match="this Ensemble has no user_factors_ yet"):
        _ = model.user_factors_
    scores = wf.cross_validate(model, RATINGS, cv=2)
    assert all(np.isfinite(scores["test_rmse"]))
    X, y = RATINGS.to_pairs()
    assert np.isfinite(model.fit(X, y).score(X, y))
    assert not hasattr(mf(), "model_")


def test_seeds_that_are_not_given_differ_between_fits():
    one, other = (wf.Ensemble(mf(random_state=None), 2).fit(RATINGS) for _ in range(2))
    assert np.abs(one.predict(RATINGS) - other.predict(RATINGS)).max() > 0
    generators = [np.random.default_rng(4) for _ in range(2)]
    one, other = (wf.Ensemble(mf(random_state=each), 2).fit(RATINGS) for each in generators)
    np.testing.assert_array_equal(one.user_factors_, other.user_factors_)


def test_callbacks_are_those_that_were_given():
    records = []
    wf.Ensemble(mf(callbacks=[records.append]), 3).fit(RATINGS)
    assert sorted(record["epoch"] for record in records) == sorted([1, 2, 3, 4, 5] * 3)


def test_a_terminal_shows_one_bar_for_all(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    wf.Ensemble(mf(verbose=1), 3).fit(RATINGS)
    assert capsys.readouterr().err.count("5 epochs in ") == 1
    wf.Ensemble(mf(verbose=0), 3).fit(RATINGS)
    assert capsys.readouterr().err == ""


def test_an_error_in_a_member_ends_the_fit_and_leaves_the_last():
    model = wf.Ensemble(mf(n_threads=2), 3).fit(RATINGS)
    before = model.model_

    def fail(record):
        raise RuntimeError("enough")

    model.set_params(model__callbacks=[fail], model__n_epochs=1_000_000)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(RATINGS)
    assert model.model_ is before
    model.set_params(model__callbacks=[], model__n_factors=0)
    with pytest.raises(ValueError, match="n_factors is 0"):
        model.fit(RATINGS)
    assert model.model_ is before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread here")
def test_ctrl_c_ends_all_members():
    sent = threading.Lock()

    def interrupt(record):
        if record["epoch"] == 2 and sent.acquire(blocking=False):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    before = set(threading.enumerate())
    model = wf.Ensemble(mf(n_epochs=1_000_000, callbacks=[interrupt], n_threads=2), 3)
    with pytest.raises(KeyboardInterrupt):
        model.fit(RATINGS)
    # The pool does not wait for a thread in whose very start the signal came; it ends all the same.
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"model": []}, "model is an empty list"),
        ({"model": [mf(), "sgd"]}, "model is or has 'sgd'; it must be an estimator"),
        ({"n_models": 0}, "n_models is 0; it must be at least 1"),
        ({"n_models": 2.5}, r"n_models is 2\.5; it must be an integer"),
        ({"weights": [1, 2]}, "a number for each of the 4 models"),
        ({"weights": "equal"}, "weights is 'equal'"),
        ({"weights": [1, 1, 1, 0]}, "all must be finite and above 0"),
        ({"weights": [1, 1, 1, np.nan]}, "all must be finite and above 0"),
        ({"intervals": "yes"}, "intervals is 'yes'; it must be True or False"),
        ({"model": mf(n_threads=0)}, "n_threads is 0; it must be at least 1"),
        ({"model": mf(callbacks=None)}, "callbacks is None"),
        ({"model": mf(random_state=-1)}, "random_state is -1"),
        ({"model": mf(device="gpu")}, "device is 'gpu'"),
        (
            {"model": mf(n_factors=1024), "n_models": 5},
            "5 members have 5120 factors in all; .* at most 4096",
        ),
        ({"model": [mf(), mf(biases=False)]}, "estimators that differ in biases"),
        ({"model": [mf(), mf(loss="logistic")]}, "label"),
    ],
)
def test_what_makes_no_sense_is_refused(params, message):
    with pytest.raises(ValueError, match=message):
        wf.Ensemble(**{"model": mf()} | params).fit(RATINGS)


def test_links_that_differ_are_refused():
    labels = wf.Ratings(
        RATINGS.users,
        RATINGS.items,
        (RATINGS.values > 3).astype(np.float32),
        RATINGS.user_ids,
        RATINGS.item_ids,
    )
    with pytest.raises(ValueError, match="estimators that differ in the link of the loss"):
        wf.Ensemble([mf(), mf(loss="logistic")]).fit(labels)
