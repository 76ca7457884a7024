"""What a CUDA device does: updates per second, time to quality and recommendations, beside the CPU and PyTorch.

    python benchmarks/gpu.py [--device cuda] [--only throughput recommend first quality] [--data FOLDER] [--n-ratings N]
                             [--n-users N] [--n-items N] [--n-factors K ...] [--blocked-factors K ...]
                             [--recommend-factors K ...] [--recommend-users N] [--recommend-memory BYTES]
                             [--quality-factors K] [--n-epochs E ...] [--timed-epochs E] [--storage NAME ...]
                             [--parallel NAME ...] [--repeats N] [--threads T] [--minutes M] [--torch-batch B ...]
                             [--torch-seconds S] [--cache FILE]

The generated ratings have Netflix' shape, 100 M of 480,189 x 17,770, by `wf.datasets.make_ratings`, in random order; one
in a hundred is held out. With --cache they are kept in a file for the next run. "ml-1m" is MovieLens 1M, fold 1 held out
(FOLDER, default $WARPFACTOR_DATA, holds ml-1m/ml-1m.npz). Everything runs once before it is timed, so that starting the
device does not count. Runs alternate, one of each in turn, and the tables give medians over the turns. Each table is
printed as soon as it is measured, rank by rank. After M minutes (default 8) no further turn begins, and no further table:
what is skipped is named, and the captions say how many turns there were. The CPU rows are of this machine, with T threads.

throughput: an update is one rating of one pass, without validation. The figure of a fit is its median epoch, from
`history_`, without the first: the ratings are on the device before it, but kernels are loaded when they are first
launched. Hogwild is measured without biases, too, to show what they cost. On the device "blocked" is measured at the ranks
of --blocked-factors alone (default 64, as in quality), for the time it takes. The share is of the copy bandwidth, which is the bytes read and written by a large copy within the device (by
CuPy, timed by events, the best of ten): so many bytes as an update moves if nothing of it is in a cache, 4 k elements of
factors (two rows, read and written) and 8 of the rating, times updates per second. Caches serve a part of that, so that
it may exceed 100 %. PyTorch's is the same model, `nn.Embedding` factors and biases with the same penalties, by
mini-batches of ratings that are on the device; it is the rate of 30 batches in a row, whether or not such batches learn
well. The gradients of `nn.Embedding` are dense, as large as the model, unless it is asked for sparse ones. SGD is
measured both ways: with dense ones by PyTorch's fused optimizer, and with sparse ones by the usual one, as the fused one
does not take them. Adam is dense and fused: PyTorch's for sparse gradients is another algorithm.

recommend: n = 10 for N users drawn at random, by default all that have ratings; those they rated left out, from a fit of
one epoch on the generated ratings. The first call, which uploads the model, does not count. One row is within
`device_memory` of --recommend-memory bytes (default 750,000,000, little more than the model at k = 128 and what
everybody rated), one within 8 MiB more than its error says are needed at the least; without that parts are as large
as they are useful. PyTorch multiplies, masks and takes `topk`, by 4096
users; implicit's GPU model gets the same factors, and the item biases as one more of them. What agrees with the CPU's
answers in less than 99.5 % is named; its times are given all the same.

first: the seconds of the first `predict` (of 1000 pairs) and the first `recommend` (of 1000 users, n = 10) of a process
that has loaded a model of 10,000 x 5000, k = 64, and done nothing else on the device; both with CuPy's cache of
compiled kernels empty (CUPY_CACHE_DIR is a new folder) and once more with what that process has left there.

quality: the target is 0.5 % above the lowest validation RMSE of the CPU, over fits of E epochs for each E of --n-epochs
(default 4 8 16; schedules end with them). Each way of training tries each E, and stops as soon as it is there; the E of
the least seconds in epochs is its choice, and is what is repeated. A fit that diverges does not get there. "epochs" is the
sum of `history_`'s seconds up to that epoch, which include the validation; "whole fit" is the wall clock of `fit`, with
all preparation, transfers and the download. All of warpfactor's settings but E are at their defaults. PyTorch's are the
best of a small grid: SGD (with dense or sparse gradients, whichever made 30 batches faster) and Adam, batch sizes of
--torch-batch, a few learning rates and penalties, the same E, with the linear schedule of warpfactor; a run is stopped
when it takes longer than the best so far or than S seconds, and its "whole fit" counts the upload of the ratings. The
chosen settings are those that do best on the ratings that they are judged by, on every side.

Left out by default, for the time it takes: float64, ranks other than 32, 64 and 128, and more than two turns. What is not
installed is left out and named. `--device cpu --n-ratings 300000 --n-users 3000 --n-items 1000` tries the script without
a device.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import PLAIN_STEPS, heading, movielens_1m
from rich.console import Console
from rich.table import Table

import warpfactor as wf

HELD_OUT = 0.01
SLACK = 0.005
TOP = 10
AGREEING = 0.995
ITEM_BYTES = {"float16": 2, "float32": 4, "float64": 8}

# What PyTorch is tried with. SGD sums over a batch, as the estimator does, and its rate is the estimator's default for
# batches times these; penalties are the estimator's default times these. On MovieLens 100K (fold 1, k = 32, batches of
# 2048, 16 epochs) the best of them gave 0.919 with SGD and 0.927 with Adam, warpfactor at its defaults 0.920. Higher rates
# did worse or diverged. Initial factors of a standard deviation of 0.01 in place of 0.03 gave 0.921 and 0.926.
SGD_FACTORS = (1.0, 2.0)
ADAM_RATES = (0.003, 0.01)
PENALTY_FACTORS = (1.0, 2.0)
INIT = 0.03
# PyTorch's optimizer, and whether it gets sparse gradients.
TORCH = {"SGD": ("SGD", False), "sparse SGD": ("SGD", True), "Adam": ("Adam", False)}


class Way(NamedTuple):
    """Where and how warpfactor trains."""

    device: str
    dtype: str
    parallel: str
    biases: bool = True

    def __str__(self) -> str:
        without = "" if self.biases else ", no biases"
        return f"warpfactor, {self.device}, {self.dtype}, {self.parallel}{without}"


class Run(NamedTuple):
    """A training until its target: seconds are infinite if it did not get there."""

    epochs: float
    whole: float
    n_epochs: int
    rmse: float


class Peers(NamedTuple):
    """Other people's modules; None where they are not installed, or cannot use the device."""

    torch: Any
    cupy: Any
    implicit: Any


