"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | info``."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable

from .app import app
from .demo import demo
from .serve import evaluate, info, predict, recommend
from .train import train

__all__ = ["app", "main"]


def _help(command: Callable[..., None]) -> str:
    """Return a docstring with a line for each paragraph, which the terminal breaks as it is wide."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


for _command in (demo, train, evaluate, predict, recommend, info):
    app.command(help=_help(_command))(_command)


def main() -> None:
    """Run the command line on ``sys.argv``."""
    # NumPy's import starts threads and buffers of a BLAS that no command calls.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    app(prog_name="warpfactor")
