"""Custom losses as CUDA source: what it computes, and that NVRTC takes it."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from test_custom_losses import (
    LOSSES,
    PENALTIES,
    TERMS,
    formulas,
    grid,
    rounding,
    run_loss,
    run_penalty,
)
from warpfactor import CudaError
from warpfactor.formulas import compile as compiler
from warpfactor.formulas import cuda_compile, cuda_source, derive, formula
from warpfactor.losses import CustomLoss, custom, penalty

DTYPES = {name: np.dtype(name) for name in ("float32", "float64")}
EXACT = ("abs", "clip", "maximum", "minimum", "sign", "sqrt")  # IEEE 754 says every bit of these
# Hardly any of these is exact in float32, the last two not in float64 either.
CONSTANTS = [0.1, -1 / 3, 1e-7, 1.17549435e-38, 1e-42, 16777217.0, 3.4e38, 2.5e-310, 0.1 + 2**-54]


# Each function, each of its arguments as a symbol.
FUNCTIONS = [
    *(f"{name}(x)" for name, n in formula.FUNCTIONS.items() if n == 1),
    *(f"{name}({args})" for name in ("maximum", "minimum") for args in ("x, r", "x, 3", "3, x")),
    *(f"clip({args})" for args in ("x, 1, 4", "x, r, 4", "r, x, 4", "2, r, x")),
]


def constants(dtype):
    return [c for c in CONSTANTS if dtype == "float64" or c != 2.5e-310]


def unit(functions, entry):
    """Return one source with many functions, each in a namespace of its own and with an entry.

    Parameters
    ----------
    functions : list of (str, str)
        Texts and their dtypes.
    entry : str
        The definition of a function, with %s for its name and for what it calls.
    """
    parts = ["#if !defined(__CUDACC__)\n#include <math.h>\n#endif\n"]
    for k, (text, dtype) in enumerate(functions):
        if "void loss(" in text:
            source = cuda_source.join(text, None, DTYPES[dtype])
            call = "loss(a[i], b[i], c[i], d[i])"
        else:
            source = cuda_source.join(None, text, DTYPES[dtype])
            call = "d[i] = penalty_slope(a[i])"
        made = entry % (f"entry_{k}", call)
        parts.append(
            f"namespace f{k} {{\n{source}\nusing namespace warpfactor::custom;\n{made}}}\n"
        )
    return "\n".join(parts)


# On the CPU.

LOOP = """
extern "C" void %s(long n, const Number* a, const Number* b, Number* c, Number* d) {
  for (long i = 0; i < n; ++i) %s;
}
"""
WARNINGS = ["-Wall", "-Wconversion", "-Wdouble-promotion", "-Werror"]


def compiled(functions, folder):
    """Compile texts with the C++ compiler; return a function of two arrays for each."""
    command = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
    if not command or sys.platform == "win32":
        pytest.skip("no C++ compiler ($CXX, c++ or g++) makes a library for ctypes here")
    (folder / "unit.cpp").write_text(unit(functions, LOOP))
    # Contracted to fused operations, results would be other ones, as they are on the device.
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", *WARNINGS]
    done = subprocess.run(
        [*command.split(), *flags, "unit.cpp", "-o", "unit.so"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    library = ctypes.CDLL(str(folder / "unit.so"))

    def function(k, dtype):
        def run(a, b=None):
            a = np.array(a, dtype)
            b = a if b is None else np.array(b, dtype)
            c, d = np.empty_like(a), np.empty_like(a)
            pointers = (ctypes.c_void_p(v.ctypes.data) for v in (a, b, c, d))
            library[f"entry_{k}"](ctypes.c_long(len(a)), *pointers)
            return c, d

        return run

    return [function(k, dtype) for k, (_, dtype) in enumerate(functions)]


def pair(texts, dtype):
    """Return the source of a loss whose loss and slope are two formulas."""
    trees = [formula.parse(t, ("r", "x")) for t in texts]
    return cuda_source.loss_function(*(derive.to_sympy(t, "rx") for t in trees), DTYPES[dtype])


@pytest.fixture(scope="module")
def functions(tmp_path_factory):
    """Everything that the tests call, by kind, name and dtype, from one run of the compiler."""
    texts = {}
    for dtype, number in DTYPES.items():
        for name, (f, _) in LOSSES.items():
            texts["loss", name, dtype] = custom(f).cuda_source(dtype)
        for name, (f, _) in PENALTIES.items():
            texts["penalty", name, dtype] = penalty(f).cuda_source(dtype)
        for text in TERMS:
            texts["term", text, dtype] = CustomLoss.from_text(text).cuda_source(dtype)
        for text in FUNCTIONS:
            texts["function", text, dtype] = pair([text, text], dtype)
        for c in constants(dtype):
            texts["constant", c, dtype] = cuda_source.penalty_function(
                sympy.Float(c) * sympy.Symbol("w"), number
            )
    made = compiled(
        [(text, dtype) for (_, _, dtype), text in texts.items()], tmp_path_factory.mktemp("unit")
    )
    return dict(zip(texts, made, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_computes_what_numpy_and_numba_do(functions, name, dtype):
    loss = custom(LOSSES[name][0])
    r, x = grid()
    got = functions["loss", name, dtype](r, x)
    others = zip(loss.evaluate(r, x), run_loss(loss, dtype, r, x), strict=True)
    for array, wanted, expression in zip(
        got, others, (loss.expression, loss.derivative), strict=True
    ):
        bound = rounding(expression, {"r": r, "x": x}, dtype)
        for other in wanted:
            np.testing.assert_allclose(array, other, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_computes_what_numpy_and_numba_do(functions, name, dtype):
    made = penalty(PENALTIES[name][0])
    w = np.random.default_rng(0).normal(size=48).astype(np.float32)
    w[:3] = 0, -1, 1
    _, got = functions["penalty", name, dtype](w)
    bound = rounding(made.derivative, {"w": w.astype(float)}, dtype)
    for other in (made.evaluate(w)[1], run_penalty(made, dtype, w)):
        np.testing.assert_allclose(got, other, rtol=0, atol=bound)


@pytest.mark.parametrize("text", TERMS)
def test_all_kinds_of_terms_are_written(functions, text):
    r, x = grid(16)
    wanted = CustomLoss.from_text(text).evaluate(r, x)
    for got, other in zip(functions["term", text, "float64"](r, x), wanted, strict=True):
        np.testing.assert_allclose(got, other, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", FUNCTIONS)
def test_a_function_computes_what_numpy_does(functions, text, dtype):
    """Where it is not NaN, up to the largest numbers, infinities included."""
    far = {"float32": [80, 88.7, 1e4, 1e38], "float64": [700, 709.7, 1e4, 1e300]}[dtype]
    some = np.array([0, 1e-30, 1e-3, 0.5, 1, 2, 3.25, 4, 30, *far, np.inf])
    some = np.concatenate([some, -some]).astype(dtype)
    r, x = (a.ravel() for a in np.meshgrid(some, some))
    evaluate = derive.numeric([derive.to_sympy(formula.parse(text, "rx"), "rx")], ("r", "x"))
    with np.errstate(over="ignore"):  # of float32
        wanted = np.asarray(evaluate(r, x)[0]).astype(dtype)
    got, _ = functions["function", text, dtype](r, x)
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("text", FUNCTIONS)
def test_nan_goes_through_every_function(functions, text, dtype):
    run = functions["function", text, dtype]
    number, none = np.full(1, 2.0), np.full(1, np.nan)
    if "x" in text:
        assert np.isnan(run(number, none)[0])
    if "r" in text[text.index("(") :]:
        assert np.isnan(run(none, number)[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["logistic", "softplus", "log_cosh"])
def test_stable_where_the_formula_as_written_overflows(functions, name, dtype):
    x = np.array([-3e4, -800, -90, -20, 20, 90, 800, 3e4])
    values, slopes = functions["loss", name, dtype](np.ones(8), x)
    assert np.isfinite(values).all()
    assert (np.abs(slopes) <= 1).all()
    assert values[0] == pytest.approx(3e4, rel=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_are_read_as_numpy_rounds_them(functions, dtype):
    for c in constants(dtype):
        _, (product,) = functions["constant", c, dtype]([1.0])
        assert product == np.dtype(dtype).type(c)


def is_formula(tree):
    try:
        expression = derive.to_sympy(tree, "rx")
        derive.check_real(expression)
    except ValueError:
        return False
    return expression.count_ops() < 100


@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(formulas(functions=EXACT).filter(is_formula), min_size=8, max_size=8))
def test_bits_are_those_of_the_cpu_where_no_library_is_called(tmp_path_factory, trees):
    expressions = [derive.to_sympy(tree, "rx") for tree in trees]
    pairs = list(zip(expressions[::2], expressions[1::2], strict=True))
    texts = [(cuda_source.loss_function(*p, d), d.name) for p in pairs for d in DTYPES.values()]
    natives = [compiler.compile_loss(*p, d) for p in pairs for d in DTYPES.values()]
    made = compiled(texts, tmp_path_factory.mktemp("unit"))
    some = np.array([0.0, -0.0, 1, -1, 2.5, -3.7, 1e-30, 1e30, np.inf, -np.inf, np.nan, 0.3])
    r, x = (a.ravel() for a in np.meshgrid(some, some))
    for (text, dtype), native, run in zip(texts, natives, made, strict=True):
        if "pow" in text:
            continue
        wanted = run_native(native, dtype, r, x)
        for a, b in zip(run(r, x), wanted, strict=True):
            # NaNs have signs, which nothing says.
            np.testing.assert_array_equal(a, b, err_msg=text)
            np.testing.assert_array_equal(
                np.signbit(a[~np.isnan(a)]), np.signbit(b[~np.isnan(b)]), err_msg=text
            )


def run_native(native, dtype, r, x):
    class Loss:
        def address(self, _):
            return native.address

    return run_loss(Loss(), dtype, r, x)


# The text itself.


def test_the_source_defines_what_there_is():
    loss, other = CustomLoss.from_text("(r - x)**2"), penalty(lambda w: w**2)
    float32, float64 = DTYPES.values()
    both = cuda_source.join(loss.cuda_source("float32"), other.cuda_source("float32"), float32)
    assert both.startswith("#define WARPFACTOR_CUSTOM_LOSS 1\n#define WARPFACTOR_CUSTOM_PENALTY 1")
    assert "using Number = float;" in both
    alone = cuda_source.join(None, other.cuda_source("float64"), float64)
    assert "WARPFACTOR_CUSTOM_LOSS" not in alone
    assert "void loss" not in alone
    assert "using Number = double;" in alone


def test_what_is_shared_is_computed_once():
    text = custom(lambda r, x: np.log(1 + np.exp(-r * x))).cuda_source("float64")
    assert text.count("exp(") == 1
    text = custom(lambda r, x: np.sqrt(1 + (r - x) ** 2)).cuda_source("float32")
    assert text.count("sqrtf(") == 1


def test_types_and_constants_are_checked_as_for_the_cpu():
    loss = custom(lambda r, x: 1e39 * (r - x) ** 2)
    assert "1e+39" in loss.cuda_source("float64")
    with pytest.raises(ValueError, match=r"1e\+39 is beyond float32; use dtype='float64'"):
        loss.cuda_source("float32")
    with pytest.raises(ValueError, match="dtype is float16; it must be float32 or float64"):
        loss.cuda_source("float16")


# NVRTC, which needs no device.

KERNEL = """
extern "C" __global__ void %s(const Number* a, const Number* b, Number* c, Number* d) {
  const int i = threadIdx.x;
  %s;
}
"""


class Nvrtc:
    """NVIDIA's run-time compiler."""

    def __init__(self, library):
        self.library = library

    def check(self, status):
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        assert status == 0, self.library.nvrtcGetErrorString(status)

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        text = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, f"nvrtcGet{what}")(program, text))
        return text.value.decode()

    def ptx(self, source, *options, names=()):
        """Return what a source is compiled to; `names` are templates to instantiate."""
        program = ctypes.c_void_p()
        create = self.library.nvrtcCreateProgram
        self.check(create(ctypes.byref(program), source.encode(), None, 0, None, None))
        try:
            for name in names:
                self.check(self.library.nvrtcAddNameExpression(program, name.encode()))
            given = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
            status = self.library.nvrtcCompileProgram(program, len(options), given)
            log = self.text(program, "ProgramLog")
            assert status == 0, log
            assert "warning" not in log, log
            ptx = self.text(program, "PTX")
            for name in names:
                lowered = ctypes.c_char_p()
                get = self.library.nvrtcGetLoweredName
                self.check(get(program, name.encode(), ctypes.byref(lowered)))
                assert f".entry {lowered.value.decode()}(" in ptx
            return ptx
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))


