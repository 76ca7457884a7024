"""``warpfactor predict | info``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..parameters import DEFAULTS
from .app import command
from .ids import id_kinds, note_unknown, typed_ids
from .options import file_layout, model_file, prediction_device, table_output
from .progress import busy, progress
from .tables import id_column, number_column, table_format, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.ratings import Ratings
    from ..model.model import Model

__all__ = ["info", "predict"]

_PAIRS_PER_CHUNK = 1 << 18


@command
@model_file
@click.argument("pairs", metavar="[PAIRS]", required=False, type=click.Path(path_type=Path))
@click.option("--user", metavar="ID", help="One user, instead of a file.")
@click.option("--item", metavar="ID", help="One item, instead of a file.")
@table_output("csv")
@file_layout(
    *("user", "item"),
    short=False,
    without=("ids", "decimal", "thousands"),
    renamed=(("format", "--input-format"),),
)
@prediction_device
def predict(
    model_file: Path,
    pairs: Path | None,
    user: str | None,
    item: str | None,
    output: Path | None,
    format: str | None,
    layout: dict[str, Any],
    device: str | None,
) -> None:
    """Predict the ratings of PAIRS, or of one user and item.

    PAIRS is a file with a user and an item column; other columns are not read. The answer is a
    table with the columns user, item and prediction, in the order of PAIRS; of one user and item it
    is the number.

    Example: warpfactor predict m.safetensors pairs.csv --output predictions.csv

    Example: warpfactor predict m.safetensors --user 17 --item 3
    """
    if (pairs is None) != (user is not None and item is not None) or (pairs and (user or item)):
        raise click.UsageError(
            "give a file of pairs, or both --user and --item (--user-column and --item-column "
            "name the file's columns)"
        )
    is_number = pairs is None and output is None and format is None
    format = table_format(output, format, "csv")

    import numpy as np

    from ..data.ratings import Ratings
    from ..model.model import load

    model = load(model_file, device)
    users: Any
    items: Any
    if pairs is None:
        users = typed_ids([cast(str, user)], model.user_ids_, "user")
        items = typed_ids([cast(str, item)], model.item_ids_, "item")
    else:
        from ..data.files import read_pairs

        with busy("reading", pairs):
            users, items = read_pairs(pairs, **layout, ids=id_kinds(model))
    asked = Ratings.from_arrays(users, items, np.zeros(len(users), np.float32))
    predictions = model.predict(asked)
    if is_number:
        click.echo(predictions[0])
        return
    _write_predictions(output, format, asked, predictions)
    note_unknown(
        model,
        asked,
        mean="the others are predicted from means and biases",
        otherwise="the others have no prediction (nan)",
    )


def _write_predictions(
    output: Path | None, format: str, asked: Ratings, predictions: NDArray[Any]
) -> None:
    import pyarrow as pa

    users, items = id_column(asked.user_ids), id_column(asked.item_ids)
    scores = number_column(predictions)
    schema = pa.schema([("user", users.type), ("item", items.type), ("prediction", scores.type)])

    def rows() -> Iterator[Any]:
        starts = range(0, len(asked), _PAIRS_PER_CHUNK)
        for start in progress(starts, "writing", output):
            part = slice(start, start + _PAIRS_PER_CHUNK)
            columns = [
                users.take(number_column(asked.users[part])),
                items.take(number_column(asked.items[part])),
                scores[part],
            ]
            yield pa.record_batch(columns, schema=schema)

    write_table(output, format, rows(), schema, ids=(users, items))


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
    if model.n_members_ > 1:
        yield "members", f"{model.n_members_}, which share the factors"
    yield "global mean", f"{model.global_mean_:.4f}"
    low, high = model.rating_range_
    # Files of format 1 did not say from where to where.
    span = "" if math.isnan(low) else f", from {low:g} to {high:g}"
    yield "ratings", f"{model.n_ratings_:,}{span}"
    yield "epochs", f"{len(model.history_)}{kept_errors(model)}"
    for name, value in model.get_params().items():
        mark = "" if value == DEFAULTS[name] else "  (not the default)"
        yield name, f"{value!r}{mark}"
