"""Full-batch descent on MovieLens 100K as a masked 943 x 1682 matrix, beside the same program in PyTensor.

    python benchmarks/batch_descent.py [--data FOLDER] [--n-factors K] [--steps N] [--repeats N] [--threads T]

FOLDER (default: $WARPFACTOR_DATA) holds ml-100k/ml-100k.npz. PyTensor's program states the loss over the whole matrix with
missing entries switched to zero, and pytensor.grad derives both gradients; one compiled function does a step. Compiling
it is not counted. Both start from the same factors in float64 and take N steps; runs alternate, the table gives
medians, and the largest relative difference of the factors after them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytensor
import pytensor.tensor as pt
from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

ALPHA, BETA = 0.0002, 0.02

Factors = tuple[np.ndarray, np.ndarray]


def masked_100k(folder: Path) -> np.ma.MaskedArray:
    """Return MovieLens 100K as users x items, what nobody rated masked."""
    with np.load(folder / "ml-100k" / "ml-100k.npz") as arrays:
        users, rows = np.unique(arrays["users"], return_inverse=True)
        items, columns = np.unique(arrays["items"], return_inverse=True)
        D = np.ma.masked_all((len(users), len(items)))
        D[rows, columns] = arrays["ratings"]
    return D


def pytensor_steps(D: np.ma.MaskedArray, n_steps: int) -> Callable[[Factors], Factors]:
    """Return PyTensor's program, compiled."""
    P, Q = pt.dmatrix("P"), pt.dmatrix("Q")
    known, filled = pytensor.shared(~np.ma.getmaskarray(D)), pytensor.shared(D.filled(0.0))
    error = pt.switch(known, filled - P @ Q, 0.0)
    loss = (error**2).sum() + BETA / 2 * ((P**2).sum() + (Q**2).sum())
    gradients = pytensor.grad(loss, [P, Q])
    step = pytensor.function([P, Q], [P - ALPHA * gradients[0], Q - ALPHA * gradients[1]])

    def run(factors: Factors) -> Factors:
        for _ in range(n_steps):
            factors = step(*factors)
        return factors

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--n-factors", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data, the folder that holds ml-100k, or set WARPFACTOR_DATA")

    console = Console(width=120)
    heading(console)
    D = masked_100k(options.data)
    rng = np.random.default_rng(0)
    start = rng.random((D.shape[0], options.n_factors)), rng.random((options.n_factors, D.shape[1]))

    def warpfactor_steps(factors: Factors) -> Factors:
        return wf.matrix_factorization_bgd(
            D, *factors, options.steps, ALPHA, BETA, n_threads=options.threads
        )

    programs = {
        "warpfactor": warpfactor_steps,
        f"PyTensor {pytensor.__version__}": pytensor_steps(D, options.steps),
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    factors: dict[str, Factors] = {}
    for _ in range(options.repeats):
        for name, run in programs.items():
            began = time.perf_counter()
            factors[name] = run(start)
            seconds[name].append(time.perf_counter() - began)
    ours, theirs = seconds.values()
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    apart = max(np.max(np.abs(a - b) / np.abs(b)) for a, b in zip(*factors.values(), strict=True))
    table = Table(
        "", "ms a step", "ratio", "least and most",
        title=f"{D.shape[0]} x {D.shape[1]}, {D.count():,} entries, k = {options.n_factors}, float64, "
        f"{options.steps} steps, {options.threads} threads, medians of {options.repeats} alternating runs",
    )  # fmt: skip
    for (name, times), cells in zip(
        seconds.items(),
        (("", ""), (f"{statistics.median(ratios):.1f}", f"{min(ratios):.1f} .. {max(ratios):.1f}")),
        strict=True,
    ):
        table.add_row(name, f"{1e3 * statistics.median(times) / options.steps:.3f}", *cells)
    console.print(table)
    console.print(
        f"largest relative difference of a factor after {options.steps} steps: {apart:.1e}"
    )


if __name__ == "__main__":
    main()
