"""Cross-validation over the ratings of anything that holds ratings."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ..checks import check_choice, check_count, option
from ..data.describe import html_table
from ..data.ratings import Ratings
from ..seeds import RandomState
from ..shared_state import ignored_warnings
from . import metrics as errors
from .splits import timestamps_for
from .splitters import RatingKFold, RatingSplitter, TimeSplit, UserKFold

__all__ = ["CV_FORMS", "CrossValidation", "cross_validate", "folds_of"]

CV_FORMS = (
    "it must be an integer of at least 2, a splitter, or an iterable of pairs of positions, (train, test), "
    "at least one"
)
Metric = Callable[[NDArray[Any], NDArray[Any]], float]

_KINDS: dict[str, Callable[[int, RandomState], RatingSplitter]] = {
    "random": lambda n, seed: RatingKFold(n, random_state=seed),
    "user": lambda n, seed: UserKFold(n, random_state=seed),
    "time": lambda n, seed: TimeSplit(n),
}


class CrossValidation(dict[str, Any]):
    """What `cross_validate` found: a dict of arrays with one element a fold, printed as a table.

    ``pandas.DataFrame(result)`` has a row for each fold.
    """

    def __repr__(self) -> str:
        table = self._cells()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])])
            for first, *cells in table
        )

    def _repr_html_(self) -> str:
        names, *rows = self._cells()
        return html_table(names, rows)

    def _cells(self) -> list[tuple[str, ...]]:
        """A row for each fold, the mean and the deviation."""
        columns = [(name, values) for name, values in self.items() if name != "models"]
        n_folds = len(columns[0][1]) if columns else 0
        table = [["", *(f"fold {fold}" for fold in range(n_folds)), "mean", "std"]]
        for name, values in columns:
            cells = [*values, np.mean(values), np.std(values)]
            spec = ",.0f" if name.startswith("n_") else ".3f" if name.endswith("_time") else ".4f"
            if name.startswith("test_") and not 0.01 <= np.max(np.abs(values)) < 1e6:
                spec = ".4g"
            table.append([name.removeprefix("test_"), *(format(cell, spec) for cell in cells)])
        return list(zip(*table, strict=True))


def cross_validate(
    model: Any,
    ratings: Any,
    cv: Any = 5,
    *,
    metrics: str | Metric | Iterable[str | Metric] | Mapping[str, Metric] = ("rmse", "mae"),
    by: Literal["random", "user", "time"] = "random",
    random_state: RandomState = None,
    return_models: bool = False,
) -> CrossValidation:
    """Train on some of the ratings and test on the others, fold by fold.

    It is scikit-learn's `cross_validate` for ratings in any form: a matrix is divided by its
    ratings, not by its rows. A clone of the model is trained for each fold, one after the other,
    each with all of the model's `n_threads`. Each part of a fold keeps all user and item ids.

    Parameters
    ----------
    model : MatrixFactorization
        The model; it is cloned, not changed.
    ratings : Ratings, or anything `Ratings.from_any` takes
        Such as a sparse matrix, a masked array or a table.
    cv : int, splitter, or iterable of (train, test), default 5
        The number of folds, of the kind that `by` says; or a splitter of `warpfactor.splits` or of
        scikit-learn (which gets pairs of ids as X, the ratings as y and the users as groups:
        ``GroupKFold`` tests on users that it does not train on); or the positions of the training
        and the test ratings of each fold, or masks.
    metrics : str, callable, iterable or mapping of them, default ("rmse", "mae")
        Names of functions of `warpfactor.metrics`; or functions of the true and the predicted
        ratings that return a number, as those of `sklearn.metrics` do, which are called by their
        names or by the keys of a mapping.
    by : {"random", "user", "time"}, default "random"
        Where `cv` is a number: `splits.RatingKFold`, `splits.UserKFold` or `splits.TimeSplit`. They
        say what becomes of users of one rating and of equal timestamps.
    random_state : int, RandomState, Generator or None, default None
        Seed of the folds where `cv` is a number and `by` not "time"; the model has its own.
    return_models : bool, default False
        Whether to return the fitted models.

    Returns
    -------
    CrossValidation
        A dict of arrays, each of shape (n_folds,), that prints as a table with mean and standard
        deviation:

        test_rmse, test_mae, ... : the errors on the test ratings.
        n_train, n_test : the numbers of ratings.
        n_unknown : how many of the test ratings have a user or an item without training ratings in
        this fold. They count in the errors, with the prediction that the model's `unknown` says.
        fit_time, score_time : seconds of wall-clock time.
        models : list of the fitted models, with `return_models`.

    Raises
    ------
    ValueError
        If a parameter is invalid, a fold has an empty part or a rating in both, `by` is "time" and
        there are no timestamps, or a prediction is NaN or an error (``unknown="nan"``, "raise").
    TypeError
        If `model` cannot be cloned.

    Examples
    --------
    >>> import warpfactor as wf
    >>> data = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings.to_sparse()
    >>> model = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0)
    >>> result = wf.cross_validate(model, data, cv=3, random_state=0)
    >>> result["test_rmse"].shape
    (3,)
    >>> print(result)  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
             rmse     mae  n_train  n_test  n_unknown  fit_time  score_time
    fold 0    ...
    """
    data = Ratings.from_any(ratings, name="ratings")
    measures = _measures(metrics)
    folds = list(folds_of(cv, data, by, random_state))
    if not folds:
        raise ValueError(f"{option('cv')} is {cv!r:.60}, without a fold; {CV_FORMS}")
    records: list[dict[str, Any]] = []
    for number, (train_at, test_at) in enumerate(folds):
        train, test = data.take(train_at), data.take(test_at)
        started = time.perf_counter()
        fitted = clone(model).fit(train)
        trained = time.perf_counter()
        predicted = np.asarray(fitted.predict(test))
        missing = np.count_nonzero(np.isnan(predicted))
        if missing:
            raise ValueError(
                f"in fold {number} {missing} of {len(test)} predictions are NaN, for users or items "
                "without training ratings: an error needs a prediction for each rating, so use "
                "unknown='mean'"
            )
        # Each metric gets a copy: one that works in place must not spoil the next.
        record = {
            f"test_{name}": float(measure(test.values, predicted.copy()))
            for name, measure in measures.items()
        }
        scored = time.perf_counter()
        records.append(
            record
            | {
                "n_train": len(train),
                "n_test": len(test),
                "n_unknown": _n_unknown(train, test),
                "fit_time": trained - started,
                "score_time": scored - trained,
            }
            | ({"models": fitted} if return_models else {})
        )
    result = CrossValidation()
    for name in records[0]:
        values = [record[name] for record in records]
        result[name] = values if name == "models" else np.array(values)
    return result


def _measures(metrics: Any) -> dict[str, Metric]:
    """Return the metrics by name."""
    known = {name: getattr(errors, name) for name in errors.__all__}
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    else:
        alone = isinstance(metrics, str) or callable(metrics)
        given = [metrics] if alone else list(metrics) if isinstance(metrics, Iterable) else []
        named = [
            (
                metric if isinstance(metric, str) else getattr(metric, "__name__", repr(metric)),
                metric,
            )
            for metric in given
        ]
    found: dict[str, Metric] = {}
    for name, metric in named:
        if isinstance(metric, str):
            metric = known[
                check_choice("metrics", metric, known, ", or a function of (y_true, y_pred)")
            ]
        if not callable(metric):
            raise ValueError(
                f"metrics holds {metric!r:.60}; each must be one of {', '.join(known)}, or a function "
                "of (y_true, y_pred)"
            )
        if name in found:
            raise ValueError(
                f"metrics has {name!r} twice: name them by a mapping, {{name: function}}"
            )
        found[name] = metric
    if not found:
        raise ValueError(
            f"metrics is {metrics!r:.60}; it must be names such as 'rmse', or functions of (y_true, "
            "y_pred), at least one"
        )
    return found


def folds_of(
    cv: Any, data: Ratings, by: str, random_state: RandomState
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Yield the positions of the training and the test ratings of each fold."""
    check_choice("by", by, _KINDS)
    if isinstance(cv, Integral):
        if by == "time":
            timestamps_for(data, by)
        splitter = _KINDS[by](check_count("cv", cv, 2), random_state)
        try:
            folds = splitter.split(data)
        except ValueError as error:  # too many folds
            text = re.sub(r"^n_splits\b", option("cv"), str(error))
            raise ValueError(text) from None
        yield from folds
        return
    if isinstance(cv, str) or not (hasattr(cv, "split") or isinstance(cv, Iterable)):
        raise ValueError(f"{option('cv')} is {cv!r:.60}; {CV_FORMS}")
    for name, value, default in (("by", by, "random"), ("random_state", random_state, None)):
        if value != default:
            raise ValueError(
                f"{name} is {value!r:.60}, and cv is {cv!r:.60}, which says itself how to divide: "
                f"leave {name} out, or pass a number of folds as cv"
            )
    if isinstance(cv, RatingSplitter):
        yield from cv.split(data)
        return
    if hasattr(cv, "split"):
        # Those that do not use groups say so.
        with ignored_warnings((Warning, "The groups parameter is ignored")):
            # Pairs, because scikit-learn's splitters take the first axis for the ratings.
            # Copies, as a splitter may fill the same arrays again for the next fold.
            given: Iterable[Any] = [
                copy.deepcopy(fold) for fold in cv.split(*data.to_pairs(), data.users)
            ]
    else:
        given = cv
    for number, fold in enumerate(given):
        if not isinstance(fold, (tuple, list)) or len(fold) != 2:
            raise ValueError(
                f"fold {number} of cv is {fold!r:.60}; it must be a pair (train, test)"
            )
        where = f"of fold {number} of cv"
        train = _positions(fold[0], len(data), f"the training part {where}")
        test = _positions(fold[1], len(data), f"the test part {where}")
        both = np.intersect1d(train, test)
        if len(both):
            raise ValueError(
                f"{len(both)} ratings are in both parts {where}, the one at position {both[0]} for "
                "example: a rating that was trained on tests nothing"
            )
        yield train, test


def _positions(given: Any, n: int, name: str) -> NDArray[np.intp]:
    # A copy, as a generator may fill the same arrays again for the next fold.
    index = np.array(given)
    if index.ndim != 1 or not (index.dtype.kind in "biu" or not len(index)):
        raise ValueError(
            f"{name} has dtype {index.dtype} and shape {index.shape}; it must be a 1-D array of "
            "positions or a mask"
        )
    if index.dtype.kind == "b":
        if len(index) != n:
            raise ValueError(f"{name} is a mask of {len(index)} values for {n} ratings")
        index = np.flatnonzero(index)
    if not len(index):
        raise ValueError(f"{name} is empty: each part needs at least one rating")
    if not 0 <= index.min() <= index.max() < n:
        raise ValueError(
            f"{name} has positions from {index.min()} to {index.max()}; there are {n} ratings, from 0 "
            f"to {n - 1}"
        )
    return index


def _n_unknown(train: Ratings, test: Ratings) -> int:
    known_users = np.bincount(train.users, minlength=train.n_users) > 0
    known_items = np.bincount(train.items, minlength=train.n_items) > 0
    return int(np.count_nonzero(~(known_users[test.users] & known_items[test.items])))
