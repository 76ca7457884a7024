"""How a delimited text is laid out, judged over a sample of it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from ...checks import option, options
from ..roles import find_common, refuse_repeated, resolve_columns, with_times
from ..times import is_date, unit_of_time
from .quotes import BLANKS, find_quotes
from .source import NothingThere, Source

__all__ = [
    "NULLS",
    "Dialect",
    "TextOptions",
    "Wanted",
    "check_options",
    "encoding_of",
    "is_blank_row",
    "judge",
    "parse_number",
    "split",
]

# The wanted roles, in the order of `resolve_columns`, each with a name, a position or None.
Wanted = Mapping[str, str | int | None]

# In the order in which equally good ones are taken. "::" first, as ":" could be part of an id;
# blanks last, as they occur inside fields.
_SEPARATORS = ("::", "\t", ",", ";", "|", "\x01", " ", BLANKS)
_SHOWN = {"\t": "tab", "\x01": "\\x01", BLANKS: "blanks", " ": "space"}
# What stands for a missing number. Ids are never missing unless they are empty.
NULLS = frozenset(
    (
        *("", "NULL", "null", "Null", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-NaN", "-nan"),
        *("#N/A", "#N/A N/A", "#NA", "\\N", "None", "none", "?", "-"),
    )
)
_INTEGER = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SAMPLED_ROWS = 1000
# Quoted fields may go over several of them.
_SAMPLED_LINES = 2000
# A reading is possible if this share of the sampled rows has its number of fields. The rest are
# rows that cannot be read, which are errors of their own.
_REGULAR = 0.9
# Where no reading is: at least so many, so that the error names the rows that differ.
_MOSTLY_REGULAR = 0.5


@dataclass(frozen=True)
class TextOptions:
    """How a delimited text is laid out, as far as the user said it; None means: find out."""

    sep: str | None = None
    quote: str | None = None
    escape: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    comment: str | None = None
    header: bool | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Dialect:
    """How a delimited text is laid out.

    Attributes
    ----------
    sep : str
        What separates fields: any text, or `BLANKS`.
    quote, escape : str
        The character around fields, and the one before a quote inside them; "" is none. Without an
        escape, a quote inside a quoted field is doubled.
    decimal, thousands : str
        Decimal mark, and what groups digits ("" for nothing).
    comment : str
        Lines that begin with it are left out; "" is none.
    encoding : str
        As Python names it.
    header : bool
        Whether there is a line of names.
    begin, skip : int
        Lines before the first row, be it of names, and before the data.
    names : tuple of str
        The columns' names, or their positions.
    found : dict of str to int
        The position of each role.
    all_quoted : bool
        Whether some column has quotes around all of its fields in the sample.
    """

    sep: str
    quote: str
    escape: str
    decimal: str
    thousands: str
    comment: str
    encoding: str
    header: bool
    begin: int
    skip: int
    names: tuple[str, ...]
    found: Mapping[str, int]
    all_quoted: bool = False

    def describe(self) -> dict[str, str]:
        """Say it in words."""
        quoted = f"{self.quote} (escaped by {self.escape})" if self.escape else self.quote
        words = {
            "separator": _SHOWN.get(self.sep, self.sep),
            "quotes": quoted or "none",
            "header": "yes" if self.header else "no",
            "encoding": self.encoding,
        }
        if self.decimal != ".":
            words["decimal mark"] = self.decimal
        if self.thousands:
            words["thousands"] = self.thousands
        if self.comment:
            words["comments"] = f"lines that begin with {self.comment}"
        return words


class _Reading(NamedTuple):
    """One way to read the sample."""

    sep: str
    quote: str
    escape: str
    rows: list[list[str]]
    width: int
    # Whether the first row is one of names; where the roles are; whether both ids are integers.
    header: bool
    found: dict[str, int]
    decimal: str
    rank: tuple[bool, ...]

    @property
    def body(self) -> list[list[str]]:
        rows = self.rows[1:] if self.header else self.rows
        return [row for row in rows if len(row) == self.width]


# What is wrong with a way to read the sample, and how much it counts: blanks are in any title.
_Problem = tuple[tuple[bool, int], ValueError]


def judge(source: Source, wanted: Wanted, given: TextOptions) -> Dialect:
    """Find how a text is laid out.

    Raises
    ------
    ValueError
        If no layout fits, or more than one does: the text says which, and what picks one.
    """
    check_options(given)  # again: a format may have added some
    encoding = given.encoding or encoding_of(source.head)
    text = _decoded(source, encoding)
    comment = given.comment if given.comment is not None else _comment(text)
    text, skipped, hint = _without_comments(text, comment)
    if not text.strip():
        if source.is_whole:
            raise NothingThere("the file is empty")
        raise ValueError("the file begins with blanks")
    needed = [role for role in wanted if role != "timestamp"]
    sample, rest = _first_lines(text)
    reading = _chosen(sample, wanted, needed, given, is_cut=bool(rest) or not source.is_whole)
    names = [field.strip() for field in reading.rows[0]] if reading.header else None
    found = reading.found
    if names is None and hint is not None and given.header is None:
        # A commented line just before the data may name the columns.
        named = [field.strip() for field in split(hint, reading.sep, reading.quote)]
        if len(named) == reading.width and _known(named, wanted) >= 2:
            found = resolve_columns(named, wanted)
            names = named
    # Of a line of tabs, tabs are separators.
    blanks = " \t".replace(reading.sep, "")
    leading = re.match(rf"([{blanks}]*\n)*", text)
    blank = leading.end() if leading else 0
    begin = skip = skipped + text[:blank].count("\n")
    if reading.header:
        skip += _lines_of_first_row(text[blank:], reading)
    return Dialect(
        sep=reading.sep,
        quote=reading.quote,
        escape=reading.escape,
        decimal=given.decimal or reading.decimal,
        thousands=given.thousands or "",
        comment=comment,
        encoding=encoding,
        header=reading.header,
        begin=begin,
        skip=skip,
        names=tuple(names or (str(at) for at in range(reading.width))),
        found=found,
        all_quoted=bool(reading.quote)
        and _has_quoted_column(_rows(sample, reading.sep, "", "")[reading.header :], reading.quote),
    )


def _has_quoted_column(rows: list[list[str]], mark: str) -> bool:
    """Whether some column has quotes around all of its fields."""
    if not rows:
        return False
    width = Counter(map(len, rows)).most_common(1)[0][0]
    columns = zip(*(row for row in rows if len(row) == width), strict=True)
    return any(
        all(len(field) > 1 and field[0] == field[-1] == mark for field in column)
        for column in columns
    )


def split(line: str, sep: str, quote: str = "") -> list[str]:
    """Split one line into fields."""
    rows = _rows(line, sep, quote, "")
    return rows[0] if rows else []


def parse_number(text: str, decimal: str = ".", thousands: str = "") -> float | None:
    """Read a number as the reader of files does; None if it is none."""
    text = text.strip()
    if thousands:
        text = text.replace(thousands, "")
    if decimal != ".":
        text = text.replace(".", " ").replace(decimal, ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def check_options(given: TextOptions) -> None:
    """Raise ValueError unless the options of a text can be, each and together."""
    sep = given.sep
    if sep is not None and (not sep or any(c in '"\r\n\0' for c in sep)):
        raise ValueError(
            f"{option('sep')} is {sep!r:.80}; it must be the text between two fields, without quotes "
            f"and line ends, or {BLANKS!r} for any run of blanks"
        )
    for name in ("quote", "escape", "decimal", "thousands"):
        value = getattr(given, name)
        if value is not None and (len(value) > 1 or value in ("\r", "\n", "\0")):
            raise ValueError(
                f"{option(name)} is {value!r:.80}; it must be one character, or empty for none"
            )
        if value and not value.isascii() and name in ("quote", "escape"):
            raise ValueError(f"{option(name)} is {value!r:.80}; it must be an ASCII character")
    if given.comment and any(end in given.comment for end in "\r\n"):
        raise ValueError(
            f"{option('comment')} is {given.comment!r:.80}; it must be how a line begins that is left out"
        )
    if given.decimal == "" or (given.decimal or "").isalnum():
        raise ValueError(
            f"{option('decimal')} is {given.decimal!r:.80}; it must be a mark, as in '.'"
        )
    if given.thousands and given.thousands == (given.decimal or "."):
        raise ValueError(
            f"{option('thousands')} is {given.thousands!r:.80}, which is the decimal mark too: pass "
            f"{option('decimal', ',' if given.thousands == '.' else '.')}"
        )
    if given.quote and given.sep and given.quote in given.sep:
        raise ValueError(
            f"{option('quote')} is {given.quote!r:.80}, which is in {option('sep')} too"
        )
    if given.encoding is not None:
        try:
            "".encode(given.encoding)
            io.TextIOWrapper(io.BytesIO(), given.encoding)
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"{option('encoding')} is {given.encoding!r:.80}, which Python does not know as an encoding "
                "of text"
            ) from error


def encoding_of(head: bytes) -> str:
    """The encoding that a text's first bytes tell, else UTF-8."""
    # A mark of UTF-8 is no text, whoever reads it.
    return "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"


