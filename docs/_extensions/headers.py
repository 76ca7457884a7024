# SPDX-License-Identifier: Apache-2.0
"""What the public C++ headers say, read by Doxygen for Breathe."""

from __future__ import annotations

import shutil
import subprocess
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
    "QUIET": "YES",
    "WARN_IF_UNDOCUMENTED": "NO",
}


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
    for line in done.stderr.splitlines():
        getLogger(__name__).warning("doxygen: %s", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run Doxygen before any page is read, if a header has changed."""
    app.connect("config-inited", _place, priority=100)
    app.connect("builder-inited", _read, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
