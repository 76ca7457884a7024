"""Names of items (or users) for people to read, by id: from a file, a table or a dict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import option, renamed_words, where_typed
from .files import read
from .folders import Paths
from .formats.dialect import TextOptions
from .formats.reading import Reading, checked_request
from .ids import id_kind, lookup_ids, read_id, require_valid
from .roles import open_frame

__all__ = ["Titles", "as_titles", "read_titles"]

_TITLES = (
    "title",
    "name",
    "label",
    "itemname",
    "itemtitle",
    "movietitle",
    "booktitle",
    "producttitle",
)
_ITEMS = ("item", "movie", "film", "product", "book", "isbn", "asin", "parentasin", "user")
_IDS = ("id", *_ITEMS, *(f"{name}id" for name in _ITEMS))


class Titles(Mapping[str, str]):
    """Titles by id, where ids are text as they are written.

    Parameters
    ----------
    ids, titles : sequence of str
        Of a repeated id the first title counts.
    """

    def __init__(self, ids: Any, titles: Any) -> None:
        self._titles: dict[str, str] = {}
        for id, title in zip(map(str, ids), titles, strict=True):
            self._titles.setdefault(id, str(title))

    def __getitem__(self, id: Any) -> str:
        return self._titles[str(id)]

    def __iter__(self) -> Any:
        return iter(self._titles)

    def __len__(self) -> int:
        return len(self._titles)

    def __repr__(self) -> str:
        return f"Titles({len(self):,} of them)"

    def by_code(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Return the titles of a vocabulary's ids, None where there is none.

        Ids meet in the vocabulary's kind: "007" of a file is the integer 7, and a UUID is one however
        it is written.

        Raises
        ------
        ValueError
            If the vocabulary and the titles have no id in common.
        """
        kind = id_kind(ids)
        read = {id: read_id(id.strip() if kind == "int" else id, kind) for id in self._titles}
        if kind == "int":
            read = {id: _whole(id) if value is None else value for id, value in read.items()}
        texts = [id for id, value in read.items() if value is not None]
        values = np.fromiter((read[id] for id in texts), object, len(texts))
        found = np.full(len(ids), None, object)
        if len(texts):
            codes = lookup_ids(ids, values, option("titles"))
            for text, code in zip(reversed(texts), codes[::-1], strict=True):
                if code >= 0:
                    found[code] = self._titles[text]
        if len(ids) and all(title is None for title in found):
            example = next(iter(self._titles), None)
            raise ValueError(
                f"{option('titles')} has no id of the model, whose ids are like {str(ids[0])!r}"
                + (f", and those of the titles like {example!r}" if example is not None else "")
                + ": give the file of these items"
                + where_typed(", and its columns: read_titles(path, id=..., title=...)", "")
            )
        return found


def _whole(text: str) -> int | None:
    """Read an integer with zeros in front."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def read_titles(
    path: Paths,
    *,
    id: str | int | None = None,
    title: str | int | None = None,
    format: str | None = None,
    sep: str | None = None,
    header: bool | None = None,
    quote: str | None = None,
    encoding: str | None = None,
    member: str | None = None,
) -> Titles:
    """Read the titles of items from a file: MovieLens' movies.csv and u.item, or any with two such columns.

    Parameters
    ----------
    path : str or path-like, or a list of them
        A file of a format that `read_ratings` reads; only two columns are read.
    id, title : str or int, default None
        The column's name, or its position from 0. None takes common names (movieId, item_id, id,
        asin, ...; title, name, ...), else the first two columns.
    format, sep, header, quote, member
        As of `read_ratings`.
    encoding : str, default None
        Of a text. None: UTF-8; where the text is none, cp1252, whose letters are those of Latin-1
        in which MovieLens writes.

    Returns
    -------
    Titles
        A mapping from ids to titles.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_ratings`.
    """

    if format is None and str(path).endswith(".item"):
        format = "text"  # RecBole's titles are texts here, not lists of words

    with renamed_words(user="id", item="title"):

        def reading(id: Any, title: Any, header: bool | None = header) -> Reading:
            columns = {"user": id, "item": title}

            def read_as(encoding: str | None, on_error: str) -> Reading:
                text = TextOptions(sep, quote, None, None, None, None, header, encoding)
                request = checked_request(columns, text, "str", False, on_error)
                return read(path, request, format, member)

            try:
                return read_as(encoding, "raise")
            except ValueError as error:
                not_utf8 = encoding is None and "utf" in str(error).lower()
                return read_as("cp1252" if not_utf8 else encoding, "skip")

        found = reading(0 if id is None else id, 1 if title is None else title)
        names = list(found.names)
        first = [str(side.ids[side.codes[0]]) for side in (found.users, found.items)]
        if (
            header is None
            and _named(first, _IDS) is not None
            and _named(first, _TITLES) is not None
        ):
            header = True  # by names that those of ratings have not
            names = first
        at = [
            given if given is not None else _named(names, common)
            for given, common in ((id, _IDS), (title, _TITLES))
        ]
        at = [position if each is None else each for position, each in enumerate(at)]
        if header or (at != [0, 1] and at != [id, title]):
            found = reading(at[0], at[1], header)
        return Titles(*(side.ids[side.codes] for side in (found.users, found.items)))


def _named(names: list[Any], common: tuple[str, ...]) -> int | None:
    plain = ["".join(filter(str.isalnum, str(name).split(":")[0].lower())) for name in names]
    return next((plain.index(name) for name in common if name in plain), None)


def as_titles(given: Any) -> Titles:
    """Return titles of a file's path, a table with such columns, a dict, or `Titles`.

    Raises
    ------
    ValueError
        If it is something else, or a table lacks the columns.
    """
    if isinstance(given, Titles):
        return given
    if isinstance(given, Mapping):
        return Titles(given.keys(), given.values())
    if isinstance(given, (str, list)) or hasattr(given, "__fspath__"):
        return read_titles(given)
    frame = open_frame(given)
    if frame is None:
        raise ValueError(
            f"{option('titles')} is a {type(given).__name__}; it must be a file's path, a table with a "
            "column of ids and one of titles, a dict of titles by id, or what read_titles returns"
        )
    if len(frame.names) < 2:
        raise ValueError(
            f"{option('titles')} is a table with the columns {list(frame.names)}; it must have one of "
            "ids and one of titles"
        )
    at, title = _named(frame.names, _IDS), _named(frame.names, _TITLES)
    columns = (frame.column(position) for position in (at or 0, 1 if title is None else title))
    return Titles(*(_values(column) for column in columns))


def _values(column: Any) -> list[Any]:
    if isinstance(column, (pa.Array, pa.ChunkedArray)):
        require_valid(column, option("titles"))
    for name in ("to_pylist", "to_list", "tolist"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)
