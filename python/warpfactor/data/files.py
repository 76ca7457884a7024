"""Ratings, or pairs without ratings, from files: delimited text, Parquet, Arrow and npz."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .ids import arrow_numbers, encode_ids
from .ratings import Ratings, ratings_from_columns
from .roles import Column, Frame, find_common, resolve_columns

Format = Literal["text", "csv", "tsv", "parquet", "feather", "arrow", "npz"]
_SUFFIXES = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
    ".npz": "npz",
}
# "::" first, as ":" could be part of an id; a space last, as it occurs inside fields.
_SEPARATORS = ("::", "\t", ",", ";", "|", " ")
_CANONICAL_INTEGER = r"0|-?[1-9][0-9]{0,18}"
# Up to here a list of texts takes less time than the import of Arrow's functions.
_FEW_TEXTS = 100_000
_CODED_TEXT = pa.dictionary(pa.int32(), pa.string())
_NPZ_NAMES = {
    "user": ("users",),
    "item": ("items",),
    "rating": ("ratings", "values"),
    "timestamp": ("timestamps",),
}

# The wanted roles, in the order of `resolve_columns`, each with a name, a position or None.
_Wanted = Mapping[str, str | int | None]


def read_ratings(
    path: str | os.PathLike[str],
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    rating: str | int | None = None,
    timestamp: str | int | None = None,
    sep: str | None = None,
    header: bool | None = None,
    format: Format | None = None,
    encoding: str = "utf-8",
) -> Ratings:
    """Read ratings from a file.

    Parameters
    ----------
    path : str or path-like
        Delimited text (csv, tsv, MovieLens "::", ...; also compressed: .gz, .bz2, .zst, .lz4),
        Parquet, Feather or Arrow IPC, or npz with the arrays ``users``, ``items``, ``ratings`` (or
        ``values``), optionally ``timestamps``, and optionally ``user_ids`` and ``item_ids``, into
        which users and items then are positions.
    user, item, rating, timestamp : str or int, default None
        The column's name, or its position from 0. None takes common names, else the first three
        columns; see `Ratings.from_frame`. In an npz file, the array's name.
    sep : str, default None
        What separates the fields of a text: one character or "::". None finds it in the first line.
    header : bool, default None
        Whether a text begins with the columns' names. None: if columns are given by name, or the
        first line's rating is neither a number nor missing.
    format : {"text", "csv", "tsv", "parquet", "feather", "arrow", "npz"}, default None
        None goes by the file's suffix; an unknown one means text.
    encoding : str, default "utf-8"
        Of a text.

    Returns
    -------
    Ratings
        Ids of a text are int64 if all of the column are integers without leading zeros, plus signs
        or spaces, else they are strings, exactly as in the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is empty, damaged or a directory, a column is not there, or an id or rating is
        missing or invalid.
    """
    if format is not None and format not in get_args(Format):
        raise ValueError(f"format is {format!r}; it must be one of {list(get_args(Format))}")
    wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    with _opened(path) as file:
        kind = format or _kind(file)
        if kind == "npz":
            return _npz_ratings(file, wanted)
        columns = _read_columns(file, kind, wanted, sep, header, encoding)
        return ratings_from_columns(columns, timestamp_is_guess=timestamp is None)


def read_pairs(
    path: str | os.PathLike[str],
    *,
    user: str | int | None = None,
    item: str | int | None = None,
    sep: str | None = None,
    header: bool | None = None,
) -> tuple[Any, Any]:
    """Read (user, item) pairs from a file of any kind that `read_ratings` reads; no rating needed.

    Parameters
    ----------
    path, user, item, sep
        As of `read_ratings`.
    header : bool, default None
        As of `read_ratings`, but None takes a first line with a common name for a header: there is
        no rating to tell by.

    Returns
    -------
    users, items : Arrow or NumPy arrays of shape (n_pairs,)
        Ids, as `Ratings.from_arrays` takes them.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_ratings`.
    """
    wanted = {"user": user, "item": item}
    with _opened(path) as file:
        kind = _kind(file)
        if kind == "npz":
            (users, user_ids), (items, item_ids) = _npz_ids(_npz_arrays(file, wanted))
            pairs = user_ids[users], item_ids[items]
        else:
            columns = _read_columns(file, kind, wanted, sep, header, "utf-8")
            pairs = columns["user"][1], columns["item"][1]
        lengths = [len(ids) for ids in pairs]
        if lengths[0] != lengths[1] or not lengths[0]:
            raise ValueError(f"the file holds {lengths[0]} users and {lengths[1]} items")
        return pairs


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Check that a file is there, and name it in the errors of reading it."""
    file = Path(path)
    if not file.exists():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    try:
        if file.is_dir():
            raise ValueError("is a directory: pass one file")
        if not file.is_file():
            raise ValueError("is no regular file: write to one first, as it is read twice")
        if not file.stat().st_size:
            raise ValueError("the file is empty")
        yield file
    except (ValueError, EOFError, pa.ArrowException, csv.Error) as error:
        raise ValueError(f"{path}: {error}{_encoding_hint(error)}") from error
    except OSError as error:
        # Without an errno it is Arrow's decompressor or file reader, not the system.
        if error.errno is not None:
            raise
        raise ValueError(f"{path}: {error}") from error


def _kind(file: Path) -> str:
    return _SUFFIXES.get(file.suffix.lower(), "text")


def _read_columns(
    file: Path, kind: str, wanted: _Wanted, sep: str | None, header: bool | None, encoding: str
) -> dict[str, Column]:
    if kind == "parquet":
        return _parquet_columns(file, wanted)
    if kind in ("arrow", "feather"):
        return _arrow_columns(file, wanted)
    if kind == "tsv" and not sep:
        sep = "\t"
    return _text_columns(file, wanted, sep, header, encoding)


class _Layout(NamedTuple):
    """How a text is laid out."""

    sep: str
    encoding: str
    names: list[str]
    found: dict[str, int]
    skip: int

    @property
    def step(self) -> int:
        # Arrow separates by one character only, so "::" gives an empty column between any two.
        return len(self.sep)


def _text_columns(
    file: Path, wanted: _Wanted, sep: str | None, header: bool | None, encoding: str
) -> dict[str, Column]:
    layout = _find_layout(file, wanted, sep, header, encoding)
    table = _parse(file, layout, wanted)
    if not len(table):
        raise ValueError("the file holds nothing but a header")
    parsed = dict(zip(table.column_names, table.columns, strict=True))
    for role in ("user", "item"):
        parsed[role] = _exact_ids(parsed[role], role)
    if "rating" in parsed:
        _require_present(_missing(parsed["rating"]), "rating")
    return {
        role: (f"{role} column {layout.names[layout.found[role]]!r}", column)
        for role, column in parsed.items()
    }


def _find_layout(
    file: Path, wanted: _Wanted, sep: str | None, header: bool | None, encoding: str
) -> _Layout:
    needed = [role for role in wanted if role != "timestamp"]
    line, number = _first_line(file, encoding)
    # A shell passes "\t" as two characters.
    sep = _sniff(line, len(needed)) if sep is None else sep.replace("\\t", "\t")
    if sep != "::" and (len(sep) != 1 or sep in '"\r\n'):
        raise ValueError(f'sep is {sep!r}; it must be one character (no quote or line end) or "::"')
    fields = [field.strip() for field in _split(line, sep)]
    if len(fields) < len(needed):
        raise ValueError(
            f"the first line {line!r:.80} has {len(fields)} field(s) separated by {sep!r}, but "
            f"columns for {', '.join(needed)} are needed: check the file or pass sep="
        )
    by_name = [name for name in wanted.values() if isinstance(name, str)]
    if by_name and header is False:
        raise ValueError(f"header=False leaves no column named {by_name[0]!r}: pass its position")
    if header is None:
        header = bool(by_name) or _looks_like_header(fields, wanted)
    found = resolve_columns(fields, wanted, named=header)
    names = fields if header else [str(at) for at in range(len(fields))]
    return _Layout(sep, encoding, names, found, number if header else 0)


def _looks_like_header(fields: list[str], wanted: _Wanted) -> bool:
    if "rating" not in wanted:
        # Ids may be any text, so only a known name tells.
        return any(find_common(fields, role) is not None for role in wanted)
    from pyarrow.csv import ConvertOptions

    rating = fields[resolve_columns(fields, wanted)["rating"]]
    # A missing rating is for the parser to report, not a name.
    return not _is_number(rating) and rating not in ConvertOptions().null_values


def _first_line(file: Path, encoding: str) -> tuple[str, int]:
    """Return the first line that is not blank, and its number from 1."""
    with pa.input_stream(str(file), compression="detect") as stream:
        try:
            lines = io.TextIOWrapper(stream, encoding=encoding)
        except LookupError as error:
            raise ValueError(f"encoding is {encoding!r}, which Python does not know") from error
        for number, line in enumerate(lines, 1):
            line = line.lstrip("\ufeff").rstrip("\r\n")
            if line.strip():
                return line, number
    raise ValueError("the file is empty")


def _sniff(line: str, n_needed: int) -> str:
    widths = {sep: len(_split(line, sep)) for sep in _SEPARATORS}
    # Two fields are taken too, for an error message that shows the separator.
    for least in (n_needed, 2):
        for sep, width in widths.items():
            if width >= least:
                return sep
    raise ValueError(
        f"no separator found in the first line {line!r:.80}: pass sep= (or format= if this is no "
        "text file)"
    )


def _split(line: str, sep: str) -> list[str]:
    return line.split(sep) if len(sep) > 1 else next(csv.reader([line], delimiter=sep))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parse(file: Path, layout: _Layout, wanted: _Wanted) -> Any:
    types: dict[str, Any] = {"user": _CODED_TEXT, "item": _CODED_TEXT}
    if "rating" in wanted:
        types["rating"] = pa.float64()
    attempts = [types]
    if "timestamp" in layout.found:
        # A guessed column that is no timestamp must not spoil the rest.
        guessed = wanted["timestamp"] is None
        attempts = [{**types, "timestamp": None}] + ([types] if guessed else [])
    for attempt in attempts:
        try:
            return _parse_as(file, layout, attempt)
        except pa.ArrowInvalid as error:
            problem = error
    raise ValueError(_locate(file, layout) or str(problem)) from problem


def _parse_as(
    file: Path, layout: _Layout, types: dict[str, Any], *, use_threads: bool = True
) -> Any:
    """Read the columns of some roles, with a given type or (None) an inferred one."""
    from pyarrow import csv as arrow_csv

    names = [str(at) for at in range(layout.step * (len(layout.names) - 1) + 1)]
    keys = {role: names[layout.step * layout.found[role]] for role in types}
    gaps = names[1::2] if layout.step == 2 else []
    table = arrow_csv.read_csv(
        str(file),
        read_options=arrow_csv.ReadOptions(
            column_names=names,
            skip_rows=layout.skip,
            encoding=layout.encoding,
            use_threads=use_threads,
        ),
        parse_options=arrow_csv.ParseOptions(delimiter=layout.sep[0]),
        convert_options=arrow_csv.ConvertOptions(
            include_columns=[*keys.values(), *gaps],
            # The null type takes nothing but empty fields.
            column_types={keys[role]: t for role, t in types.items() if t is not None}
            | dict.fromkeys(gaps, pa.null()),
        ),
    )
    return table.select(list(keys.values())).rename_columns(list(keys))


def _locate(file: Path, layout: _Layout) -> str | None:
    """Say where a text that Arrow refused is at fault; None if that cannot be told."""
    try:
        # One thread, since only then do Arrow's messages have row numbers.
        table = _parse_as(file, layout, dict.fromkeys(layout.found, _CODED_TEXT), use_threads=False)
    except pa.ArrowInvalid as error:
        return str(error)
    ratings = table.column("rating").to_pylist() if "rating" in layout.found else []
    for row, text in enumerate(ratings, 1):
        if text.strip() and not _is_number(text):
            return f"rating {text!r} in data row {row} is not a number"
    return None


def _exact_ids(column: Any, role: str) -> Any:
    """Give a column of coded text integers instead, if every id is written as one."""
    column = column.unify_dictionaries().combine_chunks()
    if len(column.dictionary) > _FEW_TEXTS:
        return _exact_ids_of_many(column, role)
    texts = column.dictionary.to_pylist()
    is_empty = np.fromiter((not text for text in texts), bool, len(texts))
    if is_empty.any():
        _require_present(is_empty[arrow_numbers(column.indices)], role)
    canonical = re.compile(_CANONICAL_INTEGER).fullmatch
    if not all(map(canonical, texts)):
        return column
    numbers = [int(text) for text in texts]
    if numbers and not -(2**63) <= min(numbers) <= max(numbers) < 2**63:
        return column
    # From a buffer: pa.array would import pandas.
    values = pa.py_buffer(np.array(numbers, np.int64))
    distinct = pa.Array.from_buffers(pa.int64(), len(numbers), [None, values])
    return pa.DictionaryArray.from_arrays(column.indices, distinct)


def _exact_ids_of_many(column: Any, role: str) -> Any:
    """Do the same with Arrow's functions, which are slow to import and fast with many texts."""
    import pyarrow.compute as pc

    texts = column.dictionary
    is_empty = pc.binary_length(texts).to_numpy() == 0
    _require_present(is_empty[column.indices.to_numpy()], role)
    if not pc.all(pc.match_substring_regex(texts, f"^({_CANONICAL_INTEGER})$")).as_py():
        return column
    try:
        return pa.DictionaryArray.from_arrays(column.indices, texts.cast(pa.int64()))
    except pa.ArrowInvalid:
        return column


def _missing(column: Any) -> NDArray[np.bool_]:
    if not column.null_count:
        return np.zeros(len(column), bool)
    return np.asarray(column.is_null().to_numpy())


def _require_present(missing: NDArray[np.bool_], role: str) -> None:
    if missing.any():
        raise ValueError(
            f"{np.count_nonzero(missing)} {role}(s) missing, the first in data row "
            f"{missing.argmax() + 1}: fill in or drop those rows"
        )


def _encoding_hint(error: Exception) -> str:
    told = isinstance(error, UnicodeError) or "utf8" in str(error).lower()
    return "; pass encoding=, for example 'latin-1', if this is a text file" if told else ""


def _parquet_columns(file: Path, wanted: _Wanted) -> dict[str, Column]:
    from pyarrow import parquet

    with parquet.ParquetFile(str(file)) as source:
        names = source.schema_arrow.names
        found = resolve_columns(names, wanted)
        table = source.read(columns=[names[at] for at in found.values()])
    return Frame(names, lambda at: table.column(names[at])).columns_of(found)


def _arrow_columns(file: Path, wanted: _Wanted) -> dict[str, Column]:
    with pa.OSFile(str(file)) as source:
        try:
            names = pa.ipc.open_file(source).schema.names
            found = resolve_columns(names, wanted)
            options = pa.ipc.IpcReadOptions(included_fields=sorted(found.values()))
            table = pa.ipc.open_file(source, options=options).read_all()
        except pa.ArrowInvalid:
            # The stream format, which has no footer.
            source.seek(0)
            table = pa.ipc.open_stream(source).read_all()
            names = table.column_names
            found = resolve_columns(names, wanted)
    return Frame(names, lambda at: table.column(names[at])).columns_of(found)


def _npz_arrays(file: Path, wanted: _Wanted) -> dict[str, Any]:
    """Read the arrays by role, and under "user_ids" and "item_ids" what the file has of those."""
    import zipfile

    if not zipfile.is_zipfile(file):
        raise ValueError("not an npz file (a zip archive of arrays): write it with numpy.savez")
    try:
        with np.load(file, allow_pickle=False) as source:
            arrays = {name: source[name] for name in ("user_ids", "item_ids") if name in source}
            for role, name in wanted.items():
                names = _NPZ_NAMES[role] if name is None else (name,)
                there = [name for name in names if name in source]
                if there:
                    arrays[role] = source[there[0]]
                elif role != "timestamp" or name is not None:
                    listed = " or ".join(map(repr, names))
                    raise ValueError(f"no array {listed}: the file has {sorted(source.files)}")
    except zipfile.BadZipFile as error:
        raise ValueError(str(error)) from error
    return arrays


def _npz_ids(arrays: dict[str, Any]) -> list[tuple[NDArray[np.int32], NDArray[Any]]]:
    """Codes and vocabulary of the users and of the items."""
    return [_sorted_codes(arrays[r], arrays.get(f"{r}_ids"), f"{r}s") for r in ("user", "item")]


def _npz_ratings(file: Path, wanted: _Wanted) -> Ratings:
    arrays = _npz_arrays(file, wanted)
    (users, user_ids), (items, item_ids) = _npz_ids(arrays)
    times = arrays.get("timestamp")
    return Ratings(users, items, arrays["rating"], user_ids, item_ids, times)


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
