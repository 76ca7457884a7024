"""The lines of docs/how-to/recommending.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf
from shell import succeed

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "recommending.md"
BLOCKS = re.findall(r"```(python|bash)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def names():
    rng = np.random.default_rng(2)
    pairs = np.unique(np.c_[rng.integers(0, 30, 700), rng.integers(0, 60, 700)], axis=0)
    ids = [(f"u{u}", f"i{i}") for u, i in pairs]
    train = wf.Ratings.from_any(ids, rng.integers(1, 6, len(ids)).astype(float))
    fit = wf.MatrixFactorization(8, n_epochs=5, init=0.3, random_state=0, verbose=0)
    return {
        "wf": wf,
        "np": np,
        "train": train,
        "model": fit.fit(train).model_,
        "users": ["u17", "u1", "u2"],
        "in_stock": ["i1", "i2", "i40"],
        "sold_out": ["i1"],
    }


@pytest.mark.parametrize("block", [text for kind, text in BLOCKS if kind == "python"])
def test_the_pages_lines_run(names, tmp_path, monkeypatch, block):
    monkeypatch.chdir(tmp_path)
    Path("movies.csv").write_text("movieId,title\ni1,One\ni2,Two\n", encoding="utf-8")
    index = re.search(r"from (usearch)|import (faiss)", block)
    if index:
        pytest.importorskip(index[1] or index[2])
    own = dict(names)
    exec(block, own)  # noqa: S102
    if index:
        exact, _ = own["model"].recommend(own["users"], 10, exclude_seen=False)
        # Of sixty items an index that keeps 128 candidates misses none.
        assert [set(row) for row in own["best"]] == [set(row) for row in exact]


def test_the_pages_commands_run(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = wf.Ratings.from_any(np.c_[np.arange(100), np.arange(100) % 60 + 1], np.arange(100) % 5)
    fit = wf.MatrixFactorization(2, n_epochs=1, random_state=0, verbose=0)
    fit.fit(rows).save("m.safetensors")
    Path("movies.csv").write_text("movieId,title\n50,Fifty\n", encoding="utf-8")
    Path("users.txt").write_text("1\n2\n", encoding="utf-8")
    Path("in-stock.txt").write_text("1\n2\n3\n", encoding="utf-8")
    commands = "".join(text for kind, text in BLOCKS if kind == "bash").splitlines()
    assert commands
    for command in commands:
        succeed(*command.split()[1:])
    assert Path("recs.csv").exists() and Path("recs.parquet").exists()
