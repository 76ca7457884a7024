"""The help of the command line: a screen a command, examples that run, groups of options, and what a shell completes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest

import warpfactor as wf
from model_files import lay_out, taken_apart
from shell import succeed, warpfactor
from warpfactor.cli import app
from warpfactor.cli.help import COMMANDS, GROUPS
from warpfactor.parameters import PARAMETERS

NAMES = sorted(app.commands)
LINES, USUAL_LINES, WIDTH = 40, 24, 80
# Longer than the usual 24 lines, because they have so many options.
LONG = {"compare", "evaluate", "fold-in", "predict", "recommend", "report", "similar", "split", "train", "tune"}  # fmt: skip


def examples(name: str) -> list[str]:
    """The examples of a command, as its help prints them."""
    text = succeed(name, "--help").out
    [block] = re.findall(r"^Examples?:\n((?:  .*\n)+)", text, re.MULTILINE)
    return [line.removeprefix("  ") for line in block.splitlines()]


@pytest.mark.parametrize("name", ["", *NAMES])
def test_help_fits_a_screen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    lines = succeed(*([name] if name else []), "--help").lines
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) <= (LINES if name in LONG or not name else USUAL_LINES), "\n".join(lines)


def test_the_programs_help_names_every_command_once() -> None:
    listed = [name for names in COMMANDS.values() for name in names]
    assert sorted(listed) == NAMES
    text = succeed("--help").out
    for name in NAMES:
        assert len(re.findall(rf"^  {name}  ", text, re.MULTILINE)) == 1, name
        assert "..." not in next(
            line for line in text.splitlines() if line.startswith(f"  {name} ")
        )
    assert warpfactor().err == text  # without a word it is an error that shows what there is
    assert succeed("-h").out == text


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_in_the_help_or_in_a_group_that_it_names(name: str) -> None:
    flags = {flag for param in app.commands[name].params if isinstance(param, click.Option)
             for flag in (*param.opts, *param.secondary_opts)}  # fmt: skip
    usual, everything = succeed(name, "--help").out, succeed(name, "--help", "all").out
    groups = re.findall(
        rf"^  ({'|'.join(GROUPS)})  +", usual.partition("More options")[2], re.MULTILINE
    )
    shown = usual + "".join(succeed(name, "--help", group).out for group in groups)
    for flag in flags:
        assert re.search(rf"{flag}\b", shown), flag
        assert re.search(rf"{flag}\b", everything), flag
    assert bool(groups) == ("[GROUP]" in usual)


def test_help_of_a_part_of_a_name_shows_those_options() -> None:
    text = succeed("train", "--help", "reg").out
    found = re.findall(r"^  (--[\w-]+)", text, re.MULTILINE)
    assert found == [f"--{name.replace('_', '-')}" for name in PARAMETERS if name.startswith("reg")]
    assert (
        succeed("train", "--help=learning_rate").out == succeed("train", "-h", "learning-rate").out
    )
    assert succeed("--help", "train").out == succeed("train", "--help").out


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("train", "--help", "modle"), r"--help is 'modle'; it must be a group \(columns, reading, .*\), all, or a part"),
        (("--help", "trian"), "--help is 'trian'; it must be a command: compare, completion, "),
        (("info", "--help", "all of it"), "it must be a part of an option's name"),
    ],
)  # fmt: skip
def test_help_of_what_is_not_there_says_what_there_is(args: tuple[str, ...], told: str) -> None:
    result = warpfactor(*args)
    assert result.code == 2 and re.search(told, " ".join(result.err.split()))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name, and a model."""
    folder = tmp_path_factory.mktemp("examples")
    made = wf.datasets.make_ratings(60, 50, 1_500, random_state=0).ratings
    rows = [
        f"{u},{i},{v},{10**9 + n}"
        for n, (u, i, v) in enumerate(zip(*made.to_arrays(), strict=True))
    ]
    texts = {
        "ratings.csv": ["user,item,rating,timestamp", *rows],
        "train.csv": ["user,item,rating,timestamp", *rows[150:]],
        "test.csv": ["user,item,rating,timestamp", *rows[:150]],
        "new_users.csv": ["user,item,rating", "900,3,4.5", "900,7,2"],
        "pairs.csv": ["user,item", "17,3", "18,4"],
        "ratings.dat": [row.replace(",", "::") for row in rows],
        "ratings.txt": [
            "user;item;rating;time",
            *(row.replace(",", ";").replace(".", ",") for row in rows),
        ],
        "movies.csv": ["movieId,title", *(f"{item},Film {item}" for item in range(50))],
        "u.item": [f"{item}|Film {item}" for item in range(60)],
    }
    for name, lines in texts.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    quick = ("-k", "4", "--n-epochs", "2", "-q")
    succeed("train", folder / "ratings.csv", "-o", folder / "m.safetensors", *quick)
    return folder


