"""``warpfactor compare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, cast

import click

from .app import command
from .kinds import Names
from .options import (
    estimator_params,
    file_layout,
    judging,
    ratings_files,
    table_file,
    training_options,
)
from .progress import busy
from .tables import table_format, write_frame

__all__ = ["compare"]


@command
@ratings_files("ratings", "RATINGS")
@click.option(
    "--model",
    "-m",
    "models",
    metavar="'NAME: OPTIONS'",
    multiple=True,
    help="A name and options of warpfactor train, such as 'large: --n-factors 128'; may be given more "
    "than once. If not given, the defaults.",
)
@click.option(
    "--folds", metavar="N", type=int, default=5, help="How often each is trained and tested."
)
@click.option(
    "--by",
    "by",
    metavar="NAME",
    type=Names(("random", "user", "time")),
    default="random",
    help="How ratings are divided: random, user (each user's spread evenly), time (each fold later).",
)
@click.option("--seed", metavar="NUMBER", type=int, default=0, help="Seed of the folds.")
@table_file("Also write the table to this file: .csv, .parquet, ...")
@judging
@file_layout("user", "item", "rating", "timestamp")
def compare(
    ratings: Path | list[Path],
    models: tuple[str, ...],
    folds: int,
    by: str,
    seed: int,
    output: Path | None,
    how: dict[str, Any],
    layout: dict[str, Any],
) -> None:
    """Train models on RATINGS and compare them fold by fold.

    Baselines stand beside them. The table has mean and standard deviation over the folds; a star marks what differs from the
    first model by a paired test.

    Example: warpfactor compare ratings.csv -m 'small: -k 16' -m 'large: -k 128'
    """
    from ..checks import shell_words

    format = None if output is None else table_format(output, None, "csv", by_suffix_alone=True)
    named = dict(_named(text) for text in models or ("defaults:",))
    if len(named) < len(models):
        raise ValueError("--model has one name twice: choose another")

    from ..data.files import read_ratings
    from ..evaluation.compare import compare
    from ..training.estimator import MatrixFactorization

    with busy("reading", ratings):
        data = read_ratings(ratings, **layout)
    given = {name: value for name, value in how.items() if value is not None}
    estimators = {name: MatrixFactorization(**params) for name, params in named.items()}
    with shell_words(cv="folds", by="by", models="model"), busy("training on", ratings):
        found = compare(estimators, data, folds, by=cast(Any, by), random_state=seed, **given)
    click.echo(str(found))
    if output is not None and format is not None:
        write_frame(output, format, found.to_frame("arrow"))


@click.command(add_help_option=False)
@training_options
def _model(**training: Any) -> None:
    """Stand for the options of a model."""


def _named(text: str) -> tuple[str, dict[str, Any]]:
    """Return a model's name and parameters."""
    name, colon, options = text.partition(":")
    name = name.strip()
    if not colon or not name:
        raise ValueError(
            f"--model is {text!r}; it must be a name, a colon and options, such as 'large: --n-factors 128'"
        )
    try:
        params = _model.make_context("model", shlex.split(options)).params
    except (click.UsageError, ValueError) as error:
        problem = error.format_message() if isinstance(error, click.UsageError) else str(error)
        raise ValueError(f"--model {name!r}: {problem}") from None
    return name, {**estimator_params(params), "verbose": 0}
