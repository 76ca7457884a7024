"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | info``."""

from __future__ import annotations

from .app import app
from .demo import demo
from .serve import evaluate, info, predict, recommend
from .train import train

__all__ = ["app", "main"]

for _command in (demo, train, evaluate, predict, recommend, info):
    app.command()(_command)


def main() -> None:
    """Run the command line on ``sys.argv``."""
    app(prog_name="warpfactor")
