"""Ratings that a device reads from a scratch file: the model of memory, and nothing left behind."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

import warpfactor as wf
from problems import PLAIN, bytes_of, model_of, planted
from warpfactor import _core
from warpfactor.training.core_params import core_params

LEAST = 1 << 22


@pytest.fixture(scope="module")
def ratings():
    return planted(900, 600, 40_000)


@pytest.fixture
def scratch(tmp_path):
    """A folder for scratch files, which must be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    yield folder
    assert os.listdir(folder) == []


def batches(ratings: wf.Ratings) -> list[pa.RecordBatch]:
    table = pa.table(
        {
            "user": ratings.user_ids[ratings.users],
            "item": ratings.item_ids[ratings.items],
            "rating": ratings.values,
        }
    )
    return table.to_batches(max_chunksize=7_000)


def curve(model: wf.MatrixFactorization) -> list[tuple[float, ...]]:
    return [tuple(list(record.values())[2:]) for record in model.history_]


def same(one: wf.MatrixFactorization, other: wf.MatrixFactorization) -> bool:
    assert np.array_equal(curve(one), curve(other), equal_nan=True)
    return bytes_of(one) == bytes_of(other)


def budget(ratings: wf.Ratings, how: dict, *, streamed: bool, **counts) -> dict:
    """Device memory with which the ratings are on the device, or half of them at most."""
    if not streamed:
        return {}
    tight = model_of(**how, device_memory=1)  # biases lie close to each other then
    told = wf.estimate_memory(ratings, tight, scratch=True, **counts)
    return {"device_memory": told.device_least + 2 * told.device_streamed // 5}


class Disk:
    """Whether there were scratch files in each epoch."""

    def __init__(self, folder) -> None:
        self.folder, self.seen = str(folder), []

    def __call__(self, record) -> None:
        files = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
        self.seen.append(
            any(
                os.readlink(file).startswith(self.folder) for file in files if os.path.lexists(file)
            )
        )


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    "params",
    [{}, PLAIN, {"dtype": "float16"}, {"optimizer": "adagrad", "implicit_feedback": "none"}],
)
def test_a_device_streams_to_the_bytes_of_memory(cuda, ratings, params, streamed, scratch):
    how = {"n_factors": 9, "n_epochs": 3, "device": cuda, **params}
    how |= budget(ratings, how, streamed=streamed, n_validation=2_000, sample_weight=True)
    weights = np.random.default_rng(1).choice([0.0, 0.5, 1.5], len(ratings))
    validation = planted(900, 600, 2_000, seed=3)
    given = {"sample_weight": weights, "validation": validation}
    expected = model_of(**how).fit(ratings, **given)
    for source in (batches(ratings), ratings):
        disk = Disk(scratch)
        model = model_of(**how, n_threads=2, callbacks=[disk])
        model.fit(source, scratch=scratch, buffer=LEAST, **given)
        assert same(model, expected)
        if os.path.exists("/proc/self/fd") and source is ratings:  # else the reader's are there too
            assert disk.seen == [streamed] * 3
    assert all(
        np.array_equal(a, b) for a, b in zip(model.model_.seen_, expected.model_.seen_, strict=True)
    )


def test_early_stopping_and_a_refit_stream(cuda, ratings, scratch):
    how = {"n_factors": 4, "n_epochs": 12, "early_stopping": 1, "device": cuda} | PLAIN
    how |= {"validation_fraction": 0.2}
    how |= budget(ratings, how, streamed=True)
    for refit in (False, True):
        expected = model_of(**how, refit=refit).fit(ratings)
        model = model_of(**how, refit=refit).fit(batches(ratings), scratch=scratch)
        assert same(model, expected)


class Cut(Exception):
    pass


def test_a_fit_that_was_cut_off_goes_on_from_the_disk(cuda, ratings, tmp_path, scratch):
    how = {"n_factors": 9, "n_epochs": 4, "device": cuda}
    how |= budget(ratings, how, streamed=True)
    expected = model_of(**how).fit(ratings)
    path = tmp_path / "fit.checkpoint"

    def cut(record):
        if record["epoch"] == 3:
            raise Cut

    with pytest.raises(Cut):
        model_of(**how, callbacks=[cut]).fit(
            batches(ratings), scratch=scratch, checkpoint=path, every=1
        )
    resumed = model_of(**how).fit(batches(ratings), scratch=scratch, checkpoint=path, resume=True)
    assert bytes_of(resumed) == bytes_of(expected)


@pytest.mark.parametrize("error", [Cut, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["reading", "epoch"])
def test_what_ends_a_fit_leaves_the_disk_and_the_model_as_they_were(
    cuda, ratings, error, when, scratch
):
    def broken():
        yield batches(ratings)[0]
        if when == "reading":
            raise error
        yield from batches(ratings)[1:]

    def callback(record):
        if when == "epoch" and record["epoch"] == 1 and streaming:
            raise error

    streaming = False
    model = model_of(n_factors=4, n_epochs=2, device=cuda, callbacks=[callback]).fit(ratings)
    before, streaming = model.model_, True
    with pytest.raises(error):
        model.fit(broken(), scratch=scratch)
    assert model.model_ is before


def test_hogwild_streams_from_the_disk_too(cuda, ratings, scratch):
    test = planted(900, 600, 4_000, seed=5)
    how = {"n_factors": 4, "n_epochs": 4, "device": cuda, "parallel": "hogwild"} | PLAIN
    errors = [
        wf.metrics.rmse(test.values, model_of(**how, **memory).fit(source, **given).predict(test))
        for memory in ({}, budget(ratings, how, streamed=True))
        for source, given in ((ratings, {}), (batches(ratings), {"scratch": scratch}))
    ]
    assert errors == pytest.approx([errors[0]] * 4, rel=0.005)


def test_what_cannot_stream_is_refused_before_anything_is_read(cuda, ratings, scratch):
    def never():
        raise AssertionError("was read")
        yield

    for params, message in (
        ({"batch_size": 100}, "batch_size is 100; it must be 0"),
        ({"optimizer": "gd"}, "optimizer is gd; it must be another one"),
    ):
        with pytest.raises(ValueError, match=message):
            model_of(device=cuda, **params).fit(never(), scratch=scratch)
    with pytest.raises(wf.CudaError, match="device_memory is 100000 bytes"):
        model_of(n_factors=64, device=cuda, device_memory=100_000).fit(
            batches(ratings), scratch=scratch
        )


def test_the_device_and_the_host_are_told_of_a_fit_from_disk(cuda):
    counts = {
        "n_ratings": 1_000_000_000,
        "n_users": 10_000_000,
        "n_items": 1_000_000,
        "n_factors": 32,
    }
    estimator = wf.MatrixFactorization(device=cuda, implicit_feedback="none")
    whole = wf.estimate_memory(estimator=estimator, **counts)
    told = wf.estimate_memory(estimator=estimator, scratch=True, **counts)
    assert told.device_least == whole.device_least
    # In memory the device makes the plan itself, which takes more of it than the plan.
    assert told.device == {name: whole.device[name] for name in told.device}
    # Neither ratings nor their plan are on the host; the factors are there on their way up and as the model.
    assert whole.peak > told.peak + 10e9
    factors = told.model["factors and biases"]
    assert told.peak < 2.5 * factors + (1 << 30) + 0.5e9
    assert told.disk == _core.scratch_bytes(
        counts["n_ratings"], False, core_params(estimator.get_params(deep=False))
    )
    assert (
        whole.disk == 0
        and "scratch=FOLDER"
        in wf.estimate_memory(estimator=estimator, **counts, available=8e9).smaller
    )
