"""A fitted estimator of a model, to train on with."""

from __future__ import annotations

from typing import Any, Self

from ..model.model import Model
from ..serving.tables import Options

__all__ = ["FromModel"]


class FromModel:
    """An estimator that can be made of the model that it left."""

    # What only models of this estimator have among their parameters; "": nothing is needed.
    _TELLING = ""

    @classmethod
    def from_model(cls, model: Model) -> Self:
        """Return the fitted estimator of a model, such as `warpfactor.load` returns.

        Parameters
        ----------
        model : Model
            The fitted model. What its file could not hold (`callbacks`, a `random_state` that is no
            int, initial factors) has its default.

        Raises
        ------
        ValueError
            If the model is not one that this estimator made.
        """
        estimator: Any = cls()
        params = model.get_params()
        known = set(estimator.get_params(deep=False))
        unknown = sorted(set(params) - known - set(Options._fields))
        if unknown or (cls._TELLING and cls._TELLING not in params):
            raise ValueError(
                f"the model has parameters {unknown}, which {cls.__name__} does not have: use the "
                "estimator that made it, or update warpfactor"
            )
        estimator.set_params(**{name: value for name, value in params.items() if name in known})
        estimator.model_ = model
        return estimator  # type: ignore[no-any-return]
