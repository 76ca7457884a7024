"""The page that `Model.report` makes: what it holds, that nothing leaves it, and that nothing gets into it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf
from shell import succeed, warpfactor

TINY = {"n_factors": 3, "n_epochs": 4, "reg": 0.05, "random_state": 0, "verbose": 0, "n_threads": 1}
# What an id or a title may hold: markup of all kinds, formulas, what cannot be seen, and much.
NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</title></svg></style><script>alert(3)</script>",
    "' style='background:url(https://example.org/x)",
    "{{ 7 * 7 }} {% raise %}",
    "&lt;b&gt; &amp; $\\frac{1}{2}$ $",
    "a\x00b\x0b\x1b[31m\ud800\u202e",
    "line\nbreak\ttab]]> <!-- -->",
    "long " + 200 * "lengthiness",
    "七人の侍 👩\u200d🚀",
]
TAGS = """html head meta title style body header main footer section article h1 h2 h3 p div b span ul li table
thead tbody tr th td details summary figure figcaption svg g path defs clippath rect text use"""


class Page(HTMLParser):
    """A page's elements, checked to close in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        if self.open[-1:] != ["style"]:
            self.texts.append(text)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def checked(text: str) -> Page:
    """Parse a page, and check what holds for all: it is whole, and asks nothing of anybody."""
    page = Page(text)
    assert {tag for tag, _ in page.elements} <= set(TAGS.split())
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on") and name not in ("src", "srcset", "action", "xmlns")
            assert "//" not in (value or "") and "import" not in (value or "")
            if name == "href":
                assert value is not None and value[:1] == "#" and value[1:] in ids, (tag, value)
            for target in re.findall(r"url\(([^)]*)\)", value or ""):
                assert target[:1] == "#" and target[1:] in ids
    style = text[text.index("<style>") : text.index("</style>")]
    assert "url" not in style and "@import" not in style
    (policy,) = (a["content"] for a in page.of("meta") if "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    named = {a["name"]: a["content"] for a in page.of("meta") if "name" in a}
    assert named == {
        "viewport": "width=device-width, initial-scale=1",
        "color-scheme": "light dark",
    }
    for figure in page.of("svg"):
        assert figure["role"] == "img" and figure["aria-labelledby"] in ids and "viewbox" in figure
    # All colours are the page's, which are others in the dark.
    assert not re.search(r"(fill|stroke): #", text)
    return page


@pytest.fixture(scope="module")
def parts() -> tuple[wf.Ratings, wf.Ratings]:
    ratings = wf.datasets.make_ratings(100, 60, 2400, random_state=0).ratings
    return wf.train_test_split(ratings, 0.25, random_state=0)


@pytest.fixture(scope="module")
def model(parts: tuple[wf.Ratings, wf.Ratings]) -> wf.Model:
    train, test = parts
    return wf.MatrixFactorization(**TINY).fit(train, validation=test).model_


@pytest.fixture(scope="module")
def report(model, parts, tmp_path_factory):
    """A page with all that there can be of a single fit, which is also written."""
    train, test = parts
    titles = {item: f"The {item}th" for item in range(60)}
    path = tmp_path_factory.mktemp("report") / "m.html"
    # As the command line saves it: with the test's items taken for seen, which `train` sets right.
    saved = model.with_seen(test)
    report = saved.report(test, path, titles, train=train, heading="Films")
    assert path.read_bytes() == report.html.encode()
    return report


def headings(page: Page) -> list[str | None]:
    return [attributes["id"] for attributes in page.of("section")]


def test_the_page_holds_all_there_is_to_see(report, model, parts):
    page = checked(report.html)
    assert headings(page) == [
        "training", "errors", "calibration", "lists", "map", "recommendations", "setup"
    ]  # fmt: skip
    # Learning curve, three of errors, predictions, residuals, popularity, map.
    assert len(page.of("svg")) == 8
    text = " ".join(page.texts)
    found = report.evaluation
    for value in (found.rmse, found.baselines["biases"].rmse, found.baselines["mean"].mae):
        assert f"{value:.4f}" in text
    for value in (found["ndcg@10"], found.baselines["popularity"]["ndcg@10"], found.auc):
        assert f"{value:.3f}" in text
    assert "Films" in text and text.count("The ") > 40
    assert "n_factors 3" in " ".join(text.split())
    # The users' own lists.
    _, *lists = re.split(r"User (\d+)", text)
    assert len(lists) == 8
    for user, shown in zip(map(int, lists[::2]), lists[1::2], strict=True):
        ids, scores = model.recommend(user)
        assert all(f"The {id}th" in shown for id in ids)
        assert all(f"{score:.2f}" in shown for score in scores)
    # The reasons are those of the largest shares among what the user liked.
    mine = parts[0].take(parts[0].users == user)
    liked = {mine.items[at] for at in range(len(mine)) if mine.values[at] >= mine.values.mean()}
    found = model.explain(user, ids[0], None, ratings=mine)
    first, second = [item for item, share in zip(found.items, found.shares, strict=True)
                     if share > 0 and item in liked][:2]  # fmt: skip
    assert f"ecause of The {first}th; The {second}th" in text and "Rated " in text


def test_without_test_ratings_it_says_nothing_of_errors(model):
    page = checked(model.report(users=[3, 5], n=2).html)
    assert headings(page) == ["training", "lists", "map", "recommendations", "setup"]
    assert len(page.of("svg")) == 3
    text = " ".join(page.texts)
    assert "MAE" not in text and re.findall(r"User (\d+)", text) == ["3", "5"]


def test_wrong_arguments_are_named(model, parts):
    with pytest.raises(ValueError, match="users has 999; all must be users of the model"):
        model.report(users=[3, 999])
    with pytest.raises(ValueError, match="n is 0; it must be at least 1"):
        model.report(n=0)
    with pytest.raises(ValueError, match="test"):
        model.report(test="r.csv")


def test_nothing_that_ids_and_titles_hold_becomes_markup():
    n = len(NASTY)
    rng = np.random.default_rng(0)
    pairs = [(f"{NASTY[u % n]}{u}", f"{NASTY[i % n]}{i}") for u in range(25) for i in range(20)]
    kept = rng.permutation(len(pairs))[:400]
    encodable = [
        tuple(text.encode("utf-8", "replace").decode() for text in pairs[at]) for at in kept
    ]
    ratings = wf.Ratings.from_pairs(np.array(encodable, object), rng.integers(1, 6, 400))
    train, test = wf.train_test_split(ratings, 0.25, random_state=0)
    model = wf.MatrixFactorization(**TINY).fit(train).model_
    # Some have no title, and are shown by their ids.
    titles = {id: NASTY[at % n] for at, id in enumerate(model.item_ids_) if at % 3}
    report = model.report(test, titles=titles, train=train, heading=NASTY[2])
    text = " ".join(checked(report.html).texts)
    for shown in ("<script>alert(1)</script>", "onerror=alert(2)", "{{ 7 * 7 }}", "$\\frac{1}{2}$"):
        assert shown in text
    assert "lengthiness" in text and 9 * "lengthiness" not in text  # cut to 100 letters
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\u202e]", report.html)


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(report):
    frame = Page(report._repr_html_())
    ((tag, attributes),) = frame.elements
    assert tag == "iframe" and attributes["srcdoc"] == report.html and "sandbox" in attributes


