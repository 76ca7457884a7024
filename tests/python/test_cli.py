from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import warpfactor as wf
from shell import Result, succeed, warpfactor
from warpfactor import _core
from warpfactor.exchange import INSTALL_CUPY

QUICK = ("--n-factors", "4", "--n-epochs", "3", "--n-threads", "1")


class Trained(NamedTuple):
    model: Path
    ratings: Path
    rows: list[tuple[str, str, str]]
    result: Result


def process(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "warpfactor", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def write_csv(path: Path, rows: list[tuple[str, ...]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


def recommended(result: Result) -> list[str]:
    return [line.split("\t")[2] for line in result.lines[1:]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model of a file whose ids have leading zeros, with parts held out."""
    folder = tmp_path_factory.mktemp("cli")
    rng = random.Random(0)
    pairs = rng.sample([(u, i) for u in range(40) for i in range(30)], 600)
    rows = [(f"u{u}", f"{i:03}", str(rng.randint(1, 5))) for u, i in pairs]
    ratings = write_csv(folder / "ratings.csv", [("user", "item", "rating"), *rows])
    model = folder / "m.safetensors"
    sizes = ("--test-size", "0.2", "--validation-size", "50")
    result = succeed("train", ratings, "--output", model, *sizes, *QUICK)
    return Trained(model, ratings, rows, result)


def test_train_reports_and_ends_with_the_test_rmse(trained: Trained) -> None:
    assert re.fullmatch(r"test RMSE \d+\.\d{4}", trained.result.lines[-1])
    assert "600 ratings by 40 users of 30 items" in trained.result.out
    assert re.search(r"\d epochs? in \d\.\d\d s with 1 thread \(.*train RMSE", trained.result.out)
    assert f"saved    {trained.model}" in trained.result.lines


def test_train_uses_the_estimators_defaults(trained: Trained, tmp_path: Path) -> None:
    succeed("train", trained.ratings, "--output", tmp_path / "m", "--quiet")
    params = wf.load(tmp_path / "m").get_params()
    patience = _core.TrainParams()["patience"]
    expected = wf.MatrixFactorization(random_state=0, verbose=0, early_stopping=patience)
    assert params == expected.get_params()


def test_train_passes_its_options_on(trained: Trained, tmp_path: Path) -> None:
    text = (
        "--n-factors 3 --n-epochs 2 --learning-rate 0.01 --reg 0.2 --reg-bias 0.3,0.1 --no-biases "
        "--loss huber --huber-delta 0.5 --l1-ratio 0.25 --nonnegative "
        "--no-normalize --schedule cosine --parallel hogwild --init-scale 0.5 --patience 0 "
        "--dtype float64 --device cpu --device-memory 1000000 --n-threads 2 --unknown nan --seed 7 --quiet"
    )
    succeed("train", trained.ratings, "--output", tmp_path / "m", *text.split())
    params = wf.load(tmp_path / "m").get_params()
    expected = wf.MatrixFactorization(
        n_factors=3,
        n_epochs=2,
        learning_rate=0.01,
        reg=0.2,
        reg_bias=(0.3, 0.1),
        loss="huber",
        huber_delta=0.5,
        l1_ratio=0.25,
        nonnegative=True,
        biases=False,
        normalize=False,
        schedule="cosine",
        parallel="hogwild",
        init=0.5,
        early_stopping=False,
        dtype="float64",
        device="cpu",
        device_memory=1_000_000,
        n_threads=2,
        unknown="nan",
        random_state=7,
        verbose=0,
    )
    assert params == expected.get_params()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--optimizer adam", {"optimizer": "adam"}),
        ("--optimizer adam --batch-size 32", {"optimizer": "adam", "batch_size": 32}),
        ("--momentum 0.5", {"momentum": 0.5}),
        (
            "--optimizer adagrad --adagrad-per element",
            {"optimizer": "adagrad", "adagrad_per": "element"},
        ),
        ("--optimizer adam --beta-1 0.8", {"optimizer": "adam", "beta_1": 0.8}),
        ("--optimizer adam --beta-2 0.9", {"optimizer": "adam", "beta_2": 0.9}),
        ("--optimizer adam --epsilon 1e-6", {"optimizer": "adam", "epsilon": 1e-6}),
        ("--optimizer gd --momentum 0.9", {"optimizer": "gd", "momentum": 0.9}),
        ("--learning-rate 0.02", {"learning_rate": 0.02}),
        (
            "--warmup-epochs 2 --warmup-factors 32",
            {"warmup_epochs": 2, "warmup_factors": 32},
        ),
    ],
)
def test_train_passes_on_what_an_optimizer_takes(
    trained: Trained, tmp_path: Path, options: str, expected: dict[str, object]
) -> None:
    succeed("train", trained.ratings, "--output", tmp_path / "m", "--quiet", *options.split())
    changed = {"learning_rate": None, **expected}
    params = wf.load(tmp_path / "m").get_params()
    assert {name: params[name] for name in changed} == changed
    for name, value in wf.MatrixFactorization().get_params().items():
        if name not in {*changed, "random_state", "verbose", "early_stopping"}:
            assert params[name] == value, name


def test_quiet_train_prints_the_test_rmse_only(trained: Trained) -> None:
    result = succeed("train", trained.ratings, "--test-size", "0.2", "--quiet", *QUICK)
    assert re.fullmatch(r"test RMSE \d\.\d{4}\n", result.out)
    assert not result.err
    assert not succeed("train", trained.ratings, "--quiet", *QUICK).out


def test_train_without_output_says_that_nothing_was_saved(trained: Trained) -> None:
    assert "saved    nothing: --output" in succeed("train", trained.ratings, *QUICK).out


@pytest.mark.parametrize("by", ["random", "user", "time", "last"])
def test_train_splits_as_told_and_repeatably(tmp_path: Path, by: str) -> None:
    rows = [(str(n % 7), str(n % 11), str(n % 5), str(1000 - n)) for n in range(70)]
    file = write_csv(tmp_path / "r.csv", rows)
    args = ("train", file, "--test-size", "0.2", "--test-by", by, "--timestamp", 3, *QUICK)
    first = succeed(*args)
    assert first.lines[-1] == succeed(*args).lines[-1]
    columns = {"user": 0, "item": 1, "rating": 2, "timestamp": 3}
    ratings = wf.read_ratings(file, **columns)  # type: ignore[arg-type]
    part, test = wf.train_test_split(ratings, 0.2, by=by, random_state=0)  # type: ignore[arg-type]
    model = wf.MatrixFactorization(4, n_epochs=3, n_threads=1, random_state=0).fit(part)
    expected = wf.metrics.rmse(test, model.predict(test))
    assert first.lines[-1] == f"test RMSE {expected:.4f}"


def test_columns_go_by_name_or_position(trained: Trained, tmp_path: Path) -> None:
    rows = [(stars, item, user) for user, item, stars in trained.rows]
    named = write_csv(tmp_path / "named.csv", [("what", "which", "who"), *rows])
    plain = tmp_path / "plain.txt"
    plain.write_text("".join("|".join(row) + "\n" for row in rows))
    wanted = succeed("train", trained.ratings, "--test-size", "0.2", *QUICK).lines[-1]
    by_name = ("--user", "who", "--item-column", "which", "--rating", "what")
    by_position = ("--user", 2, "--item", 1, "--rating", 0, "--sep", "|", "--no-header")
    for args in ((named, *by_name), (plain, *by_position)):
        assert succeed("train", *args, "--test-size", "0.2", *QUICK).lines[-1] == wanted


def test_evaluate_measures_as_the_estimator_does(trained: Trained) -> None:
    result = succeed("evaluate", trained.model, trained.ratings)
    model, ratings = wf.load(trained.model), wf.read_ratings(trained.ratings)
    predictions = model.predict(ratings)
    lines = result.out.partition("\n\n")[0].splitlines()
    assert dict(re.split(r"  +", line) for line in lines) == {
        "pairs": "600",
        "unknown user": "0",
        "unknown item": "0",
        "MAE": f"{wf.metrics.mae(ratings, predictions):.4f}",
        "RMSE": f"{wf.metrics.rmse(ratings, predictions):.4f}",
    }


def test_evaluate_prints_the_table_of_python_and_writes_it(
    trained: Trained, tmp_path: Path
) -> None:
    parts = {name: tmp_path / f"{name}.csv" for name in ("train", "test")}
    model = tmp_path / "m.safetensors"
    split = [part for name, path in parts.items() for part in (f"--{name}", path)]
    succeed("split", trained.ratings, "--test-size", "0.3", "--seed", "1", *split)
    succeed("train", parts["train"], "-o", model, *QUICK)
    train, test = (wf.read_ratings(path) for path in parts.values())
    asked = ("--k", "3,5", "--metrics", "rmse,ndcg", "--relevant-from", "3", "--clip")
    how = {"k": (3, 5), "metrics": ("rmse", "ndcg"), "relevant_from": 3, "clip": True}
    loaded = wf.load(model)
    wanted = wf.evaluate(loaded, test, train=train, **how)
    output = tmp_path / "e.csv"
    options = ("--train", parts["train"], *asked, "-o", output)
    result = succeed("evaluate", model, parts["test"], *options)
    assert result.out.partition("\n\n")[2] == f"{wanted}\n"
    rows = list(csv.DictReader(io.StringIO(output.read_text())))
    assert [row["model"] for row in rows] == ["model", *wanted.baselines]
    assert float(rows[0]["ndcg@5"]) == wanted["ndcg@5"]
    alone = succeed("evaluate", model, parts["test"], *asked, "--no-baselines")
    wanted = wf.evaluate(loaded, test, baselines=False, **how)
    assert alone.out.partition("\n\n")[2] == f"{wanted}\n"


def test_evaluate_notes_pairs_that_were_trained_on(trained: Trained) -> None:
    result = succeed("evaluate", trained.model, trained.ratings)
    assert re.search("note: 430 of 600 test pairs were trained on, .* as --train\n", result.err)


def test_compare_prints_the_table_of_python(trained: Trained, tmp_path: Path) -> None:
    output = tmp_path / "c.jsonl"
    models = [
        each for k in ("2", "3") for each in ("-m", f"rank {k}: -k {k} --n-epochs 2 --seed 1")
    ]
    options = ("--folds", "2", "--seed", "3", "--metrics", "rmse,recall", "--k", "4")
    result = succeed("compare", trained.ratings, *models, *options, "-o", output)
    estimators = {
        f"rank {k}": wf.MatrixFactorization(n_factors=k, n_epochs=2, random_state=1, verbose=0)
        for k in (2, 3)
    }
    wanted = wf.compare(
        estimators,
        wf.read_ratings(trained.ratings),
        2,
        metrics=("rmse", "recall"),
        k=4,
        random_state=3,
    )

    def without_seconds(text: str) -> list[str]:
        return [re.sub(r" +(fit, s|[\d.]+)$", "", line) for line in text.splitlines()]

    assert [line.split() for line in without_seconds(result.out)] == [
        line.split() for line in without_seconds(f"{wanted}\n")
    ]
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert rows[0]["mean"] == pytest.approx(wanted.values("rank 2")["rmse"].mean())
    assert "defaults" in succeed("compare", trained.ratings, *options, "--no-baselines").out


@pytest.mark.parametrize("by", ["random", "user", "time", "last"])
def test_split_writes_what_python_splits(tmp_path: Path, by: str) -> None:
    data = wf.datasets.make_ratings(40, 25, 200, random_state=0).ratings
    timed = wf.Ratings.from_arrays(*data.to_arrays(), timestamps=np.arange(200))
    source = tmp_path / "r.csv"
    wf.write_ratings(timed, source)
    parts = [tmp_path / name for name in ("tr.csv", "te.parquet", "va.npz")]
    files = [f"{each}" for flag, path in zip(("--train", "--test", "--validation"), parts, strict=True) for each in (flag, path)]  # fmt: skip
    sizes = ("--test-size", "0.2", "--validation-size", "0.1", "--test-by", by, "--seed", "5")
    out = succeed("split", source, *files, *sizes).out
    read = wf.read_ratings(source)
    train, validation, test = wf.train_validation_test_split(read, 0.1, 0.2, by=by, random_state=5)
    for path, wanted in zip(parts, (train, test, validation), strict=True):
        found = wf.read_ratings(path)
        pairs = [sorted(zip(*each.to_arrays(), strict=True)) for each in (found, wanted)]
        assert pairs[0] == pairs[1]
        users, items, _ = wanted.to_arrays()
        shape = f"{len(wanted)} ratings by {len(set(users))} users of {len(set(items))} items"
        assert f"wrote {path}: {shape}\n" in out
    succeed(
        "split", source, *files[:4], "--test-by", by, "--test-size", "1" if by == "last" else "20"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("split", "r.csv", "--train", "r.csv", "--test", "b.csv"), "--train is 'r.csv', which is"),
        (("split", "r.csv", "--train", "a.csv", "--test", "a.csv"), "must be different files"),
        (("split", "r.csv", "--train", "a.xyz", "--test", "b.csv"), "a.xyz"),
        (("split", "r.csv", "--train", "a.csv", "--test", "b.csv", "--validation-size", "2"), "needs --validation FILE"),
        (("split", "r.csv", "--train", "a.csv", "--test", "b.csv", "--test-size", "7.5"), "--test-size is 7.5"),
        (("compare", "r.csv", "-m", "big"), "--model is 'big'; it must be a name, a colon and"),
        (("compare", "r.csv", "-m", "big: --n-faktors 3"), "--model 'big': No such option '--n-faktors'"),
        (("compare", "r.csv", "-m", "a: -k 2", "-m", "a: -k 3"), "--model has one name twice"),
        (("compare", "r.csv", "-m", "mean: -k 2"), "has the name 'mean', which is a baseline's"),
        (("compare", "r.csv", "--folds", "1"), "--folds is 1; it must be at least 2"),
        (("compare", "r.csv", "--folds", "99999"), "--folds is 99999; it must not be above the number"),
        (("compare", "r.csv", "--by", "time"), "--by time needs timestamps, and the ratings have none: pass --timestamp-column"),
        (("compare", "r.csv", "-o", "c.xml"), "'c.xml'; it must end in .csv"),
        (("evaluate", "MODEL", "r.csv", "--k", "3,x"), "--k is '3,x'; it must be integers"),
        (("evaluate", "MODEL", "r.csv", "--metrics", "auk"), "--metrics is 'auk'; it must be 'rmse'"),
        (("evaluate", "MODEL", "r.csv", "--relevant-from", "9", "--metrics", "map"), "--relevant-from is 9 and"),
        (("evaluate", "MODEL", "r.csv", "--train", "r.csv", "--metrics", "map"), "all test pairs are in --train, so"),
        (("evaluate", "MODEL", "r.csv", "-o", "r.csv"), "--output is 'r.csv', which is also a file"),
    ],
)  # fmt: skip
def test_mistakes_in_judging_change_no_file(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: Any, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(trained.ratings, "r.csv")
    result = warpfactor(*(str(trained.model) if each == "MODEL" else each for each in args))
    assert result.code == 1
    assert message in result.err
    assert [each.name for each in tmp_path.iterdir()] == ["r.csv"]
    assert Path("r.csv").read_bytes() == trained.ratings.read_bytes()


def test_ratings_that_a_model_was_not_trained_on_are_no_train(
    trained: Trained, tmp_path: Path
) -> None:
    strange = tmp_path / "strange.csv"
    write_csv(strange, [("user", "item", "rating"), ("u99", "099", "3")])
    result = warpfactor("evaluate", trained.model, trained.ratings, "--train", strange)
    assert result.code == 1 and "--train has no pair whose user and item the model" in result.err


def test_evaluate_counts_what_the_model_does_not_know(trained: Trained, tmp_path: Path) -> None:
    # All items look like integers here, yet 12 is no id of the model, and 012 is.
    rows = [("u1", "12", "3"), ("u1", "13", "4"), ("u99", "14", "5")]
    result = succeed("evaluate", trained.model, write_csv(tmp_path / "r.csv", rows))
    assert result.lines[:3] == ["pairs         3", "unknown user  1", "unknown item  3"]


@pytest.mark.parametrize("unknown", ["nan", "raise"])
def test_evaluate_leaves_pairs_without_a_prediction_out(
    trained: Trained, tmp_path: Path, unknown: str
) -> None:
    succeed("train", trained.ratings, "--unknown", unknown, "-o", tmp_path / "m", *QUICK)
    rows = [("u1", "012", "3"), ("u1", "zzz", "4")]
    result = succeed("evaluate", tmp_path / "m", write_csv(tmp_path / "r.csv", rows))
    assert "left out      1 (no prediction)" in result.lines


def test_predict_keeps_the_ids_of_the_file(trained: Trained, tmp_path: Path) -> None:
    pairs = [("u3", "007"), ("u4", "000"), ("u3", "012")]
    file = write_csv(tmp_path / "pairs.csv", [("item", "user"), *[(i, u) for u, i in pairs]])
    output = tmp_path / "out.csv"
    result = succeed("predict", trained.model, file)
    rows = list(csv.reader(io.StringIO(result.out)))
    assert rows[0] == ["user", "item", "prediction"]
    assert [(user, item) for user, item, _ in rows[1:]] == pairs
    predictions = wf.load(trained.model).predict(pairs)
    np.testing.assert_array_equal(np.array([row[2] for row in rows[1:]], np.float32), predictions)
    assert not succeed("predict", trained.model, file, "--output", output).out
    assert output.read_text() == result.out
    one = succeed("predict", trained.model, "--user", "u3", "--item", "007")
    assert one.out == f"{predictions[0]!s}\n"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("u3,007\nu4,000\n", ()),
        ("u3::007::5\nu4::000::1\n", ()),
        ("when\tm\tw\n1\t007\tu3\n2\t000\tu4\n", ("--user-column", "w", "--item-column", "m")),
        ("007;u3\n000;u4\n", ("--user-column", 1, "--item-column", 0, "--sep", ";")),
        ("a,b\nu3,007\nu4,000\n", ("--header",)),
        ("item_id,user_id\n007,u3\n000,u4\n", ()),
    ],
)
def test_predict_reads_pairs_of_any_layout(
    trained: Trained, tmp_path: Path, text: str, options: tuple[object, ...]
) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text(text)
    rows = succeed("predict", trained.model, file, *options).lines[1:]
    assert [row.rsplit(",", 1)[0] for row in rows] == ["u3,007", "u4,000"]


def test_predict_reads_parquet(trained: Trained, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"user": ["u3", "u4"], "item": ["007", "000"]})
    parquet.write_table(table, tmp_path / "pairs.parquet")
    rows = succeed("predict", trained.model, tmp_path / "pairs.parquet").lines[1:]
    assert [row.rsplit(",", 1)[0] for row in rows] == ["u3,007", "u4,000"]


def test_predict_notes_unknown_ids_of_a_file(trained: Trained, tmp_path: Path) -> None:
    file = write_csv(tmp_path / "pairs.csv", [("u3", "7"), ('"a,b"', "007")])
    result = succeed("predict", trained.model, file)
    assert [row[:2] for row in csv.reader(io.StringIO(result.out))][1:] == [
        ["u3", "7"],
        ["a,b", "007"],
    ]
    assert result.err == (
        "warpfactor: note: 1 of 2 pairs has a user that the model does not know (such as 'a,b') and "
        "1 of 2 pairs has an item that the model does not know (such as '7'); it knows both of 0 pairs "
        "(0 %), and the others are predicted from means and biases\n"
    )


@pytest.mark.parametrize("unknown", ["mean", "nan"])
@pytest.mark.parametrize(
    ("rows", "found", "known"),
    [
        ([("u1", "001")], "", 1),
        ([("u1", "001"), ("ann", "002"), ("bob", "003")], "2 of 3 pairs have a user", 1),
        ([("u1", "001"), ("u2", "zzz"), ("u3", "003")], "1 of 3 pairs has an item", 2),
        ([("u1", "001"), ("ann", "zzz")], "1 of 2 pairs has a user.* and 1 of 2 .* an item", 1),
        ([("u1", "001"), *[("u1", f"x{n}") for n in range(1999)]], "1,999 of 2,000 .* an item", 1),
    ],
)
def test_commands_say_how_much_the_model_does_not_know(
    trained: Trained,
    tmp_path: Path,
    unknown: str,
    rows: list[tuple[str, str]],
    found: str,
    known: int,
) -> None:
    model = tmp_path / "m"
    wf.load(trained.model).with_options(unknown=unknown).save(model)
    file = write_csv(tmp_path / "r.csv", [(*row, "5") for row in rows])
    consequences = {
        ("evaluate", "mean"): "MAE and RMSE include the others, predicted from means and biases",
        ("evaluate", "nan"): "MAE and RMSE are over these alone",
        ("predict", "mean"): "the others are predicted from means and biases",
        ("predict", "nan"): "the others have no prediction (nan)",
    }
    for command in ("evaluate", "predict"):
        said = succeed(command, model, file).err
        if not found:
            assert said == ""
            continue
        share = f"{100 * known / len(rows):.3g} %"
        pairs = "1 pair" if known == 1 else f"{known} pairs"
        end = f"knows both of {pairs} ({share}), and {consequences[command, unknown]}\n"
        assert re.fullmatch(f"warpfactor: note: {found} .*{re.escape(end)}", said), said


def test_recommend_leaves_out_all_that_the_file_has(trained: Trained) -> None:
    items = {item for _, item, _ in trained.rows}
    for user in ("u0", "u7", "u39"):
        rated = {item for u, item, _ in trained.rows if u == user}
        listed = recommended(succeed("recommend", trained.model, "--user", user, "-n", 30))
        assert set(listed) == items - rated
        assert len(listed) == len(items - rated)
        everything = succeed("recommend", trained.model, "--user", user, "-n", 30, "--include-seen")
        assert set(recommended(everything)) == items


def test_a_user_without_an_item_left_is_told_of(trained: Trained, tmp_path: Path) -> None:
    user = trained.rows[0][0]
    known = {item for u, item, _ in trained.rows if u == user}
    items = tmp_path / "items.txt"
    items.write_text("\n".join(sorted(known)))
    result = succeed("recommend", trained.model, "--user", user, "--items", items)
    assert len(result.lines) == 1
    assert f"1 of 1 lists are empty, such as that of user '{user}': nothing is left" in result.err
    assert "empty" not in succeed("recommend", trained.model, "--user", user).err


@pytest.mark.parametrize(
    ("typed", "n_bytes"), [("8MB", 8e6), ("8 MiB", 2**23), ("9000000", 9e6), ("0.01g", 1e7)]
)
def test_numbers_of_bytes_may_have_units(
    trained: Trained, tmp_path: Path, typed: str, n_bytes: float
) -> None:
    buffered = ("--scratch", tmp_path, "--buffer", typed)
    succeed(
        "train", trained.ratings, *buffered, "--device-memory", typed, *QUICK, "-o", tmp_path / "m"
    )
    assert wf.load(tmp_path / "m").get_params()["device_memory"] == n_bytes
    result = warpfactor("train", trained.ratings, *buffered[:3], "0.5MB", *QUICK)
    assert "--buffer is 500000; it must be at least" in result.err
    result = warpfactor("train", trained.ratings, *buffered[:3], "8XB", *QUICK)
    assert "'8XB' is no number of bytes, such as 500MB, 2GiB or 2147483648" in result.err


def test_recommend_prints_tab_separated_lines_into_a_pipe(trained: Trained) -> None:
    result = succeed("recommend", trained.model, "--user", "u3", "--user", "u1", "-n", 2)
    ids, scores = wf.load(trained.model).recommend(["u3", "u1"], n=2)
    expected = ["user\trank\titem\tscore"]
    for row, user in enumerate(("u3", "u1")):
        expected += [f"{user}\t{n + 1}\t{ids[row][n]}\t{scores[row][n]!s}" for n in (0, 1)]
    assert result.lines == expected


def test_recommend_by_lower_bounds(trained: Trained) -> None:
    asked = ("recommend", trained.model, "--user", "u3", "-n", 4)
    ids, bounds = wf.load(trained.model).recommend("u3", n=4, confidence=2.5)
    result = succeed(*asked, "--confidence", 2.5)
    assert recommended(result) == list(ids)
    assert [line.split("\t")[3] for line in result.lines[1:]] == [str(bound) for bound in bounds]
    assert result.lines != succeed(*asked).lines


def columns_of(result: Result) -> dict[str, list[str]]:
    names, *rows = csv.reader(result.lines, delimiter="\t")
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))


def test_recommend_passes_its_options_on(trained: Trained, tmp_path: Path) -> None:
    model = wf.load(trained.model)
    users, items, out = (tmp_path / name for name in ("users.txt", "items.txt", "out.txt"))
    users.write_text("user_id\nu3\n\n  u1 \n")
    items.write_text(
        "\ufeff" + "".join(f"{item}\n" for item in [*model.item_ids_[::2], "nope", "29"])
    )
    out.write_text("004\n")
    titles = write_csv(
        tmp_path / "t.csv", [("itemId", "title"), ("000", "Zero"), ("002", '"Two, 2"')]
    )
    result = succeed(
        "recommend", trained.model, "--users", users, "-n", 9, "--items", items, "--exclude", out,
        "--min-ratings", 2, "--exploration", 1, "--seed", 3, "--diversity", 0.4, "--titles", titles,
        "--include-seen",
    )  # fmt: skip
    some = list(model.item_ids_[::2])
    ids, scores = model.recommend(
        ["u3", "u1"], 9, items=some, exclude=["004"], min_ratings=2, exploration=1, random_state=3,
        diversity=0.4, exclude_seen=False,
    )  # fmt: skip
    columns = columns_of(result)
    assert columns["user"] == ["u3"] * 9 + ["u1"] * 9
    assert columns["item"] == list(ids.ravel()) and "004" not in columns["item"]
    assert columns["score"] == [str(each) for each in scores.ravel()]
    named = {"000": "Zero", "002": "Two, 2"}
    assert columns["title"] == [named.get(each, "") for each in columns["item"]]
    assert "--items: 2 of 17 ids are of no item of the model (such as 'nope')" in result.err
    table = succeed("recommend", trained.model, "--user", "u3", "--items", items, "--titles", titles,
                    "--format", "table", "--include-seen", "-n", 30).out  # fmt: skip
    assert "Two, 2" in table and "title" in table
    grouped = columns_of(succeed("recommend", trained.model, "--users", users, "--group", "min"))
    assert grouped["group"] == ["0"] * len(grouped["item"])
    assert (
        grouped["item"]
        == list(model.recommend(["u3", "u1"], group="min")[0])[: len(grouped["item"])]
    )


def test_similar_lists_neighbours_of_items_and_users(trained: Trained, tmp_path: Path) -> None:
    model = wf.load(trained.model)
    titles = write_csv(
        tmp_path / "t.csv", [("id", "name"), *((i, f"T{i}") for i in model.item_ids_)]
    )
    columns = columns_of(
        succeed("similar", trained.model, "--item", "003", "-n", 4, "--titles", titles)
    )
    ids, cosines = model.similar_items("003", 4)
    assert columns["similar_item"] == list(ids)
    assert np.float32(columns["similarity"]).tolist() == cosines.tolist()
    assert columns["title"] == [f"T{each}" for each in ids]
    columns = columns_of(succeed("similar", trained.model, "-u", "u3", "-u", "u1", "-n", 2))
    assert columns["similar_user"] == list(model.similar_users(["u3", "u1"], 2)[0].ravel())
    succeed("similar", trained.model, "--all-items", "-n", 2, "-o", tmp_path / "s.parquet")
    rows = read_table(tmp_path / "s.parquet")
    assert [row["item"] for row in rows] == list(np.repeat(model.item_ids_, 2))
    listed = tmp_path / "i.txt"
    listed.write_text("003\n")
    assert (
        succeed("similar", trained.model, "--items", listed, "-n", 4, "--titles", titles).out
        == succeed("similar", trained.model, "--item", "003", "-n", 4, "--titles", titles).out
    )


def test_a_file_of_titles_is_read_as_told(trained: Trained, tmp_path: Path) -> None:
    titles = tmp_path / "t.txt"
    rows = [f"x|{id}|T\xe9{id}\n" for id in wf.load(trained.model).item_ids_]
    titles.write_bytes("".join(rows).encode("latin-1"))
    how = ("--titles", titles, "--titles-sep", "|", "--titles-encoding", "latin-1", "--titles-no-header",
           "--titles-id", 1, "--titles-title", 2)  # fmt: skip
    for command in (("recommend", "--user", "u3"), ("similar", "--item", "003")):
        columns = columns_of(succeed(command[0], trained.model, *command[1:], "-n", 3, *how))
        listed = columns["item" if command[0] == "recommend" else "similar_item"]
        assert columns["title"] == [f"T\xe9{id}" for id in listed]
    wrong = warpfactor(
        "recommend", trained.model, "--user", "u3", *how[:-1], "name", "--titles-quote", "qq"
    )
    assert wrong.code == 1 and "--titles-quote" in wrong.err
    wrong = warpfactor("recommend", trained.model, "--user", "u3", *how[:-1], 9)
    assert wrong.code == 1 and "--titles-title 9: there are columns 0 to 2" in wrong.err
    alone = warpfactor("recommend", trained.model, "--user", "u3", "--titles-sep", "|")
    assert alone.code == 2 and "--titles-sep is given without --titles FILE" in alone.err


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ("recommend M --user u1 --users F", "give --user ID (once or more), --users FILE, or --all-users"),
        ("similar M --item 003 --user u1", "give --item ID (once or more), --items FILE"),
        ("similar M --user u1 --titles F", "--titles are those of items"),
        ("recommend M --users EMPTY", "holds no ids; it must have one on each line"),
        ("recommend M --users NOWHERE", "No such file"),
        ("recommend M --user u1 --items F", "--items: F has no item of the model, whose ids are like '000'"),
        ("recommend M --user u1 --titles F", "--titles: F: no separator found"),
        ("recommend M --user u1 --titles OTHER", "--titles has no id of the model"),
        ("recommend M --user u1 --exploration 1 --confidence 1", "--confidence is 1.0 and --exploration 1.0"),
        ("recommend M --user u1 --seed 1", "--seed is 1 and --exploration 0"),
        ("recommend M --user u1 --diversity 2", "--diversity is 2.0; it must be from 0 to 1"),
        ("recommend M --user u1 --min-ratings -1", "--min-ratings is -1; it must be at least 0"),
        ("recommend M --user u1 --group most", "--group is 'most'; it must be"),
        ("recommend M --users F -o F", "--output is 'F', which is also a file to read"),
    ],
)  # fmt: skip
def test_mistakes_about_lists_are_named(
    trained: Trained, tmp_path: Path, args: str, text: str
) -> None:
    paths = {"M": trained.model} | {
        name: tmp_path / name for name in ("F", "EMPTY", "NOWHERE", "OTHER")
    }
    paths["F"].write_text("u1\n")
    paths["EMPTY"].write_text("\n")
    paths["OTHER"].write_text("id,title\nx,X\n")
    result = warpfactor(*(paths.get(word, word) for word in args.split()))
    assert (
        result.code
        and text.replace("F ", f"{paths['F']} ")
        .replace("F:", f"{paths['F']}:")
        .replace("'F'", f"'{paths['F']}'")
        in result.err
    )
    assert paths["F"].read_text() == "u1\n"


def test_recommend_writes_the_same_in_every_format(trained: Trained, tmp_path: Path) -> None:
    args = ("recommend", trained.model, "--user", "u3", "-n", 3)
    wanted = [line.split("\t") for line in succeed(*args).lines]
    succeed(*args, "--output", tmp_path / "r.csv")
    assert list(csv.reader((tmp_path / "r.csv").read_text().splitlines())) == wanted
    table = succeed(*args, "--format", "table").out
    assert "user u3" in table
    assert re.findall(r"│ +(\d) │ (\d{3})", table) == [(row[1], row[2]) for row in wanted[1:]]


def read_table(path: Path) -> list[dict[str, object]]:
    """The rows of a file, by the usual reader of its format."""
    import pyarrow as pa
    from pyarrow import parquet

    suffix = path.suffixes[0].lower()
    if suffix in (".parquet", ".pq"):
        return parquet.read_table(path).to_pylist()
    if suffix in (".feather", ".arrow", ".ipc"):
        return pa.ipc.open_file(path).read_all().to_pylist()
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", newline="") as file:
        if suffix in (".jsonl", ".ndjson"):
            return [json.loads(line) for line in file]
        if suffix == ".json":
            rows: list[dict[str, object]] = json.load(file)
            return rows
        return list(csv.DictReader(file, delimiter="," if suffix == ".csv" else "\t"))


SUFFIXES = [
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", ".feather", ".arrow", ".ipc",
    ".csv.gz", ".tsv.gz", ".txt.gz", ".json.gz", ".jsonl.gz", ".ndjson.gz", ".CSV", ".Parquet",
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["int", "str"])
def test_a_table_is_what_its_suffix_says(
    trained: Trained, tmp_path: Path, suffix: str, kind: str
) -> None:
    model, pairs = trained.model, [("u3", "007"), ("u4", "000"), ("nobody", "012")]
    if kind == "int":
        model, pairs = tmp_path / "m", [(1, 2), (3, 0), (99, 1)]
        rows = [(str(n % 7), str(n % 5), str(n % 3)) for n in range(30)]
        succeed("train", write_csv(tmp_path / "r.csv", rows), "-o", model, *QUICK)
    fitted = wf.load(model)
    users = fitted.user_ids_[[2, 0]]
    file = write_csv(tmp_path / "pairs.csv", [tuple(map(str, pair)) for pair in pairs])
    lists, predictions = tmp_path / f"lists{suffix}", tmp_path / f"predictions{suffix}"
    asked = [part for user in users for part in ("--user", user)]
    succeed("recommend", model, *asked, "-n", 3, "--include-seen", "-o", lists)
    succeed("predict", model, file, "-o", predictions)

    ids, scores = fitted.recommend(users, n=3, exclude_seen=False)
    wanted = [
        {"user": user, "rank": rank + 1, "item": ids[row][rank], "score": scores[row][rank]}
        for row, user in enumerate(users)
        for rank in range(3)
    ]
    predicted = [
        {"user": user, "item": item, "prediction": value}
        for (user, item), value in zip(pairs, fitted.predict(pairs), strict=True)
    ]
    typed = suffix.split(".")[1].lower() not in ("csv", "tsv", "txt")
    for path, expected in ((lists, wanted), (predictions, predicted)):
        got = read_table(path)
        assert [list(row) for row in got] == [list(row) for row in expected]
        for row, other in zip(got, expected, strict=True):
            for name, value in other.items():
                if name in ("score", "prediction"):
                    assert np.float32(row[name]) == value
                else:
                    assert row[name] == (value if typed else str(value))
                assert not typed or isinstance(row[name], (int, float, str))


def test_tables_of_columns_have_the_types_of_what_they_hold(tmp_path: Path) -> None:
    from pyarrow import parquet

    file = write_csv(tmp_path / "r.csv", [(str(n % 7), f"i{n % 5}", "1") for n in range(30)])
    succeed("train", file, "-o", tmp_path / "m", *QUICK)
    succeed("recommend", tmp_path / "m", "--all-users", "-o", tmp_path / "r.parquet")
    succeed("predict", tmp_path / "m", file, "-o", tmp_path / "p.parquet")
    types = {
        name: [(field.name, str(field.type)) for field in parquet.read_schema(tmp_path / name)]
        for name in ("r.parquet", "p.parquet")
    }
    assert types == {
        "r.parquet": [("user", "int64"), ("rank", "int32"), ("item", "string"), ("score", "float")],
        "p.parquet": [("user", "int64"), ("item", "string"), ("prediction", "float")],
    }


def test_a_prediction_that_is_not_there_is_null_in_json(trained: Trained, tmp_path: Path) -> None:
    wf.load(trained.model).with_options(unknown="nan").save(tmp_path / "m")
    file = write_csv(tmp_path / "pairs.csv", [("u3", "007"), ("nobody", "007")])
    succeed("predict", tmp_path / "m", file, "-o", tmp_path / "p.jsonl")
    values = [row["prediction"] for row in read_table(tmp_path / "p.jsonl")]
    assert values[0] is not None and values[1] is None


def test_ids_that_need_quotes_have_them(tmp_path: Path) -> None:
    names = ['Weird "Al"', "a,b", "a\tb", "two\nlines", "naïve"]
    ratings = wf.Ratings.from_arrays(names * 2, names + names[::-1], np.ones(10))
    wf.MatrixFactorization(2, n_epochs=1, verbose=0).fit(ratings).save(tmp_path / "m")
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet"):
        path = tmp_path / f"r{suffix}"
        succeed("recommend", tmp_path / "m", "--all-users", "--include-seen", "-o", path)
        rows = read_table(path)
        assert [row["user"] for row in rows] == [name for name in sorted(names) for _ in range(5)]
        assert {str(row["item"]) for row in rows} == set(names)
    # Only those have quotes that need them there.
    for suffix, quoted in ((".csv", (0, 1, 3)), (".tsv", (0, 2, 3))):
        text = (tmp_path / f"r{suffix}").read_text()
        for at, name in enumerate(names):
            assert ('"' + name.replace('"', '""') + '"' in text) == (at in quoted), name
    assert len(json.loads((tmp_path / "r.json").read_text())) == 25


def test_format_goes_before_the_suffix(trained: Trained, tmp_path: Path) -> None:
    args = ("recommend", trained.model, "--user", "u3", "-n", 2)
    wanted = succeed(*args, "--format", "csv").out
    for name in ("r.parquet", "r", "r.xlsx"):
        succeed(*args, "--format", "csv", "-o", tmp_path / name)
        assert (tmp_path / name).read_text() == wanted
    succeed(*args, "--format", "table", "-o", tmp_path / "r.txt")
    assert (tmp_path / "r.txt").read_text() == succeed(*args, "--format", "table").out
    one = ("predict", trained.model, "--user", "u3", "--item", "007")
    number = float(succeed(*one).out)
    record = {"user": "u3", "item": "007", "prediction": number}
    assert json.loads(succeed(*one, "--format", "json").out) == [record]
    assert json.loads(succeed(*one, "--format", "jsonl").out) == record


@pytest.mark.parametrize("name", ["r.xlsx", "r", "r.gz", "r.parquet.gz", "r.csv.bz2", "r.xml"])
@pytest.mark.parametrize("command", ["recommend", "predict"])
def test_an_unknown_suffix_is_an_error_before_any_work(
    tmp_path: Path, command: str, name: str
) -> None:
    args = ("--all-users",) if command == "recommend" else (tmp_path / "gone.csv",)
    result = warpfactor(command, tmp_path / "gone.safetensors", *args, "-o", tmp_path / name)
    assert result.code == 1
    others = "table, " if command == "recommend" else ""
    assert result.err == (
        f"warpfactor: error: --output is {str(tmp_path / name)!r}; it must end in .csv, .tsv, .txt, "
        ".json, .jsonl, .ndjson, .parquet, .pq, .feather, .arrow or .ipc (or .gz after one of a text), "
        f"or --format must say what to write: {others}csv, tsv, json, jsonl, parquet or arrow\n"
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "m.TSV", "m.jsonl.gz"])
def test_a_model_is_not_saved_under_the_name_of_a_table(
    trained: Trained, tmp_path: Path, name: str
) -> None:
    result = warpfactor("train", trained.ratings, "-o", tmp_path / name)
    assert result.code == 1
    assert "a model is no table: its name should end in .safetensors" in result.err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize(
    "template",
    [("train", "RATINGS"), ("predict", "MODEL", "RATINGS"), ("recommend", "RATINGS", "-u", "u1")],
)
def test_no_command_writes_over_what_it_reads(
    trained: Trained, tmp_path: Path, template: tuple[str, ...], link: bool
) -> None:
    ratings = tmp_path / "ratings"
    ratings.write_bytes(trained.ratings.read_bytes())
    output = ratings
    if link:
        output = tmp_path / "link"
        output.symlink_to(ratings)
    args = [{"RATINGS": ratings, "MODEL": trained.model}.get(part, part) for part in template]
    result = warpfactor(*args, "-o", output)
    assert result.code == 1
    assert f"--output is {str(output)!r}, which is also a file to read" in result.err
    assert ratings.read_bytes() == trained.ratings.read_bytes()


def test_all_users_are_those_with_training_ratings_unless_the_others_have_a_mean(
    tmp_path: Path,
) -> None:
    # Of the two ratings the later one is held out, and user b with it.
    file = write_csv(tmp_path / "r.csv", [("a", "x", "1", "1"), ("b", "y", "2", "2")])
    listed = {}
    for unknown in ("mean", "nan"):
        args = ("--test-size", 1, "--test-by", "time", "--unknown", unknown, *QUICK)
        result = warpfactor("train", file, "-o", tmp_path / "m", *args)
        # The model is saved even if the only test rating has no prediction.
        assert ("no test pair has a user and an item" in result.err) == (unknown == "nan")
        out = succeed("recommend", tmp_path / "m", "--all-users", "--include-seen").out
        listed[unknown] = {line.split("\t")[0] for line in out.splitlines()[1:]}
    assert listed == {"mean": {"a", "b"}, "nan": {"a"}}


def test_recommend_for_all_users(trained: Trained) -> None:
    result = succeed("recommend", trained.model, "--all-users", "-n", 2, "--format", "csv")
    users = [row[0] for row in csv.reader(io.StringIO(result.out))][1:]
    assert users == [user for user in sorted({row[0] for row in trained.rows}) for _ in range(2)]


def test_info_describes_the_installation_and_a_model(trained: Trained) -> None:
    assert wf.__version__ in succeed("info").out
    out = succeed("info", trained.model).out
    for pattern in (
        rf"written by warpfactor {re.escape(wf.__version__)}",
        r"users +40 \(str ids, u0 to u9\)",
        r"items +30 \(str ids, 000 to 029\)",
        r"ratings +430, from 1 to 5",
        rf"test RMSE +{trained.result.lines[-1].removeprefix('test RMSE ')} on 120 held-out ratings",
        r"trained +20\d\d-\d\d-\d\d \d\d:\d\d UTC, by MatrixFactorization, 3 epochs in \d+\.\d\d s",
        r"errors +train RMSE \d\.\d{4}, validation RMSE \d\.\d{4}",
        r"curve +validation RMSE \(epoch\): \d\.\d{4} \(1\), \d\.\d{4} \(2\), \d\.\d{4} \(3\)\n",
        r"\nparameters that are not the defaults:\n  n_factors +4\n  n_epochs +3\n",
        r"\nchosen by training:\n",
    ):
        assert re.search(pattern, out), pattern
    assert "patience" not in out and "early_stopping" not in out and "learning_rate  " in out


def test_info_describes_models_of_other_estimators(trained: Trained, tmp_path: Path) -> None:
    ratings = wf.read_ratings(trained.ratings)
    slow = wf.BayesianMatrixFactorization(n_factors=2, n_samples=3, n_burn_in=1, verbose=0)
    both = wf.Ensemble([wf.MatrixFactorization(n_factors=3, verbose=0), slow], intervals=False)
    for estimator, changed, members in ((slow, "n_samples +3", 3), (both, "n_factors +3", 4)):
        estimator.fit(ratings).save(tmp_path / "m")
        out = succeed("info", tmp_path / "m").out
        for pattern in (changed, f"by {type(estimator).__name__}", f"of {members} members"):
            assert re.search(pattern, out), pattern
        assert "test RMSE" not in out


def test_a_model_is_saved_even_if_its_test_fails(tmp_path: Path) -> None:
    # Each user is in one row alone, so that the model knows none of the test's.
    file = write_csv(tmp_path / "r.csv", [(f"u{n}", f"i{n % 3}", str(n % 5)) for n in range(20)])
    model = tmp_path / "m.safetensors"
    options = ("--test-size", 2, "--unknown", "nan", "--output", model, *QUICK)
    result = warpfactor("train", file, *options)
    assert result.code == 1 and "no test pair has a user and an item" in result.err
    assert wf.load(model).n_ratings_ == 18


def test_version() -> None:
    assert succeed("--version").out == f"warpfactor {wf.__version__}\n"


def no_folder(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    return "train", trained.ratings, "--output", tmp_path / "gone" / "m.safetensors"


def folder_as_output(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    return "train", trained.ratings, "--output", tmp_path


def bad_rating(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    rows = [("1", "1", "5"), ("2", "1", "good")]
    return "train", write_csv(tmp_path / "r.csv", rows)


def damaged_model(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    damaged = tmp_path / "half.safetensors"
    damaged.write_bytes(trained.model.read_bytes()[:-100])
    return "info", damaged


def foreign_model(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    return "recommend", trained.ratings, "--user", "u1"


def one_column(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "p.csv").write_text("u1\nu2\n")
    return "predict", trained.model, tmp_path / "p.csv"


def missing_pairs_column(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    return "predict", trained.model, trained.ratings, "--user-column", "nobody"


def integer_id(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
    rows = [(str(n), str(n % 3), str(n % 5)) for n in range(9)]
    file = write_csv(tmp_path / "r.csv", rows)
    succeed("train", file, "--output", tmp_path / "m", *QUICK)
    return "recommend", tmp_path / "m", "--user", "ann"


def with_files(*template: object) -> Callable[[Trained, Path], tuple[object, ...]]:
    def arguments(trained: Trained, tmp_path: Path) -> tuple[object, ...]:
        files = {"MODEL": trained.model, "RATINGS": trained.ratings}
        return tuple(files.get(str(part), part) for part in template)

    return arguments


MISTAKES = [
    (with_files("train", "gone.csv"), r"gone\.csv"),
    (
        with_files("train", "RATINGS", "--user", "nobody"),
        "--user-column nobody .*'user', 'item', 'rating'",
    ),
    (with_files("train", "RATINGS", "--rating", 9), "--rating-column 9"),
    (with_files("train", "RATINGS", "--rating", "item", "--item", "user"), "user"),
    (with_files("train", "RATINGS", "--n-factors", 0), "--n-factors is 0"),
    (with_files("train", "RATINGS", "--schedule", "steep"), "'steep'.*'linear'"),
    (with_files("train", "RATINGS", "--dtype", "int8"), "--dtype is 'int8'"),
    (with_files("train", "RATINGS", "--device", "tpu"), "--device is 'tpu'"),
    (with_files("train", "RATINGS", "--test-size", "1.5"), "--test-size is 1.5"),
    (with_files("train", "RATINGS", "--test-size", "600"), "600"),
    (with_files("train", "RATINGS", "--test-size", "0.1", "--test-by", "moon"), "'moon'"),
    (
        with_files("train", "RATINGS", "--test-size", "0.1", "--test-by", "time"),
        "--timestamp-column",
    ),
    (with_files("train", "RATINGS", "--learning-rate", 1000), "diverged.*--learning-rate"),
    (with_files("evaluate", "gone.safetensors", "RATINGS"), r"gone\.safetensors"),
    (with_files("evaluate", "MODEL", "gone.csv"), r"gone\.csv"),
    (with_files("predict", "MODEL", "gone.csv"), r"gone\.csv"),
    (with_files("predict", "MODEL", "--user", "u1", "--item", "7"), "item '7'"),
    (with_files("predict", "MODEL", "RATINGS", "--sep", "ab"), "'ab'"),
    (with_files("recommend", "MODEL", "--user", "u1", "--user", "bob"), "user 'bob'"),
    (with_files("recommend", "MODEL", "--user", "u1", "-n", 0), "0"),
    (with_files("recommend", "MODEL", "--user", "u1", "--format", "xml"), "'xml'"),
    (
        with_files("recommend", "MODEL", "--user", "u1", "--confidence", "-1"),
        r"--confidence is -1\.0; it must be from 0 to 1000000",
    ),
    (no_folder, "gone"),
    (folder_as_output, "folder"),
    (bad_rating, "'good'"),
    (damaged_model, r"half\.safetensors"),
    (foreign_model, r"ratings\.csv"),
    (one_column, r"p\.csv"),
    (missing_pairs_column, "--user-column nobody"),
    (integer_id, "'ann'.*integer"),
]


@pytest.mark.parametrize(("arguments", "pattern"), MISTAKES)
def test_a_mistake_gives_one_line_and_exit_code_1(
    trained: Trained,
    tmp_path: Path,
    arguments: Callable[[Trained, Path], tuple[object, ...]],
    pattern: str,
) -> None:
    result = warpfactor(*arguments(trained, tmp_path))
    assert result.code == 1
    # A mistake that shows after reading comes after what was read.
    assert [line.split()[0] for line in result.lines] in ([], ["file", "ratings"])
    [line] = result.err.splitlines()
    assert re.match(f"warpfactor: error: .*{pattern}", line), line


@pytest.mark.parametrize(
    "arguments",
    [
        with_files("train"),
        with_files("train", "RATINGS", "--n-factors", "many"),
        with_files("train", "RATINGS", "--test-size", "some"),
        with_files("predict", "MODEL"),
        with_files("predict", "MODEL", "RATINGS", "--user", "u1"),
        with_files("recommend", "MODEL"),
        with_files("recommend", "MODEL", "--user", "u1", "--all-users"),
        with_files("fly"),
    ],
)
def test_wrong_usage_has_exit_code_2(
    trained: Trained, tmp_path: Path, arguments: Callable[[Trained, Path], tuple[object, ...]]
) -> None:
    assert warpfactor(*arguments(trained, tmp_path)).code == 2


def test_an_output_that_cannot_be_written_is_refused_before_reading() -> None:
    result = warpfactor("train", "gone.csv", "--output", "nowhere/m.safetensors")
    assert result.err == (
        "warpfactor: error: --output: nowhere/m.safetensors cannot be written: there is no folder "
        "nowhere: create it first\n"
    )


def test_cuda_that_is_not_there_is_one_line(trained: Trained) -> None:
    if wf.show_config("dicts")["cuda_usable"]:
        pytest.skip("this machine has a usable CUDA device")
    result = warpfactor("train", trained.ratings, "--device", "cuda", *QUICK)
    assert result.code == 1
    assert re.fullmatch(r"warpfactor: error: .*(CUDA|cuda|NVIDIA).*\n", result.err)


def test_a_model_predicts_where_it_is_told(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    wf.load(trained.model).set_params(device="cuda").save(path)
    commands = (
        ("evaluate", path, trained.ratings),
        ("predict", path, "--user", "u1", "--item", "003"),
        ("recommend", path, "--user", "u1"),
    )
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, False, "no driver, use --device cpu"))
    for command in commands:
        on_cpu = succeed(*command)  # as saved, but there is no CUDA here
        assert succeed(*command, "--device", "cpu") == on_cpu
        assert "no driver" in warpfactor(*command, "--device", "cuda").err
        assert "device is 'tpu'" in warpfactor(*command, "--device", "tpu").err


def test_train_that_could_not_test_fails_before_the_work(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, True, ""))
    monkeypatch.setattr(_core, "cuda_is_twin", lambda: False)
    monkeypatch.setitem(sys.modules, "cupy", None)
    output = tmp_path / "m.safetensors"
    where = ("--device", "cuda", "--test-size", "0.1", "--output", output)
    result = warpfactor("train", trained.ratings, *where, *QUICK)
    assert INSTALL_CUPY in result.err and not output.exists()


def test_a_programming_error_keeps_its_traceback(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("warpfactor.model.model.load", broken)
    with pytest.raises(TypeError, match="a bug"):
        warpfactor("info", trained.model)


def test_leading_zeros_of_movietweetings_survive(data_dir: Path, tmp_path: Path) -> None:
    file, model = data_dir / "movietweetings-100k.dat", tmp_path / "m.safetensors"
    fields = [line.split("::") for line in file.read_text().splitlines()]
    items = {field[1] for field in fields}
    rated = {field[1] for field in fields if field[0] == "1"}
    succeed("train", file, "--output", model, "--test-size", "0.1", "--n-epochs", 2)
    listed = recommended(succeed("recommend", model, "--user", "1", "-n", 50))
    assert len(listed) == 50
    assert set(listed) <= items - rated
    assert any(item.startswith("0") for item in listed)
    zero = next(item for item in listed if item.startswith("0"))
    pairs = write_csv(tmp_path / "pairs.csv", [("1", zero)])
    row = succeed("predict", model, pairs).lines[1]
    one = succeed("predict", model, "--user", "1", "--item", zero).out.strip()
    assert row == f"1,{zero},{one}"


# Below, the real thing: separate processes.


def test_module_reports_a_mistake_without_a_traceback(tmp_path: Path) -> None:
    result = process("train", tmp_path / "gone.csv")
    assert result.returncode == 1
    assert not result.stdout
    assert re.fullmatch(r"warpfactor: error: .*gone\.csv.*\n", result.stderr)


def test_help_does_not_wait_for_heavy_imports() -> None:
    code = "import sys, warpfactor.cli; print(*({'numpy', 'pyarrow', 'sklearn'} & {*sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "\n"


def test_a_closed_pipe_is_no_error(trained: Trained) -> None:
    command = [sys.executable, "-m", "warpfactor", "recommend", str(trained.model), "--all-users"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.close()
        assert run.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_terminal_gets_a_progress_bar_and_a_table(trained: Trained) -> None:
    pexpect = pytest.importorskip("pexpect")
    train = ["train", str(trained.ratings), "--test-size", "0.2", *QUICK]
    recommend = ["recommend", str(trained.model), "--user", "u1", "-n", "2"]
    # Both in one process, as most of the time goes into the imports.
    code = f"from warpfactor.cli import app; app({train}, standalone_mode=False); app({recommend})"
    terminal = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=30)
    shown, table = re.split(r"(?<=test RMSE \d\.\d{4})\r\n", terminal.read())
    terminal.close()
    assert terminal.exitstatus == 0
    assert "epoch 3/3" in shown
    assert "━" in shown
    assert len(re.findall(r"3 epochs in ", shown)) == 1
    assert "━" not in trained.result.out + trained.result.err
    assert "rank" in table
    assert "│    2 │" in table
    assert "\t" not in table


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
def test_interrupt_ends_training_with_one_line(trained: Trained) -> None:
    pexpect = pytest.importorskip("pexpect")
    args = ["-m", "warpfactor", "train", str(trained.ratings), "--n-epochs", "2000000000"]
    terminal = pexpect.spawn(
        sys.executable, args, encoding="utf-8", timeout=30,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's & ignores it
    )  # fmt: skip
    terminal.expect("train RMSE")
    # Again if need be: an interrupt that reaches Python within a finalizer is dropped there, and short epochs spend most
    # of their time in Python.
    for _ in range(3):
        terminal.kill(signal.SIGINT)
        if terminal.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10) == 0:
            break
    rest = terminal.before
    terminal.close()
    assert terminal.exitstatus == 130
    assert "warpfactor: error: interrupted\r\n" in rest
    assert "Traceback" not in rest


@pytest.fixture(scope="module")
def large_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose lists for all users take many seconds."""
    n_users, n_items = 300_000, 500
    rng = np.random.default_rng(0)
    ratings = wf.Ratings.from_arrays(
        np.arange(n_users), rng.integers(0, n_items, n_users), rng.integers(1, 6, n_users)
    )
    path = tmp_path_factory.mktemp("large") / "m.safetensors"
    wf.MatrixFactorization(4, n_epochs=1, verbose=0).fit(ratings).save(path)
    return path


def writes_in(pid: int, folder: Path) -> bool:
    """Whether a process has written to a temporary file in a folder, which may have no name."""
    opened = Path(f"/proc/{pid}/fd")
    with contextlib.suppress(OSError):
        for each in opened.iterdir() if opened.exists() else folder.glob(".*.tmp"):
            if os.path.realpath(each).startswith(f"{folder}{os.sep}") and each.stat().st_size:
                return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to send")
@pytest.mark.parametrize(
    ("name", "old"),
    [
        ("r.csv", None),
        ("r.jsonl", None),
        ("r.parquet", b"old"),
        ("r.tsv.gz", b"old"),
        ("r.txt", None),
    ],
)
def test_interrupt_of_all_users_leaves_nothing_half_done(
    large_model: Path, tmp_path: Path, name: str, old: bytes | None
) -> None:
    output = tmp_path / name
    if old is not None:
        output.write_bytes(old)
    before = os.listdir(tmp_path)
    args = ["recommend", str(large_model), "--all-users", "-n", "100", "-o", str(output)]
    if name == "r.txt":
        args += ["--format", "table"]
    # A shell's & lets its children ignore the signal.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"from warpfactor.cli import app; app({args})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) as run:
        try:
            deadline = time.monotonic() + 50
            while not writes_in(run.pid, tmp_path):
                assert run.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            run.send_signal(signal.SIGINT)
            assert run.stderr is not None
            said = run.stderr.read()
        finally:
            run.kill()  # it would go on for minutes if this test failed
    assert run.returncode == 130
    assert said == "warpfactor: error: interrupted\n"
    assert os.listdir(tmp_path) == before
    assert old is None or output.read_bytes() == old


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_what_takes_long_shows_a_bar_on_a_terminal(trained: Trained, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    pairs = write_csv(tmp_path / "pairs.csv", [(f"u{n % 40}", "001") for n in range(30)])
    shrink = (
        "import sys; from warpfactor.cli import app\n"
        "sys.modules['warpfactor.cli.lists']._ROWS_PER_CHUNK = 10\n"
        "sys.modules['warpfactor.cli.serve']._PAIRS_PER_CHUNK = 10\n"
    )
    for output, args in (
        ("r.csv", ["recommend", str(trained.model), "--all-users"]),
        ("p.csv", ["predict", str(trained.model), str(pairs)]),
    ):
        wanted = succeed(*args, "--format", "csv").out
        args += ["-o", str(tmp_path / output)]
        terminal = pexpect.spawn(
            sys.executable, ["-c", f"{shrink}app({args})"], encoding="utf-8", timeout=30
        )
        shown = terminal.read()
        terminal.close()
        assert terminal.exitstatus == 0, shown
        assert "━" in shown and "100%" in shown
        assert (tmp_path / output).read_text() == wanted
        quiet = subprocess.run(
            [sys.executable, "-c", f"{shrink}app({args})"], capture_output=True, check=True
        )
        assert quiet.stdout == quiet.stderr == b""


READS = {
    "train": (["train", "FILE", *QUICK], ["reading"]),
    "train quietly": (["train", "FILE", "--quiet", *QUICK], []),
    "evaluate": (["evaluate", "MODEL", "FILE"], ["reading"]),
    "predict": (["predict", "MODEL", "FILE"], ["reading"]),
    "peek": (["peek", "FILE"], ["reading"]),
    "convert": (["convert", "FILE", "OUT"], ["reading", "writing"]),
}


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("name", READS)
def test_reading_and_writing_show_a_spinner_on_a_terminal(
    trained: Trained, tmp_path: Path, name: str
) -> None:
    pexpect = pytest.importorskip("pexpect")
    args, doing = READS[name]
    # The name has rich's markup, and a row is left out, which is told while the spinner turns.
    file, out = Path("[red]r.csv"), Path("o.tsv")
    (tmp_path / file).write_bytes(trained.ratings.read_bytes() + b"u1,,\n")
    files = {"FILE": str(file), "OUT": str(out), "MODEL": str(trained.model)}
    args = [files.get(each, each) for each in args] + ["--on-error", "skip"]
    code = (
        f"import os, sys; from warpfactor.cli import app; os.chdir({str(tmp_path)!r})\n"
        f"app({args}, standalone_mode=False)"
    )
    terminal = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=30)
    shown = terminal.read()
    terminal.close()
    assert terminal.exitstatus == 0, shown
    for each in ("reading", "writing"):
        path = out if each == "writing" else file
        assert (f"{each} {path}" in shown) == (each in doing), shown
    told = (
        "left out   1 row"
        if name == "peek"
        else r"(?m)(^|\x1b\[2K)warpfactor: note: .*1 of 601 rows"
    )
    assert re.search(told, shown), shown
    quiet = subprocess.run(
        [sys.executable, "-c", f"{code}; assert 'rich' not in sys.modules"],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert not re.search("reading|writing", quiet.stdout + quiet.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_functions_of_python_show_nothing_while_they_read(trained: Trained, tmp_path: Path) -> None:
    pexpect = pytest.importorskip("pexpect")
    code = (
        "import sys; import warpfactor as wf\n"
        f"r = wf.read_ratings({str(trained.ratings)!r}); wf.peek({str(trained.ratings)!r})\n"
        f"wf.write_ratings(r, {str(tmp_path / 'o.csv')!r}); assert 'rich' not in sys.modules"
    )
    terminal = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", timeout=30)
    shown = terminal.read()
    terminal.close()
    assert (terminal.exitstatus, shown) == (0, "")


def test_demo_comes_near_the_noise_floor_in_seconds() -> None:
    started = time.perf_counter()
    result = process("demo")
    seconds = time.perf_counter() - started
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    [rmse] = re.findall(r"^test RMSE +(\d\.\d+)", result.stdout, re.MULTILINE)
    [floor] = re.findall(r"^noise floor +(\d\.\d+)", result.stdout, re.MULTILINE)
    assert 1 < float(rmse) / float(floor) < 1.1
    assert "ratings/s" in result.stdout
    assert "Recommended items" in result.stdout
    assert seconds < 20  # it takes two on a quiet machine


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--seed", "-1"), "--seed is -1; it must be at least 0"),
        (("--patience", "-1"), "--patience is -1; it must be at least 0"),
        (("--init-scale", "-0.5"), "--init-scale is -0.5; it must be at least 0"),
        (("--test-by", "day"), "--test-by is 'day'; it must be 'random', 'user', 'time' or 'last'"),
    ],
)
def test_errors_use_the_names_of_the_command_line(
    tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    ratings = write_csv(tmp_path / "r.csv", [("u", "i", "r"), ("1", "2", "3"), ("2", "2", "4")])
    result = warpfactor("train", ratings, *options)
    assert (result.code, result.err) == (1, f"warpfactor: error: {message}\n")
    if "--seed" in options:
        assert warpfactor("demo", *options).err == result.err


def test_help_names_the_devices() -> None:
    text = re.sub(r"[\s│]+", " ", warpfactor("train", "--help").out)
    assert "cpu, cuda, cuda:1, auto" in text
