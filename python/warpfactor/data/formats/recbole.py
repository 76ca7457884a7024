"""RecBole's atomic files (.inter): text whose header names each column with its type."""

from __future__ import annotations

import re
from dataclasses import replace

from ...checks import option
from .reading import Reading, Request
from .source import Source
from .text import find_dialect, read_dialect

__all__ = ["matches", "read"]

_FIELD = r"[^:\r\n]+:(?:token|float)(?:_seq)?"
# Between the fields stands one character, the same everywhere.
_HEADER = re.compile(rf"\ufeff?({_FIELD})(?:([^\w:])(?:{_FIELD})(?:\2{_FIELD})*)[ \t]*")


def matches(source: Source) -> bool:
    """Whether the first line is a header of names with types."""
    return _separator(source) is not None


def read(source: Source, request: Request) -> Reading:
    """Read an atomic file of interactions."""
    sep = request.text.sep or _separator(source)
    if sep is None:
        raise ValueError(
            f"the first line {_first_line(source)!r:.80} is no header of RecBole, such as "
            f"'user_id:token item_id:token rating:float': pass {option('format', 'text')}"
        )
    names = [name.strip() for name in _first_line(source).lstrip("\ufeff").split(sep)]
    wanted = {role: _typed(name, names) for role, name in request.wanted.items()}
    request = replace(request, wanted=wanted, text=replace(request.text, sep=sep, header=True))
    dialect = find_dialect(source, request)
    for role, at in dialect.found.items():
        if dialect.names[at].endswith("_seq"):
            raise ValueError(
                f"{role} column {dialect.names[at]!r} holds lists, not one value for each row: pass "
                f"{option(role)} with the name of another of {list(dialect.names)}"
            )
    return read_dialect(source, request, dialect, "recbole")


def _typed(name: str | int | None, names: list[str]) -> str | int | None:
    """A column's name with its type, as the header has it; RecBole's settings leave the type out."""
    if not isinstance(name, str) or name in names:
        return name
    return next((full for full in names if full.rpartition(":")[0] == name), name)


def _first_line(source: Source) -> str:
    return re.split(rb"[\r\n]", source.head.lstrip(b"\r\n"), maxsplit=1)[0].decode(
        "utf-8", "replace"
    )


def _separator(source: Source) -> str | None:
    found = _HEADER.fullmatch(_first_line(source))
    return found[2] if found else None
