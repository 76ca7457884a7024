"""Several models as one: the members of an ensemble, or the samples of a posterior.

The model's factors are those of the members side by side, each scaled by the root of its weight, and
its biases their means. So one dot product is the mean of the members' scores, and whatever works
with one model works with many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..data.columns import read_only
from ..serving.tables import Tables

__all__ = ["MOST_FACTORS", "Folded", "Member", "Members", "Noise", "fold"]

MOST_FACTORS: int = _core.most_kept_factors
# Pairs whose factors are gathered at a time: they stay in the L2 cache at a rank of some hundreds.
_CHUNK = 1024
# Known rows that stand for all in the variance of a row that is not known.
_ROWS_OF_MOMENTS = 20_000


class _Closed:
    """A dataclass whose arrays cannot be written to, those of a pickle included."""

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, read_only(value))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.__slots__)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Noise(_Closed):
    """How far ratings lie from the mean of the members.

    The variance of a rating about its prediction is, with the members' variance s²,

        σ²(u, i) = v · f_u · g_i + c · s²(u, i) + a · t/(n_u + t) + b · t/(n_i + t)

    where n_u and n_i are how many training ratings the rows have, 0 for rows that are not known.

    Parameters
    ----------
    variance : float
        v, in units of the ratings squared.
    spread_scale : float, default 1.0
        c: how much of the members' own variance counts. 1 for samples of a posterior.
    users, items : ndarray of shape (n_users,) and (n_items,) or None, default None
        f_u and g_i, which are 1 where they are not given and for rows that are not known.
    levels, quantiles : ndarray of shape (n_levels,) or None, default None
        Quantile number m of |rating - prediction| / σ on held-out ratings is that of the share
        ``levels[m]``; both rise. Not given: those of the normal distribution.
    row_variances : (float, float, float) or None, default None
        a, b and t. None: a known row adds nothing, and one that is not known as much as if it were
        drawn from those that are, by their biases and factors.
    """

    variance: float
    spread_scale: float = 1.0
    users: NDArray[Any] | None = None
    items: NDArray[Any] | None = None
    levels: NDArray[np.float64] | None = None
    quantiles: NDArray[np.float64] | None = None
    row_variances: tuple[float, float, float] | None = None

    def of_pairs(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        counts: tuple[NDArray[Any], NDArray[Any]],
    ) -> NDArray[np.float64]:
        """Return all of σ² but the members' part, of pairs of codes, -1 for rows that are not known.

        `counts` are how many training ratings each user and each item has.
        """
        variance = np.full(len(users), self.variance)
        for factors, codes in ((self.users, users), (self.items, items)):
            if factors is not None:
                variance *= np.where(codes >= 0, factors[codes], 1)
        if self.row_variances is not None:
            *scales, t = self.row_variances
            for scale, n, codes in zip(scales, counts, (users, items), strict=True):
                variance += scale * t / (np.where(codes >= 0, n[codes], 0) + t)
        return variance

    def half_width(self, coverage: float) -> float:
        """Return how many σ on either side of the prediction hold this share of the ratings."""

        def normal(level: float) -> float:
            return NormalDist().inv_cdf((1 + level) / 2)

        if self.levels is None or self.quantiles is None:
            return normal(coverage)
        if coverage > self.levels[-1]:
            # Beyond what the held-out ratings tell, the normal distribution's tail, scaled to meet it.
            return float(self.quantiles[-1]) * normal(coverage) / normal(float(self.levels[-1]))
        return float(np.interp(coverage, self.levels, self.quantiles))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Members(_Closed):
    """What a folded model keeps of its members, beside their factors.

    Parameters
    ----------
    weights : ndarray of shape (n_members,), float64
        Their shares in the mean; they sum to 1.
    ranks : ndarray of shape (n_members,), int32
        How many of the model's factors each has; they sum to the model's rank.
    user_offsets, item_offsets : ndarray of shape (n_users, n_members) and (n_items, n_members)
        Each member's biases less the model's; the users' hold the difference of the μ as well.
    noise : Noise or None, default None
        What else makes ratings differ from the predictions.
    """

    weights: NDArray[np.float64]
    ranks: NDArray[np.int32]
    user_offsets: NDArray[Any]
    item_offsets: NDArray[Any]
    noise: Noise | None = None

    def __len__(self) -> int:
        return len(self.weights)

    def with_noise(self, noise: Noise | None) -> Members:
        """Return the same members with other noise."""
        return replace(self, noise=noise)

    def scores(
        self, tables: Tables, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return each member's score x of pairs of codes, -1 for rows that are not known.

        Parameters
        ----------
        tables : Tables
            The folded model's.
        users, items : ndarray of shape (n_pairs,), int32
            The pairs.

        Returns
        -------
        ndarray of shape (n_pairs, n_members), float64
            Whose mean by `weights` is the model's score.
        """
        scores = np.empty((len(users), len(self)))
        for start in range(0, len(users), _CHUNK):
            part = slice(start, start + _CHUNK)
            scores[part] = self._scores(tables, users[part], items[part])
        return scores

    def _scores(
        self, tables: Tables, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        P, Q = tables.user_factors[users], tables.item_factors[items]
        if tables.biases:
            mean = tables.global_mean + sum(
                np.where(codes >= 0, biases[codes], tables.start_bias).astype(np.float64)
                for codes, biases in ((users, tables.user_biases), (items, tables.item_biases))
            )
        else:
            mean = np.zeros(len(users))
        both = (users >= 0) & (items >= 0)
        scores = np.empty((len(users), len(self)))
        start = 0
        for s, (rank, weight) in enumerate(zip(self.ranks.tolist(), self.weights, strict=True)):
            block = slice(start, start + rank)
            dots = np.einsum("nk,nk->n", P[:, block], Q[:, block])
            scores[:, s] = mean + np.where(both, dots / weight, 0)
            for codes, offsets in ((users, self.user_offsets), (items, self.item_offsets)):
                scores[:, s] += np.where(codes >= 0, offsets[codes, s], 0)
            start += rank
        return scores

    def spread(
        self, tables: Tables, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Return the variance of the members' scores of pairs of codes, unbiased for equal weights."""
        if len(self) == 1:
            return np.zeros(len(users))
        scores = self.scores(tables, users, items)
        scores -= (scores @ self.weights)[:, None]
        return (scores**2 @ self.weights) / (1 - float(self.weights @ self.weights))

    def deviation(
        self,
        tables: Tables,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        counts: tuple[NDArray[Any], NDArray[Any]],
    ) -> NDArray[np.float64]:
        """Return σ of pairs of codes, -1 for rows that are not known; there must be `noise`."""
        noise = self.noise
        assert noise is not None
        variance = noise.of_pairs(users, items, counts)
        if noise.spread_scale:
            variance += noise.spread_scale * self.spread(tables, users, items)
        if noise.row_variances is None:
            variance += _variance_of_unknown(tables, users, items)
        return np.sqrt(variance)


class Member(NamedTuple):
    """One factorization: x = μ + b_u + b_i + p_u · q_i.

    Parameters
    ----------
    user_factors, item_factors : ndarray of shape (n_users, k) and (n_items, k)
        P and Q; k may differ between members, the rows may not.
    user_biases, item_biases : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i.
    global_mean : float
        μ.
    members : Members or None, default None
        Its own members, if it is a folded one.
    """

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any]
    item_biases: NDArray[Any]
    global_mean: float
    members: Members | None = None


class Folded(NamedTuple):
    """What `fold` makes: fields of `Tables`, and the members."""

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any]
    item_biases: NDArray[Any]
    global_mean: float
    members: Members

    def tables(self) -> dict[str, Any]:
        """Return the fields of `Tables` that are made of the members'."""
        return {name: value for name, value in self._asdict().items() if name != "members"}


