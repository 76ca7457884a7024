"""What the benchmark scripts share: the heading of a table, the data, and running LIBMF."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
from rich.console import Console

import warpfactor as wf

# MovieLens 10M's shape, of which a tenth is held out: 9.0 M ratings to train on.
ML10M_SHAPE = {"n_users": 69_878, "n_items": 10_677, "n_ratings": 10_000_000}


def heading(console: Console) -> None:
    """Print what a table needs beside it: the date, the processor, the build and the command.

    Where there is an NVIDIA card, its name, memory and driver too.
    """
    config = wf.show_config("dicts")
    # Where somebody keeps files is nobody's business, and the tables are committed.
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    cards = "".join(f"\n{card}" for card in nvidia_cards())
    console.print(
        f"{date.today()}, {processor()}, {config['n_threads']} threads, "
        f"{config['instruction_set']}, warpfactor {config['version']}{cards}\n"
        f"$ python benchmarks/{Path(sys.argv[0]).name} {shlex.join(arguments)}\n",
        highlight=False,
        markup=False,  # a list among the arguments is no markup
    )


def processor() -> str:
    """Name the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def nvidia_cards() -> list[str]:
    """Name the NVIDIA cards, as the driver's own tool does."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    names = [line.rsplit(", ", 1) for line in done.stdout.splitlines() if line.count(", ") == 2]
    return [f"{card}, driver {driver}" for card, driver in names]


def generated(**shape: int) -> tuple[wf.Ratings, wf.Ratings, float]:
    """Generate ratings; return the training nine tenths in random order, the rest, and the noise floor."""
    data = wf.datasets.make_ratings(**shape, random_state=0)
    train, test = wf.train_test_split(data.ratings, 0.1, random_state=0)
    order = np.random.default_rng(0).permutation(len(train))
    return train.take(order), test, data.noise_floor


def movielens_1m(folder: Path) -> tuple[wf.Ratings, wf.Ratings]:
    """Return MovieLens 1M without its fold 1, and that fold."""
    with np.load(folder / "ml-1m" / "ml-1m.npz") as arrays:
        ratings = wf.Ratings.from_arrays(arrays["users"], arrays["items"], arrays["ratings"])
        held_out = arrays["fold"] == 1
    return ratings.take(~held_out), ratings.take(held_out)


# Plain SGD with penalties per rating alone: what scripts time that compare the steps of SGD. The search of strengths, the
# prior means and the penalties per row of the defaults would be timed as well, else.
PLAIN_STEPS: dict[str, Any] = {
    "learning_rate": 0.04, "reg": 0.04, "reg_bias": 0.05, "init": 0.01, "reg_row": 0.0, "reg_bias_row": 0.0,
    "implicit_feedback": "none",
}  # fmt: skip


def timed_fit(
    ratings: wf.Ratings, n_threads: int, **params: Any
) -> tuple[wf.MatrixFactorization, float]:
    """Fit all epochs by plain SGD, without validation; return the model and the wall seconds of the call."""
    model = wf.MatrixFactorization(n_threads=n_threads, verbose=0, **{**PLAIN_STEPS, **params})
    start = time.perf_counter()
    model.fit(ratings)
    seconds = time.perf_counter() - start
    assert model.n_threads_ == n_threads, (model.n_threads_, n_threads)
    assert len(model.history_) == model.n_epochs_ == model.n_epochs, len(model.history_)
    return model, seconds


class Libmf:
    """Runs LIBMF's mf-train on ratings written to files of its format.

    Parameters
    ----------
    program : Path
        mf-train, built by whoever runs the benchmark.
    train, test : Ratings
        What to train on and what to evaluate on.
    n_threads : int
        Its ``-s``.
    """

    def __init__(self, program: Path, train: wf.Ratings, test: wf.Ratings, n_threads: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._program, self._n_threads = program, n_threads
        for name, ratings in (("train", train), ("test", test)):
            table = pa.table({"u": ratings.users, "i": ratings.items, "r": ratings.values})
            options = pa.csv.WriteOptions(include_header=False, delimiter=" ")
            pa.csv.write_csv(table, self._path(name), options)

    def _path(self, name: str) -> str:
        return os.path.join(self._folder.name, name)

    def run(
        self, k: int, epochs: int, *, reg: float, rate: float = 0.1, validate: bool
    ) -> tuple[float, list[float]]:
        """Train; return the wall seconds of the whole process and the test RMSE after each epoch."""
        options = ["-k", str(k), "-t", str(epochs), "-l2", str(reg), "-r", str(rate)]
        options += ["-p", self._path("test")] if validate else ["--quiet"]
        seconds, output, complaint = self._process(options)
        if complaint:
            raise RuntimeError(f"mf-train did not train: {complaint}")
        rows = [line.split() for line in output.splitlines()]
        errors = [float(row[2]) for row in rows if len(row) >= 3 and row[0].isdigit()]
        assert len(errors) == (epochs if validate else 0), output
        return seconds, errors

    def loading_seconds(self) -> float:
        """Return the wall seconds of a process that reads the ratings and is told not to train."""
        seconds, _, complaint = self._process(["-t", "0", "--quiet"])
        if "number of iterations must be greater than zero" not in complaint:
            raise RuntimeError(f"mf-train did something else than load: {complaint}")
        return seconds

    def _process(self, options: list[str]) -> tuple[float, str, str]:
        # The model is not saved: as text, one of many factors takes as long as several epochs. Its
        # folder does not exist, which mf-train finds, says and returns 1 for after all the rest.
        command = [str(self._program), "-s", str(self._n_threads), *options]
        command += [self._path("train"), os.path.join(self._path("no-such-folder"), "model")]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
        if done.returncode != 1 or "cannot save model" not in done.stdout:
            output = done.stdout[-500:] + done.stderr[-500:]
            raise RuntimeError(f"{shlex.join(command)} returned {done.returncode}: {output}")
        return seconds, done.stdout, done.stderr.strip()

    def seconds_per_epoch(
        self, k: int, *, reg: float, rate: float = 0.1, short: int = 2, long: int = 12
    ) -> float:
        """Return the time of an epoch from two runs of different length: loading does not count."""
        more, _ = self.run(k, long, reg=reg, rate=rate, validate=False)
        less, _ = self.run(k, short, reg=reg, rate=rate, validate=False)
        return (more - less) / (long - short)

    def seconds_of_call(
        self, k: int, epochs: int, *, reg: float, rate: float, short: int = 2, long: int = 12
    ) -> tuple[float, float]:
        """Return the time of so many epochs, alone and with all else that its training call does.

        The latter is a whole short run, without the process' start and loading, and the epochs that
        it lacks. Its first epoch is a cheaper one (it updates eight factors only), which the former
        counts as if it were like the others.
        """
        more, _ = self.run(k, long, reg=reg, rate=rate, validate=False)
        less, _ = self.run(k, short, reg=reg, rate=rate, validate=False)
        epoch = (more - less) / (long - short)
        return epochs * epoch, less - self.loading_seconds() + (epochs - short) * epoch
