"""Saving and loading: whole, honest about damage, never half a file."""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import zlib
from datetime import UTC, datetime

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import warpfactor as wf
from warpfactor.model import file as model_file
from warpfactor.model.model import Model


@pytest.fixture(scope="module")
def model():
    data = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    return wf.MatrixFactorization(
        n_factors=5, n_epochs=3, verbose=0, random_state=3, reg=0.2, callbacks=[print], unknown="nan"
    ).set_params(callbacks=[]).fit(data, validation=data)  # fmt: skip


@pytest.fixture
def path(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_a_loaded_model_is_the_saved_one(model, path):
    loaded = wf.load(path)
    X = np.c_[np.repeat(model.user_ids_, 3), np.tile(model.item_ids_[:3], len(model.user_ids_))]
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    for mine, theirs in zip(
        loaded.recommend(model.user_ids_), model.recommend(model.user_ids_), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    mine, theirs = loaded.get_params(), model.get_params()
    assert {k: v for k, v in mine.items() if k != "callbacks"} == {
        k: v for k, v in theirs.items() if k != "callbacks"
    }
    assert loaded.history_ == model.history_
    assert loaded.n_epochs_ == model.n_epochs_
    estimator = wf.MatrixFactorization.from_model(loaded)
    assert estimator.predict(X).tobytes() == model.predict(X).tobytes()
    estimator.fit(X[:5], np.arange(5.0))  # an estimator like any other
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()


def test_the_file_is_plain_safetensors(model, path):
    tensors = load_file(path)
    assert tensors["user_factors"].tobytes() == model.user_factors_.tobytes()


def test_what_cannot_be_stored_falls_back_to_its_default(model, tmp_path):
    odd = wf.MatrixFactorization(
        n_factors=2, n_epochs=1, verbose=0, random_state=np.random.default_rng(0),
        callbacks=[lambda record: None], init=(np.ones((2, 2)), np.ones((2, 2))), dtype=np.float64,
    ).fit([(0, 0), (1, 1)], [1, 2])  # fmt: skip
    odd.save(tmp_path / "odd.safetensors")
    loaded = wf.load(tmp_path / "odd.safetensors")
    defaults = wf.MatrixFactorization().get_params()
    for name in ("random_state", "callbacks", "init"):
        assert loaded.get_params()[name] == defaults[name]
    assert loaded.user_factors_.dtype == np.float64
    assert loaded.dtype == "float64"


def test_a_crash_while_writing_keeps_the_old_file(model, path, monkeypatch):
    before = path.read_bytes()

    def half(file, tensors, metadata):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(model_file, "_write_tensors", half)
    with pytest.raises(OSError, match="disk full"):
        model.save(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_saving_where_it_cannot_be(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model.save(tmp_path / "nowhere" / "m.safetensors")
    with pytest.raises(IsADirectoryError, match="folder"):
        model.save(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1])
def test_a_truncated_file_is_damaged(path, keep):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(wf.ModelFileError, match="damaged"):
        wf.load(path)


def test_flipped_bits_are_found(path):
    whole = bytearray(path.read_bytes())
    whole[-10] ^= 1
    path.write_bytes(whole)
    with pytest.raises(wf.ModelFileError, match="checksum"):
        wf.load(path)


def test_a_foreign_file_is_named_as_such(path):
    save_file({"a": np.zeros(3)}, path)
    with pytest.raises(wf.ModelFileError, match="no warpfactor model"):
        wf.load(path)
    path.write_text("user,item,rating\n1,2,3\n")
    with pytest.raises(wf.ModelFileError, match="no safetensors file"):
        wf.load(path)


def rewrite_metadata(path, **changes):
    whole = path.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    header["__metadata__"].update(changes)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])


def test_a_later_format_says_update(path):
    rewrite_metadata(path, format_version="99", warpfactor_version="9.9.0")
    with pytest.raises(wf.ModelFileError, match=r"version '99'.*9\.9\.0.*update warpfactor"):
        wf.load(path)


def test_the_optimizers_parameters_are_stored(tmp_path):
    params = {
        "optimizer": "adam", "batch_size": 7, "momentum": 0.0, "adagrad_per": "element",
        "beta_1": 0.5, "beta_2": 0.6, "epsilon": 1e-5, "learning_rate": None,
    }  # fmt: skip
    model = wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0, **params)
    model.fit([(0, 0), (1, 1)], [1, 2]).save(tmp_path / "m.safetensors")
    loaded = wf.load(tmp_path / "m.safetensors")
    assert loaded.get_params() == model.get_params()
    assert loaded.history_[0]["learning_rate"] == model.history_[0]["learning_rate"] == 0.003


