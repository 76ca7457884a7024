"""What `fit` takes beside its epochs, from arrays: seconds, and in epochs.

    python benchmarks/preparation.py [--n-factors K ...] [--repeats N] [--threads T]

9.0 M generated ratings of MovieLens 10M's shape in random order, plain SGD with biases. `fit(X, y)` gets an int32 array of
pairs (n, 2) and float32 ratings, as they come from NumPy; `fit(ratings)` a `Ratings`, whose ids are numbered already;
`Ratings.from_arrays` is the numbering alone, from two int32 columns. The figure is the wall clock of the call less the
seconds of its epochs: ids, checks, statistics, blocks, the first factors, the model. Of each process the median of the
calls after the first, and of those the median over processes. "First" is the first large fit of a process, for which the
system may have to put huge pages together: where memory is in pieces, that alone takes up to a quarter of a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

import numpy as np
from common import ML10M_SHAPE, PLAIN_STEPS, generated, heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

MEASURE = """
import json, statistics, sys, time
import numpy as np
import warpfactor as wf
X, y = np.load(sys.argv[1] + "/X.npy"), np.load(sys.argv[1] + "/y.npy")
model = wf.MatrixFactorization(verbose=0, random_state=0, **json.loads(sys.argv[2]))
model.fit(X[:1000], y[:1000])
def beside(*arguments):
    start = time.perf_counter()
    model.fit(*arguments)
    wall = time.perf_counter() - start
    epochs = [h["seconds"] for h in model.history_]
    return wall - sum(epochs), statistics.median(epochs)
def medians(rows):
    return [statistics.median(column) for column in zip(*rows)]
first = beside(X, y)[0]
pairs = medians(beside(X, y) for _ in range(5))
def numbered():
    start = time.perf_counter()
    ratings = wf.Ratings.from_arrays(X[:, 0], X[:, 1], y)
    return time.perf_counter() - start, ratings
seconds = statistics.median(numbered()[0] for _ in range(5))
ratings = numbered()[1]
print(json.dumps([*pairs, seconds, *medians(beside(ratings) for _ in range(5)), first]))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    options = parser.parse_args()
    console = Console(width=120)
    heading(console)
    train = generated(**ML10M_SHAPE)[0]
    table = Table(
        "n_factors", "epoch, ms", "fit(X, y) beside them", "in epochs", "least .. most", "first", "fit(ratings)",
        "in epochs", "from_arrays, ms",
        title=f"{len(train):,} ratings, {options.threads} threads, medians of {options.repeats} processes",
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"
    with tempfile.TemporaryDirectory() as folder:
        X = np.stack([train.users, train.items], axis=1).astype(np.int32)
        np.save(f"{folder}/X.npy", X)
        np.save(f"{folder}/y.npy", train.values)
        for k in options.n_factors:
            params = {"n_factors": k, "n_epochs": 7, "n_threads": options.threads, **PLAIN_STEPS}
            found = []
            for _ in range(options.repeats):
                done = subprocess.run(
                    [sys.executable, "-c", MEASURE, folder, json.dumps(params)],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                found.append(json.loads(done.stdout))
            pairs, epoch, numbered, rated, again, first = (
                statistics.median(each[at] for each in found) for at in range(6)
            )
            ratios = [each[0] / each[1] for each in found]
            table.add_row(
                str(k), f"{1e3 * epoch:.1f}", f"{1e3 * pairs:.1f} ms", f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} .. {max(ratios):.2f}", f"{1e3 * first:.1f} ms", f"{1e3 * rated:.1f} ms", f"{rated / again:.2f}",
                f"{1e3 * numbered:.1f}",
            )  # fmt: skip
    console.print(table)


if __name__ == "__main__":
    main()
