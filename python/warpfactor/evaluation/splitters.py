"""Splitters: the folds of cross-validation, as positions of ratings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_count
from ..data.columns import read_only
from ..data.matrices import is_matrix
from ..data.ratings import Ratings
from ..data.roles import all_common, open_frame
from ..data.times import as_timestamps, holds_times
from ..seeds import RandomState, check_random_state, generator_from
from .splits import check_size, count_of, latest_first, ranks_of_each_user

__all__ = ["LeaveLastOut", "RatingKFold", "RatingSplitter", "TimeSplit", "UserKFold"]

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


class RatingSplitter(ABC):
    """The base class of the splitters, not to be made itself: see `RatingKFold`, `UserKFold` and others.

    It is what `isinstance` knows a splitter by, and has the methods that scikit-learn's `cv` needs.

    ``warpfactor.cross_validate`` takes a splitter, and so does scikit-learn as `cv` where X holds
    one rating a row: pairs of ids with y, or a table of users, items and ratings.
    """

    n_splits: int

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Fold]:
        """Yield the positions of the training ratings and those of the test ratings, fold by fold.

        Parameters
        ----------
        X : Ratings, array-like of shape (n_ratings, 2), or table
            The ratings, or the users and items of each, one a row.
        y, groups : object
            Not used; scikit-learn passes them.

        Yields
        ------
        train, test : ndarray of int
            Positions, in ascending order.

        Raises
        ------
        ValueError
            If `X` is a matrix of users and items, or has too few ratings, or a timestamp is needed
            and there is none.
        """
        if is_matrix(X):
            raise ValueError(
                f"X is a matrix of shape {X.shape}, and scikit-learn would cut its rows, that is, "
                "its users: write warpfactor.cross_validate(model, X, cv=...), which divides its "
                "ratings"
            )
        if not len(X):
            raise ValueError("X is empty: at least one rating is needed")
        folds = self._folds(X)
        # Here, and not when the caller comes to it: X may have changed by then.
        first = next(folds)
        return chain([first], folds)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds; the arguments are not used."""
        return self.n_splits

    @abstractmethod
    def _folds(self, X: Any) -> Iterator[Fold]:
        """Yield the folds of ratings that have been checked."""

    def __repr__(self) -> str:
        given = {k: v for k, v in vars(self).items() if v is not None}
        shown = ", ".join(f"{k}={'...' if np.ndim(v) else repr(v)}" for k, v in given.items())
        return f"{type(self).__name__}({shown})"


class RatingKFold(RatingSplitter):
    """K folds of ratings taken at random, all alike.

    Each rating is in the test part of exactly one fold. The sizes of the folds differ by one at
    most. A user whose test ratings are all that there are, as a user's only rating is in its fold,
    has no rating in that fold's training part: predictions follow the model's `unknown`. Timestamps
    play no part. (scikit-learn's ``KFold(shuffle=True)`` does the same to pairs; without shuffling,
    folds of a file that is sorted by users are folds of users.)

    Parameters
    ----------
    n_splits : int, default 5
        The number of folds, at least 2.
    random_state : int, RandomState, Generator or None, default None
        Seed of the choice; None differs at each call of `split`.

    Examples
    --------
    >>> import numpy as np
    >>> import warpfactor as wf
    >>> from sklearn.model_selection import cross_val_score
    >>> data = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    >>> users, items, y = data.to_arrays()
    >>> model = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0)
    >>> cv = wf.splits.RatingKFold(3, random_state=0)
    >>> cross_val_score(model, np.column_stack([users, items]), y, cv=cv).shape
    (3,)
    """

    def __init__(self, n_splits: int = 5, *, random_state: RandomState = None) -> None:
        self.n_splits = check_count("n_splits", n_splits, 2)
        check_random_state(random_state)
        self.random_state = random_state

    def _folds(self, X: Any) -> Iterator[Fold]:
        _require_ratings(self.n_splits, len(X))
        order = generator_from(self.random_state).permutation(len(X))
        yield from _dealt(order, len(X), self.n_splits)


