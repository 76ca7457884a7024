"""What docs/policies promises, compared with what there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import warpfactor as wf
from warpfactor.model import file as model_file

ROOT = Path(__file__).parents[2]
POLICIES = ROOT / "docs" / "policies"
KEPT = ROOT / "tests" / "files"

pytestmark = pytest.mark.skipif(not POLICIES.exists(), reason="a copy of the tests alone")


def text_of(name: str) -> str:
    return (POLICIES / name).read_text(encoding="utf-8")


def test_what_is_public_is_what_there_is() -> None:
    public = text_of("versioning.md").partition("## What is public")[2].partition("\n## ")[0]
    named = public.partition("public names of the modules")[2].partition("and of the objects")[0]
    modules = set(re.findall(r"`(?:warpfactor\.)?(\w+)`", named))
    assert modules == {*wf._MODULES, "ray"}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"test", "bench", "dev", "docs"}
    named = set(re.findall(r"`(\w+)`", public.partition("The extras (")[2].partition(")")[0]))
    assert named == extras
    variables = set(re.findall(r"`(WARPFACTOR_(?:ISA|CHECK\w*))`", public))
    core = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "cpp" / "src").rglob("*.cpp")
    )
    assert variables <= set(re.findall(r'getenv\("(WARPFACTOR_\w+)"\)', core))


def test_every_format_of_model_files_is_listed_and_has_a_file() -> None:
    rows = re.findall(r"^\| `([\w.]+)`, (\d+) \|", text_of("model_file.md"), re.MULTILINE)
    assert [row for row in rows if row[0] != "warpfactor.Checkpoint"] == list(model_file._KNOWN)
    names = {
        f"{'checkpoint' if 'Checkpoint' in name else 'model'}_{number}" for name, number in rows
    }
    assert names == {path.stem for path in KEPT.glob("*.safetensors")}


def test_links_between_the_policies_lead_somewhere() -> None:
    for page in [*POLICIES.glob("*.md"), ROOT / "SECURITY.md"]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), (page.name, target)
