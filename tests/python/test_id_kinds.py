"""Ids of every kind, from training to each question, in Python and on the command line."""

from __future__ import annotations

import csv
import time
import uuid

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import warpfactor as wf
from warpfactor.cli import app
from warpfactor.cli.ids import id_kinds, shell_word
from warpfactor.data.ids import encode_ids
from warpfactor.data.near_ids import nearest_ids, other_spellings, suggestion

UUIDS = [uuid.UUID(int=7 * n + 2**100) for n in range(6)]

# The ids of six users, one that the model has not, and one that is written almost as the third.
KINDS = {
    "integers": ([1, 2, 3, 70, 700, 943], 800, "3"),
    "strings": (["ann", "bob", "cy", "dee", "eve", "fay"], "gil", "CY"),
    "UUIDs": (UUIDS, uuid.UUID(int=1), str(UUIDS[2]).upper()),
    "float-like": (["1.0", "2.0", "3.0", "70.0", "700.0", "943.0"], "800.0", 3),
    "blanks": ([" 1", " 2", " 3", " 70", " 700", " 943"], " 800", "3"),
    "padded": (["001", "002", "003", "070", "700", "943"], "800", "3"),
    "no-break": (["1\xa0", "2\xa0", "3\xa0", "70\xa0", "700\xa0", "943\xa0"], "800\xa0", 3),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def fitted(ids, **options):
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(6), 6), np.tile(np.arange(6), 6)
    values = rng.integers(1, 6, 36).astype(np.float32)
    named = np.array(ids, dtype=object)
    ratings = wf.Ratings.from_arrays(named[users], named[items], values)
    model = wf.MatrixFactorization(n_factors=2, n_epochs=2, random_state=0, verbose=0, **options)
    return model.fit(ratings).model_, ratings


def shown(value):
    return f"uuid.UUID('{value}')" if isinstance(value, uuid.UUID) else repr(value)


@kinds
def test_known_ids_are_found_by_every_question(kind):
    ids, _, _ = KINDS[kind]
    model, ratings = fitted(ids)
    pairs = np.array([[ids[2], ids[3]]], dtype=object)
    row = 2 * 6 + 3
    assert model.predict(pairs)[0] == model.predict(ratings)[row]
    assert model.recommend(ids[2], 2, exclude_seen=False)[0][0] in ids
    assert model.similar_items(ids[2], 2)[0][0] in ids
    again = wf.MatrixFactorization(n_factors=2, n_epochs=2, random_state=0, verbose=0)
    again.fit(ratings, validation=ratings.take(np.arange(9)))
    assert again.history_[-1]["valid_rmse"] > 0


@kinds
def test_an_id_that_is_almost_right_is_answered_with_the_one_that_exists(kind):
    ids, _, almost = KINDS[kind]
    model, _ = fitted(ids, unknown="raise")
    for ask in (
        lambda: model.predict(np.array([[almost, ids[0]]], dtype=object)),
        lambda: model.recommend(almost),
        lambda: model.similar_items(almost),
        lambda: model.recommend([almost]),
        lambda: model.similar_items(np.array([almost])),
    ):
        with pytest.raises(ValueError) as caught:
            ask()
        assert shown(ids[2]) in str(caught.value)
    assert other_spellings(model.user_ids_, almost) == [ids[2]]


@kinds
def test_an_id_that_the_model_has_not_is_answered_with_some_that_exist(kind):
    ids, unknown, _ = KINDS[kind]
    model, _ = fitted(ids, unknown="raise")
    for ask, who in (
        (lambda: model.predict(np.array([[ids[0], unknown]], dtype=object)), "its item"),
        (lambda: model.predict([(unknown, ids[0])]), "its user"),
        (lambda: model.recommend(unknown), "user"),
        (lambda: model.similar_items(unknown), "item"),
    ):
        with pytest.raises(ValueError, match=who) as caught:
            ask()
        message = str(caught.value)
        assert shown(unknown) in message
        assert any(shown(each) in message.replace(shown(unknown), "") for each in ids)


@pytest.mark.parametrize(
    "kind", [k for k, (ids, _, a) in KINDS.items() if type(a) is not type(ids[0])]
)
def test_validation_ratings_of_another_kind_are_answered_with_ids_that_exist(kind):
    ids, _, almost = KINDS[kind]
    _, ratings = fitted(ids)
    other = wf.Ratings.from_arrays([almost], [almost], [3.0])
    with pytest.raises(ValueError) as caught:
        wf.MatrixFactorization(n_epochs=1, verbose=0).fit(ratings, validation=other)
    assert f"pass {shown(ids[2])}" in str(caught.value)


