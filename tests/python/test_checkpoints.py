"""Checkpoints: a fit that was cut off goes on to the same bits, or says why it may not."""

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf
from shell import succeed
from warpfactor import _core

ARRAYS = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
SMALL = {"n_factors": 6, "n_epochs": 6, "random_state": 1, "n_threads": 2, "verbose": 0}
GIVEN = {"reg": 0.02, "reg_row": 4.0, "reg_implicit": 2.0, "init": 0.1}


class CutOff(Exception):
    """What ends a fit here."""


@pytest.fixture(scope="module")
def ratings():
    return wf.datasets.make_ratings(80, 50, 1_600, random_state=2).ratings


def kept(model):
    """All that a model holds but for times."""
    records = [{**record, "seconds": 0.0} for record in model.history_]
    arrays = [getattr(model, name).tobytes() for name in ARRAYS]
    return arrays, repr(records), model.chosen_, model.n_epochs_, model.global_mean_


def cut_off(estimator, path, epoch, X, **given):
    """Fit, and fail in the callback of an epoch: the last checkpoint is of the one before."""

    def fail(record):
        if record["epoch"] == epoch:
            raise CutOff

    before = estimator.callbacks
    estimator.set_params(callbacks=[fail])
    with pytest.raises(CutOff):
        estimator.fit(X, checkpoint=path, **given)
    estimator.set_params(callbacks=before)


def labels_of(ratings):
    values = np.where(ratings.values > np.median(ratings.values), 1.0, -1.0)
    return wf.Ratings(ratings.users, ratings.items, values.astype(np.float32),
                      ratings.user_ids, ratings.item_ids)  # fmt: skip


HOW = {
    "all chosen": {},
    "no means": GIVEN | {"implicit_feedback": "none"},
    "momentum": GIVEN | {"momentum": 0.6},
    "adagrad by row": GIVEN | {"optimizer": "adagrad"},
    "adagrad by element": GIVEN | {"optimizer": "adagrad", "adagrad_per": "element"},
    "adam": GIVEN | {"optimizer": "adam", "learning_rate": 0.02},
    "gd": GIVEN | {"optimizer": "gd", "momentum": 0.5},
    "batches": GIVEN | {"batch_size": 128},
    "batches of adam": GIVEN | {"batch_size": 128, "optimizer": "adam", "learning_rate": 0.02},
    "double": GIVEN | {"dtype": "float64"},
    "double and momentum": GIVEN | {"dtype": "float64", "momentum": 0.6},
    "warm-up": GIVEN | {"n_factors": 24, "warmup_epochs": 4, "warmup_factors": 16},
    "no biases": {"reg": 0.02, "biases": False},
    "L1": {"reg": 0.02, "l1_ratio": 0.5},
    "nonnegative": {"reg": 0.02, "nonnegative": True},
    "poisson": {"reg": 0.02, "loss": "poisson"},
    "huber": GIVEN | {"loss": "huber"},
    "logistic": GIVEN | {"loss": "logistic"},
    "constant": GIVEN | {"schedule": "constant"},
}


@pytest.mark.parametrize("epoch", [2, 4])
@pytest.mark.parametrize("how", HOW)
def test_a_fit_that_was_cut_off_goes_on_to_the_same_bits(how, epoch, ratings, tmp_path):
    params, path = SMALL | HOW[how], tmp_path / "fit.checkpoint"
    given = labels_of(ratings) if how == "logistic" else ratings
    model = wf.MatrixFactorization(**params)
    wanted = kept(model.fit(given))
    cut_off(model, path, epoch, given)
    assert len(_core.checkpoint_facts(path)["history"]) == epoch - 1
    # In another number of threads: the bits do not depend on it.
    model.set_params(n_threads=1, callbacks=[print])
    assert kept(model.fit(given, checkpoint=path, resume=True)) == wanted
    assert os.listdir(tmp_path) == ["fit.checkpoint"]


