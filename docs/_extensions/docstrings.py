# SPDX-License-Identifier: Apache-2.0
"""Docstrings as they are written for a terminal, made into what reStructuredText means by them.

A formula stands in an indented block of its own, |x| is a magnitude, and choices stand one below the
other, as '"name" : what it does'. reStructuredText would run the lines of blocks and choices together
and take a magnitude for a substitution.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

_CHOICE = re.compile(r'\s*("\w+"|``[^`]+``) : ')
_START = re.compile(r"\s*(?:[*+-] |\*{1,2}\w+(?=[ ,]))?")  # a bullet, or the stars of an argument
_LITERAL = re.compile(r"(``.*?``|`[^`]*`)")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def plain(lines: list[str]) -> None:
    """Mark indented blocks as literal ones, list choices, and escape bars, in place."""
    made: list[str] = []
    text = 0  # the indentation of the last line that was not part of a block
    block: int | None = None
    choice: int | None = None
    session = False
    for number, line in enumerate(lines):
        if not line.strip():
            made.append(line)
            choice, session = None, False
            continue
        indent = _indent(line)
        if block is not None and indent >= block:
            made.append(line)
            continue
        block = None
        after_gap = number > 0 and not lines[number - 1].strip()
        said = next((seen for seen in reversed(made) if seen.strip()), "")
        is_markup = re.match(r"\s*(\.\. |[-*] |\d+\. |>>> )", said)
        if after_gap and indent > text and said and not is_markup:
            if not said.rstrip().endswith("::"):
                made += [" " * text + "::", ""]
            block = indent
            made.append(line)
            continue
        text = indent
        if line.lstrip().startswith(">>> ") or session:
            session = True  # up to the next empty line it is what Python printed
        else:
            start = _START.match(line)[0]  # type: ignore[index]
            parts = _LITERAL.split(line[len(start) :])
            line = start + "".join(
                part if odd % 2 else re.sub(r"([|*])", r"\\\1", part)
                for odd, part in enumerate(parts)
            )
        if _CHOICE.match(line):
            if choice is None and said:
                made.append("")
            choice = indent
            line = " " * indent + "* " + line[indent:]
        elif choice == indent:
            line = "  " + line
        else:
            choice = None
        made.append(line)
    lines[:] = made


def _before_numpydoc(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    plain(lines)


def _code(app: Sphinx, env: object, node: Any, content: nodes.Element) -> nodes.Element | None:
    """A name in single backticks that is no name of the reference: a parameter, an attribute."""
    if node.get("refdomain") == "py" and node.get("reftype") == "obj":
        return content
    return None


def _ours(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: object) -> bool | None:
    """Leave out what scikit-learn and tuples give to classes: it has its own documentation."""
    home = getattr(obj, "__module__", None) or getattr(
        getattr(obj, "fget", None), "__module__", None
    )
    if home is None and type(obj).__module__.startswith("sklearn"):
        return True
    if home is not None and not home.startswith("warpfactor"):
        return True
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Rewrite docstrings before numpydoc reads them."""
    app.connect("autodoc-process-docstring", _before_numpydoc, priority=100)
    app.connect("autodoc-skip-member", _ours)
    app.connect("missing-reference", _code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
