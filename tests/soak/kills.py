"""Kills fits with checkpoints, and saves, at random moments, and looks at what they left.

    python tests/soak/kills.py [KILLS]

Half of the kills hit fits: whatever is in the folder must be a whole checkpoint and nothing else, and
the fit that goes on from it must end with the bits of one that was never cut off. The other half hit
saves of two models in turn over one file: it must be one of the two, and nothing may lie beside it. The
workers are forks of this process, which take no time to start, so that the moments fall into the work.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import warpfactor as wf

ARRAYS = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
# What a fit remembers most of: momentum, prior means, validation, the copy of the best epoch.
PARAMS: dict[str, Any] = {
    "n_factors": 16,
    "n_epochs": 12,
    "momentum": 0.5,
    "reg": 0.02,
    "reg_row": 4.0,
    "init": 0.05,
    "random_state": 3,
    "verbose": 0,
}


def bits(model: Any) -> tuple[bytes, ...]:
    """Return all that two models must share to be one."""
    history = [{**record, "seconds": 0.0} for record in model.history_]
    return *(getattr(model, name).tobytes() for name in ARRAYS), repr(history).encode()


def killed(work: Callable[[], object], after: float) -> bool:
    """Run `work` in a fork and kill it after so many seconds; return whether it was still at it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def beside(path: Path) -> list[str]:
    """Return what lies in the folder beside a file."""
    return sorted(name for name in os.listdir(path.parent) if name != path.name)


def kill_fits(n: int, folder: Path, rng: random.Random) -> dict[str, int]:
    """Kill `n` fits; return what happened how often."""
    ratings = wf.datasets.make_ratings(400, 250, 12_000, random_state=5).ratings
    train, test = wf.train_test_split(ratings, 0.1, random_state=1)

    def fit(path: Path | None, **how: Any) -> Any:
        model = wf.MatrixFactorization(**PARAMS)
        return model.fit(train, validation=test, checkpoint=path, **how)

    wanted = bits(fit(None))
    path = folder / "fit.checkpoint"
    started = time.perf_counter()
    fit(path)
    seconds = time.perf_counter() - started
    told = {
        "killed": 0,
        "of them while going on": 0,
        "before the first checkpoint": 0,
        "left over": 0,
    }
    while told["killed"] < n:
        path.unlink(missing_ok=True)
        for attempt in range(2):
            how = {"resume": True} if attempt else {}
            hit = killed(lambda how=how: fit(path, **how), rng.uniform(0, seconds))
            seconds *= 1.05 if hit else 0.9  # how long a fit takes depends on what else runs
            told["killed"] += hit
            told["of them while going on"] += hit and attempt
            told["left over"] += len(beside(path))
            if path.exists():
                wf._core.checkpoint_facts(path)  # raises unless it is whole
            else:
                told["before the first checkpoint"] += hit
            if rng.random() < 0.5:
                break
        assert bits(fit(path, resume=True)) == wanted, "other bits than without a break"
        assert beside(path) == [], beside(path)
    return told


def kill_saves(n: int, folder: Path, rng: random.Random) -> dict[str, int]:
    """Kill `n` saves; return what happened how often."""
    ratings = wf.datasets.make_ratings(2_000, 1_000, 50_000, random_state=5).ratings
    both = [
        wf.MatrixFactorization(n_factors=32, n_epochs=1, reg=0.02, random_state=seed, verbose=0)
        .fit(ratings)
        .model_
        for seed in (1, 2)
    ]
    wanted = {bits(model) for model in both}
    path = folder / "model.safetensors"

    def save() -> None:
        while True:
            for model in both:
                model.save(path)

    told = {"killed": 0, "before the first save": 0, "left over": 0}
    for _ in range(n):
        if rng.random() < 0.2:
            path.unlink(missing_ok=True)
        told["killed"] += killed(save, rng.uniform(0, 0.1))
        told["left over"] += len(beside(path))
        if path.exists():
            assert bits(wf.load(path)) in wanted, "neither the one nor the other"
        else:
            told["before the first save"] += 1
        both[0].save(path)  # who writes next removes what is left
        assert beside(path) == [], beside(path)
    return told


def main() -> None:
    """Run it and print what happened."""
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork() in newer Pythons
    rng = random.Random(17)
    print(f"kill -9 at {n} random moments, warpfactor {wf.__version__}, NumPy {np.__version__}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        for name, kill in (("fits", kill_fits), ("saves", kill_saves)):
            part = Path(folder) / name
            part.mkdir()
            told = kill(n // 2, part, rng)
            print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in told.items()))
    print("each goes on to the same bits, no file was half, none is left over")


if __name__ == "__main__":
    main()
