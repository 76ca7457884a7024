"""Nothing that a file or a table holds is left out without a word."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner

import warpfactor as wf
from warpfactor.cli import app
from warpfactor.data.files import read_pairs, read_ratings
from warpfactor.data.ratings import Ratings


@pytest.fixture
def path_of(tmp_path):
    """Write a file; its path."""

    def write(content: str | bytes, name: str = "r.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


# Timestamps

UNREAD_TIMES = {
    "missing": (
        "user,item,rating,timestamp\n1,2,3,977777770\n1,3,4,\n",
        "line 3: the timestamp is missing",
    ),
    "null": (
        "u\ti\tstars\tts\n1\t2\t3\tNULL\n1\t3\t4\t977777770\n",
        "line 2: the timestamp is missing",
    ),
    "no date": (
        "user,item,rating,date\n1,2,3,2024-05-31\n1,3,4,2024-05-32\n1,4,4,2024-06-01\n",
        "line 3: the timestamp '2024-05-32' is neither",
    ),
    "a missing date": (
        "user,item,rating,date\n\n1,2,3,2024-05-31\n1,3,4,NA\n1,4,4,2024-06-01\n",
        "line 4: the timestamp is missing",
    ),
    "words": ("user,item,rating,date\n1,2,3,May 1\n1,3,4,May 2\n", "line 2: the timestamp 'May 1'"),
}


@pytest.mark.parametrize(("text", "first"), UNREAD_TIMES.values(), ids=UNREAD_TIMES)
def test_named_timestamps_that_cannot_be_read_are_told(path_of, text, first):
    path = path_of(text)
    with pytest.warns(UserWarning, match="was taken for the timestamps and left out") as told:
        ratings = read_ratings(path)
    assert len(told) == 1
    assert f"({first}" in str(told[0].message)
    assert ratings.timestamps is None
    name = text.split("\n")[0].replace("\t", ",").split(",")[3]
    assert f"pass timestamp={name!r} to make that an error, and on_error='skip'" in str(
        told[0].message
    )
    assert [first in odd for odd in wf.peek(path).odd].count(True) == 1
    with pytest.raises(ValueError, match=first.split("'")[0]):
        read_ratings(path, timestamp=name)
    n_good = len(ratings) - (2 if "May" in text else 1)
    if n_good:
        with pytest.warns(UserWarning, match="1 of . rows left out"):
            kept = read_ratings(path, timestamp=name, on_error="skip")
        assert len(kept) == len(kept.timestamps) == n_good


@pytest.mark.parametrize(
    "text",
    [
        "1,2,3,977777770\n1,3,4,\n",
        "1,2,3,classic\n1,3,4,slow\n",
        "1\t2\t3\t2024-05-31\n1\t3\t4\t2024-05-32\n",
    ],
)
def test_a_fourth_column_by_place_is_a_guess(path_of, text):
    path = path_of(text)
    assert read_ratings(path).timestamps is None
    assert "was taken for the timestamps and left out" in " ".join(wf.peek(path).odd)
    table = pd.DataFrame([[1, 2, 3, "x"], [1, 3, 4, "y"]])
    assert Ratings.from_frame(table).timestamps is None


@pytest.mark.parametrize(
    "times", [[977777770, None], ["2024-05-31", "soon"], [float("nan"), 977777770.0]]
)
@pytest.mark.parametrize("kind", ["pandas", "arrow", "parquet", "json"])
def test_named_timestamps_of_tables_are_told(path_of, times, kind):
    frame = pd.DataFrame({"user": [1, 1], "item": [2, 3], "rating": [3.0, 4.0], "time": times})
    path = path_of("", f"r.{kind}")
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind == "json":
        frame.to_json(path, orient="records", lines=True)
    given = {
        "pandas": lambda: Ratings.from_frame(frame),
        "arrow": lambda: Ratings.from_any(pa.table(frame)),
        "parquet": lambda: read_ratings(path),
        "json": lambda: read_ratings(path),
    }[kind]
    with pytest.warns(UserWarning, match="left out.*position|position.*left out") as told:
        ratings = given()
    assert len(told) == 1
    assert ratings.timestamps is None
    assert ratings.values.tolist() == [3, 4]


def test_timestamps_of_a_part_of_the_files_are_told(path_of):
    head = "user,item,rating"
    paths = [
        path_of(f"{head},time\n1,2,3,977777770\n", "a.csv"),
        path_of(f"{head}\n1,3,3\n", "b.csv"),
        path_of(f"{head},time\n1,4,3,\n", "c.csv"),
    ]
    with pytest.warns(UserWarning, match="2 of 3 files have none that can be read.*line 2"):
        assert read_ratings(paths).timestamps is None
    with pytest.warns(UserWarning, match="1 of 2 files have none"):
        assert read_ratings(paths[1::-1]).timestamps is None
    assert read_ratings(paths[1:2]).timestamps is None


@pytest.mark.parametrize("command", ["convert", "train", "train -q", "peek"])
def test_the_command_line_tells_it_once(path_of, tmp_path, command):
    rows = "".join(f"{n % 4},{n},{n % 5},{'' if n == 7 else 977777770 + n}\n" for n in range(20))
    path = path_of("user,item,rating,timestamp\n" + rows)
    name, *flags = command.split()
    if name == "convert":
        flags = [str(tmp_path / "out.parquet")]
    if name == "train":
        flags += ["--n-epochs", "1", "--n-factors", "2"]
    done = CliRunner().invoke(app, [name, str(path), *flags])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert said.count("was taken for the timestamps and left out") == 1
    assert "line 9: the timestamp is missing" in said
    assert "--timestamp-column timestamp" in said


def test_good_timestamps_are_read_without_a_word(path_of):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        times = read_ratings(
            path_of("user,item,rating,date\n1,2,3, 2024-05-31\n1,3,4,2024-06-01\n")
        )
    assert np.diff(times.timestamps).tolist() == [86400]


# Of several columns for the timestamps, the first of a common name that holds any

SEVERAL_TIMES = {
    "hours": ({"date": "2024-05-31", "time": "10:00"}, "date"),
    "words": ({"timestamp": "last week", "created_at": 977777770}, "created_at"),
    "the third": (
        {"date": "soon", "time": "9:30 am", "datetime": "2024-05-31T09:30:00"},
        "datetime",
    ),
    "the usual": ({"date": "2024-05-31", "timestamp": 977777770}, "timestamp"),
}


@pytest.mark.parametrize(("times", "name"), SEVERAL_TIMES.values(), ids=SEVERAL_TIMES)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "pandas", "arrow"])
def test_the_first_named_column_that_holds_times_is_taken(tmp_path, times, name, kind):
    row = {"user": 1, "item": 2, "rating": 3.5, **times}
    frame = pd.DataFrame([row, {**row, "item": 3}])
    path = tmp_path / f"r.{kind}"
    write = {
        "csv": lambda: frame.to_csv(path, index=False),
        "tsv": lambda: frame.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: frame.to_json(path, orient="records", lines=True),
        "parquet": lambda: frame.to_parquet(path),
    }
    if kind in write:
        write[kind]()
        ratings, expected = read_ratings(path), read_ratings(path, timestamp=name)
        assert wf.peek(path).columns[name] == "timestamp"
    else:
        table = frame if kind == "pandas" else pa.table(frame)
        ratings = Ratings.from_frame(table)
        expected = Ratings.from_frame(table, timestamp=name)
    assert ratings.timestamps.tolist() == expected.timestamps.tolist()


def test_where_no_named_column_holds_times_the_first_is_told(path_of):
    path = path_of("user,item,rating,date,time\n1,2,3,May,10:00\n1,3,4,June,11:00\n")
    with pytest.warns(UserWarning, match=r"column 'time' .* \(line 2: the timestamp '10:00'"):
        assert read_ratings(path).timestamps is None


def test_datetime_objects_of_hours_are_no_times():
    import datetime

    frame = pd.DataFrame({"user": [1], "item": [2], "rating": [3], "time": [datetime.time(10)]})
    with pytest.warns(UserWarning, match="timestamp column 'time'.*left out"):
        assert Ratings.from_frame(frame).timestamps is None
    frame["date"] = pd.to_datetime(["2024-05-31"])
    assert Ratings.from_frame(frame).timestamps.tolist() == [1717113600]


# Blanks that are a part of all ids

BLANKS = {
    "behind commas": ("1, 2, 3\n1, 3, 4\n", "all item ids begin or end with a blank, such as ' 2'"),
    "around": ("1 | 2 | 3\n2 | 3 | 4\n", "all user and item ids begin or end"),
    "names": ("user;item;rating\n ann;x;3\n bob;y;4\n", "all user ids begin .* such as ' ann'"),
    "behind": ("u,i,stars\n1,x ,3\n2,y\t,4\n", "all item ids begin or end .* such as 'x '"),
}


@pytest.mark.parametrize(("text", "message"), BLANKS.values(), ids=BLANKS)
def test_blanks_of_all_ids_are_told_once(path_of, text, message):
    path = path_of(text)
    for read in (read_ratings, read_pairs):
        with pytest.warns(UserWarning, match=f"{message}.*: pass strip=True") as told:
            read(path)
        assert len(told) == 1
    assert len(read_ratings(path, ids="str")) == 2
    ratings = read_ratings(path, strip=True)
    assert not any(str(id) != str(id).strip() for id in (*ratings.user_ids, *ratings.item_ids))
    done = CliRunner().invoke(app, ["convert", str(path), str(path.with_suffix(".parquet"))])
    assert done.output.count("begin or end with a blank") == 1
    assert "--strip" in done.output


@pytest.mark.parametrize(
    "text", ["1, 2,3\n1,3,4\n", "ann,x y,3\nbob,z,4\n", "1, x,3\n1,y ,4\n1,z,5\n"]
)
def test_blanks_of_some_ids_are_read_as_they_are(path_of, text):
    assert len(read_ratings(path_of(text))) >= 2


@pytest.mark.parametrize("bad", [None, "soon", True, "2024-05-32"])
@pytest.mark.parametrize("end", ["", "[]"])
def test_objects_without_a_time_are_left_out_as_the_warning_says(path_of, bad, end):
    records = [
        {"user": n, "item": 7, "rating": 3, "time": bad if n == 1 else "2024-05-31"}
        for n in range(3)
    ]
    text = json.dumps(records) if end else "\n".join(map(json.dumps, records))
    path = path_of(text, "r.jsonl")
    with pytest.warns(UserWarning, match="pass timestamp='time' .* and on_error='skip'"):
        assert read_ratings(path).timestamps is None
    with pytest.raises(ValueError, match=r"(line|entry) 2 has (no|the) timestamp"):
        read_ratings(path, timestamp="time")
    with pytest.warns(UserWarning, match="1 of 3 rows left out"):
        kept = read_ratings(path, timestamp="time", on_error="skip")
    assert kept.timestamps.tolist() == [1717113600] * 2
