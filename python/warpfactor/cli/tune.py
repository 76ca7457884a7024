"""``warpfactor tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from ..parameters import DEFAULTS, PARAMETERS
from ..writing import check_target
from .app import command, note
from .kinds import FILE
from .options import estimator_params, file_layout, output_file, ratings_files, training_options
from .progress import busy

__all__ = ["tune"]


def _check_plot(_: click.Context, __: click.Parameter, plot: Path | None) -> Path | None:
    if plot is not None:
        try:
            check_target(plot)
        except OSError as error:
            raise ValueError(f"--plot: {error}") from error
        try:
            from matplotlib.backend_bases import FigureCanvasBase
        except ImportError as error:
            raise ValueError(
                f'--plot needs matplotlib, which cannot be imported ({error}): pip install "warpfactor[plot]"'
            ) from error

        kinds = FigureCanvasBase.filetypes
        if plot.suffix[1:].lower() not in kinds:
            raise ValueError(
                f"--plot is {plot}; its suffix must be one of {', '.join(sorted(kinds))}"
            )
    return plot


@command
@ratings_files("ratings", "RATINGS")
@output_file("Where to save a model of all RATINGS, so trained.")
@click.option("--n-trials", type=int, metavar="NUMBER", default=30, help="Trials of the study.")
@click.option("--timeout", type=float, metavar="SECONDS", help="After which no trial begins.")
@click.option("--cv", type=int, metavar="NUMBER", help="Folds to judge by, instead of one part.")
@click.option(
    "--validation-size",
    "validation",
    type=float,
    metavar="SHARE",
    help="Share of RATINGS to judge by; a tenth if not given.",
)
@click.option(
    "--space",
    "spaces",
    metavar="NAME=LOW:HIGH",
    multiple=True,
    help="What to search: a range, or NAME=A,B,C; for each option.",
)
@click.option(
    "--storage",
    type=FILE,
    metavar="FILE",
    help="Keep the study in it (study.db), and go on with it.",
)
@click.option(
    "--plot",
    type=FILE,
    metavar="FILE",
    callback=_check_plot,
    help="Image of the trials to write, such as trials.png.",
)
@click.option("--n-jobs", type=int, metavar="NUMBER", default=1, help="Trials at a time.")
@click.option("--quiet", "-q", is_flag=True, help="Print nothing but the best command line.")
@training_options
@file_layout("user", "item", "rating", "timestamp")
def tune(
    ratings: Path | list[Path],
    output: Path | None,
    n_trials: int,
    timeout: float | None,
    cv: int | None,
    validation: float | None,
    spaces: tuple[str, ...],
    storage: Path | None,
    plot: Path | None,
    n_jobs: int,
    quiet: bool,
    layout: dict[str, Any],
    **training: Any,
) -> None:
    """Search for the best parameters of training for RATINGS.

    What is printed last is the best command line. The usual parameters are tried first. Options of training that are given stay as they are. Ctrl-C
    ends the search and keeps what it has found.

    Example: warpfactor tune ratings.csv --n-trials 30 --storage study.db
    """
    from ..data.files import ratings_of
    from ..data.peek import reading_of
    from ..evaluation.tuning import tune as search
    from ..training.estimator import MatrixFactorization

    context = click.get_current_context()
    typed = {
        row.name
        for row in PARAMETERS.values()
        if context.get_parameter_source(row.option or row.name) is ParameterSource.COMMANDLINE
    }
    model = MatrixFactorization(**{**DEFAULTS, **estimator_params(training)}).set_params(
        refit=False
    )
    space = _space(spaces)
    with busy("reading", ratings, enabled=not quiet):
        reading = reading_of(ratings, **layout)
        data = ratings_of(reading)
    reading.warn(ratings)
    del reading
    try:
        found = search(
            model,
            data,
            space or None,
            n_trials=n_trials,
            cv=cv,
            validation=validation,
            timeout=timeout,
            storage=storage,
            n_jobs=n_jobs,
            random_state=training["seed"],
            fixed=sorted(typed),
            verbose=0 if quiet else 1,
        )
    except ImportError as error:
        raise ValueError(str(error)) from None
    if not quiet:
        click.echo(str(found))
    if found.interrupted:
        note("interrupted; this is the best of the trials until then")
    if plot is not None:
        found.plot(plot)
    if output is not None:
        found.best_model().set_params(verbose=0 if quiet else 1).fit(data).save(output)
    click.echo(found.command(ratings))


def _space(spaces: tuple[str, ...]) -> dict[str, Any]:
    """Read what --space says: NAME=LOW:HIGH, or NAME=A,B,C."""
    names = {(row.option or row.name): row for row in PARAMETERS.values() if row.help}
    space: dict[str, Any] = {}
    for text in spaces:
        name, _, values = text.partition("=")
        row = names.get(name.strip().lstrip("-").replace("-", "_"))
        if row is None or not values:
            raise ValueError(
                f"--space is {text!r}; it must be NAME=LOW:HIGH or NAME=A,B,C, with an option of "
                "training as the name, such as n-factors=16:128"
            )
        kind: Any = {"int": int, "float": float, "pair": float, "flag": _flag}.get(row.kind, str)
        try:
            if ":" in values and row.kind in ("int", "float", "pair"):
                low, high = values.split(":")
                space[row.name] = (kind(low), kind(high))
            else:
                space[row.name] = [kind(value) for value in values.split(",")]
        except (ValueError, KeyError):
            raise ValueError(
                f"--space is {text!r}; {name} takes "
                f"{'whole numbers' if row.kind == 'int' else 'numbers' if kind is float else 'yes, no'}"
            ) from None
    return space


def _flag(text: str) -> bool:
    return {"yes": True, "no": False, "true": True, "false": False}[text.strip().lower()]
