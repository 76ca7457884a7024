"""The estimator's parameters, checked, as the core takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from ..checks import (
    as_float,
    check_choice,
    check_count,
    check_flag,
    check_number,
    check_sides,
    is_number,
    option,
    where_typed,
)
from ..formulas.losses import CustomLoss, CustomPenalty
from ..parameters import PARAMETERS, Parameter
from ..seeds import seed_from
from ..serving.tables import UNKNOWN, parse_device
from .callbacks import check_callbacks

__all__ = ["core_params", "float_type"]

# What a check of one value by its row does not do.
_SPECIAL = ("loss", "init", "random_state", "early_stopping", "device")


def core_params(params: Mapping[str, Any]) -> _core.TrainParams:
    """Check parameters and convert them.

    Parameters
    ----------
    params : mapping
        All of the estimator's parameters by name.

    Raises
    ------
    ValueError
        If one is invalid; the text names it, its value and what it must be. What only the core
        knows (ranges of real numbers, what goes with what) is checked there.
    """
    core = _core.TrainParams()
    for row in PARAMETERS.values():
        if row.core and row.name not in _SPECIAL:
            value = _checked(row, params[row.name])
            if value is not None:
                core[row.core] = value
    check_choice("unknown", params["unknown"], UNKNOWN)
    core["loss"] = _loss(params["loss"])
    if params["penalty"] is not None and not isinstance(params["penalty"], CustomPenalty):
        raise ValueError(
            f"penalty is {params['penalty']!r:.80}; it must be None, or one that "
            "warpfactor.losses.penalty made"
        )
    if _is_open(params["init"]):
        pass
    elif is_number(params["init"]):
        scale = as_float("init", params["init"])
        if not 0 <= scale < math.inf:
            raise ValueError(
                f"{option('init')} is {params['init']!r:.80}; a scale must be finite and at least 0"
            )
        core["init_scale"] = scale
    elif not (isinstance(params["init"], (tuple, list)) and len(params["init"]) == 2):
        raise ValueError(
            f"init is {params['init']!r:.80}; it must be a scale of at least 0 or a pair of arrays "
            "(P, Q), or 'auto'"
        )
    on_cuda, index = parse_device(params["device"])
    core["device"], core["device_index"] = ("cuda" if on_cuda else "cpu"), index
    half = float_type(params["dtype"]) == np.float16
    if half and not on_cuda:
        raise ValueError(
            f"{option('dtype')} is 'float16', which is for CUDA devices, and {option('device')} is "
            f"{params['device']!r}, here the CPU: use {option('dtype', 'float32')}, or "
            f"{option('device', 'cuda')}"
        )
    core["half"] = half
    patience = params["early_stopping"]
    if not isinstance(patience, (bool, np.bool_)):
        core["patience"] = check_count("early_stopping", patience, 1)
    elif not patience:
        core["patience"] = 0
    check_callbacks(params["callbacks"])
    core["seed"] = seed_from(params["random_state"])
    return core


def float_type(dtype: Any) -> np.dtype[Any]:
    """Return the type of the factors; raise ValueError unless it is one of NumPy's three."""
    checked: np.dtype[Any]
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = np.dtype(object)
    if checked not in (np.float16, np.float32, np.float64):
        raise ValueError(
            f"{option('dtype')} is {dtype!r:.80}; it must be 'float32' or 'float64', or on a CUDA device 'float16'"
        )
    return checked


def _checked(row: Parameter, value: Any) -> Any:
    if row.none and _is_open(value):
        return None
    match row.kind:
        case "int":
            low, high = int(row.low or 0), 2**31 - 1 if row.high is None else int(row.high)
            return check_count(row.name, value, low, high)
        case "float":
            return check_number(row.name, value)
        case "flag":
            return check_flag(row.name, value)
        case "pair":
            return check_sides(row.name, value)
        case "choice":
            return check_choice(row.name, value, row.choices)
    return value


def _is_open(value: Any) -> bool:
    """Whether a value leaves the choice to training."""
    return value is None or (isinstance(value, str) and value == "auto")


def _loss(loss: Any) -> str:
    if isinstance(loss, CustomLoss):
        return "custom"
    names = [name for name in PARAMETERS["loss"].choices if name != "custom"]
    custom = where_typed(", or one that warpfactor.losses.custom made", "")
    return check_choice("loss", loss, names, also=custom)
