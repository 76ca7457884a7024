"""Which parameters of a fitted model were not left as they are."""

from __future__ import annotations

import inspect
from typing import Any

from ..model.model import Model
from ..parameters import DEFAULTS, PARAMETERS

__all__ = ["changed_params"]

# They say how a fit talks, and nothing of the model.
_OF_THE_RUN = ("verbose", "callbacks")


def changed_params(model: Model) -> dict[str, Any]:
    """Return the parameters that differ from the defaults of the estimator that made the model.

    Parameters
    ----------
    model : Model
        The fitted model. One of an ensemble has those of its first member.
    """
    params = model.get_params()
    defaults = DEFAULTS
    if set(params) - set(DEFAULTS):
        # It imports scikit-learn, for which other models need not wait.
        from .bayesian import BayesianMatrixFactorization

        signature = inspect.signature(BayesianMatrixFactorization)
        defaults = {**DEFAULTS, **{name: p.default for name, p in signature.parameters.items()}}
    usual_patience = PARAMETERS["early_stopping"].default
    return {
        name: value
        for name, value in params.items()
        if name not in _OF_THE_RUN
        and value != defaults.get(name)
        and not (name == "early_stopping" and value is not True and value == usual_patience)
    }
