"""The bytes of a file, out of whatever it is packed in."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from ...checks import option
from ..folders import ratings_among

__all__ = ["DAMAGE", "NothingThere", "Source", "memory_errors"]

# What Python's readers of packed files raise of damage, apart from OSError and ValueError.
DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error),
    # A zip archive of a version beyond what there is.
    NotImplementedError,
)

# What Arrow and its formats say of an allocation that failed, in whatever class of error it comes out.
_OUT_OF_MEMORY = re.compile(r"\b(m|re)alloc of size \d+ failed|\bstd::bad_alloc\b")

_HEAD = 1 << 18
_ARROW_CODECS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
# Bytes unpacked at a time.
_PART = 1 << 22
_OPENERS = {"": io.open, "gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
# What zipfile says of a damaged archive, and of versions and encryptions that it does not know.
_DAMAGES = (zipfile.BadZipFile, RuntimeError, EOFError, ValueError, IndexError, struct.error)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError of a failed allocation that a library reports by an error of another class."""
    try:
        yield
    except MemoryError:
        raise
    except (ValueError, OSError, pa.ArrowException) as error:
        if getattr(error, "errno", None) == errno.ENOMEM or _OUT_OF_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise


class NothingThere(ValueError):
    """A file holds no row, which does not matter where it is one of several."""


class Source:
    """A file that may be compressed (gz, bz2, xz, zst, lz4) or a member of a zip archive.

    Parameters
    ----------
    path : str or path-like
        The file.
    member : str, default None
        Which file of a zip archive; None: the only one, or the only one named ratings.* or u.data.
    keys : mapping of str to str, default None
        Columns that the names of its folders give, as in ``country=NO/part-0.parquet``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no regular file, or empty, or `member` is not in it or not clear.

    Attributes
    ----------
    packing : str
        How it is packed; "" if it is not.
    is_arrays : bool
        Whether it is a zip archive of NumPy arrays, which is a format of its own.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        member: str | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.keys = keys or {}
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if not self.path.is_file():
            raise ValueError("is no regular file: write to one first, as it is read twice")
        if not self.path.stat().st_size:
            raise NothingThere("the file is empty")
        with self.path.open("rb") as file:
            magic = file.read(8)
        self.is_arrays = magic.startswith(b"PK\x03\x04") and _holds_arrays(self.path)
        self.packing = "" if self.is_arrays else _packing(magic)
        if member is not None and self.packing != "zip":
            raise ValueError(f"{option('member')} is {member!r:.80}, but this is no zip archive")
        self.member = self._found_member(member) if self.packing == "zip" else None

    def open(self) -> IO[bytes]:
        """Open the unpacked bytes from the beginning."""
        match self.packing:
            case "zip":
                return _Member(self.path, self.member or "")
            case "zstd" | "lz4":
                packed = pa.OSFile(str(self.path))
                # Its own read() never frees what it read into, where the file is damaged.
                return io.BufferedReader(pa.CompressedInputStream(packed, self.packing))
        return _OPENERS[self.packing](self.path, "rb")  # type: ignore[operator, no-any-return]

    def seekable(self) -> Any:
        """The path, or the unpacked bytes, for libraries that need to jump about in a file.

        In memory of Arrow's: its threads take Python's lock for no other (see lending).
        """
        if not self.packing:
            return str(self.path)
        unpacked = pa.BufferOutputStream()
        with self.open() as file:
            while part := file.read(_PART):
                unpacked.write(part)
        return pa.BufferReader(unpacked.getvalue())

    @cached_property
    def head(self) -> bytes:
        """The first unpacked bytes, up to 256 KiB."""
        parts = []
        size = 0
        try:
            with self.open() as file:
                while size < _HEAD and (part := file.read(_HEAD - size)):
                    parts.append(part)
                    size += len(part)
        except DAMAGE as error:
            raise ValueError(f"the file is damaged: {error}") from error
        head = b"".join(parts)
        if not head:
            raise NothingThere("the file is empty")
        return head

    @property
    def is_whole(self) -> bool:
        """Whether `head` is all there is."""
        return len(self.head) < _HEAD

    @property
    def name(self) -> str:
        """The file's name without the suffix of its compression, or the member's."""
        if self.member is not None:
            return Path(self.member).name
        return self.path.stem if self.packing else self.path.name

    def _found_member(self, wanted: str | None) -> str:
        try:
            with zipfile.ZipFile(self.path) as archive:
                # Not by is_dir(), which takes no empty name.
                names = [name for name in archive.namelist() if name and not name.endswith("/")]
        except _DAMAGES as error:
            raise ValueError(f"the zip archive is damaged: {error}") from error
        if "[Content_Types].xml" in names:
            raise ValueError("the file is one of Excel or another Office program: save it as csv")
        # macOS puts notes of its own beside the files.
        names = [name for name in names if not name.startswith("__MACOSX/")]
        # Names as they are, since a path would write "./a" as "a".
        whole = {PurePosixPath(name): name for name in names}
        shown = [path for path in whole if not path.name.startswith((".", "_"))] or list(whole)
        ours = [whole[path] for path in ratings_among(shown)]
        if wanted is None:
            chosen = ours
        else:
            chosen = [name for name in names if name == wanted]
        if len(chosen) == 1:
            return chosen[0]
        if not names:
            raise ValueError("the zip archive holds no files")
        listed = ", ".join(names[:20]) + (f", ... ({len(names)} in all)" if len(names) > 20 else "")
        given = "holds more than one file" if wanted is None else f"holds no {wanted!r}"
        example = option("member", ours[0])
        raise ValueError(f"the zip archive {given}: pass {example}; it has {listed}")


def _packing(magic: bytes) -> str:
    if magic.startswith(b"\x1f\x8b"):
        return "gzip"
    if magic.startswith(b"BZh"):
        return "bz2"
    if magic.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if magic[:4] in _ARROW_CODECS:
        return _ARROW_CODECS[magic[:4]]
    return "zip" if magic.startswith(b"PK\x03\x04") else ""


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGES:
        return path.suffix.lower() == ".npz"
    return bool(names) and all(name.endswith(".npy") for name in names)


class _Member(io.BufferedReader):
    """A member of a zip archive, which is closed with it."""

    def __init__(self, path: Path, member: str) -> None:
        self._archive = zipfile.ZipFile(path)
        try:
            super().__init__(self._archive.open(member))  # type: ignore[arg-type]
        except _DAMAGES as error:
            self._archive.close()
            # An encrypted member, or a compression that Python lacks.
            raise ValueError(f"{member} cannot be unpacked: {error}") from error

    def close(self) -> None:
        super().close()
        self._archive.close()