class UserKFold(RatingSplitter):
    """K folds in which each user's ratings are spread evenly.

    Each user's ratings, in random order, are dealt over the folds, so that all folds test the users
    alike: the numbers of a user's test ratings in two folds differ by one at most, and so do the
    sizes of the folds. Every user of a test part has ratings in the training part of that fold; for
    that a user's only rating is always trained on and never tested. Where there are such users,
    scikit-learn's `cross_val_predict`, which wants each rating tested once, refuses these folds.
    Timestamps play no part.

    Parameters
    ----------
    n_splits : int, default 5
        The number of folds, at least 2.
    random_state : int, RandomState, Generator or None, default None
        Seed of the choice; None differs at each call of `split`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> pairs = [("ann", 1), ("ann", 2), ("bob", 1), ("bob", 2), ("eve", 1)]
    >>> folds = wf.splits.UserKFold(2, random_state=0).split(pairs)
    >>> [sorted(pairs[at][0] for at in test) for train, test in folds]
    [['ann', 'bob'], ['ann', 'bob']]
    """

    def __init__(self, n_splits: int = 5, *, random_state: RandomState = None) -> None:
        self.n_splits = check_count("n_splits", n_splits, 2)
        check_random_state(random_state)
        self.random_state = random_state

    def _folds(self, X: Any) -> Iterator[Fold]:
        users = _users(X)
        shuffled = generator_from(self.random_state).permutation(len(users))
        order = shuffled[np.argsort(users[shuffled], kind="stable")]
        order = order[np.bincount(users)[users[order]] > 1]
        _require_ratings(self.n_splits, len(order), " of users with more than one")
        yield from _dealt(order, len(users), self.n_splits)


class LeaveLastOut(RatingSplitter):
    """One fold, whose test part is each user's latest ratings.

    Each user keeps at least one rating for training, so that a user's only rating is never tested.
    Of a user's ratings with the same timestamp, those that come later in X count as later. One
    user's training ratings may be later than another's test ratings; `TimeSplit` has none that are.
    An item may have test ratings alone; predictions for it follow the model's `unknown`.

    Parameters
    ----------
    n : int, default 1
        How many ratings of each user are tested.
    timestamps : array-like of shape (n_ratings,), default None
        When each rating was given, numbers or dates, in the order of X. None: those of the
        `Ratings`, or the column of a table that has a common name (timestamp, time, date, ...). Where
        X is an array of pairs, as scikit-learn is used, they have to be given here;
        ``np.arange(len(X))`` if it is sorted by time.

    Examples
    --------
    >>> import numpy as np
    >>> import warpfactor as wf
    >>> from sklearn.model_selection import cross_val_score
    >>> X = np.array([[1, 5], [1, 6], [2, 5], [2, 6], [2, 7], [3, 6]])
    >>> cv = wf.splits.LeaveLastOut(timestamps=[20, 10, 10, 30, 20, 10])
    >>> [test.tolist() for train, test in cv.split(X)]
    [[0, 3]]
    >>> model = wf.MatrixFactorization(n_factors=2, random_state=0, verbose=0)
    >>> cross_val_score(model, X, [4, 3, 5, 4, 3, 2], cv=cv).shape
    (1,)
    """

    n_splits = 1

    def __init__(self, n: int = 1, *, timestamps: ArrayLike | None = None) -> None:
        self.n = check_count("n", n, 1)
        self.timestamps = _kept(timestamps)

    def _folds(self, X: Any) -> Iterator[Fold]:
        users = _users(X)
        times = _times(X, self.timestamps, type(self).__name__)
        ranks = ranks_of_each_user(users, latest_first(times))
        in_test = ranks < np.minimum(self.n, np.bincount(users) - 1)[users]
        if not in_test.any():
            raise ValueError(
                f"none of the {len(users)} ratings can be left out: each user has one only, which is "
                "kept for training"
            )
        yield np.flatnonzero(~in_test), np.flatnonzero(in_test)


