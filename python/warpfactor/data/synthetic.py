"""Synthetic ratings whose best possible error is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..checks import check_count, check_number
from ..seeds import RandomState, generator_from
from .ratings import Ratings, adopt_ratings

__all__ = ["SyntheticRatings", "make_ratings"]

# MovieLens 1M: every user has 20 ratings or more, and the log of their number varies by this.
_MIN_RATINGS_PER_USER = 20
_SPREAD_OF_USERS = 1.04
# Shares of the scale's width: chosen so that scale (1, 5, 1) gives MovieLens 1M's mean of 3.58
# and standard deviation of 1.12.
_CENTER = 0.66
_USER_BIAS, _ITEM_BIAS, _INTERACTION = 0.10, 0.12, 0.14
_MAX_LEVELS = 1000
_CHUNK = 1 << 18


class SyntheticRatings(NamedTuple):
    """What `make_ratings` returns.

    Attributes
    ----------
    ratings : Ratings
        Sorted by user and item.
    noise_floor : float
        RMSE of `expected` in the long run: no predictor can do better.
    expected : ndarray of shape (n_ratings,), float32
        Expected value of each rating, given user and item.
    """

    ratings: Ratings
    noise_floor: float
    expected: NDArray[np.float32]


def make_ratings(
    n_users: int = 6040,
    n_items: int = 3706,
    n_ratings: int = 1_000_209,
    *,
    n_factors: int = 8,
    noise: float = 0.215,
    scale: tuple[float, float, float] = (1.0, 5.0, 1.0),
    random_state: RandomState = None,
) -> SyntheticRatings:
    """Generate ratings with long tails and a known noise floor.

    A rating is ``x + ε`` rounded to the grid of the scale, where the signal is
    x = μ + b_u + b_i + p_u·q_i, with all terms normal, and ε ~ N(0, σ²). Its mean and variance
    given x follow from the normal distribution function at the grid's midpoints; the noise floor
    is the root of the mean variance over the ratings made.

    The defaults have the shape of MovieLens 1M. The number of ratings per user is log-normal above
    a minimum, and items are picked with a probability of about 1 / (rank + n_items / 40).

    Parameters
    ----------
    n_users, n_items : int, default 6040 and 3706
        Shape of the matrix. Ids are 0, 1, 2, ...; some items may get no rating.
    n_ratings : int, default 1_000_209
        Number of ratings, all of different pairs; at most half of the matrix.
    n_factors : int, default 8
        Rank of p_u·q_i.
    noise : float, default 0.215
        Standard deviation of ε as a share of the scale's width (``high - low``).
    scale : (low, high, step), default (1, 5, 1)
        The grid of the ratings.
    random_state : int, RandomState, Generator or None, default None
        Seed; the same integer gives the same ratings.

    Returns
    -------
    SyntheticRatings
        A named tuple of ratings, noise_floor and expected.

    Raises
    ------
    ValueError
        If a number is out of range, or there are more ratings than half of the matrix.
    """
    counts = {
        "n_users": n_users,
        "n_items": n_items,
        "n_ratings": n_ratings,
        "n_factors": n_factors,
    }
    for name, value in counts.items():
        check_count(name, value, 1)
    most = n_users * _most_per_user(n_items)
    if n_ratings > most:
        raise ValueError(
            f"n_ratings is {n_ratings}; it must be at most {most}, half of a matrix of {n_users} "
            f"users and {n_items} items: raise n_users or n_items"
        )
    noise = check_number("noise", noise)
    if not (np.isfinite(noise) and noise > 0):
        raise ValueError(f"noise is {noise}; it must be above 0 and finite")
    n_levels = count_levels(scale)
    rng = generator_from(random_state)
    users, items = np.divmod(_draw_pairs(n_users, n_items, n_ratings, rng), n_items)
    users, items = users.astype(np.int32), items.astype(np.int32)
    signal = Signal.draw(n_users, n_items, n_factors, rng)
    values, expected = np.empty(n_ratings, np.float32), np.empty(n_ratings, np.float32)
    variance = 0.0
    low, _, step = scale
    for start in range(0, n_ratings, _CHUNK):
        part = slice(start, start + _CHUNK)
        # In steps above the lowest level, where rounding is to integers.
        x = signal.at(users[part], items[part]) * (n_levels - 1)
        sigma = noise * (n_levels - 1)
        level = np.rint(x + sigma * rng.standard_normal(len(x))).clip(0, n_levels - 1)
        mean, spread = _level_moments(x, sigma, n_levels)
        values[part] = low + step * level
        expected[part] = low + step * mean
        variance += step * step * float(spread.sum())
    ratings = adopt_ratings(users, items, values, np.arange(n_users), np.arange(n_items))
    return SyntheticRatings(ratings, float(np.sqrt(variance / n_ratings)), expected)


class Signal(NamedTuple):
    """The noiseless rating as a share of the scale's width, from 0 to 1 where it is on it."""

    user_biases: NDArray[np.float64]
    item_biases: NDArray[np.float64]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]

    @classmethod
    def draw(cls, n_users: int, n_items: int, n_factors: int, rng: np.random.Generator) -> Signal:
        # The variance of a product of two factors is the product of theirs.
        each = np.float32(np.sqrt(_INTERACTION / np.sqrt(n_factors)))
        return cls(
            _USER_BIAS * rng.standard_normal(n_users),
            _ITEM_BIAS * rng.standard_normal(n_items),
            each * rng.standard_normal((n_users, n_factors), np.float32),
            each * rng.standard_normal((n_items, n_factors), np.float32),
        )

    def at(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.float64]:
        dots = np.einsum("nk,nk->n", self.user_factors[users], self.item_factors[items])
        return np.asarray(_CENTER + self.user_biases[users] + self.item_biases[items] + dots)


