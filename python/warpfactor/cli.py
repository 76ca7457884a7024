"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | info``."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn, TextIO, cast

import typer
from typer.core import TyperGroup

from . import _core
from .exceptions import CudaError, DivergedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .estimator import MatrixFactorization
    from .ratings import Ratings

# NumPy, Arrow, scikit-learn and rich's tables are imported where they are used: --help and a typing
# mistake should not wait for them.

_DEFAULTS = _core.TrainParams()
_USERS_PER_CHUNK = 4096


class _OneLineErrors(TyperGroup):
    """Turns a user's mistake into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            # A closed pipe should show here, not when the interpreter shuts down.
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # The reader (head, less) has all it wanted. What is still buffered must go somewhere.
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + getattr(signal, "SIGPIPE", 13)) from None
        except KeyboardInterrupt:
            _fail("interrupted", code=128 + signal.SIGINT)
        except OSError as error:
            _fail(_os_error_text(error))
        except MemoryError as error:
            _fail(f"out of memory ({error})" if str(error) else "out of memory")
        except (ValueError, DivergedError, CudaError) as error:
            _fail(str(error) or type(error).__name__)


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"warpfactor: error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code) from None


def _os_error_text(error: OSError) -> str:
    if error.strerror and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error) or type(error).__name__


app = typer.Typer(
    cls=_OneLineErrors,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line on ``sys.argv``."""
    app(prog_name="warpfactor")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warpfactor {_core.__version__}")
        raise typer.Exit


