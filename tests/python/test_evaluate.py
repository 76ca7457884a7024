"""What a model is worth on held-out ratings: `evaluate` and the baselines, against plain loops."""

from __future__ import annotations

import doctest
import importlib
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import warpfactor as wf
from warpfactor import metrics
from warpfactor.evaluation import held_out

K = (3, 8)


def times(ratings, of=None):
    """Ratings again, with a timestamp each."""
    users, items, values = ratings.to_arrays()
    return wf.Ratings.from_arrays(
        users, items, values, timestamps=np.arange(len(ratings)) if of is None else of
    )


@pytest.fixture(scope="module")
def parts():
    data = times(wf.datasets.make_ratings(60, 50, 1500, random_state=0).ratings.drop_duplicates())
    return wf.train_test_split(data, 0.3, random_state=0)


@pytest.fixture(scope="module")
def model(parts):
    return wf.MatrixFactorization(n_factors=4, reg=0.05, random_state=0, verbose=0).fit(parts[0])


@pytest.fixture(scope="module")
def found(model, parts):
    return wf.evaluate(model, parts[1], k=K, train=parts[0])


def lists_by_hand(model, train, test, relevant_from):
    """Each judged user's scores (NaN: no candidate) and relevant items, by numbers of items."""
    rated = np.zeros(train.shape, bool)
    rated[train.users, train.items] = True
    users, items = np.indices(train.shape).reshape(2, -1)
    scores = model.predict(np.c_[train.user_ids[users], train.item_ids[items]])
    scores = scores.reshape(train.shape).astype(np.float64)
    scores[rated] = np.nan
    scores[:, ~rated.any(axis=0)] = np.nan
    wanted = test.values >= relevant_from
    gains = {}
    for u, i, r in zip(test.users[wanted], test.items[wanted], test.values[wanted], strict=True):
        gains.setdefault(int(u), {})[int(i)] = 1 + float(r) - float(train.values.min())
    judged = sorted(gains)
    return scores[judged], [gains[user] for user in judged], judged


def test_values_are_those_of_lists_made_by_hand(found, model, parts):
    train, test = parts
    predicted = model.predict(test)
    assert found.rmse == pytest.approx(metrics.rmse(test, predicted), rel=1e-12)
    assert found["mae"] == pytest.approx(metrics.mae(test, predicted), rel=1e-12)
    scores, gains, judged = lists_by_hand(model, train, test, found.relevant_from)
    assert found.users.tolist() == test.user_ids[judged].tolist()
    order = np.argsort(-scores, axis=1, kind="stable")[:, : max(K)]
    by_hand = metrics.ranking(order, gains, K)
    counts = np.bincount(train.items, minlength=train.n_items)
    candidates = {i: n for i, n in enumerate(counts) if n}
    for k in K:
        for name, values in by_hand.items():
            assert found.ranking[name][k] == pytest.approx(values[k], rel=1e-12), name
            assert found[f"{name}@{k}"] == found.ranking[name][k]
            assert np.mean(found.per_user[name][k]) == found.ranking[name][k]
        assert found.ranking["coverage"][k] == metrics.coverage(order, len(candidates), k)
        wanted = metrics.novelty(order, candidates, 60, k)
        assert found.ranking["novelty"][k] == pytest.approx(wanted, rel=1e-12)
        wanted = metrics.popularity_share(order, candidates, k)
        assert found.ranking["popularity_share"][k] == pytest.approx(wanted, rel=1e-12)
    areas = []
    for of_user, relevant in zip(scores, gains, strict=True):
        labels = np.isin(np.arange(len(of_user)), list(relevant))
        among = ~np.isnan(of_user)
        areas.append(roc_auc_score(labels[among], of_user[among]))
    # Scores of two ways may differ in the last bit of float32, which could swap one pair of some.
    np.testing.assert_allclose(found.per_user["auc"], areas, atol=1e-2)
    assert found.auc == pytest.approx(np.mean(areas), abs=1e-4)