def test_the_pair_named_is_that_of_the_input_whatever_its_container():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    model, _ = fitted(KINDS["strings"][0], unknown="raise")
    users, items = ["ann", "bob", "zed"], ["cy", "dee", "eve"]
    frame = {"user": users, "item": items}
    for pairs in (
        list(zip(users, items, strict=True)),
        np.array([users, items]).T,
        pd.DataFrame(frame, index=[5, 6, 7]),
        pl.DataFrame(frame),
        wf.Ratings.from_arrays(users, items, np.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"first at row 2 \(its user 'zed'; "):
            model.predict(pairs)
    with pytest.raises(ValueError, match=r"first at row 2 \(its user\): drop them"):
        model.predict(zip(users, items, strict=True))  # used up


def test_a_user_without_training_ratings_is_not_offered():
    model, _ = fitted([1, 2, 3, 70, 700, 943], unknown="raise")
    ratings = wf.Ratings([0, 2], [0, 1], np.ones(2), np.array([1, 2, 3]), np.array([5, 6]))
    model = wf.MatrixFactorization(n_epochs=1, verbose=0, unknown="raise").fit(ratings).model_
    with pytest.raises(ValueError, match="user 2 has no training ratings") as caught:
        model.recommend(2)
    assert str(caught.value).endswith("the nearest are 1, 3")


@pytest.mark.parametrize(
    ("ids", "value", "expected"),
    [
        ([7, 70, 700], "007", [7, 70, 700]),
        ([1, 5, 6, 9], 7, [6, 5, 9]),
        ([1, 5, 6, 9], 2**70, [9, 6, 5]),
        ([1, 5, 6, 9], " 6.0 ", [6, 5, 9]),
        ([1, 5, 6, 9], "5.4", [5, 6, 9]),
        ([2**63, 2**64 - 1], 2**64, [2**64 - 1, 2**63]),
        ([1, 5], "nan", []),
        ([1, 5], "x", []),
        (["Toy Story", "Heat"], "toy story", ["Toy Story"]),
        (["item_12", "user_11", "user_2", "x"], "user_12", ["user_2", "user_11"]),
        (["0007", "0008", "abc"], 7, ["0007"]),
        (["7.0", "70", "abc"], "7", ["7.0", "70"]),
        (["a", "b"], 5.5, []),
        (UUIDS, str(UUIDS[1]).replace("-", ""), [UUIDS[1]]),
        (UUIDS, "x", []),
        (UUIDS, 7, []),
    ],
)
def test_the_nearest_ids_are_the_same_but_for_spelling_then_the_closest(ids, value, expected):
    found = nearest_ids(encode_ids(ids, "ids")[1], value)
    assert found[: len(expected)] == expected
    assert len(found) <= 3 and set(found) <= set(ids)
    if not expected:
        assert found == []
        assert suggestion(encode_ids(ids, "ids")[1], value).startswith("none is like it; ids that")


values = st.one_of(st.integers(), st.floats(), st.text(max_size=6), st.uuids())


@given(
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1)),
        st.lists(st.integers(0, 2**64 - 1)),
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6)),
        st.lists(st.uuids()),
    ),
    values,
)
def test_what_is_suggested_exists_whatever_is_asked(ids, value):
    known = encode_ids(ids, "ids")[1]
    found = nearest_ids(known, value)
    assert len(found) == len(set(found)) <= 3
    assert set(found) <= set(ids)
    if any(type(each) is type(value) and each == value for each in ids):
        assert found[0] == value
    assert suggestion(known, value)


def test_suggestions_take_no_time_to_speak_of_with_a_million_ids():
    vocabularies = (
        np.arange(0, 3_000_000, 3),
        np.array(sorted(f"user number {n}" for n in range(1_000_000)), object),
        np.array([uuid.UUID(int=n << 90) for n in range(1_000_000)], object),
    )
    for ids in vocabularies:
        for value in (17, "user number x17", "x" * 100_000, str(UUIDS[0])):
            start = time.process_time()  # other processes do not count
            nearest_ids(ids, value)
            assert time.process_time() - start < 1  # a scan with difflib would take a minute


# The command line


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


@kinds
def test_the_command_line_takes_ids_as_the_model_has_them(kind, tmp_path):
    ids, unknown, almost = KINDS[kind]
    model, _ = fitted(ids)
    file = tmp_path / "m.safetensors"
    model.save(file)
    expected = model.predict(np.array([[ids[2], ids[1]]], dtype=object))[0]
    code, output = run("predict", file, "--user", ids[2], "--item", ids[1])
    assert code == 0 and float(output) == pytest.approx(float(expected), rel=1e-6)
    assert run("recommend", file, "--user", ids[2], "--include-seen")[0] == 0
    wrong = [str(unknown)]
    if kind not in ("integers", "UUIDs"):  # there "3" is 3, and a UUID the same in capitals
        wrong.append(str(almost))
    for text in wrong:
        for words in (
            ("recommend", file, "--user", text),
            ("predict", file, "--user", text, "--item", ids[1]),
        ):
            code, output = run(*words)
            assert code == 1, output
            assert f"user {text!r} is not among the 6 users of the model" in " ".join(
                output.split()
            )
            assert any(shell_word(each) in output for each in ids)
    if len(wrong) == 2:
        assert f"nearest are {shell_word(ids[2])}, " in output or (
            f"nearest is {shell_word(ids[2])}\n" in output
        )


