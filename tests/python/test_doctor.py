"""`warpfactor doctor`: what it tells, and that it finds what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from typing import Any

import numpy as np
import pytest

import warpfactor as wf
from shell import warpfactor
from warpfactor import _core
from warpfactor.cli import installation, self_test
from warpfactor.model.model import Model


@pytest.fixture
def no_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "checks", lambda built, device: iter(()))


def installed(
    monkeypatch: pytest.MonkeyPatch, required: list[str], versions: dict[str, str]
) -> None:
    """Let the metadata say what warpfactor requires, and what is installed."""

    def version(name: str) -> str:
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "requires", lambda name: required)
    monkeypatch.setattr(metadata, "version", version)


def test_a_healthy_installation_is_tried_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sound metadata, so that this does not depend on how the package came here.
    installed(monkeypatch, ["numpy>=2.0"], {"numpy": "2.1.0"})
    result = warpfactor("doctor", "--json")
    assert result.code == 0, result.out
    told = json.loads(result.out)
    assert told["ok"] and told["warpfactor"] == wf.__version__
    config = wf.show_config("dicts")
    assert config["instruction_set"] in told["facts"]["kernels"]
    assert told["facts"]["threads"].startswith(str(config["n_threads"]))
    checks = {each["name"]: each for each in told["checks"]}
    kernels = [checks[f"kernels, {isa}"] for isa in config["built_instruction_sets"]]
    assert (
        checks[f"kernels, {config['instruction_set']}"]["ok"] and checks["kernels, baseline"]["ok"]
    )
    assert all(each["ok"] or "does not have it" in each["found"] for each in kernels)
    assert "to the bits that must be" in checks["answers, cpu"]["found"]


def test_numbers_that_are_not_as_they_must_be_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    isa = _core.instruction_set()
    name, (given, is_double, rmse) = next(iter(self_test._FITS.items()))
    worse = {name: (given, is_double, rmse * (1 + 2 * self_test._TOLERANCE))}
    monkeypatch.setattr(self_test, "_FITS", self_test._FITS | worse)
    ok, found, fix = self_test._kernels_of(isa)
    assert ok is False and found.startswith(f"{name}: RMSE 0.") and "install it again" in fix


def test_bits_that_depend_on_the_threads_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = {"sgd": {"bits": ["a", "a", "b"], "rmse": 1.0}}
    told = json.dumps({"instruction_set": "baseline", "fits": fits})
    done = subprocess.CompletedProcess([], 0, told, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    ok, found, _ = self_test._kernels_of("baseline")
    assert ok is False and "sgd: other bits with 1, 2, 3 threads" in found
    ok, found, _ = self_test._kernels_of("avx2")
    assert ok is False and "baseline ran in its place" in found


@pytest.mark.parametrize("what", ["predict", "recommend"])
def test_answers_that_are_one_bit_away_are_wrong(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    answer: Any = getattr(Model, what)

    def off(self: Model, *args: Any, **how: Any) -> Any:
        got = answer(self, *args, **how)
        scores = got if what == "predict" else got[1]
        scores.flat[7] = np.nextafter(scores.flat[7], np.inf, dtype=scores.dtype)
        return got

    monkeypatch.setattr(Model, what, off)
    ok, found, _ = self_test._answers_on("cpu")
    assert ok is False and ("1 of 2400 predictions" if what == "predict" else "lists of") in found


def test_what_a_check_raises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Model, "save", full)
    [check] = [each for each in self_test.checks([], "cpu") if each.name == "answers, cpu"]
    assert check.ok is False and check.found == "OSError: No space left on device"


@pytest.mark.usefixtures("no_self_test")
def test_a_missing_or_old_package_is_wrong_and_a_missing_extra_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    required = [
        "numpy>=2.0", "rich>=13", "click>=8.2",
        "cupy-cuda13x[ctk]>=14.2; extra == 'cupy'", 'optuna>=4.0; extra == "tune"', "pytest>=8; extra == 'test'",
        "warpfactor[cupy]; extra == 'gpu'", "elsewhere>=1; sys_platform == 'nowhere' and extra == 'gpu'",
    ]  # fmt: skip
    versions = {"numpy": "2.10.0", "rich": "14.0", "click": "8.2.1", "optuna": "4.0"}
    installed(monkeypatch, required, versions)
    monkeypatch.setattr(_core, "cuda_source", "built in")
    told = " ".join(warpfactor("doctor").out.split())
    assert 'cupy cupy-cuda13x is missing: pip install "warpfactor[cupy]"' in told
    assert "gpu cupy" not in told and "warpfactor-cuda" not in told
    monkeypatch.setattr(_core, "cuda_source", "none")
    told = " ".join(warpfactor("doctor").out.split())
    assert 'gpu cupy-cuda13x is missing: pip install "warpfactor[gpu]"' in told
    assert "tune optuna 4.0" in told and "all is well" in told
    assert "pytest" not in told and "elsewhere" not in told
    installed(monkeypatch, required, versions | {"click": "8.1.9"})
    result = warpfactor("doctor")
    told = " ".join(result.out.split())
    assert result.code == 1 and 'to do: pip install "click>=8.2"' in told
    assert "click 8.1.9 is older than 8.2" in told


def test_that_numpy_is_missing_is_told_and_ends_nothing() -> None:
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from importlib import metadata\n"
        "metadata.requires = lambda name: ['numpy>=2.0']\n"
        "def version(name): raise metadata.PackageNotFoundError(name)\n"
        "metadata.version = version\n"
        "from warpfactor.cli import app; app(['doctor'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    told = " ".join(done.stdout.split())
    assert (
        done.returncode == 1 and 'WRONG: numpy is missing to do: pip install "numpy>=2.0"' in told
    ), done.stderr


@pytest.mark.usefixtures("no_self_test")
def test_a_device_that_was_asked_for_must_be_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "no driver: install one, or use device='cpu'"
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, False, reason))
    assert warpfactor("doctor").code == 0
    result = warpfactor("doctor", "--device", "cuda")
    told = " ".join(result.out.split())
    assert result.code == 1 and "WRONG: no driver: install one, or use --device cpu" in told
    result = warpfactor("doctor", "--device", "tpu")
    assert result.code == 1 and "--device is 'tpu'; it must be" in result.err


def test_an_instruction_set_that_is_none_is_told_with_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "warpfactor", "doctor"], env={**os.environ, "WARPFACTOR_ISA": "avx1024"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    told = " ".join(done.stdout.split())
    assert done.returncode == 1 and "WARPFACTOR_ISA is avx1024; it must be" in told
    assert "to do: unset WARPFACTOR_ISA" in told
