"""The device's kernels with custom losses and penalties in them, compiled at run time by NVRTC."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ..exceptions import CudaError
from ..exchange import INSTALL_CUPY
from .losses import CustomLoss, CustomPenalty

__all__ = ["DeviceKernels", "device_kernels", "kernel_source"]

_HEADERS = Path(__file__).parents[1] / "include"
# By the names of the core.
_KERNELS = {
    "pass": "pass<{types}, tile.lanes, tile.quads, warpfactor::PassKind::{kind}>",
    "pulled_pass": "pass<{types}, tile.lanes, tile.quads, warpfactor::PassKind::pulled>",
    "batch_gradients": "batch_gradients<{types}, tile.lanes, tile.quads>",
    "batch_steps": "batch_steps<{types}, tile.lanes, tile.quads>",
    "evaluate": "evaluate<{types}, tile.lanes, tile.quads>",
}
# As what factors are stored, and in what the arithmetic is done.
_TYPES = {
    "float16": ("warpfactor::Half", "float"),
    "float32": ("float", "float"),
    "float64": ("double", "double"),
}
# What is not marked as for the device is for the host, for which NVRTC compiles nothing.
_OPTIONS = ("-std=c++17", "--device-as-default-execution-space")


class DeviceKernels(NamedTuple):
    """Kernels on a device.

    Attributes
    ----------
    functions : dict of str to int
        The CUfunctions, by the names that the core has for them.
    module : cupy.RawModule
        What they are part of; they are gone when it is.
    """

    functions: dict[str, int]
    module: Any


def device_kernels(
    loss: CustomLoss | None,
    penalty: CustomPenalty | None,
    *,
    n_factors: int,
    dtype: DTypeLike,
    device: int,
    kind: str = "general",
) -> DeviceKernels:
    """Compile the kernels that train with a loss and a penalty.

    CuPy keeps what it compiled in ``~/.cupy/kernel_cache``, so that it takes seconds only once.

    Parameters
    ----------
    loss : CustomLoss or None
        None leaves the choice among the built-in ones to the arguments of the kernels.
    penalty : CustomPenalty or None
        None is L2.
    n_factors : int
        For which rank.
    dtype : {"float16", "float32", "float64"}
        As what factors are stored on the device.
    device : int
        Its number, as CUDA counts those that are visible.
    kind : str, default "general"
        What the pass can do, as `_core.pass_kind` tells. "plain" is SGD with an L2 penalty, for
        rows with pulls of their own too; "general" takes any penalty; the rest have the names of
        rules.

    Returns
    -------
    DeviceKernels
        Keep it for as long as the kernels are used.

    Raises
    ------
    CudaError
        If CuPy or NVRTC is not installed, the device cannot be used, or NVRTC does not take the
        source; the text has its log.
    ImportError
        If SymPy is not installed.
    ValueError
        If the arithmetic's type cannot hold a constant of a formula.
    """
    code, names = kernel_source(loss, penalty, n_factors=n_factors, dtype=dtype, kind=kind)
    try:
        cupy = importlib.import_module("cupy")
        compiler = importlib.import_module("cupy.cuda.compiler")
    except ImportError as error:
        raise CudaError(
            f"custom losses and penalties on the device need CuPy ({error}): {INSTALL_CUPY}, or use "
            "device='cpu'"
        ) from error
    options = (*_OPTIONS, f"-I{_HEADERS}")
    try:
        with cupy.cuda.Device(device):
            module = cupy.RawModule(
                code=code, options=options, name_expressions=list(names.values())
            )
            functions = {
                kernel: int(module.get_function(name).kernel.ptr) for kernel, name in names.items()
            }
    except compiler.CompileException as error:
        raise CudaError(
            f"NVRTC cannot compile the kernels with {loss or penalty}; please report it, or use "
            f"device='cpu'. Its log:\n{error}"
        ) from error
    except (RuntimeError, OSError) as error:  # of the driver, or NVRTC is not there
        raise CudaError(
            f"the kernels with {loss or penalty} cannot be compiled for device {device}: {error}; "
            f"{INSTALL_CUPY} brings what is needed beside the driver, or use device='cpu'"
        ) from error
    return DeviceKernels(functions, module)


def kernel_source(
    loss: CustomLoss | None,
    penalty: CustomPenalty | None,
    *,
    n_factors: int,
    dtype: DTypeLike,
    kind: str = "general",
) -> tuple[str, dict[str, str]]:
    """Write the source of the kernels; see `device_kernels`.

    Returns
    -------
    code : str
        Includes the package's headers.
    names : dict of str to str
        The kernels in it: what C++ calls them, by the names that the core has for them.
    """
    name = np.dtype(dtype).name
    if name not in _TYPES:
        raise ValueError(f"dtype is {name}; it must be float16, float32 or float64")
    writer = importlib.import_module(".cuda_source", __package__)
    number = np.dtype("float64" if name == "float64" else "float32")
    custom = writer.join(
        loss and loss.cuda_source(number), penalty and penalty.cuda_source(number), number
    )
    code = (
        f"// Headers {_headers_digest()}\n{custom}\n"
        '#include "global_kernels.cuh"\n\n'
        f"constexpr warpfactor::Tile tile = warpfactor::tile_of<{_TYPES[name][0]}>({int(n_factors)});\n"
    )
    filled = {"types": ", ".join(_TYPES[name]), "kind": kind}
    return code, {
        kernel: f"warpfactor::global::{text.format(**filled)}"
        for kernel, text in _KERNELS.items()
        if kind == "plain" or kernel != "pulled_pass"  # the other kinds do that, too
    }


def _headers_digest() -> str:
    """Tell versions of the headers apart: CuPy's cache of what it compiled looks at the code alone."""
    import hashlib

    texts = [path.read_bytes() for path in sorted(_HEADERS.rglob("*.*"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()
