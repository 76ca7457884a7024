"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | info``."""

from __future__ import annotations

import os

from .app import app
from .demo import demo
from .recommend import recommend
from .serve import evaluate, info, predict
from .train import train

__all__ = ["app", "demo", "evaluate", "info", "main", "predict", "recommend", "train"]


def main() -> None:
    """Run the command line on ``sys.argv``."""
    # NumPy's import starts threads and buffers of a BLAS that no command calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app(prog_name="warpfactor")
