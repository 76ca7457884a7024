"""A fitted model as one safetensors file."""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .. import _core
from ..data.ids import id_kind, pack_ids, unpack_ids
from ..exceptions import ModelFileError
from ..formulas.losses import CustomLoss, CustomPenalty
from ..training.estimator import MatrixFactorization

__all__ = ["load", "save"]

_FORMAT = "warpfactor.MatrixFactorization"
_FORMAT_VERSION = 1


def save(model: MatrixFactorization, path: str | os.PathLike[str]) -> None:
    """Write a fitted model; see `MatrixFactorization.save`."""
    seen_indptr, seen_items = model._seen_lists()
    tensors = {
        "user_factors": model.user_factors_,
        "item_factors": model.item_factors_,
        "user_biases": model.user_biases_,
        "item_biases": model.item_biases_,
        "user_known": model._user_known,
        "item_known": model._item_known,
        "seen_indptr": seen_indptr,
        "seen_items": seen_items,
    }
    for side, ids in (("user_ids", model.user_ids_), ("item_ids", model.item_ids_)):
        tensors.update({f"{side}.{key}": array for key, array in pack_ids(ids).items()})
    tensors = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    metadata = {
        "format": _FORMAT,
        "format_version": str(_FORMAT_VERSION),
        "warpfactor_version": _core.__version__,
        "crc32": str(_checksum(tensors)),
        "user_ids": id_kind(model.user_ids_),
        "item_ids": id_kind(model.item_ids_),
        "fitted": json.dumps(
            {
                "global_mean": model.global_mean_,
                "rating_mean": model._rating_mean,
                "start_bias": model._start_bias,
                "loss": model._trained_loss,
                "link": model._link,
                "history": model.history_,
                "n_epochs": model.n_epochs_,
                "n_threads": model.n_threads_,
                "instruction_set": model.instruction_set_,
            }
        ),
        "params": json.dumps(_storable_params(model)),
    }
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: give the name of a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent} is no folder: create it before saving there")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        save_file(tensors, temporary, metadata=metadata)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # the name must not point at data that a power cut can lose
        os.replace(temporary, target)
    except SafetensorError as error:
        raise OSError(f"{target} could not be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], device: str | None = None) -> MatrixFactorization:
    """Read a model that `MatrixFactorization.save` wrote.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : {"cpu", "cuda", "cuda:<n>", "auto"} or None, default None
        The model's `device` from now on. None: as it was saved, but "cpu" if that was a CUDA device
        and this machine, or this build of warpfactor, cannot use CUDA. The predictions are the same
        within rounding.

    Returns
    -------
    MatrixFactorization
        The fitted estimator.

    Raises
    ------
    ValueError
        If `device` is another.
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged, no warpfactor model, or of a later format; the text says which.
    """
    if device is not None:
        MatrixFactorization(device=device)._device()  # refuses what is none
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"there is no model file {source}")
    if source.is_dir():
        raise ModelFileError(f"{source} is a folder, not a model file")
    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise ModelFileError(f"{source} is a safetensors file, but no warpfactor model")
            version = metadata.get("format_version", "")
            if version != str(_FORMAT_VERSION):
                raise ModelFileError(
                    f"{source} has format version {version!r}, written by warpfactor "
                    f"{metadata.get('warpfactor_version')}; this is {_core.__version__}, which "
                    f"reads version {_FORMAT_VERSION}: update warpfactor"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ModelFileError(
            f"{source} is damaged, or no safetensors file at all ({error}): save the model again"
        ) from error
    try:
        model = _restore(tensors, metadata)
        saved_for, _ = model._device()
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{source} is damaged ({error}): save the model again") from error
    _, usable, _ = _core.cuda_status()
    if device is None and saved_for == "cuda" and not usable:
        device = "cpu"
    return model if device is None else model.set_params(device=device)


def _restore(tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> MatrixFactorization:
    if _checksum(tensors) != int(metadata["crc32"]):
        raise ValueError("its contents do not match their checksum")
    fitted = json.loads(metadata["fitted"])
    params = json.loads(metadata["params"])
    params = {name: _restored_param(name, value) for name, value in params.items()}
    unknown = set(params) - set(MatrixFactorization().get_params())
    if unknown:
        raise ValueError(f"unknown parameters {sorted(unknown)}")
    model = MatrixFactorization(**params)
    for side in ("user", "item"):
        prefix = f"{side}_ids."
        packed = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        ids = unpack_ids(packed, metadata[f"{side}_ids"])
        factors, biases = tensors[f"{side}_factors"], tensors[f"{side}_biases"]
        known = tensors[f"{side}_known"]
        if factors.ndim != 2 or not len(ids) == len(factors) == len(biases) == len(known):
            raise ValueError(f"{side} ids, factors and biases differ in length")
        if factors.dtype not in (np.float32, np.float64) or biases.dtype != factors.dtype:
            raise ValueError(f"{side} factors are {factors.dtype}")
        setattr(model, f"{side}_ids_", ids)
        setattr(model, f"{side}_factors_", factors)
        setattr(model, f"{side}_biases_", biases)
        setattr(model, f"_{side}_known", known.astype(bool))
    if model.user_factors_.shape[1] != model.item_factors_.shape[1]:
        raise ValueError("user and item factors differ in width")
    indptr, seen = tensors["seen_indptr"], tensors["seen_items"]
    rows_fit = (
        len(indptr) == len(model.user_ids_) + 1 and indptr[0] == 0 and indptr[-1] == len(seen)
    )
    if not rows_fit or (np.diff(indptr) < 0).any():
        raise ValueError("the lists of seen items do not fit the users")
    model._seen, model._train_pairs = (indptr, seen), None
    model.global_mean_ = float(fitted["global_mean"])
    model._rating_mean = float(fitted["rating_mean"])
    # Files written before there were other losses are of the squared one.
    model._start_bias = float(fitted.get("start_bias", 0.0))
    model._trained_loss = str(fitted.get("loss", "squared"))
    model._link = str(fitted.get("link", "identity"))
    for record in fitted["history"]:
        for part in ("train", "valid"):
            record.setdefault(f"{part}_loss", record[f"{part}_rmse"] ** 2)
    model.history_ = fitted["history"]
    model.n_epochs_ = int(fitted["n_epochs"])
    model.n_threads_ = int(fitted["n_threads"])
    model.instruction_set_ = str(fitted["instruction_set"])
    return model


def _restored_param(name: str, value: Any) -> Any:
    if isinstance(
        value, list
    ):  # JSON has no tuples, and only pairs of strengths are stored as lists
        return tuple(value)
    if isinstance(value, dict):
        formulas: dict[str, Callable[[str], Any]] = {
            "loss": CustomLoss.from_text,
            "penalty": CustomPenalty.from_text,
        }
        return formulas[name](value["formula"])
    return value


def _checksum(tensors: dict[str, NDArray[Any]]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(name.encode(), crc)
        crc = zlib.crc32(tensors[name].reshape(-1).view(np.uint8).data, crc)
    return crc


def _storable_params(model: MatrixFactorization) -> dict[str, Any]:
    """Return the parameters that JSON can hold; the others fall back to their defaults."""
    params: dict[str, Any] = model.get_params(deep=False)
    params["dtype"] = np.dtype(params["dtype"]).name
    stored: dict[str, Any] = {}
    for name, value in params.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if plain is None or isinstance(plain, (bool, int, float, str)):
            stored[name] = plain
        elif name in ("reg", "reg_bias"):
            stored[name] = [float(strength) for strength in plain]
        elif isinstance(plain, (CustomLoss, CustomPenalty)):
            stored[name] = {"formula": plain.to_text()}
    return stored
