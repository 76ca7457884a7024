# SPDX-License-Identifier: Apache-2.0
"""The front page's figure, drawn from a results file of benchmarks/accuracy.py: light and dark.

Without Sphinx: ``python docs/_extensions/figures.py FOLDER``.
"""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "2026-11-28-accuracy.txt"
SET = "ml-1m-fold1"
# The columns of warpfactor, in the order of their time, and how the figure calls them.
OURS = {
    "plain SGD": "plain SGD",
    "defaults": "defaults",
    "ensemble": "ensemble",
    "Bayesian": "Bayesian",
    "mixed": "mixed",
}
COLOURS = {
    "light": {"ink": "#22272e", "faint": "#d5d9de", "peer": "#6b7480", "ours": "#0b6aa2"},
    "dark": {"ink": "#e6e9ed", "faint": "#3a424b", "peer": "#a4adb8", "ours": "#5bb8f0"},
}
# Where a label would lie on another one: to which side of its point it goes.
SIDES = {
    "plain SGD": "above",
    "LIBMF": "below",
    "cmfrec implicit": "right",
    "cmfrec": "above",
    "ensemble": "above",
    "Bayesian": "right",
    "mixed": "below",
    "defaults": "below",
    "myFM SVD++ flipped": "below",
}


def table(text: str, title: str) -> dict[str, dict[str, float]]:
    """Read one table of the results: for each set the numbers by the names of their columns.

    Columns are told apart by where they end, since numbers and headings are aligned to the right
    and a package that was not run leaves a gap. Names, in the first column, are aligned to the left.
    """
    lines = text.split(f"\n{title}\n\n", 1)[1].split("\n\n", 1)[0].splitlines()
    rule = next(n for n, line in enumerate(lines) if line.strip().startswith("─"))
    rows = lines[rule + 1 :]
    cells = [[found.span() for found in re.finditer(r"\S+(?: \S+)*", row)] for row in rows]
    ends = [max(spans[0][1] for spans in cells), *(end for _, end in max(cells, key=len)[1:])]
    columns = list(pairwise([0, *ends]))
    names = [
        " ".join(part for line in lines[:rule] if (part := line[start:end].strip()))
        for start, end in columns
    ]
    read: dict[str, dict[str, float]] = {}
    for row in rows:
        name, *numbers = (row[start:end].strip() for start, end in columns)
        read[name] = {
            column: float(number.replace(",", ""))
            for column, number in zip(names[1:], numbers, strict=True)
            if number
        }
    return read


def points() -> dict[str, tuple[float, float]]:
    """Seconds and test RMSE of each method on the set, by name."""
    text = RESULTS.read_text(encoding="utf-8")
    errors, seconds = table(text, "Test RMSE")[SET], table(text, _seconds(text))[SET]
    return {name: (seconds[name], errors[name]) for name in seconds if name in errors}


def _seconds(text: str) -> str:
    found = re.search(r"^Seconds of a fit.*$", text, re.MULTILINE)
    assert found is not None, RESULTS
    return found[0]


def draw(colours: dict[str, str]) -> Any:
    """Draw time and error of each method; what is low and left is good."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    found = points()
    found.pop("ratings", None)
    found.pop("biases", None)
    with mpl.rc_context({"font.size": 11, "svg.fonttype": "path", "svg.hashsalt": "warpfactor"}):
        figure = Figure(figsize=(7.0, 4.4), layout="constrained")
        axes = figure.add_subplot()
        for name, (seconds, error) in found.items():
            own = name in OURS
            colour = colours["ours" if own else "peer"]
            axes.plot(
                seconds, error, "o" if own else "D", color=colour, ms=8 if own else 6, zorder=3
            )
            side = SIDES.get(name, "right")
            offset, ha, va = {
                "right": ((9, 0), "left", "center"),
                "above": ((0, 8), "center", "bottom"),
                "below": ((0, -9), "center", "top"),
            }[side]
            axes.annotate(
                OURS.get(name, name), (seconds, error), xytext=offset, textcoords="offset points",
                ha=ha, va=va, color=colour, weight="bold" if own else "normal",
            )  # fmt: skip
        line = sorted(found[name] for name in OURS)
        axes.plot(*zip(*line, strict=True), color=colours["ours"], lw=1.5, alpha=0.6)
        axes.set_xscale("log")
        axes.set_xlim(0.06, 200)
        low, high = min(y for _, y in found.values()), max(y for _, y in found.values())
        axes.set_ylim(low - 0.006, high + 0.006)
        axes.set_xticks([0.1, 1, 10, 100], ["0.1 s", "1 s", "10 s", "100 s"])
        axes.minorticks_off()
        axes.set_xlabel("time of a fit, one thread", color=colours["ink"])
        axes.set_ylabel("test RMSE (lower is better)", color=colours["ink"])
        axes.set_title(
            "MovieLens 1M: error and time of training",
            color=colours["ink"],
            loc="left",
            weight="bold",
        )
        axes.text(
            0.985, 0.95, "● warpfactor", color=colours["ours"], transform=axes.transAxes,
            ha="right", weight="bold",
        )  # fmt: skip
        axes.text(
            0.985, 0.885, "◆ other packages", color=colours["peer"], transform=axes.transAxes,
            ha="right",
        )  # fmt: skip
        axes.grid(color=colours["faint"], lw=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=colours["ink"], length=0)
        axes.spines[:].set_visible(False)
    return figure


def write(folder: Path) -> list[Path]:
    """Draw both figures into a folder; those that are newer than results and script stay."""
    folder.mkdir(exist_ok=True)
    written = []
    newest = max(RESULTS.stat().st_mtime, Path(__file__).stat().st_mtime)
    for name, colours in COLOURS.items():
        path = folder / f"time-to-quality-{name}.svg"
        if not path.exists() or path.stat().st_mtime < newest:
            draw(colours).savefig(path, transparent=True, metadata={"Date": None})
        written.append(path)
    return written


def setup(app: Any) -> dict[str, bool]:
    """Draw before Sphinx looks for images."""
    write(Path(app.srcdir) / "_generated")
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    print(*write(Path(sys.argv[1])), sep="\n")
