"""The search for a model's parameters, on Optuna."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from sklearn.base import clone

from .. import _core
from ..checks import check_count, is_number, option
from ..data.ratings import Ratings
from ..exceptions import DivergedError
from ..model.model import Model
from ..model.record import EpochRecord
from ..parameters import PARAMETERS
from ..seeds import RandomState, seed_from
from ..shared_state import SharedChange, ignored_warnings
from ..training.callbacks import Callback
from ..training.estimator import MatrixFactorization
from ..training.progress import can_show_bar, check_verbose, started_bar
from ..writing import check_target, whole_path
from .cross_validation import folds_of
from .splits import train_test_split

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Tuning", "tune"]

_STUDY = "warpfactor"
# The most epochs of a trial, whose number early stopping finds.
_MOST_EPOCHS = 500
# How far the default space reaches to both sides of what training chooses.
_TIMES = {"n_factors": 4.0, "learning_rate": 2.5, "reg": 4.0, "reg_row": 4.0, "reg_implicit": 4.0}
# The parts of the schedule after which a trial may be pruned, and the trials that are never.
_STAGES = (0.25, 0.5, 0.75)
_NEVER_PRUNED = 5


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes
    ----------
    best_params : dict
        The parameters of the best trial, of those in the space; empty where the model as it was
        given did best.
    best_score, default_score : float
        The validation RMSE of the best trial, and of the model as it was given (with a loss other
        than "squared", the loss).
    trials : list of dict
        Each trial: number, score (NaN if it was pruned or diverged), state, params, n_epochs (the
        epoch that was kept) and seconds.
    study : optuna.Study
        Optuna's own, for its plots and importances.
    interrupted : bool
        Whether Ctrl-C ended the search.
    """

    best_params: dict[str, Any]
    best_score: float
    default_score: float
    trials: list[dict[str, Any]]
    study: Any
    interrupted: bool
    _model: Any = field(repr=False)
    _score_name: str = field(repr=False)

    def best_model(self) -> Any:
        """Return an unfitted estimator with the best parameters.

        It draws a tenth of the ratings for early stopping and is trained again on all of them.
        """
        model = clone(self._model)
        known = model.get_params(deep=False)
        params = _with_most_epochs(known, self.best_params)
        if "validation_fraction" in known:
            params |= {"validation_fraction": 0.1, "refit": True}
        return model.set_params(**params)

    def command(self, ratings: Any = "RATINGS") -> str:
        """Return the line for a shell that trains with the best parameters.

        Parameters
        ----------
        ratings : path or list of paths, default "RATINGS"
            The files to train on.
        """
        files = ratings if isinstance(ratings, (list, tuple)) else [ratings]
        line = ["warpfactor", "train", *map(fspath, files)]
        if not isinstance(self._model, MatrixFactorization):
            raise ValueError(
                f"the model is a {type(self._model).__name__}; the command line trains a "
                "MatrixFactorization: use best_model()"
            )
        defaults = {name: row.default for name, row in PARAMETERS.items()}
        own = self._model.get_params(deep=False)
        given = own | _with_most_epochs(own, self.best_params)
        for name, row in PARAMETERS.items():
            value = given.get(name, row.default)
            skipped = not row.help or name in ("refit", "early_stopping", "random_state")
            if skipped or value == defaults[name]:
                continue
            flag = (row.option or name).replace("_", "-")
            if row.kind == "flag":
                line.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                line += [f"--{flag}", _shell_value(value)]
        seed = given.get("random_state")
        if is_number(seed):
            line += ["--seed", str(seed)]
        return shlex.join(
            [*line, "--validation-size", "0.1", "--refit", "--output", "model.safetensors"]
        )

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """Draw the scores of the trials in their order, and the best so far.

        Parameters
        ----------
        path : str, path-like or None, default None
            An image file to write, whose suffix says its format.

        Returns
        -------
        matplotlib.axes.Axes
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        done = [trial for trial in self.trials if trial["state"] == "complete"]
        numbers, scores = (
            np.array([trial[name] for trial in done]) for name in ("number", "score")
        )
        axes.plot(numbers, scores, "o", label="trials")
        axes.step(numbers, np.minimum.accumulate(scores), where="post", label="best so far")
        axes.axhline(self.default_score, ls=":", c="gray", label="as given")
        axes.set_xlabel("trial")
        axes.set_ylabel(f"validation {self._score_name}")
        axes.legend()
        if path is not None:
            with whole_path(path) as filled:
                suffix = fspath(path).rpartition(".")[2]
                figure.savefig(filled, format=suffix)
        return axes

    def __str__(self) -> str:
        n = len(self.trials)
        pruned = sum(trial["state"] != "complete" for trial in self.trials)
        lines = [
            f"{n} trials, {pruned} of them pruned or diverged{', interrupted' if self.interrupted else ''}",
            f"validation {self._score_name}: {self.best_score:.4f}, as given {self.default_score:.4f}",
        ]
        if self.best_params:
            lines += [f"  {name} = {_shown(value)}" for name, value in self.best_params.items()]
        else:
            lines.append("  nothing did better than the model as it was given")
        return "\n".join(lines)


def tune(
    model: Any,
    ratings: Any,
    space: Mapping[str, Any] | None = None,
    *,
    n_trials: int = 30,
    cv: int | None = None,
    validation: Any = None,
    timeout: float | None = None,
    storage: str | PathLike[str] | None = None,
    study_name: str = _STUDY,
    n_jobs: int = 1,
    fixed: Sequence[str] = (),
    random_state: RandomState = None,
    verbose: int = 1,
) -> Tuning:
    """Search parameters of a model by Optuna's tree-structured Parzen estimator.

    The model as it is given is tried first. A trial ends early where its validation loss, after a
    quarter, a half and three quarters of its schedule, is above the median of those before. All
    trials read one copy of the ratings. Ctrl-C ends the search and returns what it has found.

    It takes Optuna (``pip install "warpfactor[tune]"``).

    Parameters
    ----------
    model : MatrixFactorization or None
        What to tune; it is cloned, not changed. None: ``MatrixFactorization()``. Parameters that it
        sets and that `space` leaves out stay. Its `callbacks` are called in all trials.
    ratings : Ratings, or anything `Ratings.from_any` takes
        The ratings to tune on. Leave those for the test out.
    space : mapping or None, default None
        What to try of each parameter: (low, high) numbers, a list of values, or an Optuna
        distribution. A range of positive floats is searched by its logarithm, as is one of ints
        that spans more than a factor of 8. None: around what training chooses of `n_factors` (a
        quarter to four times), `learning_rate` (to 2.5 times), and the strengths `reg`, `reg_row`
        and `reg_implicit` (a quarter to four times), so far as the model leaves them open and they
        are not 0. The number of epochs is found by early stopping.
    n_trials : int, default 30
        The trials of the study, those that `storage` has counted.
    cv : int or None, default None
        Folds of ratings; the score is their mean. None: one held-out part, see `validation`.
    validation : Ratings, (X, y), a float, or None, default None
        The held-out ratings, or their share of `ratings`. None: a tenth.
    timeout : float or None, default None
        Seconds after which no trial begins.
    storage : str, path-like or None, default None
        Where the study is kept: a file, or an URL that Optuna takes. If the study is there, it goes
        on. None: in memory.
    study_name : str, default "warpfactor"
        Its name there.
    n_jobs : int, default 1
        Trials at a time, in threads that share the processors.
    fixed : sequence of str, default ()
        Parameters that the default space leaves as `model` has them, such as "n_factors".
    random_state : int, RandomState, Generator or None, default None
        Seed of the choices, of the held-out part, and of the trials if the model has none. The same
        int finds the same with ``n_jobs=1`` and no `timeout`.
    verbose : int or bool, default 1
        1: a progress bar in terminals and notebooks, a line for each trial in logs. 0: nothing.

    Returns
    -------
    Tuning

    Raises
    ------
    ImportError
        If Optuna is missing.
    ValueError
        If a parameter is not valid, or the study that is stored is of other ratings.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(200, 100, 5_000, random_state=0).ratings
    >>> found = wf.tune(None, ratings, {"n_factors": (2, 16)}, n_trials=3, random_state=0, verbose=0)
    >>> found.best_score <= found.default_score
    True
    """
    optuna = _import_optuna()
    model = MatrixFactorization() if model is None else model
    known: Mapping[str, Any] = getattr(model, "get_params", dict)()
    if not {"random_state", "callbacks", "n_threads"} <= set(known) or isinstance(model, type):
        raise ValueError(
            f"model is {model!r:.80}; it must be a MatrixFactorization or BayesianMatrixFactorization"
        )
    check_count("n_trials", n_trials, 1)
    check_count("n_jobs", n_jobs, 1)
    if timeout is not None and not (is_number(timeout) and timeout > 0):
        raise ValueError(
            f"{option('timeout')} is {timeout!r:.80}; it must be a number of seconds above 0"
        )
    if cv is not None and validation is not None:
        raise ValueError(
            f"{option('cv')} is {cv!r:.80} and {option('validation')} is given too; give one of them"
        )
    level = check_verbose(verbose)
    seed = seed_from(random_state)
    if space is not None:
        _check_names(space, known, type(model).__name__)
    if foreign := sorted(set(fixed) - set(known)):
        raise ValueError(f"fixed has {foreign}; it must have parameters of {type(model).__name__}")
    if not isinstance(study_name, str):
        raise ValueError(f"study_name is {study_name!r:.80}; it must be a string")
    data = Ratings.from_any(ratings, name="ratings")
    _check_values(model, space or {}, data)
    search = _Search(optuna, model, data, seed, cv, validation, space, n_jobs, fixed)
    search.base["verbose"] = 0
    with _Shown(level, n_trials, search.score_name) as bar, _QUIET:
        study = _study(optuna, storage, study_name, seed, search.fingerprint)
        interrupted = search.run(study, n_trials, timeout, n_jobs, bar)
    return search.result(study, interrupted)


# What belongs to the search and not to the model.
_NOT_TUNED = ("callbacks", "n_threads", "random_state", "refit", "validation_fraction", "verbose")
# What some ratings do not go with, and how many tell that.
_OF_RATINGS = ("loss",)
_TINY = 50


def _check_names(space: Any, known: Mapping[str, Any], model: str) -> None:
    if not isinstance(space, Mapping):
        raise ValueError(
            f"space is {space!r:.60}; it must be a mapping of parameters to what to try"
        )
    unknown = sorted(set(space) - (set(known) - set(_NOT_TUNED)))
    if unknown:
        raise ValueError(
            f"space has {unknown}; it must have parameters of {model} that can be tuned"
        )


def _check_values(model: Any, space: Mapping[str, Any], data: Ratings) -> None:
    """Check the ends of ranges and all choices: a study must not end at one in its middle."""
    few = data.take(np.arange(min(len(data), _TINY)))
    for name, of in space.items():
        if hasattr(of, "choices"):
            values = list(of.choices)
        elif hasattr(of, "low"):
            values = [of.low, of.high]
        else:
            values = list(of) if isinstance(of, (list, tuple)) else []
        for value in values:
            given = clone(model).set_params(**{name: value})
            try:
                given.check_params()
                if name in _OF_RATINGS:
                    given.set_params(n_epochs=1, verbose=0, callbacks=()).fit(few)
            except DivergedError:
                pass
            except (ValueError, TypeError) as error:
                raise ValueError(f"space has {name}={value!r}: {error}") from error


def _import_optuna() -> Any:
    try:
        # tqdm, which it imports, asks notebooks for ipywidgets; its bars are not shown.
        with ignored_warnings((Warning, "IProgress not found")):
            import optuna
    except ImportError:
        raise ImportError(
            'tuning needs Optuna, which is not installed: pip install "warpfactor[tune]"'
        ) from None
    return optuna


def _study(optuna: Any, storage: Any, name: str, seed: int, fingerprint: str) -> Any:
    if storage is not None:
        storage = fspath(storage)
        if "://" not in storage:
            storage = f"sqlite:///{check_target(storage)}"
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=optuna.samplers.TPESampler(seed=seed % 2**32),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_NEVER_PRUNED),
            load_if_exists=True,
        )
    except Exception as error:
        if storage is None or isinstance(error, (ValueError, OSError)):
            raise
        # Of SQLAlchemy and of Optuna, which have no base of their own in common.
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{option('storage')} is {storage!r:.300}, which cannot be read as a store of studies: {reason}"
        ) from error
    before = study.user_attrs.get("ratings", fingerprint)
    if before != fingerprint:
        raise ValueError(
            f"{option('storage')} has a study {name!r} of other ratings ({before}; now {fingerprint}): "
            "give another file, or another study_name"
        )
    study.set_user_attr("ratings", fingerprint)
    return study


class _Part(NamedTuple):
    """What a fit of a trial trains on, and what it is judged by."""

    train: Ratings
    held_out: Any


class _Search:
    """One search: its ratings, its space, and its trials."""

    def __init__(
        self,
        optuna: Any,
        model: Any,
        data: Ratings,
        seed: int,
        cv: int | None,
        validation: Any,
        space: Mapping[str, Any] | None,
        n_jobs: int,
        fixed: Sequence[str],
    ) -> None:
        self._fixed = fixed
        self._optuna = optuna
        self._model = model
        self._space = space
        self._stop = threading.Event()
        self._distributions: dict[str, Any] = {}
        own = model.get_params(deep=False)
        rmse = own.get("loss", "squared") == "squared" or "loss" in (space or {})
        self.score_name = "RMSE" if rmse else "loss"
        self._key = "valid_rmse" if rmse else "valid_loss"
        self._parts = _parts(data, cv, validation, seed)
        self.fingerprint = (
            f"{len(data)} ratings of {data.n_users} users and {data.n_items} items, "
            f"{len(self._parts)} x {sum(len(part.train) for part in self._parts)} trained on"
        )
        self.base: dict[str, Any] = {}
        if own["random_state"] is None:
            self.base["random_state"] = seed
        if own["n_threads"] is None and n_jobs > 1:
            self.base["n_threads"] = max(1, _core.available_threads() // n_jobs)

    def run(
        self, study: Any, n_trials: int, timeout: float | None, n_jobs: int, bar: _Shown
    ) -> bool:
        """Run the trials that are missing; return whether Ctrl-C has ended them."""
        began = time.monotonic()
        finished = self._optuna.trial.TrialState.COMPLETE, self._optuna.trial.TrialState.PRUNED
        try:
            if not any(trial.user_attrs.get("as_given") for trial in study.trials):
                self._try_as_given(study)
            else:
                self._distributions = self._space_of(_as_given(study).user_attrs["chosen"])
            done = study.get_trials(deepcopy=False, states=finished)
            for trial in done:
                bar.advance(trial, study)
            left = n_trials - len(done)
            rest = None if timeout is None else timeout - (time.monotonic() - began)
            if left > 0 and (rest is None or rest > 0):
                study.optimize(
                    self._objective,
                    n_trials=left,
                    timeout=rest,
                    n_jobs=n_jobs,
                    callbacks=[lambda study, trial: bar.advance(trial, study)],
                )
        except KeyboardInterrupt:
            self._stop.set()
            if not study.get_trials(deepcopy=False, states=finished[:1]):
                raise
            return True
        return False

    def _try_as_given(self, study: Any) -> None:
        """Try the model as it was given, and write it down as a point of the space."""
        started = time.perf_counter()
        score, models = self._fit({}, None)
        chosen = self._model.get_params(deep=False) | models[0].chosen_
        plain = {name: value for name, value in chosen.items() if _is_plain(value)}
        self._distributions = self._space_of(plain)
        params = {
            name: _inside(distribution, plain.get(name))
            for name, distribution in self._distributions.items()
        }
        at = {name: value for name, value in params.items() if value is not None}
        attrs = {
            "as_given": True,
            "chosen": {
                name: plain[name] for name in plain if name in (*_TIMES, *self._distributions)
            },
            "n_epochs": models[0].n_epochs_,
            "seconds": time.perf_counter() - started,
        }
        study.add_trial(
            self._optuna.trial.create_trial(
                params=at,
                distributions={name: self._distributions[name] for name in at},
                value=score,
                user_attrs=attrs,
            )
        )

    def _space_of(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the distributions of the space, the default one around what was chosen."""
        make = self._optuna.distributions
        if self._space is not None:
            return {name: _distribution(make, name, of) for name, of in self._space.items()}
        given = self._model.get_params(deep=False)
        found: dict[str, Any] = {}
        for name, times in _TIMES.items():
            if (
                name in self._fixed
                or name not in given
                or (given[name] is not None and name != "n_factors")
            ):
                continue
            value: Any = chosen.get(name)
            if name == "n_factors":
                low, high = max(1, round(value / times)), min(1024, round(value * times))
                found[name] = make.IntDistribution(low, high, log=True)
            elif is_number(value) and value > 0:
                found[name] = make.FloatDistribution(value / times, value * times, log=True)
        return found

    def _objective(self, trial: Any) -> float:
        if self._stop.is_set():
            raise self._optuna.TrialPruned
        params = {
            name: _suggested(trial, name, distribution)
            for name, distribution in self._distributions.items()
        }
        started = time.perf_counter()
        try:
            score, models = self._fit(params, trial)
        except DivergedError as error:
            trial.set_user_attr("diverged", str(error))
            raise self._optuna.TrialPruned from None
        finally:
            trial.set_user_attr("seconds", time.perf_counter() - started)
        trial.set_user_attr("n_epochs", models[0].n_epochs_)
        return score

    def _fit(self, params: dict[str, Any], trial: Any) -> tuple[float, list[Model]]:
        """Fit one model for each part; return the mean score, and the models."""
        scores, models = [], []
        for number, part in enumerate(self._parts):
            watch = _Watch(self._key, trial if number == 0 else None, self._stop)
            estimator = clone(self._model)
            own = estimator.get_params(deep=False)
            settings = {**self.base, **_with_most_epochs(own, params)}
            given = self._model.get_params(deep=False)["callbacks"]  # not clone's deep copies
            estimator.set_params(**settings, callbacks=[*given, watch])
            if "refit" in own:
                estimator.set_params(refit=False)
            fitted = estimator.fit(part.train, validation=part.held_out)
            if self._stop.is_set() and trial is not None:
                raise self._optuna.TrialPruned
            if watch.pruned:
                raise self._optuna.TrialPruned
            record = fitted.history_[fitted.n_epochs_ - 1]
            scores.append(record[self._key])
            models.append(fitted.model_)
        return float(np.mean(scores)), models

    def result(self, study: Any, interrupted: bool) -> Tuning:
        """Return what the study has found."""
        best = study.best_trial
        as_given = _as_given(study)
        states = self._optuna.trial.TrialState
        trials = [
            {
                "number": trial.number,
                "score": trial.value if trial.state == states.COMPLETE else float("nan"),
                "state": "diverged" if "diverged" in trial.user_attrs else trial.state.name.lower(),
                "params": {} if trial.user_attrs.get("as_given") else dict(trial.params),
                "n_epochs": trial.user_attrs.get("n_epochs"),
                "seconds": trial.user_attrs.get("seconds"),
            }
            for trial in study.get_trials(deepcopy=False)
            if trial.state in (states.COMPLETE, states.PRUNED)
        ]
        return Tuning(
            best_params={} if best.user_attrs.get("as_given") else dict(best.params),
            best_score=best.value,
            default_score=as_given.value,
            trials=trials,
            study=study,
            interrupted=interrupted,
            _model=clone(self._model),
            _score_name=self.score_name,
        )


