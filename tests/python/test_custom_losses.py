"""Losses and penalties of the user's own: the formula, its slope, the compiled code, the errors."""

from __future__ import annotations

import copy
import ctypes
import doctest
import math
import operator
import pickle
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import warpfactor as wf
from warpfactor import losses
from warpfactor.formulas import derive, formula
from warpfactor.formulas import losses as implementation
from warpfactor.losses import CustomLoss, CustomPenalty, custom, penalty

INSTALL = 'pip install "warpfactor[autodiff]"'


def huber(r, x):
    error = abs(r - x)
    return losses.where(error <= 1, error**2 / 2, error - 0.5)


def logistic_slope(r, x):
    return -r / (1 + np.exp(r * x))


# Formula, and the slope by hand.
LOSSES = {
    "squared": (lambda r, x: (r - x) ** 2, lambda r, x: 2 * (x - r)),
    "huber": (huber, lambda r, x: np.clip(x - r, -1, 1)),
    "asymmetric": (
        lambda r, x: losses.where(x < r, 2, 1) * (r - x) ** 2,
        lambda r, x: np.where(x < r, 4, 2) * (x - r),
    ),
    "logistic": (lambda r, x: losses.log(1 + losses.exp(-r * x)), logistic_slope),
    "softplus": (lambda r, x: losses.softplus(-r * x), logistic_slope),
    "poisson": (lambda r, x: x - r * losses.log(x), lambda r, x: 1 - r / x),
    "poisson_log": (lambda r, x: np.exp(x) - r * x, lambda r, x: np.exp(x) - r),
    "quantile": (
        lambda r, x: losses.maximum(0.9 * (r - x), -0.1 * (r - x)),
        lambda r, x: np.where(r > x, -0.9, 0.1),
    ),
    "log_cosh": (lambda r, x: np.log(np.cosh(r - x)), lambda r, x: np.tanh(x - r)),
    "absolute": (lambda r, x: abs(r - x), lambda r, x: np.sign(x - r)),
    "hinge": (
        lambda r, x: losses.maximum(0, 1 - r * x),
        lambda r, x: np.where(r * x < 1, -r, 0),
    ),
    "clipped": (
        lambda r, x: (r - losses.clip(x, 1, 4)) ** 2,
        lambda r, x: np.where((x > 1) & (x < 4), 2 * (x - r), 0),
    ),
    "half_open": (
        lambda r, x: np.square(r - np.clip(x, 1, None)) + losses.minimum(x, 3),
        lambda r, x: np.where(x > 1, 2 * (x - r), 0) + (x < 3),
    ),
    "conditions": (
        lambda r, x: ((x < r) & ~(r > 4) | (x == r)) * (r - x) ** 2 + 0.1 * (r - x) ** 2,
        lambda r, x: 2 * (x - r) * (((x < r) & (r <= 4)) + 0.1),
    ),
    "powers": (
        lambda r, x: (r - x) ** 4 / 7 + x**2.5 - x**-2 + 2 ** (-x) + x**r,
        lambda r, x: (
            4 / 7 * (x - r) ** 3 + 2.5 * x**1.5 + 2 * x**-3 - math.log(2) * 2**-x + r * x ** (r - 1)
        ),
    ),
    "waves": (
        lambda r, x: np.sin(x) + np.cos(x) + losses.sinh(x) + np.arctan(x) + np.tanh(r * x),
        lambda r, x: (
            np.cos(x) - np.sin(x) + np.cosh(x) + 1 / (1 + x**2) + r * (1 - np.tanh(r * x) ** 2)
        ),
    ),
    "roots": (
        lambda r, x: losses.sqrt(1 + (r - x) ** 2) + np.expm1(-x) * np.log1p(x),
        lambda r, x: (
            (x - r) / np.sqrt(1 + (r - x) ** 2)
            - np.exp(-x) * np.log1p(x)
            + np.expm1(-x) / (1 + x)
        ),
    ),
    "smooth_maximum": (
        lambda r, x: losses.logaddexp(r - x, 2 * x) + losses.sigmoid(x),
        lambda r, x: (
            (2 * np.exp(2 * x) - np.exp(r - x)) / (np.exp(2 * x) + np.exp(r - x))
            + np.exp(-x) / (1 + np.exp(-x)) ** 2
        ),
    ),
}  # fmt: skip
PENALTIES = {
    "l2": (lambda w: w**2 / 2, lambda w: w),
    "l1": (lambda w: abs(w), np.sign),
    "smooth_l1": (lambda w: losses.sqrt(1 + w**2) - 1, lambda w: w / np.sqrt(1 + w**2)),
    "power": (lambda w: abs(w) ** 1.5, lambda w: 1.5 * np.sqrt(abs(w)) * np.sign(w)),
    "cauchy": (lambda w: np.log1p(w**2), lambda w: 2 * w / (1 + w**2)),
    "shifted": (lambda w: (w - 0.5) ** 2, lambda w: 2 * w - 1),
    "capped": (lambda w: losses.minimum(w**2, 1), lambda w: np.where(w**2 < 1, 2 * w, 0)),
}

