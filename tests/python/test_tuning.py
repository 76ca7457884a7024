"""The search for parameters: on Optuna, by the command line, and by scikit-learn's searches."""

from __future__ import annotations

import os
import shlex
import sys
import time

import numpy as np
import pytest

import warpfactor as wf
from shell import succeed, warpfactor


@pytest.fixture(scope="module")
def ratings():
    return wf.datasets.make_ratings(120, 80, 3000, random_state=0).ratings


def model_of(**params):
    return wf.MatrixFactorization(
        **{"n_factors": 4, "n_epochs": 6, "reg": 0.04, "random_state": 0, "verbose": 0, **params}
    )


def tuned(ratings, space=None, *, model=None, **how):
    how = {"n_trials": 4, "random_state": 0, "verbose": 0, **how}
    return wf.tune(model_of() if model is None else model, ratings, space, **how)


def test_without_optuna_the_error_says_what_to_install(ratings, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportError, match=r'pip install "warpfactor\[tune\]"'):
        wf.tune(None, ratings)


def test_grid_search_gives_the_same_with_workers(ratings):
    from joblib import parallel_config
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

    X, y = ratings.to_pairs()
    grid = {"n_factors": [2, 4], "reg_row": [1.0, 8.0]}
    alone = GridSearchCV(model_of(), grid, cv=2).fit(X, y)
    with parallel_config("threading"):  # processes take seconds to start
        side_by_side = GridSearchCV(model_of(n_threads=1), grid, cv=2, n_jobs=2).fit(X, y)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], side_by_side.cv_results_["mean_test_score"]
    )
    fraction = model_of(validation_fraction=0.2, n_epochs=500)
    drawn = RandomizedSearchCV(fraction, grid, n_iter=2, cv=2, random_state=0).fit(X, y)
    assert len(drawn.best_estimator_.history_) == 60


@pytest.fixture
def with_optuna():
    return pytest.importorskip("optuna", reason="tuning is an extra: pip install warpfactor[tune]")


def test_the_model_as_given_is_tried_first_and_the_best_is_returned(ratings, with_optuna):
    space = {"n_factors": (2, 6), "reg_row": (0.5, 30.0), "optimizer": ["sgd", "adagrad"]}
    found = tuned(ratings, space, n_trials=5)
    train, held_out = wf.train_test_split(ratings, 0.1, random_state=0)
    first = model_of().fit(train, validation=held_out)
    assert found.default_score == first.history_[first.n_epochs_ - 1]["valid_rmse"]
    assert found.trials[0]["params"] == {} and found.trials[0]["score"] == found.default_score
    scores = [trial["score"] for trial in found.trials]
    assert found.best_score == np.nanmin(scores)
    assert len(found.trials) == 5
    best = found.trials[int(np.nanargmin(scores))]
    assert best["params"] == found.best_params
    again = model_of(**best["params"]).fit(train, validation=held_out)
    assert again.history_[again.n_epochs_ - 1]["valid_rmse"] == found.best_score
    assert scores == [trial["score"] for trial in tuned(ratings, space, n_trials=5).trials]
    model = found.best_model()
    assert model.get_params().items() >= {**found.best_params, "refit": True}.items()
    assert str(found).startswith("5 trials")


