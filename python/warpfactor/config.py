"""What this installation can do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from . import _core
from .exchange import cupy_status

__all__ = ["TrainingSpeed", "measure_training", "show_config"]


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Show the version, the instruction set in use and those built, the threads, and CUDA's state.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print the configuration, or return it.

    Returns
    -------
    dict or None
        With ``mode="dicts"``: ``version``, ``instruction_set`` (of answers),
        ``instruction_set_reason`` (why that, and which one training takes where it is another),
        ``built_instruction_sets``, ``n_threads`` (the processors this process may use), ``cuda_built``,
        ``cuda_source`` ("built in", the wheel's name and version, or "none"), ``cuda_usable``,
        ``cuda_reason`` (why CUDA is not usable, and what to do; empty if it is) and ``cupy`` (its
        version, or why it is missing, and what to do: predictions on a CUDA device need it).

    Raises
    ------
    ValueError
        If `mode` is another, or the variable WARPFACTOR_ISA names an instruction set that this
        build or processor lacks.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode is {mode!r:.80}; it must be 'stdout' or 'dicts'")
    built, usable, reason = _core.cuda_status()
    cupy_version, cupy_problem = cupy_status()
    config = {
        "version": _core.__version__,
        "instruction_set": _core.instruction_set(),
        "instruction_set_reason": _core.instruction_set_reason(),
        "built_instruction_sets": _core.built_instruction_sets(),
        "n_threads": _core.available_threads(),
        "cuda_built": built,
        "cuda_source": _core.cuda_source,
        "cuda_usable": usable,
        "cuda_reason": reason,
        "cupy": cupy_version or cupy_problem,
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        text = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name + ':':<24}{text}\n")
    return None


class TrainingSpeed(NamedTuple):
    """How fast one instruction set trains one rank here.

    Parameters
    ----------
    n_factors : int
        The rank.
    instruction_set : str
        What was forced.
    updates_per_second : float
        Ratings of an epoch per second, of the fastest of its epochs.
    chosen : bool
        Whether training takes it at this rank by itself.
    """

    n_factors: int
    instruction_set: str
    updates_per_second: float
    chosen: bool


# In a process of its own: the choice is made once in a process. The ratings have no structure, which speed does not see.
_MEASURE = """
import json, sys
import numpy as np
import warpfactor as wf
from warpfactor import _core
n, ranks = int(sys.argv[1]), json.loads(sys.argv[2])
rng = np.random.default_rng(0)
users, items = rng.integers(0, n // 128, n), (rng.random(n) ** 3 * (n // 800)).astype(np.int64)
ratings = wf.Ratings.from_arrays(users, items, rng.random(n, np.float32))
speeds = []
for k in ranks:
    model = wf.MatrixFactorization(k, n_epochs=6, verbose=0, random_state=0, parallel="blocked", learning_rate=0.04,
        reg=0.04, reg_bias=0.05, reg_row=0, reg_bias_row=0, init=0.01, implicit_feedback="none")
    model.fit(ratings)
    speeds.append(n / min(epoch["seconds"] for epoch in model.history_))
print(json.dumps(speeds))
"""


def measure_training(
    n_factors: Sequence[int] = (32, 64, 128), n_ratings: int = 2_000_000
) -> list[TrainingSpeed]:
    """Measure which instruction set trains fastest on this processor.

    The choice itself does not depend on it: it goes by the kind of processor, so that the bits of a
    model do not change from run to run. Where another one wins by more than the spread of repeated
    measurements, the environment variable WARPFACTOR_ISA forces it; please report it, too.

    Parameters
    ----------
    n_factors : sequence of int, default (32, 64, 128)
        The ranks.
    n_ratings : int, default 2,000,000
        Generated ratings of an epoch. Six epochs are trained at each rank with each instruction
        set, in a process of its own, with all threads: a few seconds in all.

    Returns
    -------
    list of TrainingSpeed
        By rank, and by instruction set from the narrowest on.
    """
    speeds: dict[str, list[float]] = {}
    for isa in _core.usable_instruction_sets():
        done = subprocess.run(
            [sys.executable, "-P", "-c", _MEASURE, str(n_ratings), json.dumps(list(n_factors))],
            env={**os.environ, "WARPFACTOR_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise OSError(f"the process that measures {isa} failed: {done.stderr[-500:]}")
        speeds[isa] = json.loads(done.stdout)
    return [
        TrainingSpeed(k, isa, of_ranks[at], isa == _core.training_instruction_set(k))
        for at, k in enumerate(n_factors)
        for isa, of_ranks in speeds.items()
    ]
