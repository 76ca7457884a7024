"""Answers of a fitted model, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .bounds import Bound, Evidence, Uncertainty, of_visitor, uncertainty
from .cpu import CpuAnswers
from .cuda import DeviceAnswers
from .device import DeviceCopies, prediction_problem, require_prediction, use_device
from .requests import ListRequest
from .ridge import Earlier, RowRatings, Rows, solve_on_device
from .tables import Options, Tables, parse_device

__all__ = ["Answers", "prediction_device"]

# Arrays that a visitor's answers have in common with those of the model.
_OF_ITEMS = (
    "item_factors",
    "item_biases",
    "item_known",
    "item_ids",
    "bias_variances",
    "factor_variances",
)


class Answers:
    """Predictions and best items of one model, where `Options.device` says.

    Parameters
    ----------
    tables : Tables
        The model's arrays.
    evidence : Evidence
        What it was learned from.
    """

    def __init__(self, tables: Tables, evidence: Evidence) -> None:
        self.tables = tables
        self.evidence = evidence
        self._uncertainty: Uncertainty | None = None
        self._cpu: CpuAnswers | None = None
        self.copies: DeviceCopies | None = None

    def for_visitor(self, tables: Tables, n_ratings: int) -> Answers:
        """Return answers for one user of so many ratings, of tables with the same items."""
        return _VisitorAnswers(tables, self, n_ratings)

    def uncertainty(self) -> Uncertainty:
        """Return what few ratings leave unknown of scores; see `bounds.uncertainty`."""
        if self._uncertainty is None:
            self._uncertainty = uncertainty(self.tables, self.evidence)
        return self._uncertainty

    def predict(self, X: Any, options: Options, output: str) -> NDArray[Any]:
        """Return the prediction for each pair."""
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().predict(X, options)
        with self._on_device(index) as device:
            return device.predict(X, options, output)

    def like(self, predicted: Any, values: NDArray[Any]) -> Any:
        """Return values of the host as an array of the type of predictions, and where those lie."""
        values = values.astype(predicted.dtype)
        if isinstance(predicted, np.ndarray):
            return values
        with use_device(predicted.device.id) as xp:
            return xp.asarray(values)

    def recommend(
        self, users: Any, single: bool, request: ListRequest, options: Options, output: str
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of each user's best items, and their predictions or bounds."""
        bound = Bound(request.moves, self.uncertainty()) if request.moves else None
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().recommend(users, single, request, bound, options)
        with self._on_device(index) as device:
            return device.recommend(users, single, request, bound, options, output)

    def score_items(self, users: Any, items: Any, options: Options, output: str) -> NDArray[Any]:
        """Return the prediction of each user for each item; None for the items: all."""
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().score_items(users, items, options)
        with self._on_device(index) as device:
            return device.score_items(users, items, options, output)

    def similar(
        self, side: str, ids: Any, n: int, options: Options, output: str
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of the n users or items nearest to each, and the cosines."""
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().similar(side, ids, n, options)
        with self._on_device(index) as device:
            return device.similar(side, ids, n, options, output)

    def solved_rows(
        self,
        other: str,
        fixed: Rows,
        ratings: RowRatings,
        strengths: _core.FoldInStrengths,
        coefficients: Rows | None,
        earlier: Earlier | None,
        options: Options,
    ) -> Rows:
        """Return rows from their ratings of the other side's; see `fold_in` of warpfactor/fold_in.hpp.

        `other` is "user" or "item", and `fixed` are its rows.
        """
        index = prediction_device(options, "numpy")
        if index is not None:
            with use_device(index) as xp:
                # A model that grows has other rows each time, of which no copies are kept.
                own = fixed.factors is getattr(self.tables, f"{other}_factors")
                return solve_on_device(
                    xp,
                    self._copies_on(index) if own else DeviceCopies(index),
                    other,
                    fixed,
                    ratings,
                    strengths,
                    global_mean=self.tables.global_mean,
                    biases=self.tables.biases,
                    coefficients=coefficients,
                    earlier=earlier,
                    what="folding rows in",
                    options=options,
                )
        return Rows(
            *_core.fold_in(
                fixed,
                _core.RatingArrays(ratings.rows, ratings.others, ratings.values),
                ratings.n_rows,
                strengths,
                self.tables.global_mean,
                self.tables.biases,
                coefficients,
                None if earlier is None else earlier.rows,
                None if earlier is None else earlier.counts,
                None if earlier is None else earlier.lists[0],
                None if earlier is None else earlier.lists[1],
                options.threads(),
            )
        )

    def _on_cpu(self) -> CpuAnswers:
        if self._cpu is None:
            self._cpu = CpuAnswers(self.tables)
        return self._cpu

    @contextmanager
    def _on_device(self, index: int) -> Iterator[DeviceAnswers]:
        with use_device(index) as xp:
            yield DeviceAnswers(xp, self.tables, self._copies_on(index))

    def _copies_on(self, index: int) -> DeviceCopies:
        copies = self.copies  # read once: another thread may answer on another device
        if copies is None or copies.index != index:
            copies = self.copies = DeviceCopies(index)
        return copies


def prediction_device(options: Options, output: str) -> int | None:
    """Return the number of the CUDA device to answer on; None: the CPU.

    Raises
    ------
    ValueError
        If the output is to stay on a device and the options name the CPU.
    CudaError
        If the options name a device that cannot be used.
    """
    on_cuda, index = parse_device(options.device)
    problem = prediction_problem() if options.device == "auto" else ""
    if not on_cuda or problem:
        if output == "cupy":
            why = f", which is the CPU here ({problem})" if problem else ""
            raise ValueError(
                f"output is 'cupy', which needs a CUDA device, and device is "
                f"{options.device!r}{why}: use set_params(device='cuda'), or output='numpy'"
            )
        return None
    require_prediction()
    return index


class _VisitorAnswers(Answers):
    """Answers for one user whom a model does not know, by its answers for others."""

    def __init__(self, tables: Tables, known: Answers, n_ratings: int) -> None:
        super().__init__(tables, known.evidence)
        self._known = known
        self._n_ratings = n_ratings

    def _copies_on(self, index: int) -> DeviceCopies:
        if self.copies is None or self.copies.index != index:
            self.copies = DeviceCopies(index, self._known._copies_on(index), _OF_ITEMS)
        return self.copies

    def uncertainty(self) -> Uncertainty:
        known = self._known
        return of_visitor(
            known.uncertainty(),
            known.tables,
            known.evidence,
            self.tables.user_factors[0],
            self._n_ratings,
        )
