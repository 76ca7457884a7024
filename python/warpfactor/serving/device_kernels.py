"""The core's kernels that answer, on arrays of a CUDA device; see `device/answer_args.hpp` of the core.

`xp` is CuPy, or in a twin build NumPy, throughout. Nothing here computes with arrays: CuPy would compile a kernel for
each kind of operation when it is first met, which took 10 to 20 s on a fresh machine. Codes are int32 positions of
users or items; -1 stands for one without training ratings.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..exchange import address, to_host
from .device_flow import Results, tiles, upload
from .requests import Lists
from .tables import Tables

__all__ = ["ItemSearch", "any_missing", "find_codes", "predict_pairs", "rising", "unit_rows"]

# Queries of a thread block, and items that it scores at a time: `kBlockQueries` and `kTileItems` of the kernel.
_BLOCK_QUERIES, _TILE_ITEMS = 64, 256
# With fewer thread blocks a device is not busy: two on each of 132 multiprocessors. Items are then searched in parts.
_BUSY_BLOCKS = 264
# What the lists of the parts may take.
_PARTS_BYTES = 1 << 22
# Lists of a part of a request whose results go to the host: four times what runs at once. Not measured.
_LISTS_AT_ONCE = 1 << 16


def find_codes(
    xp: Any, values: Any, vocabulary: Any, known: Any, codes: Any, missing: Any | None
) -> None:
    """Write the codes of integer ids.

    Parameters
    ----------
    values : array of shape (n,), integers of any type, perhaps strided
        The ids.
    vocabulary : array of shape (n_ids,), int64 or uint64, or range
        The ids of the model.
    known : array of bool of shape (n_ids,)
        Whether they have training ratings.
    codes : array of shape (n,), int32
        Written to; -1 for ids that are not known.
    missing : array of shape (1,), int32, or None
        Set to 1 if there is one.
    """
    at = isinstance(vocabulary, range)
    _core.find_codes(
        ids=address(values),
        type=values.dtype.str[1:],
        stride=values.strides[0] if len(values) else 0,
        n=len(values),
        vocabulary=0 if at else address(vocabulary),
        is_unsigned=not at and vocabulary.dtype.kind == "u",
        first=vocabulary.start if at else 0,
        n_ids=len(vocabulary),
        known=address(known),
        codes=address(codes),
        missing=0 if missing is None else address(missing),
        stream=_stream(xp),
    )


def predict_pairs(
    xp: Any,
    arrays: dict[str, Any],
    tables: Tables,
    users: Any,
    items: Any,
    nan_if_unknown: bool,
    out: Any,
) -> None:
    """Write the prediction of each pair of codes, from the model's arrays on the device.

    Where `out` has two dimensions, those of each user for each item.
    """
    _core.predict_pairs(
        is_double=out.dtype == np.float64,
        **{name: address(arrays[name]) for name in _ROWS},
        n_factors=tables.item_factors.shape[1],
        users=address(users),
        items=address(items),
        n=int(np.prod(out.shape)),
        n_columns=out.shape[1] if out.ndim == 2 else 0,
        shape=_shape(tables),
        nan_if_unknown=nan_if_unknown,
        predicted=address(out),
        stream=_stream(xp),
    )


def unit_rows(xp: Any, rows: Any) -> Any:
    """Return rows scaled to length 1; rows of zeros stay zero."""
    unit = xp.empty(rows.shape, rows.dtype)
    _core.unit_rows(
        is_double=rows.dtype == np.float64,
        rows=address(rows),
        n=rows.shape[0],
        n_factors=rows.shape[1],
        unit=address(unit),
        stream=_stream(xp),
    )
    return unit


def rising(lists: Lists | None) -> Lists | None:
    """Return lists as the kernels take them: without -1, which stands for no item, sorted, and without repeats."""
    if lists is None:
        return None
    indptr, items = lists
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    kept = items >= 0
    by_row = _core.group_by_user(rows[kept], items[kept], len(indptr) - 1)
    return by_row[0], by_row[1]


class ItemSearch(NamedTuple):
    """The best items of each query by the kernels.

    Parameters
    ----------
    n : int
        How many items each list gets, up to `_core.most_selected`.
    item_biases : ndarray of shape (n_items,)
        -inf for items that are in no list.
    seen : (indptr, items) or None
        By the query's code: what is in no list of that user. On the device.
    only, without : (indptr, items) or None
        Rising items of each query: from which its list is chosen, and what it leaves out. On the host.
    lengths : ndarray of shape (n_queries,), int64, or None
        The length of each list; None: n.
    not_itself : bool
        Whether queries are items, which are not in their own lists.
    times : float
        How many deviations are added to scores.
    first_draw : int or None
        Where the draws begin that deviations are multiplied by; None: they are not.
    deviations : tuple of array or None
        `Uncertainty.arrays` on the device, where times is not 0.
    """

    n: int
    item_biases: NDArray[Any]
    seen: tuple[Any, Any] | None = None
    only: Lists | None = None
    without: Lists | None = None
    lengths: NDArray[np.int64] | None = None
    not_itself: bool = False
    times: float = 0.0
    first_draw: int | None = None
    deviations: tuple[Any, Any, Any] | None = None

    def row_bytes(self) -> int:
        """Return what each list needs on the device: twice what is put out, and a list in the making."""
        size = self.item_biases.itemsize
        return self.n * (2 * (8 + size) + 4 + size)

    def fixed_bytes(self, n_queries: int) -> int:
        """Return what is needed whatever the number of lists at a time."""
        listed = sum(
            8 * len(lists[0]) + 4 * len(lists[1]) for lists in (self.only, self.without) if lists
        )
        return self.item_biases.nbytes + 16 * n_queries + listed + self._parts_bytes(n_queries)

    def run(
        self,
        xp: Any,
        factors: tuple[Any, Any],
        codes: Any,
        tables: Tables | None,
        user_biases: Any,
        names: tuple[Any, NDArray[Any]],
        n_rows: int,
        output: str,
    ) -> tuple[Any, Any]:
        """Search, n_rows lists at a time.

        Parameters
        ----------
        factors : tuple of array of shape (n, k)
            P and Q, on the device.
        codes : array of shape (n_queries,), int32, on the device
            The row of P of each query.
        tables : Tables or None
            What scores become; None: they stay as they are.
        user_biases : array or None
            b_u, on the device.
        names : (array or range or None, ndarray)
            The items' ids on the device, None where they are no numbers, and on the host.
        n_rows : int
            The most lists at a time.
        output : {"numpy", "cupy"}
            Where the lists are put.

        Returns
        -------
        ids : array of shape (n_queries, n)
            -1, 0 if unsigned, or None in empty places.
        scores : array of the same shape
            NaN in empty places.
        """
        ids, host_ids = names
        n_queries, dtype = len(codes), self.item_biases.dtype
        shape = n_queries, self.n
        out = np if output == "numpy" else xp
        found = out.empty(shape, np.int32 if ids is None else host_ids.dtype)
        scores = out.empty(shape, dtype)
        if out is np and xp is not np:
            n_rows = min(n_rows, _LISTS_AT_ONCE)
        row_bytes = self.n * (found.itemsize + dtype.itemsize)
        n_rows = max(min(n_rows, n_queries, Results.rows_at_once(xp, row_bytes, output)), 1)
        only, without = (
            None if lists is None else tuple(upload(xp, each) for each in lists)
            for lists in (self.only, self.without)
        )
        lengths = None if self.lengths is None else upload(xp, self.lengths)
        held = upload(xp, self.item_biases)
        scratch = self._scratch(xp, n_rows, n_queries)
        with Results(xp, (found, scores), n_rows) as results:
            for number, part in enumerate(tiles(n_queries, n_rows)):
                n_splits = self._n_splits(part.stop - part.start, n_queries)
                _core.search_items(
                    is_double=dtype == np.float64,
                    user_factors=address(factors[0]),
                    item_factors=address(factors[1]),
                    item_biases=address(held),
                    n_factors=factors[1].shape[1],
                    n_items=len(self.item_biases),
                    queries=address(codes[part]),
                    n_queries=part.stop - part.start,
                    seen=_addresses(self.seen, 0),
                    without=_addresses(without, part.start),
                    only=_addresses(only, part.start),
                    not_itself=self.not_itself,
                    times=self.times,
                    bias_variances=_address(self.deviations, 0),
                    factor_variances=_address(self.deviations, 1),
                    user_lengths=_address(self.deviations, 2),
                    n_users=factors[0].shape[0],
                    first_draw=self.first_draw,
                    n=self.n,
                    n_splits=n_splits,
                    best=address(scratch[0]),
                    found=address(scratch[1]),
                    stream=_stream(xp),
                )
                names_out, scores_out = results.targets(number, part)
                _core.finish_lists(
                    is_double=dtype == np.float64,
                    queries=address(codes[part]),
                    n_queries=part.stop - part.start,
                    n=self.n,
                    n_splits=n_splits,
                    best=address(scratch[0]),
                    found=address(scratch[1]),
                    user_biases=0 if user_biases is None else address(user_biases),
                    lengths=0 if lengths is None else address(lengths[part]),
                    shape=_shape(tables),
                    has_ids=ids is not None,
                    ids=0 if ids is None or isinstance(ids, range) else address(ids),
                    first_id=ids.start if isinstance(ids, range) else 0,
                    empty_id=0 if host_ids.dtype.kind == "u" else -1,
                    names_out=address(names_out),
                    scores_out=address(scores_out),
                    stream=_stream(xp),
                )
                results.put(number, part)
        if ids is None:
            codes_found, found = found, np.empty(shape, host_ids.dtype)
            there = codes_found >= 0
            found[there] = host_ids[codes_found[there]]
        return found, scores

    def _n_tiles(self) -> int:
        return -(-len(self.item_biases) // _TILE_ITEMS)

    def _parts_bytes(self, n_queries: int) -> int:
        """Return what is set aside for lists of parts of the items, where the queries alone keep no device busy."""
        n_splits = _BUSY_BLOCKS // max(-(-n_queries // _BLOCK_QUERIES), 1)
        if self.only is not None or min(n_splits, self._n_tiles()) <= 1:
            return 0
        per_part = n_queries * self.n * (4 + self.item_biases.itemsize)
        return min(per_part * min(n_splits, self._n_tiles()), max(_PARTS_BYTES, 2 * per_part))

    def _n_splits(self, n_rows: int, n_queries: int) -> int:
        """Return in how many parts the items are searched, for so many queries at a time."""
        per_part = n_rows * self.n * (4 + self.item_biases.itemsize)
        fitting = self._parts_bytes(n_queries) // max(per_part, 1)
        blocks = max(-(-n_rows // _BLOCK_QUERIES), 1)
        return max(min(fitting, _BUSY_BLOCKS // blocks, self._n_tiles()), 1)

    def _scratch(self, xp: Any, n_rows: int, n_queries: int) -> tuple[Any, Any]:
        sizes = {n_rows, n_queries % n_rows or n_rows}
        rows = max(rows * self._n_splits(rows, n_queries) for rows in sizes)
        return xp.empty((rows, self.n), self.item_biases.dtype), xp.empty((rows, self.n), np.int32)


_ROWS = "user_factors", "item_factors", "user_biases", "item_biases"


def _stream(xp: Any) -> int:
    return 0 if xp is np else int(xp.cuda.get_current_stream().ptr)


def _address(arrays: tuple[Any, ...] | None, at: int) -> int:
    return 0 if arrays is None else address(arrays[at])


def _addresses(lists: tuple[Any, ...] | None, row: int) -> tuple[int, int]:
    return (0, 0) if lists is None else (address(lists[0][row:]), address(lists[1]))


def _shape(tables: Tables | None) -> _core.ScoreShape:
    if tables is None:
        return _core.ScoreShape(mean=0, start_bias=0, rating_mean=0, link="identity", biases=True)
    return _core.ScoreShape(
        mean=tables.global_mean,
        start_bias=tables.start_bias,
        rating_mean=tables.rating_mean,
        link=tables.link,
        biases=tables.biases,
    )


def any_missing(missing: Any) -> bool:
    """Whether a look-up has met an id that is not known; waits for it."""
    return bool(to_host(missing)[0])
