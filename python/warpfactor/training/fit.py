"""One fit: from whatever holds ratings, and the parameters, to a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import check_count, in_words_of, is_number
from ..data.ratings import Ratings, pairs_to_codes
from ..exceptions import CudaError, DivergedError
from ..formulas.cuda_compile import DeviceKernels, device_kernels
from ..formulas.losses import CustomLoss
from ..model.file import stored_params
from ..model.model import Model
from ..model.record import EpochRecord
from ..parameters import PARAMETERS, PYTHON_NAMES
from ..serving.device import free_cached
from ..serving.tables import Options
from .core_params import core_params, float_type
from .given import given_ratings, made_model
from .progress import EpochBar
from .warm import First, first_rows, kept_choice

__all__ = ["fit_model"]


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
    core = core_params(params)
    # Half precision is for the device's memory: what comes in and out is float32.
    dtype = np.dtype(np.float64 if float_type(params["dtype"]) == np.float64 else np.float32)
    given = given_ratings(X, y, sample_weight=sample_weight, validation=validation)
    ratings = given.ratings
    clicks = None if implicit is None else _implicit_pairs(implicit, ratings, core)
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
        )
        bar.finish(model)
    return model


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


def _implicit_pairs(
    implicit: Any, train: Ratings, core: _core.TrainParams
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the codes of pairs without a rating; those of unknown rows say nothing and are left out."""
    if core["implicit_feedback"] == "none":
        raise ValueError(
            "implicit is given, and implicit_feedback is 'none', which uses none: leave implicit out, or "
            "use implicit_feedback='auto'"
        )
    users, items = pairs_to_codes(implicit, train.user_ids, train.item_ids, "implicit")
    known = (users >= 0) & (items >= 0)
    if not known.any():
        raise ValueError(
            "implicit holds no pair of a user and an item that both have ratings in X: give pairs of "
            "ids as in X"
        )
    return np.ascontiguousarray(users[known]), np.ascontiguousarray(items[known])