def test_a_file_from_before_there_were_these_parameters_loads(model, path):
    later = (
        "batch_size", "momentum", "adagrad_per", "beta_1", "beta_2", "epsilon", "penalty",
        "huber_delta", "l1_ratio", "nonnegative", "device_memory",
    )  # fmt: skip
    params = {
        name: value
        for name, value in model.get_params().items()
        if name not in (*later, "callbacks")
    }
    rewrite_metadata(path, params=json.dumps({**params, "learning_rate": 0.04}))
    loaded = wf.load(path)
    assert loaded.learning_rate == 0.04
    defaults = wf.MatrixFactorization().get_params()
    assert {name: loaded.get_params()[name] for name in later} == {n: defaults[n] for n in later}
    X = np.c_[model.user_ids_[:20], model.item_ids_[:20]]
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()


def test_parameters_of_a_later_version_do_not_keep_a_model_from_answering(model, path):
    rewrite_metadata(path, params=json.dumps({"n_wings": 2}))
    loaded = wf.load(path)
    X = np.c_[model.user_ids_[:20], model.item_ids_[:20]]
    assert loaded.predict(X).tobytes() == model.predict(X).tobytes()
    with pytest.raises(ValueError, match=r"\['n_wings'\].*update warpfactor"):
        wf.MatrixFactorization.from_model(loaded)


def test_a_missing_file_or_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"m\.safetensors"):
        wf.load(tmp_path / "m.safetensors")
    with pytest.raises(wf.ModelFileError, match="folder"):
        wf.load(tmp_path)


def test_seen_pairs_can_be_added(model, path):
    loaded = wf.load(path)
    user = model.user_ids_[4]
    best = loaded.recommend(user, n=1)[0][0]
    extra = wf.Ratings.from_arrays([user, user, 12345], [best, best, best], [1, 1, 1])
    loaded = loaded.with_seen(extra)
    ids, _ = loaded.recommend(user, n=len(model.item_ids_))
    before, _ = model.recommend(user, n=len(model.item_ids_))
    assert best not in ids
    np.testing.assert_array_equal(ids[: (ids >= 0).sum()], before[before >= 0][1:])


@pytest.fixture
def first_format(model, tmp_path):
    """The same model in a file of format 1, as the first warpfactor wrote it."""
    fitted = model.model_
    indptr, seen = fitted.seen_
    tensors = {
        "user_factors": fitted.user_factors_, "item_factors": fitted.item_factors_,
        "user_biases": fitted.user_biases_, "item_biases": fitted.item_biases_,
        "user_known": fitted.user_known_, "item_known": fitted.item_known_,
        "seen_indptr": indptr, "seen_items": seen,
        "user_ids.values": fitted.user_ids_, "item_ids.values": fitted.item_ids_,
    }  # fmt: skip
    history = [
        {key: value for key, value in epoch.items() if not key.endswith("_loss")}
        for epoch in fitted.history_
    ]
    saved = {
        "global_mean": fitted.global_mean_, "rating_mean": fitted.rating_mean_, "history": history,
        "n_epochs": 3, "n_threads": 1, "instruction_set": "avx2",
    }  # fmt: skip
    metadata = {
        "format": "warpfactor.MatrixFactorization", "format_version": "1",
        "warpfactor_version": "0.1.0", "user_ids": "int", "item_ids": "int",
        "fitted": json.dumps(saved), "params": json.dumps({"n_factors": 5, "unknown": "nan"}),
    }  # fmt: skip

    def write(path):
        crc = 0
        for name in sorted(tensors):
            crc = zlib.crc32(name.encode(), crc)
            crc = zlib.crc32(np.ascontiguousarray(tensors[name]).tobytes(), crc)
        save_file(tensors, path, metadata=metadata | {"crc32": str(crc)})
        return path

    write.tensors, write.metadata = tensors, metadata
    return write


def test_a_file_of_format_1_still_loads(model, first_format, tmp_path):
    old = wf.load(first_format(tmp_path / "old"))
    X = np.c_[np.repeat(model.user_ids_, 3), np.tile(model.item_ids_[:3], len(model.user_ids_))]
    assert old.predict(X).tobytes() == model.predict(X).tobytes()
    np.testing.assert_array_equal(
        old.recommend(model.user_ids_)[0], model.recommend(model.user_ids_)[0]
    )
    assert old.loss_ == "squared" and old.link_ == "identity" and old.n_ratings_ == 600
    assert old.history_[0]["train_loss"] == pytest.approx(model.history_[0]["train_loss"])
    assert old.n_factors == 5 and old.unknown == "nan"
    old.save(tmp_path / "new")
    again = wf.load(tmp_path / "new")
    assert again.predict(X).tobytes() == model.predict(X).tobytes()
    assert np.isnan(again.rating_range_).all()  # which the first format did not keep


