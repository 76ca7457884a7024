"""``warpfactor recommend``."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import click

from ..parameters import N_LISTED
from ..writing import whole_file
from .app import command
from .ids import typed_ids
from .options import model_file, prediction_device, table_output
from .progress import progress
from .tables import id_column, number_column, table_format, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.model import Model

__all__ = ["recommend"]

# After so many an interrupt is heard.
_USERS_PER_CHUNK = 4096


@command
@model_file
@click.option(
    "--user", "-u", metavar="ID", multiple=True, help="A user; may be given more than once."
)
@click.option("-n", "--n-items", "n", type=int, default=N_LISTED, help="Items for each user.")
@click.option("--include-seen", is_flag=True, help="Also list what the user has rated.")
@click.option(
    "--confidence",
    type=float,
    default=0.0,
    help="Lower each score by so many standard deviations, for what an item's few ratings leave unknown.",
)
@click.option("--all-users", is_flag=True, help="For every user.")
@table_output("tsv", "table", "A terminal gets a table.")
@prediction_device
def recommend(
    model_file: Path,
    user: tuple[str, ...],
    n: int,
    include_seen: bool,
    confidence: float,
    all_users: bool,
    output: Path | None,
    format: str | None,
    device: str | None,
) -> None:
    """List the items that a user would rate highest, best first.

    Example: warpfactor recommend m.safetensors --user 17 -n 10

    Example: warpfactor recommend m.safetensors --all-users --output best.csv
    """
    if bool(user) == all_users:
        raise click.UsageError("give --user ID (once or more), or --all-users")
    default = "table" if output is None and sys.stdout.isatty() else "tsv"
    format = table_format(output, format, default, others=("table",))

    from ..model.model import load

    model = load(model_file, device)
    # With another `unknown`, the model refuses users whose ratings were all held out.
    users = model.user_ids_ if model.unknown == "mean" else model.user_ids_[model.user_known_]
    if user:
        users = typed_ids(list(user), model.user_ids_, "user").astype(model.user_ids_.dtype)
    # A mistake must show before a file is opened for writing.
    model.recommend(users[:1], n=n, confidence=confidence)
    chosen = {"n": n, "exclude_seen": not include_seen, "confidence": confidence}
    lists = _recommendations(model, users, chosen, output)
    if format == "table":
        _write_tables(output, lists)
    else:
        _write_lists(output, format, model, users, lists)


class _Lists(NamedTuple):
    """What some users are recommended; empty slots have a score of NaN."""

    users: NDArray[Any]
    items: NDArray[Any]  # (n_users, n)
    scores: NDArray[Any]


def _recommendations(
    model: Model, users: NDArray[Any], chosen: dict[str, Any], output: Path | None
) -> Iterator[_Lists]:
    starts = range(0, len(users), _USERS_PER_CHUNK)
    for start in progress(starts, "recommending", output):
        part = users[start : start + _USERS_PER_CHUNK]
        yield _Lists(part, *model.recommend(part, **chosen))


def _write_lists(
    output: Path | None,
    format: str,
    model: Model,
    users: NDArray[Any],
    lists: Iterator[_Lists],
) -> None:
    import numpy as np
    import pyarrow as pa

    user_ids, item_ids = id_column(users), id_column(model.item_ids_)
    schema = pa.schema(
        [
            ("user", user_ids.type),
            ("rank", pa.int32()),
            ("item", item_ids.type),
            ("score", pa.type_for_alias(model.item_factors_.dtype.name)),
        ]
    )

    def rows() -> Iterator[Any]:
        for part, items, scores in lists:
            filled = ~np.isnan(scores)
            ranks = np.broadcast_to(np.arange(1, scores.shape[1] + 1, dtype=np.int32), scores.shape)
            columns = [
                id_column(part).take(number_column(np.nonzero(filled)[0])),
                number_column(ranks[filled]),
                id_column(items[filled]),
                number_column(scores[filled]),
            ]
            yield pa.record_batch(columns, schema=schema)

    write_table(output, format, rows(), schema, ids=(user_ids, item_ids))


def _write_tables(output: Path | None, lists: Iterator[_Lists]) -> None:
    from rich.console import Console
    from rich.table import Table

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(cast("Any", lists)))
        sink: Any = sys.stdout
        if output is not None:
            sink = stack.enter_context(
                io.TextIOWrapper(stack.enter_context(whole_file(output)), encoding="utf-8")
            )
        # A pipe has no width that long ids would have to be cut for.
        console = Console(
            file=sink, highlight=False, markup=False, width=None if sink.isatty() else 1000
        )
        for users, items, scores in lists:
            for user, row, row_scores in zip(users, items, scores, strict=True):
                table = Table("rank", "item", "score", title=f"user {user}")
                table.columns[0].justify = table.columns[2].justify = "right"
                for rank, item, score in zip(itertools.count(1), row, row_scores, strict=False):
                    if not math.isnan(score):
                        table.add_row(str(rank), str(item), f"{score:.4f}")
                console.print(table)
