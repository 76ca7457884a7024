"""Formulas in SymPy: their derivatives, and their values in NumPy. Imports SymPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy
from numpy.typing import NDArray
from sympy.codegen.cfunctions import expm1, log1p

from . import formula
from .formula import Symbolic

__all__ = ["check_real", "differentiate", "numeric", "to_sympy"]


class _Real(sympy.Function):  # type: ignore[misc]
    """A function of real numbers.

    SymPy's own Abs, Max and Piecewise have derivatives with Heaviside and Dirac distributions, or,
    of symbols that may be complex, with real and imaginary parts. These have what training follows:
    one of the slopes at a corner.
    """

    is_commutative = True

    @classmethod
    def eval(cls, *args: Any) -> Any:
        # As soon as values are put in, so that loss.derivative.subs(...) gives a number.
        if all(a.is_number and a.is_extended_real for a in args):
            return cls.of_numbers(*args)
        return None

    def _eval_derivative(self, symbol: Any) -> Any:
        slopes = zip(self.slopes(), _inner(self, symbol), strict=True)
        return sympy.Add(*(slope * inner for slope, inner in slopes if inner != 0))


def _inner(function: Any, symbol: Any) -> list[Any]:
    return [a.diff(symbol) for a in function.args]


class abs(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.Abs(u)

    def slopes(self) -> tuple[Any, ...]:
        return (sign(self.args[0]),)


class sign(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.sign(u)

    def slopes(self) -> tuple[Any, ...]:
        return (sympy.Integer(0),)


class sigmoid(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return 1 / (1 + sympy.exp(-u))

    def slopes(self) -> tuple[Any, ...]:
        return (sigmoid(self.args[0]) * sigmoid(-self.args[0]),)


class softplus(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.log(1 + sympy.exp(u))

    def slopes(self) -> tuple[Any, ...]:
        return (sigmoid(self.args[0]),)


# Of SymPy's own hyperbolic functions it asks whether they are real, zero or finite, at each level twice as
# often as at the last: ten of tanh in each other take minutes.


class sinh(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.sinh(u)

    def slopes(self) -> tuple[Any, ...]:
        return (cosh(self.args[0]),)


class cosh(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.cosh(u)

    def slopes(self) -> tuple[Any, ...]:
        return (sinh(self.args[0]),)


class tanh(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.tanh(u)

    def slopes(self) -> tuple[Any, ...]:
        return (1 - tanh(self.args[0]) ** 2,)


class logcosh(_Real):
    nargs = 1

    @staticmethod
    def of_numbers(u: Any) -> Any:
        return sympy.log(sympy.cosh(u))

    def slopes(self) -> tuple[Any, ...]:
        return (tanh(self.args[0]),)


class where(_Real):
    nargs = 3

    @classmethod
    def eval(cls, condition: Any, a: Any, b: Any) -> Any:
        if condition is sympy.true or a == b:
            return a
        return b if condition is sympy.false else None

    def _eval_derivative(self, symbol: Any) -> Any:
        # Not a sum of slopes times 1 or 0: what is not selected may be NaN.
        _, a, b = self.args
        return where(self.args[0], a.diff(symbol), b.diff(symbol))


class maximum(_Real):
    nargs = 2

    @staticmethod
    def of_numbers(a: Any, b: Any) -> Any:
        return sympy.Max(a, b)

    def _eval_derivative(self, symbol: Any) -> Any:
        (a, b), (slope_a, slope_b) = self.args, _inner(self, symbol)
        return where(a > b, slope_a, slope_b)


class minimum(_Real):
    nargs = 2

    @staticmethod
    def of_numbers(a: Any, b: Any) -> Any:
        return sympy.Min(a, b)

    def _eval_derivative(self, symbol: Any) -> Any:
        (a, b), (slope_a, slope_b) = self.args, _inner(self, symbol)
        return where(a < b, slope_a, slope_b)


class clip(_Real):
    nargs = 3

    @staticmethod
    def of_numbers(u: Any, low: Any, high: Any) -> Any:
        return sympy.Min(sympy.Max(u, low), high)

    def _eval_derivative(self, symbol: Any) -> Any:
        u, low, high = self.args
        slope, slope_low, slope_high = _inner(self, symbol)
        if slope_low == slope_high == 0:
            return where((u > low) & (u < high), slope, 0)
        # Where the bounds cross, the upper one holds.
        return where((u >= high) | (low >= high), slope_high, where(u <= low, slope_low, slope))


def _number(value: float) -> Any:
    """Return short binary fractions exactly, so that formulas show r/2 and sqrt(u), not 0.5*r."""
    exact = sympy.Rational(value)
    return exact if exact.q <= 64 and exact.p**2 < 10**12 else sympy.Float(value)


def _exp_of_one_more(u: Any) -> Any:
    """Return a where u is 1 + exp(a), else None."""
    if u.is_Add and len(u.args) == 2 and u.args[0] == 1 and isinstance(u.args[1], sympy.exp):
        return u.args[1].args[0]
    return None


# 1 + exp(a) overflows long before its logarithm and its reciprocal do, and their slopes are then
# infinity over infinity. The same goes for cosh.


def _log(u: Any) -> Any:
    a = _exp_of_one_more(u)
    if a is not None:
        return softplus(a)
    return logcosh(u.args[0]) if isinstance(u, cosh) else sympy.log(u)


def _power(base: Any, exponent: Any) -> Any:
    # Before SymPy computes it, and again: what the formula has as an exponent may turn out to be a number.
    if exponent.is_number and not -formula.MAX_POWER <= exponent <= formula.MAX_POWER:
        raise ValueError(formula.power_message(float(exponent)))
    a = _exp_of_one_more(base)
    return sigmoid(-a) if a is not None and exponent == -1 else sympy.Pow(base, exponent)


_SYMPY: dict[str, Callable[..., Any]] = {
    "number": _number,
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a * _power(b, sympy.Integer(-1)),
    "**": _power,
    "neg": lambda a: -a,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": sympy.Eq,
    "!=": sympy.Ne,
    "&": sympy.And,
    "|": sympy.Or,
    "~": sympy.Not,
    "abs": abs,
    "arctan": sympy.atan,
    "clip": clip,
    "cos": sympy.cos,
    "cosh": cosh,
    "exp": sympy.exp,
    "expm1": expm1,
    "log": _log,
    "log1p": lambda u: softplus(u.args[0]) if isinstance(u, sympy.exp) else log1p(u),
    "maximum": maximum,
    "minimum": minimum,
    "sigmoid": sigmoid,
    "sign": sign,
    "sin": sympy.sin,
    "sinh": sinh,
    "softplus": softplus,
    "sqrt": sympy.sqrt,
    "tanh": tanh,
    "where": where,
}


# Elements of an expression as it is written out. SymPy keeps what occurs twice once, and takes as long as
# for all of it when it prints, counts or factors: a derivative of nested bounds may have billions.
_MOST_ELEMENTS = 30_000


def _check_size(expression: Any) -> None:
    sizes: dict[Any, int] = {}
    stack = [expression]
    while stack:
        node = stack[-1]
        missing = [part for part in node.args if part not in sizes]
        if missing:
            stack += missing
            continue
        sizes[stack.pop()] = 1 + sum(sizes[part] for part in node.args)
    if sizes[expression] > _MOST_ELEMENTS:
        raise ValueError(
            f"its slope would have {sizes[expression]:.3g} terms, and may have {_MOST_ELEMENTS:,}: write "
            "it with fewer functions in each other"
        )


def to_sympy(tree: Symbolic, symbols: Sequence[str]) -> Any:
    """Return the SymPy expression of a formula, in plain symbols of the same names."""
    names = {name: sympy.Symbol(name) for name in symbols}
    functions = {op: _with_real_numbers(function) for op, function in _SYMPY.items()}
    return _factored(formula.evaluate(tree, names, functions))


def _with_real_numbers(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check what turns out to be a constant, before SymPy computes exp(exp(...)) of it."""

    def checked(*args: Any) -> Any:
        value = function(*args)
        if isinstance(value, sympy.Expr) and value.is_number:
            try:
                finite = np.isfinite(float(value))
            except (TypeError, ValueError, OverflowError):  # complex, or undefined
                finite = False
            if not finite:
                raise ValueError(f"{str(value)[:200]} is not a finite real number")
        return value

    return checked


