"""What this installation of warpfactor is made of, and what of it is missing."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from typing import NamedTuple

from .. import _core
from ..checks import in_words_of
from .self_test import Check, checks

__all__ = ["Package", "all_checks", "facts", "required_packages"]

# What needs NumPy is imported where it is used: that it is missing is to be told, not to end this.

# Extras for those who work on warpfactor itself.
_NOT_FOR_USERS = ("bench", "dev", "docs", "test")


class Package(NamedTuple):
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


def facts() -> Iterator[tuple[str, str]]:
    """Yield what this machine and process are, by name."""
    yield "python", f"{platform.python_version()} ({sys.implementation.name}), {sys.executable}"
    yield "system", f"{platform.platform()}, {platform.machine()}"
    n_threads, there = _core.available_threads(), os.cpu_count() or 1
    limited = "" if n_threads == there else f" of {there}: affinity or the container allows no more"
    yield "threads", f"{n_threads}{limited}"
    try:
        chosen = _core.instruction_set()
    except ValueError as error:
        chosen = str(error)
    forced = ", forced by WARPFACTOR_ISA" if os.environ.get("WARPFACTOR_ISA") else ""
    yield "kernels", f"{chosen}{forced}; built: {', '.join(_core.built_instruction_sets())}"
    left, limit = _core.available_memory()
    yield "memory", "not known here" if left < 0 else f"{_core.bytes_text(left)} left ({limit})"
    yield from _of_gpu()


def _of_gpu() -> Iterator[tuple[str, str]]:
    """Yield whether training and answering on a GPU would work, and what to do where not."""
    built, usable, reason = _core.cuda_status()
    card = os.path.exists("/proc/driver/nvidia") or shutil.which("nvidia-smi") is not None
    yield "NVIDIA GPU", "its driver is here" if card else "no driver of one is here"
    told = "built and usable" if usable else in_words_of(("device",), reason)
    yield "CUDA", f"{told}" if usable or not built else f"built; {told}"
    try:
        from ..exchange import cupy_status
    except ImportError as error:
        yield "CuPy", f"not known: {error}"
        return
    version, problem = cupy_status()
    yield "CuPy", version or problem


def required_packages() -> list[Package] | None:
    """Return what warpfactor's metadata asks for; None where there is none, as in a source tree."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        required = requires("warpfactor") or []
    except PackageNotFoundError:
        return None
    packages: list[Package] = []
    nested: list[tuple[str, str]] = []  # an extra, and another that it brings
    for text in required:
        name = re.match(r"[\w.-]+", text)
        least = re.search(r">=\s*([\w.]+)", text)
        extra = re.search(r"""extra\s*==\s*['"]([\w-]+)""", text)
        of = extra[1] if extra else ""
        if name is None or of in _NOT_FOR_USERS or not _is_for_this_machine(text):
            continue
        if _core.cuda_source == "built in" and (of == "gpu" or name[0] == "warpfactor-cuda"):
            continue  # the extra cupy is all that such a build lacks
        if name[0] == "warpfactor":
            brought = re.search(r"\[([^]]*)\]", text)
            nested += [(of, other.strip()) for other in (brought[1] if brought else "").split(",")]
            continue
        try:
            found = version(name[0])
        except PackageNotFoundError:
            found = ""
        packages.append(Package(name[0], least[1] if least else "", found, of))
    for of, other in nested:
        packages += [each._replace(extra=of) for each in packages if each.extra == other]
    return packages


def _is_for_this_machine(requirement: str) -> bool:
    """Whether a requirement's system and machine, where it names them, are these."""
    here = {"sys_platform": sys.platform, "platform_machine": platform.machine()}
    named = re.findall(r"""(sys_platform|platform_machine)\s*(==|!=)\s*['"]([^'"]*)""", requirement)
    return all((here[of] == value) == (sign == "==") for of, sign, value in named)


def _device_check(device: str) -> Iterator[Check]:
    """Check that a device can be used that was asked for."""
    if device == "cpu":
        return
    from ..exchange import cupy_status
    from ..serving.tables import parse_device

    parse_device(device)  # a name that is none is a mistake, and not what is wrong here
    _, usable, reason = _core.cuda_status()
    _, problem = cupy_status()
    if not usable:
        yield Check("device", False, in_words_of(("device",), reason))
    elif problem and not _core.cuda_is_twin():
        yield Check("device", False, problem)


def all_checks(required: list[Package] | None, device: str) -> Iterator[Check]:
    """Yield all checks, each when it is done; `required` is of `required_packages`."""
    missing = [each for each in required or () if not each.extra and not each.fits]
    if missing:
        wanted = " ".join(f'"{each.name}>={each.least}"' for each in missing)
        said = ", ".join(each.told for each in missing)
        yield Check("packages", False, said, f"pip install {wanted}")
        return  # nothing can run
    try:
        _core.instruction_set()
    except ValueError as error:
        yield Check("WARPFACTOR_ISA", False, str(error), "unset WARPFACTOR_ISA")
        return  # nothing can run
    of_device = list(_device_check(device))
    yield from of_device
    yield from checks(_core.built_instruction_sets(), "cpu" if of_device else device)