@kinds
def test_files_read_alone_mean_the_ids_of_the_model(kind, tmp_path):
    ids, _, _ = KINDS[kind]
    model, _ = fitted(ids)
    model.save(tmp_path / "m.safetensors")
    file = tmp_path / "test.csv"
    # The last two ids look like integers where they are padded.
    pairs = [(user, item) for user in ids[-2:] for item in ids[-2:]]
    lines = [f"{user},{item},3.5" for user, item in pairs]
    file.write_text("user,item,rating\n" + "\n".join(lines), encoding="utf-8")
    code, output = run("evaluate", tmp_path / "m.safetensors", file)
    assert code == 0, output
    counted = output.split("\n\n")[0]
    facts = dict(line.rsplit(maxsplit=1) for line in counted.splitlines())
    assert (facts["unknown user"], facts["unknown item"]) == ("0", "0")
    expected = model.predict(np.array(pairs, dtype=object))
    assert float(facts["RMSE"]) == pytest.approx(np.sqrt(np.mean((expected - 3.5) ** 2)), abs=1e-4)
    code, output = run("predict", tmp_path / "m.safetensors", file)
    assert code == 0, output
    answers = [line.split(",") for line in output.splitlines()[1:]]
    assert [answer[:2] for answer in answers] == [[str(user), str(item)] for user, item in pairs]
    assert [float(answer[2]) for answer in answers] == pytest.approx(expected.tolist(), rel=1e-5)


@pytest.mark.parametrize("text", ["007", "7.0", "+7", " 7"])
def test_a_file_with_another_spelling_of_an_integer_is_refused(text, tmp_path):
    model, _ = fitted([0, 7, 8, 70, 700, 943])
    model.save(tmp_path / "m.safetensors")
    file = tmp_path / "test.csv"
    file.write_text(f"user,item,rating\n8,7,3\n{text},7,3\n{text},8,3\n", encoding="utf-8")
    for command in ("evaluate", "predict"):
        code, output = run(command, tmp_path / "m.safetensors", file)
        assert code == 1
        assert f"line 3: the user {text!r} is not an integer" in output and "1 more" in output


@pytest.mark.parametrize("text", ["007", "7.0", "+7", "\u0667", "-0", "7 ", "x"])
def test_an_integer_has_one_spelling_on_the_command_line(text, tmp_path):
    model, _ = fitted([0, 7, 8, 70, 700, 943])
    file = tmp_path / "m.safetensors"
    model.save(file)
    code, output = run("recommend", file, "--user", text)
    assert code == 1
    assert f"user {text!r} is not among the 6 users of the model" in output
    assert "0" in output.rsplit(";", 1)[1]


@pytest.mark.parametrize(
    "value", ["a", "a b", " 1", "1\xa0", "it's", "a  b", "é", "\t7\\", "😀\u200b"]
)
def test_a_shell_reads_the_id_back(value):
    import shutil
    import subprocess

    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    word = shell_word(value)
    assert " ".join(word.split()) == word  # as messages are printed
    env = {"LC_ALL": "C.UTF-8"}
    said = subprocess.run(
        [bash, "-c", f"printf %s {word}"], capture_output=True, env=env, check=True
    )
    assert said.stdout.decode() == value


@kinds
def test_ratings_of_a_file_are_brought_to_the_models_kind(kind, tmp_path):
    ids, _, _ = KINDS[kind]
    model, ratings = fitted(ids)
    path = tmp_path / "r.csv"
    with path.open("w", encoding="utf-8", newline="") as sink:
        csv.writer(sink).writerows(
            [("user", "item", "rating"), *zip(*ratings.to_arrays(), strict=True)]
        )
    matched = wf.read_ratings(path, ids=id_kinds(model))
    assert [*map(str, matched.to_arrays()[0])] == [*map(str, ratings.to_arrays()[0])]
    assert model.predict(matched).tolist() == model.predict(ratings).tolist()
    assert id_kinds(model) == id_kinds(wf.MatrixFactorization(verbose=0).fit(matched).model_)


def test_texts_that_are_no_integers_do_not_become_the_models(tmp_path):
    model, _ = fitted([1, 2, 3, 7, 70, 700])
    path = tmp_path / "r.csv"
    path.write_text("user,item,rating\n1,1,3\n007,2,3\n2,3,3\n")
    with pytest.raises(ValueError, match="line 3: the user '007' is not an integer"):
        wf.read_ratings(path, ids=id_kinds(model))
    path.write_text("user,item,rating,time\n3,1,3,5\n7,2,3,6\n")
    strings, _ = fitted(["3", "007", "7", "1", "2", "x"])
    matched = wf.read_ratings(path, ids=id_kinds(strings))
    assert matched.user_ids.tolist() == ["3", "7"]
    assert matched.timestamps.tolist() == [5, 6]
