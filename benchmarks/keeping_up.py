"""What keeping a model up to date costs in RMSE against a fit of everything, and what it takes in time.

    python benchmarks/keeping_up.py [--data FOLDER] [--seeds N] [--only fold-in days speed] [--repeats N] [--threads N]

"fold-in": a tenth of the users (items) is left out of training, and folded in from 80 % of their ratings; RMSE on the rest of their
ratings, over N seeds (default 3), beside that of a fit with them and of one that does not know them. "no prior" folds in with prior
means of zero, by which the prior from who rated what is measured.

"days": a set with timestamps, in their order, in ten slices of as many ratings. The model is fitted to the first; then each slice is
learnt, by all ratings up to there from scratch (with the search for the strengths, and with those of the first fit), by
partial_fit of the slice alone, and by a warm start on all ratings. Each predicts the next slice; RMSE over the ratings of the slices
from the third on, and the least seconds over the seeds of learning slices 2 to 9.

"speed": 100,000 users with 20 ratings each, folded into a model with 10,000 items, k = 64; the median of the repeats, on all threads
and on one.

Processor seconds stand beside wall time: they tell more where a machine has other load.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import heading
from rich import box
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor.model.model import Model

SETS = {
    "ML-1M": "ml-1m/ratings.dat",
    "ML-100K": "ml-100k/u.data",
    "ml-latest-small": "ml-latest-small/ratings.csv",
    "movietweetings": "movietweetings-100k.dat",
}
N_SLICES = 10


def rmse(model: Any, test: wf.Ratings) -> float:
    """Return the error of predictions as they are."""
    return wf.metrics.rmse(test.values, model.predict(test))


def without_priors(model: Model) -> Model:
    """Return the model as if it had been trained without prior means."""
    record = replace(model._record, chosen=model.chosen_ | {"implicit_feedback": "none"})
    return Model(model._tables, record)


def table(title: str, columns: list[str]) -> Table:
    """Begin a table."""
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for n, column in enumerate(columns):
        made.add_column(column, justify="right" if n else "left", no_wrap=True)
    return made


def fold_in(ratings: wf.Ratings, side: str, seed: int) -> dict[str, float]:
    """Leave rows of a side out, and fold them in."""
    rng = np.random.default_rng(seed)
    codes, n = (
        (ratings.users, ratings.n_users) if side == "users" else (ratings.items, ratings.n_items)
    )
    left_out = (rng.permutation(n) < n // 10)[codes]
    held_out = left_out & (rng.random(len(ratings)) < 0.2)
    test = ratings.take(held_out)
    whole = wf.MatrixFactorization(random_state=seed, verbose=0).fit(ratings.take(~held_out))
    start = time.perf_counter()
    base = wf.MatrixFactorization(random_state=seed, verbose=0).fit(ratings.take(~left_out)).model_
    fitted = time.perf_counter()
    new = ratings.take(left_out & ~held_out)

    def folded(model: Model) -> Model:
        return model.fold_in_users(new) if side == "users" else model.fold_in_items(new)

    model = folded(base)
    seconds = time.perf_counter() - fitted
    return {
        "with them": rmse(whole, test),
        "folded in": rmse(model, test),
        "no prior": rmse(folded(without_priors(base)), test),
        "unknown": rmse(base, test),
        "fit, s": fitted - start,
        "fold-in, s": seconds,
    }


def days(
    ratings: wf.Ratings, seed: int, n_threads: int | None
) -> dict[str, tuple[float, float, float]]:
    """Learn slice by slice; return the RMSE, the seconds and the processor seconds of each way."""
    order = np.argsort(ratings.timestamps, kind="stable")
    slices = np.array_split(order, N_SLICES)
    # With the ids that occur in them alone.
    alone = [ratings.take(each).k_core() for each in slices]
    so_far = [ratings.take(np.concatenate(slices[: n + 1])).k_core() for n in range(N_SLICES)]
    own: dict[str, Any] = {"random_state": seed, "verbose": 0, "n_threads": n_threads}
    first = wf.MatrixFactorization(**own).fit(so_far[0])
    kept = {
        name: value
        for name, value in first.chosen_.items()
        if name in ("reg", "reg_row", "reg_implicit", "init", "implicit_feedback")
    }

    def scratch(params: dict[str, Any]) -> Callable[[int], Any]:
        def learn(n: int) -> Any:
            return wf.MatrixFactorization(**own, **params).fit(so_far[n])

        return learn

    ongoing = wf.MatrixFactorization(**own).fit(so_far[0])
    warm = wf.MatrixFactorization(**own, warm_start=True, n_epochs=5)
    warm.fit(so_far[0])
    ways: dict[str, Callable[[int], Any]] = {
        "from scratch": scratch({}),
        "strengths kept": scratch(kept),
        "partial_fit": lambda n: ongoing.partial_fit(alone[n]),
        "warm start, 5 epochs": lambda n: warm.fit(so_far[n]),
        "not at all": lambda n: first,
    }
    found = {}
    for name, learn in ways.items():
        squares, n_tests, seconds, processor = 0.0, 0, 0.0, 0.0
        for n in range(1, N_SLICES - 1):
            start, used = time.perf_counter(), time.process_time()
            model = learn(n)
            seconds += time.perf_counter() - start
            processor += time.process_time() - used
            test = ratings.take(slices[n + 1])
            squares += rmse(model, test) ** 2 * len(test)
            n_tests += len(test)
        found[name] = float(np.sqrt(squares / n_tests)), seconds, processor
    return found


def timed(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the medians of wall time and of processor time, in seconds."""
    wall, processor = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return statistics.median(wall), statistics.median(processor)


