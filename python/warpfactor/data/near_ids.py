"""Ids that exist and are like one that does not, for error messages."""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_python", "nearest_ids", "other_spellings", "suggestion"]

# A vocabulary may have millions of ids, and services catch errors about unknown ones: so only the
# sorted neighbours of a text and of its other spellings are compared with it.
_NEIGHBOURS = 25
_LONGEST = 64
_PADDED_WIDTHS = range(2, 21)


def nearest_ids(ids: NDArray[Any], value: Any, n: int = 3) -> list[Any]:
    """Find the ids of a vocabulary that are most like a value.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,)
        A vocabulary, as `encode_ids` returns it.
    value : int, float, str or uuid.UUID
        What was asked for, of any kind.
    n : int, default 3
        At most how many.

    Returns
    -------
    list of int, str or uuid.UUID
        First those of `other_spellings`; then integers by their distance, and texts by
        `difflib.get_close_matches` among their neighbours in the order of the vocabulary. Empty if
        nothing is like the value.
    """
    near = other_spellings(ids, value)
    if len(near) < n and len(ids):
        near += [each for each in _alike(ids, value, n) if each not in near]
    return near[:n]


def other_spellings(ids: NDArray[Any], value: Any) -> list[Any]:
    """Find the ids that a value stands for, but for how it is written.

    Blanks around it, upper and lower case, zeros in front, ".0" at the end and the kind (7 or "7")
    make no difference, nor does how a UUID is written.
    """
    if not len(ids):
        return []
    if ids.dtype != object:
        number = _number(value)
        if number is None or number != int(number) or not _contains(ids, int(number)):
            return []
        return [int(number)]
    if isinstance(ids[0], UUID):
        uuid = _uuid(value)
        return [uuid] if uuid is not None and _contains(ids, uuid) else []
    plain = _plain(str(value))
    return [each for each in _candidates(ids, str(value)) if _plain(each) == plain]


def suggestion(
    ids: NDArray[Any], value: Any, plural: str = "ids", show: Callable[[Any], str] | None = None
) -> str:
    """Say in an error message which ids there are in place of one that there is not.

    Parameters
    ----------
    ids : ndarray of shape (n_ids,)
        A vocabulary.
    value : int, float, str or uuid.UUID
        What was asked for.
    plural : str, default "ids"
        What the ids are called.
    show : callable, optional
        How to write an id; the default is Python's way.
    """
    show = show or as_python
    near = nearest_ids(ids, value)
    if len(near) == 1:
        return f"the nearest is {show(near[0])}"
    if near:
        return f"the nearest are {', '.join(map(show, near))}"
    if not len(ids):
        return f"there are no {plural}"
    return f"none is like it; {plural} that exist are {', '.join(map(show, ids[:3].tolist()))}"


# Of what errors repeat; nobody reads more.
_LONGEST = 200


def as_python(value: Any) -> str:
    """Write an id as Python's code does."""
    if isinstance(value, UUID):
        return f"uuid.UUID('{value}')"
    written = repr(value.item() if isinstance(value, np.generic) else value)
    return written if len(written) <= _LONGEST else f"{written[:_LONGEST]}..."


def _alike(ids: NDArray[Any], value: Any, n: int) -> list[Any]:
    if ids.dtype != object:
        number = _number(value)
        if number is None:
            return []
        at = bisect_left(ids, number)
        around = ids[max(at - n, 0) : at + n].tolist()
        return sorted(around, key=lambda each: (abs(each - number), each))[:n]
    text = str(value)
    if not isinstance(ids[0], UUID):
        return _close(text, _candidates(ids, text), n)
    digits = re.sub("[^0-9a-f]", "", text.casefold())[:32]
    if not digits:
        return []
    at = bisect_left(ids, UUID(hex=digits.ljust(32, "0")))
    around = {str(each): each for each in ids[max(at - _NEIGHBOURS, 0) : at + _NEIGHBOURS]}
    written = str(_uuid(value) or text.casefold())
    return [around[each] for each in _close(written, list(around), n)]


def _close(text: str, candidates: list[str], n: int) -> list[str]:
    # What difflib does grows with the product of the lengths.
    cut: dict[str, str] = {}
    for each in candidates:
        cut.setdefault(each[:_LONGEST], each)
    return [cut[each] for each in difflib.get_close_matches(text[:_LONGEST], cut, n)]


def _candidates(ids: NDArray[Any], text: str) -> list[str]:
    """Collect the neighbours of a text, and the ids next to its other spellings."""
    found: dict[str, None] = {}
    for width, spelling in _spellings(text):
        at = bisect_left(ids, spelling)
        found.update(dict.fromkeys(ids[max(at - width, 0) : at + width]))
    return list(found)


def _spellings(text: str) -> Iterator[tuple[int, str]]:
    """Yield ways to write an id, and how many neighbours of each are worth a look."""
    bare = text.strip()
    yield _NEIGHBOURS, text
    yield _NEIGHBOURS, bare
    plain = _plain(text)
    forms = [bare, plain, bare.lower(), bare.upper(), bare.title(), bare.capitalize()]
    if re.fullmatch("[0-9]+", plain):
        forms += [plain + ".0", *(plain.zfill(width) for width in _PADDED_WIDTHS)]
    for form in dict.fromkeys(forms):
        yield 2, form
        for blank in " \t\xa0":
            yield 2, blank + form
            yield 2, form + blank


def _plain(text: str) -> str:
    text = re.sub(r"\.0*$", "", text.strip().casefold())
    return re.sub(r"^0+(?=.)", "", text)


def _number(value: Any) -> int | float | None:
    if isinstance(value, (UUID, bytes)):
        return None
    try:
        return int(_plain(str(value)))
    except ValueError:
        pass
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _uuid(value: Any) -> UUID | None:
    try:
        return value if isinstance(value, UUID) else UUID(str(value).strip())
    except ValueError:
        return None


def _contains(ids: NDArray[Any], value: Any) -> bool:
    at = bisect_left(ids, value)
    return at < len(ids) and bool(ids[at] == value)