def test_lists_with_a_confidence_are_those_that_recommend_gives(found, model, parts):
    train, test = parts
    bound = wf.evaluate(model, test, k=K, train=train, confidence=2)
    lists, _ = model.recommend(bound.users, n=max(K), confidence=2)
    wanted = test.values >= found.relevant_from
    relevant = {}
    for u, i in zip(test.users[wanted], test.items[wanted], strict=True):
        relevant.setdefault(int(test.user_ids[u]), set()).add(int(test.item_ids[i]))
    by_hand = metrics.ranking(lists, [relevant[int(user)] for user in bound.users], K)
    assert bound.ranking["recall"] == pytest.approx(by_hand["recall"], rel=1e-12)
    assert bound.ranking["recall"] != found.ranking["recall"]
    assert (bound.rmse, bound.auc) == (found.rmse, found.auc)
    assert bound.baselines["popularity"].values() == found.baselines["popularity"].values()
    assert "lists with a confidence of 2" in str(bound)
    with pytest.raises(ValueError, match="confidence is 2, and no lists are judged"):
        wf.evaluate(model, test, confidence=2, metrics=["rmse", "auc"])
    with pytest.raises(ValueError, match="confidence is -1; it must be from 0 to"):
        wf.evaluate(model, test, confidence=-1)


def test_what_users_know_is_the_same_from_the_model_as_from_its_training_ratings(
    found, model, parts, tmp_path
):
    model.save(tmp_path / "m")
    plain = wf.load(tmp_path / "m")
    # A model that serves people was told of the test ratings, too.
    for each in (plain, plain.with_seen(parts[1])):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            other = wf.evaluate(each, parts[1], k=K)
        assert other.values() == found.values()
        assert other.counts == found.counts
        assert list(other.baselines) == ["mean", "popularity"]
        assert other.baselines["popularity"]["map@8"] == found.baselines["popularity"]["map@8"]


def test_a_model_that_holds_no_seen_items_is_not_judged_by_its_lists(model, parts):
    train, test = parts
    fitted = model.model_
    nothing = np.zeros(len(fitted.user_ids_) + 1, np.int64), np.empty(0, np.int32)
    bare = fitted.by_codes(nothing)
    coded = wf.Ratings.from_arrays(test.users, test.items, test.values)
    with pytest.warns(UserWarning, match="only errors .* does not hold .*: pass train="):
        assert list(wf.evaluate(bare, coded).values()) == ["rmse", "mae"]
    with pytest.raises(ValueError, match=r"does not hold what users rated .*: pass train="):
        wf.evaluate(bare, coded, metrics="ndcg")
    known = wf.Ratings.from_arrays(train.users, train.items, train.values)
    wanted = wf.evaluate(model, test, k=K, metrics="ndcg", baselines=False)
    assert wf.evaluate(bare, coded, k=K, metrics="ndcg", train=known).values() == wanted.values()


def test_users_and_items_that_the_model_does_not_know(model, parts):
    train, test = parts
    users, items, values = test.to_arrays()
    top = float(train.values.max())
    more = wf.Ratings.from_arrays(
        [*users, 900, 901, 900, users[0]], [*items, items[0], items[1], 777, 778], [*values, *[top] * 4]
    )  # fmt: skip
    found = wf.evaluate(model, more, k=K, baselines=False)
    assert {name: found.counts[name] for name in ("unknown_user", "unknown_item", "left_out")} == {
        "unknown_user": 3, "unknown_item": 2, "left_out": 0,
    }  # fmt: skip
    # They are recommended what the model has for anybody, and what it does not know is missed.
    fitted = model.model_
    anybody = fitted.recommend([900], 8)[0]
    relevant = [{int(items[0]), 777}, {int(items[1])}]
    new = np.isin(found.users, [900, 901])
    wanted = metrics.recall(np.repeat(anybody, 2, axis=0), relevant, 8, per_user=True)
    np.testing.assert_array_equal(found.per_user["recall"][8][new], wanted)
    assert np.isfinite(found.per_user["auc"]).all()
    for unknown in ("nan", "raise"):
        other = fitted.with_options(unknown=unknown)
        found = wf.evaluate(other, more, k=K, train=train)
        assert found.counts["left_out"] == 4
        assert found.baselines["popularity"].counts["left_out"] == 0
        assert not np.isin([900, 901], found.users).any()
        assert found.baselines["popularity"].n_users == found.n_users
        with pytest.raises(ValueError, match="no test pair has a user and an item that the model"):
            wf.evaluate(other, more.take(np.arange(-4, -1) + len(more)))


