"""Answers by the core's CPU kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..data.ratings import pairs_to_codes
from .lookup import find_ids, known_rows, named_items, reject_unknown_ids, reject_unknown_pairs
from .lowering import Lowering
from .tables import Options, Tables

__all__ = ["CpuAnswers"]


class CpuAnswers:
    """Predictions and best items of one model.

    Parameters
    ----------
    tables : Tables
        The model's arrays.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._deviations: NDArray[Any] | None = None
        self._view = self._viewed(None)

    def _viewed(self, item_deviations: NDArray[Any] | None) -> _core.ModelView:
        tables = self._tables
        return _core.ModelView(
            tables.user_factors,
            tables.item_factors,
            tables.user_biases,
            tables.item_biases,
            tables.user_known,
            tables.item_known,
            global_mean=tables.global_mean,
            rating_mean=tables.rating_mean,
            start_bias=tables.start_bias,
            biases=tables.biases,
            link=tables.link,
            item_deviations=item_deviations,
        )

    def predict(self, X: Any, options: Options) -> NDArray[Any]:
        """Return the prediction for each pair."""
        tables = self._tables
        users, items = pairs_to_codes(X, tables.user_ids, tables.item_ids)
        if options.unknown != "mean":
            users = known_rows(np, users, tables.user_known)
            items = known_rows(np, items, tables.item_known)
        if options.unknown == "raise":
            reject_unknown_pairs(X, [(0, users, items)], tables)
        predicted: NDArray[Any] = self._view.predict(users, items, options.threads())
        if options.unknown == "nan":
            predicted[(users < 0) | (items < 0)] = np.nan
        return predicted

    def recommend(
        self, users: Any, n: int, exclude_seen: bool, lowering: Lowering | None, options: Options
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of each user's best items, and their predictions or lower bounds."""
        tables = self._tables
        single, codes = find_ids(tables.user_ids, users, "users")
        if options.unknown != "mean":
            codes = known_rows(np, codes, tables.user_known)
            if (codes < 0).any():
                reject_unknown_ids("user", users, single, codes, tables)
        indptr, seen = tables.seen.lists() if exclude_seen else (None, None)
        confidence = 0.0
        if lowering is not None:
            confidence, deviations = lowering
            if deviations is not self._deviations:
                self._deviations, self._view = deviations, self._viewed(deviations)
        found, scores = self._view.recommend(codes, n, indptr, seen, options.threads(), confidence)
        return self._named(single, found, scores)

    def similar_items(
        self, items: Any, n: int, options: Options
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of the items nearest to each, and the cosines."""
        tables = self._tables
        single, codes = find_ids(tables.item_ids, items, "items")
        codes = known_rows(np, codes, tables.item_known)
        if (codes < 0).any():
            reject_unknown_ids("item", items, single, codes, tables)
        return self._named(single, *self._view.similar_items(codes, n, options.threads()))

    def _named(self, single: bool, found: Any, scores: Any) -> tuple[Any, Any]:
        ids, scores = named_items(np, self._tables.item_ids, found, scores)
        return (ids[0], scores[0]) if single else (ids, scores)
