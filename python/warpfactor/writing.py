"""Files that are written whole or not at all.

What is written goes to a temporary file beside its target, which takes the target's place at the
end. So whoever reads the target finds the old file or the new one, and a write that fails or is
interrupted leaves what was there.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

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
    # Not made from the target's name, which can be as long as names may be.
    temporary = target.with_name(f".warpfactor-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb"):
            pass
        wanted = os.stat(target if target.exists() else temporary)
        _dress(temporary, wanted)  # before there is anything in it to be read
        yield temporary
        _dress(temporary, wanted)  # again: safetensors puts a file of its own there, of mode 0600
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # the name must not point at data that a power cut can lose
        _put(temporary, target)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


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


def _dress(path: Path, like: os.stat_result) -> None:
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
