"""An end to Python code that takes too long, in whichever thread it runs."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["TimeIsOver", "ended_after"]


# Code that catches whatever comes is told more than once, but not for ever.
_MOST_SENT = 40


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
        How much of a processor's time the body may take, where the system tells a thread's; else how
        long it may take.
    """
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in_thread = ctypes.pythonapi.PyThreadState_SetAsyncExc
    lock = threading.Lock()
    done = threading.Event()

    used = _clock_of_this_thread()
    end = used() + seconds

    def watch() -> None:
        wait, n_sent = seconds, 0
        while not done.wait(wait) and n_sent < _MOST_SENT:
            with lock:
                left = 0.0 if done.is_set() else end - used()
                if left <= 0 and not done.is_set():
                    raise_in_thread(thread, ctypes.py_object(TimeIsOver))
                    n_sent += 1
            wait = max(left, 0.05)  # once more, as there is code that catches whatever comes

    try:
        # In here, since the time may be over before the thread has told that it is started.
        threading.Thread(target=watch, daemon=True).start()
        yield
    finally:
        ended = False
        while not ended:
            try:
                with lock:
                    done.set()
                    raise_in_thread(thread, None)  # what was sent and has not come yet
                    ended = True
            except TimeIsOver:  # it came while this waited
                continue


def _clock_of_this_thread() -> Callable[[], float]:
    if not hasattr(time, "pthread_getcpuclockid"):
        return time.monotonic
    clock = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(clock)
