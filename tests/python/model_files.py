"""Model files taken apart and laid out again, with the checksum that their version has."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Tensors = dict[str, tuple[Any, Any, bytes]]
_TYPES = {
    "f4": "F32",
    "f8": "F64",
    "i4": "I32",
    "i8": "I64",
    "u4": "U32",
    "u8": "U64",
    "b1": "BOOL",
}


def tensor(array: Any) -> tuple[str, list[int], bytes]:
    """Type, shape and bytes of an array."""
    array = np.ascontiguousarray(array)
    return _TYPES.get(array.dtype.str[1:], "U8"), list(array.shape), array.tobytes()


def taken_apart(path: Path) -> tuple[Tensors, dict[str, str]]:
    """The tensors of a file (type, shape and bytes), and its metadata."""
    whole = path.read_bytes()
    (n,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + n])
    metadata = header.pop("__metadata__")
    body = whole[8 + n :]
    tensors = {
        name: (each["dtype"], each["shape"], body[slice(*each["data_offsets"])])
        for name, each in header.items()
    }
    return tensors, metadata


def lay_out(path: Path, tensors: Tensors, metadata: Mapping[str, Any]) -> Path:
    """Write a file whose checksum holds, whatever is in it."""
    header: dict[str, Any] = {}
    body = b""
    for name, (dtype, shape, raw) in tensors.items():
        place = [len(body), len(body) + len(raw)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": place}
        body += raw
    metadata = {**metadata, "crc32": str(_checksum(tensors, metadata))}
    text = json.dumps({"__metadata__": metadata, **header}).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def _checksum(tensors: Tensors, metadata: Mapping[str, Any]) -> int:
    parts: list[bytes] = []
    is_third = metadata.get("format_version") == "3"
    for name, value in sorted(metadata.items()) if is_third else []:
        if name != "crc32":
            parts += [f"{name}\0{value}\0".encode()]
    for name, (dtype, shape, raw) in sorted(tensors.items()):
        said = f"{name}\0{dtype}\0{','.join(map(str, shape))}\0" if is_third else name
        parts += [said.encode(), raw]
    return zlib.crc32(b"".join(parts))
