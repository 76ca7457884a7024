"""The command line: ``warpfactor demo | train | evaluate | predict | recommend | info``."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn, TextIO, cast

import typer
from typer.core import TyperGroup

from .. import _core
from ..exceptions import CudaError, DivergedError
from ..training.progress import counted, errors_of, summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.ratings import Ratings
    from ..training.estimator import MatrixFactorization

# NumPy, Arrow, scikit-learn and rich's tables are imported where they are used: --help and a typing
# mistake should not wait for them.

_DEFAULTS = _core.TrainParams()
_CHOICES = {row["name"]: row["choices"] for row in _core.parameters()}
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
            named = error.strerror and error.filename is not None
            _fail(f"{os.fsdecode(error.filename)}: {error.strerror}" if named else str(error))
        except MemoryError as error:
            _fail(f"out of memory {error}")
        except (ValueError, DivergedError, CudaError) as error:
            _fail(str(error))


def _fail(message: str, code: int = 1) -> NoReturn:
    typer.echo(f"warpfactor: error: {' '.join(message.split())}", err=True)
    raise typer.Exit(code) from None


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


def _argument(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


def _output(help: str) -> Any:
    return typer.Option("--output", "-o", metavar="FILE", help=help, callback=_writable)


def _file_option(*flags: str, help: str, **how: Any) -> Any:
    return typer.Option(*flags, help=help, rich_help_panel="Columns of the file", **how)


def _column(role: str, *flags: str) -> Any:
    return _file_option(
        *flags,
        metavar="COLUMN",
        help=f"Column of the {role}s: its name, or its position from 0.",
        parser=_name_or_position,
    )


def _sizing(help: str) -> Any:
    return typer.Option(metavar="SIZE", help=help, parser=_size)


def _training(help: str, *flags: str, choices: Iterable[str] = (), **how: Any) -> Any:
    if choices:
        help = f"{help}: {', '.join(choices)}."
        how["metavar"] = "NAME"
    return typer.Option(*flags, help=help, rich_help_panel="Model and training", **how)


def _strength(of: str) -> Any:
    return _training(
        f"Penalty of the {of}, per rating: of both sides, or of users,items.",
        metavar="NUMBER[,NUMBER]",
        parser=_per_side,
    )


RatingsFile = Annotated[
    Path,
    _argument("RATINGS", "File of ratings: csv, tsv, MovieLens '::', parquet, feather or npz."),
]
ModelFile = Annotated[Path, _argument("MODEL", "Model file that 'warpfactor train' wrote.")]
UserColumn = Annotated[Any, _column("user", "--user", "--user-column")]
ItemColumn = Annotated[Any, _column("item", "--item", "--item-column")]
RatingColumn = Annotated[Any, _column("rating", "--rating", "--rating-column")]
TimestampColumn = Annotated[Any, _column("timestamp", "--timestamp", "--timestamp-column")]
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
NFactors = Annotated[
    int, _training("Length of the vector of each user and item.", "--n-factors", "-k")
]


@app.command()
def demo(
    n_factors: NFactors = _DEFAULTS["n_factors"],
    seed: Annotated[int, typer.Option(help="Seed of the data, the split and the training.")] = (
        _DEFAULTS["seed"]
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
    rmse, floor = wf.metrics.rmse(test, model.predict(test)), data.noise_floor
    median = sorted(entry["seconds"] for entry in model.history_)[len(model.history_) // 2]
    console.print(
        f"\ntest RMSE    [bold]{rmse:.4f}[/bold]\n"
        f"noise floor  [bold]{floor:.4f}[/bold]  (the test RMSE is {rmse / floor - 1:.1%} above)\n"
        f"speed        {len(train) / median / 1e6:.0f} M ratings/s "
        f"({counted(model.n_threads_, 'thread')}, {model.instruction_set_})\n"
    )
    console.print(_demo_recommendations(model, train))
    console.print(
        f"\nThis took {time.perf_counter() - started:.1f} s. With ratings of your own:\n"
        "warpfactor train ratings.csv --test-size 0.1 --output m.safetensors"
    )


def _shape(ratings: Ratings) -> str:
    users, items = counted(ratings.n_users, "user"), counted(ratings.n_items, "item")
    return f"{counted(len(ratings), 'rating')} by {users} of {items}"


def _learning_curve(model: MatrixFactorization) -> Any:
    from rich.table import Table

    table = Table(title="Learning curve")
    for name in ("epoch", "learning rate", "train RMSE", "test RMSE", "ms"):
        table.add_column(name, justify="right")
    for entry in model.history_:
        table.add_row(
            str(entry["epoch"]),
            f"{entry['learning_rate']:.4f}",
            f"{entry['train_rmse']:.4f}",
            f"{entry['valid_rmse']:.4f}",
            f"{1000 * entry['seconds']:.0f}",
        )
    return table


def _demo_recommendations(model: MatrixFactorization, train: Ratings) -> Any:
    import numpy as np
    from rich.table import Table

    n_given = np.bincount(train.users, minlength=train.n_users)
    order = np.argsort(n_given, kind="stable")
    codes = [order[len(order) * share // 100] for share in (10, 50, 90)]
    ids, scores = model.recommend(train.user_ids[codes], n=5)
    table = Table("rank", title="Recommended items, with predicted ratings")
    for code in codes:
        title = f"user {train.user_ids[code]}\n{counted(int(n_given[code]), 'rating')}"
        table.add_column(title, justify="right")
    for at in range(ids.shape[1]):
        best = zip(ids[:, at], scores[:, at], strict=True)
        table.add_row(str(at + 1), *(f"item {item}  {score:.2f}" for item, score in best))
    return table


@app.command()
def train(
    ratings: RatingsFile,
    output: Annotated[Path | None, _output("Where to save the model: FILE.safetensors.")] = None,
    test_size: Annotated[
        Any,
        _sizing(
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
        _sizing(
            "Hold out this much of the training part, in the same way, for early stopping: "
            "the epoch with the lowest error on it is kept."
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but the test RMSE.")
    ] = False,
    n_factors: NFactors = _DEFAULTS["n_factors"],
    n_epochs: Annotated[int, _training("Passes over the ratings.")] = _DEFAULTS["n_epochs"],
    learning_rate: Annotated[
        float | None,
        _training("Step size at the start; chosen by the optimizer if not given."),
    ] = _DEFAULTS["learning_rate"],
    loss: Annotated[
        str,
        _training(
            "The error term", choices=[name for name in _CHOICES["loss"] if name != "custom"]
        ),
    ] = _DEFAULTS["loss"],
    huber_delta: Annotated[
        float, _training("Where the Huber loss turns linear, in standard deviations.")
    ] = _DEFAULTS["huber_delta"],
    reg: Annotated[Any, _strength("factors")] = _DEFAULTS["reg"][0],
    reg_bias: Annotated[Any, _strength("biases")] = _DEFAULTS["reg_bias"][0],
    l1_ratio: Annotated[
        float, _training("Share of L1 in the penalties, from 0 (all L2) to 1 (all L1).")
    ] = _DEFAULTS["l1_ratio"],
    nonnegative: Annotated[
        bool, _training("Whether factors and biases are kept at 0 or above.")
    ] = _DEFAULTS["nonnegative"],
    biases: Annotated[
        bool, _training("Whether the model has a mean and biases.")
    ] = _DEFAULTS["biases"],
    normalize: Annotated[
        bool, _training("Whether to train on ratings divided by their deviation or mean.")
    ] = _DEFAULTS["normalize"],
    optimizer: Annotated[
        str,
        _training("How a gradient becomes a step", choices=_CHOICES["optimizer"]),
    ] = _DEFAULTS["optimizer"],
    batch_size: Annotated[
        int | None,
        _training("Ratings that make a step together; each makes its own if not given."),
    ] = None,
    momentum: Annotated[
        float, _training("Share of the previous step that is repeated, with sgd and gd.")
    ] = _DEFAULTS["momentum"],
    adagrad_per: Annotated[
        str,
        _training("What adagrad keeps a sum of squares of", choices=_CHOICES["adagrad_per"]),
    ] = _DEFAULTS["adagrad_per"],
    beta_1: Annotated[
        float, _training("How slowly adam forgets gradients.", "--beta-1")
    ] = _DEFAULTS["beta_1"],
    beta_2: Annotated[
        float, _training("How slowly adam forgets their squares.", "--beta-2")
    ] = _DEFAULTS["beta_2"],
    epsilon: Annotated[
        float, _training("What adam adds to the root of the squares.")
    ] = _DEFAULTS["epsilon"],
    schedule: Annotated[
        str, _training("How the learning rate falls", choices=_CHOICES["schedule"])
    ] = _DEFAULTS["schedule"],
    warmup_epochs: Annotated[
        int, _training("Epochs that train the first --warmup-factors factors alone.")
    ] = _DEFAULTS["warmup_epochs"],
    warmup_factors: Annotated[
        int, _training("How many factors the warm-up trains, in whole sixteens.")
    ] = _DEFAULTS["warmup_factors"],
    parallel: Annotated[
        str, _training("How threads share the work", choices=_CHOICES["parallel"])
    ] = _DEFAULTS["parallel"],
    init_scale: Annotated[
        float, _training("Standard deviation of the random start.")
    ] = _DEFAULTS["init_scale"],
    patience: Annotated[
        int,
        _training("Epochs without a lower validation loss before training stops; 0 never stops."),
    ] = _DEFAULTS["patience"],
    dtype: Annotated[
        str,
        _training("Type of the factors", choices=["float32", "float64", "float16 (with cuda)"]),
    ] = "float32",
    device: Annotated[
        str, _training("Where to train and test", choices=["cpu", "cuda", "cuda:1", "auto"])
    ] = _DEFAULTS["device"],
    device_memory: Annotated[
        int | None,
        _training("Bytes of the device's memory to use at most; what is free if not given."),
    ] = None,
    n_threads: Annotated[
        int | None, _training("Threads; all processors allowed if not given.")
    ] = None,
    unknown: Annotated[
        str,
        _training(
            "What the model predicts for unknown users and items", choices=["mean", "nan", "raise"]
        ),
    ] = "mean",
    seed: Annotated[int, _training("Seed of the start, the order and the split.")] = _DEFAULTS["seed"],
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
    import warpfactor as wf

    from ..data.files import read_ratings

    started = time.perf_counter()
    # Before the estimator, whose import takes longer than to find that there is no such file.
    data = read_ratings(
        ratings, user=user, item=item, rating=rating, timestamp=timestamp, sep=sep, header=header
    )
    read_seconds = time.perf_counter() - started
    model = wf.MatrixFactorization(
        n_factors,
        n_epochs=n_epochs,
        learning_rate=learning_rate,
        loss=loss,
        huber_delta=huber_delta,
        reg=reg,
        reg_bias=reg_bias,
        l1_ratio=l1_ratio,
        nonnegative=nonnegative,
        biases=biases,
        normalize=normalize,
        optimizer=optimizer,
        batch_size=batch_size,
        momentum=momentum,
        adagrad_per=adagrad_per,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        schedule=schedule,
        warmup_epochs=warmup_epochs,
        warmup_factors=warmup_factors,
        parallel=parallel,
        init=init_scale,
        early_stopping=patience or False,
        dtype=dtype,
        device=device,
        device_memory=device_memory,
        n_threads=n_threads,
        unknown=unknown,
        random_state=seed,
        verbose=0 if quiet else 1,
    )
    if test_size is not None:
        model._prediction_device("numpy")  # fails before the work instead of after it
    held_out: list[Ratings | None] = []
    rest = data
    for size in (test_size, validation_size):
        part = None
        if size is not None:
            rest, part = wf.train_test_split(rest, size, by=cast(Any, test_by), random_state=seed)
        held_out.append(part)
    test, validation = held_out

    started = time.perf_counter()
    model.fit(rest, validation=validation)
    fit_seconds = time.perf_counter() - started
    for part in held_out:
        if part is not None:
            model._mark_seen(part)
    if output is not None:
        model.save(output)
    rmse = None if test is None else wf.metrics.rmse(*_scored(model, test))
    if not quiet:
        if not sys.stderr.isatty():  # on a terminal the estimator itself has said it
            typer.echo(f"trained  {summary(model, fit_seconds)}")
        typer.echo(f"ratings  {_shape(data)}, read in {read_seconds:.2f} s")
        typer.echo(f"saved    {output or 'nothing: --output FILE saves the model'}")
    if rmse is not None:
        typer.echo(f"test RMSE {rmse:.4f}")


def _scored(
    model: MatrixFactorization, ratings: Ratings
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Ratings and their predictions: of known users and items only, unless others get a mean."""
    if model.unknown != "mean":
        users, items = _known(model, ratings)
        if not (users & items).any():
            raise ValueError("no test pair has a user and an item that the model knows")
        ratings = ratings.take(users & items)
    return ratings.values, model.predict(ratings)


