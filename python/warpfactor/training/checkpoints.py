"""Where a fit is kept while it runs, and from where it goes on: `fit(checkpoint=, every=, resume=)`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .. import _core
from ..checks import check_count, option, warn, where_typed
from ..exceptions import ModelFileError
from ..formulas.losses import CustomLoss
from ..model.record import EpochRecord
from ..writing import check_target, is_stream
from .core_params import in_python_words

__all__ = ["Checkpoints", "checkpoints_of"]


class Checkpoints(NamedTuple):
    """Which file a fit is kept in, and which it goes on from.

    Parameters
    ----------
    path : Path or None
        The file that is written; None: none.
    every : int
        After how many epochs it is.
    resume : Path or None
        The file to go on from; None: the fit begins anew.
    seed : int or None
        The seed of the fit that goes on.
    history : tuple of dict
        The records of the epochs that it has done.
    """

    path: Path | None = None
    every: int = 1
    resume: Path | None = None
    seed: int | None = None
    history: tuple[EpochRecord, ...] = ()

    def core(self, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what the core takes; None where there is nothing to keep or go on from."""
        if self.path is None and self.resume is None:
            return None
        context: dict[str, str] = {}
        if isinstance(params["loss"], CustomLoss):
            context["the custom loss"] = params["loss"].to_text()
        if params["penalty"] is not None:
            context["penalty"] = params["penalty"].to_text()
        return {
            "path": self.path,
            "every": self.every,
            "resume": self.resume,
            "context": context,
            "warn": _warn,
        }

    def of_refit(self, *, of_same: bool) -> Checkpoints:
        """Return those of the second training of `refit`, which has a file of its own beside.

        `of_same`: the first training had ended before, so that the second one is what was cut off.
        """
        path, resume = _refitted(self.path), _refitted(self.resume)
        if resume is not None and not (of_same and _is_there(resume)):
            resume = None
        return Checkpoints(path, self.every, resume)

    def begin(self) -> None:
        """Remove what the second training of an earlier fit has left, where a new fit begins."""
        left = _refitted(self.path)
        if self.resume is None and left is not None and _is_there(left):
            _facts(left)  # nothing but a checkpoint is removed
            left.unlink()


def checkpoints_of(checkpoint: Any, every: Any, resume: Any) -> Checkpoints:
    """Check the arguments of `fit`; see `MatrixFactorization.fit`.

    Raises
    ------
    ValueError
        If they do not fit together, or `checkpoint` would replace what is no checkpoint, or one of a
        fit that has not ended, without `resume` saying so.
    OSError
        If `checkpoint` cannot be written, or there is no file `resume`.
    """
    every = check_count("every", every, 1)
    if every != 1 and checkpoint is None:
        raise ValueError(
            f"{option('every')} is {every}, and says how often {option('checkpoint')} is written, which is not given"
        )
    flag = option("resume", True)
    path = None if checkpoint is None else _path("checkpoint", checkpoint)
    there = path is not None and _is_there(path)
    facts = None
    if path is not None:
        check_target(path)
        if is_stream(path):
            raise ValueError(
                f"{option('checkpoint')} is {str(path)!r}, which is no file: give the name of one"
            )
    if path is not None and there:
        facts = _replaceable(path, resume)
    if (beside := _refitted(path)) is not None and _is_there(beside):
        _replaceable(beside, resume)
    if resume is None or resume is False:
        return Checkpoints(path, every)
    if resume is True:
        if path is None:
            raise ValueError(
                f"{flag} goes on from {option('checkpoint')}, which is not given: give "
                + where_typed("checkpoint=PATH, or resume=PATH", "--checkpoint FILE")
            )
        if facts is None:
            return Checkpoints(path, every)
        source = path
    else:
        source = _path("resume", resume)
        if not _is_there(source):
            raise FileNotFoundError(
                f"there is no checkpoint {source}: give the file that checkpoint= named, or "
                "checkpoint=PATH and resume=True, which begins anew where there is none yet"
            )
        if path is not None and there and not path.samefile(source):
            raise ValueError(
                f"checkpoint is {str(path)!r}, which is there, and resume is {str(source)!r}: go on from "
                "the one by resume=True, or give another name for checkpoint"
            )
        facts = _facts(source)
    return Checkpoints(path, every, source, facts["seed"], tuple(facts["history"]))


def _replaceable(path: Path, resume: Any) -> dict[str, Any]:
    """Return what a checkpoint says; refuse to replace another file, or a fit that did not end."""
    try:
        facts = _facts(path)
    except ModelFileError as error:
        raise ModelFileError(
            f"{option('checkpoint')} would replace {path}, from which no fit can go on: {error}. Give "
            "another name, or remove the file"
        ) from error
    if resume is None and not facts["finished"]:
        raise ValueError(
            f"{path} is the checkpoint of a fit that did not end, in epoch {len(facts['history'])}: go on from "
            f"it by {option('resume', True)}, or begin anew by {option('resume', False)}"
        )
    return facts


def _path(name: str, given: Any) -> Path:
    try:
        return Path(given)
    except TypeError:
        also = ", or True or False" if name == "resume" else ""
        raise ValueError(f"{name} is {given!r}; it must be a path{also}, or None") from None


def _is_there(path: Path) -> bool:
    """Whether there is a file that is not empty: a name that a program has only made is none."""
    try:
        return path.stat().st_size > 0 or not path.is_file()
    except FileNotFoundError:
        return False


def _facts(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the name of a file in it")
    facts: dict[str, Any] = _core.checkpoint_facts(path)
    return facts


def _refitted(path: Path | None) -> Path | None:
    return None if path is None else path.with_name(path.name + ".refit")


def _warn(text: str) -> None:
    warn(in_python_words(text))
