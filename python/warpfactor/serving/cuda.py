"""Answers on a CUDA device: `xp` is CuPy, or in a twin build NumPy, throughout.

Predictions, scores, lists and neighbours come from the core's kernels (`device_kernels.py`). What those do not cover is
array code (`device_lists.py`): lists of groups, diverse ones, and those longer than `_core.most_selected`. Codes are
int32 positions of users or items; -1 stands for one without training ratings, whose factors and bias count as zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..data.ids import consecutive, find_integers
from ..data.ratings import pairs_to_codes
from ..exchange import as_device_array, is_device_array, to_host
from .bounds import Bound
from .device import DeviceCopies, Memory
from .device_flow import Flow, Results, tiles, upload
from .device_kernels import (
    ItemSearch,
    any_missing,
    find_codes,
    predict_pairs,
    rising,
    unit_rows,
)
from .device_lists import (
    PAIR_BYTES,
    Factors,
    Moved,
    Search,
    first_draw,
    groups_of_known,
)
from .device_lists import unit_rows as unit_rows_of
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

# Pairs of a part, so that copies go on beside work: 16 MB of ids. Not measured.
_PAIRS_AT_ONCE = 1 << 20


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
        dtype = tables.item_factors.dtype
        wanted = self._known_arrays() | self._factor_arrays()
        pairs = self._integer_pairs(X)
        columns = None
        if pairs is None:
            columns = self._known_codes(X)
            if options.unknown == "raise":
                reject_unknown_pairs(X, [(0, *columns)], tables)
            n_pairs = len(columns[0])
        else:
            n_pairs = len(pairs)
            wanted |= self._vocabularies("user", "item")
        fixed = n_pairs * dtype.itemsize if output == "cupy" else 0
        arrays, n_rows = self._copies.take(
            wanted, _memory("predict", fixed, PAIR_BYTES, n_pairs, options)
        )
        predicted: NDArray[Any] = (np if output == "numpy" else xp).empty(n_pairs, dtype)
        n_rows = max(min(n_rows, n_pairs, _PAIRS_AT_ONCE), 1)
        missing = upload(xp, np.zeros(1, np.int32)) if options.unknown == "raise" else None
        held = xp.empty((2, n_rows), np.int32)
        with Flow(xp) as flow, Results(xp, (predicted,), n_rows) as results:
            for number, part in enumerate(tiles(n_pairs, n_rows)):
                if columns is not None:
                    users, items = (
                        flow.send(number, side, codes[part], n_rows)
                        for side, codes in zip(("users", "items"), columns, strict=True)
                    )
                else:
                    given = pairs[part]
                    if isinstance(given, np.ndarray) and xp is not np:
                        given = flow.send(number, "pairs", given, n_rows)
                    users, items = held[0][: len(given)], held[1][: len(given)]
                    self._find_codes(arrays, "user", given[:, 0], users, missing)
                    self._find_codes(arrays, "item", given[:, 1], items, missing)
                (out,) = results.targets(number, part)
                predict_pairs(xp, arrays, tables, users, items, options.unknown == "nan", out)
                flow.sent(number)
                results.put(number, part)
        if missing is not None and any_missing(missing):
            given = to_host(X)
            reject_unknown_pairs(given, [(0, *self._known_codes(given))], tables)
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
        if request.groups is not None or request.diversity > 0 or request.n > _core.most_selected:
            return self._recommend_by_arrays(users, single, request, bound, options, output)
        tables = self._tables
        given, one, codes = self._asked("user", users)
        unknown = options.unknown != "mean"
        if unknown and codes is not None and (codes < 0).any():
            reject_unknown_ids("user", users, one, codes, tables)
        wanted = self._known_arrays() | self._factor_arrays()
        if request.exclude_seen:
            wanted["seen_indptr"], wanted["seen_items"] = tables.seen.lists()
        if bound is not None:
            wanted |= bound.uncertainty.arrays
        open_items = tables.item_known
        if request.allowed is not None:
            open_items = open_items & request.allowed
        n_lists = len(given if codes is None else codes)
        seed = None if bound is None else bound.moves.seed
        search = ItemSearch(
            request.n,
            _open_biases(tables.item_biases, open_items),
            only=rising(request.only),
            without=rising(request.without),
            lengths=request.lengths,
            times=0.0 if bound is None else bound.moves.times,
            first_draw=None if seed is None else first_draw(seed),
        )
        fixed = search.fixed_bytes(n_lists)
        arrays, n_rows = self._take_lists(
            wanted, "recommend", n_lists, search, fixed, options, output
        )
        asked = self._codes_there(arrays, "user", users, given, codes, reject=unknown)
        if request.exclude_seen:
            search = search._replace(seen=(arrays["seen_indptr"], arrays["seen_items"]))
        if bound is not None:
            deviations = tuple(arrays[name] for name in Moved._fields[2:])
            search = search._replace(deviations=deviations)
        ids, scores = search.run(
            self._xp,
            (arrays["user_factors"], arrays["item_factors"]),
            asked,
            tables,
            arrays["user_biases"],
            self._names(arrays, "item"),
            n_rows,
            output,
        )
        return (ids[0], scores[0]) if single else (ids, scores)

    def _recommend_by_arrays(
        self,
        users: Any,
        single: bool,
        request: ListRequest,
        bound: Bound | None,
        options: Options,
        output: str,
    ) -> tuple[Any, Any]:
        """Do as `recommend`, by array code: for groups, diversity, and lists longer than the kernels' longest."""
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
        (one_user, user_codes), (one_item, item_codes) = codes_to_score(
            tables, users, items, options.unknown
        )
        rows = known_rows(np, user_codes, tables.user_known)
        columns = known_rows(np, item_codes, tables.item_known)
        shape, size = (len(rows), len(columns)), tables.item_factors.itemsize
        fixed = sum(shape) * PAIR_BYTES + (shape[0] * shape[1] * size if output == "cupy" else 0)
        memory = _memory("score_items", fixed, max(2 * shape[1] * size, 1), shape[0], options)
        arrays, n_rows = self._copies.take(self._factor_arrays(), memory)
        scores: NDArray[Any] = (np if output == "numpy" else xp).empty(
            shape, tables.item_factors.dtype
        )
        at_once = Results.rows_at_once(xp, shape[1] * size, output)
        n_rows = max(min(n_rows, shape[0], at_once), 1)
        users_there, items_there = upload(xp, rows), upload(xp, columns)
        with Results(xp, (scores,), n_rows) as results:
            for number, part in enumerate(tiles(len(rows), n_rows)):
                (out,) = results.targets(number, part)
                predict_pairs(
                    xp,
                    arrays,
                    tables,
                    users_there[part],
                    items_there,
                    options.unknown == "nan",
                    out,
                )
                results.put(number, part)
        scores = scores[:, 0] if one_item else scores
        return scores[0] if one_user else scores

    def similar(
        self, side: str, given: Any, n: int, options: Options, output: str
    ) -> tuple[Any, Any]:
        """Return the ids of the users or items nearest to each, and the cosines."""
        if n > _core.most_selected:
            return self._similar_by_arrays(side, given, n, options, output)
        xp, tables = self._xp, self._tables
        wanted_ids, single, codes = self._asked(side, given)
        if codes is not None and (codes < 0).any():
            reject_unknown_ids(side, given, single, codes, tables)
        rows, known = getattr(tables, f"{side}_factors"), getattr(tables, f"{side}_known")
        wanted = {f"{side}_factors": rows, f"{side}_known": known}
        search = ItemSearch(
            n, _open_biases(np.zeros(len(rows), rows.dtype), known), not_itself=True
        )
        n_lists = len(wanted_ids if codes is None else codes)
        fixed = search.fixed_bytes(n_lists) + rows.nbytes
        arrays, n_rows = self._take_lists(
            wanted, f"similar_{side}s", n_lists, search, fixed, options, output, side=side
        )
        asked = self._codes_there(arrays, side, given, wanted_ids, codes, reject=True)
        unit = unit_rows(xp, arrays[f"{side}_factors"])
        ids, scores = search.run(
            xp, (unit, unit), asked, None, None, self._names(arrays, side), n_rows, output
        )
        return (ids[0], scores[0]) if single else (ids, scores)

    def _similar_by_arrays(
        self, side: str, given: Any, n: int, options: Options, output: str
    ) -> tuple[Any, Any]:
        """Do as `similar`, by array code."""
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
        unit = unit_rows_of(xp, arrays[names[0]])
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
        """What look-ups on a device need there: nothing where ids are consecutive integers, or no numbers."""
        ids = {f"{side}_ids": getattr(self._tables, f"{side}_ids") for side in sides}
        return {
            name: array
            for name, array in ids.items()
            if array.dtype != object and consecutive(array) is None
        }

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
            _reject_objects(side, ids)
            wanted = wanted | {f"{side}_ids": ids}
            # Codes, ids, scores, and the masks and indices on the way.
            fixed += n_queries * search.n * (24 + 2 * size)
        per_row = search.row_bytes(n_rows, k, size)
        return self._copies.take(wanted, _memory(what, fixed, per_row, n_queries, options))

    def _take_lists(
        self,
        wanted: dict[str, NDArray[Any]],
        what: str,
        n_lists: int,
        search: ItemSearch,
        fixed: int,
        options: Options,
        output: str,
        *,
        side: str = "item",
    ) -> tuple[dict[str, Any], int]:
        """Get the arrays that a search by the kernels needs, and how many lists there may be at a time."""
        ids = getattr(self._tables, f"{side}_ids")
        whose = "user" if what == "recommend" else side
        wanted = wanted | self._vocabularies(*{side, whose})
        if output == "cupy":
            _reject_objects(side, ids)
            fixed += n_lists * search.n * (8 + search.item_biases.itemsize)
        memory = _memory(what, fixed, search.row_bytes(), n_lists, options)
        return self._copies.take(wanted, memory)

    def _names(self, arrays: dict[str, Any], side: str) -> tuple[Any, NDArray[Any]]:
        """The ids of a side as a search puts them out: on the device, if they are numbers, and on the host."""
        ids = getattr(self._tables, f"{side}_ids")
        return (None if ids.dtype == object else self._vocabulary(arrays, side)), ids

    def _asked(self, side: str, wanted: Any) -> tuple[Any, bool, NDArray[np.int32] | None]:
        """Return integers to look up on the device, or None; whether one id is wanted; and else the codes.

        The codes are on the host, -1 for ids without training ratings.
        """
        ids = getattr(self._tables, f"{side}_ids")
        if ids.dtype != object:
            values = as_device_array(wanted) if is_device_array(wanted) else wanted
            if (is_device_array(wanted) or _is_plain(values)) and _are_integers(values, (0, 1)):
                return values.reshape(-1), values.ndim == 0, None
        single, codes = find_ids(ids, wanted, f"{side}s")
        return None, single, known_rows(np, codes, getattr(self._tables, f"{side}_known"))

    def _codes_there(
        self,
        arrays: dict[str, Any],
        side: str,
        wanted: Any,
        given: Any,
        codes: NDArray[np.int32] | None,
        *,
        reject: bool,
    ) -> Any:
        """Return codes on the device of what `_asked` has returned; `reject`: none may be unknown."""
        xp = self._xp
        if codes is not None:
            return upload(xp, codes)
        if isinstance(given, np.ndarray) and xp is not np:
            given = upload(xp, given)
        there = xp.empty(len(given), np.int32)
        missing = upload(xp, np.zeros(1, np.int32)) if reject else None
        self._find_codes(arrays, side, given, there, missing)
        if missing is not None and any_missing(missing):
            ids, known = (getattr(self._tables, f"{side}_{name}") for name in ("ids", "known"))
            single, found = find_ids(ids, wanted, f"{side}s")
            reject_unknown_ids(side, wanted, single, known_rows(np, found, known), self._tables)
        return there

    def _find_codes(
        self, arrays: dict[str, Any], side: str, given: Any, codes: Any, missing: Any
    ) -> None:
        vocabulary = self._vocabulary(arrays, side)
        find_codes(self._xp, given, vocabulary, arrays[f"{side}_known"], codes, missing)

    def _known_codes(self, X: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the codes of pairs, on the host; -1 for users and items without training ratings."""
        tables = self._tables
        users, items = pairs_to_codes(X, tables.user_ids, tables.item_ids)
        return (
            known_rows(np, users, tables.user_known),
            known_rows(np, items, tables.item_known),
        )

    def _integer_pairs(self, X: Any) -> Any:
        """Return pairs of integers whose ids a device can look up, or None."""
        if self._tables.user_ids.dtype == object or self._tables.item_ids.dtype == object:
            return None
        if is_device_array(X):
            X = as_device_array(X)
        elif not _is_plain(X):
            return None
        return X if _are_integers(X, (2,)) and X.shape[1] == 2 else None

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


def _is_plain(values: Any) -> bool:
    """Whether values are an array of the host that nothing is masked in."""
    return isinstance(values, np.ndarray) and not isinstance(values, np.ma.MaskedArray)


def _are_integers(values: Any, dimensions: tuple[int, ...]) -> bool:
    """Whether an array has so many dimensions, and integers that the kernels read."""
    return values.ndim in dimensions and values.dtype.kind in "iu" and values.dtype.isnative


def _reject_objects(side: str, ids: NDArray[Any]) -> None:
    if ids.dtype == object:
        raise ValueError(
            f"output is 'cupy', and CuPy arrays hold numbers only, but the model's {side} "
            f"ids are like {ids[0]!r}: use output='numpy'"
        )


def _open_biases(biases: NDArray[Any], known: NDArray[np.bool_]) -> NDArray[Any]:
    """Return biases, on the host, and -inf, which is never selected, of what lists may not hold."""
    return np.where(known, biases, biases.dtype.type(-np.inf))


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