# What takes seconds has a test of its own.
SLOW = {"demo": "test_cli", "doctor": "test_doctor"}


@pytest.mark.parametrize("name", sorted({*NAMES} - {*SLOW}))
def test_examples_run_as_they_are_printed(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "tune":
        pytest.importorskip("optuna")
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    found = examples(name)
    assert found
    for example in found:
        program, *args = shlex.split(example)
        assert (program, args[0]) == ("warpfactor", name)
        succeed(*args)
        written = {"--output", "-o", "--train", "--test", "--storage"} & {*args}
        for flag in written if name != "evaluate" else ():
            assert Path(args[args.index(flag) + 1]).stat().st_size, flag


@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_commands_have_an_example_without_arguments(name: str) -> None:
    assert examples(name) == [f"warpfactor {name}"]


# --- What a shell completes.


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program of the name warpfactor."""
    folder = tmp_path_factory.mktemp("bin")
    path = folder / "warpfactor"
    source = str(Path(wf.__file__).parents[1])
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {source!r})\n"
        "from warpfactor.cli import main\nmain()\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with models and other files, in which a shell runs."""
    for name in ("m.safetensors", "other.safetensors", "ratings.csv", "a b.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "old.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What was typed, and what is offered for its last word: names, or "file" or "dir" where the shell has those.
TYPED: list[tuple[str, list[str]]] = [
    ("warpfactor tr", ["train"]),
    ("warpfactor fold", ["fold-in"]),
    ("warpfactor --help comp", ["compare", "completion"]),
    ("warpfactor train --help mo", ["model"]),
    ("warpfactor train --n-f", ["--n-factors"]),
    ("warpfactor train ratings.csv --loss h", ["huber"]),
    ("warpfactor train r.csv --optimizer ", ["sgd", "adagrad", "adam", "gd"]),
    ("warpfactor train r.csv --test-by ", ["random", "user", "time", "last"]),
    ("warpfactor train r.csv --init-scale a", ["auto"]),
    ("warpfactor train r.csv --ids str,", ["str,auto", "str,int", "str,uuid"]),
    ("warpfactor train r.csv --format par", ["parquet"]),
    ("warpfactor evaluate m.safetensors t.csv --metrics rmse,nd", ["rmse,ndcg"]),
    ("warpfactor recommend m.safetensors --format ", ["table", "csv", "tsv", "json", "jsonl", "parquet", "arrow"]),
    ("warpfactor recommend m.safetensors --group m", ["mean", "min", "max"]),
    ("warpfactor fold-in m.safetensors r.csv --new i", ["items"]),
    ("warpfactor completion ", ["bash", "zsh", "fish"]),
    ("warpfactor info m", ["m.safetensors"]),
    ("warpfactor info kept/", ["kept/old.safetensors"]),
    ("warpfactor info rat", ["file"]),
    ("warpfactor info a", ["file"]),  # with a blank, which the shell quotes
    ("warpfactor train ra", ["file"]),
    ("warpfactor train r.csv --scratch ", ["dir"]),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "offered"), TYPED)
def test_a_shell_is_offered_names_files_and_values(
    folder: Path, monkeypatch: pytest.MonkeyPatch, typed: str, offered: list[str]
) -> None:
    from click.shell_completion import get_completion_class

    made = get_completion_class("bash")
    assert made is not None
    words = typed.split(" ")
    shell = made(app, {}, "warpfactor", "_WARPFACTOR_COMPLETE")
    found = shell.get_completions(words[1:-1], words[-1])
    assert [each.value if each.type == "plain" else each.type for each in found] == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(program: Path, folder: Path) -> None:
    lines = [(typed, offered) for typed, offered in TYPED if offered not in (["file"], ["dir"])][
        ::4
    ]
    script = 'eval "$(warpfactor completion bash)"\n'
    for typed, _ in lines:
        words = typed.split(" ")
        quoted = " ".join(map(shlex.quote, words))
        script += (
            f"COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1} COMPREPLY=()\n"
            '_warpfactor_completion warpfactor\necho "${COMPREPLY[@]}"\n'
        )
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert [line.split(" ") for line in done.stdout.splitlines()] == [
        offered for _, offered in lines
    ]


@pytest.mark.parametrize(("name", "start"), [
    ("bash", ["--norc", "--noprofile", "-i"]),
    ("zsh", ["-f", "-i"]),
    ("fish", ["--no-config", "-i"]),
])  # fmt: skip
def test_a_real_shell_completes_files_and_values_at_the_tab_key(
    program: Path, folder: Path, name: str, start: list[str]
) -> None:
    pexpect = pytest.importorskip("pexpect")
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    environment = {
        **os.environ, "PATH": f"{program}{os.pathsep}{os.environ['PATH']}", "TERM": "dumb",
        "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "PS1": "$ ",
    }  # fmt: skip
    terminal = pexpect.spawn(
        name, start, encoding="utf-8", timeout=60, env=environment, dimensions=(24, 200)
    )
    load = {
        "bash": 'eval "$(warpfactor completion bash)"',
        "zsh": 'autoload -Uz compinit && compinit -u && eval "$(warpfactor completion zsh)"',
        "fish": "warpfactor completion fish | source",
    }[name]
    terminal.sendline(f"{load}; echo rea''dy")
    terminal.expect("ready")
    # The line is not run: what stands on it after the tab is printed by echo.
    for typed, completed in (
        ("warpfactor info m", "m.safetensors"),
        ("warpfactor train rat", "ratings.csv"),
        ("warpfactor train r.csv --schedule cos", "cosine"),
        ("warpfactor train r.csv --n-fac", "--n-factors"),
    ):
        terminal.send(f"{typed}\t")
        terminal.expect(re.escape(completed.removeprefix(typed.split(" ")[-1])))
        terminal.send("\x15")  # the line goes
    terminal.close(force=True)


def test_a_shell_that_is_not_known_is_told_which_are() -> None:
    result = warpfactor("completion", "tcsh")
    assert (result.code, result.err) == (
        1,
        "warpfactor: error: SHELL is 'tcsh'; it must be bash, zsh or fish\n",
    )


# --- Mistakes of a first hour: each says what to type next.


MISTAKES = [
    ("trian ratings.csv", "Did you mean 'train'"),
    ("train ratings.csv --n-faktors 3", "'--n-factors'"),
    ("train rating.csv", r"rating\.csv: No such file or directory; did you mean ratings\.csv"),
    ("train nowhere/ratings.csv", "; there is no folder nowhere"),
    ("recommend m.safetensor --user 17", r"no model file m\.safetensor; did you mean m\.safetensors"),
    ("recommend m.safetensors", "give --user ID"),
    ("recommend m.safetensors 17", r"unexpected extra argument \(17\): give an id as --user ID"),
    ("similar m.safetensors 17", "give an id as --item ID or --user ID"),
    ("recommend ratings.csv --user 17", r"warpfactor train ratings\.csv --output m\.safetensors makes one"),
    ("evaluate test.csv m.safetensors", "a model comes first"),
    ("evaluate m.safetensors m.safetensors", "warpfactor info shows a model"),
    ("train m.safetensors", "warpfactor info shows a model"),
    ("train u.item", r"pass --sep|--user-column"),
    ("train ratings.csv --user usr", "the columns are 'user', 'item', 'rating', 'timestamp'"),
    ("recommend later.safetensors --user 17", "pip install --upgrade warpfactor"),
    ("info fit.checkpoint", r"train RATINGS --checkpoint fit\.checkpoint --resume --output m\.safetensors"),
    ("train ratings.csv --device gpu", "it must be 'cpu', 'cuda'"),
    ("convert ratings.csv out.xyz", r"end the name in one of \.csv"),
    ("split ratings.csv", "Missing option '--train'"),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "told"), MISTAKES)
