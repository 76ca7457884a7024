"""SymPy expressions taken apart into single operations, for whatever executes them. Imports SymPy.

What an operation becomes is up to a subclass: LLVM's instructions (`compile`) or CUDA source
(`cuda_source`).
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
from sympy.codegen.cfunctions import expm1, log1p

from . import derive

__all__ = ["Emitter"]

# Functions of the C library.
_CALLS = {
    derive.abs: "fabs",
    expm1: "expm1",
    log1p: "log1p",
    sympy.atan: "atan",
    sympy.cos: "cos",
    derive.cosh: "cosh",
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.sin: "sin",
    derive.sinh: "sinh",
    derive.tanh: "tanh",
}
_COMPARISONS = {
    sympy.StrictLessThan: "<",
    sympy.LessThan: "<=",
    sympy.StrictGreaterThan: ">",
    sympy.GreaterThan: ">=",
    sympy.Eq: "==",
    sympy.Ne: "!=",
}


class Emitter(ABC):
    """Writes what computes expressions, one operation after the other.

    Values are whatever the subclass takes them to be. NaN goes through all functions.
    """

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}

    @abstractmethod
    def constant(self, value: float) -> Any:
        """Return a number."""

    @abstractmethod
    def operation(self, op: str, *args: Any) -> Any:
        """Return a + b, a - b, a * b, a / b or -a; of conditions a & b, a | b or ~a."""

    @abstractmethod
    def compare(self, op: str, a: Any, b: Any) -> Any:
        """Return the condition `a op b`. If either is NaN, it holds for != alone."""

    @abstractmethod
    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a where the condition holds, else b."""

    @abstractmethod
    def call(self, name: str, *args: Any) -> Any:
        """Return the value of a function of the C library, by its name for double."""

    def emit(self, expressions: Sequence[Any], values: Mapping[str, Any]) -> list[Any]:
        """Return the values of expressions, with what they share computed once."""
        self.values = {sympy.Symbol(name): value for name, value in values.items()}
        shared, reduced = sympy.cse(expressions, sympy.numbered_symbols("shared"))
        for symbol, expression in shared:
            self.values[symbol] = self.value(expression)
        return [self.value(expression) for expression in reduced]

    def value(self, e: Any) -> Any:
        if e not in self.values:
            self.values[e] = self.new_value(e)
        return self.values[e]

    def new_value(self, e: Any) -> Any:
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
        if e.func in _CALLS:
            return self.call(_CALLS[e.func], self.value(e.args[0]))
        return getattr(self, f"_{e.func.__name__}")(*e.args)

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
            total = self.operation("+", total, self.value(term))
        for term in minus:
            total = self.operation("-", total, self.value(-term))
        return total

    def product(self, e: Any) -> Any:
        above, below = [], []
        for factor in e.args:
            # SymPy takes exp(u) for a power of e, which pow() computes slowly and from a rounded e.
            base, exponent = factor.as_base_exp() if factor.is_Pow else (factor, sympy.S.One)
            if exponent.is_number and exponent.is_negative and not base.is_number:
                below.append((base, -exponent))
            else:
                above.append((base, exponent))
        negative = above[:1] == [(sympy.S.NegativeOne, sympy.S.One)]
        factors = [self.power(*f) for f in above[negative:]] or [self.constant(1.0)]
        value = self.folded("*", factors)
        if below:
            value = self.operation("/", value, self.folded("*", [self.power(*f) for f in below]))
        return self.operation("-", value) if negative else value

    def power(self, base: Any, exponent: Any) -> Any:
        if base.is_number and exponent.is_number:
            return self.constant(float(base**exponent))
        if not exponent.is_number:
            return self.call("pow", self.value(base), self.value(exponent))
        value = self.value(base)
        if exponent.is_negative:
            return self.operation("/", self.constant(1.0), self.power_of(value, -exponent))
        return self.power_of(value, exponent)

    def power_of(self, value: Any, exponent: Any) -> Any:
        whole, half = divmod(exponent, 1)
        if half not in (0, sympy.S.Half):
            return self.call("pow", value, self.constant(float(exponent)))
        factors = [self.call("sqrt", value)] if half else []
        whole = int(whole)
        while whole:  # by squaring
            if whole & 1:
                factors.append(value)
            whole >>= 1
            if whole:
                value = self.operation("*", value, value)
        return self.folded("*", factors)

    def condition(self, e: Any) -> Any:
        if isinstance(e, sympy.core.relational.Relational):
            return self.compare(_COMPARISONS[e.func], self.value(e.lhs), self.value(e.rhs))
        parts = [self.value(a) for a in e.args]
        if isinstance(e, sympy.Not):
            return self.operation("~", parts[0])
        return self.folded({sympy.And: "&", sympy.Or: "|"}[e.func], parts)

    def folded(self, op: str, values: Sequence[Any]) -> Any:
        return functools.reduce(lambda a, b: self.operation(op, a, b), values)

    # Functions of `derive`.

    def _sign(self, u: Any) -> Any:
        value, zero = self.value(u), self.constant(0.0)
        below = self.select(self.compare("<", value, zero), self.constant(-1.0), value)
        return self.select(self.compare(">", value, zero), self.constant(1.0), below)

    def _where(self, condition: Any, a: Any, b: Any) -> Any:
        return self.select(self.value(condition), self.value(a), self.value(b))

    def extreme(self, op: str, a: Any, b: Any) -> Any:
        """Return b if `a op b`, else a, and NaN if either is."""
        if a.is_number:
            a, b = b, a
        first, second = self.value(a), self.value(b)
        value = self.select(self.compare(op, first, second), second, first)
        if b.is_number:
            return value
        return self.select(self.compare("!=", second, second), second, value)

    def _maximum(self, a: Any, b: Any) -> Any:
        return self.extreme("<=", a, b)

    def _minimum(self, a: Any, b: Any) -> Any:
        return self.extreme(">=", a, b)

    def _clip(self, u: Any, low: Any, high: Any) -> Any:
        return self._minimum(derive.maximum(u, low), high)

    def decay(self, u: Any) -> Any:
        """Return exp(-|u|), once for the functions that are made of it: none of them overflows."""
        return self.value(sympy.exp(-derive.abs(-u if u.could_extract_minus_sign() else u)))

    def _sigmoid(self, u: Any) -> Any:
        one, small = self.constant(1.0), self.decay(u)
        negative = self.compare("<=", self.value(u), self.constant(0.0))
        above = self.select(negative, small, one)
        return self.operation("/", above, self.operation("+", one, small))

    def log_of_one_more(self, small: Any) -> Any:
        """Return log(1 + v) for v from 0 to 1."""
        return self.call("log1p", small)

    def _softplus(self, u: Any) -> Any:
        above = self.value(derive.maximum(u, 0))
        return self.operation("+", above, self.log_of_one_more(self.decay(u)))

    def _logcosh(self, u: Any) -> Any:
        size = self.value(derive.abs(u))
        without = self.operation("+", size, self.log_of_one_more(self.decay(2 * u)))
        return self.operation("-", without, self.constant(math.log(2)))
