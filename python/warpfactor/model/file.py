"""A fitted model as one safetensors file, which C++ reads and writes as well (model.hpp)."""

from __future__ import annotations

import json
import math
import numbers
import os
import re
import shlex
import zlib
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import where_typed
from ..data.ids import id_kind, pack_ids, unpack_ids
from ..exceptions import ModelFileError
from ..formulas.losses import CustomLoss, CustomPenalty
from ..parameters import PARAMETERS
from ..serving.tables import Options, SeenItems, Tables
from . import tensors as tensor_file
from .members import Members, Noise
from .record import EpochRecord, Origin, TrainingRecord

__all__ = ["read", "stored_params", "told_params", "version_in", "write"]

_FORMAT = "warpfactor.Model"
# The checksum of versions 1 and 2 is of the arrays alone, that of 3 of all that a header says as well.
_FORMAT_VERSION = "3"
# Of version 1, when a scikit-learn estimator was saved.
_FIRST_FORMAT = "warpfactor.MatrixFactorization"
_KNOWN = ((_FIRST_FORMAT, "1"), (_FORMAT, "2"), (_FORMAT, _FORMAT_VERSION))
_CHECKSUM = "crc32"
_SUFFIX = ".safetensors"
_UPDATE = "update warpfactor (pip install --upgrade warpfactor)"
_SIDES = ("user", "item")
# Of JSON of another shape than ours, and of numbers beyond their types.
_OF_DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError),
)


def write(
    path: str | os.PathLike[str],
    tables: Tables,
    record: TrainingRecord,
    options: Options,
    members: Members | None = None,
) -> None:
    """Write a model; see `Model.save`."""
    indptr, seen = tables.seen.known_lists()
    tensors: dict[str, NDArray[Any]] = {"seen_indptr": indptr, "seen_items": seen}
    for side in _SIDES:
        tensors[f"{side}_factors"] = getattr(tables, f"{side}_factors")
        tensors[f"{side}_biases"] = getattr(tables, f"{side}_biases")
        tensors[f"{side}_counts"] = getattr(record, f"{side}_counts")
        for key, array in pack_ids(getattr(tables, f"{side}_ids")).items():
            tensors[f"{side}_ids.{key}"] = array
    tensors |= _member_tensors(members)
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    low, high = record.rating_range
    metadata = {
        "format": _FORMAT,
        "format_version": _FORMAT_VERSION,
        "warpfactor_version": _core.__version__,
        "user_ids": id_kind(tables.user_ids),
        "item_ids": id_kind(tables.item_ids),
        "model": _json(
            global_mean=tables.global_mean,
            rating_mean=tables.rating_mean,
            start_bias=tables.start_bias,
            biases=tables.biases,
            loss=record.loss,
            link=tables.link,
        ),
        "training": _json(
            n_epochs=record.n_epochs,
            n_threads=record.n_threads,
            instruction_set=record.instruction_set,
            n_ratings=record.n_ratings,
            rating_min=low,
            rating_max=high,
            score_scale=record.score_scale,
        ),
        "history": json.dumps([_finite_or_null(epoch) for epoch in record.history]),
        "params": json.dumps(_plain_params({**record.params, **options._asdict()})),
        "chosen": told_params(record)[1],
        "origin": json.dumps(_finite_or_null(record.origin)),
    }
    contents = tensor_file.Contents(tensors, metadata)
    metadata[_CHECKSUM] = str(tensor_file.checksum(contents, leave_out=_CHECKSUM))
    tensor_file.write(path, tensors, metadata)


