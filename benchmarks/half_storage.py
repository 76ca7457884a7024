"""Would factors stored in half precision or bfloat16 pay on this processor, with arithmetic in float?

    cmake -S . -B build/bench -DCMAKE_BUILD_TYPE=Release -DWARPFACTOR_BENCHMARKS=ON
    cmake --build build/bench --target warpfactor_half_storage
    python benchmarks/half_storage.py build/bench/benchmarks/warpfactor_half_storage [--data FOLDER] [--n-factors K ...]

A program of its own (half_storage.cpp) trains by plain SGD with biases, as the library lays ratings out and takes blocks in
turn, with kernels that store factors as float, IEEE half or bfloat16. Numbers are rounded to the nearest, or up and down at
random in proportion to their distance (stochastic): to the nearest, steps below half of the last place are lost. "One by
one": a rating's rows are converted once and stay in registers between its dot product and its step, where groups of eight
convert them twice. Rows of half the bytes let stripes have twice the rows.

Speed is on 9.0 M generated ratings of MovieLens 10M's shape: each variant trains a model of its own, they take turns epoch
by epoch, and the figure is the median epoch. "of float" is times the library's own kernel in the same run. Test RMSE after
the last epoch is on that set, a smaller generated one, and MovieLens 100K and 1M without their first folds (--data).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from common import ML10M_SHAPE, generated, heading, movielens_1m
from rich.console import Console
from rich.table import Table

import warpfactor as wf

# Learning rate, reg and reg_bias: PLAIN_STEPS of common.py.
STEPS = ("0.04", "0.04", "0.05")
SMALL_SHAPE = {"n_users": 6_000, "n_items": 3_000, "n_ratings": 600_000}


def movielens_100k(folder: Path) -> tuple[wf.Ratings, wf.Ratings]:
    """Return MovieLens 100K without its fold 1, and that fold."""
    with np.load(folder / "ml-100k" / "ml-100k.npz") as arrays:
        ratings = wf.Ratings.from_arrays(arrays["users"], arrays["items"], arrays["ratings"])
        held_out = arrays["fold"] == 1
    return ratings.take(~held_out), ratings.take(held_out)


def run(
    program: Path, train: wf.Ratings, test: wf.Ratings, k: int, n_epochs: int, threads: int
) -> dict[str, tuple[float, float]]:
    """Return M updates/s and test RMSE by variant."""
    with tempfile.TemporaryDirectory() as folder:
        for name, ratings in (("train", train), ("test", test)):
            for column in ("users", "items", "values"):
                getattr(ratings, column).tofile(Path(folder, f"{name}_{column}.bin"))
        sizes = [str(n) for n in (*train.shape, k, n_epochs)]
        done = subprocess.run(
            [str(program.resolve(strict=True)), folder, *sizes, *STEPS, str(threads)],
            capture_output=True,
            text=True,
            check=True,
        )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {name: (float(rate), float(rmse)) for name, rate, rmse in rows}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("program", type=Path, help="warpfactor_half_storage")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("WARPFACTOR_DATA"),
        help="folder of MovieLens sets (benchmarks/README.md); without it they are left out",
    )
    parser.add_argument("--n-factors", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--repeats", type=int, default=2, help="of the large set, whose speed counts"
    )
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    options = parser.parse_args()
    console = Console(width=150)
    heading(console)

    large, small = generated(**ML10M_SHAPE)[:2], generated(**SMALL_SHAPE)[:2]
    sets = {"9.0 M generated": large, "540 k generated": small}
    if options.data is not None:
        sets["ML-1M"] = movielens_1m(Path(options.data))
        sets["ML-100K"] = movielens_100k(Path(options.data))
    for k in options.n_factors:
        found = {
            name: [
                run(options.program, *pair, k, options.epochs, options.threads)
                for _ in range(options.repeats if pair is large else 1)
            ]
            for name, pair in sets.items()
        }
        speeds = found["9.0 M generated"]
        table = Table(
            "rows", "M updates/s", "of float", "least .. most", *(f"RMSE, {name}" for name in sets),
            title=f"n_factors={k}, {options.threads} threads, {options.epochs} epochs, {options.repeats} runs",
        )  # fmt: skip
        for column in table.columns[1:]:
            column.justify = "right"
        for variant in speeds[0]:
            ratios = [each[variant][0] / each["float, the library"][0] for each in speeds]
            errors = [f"{each[0][variant][1]:.4f}" for each in found.values()]
            table.add_row(
                variant,
                f"{statistics.median(each[variant][0] for each in speeds):.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} .. {max(ratios):.2f}",
                *errors,
            )
        console.print(table)


if __name__ == "__main__":
    main()