# Where the compilers take different ways.
TERMS = [
    "log(log(x + 2))",
    "abs(where(~(x < 2), 0, 1))*x",
    "-x - r",
    "-(x*r)",
    "1/x/r",
    "-1/(3*x)",
    "(x + r)**-2",
    "-((x + r)**-0.5)",
    "x**1.5*r**-2.5/7",
    "where((x < r) | (x == 1) & (r != 2), maximum(x, r), minimum(x, r))*x",
    "clip(x, r - 1, r + 1)**2",
    "x + softplus(r - x)",
    "0.1*x + 3*r*x - 1e-07*r**7",
    "2**x*x**r",
]


def grid(n=64, seed=0):
    """Ratings and predictions, an eighth of which are equal; all are exact in float32."""
    rng = np.random.default_rng(seed)
    r, x = rng.uniform(0.5, 5, (2, n)).astype(np.float32)
    x[::8] = r[::8]
    return r, x


def run_loss(loss, dtype, r, x):
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)(loss.address(dtype))
    r, x = np.asarray(r, dtype), np.asarray(x, dtype)
    out, slopes = np.empty(len(r), dtype), np.empty(len(r), dtype)
    for at in range(0, len(r), 8):
        function(*(a[at : at + 8].ctypes.data for a in (r, x, out, slopes)))
    return out, slopes


def run_penalty(made, dtype, w):
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(
        made.address(dtype)
    )
    w = np.asarray(w, dtype)
    slopes = np.full(len(w) + 16, 7, dtype)
    function(w.ctypes.data, slopes.ctypes.data, len(w))
    assert (slopes[len(w) :] == 7).all()
    return slopes[: len(w)]


def rounding(expression, values, dtype):
    """Bound what rounding does to an expression, to first order.

    Each of n operations adds an error of eps/2 of its result (libm's functions 2 eps, of Numba's
    float32 ones included), which the operations after it multiply by at most the largest of the
    intermediate results, M, or 1.
    """
    parts = [e for e in sympy.preorder_traversal(expression) if isinstance(e, sympy.Expr)]
    names = tuple(values)
    largest = max(float(np.abs(v).max()) for v in derive.numeric(parts, names)(*values.values()))
    return 2 * len(parts) * np.finfo(dtype).eps * max(1, largest) ** 2


