"""Ratings that fit reads in parts: the model of read_ratings, and nothing left behind."""

from __future__ import annotations

import gzip
import os
import pickle
import resource
import shutil
import sys
import uuid
from collections import namedtuple
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet
import pytest

import warpfactor as wf
from shell import succeed, warpfactor
from warpfactor.data import numbering, scan, stored
from warpfactor.training import streams

RNG = np.random.default_rng(17)
N, USERS, ITEMS = 900, 60, 40
USER, ITEM = RNG.integers(0, USERS, N) * 3 + 5, RNG.integers(0, ITEMS, N) + 1
STARS = RNG.integers(1, 11, N) / 2
# Nothing is searched for.
PLAIN = {
    "n_factors": 1,
    "n_epochs": 1,
    "n_threads": 1,
    "reg": 0.1,
    "reg_bias": 0.1,
    "reg_row": 0.0,
    "reg_bias_row": 0.0,
    "learning_rate": 0.01,
    "init": 0.1,
    "implicit_feedback": "none",
}
PARTS = (slice(0, 300), slice(300, 301), slice(301, N))
HEADER = "userId,movieId,rating\n"


def estimator(**params) -> wf.MatrixFactorization:
    how = {"n_factors": 3, "n_epochs": 2, "random_state": 4, "verbose": 0, "n_threads": 2}
    return wf.MatrixFactorization(**how | params)


def same(model: wf.Model, expected: wf.Model) -> bool:
    """Whether two models have the same bits, ids, history and seen items."""
    arrays = ("user_factors_", "item_factors_", "user_biases_", "user_counts_", "item_counts_")
    for name in ("user_ids_", "item_ids_"):
        mine, theirs = getattr(model, name), getattr(expected, name)
        assert mine.dtype == theirs.dtype and mine.tolist() == theirs.tolist(), name
        assert set(map(type, mine)) == set(map(type, theirs)), name
    for mine, theirs in zip(model.seen_, expected.seen_, strict=True):
        assert np.array_equal(mine, theirs)
    for mine, theirs in zip(model.history_, expected.history_, strict=True):
        assert np.array_equal(list(mine.values())[2:], list(theirs.values())[2:], equal_nan=True)
    assert (model.n_ratings_, model.rating_range_) == (expected.n_ratings_, expected.rating_range_)
    return all(
        np.array_equal(getattr(model, name), getattr(expected, name)) for name in arrays
    ) and (model.global_mean_ == expected.global_mean_)