def read(
    path: str | os.PathLike[str],
) -> tuple[Tables, TrainingRecord, Options, Members | None]:
    """Read a model; see `load`."""
    name = os.fspath(path)
    try:
        contents = tensor_file.read(path)
    except tensor_file.DamageError as error:
        instead = "save the model again"
        if not name.endswith(_SUFFIX):  # likely a file of ratings, where a model is asked for
            instead = where_typed(
                instead,
                f"a model comes first, and warpfactor train {shlex.quote(name)} --output m{_SUFFIX} makes one "
                "of ratings",
            )
        raise ModelFileError(
            f"{name} is damaged, or no safetensors file at all ({error}): {instead}"
        ) from error
    tensors, metadata = contents
    written_by = metadata.get("format"), metadata.get("format_version", "")
    if written_by[0] == "warpfactor.Checkpoint":
        go_on = where_typed(
            f"go on with the fit by fit(ratings, resume={name!r}), which ends with the model",
            f"warpfactor train RATINGS --checkpoint {shlex.quote(name)} --resume --output m{_SUFFIX} goes "
            "on with it and saves the model",
        )
        raise ModelFileError(f"{name} is a checkpoint, the state of a fit, and no model: {go_on}")
    if written_by[0] not in (_FORMAT, _FIRST_FORMAT):
        raise ModelFileError(f"{name} is a safetensors file, but no warpfactor model")
    writer = metadata.get("warpfactor_version", "")[:40]
    if written_by not in _KNOWN:
        raise ModelFileError(
            f"{name} has format version {written_by[1][:40]!r}, written by warpfactor {writer}; this "
            f"is {_core.__version__}, which reads versions 1 to {_FORMAT_VERSION}: {_UPDATE}"
        )
    whole = False
    try:
        # NumPy warns of a signaling NaN; what is damaged is an error.
        with np.errstate(invalid="ignore"):
            if written_by[1] == _FORMAT_VERSION:
                found = tensor_file.checksum(contents, leave_out=_CHECKSUM)
            else:
                found = _checksum_of_arrays(tensors)
            if str(found) != metadata[_CHECKSUM]:
                raise ValueError("its contents do not match their checksum")
            whole = True
            if written_by[0] == _FIRST_FORMAT:
                tensors, metadata = _from_first_format(tensors, metadata)
            restored = _restored(tensors, metadata)
            return *restored, _members(tensors, restored[0])
    except _OF_DAMAGE as error:
        said = f"{type(error).__name__}: {error}"[:200] if type(error) is not ValueError else error
        # What is read as it was written is not damaged: it holds what this version does not know.
        if whole and _numbers(writer) > _numbers(_core.__version__):
            raise ModelFileError(
                f"{name} was written by warpfactor {writer}, and this is {_core.__version__} "
                f"({said}): {_UPDATE}"
            ) from error
        raise ModelFileError(f"{name} is damaged ({said}): save the model again") from error


def told_params(record: TrainingRecord) -> tuple[str, str]:
    """Return the parameters and what training chose as JSON objects, which the core reads."""
    return json.dumps(_plain_params(record.params)), json.dumps(_plain_params(record.chosen))


