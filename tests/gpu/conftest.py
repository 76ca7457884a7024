"""On which device a test runs, and what it skips for.

A test that takes `device` or `place` runs once on the CPU and once on a CUDA device, with the same
body. WARPFACTOR_REQUIRE_CUDA=1 fails those that would be skipped for want of a usable device.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np
import pytest

import warpfactor as wf
from warpfactor import _core

# "float16" is how a CUDA device stores factors; the CPU has no such storage.
PLACES = [
    ("cpu", "float32"),
    ("cpu", "float64"),
    ("cuda", "float32"),
    ("cuda", "float16"),
    ("cuda", "float64"),
]


def is_twin() -> bool:
    """Whether the device's kernels run on the host, in a build made for tests."""
    return bool(getattr(_core, "cuda_is_twin", lambda: False)())


def require_cuda() -> None:
    config = wf.show_config("dicts")
    if config["cuda_usable"]:
        return
    if os.environ.get("WARPFACTOR_REQUIRE_CUDA") == "1":
        pytest.fail(f"WARPFACTOR_REQUIRE_CUDA=1, and {config['cuda_reason']}")
    pytest.skip(config["cuda_reason"])


@pytest.fixture(scope="session")
def twin() -> bool:
    return is_twin()


@pytest.fixture(scope="session")
def cuda() -> str:
    """The device, for what only a CUDA device does."""
    require_cuda()
    return "cuda"


@pytest.fixture(scope="session", params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda":
        require_cuda()
    return str(request.param)


@pytest.fixture(scope="session", params=PLACES, ids="-".join)
def place(request: pytest.FixtureRequest) -> dict[str, str]:
    """Parameters of the model: a device, and how factors are stored there."""
    device, dtype = request.param
    if device == "cuda":
        require_cuda()
    return {"device": device, "dtype": dtype}


@pytest.fixture(scope="session")
def cupy() -> Any:
    """CuPy, or NumPy where the twin is what plays the device."""
    require_cuda()
    if is_twin():
        return np
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("cupy", exc_type=ImportError)