@pytest.fixture
def scratch(tmp_path):
    """A folder for scratch files, which must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    n_open = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    yield folder
    assert os.listdir(folder) == []
    if n_open:
        held = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds()]
        assert not [path for path in held if str(folder) in path]


def fds() -> list[str]:
    """The open files, but for the one that lists them."""
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]


def table(part: slice = slice(None), user=USER, item=ITEM) -> pa.Table:
    return pa.table({"userId": user[part], "movieId": item[part], "rating": STARS[part]})


def text(part: slice, user=USER, item=ITEM, header: str = HEADER, sep: str = ",") -> str:
    rows = zip(user[part], item[part], STARS[part], strict=True)
    return header + "".join(sep.join(map(str, row)) + "\n" for row in rows)


def texts_of(values) -> np.ndarray:
    return np.array([f"no {value}" for value in values], object)


UUIDS = pa.array([uuid.UUID(int=int(u) << 90).bytes for u in USER], pa.binary(16))
COLUMNS = {
    "int64": USER,
    "int32": pa.array(USER, pa.int32()),
    "uint8": pa.array(USER, pa.uint8()),
    "far apart": USER * 10**12,
    "strings": texts_of(USER),
    "large strings": pa.array(texts_of(USER), pa.large_string()),
    "bytes": pa.array([str(u).encode() for u in USER], pa.binary()),
    "dictionary": pa.array(texts_of(USER)).dictionary_encode(),
    "floats": USER.astype(float),
    "decimals": pa.array(USER.tolist(), pa.decimal128(20, 0)),
    "uuids": pa.ExtensionArray.from_storage(pa.uuid(), UUIDS),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_any_type_give_the_ids_and_bits_of_read_ratings(kind, tmp_path, scratch):
    column = COLUMNS[kind]
    column = column if isinstance(column, pa.Array) else pa.array(column)
    whole = pa.table({"userId": column, "movieId": ITEM, "rating": STARS})
    folder = tmp_path / "ratings"
    folder.mkdir()
    for number, part in enumerate(PARTS):
        rows = whole.slice(part.start, part.stop - part.start)
        pa.parquet.write_table(rows, folder / f"{number}.parquet", row_group_size=128)
    expected = estimator().fit(wf.read_ratings(folder)).model_
    assert same(estimator().fit(folder, scratch=scratch).model_, expected)
    assert same(estimator().fit(folder).model_, expected)
    batches = whole.to_batches(max_chunksize=97)
    if kind != "bytes":  # of which only files are known to mean text
        assert same(estimator().fit(batches, scratch=scratch).model_, expected)


def write_orc(rows: pa.Table, path: Path) -> None:
    pa.orc.write_table(rows, path, stripe_size=1024)


def write_ipc(rows: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, rows.schema) as file:
        for batch in rows.to_batches(max_chunksize=50):
            file.write(batch)


WRITERS = {
    "feather": lambda rows, path: pa.feather.write_feather(rows, path, chunksize=64),
    "arrows": write_ipc,
    "orc": write_orc,
    "npz": lambda rows, path: np.savez(
        path, users=rows["userId"], items=rows["movieId"], ratings=rows["rating"]
    ),
    "jsonl": lambda rows, path: path.write_text(
        "".join(
            f'{{"userId": {u}, "movieId": {i}, "rating": {r}}}\n'
            for u, i, r in zip(*(c.to_pylist() for c in rows.columns), strict=True)
        )
    ),
    "csv": lambda rows, path: pa.csv.write_csv(rows, path),
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_of_any_format_give_the_bits_of_read_ratings(suffix, tmp_path, scratch):
    paths = [tmp_path / f"{number}.{suffix}" for number in range(len(PARTS))]
    for part, path in zip(PARTS, paths, strict=True):
        WRITERS[suffix](table(part), path)
    expected = estimator().fit(wf.read_ratings(paths)).model_
    assert same(estimator().fit(paths, scratch=scratch).model_, expected)
    one = estimator().fit(wf.read_ratings(paths[2])).model_
    assert same(estimator().fit(str(paths[2]), scratch=scratch).model_, one)


def mixed_texts() -> list[str]:
    """The ids of the first file are integers, and one of the last file's is none."""
    some = np.array([*USER[:-1].astype(object), "007"], object)
    return [text(part, some) for part in PARTS]


TEXTS = {
    "integers": [text(part) for part in PARTS],
    "one is no integer": mixed_texts(),
    "beyond int32": [text(part, USER * 10**11) for part in PARTS],
    "strings": [text(part, texts_of(USER)) for part in PARTS],
    "quotes": [text(part, [f'"a, {u}"' for u in USER]) for part in PARTS],
    "movielens": [text(part, header="", sep="::") for part in PARTS],
    "an empty one": [text(PARTS[0]), "", HEADER, text(PARTS[2])],
    "another order": [
        text(PARTS[0]),
        "rating,movieId,userId\n3.5,7,8\n",
    ],
}


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_texts_give_the_ids_and_bits_of_read_ratings(kind, packed, tmp_path, scratch):
    paths = []
    for number, each in enumerate(TEXTS[kind]):
        paths.append(tmp_path / f"{number}.csv{'.gz' if packed else ''}")
        content = each.encode()
        paths[-1].write_bytes(gzip.compress(content) if packed and content else content)
    expected = estimator().fit(wf.read_ratings(paths)).model_
    assert same(estimator().fit(paths, scratch=scratch).model_, expected)


