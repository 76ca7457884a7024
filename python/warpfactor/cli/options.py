"""The arguments and options of the commands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..parameters import PARAMETERS, Parameter
from ..writing import TABLES, check_target, is_stream
from .help import in_group
from .kinds import BYTES, FILE, MODEL_FILE, Names, formats_of_files, metrics_of_lists, offered
from .tables import has_table_suffix

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..data.titles import Titles

__all__ = [
    "GroupOption",
    "TitlesFile",
    "check_renamed",
    "checkpoint_options",
    "estimator_params",
    "file_layout",
    "judging",
    "model_file",
    "output_file",
    "page_file",
    "prediction_device",
    "ratings_files",
    "sizing",
    "table_file",
    "table_output",
    "test_by",
    "titles_options",
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


def _for_a_page(context: click.Context, param: click.Parameter, page: Path | None) -> Path | None:
    if page is None:
        return None
    flag = param.opts[0]
    if page.suffix.lower() not in (".html", ".htm") and not is_stream(page):
        raise ValueError(f"{flag} is {str(page)!r}; a page's name should end in .html")
    try:
        check_target(page)
    except OSError as error:
        raise ValueError(f"{flag}: {error}") from error
    return page


_Decorator = Callable[[Any], Any]


def ratings_files(name: str, metavar: str) -> _Decorator:
    """Make the argument of one file of ratings or more: a Path, or a list where there are several."""

    def one_or_several(_: click.Context, __: click.Parameter, given: tuple[Path, ...]) -> Any:
        return given[0] if len(given) == 1 else list(given)

    return click.argument(
        name,
        metavar=f"{metavar}...",
        nargs=-1,
        required=True,
        type=FILE,
        callback=one_or_several,
    )


model_file = click.argument("model_file", metavar="MODEL", type=MODEL_FILE)


class GroupOption(click.Option):
    """An option of a group of the help; of None it is one of the usual options."""

    def __init__(self, *flags: Any, group: str | None, **how: Any) -> None:
        super().__init__(*flags, **how)
        if group is not None:
            in_group(self, group)


def output_file(help: str) -> _Decorator:
    """Make the option of the file that a model is saved in."""
    return click.option(
        "--output", "-o", metavar="FILE", type=FILE, help=help, callback=_for_a_model
    )


def page_file(*flags: str, help: str, required: bool = False) -> _Decorator:
    """Make the option of the file that a page is written to."""
    return click.option(
        *flags, metavar="FILE", type=FILE, help=help, required=required, callback=_for_a_page
    )


def checkpoint_options(command: Any) -> Any:
    """Make the options by which a training that was cut off goes on."""
    of_group: Any = {"cls": GroupOption, "group": "checkpoints"}
    command = click.option(
        "--resume/--no-resume",
        **of_group,
        default=None,
        help="Go on from --checkpoint if the file is there, or begin anew all the same. Without either a "
        "file of a training that did not end is not replaced.",
    )(command)
    command = click.option(
        "--every",
        **of_group,
        metavar="EPOCHS",
        type=int,
        default=1,
        help="After how many epochs --checkpoint is written.",
    )(command)
    return click.option(
        "--checkpoint",
        **of_group,
        metavar="FILE",
        type=FILE,
        help="Keep the state of the training in FILE, from which --resume goes on if it is cut off.",
    )(command)


class TitlesFile:
    """The file that ``--titles`` names, and how it is laid out.

    Parameters
    ----------
    path : Path
        The file.
    layout : dict
        Keyword arguments of `read_titles`.
    """

    def __init__(self, path: Path, layout: dict[str, Any]) -> None:
        self._path = path
        self._layout = layout

    def read(self) -> Titles:
        """Return the titles; raise ValueError in the words of these options."""
        from ..checks import shell_words
        from ..data.titles import read_titles

        flags = {name: f"titles-{name}" for name in self._layout}
        with shell_words(**flags, user="titles-id", item="titles-title"):
            try:
                return read_titles(self._path, **self._layout)
            except ValueError as error:
                raise ValueError(f"--titles: {error}") from error


def titles_options(*, usual: bool = True) -> _Decorator:
    """Make the option of a file of titles, and those of how it is read.

    They reach a command as one keyword argument `titles`, a `TitlesFile` or None.

    Parameters
    ----------
    usual : bool, default True
        Whether ``--titles`` is among the options that the help shows first.
    """

    def decorate(command: Any) -> Any:
        @functools.wraps(command)
        def read_so(**given: Any) -> None:
            path = given.pop("titles")
            layout = {
                name: given.pop(f"titles_{name}") for name in (*_TITLES_COLUMNS, *_TITLES_LAYOUT)
            }
            typed = [name for name, value in layout.items() if value is not None]
            if path is None and typed:
                raise click.UsageError(f"--titles-{typed[0]} is given without --titles FILE")
            command(**given, titles=None if path is None else TitlesFile(path, layout))

        of_group: Any = {"cls": GroupOption, "group": "titles"}
        with_options: Any = read_so
        for name in reversed(_TITLES_LAYOUT):
            flag, metavar, help = _LAYOUT[name]
            flag = flag.replace("--", "--titles-", 1).replace("/--no-", "/--titles-no-")
            how: dict[str, Any] = {"default": None}
            if metavar:
                how = {"metavar": metavar, "type": _LAYOUT_NAMES.get(name, str)}
            with_options = click.option(flag, f"titles_{name}", help=help, **of_group, **how)(
                with_options
            )
        for name, what in reversed(_TITLES_COLUMNS.items()):
            with_options = click.option(
                f"--titles-{name}",
                **of_group,
                metavar="COLUMN",
                type=_name_or_position,
                help=f"Column of the {what}: its name, or its position from 0.",
            )(with_options)
        return click.option(
            "--titles",
            cls=GroupOption,
            group=None if usual else "titles",
            metavar="FILE",
            type=FILE,
            help="File of the items' titles, such as movies.csv.",
        )(with_options)

    return decorate


def table_output(default: str, other: str = "", help: str = "") -> _Decorator:
    """Make the options of the file that a table is written to, and of its format."""

    def decorate(command: Any) -> Any:
        names = ", ".join([*([other] if other else []), *TABLES])
        command = click.option(
            "--format",
            metavar="NAME",
            type=Names([*([other] if other else []), *TABLES]),
            help=f"{names}; if not given, by the file's suffix, {default} to stdout. {help}".rstrip(),
        )(command)
        return click.option(
            "--output",
            "-o",
            metavar="FILE",
            type=FILE,
            help="File to write, by its suffix (see --format; texts may end in .gz); else stdout.",
            callback=_writable,
        )(command)

    return decorate


def judging(command: Any) -> Any:
    """Give a command the options of how lists and predictions are judged.

    They reach it as one keyword argument `how`, a dict of keyword arguments of `evaluate`.
    """

    @functools.wraps(command)
    def judge_so(**given: Any) -> None:
        from ..checks import shell_words

        names = ("k", "metrics", "relevant_from", "baselines", "clip")
        how = {name: given.pop(name) for name in names}
        with shell_words():
            command(**given, how=how)

    decorated: Any = judge_so
    for flag, help, kind in reversed(_JUDGING):
        decorated = click.option(
            flag,
            cls=GroupOption,
            group=None if flag in _USUAL_MEASURES else "measures",
            help=help,
            **kind,
        )(decorated)
    return decorated


def _counts(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Read numbers with commas between."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--k is {text!r}; it must be integers with commas between") from None


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(","))


_JUDGING: list[tuple[str, str, dict[str, Any]]] = [
    (
        "--k",
        "How many items of a list count: one number or several.",
        {"metavar": "N[,N...]", "callback": _counts},
    ),
    (
        "--metrics",
        "What to measure, such as rmse,ndcg,recall.",
        {
            "metavar": "NAME[,NAME...]",
            "type": Names(metrics_of_lists, several=True),
            "callback": _names,
        },
    ),
    (
        "--relevant-from",
        "The least rating of a relevant item. If not given, that of three quarters of the scale.",
        {"metavar": "RATING", "type": float},
    ),
    (
        "--baselines/--no-baselines",
        "Whether to show what the mean, biases and popularity reach.",
        {"default": True},
    ),
    ("--clip", "Clip predictions to the range of the training ratings.", {"is_flag": True}),
]


_USUAL_MEASURES = ("--k", "--metrics")


def table_file(help: str) -> _Decorator:
    """Make the option of a file that a small table is also written to, in the format of its suffix."""
    return click.option("--output", "-o", metavar="FILE", type=FILE, help=help, callback=_writable)


test_by = click.option(
    "--test-by",
    metavar="NAME",
    type=Names(("random", "user", "time", "last")),
    default="random",
    help="What is held out: random; a part of each user's (user); the latest of all (time) or of each "
    "user (last).",
)


def sizing(flag: str, help: str) -> _Decorator:
    """Make the option of a number of ratings or a share of them."""
    return click.option(flag, metavar="SIZE", type=_size, help=help)


class _IdKinds(Names):
    """A kind of ids, or two with a comma between: of the users and of the items."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        kinds = tuple(str(value).split(","))
        return kinds[0] if len(kinds) == 1 else kinds


