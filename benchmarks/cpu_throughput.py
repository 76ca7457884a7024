"""SGD updates per second on the CPU, by rank, instruction set and schedule, beside LIBMF on the same ratings.

    python benchmarks/cpu_throughput.py [--libmf MF_TRAIN] [--roofline FOLDER] [--n-factors K ...] [--repeats N]
                                        [--threads T] [--isa NAME ...] [--parallel NAME ...] [--biases yes no]

The ratings are generated: 9.0 M with MovieLens 10M's shape (69,878 x 10,677), in random order, the same for all. An
update is one rating of one pass. warpfactor's figure is the median epoch of a fit, which counts everything that happens
between two epochs; LIBMF's is the difference between runs of 12 and of 2 epochs, so that its loading does not count.
Runs alternate, one of each in turn, and the table gives medians over them and the smallest and largest ratio of a turn.
All run T threads, without validation. LIBMF has no biases: warpfactor without them does the same work, and with them,
which is its default, more. "Preparation" is the wall clock of the same fit less its epochs, in median epochs: all that
happens before and after them in a process that has made a small fit before.

The roofline is the same program with kernels whose rows wait for no dot product: the same loads, stores and arithmetic
on the same layout, without the dependence of a row's step on its prediction (and so without learning anything). It is
a build of its own, `pip install . --no-deps --target FOLDER -C cmake.define.WARPFACTOR_INDEPENDENT_ROWS=ON`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import ML10M_SHAPE, PLAIN_STEPS, Libmf, generated, heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor import _core

# What training takes by itself, by the rank and the kind of processor.
CHOSEN = "chosen"

# A process of its own for each measurement: the instruction set is chosen once in a process.
MEASURE = """
import json, statistics, sys, time
import numpy as np
sys.path[:0] = sys.argv[3:]
import warpfactor as wf
arrays = np.load(sys.argv[1])
ratings = wf.Ratings(**{name: arrays[name] for name in arrays.files})
known = wf.MatrixFactorization().get_params()
params = {name: value for name, value in json.loads(sys.argv[2]).items() if name in known}
model = wf.MatrixFactorization(verbose=0, random_state=0, **params)
model.fit(ratings.take(np.arange(1000)))
start = time.perf_counter()
model.fit(ratings)
wall = time.perf_counter() - start
epochs = [h["seconds"] for h in model.history_]
print(json.dumps([statistics.median(epochs), wall - sum(epochs), model.instruction_set_, model.n_threads_]))
"""


def measure(
    file: str, isa: str, folder: Path | None = None, **params: object
) -> tuple[float, float]:
    """Return the seconds of the median epoch and of all but the epochs; of the package in `folder` if there is one."""
    where = [] if folder is None else [str(folder.resolve(strict=True))]
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            MEASURE,
            file,
            json.dumps({"n_epochs": 7, **PLAIN_STEPS, **params}),
            *where,
        ],
        env={**os.environ, "WARPFACTOR_ISA": "" if isa == CHOSEN else isa},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, rest, used_isa, used_threads = json.loads(done.stdout)
    assert isa in (used_isa, CHOSEN) and used_threads == params["n_threads"], (
        used_isa,
        used_threads,
    )
    return float(seconds), float(rest)


def usable_isas() -> list[str]:
    """Return the instruction sets that this build has and this processor runs, narrowest first."""
    return _core.usable_instruction_sets()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--libmf", type=Path, help="LIBMF's mf-train; left out without it")
    parser.add_argument(
        "--roofline", type=Path, help="folder of the build named above; left out without it"
    )
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument(
        "--isa",
        nargs="+",
        default=[CHOSEN],
        help=f"{', '.join([CHOSEN, *usable_isas()])}, or several",
    )
    parser.add_argument("--parallel", nargs="+", default=["blocked"])
    parser.add_argument("--biases", nargs="+", choices=["yes", "no"], default=["yes", "no"])
    options = parser.parse_args()
    threads = options.threads

    console = Console(width=130)
    heading(console)
    if options.libmf is None:
        console.print("LIBMF was not given (--libmf): left out\n")
    if options.roofline is None:
        console.print("The roofline's build was not given (--roofline): left out\n")
    train, test, _ = generated(**ML10M_SHAPE)
    table = Table(
        "n_factors", "isa", "schedule", "biases", "M updates/s", "preparation", "of roofline", "LIBMF M updates/s", "ratio",
        "least and most",
        title=f"{len(train):,} ratings, {threads} threads, medians of {options.repeats} alternating runs",
    )  # fmt: skip
    for column in table.columns:
        column.justify = "right"

    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "train.npz")
        np.savez(
            file, users=train.users, items=train.items, values=train.values,
            user_ids=train.user_ids, item_ids=train.item_ids,
        )  # fmt: skip
        libmf = Libmf(options.libmf, train, test, threads) if options.libmf else None
        for k in options.n_factors:
            # All of a rank in one turn, so that LIBMF and every row of the table see the same machine.
            rows = list(itertools.product(options.isa, options.parallel, options.biases))
            ours: dict[tuple[str, ...], list[float]] = {row: [] for row in rows}
            ceilings: dict[tuple[str, ...], list[float]] = {row: [] for row in rows}
            preparations: dict[tuple[str, ...], list[float]] = {row: [] for row in rows}
            theirs = []
            for _ in range(options.repeats):
                for row in rows:
                    isa, parallel, biases = row
                    params = {
                        "n_factors": k, "parallel": parallel, "n_threads": threads, "biases": biases == "yes",
                    }  # fmt: skip
                    seconds, rest = measure(file, isa, **params)
                    ours[row].append(len(train) / seconds / 1e6)
                    preparations[row].append(rest / seconds)
                    if options.roofline is not None:
                        seconds, _ = measure(file, isa, options.roofline, **params)
                        ceilings[row].append(len(train) / seconds / 1e6)
                if libmf is not None:
                    theirs.append(len(train) / libmf.seconds_per_epoch(k, reg=0.05) / 1e6)
            for row in rows:
                cells = [str(k), *row, f"{statistics.median(ours[row]):.1f}"]
                cells.append(f"{statistics.median(preparations[row]):.2f}")
                shares = [a / b for a, b in zip(ours[row], ceilings[row], strict=False)]
                cells.append(f"{statistics.median(shares):.0%}" if shares else "")
                if theirs:
                    ratios = [a / b for a, b in zip(ours[row], theirs, strict=True)]
                    cells += [f"{statistics.median(theirs):.1f}", f"{statistics.median(ratios):.2f}"]  # fmt: skip
                    cells.append(f"{min(ratios):.2f} .. {max(ratios):.2f}")
                table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main()
