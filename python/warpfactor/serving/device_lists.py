"""The best items of users or groups on a CUDA device, as array code: `xp` is CuPy, or in a twin build NumPy.

Codes are int32 positions of users or items; -1 stands for one without training ratings, whose
factors and bias count as zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .device import best_items
from .device_flow import tiles
from .requests import Lists

__all__ = ["PAIR_BYTES", "Factors", "Moved", "Search", "first_draw", "groups_of_known", "unit_rows"]

# Temporary arrays of one pair: ids, codes, masks and scores, at most eight bytes each.
PAIR_BYTES = 128
# Temporary arrays of one listed item: positions as int64.
_LISTED_BYTES = 64
# Listed items are taken off in steps of 1/64 of the tile's scores: about the density of ratings, so
# that one step mostly does, for a quarter more memory at float32.
_LISTED_SHARE = 64
# Among how many times n items a diverse list is chosen: `AnswerOptions::kPoolFactor`.
_POOL_FACTOR = 10
# `kExploration` of cpp/src/random.hpp, which keeps the streams of different purposes apart.
_EXPLORATION = 16
# SplitMix64 (Steele, Lea, Flood 2014).
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_WORD = 0xFFFFFFFFFFFFFFFF


class Factors(NamedTuple):
    """P, Q, b_u, b_i and μ, in the order in which the core takes them. An item of bias -inf is in no list."""

    user_factors: Any
    item_factors: Any
    user_biases: Any
    item_biases: Any
    mean: float


class Moved(NamedTuple):
    """What is added to the score of (u, i): times √(bias_variances[i] + user_lengths[u] factor_variances[i]).

    With a seed that is the deviation of a draw from a normal distribution of mean 0.
    """

    times: float
    seed: int | None
    bias_variances: Any
    factor_variances: Any
    user_lengths: Any  # the last is that of unknown users, whose code is -1


class Search(NamedTuple):
    """Which items lists are chosen from, and how.

    Parameters
    ----------
    n : int
        How many items each list gets, at most all of them.
    seen : (indptr, items) or None
        What users have in no list: row c of P has items[indptr[c]:indptr[c + 1]]. On the device.
    only, without : (indptr, items) or None
        From which items the list of each query is chosen, and what it leaves out. On the host.
    moved : Moved or None
        What is added to the scores.
    diversity : float
        The weight of the likeness to what is in the list already.
    groups : ndarray of shape (n_queries + 1,) or None
        Where the codes of each query begin; None: each is a query. On the host.
    group : {"mean", "min", "max"}
        What a group's score is of its members'.
    """

    n: int
    seen: tuple[Any, Any] | None = None
    only: Lists | None = None
    without: Lists | None = None
    moved: Moved | None = None
    diversity: float = 0.0
    groups: NDArray[np.int64] | None = None
    group: str = "mean"

    def pool(self, n_items: int) -> int:
        """Return how many of the best items a list is chosen from."""
        return min(self.n * _POOL_FACTOR, n_items) if self.diversity > 0 else self.n

    def row_bytes(self, n_items: int, n_factors: int, item_size: int) -> int:
        """Return what each row of a tile needs."""
        pool = self.pool(n_items)
        scores = n_items * item_size
        if (
            pool > _core.most_selected
        ):  # negated and sorted scores, positions, and what a sort needs
            scores += n_items * (3 * item_size + 32)
        if self.groups is not None:
            scores += 2 * n_items * item_size
        if self.moved is not None:
            scores += n_items * (4 * item_size if self.moved.seed is None else 4 * item_size + 48)
        if self.only is not None:
            scores += 2 * n_items
        if self.diversity > 0:
            scores += pool * (3 * n_factors + 8) * item_size
        listed = max(n_items // _LISTED_SHARE, 1) * _LISTED_BYTES
        return scores + listed + 2 * n_factors * item_size + 2 * pool * (item_size + 4) + PAIR_BYTES

    def lists(
        self, xp: Any, factors: Factors, codes: Any, n_rows: int
    ) -> Iterator[tuple[slice, Any, Any]]:
        """Find the best items of each query, n_rows of them at a time.

        Parameters
        ----------
        codes : array of shape (n_queries,) or that of the groups' members, int32
            Which rows of P.
        n_rows : int
            How many rows of scores are held at once.

        Yields
        ------
        part : slice
            Which of the queries.
        found : array of shape (n_queries of the part, n), int32
            Their items, best first, ties by lower number; -1 in empty slots.
        scores : array of the same shape, dtype of the factors
            Their scores; NaN in empty slots.
        """
        n_items = len(factors.item_factors)
        n_queries = len(codes) if self.groups is None else len(self.groups) - 1
        only, without = (
            None if lists is None else _on_device(xp, lists) for lists in (self.only, self.without)
        )
        held = xp.empty((min(n_rows, n_queries), n_items), factors.item_factors.dtype)
        for part in tiles(n_queries, n_rows):
            scores = held[: part.stop - part.start]
            queries = xp.arange(part.start, part.stop)
            numbers = queries - part.start
            flat = scores.reshape(-1)
            self._score(xp, factors, codes, part, scores)
            for at, rows in self._members(xp, codes, part):
                if self.seen is not None:
                    for places in _places(xp, at, rows, *self.seen, n_items):
                        flat[places] = -np.inf
            if without is not None:
                for places in _places(xp, numbers, queries, *without, n_items):
                    flat[places] = -np.inf
            if only is not None:
                listed = xp.zeros(flat.shape, bool)
                for places in _places(xp, numbers, queries, *only, n_items):
                    listed[places] = True
                flat[~listed] = -np.inf
            found, best = _select(xp, scores, self.pool(n_items))
            if self.diversity > 0:
                found, best = _diverse(
                    xp, factors.item_factors, found, best, self.n, self.diversity
                )
            if self.groups is None:
                # Equal for all items of a row, so it comes after the selection, where only n are left.
                best += _offsets(xp, factors, codes[part])[:, None]
            yield part, found, best

    def _members(self, xp: Any, codes: Any, part: slice) -> Iterator[tuple[Any, Any]]:
        """Yield the numbers of queries in the part, and the codes of a member of each; all members by and by."""
        if self.groups is None:
            yield xp.arange(part.stop - part.start), codes[part]
            return
        begin = self.groups[part.start : part.stop]
        sizes = self.groups[part.start + 1 : part.stop + 1] - begin
        for nth in range(int(sizes.max(initial=0))):
            at = np.flatnonzero(sizes > nth)
            yield xp.asarray(at), codes[xp.asarray(begin[at] + nth)]

    def _score(self, xp: Any, factors: Factors, codes: Any, part: slice, scores: Any) -> None:
        """Write the scores of the part's queries; of single users without what is equal for all items."""
        members = self._members(xp, codes, part)
        _, rows = next(members)
        self._score_users(xp, factors, rows, scores)
        if self.groups is None:
            return
        scores += _offsets(xp, factors, rows)[:, None]
        for at, rows in members:
            other = xp.empty((len(rows), scores.shape[1]), scores.dtype)
            self._score_users(xp, factors, rows, other)
            other += _offsets(xp, factors, rows)[:, None]
            if self.group == "mean":
                scores[at] += other
            else:
                least_or_most = xp.minimum if self.group == "min" else xp.maximum
                scores[at] = least_or_most(scores[at], other)
        if self.group == "mean":
            sizes = np.diff(self.groups[part.start : part.stop + 1])
            scores /= xp.asarray(sizes.astype(scores.dtype))[:, None]

    def _score_users(self, xp: Any, factors: Factors, rows: Any, out: Any) -> None:
        p = factors.user_factors[rows]
        p[rows < 0] = 0
        xp.dot(p, factors.item_factors.T, out=out)
        out += factors.item_biases
        moved = self.moved
        if moved is not None:
            spread = moved.user_lengths[rows][:, None] * moved.factor_variances
            spread += moved.bias_variances
            deviation = xp.sqrt(spread)
            if moved.seed is not None:
                users = xp.where(rows < 0, len(factors.user_factors), rows)
                deviation *= _normal(xp, moved.seed, users, out.shape[1]).astype(out.dtype)
            out += moved.times * deviation


