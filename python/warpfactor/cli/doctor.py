"""``warpfactor doctor``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import _core
from .app import command
from .kinds import Names

if TYPE_CHECKING:
    from .installation import Package
    from .self_test import Check

__all__ = ["doctor"]

_WIDTH, _TEXT_COLUMN = 80, 21
_STATES = {True: "ok", False: "WRONG", None: "-"}


@command
@click.option(
    "--device",
    metavar="NAME",
    type=Names(("cpu", "cuda")),
    default="cpu",
    help="Try this device too: cuda, cuda:1. It is wrong if it cannot be used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON, to send to somebody.")
def doctor(device: str, as_json: bool) -> None:
    """Tell what is installed and what is missing, and try all of it.

    In a few seconds every set of kernels that this processor can run trains on 1, 2 and 3 threads, and a model
    is saved, loaded and asked, with answers that are known to the bit. Nothing is sent anywhere. The
    exit code is 1 if something is wrong; a missing extra or GPU is not.

    Example: warpfactor doctor
    """
    from .installation import all_checks, facts, required_packages

    started = time.perf_counter()
    if device == "auto":
        device = "cuda" if _core.cuda_status()[1] else "cpu"
    packages, told_facts = required_packages(), dict(facts())
    if not as_json:
        click.echo(f"warpfactor {_core.__version__}, {Path(__file__).parents[1]}")
        for name, text in told_facts.items():
            _print_row(name, text)
        _print_packages(packages)
        click.echo("\nself-test")
    tried: list[Check] = []
    for each in all_checks(packages, device):
        tried.append(each)
        if not as_json:
            _print_check(each)
    wrong = [each for each in tried if each.ok is False]
    seconds = time.perf_counter() - started
    if as_json:
        import json

        told = {
            "warpfactor": _core.__version__,
            "folder": str(Path(__file__).parents[1]),
            "facts": told_facts,
            "packages": [each._asdict() for each in packages or ()],
            "checks": [each._asdict() for each in tried],
            "seconds": round(seconds, 2),
            "ok": not wrong,
        }
        click.echo(json.dumps(told, indent=2))
    elif wrong:
        click.echo(f"\n{len(wrong)} of {len(tried)} checks went wrong ({seconds:.1f} s)")
    else:
        click.echo(f"\nall is well ({seconds:.1f} s)")
    if wrong:
        raise click.exceptions.Exit(1)


def _print_packages(packages: list[Package] | None) -> None:
    if packages is None:
        _print_row("packages", "not known: warpfactor runs from a folder that pip did not install")
        return
    _print_row("packages", ", ".join(each.told for each in packages if not each.extra))
    click.echo("\nextras")
    for extra in sorted({each.extra for each in packages if each.extra}):
        of_it = [each for each in packages if each.extra == extra]
        text = ", ".join(each.told for each in of_it)
        if not all(each.fits for each in of_it):
            text += f': pip install "warpfactor[{extra}]"'
        _print_row(extra, text)


def _print_check(check: Check) -> None:
    _print_row(check.name, f"{_STATES[check.ok]}: {check.found}")
    if check.fix:
        _print_row("", f"to do: {check.fix}")


def _print_row(name: str, text: str) -> None:
    import textwrap

    indent = " " * _TEXT_COLUMN
    wrapped = textwrap.wrap(
        text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False
    )
    click.echo(f"  {name:{_TEXT_COLUMN - 2}}" + f"\n{indent}".join(wrapped or [""]))
