"""The table of parameters, which the estimator checks by and the command line is made from.

The core's table is the source (`warpfactor/params.hpp`). Here are its rows by the estimator's
names, and the few parameters that the core does not know. Nothing is imported that ``--help`` would
have to wait for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from . import _core

__all__ = ["DEFAULTS", "N_LISTED", "PARAMETERS", "PYTHON_NAMES", "Parameter"]

# How many items a list of recommendations or of similar items has.
N_LISTED = 10

Kind = Literal["int", "float", "flag", "choice", "pair", "object"]


class Parameter(NamedTuple):
    """One parameter of `MatrixFactorization`."""

    name: str
    kind: Kind
    default: Any
    help: str = ""  # of the command line; empty: it has no such option
    option: str = ""  # its name there, if it differs
    core: str = ""  # its name in the core; empty: the core has no such parameter
    low: float | None = None
    high: float | None = None
    none: bool = False  # whether None is allowed, and means what is said in the docstring
    choices: tuple[str, ...] = ()


# Where the names differ. The command line keeps the core's.
PYTHON_NAMES = {"init_scale": "init", "seed": "random_state", "patience": "early_stopping"}
# Half precision is a `dtype` for users, and the number is a part of the device's name.
_HIDDEN = ("half", "device_index")
# For which the core takes 0 where users leave them out.
_ZERO_IS_NONE = ("batch_size", "device_memory", "n_threads")

# What is said beside the core's choices.
_CHOICES = {"device": ("cpu", "cuda", "cuda:1", "auto")}

_OWN = (
    Parameter("penalty", "object", None, none=True),
    Parameter(
        "dtype",
        "choice",
        "float32",
        "Type of the factors (float16 with cuda).",
        choices=("float32", "float64", "float16"),
    ),
    Parameter(
        "unknown",
        "choice",
        "mean",
        "What the model predicts for unknown users and items.",
        choices=("mean", "nan", "raise"),
    ),
    Parameter("warm_start", "flag", False),
    Parameter("validation_fraction", "object", None, none=True),
    Parameter(
        "refit",
        "flag",
        False,
        "Whether to train again on all ratings, those held out for early stopping too, for as many "
        "epochs as it found.",
    ),
    Parameter("verbose", "object", 1),
    Parameter("callbacks", "object", ()),
)


def _from_core(row: Mapping[str, Any]) -> Parameter:
    core = row["name"]
    zero_is_none = core in _ZERO_IS_NONE
    default = row["default"]
    if isinstance(default, tuple) and default[0] == default[1]:
        default = default[0]
    return Parameter(
        name=PYTHON_NAMES.get(core, core),
        kind=row["kind"],
        default=None if zero_is_none else default,
        help=row["help"],
        option=core if core in PYTHON_NAMES else "",
        core=core,
        low=1 if zero_is_none else row["low"],
        high=row["high"],
        none=zero_is_none or row["optional"],
        choices=_CHOICES.get(core) or tuple(row["choices"]),
    )


PARAMETERS: dict[str, Parameter] = {
    parameter.name: parameter
    for parameter in (
        *(_from_core(row) for row in _core.parameters() if row["name"] not in _HIDDEN),
        *_OWN,
    )
}
# An int for `early_stopping` is a number of epochs, and True is the usual one. None for a seed is
# a new one each time.
DEFAULTS: dict[str, Any] = {name: row.default for name, row in PARAMETERS.items()} | {
    "early_stopping": True,
    "random_state": None,
}
