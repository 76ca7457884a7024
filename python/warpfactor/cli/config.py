"""``warpfactor config``."""

from __future__ import annotations

import os

import click

from .app import command

__all__ = ["config"]


@command
@click.option(
    "--measure",
    is_flag=True,
    help="Also measure how fast each instruction set trains on this processor; some seconds.",
)
def config(measure: bool) -> None:
    """Show the version, the instruction sets, the threads and CUDA's state.

    Which instruction set trains is chosen by the kind of processor and the number of factors, and
    is the same in every run. --measure shows whether that is the fastest one here; the environment
    variable WARPFACTOR_ISA forces another.

    Example: warpfactor config --measure
    """
    from ..config import measure_training, show_config

    show_config()
    if not measure:
        return
    click.echo("\nn_factors  instruction set  M updates/s")
    for speed in measure_training():
        word = "forced" if os.environ.get("WARPFACTOR_ISA") else "chosen"
        chosen = f"  ({word})" if speed.chosen else ""
        updates = speed.updates_per_second / 1e6
        click.echo(f"{speed.n_factors:>9}  {speed.instruction_set:<15}  {updates:>11.1f}{chosen}")
