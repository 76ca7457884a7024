"""Where a cluster's ratings come from: parts that workers read, numbered together.

The ids are read first, to be numbered as on one machine, and then the ratings, which go to the block
of their user. All parts are taken in a fixed order, so that the order of a block's ratings, and with
it the bits of a fit, do not depend on who reads what.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..data.columns import check_weights
from ..data.hints import describe_kind
from ..data.ids import encode_ids, id_kind, lookup_ids
from ..data.objects import open_table
from ..data.ratings import Ratings, adopt_ratings, ratings_from_columns, without_unused
from ..data.roles import Frame, guess_by_position, refuse_repeated, resolve_columns
from .cluster import import_ray
from .crew import Crew
from .exchange import SideBlocks, divided
from .worker import Piece

__all__ = [
    "Columns",
    "Counted",
    "Part",
    "Parts",
    "Read",
    "count_parts",
    "divide_part",
    "parts_of",
    "read_part",
]

# How many parts' ids are joined in one go.
_FAN_IN = 8
# Bytes of a Parquet file's row groups that are read together, about.
_PART_BYTES = 64 << 20


class Columns(NamedTuple):
    """Names of columns.

    Parameters
    ----------
    user, item, rating : str or None
        None: found as by `Ratings.from_frame`, among those that hold no weights.
    weight : str or None, default None
        None: ratings have no weights.
    """

    user: str | None
    item: str | None
    rating: str | None
    weight: str | None = None


class Part(NamedTuple):
    """Some of the ratings: row groups of a Parquet file, or a reference to what holds them.

    Parameters
    ----------
    path : str
        The file; "" for a reference.
    row_groups : tuple of int
        Of the file.
    columns : Columns
        Where users, items, ratings and weights are.
    name : str
        What the error messages call the ratings: the argument that they were given as.
    """

    path: str
    row_groups: tuple[int, ...]
    columns: Columns
    name: str


class Parts(list[tuple[Part, Any]]):
    """All parts, in the order of the ratings, each with a reference to its rows; None for a file's."""


class Read(NamedTuple):
    """The ratings of a part that count, perhaps none.

    Parameters
    ----------
    ratings : Ratings
    weights : ndarray of float32, or None
        All above 0; None: all 1.
    guess : str
        What to say of columns that were taken in their order; "" where they were told.
    """

    ratings: Ratings
    weights: NDArray[np.float32] | None
    guess: str = ""


class Counted(NamedTuple):
    """The ids of both sides, sorted, and how many ratings each has.

    Parameters
    ----------
    user_ids, item_ids : ndarray
        Vocabularies.
    user_counts, item_counts : ndarray of int64
        By code.
    guess : str
        As of `Read`.
    """

    user_ids: NDArray[Any]
    user_counts: NDArray[np.int64]
    item_ids: NDArray[Any]
    item_counts: NDArray[np.int64]
    guess: str = ""


def parts_of(data: Any, columns: Columns, name: str) -> Any:
    """Return the `Parts` of a data set, or what is here already as it is.

    A Ray data set is read for that, which takes CPUs.

    Parameters
    ----------
    data : object
        A Ray data set; paths of Parquet files or folders; a reference or a list of references to
        (users, items, values), with weights (users, items, values, weights), or to tables.
    columns : Columns
        Their names.
    name : str
        What the error messages call it.

    Returns
    -------
    Parts or object
    """
    if isinstance(data, Ratings):
        return data
    listed = isinstance(data, (list, tuple)) and len(data) > 0
    of_paths = (str, os.PathLike)
    if isinstance(data, of_paths) or (listed and all(isinstance(each, of_paths) for each in data)):
        paths = data if listed else [data]
        return Parts((part, None) for part in _parquet_parts(paths, columns, name))
    ray = import_ray()
    part = Part("", (), columns, name)
    if isinstance(data, ray.ObjectRef):
        return Parts([(part, data)])
    if listed and all(isinstance(each, ray.ObjectRef) for each in data):
        return Parts((part, each) for each in data)
    if type(data).__module__.startswith("ray.data"):
        # Blocks come in the order of the data only if that is asked for.
        context = data.context
        before = context.execution_options.preserve_order
        context.execution_options.preserve_order = True
        try:
            return Parts((part, each) for each in data.to_arrow_refs())
        finally:
            context.execution_options.preserve_order = before
    return data


