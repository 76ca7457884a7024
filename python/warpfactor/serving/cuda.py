"""Answers on a CUDA device, as array code: `xp` is CuPy, or in a twin build NumPy, throughout.

Codes are int32 positions of users or items; -1 stands for one without training ratings, whose
factors and bias count as zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..data.ids import consecutive, find_integers
from ..data.ratings import pairs_to_codes
from ..exchange import as_device_array, is_device_array, to_host
from .bounds import Bound
from .device import DeviceCopies, Memory, best_items
from .lookup import (
    codes_to_score,
    find_ids,
    known_rows,
    named_items,
    reject_unknown_ids,
    reject_unknown_pairs,
)
from .requests import ListRequest
from .tables import Options, Tables

__all__ = ["DeviceAnswers", "tiles"]

# Temporary arrays of one pair: ids, codes, masks and scores, at most eight bytes each.
_PAIR_BYTES = 128
# Temporary arrays of one seen item: positions as int64.
_SEEN_BYTES = 64
# Seen items are taken off in steps of 1/64 of the tile's scores: about the density of ratings, so
# that one step mostly does, for a quarter more memory at float32.
_SEEN_SHARE = 64


class _Factors(NamedTuple):
    """P, Q, b_u, b_i and μ, in the order in which the core takes them."""

    user_factors: Any
    item_factors: Any
    user_biases: Any
    item_biases: Any
    mean: float


class _Moved(NamedTuple):
    """What is added to the score of (u, i): times √(bias_variances[i] + user_lengths[u] factor_variances[i])."""

    times: float
    bias_variances: Any
    factor_variances: Any
    user_lengths: Any  # the last is that of unknown users, whose code is -1


class DeviceAnswers:
    """Predictions and best items of one model.

    Parameters
    ----------
    xp : module
        CuPy, or in a twin build NumPy.
    tables : Tables
        The model's arrays.
    copies : DeviceCopies
        Where their copies on the device are kept.
    """

    def __init__(self, xp: Any, tables: Tables, copies: DeviceCopies) -> None:
        self._xp = xp
        self._tables = tables
        self._copies = copies

    def predict(self, X: Any, options: Options, output: str) -> NDArray[Any]:
        """Return the prediction for each pair."""
        xp, tables = self._xp, self._tables
        k, dtype = tables.item_factors.shape[1], tables.item_factors.dtype
        wanted = self._known_arrays() | self._factor_arrays()
        pairs = self._integer_pairs(X)
        if pairs is None:
            columns = pairs_to_codes(X, tables.user_ids, tables.item_ids)
            n_pairs = len(columns[0])
        else:
            n_pairs = len(pairs)
            wanted |= self._vocabularies("user", "item")
        fixed = n_pairs * dtype.itemsize if output == "cupy" else 0
        per_pair = 2 * k * dtype.itemsize + _PAIR_BYTES
        arrays, n_rows = self._copies.take(wanted, _memory("predict", fixed, per_pair, options))
        factors = self._factors(arrays)

        def codes_of(part: slice) -> tuple[Any, Any]:
            if pairs is None:
                users, items = (xp.asarray(column[part]) for column in columns)
            else:
                given = xp.asarray(pairs[part])
                users = find_integers(xp, self._vocabulary(arrays, "user"), given[:, 0])
                items = find_integers(xp, self._vocabulary(arrays, "item"), given[:, 1])
            return (
                known_rows(xp, users, arrays["user_known"]),
                known_rows(xp, items, arrays["item_known"]),
            )

        parts = list(tiles(n_pairs, n_rows))
        if options.unknown == "raise":
            coded = ((part.start, *codes_of(part)) for part in parts)
            reject_unknown_pairs(X, coded, tables)
        predicted: NDArray[Any] = (np if output == "numpy" else xp).empty(n_pairs, dtype)
        for part in parts:
            users, items = codes_of(part)
            scores = _pair_scores(xp, factors, users, items)
            some = self._finished(scores, users, items, options.unknown)
            if output == "numpy":
                some = to_host(some)
            if len(some) == n_pairs:
                return cast("NDArray[Any]", some)
            predicted[part] = some
        return predicted

    def recommend(
        self,
        users: Any,
        single: bool,
        request: ListRequest,
        bound: Bound | None,
        options: Options,
        output: str,
    ) -> tuple[Any, Any]:
        """Return the ids of each user's best items, and their predictions or bounds."""
        xp, tables, n = self._xp, self._tables, request.n
        one, codes = self._find(users, "user", options)
        wanted = self._known_arrays() | self._factor_arrays()
        if request.exclude_seen:
            wanted["seen_indptr"], wanted["seen_items"] = tables.seen.lists()
        fixed = tables.item_biases.nbytes + 2 * tables.item_known.nbytes
        if bound is not None:
            wanted |= bound.uncertainty.arrays
        arrays, n_rows = self._take(
            wanted, "recommend", len(codes), n, fixed, options, output, moved=bound is not None
        )
        codes = known_rows(xp, codes, arrays["user_known"])
        if options.unknown != "mean" and (codes < 0).any():
            reject_unknown_ids("user", users, one, codes, tables)
        factors = self._factors(arrays)
        open_items = arrays["item_known"]
        if request.allowed is not None:
            open_items = open_items & xp.asarray(request.allowed)
        factors = factors._replace(item_biases=_rated_biases(xp, factors.item_biases, open_items))
        seen = (arrays["seen_indptr"], arrays["seen_items"]) if request.exclude_seen else None
        moved = None
        if bound is not None:
            held = {name: arrays[name] for name in bound.uncertainty.arrays}
            moved = _Moved(bound.moves.times, **held)
        parts = _best_items(xp, factors, codes, n, seen, n_rows, moved)
        out = np if output == "numpy" else xp
        found, scores = _collected(out, parts, (len(codes), n), tables.item_factors.dtype)
        if tables.start_bias:
            unknown = to_host(codes < 0) if out is np else codes < 0
            scores += out.where(unknown, tables.start_bias, 0)[:, None]
        request.cut(out, scores)
        ids, scores = named_items(out, arrays.get("item_ids", tables.item_ids), found, scores)
        scores = _linked(out, scores, tables.link)
        if not tables.biases:  # as `predict` does
            unknown = to_host(codes < 0) if out is np else codes < 0
            scores = out.where(unknown[:, None] & ~out.isnan(scores), tables.rating_mean, scores)
        return (ids[0], scores[0]) if single else (ids, scores)

    def score_items(self, users: Any, items: Any, options: Options, output: str) -> NDArray[Any]:
        """Return the prediction of each user for each item; None for the items: all."""
        xp, tables = self._xp, self._tables
        size, k = tables.item_factors.itemsize, tables.item_factors.shape[1]
        (one_user, user_codes), (one_item, item_codes) = codes_to_score(
            tables, users, items, options.unknown
        )
        wanted = self._known_arrays() | self._factor_arrays()
        fixed = len(item_codes) * (k * size + _PAIR_BYTES) + len(user_codes) * _PAIR_BYTES
        if output == "cupy":
            fixed += len(user_codes) * len(item_codes) * size
        per_row = 4 * len(item_codes) * size + 2 * k * size
        arrays, n_rows = self._copies.take(wanted, _memory("score_items", fixed, per_row, options))
        factors = self._factors(arrays)
        columns = known_rows(xp, xp.asarray(item_codes), arrays["item_known"])
        Q = factors.item_factors[columns]
        Q[columns < 0] = 0
        item_biases = xp.where(columns >= 0, factors.item_biases[columns], 0)
        rows = known_rows(xp, xp.asarray(user_codes), arrays["user_known"])
        shape = len(user_codes), len(item_codes)
        scores: NDArray[Any] = (np if output == "numpy" else xp).empty(shape, Q.dtype)
        for part in tiles(len(rows), n_rows):
            p = factors.user_factors[rows[part]]
            p[rows[part] < 0] = 0
            x = xp.dot(p, Q.T)
            x += item_biases + factors.mean
            x += xp.where(rows[part] >= 0, factors.user_biases[rows[part]], 0)[:, None]
            users, columns_of = xp.broadcast_arrays(rows[part][:, None], columns[None, :])
            some = self._finished(x, users, columns_of, options.unknown)
            scores[part] = to_host(some) if output == "numpy" else some
        scores = scores[:, 0] if one_item else scores
        return scores[0] if one_user else scores

    def similar(
        self, side: str, given: Any, n: int, options: Options, output: str
    ) -> tuple[Any, Any]:
        """Return the ids of the users or items nearest to each, and the cosines."""
        xp, tables = self._xp, self._tables
        single, codes = self._find(given, side, options)
        names = f"{side}_factors", f"{side}_known"
        wanted = {name: getattr(tables, name) for name in names}
        rows = wanted[names[0]]
        fixed = 2 * rows.nbytes + _PAIR_BYTES * len(rows)
        arrays, n_rows = self._take(
            wanted, f"similar_{side}s", len(codes), n, fixed, options, output, side=side
        )
        codes = known_rows(xp, codes, arrays[names[1]])
        if (codes < 0).any():
            reject_unknown_ids(side, given, single, codes, tables)
        unit = _unit_rows(xp, arrays[names[0]])
        none = xp.zeros(len(unit), unit.dtype)
        biases = _rated_biases(xp, none, arrays[names[1]])
        factors = _Factors(unit, unit, none, biases, 0.0)
        itself = xp.arange(len(unit) + 1), xp.arange(len(unit), dtype=np.int32)
        parts = _best_items(xp, factors, codes, n, itself, n_rows)
        out = np if output == "numpy" else xp
        found, scores = _collected(out, parts, (len(codes), n), rows.dtype)
        ids = arrays.get(f"{side}_ids", getattr(tables, f"{side}_ids"))
        ids, scores = named_items(out, ids, found, scores)
        return (ids[0], scores[0]) if single else (ids, scores)

    def _factor_arrays(self) -> dict[str, NDArray[Any]]:
        names = (name for name in _Factors._fields if name != "mean")
        return {name: getattr(self._tables, name) for name in names}

    def _factors(self, arrays: dict[str, Any]) -> _Factors:
        named = {name: arrays[name] for name in self._factor_arrays()}
        return _Factors(**named, mean=self._tables.global_mean)

    def _known_arrays(self) -> dict[str, NDArray[Any]]:
        return {"user_known": self._tables.user_known, "item_known": self._tables.item_known}

    def _vocabularies(self, *sides: str) -> dict[str, NDArray[Any]]:
        """What look-ups on a device need there: nothing where ids are consecutive integers."""
        ids = {f"{side}_ids": getattr(self._tables, f"{side}_ids") for side in sides}
        return {name: array for name, array in ids.items() if consecutive(array) is None}

    def _vocabulary(self, arrays: dict[str, Any], side: str) -> Any:
        return consecutive(getattr(self._tables, f"{side}_ids")) or arrays[f"{side}_ids"]

    def _take(
        self,
        wanted: dict[str, NDArray[Any]],
        what: str,
        n_queries: int,
        n: int,
        fixed: int,
        options: Options,
        output: str,
        *,
        side: str = "item",
        moved: bool = False,
    ) -> tuple[dict[str, Any], int]:
        """Get the arrays that a search for the n best rows needs, and the rows of its tiles."""
        tables = self._tables
        n_rows, k = getattr(tables, f"{side}_factors").shape
        ids = getattr(tables, f"{side}_ids")
        size = tables.item_factors.itemsize
        fixed += n_queries * _PAIR_BYTES
        if output == "cupy":
            if ids.dtype == object:
                raise ValueError(
                    f"output is 'cupy', and CuPy arrays hold numbers only, but the model's {side} "
                    f"ids are like {ids[0]!r}: use output='numpy'"
                )
            wanted = wanted | {f"{side}_ids": ids}
            # Codes, ids, scores, and the masks and indices on the way.
            fixed += n_queries * n * (24 + 2 * size)
        per_row = _row_bytes(n_rows, k, n, size) + (4 * n_rows * size if moved else 0)
        return self._copies.take(wanted, _memory(what, fixed, per_row, options))

    def _finished(self, scores: Any, users: Any, items: Any, unknown: str) -> Any:
        """Turn the scores of pairs of codes into predicted ratings."""
        tables = self._tables
        missing = (users < 0) | (items < 0)
        some_missing = bool(missing.any())
        if some_missing and tables.start_bias:
            scores += tables.start_bias * ((users < 0).astype(int) + (items < 0))
        predicted = _linked(self._xp, scores, tables.link)
        if some_missing and unknown == "nan":
            predicted[missing] = np.nan
        elif some_missing and not tables.biases:
            predicted[missing] = tables.rating_mean
        return predicted

    def _integer_pairs(self, X: Any) -> Any:
        """Return pairs of integers whose ids a device can look up, or None."""
        if self._tables.user_ids.dtype == object or self._tables.item_ids.dtype == object:
            return None
        if is_device_array(X):
            X = as_device_array(X)
        elif not isinstance(X, np.ndarray) or isinstance(X, np.ma.MaskedArray):
            return None
        return X if X.ndim == 2 and X.shape[1] == 2 and X.dtype.kind in "iu" else None

    def _find(self, wanted: Any, side: str, options: Options) -> tuple[bool, Any]:
        """Return whether a single id is wanted, and the codes, on the device."""
        ids = getattr(self._tables, f"{side}_ids")
        if ids.dtype != object and is_device_array(wanted):
            values = as_device_array(wanted)
            if values.ndim < 2 and values.dtype.kind in "iu":
                arrays, _ = self._copies.take(
                    self._vocabularies(side), _memory("looking up ids", 0, _PAIR_BYTES, options)
                )
                vocabulary = self._vocabulary(arrays, side)
                return values.ndim == 0, find_integers(self._xp, vocabulary, values.reshape(-1))
        single, codes = find_ids(ids, wanted, f"{side}s")
        return single, self._xp.asarray(codes)


