# SPDX-License-Identifier: Apache-2.0
"""Fails the build if a page, a style or a script of the site would be loaded from another host."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import SphinxError

_LOADS = {
    "audio": "src", "embed": "src", "iframe": "src", "img": "src", "input": "src", "link": "href",
    "object": "data", "script": "src", "source": "src", "track": "src", "video": "src",
}  # fmt: skip
_ELSEWHERE = re.compile(r"(https?:)?//", re.IGNORECASE)
_IN_CSS = re.compile(r"(?:url\(|@import)\s*['\"]?((?:https?:)?//[^'\")\s]+)", re.IGNORECASE)
_IN_SCRIPT = re.compile(r"(?:import|require)[\w\s{},*]*\(?['\"](https?://[^'\"]+)")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        names = [_LOADS[tag]] if tag in _LOADS else []
        # A link to another page, such as the canonical address, loads nothing.
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev", "index", "search"):
            names = []
        for name in (*names, "srcset", "poster"):
            if _ELSEWHERE.match(given.get(name) or ""):
                self.found.append(f"<{tag} {name}={given[name]!r}>")
        self.found += _IN_CSS.findall(given.get("style") or "")


def loads_from_elsewhere(folder: Path) -> Iterator[str]:
    """Yield what the files of a site would load from other hosts, with the file's name."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".html":
            page = _Page()
            text = path.read_text(encoding="utf-8")
            page.feed(text)
            found = [*page.found, *_IN_SCRIPT.findall(text)]
        elif path.suffix == ".css":
            found = _IN_CSS.findall(path.read_text(encoding="utf-8"))
        else:
            continue
        for each in found:
            yield f"{path.relative_to(folder)}: {each}"


def _check(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        found = list(loads_from_elsewhere(Path(app.outdir)))
        if found:
            raise SphinxError("loaded from other hosts:\n" + "\n".join(found))


def setup(app: Sphinx) -> dict[str, bool]:
    """Check the files when they are written."""
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
