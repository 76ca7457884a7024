"""Answers of a fitted model, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bounds import Bound, Evidence, Uncertainty, of_visitor, uncertainty
from .cpu import CpuAnswers
from .cuda import DeviceAnswers
from .device import DeviceCopies, prediction_problem, require_prediction, use_device
from .requests import ListRequest
from .tables import Options, Tables, parse_device

__all__ = ["Answers", "prediction_device"]


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

    def _on_cpu(self) -> CpuAnswers:
        if self._cpu is None:
            self._cpu = CpuAnswers(self.tables)
        return self._cpu

    @contextmanager
    def _on_device(self, index: int) -> Iterator[DeviceAnswers]:
        with use_device(index) as xp:
            if self.copies is None or self.copies.index != index:
                self.copies = DeviceCopies(index)
            yield DeviceAnswers(xp, self.tables, self.copies)


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

    def uncertainty(self) -> Uncertainty:
        known = self._known
        return of_visitor(
            known.uncertainty(),
            known.tables,
            known.evidence,
            self.tables.user_factors[0],
            self._n_ratings,
        )