def version_in(path: str | os.PathLike[str]) -> str:
    """Return which version of warpfactor wrote a model file."""
    return str(tensor_file.read_texts(path).get("warpfactor_version"))


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it with another."""
    return tuple(int(number[:9]) for number in re.findall("[0-9]+", version))


def _restored(
    tensors: dict[str, NDArray[Any]], metadata: dict[str, str]
) -> tuple[Tables, TrainingRecord, Options]:
    model, training = json.loads(metadata["model"]), json.loads(metadata["training"])
    params = json.loads(metadata["params"])
    params = {name: _restored_param(name, value) for name, value in params.items()}
    options = Options(**{name: params[name] for name in Options._fields if name in params})
    ids = {}
    for side in _SIDES:
        prefix = f"{side}_ids."
        packed = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        ids[side] = unpack_ids(packed, metadata[f"{side}_ids"])
        factors, biases = tensors[f"{side}_factors"], tensors[f"{side}_biases"]
        counts = tensors[f"{side}_counts"]
        if factors.ndim != 2 or any(
            array.shape != (len(factors),) for array in (ids[side], biases, counts)
        ):
            raise ValueError(f"{side} ids, factors, biases and counts differ in length")
        if factors.dtype not in (np.float32, np.float64) or biases.dtype != factors.dtype:
            raise ValueError(f"{side} factors are {factors.dtype}, and biases {biases.dtype}")
        if counts.dtype != np.uint32:
            raise ValueError(f"{side} counts are {counts.dtype}")
        if not (_all_finite(factors) and _all_finite(biases)):
            raise ValueError(f"{side} factors or biases are not all finite")
    if tensors["user_factors"].shape[1] != tensors["item_factors"].shape[1]:
        raise ValueError("user and item factors differ in width")
    if tensors["user_factors"].dtype != tensors["item_factors"].dtype:
        raise ValueError("user and item factors differ in type")
    formula = {name: float(model[name]) for name in ("global_mean", "rating_mean", "start_bias")}
    if not all(map(math.isfinite, formula.values())):
        raise ValueError(f"the means are not finite: {formula}")
    link = str(model["link"])
    if link not in ("identity", "probability", "signed_probability"):
        raise ValueError(f"the link is {link!r:.80}")
    tables = Tables(
        user_factors=tensors["user_factors"],
        item_factors=tensors["item_factors"],
        user_biases=tensors["user_biases"],
        item_biases=tensors["item_biases"],
        user_ids=ids["user"],
        item_ids=ids["item"],
        user_known=tensors["user_counts"] > 0,
        item_known=tensors["item_counts"] > 0,
        seen=_seen(tensors, len(ids["user"]), len(ids["item"]), int(training["n_ratings"])),
        **formula,
        biases=bool(model["biases"]),
        link=link,
    )
    record = TrainingRecord(
        params=params,
        history=tuple(_with_nan(epoch) for epoch in json.loads(metadata["history"])),
        n_epochs=int(training["n_epochs"]),
        n_threads=int(training["n_threads"]),
        instruction_set=str(training["instruction_set"]),
        loss=str(model["loss"]),
        user_counts=tensors["user_counts"],
        item_counts=tensors["item_counts"],
        n_ratings=int(training["n_ratings"]),
        rating_range=(_number(training["rating_min"]), _number(training["rating_max"])),
        chosen={
            name: _restored_param(name, value)
            for name, value in json.loads(metadata.get("chosen", "{}")).items()
        },
        origin=_origin(json.loads(metadata.get("origin", "{}"))),
        score_scale=_number(training.get("score_scale")),  # files of before it have none
    )
    return tables, record, options.checked()


def _origin(told: Mapping[str, Any]) -> Origin:
    """Read what is told of a training: C++ tells nothing, and null stands for what is not finite."""
    kinds: dict[str, Callable[[Any], Any]] = {
        "estimator": str,
        "at": str,
        "seconds": float,
        "test_rmse": float,
        "n_test": int,
    }
    known = {name: told[name] for name in kinds if told.get(name) is not None}
    return cast("Origin", {name: kinds[name](value) for name, value in known.items()})


def _seen(
    tensors: dict[str, NDArray[Any]], n_users: int, n_items: int, n_ratings: int = 0
) -> SeenItems:
    indptr, items = tensors["seen_indptr"], tensors["seen_items"]
    fits = (
        indptr.dtype == np.int64
        and items.dtype == np.int32
        and items.ndim == 1
        and indptr.shape == (n_users + 1,)
        and indptr[0] == 0
        and indptr[-1] == len(items)
    )
    if not fits or (np.diff(indptr) < 0).any():
        raise ValueError("the lists of seen items do not fit the users")
    if len(items) and not 0 <= items.min() <= items.max() < n_items:
        raise ValueError("the lists of seen items do not fit the items")
    if n_ratings and not len(items):
        return SeenItems(n_users)  # users have rated, and it was not kept what
    return SeenItems(n_users, lists=(indptr, items))


# Arrays of these names are those of the members: C++ hands them on as they are (model.hpp).
_OF_MEMBERS = "members."


def _member_tensors(members: Members | None) -> dict[str, NDArray[Any]]:
    if members is None:
        return {}
    parts: dict[str, Any] = {
        "weights": members.weights,
        "ranks": members.ranks,
        "user_offsets": members.user_offsets,
        "item_offsets": members.item_offsets,
    }
    noise = members.noise
    if noise is not None:
        rows = noise.row_variances or ()
        parts["noise"] = np.array([noise.variance, noise.spread_scale, *rows])
        parts["user_noise"], parts["item_noise"] = noise.users, noise.items
        parts["levels"], parts["quantiles"] = noise.levels, noise.quantiles
    return {_OF_MEMBERS + name: part for name, part in parts.items() if part is not None}


def _members(tensors: dict[str, NDArray[Any]], tables: Tables) -> Members | None:
    parts = {
        name.removeprefix(_OF_MEMBERS): tensor
        for name, tensor in tensors.items()
        if name.startswith(_OF_MEMBERS)
    }
    if not parts:
        return None
    n_members = len(parts["weights"])
    n_users, n_items = len(tables.user_ids), len(tables.item_ids)
    n_levels = len(parts.get("levels", ()))
    shapes: dict[str, tuple[int, ...]] = {
        "weights": (n_members,),
        "ranks": (n_members,),
        "user_offsets": (n_users, n_members),
        "item_offsets": (n_items, n_members),
        "noise": (5,) if len(parts.get("noise", ())) == 5 else (2,),
        "user_noise": (n_users,),
        "item_noise": (n_items,),
        "levels": (n_levels,),
        "quantiles": (n_levels,),
    }
    for name, part in parts.items():
        if part.shape != shapes[name]:
            raise ValueError(f"the members' {name} has the shape {part.shape}")
        if part.dtype != np.int32 if name == "ranks" else part.dtype.kind != "f":
            raise ValueError(f"the members' {name} is {part.dtype}")
        low = -np.inf if name.endswith("_offsets") else 0
        if not (np.isfinite(part) & (part >= low)).all():
            raise ValueError(f"the members' {name} are not finite and at least {low}")
    weights, ranks = parts["weights"], parts["ranks"]
    if not weights.all() or abs(weights.sum() - 1) > 1e-6:
        raise ValueError("the members' weights are not above 0, with a sum of 1")
    if ranks.sum(dtype=np.int64) != tables.user_factors.shape[1]:
        raise ValueError("the members' ranks do not fit the model")
    if n_levels and not (np.diff(parts["levels"], prepend=0, append=1) > 0).all():
        raise ValueError("the members' levels do not rise from 0 to 1")
    noise = None
    if "noise" in parts:
        variance, scale, *rows = parts["noise"].tolist()
        noise = Noise(
            variance,
            scale,
            users=parts.get("user_noise"),
            items=parts.get("item_noise"),
            levels=parts.get("levels"),
            quantiles=parts.get("quantiles"),
            row_variances=(rows[0], rows[1], rows[2]) if rows else None,
        )
    return Members(
        weights=weights,
        ranks=ranks,
        user_offsets=parts["user_offsets"],
        item_offsets=parts["item_offsets"],
        noise=noise,
    )


def _from_first_format(
    tensors: dict[str, NDArray[Any]], metadata: dict[str, str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Bring a file of format 1 into the form of later ones."""
    fitted = json.loads(metadata["fitted"])
    tensors = dict(tensors)
    known = {side: tensors.pop(f"{side}_known").astype(bool) for side in _SIDES}
    # Checked before they are counted: a damaged item would count up to itself.
    _seen(tensors, *(len(known[side]) for side in _SIDES))
    # It did not count ratings: the items that each user rated come nearest.
    users = np.diff(tensors["seen_indptr"])
    items = np.bincount(tensors["seen_items"], minlength=len(known["item"]))
    for side, counts in (("user", users), ("item", items)):
        tensors[f"{side}_counts"] = np.where(known[side], np.maximum(counts, 1), 0).astype(
            np.uint32
        )
    some = any(tensors[f"{side}_biases"].any() for side in _SIDES)
    # Files written before there were other losses are of the squared one.
    model = {
        "global_mean": fitted["global_mean"],
        "rating_mean": fitted["rating_mean"],
        "start_bias": fitted.get("start_bias", 0.0),
        "biases": bool(fitted["global_mean"] or some),
        "loss": fitted.get("loss", "squared"),
        "link": fitted.get("link", "identity"),
    }
    history = fitted["history"]
    for epoch in history:
        for part in ("train", "valid"):
            epoch.setdefault(f"{part}_loss", epoch[f"{part}_rmse"] ** 2)
    training = {
        **{name: fitted[name] for name in ("n_epochs", "n_threads", "instruction_set")},
        "n_ratings": int(users.sum()),
        "rating_min": math.nan,
        "rating_max": math.nan,
    }
    parts = {"model": model, "training": training, "history": history}
    return tensors, metadata | {name: json.dumps(part) for name, part in parts.items()}


