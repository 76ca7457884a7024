#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cross-builds the wheel for aarch64 Linux by Debian's compiler, and tests it under qemu-user.

Needs packaging/requirements.txt, a Python of the minor version that this Debian has, and
apt-get install g++-aarch64-linux-gnu qemu-user. The target's Python and libraries come from Debian as
well, unpacked into a folder: the machine gets no foreign architecture. In between, wheels.py repairs
and audits the wheel, as any other.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from wheels import PROJECT, ROOT, SUITE, SUITE_NEEDS, environment, run, say, source_date

# Of Debian for arm64: the interpreter, the standard library, and the headers to build for it.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libpython3-dev", "libstdc++6")
# As the toolchain file has it, and why.
EMULATOR = ("qemu-aarch64", "-cpu", "cortex-a72")


def make_root(at: Path) -> None:
    """Unpack the target's Python into a folder, with a launcher by which it runs here."""
    state, cache = at / "apt/state", at / "apt/cache"
    for folder in (state / "lists/partial", cache / "archives/partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()  # nothing is installed: apt finds all that is needed
    debian = Path("/etc/apt/sources.list.d/debian.sources")
    sources = debian if debian.exists() else Path("/etc/apt/sources.list")
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # another user may not write into the folder
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "-",
    }
    apt = ["apt-get", "-q", *(f"-o{name}={value}" for name, value in settings.items())]
    run([*apt, "update"])
    run([*apt, "install", "-y", "--no-install-recommends", "--download-only", *PACKAGES])
    for package in sorted((cache / "archives").glob("*.deb")):
        run(["dpkg-deb", "-x", package, at])
    shutil.rmtree(at / "apt")
    # There each architecture's pyconfig.h lies in a folder of the compiler's own, to which another header points.
    (own,) = (at / "usr/include/aarch64-linux-gnu").glob("python3.*/pyconfig.h")
    shutil.copy(own, at / "usr/include" / own.parent.name)
    python = next(
        path for path in (at / "usr/bin").iterdir() if re.fullmatch(r"python3\.\d+", path.name)
    )
    # By its own name, so that what the tests start as sys.executable is emulated, too.
    launcher = at / "usr/bin/python"
    launcher.unlink(missing_ok=True)
    launcher.write_text(
        f'#!/bin/sh\nexec {" ".join(EMULATOR)} -L "{at}" -0 "$0" "{python}" "$@"\n',
        encoding="utf-8",
    )
    launcher.chmod(0o755)
    say(
        subprocess.check_output(
            [launcher, "-c", "import sys; print(sys.executable, sys.version)"], text=True
        )
    )


def target_python(root: Path) -> str:
    """Return the minor version of the target's Python, as 3.11; this Python has to have it as well."""
    data = next((root / "usr/lib").glob("python3.*/_sysconfigdata_*aarch64*.py"), None)
    if data is None:
        raise SystemExit(f"there is no Python for aarch64 in {root}: make it with `root`")
    version = data.parent.name.removeprefix("python")
    if version != sysconfig.get_python_version():
        raise SystemExit(f"{root} has Python {version}: run this with that version")
    return version


def build(root: Path, out: Path, build_dir: Path | None) -> Path:
    """Cross-build a wheel, whose platform tag is the plain one."""
    name = f"python{target_python(root)}"
    with tempfile.TemporaryDirectory() as folder:
        tools = environment(sys.executable, Path(folder, "tools"))
        needs = [*PROJECT["build-system"]["requires"], "cmake>=3.26", "ninja>=1.11"]
        run([tools, "-m", "pip", "install", "-q", *needs])
        # What CPython's own cross builds set: the build's Python then tells the target's names and tags.
        data = next((root / "usr/lib" / name).glob("_sysconfigdata_*aarch64*.py"))
        (Path(folder) / "target").mkdir()
        shutil.copy(data, Path(folder) / "target")
        env = {
            **os.environ,
            "PATH": f"{tools.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(folder) / "target"),
            "_PYTHON_SYSCONFIGDATA_NAME": data.stem,
            "_PYTHON_HOST_PLATFORM": "linux-aarch64",
        }
        env.setdefault("SOURCE_DATE_EPOCH", source_date())
        defines = {
            "CMAKE_TOOLCHAIN_FILE": ROOT / "packaging/aarch64.cmake",
            "Python_INCLUDE_DIR": root / "usr/include" / name,
            "WARPFACTOR_AARCH64_ROOT": root,
            "WARPFACTOR_CUDA": "OFF",
            "WARPFACTOR_WERROR": "ON",
        }
        command = [
            tools,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-w",
            f"{folder}/out",
            ROOT,
        ]
        command += [f"-Ccmake.define.{key}={value}" for key, value in defines.items()]
        if build_dir is not None:
            command.append(f"-Cbuild-dir={build_dir}")
        run(command, env=env)
        wheel = next(Path(folder, "out").iterdir())
        out.mkdir(parents=True, exist_ok=True)
        made = Path(shutil.move(wheel, out / wheel.name))
    say(f"{made.name}: cross-built")
    return made


