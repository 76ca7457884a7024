"""Ratings, or pairs without ratings, from files of any format."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..checks import check_choice, option, where_typed
from .folders import File, Paths, chosen_hint, files_of, shown_path, unclear
from .formats.columnar import FORMATS as COLUMNAR
from .formats.dialect import TextOptions
from .formats.reading import Reading, Request, checked_request, joined
from .formats.source import DAMAGE, NothingThere, Source, memory_errors
from .formats.table import FORMATS, Format, find_format, refuse_options
from .ratings import Ratings, adopt_ratings
from .roles import find_common

__all__ = ["named", "ratings_of", "read", "read_pairs", "read_ratings", "refuse_keys"]


def read_ratings(
    path: Paths,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    rating: str | int | None = None,
    timestamp: str | int | None = None,
    format: str | None = None,
    sep: str | None = None,
    header: bool | None = None,
    quote: str | None = None,
    escape: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    comment: str | None = None,
    encoding: str | None = None,
    ids: Any = "auto",
    strip: bool = False,
    on_error: str = "raise",
    member: str | None = None,
) -> Ratings:
    """Read ratings from a file, a folder or several files.

    The format is found by content, then by suffix; see `format` for what there is. Nothing is
    guessed: where a file can be read in two ways, the error shows both and what picks one.

    Parameters
    ----------
    path : str or path-like, or a list of them
        The file, or several that are read as one set: a list, or a folder, of which the files of
        ratings are taken (those named ratings.*, u.data, *.inter or as Netflix's; else all, which must
        be alike). Compressed text is unpacked: gz, bz2, xz, zst, lz4, and zip. Folders named name=value
        give a column of Parquet, Feather and ORC files.
    user, item, rating, timestamp : str or int, default None
        The column's name, or its position from 0. None takes common names (user, userId,
        reviewerID, item, movieId, asin, rating, score, stars, ...), else, where no name says a
        role and there are no more than four columns, the first three, in this order, and a fourth
        that holds times: `peek` shows what was taken for what. Timestamps that were found so, of
        which some cannot be read, are left out with a warning.
    format : str, default None
        "parquet", "arrow" (Feather, too), "orc", "scipy-npz", "npz", "matrix-market", "json" (a list of
        objects), "jsonl" (one object a line), "netflix", "recbole", "book-crossing", "amazon", "libmf"
        (three columns with blanks between), "csv", "tsv" or "text" (of any kind). None finds it, by content first.
    sep : str, default None
        What separates the fields of a text: any characters, or ``r"\\s+"`` for runs of blanks.
        None finds it over a sample of the file.
    header : bool, default None
        Whether a text begins with the columns' names.
    quote : str, default None
        The character around fields; "" if quotes are part of them. None: '"', where all quotes of
        the file stand around fields; where text is separated by other than "," and ";", only if
        some field needs them.
    escape : str, default None
        What stands before a quote inside a quoted field, such as Spark's backslash; "" or None
        without one: a quote is doubled there.
    decimal, thousands : str, default None
        Decimal mark of the ratings (None: "." or ",", by the sample), and what groups digits.
    comment : str, default None
        Lines that begin with it are left out. None: "#" or "%", if the file begins with it.
    encoding : str, default None
        Of a text. None: UTF-8, or UTF-16 with a byte order mark.
    ids : {"auto", "str", "int", "uuid"} or a pair of them, default "auto"
        The kind of the ids, or of the users' and the items'. "auto": as the file's types say; in a
        text integers, if all of the column are written as integers are (without leading zeros, plus
        signs or blanks), else strings. "str" keeps them as they are written.
    strip : bool, default False
        Whether blanks around ids are left out.
    on_error : {"raise", "skip"}, default "raise"
        What to do with rows that cannot be read, or lack a user, an item or a finite rating: raise
        an error that names the first one's line or row, or leave them out and warn of their number.
    member : str, default None
        Which file of a zip archive. None: the one that would be read of a folder.

    Returns
    -------
    Ratings

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, damaged or of an unknown format, if its layout or columns are unclear,
        or an id or rating is missing or invalid.
    """
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    text = TextOptions(sep, quote, escape, decimal, thousands, comment, header, encoding)
    request = checked_request(wanted, text, ids, strip, on_error)
    reading = read(path, request, format, member)
    reading.warn(path)
    return ratings_of(reading)


def read_pairs(
    path: Paths,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    format: str | None = None,
    sep: str | None = None,
    header: bool | None = None,
    quote: str | None = None,
    escape: str | None = None,
    comment: str | None = None,
    encoding: str | None = None,
    ids: Any = "auto",
    strip: bool = False,
    on_error: str = "raise",
    member: str | None = None,
) -> tuple[Any, Any]:
    """Read (user, item) pairs from a file of any kind that `read_ratings` reads; no rating needed.

    Parameters
    ----------
    path, user, item, format, sep, quote, escape, comment, encoding, ids, strip, on_error, member
        As of `read_ratings`.
    header : bool, default None
        As of `read_ratings`, but None takes a first line with a common name for a header: there is
        no rating to tell by.

    Returns
    -------
    users, items : ndarray of shape (n_pairs,), int64, uint64 or object
        Ids, as `Ratings.from_arrays` takes them.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_ratings`.
    """
    text = TextOptions(sep, quote, escape, None, None, comment, header, encoding)
    request = checked_request({"user": user, "item": item}, text, ids, strip, on_error)
    reading = read(path, request, format, member)
    reading.warn(path)
    return tuple(side.ids[side.codes] for side in (reading.users, reading.items))  # type: ignore[return-value]


def read(path: Paths, request: Request, format: str | None, member: str | None) -> Reading:
    """Read what was asked for, of one file or of several."""
    if format is not None:
        check_choice("format", format, FORMATS)
    files = files_of(path)
    if len(files) > 1:
        return _read_set(path, files, request, format, member)
    file = files[0]
    with named(file.path):
        source = Source(file.path, member, file.keys)
        found = find_format(source, format, request.text.encoding)
        refuse_options(found, request.text)
        refuse_keys(found, source, request)
        reading = found.read(source, request)
    reading.request = request
    if isinstance(path, (str, os.PathLike)) and Path(path) != file.path:
        reading.layout["file"] = str(file.path)
    return reading


def _read_set(
    path: Paths, files: list[File], request: Request, format: str | None, member: str | None
) -> Reading:
    """Read several files as one. Those of a folder must be alike; those of a list were chosen."""
    is_folder = isinstance(path, (str, os.PathLike))
    formats: dict[File, Format] = {}
    for file in files:
        with named(file.path), suppress(NothingThere):
            source = Source(file.path, member, file.keys)
            formats[file] = find_format(source, format, request.text.encoding)
            refuse_keys(formats[file], source, request)
    names = {found.name for found in formats.values()}
    if len(names) > 1 and is_folder:
        raise unclear(path, formats, f"they are of the formats {', '.join(sorted(names))}")
    first = next(iter(formats.values()), None)
    if first is not None and len(names) == 1:
        with named(path):
            refuse_options(first, request.text)
    if first is not None and first.read_all is not None and len(names) == 1:
        with named(path):
            reading = first.read_all((Source(f.path, member, f.keys) for f in formats), request)
        reading.request = request
        return reading
    parts: list[Reading] = []
    for file, found in formats.items():
        try:
            with named(file.path):
                parts.append(found.read(Source(file.path, member), request))
            if parts[-1].n_skipped and file.path.name not in parts[-1].first_skipped:
                parts[-1].first_skipped += f" (in {file.path})"
        except ValueError as error:
            if isinstance(error.__cause__, NothingThere):
                continue
            if is_folder:
                raise ValueError(f"{error}{chosen_hint(path, formats)}") from error
            raise
        if is_folder and list(parts[0].names) != list(parts[-1].names):
            shown = f"{file.path.name} has the columns {list(parts[-1].names)}"
            raise unclear(path, formats, f"{shown}, others {list(parts[0].names)}")
    with named(path):
        if not parts:
            raise NothingThere("all of the files are empty")
        reading = joined(parts)
    reading.request = request
    return reading


def refuse_keys(format: Format, source: Source, request: Request) -> None:
    """Raise ValueError if a folder's name gives a column of text, which is not read."""
    if format.name in {each.name for each in COLUMNAR}:
        return
    for key in source.keys:
        for role, wanted in request.wanted.items():
            if wanted == key or (wanted is None and find_common([key], role) is not None):
                raise ValueError(
                    f"the folder {key}={source.keys[key]} gives the {role}, which is read of Parquet, "
                    "Feather and ORC only: read it with DuckDB (read_csv with hive_partitioning) and "
                    f"{where_typed('pass', 'save as Parquet')} what that returns, or pass "
                    f"{option(role)} with the name of another column"
                )


def ratings_of(reading: Reading) -> Ratings:
    """Make ratings of what was read."""
    (users, user_ids), (items, item_ids) = reading.users, reading.items
    assert reading.values is not None
    return adopt_ratings(users, items, reading.values, user_ids, item_ids, reading.times)


@contextmanager
def named(path: Any) -> Iterator[None]:
    """Name the file, or those of a list, in the errors of reading."""
    path = shown_path(path)
    try:
        with memory_errors():
            yield
    except FileNotFoundError:
        raise
    except MemoryError as error:  # Arrow's is an ArrowException too
        raise MemoryError(f"{path}: {error}" if str(error) else f"{path}: out of memory") from error
    except (ValueError, pa.ArrowException, csv.Error) as error:
        text = str(error)
        shown = text if text.startswith(f"{path}: ") else f"{path}: {text}{_encoding_hint(error)}"
        raise ValueError(shown) from error
    except DAMAGE as error:
        raise ValueError(f"{path}: the file is damaged: {error}") from error
    except OSError as error:
        # Without an errno it is a decompressor or Arrow's reader, not the system; zipfile seeks to
        # wherever a damaged archive says.
        if error.errno not in (None, errno.EINVAL):
            raise
        problem = error if error.errno is None else "it points to a place outside itself"
        raise ValueError(f"{path}: the file is damaged: {problem}") from error


def _encoding_hint(error: Exception) -> str:
    told = isinstance(error, UnicodeError) or "utf8" in str(error).lower() or "utf-8" in str(error)
    # Of the encodings that give each letter a byte it is the most common one; it holds Latin-1's letters.
    return f"; pass {option('encoding', 'cp1252')}, or what it is" if told else ""