def test_all_trials_train_on_one_copy_side_by_side(ratings, with_optuna, monkeypatch):
    seen = []
    fit = wf.MatrixFactorization.fit

    def spy(self, X, *args, validation=None, **kwargs):
        if validation is None:  # whether values of the space are taken, on few ratings
            return fit(self, X, *args, **kwargs)
        seen.append(
            (id(X), X.values.__array_interface__["data"][0], id(validation), self.n_threads)
        )
        return fit(self, X, *args, validation=validation, **kwargs)

    monkeypatch.setattr(wf.MatrixFactorization, "fit", spy)
    tuned(ratings, {"n_factors": (2, 6)}, n_trials=5, n_jobs=2)
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert seen[0][3] == max(1, wf.show_config("dicts")["n_threads"] // 2)


def test_the_default_space_is_around_what_training_chooses(ratings, with_optuna):
    found = tuned(ratings, model=model_of(reg=None, n_factors=8, n_epochs=None), n_trials=2)
    space = found.study.trials[1].distributions
    chosen = found.study.trials[0].user_attrs["chosen"]
    assert (space["n_factors"].low, space["n_factors"].high) == (2, 32)
    assert space["learning_rate"].low == pytest.approx(chosen["learning_rate"] / 2.5)
    assert space["reg_row"].high == pytest.approx(chosen["reg_row"] * 4)
    fixed = tuned(ratings, model=model_of(learning_rate=0.05), n_trials=2, fixed=["n_factors"])
    assert set(fixed.study.trials[1].distributions) == {"reg_row", "reg_implicit"}


def test_a_stored_study_goes_on(ratings, with_optuna, tmp_path):
    path = tmp_path / "study.db"
    first = tuned(ratings, {"n_factors": (2, 6)}, n_trials=2, storage=path)
    second = tuned(ratings, {"n_factors": (2, 6)}, n_trials=4, storage=path)
    assert [trial["score"] for trial in second.trials[:2]] == [
        trial["score"] for trial in first.trials
    ]
    assert len(second.trials) == 4
    assert len(tuned(ratings, {"n_factors": (2, 6)}, n_trials=1, storage=path).trials) == 4
    with pytest.raises(ValueError, match="storage has a study 'warpfactor' of other ratings"):
        tuned(ratings.take(np.arange(1000)), {"n_factors": (2, 6)}, storage=path)


def test_trials_that_diverge_or_are_poor_end_early(ratings, with_optuna):
    space = {"learning_rate": [0.08, 1e30], "reg_row": [0.5, 4.0]}
    found = tuned(ratings, space, n_trials=12, model=model_of(dtype="float32"))
    states = {trial["state"] for trial in found.trials}
    assert "diverged" in states and "complete" in states
    poor = tuned(ratings, {"learning_rate": (1e-6, 1e-1)}, n_trials=14, model=model_of(n_epochs=9))
    assert "pruned" in {trial["state"] for trial in poor.trials}


def test_an_interrupt_keeps_what_was_found(ratings, with_optuna):
    fits = []

    def interrupt(record):
        fits.append(record["epoch"] == 1)
        if sum(fits) == 3:
            raise KeyboardInterrupt

    found = tuned(ratings, {"n_factors": (2, 6)}, model=model_of(callbacks=[interrupt]), n_trials=9)
    assert found.interrupted
    assert [trial["state"] for trial in found.trials] == ["complete", "complete"]
    with pytest.raises(KeyboardInterrupt):
        fits[:] = [True, True]
        tuned(ratings, {"n_factors": (2, 6)}, model=model_of(callbacks=[interrupt]))


def test_folds_and_given_validation_ratings(ratings, with_optuna):
    folds = tuned(ratings, {"n_factors": (2, 6)}, cv=2, n_trials=2)
    errors = []
    for train, test in wf.splits.RatingKFold(2, random_state=0).split(ratings):
        model = model_of().fit(ratings.take(train), validation=ratings.take(test))
        errors.append(model.history_[model.n_epochs_ - 1]["valid_rmse"])
    assert folds.default_score == pytest.approx(np.mean(errors), rel=1e-12)
    train, held_out = wf.train_test_split(ratings, 0.3, random_state=5)
    given = tuned(train, {"n_factors": (2, 6)}, validation=held_out, n_trials=1)
    model = model_of().fit(train, validation=held_out)
    assert given.default_score == model.history_[model.n_epochs_ - 1]["valid_rmse"]
    with pytest.raises(ValueError, match="cv is 2 and validation is given too"):
        tuned(ratings, cv=2, validation=0.2)


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"n_trials": 0}, "n_trials is 0; it must be"),
        ({"cv": 10**6}, "^cv is 1000000; it must not be above the number of ratings"),
        ({"timeout": -1}, "timeout is -1; it must be a number of seconds above 0"),
        ({"space": {"rank": (1, 2)}}, r"space has \['rank'\]; it must have parameters of"),
        ({"space": {"reg": (2.0, 1.0)}}, "the first must be below the second"),
        ({"space": {"reg": 3}}, "it must be a pair of numbers"),
        ({"model": 3}, "model is 3; it must be a MatrixFactorization"),
    ],
)
def test_bad_input_is_named(ratings, with_optuna, how, error):
    with pytest.raises(ValueError, match=error):
        tuned(ratings, **how)


