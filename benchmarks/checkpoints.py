"""What checkpoints cost: bytes for each user and item, the time of a write and of going on, beside an epoch's.

Of ML-1M, with validation ratings, at the given rank. The share is that of fits with a checkpoint after each epoch beside
fits without, in turn, of which the medians are told.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import heading, movielens_1m
from rich.console import Console
from rich.table import Table

import warpfactor as wf

GIVEN: dict[str, Any] = {"reg": 0.02, "reg_row": 4.0, "reg_implicit": 2.0, "init": 0.05}
HOW: dict[str, dict[str, Any]] = {
    "as it is by default": {},
    "without prior means": {"implicit_feedback": "none"},
    "adam": {"optimizer": "adam"},
}


def seconds_of(model: Any, train: Any, test: Any, path: Path | None) -> float:
    """Return the time of a fit, without the reading of checkpoints."""
    started = time.perf_counter()
    model.fit(train, validation=test, checkpoint=path, resume=False)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    train, test = movielens_1m(options.data)
    rows = train.n_users + train.n_items
    console = Console(width=120)
    heading(console)
    table = Table(
        *("", "MB", "bytes a row", "ms a write", "ms an epoch", "share", "ms to read"),
        title=f"ML-1M, {rows} users and items, k = {options.factors}, {options.epochs} epochs, "
        f"median of {options.runs}",
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder) / "fit.checkpoint"
        for name, how in HOW.items():
            params = GIVEN | how | {"n_factors": options.factors, "n_epochs": options.epochs}
            model = wf.MatrixFactorization(
                **params, early_stopping=False, random_state=0, verbose=0
            )
            without, kept, reads = [], [], []
            for _ in range(options.runs):
                without.append(seconds_of(model, train, test, None))
                path.unlink(missing_ok=True)
                kept.append(seconds_of(model, train, test, path))
                started = time.perf_counter()
                wf._core.checkpoint_facts(path)
                reads.append(time.perf_counter() - started)
            epoch = statistics.median(record["seconds"] for record in model.history_)
            more = statistics.median(
                (one - other) / options.epochs for one, other in zip(kept, without, strict=True)
            )
            size = path.stat().st_size
            table.add_row(
                name,
                f"{size / 1e6:.1f}",
                f"{size / rows:.0f}",
                f"{1e3 * more:.1f}",
                f"{1e3 * epoch:.1f}",
                f"{statistics.median(kept) / statistics.median(without):.2f}",
                f"{1e3 * statistics.median(reads):.1f}",
            )
    console.print(table)


if __name__ == "__main__":
    main()
