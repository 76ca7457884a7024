"""Ids of ratings that come in parts, of which none is kept, to codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
# Integers lie close together if a mark for each from the lowest to the highest takes little, at
# first or for the ratings that there are, and never more than half a gigabyte of positions.
_CLOSE, _CLOSE_PER_ROW, _MOST_CLOSE = 1 << 22, 16, 1 << 27


class Vocabulary:
    """Numbers the ids of a side as they come, part by part, and keeps each distinct one once.

    The codes that it hands out count the ids in the order of their arrival. Integers that lie close
    together are handed out as they are, which is faster than to look each up; after the first that
    does not, come codes. `finish` tells what they are in the end, in the order of the ids.

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
        self._n_rows = 0
        # While there are no others: integers that lie close together.
        self._close: _Close | None = None
        # Those that there were before, of so many rows.
        self._early: _Close | None = None
        self._n_early = 0

    @property
    def are_integers(self) -> bool:
        """Whether all ids so far are integers, or are written as such in files of text."""
        return self._encoder is None or self._encoder.are_integers

    @property
    def n_ids(self) -> int:
        """How many ids there are so far."""
        n_close = 0 if self._close is None else self._close.n_ids()
        return n_close + (0 if self._encoder is None else self._encoder.n_ids)

    def n_bytes(self) -> int:
        """What the ids take while they are numbered, and as an array in the end."""
        if self._encoder is None:
            return 0
        kind: IdKind = self._kind or ("int" if self.are_integers else "str")
        n_bytes = self._encoder.n_bytes + self.n_ids * _OBJECT_BYTES[kind]
        close = self._close or self._early
        return n_bytes + (0 if close is None else close.n_bytes())

    def add_texts(self, texts: Any, name: str) -> NDArray[np.int32] | None:
        """Number an Arrow array of texts of a file; None if some are missing or not of the kind."""
        codes = self._add_texts(texts, name)
        self._n_rows += 0 if codes is None else len(codes)
        return codes

    def _add_texts(self, texts: Any, name: str) -> NDArray[np.int32] | None:
        plain = self._asked in ("auto", "str")
        if not plain or (self._encoder is not None and not self._from_text):
            try:
                coded = Coded(*encode_texts([texts], name, self._asked, strip=self._strip))
            except IdError:
                return None
            return self._add_coded(coded, name, from_text=True)
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
        codes = self._add(column, name)
        self._n_rows += len(codes)
        return codes

    def _add(self, column: Any, name: str) -> NDArray[np.int32]:
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
        return self._add_coded(coded, name)

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
        codes = self._add_coded(coded, name, from_text=from_text)
        self._n_rows += len(codes)
        return codes

    def _add_coded(self, coded: Coded, name: str, *, from_text: bool = False) -> NDArray[np.int32]:
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

    def forget(self, n_rows: int) -> None:
        """Note that all but the first rows were taken back."""
        self._n_rows = n_rows
        self._n_early = min(self._n_early, n_rows)

    def finish(
        self, rows: Callable[[], Iterator[tuple[int, NDArray[np.int32]]]] | None = None
    ) -> Numbered:
        """Return the ids, sorted, and what the codes that were handed out stand for.

        Parameters
        ----------
        rows : callable or None
            Gives the codes of all ratings part by part, each with the number of its first rating, if
            some were taken back: their ids may have to go.
        """
        assert self._encoder is not None
        if self._close is not None:
            if rows is not None:
                self._close.forget_all()
                for _, part in rows():
                    self._close.mark(part)
            ids, positions = self._close.finish()
            return Numbered(ids, None, self._n_rows, positions, self._close.low)
        used = None if rows is None else self._used(rows())
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
        if self._early is None:
            return Numbered(ids, codes)
        return Numbered(ids, codes, self._n_early, self._early.codes(codes), self._early.low)

    def _used(self, rows: Iterator[tuple[int, NDArray[np.int32]]]) -> NDArray[np.bool_]:
        """Which of the encoder's codes the ratings hold."""
        assert self._encoder is not None
        used = np.zeros(self._encoder.n_ids, bool)
        for begin, part in rows:
            n_early = min(max(self._n_early - begin, 0), len(part))
            used[part[n_early:]] = True
            if n_early and self._early is not None:
                numbers = self._early.codes(np.arange(len(used), dtype=np.int32))
                used[numbers[part[:n_early] - np.int32(self._early.low)]] = True
        return used

    def _add_integers(self, values: NDArray[Any], name: str) -> NDArray[np.int32]:
        if values.dtype == np.uint64 and len(values) and values.max() > _INT64_MAX:
            raise ValueError(
                f"{name} holds {values.max()}; integer ids that are read in parts must be below 2**63: "
                "cast the column to strings"
            )
        begins = self._encoder is None
        encoder = self._begun("int", name)
        if begins:
            self._close = _Close()
        if self._close is not None:
            if self._close.takes(values, self._n_rows):
                return self._close.mark(values)
            # Codes of these are their ranks so far.
            self._early, self._close, self._n_early = self._close, None, self._n_rows
            encoder.add_integers(self._early.finish()[0])
            encoder.take_codes()
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
            unless = f"{option('ids', 'int')} if all are integers, else "
            raise ValueError(
                f"{name} holds ids of another kind than what was read before, {' and '.join(kinds)}: "
                f"pass {'' if all({kind, self._kind}) else unless}{option('ids', 'str')}"
            )
        return self._encoder


