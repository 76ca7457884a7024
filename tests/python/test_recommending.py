"""Candidates, exclusions, groups, diversity, scores, neighbours, reasons and exports of a model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import warpfactor as wf
from warpfactor.serving.bounds import uncertainty
from warpfactor.serving.explaining import attribution

N_ITEMS = 40


@pytest.fixture(scope="module")
def ratings():
    rng = np.random.default_rng(5)
    users = rng.integers(0, 30, 500)
    items = np.minimum(rng.geometric(0.06, 500), N_ITEMS) - 1
    values = 3 + rng.normal(size=N_ITEMS)[items] * 0.5 + rng.normal(size=500) * 0.5
    pairs = [(f"u{u:02}", f"i{i:02}") for u, i in zip(users, items, strict=True)]
    # i99 and u99 have weight 0 only, so that the model has the ids and knows nothing of them.
    return wf.Ratings.from_any([*pairs, ("u99", "i99")], np.r_[values, 3.0])


@pytest.fixture(scope="module")
def model(ratings):
    weights = np.r_[np.ones(500, np.float32), 0.0]
    estimator = wf.MatrixFactorization(5, n_epochs=6, init=0.3, random_state=0, verbose=0)
    return estimator.fit(ratings, sample_weight=weights).model_


def scores_of(model, user):
    """Every item's score for a user in float64; -inf where it has no ratings."""
    code = model.user_ids_.tolist().index(user)
    x = model.item_factors_.astype(float) @ model.user_factors_[code].astype(float)
    x += model.global_mean_ + model.user_biases_[code].astype(float)
    x += model.item_biases_.astype(float)
    return np.where(model.item_known_, x, -np.inf)


def seen_by(model, user):
    indptr, items = model.seen_
    code = model.user_ids_.tolist().index(user)
    return set(model.item_ids_[items[indptr[code] : indptr[code + 1]]])


def ranked(model, x, allowed, n):
    """The best of the allowed ids by score, ties by lower code."""
    order = np.argsort(-x, kind="stable")
    return [i for i in model.item_ids_[order] if i in allowed and i != "i99"][:n]


USERS = ["u03", "u11", "u20"]


def listed(ids):
    return [each for each in ids if each is not None]


def test_shared_candidates_in_every_form_give_the_same_lists(model):
    some = [f"i{n:02}" for n in range(3, 33, 2)]
    mask = np.isin(model.item_ids_, some)
    forms = [
        some, tuple(some), set(some), np.array(some), pd.Series(some), pl.Series(some), pa.array(some),
        iter(some), [*some, "i03", "unheard of", "i99"],
        mask, mask.tolist(), pd.Series(mask), pl.Series(mask), pa.array(mask),
        [some] * 3, np.array([some] * 3), np.array([mask] * 3), pl.Series([some] * 3),
        pa.array([some] * 3), [set(some), tuple(some), np.array(some)],
    ]  # fmt: skip
    expected, bits = None, None
    for form in forms:
        ids, scores = model.recommend(USERS, 8, items=form)
        for user, row in zip(USERS, ids, strict=True):
            allowed = set(some) - seen_by(model, user)
            assert listed(row) == ranked(model, scores_of(model, user), allowed, 8)
        if expected is None:
            expected, bits = ids, scores
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(scores, bits)
    # As many as are all items: without a gathered copy, and the same bits.
    every, all_scores = model.recommend(USERS, 40, items=model.item_ids_)
    plain, plain_scores = model.recommend(USERS, 40)
    np.testing.assert_array_equal(every, plain)
    np.testing.assert_array_equal(all_scores, plain_scores)


def test_exclusions_in_every_form_are_left_out(model):
    best, _ = model.recommend(USERS, 5)
    unwanted = sorted({*best[:, 0], *best[:, 2]})
    mask = np.isin(model.item_ids_, unwanted)
    for form in (unwanted, set(unwanted), mask, [unwanted] * 3, np.array([mask] * 3)):
        ids, _ = model.recommend(USERS, 8, exclude=form)
        for user, row in zip(USERS, ids, strict=True):
            allowed = set(model.item_ids_) - seen_by(model, user) - set(unwanted)
            assert listed(row) == ranked(model, scores_of(model, user), allowed, 8)
    for nothing in ([], set(), ["unheard of"], [[], [], []], np.zeros(len(model.item_ids_), bool)):
        np.testing.assert_array_equal(
            model.recommend(USERS, exclude=nothing)[0], model.recommend(USERS)[0]
        )


