"""One fit on a cluster: `RayTrainer`."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from os import PathLike
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import check_count, is_number, warn
from ..data.ratings import Ratings, adopt_ratings
from ..formulas.losses import CustomLoss
from ..model.file import stored_params
from ..model.record import EpochRecord, origin_of
from ..serving.tables import Options
from ..training.callbacks import CallbackLife, Fit
from ..training.checkpoints import checkpoints_of
from ..training.core_params import core_params, typed_words
from ..training.estimator import MatrixFactorization
from ..training.fit import chosen_of, host_type
from ..training.given import Given, given_ratings, made_model, validation_arrays
from ..training.progress import EpochBar, check_verbose
from .cluster import RayCrew, import_ray
from .crew import Crew
from .exchange import BlockExchange, Holding, SideBlocks, divided
from .sources import Columns, Parts, count_parts, divide_part, parts_of, read_part
from .worker import Functions, Piece

__all__ = ["RayTrainer", "fit_by"]

_MOST_BLOCKS = 2**15


class RayTrainer:
    """Fits a `MatrixFactorization` on a cluster of Ray.

    Each worker, an actor, holds blocks of users with all of their ratings; blocks of items go round
    by way of the object store. The learning curve, early stopping, callbacks and what training
    chooses are those of a fit on one machine, up to the order of the ratings. For the same
    `num_blocks` and `random_state` the bits do not depend on how many workers there are, on processors
    of one kind. See :doc:`/how-to/cluster`.

    Parameters
    ----------
    model : MatrixFactorization
        The estimator with its parameters. It trains on CPUs, each rating in a step of its own
        (``batch_size=0``, and an optimizer other than "gd"), without `warm_start`, `refit` and initial
        factors. Losses and penalties of your own are compiled by each worker, which needs SymPy and
        Numba too.
    num_workers : int, default 1
        Actors, at most `num_blocks`, which should be eight times as many or more; a power of two, as
        halves of halves of the users go to workers.
    threads_per_worker : int, default 1
        Threads that train in each actor, and the CPUs that it asks of Ray.
    num_blocks : int, default 16
        Into how many blocks users and items are cut: enough for two workers. The bits depend on it.
    resources_per_worker : mapping, default None
        What else each actor takes, as ``ray.remote`` names it, such as ``{"memory": 8e9}`` or
        ``{"resources": {"big": 1}}``.
    copy_every : int or None, default None
        After how many epochs the rows of all blocks are copied into the memory of the machine that
        calls `fit`; None: as often as takes a twentieth of the time. When an actor is lost, the fit goes
        back to that copy and on to the same bits; what was done since is done again. Where the machine
        that calls `fit` is lost, its `checkpoint` helps.

    Examples
    --------
    >>> import warpfactor as wf
    >>> from warpfactor.ray import RayTrainer
    >>> trainer = RayTrainer(wf.MatrixFactorization(random_state=0), num_workers=4, num_blocks=32)
    >>> model = trainer.fit("s3fs/ratings/")  # doctest: +SKIP
    """

    def __init__(
        self,
        model: MatrixFactorization,
        *,
        num_workers: int = 1,
        threads_per_worker: int = 1,
        num_blocks: int = 16,
        resources_per_worker: Mapping[str, Any] | None = None,
        copy_every: int | None = None,
    ) -> None:
        if not isinstance(model, MatrixFactorization):
            raise ValueError(
                f"model is {type(model).__name__}; it must be a MatrixFactorization: the members of "
                "an Ensemble can be fitted one after the other"
            )
        self.model = model
        self.num_blocks = check_count("num_blocks", num_blocks, 1, _MOST_BLOCKS)
        self.num_workers = check_count("num_workers", num_workers, 1, _MOST_BLOCKS)
        if self.num_workers > self.num_blocks:
            raise ValueError(
                f"num_workers is {num_workers}; it must be at most num_blocks, which is {num_blocks}: "
                f"give num_blocks={min(8 * self.num_workers, _MOST_BLOCKS)}"
            )
        self.threads_per_worker = check_count("threads_per_worker", threads_per_worker, 1)
        self.copy_every = None if copy_every is None else check_count("copy_every", copy_every, 1)
        self.resources_per_worker = dict(resources_per_worker or {})
        for name, reason in (
            ("max_concurrency", "a worker makes one call after the other"),
            ("num_gpus", "the workers train on CPUs"),
        ):
            if name in self.resources_per_worker:
                raise ValueError(f"resources_per_worker has {name}; {reason}: leave it out")

    def fit(
        self,
        data: Any,
        validation: Any = None,
        *,
        user: str | None = None,
        item: str | None = None,
        rating: str | None = None,
        checkpoint: str | PathLike[str] | None = None,
        every: int = 1,
        resume: str | PathLike[str] | bool | None = None,
        sample_weight: Any = None,
        implicit: Any = None,
    ) -> MatrixFactorization:
        """Factorize ratings.

        Parameters
        ----------
        data : Ray data set, path, reference, or anything that `MatrixFactorization.fit` takes as X
            A ``ray.data.Dataset``; paths of Parquet files or folders, which all machines see; an
            object reference, or a list of them, each to a tuple of arrays (users, items, values), an
            Arrow, pandas or polars table, or `Ratings`. Other ratings are sent to the workers from here.
        validation : the same, default None
            Ratings to evaluate after every epoch, which are gathered here first.
        user, item, rating : str, default None
            Names of the columns. None takes common names; see `Ratings.from_frame`.
        checkpoint, every, resume
            As of `MatrixFactorization.fit`: the file, on the machine that calls this, from which the fit
            goes on to the same bits when that machine, or all of the cluster, was lost. Each time all
            rows are sent there. Another `num_workers` may go on; another `num_blocks` is another fit.
        sample_weight : array-like or str, default None
            Weights of the ratings, as of `MatrixFactorization.fit`; of data sets, files and references to
            tables the name of a column; of references to tuples, whose fourth array they are, any
            name. Of those, users and items without a weight above 0 are not in the model.
        implicit : array-like, default None
            Pairs without a rating, as of `MatrixFactorization.fit`, which are sent to the workers from here.

        Returns
        -------
        MatrixFactorization
            The estimator, fitted. Its model holds all factors and what each user has rated, on this
            machine: four bytes for each rating.

        Raises
        ------
        ValueError
            If ratings or parameters are not valid, or a parameter asks for what a cluster cannot do.
        DivergedError
            If training diverges.
        ImportError
            If Ray is not installed.
        """
        import_ray()
        resources = {"num_cpus": self.threads_per_worker, **self.resources_per_worker}
        # What cannot work is refused before actors are started.
        _core_of(self.model.get_params(deep=False))
        # Data sets are read by tasks, which need the CPUs that the actors will have.
        columns = Columns(user, item, rating)
        name = sample_weight if isinstance(sample_weight, str) else None
        data = parts_of(data, columns._replace(weight=name), "data")
        if validation is not None:
            validation = parts_of(validation, columns, "validation")
        _refuse_mixed(data, validation, sample_weight, self.model.validation_fraction)
        crew = RayCrew(self.num_workers, self.threads_per_worker, resources)
        try:
            return fit_by(
                crew,
                self.model,
                data,
                validation,
                n_blocks=self.num_blocks,
                copy_every=self.copy_every,
                checkpoint=checkpoint,
                every=every,
                resume=resume,
                sample_weight=sample_weight,
                implicit=implicit,
            )
        finally:
            crew.close()


def fit_by(
    crew: Crew,
    estimator: MatrixFactorization,
    data: Any,
    validation: Any,
    *,
    n_blocks: int,
    copy_every: int | None = None,
    checkpoint: Any = None,
    every: int = 1,
    resume: Any = None,
    sample_weight: Any = None,
    implicit: Any = None,
) -> MatrixFactorization:
    """Fit an estimator by a crew; see `RayTrainer`, whose arguments these are.

    `data` and `validation` are `Parts`, or what `MatrixFactorization.fit` takes.
    """
    started = perf_counter()
    params = estimator.get_params(deep=False)
    core = _core_of(params)
    _refuse_mixed(data, validation, sample_weight, params["validation_fraction"])
    checkpoints = checkpoints_of(checkpoint, every, resume)
    if params["random_state"] is None and checkpoints.seed is not None:
        core["seed"] = checkpoints.seed
    dtype = host_type(params["dtype"])
    given, holding = _held(crew, data, validation, sample_weight, params, core, n_blocks, dtype)
    pairs = None
    if implicit is not None:
        pairs = given.implicit_codes(implicit, core["implicit_feedback"])
    told = crew.get([holding.load(crew, block) for block in range(len(holding.users))])
    moments = _core.joined_moments([each for each, _ in told])
    holding = _weighed(holding, [weights for _, weights in told])
    counted = moments[0]
    sample = _sample(crew, holding, counted, core["seed"])
    loss = params["loss"] if isinstance(params["loss"], CustomLoss) else None
    functions = Functions(loss, params["penalty"])
    exchange = BlockExchange(crew, holding, core["n_factors"], dtype, functions, copy_every)
    validating = given.held_out is not None
    n_epochs = _core.most_epochs(core, counted, validating)
    options = Options(**{name: params[name] for name in Options._fields})

    def made(result: Any) -> Any:
        return made_model(
            given,
            result,
            stored_params(params),
            options,
            biases=core["biases"],
            chosen=chosen_of(core, result["chosen"]),
            origin=origin_of("MatrixFactorization", started),
        )

    fit = Fit(n_epochs, counted, core["loss"], validating=validating, history=checkpoints.history)
    kept = checkpoints.core(params)
    if kept is not None:
        # The trainer itself sees a sample of the ratings.
        kept["context"] |= {
            "num_blocks": str(len(holding.users)),
            "ratings of all workers": f"{counted} (moments {moments}, checksums {_checksums(holding)})",
        }
    train = getattr(_core, f"train_elsewhere_{dtype.name}")
    with (
        EpochBar(
            n_epochs,
            core["loss"],
            verbose=check_verbose(params["verbose"]),
            n_done=len(checkpoints.history),
        ) as bar,
        CallbackLife(params["callbacks"], fit) as life,
    ):

        def on_epoch(record: EpochRecord) -> bool:
            bar.advance(record)
            return life.epoch_end(record)

        def on_snapshot(_: EpochRecord, snapshot: Any) -> None:
            fit.offer(lambda: made(snapshot()))

        with typed_words():
            result = train(
                sample,
                holding.user_counts,
                holding.item_counts,
                moments,
                core,
                exchange,
                given.held_out,
                on_epoch,
                on_snapshot if life.takes_models else None,
                kept,
                implicit=pairs,
                **functions.addresses(dtype),
            )
        model = made(result)
        life.finish(model)
        bar.finish(model)
    estimator.model_ = model
    return estimator


def _checksums(holding: Holding) -> str:
    """Return what tells the counts and the weights of the rows from others."""
    arrays: list[NDArray[Any]] = [holding.user_counts, holding.item_counts]
    arrays += [each for each in (holding.user_weights, holding.item_weights) if each is not None]
    return " ".join(f"{zlib.crc32(each.tobytes()):08x}" for each in arrays)


def _weighed(holding: Holding, weights: list[Any]) -> Holding:
    """Return what is held with what the ratings of each code weigh, of what blocks of users told."""
    if weights[0] is None:
        return holding
    of_users, of_items = zip(*weights, strict=True)
    users = np.concatenate(of_users)[holding.users.position]
    items = sum(of_items)[holding.items.position]
    return holding._replace(user_weights=users, item_weights=items)


def _core_of(params: Mapping[str, Any]) -> _core.TrainParams:
    """Check the parameters, and refuse what a cluster cannot do."""
    core = core_params(params)
    if params["device"] == "auto":
        core["device"] = "cpu"
    refused = {
        "device": (
            core["device"] != "cpu",
            "'cpu' or 'auto' on a cluster, since a device cannot take one block of items in and give it back",
        ),
        "batch_size": (
            core["batch_size"] > 0,
            "0: on a cluster each rating makes a step of its own",
        ),
        "optimizer": (
            core["optimizer"] == "gd",
            "another than 'gd', which takes all ratings at once",
        ),
        "parallel": (core["parallel"] == "hogwild", "'auto' or 'blocked' on a cluster"),
        "init": (isinstance(params["init"], (tuple, list)), "'auto' or a number on a cluster"),
        "warm_start": (bool(params["warm_start"]), "False on a cluster"),
        "refit": (bool(params["refit"]), "False on a cluster: fit again on all ratings"),
    }
    for name, (is_refused, fix) in refused.items():
        if is_refused:
            raise ValueError(f"{name} is {params[name]!r:.80}; it must be {fix}")
    return core


def _refuse_mixed(data: Any, validation: Any, sample_weight: Any, fraction: Any) -> None:
    """Refuse arguments for ratings that are here beside ratings that are not, and the other way."""
    if not isinstance(data, Parts):
        if isinstance(sample_weight, str):
            raise ValueError(
                f"sample_weight is {sample_weight!r}; it must be an array where the ratings are here"
            )
        return
    if sample_weight is not None and not isinstance(sample_weight, str):
        raise ValueError(
            "sample_weight is no name; of ratings that are not here it must be the name of the column "
            "that has the weights"
        )
    drawn = fraction if validation is None else validation
    if is_number(drawn):
        raise ValueError(
            f"{'validation_fraction' if validation is None else 'validation'} is {drawn}; of ratings that "
            "are not here none are drawn: give fit(validation=...) the ratings to validate with"
        )


def _held(
    crew: Crew,
    data: Any,
    validation: Any,
    sample_weight: Any,
    params: Mapping[str, Any],
    core: _core.TrainParams,
    n_blocks: int,
    dtype: np.dtype[Any],
) -> tuple[Given, Holding]:
    """Return the ratings as a model needs them, and what the workers are to hold."""
    if isinstance(validation, Parts):
        validation = _gathered(crew, validation)

    def holding(user_counts: Any, item_counts: Any, pieces: Any) -> Holding:
        counts = user_counts.astype(np.uint32), item_counts.astype(np.uint32)
        # As many blocks for any number of workers; each has a row.
        blocks = min(n_blocks, *map(len, counts))
        if blocks < crew.n_workers:
            raise ValueError(
                f"num_workers is {crew.n_workers}, and there are {blocks} rows of the smaller side "
                "to divide: use fewer workers"
            )
        size = dtype.itemsize
        cut = _core.cut_sides(*counts, int(user_counts.sum()), core, blocks, size)
        users, items = SideBlocks(cut["users"]), SideBlocks(cut["items"])
        return Holding(users, items, cut, *counts, pieces(users, items))

    if not isinstance(data, Parts):
        given = given_ratings(
            data,
            None,
            sample_weight=sample_weight,
            validation=validation,
            fraction=params["validation_fraction"],
            seed=core["seed"],
        )
        ratings = cast("Ratings", given.ratings)  # of a source that is not read in parts
        codes = Piece(ratings.users, ratings.items, ratings.values, given.weights)
        if codes.weights is not None and not codes.weights.all():
            codes = codes.take(codes.weights > 0)  # the others count for nothing
        return given, holding(
            np.bincount(codes.users, minlength=ratings.n_users),
            np.bincount(codes.items, minlength=ratings.n_items),
            lambda users, items: [[crew.put(piece)] for piece in divided(users, items, codes)],
        )
    found = count_parts(crew, data)
    if found.guess:
        warn(f"data: {found.guess}")
    if not found.user_counts.sum():
        raise ValueError(
            "data holds no ratings: at least one is needed"
            if sample_weight is None
            else "sample_weight is 0 everywhere; at least one weight must be above 0"
        )

    def pieces(users: SideBlocks, items: SideBlocks) -> list[list[Any]]:
        known = [crew.put(each) for each in (found.user_ids, found.item_ids, users, items)]
        of_parts = [
            crew.task(divide_part, part, rows, *known, n_returns=len(users)) for part, rows in data
        ]
        if len(users) == 1:
            return [list(of_parts)]
        return [list(column) for column in zip(*of_parts, strict=True)]

    held = holding(found.user_counts, found.item_counts, pieces)
    # What each user has rated, for recommendations; a model keeps no values.
    users, items = _seen(crew, held)
    values = np.broadcast_to(np.float32(0), len(users))
    ratings = adopt_ratings(users, items, values, found.user_ids, found.item_ids)
    held_out = None if validation is None else validation_arrays(validation, ratings)
    return Given(ratings, None, held_out), held


def _gathered(crew: Crew, parts: Parts) -> Ratings:
    """Return validation ratings here."""
    read = crew.get([crew.task(read_part, part, rows) for part, rows in parts])
    guess = next((each.guess for each in read if each.guess), "")
    if guess:
        warn(f"validation: {guess}")
    # Ids of nothing have no kind that could be joined.
    columns = [each.ratings.to_arrays() for each in read if len(each.ratings)]
    if not columns:
        raise ValueError("validation holds no ratings: at least one is needed")
    return Ratings.from_arrays(*map(np.concatenate, zip(*columns, strict=True)))


def _seen(crew: Crew, holding: Holding) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the codes of all pairs."""
    users, items = [], []
    for block, references in enumerate(holding.pieces):
        codes = holding.users.codes[holding.users.block(block)]
        for rows, columns, *_ in crew.get(references):
            users.append(codes[rows])
            items.append(holding.items.codes[columns])
    return np.concatenate(users), np.concatenate(items)


def _sample(crew: Crew, holding: Holding, counted: int, seed: int) -> _core.RatingArrays:
    """Return the ratings that the trainer looks at itself."""
    told = []
    for block in range(len(holding.users)):
        codes = holding.users.codes[holding.users.block(block)]
        worker = holding.worker_of(block, crew.n_workers)
        told.append(crew.call(worker, "sample", block, codes, counted, seed))
    sample = Piece.joined(crew.get(told))
    return sample._replace(items=holding.items.codes[sample.items]).arrays()