def test_models_and_evaluations_are_tables_in_a_notebook(model, parts):
    train, test = parts
    evaluation = wf.evaluate(model, test, train=train)
    for shown, cells in (
        (model, ["100", "60", "1,800, from 1 to 5"]),
        (evaluation, ["rmse", "ndcg@10", "biases", f"{evaluation.rmse:.4f}"]),
    ):
        page = Page(shown._repr_html_())
        assert len(page.of("table")) == 1
        assert set(cells) <= set(page.texts)


def test_intervals_are_judged_where_there_are_standard_deviations(parts, tmp_path):
    train, test = parts
    estimator = wf.BayesianMatrixFactorization(
        2, n_samples=8, n_burn_in=2, random_state=0, verbose=0
    )
    estimator.fit(train).save(tmp_path / "m")
    page = checked(wf.load(tmp_path / "m").report(test).html)
    assert len(page.of("svg")) == 9
    lower, upper = estimator.predict_interval(test, 0.9)
    held = np.mean((lower <= test.values) & (test.values <= upper))
    assert f"90 % of the ratings hold {held:.1%}" in " ".join(page.texts)


def test_test_ratings_of_strangers_are_left_out_if_they_have_no_prediction(parts):
    train, test = parts
    some = train.take(train.users < 90)
    model = wf.MatrixFactorization(**TINY, unknown="raise").fit(some).model_
    page = checked(model.report(test, train=some).html)
    n_strangers = np.count_nonzero(test.users >= 90)
    assert f"{n_strangers:,} test ratings have no prediction" in " ".join(page.texts)


