"""Losses and penalties of the user's own: a formula in, its slope derived and compiled.

>>> import warpfactor as wf
>>> loss = wf.losses.custom(lambda r, x: wf.losses.where(x < r, 2, 1) * (r - x) ** 2)
>>> print(loss.derivative)
2*(-r + x)*where(x < r, 2, 1)

The functions here take what such a formula is made of, and also plain numbers and arrays, like
those of NumPy. The functions of NumPy that have the same names may be used just as well. Custom
losses need SymPy and Numba, which ``pip install "warpfactor[autodiff]"`` brings; neither is
imported before one is made.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import linecache
import logging  # noqa: F401 - before the hook below is registered
import os
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import formula
from .formula import Condition, Node, Symbolic, TraceError, shortened
from .time_limit import TimeIsOver, ended_after

__all__ = [
    "CustomLoss",
    "CustomPenalty",
    "abs",
    "arctan",
    "clip",
    "cos",
    "cosh",
    "custom",
    "exp",
    "expm1",
    "log",
    "log1p",
    "logaddexp",
    "maximum",
    "minimum",
    "penalty",
    "sigmoid",
    "sign",
    "sin",
    "sinh",
    "softplus",
    "sqrt",
    "square",
    "tanh",
    "where",
]


def custom(function: Callable[[Any, Any], Any]) -> CustomLoss:
    """Make a loss from a formula, for ``MatrixFactorization(loss=...)``.

    The function is called with two symbols, the rating r and the prediction x, and its result is
    taken down as a formula. Its slope ∂l/∂x is derived by SymPy, and both are compiled by Numba
    when training begins, so that all threads run them without Python. r and x are in the units of
    the ratings as given. With ``normalize=True`` the slopes are scaled so that their root mean
    square over the ratings, at the predictions that training starts from, is that of the squared
    loss: `learning_rate` and `reg` keep their meaning, and a constant factor of the loss has no
    effect. ``normalize=False`` trains the formula as it is written. In both cases slopes are
    clipped, to that multiple of their root mean square to which the squared loss's are.

    Parameters
    ----------
    function : callable
        Called as ``function(r, x)``. It may use + - * / **, comparisons (which count as 1 or 0 in
        arithmetic), & | ~ of comparisons, the functions of `warpfactor.losses` and the same ones
        of NumPy, numbers, and whatever Python does without asking for the value of a symbol: so
        ``where(r > x, a, b)`` instead of ``a if r > x else b``. It is called at once, twice, and
        never again.

    Returns
    -------
    CustomLoss
        The loss. ``print(loss.derivative)`` shows the formula that was derived.

    Raises
    ------
    ValueError
        If the function cannot be trained with; the text says why. Among the reasons: the prediction
        does not occur in it; loss or slope are not finite at ratings and predictions from 0.5 to 5,
        equal ones among them; the slope is zero wherever there is one; or the loss falls faster and
        faster as the prediction grows. Predictions of 0 and below are not tried: a loss may want
        ``nonnegative=True``, but must be finite at 0 then, as ``x - r*log(maximum(x, 1e-3))`` is.
    ImportError
        If SymPy or Numba is not installed.

    Notes
    -----
    At a corner the slope is that of one side, and that of |u| at 0 is 0. What `where` does not
    select may be NaN. ``log(1 + exp(u))``, ``1/(1 + exp(u))`` and ``log(cosh(u))`` are computed
    such that they do not overflow.

    Examples
    --------
    Ratings that are underestimated cost twice as much:

    >>> import warpfactor as wf
    >>> from warpfactor.losses import custom, where
    >>> loss = custom(lambda r, x: where(x < r, 2, 1) * (r - x) ** 2)
    >>> loss
    wf.losses.custom(where(x < r, 2, 1)*(r - x)**2)
    >>> print(loss.derivative)
    2*(-r + x)*where(x < r, 2, 1)
    >>> loss.evaluate([4, 4], [3, 5])
    (array([2., 1.]), array([-4.,  2.]))
    """
    return CustomLoss._traced(function)


def penalty(function: Callable[[Any], Any]) -> CustomPenalty:
    """Make a penalty from a formula, in place of the L2 penalty.

    The function is called with one symbol w, which stands for each element of the factors and
    biases in turn: `reg` times its slope h'(w) takes the place of `reg` times w in a step.
    Everything else is as for `custom`.

    Parameters
    ----------
    function : callable
        Called as ``function(w)``, at once, twice, and never again.

    Returns
    -------
    CustomPenalty
        The penalty. ``print(penalty.derivative)`` shows the formula that was derived.

    Raises
    ------
    ValueError
        If the function cannot be trained with; the text says why. It must be finite and have a
        finite slope from -2 to 2, at 0 above all, where factors may begin; depend on w; and not
        fall without limit as w grows.
    ImportError
        If SymPy or Numba is not installed.

    Examples
    --------
    Large factors count by their size, small ones by their square:

    >>> import warpfactor as wf
    >>> wf.losses.penalty(lambda w: wf.losses.sqrt(1 + w**2) - 1).derivative
    w/sqrt(w**2 + 1)
    """
    return CustomPenalty._traced(function)


class _Derived(NamedTuple):
    expression: Any
    derivative: Any
    evaluate: Callable[..., list[NDArray[np.float64]]]


class _Custom:
    """What losses and penalties have in common: a formula and what follows from it."""

    _KIND: ClassVar[str]
    _MAKER: ClassVar[str]
    _SYMBOLS: ClassVar[tuple[str, ...]]  # the last is the one that the slope is by
    _MEANING: ClassVar[str]  # of the symbols
    _EXAMPLE: ClassVar[str]

    _tree: Symbolic
    _text: str
    _call: str  # for errors: how it was made
    _names: Sequence[str]  # the user's, of the symbols
    _derived: _Derived | None
    _compiled: dict[str, Any]

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError(f"make it by {self._MAKER}({self._EXAMPLE}) or from_text")

    @classmethod
    def _of(cls, tree: Symbolic, names: Sequence[str], call: str | None = None) -> Self:
        made = object.__new__(cls)
        made._tree, made._text, made._names = tree, str(tree), names
        made._call = call or f"{cls._MAKER}({shortened(made._text, 400)})"
        made._derived, made._compiled = None, {}
        return made

    @classmethod
    def _traced(cls, function: Any) -> Self:
        _require("sympy", cls._MAKER)
        _require("numba", cls._MAKER)
        made = cls._of(*_trace(cls, function))
        made._derive()
        return made

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Make it from the text that `to_text` returned.

        SymPy and Numba are not needed, and nothing in the text is executed: it may come from
        anywhere. Whether it can be trained with shows when it first is.

        Parameters
        ----------
        text : str
            The formula.

        Returns
        -------
        CustomLoss or CustomPenalty
            An equal one.

        Raises
        ------
        ValueError
            If the text is not such a formula.

        Examples
        --------
        >>> import warpfactor as wf
        >>> wf.losses.CustomLoss.from_text("(r - x)**2").derivative
        2*(-r + x)
        """
        return cls._of(formula.parse(text, cls._SYMBOLS), cls._SYMBOLS)

    def to_text(self) -> str:
        """Return the formula as a string, the only thing that is stored of it.

        Returns
        -------
        str
            What `from_text` takes.

        Examples
        --------
        >>> import warpfactor as wf
        >>> wf.losses.custom(lambda rating, prediction: abs(rating - prediction)).to_text()
        'abs(r - x)'
        """
        return self._text

    @property
    def expression(self) -> Any:
        """The formula as a SymPy expression of plain symbols, as SymPy arranges it."""
        return self._derive().expression

    @property
    def derivative(self) -> Any:
        """The slope as a SymPy expression: of a loss by x, of a penalty by w."""
        return self._derive().derivative

    def address(self, dtype: DTypeLike) -> int:
        """Return the address of the compiled function; the first call compiles it.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            T, the type of its numbers.

        Returns
        -------
        int
            Of a loss, the address of ``void(const T* ratings, const T* scores, T* losses, T*
            slopes)``, for eight numbers in each; of a penalty, of ``void(const T* values, T*
            slopes, int64_t n)`` with n a multiple of 16. Results and arguments must not overlap,
            save that an array may be replaced by its own results. The function needs no GIL, never
            raises, and lives as long as the process.

        Raises
        ------
        ValueError
            If `dtype` is another type, or cannot hold a constant of the formula.
        ImportError
            If SymPy or Numba is not installed.

        Examples
        --------
        >>> import warpfactor as wf
        >>> loss = wf.losses.custom(lambda r, x: (r - x) ** 2)
        >>> loss.address("float32") == loss.address("float32") != 0
        True
        """
        number = _number_type(dtype)
        if number.name not in self._compiled:
            self._compiled[number.name] = self._compile(number)
        return int(self._compiled[number.name].address)

    def cuda_source(self, dtype: DTypeLike) -> str:
        """Return the same function as CUDA source, for one number.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            What ``Number`` in it stands for.

        Returns
        -------
        str
            Of a loss, the definition of ``void loss(Number r, Number x, Number& loss, Number&
            slope)``; of a penalty, of ``Number penalty_slope(Number w)``.

        Raises
        ------
        ValueError
            If `dtype` is another type, or cannot hold a constant of the formula.
        ImportError
            If SymPy is not installed.

        Examples
        --------
        >>> import warpfactor as wf
        >>> print(wf.losses.penalty(lambda w: w**2).cuda_source("float32"))
        WARPFACTOR_CUSTOM_FUNCTION Number penalty_slope(Number w) {
          const Number v0 = Number(2.0) * w;
          return v0;
        }
        <BLANKLINE>
        """
        number = _number_type(dtype)
        with _LOCK:
            return self._source(self._derived_within(number), number)

    def _compile(self, dtype: np.dtype[Any]) -> Any:
        key = (type(self), self._text, dtype.name)
        with _LOCK:
            derived = self._derived_within(dtype)
            _require("numba", self._MAKER)
            if key not in _COMPILED:
                _COMPILED[key] = self._native(derived, dtype)
            return _COMPILED[key]

    @staticmethod
    def _native(derived: _Derived, dtype: np.dtype[Any]) -> Any:
        raise NotImplementedError

    @staticmethod
    def _source(derived: _Derived, dtype: np.dtype[Any]) -> str:
        raise NotImplementedError

    def _derived_within(self, dtype: np.dtype[Any]) -> _Derived:
        """Derive, and refuse constants that the type cannot hold."""
        derived = self._derive()
        sympy = importlib.import_module("sympy")
        for expression in (derived.expression, derived.derivative):
            for number in expression.atoms(sympy.Number):
                if not np.abs(float(number)) <= np.finfo(dtype).max:
                    raise ValueError(
                        f"{self._call}: the constant {float(number):g} is beyond {dtype.name}"
                        + ("; use dtype='float64'" if dtype == np.float32 else "")
                    )
        return derived

    def _derive(self) -> _Derived:
        with _LOCK:
            return self._derive_alone()

    def _derive_alone(self) -> _Derived:
        if self._derived is None:
            _require("sympy", self._MAKER)
            derive = importlib.import_module(".derive", __package__)
            try:
                with ended_after(_MOST_SECONDS):
                    expression = derive.to_sympy(self._tree, self._SYMBOLS)
                    slope = derive.differentiate(expression, self._SYMBOLS[-1])
                    derive.check_real(expression)
                    derive.check_real(slope)
                    evaluate = derive.numeric([expression, slope], self._SYMBOLS)
            except TimeIsOver:
                raise ValueError(
                    f"{self._call}: it cannot be differentiated within {_MOST_SECONDS:g} seconds: write "
                    "it shorter, or with fewer functions in each other"
                ) from None
            except Exception as error:
                raise ValueError(f"{self._call}: it cannot be differentiated: {error}") from error
            derived = _Derived(expression, slope, evaluate)
            self._check(derived)
            self._derived = derived
        return self._derived

    def _check(self, derived: _Derived) -> None:
        """Refuse what could not be trained with."""
        sympy = importlib.import_module("sympy")
        by = self._names[-1]
        if not derived.expression.has(sympy.Symbol(self._SYMBOLS[-1])):
            gone = "cancels out in" if self._SYMBOLS[-1] in self._tree.symbols() else "is not in"
            raise ValueError(
                f"{self._call}: {by} {gone} the {self._KIND}, so there is nothing to train; write "
                f"one of {self._MEANING}, such as {self._EXAMPLE}"
            )
        if derived.derivative == 0:
            raise ValueError(
                f"{self._call}: the slope by {by} is zero wherever there is one, so nothing would "
                f"be trained; {by} must count by more than comparisons and sign()"
            )

    def _parts(self, derived: _Derived) -> list[tuple[str, Any]]:
        return [(f"the {self._KIND}", derived.expression), ("its slope", derived.derivative)]

    def _check_finite(self, derived: _Derived, hint: str, *points: NDArray[np.float64]) -> None:
        values = derived.evaluate(*points)
        for (what, expression), array in zip(self._parts(derived), values, strict=True):
            for bad in np.flatnonzero(~np.isfinite(array)):
                at = ", ".join(
                    f"{n} = {p[bad]:g}" for n, p in zip(self._names, points, strict=True)
                )
                shown = f"{what} {self._said(expression)}" if what == "its slope" else what
                raise ValueError(f"{self._call}: {shown} is {array[bad]} at {at}; {hint}")

    def _said(self, expression: Any) -> str:
        """Return an expression in the user's names of the symbols."""
        symbol = importlib.import_module("sympy").Symbol
        names = {symbol(a): symbol(b) for a, b in zip(self._SYMBOLS, self._names, strict=True)}
        return shortened(str(expression.subs(names, simultaneous=True)), 400)

    def __repr__(self) -> str:
        return f"{self._MAKER}({self._text})"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._text == self._text

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # it never changes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_text, (self._text,)


