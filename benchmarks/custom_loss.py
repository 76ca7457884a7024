"""A custom squared loss beside the built-in one: updates a second on MovieLens 1M, and the RMSE both reach.

    python benchmarks/custom_loss.py [--data FOLDER] [--ranks K ...] [--repeats N] [--threads T] [--epochs N]

FOLDER (default: $WARPFACTOR_DATA) holds ml-1m/ml-1m.npz, whose fold 1 is the test. Training runs alternate between the
losses; the speed of a run is the ratings over the median time of its epochs but the first, so that preparing and
compiling do not count. The table gives medians over the runs and, of each turn's ratio to the built-in squared loss, the
median, least and most. Needs `pip install "warpfactor[autodiff,bench]"`.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path

import numpy as np
from common import PLAIN_STEPS, heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor.losses import abs, custom, where

LOSSES = {
    "squared, built in": "squared",
    "squared, custom": custom(lambda r, x: (r - x) ** 2 / 2),
    "huber, built in": "huber",
    "huber, custom": custom(lambda r, x: where(abs(r - x) < 1, (r - x) ** 2 / 2, abs(r - x) - 0.5)),
    "underestimates cost twice": custom(lambda r, x: where(x < r, 2, 1) * (r - x) ** 2),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--ranks", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data, the folder that holds ml-1m, or set WARPFACTOR_DATA")

    with np.load(options.data / "ml-1m" / "ml-1m.npz") as arrays:
        test = arrays["fold"] == 1
        pairs, values = np.column_stack([arrays["users"], arrays["items"]]), arrays["ratings"]
    held_out = wf.Ratings.from_arrays(*pairs[test].T, values[test])
    train = wf.Ratings.from_arrays(*pairs[~test].T, values[~test])

    console = Console(width=120)
    heading(console)
    for rank in options.ranks:
        speeds: dict[str, list[float]] = {name: [] for name in LOSSES}
        errors: dict[str, float] = {}
        for _ in range(options.repeats):
            for name, loss in LOSSES.items():
                model = wf.MatrixFactorization(
                    n_factors=rank, n_epochs=options.epochs, loss=loss, n_threads=options.threads,
                    random_state=0, verbose=0, **PLAIN_STEPS,
                ).fit(train)  # fmt: skip
                seconds = statistics.median(epoch["seconds"] for epoch in model.history_[1:])
                speeds[name].append(len(train) / seconds / 1e6)
                errors[name] = wf.metrics.rmse(held_out.values, model.predict(held_out))
        table = Table(
            f"k = {rank}", "M updates/s", "of built-in squared", "least and most", "test RMSE",
            title=f"MovieLens 1M, fold 1, {options.threads} threads, {model.instruction_set_}, "
            f"medians of {options.repeats} alternating runs",
        )  # fmt: skip
        for name, speed in speeds.items():
            ratios = [100 * a / b for a, b in zip(speed, speeds["squared, built in"], strict=True)]
            table.add_row(
                name,
                f"{statistics.median(speed):.0f}",
                f"{statistics.median(ratios):.0f} %",
                f"{min(ratios):.0f} .. {max(ratios):.0f} %",
                f"{errors[name]:.5f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
