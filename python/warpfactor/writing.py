"""Files that are written whole or not at all.

What is written goes to a temporary file beside its target, which takes the target's place at the
end. So whoever reads the target finds the old file or the new one, and a write that fails or is
interrupted leaves what was there. On Linux the temporary file has no name until then, so that a
process that is killed leaves none; elsewhere the next one that writes to the target removes it. In
C++ that is cpp/src/serving/whole_file.cpp, with the same names and locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["TABLES", "check_target", "is_stream", "whole_file", "whole_path"]

# The formats of tables, and how names of such files end.
TABLES = {
    "csv": (".csv",),
    "tsv": (".tsv", ".txt"),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".feather", ".arrow", ".ipc"),
}

# Paths of what this process has open. To open or replace the file behind would lose what others
# have written there, as in `(echo first; warpfactor ... -o /dev/stdout) >> log`.
_DESCRIPTOR = re.compile(r"/dev/(stdout|stderr)|/(?:dev|proc/self)/fd/([0-9]+)")

# Names of temporary files that are looked at in each write; more are used if so many processes write
# to one target at once.
_NAMES = 8

_Path = str | os.PathLike[str]


def is_stream(path: _Path) -> bool:
    """Return whether a path is a pipe, a device or an open descriptor, which nothing can replace."""
    if _DESCRIPTOR.fullmatch(os.fspath(path)):
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def check_target(path: _Path) -> Path:
    """Find the file that writing to a path makes or replaces, and whether that can be done.

    Parameters
    ----------
    path : str or path-like
        Where to write: a file or a name for one, a symbolic link to such, or a stream.

    Returns
    -------
    Path
        The path with symbolic links followed; a stream's path as it is.

    Raises
    ------
    OSError
        If the path is a folder, or its folder does not exist, or either may not be written. The text
        names the path and the fix.
    """
    given = Path(path)
    if _DESCRIPTOR.fullmatch(str(given)):
        return given
    target = given if is_stream(given) else Path(os.path.realpath(given))
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:  # a loop of links, a name that is too long, a folder that is closed
        raise type(error)(f"{given} cannot be written: {error.strerror}") from error
    if mode is not None and stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{given} is a folder: give the name of a file in it")
    folder, link = given.parent, ""
    if given.is_symlink():
        folder, link = target.parent, f"it is a link to {target}, and "
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{given} cannot be written: {link}there is no folder {folder}: create it first"
        )
    if mode is not None and not os.access(target, os.W_OK):
        raise PermissionError(
            f"{given} cannot be written: {link}the file is write-protected: give yourself the right "
            "to write it, or choose another name"
        )
    if not is_stream(target) and not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(
            f"{given} cannot be written: {link}the folder {folder} is not writable: give yourself "
            "the right to write there, or choose another folder"
        )
    return target


@contextlib.contextmanager
def whole_path(path: _Path) -> Iterator[Path]:
    """Give the path of an empty file to be filled, which takes the place of `path` at the end.

    It is for libraries that write to names. A new file has the mode of any program's new file, by
    the umask; one that is replaced keeps its mode, and its owner and group as far as this process
    may give files away. Symbolic links stay: the file they lead to is replaced. A stream gets the
    bytes at the end.

    Parameters
    ----------
    path : str or path-like
        The file to write in the end.

    Yields
    ------
    Path
        The file to fill.

    Raises
    ------
    OSError
        As `check_target`; or if the file cannot be written, which leaves `path` as it was.
    """
    if is_stream(path):
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            filled = Path(folder) / "whole"
            yield filled
            with open(filled, "rb") as source, _opened(path) as sink:
                shutil.copyfileobj(source, sink)
        return
    target = check_target(path)
    with contextlib.ExitStack() as closing:
        for n in range(_NAMES):
            _remove_stale(_temporary_of(target, n))
        temporary, file = _new_file(target)
        closing.callback(os.close, file)
        closing.callback(_remove, temporary)  # before the lock on it goes
        filled = temporary or Path(f"/proc/self/fd/{file}")
        try:
            _dress(
                file, os.stat(target if target.exists() else file)
            )  # before there is anything in it
            yield filled
            os.fsync(file)  # the name must not point at data that a power cut can lose
            if temporary is None:
                temporary = _named(file, target)
                closing.callback(_remove, temporary)
            if temporary is not None:
                _put(temporary, target)
            _keep_name(target.parent)
        except OSError as error:
            if error.errno is None or error.filename not in (None, str(filled), str(temporary)):
                raise
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def whole_file(path: _Path) -> Iterator[BinaryIO]:
    """Open a file to be written whole or not at all; see `whole_path`.

    A stream is written to as the data come.

    Parameters
    ----------
    path : str or path-like
        The file to write.

    Yields
    ------
    file
        Open for writing bytes.

    Raises
    ------
    OSError
        As `whole_path`.
    """
    if is_stream(path):
        with _opened(path) as sink:
            yield sink
        return
    with whole_path(path) as temporary, open(temporary, "wb") as file:
        yield file


def _opened(stream: _Path) -> BinaryIO:
    named = _DESCRIPTOR.fullmatch(os.fspath(stream))
    if named is None:
        return open(stream, "wb")
    number = {"stdout": 1, "stderr": 2}.get(named[1]) or int(named[2])
    return cast("BinaryIO", os.fdopen(os.dup(number), "wb"))


def _temporary_of(target: Path, n: int) -> Path:
    """Return the n-th name of a temporary file for a target.

    There are few, so that whoever writes next can look at each for what a killed process has left.
    """
    # Not the target's own name with more, which can be as long as names may be.
    return target.with_name(f".warpfactor-{zlib.crc32(os.fsencode(target.name)):08x}-{n}.tmp")


def _new_file(target: Path) -> tuple[Path | None, int]:
    """Open a temporary file for a target: without a name (None) where the system has such."""
    if hasattr(os, "O_TMPFILE") and fcntl is not None:
        with contextlib.suppress(OSError):
            file = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o666)
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.path.exists(f"/proc/self/fd/{file}"):
                    return None, file
            os.close(file)
    n = 0
    while True:
        name = _temporary_of(target, n)
        if n >= _NAMES:
            _remove_stale(name)
        try:
            file = os.open(
                name, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
            )
        except FileExistsError:
            n += 1
            continue
        if fcntl is None:
            return name, file
        with contextlib.suppress(OSError):  # file systems without locks, where nothing is removed
            fcntl.flock(file, fcntl.LOCK_EX)
        if _is_same_file(file, name):
            return name, file
        os.close(file)  # before the lock it looked stale


def _named(file: int, target: Path) -> Path | None:
    """Give a nameless file the target's name, if there is no such file, or a temporary one.

    Returns
    -------
    Path or None
        The temporary name.
    """
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        n = -1
        while True:
            name = target if n < 0 else _temporary_of(target, n)
            if n >= _NAMES:
                _remove_stale(name)
            try:
                # Only with a folder Python follows the link that the first name is.
                os.link(f"/proc/self/fd/{file}", name, src_dir_fd=folder)
            except FileExistsError:
                n += 1
                continue
            return None if n < 0 else name
    finally:
        os.close(folder)


def _remove_stale(temporary: Path) -> None:
    """Remove a temporary file whose writer is dead.

    A writer holds a lock on it as long as it has that name, and only who holds the lock may take the
    name away.
    """
    if fcntl is None:
        return
    try:
        file = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(file, temporary):
                os.unlink(temporary)
    finally:
        os.close(file)


def _remove(temporary: Path | None) -> None:
    if temporary is not None:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _is_same_file(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False


def _keep_name(folder: Path) -> None:
    """Make sure that a power cut does not take back a new name."""
    with contextlib.suppress(OSError):  # some systems cannot, and need not
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _dress(path: Path | int, like: os.stat_result) -> None:
    """Give a file the group, the owner and the mode of another, as far as this process may."""
    now = os.stat(path)
    mode = like.st_mode & 0o777
    if now.st_gid != like.st_gid:
        try:
            os.chown(path, -1, like.st_gid)
        except OSError:  # its group is another, which the mode did not speak of
            mode = mode & ~0o070 | (mode & 0o007) << 3
    if now.st_uid != like.st_uid:
        with contextlib.suppress(OSError):
            os.chown(path, like.st_uid, -1)
    if stat.S_IMODE(now.st_mode) != mode:
        with contextlib.suppress(OSError):  # file systems without modes
            os.chmod(path, mode)


def _put(temporary: Path, target: Path) -> None:
    try:
        os.replace(temporary, target)
    except OSError as error:
        # A file that is a mount of its own (Docker's -v FILE:FILE), or somebody else's in a folder
        # with the sticky bit, can be written, but not replaced.
        if error.errno not in (errno.EBUSY, errno.EPERM) or not target.exists():
            raise
        with (
            open(temporary, "rb") as source,
            open(os.open(target, os.O_WRONLY | os.O_TRUNC), "wb") as sink,
        ):
            shutil.copyfileobj(source, sink)
