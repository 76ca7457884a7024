"""Custom losses and penalties as CUDA source, which is C++ as well. Imports SymPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from .emitter import Emitter

__all__ = ["join", "loss_function", "penalty_function"]

# NVRTC knows the functions of the C library by itself, and finds no standard header.
_HEAD = """\
#if defined(__CUDACC__)
#define WARPFACTOR_CUSTOM_FUNCTION __device__ __forceinline__
#else
#include <math.h>
#define WARPFACTOR_CUSTOM_FUNCTION inline
#endif

namespace warpfactor {
namespace custom {

using Number = """
_TAIL = """\

}  // namespace custom
}  // namespace warpfactor
"""
_NUMBERS = {"float32": "float", "float64": "double"}


def join(loss: str | None, penalty: str | None, dtype: np.dtype[Any]) -> str:
    """Put functions together to the source that the kernels' headers include before their own.

    Parameters
    ----------
    loss, penalty : str or None
        What `loss_function` and `penalty_function` returned.
    dtype : dtype
        Of the numbers that training computes with: float32 or float64.

    Returns
    -------
    str
        Defines WARPFACTOR_CUSTOM_LOSS and warpfactor::custom::loss if there is a loss,
        WARPFACTOR_CUSTOM_PENALTY and warpfactor::custom::penalty_slope if there is a penalty, and
        warpfactor::custom::Number, the type of their numbers.
    """
    parts = {"LOSS": loss, "PENALTY": penalty}
    macros = [f"#define WARPFACTOR_CUSTOM_{name} 1\n" for name, part in parts.items() if part]
    functions = [f"\n{part}" for part in parts.values() if part]
    return "".join([*macros, _HEAD, f"{_NUMBERS[dtype.name]};\n", *functions, _TAIL])


def loss_function(loss: Any, slope: Any, dtype: np.dtype[Any]) -> str:
    """Write void loss(Number r, Number x, Number& loss, Number& slope).

    Parameters
    ----------
    loss, slope : sympy.Expr
        Of the symbols r and x.
    dtype : dtype
        Of the numbers: float32 or float64.

    Returns
    -------
    str
        Its source, which `join` completes.
    """
    code = _Source(dtype)
    value, slope = code.emit([loss, slope], {"r": "r", "x": "x"})
    return code.function(
        "void loss(Number r, Number x, Number& loss, Number& slope)",
        f"loss = {value};",
        f"slope = {slope};",
    )


def penalty_function(slope: Any, dtype: np.dtype[Any]) -> str:
    """Write Number penalty_slope(Number w); see `loss_function`."""
    code = _Source(dtype)
    (value,) = code.emit([slope], {"w": "w"})
    return code.function("Number penalty_slope(Number w)", f"return {value};")


class _Source(Emitter):
    """Writes a statement of C++ for each operation. Values are names and literals."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        super().__init__()
        # The overloads for float are not in every standard library's global namespace.
        self.suffix = "f" if dtype == np.float32 else ""
        self.names: dict[str, str] = {}  # of what was computed
        self.statements: list[str] = []

    def function(self, signature: str, *results: str) -> str:
        lines = "".join(f"  {line}\n" for line in (*self.statements, *results))
        return f"WARPFACTOR_CUSTOM_FUNCTION {signature} {{\n{lines}}}\n"

    def named(self, code: str, kind: str = "Number") -> str:
        if code not in self.names:
            self.names[code] = f"v{len(self.names)}"
            self.statements.append(f"const {kind} {self.names[code]} = {code};")
        return self.names[code]

    def constant(self, value: float) -> str:
        return f"Number({float(value)!r})"  # read back exactly, then rounded as on the CPU

    def operation(self, op: str, *args: str) -> str:
        kind = "bool" if op in "&|~" else "Number"
        op = {"&": "&&", "|": "||", "~": "!"}.get(op, op)
        return self.named(f" {op} ".join(args) if len(args) == 2 else f"{op}{args[0]}", kind)

    def compare(self, op: str, a: str, b: str) -> str:
        return self.named(f"{a} {op} {b}", "bool")

    def select(self, condition: str, a: str, b: str) -> str:
        return self.named(f"{condition} ? {a} : {b}")

    def call(self, name: str, *args: str) -> str:
        return self.named(f"{name}{self.suffix}({', '.join(args)})")