def _parquet_parts(paths: Sequence[Any], columns: Columns, name: str) -> Iterator[Part]:
    import pyarrow.dataset
    import pyarrow.parquet

    for path in map(os.fspath, paths):
        if not os.path.exists(path):
            raise FileNotFoundError(f"{name}: there is no file or folder {path!r}")
        files = pyarrow.dataset.dataset(path, format="parquet").files
        if not files:
            raise ValueError(f"{name}: the folder {path!r} holds no Parquet files")
        for file in sorted(files):
            try:
                metadata = pyarrow.parquet.read_metadata(file)
            except MemoryError:  # Arrow's is an ArrowException too
                raise
            except pa.ArrowException as error:
                raise ValueError(
                    f"{name}: {file!r} is no Parquet file ({error}): read other files by "
                    "warpfactor.read_ratings, or by ray.data"
                ) from error
            groups: list[int] = []
            size = 0
            for group in range(metadata.num_row_groups):
                groups.append(group)
                size += metadata.row_group(group).total_byte_size
                if size >= _PART_BYTES:
                    yield Part(file, tuple(groups), columns, name)
                    groups, size = [], 0
            if groups:
                yield Part(file, tuple(groups), columns, name)


def read_part(part: Part, rows: Any) -> Read:
    """Read a part; `rows` are what its reference stands for."""
    user, item, rating, weight = part.columns
    if part.path:
        import pyarrow.parquet

        given = [user, item, rating]
        names = None if None in given else given + ([weight] if weight else [])
        with pyarrow.parquet.ParquetFile(part.path) as file:
            rows = file.read_row_groups(list(part.row_groups), columns=names)
    if isinstance(rows, (tuple, list)):
        if len(rows) != (4 if weight else 3):
            raise ValueError(
                f"{part.name} has a tuple of {len(rows)}; it must be (users, items, values"
                + (", weights) where sample_weight is given" if weight else ")")
            )
        if not any(map(len, rows)):
            return _nothing(weight)
        return _counted(Ratings.from_arrays(*rows[:3]), rows[3] if weight else None)
    if isinstance(rows, Ratings):
        if weight:
            raise ValueError(
                f"{part.name} has Ratings, which have no weights, and sample_weight is given: put tuples "
                "(users, items, values, weights), or tables"
            )
        return Read(rows, None)
    table = open_table(rows)
    if table is None:
        raise ValueError(
            f"{part.name} has {describe_kind(rows)}; it must be Ratings, a tuple of arrays (users, items, "
            "values), or a pandas, polars or Arrow table"
        )
    # Such as a block of a data set of which a filter has left nothing, not even columns.
    if hasattr(rows, "__len__") and not len(rows):
        return _nothing(weight)
    return _read_table(table, part.columns)


def _read_table(table: Frame, columns: Columns) -> Read:
    weights = None
    if columns.weight is not None:
        table, weights = _without_weights(table, columns)
    wanted = {**columns._asdict(), "timestamp": None}
    del wanted["weight"]
    found = resolve_columns(table.names, wanted, is_pivot=table.is_pivot)
    found.pop("timestamp", None)
    refuse_repeated(table.names, found, wanted)
    guess = guess_by_position(table.names, found, wanted)
    read = _counted(ratings_from_columns(table.columns_of(found)), weights)
    return read._replace(guess=guess)


