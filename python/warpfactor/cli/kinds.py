"""The kinds of values that arguments and options take, with what a shell completes them by.

None of them refuses a value: what is wrong is told later, in the words of the rest of the package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = [
    "BYTES",
    "FILE",
    "FOLDER",
    "MODEL_FILE",
    "Names",
    "formats_of_files",
    "metrics_of_lists",
    "offered",
]

# Names that a shell takes as they are; it is left to the shell to complete and quote others.
_PLAIN = re.compile(r"[\w./+@%:,=-]*")
_MODELS = ".safetensors"


def offered(names: Iterable[str], type: str = "plain") -> list[CompletionItem[str]]:
    """Return names as what a shell completes by."""
    from click.shell_completion import CompletionItem  # only a shell asks for it

    return [CompletionItem(name, type=type) for name in names]


class Names(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in new versions
    """A name, or several with commas between.

    Parameters
    ----------
    names : iterable of str or callable
        The names, or what returns them: it is called when a shell asks.
    several : bool, default False
        Whether there may be several.
    """

    name = "text"

    def __init__(
        self, names: Iterable[str] | Callable[[], Iterable[str]], *, several: bool = False
    ) -> None:
        self._names = names if callable(names) else lambda: names
        self._several = several

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text as it is."""
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer the names that begin with what was typed after the last comma."""
        before, comma, typed = incomplete.rpartition(",") if self._several else ("", "", incomplete)
        listed = before.split(",") if comma else []
        return offered(
            before + comma + name
            for name in self._names()
            if name.startswith(typed) and name not in listed
        )


class _Bytes(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in new versions
    """A number of bytes, with or without a unit: 8MB is 8,000,000, 8MiB or 8Mi 8,388,608."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; a text that is none is refused."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(
            r"(-?[0-9]+(?:\.[0-9]+)?) *(?:([kmgt]i?)b?|b)?", str(value).strip(), re.IGNORECASE
        )
        if found is None:
            self.fail(
                f"{value!r} is no number of bytes, such as 500MB, 2GiB or 2147483648", param, ctx
            )
        unit = (found[2] or "").lower()
        factor = (1024 if unit.endswith("i") else 1000) ** (
            "kmgt".find(unit[:1]) + 1 if unit else 0
        )
        return round(float(found[1]) * factor) if "." in found[1] else int(found[1]) * factor


class _ModelPath(click.Path):
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer the model files of the folder; where there are none, leave it to the shell."""
        folder, typed = os.path.split(incomplete)
        found = []
        if _PLAIN.fullmatch(incomplete):
            try:
                names = sorted(os.listdir(folder or os.curdir))
            except OSError:
                names = []
            found = [each for each in names if each.startswith(typed) and each.endswith(_MODELS)]
        if not found or not all(map(_PLAIN.fullmatch, found)):
            return super().shell_complete(ctx, param, incomplete)
        return offered(os.path.join(folder, each) for each in found)


class _FolderPath(click.Path):
    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Leave it to the shell, which offers folders alone."""
        return offered([incomplete], "dir")


BYTES = _Bytes()
FILE = click.Path(path_type=Path)
MODEL_FILE = _ModelPath(path_type=Path)
FOLDER = _FolderPath(path_type=Path)


# Imported when a shell asks: no help or training waits for them.
def formats_of_files() -> Iterable[str]:
    """Return the names of the formats that are read."""
    from ..data.formats.table import FORMATS

    return FORMATS


def metrics_of_lists() -> Iterable[str]:
    """Return the names of what `evaluate` measures."""
    from ..evaluation.evaluate import METRICS

    return METRICS