def _decoded(source: Source, encoding: str) -> str:
    """The whole lines of the file's beginning."""
    decoder = io.TextIOWrapper(io.BytesIO(source.head), encoding, newline="")
    parts = []
    try:
        while part := decoder.read(1 << 14):
            parts.append(part)
    except UnicodeDecodeError as error:
        # Perhaps only the last character is cut.
        if source.is_whole or error.end < len(error.object) or len(error.object) - error.start > 3:
            raise ValueError(f"the text is not {encoding}: {error}") from error
    text = "".join(parts).lstrip("\ufeff")
    if not source.is_whole:
        end = max(text.rfind("\n"), text.rfind("\r"))
        if end < 0:
            raise ValueError("the first line is longer than 256 KiB: this is no table of ratings")
        text = text[: end + 1]
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _comment(text: str) -> str:
    excel = re.match(r'"?sep=', text)
    if excel:
        # A line for Excel, which says its separator. It is found by the rows too.
        return excel[0]
    first = text.lstrip("\n")[:1]
    if first not in ("#", "%"):
        return ""
    lines = [line for line in text.split("\n") if line]
    # A file whose every line begins so has fields that do.
    return first if any(not line.startswith(first) for line in lines) else ""


def _without_comments(text: str, comment: str) -> tuple[str, int, str | None]:
    """Text without comment lines, how many lead the file (blank lines too), and the last of those."""
    if not comment:
        return text, 0, None
    lines = text.split("\n")
    at, hint = 0, None
    while at < len(lines) and (not lines[at] or lines[at].startswith(comment)):
        if lines[at]:
            hint = lines[at].lstrip(comment).strip()
        at += 1
    rest = [line for line in lines[at:] if not line.startswith(comment)]
    return "\n".join(rest), at, hint


