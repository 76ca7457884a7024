"""Checks of what users type, in one wording: ``name is value; it must be ...``."""

from __future__ import annotations

import numbers
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = [
    "as_float",
    "check_choice",
    "check_count",
    "check_flag",
    "check_number",
    "check_sides",
    "in_words_of",
    "is_number",
    "option",
    "options",
    "renamed_words",
    "shell_words",
    "warn",
    "where_typed",
]

_INT32_MAX = 2**31 - 1
# What stands between a user's line and a warning: scikit-learn wraps `fit`.
_BETWEEN = {__name__.partition(".")[0], "sklearn", "contextlib"}
# Options whose names differ from the arguments of Python. The roles of columns: --user is an id for
# some commands.
_FLAGS = {
    **{role: f"{role}-column" for role in ("user", "item", "rating", "timestamp")},
    "by": "test-by",
    "early_stopping": "patience",
    "init": "init-scale",
    "n": "n-items",
    "random_state": "seed",
}
# None: errors are for Python.
_flags: ContextVar[dict[str, str] | None] = ContextVar("flags", default=None)
_renamed: ContextVar[dict[str, str]] = ContextVar("renamed", default={})  # noqa: B039 - replaced, never changed


@contextmanager
def shell_words(**flags: str) -> Iterator[None]:
    """Make errors name the options of the command line in place of Python's arguments.

    Parameters
    ----------
    **flags : str
        Options of one command whose names differ from those that they have elsewhere, such as
        ``format="input-format"``.
    """
    token = _flags.set((_flags.get() or _FLAGS) | flags)
    try:
        yield
    finally:
        _flags.reset(token)


@contextmanager
def renamed_words(**names: str) -> Iterator[None]:
    """Make errors name the arguments of a function whose names differ from what it calls.

    Parameters
    ----------
    **names : str
        The arguments by the names that they have in what is called, such as ``user="id"``.
    """
    token = _renamed.set(_renamed.get() | names)
    try:
        yield
    finally:
        _renamed.reset(token)


def option(name: str, value: Any = None) -> str:
    """Return an argument in the words of where it was typed, with a value to pass or without.

    In Python ``sep`` and ``sep=';'``; on the command line ``--sep`` and ``--sep ';'``.
    """
    flags = _flags.get()
    if flags is None:
        name = _renamed.get().get(name, name)
        return name if value is None else f"{name}={value!r:.200}"
    flag = f"--{flags.get(name, name).replace('_', '-')}"
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    if value is None:
        return flag
    text = str(value)[:200].replace("\t", "\\t")
    return f"{flag} {shlex.quote(text)}"


def options(values: Mapping[str, Any]) -> str:
    """Return several arguments to pass, in the words of where they are typed."""
    told = (option(name, value) for name, value in values.items())
    return where_typed(", ", " ").join(told)


def where_typed(python: str, shell: str) -> str:
    """Return words for Python or for the command line, whichever is in use."""
    return python if _flags.get() is None else shell


def in_words_of(names: Iterable[str], text: str) -> str:
    """Put the options of the command line in the place of arguments that a text speaks of.

    It is for texts of the core, which knows no command line and no data of the user.

    Parameters
    ----------
    names : iterable of str
        The arguments.
    text : str
        Such as ``"reg is -1; it must be at least 0"``. A name that is also a word, such as "loss",
        counts as an argument where "=" or " is " comes after it.
    """
    if _flags.get() is None:
        return text
    either = "|".join(sorted(map(re.escape, names), key=len, reverse=True))
    passed = re.compile(rf"\b({either})=(?:'(\w+)'|(\w+))")
    named = re.compile(rf"(?<![\w-])({either})\b( is |\.users|\.items)?")

    def pass_it(found: re.Match[str]) -> str:
        value = {"True": True, "False": False}.get(found[3], found[2] or found[3])
        return option(found[1], value)

    def name_it(found: re.Match[str]) -> str:
        is_word = "_" not in found[1] and len(found[1]) > 3
        return found[0] if is_word and not found[2] else option(found[1]) + (found[2] or "")

    return named.sub(name_it, passed.sub(pass_it, text))


def is_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_count(name: str, value: Any, low: int, high: int = _INT32_MAX) -> int:
    """Return an integer; raise ValueError unless it is one from `low` to `high`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"{option(name)} is {value!r:.80}; it must be an integer")
    count = int(value)
    if not low <= count <= high:
        limited = high < _INT32_MAX or count > high
        limit = f"from {low} to {high}" if limited else f"at least {low}"
        raise ValueError(f"{option(name)} is {count}; it must be {limit}")
    return count


def as_float(name: str, value: Any) -> float:
    """Return a real number as a float; raise ValueError for one beyond its range."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(
            f"{option(name)} is {value!r:.40}; it must be within the range of a float, about 1.8e308"
        ) from None


def check_number(name: str, value: Any) -> float:
    """Return a number as a float; raise ValueError unless it is one."""
    if not is_number(value):
        raise ValueError(f"{option(name)} is {value!r:.80}; it must be a number")
    return as_float(name, value)


def check_sides(name: str, value: Any) -> tuple[float, float]:
    """Return a number for each side; raise ValueError unless it is a number or two of them."""
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sides) != 2 or not all(is_number(side) for side in sides):
        raise ValueError(
            f"{option(name)} is {value!r:.80}; it must be a number, or a pair of them (users, items)"
        )
    return as_float(name, sides[0]), as_float(name, sides[1])


def check_flag(name: str, value: Any) -> bool:
    """Return a flag; raise ValueError unless it is True or False."""
    # Not imported above: --help need not wait for NumPy.
    import numpy as np

    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{option(name)} is {value!r:.80}; it must be True or False")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str], also: str = "") -> str:
    """Return a name; raise ValueError unless it is one of the choices.

    `also` is appended to the error: what else would do.
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        *others, last = map(repr, allowed)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{option(name)} is {value!r:.80}; it must be {listed}{also}")
    return value


def warn(text: str) -> None:
    """Warn of what a user can mend, at the user's line that led here."""
    import inspect  # not above: --help need not wait for it

    frame, level = inspect.currentframe(), 1
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)
