"""What `recommend` is asked for: checked, and in codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import check_choice, check_count, check_flag, check_number, option
from ..data.ids import as_arrow, lookup_ids, require_valid
from ..exchange import is_device_array, to_host
from .bounds import NO_MOVES, Evidence, Moves
from .lookup import reject_unknown_ids
from .tables import Tables

__all__ = ["GROUP_RULES", "ListRequest", "Lists", "list_request"]

# User c (or query c) has items[indptr[c]:indptr[c + 1]].
Lists = tuple[NDArray[np.int64], NDArray[np.int32]]
GROUP_RULES = ("mean", "min", "max")
_NESTS = (list, tuple, set, frozenset, np.ndarray)


@dataclass(frozen=True)
class ListRequest:
    """How many items each user or group of users gets, chosen from what and how.

    Parameters
    ----------
    n : int
        The length of the longest list.
    lengths : ndarray of shape (n_queries,) or None
        The length of each; None: n.
    exclude_seen : bool
        Whether to leave out what the users rated.
    moves : Moves
        How scores are moved by their deviations.
    diversity : float
        0: by score alone.
    allowed : ndarray of bool of shape (n_items,) or None
        Which items may be in a list.
    only, without : (indptr, items) or None
        From which items each list is chosen, and what it leaves out.
    groups : ndarray of shape (n_queries + 1,) or None
        Where each group's users begin; None: each user is alone.
    group : {"mean", "min", "max"}
        What a group's score is of its members'.
    """

    n: int
    lengths: NDArray[np.int64] | None = None
    exclude_seen: bool = True
    moves: Moves = NO_MOVES
    diversity: float = 0.0
    allowed: NDArray[np.bool_] | None = None
    only: Lists | None = None
    without: Lists | None = None
    groups: NDArray[np.int64] | None = None
    group: str = "mean"

    def cut(self, xp: Any, scores: Any) -> None:
        """Blank the scores beyond each list's length."""
        if self.lengths is not None:
            ranks = xp.arange(scores.shape[1])
            scores[ranks[None, :] >= xp.asarray(self.lengths)[:, None]] = np.nan


def list_request(
    tables: Tables,
    evidence: Evidence,
    users: Any,
    n: Any,
    *,
    unknown: str,
    exclude_seen: bool,
    items: Any,
    exclude: Any,
    min_ratings: Any,
    moves: Moves,
    diversity: Any,
    group: Any,
) -> tuple[bool, Any, ListRequest]:
    """Check what `Model.recommend` was given; see there.

    Returns
    -------
    single : bool
        Whether one list is wanted.
    users : id or array-like of ids
        The users, those of groups one after the other.
    request : ListRequest
        The rest.
    """
    check_flag("exclude_seen", exclude_seen)
    groups = None
    if group is not None:
        check_choice("group", group, GROUP_RULES)
        single, users, groups = _grouped(users)
        n_queries = len(groups) - 1
    else:
        users = to_host(users) if isinstance(users, np.ndarray) else users
        if hasattr(users, "__next__"):
            users = list(users)
        if _nested(users) is not None:
            raise ValueError(
                "users holds lists; it must hold ids, or group must say how those of a list make one: "
                "'mean', 'min' or 'max'"
            )
        shape = _shape_of(users)
        single = shape == ()
        n_queries = 1 if single else shape[0]
    n_items = len(tables.item_ids)
    length, lengths = _lengths(n, n_queries, n_items)
    share = check_number("diversity", diversity)
    if not 0 <= share <= 1:
        raise ValueError(f"{option('diversity')} is {diversity!r:.80}; it must be from 0 to 1")
    least = check_count("min_ratings", min_ratings, 0)
    masks = [] if least == 0 else [evidence.item_counts >= least]
    only, shared = _items_of("items", items, tables, n_queries, single, unknown == "raise")
    if shared is not None:
        masks.append(shared)
    without, shared = _items_of("exclude", exclude, tables, n_queries, single, False)
    if shared is not None:
        masks.append(~shared)
    return (
        single,
        users,
        ListRequest(
            n=length,
            lengths=lengths,
            exclude_seen=bool(exclude_seen),
            moves=moves,
            diversity=share,
            allowed=np.logical_and.reduce(masks) if masks else None,
            only=only,
            without=without,
            groups=groups,
            group=group or "mean",
        ),
    )


def _shape_of(values: Any) -> tuple[int, ...]:
    """Return the shape of an array-like, of a host or a device; () of a single id."""
    if isinstance(values, (str, bytes)):
        return ()
    if isinstance(values, (list, tuple)):
        return (len(values),)
    if is_device_array(values) and not hasattr(values, "shape"):
        described = getattr(values, "__cuda_array_interface__", None)
        return tuple(to_host(values).shape if described is None else described["shape"])
    if isinstance(
        values, (pa.Array, pa.ChunkedArray)
    ):  # which NumPy would read before it is checked
        return (len(values),)
    return tuple(values.shape) if hasattr(values, "shape") else np.shape(values)


def _lengths(n: Any, n_queries: int, n_items: int) -> tuple[int, NDArray[np.int64] | None]:
    if np.ndim(n) == 0:
        return min(check_count("n", n, 1), n_items), None
    given = list(n)
    if len(given) != n_queries:
        raise ValueError(
            f"{option('n')} holds {len(given)} numbers; it must be one number, or one for each of the "
            f"{n_queries} lists"
        )
    counts = [min(check_count("n", _plain_number(each), 1), n_items) for each in given]
    return max(counts, default=1), np.array(counts, np.int64)


