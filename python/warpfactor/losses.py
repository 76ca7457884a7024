"""Losses and penalties of your own; see `warpfactor.formulas.losses`."""

from .formulas.losses import *
from .formulas.losses import __all__  # noqa: F401
