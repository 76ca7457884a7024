"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | ...``."""

from __future__ import annotations

import os

from .app import app
from .convert import convert
from .demo import demo
from .peek import peek
from .recommend import recommend
from .serve import evaluate, info, predict
from .train import train
from .tune import tune

__all__ = [
    "app",
    "convert",
    "demo",
    "evaluate",
    "info",
    "main",
    "peek",
    "predict",
    "recommend",
    "train",
    "tune",
]


def main() -> None:
    """Run the command line on ``sys.argv``."""
    # NumPy's import starts threads and buffers of a BLAS that no command calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app(prog_name="warpfactor")
