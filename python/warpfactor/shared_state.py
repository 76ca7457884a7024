"""Changes of what all threads of a process share, such as the filters of warnings."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["SharedChange", "ignored_warnings"]


class SharedChange:
    """A change that holds while any thread is inside: the first makes it, the last takes it back.

    If each thread saved the state and put it back by itself, one would put back what another had set,
    for good. Make one for the whole process.

    Parameters
    ----------
    make : callable
        Returns the context manager that makes the change.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[Any]]) -> None:
        self._make = make
        self._change: AbstractContextManager[Any] | None = None
        self._n_inside = 0
        self._lock = threading.Lock()
        self._inside = threading.local()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._leave_others)

    def _leave_others(self) -> None:
        """In a child process the other threads are not there, nor who held the lock."""
        self._lock = threading.Lock()
        self._n_inside = getattr(self._inside, "times", 0)
        self._take_back()

    def __enter__(self) -> None:
        with self._lock:
            if self._change is None:
                change = self._make()
                change.__enter__()
                self._change = change
            self._n_inside += 1
            self._inside.times = getattr(self._inside, "times", 0) + 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._n_inside -= 1
            self._inside.times -= 1
            self._take_back()

    def _take_back(self) -> None:
        if self._n_inside == 0 and self._change is not None:
            change, self._change = self._change, None
            change.__exit__(None, None, None)


_FILTERS = SharedChange(warnings.catch_warnings)


@contextmanager
def ignored_warnings(*ignored: tuple[type[Warning], str]) -> Iterator[None]:
    """Ignore warnings in the body, and in what other threads do meanwhile.

    Parameters
    ----------
    *ignored : (category, text)
        The text is a regular expression that the warning begins with; "" is any.
    """
    # From Python 3.14 on, a thread may have filters of its own.
    has_own = getattr(sys.flags, "context_aware_warnings", 0)
    with warnings.catch_warnings() if has_own else _FILTERS:
        for category, text in ignored:
            warnings.filterwarnings("ignore", text, category)
        yield
