"""Several fits as one model: their mean, and how far ratings lie from it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from .. import _core
from ..checks import check_count, check_flag, is_number
from ..data.columns import check_weights
from ..data.matrices import stands_for_matrix
from ..data.ratings import Ratings
from ..model.file import stored_params
from ..model.members import Folded, Noise, fold
from ..model.model import Model
from ..model.record import EpochRecord, TrainingRecord, origin_of
from ..seeds import seed_from
from ..serving.tables import Options, SeenItems, Tables, parse_device
from .answering import FittedAnswers
from .calibration import HeldOut, estimate_noise, held_out_shares
from .cut_rows import refuse_cut_rows
from .estimator import MatrixFactorization
from .fit import found_strengths, search_key
from .given import Given
from .partial_fit import NoPartialFit
from .progress import EpochBar, check_verbose

__all__ = ["Ensemble", "members_of"]

# Where a member's n_epochs is open, it runs so many times as many as it would alone. MovieLens 1M, fold 1, with 1 and 1.5:
# mixed with the accuracy mode .8181 and .8173; ML-100K .8746 and .8745.
_MORE_EPOCHS = 1.5
# A search that members share judges by so many divisions of the ratings. By one of them two sets of strengths that differ
# by 0.02 % on MovieLens 1M (fold 1) were 0.09 % apart either way.
_DIVISIONS = 3
# In seconds, between two looks for Ctrl-C.
_PATIENCE = 0.2


class Ensemble(NoPartialFit):
    """The mean of several fits as one model, with a standard deviation for each prediction.

    Fits from different random starts err in different ways, and their mean errs less: on MovieLens
    1M (fold 1), four have a test RMSE of .8204 where one alone has .8228. The fitted model is one
    factorization, whose rank is the sum of the members' and whose score is the mean of theirs, so
    it predicts, recommends and saves as any other, in C++ and on a device as well. With a loss of
    another link than the identity ("logistic") it is the mean of scores, not of probabilities.

    Parameters
    ----------
    model : MatrixFactorization or another estimator of this package, a list of them, or None
        What to fit; it is cloned, not changed. None: ``MatrixFactorization()``. Estimators of a
        list may differ in all but `biases` and the link of their loss; one that is an `Ensemble`
        stands for its members.
    n_models : int, default 4
        How many fits a single `model` makes, which differ by their seeds. A list has one for each
        estimator, and takes no notice of it.
    weights : array-like of shape (n_models,) or None, default None
        The members' shares in the mean, above 0, in the order of the list; they are divided by
        their sum. None: equal ones.
    intervals : bool, default True
        Whether each member is trained without a share of the ratings of its own (2 % of them, but
        some hundreds of all members together), on which its errors tell how far ratings lie from
        predictions: for ``predict(..., return_std=True)`` and `predict_interval`. On MovieLens 1M
        it took 0.02 % off the ensemble's accuracy. A member's ratings are then a copy of its own, of 12
        bytes a rating, while it trains. Not with losses for labels, whose predictions
        say how sure they are, nor where fewer than 20 ratings can be left out.

    Attributes
    ----------
    model_ : Model
        The fitted model; see there for ``n_members_`` and ``member_scores``. The other attributes
        are those of `MatrixFactorization`; `history_` has the means over the members.

    Notes
    -----
    Members train side by side, each on its part of the threads, and a member is the same whatever
    their number (with ``parallel="blocked"``). On a CUDA device they train one after the other.
    Strengths that the parameters leave open are searched for once, by three divisions of the ratings
    where a fit alone takes one, and given to all members of the same parameters. Member number n has a seed made of its estimator's `random_state`
    and n, so estimators that are listed twice differ. Their `callbacks` are called in the members'
    threads; if one returns true, that member stops. The rank of all members together is at most
    4096.

    Where a member's `n_epochs` is left open, it runs half as many epochs again as it would alone,
    because the mean of several averages out what one alone would overfit. `chosen_` is that of the
    first member.

    The variance of a rating about its prediction is, with the members' variance s²,

        σ²(u, i) = v · f_u · g_i + c · s²(u, i) + a · t/(n_u + t) + b · t/(n_i + t)

    where f and g are how far the ratings of a user and of an item scatter, n how many they have,
    and v, c, a, b and t are fitted to the held-out errors: rows with few ratings, or none, are less
    well known. Bounds of intervals are multiples of σ that held the wanted share of those ratings.
    `set_params` of a fitted ensemble changes how it answers by its `model`:
    ``set_params(model__unknown="nan")``.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(200, 100, 5_000, random_state=0).ratings
    >>> model = wf.Ensemble(wf.MatrixFactorization(n_factors=8, random_state=0)).fit(ratings)
    >>> predicted, std = model.predict([(0, 1), (5, 2)], return_std=True)
    >>> lower, upper = model.predict_interval([(0, 1), (5, 2)], coverage=0.8)
    >>> bool((lower < predicted).all() and (predicted < upper).all())
    True
    >>> model.model_
    Model(200 users, 100 items, 4 members, 32 factors, squared loss)
    """

    def __init__(
        self,
        model: Any = None,
        n_models: int = 4,
        *,
        weights: ArrayLike | None = None,
        intervals: bool = True,
    ) -> None:
        self.model = model
        self.n_models = n_models
        self.weights = weights
        self.intervals = intervals

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        validation: Any = None,
        implicit: Any = None,
        checkpoint: str | PathLike[str] | None = None,
        every: int = 1,
        resume: bool | None = None,
    ) -> Ensemble:
        """Fit the members; parameters and errors are those of `MatrixFactorization.fit`.

        `checkpoint` is a folder here, made if it is not there, with a file for each member; all must be
        of `MatrixFactorization`, with a `random_state`.

        Returns
        -------
        Ensemble
            Itself. If fitting fails or is interrupted, what an earlier fit left is unchanged.

        Raises
        ------
        ValueError
            If the ratings or parameters are not valid, members cannot be one model, or their rank
            would be above 4096.
        DivergedError
            If the training of a member diverges.
        """
        templates = self._templates()
        kept = _kept(templates, checkpoint, every, resume)
        intervals = check_flag("intervals", self.intervals)
        ratings = Ratings.from_any(X, y)
        if y is None and stands_for_matrix(X):
            refuse_cut_rows(X)
        weights = None if sample_weight is None else check_weights(sample_weight, len(ratings))
        if validation is not None and not stands_for_matrix(validation):
            pairs = validation if isinstance(validation, tuple) else (validation, None)
            validation = Ratings.from_any(pairs[0], pairs[1], "validation")
        if implicit is not None:
            users, items = Given(ratings, weights, None).implicit_codes(implicit)
            implicit = Ratings(
                users, items, np.zeros(len(users), np.float32), ratings.user_ids, ratings.item_ids
            )
        if self.__sklearn_is_fitted__():
            self.model_.free_device()
        seeds = [seed_from(each.estimator.random_state) for each in templates]
        held_out = None
        if intervals:
            rng = np.random.default_rng([*seeds, len(seeds)])
            # Where there are no biases, a member that does not know a row predicts a mean, which is
            # no score.
            biased = all(getattr(each.estimator, "biases", True) for each in templates)
            held_out = held_out_shares(ratings, weights, len(templates), rng, keep_rows=not biased)
        training = _Training(
            templates, seeds, ratings, weights, validation, implicit, held_out, kept
        )
        if kept is not None:
            kept.folder.mkdir(exist_ok=True)
        self.model_ = training.run()
        return self

    def _templates(self) -> list[_Template]:
        """Return the members' estimators, and their shares in the mean."""
        listed = isinstance(self.model, (list, tuple))
        if listed and not len(self.model):
            raise ValueError("model is an empty list; it must have at least one estimator")
        models = (
            list(self.model) if listed else [self.model] * check_count("n_models", self.n_models, 1)
        )
        models = [MatrixFactorization() if model is None else model for model in models]
        for model in models:
            if not isinstance(model, FittedAnswers):
                raise ValueError(
                    f"model is or has {model!r:.80}; it must be an estimator of warpfactor, such as "
                    "MatrixFactorization(), or a list of them"
                )
        templates = []
        for model, weight in zip(models, self._weights(len(models)), strict=True):
            inner = model._templates() if isinstance(model, Ensemble) else [_Template(model, 1.0)]
            templates += [each._replace(weight=weight * each.weight) for each in inner]
        return templates

    def _weights(self, n_models: int) -> NDArray[np.float64]:
        weights = np.ones(n_models) if self.weights is None else np.asarray(self.weights)
        if weights.shape != (n_models,) or weights.dtype.kind not in "fiu":
            raise ValueError(
                f"weights is {self.weights!r:.80}; it must have a number for each of the {n_models} "
                "models"
            )
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            raise ValueError(f"weights is {self.weights!r:.80}; all must be finite and above 0")
        shares: NDArray[np.float64] = weights / weights.sum()
        return shares

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = self._templates()[0].estimator._options()
        return options


