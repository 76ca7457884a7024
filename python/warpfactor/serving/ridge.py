"""Fold-in on a CUDA device, as array code: the ridge regressions of `warpfactor/fold_in.hpp`, many rows at a time.

`xp` is CuPy, or in a twin build NumPy, throughout. With q_b = (q, 1) a row of the other side, which ends in 1 if the
model has biases and in 0 if not, x = (p, b) the row asked for, m its prior mean and D its penalties, x is the least of
|v - Q_b x|² + (x - m)ᵀ D (x - m).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .device import DeviceCopies, Memory
from .tables import Options

__all__ = ["Earlier", "RowRatings", "Rows", "solve_on_device"]

# What one rating takes while all are sorted by their rows: codes, values, keys and the order, twice.
_RATING_BYTES = 64
# Tiles hold rows of nearly the same number of ratings: the shortest has at least this share of the longest's, so that
# at most half of what is computed is padding.
_SHORTEST = 0.5


class Rows(NamedTuple):
    """Factors and biases of some rows."""

    factors: NDArray[Any]
    biases: NDArray[Any]


class Earlier(NamedTuple):
    """What rows were before some ratings: see `EarlierRows` of fold_in.hpp."""

    rows: Rows
    counts: NDArray[np.uint32]
    lists: tuple[NDArray[np.int64], NDArray[np.int32]]


class RowRatings(NamedTuple):
    """Ratings of rows 0 .. n_rows - 1, of the other side's rows by their codes."""

    rows: NDArray[np.int32]
    others: NDArray[np.int32]
    values: NDArray[np.float32]
    n_rows: int


class _Entries(NamedTuple):
    """What each row is solved from, sorted by row and other; `before`: of an earlier rating, without a value."""

    others: Any
    values: Any
    before: Any
    begin: Any  # of each row
    lengths: NDArray[np.int64]  # on the host


class _Problem(NamedTuple):
    """All that rows are solved from, on the device."""

    xp: Any
    others: Any  # Q_b
    other_biases: Any
    y: Any  # the coefficients of the prior means with those of the biases, or None
    earlier: Any  # x before, or None
    counts: Any  # of each row's earlier ratings, or None
    strengths: _core.FoldInStrengths


def solve_on_device(
    xp: Any,
    copies: DeviceCopies,
    other: str,
    fixed: Rows,
    ratings: RowRatings,
    strengths: _core.FoldInStrengths,
    *,
    global_mean: float,
    biases: bool,
    coefficients: Rows | None,
    earlier: Earlier | None,
    what: str,
    options: Options,
) -> Rows:
    """Solve for rows, given the other side's; see `fold_in` of warpfactor/fold_in.hpp.

    Parameters
    ----------
    xp : module
        CuPy, or in a twin build NumPy.
    copies : DeviceCopies
        Where copies of the other side are kept.
    other : {"user", "item"}
        The other side, by whose name its copies are kept.
    fixed : Rows
        Its rows.
    ratings, strengths, global_mean, biases, coefficients, earlier
        As of `_core.fold_in`.
    what : str
        What an error about memory calls the work.
    options : Options
        How much memory it may take.

    Returns
    -------
    Rows
        On the host; zeros for a row without ratings.

    Raises
    ------
    CudaError
        If there is not enough memory for the longest row.
    """
    k, dtype = fixed.factors.shape[1], fixed.factors.dtype
    wanted = {f"{other}_factors": fixed.factors, f"{other}_biases": fixed.biases}
    if coefficients is not None:
        wanted |= {f"{other}_y": coefficients.factors, f"{other}_y_biases": coefficients.biases}
    n_entries = len(ratings.rows) + (0 if earlier is None else len(earlier.lists[1]))
    per_row = np.bincount(ratings.rows, minlength=ratings.n_rows).astype(np.int64)
    if earlier is not None:
        per_row += np.where(earlier.counts > 0, np.diff(earlier.lists[0]), 0)
    longest = int(per_row.max(initial=1))
    size = dtype.itemsize
    # The other side and its coefficients once more, with a column for the bias; the rows, before and after.
    fixed_bytes = sum(array.nbytes for array in wanted.values()) + 2 * len(fixed.biases) * size
    fixed_bytes += 3 * ratings.n_rows * (k + 1) * size + _RATING_BYTES * n_entries
    limit = options.memory_limit() or None
    row_bytes = _row_bytes(longest, k, size)
    memory = Memory(what, fixed_bytes, row_bytes, ratings.n_rows, limit)
    arrays, n_rows = copies.take(wanted, memory)
    tile_bytes = n_rows * memory.per_row

    def with_bias(rows: Any, last: Any) -> Any:
        return xp.concatenate([rows, last.reshape(-1, 1).astype(dtype)], axis=1)

    y = None
    if coefficients is not None:
        y = with_bias(arrays[f"{other}_y"], arrays[f"{other}_y_biases"] * biases)
    problem = _Problem(
        xp,
        with_bias(arrays[f"{other}_factors"], xp.full(len(fixed.biases), biases, dtype)),
        arrays[f"{other}_biases"],
        y,
        None
        if earlier is None
        else with_bias(xp.asarray(earlier.rows.factors), xp.asarray(earlier.rows.biases)),
        None if earlier is None else xp.asarray(earlier.counts).astype(np.float64),
        strengths,
    )
    entries = _sorted(xp, ratings, earlier, len(fixed.biases), global_mean, dtype, per_row)
    solved = xp.zeros((ratings.n_rows, k + 1), dtype)
    for rows in _tiles(per_row, tile_bytes, k, size):
        solved[xp.asarray(rows)] = _solved(problem, entries, rows)
    on_host = solved if xp is np else xp.asnumpy(solved)
    return Rows(np.ascontiguousarray(on_host[:, :k]), np.ascontiguousarray(on_host[:, k]))