def test_functions_of_the_user_go_on(ratings, tmp_path):
    pytest.importorskip("sympy")
    pytest.importorskip("numba")
    loss = wf.losses.custom(lambda r, x: abs(r - x) ** 1.5)
    penalty = wf.losses.penalty(lambda w: (1 + w * w) ** 0.5 - 1)
    model = wf.MatrixFactorization(**SMALL, reg=0.05, loss=loss, penalty=penalty)
    path = tmp_path / "fit.checkpoint"
    wanted = kept(model.fit(ratings))
    cut_off(model, path, 4, ratings)
    other = model.set_params(loss=wf.losses.custom(lambda r, x: abs(r - x) ** 1.4))
    with pytest.raises(ValueError, match=r"the custom loss is .*1\.4.*in the checkpoint .*1\.5"):
        other.fit(ratings, resume=path)
    assert kept(model.set_params(loss=loss).fit(ratings, resume=path)) == wanted


@pytest.mark.parametrize("schedule", ["linear", "constant"])
@pytest.mark.parametrize("epoch", [2, 4, 6])
def test_early_stopping_goes_on(schedule, epoch, ratings, tmp_path):
    # Hardly any penalty and a high rate: the validation loss rises again, and training goes back.
    params = SMALL | {"n_factors": 12, "n_epochs": 40, "reg": 1e-4, "reg_row": 0.0, "init": 0.1}
    params |= {"reg_bias_row": 0.0, "schedule": schedule, "learning_rate": 0.1, "early_stopping": 5}
    train, test = wf.train_test_split(ratings, 0.2, random_state=3)
    weights = np.random.default_rng(1).uniform(0, 2, len(train)).astype(np.float32)
    given = {"sample_weight": weights, "validation": test, "implicit": test}
    model, path = wf.MatrixFactorization(**params), tmp_path / "fit.checkpoint"
    wanted = kept(model.fit(train, **given))
    rates = [record["learning_rate"] for record in model.history_]
    if schedule == "linear":
        assert any(later < 0.5 * rate for rate, later in pairwise(rates[:30]))  # it has gone back
    else:
        assert model.n_epochs_ + 5 == len(rates) < 40  # it has stopped
    cut_off(model, path, epoch, train, **given)
    assert kept(model.fit(train, resume=path, **given)) == wanted


def test_a_fit_that_a_callback_ends_goes_on_from_any_epoch(ratings, tmp_path):
    # Also from the one after which training goes back to its best.
    params = SMALL | {"n_factors": 12, "n_epochs": 40, "reg": 1e-4, "reg_row": 0.0, "init": 0.1}
    params |= {"reg_bias_row": 0.0, "learning_rate": 0.1, "early_stopping": 5}
    train, test = wf.train_test_split(ratings, 0.2, random_state=3)
    model, path = wf.MatrixFactorization(**params), tmp_path / "fit.checkpoint"
    wanted = kept(model.fit(train, validation=test))
    rates = [record["learning_rate"] for record in model.history_]
    assert any(later < 0.5 * rate for rate, later in pairwise(rates[:30]))
    for epoch in range(1, len(rates)):
        model.set_params(callbacks=[lambda record, last=epoch: record["epoch"] == last])
        model.fit(train, validation=test, checkpoint=path, resume=False)
        model.set_params(callbacks=[])
        assert kept(model.fit(train, validation=test, resume=path)) == wanted, epoch


def test_a_refit_is_done_again_where_more_epochs_come_before_it(ratings, tmp_path):
    params = SMALL | GIVEN | {"validation_fraction": 0.2, "refit": True, "schedule": "constant"}
    path = tmp_path / "fit.checkpoint"
    wanted = kept(wf.MatrixFactorization(**params | {"n_epochs": 6}).fit(ratings))
    wf.MatrixFactorization(**params | {"n_epochs": 3}).fit(ratings, checkpoint=path)
    longer = wf.MatrixFactorization(**params | {"n_epochs": 6})
    assert kept(longer.fit(ratings, checkpoint=path, resume=True)) == wanted


