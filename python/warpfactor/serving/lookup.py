"""Ids that callers give, as codes, and what to say of those that the model does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from ..checks import option, where_typed
from ..data.ids import lookup_ids
from ..data.near_ids import as_python, suggestion
from ..data.ratings import pair_at
from ..exchange import to_host
from .tables import Tables

__all__ = [
    "codes_to_score",
    "find_ids",
    "known_rows",
    "named_items",
    "reject_unknown_ids",
    "reject_unknown_pairs",
]


def find_ids(ids: Any, wanted: Any, name: str) -> tuple[bool, Any]:
    """Return whether a single id is wanted, and the codes."""
    wanted = to_host(wanted)
    # NumPy would read an Arrow column before anything has checked it.
    is_column = isinstance(wanted, (pa.Array, pa.ChunkedArray))
    single = isinstance(wanted, (str, bytes)) or (not is_column and np.ndim(wanted) == 0)
    values = [wanted.item() if isinstance(wanted, np.ndarray) else wanted] if single else wanted
    if not single and len(values) == 0:
        return False, np.empty(0, np.int32)
    return single, lookup_ids(ids, values, name)


def codes_to_score(
    tables: Tables, users: Any, items: Any, unknown: str
) -> tuple[tuple[bool, Any], tuple[bool, Any]]:
    """Return, of users and of items, whether one is wanted, and the codes; None for items: all."""
    one_user, user_codes = find_ids(tables.user_ids, users, "users")
    one_item, item_codes = False, np.arange(len(tables.item_ids), dtype=np.int32)
    if items is not None:
        one_item, item_codes = find_ids(tables.item_ids, items, "items")
    if unknown == "raise":
        for who, given, single, codes in (
            ("user", users, one_user, user_codes),
            ("item", tables.item_ids if items is None else items, one_item, item_codes),
        ):
            rows = known_rows(np, codes, getattr(tables, f"{who}_known"))
            if (rows < 0).any():
                reject_unknown_ids(who, given, single, rows, tables)
    return (one_user, user_codes), (one_item, item_codes)


def known_rows(xp: Any, codes: Any, known: Any) -> Any:
    """Turn the codes of rows without training ratings into -1; `xp` is NumPy or CuPy."""
    if known.all():
        return codes
    return xp.where((codes >= 0) & known[codes], codes, np.int32(-1))


def named_items(xp: Any, ids: Any, found: Any, scores: Any) -> tuple[Any, Any]:
    """Give items their ids; empty slots get the score NaN and the id -1, 0 if unsigned, or None."""
    empty = ~xp.isfinite(scores)
    named = ids[xp.where(empty, 0, found)]
    if empty.any():
        scores[empty] = np.nan
        named[empty] = {"i": -1, "u": 0}.get(ids.dtype.kind)
    return named, scores


def reject_unknown_pairs(X: Any, parts: Iterable[tuple[int, Any, Any]], tables: Tables) -> None:
    """Raise ValueError if codes of the pairs `X`, with the row they start at, hold unknown rows."""
    n_missing, row, side = 0, 0, 0
    for start, users, items in parts:
        missing = (users < 0) | (items < 0)
        n_here = int(missing.sum())
        if n_here and not n_missing:
            at = int(missing.argmax())
            row, side = start + at, 0 if users[at] < 0 else 1
        n_missing += n_here
    if n_missing:
        who, quoted = ("user", "item")[side], ""
        if not hasattr(X, "__next__"):  # an iterator is used up
            value = pair_at(X, row)[side]
            nearest = suggestion(_known_ids(tables, who), value, f"{who}s")
            quoted = f" {as_python(value)}; {nearest}"
        raise ValueError(
            f"X has {n_missing} pairs with a user or item without training ratings, the first at row "
            f"{row} (its {who}{quoted}): drop them, or {_give_a_mean('mean or nan')}"
        )


def reject_unknown_ids(who: str, wanted: Any, single: bool, codes: Any, tables: Tables) -> NoReturn:
    """Raise ValueError that names the first of the ids without training ratings."""
    at = int((codes < 0).argmax())
    wanted = to_host(wanted)
    if isinstance(wanted, np.ndarray):
        wanted = wanted.tolist()
    value = wanted if single else list(wanted)[at]
    raise ValueError(
        f"{who} {as_python(value)} has no training ratings: leave it out"
        + (f", or {_give_a_mean('mean')}" if who == "user" else "")
        + f"; {suggestion(_known_ids(tables, who), value, f'{who}s')}"
    )


def _give_a_mean(ways: str) -> str:
    """What to do for users and items without training ratings to be predicted."""
    return where_typed(
        "use " + f"unknown={ways!r}".replace(" or ", "' or '"),
        f"train with {option('unknown')} {ways}",
    )


def _known_ids(tables: Tables, who: str) -> Any:
    """Return the ids of the users or items that have training ratings."""
    ids, known = getattr(tables, f"{who}_ids"), getattr(tables, f"{who}_known")
    return ids if known.all() else ids[known]
