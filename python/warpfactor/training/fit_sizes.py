"""What a fit of each kind takes of memory: the core's figures, and what Python holds beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .. import _core
from .bayesian import BayesianMatrixFactorization, sampled_params
from .core_params import core_params, float_type
from .ensemble import Ensemble, members_of
from .estimator import MatrixFactorization

__all__ = ["RATING", "Counts", "FitSizes", "changes_of", "sizes_of"]

# Of a rating: two codes and a value.
RATING = 12
_PAIR, _WEIGHT = 8, 4
# Numbers of a row that folding holds for each member of a side, all float64: the biases, what they are above the mean,
# that by members and by their own, and the sums.
_FOLDING = 6 * 8
# Of a rating, what `calibration.estimate_noise` holds to learn how the residuals of rows differ: those, their squares, and
# shares of them.
_NOISE = 48


class Counts(NamedTuple):
    """What is to be known of what a fit is given.

    Parameters
    ----------
    n_ratings, n_users, n_items : int
        Its ratings and rows.
    rows : tuple of ndarray of uint32, or None
        The ratings of each user and of each item; None: not known.
    held : int
        Bytes of the ratings' arrays that the caller holds.
    n_validation, n_implicit : int
        Validation ratings given, and pairs without a rating.
    weighted : bool
        Whether there are weights.
    buffer : int
        Of a fit whose ratings are on a disk; 0: they are in memory.
    """

    n_ratings: int
    n_users: int
    n_items: int
    rows: tuple[NDArray[np.uint32], NDArray[np.uint32]] | None
    held: int
    n_validation: int = 0
    n_implicit: int = 0
    weighted: bool = False
    buffer: int = 0

    def of_ratings(self, n_ratings: int) -> Counts:
        """Return those of a fit on so many of the ratings."""
        return self._replace(n_ratings=n_ratings)

    @property
    def rating(self) -> int:
        """Bytes of a rating in memory."""
        return RATING + (_WEIGHT if self.weighted else 0)

    @property
    def n_rows(self) -> int:
        """Users and items."""
        return self.n_users + self.n_items

    def core(self, n_ratings: int, n_validation: int, **more: Any) -> _core.RatingCounts:
        """Return them as the core takes them."""
        users, items = self.rows or (None, None)
        return _core.RatingCounts(
            n_ratings,
            self.n_users,
            self.n_items,
            weighted=self.weighted,
            n_validation=n_validation,
            n_implicit=self.n_implicit,
            user_counts=users,
            item_counts=items,
            buffer=self.buffer,
            **more,
        )


@dataclass
class FitSizes:
    """What a fit and its model take, in bytes.

    Parameters
    ----------
    fit : dict of str to dict of str to int
        By phase and part, in the moment of each phase that takes most.
    n_factors : int
        Of the model, those of all its members.
    number : int
        Bytes of a factor.
    model : dict of str to int
        Parts of the model beside those of any.
    device, device_streamed
        As of `MemoryEstimate`.
    smaller : function or None
        Of the bytes that there are: changes of a parameter with which it does, and what it then takes. None: other
        changes have to be tried.
    """

    fit: dict[str, dict[str, int]]
    n_factors: int
    number: int
    model: dict[str, int] = field(default_factory=dict)
    device: dict[str, int] = field(default_factory=dict)
    device_streamed: int = 0
    smaller: Any = None

    @property
    def peak(self) -> int:
        """The most at a time."""
        return max(sum(parts.values()) for parts in self.fit.values())


def sizes_of(estimator: Any, counts: Counts) -> FitSizes:
    """Return what a fit of an estimator takes.

    Raises
    ------
    TypeError
        If it is none of this package's.
    ValueError
        If a parameter is invalid.
    """
    if isinstance(estimator, Ensemble):
        return _of_ensemble(estimator, counts)
    if isinstance(estimator, BayesianMatrixFactorization):
        return _of_sampler(estimator, counts)
    return _of_factorization(estimator, counts)


def changes_of(estimator: Any) -> Iterator[tuple[str, Any]]:
    """Yield changes of one parameter of an ensemble by which it may take less, each with the changed ensemble."""

    def changed(**params: Any) -> Any:
        return clone(estimator).set_params(**params)

    model = estimator.model
    if not isinstance(model, (list, tuple)):
        n_models = int(estimator.n_models)
        while n_models > 2:
            n_models //= 2
            yield f"n_models={n_models}", changed(n_models=n_models)
        model = clone(MatrixFactorization() if model is None else model)
        k = int(model.n_factors) if hasattr(model, "n_factors") else 0
        while k >= 16:
            k //= 2
            yield (
                f"model__n_factors={k}",
                changed(model=clone(model).set_params(n_factors=k)),
            )
        for name, value in (("n_threads", 1), ("implicit_feedback", "none")):
            if getattr(model, name, value) != value:
                yield (
                    f"model__{name}={value!r}",
                    changed(model=clone(model).set_params(**{name: value})),
                )
    if estimator.intervals:
        yield "intervals=False", changed(intervals=False)


def _of_factorization(
    estimator: MatrixFactorization, counts: Counts, *, searches: bool = True
) -> FitSizes:
    params = estimator.get_params(deep=False)
    core = core_params(params)
    double = float_type(params["dtype"]) == np.float64
    init = params["init"]
    more = {
        # With initial factors there is no search.
        "initial": isinstance(init, (tuple, list)) or not searches,
        "custom_penalty": params["penalty"] is not None,
    }
    n, fraction = counts.n_ratings, params["validation_fraction"]
    n_drawn = 0 if fraction is None or counts.n_validation else round(fraction * n)
    on_disk = counts.buffer > 0
    beside = {
        "ratings": counts.held,
        "validation ratings given": counts.n_validation * RATING,
        "ratings drawn for validation, and the others": 0,
    }
    if n_drawn:
        # On a disk the others stay where they are, and a bit says which.
        drawn = n_drawn * counts.rating + n // 8 if on_disk else n * counts.rating
        beside["ratings drawn for validation, and the others"] = drawn
    if on_disk and counts.weighted:
        beside["weights"] = _WEIGHT * n
    first = counts.core(n - n_drawn, counts.n_validation + n_drawn, **more)
    phases, device, streamed = _core.fit_memory(first, core, double)
    fit = _phases(phases, beside)
    number = 8 if double else 4
    k = int(core["n_factors"])
    of_python = sum(beside.values())
    if params["refit"]:
        # The first training's result is there in the second one, of all ratings.
        beside["result of the first training"] = counts.n_rows * (k + 1) * number
        core["patience"] = 0
        again = n + (0 if n_drawn else counts.n_validation)
        beside["all ratings together"] = 0 if n_drawn else again * counts.rating
        second = counts.core(again, 0, **more)
        more_phases = _phases(_core.fit_memory(second, core, double)[0], beside)
        fit = {
            phase: max(parts, more_phases[phase], key=lambda each: sum(each.values()))
            for phase, parts in fit.items()
        }
    if on_disk and _PAIR * n <= counts.buffer:
        fit["finishing"]["what users rated"] = _PAIR * n
    # A refit with validation ratings of their own needs all ratings in memory.
    may_stream = not (params["refit"] and counts.n_validation) and not on_disk
    freed = n * counts.rating + (n * counts.rating - n // 8 if n_drawn else 0) if may_stream else 0

    def smaller(room: int) -> dict[str, int]:
        offered = _core.smaller_fits(first, core, double, room - of_python, freed)
        return {
            change: size + of_python
            for change, size in offered
            if may_stream or not change.startswith("scratch")
        }

    return FitSizes(fit, k, number, device=dict(device), device_streamed=streamed, smaller=smaller)


def _of_sampler(estimator: BayesianMatrixFactorization, counts: Counts) -> FitSizes:
    core, dtype = sampled_params(estimator)
    double = dtype == np.float64
    number = 8 if double else 4
    beside = {
        "ratings": counts.held,
        "validation ratings given": counts.n_validation * RATING,
    }
    of_core = counts.core(counts.n_ratings, counts.n_validation)
    phases, _, _ = _core.fit_memory(of_core, core, double)
    of_python = sum(beside.values())
    kept = _core.kept_samples(core)

    def smaller(room: int) -> dict[str, int]:
        offered = _core.smaller_fits(of_core, core, double, room - of_python)
        return {change: size + of_python for change, size in offered}

    return FitSizes(
        _phases(phases, beside),
        kept * core.n_factors,
        number,
        {"biases and noise of the samples": counts.n_rows * (kept + 1) * number},
        smaller=smaller,
    )


def _of_ensemble(estimator: Ensemble, counts: Counts) -> FitSizes:
    members = members_of(estimator)
    n, n_members = counts.n_ratings, len(members.estimators)
    # Each leaves out ratings of its own, and has a copy of the others.
    copy = n * counts.rating if estimator.intervals else 0
    of_members = [
        _of_member(clone(each).set_params(n_threads=members.n_threads), counts)
        for each in members.estimators
    ]
    peaks = sorted(
        (
            replace(each, fit={name: _without(parts) for name, parts in each.fit.items()})
            for each in of_members
        ),
        key=lambda each: each.peak,
        reverse=True,
    )
    at_once, done = peaks[: members.n_at_once], peaks[members.n_at_once :]
    models = [_model_bytes(each, counts) for each in peaks]
    beside = {
        "ratings": counts.held,
        "validation ratings given": counts.n_validation * 2 * RATING,
    }
    first = members.estimators[0]
    n_factors = sum(each.n_factors for each in of_members)
    number = max(each.number for each in of_members)
    searching = {}
    if isinstance(first, MatrixFactorization):
        search = _of_factorization(
            clone(first).set_params(n_threads=members.n_threads * members.n_at_once), counts
        )
        searching = _without(search.fit["preparing"])
    folding = (
        max(counts.n_users, counts.n_items) * n_members * _FOLDING + counts.n_rows * n_members * 8
    )
    noise = n * _NOISE if estimator.intervals else 0
    fit = {
        "preparing": {**beside, **searching},
        "epochs": {
            **beside,
            "ratings of the members at work": len(at_once) * copy,
            "members at work": sum(each.peak for each in at_once),
            "members that are done": sum(models[len(at_once) :]) if done else 0,
        },
        "finishing": {
            **beside,
            "members": sum(models),
            "folded model": counts.n_rows * (n_factors + 1) * number,
            # One after the other.
            "folding, and the noise of the ratings": max(folding, noise),
        },
    }
    return FitSizes(
        {
            phase: {name: size for name, size in parts.items() if size}
            for phase, parts in fit.items()
        },
        n_factors,
        number,
        {"biases of the members": counts.n_rows * n_members * number},
    )


def _of_member(estimator: Any, counts: Counts) -> FitSizes:
    """Return what a member takes, whose strengths are found before."""
    if isinstance(estimator, MatrixFactorization):
        return _of_factorization(estimator, counts, searches=False)
    return sizes_of(estimator, counts)


def _without(parts: Mapping[str, int]) -> dict[str, int]:
    """Return the parts but the ratings, which are counted apart."""
    return {
        name: size
        for name, size in parts.items()
        if name not in ("ratings", "validation ratings given")
    }


def _model_bytes(sizes: FitSizes, counts: Counts) -> int:
    """Return what the model of a member takes while the others train."""
    rows = counts.n_rows * ((sizes.n_factors + 1) * sizes.number + 4 + 1)
    return rows + sum(sizes.model.values())


def _phases(
    phases: list[tuple[str, list[tuple[str, int]]]], beside: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    return {
        phase: {name: size for name, size in (*beside.items(), *parts) if size}
        for phase, parts in phases
    }
