"""Resident memory and speed of `warpfactor recommend --all-users -o recs.parquet` for a million users.

    python benchmarks/all_users.py [--n-users N] [--n-items I] [--n-ratings R] [--n-factors K] [--limit-gib G]

The ratings are generated as by memory.py, a model is trained on them for two epochs and saved, and the command runs as a
process of its own on it, with ten items for each user. Resident memory is that process's high-water mark, as the system
counts it when the process ends; it includes the model. The limit of G GiB is checked.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from common import heading
from memory import GIB, make_ratings
from rich.console import Console

import warpfactor as wf


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-users", type=int, default=1_000_000)
    parser.add_argument("--n-items", type=int, default=10_000)
    parser.add_argument("--n-ratings", type=int, default=20_000_000)
    parser.add_argument("--n-factors", type=int, default=32)
    parser.add_argument("--limit-gib", type=float, default=1.0)
    options = parser.parse_args()

    console = Console(width=120)
    heading(console)
    with tempfile.TemporaryDirectory() as folder:
        model, output = Path(folder) / "m.safetensors", Path(folder) / "recs.parquet"
        ratings = make_ratings(options.n_users, options.n_items, options.n_ratings)
        fit = wf.MatrixFactorization(options.n_factors, n_epochs=2, random_state=0, verbose=0)
        fit.set_params(implicit_feedback="none", reg=0.04, reg_bias=0.05, reg_row=0, reg_bias_row=0)
        fit.fit(ratings).save(model)
        del ratings, fit
        command = [sys.executable, "-m", "warpfactor", "recommend", str(model), "--all-users"]
        start = time.perf_counter()
        pid = os.posix_spawn(sys.executable, [*command, "-o", str(output)], os.environ)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        if status:
            raise SystemExit(f"the command ended with status {status}")
        resident = usage.ru_maxrss * 1024
        written = pq.read_metadata(output)
        console.print(
            f"{options.n_users:,} users x {options.n_items:,} items, {options.n_ratings:,} ratings, "
            f"k = {options.n_factors}: model {model.stat().st_size / GIB:.2f} GiB\n"
            f"{written.num_rows:,} rows in {seconds:.1f} s ({options.n_users / seconds:,.0f} users/s), "
            f"file {output.stat().st_size / GIB:.2f} GiB\n"
            f"resident at most {resident / GIB:.2f} GiB"
            f" ({'within' if resident <= options.limit_gib * GIB else 'ABOVE'} {options.limit_gib:g})",
            highlight=False,
        )
    if resident > options.limit_gib * GIB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
