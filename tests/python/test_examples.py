"""The programs in examples/ run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test():
    tested = set(re.findall(r'run\("(\w+\.py)"\)', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}


def test_masked_matrix():
    errors = [float(found) for found in re.findall(r"RMSE ([\d.]+)", run("masked_matrix.py"))]
    assert len(errors) == 6
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2
    assert errors[-1] == pytest.approx(0.17, abs=0.1)
