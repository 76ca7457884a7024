"""``warpfactor fold-in``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from .app import command
from .ids import id_kinds
from .kinds import Names
from .options import file_layout, model_file, output_file, prediction_device, ratings_files
from .progress import busy

__all__ = ["fold_in"]

_NEW = ("users", "items", "ratings")


@command
@model_file
@ratings_files("ratings", "RATINGS")
@output_file("Where to save the model that knows more: FILE.safetensors.")
@click.option(
    "--new",
    metavar="NAME",
    type=Names(_NEW),
    default="users",
    help="What RATINGS hold: all ratings of new users (users) or of new items (items), or more ratings of "
    "any users and items, old and new (ratings).",
)
@file_layout("user", "item", "rating", without=("ids",))
@prediction_device
def fold_in(
    model_file: Path,
    ratings: Path | list[Path],
    output: Path | None,
    new: str,
    layout: dict[str, Any],
    device: str | None,
) -> None:
    """Add users, items or ratings to a MODEL without training it anew.

    Users whom the model knows already are replaced by what RATINGS say of them; with --new ratings
    they keep what they had. The MODEL's file stays as it is.

    Example: warpfactor fold-in m.safetensors new_users.csv --output more.safetensors
    """
    from ..checks import check_choice
    from ..data.files import read_ratings
    from ..model.model import load

    check_choice("new", new, _NEW)
    if output is None:
        raise click.UsageError("give --output FILE, where to save the model that knows more")
    model = load(model_file, device)
    with busy("reading", ratings):
        data = read_ratings(ratings, **layout, ids=id_kinds(model))
    started = time.perf_counter()
    learn = {"users": model.fold_in_users, "items": model.fold_in_items, "ratings": model.updated}
    grown = learn[new](data)
    seconds = time.perf_counter() - started
    grown.save(output)
    for name, before, after in (
        ("users", model.user_ids_, grown.user_ids_),
        ("items", model.item_ids_, grown.item_ids_),
    ):
        click.echo(f"{name}    {len(after):,}, {len(after) - len(before):,} of them new")
    click.echo(f"ratings  {len(data):,} learnt in {seconds:.2f} s")
    click.echo(f"saved    {output}")
