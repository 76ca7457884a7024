"""Book-Crossing's ratings: "User-ID";"ISBN";"Book-Rating" in Latin-1, or Kaggle's with commas.

A rating of 0 stands there for a book that was mentioned and not rated.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace

from .reading import Reading, Request
from .source import Source
from .text import read as read_text

__all__ = ["matches", "read"]

_HEADER = re.compile(rb'(?:\xef\xbb\xbf)?"?User-ID"?([;,])"?ISBN"?\1"?Book-Rating"?\r?(?:\n|\Z)')
_COLUMNS = {"user": "User-ID", "item": "ISBN", "rating": "Book-Rating"}
_BLOCK = 1 << 20


def matches(source: Source) -> bool:
    """Whether the first line is the header of this set."""
    return _HEADER.match(source.head) is not None


def read(source: Source, request: Request) -> Reading:
    """Read the ratings of this set."""
    text = request.text
    if text.encoding is None and not _is_utf8(source):
        text = replace(text, encoding="latin-1")
    wanted = {r: _COLUMNS.get(r) if name is None else name for r, name in request.wanted.items()}
    return read_text(source, replace(request, text=text, wanted=wanted), "book-crossing")


def _is_utf8(source: Source) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with source.open() as file:
        try:
            for part in iter(lambda: file.read(_BLOCK), b""):
                decoder.decode(part)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True