def _memory(what: str, fixed: int, per_row: int, options: Options) -> Memory:
    return Memory(what, fixed, per_row, options.memory_limit() or None)


def _collected(
    module: Any, parts: Iterable[tuple[slice, Any, Any]], shape: tuple[int, int], dtype: Any
) -> tuple[Any, Any]:
    """Put the parts of a search together, in arrays of NumPy or CuPy."""
    found, scores = module.empty(shape, np.int32), module.empty(shape, dtype)
    for part, some_found, some_scores in parts:
        if module is np:
            some_found, some_scores = to_host(some_found), to_host(some_scores)
        if len(some_found) == shape[0]:
            return some_found, some_scores
        found[part], scores[part] = some_found, some_scores
    return found, scores


def tiles(n: int, n_rows: int) -> Iterator[slice]:
    """Split the range 0 .. n into slices of n_rows, the last perhaps shorter."""
    return (slice(at, min(at + n_rows, n)) for at in range(0, n, n_rows))


def _rated_biases(xp: Any, biases: Any, known: Any) -> Any:
    """Return the items' biases, and -inf, which is never selected, for those without ratings."""
    return xp.where(known, biases, biases.dtype.type(-np.inf))


def _unit_rows(xp: Any, factors: Any) -> Any:
    """Scale rows to length 1; rows of zeros stay zero."""
    lengths = xp.linalg.norm(factors, axis=1, keepdims=True)
    # The smallest normal number keeps a zero row zero instead of NaN.
    return factors / xp.maximum(lengths, np.finfo(factors.dtype).tiny)


