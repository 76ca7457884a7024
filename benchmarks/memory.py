"""Resident memory, preparation time and speed of a fit on 100 million ratings of Netflix' shape.

    python benchmarks/memory.py [--n-ratings N] [--n-factors K] [--n-epochs E] [--threads T] [--limit-gib G]

Two limits are checked: that the fit keeps the process within G GiB resident, the ratings included, and that it
takes at most 12 bytes a rating beyond them. The ratings (480,189 x 17,770) are made in this process, a piece at a time,
straight into int32, int32 and float32 arrays in random order: users and items with the long tails of
`wf.datasets.make_ratings`, its signal and its noise, on a half-star grid. Users and items are drawn independently, so
that some pairs occur twice, which make_ratings avoids at the cost of several times the memory.

Resident memory is the kernel's count of this process (VmRSS in /proc/self/status) and the peak is its high-water mark
(VmHWM), which is set back before the fit; where that is not permitted the table says so and the peak is that of the
whole process, no less than the fit's. From what the peak has beyond the memory before the fit, the model (float32
factors and biases) and the copy of it that is trained (rows padded to 64 bytes) are taken away, and the rest is stated
per rating. If the peak came before both were there, that is too little by as much as was missing; what the fit takes
with nothing taken away stands above it. Preparation is the wall clock of `fit` less the epochs: all that
happens before, between and after them. Updates per second are those of the median epoch, and so is the figure beside,
from a fit of 7 epochs at the same rank on the 9.0 M training ratings of the set that cpu_throughput.py uses.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import itertools
import re
import statistics
import time
from pathlib import Path

import numpy as np
from common import ML10M_SHAPE, generated, heading, timed_fit
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor.data import synthetic
from warpfactor.data.ratings import adopt_ratings

NETFLIX_SHAPE = {"n_users": 480_189, "n_items": 17_770}
SCALE = (0.5, 5.0, 0.5)
NOISE = 0.215  # of the scale's width, as in make_ratings
BYTES_PER_RATING = 12
PIECE = 1 << 18
GIB = float(1 << 30)
PROC = Path("/proc/self")


def make_ratings(n_users: int, n_items: int, n_ratings: int) -> wf.Ratings:
    """Make ratings in random order with little more memory than they take."""
    rng = np.random.default_rng(0)
    activity = synthetic.ratings_per_user(n_users, n_items, n_ratings, rng)
    user_shares = np.cumsum(activity) / n_ratings
    item_shares = np.cumsum(synthetic.item_weights(n_items, rng))
    item_shares /= item_shares[-1]
    signal = synthetic.Signal.draw(n_users, n_items, 8, rng)
    low, _, step = SCALE
    top = synthetic.count_levels(SCALE) - 1
    users, items = np.empty(n_ratings, np.int32), np.empty(n_ratings, np.int32)
    values = np.empty(n_ratings, np.float32)
    for start in range(0, n_ratings, PIECE):
        part = slice(start, min(start + PIECE, n_ratings))
        size = part.stop - start
        users[part] = np.searchsorted(user_shares, rng.random(size), side="right")
        items[part] = np.searchsorted(item_shares, rng.random(size), side="right")
        x = signal.at(users[part], items[part]) + NOISE * rng.standard_normal(size)
        values[part] = low + step * np.rint(top * x).clip(0, top)
    # Not Ratings(...), which copies what it is given.
    return adopt_ratings(users, items, values, np.arange(n_users), np.arange(n_items))


def resident(field: str) -> int:
    """Return VmRSS (now) or VmHWM (at most so far) in bytes."""
    status = (PROC / "status").read_text(encoding="utf-8")
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise SystemExit(f"/proc/self/status has no {field}: resident memory cannot be told here")
    return 1024 * int(found[1])


def release_memory() -> None:
    """Give back what is free, so that it does not count as resident, nor serve the fit unseen."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc has it, other C libraries do not
        ctypes.CDLL(None).malloc_trim(0)


