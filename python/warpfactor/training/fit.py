"""One fit: from whatever holds ratings, and the parameters, to a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import check_flag, in_words_of, is_number, option, where_typed
from ..data.ratings import Ratings
from ..data.stored import BYTES_PER_RATING, StoredRatings
from ..exceptions import CudaError
from ..formulas.cuda_compile import DeviceKernels, device_kernels
from ..formulas.losses import CustomLoss
from ..model.file import stored_params
from ..model.model import Model
from ..model.record import EpochRecord, origin_of
from ..parameters import PARAMETERS, PYTHON_NAMES
from ..serving.device import free_cached
from ..serving.tables import Options
from .callbacks import CallbackLife, Fit
from .checkpoints import Checkpoints, checkpoints_of
from .core_params import core_params, float_type, typed_words
from .given import Given, joined, made_model
from .progress import EpochBar, check_verbose
from .streams import Disk, given_from
from .warm import First, first_rows, kept_choice

__all__ = ["chosen_of", "fit_model", "found_strengths", "host_type", "search_key"]


def fit_model(
    params: Mapping[str, Any],
    X: Any,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    validation: Any = None,
    implicit: Any = None,
    start: Model | None = None,
    checkpoint: Any = None,
    every: int = 1,
    resume: Any = None,
    scratch: Any = None,
    buffer: int | None = None,
) -> Model:
    """Factorize ratings; see `MatrixFactorization.fit`.

    Parameters
    ----------
    params : mapping
        All parameters of `MatrixFactorization` by name.
    X, y, sample_weight, validation, implicit, scratch, buffer
        As of `MatrixFactorization.fit`.
    start : Model or None, default None
        A model to go on from; see `warm_start`.
    checkpoint, every, resume
        As of `MatrixFactorization.fit`.

    Returns
    -------
    Model
        It answers as `params` say: `unknown`, `device`, `device_memory`, `n_threads`.
    """
    started = perf_counter()
    core = core_params(params)
    checkpoints = checkpoints_of(checkpoint, every, resume)
    if params["random_state"] is None and checkpoints.seed is not None:
        core["seed"] = checkpoints.seed  # a new one would make another fit of it
    with given_from(
        X,
        y,
        sample_weight=sample_weight,
        validation=validation,
        params=params,
        core=core,
        scratch=scratch,
        buffer=buffer,
    ) as (given, disk, held_out):
        return _fitted(params, core, given, disk, held_out, implicit, start, started, checkpoints)


def _fitted(
    params: Mapping[str, Any],
    core: _core.TrainParams,
    given: Given,
    disk: Disk | None,
    validation: Any,
    implicit: Any,
    start: Model | None,
    started: float,
    checkpoints: Checkpoints,
) -> Model:
    """Factorize ratings that were checked, in memory or on disk."""
    dtype = host_type(params["dtype"])
    whole = _to_refit(params, given, validation)
    ratings = given.ratings

    def begun(of: Given) -> tuple[First, Any]:
        """Return with what training on these ratings starts, and the pairs without a rating."""
        clicks = None
        if implicit is not None:
            clicks = of.implicit_codes(implicit, core["implicit_feedback"])
        if start is None:
            return First(*_initial_factors(params["init"], of.ratings, core, dtype)), clicks
        return first_rows(start, of.ratings, core, dtype), clicks

    start_of_all = begun(given)
    kept = {} if start is None else kept_choice(start, core)
    loss, penalty = params["loss"], params["penalty"]
    kernels = _custom_kernels(params, core)
    on_cuda = core["device"] == "cuda"
    if on_cuda:
        free_cached(core["device_index"])
    functions = (
        loss.address(dtype) if isinstance(loss, CustomLoss) else 0,
        0 if penalty is None else penalty.address(dtype),
        kernels.functions if kernels else {},
    )
    weights = given.weights
    n_counted = len(ratings) if weights is None else int(np.count_nonzero(weights))
    n_epochs = _core.most_epochs(core, n_counted, given.held_out is not None)
    options = Options(**{name: params[name] for name in Options._fields})
    # Of ratings on disk, what users rated is read once, for all models of this fit.
    on_disk = isinstance(ratings, StoredRatings)
    seen = disk.seen(given) if disk is not None and on_disk else None

    def made(of: Given, result: Any, chosen: _core.TrainParams) -> Model:
        return made_model(
            of,
            result,
            stored_params(params),
            options,
            biases=core["biases"],
            chosen=kept | chosen_of(core, chosen),
            origin=origin_of("MatrixFactorization", started),
            seen=seen,
        )

    fit = Fit(
        n_epochs,
        n_counted,
        core["loss"],
        validating=given.held_out is not None,
        history=checkpoints.history,
    )
    verbose, n_done = check_verbose(params["verbose"]), len(checkpoints.history)
    with (
        EpochBar(n_epochs, core["loss"], verbose=verbose, n_done=n_done) as bar,
        CallbackLife(params["callbacks"], fit) as life,
    ):

        def on_epoch(record: EpochRecord) -> bool:
            bar.advance(record)
            return life.epoch_end(record)

        def on_snapshot(_: EpochRecord, snapshot: Any) -> None:
            def model() -> Model:
                now = snapshot()
                return made(given, now, now["chosen"])

            fit.offer(model)

        def run(
            of: Given, core: _core.TrainParams, kept: Checkpoints, rates: Sequence[float] = ()
        ) -> Any:
            first, clicks = start_of_all if of is given else begun(of)
            return _trained(
                of,
                disk,
                not (seen and seen.are_kept) and (whole is None or of is whole),
                dtype,
                core,
                of.held_out,
                first.user_factors,
                first.item_factors,
                on_epoch if (params["callbacks"] or bar.enabled) and not rates else None,
                *functions,
                clicks,
                first.user_biases,
                first.item_biases,
                first.global_mean,
                on_snapshot if life.takes_models and not rates else None,
                rates,
                kept.core(params),
            )

        with typed_words():
            checkpoints.begin()
            result = run(given, core, checkpoints)
            chosen, trained_on = result["chosen"], given
            if whole is not None and result["learning_rates"]:
                again = run(
                    whole,
                    _for_refit(chosen, result),
                    checkpoints.of_refit(
                        of_same=len(result["history"]) == len(checkpoints.history)
                    ),
                    result["learning_rates"],
                )
                # What found the number of epochs is what there is to see.
                result = again | {name: result[name] for name in ("history", "best_epoch")}
                trained_on = whole
        if seen is not None:
            seen.take()  # while the ratings are there
        model = made(trained_on, result, chosen)
        life.finish(model)
        bar.finish(model)
    return model


def _trained(
    given: Given,
    disk: Disk | None,
    last: bool,
    dtype: np.dtype[Any],
    core: _core.TrainParams,
    *others: Any,
) -> Any:
    """Call the core. `last`: nobody reads ratings on the disk after it."""
    single = dtype == np.float32
    shape = given.ratings.shape
    if disk is None:
        train = _core.train_float32 if single else _core.train_float64
        return train(given.arrays(), *shape, core, *others)
    chunks = disk.chunks(given, last=last)
    train_chunks = _core.train_chunks_float32 if single else _core.train_chunks_float64
    freed = BYTES_PER_RATING * len(given.ratings) if last else 0
    return train_chunks(
        chunks, *shape, len(given.ratings), str(disk.folder), disk.buffer, freed, core, *others
    )


def host_type(dtype: Any) -> np.dtype[Any]:
    """Half precision is for the device's memory: what comes in and out is float32."""
    return np.dtype(np.float64 if float_type(dtype) == np.float64 else np.float32)