def test(
    root: Path, wheel: Path, names: Sequence[str], options: Sequence[str], *, demo: bool
) -> None:
    """Install a wheel for the target's Python, and run the demo and tests on it under the emulator."""
    version = target_python(root)
    site = root / "site"
    platforms = ["linux_aarch64", "manylinux2014_aarch64"]
    platforms += [f"manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
    pip = [sys.executable, "-m", "pip", "install", "-q", "--only-binary", ":all:", "--target", site]
    pip += ["--python-version", version, "--implementation", "cp"]
    pip += [f"--platform={platform}" for platform in platforms]
    if not site.exists():
        run([*pip, *PROJECT["project"]["dependencies"], *SUITE_NEEDS])
    for old in site.glob("warpfactor*"):
        shutil.rmtree(old)
    run([*pip, "--no-deps", wheel])
    env = {key: value for key, value in os.environ.items() if not key.startswith("WARPFACTOR")}
    env["PYTHONPATH"] = str(site)
    launcher = root / "usr/bin/python"
    told = (
        "import platform, warpfactor as wf; config = wf.show_config('dicts'); "
        "print(platform.machine(), wf.__version__, config['instruction_set'], config['built_instruction_sets'])"
    )
    line = subprocess.check_output([launcher, "-c", told], text=True, env=env, cwd=root)
    say(f"{wheel.name}: {line.strip()}")
    if demo:
        begun = time.monotonic()
        subprocess.run([launcher, "-m", "warpfactor", "demo"], check=True, env=env, cwd=root)
        say(f"{wheel.name}: demo in {time.monotonic() - begun:.0f} s")
    if not names:
        return
    with tempfile.TemporaryDirectory() as folder:
        # A copy without the package, so that the wheel's is the one that is tested.
        shutil.copytree(ROOT / "tests", Path(folder, "tests"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        files = [f"tests/python/test_{name}.py" for name in names]
        command = [launcher, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, *options]
        done = subprocess.run([str(word) for word in command], cwd=folder, env=env, check=False)
        if done.returncode != 0:
            raise SystemExit(done.returncode)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, summary: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=summary, description=summary)
        made.add_argument(
            "--root", type=Path, required=True, help="the folder of the target's Python"
        )
        return made

    command("root", "unpacks the target's Python into a folder")
    building = command("build", "cross-builds the wheel")
    building.add_argument("--out", type=Path, default=ROOT / "dist", help="a folder (dist)")
    building.add_argument("--build-dir", type=Path, help="where the compiler works; kept")
    testing = command("test", "tests a wheel under the emulator")
    testing.add_argument("wheel", type=Path)
    testing.add_argument(
        "--tests", nargs="*", default=SUITE, metavar="NAME", help="tests/python/test_NAME.py"
    )
    testing.add_argument("--demo", action="store_true", help="runs the demo as well")
    testing.add_argument("--pytest", nargs="+", default=[], metavar="OPTION", help="as --pytest=-x")
    given = parser.parse_args()
    root = given.root.resolve()
    if given.command == "root":
        make_root(root)
    elif given.command == "build":
        build(root, given.out, given.build_dir)
    elif given.command == "test":
        test(root, given.wheel, given.tests, given.pytest, demo=given.demo)


if __name__ == "__main__":
    main()