def reset_peak() -> bool:
    """Set the high-water mark to what is resident now, and tell whether that was permitted."""
    try:
        (PROC / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def model_bytes(ratings: wf.Ratings, k: int) -> int:
    """Return the size of the model and of the copy that is trained, in float32."""
    padded = -(-k // 16) * 16
    return 4 * (ratings.n_users + ratings.n_items) * ((k + 1) + (padded + 1))


def median_epoch(model: wf.MatrixFactorization) -> float:
    """Return its seconds."""
    return statistics.median(entry["seconds"] for entry in model.history_)


def verdict(value: float, limit: float, at_most: str) -> str:
    """Compare with a limit what is known exactly, or, if `at_most` says so, from above only."""
    if value <= limit:
        return "within"
    return "cannot be told" if at_most else "exceeded"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-ratings", type=int, default=100_000_000)
    parser.add_argument("--n-factors", type=int, default=64)
    parser.add_argument("--n-epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument("--limit-gib", type=float, default=6.0)
    options = parser.parse_args()
    k, threads = options.n_factors, options.threads
    if options.n_epochs < 1:
        parser.error("--n-epochs must be at least 1")
    if not (PROC / "status").exists():
        parser.exit(1, "this needs Linux' /proc/self/status: resident memory cannot be told here\n")

    console = Console(width=110)
    heading(console)
    start = time.perf_counter()
    ratings = make_ratings(**NETFLIX_SHAPE, n_ratings=options.n_ratings)
    made = time.perf_counter() - start
    n = len(ratings)
    callers = ratings.users.nbytes + ratings.items.nbytes + ratings.values.nbytes
    # The first fit of a process loads modules, which are not the ratings' doing.
    wf.MatrixFactorization(n_epochs=1, n_threads=threads, verbose=0).fit(ratings.take([0]))
    release_memory()
    own_peak = reset_peak()
    before, mark = resident("VmRSS"), resident("VmHWM")
    assert before >= callers, "the ratings are not all resident: the peak would miss them"

    settings = {"n_factors": k, "random_state": 0}
    model, wall = timed_fit(ratings, threads, n_epochs=options.n_epochs, **settings)
    peak = resident("VmHWM")
    # Not set back, a mark that did not move tells only that the fit stayed below it.
    at_most = "" if own_peak or peak > mark else "at most "
    losses = [entry["train_rmse"] for entry in model.history_]
    assert all(later < first for first, later in itertools.pairwise(losses)), losses
    epochs = sum(entry["seconds"] for entry in model.history_)
    preparation, epoch = wall - epochs, median_epoch(model)
    beyond, both_models = peak - before, model_bytes(ratings, k)
    per_rating = (beyond - both_models) / n
    isa = model.instruction_set_

    del model, ratings
    release_memory()
    small, _, _ = generated(**ML10M_SHAPE)
    model, _ = timed_fit(small, threads, n_epochs=7, **settings)
    assert model.instruction_set_ == isa
    ours, beside = n / epoch / 1e6, len(small) / median_epoch(model) / 1e6

    table = Table(
        "", "measured", "limit", "",
        title=f"{n:,} ratings, {NETFLIX_SHAPE['n_users']:,} x {NETFLIX_SHAPE['n_items']:,}, "
        f"k = {k}, {options.n_epochs} epochs, {threads} threads, made in {made:.0f} s",
    )  # fmt: skip
    for column in table.columns[1:3]:
        column.justify = "right"

    table.add_row("the ratings' arrays, GiB", f"{callers / GIB:.2f}")
    table.add_row("resident before the fit, GiB", f"{before / GIB:.2f}")
    table.add_row(
        "resident in the fit, peak, GiB", f"{at_most}{peak / GIB:.2f}",
        f"{options.limit_gib:g}", verdict(peak / GIB, options.limit_gib, at_most),
    )  # fmt: skip
    table.add_row("taken by the fit, peak, bytes a rating", f"{at_most}{beyond / n:.2f}")
    table.add_row("the model and its trained copy, bytes a rating", f"{both_models / n:.2f}")
    table.add_row(
        "taken beside these, bytes a rating", f"{at_most}{per_rating:.2f}",
        f"{BYTES_PER_RATING}", verdict(per_rating, BYTES_PER_RATING, at_most),
    )  # fmt: skip
    table.add_section()
    table.add_row("fit, s", f"{wall:.2f}")
    table.add_row("of it preparation, s", f"{preparation:.2f}")
    table.add_row("preparation, in median epochs", f"{preparation / epoch:.2f}")
    table.add_row("M updates/s", f"{ours:.1f}")
    table.add_row(f"M updates/s on {len(small):,} ratings", f"{beside:.1f}")
    table.add_row("ratio of the two", f"{ours / beside:.2f}")
    console.print(table)
    if not own_peak:
        console.print("the peak could not be set back before the fit: it is that of the process")


if __name__ == "__main__":
    main()
