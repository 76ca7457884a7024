"""Predictions on CUDA devices: CuPy's errors, its memory, and the selection of the best items."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import in_words_of, option, warn, where_typed
from ..exceptions import CudaError
from ..exchange import address, array_module, cupy_status
from .device_flow import upload

__all__ = [
    "DeviceCopies",
    "Memory",
    "best_items",
    "free_cached",
    "prediction_problem",
    "require_prediction",
    "use_device",
]

# Larger tiles do not make a matrix product faster, and CuPy's pool keeps what it once had.
_MAX_TILE_BYTES = 1 << 28
# Below this a tile is small: the launch of the kernels, tens of microseconds for each tile, is what takes the time. So
# many small tiles are worth a word. Issue 14: lists for 480,189 users took 12.2 s within 750 MB, and 0.42 s without a limit.
_SMALL_TILE_BYTES = 1 << 24
_MANY_TILES = 100
# What the twin takes for a device's free memory.
_TWIN_BYTES = 1 << 30


def prediction_problem() -> str:
    """Return why this machine cannot predict on a CUDA device, and what to do; empty if it can."""
    _, usable, reason = _core.cuda_status()
    if not usable:
        return in_words_of(("device",), reason)
    if _core.cuda_is_twin():
        return ""
    _, problem = cupy_status()
    on_cpu = where_typed("set_params(device='cpu')", option("device", "cpu"))
    return f"{problem}, or predict on the CPU: {on_cpu}" if problem else ""


def require_prediction() -> None:
    """Raise CudaError unless this machine can predict on a CUDA device."""
    problem = prediction_problem()
    if problem:
        raise CudaError(problem)


@contextmanager
def use_device(index: int) -> Iterator[Any]:
    """Make a device current, hand out the array module, and turn CuPy's errors into `CudaError`."""
    xp = array_module()
    if xp is np:
        yield xp
        return
    try:
        n_devices = xp.cuda.runtime.getDeviceCount()
        if index >= n_devices:
            raise CudaError(
                f"{option('device')} is 'cuda:{index}', but the devices that are visible here are 0 "
                f"to {n_devices - 1}: use one of those, or {option('device', 'cpu')}"
            )
        with xp.cuda.Device(index):
            yield xp
    except xp.cuda.memory.OutOfMemoryError as error:
        asked = getattr(error, "_size", None)
        wanted = str(error) if asked is None else f"{asked:,} bytes were asked for"
        raise CudaError(
            f"out of memory on CUDA device {index}: {wanted}, {_free_on(xp, index)}: lower "
            f"{option('device_memory')} or {option('n')}, give fewer rows at a time, or use "
            f"{option('device', 'cpu')}"
        ) from error
    except CudaError:
        raise
    except (RuntimeError, ImportError) as error:  # of the driver, or a library that is not there
        raise CudaError(
            f"CUDA device {index}: CuPy {xp.__version__} failed with {type(error).__name__}: "
            f"{error}; to predict on the CPU, use {option('device', 'cpu')}"
        ) from error


def _free_on(xp: Any, index: int) -> str:
    try:
        with xp.cuda.Device(index):
            return f"{free_bytes():,} are free"
    except xp.cuda.runtime.CUDARuntimeError:
        return "how many are free is not known"


def free_bytes() -> int:
    """Return how many bytes of the current device can still be taken."""
    xp = array_module()
    if xp is np:
        return _TWIN_BYTES
    free, _ = xp.cuda.runtime.memGetInfo()
    return int(free) + int(xp.get_default_memory_pool().free_bytes())


def free_cached(index: int) -> None:
    """Give the blocks that CuPy's pool keeps back to the device, for others to take."""
    _, usable, _ = _core.cuda_status()
    if not usable or _core.cuda_is_twin() or "cupy" not in sys.modules:
        return
    # What is wrong with the device is for those who need it to say.
    with suppress(CudaError), use_device(index) as xp:
        xp.get_default_memory_pool().free_all_blocks()


def best_items(scores: Any, n: int) -> tuple[Any, Any]:
    """Select the n best of each row on the device.

    Parameters
    ----------
    scores : array of shape (n_rows, n_columns), float32 or float64, C-contiguous
        -inf and NaN are never selected.
    n : int
        From 1 to `_core.most_selected`.

    Returns
    -------
    columns : array of shape (n_rows, n), int32
        Best first, ties by lower column; -1 beyond those that can be selected.
    best : array of shape (n_rows, n), dtype of the scores
        Their scores; NaN beyond.
    """
    xp = array_module()
    n_rows, n_columns = scores.shape
    columns = xp.empty((n_rows, n), np.int32)
    best = xp.empty((n_rows, n), scores.dtype)
    stream = 0 if xp is np else xp.cuda.get_current_stream().ptr
    _core.best_items(
        address(scores),
        n_rows,
        n_columns,
        n_columns,
        n,
        address(columns),
        address(best),
        scores.dtype == np.float64,
        stream,
    )
    return columns, best


