"""Answers of a fitted model, on the CPU or a CUDA device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cpu import CpuAnswers
from .cuda import DeviceAnswers
from .device import DeviceCopies, prediction_problem, require_prediction, use_device
from .lowering import Evidence, Lowering, check_confidence, item_deviations
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
        self._tables = tables
        self._evidence = evidence
        self._item_deviations: NDArray[Any] | None = None
        self._of_items: Answers | None = None
        self._cpu: CpuAnswers | None = None
        self.copies: DeviceCopies | None = None

    def for_users_of(self, tables: Tables) -> Answers:
        """Return answers for other users, of tables with the same items."""
        answers = Answers(tables, self._evidence)
        answers._of_items = self
        return answers

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
        self,
        users: Any,
        n: int,
        exclude_seen: bool,
        confidence: float,
        options: Options,
        output: str,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of each user's n best items, and their predictions or lower bounds."""
        confidence = check_confidence(confidence)
        lowering = None
        if confidence > 0:
            lowering = Lowering(confidence, (self._of_items or self).item_deviations())
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().recommend(users, n, exclude_seen, lowering, options)
        with self._on_device(index) as device:
            return device.recommend(users, n, exclude_seen, lowering, options, output)

    def item_deviations(self) -> NDArray[Any]:
        """Return how uncertain each item's scores are because it has few ratings."""
        if self._item_deviations is None:
            self._item_deviations = item_deviations(self._tables, self._evidence)
        return self._item_deviations

    def similar_items(
        self, items: Any, n: int, options: Options, output: str
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the ids of the n items nearest to each, and the cosines."""
        index = prediction_device(options, output)
        if index is None:
            return self._on_cpu().similar_items(items, n, options)
        with self._on_device(index) as device:
            return device.similar_items(items, n, options, output)

    def _on_cpu(self) -> CpuAnswers:
        if self._cpu is None:
            self._cpu = CpuAnswers(self._tables)
        return self._cpu

    @contextmanager
    def _on_device(self, index: int) -> Iterator[DeviceAnswers]:
        with use_device(index) as xp:
            if self.copies is None or self.copies.index != index:
                self.copies = DeviceCopies(index)
            yield DeviceAnswers(xp, self._tables, self.copies)


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
