"""Rows of typed columns that lack a user, an item or a rating: an error, or left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ...checks import option
from ..columns import not_finite
from ..ids import arrow_numbers, as_arrow, decode_dictionary
from ..roles import Column
from .reading import Reading, Request, reading_of_columns
from .source import Source

__all__ = ["matrix_reading", "whole_rows"]


_MOST = float(np.finfo(np.float32).max)


class Whole(NamedTuple):
    """The columns without the rows that lack something, how many those are, and the first."""

    columns: dict[str, Any]
    n_skipped: int = 0
    first_skipped: str = ""

    def require_some(self) -> None:
        """Raise ValueError if nothing is left."""
        if self.n_skipped and not len(self.columns["user"]):
            raise ValueError(f"no row can be read; {self.first_skipped}")

    def noted(self, reading: Reading) -> Reading:
        """Note in a reading of these columns what was left out."""
        return replace(reading, n_skipped=self.n_skipped, first_skipped=self.first_skipped)


def whole_rows(
    columns: Mapping[str, Column], request: Request, file: str, noun: str = "row", *, first: int = 0
) -> Whole:
    """Leave out the rows that lack a user, an item or a finite rating, or a timestamp asked for.

    Parameters
    ----------
    columns : mapping of str to Column
        The columns of one file by role, each of NumPy or Arrow.
    request : Request
        Whether such rows are left out.
    file : str
        The file's name.
    noun : str, default "row"
        What the file has one of for each rating.
    first : int, default 0
        The number of the first of these rows in the file.

    Raises
    ------
    ValueError
        If there is such a row, and they are not to be left out.
    """
    given = {role: column for role, (_, column) in columns.items()}
    shapes = {np.shape(c) if isinstance(c, np.ndarray) else (len(c),) for c in given.values()}
    if len(shapes) > 1 or len(shapes.pop()) != 1:
        # That is an error of its own, which names the columns.
        return Whole(given)
    lacking: dict[str, NDArray[np.bool_]] = {}
    for role, (name, column) in columns.items():
        # Of timestamps the error names the place; those that nobody asked for may be anything.
        if role == "timestamp" and (request.wanted[role] is None or not request.skip_bad):
            continue
        if not isinstance(column, np.ndarray):
            given[role] = as_arrow(column, name)
        flags = _lacking(given[role], role)
        if flags is not None and flags.any():
            lacking[role] = flags
    if not lacking:
        return Whole(given)
    if not request.skip_bad:
        role = next(iter(lacking))
        raise ValueError(_problem(columns[role][0], given[role], lacking[role], noun, first))
    bad = np.logical_or.reduce(list(lacking.values()))
    at = int(bad.argmax())
    role = next(role for role, flags in lacking.items() if flags[at])
    value = _value(given[role], at)
    what = "no value" if _is_missing(value) else f"{value}"
    return Whole(
        {role: _filtered(column, ~bad) for role, column in given.items()},
        int(bad.sum()),
        f"the first is {noun} {first + at:,} (from 0) of {file}, whose {columns[role][0]} holds {what}",
    )


def matrix_reading(
    format: str,
    columns: Mapping[str, Column],
    request: Request,
    source: Source,
    layout: dict[str, str],
) -> Reading:
    """Make a reading of the entries of a matrix, without those that `whole_rows` leaves out."""
    whole = whole_rows(columns, request, source.path.name, "entry")
    whole.require_some()
    named = {role: (columns[role][0], column) for role, column in whole.columns.items()}
    return whole.noted(reading_of_columns(format, named, request, layout=layout))


def _problem(name: str, column: Any, flags: NDArray[np.bool_], noun: str, first: int) -> str:
    at, n_lacking = int(flags.argmax()), int(flags.sum())
    value = _value(column, at)
    skip = f"or pass {option('on_error', 'skip')} to leave them out"
    if _is_missing(value):
        return (
            f"{name}: {n_lacking:,} missing value(s), the first in {noun} {first + at:,} (from 0): "
            f"drop such or fill them in, {skip}"
        )
    also = f" ({n_lacking - 1:,} more such)" if n_lacking > 1 else ""
    return f"{name}: {not_finite(value)} in {noun} {first + at:,} (from 0){also}: drop such, {skip}"


def _value(column: Any, at: int) -> Any:
    return column[at] if isinstance(column, np.ndarray) else column[at].as_py()


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, np.datetime64) and bool(np.isnat(value)))


def _lacking(column: Any, role: str) -> NDArray[np.bool_] | None:
    """Where a column lacks a value; None if it lacks none or cannot tell."""
    if isinstance(column, np.ndarray):
        if column.dtype.kind == "M":
            return np.isnat(column)
        is_bad = column.dtype.kind == "f" and not _all_small(column)
        return _not_numbers(column, role) if is_bad else None
    if pa.types.is_dictionary(column.type):
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        kind = column.type.value_type
        # A dictionary of texts is not decoded, unless one of them is missing.
        if _has_fractions(kind) or any(chunk.dictionary.null_count for chunk in chunks):
            column = decode_dictionary(column)
    if _has_fractions(column.type):
        chunks = [_floats(chunk) for chunk in column.chunks]
        if all(map(_all_small, chunks)):
            return None
        return np.concatenate([_not_numbers(chunk, role) for chunk in chunks])
    if not column.null_count:
        return None
    return np.asarray(column.is_null().to_numpy(), bool)


def _has_fractions(kind: Any) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _floats(chunk: Any) -> NDArray[Any]:
    """A chunk as floats, with NaN for what is missing."""
    if pa.types.is_decimal(chunk.type):
        chunk = chunk.cast(pa.float64())
    if chunk.null_count:
        return np.asarray(chunk.to_numpy(zero_copy_only=False))
    return arrow_numbers(chunk)


def _all_small(values: NDArray[Any]) -> bool:
    """Whether all are numbers that float32 holds, by two fast passes; NaN is below nothing."""
    # As Python's floats: NumPy would bring the limit to float16, which does not hold it.
    return not len(values) or -_MOST < float(values.min()) <= float(values.max()) < _MOST


def _not_numbers(values: NDArray[Any], role: str) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_]
    if role in ("user", "item"):
        flags = np.isnan(values)
    else:
        with np.errstate(over="ignore"):
            # As they are kept.
            kept = values.astype(np.float32, copy=False) if role == "rating" else values
        flags = ~np.isfinite(kept)
    return flags


def _filtered(column: Any, kept: NDArray[np.bool_]) -> Any:
    if isinstance(column, np.ndarray):
        return column[kept]
    # Arrow selects from neither.
    if pa.types.is_string_view(column.type):
        column = column.cast(pa.large_string())
    return column.filter(pa.array(kept))