def nvrtc_libraries():
    for folder in map(Path, sys.path):  # where the wheels of NVIDIA put it
        yield from map(str, folder.glob("nvidia/*/lib/libnvrtc.so.[0-9]*"))
    root = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    yield from map(str, Path(root).glob("lib64/libnvrtc.so"))
    found = ctypes.util.find_library("nvrtc")
    if found:
        yield found


@pytest.fixture(scope="module")
def nvrtc():
    problems = []
    for path in nvrtc_libraries():
        try:
            return Nvrtc(ctypes.CDLL(path))
        except OSError as error:
            problems.append(str(error))
    found = "; ".join(problems) or "there is none"
    why = f"libnvrtc cannot be loaded ({found}): pip install nvidia-cuda-nvrtc"
    if os.environ.get("WARPFACTOR_REQUIRE_NVRTC") == "1":
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"])
def test_nvrtc_compiles_every_formula(nvrtc, architecture, dtype):
    texts = [
        *(custom(f).cuda_source(dtype) for f, _ in LOSSES.values()),
        *(penalty(f).cuda_source(dtype) for f, _ in PENALTIES.values()),
        *(CustomLoss.from_text(t).cuda_source(dtype) for t in TERMS),
        *(pair([t, t], dtype) for t in FUNCTIONS),
    ]
    source = unit([(text, dtype) for text in texts], KERNEL)
    ptx = nvrtc.ptx(source, "-std=c++17", f"--gpu-architecture={architecture}")
    assert f"sm_{architecture[-2:]}" in ptx
    bodies = ptx.split(".entry ")[1:]
    assert len(bodies) == len(texts)
    for body, text in zip(bodies, texts, strict=True):
        if dtype == "float32" and "sinf(" not in text and "cosf(" not in text:
            # CUDA's own sinf and cosf reduce large angles in double.
            assert ".f64" not in body, text


