"""Arrays with names and a few texts in one file, in the safetensors format.

Eight bytes with the length of a JSON header, the header, and the arrays one after the other. The
package safetensors maps files when it reads them, so that a process dies if another one writes to
the file meanwhile, and holds each array twice when it writes.
"""

from __future__ import annotations

import json
import math
import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..exceptions import ModelFileError, NoModelFileError
from ..writing import whole_file

__all__ = ["Contents", "DamageError", "checksum", "read", "read_texts", "write"]

# As the format names the types; a file of ours has no others.
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I32": np.dtype("<i4"), "I64": np.dtype("<i8"),
    "U32": np.dtype("<u4"), "U64": np.dtype("<u8"), "U8": np.dtype("u1"), "I8": np.dtype("i1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _TYPES.items()}
# As the format has it.
_MOST_HEADER_BYTES = 100_000_000
_TEXTS = "__metadata__"


class DamageError(ValueError):
    """What is wrong inside a file; the caller adds which file."""


class Contents(NamedTuple):
    """The arrays and the texts of a file, by their names."""

    arrays: dict[str, NDArray[Any]]
    texts: dict[str, str]


class _Place(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    begin: int
    end: int


def write(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], texts: Mapping[str, str]
) -> None:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The file.
    arrays : mapping of str to ndarray
        Numbers of 32 and 64 bits, bytes and flags.
    texts : mapping of str to str
        What is told of them.

    Raises
    ------
    OSError
        If it cannot be written; see `writing.whole_path`.
    """
    # The widest first, so that all are aligned.
    order = sorted(sorted(arrays), key=lambda name: -arrays[name].dtype.itemsize)
    header: dict[str, Any] = {_TEXTS: dict(texts)}
    at = 0
    for name in order:
        array = arrays[name]
        end = at + array.nbytes
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_bytes_of(arrays[name]))


def read(path: str | os.PathLike[str]) -> Contents:
    """Read a file.

    Its bytes are read once, into memory of which the arrays are views.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    Contents

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is no regular file.
    DamageError
        If it is no such file, or a damaged one.
    """
    with _opened(path) as file:
        places, texts, n_bytes = _header(file)
        data = np.empty(n_bytes, np.uint8)
        if file.readinto(data.data) != n_bytes:  # type: ignore[attr-defined]
            raise DamageError("it ends early")
    arrays = {}
    for name, place in places.items():
        array = data[place.begin : place.end].view(place.dtype).reshape(place.shape)
        arrays[name] = array if array.flags.aligned else array.copy()
    flags = [array for array in arrays.values() if array.dtype == bool]
    if any(flag.view(np.uint8).max(initial=0) > 1 for flag in flags):
        raise DamageError("a flag is neither 0 nor 1")
    return Contents(arrays, texts)


def read_texts(path: str | os.PathLike[str]) -> dict[str, str]:
    """Read the texts of a file alone; see `read`."""
    with _opened(path) as file:
        return _header(file)[1]


def checksum(contents: Contents, *, leave_out: str) -> int:
    """Return the CRC-32 of what a file says: its texts but for one, its arrays, types and shapes.

    It is not of the file's bytes: the header's blanks, its order and its escapes are free.
    """
    crc = 0
    parts = (
        part for each in sorted(contents.texts.items()) if each[0] != leave_out for part in each
    )
    for part in parts:
        crc = zlib.crc32(_ended(part), crc)
    for name, array in sorted(contents.arrays.items()):
        shape = ",".join(map(str, array.shape))
        for part in (name, _NAMES[array.dtype.newbyteorder("<")], shape):
            crc = zlib.crc32(_ended(part), crc)
        crc = zlib.crc32(_bytes_of(array), crc)
    return crc


def _ended(part: str) -> bytes:
    """A text with a zero at its end, which tells it from the next."""
    return part.encode() + b"\0"


def _bytes_of(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    source = Path(path)
    try:
        mode = os.stat(source).st_mode
    except FileNotFoundError:
        raise NoModelFileError(str(source)) from None
    if stat.S_ISDIR(mode):
        raise ModelFileError(f"{source} is a folder, not a model file")
    if not stat.S_ISREG(mode):
        raise ModelFileError(
            f"{source} is a pipe or a device: write the model to a file first, and load that"
        )
    return open(source, "rb")


def _header(file: BinaryIO) -> tuple[dict[str, _Place], dict[str, str], int]:
    """Read where each array lies, the texts, and how many bytes follow."""
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(8)
    length = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or length > min(size - 8, _MOST_HEADER_BYTES):
        raise DamageError("it has no header, or one that is longer than the file")
    try:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"its header is no JSON: {error}") from error
    if not isinstance(header, dict):
        raise DamageError("its header is no JSON object")
    texts = header.pop(_TEXTS, {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise DamageError("what its header tells is no text")
    places = {name: _place(name, entry) for name, entry in header.items()}
    at = 0
    for place in sorted(places.values(), key=lambda place: (place.begin, place.end)):
        if place.begin != at:
            raise DamageError("its arrays overlap or leave gaps")
        at = place.end
    n_bytes = size - 8 - length
    if at != n_bytes:
        raise DamageError(f"its arrays take {at} bytes, and it has {n_bytes} for them")
    return places, texts, n_bytes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, no name of which may occur twice."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a name occurs twice in an object")
    return members


def _place(name: str, entry: Any) -> _Place:
    shown = f"{name[:40]!r}"
    if not isinstance(entry, dict):
        raise DamageError(f"{shown} is no array")
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise DamageError(f"{shown} is of the type {str(dtype)[:40]!r}")
    if not _are_lengths(shape) or not _are_lengths(offsets) or len(offsets) != 2:
        raise DamageError(f"{shown} has no shape and no place")
    begin, end = offsets
    if end - begin != math.prod(shape) * _TYPES[dtype].itemsize:
        raise DamageError(f"the length of {shown} does not fit its shape")
    return _Place(_TYPES[dtype], tuple(shape), begin, end)


def _are_lengths(values: Any) -> bool:
    # JSON's true is a bool, which is an int in Python.
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**63 for n in values)
