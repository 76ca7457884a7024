"""Ratings that lie on disk in place of memory, in a file that goes away whatever happens."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ..checks import option
from .ratings import Ratings, adopt_ratings

__all__ = [
    "BYTES_PER_RATING",
    "Chunk",
    "Spool",
    "StoredRatings",
    "require_disk_space",
    "scratch_folder",
]

# int32 user, int32 item, float32 rating.
BYTES_PER_RATING = 12
# Ratings read at a time: 12 MiB. Not measured.
_CHUNK = 1 << 20
# Ratings of a file: 256 MiB of a column. A multiple of those read at a time.
_STRETCH = 1 << 26
# Linux' tables of what is mounted where, and the kinds that lie in memory.
_MOUNTS = Path("/proc/self/mounts")
_IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")

Chunk = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32] | None]


def scratch_folder(scratch: Any) -> Path:
    """Return the folder for what does not fit into memory.

    Parameters
    ----------
    scratch : str, path-like, True or None
        The folder. True and None: that of `TMPDIR`, else ``/var/tmp``, which unlike ``/tmp`` is meant
        for what is large, else the system's.

    Raises
    ------
    ValueError
        If it is no folder that can be written to, or the system's lies in memory.
    """
    if scratch is None or scratch is True:
        return _system_folder()
    if not isinstance(scratch, (str, os.PathLike)) or not os.fspath(scratch):
        raise ValueError(f"{option('scratch')} is {scratch!r}; it must be a folder, or True")
    folder = Path(scratch)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ValueError(
            f"{option('scratch')} is {str(folder)!r}, which {what}; it must be a folder on a disk with "
            f"room for the ratings"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(
            f"{option('scratch')} is {str(folder)!r}, which cannot be written to; it must be a folder "
            "that can"
        )
    return folder


def _system_folder() -> Path:
    chosen = os.environ.get("TMPDIR")
    folders = [chosen] if chosen else ["/var/tmp", tempfile.gettempdir()]
    usable = [Path(each) for each in folders if os.path.isdir(each) and os.access(each, os.W_OK)]
    on_disk = next((each for each in usable if not _is_memory(each)), None)
    if on_disk is None:
        shown = chosen or tempfile.gettempdir()
        why = "lies in memory" if usable else "cannot be written to"
        raise ValueError(
            f"the folder for temporary files, {shown!r}, {why}: pass {option('scratch')} with a folder "
            "on a disk"
        )
    return on_disk


def _is_memory(folder: Path) -> bool:
    """Whether what is written to a folder stays in memory, so far as the system tells."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    where = str(folder.resolve())
    kinds = {}
    for line in lines:
        _, at, kind, *_ = line.split(" ")
        if where == at or where.startswith(at.rstrip("/") + "/"):
            kinds[at] = kind
    return bool(kinds) and kinds[max(kinds, key=len)] in _IN_MEMORY


