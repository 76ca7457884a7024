"""Seconds to the best test RMSE that LIBMF reaches, at the same rank, each with settings of its own choosing.

    python benchmarks/time_to_quality.py --libmf MF_TRAIN [--data FOLDER] [--sets NAME ...] [--n-factors K ...]
                                         [--repeats N] [--threads T] [--libmf-reg L ...] [--libmf-rate R ...]
                                         [--libmf-epochs N] [--grid JSON] [--slack X ...] [--peers-on NAME ...]

"ml-1m" is MovieLens 1M, fold 1 held out (FOLDER, default $WARPFACTOR_DATA, holds ml-1m/ml-1m.npz); "generated" is the
generated set of MovieLens 10M's shape, 9.0 M ratings to train on. Both programs get T threads.

LIBMF runs with each -l2 (the same for P and Q) and -r, and prints the test RMSE after each epoch: for 15 epochs, and
again for twice as many while the lowest lies in the last third, up to N. The lowest of all is its best, and the
settings that get there in the fewest epochs are its choice. The last ten-thousandth can take it most of its epochs, so
there is a second table for what is --slack (0.001) above its best, for which both choose their settings anew. It prints
four decimals, so the target is half a unit of the last one below what it printed. "Epochs alone" is the time of one
epoch, from two runs of different length without validation, times the epochs that it needs: neither loading nor
preparation nor saving nor validation counts (its first epoch does less than the others, and counts in full). "Whole
call" is what its training function takes for that on ratings in memory: those epochs, and statistics, shuffling,
cutting into blocks, and putting all of that back.

warpfactor's time is the wall clock of one `fit` on Ratings in memory, preparation and all, without validation. Its
settings are the entries of GRID (--grid replaces it, in the same form), in order of n_epochs, since the schedule ends
with them. One gets to the target if its test RMSE after the fit is no higher with each of the seeds 0 .. repeats - 1;
the one that takes the fewest seconds is chosen, and with equally many epochs, the one with the lowest RMSE. If none
does, the table says "not reached" for the one with the lowest RMSE of seed 0. The RMSE shown is that of the worst seed.

Then turns alternate, one of each, seeds as before; the table gives medians over the turns, and the ratios of a turn's
times with the least and the most. Both sides are tuned on the test ratings, in the same way: the times compare, but the
RMSEs are better than on ratings that chose nothing.

Where they are installed, scikit-surprise (SVD) and cmfrec (CMF, by ALS) run at the same rank on the --peers-on sets:
the best of a few settings and the seconds of that single fit, whatever its RMSE.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import itertools
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import ML10M_SHAPE, Libmf, generated, heading, movielens_1m, timed_fit
from rich.console import Console
from rich.table import Table
from sklearn.model_selection import ParameterGrid

import warpfactor as wf

# What warpfactor is tried with: products of lists, one after the other (scikit-learn's ParameterGrid). Each part needs
# n_epochs; what it does not name is at its default.
GRID: list[dict[str, Sequence[Any]]] = [
    {
        "optimizer": ["sgd"],
        "schedule": ["cosine"],
        "learning_rate": [0.04, 0.05, 0.06, 0.08],
        "reg": [0.01, 0.02, 0.03],
        "reg_bias": [0.03, 0.06],
        "n_epochs": [3, 4, 5, 6, 8, 10, 12],
    },
    {
        "optimizer": ["sgd"],
        "biases": [True, False],
        "learning_rate": [0.04, 0.06, 0.08, 0.1],
        "reg": [0.03, 0.04, 0.05],
        "n_epochs": [5, 8, 12, 16, 20],
    },
    *(
        {
            "optimizer": ["sgd"],
            "schedule": ["cosine"],
            "learning_rate": [0.04, 0.05, 0.06],
            "reg": [0.01, 0.02],
            "reg_bias": [0.03, 0.06],
            "n_epochs": [n_epochs],
            "warmup_epochs": [n_epochs - 2, n_epochs - 1],
            "warmup_factors": [16, 32],
        }
        for n_epochs in (4, 5, 6)
    ),
    {
        "optimizer": ["adagrad"],
        "learning_rate": [0.1, 0.2],
        "reg": [0.03, 0.04],
        "n_epochs": [4, 6, 8, 12, 16],
    },
]

# What does not change the time of an epoch: settings that differ in nothing else and have more epochs take longer.
SAME_SPEED = {"learning_rate", "schedule", "reg", "reg_bias", "normalize", "n_epochs"}

# LIBMF's first run with some settings, while tuning; longer ones follow unless its best lies in the first two thirds.
FIRST_EPOCHS = 15

# Runs of LIBMF that differ by less than this are too close to tell an epoch from noise in loading.
LEAST_DIFFERENCE = 1.0

# Half a unit of the last decimal that LIBMF prints.
ROUNDING = 0.5e-4


class LibmfChoice(NamedTuple):
    """Settings of LIBMF, and after how many epochs its test RMSE was what."""

    epochs: int
    rmse: float
    reg: float
    rate: float


class Attempt(NamedTuple):
    """Fits with one entry of the grid: one for each seed, up to the first that misses the target."""

    setting: Mapping[str, Any]
    seconds: list[float]
    errors: list[float]
    reached: bool


class Row(NamedTuple):
    """A row of a table; the times are of as many turns as warpfactor's, or of one run."""

    name: str
    settings: str
    rmse: str
    seconds: list[float]


