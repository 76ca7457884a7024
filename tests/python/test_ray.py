"""warpfactor.ray on a local cluster of Ray."""

from __future__ import annotations

import os
import re
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

import warpfactor as wf

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'warpfactor[ray]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray warns of its own affairs

SHORT = {"n_factors": 4, "n_epochs": 3, "random_state": 3, "verbose": 0}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(
        num_cpus=4,
        include_dashboard=False,
        object_store_memory=200_000_000,
        log_to_driver=False,
        configure_logging=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def data():
    made = wf.datasets.make_ratings(300, 200, 9_000, n_factors=3, random_state=1)
    return wf.train_test_split(made.ratings, test_size=0.2, random_state=0)


@pytest.fixture(scope="module")
def local(data):
    """What a crew in this process fits, to which the actors' bits are compared."""
    from warpfactor.ray.crew import LocalCrew
    from warpfactor.ray.trainer import fit_by

    return fit_by(LocalCrew(2), wf.MatrixFactorization(**SHORT), *data, n_blocks=4)


def same(one: Any, other: Any) -> bool:
    names = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def trainer(n_workers: int = 2, **options: Any) -> Any:
    from warpfactor.ray import RayTrainer

    model = wf.MatrixFactorization(**SHORT | options)
    return RayTrainer(model, num_workers=n_workers, num_blocks=4)


def table(ratings: wf.Ratings) -> pa.Table:
    users, items, values = ratings.to_arrays()
    return pa.table({"user": users, "item": items, "rating": values})


@pytest.mark.parametrize("n_workers", [1, 4])
def test_the_number_of_actors_does_not_change_a_bit(data, local, n_workers):
    model = trainer(n_workers).fit(*data)
    assert isinstance(model, wf.MatrixFactorization)
    assert same(model, local)
    assert [r["valid_rmse"] for r in model.history_] == [r["valid_rmse"] for r in local.history_]
    assert model.n_threads_ == n_workers


def test_a_killed_worker_changes_no_bit(data, local, monkeypatch):
    from warpfactor.ray import trainer as module

    crews: list[Any] = []

    class Known(module.RayCrew):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            crews.append(self)

    class Killer(wf.callbacks.Callback):
        """Kills the process of a worker while the second epoch runs."""

        def on_train_begin(self, fit):
            pid = crews[0].actors[1].__ray_call__.remote(lambda worker: os.getpid())
            self.pid = ray.get(pid)

        def on_epoch_end(self, record):
            if record["epoch"] == 1:
                threading.Timer(0.002, os.kill, (self.pid, signal.SIGKILL)).start()

    monkeypatch.setattr(module, "RayCrew", Known)
    killer = Killer()
    assert same(trainer(callbacks=[killer]).fit(*data), local)
    with pytest.raises(ProcessLookupError):
        os.kill(killer.pid, 0)


def test_a_lost_driver_s_fit_goes_on_from_its_checkpoint(data, local, tmp_path):
    path = tmp_path / "checkpoint"

    def end(record: Any) -> None:
        if record["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(callbacks=[end]).fit(*data, checkpoint=path)
    assert same(trainer(4).fit(*data, checkpoint=path, resume=True), local)


def test_files_references_and_data_sets_are_read_by_the_workers(data, local, tmp_path):
    train, test = data
    whole = table(train)
    for number, at in enumerate(range(0, len(train), 3000)):
        pa.parquet.write_table(whole.slice(at, 3000), tmp_path / f"{number}.parquet")
    files = trainer().fit(tmp_path, test)
    # The order of a block's ratings is that of the input, which is the same.
    assert same(files, local)
    parts = [ray.put(whole.slice(0, 4000)), ray.put(whole.slice(4000))]
    assert same(trainer(4).fit(parts, test), local)
    arrays = ray.put(train.to_arrays())
    assert same(trainer(1).fit(arrays, ray.put(table(test))), local)
    from ray import data as ray_data

    stored = ray_data.read_parquet(str(tmp_path))
    assert same(trainer().fit(stored, test), local)
    assert np.array_equal(files.model_.seen_[1], local.model_.seen_[1])


def test_weights_come_to_the_workers(data, tmp_path):
    from warpfactor.ray.crew import LocalCrew
    from warpfactor.ray.trainer import fit_by

    train, test = data
    weights = np.random.default_rng(0).integers(0, 3, len(train)).astype(np.float32)
    nobody = train.user_ids[0]
    weights[train.users == 0] = 0
    model = wf.MatrixFactorization(**SHORT)
    here = fit_by(LocalCrew(1), model, train, test, n_blocks=4, sample_weight=weights)
    assert same(trainer().fit(train, test, sample_weight=weights), here)
    weighted = table(train).append_column("times", pa.array(weights))
    pa.parquet.write_table(weighted, tmp_path / "0.parquet")
    files = trainer().fit(tmp_path, test, sample_weight="times")
    assert files.model_.n_ratings_ == here.model_.n_ratings_ == np.count_nonzero(weights)
    # A user or an item without a rating that counts is not in the files' model.
    assert nobody in here.user_ids_
    assert nobody not in files.user_ids_
    arrays = [ray.put((*train.to_arrays(), weights))]
    assert same(trainer(4).fit(arrays, test, sample_weight="weights"), files)


def test_a_part_that_does_not_count_does_not_end_a_fit(data):
    train, test = data
    whole = table(train)
    half = len(train) // 2
    ones = np.ones(len(train), np.float32)
    halves = [slice(0, half), slice(half, None)]

    def parts(weights: Any) -> Any:
        return [ray.put((*(each[at] for each in train.to_arrays()), weights[at])) for at in halves]

    zeros = np.where(np.arange(len(train)) < half, np.float32(0), ones)
    second = ray.put(whole.slice(half))
    alone = trainer().fit([second], test)
    weighted = trainer().fit(parts(zeros), test, sample_weight="w")
    assert weighted.model_.n_ratings_ == len(train) - half
    assert np.array_equal(weighted.user_ids_, alone.user_ids_)
    with pytest.raises(ValueError, match="sample_weight is 0 everywhere"):
        trainer().fit(parts(0 * ones), test, sample_weight="w")
    # A block of which a filter has left nothing.
    assert same(trainer().fit([ray.put(pa.table({})), second], test), alone)
    with pytest.raises(ValueError, match="data holds no ratings"):
        trainer().fit(ray.put(whole.slice(0, 0)))
    with pytest.raises(ValueError, match="validation holds no ratings"):
        trainer().fit(second, ray.put(whole.slice(0, 0)))


@pytest.mark.parametrize("names", ["abcw", "wabc"])
@pytest.mark.filterwarnings("always")
def test_the_column_of_the_weights_is_taken_for_no_other(data, names, recwarn):
    train, _ = data
    weights = np.random.default_rng(0).integers(0, 3, len(train)).astype(np.float32)
    columns = dict(zip("abc", train.to_arrays(), strict=True)) | {"w": weights}
    nameless = pa.table({name: columns[name] for name in names})
    fitted = trainer(1).fit([ray.put(nameless)] * 2, sample_weight="w")
    named = nameless.rename_columns({"a": "user", "b": "item", "c": "rating", "w": "w"})
    assert same(trainer(1).fit([ray.put(named)] * 2, sample_weight="w"), fitted)
    (told,) = [str(each.message) for each in recwarn if "in their order" in str(each.message)]
    assert told.startswith("data: no column has a usual name")
    assert "Pass user='a', item='b', rating='c' if" in told


def test_a_loss_of_one_s_own_comes_to_the_workers(data):
    pytest.importorskip("sympy")
    pytest.importorskip("numba")
    from warpfactor.ray.crew import LocalCrew
    from warpfactor.ray.trainer import fit_by

    own = {"loss": wf.losses.custom(lambda r, x: wf.losses.log(1 + (r - x) ** 2))}
    model = wf.MatrixFactorization(**SHORT | own)
    here = fit_by(LocalCrew(1), model, *data, n_blocks=4)
    assert same(trainer(**own).fit(*data), here)


def test_texts_are_numbered_as_on_one_machine(data):
    users, items, values = data[0].to_arrays()
    texts = np.array([f"u{user}" for user in users], object)
    halves = [slice(0, 4000), slice(4000, None)]
    parts = [ray.put((texts[at], items[at], values[at])) for at in halves]
    fitted = trainer(validation_fraction=None).fit(parts)
    assert np.array_equal(fitted.user_ids_, np.unique(texts))
    mixed = [ray.put((texts[:9], items[:9], values[:9])), ray.put((users, items, values))]
    with pytest.raises(ValueError, match=r"kind 'int'.*'str'"):
        trainer().fit(mixed)


def test_everybody_gets_the_lists_that_the_model_gives(local):
    from warpfactor.ray import recommend

    lists = recommend(local, n=3, batch_size=64).to_pandas()
    ids, scores = local.recommend(local.user_ids_, n=3)
    lists = lists.sort_values(["user", "rank"])
    assert np.array_equal(lists["item"].to_numpy().reshape(-1, 3), ids)
    assert np.array_equal(lists["score"].to_numpy().reshape(-1, 3), scores)
    some = recommend(local.model_, local.user_ids_[:7], n=2, exclude_seen=False)
    assert some.count() == 14
    with pytest.raises(ValueError, match="group is given"):
        recommend(local, group="mean")


def test_mistakes_are_named(data, tmp_path):
    from warpfactor.ray import RayTrainer

    with pytest.raises(ValueError, match=r"num_workers is 17; it must be at most.*num_blocks=136"):
        RayTrainer(wf.MatrixFactorization(), num_workers=17)
    with pytest.raises(ValueError, match="model is Ensemble"):
        RayTrainer(wf.Ensemble())
    with pytest.raises(ValueError, match=r"device is 'cuda'|CUDA"):
        trainer(device="cuda").fit(*data)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        trainer().fit(tmp_path / "none")
    with pytest.raises(
        ValueError, match="sample_weight is 'none'; it must be the name of a column"
    ):
        trainer().fit(ray.put(table(data[0])), sample_weight="none")
    for mistaken in ("none", tmp_path):
        with pytest.raises((FileNotFoundError, ValueError), match=r"^validation: "):
            trainer().fit(data[0], str(mistaken))
    with pytest.raises(ValueError, match=r"^validation has a tuple of 2"):
        trainer().fit(data[0], ray.put(data[1].to_arrays()[:2]))
    with pytest.raises(ValueError, match=r"^data has dict"):
        trainer().fit(ray.put({}))
    with pytest.raises(ValueError, match="resources_per_worker has num_gpus"):
        RayTrainer(wf.MatrixFactorization(), resources_per_worker={"num_gpus": 1})
    bad = data[0].to_arrays()[2]
    bad[5] = np.nan
    with pytest.raises(ValueError, match="nan is not finite"):
        trainer().fit(ray.put((*data[0].to_arrays()[:2], bad)))


def test_what_is_here_beside_what_is_not_is_refused_before_actors_start(data, monkeypatch):
    from warpfactor.ray import trainer as module

    monkeypatch.setattr(module, "RayCrew", None)
    with pytest.raises(ValueError, match=r"validation is 0\.1; of ratings that are not here"):
        trainer().fit(ray.put(data[0].to_arrays()), 0.1)
    with pytest.raises(ValueError, match="sample_weight is no name"):
        trainer().fit(ray.put(table(data[0])), sample_weight=np.ones(len(data[0])))
    with pytest.raises(ValueError, match="sample_weight is 'w'; it must be an array"):
        trainer().fit(*data, sample_weight="w")


def test_the_lines_of_the_tutorial_run(data, tmp_path):
    page = Path(__file__).parents[2] / "docs" / "tutorials" / "cluster.md"
    text = page.read_text(encoding="utf-8").replace("/shared", str(tmp_path))
    connect, train, recommend = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert 'ray.init(address="auto")' in connect  # which this module's fixture does in its own way
    (tmp_path / "ratings").mkdir()
    for part, path in zip(data, ("ratings/0.parquet", "held_out.parquet"), strict=True):
        wf.write_ratings(part, tmp_path / path)
    # Four workers of eight threads are more than the processors of a test.
    train = train.replace("num_workers=4", "num_workers=2").replace(
        "threads_per_worker=8", "threads_per_worker=1"
    )
    train = train.replace("model.safetensors", str(tmp_path / "model.safetensors"))
    names: dict[str, Any] = {}
    exec(train + recommend, names)  # noqa: S102
    assert wf.load(tmp_path / "model.safetensors").n_ratings_ == len(data[0])
    lists = pa.parquet.read_table(tmp_path / "lists")
    assert lists.column_names == ["user", "rank", "item", "score"]
    assert len(set(lists["user"].to_pylist())) == 300