def fold(
    members: Sequence[Member], weights: ArrayLike | None = None, *, noise: Noise | None = None
) -> Folded:
    """Make one factorization that scores as the weighted mean of several does.

    ``Model(Tables(**folded.tables(), user_ids=..., ...), record, options, folded.members)`` is the
    model of it.

    Parameters
    ----------
    members : sequence of Member
        At least one. Their factors are copied: those of member s lie in as many columns as it has
        factors, times the root of its weight. One that is folded itself gives its own members.
    weights : array-like of shape (n_members,) or None, default None
        Shares in the mean, above 0; they are divided by their sum. None: equal ones.
    noise : Noise or None, default None
        See `Members`.

    Raises
    ------
    ValueError
        If the rank would be above 4096.
    """
    shares = np.ones(len(members)) if weights is None else np.array(weights, np.float64)
    shares /= shares.sum()
    rank = sum(member.user_factors.shape[1] for member in members)
    if rank > MOST_FACTORS:
        raise ValueError(
            f"{len(members)} members have {rank} factors in all; a model may have at most "
            f"{MOST_FACTORS}: use fewer members, or lower n_factors"
        )
    inner = [member.members or _only(member) for member in members]
    P, user_biases, user_offsets = _side(members, "user", shares)
    Q, item_biases, item_offsets = _side(members, "item", shares)
    means = np.array([member.global_mean for member in members], np.float64)
    global_mean = float(means @ shares)
    user_offsets += means - global_mean
    owner = np.repeat(np.arange(len(members)), [len(each) for each in inner])
    kept = Members(
        weights=shares[owner] * np.concatenate([each.weights for each in inner]),
        ranks=np.concatenate([each.ranks for each in inner]),
        user_offsets=_nested(
            user_offsets[:, owner], [each.user_offsets for each in inner], P.dtype
        ),
        item_offsets=_nested(
            item_offsets[:, owner], [each.item_offsets for each in inner], Q.dtype
        ),
        noise=noise,
    )
    return Folded(P, Q, user_biases, item_biases, global_mean, kept)


