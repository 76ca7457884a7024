"""The estimator's parameters, checked, as the core takes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    in_words_of,
    is_number,
    option,
    where_typed,
)
from ..exceptions import CudaError, DivergedError
from ..formulas.losses import CustomLoss, CustomPenalty
from ..parameters import PARAMETERS, PYTHON_NAMES, Parameter
from ..seeds import seed_from
from ..serving.tables import UNKNOWN, parse_device
from .callbacks import check_callbacks

__all__ = ["core_params", "float_type", "in_python_words", "typed_words"]

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
        If one is invalid; the text names it, its value and what it must be. The core checks the ranges
        of real numbers, and what goes with what.
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
            f"{params['device']!r}, here the CPU, on which halves train no faster than floats: use "
            f"{option('dtype', 'float32')}, or {option('device', 'cuda')}"
        )
    core["half"] = half
    patience = params["early_stopping"]
    if not isinstance(patience, (bool, np.bool_)):
        core["patience"] = check_count("early_stopping", patience, 1)
    elif not patience:
        core["patience"] = 0
    check_callbacks(params["callbacks"])
    core["seed"] = seed_from(params["random_state"])
    with typed_words():
        _core.check_params(core, params["penalty"] is not None)
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


@contextmanager
def typed_words() -> Iterator[None]:
    """Word the core's errors as the parameters were typed: in Python or on the command line."""
    names = {row.core or row.name for row in PARAMETERS.values()}
    try:
        yield
    except DivergedError as error:
        raise DivergedError(in_words_of(names, str(error)), error.epoch) from None
    except (ValueError, CudaError) as error:
        told = in_python_words(str(error)).replace("buffer_bytes", option("buffer"))
        raise type(error)(in_words_of(names, told)) from None
    except MemoryError as error:
        # Of an allocation that failed there is no text worth showing.
        told = in_words_of(names, str(error)) if str(error).startswith("the fit takes") else ""
        raise MemoryError(told or "out of memory in the fit") from None


def in_python_words(text: str) -> str:
    """Call the core's parameters what Python calls them, in a text about several."""
    either = "|".join(map(re.escape, PYTHON_NAMES))
    return re.sub(rf"\b({either}) is ", lambda found: f"{PYTHON_NAMES[found[1]]} is ", text)
