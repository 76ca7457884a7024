"""A crew of Ray actors. Nothing else here knows of Ray, but for what reads its data sets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .crew import WorkerLostError
from .worker import BlockWorker

__all__ = ["RayCrew", "import_ray"]


def import_ray() -> Any:
    """Return the module; start Ray on this machine if no cluster is connected.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            'training on a cluster needs Ray, which is not installed: pip install "warpfactor[ray]"'
        ) from error
    if not ray.is_initialized():
        ray.init()
    return ray


class RayCrew:
    """Workers that are Ray actors, and Ray's object store.

    Parameters
    ----------
    n_workers : int
        How many actors.
    n_threads : int
        Of each; 0 for all of its machine.
    resources : mapping
        What each actor takes, as arguments of an actor's ``options``.
    """

    def __init__(self, n_workers: int, n_threads: int, resources: Mapping[str, Any]) -> None:
        self._ray = import_ray()
        self.n_workers = n_workers
        self._n_threads = n_threads
        # An actor that Ray itself started again would have lost its blocks.
        self._class = self._ray.remote(BlockWorker).options(
            max_restarts=0, max_task_retries=0, **resources
        )
        self.actors = [self._actor() for _ in range(n_workers)]
        self._tasks: list[Any] = []  # references to what is not known to have ended

    def put(self, value: Any) -> Any:
        return self._ray.put(value)

    def get(self, references: Sequence[Any]) -> list[Any]:
        try:
            values: list[Any] = self._ray.get(list(references))
        except self._ray.exceptions.RayError as error:
            raise self._cause_of(error) from None
        return values

    def call(self, worker: int, method: str, *arguments: Any, n_returns: int = 1) -> Any:
        of_actor = getattr(self.actors[worker], method)
        return of_actor.options(num_returns=n_returns).remote(*arguments)

    def task(self, function: Callable[..., Any], *arguments: Any, n_returns: int = 1) -> Any:
        # The actors may have all CPUs, and do nothing while tasks run: so those ask for none, and are
        # only as many at a time as there are CPUs.
        while len(self._tasks) >= max(1, int(self._ray.cluster_resources().get("CPU", 1))):
            _, self._tasks = self._ray.wait(self._tasks, num_returns=1)
        task = self._ray.remote(function).options(
            num_cpus=0, num_returns=n_returns, scheduling_strategy="SPREAD"
        )
        references = task.remote(*arguments)
        self._tasks.append(references if n_returns == 1 else references[0])
        return references

    def replace_lost(self) -> list[int]:
        lost = [at for at, actor in enumerate(self.actors) if not self._lives(actor)]
        for at in lost:
            self.actors[at] = self._actor()
        return lost

    def close(self) -> None:
        for actor in self.actors:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
        self.actors = []

    def _actor(self) -> Any:
        # Ray copies what a call returns into its store before it makes the next call.
        return self._class.remote(self._n_threads, sends_copies=True)

    def _lives(self, actor: Any) -> bool:
        try:
            self._ray.get(actor.is_there.remote())
        except self._ray.exceptions.RayError:
            return False
        return True

    def _cause_of(self, error: BaseException) -> BaseException:
        """Return what a worker raised, or WorkerLostError where it has ended."""
        of_ray = self._ray.exceptions
        lost = (
            of_ray.RayActorError,
            of_ray.ObjectLostError,
            of_ray.WorkerCrashedError,
            of_ray.NodeDiedError,
            of_ray.LocalRayletDiedError,
        )
        cause: BaseException | None = error
        while isinstance(cause, of_ray.RayTaskError):
            inner = cause.cause
            if inner is None or inner is cause:
                break
            cause = inner
        assert cause is not None
        return WorkerLostError(str(cause)) if isinstance(cause, lost) else cause