class CustomLoss(_Custom):
    """A loss l(r, x) that the user wrote; `custom` makes it.

    It never changes. Two are equal if their formulas are written alike. Copies, pickles and model
    files hold the formula alone.

    Attributes
    ----------
    expression : sympy.Expr
        The formula, of the symbols r and x.
    derivative : sympy.Expr
        Its slope by x.

    Examples
    --------
    >>> import warpfactor as wf
    >>> loss = wf.losses.custom(lambda r, x: wf.losses.log(1 + wf.losses.exp(-r * x)))
    >>> loss
    wf.losses.custom(log(1 + exp(-r*x)))
    >>> loss.derivative
    -r*sigmoid(-r*x)
    """

    _KIND = "loss"
    _MEANING = "the rating and the prediction"
    _MAKER = "wf.losses.custom"
    _SYMBOLS = ("r", "x")
    _EXAMPLE = "lambda r, x: (r - x)**2"

    def evaluate(
        self, r: ArrayLike, x: ArrayLike
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute losses and slopes in NumPy.

        Parameters
        ----------
        r, x : array-like
            Ratings and predictions, of shapes that fit together.

        Returns
        -------
        losses, slopes : ndarray of float64
            l(r, x) and ∂l/∂x.

        Examples
        --------
        >>> import warpfactor as wf
        >>> wf.losses.custom(lambda r, x: abs(r - x)).evaluate(4, [2, 4, 5])
        (array([2., 0., 1.]), array([-1.,  0.,  1.]))
        """
        losses, slopes = self._derive().evaluate(r, x)
        return losses, slopes

    @staticmethod
    def _native(derived: _Derived, dtype: np.dtype[Any]) -> Any:
        compiler = importlib.import_module(".compile", __package__)
        return compiler.compile_loss(derived.expression, derived.derivative, dtype)

    @staticmethod
    def _source(derived: _Derived, dtype: np.dtype[Any]) -> str:
        writer = importlib.import_module(".cuda_source", __package__)
        return str(writer.loss_function(derived.expression, derived.derivative, dtype))

    def _check(self, derived: _Derived) -> None:
        super()._check(derived)
        # Unequal ones first: what is wrong only where the prediction is right is said so.
        ratings, predictions = (a.ravel() for a in np.meshgrid(_SANE_RATINGS, _SANE_PREDICTIONS))
        equal = ratings == predictions
        self._check_finite(
            derived,
            "it must be finite for all ratings and predictions from 0.5 to 5: wf.losses.where, "
            "maximum and clip can keep log, sqrt and / to where they are defined",
            ratings[~equal],
            predictions[~equal],
        )
        self._check_finite(
            derived,
            "it must be finite where the prediction is right, too: write abs(u) for sqrt(u**2), and "
            "sqrt(u + 1e-6) for sqrt(u)",
            ratings[equal],
            predictions[equal],
        )
        _, slopes = derived.evaluate(_SANE_RATINGS[:, np.newaxis], _FAR)
        # Falling at least as fast as the square: an L2 penalty cannot hold it. Only upwards, as
        # predictions below 0 may be out of the question, and only if it is so for every rating, as
        # these may be more than the loss is for (labels, say).
        if (slopes < 0).all() and (slopes[:, 1:] <= 2 * slopes[:, :-1]).all():
            r, x = self._names
            raise ValueError(
                f"{self._call}: the loss falls faster and faster as {x} grows (its slope is "
                f"{slopes[1, 0]:.3g} at {r} = 1, {x} = {_FAR[0]:g} and {slopes[1, 1]:.3g} at {x} = "
                f"{_FAR[1]:g}), so training would diverge; is its sign the wrong way round?"
            )


class CustomPenalty(_Custom):
    """A penalty h(w) that the user wrote, for each element of the factors; `penalty` makes it.

    It never changes. Two are equal if their formulas are written alike. Copies, pickles and model
    files hold the formula alone.

    Attributes
    ----------
    expression : sympy.Expr
        The formula, of the symbol w.
    derivative : sympy.Expr
        Its slope.

    Examples
    --------
    >>> import warpfactor as wf
    >>> wf.losses.penalty(lambda w: w**4 / 4).derivative
    w**3
    """

    _KIND = "penalty"
    _MEANING = "the factor"
    _MAKER = "wf.losses.penalty"
    _SYMBOLS = ("w",)
    _EXAMPLE = "lambda w: w**2 / 2"

    def evaluate(self, w: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compute penalties and slopes in NumPy.

        Parameters
        ----------
        w : array-like
            Elements of factors.

        Returns
        -------
        penalties, slopes : ndarray of float64
            h(w) and h'(w).

        Examples
        --------
        >>> import warpfactor as wf
        >>> wf.losses.penalty(lambda w: w**2).evaluate([0, 3])
        (array([0., 9.]), array([0., 6.]))
        """
        penalties, slopes = self._derive().evaluate(w)
        return penalties, slopes

    @staticmethod
    def _native(derived: _Derived, dtype: np.dtype[Any]) -> Any:
        compiler = importlib.import_module(".compile", __package__)
        return compiler.compile_penalty(derived.derivative, dtype)

    @staticmethod
    def _source(derived: _Derived, dtype: np.dtype[Any]) -> str:
        writer = importlib.import_module(".cuda_source", __package__)
        return str(writer.penalty_function(derived.derivative, dtype))

    def _check(self, derived: _Derived) -> None:
        super()._check(derived)
        self._check_finite(
            derived,
            "it must be finite from -2 to 2, and at 0 above all, where factors may begin: write "
            "abs(w) for powers of w, and sqrt(u + 1e-6) for sqrt(u)",
            _SANE_ELEMENTS,
        )
        _, slopes = derived.evaluate(_FAR)
        # p·q stays the same if p grows and q shrinks, so nothing else stops a fall without limit,
        # not even one along a line. A logarithm's slope falls tenfold from point to point.
        if (slopes < 0).all() and (slopes[1:] <= 0.5 * slopes[:-1]).all():
            (w,) = self._names
            raise ValueError(
                f"{self._call}: the penalty falls without limit as {w} grows (its slope is "
                f"{slopes[0]:.3g} at {w} = {_FAR[0]:g}), so training would diverge; is its sign the "
                "wrong way round?"
            )


# Points at which everything must be finite, equal ratings and predictions among them.
_SANE_RATINGS = np.array([0.5, 1.0, 2.0, 3.5, 5.0])
_SANE_PREDICTIONS = np.array([0.5, 1.0, 1.7, 2.0, 3.5, 4.9, 5.0])
_SANE_ELEMENTS = np.array([0.0, 0.01, -0.01, 0.1, -0.1, 1.0, -1.0, 2.0, -2.0])
_FAR = np.array([1e2, 1e3, 1e4, 1e5])

# SymPy asks of some expressions what takes twice as long with each level. What people write takes a second.
_MOST_SECONDS = 20.0

# Compiled functions by type, formula and dtype. They stay: the core may hold an address.
_COMPILED: dict[tuple[type, str, str], Any] = {}
# Of what SymPy and Numba do, their import included. It is held while a process is forked, too: a child would find
# Numba's own lock, and those of modules that were being imported, locked for ever. A thread that forks while it
# compiles takes it twice. Hooks of later modules come first: logging has one, whose lock the compiling thread takes.
_LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_LOCK.acquire,
        after_in_parent=_LOCK.release,
        after_in_child=_LOCK.release,
    )


