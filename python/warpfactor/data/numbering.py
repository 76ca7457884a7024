"""Ids of ratings that come in parts, of which none is kept, to codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .. import _core
from ..checks import option
from .formats.reading import Coded, in_kind
from .ids import (
    KIND_PLURALS,
    IdError,
    IdKind,
    add_chunks,
    encode_ids,
    encode_texts,
    finished,
    id_column,
    id_kind,
    objects,
)
from .stored import Numbered

__all__ = ["RowNumbers", "Vocabulary", "available_memory"]

# What Python objects take beside the characters, with their places in the array of ids.
_OBJECT_BYTES: dict[IdKind, int] = {"int": 8, "str": 57, "uuid": 104}
_INT64_MAX = 2**63 - 1
_MEMINFO = Path("/proc/meminfo")
# The limit of a container and what it uses, of both versions of control groups.
_CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


class Vocabulary:
    """Numbers the ids of a side as they come, part by part, and keeps each distinct one once.

    The codes that it hands out count the ids in the order of their arrival. `finish` tells what
    they are in the end, in the order of the ids.

    Parameters
    ----------
    kind : {"auto", "int", "str", "uuid"}
        What the ids are to be; see `read_ratings`.
    strip : bool, default False
        Whether blanks around them are left out.
    """

    def __init__(self, kind: str = "auto", *, strip: bool = False) -> None:
        self._asked: Any = kind
        self._strip = strip
        self._encoder: _core.TextEncoder | None = None
        # None: the texts of files, whose kind shows in the end.
        self._kind: IdKind | None = None
        self._from_text = False
        self._name = ""

    @property
    def are_integers(self) -> bool:
        """Whether all ids so far are integers, or are written as such in files of text."""
        return self._encoder is None or self._encoder.are_integers

    @property
    def n_ids(self) -> int:
        """How many ids there are so far."""
        return 0 if self._encoder is None else self._encoder.n_ids

    def n_bytes(self) -> int:
        """What the ids take while they are numbered, and as an array in the end."""
        if self._encoder is None:
            return 0
        kind: IdKind = self._kind or ("int" if self.are_integers else "str")
        return self._encoder.n_bytes + self._encoder.n_ids * _OBJECT_BYTES[kind]

    def add_texts(self, texts: Any, name: str) -> NDArray[np.int32] | None:
        """Number an Arrow array of texts of a file; None if some are missing or not of the kind."""
        plain = self._asked in ("auto", "str")
        if not plain or (self._encoder is not None and not self._from_text):
            try:
                coded = Coded(*encode_texts([texts], name, self._asked, strip=self._strip))
            except IdError:
                return None
            return self.add_coded(coded, name, from_text=True)
        encoder = self._begun(None if self._asked == "auto" else "str", name, from_text=True)
        before = encoder.n_missing
        add_chunks(encoder, [texts])
        codes = encoder.take_codes()
        return codes if encoder.n_missing == before else None

    def add(self, column: Any, name: str) -> NDArray[np.int32]:
        """Number a column of any type that `encode_ids` takes.

        Raises
        ------
        ValueError
            As `encode_ids` and `convert_ids`, and if the ids are of another kind than those before.
        """
        if self._asked == "auto" and not self._strip:
            given = id_column(column, name)
            if isinstance(given, np.ndarray):
                return self._add_integers(given, name)
            if pa.types.is_string(given.type) or pa.types.is_large_string(given.type):
                chunks = given.chunks if isinstance(given, pa.ChunkedArray) else [given]
                encoder = self._begun("str", name)
                add_chunks(encoder, chunks)
                return encoder.take_codes()
        coded = in_kind(Coded(*encode_ids(column, name)), name, self._asked, strip=self._strip)
        return self.add_coded(coded, name)

    def add_coded(self, coded: Coded, name: str, *, from_text: bool = False) -> NDArray[np.int32]:
        """Number ids that have codes of their own.

        Parameters
        ----------
        coded : Coded
            The codes, and the ids that they stand for.
        name : str
            What the error messages call them.
        from_text : bool, default False
            Whether they were texts, whose kind was found out from these alone.
        """
        codes, ids = coded
        if not len(ids):
            return codes
        if from_text and self._asked == "auto":
            encoder = self._begun(None, name, from_text=True)
            add_chunks(encoder, [pa.array([str(each) for each in ids], pa.large_string())])
            return encoder.take_codes()[codes]
        kind = id_kind(ids)
        if kind == "int":
            return self._add_integers(ids, name)[codes]
        encoder = self._begun(kind, name, from_text=from_text)
        # UUIDs are in the order of their texts.
        add_chunks(encoder, [pa.array([str(each) for each in ids], pa.large_string())])
        return encoder.take_codes()[codes]

    def finish(self, used: NDArray[np.bool_] | None = None) -> Numbered:
        """Return the ids, sorted, and the code of each code that was handed out.

        Parameters
        ----------
        used : ndarray of bool of shape (n_ids,), or None
            Which of the codes stand for ratings, if some were taken back.
        """
        assert self._encoder is not None
        codes, ids = finished(self._encoder, self._name)
        self._encoder = None
        if used is not None and not used.all():
            there = np.zeros(len(ids), bool)
            there[codes[used]] = True
            ids = ids[there]
            codes = (np.cumsum(there, dtype=np.int32) - np.int32(1))[codes]
            if self._kind is None and ids.dtype == object:
                # What made texts of them may be gone.
                texts = pa.array(ids.tolist(), pa.large_string())
                ranks, ids = encode_texts([texts], self._name, "auto")
                codes = ranks[codes]
        if self._kind == "uuid":
            ids = objects([UUID(text) for text in ids])
        same = len(codes) == len(ids) and bool((codes == np.arange(len(ids))).all())
        return Numbered(ids, None if same else codes)

    def _add_integers(self, values: NDArray[Any], name: str) -> NDArray[np.int32]:
        if values.dtype == np.uint64 and len(values) and values.max() > _INT64_MAX:
            raise ValueError(
                f"{name} holds {values.max()}; integer ids that are read in parts must be below 2**63: "
                "cast the column to strings"
            )
        encoder = self._begun("int", name)
        encoder.add_integers(np.ascontiguousarray(values, np.int64))
        return encoder.take_codes()

    def _begun(
        self, kind: IdKind | None, name: str, *, from_text: bool = False
    ) -> _core.TextEncoder:
        """Return the encoder; raise ValueError if the ids before are of another kind."""
        if self._encoder is None:
            self._kind, self._from_text, self._name = kind, from_text, name
            self._encoder = _core.TextEncoder(
                integers=kind in (None, "int"),
                strip=self._strip and from_text,
                empty_is_missing=from_text,
                streaming=True,
            )
        if kind != self._kind:
            kinds = sorted(
                KIND_PLURALS[each] if each else "texts of files" for each in {kind, self._kind}
            )
            raise ValueError(
                f"{name} holds ids of another kind than what was read before, {' and '.join(kinds)}: "
                f"pass {option('ids', 'str')}"
            )
        return self._encoder


class RowNumbers:
    """Takes ids that are row numbers, from 0 to a number of rows, which need no numbering.

    Parameters
    ----------
    n_rows : int
        The number of rows.
    what : str
        What the rows are, such as "users".
    """

    def __init__(self, n_rows: int, what: str) -> None:
        self._n_rows, self._what = n_rows, what
        self.n_ids = n_rows
        self.are_integers = True

    def n_bytes(self) -> int:
        """What the ids take."""
        return 8 * self._n_rows

    def add_texts(self, texts: Any, name: str) -> NDArray[np.int32] | None:
        """Read an Arrow array of texts of a file; None if some are no integers."""
        try:
            numbers = texts.cast(pa.int64())
        except pa.ArrowInvalid:
            return None
        return None if numbers.null_count else self.add(numbers, name)

    def add(self, column: Any, name: str) -> NDArray[np.int32]:
        """Check a column of integers."""
        given = id_column(column, name)
        if not isinstance(given, np.ndarray):
            given = encode_ids(column, name)
            return self.add_coded(Coded(*given), name)
        if len(given) and not 0 <= given.min() <= given.max() < self._n_rows:
            at = int(np.argmax((given < 0) | (given >= self._n_rows)))
            raise ValueError(
                f"{name} holds {given[at]} at position {at}, and {option('shape')} says that there are "
                f"{self._n_rows:,} {self._what}, from 0 to {self._n_rows - 1}: leave {option('shape')} out, "
                "or give more"
            )
        return given.astype(np.int32)

    def add_coded(self, coded: Coded, name: str, *, from_text: bool = False) -> NDArray[np.int32]:
        """Check ids that have codes of their own."""
        codes, ids = coded
        if len(ids) and id_kind(ids) != "int":
            raise ValueError(
                f"{name} holds {KIND_PLURALS[id_kind(ids)]}, and with {option('shape')} ids are row numbers: "
                f"leave {option('shape')} out"
            )
        return self.add(ids, name)[codes]

    def finish(self, used: NDArray[np.bool_] | None = None) -> Numbered:
        """Return the row numbers."""
        return Numbered(np.arange(self._n_rows), None)


def available_memory() -> int | None:
    """Bytes that programs may still take, in a container too; None where the system does not tell."""
    limits = []
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError):
        pass
    for limit, used in _CGROUPS:
        try:
            free = int(Path(limit).read_text(encoding="ascii")) - int(
                Path(used).read_text(encoding="ascii")
            )
            limits.append(max(free, 0))
        except (OSError, ValueError):
            continue
    return min(limits, default=None)
