"""Ratings to look at: in numbers, as a table of another library, in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import check_choice
from .times import as_date, unit_of_time

__all__ = ["Summary", "as_frame", "as_html", "html_table", "summarize"]

_LABELS = {
    "n_ratings": "ratings",
    "n_users": "users",
    "n_items": "items",
    "density": "density",
    "rating_range": "range of the ratings",
    "rating_mean": "mean",
    "rating_std": "standard deviation",
    "ratings_per_user": "ratings per user (min, median, max)",
    "ratings_per_item": "ratings per item (min, median, max)",
    "n_users_with_one": "users with one rating",
    "n_repeats": "repeats of a pair",
    "time_span": "time span",
}


class Summary(dict[str, Any]):
    """The numbers of a set of ratings by name, which print as a table."""

    def lines(self) -> list[tuple[str, str]]:
        """Return what each number is called, and how it is written."""
        return [(_LABELS[name], _written(name, value)) for name, value in self.items()]

    def __repr__(self) -> str:
        width = max(len(label) for label in _LABELS.values())
        return "\n".join(f"{label:{width}}  {text}" for label, text in self.lines())

    def _repr_html_(self) -> str:
        return html_table([], self.lines())


def summarize(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    values: NDArray[np.float32],
    shape: tuple[int, int],
    timestamps: NDArray[Any] | None,
) -> Summary:
    """Count ratings and measure their range; see `Ratings.describe`."""
    n_users, n_items = shape
    per_user = np.bincount(users, minlength=n_users)
    per_item = np.bincount(items, minlength=n_items)
    pairs = np.sort(users.astype(np.int64) * n_items + items)
    double = values.astype(np.float64)
    span = None if timestamps is None else (timestamps.min().item(), timestamps.max().item())
    return Summary(
        n_ratings=len(values),
        n_users=n_users,
        n_items=n_items,
        density=len(values) / (n_users * n_items),
        rating_range=(float(values.min()), float(values.max())),
        rating_mean=float(double.mean()),
        rating_std=float(double.std()),
        ratings_per_user=_spread(per_user),
        ratings_per_item=_spread(per_item),
        n_users_with_one=int((per_user == 1).sum()),
        n_repeats=int((pairs[1:] == pairs[:-1]).sum()),
        time_span=span,
    )


def _spread(counts: NDArray[np.int64]) -> tuple[int, float, int]:
    return int(counts.min()), float(np.median(counts)), int(counts.max())


def _written(name: str, value: Any) -> str:
    if value is None:
        return "no timestamps"
    if name == "density":
        return f"{value:.4%}"
    unit = unit_of_time(*value) if name == "time_span" else None
    if unit is not None:
        return " to ".join(as_date(time, unit, "%Y-%m-%d %H:%M") for time in value)
    if isinstance(value, tuple):
        between = ", " if len(value) > 2 else " to "
        return between.join(_written("", number) for number in value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def as_frame(columns: Mapping[str, NDArray[Any]], kind: str) -> Any:
    """Make a table of another library of columns; see `Ratings.to_frame`."""
    check_choice("kind", kind, ("pandas", "polars", "arrow"))
    if kind == "pandas":
        return _library(kind).DataFrame(dict(columns))
    table = pa.table({name: _arrow_column(column) for name, column in columns.items()})
    return table if kind == "arrow" else _library(kind).from_arrow(table)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'to_frame(kind="{name}") needs {name}, which cannot be imported ({error}): pip install '
            f'{name}, or take kind="arrow"'
        ) from error


def _arrow_column(column: NDArray[Any]) -> Any:
    # Neither polars nor Arrow's own functions know UUIDs well.
    if column.dtype == object and len(column) and isinstance(column[0], UUID):
        return pa.array([str(value) for value in column], pa.string())
    return pa.array(column)


def as_html(title: str, columns: Mapping[str, NDArray[Any]], n_more: int, summary: Summary) -> str:
    """Write the first ratings and the summary as HTML, for a notebook."""
    shown = zip(*(column.tolist() for column in columns.values()), strict=True)
    rows = [tuple(map(str, row)) for row in shown]
    more = f"<p>and {n_more:,} more</p>" if n_more else ""
    numbers = html_table([], summary.lines())
    return f"<p>{html.escape(title)}</p>{html_table(list(columns), rows)}{more}{numbers}"


def html_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write rows of texts as an HTML table, under names if there are any; all are escaped."""

    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    head = f"<thead>{row(names, 'th')}</thead>" if names else ""
    # The class of pandas' tables, which notebooks and pages made of them know how to draw.
    body = "".join(row(cells, "td") for cells in rows)
    return f'<table class="dataframe">{head}<tbody>{body}</tbody></table>'
