"""A fitted model to look at: as a page, in a notebook, and with what is told of it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from ..checks import check_count, check_number
from ..data.describe import html_table
from ..data.ratings import Ratings
from ..serving.tables import Options, SeenItems
from .fitted import Fitted
from .summary import counted, curve, kept_errors

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Looking", "facts"]


def facts(model: Fitted) -> list[tuple[str, str]]:
    """Return what a person wants to know of a model first, as names and texts.

    Parameters
    ----------
    model : Model
        The fitted model.

    Returns
    -------
    list of (str, str)
        Users, items and ratings; the test RMSE, where it was told; when and how it was trained, with
        what errors, and the curve; what it holds.
    """
    low, high = model.rating_range_
    span = f", from {low:g} to {high:g}" if not math.isnan(low) else ""  # format 1 did not say
    rows = [
        ("users", f"{len(model.user_ids_):,}"),
        ("items", f"{len(model.item_ids_):,}"),
        ("ratings", f"{model.n_ratings_:,}{span}"),
    ]
    origin = model.origin_
    if "test_rmse" in origin:
        n_test = f" on {origin['n_test']:,} held-out ratings" if "n_test" in origin else ""
        rows.append(("test RMSE", f"{origin['test_rmse']:.4f}{n_test}"))
    rows.append(("trained", _trained(model)))
    if model.n_epochs_:
        rows.append(("errors", kept_errors(model).removeprefix(": ")))
    if len(model.history_) > 1:
        rows.append(("curve", curve(model)))
    members = f" of {model.n_members_} members" if model.n_members_ > 1 else ""
    factors = model.user_factors_
    rows.append(("factors", f"{factors.shape[1]}{members} ({factors.dtype}), {model.loss_} loss"))
    return rows


def _trained(model: Fitted) -> str:
    origin = model.origin_
    told = []
    if "at" in origin:
        told.append(_written_time(origin["at"]))
    if "estimator" in origin:
        told.append(f"by {origin['estimator']}")
    took = f" in {origin['seconds']:.2f} s" if "seconds" in origin else ""
    told.append(f"{counted(len(model.history_), 'epoch')}{took}")
    threads = f"with {counted(model.n_threads_, 'thread')} ({model.instruction_set_})"
    return ", ".join([*told[:-1], f"{told[-1]} {threads}"])


def _written_time(at: str) -> str:
    try:
        return f"{datetime.fromisoformat(at):%Y-%m-%d %H:%M} UTC"
    except ValueError:  # another program wrote the file
        return at


class Looking(Fitted):
    """What `Model` shows of itself beyond its attributes."""

    _options: Options

    def with_test_error(self, rmse: float, n_test: int) -> Self:
        """Return the same fitted model, whose `origin_` and file tell its error on test ratings.

        Parameters
        ----------
        rmse : float
            The root mean squared error, at least 0.
        n_test : int
            On how many ratings.

        Raises
        ------
        ValueError
            If one of them is invalid.
        """
        error = check_number("rmse", rmse)
        if not 0 <= error < float("inf"):
            raise ValueError(f"rmse is {rmse!r:.80}; it must be finite and at least 0")
        told = self.origin_
        told["test_rmse"], told["n_test"] = error, check_count("n_test", n_test, 1)
        make: Callable[..., Self] = type(self)
        return make(self._tables, replace(self._record, origin=told), self._options, self._members)

    def with_seen_only(self, ratings: Ratings) -> Self:
        """Return the same fitted model, which leaves these pairs alone out of recommendations.

        Parameters
        ----------
        ratings : Ratings
            What users rated, in the place of `seen_`. Pairs of a user or an item that the model does
            not have are passed over.
        """
        users, items = self._tables.codes_of(ratings)
        known = (users >= 0) & (items >= 0)
        return self._with_seen(SeenItems(len(self.user_ids_), pairs=(users[known], items[known])))

    def without_seen(self) -> Self:
        """Return the same fitted model, which does not hold what users rated, and so takes less memory."""
        return self._with_seen(SeenItems(len(self.user_ids_)))

    def _with_seen(self, seen: SeenItems) -> Self:
        make: Callable[..., Self] = type(self)
        tables = replace(self._tables, seen=seen)
        return make(tables, self._record, self._options, self._members)

    def report(
        self,
        test: Any = None,
        path: str | PathLike[str] | None = None,
        titles: Any = None,
        **options: Any,
    ) -> Any:
        """Make one self-contained HTML page of what there is to see of the model.

        Parameters
        ----------
        test, path, titles, **options
            As of `warpfactor.report.page.make_report`, which it calls.

        Returns
        -------
        Report
            See there.
        """
        # By name, when it is asked for: what draws stands above what is drawn.
        return import_module("warpfactor.report.page").make_report(
            self, test, path, titles, **options
        )

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{html_table([], facts(self))}"
