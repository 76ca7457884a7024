# SPDX-License-Identifier: Apache-2.0
"""The first epochs: does a build reach in 6 epochs what another needs 10 for, and is its end no worse?

    pip install --no-deps --target FOLDER WHEEL    # for each of the two
    python benchmarks/first_epochs.py OLD_FOLDER NEW_FOLDER [--data FOLDER] [--sets NAME ...] [--seeds N] [--validation]

All fits are `MatrixFactorization(n_epochs=N)` with the search for the strengths, on one thread; N of None is the default. Sets
and splits are those of `accuracy.py`, and one of `make_ratings`. RMSE is a mean over the seeds; the seconds are processor
seconds of a fit, a mean as well. With --validation, models are trained without 15 % of the training ratings and judged by
these: by them a setting may be chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FEW, MORE = 6, 10
EPOCHS = (FEW, MORE, None)
SETS = (
    "ml-latest-small", "ml-100k", "filmtrust", "movietweetings-100k", "generated-10-even", "generated-20-signal",
    "generated-50-even", "generated-100-signal", "generated-500-signal", "ml-1m", "jester-1",
)  # fmt: skip
MADE = "make_ratings"
HELD_OUT_SEED, HELD_OUT_SHARE = 777, 0.15

FIT = """
import json, sys, time
import numpy as np
import warpfactor as wf
with np.load(sys.argv[1]) as arrays:
    train = wf.Ratings.from_arrays(*(arrays[f"train_{k}"] for k in range(3)))
    users, items, ratings = (arrays[f"test_{k}"] for k in range(3))
found = []
for n_epochs in json.loads(sys.argv[2]):
    for seed in range(int(sys.argv[3])):
        model = wf.MatrixFactorization(n_epochs=n_epochs, random_state=seed, n_threads=1, verbose=0)
        start = time.process_time()
        model.fit(train)
        seconds = time.process_time() - start
        predicted = model.predict(np.c_[users, items]).astype(np.float64)
        found.append([n_epochs, float(np.sqrt(np.mean((ratings - predicted) ** 2))), seconds])
print(json.dumps(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--sets", nargs="+", default=(*SETS, MADE), choices=(*SETS, MADE))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true")
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; it must be at least 1")
    real = [name for name in options.sets if not name.startswith("generated") and name != MADE]
    if options.data is None and real:
        parser.error(f"give --data FOLDER, or set WARPFACTOR_DATA, for {', '.join(real)}")
    sys.path.insert(0, str(options.new))
    from common import heading
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=170)
    heading(console)
    judged = "validation" if options.validation else "test"
    table = Table(
        title=f"{judged.capitalize()} RMSE by epochs, seeds: {options.seeds}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    heads = [
        "set", "ratings", f"old, {MORE}", f"old, {FEW}", f"new, {FEW}", "over old's 10, %", "old, default",
        "new, default", "over old's, %", f"s, old, {MORE}", f"s, new, {FEW}", "s, old", "s, new",
    ]  # fmt: skip
    for k, head in enumerate(heads):
        table.add_column(head, justify="right" if k else "left", no_wrap=k == 0)
    with tempfile.TemporaryDirectory() as folder:
        for name, n_train, path in _files(options, Path(folder)):
            old, new = (_run(build, path, options.seeds) for build in (options.old, options.new))
            cells = (
                name, f"{n_train:,}",
                *(f"{each:.4f}" for each in (old[MORE][0], old[FEW][0], new[FEW][0])),
                f"{100 * (new[FEW][0] / old[MORE][0] - 1):+.2f}",
                *(f"{each[None][0]:.4f}" for each in (old, new)),
                f"{100 * (new[None][0] / old[None][0] - 1):+.2f}",
                *(f"{each:.2f}" for each in (old[MORE][1], new[FEW][1], old[None][1], new[None][1])),
            )  # fmt: skip
            table.add_row(*cells)
            print(*cells, file=sys.stderr, flush=True)
    console.print(table)


def _files(options: argparse.Namespace, folder: Path) -> Iterator[tuple[str, int, Path]]:
    """Write each set's ratings, split; yield its name, how many there are to train on, and the file."""
    from rating_sets import Rows, sets

    import warpfactor as wf

    def parts() -> Iterator[tuple[str, Rows, Rows]]:
        for data in sets(options.data, [name for name in options.sets if name != MADE]):
            yield data.name, data.train, data.test
        if MADE in options.sets:
            made = wf.datasets.make_ratings(8000, 3000, 600_000, random_state=0).ratings
            yield (
                MADE,
                *(
                    Rows(part.user_ids[part.users], part.item_ids[part.items], part.values)
                    for part in wf.train_test_split(made, 0.2, random_state=0)
                ),
            )

    for name, train, test in parts():
        if options.validation:
            draws = np.random.default_rng(HELD_OUT_SEED).random(len(train.ratings))
            train, test = train.split(draws < HELD_OUT_SHARE)
        arrays = {f"train_{k}": column for k, column in enumerate(train)}
        arrays |= {f"test_{k}": column for k, column in enumerate(test)}
        path = folder / f"{name}.npz"
        np.savez(path, **arrays)
        yield name, len(train.ratings), path


def _run(build: Path, path: Path, seeds: int) -> dict[int | None, tuple[float, float]]:
    """Return the mean RMSE and seconds by the number of epochs."""
    done = subprocess.run(
        [sys.executable, "-c", FIT, str(path), json.dumps(EPOCHS), str(seeds)],
        env={**os.environ, "PYTHONPATH": str(build), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {
        n: (
            statistics.fmean(rmse for epochs, rmse, _ in found if epochs == n),
            statistics.fmean(seconds for epochs, _, seconds in found if epochs == n),
        )
        for n in EPOCHS
    }


if __name__ == "__main__":
    main()
