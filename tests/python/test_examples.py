"""The programs in examples/ run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import notebooks
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


@pytest.mark.parametrize("name", [path.name for path in sorted(EXAMPLES.glob("*.ipynb"))])
def test_a_notebook_shows_what_it_prints(name, tmp_path):
    # As it stands, in a kernel of its own, without the network and beside nothing.
    kept = notebooks.read(EXAMPLES / name)
    assert sum(cell.cell_type == "code" for cell in kept.cells) >= 7
    assert not any(kind == "stderr" for _, kind, _ in notebooks.outputs(kept))
    new = notebooks.executed(kept, tmp_path)
    assert notebooks.differences(kept, new) == [], "python tests/python/notebooks.py writes it anew"
    figures = [text for _, kind, text in notebooks.outputs(new) if kind == "image/png"]
    assert all(len(text) > 10_000 for text in figures)
    if name == "five_minutes.ipynb":
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert page.count("<svg") == 8 and "Five minutes" in page
        assert wf.load(tmp_path / "model.safetensors").n_ratings_ > 0


def test_which_outputs_of_a_notebook_count_as_the_same():
    def alike(before, after, kind="stdout"):
        return notebooks.alike(kind, before, after)

    assert alike("RMSE 0.9301 of 1,107", "RMSE 0.9302 of 1,107")
    assert not alike("RMSE 0.9301 of 1,107", "RMSE 0.9303 of 1,107")
    assert not alike("RMSE 0.9301 of 1,107", "RMSE 0.9301 of 1,108")
    assert not alike("RMSE 0.930", "RMSE 0.9301") and not alike("RMSE 0.93", "MAE 0.93")
    assert alike("<td>45</td> <b>0.70</b>", "<th>45</th>\n<td>0.71</td>", "text/html")
    assert not alike("<td>45</td>", "<td>54</td>", "text/html")
