# SPDX-License-Identifier: Apache-2.0
"""The software bill of materials of a wheel, and the licences of what is compiled into it (PEP 770)."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from email.message import EmailMessage
from email.parser import Parser
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[1]
# What built_with.json may name: an SPDX identifier or expression, and where it comes from.
KNOWN = {
    "pybind11": ("BSD-3-Clause", "pypi"),
    "cudart_static": ("LicenseRef-NVIDIA-CUDA-Toolkit-EULA", "generic"),
}
CORE = "Apache-2.0"


def attach(wheel: Path, out: Path) -> Path:
    """Write a copy of a wheel with an SBOM in ``.dist-info/sboms`` and all licences; return it."""
    with tempfile.TemporaryDirectory() as folder:
        unpack(wheel, Path(folder, "in"))
        tree = next(Path(folder, "in").iterdir())
        info = next(tree.glob("*.dist-info"))
        built_with = info / "built_with.json"
        facts = json.loads(built_with.read_text(encoding="utf-8"))
        built_with.unlink()
        metadata = Parser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
        sboms = info / "sboms"
        sboms.mkdir(exist_ok=True)  # auditwheel's, where it copied libraries
        name = metadata["Name"]
        bom = bill(name, metadata["Version"], facts)
        (sboms / f"{name}.cdx.json").write_text(bom, encoding="utf-8")
        add_licences(info, facts["compiled_in"])
        wheel_command("pack", tree, "-d", out)
    return out / wheel.name


def unpack(wheel: Path, to: Path) -> None:
    """Unpack a wheel; fails where a file is not what RECORD says."""
    wheel_command("unpack", wheel, "-d", to)


def wheel_command(*words: object) -> None:
    command = [sys.executable, "-m", "wheel", *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stdout + done.stderr)


def bill(name: str, version: str, facts: dict[str, object]) -> str:
    """Return the SBOM, as JSON of CycloneDX 1.6. It has no time in it, so that it is the same again."""
    licences = LicenseFactory()

    def component(of: str, at: str, kind: str, licence: str) -> Component:
        return Component(
            name=of,
            version=at,
            type=ComponentType.LIBRARY,
            bom_ref=f"{of}@{at}",
            purl=PackageURL(kind, name=of, version=at),
            licenses=[licences.make_from_string(licence)],
        )

    whole = component(name, version, "pypi", CORE)
    parts = [
        component(of, at, KNOWN[of][1], KNOWN[of][0])
        for of, at in sorted(facts["compiled_in"].items())  # type: ignore[attr-defined]
    ]
    bom = Bom(components=parts)
    bom.metadata.component = whole
    bom.register_dependency(whole, parts)
    told = json.loads(JsonV1Dot6(bom).output_as_string())
    for changing in ("serialNumber",):
        told.pop(changing, None)
    told["metadata"].pop("timestamp", None)
    told["metadata"]["properties"] = [{"name": "warpfactor:compiler", "value": facts["compiler"]}]
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def cuda_licence() -> Path:
    """The licence that lies in the toolkit: NVIDIA's installer and its packages put it into different places."""
    nvcc = shutil.which(os.environ.get("CUDACXX", "nvcc"))
    # nvcc on the PATH may be a script that calls the toolkit's.
    roots = [Path(nvcc).resolve().parents[1]] if nvcc else []
    roots.append(Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")))
    for root in roots:
        for pattern in ("EULA.txt", "dist-info/nvidia_cuda_runtime-*/licenses/License.txt"):
            for found in root.glob(pattern):
                return found
    raise SystemExit(f"no licence of CUDA in {roots}: it must go with the runtime; set CUDA_HOME")


def add_licences(info: Path, compiled_in: dict[str, str]) -> None:
    """Put the texts that must go with the binary into ``licenses``, and name them in METADATA."""
    texts = {"LICENSE": ROOT / "LICENSE"}
    if "pybind11" in compiled_in:
        texts["pybind11-LICENSE"] = next(
            Path(str(file.locate()))
            for file in importlib.metadata.files("pybind11") or []
            if file.name == "LICENSE"
        )
    if "cudart_static" in compiled_in:
        texts["NVIDIA-CUDA-Toolkit-EULA.txt"] = cuda_licence()
    path = info / "METADATA"
    message: EmailMessage = Parser().parsestr(path.read_text(encoding="utf-8"))  # type: ignore[assignment]
    named = message.get_all("License-File", [])
    lines = path.read_text(encoding="utf-8").split("\n")
    (info / "licenses").mkdir(exist_ok=True)
    for name, text in texts.items():
        shutil.copyfile(text, info / "licenses" / name)
        if name not in named:
            lines.insert(lines.index(f"Version: {message['Version']}") + 1, f"License-File: {name}")
    path.write_text("\n".join(lines), encoding="utf-8")
