"""Items by their titles, or by their ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..model.model import Model
from .draw import clean

__all__ = ["Names", "clean"]


class Names:
    """What a model's items are called.

    Parameters
    ----------
    model : Model
        Whose items.
    titles : mapping or None
        Titles by item id.
    """

    def __init__(self, model: Model, titles: Any) -> None:
        self._ids = model.item_ids_
        self._titles: Mapping[Any, Any] = {} if titles is None else dict(titles)
        self.are_titles = bool(self._titles)

    def of_codes(self, codes: NDArray[Any]) -> list[str]:
        """Return the names of items by their numbers in the model."""
        ids = self._ids[np.asarray(codes)].tolist()
        return [clean(self._titles.get(each, each)) or repr(each) for each in ids]
