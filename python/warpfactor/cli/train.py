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
from .app import command, note
from .ids import scored_pairs
from .kinds import BYTES, FOLDER
from .options import (
    GroupOption,
    TitlesFile,
    checkpoint_options,
    estimator_params,
    file_layout,
    output_file,
    page_file,
    ratings_files,
    sizing,
    test_by,
    titles_options,
    training_options,
)
from .progress import busy
from .report import page_maker

if TYPE_CHECKING:
    from ..data.ratings import Ratings

__all__ = ["train"]

# Packages that take long to import are imported where they are used: --help and a typing mistake
# should not wait for them.


@command
@ratings_files("ratings", "RATINGS")
@output_file("Where to save the model: FILE.safetensors.")
@sizing(
    "--test-size",
    "Hold out this share, or number; print their RMSE.",
)
@test_by
@sizing(
    "--validation-size",
    "Hold out so much of the rest for early stopping.",
)
@page_file("--report", help="A page about the model to write: FILE.html.")
@titles_options(usual=False)
@checkpoint_options
@click.option(
    "--scratch",
    cls=GroupOption,
    group="machine",
    metavar="FOLDER",
    type=FOLDER,
    help="Keep the ratings on a disk, in this folder, in place of memory: the model is the same. A "
    "fraction of --validation-size is drawn at random then, and --test-size needs memory.",
)
@click.option(
    "--buffer",
    cls=GroupOption,
    group="machine",
    metavar="BYTES",
    type=BYTES,
    help="With --scratch, how much of the ratings may be in memory, beside the factors: 500MB, 2GiB. If "
    "not given, 1GiB.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print the test RMSE and warnings alone.")
@training_options
@file_layout("user", "item", "rating", "timestamp")
def train(
    ratings: Path | list[Path],
    output: Path | None,
    test_size: Any,
    test_by: str,
    validation_size: Any,
    report: Path | None,
    titles: TitlesFile | None,
    checkpoint: Path | None,
    every: int,
    resume: bool | None,
    scratch: Path | None,
    buffer: int | None,
    quiet: bool,
    layout: dict[str, Any],
    **training: Any,
) -> None:
    """Train a model on RATINGS, test it, and save it.

    RATINGS is a file of ratings (csv or other text, parquet, npz and more) or a folder of them;
    several are read as one set. warpfactor peek RATINGS shows how it is read. The saved model
    recommends nothing that the user has rated in RATINGS, held out or not.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """
    from ..checks import check_choice, shell_words
    from ..data.files import ratings_of
    from ..data.peek import peek_of, reading_of

    check_choice("by", test_by, ("random", "user", "time", "last"))
    if titles is not None and report is None:
        raise ValueError("--titles is given, and titles are for the report: add --report FILE.html")
    params = {**DEFAULTS, **estimator_params(training), "verbose": 0 if quiet else 1}
    if scratch is not None or buffer is not None:
        held = {"--test-size": test_size, "--report": report, "--timestamp": layout["timestamp"]}
        _refuse_in_memory(scratch, held, test_by, validation_size)
        params["validation_fraction"] = validation_size
        going_on = {"checkpoint": checkpoint, "every": every, "resume": resume}
        _train_on_disk(ratings, output, params, scratch, buffer, layout, going_on, quiet=quiet)
        return
    make_report = None if report is None else page_maker()  # what is missing shows before the work
    named = None if titles is None else titles.read()
    started = time.perf_counter()
    # Arrow reads without Python's lock; meanwhile the modules of training are imported.
    threading.Thread(target=importlib.import_module, args=("warpfactor.training.fit",)).start()
    with busy("reading", ratings, enabled=not quiet):
        reading = reading_of(ratings, **layout)
        data = ratings_of(reading)
        read_seconds = time.perf_counter() - started
        seen = None if quiet else peek_of(reading, ratings)
    if seen is None:
        reading.warn(ratings)
    else:
        how, what = seen.summary()
        click.echo(f"file     {how}")
        click.echo(f"ratings  {what}, read in {read_seconds:.2f} s")
        for sentence in seen.odd:
            note(sentence)
    del reading
    from ..evaluation.metrics import rmse
    from ..evaluation.splits import train_test_split
    from ..model.summary import summary
    from ..seeds import seed_from
    from ..serving.answers import prediction_device
    from ..serving.tables import Options
    from ..training.checkpoints import checkpoints_of
    from ..training.fit import fit_model

    if test_size is not None:  # a device that cannot be used shows before the work, not after it
        prediction_device(Options(device=params["device"]), "numpy")
    kept = checkpoints_of(checkpoint, every, resume)
    if checkpoint is not None and params["random_state"] is None:
        # What is held out must be the same when training goes on.
        params["random_state"] = seed_from(None) if kept.seed is None else kept.seed
    held_out: list[Ratings | None] = []
    rest = data
    for size, flag in ((test_size, "test-size"), (validation_size, "validation-size")):
        part = None
        if size is not None:
            with shell_words(test_size=flag):
                rest, part = train_test_split(
                    rest, size, by=cast(Any, test_by), random_state=params["random_state"]
                )
        held_out.append(part)
    test, validation = held_out

    started = time.perf_counter()
    model = fit_model(
        params, rest, validation=validation, checkpoint=checkpoint, every=every, resume=resume
    )
    fit_seconds = time.perf_counter() - started
    fitted, error = model, None
    for part in held_out:
        if part is not None:
            model = model.with_seen(part)
    try:
        if test is not None:
            scored = scored_pairs(model, test)
            error = rmse(*scored)
            model = model.with_test_error(error, len(scored[0]))
    finally:  # a test that fails must not lose what was trained
        if output is not None:
            model.save(output)
    if not quiet:
        if not sys.stderr.isatty():  # on a terminal the progress bar has said it
            click.echo(f"trained  {summary(model, fit_seconds)}")
        click.echo(f"saved    {output or 'nothing: --output FILE saves the model'}")
    if make_report is not None and report is not None:
        # Of the model that does not take the test's items for seen.
        heading = f"Report on {output.name}" if output is not None else "Model report"
        with busy("writing", report, enabled=not quiet):
            made = make_report(fitted, test, titles=named, train=rest, heading=heading)
            made.save(report)
        if not quiet:
            click.echo(f"report   {report}")
    if error is not None:
        click.echo(f"test RMSE {error:.4f}")