def test_damage_in_a_file_of_format_1_is_found(first_format, tmp_path):
    path = first_format(tmp_path / "old")
    whole = bytearray(path.read_bytes())
    whole[-10] ^= 1
    path.write_bytes(whole)
    with pytest.raises(wf.ModelFileError, match="checksum"):
        wf.load(path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("seen_items", np.full(3, 999, np.int32), "seen items do not fit"),
        ("seen_indptr", np.zeros(3, np.int64), "seen items do not fit the users"),
        ("user_counts", np.zeros(3, np.uint32), "differ in length"),
        ("item_biases", np.zeros(40, np.float64), "biases float64"),
        ("item_factors", np.zeros((40, 7), np.float32), "differ in width"),
    ],
)
def test_tensors_that_do_not_fit_each_other_are_damage(path, name, value, message):
    tensors = load_file(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors[name] = value
    crc = 0
    for each in sorted(tensors):
        crc = zlib.crc32(each.encode(), crc)
        crc = zlib.crc32(np.ascontiguousarray(tensors[each]).tobytes(), crc)
    save_file(tensors, path, metadata=metadata | {"crc32": str(crc)})
    with pytest.raises(wf.ModelFileError, match=message):
        wf.load(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("history", ["x"]), ("history", [None]), ("model", []), ("training", {}), ("params", [1]),
        ("model", {"global_mean": 10**400}), ("training", {"n_epochs": 1e400}),
        ("params", {"loss": {"formula": "import os"}}), ("params", {"device": 3}),
    ],
)  # fmt: skip
def test_descriptions_that_make_no_sense_are_damage(path, part, value):
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    if isinstance(value, dict) and value:
        value = json.loads(metadata[part]) | value
    save_file(load_file(path), path, metadata=metadata | {part: json.dumps(value)})
    with pytest.raises(wf.ModelFileError, match="damaged"):
        wf.load(path)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("history", [{"seconds": 0.1, "train_rmse": 1.0}]),
        ("history", [{"epoch": 1, "train_rmse": {}}]),
        ("history", [[]]),
        ("chosen", {"reg_bias_row": [57.8, {}]}),
        ("params", {"reg": [[], 1.0]}),
    ],
)
def test_parts_of_another_kind_are_damage(path, part, value):
    rewrite_metadata(path, **{part: json.dumps(value)})
    with pytest.raises(wf.ModelFileError, match="damaged"):
        wf.load(path)


def test_descriptions_are_json_without_nan_and_infinity(tmp_path):
    # C++ reads them too.
    ratings = wf.datasets.make_ratings(20, 10, 100, random_state=0).ratings
    fitted = wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0).fit(ratings).model_
    history = ({**fitted.history_[0], "valid_loss": float("inf")},)
    record = dataclasses.replace(fitted._record, history=history)
    Model(fitted._tables, record).save(tmp_path / "m")
    with safe_open(tmp_path / "m", framework="numpy") as file:
        metadata = file.metadata()

    def refuse(word):
        raise AssertionError(word)

    for part in ("model", "training", "history", "params"):
        json.loads(metadata[part], parse_constant=refuse)
    assert np.isnan(wf.load(tmp_path / "m").history_[0]["valid_loss"])


def test_a_file_tells_when_how_and_how_well_the_model_was_trained(tmp_path):
    ratings = wf.datasets.make_ratings(30, 20, 200, random_state=0).ratings
    before = datetime.now(UTC).replace(microsecond=0)
    fitted = wf.MatrixFactorization(n_factors=2, n_epochs=2, verbose=0).fit(ratings).model_
    told = fitted.origin_
    assert (
        set(told) == {"estimator", "at", "seconds"} and told["estimator"] == "MatrixFactorization"
    )
    assert before <= datetime.fromisoformat(told["at"]) <= datetime.now(UTC)
    assert 0 < told["seconds"] < 60
    tested = fitted.with_test_error(0.75, 12)
    assert fitted.origin_ == told  # another model; this one does not change
    tested.with_seen(ratings).save(tmp_path / "m")
    assert wf.load(tmp_path / "m").origin_ == {**told, "test_rmse": 0.75, "n_test": 12}
    for rmse, n_test, message in (
        (-1, 1, "rmse is -1"), (np.inf, 1, "rmse is inf"), (np.nan, 1, "rmse is nan"),
        ("good", 1, "rmse is 'good'"), (1, 0, "n_test is 0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            fitted.with_test_error(rmse, n_test)