def test_a_mistake_says_what_to_type_next(
    files: Path, monkeypatch: pytest.MonkeyPatch, typed: str, told: str
) -> None:
    monkeypatch.chdir(files)
    tensors, metadata = taken_apart(files / "m.safetensors")
    later = metadata | {"format_version": "4", "warpfactor_version": "9.0.0"}
    lay_out(files / "later.safetensors", tensors, later)
    lay_out(files / "fit.checkpoint", tensors, metadata | {"format": "warpfactor.Checkpoint"})
    result = warpfactor(*shlex.split(typed))
    assert result.code in (1, 2) and re.search(told, result.err), result.err
    assert result.code == 1 or "--help' for help" in result.err


MISSING = [
    ("report m.safetensors -o r.html", "jinja2", 'pip install "warpfactor[plot]"'),
    ("train ratings.csv --report r.html", "jinja2", 'pip install "warpfactor[plot]"'),
    ("tune ratings.csv", "optuna", 'pip install "warpfactor[tune]"'),
    ("tune ratings.csv --plot p.png", "matplotlib.backend_bases", 'pip install "warpfactor[plot]"'),
]


@pytest.mark.parametrize(("typed", "package", "told"), MISSING)
def test_a_missing_extra_is_named_before_the_work(
    files: Path, monkeypatch: pytest.MonkeyPatch, typed: str, package: str, told: str
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setitem(sys.modules, package, None)
    result = warpfactor(*shlex.split(typed))
    assert (result.code, result.out) == (1, "") and told in result.err
