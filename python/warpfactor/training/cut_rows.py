"""A matrix whose rows scikit-learn's cross-validation has cut is refused."""

from __future__ import annotations

import inspect
from typing import Any

from ..checks import warn

__all__ = ["refuse_cut_rows"]

# Here scikit-learn fits the estimator to the training part of a fold, as `X_train` and `y_train`:
# in cross_validate, the searches, learning_curve and the others alike, and in their worker processes.
_VALIDATION = "sklearn.model_selection._validation"


def refuse_cut_rows(X: Any) -> None:
    """Raise ValueError if a matrix to fit is the training part of a scikit-learn's fold.

    The rows of a matrix of users and items are users, and they are known by their position. In a
    fold, which has some of the rows, the positions are others: the test rows would be scored as the
    users whom the training rows happened to be put in place of. Neither the matrix nor its shape
    tells, and scikit-learn says nothing to the estimator; but its function stands on the stack.

    What an estimator of someone's own makes of a fold's pairs, within its `fit`, is no part of a
    fold by itself: it has another number of rows.
    """
    frame = inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__") != _VALIDATION:
        frame = frame.f_back
    if frame is None:
        return
    part = frame.f_locals.get("X_train", X)
    rows = X.shape[0]
    if frame.f_locals.get("y_train") is None and tuple(getattr(part, "shape", ()))[:1] == (rows,):
        message = (
            f"X is {rows} rows that scikit-learn's cross-validation cut from a matrix. Rows are users, "
            "so the model would be tested on other users than it was trained on: write "
            "warpfactor.cross_validate(model, S), which divides the ratings of the matrix S, or pass "
            "pairs in place of S: X, y = warpfactor.Ratings.from_any(S).to_pairs()"
        )
        warn(message)  # validation_curve hides errors: it returns NaN
        raise ValueError(message)