@pytest.mark.parametrize("unknown", ["nan", "raise"])
def test_baselines_are_judged_by_the_pairs_that_the_model_predicts(model, parts, unknown):
    train, test = parts
    users, items, values = test.to_arrays()
    strange = wf.Ratings.from_arrays(
        np.r_[users, np.full(30, 999)], np.r_[items, items[:30]], np.r_[values, np.full(30, 9.0)]
    )
    served = model.model_.with_options(unknown=unknown)
    alone = wf.evaluate(served, test, k=5, train=train)
    found = wf.evaluate(served, strange, k=5, train=train)
    n_before = alone.counts["left_out"]
    assert found.counts["left_out"] == n_before + 30
    for name in ("mean", "biases"):
        assert found.baselines[name].counts["left_out"] == n_before + 30, name
        assert found.baselines[name].rmse == pytest.approx(alone.baselines[name].rmse, rel=1e-12)
    # A baseline of one's own that predicts less says so.
    few = wf.baselines.BiasOnly().fit(train.take(train.users < 30)).model_
    own = {"few": few.with_options(unknown="nan")}
    less = wf.evaluate(model, test, k=5, train=train, baselines=own)
    n_less = less.baselines["few"].counts["left_out"] - less.counts["left_out"]
    assert n_less > 0 and f"few leaves out {n_less} ratings more" in str(less)


def test_ratings_that_the_model_was_not_trained_on_are_no_train(model, parts):
    strange = wf.Ratings.from_arrays([7777], [8888], [3.0])
    with pytest.raises(ValueError, match=r"^train has no pair whose user and item the model knows"):
        wf.evaluate(model, parts[1], train=strange)
    with pytest.raises(ValueError, match=r"^train: user ids"):
        wf.evaluate(model, parts[1], train=wf.Ratings.from_arrays(["a"], ["b"], [3.0]))


def test_why_lists_cannot_be_judged(model, parts):
    train, test = parts
    low = test.take(test.values < test.values.max() - 2)
    with pytest.raises(
        ValueError,
        match=r"no test rating is relevant: relevant_from is \S+, chosen three quarters of the way .* "
        f"rating is {low.values.max():g}: give a lower relevant_from",
    ):
        wf.evaluate(model, low, train=train, metrics="ndcg")
    with pytest.raises(ValueError, match=r"^all test pairs are in train, so that"):
        wf.evaluate(model, train.take(np.arange(50)), train=train, metrics="ndcg")
    with (
        pytest.warns(UserWarning, match="only errors are measured: all test pairs are in train"),
        pytest.warns(UserWarning, match="50 of 50 test pairs were trained on"),
    ):
        wf.evaluate(model, train.take(np.arange(50)), train=train)
    # A known user's pair that was trained on, and a stranger's that was not: none is left.
    users, items, values = train.take(np.arange(1)).to_arrays()
    mixed = wf.Ratings.from_arrays(np.r_[users, 999], np.r_[items, items], np.r_[values, 9.0])
    with pytest.raises(
        ValueError, match="no test rating of a user that the model knows and outside train, so"
    ):
        wf.evaluate(model.model_.with_options(unknown="nan"), mixed, train=train, metrics="ndcg")


def test_the_last_rating_of_a_pair_says_whether_it_is_relevant(model, parts):
    test = parts[1]
    user, item = test.user_ids[test.users[0]], test.item_ids[test.items[0]]
    low, high = float(test.values.min()), float(test.values.max())
    for values, n_relevant in (([high, low], 0), ([low, high], 1)):
        ratings = wf.Ratings.from_arrays([user, user, user], [item, item, 999], [*values, high])
        found = wf.evaluate(model, ratings, k=50, baselines=False)
        assert found.counts["relevant"] == n_relevant + 1
        assert found.counts["pairs"] == 3
        wanted = metrics.rmse(ratings, model.predict(ratings))
        assert found.rmse == pytest.approx(wanted, rel=1e-12)
        assert found["recall@50"] == n_relevant / (n_relevant + 1)