def search_key(params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a search for strengths depends on, but for the ratings and the seed; hashable."""
    core = core_params(params)
    core["seed"], core["n_threads"] = 0, 0
    values = tuple(core[row.core] for row in PARAMETERS.values() if row.core)
    # Of functions and initial factors it is enough to know whether they are the same.
    return *values, *(id(params[name]) for name in ("loss", "penalty", "init")), params["dtype"]


def found_strengths(
    params: Mapping[str, Any],
    ratings: Ratings,
    weights: NDArray[np.float32] | None,
    *,
    seed: int,
    n_threads: int,
    n_divisions: int,
) -> dict[str, Any]:
    """Return the strengths that a fit would search for, by their names, for several fits to share.

    Parameters
    ----------
    params : mapping
        All parameters of `MatrixFactorization` by name.
    ratings, weights
        What to search on.
    seed : int
        Of the search, in place of `random_state`.
    n_threads : int
        How many to use; what is found does not depend on it.
    n_divisions : int
        In how many ways a tenth of the ratings is held out. A fit takes one.

    Returns
    -------
    dict
        Empty if the parameters leave nothing to a search.

    Raises
    ------
    ValueError
        If the ratings or parameters are not valid.
    """
    core = core_params(params)
    core["seed"], core["n_threads"] = seed, n_threads
    if params["init"] is not None and not isinstance(params["init"], str):
        return {}  # the initial factors or their scale are given
    loss, penalty, floats = params["loss"], params["penalty"], host_type(params["dtype"])
    double = floats == np.float64
    search = _core.found_strengths_float64 if double else _core.found_strengths_float32
    with typed_words():
        found = search(
            _core.RatingArrays(ratings.users, ratings.items, ratings.values, weights),
            ratings.n_users,
            ratings.n_items,
            core,
            n_divisions,
            loss.address(floats) if isinstance(loss, CustomLoss) else 0,
            0 if penalty is None else penalty.address(floats),
        )
    return chosen_of(core, found)


def _to_refit(params: Mapping[str, Any], given: Given, validation: Any) -> Given | None:
    """Return all ratings, if they are to be trained on in the end."""
    if not check_flag("refit", params["refit"]):
        return None
    if given.held_out is None:
        raise ValueError(
            f"{option('refit', True)} needs validation ratings, by which early stopping finds the number "
            f"of epochs: give {where_typed('fit(validation=...) or validation_fraction', '--validation-size')}"
        )
    if given.whole is None and isinstance(given.ratings, StoredRatings):
        raise ValueError(
            f"{option('refit', True)} trains on the validation ratings too, which are not among those on "
            "disk: draw them from those by validation_fraction, or leave refit out"
        )
    whole = given.whole or joined(given, validation)
    pair = not (_is_open_init(params["init"]))
    if pair and whole.ratings.shape != given.ratings.shape:
        raise ValueError(
            f"validation has users or items that X has not, so that init has too few rows for "
            f"{option('refit', True)}: leave init or refit out"
        )
    return whole


def _for_refit(chosen: _core.TrainParams, result: Mapping[str, Any]) -> _core.TrainParams:
    """Return what was chosen, for the epochs that led to the best model."""
    core = _core.TrainParams()
    for name in (row.core for row in PARAMETERS.values() if row.core):
        core[name] = chosen[name]
    for name in ("half", "device_index"):
        core[name] = chosen[name]
    core["patience"], core["n_epochs"] = 0, len(result["learning_rates"])
    return core


def _is_open_init(init: Any) -> bool:
    return init is None or isinstance(init, str) or is_number(init)


def chosen_of(given: _core.TrainParams, resolved: _core.TrainParams) -> dict[str, Any]:
    """Return what training chose where the parameters leave it open."""
    chosen: dict[str, Any] = {}
    for name in (row.core for row in PARAMETERS.values() if row.core):
        value = resolved[name]
        if value != given[name]:
            alike = isinstance(value, tuple) and value[0] == value[1]
            chosen[PYTHON_NAMES.get(name, name)] = value[0] if alike else value
    return chosen


def _custom_kernels(params: Mapping[str, Any], core: _core.TrainParams) -> DeviceKernels | None:
    """Compile the kernels of a custom loss or penalty, if they are to run on a CUDA device."""
    loss = params["loss"] if isinstance(params["loss"], CustomLoss) else None
    penalty = params["penalty"]
    custom = loss is not None or penalty is not None
    # The twin calls the functions that the CPU calls.
    if core["device"] == "cpu" or not custom or _core.cuda_is_twin():
        return None
    _, usable, reason = _core.cuda_status()
    if not usable:
        raise CudaError(in_words_of(("device",), reason))
    return device_kernels(
        loss,
        penalty,
        n_factors=core["n_factors"],
        dtype=float_type(params["dtype"]),
        device=core["device_index"],
        kind=_core.pass_kind(core, penalty is not None),
    )


def _initial_factors(
    init: Any, ratings: Ratings | StoredRatings, core: _core.TrainParams, dtype: np.dtype[Any]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if _is_open_init(init):
        return None, None
    P, Q = cast("tuple[ArrayLike, ArrayLike]", init)
    k = core["n_factors"]
    implied = any(row["nonnegative"] for row in _core.losses() if row["name"] == core["loss"])
    lowest = 0.0 if core["nonnegative"] or implied else -np.inf
    return (
        _initial("P", P, ("n_users", ratings.n_users), k, dtype, lowest),
        _initial("Q", Q, ("n_items", ratings.n_items), k, dtype, lowest),
    )


def _initial(
    name: str,
    given: ArrayLike,
    rows: tuple[str, int],
    k: int,
    dtype: np.dtype[Any],
    lowest: float,
) -> NDArray[Any]:
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"init: {name} has dtype {array.dtype}; it must be an array of numbers")
    if array.shape != (rows[1], k):
        raise ValueError(
            f"init: {name} has shape {array.shape}; it must be ({rows[0]}, n_factors) = "
            f"({rows[1]}, {k})"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"init: {name} holds NaN or infinity; initial factors must be finite")
    if array.size and array.min() < lowest:
        raise ValueError(
            f"init: {name} holds {array.min()}; with nonnegative=True, and with loss='poisson', "
            "initial factors must be at least 0"
        )
    return np.ascontiguousarray(array, dtype)
