"""The arguments and options of the commands."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..parameters import PARAMETERS, Parameter

__all__ = [
    "Header",
    "ItemColumn",
    "ModelFile",
    "PredictionDevice",
    "RatingColumn",
    "RatingsFile",
    "Separator",
    "TimestampColumn",
    "UserColumn",
    "argument",
    "check_renamed",
    "column",
    "estimator_params",
    "output_file",
    "sizing",
    "training_option",
    "with_training_options",
]


def _size(text: str) -> float:
    """A count if written as an integer, else a fraction."""
    return int(text) if text.isdecimal() else float(text)


def _name_or_position(text: str) -> str | int:
    return int(text) if text.isdecimal() else text


def _per_side(given: Any) -> Any:
    """Read one strength, or two with a comma between: of the users and of the items."""
    strengths = [float(part) for part in str(given).split(",")]
    if len(strengths) > 2:
        raise ValueError
    return strengths[0] if len(strengths) == 1 else tuple(strengths)


def _writable(output: Path | None) -> Path | None:
    """Fail before the work instead of after it."""
    if output is not None and output.is_dir():
        raise ValueError(f"cannot write {output}: it is a folder")
    if output is not None and not os.access(output.parent, os.W_OK):
        raise ValueError(f"cannot write {output}: there is no writable folder {output.parent}")
    return output


def argument(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def output_file(help: str) -> Any:
    return typer.Option("--output", "-o", metavar="FILE", help=help, callback=_writable)


def _file_option(*flags: str, help: str, **how: Any) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel="Columns of the file", **how)


def column(role: str, *flags: str) -> Any:
    return _file_option(
        *flags,
        metavar="COLUMN",
        help=f"Column of the {role}s: its name, or its position from 0.",
        parser=_name_or_position,
    )


def sizing(help: str) -> Any:
    return typer.Option(metavar="SIZE", help=help, parser=_size)


def training_option(name: str) -> inspect.Parameter:
    """Make the option of a row of the table of parameters."""
    row = PARAMETERS[name]
    option = row.option or row.name
    flag = option.replace("_", "-")
    flags = [f"--{flag}/--no-{flag}" if row.kind == "flag" else f"--{flag}"]
    how: dict[str, Any] = {}
    help = row.help
    if name == "n_factors":
        flags.append("-k")
    if row.kind == "choice":
        named = [choice for choice in row.choices if choice != "custom"]
        help = f"{help.rstrip('.')}: {', '.join(named)}."
        how["metavar"] = "NAME"
    if row.kind == "pair":
        how |= {"metavar": "NUMBER[,NUMBER]", "parser": _per_side}
    types = {"int": int, "float": float, "flag": bool, "choice": str, "pair": Any}
    kind: Any = types[row.kind]
    made = typer.Option(*flags, help=help, rich_help_panel="Model and training", **how)
    return inspect.Parameter(
        option,
        inspect.Parameter.KEYWORD_ONLY,
        default=row.default,
        annotation=Annotated[kind | None if row.none and kind is not Any else kind, made],
    )


def with_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each row of the table; they reach it as keyword arguments."""
    own = inspect.signature(command, eval_str=True).parameters.values()
    options = [
        *(each for each in own if each.kind is not inspect.Parameter.VAR_KEYWORD),
        *(training_option(row.name) for row in _rows()),
    ]
    options = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in options]
    # What typer reads.
    command.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in options}
    return command


def check_renamed(name: str, value: Any) -> None:
    """Raise ValueError, in the words of the shell, if an option with a name of its own is too low."""
    row = PARAMETERS[name]
    if row.option and row.low is not None and not value >= row.low:
        flag = row.option.replace("_", "-")
        raise ValueError(f"--{flag} is {value:g}; it must be at least {row.low:g}")


def estimator_params(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options of the command line are to the estimator."""
    params = {row.name: options[row.option or row.name] for row in _rows()}
    for name, value in params.items():
        check_renamed(name, value)
    return params | {"early_stopping": params["early_stopping"] or False}


def _rows() -> list[Parameter]:
    return [row for row in PARAMETERS.values() if row.help]


RatingsFile = Annotated[
    Path,
    argument("RATINGS", "File of ratings: csv, tsv, MovieLens '::', parquet, feather or npz."),
]
ModelFile = Annotated[Path, argument("MODEL", "Model file that 'warpfactor train' wrote.")]
UserColumn = Annotated[Any, column("user", "--user", "--user-column")]
ItemColumn = Annotated[Any, column("item", "--item", "--item-column")]
RatingColumn = Annotated[Any, column("rating", "--rating", "--rating-column")]
TimestampColumn = Annotated[Any, column("timestamp", "--timestamp", "--timestamp-column")]
Separator = Annotated[
    str | None,
    _file_option(
        metavar="TEXT",
        help=r"What separates the fields, such as ',' or '\t' or '::'; found out if not given.",
    ),
]
Header = Annotated[
    bool | None,
    _file_option(
        "--header/--no-header",
        help="Whether the file begins with the columns' names; found out if not given.",
    ),
]
PredictionDevice = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where to predict: cpu, cuda, cuda:1, auto. If not given, where the model was trained, "
        "or the CPU where this machine has no CUDA.",
    ),
]
NFactors = training_option("n_factors").annotation
