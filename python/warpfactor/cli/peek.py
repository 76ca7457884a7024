"""``warpfactor peek``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .app import command
from .options import file_layout, ratings_files
from .progress import busy

__all__ = ["peek"]


@command
@ratings_files("file", "FILE")
@file_layout("user", "item", "rating", "timestamp")
def peek(file: Path | list[Path], layout: dict[str, Any]) -> None:
    """Show what would be read of FILE, and what looks odd in it.

    FILE is a file of ratings, or a folder of them. Shown are its format and layout, which column is
    what, the first ratings, counts and ranges. Several are read as one set. The exit code is 1 if
    it cannot be read.

    Example: warpfactor peek ratings.csv

    Example: warpfactor peek ratings.txt --sep ';' --decimal , --user-column user
    """
    from ..data.peek import peek as peek_at

    with busy("reading", file):
        found = peek_at(file, **layout)
    click.echo(str(found))
    if found.error:
        raise click.exceptions.Exit(1)