def test_a_fit_from_the_disk_goes_on_as_one_in_memory(ratings, tmp_path):
    params, path, scratch = SMALL | GIVEN, tmp_path / "fit.checkpoint", tmp_path / "scratch"
    scratch.mkdir()
    model = wf.MatrixFactorization(**params)
    wf.write_ratings(ratings, tmp_path / "r.parquet")
    wanted = kept(model.fit(wf.read_ratings(tmp_path / "r.parquet")))
    cut_off(model, path, 3, tmp_path / "r.parquet", scratch=scratch)
    assert kept(model.fit(tmp_path / "r.parquet", scratch=scratch, resume=path)) == wanted
    assert kept(model.fit(wf.read_ratings(tmp_path / "r.parquet"), resume=path)) == wanted
    assert not os.listdir(scratch)


@pytest.mark.parametrize("cut_in_refit", [False, True])
def test_refit_goes_on_in_either_training(cut_in_refit, ratings, tmp_path, monkeypatch):
    params = SMALL | GIVEN | {"validation_fraction": 0.2, "refit": True, "random_state": None}
    model, path = wf.MatrixFactorization(**params), tmp_path / "fit.checkpoint"
    np.random.seed(4)
    wanted = kept(model.fit(ratings))
    np.random.seed(4)
    if cut_in_refit:
        model.fit(ratings, checkpoint=path)
        # The second training from its first epoch on.
        assert sorted(os.listdir(tmp_path)) == ["fit.checkpoint", "fit.checkpoint.refit"]
        (tmp_path / "fit.checkpoint.refit").unlink()
    else:
        cut_off(model, path, 3, ratings)
    np.random.seed(5)  # the seed is the checkpoint's, not a new one
    assert kept(model.fit(ratings, checkpoint=path, resume=True)) == wanted
    (tmp_path / "fit.checkpoint.refit").write_text("my notes")
    with pytest.raises(wf.ModelFileError, match=r"would replace .*\.refit"):
        model.fit(ratings, checkpoint=path, resume=True)
    assert (tmp_path / "fit.checkpoint.refit").read_text() == "my notes"
    (tmp_path / "fit.checkpoint.refit").unlink()
    # What is left of the second training is no start of that of a new fit.
    cut_off(model, path, 3, ratings, resume=False)
    assert os.listdir(tmp_path) == ["fit.checkpoint"]


def test_a_finished_fit_comes_back_at_once(ratings, tmp_path):
    path, seen = tmp_path / "fit.checkpoint", []
    model = wf.MatrixFactorization(**SMALL, **GIVEN)
    wanted = kept(model.fit(ratings, checkpoint=path, every=4))
    assert _core.checkpoint_facts(path)["finished"]
    model.set_params(callbacks=[seen.append])
    assert kept(model.fit(ratings, checkpoint=path, resume=True)) == wanted
    assert seen == []
    # A finished one may be replaced: its model was handed out.
    assert kept(model.fit(ratings, checkpoint=path)) == wanted
    assert len(seen) == 6


def test_every_says_after_how_many_epochs_it_is_written(ratings, tmp_path):
    path, done = tmp_path / "fit.checkpoint", []

    def look(record):
        done.append(len(_core.checkpoint_facts(path)["history"]) if path.exists() else 0)

    model = wf.MatrixFactorization(**SMALL, **GIVEN, callbacks=[look])
    model.fit(ratings, checkpoint=path, every=4)
    assert done == [0, 0, 0, 0, 4, 4]
    # A callback that ends the training leaves a checkpoint of its last epoch.
    model.set_params(callbacks=[lambda record: record["epoch"] == 2])
    model.fit(ratings, checkpoint=path, every=4)
    facts = _core.checkpoint_facts(path)
    assert len(facts["history"]) == 2
    assert not facts["finished"]