def test_pairs_that_were_trained_on_are_told_of(model, parts, found):
    train, test = parts
    some = train.take(np.arange(40))
    users, items, values = (
        np.concatenate(each) for each in zip(test.to_arrays(), some.to_arrays(), strict=True)
    )
    both = wf.Ratings.from_arrays(users, items, values)
    with pytest.warns(UserWarning, match=f"40 of {len(both)} test pairs were trained on.* train="):
        guessed = wf.evaluate(model, both, k=K, baselines=False)
    assert guessed.counts["trained"] == 40
    assert "40 of the test pairs were trained on" in str(guessed)
    with pytest.warns(UserWarning, match=r"40 of .* leave them out of test$"):
        exact = wf.evaluate(model, both, k=K, train=train, baselines=False)
    # With the training ratings they are nothing to be found; only the errors count them.
    lists = {name: value for name, value in exact.values().items() if name not in ("rmse", "mae")}
    assert lists == {name: found[name] for name in lists}
    assert exact.rmse != found.rmse
    with pytest.warns(UserWarning, match="40 of"):
        wf.evaluate(model, both, metrics="rmse")


def test_users_without_a_relevant_item_are_left_out(model, parts, found):
    train, test = parts
    likes = np.bincount(test.users[test.values >= found.relevant_from], minlength=test.n_users)
    assert found.n_users == np.count_nonzero(likes) < len(np.unique(test.users))
    high = float(test.values.max())
    assert wf.evaluate(model, test, relevant_from=high, train=train).n_users < found.n_users
    everybody = wf.evaluate(model, test, relevant_from=-100, train=train)
    assert everybody.n_users == len(np.unique(test.users))
    with pytest.raises(ValueError, match=r"relevant_from is 99 and the highest such rating"):
        wf.evaluate(model, test, relevant_from=99, metrics=["rmse", "map"])
    with pytest.warns(UserWarning, match="only errors are measured"):
        assert wf.evaluate(model, test, relevant_from=99).counts["users"] == 0


def test_the_usual_threshold_is_three_quarters_of_the_scale(model, parts, found):
    _, test = parts
    low, high = model.model_.rating_range_
    assert found.relevant_from >= low + 0.75 * (high - low)
    assert found.relevant_from == test.values[test.values >= low + 0.75 * (high - low)].min()
    counts = wf.Ratings.from_arrays([0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 5, 40])
    poisson = wf.MatrixFactorization(n_factors=1, loss="poisson", n_epochs=1, verbose=0)
    with pytest.warns(UserWarning, match="trained on"):
        assert wf.evaluate(poisson.fit(counts), counts).relevant_from == 1


def test_a_k_beyond_the_catalogue_takes_all_of_it(model, parts):
    train, test = parts
    found = wf.evaluate(model, test, k=(8, 1000), train=train, baselines=False)
    assert found["recall@1000"] == found["hit_rate@1000"] == found["coverage@1000"] == 1
    relevant = found.counts["relevant"] / found.n_users
    assert found["precision@1000"] == pytest.approx(relevant / 1000)


def test_equal_scores_are_listed_by_id_and_count_as_half_in_the_auc(parts):
    train, test = parts
    nothing = wf.baselines.Mean().fit(train)
    found = wf.evaluate(nothing.model_, test, k=K, baselines=False)
    assert found.auc == 0.5
    scores, gains, _ = lists_by_hand(nothing, train, test, found.relevant_from)
    order = np.argsort(-scores, axis=1, kind="stable")
    assert found["ndcg@8"] == pytest.approx(metrics.ndcg(order, gains, 8), rel=1e-12)


def test_some_users_at_a_time_have_the_same_values(model, parts, found, monkeypatch):
    monkeypatch.setattr(held_out, "_SCORES", 7 * 50)
    monkeypatch.setattr(held_out, "_PLACES", 9 * max(K))
    again = wf.evaluate(model, parts[1], k=K, baselines=False, n_threads=1)
    # The products of matrices of other shapes may differ in the last bit of float32.
    np.testing.assert_allclose(again.per_user["auc"], found.per_user["auc"], atol=1e-2)
    lists = {name: value for name, value in found.values().items() if name != "auc"}
    assert lists == {name: again[name] for name in lists}


def test_matrices_are_tested_on_by_all_rows_and_columns(parts):
    train, test = (part.to_sparse() for part in parts)
    model = wf.MatrixFactorization(n_factors=2, n_epochs=2, reg=0.1, verbose=0).fit(train)
    assert wf.evaluate(model, test, train=train).counts["pairs"] == test.nnz
    with pytest.raises(ValueError, match=r"test has shape \(9, 50\)"):
        wf.evaluate(model, test[:9])


