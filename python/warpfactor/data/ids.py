"""Ids of any kind (integers, strings, UUIDs) to int32 codes and back.

A *vocabulary* is a sorted array of distinct ids: int64 (uint64 only where a value needs it), or an
object array of ``str`` or of ``uuid.UUID``. A *code* is a position in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .. import _core
from ..exchange import to_host
from .near_ids import as_python, nearest_ids, other_spellings

IdKind = Literal["int", "str", "uuid"]
Id = int | str | UUID

_INT64_MAX = 2**63 - 1
_INT32_MAX = 2**31 - 1
KIND_PLURALS: dict[IdKind, str] = {"int": "integers", "str": "strings", "uuid": "UUIDs"}
KIND_NAMES: dict[IdKind, str] = {"int": "an integer", "str": "a string", "uuid": "a UUID"}
_ID_RULE = "ids are integers, strings or uuid.UUID objects, all of one kind"
# Python's UUID takes blanks and underscores among the digits, too.
_UUID_TEXT = re.compile(r"(urn:uuid:)?\{?[0-9a-fA-F-]+\}?").fullmatch
_CANONICAL_INTEGER = re.compile("0|-?[1-9][0-9]*").fullmatch


class IdError(ValueError):
    """Rows of a column whose ids cannot be read.

    Attributes
    ----------
    row : int
        The first of them, counted from 0.
    count : int
        How many there are.
    """

    def __init__(self, before: str, row: int, after: str, count: int) -> None:
        super().__init__(before, row, after, count)
        self.row = row
        self.count = count
        self._before, self._after = before, after

    def at(self, place: str) -> str:
        """Return the message with another place, such as ``"line 12"``."""
        return f"{self._before}{place}{self._after}"

    def __str__(self) -> str:
        return self.at(f"data row {self.row + 1}")


def encode_ids(values: Any, name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Number the distinct ids of a column.

    Parameters
    ----------
    values : array-like of shape (n,)
        A NumPy array (integers; floats that are all integral; strings; objects), a list, a pandas
        or polars Series, or an Arrow array.
    name : str
        What the error messages call the column.

    Returns
    -------
    codes : ndarray of shape (n,), int32
        ``ids[codes]`` are the values.
    ids : ndarray of shape (n_distinct,), int64, uint64 or object
        The sorted vocabulary.

    Raises
    ------
    ValueError
        If a value is missing or no id, the kinds are mixed, a float is not an exact integer, or
        there are more than 2**31 - 1 distinct ids.
    """
    return _encode(id_column(values, name), name)


