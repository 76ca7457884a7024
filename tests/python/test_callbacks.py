"""What watches a fit: the life of callbacks, those that the package has, and progress as lines."""

from __future__ import annotations

import csv
import logging
import sys

import numpy as np
import pytest

import warpfactor as wf


@pytest.fixture(scope="module")
def parts():
    ratings = wf.datasets.make_ratings(120, 80, 3000, random_state=0).ratings
    return wf.train_test_split(ratings, 0.2, random_state=0)


def model_of(**params):
    return wf.MatrixFactorization(
        **{"n_factors": 4, "n_epochs": 5, "reg": 0.04, "random_state": 0, "verbose": 0, **params}
    )


class Diary(wf.callbacks.Callback):
    """Writes down what it is told."""

    def __init__(self, raises=""):
        self.told = []
        self.raises = raises

    def tell(self, what, *more):
        self.told.append((what, *more))
        if self.raises == what:
            raise RuntimeError(f"in {what}")

    def on_train_begin(self, fit):
        self.fit = fit
        self.tell("begin", fit.n_epochs, fit.n_ratings, fit.loss, fit.validating)

    def on_epoch_end(self, record):
        self.tell("epoch", record["epoch"])

    def on_train_end(self, model):
        self.tell("end", None if model is None else model.n_epochs_)


def test_progress_is_a_callback_too(parts, capsys):
    model_of(callbacks=[wf.callbacks.Progress(2)]).fit(parts[0], validation=parts[1])
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("epoch 1/") and "validation RMSE" in told[0]
    assert len(told) > 5 and "epochs" in told[-1]
    with pytest.raises(ValueError, match="verbose is -1"):
        wf.callbacks.Progress(-1)
    failing = model_of(callbacks=[wf.callbacks.Progress(2), Diary(raises="epoch")])
    with pytest.raises(RuntimeError, match="in epoch"):
        failing.fit(parts[0])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_callback_is_told_of_the_whole_life_of_a_fit(parts):
    train, test = parts
    diary, epochs = Diary(), []
    model_of(callbacks=[diary, lambda record: epochs.append(record["epoch"])]).fit(train)
    assert diary.told[0] == ("begin", 5, len(train), "squared", False)
    assert diary.told[1:-1] == [("epoch", n) for n in range(1, 6)]
    assert diary.told[-1] == ("end", 5)
    assert epochs == [1, 2, 3, 4, 5]
    diary.told.clear()
    bayesian = wf.BayesianMatrixFactorization(
        3, n_burn_in=1, n_samples=2, random_state=0, verbose=0, callbacks=[diary]
    )
    bayesian.fit(train, validation=test)
    assert [what for what, *_ in diary.told] == ["begin", *["epoch"] * 3, "end"]
    assert diary.told[0] == ("begin", 3, len(train), "squared", True)


@pytest.mark.parametrize("raises", ["begin", "epoch", "end"])
def test_those_that_were_begun_are_told_of_a_failure(parts, raises):
    first, second = Diary(), Diary(raises)
    fitted = model_of().fit(parts[0])
    before = fitted.model_
    fitted.set_params(callbacks=[first, second])
    with pytest.raises(RuntimeError, match=f"in {raises}"):
        fitted.fit(parts[0])
    assert fitted.model_ is before
    assert first.told[-1] == ("end", 5 if raises == "end" else None)
    assert ("end", None) not in second.told or raises == "epoch"


def test_a_callback_ends_the_training(parts):
    class Enough(wf.callbacks.Callback):
        def on_epoch_end(self, record):
            return record["epoch"] == 2

    assert len(model_of(callbacks=[Enough()]).fit(parts[0]).history_) == 2


def test_a_class_in_place_of_an_object_is_refused(parts):
    with pytest.raises(ValueError, match=r"each must be an object, such as Diary\(\)"):
        model_of(callbacks=[Diary]).fit(parts[0])
    with pytest.raises(ValueError, match="each must be callable, or have on_epoch_end"):
        model_of(callbacks=[3]).fit(parts[0])


