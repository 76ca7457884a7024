"""The programs in examples/ run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import warpfactor as wf

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


def test_five_minutes(tmp_path):
    # As it stands, in a kernel of its own, without the network and beside nothing.
    notebook = nbformat.read(EXAMPLES / "five_minutes.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)  # none are kept in the file
    # Debuggers take notice of nothing here; what they warn of goes to standard error.
    client = NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    shown: dict[str, list[str]] = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "stream", output.text  # neither a warning nor a stray line
            for kind, text in output.data.items():
                shown.setdefault(kind, []).append(text)
    tables = [text for text in shown["text/html"] if "<table" in text]
    assert sum("ndcg@10" in text for text in tables) == 1
    assert sum("Film " in text for text in tables) == 3
    assert len(shown["image/png"]) == 1
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 8 and "Five minutes" in page
    assert wf.load(tmp_path / "model.safetensors").n_ratings_ > 0
