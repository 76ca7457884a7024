"""Prior means from who rated what, penalties per row, and the strengths that the ratings choose."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

import reference
import warpfactor as wf
from shell import succeed, warpfactor
from warpfactor.losses import penalty

# Strengths are given where they are not what a test is about: nothing then depends on a search.
GIVEN = {"reg": 0.04, "reg_row": 8.0, "reg_implicit": 2.0}


def planted(n_users=300, n_items=200, n=6000, seed=0):
    return wf.datasets.make_ratings(n_users, n_items, n, random_state=seed).ratings


def model_of(**params):
    return wf.MatrixFactorization(**{"random_state": 0, "verbose": 0, **params})


def bytes_of(model):
    arrays = (model.user_factors_, model.item_factors_, model.user_biases_, model.item_biases_)
    return b"".join(array.tobytes() for array in arrays)


def pairs_of(ratings):
    return np.c_[ratings.user_ids[ratings.users], ratings.item_ids[ratings.items]]


WAYS = {
    "as it comes": {},
    "both": {**GIVEN, "implicit_feedback": "both"},
    "users": {**GIVEN, "implicit_feedback": "users"},
    "items": {**GIVEN, "implicit_feedback": "items"},
    "no means": {**GIVEN, "implicit_feedback": "none"},
    "logistic": {**GIVEN, "loss": "logistic"},
    "huber": {**GIVEN, "loss": "huber"},
    "adagrad": {"optimizer": "adagrad"},
    "adam in batches": {"optimizer": "adam", "batch_size": 4096},
    "gd": {"optimizer": "gd"},
    "no biases": {**GIVEN, "biases": False, "implicit_feedback": "both"},
}


def of_kind(params, ratings):
    if params.get("loss") != "logistic":
        return ratings
    labels = np.where(ratings.values > 3.5, 1.0, -1.0).astype(np.float32)
    return wf.Ratings(ratings.users, ratings.items, labels, ratings.user_ids, ratings.item_ids)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("way", WAYS)
def test_the_bytes_do_not_depend_on_the_number_of_threads(way, dtype):
    ratings = of_kind(WAYS[way], planted(2000, 1500, 120_000))  # enough for several blocks
    clicks = pairs_of(planted(2000, 1500, 20_000, seed=1))
    clicks = None if way == "no means" else clicks
    fits = [
        model_of(n_factors=24, n_epochs=5, n_threads=t, dtype=dtype, **WAYS[way]).fit(
            ratings, implicit=clicks
        )
        for t in (1, 2, 5)
    ]
    assert [m.n_threads_ for m in fits] == [1, 2, 5]
    assert len({bytes_of(m) for m in fits}) == 1
    assert fits[0].chosen_ == fits[1].chosen_ == fits[2].chosen_
    curves = {tuple(record["train_rmse"] for record in m.history_) for m in fits}
    assert len(curves) == 1


SAME_BITS = """
import sys
import warpfactor as wf
ratings = wf.datasets.make_ratings(n_users=2000, n_items=1500, n_ratings=120_000, random_state=0).ratings
fits = [
    wf.MatrixFactorization(
        n_factors=20, n_epochs=5, n_threads=t, random_state=0, verbose=0, optimizer=sys.argv[1]
    ).fit(ratings)
    for t in (1, 3)
]
bits = {
    b"".join(a.tobytes() for a in (m.user_factors_, m.item_factors_, m.user_biases_, m.item_biases_))
    for m in fits
}
assert fits[0].chosen_["implicit_feedback"] == "both", fits[0].chosen_
print(fits[0].instruction_set_, len(bits))
"""


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad"])
@pytest.mark.parametrize("isa", wf.show_config("dicts")["built_instruction_sets"])
def test_the_bytes_do_not_depend_on_the_threads_with_each_instruction_set(isa, optimizer):
    done = subprocess.run(
        [sys.executable, "-c", SAME_BITS, optimizer],
        env={**os.environ, "WARPFACTOR_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0 and "WARPFACTOR_ISA" in done.stderr:
        pytest.skip(f"this processor does not run {isa}")
    assert (done.returncode, done.stdout.split()) == (0, [isa, "1"]), done.stderr


def told_by_choices(seed=0, n_users=800, n_items=120, per_user=10, k=3):
    """Users who choose items by their taste, and like them by the same taste.

    What of an item attracts a user has nothing to do with how the user rates it, so that ratings of
    chosen items are neither high nor low. Ten noisy ratings tell little of a user's taste, and the
    choice of the ten much.
    """
    rng = np.random.default_rng(seed)
    taste = rng.normal(size=(n_users, k))
    attracting, rating = rng.normal(size=(2, n_items, k))
    liking = taste @ rating.T / np.sqrt(k)
    items = []
    for attraction in 2 * taste @ attracting.T / np.sqrt(k):
        share = np.exp(attraction - attraction.max())
        items.append(rng.choice(n_items, per_user, replace=False, p=share / share.sum()))
    X = np.c_[np.repeat(np.arange(n_users), per_user), np.concatenate(items)]
    return X, liking[X[:, 0], X[:, 1]] + rng.normal(size=len(X)), liking


def test_the_choice_of_items_tells_of_taste():
    X, y, liking = told_by_choices()
    everything = np.argwhere(np.ones_like(liking))
    errors = {}
    for sides in ("none", "users", "items", "both", "auto"):
        strengths = {} if sides == "auto" else GIVEN
        model = model_of(n_factors=8, implicit_feedback=sides, **strengths).fit(X, y)
        errors[sides] = wf.metrics.rmse(liking.ravel(), model.predict(everything))
    assert errors["both"] < 0.8 * errors["none"]  # .82 and 1.18; always the mean: 1.02
    assert errors["auto"] < 0.8 * errors["none"]
    assert errors["both"] < errors["users"] < errors["none"]
    assert errors["both"] < errors["items"] < errors["none"]


def test_pairs_that_are_rated_already_change_nothing():
    ratings = planted()
    known = pairs_of(ratings)
    plain = model_of(n_factors=8, **GIVEN).fit(ratings)
    for pairs in (known, known[::3], np.r_[known, known], known.tolist(), ratings):
        assert bytes_of(model_of(n_factors=8, **GIVEN).fit(ratings, implicit=pairs)) == bytes_of(
            plain
        )


def test_other_pairs_move_the_prior_means():
    ratings = planted()
    more = np.c_[np.arange(200), np.arange(200)[::-1]]
    plain = model_of(n_factors=8, **GIVEN).fit(ratings)
    clicked = model_of(n_factors=8, **GIVEN).fit(ratings, implicit=more)
    assert bytes_of(clicked) != bytes_of(plain)
    twice = model_of(n_factors=8, **GIVEN).fit(ratings, implicit=np.r_[more, more])
    assert bytes_of(twice) == bytes_of(clicked)
    # Not before the second epoch has ended.
    short = [
        model_of(n_factors=8, n_epochs=2, **GIVEN).fit(ratings, implicit=pairs)
        for pairs in (None, more)
    ]
    assert bytes_of(short[0]) == bytes_of(short[1])


def test_unknown_users_and_items_of_pairs_are_left_out():
    ratings = planted()
    more = np.c_[np.arange(200), np.arange(200)[::-1]]
    plain = model_of(n_factors=8, **GIVEN).fit(ratings, implicit=more)
    unknown = [(10**6, 3), (3, 10**6), (10**6, 10**6)]
    both = model_of(n_factors=8, **GIVEN).fit(ratings, implicit=np.r_[unknown, more, unknown])
    assert bytes_of(both) == bytes_of(plain)
    with pytest.raises(ValueError, match="implicit holds no pair of a user and an item that both"):
        model_of(**GIVEN).fit(ratings, implicit=unknown)


def test_pairs_of_rows_without_ratings_are_left_out():
    # They are rows of the matrix, and so have ids, but nothing of them is trained.
    rng = np.random.default_rng(0)
    D = np.where(rng.random((40, 30)) < 0.5, rng.normal(3, 1, (40, 30)), np.nan)
    D[7], D[:, 4] = np.nan, np.nan
    more = np.c_[rng.integers(0, 40, 50), rng.integers(0, 30, 50)]
    more = more[(more[:, 0] != 7) & (more[:, 1] != 4)]
    dead = np.r_[np.c_[np.full(30, 7), np.arange(30)], np.c_[np.arange(40), np.full(40, 4)]]
    plain = model_of(n_factors=4, **GIVEN).fit(D, implicit=more)
    both = model_of(n_factors=4, **GIVEN).fit(D, implicit=np.r_[more, dead])
    assert bytes_of(both) == bytes_of(plain)
    # So are ratings of weight 0.
    X, y = np.argwhere(~np.isnan(D)), D[~np.isnan(D)]
    heavy = np.where(X[:, 0] == 3, 0.0, 1.0)
    some = more[more[:, 0] != 3]
    ignored = np.c_[np.full(30, 3), np.arange(30)]
    fits = [
        model_of(n_factors=4, **GIVEN).fit(X, y, sample_weight=heavy, implicit=pairs)
        for pairs in (some, np.r_[some, ignored])
    ]
    assert bytes_of(fits[0]) == bytes_of(fits[1])
    with pytest.raises(ValueError, match="implicit holds no pair of a user and an item that both"):
        model_of(n_factors=4, **GIVEN).fit(D, implicit=dead)


@pytest.mark.parametrize("sides", ["users", "items", "both"])
def test_a_rating_of_weight_zero_is_as_good_as_absent(sides):
    ratings = planted()
    X, y = pairs_of(ratings), ratings.values
    weights = np.where(np.arange(len(y)) % 5 == 2, 0.0, 2.0)
    kept = weights > 0
    assert set(X[kept, 0]) == set(X[:, 0]) and set(X[kept, 1]) == set(X[:, 1])
    params = {**GIVEN, "n_factors": 8, "implicit_feedback": sides}
    zero = model_of(**params).fit(X, y, sample_weight=weights)
    absent = model_of(**params).fit(X[kept], y[kept], sample_weight=weights[kept])
    # The mean's sum over all ratings is rounded otherwise than that over the others.
    assert zero.chosen_.keys() == absent.chosen_.keys()
    assert zero.chosen_["n_epochs"] == absent.chosen_["n_epochs"]
    assert zero.chosen_["reg_bias_row"] == pytest.approx(absent.chosen_["reg_bias_row"])
    np.testing.assert_allclose(zero.predict(X), absent.predict(X), rtol=1e-4)


def test_equal_weights_are_no_weights():
    ratings = planted()
    plain = model_of(n_factors=8).fit(ratings)
    weighted = model_of(n_factors=8).fit(ratings, sample_weight=np.full(len(ratings), 3.0))
    assert weighted.chosen_.keys() == plain.chosen_.keys()
    for name, value in plain.chosen_.items():  # sums with weights are rounded otherwise
        assert weighted.chosen_[name] == (value if isinstance(value, str) else pytest.approx(value))
    np.testing.assert_allclose(weighted.predict(ratings), plain.predict(ratings), rtol=1e-4)


def test_only_the_sides_asked_for_have_prior_means():
    # Without ratings' pull a row ends at its prior mean: in a row's only step from 0, by half of
    # the way at most. Both sides at once are the two on their own, in the epoch after the first
    # means.
    ratings = planted(60, 50, 800)
    params = {
        "n_factors": 4, "n_epochs": 3, "optimizer": "gd", "learning_rate": 0.002,
        "schedule": "constant", "dtype": "float64", **GIVEN,
    }  # fmt: skip
    none, users, items, both = (
        model_of(implicit_feedback=sides, **params).fit(ratings)
        for sides in ("none", "users", "items", "both")
    )
    assert not np.array_equal(users.user_factors_, none.user_factors_)
    assert not np.array_equal(users.user_biases_, none.user_biases_)
    np.testing.assert_array_equal(users.item_factors_, none.item_factors_)
    np.testing.assert_array_equal(users.item_biases_, none.item_biases_)
    np.testing.assert_array_equal(items.user_factors_, none.user_factors_)
    assert not np.array_equal(items.item_factors_, none.item_factors_)
    np.testing.assert_array_equal(both.user_factors_, users.user_factors_)
    np.testing.assert_array_equal(both.item_factors_, items.item_factors_)


def test_what_was_chosen_is_told_saved_and_loaded(tmp_path):
    ratings = planted()
    model = model_of(n_factors=8).fit(ratings)
    chosen = model.chosen_
    assert chosen["n_epochs"] == len(model.history_)
    assert chosen["learning_rate"] == model.history_[0]["learning_rate"]
    assert set(chosen) <= set(model.get_params())
    assert {"reg", "reg_bias", "reg_row", "reg_bias_row", "implicit_feedback"} <= set(chosen)
    assert chosen["implicit_feedback"] in ("both", "none")
    for side in np.ravel(chosen["reg_bias_row"]):
        assert 0 < side < 1e4
    chosen["n_epochs"] = -1  # a copy
    assert model.chosen_["n_epochs"] > 0
    model.save(tmp_path / "m")
    for other in (wf.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert other.chosen_ == model.chosen_
        assert other.get_params() == model.get_params()
        assert other.predict(ratings).tobytes() == model.predict(ratings).tobytes()
    # What was chosen, given, is the same fit; but the global mean is that of the ratings where
    # reg_bias_row is given, and so this is left open.
    rest = {name: value for name, value in model.chosen_.items() if name != "reg_bias_row"}
    given = model_of(n_factors=8, **rest).fit(ratings)
    assert bytes_of(given) == bytes_of(model)
    assert given.chosen_ == {"reg_bias_row": model.chosen_["reg_bias_row"]}


@pytest.mark.parametrize(
    "how",
    [
        {"optimizer": "adam"},
        {"optimizer": "adagrad"},
        {"momentum": 0.5},
        {"batch_size": 2000, "learning_rate": 0.02},
    ],
    ids=lambda how: next(iter(how)) + str(next(iter(how.values()))),
)
def test_the_strengths_are_searched_for_with_all_steps(how):
    # Pairs by chance and a strong signal of two factors, for which the usual strengths are too much.
    rng = np.random.default_rng(0)
    P, Q = rng.normal(size=(400, 2)), rng.normal(size=(250, 2))
    pairs = np.c_[rng.integers(0, 400, 24_000), rng.integers(0, 250, 24_000)]
    y = np.sum(P[pairs[:, 0]] * Q[pairs[:, 1]], axis=1) + 0.2 * rng.normal(size=24_000)
    train, test = np.arange(24_000) < 20_500, np.arange(24_000) >= 20_500
    usual = {"reg": 0.04, "reg_row": 8.0, "reg_implicit": 2.0, "init": 0.05}
    errors = [
        wf.metrics.rmse(
            y[test],
            model_of(n_factors=8, **how, **given).fit(pairs[train], y[train]).predict(pairs[test]),
        )
        for given in ({}, usual)
    ]
    assert errors[0] < 0.95 * errors[1]


def test_full_batch_steps_take_the_usual_strengths():
    model = model_of(n_factors=4, optimizer="gd", n_epochs=30).fit(planted(60, 50, 800))
    assert [model.chosen_[name] for name in ("reg", "reg_row", "reg_implicit")] == [0.04, 8, 2]


def test_cloning_forgets_what_was_chosen():
    model = model_of(n_factors=4, reg_row="auto", reg_bias_row=(2.0, 3.0), n_epochs="auto")
    fresh = clone(model.fit(planted()))
    assert not hasattr(fresh, "chosen_")
    assert fresh.get_params() == model.get_params()
    assert fresh.reg_row == "auto" and fresh.reg_bias_row == (2.0, 3.0)
    assert "reg_bias_row" not in model.chosen_ and "reg_row" in model.chosen_


@pytest.mark.parametrize(
    "name",
    ["n_epochs", "learning_rate", "reg", "reg_bias", "reg_row", "reg_bias_row", "reg_implicit", "init"],
)  # fmt: skip
def test_auto_is_none(name):
    ratings = planted(60, 50, 800)
    given = {"n_epochs": 3} if name != "n_epochs" else {}
    fits = [
        model_of(n_factors=4, **given, **{name: value}).fit(ratings) for value in (None, "auto")
    ]
    assert bytes_of(fits[0]) == bytes_of(fits[1])
    with pytest.raises(ValueError, match=f"{name} is 'best'; it must be"):
        model_of(**{name: "best"}).fit(ratings)


WRONG = [
    ({"implicit_feedback": "all"}, "implicit_feedback is 'all'; it must be 'auto', 'none', 'users', 'items' or 'both'"),
    ({"implicit_feedback": True}, "implicit_feedback is True; it must be"),
    ({"implicit_feedback": "both", "l1_ratio": 0.5}, "l1_ratio is 0.5; it must be 0 with implicit_feedback both"),
    ({"implicit_feedback": "users", "nonnegative": True}, "implicit_feedback is users; it must be none with nonnegative"),
    ({"implicit_feedback": "items", "loss": "poisson"}, "implicit_feedback is items; it must be none with nonnegative"),
    ({"reg_row": -1}, "reg_row is -1; it must be finite and at least 0"),
    ({"reg_row": (1, -1)}, "reg_row.items is -1; it must be finite and at least 0"),
    ({"reg_bias_row": np.nan}, "reg_bias_row is nan; it must be finite and at least 0"),
    ({"reg_bias_row": (1, 2, 3)}, r"reg_bias_row is \(1, 2, 3\); it must be a number, or a pair"),
    ({"reg_row": "8"}, "reg_row is '8'; it must be a number, or a pair"),
    ({"reg_implicit": 0}, "reg_implicit is 0; it must be finite and above 0"),
    ({"reg_implicit": (1, 2)}, r"reg_implicit is \(1, 2\); it must be a number"),
    ({"n_epochs": 1.5}, "n_epochs is 1.5; it must be an integer"),
    ({"penalty": penalty(lambda w: w**2), "implicit_feedback": "both"}, "implicit_feedback is both; it must be none with a penalty of your own"),
    ({"penalty": penalty(lambda w: w**2), "reg_row": 1.0}, "reg_row is above 0; it must be 0 with a penalty of your own"),
    ({"penalty": penalty(lambda w: w**2), "reg_bias_row": (0.0, 1.0)}, "reg_bias_row is above 0; it must be 0 with a penalty of your own"),
]  # fmt: skip


@pytest.mark.parametrize(("params", "says"), WRONG)
def test_what_does_not_go_together_is_told(params, says):
    ratings = planted(20, 15, 100)
    model = model_of(n_factors=4, n_epochs=2).fit(ratings)
    before = bytes_of(model)
    with pytest.raises(ValueError, match=says):
        model.set_params(**params).fit(ratings)
    assert bytes_of(model) == before


def test_pairs_need_prior_means_to_count_for():
    ratings = planted(20, 15, 100)
    with pytest.raises(ValueError, match="implicit is given, and implicit_feedback is 'none'"):
        model_of(implicit_feedback="none").fit(ratings, implicit=[(0, 0)])


@pytest.mark.parametrize("bad", [[], [(1, 2, 3)], "ratings.csv", [("a", "b")], 5])
def test_what_is_no_pairs_is_refused(bad):
    with pytest.raises((ValueError, TypeError)) as caught:
        model_of(n_factors=4, n_epochs=2).fit(planted(20, 15, 100), implicit=bad)
    assert "implicit" in str(caught.value) or "ids" in str(caught.value)


@pytest.mark.parametrize("way", ["as it comes", "adagrad", "gd", "users", "items"])
def test_in_a_warm_up_the_means_of_the_other_factors_wait_too(way):
    ratings = planted()
    params = {"n_factors": 50, "n_epochs": 9, **GIVEN, **WAYS[way]}
    start = model_of(**{**params, "n_epochs": 0}).fit(ratings)
    stop = [lambda record: record["epoch"] == 5]
    during = model_of(**params, warmup_epochs=5, callbacks=stop).fit(ratings)
    after = model_of(**params, warmup_epochs=5).fit(ratings)
    for then, now, end in zip(
        (start.user_factors_, start.item_factors_),
        (during.user_factors_, during.item_factors_),
        (after.user_factors_, after.item_factors_),
        strict=True,
    ):
        np.testing.assert_array_equal(now[:, 16:], then[:, 16:])
        assert (now[:, :16] != then[:, :16]).mean() > 0.9
        assert (end[:, 16:] != then[:, 16:]).mean() > 0.9


@pytest.mark.parametrize("way", ["gd", "adagrad", "adam in batches"])
def test_a_warm_up_trains_the_model_that_the_first_factors_alone_are(way):
    # Batches, whose order does not depend on the rank.
    params = {**GIVEN, **WAYS[way], "n_epochs": 6, "dtype": "float64", "schedule": "constant"}
    params |= {"implicit_feedback": "both", "reg_bias_row": 5.0, "init": 0.05}
    if way == "adam in batches":
        params |= {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 500}
    elif way == "adagrad":
        params["batch_size"] = 500
    ratings = planted()
    alone = model_of(n_factors=32, **params).fit(ratings)
    part = model_of(
        n_factors=100, warmup_epochs=6, warmup_factors=32,
        callbacks=[lambda record: record["epoch"] == 6], **{**params, "n_epochs": 7},
    ).fit(ratings)  # fmt: skip
    # The means move after the sixth epoch if there is a seventh, which tells nothing before it.
    np.testing.assert_allclose(part.user_factors_[:, :32], alone.user_factors_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(part.item_factors_[:, :32], alone.item_factors_, rtol=0, atol=1e-12)
    np.testing.assert_allclose(part.user_biases_, alone.user_biases_, rtol=0, atol=1e-12)


def test_early_stopping_goes_back_to_the_best_epoch():
    train, test = wf.train_test_split(planted(300, 200, 4000), 0.3, random_state=0)
    overfit = {
        "n_factors": 64, "reg": 0.0, "reg_row": 0.0, "reg_bias_row": 5.0, "learning_rate": 0.02,
        "schedule": "constant", "n_epochs": 60, "init": 0.05, "implicit_feedback": "both",
    }  # fmt: skip
    model = model_of(**overfit, early_stopping=3).fit(train, validation=test)
    curve = [h["valid_rmse"] for h in model.history_]
    assert len(curve) < 60
    assert model.n_epochs_ == int(np.argmin(curve)) + 1 == len(curve) - 3
    assert model.n_epochs_ > 2, "the test needs an epoch with prior means"
    known = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    reached = wf.metrics.rmse(test.values[known], model.predict(test)[known])
    assert reached == pytest.approx(min(curve), rel=1e-5)
    # As if training had ended there; the schedule is constant.
    best = model_of(**{**overfit, "n_epochs": model.n_epochs_}).fit(train, validation=test)
    assert bytes_of(best) == bytes_of(model)


def test_a_row_with_few_ratings_stays_near_the_mean_of_all():
    # Penalties per rating alone leave a user with one rating almost free.
    rng = np.random.default_rng(0)
    X = np.r_[np.c_[rng.integers(0, 50, 4000), rng.integers(0, 40, 4000)], [(77, 3)]]
    y = np.r_[rng.normal(3, 1, 4000), 9.0]
    free, held = (
        model_of(n_factors=2, n_epochs=30, **params).fit(X, y)
        for params in (
            {**reference.PLAIN, "reg": 0.04, "reg_bias": 0.05},
            {**GIVEN, "implicit_feedback": "none"},
        )
    )
    user = np.flatnonzero(free.user_ids_ == 77)[0]
    assert abs(held.user_biases_[user]) < 0.3 * abs(free.user_biases_[user])


# The strengths of the biases by EM.


def biased(n_users, n_items, n, deviations, seed=0):
    rng = np.random.default_rng(seed)
    of_users, of_items, of_noise = deviations
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
    y = 3 + of_users * rng.normal(size=n_users)[users] + of_items * rng.normal(size=n_items)[items]
    return users, items, (y + of_noise * rng.normal(size=n)).astype(np.float32)


def chosen_strengths(users, items, y, weights=None, **params):
    model = model_of(n_factors=1, n_epochs=0, dtype="float64", **{**GIVEN, **params})
    return model.fit(np.c_[users, items], y, sample_weight=weights).chosen_["reg_bias_row"]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("deviations", [(0.5, 0.4, 0.8), (0.0, 1.0, 0.3), (2.0, 0.1, 1.0)])
def test_the_biases_strengths_are_noise_over_signal_by_em(deviations, weighted, normalize):
    users, items, y = biased(120, 80, 5000, deviations)
    weights = np.where(np.arange(len(y)) % 6 == 1, 0.0, 1 + np.arange(len(y)) % 3)
    w = np.ones(len(y)) if not weighted else weights / weights[weights > 0].mean()
    expected = reference.bias_strengths(users, items, y.astype(float), w)
    given = weights if weighted else None
    found = chosen_strengths(users, items, y, given, normalize=normalize)
    # The core's scaled weights are float32, and its variances do not depend on the scale.
    assert found == pytest.approx(expected, rel=1e-5)
    # "A quarter of that with logistic": on labels.
    labels = np.where(y > np.median(y), 1.0, -1.0)
    by_labels = reference.bias_strengths(users, items, labels, w)
    found = chosen_strengths(users, items, labels, given, loss="logistic")
    assert found == pytest.approx(np.array(by_labels) / 4, rel=1e-5)


def test_the_biases_strengths_are_near_the_truth():
    found = chosen_strengths(*biased(3000, 2000, 150_000, (0.5, 0.4, 0.8)))
    # A variance of n numbers is known to a relative sqrt(2 / n), about, and that of noise better;
    # four times that, where a bias is known with an error itself.
    truth = 0.64 / 0.25, 0.64 / 0.16
    for mine, theirs, n, rated in zip(found, truth, (3000, 2000), (50, 75), strict=True):
        assert mine == pytest.approx(theirs, rel=4 * np.sqrt(2 / n) * (1 + theirs / rated))


def test_strengths_of_ratings_that_say_little_are_finite():
    cases = {
        "equal": (np.arange(40) % 8, np.arange(40) % 5, np.full(40, 3.7, np.float32)),
        "one user": (np.zeros(30, int), np.arange(30), np.linspace(1, 5, 30)),
        "one item": (np.arange(30), np.zeros(30, int), np.linspace(1, 5, 30)),
        "one rating": (np.array([0]), np.array([0]), np.array([4.0])),
        "one pair": (np.zeros(9, int), np.zeros(9, int), np.linspace(1, 5, 9)),
    }
    for name, (users, items, y) in cases.items():
        found = np.ravel(chosen_strengths(users, items, y))
        assert (np.isfinite(found) & (found > 0)).all(), name
        model = model_of(n_factors=4).fit(np.c_[users, items], y)
        predicted = model.predict(np.c_[users, items])
        assert np.isfinite(predicted).all(), name
        if name == "equal":
            np.testing.assert_allclose(predicted, 3.7, rtol=1e-6)


def test_of_many_ratings_a_share_of_the_users_is_enough():
    n = 3 << 19  # half as many again as are looked at
    users, items, y = biased(30_000, 2000, n, (0.5, 0.4, 0.8))
    ratings = wf.Ratings(
        users.astype(np.int32), items.astype(np.int32), y, np.arange(30_000), np.arange(2000)
    )
    model = model_of(n_factors=1, n_epochs=0, **GIVEN).fit(ratings)
    found = model.chosen_["reg_bias_row"]
    truth = 0.64 / 0.25, 0.64 / 0.16
    for mine, theirs, rows in zip(found, truth, (20_000, 2000), strict=True):
        assert mine == pytest.approx(theirs, rel=4 * np.sqrt(2 / rows) * 1.1)


# The command line.


@pytest.fixture(scope="module")
def ratings_csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("implicit") / "ratings.csv"
    ratings = planted(40, 30, 600)
    rows = [f"u{u},i{i},{r}" for u, i, r in zip(*ratings.to_arrays(), strict=True)]
    path.write_text("\n".join(["user,item,rating", *rows]), encoding="utf-8")
    return path


def test_the_command_line_passes_the_strengths_on(ratings_csv, tmp_path):
    text = (
        "--n-factors 4 --n-epochs 3 --reg-row 3,5 --reg-bias-row 7 --reg-implicit 0.5 "
        "--implicit-feedback users --quiet"
    )
    succeed("train", ratings_csv, "--output", tmp_path / "m", *text.split())
    model = wf.load(tmp_path / "m")
    params = model.get_params()
    assert params["reg_row"] == (3.0, 5.0)
    assert params["reg_bias_row"] == 7.0
    assert params["reg_implicit"] == 0.5
    assert params["implicit_feedback"] == "users"
    assert set(model.chosen_) >= {"learning_rate", "reg"}


def test_auto_on_the_command_line_leaves_the_choice_to_training(ratings_csv, tmp_path):
    names = ("n-epochs", "learning-rate", "reg", "reg-bias", "reg-row", "reg-bias-row",
             "reg-implicit", "init-scale", "implicit-feedback")  # fmt: skip
    auto = [part for name in names for part in (f"--{name}", "auto")]
    succeed("train", ratings_csv, "--output", tmp_path / "a", "-k", 4, "--quiet", *auto)
    succeed("train", ratings_csv, "--output", tmp_path / "b", "-k", 4, "--quiet")
    a, b = wf.load(tmp_path / "a"), wf.load(tmp_path / "b")
    assert a.user_factors_.tobytes() == b.user_factors_.tobytes()
    assert a.chosen_ == b.chosen_
    assert a.chosen_["n_epochs"] == a.n_epochs_


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--n-epochs many", "'many' is not a valid int"),
        ("--reg-row much", "--reg-row"),
        ("--reg-row 1,2,3", "--reg-row"),
        ("--reg-row -1", "--reg-row is -1; it must be finite and at least 0"),
        ("--reg-bias-row 1,-1", "--reg-bias-row.items is -1; it must be finite and at least 0"),
        ("--init-scale -1", "--init-scale is -1; it must be"),
        ("--implicit-feedback all", "--implicit-feedback is 'all'; it must be 'auto', 'none'"),
        ("--implicit-feedback both --l1-ratio 0.5", "--l1-ratio is 0.5; it must be 0 with --implicit-feedback both"),
        ("--implicit-feedback both --nonnegative", "--implicit-feedback is both; it must be none with"),
        ("--implicit-feedback both --loss poisson", "--implicit-feedback is both; it must be none with"),
    ],
)  # fmt: skip
def test_errors_are_in_the_words_of_the_shell(ratings_csv, tmp_path, options, says):
    result = warpfactor("train", ratings_csv, "--output", tmp_path / "m", *options.split())
    assert result.code != 0
    assert says in " ".join(result.err.replace("│", " ").split())
    assert not (tmp_path / "m").exists()
