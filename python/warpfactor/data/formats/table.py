"""The table of formats: how each is recognized, by content first and suffix second."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...checks import option, options, where_typed
from . import (
    amazon,
    book_crossing,
    json_records,
    libmf,
    matrix_market,
    netflix,
    npz,
    recbole,
    text,
)
from .columnar import FORMATS as COLUMNAR
from .dialect import TextOptions, encoding_of
from .reading import Reading, Request, Sink
from .source import Source

__all__ = ["FORMATS", "Format", "find_format", "refuse_options"]


class Format(NamedTuple):
    """A format of files.

    Attributes
    ----------
    name, about : str
        Its name, and what it is in a few words.
    suffixes : tuple of str
        How names of such files end.
    matches : callable
        Whether the content of a `Source` is of this format.
    read : callable
        Reads a `Source` as a `Request` asks.
    read_all : callable or None
        Reads several sources as one; None where each is read by itself.
    stream : callable or None
        Hands the rows of several sources on to a `Sink`; None where `read` does so, or cannot.
    """

    name: str
    about: str
    suffixes: tuple[str, ...]
    matches: Callable[[Source], bool]
    read: Callable[[Source, Request], Reading]
    read_all: Callable[[Iterable[Source], Request], Reading] | None = None
    stream: Callable[[Sequence[Source], Request, Sink], tuple[int, str]] | None = None


def _begins(*marks: bytes) -> Callable[[Source], bool]:
    return lambda source: source.head.startswith(marks)


def _never(_: Source) -> bool:
    return False


def _separated_by(sep: str) -> Callable[[Source, Request], Reading]:
    """Read text with this separator, unless the user said otherwise."""

    def read(source: Source, request: Request) -> Reading:
        given = request.text if request.text.sep is not None else replace(request.text, sep=sep)
        return text.read(source, replace(request, text=given))

    return read


# In the order in which they are tried. Text comes last: anything may be text.
_ALL = (
    *(
        Format(
            each.name,
            each.about,
            each.suffixes,
            _begins(*each.marks),
            each.read,
            each.read_all,
            each.stream,
        )
        for each in COLUMNAR
    ),
    Format("scipy-npz", "a sparse matrix of scipy", (), npz.matches_sparse, npz.read_sparse),
    Format("npz", "arrays of users, items and ratings of NumPy", (".npz",), npz.matches, npz.read),
    Format(
        "matrix-market",
        "a matrix of users x items, sparse or dense",
        (".mtx",),
        matrix_market.matches,
        matrix_market.read,
    ),
    Format("json", "a list of JSON objects", (".json",), json_records.is_list, json_records.read),
    Format(
        "jsonl",
        "JSON lines: an object a line",
        (".jsonl", ".ndjson"),
        json_records.is_object,
        json_records.read,
    ),
    Format(
        "netflix",
        "the Netflix prize's blocks of user,rating,date",
        (),
        netflix.matches,
        netflix.read,
        netflix.read_all,
    ),
    Format("recbole", "RecBole's atomic files", (".inter",), recbole.matches, recbole.read),
    Format(
        "book-crossing",
        "the ratings of Book-Crossing",
        (),
        book_crossing.matches,
        book_crossing.read,
    ),
    Format("amazon", "Amazon's rating-only files", (), amazon.matches, amazon.read),
    Format("libmf", "triples of LIBMF and recosystem", (), _never, libmf.read),
    Format("csv", "text separated by commas", (), _never, _separated_by(",")),
    Format("tsv", "text separated by tabs", (), _never, _separated_by("\t")),
    Format("text", "delimited text of any kind, MovieLens' too", (), _never, text.read),
)
FORMATS = {format.name: format for format in _ALL}

# What is looked at to know a format by.
_BEGIN = 4096

# Those that how a text is laid out says something about.
_TEXTS = ("recbole", "book-crossing", "amazon", "libmf", "csv", "tsv", "text")

# What other programs write, with what it is and how to get ratings out of it.
_FOREIGN = (
    (b"\x93NUMPY", "a single NumPy array", "save users, items and ratings of it by numpy.savez"),
    (
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        "a pickle",
        "load it where you trust it, and save the ratings in it as csv or Parquet",
    ),
    (b"\x89HDF\r\n", "an HDF5 file", "read it with pandas or h5py"),
    (b"SQLite format 3", "an SQLite database", "query it, for example by DuckDB"),
    (b"\xd0\xcf\x11\xe0", "an Excel file", "save it as csv"),
    (
        b"MATLAB",
        "a MATLAB file",
        "load it with scipy.io.loadmat or h5py, and save its matrix by scipy.sparse.save_npz",
    ),
    (b"Obj\x01", "an Avro file", "read it with polars.read_avro, and save the table as Parquet"),
    (b"RDX", "a file of R", "write it as csv there"),
    (b"%PDF", "a PDF", "find the table it shows as csv"),
    (b"7z\xbc\xaf", "a 7z archive", "unpack it"),
    (b"Rar!", "a RAR archive", "unpack it"),
)

_EXPORT = "load it into a database, and export its table of ratings as csv"
_SQL = (
    r"(--[^\n]*\n\s*)*(/\*!|PRAGMA |BEGIN( TRANSACTION)?;|DROP TABLE |CREATE (TABLE|DATABASE) |INSERT INTO "
    r"|(SET|USE) [^\n]*;\s*\n)"
)
# A line of dashes, as below the names of a table.
_RULE = r"[ :]*-{2,}[ :]*([|+][ :]*-{2,}[ :]*)+"
# The same for texts, by patterns of how they begin, blanks left out.
_FOREIGN_TEXTS: tuple[tuple[str, str, Callable[[], str]], ...] = (
    (
        r"(?i)<!DOCTYPE html|<html|<head|<body",
        "a web page",
        lambda: "download the file itself; the page may say what that needs, such as to log in",
    ),
    (
        r"<\?xml|<!DOCTYPE",
        "an XML file",
        lambda: "read it with pandas.read_xml, and pass the table",
    ),
    (
        r"version https://git-lfs\.github\.com/spec",
        "a pointer of Git LFS in place of the file",
        lambda: "fetch the file by git lfs pull",
    ),
    (
        r"-- (MySQL|MariaDB) dump|--\s+-- PostgreSQL database|" + _SQL,
        "an SQL dump",
        lambda: _EXPORT,
    ),
    (
        r"\+-[-+=]*\+\s*\n\s*\|",
        "a table with a box around it, as mysql prints",
        lambda: _as_printed("+"),
    ),
    (rf"\|[^\n]*\|\s*\n\s*\|{_RULE}\|\s*(\n|$)", "a Markdown table", lambda: _as_printed("|-")),
    (
        rf"[^\n|]+\|[^\n]*\n{_RULE}\s*(\n|$)",
        "a table with a line below its names, as psql prints",
        lambda: _as_printed("-"),
    ),
    (
        "[\u250c\u256d\u2554]",
        "a printed table",
        lambda: "write the table to a file as csv in place of printing it",
    ),
)


def _as_printed(comment: str) -> str:
    """The options that read a table as it was printed."""
    given = {"format": "text", "sep": "|", "comment": comment, "strip": True, "on_error": "skip"}
    return f"pass {options(given)} to read it as it is, or export it as csv"


def refuse_options(format: Format, given: TextOptions) -> None:
    """Raise ValueError if options of text were given for a format that has none of them."""
    for name, value in vars(given).items():
        fits = format.name in _TEXTS or (format.name in ("json", "jsonl") and name == "encoding")
        if value is not None and not fits:
            raise ValueError(
                f"{option(name, value)} says how a text is laid out, but the file is of the format "
                f"{format.name}: leave it out"
            )


def find_format(source: Source, name: str | None = None, encoding: str | None = None) -> Format:
    """Find a file's format, or take the one of a name; `encoding` is the text's, if it was given.

    Raises
    ------
    ValueError
        If the file is of a format that is known not to be read.
    """
    if name is not None:
        return FORMATS[name]
    for format in _ALL:
        if format.matches(source):
            return format
    for mark, what, fix in _FOREIGN:
        if source.head.startswith(mark):
            raise ValueError(f"the file is {what}, which is not read: {fix}")
    if source.head[8:].startswith(b'{"__metadata__":'):
        raise ValueError(
            "the file is a model or other arrays of safetensors, which hold no ratings: "
            f"{where_typed('load it with warpfactor.load', 'warpfactor info shows a model')}"
        )
    text = source.head[:_BEGIN].decode(encoding or encoding_of(source.head), "replace")
    for pattern, what, fix_of in _FOREIGN_TEXTS:
        if re.match(pattern, text.lstrip("\ufeff \t\r\n")):
            raise ValueError(f"the file is {what}, which is not read: {fix_of()}")
    suffix = "." + source.name.rsplit(".", 1)[-1].lower()
    begin = source.head[:_BEGIN]
    is_binary = b"\0" in begin and not begin.startswith((b"\xff\xfe", b"\xfe\xff"))
    for format in _ALL:
        if suffix in format.suffixes:
            return format
    if is_binary and encoding is None:
        # Of the two bytes of a Latin letter the upper one is 0.
        likely = "utf-16-be" if begin[:1] == b"\0" else "utf-16-le"
        raise ValueError(
            "the file is no text, and of no format that is known by its first bytes: pass "
            f"{option('encoding', likely)} if it is text, or {option('format')}, one of "
            f"{', '.join(FORMATS)}"
        )
    return FORMATS["text"]