def _row_bytes(n_ratings: int, k: int, size: int) -> int:
    """Return what a row of so many ratings takes: its others, its prior mean's, products; matrices and their copies."""
    order = min(n_ratings, k + 1)
    return 4 * n_ratings * (k + 1) * size + 3 * order * order * size + 64 * n_ratings + 8 * k * size


def _tiles(
    per_row: NDArray[np.int64], tile_bytes: int, k: int, size: int
) -> Iterator[NDArray[np.int64]]:
    """Yield rows that are solved together, the longest first."""
    order = np.argsort(-per_row, kind="stable")
    lengths = per_row[order]
    end = int(np.searchsorted(-lengths, 0))  # rows without ratings stay zero
    at = 0
    while at < end:
        longest = int(lengths[at])
        least = max(_SHORTEST * longest, k + 1 if longest > k else 1)
        to = int(np.searchsorted(-lengths, -least, side="right"))
        to = min(to, at + max(tile_bytes // _row_bytes(longest, k, size), 1))
        yield order[at:to]
        at = to


def _sorted(
    xp: Any,
    ratings: RowRatings,
    earlier: Earlier | None,
    n_others: int,
    global_mean: float,
    dtype: Any,
    per_row: NDArray[np.int64],
) -> _Entries:
    rows, others = xp.asarray(ratings.rows), xp.asarray(ratings.others)
    values = (xp.asarray(ratings.values).astype(np.float64) - global_mean).astype(dtype)
    before = xp.zeros(len(rows), bool)
    if earlier is not None:
        indptr, listed = earlier.lists
        old = np.repeat(np.arange(ratings.n_rows, dtype=np.int32), np.diff(indptr))
        kept = earlier.counts[old] > 0
        rows = xp.concatenate([rows, xp.asarray(old[kept])])
        others = xp.concatenate([others, xp.asarray(listed[kept])])
        n_old = len(rows) - len(values)
        values = xp.concatenate([values, xp.zeros(n_old, dtype)])
        before = xp.concatenate([before, xp.ones(n_old, bool)])
    order = xp.argsort(rows.astype(np.int64) * n_others + others, kind="stable")
    begin = np.concatenate([[0], np.cumsum(per_row)])[:-1]
    return _Entries(others[order], values[order], before[order], xp.asarray(begin), per_row)


def _solved(problem: _Problem, entries: _Entries, rows: NDArray[np.int64]) -> Any:
    """Return x of rows, whose ratings are padded to the most that one of them has."""
    xp, strengths = problem.xp, problem.strengths
    dtype, k = problem.others.dtype, problem.others.shape[1] - 1
    at = xp.asarray(rows)
    lengths = xp.asarray(entries.lengths[rows])
    slots = xp.arange(int(entries.lengths[rows].max()))
    inside = slots[None, :] < lengths[:, None]
    places = xp.where(inside, entries.begin[at][:, None] + slots[None, :], 0)
    others = entries.others[places]
    before = entries.before[places] & inside
    Q = problem.others[others]
    Q *= inside[:, :, None].astype(dtype)
    v = xp.where(inside & ~before, entries.values[places] - problem.other_biases[others], 0)
    n_now = (inside & ~before).sum(axis=1).astype(np.float64)
    n_old = xp.zeros(len(rows))
    first = inside.copy()  # of the ratings of one other, which counts once for a prior mean
    first[:, 1:] &= others[:, 1:] != others[:, :-1]
    m = _prior_means(problem, others, first)
    if problem.earlier is not None:
        had = problem.counts[at] > 0
        n_old = xp.where(had, problem.counts[at], 0)
        x = problem.earlier[at]
        v = xp.where(before, xp.matmul(Q[:, :, :k], x[:, :k, None])[:, :, 0] + x[:, k:], v)
        # What the earlier ratings left of the row beyond its prior mean, as far as its penalty goes.
        left = _penalties(xp, strengths, n_old, k) / _penalties(xp, strengths, n_old + n_now, k)
        share = xp.where(had[:, None], left, 0).astype(dtype)
        m += share * (x - _prior_means(problem, others, before))
    v -= xp.matmul(Q, m[:, :, None])[:, :, 0]
    D = _penalties(xp, strengths, n_old + n_now, k)
    D[:, :k] *= strengths.score_scale
    return m + _beyond_means(xp, Q, v, D.astype(dtype))


def _prior_means(problem: _Problem, others: Any, counted: Any) -> Any:
    """Return n^(-1/2) times the sum of y over the n others that count, of each row."""
    xp, dtype = problem.xp, problem.others.dtype
    if problem.y is None:
        return xp.zeros((len(others), problem.others.shape[1]), dtype)
    n = xp.maximum(counted.sum(axis=1), 1).astype(np.float64)
    shares = counted.astype(dtype) * (1 / xp.sqrt(n)).astype(dtype)[:, None]
    return xp.matmul(shares[:, None, :], problem.y[others])[:, 0, :]


def _penalties(xp: Any, strengths: _core.FoldInStrengths, n: Any, k: int) -> Any:
    """Return the strengths of a row of n ratings: for each factor, and for the bias."""
    least = _core.FoldInStrengths.least
    out = xp.empty((len(n), k + 1))
    out[:, :k] = xp.maximum(strengths.reg * n + strengths.reg_row, least)[:, None]
    out[:, k] = xp.maximum(strengths.reg_bias * n + strengths.reg_bias_row, least)
    return out


def _beyond_means(xp: Any, Q: Any, v: Any, D: Any) -> Any:
    """Return x - m, by the smaller of two matrices; see `solve_by_ratings` and `solve_by_factors` of the CPU's."""
    for wide in (False, True):
        if wide:  # single precision has left the matrix of a row of many ratings without a root
            Q, v, D = (each.astype(np.float64) for each in (Q, v, D))
        by_ratings = Q.shape[1] < Q.shape[2]
        if by_ratings:
            scaled = Q / D[:, None, :]
            A, b = xp.matmul(Q, scaled.transpose(0, 2, 1)), v
            diagonal = xp.arange(A.shape[1])
            A[:, diagonal, diagonal] += 1
        else:
            transposed = Q.transpose(0, 2, 1)
            A, b = xp.matmul(transposed, Q), xp.matmul(transposed, v[:, :, None])[:, :, 0]
            diagonal = xp.arange(A.shape[1])
            A[:, diagonal, diagonal] += D
        try:
            solved = _solve_definite(xp, A, b)
        except np.linalg.LinAlgError:
            continue
        return (
            xp.matmul(scaled.transpose(0, 2, 1), solved[:, :, None])[:, :, 0]
            if by_ratings
            else solved
        )
    return xp.full(D.shape, np.nan, D.dtype)


def _solve_definite(xp: Any, A: Any, b: Any) -> Any:
    """Solve A x = b for each of some symmetric positive definite matrices, by Cholesky's decomposition.

    Raises
    ------
    numpy.linalg.LinAlgError
        If one is not definite.
    """
    if xp is np:
        roots = np.linalg.cholesky(A)
        y = np.linalg.solve(roots, b[:, :, None])
        return np.linalg.solve(roots.transpose(0, 2, 1), y)[:, :, 0]
    import cupyx
    from cupyx.lapack import posv

    with cupyx.errstate(linalg="raise"):
        return posv(A, b)
