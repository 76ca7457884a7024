"""What is done with one fuzzed input, and what must hold: the readers, and the model file.

An input of the readers is `HEADER` bytes that pick the options, and the content of the file. All
zeros are the defaults. An input of the model file is the file.
"""

from __future__ import annotations

import csv
import gc
import inspect
import io
import os
import re
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

import warpfactor as wf
from warpfactor.data import files
from warpfactor.data.formats import rewrite, source
from warpfactor.data.formats.table import FORMATS
from warpfactor.formulas import losses

__all__ = [
    "CHOICES",
    "HEADER",
    "SUFFIXES",
    "Finding",
    "encode",
    "load_model",
    "read_file",
    "train_formula",
]

SUFFIXES = tuple(
    dict.fromkeys(
        (
            *(".csv", "", ".tsv", ".dat", ".data", ".txt", ".inter", ".gz", ".zip", ".xz", ".bz2"),
            *(".zst", ".lz4", ".jsonl", ".json", ".mtx", ".pkl", ".csv.gz"),
            *(suffix for format in FORMATS.values() for suffix in format.suffixes),
        )
    )
)
# Each option with what a byte of the header picks, by its remainder. The first is the default.
CHOICES: dict[str, tuple[Any, ...]] = {
    "function": ("read_ratings", "read_pairs", "plain", "peek"),
    "suffix": SUFFIXES,
    "format": (None, *FORMATS),
    "sep": (None, ",", "\t", "::", r"\s+", ";", "|", " ", "||", "\x01", "é", ".", "a", "\\"),
    "quote": (None, "", '"', "'", "|", "\\", "1", ","),
    "escape": (None, "", "\\", '"', "^", "1"),
    "decimal": (None, ".", ",", "·", "-"),
    "thousands": (None, "", ",", ".", " ", "'", "1"),
    "comment": (None, "", "#", "%", "//", "1", '"', "\n"),
    "header": (None, True, False),
    "encoding": (
        *(None, "utf-8", "latin-1", "utf-16", "utf-8-sig", "cp1252", "utf-16-le", "utf-32"),
        *("shift_jis", "utf-7", "utf_8", "ascii", "cp037", "idna", "punycode", "hex", "rot13"),
        *("raw_unicode_escape", "undefined", "iso2022_jp", "no-such", "", "\0"),
    ),
    "ids": ("auto", "str", "int", "uuid", ("str", "int"), ("int", "auto")),
    "strip": (False, True),
    "on_error": ("raise", "skip"),
    "columns": (
        {},
        {"user": 0, "item": 1, "rating": 2},
        {"user": "user", "item": "item", "rating": "rating"},
        {"user": 1, "item": 0, "rating": 2, "timestamp": 3},
        {"rating": 3},
        {"user": 2, "timestamp": 0},
        {"item": "item", "timestamp": "timestamp"},
        {"user": -1},
        {"user": 99},
        {"user": ""},
        {"user": 0, "item": 0},
    ),
    "member": (None, "ratings.csv", "u.data", "", "no-such"),
    # Bytes that are read at a time, and those of the sample: what a small file does not reach.
    "block": (None, 7, 16, 64),
    "head": (None, 16, 64, 512),
}
HEADER = 20
# How errors about an argument, and not the file, begin.
_ABOUT_ARGUMENT = re.compile(rf"({'|'.join([*CHOICES, 'path', 'user', 'item', 'rating'])})\b")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_LONGEST_MESSAGE = 4000
_LARGEST = 1 << 22


class Finding(Exception):
    """Something that must not happen, which is no exception of the package."""


