"""What figures and the page show, in numbers: predictions beside test ratings, and items beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.ids import lookup_ids
from ..data.ratings import Ratings, pairs_to_codes
from ..evaluation.held_out import judged
from ..model.model import Model

__all__ = [
    "BY",
    "Calibration",
    "Coverage",
    "Groups",
    "ItemMap",
    "Scored",
    "Shares",
    "calibration",
    "group_by",
    "interval_coverage",
    "item_map",
    "popularity_shares",
    "scored",
]

_Floats = NDArray[np.float64]

BY = ("rating", "activity", "popularity")
# So many different ratings make groups of their own; more are cut into ranges.
_MOST_VALUES = 12
_N_RANGES = 10
# Where groups of users and items begin, by their training ratings.
_STARTS = np.array([0, *(m * 10**e for e in range(9) for m in (1, 2, 5))])
# A group with fewer test ratings, or a smaller share, joins the next: its error would be chance.
_LEAST, _LEAST_SHARE = 20, 0.005
_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# Users whose scores are compared, or whose lists are looked at: beyond, little changes.
_MOST_USERS, _MOST_LISTS = 5000, 20_000


@dataclass(frozen=True, eq=False)
class Scored:
    """Test ratings with their predictions, in double precision.

    Parameters
    ----------
    ratings : Ratings
        The test ratings that have a prediction.
    values, predicted : ndarray of shape (n,)
        Ratings and predictions.
    std : ndarray of shape (n,) or None
        The standard deviation of each rating about its prediction, where the model has one.
    activity, popularity : ndarray of shape (n,), int64
        How many training ratings the user and the item have.
    n_left_out : int
        Test ratings without a prediction.
    """

    ratings: Ratings
    values: _Floats
    predicted: _Floats
    std: _Floats | None
    activity: NDArray[np.int64]
    popularity: NDArray[np.int64]
    n_left_out: int

    @property
    def errors(self) -> _Floats:
        """Rating less prediction."""
        return self.values - self.predicted

    @property
    def rmse(self) -> float:
        """The root mean squared error."""
        return float(np.sqrt(np.mean(self.errors**2)))

    @property
    def mae(self) -> float:
        """The mean absolute error."""
        return float(np.mean(np.abs(self.errors)))


def scored(model: Any, test: Any, *, with_std: bool = True) -> Scored:
    """Predict test ratings.

    Parameters
    ----------
    model : Model or fitted estimator
        With ``unknown="nan"`` or "raise", pairs that it does not know are left out.
    test : Ratings, or anything `Ratings.from_any` takes
        The ratings.
    with_std : bool, default True
        Whether to ask for standard deviations, where the model has them.

    Raises
    ------
    ValueError
        If the ids are of another kind than the model's, or no pair has a prediction.
    """
    fitted = judged(model).model
    ratings = Ratings.from_any(test, name="test")
    answering = fitted.with_options(unknown="nan") if fitted.unknown == "raise" else fitted
    std = None
    if with_std and fitted.noise_variance_ is not None:
        predicted, std = answering.predict(ratings, return_std=True)
    else:
        predicted = answering.predict(ratings)
    there = np.isfinite(predicted)
    if not there.any():
        raise ValueError(
            f"test has no pair of a user and an item that the model knows, and unknown is {fitted.unknown!r:.80}: "
            'use model.set_params(unknown="mean")'
        )
    if not there.all():
        ratings, predicted = ratings.take(there), predicted[there]
        std = None if std is None else std[there]
    users, items = pairs_to_codes(ratings, fitted.user_ids_, fitted.item_ids_, "test")
    return Scored(
        ratings=ratings,
        values=ratings.values.astype(np.float64),
        predicted=predicted.astype(np.float64),
        std=None if std is None else std.astype(np.float64),
        activity=np.where(users >= 0, fitted.user_counts_[users], 0).astype(np.int64),
        popularity=np.where(items >= 0, fitted.item_counts_[items], 0).astype(np.int64),
        n_left_out=int(np.count_nonzero(~there)),
    )


class Groups(NamedTuple):
    """Test ratings in groups.

    Parameters
    ----------
    labels : list of str
        What each group is called.
    of : ndarray of shape (n_ratings,)
        Each rating's group; none is empty.
    """

    labels: list[str]
    of: NDArray[np.intp]

    @property
    def shares(self) -> _Floats:
        """Each group's share of the ratings."""
        return np.bincount(self.of, minlength=len(self.labels)) / len(self.of)

    def rmse(self, errors: _Floats) -> _Floats:
        """Return the root mean squared error of each group."""
        n = np.bincount(self.of, minlength=len(self.labels))
        return np.sqrt(np.bincount(self.of, errors**2, minlength=len(self.labels)) / n)


def group_by(scored: Scored, by: str) -> Groups:
    """Put test ratings into groups: by "rating", or by the "activity" or "popularity" of their rows."""
    if by == "rating":
        return _by_value(scored.values)
    return _by_count(getattr(scored, by))


def _by_value(values: _Floats) -> Groups:
    distinct, of = np.unique(values, return_inverse=True)
    if len(distinct) <= _MOST_VALUES:
        return Groups([f"{value:g}" for value in distinct], of)
    edges = np.linspace(distinct[0], distinct[-1], _N_RANGES + 1)
    number = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, _N_RANGES - 1)
    there, of = np.unique(number, return_inverse=True)
    middles = (edges[:-1] + edges[1:]) / 2
    return Groups([f"{middles[n]:.3g}" for n in there], of)


