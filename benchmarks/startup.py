"""Whole processes: training on a text file beside LIBMF, the help, and the import beside scikit-learn's.

    python benchmarks/startup.py [--libmf MF_TRAIN] [--data FOLDER] [--n-factors K] [--epochs N] [--threads T]
                                 [--repeats N]

FOLDER (default $WARPFACTOR_DATA) holds ml-1m/ratings.dat, the ratings of MovieLens 1M with "::" between the fields. Each
time is the wall clock from starting a process to its end: the interpreter, all imports, reading, training, saving.
`warpfactor train --quiet --output FILE` reads that file; mf-train reads the same ratings as it wants them, with spaces,
and saves its model, too. Both have rank K, N epochs and T threads, and no test ratings; all else is at its defaults.

Everything runs once before it is timed, so that files are in the page cache. Runs alternate, one of each in turn. The
tables give medians, the least and the most, and of the ratio the median, least and most of a turn's ratios.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

TRAIN_RATIO = 0.6  # of LIBMF's time, at most
HELP_SECONDS = 0.15
IMPORT_SECONDS = 0.15  # beyond scikit-learn's


def seconds_of(command: Sequence[str]) -> float:
    """Run a program to its end; return the wall seconds."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        output = (done.stdout + done.stderr)[-500:]
        raise RuntimeError(f"{Path(command[0]).name} returned {done.returncode}: {output}")
    return seconds


def alternated(commands: Mapping[str, Sequence[str]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each command in each turn; a first turn does not count."""
    turns = [[seconds_of(command) for command in commands.values()] for _ in range(repeats + 1)]
    return dict(zip(commands, map(list, zip(*turns[1:], strict=True)), strict=True))


def spread(values: Sequence[float]) -> tuple[str, str]:
    return f"{statistics.median(values):.3f}", f"{min(values):.3f} .. {max(values):.3f}"


def verdict(value: float, limit: float) -> str:
    return "within" if value <= limit else "ABOVE"


def train_table(
    program: Sequence[str], folder: Path, options: argparse.Namespace, console: Console
) -> Table:
    """Measure training on a text file, beside LIBMF where it is given."""
    source = options.data / "ml-1m" / "ratings.dat"
    k, epochs, threads = (str(n) for n in (options.n_factors, options.epochs, options.threads))
    model = folder / "model.safetensors"
    commands = {
        "warpfactor train": [*program, "train", str(source), "--quiet", "--output", str(model)]
    }
    commands["warpfactor train"] += ["-k", k, "--n-epochs", epochs, "--n-threads", threads]
    if options.libmf is None:
        console.print("LIBMF was not given (--libmf): left out")
    else:
        text = folder / "ratings.txt"
        text.write_text(source.read_text(encoding="utf-8").replace("::", " "), encoding="utf-8")
        commands["LIBMF's mf-train"] = [
            str(options.libmf),
            "--quiet",
            "-k",
            k,
            "-t",
            epochs,
            "-s",
            threads,
        ]
        commands["LIBMF's mf-train"] += [str(text), str(folder / "libmf.model")]
    found = alternated(commands, options.repeats)
    table = Table(
        "", "s", "least and most", "ratio", "least and most", "at most", "",
        title=f"MovieLens 1M's text, k = {k}, {epochs} epochs, {threads} threads: the whole process",
        caption=f"medians of {options.repeats} alternating runs",
    )  # fmt: skip
    for name, seconds in found.items():
        cells = [name, *spread(seconds)]
        if name == "warpfactor train" and options.libmf is not None:
            ratios = [a / b for a, b in zip(*found.values(), strict=True)]
            cells += [
                *spread(ratios),
                str(TRAIN_RATIO),
                verdict(statistics.median(ratios), TRAIN_RATIO),
            ]
        table.add_row(*cells)
    return table


def start_table(program: Sequence[str], repeats: int) -> Table:
    """Measure the help and the imports."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "warpfactor --help": [*program, "--help"],
        "import sklearn.base": [sys.executable, "-c", "import sklearn.base"],
        "import warpfactor; warpfactor.MatrixFactorization": [
            sys.executable, "-c", "import warpfactor; warpfactor.MatrixFactorization"
        ],
    }  # fmt: skip
    found = alternated(commands, repeats)
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    limits = {
        "warpfactor --help": HELP_SECONDS,
        "import warpfactor; warpfactor.MatrixFactorization": medians["import sklearn.base"]
        + IMPORT_SECONDS,
    }
    table = Table(
        "", "s", "least and most", "at most", "",
        title="Starting", caption=f"medians of {repeats} alternating runs",
    )  # fmt: skip
    for name, seconds in found.items():
        cells = [name, *spread(seconds)]
        if name in limits:
            cells += [f"{limits[name]:.3f}", verdict(medians[name], limits[name])]
        table.add_row(*cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--libmf", type=Path, help="mf-train, built with AVX")
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--n-factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")

    console = Console(width=130)
    heading(console)
    # The command that was installed with this interpreter, as people type it.
    script = shutil.which("warpfactor", path=str(Path(sys.executable).parent))
    program = [sys.executable, "-m", "warpfactor"] if script is None else [script]
    if options.data is None or not (options.data / "ml-1m" / "ratings.dat").exists():
        console.print("MovieLens 1M was not found (--data, $WARPFACTOR_DATA): left out")
    else:
        with tempfile.TemporaryDirectory() as folder:
            console.print(train_table(program, Path(folder), options, console))
    console.print(start_table(program, options.repeats))


if __name__ == "__main__":
    main()
