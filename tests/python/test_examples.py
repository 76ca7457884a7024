"""The programs in examples/ run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_has_a_test():
    tested = set(re.findall(r'run\("(\w+\.py)"', Path(__file__).read_text(encoding="utf-8")))
    assert tested == {path.name for path in EXAMPLES.glob("*.py")}


def test_masked_matrix():
    errors = [float(found) for found in re.findall(r"RMSE ([\d.]+)", run("masked_matrix.py"))]
    assert len(errors) == 6
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 2
    assert errors[-1] == pytest.approx(0.17, abs=0.1)


def test_recommender():
    told = run("recommender.py")
    losses = [float(found) for found in re.findall(r"average loss ([\d.]+)", told)]
    assert len(losses) == 40  # what 20,000 ratings get where n_epochs is left open
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.6 * losses[0]
    assert "user 0: 200 items scored" in told
    scores = [float(found) for found in re.findall(r"^ *\d+  ([\d.]+)", told, re.MULTILINE)]
    assert len(scores) == 15
    assert scores == sorted(scores, reverse=True)
    assert 0 < told.count("  rated") < 15


def test_recommender_of_a_file_and_a_user(tmp_path):
    rows = [f"u{user},i{item},{1 + (user * item) % 5}" for user in range(9) for item in range(7)]
    (tmp_path / "ratings.csv").write_text("\n".join(["user,item,rating", *rows]), encoding="utf-8")
    told = run("recommender.py", tmp_path / "ratings.csv", "--user", "u3", "--batch-size", "10")
    assert "user u3: 7 items scored" in told
    assert told.count("  rated") == 7


def test_biased_factorization(data_path, tmp_path):
    plot = tmp_path / "curves.png"
    pytest.importorskip("matplotlib")
    told = run("biased_factorization.py", data_path("ml-100k/ml-100k.npz"), "--plot", plot)
    curves = np.array(re.findall(r"epoch +\d+ +([\d.]+) +([\d.]+)", told), float)
    assert curves.shape == (20, 2)
    assert (curves[-1] <= 0.945).all()
    assert (curves[-1] < curves[0]).all()
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stat().st_size > 10_000
