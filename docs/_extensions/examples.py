# SPDX-License-Identifier: Apache-2.0
"""Runs the examples of the docstrings that the reference shows, and counts all that were run.

Cells of pages are run by myst_nb, before.
"""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.autosummary import import_by_name
from sphinx.util.logging import getLogger

log = getLogger(__name__)


@contextlib.contextmanager
def _in_a_temporary_folder() -> Iterator[None]:
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def _docstring_examples(env: BuildEnvironment) -> int:
    """Run the examples of every object of the Python reference, and return how many ran."""
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(verbose=False)
    seen: set[int] = set()
    ran = 0
    for name in sorted(env.domains["py"].objects):  # type: ignore[attr-defined]
        found = import_by_name(name)[1]
        text = inspect.getdoc(found)
        if not text or ">>>" not in text or id(_bare(found)) in seen:
            continue
        seen.add(id(_bare(found)))
        told = io.StringIO()
        result = runner.run(parser.get_doctest(text, {}, name, name, 0), out=told.write)
        ran += result.attempted
        if result.failed:
            log.warning("examples of %s fail:\n%s", name, told.getvalue())
    return ran


def _bare(found: Any) -> Any:
    return inspect.unwrap(getattr(found, "__func__", found))


def _cells(env: BuildEnvironment) -> tuple[int, int, list[str]]:
    """Count the pages and cells that were run, and name the pages that were left out."""
    pages = cells = 0
    left_out = []
    for page in sorted(env.found_docs):
        count = sum(
            node.get("nb_element") == "cell_code"
            for node in env.get_doctree(page).findall(nodes.container)
        )
        done = NbMetadataCollector.get_exec_data(env, page)
        if count and done and done["succeeded"]:
            pages += 1
            cells += count
        elif count:
            left_out.append(page)
    return pages, cells, left_out


def _run(app: Sphinx, env: BuildEnvironment) -> None:
    with _in_a_temporary_folder():
        app.examples_of_docstrings = _docstring_examples(env)  # type: ignore[attr-defined]


def _tell(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None:
        return
    ran = getattr(app, "examples_of_docstrings", 0)
    pages, cells, left_out = _cells(app.env)
    log.info("%d examples executed: %d cells of %d pages, %d lines of docstrings",
             cells + ran, cells, pages, ran)  # fmt: skip
    if left_out:
        log.info("not executed, since WARPFACTOR_DATA is not set: %s", ", ".join(left_out))


def setup(app: Sphinx) -> dict[str, bool]:
    """Run docstrings' examples once all pages are read; tell the counts at the end."""
    app.connect("env-check-consistency", _run)
    app.connect("build-finished", _tell, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