@app.command()
def evaluate(
    model_file: ModelFile,
    ratings: RatingsFile,
    user: UserColumn = None,
    item: ItemColumn = None,
    rating: RatingColumn = None,
    sep: Separator = None,
    header: Header = None,
    device: PredictionDevice = None,
) -> None:
    """Measure a model's error on a file of ratings.

    Example: warpfactor evaluate m.safetensors test.csv
    """
    import warpfactor as wf

    model = wf.load(model_file, device)
    data = wf.read_ratings(ratings, user=user, item=item, rating=rating, sep=sep, header=header)
    pairs = _in_kind_of(model, data)
    known_users, known_items = _known(model, pairs)
    scored = _scored(model, pairs)
    typer.echo(f"pairs         {len(pairs):,}")
    typer.echo(f"unknown user  {(~known_users).sum():,}")
    typer.echo(f"unknown item  {(~known_items).sum():,}")
    if len(scored[0]) < len(pairs):
        typer.echo(f"left out      {len(pairs) - len(scored[0]):,} (no prediction)")
    typer.echo(f"MAE           {wf.metrics.mae(*scored):.4f}")
    typer.echo(f"RMSE          {wf.metrics.rmse(*scored):.4f}")


def _in_kind_of(model: MatrixFactorization, ratings: Ratings) -> Ratings:
    """Bring the ids of a file to the kind of the model's.

    A file whose ids all happen to look like integers still means the strings of a model whose
    training file had one "007".
    """
    from ..data.ids import id_kind
    from ..data.ratings import Ratings

    if (id_kind(ratings.user_ids), id_kind(ratings.item_ids)) == (
        id_kind(model.user_ids_),
        id_kind(model.item_ids_),
    ):
        return ratings
    user_ids = _parsed(ratings.user_ids, model.user_ids_, "user")
    item_ids = _parsed(ratings.item_ids, model.item_ids_, "item")
    return Ratings.from_arrays(user_ids[ratings.users], item_ids[ratings.items], ratings.values)