def count_levels(scale: tuple[float, float, float]) -> int:
    """Return how many ratings a scale (low, high, step) has."""
    low, high, step = scale
    steps = (high - low) / step if step > 0 else 0.0
    if not (1 <= steps < _MAX_LEVELS and abs(steps - round(steps)) < 1e-6):
        raise ValueError(
            f"scale is {scale}; it must be (low, high, step) with high a whole number of steps "
            f"above low, from 1 to {_MAX_LEVELS - 1}"
        )
    return round(steps) + 1


def _level_moments(
    x: NDArray[np.float64], sigma: float, n_levels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance of x + N(0, sigma²) rounded and clipped to 0, ..., n_levels - 1."""
    from scipy.special import ndtr

    # E[J] = Σ P(J ≥ j) and E[J²] = Σ (2j - 1) P(J ≥ j) over j ≥ 1.
    mean, square = np.zeros_like(x), np.zeros_like(x)
    for j in range(1, n_levels):
        reached = ndtr((x - (j - 0.5)) / sigma)
        mean += reached
        square += (2 * j - 1) * reached
    return mean, square - mean * mean


def _draw_pairs(
    n_users: int, n_items: int, n_ratings: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Distinct pairs, as sorted user * n_items + item."""
    wanted = ratings_per_user(n_users, n_items, n_ratings, rng)
    popularity = np.cumsum(item_weights(n_items, rng))
    popularity /= popularity[-1]
    pairs = extra = np.empty(0, np.int64)
    missing = wanted
    # Each round draws what is still missing, so that no user ever has too many. The first round's
    # pairs stay apart from the few that follow, which are merged again and again.
    while missing.any():
        users = np.repeat(np.arange(n_users), missing)
        items = np.searchsorted(popularity, rng.random(len(users)), side="right")
        drawn = _distinct(users * n_items + items)
        if not len(pairs):
            pairs = drawn
        else:
            drawn = drawn[~(_contains(pairs, drawn) | _contains(extra, drawn))]
            extra = np.sort(np.concatenate([extra, drawn]))
        missing = missing - np.bincount(drawn // n_items, minlength=n_users)
    return np.sort(np.concatenate([pairs, extra]))


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    # np.unique hashes, which is several times slower here than NumPy's vectorized sort.
    values = np.sort(values)
    return np.asarray(values[np.concatenate([[True], values[1:] != values[:-1]])])


def _contains(values: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `wanted` are in the sorted `values`."""
    if not len(values):
        return np.zeros(len(wanted), dtype=bool)
    at = np.searchsorted(values, wanted).clip(max=len(values) - 1)
    return np.asarray(values[at] == wanted, dtype=bool)


def _most_per_user(n_items: int) -> int:
    return max(1, n_items // 2)


def ratings_per_user(
    n_users: int, n_items: int, n_ratings: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Log-normal numbers between a minimum and half of the items, that sum to n_ratings."""
    mean = n_ratings / n_users
    least = int(min(_MIN_RATINGS_PER_USER, max(1.0, mean / 4), mean))
    most = _most_per_user(n_items)
    activity = rng.lognormal(0.0, _SPREAD_OF_USERS, n_users)
    # Bisects for the factor that gives the right sum; the interval holds it, as at its upper end
    # every user has the most.
    below, above = 0.0, most / activity.min()
    for _ in range(60):
        factor = (below + above) / 2
        if np.clip(factor * activity, least, most).sum() > n_ratings:
            above = factor
        else:
            below = factor
    exact = np.clip(below * activity, least, most)
    counts = np.floor(exact).astype(np.int64)
    # What rounding down left goes to the largest remainders; users at the most have none.
    short = n_ratings - int(counts.sum())
    open_to_more = np.where(counts < most, exact - counts, -1.0)
    counts[np.argsort(-open_to_more, kind="stable")[:short]] += 1
    return counts


def item_weights(n_items: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Zipf's law with MovieLens' flat head, in random order, and with a scatter for a thin tail."""
    ranks = rng.permutation(n_items)
    weights: NDArray[np.float64] = rng.lognormal(0.0, 0.5, n_items) / (ranks + n_items / 40 + 1)
    return weights
