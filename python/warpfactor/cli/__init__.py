"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | ...``."""

from __future__ import annotations

import os

from .app import app, run
from .compare import compare
from .completion import completion
from .config import config
from .convert import convert
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .fold_in import fold_in
from .peek import peek
from .recommend import recommend, similar
from .report import report
from .serve import info, predict
from .split import split
from .train import train
from .tune import tune

__all__ = [
    "app",
    "compare",
    "completion",
    "config",
    "convert",
    "demo",
    "doctor",
    "evaluate",
    "fold_in",
    "info",
    "main",
    "peek",
    "predict",
    "recommend",
    "report",
    "similar",
    "split",
    "train",
    "tune",
]


def main() -> None:
    """Run the command line on ``sys.argv``."""
    # NumPy's import starts threads and buffers of a BLAS that no command calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    run()
