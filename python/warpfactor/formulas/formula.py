"""Formulas of symbols: what a custom loss is recorded as, and its plain text.

A formula is recorded as it is written, without SymPy, so that a model file with one can be read
where SymPy is not installed. Its text is the only thing that is stored. Reading it builds the same
tree again from a closed list of operations; nothing in it is ever executed.
"""

from __future__ import annotations

import ast
import math
import numbers
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["FUNCTIONS", "Condition", "Node", "Symbolic", "TraceError", "apply", "parse"]

# Names of the functions of numbers, and how many arguments each takes. `where` is not among them:
# its first argument is a condition.
FUNCTIONS = {
    "abs": 1, "arctan": 1, "clip": 3, "cos": 1, "cosh": 1, "exp": 1, "expm1": 1, "log": 1,
    "log1p": 1, "maximum": 2, "minimum": 2, "sigmoid": 1, "sign": 1, "sin": 1, "sinh": 1,
    "softplus": 1, "sqrt": 1, "tanh": 1,
}  # fmt: skip
_UFUNC_OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add, "subtract": operator.sub, "multiply": operator.mul,
    "divide": operator.truediv, "power": operator.pow, "float_power": operator.pow,
    "negative": operator.neg, "positive": operator.pos, "less": operator.lt,
    "less_equal": operator.le, "greater": operator.gt, "greater_equal": operator.ge,
    "equal": operator.eq, "not_equal": operator.ne, "logical_and": operator.and_,
    "logical_or": operator.or_, "logical_not": operator.invert, "bitwise_and": operator.and_,
    "bitwise_or": operator.or_, "invert": operator.invert,
    "square": lambda u: u**2, "reciprocal": lambda u: 1 / u,
    "logaddexp": lambda u, v: u + apply("softplus", v - u),
}  # fmt: skip
_UFUNC_NAMES = {"absolute": "abs", "fabs": "abs", "fmax": "maximum", "fmin": "minimum"}
_STEPS = {
    "floor", "ceil", "rint", "trunc", "round", "around", "fix", "floor_divide", "remainder",
    "fmod", "divmod", "heaviside",
}  # fmt: skip

# What a reasonable formula stays far below. The text of a model file may be anything: these keep
# Python's parser from its limits, and SymPy from computing numbers with a million digits.
MAX_TEXT = 10_000
MAX_SIZE = 1_000
MAX_DEPTH = 80
MAX_POWER = 100

_PRECEDENCE = {
    "<": 0, "<=": 0, ">": 0, ">=": 0, "==": 0, "!=": 0, "|": 1, "&": 2, "+": 3, "-": 3, "*": 4,
    "/": 4, "neg": 5, "~": 5, "**": 6,
}  # fmt: skip
_ATOM = 7
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


class TraceError(TypeError):
    """A formula does with its symbols what cannot be recorded; the text says what to write."""


