"""``warpfactor evaluate | predict | recommend | info``."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

import click

from ..parameters import DEFAULTS, N_LISTED
from .app import command
from .ids import in_kind_of, scored_pairs, typed_ids
from .options import column, file_layout, model_file, output_file, prediction_device, ratings_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.ratings import Ratings
    from ..model.model import Model

__all__ = ["evaluate", "info", "predict", "recommend"]

_USERS_PER_CHUNK = 4096


@command
@model_file
@ratings_file
@column("user", "--user", "--user-column")
@column("item", "--item", "--item-column")
@column("rating", "--rating", "--rating-column")
@file_layout
@prediction_device
def evaluate(
    model_file: Path,
    ratings: Path,
    user: Any,
    item: Any,
    rating: Any,
    sep: str | None,
    header: bool | None,
    device: str | None,
) -> None:
    """Measure a MODEL's error on RATINGS, a file of ratings.

    Example: warpfactor evaluate m.safetensors test.csv
    """
    from ..data.files import read_ratings
    from ..evaluation.metrics import mae, rmse
    from ..model.model import load

    model = load(model_file, device)
    data = read_ratings(ratings, user=user, item=item, rating=rating, sep=sep, header=header)
    pairs = in_kind_of(model, data)
    known_users, known_items = model.is_known(pairs)
    scored = scored_pairs(model, pairs)
    click.echo(f"pairs         {len(pairs):,}")
    click.echo(f"unknown user  {(~known_users).sum():,}")
    click.echo(f"unknown item  {(~known_items).sum():,}")
    if len(scored[0]) < len(pairs):
        click.echo(f"left out      {len(pairs) - len(scored[0]):,} (no prediction)")
    click.echo(f"MAE           {mae(*scored):.4f}")
    click.echo(f"RMSE          {rmse(*scored):.4f}")


@command
@model_file
@click.argument("pairs", metavar="[PAIRS]", required=False, type=click.Path(path_type=Path))
@click.option("--user", metavar="ID", help="One user, instead of a file.")
@click.option("--item", metavar="ID", help="One item, instead of a file.")
@output_file("csv to write; else to stdout.")
@column("user", "--user-column")
@column("item", "--item-column")
@file_layout
@prediction_device
def predict(
    model_file: Path,
    pairs: Path | None,
    user: str | None,
    item: str | None,
    output: Path | None,
    user_column: Any,
    item_column: Any,
    sep: str | None,
    header: bool | None,
    device: str | None,
) -> None:
    """Predict the ratings of PAIRS, or of one user and item.

    PAIRS is a file with a user and an item column; other columns are not read. The answer is csv.

    Example: warpfactor predict m.safetensors pairs.csv --output predictions.csv

    Example: warpfactor predict m.safetensors --user 17 --item 3
    """
    if (pairs is None) != (user is not None and item is not None) or (pairs and (user or item)):
        raise click.UsageError(
            "give a file of pairs, or both --user and --item (--user-column and --item-column "
            "name the file's columns)"
        )
    import numpy as np

    from ..data.ratings import Ratings
    from ..model.model import load
    from ..model.summary import counted

    model = load(model_file, device)
    users: Any
    items: Any
    if pairs is None:
        users = typed_ids([cast(str, user)], model.user_ids_, "user")
        items = typed_ids([cast(str, item)], model.item_ids_, "item")
    else:
        from ..data.files import read_pairs

        users, items = read_pairs(pairs, user=user_column, item=item_column, sep=sep, header=header)
    asked = Ratings.from_arrays(users, items, np.zeros(len(users), np.float32))
    matched = in_kind_of(model, asked)
    predictions = model.predict(matched)
    if pairs is None and output is None:
        click.echo(predictions[0])
        return
    if output is None:
        sys.stdout.flush()
        _write_predictions(sys.stdout.buffer, asked, predictions)
    else:
        with output.open("wb") as sink:
            _write_predictions(sink, asked, predictions)
    known_users, known_items = model.is_known(matched)
    n_unknown = int((~(known_users & known_items)).sum())
    if n_unknown:
        click.echo(
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


@command
@model_file
@click.option(
    "--user", "-u", metavar="ID", multiple=True, help="A user; may be given more than once."
)
@click.option("-n", "--n-items", "n", type=int, default=N_LISTED, help="Items for each user.")
@click.option("--include-seen", is_flag=True, help="Also list what the user has rated.")
@click.option("--all-users", is_flag=True, help="For every user.")
@click.option(
    "--format",
    metavar="NAME",
    help="table, tsv or csv. A terminal gets a table, a file named .csv gets csv, anything else "
    "tab-separated lines.",
)
@output_file("File to write; else to stdout.")
@prediction_device
def recommend(
    model_file: Path,
    user: tuple[str, ...],
    n: int,
    include_seen: bool,
    all_users: bool,
    format: str | None,
    output: Path | None,
    device: str | None,
) -> None:
    """List the items that a user would rate highest, best first.

    Example: warpfactor recommend m.safetensors --user 17 -n 10

    Example: warpfactor recommend m.safetensors --all-users --output best.csv
    """
    if bool(user) == all_users:
        raise click.UsageError("give --user ID (once or more), or --all-users")
    if format is None:
        is_csv = output is not None and output.suffix.lower() == ".csv"
        format = "csv" if is_csv else "table" if output is None and sys.stdout.isatty() else "tsv"
    if format not in ("table", "tsv", "csv"):
        raise ValueError(f"--format is {format!r}; it must be table, tsv or csv")

    from ..model.model import load

    model = load(model_file, device)
    # With another `unknown`, the model refuses users whose ratings were all held out.
    users = model.user_ids_ if model.unknown == "mean" else model.user_ids_[model.user_known_]
    if user:
        users = typed_ids(list(user), model.user_ids_, "user")
    lists = _recommendations(model, users, n, exclude_seen=not include_seen)
    write = _write_tables if format == "table" else _write_rows
    if output is None:
        write(sys.stdout, lists, format)
    else:
        with output.open("w", encoding="utf-8", newline="") as sink:
            write(sink, lists, format)


_Lists = Iterable[tuple[Any, list[tuple[Any, Any]]]]


def _recommendations(model: Model, users: NDArray[Any], n: int, *, exclude_seen: bool) -> _Lists:
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


@command
@click.argument("model_file", metavar="[MODEL]", required=False, type=click.Path(path_type=Path))
def info(
    model_file: Path | None,
) -> None:
    """Describe a MODEL, or without one this installation.

    Example: warpfactor info

    Example: warpfactor info m.safetensors
    """
    from ..config import show_config
    from ..model.model import load

    if model_file is None:
        show_config()
        return
    model = load(model_file)
    for name, value in _description(model, model_file):
        click.echo(f"{name:14}  {value}")


def _description(model: Model, file: Path) -> Iterator[tuple[str, str]]:
    from ..data.ids import id_kind
    from ..model.file import version_in
    from ..model.summary import kept_errors

    size = f"{file.stat().st_size:,} bytes"
    yield "file", f"{file} ({size}, written by warpfactor {version_in(file)})"
    for role, ids in (("users", model.user_ids_), ("items", model.item_ids_)):
        yield role, f"{len(ids):,} ({id_kind(ids)} ids, {ids[0]} to {ids[-1]})"
    yield "factors", f"{model.user_factors_.shape[1]} ({model.user_factors_.dtype})"
    yield "global mean", f"{model.global_mean_:.4f}"
    low, high = model.rating_range_
    # Files of format 1 did not say from where to where.
    span = "" if math.isnan(low) else f", from {low:g} to {high:g}"
    yield "ratings", f"{model.n_ratings_:,}{span}"
    yield "epochs", f"{len(model.history_)}{kept_errors(model)}"
    for name, value in model.get_params().items():
        mark = "" if value == DEFAULTS[name] else "  (not the default)"
        yield name, f"{value!r}{mark}"
