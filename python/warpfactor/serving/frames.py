"""Answers as tables of pandas, polars or Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import option
from ..data.describe import as_frame
from ..data.titles import as_titles

__all__ = ["check_frame", "list_frame", "title_column"]

_KINDS = ("pandas", "polars", "arrow")


def check_frame(kind: Any, titles: Any, output: str) -> str:
    """Return the kind of table that `as_frame` names; empty: none."""
    if kind is True:
        kind = "pandas"
    if kind is not False and kind not in _KINDS:
        raise ValueError(
            f"as_frame is {kind!r:.80}; it must be False, True (pandas), 'pandas', 'polars' or 'arrow'"
        )
    if kind is False and titles is not None:
        raise ValueError("titles need a table to stand in: use as_frame='pandas' (polars, arrow)")
    if kind and output != "numpy":
        raise ValueError(
            f"{option('output')} is {output!r:.80}, and a table lies on the host: leave it out"
        )
    return kind or ""


def list_frame(
    kind: str,
    queries: tuple[str, NDArray[Any]],
    name: str,
    found: NDArray[Any],
    score: str,
    scores: NDArray[Any],
    titles: Any,
    ids: NDArray[Any],
) -> Any:
    """Make a table of lists, with a row for each place that is filled.

    Parameters
    ----------
    kind : {"pandas", "polars", "arrow"}
        Whose table.
    queries : (str, ndarray of shape (n_queries,))
        The first column's name, and whose each list is.
    name, found : str, ndarray of shape (n_queries, n)
        The name of the column of what was found, and its ids.
    score, scores : str, ndarray of shape (n_queries, n)
        Likewise of the scores, NaN in empty places.
    titles : path, table, dict or None
        What the column "title" is of; None: there is no such column.
    ids : ndarray
        The vocabulary of what was found.
    """
    rows, places = np.nonzero(~np.isnan(scores))
    columns = {
        queries[0]: queries[1][rows],
        "rank": (places + 1).astype(np.int32),
        name: found[rows, places],
        score: scores[rows, places],
    }
    if titles is not None:
        columns["title"] = title_column(titles, ids, columns[name])
    return as_frame(columns, kind)


def title_column(titles: Any, ids: NDArray[Any], found: NDArray[Any]) -> NDArray[Any]:
    """Return the titles of ids that were found in a vocabulary, None where there is none."""
    by_code = as_titles(titles).by_code(ids)
    column: NDArray[Any] = by_code[np.searchsorted(ids, found)]
    return column
