"""Fits of more ratings than memory holds: resident memory, speed, and the share of the disk's rate.

    python benchmarks/out_of_core.py [--ratings N] [--users N] [--items N] [--rank K] [--epochs E] [--compared N]
        [--folder F] [--buffer BYTES] [--threads T]

Ratings are generated into Parquet files, seeded file by file, in a folder that is removed in the end: users and items with
long tails, biases and noise, on a half-star grid; nothing is compressed but by the dictionary of the ratings. Each fit runs
in a process of its own, from the files. Its peak is the kernel's high-water mark (VmHWM), which is set against the factors
and biases of the model (float32) and 1.5 GiB. Its phases are told apart by callbacks: reading (ids are numbered, ratings
spooled) ends when training begins, preparing (blocks are written) when the first epoch does. What an epoch reads from the
disk is the kernel's count (read_bytes of /proc/self/io), which leaves out what the page cache had; the disk's rate is
measured by reading the Parquet files in order, after the kernel was told to forget them.

1. All ratings, streamed: the peak; and the updates/s of the median epoch, against those of the same kernel in memory on the
   first --compared ratings, of as many users and items.
2. The first --compared ratings, streamed and through `read_ratings` in memory, in turn, --runs times: whole times, from
   files to the model, and whether all bits are equal.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import PLAIN_STEPS, heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor import _core

FILE = 10_000_000  # ratings of a file
PIECE = 1 << 20
GIB = float(1 << 30)
BEYOND = 1.5 * GIB
FILE_BYTES = 8.6  # of a rating: two int32 and half a byte, with what Parquet adds
STRIDE = 7_368_787  # a prime, which spreads the popular rows over the ids


def count(text: str) -> int:
    return int(float(text))


def write_file(path: Path, number: int, n: int, n_users: int, n_items: int) -> int:
    """Write one file of ratings; return its size."""
    rng = np.random.default_rng([17, number])
    schema = pa.schema({"user": pa.int32(), "item": pa.int32(), "rating": pa.float32()})
    biases = np.random.default_rng(17)
    tilt = biases.standard_normal(1 << 16, np.float32)  # of rows, by the last bits of their ids
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=["rating"]) as file:
        for begin in range(0, n, PIECE):
            size = min(PIECE, n - begin)
            sides = []
            for rows, power in ((n_users, 1.5), (n_items, 2.0)):
                rank = (rows * rng.random(size) ** power).astype(np.int64)
                sides.append(((rank * STRIDE) % rows).astype(np.int32))
            users, items = sides
            level = 7 + tilt[users & 0xFFFF] + tilt[~items & 0xFFFF]
            level += 1.5 * rng.standard_normal(size, np.float32)
            values = np.rint(level).clip(1, 10) / 2
            columns = [pa.array(column) for column in (users, items, values)]
            file.write_table(pa.table(columns, schema=schema), row_group_size=PIECE)
    return path.stat().st_size


def generate(folder: Path, n: int, n_users: int, n_items: int) -> tuple[list[Path], float]:
    """Write all files, one per core at a time; return them and the seconds it took."""
    start = time.perf_counter()
    sizes = [min(FILE, n - begin) for begin in range(0, n, FILE)]
    paths = [folder / f"ratings-{number:05}.parquet" for number in range(len(sizes))]
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(write_file, path, number, size, n_users, n_items)
            for number, (path, size) in enumerate(zip(paths, sizes, strict=True))
        ]
        for job in jobs:
            job.result()
    return paths, time.perf_counter() - start


def disk_rate(paths: list[Path], most: float = 8e9) -> float:
    """Return the bytes per second at which files are read in order, of which the cache has none."""
    n_bytes = 0
    seconds = 0.0
    buffer = bytearray(1 << 24)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
            start = time.perf_counter()
            while n_read := file.readinto(buffer):
                n_bytes += n_read
            seconds += time.perf_counter() - start
        if n_bytes > most:
            break
    return n_bytes / seconds


def of_process(file: str, field: str) -> int:
    """Return a number that the kernel keeps of this process."""
    found = re.search(rf"^{field}:\s+(\d+)", Path(f"/proc/self/{file}").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


class Phases(wf.callbacks.Callback):
    """Notes when training and its first epoch begin, and what each epoch reads from the disk."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.begun = self.first = 0.0
        self.read: list[int] = []
        self._before = 0

    def on_train_begin(self, fit: Any) -> None:
        self.begun = time.perf_counter()

    def on_epoch_end(self, record: Any) -> None:
        if not self.first:
            self.first = time.perf_counter() - record["seconds"]
        now = of_process("io", "read_bytes")
        self.read.append(now - self._before)
        self._before = now


