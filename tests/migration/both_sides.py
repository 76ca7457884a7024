"""Run the rows of the tables in docs/migration on both sides, and compare what they give.

A row says what one wrote with another package, what one writes here, and what is the same. The rows
of a page are a session: they run from top to bottom, in one folder with the files of `make_files`,
each side with names of its own. The value of a side is that of its last line.

    python tests/migration/both_sides.py            # all pages, each in a process of its own
    python tests/migration/both_sides.py lightfm    # one

A page whose package is not installed runs its right side alone, and says why. LIBMF's programs are
found on the PATH.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.metadata
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click.testing import CliRunner

import warpfactor as wf
from warpfactor.cli import app

FOLDER = Path(__file__).parents[2] / "docs" / "migration"
HEADER = ("what you wrote there", "what you write here", "the same")
# Which distribution or which programs a page's left side needs.
PACKAGES = {
    "surprise": "scikit-surprise",
    "implicit": "implicit",
    "cmfrec": "cmfrec",
    "lightfm": "lightfm",
    "spark": "pyspark",
    "lenskit": "lenskit",
}
PROGRAMS = {"libmf": ("mf-train", "mf-predict")}
PAGES = (*PACKAGES, *PROGRAMS)
# Of a failure, so many letters: what Java says is long.
_TOLD = 1_000
SHELL = ("mf-train", "mf-predict", "warpfactor")


class Row(NamedTuple):
    """One row of a table; a side without code is told and not run."""

    line: int
    there: str
    here: str
    same: str


class Outcome(NamedTuple):
    """What became of a page: how many rows ran on both sides, here alone, and not at all."""

    page: str
    package: str
    both: int
    here: int
    told: int
    failures: list[str]


def rows_of(page: Path) -> list[Row]:
    """Return the rows of a page's tables that have the header of `HEADER`."""
    rows: list[Row] = []
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if tuple(cells) == HEADER:
            inside = True
        elif inside and set(line) - set("|-: "):
            if len(cells) != len(HEADER):
                raise ValueError(f"{page.name}, line {number}: {len(cells)} cells")
            there, here = (_code(cell) for cell in cells[:2])
            rows.append(Row(number, there, here, cells[2]))
    return rows


def _code(cell: str) -> str:
    return "\n".join(re.findall(r"`([^`]+)`", cell))


def why_not(page: str) -> str | None:
    """Return why a page's left side cannot run here, or None."""
    if page in PACKAGES:
        try:
            importlib.metadata.version(PACKAGES[page])
        except importlib.metadata.PackageNotFoundError:
            return f"{PACKAGES[page]} is not installed"
        return None
    missing = [program for program in PROGRAMS[page] if shutil.which(program) is None]
    return f"{', '.join(missing)} not on the PATH" if missing else None


def package_of(page: str) -> str:
    """Return the name and version of a page's other side."""
    if page not in PACKAGES:
        return page
    name = PACKAGES[page]
    return f"{name} {importlib.metadata.version(name)}"


def make_files(folder: Path) -> None:
    """Write train.csv and test.csv (user, item, rating), and the same as LIBMF's text."""
    made = wf.datasets.make_ratings(300, 120, 9_000, n_factors=4, random_state=1).ratings
    train, test = wf.train_test_split(made, test_size=0.1, by="user", random_state=0)
    rated = np.isin(test.to_arrays()[1], train.to_arrays()[1])
    for name, ratings, kept in (("train", train, slice(None)), ("test", test, rated)):
        rows = [
            (int(u), int(i), int(r))
            for u, i, r in zip(*(a[kept] for a in ratings.to_arrays()), strict=True)
        ]
        text = "".join(f"{u},{i},{r}\n" for u, i, r in rows)
        (folder / f"{name}.csv").write_text(f"user,item,rating\n{text}", encoding="utf-8")
        (folder / f"{name}.txt").write_text(text.replace(",", " "), encoding="utf-8")


def run(page: str, *, there: bool) -> Outcome:
    """Run a page's rows in the working folder, which `make_files` has filled."""
    counts = {"both": 0, "here": 0, "told": 0}
    failures = []
    names: tuple[dict[str, Any], dict[str, Any]] = {"__name__": "there"}, {"__name__": "here"}
    for row in rows_of(FOLDER / f"{page}.md"):
        failure = None
        try:
            if there and row.there and row.here:
                counts["both"] += 1
                # The others first: where they fail, there is nothing to compare with.
                values = [_value(*side) for side in zip((row.there, row.here), names, strict=True)]
                failure = difference(row.same, *values)
            elif row.here:
                counts["here"] += 1
                _value(row.here, names[1])
            elif there and row.there:
                counts["told"] += 1
                _value(row.there, names[0])
            else:
                counts["told"] += 1
        except Exception:  # noqa: BLE001 - of any package
            failure = traceback.format_exc(limit=-3)
        if failure is not None:
            failures.append(f"{page}.md, line {row.line}: {failure[:_TOLD]}")
    package = package_of(page) if there else str(why_not(page))
    return Outcome(page, package, **counts, failures=failures)


