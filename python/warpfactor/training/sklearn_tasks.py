"""scikit-learn's callback API, which versions from 1.9 on have: an estimator's fit as its tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..model.model import Model
from ..model.record import EpochRecord
from .callbacks import Callback, Fit

try:
    import sklearn.callback as _theirs
except ImportError:  # before 1.9
    _theirs = None

_Method = TypeVar("_Method", bound=Callable[..., Any])


class _Nothing:
    """What stands for the mixin before 1.9."""


CallbackSupportMixin: Any = _Nothing if _theirs is None else _theirs.CallbackSupportMixin


def with_callbacks(method: _Method) -> _Method:
    """Let a `fit` tear the callbacks down at its end, where scikit-learn has some."""
    return method if _theirs is None else cast("_Method", _theirs.with_callbacks(method))


__all__ = ["CallbackSupportMixin", "SklearnTasks", "with_callbacks"]


class SklearnTasks(Callback):
    """Passes the life of a fit on to scikit-learn's callbacks, each epoch as a task.

    Parameters
    ----------
    estimator : estimator
        The one that is fitted.
    begin : callable
        Makes the context of the fit, of so many tasks; None: of a number that is not known.
    data : mapping
        X and y, for callbacks that ask for them.
    """

    def __init__(self, estimator: Any, begin: Callable[..., Any], data: dict[str, Any]) -> None:
        self._estimator = estimator
        self._begin = begin
        self._data = data
        self._context: Any = None
        self._fit: Fit | None = None

    def on_train_begin(self, fit: Fit) -> None:
        """Begin the fit's task."""
        self._fit = fit
        # Early stopping may end it before: the number is not known.
        self._context = self._begin(max_subtasks=None)
        self._context.call_on_fit_task_begin(estimator=self._estimator, **self._data)

    def on_epoch_end(self, record: EpochRecord) -> bool:
        """Tell of an epoch as of a task that has been done."""
        task = self._context.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        return bool(
            task.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes=self._attributes, **self._data
            )
        )

    def on_train_end(self, model: Model | None) -> None:
        """End the fit's task."""
        if model is not None:
            self._context.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={"model_": model}, **self._data
            )

    def _attributes(self) -> dict[str, Any]:
        return {"model_": self._fit.model()} if self._fit is not None else {}