# The arguments of `read_ratings` that say how a file is laid out: the option's flags, which begin
# with the argument's name, a word for its value, and help.
_LAYOUT: dict[str, tuple[str, str, str]] = {
    "format": ("--format", "NAME", "Format, such as text, parquet or npz."),
    "sep": (
        "--sep",
        "TEXT",
        r"What separates fields, such as ',' or '\t' or '::', or '\s+' for any blanks.",
    ),
    "header": ("--header/--no-header", "", "Whether the columns' names come first."),
    "quote": ("--quote", "CHAR", "What stands around fields; '' if nothing does."),
    "escape": ("--escape", "CHAR", "What stands before a quote inside a quoted field."),
    "decimal": ("--decimal", "CHAR", "Decimal mark of the ratings."),
    "thousands": ("--thousands", "CHAR", "What groups the digits of the ratings."),
    "comment": ("--comment", "TEXT", "How lines begin that are left out; '' if none are."),
    "encoding": ("--encoding", "NAME", "Encoding of a text, such as latin-1."),
    "ids": (
        "--ids",
        "KIND[,KIND]",
        "Kind of the ids, or of users' and items': str, int, uuid, auto (integers where all are).",
    ),
    "strip": ("--strip/--no-strip", "", "Whether blanks around ids are left out."),
    "on_error": (
        "--on-error",
        "NAME",
        "At rows that cannot be read: raise an error, or skip them.",
    ),
    "member": ("--member", "NAME", "Which file of a zip archive."),
}
# What a shell completes them by.
_LAYOUT_NAMES: dict[str, Any] = {
    "format": Names(formats_of_files),
    "ids": _IdKinds(("auto", "str", "int", "uuid"), several=True),
    "on_error": Names(("raise", "skip")),
    "encoding": Names(("utf-8", "latin-1", "utf-16", "cp1252")),
}
# Those of a file of titles.
_TITLES_LAYOUT = ("format", "sep", "header", "quote", "encoding", "member")
_TITLES_COLUMNS = {"id": "items' ids", "title": "titles"}
_DEFAULTS: dict[str, Any] = {"ids": "auto", "strip": False, "on_error": "raise"}
# A layout's options reach click under names of their own, as commands have a --format too.
_PREFIX = "layout_"


