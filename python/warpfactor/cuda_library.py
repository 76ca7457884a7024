"""The device's code, where it comes in a wheel of its own: warpfactor-cuda.

A build with CUDA has it in the core. The core of the wheels has none, and asks here when it is
imported; so this module must not import the core.
"""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
from pathlib import Path

__all__ = ["find"]

_ON_CPU = "use device='cpu'"
_LIBRARY = "libwarpfactor_cuda.so"
# For these there are wheels of the device's code.
_PLATFORMS = (("linux", "x86_64"),)
# What is loaded must stay loaded: the core calls it.
_LOADED: list[ctypes.CDLL] = []


def find(version: str, build_id: str) -> tuple[int, str, str]:
    """Look for the wheel warpfactor-cuda and load its library. No driver is touched.

    Parameters
    ----------
    version, build_id : str
        Of the core. The library's must be the same, since the two share C++ classes.

    Returns
    -------
    tuple of int, str, str
        The address of the library's functions, or 0; where they come from, for people; and why
        there are none, with what to do. The last is empty where the core's own words are right.
    """
    package = importlib.util.find_spec("warpfactor_cuda")
    if package is None or not package.submodule_search_locations:
        return 0, "none", _missing()
    path = Path(next(iter(package.submodule_search_locations))) / _LIBRARY
    again = f'pip install --force-reinstall "warpfactor-cuda=={version}", or {_ON_CPU}'
    try:
        library = ctypes.CDLL(str(path))
        found, found_id = (
            _text(library, f"warpfactor_cuda_{name}") for name in ("version", "build_id")
        )
        address = library.warpfactor_cuda_library
    except (OSError, AttributeError) as error:  # AttributeError: it lacks a function
        return 0, "none", f"the wheel warpfactor-cuda cannot be loaded ({error}): {again}"
    if found != version:
        problem = (
            f"warpfactor-cuda is of version {found} and warpfactor of {version}; they must be the "
            f'same: pip install "warpfactor-cuda=={version}", or {_ON_CPU}'
        )
        return 0, "none", problem
    if found_id != build_id:
        problem = (
            f"warpfactor-cuda and warpfactor are both {version}, but of other sources or another "
            f"C++ library (builds {found_id} and {build_id}): install both from one place, or build "
            f"both from one tree (packaging/wheels.py), or {_ON_CPU}"
        )
        return 0, "none", problem
    address.restype = ctypes.c_void_p
    _LOADED.append(library)
    return address(), f"warpfactor-cuda {found}", ""


def _text(library: ctypes.CDLL, name: str) -> str:
    function = getattr(library, name)
    function.restype = ctypes.c_char_p
    return str(function().decode())


def _missing() -> str:
    if (sys.platform, platform.machine()) not in _PLATFORMS:
        return ""
    return (
        f'warpfactor was built without CUDA: pip install "warpfactor[gpu]", or {_ON_CPU}, or build '
        "warpfactor where nvcc is installed, with WARPFACTOR_CUDA=ON"
    )