NOWHERE = Run(math.inf, math.inf, 0, math.inf)


class Timer:
    """Turns, as many as asked for, but none beyond the first after the time is up."""

    def __init__(self, console: Console, repeats: int, minutes: float) -> None:
        self._console, self._repeats = console, repeats
        self._until = time.perf_counter() + 60 * minutes

    def skips(self, what: str) -> bool:
        """Whether the time is up, so that this is left out; it is said."""
        if self.is_up:
            self._console.print(f"{what}: skipped, the time is up (--minutes)")
        return self.is_up

    def turns(self) -> Iterator[int]:
        for turn in range(self._repeats):
            if turn and self.is_up:
                return
            yield turn

    @property
    def is_up(self) -> bool:
        return time.perf_counter() > self._until


def find_peers(console: Console, on_cuda: bool) -> Peers:
    """Import what is installed, and say what is not."""
    found: dict[str, Any] = {}
    wanted = ["torch", "cupy", "implicit"] if on_cuda else ["torch"]
    for name in wanted:
        if importlib.util.find_spec(name) is None:
            console.print(f"{name} is not installed: left out")
            continue
        found[name] = importlib.import_module(name)
        reason = unusable(name, found[name]) if on_cuda else ""
        if reason:
            console.print(f"{name} {found.pop(name).__version__} is left out: {reason}")
        else:
            console.print(f"{name} {found[name].__version__}", highlight=False)
    if not on_cuda:
        console.print("the device is the CPU: no copy bandwidth, no CuPy, no implicit")
    return Peers(*(found.get(name) for name in Peers._fields))


def unusable(name: str, module: Any) -> str:
    """Say why a peer cannot use the device, or "" if it can."""
    if name == "torch" and not module.cuda.is_available():
        return "it finds no CUDA device"
    if name == "implicit":
        gpu = importlib.import_module("implicit.gpu")
        if not gpu.HAS_CUDA:
            return "it was built without CUDA, or finds no device"
    return ""


def netflix_shaped(options: argparse.Namespace) -> tuple[wf.Ratings, wf.Ratings]:
    """Generate ratings in random order, or take those that an earlier run kept."""
    shape = (options.n_users, options.n_items, options.n_ratings)
    names = ("users", "items", "values")
    if options.cache is not None and options.cache.exists():
        with np.load(options.cache) as arrays:
            kept = [arrays[name] for name in names]
            if tuple(arrays["shape"]) != shape:
                raise SystemExit(f"{options.cache} holds ratings of shape {tuple(arrays['shape'])}")
        users, items, values = kept
        ratings = wf.Ratings(users, items, values, np.arange(shape[0]), np.arange(shape[1]))
    else:
        made = wf.datasets.make_ratings(*shape, scale=(0.5, 5.0, 0.5), random_state=0).ratings
        ratings = made.take(np.random.default_rng(0).permutation(len(made)))
        if options.cache is not None:
            arrays = {name: getattr(ratings, name) for name in names}
            np.savez(options.cache, **arrays, shape=np.array(shape))
    n_test = max(1, int(HELD_OUT * len(ratings)))
    train, test = (
        wf.Ratings(
            ratings.users[part], ratings.items[part], ratings.values[part],
            ratings.user_ids, ratings.item_ids,
        )
        for part in (slice(n_test, None), slice(n_test))
    )  # fmt: skip
    return train, test