@pytest.mark.parametrize("name", LOSSES)
def test_slope_is_the_one_by_hand(name):
    f, slope = LOSSES[name]
    r, x = (a.astype(float) for a in grid())
    _, slopes = custom(f).evaluate(r, x)
    smooth = name not in ("quantile",)  # whose slope at a tie is one side's
    at = slice(None) if smooth else r != x
    np.testing.assert_allclose(slopes[at], slope(r, x)[at], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", LOSSES)
def test_slope_agrees_with_central_differences(name):
    f, _ = LOSSES[name]
    loss = custom(f)
    r, x = (a.astype(float) for a in grid())
    h = 1e-5
    corners = (abs(abs(r - x) - 1), abs(r - x), abs(x - 1), abs(x - 3), abs(x - 4), abs(r - 4))
    at = np.min([*corners, abs(r * x - 1)], axis=0) > 2 * h
    assert at.sum() > 40
    lower, upper = loss.evaluate(r, x - h)[0], loss.evaluate(r, x + h)[0]
    slopes = loss.evaluate(r, x)[1]
    # h² l'''/6 with l''' < 1e4 here, and the rounding of l (< 1e4) over h.
    np.testing.assert_allclose(slopes[at], ((upper - lower) / (2 * h))[at], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LOSSES)
def test_compiled_loss_computes_what_numpy_does(name, dtype):
    loss = custom(LOSSES[name][0])
    r, x = grid()
    expected = loss.evaluate(r, x)
    got = run_loss(loss, dtype, r, x)
    for array, wanted, expression in zip(
        got, expected, (loss.expression, loss.derivative), strict=True
    ):
        bound = rounding(expression, {"r": r, "x": x}, dtype)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", PENALTIES)
def test_compiled_penalty_computes_what_numpy_does(name, dtype):
    f, slope = PENALTIES[name]
    made = penalty(f)
    w = np.random.default_rng(0).normal(size=48).astype(np.float32)
    w[:3] = 0, -1, 1
    w = w.astype(float)
    np.testing.assert_allclose(made.evaluate(w)[1], slope(w), rtol=1e-10, atol=1e-12)
    bound = rounding(made.derivative, {"w": w}, dtype)
    np.testing.assert_allclose(run_penalty(made, dtype, w), slope(w), rtol=0, atol=bound)
    assert run_penalty(made, dtype, np.zeros(16))[0] == made.evaluate(0.0)[1]


@pytest.mark.parametrize("text", TERMS)
def test_all_kinds_of_terms_are_compiled(text):
    loss = CustomLoss.from_text(text)
    r, x = grid(16)
    for got, wanted in zip(run_loss(loss, "float64", r, x), loss.evaluate(r, x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_eight_ratings_are_computed_side_by_side():
    loss = custom(huber)
    loss.address("float32")
    (compiled,) = [
        c for (_, text, _), c in implementation._COMPILED.items() if text == loss.to_text()
    ][:1]
    code = compiled.inspect_llvm()
    assert "fsub <8 x float>" in code
    assert "select <8 x i1>" in code


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_where_does_not_choose_may_be_nan(dtype):
    loss = custom(lambda r, x: losses.where((r > 0) & (x > 0), r * losses.log(r / x) - r + x, x**2))
    assert str(loss.derivative) == "where((r > 0) & (x > 0), -r/x + 1, 2*x)"
    r = np.array([0, 0, -1, 2, 2, 2, 0, 1.0])
    x = np.array([1, 0, 0, 0, -1, 2, -2, 1.0])
    for values, slopes in (loss.evaluate(r, x), run_loss(loss, dtype, r, x)):
        np.testing.assert_array_equal(values, [1, 0, 0, 0, 1, 0, 4, 0])
        np.testing.assert_array_equal(slopes, [2, 0, 0, 0, -2, 0, -4, 0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_not_lost(dtype):
    r, x = np.full(8, 2.0), np.full(8, np.nan)
    for name in ("huber", "quantile", "hinge", "clipped", "absolute", "log_cosh", "logistic"):
        loss = custom(LOSSES[name][0])
        assert np.isnan(loss.evaluate(r, x)[0]).all()
        assert np.isnan(run_loss(loss, dtype, r, x)[0]).all(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["logistic", "softplus", "log_cosh"])
def test_stable_where_the_formula_as_written_overflows(name, dtype):
    loss = custom(LOSSES[name][0])
    r = np.full(8, 1.0)
    x = np.array([-3e4, -800, -90, -20, 20, 90, 800, 3e4])
    for values, slopes in (loss.evaluate(r, x), run_loss(loss, dtype, r, x)):
        assert np.isfinite(values).all()
        assert (np.abs(slopes) <= 1).all()
        assert values[0] == pytest.approx(3e4, rel=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exponentials_in_products_are_exact(dtype):
    """With powers of a rounded e, float32 would lose 40 units in the last place at x = 80."""
    loss = CustomLoss.from_text("r*exp(x)")
    r, x = np.full(80, 3.0), np.arange(80.0)
    for values, exact in zip(run_loss(loss, dtype, r, x), loss.evaluate(r, x), strict=True):
        np.testing.assert_allclose(values, exact, rtol=4 * np.finfo(dtype).eps)


def test_reciprocal_of_one_more_than_an_exponential_is_a_sigmoid():
    loss = custom(lambda r, x: r / (1 + losses.exp(x)))
    assert str(loss.derivative) == "-r*sigmoid(-x)*sigmoid(x)"
    assert loss.evaluate(1, [-1000, 1000])[1].tolist() == [0, 0]


def test_no_distributions_are_left_in_slopes():
    for f, _ in LOSSES.values():
        derivative = custom(f).derivative
        assert not derivative.has(sympy.DiracDelta, sympy.Heaviside, sympy.Derivative)


def test_formulas_are_shown():
    loss = custom(lambda rating, guess: abs(rating - guess) * 0.5)
    assert repr(loss) == str(loss) == "wf.losses.custom(abs(r - x)*0.5)"
    assert str(loss.expression) == "abs(r - x)/2"
    assert str(loss.derivative) == "-sign(r - x)/2"
    assert loss.derivative.subs({"r": 1, "x": 2}) == sympy.Rational(1, 2)
    assert repr(penalty(lambda w: w**4)) == "wf.losses.penalty(w**4)"
    assert str(custom(LOSSES["asymmetric"][0]).derivative) == "2*(-r + x)*where(x < r, 2, 1)"


def test_slopes_can_be_evaluated_by_sympy():
    for name in ("huber", "asymmetric", "quantile", "clipped", "smooth_maximum", "log_cosh"):
        loss = custom(LOSSES[name][0])
        value = loss.derivative.subs({"r": sympy.Rational(7, 2), "x": sympy.Rational(5, 4)})
        assert float(value) == pytest.approx(loss.evaluate(3.5, 1.25)[1])


def test_equality_is_of_formulas():
    one, same = custom(lambda r, x: (r - x) ** 2), custom(lambda a, b: (a - b) ** 2)
    assert one == same
    assert hash(one) == hash(same)
    assert one != custom(lambda r, x: (x - r) ** 2)
    assert one != "(r - x)**2"
    assert CustomLoss.from_text("(r - x)**2") == one
    assert CustomLoss.from_text("( r-x )**2.0") == one
    assert len({one, same, penalty(lambda w: w**2)}) == 2
    assert penalty(lambda r: r**2) != custom(lambda r, x: x**2)


def test_copies_pickles_and_clones_hold_the_formula():
    loss, made = custom(huber), penalty(lambda w: abs(w))
    for each in (loss, made):
        address = each.address("float32")
        for other in (copy.copy(each), copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
            assert other == each
            assert other.address("float32") == address
    assert b"sympy" not in pickle.dumps(loss)
    assert clone(wf.MatrixFactorization(loss=loss)).get_params()["loss"] == loss


def test_compiled_functions_are_shared_and_threads_may_ask_at_once():
    text = f"(r - x)**2*{random.random()}"
    made = [CustomLoss.from_text(text) for _ in range(8)]
    found = []
    threads = [
        threading.Thread(target=lambda m=m: found.append(m.address("float64"))) for m in made
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert made[0].address("float32") != found[0]


def test_objects_are_made_by_the_functions_alone():
    with pytest.raises(TypeError, match=r"make it by wf.losses.custom\(lambda r, x: "):
        CustomLoss("(r - x)**2")
    with pytest.raises(TypeError, match=r"wf.losses.penalty\(lambda w: "):
        CustomPenalty()
    with pytest.raises(AttributeError):
        custom(huber).derivative = 1


def test_a_constant_beyond_the_type_is_an_error():
    loss = custom(lambda r, x: 1e39 * (r - x) ** 2)
    assert loss.address("float64")
    with pytest.raises(ValueError, match=r"1e\+39 is beyond float32; use dtype='float64'"):
        custom(lambda r, x: 1e39 * r * x**2).address("float32")
    with pytest.raises(ValueError, match="dtype is int64; it must be float32 or float64"):
        loss.address(int)


# Text.

numbers = st.one_of(st.integers(-(10**6), 10**6), st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def formulas(draw, depth=5, functions=tuple(formula.FUNCTIONS)):
    """Formulas of all operations and these functions, built as tracing does."""
    leaf = st.sampled_from([formula.Symbolic("symbol", "r"), formula.Symbolic("symbol", "x")])
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(leaf)

    def operand(may_be_number=True):
        if may_be_number and draw(st.integers(0, 2)) == 0:
            return draw(numbers)
        return draw(formulas(depth - 1, functions))

    def condition(left):
        made = formula._comparison(
            draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="])), left, operand()
        )
        match draw(st.integers(0, 5)):
            case 0:
                return ~made
            case 1:
                return made & condition(operand(False))
            case 2:
                return condition(operand(False)) | made
        return made

    op = draw(st.sampled_from(["+", "-", "*", "/", "**", "neg", "where", *functions]))
    if op == "neg":
        return -operand(False)
    if op == "**" and draw(st.booleans()):
        return operand(False) ** draw(st.sampled_from([2, 3, -1, 0.5, -2.5]))
    if op == "where":
        return losses.where(condition(operand(False)), operand(), operand())
    if op in formula.FUNCTIONS:
        rest = formula.FUNCTIONS[op] - 1
        return formula.apply(op, operand(False), *(operand() for _ in range(rest)))
    args = [operand(False), operand()]
    if draw(st.booleans()):
        args.reverse()
    try:
        return formula._binary(op, *args)
    except formula.TraceError:  # too high a power, or a division by 0
        return args[0] if isinstance(args[0], formula.Node) else args[1]


def same(a, b):
    if not isinstance(a, formula.Node):
        return repr(a) == repr(b)  # of floats, this tells -0.0 from 0.0 and each from the next
    return (
        type(a) is type(b)
        and a.op == b.op
        and len(a.args) == len(b.args)
        and all(same(p, q) for p, q in zip(a.args, b.args, strict=True))
    )


@settings(max_examples=400, deadline=None)
@given(formulas())
def test_text_is_read_back_as_the_same_formula(tree):
    assert same(formula.parse(str(tree), ("r", "x")), tree)


@settings(max_examples=200, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_constants_are_read_back_to_the_last_bit(value):
    loss = CustomLoss.from_text(str(value * formula.Symbolic("symbol", "x")))
    (constant,) = [a for a in loss._tree.args if a.op == "number"]
    assert constant.args[0] == value
    assert math.copysign(1, constant.args[0]) == math.copysign(1, value)


def test_the_losses_survive_their_texts():
    r, x = grid()
    for f, _ in LOSSES.values():
        loss = custom(f)
        again = CustomLoss.from_text(loss.to_text())
        assert again == loss
        for mine, theirs in zip(again.evaluate(r, x), loss.evaluate(r, x), strict=True):
            assert mine.tobytes() == theirs.tobytes()


HOSTILE = {
    "import": "__import__('os').system('true')",
    "call of a name": "eval(x)",
    "attribute": "x.__class__",
    "subscript": "x[0]",
    "lambda": "(lambda: x)()",
    "assignment": "(y := x)",
    "comprehension": "[x for x in r]",
    "conditional": "x if r > x else r",
    "string": "'x'*1000",
    "keyword": "clip(x, max=1, min=0)",
    "starred": "exp(*x)",
    "unknown symbol": "w",
    "unknown function": "gamma(x)",
    "wrong number of arguments": "exp(x, x)",
    "chained comparison": "where(0 < x < r, 1, x)",
    "condition": "x > r",
    "condition for a number": "exp(x > r)",
    "number for a condition": "where(x, 1, 2)",
    "bool": "x + True",
    "complex": "x + 1j",
    "infinite": "x + 1e999",
    "huge integer": "x + " + "9" * 5000,
    "large integer": "x + " + "9" * 400,
    "constant": "3",
    "constants": "x + 2 + 3*4",
    "tower": "x + 9**9**9**9**9",
    "power": "x**100000000",
    "powers of powers": "((x**99)**99)**99",
    "shift": "1 << 100",
    "two lines": "x\n+ r",
    "statements": "x; r",
    "empty": "",
    "unicode": "\uff58",
    "nul": "x\0",
    "long": "x + " * 10_000 + "x",
    "parentheses": "(" * 5000 + "x" + ")" * 5000,
    "unbalanced parentheses": "(" * 9000,
    "minuses": "-" * 9000 + "x",
    "inversions": "~" * 9000 + "x",
    "calls": "exp(" * 1200 + "x" + ")" * 1200,
    "powers to the right": "x**" * 3000 + "x",
    "sum": "x+" * 4900 + "x",
    "literal into keyword": "1if x else r",
    "octal": "x + 010",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_texts_are_refused_at_once(text):
    began = time.perf_counter()
    # "constant" is a formula. That it ignores the prediction shows where it is to be trained.
    with pytest.raises(ValueError):
        CustomLoss.from_text(text).derivative  # noqa: B018
    assert time.perf_counter() - began < 5


def test_what_is_no_text_is_refused():
    with pytest.raises(ValueError, match="the formula is None; it must be a string"):
        CustomLoss.from_text(None)


@pytest.mark.parametrize(
    "text",
    [
        "exp(exp(exp(exp(50.5 + x - x)))) + x",
        "maximum(exp(exp(exp(exp(50 + x - x)))), 3)*x",
        "x*1e300**x*(1e300*x)**100*(1e300*x)**100",
        "(9007199254740991*x)**100*(9007199254740993*x)**0.3333",
        "(999999*x)**100*r",
        "*".join(["(x + r)"] * 70),
        "*".join(f"(x + {k}*r)" for k in range(70)),
        "where(" * 20 + "x > r" + ", x, r) > x" * 19 + ", x, r)",
        "+".join(f"exp(sin(x*{k}))" for k in range(70)),
    ],
)
def test_strange_formulas_are_differentiated_or_refused_in_time(text):
    began = time.perf_counter()
    loss = CustomLoss.from_text(text)
    try:
        loss.derivative  # noqa: B018
    except ValueError:
        pass
    assert time.perf_counter() - began < 10


# Errors. The messages are the table that the documentation shows.


def forgot_return(r, x):
    (r - x) ** 2


def branches(rating, guess):
    if guess < rating:
        return 2 * (rating - guess) ** 2
    return (rating - guess) ** 2


def outside(rating, guess):
    return losses.log(rating - guess)


KNOWN = (
    "abs, arctan, clip, cos, cosh, exp, expm1, log, log1p, logaddexp, maximum, minimum, sigmoid, "
    "sign, sin, sinh, softplus, sqrt, square, tanh, where"
)
NOT_TRUE = (
    "is a formula, neither true nor false yet: write wf.losses.where(condition, a, b) for `if`; "
    "&, | and ~ for `and`, `or` and `not`, and (a < b) & (b < c) for a < b < c; wf.losses.maximum "
    "and minimum for max() and min()"
)
FINITE = (
    "it must be finite for all ratings and predictions from 0.5 to 5: wf.losses.where, maximum and "
    "clip can keep log, sqrt and / to where they are defined"
)
CORNER = (
    "it must be finite where the prediction is right, too: write abs(u) for sqrt(u**2), and "
    "sqrt(u + 1e-6) for sqrt(u)"
)
NEAR_ZERO = (
    "it must be finite from -2 to 2, and at 0 above all, where factors may begin: write abs(w) for "
    "powers of w, and sqrt(u + 1e-6) for sqrt(u)"
)
NOTHING = (
    "so there is nothing to train; write one of the rating and the prediction, such as "
    "lambda r, x: (r - x)**2"
)
STEPS = "the slope of a step is zero wherever there is one"
# fmt: off
BROKEN = {
    "no function": (
        custom, "sqaured",
        ("('sqaured'): it takes a function of the rating and the prediction, such as lambda r, x: "
        "(r - x)**2; built-in losses are given to the model by name"),
    ),
    "one parameter": (
        custom, lambda x: x**2,
        ("(lambda x: x**2): the function is called with the rating and the prediction, and cannot "
        "be: too many positional arguments; write it like lambda r, x: (r - x)**2"),
    ),
    "no return": (
        custom, forgot_return,
        "(forgot_return): it returns None; is a `return` missing?",
    ),
    "ignores the prediction": (
        custom, lambda r, x: r**2,
        f"(lambda r, x: r**2): x is not in the loss, {NOTHING}",
    ),
    "prediction cancels out": (
        custom, lambda r, x: r - (x + r) + x,
        f"(lambda r, x: r - (x + r) + x): x cancels out in the loss, {NOTHING}",
    ),
    "constant": (
        custom, lambda r, x: 1.5,
        f"(lambda r, x: 1.5): x is not in the loss, {NOTHING}",
    ),
    "condition": (
        custom, lambda r, x: x != r,
        ("(lambda r, x: x != r): it returns the condition x != r, not a number; write what it costs "
        "if it holds and if it does not: wf.losses.where(x != r, a, b)"),
    ),
    "tuple": (
        custom, lambda r, x: (r - x, x),
        "(lambda r, x: (r - x, x)): it returns (r - x, x) (tuple); it must return one formula",
    ),
    "if": (
        custom, branches,
        f"(branches): in guess < rating: guess < rating {NOT_TRUE}",
    ),
    "max": (
        custom, lambda r, x: max(0, 1 - r * x),
        f"(lambda r, x: max(0, 1 - r * x)): in max(0, 1 - r * x): 1 - r*x > 0 {NOT_TRUE}",
    ),
    "math": (
        custom, lambda r, x: math.exp(x) - r * x,
        ("(lambda r, x: math.exp(x) - r * x): in math.exp(x): x is a formula, not a number yet, "
        "which functions that take numbers, such as those of math, cannot use: take those of "
        "wf.losses (wf.losses.exp, log, sqrt, ...)"),
    ),
    "unknown function": (
        custom, lambda r, x: losses.gamma(x) * r,
        ("(lambda r, x: losses.gamma(x) * r): in losses.gamma: gamma is not among the functions "
        f"that wf.losses can differentiate: {KNOWN}"),
    ),
    "unknown function of NumPy": (
        custom, lambda r, x: np.linalg.norm(r - x),
        ("(lambda r, x: np.linalg.norm(r - x)): in np.linalg.norm(r - x): norm is not among the "
        f"functions that wf.losses can differentiate: {KNOWN}"),
    ),
    "no slope": (
        custom, lambda r, x: np.floor(x) - r,
        f"(lambda r, x: np.floor(x) - r): in np.floor(x): floor cannot be trained through: {STEPS}",
    ),
    "rounding": (
        custom, lambda r, x: (r - round(x)) ** 2,
        ("(lambda r, x: (r - round(x)) ** 2): in round(x): rounding, // and % cannot be trained "
        f"through: {STEPS}"),
    ),
    "slope of zero": (
        custom, lambda r, x: losses.where(x > r, 1, 0),
        ("(lambda r, x: losses.where(x > r, 1, 0)): the slope by x is zero wherever there is one, "
        "so nothing would be trained; x must count by more than comparisons and sign()"),
    ),
    "NaN": (
        custom, outside,
        "(outside), log(rating - guess): the loss is nan at rating = 0.5, guess = 1; " + FINITE,
    ),
    "root of a square": (
        custom, lambda r, x: losses.sqrt((r - x) ** 2),
        ("(lambda r, x: losses.sqrt((r - x) ** 2)): its slope (-r + x)*sqrt((r - x)**2)/(r - x)**2 "
        f"is nan at r = 0.5, x = 0.5; {CORNER}"),
    ),
    "root of a distance": (
        custom, lambda a, b: abs(a - b) ** 0.5,
        ("(lambda a, b: abs(a - b) ** 0.5): its slope -sign(a - b)/(2*sqrt(abs(a - b))) is nan at "
        f"a = 0.5, b = 0.5; {CORNER}"),
    ),
    "wrong sign": (
        custom, lambda r, x: -((r - x) ** 2),
        ("(lambda r, x: -((r - x) ** 2)): the loss falls faster and faster as x grows (its slope is "
        "-198 at r = 1, x = 100 and -2e+03 at x = 1000), so training would diverge; is its sign "
        "the wrong way round?"),
    ),
    "division by zero": (
        custom, lambda r, x: (r - x) ** 2 / 0,
        "(lambda r, x: (r - x) ** 2 / 0): in (r - x) ** 2 / 0: (r - x)**2 is divided by 0",
    ),
    "hidden division by zero": (
        custom, lambda r, x: x / (r - r),
        "(lambda r, x: x / (r - r)): it cannot be differentiated: it divides by 0",
    ),
    "complex": (
        custom, lambda r, x: r * (-2) ** x,
        ("(lambda r, x: r * (-2) ** x): it cannot be differentiated: (-2)**x*r*(log(2) + I*pi) is "
        "complex"),
    ),
    "infinite constant": (
        custom, lambda r, x: math.inf * (r - x) ** 2,
        ("(lambda r, x: math.inf * (r - x) ** 2): in math.inf * (r - x) ** 2: a constant in the "
        "formula is inf: constants must be finite"),
    ),
    "array": (
        custom, lambda r, x: np.ones(3) * (r - x) ** 2,
        ("(lambda r, x: np.ones(3) * (r - x) ** 2): in np.ones(3) * (r - x) ** 2: (r - x)**2 is a "
        "formula of single numbers, one rating and one prediction: there can be no array in it"),
    ),
    "error of its own": (
        custom, lambda r, x: (r - x) ** {}["power"],
        "(lambda r, x: (r - x) ** {}[\"power\"]): in {}[\"power\"]: KeyError: 'power'",
    ),
    "constant penalty": (
        penalty, lambda w: 1,
        ("(lambda w: 1): w is not in the penalty, so there is nothing to train; write one of the "
        "factor, such as lambda w: w**2 / 2"),
    ),
    "penalty without a slope at 0": (
        penalty, lambda v: losses.sqrt(abs(v)),
        "(lambda v: losses.sqrt(abs(v))): its slope sign(v)/(2*sqrt(abs(v))) is nan at v = 0; "
        + NEAR_ZERO,
    ),
    "penalty of positive factors": (
        penalty, lambda w: w**1.5,
        "(lambda w: w**1.5): the penalty is nan at w = -0.01; " + NEAR_ZERO,
    ),
    "falling penalty": (
        penalty, lambda w: -abs(w),
        ("(lambda w: -abs(w)): the penalty falls without limit as w grows (its slope is -1 at w = "
        "100), so training would diverge; is its sign the wrong way round?"),
    ),
}
# fmt: on


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_formula_is_an_error_that_says_it_back(case):
    make, function, message = case
    with pytest.raises(ValueError) as error:
        make(function)
    assert str(error.value) == f"wf.losses.{make.__name__}{message}"


def test_a_function_that_changes_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(
        ValueError, match=r"gave two formulas in two calls, 0\.63.*; it must always"
    ):
        custom(lambda r, x: rng.random() * (r - x) ** 2)
    seen = []

    def hoards(r, x):
        seen.append(x)
        return (r - seen[0]) ** 2

    def leaks(other, x):
        return (other - seen[0]) ** 2

    custom(hoards)
    seen[:] = [formula.Symbolic("symbol", "w")]
    with pytest.raises(ValueError, match="w in it is a symbol of another function"):
        custom(leaks)


def test_names_that_mean_something_to_sympy_are_just_names():
    with pytest.raises(ValueError, match=r"its slope -sign\(E - S\)/.* at E = 0.5, S = 0.5"):
        custom(lambda E, S, power=0.5: abs(E - S) ** power)


def test_an_error_inside_the_function_is_chained():
    with pytest.raises(ValueError, match="in 1 / 0: ZeroDivisionError") as error:
        custom(lambda r, x: 1 / 0)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_without_its_source_a_function_is_shown_as_its_formula():
    made = eval("lambda r, x: log(r - x)", {"log": losses.log})
    with pytest.raises(ValueError, match=r"^wf.losses.custom\(lambda r, x: log\(r - x\)\): the "):
        custom(made)


def test_losses_that_only_look_broken_are_taken():
    for f in (
        lambda r, x: x - r * losses.log(x),  # not finite at 0 and below
        lambda r, x: (1 - r) * x + losses.softplus(-x),  # for labels of 0 and 1; falls for r > 1
        lambda r, x: r / x + losses.log(x),
        lambda r, x: -r * x,  # an L2 penalty can hold it
        lambda r, x: losses.maximum(0, 1 - r * x) ** 2,
    ):
        assert isinstance(custom(f), CustomLoss)
    for h in (lambda w: w, lambda w: losses.log1p(abs(w))):
        assert isinstance(penalty(h), CustomPenalty)


# What is imported when.


def fresh(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_losses_imports_neither_sympy_nor_numba():
    fresh(
        "import sys, warpfactor as wf\n"
        "wf.losses.custom, wf.losses.exp(1)\n"
        "wf.MatrixFactorization\n"
        "assert not {'sympy', 'numba', 'llvmlite'} & set(sys.modules)"
    )


def test_a_stored_loss_can_be_read_without_sympy():
    fresh(
        "import copy, pickle, sys\n"
        "sys.modules['sympy'] = sys.modules['numba'] = None\n"
        "import warpfactor as wf\n"
        "loss = wf.losses.CustomLoss.from_text('where(x < r, 2, 1)*(r - x)**2')\n"
        "assert pickle.loads(pickle.dumps(loss)) == copy.deepcopy(loss) == loss\n"
        "assert repr(loss) == 'wf.losses.custom(where(x < r, 2, 1)*(r - x)**2)'"
    )


@pytest.mark.parametrize("missing", ["sympy", "numba"])
def test_what_is_missing_and_how_to_install_it_is_said(missing, monkeypatch):
    stored = CustomLoss.from_text("(r - x)**2")
    monkeypatch.setitem(sys.modules, missing, None)
    for make in (
        lambda: custom(lambda r, x: (r - x) ** 2),
        lambda: penalty(lambda w: w**2),
        lambda: stored.address("float32"),
    ):
        with pytest.raises(ImportError, match=f"needs {missing} ") as error:
            make()
        assert INSTALL in str(error.value)
    if missing == "numba":
        assert str(stored.derivative) == "2*(-r + x)"


def test_functions_take_numbers_and_arrays():
    assert losses.where(True, 1, 2) == 1
    assert losses.softplus(0.0) == pytest.approx(math.log(2))
    assert losses.sigmoid(-1e4) == 0
    np.testing.assert_array_equal(losses.clip([0, 3, 9], 1, 5), [1, 3, 5])
    np.testing.assert_array_equal(losses.maximum([1, 2], 1.5), [1.5, 2])


def test_the_examples_of_the_docstrings_hold():
    assert doctest.testmod(losses).failed == 0


@pytest.mark.parametrize(
    "two", [np.float64(2), np.float32(2), np.int64(2), np.array(2.0), wf.losses.log(np.exp(2))]
)
def test_numpys_scalars_stand_on_either_side(two):
    for made in (
        custom(lambda r, x: two * (r - x) ** 2),
        custom(lambda r, x: (r - x) ** 2 * two),
        custom(lambda r, x: losses.where(two > 1, two, 1) * (r - x) ** 2 + 0 * (two - x)),
    ):
        np.testing.assert_allclose(made.evaluate(1.0, 4.0), (18.0, 12.0), rtol=1e-6)


@pytest.mark.parametrize("compare", [operator.eq, operator.ne])
def test_conditions_are_not_compared_unnoticed(compare):
    with pytest.raises(ValueError, match=r"the condition r > 3 is compared .* write \(a & b\)"):
        custom(lambda r, x: losses.where(compare(r > 3, x > 3), (r - x) ** 2, 5 * (r - x) ** 2))
