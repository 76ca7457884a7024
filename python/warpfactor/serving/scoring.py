"""Scores, and what becomes of them, as array code: `xp` is NumPy or CuPy throughout.

Codes are int32 positions of users or items; -1 stands for one without training ratings, whose
factors and bias count as zero.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .device import DeviceCopies, Memory, best_items

__all__ = [
    "PAIR_BYTES",
    "CpuScorer",
    "DeviceScorer",
    "Factors",
    "answers",
    "known_rows",
    "named_items",
    "rated_biases",
    "row_bytes",
    "tiles",
    "unit_rows",
]

# Temporary arrays of one pair: ids, codes, masks and scores, at most eight bytes each.
PAIR_BYTES = 128
# Temporary arrays of one seen item: positions as int64.
_SEEN_BYTES = 64
# Seen items are taken off in steps of 1/64 of the tile's scores: about the density of ratings, so
# that one step mostly does, for a quarter more memory at float32.
_SEEN_SHARE = 64


class Factors(NamedTuple):
    """P, Q, b_u, b_i and μ, in the order in which the core takes them."""

    user_factors: Any
    item_factors: Any
    user_biases: Any
    item_biases: Any
    mean: float


def tiles(n: int, n_rows: int) -> Iterator[slice]:
    """Split the range 0 .. n into slices of n_rows, the last perhaps shorter."""
    return (slice(at, min(at + n_rows, n)) for at in range(0, n, n_rows))


def known_rows(xp: Any, codes: Any, known: Any) -> Any:
    """Turn the codes of rows without training ratings into -1."""
    if known.all():
        return codes
    return xp.where((codes >= 0) & known[codes], codes, np.int32(-1))


def rated_biases(xp: Any, biases: Any, known: Any) -> Any:
    """Return the items' biases, and -inf, which is never selected, for those without ratings."""
    return xp.where(known, biases, biases.dtype.type(-np.inf))


def unit_rows(xp: Any, factors: Any) -> Any:
    """Scale rows to length 1; rows of zeros stay zero."""
    lengths = xp.linalg.norm(factors, axis=1, keepdims=True)
    # The smallest normal number keeps a zero row zero instead of NaN.
    return factors / xp.maximum(lengths, np.finfo(factors.dtype).tiny)


def answers(xp: Any, scores: Any, link: str) -> Any:
    """Turn scores into predicted ratings."""
    if link == "identity":
        return scores
    with np.errstate(over="ignore"):  # exp of a large number, whose reciprocal is 0
        probability = 1 / (1 + xp.exp(-scores))
    return probability if link == "probability" else 2 * probability - 1


def row_bytes(n_items: int, n_factors: int, n: int, item_size: int) -> int:
    """Return the bytes that `DeviceScorer.best_items` needs for each row of a tile."""
    scores = n_items * item_size
    if n > _core.most_selected:  # negated and sorted scores, positions, and what a sort needs
        scores += n_items * (3 * item_size + 32)
    seen = max(n_items // _SEEN_SHARE, 1) * _SEEN_BYTES
    return scores + seen + 2 * n_factors * item_size + 2 * n * (item_size + 4) + PAIR_BYTES


class CpuScorer:
    """Scores by the core's CPU kernels.

    Parameters
    ----------
    n_threads : int
        Threads to use; 0: all.
    """

    xp: Any = np

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads

    def take(self, wanted: dict[str, NDArray[Any]], memory: Memory) -> tuple[dict[str, Any], int]:
        """Return the arrays themselves, and that all rows may be worked on at once."""
        return wanted, sys.maxsize

    def pair_scores(self, factors: Factors, users: Any, items: Any) -> Any:
        """Return μ + b_u + b_i + p_u · q_i of each pair of codes."""
        return _scores_of(factors).predict(users, items, self._n_threads)

    def best_items(
        self, factors: Factors, codes: Any, n: int, seen: tuple[Any, Any] | None, n_rows: int
    ) -> Iterator[tuple[slice, Any, Any]]:
        """Do what `DeviceScorer.best_items` does, in one part."""
        indptr, items = (None, None) if seen is None else seen
        found = _scores_of(factors).recommend(codes, n, indptr, items, self._n_threads)
        yield slice(0, len(codes)), *found


def _scores_of(factors: Factors) -> _core.ModelView:
    """Return a model whose predictions are the scores."""
    *arrays, mean = factors
    return _core.ModelView(
        *arrays,
        None,
        None,
        global_mean=mean,
        rating_mean=0.0,
        start_bias=0.0,
        biases=True,
        link="identity",
    )


class DeviceScorer:
    """Scores by array code on a device.

    Parameters
    ----------
    xp : module
        CuPy, or in a twin build NumPy.
    copies : DeviceCopies
        The model's arrays there.
    """

    def __init__(self, xp: Any, copies: DeviceCopies) -> None:
        self.xp = xp
        self.take = copies.take

    def pair_scores(self, factors: Factors, users: Any, items: Any) -> Any:
        """Return μ + b_u + b_i + p_u · q_i of each pair of codes."""
        xp = self.xp
        products = factors.user_factors[users]
        products *= factors.item_factors[items]
        scores = products.sum(axis=1)
        scores[(users < 0) | (items < 0)] = 0
        scores += factors.mean
        for codes, biases in ((users, factors.user_biases), (items, factors.item_biases)):
            scores += xp.where(codes >= 0, biases[codes], 0)
        return scores

    def best_items(
        self, factors: Factors, codes: Any, n: int, seen: tuple[Any, Any] | None, n_rows: int
    ) -> Iterator[tuple[slice, Any, Any]]:
        """Find the n best items of each row of P that is asked for, n_rows of them at a time.

        Parameters
        ----------
        factors : Factors
            An item whose bias is -inf is left out.
        codes : array of shape (n_queries,), int32
            Which rows.
        n : int
            How many items each gets, at most all of them.
        seen : (indptr, items) or None
            What to leave out: row c of P has items[indptr[c]:indptr[c + 1]].
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
        xp = self.xp
        P, Q, user_biases, item_biases, mean = factors
        held = xp.empty((min(n_rows, len(codes)), len(Q)), Q.dtype)
        for part in tiles(len(codes), n_rows):
            rows = codes[part]
            scores = held[: len(rows)]
            p = P[rows]
            p[rows < 0] = 0
            xp.dot(p, Q.T, out=scores)
            scores += item_biases
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


def named_items(xp: Any, ids: Any, found: Any, scores: Any) -> tuple[Any, Any]:
    """Give items their ids; empty slots get the score NaN and the id -1, 0 if unsigned, or None."""
    empty = ~xp.isfinite(scores)
    named = ids[xp.where(empty, 0, found)]
    if empty.any():
        scores[empty] = np.nan
        named[empty] = {"i": -1, "u": 0}.get(ids.dtype.kind)
    return named, scores
