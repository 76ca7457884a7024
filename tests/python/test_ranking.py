"""Metrics of ranked lists: the formulas, trec_eval as the oracle, and the forms that lists come in."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

import warpfactor as wf
from warpfactor import metrics

TREC = {
    "precision": "P", "recall": "recall", "hit_rate": "success", "ndcg": "ndcg_cut", "graded_ndcg": "ndcg_cut",
    "map": "map_cut",
}  # fmt: skip
FUNCTIONS = {
    "precision": metrics.precision,
    "recall": metrics.recall,
    "hit_rate": metrics.hit_rate,
    "ndcg": metrics.ndcg,
    "graded_ndcg": lambda *given, **how: metrics.ndcg(*given, graded=True, **how),
    "map": metrics.mean_average_precision,
    "mrr": metrics.mrr,
}


def trec_values(lists, gains, cutoffs):
    """{(name, k): values of each user} as trec_eval has them; NaN where nothing is relevant."""
    pytrec_eval = pytest.importorskip("pytrec_eval")

    run = {
        str(row): {str(item): float(-at) for at, item in enumerate(items)}
        for row, items in enumerate(lists)
    }
    graded = {
        str(row): {str(i): g for i, g in of_user.items()} for row, of_user in enumerate(gains)
    }
    binary = {row: dict.fromkeys(of_user, 1) for row, of_user in graded.items()}
    cut = ",".join(map(str, cutoffs))

    def asked(qrels, measures, k=None):
        shortened = run if k is None else {row: dict([*of.items()][:k]) for row, of in run.items()}
        found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(shortened)

        def values(measure):
            return np.array([
                np.nan if not of_user else found[str(row)][measure] if str(row) in found else 0.0
                for row, of_user in enumerate(gains)
            ])  # fmt: skip

        return values

    of_binary = asked(binary, {f"{measure}.{cut}" for measure in TREC.values()})
    of_graded = asked(graded, {f"ndcg_cut.{cut}"})
    result = {
        (name, k): (of_graded if name == "graded_ndcg" else of_binary)(f"{measure}_{k}")
        for name, measure in TREC.items()
        for k in cutoffs
    }
    return result | {("mrr", k): asked(binary, {"recip_rank"}, k)("recip_rank") for k in cutoffs}


def test_metrics_are_those_of_trec_eval():
    rng = np.random.default_rng(0)
    cutoffs = (1, 5, 10, 100)
    for _ in range(20):
        n_users, n_items = rng.integers(1, 30), rng.integers(2, 60)
        lists = [
            rng.permutation(n_items)[: rng.integers(1, n_items)].tolist() for _ in range(n_users)
        ]
        gains = [
            {int(item): int(rng.integers(1, 6)) for item in rng.permutation(n_items + 5)[:n]}
            for n in rng.integers(0, 9, n_users)
        ]
        found = metrics.ranking(lists, gains, cutoffs, per_user=True)
        for (name, k), wanted in trec_values(lists, gains, cutoffs).items():
            np.testing.assert_allclose(found[name][k], wanted, rtol=0, atol=1e-9, err_msg=name)
            alone = FUNCTIONS[name](lists, gains, k=k)
            if not np.isnan(wanted).all():
                assert alone == pytest.approx(np.nanmean(wanted), abs=1e-9)


@pytest.mark.skipif(
    "WARPFACTOR_DATA" not in os.environ, reason="WARPFACTOR_DATA names no rating sets"
)
def test_metrics_are_those_of_trec_eval_on_movielens():
    with np.load(Path(os.environ["WARPFACTOR_DATA"]) / "ml-1m" / "ml-1m.npz") as arrays:
        ratings = wf.Ratings.from_arrays(arrays["users"], arrays["items"], arrays["ratings"])
        held_out = arrays["fold"] == 1
    train, test = ratings.take(~held_out), ratings.take(held_out)
    test = test.take(test.users % 4 == 1)  # benchmarks/ranking_metrics.py takes all users
    popular = wf.baselines.Popularity().fit(train)
    found = wf.evaluate(popular, test, k=(5, 20), baselines=False)
    lists = popular.recommend(found.users, 20)[0]
    relevant = {user: {} for user in found.users.tolist()}
    wanted = test.take(test.values >= found.relevant_from)
    users, items, values = wanted.to_arrays()
    for user, item, value in zip(users.tolist(), items.tolist(), values.tolist(), strict=True):
        relevant[user][item] = int(value)
    gains = list(relevant.values())
    for (name, k), values in trec_values(lists.tolist(), gains, (5, 20)).items():
        np.testing.assert_allclose(found.per_user[name][k], values, rtol=0, atol=1e-9)


def test_rules_for_short_lists_and_users_without_relevant_items():
    lists, relevant = [["a", "b"], ["c"], ["d"]], [{"b", "x", "y"}, [], ("d",)]
    assert metrics.precision(lists, relevant, k=4) == (1 / 4 + 1 / 4) / 2
    assert metrics.recall(lists, relevant, k=4) == (1 / 3 + 1) / 2
    np.testing.assert_array_equal(
        metrics.hit_rate(lists, relevant, 1, per_user=True), [0, np.nan, 1]
    )
    assert np.isnan(metrics.mrr(lists, [[], [], []]))
    assert metrics.mrr(lists, relevant, 2) == (1 / 2 + 1) / 2


ROWS = [[3, 1, 4], [1, 5], []]
RELEVANT = [{4: 2.0, 9: 1.0}, {1: 3.0}, {7: 1.0}]


def rows_as(kind):
    text = (
        [[f"i{item}" for item in row] for row in ROWS],
        [{f"i{item}": gain for item, gain in row.items()} for row in RELEVANT],
    )
    table = np.full((3, 3), -1)
    for row, items in zip(table, ROWS, strict=True):
        row[: len(items)] = items
    if kind == "texts":
        return text
    if kind == "uuids":
        return (
            [[uuid.UUID(int=item) for item in row] for row in ROWS],
            [{uuid.UUID(int=item): gain for item, gain in row.items()} for row in RELEVANT],
        )
    if kind == "arrays":
        return [np.array(row, int) for row in ROWS], RELEVANT
    if kind == "table":
        return table, RELEVANT
    if kind == "objects":
        return np.array([[*row, *[None] * (3 - len(row))] for row in text[0]], object), text[1]
    if kind == "masked":
        return np.ma.masked_equal(table, -1), RELEVANT
    matrix = sparse.lil_array((3, 10))
    for row, items in enumerate(RELEVANT):
        for item, gain in items.items():
            matrix[row, item] = gain
    matrix[0, 3] = -1  # no gain, not relevant
    return table.astype(np.int32), (
        sparse.csr_matrix(matrix) if kind == "matrix" else sparse.coo_array(matrix)
    )


@pytest.mark.parametrize(
    "kind", ["texts", "uuids", "arrays", "table", "objects", "masked", "matrix", "coo"]
)
def test_lists_and_relevant_items_come_in_many_forms(kind):
    wanted = metrics.ranking(ROWS, RELEVANT, 3)
    assert wanted["graded_ndcg"][3] == pytest.approx(((2 / 2) / (2 + 1 / np.log2(3)) + 1 + 0) / 3)
    assert metrics.ranking(*rows_as(kind), 3) == wanted


def test_items_without_a_gain_are_not_relevant():
    assert metrics.recall([[1, 2]], [{1: 0.0, 2: 1.0, 3: -2.0}], k=1) == 0
    assert np.isnan(metrics.recall([[1, 2]], [{1: 0.0}]))


def test_threads_change_no_value():
    rng = np.random.default_rng(1)
    lists = np.argsort(rng.random((3000, 40)), axis=1)
    relevant = sparse.random_array((3000, 40), density=0.1, rng=rng, format="csr")
    assert metrics.ranking(lists, relevant, n_threads=1) == metrics.ranking(lists, relevant)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.precision([[1]], [{1}], k=0), "k is 0; it must be at least 1"),
        (lambda: metrics.precision([[1]], [{1}], k=2.5), "k is 2.5; it must be an integer"),
        (lambda: metrics.precision([[1], [2]], [{1}]), "lists has 2 rows, and relevant 1"),
        (lambda: metrics.precision([[1, 1]], [{1}]), "list 0 has an item twice, at position 1"),
        (lambda: metrics.precision([1, 2], [{1}]), "lists holds 1; it must hold a collection"),
        (lambda: metrics.precision("ab", [{1}]), "lists is 'ab'; it must hold a list of ids"),
        (lambda: metrics.precision([["a"]], ["a"]), "relevant holds 'a'; it must hold a collect"),
        (lambda: metrics.precision([[1]], {1: 2}), "relevant is {1: 2}; it must hold a coll"),
        (lambda: metrics.precision([[1]], [{1: np.inf}]), "relevant holds the gain inf"),
        (lambda: metrics.precision([[1]], [{"a"}]), "ids of lists and relevant"),
        (lambda: metrics.ranking([[1]], [{1}], ()), r"k is \(\); it must be an integer, or sever"),
        (lambda: metrics.ranking([[1]], [{1}], metrics=["dcg"]), "metrics is 'dcg'; it must be"),
        (lambda: metrics.ranking([[1]], [{1}], n_threads=0), "n_threads is 0; it must be at"),
        (lambda: metrics.auc([1.0, 2.0], [{1}]), r"scores has shape \(2,\)"),
        (lambda: metrics.auc([[1.0, 2.0]], [{2}]), "relevant holds 2; .* from 0 to 1"),
        (lambda: metrics.auc([[1.0, 2.0]], [{"a"}]), "relevant holds 'a'; it must hold numbers"),
        (lambda: metrics.coverage([[1, 2]], 1), "n_items is 1; it must be at least 2"),
        (lambda: metrics.novelty([[1]], {2: 3}, 9), "lists hold the item 1, which has no count"),
        (lambda: metrics.novelty([[1]], [1, -3], 9), "counts must hold one number of at least 0"),
        (lambda: metrics.popularity_share([[1]], [1, 3], head=0), "head is 0; it must be above 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_the_auc_is_scikit_learns(dtype):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, (20, 30)).astype(dtype)  # many ties
    labels = rng.random((20, 30)) < 0.2
    labels[3] = False
    wanted = [roc_auc_score(labels[row], scores[row]) for row in range(20) if row != 3]
    found = metrics.auc(scores, [np.flatnonzero(row) for row in labels], per_user=True)
    assert np.isnan(found[3])
    np.testing.assert_allclose(np.delete(found, 3), wanted, rtol=1e-12)
    if dtype != np.int64:
        left_out = np.where(rng.random((20, 30)) < 0.3, np.nan, scores)
        row = ~np.isnan(left_out[0])
        wanted = roc_auc_score(labels[0, row], scores[0, row])
        assert metrics.auc(left_out[:1], [np.flatnonzero(labels[0])]) == pytest.approx(wanted)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_lists_of_scores_put_equal_ones_in_the_order_of_columns(dtype):
    rng = np.random.default_rng(2)
    scores = rng.integers(0, 9, (50, 30)).astype(dtype)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 7, 30, 99):
        lists = metrics.top_k(scores, k)
        np.testing.assert_array_equal(lists, order[:, :k])
    if dtype == np.float32:
        scores[0, 1:] = np.nan
        scores[1, 3] = -np.inf  # the last of all, and yet a candidate
        lists = metrics.top_k(scores, 30, n_threads=1)
        assert lists[0].tolist() == [0] + [-1] * 29
        assert lists[1, -1] == 3
    with pytest.raises(ValueError, match=r"scores has shape \(30,\)"):
        metrics.top_k(scores[0])
    with pytest.raises(ValueError, match="k is 0; it must be at least 1"):
        metrics.top_k(scores, 0)


def test_coverage_novelty_and_popularity_share_by_hand():
    lists = [["a", "b", "c"], ["a"], []]
    counts = {"a": 8, "b": 4, "c": 0, "d": 1, "e": 2}
    assert metrics.coverage(lists, 5, k=2) == 2 / 5
    # log2 of 16/8, 16/4 and 16/1, as an item without a rating counts as if it had one
    assert metrics.novelty(lists, counts, 16, k=3) == (1 + 2 + 4 + 1) / 4
    assert metrics.popularity_share(lists, counts, k=3, head=0.2) == 2 / 4
    assert metrics.popularity_share(lists, counts, k=3, head=0.3) == 3 / 4
    by_number = [[0, 1, 2], [0], []]
    assert metrics.novelty(by_number, [*counts.values()], 16, k=3) == 2
    assert np.isnan(metrics.novelty([[], []], counts, 16))
