"""Seeds in scikit-learn's forms: an int, a RandomState, a Generator or None."""

from __future__ import annotations

import numpy as np

__all__ = ["RandomState", "generator_from"]

RandomState = int | np.random.RandomState | np.random.Generator | None


def generator_from(random_state: RandomState) -> np.random.Generator:
    """Return a NumPy Generator for a scikit-learn style seed.

    A Generator is used as it is, a RandomState gives the seed and moves on, and None takes fresh
    entropy.

    Raises
    ------
    ValueError
        If it is none of these, or a negative integer.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    is_seed = isinstance(random_state, (int, np.integer)) and random_state >= 0
    if random_state is not None and not is_seed:
        raise ValueError(
            f"random_state is {random_state!r}, must be None, an integer of at least 0, a "
            "RandomState or a Generator"
        )
    return np.random.default_rng(random_state)