def _only(member: Member) -> Members:
    """Return the members of a model that has no others than itself."""
    return Members(
        weights=np.ones(1),
        ranks=np.array([member.user_factors.shape[1]], np.int32),
        user_offsets=np.zeros((len(member.user_biases), 1)),
        item_offsets=np.zeros((len(member.item_biases), 1)),
    )


def _nested(
    offsets: NDArray[np.float64], inner: list[NDArray[Any]], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Add the offsets of members within a member to its own."""
    sums: NDArray[np.float64] = offsets + np.concatenate(inner, axis=1)
    return sums.astype(dtype)


def _side(
    members: Sequence[Member], side: str, shares: NDArray[np.float64]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Return the folded factors and biases, and how the members' biases differ from those."""
    blocks = [getattr(member, f"{side}_factors") for member in members]
    dtype = np.result_type(*(member.user_factors for member in members))
    ends = np.cumsum([block.shape[1] for block in blocks]).tolist()
    factors = np.empty((len(blocks[0]), ends[-1]), dtype)
    for block, end, share in zip(blocks, ends, shares, strict=True):
        columns = slice(end - block.shape[1], end)
        np.multiply(block, dtype.type(np.sqrt(share)), out=factors[:, columns])
    each = np.stack([getattr(member, f"{side}_biases") for member in members], 1, dtype=np.float64)
    mean = (each @ shares).astype(dtype)
    return factors, mean, each - mean[:, None]


def _variance_of_unknown(
    tables: Tables, users: NDArray[np.int32], items: NDArray[np.int32]
) -> NDArray[np.float64]:
    """Return the mean square of what rows that are not known would add to the score."""
    variance = np.zeros(len(users))
    no_user, no_item = users < 0, items < 0
    if not (no_user.any() or no_item.any()):
        return variance
    by_user = _moments(tables.user_factors, tables.user_biases, tables.user_known, tables)
    by_item = _moments(tables.item_factors, tables.item_biases, tables.item_known, tables)
    for unknown, other, codes, moments, others in (
        (no_user, no_item, items, by_user, tables.item_factors),
        (no_item, no_user, users, by_item, tables.user_factors),
    ):
        at = np.flatnonzero(unknown & ~other)
        for start in range(0, len(at), _CHUNK):
            part = at[start : start + _CHUNK]
            # [1, q_i], with which the row's [b_u, p_u] is multiplied.
            row = np.concatenate([np.ones((len(part), 1)), others[codes[part]]], axis=1)
            variance[part] = np.einsum("nk,nk->n", row @ moments, row)
    neither = no_user & no_item
    variance[neither] = by_user[0, 0] + by_item[0, 0] + np.sum(by_user[1:, 1:] * by_item[1:, 1:])
    return variance


def _moments(
    factors: NDArray[Any], biases: NDArray[Any], known: NDArray[np.bool_], tables: Tables
) -> NDArray[np.float64]:
    """Return the mean of x xᵀ over known rows' x = [b - start, p]."""
    at = np.flatnonzero(known)
    at = at[:: max(len(at) // _ROWS_OF_MOMENTS, 1)]
    x = np.empty((len(at), factors.shape[1] + 1))
    x[:, 0] = biases[at] - tables.start_bias if tables.biases else 0
    x[:, 1:] = factors[at]
    return x.T @ x / max(len(at), 1)