def test_the_model_of_an_epoch_is_that_of_a_fit_that_ends_there(parts):
    class Third(wf.callbacks.Callback):
        def on_train_begin(self, fit):
            self.fit = fit

        def on_epoch_end(self, record):
            if record["epoch"] == 3:
                self.model = self.fit.model()

    third = Third()
    model_of(callbacks=[third]).fit(parts[0])
    stopped = model_of(callbacks=[lambda record: record["epoch"] == 3]).fit(parts[0])
    np.testing.assert_array_equal(third.model.user_factors_, stopped.user_factors_)
    np.testing.assert_array_equal(third.model.predict(parts[1]), stopped.predict(parts[1]))
    assert third.model.n_epochs_ == 3
    with pytest.raises(RuntimeError, match="call model\\(\\) in on_epoch_end"):
        third.fit.model()


def test_csv_log_has_the_history(parts, tmp_path):
    path = tmp_path / "log.csv"
    log = wf.callbacks.CSVLog(path)
    for _ in range(2):  # begun anew
        model = model_of(callbacks=[log]).fit(parts[0], validation=parts[1])
    with open(path, encoding="utf-8") as file:
        rows = [{name: float(text) for name, text in row.items()} for row in csv.DictReader(file)]
    assert rows == model.history_


def test_a_checkpoint_is_the_best_model_so_far(parts, tmp_path):
    path = tmp_path / "m.safetensors"

    class Reader(wf.callbacks.Callback):
        def on_train_begin(self, fit):
            self.best, self.kept = np.inf, []

        def on_epoch_end(self, record):
            self.best = min(self.best, record["valid_rmse"])
            rmse = wf.metrics.rmse(parts[1].values, wf.load(path).predict(parts[1]))
            self.kept.append((self.best, rmse))

    reader = Reader()
    overfit = model_of(
        n_factors=32, reg=0.0, reg_row=0.0, implicit_feedback="none", learning_rate=0.2, n_epochs=12,
        schedule="constant", callbacks=[wf.callbacks.SaveModel(path, every=0), reader],
    )  # fmt: skip
    train, _ = parts
    overfit.fit(train, validation=parts[1])
    assert len(reader.kept) > overfit.n_epochs_  # some epochs were worse
    for best, rmse in reader.kept:
        assert rmse == pytest.approx(best, rel=1e-5)
    np.testing.assert_array_equal(wf.load(path).user_factors_, overfit.user_factors_)
    assert [file.name for file in tmp_path.iterdir()] == ["m.safetensors"]


def test_a_checkpoint_of_a_fit_that_fails_is_the_last_that_was_written(parts, tmp_path):
    path = tmp_path / "m.safetensors"

    def fail(record):
        if record["epoch"] == 3:
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        model_of(callbacks=[wf.callbacks.SaveModel(path, every=0), fail]).fit(parts[0])
    assert wf.load(path).n_epochs_ == 3
    bayesian = wf.BayesianMatrixFactorization(
        3, n_burn_in=1, n_samples=2, random_state=0, verbose=0,
        callbacks=[wf.callbacks.SaveModel(path, every=0)],
    ).fit(parts[0])  # fmt: skip
    np.testing.assert_array_equal(wf.load(path).predict(parts[1]), bayesian.predict(parts[1]))
    with pytest.raises(OSError, match="no folder"):
        model_of(callbacks=[wf.callbacks.SaveModel(tmp_path / "no" / "m")]).fit(parts[0])
    with pytest.raises(ValueError, match="every is -1; it must be a number of seconds"):
        wf.callbacks.SaveModel(path, every=-1)


def test_a_time_limit_ends_before_it_is_passed(parts):
    limit = wf.callbacks.TimeLimit(10)
    limit.on_train_begin(None)
    assert not limit.on_epoch_end({"seconds": 4.0})  # 8 with the next
    assert limit.on_epoch_end({"seconds": 4.0})  # 12
    limit.on_train_begin(None)
    assert not limit.on_epoch_end({"seconds": 4.0})
    assert len(model_of(callbacks=[wf.callbacks.TimeLimit(0)]).fit(parts[0]).history_) == 1