def _parsed(texts: Sequence[Any] | NDArray[Any], known: NDArray[Any], role: str) -> NDArray[Any]:
    """Read ids as the kind that the model's are."""
    import numpy as np

    from ..data.ids import parse_id

    try:
        return np.fromiter((parse_id(str(text), known) for text in texts), object, len(texts))
    except ValueError as error:
        raise ValueError(f"{role} {error}") from error


def _known(
    model: MatrixFactorization, pairs: Ratings
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which pairs have a user, and which an item, with training ratings."""
    from ..data.ratings import pairs_to_codes

    users, items = pairs_to_codes(pairs, model.user_ids_, model.item_ids_)
    return (users >= 0) & model._user_known[users], (items >= 0) & model._item_known[items]


def _typed(texts: list[str], known: NDArray[Any], role: str) -> NDArray[Any]:
    """Ids of the command line, which must be the model's."""
    from ..data.ids import lookup_ids

    ids = _parsed(texts, known, role)
    for text, code in zip(texts, lookup_ids(known, ids, f"{role} ids"), strict=True):
        if code < 0:
            raise ValueError(
                f"{role} {text!r} is not among the {len(known):,} {role}s of the model"
            )
    return ids


@app.command()
def predict(
    model_file: ModelFile,
    pairs: Annotated[
        Path | None,
        _argument("PAIRS", "File with a user and an item column; other columns are not read."),
    ] = None,
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="One user, instead of a file.")
    ] = None,
    item: Annotated[
        str | None, typer.Option("--item", metavar="ID", help="One item, instead of a file.")
    ] = None,
    output: Annotated[Path | None, _output("csv to write; else to stdout.")] = None,
    user_column: Annotated[Any, _column("user", "--user-column")] = None,
    item_column: Annotated[Any, _column("item", "--item-column")] = None,
    sep: Separator = None,
    header: Header = None,
    device: PredictionDevice = None,
) -> None:
    """Predict ratings: of the pairs of a file, as csv, or of one user and item.

    Example: warpfactor predict m.safetensors pairs.csv --output predictions.csv

    Example: warpfactor predict m.safetensors --user 17 --item 3
    """
    if (pairs is None) != (user is not None and item is not None) or (pairs and (user or item)):
        raise typer.BadParameter(
            "give a file of pairs, or both --user and --item (--user-column and --item-column "
            "name the file's columns)"
        )
    import numpy as np

    import warpfactor as wf

    model = wf.load(model_file, device)
    users: Any
    items: Any
    if pairs is None:
        users = _typed([cast(str, user)], model.user_ids_, "user")
        items = _typed([cast(str, item)], model.item_ids_, "item")
    else:
        from ..data.files import read_pairs

        users, items = read_pairs(pairs, user=user_column, item=item_column, sep=sep, header=header)
    asked = wf.Ratings.from_arrays(users, items, np.zeros(len(users), np.float32))
    matched = _in_kind_of(model, asked)
    predictions = model.predict(matched)
    if pairs is None and output is None:
        typer.echo(predictions[0])
        return
    if output is None:
        sys.stdout.flush()
        _write_predictions(sys.stdout.buffer, asked, predictions)
    else:
        with output.open("wb") as sink:
            _write_predictions(sink, asked, predictions)
    known_users, known_items = _known(model, matched)
    n_unknown = int((~(known_users & known_items)).sum())
    if n_unknown:
        typer.echo(
            f"warpfactor: note: {n_unknown:,} of {counted(len(asked), 'pair')} with a user or item "
            f"that the model does not know (unknown={model.unknown!r})",
            err=True,
        )


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
        texts = pa.array([str(value) for value in ids])
        # Arrow's "needed" quotes every string, so it is for those that do need it.
        if pc.any(pc.match_substring_regex(texts, '[,"\r\n]')).as_py():
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
            help="table, tsv or csv. A terminal gets a table, a file named .csv gets csv, anything "
            "else tab-separated lines.",
        ),
    ] = None,
    output: Annotated[Path | None, _output("File to write; else to stdout.")] = None,
    device: PredictionDevice = None,
) -> None:
    """List the items that a user would rate highest, best first.

    Example: warpfactor recommend m.safetensors --user 17 -n 10

    Example: warpfactor recommend m.safetensors --all-users --output best.csv
    """
    if bool(user) == all_users:
        raise typer.BadParameter("give --user ID (once or more), or --all-users")
    if format is None:
        is_csv = output is not None and output.suffix.lower() == ".csv"
        format = "csv" if is_csv else "table" if output is None and sys.stdout.isatty() else "tsv"
    if format not in ("table", "tsv", "csv"):
        raise ValueError(f"--format is {format!r}, must be table, tsv or csv")

    import warpfactor as wf

    model = wf.load(model_file, device)
    # With another `unknown`, the model refuses users whose ratings were all held out.
    users = model.user_ids_ if model.unknown == "mean" else model.user_ids_[model._user_known]
    if user:
        users = _typed(user, model.user_ids_, "user")
    lists = _recommendations(model, users, n, exclude_seen=not include_seen)
    write = _write_tables if format == "table" else _write_rows
    if output is None:
        write(sys.stdout, lists, format)
    else:
        with output.open("w", encoding="utf-8", newline="") as sink:
            write(sink, lists, format)


