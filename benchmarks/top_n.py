"""Lists of ten items for every user, seen ones left out: users per second beside implicit's, on the CPU.

    python benchmarks/top_n.py [--n-factors K ...] [--repeats N] [--n-ratings R] [--isa NAME ...]

The ratings are generated, with MovieLens 10M's shape (69,878 x 10,677), and a model is trained on nine tenths of them for
three epochs. implicit gets the same factors, the item biases as one more of them, and the ratings as its `user_items`, so
both have to find the same lists: the user's bias and the mean change no order. Runs alternate in one process, of all
threads of both; the table has medians, and the smallest and largest ratio of a turn. "Same lists" is the share of places
with the same item: the rounding of two sums of products decides about the rest. Where a processor runs several instruction
sets, each is a process of its own.

OPENBLAS_CORETYPE, OPENBLAS_L2_SIZE and the like would change what implicit's matrix products run with: the script takes them
out of the environment and says so.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

BLAS = [
    name for name in os.environ if name.startswith("OPENBLAS_") and name != "OPENBLAS_NUM_THREADS"
]
if BLAS:  # read when the library is loaded
    environment = {name: value for name, value in os.environ.items() if name not in BLAS}
    environment["WARPFACTOR_BENCHMARK_UNSET"] = " ".join(BLAS)
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)

import implicit
import numpy as np
import scipy.sparse
from common import ML10M_SHAPE, PLAIN_STEPS, generated, heading
from implicit.cpu.als import AlternatingLeastSquares
from rich.console import Console
from rich.table import Table

import warpfactor as wf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--n-ratings", type=int, default=ML10M_SHAPE["n_ratings"])
    parser.add_argument("--isa", nargs="+", default=[])
    options = parser.parse_args()

    if options.isa:
        arguments = ["--n-factors", *map(str, options.n_factors), "--repeats", str(options.repeats)]
        for isa in options.isa:
            command = [sys.executable, __file__, *arguments, "--n-ratings", str(options.n_ratings)]
            subprocess.run(command, env={**os.environ, "WARPFACTOR_ISA": isa}, check=True)
        return

    console = Console(width=120)
    heading(console)
    unset = os.environ.get("WARPFACTOR_BENCHMARK_UNSET", "")
    console.print(
        f"implicit {implicit.__version__}" + (f", without {unset}" if unset else "") + "\n"
    )
    train, _, _ = generated(**{**ML10M_SHAPE, "n_ratings": options.n_ratings})
    seen = scipy.sparse.csr_matrix(
        (train.values, (train.users, train.items)), shape=train.shape, dtype=np.float32
    )
    table = Table(
        "n_factors", "warpfactor users/s", "implicit users/s", "ratio", "least and most", "same lists",
        title=f"{train.n_users:,} users x {train.n_items:,} items, n = 10, {len(train):,} seen left out, "
        f"medians of {options.repeats} alternating runs",
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    for k in options.n_factors:
        model = wf.MatrixFactorization(k, n_epochs=3, random_state=0, verbose=0, **PLAIN_STEPS)
        model.fit(train)
        peer = AlternatingLeastSquares(factors=k + 1)
        ones = np.ones((len(model.user_ids_), 1), np.float32)
        peer.user_factors = np.hstack([model.user_factors_, ones])
        peer.item_factors = np.hstack([model.item_factors_, model.item_biases_[:, None]])
        rows = np.arange(train.n_users)
        ours, theirs, same = [], [], 0.0
        for repeat in range(options.repeats + 1):
            start = time.perf_counter()
            items, _ = model.recommend(model.user_ids_, n=10)
            middle = time.perf_counter()
            their_items, _ = peer.recommend(rows, seen, N=10, filter_already_liked_items=True)
            end = time.perf_counter()
            if repeat == 0:
                same = float(np.mean(np.searchsorted(model.item_ids_, items) == their_items))
            else:
                ours.append(train.n_users / (middle - start))
                theirs.append(train.n_users / (end - middle))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        table.add_row(
            str(k), f"{statistics.median(ours):,.0f}", f"{statistics.median(theirs):,.0f}",
            f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} .. {max(ratios):.2f}", f"{same:.3%}",
        )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
