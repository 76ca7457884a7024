"""Ids of files and of the shell, in the kind of a model's."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .app import note

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.ids import IdKind
    from ..data.ratings import Ratings
    from ..model.model import Model

__all__ = ["id_kinds", "ids_of_file", "note_unknown", "scored_pairs", "shell_word", "typed_ids"]


def scored_pairs(model: Model, ratings: Ratings) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Ratings and their predictions: of known users and items only, unless others get a mean."""
    if model.unknown != "mean":
        users, items = model.is_known(ratings)
        if not (users & items).any():
            raise ValueError("no test pair has a user and an item that the model knows")
        ratings = ratings.take(users & items)
    return ratings.values, model.predict(ratings)


def note_unknown(model: Model, pairs: Ratings, *, mean: str, otherwise: str) -> None:
    """Say on standard error which pairs the model does not know, if there are any, and what so."""
    from ..model.summary import counted

    users, items = model.is_known(pairs)
    found = []
    for who, known, codes, ids in (
        ("a user", users, pairs.users, pairs.user_ids),
        ("an item", items, pairs.items, pairs.item_ids),
    ):
        n_unknown = int((~known).sum())
        if n_unknown:
            of = f"{n_unknown:,} of {counted(len(pairs), 'pair')}"
            found.append(
                f"{of} {'has' if n_unknown == 1 else 'have'} {who} that the model does not know "
                f"(such as {str(ids[codes[known.argmin()]])!r})"
            )
    if found:
        n_both = int((users & items).sum())
        both = f"it knows both of {counted(n_both, 'pair')} ({100 * n_both / len(pairs):.3g} %)"
        so = mean if model.unknown == "mean" else otherwise
        note(f"{' and '.join(found)}; {both}, and {so}")


def id_kinds(model: Model) -> tuple[IdKind, IdKind]:
    """Return the kinds of a model's user ids and item ids, in which files are to be read for it."""
    from ..data.ids import id_kind

    return id_kind(model.user_ids_), id_kind(model.item_ids_)


def ids_of_file(path: Path, role: str, known: NDArray[Any]) -> list[str]:
    """Return the ids of a text with one on each line.

    A first line that is a common name of such a column, and no id that is known, is left out.

    Raises
    ------
    ValueError
        If there is no id in it, or it is no UTF-8.
    """
    from ..data.ids import id_kind, lookup_ids, read_id
    from ..data.roles import find_common

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text of UTF-8 with an id on each line: {error}") from error
    ids = [line.strip() for line in lines if line.strip()]
    if ids and find_common(ids[:1], role) is not None:
        first = read_id(ids[0], id_kind(known))
        if first is None or lookup_ids(known, [first], role)[0] < 0:
            del ids[0]
    if not ids:
        raise ValueError(f"{path} holds no ids; it must have one on each line")
    return ids


def typed_ids(texts: list[str], known: NDArray[Any], role: str) -> NDArray[Any]:
    """Ids of the command line, which must be the model's."""
    import numpy as np

    from ..data.ids import KIND_PLURALS, id_kind, lookup_ids, read_id
    from ..data.near_ids import suggestion

    kind = id_kind(known)
    ids = [read_id(text, kind) for text in texts]
    codes = [-1 if each is None else lookup_ids(known, [each], f"{role} ids")[0] for each in ids]
    for text, value, code in zip(texts, ids, codes, strict=True):
        if code < 0:
            kinds = f", whose ids are {KIND_PLURALS[kind]}" if value is None else ""
            raise ValueError(
                f"{role} {text!r} is not among the {len(known):,} {role}s of the model{kinds}; "
                f"{suggestion(known, text, f'{role}s', shell_word)}"
            )
    return np.fromiter(ids, object, len(ids))


def shell_word(value: Any) -> str:
    """Write an id as it is typed in a shell, with what cannot be seen as an escape."""
    text = str(value)
    if text.isprintable() and "  " not in text:
        return shlex.quote(text)
    # bash, zsh and ksh read this. Blanks too, because messages are printed with single ones.
    escaped = (_escape(letter) for letter in text)
    return f"$'{''.join(escaped)}'"


def _escape(letter: str) -> str:
    if letter in "'\\":
        return f"\\{letter}"
    if letter.isprintable() and letter != " ":
        return letter
    return f"\\x{ord(letter):02x}" if ord(letter) < 128 else f"\\U{ord(letter):08x}"
