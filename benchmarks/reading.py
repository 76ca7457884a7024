"""Reading a rating file: `read_ratings` beside `pyarrow.csv.read_csv` alone, in time and memory.

    python benchmarks/reading.py [--ratings N] [--threads T] [--repeats N]

A file as MovieLens ships it (userId,movieId,rating,timestamp) with N ratings is generated: 162,541 users in order, 59,047
items of long-tailed counts, half stars, seconds since 1970. It is read by pyarrow's reader alone, which finds out the types
and encodes nothing, and by `read_ratings`, which makes int32 codes and sorted ids of exact texts, float32 values and
timestamps. Each reading runs in a process of its own, after a run that does not count, with T threads for Arrow, alternating.
The seconds are those of the call; imports come before. Memory is the peak of the resident set during the call (Linux) over
that before it, less the arrays of the result.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from common import heading
from pyarrow import csv
from rich.console import Console
from rich.table import Table

TIME_RATIO = 1.2  # of pyarrow's, at most
BYTES_A_ROW = 40  # of memory beyond the result, at most

ONE_READING = """
import sys, time
import numpy as np
import pyarrow as pa
from pyarrow import csv
import warpfactor as wf

def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

pa.set_cpu_count(int(sys.argv[3]))
wf.read_ratings(sys.argv[4])
csv.read_csv(sys.argv[4])
with open("/proc/self/clear_refs", "w") as peak:
    peak.write("5")
before = status("VmRSS")
start = time.perf_counter()
if sys.argv[1] == "warpfactor":
    data = wf.read_ratings(sys.argv[2])
    seconds = time.perf_counter() - start
    kept = [data.users, data.items, data.values, data.user_ids, data.item_ids, data.timestamps]
    size = sum(array.nbytes for array in kept)
else:
    data = csv.read_csv(sys.argv[2])
    seconds = time.perf_counter() - start
    size = data.nbytes
print(seconds, status("VmHWM") - before - size)
"""


def generate(path: Path, n: int) -> None:
    """Write a file of n ratings, in parts."""
    rng = np.random.default_rng(0)
    counts = rng.lognormal(0, 1.2, 162_541)
    users = np.repeat(np.arange(1, 162_542), np.round(counts * n / counts.sum()).astype(int))
    users = np.resize(users, n) if len(users) < n else users[:n]
    users.sort()
    popularity = rng.lognormal(0, 2, 59_047)
    bounds = np.cumsum(popularity) / popularity.sum()
    item_ids = np.sort(rng.choice(209_171, 59_047, replace=False)) + 1
    with path.open("wb") as sink:
        sink.write(b"userId,movieId,rating,timestamp\n")
        for at in range(0, n, 1_000_000):
            part = users[at : at + 1_000_000]
            items = item_ids[np.searchsorted(bounds, rng.random(len(part))).clip(max=59_046)]
            table = pa.table(
                {
                    "userId": part,
                    "movieId": items,
                    "rating": rng.integers(1, 11, len(part)) / 2,
                    "timestamp": rng.integers(789_652_009, 1_574_327_703, len(part)),
                }
            )
            csv.write_csv(table, sink, csv.WriteOptions(include_header=False))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    console = Console(width=100, highlight=False)
    heading(console)
    console.print(f"pyarrow {pa.__version__}, {args.threads} threads")
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder, "ratings.csv"), Path(folder, "small.csv")
        generate(path, args.ratings)
        generate(small, 1000)
        console.print(f"{args.ratings:,} ratings, {path.stat().st_size / 1e6:.0f} MB of text\n")
        taken: dict[str, list[tuple[float, float]]] = {"pyarrow": [], "warpfactor": []}
        for _ in range(args.repeats):
            for name, runs in taken.items():
                command = [sys.executable, "-c", ONE_READING, name, str(path), str(args.threads)]
                done = subprocess.run(
                    [*command, str(small)], capture_output=True, text=True, check=True
                )
                seconds, memory = map(float, done.stdout.split())
                runs.append((seconds, memory / args.ratings))
    table = Table("", "seconds", "least .. most", "bytes a row beyond the result")
    for name, runs in taken.items():
        seconds = [run[0] for run in runs]
        spread = f"{min(seconds):.2f} .. {max(seconds):.2f}"
        memory = statistics.median(run[1] for run in runs)
        table.add_row(name, f"{statistics.median(seconds):.2f}", spread, f"{memory:.0f}")
    console.print(table)
    ratios = [
        ours[0] / theirs[0]
        for ours, theirs in zip(taken["warpfactor"], taken["pyarrow"], strict=True)
    ]
    memory = statistics.median(run[1] for run in taken["warpfactor"])
    console.print(
        f"time of warpfactor / pyarrow  {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f} .. {max(ratios):.2f}); to be at most {TIME_RATIO}"
    )
    console.print(f"memory beyond the result      {memory:.0f} bytes a row; at most {BYTES_A_ROW}")


if __name__ == "__main__":
    main()