def libmf_errors(
    libmf: Libmf, k: int, options: argparse.Namespace
) -> dict[tuple[float, float], list[float]]:
    """Return LIBMF's test RMSE after each epoch, of each -l2 and -r."""
    errors = {}
    for reg, rate in itertools.product(options.libmf_reg, options.libmf_rate):
        epochs = min(FIRST_EPOCHS, options.libmf_epochs)
        while True:
            _, printed = libmf.run(k, epochs, reg=reg, rate=rate, validate=True)
            finite = [e if math.isfinite(e) else math.inf for e in printed]
            lowest = finite.index(min(finite)) + 1
            if lowest <= 2 * epochs / 3 or epochs == options.libmf_epochs:
                break
            epochs = min(2 * epochs, options.libmf_epochs)
        errors[reg, rate] = finite
    if not min(map(min, errors.values())) < math.inf:
        raise RuntimeError("LIBMF diverged with all of its settings: give it others")
    return errors


def choose_libmf(
    errors: Mapping[tuple[float, float], Sequence[float]], slack: float, most_epochs: int
) -> tuple[LibmfChoice, list[str]]:
    """Return what comes within `slack` of the lowest RMSE in the fewest epochs, and doubts whether others would."""
    enough = round(min(map(min, errors.values())) + slack, 4)
    choice = min(
        LibmfChoice(epoch, error, reg, rate)
        for (reg, rate), curve in errors.items()
        for epoch, error in enumerate(curve, 1)
        if error <= enough
    )
    doubts = []
    if choice.epochs == most_epochs:
        doubts.append(f"that is the last (--libmf-epochs {most_epochs})")
    regs, rates = zip(*errors, strict=True)
    for option, value, values in (
        ("--libmf-reg", choice.reg, regs),
        ("--libmf-rate", choice.rate, rates),
    ):
        if value in (min(values), max(values)):
            doubts.append(f"{value} is at the end of {option}")
    return choice, doubts


def enough_epochs(libmf: Libmf, k: int, choice: LibmfChoice, short: int) -> int:
    """Return how long LIBMF's longer run must be for the time of an epoch to show."""
    more = 10
    while True:
        epoch = libmf.seconds_per_epoch(
            k, reg=choice.reg, rate=choice.rate, short=short, long=short + more
        )
        if more * epoch >= LEAST_DIFFERENCE:
            return short + more
        more *= 2


def fit_warpfactor(
    train: wf.Ratings, test: wf.Ratings, threads: int, **params: Any
) -> tuple[float, float]:
    """Return the seconds of the fit, and the test RMSE; NaN and infinity if it diverges."""
    try:
        model, seconds = timed_fit(train, threads, **params)
    except wf.DivergedError:
        return math.nan, math.inf
    return seconds, wf.metrics.rmse(test.values, model.predict(test))


