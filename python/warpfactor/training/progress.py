"""The bar that shows a fit while it runs."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..model.model import Model
from ..model.record import EpochRecord
from ..model.summary import epoch_errors, summary

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["EpochBar"]


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
        self.enabled = enabled and sys.stderr is not None and sys.stderr.isatty() and _is_main()
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
            self._progress.update(
                self._task, advance=1, description=epoch_errors(record, self._loss)
            )

    def finish(self, model: Model) -> None:
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


def _is_main() -> bool:
    """Whether this is no worker process; the module is imported for terminals alone."""
    import multiprocessing

    return multiprocessing.parent_process() is None
