"""LIBMF's and recosystem's triples: lines of user, item and rating with blanks between."""

from __future__ import annotations

from dataclasses import replace

from ...checks import option
from ..ids import id_kind
from .quotes import BLANKS
from .reading import Reading, Request
from .source import Source
from .text import read as read_text

__all__ = ["read"]

_POSITIONS = {"user": 0, "item": 1, "rating": 2}


def read(source: Source, request: Request) -> Reading:
    """Read triples of two integers and a number."""
    given = request.text
    text = replace(
        given,
        sep=BLANKS if given.sep is None else given.sep,
        header=bool(given.header),
        quote=given.quote or "",
    )
    wanted = {
        role: _POSITIONS.get(role) if name is None else name
        for role, name in request.wanted.items()
    }
    reading = read_text(source, replace(request, text=text, wanted=wanted), "libmf")
    for role, side, kind in zip(
        ("user", "item"), (reading.users, reading.items), request.kinds, strict=True
    ):
        if kind == "auto" and id_kind(side.ids) != "int":
            raise ValueError(
                f"LIBMF's ids are integers, and some {role} is none: pass {option('format', 'text')}"
            )
    return reading