class _Template(NamedTuple):
    """An estimator to clone for a member, and the member's share in the mean."""

    estimator: Any
    weight: float


class _Kept(NamedTuple):
    """Where the members are kept while they train; see `MatrixFactorization.fit`."""

    folder: Path
    every: int
    resume: bool | None

    def of(self, number: int) -> dict[str, Any]:
        """Return the arguments of a member's fit."""
        path = self.folder / f"member-{number}.checkpoint"
        return {"checkpoint": path, "every": self.every, "resume": self.resume}


def _kept(templates: Sequence[_Template], checkpoint: Any, every: Any, resume: Any) -> _Kept | None:
    if resume is not None:
        check_flag("resume", resume)
    if checkpoint is None:
        if resume:
            raise ValueError("resume is True, and goes on from checkpoint: give the folder of that")
        return None
    for template in templates:
        if not isinstance(template.estimator, MatrixFactorization):
            raise ValueError(
                f"checkpoint is {checkpoint!r}, and model has {template.estimator!r:.60}, whose fits have "
                "none: leave checkpoint out, or use MatrixFactorization"
            )
        if template.estimator.random_state is None:
            raise ValueError(
                f"checkpoint is {checkpoint!r}, and the random_state of model None; it must be an int, so "
                "that the members are the same when their fits go on"
            )
    folder = Path(checkpoint)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(
            f"checkpoint is {str(folder)!r}, which is a file; an ensemble keeps a file for each member, so it must be "
            "a folder, or a name that is not there yet"
        )
    if not folder.parent.is_dir():
        raise FileNotFoundError(
            f"checkpoint is {str(folder)!r}, and there is no folder {str(folder.parent)!r}: make that first"
        )
    return _Kept(folder, check_count("every", every, 1), resume)