def test_callbacks_are_told_of_the_epochs_before(ratings, tmp_path):
    path, log, best = (
        tmp_path / name for name in ("fit.checkpoint", "log.csv", "best.safetensors")
    )
    train, test = wf.train_test_split(ratings, 0.2, random_state=3)
    model = wf.MatrixFactorization(**SMALL, **GIVEN)
    cut_off(model, path, 4, train, validation=test)
    model.set_params(callbacks=[wf.callbacks.CSVLog(log), wf.callbacks.SaveModel(best, every=0)])
    model.fit(train, validation=test, checkpoint=path, resume=True)
    assert [line.split(",")[0] for line in log.read_text().splitlines()] == ["epoch", *"123456"]
    assert wf.load(best).n_epochs_ == model.n_epochs_


@pytest.mark.parametrize("schedule", ["constant", "inverse_time"])
@pytest.mark.parametrize("first", [3, 4])
def test_a_fit_may_take_more_epochs_where_the_rate_does_not_depend_on_them(
    first, schedule, ratings, tmp_path
):
    train, test = wf.train_test_split(ratings, 0.2, random_state=3)
    path = tmp_path / "fit.checkpoint"
    model = wf.MatrixFactorization(**SMALL | GIVEN | {"schedule": schedule})
    wanted = kept(model.fit(train, validation=test))
    model.set_params(n_epochs=first).fit(train, validation=test, checkpoint=path)
    model.set_params(n_epochs=6).fit(train, validation=test, resume=path)
    assert kept(model)[:2] == wanted[:2]
    model.set_params(n_epochs=2)
    with pytest.raises(ValueError, match=f"n_epochs is 2; it must be at least {first}"):
        model.fit(train, validation=test, resume=path)


def changed(ratings, **parts):
    arrays = {name: getattr(ratings, name).copy() for name in ("users", "items", "values")}
    return wf.Ratings(**arrays | parts, user_ids=ratings.user_ids, item_ids=ratings.item_ids)


def test_what_differs_is_named(ratings, tmp_path):
    path = tmp_path / "fit.checkpoint"
    estimator = wf.MatrixFactorization(**SMALL, **GIVEN)
    cut_off(estimator, path, 4, ratings)
    before = path.read_bytes()

    def differs(match, X=ratings, given=None, **params):
        model = wf.MatrixFactorization(**SMALL | GIVEN | params)
        with pytest.raises(ValueError, match=match) as raised:
            model.fit(X, checkpoint=path, resume=True, **(given or {}))
        return str(raised.value)

    told = differs(r"n_factors is 7 \(in the checkpoint 6\)", n_factors=7, reg=0.03)
    assert "reg is 0.03 (in the checkpoint 0.02)" in told
    assert "ratings" not in told
    differs(r"random_state is 2 \(in the checkpoint 1\)", random_state=2)
    differs(r"early_stopping is 4 \(in the checkpoint 3\)", early_stopping=4)
    differs(r"init is left open \(in the checkpoint 0\.1\)", init=None)
    differs(r"dtype is float64 \(in the checkpoint float32\)", dtype="float64")
    differs(r"n_epochs is 9 \(in the checkpoint 6\)", n_epochs=9)
    values = ratings.values.copy()
    values[7] += 1
    differs(r"ratings are 1600 .*\(in the checkpoint 1600", changed(ratings, values=values))
    order = np.arange(len(ratings))[::-1]
    parts = {name: getattr(ratings, name)[order] for name in ("users", "items", "values")}
    differs("ratings are", changed(ratings, **parts))
    differs("ratings are 1500 ", ratings.take(np.arange(1_500)))
    weights = np.ones(len(ratings))
    differs(r"weights are 1600 .*in the checkpoint none", given={"sample_weight": weights})
    differs("validation is 1600 ", given={"validation": ratings})
    differs("implicit is 1600 ", given={"implicit": ratings})
    pair = (np.ones((ratings.n_users, 6)), np.ones((ratings.n_items, 6)))
    differs("initial item factors are", init=pair)
    assert path.read_bytes() == before


