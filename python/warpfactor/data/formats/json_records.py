"""JSON: one object a line (JSON lines, ndjson), or a list of objects."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from ...checks import option
from ..roles import Column, resolve_columns, with_times
from ..times import DATES, as_timestamps, holds_times, is_date
from .dialect import encoding_of, parse_number
from .lending import read_lent
from .reading import Reading, Request, reading_of_columns
from .rewrite import ByteStream, blocks
from .source import NothingThere, Source

__all__ = ["is_list", "is_object", "read"]

_OBJECT = re.compile(rb'\{\s*["}]')
_LIST = re.compile(rb'\[\s*\{\s*["}]')
_SAMPLED = 2000
# An object must fit into a block.
_BLOCK = 1 << 23
_SIDES = ("user", "item")
# A record, or what is wrong with it, with the place it has in the file and its text.
_Entry = tuple[str, str, "dict[str, Any] | str"]


def is_object(source: Source) -> bool:
    """Whether a file begins with an object."""
    return _OBJECT.match(_head(source)) is not None


def is_list(source: Source) -> bool:
    """Whether a file begins with a list of objects."""
    return _LIST.match(_head(source)) is not None


def _head(source: Source) -> bytes:
    head = source.head
    if encoding_of(head) == "utf-16":
        head = head.decode("utf-16", "ignore").encode()
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _blocks(source: Source, request: Request) -> Iterator[bytes]:
    return blocks(source, request.text.encoding or encoding_of(source.head))


def read(source: Source, request: Request) -> Reading:
    """Read objects with a field for each role.

    Lines of which a sample has fields of one type each are parsed by Arrow, to which these types are
    told: it takes texts like 2020-01-01 for dates otherwise. All else is read by Python's json.
    """
    listed = _head(source).startswith(b"[")
    entries = _listed(source, request) if listed else None
    sample = _sample(entries if entries is not None else _lines(source, request), request)
    names, found = _resolved(sample, request)
    paths = {role: _path(names[at], sample) for role, at in found.items()}
    labels = {role: f"{role} field {names[at]!r}" for role, at in found.items()}
    types = {role: _type(role, path, sample, labels[role], request) for role, path in paths.items()}
    problem = ""
    if types.get("timestamp") is _MIXED and request.wanted["timestamp"] is None:
        problem = _time_problem([_at(record, paths["timestamp"]) for record in sample])
        del paths["timestamp"], types["timestamp"]
    name = "json" if listed else "jsonl"
    if entries is None and _MIXED not in types.values():
        try:
            columns = _by_arrow(source, request, paths, types)
            named = {role: (labels[role], column) for role, column in columns.items()}
            reading = _reading(name, named, request, names, found)
            reading.times_problem = reading.times_problem or problem
            return reading
        except (pa.ArrowInvalid, ValueError):
            # Some line is at fault, or of another type than the sample.
            pass
    given = entries if entries is not None else _lines(source, request)
    columns, n_skipped, first = _by_json(given, request, paths)
    named = {role: (labels[role], column) for role, column in columns.items()}
    reading = _reading(name, named, request, names, found)
    reading.n_skipped, reading.first_skipped = n_skipped, first
    reading.times_problem = reading.times_problem or problem
    return reading


def _reading(
    format: str,
    columns: dict[str, Column],
    request: Request,
    names: list[str],
    found: dict[str, int],
) -> Reading:
    layout = {"records": "a list of objects" if format == "json" else "one object a line"}
    return reading_of_columns(format, columns, request, names=names, found=found, layout=layout)


def _lines(source: Source, request: Request) -> Iterator[_Entry]:
    """The objects of a file of lines, each with its line."""
    at = 0
    for block in _blocks(source, request):
        for line in block.splitlines():
            at += 1
            if line.strip():
                yield f"line {at}", line[:200].decode("utf-8", "replace"), _parsed(line)


def _listed(source: Source, request: Request) -> list[_Entry]:
    """The objects of a list, each with its position from 1."""
    text = b"".join(_blocks(source, request))
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the JSON list cannot be read: {error}") from error
    if not values:
        raise NothingThere("the JSON list is empty")
    return [
        (f"entry {at}", json.dumps(value)[:200], value if isinstance(value, dict) else _NO_OBJECT)
        for at, value in enumerate(values, 1)
    ]


_NO_OBJECT = 'is no JSON object, such as {"user": 1, "item": 2, "rating": 3}'


def _parsed(line: bytes) -> dict[str, Any] | str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({error})"
    return value if isinstance(value, dict) else _NO_OBJECT


def _sample(entries: Any, request: Request) -> list[dict[str, Any]]:
    first = list(islice(entries, _SAMPLED))
    sample = [record for _, _, record in first if isinstance(record, dict)]
    if not first:
        raise NothingThere("the file is empty")
    if not sample:
        place, text, problem = first[0]
        raise ValueError(
            f"{place} {problem}: {text!r:.80}; write one object a line, or a list [...] of objects "
            "(pandas: to_json(path, orient='records', lines=True))"
        )
    nested = all(isinstance(value, (dict, list)) for value in sample[0].values())
    if len(first) == 1 and nested and all(name is None for name in request.wanted.values()):
        raise ValueError(
            f"the file is one object of {', '.join(map(repr, list(sample[0])[:5]))}, not one for each "
            "rating: write one object a line (pandas: to_json(path, orient='records', lines=True))"
        )
    return sample


def _resolved(sample: list[dict[str, Any]], request: Request) -> tuple[list[str], dict[str, int]]:
    """The fields' names, and which one has which role; user="user.id" is a field of a field."""
    names = list(dict.fromkeys(name for record in sample for name in record))
    inner = [
        name
        for name in request.wanted.values()
        if isinstance(name, str) and name not in names and name.split(".")[0] in names
    ]
    names += inner
    found = resolve_columns(names, request.wanted)

    def holds(at: int) -> bool:
        path = _path(names[at], sample)
        return holds_times(np.fromiter((_at(record, path) for record in sample), object))

    return names, with_times(names, found, request.wanted, holds)