def _value(code: str, names: dict[str, Any]) -> Any:
    """Run lines of Python or of the shell, and return the value of the last one."""
    if code.split()[0] in SHELL:
        return [_shell(line) for line in code.splitlines()][-1]
    *lines, last = ast.parse(code).body
    exec(compile(ast.Module(lines, []), "row", "exec"), names)  # noqa: S102
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "row", "eval"), names)
    exec(compile(ast.Module([last], []), "row", "exec"), names)  # noqa: S102
    target = last.targets[0] if isinstance(last, ast.Assign) else None
    return names[target.id] if isinstance(target, ast.Name) else None


def _shell(line: str) -> float | None:
    """Run a command, and return the last RMSE or MAE that it prints, avg where it is of folds."""
    program, *arguments = shlex.split(line)
    if program == "warpfactor":
        result = CliRunner().invoke(app, arguments, prog_name=program, catch_exceptions=False)
        code, printed = result.exit_code, result.output
    else:
        done = subprocess.run(
            [program, *arguments], check=False, capture_output=True, text=True, timeout=120
        )
        code, printed = done.returncode, done.stdout + done.stderr
    if code != 0:
        raise RuntimeError(f"{line}: {printed}")
    found = re.findall(r"(?:RMSE|MAE|avg)\s*=?\s*([0-9.]+)", printed)
    return float(found[-1]) if found else None


def difference(same: str, there: Any, here: Any) -> str | None:
    """Return how two values differ in what is to be the same, or None.

    `same` is one of: both run, equal, same shape, here lower, here higher, within N %.
    """
    if same == "both run":
        return None
    a, b = np.asarray(there), np.asarray(here)
    told = f"there {there!r:.200}, here {here!r:.200}"
    if a.dtype == object or b.dtype == object or a.size == 0:
        return f"nothing to compare: {told}"
    if same == "equal":
        return None if np.array_equal(a, b) else f"not equal: {told}"
    if a.shape != b.shape:
        return f"shapes {a.shape} and {b.shape}: {told}"
    if same == "same shape":
        return None
    if same in ("here lower", "here higher"):
        right = b < a if same == "here lower" else b > a
        return None if right.all() else f"not {same.removeprefix('here ')}: {told}"
    if share := re.fullmatch(r"within ([0-9.]+) %", same):
        off = np.linalg.norm(b - a) / np.linalg.norm(a)
        within = off <= float(share[1]) / 100
        return None if within else f"{100 * off:.3g} % off: {told}"
    return f"what is the same is {same!r}, which no comparison is called"


@contextlib.contextmanager
def session() -> Iterator[None]:
    """A temporary folder with the files, as the working one, without the others' warnings."""
    with (
        tempfile.TemporaryDirectory() as name,
        contextlib.chdir(name),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        make_files(Path(name))
        yield


def _apart(page: str) -> Outcome:
    """Run a page in a process of its own: runtimes of OpenMP and Java's do not mix."""
    command = [sys.executable, __file__, page, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        return Outcome(page, "", 0, 0, 0, [f"{page}: {done.stderr[-2000:]}"])
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """Print how many rows ran for each page; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"{', '.join(PAGES)}")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.pages) - set(PAGES):
        parser.error(f"PAGE is {min(unknown)!r}; it must be one of {', '.join(PAGES)}")
    if given.json:
        with session():
            outcome = run(given.pages[0], there=why_not(given.pages[0]) is None)
        print(json.dumps(outcome._asdict()))
        return 0
    print(f"{'page':10}{'rows on both sides':>20}{'here alone':>12}{'told':>6}  the other side")
    outcomes = [_apart(page) for page in given.pages or PAGES]
    for found in outcomes:
        print(f"{found.page:10}{found.both:20}{found.here:12}{found.told:6}  {found.package}")
    for found in outcomes:
        print(*found.failures, sep="\n", end="\n" if found.failures else "")
    return int(any(found.failures for found in outcomes))


if __name__ == "__main__":
    sys.exit(main())
