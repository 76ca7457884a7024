"""Checks of what users type, in one wording: ``name is value; it must be ...``."""

from __future__ import annotations

import numbers
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

__all__ = [
    "check_choice",
    "check_count",
    "check_flag",
    "check_number",
    "check_sides",
    "is_number",
    "option",
    "shell_words",
]

_INT32_MAX = 2**31 - 1
_in_shell = ContextVar("in_shell", default=False)
# The roles of columns are arguments in Python; in the shell, --user is an id for some commands.
_SHELL_NAMES = {role: f"{role}-column" for role in ("user", "item", "rating", "timestamp")}


@contextmanager
def shell_words() -> Iterator[None]:
    """Make errors name the options of the command line in place of Python's arguments."""
    token = _in_shell.set(True)
    try:
        yield
    finally:
        _in_shell.reset(token)


def option(name: str, value: Any = None) -> str:
    """Return an argument in the words of where it was typed, with a value to pass or without.

    In Python ``sep`` and ``sep=';'``; on the command line ``--sep`` and ``--sep ';'``.
    """
    if not _in_shell.get():
        return name if value is None else f"{name}={value!r}"
    flag = f"--{_SHELL_NAMES.get(name, name).replace('_', '-')}"
    if isinstance(value, bool):
        return flag if value else flag.replace("--", "--no-", 1)
    if value is None:
        return flag
    text = str(value).replace("\t", "\\t")
    return f"{flag} {shlex.quote(text)}"


def is_number(value: Any) -> bool:
    """Whether a value is a real number; True and False are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_count(name: str, value: Any, low: int, high: int = _INT32_MAX) -> int:
    """Return an integer; raise ValueError unless it is one from `low` to `high`."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    count = int(value)
    if not low <= count <= high:
        limited = high < _INT32_MAX or count > high
        limit = f"from {low} to {high}" if limited else f"at least {low}"
        raise ValueError(f"{name} is {count}; it must be {limit}")
    return count


def check_number(name: str, value: Any) -> float:
    """Return a number as a float; raise ValueError unless it is one."""
    if not is_number(value):
        raise ValueError(f"{name} is {value!r}; it must be a number")
    return float(value)


def check_sides(name: str, value: Any) -> tuple[float, float]:
    """Return a number for each side; raise ValueError unless it is a number or two of them."""
    sides = value if isinstance(value, (tuple, list)) else (value, value)
    if len(sides) != 2 or not all(is_number(side) for side in sides):
        raise ValueError(
            f"{name} is {value!r}; it must be a number, or a pair of them (users, items)"
        )
    return float(sides[0]), float(sides[1])


def check_flag(name: str, value: Any) -> bool:
    """Return a flag; raise ValueError unless it is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {value!r}; it must be True or False")
    return bool(value)


def check_choice(name: str, value: Any, choices: Iterable[str], also: str = "") -> str:
    """Return a name; raise ValueError unless it is one of the choices.

    `also` is appended to the error: what else would do.
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        *others, last = map(repr, allowed)
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"{name} is {value!r:.80}; it must be {listed}{also}")
    return value