def _number_type(dtype: DTypeLike) -> np.dtype[Any]:
    name = np.dtype(dtype).name
    if name not in ("float32", "float64"):
        raise ValueError(f"dtype is {name}; it must be float32 or float64")
    return np.dtype(name)


def _require(module: str, maker: str) -> None:
    try:
        with _LOCK:
            importlib.import_module(module)
    except ImportError as error:
        fix = 'pip install "warpfactor[autodiff]"'
        if module == "numba" and sysconfig.get_config_var("Py_GIL_DISABLED"):
            fix = "where it has no wheel for free-threaded Python, use a Python with the lock"
        raise ImportError(f"{maker} needs {module} ({error}): {fix}") from error


def _trace(kind: type[_Custom], function: Any) -> tuple[Symbolic, Sequence[str], str]:
    """Take down what a function computes: the formula, the user's names and how it was made."""
    names, quoted = _words(kind, function)
    call = f"{kind._MAKER}({quoted})"
    if not callable(function):
        built_in = (
            "; built-in losses are given to the model by name" if isinstance(function, str) else ""
        )
        raise ValueError(
            f"{call}: it takes a function of {kind._MEANING}, such as {kind._EXAMPLE}{built_in}"
        )
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise ValueError(
            f"{call}: the function is called with {kind._MEANING}, and cannot be: {error}; write "
            f"it like {kind._EXAMPLE}"
        ) from error
    except ValueError:  # built-in functions do not say what they take
        pass
    tree = _called(function, names, call)
    again = _called(function, names, call)
    if str(tree) != str(again):
        raise ValueError(
            f"{call}: the function gave two formulas in two calls, {tree} and {again}; it must "
            "always give the same, without random numbers or anything that changes"
        )
    strange = sorted(tree.symbols() - set(names))
    if strange:
        raise ValueError(f"{call}: {', '.join(strange)} in it is a symbol of another function")
    if quoted.endswith("..."):
        call = f"{kind._MAKER}({quoted[:-3]}{tree})"
    elif not quoted.startswith("lambda"):
        call += f", {tree}"
    return formula.renamed(tree, dict(zip(names, kind._SYMBOLS, strict=True))), names, call


