"""What a model is worth on held-out ratings: its errors and its lists, beside baselines."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..checks import as_float, check_choice, check_count, is_number, option, warn, where_typed
from ..data.describe import html_table
from ..data.matrices import check_matrix_shape, stands_for_matrix
from ..data.ratings import Ratings
from ..model.model import Model
from ..serving.bounds import check_moves
from .held_out import HeldOut, judged
from .ranking import LIST_METRICS, check_cutoffs
from .simple_models import Judged, baselines_of

__all__ = [
    "METRICS",
    "Evaluation",
    "check_clip",
    "check_metrics",
    "evaluate",
    "judge",
    "usual_threshold",
]

RATING_METRICS = ("rmse", "mae")
PLACE_METRICS = ("coverage", "novelty", "popularity_share")
METRICS: tuple[str, ...] = (*RATING_METRICS, *LIST_METRICS, "auc", *PLACE_METRICS)
# An item is relevant from here on the way from the lowest rating to the highest.
_RELEVANT_SHARE = 0.75

Clip = tuple[float, float]


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What `evaluate` found of one model; prints as a table, with a column for each baseline.

    ``evaluation["rmse"]`` and ``evaluation["ndcg@10"]`` are single values, of the keys that
    `values` has.

    Attributes
    ----------
    rmse, mae : float
        Errors of the predicted ratings; NaN if they were not asked for or nothing was predicted.
    ranking : dict of dict
        ``ranking["ndcg"][10]`` is the mean over the users; so are precision, recall, hit_rate,
        graded_ndcg, map, mrr. coverage, novelty and popularity_share are of all lists together.
    auc : float
        The mean over the users; NaN if it was not asked for.
    per_user : dict of dict of ndarray
        ``per_user["ndcg"][10]`` has a value for each of `users`. ``per_user["auc"]`` is an array
        itself, which is NaN for users without a relevant item that the model knows.
    users : ndarray of shape (n_users,)
        Ids of the users whose lists were judged: those with a relevant test item.
    k : tuple of int
        The cutoffs.
    metrics : tuple of str
        What was computed.
    relevant_from : float
        The least rating that counts as relevant.
    clip : (float, float) or None
        The range to which predictions were clipped.
    counts : dict of int
        pairs : test ratings.
        unknown_user, unknown_item : those with a user, an item without training ratings.
        left_out : those without a prediction, which the errors do not count.
        trained : those that were trained on as well.
        relevant : distinct pairs that the judged lists could find.
        users : judged users.
    confidence : float
        The confidence of the lists.
    baselines : dict of Evaluation
        The same of each baseline.
    """

    rmse: float
    mae: float
    ranking: dict[str, dict[int, float]]
    auc: float
    per_user: dict[str, Any]
    users: NDArray[Any]
    k: tuple[int, ...]
    metrics: tuple[str, ...]
    relevant_from: float
    clip: Clip | None
    counts: dict[str, int]
    confidence: float = 0.0
    baselines: dict[str, Evaluation] = field(default_factory=dict)

    @property
    def n_users(self) -> int:
        """How many users' lists were judged."""
        return self.counts["users"]

    def values(self) -> dict[str, float]:
        """Return all values by flat names: "rmse", "ndcg@10", ..."""
        found: dict[str, float] = {}
        for name in self.metrics:
            if name in (*RATING_METRICS, "auc"):
                found[name] = getattr(self, name)
            else:
                found |= {f"{name}@{k}": self.ranking[name][k] for k in self.k}
        return found

    def __getitem__(self, name: str) -> float:
        return self.values()[name]

    def to_frame(self, kind: Literal["pandas", "polars", "arrow"] = "pandas") -> Any:
        """Return a table with a row for the model and each baseline, and a column for each value.

        Parameters
        ----------
        kind : {"pandas", "polars", "arrow"}, default "pandas"
            Whose table. The column "model" has the names; missing values are NaN.
        """
        rows = {"model": self, **self.baselines}
        columns: dict[str, Any] = {"model": list(rows)}
        for name in self.values():
            columns[name] = np.array([row.values()[name] for row in rows.values()])
        return frame_of(columns, kind)

    def __str__(self) -> str:
        return "\n".join([text_table(self._cells()), *self.notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names, *rows = self._cells()
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes())
        return html_table(names, rows) + notes

    def _cells(self) -> list[list[str]]:
        # Popularity predicts no ratings: where errors alone are measured, it has no column.
        columns = {"model": self.values()} | {
            name: each.values()
            for name, each in self.baselines.items()
            if not all(map(math.isnan, each.values().values()))
        }
        rows = [
            [name, *(_cell(name, column[name]) for column in columns.values())]
            for name in self.values()
        ]
        return [["", *columns], *rows]

    def notes(self) -> list[str]:
        """Return what a reader of the table must know beside it, in sentences."""
        n = self.counts
        told = [f"{n['pairs']:,} test ratings"]
        if self.clip is not None:
            told[0] += f", predictions clipped to {self.clip[0]:g} .. {self.clip[1]:g}"
        if n["left_out"]:
            told[0] += f", {n['left_out']:,} left out for want of a prediction"
        told += [
            f"{name} leaves out {each.counts['left_out'] - n['left_out']:,} ratings more"
            for name, each in self.baselines.items()
            if each.counts["left_out"] > n["left_out"]
        ]
        if n["users"]:
            told += [
                f"lists of {n['users']:,} users with a relevant item; relevant: "
                + f"{n['relevant']:,} ratings of {self.relevant_from:g} or more",
                *([f"lists with a confidence of {self.confidence:g}"] if self.confidence else []),
                "candidates: the items with training ratings that a user did not rate in training",
            ]
        if n["trained"]:
            told.append(f"{n['trained']:,} of the test pairs were trained on")
        return told


def evaluate(
    model: Any,
    test: Any,
    *,
    k: int | Iterable[int] = (5, 10, 20),
    train: Any = None,
    relevant_from: float | None = None,
    metrics: str | Iterable[str] | None = None,
    baselines: bool | Mapping[str, Any] = True,
    clip: bool | Clip | None = None,
    confidence: float = 0.0,
    n_threads: int | None = None,
) -> Evaluation:
    """Measure a model on held-out ratings: errors of its predictions, and what its lists are worth.

    Parameters
    ----------
    model : fitted estimator, Model, or one of `warpfactor.baselines`
        What to measure.
    test : Ratings, or anything `Ratings.from_any` takes
        The held-out ratings. Of a pair that is rated twice, both count in the errors, and the last
        one in the lists.
    k : int or iterable of int, default (5, 10, 20)
        How many items of a list count.
    train : Ratings, or anything `Ratings.from_any` takes, or None, default None
        What the model was trained on. It adds the baselines that have to be trained, and says
        exactly what users know already. None: the model's `seen_` says it.
    relevant_from : float or None, default None
        The least rating of a relevant item. None: three quarters of the way from the lowest
        training rating to the highest, so 4 of 1 to 5; above 0 where the loss is "poisson".
    metrics : str, iterable of str, or None, default None
        Of "rmse", "mae", "precision", "recall", "hit_rate", "ndcg", "graded_ndcg", "map", "mrr",
        "auc", "coverage", "novelty" and "popularity_share". None: all that can be had, with a
        warning that says what cannot.
    baselines : bool or mapping of str to fitted models, default True
        What to measure beside the model. True: those of `warpfactor.baselines` that `train` and the
        model allow.
    clip : bool, (float, float) or None, default None
        The range to which predictions are clipped before errors are taken; True: that of the
        training ratings.
    confidence : float, default 0.0
        As of `recommend`: judge the model's lists with each score lowered by so many standard
        deviations of what few ratings leave unknown. Errors, the AUC and the baselines are without.
    n_threads : int or None, default None
        Threads to use; None takes all.

    Returns
    -------
    Evaluation
        It prints as a table.

    Warns
    -----
    UserWarning
        If test pairs were trained on, which makes values too good.

    Raises
    ------
    ValueError
        If a parameter is invalid, ids are of another kind than in training, or a metric that
        `metrics` names cannot be had: without any relevant test rating, or of a model that does not
        hold what users rated.
    TypeError
        If `model` is not warpfactor's.

    Notes
    -----
    A user's candidates are the items with training ratings, without those that the user rated
    in training. Lists are those of `recommend`: the highest predictions first, of equal ones the
    item of the lower id. Users are judged if they have a relevant test item; all others are left
    out. A relevant item that the model does not know counts as missed; in the AUC it does not
    count. If test pairs are in `train`, they are no candidates and nothing to be found.

    The gain of graded_ndcg is 1 + r - the lowest training rating, of relevant items: r itself on a
    scale from 1. novelty counts users with training ratings, and popularity_share takes the fifth
    of the candidates with the most training ratings for the most popular. The functions of
    `warpfactor.metrics` have the formulas.

    If the model has ``unknown="mean"``, users without training ratings are judged by the list that
    they get, which is that of the highest item biases. Else they are left out, of the baselines
    too; so are pairs without a prediction of the model, of all errors.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(200, 100, 5_000, random_state=0).ratings
    >>> train, test = wf.train_test_split(ratings, 0.2, random_state=0)
    >>> model = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0).fit(train)
    >>> found = wf.evaluate(model, test, k=10, train=train)
    >>> found.rmse < found.baselines["mean"].rmse
    True
    >>> 0 < found["ndcg@10"] < 1
    True
    """
    cutoffs = check_cutoffs(k)
    names = check_metrics(metrics)
    main = judged(model)
    check_moves(confidence, 0.0, None)
    if confidence and not (set(names) - {*RATING_METRICS, "auc"} and main.ranks):
        raise ValueError(
            f"{option('confidence')} is {confidence!r:.80}, and no lists are judged: leave it out, or ask "
            f"for {option('metrics')} of lists, such as ndcg"
        )
    main = main._replace(confidence=float(confidence))
    fitted = main.model
    if n_threads is not None:
        check_count("n_threads", n_threads, 1)
    limits = check_clip(clip, fitted.rating_range_)
    held = _ratings(test, fitted, "test")
    trained = None if train is None else _ratings(train, fitted, "train")
    if trained is not None:
        _refuse_strange(trained, fitted)
    known_users, known_items = fitted.is_known(held)  # here ids of another kind show
    if fitted.unknown != "mean" and not (known_users & known_items).any():
        raise ValueError(
            "no test pair has a user and an item that the model knows, and it predicts nothing else "
            f"with unknown={fitted.unknown!r}"
        )
    low, high = fitted.rating_range_
    if math.isnan(low):  # files of format 1 did not keep it
        low, high = float(held.values.min()), float(held.values.max())
    threshold = (
        usual_threshold(held.values, low, high, fitted.loss_)
        if relevant_from is None
        else relevant_from
    )
    if not is_number(threshold) or not math.isfinite(as_float("relevant_from", threshold)):
        raise ValueError(
            f"{option('relevant_from')} is {threshold!r:.80}; it must be a finite number"
        )
    bench = HeldOut(held, trained, float(threshold), low)
    if fitted.unknown != "mean":
        bench.keep_users(np.bincount(held.users[known_users], minlength=held.n_users) > 0)
        bench.keep_pairs(known_users & known_items)

    problem = _problem(fitted, bench, float(threshold), relevant_from is None)
    if problem and set(names) - set(RATING_METRICS):
        if metrics is not None:
            raise ValueError(f"{problem}, or use {option('metrics')} of errors alone, rmse and mae")
        warn(f"only errors are measured: {problem}")
        names = RATING_METRICS
    others = _others(baselines, fitted, trained)
    found = judge(main, bench, cutoffs, names, limits, n_threads, float(threshold))
    if found.counts["trained"]:
        n = found.counts["trained"]
        warn(
            f"{n:,} of {len(held):,} test pairs were trained on, so that values are better than those "
            "of new pairs: leave them out of test"
            + ("" if trained is not None else where_typed(
                ", or pass train= if that cannot be", ", or give the training ratings as --train"
            )),
        )  # fmt: skip
    for name, each in others.items():
        found.baselines[name] = judge(
            each, bench, cutoffs, names, limits, n_threads, float(threshold)
        )
    return found


def judge(
    given: Judged,
    held: HeldOut,
    cutoffs: tuple[int, ...],
    names: tuple[str, ...],
    clip: Clip | None,
    n_threads: int | None,
    relevant_from: float,
) -> Evaluation:
    """Return what one fitted model is worth on prepared test ratings; see `evaluate`."""
    fitted = given.model
    users, items = fitted.is_known(held.test)
    rmse = mae = math.nan
    n_left_out = 0
    if given.predicts and set(names) & set(RATING_METRICS):
        rmse, mae, n_left_out = held.rating_values(fitted, clip, n_threads)
    of_lists = (*LIST_METRICS, *PLACE_METRICS)
    ranking = {name: dict.fromkeys(cutoffs, math.nan) for name in names if name in of_lists}
    per_user: dict[str, Any] = {}
    auc = math.nan
    seen, n_trained = held.seen_by(fitted)
    if set(names) - set(RATING_METRICS) and given.ranks:
        values = held.list_values(
            fitted,
            seen,
            cutoffs,
            lists=bool(ranking),
            auc="auc" in names,
            confidence=given.confidence,
            n_threads=n_threads,
        )
        for name in ranking:
            if name in PLACE_METRICS:
                ranking[name] = values.of_places[name]
            else:
                per_user[name] = values.of_users[name]
                ranking[name] = {at: float(each.mean()) for at, each in per_user[name].items()}
        if values.auc is not None:
            per_user["auc"] = values.auc
            counted = values.auc[~np.isnan(values.auc)]
            auc = float(counted.mean()) if len(counted) else math.nan
    counts = {
        "pairs": len(held.test),
        "unknown_user": int((~users).sum()),
        "unknown_item": int((~items).sum()),
        "left_out": n_left_out,
        "trained": n_trained,
        "relevant": held.n_relevant,
        "users": len(held.users) if set(names) - set(RATING_METRICS) else 0,
    }
    return Evaluation(
        rmse=rmse if "rmse" in names else math.nan,
        mae=mae if "mae" in names else math.nan,
        ranking=ranking,
        auc=auc,
        per_user=per_user,
        users=held.test.user_ids[held.users],
        k=cutoffs,
        metrics=names,
        relevant_from=relevant_from,
        clip=clip,
        counts=counts,
        confidence=given.confidence,
    )


def usual_threshold(values: NDArray[np.float32], low: float, high: float, loss: str) -> float:
    """Return the rating from which items are relevant, if nobody says it.

    That is the least of `values` from three quarters of the way from `low` to `high` on; of counts,
    the least above 0.
    """
    if loss == "poisson":
        enough = values[values > 0]
        return float(enough.min()) if len(enough) else 1.0
    threshold = low + _RELEVANT_SHARE * (high - low)
    enough = values[values >= threshold]
    return float(enough.min()) if len(enough) else threshold


def check_metrics(metrics: Any) -> tuple[str, ...]:
    """Return names of metrics, None as all; raise ValueError if one is unknown."""
    if metrics is None:
        return METRICS
    if not isinstance(metrics, Iterable):
        raise ValueError(
            f"{option('metrics')} is {metrics!r:.60}; it must be a name or several, of {', '.join(METRICS)}"
        )
    given = [metrics] if isinstance(metrics, str) else list(metrics)
    for name in given:
        check_choice("metrics", name, METRICS)
    if not given:
        raise ValueError(
            f"{option('metrics')} is empty; it must have at least one of {', '.join(METRICS)}"
        )
    return tuple(name for name in METRICS if name in given)


def check_clip(clip: Any, rating_range: Clip) -> Clip | None:
    """Return the range to clip to, or None; raise ValueError if it is none."""
    if clip is None or clip is False:
        return None
    if clip is True:
        if math.isnan(rating_range[0]):
            raise ValueError(
                f"{option('clip', True)} needs the range of the training ratings, which this model's file "
                "did not keep: give it as (low, high)"
            )
        return rating_range
    if (
        not isinstance(clip, (tuple, list))
        or len(clip) != 2
        or not all(is_number(each) for each in clip)
        or not clip[0] < clip[1]
    ):
        raise ValueError(
            f"{option('clip')} is {clip!r:.60}; it must be True, for the range of the training ratings, or "
            "(low, high)"
        )
    return float(clip[0]), float(clip[1])


def frame_of(columns: dict[str, Any], kind: str) -> Any:
    """Return columns as a table of pandas, polars or Arrow."""
    check_choice("kind", kind, ("pandas", "polars", "arrow"))
    if kind == "pandas":
        import pandas as pd

        return pd.DataFrame(columns)
    import pyarrow as pa

    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    if kind == "arrow":
        return table
    import polars as pl

    return pl.from_arrow(table)


def text_table(rows: list[list[str]]) -> str:
    """Return rows of cells as lines, the first column flush left and the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([first.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]).rstrip()
        for first, *cells in rows
    )


def _cell(name: str, value: float) -> str:
    return "" if math.isnan(value) else format(value, ".4f")


def _ratings(given: Any, model: Model, name: str) -> Ratings:
    if isinstance(given, (list, tuple)) and not given:
        raise ValueError(f"{name} is empty: at least one rating is needed")
    ratings = Ratings.from_any(given, name=name)
    if stands_for_matrix(given):
        check_matrix_shape(given.shape, model.user_ids_, model.item_ids_, name)
    return ratings


def _refuse_strange(train: Ratings, model: Model) -> None:
    """Raise ValueError if a model cannot have been trained on these ratings."""
    try:
        known = np.logical_and(*model.is_known(train)).any()
    except ValueError as error:  # ids of another kind
        raise ValueError(f"{option('train')}: {error}") from None
    if not known:
        raise ValueError(
            f"{option('train')} has no pair whose user and item the model knows; it must be the ratings "
            "that the model was trained on"
        )


def _problem(model: Model, held: HeldOut, threshold: float, chosen: bool) -> str:
    """Say why lists cannot be judged; empty if they can."""
    if held.train is None and model.n_ratings_ and not len(model.seen_[1]):
        return (
            "the model does not hold what users rated in training, so that its lists would hold just that: "
            + where_typed("pass train=", "give the training ratings as --train")
        )
    if len(held.users):
        return ""
    if held.n_trained == len(held.test):
        return (
            f"all test pairs are in {option('train')}, so that lists have nothing to find: give a "
            "test that was held out"
        )
    which = "" if model.unknown == "mean" else " of a user that the model knows"
    if held.n_trained:
        which += f"{' and' * bool(which)} outside {option('train')}"
    if not len(held.to_list):
        return f"there is no test rating{which}, so that lists have nothing to find"
    how = ""
    if chosen and model.loss_ == "poisson":
        how = ", chosen as the least count above 0,"
    elif chosen:
        how = ", chosen three quarters of the way from the lowest training rating to the highest,"
    return (
        f"no test rating{which} is relevant: {option('relevant_from')} is {threshold:g}{how} and the highest "
        f"such rating is {held.test.values[held.to_list].max():g}: give a lower {option('relevant_from')}"
    )


def _others(baselines: Any, model: Model, train: Ratings | None) -> dict[str, Judged]:
    if isinstance(baselines, Mapping):
        if "model" in baselines:
            raise ValueError("baselines has the name 'model', which is the model's: choose another")
        return {str(name): judged(each, f"baselines[{name!r}]") for name, each in baselines.items()}
    if not isinstance(baselines, (bool, np.bool_)):
        raise ValueError(
            f"baselines is {baselines!r:.60}; it must be True, False, or a mapping of names to "
            "fitted models"
        )
    return baselines_of(model, train) if baselines else {}
