"""Six metrics of lists at three cutoffs for all users of MovieLens 1M: the time, beside ranx, and the values, beside trec_eval.

    python benchmarks/ranking_metrics.py --data FOLDER [--threads N] [--repeats N]

It needs ranx and pytrec-eval-terrier. Fold 1 is the test; relevant are ratings of 4 and more. The lists are the 20 best
of each user with a relevant item. What goes in is made beforehand and not timed: arrays for warpfactor; for ranx a
Qrels and a Run, which its compiled functions take, and a first call that compiles them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import heading, movielens_1m
from rich import box
from rich.console import Console
from rich.table import Table
from scipy import sparse

import warpfactor as wf

CUTOFFS = (5, 10, 20)
RELEVANT_FROM = 4
METRICS = ("precision", "recall", "hit_rate", "ndcg", "map", "mrr")
TREC = {
    "precision": "P", "recall": "recall", "hit_rate": "success", "ndcg": "ndcg_cut", "graded_ndcg": "ndcg_cut",
    "map": "map_cut",
}  # fmt: skip


def seconds_of(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Time calls by turns, so that the machine's changes of speed meet them all."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            found[name].append(time.perf_counter() - start)
    return found


def scores_without_rated(
    model: wf.MatrixFactorization, train: wf.Ratings, ids: np.ndarray
) -> np.ndarray:
    """Return the scores of all items for users, NaN where they rated the item or nobody did."""
    users = np.searchsorted(model.user_ids_, ids)
    scores = model.user_factors_[users] @ model.item_factors_.T + model.item_biases_
    rated = train.to_sparse()[users].tocoo()
    scores[rated.coords] = np.nan
    scores[:, ~model.model_.item_known_] = np.nan
    return scores


def largest_difference(
    lists: np.ndarray, relevant: sparse.csr_array, ours: dict[str, Any]
) -> float:
    """Return the largest difference between a user's value here and in trec_eval."""
    import pytrec_eval

    largest = 0.0
    cut = ",".join(map(str, CUTOFFS))
    run = {
        str(row): {str(item): float(-place) for place, item in enumerate(items) if item >= 0}
        for row, items in enumerate(lists)
    }
    for graded in (False, True):
        qrels = {}
        for row in range(relevant.shape[0]):
            part = slice(relevant.indptr[row], relevant.indptr[row + 1])
            pairs = zip(relevant.indices[part], relevant.data[part], strict=True)
            qrels[str(row)] = {str(item): int(gain) if graded else 1 for item, gain in pairs}
        names = ["graded_ndcg"] if graded else [name for name in TREC if name != "graded_ndcg"]
        asked = {f"{TREC[name]}.{cut}" for name in names}
        theirs = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate(run)
        for name in names:
            for k in CUTOFFS:
                values = [theirs[str(row)][f"{TREC[name]}_{k}"] for row in range(len(lists))]
                largest = max(largest, float(np.abs(ours[name][k] - values).max()))
        if not graded:
            for k in CUTOFFS:
                top = {row: dict(list(items.items())[:k]) for row, items in run.items()}
                theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(top)
                values = [theirs[str(row)]["recip_rank"] for row in range(len(lists))]
                largest = max(largest, float(np.abs(ours["mrr"][k] - values).max()))
    return largest


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    if options.data is None:
        parser.error("--data FOLDER, or WARPFACTOR_DATA, must name the folder of the rating sets")
    # Numba reads it when it is first imported.
    if options.threads is not None:
        os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    import ranx

    train, test = movielens_1m(options.data)
    model = wf.MatrixFactorization(
        n_factors=32, reg=0.04, n_epochs=10, random_state=0, verbose=0, n_threads=options.threads
    ).fit(train)

    wanted = test.take(test.values >= RELEVANT_FROM)
    users, rows = np.unique(wanted.users, return_inverse=True)
    relevant = sparse.csr_array(
        (wanted.values.astype(np.float64), (rows, wanted.item_ids[wanted.items])),
        shape=(len(users), int(wanted.item_ids.max()) + 1),
    )
    ids = wanted.user_ids[users]
    lists = model.recommend(ids, CUTOFFS[-1])[0]

    def recommend() -> Any:
        return model.recommend(ids, CUTOFFS[-1])

    scores = scores_without_rated(model, train, ids)

    def ranked() -> Any:
        return wf.metrics.top_k(scores, CUTOFFS[-1], n_threads=options.threads)

    def here() -> dict[str, Any]:
        return wf.metrics.ranking(
            lists, relevant, CUTOFFS, metrics=METRICS, n_threads=options.threads
        )

    run = ranx.Run.from_dict({
        str(row): {str(item): float(-place) for place, item in enumerate(items) if item >= 0}
        for row, items in enumerate(lists)
    })  # fmt: skip
    qrels = ranx.Qrels.from_dict({
        str(row): {str(item): 1 for item in relevant.indices[relevant.indptr[row] : relevant.indptr[row + 1]]}
        for row in range(len(users))
    })  # fmt: skip
    names = [f"{name}@{k}" for name in METRICS for k in CUTOFFS]

    def there() -> Any:
        return ranx.evaluate(qrels, run, names, save_results_in_run=False)

    values, theirs = here(), there()
    apart = max(abs(values[m][k] - theirs[f"{m}@{k}"]) for m in METRICS for k in CUTOFFS)
    every = wf.metrics.ranking(lists, relevant, CUTOFFS, per_user=True)
    calls = {"recommend": recommend, "ranked": ranked, "here": here, "ranx": there}
    found = seconds_of(calls, options.repeats)

    console = Console(width=100)
    heading(console)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for column in ("", "median, s", "from", "to"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    told = {
        "recommend": f"scores and lists of {len(users):,} users (Model.recommend)",
        "ranked": "lists of given scores (wf.metrics.top_k)",
        "here": "metrics of the lists (wf.metrics.ranking)",
        "ranx": f"ranx {ranx.__version__ if hasattr(ranx, '__version__') else ''}".strip(),
    }
    for name, times in found.items():
        cells = (f"{each:.4f}" for each in (statistics.median(times), min(times), max(times)))
        table.add_row(told[name], *cells)
    console.print(table)
    ratios = [b / a for a, b in zip(found["here"], found["ranx"], strict=True)]
    console.print(
        f"{len(METRICS)} metrics at {len(CUTOFFS)} cutoffs; ranx takes {statistics.median(ratios):.1f} times as long "
        f"({min(ratios):.1f} to {max(ratios):.1f})\n"
        f"largest difference to ranx, of the means: {apart:.1e}\n"
        f"largest difference to trec_eval, of any user, graded nDCG too: "
        f"{largest_difference(lists, relevant, every):.1e}",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