def tune_warpfactor(
    fit: Callable[..., tuple[float, float]],
    grid: Iterable[Mapping[str, Any]],
    target: float,
    n_seeds: int,
) -> tuple[Attempt, int]:
    """Return the fastest attempt that gets to the target, or the one that comes nearest; and how many were made.

    Settings with more epochs than one that got there in epochs of the same speed cannot be faster,
    and are not tried.
    """
    best: dict[str, Attempt] = {}
    missed, n_tried = [], 0
    for setting in sorted(grid, key=lambda setting: int(setting["n_epochs"])):
        speed = json.dumps({n: v for n, v in setting.items() if n not in SAME_SPEED}, default=str)
        other = best.get(speed)
        if other is not None and other.setting["n_epochs"] < setting["n_epochs"]:
            continue
        seconds, errors = [], []
        for seed in range(n_seeds):
            took, error = fit(**setting, random_state=seed)
            seconds.append(took)
            errors.append(error)
            if not error <= target:
                break
        attempt = Attempt(setting, seconds, errors, max(errors) <= target)
        n_tried += 1
        if not attempt.reached:
            missed.append(attempt)
        elif other is None or max(errors) < max(other.errors):
            best[speed] = attempt
    if best:
        return min(best.values(), key=lambda a: statistics.median(a.seconds)), n_tried
    nearest = min(missed, key=lambda a: a.errors[0])
    for seed in range(len(nearest.errors), n_seeds):
        took, error = fit(**nearest.setting, random_state=seed)
        nearest.seconds.append(took)
        nearest.errors.append(error)
    return nearest, n_tried


def error_of(test: wf.Ratings, predicted: np.ndarray) -> float:
    """Return the RMSE, or infinity for what a diverged model predicts."""
    return wf.metrics.rmse(test.values, predicted) if np.isfinite(predicted).all() else math.inf


def try_surprise(
    train: wf.Ratings, test: wf.Ratings, k: int, threads: int
) -> Iterator[tuple[str, float, float]]:
    """Yield settings, test RMSE and seconds of scikit-surprise's SVD, which has one thread."""
    import pandas as pd
    from surprise import SVD, Dataset, Reader

    scale = (float(train.values.min()), float(train.values.max()))
    frame = pd.DataFrame(
        {"user": train.users, "item": train.items, "rating": train.values.astype(float)}
    )
    data = Dataset.load_from_df(frame, Reader(rating_scale=scale)).build_full_trainset()
    pairs = list(zip(test.users.tolist(), test.items.tolist(), strict=True))
    for epochs, rate, reg in ((20, 0.005, 0.02), (20, 0.01, 0.07), (40, 0.01, 0.1)):
        model = SVD(n_factors=k, n_epochs=epochs, lr_all=rate, reg_all=reg, random_state=0)
        start = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - start
        predicted = np.array([model.predict(u, i).est for u, i in pairs])
        settings = f"lr_all {rate}, reg_all {reg}, {epochs} epochs, 1 thread"
        yield settings, error_of(test, predicted), seconds


def try_cmfrec(
    train: wf.Ratings, test: wf.Ratings, k: int, threads: int
) -> Iterator[tuple[str, float, float]]:
    """Yield settings, test RMSE and seconds of cmfrec's CMF, with what its documentation says makes it fast."""
    from cmfrec import CMF
    from scipy.sparse import coo_matrix

    assert train.values.all(), "cmfrec takes a zero for no rating"
    data = coo_matrix(
        (train.values, (train.users, train.items)), shape=(train.n_users, train.n_items)
    )
    scaled = {"scale_lam": True}
    kinds: list[tuple[float, dict[str, bool]]] = [(10.0, {}), (35.0, {}), (0.05, scaled)]
    for penalty, more in [*kinds, (0.1, scaled)]:
        model = CMF(
            k=k, lambda_=penalty, nthreads=threads, verbose=False,
            finalize_chol=False, precompute_for_predictions=False, **more,
        )  # fmt: skip
        start = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - start
        predicted = np.asarray(model.predict(test.users, test.items))
        kind = ", scale_lam" if more else ""
        yield f"lambda_ {penalty:g}{kind}", error_of(test, predicted), seconds


