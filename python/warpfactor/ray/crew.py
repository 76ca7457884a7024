"""Who does the work of a fit on a cluster: workers, told what to do by their number.

A *reference* stands for a value that may not be there yet. What a crew is given may be a reference,
and what it returns is one; `get` waits for the values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .worker import BlockWorker

__all__ = ["Crew", "LocalCrew", "WorkerLostError"]


class WorkerLostError(Exception):
    """A worker has ended, or something that it had made is gone with its machine."""


class Crew(Protocol):
    """Workers, and the store that they exchange values by."""

    n_workers: int

    def put(self, value: Any) -> Any:
        """Return a reference to a value that all workers can read."""

    def get(self, references: Sequence[Any]) -> list[Any]:
        """Wait for values, which then stay on this machine as long as they are held.

        Raises
        ------
        WorkerLostError
            If one of them will never come.
        """

    def call(self, worker: int, method: str, *arguments: Any, n_returns: int = 1) -> Any:
        """Have a worker do something, after all that it was told before; return references."""

    def task(self, function: Callable[..., Any], *arguments: Any, n_returns: int = 1) -> Any:
        """Have anybody do something that needs no worker's state; return references."""

    def replace_lost(self) -> list[int]:
        """Start new workers in the place of those that have ended; return their numbers."""

    def close(self) -> None:
        """End all workers."""


class LocalCrew:
    """A crew in this process, which does everything at once: for tests, and to look into it.

    Parameters
    ----------
    n_workers : int
        How many workers.
    n_threads : int, default 1
        Of each.
    """

    def __init__(self, n_workers: int, n_threads: int = 1) -> None:
        self.n_workers = n_workers
        self._n_threads = n_threads
        self._workers = [BlockWorker(n_threads) for _ in range(n_workers)]
        self._lost: set[int] = set()

    def lose(self, worker: int) -> None:
        """Let a worker end, with all that it holds."""
        self._lost.add(worker)

    def put(self, value: Any) -> Any:
        return value

    def get(self, references: Sequence[Any]) -> list[Any]:
        return list(references)

    def call(self, worker: int, method: str, *arguments: Any, n_returns: int = 1) -> Any:
        if worker in self._lost:
            raise WorkerLostError(f"worker {worker} has ended")
        return getattr(self._workers[worker], method)(*arguments)

    def task(self, function: Callable[..., Any], *arguments: Any, n_returns: int = 1) -> Any:
        return function(*arguments)

    def replace_lost(self) -> list[int]:
        lost, self._lost = sorted(self._lost), set()
        for worker in lost:
            self._workers[worker] = BlockWorker(self._n_threads)
        return lost

    def close(self) -> None:
        self._workers = []