def speed(repeats: int) -> dict[str, tuple[float, float]]:
    """Return the seconds of folding 100,000 users in."""
    rng = np.random.default_rng(0)
    base = wf.datasets.make_ratings(20_000, 10_000, 1_000_000, random_state=0).ratings
    params = {"reg": 0.04, "reg_row": 8.0, "reg_implicit": 2.0, "init": 0.05, "n_epochs": 5}
    model = wf.MatrixFactorization(64, random_state=0, verbose=0, **params).fit(base).model_
    users = np.repeat(np.arange(1_000_000, 1_100_000), 20)
    items = base.item_ids[rng.integers(0, base.n_items, len(users))]
    new = wf.Ratings.from_arrays(users, items, rng.integers(1, 6, len(users)).astype(np.float32))
    visitor = dict(
        zip(new.item_ids[new.items[:20]].tolist(), new.values[:20].tolist(), strict=True)
    )
    one = model.with_options(n_threads=1)
    return {
        "the first time, with the prior means": timed(lambda: model.fold_in_users(new), 1),
        "all threads": timed(lambda: model.fold_in_users(new), repeats),
        "one thread": timed(lambda: one.fold_in_users(new), repeats),
        "recommend(ratings=...) to one visitor": timed(
            lambda: model.recommend(ratings=visitor), 20 * repeats
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, help='of "days"; all if not given')
    parser.add_argument("--only", nargs="+", default=["fold-in", "days", "speed"])
    options = parser.parse_args()
    console = Console(width=120, file=sys.stdout)
    heading(console)
    sets = {}
    if options.data is not None:
        sets = {name: wf.read_ratings(Path(options.data) / path) for name, path in SETS.items()}
    if "fold-in" in options.only:
        for side in ("users", "items"):
            columns = ["with them", "folded in", "no prior", "unknown", "fit, s", "fold-in, s"]
            made = table(f"A tenth of the {side} folded in: RMSE", [side, *columns, "worse by"])
            for name, ratings in sets.items():
                runs = [fold_in(ratings, side, seed) for seed in range(options.seeds)]
                means = {each: float(np.mean([run[each] for run in runs])) for each in columns}
                shown = [f"{means[each]:.4f}" for each in columns[:4]]
                shown += [f"{means[each]:.2f}" for each in columns[4:]]
                worse = means["folded in"] / means["with them"] - 1
                made.add_row(name, *shown, f"{100 * worse:.2f} %")
            console.print(made)
    if "days" in options.only:
        for name, ratings in sets.items():
            if ratings.timestamps is None:
                continue
            runs_of_days = [days(ratings, seed, options.threads) for seed in range(options.seeds)]
            columns = ["learnt", "RMSE", "worse by", "s", "share", "processor s", "share"]
            made = table(f"{name}, slice by slice", columns)
            first = runs_of_days[0]
            errors = {way: float(np.mean([run[way][0] for run in runs_of_days])) for way in first}
            took = {
                way: [min(run[way][n] for run in runs_of_days) for n in (1, 2)] for way in first
            }
            for way, error in errors.items():
                worse = 100 * (error / errors["from scratch"] - 1)
                times = []
                for used, whole in zip(took[way], took["from scratch"], strict=True):
                    times += [f"{used:.2f}", f"{used / whole:.3f}"]
                made.add_row(way, f"{error:.4f}", f"{worse:+.2f} %", *times)
            console.print(made)
    if "speed" in options.only:
        made = table("100,000 users of 20 ratings, k = 64", ["", "s", "processor s"])
        for what, seconds in speed(options.repeats).items():
            made.add_row(what, *(f"{each:.4f}" for each in seconds))
        console.print(made)


if __name__ == "__main__":
    main()