# Name, package, module, and what tries it.
PEERS = (
    ("Surprise SVD", "scikit-surprise", "surprise", try_surprise),
    ("cmfrec CMF", "cmfrec", "cmfrec", try_cmfrec),
)


def comparison(title: str, caption: str, rows: Iterable[Row], ours: Sequence[float]) -> Table:
    """Make a table; `ours` are warpfactor's seconds, empty where it does not get to the target."""
    table = Table(
        "", "settings", "test RMSE", "seconds", "ratio", "least and most",
        title=title, caption=caption,
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        cells = [row.name, row.settings, row.rmse]
        cells.append(f"{statistics.median(row.seconds):.3f}" if row.seconds else "not reached")
        if row.seconds and ours and row.name != "warpfactor":
            if len(row.seconds) == len(ours):
                ratios = [a / b for a, b in zip(row.seconds, ours, strict=True)]
            else:
                ratios = [row.seconds[0] / seconds for seconds in ours]
            cells.append(f"{statistics.median(ratios):.2f}")
            cells.append(f"{min(ratios):.2f} .. {max(ratios):.2f}")
        table.add_row(*cells)
    return table


def within(slack: float) -> str:
    """Say what the target is."""
    return "LIBMF's best" + (f" + {slack:g}" if slack else "")


def compare(
    console: Console,
    name: str,
    train: wf.Ratings,
    test: wf.Ratings,
    k: int,
    libmf: Libmf,
    options: argparse.Namespace,
    peers: Sequence[tuple[str, Callable[..., Iterator[tuple[str, float, float]]]]],
) -> None:
    """Tune, measure, and print the tables of one data set and rank."""

    def fit(**params: Any) -> tuple[float, float]:
        return fit_warpfactor(train, test, options.threads, n_factors=k, **params)

    # A warm-up that trains all factors is an ordinary epoch.
    grid = [s for s in ParameterGrid(options.grid) if s.get("warmup_factors", 0) < k]
    errors = libmf_errors(libmf, k, options)
    first: list[float] | None = None
    for slack in options.slack:
        choice, doubts = choose_libmf(errors, slack, options.libmf_epochs)
        goal = round(min(map(min, errors.values())) + slack, 4)
        target = goal - ROUNDING
        wanted = within(slack)
        console.print(
            f"{name}, k = {k}, {wanted}: it gets to {goal:.4f} in epoch {choice.epochs} "
            f"({len(errors)} settings tried)" + "".join(f"; but {doubt}" for doubt in doubts)
        )
        chosen, n_tried = tune_warpfactor(fit, grid, target, options.repeats)
        console.print(
            f"{name}, k = {k}, {wanted}: warpfactor {'gets' if chosen.reached else 'does not get'} "
            f"to {target:.5f} ({n_tried} settings tried)"
        )
        rows, ours = measure(console, fit, libmf, k, choice, chosen, target, options.repeats)
        title = (
            f"{name}, {len(train):,} ratings, k = {k}: to a test RMSE of {target:.5f} ({wanted})"
        )
        caption = (
            f"{options.threads} threads, medians of {options.repeats} alternating turns; "
            "ratio: of seconds to warpfactor's"
        )
        console.print(comparison(title, caption, rows, ours))
        first = ours if first is None else first

    # After all that is timed in turns: their threads may linger.
    rows = []
    for peer, attempts in peers:
        found = attempts(train, test, k, options.threads)
        settings, rmse, seconds = min(found, key=lambda attempt: attempt[1])
        rows.append(Row(peer, settings, f"{rmse:.5f}", [seconds]))
    if rows:
        title = f"{name}, k = {k}: the best of a few settings, whatever its RMSE; one fit"
        caption = f"ratio: of seconds to warpfactor's for {within(options.slack[0])}"
        console.print(comparison(title, caption, rows, first or []))


def measure(
    console: Console,
    fit: Callable[..., tuple[float, float]],
    libmf: Libmf,
    k: int,
    choice: LibmfChoice,
    chosen: Attempt,
    target: float,
    repeats: int,
) -> tuple[list[Row], list[float]]:
    """Take turns; return LIBMF's and warpfactor's rows, and warpfactor's seconds if it gets there."""
    short = 2
    long = enough_epochs(libmf, k, choice, short)
    alone, whole, ours, errors = [], [], [], []
    for turn in range(repeats):
        epochs_alone, call = libmf.seconds_of_call(
            k, choice.epochs, reg=choice.reg, rate=choice.rate, short=short, long=long
        )
        alone.append(epochs_alone)
        whole.append(call)
        if chosen.reached:
            seconds, error = fit(**chosen.setting, random_state=turn)
            ours.append(seconds)
            errors.append(error)
    # Only "hogwild" may miss: otherwise the seeds give the models that they gave before.
    missed = sum(not error <= target for error in errors)
    if missed:
        console.print(f"warpfactor missed the target in {missed} of {repeats} turns")

    theirs = f"-l2 {choice.reg} -r {choice.rate}, {choice.epochs} epochs"
    setting = ", ".join(f"{name} {value}" for name, value in chosen.setting.items())
    worst = max(errors or chosen.errors)
    rows = [
        Row("LIBMF, epochs alone", theirs, f"{choice.rmse:.4f}", alone),
        Row("LIBMF, whole call", "the same", f"{choice.rmse:.4f}", whole),
        Row("warpfactor", setting, f"{worst:.5f}", ours),
    ]
    return rows, ours


def grid_of(text: str) -> list[dict[str, Sequence[Any]]]:
    """Read --grid."""
    try:
        grid = json.loads(text)
        if isinstance(grid, list) and all(s.get("n_epochs") for s in ParameterGrid(grid)):
            return grid
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    raise argparse.ArgumentTypeError("it must be a list of objects of lists, each with n_epochs")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = ["ml-1m", "generated"]
    parser.add_argument("--libmf", type=Path, required=True, help="LIBMF's mf-train")
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--sets", nargs="+", choices=sets, default=sets)
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument("--libmf-reg", type=float, nargs="+", default=[0.02, 0.03, 0.05, 0.07, 0.1])
    parser.add_argument("--libmf-rate", type=float, nargs="+", default=[0.03, 0.05, 0.1, 0.2])
    parser.add_argument("--libmf-epochs", type=int, default=120)
    parser.add_argument("--grid", type=grid_of, default=GRID, help="instead of GRID, as JSON")
    parser.add_argument("--slack", type=float, nargs="+", default=[0.0, 0.001])
    parser.add_argument("--peers-on", nargs="*", choices=sets, default=["ml-1m"])
    options = parser.parse_args()
    if options.repeats < 1 or options.libmf_epochs < 1 or min(options.slack) < 0:
        parser.error("--repeats and --libmf-epochs must be at least 1, --slack at least 0")

    console = Console(width=110)
    heading(console)
    peers = []
    for title, package, module, attempts in PEERS if options.peers_on else ():
        if importlib.util.find_spec(module) is None:
            console.print(f"{package} is not installed: left out")
        else:
            peers.append((f"{title} {importlib.metadata.version(package)}", attempts))

    for name in options.sets:
        if name == "generated":
            train, test, _ = generated(**ML10M_SHAPE)
        elif options.data is None or not (options.data / "ml-1m" / "ml-1m.npz").exists():
            console.print("MovieLens 1M was not found (--data, $WARPFACTOR_DATA): left out")
            continue
        else:
            train, test = movielens_1m(options.data)
        libmf = Libmf(options.libmf, train, test, options.threads)
        for k in options.n_factors:
            console.print()
            compare(
                console, name, train, test, k, libmf, options,
                peers if name in options.peers_on else (),
            )  # fmt: skip


if __name__ == "__main__":
    main()