def _called(function: Callable[..., Any], names: Sequence[str], call: str) -> Symbolic:
    try:
        result = function(*(Symbolic("symbol", name) for name in names))
    except Exception as error:
        what = str(error) if isinstance(error, TraceError) else f"{type(error).__name__}: {error}"
        if isinstance(error, AttributeError) and (
            isinstance(error.obj, Node) or error.obj in _modules()
        ):
            what = formula.unknown_message(str(error.name))
        where = _culprit(error, function)
        raise ValueError(f"{call}: {f'in {where}: ' if where else ''}{what}") from error
    if isinstance(result, Condition):
        raise ValueError(
            f"{call}: it returns the condition {result}, not a number; write what it costs if it "
            f"holds and if it does not: wf.losses.where({result}, a, b)"
        )
    if result is None:
        raise ValueError(f"{call}: it returns None; is a `return` missing?")
    if isinstance(result, (bool, np.bool)) or not isinstance(
        result, (Symbolic, int, float, np.number)
    ):
        raise ValueError(
            f"{call}: it returns {result!r} ({type(result).__name__}); it must return one formula"
        )
    try:
        return result if isinstance(result, Symbolic) else formula.constant(float(result))
    except TypeError as error:
        raise ValueError(f"{call}: {error}") from error


# The words of the user, to be said back.


