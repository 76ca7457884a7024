"""Answers on a CUDA device, as array code: `xp` is CuPy, or in a twin build NumPy, throughout.

Codes are int32 positions of users or items; -1 stands for one without training ratings, whose
factors and bias count as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..data.ids import consecutive, find_integers
from ..data.ratings import pairs_to_codes
from ..exchange import as_device_array, is_device_array, to_host
from .bounds import Bound
from .device import DeviceCopies, Memory
from .device_lists import (
    PAIR_BYTES,
    Factors,
    Moved,
    Search,
    groups_of_known,
    tiles,
    unit_rows,
)
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

__all__ = ["DeviceAnswers"]


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
        per_pair = 2 * k * dtype.itemsize + PAIR_BYTES
        arrays, n_rows = self._copies.take(
            wanted, _memory("predict", fixed, per_pair, n_pairs, options)
        )
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
        fixed = tables.item_biases.nbytes + 2 * tables.item_known.nbytes + len(codes) * PAIR_BYTES
        fixed += sum(16 * len(lists[1]) for lists in (request.only, request.without) if lists)
        if bound is not None:
            wanted |= bound.uncertainty.arrays
        n_lists = len(codes) if request.groups is None else len(request.groups) - 1
        search = _search(request, bound)
        arrays, n_rows = self._take(wanted, "recommend", n_lists, search, fixed, options, output)
        codes = known_rows(xp, codes, arrays["user_known"])
        if options.unknown != "mean" and (codes < 0).any():
            reject_unknown_ids("user", users, one, codes, tables)
        factors = self._factors(arrays)
        open_items = arrays["item_known"]
        if request.allowed is not None:
            open_items = open_items & xp.asarray(request.allowed)
        factors = factors._replace(item_biases=_rated_biases(xp, factors.item_biases, open_items))
        if request.exclude_seen:
            search = search._replace(seen=(arrays["seen_indptr"], arrays["seen_items"]))
        if search.moved is not None:
            held = {name: arrays[name] for name in Moved._fields[2:]}
            search = search._replace(moved=search.moved._replace(**held))
        if request.groups is not None:
            groups, known = groups_of_known(request.groups, to_host(codes))
            parts = search._replace(groups=groups).lists(xp, factors, xp.asarray(known), n_rows)
            codes = xp.asarray(known[groups[:-1]])  # the members are now all known, or one unknown
        else:
            parts = search.lists(xp, factors, codes, n_rows)
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
        fixed = len(item_codes) * (k * size + PAIR_BYTES) + len(user_codes) * PAIR_BYTES
        if output == "cupy":
            fixed += len(user_codes) * len(item_codes) * size
        per_row = 4 * len(item_codes) * size + 2 * k * size
        arrays, n_rows = self._copies.take(
            wanted, _memory("score_items", fixed, per_row, len(user_codes), options)
        )
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
        fixed = 2 * rows.nbytes + PAIR_BYTES * len(rows)
        search = Search(n)
        arrays, n_rows = self._take(
            wanted, f"similar_{side}s", len(codes), search, fixed, options, output, side=side
        )
        codes = known_rows(xp, codes, arrays[names[1]])
        if (codes < 0).any():
            reject_unknown_ids(side, given, single, codes, tables)
        unit = unit_rows(xp, arrays[names[0]])
        none = xp.zeros(len(unit), unit.dtype)
        biases = _rated_biases(xp, none, arrays[names[1]])
        factors = Factors(unit, unit, none, biases, 0.0)
        itself = xp.arange(len(unit) + 1), xp.arange(len(unit), dtype=np.int32)
        parts = search._replace(seen=itself).lists(xp, factors, codes, n_rows)
        out = np if output == "numpy" else xp
        found, scores = _collected(out, parts, (len(codes), n), rows.dtype)
        ids = arrays.get(f"{side}_ids", getattr(tables, f"{side}_ids"))
        ids, scores = named_items(out, ids, found, scores)
        return (ids[0], scores[0]) if single else (ids, scores)

    def _factor_arrays(self) -> dict[str, NDArray[Any]]:
        names = (name for name in Factors._fields if name != "mean")
        return {name: getattr(self._tables, name) for name in names}

    def _factors(self, arrays: dict[str, Any]) -> Factors:
        named = {name: arrays[name] for name in self._factor_arrays()}
        return Factors(**named, mean=self._tables.global_mean)

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
        search: Search,
        fixed: int,
        options: Options,
        output: str,
        *,
        side: str = "item",
    ) -> tuple[dict[str, Any], int]:
        """Get the arrays that a search for the n best rows needs, and the rows of its tiles."""
        tables = self._tables
        n_rows, k = getattr(tables, f"{side}_factors").shape
        ids = getattr(tables, f"{side}_ids")
        size = tables.item_factors.itemsize
        fixed += n_queries * PAIR_BYTES
        if output == "cupy":
            if ids.dtype == object:
                raise ValueError(
                    f"output is 'cupy', and CuPy arrays hold numbers only, but the model's {side} "
                    f"ids are like {ids[0]!r}: use output='numpy'"
                )
            wanted = wanted | {f"{side}_ids": ids}
            # Codes, ids, scores, and the masks and indices on the way.
            fixed += n_queries * search.n * (24 + 2 * size)
        per_row = search.row_bytes(n_rows, k, size)
        return self._copies.take(wanted, _memory(what, fixed, per_row, n_queries, options))

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
                    self._vocabularies(side), _memory("looking up ids", 0, PAIR_BYTES, 1, options)
                )
                vocabulary = self._vocabulary(arrays, side)
                return values.ndim == 0, find_integers(self._xp, vocabulary, values.reshape(-1))
        single, codes = find_ids(ids, wanted, f"{side}s")
        return single, self._xp.asarray(codes)


def _search(request: ListRequest, bound: Bound | None) -> Search:
    """Return what a request asks for, without the arrays of the device."""
    moved = None
    if bound is not None:
        moved = Moved(bound.moves.times, bound.moves.seed, None, None, None)
    return Search(
        request.n,
        only=request.only,
        without=request.without,
        moved=moved,
        diversity=request.diversity,
        groups=request.groups,
        group=request.group,
    )


def _memory(what: str, fixed: int, per_row: int, n_rows: int, options: Options) -> Memory:
    return Memory(what, fixed, per_row, n_rows, options.memory_limit() or None)


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


def _rated_biases(xp: Any, biases: Any, known: Any) -> Any:
    """Return the items' biases, and -inf, which is never selected, for those without ratings."""
    return xp.where(known, biases, biases.dtype.type(-np.inf))


def _linked(xp: Any, scores: Any, link: str) -> Any:
    """Turn scores into predicted ratings."""
    if link == "identity":
        return scores
    with np.errstate(over="ignore"):  # exp of a large number, whose reciprocal is 0
        probability = 1 / (1 + xp.exp(-scores))
    return probability if link == "probability" else 2 * probability - 1


def _pair_scores(xp: Any, factors: Factors, users: Any, items: Any) -> Any:
    """Return μ + b_u + b_i + p_u · q_i of each pair of codes."""
    products = factors.user_factors[users]
    products *= factors.item_factors[items]
    scores = products.sum(axis=1)
    scores[(users < 0) | (items < 0)] = 0
    scores += factors.mean
    for codes, biases in ((users, factors.user_biases), (items, factors.item_biases)):
        scores += xp.where(codes >= 0, biases[codes], 0)
    return scores
