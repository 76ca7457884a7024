"""What this installation can do."""

from __future__ import annotations

import sys
from typing import Any, Literal, overload

from . import _core
from .exchange import cupy_status

__all__ = ["show_config"]


@overload
def show_config(mode: Literal["stdout"] = ...) -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: Literal["stdout", "dicts"] = "stdout") -> dict[str, Any] | None:
    """Show the version, the instruction set in use and those built, the threads, and CUDA's state.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default "stdout"
        Print the configuration, or return it.

    Returns
    -------
    dict or None
        With ``mode="dicts"``: ``version``, ``instruction_set``, ``built_instruction_sets``,
        ``n_threads`` (the processors this process may use), ``cuda_built``, ``cuda_source`` ("built
        in", the wheel's name and version, or "none"), ``cuda_usable``, ``cuda_reason`` (why CUDA is
        not usable, and what to do; empty if it is) and ``cupy`` (its version, or why it is missing,
        and what to do: predictions on a CUDA device need it).

    Raises
    ------
    ValueError
        If `mode` is another, or the variable WARPFACTOR_ISA names an instruction set that this
        build or processor lacks.
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode is {mode!r:.80}; it must be 'stdout' or 'dicts'")
    built, usable, reason = _core.cuda_status()
    cupy_version, cupy_problem = cupy_status()
    config = {
        "version": _core.__version__,
        "instruction_set": _core.instruction_set(),
        "built_instruction_sets": _core.built_instruction_sets(),
        "n_threads": _core.available_threads(),
        "cuda_built": built,
        "cuda_source": _core.cuda_source,
        "cuda_usable": usable,
        "cuda_reason": reason,
        "cupy": cupy_version or cupy_problem,
    }
    if mode == "dicts":
        return config
    for name, value in config.items():
        text = ", ".join(value) if isinstance(value, list) else value
        sys.stdout.write(f"{name + ':':<24}{text}\n")
    return None
