"""The house rules that CONTRIBUTING's layout states, read from the package's source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import warpfactor

ROOT = Path(__file__).parents[2] / "python" / "warpfactor"
if not ROOT.exists():  # a copy of the tests alone: read what is installed
    ROOT = Path(warpfactor.__file__).parent

# From low to high. A file may import from its own layer and from those below, and no more.
LAYERS = [
    [
        "_core",
        "cuda_library",
        "exceptions",
        "checks",
        "parameters",
        "seeds",
        "exchange",
        "shared_state",
        "writing",
    ],
    ["data"],
    ["formulas"],
    ["serving"],
    ["model"],
    ["training"],
    ["evaluation"],
    ["report"],
    ["config", "baselines", "callbacks", "losses", "metrics", "datasets", "plot", "splits", "ray"],
    ["cli", "__init__", "__main__"],
]
LARGEST_CLASS = 500


def modules() -> dict[str, ast.Module]:
    """The package's modules, by dotted names below warpfactor."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


MODULES = modules()


def layer_of(module: str) -> int:
    top = module.split(".")[0]
    return next(at for at, names in enumerate(LAYERS) if top in names)


def imports_of(module: str, tree: ast.Module) -> Iterator[tuple[str, str, int]]:
    """(module, name, line) of what is imported from the package, wherever in the file."""
    is_package = (ROOT / Path(*module.split(".")) / "__init__.py").exists()
    here = ["warpfactor"] + ([] if module == "__init__" else module.split("."))
    package = here if is_package or module == "__init__" else here[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "warpfactor":
                    yield alias.name.partition(".")[2] or "__init__", "", node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module.split(".") if node.module else [])]
            if full[:1] != ["warpfactor"]:
                continue
            for alias in node.names:
                inner = ".".join([*full[1:], alias.name])
                if inner in MODULES or inner == "_core":
                    yield inner, "", node.lineno
                else:
                    yield ".".join(full[1:]) or "__init__", alias.name, node.lineno


GRAPH = {module: list(imports_of(module, tree)) for module, tree in MODULES.items()}


def test_the_layers_name_every_module():
    for module in MODULES:
        assert any(module.split(".")[0] in names for names in LAYERS), module
    assert sum(len(imports) for imports in GRAPH.values()) > 100


def test_no_import_runs_upwards():
    upwards = [
        f"{module}:{line} imports {imported}"
        for module, imports in GRAPH.items()
        for imported, _, line in imports
        if layer_of(imported) > layer_of(module)
    ]
    assert upwards == []


def test_no_import_runs_in_a_circle():
    state: dict[str, bool] = {}

    def visit(module: str, path: list[str]) -> None:
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        if state.get(module):
            return
        for imported, _, _ in GRAPH.get(module, []):
            if imported != module:
                visit(imported, [*path, module])
        state[module] = True

    for module in MODULES:
        visit(module, [])


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_core"


def own_names(tree: ast.Module) -> set[str]:
    """What a file defines: its functions, classes, fields, attributes it sets."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_file_reads_anothers_private_names(module):
    imported = [f"{name} of {source}" for source, name, _ in GRAPH[module] if private(name)]
    assert imported == []
    mine = own_names(MODULES[module])
    # What belongs to other packages, which offer no public way.
    foreign = {"_fields", "_asdict", "_replace", "_size"}
    read = [
        f"{ast.unparse(node)} in line {node.lineno}"
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.Attribute)
        and private(node.attr)
        and node.attr not in mine
        and node.attr not in foreign
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    assert read == []


def test_no_class_is_too_large_to_read():
    large = {
        f"{module}.{node.name}": node.end_lineno - node.lineno + 1
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.end_lineno - node.lineno + 1 >= LARGEST_CLASS
    }
    assert large == {}


# C++, from low to high: what lies in a folder includes nothing of the folders above it.
CORE = ROOT.parents[1]
FOLDERS = [
    "cpp/include",
    "cpp/src",
    "cpp/src/cpu",
    "cpp/src/data",
    "cpp/src/device",
    "cpp/src/serving",
    "cpp/src/bayes",
    "cuda",
]
# The trainer asks the registry for a device, and writes its parameters down for the model's file. A
# checkpoint is the same kind of file as a model. What a fit takes is told of the device's part too.
BRIDGES = {
    ("checkpoint.hpp", "serving/array_file.hpp"),
    ("checkpoint.cpp", "serving/crc32.hpp"),
    ("checkpoint.cpp", "serving/json.hpp"),
    ("checkpoint.cpp", "serving/stored_params.hpp"),
    ("checkpoint.cpp", "serving/whole_file.hpp"),
    ("memory.cpp", "device/device_backend.hpp"),
    ("trainer.cpp", "device/registry.hpp"),
    ("trainer.cpp", "serving/stored_params.hpp"),
}


@pytest.mark.skipif(not (CORE / "cpp").exists(), reason="the sources of the core are not here")
def test_no_header_is_included_from_above():
    sources = [
        path for folder in ("cpp", "cuda") for path in (CORE / folder).rglob("*.*")
        if path.suffix in (".cpp", ".hpp", ".cu", ".cuh")
    ]  # fmt: skip
    assert len(sources) > 50
    upwards = []
    for path in sources:
        folder = path.parent.relative_to(CORE).as_posix().removesuffix("/warpfactor")
        mine = FOLDERS.index(folder)
        for name in re.findall(r'^#include "(.*)"', path.read_text(encoding="utf-8"), re.MULTILINE):
            roots = [CORE / "cpp/include", CORE / "cpp/src", CORE / "cuda", path.parent]
            found = [root / name for root in roots if (root / name).exists()]
            if not found:  # version.hpp, which CMake makes
                continue
            theirs = found[0].parent.relative_to(CORE).as_posix().removesuffix("/warpfactor")
            if FOLDERS.index(theirs) > mine and (path.name, name) not in BRIDGES:
                upwards.append(f"{path.relative_to(CORE)} includes {name}")
    assert upwards == []


def test_arrow_threads_get_bytes_of_python_as_loans_only():
    # Else a process that ends soon after it has read may abort: see data/formats/lending.py.
    readers = {
        "read_csv",
        "open_csv",
        "read_json",
        "open_json",
        "BufferReader",
        "PythonFile",
        "input_stream",
    }
    lends = {"file", "array", "getvalue"}
    for module, tree in MODULES.items():
        if not module.startswith("data.formats"):
            continue
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Attribute) and call.func.attr in readers:
                given = call.args[0]
                made_by = given.func if isinstance(given, ast.Call) else None
                assert isinstance(made_by, ast.Attribute) and made_by.attr in lends, (
                    module,
                    call.lineno,
                )


def test_what_catches_all_of_arrow_s_errors_lets_memory_errors_pass():
    # Arrow's failed allocations are ArrowExceptions too, and would come out as ValueErrors.
    def names(handler: ast.ExceptHandler) -> set[str]:
        return {
            getattr(node, "attr", getattr(node, "id", ""))
            for node in ast.walk(handler.type or ast.Tuple())
        }

    n_found = 0
    for module, tree in MODULES.items():
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.Try)):
            caught = [names(handler) for handler in node.handlers]
            at = next((at for at, each in enumerate(caught) if "ArrowException" in each), None)
            if at is None:
                continue
            n_found += 1
            assert any("MemoryError" in each for each in caught[:at]), (module, node.lineno)
    assert n_found > 5