class _Watch(Callback):
    """Reports a trial's validation loss at the stages of its schedule, and ends it."""

    def __init__(self, key: str, trial: Any, stop: threading.Event) -> None:
        self._key = key
        self._trial = trial
        self._stop = stop
        self._first = 0.0
        self._best = float("inf")
        self._stages = list(enumerate(_STAGES))
        self.pruned = False

    def on_epoch_end(self, record: EpochRecord) -> bool:
        """Report, where a stage is reached."""
        if self._stop.is_set():
            return True
        values: dict[str, Any] = dict(record)
        self._best = min(self._best, values[self._key])
        self._first = self._first or record["learning_rate"]
        passed = 1 - record["learning_rate"] / self._first if self._first else 0.0
        if self._trial is None or not self._stages or passed < self._stages[0][1]:
            return False
        while self._stages and passed >= self._stages[0][1]:
            step, _ = self._stages.pop(0)
        self._trial.report(self._best, step)
        self.pruned = self._trial.should_prune()
        return self.pruned


class _Shown:
    """The progress of a search on standard error: a bar, or a line for each trial."""

    def __init__(self, verbose: int, n_trials: int, score_name: str) -> None:
        self._on = verbose > 0 and sys.stderr is not None
        self._n_trials = n_trials
        self._score_name = score_name
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._on and can_show_bar():
            self._progress = started_bar("trial")
            self._task = self._progress.add_task("", total=self._n_trials)
        return self

    def advance(self, trial: Any, study: Any) -> None:
        """Show a trial that has ended."""
        if not self._on:
            return
        with self._lock:
            best = f"best validation {self._score_name} {study.best_value:.4f}"
            if self._progress is not None and self._task is not None:
                self._progress.update(self._task, advance=1, description=best)
                return
            score = f"{trial.value:.4f}" if trial.state.name == "COMPLETE" else "pruned"
            sys.stderr.write(f"trial {trial.number + 1}/{self._n_trials}: {score}, {best}\n")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