def test_log_tells_by_logging(parts, caplog):
    with caplog.at_level(logging.INFO, "warpfactor"):
        model = model_of(n_epochs=2, callbacks=[wf.callbacks.Log()]).fit(parts[0])
    error = f"train RMSE {model.history_[-1]['train_rmse']:.4f}"
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == f"training on {len(parts[0])} ratings, at most 2 epochs"
    assert told[2:] == [f"epoch 2: {error}", f"trained: {error}"]


def test_plot_draws_the_curve(parts, tmp_path):
    pytest.importorskip("matplotlib")
    model_of(callbacks=[wf.callbacks.Plot(tmp_path / "c.svg")]).fit(*parts[:1], validation=parts[1])
    assert "validation" in (tmp_path / "c.svg").read_text() or (tmp_path / "c.svg").stat().st_size
    assert (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")


def test_verbose_2_tells_each_epoch_and_what_was_chosen_as_lines(parts, capfd):
    model = model_of(verbose=2).fit(parts[0])
    lines = capfd.readouterr().err.splitlines()
    last = model.history_[-1]
    assert len(lines) == 7
    assert lines[4].startswith(
        f"epoch 5/5: train RMSE {last['train_rmse']:.4f}, learning rate 0.016"
    )
    assert lines[5].startswith("chosen: learning_rate=0.08, ")
    assert lines[6].startswith("5 epochs in ")


def test_a_long_fit_without_a_terminal_leaves_lines(parts, capfd, monkeypatch):
    from warpfactor.training import progress

    monkeypatch.setattr(progress, "_QUIET", 0.0)
    monkeypatch.setattr(progress, "_SHARE", 0.0)
    model_of(verbose=1).fit(parts[0])
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == [f"epoch {n}/5" for n in range(1, 6)]
    assert len(lines) == 6
    assert "chosen" not in lines[5]


def test_the_bar_of_a_fit_that_stops_early_has_the_most_epochs(parts, monkeypatch, capsys):
    fit = Diary()
    model = model_of(n_epochs=500, callbacks=[fit]).fit(parts[0], validation=parts[1])
    assert fit.fit.n_epochs == len(model.history_) == 60
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    model_of(verbose=2).fit(parts[0])
    assert "chosen: " in capsys.readouterr().err


def test_validation_fraction_draws_validation_ratings(parts):
    train, _ = parts
    model = model_of(n_epochs=None, validation_fraction=0.25).fit(train)
    again = model_of(n_epochs=None).fit(train, validation=0.25)
    np.testing.assert_array_equal(model.user_factors_, again.user_factors_)
    assert np.isfinite(model.history_[0]["valid_rmse"])
    assert model.model_.n_ratings_ == len(train) - round(0.25 * len(train))
    other = model_of(n_epochs=None, validation_fraction=0.25, random_state=1).fit(train)
    assert (model.user_factors_ != other.user_factors_).any()
    # All that a user has rated stays out of recommendations, those for validation too.
    ids, _ = model.recommend(train.user_ids[:20], n=80)
    for user, items in enumerate(ids):
        rated = train.item_ids[train.items[train.users == user]]
        assert not set(rated) & set(items[items >= 0] if items.dtype.kind in "iu" else items)
    # Weights go with their ratings: those of weight 0 count for nothing on either side.
    weights = np.r_[np.ones(len(train) - 500), np.zeros(500)]
    weighted = model_of(n_epochs=3, validation_fraction=0.25).fit(train, sample_weight=weights)
    assert np.isfinite(weighted.history_[-1]["valid_rmse"])
    for fraction in (0, 1.0, 5, -0.1, "most"):
        with pytest.raises(
            ValueError, match=r"validation_fraction is .*; it must be above 0 and below"
        ):
            model_of(validation_fraction=fraction).fit(train)


@pytest.mark.parametrize("way", ["fraction", "given", "new ids"])
def test_refit_trains_on_all_ratings_as_long_as_was_best(parts, way):
    train, test = parts
    params = {"n_factors": 32, "reg": 0.0, "reg_row": 0.0, "implicit_feedback": "none"}
    params |= {"learning_rate": 0.2, "n_epochs": 30, "schedule": "constant"}
    found = model_of(**params).fit(train, validation=0.2 if way == "fraction" else test)
    assert found.n_epochs_ < len(found.history_)  # it overfits
    if way == "fraction":
        whole = train
        model = model_of(**params, refit=True, validation_fraction=0.2).fit(train)
    elif way == "given":
        rows = [
            np.concatenate(pair) for pair in zip(train.to_arrays(), test.to_arrays(), strict=True)
        ]
        whole = wf.Ratings.from_arrays(*rows)
        model = model_of(**params, refit=True).fit(train, validation=test)
    else:
        users, items, values = test.to_arrays()
        X, y = np.c_[[*users, 1000], [*items, 2000]], np.r_[values, 3.0]
        rows = train.to_arrays()
        whole = wf.Ratings.from_arrays(
            np.r_[rows[0], X[:, 0]], np.r_[rows[1], X[:, 1]], np.r_[rows[2], y]
        )
        model = model_of(**params, refit=True).fit(train, validation=(X, y))
        assert 1000 in model.user_ids_
    params["n_epochs"] = found.n_epochs_
    expected = model_of(**params).set_params(reg_bias_row=model.chosen_["reg_bias_row"]).fit(whole)
    np.testing.assert_array_equal(model.user_factors_, expected.user_factors_)
    assert model.history_[0]["valid_rmse"] == found.history_[0]["valid_rmse"]
    assert model.n_epochs_ == found.n_epochs_
    with pytest.raises(ValueError, match=r"refit=True needs validation ratings"):
        model_of(refit=True).fit(train)


def test_early_stopping_of_an_ensemble_takes_the_members_best_epochs(parts):
    train, test = parts
    member = model_of(n_epochs=500, validation_fraction=0.2)
    ensemble = wf.Ensemble(member, 2, intervals=False).fit(train)
    assert len(ensemble.history_) == 60
    assert np.isfinite(ensemble.history_[0]["valid_rmse"])
    watched = wf.Ensemble(model_of(n_epochs=500), 2, intervals=False).fit(train, validation=test)
    assert len(watched.history_) == 60


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam", "gd"])
@pytest.mark.parametrize("way", [{}, {"batch_size": 200}, {"loss": "huber"}])
def test_the_best_epoch_comes_back_with_every_optimizer(parts, optimizer, way):
    if optimizer == "gd" and "batch_size" in way:
        pytest.skip("gd takes all ratings together")
    train, test = parts
    model = model_of(n_epochs=40, optimizer=optimizer, **way).fit(train, validation=test)
    curve = [record["valid_loss"] for record in model.history_]
    falls = optimizer != "gd"  # then the last of those that are as good as the lowest
    as_good = np.flatnonzero(curve <= np.minimum.accumulate(curve) * (1 + 5e-4 * falls))
    assert model.n_epochs_ == as_good[-1] + 1
    known = np.isin(test.users, train.users) & np.isin(test.items, train.items)
    error = wf.metrics.rmse(test.values[known], model.predict(test)[known])
    assert error == pytest.approx(model.history_[model.n_epochs_ - 1]["valid_rmse"], rel=1e-5)


def test_scikit_learns_callbacks_see_the_epochs(parts):
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has none")

    class Tasks:
        def __init__(self):
            self.told, self.models = [], []

        def setup(self, estimator, context):
            self.told.append("setup")

        def on_fit_task_begin(self, estimator, context):
            self.told.append(f"begin {context.task_name}")

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            self.told.append(f"end {context.task_name}")
            self.models.append(fitted_estimator)
            return context.task_name == "epoch" and context.task_id == 1

        def teardown(self, estimator, context):
            self.told.append("teardown")

    tasks = Tasks()
    assert isinstance(tasks, callback.FitCallback)
    model = model_of().set_callbacks(tasks).fit(parts[0])
    assert tasks.told == [
        "setup", "begin fit", "begin epoch", "end epoch", "begin epoch", "end epoch", "end fit",
        "teardown",
    ]  # fmt: skip
    assert len(model.history_) == 2
    for fitted in tasks.models[1:]:
        np.testing.assert_array_equal(fitted.predict(parts[1]), model.predict(parts[1]))