def test_nvrtc_reads_constants_as_numpy_does(nvrtc):
    w = sympy.Symbol("w")
    for dtype, kind, mark in (("float32", np.uint32, "0f"), ("float64", np.uint64, "0d")):
        texts = [
            (cuda_source.penalty_function(sympy.Float(c) * w, DTYPES[dtype]), dtype)
            for c in constants(dtype)
        ]
        ptx = nvrtc.ptx(unit(texts, KERNEL), "-std=c++17", "--gpu-architecture=compute_80")
        for c in constants(dtype):
            bits = np.dtype(dtype).type(c).view(kind)
            assert f"{mark}{bits:0{2 * kind().nbytes}X}" in ptx


# The kernels.


@pytest.fixture
def headers():
    """The options that find the headers: the package's, or of a source tree those it will have."""
    if cuda_compile._HEADERS.is_dir():
        return [f"-I{cuda_compile._HEADERS}"]
    root = Path(__file__).parents[2]
    return [f"-I{root / folder}" for folder in ("cuda", "cpp/src", "cpp/include")]


@pytest.mark.parametrize(
    ("dtype", "n_factors", "with_loss", "kind"),
    [
        ("float16", 128, True, "general"),
        ("float32", 1, True, "plain"),
        ("float32", 513, False, "adam"),
        ("float64", 64, True, "momentum"),
    ],
)
def test_nvrtc_compiles_the_kernels(nvrtc, headers, dtype, n_factors, with_loss, kind):
    loss = custom(LOSSES["log_cosh"][0]) if with_loss else None
    other = penalty(PENALTIES["smooth_l1"][0]) if kind != "plain" else None
    code, names = cuda_compile.kernel_source(
        loss, other, n_factors=n_factors, dtype=dtype, kind=kind
    )
    options = (*cuda_compile._OPTIONS, *headers, "--gpu-architecture=compute_80")
    ptx = nvrtc.ptx(code, *options, names=list(names.values()))
    # The pass for pulls of the rows' own is another one, except where the pass does everything.
    assert ptx.count(".entry ") == len(names) == (5 if kind == "plain" else 4)