@contextmanager
def _without_log() -> Iterator[None]:
    """Optuna logs each trial by itself; here the bar shows them."""
    logging = _import_optuna().logging
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(level)


_QUIET = SharedChange(_without_log)


def _parts(data: Ratings, cv: int | None, validation: Any, seed: int) -> list[_Part]:
    if cv is not None:
        folds = folds_of(check_count("cv", cv, 2), data, "random", seed)
        return [_Part(data.take(train), data.take(test)) for train, test in folds]
    if validation is None or is_number(validation):
        share = 0.1 if validation is None else validation
        return [_Part(*train_test_split(data, share, random_state=seed))]
    return [_Part(data, validation)]


def _as_given(study: Any) -> Any:
    return next(trial for trial in study.trials if trial.user_attrs.get("as_given"))


def _distribution(make: Any, name: str, given: Any) -> Any:
    """Make an Optuna distribution of what a space has of a parameter."""
    if isinstance(given, make.BaseDistribution):
        return given
    if isinstance(given, tuple) and len(given) == 2 and all(map(is_number, given)):
        low, high = given
        if not low < high:
            raise ValueError(f"space has {name}: {given!r}; the first must be below the second")
        if isinstance(low, int) and isinstance(high, int) and PARAMETERS[name].kind == "int":
            return make.IntDistribution(low, high, log=low > 0 and high > 8 * low)
        return make.FloatDistribution(float(low), float(high), log=low > 0)
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given):
        return make.CategoricalDistribution(list(given))
    raise ValueError(
        f"space has {name}: {given!r:.80}; it must be a pair of numbers (low, high), a list of values, "
        "or an Optuna distribution"
    )


def _suggested(trial: Any, name: str, distribution: Any) -> Any:
    """Let Optuna choose a value."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return trial.suggest_categorical(name, choices)
    suggest = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
    how = {"log": distribution.log}
    if not distribution.log and distribution.step is not None:
        how["step"] = distribution.step
    return suggest(name, distribution.low, distribution.high, **how)


def _inside(distribution: Any, value: Any) -> Any:
    """Return the point of a distribution that is nearest to a value; None where there is none."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return value if value in choices else None
    if not is_number(value):
        return None
    nearest = min(max(value, distribution.low), distribution.high)
    return int(nearest) if isinstance(distribution.low, int) else float(nearest)


def _with_most_epochs(own: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's parameters, with a bound of epochs where early stopping finds their number."""
    open_number = "n_epochs" in own and own["n_epochs"] is None and own["early_stopping"]
    return {"n_epochs": _MOST_EPOCHS, **params} if params and open_number else dict(params)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _shell_value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(_shell_value(each) for each in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
