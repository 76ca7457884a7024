"""Tables of the page: a model's values beside those of baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from ..evaluation.evaluate import Evaluation
from .naming import short_name

__all__ = ["Table", "error_table", "list_table"]

_LABELS = {
    "precision": "precision",
    "recall": "recall",
    "hit_rate": "hit rate",
    "ndcg": "nDCG",
    "graded_ndcg": "nDCG, graded",
    "map": "MAP",
    "mrr": "MRR",
    "coverage": "coverage",
    "novelty": "novelty, bits",
    "popularity_share": "share of popular items",
}
# Of the others more is better; of these neither more nor less is.
_NEUTRAL = ("novelty", "popularity_share")


class Cell(NamedTuple):
    """A value as text, and whether it is the best of its row."""

    text: str
    best: bool


class Row(NamedTuple):
    """A value's name, and the cells of the models."""

    name: str
    cells: list[Cell]


class Table(NamedTuple):
    """Columns by name, and rows."""

    columns: list[str]
    rows: list[Row]


def error_table(found: Evaluation) -> Table:
    """Return RMSE and MAE of the model and of the baselines that predict."""
    shown = {name: each for name, each in _models(found).items() if not math.isnan(each.rmse)}
    rows = [
        _row(label, [getattr(each, name) for each in shown.values()], ".4f", min)
        for name, label in (("rmse", "RMSE"), ("mae", "MAE"))
    ]
    return Table([short_name(name) for name in shown], rows)


def list_table(found: Evaluation, cutoffs: Iterable[int]) -> Table:
    """Return the values of the lists of the model and of the baselines that rank."""
    models = _models(found)
    first = found.k[0]
    some = next(iter(found.ranking))
    shown = {
        name: each for name, each in models.items() if not math.isnan(each.ranking[some][first])
    }
    rows = []
    for k in cutoffs:
        for name, label in _LABELS.items():
            if name in found.ranking:
                best = None if name in _NEUTRAL else max
                values = [each.ranking[name][k] for each in shown.values()]
                rows.append(_row(f"{label} @{k}", values, ".3f", best))
    if not math.isnan(found.auc):
        rows.append(_row("AUC", [each.auc for each in shown.values()], ".3f", max))
    return Table([short_name(name) for name in shown], rows)


def _models(found: Evaluation) -> dict[str, Evaluation]:
    return {"model": found, **found.baselines}


def _row(name: str, values: list[float], spec: str, best: object) -> Row:
    known = [value for value in values if not math.isnan(value)]
    limit = best(known) if callable(best) and len(known) > 1 else None
    cells = [
        Cell("" if math.isnan(value) else format(value, spec), value == limit) for value in values
    ]
    return Row(name, cells)