def require_disk_space(folder: Path, needed: int, what: str) -> int:
    """Return the free bytes of a folder's disk; raise OSError where they do not do.

    Parameters
    ----------
    folder : Path
        The folder for what does not fit into memory.
    needed : int
        Bytes.
    what : str
        What needs them.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise _no_room(folder, needed, free, what)
    return free


def _no_room(folder: Path, needed: int, free: int, what: str) -> OSError:
    return OSError(
        f"{what} needs {_size(needed)} in the folder {str(folder)!r}, whose disk has {_size(free)} free: "
        f"pass {option('scratch')} with a folder on a larger disk, or make room"
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e7 else f"{n_bytes:,} bytes"


class Spool:
    """Files without a name, to which ratings are appended.

    No other program sees the files, and the system frees them when they are closed or the process
    ends, however it does.

    Parameters
    ----------
    folder : Path
        Where the disk is.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_rows = 0
        # Of each stretch of ratings the users, items and values.
        self._files: list[list[IO[bytes]]] = []

    def append(
        self, users: NDArray[np.int32], items: NDArray[np.int32], values: NDArray[np.float32]
    ) -> None:
        """Write ratings behind the others."""
        begin = 0
        while begin < len(values):
            at, within = divmod(self.n_rows, _STRETCH)
            if at == len(self._files):
                self._files.append([])
                for _ in range(3):
                    # On Linux by O_TMPFILE: there is no moment in which it has a name.
                    self._files[at].append(tempfile.TemporaryFile(dir=self.folder, buffering=0))  # noqa: SIM115
            end = min(begin + _STRETCH - within, len(values))
            for file, column in zip(self._files[at], (users, items, values), strict=True):
                file.seek(4 * within)
                self._write(file, column[begin:end])
            self.n_rows += end - begin
            begin = end

    def cut(self, n_rows: int) -> None:
        """Forget all but the first ratings."""
        at, within = divmod(n_rows, _STRETCH)
        for number, files in enumerate(self._files):
            for file in files:
                if number >= at:
                    file.truncate(4 * within if number == at else 0)
        self.n_rows = n_rows

    def read(
        self, begin: int, end: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Read some of the ratings, which `stretches` may not part."""
        users, items = (np.empty(end - begin, np.int32) for _ in range(2))
        values = np.empty(end - begin, np.float32)
        at, within = divmod(begin, _STRETCH)
        for file, column in zip(self._files[at], (users, items, values), strict=True):
            file.seek(4 * within)
            left = memoryview(column.data).cast("B")
            while left:
                n_read = file.readinto(left)  # type: ignore[attr-defined]
                if not n_read:
                    raise OSError(f"a scratch file in {str(self.folder)!r} has become shorter")
                left = left[n_read:]
        return users, items, values

    def chunks(self) -> Iterator[tuple[int, int]]:
        """The positions from which, and to which, ratings are read at a time."""
        for begin in range(0, self.n_rows, _CHUNK):
            yield begin, min(begin + _CHUNK, self.n_rows)

    def free(self, n_rows: int) -> None:
        """Give back the disk of the first ratings, so far as stretches end there."""
        for files in self._files[: n_rows // _STRETCH]:
            for file in files:
                file.close()

    def _write(self, file: IO[bytes], column: NDArray[Any]) -> None:
        left = memoryview(np.ascontiguousarray(column).data).cast("B")
        while left:
            try:
                left = left[file.write(left) :]
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                needed = BYTES_PER_RATING * (self.n_rows + len(column))
                free = shutil.disk_usage(self.folder).free
                raise _no_room(self.folder, needed, free, "what is read so far") from error

    def close(self) -> None:
        """Give the disk back."""
        for files in self._files:
            for file in files:
                file.close()


class Numbered(NamedTuple):
    """The ids of a side, and what the codes of a spool stand for.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,)
        The ids, sorted.
    codes : ndarray of int32, or None
        The position in `ids` of each code; None: codes are positions.
    n_early : int, default 0
        So many ratings, the first ones, hold integer ids in place of codes.
    early : ndarray of int32, or None
        The position of each integer from `low` on; None: integers are positions.
    low : int, default 0
        The lowest of those integers.
    """

    ids: NDArray[Any]
    codes: NDArray[np.int32] | None
    n_early: int = 0
    early: NDArray[np.int32] | None = None
    low: int = 0

    def positions(self, codes: NDArray[np.int32], begin: int) -> NDArray[np.int32]:
        """Return the positions of ratings of a spool, of which the first is number `begin`."""
        n_early = min(max(self.n_early - begin, 0), len(codes))
        parts = []
        if n_early:
            given = codes[:n_early]
            parts.append(given if self.early is None else self.early[given - np.int32(self.low)])
        if n_early < len(codes):
            given = codes[n_early:]
            parts.append(given if self.codes is None else self.codes[given])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class StoredRatings:
    """Ratings on disk, read in chunks; what `Ratings` is for those in memory.

    Parameters
    ----------
    spool : Spool
        The ratings, in the order in which they were read.
    users, items : Numbered
        What the spool's codes stand for.

    Attributes
    ----------
    user_ids, item_ids : ndarray of shape (n_users,) and (n_items,)
        The ids, sorted.
    folder : Path
        Where the disk is.
    """

    def __init__(self, spool: Spool, users: Numbered, items: Numbered) -> None:
        self._spool = spool
        self._sides = users, items
        self._left_out: NDArray[np.uint8] | None = None  # by rating a bit
        self._n = spool.n_rows
        self.user_ids, self.item_ids = users.ids, items.ids
        self.folder = spool.folder

    def __len__(self) -> int:
        return self._n

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items."""
        return len(self.item_ids)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return self.n_users, self.n_items

    def without(self, left_out: NDArray[np.bool_]) -> StoredRatings:
        """Return the same ratings on the same disk, without some."""
        rest = StoredRatings(self._spool, *self._sides)
        rest._left_out = np.packbits(left_out, bitorder="little")
        rest._n = self._n - int(np.count_nonzero(left_out))
        return rest

    def chunks(
        self, weights: NDArray[np.float32] | None = None, *, last: bool = False
    ) -> Iterator[Chunk]:
        """Read the ratings in their order.

        Parameters
        ----------
        weights : ndarray of shape (n_ratings,), float32, or None
            Their weights.
        last : bool, default False
            Whether it is the last time: the disk is given back on the way.

        Yields
        ------
        users, items, values, weights
            Of each chunk; the last is None without weights.
        """
        at = 0
        for begin, end in self._spool.chunks():
            *codes, values = self._spool.read(begin, end)
            users, items = (
                side.positions(each, begin) for side, each in zip(self._sides, codes, strict=True)
            )
            if self._left_out is not None:
                bits = self._left_out[begin // 8 : -(-end // 8)]
                kept = np.unpackbits(bits, count=end - begin, bitorder="little") == 0
                users, items, values = users[kept], items[kept], values[kept]
            yield users, items, values, None if weights is None else weights[at : at + len(values)]
            at += len(values)
            if last:
                self._spool.free(end)
        if last:
            self.close()

    def chosen(
        self, chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Return the users, items and values of some of the ratings, in memory."""
        parts = []
        at = 0
        for *columns, _ in self.chunks():
            mask = chosen[at : at + len(columns[0])]
            parts.append([column[mask] for column in columns])
            at += len(mask)
        users, items, values = (np.concatenate(column) for column in zip(*parts, strict=True))
        return users, items, values

    def pairs(
        self, weights: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the codes of all ratings of a weight above 0, in memory."""
        n = len(self) if weights is None else int(np.count_nonzero(weights > 0))
        pairs = np.empty(n, np.int32), np.empty(n, np.int32)
        at = 0
        for users, items, _, some in self.chunks(weights):
            if some is not None:
                users, items = users[some > 0], items[some > 0]
            for whole, part in zip(pairs, (users, items), strict=True):
                whole[at : at + len(part)] = part
            at += len(users)
        return pairs

    def in_memory(self) -> Ratings:
        """Return all ratings, in memory."""
        users, items = np.empty(len(self), np.int32), np.empty(len(self), np.int32)
        values = np.empty(len(self), np.float32)
        at = 0
        for some_users, some_items, some_values, _ in self.chunks():
            part = slice(at, at + len(some_users))
            users[part], items[part], values[part] = some_users, some_items, some_values
            at = part.stop
        return adopt_ratings(users, items, values, self.user_ids, self.item_ids)

    def close(self) -> None:
        """Give the disk back; nothing can be read any more."""
        self._spool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
