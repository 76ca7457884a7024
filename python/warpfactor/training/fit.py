"""One fit: from whatever holds ratings, and the parameters, to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import check_count, in_words_of, is_number
from ..data.ratings import Ratings
from ..exceptions import CudaError, DivergedError
from ..formulas.cuda_compile import DeviceKernels, device_kernels
from ..formulas.losses import CustomLoss
from ..model.file import stored_params
from ..model.model import Model
from ..model.record import EpochRecord, origin_of
from ..parameters import PARAMETERS, PYTHON_NAMES
from ..serving.device import free_cached
from ..serving.tables import Options
from .core_params import core_params, float_type
from .given import given_ratings, made_model
from .progress import EpochBar
from .warm import First, first_rows, kept_choice

__all__ = ["fit_model", "found_strengths", "search_key"]


def fit_model(
    params: Mapping[str, Any],
    X: Any,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    validation: Any = None,
    implicit: Any = None,
    start: Model | None = None,
) -> Model:
    """Factorize ratings; see `MatrixFactorization.fit`.

    Parameters
    ----------
    params : mapping
        All parameters of `MatrixFactorization` by name.
    X, y, sample_weight, validation, implicit
        As of `MatrixFactorization.fit`.
    start : Model or None, default None
        A model to go on from; see `warm_start`.

    Returns
    -------
    Model
        It answers as `params` say: `unknown`, `device`, `device_memory`, `n_threads`.
    """
    started = perf_counter()
    core = core_params(params)
    dtype = _host_type(params["dtype"])
    given = given_ratings(X, y, sample_weight=sample_weight, validation=validation)
    ratings = given.ratings
    clicks = None if implicit is None else given.implicit_codes(implicit, core["implicit_feedback"])
    if start is None:
        first = First(*_initial_factors(params["init"], ratings, core, dtype))
        kept = {}
    else:
        first, kept = first_rows(start, ratings, core, dtype), kept_choice(start, core)
    loss, penalty = params["loss"], params["penalty"]
    kernels = _custom_kernels(params, core)
    on_cuda = core["device"] == "cuda"
    if on_cuda:
        free_cached(core["device_index"])
    train = _core.train_float32 if dtype == np.float32 else _core.train_float64
    verbose = params["verbose"]
    shown = verbose if isinstance(verbose, bool) else check_count("verbose", verbose, 0) > 0
    n_epochs = core["n_epochs"]
    if n_epochs is None:
        weights = given.weights
        n_counted = len(ratings) if weights is None else int(np.count_nonzero(weights))
        n_epochs = _core.usual_epochs(n_counted)
    with EpochBar(n_epochs, core["loss"], enabled=shown) as bar:

        def on_epoch(record: EpochRecord) -> bool:
            bar.advance(record)
            wishes = [bool(callback(record.copy())) for callback in params["callbacks"]]
            return any(wishes)

        with _typed_words():
            result = train(
                given.arrays(),
                ratings.n_users,
                ratings.n_items,
                core,
                given.held_out,
                first.user_factors,
                first.item_factors,
                on_epoch if params["callbacks"] or bar.enabled else None,
                loss.address(dtype) if isinstance(loss, CustomLoss) else 0,
                0 if penalty is None else penalty.address(dtype),
                kernels.functions if kernels else {},
                clicks,
                first.user_biases,
                first.item_biases,
                first.global_mean,
            )
        options = Options(**{name: params[name] for name in Options._fields})
        model = made_model(
            given,
            result,
            stored_params(params),
            options,
            biases=core["biases"],
            chosen=kept | _chosen(core, result["chosen"]),
            origin=origin_of("MatrixFactorization", started),
        )
        bar.finish(model)
    return model


def _host_type(dtype: Any) -> np.dtype[Any]:
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
    loss, penalty, floats = params["loss"], params["penalty"], _host_type(params["dtype"])
    double = floats == np.float64
    search = _core.found_strengths_float64 if double else _core.found_strengths_float32
    with _typed_words():
        found = search(
            _core.RatingArrays(ratings.users, ratings.items, ratings.values, weights),
            ratings.n_users,
            ratings.n_items,
            core,
            n_divisions,
            loss.address(floats) if isinstance(loss, CustomLoss) else 0,
            0 if penalty is None else penalty.address(floats),
        )
    return _chosen(core, found)


@contextmanager
def _typed_words() -> Iterator[None]:
    """Word the core's errors as the parameters were typed: in Python or on the command line."""
    names = {row.core or row.name for row in PARAMETERS.values()}
    try:
        yield
    except DivergedError as error:
        raise DivergedError(in_words_of(names, str(error)), error.epoch) from None
    except (ValueError, CudaError) as error:
        raise type(error)(in_words_of(names, str(error))) from None


def _chosen(given: _core.TrainParams, resolved: _core.TrainParams) -> dict[str, Any]:
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
        general=not _core.is_plain(core, penalty is not None),
    )


def _initial_factors(
    init: Any, ratings: Ratings, core: _core.TrainParams, dtype: np.dtype[Any]
) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if init is None or isinstance(init, str) or is_number(init):
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