def _modules() -> list[Any]:
    """Return this module under its two names: users type `warpfactor.losses`."""
    return [sys.modules.get(name) for name in (__name__, "warpfactor.losses")]


def _words(kind: type[_Custom], function: Any) -> tuple[Sequence[str], str]:
    """Return the names of the parameters, and the function as it is written."""
    names: Sequence[str] = kind._SYMBOLS
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return names, _shortened(repr(function))
    if len(signature.parameters) >= len(names):
        names = tuple(signature.parameters)[: len(names)]
    code = getattr(function, "__code__", None)
    if code is None or code.co_name != "<lambda>":
        return names, _shortened(getattr(function, "__name__", None) or repr(function))
    written = _source(code.co_filename, code.co_positions())
    return names, f"lambda {_shortened(str(signature)[1:-1])}: {written or '...'}"


def _culprit(error: BaseException, function: Any) -> str:
    """Return the part of the function's source in which an error was raised, or ""."""
    code = getattr(function, "__code__", None)
    found = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if code is not None and frame.f_code.co_filename == code.co_filename:
            positions = list(frame.f_code.co_positions())
            found = _source(code.co_filename, positions[trace.tb_lasti // 2 :][:1])
        trace = trace.tb_next
    return found


def _source(filename: str, positions: Iterable[tuple[int | None, ...]]) -> str:
    """Return the expression at these positions of a file, or "" where it cannot be read."""
    spans = [(p[0], p[1], p[2], p[3]) for p in positions if None not in p]
    # (line, last line, column, last column); those of no width are of no expression.
    spans = [s for s in spans if (s[0], s[2]) != (s[1], s[3])]
    if not spans:
        return ""
    line, column = min((s[0] or 0, s[2] or 0) for s in spans)
    last_line, last_column = max((s[1] or 0, s[3] or 0) for s in spans)
    lines = [text.encode() for text in linecache.getlines(filename)][line - 1 : last_line]
    if len(lines) != last_line - line + 1:
        return ""
    lines[-1] = lines[-1][:last_column]
    lines[0] = lines[0][column:]
    try:
        text = " ".join(b" ".join(lines).decode().split())
        ast.parse(text, mode="eval")  # not where the file has changed since
    except (UnicodeDecodeError, SyntaxError):
        return ""
    return _shortened(text)


def _shortened(text: str, width: int = 120) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


# The functions that a formula may be made of.


def abs(u: Any) -> Any:
    """Return |u|. Its slope at 0 is 0.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.abs(-2))
    2
    """
    return np.abs(u)


def arctan(u: Any) -> Any:
    """Return the angle whose tangent is u, in radians.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.arctan(0))
    0.0
    """
    return np.arctan(u)


def clip(u: Any, min: Any = None, max: Any = None) -> Any:
    """Return u, limited to what lies from min to max.

    Parameters
    ----------
    u : number, array or formula
        What is limited.
    min, max : number, formula or None, default None
        The limits; None is no limit.

    Returns
    -------
    number, array or formula
        As u is. Its slope is 0 where u is limited.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.clip(7, 0, 5))
    5
    >>> wf.losses.custom(lambda r, x: (r - wf.losses.clip(x, 1, 5)) ** 2)
    wf.losses.custom((r - clip(x, 1, 5))**2)
    """
    if any(isinstance(v, Node) for v in (u, min, max)):
        return formula.clip(u, min, max)
    return np.clip(u, min, max)


def cos(u: Any) -> Any:
    """Return the cosine of u, in radians.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.cos(0))
    1.0
    """
    return np.cos(u)


def cosh(u: Any) -> Any:
    """Return the hyperbolic cosine of u.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.cosh(0))
    1.0
    """
    return np.cosh(u)


def exp(u: Any) -> Any:
    """Return e to the power of u.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.exp(0))
    1.0
    """
    return np.exp(u)


def expm1(u: Any) -> Any:
    """Return exp(u) - 1, exactly so for small u.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.expm1(1e-20))
    1e-20
    """
    return np.expm1(u)


def log(u: Any) -> Any:
    """Return the natural logarithm of u > 0.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.log(1))
    0.0
    """
    return np.log(u)


def log1p(u: Any) -> Any:
    """Return log(1 + u), exactly so for small u.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.log1p(1e-20))
    1e-20
    """
    return np.log1p(u)


def logaddexp(a: Any, b: Any) -> Any:
    """Return log(exp(a) + exp(b)), without overflow: a maximum that is smooth.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.logaddexp(1000, 0))
    1000.0
    """
    return np.logaddexp(a, b)


def maximum(a: Any, b: Any) -> Any:
    """Return the larger of a and b. Where they are equal, the slope is that of b.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.maximum(2, 3))
    3
    """
    return np.maximum(a, b)


def minimum(a: Any, b: Any) -> Any:
    """Return the smaller of a and b. Where they are equal, the slope is that of b.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.minimum(2, 3))
    2
    """
    return np.minimum(a, b)


def sigmoid(u: Any) -> Any:
    """Return 1/(1 + exp(-u)), from 0 to 1; the slope of `softplus`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.sigmoid(0))
    0.5
    """
    if isinstance(u, Node):
        return formula.apply("sigmoid", u)
    with np.errstate(over="ignore"):  # to 1/inf
        return 1 / (1 + np.exp(-np.asarray(u, np.float64)))


def sign(u: Any) -> Any:
    """Return -1, 0 or 1. Its slope is 0.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.sign(-2))
    -1
    """
    return np.sign(u)


def sin(u: Any) -> Any:
    """Return the sine of u, in radians.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.sin(0))
    0.0
    """
    return np.sin(u)


def sinh(u: Any) -> Any:
    """Return the hyperbolic sine of u.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.sinh(0))
    0.0
    """
    return np.sinh(u)


def softplus(u: Any) -> Any:
    """Return log(1 + exp(u)), without overflow: a maximum(u, 0) that is smooth.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.softplus(1000))
    1000.0
    """
    return formula.apply("softplus", u) if isinstance(u, Node) else np.logaddexp(0, u)


def sqrt(u: Any) -> Any:
    """Return the square root of u >= 0. Its slope at 0 is infinite.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.sqrt(4))
    2.0
    """
    return np.sqrt(u)


def square(u: Any) -> Any:
    """Return u².

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.square(-2))
    4
    """
    return np.square(u)


def tanh(u: Any) -> Any:
    """Return the hyperbolic tangent of u, from -1 to 1.

    Examples
    --------
    >>> import warpfactor as wf
    >>> print(wf.losses.tanh(0))
    0.0
    """
    return np.tanh(u)


def where(condition: Any, a: Any, b: Any) -> Any:
    """Return a where the condition holds, else b.

    Parameters
    ----------
    condition : bool, array or comparison of formulas
        Comparisons are combined by & (and), | (or) and ~ (not), each in parentheses.
    a, b : number, array or formula
        Both are computed; what is not chosen may be NaN or infinite.

    Returns
    -------
    number, array or formula
        Its slope is that of a where the condition holds, else that of b.

    Examples
    --------
    A logarithm where there is one:

    >>> import warpfactor as wf
    >>> from warpfactor.losses import custom, log, where
    >>> custom(lambda r, x: where((r > 0) & (x > 0), r * log(r / x) - r + x, abs(x))).derivative
    where((r > 0) & (x > 0), -r/x + 1, sign(x))
    """
    return np.where(condition, a, b)
