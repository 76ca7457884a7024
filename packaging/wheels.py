#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds, repairs, audits and tests the wheels of warpfactor, and its sdist.

Needs packaging/requirements.txt. cibuildwheel, CI and people call the same commands; README.md beside
this file says which of them has run where.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
COMPILERS = ("cc", "c++", "gcc", "g++", "clang", "clang++", "cl", "nvcc")
# What of the suite is run on each wheel: the core's answers, files, ids, formats, the command line. All of it runs in CI on
# what was built there (.ci/run).
SUITE = (
    "bad_input",
    "io",
    "ids",
    "estimator",
    "losses",
    "model_file",
    "training",
    "recommending",
    "cli_help",
    "threads",
)
SUITE_NEEDS = {
    "hypothesis",
    "numba",
    "pandas",
    "polars",
    "pytest",
    "pytest-timeout",
    "safetensors",
    "sympy",
}


# Optional dependencies of users, which `--lowest` takes at their oldest, too.
EXTRAS = ("autodiff", "plot", "tune")
# Of SUITE_NEEDS, what has no wheels for free-threaded CPython 3.13: tests that need it skip.
NOT_FREE = {"numba", "polars", "safetensors"}


def say(text: str) -> None:
    print(text, flush=True)


def run(command: Sequence[str | Path], **options: object) -> None:
    """Run a command; where it fails, show what it printed and stop."""
    words = [str(word) for word in command]
    done = subprocess.run(  # type: ignore[call-overload]
        words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if done.returncode != 0:
        raise SystemExit(f"{done.stdout}\n{' '.join(words)} failed with {done.returncode}")


def suite_needs(free_threaded: bool) -> list[str]:
    """What the chosen part of the suite imports, as pyproject.toml has it."""
    extra = PROJECT["project"]["optional-dependencies"]["test"]
    wanted = SUITE_NEEDS - NOT_FREE if free_threaded else SUITE_NEEDS
    found = [need for need in extra if re.split(r"[^\w-]", need)[0] in wanted]
    if len(found) != len(wanted):
        raise SystemExit(f"the extra test of pyproject.toml lacks some of {sorted(wanted)}")
    return found


def is_free_threaded(python: str | Path) -> bool:
    """Whether an interpreter is built without the GIL."""
    ask = "import sysconfig; print(sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
    return subprocess.check_output([str(python), "-c", ask], text=True).strip() == "1"


def environment(python: str, at: Path) -> Path:
    """Make a virtual environment and return its interpreter."""
    run([python, "-m", "venv", at])
    return at / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pythons() -> list[str]:
    """Return the newest interpreter of each CPython at hand that pyproject.toml allows.

    They are looked for on the PATH and among pyenv's. Free-threaded ones count as others.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [f"python3.{minor}{free}" for minor in range(11, 20) for free in ("", "t")]
    candidates += [str(path) for path in pyenv.glob("3.*/bin/python3")]
    ask = (
        "import ensurepip, json, sys, sysconfig, venv; print(json.dumps([sys.implementation.name, "
        "sys.version_info.releaselevel, list(sys.version_info[:3]), sys.executable, "
        "sysconfig.get_config_var('Py_GIL_DISABLED') or 0]))"
    )
    found: dict[tuple[int, ...], tuple[list[int], str]] = {}
    for candidate in candidates:
        if shutil.which(candidate) is None:
            continue
        done = subprocess.run([candidate, "-c", ask], check=False, capture_output=True, text=True)
        if done.returncode != 0:
            continue
        name, level, version, executable, free = json.loads(done.stdout)
        if name == "cpython" and level == "final" and version >= [3, 11]:
            minor = (*version[:2], free)
            found[minor] = max(found.get(minor, ([], "")), (version, executable))
    return [found[minor][1] for minor in sorted(found)]


@contextmanager
def unpacked(source: Path) -> Iterator[Path]:
    """The tree of a source, which is a folder or an sdist."""
    if source.is_dir():
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        yield next(Path(folder).iterdir())


def without_network() -> list[str]:
    """The words before a command that take the network away from it."""
    words = ["unshare", "--map-root-user", "--net"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*words, "true"], check=False).returncode != 0
    ):
        raise SystemExit("--offline needs unshare of util-linux, and the right to use it")
    return words


def build(
    source: Path, python: str, out: Path, *, cuda: str = "OFF", offline: bool = False
) -> Path:
    """Build a wheel.

    Parameters
    ----------
    source : Path
        The tree or an sdist; the tree alone where `cuda` is not OFF.
    python : str
        The interpreter to build for.
    out : Path
        The folder that the wheel is put into.
    cuda : {"OFF", "ON", "TWIN"}, default "OFF"
        OFF builds warpfactor without CUDA, the others warpfactor-cuda; TWIN is for tests.
    offline : bool, default False
        Take the network away once what pyproject.toml asks for is installed.

    Returns
    -------
    Path
        The wheel, whose platform tag is the plain one.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, unpacked(source) as tree:
        tools = environment(python, Path(folder, "tools"))
        needs = [*PROJECT["build-system"]["requires"], "cmake>=3.26", "ninja>=1.11"]
        run([tools, "-m", "pip", "install", "-q", *needs])
        project = tree if cuda == "OFF" else tree / "packaging" / "cuda"
        command = [
            tools,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            Path(folder, "out"),
        ]
        command += [project, f"-Ccmake.define.WARPFACTOR_CUDA={cuda}"]
        # Two folders below the sources, as CI's other builds: a compiler cache knows the objects again.
        folder_of_build = tree / "build" / f"wheel-{Path(folder).name}"
        command += [f"-Cbuild-dir={folder_of_build}"]
        env = {**os.environ, "PATH": f"{tools.parent}{os.pathsep}{os.environ['PATH']}"}
        env.setdefault("SOURCE_DATE_EPOCH", source_date())
        try:
            run([*(without_network() if offline else []), *command], cwd=tree, env=env)
        finally:
            shutil.rmtree(folder_of_build, ignore_errors=True)
        wheel = next(Path(folder, "out").iterdir())
        out.mkdir(parents=True, exist_ok=True)
        made = Path(shutil.move(wheel, out / wheel.name))
    where = ", without a network" if offline else ""
    say(f"{made.name}: built in {time.monotonic() - start:.0f} s from {source.name}{where}")
    return made


def source_date() -> str:
    """The commit's time, so that the same sources make the same archive."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"],
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "1700000000"


def make_sdist(out: Path) -> Path:
    """Build the sdist and look at what is in it."""
    import audit  # here, because the suite runs where its libraries are not

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "SOURCE_DATE_EPOCH": source_date()}
        run([sys.executable, "-m", "build", "--sdist", "--outdir", folder, ROOT], env=env)
        made = next(Path(folder).iterdir())
        audit.sdist(made)
        return Path(shutil.move(made, out / made.name))


def repair(wheel: Path, out: Path, plat: str) -> Path:
    """Give a wheel its platform tag, an SBOM and the licences of what is compiled into it.

    Nothing is copied into it: `audit` fails where it needs more than what every system has.
    """
    import sbom

    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        # The tools lie beside the interpreter, which need not be on the PATH.
        here = Path(sys.executable).parent
        env = {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
        if "-linux_" in wheel.name or "linux" in plat:
            command = [sys.executable, "-m", "auditwheel", "repair", "--plat", plat, "--only-plat"]
            run([*command, "-w", folder, wheel], env=env)
        elif "macosx" in wheel.name:
            run(["delocate-wheel", "-w", folder, wheel], env=env)
        elif "-win" in wheel.name:
            run(["delvewheel", "repair", "-w", folder, wheel], env=env)
        else:
            raise SystemExit(f"{wheel.name} is of a platform that there is no repair for")
        made = sbom.attach(next(Path(folder).iterdir()), out)
    say(f"{made.name}: repaired, with an SBOM")
    return made


def constraints(lowest: bool, python: str, extras: Sequence[str] = ()) -> str:
    """Return a constraints file: the oldest versions that pyproject.toml allows, or the newest.

    Of the packages that those ask for it names the newest that go with them.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "-q", "--no-header", "--no-annotate"]
    command += ["--only-binary", ":all:", "--python-version", python]
    command += ["--resolution", "lowest-direct" if lowest else "highest"]
    for extra in extras:
        command += ["--extra", extra]
    done = subprocess.run(
        [*command, str(ROOT / "pyproject.toml")], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    return done.stdout


def bare(python: Path) -> dict[str, str]:
    """The process environment of a machine that has no compiler: nothing but the venv on the PATH."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("WARPFACTOR")}
    env["PATH"] = str(python.parent)
    env.pop("PYTHONPATH", None)
    for compiler in COMPILERS:
        if shutil.which(compiler, path=env["PATH"]):
            raise SystemExit(f"{compiler} is on the PATH of the environment without a compiler")
    return env


def test(
    wheels: Sequence[Path],
    python: str,
    *,
    lowest: bool = False,
    demo: bool = False,
    suite: Sequence[str] = SUITE,
) -> dict[str, str]:
    """Install wheels into an empty environment without a compiler, and test what they do there.

    Parameters
    ----------
    wheels : sequence of Path
        warpfactor's, and warpfactor-cuda's where it is to be tested as well.
    python : str
        The interpreter that the environment is made of.
    lowest : bool, default False
        Take the oldest versions of the dependencies.
    demo : bool, default False
        Run `warpfactor demo`, and print how long that and the installation took.
    suite : sequence of str, default SUITE
        Which tests to run, as tests/python/test_NAME.py.

    Returns
    -------
    dict of str to str
        The facts, by the headings of the table of `release`.
    """
    name = wheels[0].name
    facts: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        made = time.monotonic()
        inside = environment(python, at / "venv")
        env = bare(inside)
        pip = [inside, "-m", "pip", "--disable-pip-version-check"]
        limits: list[str | Path] = []
        if lowest:
            version = subprocess.check_output(
                [inside, "-c", "import platform; print(platform.python_version())"], text=True
            )
            (at / "lowest.txt").write_text(
                constraints(True, version.strip(), EXTRAS), encoding="utf-8"
            )
            limits = ["-c", at / "lowest.txt"]
        start = time.monotonic()
        # Downloaded first, so that the bytes can be counted.
        run(
            [*pip, "download", "-q", "--only-binary", ":all:", "-d", at / "all", *limits, *wheels],
            env=env,
        )
        run([*pip, "install", "-q", "--no-index", "--find-links", at / "all", *wheels], env=env)
        installed = time.monotonic()
        sizes = {path.name: path.stat().st_size for path in (at / "all").iterdir()}
        own = sum(wheel.stat().st_size for wheel in wheels)
        say(
            f"{name}: downloaded and installed in {installed - start:.1f} s into an empty environment without a "
            f"compiler (made in {start - made:.1f} s): {own / 1e6:.2f} MB, and {(sum(sizes.values()) - own) / 1e6:.1f} MB of "
            f"{len(sizes) - len(wheels)} dependencies"
        )
        facts["installed in"] = f"{installed - start:.1f} s"
        facts["download"] = f"{sum(sizes.values()) / 1e6:.0f} MB"
        if lowest:
            say(
                "oldest: "
                + " ".join(sorted(re.sub(r"(-[^-]+){3}\.whl$", "", each) for each in sizes))
            )
        check_installed(inside, env, wheels)
        if demo:
            begun = time.monotonic()
            run([inside.parent / "warpfactor", "demo"], env=env, cwd=folder)
            now = time.monotonic()
            say(
                f"{name}: demo in {now - begun:.1f} s; installation and demo in {now - start:.1f} s"
            )
            facts["demo"] = f"{now - begun:.1f} s"
        if suite:
            needs = suite_needs(is_free_threaded(inside))
            if lowest:
                optional = PROJECT["project"]["optional-dependencies"]
                needs += [need for extra in EXTRAS for need in optional[extra]]
            run([*pip, "install", "-q", "--only-binary", ":all:", *limits, *needs], env=env)
            # Old packages use names of newer ones that those call deprecated.
            options = ["-W", "ignore::DeprecationWarning"] if lowest else []
            facts["suite"] = run_suite(inside, env, suite, options)
    return facts


def check_installed(python: Path, env: dict[str, str], wheels: Sequence[Path]) -> None:
    """Check that the wheel's own files are what is imported, and where it finds CUDA."""
    program = (
        "import json, sys, warpfactor as wf; print(json.dumps([wf.__file__, wf.show_config('dicts'), "
        "getattr(sys, '_is_gil_enabled', lambda: True)()]))"
    )
    told = subprocess.check_output([python, "-c", program], text=True, env=env, cwd=python.parent)
    file, config, has_gil = json.loads(told)
    if has_gil and is_free_threaded(python):
        raise SystemExit("importing warpfactor brought the GIL back")
    if Path(python.parents[1]) not in Path(file).parents:
        raise SystemExit(f"{file} was imported, which is not the wheel's")
    given = [
        wheel.name.split("-")[1] for wheel in wheels if wheel.name.startswith("warpfactor_cuda-")
    ]
    expected = f"warpfactor-cuda {given[0]}" if given else "none"
    if config["cuda_source"] != expected:
        raise SystemExit(
            f"cuda_source is {config['cuda_source']}; it must be {expected}: {config['cuda_reason']}"
        )
    isas = ", ".join(config["built_instruction_sets"])
    say(f"{wheels[0].name}: kernels for {isas}; CUDA from: {expected}")


def run_suite(
    python: Path | str = sys.executable,
    env: dict[str, str] | None = None,
    names: Sequence[str] = SUITE,
    options: Sequence[str] = (),
) -> str:
    """Run the chosen tests on the warpfactor that an interpreter has, from a copy without the package.

    Returns the last line that pytest prints.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "tests")
        shutil.copytree(ROOT / "tests", copy)
        shutil.copy(ROOT / "pyproject.toml", folder)
        files = [copy / "python" / f"test_{name}.py" for name in names]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options, *files]
        done = subprocess.run(
            [str(word) for word in command],
            cwd=folder,
            env=env,
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise SystemExit(done.stdout + done.stderr)
        last = done.stdout.strip().splitlines()[-1]
        say(last)
        return last


def release(out: Path, with_cuda: bool, without_urls: bool) -> None:
    """Make and test everything that would be published, for all CPythons at hand."""
    import audit

    if "urls" not in PROJECT["project"]:
        problem = "pyproject.toml has no project.urls: a release needs the project's public address"
        if not without_urls:
            raise SystemExit(
                f"{problem}; --without-urls makes and tests the files all the same, to be looked at"
            )
        say(f"{problem}. What follows is to be looked at, not to be published")
    sdist = make_sdist(out)
    made = []
    rows = []

    def tested(wheels: Sequence[Path], python: str, **how: Any) -> None:
        row = {"wheel": f"{wheels[-1].name}{', oldest dependencies' if how.get('lowest') else ''}"}
        row["size"] = f"{wheels[-1].stat().st_size / 1e6:.2f} MB"
        rows.append(row | test(wheels, python, **how))

    for python in pythons():
        wheel = repair(build(sdist, python, out / "plain", offline=True), out, "auto")
        audit.wheel(wheel)
        tested([wheel], python, demo=True)
        made.append((wheel, python))
    tested([made[0][0]], made[0][1], lowest=True)
    if with_cuda:
        cuda = repair(build(ROOT, sys.executable, out / "plain", cuda="ON"), out, "auto")
        audit.wheel(cuda)
        tested([made[0][0], cuda], made[0][1], suite=())
    say_table(rows)


def say_table(rows: Sequence[dict[str, str]]) -> None:
    """Print facts as a table of Markdown."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
    say("\n".join(f"| {' | '.join(line)} |" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, summary: str, *, out: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary)
        if out:
            made.add_argument("--out", type=Path, default=ROOT / "dist", help="a folder (dist)")
        return made

    building = command("build", "builds a wheel for each Python", out=True)
    building.add_argument("--python", action="append", help="an interpreter; several (this one)")
    building.add_argument("--source", type=Path, default=ROOT, help="the tree, or an sdist")
    building.add_argument(
        "--cuda",
        choices=["OFF", "ON", "TWIN"],
        default="OFF",
        nargs="?",
        const="ON",
        help="builds warpfactor-cuda, for all Pythons; TWIN: for tests",
    )
    building.add_argument("--offline", action="store_true", help="compiles without a network")
    repairing = command("repair", "gives a wheel its platform tag and an SBOM", out=True)
    repairing.add_argument("wheel", type=Path)
    repairing.add_argument(
        "--plat", default="auto", help="as of auditwheel (auto: the oldest that it can be)"
    )
    auditing = command("audit", "checks size, contents, symbols, libraries and glibc")
    auditing.add_argument(
        "file", type=Path, nargs="+", help="wheels, folders of wheels, or an sdist"
    )
    testing = command("test", "installs wheels where there is no compiler, and tests them")
    testing.add_argument(
        "wheel", type=Path, nargs="+", help="warpfactor's first, then perhaps warpfactor-cuda's"
    )
    testing.add_argument("--python", default=sys.executable)
    testing.add_argument("--lowest", action="store_true", help="with the oldest dependencies")
    testing.add_argument("--demo", action="store_true", help="runs and times the demo as well")
    which = testing.add_mutually_exclusive_group()
    which.add_argument("--no-suite", action="store_true", help="without the test suite")
    which.add_argument(
        "--tests", nargs="+", default=SUITE, metavar="NAME", help="as tests/python/test_NAME.py"
    )
    suite = command("suite", "runs the chosen tests on the warpfactor that is installed")
    suite.add_argument(
        "--install", action="store_true", help="installs what they need, and runs none"
    )
    limiting = command(
        "constraints", "prints the versions that pyproject.toml allows, as constraints"
    )
    limiting.add_argument("--lowest", action="store_true", help="the oldest (the newest)")
    limiting.add_argument("--python", default="3.11", help="version of Python (3.11)")
    limiting.add_argument("--extra", action="append", default=[])
    command("sdist", "builds the sdist", out=True)
    releasing = command("release", "all of it, for all CPythons at hand", out=True)
    releasing.add_argument(
        "--cuda", action="store_true", help="with warpfactor-cuda, where nvcc is"
    )
    releasing.add_argument(
        "--without-urls",
        action="store_true",
        help="makes the files, though project.urls is missing",
    )
    given = parser.parse_args()

    if given.command == "build":
        for python in given.python or [sys.executable]:
            build(given.source, python, given.out, cuda=given.cuda, offline=given.offline)
    elif given.command == "repair":
        repair(given.wheel, given.out, given.plat)
    elif given.command == "audit":
        import audit

        for path in given.file:
            files = sorted(path.glob("*.whl")) if path.is_dir() else [path]
            if not files:
                raise SystemExit(f"{path} has no wheels in it")
            for file in files:
                (audit.wheel if file.suffix == ".whl" else audit.sdist)(file)
    elif given.command == "test":
        test(
            given.wheel,
            given.python,
            lowest=given.lowest,
            demo=given.demo,
            suite=() if given.no_suite else given.tests,
        )
    elif given.command == "suite" and given.install:
        needs = suite_needs(is_free_threaded(sys.executable))
        run([sys.executable, "-m", "pip", "install", "-q", "--only-binary", ":all:", *needs])
    elif given.command == "suite":
        run_suite()
    elif given.command == "constraints":
        sys.stdout.write(constraints(given.lowest, given.python, given.extra))
    elif given.command == "sdist":
        say(f"{make_sdist(given.out)}")
    elif given.command == "release":
        release(given.out, given.cuda, given.without_urls)


if __name__ == "__main__":
    main()
