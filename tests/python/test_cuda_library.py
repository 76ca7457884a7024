"""The device's code in a wheel of its own: what is found, and what is refused, with the fix."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import warpfactor as wf
from warpfactor import _core, cuda_library

LIBRARY = "warpfactor_cuda/libwarpfactor_cuda.so"
SOURCE = """
const char* warpfactor_cuda_version(void) { return "%s"; }
const char* warpfactor_cuda_build_id(void) { return "%s"; }
%s
"""
WHOLE = "const void* warpfactor_cuda_library(void) { static int functions; return &functions; }"

linux = pytest.mark.skipif(sys.platform != "linux", reason="the wheel is for Linux")
outside = pytest.mark.skipif(
    _core.cuda_source != "none", reason=f"the device's code is there: {_core.cuda_source}"
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to import from first, with an empty package warpfactor_cuda."""
    (tmp_path / "warpfactor_cuda").mkdir()
    (tmp_path / "warpfactor_cuda" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def compiled(site: Path) -> Callable[..., Path]:
    """A function that puts a library there, of a version and of a build."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a library with")

    def make(version: str, build_id: str, rest: str = WHOLE) -> Path:
        (site / "library.c").write_text(SOURCE % (version, build_id, rest))
        command = [compiler, "-shared", "-fPIC", "-o", str(site / LIBRARY), str(site / "library.c")]
        subprocess.run(command, check=True)
        return site

    return make


def test_without_the_wheel_linux_is_told_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    address, source, problem = cuda_library.find("0.1.0", "id")
    assert (address, source) == (0, "none")
    assert 'pip install "warpfactor[gpu]"' in problem and "device='cpu'" in problem
    monkeypatch.setattr("platform.machine", lambda: "aarch64")  # there is no such wheel for it
    assert cuda_library.find("0.1.0", "id") == (0, "none", "")


@linux
def test_a_library_that_cannot_be_loaded_is_named_with_the_fix(site: Path) -> None:
    for content in (None, b"", b"no library at all"):
        if content is not None:
            (site / LIBRARY).write_bytes(content)
        address, source, problem = cuda_library.find("0.1.0", "id")
        assert (address, source) == (0, "none")
        assert LIBRARY in problem
        assert 'pip install --force-reinstall "warpfactor-cuda==0.1.0"' in problem


@linux
def test_a_library_of_the_same_sources_is_taken(compiled: Callable[..., Path]) -> None:
    compiled("0.1.0", "id")
    address, source, problem = cuda_library.find("0.1.0", "id")
    assert address != 0 and (source, problem) == ("warpfactor-cuda 0.1.0", "")


@linux
@pytest.mark.parametrize(
    ("version", "build_id", "rest", "fix"),
    [
        ("0.0.9", "id", WHOLE, 'pip install "warpfactor-cuda==0.1.0"'),
        ("0.1.0", "other", WHOLE, "build both from one tree"),
        ("0.1.0", "id", "", 'pip install --force-reinstall "warpfactor-cuda==0.1.0"'),
    ],
    ids=["version", "sources", "lacks a function"],
)
def test_another_library_is_refused_with_the_fix(
    version: str, build_id: str, rest: str, fix: str, compiled: Callable[..., Path]
) -> None:
    compiled(version, build_id, rest)
    address, source, problem = cuda_library.find("0.1.0", "id")
    assert (address, source) == (0, "none")
    assert fix in problem


@linux
@outside
def test_with_a_refused_library_the_cpu_works_and_the_device_says_why(
    compiled: Callable[..., Path],
) -> None:
    site = compiled("0.0.9", "id")
    program = """
import warpfactor as wf
config = wf.show_config("dicts")
assert not config["cuda_built"] and config["cuda_source"] == "none", config
ratings = [[user, item] for user in range(8) for item in range(6)]
def fit(device):
    model = wf.MatrixFactorization(n_factors=2, device=device, random_state=0, verbose=0)
    return model.fit(ratings, [float(sum(pair)) for pair in ratings])
fit("auto")
try:
    fit("cuda")
except wf.CudaError as error:
    print(error)
"""
    path = os.pathsep.join([str(site), str(Path(wf.__file__).parents[1])])
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert f'pip install "warpfactor-cuda=={wf.__version__}"' in told.stdout


def test_show_config_tells_where_the_devices_code_is_from() -> None:
    config = wf.show_config("dicts")
    assert config["cuda_source"] in ("built in", "none", f"warpfactor-cuda {wf.__version__}")
    assert config["cuda_built"] == (config["cuda_source"] != "none")