FILES = Path(__file__).parents[1] / "files"


def written_down():
    """The fit of which a checkpoint of each format is kept, after its third epoch, and its ratings."""
    n = np.arange(60)
    users = [f"user {7 * each % 12}" for each in n]
    ratings = wf.Ratings.from_arrays(users, 100 + 5 * n % 9, 1.0 + n * n % 5)
    how = {"n_factors": 2, "n_epochs": 6, "momentum": 0.5, "schedule": "constant"}
    return wf.MatrixFactorization(**GIVEN, **how, random_state=7, verbose=0), ratings


@pytest.mark.skipif(not FILES.exists(), reason="a copy of the tests without their files")
@pytest.mark.parametrize("version", [1])
@pytest.mark.filterwarnings("ignore:training goes on:UserWarning")  # on another processor
def test_a_fit_goes_on_from_a_file_of_each_format(version, tmp_path):
    model, ratings = written_down()
    expected = model.fit(ratings).predict(ratings)
    model.fit(ratings, resume=FILES / f"checkpoint_{version}.safetensors")
    assert [record["epoch"] for record in model.history_] == [1, 2, 3, 4, 5, 6]
    # Another instruction set rounds otherwise: 6e-8 a step, in some dozens of steps of a row.
    np.testing.assert_allclose(model.predict(ratings), expected, rtol=1e-4)
    model.fit(ratings, checkpoint=tmp_path / "now")
    header = (tmp_path / "now").read_bytes()[:2_000].decode("latin-1")
    newest = max(path.stem for path in FILES.glob("checkpoint_*")).removeprefix("checkpoint_")
    assert f'"format_version":"{newest}"' in header, "keep a file of the new format too"


def test_another_instruction_set_goes_on_with_a_warning(ratings, tmp_path):
    path = tmp_path / "fit.checkpoint"
    code = f"""
import warpfactor as wf
ratings = wf.datasets.make_ratings(80, 50, 1_600, random_state=2).ratings
model = wf.MatrixFactorization(**{SMALL | GIVEN!r}, callbacks=[lambda record: record["epoch"] == 3])
model.fit(ratings, checkpoint={str(path)!r})
"""
    environment = os.environ | {"WARPFACTOR_ISA": "baseline"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    model = wf.MatrixFactorization(**SMALL, **GIVEN)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(ratings, resume=path)
    assert len(model.history_) == 6
    if model.instruction_set_ != "baseline":
        assert "may not give the same bits" in str(told[0].message)
        assert "(in the checkpoint baseline)" in str(told[0].message)


def test_resume_says_what_becomes_of_a_checkpoint_that_is_there(ratings, tmp_path):
    path = tmp_path / "fit.checkpoint"
    model = wf.MatrixFactorization(**SMALL, **GIVEN)
    cut_off(model, path, 4, ratings)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"did not end, in epoch 3: go on from it by resume=True, or"
    ):
        model.fit(ratings, checkpoint=path)
    with pytest.raises(ValueError, match="which is there, and resume is"):
        (tmp_path / "other").write_bytes(before)
        model.fit(ratings, checkpoint=path, resume=tmp_path / "other")
    assert path.read_bytes() == before
    wanted = kept(model.fit(ratings))
    assert kept(model.fit(ratings, checkpoint=path, resume=False)) == wanted
    assert (
        kept(model.fit(ratings, checkpoint=tmp_path / "new", resume=tmp_path / "other")) == wanted
    )
    # An empty file, as tempfile makes them, is as good as none.
    (tmp_path / "empty").touch()
    assert kept(model.fit(ratings, checkpoint=tmp_path / "empty", resume=True)) == wanted