class TimeSplit(RatingSplitter):
    """Folds that follow each other in time, each trained on all that came before.

    The ratings are sorted by time. The test parts are windows of the same size, which end with the
    latest rating; each fold trains on everything before its window, and never on a rating that is
    later than one it tests (scikit-learn's `TimeSeriesSplit`, for ratings in any order). Of ratings
    with the same timestamp, those that come later in X count as later. Users and items may have test
    ratings alone, above all in the first folds: predictions for them follow the model's `unknown`.

    Parameters
    ----------
    n_splits : int, default 5
        The number of folds, at least 2.
    test_size : float or int, default None
        The size of each window: a fraction of all ratings, or how many. None: a share of
        1/(n_splits + 1).
    timestamps : array-like of shape (n_ratings,), default None
        As of `LeaveLastOut`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> cv = wf.splits.TimeSplit(2, timestamps=[6, 5, 4, 3, 2, 1])
    >>> pairs = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)]
    >>> [(train.tolist(), test.tolist()) for train, test in cv.split(pairs)]
    [([4, 5], [2, 3]), ([2, 3, 4, 5], [0, 1])]
    """

    def __init__(
        self,
        n_splits: int = 5,
        *,
        test_size: float | None = None,
        timestamps: ArrayLike | None = None,
    ) -> None:
        self.n_splits = check_count("n_splits", n_splits, 2)
        if test_size is not None:
            check_size("test_size", test_size)
        self.test_size = test_size
        self.timestamps = _kept(timestamps)

    def _folds(self, X: Any) -> Iterator[Fold]:
        times = _times(X, self.timestamps, type(self).__name__)
        n, size = len(times), self.test_size
        window = n // (self.n_splits + 1) if size is None else count_of(size, n)
        if window < 1 or window * self.n_splits >= n:
            given = "" if size is None else f" of test_size={size}"
            raise ValueError(
                f"n_splits is {self.n_splits}, and {n} ratings are too few for that many windows"
                f"{given} with a training part before the first"
            )
        order = latest_first(times)[::-1]
        for first in range(n - self.n_splits * window, n, window):
            yield np.sort(order[:first]), np.sort(order[first : first + window])


def _dealt(order: NDArray[np.intp], n: int, n_splits: int) -> Iterator[Fold]:
    """Deal positions over the folds in turn; the rest of the n is always in training."""
    fold = np.full(n, -1)
    fold[order] = np.arange(len(order)) % n_splits
    for number in range(n_splits):
        yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)


def _require_ratings(n_splits: int, n: int, which: str = "") -> None:
    if n < n_splits:
        raise ValueError(
            f"n_splits is {n_splits}; it must not be above the number of ratings{which}, {n}"
        )


def _users(X: Any) -> NDArray[np.int32]:
    """Return a number for the user of each row."""
    return X.users if isinstance(X, Ratings) else Ratings.from_pairs(X, np.zeros(len(X))).users


def _kept(timestamps: ArrayLike | None) -> NDArray[Any] | None:
    """Timestamps of our own, as those that were given may change."""
    return None if timestamps is None else read_only(as_timestamps(timestamps, "timestamps"))


def _times(X: Any, timestamps: ArrayLike | None, splitter: str) -> NDArray[Any]:
    """Return the time of each row."""
    given: Any = timestamps
    if given is None and isinstance(X, Ratings):
        given = X.timestamps
    elif given is None and (frame := open_frame(X)) is not None:
        places = all_common(frame.names, "timestamp")
        at = next((at for at in places if holds_times(frame.column(at))), next(iter(places), None))
        given = None if at is None else frame.column(at)
    if given is None:
        raise ValueError(
            f"{splitter} needs timestamps, and X has none: pass {splitter}(timestamps=...), one for "
            "each row of X (np.arange(len(X)) if it is sorted by time), or a Ratings that has them"
        )
    times = as_timestamps(given, "timestamps")
    if len(times) != len(X):
        raise ValueError(
            f"timestamps has {len(times)} values, and X {len(X)} ratings: there must be one for each"
        )
    return times
