"""Answers by the core's CPU kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..data.ratings import pairs_to_codes
from .bounds import Bound, Uncertainty
from .lookup import (
    codes_to_score,
    find_ids,
    known_rows,
    named_items,
    reject_unknown_ids,
    reject_unknown_pairs,
)
from .requests import ListRequest
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
        self._uncertainty: Uncertainty | None = None
        self._view = self._viewed(None)

    def _viewed(self, uncertainty: Uncertainty | None) -> _core.ModelView:
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
            uncertainty=None if uncertainty is None else uncertainty[:3],
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
        self,
        users: Any,
        single: bool,
        request: ListRequest,
        bound: Bound | None,
        options: Options,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of each user's best items, and their predictions or bounds."""
        tables = self._tables
        one, codes = find_ids(tables.user_ids, users, "users")
        if options.unknown != "mean":
            codes = known_rows(np, codes, tables.user_known)
            if (codes < 0).any():
                reject_unknown_ids("user", users, one, codes, tables)
        if bound is not None and bound.uncertainty is not self._uncertainty:
            # In this order: another thread that finds the uncertainty there takes the view to have it.
            self._view = self._viewed(bound.uncertainty)
            self._uncertainty = bound.uncertainty
        moves = request.moves
        found, scores = self._view.recommend(
            codes,
            request.n,
            tables.seen.lists() if request.exclude_seen else None,
            options.threads(),
            confidence=moves.confidence,
            exploration=moves.exploration,
            seed=moves.seed,
            diversity=request.diversity,
            allowed=request.allowed,
            only=request.only,
            without=request.without,
            groups=request.groups,
            group=request.group,
        )
        request.cut(np, scores)
        return self._named("item", single, found, scores)

    def score_items(self, users: Any, items: Any, options: Options) -> NDArray[Any]:
        """Return the prediction of each user for each item; None for the items: all."""
        tables = self._tables
        (one_user, user_codes), (one_item, item_codes) = codes_to_score(
            tables, users, items, options.unknown
        )
        scores: NDArray[Any] = self._view.score_items(user_codes, item_codes, options.threads())
        if options.unknown == "nan":
            scores[known_rows(np, user_codes, tables.user_known) < 0] = np.nan
            scores[:, known_rows(np, item_codes, tables.item_known) < 0] = np.nan
        scores = scores[:, 0] if one_item else scores
        return scores[0] if one_user else scores

    def similar(
        self, side: str, ids: Any, n: int, options: Options
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of the users or items nearest to each, and the cosines."""
        tables = self._tables
        vocabulary, known = getattr(tables, f"{side}_ids"), getattr(tables, f"{side}_known")
        single, codes = find_ids(vocabulary, ids, f"{side}s")
        codes = known_rows(np, codes, known)
        if (codes < 0).any():
            reject_unknown_ids(side, ids, single, codes, tables)
        view = self._view if side == "item" else self._users_as_items()
        return self._named(side, single, *view.similar_items(codes, n, options.threads()))

    def _users_as_items(self) -> _core.ModelView:
        """Return a view whose items are the users; for their cosines, biases play no part."""
        tables = self._tables
        return _core.ModelView(
            tables.item_factors,
            tables.user_factors,
            None,
            None,
            tables.item_known,
            tables.user_known,
            global_mean=0.0,
            rating_mean=0.0,
            start_bias=0.0,
            biases=False,
            link="identity",
        )

    def _named(self, side: str, single: bool, found: Any, scores: Any) -> tuple[Any, Any]:
        ids, scores = named_items(np, getattr(self._tables, f"{side}_ids"), found, scores)
        return (ids[0], scores[0]) if single else (ids, scores)