class _Training:
    """One fit of all members."""

    def __init__(
        self,
        templates: Sequence[_Template],
        seeds: Sequence[int],
        ratings: Ratings,
        weights: NDArray[np.float32] | None,
        validation: Any,
        implicit: Any,
        held_out: HeldOut | None,
        kept: _Kept | None,
    ) -> None:
        self._kept = kept
        self._templates = templates
        self._seeds = seeds
        self._ratings = ratings
        self._weights = weights
        self._validation = validation
        self._implicit = implicit
        self._held_out = held_out
        self._found: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._started = perf_counter()

    def run(self) -> Model:
        """Train the members, fold them, and learn the noise."""
        first = self._templates[0].estimator
        self._found = self._searches()
        with EpochBar(
            sum(self._epochs(number) for number in range(len(self._templates))),
            str(getattr(first, "loss", "squared")),
            verbose=check_verbose(getattr(first, "verbose", 0)),
        ) as bar:
            models = self._fit_all(bar)
            model = self._folded(models)
            labels = {row["name"] for row in _core.losses() if row["labels"]}
            if self._held_out is not None and not labels & {each.loss_ for each in models}:
                model = model.with_noise(self._noise(model, models, self._held_out))
            bar.finish(model)
        return model

    def _searches(self) -> list[dict[str, Any]]:
        """Return the strengths of each member: those of equal parameters search once, together.

        A search may look at ratings that a member is to leave out: four numbers learn nothing of them.
        """
        searches: dict[tuple[Any, ...], dict[str, Any]] = {}
        found: list[dict[str, Any]] = []
        for template, seed in zip(self._templates, self._seeds, strict=True):
            if not isinstance(template.estimator, MatrixFactorization):
                found.append({})
                continue
            params = template.estimator.get_params(deep=False)
            key = search_key(params)
            if key not in searches:
                n_threads, n_at_once = self._threads()
                searches[key] = found_strengths(
                    params,
                    self._ratings,
                    self._weights,
                    seed=seed,
                    n_threads=n_threads * n_at_once,
                    n_divisions=_DIVISIONS,
                )
            found.append(searches[key])
        return found

    def _own(self, number: int) -> dict[str, Any]:
        """Return what a member gets where its parameters leave it open."""
        own = dict(self._found[number])
        if _is_open(getattr(self._templates[number].estimator, "n_epochs", 0)):
            own["n_epochs"] = self._epochs(number)
        return own

    def _epochs(self, number: int) -> int:
        """Return how many epochs a member runs at most."""
        estimator = self._templates[number].estimator
        sweeps = getattr(estimator, "n_burn_in", 0) + getattr(estimator, "n_samples", 0)
        n_epochs = getattr(estimator, "n_epochs", sweeps)
        if _is_open(n_epochs):
            more = _MORE_EPOCHS if len(self._templates) > 1 else 1.0
            usual = _core.usual_epochs(len(self._ratings))
            return round(more * int(self._found[number].get("n_epochs", usual)))
        return int(n_epochs)

    def _fit_all(self, bar: EpochBar) -> list[Model]:
        n_threads, n_at_once = self._threads()
        fits: list[Future[Model]] = []
        with ThreadPoolExecutor(n_at_once, "warpfactor-member") as pool:
            try:
                for number in range(len(self._templates)):
                    fits.append(pool.submit(self._fit, number, n_threads, bar))
                running = set(fits)
                while running:
                    # Not without a limit: a signal that comes just before Python begins to wait
                    # does not end it.
                    done, running = wait(fits, _PATIENCE, FIRST_EXCEPTION)
                    for fit in done:
                        fit.result()
                return [fit.result() for fit in fits]
            except BaseException:
                # One has failed, or Ctrl-C: the others end after the epoch that they are in.
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _threads(self) -> tuple[int, int]:
        return _threads([each.estimator for each in self._templates])

    def _fit(self, number: int, n_threads: int, bar: EpochBar) -> Model:
        def on_epoch(record: EpochRecord) -> bool:
            bar.advance(record)
            return self._stop.is_set()

        estimator = clone(self._templates[number].estimator)
        own: dict[str, Any] = {
            "random_state": _seed(self._seeds[number], number),
            "n_threads": n_threads,
            "verbose": 0,
        }
        own |= self._own(number)
        given = getattr(self._templates[number].estimator, "callbacks", None)
        if isinstance(given, (list, tuple)):
            # The given ones, not clone's deep copies, which would fill lists that nobody reads.
            own["callbacks"] = [*given, on_epoch]
        estimator.set_params(**own)
        ratings, weights = self._ratings, self._weights
        if self._held_out is not None:
            kept = self._held_out.without(number, len(ratings))
            if not kept.all():
                ratings = ratings.take(kept)
                weights = None if weights is None else weights[kept]
        fitted = estimator.fit(
            ratings,
            sample_weight=weights,
            validation=self._validation,
            implicit=self._implicit,
            **({} if self._kept is None else self._kept.of(number)),
        )
        # What a member's model would hold of its copy of the ratings, the folded model holds of all.
        model: Model = fitted.model_.without_seen()
        return model

    def _folded(self, models: list[Model]) -> Model:
        for name, words in (("has_biases_", "biases"), ("link_", "the link of the loss")):
            values = [getattr(model, name) for model in models]
            if len(set(values)) > 1:
                raise ValueError(
                    f"model has estimators that differ in {words}: {values}; it must be the same of "
                    "all, so that the mean of their scores has a meaning"
                )
        weights = np.array([each.weight for each in self._templates])
        folded = fold([model.as_member() for model in models], weights)
        return Model(
            self._tables(models, weights, folded),
            self._record(models),
            Options(**self._templates[0].estimator._options()),
            folded.members,
        )

    def _tables(self, models: list[Model], weights: NDArray[np.float64], folded: Folded) -> Tables:
        ratings = self._ratings
        counted = slice(None) if self._weights is None else self._weights > 0

        def mean(name: str) -> float:
            return float(np.average([getattr(model, name) for model in models], weights=weights))

        return Tables(
            **folded.tables(),
            user_ids=ratings.user_ids,
            item_ids=ratings.item_ids,
            user_known=self._counts("users") > 0,
            item_known=self._counts("items") > 0,
            seen=SeenItems(ratings.n_users, pairs=(ratings.users[counted], ratings.items[counted])),
            rating_mean=mean("rating_mean_"),
            start_bias=mean("start_bias_"),
            biases=models[0].has_biases_,
            link=models[0].link_,
        )

    def _counts(self, side: str) -> NDArray[np.uint32]:
        rows = getattr(self._ratings, side)
        counted = slice(None) if self._weights is None else self._weights > 0
        n = self._ratings.n_users if side == "users" else self._ratings.n_items
        return np.bincount(rows[counted], minlength=n).astype(np.uint32)

    def _record(self, models: list[Model]) -> TrainingRecord:
        values = self._ratings.values
        if self._weights is not None:
            values = values[self._weights > 0]
        n_threads, n_at_once = self._threads()
        first = self._templates[0].estimator
        # As they were given, not as the member got them.
        own = stored_params({name: getattr(first, name) for name in self._own(0)})
        params = models[0].get_params() | own
        params.pop("random_state", None)
        if is_number(first.random_state):
            params["random_state"] = int(first.random_state)
        history = _mean_history([model.history_ for model in models])
        return TrainingRecord(
            params=params,
            history=history,
            n_epochs=min(max(model.n_epochs_ for model in models), len(history)),
            n_threads=n_at_once * min(n_threads, max(model.n_threads_ for model in models)),
            instruction_set=models[0].instruction_set_,
            loss=models[0].loss_,
            user_counts=self._counts("users"),
            item_counts=self._counts("items"),
            n_ratings=len(values),
            rating_range=(float(values.min()), float(values.max())),
            chosen=models[0].chosen_ | self._own(0),
            origin=origin_of("Ensemble", self._started),
        )

    def _noise(self, model: Model, models: list[Model], held_out: HeldOut) -> Noise | None:
        predicted = np.empty(len(held_out.at))
        for n, member in enumerate(models):
            at = np.flatnonzero(held_out.member == n)
            if len(at):
                answering = member.with_options(unknown="mean")
                predicted[at] = answering.predict(self._ratings.take(held_out.at[at]))
        owners = np.repeat(np.arange(len(models)), [each.n_members_ for each in models])
        return estimate_noise(model, owners, self._ratings, self._weights, held_out, predicted)


