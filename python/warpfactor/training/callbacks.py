"""What watches a fit while it runs: a log, a file, a limit, and how they are called."""

from __future__ import annotations

import contextlib
import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ..checks import as_float, check_count, is_number
from ..model.model import Model
from ..model.record import EpochRecord
from ..model.summary import epoch_errors, kept_errors
from ..writing import check_target, whole_path
from .progress import EpochBar, check_verbose

__all__ = [
    "CSVLog",
    "Callback",
    "CallbackLife",
    "Fit",
    "Log",
    "Plot",
    "Progress",
    "SaveModel",
    "TimeLimit",
    "check_callbacks",
]

_Path = str | PathLike[str]


class Fit:
    """What a callback is told of the fit that begins.

    Attributes
    ----------
    n_epochs : int
        The most epochs that will run.
    n_ratings : int
        The ratings that are trained on.
    loss : str
        The loss; "custom" for a formula.
    validating : bool
        Whether there are validation ratings.
    history : tuple of dict
        The records of the epochs that were run before, where a fit goes on from a checkpoint.
    """

    def __init__(
        self,
        n_epochs: int,
        n_ratings: int,
        loss: str,
        *,
        validating: bool,
        history: Sequence[EpochRecord] = (),
    ) -> None:
        self.n_epochs = n_epochs
        self.n_ratings = n_ratings
        self.loss = loss
        self.validating = validating
        self.history = tuple(history)
        self._made: Callable[[], Model] | None = None

    @property
    def has_model(self) -> bool:
        """Whether `model` can be called now."""
        return self._made is not None

    def model(self) -> Model:
        """Return a copy of the model as the present epoch left it, in `on_epoch_end` only.

        Raises
        ------
        RuntimeError
            If no epoch has just ended, or the fit is one of which there is no model before its end
            (`BayesianMatrixFactorization`).
        """
        if self._made is None:
            raise RuntimeError(
                "there is no model at this time: call model() in on_epoch_end, of a fit of "
                "MatrixFactorization"
            )
        return self._made()

    def offer(self, made: Callable[[], Model] | None) -> None:
        """Set how `model` makes the model; None: there is none."""
        self._made = made


class Callback:
    """Something that watches a fit; what a subclass does not define does nothing.

    A fit calls `on_train_begin` once, `on_epoch_end` after each epoch, and `on_train_end` once,
    also if it fails or is interrupted after `on_train_begin` has returned; of several callbacks the
    last one is told of the end first. An exception in any of
    them ends the fit, and leaves what an earlier fit has left. One object may watch several fits,
    one after the other; those that keep a file write it anew for each.

    `callbacks` of the estimators also takes plain callables, which stand for `on_epoch_end`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> class Counter(wf.callbacks.Callback):
    ...     def on_train_begin(self, fit):
    ...         self.n_epochs = 0
    ...     def on_epoch_end(self, record):
    ...         self.n_epochs += 1
    >>> counter = Counter()
    >>> ratings = wf.datasets.make_ratings(200, 100, 5_000, random_state=0).ratings
    >>> model = wf.MatrixFactorization(n_factors=4, n_epochs=3, callbacks=[counter]).fit(ratings)
    >>> counter.n_epochs
    3
    """

    def on_train_begin(self, fit: Fit) -> None:
        """Be told of the fit, before its first epoch."""

    def on_epoch_end(self, record: EpochRecord) -> object:
        """Be told of an epoch by its entry of `history_`; a true return value ends the training."""
        return None

    def on_train_end(self, model: Model | None) -> None:
        """Be told of the fitted model; None if the fit failed."""


class CallbackLife:
    """Calls callbacks, each by what it has of the three.

    Parameters
    ----------
    callbacks : sequence of Callback or callable
        Whom to call.
    fit : Fit
        What they are told.
    """

    def __init__(self, callbacks: Sequence[Any], fit: Fit) -> None:
        self._fit = fit
        self._callbacks = callbacks
        self._begun = contextlib.ExitStack()
        self._model: Model | None = None

    @property
    def takes_models(self) -> bool:
        """Whether one of them may ask for the model of an epoch."""
        return any(hasattr(each, "on_train_begin") for each in self._callbacks)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as begun:
            begun.callback(self._fit.offer, None)
            for each in self._callbacks:
                if hasattr(each, "on_train_begin"):
                    each.on_train_begin(self._fit)
                if hasattr(each, "on_train_end"):
                    begun.callback(self._tell_end, each)
            self._begun = begun.pop_all()
        return self

    def epoch_end(self, record: EpochRecord) -> bool:
        """Tell them of an epoch; return whether one wants the training to end."""
        wishes = [
            bool((each.on_epoch_end if hasattr(each, "on_epoch_end") else each)(record.copy()))
            for each in self._callbacks
        ]
        return any(wishes)

    def finish(self, model: Model) -> None:
        """Take the model, of which they are told at the end."""
        self._model = model

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._model = None
        self._begun.close()  # all are told, whatever one of them raises

    def _tell_end(self, callback: Any) -> None:
        callback.on_train_end(self._model)