def test_clipping_is_explicit(model, parts, found):
    test = parts[1]
    predicted = model.predict(test).astype(float)
    low, high = map(float, model.model_.rating_range_)
    for clip, limits in ((True, (low, high)), ((low + 0.5, high - 0.5), (low + 0.5, high - 0.5))):
        clipped = wf.evaluate(model, test, k=K, clip=clip, metrics=("rmse", "ndcg"))
        wanted = metrics.rmse(test, np.clip(predicted, *limits))
        assert clipped.rmse == pytest.approx(wanted, rel=1e-12)
        assert clipped.clip == limits
        assert f"clipped to {limits[0]:g} .. {limits[1]:g}" in str(clipped)
        assert clipped["ndcg@8"] == found["ndcg@8"]
    assert found.clip is None and "clipped" not in str(found)


def test_a_baseline_without_any_value_has_no_column(model, parts):
    train, test = parts[:2]
    errors = wf.evaluate(model, test, metrics=("rmse", "mae"), train=train)
    assert str(errors).splitlines()[0].split() == ["model", "mean", "biases"]
    assert "popularity" not in errors._repr_html_()
    assert "popularity" in errors.baselines  # which a program may ask all the same
    lists = wf.evaluate(model, test, k=5, metrics="ndcg", train=train)
    assert str(lists).splitlines()[0].split() == ["model", "biases", "popularity", "recent"]


def test_every_table_has_the_baselines(found, parts):
    train, test = parts
    assert list(found.baselines) == ["mean", "biases", "popularity", "recent"]
    mean = train.values.mean(dtype=float)
    wanted = metrics.rmse(test, np.full(len(test), mean))
    assert found.baselines["mean"].rmse == pytest.approx(wanted, rel=1e-9)
    assert np.isnan(found.baselines["mean"]["ndcg@8"])
    assert np.isnan(found.baselines["popularity"].rmse)
    assert found.baselines["biases"].rmse < found.baselines["mean"].rmse
    header, *lines = str(found).splitlines()
    assert header.split() == ["model", *found.baselines]
    assert lines[0].split() == [
        "rmse", f"{found.rmse:.4f}", f"{wanted:.4f}", f"{found.baselines['biases'].rmse:.4f}",
    ]  # fmt: skip
    assert f"{found.n_users} users with a relevant item" in lines[-2]
    users, items, values = train.to_arrays()
    timeless = wf.Ratings.from_arrays(users, items, values)
    alone = wf.evaluate(wf.baselines.Popularity().fit(train), test, metrics="map", train=timeless)
    assert list(alone.baselines) == ["mean", "biases", "popularity"]
    assert alone["map@10"] == alone.baselines["popularity"]["map@10"]
    own = wf.evaluate(
        alone_model := wf.baselines.BiasOnly().fit(train), test, baselines={"b": alone_model}
    )
    assert own.baselines["b"].values() == own.values()


def test_popularity_counts_and_the_recent_one_counts_what_is_latest():
    ratings = wf.Ratings.from_arrays(
        [0, 1, 2, 3, 0, 1, 2, 0, 1, 4],
        ["a", "a", "a", "a", "b", "b", "b", "c", "d", "a"],
        [1.0] * 10,
        timestamps=[0, 1, 2, 3, 4, 5, 6, 8, 9, 7],
    )
    popular = wf.baselines.Popularity().fit(ratings)
    assert popular.recommend(9, 4)[0].tolist() == ["a", "b", "c", "d"]
    assert popular.recommend(9, 4)[1].tolist() == [5, 3, 1, 1]
    assert popular.recommend(0, 4)[0].tolist() == ["d", None, None, None]
    for share, wanted in ((0.2, "cdab"), (0.3, "acdb"), (1, "abcd"), (0.001, "dabc")):
        recent = clone(wf.baselines.RecentPopularity(share=share)).fit(ratings)
        assert "".join(recent.recommend(9, 4)[0]) == wanted, share
    dates = times(ratings, np.array(ratings.timestamps, "datetime64[D]"))
    assert "".join(wf.baselines.RecentPopularity(0.2).fit(dates).recommend(9, 4)[0]) == "cdab"


