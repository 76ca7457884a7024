"""``warpfactor predict | info``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from .app import command
from .ids import id_kinds, note_unknown, typed_ids
from .kinds import FILE, MODEL_FILE
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
@click.argument("pairs", metavar="[PAIRS]", required=False, type=FILE)
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

    write_table(output, format, rows(), schema)


@command
@click.argument("model_file", metavar="[MODEL]", required=False, type=MODEL_FILE)
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
    rows = list(_description(model, model_file))
    width = max(len(name) for name, value in rows if value)
    for name, value in rows:
        click.echo(f"{name:{width}}  {value}".rstrip())


def _description(model: Model, file: Path) -> Iterator[tuple[str, str]]:
    from ..data.ids import id_kind
    from ..model.file import version_in
    from ..model.looking import facts
    from ..training.changed import changed_params

    size = f"{file.stat().st_size:,} bytes"
    yield "file", f"{file} ({size}, written by warpfactor {version_in(file)})"
    ids = {"users": model.user_ids_, "items": model.item_ids_}
    for name, text in facts(model):
        if name in ids:
            text += f" ({id_kind(ids[name])} ids, {ids[name][0]} to {ids[name][-1]})"
        yield name, text
    for heading, params in (
        ("parameters that are not the defaults", changed_params(model)),
        ("chosen by training", model.chosen_),
    ):
        if params:
            yield "", ""
            yield f"{heading}:", ""
            for name, value in params.items():
                yield f"  {name}", _written(value)


def _written(value: Any) -> str:
    """Write a parameter's value, with no more digits of a number than say something."""
    if isinstance(value, tuple):
        return ", ".join(_written(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
