"""The notebooks of examples/: run, compared with the outputs that they hold, and written anew.

``python tests/python/notebooks.py`` runs all of them and writes what comes out into their files.

What a machine may change is kept out of the files or of the comparison:

- the kernels are those of the baseline, whose bits all processors of one architecture share;
- the cells print no times, no paths and no more digits than are meant;
- a number with decimals may differ by one in its last digit, as another architecture, compiler or
  NumPy rounds otherwise; whole numbers and words must be the same;
- of a table in HTML the cells are compared, not how pandas draws it;
- of a figure it is compared that there is one: its pixels depend on fonts and on matplotlib.
"""

from __future__ import annotations

import html
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def executed(notebook: Any, folder: Path) -> Any:
    """Return the notebook as a kernel of its own leaves it, which runs in a folder."""
    done = nbformat.from_dict(notebook)
    for cell in done.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WARPFACTOR_ISA", "baseline")
        NotebookClient(
            done,
            timeout=60,
            kernel_name="python3",
            coalesce_streams=True,
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
        ).execute()
    done.metadata = notebook.metadata  # without the version of the Python that ran it
    return done


def outputs(notebook: Any) -> list[tuple[int, str, str]]:
    """Return each output as the number of its cell, its kind and its text."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                found.append((number, output.name, output.text))
            else:
                found += [(number, kind, str(text)) for kind, text in sorted(output.data.items())]
    return found


def differences(kept: Any, new: Any) -> list[str]:
    """Say in which outputs two runs differ by more than a machine may change."""
    one, other = outputs(kept), outputs(new)
    if [each[:2] for each in one] != [each[:2] for each in other]:
        return [f"outputs {[each[:2] for each in one]} became {[each[:2] for each in other]}"]
    return [
        f"cell {number}, {kind}:\n{before}\nbecame\n{after}"
        for (number, kind, before), (_, _, after) in zip(one, other, strict=True)
        if not alike(kind, before, after)
    ]


def alike(kind: str, before: str, after: str) -> bool:
    """Whether two texts of a kind are the same up to the last digits of numbers with decimals."""
    if kind.startswith("image/"):
        return bool(before) and bool(after)
    if kind == "text/html":
        before, after = _cells(before), _cells(after)
    if " ".join(_NUMBER.sub("0", before).split()) != " ".join(_NUMBER.sub("0", after).split()):
        return False
    numbers = zip(_NUMBER.findall(before), _NUMBER.findall(after), strict=True)
    return all(_near(one, other) for one, other in numbers)


def _cells(text: str) -> str:
    plain = re.sub(r"<style.*?</style>", " ", text, flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", " ", plain))


def _near(one: str, other: str) -> bool:
    if one == other:
        return True
    decimals = [len(number.partition(".")[2]) for number in (one, other)]
    if decimals[0] != decimals[1] or not decimals[0]:
        return False
    apart = abs(float(one.replace(",", "")) - float(other.replace(",", "")))
    return apart <= 1.5 * 10.0 ** -decimals[0]  # one in the last digit, and what floats add to it


def main() -> None:
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            kept = read(path)
            done = executed(kept, Path(folder))
        nbformat.write(done, path)
        sys.stdout.write(
            f"{path.name}: {'new' if differences(kept, done) else 'the same'} outputs\n"
        )


if __name__ == "__main__":
    main()