def test_what_cannot_be_meant_is_refused(ratings, tmp_path):
    model = wf.MatrixFactorization(**SMALL, **GIVEN)
    path, table = tmp_path / "fit.checkpoint", tmp_path / "ratings.csv"
    table.write_text("user,item,rating\n")
    saved = tmp_path / "m.safetensors"
    model.fit(ratings).save(saved)
    refused = [
        ({"resume": True}, ValueError, "checkpoint, which is not given"),
        ({"resume": path}, FileNotFoundError, "there is no checkpoint"),
        ({"checkpoint": path, "every": 0}, ValueError, "every is 0"),
        ({"checkpoint": path, "every": 1.5}, ValueError, "every is 1.5"),
        ({"checkpoint": 7}, ValueError, "checkpoint is 7; it must be a path"),
        ({"resume": 7}, ValueError, "resume is 7; it must be a path, or True or False"),
        ({"checkpoint": tmp_path}, OSError, "is a folder"),
        ({"checkpoint": tmp_path / "no" / "c"}, OSError, "there is no folder"),
        ({"checkpoint": table, "resume": False}, wf.ModelFileError, "would replace .*ratings.csv"),
        (
            {"checkpoint": saved, "resume": False},
            wf.ModelFileError,
            "is a model, and no checkpoint",
        ),
        ({"resume": saved}, wf.ModelFileError, "is a model, and no checkpoint"),
    ]
    for how, error, match in refused:
        with pytest.raises(error, match=match):
            model.fit(ratings, **how)
    assert table.read_text() == "user,item,rating\n"
    model.fit(ratings, checkpoint=path)
    with pytest.raises(wf.ModelFileError, match=r"is a checkpoint.*resume="):
        wf.load(path)


