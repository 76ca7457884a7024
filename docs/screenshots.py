# SPDX-License-Identifier: Apache-2.0
"""Takes pictures of all pages of the built site in Chromium, and names what does not fit.

    pip install playwright                # it drives the Chromium of the system: apt-get install chromium
    python docs/screenshots.py build/docs build/screenshots [PAGE ...]

For each page and width: a picture, and a line for what is wrong: a page that scrolls sideways, an element that sticks out of it, a
picture that is not there, an error of a script, and any request that is not for a file of the site. The exit code is the number of
these lines, at most 100.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import shutil
import sys
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTHS = (1280, 400)
# What sticks out of the window without being inside something that scrolls or is hidden.
STICKING_OUT = """() => {
  const out = [];
  const width = document.documentElement.clientWidth;
  for (const element of document.querySelectorAll("main *")) {
    const box = element.getBoundingClientRect();
    if (box.width === 0 || box.right <= width + 1) continue;
    let inside = element.parentElement, held = false;
    while (inside && !held) {
      held = ["auto", "scroll", "hidden"].includes(getComputedStyle(inside).overflowX);
      inside = inside.parentElement;
    }
    if (!held) out.push(`${element.tagName.toLowerCase()}.${element.className} to ${Math.round(box.right)}`);
  }
  return out.slice(0, 3);
}"""
BROKEN = """() => [...document.images].filter(i => i.offsetParent && i.naturalWidth === 0).map(i => i.src)"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Files without a line for each."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def look(page: Page, address: str, picture: Path, height: int) -> list[str]:
    """Take a picture of a page, and return what is wrong with it."""
    wrong: list[str] = []
    host = address.split("/")[2]
    listeners = {
        "pageerror": lambda error: wrong.append(f"script: {error}"),
        "request": lambda asked: (
            None
            if asked.url.split("/")[2] in (host, "") or asked.url.startswith("data:")
            else wrong.append(f"loads {asked.url}")
        ),
        "requestfailed": lambda asked: wrong.append(f"not there: {asked.url}"),
        "response": lambda got: (
            wrong.append(f"not there: {got.url}") if got.status >= 400 else None
        ),
    }
    for event, listener in listeners.items():
        page.on(event, listener)
    page.goto(address, wait_until="load")
    too_wide = page.evaluate(
        "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    if too_wide > 0:
        wrong.append(f"scrolls sideways by {too_wide} pixels")
    wrong += page.evaluate(STICKING_OUT)
    wrong += [f"picture not there: {each}" for each in page.evaluate(BROKEN)]
    tall = page.evaluate("() => document.documentElement.scrollHeight")
    page.screenshot(
        path=picture,
        clip={"x": 0, "y": 0, "width": page.viewport_size["width"], "height": min(tall, height)},
        full_page=True,
    )
    for event, listener in listeners.items():
        page.remove_listener(event, listener)
    return wrong


def main() -> int:
    """Look at all pages."""
    parser = argparse.ArgumentParser(description="Take pictures of the pages of the built site.")
    parser.add_argument("site", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("pages", nargs="*", help="some of them, as how-to/index; all, if left out")
    parser.add_argument("--height", type=int, default=2600, help="how much of a long page is taken")
    parser.add_argument("--dark", action="store_true", help="as at night")
    given = parser.parse_args()
    wanted = given.pages or sorted(
        str(path.relative_to(given.site).with_suffix(""))
        for path in given.site.rglob("*.html")
        if not path.relative_to(given.site).parts[0].startswith("_")
    )
    handler = functools.partial(Quiet, directory=given.site)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        for width in WIDTHS:
            page = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme="dark" if given.dark else "light",
            )
            for name in wanted:
                picture = given.pictures / f"{name.replace('/', '-')}-{width}.png"
                picture.parent.mkdir(parents=True, exist_ok=True)
                address = f"http://127.0.0.1:{server.server_port}/{name}.html"
                for line in look(page, address, picture, given.height):
                    print(f"{name} at {width}: {line}")
                    count += 1
            page.close()
        browser.close()
    server.shutdown()
    print(f"{len(wanted)} pages at {' and '.join(map(str, WIDTHS))} pixels: {count} faults")
    return min(count, 100)


if __name__ == "__main__":
    sys.exit(main())