def stored_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of an estimator's parameters that a file can hold, as a file gives them back."""
    plain = _plain_params(params)
    return {name: params[name] if _is_formula(params[name]) else _restored_param(name, value)
            for name, value in plain.items()}  # fmt: skip


def _plain_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that JSON can hold."""
    stored: dict[str, Any] = {}
    for name, value in params.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if name == "dtype":
            stored[name] = np.dtype(value).name
        elif plain is None or isinstance(plain, (bool, int, float, str)):
            stored[name] = plain
        elif isinstance(plain, numbers.Real):  # a Fraction
            stored[name] = float(plain)
        elif name in PARAMETERS and PARAMETERS[name].kind == "pair":
            stored[name] = [float(strength) for strength in plain]
        elif _is_formula(plain):
            stored[name] = {"formula": plain.to_text()}
    return stored


def _is_formula(value: Any) -> bool:
    return isinstance(value, (CustomLoss, CustomPenalty))


def _restored_param(name: str, value: Any) -> Any:
    if name == "dtype" and value not in ("float16", "float32", "float64"):
        raise ValueError(f"the type of the factors is {value!r:.80}")
    if isinstance(value, list):  # JSON has no tuples, and only pairs of strengths are lists
        return tuple(float(strength) for strength in value)
    if isinstance(value, dict):
        formulas: dict[str, Callable[[str], Any]] = {
            "loss": CustomLoss.from_text,
            "penalty": CustomPenalty.from_text,
        }
        return formulas[name](value["formula"])
    return value


def _json(**values: Any) -> str:
    return json.dumps(_finite_or_null(values))


def _finite_or_null(values: Mapping[str, Any]) -> dict[str, Any]:
    """Write NaN and infinity as null: JSON has neither."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _with_nan(epoch: dict[str, Any]) -> EpochRecord:
    numbers = {name: _number(epoch.get(name)) for name in EpochRecord.__annotations__}
    return cast("EpochRecord", numbers | {"epoch": int(epoch["epoch"])})


# At a time, so that what is told of each element takes little memory.
_PART = 1 << 20


def _all_finite(array: NDArray[Any]) -> bool:
    flat = array.reshape(-1)
    return all(np.isfinite(flat[at : at + _PART]).all() for at in range(0, len(flat), _PART))


def _checksum_of_arrays(tensors: dict[str, NDArray[Any]]) -> int:
    """As formats 1 and 2 have it."""
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensors[name].reshape(-1).view(np.uint8).data, crc)
    return crc
