"""Bytes a rating that each step takes at its peak, and what `estimate_memory` says of the fits.

    python benchmarks/memory_by_step.py [--n-ratings N] [--n-factors K] [--steps NAME ...]

Each step runs in a process of its own. Ratings of MovieLens 10M's shape (69,878 x 10,677, long tails, drawn with
repeats) are made there first, or written to a file that the step reads. What a step takes is the process' peak of
resident memory (VmHWM, set back before) less what was resident before, divided by the ratings: what the step returns
counts, what it was given does not; of a fit from a file all counts. Of fits the arrays of the model are counted too, which at a small rank are a small
part; beside stands what `estimate_memory` says, less the ratings.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import heading
from memory import make_ratings, release_memory, reset_peak, resident
from rich.console import Console
from rich.table import Table

import warpfactor as wf

SHAPE = {"n_users": 69_878, "n_items": 10_677}
# No search for strengths, which takes a sample of the ratings alone.
GIVEN = {"n_epochs": 2, "reg": 0.02, "reg_row": 1.0, "random_state": 0, "verbose": 0}

FITS: dict[str, dict[str, Any]] = {
    "fit": {},
    "fit, implicit_feedback='none'": {"implicit_feedback": "none"},
    "fit, weights": {"sample_weight": True},
    "fit, validation_fraction=0.1": {"validation_fraction": 0.1},
    "fit, batch_size=1000": {"batch_size": 1000, "implicit_feedback": "none"},
    "fit, batch_size=100000": {"batch_size": 100_000, "implicit_feedback": "none"},
    "fit, optimizer='gd'": {"optimizer": "gd", "implicit_feedback": "none"},
}
FILES = {"read csv": "r.csv", "read Parquet": "r.parquet"}
# From a file, with the ratings on a disk: what is resident does not grow with them, but for what users rated.
BUFFER = 1 << 26
STREAMED = {
    f"fit from {kind}, scratch=, buffer=2**26": (file, {"implicit_feedback": means})
    for kind, file, means in (
        ("csv", "r.csv", "none"),
        ("Parquet", "r.parquet", "none"),
        ("Parquet (prior means)", "r.parquet", "auto"),
    )
}
MODELS: dict[str, Callable[[int], Any]] = {
    "fit, 4 members": lambda k: wf.Ensemble(wf.MatrixFactorization(k, n_threads=2, **GIVEN), 4),
    "fit, samples": lambda k: wf.BayesianMatrixFactorization(
        k, n_samples=4, n_burn_in=12, n_kept=4, n_threads=2, random_state=0, verbose=0
    ),
}


def fitted(ratings: wf.Ratings, n_factors: int, settings: dict[str, Any]) -> Any:
    settings = dict(settings)
    weight = np.ones(len(ratings), np.float32) if settings.pop("sample_weight", False) else None
    estimator = wf.MatrixFactorization(n_factors, **GIVEN, **settings)
    return estimator.fit(ratings, sample_weight=weight)


def other_steps(ratings: wf.Ratings, folder: Path) -> dict[str, Callable[[], Callable[[], Any]]]:
    """Return the steps that are neither fits nor readings; what they need is made before."""
    settings = {"n_factors": 8, **GIVEN, "implicit_feedback": "none"}

    def pairs() -> Callable[[], Any]:
        X = np.column_stack((ratings.users, ratings.items)).astype(np.int64)
        y = ratings.values.copy()
        return lambda: wf.Ratings.from_pairs(X, y)

    def loaded() -> Callable[[], Any]:
        wf.MatrixFactorization(**settings).fit(ratings).save(folder / "m")
        return lambda: wf.load(folder / "m")

    def answers() -> Callable[[], Any]:
        model = wf.MatrixFactorization(**settings).fit(ratings)
        return lambda: model.predict(ratings)

    def lists() -> Callable[[], Any]:
        model = wf.MatrixFactorization(**settings).fit(ratings)
        return lambda: model.recommend(model.user_ids_[:1000])

    def without_repeats() -> Callable[[], Any]:
        once = ratings.drop_duplicates()
        return lambda: once.drop_duplicates()

    made: dict[str, Callable[[], Callable[[], Any]]] = {
        "from_pairs, int64": pairs,
        "load": loaded,
        "predict": answers,
        "recommend, first call": lists,
        "drop_duplicates, with repeats": lambda: lambda: ratings.drop_duplicates(),
        "drop_duplicates, without": without_repeats,
        "drop_duplicates('mean')": lambda: lambda: ratings.drop_duplicates("mean"),
        "k_core": lambda: lambda: ratings.k_core(min_per_user=10, min_per_item=10),
        "describe": lambda: lambda: ratings.describe(),
        "train_test_split": lambda: lambda: wf.train_test_split(ratings, random_state=0),
        "cross_validate, 3 folds": lambda: (
            lambda: wf.cross_validate(wf.MatrixFactorization(**settings), ratings, cv=3)
        ),
    }
    return made


def names() -> list[str]:
    return [*FILES, *FITS, *STREAMED, *MODELS, *other_steps(None, None)]  # type: ignore[arg-type]  # nothing is made


def measure(step: str, n: int, n_factors: int, folder: Path) -> tuple[int, int]:
    """Return what a step takes, and what was told of it (0: nothing), in bytes."""
    told = 0
    warm = make_ratings(200, 100, 5_000)
    if step in FILES:
        wf.write_ratings(warm, folder / f"warm-{FILES[step]}")
        wf.read_ratings(folder / f"warm-{FILES[step]}")

        def run() -> Any:
            return wf.read_ratings(folder / FILES[step])
    elif step in STREAMED:
        file, more = STREAMED[step]
        wf.write_ratings(warm, folder / f"warm-{file}")
        estimator = wf.MatrixFactorization(n_factors, **GIVEN, **more)
        estimator.fit(folder / f"warm-{file}", scratch=folder, buffer=BUFFER)
        shape = {"n_ratings": n, "n_users": SHAPE["n_users"], "n_items": SHAPE["n_items"]}
        told = wf.estimate_memory(estimator=estimator, **shape, scratch=True, buffer=BUFFER).peak

        def run() -> Any:
            return estimator.fit(folder / file, scratch=folder, buffer=BUFFER)
    else:
        ratings = make_ratings(**SHAPE, n_ratings=n)
        if step in MODELS:
            MODELS[step](n_factors).fit(warm)
            estimate = wf.estimate_memory(ratings, MODELS[step](n_factors))
            told = estimate.peak - estimate.fit["epochs"]["ratings"]

            def run() -> Any:
                return MODELS[step](n_factors).fit(ratings)
        elif step in FITS:
            fitted(warm, n_factors, FITS[step])
            settings = dict(FITS[step])
            weighted = settings.pop("sample_weight", False)
            estimate = wf.estimate_memory(
                ratings,
                wf.MatrixFactorization(n_factors, **GIVEN, **settings),
                sample_weight=weighted,
            )
            told = estimate.peak - estimate.fit["epochs"]["ratings"]

            def run() -> Any:
                return fitted(ratings, n_factors, FITS[step])
        else:
            run = other_steps(ratings, folder)[step]()
    gc.collect()
    release_memory()
    if not reset_peak():
        raise SystemExit("the peak of resident memory cannot be set back here")
    before = resident("VmRSS")
    result = run()
    taken = resident("VmHWM") - before
    del result
    return taken, told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-ratings", type=int, default=10_000_000)
    parser.add_argument("--n-factors", type=int, default=16)
    parser.add_argument("--steps", nargs="+", default=names())
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    n = options.n_ratings
    if options.one:
        print(*measure(options.one, n, options.n_factors, options.folder))
        return

    console = Console(width=110)
    heading(console)
    table = Table(
        "", "taken", "told",
        title=f"Bytes a rating at the peak, beside what was given: {n:,} ratings, {SHAPE['n_users']:,} x "
        f"{SHAPE['n_items']:,}, k = {options.n_factors}",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "warm").mkdir()
        if set(options.steps) & {*FILES, *STREAMED}:
            ratings = make_ratings(**SHAPE, n_ratings=n)
            for name in FILES.values():
                wf.write_ratings(ratings, folder / name)
            del ratings
        for step in options.steps:
            command = [sys.executable, __file__, "--one", step, "--n-ratings", str(n)]
            command += ["--n-factors", str(options.n_factors), "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{step}: {done.stderr[-2000:]}")
            taken, told = map(int, done.stdout.split())
            table.add_row(step, f"{taken / n:.1f}", f"{told / n:.1f}" if told else "")
            print(f"{step}: {taken / n:.1f}", file=sys.stderr)
    console.print(table)


if __name__ == "__main__":
    main()
