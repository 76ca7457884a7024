"""Which files a path stands for: one, those of a folder that hold ratings, or those of a list."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

from ..checks import option, where_typed

__all__ = [
    "File",
    "Paths",
    "chosen_hint",
    "files_of",
    "ratings_among",
    "shown_path",
    "unclear",
]

_Path = TypeVar("_Path", bound=PurePath)
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
# What tools leave beside the files that they write: _SUCCESS, .part-0.csv.crc, .DS_Store.
_IGNORED = ("_", ".")
# What editors and systems leave, and checksums.
_LEFT = re.compile(
    r"(?i).*(~|\.(bak|orig|swp|tmp|md5|sha1|sha256|crc))|#.*#|desktop\.ini|thumbs\.db"
)
_NOTES = re.compile(r"(?i)(readme|license|licence|copying|changelog|citation)\b.*")
_PACKINGS = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
# The files of ratings of public sets: MovieLens', Amazon's and Book-Crossing's, RecBole's, Netflix's.
_RATINGS = re.compile(
    r"(?i)(.*[-_ .])?ratings?([-_ .0-9].*)?(\..*)?|.*\.inter(\..*)?|(combined_data|mv)_[0-9]+\.txt(\..*)?"
)
_COMPLETE = re.compile(r"(?i)u\.data(\..*)?")
# Tables that are more than the files in them: with what reads them.
_TABLES = {
    "_delta_log": ("a Delta table", "deltalake's DeltaTable"),
    ".hoodie": ("a Hudi table", "hudi's or Spark's reader"),
}
_PATTERN = re.compile(r"[*?\[]")
_MANY = 20


class File(NamedTuple):
    """A file, and the columns that the names of its folders give, as a tuple of pairs."""

    path: Path
    pairs: tuple[tuple[str, str], ...] = ()

    @property
    def keys(self) -> Mapping[str, str]:
        return dict(self.pairs)


def files_of(path: Paths) -> list[File]:
    """The files that a path stands for: itself, those of a folder, or those of a list.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    ValueError
        If `path` is no path, a list or a folder is empty, or a folder is a table of another kind.
    """
    if not isinstance(path, (str, os.PathLike)):
        paths = _listed(path)
        if not paths:
            raise ValueError(f"{option('path')} is an empty list; it must name one file or more")
        return [file for each in paths for file in files_of(each)]
    folder = Path(path)
    if folder.is_dir():
        return _files_in(folder)
    if not folder.exists():
        raise FileNotFoundError(
            errno.ENOENT, os.strerror(errno.ENOENT) + _hint(str(path)), str(path)
        )
    return [File(folder)]


def _listed(paths: Any) -> list[Path]:
    """The paths of a list. What is none is not read from."""
    name, kind = option("path"), type(paths).__name__
    if hasattr(paths, "read"):
        raise ValueError(
            f"{name} is an open file ({kind}); it must be a path: pass the file's, or write the "
            "content to one first, as it is read twice"
        )
    is_other = isinstance(paths, (bytes, Mapping)) or hasattr(paths, "columns")
    if is_other or not isinstance(paths, Iterable):
        raise ValueError(f"{name} is {kind}; it must be a path, or a list of paths")
    items = list(paths)
    for item in items:
        if not isinstance(item, (str, os.PathLike)):
            raise ValueError(f"{name} holds {item!r:.80}; it must be a path, or a list of paths")
    return [Path(item) for item in items]


def shown_path(path: Any) -> str:
    """A path as it is written, or those of a list with commas between."""
    if not isinstance(path, (list, tuple)):
        return str(path)
    more = f", ... ({len(path):,} in all)" if len(path) > _MANY else ""
    return ", ".join(map(str, path[:_MANY])) + more


def unclear(folder: object, files: Iterable[File], reason: str) -> ValueError:
    """Say that a folder's files do not belong together, and what to pass."""
    return ValueError(
        f"{folder}: cannot tell which of the folder's files hold the ratings: {reason}. Pass the file, "
        f"or a {_several()}; there are {_names(folder, files)}"
    )


def chosen_hint(folder: object, files: Iterable[File]) -> str:
    """What to do about a file of a folder that cannot be read, if it holds no ratings."""
    return (
        f". All files of {folder} were taken for ratings; if this one holds none, pass a {_several()}: "
        f"there are {_names(folder, files)}"
    )


def _several() -> str:
    return where_typed("list of those that belong together", "folder of those that belong together")


def _names(folder: object, files: Iterable[File]) -> str:
    names = [str(file.path.relative_to(folder)) for file in files]  # type: ignore[arg-type]
    shown = ", ".join(names[:_MANY])
    return shown + (f", ... ({len(names):,} in all)" if len(names) > _MANY else "")


def _hint(path: str) -> str:
    if path.startswith("~"):
        return " (~ is not expanded: pass os.path.expanduser(...))"
    if "://" in path:
        return " (addresses are not opened: download the file first)"
    if _PATTERN.search(path):
        files = where_typed(
            "the files, as glob.glob(...) lists them", "files that there are, or their folder"
        )
        return f" (patterns are not expanded: pass {files})"
    return ""


def _files_in(folder: Path) -> list[File]:
    for name, (what, reader) in _TABLES.items():
        if (folder / name).exists():
            raise ValueError(
                f"{folder}: the folder is {what}, some of whose files may be outdated: read it with {reader} and "
                f"{where_typed('pass', 'save as Parquet')} what that returns"
            )
    if next(folder.glob("metadata/*.metadata.json"), None) is not None:
        raise ValueError(
            f"{folder}: the folder is an Iceberg table, some of whose files may be outdated: read it with "
            f"pyiceberg's StaticTable and {where_typed('pass', 'save as Parquet')} what its scan gives as Arrow"
        )
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file()
        and not _LEFT.fullmatch(file.name)
        and not any(part.startswith(_IGNORED) for part in file.relative_to(folder).parts)
    )
    chosen = ratings_among(files)
    if not chosen:
        raise ValueError(f"{folder}: the folder holds no files")
    found = [File(file, _keys(file.relative_to(folder))) for file in chosen]
    bare = [_unpacked(file) for file in chosen]
    twice = next((file for file in chosen if bare.count(_unpacked(file)) > 1), None)
    if twice is not None:
        raise unclear(folder, found, f"{twice.name} is there more than once")
    return found


def ratings_among(files: list[_Path]) -> list[_Path]:
    """Return those of a folder's or an archive's files that hold its ratings, by their names."""
    telling = [file for file in files if not _NOTES.fullmatch(file.name)] or files
    return (
        [file for file in telling if _COMPLETE.fullmatch(file.name)]
        or [file for file in telling if _RATINGS.fullmatch(file.name)]
        or telling
    )


def _unpacked(file: Path) -> Path:
    return file.with_suffix("") if file.suffix.lower() in _PACKINGS else file


def _keys(path: Path) -> tuple[tuple[str, str], ...]:
    """The columns that folders named NAME=VALUE give."""
    parts = [part.partition("=") for part in path.parts[:-1]]
    return tuple((name, value) for name, equals, value in parts if equals)