def test_baselines_are_estimators_that_save_like_models(parts, tmp_path):
    train, test = parts
    for kind in ("Mean", "BiasOnly", "Popularity", "RecentPopularity"):
        fitted = clone(getattr(wf.baselines, kind)()).fit(train)
        fitted.save(tmp_path / kind)
        loaded = wf.load(tmp_path / kind)
        np.testing.assert_array_equal(loaded.predict(test), fitted.predict(test))
        np.testing.assert_array_equal(
            loaded.recommend([0, 5], 3)[0], fitted.recommend([0, 5], 3)[0]
        )
    biases = wf.baselines.BiasOnly().fit(train).model_
    assert not biases.user_factors_.any() and not biases.item_factors_.any()


def test_ids_may_be_texts_and_models_ensembles(parts):
    train, test = (
        wf.Ratings.from_arrays(
            [f"u{each:02}" for each in part.users], [f"i{each:02}" for each in part.items], part.values
        )
        for part in parts
    )  # fmt: skip
    one = wf.MatrixFactorization(n_factors=4, reg=0.05, random_state=0, verbose=0)
    found = wf.evaluate(wf.Ensemble(one, 2).fit(train), test, train=train, k=K)
    assert 0 < found["ndcg@8"] < 1 and 0.5 < found.auc < 1
    assert found.users[0].startswith("u")


def test_frames_hold_the_same_values(found):
    frames = [found.to_frame(kind) for kind in ("pandas", "polars", "arrow")]
    assert frames[0]["model"].tolist() == ["model", *found.baselines]
    for frame in frames:
        table = frame if hasattr(frame, "to_pydict") else frame.to_dict("list") if frame is frames[0] else frame.to_dict(as_series=False)  # fmt: skip
        table = table.to_pydict() if hasattr(table, "to_pydict") else table
        assert list(table) == ["model", *found.values()]
        for name, value in found.values().items():
            assert table[name][0] == value
    with pytest.raises(KeyError):
        found["ndcg@7"]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"k": []}, r"k is \[\]; it must be an integer"),
        ({"k": "10"}, "k is '10'; it must be an integer"),
        ({"metrics": "accuracy"}, "metrics is 'accuracy'; it must be 'rmse', "),
        ({"metrics": []}, "metrics is empty; it must have at least one of rmse, mae"),
        ({"relevant_from": "high"}, "relevant_from is 'high'; it must be a finite number"),
        ({"metrics": 5}, "metrics is 5; it must be a name or several"),
        ({"test": []}, "^test is empty: at least one rating is needed"),
        ({"relevant_from": np.nan}, "relevant_from is nan; it must be a finite number"),
        ({"clip": (5, 1)}, r"clip is \(5, 1\); it must be True, .*, or \(low, high\)"),
        ({"clip": 5}, "clip is 5; it must be True"),
        ({"baselines": "popularity"}, "baselines is 'popularity'; it must be True, False, or"),
        ({"baselines": {"model": None}}, "baselines has the name 'model'"),
        ({"baselines": {"p": wf.baselines.Mean()}}, r"baselines\['p'\] is Mean\(\), which is not"),
        ({"n_threads": 0}, "n_threads is 0; it must be at least 1"),
        ({"train": "ratings.csv"}, "train"),
    ],
)
def test_bad_input_is_named(model, parts, how, message):
    with pytest.raises((ValueError, TypeError), match=message):
        wf.evaluate(model, **{"test": parts[1], **how})


def test_models_that_are_none_are_named(parts):
    with pytest.raises(TypeError, match=r"model is 3; .* the functions of warpfactor.metrics"):
        wf.evaluate(3, parts[1])
    with pytest.raises(ValueError, match="which is not fitted: call its fit first"):
        wf.evaluate(wf.MatrixFactorization(), parts[1])
    named = wf.Ratings.from_arrays(["a"], ["b"], [3.0])
    with pytest.raises(ValueError, match="user ids"):
        wf.evaluate(wf.baselines.Mean().fit(parts[0]), named)
    with pytest.raises(ValueError, match="these have no timestamps"):
        wf.baselines.RecentPopularity().fit(named)
    with pytest.raises(ValueError, match="share is 0; it must be above 0 and at most 1"):
        wf.baselines.RecentPopularity(0).fit(parts[0])


@pytest.mark.parametrize("module", ["baselines", "compare", "evaluate", "ranking"])
def test_examples_of_the_docstrings_run(module):
    found = doctest.testmod(importlib.import_module(f"warpfactor.evaluation.{module}"))
    assert found.attempted and not found.failed
