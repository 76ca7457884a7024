"""Generated ratings; see `warpfactor.data.synthetic`."""

from .data.synthetic import *
from .data.synthetic import __all__  # noqa: F401
