"""Ratings that are read in parts and never held in memory as a whole: files, data sets, batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import check_choice, check_count, option, warn
from .columns import as_float32, read_only, require_equal_lengths
from .files import named, refuse_keys
from .folders import File, Paths, chosen_hint, files_of, shown_path, unclear
from .formats.dialect import TextOptions
from .formats.reading import Coded, Reading, Request, checked_request
from .formats.source import NothingThere, Source
from .formats.table import FORMATS, Format, find_format, refuse_options
from .hints import describe_kind
from .matrices import is_matrix
from .numbering import RowNumbers, Vocabulary, available_memory
from .objects import open_table
from .ratings import Ratings
from .roles import Column, Frame
from .stored import BYTES_PER_RATING, Spool, StoredRatings, require_disk_space

__all__ = ["RatingsScan", "Tell", "is_paths", "is_stream", "scan_ratings", "store"]

# Told how many ratings have been read, and how many there are, if that is known.
Tell = Callable[[int, int | None], object]
# Ratings between two looks at the memory.
_BETWEEN_LOOKS = 1 << 22
# What arrays, tables, open files, and the data sets of Surprise and LensKit have.
_OTHERS = ("dtype", "columns", "read", "raw_ratings", "all_ratings", "interaction_table")
# Arrow reads so many batches ahead: each is of up to so many rows.
_AHEAD = 4
_ROWS = 1 << 18


@dataclass(frozen=True)
class RatingsScan:
    """Ratings that `fit` reads in parts; see `scan_ratings`, which makes it.

    Attributes
    ----------
    source : object
        Where the ratings are.
    request : Request
        How to read them.
    format, member : str or None
        As of `read_ratings`.
    shape : (int, int) or None
        The numbers of users and items, if ids are row numbers.
    """

    source: Any
    request: Request
    format: str | None = None
    member: str | None = None
    shape: tuple[int, int] | None = None

    def __repr__(self) -> str:
        shown = shown_path(self.source) if is_paths(self.source) else type(self.source).__name__
        return f"RatingsScan({shown})"


def scan_ratings(
    source: Any,
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    rating: str | int | None = None,
    shape: tuple[int, int] | None = None,
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
) -> RatingsScan:
    """Describe ratings that do not fit into memory, for `MatrixFactorization.fit` to read.

    Nothing is read before `fit`, which gives the ids that it would give to
    ``read_ratings(source, ...)``, and the same model.

    Parameters
    ----------
    source : str, path-like, list of them, pyarrow.dataset.Dataset, or iterable of tables
        A file, a folder or several files, as of `read_ratings`; a data set of Arrow; or whatever gives
        record batches or tables (of Arrow, pandas, polars, ...) one after the other.
    user, item, rating : str or int, default None
        The column's name or position; None finds it, as `read_ratings` does.
    shape : (int, int), default None
        The numbers of users and items, if ids are row numbers from 0: they are then not numbered. As
        of a matrix, there may be rows without ratings. None: ids are any.
    format, sep, header, quote, escape, decimal, thousands, comment, encoding, member
        Of files; as of `read_ratings`.
    ids, strip, on_error
        As of `read_ratings`; `on_error` is for files.

    Returns
    -------
    RatingsScan

    Raises
    ------
    ValueError
        If `source` is of another kind, or an option is not valid or not for this source.

    See Also
    --------
    read_ratings : The same into memory.

    Examples
    --------
    >>> import warpfactor as wf
    >>> wf.scan_ratings("ratings", user="who", item="what", rating="stars")
    RatingsScan(ratings)
    """
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": None}
    text = TextOptions(sep, quote, escape, decimal, thousands, comment, header, encoding)
    request = checked_request(wanted, text, ids, strip, on_error)
    if format is not None:
        check_choice("format", format, FORMATS)
    if not is_paths(source):
        if not is_stream(source):
            raise ValueError(
                f"source is {describe_kind(source)}; it must be a path, a list of paths, a "
                "pyarrow.dataset.Dataset, or an iterable of record batches or tables: what is in memory "
                "goes to fit as it is"
            )
        given = vars(text) | {"format": format, "member": member}
        name = next((name for name, value in given.items() if value is not None), None)
        if name is not None or request.skip_bad:
            raise ValueError(
                f"{name or 'on_error'} is given, which is for files, and source is "
                f"{type(source).__name__}: leave it out"
            )
    return RatingsScan(source, request, format, member, _checked_shape(shape, request))


def _checked_shape(shape: Any, request: Request) -> tuple[int, int] | None:
    if shape is None:
        return None
    if not isinstance(shape, (tuple, list)) or len(shape) != 2:
        raise ValueError(f"{option('shape')} is {shape!r}; it must be (n_users, n_items)")
    if request.kinds != ("auto", "auto"):
        raise ValueError(
            f"{option('shape')} and {option('ids')} are given; with {option('shape')} ids are row numbers: "
            "leave one out"
        )
    n_users, n_items = (
        check_count(option("shape"), int(n) if isinstance(n, np.integer) else n, 1) for n in shape
    )
    return n_users, n_items


def is_paths(X: Any) -> bool:
    """Whether an object is a path, or a list of paths."""
    if isinstance(X, (list, tuple)):
        return bool(X) and all(isinstance(each, (str, os.PathLike)) for each in X)
    return isinstance(X, (str, os.PathLike))


def is_stream(X: Any) -> bool:
    """Whether an object is a data set of Arrow, or something else that gives tables in turn.

    What is a table or an array itself is none, nor are lists and tuples of other things.
    """
    if _is_dataset(X) or isinstance(X, pa.RecordBatchReader):
        return True
    if isinstance(X, (list, tuple)):
        return bool(X) and _is_table(X[0])
    known = isinstance(X, (Ratings, Mapping, set, frozenset, str, bytes)) or is_matrix(X)
    known = known or _is_table(X) or any(hasattr(X, name) for name in _OTHERS)
    # Iterables of Python's own hold numbers and texts, but for its iterators.
    own = type(X).__module__ == "builtins" and not hasattr(X, "__next__")
    return hasattr(X, "__iter__") and not known and not own


def _is_dataset(X: Any) -> bool:
    return type(X).__module__.startswith("pyarrow._dataset") and hasattr(X, "to_batches")


def _is_table(X: Any) -> bool:
    arrow = any(hasattr(X, f"__arrow_c_{kind}__") for kind in ("stream", "array"))
    return (
        (arrow and not isinstance(X, pa.Array)) or hasattr(X, "iloc") or hasattr(X, "get_columns")
    )


def store(
    scan: RatingsScan,
    folder: Path,
    *,
    row_bytes: int = 0,
    rating_bytes: int = 0,
    tell: Tell | None = None,
) -> StoredRatings:
    """Read ratings once, number their ids, and keep them in a file without a name.

    Parameters
    ----------
    scan : RatingsScan
        What to read.
    folder : Path
        Where the disk is that they are kept on.
    row_bytes : int, default 0
        What a row of a model will take in memory.
    rating_bytes : int, default 0
        What a rating will take on the disk beside what is kept here.
    tell : callable or None, default None
        Told now and then how many ratings have been read, and how many there are, if that is known.

    Returns
    -------
    StoredRatings
        To be closed.

    Raises
    ------
    ValueError
        As `read_ratings`.
    MemoryError
        If the ids, or a model with a row for each, would not fit into memory.
    OSError
        If the ratings do not fit onto the disk.
    """
    kinds, strip = scan.request.kinds, scan.request.strip
    sides: list[Vocabulary | RowNumbers]
    if scan.shape is None:
        sides = [Vocabulary(kind, strip=strip) for kind in kinds]
    else:
        sides = [
            RowNumbers(n, what) for n, what in zip(scan.shape, ("users", "items"), strict=True)
        ]
    spool = Spool(folder)
    try:
        reader = _Reader(scan, spool, sides, row_bytes, BYTES_PER_RATING + rating_bytes, tell)
        skipped = reader.read()
        numbered = [side.finish(reader.rows(number)) for number, side in enumerate(sides)]
        users, items = (each._replace(ids=read_only(each.ids)) for each in numbered)
        _warn(scan, spool.n_rows, skipped, (users.ids, items.ids), reader.columns)
        return StoredRatings(spool, users, items)
    except BaseException:
        spool.close()
        raise


class _Reader:
    """One pass over ratings, which are numbered and written to a spool; a `Sink`."""

    def __init__(
        self,
        scan: RatingsScan,
        spool: Spool,
        sides: Sequence[Vocabulary | RowNumbers],
        row_bytes: int,
        rating_bytes: int,
        tell: Tell | None,
    ) -> None:
        self._scan, self._spool, self._sides = scan, spool, sides
        self._row_bytes, self._rating_bytes, self._tell = row_bytes, rating_bytes, tell
        self._n_rows: int | None = None
        self.columns: tuple[Sequence[str], Mapping[str, int]] = (), {}
        self._begun = 0
        self._looked = 0
        if scan.shape is not None:
            self._require_memory()
        self._has_cut = False

    def read(self) -> tuple[int, str]:
        """Read all; return how many rows were left out, and what was wrong with the first."""
        source = self._scan.source
        if is_paths(source):
            return self._files(source)
        if _is_dataset(source):
            self._dataset(source)
        else:
            self._tables(source)
        if not self._spool.n_rows:
            raise ValueError(f"{self._shown()} gives no ratings: at least one is needed")
        return 0, ""

    def rows(self, side: int) -> Callable[[], Iterator[tuple[int, NDArray[np.int32]]]] | None:
        """What reads the codes of a side again, if rows were taken back."""
        if not self._has_cut:
            return None
        spool = self._spool
        return lambda: ((begin, spool.read(begin, end)[:2][side]) for begin, end in spool.chunks())

    # As a Sink.

    def add(self, columns: Mapping[str, Column]) -> None:
        """Take rows of typed columns of users, items and ratings, none of which is missing."""
        codes = [
            side.add(columns[role][1], columns[role][0])
            for side, role in zip(self._sides, ("user", "item"), strict=True)
        ]
        name, given = columns["rating"]
        values = as_float32(given, name)
        lengths = (len(codes[0]), len(codes[1]), len(values))
        names = (columns[role][0] for role in ("user", "item", "rating"))
        require_equal_lengths(dict(zip(names, lengths, strict=True)))
        self._append(codes, values)

    def add_texts(self, users: Column, items: Column, values: NDArray[np.float32]) -> bool:
        """Take rows whose ids are texts; False if some are missing or not of their kind."""
        codes = []
        for side, (name, texts) in zip(self._sides, (users, items), strict=True):
            coded = side.add_texts(texts, name)
            if coded is None:
                return False
            codes.append(coded)
        self._append(codes, values)
        return True

    def begin_file(self) -> None:
        """Note where a file begins."""
        self._begun = self._spool.n_rows

    def forget_file(self) -> None:
        """Take back the rows of the file that was begun last."""
        self._spool.cut(self._begun)
        for side in self._sides:
            side.forget(self._begun)
        self._has_cut = True

    def note_columns(self, names: Sequence[str], found: Mapping[str, int]) -> None:
        """Take note of the first file's columns."""
        if not self.columns[0]:
            self.columns = names, found

    def _append(self, codes: Sequence[NDArray[np.int32]], values: NDArray[np.float32]) -> None:
        self._spool.append(codes[0], codes[1], values)
        if self._tell is not None:
            self._tell(self._spool.n_rows, self._n_rows)
        if self._spool.n_rows - self._looked >= _BETWEEN_LOOKS:
            self._looked = self._spool.n_rows
            self._require_memory()

    def _require_memory(self) -> None:
        """Refuse ids that would not fit into memory before they take it."""
        n_rows = sum(side.n_ids for side in self._sides)
        n_bytes = sum(side.n_bytes() for side in self._sides)
        needed = n_bytes + n_rows * self._row_bytes
        free = available_memory()
        # What they take already is not free.
        if free is not None and needed > free + n_bytes:
            users, items = (side.n_ids for side in self._sides)
            raise MemoryError(
                f"the ids do not fit into memory: after {self._spool.n_rows:,} ratings there are {users:,} "
                f"users and {items:,} items, which with a model take {needed / 1e9:,.1f} GB, and "
                f"{free / 1e9:,.1f} GB are free: take fewer factors, or a machine with more memory"
            )

    def _require_disk(self, n_rows: int, *, about: bool = False) -> None:
        """Refuse ratings that would not fit onto the disk before they take it."""
        self._n_rows = None if about else n_rows
        what = f"{self._shown()} holds {'about ' if about else ''}{n_rows:,} ratings, which"
        require_disk_space(self._spool.folder, n_rows * self._rating_bytes, what)

    def _shown(self) -> str:
        source = self._scan.source
        return shown_path(source) if is_paths(source) else f"the {type(source).__name__}"

    # Data sets and tables.

    def _dataset(self, source: Any) -> None:
        scanned = hasattr(source, "projected_schema")
        names = (source.projected_schema if scanned else source.schema).names
        found = _found(names, self._scan.request)
        if scanned:
            batches = source.to_batches()
        else:
            if _is_counted(source):
                self._require_disk(source.count_rows())
            batches = source.to_batches(
                columns=[names[at] for at in found.values()],
                batch_size=_ROWS,
                batch_readahead=_AHEAD,
                fragment_readahead=1,
            )
        for batch in batches:
            self._table(Frame(batch.schema.names, batch.column), names, found)

    def _tables(self, source: Iterable[Any]) -> None:
        names: list[Any] | None = None
        found: dict[str, int] = {}
        for number, table in enumerate(source):
            frame = open_table(table) if _is_table(table) else None
            if frame is None:
                raise ValueError(
                    f"{self._shown()} gives {describe_kind(table)}; it must give record batches or tables, "
                    "of Arrow or another library"
                )
            if names is None:
                names, found = frame.names, _found(frame.names, self._scan.request)
            elif frame.names != names:
                raise ValueError(
                    f"table {number} (from 0) of {self._shown()} has the columns {frame.names}, and those "
                    f"before have {names}: all must have the same"
                )
            try:
                self._table(frame, names, found)
            except ValueError as error:
                raise ValueError(f"table {number} (from 0): {error}") from error

    def _table(self, frame: Frame, names: Sequence[Any], found: Mapping[str, int]) -> None:
        places = {role: list(frame.names).index(names[at]) for role, at in found.items()}
        columns = {}
        for role, at in places.items():
            column = frame.column(at)
            if isinstance(column, (pa.Array, pa.ChunkedArray)):
                # Of wherever it came from: Arrow reads where its lengths and positions point.
                column.validate(full=True)
            columns[role] = f"{role} column {names[found[role]]!r}", column
        self.add(columns)

    # Files.

    def _files(self, path: Paths) -> tuple[int, str]:
        request = replace(self._scan.request, sink=self)
        is_folder = isinstance(path, (str, os.PathLike))
        formats: dict[File, Format] = {}
        for file in files_of(path):
            with named(file.path), suppress(NothingThere):
                source = self._source(file)
                formats[file] = find_format(source, self._scan.format, request.text.encoding)
                refuse_keys(formats[file], source, request)
        if not formats:
            with named(path):
                raise NothingThere("all of the files are empty")
        names = sorted({found.name for found in formats.values()})
        if len(names) > 1 and is_folder:
            raise unclear(path, formats, f"they are of the formats {', '.join(names)}")
        for found in formats.values():
            with named(path):
                refuse_options(found, request.text)
        n_rows, about = _rows_of(formats)
        if n_rows:
            self._require_disk(n_rows, about=about)
        first = next(iter(formats.values()))
        with named(path):
            if len(names) == 1 and first.stream is not None:
                skipped = first.stream([self._source(file) for file in formats], request, self)
                self._require_some(*skipped)
                return skipped
            if len(names) == 1 and first.read_all is not None:
                return self._take(first.read_all(map(self._source, formats), request))
        return self._one_by_one(path, formats, request, is_folder=is_folder)

    def _one_by_one(
        self, path: Paths, formats: Mapping[File, Format], request: Request, *, is_folder: bool
    ) -> tuple[int, str]:
        """Read files of several formats, or of one whose files are read each by itself."""
        n_skipped, first_skipped = 0, ""
        columns: list[str] | None = None
        for file, found in formats.items():
            try:
                with named(file.path):
                    if found.stream is not None:
                        skipped = found.stream([self._source(file)], request, self)
                    else:
                        reading = found.read(self._source(file), request)
                        skipped = self._take(reading)
                        here = list(reading.names)
                        if is_folder and columns is not None and here != columns:
                            shown = f"{file.path.name} has the columns {here}"
                            raise unclear(path, formats, f"{shown}, others {columns}")
                        columns = here
            except ValueError as error:
                if isinstance(error.__cause__, NothingThere):
                    continue
                if is_folder and len(formats) > 1:
                    raise ValueError(f"{error}{chosen_hint(path, formats)}") from error
                raise
            n_skipped += skipped[0]
            if skipped[0] and not first_skipped:
                told = skipped[1]
                first_skipped = told if file.path.name in told else f"{told} (in {file.path})"
        with named(path):
            self._require_some(n_skipped, first_skipped)
        return n_skipped, first_skipped

    def _source(self, file: File) -> Source:
        return Source(file.path, self._scan.member, file.keys)

    def _take(self, reading: Reading) -> tuple[int, str]:
        """Take the rows that a reader returned in place of handing them on."""
        self.note_columns(reading.names, reading.found)
        if reading.values is not None and len(reading):
            codes = [
                side.add_coded(coded, name, from_text=reading.from_text)
                for side, coded, name in zip(
                    self._sides, (reading.users, reading.items), ("users", "items"), strict=True
                )
            ]
            self._append(codes, reading.values)
        return reading.n_skipped, reading.first_skipped

    def _require_some(self, n_skipped: int, first_skipped: str) -> None:
        if not self._spool.n_rows:
            raise ValueError(
                f"no row can be read; {first_skipped}" if n_skipped else "the file holds no rating"
            )