class Memory(NamedTuple):
    """What a piece of work takes of the device's memory, in bytes.

    Parameters
    ----------
    what : str
        What the error message calls the work.
    fixed : int
        Needed whatever the tiles' size.
    per_row : int
        Needed for each row of a tile.
    n_rows : int
        How many rows there are in all.
    limit : int or None
        The user's `device_memory`.
    """

    what: str
    fixed: int
    per_row: int
    n_rows: int
    limit: int | None


class DeviceCopies:
    """Copies of a model's arrays on one device, kept from call to call.

    A copy is made anew when another host array has taken its name, as after a fit.

    Parameters
    ----------
    index : int
        The device's number.
    lender : DeviceCopies or None
        Copies of another model that has some arrays in common, which stay there.
    lent : tuple of str
        Their names.
    """

    def __init__(
        self, index: int, lender: DeviceCopies | None = None, lent: tuple[str, ...] = ()
    ) -> None:
        self.index = index
        self._lender, self._lent = lender, lent
        self._held: dict[str, tuple[NDArray[Any], Any]] = {}
        self._lock = threading.Lock()  # of _held, which the calls of several threads fill

    def take(self, wanted: dict[str, NDArray[Any]], memory: Memory) -> tuple[dict[str, Any], int]:
        """Copy to the current device what is not there yet.

        Returns
        -------
        arrays : dict of str to array
            The copies, under the same names.
        n_rows : int
            How many rows a tile may have beside them, at least 1.

        Raises
        ------
        CudaError
            If there is not enough memory for tiles of one row.
        """
        if self._lender is not None:
            borrowed = {name: array for name, array in wanted.items() if name in self._lent}
            arrays, _ = self._lender.take(borrowed, memory)
            own = {name: array for name, array in wanted.items() if name not in borrowed}
            mine, n_rows = self._take(own, memory)
            return arrays | mine, n_rows
        return self._take(wanted, memory)

    def _take(self, wanted: dict[str, NDArray[Any]], memory: Memory) -> tuple[dict[str, Any], int]:
        with self._lock:
            return self._take_alone(wanted, memory)

    def _take_alone(
        self, wanted: dict[str, NDArray[Any]], memory: Memory
    ) -> tuple[dict[str, Any], int]:
        held = {
            name: pair for name, pair in self._held.items() if wanted.get(name, pair[0]) is pair[0]
        }
        missing = sum(array.nbytes for name, array in wanted.items() if name not in held)
        need = missing + memory.fixed + memory.per_row
        self._held = held
        if need > self._room(memory):
            self._held = {name: pair for name, pair in held.items() if name in wanted}
        room = self._room(memory)
        if need > room:
            raise CudaError(self._shortage(memory, need, room))
        held_before = self._held_bytes()
        xp = array_module()
        for name, array in wanted.items():
            if name not in self._held:
                self._held[name] = array, upload(xp, array)
        if missing and xp is not np:
            # Calls on other streams will use the copies too.
            xp.cuda.get_current_stream().synchronize()
        tile = min(room - missing - memory.fixed, _MAX_TILE_BYTES)
        n_rows = max(tile // memory.per_row, 1)
        if tile < _SMALL_TILE_BYTES and n_rows * _MANY_TILES < memory.n_rows:
            limited = memory.limit is not None and room == memory.limit - held_before
            warn(self._smallness(memory, n_rows, limited))
        return {name: self._held[name][1] for name in wanted}, n_rows

    def _held_bytes(self) -> int:
        own = sum(array.nbytes for array, _ in list(self._held.values()))  # others may fill it
        return own + (0 if self._lender is None else self._lender._held_bytes())

    def _room(self, memory: Memory) -> int:
        free = free_bytes()
        return free if memory.limit is None else min(free, memory.limit - self._held_bytes())

    def _smallness(self, memory: Memory, n_rows: int, limited: bool) -> str:
        tile = min(_MAX_TILE_BYTES, memory.n_rows * memory.per_row)
        if limited:
            enough = self._held_bytes() + memory.fixed + tile
            fix = f"raise {option('device_memory')}, which is {memory.limit:,}, to {enough:,}"
        else:
            fix = f"have {memory.fixed + tile:,} bytes free beside the model"
        return (
            f"{memory.what} is slow on CUDA device {self.index}: there is room for {n_rows:,} of "
            f"{memory.n_rows:,} rows at a time; {fix}"
        )

    def _shortage(self, memory: Memory, need: int, room: int) -> str:
        held = self._held_bytes()
        total = (
            f"{memory.what} needs at least {need + held:,} bytes on CUDA device {self.index}: "
            f"{need + held - memory.per_row:,} for the model and the results, and "
            f"{memory.per_row:,} for a tile of one row"
        )
        if memory.limit is not None and room == memory.limit - held:
            return (
                f"{total}; {option('device_memory')} is {memory.limit:,}: raise it, or use "
                f"{option('device', 'cpu')}"
            )
        return (
            f"out of memory: {total}; {need:,} were asked for and {room:,} are free: free some, or "
            f"use {option('device', 'cpu')}"
        )
