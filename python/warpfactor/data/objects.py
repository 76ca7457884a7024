"""Data sets of other recommender libraries as tables, recognized without importing any of them."""

from __future__ import annotations

from typing import Any

from .roles import Frame, open_frame

__all__ = ["open_table"]


def open_table(X: Any) -> Frame | None:
    """Look at a table, or a data set of Surprise or LensKit, as columns; None if it is neither.

    Raises
    ------
    ValueError
        If a data set holds no ratings.
    """
    owners = {str(base.__module__).split(".")[0] for base in type(X).__mro__}
    if "surprise" in owners:
        return _surprise(X)
    if "lenskit" in owners and hasattr(X, "interaction_table"):
        return _lenskit(X)
    return open_frame(X)


def _surprise(X: Any) -> Frame | None:
    if hasattr(X, "all_ratings"):  # a Trainset, which keeps no times
        rows = list(X.all_ratings())
        users = [X.to_raw_uid(user) for user, _, _ in rows]
        items = [X.to_raw_iid(item) for _, item, _ in rows]
        return _table({"user": users, "item": items, "rating": [r for _, _, r in rows]})
    if hasattr(X, "raw_ratings"):
        columns = {
            role: [row[at] for row in X.raw_ratings]
            for at, role in enumerate(("user", "item", "rating"))
        }
        times = [_number(row[3]) for row in X.raw_ratings]
        if any(time is not None for time in times):
            columns["timestamp"] = times
        return _table(columns)
    if hasattr(X, "folds_files"):
        raise ValueError(
            "the Surprise data set has folds in files and no ratings of its own: read the files with "
            "warpfactor.read_ratings"
        )
    return None


def _lenskit(X: Any) -> Frame:
    table = X.interaction_table(format="arrow", original_ids=True)
    if "rating" not in table.column_names:
        raise ValueError(
            f"the LensKit data set holds no ratings, but {table.column_names}: with t = "
            'data.interaction_table(format="pandas", original_ids=True), pass what counts as a rating '
            'to Ratings.from_arrays(t["user_id"], t["item_id"], ...)'
        )
    roles = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "timestamp"}
    return _table({r: table.column(c) for c, r in roles.items() if c in table.column_names})


def _table(columns: dict[str, Any]) -> Frame:
    names = list(columns)
    return Frame(names, lambda at: columns[names[at]])


def _number(time: Any) -> Any:
    """Return a time as a number if it is the text of one, as those read from a file are."""
    for kind in (int, float):
        try:
            return kind(time)
        except (TypeError, ValueError):
            continue
    return time