class FakeCupy(types.ModuleType):
    """What `device_kernels` uses of CuPy."""

    class CompileError(Exception):
        pass

    def __init__(self, error=None):
        super().__init__("cupy")
        self.error, self.devices, self.options = error, [], None
        self.cuda = self
        self.compiler = types.ModuleType("cupy.cuda.compiler")
        self.compiler.CompileException = self.CompileError

    def Device(self, number):
        self.devices.append(number)
        return self

    def __enter__(self):
        self.devices.append("in")

    def __exit__(self, *_):
        self.devices.append("out")

    def RawModule(self, code, options, name_expressions):
        self.options = options
        assert self.devices[-1] == "in"
        if self.error:
            raise self.error
        handles = {name: 100 + k for k, name in enumerate(name_expressions)}
        kernel = types.SimpleNamespace
        return kernel(get_function=lambda n: kernel(kernel=kernel(ptr=handles[n])))


def kernels_by(cupy, monkeypatch, loss="(r - x)**2"):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda.compiler", getattr(cupy, "compiler", None))
    return cuda_compile.device_kernels(
        CustomLoss.from_text(loss), None, n_factors=8, dtype="float32", device=1
    )


def test_kernels_come_by_name_for_the_device_that_was_asked_for(monkeypatch):
    cupy = FakeCupy()
    kernels = kernels_by(cupy, monkeypatch)
    assert kernels.functions == {
        "pass": 100,
        "batch_gradients": 101,
        "batch_steps": 102,
        "evaluate": 103,
    }
    assert kernels.module.get_function
    assert cupy.devices == [1, "in", "out"]
    assert cupy.options[-1] == f"-I{cuda_compile._HEADERS}"


