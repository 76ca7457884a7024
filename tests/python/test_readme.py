"""What README's blocks about files and tests say, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sklearn.model_selection import cross_val_score

import warpfactor as wf

README = Path(__file__).parents[2] / "README.md"
FILES = {
    "r.csv": [("user", "item", "rating", "timestamp", "who", "what")]
    + [(u, i, (u * i) % 5 + 1, 10**9 + 60 * u + i, u, i) for u in range(30) for i in range(12)],
    "r.txt": [(u, i, "3,5") for u in range(9) for i in range(7)],
}


def blocks_under(heading: str) -> list[str]:
    section = README.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize("heading", ["Ratings from files", "Testing a model", "Accuracy"])
def test_the_readmes_lines_run(heading, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, rows in FILES.items():
        sep = "," if name.endswith(".csv") else ";"
        text = "".join(sep.join(map(str, row)) + "\n" for row in rows)
        (tmp_path / name).write_text(text, encoding="utf-8")
    names = {
        "wf": wf,
        "ratings": wf.read_ratings("r.csv", user="user", item="item"),
        "model": wf.MatrixFactorization(n_factors=2, n_epochs=2, random_state=0, verbose=0),
        "cross_val_score": cross_val_score,
    }
    blocks = blocks_under(heading)
    assert blocks
    for block in blocks:
        exec(block, names)  # noqa: S102
    assert capsys.readouterr().out


def test_the_ten_tasks_run_in_at_most_five_lines(tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    made = wf.datasets.make_ratings(60, 40, 1200, random_state=0).ratings
    names = ["ann", "bob", *(f"u{n}" for n in range(2, 60))]
    rows = [(names[u], f"i{i}", v) for u, i, v in zip(*made.to_arrays(), strict=True)]
    for name, written in (
        ("ratings.csv", rows),
        ("tomorrow.csv", [("eve", "i3", 5), ("ann", "new", 4)]),
    ):
        lines = [f"{u},{i},{v},{10**9 + n}" for n, (u, i, v) in enumerate(written)]
        Path(name).write_text(
            "\n".join(["user,item,rating,timestamp", *lines]) + "\n", encoding="utf-8"
        )
    films = "".join(f"i{i},Film {i}\n" for i in range(40))
    Path("movies.csv").write_text("item,title\n" + films, encoding="utf-8")
    text = (README.parent / "docs" / "how-to" / "tasks.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 10
    known: dict[str, object] = {}
    for block in blocks:
        assert len([line for line in block.splitlines() if line]) <= 5, block
        exec(block, known)  # noqa: S102
    assert Path("report.html").stat().st_size > 10_000
