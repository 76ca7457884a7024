"""Several models side by side over the same folds, with a paired test."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ..checks import as_float, check_count, is_number, option
from ..data.describe import html_table
from ..data.ratings import Ratings
from ..seeds import RandomState
from .baselines import BiasOnly, Mean, Popularity, RecentPopularity
from .cross_validation import CV_FORMS, folds_of
from .evaluate import (
    Evaluation,
    check_clip,
    check_metrics,
    frame_of,
    judge,
    text_table,
    usual_threshold,
)
from .held_out import HeldOut, judged
from .ranking import check_cutoffs

__all__ = ["Comparison", "compare"]

_METRICS = ("rmse", "mae", "recall", "hit_rate", "ndcg", "coverage")
_SIGNIFICANT = 0.05
_BASELINES = {
    "mean": Mean,
    "biases": BiasOnly,
    "popularity": Popularity,
    "recent": RecentPopularity,
}


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """What `compare` found; prints as a table with mean and standard deviation over the folds.

    Attributes
    ----------
    evaluations : dict of list of Evaluation
        For each model's name what `evaluate` has of each fold.
    reference : str
        The name of the first model, with which the others are compared.
    p_values : dict of dict of float
        ``p_values[name]["rmse"]``: how likely a difference to the reference at least as large would
        be between equally good models. NaN with a single fold, or where one of the two has no such
        value.
    fit_seconds : dict of ndarray of shape (n_folds,)
        Wall-clock seconds of each fit.
    n_train, n_test : ndarray of shape (n_folds,)
        Numbers of ratings.
    relevant_from : float
        The least rating that counts as relevant.
    """

    evaluations: dict[str, list[Evaluation]]
    reference: str
    p_values: dict[str, dict[str, float]]
    fit_seconds: dict[str, NDArray[np.float64]]
    n_train: NDArray[np.int64]
    n_test: NDArray[np.int64]
    relevant_from: float

    def values(self, model: str) -> dict[str, NDArray[np.float64]]:
        """Return a model's values of each fold, by flat names: "rmse", "ndcg@10", ..."""
        return _values(self.evaluations[model])

    def to_frame(self, kind: Literal["pandas", "polars", "arrow"] = "pandas") -> Any:
        """Return a table of pandas, polars or Arrow: a row for each model and metric.

        Its columns are model, metric, mean, std (of a sample: divided by n - 1) and p.
        """
        rows = [
            (model, name, float(values.mean()), _std(values), self.p_values[model][name])
            for model in self.evaluations
            for name, values in self.values(model).items()
        ]
        names = ("model", "metric", "mean", "std", "p")
        return frame_of(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)), kind)

    def __str__(self) -> str:
        return "\n".join([text_table(self._cells()), *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names, *rows = self._cells()
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self._notes())
        return html_table(names, rows) + notes

    def _cells(self) -> list[list[str]]:
        columns = list(self.values(self.reference))
        rows = [["", *columns, "fit, s"]]
        for model in self.evaluations:
            told = any(not np.isnan(values).all() for values in self.values(model).values())
            if model in _BASELINES and not told:
                continue  # popularity predicts no ratings, and has no errors
            cells = [
                _cell(values) + ("*" if self.p_values[model][name] < _SIGNIFICANT else "")
                for name, values in self.values(model).items()
            ]
            rows.append([model, *cells, f"{self.fit_seconds[model].mean():.2f}"])
        return rows

    def _notes(self) -> list[str]:
        n = len(self.n_test)
        folds = f"{n} folds" if n > 1 else "1 fold"
        notes = [
            f"mean ± standard deviation over {folds} of {self.n_test.mean():,.0f} test ratings; in "
            + f"lists, ratings of {self.relevant_from:g} or more are relevant"
        ]
        if n > 1 and len(self.evaluations) > 1:
            notes.append(
                f"*: differs from {self.reference} with p < {_SIGNIFICANT:g}, by a paired t-test over "
                "the folds, corrected for the training ratings that they share (Nadeau, Bengio 2003)"
            )
        return notes


def compare(
    models: Mapping[str, Any],
    ratings: Any,
    cv: Any = 5,
    *,
    k: int | Iterable[int] = 10,
    metrics: str | Iterable[str] = _METRICS,
    relevant_from: float | None = None,
    baselines: bool = True,
    clip: bool | tuple[float, float] | None = None,
    by: Literal["random", "user", "time"] = "random",
    random_state: RandomState = None,
    n_threads: int | None = None,
) -> Comparison:
    """Train models on the same folds and compare what they are worth.

    A clone of each model is trained on each fold's training part and judged on its test part as
    `evaluate` does it, with ``train=`` given. The first model is the reference that the others are
    tested against.

    Parameters
    ----------
    models : mapping of str to estimators
        Estimators of warpfactor, and any of `warpfactor.baselines`. They are cloned, not changed.
    ratings : Ratings, or anything `Ratings.from_any` takes
        What is divided into folds.
    cv, by, random_state
        As of `cross_validate`.
    k : int or iterable of int, default 10
        How many items of a list count.
    metrics : str or iterable of str, default ("rmse", "mae", "recall", "hit_rate", "ndcg",
    "coverage")
        As of `evaluate`.
    relevant_from : float or None, default None
        The least rating of a relevant item. None: three quarters of the way from the lowest rating
        to the highest; above 0 where a model has the loss "poisson".
    baselines : bool, default True
        Whether to add the baselines: "mean", "biases", "popularity", and with timestamps "recent".
    clip : bool, (float, float) or None, default None
        The range to which predictions are clipped before errors are taken; True: that of `ratings`.
    n_threads : int or None, default None
        Threads for judging; None takes all. The models have their own for training.

    Returns
    -------
    Comparison
        It prints as a table.

    Raises
    ------
    ValueError
        If a parameter is invalid, two models have one name, a prediction is missing
        (``unknown="nan"``, "raise"), or no test rating of a fold is relevant and `metrics` has
        other than errors.
    TypeError
        If a model is no estimator.

    Notes
    -----
    Folds share most of their training ratings, so that their results are not independent, and
    the usual paired t-test finds differences too often. Here the variance of the mean difference is
    taken as (1/n + n_test/n_train) s², with n folds and the variance s² of the differences [1]_.
    The p values are two-sided, and not corrected for how many there are.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the generalization error", Machine Learning 52,
       2003.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(100, 80, 3_000, random_state=0).ratings
    >>> one = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0)
    >>> found = wf.compare({"rank 4": one}, ratings, cv=3, metrics="rmse", random_state=0)
    >>> bool(found.values("rank 4")["rmse"].mean() < found.values("mean")["rmse"].mean())
    True
    """
    data = Ratings.from_any(ratings, name="ratings")
    wanted = _models(models, baselines, data)
    cutoffs, names = check_cutoffs(k), check_metrics(metrics)
    low, high = float(data.values.min()), float(data.values.max())
    limits = check_clip(clip, (low, high))
    if n_threads is not None:
        check_count("n_threads", n_threads, 1)
    losses = {getattr(model, "loss", "squared") for model in wanted.values()}
    loss = "poisson" if "poisson" in map(str, losses) else "squared"
    threshold = (
        usual_threshold(data.values, low, high, loss) if relevant_from is None else relevant_from
    )
    if not is_number(threshold) or not math.isfinite(as_float("relevant_from", threshold)):
        raise ValueError(
            f"{option('relevant_from')} is {threshold!r:.80}; it must be a finite number"
        )
    evaluations: dict[str, list[Evaluation]] = {name: [] for name in wanted}
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    sizes: list[tuple[int, int]] = []
    folds = list(folds_of(cv, data, by, random_state))
    if not folds:
        raise ValueError(f"{option('cv')} is {cv!r:.60}, without a fold; {CV_FORMS}")
    for number, (train_at, test_at) in enumerate(folds):
        train, test = data.take(train_at), data.take(test_at)
        held = HeldOut(test, train, float(threshold), low)
        if not len(held.users) and set(names) - {"rmse", "mae"}:
            raise ValueError(
                f"fold {number} has no test rating of {option('relevant_from')} {threshold:g} or more, so that "
                "lists cannot be judged: choose another"
            )
        sizes.append((len(train), len(test)))
        for name, model in wanted.items():
            started = time.perf_counter()
            fitted = clone(model).fit(train)
            seconds[name].append(time.perf_counter() - started)
            found = judge(judged(fitted), held, cutoffs, names, limits, n_threads, float(threshold))
            if found.counts["left_out"]:
                raise ValueError(
                    f"models[{name!r}] has no prediction for {found.counts['left_out']:,} of {len(test):,} ratings "
                    f"of fold {number}, for users or items without training ratings: models are compared on the "
                    "same ratings, so use unknown='mean'"
                )
            evaluations[name].append(found)
    n_train, n_test = (np.array(column, np.int64) for column in zip(*sizes, strict=True))
    reference = next(iter(wanted))
    share = float(np.mean(n_test / n_train))
    first = _values(evaluations[reference])
    p_values = {
        name: {
            metric: math.nan if name == reference else _p_value(values - first[metric], share)
            for metric, values in _values(of_folds).items()
        }
        for name, of_folds in evaluations.items()
    }
    return Comparison(
        evaluations,
        reference,
        p_values,
        {name: np.array(each) for name, each in seconds.items()},
        n_train,
        n_test,
        float(threshold),
    )


def _models(models: Any, baselines: bool, data: Ratings) -> dict[str, Any]:
    if not isinstance(models, Mapping) or not models:
        raise ValueError(
            f"models is {models!r:.60}; it must be a mapping of names to estimators, at least one"
        )
    wanted = {str(name): model for name, model in models.items()}
    for name, model in wanted.items():
        if isinstance(model, type) or not hasattr(model, "fit"):
            raise TypeError(
                f"models[{name!r}] is {model!r:.60}; it must be an estimator, such as MatrixFactorization(), "
                "or one of warpfactor.baselines"
            )
    added: dict[str, Any] = {}
    if baselines:
        timed = data.timestamps is not None
        added = {name: make() for name, make in _BASELINES.items() if name != "recent" or timed}
    both = sorted(set(wanted) & set(added))
    if both or len(wanted) < len(models):
        raise ValueError(
            f"models has the name {both[0]!r}, which is a baseline's: choose another, or use baselines=False"
            if both
            else "models has two names that are the same text: choose others"
        )
    return wanted | added


def _values(of_folds: list[Evaluation]) -> dict[str, NDArray[np.float64]]:
    flat = [each.values() for each in of_folds]
    return {name: np.array([each[name] for each in flat]) for name in flat[0]}


def _p_value(differences: NDArray[np.float64], test_share: float) -> float:
    """Return the p value of the corrected paired t-test; `test_share` is n_test / n_train."""
    from scipy import stats

    n = len(differences)
    if n < 2 or np.isnan(differences).any():
        return math.nan
    error = math.sqrt((1 / n + test_share) * float(np.var(differences, ddof=1)))
    mean = float(np.mean(differences))
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


def _std(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def _cell(values: NDArray[np.float64]) -> str:
    mean, std = float(values.mean()), _std(values)
    if math.isnan(mean):
        return ""
    return f"{mean:.4f}" if math.isnan(std) else f"{mean:.4f} ± {std:.4f}"