def test_lists_for_each_user_are_their_own(model):
    only = [["i01", "i05", "i07", "i30"], [], ["i99", "nowhere"]]
    without = [["i05"], ["i01"], []]
    ids, scores = model.recommend(USERS, [3, 2, 4], items=only, exclude=without, exclude_seen=False)
    assert ids.shape == (3, 4)
    assert listed(ids[0]) == ranked(model, scores_of(model, "u03"), {"i01", "i07", "i30"}, 3)
    assert listed(ids[1]) == listed(ids[2]) == []
    assert np.isnan(scores[1:]).all()
    # One user alone.
    alone, _ = model.recommend("u03", 4, items=only[0], exclude="i05", exclude_seen=False)
    assert alone.shape == (4,) and listed(alone) == listed(ids[0])


def test_all_candidates_seen_leave_an_empty_list(model):
    ids, scores = model.recommend("u03", 4, items=list(seen_by(model, "u03")))
    assert listed(ids) == [] and np.isnan(scores).all()
    ids, scores = model.recommend(USERS, 4, items=[])
    assert ids.shape == (3, 4) and np.isnan(scores).all()


def test_each_user_gets_a_list_of_the_length_asked_for(model):
    ids, scores = model.recommend(USERS, [1, 4, 100])
    longest, _ = model.recommend(USERS, 100)
    assert ids.shape == longest.shape
    for row, length, whole in zip(ids, (1, 4, 100), longest, strict=True):
        assert listed(row) == listed(whole)[:length]
    assert np.isnan(scores[0, 1:]).all() and np.isnan(scores[1, 4:]).all()


def test_items_with_few_ratings_can_be_left_out(model):
    ids, _ = model.recommend(USERS, 40, min_ratings=10)
    counts = dict(zip(model.item_ids_, model.item_counts_, strict=True))
    assert {counts[i] >= 10 for row in ids for i in listed(row)} == {True}
    assert len(listed(ids[0])) == sum(
        n >= 10 for i, n in counts.items() if i not in seen_by(model, "u03")
    )


@pytest.mark.parametrize("rule", ["mean", "min", "max"])
def test_a_group_has_one_list_by_the_rule(model, rule):
    combine = {"mean": np.mean, "min": np.min, "max": np.max}[rule]
    groups = [USERS, ["u01"], ["u02", "u99", "nobody"]]
    ids, scores = model.recommend(groups, 6, group=rule)
    for group, row, row_scores in zip(groups, ids, scores, strict=True):
        known = [u for u in group if u not in ("u99", "nobody")]
        x = combine([scores_of(model, u) for u in known], axis=0)
        allowed = set(model.item_ids_).difference(*(seen_by(model, u) for u in known))
        assert listed(row) == ranked(model, x, allowed, 6)
        exact = np.sort(x[np.isin(model.item_ids_, listed(row))])[::-1]
        np.testing.assert_allclose(row_scores[: len(exact)], exact, rtol=1e-5)
    one, _ = model.recommend(USERS, 6, group=rule)
    np.testing.assert_array_equal(one, ids[0])
    # Nobody known: as an unknown user.
    np.testing.assert_array_equal(
        model.recommend(["u99", "nobody"], 6, group=rule)[1], model.recommend("nobody", 6)[1]
    )


def mmr(model, x, allowed, n, d):
    """Maximal marginal relevance as the docstring has it."""
    pool = ranked(model, x, allowed, 10 * n)
    codes = [model.item_ids_.tolist().index(i) for i in pool]
    Q = model.item_factors_[codes].astype(float)
    unit = Q / np.linalg.norm(Q, axis=1, keepdims=True)
    rel = (x[codes] - x[codes].min()) / (x[codes].max() - x[codes].min())
    chosen = [0]
    while len(chosen) < min(n, len(pool)):
        worth = (1 - d) * rel - d * (unit @ unit[chosen].T).max(axis=1)
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return [pool[at] for at in chosen]


@pytest.mark.parametrize("d", [0.3, 0.7, 1.0])
def test_diversity_is_maximal_marginal_relevance(model, d):
    ids, scores = model.recommend(USERS, 6, diversity=d)
    for user, row, row_scores in zip(USERS, ids, scores, strict=True):
        x = scores_of(model, user)
        assert list(row) == mmr(model, x, set(model.item_ids_) - seen_by(model, user), 6, d)
        codes = [model.item_ids_.tolist().index(i) for i in row]
        np.testing.assert_allclose(row_scores, x[codes], rtol=1e-5)
    assert (ids != model.recommend(USERS, 6)[0]).any()


