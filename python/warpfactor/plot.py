"""Figures of a model; see `warpfactor.report.plots`."""

from .report.plots import *
from .report.plots import __all__  # noqa: F401