def check_callbacks(callbacks: Any) -> None:
    """Raise ValueError unless callbacks are a list or tuple of callbacks and callables."""
    if not isinstance(callbacks, (list, tuple)):
        raise ValueError(
            f"callbacks is {callbacks!r:.80}; it must be a list of callables or callbacks"
        )
    for callback in callbacks:
        is_class = isinstance(callback, type) and hasattr(callback, "on_epoch_end")
        if is_class or not (callable(callback) or hasattr(callback, "on_epoch_end")):
            name = getattr(callback, "__name__", "")
            fix = f"an object, such as {name}()" if is_class else "callable, or have on_epoch_end"
            raise ValueError(f"callbacks holds {callback!r:.80}; each must be {fix}")


class Progress(Callback):
    """Shows the epochs as `verbose` of the estimators does: for fits that run with ``verbose=0``.

    On standard error: a bar in terminals and notebooks, lines elsewhere.

    Parameters
    ----------
    verbose : int, default 1
        As of `MatrixFactorization`: 2 says more.
    """

    def __init__(self, verbose: int = 1) -> None:
        self.verbose = check_verbose(verbose)
        self._bar: EpochBar | None = None

    def on_train_begin(self, fit: Fit) -> None:
        """Begin to show."""
        n_done = len(fit.history)
        self._bar = EpochBar(
            fit.n_epochs, fit.loss, verbose=self.verbose, n_done=n_done
        ).__enter__()

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Show an epoch."""
        if self._bar is not None:
            self._bar.advance(record)

    def on_train_end(self, model: Model | None) -> None:
        """Say what the fit took and reached."""
        if self._bar is not None:
            if model is not None:
                self._bar.finish(model)
            self._bar.__exit__(None, None, None)
            self._bar = None


class CSVLog(Callback):
    """Writes each epoch's entry of `history_` as a line of a csv file, as it ends.

    Where a fit goes on from a checkpoint, the epochs before come first.

    Parameters
    ----------
    path : str or path-like
        The file, which is begun anew with each fit.
    """

    def __init__(self, path: _Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._names: list[str] = []

    def on_train_begin(self, fit: Fit) -> None:
        """Open the file."""
        path = check_target(self.path)
        self._file = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 - closed at the end
        self._names = list(EpochRecord.__annotations__)
        csv.writer(self._file).writerow(self._names)
        for record in fit.history:
            self.on_epoch_end(record)

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Write a line."""
        if self._file is not None:
            values = dict(record)
            csv.writer(self._file).writerow([values[name] for name in self._names])
            self._file.flush()

    def on_train_end(self, model: Model | None) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Plot(Callback):
    """Draws the learning curve into an image file, while the fit runs and at its end.

    It takes matplotlib (``pip install "warpfactor[plot]"``). The file is replaced whole, so a viewer
    never sees half of it.

    Parameters
    ----------
    path : str or path-like
        The image, whose suffix says its format, such as .png or .svg.
    every : float, default 5.0
        Seconds between two drawings.
    """

    def __init__(self, path: _Path, every: float = 5.0) -> None:
        self.path = path
        self.every = _check_seconds("every", every, 0)
        self._records: list[EpochRecord] = []
        self._loss = "squared"
        self._drawn = 0.0

    def on_train_begin(self, fit: Fit) -> None:
        """Check what the image will need."""
        import matplotlib.figure

        del matplotlib
        check_target(self.path)
        self._records, self._loss = list(fit.history), fit.loss
        self._drawn = time.perf_counter()

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Draw if it is time."""
        self._records.append(record)
        if time.perf_counter() - self._drawn >= self.every:
            self._draw()

    def on_train_end(self, model: Model | None) -> None:
        """Draw all epochs."""
        if self._records:
            self._draw()

    def _draw(self) -> None:
        from matplotlib.figure import Figure  # without pyplot: no window, no state

        name = "rmse" if self._loss == "squared" else "loss"
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        epochs = [record["epoch"] for record in self._records]
        for part, label in (("train", "training"), ("valid", "validation")):
            values: list[Any] = [dict(record)[f"{part}_{name}"] for record in self._records]
            if not all(map(math.isnan, values)):
                axes.plot(epochs, values, label=label)
        axes.set_xlabel("epoch")
        axes.set_ylabel("RMSE" if name == "rmse" else f"{self._loss} loss")
        axes.legend()
        suffix = Path(self.path).suffix.removeprefix(".") or "png"
        with whole_path(self.path) as filled:
            figure.savefig(filled, format=suffix)
        self._drawn = time.perf_counter()


class TimeLimit(Callback):
    """Ends the training before it takes longer than a limit.

    It ends after the epoch with which the limit would be passed if the next took as long as the mean
    of those before. The learning rate is then still high where it falls with the epochs: for a fit
    that always has so much time, fewer `n_epochs` do better.

    Parameters
    ----------
    seconds : float
        The limit, counted from the first epoch on.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = _check_seconds("seconds", seconds, 0)
        self._taken, self._n = 0.0, 0

    def on_train_begin(self, fit: Fit) -> None:
        """Begin to count."""
        self._taken, self._n = 0.0, 0

    def on_epoch_end(self, record: EpochRecord) -> bool:
        """Say whether there is no time for another epoch."""
        self._taken += record["seconds"]
        self._n += 1
        return self._taken * (1 + 1 / self._n) > self.seconds