def _path(name: str, sample: list[dict[str, Any]]) -> tuple[str, ...]:
    return (name,) if any(name in record for record in sample) else tuple(name.split("."))


def _at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


# A field whose values are of several types, or of none that Arrow is told.
_MIXED = pa.null()


def _type(
    role: str, path: tuple[str, ...], sample: list[dict[str, Any]], label: str, request: Request
) -> Any:
    """The type of a field over the sample."""
    values = [_at(record, path) for record in sample]
    nested = next((value for value in values if isinstance(value, (dict, list))), None)
    if nested is not None and role == "timestamp" and request.wanted[role] is None:
        return _MIXED
    if nested is not None:
        fix = "make an object of each of its entries"
        if isinstance(nested, dict):
            inner = next(iter(nested), "id")
            fix = f"pass {option(role, '.'.join((*path, inner)))}, or another of its fields"
        raise ValueError(f"the {label} holds {json.dumps(nested)!r:.80}, not one value: {fix}")
    kinds = set(map(type, values))
    if kinds == {str}:
        return pa.string()
    if kinds == {int} and role != "rating":
        return pa.int64()
    return pa.float64() if kinds <= {int, float} and role not in _SIDES else _MIXED


def _time_problem(values: list[Any]) -> str:
    """What is wrong with the first times of a file."""
    try:
        as_timestamps(np.fromiter(values, object, len(values)), "the first objects")
    except ValueError as error:
        return str(error)
    return ""


