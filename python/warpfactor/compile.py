"""SymPy expressions as C functions, compiled by Numba. Imports SymPy and Numba.

The instructions are those of vectors of eight or sixteen numbers, given to LLVM as such: left to
itself it unrolls a loop of eight into scalar code with branches, as it cannot know that results and
arguments do not overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
import sympy
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from sympy.codegen.cfunctions import expm1, log1p

from . import derive

__all__ = ["compile_loss", "compile_penalty"]

_GROUP = 8  # ratings that the core hands over at once
_ROW_STEP = 16  # of which the numbers in a row of factors are a multiple

_SCALAR = {
    sympy.atan: math.atan,
    sympy.cos: math.cos,
    sympy.cosh: math.cosh,
    sympy.exp: math.exp,
    expm1: math.expm1,
    sympy.log: math.log,
    log1p: math.log1p,
    sympy.sin: math.sin,
    sympy.sinh: math.sinh,
    sympy.tanh: math.tanh,
}
_COMPARISON = {
    sympy.StrictLessThan: "<",
    sympy.LessThan: "<=",
    sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=",
    sympy.Eq: "==",
    sympy.Ne: "!=",
}


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


class _Vector:
    """Writes LLVM's instructions for expressions of vectors of numbers."""

    def __init__(self, context: Any, builder: Any, number: Any, lanes: int) -> None:
        self.context, self.builder, self.number, self.lanes = context, builder, number, lanes
        self.scalar = context.get_value_type(number)
        self.type = ir.VectorType(self.scalar, lanes)
        self.align = number.bitwidth // 8
        self.values: dict[Any, Any] = {}

    def load(self, pointer: Any) -> Any:
        return self.builder.load(
            self.builder.bitcast(pointer, self.type.as_pointer()), align=self.align
        )

    def store(self, value: Any, pointer: Any) -> None:
        at = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, at, align=self.align)

    def emit(self, expressions: Sequence[Any], values: dict[str, Any]) -> list[Any]:
        """Return the values of expressions, with what they share computed once."""
        self.values = {sympy.Symbol(name): value for name, value in values.items()}
        shared, reduced = sympy.cse(expressions, sympy.numbered_symbols("shared"))
        for symbol, expression in shared:
            self.values[symbol] = self.value(expression)
        return [self.value(expression) for expression in reduced]

    def value(self, e: Any) -> Any:
        if e in self.values:
            return self.values[e]
        if isinstance(e, sympy.logic.boolalg.Boolean):
            return self.condition(e)
        if e.is_number:
            return self.constant(float(e))
        if e.is_Add:
            return self.sum(e)
        if e.is_Mul:
            return self.product(e)
        if e.is_Pow:
            return self.power(e.base, e.exp)
        if e.func in _SCALAR:
            return self.each(_SCALAR[e.func], self.value(e.args[0]))
        return getattr(self, f"_{e.func.__name__}")(*e.args)

    def constant(self, value: float) -> Any:
        return ir.Constant(self.type, [float(value)] * self.lanes)

    def sum(self, e: Any) -> Any:
        plus: list[Any] = []
        minus: list[Any] = []
        for term in e.args:
            (minus if term.could_extract_minus_sign() else plus).append(term)
        if plus:
            total = self.value(plus.pop(0))
        else:
            total = self.value(minus.pop(0))
        for term in plus:
            total = self.builder.fadd(total, self.value(term))
        for term in minus:
            total = self.builder.fsub(total, self.value(-term))
        return total

    def product(self, e: Any) -> Any:
        above, below = [], []
        for factor in e.args:
            base, exponent = factor.as_base_exp()
            if exponent.is_number and exponent.is_negative and not base.is_number:
                below.append((base, -exponent))
            else:
                above.append((base, exponent))
        negative = above[:1] == [(sympy.S.NegativeOne, sympy.S.One)]
        factors = [self.power(*f) for f in above[negative:]] or [self.constant(1.0)]
        value = _folded(self.builder.fmul, factors)
        if below:
            value = self.builder.fdiv(
                value, _folded(self.builder.fmul, [self.power(*f) for f in below])
            )
        return self.builder.fneg(value) if negative else value

    def power(self, base: Any, exponent: Any) -> Any:
        if base.is_number and exponent.is_number:
            return self.constant(float(base**exponent))
        if not exponent.is_number:
            return self.each(math.pow, self.value(base), self.value(exponent))
        value = self.value(base)
        if exponent.is_negative:
            return self.builder.fdiv(self.constant(1.0), self.power_of(value, -exponent))
        return self.power_of(value, exponent)

    def power_of(self, value: Any, exponent: Any) -> Any:
        whole, half = divmod(exponent, 1)
        if half not in (0, sympy.S.Half):
            return self.each(math.pow, value, self.constant(float(exponent)))
        factors = [self.intrinsic("llvm.sqrt", value)] if half else []
        whole = int(whole)
        while whole:  # by squaring
            if whole & 1:
                factors.append(value)
            whole >>= 1
            if whole:
                value = self.builder.fmul(value, value)
        return _folded(self.builder.fmul, factors)

    def intrinsic(self, name: str, value: Any) -> Any:
        kind = ir.FunctionType(self.type, [self.type])
        full_name = f"{name}.v{self.lanes}f{self.number.bitwidth}"
        function = cgutils.get_or_insert_function(self.builder.module, kind, full_name)
        return self.builder.call(function, [value])

    def each(self, function: Any, *values: Any) -> Any:
        """Call a function of the C library for one lane after the other."""
        signature = self.number(*[self.number] * len(values))
        call = self.context.get_function(function, signature)
        result = ir.Constant(self.type, ir.Undefined)
        for lane in range(self.lanes):
            at = ir.Constant(ir.IntType(32), lane)
            args = [self.builder.extract_element(v, at) for v in values]
            result = self.builder.insert_element(result, call(self.builder, args), at)
        return result

    def compare(self, op: str, a: Any, b: Any) -> Any:
        comparison = self.builder.fcmp_unordered if op == "!=" else self.builder.fcmp_ordered
        return comparison(op, a, b)

    def condition(self, e: Any) -> Any:
        if isinstance(e, sympy.core.relational.Relational):
            return self.compare(_COMPARISON[e.func], self.value(e.lhs), self.value(e.rhs))
        parts = [self.value(a) for a in e.args]
        if isinstance(e, sympy.Not):
            return self.builder.not_(parts[0])
        both = {sympy.And: self.builder.and_, sympy.Or: self.builder.or_}
        return _folded(both[e.func], parts)

    # Functions of `derive`. NaN goes through all of them.

    def _abs(self, u: Any) -> Any:
        return self.intrinsic("llvm.fabs", self.value(u))

    def _sign(self, u: Any) -> Any:
        value, zero = self.value(u), self.constant(0.0)
        below = self.builder.select(self.compare("<", value, zero), self.constant(-1.0), value)
        return self.builder.select(self.compare(">", value, zero), self.constant(1.0), below)

    def _where(self, condition: Any, a: Any, b: Any) -> Any:
        return self.builder.select(self.value(condition), self.value(a), self.value(b))

    def larger(self, op: str, a: Any, b: Any) -> Any:
        """Return a if `a op b` or either is NaN, else b."""
        return self.builder.select(self.builder.fcmp_unordered(op, a, b), a, b)

    def extreme(self, op: str, a: Any, b: Any) -> Any:
        if a.is_number:
            a, b = b, a
        first, second = self.value(a), self.value(b)
        value = self.larger(op, first, second)
        if b.is_number:
            return value
        unordered = self.builder.fcmp_unordered("uno", second, second)
        return self.builder.select(unordered, second, value)

    def _maximum(self, a: Any, b: Any) -> Any:
        return self.extreme(">", a, b)

    def _minimum(self, a: Any, b: Any) -> Any:
        return self.extreme("<", a, b)

    def _clip(self, u: Any, low: Any, high: Any) -> Any:
        return self._minimum(derive.maximum(u, low), high)

    def decay(self, u: Any) -> Any:
        """Return exp(-|u|), once for the functions that are made of it: none of them overflows."""
        key = ("decay", -u if u.could_extract_minus_sign() else u)
        if key not in self.values:
            self.values[key] = self.each(math.exp, self.builder.fneg(self._abs(key[1])))
        return self.values[key]

    def _sigmoid(self, u: Any) -> Any:
        one, small = self.constant(1.0), self.decay(u)
        positive = self.builder.fcmp_unordered(">", self.value(u), self.constant(0.0))
        above = self.builder.select(positive, one, small)
        return self.builder.fdiv(above, self.builder.fadd(one, small))

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

    def _softplus(self, u: Any) -> Any:
        above = self.larger(">", self.value(u), self.constant(0.0))
        return self.builder.fadd(above, self.log_of_one_more(self.decay(u)))

    def _logcosh(self, u: Any) -> Any:
        without = self.builder.fadd(self._abs(u), self.log_of_one_more(self.decay(2 * u)))
        return self.builder.fsub(without, self.constant(math.log(2)))


def _folded(operation: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = operation(result, value)
    return result
