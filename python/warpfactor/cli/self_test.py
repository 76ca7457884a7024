"""What ``warpfactor doctor`` tries: every set of kernels, a model file, and answers that are known to the bit.

The fits of one instruction set run in a process of their own, because WARPFACTOR_ISA is read once:

    WARPFACTOR_ISA=avx2 python -m warpfactor.cli.self_test
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exceptions import CudaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Check", "checks", "print_fits"]

_THREADS = (1, 2, 3)
_N_USERS, _N_ITEMS, _N_FACTORS, _N_EPOCHS = 60, 40, 20, 6
# Given, so that no search and no later default changes what comes out.
_GIVEN = {
    "n_factors": _N_FACTORS,
    "n_epochs": _N_EPOCHS,
    "reg": (0.04, 0.04),
    "reg_bias": (0.0, 0.0),
    "reg_row": (8.0, 8.0),
    "reg_bias_row": (2.0, 2.0),
    "init_scale": 0.05,
    "parallel": "blocked",
    "schedule": "linear",
    "learning_rate": 0.08,
}
_WITH_MEANS = {"implicit_feedback": "both", "reg_implicit": 2.0}
_WITHOUT = {"implicit_feedback": "none"}
# Of each fit what it sets, whether it is in double precision, and the train RMSE of its last epoch. The RMSE
# does not depend on the processor but for rounding.
_FITS: dict[str, tuple[dict[str, Any], bool, float]] = {
    "sgd with prior means": (_WITH_MEANS, False, 0.59599914),
    "sgd, float64": (_WITHOUT, True, 0.59522308),
    "huber, adagrad": (_WITHOUT | {"loss": "huber", "optimizer": "adagrad"}, False, 0.62075950),
    "adam in batches": (
        _WITHOUT | {"optimizer": "adam", "batch_size": 64, "learning_rate": 0.01},
        False,
        0.46560787,
    ),
}
# A step rounds by 2^-24 of what it changes. A row has at most 36 ratings, and so many steps an epoch; what it was
# rounded by reaches it again by the rows of the other side.
_TOLERANCE = 4 * 36 * _N_EPOCHS * 2.0**-24
# Of the predictions that are exact in binary, whatever computes them: SHA-256, its first half.
_BITS = "4564842ff2b053238c33891c0a4d033c"
_SECONDS = 120  # of a process of fits, which takes less than one


class Check(NamedTuple):
    """What was tried and what came of it.

    Parameters
    ----------
    name : str
        What was tried.
    ok : bool or None
        Whether it is as it must be; None: it cannot be tried here, which is no fault.
    found : str
        What came of it.
    fix : str
        What to do, where it is not as it must be.
    """

    name: str
    ok: bool | None
    found: str
    fix: str = ""


def checks(built: list[str], device: str) -> Iterator[Check]:
    """Try everything, one thing after the other.

    Parameters
    ----------
    built : list of str
        The instruction sets for which there are kernels.
    device : str
        "cpu", or a device on which to train and answer as well.
    """
    for isa in built:
        yield _guarded(f"kernels, {isa}", partial(_kernels_of, isa))
    devices = ["cpu"] if device == "cpu" else ["cpu", device]
    for each in devices:
        yield _guarded(f"answers, {each}", partial(_answers_on, each))
    if device != "cpu":
        yield _guarded(f"training, {device}", partial(_training_on, device))


def _guarded(name: str, try_it: Callable[[], tuple[bool | None, str, str]]) -> Check:
    """Run a check; what it raises is what came of it."""
    try:
        return Check(name, *try_it())
    except Exception as error:  # noqa: BLE001 - whatever is broken here, the rest is to be told as well
        # A full disk, a device, a machine too slow are not mended by another copy of warpfactor.
        outside = isinstance(error, OSError | CudaError | subprocess.TimeoutExpired)
        fix = "" if outside else _REINSTALL
        return Check(name, False, f"{type(error).__name__}: {error}", fix)


_REINSTALL = (
    "install it again (pip install --force-reinstall --no-deps, as before). If that does not help, report it with "
    "the output of warpfactor doctor --json"
)


def _ratings() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return three fifths of all pairs, with ratings from 0.5 to 4.5 that have something to learn."""
    import numpy as np

    users, items = np.divmod(np.arange(_N_USERS * _N_ITEMS, dtype=np.int32), np.int32(_N_ITEMS))
    rated = (7 * users + 3 * items) % 5 < 3
    users, items = users[rated], items[rated]
    values = ((users % 4) * (items % 3) + (users + items) % 3) / 2 + 0.5
    return users, items, values.astype(np.float32)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()[:32]


def print_fits() -> None:
    """Print what the fits of the instruction set in use give, as JSON."""
    from .. import _core

    users, items, values = _ratings()
    ratings = _core.RatingArrays(users, items, values)
    told: dict[str, Any] = {}
    for name, (given, is_double, _) in _FITS.items():
        bits, rmse = [], 0.0
        for n_threads in _THREADS:
            params = _core.TrainParams()
            for key, value in (_GIVEN | given | {"n_threads": n_threads}).items():
                params[key] = value
            train: Any = _core.train_float64 if is_double else _core.train_float32
            result = train(ratings, _N_USERS, _N_ITEMS, params)
            parts = ("user_factors", "item_factors", "user_biases", "item_biases")
            bits.append(_digest(*(result[part] for part in parts)))
            rmse = result["history"][-1]["train_rmse"]
        told[name] = {"bits": bits, "rmse": rmse}
    sampled = []
    for n_threads in _THREADS:
        how = _core.SampleParams()
        how.n_factors, how.n_burn_in, how.n_samples, how.n_threads = 8, 4, 8, n_threads
        draws = _core.sample_float32(ratings, _N_USERS, _N_ITEMS, how)
        sampled.append(_digest(draws["user_factors"], draws["item_factors"]))
    told[_SAMPLER] = {"bits": sampled}
    print(json.dumps({"instruction_set": _core.instruction_set(), "fits": told}))