def _without_weights(table: Frame, columns: Columns) -> tuple[Frame, Any]:
    """Return a table without the column of the weights, which could be taken for another, and that."""
    names, name = table.names, columns.weight
    if name not in names:
        raise ValueError(
            f"sample_weight is {name!r}; it must be the name of a column, one of {', '.join(map(str, names))}"
        )
    at = names.index(name)
    if name in columns[:3]:  # told to be both
        return table, table.column(at)
    rest = Frame(
        names[:at] + names[at + 1 :], lambda to: table.column(to + (to >= at)), table.is_pivot
    )
    return rest, table.column(at)


def _counted(ratings: Ratings, weights: Any) -> Read:
    """Leave out ratings of weight 0, which count for nothing, and the ids that have no others."""
    if weights is None:
        return Read(ratings, None)
    checked = check_weights(weights, len(ratings), all_zero=True)
    if checked.all():
        return Read(ratings, checked)
    kept = checked > 0
    users, user_ids = without_unused(ratings.users[kept], ratings.user_ids)
    items, item_ids = without_unused(ratings.items[kept], ratings.item_ids)
    return Read(
        adopt_ratings(users, items, ratings.values[kept], user_ids, item_ids), checked[kept]
    )


def _nothing(weight: str | None) -> Read:
    """Return what a part without rows holds."""
    codes, numbers, ids = np.empty(0, np.int32), np.empty(0, np.float32), np.empty(0, np.int64)
    return Read(adopt_ratings(codes, codes, numbers, ids, ids), numbers if weight else None)


def count_parts(crew: Crew, parts: Parts) -> Counted:
    """Number the ids of all parts, as those of one table are numbered."""
    counted = [crew.task(_count_part, part, rows) for part, rows in parts] or [crew.task(_join)]
    while len(counted) > 1:
        counted = [
            crew.task(_join, *counted[at : at + _FAN_IN]) for at in range(0, len(counted), _FAN_IN)
        ]
    found: Counted = crew.get(counted)[0]
    return found


def _count_part(part: Part, rows: Any) -> Counted:
    ratings, _, guess = read_part(part, rows)
    return Counted(
        ratings.user_ids,
        np.bincount(ratings.users, minlength=ratings.n_users),
        ratings.item_ids,
        np.bincount(ratings.items, minlength=ratings.n_items),
        guess,
    )


def _join(*parts: Counted) -> Counted:
    return Counted(
        *_joined_ids([(each.user_ids, each.user_counts) for each in parts], "users"),
        *_joined_ids([(each.item_ids, each.item_counts) for each in parts], "items"),
        next((each.guess for each in parts if each.guess), ""),
    )


def _joined_ids(
    parts: list[tuple[NDArray[Any], NDArray[np.int64]]], side: str
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    parts = [(ids, counts) for ids, counts in parts if len(ids)]  # without ids there is no kind
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    kinds = sorted({id_kind(ids) for ids, _ in parts})
    if len(kinds) > 1:
        raise ValueError(
            f"{side}: the ids of some parts are of the kind {kinds[0]!r}, and those of others of "
            f"{kinds[1]!r}: cast the column to one type in all files"
        )
    codes, ids = encode_ids(np.concatenate([ids for ids, _ in parts]), side)
    counts = np.zeros(len(ids), np.int64)
    np.add.at(counts, codes, np.concatenate([counts for _, counts in parts]))
    return ids, counts


def divide_part(
    part: Part,
    rows: Any,
    user_ids: NDArray[Any],
    item_ids: NDArray[Any],
    users: SideBlocks,
    items: SideBlocks,
) -> Any:
    """Return the ratings of a part, those of each block of users apart."""
    ratings, weights, _ = read_part(part, rows)
    codes = Piece(
        lookup_ids(user_ids, ratings.user_ids, "users")[ratings.users],
        lookup_ids(item_ids, ratings.item_ids, "items")[ratings.items],
        ratings.values,
        weights,
    )
    pieces = divided(users, items, codes)
    # Ray takes one value for one return, and a tuple for several.
    return tuple(pieces) if len(pieces) > 1 else pieces[0]