def _refuse_in_memory(
    scratch: Path | None, held: dict[str, Any], test_by: str, validation_size: Any
) -> None:
    """Raise ValueError if options that need the ratings in memory come with a disk."""
    if scratch is None:
        raise ValueError("--buffer is given, and ratings are in memory: add --scratch FOLDER")
    for flag, value in held.items():
        if value is not None:
            raise ValueError(
                f"{flag} needs the ratings in memory, and --scratch keeps them on a disk: leave one out. "
                "warpfactor split writes a test to a file before, and warpfactor evaluate judges by it"
            )
    if test_by != "random" or isinstance(validation_size, int):
        raise ValueError(
            "--scratch is given, and of ratings on a disk validation ratings are drawn at random, a "
            "fraction of them: leave --test-by out, and make --validation-size a fraction such as 0.1"
        )


def _train_on_disk(
    ratings: Path | list[Path],
    output: Path | None,
    params: dict[str, Any],
    scratch: Path | None,
    buffer: int | None,
    layout: dict[str, Any],
    going_on: dict[str, Any],
    *,
    quiet: bool,
) -> None:
    """Train a model on ratings that are read in parts, and save it."""
    from ..checks import shell_words
    from ..data.scan import scan_ratings
    from ..model.summary import counted, summary
    from ..training.fit import fit_model

    layout = {name: value for name, value in layout.items() if name != "timestamp"}
    started = time.perf_counter()
    with shell_words(validation_fraction="validation-size"):
        scan = scan_ratings(ratings, **layout)
        model = fit_model(params, scan, scratch=scratch, buffer=buffer, **going_on)
    if output is not None:
        model.save(output)
    if not quiet:
        n_users, n_items = len(model.user_ids_), len(model.item_ids_)
        what = f"{counted(model.n_ratings_, 'rating')} by {counted(n_users, 'user')} of {counted(n_items, 'item')}"
        click.echo(f"ratings  {what}, kept on the disk of {str(scratch)!r}")
        if not sys.stderr.isatty():
            click.echo(f"trained  {summary(model, time.perf_counter() - started)}")
        if not len(model.seen_[1]):
            note(
                "what users rated is not in the model, so that recommend lists it too: a larger --buffer keeps it"
            )
        click.echo(f"saved    {output or 'nothing: --output FILE saves the model'}")
