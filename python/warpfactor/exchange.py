"""Arrays that lie on a CUDA device, in and out: CuPy, DLPack and ``__cuda_array_interface__``.

CuPy is imported when it is first needed. In a *twin* build of the core, which is for tests, the
kernels run on the host; there NumPy stands in CuPy's place and all of this works on host memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from .exceptions import CudaError

__all__ = [
    "INSTALL_CUPY",
    "address",
    "array_module",
    "as_device_array",
    "cupy_status",
    "is_device_array",
    "to_host",
]

# [gpu] brings the device's code as well, which a build with CUDA has.
INSTALL_CUPY = f'pip install "warpfactor[{"cupy" if _core.cuda_source == "built in" else "gpu"}]"'
# DLPack's kDLCUDA and kDLCUDAManaged.
_DLPACK_CUDA = (2, 13)


def cupy_status() -> tuple[str, str]:
    """Return CuPy's version and why it cannot be imported; one of them is empty."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name == "cupy":
            return "", f"CuPy is not installed: {INSTALL_CUPY}"
        return "", f"CuPy lacks the module {error.name}: {INSTALL_CUPY}"
    except ImportError as error:
        # CuPy wraps the reason into a page of advice.
        return "", f"CuPy cannot be imported ({error.__cause__ or error}): {INSTALL_CUPY}"
    return str(cupy.__version__), ""


def array_module() -> Any:
    """Return CuPy, or in a twin build NumPy; raise CudaError where CuPy is missing."""
    if _core.cuda_is_twin():
        return np
    _, problem = cupy_status()
    if problem:
        raise CudaError(f"arrays on a CUDA device are read by CuPy. {problem}")
    import cupy

    return cupy


def is_device_array(values: Any) -> bool:
    """Whether values lie on a CUDA device: CuPy's, or by ``__cuda_array_interface__`` or DLPack."""
    if isinstance(values, np.ndarray):
        return False
    return hasattr(values, "__cuda_array_interface__") or _is_cuda_dlpack(values)


def _is_cuda_dlpack(values: Any) -> bool:
    if not hasattr(values, "__dlpack_device__"):
        return False
    try:
        return values.__dlpack_device__()[0] in _DLPACK_CUDA
    except TypeError:  # pyarrow 24 of an array of strings, which DLPack cannot hold
        return False


def as_device_array(values: Any) -> Any:
    """Return values as an array of the current device, without a copy where they lie on it.

    Strides are kept. The producer's work is waited for: through DLPack, or by the stream that
    ``__cuda_array_interface__`` names.
    """
    xp = array_module()
    if isinstance(values, (xp.ndarray, np.ndarray)):
        return xp.asarray(values)  # copies from another device
    # DLPack first: version 2 of the other interface, which PyTorch speaks, knows no streams.
    if _is_cuda_dlpack(values):
        return xp.asarray(xp.from_dlpack(values))
    if xp is np and hasattr(values, "__cuda_array_interface__"):
        return np.asarray(_HostView(values))
    return xp.asarray(values)


class _HostView:
    """Lets NumPy read a ``__cuda_array_interface__`` that holds an address of the host."""

    def __init__(self, values: Any) -> None:
        self._owner = values
        described = values.__cuda_array_interface__
        keys = ("shape", "typestr", "data", "strides")
        self.__array_interface__ = {key: described.get(key) for key in keys} | {"version": 3}


def to_host(values: Any) -> Any:
    """Return arrays of a CUDA device as NumPy arrays, and anything else as it is."""
    if not is_device_array(values):
        return values
    xp = array_module()
    if xp is np:
        return as_device_array(values)
    return xp.asnumpy(as_device_array(values))


def address(array: Any) -> int:
    """Return where an array's first element lies."""
    return int(array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr)
