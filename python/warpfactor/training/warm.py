"""Where a fit with `warm_start` begins: at the rows of the model before."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import option
from ..data.ids import lookup_ids
from ..data.ratings import Ratings
from ..data.stored import StoredRatings
from ..model.model import Model
from ..parameters import PYTHON_NAMES

__all__ = ["First", "first_rows", "kept_choice"]

# What training chose before, and need not choose again.
_KEPT = ("reg", "reg_bias", "reg_row", "reg_bias_row", "reg_implicit", "implicit_feedback")


class First(NamedTuple):
    """What the core starts from, in the units of the ratings; None: what it chooses."""

    user_factors: NDArray[Any] | None
    item_factors: NDArray[Any] | None
    user_biases: NDArray[Any] | None = None
    item_biases: NDArray[Any] | None = None
    global_mean: float = 0.0


def first_rows(
    start: Model, ratings: Ratings | StoredRatings, core: _core.TrainParams, dtype: np.dtype[Any]
) -> First:
    """Return a model's rows in the order of the ratings' ids, zero for ids that it does not have."""
    k = start.user_factors_.shape[1]
    if start.n_members_ > 1:
        raise ValueError(
            "warm_start is True, and the model is the mean of several members: fit with warm_start=False"
        )
    if k != core["n_factors"]:
        raise ValueError(
            f"{option('n_factors')} is {core['n_factors']}; with warm_start=True it must be that of the "
            f"model that is gone on from, {k}, or fit with warm_start=False"
        )
    if start.has_biases_ != core["biases"]:
        raise ValueError(
            f"biases is {core['biases']}; with warm_start=True it must be that of the model that is gone "
            f"on from, {start.has_biases_}, or fit with warm_start=False"
        )

    def rows(side: str) -> tuple[NDArray[Any], NDArray[Any]]:
        ids = getattr(ratings, f"{side}_ids")
        at = lookup_ids(getattr(start, f"{side}_ids_"), ids, f"{side} ids")
        there = at >= 0
        factors = np.zeros((len(ids), k), dtype)
        factors[there] = getattr(start, f"{side}_factors_")[at[there]]
        biases = np.full(len(ids), start.start_bias_, dtype)
        biases[there] = getattr(start, f"{side}_biases_")[at[there]]
        return factors, biases

    (P, user_biases), (Q, item_biases) = rows("user"), rows("item")
    if not core["biases"]:
        return First(P, Q)
    return First(P, Q, user_biases, item_biases, start.global_mean_)


def kept_choice(start: Model, core: _core.TrainParams) -> dict[str, Any]:
    """Fill in what is left open with what was chosen for a model, and return that."""
    kept = {}
    for name in _KEPT:
        if core[name] in (None, "auto") and name in start.chosen_:
            value = kept[PYTHON_NAMES.get(name, name)] = start.chosen_[name]
            both = (
                name.startswith("reg") and name != "reg_implicit" and not isinstance(value, tuple)
            )
            core[name] = (value, value) if both else value
    return kept