def test_few_users_of_one_rating_value():
    # No baseline is worse, no group stands beside another, and nothing is left to recommend to ann.
    ratings = wf.Ratings.from_arrays(["ann", "ann", "bob"], ["a", "b", "a"], [3.0, 3.0, 3.0])
    model = wf.MatrixFactorization(**TINY).fit(ratings).model_
    report = model.report(ratings.take([2]), train=ratings.take([0, 1]), users=["ann", "bob"])
    page = checked(report.html)
    assert "nothing left to recommend" in " ".join(page.texts)


def test_labels_and_models_that_were_never_trained(parts):
    train, _ = parts
    labels = wf.Ratings.from_arrays(train.users, train.items, (train.values > 3).astype(float))
    label_model = wf.MatrixFactorization(**TINY, loss="logistic").fit(labels)
    assert "logistic loss" in " ".join(checked(label_model.report().html).texts)
    page = checked(wf.baselines.Popularity().fit(train).report().html)
    assert "predicts by biases alone" in " ".join(page.texts)


def test_a_page_is_written_whole_or_not_at_all(report, tmp_path):
    with pytest.raises(FileNotFoundError):
        report.save(tmp_path / "gone" / "m.html")
    assert not list(tmp_path.iterdir())


def test_text_has_contrast_in_light_and_dark():
    # WCAG 2.1, success criterion 1.4.3: 4.5 to 1 for text; figures' lines and marks need 3 to 1.
    style = resources.files("warpfactor.report").joinpath("templates/style.css").read_text("utf-8")
    blocks = [part.split("}")[0] for part in style.split(":root {")[1:]]
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in blocks)

    def luminance(colour: str) -> float:
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    assert light.keys() == dark.keys() and len(light) == 9
    for colours in (light, dark):
        for behind in ("page", "panel"):
            for name in ("ink", "muted", "one", "two", "three", "four"):
                high, low = sorted((luminance(colours[name]), luminance(colours[behind])))[::-1]
                assert (high + 0.05) / (low + 0.05) >= 4.5, (name, behind)


def test_what_is_missing_is_named_with_the_command_that_installs_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=r'needs jinja2.*pip install "warpfactor\[plot\]"'):
        model.report()


def write_ratings(path: Path) -> Path:
    rows = [f"u{u},i{i},{1 + (u * i + i) % 5}" for u in range(20) for i in range(12) if (u + i) % 3]
    path.write_text("\n".join(["user,item,rating", *rows]), encoding="utf-8")
    return path


def test_train_writes_a_report_and_report_another(tmp_path):
    ratings = write_ratings(tmp_path / "r.csv")
    model, page = tmp_path / "m.safetensors", tmp_path / "m.html"
    options = ("--n-factors", 2, "--n-epochs", 2, "--n-threads", 1)
    out = succeed("train", ratings, *options, "--test-size", 0.2, "-o", model, "--report", page).out
    shown = checked(page.read_text(encoding="utf-8"))
    (error,) = re.findall(r"test RMSE (\d\.\d{4})", out)
    assert f"report   {page}" in out and error in shown.texts
    # Its lists may hold the test's items, which are to be found.
    assert headings(shown)[:3] == ["training", "errors", "calibration"]
    page.unlink()
    succeed("report", model, ratings, "--train", ratings, "-o", page, "--user", "u3", "-n", 3)
    shown = checked(page.read_text(encoding="utf-8"))
    assert "Report on m.safetensors" in shown.texts and "User u3" in shown.texts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "r.csv", "--report", "r.csv"), "--report is 'r.csv'; a page's name should end in .html"),
        (("train", "r.csv", "--report", "a.html", "-o", "a.html"), "a.html', which another option names"),
        (("train", "r.csv", "--report", "gone/a.html"), "--report: "),
        (("train", "r.csv", "--titles", "t.csv"), "add --report FILE.html"),
        (("report", "m.safetensors"), "Missing option '--output'"),
    ],
)  # fmt: skip
def test_mistakes_show_before_the_work(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = write_ratings(tmp_path / "r.csv").read_text(encoding="utf-8")
    result = warpfactor(*arguments)
    assert result.code != 0 and message in result.err, result.err
    assert (tmp_path / "r.csv").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["r.csv"]
