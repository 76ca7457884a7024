"""Items by their titles, or by their ids."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.titles import as_titles
from ..model.model import Model

__all__ = ["Names", "clean", "short_name", "shortened"]

# In letters: a page must stay readable whatever a title holds.
_LONGEST = 100

_JOINERS = "\u200c\u200d"  # of Persian, of Indic scripts, of emoji


def clean(text: Any) -> str:
    """Return an id or a title on one line, with nothing in it that cannot be seen or written."""
    seen = "".join(c if c.isprintable() or c in _JOINERS else " " for c in str(text))
    return " ".join(seen.split())


def shortened(text: str, most: int) -> str:
    """Return a text of no more than so many letters, cut where no mark belongs to the letter before."""
    if len(text) <= most:
        return text
    end = most - 1
    while end and (unicodedata.combining(text[end]) or text[end - 1] in _JOINERS):
        end -= 1
    return text[:end].rstrip() + "…"


def short_name(text: Any) -> str:
    """Return an id or a title to be shown: clean, and no longer than a page can bear."""
    return shortened(clean(text), _LONGEST)


class Names:
    """What a model's items are called.

    Parameters
    ----------
    model : Model
        Whose items.
    titles : path, table, dict, Titles or None
        Titles by item id; see `warpfactor.read_titles`.

    Raises
    ------
    ValueError
        If the titles cannot be read, or are of none of the items.
    """

    def __init__(self, model: Model, titles: Any) -> None:
        self._ids = model.item_ids_
        self._titles = None if titles is None else as_titles(titles).by_code(self._ids)

    def of_codes(self, codes: NDArray[Any]) -> list[str]:
        """Return the names of items by their numbers in the model."""
        codes = np.asarray(codes)
        ids = self._ids[codes].tolist()
        titles = [None] * len(ids) if self._titles is None else self._titles[codes].tolist()
        return [
            short_name(title or "") or short_name(id) or repr(id)
            for title, id in zip(titles, ids, strict=True)
        ]