class SaveModel(Callback):
    """Saves the best model so far to a file while the fit runs, and the fitted model at its end.

    It is for those who want the model while it is still trained. To go on with a fit that was cut off
    takes more than a model: see `checkpoint` of `MatrixFactorization.fit`. The file is replaced whole,
    as by `Model.save`: it always holds a model that `warpfactor.load` reads. The best is the one with the lowest validation loss; without validation ratings, the last.
    A `BayesianMatrixFactorization` has no model before its end. Members of an `Ensemble` would all
    write the same file.

    Parameters
    ----------
    path : str or path-like
        The file, such as "model.safetensors".
    every : float, default 60.0
        The least seconds between two writes; 0 writes after each epoch that is the best so far.
    """

    def __init__(self, path: _Path, every: float = 60.0) -> None:
        self.path = path
        self.every = _check_seconds("every", every, 0)
        self._fit: Fit | None = None
        self._best = float("inf")
        self._written = 0.0

    def on_train_begin(self, fit: Fit) -> None:
        """Check that the file can be written."""
        check_target(self.path)
        losses = (record["valid_loss"] for record in fit.history if fit.validating)
        self._fit, self._best = fit, min(losses, default=float("inf"))
        self._written = time.perf_counter()

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Save the model if it is the best, and it is time."""
        if self._fit is None or not self._fit.has_model:
            return
        loss = record["valid_loss"] if self._fit.validating else -float(record["epoch"])
        better, self._best = loss < self._best, min(loss, self._best)
        if not better or time.perf_counter() - self._written < self.every:
            return
        self._fit.model().save(self.path)
        self._written = time.perf_counter()

    def on_train_end(self, model: Model | None) -> None:
        """Save the fitted model."""
        self._fit = None
        if model is not None:
            model.save(self.path)


class Log(Callback):
    """Tells of each epoch by Python's `logging`.

    Parameters
    ----------
    logger : logging.Logger or str, default "warpfactor"
        The logger, or its name.
    level : int, default logging.INFO
        The level of the messages.
    """

    def __init__(
        self, logger: logging.Logger | str = "warpfactor", level: int = logging.INFO
    ) -> None:
        self.logger = logger
        self.level = check_count("level", level, 0)
        self._fit: Fit | None = None

    def on_train_begin(self, fit: Fit) -> None:
        """Tell what is trained on."""
        self._fit = fit
        self._log("training on %d ratings, at most %d epochs", fit.n_ratings, fit.n_epochs)
        if fit.history:
            self._log("going on after epoch %d", len(fit.history))

    def on_epoch_end(self, record: EpochRecord) -> None:
        """Tell the errors."""
        loss = "squared" if self._fit is None else self._fit.loss
        self._log("epoch %d: %s", record["epoch"], epoch_errors(record, loss))

    def on_train_end(self, model: Model | None) -> None:
        """Tell how it ended."""
        if model is None:
            self._log("training failed")
        else:
            self._log("trained%s", kept_errors(model))

    def _log(self, text: str, *values: object) -> None:
        logger = logging.getLogger(self.logger) if isinstance(self.logger, str) else self.logger
        logger.log(self.level, text, *values)


def _check_seconds(name: str, value: Any, low: float) -> float:
    if not is_number(value) or not low <= as_float(name, value) < float("inf"):
        raise ValueError(
            f"{name} is {value!r:.80}; it must be a number of seconds of at least {low}"
        )
    return float(value)