def _first_lines(text: str) -> tuple[str, str]:
    """The lines that are looked at, and the others."""
    end = 0
    for _ in range(_SAMPLED_LINES):
        end = text.find("\n", end) + 1
        if not end:
            return text, ""
    return text[:end], text[end:]


def _rows(text: str, sep: str, quote: str, escape: str) -> list[list[str]]:
    """Split text into rows of fields, blank lines left out."""
    if sep == BLANKS:
        text = re.sub(r"[ \t]+", "\t", re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text))
        sep = "\t"
    if not quote:
        fields = (line.split(sep) for line in text.split("\n") if line)
        return list(islice((row for row in fields if not is_blank_row(row)), _SAMPLED_ROWS))
    rows = []
    written = sep
    if len(sep) > 1:
        # csv takes one character; a control character stands for it.
        text = text.replace("\x1f", "\x1e").replace(sep, "\x1f")
        sep = "\x1f"
    try:
        for row in _csv_reader(text, sep, quote, escape):
            if row and not is_blank_row(row):
                rows.append([field.replace(sep, written) for field in row])
            if len(rows) == _SAMPLED_ROWS:
                break
    except csv.Error:
        # A field beyond csv's limit: an unclosed quote.
        return []
    return rows


def is_blank_row(row: list[str]) -> bool:
    """Whether a row is a line of blanks, which is left out as an empty line is."""
    return len(row) == 1 and not row[0].strip(" \t")


def _lines_of_first_row(text: str, reading: _Reading) -> int:
    """How many lines the first row takes: a quoted name may hold a line end."""
    if not reading.quote or len(reading.sep) > 1:
        return 1
    reader = _csv_reader(text, reading.sep, reading.quote, reading.escape)
    next(reader)
    return int(reader.line_num)


def _csv_reader(text: str, sep: str, quote: str, escape: str) -> Any:
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=sep,
        quotechar=quote,
        doublequote=not escape,
        escapechar=escape or None,
    )


def _known(fields: Sequence[str], wanted: Wanted) -> int:
    return sum(find_common(fields, role) is not None for role in wanted)


