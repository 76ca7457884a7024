"""The tables of docs/migration: the right side of each runs, and both where CI has the other package.

`tests/migration/both_sides.py` runs the rest by hand.
"""

from __future__ import annotations

import ast

import pytest

import both_sides

# In the extra `test`, and imported in seconds.
INSTALLED = ("surprise", "implicit")


def test_each_page_is_run():
    pages = {path.stem for path in both_sides.FOLDER.glob("*.md")}
    assert pages == {"index", *both_sides.PAGES}


@pytest.mark.parametrize("page", both_sides.PAGES)
def test_the_rows_of_a_page_run_and_are_the_same_on_both_sides(page):
    there = page in INSTALLED and both_sides.why_not(page) is None
    rows = both_sides.rows_of(both_sides.FOLDER / f"{page}.md")
    with both_sides.session():
        found = both_sides.run(page, there=there)
    assert found.failures == []
    assert len(rows) >= 10
    assert found.both == (sum(bool(row.there and row.here) for row in rows) if there else 0)
    assert found.both + found.here + found.told == len(rows)


@pytest.mark.parametrize("page", both_sides.PAGES)
def test_what_others_wrote_is_code(page):
    for row in both_sides.rows_of(both_sides.FOLDER / f"{page}.md"):
        if row.there and row.there.split()[0] not in both_sides.SHELL:
            ast.parse(row.there)


@pytest.mark.parametrize(
    ("same", "there", "here"),
    [
        ("equal", 3, 4),
        ("equal", [1, 2], [1, 2, 3]),
        ("equal", None, None),
        ("same shape", [1, 2], [[1, 2]]),
        ("same shape", [], []),
        ("here lower", 1.0, 1.0),
        ("here higher", 1.0, 1.0),
        ("within 2 %", 1.0, 1.021),
        ("within 2 %", 1.0, float("nan")),
        ("about", 1, 1),
    ],
)
def test_what_differs_is_told(same, there, here):
    assert both_sides.difference(same, there, here)


def test_a_row_that_fails_is_told(tmp_path, monkeypatch):
    header = f"| {' | '.join(both_sides.HEADER)} |\n|---|---|---|\n"
    rows = "| `x = 1`<br>`x` | `y = 2`<br>`y` | equal |\n| `x` | `z` | both run |\n"
    (tmp_path / "surprise.md").write_text(header + rows, encoding="utf-8")
    monkeypatch.setattr(both_sides, "FOLDER", tmp_path)
    monkeypatch.setattr(both_sides, "package_of", lambda page: page)
    found = both_sides.run("surprise", there=True)
    assert (found.both, found.here, found.told) == (2, 0, 0)
    assert "line 3: not equal" in found.failures[0] and "NameError" in found.failures[1]