def test_diversity_with_few_items_left(model):
    for n in (1, 2, 5):
        ids, _ = model.recommend("u03", n, items=["i01", "i07"], exclude_seen=False, diversity=0.5)
        assert set(listed(ids)) == ({"i01", "i07"} if n > 1 else set(listed(ids)[:1]))


def test_exploration_is_the_mirror_of_confidence(model):
    all_items = {"n": 41, "exclude_seen": False}

    def by_item(**how):
        ids, scores = model.recommend("u03", **all_items, **how)
        return (
            scores[np.argsort(ids[:N_ITEMS].astype(str))]
            if None not in ids
            else scores[np.argsort(listed(ids))]
        )

    up, middle, down = by_item(exploration=1.5), by_item(), by_item(confidence=1.5)
    # Three roundings of numbers below 8.
    np.testing.assert_allclose(up - middle, middle - down, atol=8 * 6e-8 * 3)
    assert (up > middle).all()


def test_draws_are_normal_and_the_users_own(model):
    z = 2.0
    wide = model.recommend("u03", 41, exploration=z, exclude_seen=False)
    plain = model.recommend("u03", 41, exclude_seen=False)
    order = [np.argsort(listed(each[0])) for each in (wide, plain)]
    spread = wide[1][order[0]] - plain[1][order[1]]
    standard = []
    for seed in range(300):
        ids, scores = model.recommend(
            "u03", 41, exploration=z, random_state=seed, exclude_seen=False
        )
        standard.append((scores[np.argsort(listed(ids))] - plain[1][order[1]]) / spread)
    drawn = np.concatenate(standard)
    # Of n standard normal numbers the mean has the variance 1/n and the mean square 2/n.
    n = len(drawn)
    assert abs(drawn.mean()) < 5 / np.sqrt(n) and abs((drawn**2).mean() - 1) < 5 * np.sqrt(2 / n)
    # The same seed, whoever else is asked, whatever is left out and however many threads.
    together, scores = model.with_options(n_threads=1).recommend(
        [*USERS, "u01"], 9, exploration=z, random_state=7
    )
    alone, alone_scores = model.recommend("u11", 9, exploration=z, random_state=7)
    np.testing.assert_array_equal(together[1], alone)
    np.testing.assert_array_equal(scores[1], alone_scores)
    some = listed(alone)[2:]
    np.testing.assert_array_equal(
        listed(model.recommend("u11", 9, items=some, exploration=z, random_state=7)[0]), some
    )
    assert list(model.recommend("u11", 9, exploration=z, random_state=8)[0]) != list(alone)