def test_the_command_searches_and_prints_what_trains_so(ratings, with_optuna, tmp_path):
    path, plot, model = (tmp_path / name for name in ("r.csv", "t.png", "m.safetensors"))
    wf.write_ratings(ratings, path)
    space = ("--space", "n-factors=2:6", "--space", "optimizer=sgd,adagrad")
    quick = ("--reg", "0.04", "--n-epochs", "6", "--n-threads", "1")
    result = succeed(
        "tune", path, "--n-trials", "3", "--storage", tmp_path / "s.db", "--plot", plot,
        "--output", model, *space, *quick,
    )  # fmt: skip
    assert result.lines[0].startswith("3 trials")
    line = shlex.split(result.lines[-1])
    assert line[:3] == ["warpfactor", "train", str(path)]
    assert line[line.index("--reg") + 1] == "0.04"
    assert wf.load(model).n_ratings_ == len(ratings)
    assert plot.read_bytes()[:4] == b"\x89PNG"
    line[line.index("--output") + 1] = str(tmp_path / "again.safetensors")
    succeed(*line[1:])
    again = wf.load(tmp_path / "again.safetensors").get_params()
    for name in ("n_factors", "optimizer", "reg"):
        assert again[name] == wf.load(model).get_params()[name]
    for wrong in ("n-factors", "rank=1:2", "n-factors=a:b"):
        failed = warpfactor("tune", path, "--space", wrong)
        assert failed.code == 1 and f"--space is '{wrong}'" in failed.err


@pytest.mark.skipif(os.name == "nt", reason="signals differ")
def test_ctrl_c_prints_the_best_so_far(ratings, with_optuna, tmp_path):
    import signal
    import subprocess

    path = tmp_path / "r.csv"
    wf.write_ratings(ratings, path)
    command = [
        sys.executable, "-m", "warpfactor", "tune", str(path), "--n-trials", "100000", "-k", "4",
        "--reg", "0.04",
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr.readline().startswith("trial 1/100000: ")
        time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "interrupted" in out.splitlines()[0] and "interrupted" in err
    assert out.splitlines()[-1].startswith("warpfactor train ")


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"space": {"reg": (-1.0, 1.0)}}, r"space has reg=-1\.0: reg is -1; it must be"),
        ({"space": {"n_factors": (1, 10**6)}}, "space has n_factors=1000000: .*1024"),
        ({"space": {"loss": ["squared", "foo"]}}, "space has loss='foo'"),
        ({"space": {"random_state": [1, 2]}}, r"space has \['random_state'\]"),
        ({"space": 5}, "space is 5"),
        ({"fixed": ["foo"]}, r"fixed has \['foo'\]"),
        ({"study_name": 5}, "study_name is 5"),
    ],
)
def test_a_space_is_tried_before_the_study(ratings, with_optuna, how, error):
    def never(record):
        raise AssertionError("a trial has begun")

    with pytest.raises(ValueError, match=error):
        tuned(ratings, model=model_of(callbacks=[never]), n_trials=3, **how)


def test_a_store_that_is_none_is_named(ratings, with_optuna, tmp_path):
    (tmp_path / "bad.db").write_bytes(b"no database" * 100)
    with pytest.raises(ValueError, match=r"storage is .*bad\.db', which cannot be read as a store"):
        tuned(ratings, storage=tmp_path / "bad.db")
    assert (tmp_path / "bad.db").read_bytes() == b"no database" * 100


def test_the_plots_suffix_is_checked_first(with_optuna, tmp_path):
    (tmp_path / "r.csv").write_text("user,item,rating\n1,1,1\n")
    code, _, said = warpfactor("tune", tmp_path / "r.csv", "--plot", tmp_path / "x.foo")
    assert code == 1 and "--plot is" in said and "png" in said
