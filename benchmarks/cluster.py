"""warpfactor.ray on this machine: the bits, the error, the speed, killed workers; and a simulated cluster.

Generated ratings are fitted on one machine, and by one, two and four local workers of one thread each. The bits of the
factors must not differ, the test RMSE may differ from one machine's by 0.0005, and two workers should take an epoch in
1 / 1.6 of the time of one. Then workers are killed (SIGKILL) at random moments of fits, which must end with the same bits.

The simulation takes what was measured here, the speed of a thread and what a call costs, and works through the schedule
of the training of an epoch for a billion ratings, which is that of `warpfactor.ray`: each call when its worker is free, its
blocks of items have arrived, and the driver has told it. Blocks leave a node one after the other over a network of a
stated speed.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import threading
import time
from typing import Any

import numpy as np
from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf
from warpfactor import _core
from warpfactor.ray import RayTrainer
from warpfactor.ray import trainer as ray_trainer
from warpfactor.ray.schedule import Rounds, calls_of

ARRAYS = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")


def same_bits(one: Any, other: Any) -> bool:
    """Return whether two models are the same to the bit."""
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)


class Killer(wf.callbacks.Callback):
    """Kills one of the workers at some time after the first epoch has begun.

    Parameters
    ----------
    crews : list
        Of the fits; the last is the one that runs.
    seconds : float
        After which it kills.
    """

    def __init__(self, crews: list[Any], seconds: float) -> None:
        self.crews, self.seconds, self.killed = crews, seconds, False

    def on_train_begin(self, fit: wf.callbacks.Fit) -> None:
        """Start the clock."""
        import ray

        actor = random.choice(self.crews[-1].actors)
        self.pid = ray.get(actor.__ray_call__.remote(lambda worker: os.getpid()))
        self.timer = threading.Timer(self.seconds, self.kill)
        self.timer.start()

    def kill(self) -> None:
        """Kill the worker."""
        os.kill(self.pid, signal.SIGKILL)
        self.killed = True

    def on_train_end(self, model: wf.Model | None) -> None:
        """Stop the clock."""
        self.timer.cancel()


def simulated(
    n_nodes: int,
    n_ratings: float,
    cell_seconds: float,
    spread: float,
    block_bytes: float,
    bytes_per_second: float,
    step_seconds: float,
    call_seconds: float,
    blocks_per_node: int = 4,
    latency: float = 5e-3,
    epochs: int = 3,
) -> float:
    """Return the seconds of an epoch, of `n_nodes` nodes with as many blocks of users each."""
    n_blocks = n_nodes * blocks_per_node
    rng = np.random.default_rng(0)
    factors = np.clip(1 + spread * rng.standard_normal((n_blocks, n_blocks)), 0.2, None)
    free, link = np.zeros(n_nodes), np.zeros(n_nodes)
    arrived, told = np.zeros(n_blocks), 0.0
    for epoch in range(epochs):
        users, _, *cuts = _core.block_order(n_blocks, 0, epoch)
        rounds = Rounds(*cuts)
        n_steps = rounds.n_steps(n_blocks, n_nodes, int(n_ratings))
        told = max(told, free.max())  # the driver waits for the losses
        arrived[:] = told
        for call in calls_of(users, rounds, n_steps, lambda block: block // blocks_per_node):
            told += call_seconds
            node, turns = call.worker, call.turns()
            work = cell_seconds * factors[np.ix_(call.users(), turns)].sum() + step_seconds
            free[node] = end = max(free[node], arrived[turns].max(), told) + work
            link[node] = max(end, link[node]) + len(turns) * block_bytes / bytes_per_second
            arrived[turns] = link[node] + latency
    return float(free.max() / epochs)


def simulation(
    console: Console, per_second: float, step_seconds: float, call_seconds: float, spread: float
) -> None:
    """Print what the training of an epoch of a billion ratings would take."""
    n_items, threads = 1e6, 8
    table = Table(title="a million items, simulated: nodes of 8 threads, 4 blocks each")
    names = (
        "factors",
        "Gbit/s",
        "nodes",
        "ideal s",
        "s an epoch",
        "efficiency",
        "Gbit in",
        "M ratings for 0.8",
    )
    for name in names:
        table.add_column(name, justify="right")
    for factors, slower in ((32, 1.0), (128, 3.2)):
        row_bytes = 4 * (2 * factors + 1 + 4)  # factors, prior means, bias, pulls
        for gigabits in (10, 100):
            for nodes in (4, 16, 64):

                def epoch(
                    n_ratings, nodes=nodes, slower=slower, row_bytes=row_bytes, gigabits=gigabits
                ):
                    ideal = n_ratings * slower / (per_second * threads * nodes)
                    n_blocks = 4 * nodes
                    cell, block = ideal * nodes / n_blocks**2, n_items * row_bytes / n_blocks
                    network = block, gigabits * 1e9 / 8
                    costs = step_seconds, call_seconds
                    return ideal, simulated(nodes, n_ratings, cell, spread, *network, *costs)

                ideal, seconds = epoch(1e9)
                enough = 1e8
                while enough < 1e13 and epoch(enough)[0] < 0.8 * epoch(enough)[1]:
                    enough *= 2
                carried = n_items * row_bytes * 8 / 1e9
                table.add_row(
                    *map(str, (factors, gigabits, nodes, f"{ideal:.2f}", f"{seconds:.2f}")),
                    f"{ideal / seconds:.2f}",
                    f"{carried:.1f}",
                    f"{enough / 1e6:,.0f}",
                )
    console.print(table)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratings", type=float, default=20e6)
    parser.add_argument("--users", type=int, default=0, help="0: a hundredth of the ratings")
    parser.add_argument("--items", type=int, default=0, help="0: a five hundredth of the ratings")
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every", type=int, default=1, help="copy_every of the fits")
    parser.add_argument("--store", type=float, default=1.5, help="GiB of the object store")
    parser.add_argument("--implicit", default="auto", help="implicit_feedback of the fits")
    given = parser.parse_args()
    console = Console(width=120)
    heading(console)
    import ray

    n = int(given.ratings)
    shape = given.users or n // 100, given.items or n // 500
    made = wf.datasets.make_ratings(*shape, n, n_factors=8, random_state=0).ratings
    train, test = wf.train_test_split(made, test_size=0.05, random_state=0)
    del made
    console.print(
        f"{len(train):,} ratings of {shape[0]:,} users and {shape[1]:,} items, Ray {ray.__version__}"
    )
    ray.init(
        num_cpus=max([*given.workers, 4]),
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=int(given.store * 2**30),
    )

    def estimator(**options: Any) -> wf.MatrixFactorization:
        strengths = {
            "reg": 0.04,
            "reg_row": 8,
            "reg_implicit": 2,
        }  # given, so that no search blurs the times
        return wf.MatrixFactorization(
            **{
                "n_factors": given.factors,
                "n_epochs": given.epochs,
                "n_threads": 1,
                "random_state": 0,
                "verbose": 0,
            }
            | {"implicit_feedback": given.implicit}
            | strengths
            | options
        )

    def median_epoch(model: Any) -> float:
        return statistics.median(record["seconds"] for record in model.history_)

    def mean_epoch(model: Any) -> float:
        return statistics.fmean(record["seconds"] for record in model.history_)

    started = time.perf_counter()
    alone = estimator().fit(train)
    whole = time.perf_counter() - started
    error = wf.metrics.rmse(test.values, alone.predict(test))
    table = Table(title="fits")
    for name in (
        "workers",
        "s an epoch",
        "median",
        "times one worker",
        "s in all",
        "test RMSE",
        "less one machine's",
        "bits",
    ):
        table.add_column(name, justify="right")
    table.add_row(
        "one machine, 1 thread",
        f"{mean_epoch(alone):.2f}",
        f"{median_epoch(alone):.2f}",
        "",
        f"{whole:.1f}",
        f"{error:.5f}",
        "",
        "",
    )
    crews: list[Any] = []

    class Known(ray_trainer.RayCrew):
        """Can be found by who kills."""

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            crews.append(self)
            self.call_seconds: list[float] = []

        def call(self, *arguments: Any, **options: Any) -> Any:
            before = time.perf_counter()
            called = super().call(*arguments, **options)
            self.call_seconds.append(time.perf_counter() - before)
            return called

    ray_trainer.RayCrew = Known  # type: ignore[misc]
    fits: dict[int, Any] = {}
    for workers in given.workers:
        started = time.perf_counter()
        fits[workers] = RayTrainer(estimator(), num_workers=workers, copy_every=given.every).fit(
            train
        )
        whole = time.perf_counter() - started
        first = fits[given.workers[0]]
        now = wf.metrics.rmse(test.values, fits[workers].predict(test))
        times = mean_epoch(first) / mean_epoch(fits[workers])
        bits = "same" if same_bits(first, fits[workers]) else "OTHERS"
        each = mean_epoch(fits[workers]), median_epoch(fits[workers]), times
        seconds = *(f"{value:.2f}" for value in each), f"{whole:.1f}"
        table.add_row(str(workers), *seconds, f"{now:.5f}", f"{now - error:+.5f}", bits)
    console.print(table)

    n_same, n_killed = 0, 0
    seconds = sum(record["seconds"] for record in fits[given.workers[-1]].history_)
    random.seed(0)
    for _ in range(given.kills):
        killer = Killer(crews, random.uniform(0.02, 0.95) * seconds)
        model = RayTrainer(estimator(callbacks=[killer]), num_workers=2).fit(train)
        n_killed += killer.killed
        n_same += same_bits(model, fits[given.workers[0]])
    console.print(
        f"{n_killed} of {given.kills} fits lost a worker, {n_same} ended with the same bits"
    )

    # What calls cost: epochs of next to no ratings, five calls for each worker one after the other.
    tiny = wf.datasets.make_ratings(64, 64, 512, random_state=0).ratings
    small = RayTrainer(
        estimator(implicit_feedback="none", n_epochs=12), num_workers=2, num_blocks=16
    ).fit(tiny)
    step_seconds = median_epoch(small) / 5
    call_seconds = statistics.median(crews[-1].call_seconds)
    per_second = len(train) / median_epoch(alone)
    cells = np.random.default_rng(0).multinomial(len(train), np.full(64, 1 / 64))
    spread = max(0.02, float(cells.std() / cells.mean()))
    console.print(
        f"measured: {per_second / 1e6:.1f} M ratings/s of a thread with all that an epoch does, "
        f"{step_seconds * 1e3:.1f} ms a step, of which {call_seconds * 1e3:.2f} ms the driver's call; taken: cells differ by {spread:.0%}, 5 ms to the next node beside the transfer"
    )
    simulation(console, per_second, step_seconds, call_seconds, spread)


if __name__ == "__main__":
    main()