def _linked(xp: Any, scores: Any, link: str) -> Any:
    """Turn scores into predicted ratings."""
    if link == "identity":
        return scores
    with np.errstate(over="ignore"):  # exp of a large number, whose reciprocal is 0
        probability = 1 / (1 + xp.exp(-scores))
    return probability if link == "probability" else 2 * probability - 1


def _row_bytes(n_items: int, n_factors: int, n: int, item_size: int) -> int:
    """Return the bytes that `_best_items` needs for each row of a tile."""
    scores = n_items * item_size
    if n > _core.most_selected:  # negated and sorted scores, positions, and what a sort needs
        scores += n_items * (3 * item_size + 32)
    seen = max(n_items // _SEEN_SHARE, 1) * _SEEN_BYTES
    return scores + seen + 2 * n_factors * item_size + 2 * n * (item_size + 4) + _PAIR_BYTES


def _pair_scores(xp: Any, factors: _Factors, users: Any, items: Any) -> Any:
    """Return μ + b_u + b_i + p_u · q_i of each pair of codes."""
    products = factors.user_factors[users]
    products *= factors.item_factors[items]
    scores = products.sum(axis=1)
    scores[(users < 0) | (items < 0)] = 0
    scores += factors.mean
    for codes, biases in ((users, factors.user_biases), (items, factors.item_biases)):
        scores += xp.where(codes >= 0, biases[codes], 0)
    return scores


def _best_items(
    xp: Any,
    factors: _Factors,
    codes: Any,
    n: int,
    seen: tuple[Any, Any] | None,
    n_rows: int,
    moved: _Moved | None = None,
) -> Iterator[tuple[slice, Any, Any]]:
    """Find the n best items of each row of P that is asked for, n_rows of them at a time.

    Parameters
    ----------
    factors : _Factors
        An item whose bias is -inf is left out.
    codes : array of shape (n_queries,), int32
        Which rows.
    n : int
        How many items each gets, at most all of them.
    seen : (indptr, items) or None
        What to leave out: row c of P has items[indptr[c]:indptr[c + 1]].
    n_rows : int
        How many rows of scores are held at once.
    moved : _Moved or None
        What is added to the scores.

    Yields
    ------
    part : slice
        Which of the queries.
    found : array of shape (n_queries of the part, n), int32
        Their items, best first, ties by lower number; -1 in empty slots.
    scores : array of the same shape, dtype of the factors
        Their scores; NaN in empty slots.
    """
    P, Q, user_biases, item_biases, mean = factors
    held = xp.empty((min(n_rows, len(codes)), len(Q)), Q.dtype)
    for part in tiles(len(codes), n_rows):
        rows = codes[part]
        scores = held[: len(rows)]
        p = P[rows]
        p[rows < 0] = 0
        xp.dot(p, Q.T, out=scores)
        scores += item_biases
        if moved is not None:
            spread = moved.user_lengths[rows][:, None] * moved.factor_variances
            spread += moved.bias_variances
            scores += moved.times * xp.sqrt(spread)
        if seen is not None:
            flat = scores.reshape(-1)
            for places in _seen_places(xp, rows, *seen, len(Q)):
                flat[places] = -np.inf
        found, best = _select(xp, scores, n)
        # Equal for all items of a row, so it comes after the selection, where only n are left.
        best += xp.where(rows >= 0, user_biases[rows], 0)[:, None]
        best += mean
        yield part, found, best


def _seen_places(xp: Any, rows: Any, indptr: Any, items: Any, n_items: int) -> Iterator[Any]:
    """Positions of the rows' seen items in their scores, laid out one row after the other."""
    counts = xp.where(rows >= 0, indptr[rows + 1] - indptr[rows], 0)
    ends = xp.cumsum(counts)
    shifts = indptr[rows] - (ends - counts)
    step = len(rows) * max(n_items // _SEEN_SHARE, 1)
    for part in tiles(int(ends[-1]), step):
        at = xp.arange(part.start, part.stop)
        row = xp.searchsorted(ends, at, side="right")
        yield row * n_items + items[at + shifts[row]]


def _select(xp: Any, scores: Any, n: int) -> tuple[Any, Any]:
    if n <= _core.most_selected:
        return best_items(scores, n)
    order = xp.argsort(-scores, axis=1, kind="stable")[:, :n]
    best = xp.take_along_axis(scores, order, axis=1)
    empty = ~(best > -np.inf)
    found = order.astype(np.int32)
    found[empty] = -1
    best[empty] = np.nan
    return found, best
