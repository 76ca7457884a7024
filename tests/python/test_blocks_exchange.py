"""The block exchange of warpfactor.ray, by a crew in this process: without Ray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import warpfactor as wf
from warpfactor import _core
from warpfactor.ray.crew import LocalCrew, WorkerLostError
from warpfactor.ray.schedule import Rounds, calls_of
from warpfactor.ray.trainer import fit_by
from warpfactor.ray.worker import BlockWorker

PLAIN = {
    "implicit_feedback": "none",
    "reg": 0.04,
    "reg_bias": 0.05,
    "reg_row": 0,
    "reg_bias_row": 0,
}
SHORT = {"n_factors": 8, "n_epochs": 6, "random_state": 3, "verbose": 0}


@pytest.fixture(scope="module")
def data():
    made = wf.datasets.make_ratings(600, 400, 24_000, n_factors=4, random_state=1)
    return wf.train_test_split(made.ratings, test_size=0.2, random_state=0)


def fitted(
    data: Any,
    n_workers: int = 1,
    crew: Any = None,
    n_blocks: int = 4,
    copy_every: int | None = None,
    sample_weight: Any = None,
    implicit: Any = None,
    **params: Any,
) -> Any:
    train, test = data
    estimator = wf.MatrixFactorization(**SHORT | params)
    crew = crew or LocalCrew(n_workers, n_threads=params.get("n_threads", 1))
    given = {"sample_weight": sample_weight, "implicit": implicit}
    return fit_by(crew, estimator, train, test, n_blocks=n_blocks, copy_every=copy_every, **given)


def bits(estimator: Any) -> bytes:
    model = estimator.model_
    arrays = (
        model.user_factors_,
        model.item_factors_,
        model.user_biases_,
        model.item_biases_,
        np.array([[record["train_loss"], record["valid_loss"]] for record in model.history_]),
    )
    return b"".join(array.tobytes() for array in arrays)


@pytest.mark.parametrize("params", [PLAIN, {}], ids=["plain", "prior means"])
def test_the_number_of_workers_and_threads_does_not_change_a_bit(data, params):
    one = bits(fitted(data, 1, **params))
    assert bits(fitted(data, 2, **params)) == one
    assert bits(fitted(data, 4, **params)) == one
    assert bits(fitted(data, 3, crew=LocalCrew(3, n_threads=2), **params)) == one
    assert bits(fitted(data, 1, n_blocks=5, **params)) != one


def test_the_order_of_an_epoch_does_not_depend_on_the_workers():
    def met(n_blocks: int, n_workers: int, n_rounds: int, n_ratings: int) -> Any:
        """Return what each block of users and of items meets, in its order."""
        users, _, n_groups, most = _core.block_order(n_blocks, 3, 1)
        rounds = Rounds(n_groups, min(n_rounds, most))
        n_steps = rounds.n_steps(n_blocks, n_workers, n_ratings)
        of_users: dict[int, list[int]] = {block: [] for block in range(n_blocks)}
        of_items: dict[int, list[int]] = {block: [] for block in range(n_blocks)}
        for call in calls_of(users, rounds, n_steps, lambda block: block * n_workers // n_blocks):
            for user, item in (
                (u, i) for task in call.tasks for u in task.users for i in task.turns
            ):
                of_users[user].append(item)
                of_items[item].append(user)
        return of_users, of_items

    for n_blocks in (1, 2, 3, 5, 8, 12, 16, 64):
        for n_rounds in (1, 2, 4):
            one = met(n_blocks, 1, n_rounds, 0)
            assert all(
                sorted(each) == list(range(n_blocks)) for side in one for each in side.values()
            )
            for n_workers in (2, 3, 4, 8):
                for n_ratings in (0, 10**10):
                    if n_workers <= n_blocks:
                        assert met(n_blocks, n_workers, n_rounds, n_ratings) == one


@pytest.mark.parametrize(
    "params",
    [
        PLAIN,
        {},
        {"implicit_feedback": "users", "reg": 0.02, "reg_row": 4, "reg_implicit": 4},
        {"implicit_feedback": "items", "reg": 0.02, "reg_row": 4, "reg_implicit": 4},
        PLAIN | {"optimizer": "adam"},
        PLAIN | {"optimizer": "adagrad", "loss": "huber"},
        PLAIN | {"momentum": 0.5, "warmup_epochs": 2, "n_factors": 20},
        PLAIN | {"dtype": "float64", "biases": False},
    ],
    ids=["plain", "default", "users", "items", "adam", "adagrad", "momentum", "float64"],
)
def test_quality_is_that_of_one_machine(data, params):
    train, test = data
    params = {"n_epochs": 15, "early_stopping": False} | params
    alone = wf.MatrixFactorization(**SHORT | params).fit(train, validation=test)
    blocks = fitted(data, 2, **params)
    errors = [model.history_[-1]["valid_rmse"] for model in (alone, blocks)]
    # Another order of the ratings is another sample of SGD's noise: seeds differ by as much.
    other = wf.MatrixFactorization(**SHORT | params | {"random_state": 4}).fit(
        train, validation=test
    )
    noise = abs(other.history_[-1]["valid_rmse"] - errors[0])
    assert abs(errors[1] - errors[0]) < max(0.004, 3 * noise)
    assert blocks.chosen_.keys() == alone.chosen_.keys()
    assert wf.metrics.rmse(test.values, blocks.predict(test)) == pytest.approx(errors[1], abs=1e-5)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "poisson", "absolute"])
def test_other_losses_are_trained_as_on_one_machine(loss):
    made = wf.datasets.make_ratings(300, 200, 9_000, n_factors=3, random_state=2).ratings
    users, items, values = made.to_arrays()
    labels = loss in ("logistic", "squared_hinge")
    values = np.where(values > np.median(values), 1.0, 0.0) if labels else np.abs(values)
    data = wf.train_test_split(wf.Ratings.from_arrays(users, items, values), random_state=0)
    alone = wf.MatrixFactorization(**SHORT, loss=loss).fit(data[0], validation=data[1])
    blocks = fitted(data, 2, loss=loss)
    assert bits(blocks) == bits(fitted(data, 4, loss=loss))
    last = [model.history_[-1]["valid_loss"] for model in (alone, blocks)]
    assert last[1] == pytest.approx(last[0], rel=0.05)


def test_weights_count_as_on_one_machine(data):
    train, test = data
    weights = np.random.default_rng(0).integers(0, 4, len(train)).astype(np.float32)
    params = {"reg": 0.02, "reg_row": 4, "reg_implicit": 4}
    blocks = fitted(data, 2, sample_weight=weights, **params)
    assert bits(fitted(data, 3, sample_weight=weights, **params)) == bits(blocks)
    # To count twice what a rating says twice, and what weighs nothing not at all, is another order of the same.
    alone = wf.MatrixFactorization(**SHORT | params).fit(
        train, sample_weight=weights, validation=test
    )
    errors = [model.history_[-1]["valid_rmse"] for model in (alone, blocks)]
    assert abs(errors[1] - errors[0]) < 0.004
    unweighted = fitted(data, 2, **params)
    assert bits(unweighted) != bits(blocks)
    counted = np.bincount(train.users[weights > 0], minlength=train.n_users)
    assert np.array_equal(blocks.model_.user_counts_, counted)
    assert blocks.model_.n_ratings_ == np.count_nonzero(weights)
    assert len(blocks.model_.seen_[1]) == np.count_nonzero(weights)
    # Those of drawn validation ratings count too.
    drawn = fitted((train, 0.2), 2, sample_weight=weights, **params)
    assert bits(fitted((train, 0.2), 1, sample_weight=weights, **params)) == bits(drawn)
    with pytest.raises(ValueError, match=r"sample_weight\[3\] is -1"):
        fitted(data, sample_weight=np.where(np.arange(len(train)) == 3, -1, 1))


def test_losses_and_penalties_of_one_s_own_are_trained_by_the_workers(data):
    pytest.importorskip("numba")
    train, test = data
    own = {
        "loss": wf.losses.custom(lambda r, x: wf.losses.log(1 + (r - x) ** 2)),
        "reg": 0.02,
        "reg_row": 4,
        "reg_implicit": 4,
    }
    blocks = fitted(data, 2, **own)
    assert bits(fitted(data, 3, **own)) == bits(blocks)
    alone = wf.MatrixFactorization(**SHORT | own).fit(train, validation=test)
    losses = [model.history_[-1]["valid_loss"] for model in (alone, blocks)]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    shrunk = PLAIN | {"penalty": wf.losses.penalty(lambda w: w**2), "reg": 0.4}
    assert bits(fitted(data, 2, **shrunk)) == bits(fitted(data, 1, **shrunk))
    sizes = [np.abs(fitted(data, 2, **each).user_factors_).mean() for each in (PLAIN, shrunk)]
    assert sizes[1] < sizes[0]


def test_pairs_without_a_rating_count_for_the_prior_means(data):
    train, test = data
    params = {"reg": 0.02, "reg_row": 4, "reg_implicit": 4}
    pairs = np.c_[test.user_ids[test.users], test.item_ids[test.items]]
    blocks = fitted(data, 2, implicit=pairs, **params)
    assert bits(fitted(data, 4, implicit=pairs, **params)) == bits(blocks)
    assert bits(fitted(data, 2, **params)) != bits(blocks)
    alone = wf.MatrixFactorization(**SHORT | params).fit(train, validation=test, implicit=pairs)
    errors = [model.history_[-1]["valid_rmse"] for model in (alone, blocks)]
    assert abs(errors[1] - errors[0]) < 0.004
    with pytest.raises(ValueError, match="implicit_feedback is 'none'"):
        fitted(data, implicit=pairs, **PLAIN)


class Failing(LocalCrew):
    """Loses a worker at some call."""

    def __init__(self, at: set[int]) -> None:
        super().__init__(2)
        self.at, self.calls, self.n_lost = at, 0, 0

    def call(self, worker: int, method: str, *arguments: Any, n_returns: int = 1) -> Any:
        self.calls += 1
        if self.calls in self.at:
            self.lose(worker)
            self.n_lost += 1
        return super().call(worker, method, *arguments, n_returns=n_returns)


def test_a_lost_worker_changes_no_bit(data):
    params = {"n_epochs": 4, "reg": 0.02, "reg_row": 4, "reg_implicit": 4}
    whole = bits(fitted(data, 2, **params))
    for every in (1, 3, None):
        crew = Failing(set())
        assert bits(fitted(data, crew=crew, copy_every=every, **params)) == whole
        # How often copies are made where nobody says is a matter of time, and so is the number of calls.
        last = crew.calls if every else crew.calls // 2
        for moment in map(int, np.random.default_rng(0).integers(12, last, 5)):
            crew = Failing({moment, moment + 30})
            again = fitted(data, crew=crew, copy_every=every, **params)
            assert bits(again) == whole, (every, moment)
            assert crew.n_lost


def test_a_worker_that_is_always_lost_ends_the_fit(data):
    crew = Failing(set(range(30, 100_000)))
    with pytest.raises(WorkerLostError):
        fitted(data, crew=crew, **PLAIN)


def test_early_stopping_and_callbacks_are_those_of_one_machine(data):
    seen: list[Any] = []

    class Watcher(wf.callbacks.Callback):
        def on_train_begin(self, fit):
            self.fit = fit

        def on_epoch_end(self, record):
            model = self.fit.model()
            seen.append((record, model.predict(data[1])))

    params = PLAIN | {"n_epochs": 60, "learning_rate": 0.2, "reg": 0.0, "n_factors": 16}
    blocks = fitted(data, 2, callbacks=[Watcher()], **params)
    alone = wf.MatrixFactorization(**SHORT | params).fit(data[0], validation=data[1])
    assert 1 < blocks.n_epochs_ < len(blocks.history_) < 60
    assert 1 < alone.n_epochs_ < len(alone.history_) < 60
    assert [record["epoch"] for record, _ in seen] == [r["epoch"] for r in blocks.history_]
    best = blocks.n_epochs_ - 1
    for at in (0, best):
        error = wf.metrics.rmse(data[1].values, seen[at][1])
        assert error == pytest.approx(blocks.history_[at]["valid_rmse"], abs=1e-5)
    assert np.array_equal(blocks.predict(data[1]), seen[best][1])
    ids, _ = blocks.recommend(data[0].user_ids[:5], n=3)
    assert not set(ids[0]) & set(data[0].item_ids[data[0].items[data[0].users == 0]])


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"batch_size": 64}, "batch_size is 64; it must be 0"),
        ({"optimizer": "gd"}, "optimizer is 'gd'; it must be another"),
        ({"parallel": "hogwild"}, "parallel is 'hogwild'"),
        ({"warm_start": True}, "warm_start is True; it must be False"),
        ({"refit": True}, "refit is True; it must be False"),
        ({"init": (np.zeros((600, 8)), np.zeros((400, 8)))}, "it must be 'auto' or a number"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused_by_name(data, params, said):
    with pytest.raises(ValueError, match=said):
        fitted(data, **params)


class Ended(Exception):
    """Stands for the end of the process that called `fit`."""


@pytest.mark.parametrize(
    "params",
    [
        {"reg": 0.02, "reg_row": 4, "reg_implicit": 4},
        PLAIN | {"optimizer": "adam"},
        PLAIN | {"learning_rate": 0.2, "reg": 0.0, "n_factors": 16, "n_epochs": 40},
    ],
    ids=["prior means", "adam", "early stopping"],
)
def test_a_fit_goes_on_from_its_checkpoint_to_the_same_bits(data, params, tmp_path):
    train, test = data
    path = tmp_path / "checkpoint"

    def fit(crew: Any, **more: Any) -> Any:
        callbacks = more.pop("callbacks", ())
        estimator = wf.MatrixFactorization(**SHORT | params, callbacks=callbacks)
        return fit_by(crew, estimator, train, test, n_blocks=4, **more)

    whole = fit(LocalCrew(2))
    n_epochs = len(whole.history_)
    for end in (1, 4, n_epochs - 1):

        def stop(record: Any, end: int = end) -> None:
            if record["epoch"] == end + 1:
                raise Ended

        with pytest.raises(Ended):
            fit(LocalCrew(2), checkpoint=path, resume=False, callbacks=[stop])
        # Another driver, and as many workers as there are now.
        seen: list[int] = []
        model = fit(
            LocalCrew(3),
            checkpoint=path,
            resume=True,
            callbacks=[lambda r, seen=seen: seen.append(r["epoch"])],
        )
        assert bits(model) == bits(whole), end
        assert seen == list(range(end + 1, n_epochs + 1))
    # A worker that is lost after that goes back to where the fit went on from, or later.
    with pytest.raises(Ended):
        fit(LocalCrew(2), checkpoint=path, resume=False, callbacks=[stop])
    crew = Failing({30, 60})
    assert bits(fit(crew, checkpoint=path, resume=True, copy_every=1)) == bits(whole)
    assert crew.n_lost


def test_a_checkpoint_of_another_fit_is_refused_with_what_differs(data, tmp_path):
    train, test = data
    path = tmp_path / "checkpoint"
    fit_by(
        LocalCrew(1),
        wf.MatrixFactorization(**SHORT | PLAIN),
        train,
        test,
        n_blocks=4,
        checkpoint=path,
        every=2,
    )

    def go_on(train: Any, n_blocks: int = 4, **params: Any) -> Any:
        estimator = wf.MatrixFactorization(**SHORT | PLAIN | params)
        return fit_by(LocalCrew(1), estimator, train, test, n_blocks=n_blocks, resume=path)

    assert len(go_on(train).history_) == SHORT["n_epochs"]
    with pytest.raises(ValueError, match=r"num_blocks are 5 \(in the checkpoint 4\)"):
        go_on(train, 5)
    with pytest.raises(ValueError, match=r"the checkpoint of another fit: momentum is 0\.5"):
        go_on(train, momentum=0.5)
    with pytest.raises(ValueError, match="ratings of all workers are"):
        go_on(train.take(np.arange(len(train) - 1)))
    # One machine takes the ratings in another order.
    with pytest.raises(ValueError, match=r"num_blocks are none \(in the checkpoint 4\)"):
        wf.MatrixFactorization(**SHORT | PLAIN).fit(train, validation=test, resume=path)


class Unlike(LocalCrew):
    """Workers with other kernels than those of this machine."""

    def __init__(self, kernels: str) -> None:
        super().__init__(2)
        self.kernels = kernels

    def call(self, worker: int, method: str, *arguments: Any, n_returns: int = 1) -> Any:
        told = super().call(worker, method, *arguments, n_returns=n_returns)
        return (told[0], self.kernels, told[2]) if method == "about" else told


def test_a_checkpoint_remembers_the_kernels_of_the_workers(data, tmp_path, recwarn):
    train, test = data
    path = tmp_path / "checkpoint"

    def fit(kernels: str, **given: Any) -> Any:
        estimator = wf.MatrixFactorization(**SHORT | PLAIN)
        return fit_by(Unlike(kernels), estimator, train, test, n_blocks=4, **given)

    assert fit("fast", checkpoint=path).model_.instruction_set_ == "fast"
    fit("fast", resume=path)  # on a machine whose own are others
    assert not [each for each in recwarn if "instruction set" in str(each.message)]
    with pytest.warns(UserWarning, match=r"instruction set is slow \(in the checkpoint fast\)"):
        fit("slow", resume=path)


def test_few_users_with_many_ratings_are_trained_or_refused_in_words():
    # More than a million ratings, of which a sample of users is looked at, and none of these users is in it.
    rng = np.random.default_rng(0)
    n, n_users, n_items = 2_000_000, 2, 3_000
    users, items = rng.integers(0, n_users, n), rng.integers(0, n_items, n)
    ratings = wf.Ratings(
        users,
        items,
        rng.integers(1, 6, n).astype(np.float32),
        np.arange(n_users),
        np.arange(n_items),
    )
    assert not _core.sampled_users(np.arange(n_users, dtype=np.int32), n, 3).any()

    def fit(**params: Any) -> Any:
        estimator = wf.MatrixFactorization(
            2, n_epochs=1, random_state=3, verbose=0, n_threads=1, **params
        )
        return fit_by(LocalCrew(1), estimator, ratings, None, n_blocks=2)

    with pytest.raises(
        ValueError, match=r"reg_bias_row is open; it must be given for so few users"
    ):
        fit(reg=0.05, reg_row=1.0)
    given = fit(reg=0.05, reg_row=1.0, reg_bias=0.02, reg_bias_row=1.0, learning_rate=0.02)
    assert np.isfinite(given.predict(ratings.take(np.arange(100)))).all()


def test_few_rows_make_few_blocks():
    ratings = wf.Ratings.from_arrays([0, 0, 1, 1, 2], [0, 1, 0, 2, 1], [1.0, 2, 3, 4, 5])
    model = wf.MatrixFactorization(n_factors=2, n_epochs=2, random_state=0, verbose=0)
    fit_by(LocalCrew(2), model, ratings, None, n_blocks=8)
    assert np.isfinite(model.predict(ratings)).all()
    with pytest.raises(ValueError, match="num_workers is 4, and there are 3 rows"):
        fit_by(LocalCrew(4), model, ratings, None, n_blocks=8)


def test_wrong_labels_are_found_in_any_block():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 500).astype(float)
    values[77] = 0.5
    ratings = wf.Ratings.from_arrays(rng.integers(0, 40, 500), rng.integers(0, 30, 500), values)
    with pytest.raises(ValueError, match="label"):
        model = wf.MatrixFactorization(loss="logistic", random_state=0, verbose=0)
        fit_by(LocalCrew(2), model, ratings, None, n_blocks=4)


def test_a_worker_says_what_it_is():
    version, kernels, threads = BlockWorker(2).about(32, np.dtype(np.float32))
    assert (version, threads) == (wf.__version__, 2) and kernels