class _Close:
    """Integers of 32 bits that lie close together, each with a mark in an array."""

    def __init__(self) -> None:
        self.low, self._high = 0, -1
        self._marks = np.empty(0, bool)  # from `low` on, with room behind `_high`

    def takes(self, values: NDArray[Any], n_rows: int) -> bool:
        """Whether these integers lie close to those before, after so many rows; makes room if so."""
        if not len(values):
            return True
        low, high = int(values.min()), int(values.max())
        if len(self._marks):
            low, high = min(low, self.low), max(high, self._high)
        most = min(max(_CLOSE, _CLOSE_PER_ROW * (n_rows + len(values))), _MOST_CLOSE)
        if high - low >= most or not -(2**31) <= low <= high < 2**31:
            return False
        if low < self.low or high - self.low >= len(self._marks):
            marks = np.zeros(min(2 * (high - low + 1), most), bool)
            begin, n_before = self.low - low, self._high - self.low + 1
            marks[begin : begin + n_before] = self._marks[:n_before]
            self.low, self._marks = low, marks
        self._high = high
        return True

    def mark(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """Note integers that it takes, and return them."""
        numbers = values.astype(np.int32, copy=False)
        self._marks[numbers - np.int32(self.low)] = True
        return numbers

    def forget_all(self) -> None:
        """Begin anew."""
        self._marks[:] = False

    def n_ids(self) -> int:
        """How many there are."""
        return int(np.count_nonzero(self._marks))

    def n_bytes(self) -> int:
        """What they take, with their positions in the end."""
        return 5 * len(self._marks)

    def finish(self) -> tuple[NDArray[np.int64], NDArray[np.int32] | None]:
        """Return the integers, sorted, and the positions of all from the lowest on; None: the same."""
        marks = self._marks[: self._high - self.low + 1]
        ids = np.flatnonzero(marks) + self.low
        if len(ids) and ids[0] == 0 and ids[-1] == len(ids) - 1:
            return ids, None
        return ids, np.cumsum(marks, dtype=np.int32) - np.int32(1)

    def codes(self, codes: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the code of each integer from the lowest on, of codes in the integers' order."""
        found = np.zeros(len(self._marks), np.int32)
        found[self._marks] = codes[: self.n_ids()]
        return found


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

    def forget(self, n_rows: int) -> None:
        """Note that all but the first rows were taken back."""

    def finish(
        self, rows: Callable[[], Iterator[tuple[int, NDArray[np.int32]]]] | None = None
    ) -> Numbered:
        """Return the row numbers."""
        return Numbered(np.arange(self._n_rows), None)


def available_memory() -> int | None:
    """Bytes that programs may still take, in a container too; None where the system does not tell."""
    left, _ = _core.available_memory()
    return None if left < 0 else left