def _plain_number(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def _grouped(users: Any) -> tuple[bool, list[Any], NDArray[np.int64]]:
    """Return whether there is one group, and the groups' users one after the other."""
    nested = _nested(users)
    single = nested is None
    if nested is None:
        if _shape_of(users) == ():
            raise ValueError(
                f"users is {users!r:.80}; with a group it must be a list of ids, or a list of such lists"
            )
        nested = [list(to_host(users))]
    at = next((at for at, members in enumerate(nested) if not len(members)), None)
    if at is not None:
        raise ValueError(f"users: group {at} is empty; leave it out")
    return single, list(chain.from_iterable(nested)), _indptr(map(len, nested))


def _indptr(lengths: Iterable[int]) -> NDArray[np.int64]:
    return np.cumsum(np.fromiter(chain([0], lengths), np.int64))


def _nested(values: Any) -> list[Any] | None:
    """Return an array-like of lists as a list of them; None if it is none."""
    if is_device_array(values):
        return None
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        if not (pa.types.is_list(values.type) or pa.types.is_large_list(values.type)):
            return None
        require_valid(values, "a column of lists")
        values = values.to_pylist()
    if isinstance(values, np.ndarray) and values.ndim == 2:
        return list(values)
    if isinstance(values, (str, bytes, set, frozenset)) or not hasattr(values, "__len__"):
        return None
    if isinstance(values, np.ndarray) and values.dtype != object:
        return None
    first = next(iter(values), None) if len(values) else None
    if hasattr(first, "to_list"):  # a polars list is a Series
        return [each.to_list() for each in values]
    if not isinstance(first, _NESTS):
        return None
    nested = list(values)
    at = next((at for at, each in enumerate(nested) if not isinstance(each, _NESTS)), None)
    if at is not None:
        raise ValueError(
            f"some of what was given are lists, and the one at position {at} is {nested[at]!r:.80}: give a "
            "list of ids, or a list for each user"
        )
    return nested


def _flags(values: Any) -> NDArray[np.bool_] | None:
    """Return a mask as an array; None if it holds other than True and False."""
    if isinstance(values, np.ndarray):
        return values if values.dtype == bool and values.size else None
    if isinstance(values, (list, tuple)):
        all_flags = values and all(isinstance(each, (bool, np.bool_)) for each in values)
        return np.array(values, bool) if all_flags else None
    if isinstance(values, (str, bytes, set, frozenset)):
        return None
    column = as_arrow(values, "a mask")
    if column is not None and pa.types.is_boolean(column.type) and len(column):
        if column.null_count:
            raise ValueError("a mask holds missing values; it must be of True and False")
        return np.asarray(
            column.to_numpy(zero_copy_only=False)
            if isinstance(column, pa.Array)
            else column.to_numpy(),
            bool,
        )
    dtype = getattr(values, "dtype", None)
    return np.asarray(values, bool) if str(dtype) in ("bool", "boolean") and len(values) else None


def _items_of(
    name: str, given: Any, tables: Tables, n_queries: int, single: bool, refuse_unknown: bool
) -> tuple[Lists | None, NDArray[np.bool_] | None]:
    """Return lists of items for each query, or a mask for all, of what was given; None: nothing."""
    if given is None:
        return None, None
    n_items = len(tables.item_ids)
    given = to_host(given)
    if hasattr(given, "__next__"):
        given = list(given)
    flags = _flags(given)
    nested = None if flags is not None and flags.ndim < 2 else _nested(given)
    if nested is not None and len(nested) != n_queries:
        what = f"{len(nested)} lists" if flags is None else f"a mask of {len(nested)} rows"
        raise ValueError(
            f"{option(name)} has {what}; it must have one for each of the {n_queries} "
            f"{'user' if n_queries == 1 else 'users (or groups)'}, or be one list for all"
        )
    if flags is not None:
        if flags.shape[-1] != n_items:
            raise ValueError(
                f"{option(name)} is a mask of {flags.shape[-1]} flags; it must have one for each of the "
                f"model's {n_items} items, in the order of item_ids_"
            )
        if flags.ndim == 1:
            return None, flags
        rows, columns = np.nonzero(flags)
        return (_indptr(np.bincount(rows, minlength=n_queries)), columns.astype(np.int32)), None
    if nested is not None:
        flat = list(chain.from_iterable(nested))
        codes = _codes(name, flat, tables, refuse_unknown)
        return (_indptr(map(len, nested)), codes), None
    if isinstance(given, (set, frozenset)):
        given = list(given)
    if _shape_of(given) == ():
        given = [given]
    mask = np.zeros(n_items, bool)
    codes = _codes(name, given, tables, refuse_unknown)
    mask[codes[codes >= 0]] = True
    return None, mask


def _codes(name: str, ids: Any, tables: Tables, refuse_unknown: bool) -> NDArray[np.int32]:
    if not len(ids):
        return np.empty(0, np.int32)
    codes = lookup_ids(tables.item_ids, ids, option(name))
    if refuse_unknown:
        known = (codes >= 0) & tables.item_known[codes]
        if not known.all():
            reject_unknown_ids("item", ids, False, np.where(known, codes, -1), tables)
    return codes
