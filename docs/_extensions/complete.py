# SPDX-License-Identifier: Apache-2.0
"""Warns of public names that the reference leaves out: of Python, of the command line and of C++."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.logging import getLogger

import warpfactor

ROOT = Path(__file__).parents[2]
log = getLogger(__name__)


def public_names() -> set[str]:
    """Every name of warpfactor's and its public modules' ``__all__``, and every public method."""
    names = set()
    modules: list[ModuleType] = [warpfactor, importlib.import_module("warpfactor.ray")]
    for module in modules:
        for name in module.__all__:
            found = getattr(module, name)
            if isinstance(found, ModuleType):
                modules.append(found)
            else:
                names.add(f"{module.__name__}.{name}")
    return names


def _check(app: Sphinx, env: BuildEnvironment) -> None:
    shown = set(env.domains["py"].objects)  # type: ignore[attr-defined]
    for name in sorted(public_names() - shown):
        log.warning("%s is public, and docs/reference/python.md does not list it", name)
    page = (Path(app.srcdir) / "reference" / "cpp.md").read_text(encoding="utf-8")
    for header in sorted((ROOT / "cpp" / "include" / "warpfactor").glob("*.hpp")):
        declares = "namespace warpfactor" in header.read_text(encoding="utf-8")
        if declares and f"doxygenfile}} {header.name}\n" not in page:
            log.warning("%s is public, and docs/reference/cpp.md does not list it", header.name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Check when all pages are read."""
    app.connect("env-check-consistency", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