def _chosen(
    text: str, wanted: Wanted, needed: list[str], given: TextOptions, *, is_cut: bool
) -> _Reading:
    """Pick the one reading of the sample that is best, or say why there is none or are several."""
    problems: list[_Problem] = []
    readings: list[_Reading] = []
    for regular in (_REGULAR, _MOSTLY_REGULAR):
        if not readings and not problems:
            readings = _readings(text, wanted, needed, given, regular, problems, is_cut=is_cut)
    if not readings:
        raise _no_reading(text, needed, problems)
    best = max(reading.rank for reading in readings)
    told = [problem for problem in problems if problem[0][0]]
    if told and not best[0] and all(_is_blank(reading.sep) for reading in readings):
        raise _no_reading(text, needed, told)
    first, *others = [reading for reading in readings if reading.rank == best]
    for other in others:
        if _is_blank(other.sep) and not _is_blank(first.sep):
            continue
        if other.body != first.body:
            raise ValueError(_two_readings(first, other))
    return first


def _readings(
    text: str,
    wanted: Wanted,
    needed: list[str],
    given: TextOptions,
    regular: float,
    problems: list[_Problem],
    *,
    is_cut: bool,
) -> list[_Reading]:
    """The ways to read the sample, and what is wrong with others that have enough columns."""
    readings = []
    for sep in _SEPARATORS if given.sep is None else (given.sep,):
        quote, escape = _quotes(text, sep, given, is_cut=is_cut)
        rows = _rows(text, sep, quote, escape)
        if quote and given.quote is None and not _fits(rows, len(needed), regular):
            # A quote that does not close swallows rows. The whole file is looked at for that.
            plain = _rows(text, sep, "", "")
            if _fits(plain, len(needed), regular):
                rows, quote, escape = plain, "", ""
        if not rows or (given.sep is None and not _fits(rows, len(needed), regular)):
            continue
        try:
            readings.append(_read_as(sep, (quote, escape), rows, wanted, needed, given))
        except ValueError as error:
            problems.append(((not _is_blank(sep), len(rows[0])), error))
    return readings


def _quotes(text: str, sep: str, given: TextOptions, *, is_cut: bool) -> tuple[str, str]:
    """The quote and the escape of the sample, as far as it tells."""
    if given.quote == "" or (sep == BLANKS and given.quote is None):
        return "", ""
    if given.escape:
        return given.quote or '"', given.escape
    mark = given.quote or '"'
    if mark not in text:
        return "", ""
    plain = _rows(text, sep, "", "")
    quoted = _has_quoted_column(plain[1:] or plain, mark)
    try:
        return find_quotes(
            lambda: [text.encode()], sep, given.quote, all_quoted=quoted, is_cut=is_cut
        )
    except ValueError:
        # The whole file is looked at before it is read, and the error knows the line then.
        return mark, ""


def _is_blank(sep: str) -> bool:
    return sep in (" ", BLANKS)


def _fits(rows: list[list[str]], n_needed: int, regular: float) -> bool:
    """Whether so large a share of the rows has one width, which is enough."""
    if not rows:
        return False
    width, count = Counter(map(len, rows)).most_common(1)[0]
    return width >= max(n_needed, 2) and count >= regular * len(rows)


