"""What a fit reports while it runs: its epochs, and the bar that shows them."""

from __future__ import annotations

import math
import multiprocessing
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from .estimator import MatrixFactorization


class EpochRecord(TypedDict):
    """One epoch as it ended: an entry of `MatrixFactorization.history_`."""

    epoch: int
    seconds: float
    learning_rate: float
    train_rmse: float
    train_loss: float
    valid_rmse: float
    valid_loss: float


class EpochBar:
    """A bar on standard error over the epochs of one fit, and a closing line.

    Parameters
    ----------
    n_epochs : int
        The most epochs that will run.
    loss : str
        The loss that is trained; RMSEs are shown of "squared", losses of others.
    enabled : bool
        Whether to show anything. Nothing is shown either where standard error is no terminal, or in
        a worker process, whose bars would overwrite each other.
    """

    def __init__(self, n_epochs: int, loss: str, *, enabled: bool) -> None:
        self.enabled = (
            enabled
            and sys.stderr is not None
            and sys.stderr.isatty()
            and multiprocessing.parent_process() is None
        )
        self._n_epochs = n_epochs
        self._loss = loss
        self._start = time.perf_counter()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self.enabled:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            self._progress = Progress(
                TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
            self._task = self._progress.add_task("", total=self._n_epochs)
        return self

    def advance(self, record: EpochRecord) -> None:
        """Show an epoch that has ended."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=_errors(record, self._loss))

    def finish(self, model: MatrixFactorization) -> None:
        """Print what the fit took and reached."""
        if self._progress is not None:
            seconds = time.perf_counter() - self._start
            self._progress.console.print(summary(model, seconds), highlight=False, soft_wrap=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def summary(model: MatrixFactorization, seconds: float) -> str:
    """Say in one line what a fit took, with what, and the errors of the epoch that was kept."""
    threads = counted(model.n_threads_, "thread")
    took = f"{counted(len(model.history_), 'epoch')} in {seconds:.2f} s"
    return f"{took} with {threads} ({model.instruction_set_}){errors_of(model)}"


def errors_of(model: MatrixFactorization) -> str:
    """Return the errors of the epoch that was kept, and which it is if not the last."""
    if not model.n_epochs_:
        return ""
    which = f" (epoch {model.n_epochs_} kept)" if model.n_epochs_ < len(model.history_) else ""
    return f": {_errors(model.history_[model.n_epochs_ - 1], model._trained_loss)}{which}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 thread" or "1,024 items"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _errors(record: EpochRecord, loss: str) -> str:
    name, train, valid = "RMSE", record["train_rmse"], record["valid_rmse"]
    if loss != "squared":
        name, train, valid = f"{loss} loss", record["train_loss"], record["valid_loss"]
    text = f"train {name} {train:.4f}"
    if not math.isnan(valid):
        text += f", validation {name} {valid:.4f}"
    return text
