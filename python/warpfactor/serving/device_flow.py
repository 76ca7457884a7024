"""Copies between the host and a CUDA device that go on while the device works: pinned buffers and streams of CuPy's.

`xp` is CuPy, or in a twin build NumPy, throughout; there copies are done at once, or not at all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Flow", "Results", "tiles", "upload"]

# What is copied through a pinned buffer at a time. Not measured.
_STAGED_BYTES = 1 << 24
# The most that results take of pinned memory, for which others have to make room.
_PINNED_BYTES = 1 << 27


def tiles(n: int, n_rows: int) -> Iterator[slice]:
    """Split the range 0 .. n into slices of n_rows, the last perhaps shorter."""
    return (slice(at, min(at + n_rows, n)) for at in range(0, n, n_rows))


def upload(xp: Any, array: NDArray[Any]) -> Any:
    """Copy an array of the host to the current device, in the order of the current stream.

    Large ones go through two pinned buffers, of which one is filled while the other is copied: from pageable
    memory 398 MB took 170 ms on an H200, from pinned memory 7 ms, and one thread fills it in 39 ms. The array may be
    changed after the return.
    """
    if xp is np:
        return np.asarray(array)
    array = np.ascontiguousarray(array)
    out = xp.empty(array.shape, array.dtype)
    stream = xp.cuda.get_current_stream()
    if array.nbytes == 0:
        return out
    if array.nbytes <= _STAGED_BYTES:
        out.data.copy_from_host_async(array.ctypes.data, array.nbytes, stream)
        stream.synchronize()  # it may be pinned memory, from which the copy goes on after the call
        return out
    given = array.reshape(-1).view(np.uint8)
    staged = [_pinned(xp, (_STAGED_BYTES,), np.dtype(np.uint8)) for _ in range(2)]
    copied: list[Any] = [None, None]
    try:
        for number, start in enumerate(range(0, array.nbytes, _STAGED_BYTES)):
            slot = number % 2
            if copied[slot] is not None:
                copied[slot].synchronize()
            part = given[start : start + _STAGED_BYTES]
            staged[slot][: len(part)] = part
            (out.data + start).copy_from_host_async(staged[slot].ctypes.data, len(part), stream)
            copied[slot] = stream.record()
    finally:
        stream.synchronize()  # before the buffers go
    return out


def _pinned(xp: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return an array in pinned memory of the host, which CuPy keeps for others once it is let go of."""
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    memory = xp.cuda.alloc_pinned_memory(count * dtype.itemsize)
    return np.frombuffer(memory, dtype, count).reshape(shape)


class Flow:
    """Parts of some work, one after the other: the next part's input is copied while the device is at one.

    Parts take turns at two slots. The work itself goes to the current stream.

    Parameters
    ----------
    xp : module
        CuPy, or in a twin build NumPy.
    """

    def __init__(self, xp: Any) -> None:
        self._xp = xp
        self._slots: list[dict[str, Any]] = [{}, {}]
        self._used: list[Any] = [None, None]
        self._up: Any = None

    def send(self, number: int, name: str, values: NDArray[Any], most: int) -> Any:
        """Copy the input of a part to the device.

        Parameters
        ----------
        number : int
            Of the part, from 0.
        name : str
            Of the buffer; a part may have several.
        values : ndarray of shape (n, ...)
            The input, in any layout; it may be changed after the return.
        most : int
            The largest n of all parts.

        Returns
        -------
        array of the same shape and type, C-contiguous, of the device
        """
        xp, slot = self._xp, number % 2
        if xp is np:
            return np.ascontiguousarray(values)
        shape = most, *values.shape[1:]
        compute = xp.cuda.get_current_stream()
        if self._up is None:
            self._up = xp.cuda.Stream(non_blocking=True)
        if name not in self._slots[slot]:
            buffers = xp.empty(shape, values.dtype), _pinned(xp, shape, values.dtype)
            self._slots[slot][name] = buffers
            # Earlier work may still be at the memory that has just been taken.
            self._up.wait_event(compute.record())
        if self._used[slot] is not None:  # the part before the last reads what is overwritten now
            self._used[slot].synchronize()
            self._used[slot] = None
        there, here = self._slots[slot][name]
        staged = here[: len(values)]
        staged[...] = values
        if staged.nbytes:
            there.data.copy_from_host_async(staged.ctypes.data, staged.nbytes, self._up)
        compute.wait_event(self._up.record())
        return there[: len(values)]

    def sent(self, number: int) -> None:
        """Say that all work of a part has been handed to the device."""
        if self._xp is not np:
            self._used[number % 2] = self._xp.cuda.get_current_stream().record()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until the buffers can go, as others may get them next."""
        for used in self._used:
            if used is not None:
                used.synchronize()
        if self._up is not None:
            self._up.synchronize()


class Results:
    """Results of parts of some work, brought to the host while the device is at the next part.

    Parameters
    ----------
    xp : module
        CuPy, or in a twin build NumPy.
    whole : tuple of array of shape (n, ...)
        Where all results end: arrays of NumPy. Arrays of the device are written by the work itself.
    most : int
        The largest part, as `rows_at_once` bounds it.
    """

    @staticmethod
    def rows_at_once(xp: Any, row_bytes: int, output: str) -> int:
        """Return the most rows of results that may be brought to the host at a time."""
        if xp is np or output != "numpy":
            return sys.maxsize
        return max(_PINNED_BYTES // (2 * max(row_bytes, 1)), 1)

    def __init__(self, xp: Any, whole: tuple[Any, ...], most: int) -> None:
        self._xp, self._whole = xp, whole
        self._staged = xp is not np and all(isinstance(out, np.ndarray) for out in whole)
        self._pending: tuple[slice, list[NDArray[Any]], Any] | None = None
        self._slots: list[list[tuple[Any, NDArray[Any]]]] = [[], []]
        if self._staged:
            self._down = xp.cuda.Stream(non_blocking=True)
            for slot in self._slots:
                for out in whole:
                    shape = most, *out.shape[1:]
                    slot.append((xp.empty(shape, out.dtype), _pinned(xp, shape, out.dtype)))

    def targets(self, number: int, part: slice) -> list[Any]:
        """Return where the device is to write the results of a part."""
        if not self._staged:
            return [out[part] for out in self._whole]
        return [there[: part.stop - part.start] for there, _ in self._slots[number % 2]]

    def put(self, number: int, part: slice) -> None:
        """Say that the work of a part has been handed to the device; bring what the part before left."""
        if not self._staged:
            return
        self._down.wait_event(self._xp.cuda.get_current_stream().record())
        n, hosts = part.stop - part.start, []
        for there, here in self._slots[number % 2]:
            staged = here[:n]
            if staged.nbytes:
                there.data.copy_to_host_async(staged.ctypes.data, staged.nbytes, self._down)
            hosts.append(staged)
        before, self._pending = self._pending, (part, hosts, self._down.record())
        self._bring(before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Bring the last part; after an error only wait until the buffers can go, as others may get them next."""
        pending, self._pending = self._pending, None
        if kind is None:
            self._bring(pending)
        elif self._staged:
            self._down.synchronize()

    def _bring(self, pending: tuple[slice, list[NDArray[Any]], Any] | None) -> None:
        if pending is None:
            return
        part, hosts, copied = pending
        copied.synchronize()
        for out, staged in zip(self._whole, hosts, strict=True):
            out[part] = staged