def _read_as(
    sep: str,
    quotes: tuple[str, str],
    rows: list[list[str]],
    wanted: Wanted,
    needed: list[str],
    given: TextOptions,
) -> _Reading:
    first = [field.strip() for field in rows[0]]
    body = rows[1:] or rows
    width = Counter(map(len, rows)).most_common(1)[0][0]
    if len(first) < len(needed):
        line = sep.join(rows[0])
        raise ValueError(
            f"the first line {line!r:.80} has {len(first)} field(s) separated by {sep!r:.80}, but "
            f"columns for {', '.join(needed)} are needed: check the file or pass "
            f"{option('sep', ',' if sep != ',' else ';')}"
        )
    by_name = [name for name in wanted.values() if isinstance(name, str)]
    if by_name and given.header is False:
        raise ValueError(
            f"{option('header', False)} leaves no column named {by_name[0]!r}: pass its position"
        )
    header = given.header
    if header is None:
        header = bool(by_name) or _is_header(first, body, wanted)
    if not header and len(first) != width:
        # A row that cannot be read says nothing of the columns.
        first = next(row for row in rows if len(row) == width)
    found = resolve_columns(first, wanted, named=header)
    regular = [row for row in (rows[1:] if header else rows) if len(row) == width]
    if header and len(first) != width:
        first = _names_for(first, regular, width)
        found = resolve_columns(first, wanted)
        rows = [first, *rows[1:]]
    if header:
        refuse_repeated(first, found, wanted)
        found = with_times(first, found, wanted, lambda at: _hold_times(regular, at, given))
    _check_counter(first, regular, found, wanted, header=header)
    if not (header and _known(first, wanted)):
        _check_times(regular, found, wanted)
    decimal = given.decimal or "."
    if "rating" in found and given.decimal is None and given.thousands is None:
        decimal = _decimal([row[found["rating"]] for row in regular], sep)
    ids = [[row[found[role]] for row in regular] for role in ("user", "item")]
    integers = all(_INTEGER.fullmatch(text.strip()) for column in ids for text in column)
    numbers = True
    if "rating" in found:
        thousands = given.thousands or ""
        read = [
            text.strip() in NULLS or parse_number(text, decimal, thousands) is not None
            for text in (row[found["rating"]] for row in regular)
        ]
        numbers = sum(read) >= _REGULAR * len(read) if read else True
    fields = {field for column in ids for field in column}
    clean = not any(
        other in field for field in fields for other in ("::", "\t", ",", ";", "|") if other != sep
    )
    known = header and _known(first, wanted) >= 2
    even = all(len(row) == width for row in body)
    rank = (numbers, known, integers, clean, even, not _is_blank(sep))
    return _Reading(sep, *quotes, rows, width, header, found, decimal, rank)


def _hold_times(rows: list[list[str]], at: int, given: TextOptions) -> bool:
    thousands = given.thousands or ""
    texts = (row[at] for row in rows)
    return any(
        is_date(text.strip())
        or any(parse_number(text, mark, thousands) is not None for mark in ".,")
        for text in texts
    )


def _is_header(first: list[str], body: list[list[str]], wanted: Wanted) -> bool:
    """Whether the first row holds names."""
    known = _known(first, wanted)
    if len(first) > 2 and not first[0] and first[1:] == [str(at) for at in range(len(first) - 1)]:
        # pandas writes an index without a name, and columns without names by their positions.
        return True
    if "rating" not in wanted:
        # Ids may be any text, so only a known name tells.
        return known > 0
    at = wanted["rating"] if isinstance(wanted["rating"], int) else 2
    rating = first[min(at, len(first) - 1)]
    if parse_number(rating) is not None or parse_number(rating, ",") is not None:
        return known > 2 or _names_numbers(first, body, wanted)
    if rating in NULLS:
        return known > 1
    if known:
        return True
    if any(c.isdigit() for c in rating) or rating.lower().lstrip("+-") in ("inf", "infinity"):
        # A rating that cannot be read, which is to be reported: "4*" is no name.
        return False
    # Some column has a word above numbers.
    below = [row for row in body if row is not first and len(row) == len(first)]
    return bool(below) and any(
        not any(c.isdigit() for c in name)
        and all(
            parse_number(row[at]) is not None or parse_number(row[at], ",") is not None
            for row in below
        )
        for at, name in enumerate(first)
        if name
    )


def _names_numbers(first: list[str], body: list[list[str]], wanted: Wanted) -> bool:
    """Whether a known name stands above integers, as in a table of users x items."""
    below = [row for row in body if row is not first]
    for role in wanted:
        at = find_common(first, role)
        if at is not None and below:
            return all(len(row) > at and _INTEGER.fullmatch(row[at].strip()) for row in below)
    return False


def _names_for(first: list[str], rows: list[list[str]], width: int) -> list[str]:
    """Names for all columns, where the first line has fewer or more fields than the others."""
    if width == len(first) + 1:
        # R's write.table names no column of row names; some programs end each row by a separator.
        if all(not row[-1].strip() for row in rows):
            return [*first, ""]
        # The names of rows differ from each other; else some field holds a separator.
        if len({row[0] for row in rows}) == len(rows):
            return ["", *first]
    raise ValueError(
        f"the first line has {len(first)} names, but most rows have {width} fields: mend the first "
        f"line, or pass {option('header', False)} if it holds a rating"
    )


