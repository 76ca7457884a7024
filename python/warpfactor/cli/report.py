"""``warpfactor report``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..parameters import N_LISTED
from .app import command
from .ids import id_kinds, typed_ids
from .kinds import FILE
from .options import (
    TitlesFile,
    file_layout,
    model_file,
    page_file,
    prediction_device,
    titles_options,
)
from .progress import busy

__all__ = ["page_maker", "report"]


def page_maker() -> Callable[..., Any]:
    """Return what makes the page; raise ValueError if a package that it needs is missing."""
    from ..report.page import check_packages, make_report

    try:
        check_packages()
    except ImportError as error:
        raise ValueError(str(error)) from error
    return make_report


@command
@model_file
@click.argument("test", metavar="[TEST]...", nargs=-1, type=FILE)
@page_file("--output", "-o", required=True, help="The page to write: FILE.html.")
@click.option(
    "--train",
    metavar="FILE",
    type=FILE,
    help="What the model was trained on: for more baselines, and what users liked.",
)
@titles_options()
@click.option("--user", "users", metavar="ID", multiple=True, help="Show what this user gets.")
@click.option(
    "--n-items", "-n", metavar="N", type=int, default=N_LISTED, help="Length of the lists."
)
@file_layout("user", "item", "rating", short=False, without=("ids",))
@prediction_device
def report(
    model_file: Path,
    test: tuple[Path, ...],
    output: Path,
    train: Path | None,
    titles: TitlesFile | None,
    users: tuple[str, ...],
    n_items: int,
    layout: dict[str, Any],
    device: str | None,
) -> None:
    """Make one HTML page about a MODEL, tested on TEST.

    TEST is a file of ratings or several; without it the page says nothing of errors. The page is one file that
    needs no network: learning curve, errors and lists beside baselines, calibration, a map of the items,
    recommendations and why.

    Example: warpfactor report m.safetensors test.csv --titles movies.csv -o m.html
    """
    make_report = page_maker()
    from ..data.files import read_ratings
    from ..model.model import load

    model = load(model_file, device)
    read: list[Any] = []
    for given in (list(test), train):
        with busy("reading", given, enabled=bool(given)):
            read.append(read_ratings(given, **layout, ids=id_kinds(model)) if given else None)
    named = None if titles is None else titles.read()
    chosen = typed_ids(list(users), model.user_ids_, "user") if users else None
    with busy("writing", output):
        made = make_report(
            model,
            read[0],
            titles=named,
            train=read[1],
            n=n_items,
            users=chosen,
            heading=f"Report on {model_file.name}",
        )
        made.save(output)
    click.echo(f"saved    {output}")
