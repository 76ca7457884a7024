"""How good ranked lists are: of any recommender, for all users at once.

The rules are the same for all:

- A list is ranked already: its order counts, and ties of scores are the recommender's to break.
- Users without a relevant item say nothing of a list. They are left out of the mean, and are NaN
among the values of
  each user.
- A list that is shorter than k is as good as if useless items followed. `precision` divides by k
all the same.
- Averages are over users, each with the same weight. Averages of what is listed are over all places
of all lists.

`precision`, `recall`, `hit_rate`, `ndcg`, `mean_average_precision` and `mrr` are those of
trec_eval: P_k, recall_k, success_k, ndcg_cut_k, map_cut_k and recip_rank of a list cut at k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import check_choice, check_count, check_number, option
from ..data.ids import encode_ids

__all__ = [
    "LIST_METRICS",
    "Relevant",
    "auc",
    "auc_of_rows",
    "check_cutoffs",
    "coverage",
    "hit_rate",
    "mean_average_precision",
    "metrics_of_rows",
    "mrr",
    "ndcg",
    "novelty",
    "popularity_share",
    "precision",
    "ranking",
    "recall",
    "self_information",
    "short_head",
    "top_k",
]

# In the order of the core.
LIST_METRICS: tuple[str, ...] = _core.RANKING_METRICS
_HEAD = 0.2


class Relevant(NamedTuple):
    """Each row's relevant items as codes, sorted and distinct, with their gains.

    Those of row r are ``items[indptr[r]:indptr[r + 1]]``.
    """

    indptr: NDArray[np.int64]
    items: NDArray[np.int32]
    gains: NDArray[np.float64]

    def part(self, start: int, end: int) -> Relevant:
        """Return some consecutive rows."""
        first, last = self.indptr[start], self.indptr[end]
        offsets = self.indptr[start : end + 1] - first
        return Relevant(offsets, self.items[first:last], self.gains[first:last])


def metrics_of_rows(
    lists: NDArray[np.int32], relevant: Relevant, cutoffs: Sequence[int], n_threads: int = 0
) -> dict[str, dict[int, NDArray[np.float64]]]:
    """Return each of `LIST_METRICS` at each cutoff of rows of codes; -1 is an empty place."""
    values = _core.ranking_metrics(lists, *relevant, np.array(cutoffs, np.int32), n_threads)
    return {
        name: dict(zip(cutoffs, of_metric, strict=True))
        for name, of_metric in zip(LIST_METRICS, values, strict=True)
    }


def precision(lists: Any, relevant: Any, k: int = 10, *, per_user: bool = False) -> Any:
    """Share of the first k places that go to relevant items: Σ_{j≤k} h_j / k.

    h_j is 1 where the j-th item of the list is relevant, else 0.

    Parameters
    ----------
    lists : array of shape (n_users, length), or sequence of sequences of ids
        Each user's items, best first and each once. In an array, -1 and None are empty places.
    relevant : sequence of collections of ids, of mappings {id: gain}, or sparse matrix
        Each user's relevant items, in the order of `lists`. Of a sparse matrix, with a row for each
        user, the columns are the ids and stored values above 0 the gains. Items of a gain of 0 or
        below are not relevant.
    k : int, default 10
        How many items of a list count. Of a shorter list, the missing ones count as not relevant.
    per_user : bool, default False
        Whether to return the values of all users instead of their mean.

    Returns
    -------
    float, or ndarray of shape (n_users,)
        From 0 to 1. Users without relevant items are left out of the mean; in the array they are
        NaN. The mean is NaN if nobody has any.

    Raises
    ------
    ValueError
        If `lists` and `relevant` have different lengths, `k` is below 1, a list has a relevant item
        twice, or ids are of different kinds.

    Examples
    --------
    >>> import warpfactor as wf
    >>> wf.metrics.precision([[3, 1, 2], [2, 3, 1]], [{3, 2}, {1}], k=2)
    0.25
    """
    return _one("precision", lists, relevant, k, per_user)


def recall(lists: Any, relevant: Any, k: int = 10, *, per_user: bool = False) -> Any:
    """Share of a user's R relevant items that are among the first k: Σ_{j≤k} h_j / R.

    Parameters, result and errors are those of `precision`. It stays below 1 where R > k.
    """
    return _one("recall", lists, relevant, k, per_user)


def hit_rate(lists: Any, relevant: Any, k: int = 10, *, per_user: bool = False) -> Any:
    """Share of the users with a relevant item among the first k: 1 if any h_j = 1, j ≤ k, else 0.

    Parameters, result and errors are those of `precision`.
    """
    return _one("hit_rate", lists, relevant, k, per_user)


def ndcg(
    lists: Any, relevant: Any, k: int = 10, *, graded: bool = False, per_user: bool = False
) -> Any:
    """Normalized discounted cumulative gain: DCG / IDCG, DCG = Σ_{j≤k} g_j / log2(j + 1).

    g_j is the gain of the j-th item if `graded`, else 1 where it is relevant; 0 elsewhere. IDCG is
    the DCG of the best list: of the min(k, R) relevant items of the highest gains, the highest
    first. Gains are taken as they are (trec_eval; Järvelin and Kekäläinen 2002), not as 2^g - 1:
    pass those if you want them.

    Parameters, result and errors are otherwise those of `precision`.
    """
    return _one("graded_ndcg" if graded else "ndcg", lists, relevant, k, per_user)


def mean_average_precision(
    lists: Any, relevant: Any, k: int = 10, *, per_user: bool = False
) -> Any:
    """Mean over the users of AP = Σ_{j≤k} h_j P_j / R, with P_j the precision of the first j.

    R counts all relevant items, as in trec_eval, so that AP stays below 1 where R > k. Some
    packages divide by min(k, R). Parameters, result and errors are those of `precision`.
    """
    return _one("map", lists, relevant, k, per_user)


def mrr(lists: Any, relevant: Any, k: int = 10, *, per_user: bool = False) -> Any:
    """Mean reciprocal rank: 1 / the least j ≤ k with h_j = 1, or 0 if there is none.

    Parameters, result and errors are those of `precision`.
    """
    return _one("mrr", lists, relevant, k, per_user)


def ranking(
    lists: Any,
    relevant: Any,
    k: int | Iterable[int] = (5, 10, 20),
    *,
    metrics: Iterable[str] | None = None,
    per_user: bool = False,
    n_threads: int | None = None,
) -> dict[str, dict[int, Any]]:
    """Compute several metrics of lists at several k at once.

    Parameters
    ----------
    lists, relevant, per_user
        As of `precision`.
    k : int or iterable of int, default (5, 10, 20)
        The cutoffs.
    metrics : iterable of str, or None, default None
        Of "precision", "recall", "hit_rate", "ndcg", "graded_ndcg", "map" and "mrr"; None: all.
    n_threads : int or None, default None
        Threads to use; None takes all.

    Returns
    -------
    dict of dict
        ``result["ndcg"][10]`` is the mean over the users, or the array of their values.

    Raises
    ------
    ValueError
        As `precision`, and if a metric is unknown.
    """
    cutoffs = check_cutoffs(k)
    names = LIST_METRICS if metrics is None else _listed(metrics)
    for name in names:
        check_choice("metrics", name, LIST_METRICS)
    threads = 0 if n_threads is None else check_count("n_threads", n_threads, 1)
    found = metrics_of_rows(*_encoded(lists, relevant), cutoffs, threads)
    return {
        name: {at: _mean(values, per_user) for at, values in found[name].items()} for name in names
    }


def top_k(scores: Any, k: int = 10, *, n_threads: int | None = None) -> NDArray[np.int32]:
    """Make ranked lists of scores, for the metrics that take lists.

    Parameters
    ----------
    scores : array of shape (n_users, n_items)
        The scores of all items. NaN marks what is no candidate, such as items that the user knows.
    k : int, default 10
        The length of the lists.
    n_threads : int or None, default None
        Threads to use; None takes all.

    Returns
    -------
    ndarray of shape (n_users, min(k, n_items)), int32
        Numbers of columns, of the highest score first. Of equal scores the lower column comes
        first. -1 fills the rows of users with fewer candidates.

    Raises
    ------
    ValueError
        If `scores` is not 2-D, or `k` below 1.

    Examples
    --------
    >>> import warpfactor as wf
    >>> wf.metrics.top_k([[0.1, 0.7, 0.7], [0.2, float("nan"), 0.3]], k=2)
    array([[1, 2],
           [2, 0]], dtype=int32)
    """
    table = _scores(scores)
    length = min(check_count("k", k, 1), max(table.shape[1], 1))
    threads = 0 if n_threads is None else check_count("n_threads", n_threads, 1)
    lists: NDArray[np.int32] = _core.ranked_lists(table, length, threads)
    return lists


def auc(scores: Any, relevant: Any, *, per_user: bool = False, n_threads: int | None = None) -> Any:
    """Area under the ROC curve: the chance that a relevant item scores above another one.

    Σ over pairs (relevant i, other candidate j) of [s_i > s_j] + ½ [s_i = s_j], divided by the
    number of pairs.

    Parameters
    ----------
    scores : array of shape (n_users, n_items)
        The scores of all items. NaN marks what is no candidate, such as items that the user knows.
    relevant : sequence of collections of columns, or sparse matrix
        Each user's relevant items, as numbers of columns; see `precision`. Those that are no
        candidates do not count.
    per_user : bool, default False
        Whether to return the values of all users instead of their mean.
    n_threads : int or None, default None
        Threads to use; None takes all.

    Returns
    -------
    float, or ndarray of shape (n_users,)
        From 0 to 1; 0.5 is chance. Ties count as half. Users without a relevant candidate, or with
        no other, are left out of the mean; in the array they are NaN.

    Raises
    ------
    ValueError
        If shapes do not fit together, or a relevant item is no column.
    """
    table = _scores(scores)
    indptr, flat, gains = _flat(relevant)
    _require_rows(len(table), len(indptr) - 1, "scores")
    columns = np.asarray(flat)
    if len(columns):
        inside = (
            columns.dtype.kind in "iu" and columns.min() >= 0 and columns.max() < table.shape[1]
        )
        if not inside:
            one = columns.tolist()[0 if columns.dtype.kind not in "iu" else int(columns.argmax())]
            raise ValueError(
                f"relevant holds {one!r:.60}; it must hold numbers of columns of scores, from 0 to "
                f"{table.shape[1] - 1}"
            )
    wanted = _sorted_rows(indptr, columns.astype(np.int32), gains)
    threads = 0 if n_threads is None else check_count("n_threads", n_threads, 1)
    values = auc_of_rows(table, None, wanted, threads)
    return _mean(values, per_user)


def auc_of_rows(
    scores: NDArray[Any],
    excluded: tuple[NDArray[np.int64], NDArray[np.int32]] | None,
    relevant: Relevant,
    n_threads: int = 0,
) -> NDArray[np.float64]:
    """Return the AUC of each row of scores; items of its `excluded` list are no candidates."""
    indptr, items = (None, None) if excluded is None else excluded
    result: NDArray[np.float64] = _core.ranking_auc(
        scores, indptr, items, relevant.indptr, relevant.items, n_threads
    )
    return result


def coverage(lists: Any, n_items: int, k: int = 10) -> float:
    """Share of the catalogue that is in anybody's first k: |∪_u L_u| / n_items.

    Parameters
    ----------
    lists : array of shape (n_users, length), or sequence of sequences of ids
        As of `precision`.
    n_items : int
        How many items could be recommended.
    k : int, default 10
        How many items of a list count; all of a shorter one.

    Raises
    ------
    ValueError
        If `n_items` is less than the items in the lists, or `k` below 1.
    """
    n_items = check_count("n_items", n_items, 1)
    _, ids = encode_ids(_places(lists, k), "lists")
    if len(ids) > n_items:
        raise ValueError(
            f"n_items is {n_items}; it must be at least {len(ids)}, as the lists hold so many items"
        )
    return len(ids) / n_items


def novelty(lists: Any, counts: Any, n_users: int, k: int = 10) -> float:
    """Mean self-information of what is listed: -log2(n_i / n_users), in bits, over all places.

    It is high where lists hold what few users know (Zhou et al. 2010).

    Parameters
    ----------
    lists : array of shape (n_users, length), or sequence of sequences of ids
        As of `precision`.
    counts : mapping {id: count}, or array of shape (n_items,) where ids are 0, 1, ...
        n_i, how many users rated each item in training. An item without a rating counts as if it
        had one.
    n_users : int
        How many users there were.
    k : int, default 10
        How many items of a list count; all of a shorter one.

    Returns
    -------
    float
        NaN if the lists are empty.

    Raises
    ------
    ValueError
        If an item has no count, or `k` or `n_users` is below 1.
    """
    n_users = check_count("n_users", n_users, 1)
    values = _values_of(counts)
    at = _positions_of(_places(lists, k), counts)
    return float(self_information(values[at], n_users).mean()) if len(at) else float("nan")


def popularity_share(lists: Any, counts: Any, k: int = 10, *, head: float = _HEAD) -> float:
    """Share of the places that go to the most popular items.

    Parameters
    ----------
    lists, counts, k
        As of `novelty`.
    head : float, default 0.2
        Which share of all items counts as the most popular: those with the most ratings, rounded up
        to whole items; where counts tie, the first ones of `counts`.

    Returns
    -------
    float
        From 0 to 1; NaN if the lists are empty.

    Raises
    ------
    ValueError
        As `novelty`, and if `head` is not above 0 and at most 1.
    """
    share = check_number("head", head)
    if not 0 < share <= 1:
        raise ValueError(f"head is {head!r:.80}; it must be above 0 and at most 1")
    values = _values_of(counts)
    at = _positions_of(_places(lists, k), counts)
    return float(short_head(values, share)[at].mean()) if len(at) else float("nan")


def short_head(counts: NDArray[Any], head: float = _HEAD) -> NDArray[np.bool_]:
    """Return which items are the most popular `head` of all."""
    found = np.zeros(len(counts), bool)
    found[np.argsort(-counts, kind="stable")[: int(np.ceil(head * len(counts)))]] = True
    return found


def self_information(counts: NDArray[Any], n_users: int) -> NDArray[np.float64]:
    """Return -log2(n_i / n_users) of each count, from 1 to n_users."""
    result: NDArray[np.float64] = -np.log2(np.clip(counts, 1, n_users) / n_users)
    return result


def check_cutoffs(k: Any) -> tuple[int, ...]:
    """Return cutoffs in rising order, each once; raise ValueError unless integers of at least 1."""
    given = [k] if isinstance(k, Integral) or not isinstance(k, Iterable) else list(k)
    if not given or isinstance(k, str):
        raise ValueError(f"{option('k')} is {k!r:.60}; it must be an integer, or several of them")
    return tuple(sorted({check_count("k", each, 1) for each in given}))


def _scores(scores: Any) -> NDArray[Any]:
    table = np.asarray(scores)
    if table.dtype not in (np.float32, np.float64):
        table = table.astype(np.float64)
    if table.ndim != 2:
        raise ValueError(f"scores has shape {table.shape}; it must be (n_users, n_items)")
    return np.ascontiguousarray(table)


def _one(name: str, lists: Any, relevant: Any, k: int, per_user: bool) -> Any:
    cutoff = check_count("k", k, 1)
    return _mean(metrics_of_rows(*_encoded(lists, relevant), [cutoff])[name][cutoff], per_user)


def _mean(values: NDArray[np.float64], per_user: bool) -> Any:
    if per_user:
        return values
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def _listed(names: Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _encoded(lists: Any, relevant: Any) -> tuple[NDArray[np.int32], Relevant]:
    """Return lists and relevant items as codes of one vocabulary."""
    filled, ids = _table(lists)
    indptr, flat, gains = _flat(relevant)
    _require_rows(len(filled), len(indptr) - 1, "lists")
    both = _joined(ids, flat)
    if not len(both):
        codes = np.empty(0, np.int32)
    elif isinstance(both, np.ndarray) and 0 <= both.min() <= both.max() < 2**31:
        codes = both.astype(np.int32)  # integers that can stand for themselves
    else:
        codes = encode_ids(both, "ids of lists and relevant")[0]
    table = np.full(filled.shape, -1, np.int32)
    table[filled] = codes[: len(ids)]
    return table, _sorted_rows(indptr, codes[len(ids) :], gains)


def _joined(some: Any, others: Any) -> Any:
    """Return two flat columns of ids as one: an array if they are integers."""
    columns = [np.asarray(each) for each in (some, others) if len(each)]
    if all(column.dtype.kind in "iu" for column in columns):
        return np.concatenate(columns) if columns else np.empty(0, np.int64)
    return [each for column in columns for each in column.tolist()]


def _require_rows(n: int, n_relevant: int, name: str) -> None:
    if n != n_relevant:
        raise ValueError(
            f"{name} has {n} rows, and relevant {n_relevant}: there must be one of each for each user"
        )


def _table(lists: Any) -> tuple[NDArray[np.bool_], Any]:
    """Return which places of a table of the lists are filled, and their ids, row by row."""
    if isinstance(lists, np.ndarray) and lists.ndim == 2:
        if np.ma.isMaskedArray(lists):
            filled = ~np.ma.getmaskarray(lists)
        elif lists.dtype.kind == "O":
            filled = np.array([each is not None for each in lists.flat], bool).reshape(lists.shape)
        elif lists.dtype.kind == "i":
            filled = lists != -1
        else:
            filled = np.ones(lists.shape, bool)
        return filled, np.asarray(lists)[filled]
    if isinstance(lists, (str, bytes)) or not isinstance(lists, Iterable):
        raise ValueError(f"lists is {lists!r:.60}; it must hold a list of ids for each user")
    rows = [list(_row(row, "lists")) for row in lists]
    lengths = np.array([len(row) for row in rows], np.int64)
    width = int(lengths.max(initial=0))
    filled = np.arange(width) < lengths[:, None]
    return filled, _column(rows)


def _row(row: Any, name: str) -> Iterable[Any]:
    if isinstance(row, (str, bytes)) or not isinstance(row, Iterable):
        raise ValueError(
            f"{name} holds {row!r:.60}; it must hold a collection of ids for each user"
        )
    return row.tolist() if isinstance(row, np.ndarray) else row


def _column(rows: Iterable[Iterable[Any]]) -> Any:
    values = [each for row in rows for each in row]
    if values and all(isinstance(each, (int, np.integer)) for each in values):
        return np.array(values)
    return values


def _flat(relevant: Any) -> tuple[NDArray[np.int64], Any, NDArray[np.float64]]:
    """Return (indptr, ids, gains) of the relevant items, those of no gain left out."""
    if hasattr(relevant, "tocsr"):  # SciPy's, which need not be imported for the others
        rows = relevant.tocsr(copy=True)
        rows.sum_duplicates()
        indptr, ids, gains = (
            rows.indptr.astype(np.int64),
            rows.indices,
            rows.data.astype(np.float64),
        )
    else:
        if isinstance(relevant, (str, bytes, Mapping)) or not isinstance(relevant, Iterable):
            raise ValueError(
                f"relevant is {relevant!r:.60}; it must hold a collection of ids, or a mapping of ids "
                "to gains, for each user"
            )
        collections = [
            row if isinstance(row, Mapping) else dict.fromkeys(_row(row, "relevant"), 1.0)
            for row in relevant
        ]
        indptr = np.zeros(len(collections) + 1, np.int64)
        np.cumsum([len(row) for row in collections], out=indptr[1:])
        ids = _column(collections)
        gains = np.array([float(gain) for row in collections for gain in row.values()], np.float64)
    if not np.isfinite(gains).all():
        raise ValueError(
            f"relevant holds the gain {gains[~np.isfinite(gains)][0]}; gains are finite"
        )
    kept = gains > 0
    if not kept.all():
        rows_of = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))[kept]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows_of, minlength=len(indptr) - 1))])
        ids, gains = (
            _joined([], np.asarray(ids, None if isinstance(ids, np.ndarray) else object)[kept]),
            gains[kept],
        )
    return indptr.astype(np.int64), ids, gains


def _sorted_rows(
    indptr: NDArray[np.int64], codes: NDArray[np.int32], gains: NDArray[np.float64]
) -> Relevant:
    rows = np.repeat(np.arange(len(indptr) - 1, dtype=np.int64), np.diff(indptr))
    keys = rows << 32 | codes
    if not (keys[1:] > keys[:-1]).all():
        order = np.argsort(keys)
        codes, gains = codes[order], gains[order]
    return Relevant(indptr, np.ascontiguousarray(codes, np.int32), np.ascontiguousarray(gains))


def _places(lists: Any, k: int) -> Any:
    """Return the ids in the first k places of all lists."""
    k = check_count("k", k, 1)
    if isinstance(lists, np.ndarray) and lists.ndim == 2:
        return _table(lists[:, :k])[1]
    filled, ids = _table(lists)
    within = (np.arange(filled.shape[1]) < k)[None, :] & filled
    kept = within[filled]
    return ids[kept] if isinstance(ids, np.ndarray) else [
        each for each, is_kept in zip(ids, kept, strict=True) if is_kept
    ]  # fmt: skip


def _values_of(counts: Any) -> NDArray[np.float64]:
    given = list(counts.values()) if isinstance(counts, Mapping) else counts
    values = np.asarray(given, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("counts must hold one number of at least 0 for each item")
    return values


def _positions_of(places: Any, counts: Any) -> NDArray[np.int64]:
    """Return where in `counts` the items of places are."""
    if not isinstance(counts, Mapping):
        counts = range(len(counts))
    found = {item: at for at, item in enumerate(counts)}
    try:
        return np.array([found[item] for item in np.asarray(places, object).tolist()], np.int64)
    except KeyError as error:
        raise ValueError(
            f"lists hold the item {error.args[0]!r:.60}, which has no count in counts: add it, as 0 if "
            "nobody rated it"
        ) from None