def _check_counter(
    first: list[str],
    rows: list[list[str]],
    found: Mapping[str, int],
    wanted: Wanted,
    *,
    header: bool,
) -> None:
    """Refuse a leading column that counts the rows and was taken by its position."""
    guessed = all(key is None for key in wanted.values())
    if not guessed or len(first) < 4 or found.get("user") != 0 or len(rows) < 4:
        return
    if header and _known(first, {role: None for role in ("user", "item")}):
        return
    counted = [row[0].strip() for row in rows]
    if not all(_INTEGER.fullmatch(text) for text in counted):
        return
    numbers = [int(text) for text in counted]
    if numbers[0] in (0, 1) and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
        raise ValueError(
            f"cannot tell which columns hold the ratings: the first of {len(first)} columns counts "
            f"the rows ({', '.join(counted[:3])}, ...). If it is a counter, pass "
            f"{options({'user': 1, 'item': 2, 'rating': 3})}; if each row is of another user, pass "
            f"{options({'user': 0, 'item': 1, 'rating': 2})}"
        )


def _are_times(texts: list[str]) -> bool:
    if not all(_INTEGER.fullmatch(text) for text in texts):
        return False
    numbers = [int(text) for text in texts]
    return unit_of_time(min(numbers), max(numbers)) in ("seconds", "milliseconds")


def _check_times(rows: list[list[str]], found: Mapping[str, int], wanted: Wanted) -> None:
    """Refuse times in a column that was taken by its position for another role."""
    if any(key is not None for key in wanted.values()) or not rows:
        return
    roles = [role for role in wanted if role in found and role != "timestamp"]
    if [found[role] for role in roles] != list(range(len(roles))) or len(rows[0]) <= len(roles):
        return
    columns = [[row[at].strip() for row in rows] for at in range(len(roles) + 1)]
    timed = [_are_times(column) for column in columns]
    if sum(timed) != 1 or timed[-1]:
        return
    numbers = [
        parse_number(text) is not None or parse_number(text, ",") is not None
        for text in columns[-1]
    ]
    if "rating" in roles and not all(numbers):
        return
    time_at = timed.index(True)
    others = [at for at in range(len(columns)) if at != time_at]
    fixed = dict(zip(roles, others, strict=True))
    if "timestamp" in wanted:
        # With it, all of the columns are told.
        fixed = {role: at for role, at in fixed.items() if at != found[role]}
        fixed["timestamp"] = time_at
    raise ValueError(
        f"cannot tell which columns hold what: by its place {columns[time_at][0]} is the "
        f"{roles[time_at]}, but all of the column looks like times since 1970. If they are times, "
        f"pass {options(fixed)}; else {options({role: found[role] for role in roles})}"
    )


def _decimal(texts: list[str], sep: str) -> str:
    """The decimal mark of a column of ratings."""
    if sep == "," and not any("," in text for text in texts):
        return "."
    commas = [text.strip() for text in texts if "," in text]
    if not commas or any("." in text for text in texts):
        return "."
    if any(not re.fullmatch(r"[+-]?\d*,\d*", text) for text in commas):
        return "."
    if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text) for text in commas):
        raise ValueError(
            f"the rating {commas[0]!r} can be read in two ways: pass {option('decimal', ',')} or "
            f"{option('thousands', ',')}"
        )
    return ","


def _no_reading(text: str, needed: list[str], problems: list[_Problem]) -> ValueError:
    if problems:
        # What the reading of the most columns says.
        return max(problems, key=lambda problem: problem[0])[1]
    line = text.lstrip("\n").split("\n", 1)[0]
    widths = {sep: len(row) for sep in _SEPARATORS for row in _rows(line, sep, "", "")[:1]}
    sep = max(widths, key=lambda each: widths[each])
    if widths[sep] >= len(needed):
        return ValueError(
            f"the rows differ in their number of fields, whatever separates them; the first line is "
            f"{line!r:.80}: pass {option('sep', sep)} to see which rows do, and "
            f"{option('on_error', 'skip')} too to leave them out"
        )
    if widths[sep] > 1:
        return ValueError(
            f"the first line {line!r:.80} has {widths[sep]} field(s) separated by {sep!r:.80}, but "
            f"columns for {', '.join(needed)} are needed: check the file or pass {option('sep')}"
        )
    return ValueError(
        f"no separator found in the first line {line!r:.80}: pass {option('sep')} (or "
        f"{option('format')} if this is no text file)"
    )


def _two_readings(first: _Reading, other: _Reading) -> str:
    shown = " or ".join(
        f"{' | '.join((reading.body or reading.rows)[0])!r:.60} with {option('sep', reading.sep)}"
        for reading in (first, other)
    )
    return (
        f"the text can be read in two ways, by its first row: {shown}; pass the one that is right"
    )