class Node:
    """An operation and its arguments: of numbers (`Symbolic`) or of conditions (`Condition`)."""

    __slots__ = ("args", "depth", "op", "power", "size")

    op: str
    args: tuple[Any, ...]
    size: int
    depth: int
    power: float

    def __init__(self, op: str, *args: Any) -> None:
        self.op, self.args = op, args
        nodes = [a for a in args if isinstance(a, Node)]
        self.size = 1 + sum(n.size for n in nodes)
        self.depth = 1 + max((n.depth for n in nodes), default=0)
        self.power = max((n.power for n in nodes), default=1.0)
        if op == "**" and args[1].op == "number":
            self.power = args[0].power * max(1.0, abs(args[1].args[0]))
        if self.size > MAX_SIZE:
            raise TraceError(f"the formula has more than {MAX_SIZE} operations: write it shorter")
        if self.depth > MAX_DEPTH:
            raise TraceError(
                f"the formula is nested more than {MAX_DEPTH} operations deep: write it flatter"
            )
        if self.power > MAX_POWER:
            raise TraceError(power_message(self.power))

    def __str__(self) -> str:
        return to_text(self)

    __repr__ = __str__

    def symbols(self) -> set[str]:
        """Return the names of the symbols in it."""
        if self.op == "symbol":
            return {self.args[0]}
        return set().union(*(a.symbols() for a in self.args if isinstance(a, Node)))

    def __bool__(self) -> bool:
        raise TraceError(
            f"{self} is a formula, neither true nor false yet: write wf.losses.where(condition, a, "
            "b) for `if`; &, | and ~ for `and`, `or` and `not`, and (a < b) & (b < c) for a < b < "
            "c; wf.losses.maximum and minimum for max() and min()"
        )

    def _no_number(self) -> Any:
        raise TraceError(
            f"{self} is a formula, not a number yet, which functions that take numbers, such as "
            "those of math, cannot use: take those of wf.losses (wf.losses.exp, log, sqrt, ...)"
        )

    __float__ = __int__ = __complex__ = __index__ = _no_number

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TraceError(
            f"{self} is a formula of single numbers, one rating and one prediction: there can be no "
            "array in it"
        )

    def _no_steps(self, *_: Any) -> Any:
        raise TraceError(_step_message("rounding, // and %"))

    __round__ = __floor__ = __ceil__ = __trunc__ = _no_steps
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __divmod__ = __rdivmod__ = _no_steps

    # Arithmetic. A condition counts as 1 or 0 in it, as in NumPy.

    def __add__(self, other: Any) -> Any:
        return _binary("+", self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary("+", other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("-", other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary("/", other, self)

    def __pow__(self, other: Any) -> Any:
        return _binary("**", self, other)

    def __rpow__(self, other: Any) -> Any:
        return _binary("**", other, self)

    def __neg__(self) -> Any:
        return Symbolic("neg", _operand(self))

    def __pos__(self) -> Any:
        return _operand(self)

    def __abs__(self) -> Any:
        return apply("abs", self)

    # NumPy's functions of symbols.

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        name = ufunc.__name__
        if any(isinstance(i, np.ndarray) and i.ndim for i in inputs):
            self.__array__()
        if method != "__call__" or options:
            extra = f".{method}" if method != "__call__" else f" with {', '.join(options)}"
            raise TraceError(f"{name}{extra} cannot be used on {self}: write it without")
        # As Python's numbers: those of NumPy would come back here.
        inputs = tuple(i.item() if isinstance(i, (np.generic, np.ndarray)) else i for i in inputs)
        if name in _UFUNC_OPERATORS:
            return _UFUNC_OPERATORS[name](*inputs)
        return apply(_UFUNC_NAMES.get(name, name), *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        name = function.__name__
        if name == "where" and len(args) == 3 and not kwargs:
            return where(*args)
        if name == "clip":
            return clip(*args, **{k.removeprefix("a_"): v for k, v in kwargs.items()})
        raise TraceError(unknown_message(name))


class Symbolic(Node):
    """A formula with a number as its value: a symbol, a constant, or an operation."""

    __slots__ = ()

    def __lt__(self, other: Any) -> Any:
        return _comparison("<", self, other)

    def __le__(self, other: Any) -> Any:
        return _comparison("<=", self, other)

    def __gt__(self, other: Any) -> Any:
        return _comparison(">", self, other)

    def __ge__(self, other: Any) -> Any:
        return _comparison(">=", self, other)

    def __eq__(self, other: object) -> Any:
        return _comparison("==", self, other)

    def __ne__(self, other: object) -> Any:
        return _comparison("!=", self, other)

    __hash__ = None  # type: ignore[assignment]


class Condition(Node):
    """A formula that is true or false: a comparison, or several of them."""

    __slots__ = ()

    def __and__(self, other: Any) -> Any:
        return _logical("&", self, other)

    __rand__ = __and__

    def __or__(self, other: Any) -> Any:
        return _logical("|", self, other)

    __ror__ = __or__

    def __eq__(self, other: object) -> Any:
        raise TraceError(
            f"the condition {self} is compared with another: write (a & b) | (~a & ~b) where both "
            "are to hold or neither"
        )

    __ne__ = __eq__
    __hash__ = None  # type: ignore[assignment]

    def __invert__(self) -> Condition:
        return Condition("~", self)


def constant(value: Any) -> Symbolic:
    """Return a number as a formula. Whole ones are kept as int, so that 2.0 is read back as 2."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise TraceError(f"a constant in the formula is {number}: constants must be finite")
    if number.is_integer() and abs(number) < 2**53 and str(number) != "-0.0":
        return Symbolic("number", int(number))
    return Symbolic("number", number)


def _operand(value: Any) -> Any:
    if isinstance(value, Symbolic):
        return value
    if isinstance(value, Condition):
        return Symbolic("where", value, constant(1), constant(0))
    if isinstance(value, np.ndarray) and not value.ndim:
        value = value.item()
    if isinstance(value, (numbers.Real, np.bool)):
        return constant(value)
    return NotImplemented


def _binary(op: str, left: Any, right: Any) -> Any:
    left, right = _operand(left), _operand(right)
    if left is NotImplemented or right is NotImplemented:
        return NotImplemented
    if op == "/" and right.op == "number" and not right.args[0]:
        raise TraceError(f"{left} is divided by 0")
    return Symbolic(op, left, right)


def _comparison(op: str, left: Any, right: Any) -> Any:
    left, right = _operand(left), _operand(right)
    if left is NotImplemented or right is NotImplemented:
        return NotImplemented
    return Condition(op, left, right)


def _logical(op: str, left: Condition, right: Any) -> Any:
    if isinstance(right, (bool, np.bool)):
        absorbing = (op == "|") == bool(right)
        return bool(right) if absorbing else left
    return Condition(op, left, right) if isinstance(right, Condition) else NotImplemented


def apply(name: str, *args: Any) -> Any:
    """Return the formula that is a function of formulas and numbers."""
    if name not in FUNCTIONS:
        raise TraceError(unknown_message(name))
    return Symbolic(name, *(_argument(name, a) for a in args))


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return a where the condition holds, else b."""
    if isinstance(condition, (bool, np.bool)):
        return a if condition else b
    if not isinstance(condition, Condition):
        raise TraceError(f"where takes a condition, such as r > x, first; it was given {condition}")
    return Symbolic("where", condition, _argument("where", a), _argument("where", b))


def clip(u: Any, min: Any = None, max: Any = None) -> Any:
    """Return u, limited to what lies from min to max; None is no limit."""
    if min is None or max is None:
        u = u if min is None else apply("maximum", min, u)
        return u if max is None else apply("minimum", max, u)
    return apply("clip", u, min, max)


def _argument(name: str, value: Any) -> Symbolic:
    operand = _operand(value)
    if operand is NotImplemented:
        raise TraceError(f"{name} takes formulas and numbers; it was given {value!r}")
    return operand  # type: ignore[no-any-return]


def _step_message(what: str) -> str:
    return f"{what} cannot be trained through: the slope of a step is zero wherever there is one"


def power_message(power: float) -> str:
    """Say that a power is too high."""
    return (
        f"the formula has a power of {power:g}: those above {MAX_POWER} leave the range of numbers at "
        "once"
    )


def unknown_message(name: str) -> str:
    """Return what to say of a function that is not among ours."""
    if name in _STEPS:
        return _step_message(name)
    known = ", ".join(sorted([*FUNCTIONS, "logaddexp", "square", "where"]))
    return f"{name} is not among the functions that wf.losses can differentiate: {known}"


def to_text(node: Node, at_least: int = 0) -> str:
    """Return the formula as Python would read it, in the fewest parentheses."""
    op, args = node.op, node.args
    precedence = _PRECEDENCE.get(op, _ATOM)
    if op == "symbol":
        text = str(args[0])
    elif op == "number":
        text, precedence = repr(args[0]), _PRECEDENCE["neg"] if str(args[0])[0] == "-" else _ATOM
    elif op == "neg":
        text = f"-{to_text(args[0], precedence)}"
    elif op == "~":
        text = f"~{to_text(args[0], precedence)}"
    elif op == "**":  # binds to the right, and tighter than a minus before it but not after it
        text = f"{to_text(args[0], _ATOM)}**{to_text(args[1], _PRECEDENCE['neg'])}"
    elif op in _PRECEDENCE:
        left = to_text(args[0], 1 if op in _COMPARISONS else precedence)
        space = "" if op in ("*", "/") else " "
        text = f"{left}{space}{op}{space}{to_text(args[1], precedence + 1)}"
    else:
        text = f"{op}({', '.join(to_text(a) for a in args)})"
    return f"({text})" if precedence < at_least else text


_BINARY = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.BitAnd: "&",
    ast.BitOr: "|",
}  # fmt: skip
_COMPARE = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_CHARACTERS = re.compile(r"[A-Za-z0-9_.,+\-*/()<>=!&|~ ]*")


def parse(text: str, symbols: Sequence[str]) -> Symbolic:
    """Build a formula from its text, which may come from anywhere.

    Parameters
    ----------
    text : str
        What `to_text` returned.
    symbols : sequence of str
        The names that may occur in it.

    Returns
    -------
    Symbolic
        The formula.

    Raises
    ------
    ValueError
        If the text is anything else; the text of the error says where.
    """
    if not isinstance(text, str):
        raise ValueError(f"the formula is {text!r:.80}; it must be a string")
    if len(text) > MAX_TEXT:
        raise ValueError(f"the formula has {len(text)} characters; {MAX_TEXT} are allowed")
    if not _CHARACTERS.fullmatch(text):
        bad = next(c for c in text if not _CHARACTERS.fullmatch(c))
        raise ValueError(f"the formula holds {bad!r:.80}, which is in no formula")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        node = _from_ast(tree.body, symbols)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"{shortened(text)!r} is no formula ({error})") from error
    except TypeError as error:  # of the tree's limits, or of conditions where numbers must be
        raise ValueError(f"{shortened(text)!r}: {error}") from error
    if not isinstance(node, Symbolic):
        raise ValueError(f"{shortened(text)!r} is a condition; it must be a number")
    return node


def _from_ast(tree: ast.AST, symbols: Sequence[str]) -> Node:
    def inner(part: ast.AST, kind: type[Node] = Symbolic) -> Node:
        node = _from_ast(part, symbols)
        if not isinstance(node, kind):
            raise TraceError(f"{node} stands where a {kind.__name__} must be")
        return node

    match tree:
        case ast.Constant(value=value) if type(value) in (int, float):
            return constant(value)
        case ast.Name(id=name) if name in symbols:
            return Symbolic("symbol", name)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))) if (
            not isinstance(value, bool)
        ):
            return constant(-value)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _operation(Symbolic, "neg", inner(operand))
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return Condition("~", inner(operand, Condition))
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as op, left=left, right=right):
            return Condition(_BINARY[type(op)], inner(left, Condition), inner(right, Condition))
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            return _operation(Symbolic, _BINARY[type(op)], inner(left), inner(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            return _operation(Condition, _COMPARE[type(op)], inner(left), inner(right))
        case ast.Call(func=ast.Name(id="where"), args=[condition, a, b], keywords=[]):
            return Symbolic("where", inner(condition, Condition), inner(a), inner(b))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if len(args) == FUNCTIONS.get(
            name
        ):
            return _operation(Symbolic, name, *(inner(a) for a in args))
    raise TraceError(f"{ast.unparse(tree)} is in no formula of {' and '.join(symbols)}")


def _operation(kind: type[Node], op: str, *args: Node) -> Node:
    if all(a.op == "number" for a in args):
        raise TraceError(f"{kind(op, *args)} is a number that is not written out")
    return kind(op, *args)


def renamed(node: Any, names: Mapping[str, str]) -> Any:
    """Return the formula with other names for its symbols."""
    if node.op == "symbol":
        return Symbolic("symbol", names[node.args[0]])
    if node.op == "number":
        return node
    return type(node)(node.op, *(renamed(a, names) for a in node.args))


def shortened(text: str, width: int = 80) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def evaluate(node: Node, values: Mapping[str, Any], functions: Mapping[str, Any]) -> Any:
    """Return the value of a formula, given its symbols' values and a function per operation."""
    if node.op == "symbol":
        return values[node.args[0]]
    if node.op == "number":
        return functions["number"](node.args[0])
    return functions[node.op](*(evaluate(a, values, functions) for a in node.args))