def check_real(expression: Any) -> None:
    """Refuse what SymPy found to be complex or undefined."""
    if expression.has(sympy.zoo, sympy.oo, -sympy.oo, sympy.nan):
        raise ValueError("it divides by 0")
    if expression.has(sympy.I):
        raise ValueError(f"{str(expression)[:200]} is complex")
    for number in expression.atoms(sympy.Number):
        try:
            finite = np.isfinite(float(number))
        except OverflowError:
            finite = False
        if not finite:
            raise ValueError(f"its constant {sympy.Float(number, 3)} is beyond float64")


def differentiate(expression: Any, symbol: str) -> Any:
    """Return the derivative, with common factors taken out."""
    return _factored(sympy.diff(expression, sympy.Symbol(symbol)))


def _factored(expression: Any) -> Any:
    _check_size(expression)
    # For the eye, and for x - r as one exact difference instead of two products. It takes seconds
    # for formulas that nobody reads.
    return sympy.factor_terms(expression) if expression.count_ops() < 500 else expression


_NUMPY = {
    "abs": np.abs,
    "cosh": np.cosh,
    "clip": lambda u, low, high: np.minimum(np.maximum(u, low), high),
    "expm1": np.expm1,
    "log1p": np.log1p,
    "logcosh": lambda u: np.abs(u) + np.log1p(np.exp(-2 * np.abs(u))) - np.log(2),
    "maximum": np.maximum,
    "minimum": np.minimum,
    "sigmoid": lambda u: 1 / (1 + np.exp(-u)),
    "sign": np.sign,
    "sinh": np.sinh,
    "softplus": lambda u: np.logaddexp(0, u),
    "tanh": np.tanh,
    "where": np.where,
}


def numeric(
    expressions: Sequence[Any], symbols: Sequence[str]
) -> Callable[..., list[NDArray[np.float64]]]:
    """Return the function that evaluates expressions in NumPy, in float64."""
    compiled = sympy.lambdify(symbols, list(expressions), modules=[_NUMPY, "numpy"], cse=True)

    def evaluate(*values: Any) -> list[NDArray[Any]]:
        arrays = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in values))
        with np.errstate(all="ignore"):  # where() computes both sides
            results = compiled(*arrays)
        # A constant is one number so far. Plus 0 makes 0 of -0.
        return [np.broadcast_to(result, arrays[0].shape) + 0.0 for result in results]

    return evaluate
