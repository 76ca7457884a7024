#!/usr/bin/env python3
"""Fit, predict, save and load thousands of times in one process, and see whether memory grows.

python tests/soak/soak.py                      2,000 fits, 100,000 predictions, 1,000 saves and loads
python tests/soak/soak.py --fits 200 ...       less of it

The work comes in rounds that are alike. After each, garbage is collected, what malloc holds free is
given back, and two figures are taken: the resident memory (/proc/self/statm), and what malloc has
given out (mallinfo2). The first quarter of the rounds warms up caches and pools. Growth is the
lowest figure of the last quarter minus the lowest of the second. Exit status: 1 if either grows by
more than 1 MiB. It needs Linux and glibc.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import warpfactor as wf

MOST_GROWTH = 1 << 20
ROUNDS = 20


class _Malloc(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
        "keepcost",
    )]  # fmt: skip


_LIBC = ctypes.CDLL(None)
_LIBC.mallinfo2.restype = _Malloc


def memory() -> tuple[int, int]:
    """Return the resident bytes, and those that malloc has given out."""
    gc.collect()
    _LIBC.malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    given = _LIBC.mallinfo2()
    return pages * os.sysconf("SC_PAGE_SIZE"), given.uordblks + given.hblkhd


def work(at: int, n_fits: int, n_predicts: int, n_saves: int, folder: Path) -> None:
    """Do one round: fits of all kinds, then what is done with a model."""
    made = wf.datasets.make_ratings(120, 80, 1500, random_state=at % 5)
    train, test = wf.train_test_split(made.ratings, test_size=0.2, random_state=at)
    path = folder / "model"
    model = None
    for n in range(n_fits):
        kind = n % 10
        common = {"n_factors": 8, "n_epochs": 4, "random_state": n, "verbose": 0}
        estimator = wf.MatrixFactorization(**common)
        if kind == 1:
            estimator.set_params(loss="logistic")
        elif kind == 2:
            estimator.set_params(optimizer="adam", batch_size=64, dtype="float64")
        elif kind == 3:
            estimator.set_params(n_epochs=None, early_stopping=2)
        elif kind == 4:
            estimator.set_params(callbacks=[lambda record: None])
        elif kind == 5:
            estimator.set_params(n_threads=2, parallel="hogwild")
        ratings = train
        if kind == 1:
            ratings = wf.Ratings.from_arrays(
                [f"user {u}" for u in train.users], train.items, train.values > 3
            )
        try:
            if kind == 6:
                estimator.set_params(learning_rate=1e30).fit(ratings)
            elif kind == 3:
                estimator.fit(ratings, validation=test)
            else:
                estimator.fit(ratings)
        except wf.DivergedError:
            continue
        if model is None:
            model = estimator.model_
    assert model is not None
    pairs = np.c_[test.user_ids[test.users], test.item_ids[test.items]]
    users = model.user_ids_[:4]
    for n in range(n_predicts):
        if n % 10:
            model.predict(pairs[:8])
        else:
            model.recommend(users, n=5)
    for _ in range(n_saves):
        model.save(path)
        loaded = wf.load(path)
    if n_saves:
        loaded.predict(pairs[:8])
        damaged = path.read_bytes()[:-9]
        path.write_bytes(damaged)
        try:
            wf.load(path)
        except wf.ModelFileError:
            return
        raise SystemExit("a file that was cut loads")


def main() -> int:
    """Do all rounds, print what they found, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--fits", type=int, default=2_000)
    parser.add_argument("--predicts", type=int, default=100_000)
    parser.add_argument("--saves", type=int, default=1_000, help="and as many loads")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    arguments = parser.parse_args()
    totals = (arguments.fits, arguments.predicts, arguments.saves)
    each = [-(-total // arguments.rounds) for total in totals]
    figures: list[tuple[int, int]] = []
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="warpfactor-soak-") as folder:
        for at in range(arguments.rounds):
            work(at, *each, Path(folder))
            figures.append(memory())
            resident, given = (figure / 2**20 for figure in figures[-1])
            print(
                f"round {at + 1:3}: {time.monotonic() - begin:6.0f} s, resident {resident:8.2f} MiB, "
                f"given out by malloc {given:8.2f} MiB",
                flush=True,
            )
    quarter = arguments.rounds // 4
    grown = [
        min(column[-quarter:]) - min(column[quarter : 2 * quarter])
        for column in zip(*figures, strict=True)
    ]
    n_done = [n * arguments.rounds for n in each]
    print(
        f"{n_done[0]:,} fits, {n_done[1]:,} predictions, {n_done[2]:,} saves and loads: resident "
        f"memory grew by {grown[0] / 1024:,.0f} KiB, malloc's by {grown[1] / 1024:,.0f} KiB"
    )
    return int(max(grown) > MOST_GROWTH)


if __name__ == "__main__":
    sys.exit(main())