def groups_of_known(
    groups: NDArray[np.int64], codes: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return groups without their unknown members, and those that are left; at least one, unknown or not."""
    kept = codes >= 0
    sizes = np.diff(groups)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    n_known = np.bincount(numbers[kept], minlength=len(sizes))
    kept[groups[:-1][n_known == 0]] = True
    return np.concatenate([[0], np.cumsum(np.maximum(n_known, 1))]), codes[kept]


def unit_rows(xp: Any, factors: Any) -> Any:
    """Scale rows, along the last axis, to length 1; rows of zeros stay zero."""
    lengths = xp.linalg.norm(factors, axis=-1, keepdims=True)
    # The smallest normal number keeps a zero row zero instead of NaN.
    return factors / xp.maximum(lengths, np.finfo(factors.dtype).tiny)


def _offsets(xp: Any, factors: Factors, rows: Any) -> Any:
    """Return what all scores of a user have in common."""
    return xp.where(rows >= 0, factors.user_biases[rows], 0) + factors.user_biases.dtype.type(
        factors.mean
    )


def _on_device(xp: Any, lists: Lists) -> tuple[Any, Any]:
    """Return lists on the device, without -1, which stands for no item."""
    indptr, items = lists
    kept = items >= 0
    before = np.concatenate([[0], np.cumsum(kept)])
    return xp.asarray(before[indptr]), xp.asarray(items[kept])


def _places(xp: Any, at: Any, rows: Any, indptr: Any, items: Any, n_items: int) -> Iterator[Any]:
    """Positions of lists' items in scores that are laid out row by row: those of the list rows[n] in row at[n]."""
    if not len(items):
        return
    counts = xp.where(rows >= 0, indptr[rows + 1] - indptr[rows], 0)
    ends = xp.cumsum(counts)
    shifts = indptr[rows] - (ends - counts)
    step = len(rows) * max(n_items // _LISTED_SHARE, 1)
    for part in tiles(int(ends[-1]), step):
        entries = xp.arange(part.start, part.stop)
        nth = xp.searchsorted(ends, entries, side="right")
        yield at[nth] * n_items + items[entries + shifts[nth]]


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


def _diverse(xp: Any, Q: Any, found: Any, best: Any, n: int, diversity: float) -> tuple[Any, Any]:
    """Choose lists of n among the best items by maximal marginal relevance; see `Recommending.recommend`."""
    there = found >= 0
    units = unit_rows(xp, Q[xp.where(there, found, 0)])
    top = best[:, :1]
    span = top - xp.where(there, best, top).min(axis=1, keepdims=True)
    relevance = xp.where(span > 0, 1 - (top - best) / xp.where(span > 0, span, 1), 0)
    relevance = relevance.astype(best.dtype)
    gone = ~there
    nearest = xp.full(best.shape, -1, best.dtype)
    rows = xp.arange(len(found))
    following = xp.zeros(len(found), np.int64)
    chosen = xp.full((len(found), n), -1, np.int32)
    scores = xp.full((len(found), n), np.nan, best.dtype)
    for slot in range(min(n, found.shape[1])):
        left = ~gone[rows, following]
        chosen[:, slot] = xp.where(left, found[rows, following], -1)
        scores[:, slot] = xp.where(left, best[rows, following], np.nan)
        gone[rows, following] = True
        cosines = xp.matmul(units, units[rows, following][:, :, None])[:, :, 0]
        nearest = xp.maximum(nearest, cosines)
        worth = (1 - diversity) * relevance - diversity * nearest
        following = xp.where(gone, -np.inf, worth).argmax(axis=1)
    return chosen, scores


def _normal(xp: Any, seed: int, users: Any, n_items: int) -> Any:
    """Return a standard normal number of each user and item, that of `ScoreMoves` of the core."""
    start = first_draw(seed)
    pairs = users.astype(np.uint64)[:, None] * np.uint64(n_items) + xp.arange(n_items).astype(
        np.uint64
    )
    state = _mixed(pairs + np.uint64(start))
    first = _mixed(state + np.uint64(_STEP)) >> np.uint64(11)
    second = _mixed(state + np.uint64(2 * _STEP & _WORD)) >> np.uint64(11)
    # By Box and Muller (1958); the first is above 0.
    radius = xp.sqrt(-2 * xp.log((first + np.uint64(1)).astype(np.float64) * 2.0**-53))
    return radius * xp.cos(2 * np.pi * 2.0**-53 * second.astype(np.float64))


def _mixed(z: Any) -> Any:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


def first_draw(seed: int) -> int:
    """Return where the draws of a seed begin: `SplitMix64` of the core, with `kExploration`."""
    return _mixed_int(seed + _STEP * (_EXPLORATION + 1))


def _mixed_int(z: int) -> int:
    z &= _WORD
    z = ((z ^ (z >> 30)) * _FIRST) & _WORD
    z = ((z ^ (z >> 27)) * _SECOND) & _WORD
    return z ^ (z >> 31)
