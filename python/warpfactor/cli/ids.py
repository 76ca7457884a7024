"""Ids of files and of the shell, in the kind of a model's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..data.ratings import Ratings
    from ..model.model import Model

__all__ = ["scored_pairs", "typed_ids"]


def scored_pairs(model: Model, ratings: Ratings) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Ratings and their predictions: of known users and items only, unless others get a mean."""
    if model.unknown != "mean":
        users, items = model.is_known(ratings)
        if not (users & items).any():
            raise ValueError("no test pair has a user and an item that the model knows")
        ratings = ratings.take(users & items)
    return ratings.values, model.predict(ratings)


def _parsed(texts: Sequence[Any] | NDArray[Any], known: NDArray[Any], role: str) -> NDArray[Any]:
    """Read ids as the kind that the model's are."""
    import numpy as np

    from ..data.ids import parse_id

    try:
        return np.fromiter((parse_id(str(text), known) for text in texts), object, len(texts))
    except ValueError as error:
        raise ValueError(f"{role} {error}") from error


def typed_ids(texts: list[str], known: NDArray[Any], role: str) -> NDArray[Any]:
    """Ids of the command line, which must be the model's."""
    from ..data.ids import lookup_ids

    ids = _parsed(texts, known, role)
    for text, code in zip(texts, lookup_ids(known, ids, f"{role} ids"), strict=True):
        if code < 0:
            raise ValueError(
                f"{role} {text!r} is not among the {len(known):,} {role}s of the model"
            )
    return ids
