"""Ratings that a fit reads from disk in chunks, in place of holding them in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import check_count, in_words_of, is_number, option
from ..data.columns import check_weights
from ..data.files import read_ratings
from ..data.numbering import available_memory
from ..data.scan import RatingsScan, is_paths, is_stream, scan_ratings, store
from ..data.stored import BYTES_PER_RATING, Chunk, StoredRatings, require_disk_space, scratch_folder
from ..exceptions import CudaError
from ..serving.tables import SeenItems
from .core_params import typed_words
from .given import Given, drawn_positions, given_ratings, validation_arrays
from .progress import ReadingBar

__all__ = ["BUFFER", "Disk", "given_from"]

# Bytes of ratings in memory beside the factors, where fit is not told.
BUFFER = 1 << 30
# A pair of codes.
_BYTES_PER_PAIR = 8
# What drawing validation ratings takes: NumPy numbers them all.
_BYTES_PER_DRAW = 9


class Disk(NamedTuple):
    """Where a fit keeps ratings in place of memory, and the bytes of memory that it may use instead."""

    folder: Path
    buffer: int

    def chunks(self, given: Given, *, last: bool = False) -> Callable[[], Iterator[Chunk]]:
        """Return what gives the ratings to train on, as the core takes them.

        Parameters
        ----------
        given : Given
            The ratings.
        last : bool, default False
            Whether nobody reads them after this.
        """
        ratings, weights = given.ratings, given.weights
        if isinstance(ratings, StoredRatings):
            return lambda: ratings.chunks(weights, last=last)
        columns = ratings.users, ratings.items, ratings.values
        return lambda: iter([(*columns, weights)])

    def seen(self, given: Given) -> SeenItems:
        """Return what each user rated, if the buffer holds it; it is read when it is asked for."""
        whole = given.whole or given
        ratings, weights = whole.ratings, whole.weights
        assert isinstance(ratings, StoredRatings)
        if len(ratings) * _BYTES_PER_PAIR > self.buffer:
            return SeenItems(ratings.n_users)
        return SeenItems(ratings.n_users, pairs=lambda: ratings.pairs(weights))


@contextmanager
def given_from(
    X: Any,
    y: ArrayLike | None,
    *,
    sample_weight: ArrayLike | None,
    validation: Any,
    params: Mapping[str, Any],
    core: _core.TrainParams,
    scratch: Any,
    buffer: Any,
) -> Iterator[tuple[Given, Disk | None, Any]]:
    """Check and convert the arguments of `fit`; see `MatrixFactorization.fit`.

    Yields
    ------
    given : Given
        The ratings.
    disk : Disk or None
        Where they are kept, if not in memory. It is given back in the end.
    validation : object
        What was given, in memory.
    """
    fraction, seed = params["validation_fraction"], core["seed"]
    disk = _disk(X, scratch, buffer)
    validation = _in_memory(validation, disk)
    if is_paths(X) or isinstance(X, RatingsScan) or is_stream(X):
        if y is not None:
            raise ValueError(f"X ({type(X).__name__}) holds the ratings itself: pass no y with it")
        if disk is not None:
            _require_fit(disk, core)
            scan = X if isinstance(X, RatingsScan) else scan_ratings(X)
            with _stored(scan, disk, params, core, weighted=sample_weight is not None) as stored:
                yield _given(stored, sample_weight, validation, fraction, seed), disk, validation
            return
        if is_paths(X):
            X = read_ratings(X)
    elif disk is not None:
        _require_fit(disk, core)
    given = given_ratings(
        X, y, sample_weight=sample_weight, validation=validation, fraction=fraction, seed=seed
    )
    if disk is not None:
        needed = _core.scratch_bytes(len(given.ratings), given.weights is not None, core)
        require_disk_space(disk.folder, needed, f"training on {len(given.ratings):,} ratings")
    yield given, disk, validation


def _in_memory(validation: Any, disk: Disk | None) -> Any:
    """Read validation ratings that come from files or in parts."""
    if is_paths(validation) and (not isinstance(validation, str) or Path(validation).exists()):
        return read_ratings(validation)
    pair_or_table = isinstance(validation, (tuple, pa.RecordBatchReader))
    if not isinstance(validation, RatingsScan) and (pair_or_table or not is_stream(validation)):
        return validation
    scan = validation if isinstance(validation, RatingsScan) else scan_ratings(validation)
    folder = scratch_folder(None) if disk is None else disk.folder
    with store(scan, folder) as stored:
        return stored.in_memory()


def _disk(X: Any, scratch: Any, buffer: Any) -> Disk | None:
    """Where ratings are kept, if they are not to be in memory."""
    # A reader of batches is a table too, and is read into memory as those are.
    streams = isinstance(X, RatingsScan) or (
        is_stream(X) and not isinstance(X, pa.RecordBatchReader)
    )
    if scratch is False or (scratch is None and not streams):
        if streams:
            raise ValueError(
                f"{option('scratch')} is False, and X ({type(X).__name__}) is read in parts, which needs "
                "a folder on a disk: leave it out, or read the ratings into a table"
            )
        if buffer is not None:
            raise ValueError(
                f"{option('buffer')} is given, and X is in memory: give {option('scratch')} too, or leave "
                f"it out"
            )
        return None
    size = BUFFER if buffer is None else check_count("buffer", buffer, 1, 2**63 - 1)
    return Disk(scratch_folder(scratch), size)


def _require_fit(disk: Disk, core: _core.TrainParams) -> None:
    """Refuse what cannot train from a disk, and a device that cannot be used, before anything is read."""
    with typed_words():
        _core.check_scratch(disk.buffer, core)
    if core["device"] == "cuda":
        _, usable, reason = _core.cuda_status()
        if not usable:
            raise CudaError(in_words_of(("device",), reason))


@contextmanager
def _stored(
    scan: RatingsScan,
    disk: Disk,
    params: Mapping[str, Any],
    core: _core.TrainParams,
    *,
    weighted: bool,
) -> Iterator[StoredRatings]:
    """Read ratings onto the disk, which is given back in the end."""
    item_size = 8 if str(np.dtype(params["dtype"])) == "float64" else 4
    k = core["n_factors"]
    # The model and the copy that is trained, whose rows are padded to cache lines.
    row_bytes = item_size * (k + 1 + -(-k * item_size // 64) * 64 // item_size + 1)
    # Training takes the ratings over chunk by chunk.
    most = max(BYTES_PER_RATING, _core.scratch_bytes(1 << 20, weighted, core) / (1 << 20))
    with ReadingBar(disk.folder, most, verbose=params["verbose"]) as bar:
        stored = store(
            scan,
            disk.folder,
            row_bytes=row_bytes,
            rating_bytes=int(most) - BYTES_PER_RATING,
            tell=bar.advance,
        )
    with stored:
        needed = _core.scratch_bytes(len(stored), weighted, core) - BYTES_PER_RATING * len(stored)
        require_disk_space(disk.folder, needed, f"training on {len(stored):,} ratings")
        yield stored


def _given(
    stored: StoredRatings,
    sample_weight: ArrayLike | None,
    validation: Any,
    fraction: float | None,
    seed: int,
) -> Given:
    weights = None if sample_weight is None else check_weights(sample_weight, len(stored))
    name = "validation_fraction" if validation is None else "validation"
    drawn = fraction if validation is None else validation
    if drawn is None:
        return Given(stored, weights, None)
    if is_number(drawn) or isinstance(drawn, str):
        return _drawn(Given(stored, weights, None), stored, name, drawn, seed)
    return Given(stored, weights, validation_arrays(validation, stored))


def _drawn(given: Given, stored: StoredRatings, name: str, fraction: Any, seed: int) -> Given:
    needed, free = _BYTES_PER_DRAW * len(stored), available_memory()
    if free is not None and needed > free:
        raise MemoryError(
            f"{option(name)} is {fraction!r}, and drawing among {len(stored):,} ratings takes "
            f"{needed / 1e9:,.1f} GB of memory, of which {free / 1e9:,.1f} GB are free: give "
            f"{option('validation')} ratings that were held out before"
        )
    chosen = drawn_positions(len(stored), name, fraction, seed)
    users, items, values = stored.chosen(chosen)
    weights: NDArray[np.float32] | None = given.weights
    held_out = _core.RatingArrays(
        users, items, values, None if weights is None else weights[chosen]
    )
    return Given(
        stored.without(chosen), None if weights is None else weights[~chosen], held_out, given
    )
