"""What all estimators do once they are fitted: they answer by their model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from ..model.model import Model
from ..model.recommending import Recommending
from ..serving.answers import Answers
from ..serving.tables import Options

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["FittedAnswers"]


class _Fitted:
    """An attribute of the estimator that is the fitted model's."""

    def __init__(self, doc: str) -> None:
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, estimator: Any, owner: type) -> Any:
        if estimator is None:
            return self
        if "model_" not in vars(estimator):
            raise AttributeError(
                f"this {type(estimator).__name__} has no {self._name} yet: call fit first"
            )
        return getattr(estimator.model_, self._name)

    def __set__(self, estimator: Any, value: Any) -> None:
        # Otherwise the new value would hide the model's, by which predictions are made.
        raise AttributeError(
            f"{self._name} is the fitted model's, which does not change, so it cannot be set: "
            "to train from factors of your own, use init=(P, Q)"
        )


class FittedAnswers(Recommending, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The base of estimators whose `fit` leaves a `Model` as `model_`.

    An estimator has the parameters `unknown`, `device`, `device_memory` and `n_threads`, or its own
    `_options`.
    """

    model_: Model
    user_factors_ = _Fitted("P.")
    item_factors_ = _Fitted("Q.")
    user_biases_ = _Fitted("b_u.")
    item_biases_ = _Fitted("b_i.")
    global_mean_ = _Fitted("μ.")
    user_ids_ = _Fitted("The ids of the users, sorted.")
    item_ids_ = _Fitted("The ids of the items, sorted.")
    chosen_ = _Fitted("What training chose where the parameters leave it open.")
    history_ = _Fitted("One record for each epoch.")
    n_epochs_ = _Fitted("The epoch whose factors were kept.")
    n_threads_ = _Fitted("The threads that trained.")
    instruction_set_ = _Fitted("The kernels that trained.")

    @overload
    def predict(
        self, X: Any, *, return_std: Literal[False] = False, output: str = "numpy"
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self, X: Any, *, return_std: Literal[True], output: str = "numpy"
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: Any, *, return_std: bool, output: str = "numpy") -> Any: ...
    def predict(self, X: Any, *, return_std: bool = False, output: str = "numpy") -> Any:
        """Predict the rating of each (user, item) pair; see `Model.predict`."""
        return self._answering().predict(X, return_std=return_std, output=output)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return bounds for the rating of each pair; see `Model.predict_interval`."""
        return self._answering().predict_interval(X, coverage)

    def score(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return R² of the predictions; see `Model.score`."""
        return self._answering().score(X, y, sample_weight)

    def fold_in_users(self, ratings: Any, y: ArrayLike | None = None) -> Model:
        """Return a model that knows these users as well; see `Model.fold_in_users`."""
        return self._answering().fold_in_users(ratings, y)

    def fold_in_items(self, ratings: Any, y: ArrayLike | None = None) -> Model:
        """Return a model that knows these items as well; see `Model.fold_in_items`."""
        return self._answering().fold_in_items(ratings, y)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted model to one safetensors file; see `Model.save`."""
        self._answering().save(path)

    def report(
        self,
        test: Any = None,
        path: str | PathLike[str] | None = None,
        titles: Any = None,
        **options: Any,
    ) -> Any:
        """Make one HTML page of what there is to see of the model; see `Model.report`."""
        return self._answering().report(test, path, titles, **options)

    def _answering(self) -> Model:
        """Return the model as the present parameters say: set_params may have changed them."""
        check_is_fitted(self)
        return self.model_.with_options(**self._options())

    def _served(self) -> tuple[Answers, Options]:
        return self._answering()._served()

    def _served_to_visitor(self, ratings: Any, output: str) -> tuple[Answers, Options]:
        return self._answering()._served_to_visitor(ratings, output)

    def _options(self) -> dict[str, Any]:
        """Return how to answer: the parameters that a fitted model takes too."""
        return {name: getattr(self, name) for name in Options._fields}

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags
