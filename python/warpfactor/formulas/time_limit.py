"""An end to Python code that takes too long, in whichever thread it runs."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["TimeIsOver", "ended_after"]


class TimeIsOver(BaseException):
    """The time is over. No Exception, so that code that catches those does not go on."""


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """Raise TimeIsOver in the body if it is not done in time.

    It comes between two steps of Python's interpreter, and so not while compiled code runs. Signals
    would do the same, but only in the main thread.

    Parameters
    ----------
    seconds : float
        How long the body may take.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
    lock = threading.Lock()
    is_done = False

    def end() -> None:
        with lock:
            if not is_done:
                raise_in_thread(thread, ctypes.py_object(TimeIsOver))

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            is_done = True
            raise_in_thread(thread, None)  # what was sent and has not come yet
        timer.cancel()
