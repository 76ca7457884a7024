"""``warpfactor convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..writing import check_target
from .app import command, refuse_same_file
from .demo import shape
from .kinds import FILE, Names, formats_of_files
from .options import file_layout
from .progress import busy

__all__ = ["convert"]


@command
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE)
@click.option(
    "--to",
    metavar="NAME",
    type=Names(formats_of_files),
    help="Format of OUT; its suffix says it if not given.",
)
@file_layout("user", "item", "rating", "timestamp")
def convert(source: Path, target: Path, to: str | None, layout: dict[str, Any]) -> None:
    """Write the ratings of IN to OUT in another format.

    IN is a file of ratings, or a folder of them. OUT is written whole or not at all; a file of that name is replaced.

    Example: warpfactor convert ratings.dat ratings.parquet

    Example: warpfactor convert ratings.txt ratings.csv --encoding latin-1 --decimal ,
    """
    # A mistake must show before the work.
    check_target(target)
    refuse_same_file(target, source, "OUT")

    from ..checks import shell_words
    from ..data.files import read_ratings
    from ..data.write import write_ratings, written_format

    with shell_words(format="to"):
        to = written_format(target, to)
    with busy("reading", source):
        ratings = read_ratings(source, **layout)
    with busy("writing", target), shell_words(format="to"):
        write_ratings(ratings, target, format=to)
    click.echo(f"wrote {target}: {shape(ratings)}")