def test_unknown_users_have_bounds_too(model):
    for how in ({"confidence": 2}, {"exploration": 2}, {"exploration": 1, "random_state": 0}):
        ids, scores = model.recommend(["u99", "nobody"], 6, **how)
        np.testing.assert_array_equal(ids[0], ids[1])
        assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"items": [True, False]}, "items is a mask of 2 flags; .* the model's 41 items"),
        ({"exclude": np.ones((3, 2), bool)}, "exclude is a mask of 2 flags"),
        ({"items": np.ones((2, 41), bool)}, "items has a mask of 2 rows; .* each of the 3 users"),
        ({"items": [["i01"], ["i02"]]}, "items has 2 lists; it must have one for each of the 3 users"),
        ({"items": [["i01"], "i02", ["i03"]]}, "the one at position 1 is 'i02'"),
        ({"items": [1, 2]}, "items holds 1; the model's are strings"),
        ({"exclude": [3.5]}, "exclude"),
        ({"n": 0}, "n is 0; it must be at least 1"),
        ({"n": [1, 2]}, "n holds 2 numbers; .* each of the 3 lists"),
        ({"n": [1, 2, 0]}, "n is 0; it must be at least 1"),
        ({"min_ratings": -1}, "min_ratings is -1; it must be at least 0"),
        ({"exploration": -1}, "exploration is -1; it must be from 0 to 1000000"),
        ({"exploration": 1, "confidence": 1}, "confidence is 1 and exploration 1; one must be 0"),
        ({"random_state": 0}, "random_state is 0 and exploration 0"),
        ({"diversity": 1.5}, "diversity is 1.5; it must be from 0 to 1"),
        ({"diversity": "high"}, "diversity is 'high'; it must be a number"),
        ({"group": "sum"}, "group is 'sum'; it must be 'mean', 'min' or 'max'"),
        ({"as_frame": "dask"}, "as_frame is 'dask'; it must be"),
        ({"titles": {"i01": "One"}}, "titles need a table"),
        ({"as_frame": True, "titles": {"x": "One"}}, "titles has no id of the model, .* like 'i00'"),
        ({"as_frame": True, "titles": 7}, "titles is a int; it must be"),
        ({"as_frame": True, "titles": pd.DataFrame({"id": ["i01"]})}, "a table with the columns"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(model, how, text):
    with pytest.raises(ValueError, match=text):
        model.recommend(USERS, **how)


def test_groups_that_are_none_are_named(model):
    with pytest.raises(ValueError, match=r"users holds lists; .* group must say"):
        model.recommend([["u01"], ["u03", "u11"]])
    with pytest.raises(ValueError, match="users: group 1 is empty"):
        model.recommend([["u01"], []], group="mean")
    with pytest.raises(ValueError, match="users is 'u01'; with a group it must be a list"):
        model.recommend("u01", group="mean")


def test_unknown_candidates_are_refused_where_unknown_is_raise(model):
    strict = model.with_options(unknown="raise")
    for unknown in ("i99", "i0"):
        with pytest.raises(ValueError, match=f"item '{unknown}' has no training ratings"):
            strict.recommend("u03", items=["i01", unknown])
    assert len(listed(strict.recommend("u03", exclude=["i0"])[0])) == 10


def test_score_items_is_the_table_of_predictions(model, ratings):
    users, items = [*USERS, "u99", "nobody"], ["i03", "i99", "nothing", "i07"]
    for unknown in ("mean", "nan"):
        answering = model.with_options(unknown=unknown)
        scores = answering.score_items(users, items)
        pairs = [(u, i) for u in users for i in items]
        # Two sums of five products in float32, of numbers below 8.
        np.testing.assert_allclose(scores.ravel(), answering.predict(pairs), atol=8 * 6e-8 * 6)
    assert model.score_items("u03").shape == (41,)
    assert model.score_items(USERS, "i03").shape == (3,)
    assert model.score_items("u03", "i03").shape == ()
    assert model.score_items([], items).shape == (0, 4)
    # To the bit as in a list.
    ids, listed_scores = model.recommend("u03", 5)
    np.testing.assert_array_equal(model.score_items("u03", list(ids)), listed_scores)
    with pytest.raises(ValueError, match="item 'nothing' has no training ratings"):
        model.with_options(unknown="raise").score_items("u03", items[2:])


def test_similar_users_are_ranked_by_cosine(model):
    ids, cosines = model.similar_users("u03", 29)
    P = model.user_factors_[model.user_known_].astype(float)
    unit = P / np.linalg.norm(P, axis=1, keepdims=True)
    known = model.user_ids_[model.user_known_]
    exact = unit @ unit[known.tolist().index("u03")]
    order = [at for at in np.argsort(-exact) if known[at] != "u03"]
    assert listed(ids) == list(known[order])
    np.testing.assert_allclose(cosines[: len(order)], exact[order], atol=1e-6)
    with pytest.raises(ValueError, match="user 'u99' has no training ratings"):
        model.similar_users("u99")


def strength_of(model):
    """The λ of the docstring of `explain`."""
    unknown = model._answers.uncertainty()
    return unknown.noise * model.user_factors_.shape[1] / float(unknown.user_lengths[-1])


@pytest.mark.parametrize("n_factors", [3, 40])
def test_shares_of_an_explanation_sum_to_the_score(ratings, n_factors):
    fit = wf.MatrixFactorization(n_factors, n_epochs=6, init=0.3, random_state=0, verbose=0)
    model = fit.fit(ratings).model_
    told = model.explain("u03", "i20", n=4)
    assert len(told.items) == len(told.shares) == 4 and (np.diff(told.shares) <= 0).all()
    parts = (
        told.mean + told.user_bias + told.item_bias + told.shares.sum() + told.others + told.rest
    )
    assert parts == pytest.approx(told.score, abs=1e-12)
    assert told.prediction == pytest.approx(told.score, abs=1e-5)
    every = model.explain("u03", "i20", n=None)
    assert set(every.items) == seen_by(model, "u03") and every.others == pytest.approx(0, abs=1e-12)
    # The formula of the docstring.
    strength = strength_of(model)
    codes = np.searchsorted(model.item_ids_, every.items)
    Q = model.item_factors_[codes].astype(float)
    at = model.user_ids_.tolist().index("u03")
    p, q = model.user_factors_[at].astype(float), model.item_factors_[20].astype(float)
    inverse = np.linalg.inv(Q.T @ Q + strength * np.eye(len(q)))
    np.testing.assert_allclose(every.shares, (q @ inverse @ Q.T) * (Q @ p), rtol=1e-6, atol=1e-9)
    assert every.rest == pytest.approx(strength * q @ inverse @ p, abs=1e-9)


def test_an_explanation_by_ratings_is_exact_for_a_ridge_row(ratings, model):
    """With the user's row replaced by ridge regression on the ratings, nothing is left to the rest."""
    from dataclasses import replace

    told = model.explain("u03", "i20", n=None, ratings=ratings)
    rows = ratings.take(ratings.users == ratings.user_ids.tolist().index("u03"))
    codes = np.searchsorted(model.item_ids_, ratings.item_ids[rows.items])
    Q = model.item_factors_[codes].astype(float)
    at = model.user_ids_.tolist().index("u03")
    y = rows.values - model.global_mean_ - model.user_biases_[at] - model.item_biases_[codes]
    strength = strength_of(model)
    p = np.linalg.solve(Q.T @ Q + strength * np.eye(Q.shape[1]), Q.T @ y)
    share_sum = told.shares.sum() + told.others
    assert share_sum == pytest.approx(p @ model.item_factors_[20].astype(float), abs=1e-6)
    factors = model.user_factors_.copy()
    factors[at] = p
    ridge = wf.Model(replace(model._tables, user_factors=factors), model._record)
    ridge._answers._uncertainty = model._answers.uncertainty()
    exact = ridge.explain("u03", "i20", n=None, ratings=ratings)
    np.testing.assert_allclose(exact.shares, told.shares, rtol=1e-12)
    assert exact.rest == pytest.approx(0, abs=1e-6)  # p is rounded to float32


def test_explanations_of_what_cannot_be_explained_are_refused(model, ratings):
    for user, item, text in (
        ("u99", "i20", "user 'u99' has no training ratings"),
        ("u03", "nothing", "item 'nothing' has no training ratings"),
        (["u03"], "i20", "user is .*; it must be one id"),
    ):
        with pytest.raises(ValueError, match=text):
            model.explain(user, item)
    with pytest.raises(ValueError, match="ratings has none of user 'u03'"):
        model.explain("u03", "i20", ratings=ratings.take(ratings.users == 0))


def test_tables_have_a_row_for_each_place(model, tmp_path):
    titles = {"i01": "One", "i07": "Seven"}
    path = tmp_path / "titles.csv"
    path.write_text('movieId,title,genres\ni01,"One, the first",x\ni07,Seven,\n')
    frames = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "arrow": pa.Table}
    ids, scores = model.recommend(USERS, [1, 2, 3])
    for kind, type_of in frames.items():
        table = model.recommend(USERS, [1, 2, 3], as_frame=kind, titles=titles)
        assert isinstance(table, type_of)
        columns = (
            table.to_pydict() if kind == "arrow" else {c: list(table[c]) for c in table.columns}
        )
        assert list(columns) == ["user", "rank", "item", "score", "title"]
        assert columns["user"] == ["u03", "u11", "u11", "u20", "u20", "u20"]
        assert columns["rank"] == [1, 1, 2, 1, 2, 3]
        assert columns["item"] == [i for row in ids for i in listed(row)]
        np.testing.assert_array_equal(columns["score"], scores[~np.isnan(scores)])
        assert columns["title"] == [titles.get(i) for i in columns["item"]]
    for given in (path, str(path), pd.read_csv(path), pl.read_csv(path), wf.read_titles(path)):
        table = model.recommend(
            "u03", items=["i01"], exclude_seen=False, as_frame=True, titles=given
        )
        assert table["title"].tolist() == ["One, the first"]
    table = model.recommend([USERS, ["u01"]], 2, group="mean", as_frame=True)
    assert table["group"].tolist() == [0, 0, 1, 1]
    table = model.similar_items(["i01", "i07"], 2, as_frame=True, titles=titles)
    assert list(table) == ["item", "rank", "similar_item", "similarity", "title"]
    table = model.similar_users("u03", 2, as_frame=True)
    assert list(table) == ["user", "rank", "similar_user", "similarity"] and len(table) == 2
    assert list(model.recommend(["nobody"], 2, as_frame=True)["user"]) == ["nobody"] * 2
    told = model.explain("u03", "i20").to_frame(titles=dict.fromkeys(model.item_ids_, "T"))
    assert list(told) == ["item", "share", "title"]


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("m.csv", 'movieId,title,genres\n1,"A, B",x|y\n2,C,\n', {"1": "A, B", "2": "C"}),
        ("names.csv", "name,item_id\nA,1\nC,2\n", {"1": "A", "2": "C"}),
        ("u.item", "1|Café (1995)|01-Jan-1995||x|0|1\n2|C|01-Jan-1995||y|1|0\n", {"1": "Café (1995)", "2": "C"}),
        ("movies.dat", "1::A: b::x\n2::C::y\n", {"1": "A: b", "2": "C"}),
        ("x.item", "item_id:token\tmovie_title:token_seq\n1\tA b\n2\tC\n", {"1": "A b", "2": "C"}),
        ("gap.csv", "id,title\n1,\n2,C\n", {"2": "C"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_titles_of_files(tmp_path, name, text, found, encoding):
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    titles = wf.read_titles(path)
    assert dict(titles) == found and len(titles) == len(found)


def test_titles_meet_ids_in_the_kind_of_the_model():
    from warpfactor.data.titles import Titles

    titles = Titles(["007", "8", "x"], ["Seven", "Eight", "X"])
    assert list(titles.by_code(np.array([7, 8, 9]))) == ["Seven", "Eight", None]
    assert list(titles.by_code(np.array(["007", "8"], object))) == ["Seven", "Eight"]


def test_estimators_ensembles_and_bayesian_models_answer_alike(ratings):
    fit = wf.MatrixFactorization(3, n_epochs=3, init=0.3, random_state=0, verbose=0)
    fitted = [
        fit.fit(ratings),
        wf.Ensemble(fit, n_models=2, intervals=False).fit(ratings),
        wf.BayesianMatrixFactorization(3, n_samples=3, n_burn_in=2, random_state=0, verbose=0).fit(ratings),
    ]  # fmt: skip
    for estimator in fitted:
        model = estimator.model_
        how = {
            "items": ["i01", "i07", "i09"],
            "diversity": 0.5,
            "exploration": 1,
            "exclude_seen": False,
        }
        for mine, theirs in zip(
            estimator.recommend(USERS, 2, **how), model.recommend(USERS, 2, **how), strict=True
        ):
            np.testing.assert_array_equal(mine, theirs)
        told = estimator.explain("u03", "i20")
        assert told.prediction == pytest.approx(told.score, abs=1e-5)
        ids, vectors = estimator.export_items()
        best, _ = estimator.recommend("u03", 5, exclude_seen=False)
        exact = vectors @ estimator.export_users("u03")
        assert list(ids[np.argsort(-exact)[:5]]) == list(best)


def test_exported_vectors_rank_as_recommend_does(model):
    ids, vectors = model.export_items()
    users = model.export_users(USERS)
    assert vectors.dtype == users.dtype == np.float32 and vectors.flags.c_contiguous
    assert len(ids) == len(vectors) == model.item_known_.sum() and vectors.shape[1] == 6
    assert model.export_users().shape == (len(model.user_ids_), 6)
    best, scores = model.recommend(USERS, 40, exclude_seen=False)
    for user, vector, row, row_scores in zip(USERS, users, best, scores, strict=True):
        products = vectors @ vector
        assert list(ids[np.argsort(-products, kind="stable")]) == listed(row)
        at = model.user_ids_.tolist().index(user)
        base = model.global_mean_ + model.user_biases_[at]
        np.testing.assert_allclose(
            np.sort(products + base)[::-1], row_scores[: len(ids)], atol=1e-5
        )
    np.testing.assert_array_equal(model.export_users("nobody"), [0, 0, 0, 0, 0, 1])
    with pytest.raises(ValueError, match="user 'nobody' has no training ratings"):
        model.with_options(unknown="raise").export_users("nobody")


def test_integer_ids_and_models_without_seen_lists():
    from dataclasses import replace

    from warpfactor.serving.tables import SeenItems

    ratings = wf.datasets.make_ratings(20, 12, 120, random_state=0).ratings
    model = wf.MatrixFactorization(3, n_epochs=3, random_state=0, verbose=0).fit(ratings).model_
    ids, scores = model.recommend([1, 2], 12, items=[[3, 4], [500]])
    assert set(ids[1]) == {-1} and np.isnan(scores[1]).all()
    with pytest.raises(ValueError, match="items"):
        model.recommend([1], items=["3"])
    empty = SeenItems(20, lists=(np.zeros(21, np.int64), np.zeros(0, np.int32)))
    bare = wf.Model(replace(model._tables, seen=empty), model._record)
    assert (bare.recommend([1], 12)[0] >= 0).sum() == model.item_known_.sum()
    told = bare.explain(1, 3)
    assert len(told.items) == 0 and told.rest == pytest.approx(
        told.score - told.mean - told.user_bias - told.item_bias
    )


@pytest.mark.parametrize("n_members", [2, 6])
def test_equal_members_explain_as_one_of_them_does(model, n_members):
    answers, _ = model._served()
    tables, unknown = answers.tables, answers.uncertainty()
    spread = {
        name: np.hstack([getattr(tables, name)] * n_members) / np.float32(np.sqrt(n_members))
        for name in ("user_factors", "item_factors")
    }
    folded = replace(tables, **spread)
    evidence = answers.evidence._replace(n_members=n_members)
    # What is known of scores is the same, too.
    np.testing.assert_allclose(
        uncertainty(folded, evidence).user_lengths, unknown.user_lengths, rtol=1e-5
    )
    rated = np.arange(2, 9, dtype=np.int32)
    given = np.linspace(-1, 1, len(rated))
    one = attribution(tables, unknown, 1, 0, 1, rated, given, len(rated))
    several = attribution(folded, unknown, n_members, 0, 1, rated, given, len(rated))
    assert np.abs(one.shares).max() > 0
    np.testing.assert_array_equal(several.items, one.items)
    np.testing.assert_allclose(several.shares, one.shares, rtol=1e-4)


WRONG = [
    # What is called, and the argument that is at fault, in the words in which it was typed.
    (
        lambda m, d: m.recommend([0], exclude_seen=None),
        "exclude_seen is None; it must be True or False",
    ),
    (lambda m, d: m.recommend([0], exclude_seen=1), "exclude_seen is 1; it must be True or False"),
    (lambda m, d: m.recommend(["x"]), "users holds the string 'x'"),
    (lambda m, d: m.recommend([0], items=[None]), r"items: the id at position 0 is missing"),
    (lambda m, d: m.recommend([0], exclude=[1.5]), r"exclude: 1.5 at position 0 is no exact"),
    (lambda m, d: m.recommend(ratings={"x": 1.0}), r"ratings \(items\) holds the string 'x'"),
    (lambda m, d: m.recommend(ratings={0: "x"}), r"ratings \(values\) holds 'x'"),
    (lambda m, d: m.predict([(0, None)]), r"X \(items\): the id at position 0 is missing"),
    (lambda m, d: m.predict([("x", 0)]), r"X \(users\) holds the string 'x'"),
    (lambda m, d: m.explain(0, 0, ratings=5), "ratings is int; it must be Ratings"),
    (lambda m, d: m.fold_in_users([(0, None)], [1.0]), r"ratings \(items\): the id at position 0"),
    (lambda m, d: m.fold_in_items([("x", 0)], [1.0]), r"ratings \(users\) holds the string 'x'"),
    (lambda m, d: m.updated([(0, 0)], [1.0, 2.0]), r"ratings \(users\) has 1"),
    (lambda m, d: wf.evaluate(m, 5), "test is int 5"),
    (lambda m, d: wf.read_titles(d, id="no"), "id='no' is no column"),
    (lambda m, d: wf.read_titles(d, title=9), "title=9: there are columns 0 to 1"),
    (lambda m, d: wf.read_titles(d, id=0, title=0), "two columns are the same, id=0, title=0"),
]


@pytest.mark.parametrize(("call", "text"), WRONG)
def test_errors_name_what_was_typed(call, text, tmp_path):
    path = tmp_path / "titles.csv"
    path.write_text("movieId;title\n1;A\n2;B\n")
    ratings = wf.datasets.make_ratings(20, 15, 100, random_state=0).ratings
    model = wf.MatrixFactorization(2, n_epochs=1, random_state=0, verbose=0).fit(ratings).model_
    with pytest.raises(ValueError, match=text):
        call(model, path)