@pytest.mark.parametrize(
    ("cupy", "message"),
    [
        (None, r'need CuPy .*pip install "warpfactor\[(cupy|gpu)\]", or use device=.cpu.'),
        (FakeCupy(FakeCupy.CompileError("line 7: no")), r"(?s)cannot compile.*r - x.*line 7: no"),
        (FakeCupy(RuntimeError("failed to load libnvrtc")), "device 1: failed to load libnvrtc"),
    ],
)
def test_what_keeps_kernels_from_being_compiled_is_said(monkeypatch, cupy, message):
    with pytest.raises(CudaError, match=message):
        kernels_by(cupy, monkeypatch)


def test_the_code_changes_with_the_headers(monkeypatch, tmp_path):
    """CuPy keeps what it compiled by the code, without what the code includes."""
    monkeypatch.setattr(cuda_compile, "_HEADERS", tmp_path)
    codes = []
    for text in ("int a;", "int b;"):
        (tmp_path / "kernels.cuh").write_text(text)
        codes.append(cuda_compile.kernel_source(None, None, n_factors=8, dtype="float32")[0])
    assert codes[0] != codes[1]


def test_storage_is_checked():
    with pytest.raises(ValueError, match="dtype is int8; it must be float16, float32 or float64"):
        cuda_compile.kernel_source(None, None, n_factors=8, dtype="int8")


# On a device.


@pytest.fixture(scope="module")
def cupy():
    module = pytest.importorskip("cupy", reason="CuPy is not installed")
    try:
        module.cuda.Device(0).use()
    except RuntimeError as error:
        pytest.skip(f"there is no device: {error}")
    return module


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_device_computes_what_numpy_does(cupy, dtype):
    made = [custom(f) for f, _ in LOSSES.values()]
    source = unit([(loss.cuda_source(dtype), dtype) for loss in made], KERNEL)
    module = cupy.RawModule(code=source, options=cuda_compile._OPTIONS)
    r, x = grid()
    for k, loss in enumerate(made):
        a, b = (cupy.asarray(v, dtype) for v in (r, x))
        c, d = cupy.empty_like(a), cupy.empty_like(a)
        module.get_function(f"entry_{k}")((1,), (len(r),), (a, b, c, d))
        expressions = (loss.expression, loss.derivative)
        for got, wanted, e in zip((c, d), loss.evaluate(r, x), expressions, strict=True):
            bound = 2 * rounding(e, {"r": r, "x": x}, dtype)  # CUDA's functions: up to 4 eps
            np.testing.assert_allclose(cupy.asnumpy(got), wanted, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_device_loads_the_kernels(cupy, dtype):
    kernels = cuda_compile.device_kernels(
        custom(LOSSES["huber"][0]), None, n_factors=64, dtype=dtype, device=0
    )
    assert len(set(kernels.functions.values())) == len(kernels.functions) == 4
    assert all(kernels.functions.values())