def _by_arrow(
    source: Source, request: Request, paths: dict[str, tuple[str, ...]], types: dict[str, Any]
) -> dict[str, Any]:
    import pyarrow.compute as pc
    from pyarrow import json as arrow_json

    tree: dict[str, Any] = {}
    for role, path in paths.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = types[role]
    table = read_lent(
        arrow_json.read_json,
        # Arrow takes what one read returns for a block.
        io.BufferedReader(ByteStream(_blocks(source, request)), _BLOCK),
        read_options=arrow_json.ReadOptions(block_size=_BLOCK),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=pa.schema(_fields(tree)),
            # An object may go over several lines, wherever a block of the reader ends.
            newlines_in_values=True,
            unexpected_field_behavior="ignore",
        ),
    )
    columns = {}
    for role, path in paths.items():
        column = table.column(path[0])
        for name in path[1:]:
            column = pc.struct_field(column, name)
        is_text = role == "rating" and types[role] == pa.string()
        columns[role] = column.cast(pa.float64()) if is_text else column
    for role in _SIDES:
        if (
            types[role] == pa.string()
            and pc.any(pc.equal(pc.binary_length(columns[role]), 0)).as_py()
        ):
            raise ValueError(f"the {role} is missing")
    return columns


def _fields(tree: dict[str, Any]) -> list[Any]:
    return [
        pa.field(name, pa.struct(_fields(inner)) if isinstance(inner, dict) else inner)
        for name, inner in tree.items()
    ]


def _by_json(
    entries: Any, request: Request, paths: dict[str, tuple[str, ...]]
) -> tuple[dict[str, Any], int, str]:
    """Read each object by itself, and name the first that cannot be read."""
    columns: dict[str, list[Any]] = {role: [] for role in paths}
    kinds: dict[str, dict[type, str]] = {role: {} for role in _SIDES}
    n_bad, first = 0, ""
    for place, text, record in entries:
        values = {role: _at(record, path) for role, path in paths.items()}
        problem = record if isinstance(record, str) else _problem(values, paths, request)
        if problem:
            n_bad += 1
            first = first or f"{place} {problem}: {text!r:.120}"
            continue
        for role, value in values.items():
            columns[role].append(value)
        for role in _SIDES:
            kinds[role].setdefault(type(values[role]), f"{values[role]!r} in {place}")
    if n_bad and not request.skip_bad:
        also = f" ({n_bad - 1:,} more such)" if n_bad > 1 else ""
        raise ValueError(
            f"{first}{also}; mend the file, or pass {option('on_error', 'skip')} to leave such out"
        )
    if n_bad and not columns["user"]:
        raise ValueError(f"no object can be read; {first}")
    if not columns["user"]:
        raise NothingThere("the file is empty")
    read: dict[str, Any] = {
        role: _ids(columns.pop(role), kinds[role], f"{role} field {'.'.join(paths[role])!r}", kind)
        for role, kind in zip(_SIDES, request.kinds, strict=True)
    }
    if "rating" in columns:
        read["rating"] = np.array([_number(value) for value in columns["rating"]], np.float64)
    if "timestamp" in columns:
        read["timestamp"] = np.fromiter(columns["timestamp"], object)
    return read, n_bad, f"the first is {first}" if n_bad else ""


def _ids(values: list[Any], kinds: dict[type, str], label: str, wanted: str) -> Any:
    if str in kinds and len(kinds) > 1:
        if wanted != "str":
            raise ValueError(
                f"the {label} holds texts and numbers ({' and '.join(kinds.values())}): pass "
                f"{option('ids', 'str')}"
            )
        values = [value if isinstance(value, str) else str(value) for value in values]
    return np.fromiter(values, object, len(values))


def _problem(values: dict[str, Any], paths: dict[str, tuple[str, ...]], request: Request) -> str:
    for role, value in values.items():
        name = ".".join(paths[role])
        if role in _SIDES:
            if value is None or (isinstance(value, str) and not value):
                return f"has no {role} ({name!r})"
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                return f"has {json.dumps(value)[:40]} as the {role} ({name!r})"
        elif role == "rating":
            number = _number(value)
            if number is None:
                return (
                    f"has no rating ({name!r})"
                    if value is None
                    else f"has the rating {value!r:.40}"
                )
            with np.errstate(over="ignore"):
                if not math.isfinite(np.float32(number)):
                    return f"has the rating {value!r:.40}, which is not finite as float32"
        elif request.wanted["timestamp"] is not None:
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                return f"has no timestamp ({name!r})"
            if isinstance(value, str) and not is_date(value):
                return f"has the timestamp {value!r:.40}, neither a number nor a date like {DATES}"
    return ""


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return parse_number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
