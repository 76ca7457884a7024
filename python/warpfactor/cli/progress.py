"""What a terminal shows of work that takes long: a bar where its length is known, else a spinner."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

__all__ = ["busy", "progress"]

# rich is imported where it is used: --help, pipes and files should not wait for it.


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


@contextlib.contextmanager
def busy(doing: str, path: Any = "", *, enabled: bool = True) -> Iterator[None]:
    """Show a spinner on standard error during the work inside, if that is a terminal.

    Warnings come when it is gone, as click writes past rich into the spinner's line.

    Parameters
    ----------
    doing : str
        What is done, such as "reading".
    path : path or list of paths
        What it is done with.
    enabled : bool, default True
        Whether to show anything.
    """
    if not (enabled and _is_terminal()):
        yield
        return
    from rich.console import Console
    from rich.text import Text

    from ..data.folders import shown_path

    console = Console(stderr=True)
    # As Text, because names may hold what looks like rich's markup.
    text = Text(f"{doing} {shown_path(path)}")
    # The spinner and a blank stand before it.
    text.truncate(max(console.width - 3, 1), overflow="ellipsis")
    held: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as held, console.status(text):
            yield
    finally:
        for each in held:
            warnings.showwarning(each.message, each.category, each.filename, each.lineno)


def progress(parts: Sequence[Any], what: str, output: Path | None) -> Iterator[Any]:
    """Pass parts on, with a bar on standard error if that is a terminal and there are many.

    Where the table itself goes to the terminal, it shows how far things are.
    """
    if len(parts) < 2 or not _is_terminal() or (output is None and sys.stdout.isatty()):
        yield from parts
        return
    from rich.console import Console
    from rich.progress import track

    bar = track(parts, what, console=Console(stderr=True), transient=True)
    with contextlib.closing(cast("Any", bar)):
        yield from bar