class MembersOf(NamedTuple):
    """Who trains in an ensemble, and how.

    Parameters
    ----------
    estimators : list
        One for each member.
    n_threads, n_at_once : int
        Of a member; and how many members train at a time.
    """

    estimators: list[Any]
    n_threads: int
    n_at_once: int


def members_of(ensemble: Ensemble) -> MembersOf:
    """Return who trains in an ensemble."""
    estimators = [each.estimator for each in ensemble._templates()]
    return MembersOf(estimators, *_threads(estimators))


def _threads(estimators: Sequence[Any]) -> tuple[int, int]:
    """Return the threads of a member, and how many members train at a time."""
    given = [
        check_count("n_threads", each.n_threads, 1)
        for each in estimators
        if each.n_threads is not None
    ]
    budget = max(given, default=0) or _core.available_threads()
    if any(parse_device(getattr(each, "device", "cpu"))[0] for each in estimators):
        return budget, 1
    n_at_once = min(len(estimators), budget)
    return budget // n_at_once, n_at_once


def _is_open(n_epochs: int | str | None) -> bool:
    """Whether training chooses."""
    return n_epochs is None or isinstance(n_epochs, str)


def _seed(random_state: int, number: int) -> int:
    """Return a member's seed. Not the sum: neighbouring seeds would share members."""
    sequence = np.random.SeedSequence([random_state, number])
    return int(sequence.generate_state(1, np.uint64)[0])


def _mean_history(histories: list[list[EpochRecord]]) -> tuple[EpochRecord, ...]:
    """Return the means of the members' records, over those that ran an epoch."""
    means = []
    for n in range(max(len(history) for history in histories)):
        ran: list[Any] = [history[n] for history in histories if n < len(history)]
        mean: Any = {name: float(np.mean([each[name] for each in ran])) for name in ran[0]}
        means.append(mean | {"epoch": n + 1})
    return tuple(means)
