"""Bytes of Python's that Arrow's threads read, and the wait until they have let go of them.

Arrow's readers return while a thread of theirs still holds the input. To let go of it, the thread takes Python's lock;
and before Python 3.14, a thread of C++ that asks for that lock while Python ends aborts the process.
"""

from __future__ import annotations

import io
import time
import weakref
from collections.abc import Callable
from typing import IO, Any

import numpy as np
import pyarrow as pa

__all__ = ["Loans", "read_lent"]

# In seconds. A thread lets go within microseconds, unless others take all processors.
_LONGEST_WAIT = 5.0


class Loans:
    """What Arrow's threads were given of Python's objects.

    The objects that they get are made here, and nobody else holds them: as long as one lives, a thread has it.
    """

    def __init__(self) -> None:
        self._lent: list[weakref.ref[Any]] = []

    def array(self, data: bytes | memoryview) -> np.ndarray:
        """The bytes as an array, which can be referred to weakly."""
        array = np.frombuffer(data, np.uint8)
        self._lent.append(weakref.ref(array))
        return array

    def file(self, file: IO[bytes] | io.RawIOBase) -> _LentFile:
        """The file, and whatever is read from it, as objects of which no other part knows."""
        lent = _LentFile(file, self)
        self._lent.append(weakref.ref(lent))
        return lent

    def await_return(self) -> None:
        """Return when the threads hold nothing any more."""
        end = time.monotonic() + _LONGEST_WAIT
        while any(lent() is not None for lent in self._lent) and time.monotonic() < end:
            time.sleep(0)  # gives them the lock
        self._lent.clear()

    def forget_returned(self) -> None:
        """Keep no note of what has come back."""
        self._lent = [lent for lent in self._lent if lent() is not None]


class _LentFile:
    """What Arrow asks of a file that it reads from beginning to end."""

    def __init__(self, file: IO[bytes] | io.RawIOBase, loans: Loans) -> None:
        self._file = file
        self._loans = loans

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, size: int = -1) -> np.ndarray:
        self._loans.forget_returned()
        return self._loans.array(self._file.read(size))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._file.close()


def read_lent(
    read: Callable[..., Any], given: bytes | memoryview | IO[bytes] | io.RawIOBase, **options: Any
) -> Any:
    """Call one of Arrow's readers of whole tables, and return when its threads hold nothing of `given` any more."""
    loans = Loans()
    try:
        if isinstance(given, bytes | memoryview):
            return read(pa.BufferReader(loans.array(given)), **options)
        return read(loans.file(given), **options)
    finally:
        loans.await_return()