def _by_count(counts: NDArray[np.int64]) -> Groups:
    number = np.searchsorted(_STARTS, counts, side="right") - 1
    least = max(_LEAST, _LEAST_SHARE * len(counts))
    sizes = np.bincount(number, minlength=len(_STARTS))
    starts: list[int] = []
    open_since, waiting = 0, 0
    for n in np.flatnonzero(sizes):
        if not waiting:
            open_since = int(n)
        waiting += int(sizes[n])
        if waiting >= least:
            starts.append(open_since)
            waiting = 0
    starts = starts or [int(np.flatnonzero(sizes)[0])]  # what waits at the end joins the last
    of = np.searchsorted(np.array(starts), number, side="right") - 1
    labels = [_short(int(_STARTS[start])) for start in starts]
    labels[-1] += "+"
    return Groups(labels, of)


def _short(count: int) -> str:
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:g}{name}"
    return str(count)


class Calibration(NamedTuple):
    """The mean rating beside the mean prediction, in groups of like predictions."""

    predicted: _Floats
    rating: _Floats
    standard_error: _Floats


def calibration(scored: Scored) -> Calibration:
    """Compare means of ratings and predictions in up to 12 groups of equally many."""
    order = np.argsort(scored.predicted, kind="stable")
    n_groups = int(np.clip(len(order) // _LEAST, 1, 12))
    parts = [part for part in np.array_split(order, n_groups) if len(part)]
    return Calibration(
        np.array([scored.predicted[part].mean() for part in parts]),
        np.array([scored.values[part].mean() for part in parts]),
        np.array([scored.values[part].std() / np.sqrt(len(part)) for part in parts]),
    )


class Coverage(NamedTuple):
    """The share of ratings that intervals should hold, and the share that they do."""

    wanted: _Floats
    found: _Floats


def interval_coverage(model: Model, scored: Scored) -> Coverage:
    """Count how many ratings lie in intervals of several widths; the model must have them."""
    assert scored.std is not None
    found = []
    for level in _LEVELS:
        width = model.half_width(level)
        assert width is not None
        found.append(np.mean(np.abs(scored.errors) <= width * scored.std))
    return Coverage(np.array(_LEVELS), np.array(found))


class Shares(NamedTuple):
    """How ratings and recommendations spread over the items, in groups from most to least rated.

    Parameters
    ----------
    labels : list of str
        The groups, such as "1-10 %" of the items.
    ratings, recommended : ndarray of shape (n_groups,)
        Shares of the training ratings, and of the places in the users' lists.
    covered : float
        The share of known items that is in any list.
    n_users : int
        How many users' lists they are.
    """

    labels: list[str]
    ratings: _Floats
    recommended: _Floats
    covered: float
    n_users: int


def popularity_shares(model: Model, n: int = 10) -> Shares:
    """Recommend to up to 20,000 users, and see what is recommended."""
    counts = np.asarray(model.item_counts_, np.int64)
    known_items, users = np.flatnonzero(counts), _some_users(model, _MOST_LISTS)
    ids, scores = model.recommend(model.user_ids_[users], n)
    listed = ids[np.isfinite(scores)]
    codes = lookup_ids(model.item_ids_, listed, "item ids")
    chosen = np.bincount(codes, minlength=len(counts))
    order = known_items[np.argsort(-counts[known_items], kind="stable")]
    groups = np.array_split(order, min(10, len(order)))
    ends = np.round(100 * np.cumsum([len(group) for group in groups]) / len(order)).astype(int)
    return Shares(
        [str(end) for end in ends],
        np.array([counts[group].sum() for group in groups]) / max(1, counts.sum()),
        np.array([chosen[group].sum() for group in groups]) / max(1, chosen.sum()),
        float(np.count_nonzero(chosen) / max(1, len(order))),
        len(users),
    )


class ItemMap(NamedTuple):
    """Items in two dimensions.

    Parameters
    ----------
    codes : ndarray of shape (n,)
        The items, by their number in the model, most rated first.
    points : ndarray of shape (n, 2)
        Where they lie, in units of the scores.
    shares : (float, float)
        How much of the items' variance each dimension shows.
    """

    codes: NDArray[np.intp]
    points: _Floats
    shares: tuple[float, float]


def item_map(model: Model, n: int) -> ItemMap:
    """Project the most rated items.

    They are compared by what the factors add to the scores of up to 5,000 users: the columns of P Qᵀ, divided
    by the root of the number of users, in the plane of their first two principal components. So it does not
    matter how the factors are rotated or scaled, nor whose they are of several members.
    """
    counts = np.asarray(model.item_counts_, np.int64)
    codes = np.argsort(-counts, kind="stable")[: min(n, np.count_nonzero(counts))]
    users = model.user_factors_[_some_users(model, _MOST_USERS)]
    scores = (users @ model.item_factors_[codes].T).astype(np.float64)
    scores -= scores.mean(axis=1, keepdims=True)
    variances, axes = np.linalg.eigh(scores.T @ scores / max(1, len(users)))
    # Rounding leaves something where there is nothing: of factors that are zero, or of one factor alone.
    variances = np.where(variances > 1e-9 * max(variances[-1], 1e-9), variances, 0)[::-1]
    points = np.zeros((len(codes), 2))
    width = min(2, len(codes))
    points[:, :width] = (axes[:, ::-1] * np.sqrt(variances))[:, :width]
    # The sign of an axis is free: the most rated item lies at the upper right.
    points *= np.where(points[:1] < 0, -1, 1)
    total = float(variances.sum())
    shares = [float(variance) / total if total > 0 else 0.0 for variance in (*variances[:2], 0, 0)]
    return ItemMap(codes, points, (shares[0], shares[1]))


def _some_users(model: Model, most: int) -> NDArray[np.intp]:
    """Return the codes of users with training ratings, evenly spaced if there are more than `most`."""
    known = np.flatnonzero(model.user_known_)
    return known[:: max(1, -(-len(known) // most))]
