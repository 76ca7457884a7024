"""Splitters of ratings for cross-validation; see `warpfactor.evaluation.splitters`."""

from .evaluation.splitters import *
from .evaluation.splitters import __all__  # noqa: F401
