# SPDX-License-Identifier: Apache-2.0
"""What the public C++ headers say, read by Doxygen for Breathe.

As a program it is Doxygen's filter: formulas, which the comments indent, become verbatim blocks, and
what Sphinx's C++ cannot read is left out: deduction guides and designated initializers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.logging import getLogger

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "PROJECT_NAME": "warpfactor",
    "INPUT": f'"{ROOT / "cpp" / "include" / "warpfactor"}"',
    "FILE_PATTERNS": "*.hpp",
    "STRIP_FROM_PATH": f'"{ROOT / "cpp" / "include"}"',
    "EXTRACT_ALL": "YES",
    "GENERATE_XML": "YES",
    "GENERATE_HTML": "NO",
    "GENERATE_LATEX": "NO",
    "XML_PROGRAMLISTING": "NO",
    "INPUT_FILTER": f'"{sys.executable} {__file__}"',
    "QUIET": "YES",
    "WARN_IF_UNDOCUMENTED": "NO",
}


_INDENTED = re.compile(r"(\s*///) {2,}\S")
_UNREADABLE = re.compile(
    r"^(?:template <[^\n]*>\n)?\w+\([^\n]*\) -> .*;.*$|\{\.\w+ = [^}]*\}", re.MULTILINE
)


def filtered(text: str) -> str:
    """Put \\verbatim around the lines of a comment that are indented, and not those of a list."""
    made: list[str] = []
    inside = listing = False
    for line in _UNREADABLE.sub("", text).splitlines():
        comment = re.match(r"\s*///(?!<)", line)
        formula = _INDENTED.match(line) is not None and not listing
        if comment and not _INDENTED.match(line):
            listing = re.match(r"\s*/// - ", line) is not None
        elif not comment:
            listing = False
        if formula and not inside and comment:
            made.append(f"{comment[0]} \\verbatim")
        elif inside and not formula:
            made.append(f"{comment[0] if comment else '///'} \\endverbatim")
        inside = formula
        made.append(line)
    return "\n".join(made) + "\n"


def _place(app: Sphinx, config: Config) -> None:
    config.breathe_projects = {"warpfactor": str(Path(app.doctreedir) / "doxygen" / "xml")}


def _read(app: Sphinx) -> None:
    out = Path(app.doctreedir) / "doxygen"
    headers = (ROOT / "cpp" / "include" / "warpfactor").glob("*.hpp")
    newest = max(path.stat().st_mtime for path in (*headers, Path(__file__)))
    if (index := out / "xml" / "index.xml").exists() and index.stat().st_mtime > newest:
        return
    if shutil.which("doxygen") is None:
        getLogger(__name__).warning(
            "doxygen is not on the PATH, so the C++ reference is empty: apt-get install doxygen"
        )
        return
    out.mkdir(parents=True, exist_ok=True)
    settings = {**SETTINGS, "OUTPUT_DIRECTORY": f'"{out}"'}
    done = subprocess.run(
        ["doxygen", "-"],
        input="".join(f"{name} = {value}\n" for name, value in settings.items()),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for path in (out / "xml").glob("*.xml"):  # of files there are no pages to link to
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"\s*<includes\b.*?</includes>", "", text), encoding="utf-8")
    for line in done.stderr.splitlines():
        getLogger(__name__).warning("doxygen: %s", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run Doxygen before any page is read, if a header has changed."""
    app.connect("config-inited", _place, priority=100)
    app.connect("builder-inited", _read, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print(filtered(Path(sys.argv[1]).read_text(encoding="utf-8")), end="")
