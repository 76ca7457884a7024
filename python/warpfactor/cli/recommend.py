"""``warpfactor recommend`` and ``warpfactor similar``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from ..parameters import N_LISTED
from .app import command, note
from .ids import ids_of_file, typed_ids
from .kinds import FILE, Names
from .lists import ListTable, titles_of, write_lists
from .options import (
    GroupOption,
    TitlesFile,
    model_file,
    prediction_device,
    table_output,
    titles_options,
)
from .tables import table_format

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..model.model import Model

__all__ = ["recommend", "similar"]

_Decorator = Callable[[Any], Any]


def _several(*flags: str, help: str) -> _Decorator:
    return click.option(*flags, metavar="ID", multiple=True, help=help)


def _of_lists(flag: str, **how: Any) -> _Decorator:
    return click.option(flag, cls=GroupOption, group="lists", **how)


def _file_of(flag: str, help: str) -> _Decorator:
    return click.option(flag, metavar="FILE", type=FILE, help=help)


@command
@model_file
@_several("--user", "-u", help="A user; may be given more than once.")
@_file_of("--users", "File with the id of a user on each line.")
@click.option("--all-users", is_flag=True, help="For every user.")
@click.option(
    "-n", "--n-items", "n", metavar="N", type=int, default=N_LISTED, help="Items for each user."
)
@_file_of("--items", "File of ids, one a line: the items to choose from.")
@_file_of("--exclude", "File of ids, one a line: items to leave out.")
@click.option("--include-seen", is_flag=True, help="Also list what the user has rated.")
@_of_lists(
    "--min-ratings",
    metavar="N",
    type=int,
    default=0,
    help="Leave out items with fewer ratings.",
)
@_of_lists(
    "--confidence",
    type=float,
    default=0.0,
    help="Lower each score by so many standard deviations, for what few ratings leave unknown.",
)
@_of_lists(
    "--exploration", type=float, default=0.0, help="Raise each score by so many of them instead."
)
@_of_lists("--seed", type=int, help="With --exploration: by draws instead, with this seed.")
@_of_lists(
    "--diversity",
    type=float,
    default=0.0,
    help="From 0 to 1: how much the items of a list shall differ (maximal marginal relevance).",
)
@_of_lists(
    "--group",
    metavar="RULE",
    type=Names(("mean", "min", "max")),
    help="One list for all these users together, by the mean, min or max of their scores.",
)
@titles_options()
@table_output("tsv", "table", "A terminal gets a table.")
@prediction_device
def recommend(
    model_file: Path,
    user: tuple[str, ...],
    users: Path | None,
    all_users: bool,
    n: int,
    items: Path | None,
    exclude: Path | None,
    include_seen: bool,
    min_ratings: int,
    confidence: float,
    exploration: float,
    seed: int | None,
    diversity: float,
    group: str | None,
    titles: TitlesFile | None,
    output: Path | None,
    format: str | None,
    device: str | None,
) -> None:
    """List the items that a user would rate highest, best first.

    Example: warpfactor recommend m.safetensors --user 17 -n 10 --titles movies.csv

    Example: warpfactor recommend m.safetensors --all-users --output best.parquet
    """
    if bool(user) + bool(users) + all_users != 1:
        raise click.UsageError("give --user ID (once or more), --users FILE, or --all-users")
    format = _table_format(output, format)

    import numpy as np

    from ..model.model import load

    model = load(model_file, device)
    # With another `unknown`, the model refuses users whose ratings were all held out.
    chosen = model.user_ids_ if model.unknown == "mean" else model.user_ids_[model.user_known_]
    if not all_users:
        chosen = _chosen(user, users, model.user_ids_, "user")
    how: dict[str, Any] = {
        "n": n,
        "exclude_seen": not include_seen,
        "items": _item_ids(model, items, "--items"),
        "exclude": _item_ids(model, exclude, "--exclude"),
        "min_ratings": min_ratings,
        "confidence": confidence,
        "exploration": exploration,
        "random_state": seed,
        "diversity": diversity,
    }
    table = ListTable("user", "item", "score", model.item_ids_, titles_of(titles, model.item_ids_))
    if group is not None:
        lists: Any = model.recommend(list(chosen), **how, group=cast("Any", group))
        found, scores = (np.atleast_2d(each) for each in lists)
        write_lists(
            output,
            format,
            table._replace(query="group"),
            np.zeros(1, np.int64),
            lambda _: (found, scores),
            "recommending",
        )
        return
    # A mistake must show before a file is opened for writing.
    model.recommend(chosen[:1], **how)
    write_lists(
        output, format, table, chosen, lambda part: model.recommend(part, **how), "recommending"
    )


@command
@model_file
@_several("--item", "-i", help="An item; may be given more than once.")
@_file_of("--items", "File with the id of an item on each line.")
@click.option("--all-items", is_flag=True, help="For every item.")
@_several("--user", "-u", help="A user, for the users most alike; may be given more than once.")
@_file_of("--users", "File with the id of a user on each line.")
@click.option(
    "-n", "--n-items", "n", metavar="N", type=int, default=N_LISTED, help="How many each gets."
)
@titles_options()
@table_output("tsv", "table", "A terminal gets a table.")
@prediction_device
def similar(
    model_file: Path,
    item: tuple[str, ...],
    items: Path | None,
    all_items: bool,
    user: tuple[str, ...],
    users: Path | None,
    n: int,
    titles: TitlesFile | None,
    output: Path | None,
    format: str | None,
    device: str | None,
) -> None:
    """List the items most like an item, or the users most like a user.

    Alike are those whose factors point the same way: by the cosine of their angle.

    Example: warpfactor similar m.safetensors --item 17 --titles movies.csv
    """
    if bool(item) + bool(items) + all_items + bool(user) + bool(users) != 1:
        raise click.UsageError(
            "give --item ID (once or more), --items FILE, --all-items, --user ID (once or more), or "
            "--users FILE"
        )
    if titles is not None and (user or users):
        raise click.UsageError("--titles are those of items: leave it out, or ask for items")
    format = _table_format(output, format)

    from ..model.model import load

    model = load(model_file, device)
    side = "user" if user or users else "item"
    ids = model.user_ids_ if side == "user" else model.item_ids_
    chosen = (
        ids[model.item_known_] if all_items else _chosen(item or user, items or users, ids, side)
    )
    answer = model.similar_users if side == "user" else model.similar_items
    table = ListTable(side, f"similar_{side}", "similarity", ids, titles_of(titles, ids))
    # A mistake must show before a file is opened for writing.
    answer(chosen[:1], n)
    write_lists(output, format, table, chosen, lambda part: answer(part, n), "comparing")


def _table_format(output: Path | None, format: str | None) -> str:
    default = "table" if output is None and sys.stdout.isatty() else "tsv"
    return table_format(output, format, default, others=("table",))


def _chosen(
    typed: tuple[str, ...], file: Path | None, ids: NDArray[Any], role: str
) -> NDArray[Any]:
    texts = list(typed) if file is None else ids_of_file(file, role, ids)
    return typed_ids(texts, ids, role).astype(ids.dtype)


def _item_ids(model: Model, file: Path | None, flag: str) -> list[Any] | None:
    """Return the ids of a file that the model can have, and say how many it does not know."""
    if file is None:
        return None
    from ..data.ids import id_kind, lookup_ids, read_id

    kind = id_kind(model.item_ids_)
    texts = ids_of_file(file, "item", model.item_ids_)
    read = [read_id(text, kind) for text in texts]
    values = [each for each in read if each is not None]
    known: set[Any] = set()
    if values:
        codes = lookup_ids(model.item_ids_, values, flag)
        known = {value for value, code in zip(values, codes, strict=True) if code >= 0}
    if not known:
        raise ValueError(
            f"{flag}: {file} has no item of the model, whose ids are like {str(model.item_ids_[0])!r}"
        )
    missing = [text for text, value in zip(texts, read, strict=True) if value not in known]
    if missing:
        note(
            f"{flag}: {len(missing):,} of {len(texts):,} ids are of no item of the model (such as "
            f"{missing[0]!r}), and passed over"
        )
    return list(known)
