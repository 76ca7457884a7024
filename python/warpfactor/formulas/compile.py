"""SymPy expressions as C functions, compiled by Numba. Imports SymPy and Numba.

The instructions are those of vectors of eight or sixteen numbers, given to LLVM as such: left to
itself it unrolls a loop of eight into scalar code with branches, as it cannot know that results and
arguments do not overlap.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .emitter import Emitter

__all__ = ["compile_loss", "compile_penalty"]

_GROUP = 8  # ratings that the core hands over at once
_ROW_STEP = 16  # of which the numbers in a row of factors are a multiple

_OPERATIONS = {"+": "fadd", "-": "fsub", "*": "fmul", "/": "fdiv", "&": "and_", "|": "or_"}
_INTRINSICS = ("fabs", "sqrt")  # which there are for vectors


def compile_loss(loss: Any, slope: Any, dtype: np.dtype[Any]) -> Any:
    """Compile void(const T* ratings, const T* scores, T* losses, T* slopes) for eight ratings.

    Parameters
    ----------
    loss, slope : sympy.Expr
        Of the symbols r and x.
    dtype : dtype
        T: float32 or float64.

    Returns
    -------
    numba.core.ccallback.CFunc
        Its `address` is that of the function, for as long as it lives.
    """
    number = numba.from_dtype(dtype)
    pointer = types.CPointer(number)

    @intrinsic  # type: ignore[untyped-decorator]
    def group(typing: Any, ratings: Any, scores: Any, losses: Any, slopes: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Vector(context, builder, number, _GROUP)
            values = {"r": code.load(args[0]), "x": code.load(args[1])}
            for result, to in zip(code.emit([loss, slope], values), args[2:], strict=True):
                code.store(result, to)
            return context.get_dummy_value()

        return types.void(ratings, scores, losses, slopes), generate

    def loss_of_group(ratings: Any, scores: Any, losses: Any, slopes: Any) -> None:
        group(ratings, scores, losses, slopes)

    signature = types.void(pointer, pointer, pointer, pointer)
    return numba.cfunc(signature, nopython=True)(loss_of_group)


def compile_penalty(slope: Any, dtype: np.dtype[Any]) -> Any:
    """Compile void(const T* values, T* slopes, int64 n), n a multiple of 16; see `compile_loss`."""
    number = numba.from_dtype(dtype)
    pointer = types.CPointer(number)

    @intrinsic  # type: ignore[untyped-decorator]
    def step(typing: Any, values: Any, slopes: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            code = _Vector(context, builder, number, _ROW_STEP)
            source, target, offset = args
            (result,) = code.emit([slope], {"w": code.load(builder.gep(source, [offset]))})
            code.store(result, builder.gep(target, [offset]))
            return context.get_dummy_value()

        return types.void(values, slopes, at), generate

    def slopes_of_row(values: Any, slopes: Any, n: Any) -> None:
        for at in range(0, n, _ROW_STEP):
            step(values, slopes, at)

    return numba.cfunc(types.void(pointer, pointer, types.int64), nopython=True)(slopes_of_row)


class _Vector(Emitter):
    """Writes LLVM's instructions for expressions of vectors of numbers."""

    def __init__(self, context: Any, builder: Any, number: Any, lanes: int) -> None:
        super().__init__()
        self.context, self.builder, self.number, self.lanes = context, builder, number, lanes
        self.scalar = context.get_value_type(number)
        self.type = ir.VectorType(self.scalar, lanes)
        self.align = number.bitwidth // 8

    def load(self, pointer: Any) -> Any:
        return self.builder.load(
            self.builder.bitcast(pointer, self.type.as_pointer()), align=self.align
        )

    def store(self, value: Any, pointer: Any) -> None:
        at = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, at, align=self.align)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def operation(self, op: str, *args: Any) -> Any:
        if len(args) == 1:
            return self.builder.not_(*args) if op == "~" else self.builder.fneg(*args)
        return getattr(self.builder, _OPERATIONS[op])(*args)

    def compare(self, op: str, a: Any, b: Any) -> Any:
        comparison = self.builder.fcmp_unordered if op == "!=" else self.builder.fcmp_ordered
        return comparison(op, a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        return self.builder.select(condition, a, b)

    def call(self, name: str, *args: Any) -> Any:
        if name in _INTRINSICS:
            return self.intrinsic(name, *args)
        # One lane after the other.
        signature = self.number(*[self.number] * len(args))
        call = self.context.get_function(getattr(math, name), signature)
        result = ir.Constant(self.type, ir.Undefined)
        for lane in range(self.lanes):
            at = ir.Constant(ir.IntType(32), lane)
            numbers = [self.builder.extract_element(v, at) for v in args]
            result = self.builder.insert_element(result, call(self.builder, numbers), at)
        return result

    def intrinsic(self, name: str, value: Any) -> Any:
        kind = ir.FunctionType(self.type, [self.type])
        full_name = f"llvm.{name}.v{self.lanes}f{self.number.bitwidth}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, full_name)
        return self.builder.call(function, [value])

    def log_of_one_more(self, small: Any) -> Any:
        """Return log(1 + v) for v from 0 to 1, to a few units in the last place.

        2 artanh(s) = 2 (s + s³/3 + s⁵/5 + ...) with s = v/(2 + v), at most 1/3: side by side, where
        libm's log1pf takes 35 ns for each number (glibc 2.36, Xeon at 2.5 GHz).
        """
        terms = 8 if self.number.bitwidth == 32 else 17  # what is left is below eps/2 of s
        s = self.builder.fdiv(small, self.builder.fadd(small, self.constant(2.0)))
        square = self.builder.fmul(s, s)
        total = self.constant(2 / (2 * terms + 1))
        for k in reversed(range(terms)):
            term = self.constant(2 / (2 * k + 1))
            total = self.builder.fadd(self.builder.fmul(total, square), term)
        return self.builder.fmul(total, s)