_Lists = Iterable[tuple[Any, list[tuple[Any, Any]]]]


def _recommendations(
    model: MatrixFactorization, users: NDArray[Any], n: int, *, exclude_seen: bool
) -> _Lists:
    """Each user with a list of (item, score), a chunk of users at a time."""

    def chunk(start: int) -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
        part = users[start : start + _USERS_PER_CHUNK]
        ids, scores = model.recommend(part, n=n, exclude_seen=exclude_seen)
        for name, row, row_scores in zip(part, ids, scores, strict=True):
            # Empty slots, of a user who has rated nearly everything, have a score of NaN.
            yield name, [(i, s) for i, s in zip(row, row_scores, strict=True) if not math.isnan(s)]

    # A mistake must show before a file is opened for writing.
    model.recommend(users[:1], n=n)
    return (each for at in range(0, len(users), _USERS_PER_CHUNK) for each in chunk(at))


def _write_tables(sink: TextIO, lists: _Lists, _: str) -> None:
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


def _write_rows(sink: TextIO, lists: _Lists, format: str) -> None:
    import csv

    writer = csv.writer(sink, delimiter="," if format == "csv" else "\t", lineterminator="\n")
    writer.writerow(("user", "rank", "item", "score"))
    for user, items in lists:
        writer.writerows((user, rank, item, score) for rank, (item, score) in enumerate(items, 1))


@app.command()
def info(
    model_file: Annotated[
        Path | None, _argument("MODEL", "Model file; without one, the installation.")
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

    from ..data.ids import id_kind

    with safe_open(file, framework="numpy") as opened:
        version = opened.metadata()["warpfactor_version"]
    yield "file", f"{file} ({file.stat().st_size:,} bytes, written by warpfactor {version})"
    for role, ids in (("users", model.user_ids_), ("items", model.item_ids_)):
        yield role, f"{len(ids):,} ({id_kind(ids)} ids, {ids[0]} to {ids[-1]})"
    yield "factors", f"{model.user_factors_.shape[1]} ({model.user_factors_.dtype})"
    yield "global mean", f"{model.global_mean_:.4f}"
    yield "epochs", f"{len(model.history_)}{errors_of(model)}"
    defaults = type(model)().get_params()
    for name, value in model.get_params().items():
        mark = "" if value == defaults[name] else "  (not the default)"
        yield name, f"{value!r}{mark}"
