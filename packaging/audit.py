# SPDX-License-Identifier: Apache-2.0
"""What must hold of a wheel or an sdist before anybody gets it."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

import sbom
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from packaging.metadata import Metadata
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
VERSION = re.search(
    r"project\(warpfactor VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
)[1]  # type: ignore[index]
# Bytes at most. The device's code is larger: kernels for four kinds of card.
MOST = {"warpfactor": 3_000_000, "warpfactor-cuda": 16_000_000}
SDIST_MOST = 2_000_000
CONTENTS = {
    "warpfactor": (
        r"warpfactor/(\w+/)*\w+\.pyi?|warpfactor/py\.typed|warpfactor/_core\.[\w.-]+\.(so|pyd)"
        r"|warpfactor/include/(\w+/)*\w+\.(hpp|cuh)|warpfactor/report/templates/\w+\.(html|css|js)"
    ),
    "warpfactor-cuda": r"warpfactor_cuda/__init__\.py|warpfactor_cuda/libwarpfactor_cuda\.so",
}
INFO = r"[\w.-]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt|licenses/[\w.-]+|sboms/[\w.-]+\.json)"
EXPORTED = {
    "warpfactor": r"PyInit__core",
    "warpfactor-cuda": r"warpfactor_cuda_(version|build_id|library)",
}
# What every system has that can run the platform tag: no BLAS, no OpenMP, no CUDA.
LIBRARIES = (
    r"lib(stdc\+\+|m|gcc_s|c|pthread|rt|dl)\.so\.\d+|ld-linux[\w-]*\.so\.\d+|libc\.musl-\w+\.so\.1"
)
FOREIGN = r"(cblas_|[sdcz]gemm|cuda|cu[A-Z]|nvrtc|GOMP_|omp_|__kmpc|mkl_)"
# musl's systems need not have the C++ library: there auditwheel copies it.
COPIED = r"warpfactor\.libs/lib(stdc\+\+|gcc_s)[\w.+-]*\.so[\w.]*"
BUILD_PATH = rb"/(?:home|root|tmp|work|project|host|build)/[\x21-\x7e]{3,200}"


class Audit:
    """Collects what is wrong, so that all of it is told at once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.problems: list[str] = []

    def require(self, holds: object, problem: str) -> None:
        if not holds:
            self.problems.append(problem)

    def close(self, summary: str) -> None:
        if self.problems:
            raise SystemExit("\n".join(f"{self.file.name}: {problem}" for problem in self.problems))
        print(f"{self.file.name}: {summary}", flush=True)


def wheel(file: Path) -> None:
    """Check a repaired wheel; SystemExit tells all that is wrong."""
    audit = Audit(file)
    canonical, version, _, tags = parse_wheel_filename(file.name)
    name = str(canonical)
    platforms = {tag.platform for tag in tags}
    musl = any("musllinux" in platform for platform in platforms)
    size = file.stat().st_size
    audit.require(size <= MOST[name], f"it has {size} bytes; {MOST[name]} is the most")
    audit.require(
        str(version) == VERSION, f"it is of version {version}; CMakeLists.txt has {VERSION}"
    )
    audit.require(
        not any(platform.startswith("linux_") for platform in platforms),
        "its platform tag is the plain linux, which no registry takes: repair it",
    )
    facts = []
    with tempfile.TemporaryDirectory() as folder:
        sbom.unpack(file, Path(folder))
        tree = next(Path(folder).iterdir())
        files = sorted(path for path in tree.rglob("*") if path.is_file())
        allowed = f"{CONTENTS[name]}|{INFO}" + (f"|{COPIED}" if musl else "")
        for path in files:
            inside = path.relative_to(tree).as_posix()
            audit.require(re.fullmatch(allowed, inside), f"{inside} does not belong there")
        check_metadata(audit, next(tree.glob("*.dist-info")), name)
        for path in files:
            if path.read_bytes()[:4] == b"\x7fELF" and path.parent.name != "warpfactor.libs":
                facts += check_elf(audit, path, name, platforms, musl)
    if not facts:
        facts = ["symbols and libraries not looked at: no ELF"]
    audit.close(f"{size / 1e6:.2f} MB, {len(files)} files, {', '.join(facts)}")


def check_metadata(audit: Audit, info: Path, name: str) -> None:
    metadata = Metadata.from_email((info / "METADATA").read_bytes(), validate=True)
    audit.require(metadata.name == name, f"METADATA says {metadata.name}")
    audit.require(metadata.license_expression, "METADATA has no License-Expression")
    texts = {path.name for path in (info / "licenses").iterdir()}
    named = set(metadata.license_files or [])
    audit.require(
        texts == named, f"licences are {sorted(texts)}, and METADATA names {sorted(named)}"
    )
    if name == "warpfactor-cuda":
        needs = [str(need) for need in metadata.requires_dist or []]
        audit.require(needs == [f"warpfactor=={VERSION}"], f"it asks for {needs}")
    bills = [path for path in (info / "sboms").glob("*.json") if path.name == f"{name}.cdx.json"]
    audit.require(bills, f"no sboms/{name}.cdx.json")
    for bill in bills:
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(
            bill.read_text(encoding="utf-8")
        )
        audit.require(problem is None, f"{bill.name}: {problem}")