def child(options: argparse.Namespace) -> None:
    """Fit, and print what there is to know of it as JSON."""
    paths = [Path(line) for line in sys.stdin.read().splitlines()]
    phases = Phases()
    model = wf.MatrixFactorization(
        options.rank,
        n_epochs=options.epochs,
        n_threads=options.threads,
        random_state=0,
        verbose=0,
        callbacks=[phases],
        **PLAIN_STEPS,
    )
    start = phases.start = time.perf_counter()
    if options.child == "stream":
        model.fit(paths, scratch=options.folder, buffer=options.buffer)
    else:
        model.fit(paths)
    end = time.perf_counter()
    digest = hashlib.sha256()
    for name in ("user_factors_", "item_factors_", "user_biases_", "item_biases_", "user_ids_"):
        digest.update(np.ascontiguousarray(getattr(model, name)))
    n_rows = len(model.user_ids_) + len(model.item_ids_)
    told = {
        "seconds": end - start,
        "reading": phases.begun - start,
        "preparing": phases.first - phases.begun,
        "epochs": [record["seconds"] for record in model.history_],
        "read": phases.read[1:],
        "rmse": model.history_[-1]["train_rmse"],
        "n_ratings": model.model_.n_ratings_,
        "model": 4 * n_rows * (options.rank + 1),
        "peak": 1024 * of_process("status", "VmHWM"),
        "digest": digest.hexdigest(),
        "seen": len(model.model_.seen_[1]),
    }
    print(json.dumps(told))


def run(how: str, paths: list[Path], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fit in a process of its own."""
    for path in paths:  # each fit finds the files on the disk, not in the cache
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    command = [sys.executable, __file__, "--child", how, "--folder", str(folder)]
    for name in ("rank", "epochs", "threads", "buffer"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(
        command, input="\n".join(map(str, paths)), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr[-3000:] or f"a fit ended with {done.returncode}")
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told["rate"] = told["n_ratings"] / statistics.median(told["epochs"])
    return told


def row_of(table: Table, name: str, told: dict[str, Any]) -> None:
    epochs = told["epochs"]
    rest = told["seconds"] - told["reading"] - told["preparing"] - sum(epochs)
    table.add_row(
        name,
        f"{told['n_ratings']:,}",
        *(f"{told[name]:.1f}" for name in ("reading", "preparing")),
        " ".join(f"{each:.1f}" for each in epochs),
        f"{rest:.1f}",
        f"{told['seconds']:.1f}",
        f"{told['rate'] / 1e6:.1f}",
        f"{told['peak'] / GIB:.2f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratings", type=count, default=1_000_000_000)
    parser.add_argument("--users", type=count, default=10_000_000)
    parser.add_argument("--items", type=count, default=1_000_000)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--compared", type=count, default=100_000_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--buffer", type=count, default=1 << 30)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--child", choices=["stream", "memory"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    console = Console(width=120)
    heading(console)
    scratch = _core.scratch_bytes(options.ratings, False, _core.TrainParams())
    files = FILE_BYTES * options.ratings
    free = shutil.disk_usage(options.folder).free
    console.print(
        f"Disk, at most: files {files / 1e9:.1f} GB, scratch {scratch / 1e9:.1f} GB, together "
        f"{(files + scratch) / 1e9:.1f} GB, of {free / 1e9:.1f} GB that are free"
    )
    if files + scratch > free:
        raise SystemExit("that is more than there is: pass fewer --ratings, or another --folder")
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        paths, seconds = generate(folder, options.ratings, options.users, options.items)
        size = sum(path.stat().st_size for path in paths)
        console.print(f"Generated {len(paths)} files, {size / 1e9:.2f} GB, in {seconds:.0f} s")
        rate = disk_rate(paths)
        console.print(f"The disk reads {rate / 1e9:.2f} GB/s\n")
        some = paths[: -(-options.compared // FILE)]
        table = Table(
            "",
            "ratings",
            "reading s",
            "preparing s",
            "epochs s",
            "rest s",
            "whole s",
            "M updates/s",
            "peak GiB",
        )
        pairs = []
        for number in range(options.runs):
            both = [run(how, some, options, folder) for how in ("memory", "stream")]
            pairs.append(both)
            for how, told in zip(("in memory", "streamed"), both, strict=True):
                row_of(table, f"{how} {number + 1}", told)
        large = None
        if len(some) < len(paths):
            large = run("stream", paths, options, folder)
            row_of(table, "streamed, all", large)
        console.print(table)
        told = large or pairs[-1][1]
        limit = told["model"] + BEYOND
        verdict = "within" if told["peak"] <= limit else "exceeds"
        console.print(
            f"1. {told['n_ratings']:,} ratings: peak {told['peak'] / GIB:.2f} GiB {verdict} the model's "
            f"{told['model'] / GIB:.2f} GiB + 1.5 GiB = {limit / GIB:.2f} GiB"
        )
        in_memory = statistics.median(both[0]["rate"] for both in pairs)
        console.print(
            f"   {told['rate'] / 1e6:.1f} M updates/s, {told['rate'] / in_memory:.2f} x in memory on "
            f"{pairs[0][0]['n_ratings']:,} ({in_memory / 1e6:.1f} M)"
        )
        if told["read"] and max(told["read"]):
            speed = statistics.median(
                each / seconds
                for each, seconds in zip(told["read"], told["epochs"][1:], strict=True)
            )
            console.print(
                f"   an epoch reads {statistics.median(told['read']) / 1e9:.1f} GB at {speed / 1e9:.2f} GB/s, "
                f"{speed / rate:.2f} of the disk's rate"
            )
        ratios = [both[1]["seconds"] / both[0]["seconds"] for both in pairs]
        same = len({told["digest"] for both in pairs for told in both}) == 1
        console.print(
            f"2. {pairs[0][0]['n_ratings']:,} ratings from Parquet: streamed {statistics.median(ratios):.2f} x in "
            f"memory ({', '.join(f'{ratio:.2f}' for ratio in ratios)}); the bits are {'equal' if same else 'DIFFERENT'}"
        )


if __name__ == "__main__":
    main()