def _encode(column: Any, name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    if isinstance(column, np.ndarray):
        return _encode_integers(column, name)
    if pa.types.is_dictionary(column.type):
        return _encode_dictionary(column, name)
    if not pa.types.is_fixed_size_binary(column.type):
        encoder = _core.TextEncoder(integers=False, empty_is_missing=False)
        encoder.reserve(len(column))
        chunks = column.iterchunks() if isinstance(column, pa.ChunkedArray) else [column]
        add_chunks(encoder, chunks)
        return finished(encoder, name)
    try:
        encoded = _combined(column.dictionary_encode())
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except pa.ArrowException as error:
        raise ValueError(f"{name}: more than {_INT32_MAX} distinct ids ({error})") from error
    order = _compute().array_sort_indices(encoded.dictionary).to_numpy()
    ranks = np.empty(len(order), np.int32)
    ranks[order] = np.arange(len(order), dtype=np.int32)
    uuids = [UUID(bytes=value) for value in encoded.dictionary.take(order).to_pylist()]
    return ranks[arrow_numbers(encoded.indices)], objects(uuids)


class TextIds:
    """Numbers the distinct ids of a column of a text file, chunk by chunk.

    Parameters
    ----------
    name : str
        What the error messages call the column.
    kind : {"auto", "int", "str", "uuid"}, default "auto"
        Of which kind the ids are. "auto": integers if every text is one as Python writes it (7, not
        007, +7 or 7.0) and fits int64, else strings.
    strip : bool, default False
        Whether to take blanks (spaces, tabs, no-break spaces) off both ends first.
    n_rows : int, default 0
        About how many rows there are: with enough memory reserved, the codes need not be moved when
        they grow. A number that is too large costs nothing where the system gives memory when it
        is touched.
    n_threads : int, default 0
        Threads; 0: all available. Two columns may also be encoded in two threads of Python's.
    """

    def __init__(
        self,
        name: str,
        kind: IdKind | Literal["auto"] = "auto",
        *,
        strip: bool = False,
        n_rows: int = 0,
        n_threads: int = 0,
    ) -> None:
        self._name, self._kind = name, kind
        integers = kind in ("auto", "int")
        self._encoder = _core.TextEncoder(integers=integers, strip=strip, n_threads=n_threads)
        if n_rows:
            self._encoder.reserve(n_rows)

    def add(self, texts: Any) -> None:
        """Take an Arrow array of texts, which is not kept. Empty and null texts are missing ids."""
        add_chunks(self._encoder, [texts])

    def finish(self) -> tuple[NDArray[np.int32], NDArray[Any]]:
        """Return the codes and the vocabulary, as `encode_ids` does.

        Raises
        ------
        IdError
            If ids are missing or not of the kind.
        ValueError
            If there are 2**31 distinct ids or more, or a text is not UTF-8.
        """
        codes, ids = finished(self._encoder, self._name)
        return (
            (codes, ids)
            if self._kind == "auto"
            else convert_ids(codes, ids, self._kind, self._name)
        )


def encode_texts(
    column: Any,
    name: str,
    kind: IdKind | Literal["auto"] = "auto",
    *,
    strip: bool = False,
    n_rows: int = 0,
    n_threads: int = 0,
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Number the distinct ids of a column of a text file: an Arrow column, or its chunks.

    Parameters and errors are those of `TextIds`.
    """
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        n_rows = len(column)
        column = column.iterchunks() if isinstance(column, pa.ChunkedArray) else [column]
    texts = TextIds(name, kind, strip=strip, n_rows=n_rows, n_threads=n_threads)
    for chunk in column:
        texts.add(chunk)
    return texts.finish()


def convert_ids(
    codes: NDArray[np.int32], ids: NDArray[Any], kind: IdKind, name: str
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Turn encoded ids into ids of another kind that are written the same.

    Parameters
    ----------
    codes : ndarray of shape (n,), int32
    ids : ndarray of shape (n_ids,)
        The vocabulary that the codes are positions in.
    kind : {"int", "str", "uuid"}
        What they are to be.
    name : str
        What the error messages call them.

    Returns
    -------
    codes : ndarray of shape (n,), int32
    ids : ndarray of shape (n_distinct,), int64, uint64 or object
        As of `encode_ids`.

    Raises
    ------
    IdError
        If ids are not written as their new kind is: "007" and "7.0" are no integers.
    """
    if not len(ids):
        return codes, np.empty(0, np.int64 if kind == "int" else object)
    if id_kind(ids) == kind:
        return codes, ids
    values = [read_id(str(value), kind) for value in ids.tolist()]
    unread = np.fromiter((value is None for value in values), bool, len(values))
    if unread.any():
        rows = np.flatnonzero(unread[codes])
        first = int(rows[0]) if len(rows) else 0
        value = ids[codes[first]] if len(rows) else ids[unread.argmax()]
        more = f" (and in {len(rows) - 1:,} more)" if len(rows) > 1 else ""
        raise IdError(
            f"{name}: {as_python(value)} in ", first, f" is not {KIND_NAMES[kind]}{more}", len(rows)
        )
    ranks, vocabulary = encode_ids(values, name)
    return ranks[codes], vocabulary


def read_id(text: str, kind: IdKind) -> Id | None:
    """Read an id from text as a kind; None if it is not written as that kind is.

    An integer is written in one way only, so that "007" is not 7. A UUID is the same in any of the
    ways that `uuid.UUID` reads.
    """
    if kind == "str":
        return text
    if kind == "int":
        return int(text) if _CANONICAL_INTEGER(text) else None
    try:
        return UUID(text) if _UUID_TEXT(text) else None
    except ValueError:
        return None


def lookup_ids(ids: NDArray[Any], values: Any, name: str) -> NDArray[np.int32]:
    """Find ids in a vocabulary.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,)
        A vocabulary, as `encode_ids` returns it.
    values : array-like of shape (n,)
        Ids, in any form that `encode_ids` takes.
    name : str
        What the error messages call the values, such as ``"user ids"``.

    Returns
    -------
    ndarray of shape (n,), int32
        The codes, -1 where an id is not in the vocabulary.

    Raises
    ------
    ValueError
        As `encode_ids`, and if the values are of another kind than the vocabulary.
    """
    codes, distinct = encode_ids(values, name)
    if not len(codes):
        return codes
    if id_kind(ids) != id_kind(distinct):
        raise ValueError(_kind_mismatch(ids, distinct[codes[0]], name))
    return _positions(ids, distinct)[codes]


def consecutive(ids: NDArray[Any]) -> range | None:
    """Return a vocabulary as a range where it is one: a look-up there is a subtraction."""
    if ids.dtype != np.int64 or not len(ids) or int(ids[-1]) - int(ids[0]) >= len(ids):
        return None
    return range(int(ids[0]), int(ids[-1]) + 1)


def find_integers(xp: Any, ids: Any, wanted: Any) -> Any:
    """Find integers in a vocabulary; array code for NumPy and CuPy.

    Parameters
    ----------
    xp : module
        NumPy or CuPy.
    ids : array of shape (n_ids,), int64 or uint64, or range
        The vocabulary.
    wanted : array of shape (n,)
        Integers of any type.

    Returns
    -------
    array of shape (n,), int32
        The codes, -1 where an integer is not in the vocabulary.
    """
    if not len(ids):
        return xp.full(len(wanted), -1, np.int32)
    # What the vocabulary's type cannot hold wraps around, and shows by its sign.
    same = wanted.astype(np.int64 if isinstance(ids, range) else ids.dtype)
    there = (same < 0) == (wanted < 0)
    if isinstance(ids, range):
        at = same - ids.start
        there &= (at >= 0) & (at < len(ids))
    else:
        at = xp.searchsorted(ids, same).clip(0, len(ids) - 1)
        there &= ids[at] == same
    return xp.where(there, at, -1).astype(np.int32)


def id_kind(ids: NDArray[Any]) -> IdKind:
    """Return the kind of a vocabulary: ``"int"``, ``"str"`` or ``"uuid"``."""
    if ids.dtype.kind in "iu":
        return "int"
    return "uuid" if len(ids) and isinstance(ids[0], UUID) else "str"


def pack_ids(ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Turn a vocabulary into plain numeric arrays, for a file.

    Returns
    -------
    dict of str to ndarray
        ``{"values"}``: the integers themselves; or, for strings and UUIDs, ``{"utf8", "offsets"}``:
        the texts one after the other (uint8) and where each begins (int64, one entry more).
    """
    if id_kind(ids) == "int":
        return {"values": ids}
    texts = [str(value).encode() for value in ids]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    return {"utf8": np.frombuffer(b"".join(texts), np.uint8), "offsets": offsets}


def unpack_ids(arrays: dict[str, NDArray[Any]], kind: str) -> NDArray[Any]:
    """Undo `pack_ids`.

    Parameters
    ----------
    arrays : dict of str to ndarray
        What `pack_ids` returned.
    kind : {"int", "str", "uuid"}
        What `id_kind` returned.

    Returns
    -------
    ndarray of shape (n_ids,)
        The vocabulary.

    Raises
    ------
    ValueError
        If the arrays are damaged: wrong keys or types, offsets that do not fit, text that is not
        UTF-8 or no UUID, ids that are not sorted and distinct.
    """
    if kind not in KIND_PLURALS:
        raise ValueError(f"kind of ids is {kind!r:.80}; it must be one of {list(KIND_PLURALS)}")
    keys = {"values"} if kind == "int" else {"utf8", "offsets"}
    if set(arrays) != keys or any(array.ndim != 1 for array in arrays.values()):
        raise ValueError(
            f"{kind} ids are in {sorted(arrays)}; they must be in the 1-D arrays {sorted(keys)}"
        )
    ids = arrays["values"] if kind == "int" else _unpack_texts(arrays["utf8"], arrays["offsets"])
    if kind == "uuid":
        uuids = [read_id(text, "uuid") for text in ids]
        if None in uuids:
            raise ValueError(f"id {ids[uuids.index(None)]!r} is no UUID, but the ids are UUIDs")
        ids = objects(uuids)
    check_vocabulary(ids, "ids")
    return ids


def check_vocabulary(ids: Any, name: str) -> None:
    """Raise ValueError unless `ids` is a vocabulary: one kind, sorted, distinct."""
    fits = isinstance(ids, np.ndarray) and ids.ndim == 1
    if fits and ids.dtype == object:
        fits = any(all(issubclass(t, kind) for t in set(map(type, ids))) for kind in (str, UUID))
    elif fits:
        fits = ids.dtype in (np.int64, np.uint64)
    if not fits:
        raise ValueError(
            f"{name} is {_describe(ids)}; it must be a 1-D array of int64, uint64, or objects all str "
            "or all uuid.UUID: Ratings.from_arrays takes ids in any form"
        )
    rising = np.asarray(ids[:-1] < ids[1:], dtype=bool)
    if not rising.all():
        at = int(rising.argmin())
        raise ValueError(
            f"{name} holds {ids[at : at + 2].tolist()} at position {at}; ids must be sorted and "
            "distinct: Ratings.from_arrays takes ids in any order"
        )


def as_arrow(values: Any, name: str) -> Any:
    """Return a column as a pyarrow Array or ChunkedArray, or None if it is another kind of column."""
    if not isinstance(values, (pa.Array, pa.ChunkedArray)):
        if hasattr(values, "columns") and not hasattr(values, "dtype"):
            raise ValueError(f"{name} is a {type(values).__name__}: pass one column of it")
        # pandas would guess a type for its object columns, polars exports bare pointers.
        opaque = str(getattr(values, "dtype", "")).lower() == "object"
        if opaque or not hasattr(values, "__arrow_c_stream__"):
            return None
        try:
            values = pa.chunked_array(values)
        except MemoryError:  # Arrow's is an ArrowException too
            raise
        except (pa.ArrowException, TypeError):
            # Arrow has no such type: pandas' sparse and complex columns, polars' 128-bit integers.
            return None
    require_valid(values, name)
    if pa.types.is_run_end_encoded(values.type):
        return _compute().run_end_decode(values)
    if isinstance(values.type, pa.BaseExtensionType) and values.type != pa.uuid():
        # What is stored may mean anything: pandas' periods are integers there.
        raise ValueError(
            f"{name} is of the type {values.type}: convert it to numbers, strings or dates first"
        )
    return values


def require_valid(column: Any, name: str) -> None:
    """Raise ValueError for an Arrow column that is damaged.

    Arrow itself reads wherever offsets and positions point, even beyond a column's memory. A column
    of ten million rows takes 0.04 s.
    """
    try:
        column.validate(full=True)
    except MemoryError:  # Arrow's is an ArrowException too
        raise
    except pa.ArrowException as error:
        raise ValueError(f"{name}: the Arrow column is damaged: {str(error)[:200]}") from error


def as_numpy(values: Any, name: str) -> NDArray[Any]:
    """Return a column that Arrow does not take as a NumPy array, perhaps of objects.

    What is no array becomes objects, because NumPy would turn [1, "a"] into strings without a word.
    """
    values = to_host(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        at = int(np.argmax(np.ma.getmaskarray(values)))
        raise ValueError(f"{name}: the value at position {at} is masked: drop those rows")
    if hasattr(values, "__array__") or isinstance(values, memoryview):
        try:
            return np.asarray(values)
        except Exception as error:  # of any library
            if not hasattr(values, "to_list"):
                raise ValueError(
                    f"{name} is {_describe(values)}, of which NumPy makes no array ({error}): "
                    "convert it first"
                ) from error
            values = values.to_list()
    no_column = isinstance(values, (str, bytes, set, frozenset, dict))
    if no_column or not hasattr(values, "__iter__"):
        raise ValueError(f"{name} is {_describe(values)}; it must be one column: pass a list")
    return np.fromiter(values, dtype=object)


def require_no_nulls(column: Any, name: str) -> None:
    """Raise ValueError naming the first missing value of an Arrow column."""
    if column.null_count:
        at = _compute().is_null(column).to_numpy(zero_copy_only=False).argmax()
        raise ValueError(
            f"{name}: {column.null_count} missing value(s), the first at position {at}: "
            "drop those rows or fill them in"
        )


def decode_dictionary(column: Any) -> Any:
    """Return a dictionary column as a plain one."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    kind = column.type.value_type
    if pa.types.is_string_view(kind):  # which Arrow cannot take from
        kind = pa.large_string()
    plain = [chunk.dictionary.cast(kind).take(chunk.indices) for chunk in chunks]
    return pa.chunked_array(plain, kind)


def arrow_numbers(column: Any) -> NDArray[Any]:
    """Return an Arrow column of numbers without missing ones as a NumPy array, perhaps read-only.

    Through DLPack, because Arrow's own `to_numpy` imports pandas where that is installed, which
    takes a third of a second.
    """
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    arrays = [np.from_dlpack(chunk) for chunk in chunks if len(chunk)]
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.empty(0, column.type.to_pandas_dtype())


def _compute() -> Any:
    """Import Arrow's functions, which takes a while, when they are needed."""
    import pyarrow.compute

    return pyarrow.compute


def encode_id_columns(
    users: tuple[str, Any], items: tuple[str, Any]
) -> tuple[tuple[NDArray[np.int32], NDArray[Any]], tuple[NDArray[np.int32], NDArray[Any]]]:
    """Number two columns as `encode_ids` does, each given by its name and its values.

    Integers are numbered in passes over both columns, which is faster where they lie side by side.
    """
    first, second = (id_column(values, name) for name, values in (users, items))
    arrays = isinstance(first, np.ndarray) and isinstance(second, np.ndarray)
    alike = arrays and first.dtype == second.dtype and len(first) == len(second)
    if alike and _is_plain(first) and _is_plain(second):
        try:
            return _core.encode_columns(first, second)
        except ValueError:
            pass  # of which column it is, each says by itself
    return _encode(first, users[0]), _encode(second, items[0])


def _is_plain(values: NDArray[Any]) -> bool:
    """Whether the core reads integers where they are."""
    whole = values.flags.aligned and values.strides[0] % values.itemsize == 0
    return whole and values.dtype in (np.int32, np.int64)


def _encode_integers(values: NDArray[Any], name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    if values.dtype == np.uint64 and len(values) and values.max() > _INT64_MAX:
        ids, codes = np.unique(values, return_inverse=True)
        if len(ids) > _INT32_MAX:
            raise ValueError(f"{name}: there are 2^31 distinct ids or more")
        return codes.astype(np.int32), ids
    if values.dtype not in (np.int32, np.int64):
        fits = np.can_cast(values.dtype, np.int32)
        values = values.astype(np.int32 if fits else np.int64)
    elif not _is_plain(values):
        values = values.copy()  # a field of packed records
    try:
        return _core.encode_integers(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def finished(encoder: _core.TextEncoder, name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Take the codes and ids of an encoder that was given all of a column.

    Of one that streams, those who took the codes have seen to missing ids.
    """
    if encoder.n_missing and not encoder.streams:
        before = f"{name}: {encoder.n_missing:,} id(s) missing, the first in "
        after = ": fill in or drop those rows"
        raise IdError(before, encoder.first_missing, after, encoder.n_missing)
    try:
        codes, ids = encoder.finish()
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: an id is not valid UTF-8 text ({error})") from error
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return codes, objects(ids) if isinstance(ids, list) else ids


def add_chunks(encoder: _core.TextEncoder, chunks: Iterable[Any]) -> None:
    for chunk in chunks:
        if not (pa.types.is_string(chunk.type) or pa.types.is_large_string(chunk.type)):
            chunk = chunk.cast(pa.large_string())
        validity, offsets, text = chunk.buffers()
        wide = pa.types.is_large_string(chunk.type)
        encoder.add(validity, offsets, text, chunk.offset, len(chunk), wide)


def id_column(values: Any, name: str) -> Any:
    """NumPy integers, perhaps with gaps between them, or an Arrow column of texts, of 16-byte binary, or a dictionary."""
    column = as_arrow(values, name)
    if column is None:
        return _from_numpy(as_numpy(values, name), name)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return column
    require_no_nulls(column, name)
    if pa.types.is_integer(kind):
        return arrow_numbers(column)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string())
    if pa.types.is_floating(kind):
        return _exact_integers(arrow_numbers(column), name)
    if pa.types.is_decimal(kind):
        return _decimal_integers(column, name)
    if kind == pa.uuid():
        return column.cast(pa.binary(16))
    if not len(column):
        return np.empty(0, np.int64)
    raise ValueError(
        f"{name}: a column of type {kind} holds no ids; {_ID_RULE}: cast it to integers or strings"
    )


def _encode_dictionary(column: Any, name: str) -> tuple[NDArray[np.int32], NDArray[Any]]:
    if isinstance(column, pa.ChunkedArray):
        column = _combined(column.unify_dictionaries())
    kind = column.type.value_type
    if column.dictionary.null_count or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        # An error must name a position in the column, and no entry that it does not use.
        return encode_ids(decode_dictionary(column), name)
    require_no_nulls(column, name)
    codes, ids = encode_ids(column.dictionary, name)
    codes = codes[arrow_numbers(column.indices)]
    used = np.bincount(codes, minlength=len(ids)) > 0
    if used.all():
        return codes, ids
    return (np.cumsum(used, dtype=np.int32) - np.int32(1))[codes], ids[used]


def _from_numpy(values: NDArray[Any], name: str) -> Any:
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}; it must be 1-D: pass one column")
    match values.dtype.kind:
        case "i" | "u":
            return values.astype(values.dtype.newbyteorder("="), copy=False)
        case "f":
            return _exact_integers(values, name)
        case "U":
            return _texts(values, name)
        case "S":
            return _utf8(pa.array(values, pa.large_binary()), name)
        case "O" | "T":
            return _from_objects(values.astype(object), name)
    raise ValueError(
        f"{name}: an array of dtype {values.dtype} holds no ids; {_ID_RULE}: convert it to integers "
        "or strings"
    )


def _from_objects(values: NDArray[Any], name: str) -> Any:
    kinds = {t: _object_kind(t) for t in set(map(type, values))}
    match sorted(set(kinds.values())):
        case []:
            return np.empty(0, np.int64)
        case ["str"]:
            return _texts(values, name)
        case ["uuid"]:
            return pa.array([value.bytes for value in values], pa.binary(16))
        case ["int"]:
            return _machine_integers(values, name)
        case ["float"] | ["float", "int"]:
            return _exact_integers(values.astype(np.float64), name)
    raise ValueError(_object_problem(values, name))


def _object_kind(t: type) -> str:
    if issubclass(t, (bool, np.bool_)):
        return "bool"
    for kind, types in (
        ("str", (str,)),
        ("int", (int, np.integer)),
        ("float", (float, np.floating)),
        ("uuid", (UUID,)),
    ):
        if issubclass(t, types):
            return kind
    return t.__name__


def _object_problem(values: NDArray[Any], name: str) -> str:
    first = values[0]
    for at, value in enumerate(values):
        kind = _object_kind(type(value))
        if kind in ("NoneType", "NAType", "NaTType") or (kind == "float" and np.isnan(value)):
            return f"{name}: the id at position {at} is missing ({value!r}): drop those rows"
        if kind not in ("str", "int", "float", "uuid"):
            return f"{name}: {value!r} at position {at} is no id; {_ID_RULE}: convert it to one"
        if {kind, _object_kind(type(first))} not in ({kind}, {"int", "float"}):
            return (
                f"{name}: ids of mixed kinds, {first!r} at position 0 and {value!r} at position "
                f"{at}; {_ID_RULE}: convert them to one, for example with str()"
            )
    raise AssertionError("unreachable: some element is at fault")


def _machine_integers(values: NDArray[Any], name: str) -> NDArray[Any]:
    for dtype in (np.int64, np.uint64):
        try:
            return values.astype(dtype)
        except OverflowError:
            continue
    widest = max(values, key=abs)
    at = values.tolist().index(widest)
    raise ValueError(
        f"{name}: the integer ids fit neither int64 nor uint64 (the widest is {widest} at position "
        f"{at}): pass them as strings"
    )


def _exact_integers(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    limit = 2.0 ** min(np.finfo(values.dtype).nmant + 1, 53)
    exact = (values == np.trunc(values)) & (np.abs(values) < limit)
    if not exact.all():
        at = int(exact.argmin())
        raise ValueError(
            f"{name}: {values[at]} at position {at} is no exact integer id (as {values.dtype}): "
            "drop the row if it is missing, or pass ids as integers or strings"
        )
    return values.astype(np.int64)


def _decimal_integers(column: Any, name: str) -> NDArray[Any]:
    """Integers of databases that give them as decimals, such as DuckDB's HUGEINT."""
    try:
        return arrow_numbers(column.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{name}: a decimal is no integer id that int64 can hold ({error}): cast the column "
            "to strings"
        ) from error


def _texts(values: NDArray[Any], name: str) -> Any:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeError as error:
        raise ValueError(f"{name}: a string id is not valid Unicode ({error})") from error


def _utf8(column: Any, name: str) -> Any:
    try:
        return column.cast(pa.large_string())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{name}: byte ids must be UTF-8 text: decode them first") from error


def _combined(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def objects(values: list[Any]) -> NDArray[Any]:
    return np.fromiter(values, dtype=object, count=len(values))


def _positions(ids: NDArray[Any], distinct: NDArray[Any]) -> NDArray[np.int32]:
    if ids.dtype == object and len(distinct) > 1000:
        # Hashing the whole vocabulary beats bisecting Python objects only for many look-ups.
        found = _compute().index_in(_from_objects(distinct, "ids"), _from_objects(ids, "ids"))
        return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int32)
    if ids.dtype != object:
        codes: NDArray[np.int32] = find_integers(np, ids, distinct)
        return codes
    if not len(ids):
        return np.full(len(distinct), -1, np.int32)
    at = np.searchsorted(ids, distinct).clip(max=len(ids) - 1).astype(np.int32)
    at[np.asarray(ids[at] != distinct, dtype=bool)] = -1
    return at


def _kind_mismatch(ids: NDArray[Any], value: Any, name: str) -> str:
    kinds = KIND_PLURALS[id_kind(ids)]
    got = f"the string {value!r}" if isinstance(value, str) else f"{value}"
    meant = other_spellings(ids, value)
    if meant:
        fix = f"pass {as_python(meant[0])}"
    else:
        near = nearest_ids(ids, value)
        shown = ", ".join(as_python(each) for each in near or ids[:3].tolist())
        unlike = "" if near else f" (none is like {as_python(value)})"
        fix = f"pass {kinds}, such as {shown}{unlike}" if shown else f"pass {kinds}"
    return f"{name} holds {got}; the model's are {kinds}: {fix}"


def _unpack_texts(utf8: NDArray[Any], offsets: NDArray[Any]) -> NDArray[Any]:
    if utf8.dtype != np.uint8 or offsets.dtype != np.int64:
        raise ValueError(
            f"utf8 of ids has dtype {utf8.dtype} and offsets {offsets.dtype}; they must be uint8 and "
            "int64"
        )
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(utf8):
        raise ValueError(f"offsets of ids must run from 0 to {len(utf8)}, the length of utf8")
    if (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets of ids fall after position {np.diff(offsets).argmin()}")
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets)), pa.py_buffer(utf8.tobytes())]
    texts = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"ids are not valid UTF-8 text: {error}") from error
    return objects(texts.to_pylist())


def _describe(values: Any) -> str:
    if isinstance(values, np.ndarray):
        return f"an array of dtype {values.dtype} and shape {values.shape}"
    return f"{type(values).__name__} {values!r:.60}"