@pytest.mark.parametrize(
    ("options", "users"),
    [
        ({"ids": "str"}, USER),
        ({"ids": ("str", "int")}, USER),
        ({"ids": "int"}, USER),
        ({"ids": ("uuid", "auto")}, [uuid.UUID(int=int(u) << 80) for u in USER]),
        ({"strip": True}, [f" {u} " for u in USER]),
        ({"strip": True, "ids": "str"}, [f" a{u}" for u in USER]),
        ({"user": "movieId", "item": "userId"}, USER),
        ({"user": 0, "item": 1, "rating": 2}, USER),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_options_of_reading_mean_what_they_mean_there(
    options, users, suffix, tmp_path, scratch
):
    paths = [tmp_path / f"{number}.{suffix}" for number in range(len(PARTS))]
    for part, path in zip(PARTS, paths, strict=True):
        if suffix == "csv":
            path.write_text(text(part, users))
        else:
            given = users if isinstance(users, np.ndarray) else np.array(list(map(str, users)))
            pa.parquet.write_table(table(part, given), path)
    expected = estimator().fit(wf.read_ratings(paths, **options)).model_
    scanned = wf.scan_ratings(paths, **options)
    assert same(estimator().fit(scanned, scratch=scratch).model_, expected)


def test_rows_of_folders_named_by_a_value_have_it(tmp_path, scratch):
    for user in (7, 12, 3):
        folder = tmp_path / "ratings" / f"userId={user}"
        folder.mkdir(parents=True)
        rows = table().filter(pa.compute.equal(table()["userId"], USER[user]))
        pa.parquet.write_table(rows.drop_columns("userId"), folder / "0.parquet")
    expected = estimator().fit(wf.read_ratings(tmp_path / "ratings")).model_
    model = estimator().fit(tmp_path / "ratings", scratch=scratch).model_
    assert same(model, expected) and model.user_ids_.tolist() == [3, 7, 12]


def test_folders_named_by_a_value_are_refused_of_texts(tmp_path, scratch):
    for user in (7, 12):
        folder = tmp_path / "ratings" / f"userId={user}"
        folder.mkdir(parents=True)
        (folder / "0.csv").write_text(text(slice(None)))
    with pytest.raises(ValueError) as expected:
        wf.read_ratings(tmp_path / "ratings")
    with pytest.raises(ValueError, match=r"userId=(7|12) gives the user") as raised:
        estimator().fit(tmp_path / "ratings", scratch=scratch)
    assert str(raised.value) == str(expected.value)


def test_a_list_of_files_of_several_formats_is_one_set(tmp_path, scratch):
    paths = [tmp_path / "0.parquet", tmp_path / "1.feather"]
    pa.parquet.write_table(table(PARTS[0]), paths[0])
    pa.feather.write_feather(table(PARTS[2]), paths[1])
    expected = estimator().fit(wf.read_ratings(paths)).model_
    assert same(estimator().fit(paths, scratch=scratch).model_, expected)


SOURCES = {
    "a data set": lambda rows: pa.dataset.dataset(rows),
    "a scanner": lambda rows: pa.dataset.dataset(rows).scanner(batch_size=100),
    "a list of batches": lambda rows: rows.to_batches(max_chunksize=111),
    "a list of tables": lambda rows: [rows.slice(0, 500), rows.slice(500, 0), rows.slice(500)],
    "a generator": lambda rows: (batch for batch in rows.to_batches(max_chunksize=111)),
    "a reader": lambda rows: rows.to_reader(max_chunksize=50),
    "pandas in parts": lambda rows: iter([rows.slice(0, 9).to_pandas(), rows.slice(9).to_pandas()]),
    "an object": lambda rows: Again(rows),
}


class Again:
    """What gives batches as often as it is asked."""

    def __init__(self, rows: pa.Table) -> None:
        self._rows = rows

    def __iter__(self):
        yield from self._rows.to_batches(max_chunksize=200)


@pytest.mark.parametrize("kind", SOURCES)
def test_data_sets_and_iterables_of_tables_give_the_bits_of_a_table(kind, scratch, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setattr(stored, "_MOUNTS", Path("/nowhere"))
    expected = estimator().fit(table()).model_
    assert same(estimator().fit(SOURCES[kind](table())).model_, expected)
    assert same(estimator().fit(SOURCES[kind](table()), scratch=scratch).model_, expected)


@pytest.mark.parametrize("kind", ["path", "data set", "scan", "generator"])
@pytest.mark.parametrize("on_disk", [True, False])
def test_validation_ratings_come_from_what_ratings_come_from(kind, on_disk, tmp_path, scratch):
    train, held_out = table(slice(0, 700)), table(slice(700, N))
    file = tmp_path / "held_out.parquet"
    pa.parquet.write_table(held_out, file)
    validation = {
        "path": lambda: file,
        "data set": lambda: pa.dataset.dataset(file),
        "scan": lambda: wf.scan_ratings(file),
        "generator": lambda: (held_out.slice(at, 60) for at in range(0, 200, 60)),
    }[kind]
    how = {"early_stopping": 2, "n_epochs": 6}
    expected = estimator(**how).fit(train, validation=held_out).model_
    given = {"scratch": scratch} if on_disk else {}
    fitted = estimator(**how).fit(train, validation=validation(), **given)
    assert same(fitted.model_, expected)
    # All ratings again in the end: the validation ratings are read once.
    if not on_disk:
        again = estimator(**how, refit=True).fit(train, validation=validation())
        assert same(
            again.model_, estimator(**how, refit=True).fit(train, validation=held_out).model_
        )


def test_a_data_set_of_files_is_read_column_by_column(tmp_path, scratch):
    rows = table().append_column("comment", pa.array(["x" * 100] * N))
    pa.parquet.write_table(rows, tmp_path / "0.parquet", row_group_size=100)
    pa.parquet.write_table(rows, tmp_path / "1.parquet", row_group_size=100)
    dataset = pa.dataset.dataset([tmp_path / "0.parquet", tmp_path / "1.parquet"])
    expected = estimator().fit(dataset.to_table()).model_
    assert same(estimator().fit(dataset, scratch=scratch).model_, expected)
    named = wf.scan_ratings(dataset, user="movieId", item="userId")
    swapped = wf.Ratings.from_frame(dataset.to_table(), user="movieId", item="userId")
    assert same(estimator().fit(named, scratch=scratch).model_, estimator().fit(swapped).model_)


def test_row_numbers_are_not_numbered_and_rows_without_ratings_stay(tmp_path, scratch):
    pa.parquet.write_table(table(), tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_text(text(slice(None)))
    shape = (int(USER.max()) + 3, int(ITEM.max()) + 2)
    ids = [np.arange(n) for n in shape]
    ratings = wf.Ratings(USER.astype(np.int32), ITEM.astype(np.int32), STARS, *ids)
    expected = estimator().fit(ratings).model_
    for name in ("r.parquet", "r.csv"):
        scanned = wf.scan_ratings(tmp_path / name, shape=shape)
        assert same(estimator().fit(scanned, scratch=scratch).model_, expected)
    for source in (tmp_path / "r.parquet", tmp_path / "r.csv", [table()]):
        scanned = wf.scan_ratings(source, shape=(100, 100))
        with pytest.raises(
            ValueError, match=r"holds \d+ at position \d+, and shape says that there are 100"
        ):
            estimator().fit(scanned, scratch=scratch)
    with pytest.raises(ValueError, match="holds strings, and with shape ids are row numbers"):
        texts = [table(user=texts_of(USER))]
        estimator().fit(wf.scan_ratings(texts, shape=shape), scratch=scratch)


@pytest.mark.parametrize(
    "given",
    [
        {"validation": 0.2},
        {"validation": (np.stack([USER, ITEM], 1)[:50], STARS[:50])},
        {"sample_weight": np.where(np.arange(N) % 7 == 0, 0, 1.5)},
        {"sample_weight": RNG.random(N), "validation": 0.3},
        {"implicit": np.stack([USER[::-1], ITEM], 1)},
    ],
)
@pytest.mark.parametrize("params", [{}, {"early_stopping": 1, "n_epochs": 30}])
def test_what_fit_is_given_beside_the_ratings_means_the_same(given, params, scratch):
    expected = estimator(**params).fit(table(), **given).model_
    batches = table().to_batches(max_chunksize=77)
    assert same(estimator(**params).fit(batches, scratch=scratch, **given).model_, expected)


def test_refit_trains_on_the_drawn_ratings_too(scratch):
    how = {"refit": True, "validation_fraction": 0.2, "n_epochs": 20}
    expected = estimator(**how).fit(table()).model_
    assert same(estimator(**how).fit([table()], scratch=scratch).model_, expected)
    with pytest.raises(ValueError, match="refit=True trains on the validation ratings too"):
        estimator(refit=True).fit([table()], scratch=scratch, validation=table())


def test_a_fit_goes_on_from_the_model_before(scratch):
    first, second = estimator(warm_start=True), estimator(warm_start=True)
    for _ in range(2):
        first.fit(table())
        second.fit([table()], scratch=scratch)
        assert same(second.model_, first.model_)


def test_ratings_in_memory_may_be_kept_on_the_disk_too(scratch):
    ratings = wf.Ratings.from_frame(table())
    expected = estimator().fit(ratings).model_
    assert same(estimator().fit(ratings, scratch=scratch).model_, expected)
    assert same(
        estimator().fit(table(), scratch=scratch, validation=0.1).model_,
        estimator().fit(table(), validation=0.1).model_,
    )


def test_doubles_and_other_parameters_pass_through(scratch):
    for params in (
        {"dtype": "float64"},
        {"loss": "absolute"},
        {"optimizer": "adam", "biases": False},
    ):
        expected = estimator(**params).fit(table()).model_
        assert same(estimator(**params).fit([table()], scratch=scratch).model_, expected)


def test_callbacks_see_epochs_and_models_while_no_file_has_a_name(scratch):
    seen = []

    class Look(wf.callbacks.Callback):
        def on_train_begin(self, fit):
            self.fit = fit

        def on_epoch_end(self, record):
            assert os.listdir(scratch) == []
            model = self.fit.model()
            seen.append((record["epoch"], model, model.recommend(int(USER[0]), 3)))

    expected = estimator().fit(table()).model_
    model = estimator(callbacks=[Look()]).fit([table()], scratch=scratch).model_
    assert same(model, expected)
    assert [epoch for epoch, _, _ in seen] == [1, 2]
    # What users rated outlives the disk.
    assert all(np.array_equal(m.seen_[1], expected.seen_[1]) for _, m, _ in seen)


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("when", ["first table", "second table", "epoch"])
def test_errors_and_interrupts_leave_the_disk_and_the_estimator_as_they_were(error, when, scratch):
    def tables():
        if when == "first table":
            raise error
        yield table(PARTS[0])
        if when == "second table":
            raise error
        yield table(PARTS[2])

    def callback(record):
        if when == "epoch":
            raise error

    model = estimator(callbacks=[callback]) if when != "epoch" else estimator()
    model.fit(table())
    before = model.model_
    model.set_params(callbacks=[callback])
    with pytest.raises(error):
        model.fit(tables(), scratch=scratch)
    assert model.model_ is before


def big(n: int) -> pa.Table:
    """Ratings of which 16 MiB hold fewer pairs."""
    users = (np.arange(n, dtype=np.int64) * 2_654_435_761 % 5003).astype(np.int32)
    return pa.table(
        {
            "user": users,
            "item": np.arange(n, dtype=np.int32) % 101,
            "rating": STARS.astype(np.float32)[np.arange(n) % N],
        }
    )


def test_what_users_rated_is_kept_if_the_buffer_holds_it_and_else_missed_in_words(
    tmp_path, scratch
):
    rows = big(2**21 + 100)
    source = wf.scan_ratings([rows], shape=(5003, 101))
    least = 2**24
    model = estimator(**PLAIN).fit(source, scratch=scratch, buffer=least).model_
    assert not len(model.seen_[1])
    copies = [model, pickle.loads(pickle.dumps(model))]
    model.save(tmp_path / "m.safetensors")
    copies.append(wf.load(tmp_path / "m.safetensors"))
    for each in copies:
        assert len(each.recommend(5, 3, exclude_seen=False)[0]) == 3
        with pytest.raises(ValueError, match=r"does not know what users rated.*with_seen_only"):
            each.recommend(5, 3)
        with pytest.raises(ValueError, match="does not know what users rated"):
            each.with_seen(wf.Ratings.from_frame(rows))
        told = each.with_seen_only(wf.Ratings.from_frame(rows.slice(0, 1000)))
        assert len(told.recommend(int(rows["user"][0].as_py()), 3)[0]) == 3
        grown = each.fold_in_users(wf.Ratings.from_arrays([9000], [4], [3.0]))
        with pytest.raises(ValueError, match="does not know what users rated"):
            grown.recommend(9000)
    kept = estimator(**PLAIN).fit(source, scratch=scratch, buffer=least + 800).model_
    expected = (
        estimator(**PLAIN)
        .fit(
            wf.Ratings(
                rows["user"].to_numpy(),
                rows["item"].to_numpy(),
                rows["rating"].to_numpy(),
                np.arange(5003),
                np.arange(101),
            )
        )
        .model_
    )
    assert same(kept, expected)
    assert np.array_equal(model.user_factors_, expected.user_factors_)


# Files with rows that cannot be read.

BAD = {
    "no rating": ("5,1,\n", "line 1802: the rating is missing"),
    "no user": (",1,3\n", "line 1802: the user is missing"),
    "too few fields": ("5,1\n", "line 1802"),
    "no number": ("5,1,x\n", "line 1802: the rating 'x' is not a number"),
    "only here": ("abc,99999,\n", "line 1802"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_row_that_cannot_be_read_is_named_or_left_out_with_its_ids(kind, tmp_path, scratch):
    row, shown = BAD[kind]
    good = text(slice(None))
    paths = [tmp_path / "0.csv", tmp_path / "1.csv"]
    paths[0].write_text(good)
    paths[1].write_text(good + text(slice(None), header="") + row + "77777,5,1\n")
    with pytest.raises(ValueError, match=shown) as raised:
        estimator().fit(paths, scratch=scratch)
    with pytest.raises(ValueError) as expected:
        wf.read_ratings(paths)
    assert str(raised.value) == str(expected.value)
    with pytest.warns(UserWarning) as warned:
        ratings = wf.read_ratings(paths, on_error="skip")
    with pytest.warns(UserWarning) as told:
        model = estimator().fit(wf.scan_ratings(paths, on_error="skip"), scratch=scratch).model_
    assert str(told[0].message) == str(warned[0].message)
    assert same(model, estimator().fit(ratings).model_)
    assert model.user_ids_.dtype == np.int64


def test_rows_of_a_file_are_taken_back_after_many_were_written(tmp_path, scratch):
    """The fault comes in a later part of the file than the first."""
    (tmp_path / "r.csv").write_text(
        HEADER + "".join(f"{u},{u % 50},{u % 5 + 1}\n" for u in range(150_000)) + "x,5,oops\n"
    )
    scanned = wf.scan_ratings(tmp_path / "r.csv", on_error="skip")
    with pytest.warns(UserWarning, match="1 of 150,001 rows left out"):
        model = estimator(**PLAIN).fit(scanned, scratch=scratch).model_
    assert model.user_ids_.dtype == np.int64 and len(model.user_ids_) == 150_000


def test_missing_values_of_typed_columns_are_named_by_their_row(tmp_path, scratch):
    users = pa.array([*USER[:200], None, *USER[201:]], pa.int64())
    rows = pa.table({"userId": users, "movieId": ITEM, "rating": STARS})
    pa.parquet.write_table(rows, tmp_path / "r.parquet", row_group_size=64)
    with pytest.raises(
        ValueError,
        match=r"r.parquet: user column 'userId': 1 missing value\(s\), the first in row 200",
    ):
        estimator().fit(tmp_path / "r.parquet", scratch=scratch)
    scanned = wf.scan_ratings(tmp_path / "r.parquet", on_error="skip")
    with pytest.warns(UserWarning, match="1 of 900 rows left out"):
        model = estimator().fit(scanned, scratch=scratch).model_
    with pytest.warns(UserWarning):
        expected = estimator().fit(wf.read_ratings(tmp_path / "r.parquet", on_error="skip")).model_
    assert same(model, expected)


def test_a_damaged_file_is_named(tmp_path, scratch):
    pa.feather.write_feather(table(), tmp_path / "r.feather", compression="uncompressed")
    whole = bytearray((tmp_path / "r.feather").read_bytes())
    (tmp_path / "r.feather").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"r\.feather"):
        estimator().fit(tmp_path / "r.feather", scratch=scratch)


# What is refused, and how.


def test_sources_that_are_none_are_told_what_to_be(tmp_path, scratch):
    cases = {
        "gives int 1;? ?.*must give record batches or tables": iter([1, 2]),
        "has the columns .* those before have": iter(
            [table(), table().rename_columns(["a", "b", "c"])]
        ),
        "holds ids of another kind than what was read before, integers and strings: pass ids='str'": iter(
            [table(), table(user=texts_of(USER))]
        ),
        "gives no ratings": iter([]),
        "cannot tell which column": [
            table()
            .rename_columns(["a", "b", "c"])
            .append_column("d", table()["rating"])
            .append_column("e", table()["rating"])
        ],
    }
    for message, X in cases.items():
        with pytest.raises(ValueError, match=message):
            estimator().fit(X, scratch=scratch)
    with pytest.raises(ValueError, match="holds the ratings itself: pass no y"):
        estimator().fit([table()], STARS, scratch=scratch)
    with pytest.raises(FileNotFoundError):
        estimator().fit(tmp_path / "nowhere", scratch=scratch)
    for X in ({1: 2}, 5, [1, 2], [(1, 2, 3.0)]):
        with pytest.raises(ValueError, match="X is"):
            estimator().fit(X)


def test_scan_ratings_says_what_does_not_belong(tmp_path):
    cases = [
        (lambda: wf.scan_ratings(table()), "what is in memory goes to fit as it is"),
        (lambda: wf.scan_ratings([table()], sep=";"), "sep is given, which is for files"),
        (
            lambda: wf.scan_ratings([table()], on_error="skip"),
            "on_error is given, which is for files",
        ),
        (lambda: wf.scan_ratings("a", format="nope"), "format is 'nope'"),
        (lambda: wf.scan_ratings("a", shape=5), r"shape is 5; it must be \(n_users, n_items\)"),
        (lambda: wf.scan_ratings("a", shape=(0, 5)), "shape is 0; it must be at least 1"),
        (lambda: wf.scan_ratings("a", shape=(1, 5), ids="str"), "shape and ids are given"),
    ]
    for make, message in cases:
        with pytest.raises(ValueError, match=message):
            make()
    assert repr(wf.scan_ratings(["a", "b"])) == "RatingsScan(a, b)"


def test_scratch_and_buffer_are_checked_before_anything_is_read(tmp_path, scratch):
    read = []

    def tables():
        read.append(1)
        yield table()

    (tmp_path / "file").write_text("")
    cases = [
        ({"scratch": tmp_path / "none"}, "scratch is '.*none', which does not exist"),
        ({"scratch": tmp_path / "file"}, "scratch is '.*file', which is a file"),
        ({"scratch": 5}, "scratch is 5; it must be a folder, or True"),
        ({"scratch": False}, "scratch is False, and X"),
        ({"scratch": scratch, "buffer": 10}, r"buffer is 10; it must be at least \d+"),
        ({"scratch": scratch, "buffer": 1e9}, "buffer is 1000000000.0; it must be an integer"),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=message):
            estimator().fit(tables(), **given)
    for params, message in (
        ({"batch_size": 100}, "batch_size is 100; it must be 0"),
        ({"optimizer": "gd"}, "optimizer is gd; it must be another one"),
    ):
        with pytest.raises(ValueError, match=message):
            estimator(**params).fit(tables(), scratch=scratch)
    assert read == []
    with pytest.raises(ValueError, match="buffer is given, and X is in memory: give scratch too"):
        estimator().fit(table(), buffer=2**30)


def test_a_device_that_cannot_be_used_is_told_before_anything_is_read(scratch, monkeypatch):
    def never():
        raise AssertionError("was read")
        yield

    monkeypatch.setattr(
        streams._core, "cuda_status", lambda: (False, False, "none is here: use device='cpu'")
    )
    with pytest.raises(wf.CudaError, match="none is here: use device='cpu'"):
        estimator(device="cuda").fit(never(), scratch=scratch)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    with pytest.raises(ValueError, match="which cannot be written to"):
        estimator().fit([table()], scratch=folder)


def test_the_system_s_folder_is_on_a_disk(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"disk / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")
    monkeypatch.setattr(stored, "_MOUNTS", mounts)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with pytest.raises(ValueError, match="lies in memory: pass scratch with a folder on a disk"):
        estimator().fit([table()])
    mounts.write_text("disk / ext4 rw 0 0\n")
    assert stored.scratch_folder(None) == stored.scratch_folder(True) == tmp_path
    monkeypatch.delenv("TMPDIR")
    mounts.write_text("disk / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n")
    if Path("/var/tmp").is_dir():
        assert stored.scratch_folder(None) == Path("/var/tmp")


def test_a_disk_that_is_too_small_is_refused_with_the_figures(tmp_path, scratch, monkeypatch):
    pa.parquet.write_table(table(), tmp_path / "r.parquet")
    (tmp_path / "r.csv").write_text(text(slice(None)))
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**6, 10**6, 5000))
    for name in ("r.parquet", "r.csv"):
        message = r"holds (about )?\d+ ratings, which needs [\d,]+ bytes in the folder '.*scratch', whose disk has 5,000 bytes free"
        with pytest.raises(OSError, match=message):
            estimator().fit(tmp_path / name, scratch=scratch)
    with pytest.raises(OSError, match="training on 900 ratings needs"):
        estimator().fit([table()], scratch=scratch)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_a_disk_that_becomes_full_is_named(scratch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(
            OSError, match=r"what is read so far needs 10,800 bytes in the folder '.*scratch'"
        ):
            estimator().fit([table()], scratch=scratch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_ids_that_do_not_fit_into_memory_are_refused_with_the_figure(scratch, monkeypatch):
    monkeypatch.setattr(scan, "available_memory", lambda: 10_000)
    monkeypatch.setattr(scan, "_BETWEEN_LOOKS", 100)
    message = r"after 900 ratings there are \d+ users and 40 items, which with a model take"
    with pytest.raises(MemoryError, match=message):
        estimator(n_factors=500).fit([table()], scratch=scratch)
    with pytest.raises(
        MemoryError, match="2,000,000,000 users and 40 items, which with a model take"
    ):
        estimator().fit(wf.scan_ratings([table()], shape=(2 * 10**9, 40)), scratch=scratch)
    with pytest.raises(ValueError, match="scratch is ''; it must be a folder"):
        estimator().fit([table()], scratch="")
    monkeypatch.setattr(streams, "available_memory", lambda: 8000)
    with pytest.raises(MemoryError, match="drawing among 900 ratings takes"):
        estimator().fit([table(PARTS[2])] and [table()], scratch=scratch, validation=0.1)


# Numbering by itself.


@pytest.mark.parametrize("far_from", [None, 0, 3, 5])
@pytest.mark.parametrize("low", [0, -70_000, 2**31 - 90_000, 10**12])
@pytest.mark.parametrize("kept", [6, 4, 2])
def test_integers_are_numbered_as_a_whole_however_far_apart_they_are(far_from, low, kept):
    rng = np.random.default_rng(3)
    parts = [low + rng.integers(0, 1000 * 9**n % 80_000, 500) for n in range(6)]
    if far_from is not None:
        parts[far_from][17] = -(2**40)
    ids = numbering.Vocabulary()
    codes = []
    for part in parts:
        codes.append(ids.add(part, "user"))
    rows = None
    if kept < 6:
        ids.forget(500 * kept)
        parts, codes = parts[:kept], codes[:kept]
        rows = lambda: ((500 * n, part) for n, part in enumerate(codes))
    done = ids.finish(rows)
    got = np.concatenate([done.positions(part, 500 * n) for n, part in enumerate(codes)])
    expected, positions = np.unique(np.concatenate(parts), return_inverse=True)
    assert np.array_equal(done.ids, expected) and done.ids.dtype == np.int64
    assert np.array_equal(got, positions) and got.dtype == np.int32
    # The same in one part.
    assert np.array_equal(done.positions(np.concatenate(codes), 0), got)


# The spool by itself.


def test_a_spool_of_several_files_gives_back_what_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "_STRETCH", 64)
    monkeypatch.setattr(stored, "_CHUNK", 16)
    spool = stored.Spool(tmp_path)
    columns = [np.arange(300, dtype=np.int32), np.arange(300, dtype=np.int32)[::-1].copy()]
    values = np.linspace(0, 1, 300, dtype=np.float32)
    for begin, end in ((0, 10), (10, 10), (10, 150), (150, 300)):
        spool.append(*(column[begin:end] for column in (*columns, values)))
    spool.cut(100)
    spool.append(*(column[100:] for column in (*columns, values)))
    got = [
        np.concatenate(each)
        for each in zip(*(spool.read(*at) for at in spool.chunks()), strict=True)
    ]
    for mine, theirs in zip(got, (*columns, values), strict=True):
        assert np.array_equal(mine, theirs)
    side = stored.Numbered(np.arange(300), None)
    turned = stored.Numbered(np.arange(300), columns[1])
    ratings = stored.StoredRatings(spool, side, turned)
    left_out = np.arange(300) % 7 == 3
    rest = ratings.without(left_out)
    users, items, values_of, weights = (
        np.concatenate(each)
        for each in zip(*rest.chunks(np.arange(len(rest), dtype=np.float32)), strict=True)
    )
    assert np.array_equal(users, columns[0][~left_out]) and np.array_equal(items, users)
    assert np.array_equal(values_of, values[~left_out])
    assert np.array_equal(weights, np.arange(len(rest)))
    # The last time, files are closed on the way, and reading what is gone is an error.
    assert sum(len(chunk[0]) for chunk in ratings.chunks(last=True)) == 300
    with pytest.raises(ValueError, match="closed"):
        next(iter(ratings.chunks()))


# What is shown.


def test_reading_is_told_of_in_lines(tmp_path, scratch, capsys):
    pa.parquet.write_table(table(), tmp_path / "r.parquet")
    estimator(verbose=2).fit(tmp_path / "r.parquet", scratch=scratch)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("scratch: 900 ratings take up to 0.00 GB in '")
    assert lines[1].startswith("read 900 ratings in ")
    assert any(line.startswith("epoch 1/2") for line in lines)
    estimator(verbose=1).fit(tmp_path / "r.parquet", scratch=scratch)
    assert capsys.readouterr().err == ""


def test_the_command_line_trains_the_same_model_from_disk(tmp_path, scratch):
    (tmp_path / "r.csv").write_text(text(slice(None)))
    options = ["-k", "3", "--n-epochs", "2", "--seed", "4", "--sep", ","]
    models = []
    for name, more in (("a", []), ("b", ["--scratch", str(scratch)])):
        path = tmp_path / f"{name}.safetensors"
        done = succeed("train", tmp_path / "r.csv", *options, *more, "-o", path)
        models.append(wf.load(path))
    assert same(models[1], models[0])
    assert "kept on the disk of" in done.out
    for more, message in (
        (["--test-size", "0.1"], "--test-size needs the ratings in memory"),
        (["--validation-size", "100"], "make --validation-size a fraction"),
        (["--validation-size", "1.5"], "--validation-size is 1.5; it must be above 0 and below 1"),
        (["--buffer", "9"], "--buffer is 9; it must be at least"),
    ):
        done = warpfactor("train", tmp_path / "r.csv", *options, "--scratch", str(scratch), *more)
        assert done.code == 1 and message in done.err, done
    done = warpfactor("train", tmp_path / "r.csv", "--buffer", "99999999")
    assert "--buffer is given, and ratings are in memory: add --scratch" in done.err
