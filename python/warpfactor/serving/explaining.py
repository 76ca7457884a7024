"""Why an item is recommended: the user's rated items, by their shares of the score."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.describe import as_frame
from .bounds import Uncertainty
from .frames import title_column
from .tables import Tables

__all__ = ["Attribution", "Explanation", "attribution"]


class Explanation(NamedTuple):
    """What the score of a user and an item is made of: it is the sum of the last six.

    Attributes
    ----------
    user, item : id
        Whose score.
    prediction : float
        The predicted rating, what the link makes of the score.
    score : float
        x = mean + user_bias + item_bias + sum(all shares) + rest.
    mean, user_bias, item_bias : float
        μ, b_u and b_i.
    items : ndarray
        Rated items, that of the largest share first; at most the n asked for.
    shares : ndarray of float64
        Their shares of p_u · q_i: above 0 speaks for the item, below 0 against it.
    others : float
        The sum of the shares of the rated items that are not listed.
    rest : float
        What of p_u · q_i is no rated item's.
    """

    user: Any
    item: Any
    prediction: float
    score: float
    mean: float
    user_bias: float
    item_bias: float
    items: NDArray[Any]
    shares: NDArray[np.float64]
    others: float
    rest: float

    def to_frame(self, kind: str = "pandas", titles: Any = None) -> Any:
        """Return a table with the columns item, share and, with `titles`, title."""
        columns = {"item": self.items, "share": self.shares}
        if titles is not None:
            columns["title"] = title_column(titles, np.unique(self.items), self.items)
        return as_frame(columns, kind)


class Attribution(NamedTuple):
    """p_u · q_i, the listed items with their shares of it, and the sum of the others'."""

    product: float
    items: NDArray[Any]
    shares: NDArray[np.float64]
    others: float


def attribution(
    tables: Tables,
    uncertainty: Uncertainty,
    n_members: int,
    user: int,
    item: int,
    rated: NDArray[np.int32],
    residuals: NDArray[np.float64] | None,
    n: int,
) -> Attribution:
    """Attribute p_u · q_i to the items that a user rated; see `Model.explain`.

    Parameters
    ----------
    n_members : int
        How many factorizations the model is the mean of.
    user, item : int
        Codes.
    rated : ndarray of shape (n_rated,), int32
        Codes of the items that the user rated.
    residuals : ndarray of the same shape, or None
        Each rating less μ, b_u and b_j. None: p_u · q_j in its place.
    n : int
        How many items to list.
    """
    p = tables.user_factors[user].astype(np.float64)
    q = tables.item_factors[item].astype(np.float64)
    Q = tables.item_factors[rated].astype(np.float64)
    targets = Q @ p if residuals is None else residuals
    # q_i · q_j of a folded model is the mean of its members', so the variance is that of one of them.
    prior = float(uncertainty.user_lengths[-1]) * n_members / len(q)  # t_p
    shares = _influences(Q, q, prior, uncertainty.noise) * targets
    order = np.lexsort((rated, -shares))[:n]
    listed = float(shares[order].sum())
    product = float(p @ q)
    return Attribution(
        product, tables.item_ids[rated[order]], shares[order], float(shares.sum()) - listed
    )


def _influences(Q: NDArray[Any], q: NDArray[Any], prior: float, noise: float) -> NDArray[Any]:
    """Return q_iᵀ (Σ_j q_j q_jᵀ + λ I)⁻¹ q_j of each rated item j, by the smaller of two systems."""
    if prior == 0 or not len(Q):
        return np.zeros(len(Q))
    strength = max(noise / prior, float(np.finfo(np.float32).tiny))
    n, k = Q.shape
    influences: NDArray[Any]
    if n < k:
        influences = np.linalg.solve(Q @ Q.T + strength * np.eye(n), Q @ q)
    else:
        influences = Q @ np.linalg.solve(Q.T @ Q + strength * np.eye(k), q)
    return influences