def _found(names: Sequence[Any], request: Request) -> dict[str, int]:
    """The columns of users, items and ratings."""
    found = Frame(list(names), lambda at: None).resolve(request.wanted)
    return {role: found[role] for role in ("user", "item", "rating")}


def _is_counted(dataset: Any) -> bool:
    """Whether a data set knows its number of rows without reading them."""
    kind = getattr(getattr(dataset, "format", None), "default_extname", "")
    return kind == "parquet" or type(dataset).__name__ == "InMemoryDataset"


def _rows_of(formats: Mapping[File, Format]) -> tuple[int, bool]:
    """How many rows Parquet files hold, and texts about, by their lines; 0 where nothing tells."""
    total, about = 0, False
    for file, found in formats.items():
        source = Source(file.path)
        if found.name == "parquet" and not source.packing:
            from pyarrow import parquet

            try:
                total += parquet.read_metadata(file.path).num_rows
            except MemoryError:  # Arrow's is an ArrowException too
                raise
            except (OSError, pa.ArrowException):
                return 0, True  # reading it says what is wrong
        elif found.name in ("csv", "tsv", "text") and not source.packing:
            n_lines = source.head.count(b"\n")
            total += int(file.path.stat().st_size / len(source.head) * n_lines)
            about = True
        else:
            return 0, True
    return total, about


def _warn(
    scan: RatingsScan,
    n_rows: int,
    skipped: tuple[int, str],
    ids: tuple[NDArray[Any], NDArray[Any]],
    columns: tuple[Sequence[str], Mapping[str, int]],
) -> None:
    """Warn of what `read_ratings` warns of."""
    if not is_paths(scan.source):
        return
    if skipped[0]:
        warn(
            f"{shown_path(scan.source)}: {skipped[0]:,} of {n_rows + skipped[0]:,} rows left out; {skipped[1]}",
        )
    users, items = (Coded(np.empty(0, np.int32), each) for each in ids)
    found = {role: at for role, at in columns[1].items() if role != "timestamp"}  # it is not read
    reading = Reading("", users, items, None, names=columns[0], found=found, request=scan.request)
    reading.warn(scan.source)
