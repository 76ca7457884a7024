"""What docs/explanations, docs/limits.md and docs/performance.md say, held against the code and the results files."""

from __future__ import annotations

import inspect
import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import warpfactor as wf

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(DOCS / "explanations" / f"{name}.md" for name in ("defaults", "turning", "device_kernels")),
    DOCS / "limits.md",
    DOCS / "performance.md",
]
# A link of Markdown, or a {download} of a Markdown file, which would else be taken for a page.
LINK = re.compile(r"\[[^\]]*\]\(([^)#]+)[^)]*\)|\{download\}`[^<]*<([^>]+)>`")


def targets(text: str) -> list[str]:
    return [a or b for a, b in LINK.findall(text)]


def cited(page: Path, text: str) -> str:
    """The files of benchmarks/results, and of the code, that a text names, as one text."""
    linked = [page.parent / target for target in targets(text) if "benchmarks/" in target]
    named = [ROOT / path for path in re.findall(r"`(cpp/src/[^`]+)`", text)]
    return "\n".join(path.read_text(encoding="utf-8") for path in [*linked, *named])


def rows(page: Path, header: str) -> list[list[str]]:
    table = page.read_text(encoding="utf-8").split(header)[1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()
        if line.startswith("|") and set(line) - set("|-")
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_links_to_outside_of_the_site_is_there(page):
    links = [
        target for target in targets(page.read_text(encoding="utf-8")) if "benchmarks/" in target
    ]
    assert links or page.stem == "device_kernels"
    for target in links:
        assert (page.parent / target).is_file(), target


DEFAULTS = rows(
    DOCS / "explanations" / "defaults.md",
    "| parameter | default | what chose it | measured in |\n",
)


def test_the_table_of_defaults_has_each_parameter_with_its_default():
    signature = inspect.signature(wf.MatrixFactorization).parameters
    expected = {f"`{name}`": f"`{parameter.default!r}`" for name, parameter in signature.items()}
    assert {row[0]: row[1] for row in DEFAULTS} == expected
    assert len(DEFAULTS) == len(signature)


@pytest.mark.parametrize("row", DEFAULTS, ids=lambda row: row[0].strip("`"))
def test_a_default_cites_what_it_rests_on(row):
    page = DOCS / "explanations" / "defaults.md"
    _, _, why, where = row
    assert "not measured" in where or cited(page, where), where
    # Three digits and more after the point are a measurement.
    figures = re.findall(r"(?<![\w.])\d*\.\d{3,}", why)
    for figure in figures:
        assert figure.lstrip("0") in cited(page, where), figure


@pytest.mark.parametrize("name", ["turning", "limits"])
def test_figures_of_a_page_stand_in_the_files_that_it_cites(name):
    page = next(path for path in PAGES if path.stem == name)
    text = page.read_text(encoding="utf-8")
    figures = re.findall(
        r"(?<![\w.])(?<!CPython )\d*\.\d{2,}(?![\d.]*`)",
        re.sub(r"```.*?```", "", text, flags=re.DOTALL),
    )
    assert figures
    for figure in figures:
        assert figure.lstrip("0") in cited(page, text), figure


def test_the_device_page_quotes_the_constants_comments():
    text = (DOCS / "explanations" / "device_kernels.md").read_text(encoding="utf-8")
    sources = [
        ROOT / "cpp" / "src" / "device" / "tuning.hpp",
        ROOT / "benchmarks" / "results" / "2026-11-28-device-answers-notes.md",
    ]
    assert all(path.name in text for path in sources)
    comments = "".join(path.read_text(encoding="utf-8") for path in sources)
    figures = re.findall(r"(?<![\w.])\d*\.\d{2,}", text)
    assert len(figures) > 8
    for figure in figures:
        assert figure in comments, figure


@pytest.fixture(scope="module")
def by_the_page(tmp_path_factory):
    """The names that the cells of the page about the file format define."""
    page = (DOCS / "explanations" / "file_format.md").read_text(encoding="utf-8")
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("format"))
        for cell in re.findall(r"```\{code-cell\} ipython3\n(.*?)```", page, re.DOTALL):
            exec(cell, names)  # noqa: S102
    return names


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_each_version_are_read_by_the_pages_rules(by_the_page, version):
    path = ROOT / "tests" / "files" / f"model_{version}.safetensors"
    texts, arrays = by_the_page["read"](path)
    assert texts["format_version"] == str(version)
    model = wf.load(path)
    assert by_the_page["ids"](texts, arrays, "user") == model.user_ids_.tolist()
    if version == 1:
        texts["model"] = json.dumps(json.loads(texts["fitted"]) | {"biases": True})
        known = arrays["user_known"], arrays["item_known"]
    else:
        known = arrays["user_counts"] > 0, arrays["item_counts"] > 0
    found = by_the_page["scores"](texts, arrays)[np.ix_(*known)]
    pairs = [
        (u, i)
        for u in model.user_ids_[known[0]].tolist()
        for i in model.item_ids_[known[1]].tolist()
    ]
    users, items = zip(*pairs, strict=True)
    told = model.predict(wf.Ratings.from_arrays(list(users), list(items), [0.0] * len(pairs)))
    # Two ways of summing k + 3 numbers in float32.
    assert np.allclose(found.ravel(), told, rtol=0, atol=(found.shape[1] + 3) * 2**-23 * 5)


def test_the_checksums_are_those_of_the_page(by_the_page):
    for version in (1, 2):
        texts, arrays = by_the_page["read"](ROOT / f"tests/files/model_{version}.safetensors")
        crc = 0
        for name in sorted(arrays):
            crc = zlib.crc32(arrays[name].tobytes(), zlib.crc32(name.encode(), crc))
        assert str(crc) == texts["crc32"]
    texts, arrays = by_the_page["read"](ROOT / "tests/files/model_3.safetensors")
    assert str(by_the_page["checksum"](texts, arrays)) == texts["crc32"]
    path = ROOT / "tests/files/checkpoint_1.safetensors"
    _, arrays = by_the_page["read"](path)
    data = path.read_bytes()
    assert list(arrays)[-1] == "crc32"
    assert arrays["crc32"].tolist() == [zlib.crc32(data[8:-4])]


def test_the_page_names_every_text_and_array_of_a_file(by_the_page):
    page = (DOCS / "explanations" / "file_format.md").read_text(encoding="utf-8")
    for name in ("model_1", "model_2", "model_3", "checkpoint_1"):
        texts, arrays = by_the_page["read"](ROOT / f"tests/files/{name}.safetensors")
        for text in texts:
            assert f"`{text}`" in page, text
        for array in arrays:
            array = re.sub(r"_of_bias$", "", array)
            array = re.sub(
                r"^(user|item)_means_(coefficients_step|step)$", "user_means_coefficients", array
            )
            assert f"`{array}`" in page or f"`{array.replace('item_', 'user_', 1)}`" in page, array


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fitted_model_predicts_and_fits_in_a_child_of_fork():
    ratings = wf.datasets.make_ratings(200, 100, 4_000, random_state=0).ratings
    fixed = wf.MatrixFactorization(4, reg=0.04, n_epochs=2, n_threads=2, random_state=0, verbose=0)
    users = list(range(20))
    before = fixed.fit(ratings).recommend(users, n=5)[0]
    child = os.fork()
    if child == 0:
        status = 1
        try:
            same = (fixed.recommend(users, n=5)[0] == before).all()
            again = clone(fixed).fit(ratings)
            status = int(not (same and (again.user_factors_ == fixed.user_factors_).all()))
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