@app.callback()
def _warpfactor(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Factorize rating matrices: train a model on a file of ratings, predict and recommend.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """


RatingsFile = Annotated[
    Path,
    typer.Argument(
        metavar="RATINGS",
        help="File of ratings: csv, tsv, MovieLens '::', parquet, feather or npz.",
        show_default=False,
    ),
]
ModelFile = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL", help="Model file that 'warpfactor train' wrote.", show_default=False
    ),
]


def _column(role: str, *flags: str) -> Any:
    return typer.Option(
        *flags,
        metavar="COLUMN",
        help=f"Column of the {role}s: its name, or its position from 0.",
        rich_help_panel="Columns of the file",
    )


UserColumn = Annotated[str | None, _column("user", "--user", "--user-column")]
ItemColumn = Annotated[str | None, _column("item", "--item", "--item-column")]
RatingColumn = Annotated[str | None, _column("rating", "--rating", "--rating-column")]
TimestampColumn = Annotated[str | None, _column("timestamp", "--timestamp", "--timestamp-column")]
Separator = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help=r"What separates the fields, such as ',' or '\t' or '::'; found out if not given.",
        rich_help_panel="Columns of the file",
    ),
]
Header = Annotated[
    bool | None,
    typer.Option(
        "--header/--no-header",
        help="Whether the file begins with the columns' names; found out if not given.",
        rich_help_panel="Columns of the file",
    ),
]


def _model_option(*flags: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*flags, help=help, metavar=metavar, rich_help_panel="Model and training")


def _choice(*flags: str, help: str, choices: Sequence[str]) -> Any:
    return _model_option(*flags, help=f"{help}: {', '.join(choices)}.", metavar="NAME")


NFactors = Annotated[
    int, _model_option("--n-factors", "-k", help="Length of the vector of each user and item.")
]


@app.command()
def demo(
    n_factors: NFactors = _DEFAULTS.n_factors,
    seed: Annotated[int, typer.Option(help="Seed of the data, the split and the training.")] = (
        _DEFAULTS.seed
    ),
) -> None:
    """Show what warpfactor does, on generated ratings, in a few seconds.

    A million ratings of MovieLens-1M's shape are generated, whose noise floor is known: no model
    can predict with a lower error. A tenth is held out, and a model trained on the rest.

    Example: warpfactor demo
    """
    from rich.console import Console

    import warpfactor as wf

    console = Console(highlight=False)
    started = time.perf_counter()
    console.print("[bold]Generating ratings of MovieLens-1M's shape[/bold]")
    data = wf.datasets.make_ratings(random_state=seed)
    train, test = wf.train_test_split(data.ratings, test_size=0.1, random_state=seed)
    console.print(f"{_shape(data.ratings)}, of which {len(test):,} are held out to test with\n")
    # The test ratings are passed as validation for the curve alone: without early stopping they
    # decide nothing.
    model = wf.MatrixFactorization(
        n_factors=n_factors, random_state=seed, early_stopping=False, verbose=0
    )
    console.print(
        f"[bold]Training {n_factors} factors with default settings[/bold]\n"
        "Early stopping is off: the test ratings are only watched, all epochs run\n"
    )
    model.fit(train, validation=test)
    console.print(_learning_curve(model))
    _print_demo_result(console, model, train, test, data.noise_floor)
    console.print(_demo_recommendations(model, train))
    console.print(
        f"\nThis took {time.perf_counter() - started:.1f} s. With ratings of your own:\n"
        "warpfactor train ratings.csv --test-size 0.1 --output m.safetensors"
    )


def _learning_curve(model: MatrixFactorization) -> Any:
    from rich.table import Table

    table = Table("epoch", "learning rate", "train RMSE", "test RMSE", "ms", title="Learning curve")
    for column in table.columns:
        column.justify = "right"
    for entry in model.history_:
        table.add_row(
            str(entry["epoch"]),
            f"{entry['learning_rate']:.4f}",
            f"{entry['train_rmse']:.4f}",
            f"{entry['valid_rmse']:.4f}",
            f"{1000 * entry['seconds']:.0f}",
        )
    return table


def _print_demo_result(
    console: Any, model: MatrixFactorization, train: Ratings, test: Ratings, floor: float
) -> None:
    import warpfactor as wf

    rmse = wf.metrics.rmse(test, model.predict(test))
    console.print(
        f"\ntest RMSE    [bold]{rmse:.4f}[/bold]\n"
        f"noise floor  [bold]{floor:.4f}[/bold]  (the test RMSE is {rmse / floor - 1:.1%} above)\n"
        f"speed        {_speed(model, len(train))}\n"
    )


def _speed(model: MatrixFactorization, n_ratings: int) -> str:
    """Ratings per second of the median epoch, and by what."""
    seconds = sorted(entry["seconds"] for entry in model.history_)
    how = f"{_count(model.n_threads_, 'thread')}, {model.instruction_set_}"
    if not seconds:
        return how
    rate = n_ratings / max(seconds[len(seconds) // 2], 1e-9)
    shown = f"{rate / 1e6:.0f} M" if rate > 1e7 else f"{rate:,.0f}"
    return f"{shown} ratings/s ({how})"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _demo_recommendations(model: MatrixFactorization, train: Ratings) -> Any:
    import numpy as np
    from rich.table import Table

    n_given = np.bincount(train.users, minlength=train.n_users)
    order = np.argsort(n_given, kind="stable")
    codes = [order[len(order) * share // 100] for share in (10, 50, 90)]
    ids, scores = model.recommend(train.user_ids[codes], n=5)
    table = Table("rank", title="Recommended items, with predicted ratings")
    for code in codes:
        given = _count(int(n_given[code]), "rating")
        table.add_column(f"user {train.user_ids[code]}\n{given}", justify="right")
    for at in range(ids.shape[1]):
        best = zip(ids[:, at], scores[:, at], strict=True)
        table.add_row(str(at + 1), *(f"item {item}  {score:.2f}" for item, score in best))
    return table


@app.command()
def train(
    ratings: RatingsFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to save the model: FILE.safetensors."
        ),
    ] = None,
    test_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Hold out this fraction (or this many ratings), train on the rest, and print the "
            "test RMSE on the last line.",
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
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Hold out this much of the training part, in the same way, for early stopping: "
            "the epoch with the lowest error on it is kept.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the test RMSE.")
    ] = False,
    n_factors: NFactors = _DEFAULTS.n_factors,
    n_epochs: Annotated[
        int, _model_option("--n-epochs", help="Passes over the ratings.")
    ] = _DEFAULTS.n_epochs,
    learning_rate: Annotated[
        float, _model_option("--learning-rate", help="Step size at the start.")
    ] = _DEFAULTS.learning_rate,
    reg: Annotated[
        float, _model_option("--reg", help="L2 penalty of the factors, per rating.")
    ] = _DEFAULTS.reg,
    reg_bias: Annotated[
        float, _model_option("--reg-bias", help="L2 penalty of the biases, per rating.")
    ] = _DEFAULTS.reg_bias,
    biases: Annotated[
        bool,
        _model_option("--biases/--no-biases", help="Whether the model has a mean and biases."),
    ] = _DEFAULTS.biases,
    normalize: Annotated[
        bool,
        _model_option(
            "--normalize/--no-normalize",
            help="Whether to train on ratings divided by their standard deviation.",
        ),
    ] = _DEFAULTS.normalize,
    schedule: Annotated[
        str,
        _choice(
            "--schedule", help="How the learning rate falls", choices=[*_core.Schedule.__members__]
        ),
    ] = _DEFAULTS.schedule.name,
    parallel: Annotated[
        str,
        _choice(
            "--parallel",
            help="How threads share the work",
            choices=[*_core.Parallel.__members__],
        ),
    ] = _DEFAULTS.parallel.name,
    init_scale: Annotated[
        float, _model_option("--init-scale", help="Standard deviation of the random start.")
    ] = _DEFAULTS.init_scale,
    patience: Annotated[
        int,
        _model_option(
            "--patience",
            help="Epochs without a better validation RMSE before training stops; 0 never stops.",
        ),
    ] = _DEFAULTS.patience,
    dtype: Annotated[
        str | None,
        _choice("--dtype", help="Type of the factors", choices=["float32", "float64"]),
    ] = None,
    device: Annotated[
        str,
        _choice("--device", help="Where to train", choices=["cpu", "cuda", "cuda:1", "auto"]),
    ] = _DEFAULTS.device.name,
    n_threads: Annotated[
        int | None,
        _model_option("--n-threads", help="Threads; all processors allowed if not given."),
    ] = None,
    unknown: Annotated[
        str | None,
        _choice(
            "--unknown",
            help="What the model predicts for unknown users and items",
            choices=["mean", "nan", "raise"],
        ),
    ] = None,
    seed: Annotated[
        int, _model_option("--seed", help="Seed of the start, the order and the split.")
    ] = _DEFAULTS.seed,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    timestamp: TimestampColumn = None,
    sep: Separator = None,
    header: Header = None,
) -> None:
    """Train a model on a file of ratings, test it, and save it.

    Recommendations of the saved model leave out all that the user has rated in the file, held out
    or not.

    Example: warpfactor train ratings.csv --test-size 0.1 --output m.safetensors
    """
    sizes = [_size(test_size, "--test-size"), _size(validation_size, "--validation-size")]
    if output is not None:
        _require_writable(output)

    import warpfactor as wf

    # Before the estimator, whose import takes longer than to find that there is no such file.
    started = time.perf_counter()
    data = _read(ratings, user, item, rating, timestamp, sep, header)
    read_seconds = time.perf_counter() - started

    params: dict[str, Any] = {
        "n_factors": n_factors,
        "n_epochs": n_epochs,
        "learning_rate": learning_rate,
        "reg": reg,
        "reg_bias": reg_bias,
        "biases": biases,
        "normalize": normalize,
        "schedule": schedule,
        "parallel": parallel,
        "init": init_scale,
        # True stands for the default.
        "early_stopping": True if patience == _DEFAULTS.patience else patience or False,
        "dtype": dtype,
        "device": device,
        "n_threads": n_threads,
        "unknown": unknown,
        "random_state": seed,
        "verbose": 0 if quiet else 1,
    }
    model = wf.MatrixFactorization(**{k: v for k, v in params.items() if v is not None})

    held_out: list[Ratings | None] = []
    rest = data
    for size in sizes:
        part = None
        if size is not None:
            rest, part = wf.train_test_split(rest, size, by=cast(Any, test_by), random_state=seed)
        held_out.append(part)
    test, validation = held_out

    started = time.perf_counter()
    model.fit(rest, validation=validation)
    fit_seconds = time.perf_counter() - started
    rmse = None if test is None else wf.metrics.rmse(*_scored(test, model.predict(test)))
    for part in held_out:
        if part is not None:
            model._mark_seen(part)
    if not quiet:
        typer.echo(f"ratings     {_shape(data)}, read in {read_seconds:.2f} s")
        typer.echo(
            f"trained on  {_count(len(rest), 'rating')}, {_count(len(model.history_), 'epoch')} in "
            f"{fit_seconds:.2f} s, {_speed(model, len(rest))}"
        )
        typer.echo(f"train RMSE  {_kept_epoch(model)}")
    if output is not None:
        model.save(output)
    if not quiet:
        typer.echo(f"saved       {output or 'nothing: --output FILE saves the model'}")
    if rmse is not None:
        typer.echo(f"test RMSE {rmse:.4f}")


def _size(text: str | None, option: str) -> float | int | None:
    """A count if written as an integer, else a fraction."""
    if text is None:
        return None
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise typer.BadParameter(
            f"{option} is {text!r}, must be a fraction such as 0.1, or a count"
        ) from None


def _require_writable(file: Path) -> None:
    """Fail before the work instead of after it."""
    folder = file.parent
    if not folder.is_dir():
        raise ValueError(f"cannot write {file}: there is no folder {folder}")
    if file.is_dir():
        raise ValueError(f"cannot write {file}: it is a folder")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"cannot write {file}: the folder {folder} is not writable")


def _column_key(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text


def _read(
    file: Path,
    user: str | None,
    item: str | None,
    rating: str | None,
    timestamp: str | None,
    sep: str | None,
    header: bool | None,
) -> Ratings:
    import warpfactor as wf

    return wf.read_ratings(
        file,
        user=_column_key(user),
        item=_column_key(item),
        rating=_column_key(rating),
        timestamp=_column_key(timestamp),
        sep=sep,
        header=header,
    )


def _shape(ratings: Ratings) -> str:
    users, items = _count(ratings.n_users, "user"), _count(ratings.n_items, "item")
    return f"{_count(len(ratings), 'rating')} by {users} of {items}"


def _kept_epoch(model: MatrixFactorization) -> str:
    """RMSEs of the epoch that the model is of."""
    if not model.n_epochs_:
        return "none: no epoch was trained"
    kept = model.history_[model.n_epochs_ - 1]
    text = f"{kept['train_rmse']:.4f}"
    if math.isnan(kept["valid_rmse"]):
        return text
    return f"{text}, validation RMSE {kept['valid_rmse']:.4f} (epoch {kept['epoch']} kept)"


def _scored(
    ratings: Ratings, predictions: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Ratings and predictions of the pairs that have one: not those with unknown="nan"."""
    import numpy as np

    there = ~np.isnan(predictions)
    if not there.any():
        raise ValueError("no pair has a user and an item that the model knows")
    return ratings.values[there], predictions[there]


@app.command()
def evaluate(
    model_file: ModelFile,
    ratings: RatingsFile,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    timestamp: TimestampColumn = None,
    sep: Separator = None,
    header: Header = None,
) -> None:
    """Measure a model's error on a file of ratings.

    Example: warpfactor evaluate m.safetensors test.csv
    """
    import warpfactor as wf

    model = wf.load(model_file)
    pairs = _in_kind_of(model, _read(ratings, user, item, rating, timestamp, sep, header))
    users, items = _known(model, pairs)
    predictions = model.predict(pairs)
    scored = _scored(pairs, predictions)
    typer.echo(f"pairs         {len(pairs):,}")
    typer.echo(f"unknown user  {int((~users).sum()):,}")
    typer.echo(f"unknown item  {int((~items).sum()):,}")
    if len(scored[0]) < len(pairs):
        typer.echo(f"left out      {len(pairs) - len(scored[0]):,} (no prediction)")
    typer.echo(f"MAE           {wf.metrics.mae(*scored):.4f}")
    typer.echo(f"RMSE          {wf.metrics.rmse(*scored):.4f}")


def _in_kind_of(model: MatrixFactorization, ratings: Ratings) -> Ratings:
    """Bring the ids of a file to the kind of the model's.

    A file whose ids all happen to look like integers still means the strings of a model whose
    training file had one "007".
    """
    import numpy as np

    from .ids import id_kind, parse_id
    from .ratings import Ratings

    columns = []
    for role, codes, ids, own in (
        ("user", ratings.users, ratings.user_ids, model.user_ids_),
        ("item", ratings.items, ratings.item_ids, model.item_ids_),
    ):
        values = ids
        if id_kind(ids) != id_kind(own):
            try:
                values = np.fromiter((parse_id(str(i), own) for i in ids), object, len(ids))
            except ValueError as error:
                raise ValueError(f"{role} {error}") from error
        columns.append((codes, values))
    (users, user_ids), (items, item_ids) = columns
    if user_ids is ratings.user_ids and item_ids is ratings.item_ids:
        return ratings
    return Ratings.from_arrays(user_ids[users], item_ids[items], ratings.values)


def _known(
    model: MatrixFactorization, pairs: Ratings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs have a user, and which an item, with training ratings."""
    from .ratings import pairs_to_codes

    users, items = pairs_to_codes(pairs, model.user_ids_, model.item_ids_)
    return (users >= 0) & model._user_known[users], (items >= 0) & model._item_known[items]


def _typed_id(text: str, ids: NDArray[Any], role: str) -> Any:
    """An id of the command line, as the model has it."""
    from .ids import lookup_ids, parse_id

    try:
        value = parse_id(text, ids)
    except ValueError as error:
        raise ValueError(f"{role} {error}") from error
    if lookup_ids(ids, [value], f"{role} ids")[0] < 0:
        raise ValueError(f"{role} {text!r} is not among the {len(ids):,} {role}s of the model")
    return value


@app.command()
def predict(
    model_file: ModelFile,
    pairs: Annotated[
        Path | None,
        typer.Argument(
            metavar="PAIRS",
            help="File with a user and an item column; other columns are not read.",
            show_default=False,
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="One user, instead of a file.")
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", metavar="ID", help="One item, instead of a file.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="csv to write; else to stdout."),
    ] = None,
    user_column: Annotated[str | None, _column("user", "--user-column")] = None,
    item_column: Annotated[str | None, _column("item", "--item-column")] = None,
    sep: Separator = None,
    header: Header = None,
) -> None:
    """Predict ratings: of the pairs of a file, as csv, or of one user and item.

    Example: warpfactor predict m.safetensors pairs.csv --output predictions.csv

    Example: warpfactor predict m.safetensors --user 17 --item 3
    """
    one = user is not None and item is not None
    if pairs is None and not one:
        raise typer.BadParameter("give a file of pairs, or both --user and --item")
    if pairs is not None and (user is not None or item is not None):
        raise typer.BadParameter(
            "give a file of pairs, or --user and --item, not both (--user-column and "
            "--item-column name the file's columns)"
        )
    if output is not None:
        _require_writable(output)

    import numpy as np

    import warpfactor as wf

    from .ratings import Ratings

    model = wf.load(model_file)
    if pairs is not None:
        asked = _read_pairs(pairs, _column_key(user_column), _column_key(item_column), sep, header)
    else:
        assert user is not None and item is not None
        users = [_typed_id(user, model.user_ids_, "user")]
        items = [_typed_id(item, model.item_ids_, "item")]
        asked = Ratings.from_arrays(users, items, np.zeros(1))
    matched = _in_kind_of(model, asked)
    predictions = model.predict(matched)
    if pairs is None and output is None:
        typer.echo(predictions[0])
        return
    known_users, known_items = _known(model, matched)
    n_unknown = int((~(known_users & known_items)).sum())
    with _binary_sink(output) as sink:
        _write_predictions(sink, asked, predictions)
    if n_unknown:
        typer.echo(
            f"warpfactor: note: {n_unknown:,} of {_count(len(asked), 'pair')} with a user or item "
            f"that the model does not know (unknown={model.unknown!r})",
            err=True,
        )


def _read_pairs(
    file: Path, user: str | int | None, item: str | int | None, sep: str | None, header: bool | None
) -> Ratings:
    """Read (user, item) pairs, as ratings of 0.

    `read_ratings` wants a rating column; its parts do the reading here too.
    """
    import csv

    import numpy as np
    import pyarrow as pa

    from . import io
    from .ratings import Ratings, resolve_columns

    if not file.exists():
        raise FileNotFoundError(2, os.strerror(2), str(file))
    kind = io._SUFFIXES.get(file.suffix.lower(), "text")
    if kind == "npz":
        return io.read_ratings(file, user=user, item=item)
    try:
        if file.is_dir():
            raise ValueError("is a directory: pass one file")
        if kind == "text":
            users, items = _read_text_pairs(file, user, item, sep, header)
        else:
            if kind == "parquet":
                from pyarrow.parquet import read_table
            else:
                from pyarrow.feather import read_table
            table = read_table(str(file))
            found = resolve_columns(table.column_names, user, item, roles=("user", "item"))
            users, items = table.column(found["user"]), table.column(found["item"])
        if not len(users):
            raise ValueError("the file holds no pairs, only a header")
        return Ratings.from_arrays(users, items, np.zeros(len(users), np.float32))
    except (ValueError, pa.ArrowException, csv.Error) as error:
        raise ValueError(f"{file}: {error}") from error


def _read_text_pairs(
    file: Path, user: str | int | None, item: str | int | None, sep: str | None, header: bool | None
) -> tuple[Any, Any]:
    from . import io
    from .ratings import _find_common, resolve_columns

    roles = ("user", "item")
    line, number = io._first_line(file, "utf-8")
    sep = io._sniff(line) if sep is None else sep.replace("\\t", "\t")
    if sep != "::" and len(sep) != 1:
        raise ValueError(f'sep is {sep!r}, must be one character or "::"')
    fields = [field.strip() for field in io._split(line, sep)]
    if len(fields) < 2:
        raise ValueError(f"the first line {line!r:.80} has no two fields separated by {sep!r}")
    by_name = isinstance(user, str) or isinstance(item, str)
    if header is None:
        # There is no rating to tell a header by, and ids may be any text.
        header = by_name or any(_find_common(fields, role) is not None for role in roles)
    if by_name and not header:
        raise ValueError("columns given by name need a header: pass positions with --no-header")
    found = resolve_columns(fields, user, item, named=header, roles=roles)
    layout = io._Layout(sep, "utf-8", fields, found, number if header else 0)
    table = io._read_columns(file, layout, dict.fromkeys(roles, io._CODED_TEXT))
    return io._exact_ids(table["user"], "user"), io._exact_ids(table["item"], "item")


@contextlib.contextmanager
def _binary_sink(output: Path | None) -> Iterator[BinaryIO]:
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
    else:
        with output.open("wb") as sink:
            yield sink


def _write_predictions(sink: BinaryIO, asked: Ratings, predictions: NDArray[Any]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    columns: dict[str, Any] = {}
    quoting = "none"
    for role, codes, ids in (
        ("user", asked.users, asked.user_ids),
        ("item", asked.items, asked.item_ids),
    ):
        texts = pa.array(ids) if ids.dtype != object else pa.array([str(i) for i in ids])
        # Arrow's "needed" quotes every string, so it is for those that do need it.
        if ids.dtype == object and pc.any(pc.match_substring_regex(texts, '[,"\r\n]')).as_py():
            quoting = "needed"
        columns[role] = pa.DictionaryArray.from_arrays(codes, texts)
    columns["prediction"] = pa.array(predictions)
    sink.write(b"user,item,prediction\n")
    csv.write_csv(
        pa.table(columns), sink, csv.WriteOptions(include_header=False, quoting_style=quoting)
    )


@app.command()
def recommend(
    model_file: ModelFile,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", "-u", metavar="ID", help="A user; may be given more than once."),
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n-items", help="Items for each user.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also list what the user has rated.")
    ] = False,
    all_users: Annotated[bool, typer.Option("--all-users", help="For every user.")] = False,
    format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="table, tsv, csv or json. A terminal gets a table, anything else tab-separated "
            "lines, a file what its suffix says.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; else to stdout."),
    ] = None,
) -> None:
    """List the items that a user would rate highest, best first.

    Example: warpfactor recommend m.safetensors --user 17 -n 10

    Example: warpfactor recommend m.safetensors --all-users --output best.csv
    """
    if bool(user) == all_users:
        raise typer.BadParameter("give --user ID (once or more), or --all-users")
    if format is None:
        format = _default_format(output)
    if format not in _WRITERS:
        raise ValueError(f"--format is {format!r}, must be one of {', '.join(_WRITERS)}")
    if output is not None:
        _require_writable(output)

    import warpfactor as wf

    model = wf.load(model_file)
    users: Any = model.user_ids_
    if user:
        users = [_typed_id(text, model.user_ids_, "user") for text in user]
    # Before a file is opened, so that a mistake leaves it as it was.
    lists = _recommendations(model, users, n, exclude_seen=not include_seen)
    if output is None:
        _WRITERS[format](sys.stdout, lists)
        return
    with output.open("w", encoding="utf-8", newline="") as sink:
        _WRITERS[format](sink, lists)


_Recommendations = Iterator[tuple[Any, list[tuple[Any, Any]]]]


def _recommendations(
    model: MatrixFactorization, users: Any, n: int, *, exclude_seen: bool
) -> _Recommendations:
    """Yield each user with a list of (item, score), a chunk of users at a time."""
    from itertools import chain

    def chunk(start: int) -> _Recommendations:
        part = users[start : start + _USERS_PER_CHUNK]
        ids, scores = model.recommend(part, n=n, exclude_seen=exclude_seen)
        for name, row, row_scores in zip(part, ids, scores, strict=True):
            # Empty slots, of a user who has rated nearly everything, have a score of NaN.
            yield name, [(i, s) for i, s in zip(row, row_scores, strict=True) if not math.isnan(s)]

    first = list(chunk(0))
    rest = (chunk(start) for start in range(_USERS_PER_CHUNK, len(users), _USERS_PER_CHUNK))
    return chain(first, chain.from_iterable(rest))


def _default_format(output: Path | None) -> str:
    if output is None:
        return "table" if sys.stdout.isatty() else "tsv"
    suffix = output.suffix.lower().removeprefix(".")
    return suffix if suffix in ("csv", "json") else "tsv"


def _write_table(sink: TextIO, lists: _Recommendations) -> None:
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width that long ids would have to be cut for.
    console = Console(
        file=sink, highlight=False, markup=False, width=None if sink.isatty() else 1000
    )
    for user, items in lists:
        table = Table("rank", "item", "score", title=f"user {user}")
        table.columns[0].justify = table.columns[2].justify = "right"
        for rank, (item, score) in enumerate(items, 1):
            table.add_row(str(rank), str(item), f"{score:.4f}")
        console.print(table)


def _write_tsv(sink: TextIO, lists: _Recommendations) -> None:
    sink.write("user\trank\titem\tscore\n")
    for user, items in lists:
        # As str, since format() would turn a float32 into a float with digits that mean nothing.
        sink.writelines(
            f"{user}\t{rank}\t{item}\t{score!s}\n" for rank, (item, score) in enumerate(items, 1)
        )


def _write_csv(sink: TextIO, lists: _Recommendations) -> None:
    import csv

    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(("user", "rank", "item", "score"))
    for user, items in lists:
        writer.writerows((user, rank, item, score) for rank, (item, score) in enumerate(items, 1))


def _write_json(sink: TextIO, lists: _Recommendations) -> None:
    def plain(value: Any) -> int | str:
        return str(value) if not hasattr(value, "__index__") else int(value)

    separator = "[\n"
    for user, items in lists:
        best = [{"item": plain(item), "score": float(str(score))} for item, score in items]
        sink.write(separator + json.dumps({"user": plain(user), "items": best}))
        separator = ",\n"
    sink.write("\n]\n")


_WRITERS: dict[str, Callable[[TextIO, _Recommendations], None]] = {
    "table": _write_table,
    "tsv": _write_tsv,
    "csv": _write_csv,
    "json": _write_json,
}


@app.command()
def info(
    model_file: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="Model file; without one, the installation.", show_default=False
        ),
    ] = None,
) -> None:
    """Describe a model file, or this installation: version, instruction sets, threads, CUDA.

    Example: warpfactor info

    Example: warpfactor info m.safetensors
    """
    import warpfactor as wf

    if model_file is None:
        wf.show_config()
        return
    model = wf.load(model_file)
    for name, value in _description(model, model_file):
        typer.echo(f"{name:14}  {value}")


def _description(model: MatrixFactorization, file: Path) -> Iterator[tuple[str, str]]:
    from safetensors import safe_open

    from .ids import id_kind

    with safe_open(file, framework="numpy") as opened:
        version = opened.metadata()["warpfactor_version"]
    yield "file", f"{file} ({file.stat().st_size:,} bytes, written by warpfactor {version})"
    for role, ids in (("users", model.user_ids_), ("items", model.item_ids_)):
        yield role, f"{len(ids):,} ({id_kind(ids)} ids, {ids[0]} to {ids[-1]})"
    yield "factors", f"{model.user_factors_.shape[1]} ({model.user_factors_.dtype})"
    yield "global mean", f"{model.global_mean_:.4f}"
    yield "epochs", str(len(model.history_))
    yield "train RMSE", _kept_epoch(model)
    defaults = type(model)().get_params()
    for name, value in model.get_params().items():
        mark = "" if value is defaults[name] or value == defaults[name] else "  (not the default)"
        yield name, f"{value!r}{mark}"
