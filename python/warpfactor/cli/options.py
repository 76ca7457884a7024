"""The arguments and options of the commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..parameters import PARAMETERS, Parameter
from ..writing import check_target
from .app import PANEL
from .tables import FORMATS, has_table_suffix

__all__ = [
    "check_renamed",
    "column",
    "estimator_params",
    "file_layout",
    "model_file",
    "output_file",
    "prediction_device",
    "ratings_file",
    "sizing",
    "table_output",
    "training_option",
    "training_options",
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


def _writable(_: click.Context, __: click.Parameter, output: Path | None) -> Path | None:
    """Fail before the work instead of after it."""
    if output is not None:
        try:
            check_target(output)
        except OSError as error:
            raise ValueError(f"--output: {error}") from error
    return output


def _for_a_model(
    context: click.Context, param: click.Parameter, output: Path | None
) -> Path | None:
    if output is not None and has_table_suffix(output):
        raise ValueError(
            f"--output is {str(output)!r}; a model is no table: its name should end in .safetensors"
        )
    return _writable(context, param, output)


_Decorator = Callable[[Any], Any]
_PATH = click.Path(path_type=Path)

ratings_file = click.argument("ratings", metavar="RATINGS", type=_PATH)
model_file = click.argument("model_file", metavar="MODEL", type=_PATH)


class _PanelOption(click.Option):
    """An option that stands under a heading of its own in the help; see `Command`."""

    def __init__(self, *flags: Any, panel: str, **how: Any) -> None:
        super().__init__(*flags, **how)
        setattr(self, PANEL, panel)


def output_file(help: str) -> _Decorator:
    """Make the option of the file that a model is saved in."""
    return click.option(
        "--output", "-o", metavar="FILE", type=_PATH, help=help, callback=_for_a_model
    )


def table_output(default: str, other: str = "", help: str = "") -> _Decorator:
    """Make the options of the file that a table is written to, and of its format."""

    def decorate(command: Any) -> Any:
        names = ", ".join([*([other] if other else []), *FORMATS])
        suffixes = ", ".join(suffix for suffixes in FORMATS.values() for suffix in suffixes)
        command = click.option(
            "--format",
            metavar="NAME",
            help=f"{names}. If not given, as the file's suffix says; {default} to stdout. {help}",
        )(command)
        return click.option(
            "--output",
            "-o",
            metavar="FILE",
            type=_PATH,
            help=f"File to write; else to stdout. Its suffix says how: {suffixes}; a text's name "
            "may end in .gz too.",
            callback=_writable,
        )(command)

    return decorate


def column(role: str, *flags: str) -> _Decorator:
    """Make the option of a column of the file."""
    return click.option(
        *flags,
        cls=_PanelOption,
        panel="Columns of the file",
        metavar="COLUMN",
        type=_name_or_position,
        help=f"Column of the {role}s: its name, or its position from 0.",
    )


def sizing(flag: str, help: str) -> _Decorator:
    """Make the option of a number of ratings or a share of them."""
    return click.option(flag, metavar="SIZE", type=_size, help=help)


def file_layout(command: Any) -> Any:
    """Give a command the options of how a text file is laid out."""
    header = click.option(
        "--header/--no-header",
        cls=_PanelOption,
        panel="Columns of the file",
        default=None,
        help="Whether the file begins with the columns' names; found out if not given.",
    )
    sep = click.option(
        "--sep",
        cls=_PanelOption,
        panel="Columns of the file",
        metavar="TEXT",
        help=r"What separates the fields, such as ',' or '\t' or '::'; found out if not given.",
    )
    return sep(header(command))


prediction_device = click.option(
    "--device",
    metavar="NAME",
    help="Where to predict: cpu, cuda, cuda:1, auto. If not given, where the model was trained, or "
    "the CPU where this machine has no CUDA.",
)


def training_option(name: str) -> _Decorator:
    """Make the option of a row of the table of parameters."""
    row = PARAMETERS[name]
    option = row.option or row.name
    flag = option.replace("_", "-")
    flags = [f"--{flag}/--no-{flag}" if row.kind == "flag" else f"--{flag}"]
    help, metavar = row.help, "NUMBER"
    if name == "n_factors":
        flags.append("-k")
    if row.kind == "choice":
        named = [choice for choice in row.choices if choice != "custom"]
        help, metavar = f"{help.rstrip('.')}: {', '.join(named)}.", "NAME"
    if row.kind == "pair":
        metavar = "NUMBER[,NUMBER]"
    types: dict[str, Any] = {"int": int, "float": float, "choice": str, "pair": _per_side}
    how: dict[str, Any] = {} if row.kind == "flag" else {"type": types[row.kind]}
    return click.option(
        *flags,
        option,
        cls=_PanelOption,
        panel="Model and training",
        metavar=None if row.kind == "flag" else metavar,
        default=row.default,
        help=help,
        **how,
    )


def training_options(command: Any) -> Any:
    """Give a command an option for each row of the table; they reach it as keyword arguments."""
    for row in reversed(_rows()):
        command = training_option(row.name)(command)
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
