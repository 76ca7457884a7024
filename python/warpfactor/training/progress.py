"""What shows a fit while it runs: a bar, or lines where there is no terminal."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..checks import check_count
from ..model.model import Model
from ..model.record import EpochRecord
from ..model.summary import epoch_errors, summary

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["EpochBar", "ReadingBar", "check_verbose", "started_bar"]

# Seconds before the first line of a log, and the least between two: short fits leave none.
_QUIET = 5.0
# Bytes of a disk that are told of before they are taken.
_WORTH_A_LINE = 1e9
# Between two lines at least this share of the time that has passed: a night has no thousands.
_SHARE = 0.1


def check_verbose(verbose: Any) -> int:
    """Return how much is to be shown: 0 nothing, 1 progress, 2 and more each epoch too."""
    return int(verbose) if isinstance(verbose, bool) else check_count("verbose", verbose, 0)


def started_bar(unit: str) -> Progress:
    """Start a bar on standard error that counts such units, for who adds the task and stops it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn(unit + " {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    return bar


class _Shown:
    """A bar on standard error, or lines where there is no terminal."""

    def __init__(self, verbose: int) -> None:
        self.enabled = verbose > 0 and sys.stderr is not None and _is_main()
        self._bar = self.enabled and (sys.stderr.isatty() or _is_notebook())
        self._each = verbose > 1
        self._start = self._told = time.perf_counter()
        self._n_told = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def _is_due(self, now: float) -> bool:
        """Whether the last line is so long ago that there may be another."""
        return now - self._told >= max(_QUIET, _SHARE * (now - self._start))

    def _tell(self, line: str) -> None:
        self._n_told += 1
        if self._progress is not None:
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
        elif self.enabled:
            with contextlib.suppress(OSError):  # a full disk behind it ends no fit
                sys.stderr.write(f"{line}\n")
                sys.stderr.flush()

    def _stop(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


class EpochBar(_Shown):
    """A bar on standard error over the epochs of one fit, and a closing line.

    The bar is for terminals, and for notebooks with ipywidgets. Elsewhere, as in logs, there are
    lines: of fits that take longer than five seconds, or of each epoch with `verbose` 2. A worker
    process shows nothing, as its lines and those of others would mix.

    Parameters
    ----------
    n_epochs : int
        The most epochs that will run.
    loss : str
        The loss that is trained; RMSEs are shown of "squared", losses of others.
    verbose : int
        As of `MatrixFactorization`.
    n_done : int, default 0
        The epochs that were run before.
    """

    def __init__(self, n_epochs: int, loss: str, *, verbose: int, n_done: int = 0) -> None:
        super().__init__(verbose)
        self._n_epochs = n_epochs
        self._loss = loss
        self._n_done = n_done

    def __enter__(self) -> Self:
        if self._bar:
            self._progress = started_bar("epoch")
            self._task = self._progress.add_task("", total=self._n_epochs, completed=self._n_done)
        return self

    def advance(self, record: EpochRecord) -> None:
        """Show an epoch that has ended."""
        if not self.enabled:
            return
        self._n_done += 1
        errors = epoch_errors(record, self._loss)
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=1, description=errors)
        now = time.perf_counter()
        if self._each or (self._progress is None and self._is_due(now)):
            rate = f", learning rate {record['learning_rate']:.3g}" if self._each else ""
            seconds = (
                f", {record['seconds']:.2f} s" if self._each else f", {now - self._start:.0f} s"
            )
            self._tell(f"epoch {self._n_done}/{self._n_epochs}: {errors}{rate}{seconds}")
            self._told = now

    def finish(self, model: Model) -> None:
        """Print what the fit took and reached."""
        if self._each and model.chosen_:
            chosen = ", ".join(f"{name}={_short(value)}" for name, value in model.chosen_.items())
            self._tell(f"chosen: {chosen}")
        if self._progress is not None or self._n_told:
            self._tell(summary(model, time.perf_counter() - self._start))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()


class ReadingBar(_Shown):
    """Shows how ratings are read onto a disk: a bar on a terminal, and lines where there is none.

    As `EpochBar`, it leaves no lines of what takes less than five seconds.

    Parameters
    ----------
    folder : Path
        Where the disk is.
    rating_bytes : float
        What a rating takes there in the end.
    verbose : int
        As of `MatrixFactorization`.
    """

    def __init__(self, folder: Path, rating_bytes: float, *, verbose: int) -> None:
        super().__init__(check_verbose(verbose))
        self._folder, self._rating_bytes = folder, rating_bytes
        self._n_rows = 0

    def __enter__(self) -> Self:
        return self

    def advance(self, n_rows: int, n_all: int | None) -> None:
        """Show how many ratings have been read, and of how many, if that is known."""
        if not self.enabled:
            return
        now = time.perf_counter()
        rate = n_rows / max(now - self._start, 1e-9) / 1e6
        text = f"{n_rows:,}{f' of {n_all:,}' if n_all else ''} ratings, {rate:.1f} M/s"
        if not self._n_rows:
            self._say_size(n_all)
        self._n_rows = n_rows
        if self._bar:
            if self._progress is None:
                self._progress = started_bar("reading")
                self._task = self._progress.add_task("", total=n_all or n_rows)
            assert self._task is not None
            total = max(n_all or 0, n_rows)
            self._progress.update(self._task, completed=n_rows, total=total, description=text)
        elif self._is_due(now):
            self._told = now
            self._tell(f"reading: {text}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        if kind is None and (self._n_told or self._each):
            seconds = time.perf_counter() - self._start
            self._tell(f"read {self._n_rows:,} ratings in {seconds:.1f} s")

    def _say_size(self, n_all: int | None) -> None:
        """Say what it will take of the disk, where that is worth a line."""
        size = self._rating_bytes * (n_all or 0)
        if n_all and (self._each or size >= _WORTH_A_LINE):
            self._tell(
                f"scratch: {n_all:,} ratings take up to {size / 1e9:.2f} GB in {str(self._folder)!r}"
            )


def _short(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_short(each) for each in value)})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_main() -> bool:
    """Whether this is no worker process."""
    import multiprocessing

    return multiprocessing.parent_process() is None


def _is_notebook() -> bool:
    """Whether rich can show a bar in a notebook, which takes ipywidgets."""
    if "ipykernel" not in sys.modules:
        return False
    import importlib.util

    from rich.console import Console

    return Console(stderr=True).is_jupyter and importlib.util.find_spec("ipywidgets") is not None
