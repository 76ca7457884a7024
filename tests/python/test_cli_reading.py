"""How the command line reads files: its options, its words for mistakes, peek and convert."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner

import warpfactor as wf
from warpfactor import _core
from warpfactor.checks import check_choice, check_count, in_words_of, option, shell_words
from warpfactor.cli import app
from warpfactor.parameters import PARAMETERS

QUICK = ("--n-factors", "4", "--n-epochs", "2", "--n-threads", "1")


class Result(NamedTuple):
    code: int
    out: str
    err: str


def warpfactor(*args: object) -> Result:
    """Run a command in this process; a programming error is raised, not reported."""
    result = CliRunner().invoke(
        app, [str(arg) for arg in args], prog_name="warpfactor", catch_exceptions=False
    )
    return Result(result.exit_code, result.stdout, result.stderr)


def succeed(*args: object) -> Result:
    result = warpfactor(*args)
    assert result.code == 0, result
    return result


def triples() -> list[tuple[str, str, str]]:
    rng = random.Random(5)
    pairs = rng.sample([(f"u{u}", f"{i:03}") for u in range(9) for i in range(8)], 50)
    return [(user, item, str(rng.choice((1, 1.5, 2.5, 4)))) for user, item in pairs]


ROWS = triples()


def joined(sep: str, change: Callable[[str, str, str], tuple[str, ...]] | None = None) -> str:
    return "".join(sep.join(change(*row) if change else row) + "\n" for row in ROWS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    (folder / "r.csv").write_text(joined(","))
    succeed("train", folder / "r.csv", "-o", folder / "m.safetensors", *QUICK)
    return folder / "m.safetensors"


# A file that is read right with the options only, and the ids that it then holds.
LAYOUTS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "--sep": (joined(";", lambda u, i, r: (u, i, r, "a,b,1")), ("--sep", ";")),
    "--sep of several": (joined("=>"), ("--sep", "=>")),
    "--sep tab": (joined("\t"), ("--sep", r"\t")),
    "--sep blanks": (joined("  \t "), ("--sep", r"\s+")),
    "--no-header": (joined(","), ("--no-header",)),
    "--header": ("x,y,z\n" + joined(","), ("--header",)),
    "--quote": (joined(",", lambda u, i, r: (f"'{u}'", f"'{i}'", r)), ("--quote", "'")),
    "--escape": (
        joined(",", lambda u, i, r: (u, f'"{i}"', r, r'"a \"b\" c"')),
        ("--escape", "\\", "--quote", '"'),
    ),
    "--decimal": (joined(";", lambda u, i, r: (u, i, r.replace(".", ","))), ("--decimal", ",")),
    "--comment": (joined(",") + "! the end\n", ("--comment", "!")),
    "--encoding": (
        joined(",", lambda u, i, r: (u, i, r, "Am\u00e9lie")).encode("latin-1"),
        ("--encoding", "latin-1"),
    ),
    "--strip": (joined(",", lambda u, i, r: (f" {u}", f"{i} ", r)), ("--strip",)),
    "--on-error": (joined(",") + "a,b,c,d,e\n,x,3\n", ("--on-error", "skip")),
    "columns by name": (
        "what,stars,who\n" + joined(",", lambda u, i, r: (i, r, u)),
        ("--user-column", "who", "--item-column", "what"),
    ),
    "columns by position": (
        joined(",", lambda u, i, r: (i, r, u)),
        ("--user-column", "2", "--item-column", "0"),
    ),
}


@pytest.mark.parametrize(("content", "options"), LAYOUTS.values(), ids=LAYOUTS)
def test_options_say_how_a_file_is_read(
    model: Path, tmp_path: Path, content: str | bytes, options: tuple[str, ...]
) -> None:
    file = tmp_path / "r.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    rating = ()
    if "columns" not in "".join(key for key, value in LAYOUTS.items() if value[1] == options):
        rating = ()
    elif "who" in options:
        rating = ("--rating-column", "stars")
    else:
        rating = ("--rating-column", "1")
    measured = succeed("evaluate", model, file, *options, *rating).out
    assert re.findall(r"(?m)^pairs +50$|^unknown \w+ +0$", measured) == [
        "pairs         50",
        "unknown user  0",
        "unknown item  0",
    ]
    shown = succeed("peek", file, *options, *rating).out
    assert "ratings    50, from 1 to 4 (4 distinct)" in shown
    trained = succeed("train", file, *options, *rating, *QUICK).out
    assert "ratings  50 ratings by 9 users of 8 items, from 1 to 4" in trained
    if "--decimal" not in options:
        predicted = succeed("predict", model, file, *options).out.splitlines()[1:]
        assert [tuple(row.split(",")[:2]) for row in predicted] == [row[:2] for row in ROWS]
