"""Seeds in scikit-learn's forms: an int, a RandomState, a Generator or None."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from .checks import option, where_typed

__all__ = ["RandomState", "check_random_state", "generator_from", "seed_from"]

RandomState = int | np.random.RandomState | np.random.Generator | None


def check_random_state(random_state: Any) -> None:
    """Raise ValueError unless this is a seed."""
    if random_state is None or isinstance(
        random_state, (np.random.RandomState, np.random.Generator)
    ):
        return
    whole = isinstance(random_state, numbers.Integral) and not isinstance(random_state, bool)
    if not whole or not 0 <= random_state < 2**64:
        others = where_typed(", a RandomState, a Generator or None", "")
        raise ValueError(
            f"{option('random_state')} is {random_state!r:.80}; it must be an integer from 0 to 2**64 - 1"
            f"{others}"
        )


def generator_from(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator for a seed.

    A Generator is used as it is, a RandomState gives the seed and moves on, and None takes fresh
    entropy.

    Raises
    ------
    ValueError
        As `check_random_state`.
    """
    check_random_state(random_state)
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return np.random.default_rng(None if random_state is None else int(random_state))


def seed_from(random_state: RandomState) -> int:
    """Return an integer from 0 to 2**64 - 1 for a seed.

    An int is the seed itself; a Generator or a RandomState gives one and moves on. None takes it
    from NumPy's global state, which ``numpy.random.seed`` fixes, as scikit-learn does.

    Raises
    ------
    ValueError
        As `check_random_state`.
    """
    check_random_state(random_state)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**63))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**63 - 1, dtype=np.int64))
    if random_state is None:
        return int(np.random.randint(2**63 - 1, dtype=np.int64))
    return int(random_state)