def check_elf(
    audit: Audit, path: Path, name: str, platforms: Iterable[str], musl: bool
) -> list[str]:
    """Check a shared object; return what to tell of it."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        dynamic = next(s for s in elf.iter_sections() if isinstance(s, DynamicSection))
        tags = [tag for tag in dynamic.iter_tags()]
        needed = [tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"]
        for library in needed:
            audit.require(
                re.fullmatch(LIBRARIES, library)
                or (musl and re.match(r"lib(stdc\+\+|gcc_s)-", library)),
                f"{path.name} needs {library}",
            )
        for tag in tags:
            kind = tag.entry.d_tag
            audit.require(
                musl or kind not in ("DT_RPATH", "DT_RUNPATH"), f"{path.name} has a {kind}"
            )
            audit.require(kind != "DT_TEXTREL", f"{path.name} has relocations in its code")
        for segment in elf.iter_segments("PT_GNU_STACK"):
            audit.require(not segment["p_flags"] & 1, f"{path.name} asks for an executable stack")
        names = [section.name for section in elf.iter_sections()]
        for section in names:
            unwanted = section == ".symtab" or section.startswith(".debug")
            audit.require(not unwanted, f"{path.name} has {section}: strip it")
        symbols = next(
            s
            for s in elf.iter_sections()
            if isinstance(s, SymbolTableSection) and s.name == ".dynsym"
        )
        exported, taken = [], []
        for symbol in symbols.iter_symbols():
            if symbol["st_info"]["bind"] == "STB_LOCAL":  # aarch64's linker lists sections, too
                continue
            (taken if symbol["st_shndx"] == "SHN_UNDEF" else exported).append(symbol.name)
        other = [symbol for symbol in exported if not re.fullmatch(EXPORTED[name], symbol)]
        audit.require(not other, f"{path.name} exports {len(other)} symbols more, as {other[:3]}")
        for symbol in taken:
            audit.require(
                not re.match(FOREIGN, symbol), f"{path.name} takes {symbol} from elsewhere"
            )
        wanted = [
            aux.name
            for section in elf.iter_sections()
            if isinstance(section, GNUVerNeedSection)
            for _, auxiliaries in section.iter_versions()
            for aux in auxiliaries
        ]
    for text in re.findall(BUILD_PATH, path.read_bytes())[:3]:
        audit.require(
            False, f"{path.name} names a path of the machine that built it: {text.decode()}"
        )
    newest = max(
        (
            tuple(map(int, found[1].split(".")))
            for w in wanted
            if (found := re.fullmatch(r"GLIBC_([\d.]+)", w))
        ),
        default=(0,),
    )
    for platform in platforms:
        if found := re.match(r"manylinux_(\d+)_(\d+)_", platform):
            allowed = tuple(map(int, found.groups()))
            audit.require(
                newest <= allowed, f"{path.name} needs glibc {newest}, and {platform} has {allowed}"
            )
    text = ".".join(map(str, newest))
    return [
        f"{path.name} {path.stat().st_size / 1e6:.2f} MB"
        + (f", glibc {text}" if newest > (0,) else "")
    ]


def sdist(file: Path) -> None:
    """Check that an sdist holds what it is built and tested from, and nothing else."""
    audit = Audit(file)
    size = file.stat().st_size
    audit.require(size <= SDIST_MOST, f"it has {size} bytes; {SDIST_MOST} is the most")
    with tarfile.open(file) as archive:
        names = {
            Path(*Path(member.name).parts[1:]).as_posix() for member in archive if member.isfile()
        }
    needed = [
        "CMakeLists.txt",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "pyproject.toml",
        "cpp/CMakeLists.txt",
        "cuda/CMakeLists.txt",
        "python/warpfactor/__init__.py",
        "python/bindings/module.cpp",
        "tests/python/test_layout.py",
        "packaging/wheels.py",
        "packaging/cuda/pyproject.toml",
    ]
    for name in needed:
        audit.require(name in names, f"{name} is missing")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=False,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        for name in sorted(names - set(listed.stdout.split("\0")) - {"PKG-INFO"}):
            audit.require(False, f"{name} is no file of the repository")
    audit.close(f"{size / 1e6:.2f} MB, {len(names)} files")