_SAMPLER = "the sampler"


def _kernels_of(isa: str) -> tuple[bool | None, str, str]:
    """Run the fits with an instruction set, and compare."""
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "WARPFACTOR_ISA": isa,
        "PYTHONPATH": os.pathsep.join(paths),  # this package, wherever it was imported from
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "warpfactor.cli.self_test"],  # -P: nothing of the working folder
        env=environment, capture_output=True, text=True, check=False, timeout=_SECONDS,
    )  # fmt: skip
    if "WARPFACTOR_ISA is" in done.stderr:
        return None, "this processor or system does not have it", ""
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        return False, lines[-1], _REINSTALL
    told = json.loads(done.stdout)
    if told["instruction_set"] != isa:
        return False, f"{told['instruction_set']} ran in its place", _REINSTALL
    for name, fit in told["fits"].items():
        if len(set(fit["bits"])) > 1:
            threads = ", ".join(map(str, _THREADS))
            return False, f"{name}: other bits with {threads} threads: {fit['bits']}", _REINSTALL
        if name != _SAMPLER:
            expected = _FITS[name][2]
            if not abs(fit["rmse"] - expected) <= _TOLERANCE * expected:
                return False, f"{name}: RMSE {fit['rmse']:.7f}, not {expected:.7f}", _REINSTALL
    first = next(iter(told["fits"].values()))
    n = len(told["fits"])
    threads = f"{', '.join(map(str, _THREADS[:-1]))} and {_THREADS[-1]}"
    return (
        True,
        f"{n} fits as they must be, the same bits on {threads} threads ({first['bits'][0][:12]})",
        "",
    )


def _exact(device: str) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """Return a model whose scores are exact in binary, its pairs and their scores.

    Factors are eighths, so that all sums of products are multiples of 1/64 below 2^18: no order of summation, no
    fused multiplication and no width of vectors rounds them.
    """
    import numpy as np

    from ..data.ratings import Ratings
    from ..parameters import DEFAULTS
    from ..training.fit import fit_model

    users, items, values = _ratings()
    factors = [
        (17 * np.arange(n)[:, None] + 11 * np.arange(_N_FACTORS) ** 2 + shift) % 33 - 16
        for n, shift in ((_N_USERS, 0), (_N_ITEMS, 5))
    ]
    start = tuple((each / 8).astype(np.float32) for each in factors)
    params = DEFAULTS | {
        "n_factors": _N_FACTORS, "n_epochs": 0, "init": start, "biases": False, "normalize": False,
        "early_stopping": False, "device": device, "verbose": 0, "random_state": 0,
    }  # fmt: skip
    ratings = Ratings.from_arrays(users, items, values)
    return (
        fit_model(params, ratings),
        np.argwhere(np.ones((_N_USERS, _N_ITEMS))),
        (factors[0] @ factors[1].T / 64),
    )


def _answers_on(device: str) -> tuple[bool | None, str, str]:
    """Save and load a model; compare what it predicts and recommends with what it must."""
    import numpy as np

    from ..model.model import load

    model, pairs, scores = _exact(device)
    with tempfile.TemporaryDirectory(prefix="warpfactor-") as folder:
        path = Path(folder) / "m.safetensors"
        model.save(path)
        loaded = load(path, device)
    for each, how in ((model, "fitted"), (loaded, "saved and loaded")):
        predicted = each.predict(pairs)
        if not np.array_equal(predicted, scores.ravel()):
            wrong = int(np.count_nonzero(predicted != scores.ravel()))
            return (
                False,
                f"{wrong} of {len(pairs)} predictions of the {how} model are wrong",
                _REINSTALL,
            )
        ids, found = each.recommend(each.user_ids_, n=5, exclude_seen=False)
        best = np.lexsort((np.broadcast_to(np.arange(_N_ITEMS), scores.shape), -scores))[:, :5]
        if not (
            np.array_equal(ids, best) and np.array_equal(found, np.take_along_axis(scores, best, 1))
        ):
            return False, f"lists of the {how} model are wrong", _REINSTALL
    bits = _digest(np.asarray(predicted, "<f4"))
    if bits != _BITS:
        return False, f"predictions have the bits {bits[:12]}, not {_BITS[:12]}", _REINSTALL
    return (
        True,
        f"predicted, recommended, saved and loaded, to the bits that must be ({bits[:12]})",
        "",
    )


def _training_on(device: str) -> tuple[bool | None, str, str]:
    """Train on a device twice, and compare the bits."""
    import numpy as np

    from ..data.ratings import Ratings
    from ..parameters import DEFAULTS
    from ..training.fit import fit_model

    ratings = Ratings.from_arrays(*_ratings())
    params = DEFAULTS | {
        "n_factors": _N_FACTORS, "device": device, "parallel": "blocked", "verbose": 0, "random_state": 0,
        "early_stopping": False,
    }  # fmt: skip
    fits = [fit_model(params, ratings) for _ in range(2)]
    rmse, deviation = fits[0].history_[-1]["train_rmse"], float(np.std(ratings.values))
    if not rmse < deviation / 2:
        return False, f"RMSE {rmse:.4f} of ratings that deviate by {deviation:.4f}", _REINSTALL
    if fits[0].user_factors_.tobytes() != fits[1].user_factors_.tobytes():
        return False, "two fits of one seed have other bits", _REINSTALL
    return True, f"two fits, the same bits, RMSE {rmse:.4f} ({fits[0].instruction_set_})", ""


if __name__ == "__main__":
    print_fits()
