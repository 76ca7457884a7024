"""``warpfactor train``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..parameters import DEFAULTS
from .demo import shape
from .ids import scored_pairs
from .options import (
    Header,
    ItemColumn,
    RatingColumn,
    RatingsFile,
    Separator,
    TimestampColumn,
    UserColumn,
    estimator_params,
    output_file,
    sizing,
    with_training_options,
)

if TYPE_CHECKING:
    from ..data.ratings import Ratings

__all__ = ["train"]

# Packages that take long to import are imported where they are used: --help and a typing mistake
# should not wait for them.


@with_training_options
def train(
    ratings: RatingsFile,
    output: Annotated[
        Path | None, output_file("Where to save the model: FILE.safetensors.")
    ] = None,
    test_size: Annotated[
        Any,
        sizing(
            "Hold out this fraction (or this many ratings), train on the rest, and print the "
            "test RMSE on the last line."
        ),
    ] = None,
    test_by: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is held out: random ratings, a part of each user's (user), or the latest "
            "(time).",
        ),
    ] = "random",
    validation_size: Annotated[
        Any,
        sizing(
            "Hold out this much of the training part, in the same way, for early stopping: "
            "the epoch with the lowest error on it is kept."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the test RMSE.")
    ] = False,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    timestamp: TimestampColumn = None,
    sep: Separator = None,
    header: Header = None,
    **training: Any,
) -> None:
    """Train a model on a file of ratings, test it, and save it.

    Recommendations of the saved model leave out all that the user has rated in the file, held out
    or not.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """
    from ..checks import check_choice
    from ..data.files import read_ratings
    from ..evaluation.metrics import rmse
    from ..evaluation.splits import train_test_split
    from ..model.summary import summary
    from ..serving.answers import prediction_device
    from ..serving.tables import Options
    from ..training.fit import fit_model

    check_choice("--test-by", test_by, ("random", "user", "time"))
    params = {**DEFAULTS, **estimator_params(training), "verbose": 0 if quiet else 1}
    started = time.perf_counter()
    data = read_ratings(
        ratings, user=user, item=item, rating=rating, timestamp=timestamp, sep=sep, header=header
    )
    read_seconds = time.perf_counter() - started
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
            typer.echo(f"trained  {summary(model, fit_seconds)}")
        typer.echo(f"ratings  {shape(data)}, read in {read_seconds:.2f} s")
        typer.echo(f"saved    {output or 'nothing: --output FILE saves the model'}")
    if error is not None:
        typer.echo(f"test RMSE {error:.4f}")
