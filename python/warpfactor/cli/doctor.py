"""``warpfactor doctor``."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from .. import _core
from .app import command
from .kinds import Names

if TYPE_CHECKING:
    from .self_test import Check

__all__ = ["doctor"]

_WIDTH, _TEXT_COLUMN = 80, 21
# Extras for those who work on warpfactor itself.
_NOT_FOR_USERS = ("bench", "dev", "docs", "test")
_STATES = {True: "ok", False: "WRONG", None: "-"}


class _Package(NamedTuple):
    """A package that warpfactor asks for."""

    name: str
    least: str  # version
    found: str  # version; empty: it is not installed
    extra: str  # the extra that brings it; empty: it is always needed

    @property
    def fits(self) -> bool:
        return bool(self.found) and _numbers(self.found) >= _numbers(self.least)

    @property
    def told(self) -> str:
        if not self.found:
            return f"{self.name} is missing"
        return f"{self.name} {self.found}" + ("" if self.fits else f" is older than {self.least}")


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers with which a version begins, to compare it with another."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


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
    started = time.perf_counter()
    if device == "auto":
        device = "cuda" if _core.cuda_status()[1] else "cpu"
    device_check = list(_device_check(device))
    packages = _packages()
    facts = dict(_facts())
    if not as_json:
        click.echo(f"warpfactor {_core.__version__}, {Path(__file__).parents[1]}")
        _print_facts(facts)
        _print_packages(packages)
        click.echo("\nself-test")
    tried: list[Check] = []
    for each in _all_checks(packages, device_check, device):
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
            "facts": facts,
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


def _facts() -> Iterator[tuple[str, str]]:
    """Yield what this machine and process are, by name."""
    import platform

    yield "python", f"{platform.python_version()} ({sys.implementation.name}), {sys.executable}"
    yield "system", f"{platform.platform()}, {platform.machine()}"
    n_threads, there = _core.available_threads(), os.cpu_count() or 1
    limited = "" if n_threads == there else f" of {there}: affinity or the container allows no more"
    yield "threads", f"{n_threads}{limited}"
    forced = os.environ.get("WARPFACTOR_ISA")
    try:
        chosen = _core.instruction_set() + (", forced by WARPFACTOR_ISA" if forced else "")
    except ValueError as error:
        chosen = str(error)
    yield "kernels", f"{chosen}; built: {', '.join(_core.built_instruction_sets())}"
    left, limit = _core.available_memory()
    yield "memory", "not known here" if left < 0 else f"{_core.bytes_text(left)} left ({limit})"
    yield from _of_gpu()


def _of_gpu() -> Iterator[tuple[str, str]]:
    """Yield whether training and answering on a GPU would work, and what to do where not."""
    import shutil

    from ..checks import in_words_of
    from ..exchange import cupy_status

    built, usable, reason = _core.cuda_status()
    card = os.path.exists("/proc/driver/nvidia") or shutil.which("nvidia-smi") is not None
    yield "NVIDIA GPU", "its driver is here" if card else "no driver of one is here"
    told = "built and usable" if usable else in_words_of(("device",), reason)
    yield "CUDA", f"{told}" if usable or not built else f"built; {told}"
    version, problem = cupy_status()
    yield "CuPy", version or problem


def _packages() -> list[_Package] | None:
    """Return what warpfactor's metadata asks for; None where there is none, as in a source tree."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        required = requires("warpfactor") or []
    except PackageNotFoundError:
        return None
    packages = []
    for text in required:
        name = re.match(r"[\w.-]+", text)
        least = re.search(r">=\s*([\w.]+)", text)
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)""", text)
        if name is None or (extra and extra[1] in _NOT_FOR_USERS):
            continue
        try:
            found = version(name[0])
        except PackageNotFoundError:
            found = ""
        packages.append(
            _Package(name[0], least[1] if least else "", found, extra[1] if extra else "")
        )
    return packages


def _print_facts(facts: Mapping[str, str]) -> None:
    for name, text in facts.items():
        _print_row(name, text)


def _print_packages(packages: list[_Package] | None) -> None:
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


def _device_check(device: str) -> Iterator[Check]:
    """Check that a device can be used that was asked for."""
    if device == "cpu":
        return
    from ..checks import in_words_of
    from ..exchange import cupy_status
    from ..serving.tables import parse_device
    from .self_test import Check

    parse_device(device)  # a name that is none is a mistake, and not what is wrong here
    _, usable, reason = _core.cuda_status()
    _, problem = cupy_status()
    if not usable:
        yield Check("device", False, in_words_of(("device",), reason))
    elif problem and not _core.cuda_is_twin():
        yield Check("device", False, problem)


def _all_checks(
    packages: list[_Package] | None, of_device: list[Check], device: str
) -> Iterator[Check]:
    """Yield all checks, each when it is done."""
    from .self_test import Check, checks

    missing = [each for each in packages or () if not each.extra and not each.fits]
    if missing:
        wanted = " ".join(f'"{each.name}>={each.least}"' for each in missing)
        said = ", ".join(each.told for each in missing)
        yield Check("packages", False, said, f"pip install {wanted}")
        return  # nothing can run
    yield from of_device
    try:
        _core.instruction_set()
    except ValueError as error:
        yield Check("WARPFACTOR_ISA", False, str(error), "unset WARPFACTOR_ISA")
        return  # nothing can run
    yield from checks(_core.built_instruction_sets(), "cpu" if of_device else device)
