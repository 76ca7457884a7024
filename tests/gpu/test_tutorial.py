"""The lines of docs/tutorials/gpu.md that need a device, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

import warpfactor as wf

PAGE = Path(__file__).parents[2] / "docs" / "tutorials" / "gpu.md"


def test_the_pages_lines_run(cuda, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    names = {"wf": wf, "train": wf.datasets.make_ratings(60, 50, 1500, random_state=0).ratings}
    for block in blocks:
        exec(block, names)  # noqa: S102
    assert names["ids"].shape == (2, 5)
    assert names["half"].user_factors_.dtype == np.float32
    served = wf.load("model.safetensors", device="cpu")
    np.testing.assert_array_equal(served.item_factors_, names["model"].item_factors_)