class _Files:
    """A folder in memory where there is one, and one open file's worth of names in it."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self._folder = tempfile.TemporaryDirectory(
            prefix="warpfactor-fuzz-", dir=memory if memory.is_dir() else None
        )
        self.path = Path(self._folder.name)

    @contextmanager
    def holding(self, content: bytes, name: str) -> Iterator[Path]:
        path = self.path / name
        path.write_bytes(content)
        try:
            yield path
        finally:
            path.unlink()
            if any(self.path.iterdir()):
                left = [each.name for each in self.path.iterdir()]
                for each in self.path.iterdir():
                    each.unlink()
                raise Finding(f"left files behind: {left}")


_FILES = _Files()


def encode(content: bytes, **options: Any) -> bytes:
    """Make an input of the readers of a file's content and options."""
    header = bytearray(HEADER)
    for at, (name, choices) in enumerate(CHOICES.items()):
        if name in options:
            header[at] = choices.index(options[name])
    return bytes(header) + content


def decode(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Take an input of the readers apart."""
    header = data[:HEADER].ljust(HEADER, b"\0")
    options = {
        name: choices[header[at] % len(choices)]
        for at, (name, choices) in enumerate(CHOICES.items())
    }
    return options, data[HEADER:]


def read_file(data: bytes) -> None:
    """Read a fuzzed file, and raise whatever must not come of it."""
    options, content = decode(data)
    function, suffix = options.pop("function"), options.pop("suffix")
    block, head = options.pop("block"), options.pop("head")
    columns = options.pop("columns")
    with _watched(), _FILES.holding(content, f"input{suffix}") as path:
        if _is_bomb(path):
            return
        if function == "plain":
            _compare_with_csv(path, content, options["sep"], options["on_error"])
            return
        with _replaced(source, "_HEAD", head):
            first = _outcome(function, path, columns | options)
            if not isinstance(first, str) and zlib.crc32(content) % 8 == 0:
                # Twice takes twice the time.
                _compare(first, _outcome(function, path, columns | options), "read again")
            with _replaced(rewrite, "_BLOCK", block):
                if block:
                    _compare(first, _outcome(function, path, columns | options), "in blocks")
            if options["on_error"] == "skip" and isinstance(first, tuple):
                # Nothing is left out of a file that can be read whole.
                whole = _outcome(function, path, columns | options | {"on_error": "raise"})
                if isinstance(whole, tuple):
                    _compare(whole, first, "with on_error='skip'")


def load_model(data: bytes) -> None:
    """Load a fuzzed model and use it, and raise whatever must not come of it."""
    with _watched(), _FILES.holding(data, "model") as path:
        try:
            model = wf.load(path)
        except wf.ModelFileError as error:
            if str(path) not in str(error):
                raise Finding(f"an error that does not name the file: {error}") from error
            return
        _use(model, path)


def train_formula(data: bytes) -> None:
    """Derive a fuzzed formula, and raise whatever must not come of it."""
    # Below the fuzzer's own limit, and above what a formula of SymPy's may take.
    with _replaced(losses, "_MOST_SECONDS", 3.0), _watched():
        try:
            loss = losses.CustomLoss.from_text(data.decode("latin-1"))
            again = losses.CustomLoss.from_text(loss.to_text())
            if again != loss:
                raise Finding(f"is read back as another formula: {again}")
            found, slopes = loss.evaluate([1.0, 2.0, 5.0], [0.5, 2.0, 3.7])
        except ValueError as error:
            _accept(error, None)
            return
        # What is taken is finite from 0.5 to 5.
        if not (np.isfinite(found[:1]).all() and np.isfinite(slopes[:1]).all()):
            raise Finding(f"gives {found} and {slopes}")


def _use(model: Any, path: Path) -> None:
    users, items = model.user_ids_, model.item_ids_
    uses = [
        lambda: repr(model),
        lambda: model.get_params(),
        lambda: model.save(path),
    ]
    if len(users) and len(items):
        n = min(len(users), len(items), 5)
        pairs = np.empty((n + 1, 2), object)
        pairs[:n, 0], pairs[:n, 1] = users[:n], items[-n:]
        pairs[n] = users[0], items[0]
        uses += [
            lambda: model.predict(pairs),
            lambda: model.recommend(users[:5], n=3),
            lambda: model.recommend(users[:1], n=len(items)),
            lambda: model.similar_items(items[:2], n=2),
            lambda: model.history_ and model.loss_,
        ]
    for use in uses:
        try:
            with np.errstate(all="ignore"):
                use()
        except ValueError as error:
            _accept(error, None)


def _is_bomb(path: Path) -> bool:
    """Whether so much is packed in a file that it takes seconds, as that much text may."""
    with suppress(Exception), source.Source(path).open() as file:
        return len(file.read(_LARGEST)) == _LARGEST
    return False


# --- reading -----------------------------------------------------------------------------------


def _outcome(function: str, path: Path, options: dict[str, Any]) -> Any:
    """What reading gives: arrays, or the text of an error of the contract."""
    call = wf.peek if function == "peek" else getattr(files, function)
    # peek takes the options of read_ratings, which its signature does not list.
    known = inspect.signature(wf.read_ratings if function == "peek" else call).parameters
    taken = {name: value for name, value in options.items() if name in known}
    try:
        result = call(path, **taken)
    except ValueError as error:
        _accept(error, path)
        return str(error)
    if function == "peek":
        return str(result)
    if function == "read_pairs":
        users, items = result
        if len(users) != len(items) or not len(users):
            raise Finding(f"{len(users)} users and {len(items)} items")
        return users, items
    _check_ratings(result, taken)
    arrays = result.users, result.items, result.values, result.user_ids, result.item_ids
    return (*arrays, result.timestamps)


def _accept(error: ValueError, path: Path | None) -> None:
    """Raise an error on, unless it is one that the package words itself."""
    ours = type(error) is ValueError or type(error).__module__.startswith("warpfactor")
    if not ours:
        raise error
    text = str(error)
    if path is not None and not text.startswith(str(path)) and not _ABOUT_ARGUMENT.match(text):
        raise Finding(f"an error that names neither file nor argument: {text}") from error
    if len(text) > _LONGEST_MESSAGE:
        raise Finding(f"an error of {len(text)} characters: {text:.200}") from error


def _check_ratings(ratings: Any, options: dict[str, Any]) -> None:
    n = len(ratings.values)
    if not n or len(ratings.users) != n or len(ratings.items) != n:
        raise Finding(f"lengths {len(ratings.users)}, {len(ratings.items)}, {n}")
    if ratings.values.dtype != np.float32 or not np.isfinite(ratings.values).all():
        raise Finding(f"values are {ratings.values}")
    kinds = options["ids"] if isinstance(options["ids"], tuple) else (options["ids"],) * 2
    for side, kind in zip(("user", "item"), kinds, strict=True):
        codes, ids = getattr(ratings, f"{side}s"), getattr(ratings, f"{side}_ids")
        if codes.dtype != np.int32 or codes.min() < 0 or codes.max() >= len(ids):
            raise Finding(f"codes from {codes.min()} to {codes.max()} of {len(ids)} ids")
        if not all(a < b for a, b in pairwise(ids)):
            raise Finding(f"{side} ids are not sorted and distinct: {ids}")
        types = {"int": (np.integer,), "str": (str,), "uuid": (UUID,)}
        allowed = types.get(kind, (np.integer, str, UUID))
        if not all(isinstance(each, allowed) for each in ids):
            raise Finding(f"ids={kind!r} gives {ids!r}")
        for each in ids:
            if isinstance(each, str):
                each.encode()
                if options["strip"] and each != each.strip(" \t\xa0"):
                    raise Finding(f"strip={options['strip']} gives the id {each!r}")
    times = ratings.timestamps
    if times is not None and (len(times) != n or not np.isfinite(times).all()):
        raise Finding(f"timestamps are {times}")


def _compare(first: Any, second: Any, how: str) -> None:
    if isinstance(first, str) or isinstance(second, str):
        if isinstance(first, str) != isinstance(second, str):
            raise Finding(f"differs {how}: {first!r:.300} and {second!r:.300}")
        return
    for a, b in zip(first, second, strict=True):
        same = (a is None) == (b is None)
        if not same or (a is not None and (a.dtype != b.dtype or a.tolist() != b.tolist())):
            raise Finding(f"differs {how}: {a!r:.300} and {b!r:.300}")


def _compare_with_csv(path: Path, content: bytes, sep: str | None, on_error: str) -> None:
    """Read text of the simplest dialect, and compare with Python's csv module."""
    sep = sep if sep in (",", "\t", ";", "|") else ","
    rows = _by_csv(content, sep)
    if rows is None:
        return
    width, count = Counter(map(len, rows)).most_common(1)[0]
    header = _value(rows[0][2]) is None
    body = rows[1:] if header else rows
    # Whose number of fields is clear, and the names of which are.
    if width < 3 or 10 * count < 9 * len(rows) or (header and len(rows[0]) != width) or not body:
        return
    good = [row for row in body if len(row) == width and all(row[:2])]
    good = [row for row in good if _value(row[2]) is not None]
    if not good or (len(good) < len(body) and on_error == "raise"):
        return
    dialect = {"sep": sep, "quote": '"', "decimal": ".", "comment": "", "encoding": "utf-8"}
    columns = {"user": 0, "item": 1, "rating": 2}
    try:
        got = files.read_ratings(
            path, format="text", header=header, ids="str", on_error=on_error, **dialect, **columns
        )
    except ValueError as error:
        raise Finding(f"refuses what csv reads: {error}") from error
    users, items, numbers = (list(column) for column in list(zip(*good, strict=True))[:3])
    if list(got.user_ids[got.users]) != users or list(got.item_ids[got.items]) != items:
        raise Finding(f"ids differ from csv's: {got.user_ids[got.users]!r:.200} {users!r:.200}")
    values = np.array([_value(number) for number in numbers], np.float32)
    # Through float64, or directly: half a unit in the last place more or less.
    if not (np.abs(got.values - values) <= np.spacing(np.abs(values))).all():
        raise Finding(f"values differ from csv's: {got.values!r:.200} and {values!r:.200}")


def _by_csv(content: bytes, sep: str) -> list[list[str]] | None:
    """Rows of at least three fields at first, as csv reads them; None if it is not so plain."""
    if b"\0" in content or re.search(rb"\r(?!\n)", content):
        return None
    try:
        text = content.decode("utf-8-sig")
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=sep, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    # A quote that csv closes at the end of the file, and a mark within the text.
    if text.count('"') % 2 or "\ufeff" in text:
        return None
    rows = [row for row in rows if row]
    return rows if rows and len(rows[0]) >= 3 else None


def _value(text: str) -> np.float32 | None:
    """A rating; None if it is no number, or none of float32."""
    if not _NUMBER.fullmatch(text.strip(" \t")):
        return None
    with np.errstate(over="ignore"):
        value = np.float32(float(text.strip(" \t")))
    return value if np.isfinite(value) else None


# --- watching ----------------------------------------------------------------------------------


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    """Give a constant of a module another value, if there is one."""
    before = getattr(module, name)
    setattr(module, name, before if value is None else value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _watched() -> Iterator[None]:
    """Find warnings of other kinds than the package's own, files left open, lost errors."""
    lost: list[Any] = []
    before = sys.unraisablehook
    sys.unraisablehook = lost.append
    n_open = _n_open()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        sys.unraisablehook = before
    if _n_open() > n_open:
        # Perhaps a cycle, such as an error's traceback.
        gc.collect()
        if _n_open() > n_open:
            raise Finding(f"leaves {_n_open() - n_open} file(s) open")
    if lost:
        raise Finding(f"an error was lost: {lost[0].exc_value!r}")
    for warning in caught:
        if warning.category is not UserWarning:
            raise Finding(f"{warning.category.__name__}: {warning.message}")


def _n_open() -> int:
    """How many of the fuzzed files are open."""
    if sys.platform != "linux":
        return 0
    folder = "/proc/self/fd"
    with os.scandir(folder) as entries:
        links = [entry.path for entry in entries]
    n_open = 0
    for link in links:
        try:
            n_open += os.readlink(link).startswith(str(_FILES.path))
        except FileNotFoundError:  # the one that listed the folder
            continue
    return n_open