def copy_bandwidth(cupy: Any) -> float:
    """Return the bytes read and written in a second by the fastest of ten large copies."""
    free, _ = cupy.cuda.runtime.memGetInfo()
    size = min(4 << 30, free // 4)
    source, target = (cupy.zeros(size // 4, cupy.float32) for _ in range(2))
    seconds = []
    for _ in range(11):
        began, ended = cupy.cuda.Event(), cupy.cuda.Event()
        began.record()
        cupy.copyto(target, source)
        ended.record()
        ended.synchronize()
        seconds.append(cupy.cuda.get_elapsed_time(began, ended) / 1e3)
    del source, target
    cupy.get_default_memory_pool().free_all_blocks()
    return float(2 * size / min(seconds[1:]))


def estimator(way: Way, threads: int, **params: Any) -> wf.MatrixFactorization:
    """Make an unfitted model."""
    return wf.MatrixFactorization(
        device=way.device, dtype=way.dtype, parallel=way.parallel, biases=way.biases,
        n_threads=threads, random_state=0, verbose=0, **{**PLAIN_STEPS, **params},
    )  # fmt: skip


def ways_of(options: argparse.Namespace) -> list[Way]:
    """Return the CPU's way, and the device's."""
    storages = options.storage if options.device != "cpu" else ["float32"]
    own = [Way(options.device, *way) for way in itertools.product(storages, options.parallel)]
    cpu = Way("cpu", "float32", "blocked")
    return [cpu, *(way for way in own if way != cpu)]


# Throughput.


def updates_per_second(
    way: Way, train: wf.Ratings, k: int, timed_epochs: int, threads: int
) -> float:
    """Return the rate of the median epoch without the first, 0 if the fit diverges."""
    model = estimator(way, threads, n_factors=k, n_epochs=1 + timed_epochs)
    try:
        model.fit(train)
    except wf.DivergedError:
        return 0.0
    seconds = [record["seconds"] for record in model.history_]
    assert len(seconds) == 1 + timed_epochs
    return len(train) / statistics.median(seconds[1:])


def throughput(
    console: Console, train: wf.Ratings, peers: Peers, options: argparse.Namespace, timer: Timer
) -> None:
    """Print updates per second by storage and schedule, a table for each rank."""
    bandwidth = None if peers.cupy is None else copy_bandwidth(peers.cupy)
    if bandwidth is not None:
        console.print(f"a copy within the device: {bandwidth / 1e9:,.0f} GB/s read and written")
    for k in options.n_factors:
        if not timer.skips(f"throughput, k = {k}"):
            console.print(throughput_table(k, train, peers, options, timer, bandwidth))


def throughput_table(
    k: int, train: wf.Ratings, peers: Peers, options: argparse.Namespace, timer: Timer,
    bandwidth: float | None,
) -> Table:  # fmt: skip
    """Measure updates per second at one rank."""
    cpu, *own = ways_of(options)
    ways = [cpu]
    ways += [way for way in own if way.parallel != "blocked" or k in options.blocked_factors]
    ways += [way._replace(biases=False) for way in own if way.parallel == "hogwild"]
    peer_names = []
    if peers.torch is not None:
        peer_names = list(itertools.product(TORCH, options.torch_batch))
    rates: dict[Any, list[float]] = {row: [] for row in [*ways, *peer_names]}
    n_turns = 0
    for _ in timer.turns():
        n_turns += 1
        for way in ways:
            rate = updates_per_second(way, train, k, options.timed_epochs, options.threads)
            rates[way].append(rate)
        for name, batch in peer_names:
            rates[name, batch].append(
                TorchModel(peers.torch, train, options.device, k, name, batch).ratings_per_second()
            )
    caption = f"{options.threads} threads on the CPU, medians of alternating turns: {n_turns}"
    if peer_names:
        caption += "; PyTorch's gradients are dense and its optimizers fused, except sparse SGD"
    table = Table(
        "", "M updates/s", "least and most", "of copy bandwidth", "over the CPU's",
        title=f"{len(train):,} ratings, {train.n_users:,} x {train.n_items:,}, k = {k}",
        caption=caption,
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for row, found in rates.items():
        name = str(row) if isinstance(row, Way) else f"PyTorch {row[0]}, batches of {row[1]:,}"
        if min(found) == 0:
            table.add_row(name, "diverged")
            continue
        median = statistics.median(found)
        share, ratio = "", ""
        if isinstance(row, Way) and row.device != "cpu" and bandwidth is not None:
            per_update = 4 * k * ITEM_BYTES[row.dtype] + 8
            share = f"{median * per_update / bandwidth:.0%}"
        if min(rates[cpu]) > 0:
            ratios = [a / b for a, b in zip(found, rates[cpu], strict=True)]
            ratio = f"{statistics.median(ratios):.2f}"
        table.add_row(
            name, f"{median / 1e6:,.1f}", f"{min(found) / 1e6:,.1f} .. {max(found) / 1e6:,.1f}", share, ratio,
        )  # fmt: skip
    return table


# PyTorch.


class TorchModel:
    """The model that people write in PyTorch, and its training by mini-batches that are on the device.

    In standardized ratings: the sum over a batch of ½(z - x)² and of warpfactor's penalties, which
    count once per rating.
    """

    def __init__(
        self, torch: Any, train: wf.Ratings, device: str, k: int, optimizer: str, batch_size: int,
        *, rate: float | None = None, penalty: float = 1.0,
    ) -> None:  # fmt: skip
        began = time.perf_counter()
        defaults = wf.MatrixFactorization().get_params()
        kind, sparse = TORCH[optimizer]
        self._torch, self._batch_size = torch, min(batch_size, len(train))
        self._reg, self._reg_bias = (penalty * defaults[name] for name in ("reg", "reg_bias"))
        self._device = torch.device(device)
        self._mean, self._scale = float(train.values.mean()), float(train.values.std())
        self._users, self._items = self._codes(train)
        values = torch.as_tensor(train.values, device=self._device)
        self._z = (values - self._mean) / self._scale
        torch.manual_seed(0)
        self._parts = [
            torch.nn.Embedding(n, width, sparse=sparse, device=self._device)
            for width in (k, 1)
            for n in (train.n_users, train.n_items)
        ]
        for part, size in zip(self._parts, (0.1, 0.1, 0, 0), strict=True):
            torch.nn.init.normal_(part.weight, std=size) if size else torch.nn.init.zeros_(
                part.weight
            )
        if rate is None:
            rate = default_rate(train, batch_size) if kind == "SGD" else ADAM_RATES[0]
        self._rate = rate
        weights = [part.weight for part in self._parts]
        fused = None if sparse else True
        self._optimizer = getattr(torch.optim, kind)(weights, lr=rate, fused=fused)
        self._wait()
        self.upload_seconds = time.perf_counter() - began

    def _codes(self, ratings: wf.Ratings) -> Any:
        return tuple(
            self._torch.as_tensor(codes, device=self._device)
            for codes in (ratings.users, ratings.items)
        )

    def _wait(self) -> None:
        if self._device.type == "cuda":
            self._torch.cuda.synchronize()

    def _rows(self, users: Any, items: Any) -> tuple[Any, Any, Any, Any]:
        P, Q, bu, bi = self._parts
        return P(users), Q(items), bu(users)[:, 0], bi(items)[:, 0]

    def _step(self, batch: Any) -> None:
        p, q, a, b = self._rows(self._users[batch], self._items[batch])
        squares = (self._z[batch] - (p * q).sum(1) - a - b).square().sum()
        squares = squares + self._reg * (p.square().sum() + q.square().sum())
        squares = squares + self._reg_bias * (a.square().sum() + b.square().sum())
        self._optimizer.zero_grad(set_to_none=True)
        (squares / 2).backward()
        self._optimizer.step()

    def _batches(self) -> Iterator[Any]:
        order = self._torch.randperm(len(self._z), device=self._device)
        yield from order.split(self._batch_size)

    def ratings_per_second(self) -> float:
        """Return the rate of 30 batches in a row, after three more."""
        endless = itertools.chain.from_iterable(self._batches() for _ in itertools.count())
        for batch in itertools.islice(endless, 3):
            self._step(batch)
        self._wait()
        began, n = time.perf_counter(), 0
        for batch in itertools.islice(endless, 30):
            self._step(batch)
            n += len(batch)
        self._wait()
        return n / (time.perf_counter() - began)

    def train_until(self, test: wf.Ratings, target: float, n_epochs: int, limit: float) -> Run:
        """Train with a rate that falls to 0 over so many epochs, until the target or the limit of seconds."""
        users, items = self._codes(test)
        truth = self._torch.as_tensor(test.values, device=self._device)
        began = time.perf_counter()
        rmse, epoch = math.inf, 0
        for epoch in range(1, n_epochs + 1):
            for group in self._optimizer.param_groups:
                group["lr"] = self._rate * (1 - (epoch - 1) / n_epochs)
            for batch in self._batches():
                self._step(batch)
                if time.perf_counter() - began > limit:
                    return Run(math.inf, math.inf, epoch, rmse)
            rmse = self._error(users, items, truth)
            if rmse <= target or not math.isfinite(rmse):
                break
        seconds = time.perf_counter() - began
        if not rmse <= target:
            return Run(math.inf, math.inf, epoch, rmse)
        return Run(seconds, seconds + self.upload_seconds, epoch, rmse)

    def _error(self, users: Any, items: Any, truth: Any) -> float:
        total = self._torch.zeros((), dtype=self._torch.float64, device=self._device)
        with self._torch.no_grad():
            for part in range(0, len(truth), 1 << 20):
                at = slice(part, part + (1 << 20))
                p, q, a, b = self._rows(users[at], items[at])
                x = self._mean + self._scale * ((p * q).sum(1) + a + b)
                total += (truth[at] - x).double().square().sum()
        return float((total / len(truth)).sqrt())


def default_rate(train: wf.Ratings, batch_size: int) -> float:
    """Return the estimator's default learning rate for SGD in batches."""
    share = min(1.0, batch_size / len(train))
    busiest = sum(int(np.bincount(rows).max()) for rows in (train.users, train.items))
    return min(0.04, 1 / (share * busiest))


def best_of_torch(
    peers: Peers,
    train: wf.Ratings,
    test: wf.Ratings,
    target: float,
    options: argparse.Namespace,
    timer: Timer,
) -> tuple[str, Callable[[], Run] | None]:
    """Try the grid, while there is time; return the fastest settings that get there, and how to repeat them."""

    def rate_of(optimizer: str, batch: int) -> float:
        k = options.quality_factors
        model = TorchModel(peers.torch, train, options.device, k, optimizer, batch)
        return model.ratings_per_second()

    ways = []
    for batch in options.torch_batch:
        sgd = max(("SGD", "sparse SGD"), key=lambda optimizer: rate_of(optimizer, batch))
        sgd_rate = default_rate(train, batch)
        ways += [(sgd, batch, factor * sgd_rate) for factor in SGD_FACTORS]
        ways += [("Adam", batch, rate) for rate in ADAM_RATES]
    grid = [
        (*way, penalty, n_epochs)
        for way in ways
        for penalty in PENALTY_FACTORS
        for n_epochs in options.n_epochs
    ]

    def run(setting: tuple[str, int, float, float, int], limit: float = math.inf) -> Run:
        optimizer, batch, rate, penalty, n_epochs = setting
        model = TorchModel(
            peers.torch, train, options.device, options.quality_factors, optimizer, batch,
            rate=rate, penalty=penalty,
        )  # fmt: skip
        return model.train_until(test, target, n_epochs, limit)

    best, fastest, lowest, n_tried = None, math.inf, math.inf, 0
    for setting in grid:
        if timer.is_up:
            break
        n_tried += 1
        found = run(setting, limit=min(fastest, options.torch_seconds))
        lowest = min(lowest, found.rmse) if math.isfinite(found.rmse) else lowest
        if found.epochs < fastest:
            best, fastest = setting, found.epochs
    tried = f"{n_tried} of {len(grid)} settings tried"
    if best is None:
        label = f"PyTorch, for {options.torch_seconds:g} s at most: {lowest:.4f} at the lowest"
        return f"{label}, {tried}", None
    optimizer, batch, rate, penalty, n_epochs = best
    label = f"PyTorch {optimizer}, batches of {batch:,}, rate {rate:.3g}, penalties x {penalty:g}"
    return f"{label}, of {n_epochs} epochs; {tried}", functools.partial(run, best)


# Time to quality.


def train_until(
    way: Way, train: wf.Ratings, test: wf.Ratings, target: float, n_epochs: int, k: int, threads: int
) -> Run:  # fmt: skip
    """Fit until the validation RMSE is at the target; a fit that diverges does not get there."""
    model = estimator(
        way, threads, n_factors=k, n_epochs=n_epochs, early_stopping=False,
        callbacks=[lambda record: record["valid_rmse"] <= target],
    )  # fmt: skip
    began = time.perf_counter()
    try:
        model.fit(train, validation=test)
    except wf.DivergedError:
        return NOWHERE
    whole = time.perf_counter() - began
    last = model.history_[-1]
    if not last["valid_rmse"] <= target:
        return Run(math.inf, math.inf, last["epoch"], last["valid_rmse"])
    epochs = sum(record["seconds"] for record in model.history_)
    return Run(epochs, whole, last["epoch"], last["valid_rmse"])


def lowest_error(
    way: Way, train: wf.Ratings, test: wf.Ratings, n_epochs: int, k: int, threads: int
) -> float:
    """Return the lowest validation RMSE of a fit, infinite if it diverges."""
    model = estimator(way, threads, n_factors=k, n_epochs=n_epochs, early_stopping=False)
    try:
        model.fit(train, validation=test)
    except wf.DivergedError:
        return math.inf
    return min(record["valid_rmse"] for record in model.history_)


def quality(
    console: Console, name: str, train: wf.Ratings, test: wf.Ratings, peers: Peers,
    options: argparse.Namespace, timer: Timer,
) -> None:  # fmt: skip
    """Print the seconds until the validation RMSE is near the CPU's best."""
    k, threads = options.quality_factors, options.threads
    ways = ways_of(options)
    best = min(
        lowest_error(ways[0], train, test, n_epochs, k, threads) for n_epochs in options.n_epochs
    )
    if best == math.inf:
        console.print(
            f"quality, {name}: all of the CPU's fits diverged, so that there is no target"
        )
        return
    target = (1 + SLACK) * best
    contestants: list[tuple[str, Callable[[], Run] | None]] = []
    for way in ways:
        if way != ways[0] and timer.skips(f"quality, {name}, {way}"):
            continue
        tried = {
            n_epochs: train_until(way, train, test, target, n_epochs, k, threads)
            for n_epochs in options.n_epochs
        }
        chosen = min(tried, key=lambda n_epochs: tried[n_epochs].epochs)
        if tried[chosen].epochs == math.inf:
            lowest = min(run.rmse for run in tried.values())
            why = f"last RMSE {lowest:.4f} at the lowest" if lowest < math.inf else "all diverged"
            contestants.append((f"{way}: {why}", None))
            continue

        def again(way: Way = way, chosen: int = chosen) -> Run:
            return train_until(way, train, test, target, chosen, k, threads)

        contestants.append((f"{way}, of {chosen} epochs", again))
    if peers.torch is not None and not timer.skips(f"quality, {name}, PyTorch"):
        contestants.append(best_of_torch(peers, train, test, target, options, timer))

    runs: dict[str, list[Run]] = {label: [] for label, _ in contestants}
    n_turns = 0
    for _ in timer.turns():
        n_turns += 1
        for label, fit in contestants:
            if fit is not None:
                runs[label].append(fit())
    table = Table(
        "", "RMSE", "after epoch", "epochs, s", "whole fit, s", "least and most", "CPU's over it",
        title=f"{name}, {len(train):,} ratings, k = {k}: to a validation RMSE of {target:.4f}, the CPU's best "
        f"{best:.4f} + {SLACK:.1%}",
        caption=f"{threads} threads on the CPU, medians of alternating turns: {n_turns}",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    of_cpu = runs[contestants[0][0]]
    for label, _ in contestants:
        found = runs[label]
        if not found:
            table.add_row(label, "", "", "not reached")
            continue
        missed = sum(run.whole == math.inf for run in found)
        if missed:
            table.add_row(f"{label}: missed in {missed} of {n_turns} turns")
            continue
        whole = [run.whole for run in found]
        ratio = ""
        if all(run.whole < math.inf for run in of_cpu) and of_cpu:
            ratios = [a.whole / b for a, b in zip(of_cpu, whole, strict=True)]
            ratio = f"{statistics.median(ratios):.2f}"
        table.add_row(
            label, f"{found[-1].rmse:.4f}", str(found[-1].n_epochs),
            f"{statistics.median(run.epochs for run in found):.3f}", f"{statistics.median(whole):.3f}",
            f"{min(whole):.3f} .. {max(whole):.3f}", ratio,
        )  # fmt: skip
    console.print(table)


# Recommendations.


def torch_recommend(
    torch: Any, model: wf.MatrixFactorization, device: str, codes: np.ndarray
) -> Callable[[], np.ndarray]:
    """Return what recommends by a matrix product and topk, with all it needs on the device."""
    P, Q, bi = (
        torch.as_tensor(array, device=device)
        for array in (model.user_factors_, model.item_factors_, model.item_biases_)
    )
    known = torch.as_tensor(model.model_.item_known_, device=device)
    bi = torch.where(known, bi, -torch.inf)
    indptr, indices = (torch.as_tensor(array, device=device) for array in model.model_.seen_)
    wanted = torch.as_tensor(codes, device=device).long()

    def recommend() -> np.ndarray:
        found = []
        for users in wanted.split(4096):
            scores = torch.addmm(bi, P[users], Q.T)
            first, counts = indptr[users], indptr[users + 1] - indptr[users]
            rows = torch.repeat_interleave(torch.arange(len(users), device=device), counts)
            begin = torch.cumsum(counts, 0) - counts
            at = torch.arange(len(rows), device=device) - begin[rows] + first[rows]
            scores[rows, indices[at].long()] = -torch.inf
            found.append(scores.topk(TOP).indices)
        return np.asarray(torch.cat(found).cpu())

    return recommend


def implicit_recommend(
    implicit: Any, model: wf.MatrixFactorization, codes: np.ndarray
) -> Callable[[], np.ndarray]:
    """Return what recommends with implicit's GPU model of the same scores."""
    from scipy.sparse import csr_matrix

    gpu = importlib.import_module("implicit.gpu")
    als = importlib.import_module("implicit.gpu.als").AlternatingLeastSquares
    ones = np.ones((len(model.user_factors_), 1), np.float32)
    # Items without ratings are never to be recommended.
    biases = np.where(model.model_.item_known_, model.item_biases_, np.float32(-1e30))[:, None]
    other = als(factors=model.n_factors + 1)
    other.user_factors = gpu.Matrix(np.ascontiguousarray(np.c_[model.user_factors_, ones]))
    other.item_factors = gpu.Matrix(np.ascontiguousarray(np.c_[model.item_factors_, biases]))
    indptr, indices = model.model_.seen_
    seen = csr_matrix(
        (np.ones(len(indices), np.float32), indices, indptr),
        shape=(len(model.user_ids_), len(model.item_ids_)),
    )

    of_users = seen[codes]  # since version 0.5 it wants the rows of the users asked for

    def recommend() -> np.ndarray:
        ids, _ = other.recommend(codes, of_users, N=TOP, filter_already_liked_items=True)
        return np.asarray(ids)

    return recommend


def recommend(
    console: Console, train: wf.Ratings, peers: Peers, options: argparse.Namespace, timer: Timer
) -> None:
    """Print users per second, a table for each rank."""
    rated = np.unique(train.users)
    n_users = min(options.recommend_users or len(rated), len(rated))
    codes = np.random.default_rng(0).choice(rated, n_users, replace=False)
    for k in options.recommend_factors:
        if timer.skips(f"recommend, k = {k}"):
            continue
        model = estimator(
            Way("cpu", "float32", "blocked"), options.threads, n_factors=k, n_epochs=1
        )
        try:
            model.fit(train)
        except wf.DivergedError as error:
            console.print(f"recommend, k = {k}, is left out: {error}")
            continue
        console.print(recommend_table(console, model, codes, peers, options, timer))


def least_memory(call: Callable[[], Any]) -> int:
    """Return what a call that is given too little says it needs."""
    try:
        call()
    except wf.CudaError as error:
        said = re.search(r"needs at least ([\d,]+) bytes", str(error))
        if said:
            return int(said[1].replace(",", ""))
        raise
    raise RuntimeError("the call took nothing of the device")


def recommend_table(
    console: Console, model: wf.MatrixFactorization, codes: np.ndarray, peers: Peers,
    options: argparse.Namespace, timer: Timer,
) -> Table:  # fmt: skip
    """Measure users per second with one model."""
    ids = model.user_ids_[codes]

    def by_warpfactor(device: str, memory: int | None = None, **output: str) -> Any:
        model.set_params(device=device, device_memory=memory)
        found, _ = model.recommend(ids, n=TOP, **output)
        if output:
            importlib.import_module("cupy").cuda.runtime.deviceSynchronize()
        return found

    rows: dict[str, Callable[[], Any]] = {"warpfactor, cpu": lambda: by_warpfactor("cpu")}
    if options.device != "cpu":
        name = f"warpfactor, {options.device}"
        rows[name] = lambda: by_warpfactor(options.device)
        memory = options.recommend_memory
        rows[f"{name}, within {memory:,} bytes"] = lambda: by_warpfactor(options.device, memory)
        least = least_memory(lambda: by_warpfactor(options.device, 1)) + (8 << 20)
        rows[f"{name}, within {least:,} bytes"] = lambda: by_warpfactor(options.device, least)
        if peers.cupy is not None:
            rows[f"{name}, left on the device"] = lambda: by_warpfactor(
                options.device, output="cupy"
            )
    if peers.torch is not None:
        rows["PyTorch, product and topk"] = torch_recommend(
            peers.torch, model, options.device, codes
        )
    if peers.implicit is not None:
        rows["implicit, GPU"] = implicit_recommend(peers.implicit, model, codes)
    expected = rows["warpfactor, cpu"]()
    for name, run in list(rows.items()):
        try:
            found = run()  # the first call, which prepares
        except wf.CudaError as error:  # as where the budget is too small
            console.print(f"{name}, k = {model.n_factors}, is left out: {error}")
            del rows[name]
            continue
        found = found.get() if hasattr(found, "get") else found
        # The ids are the codes. Scores that differ by rounding alone may change places.
        agreeing = float((found == expected).mean())
        if not agreeing > AGREEING:
            console.print(f"{name}, k = {model.n_factors}: only {agreeing:.1%} as by the CPU")
    rates: dict[str, list[float]] = {name: [] for name in rows}
    n_turns = 0
    for _ in timer.turns():
        n_turns += 1
        for name, run in rows.items():
            began = time.perf_counter()
            run()
            rates[name].append(len(codes) / (time.perf_counter() - began))
    table = Table(
        "", "users/s", "least and most", "over the CPU's",
        title=f"{len(codes):,} users, {len(model.item_ids_):,} items, n = {TOP}, seen items left out, "
        f"k = {model.n_factors}",
        caption=f"{options.threads} threads on the CPU, medians of alternating turns: {n_turns}",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for name, found in rates.items():
        ratios = [a / b for a, b in zip(found, rates["warpfactor, cpu"], strict=True)]
        table.add_row(
            name, f"{statistics.median(found):,.0f}", f"{min(found):,.0f} .. {max(found):,.0f}",
            f"{statistics.median(ratios):.2f}",
        )  # fmt: skip
    return table


# A process of its own: its first predictions.
FIRST = """
import json, sys, time
import numpy as np
import warpfactor as wf
model = wf.load(sys.argv[1], sys.argv[2])
rng = np.random.default_rng(0)
X = np.column_stack([rng.choice(model.user_ids_, 1000), rng.choice(model.item_ids_, 1000)])
began = time.perf_counter()
model.predict(X)
predicted = time.perf_counter()
model.recommend(X[:, 0], n=10)
print(json.dumps([predicted - began, time.perf_counter() - predicted]))
"""


def first(console: Console, options: argparse.Namespace, timer: Timer) -> None:
    """Print what the first answers of a process take."""
    ratings = wf.datasets.make_ratings(10_000, 5000, 500_000, random_state=0).ratings
    model = estimator(Way("cpu", "float32", "blocked"), options.threads, n_factors=64, n_epochs=1)
    model.fit(ratings)
    found: dict[str, list[list[float]]] = {"empty": [], "filled": []}
    n_turns = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        model.save(path)
        for turn in timer.turns():
            n_turns += 1
            cache = Path(folder) / f"cache-{turn}"
            for times in found.values():
                command = [sys.executable, "-c", FIRST, str(path), options.device]
                environment = {**os.environ, "CUPY_CACHE_DIR": str(cache)}
                done = subprocess.run(
                    command, capture_output=True, text=True, env=environment, check=False
                )
                if done.returncode:
                    console.print(f"first answers are left out: {done.stderr.strip()[-300:]}")
                    return
                times.append(json.loads(done.stdout))
        n_compiled = sum(1 for each in cache.rglob("*") if each.is_file()) if cache.exists() else 0
    table = Table(
        "CuPy's cache", "predict, s", "recommend, s", "together, s", "least and most",
        title="The first answers of a process",
        caption=f"{options.device}; medians of {n_turns} processes each; kernels that CuPy compiled: {n_compiled}",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for state, times in found.items():
        both = [sum(each) for each in times]
        table.add_row(
            state, *(f"{statistics.median(each):.3f}" for each in zip(*times, strict=True)),
            f"{statistics.median(both):.3f}", f"{min(both):.3f} .. {max(both):.3f}",
        )  # fmt: skip
    console.print(table)


def warm_up(options: argparse.Namespace, peers: Peers) -> None:
    """Start the device, and load the modules that a first fit and a first step load."""
    few = wf.datasets.make_ratings(100, 50, 1000, random_state=0).ratings
    for way in ways_of(options):
        model = estimator(way, options.threads, n_factors=8, n_epochs=2).fit(few)
        model.recommend(model.user_ids_[:2])
    if peers.torch is not None:
        for name in TORCH:
            TorchModel(peers.torch, few, options.device, 8, name, 100).ratings_per_second()


def main() -> None:
    sections = ["throughput", "recommend", "first", "quality"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="+", choices=sections, default=sections)
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--n-ratings", type=int, default=100_000_000)
    parser.add_argument("--n-users", type=int, default=480_189)
    parser.add_argument("--n-items", type=int, default=17_770)
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--blocked-factors", type=int, nargs="+", default=[64])
    parser.add_argument("--quality-factors", type=int, default=64)
    parser.add_argument("--recommend-factors", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--recommend-users", type=int, help="default: all that have ratings")
    parser.add_argument("--recommend-memory", type=int, default=750_000_000)
    parser.add_argument("--n-epochs", type=int, nargs="+", default=[4, 8, 16])
    parser.add_argument("--timed-epochs", type=int, default=5)
    parser.add_argument(
        "--storage", nargs="+", choices=list(ITEM_BYTES), default=["float32", "float16"]
    )
    parser.add_argument("--parallel", nargs="+", default=["blocked", "hogwild"])
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--torch-batch", type=int, nargs="+", default=[1 << 14, 1 << 17])
    parser.add_argument("--torch-seconds", type=float, default=10.0)
    parser.add_argument("--cache", type=Path, help="file (.npz) of the generated ratings")
    options = parser.parse_args()
    if min(options.repeats, options.timed_epochs, *options.n_epochs) < 1:
        parser.error("--repeats, --timed-epochs and --n-epochs must be at least 1")

    console = Console(width=130)
    heading(console)
    config = wf.show_config("dicts")
    if options.device != "cpu" and not config["cuda_usable"]:
        raise SystemExit(f"CUDA is not usable: {config['cuda_reason']}")
    if options.device != "cpu" and wf._core.cuda_is_twin():
        console.print("a twin build: the host plays the device, and its times mean nothing")
    peers = find_peers(console, options.device != "cpu")
    timer = Timer(console, options.repeats, options.minutes)
    warm_up(options, peers)

    began = time.perf_counter()
    train, test = netflix_shaped(options)
    console.print(f"ratings made or loaded in {time.perf_counter() - began:.0f} s\n")
    if "throughput" in options.only and not timer.skips("throughput"):
        throughput(console, train, peers, options, timer)
    if "recommend" in options.only and not timer.skips("recommend"):
        recommend(console, train, peers, options, timer)
    if "first" in options.only and options.device != "cpu" and not timer.skips("first"):
        first(console, options, timer)
    if "quality" not in options.only:
        return
    if options.data is None or not (options.data / "ml-1m" / "ml-1m.npz").exists():
        console.print("MovieLens 1M was not found (--data, $WARPFACTOR_DATA): left out")
    elif not timer.skips("quality, ml-1m"):
        quality(console, "ml-1m", *movielens_1m(options.data), peers, options, timer)
    if not timer.skips("quality, generated"):
        quality(console, "generated", train, test, peers, options, timer)


if __name__ == "__main__":
    main()
