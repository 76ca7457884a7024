"""Errors of predicted ratings; see `warpfactor.evaluation.metrics`."""

from .evaluation.metrics import *
from .evaluation.metrics import __all__  # noqa: F401