def file_layout(
    *roles: str,
    short: bool = True,
    without: tuple[str, ...] = (),
    renamed: tuple[tuple[str, str], ...] = (),
) -> _Decorator:
    """Give a command the options of how a file is read.

    They reach it as one keyword argument `layout`, a dict of keyword arguments of `read_ratings`.

    Parameters
    ----------
    *roles : str
        The columns that are read.
    short : bool, default True
        Whether ``--user`` also names the column, beside ``--user-column``.
    without : tuple of str
        Arguments for which there is no option.
    renamed : tuple of (str, str)
        Arguments with the flag of their option, where it is another.
    """

    def decorate(command: Any) -> Any:
        @functools.wraps(command)
        def read_so(**given: Any) -> None:
            from ..checks import shell_words

            names = [name for name in given if name.startswith(_PREFIX)]
            layout = {name.removeprefix(_PREFIX): given.pop(name) for name in names}
            with shell_words(**{name: flag.removeprefix("--") for name, flag in renamed}):
                command(**given, layout=layout)

        with_options = read_so
        for name, (flag, metavar, help) in reversed(_LAYOUT.items()):
            if name not in without:
                flag = dict(renamed).get(name, flag)
                how: dict[str, Any] = {"default": _DEFAULTS.get(name)}
                if metavar:
                    how |= {"metavar": metavar, "type": _LAYOUT_NAMES.get(name, str)}
                with_options = click.option(
                    flag,
                    _PREFIX + name,
                    cls=GroupOption,
                    group="reading",
                    help=help,
                    **how,
                )(with_options)
        for role in reversed(roles):
            flags = (f"--{role}",) if short else ()
            with_options = click.option(
                *flags,
                f"--{role}-column",
                _PREFIX + role,
                cls=GroupOption,
                group="columns",
                metavar="COLUMN",
                type=_name_or_position,
                help=f"Column of the {role}s: its name, or its position from 0.",
            )(with_options)
        return with_options

    return decorate


prediction_device = click.option(
    "--device",
    metavar="NAME",
    type=Names(("cpu", "cuda", "auto")),
    help="Where to answer: cpu, cuda, cuda:1 or auto; if not given, where it was trained, if that is here.",
)


class _OrAuto(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in new versions
    """A type of values, or "auto", which leaves the choice to training."""

    def __init__(self, kind: Any) -> None:
        self._kind = click.types.convert_type(kind)
        self.name = self._kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else self._kind.convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        """Offer "auto"."""
        return offered(["auto"] if "auto".startswith(incomplete) else [])


# The groups of the help in which the parameters stand; those of neither are of "training".
_USUAL = ("n_factors", "n_epochs", "loss", "device", "random_state")
_OF_MODEL = (
    *("reg", "reg_bias", "reg_row", "reg_bias_row", "implicit_feedback", "reg_implicit"),
    *("l1_ratio", "nonnegative", "biases", "huber_delta", "normalize", "unknown"),
)
_OF_MACHINE = ("parallel", "device_memory", "n_threads", "dtype")


def _group_of(name: str) -> str | None:
    if name in _USUAL:
        return None
    return "model" if name in _OF_MODEL else "machine" if name in _OF_MACHINE else "training"


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
    if name == "device_memory":
        metavar = "BYTES"
    types: dict[str, Any] = {
        "int": BYTES if metavar == "BYTES" else int,
        "float": float,
        "pair": _per_side,
    }
    if row.kind == "choice":
        types["choice"] = Names(named)
    how: dict[str, Any] = {}
    if row.kind != "flag":
        how["type"] = _OrAuto(types[row.kind]) if row.none else types[row.kind]
    return click.option(
        *flags,
        option,
        cls=GroupOption,
        group=_group_of(name),
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
    if value is None or value == "auto":
        return
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
