"""NumPy's npz files: arrays of users, items and ratings, and scipy's sparse matrices."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import option
from ...shared_state import ignored_warnings
from ..columns import as_float32, require_equal_lengths
from ..ids import encode_ids
from ..roles import ROLES
from ..times import as_timestamps
from .reading import Coded, Reading, Request, in_kind, reading_of_columns, refuse_columns
from .source import DAMAGE, Source
from .whole_rows import matrix_reading, whole_rows

__all__ = ["matches", "matches_sparse", "read", "read_sparse"]

_NAMES = {
    "user": ("users",),
    "item": ("items",),
    "rating": ("ratings", "values"),
    "timestamp": ("timestamps",),
}
# What scipy.sparse.save_npz writes of every matrix.
_SPARSE = {"format", "shape", "data"}


def matches(source: Source) -> bool:
    """Whether a file is an archive of arrays."""
    return source.is_arrays


def matches_sparse(source: Source) -> bool:
    """Whether a file is what scipy.sparse.save_npz writes."""
    if not source.is_arrays:
        return False
    try:
        with _file(source) as given, np.load(given, allow_pickle=False) as file:
            return _SPARSE <= set(file.files)
    # OSError: places beyond the file. RuntimeError: encrypted, or of a version that is not known.
    except (*DAMAGE, OSError, RuntimeError, ValueError):
        return False


def read(source: Source, request: Request) -> Reading:
    """Read an npz file of columns."""
    if not source.is_arrays:
        raise ValueError(
            f"this is no archive of NumPy arrays: pass {option('format', 'text')} if it is text"
        )
    given = _arrays(source, request)
    layout = {"arrays": ", ".join(given)}
    named = {role: (f"array {role}s", array) for role, array in given.items() if role in ROLES}
    whole = whole_rows(named, request, source.path.name)
    whole.require_some()
    return whole.noted(_reading(given | whole.columns, request, layout))


def _reading(arrays: dict[str, Any], request: Request, layout: dict[str, str]) -> Reading:
    if "user_ids" not in arrays and "item_ids" not in arrays:
        columns = {role: (f"array {role}s", array) for role, array in arrays.items()}
        return reading_of_columns("npz", columns, request, layout=layout)
    users, items = (
        in_kind(
            Coded(*_sorted_codes(arrays[role], arrays.get(f"{role}_ids"), f"{role}s")),
            f"{role}s",
            kind,
            strip=request.strip,
        )
        for role, kind in zip(("user", "item"), request.kinds, strict=True)
    )
    values = as_float32(arrays["rating"], "ratings") if request.needs_ratings else None
    times = as_timestamps(arrays["timestamp"], "timestamps") if "timestamp" in arrays else None
    lengths = {"users": len(users.codes), "items": len(items.codes)}
    lengths |= {} if values is None else {"ratings": len(values)}
    lengths |= {} if times is None else {"timestamps": len(times)}
    require_equal_lengths(lengths)
    return Reading("npz", users, items, values, times, layout=layout)


def read_sparse(source: Source, request: Request) -> Reading:
    """Read a matrix that scipy.sparse.save_npz wrote: every stored entry is a rating."""
    from scipy.sparse import load_npz

    refuse_columns(request, "rows of a sparse matrix are users, columns are items")
    with _damage_named(), _file(source) as given:
        matrix = load_npz(given)
        if matrix.format in ("csr", "csc", "bsr"):
            # SciPy's loops trust the positions, of which it checks some only if it is asked.
            matrix.check_format(full_check=True)
        if len(matrix.shape) == 2:
            matrix = matrix.tocoo()
    if len(matrix.shape) != 2:
        raise ValueError(f"the sparse array has shape {matrix.shape}; it must be (users, items)")
    if matrix.dtype.kind not in "fiub":
        raise ValueError(f"the sparse matrix is of {matrix.dtype}; ratings must be real numbers")
    columns = {
        "user": ("rows", matrix.row),
        "item": ("columns", matrix.col),
        "rating": ("data", matrix.data),
    }
    asked = {role: column for role, column in columns.items() if role in request.wanted}
    return matrix_reading("scipy-npz", asked, request, source, {"shape": f"{matrix.shape}"})


def _file(source: Source) -> Any:
    """Open a file by ourselves: NumPy leaves one open that it cannot read."""
    given = source.seekable()
    return open(given, "rb") if isinstance(given, str) else given


def _arrays(source: Source, request: Request) -> dict[str, Any]:
    """The arrays by role, and under "user_ids" and "item_ids" what the file has of those."""
    with _file(source) as given, _loaded(given) as file:
        arrays = {name: _member(file, name) for name in ("user_ids", "item_ids") if name in file}
        for role, name in request.wanted.items():
            if isinstance(name, int):
                raise ValueError(
                    f"{option(role, name)}: arrays have names: the file has {sorted(file.files)}"
                )
            names = _NAMES[role] if name is None else (name,)
            there = [name for name in names if name in file]
            if there:
                arrays[role] = _member(file, there[0])
            elif role != "timestamp" or name is not None:
                listed = " or ".join(map(repr, names))
                raise ValueError(f"no array {listed}: the file has {sorted(file.files)}")
    return arrays


def _loaded(opened: Any) -> Any:
    with _damage_named():
        return np.load(opened, allow_pickle=False)


def _member(file: Any, name: str) -> NDArray[Any]:
    with _damage_named():
        array = file[name]
        if not isinstance(array, np.ndarray):
            # NumPy gives the bytes of a member that is none.
            raise ValueError(f"what it has as {name!r} is no array")
        return array


@contextmanager
def _damage_named() -> Iterator[None]:
    """Word what NumPy and SciPy raise of a damaged archive.

    That may be anything: the headers of arrays are Python's literals.
    """
    try:
        # Of literals with odd escapes.
        of_literals = (DeprecationWarning, ""), (SyntaxWarning, "")
        with ignored_warnings(*of_literals), np.errstate(invalid="raise"):
            yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if "allow_pickle" in str(error):
            raise ValueError(
                "an array holds Python objects, which are not read: save it with the dtype of its "
                "values, such as int64 or str"
            ) from error
        raise ValueError(f"the npz file is damaged: {error}") from error


def _sorted_codes(codes: Any, ids: Any, name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    # Positions into a vocabulary are checked and put in its sorted order.
    if ids is None:
        return encode_ids(codes, name)
    ranks, vocabulary = encode_ids(ids, f"{name[:-1]}_ids")
    if len(vocabulary) < len(ids):
        raise ValueError(f"{name[:-1]}_ids holds {len(ids) - len(vocabulary)} repeated id(s)")
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {codes.dtype} and shape {codes.shape}; it must be 1-D integer positions "
            f"in {name[:-1]}_ids"
        )
    if len(codes) and not 0 <= codes.min() <= codes.max() < len(ids):
        at = int(np.argmax((codes < 0) | (codes >= len(ids))))
        raise ValueError(
            f"{name}: {codes[at]} at position {at} is no position in {name[:-1]}_ids, which has "
            f"{len(ids)} ids"
        )
    return ranks[codes], vocabulary