def test_a_damaged_checkpoint_is_refused(ratings, tmp_path):
    path, bad = tmp_path / "fit.checkpoint", tmp_path / "bad"
    model = wf.MatrixFactorization(**SMALL | {"n_factors": 1}, **GIVEN)
    cut_off(model, path, 3, ratings)
    whole = path.read_bytes()
    rng = random.Random(1)
    bits = [*range(8 * 8), *(rng.randrange(8 * len(whole)) for _ in range(1_000))]
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        bad.write_bytes(damaged)
        with pytest.raises(wf.ModelFileError):
            _core.checkpoint_facts(bad)
    for size in [*range(9), *(rng.randrange(len(whole)) for _ in range(50))]:
        bad.write_bytes(whole[:size])
        with pytest.raises(wf.ModelFileError):
            _core.checkpoint_facts(bad)
    bad.write_bytes(whole + b"\0")
    with pytest.raises(wf.ModelFileError, match="is damaged"):
        model.fit(ratings, resume=bad)


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_fit(ratings, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()

    def remove(record):
        if record["epoch"] == 3:
            shutil.rmtree(folder)

    model = wf.MatrixFactorization(**SMALL, **GIVEN, callbacks=[remove])
    with pytest.warns(UserWarning, match="cannot be written: .* is no folder"):
        model.fit(ratings, checkpoint=folder / "fit.checkpoint")
    assert len(model.history_) == 6


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of fork()
def test_kills_leave_whole_files_and_nothing_else(tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("no fork")
    source = Path(__file__).parents[1] / "soak" / "kills.py"
    spec = importlib.util.spec_from_file_location("kills", source)
    kills = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kills)
    for name, kill in (("fits", kills.kill_fits), ("saves", kills.kill_saves)):
        folder = tmp_path / name
        folder.mkdir()
        assert kill(5, folder, random.Random(name))["killed"] > 0


def test_an_ensemble_goes_on_member_by_member(ratings, tmp_path):
    given = SMALL | GIVEN | {"n_threads": 1}
    wanted = wf.Ensemble(wf.MatrixFactorization(**given), 3).fit(ratings).model_
    folder, told = tmp_path / "fit", []

    def fail(record):
        told.append(record)
        if len(told) == 9:
            raise CutOff

    ensemble = wf.Ensemble(wf.MatrixFactorization(**given, callbacks=[fail]), 3)
    with pytest.raises(CutOff):
        ensemble.fit(ratings, checkpoint=folder)
    ensemble.fit(ratings, checkpoint=folder, resume=True)
    assert len(told) < 9 + 3 * 6
    for name in ARRAYS:
        assert getattr(ensemble, name).tobytes() == getattr(wanted, name).tobytes()
    assert sorted(os.listdir(folder)) == [f"member-{n}.checkpoint" for n in range(3)]
    for how, match in (
        ({"resume": True}, "resume is True, and goes on from checkpoint"),
        ({"checkpoint": folder, "resume": "here"}, "resume is 'here'"),
    ):
        with pytest.raises(ValueError, match=match):
            ensemble.fit(ratings, **how)
    with pytest.raises(ValueError, match="the random_state of model None"):
        wf.Ensemble(n_models=2).fit(ratings, checkpoint=folder)
    with pytest.raises(ValueError, match="whose fits have none"):
        wf.Ensemble(wf.BayesianMatrixFactorization()).fit(ratings, checkpoint=folder)


def test_the_command_line_goes_on(tmp_path):
    rows = wf.datasets.make_ratings(60, 40, 1_000, random_state=1).ratings.to_arrays()
    table, path = tmp_path / "ratings.csv", tmp_path / "fit.checkpoint"
    lines = (f"{user},{item},{value}" for user, item, value in zip(*rows, strict=True))
    table.write_text("\n".join(["user,item,rating", *lines]))
    sizes = ("--test-size", "0.2", "--validation-size", "0.1")
    common = ("train", table, *sizes, "--n-factors", "4", "--reg", "0.02", "--checkpoint", path)
    # No seed: what is held out is drawn by that of the checkpoint.
    succeed(*common, "--n-epochs", "3", "--schedule", "constant", "--patience", "50")
    done = _core.checkpoint_facts(path)
    assert done["finished"]
    how = ("--n-epochs", "6", "--schedule", "constant", "--patience", "50", "--every", "2")
    more = (*common, *how)
    longer = succeed(*more, "--resume", "--output", tmp_path / "m.safetensors")
    assert len(wf.load(tmp_path / "m.safetensors").history_) == 6
    assert _core.checkpoint_facts(path)["seed"] == done["seed"]
    again = succeed(*more, "--resume")
    assert again.lines[-1] == longer.lines[-1]
    on_disk = ("train", table, "--scratch", tmp_path, "--n-factors", "4", "--reg", "0.02")
    kept_so = ("--checkpoint", tmp_path / "disk.checkpoint", "--n-epochs", "3", "--seed", "1")
    succeed(*on_disk, *kept_so)
    assert _core.checkpoint_facts(tmp_path / "disk.checkpoint")["finished"]
    succeed(*on_disk, *kept_so, "--resume")
    with pytest.raises(AssertionError, match=r"--n-factors is 5 \(in the checkpoint 4\)"):
        succeed(*more, "--resume", "--n-factors", "5")
    with pytest.raises(AssertionError, match=r"--checkpoint is .* which is also a file to read"):
        succeed(*common[:-1], table)
    with pytest.raises(AssertionError, match="--resume goes on from --checkpoint"):
        succeed("train", table, "--resume")


def test_an_ensemble_keeps_its_members_in_a_folder(tmp_path):
    ratings = wf.datasets.make_ratings(60, 40, 900, random_state=0).ratings
    member = wf.MatrixFactorization(4, n_epochs=2, random_state=0, verbose=0)
    file = tmp_path / "kept"
    file.write_bytes(b"what somebody wants to keep")
    with pytest.raises(
        NotADirectoryError, match=r"'.*kept', which is a file; an ensemble keeps a file for each"
    ):
        wf.Ensemble(member, 2).fit(ratings, checkpoint=file)
    assert file.read_bytes() == b"what somebody wants to keep"
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none': make that first"):
        wf.Ensemble(member, 2).fit(ratings, checkpoint=tmp_path / "none" / "folder")
