"""Held-out RMSE of the default settings on MovieLens 100K (its official folds) and 1M (five folds).

    python benchmarks/quality.py [--data FOLDER] [--surprise] [--n-factors K ...]

FOLDER (default: $WARPFACTOR_DATA) holds ml-100k/ml-100k.npz and ml-1m/ml-1m.npz with the arrays users, items, ratings
and fold. `--surprise` adds scikit-surprise's SVD with its own defaults, on the same folds, where it is installed
(`pip install "warpfactor[bench]"`). Fit seconds are of `fit` alone: ids are coded in it, the file is read before.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

Arrays = tuple[np.ndarray, np.ndarray]


def fit_warpfactor(
    X: np.ndarray, y: np.ndarray, **params: object
) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    model = wf.MatrixFactorization(random_state=0, verbose=0, **params)  # type: ignore[arg-type]
    start = time.perf_counter()
    model.fit(X, y)
    return model.predict, time.perf_counter() - start


def fit_surprise(X: np.ndarray, y: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    frame = pd.DataFrame({"user": X[:, 0], "item": X[:, 1], "rating": y.astype(float)})
    train = Dataset.load_from_df(frame, Reader(rating_scale=(1, 5))).build_full_trainset()
    model = SVD(random_state=0)
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    return lambda pairs: np.array([model.predict(u, i).est for u, i in pairs.tolist()]), seconds


def folds(path: Path) -> list[tuple[Arrays, Arrays]]:
    with np.load(path) as arrays:
        X = np.c_[arrays["users"], arrays["items"]].astype(np.int64)
        y, fold = arrays["ratings"].astype(np.float32), arrays["fold"]
    return [((X[fold != k], y[fold != k]), (X[fold == k], y[fold == k])) for k in range(1, 6)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--surprise", action="store_true")
    parser.add_argument(
        "--n-factors",
        type=int,
        nargs="*",
        default=[],
        help="further ranks, other settings at their defaults",
    )
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data FOLDER, or set WARPFACTOR_DATA")

    console = Console(width=110)
    heading(console)

    fits: dict[str, Callable[..., tuple[Callable[[np.ndarray], np.ndarray], float]]] = {
        "warpfactor, defaults": fit_warpfactor
    }
    for k in options.n_factors:
        fits[f"warpfactor, n_factors={k}"] = lambda X, y, k=k: fit_warpfactor(X, y, n_factors=k)
    if options.surprise:
        if importlib.util.find_spec("surprise") is None:
            console.print("scikit-surprise is not installed: left out\n")
        else:
            fits["Surprise SVD, defaults"] = fit_surprise

    for name, file in (
        ("MovieLens 100K", "ml-100k/ml-100k.npz"),
        ("MovieLens 1M", "ml-1m/ml-1m.npz"),
    ):
        splits = folds(options.data / file)
        table = Table(
            "model",
            *(f"fold {k}" for k in range(1, 6)),
            "mean RMSE",
            "median fit, s",
            title=f"{name}: test RMSE of five folds",
        )
        for label, fit in fits.items():
            errors, seconds = [], []
            for (X, y), (X_test, y_test) in splits:
                predict, took = fit(X, y)
                errors.append(wf.metrics.rmse(y_test, predict(X_test)))
                seconds.append(took)
            table.add_row(
                label,
                *(f"{e:.4f}" for e in errors),
                f"{np.mean(errors):.4f}",
                f"{statistics.median(seconds):.3f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
