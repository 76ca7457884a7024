"""``warpfactor train``."""

from __future__ import annotations

import importlib
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..parameters import DEFAULTS
from .app import command
from .demo import shape
from .ids import scored_pairs
from .options import (
    column,
    estimator_params,
    file_layout,
    output_file,
    ratings_file,
    sizing,
    training_options,
)

if TYPE_CHECKING:
    from ..data.ratings import Ratings

__all__ = ["train"]

# Packages that take long to import are imported where they are used: --help and a typing mistake
# should not wait for them.


@command
@ratings_file
@output_file("Where to save the model: FILE.safetensors.")
@sizing(
    "--test-size",
    "Hold out this fraction (or this many ratings), train on the rest, and print the test RMSE on "
    "the last line.",
)
@click.option(
    "--test-by",
    metavar="NAME",
    default="random",
    help="What is held out: random ratings, a part of each user's (user), the latest (time), or each "
    "user's latest (last).",
)
@sizing(
    "--validation-size",
    "Hold out this much of the training part, in the same way, for early stopping: the epoch with "
    "the lowest error on it is kept.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but the test RMSE.")
@training_options
@column("user", "--user", "--user-column")
@column("item", "--item", "--item-column")
@column("rating", "--rating", "--rating-column")
@column("timestamp", "--timestamp", "--timestamp-column")
@file_layout
def train(
    ratings: Path,
    output: Path | None,
    test_size: Any,
    test_by: str,
    validation_size: Any,
    quiet: bool,
    user: Any,
    item: Any,
    rating: Any,
    timestamp: Any,
    sep: str | None,
    header: bool | None,
    **training: Any,
) -> None:
    """Train a model on RATINGS, test it, and save it.

    RATINGS is a file of ratings: csv, tsv, MovieLens '::', parquet, feather or npz.

    Recommendations of the saved model leave out all that the user has rated in the file, held out
    or not.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """
    from ..checks import check_choice
    from ..data.files import read_ratings

    check_choice("--test-by", test_by, ("random", "user", "time", "last"))
    params = {**DEFAULTS, **estimator_params(training), "verbose": 0 if quiet else 1}
    started = time.perf_counter()
    # Arrow reads without Python's lock; meanwhile the modules of training are imported.
    threading.Thread(target=importlib.import_module, args=("warpfactor.training.fit",)).start()
    data = read_ratings(
        ratings, user=user, item=item, rating=rating, timestamp=timestamp, sep=sep, header=header
    )
    read_seconds = time.perf_counter() - started
    from ..evaluation.metrics import rmse
    from ..evaluation.splits import train_test_split
    from ..model.summary import summary
    from ..serving.answers import prediction_device
    from ..serving.tables import Options
    from ..training.fit import fit_model

    if test_size is not None:  # a device that cannot be used shows before the work, not after it
        prediction_device(Options(device=params["device"]), "numpy")
    held_out: list[Ratings | None] = []
    rest = data
    for size in (test_size, validation_size):
        part = None
        if size is not None:
            rest, part = train_test_split(
                rest, size, by=cast(Any, test_by), random_state=params["random_state"]
            )
        held_out.append(part)
    test, validation = held_out

    started = time.perf_counter()
    model = fit_model(params, rest, validation=validation)
    fit_seconds = time.perf_counter() - started
    for part in held_out:
        if part is not None:
            model = model.with_seen(part)
    if output is not None:
        model.save(output)
    error = None if test is None else rmse(*scored_pairs(model, test))
    if not quiet:
        if not sys.stderr.isatty():  # on a terminal the progress bar has said it
            click.echo(f"trained  {summary(model, fit_seconds)}")
        click.echo(f"ratings  {shape(data)}, read in {read_seconds:.2f} s")
        click.echo(f"saved    {output or 'nothing: --output FILE saves the model'}")
    if error is not None:
        click.echo(f"test RMSE {error:.4f}")
