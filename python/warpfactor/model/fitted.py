"""What a fitted model tells of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.columns import read_only
from ..data.ratings import pairs_to_codes
from ..serving.lookup import known_rows
from ..serving.tables import Tables
from .members import Member, Members, fold
from .record import EpochRecord, Origin, TrainingRecord

__all__ = ["Fitted"]


class Fitted:
    """The attributes of a fitted model, which `Model` describes."""

    _tables: Tables
    _record: TrainingRecord
    _members: Members | None

    @property
    def user_factors_(self) -> NDArray[Any]:
        """P."""
        return self._tables.user_factors

    @property
    def item_factors_(self) -> NDArray[Any]:
        """Q."""
        return self._tables.item_factors

    @property
    def user_biases_(self) -> NDArray[Any]:
        """b_u."""
        return self._tables.user_biases

    @property
    def item_biases_(self) -> NDArray[Any]:
        """b_i."""
        return self._tables.item_biases

    @property
    def global_mean_(self) -> float:
        """μ."""
        return self._tables.global_mean

    @property
    def user_ids_(self) -> NDArray[Any]:
        """The ids of the users."""
        return self._tables.user_ids

    @property
    def item_ids_(self) -> NDArray[Any]:
        """The ids of the items."""
        return self._tables.item_ids

    @property
    def user_known_(self) -> NDArray[np.bool_]:
        """Which users have training ratings."""
        return self._tables.user_known

    @property
    def item_known_(self) -> NDArray[np.bool_]:
        """Which items have training ratings."""
        return self._tables.item_known

    @property
    def user_counts_(self) -> NDArray[np.uint32]:
        """How many training ratings each user has."""
        return read_only(self._record.user_counts)

    @property
    def item_counts_(self) -> NDArray[np.uint32]:
        """How many training ratings each item has."""
        return read_only(self._record.item_counts)

    @property
    def seen_(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """What each user rated, as compressed rows."""
        return self._tables.seen.known_lists()

    @property
    def n_ratings_(self) -> int:
        """How many ratings it was trained on."""
        return self._record.n_ratings

    @property
    def rating_mean_(self) -> float:
        """The mean of the training ratings."""
        return self._tables.rating_mean

    @property
    def rating_range_(self) -> tuple[float, float]:
        """The lowest and the highest training rating."""
        return self._record.rating_range

    @property
    def start_bias_(self) -> float:
        """The bias of a row that the model does not know."""
        return self._tables.start_bias

    @property
    def has_biases_(self) -> bool:
        """Whether the score has μ and biases."""
        return self._tables.biases

    @property
    def loss_(self) -> str:
        """The loss it was trained with."""
        return self._record.loss

    @property
    def link_(self) -> str:
        """What rating a score predicts."""
        return self._tables.link

    @property
    def history_(self) -> list[EpochRecord]:
        """One record for each epoch."""
        return [record.copy() for record in self._record.history]

    @property
    def chosen_(self) -> dict[str, Any]:
        """What training chose where the parameters leave it open, by name."""
        return dict(self._record.chosen)

    @property
    def origin_(self) -> Origin:
        """When, how and how well it was trained."""
        return self._record.origin.copy()

    @property
    def n_epochs_(self) -> int:
        """The epoch whose factors were kept."""
        return self._record.n_epochs

    @property
    def n_threads_(self) -> int:
        """The threads that trained."""
        return self._record.n_threads

    @property
    def instruction_set_(self) -> str:
        """The kernels that trained."""
        return self._record.instruction_set

    @property
    def n_members_(self) -> int:
        """How many members its scores are the mean of."""
        return 1 if self._members is None else len(self._members)

    @property
    def noise_variance_(self) -> float | None:
        """The variance of ratings about the mean that the members estimate."""
        noise = None if self._members is None else self._members.noise
        return None if noise is None else noise.variance

    def half_width(self, coverage: float) -> float | None:
        """Return how many standard deviations on either side of a prediction hold such a share.

        It is what `predict_interval` multiplies by; None where the model has no standard deviations.
        """
        noise = None if self._members is None else self._members.noise
        return None if noise is None else noise.half_width(coverage)

    def as_member(self) -> Member:
        """Return what `model.members.fold` takes of this model; arrays are shared."""
        return Member(
            self._tables.user_factors,
            self._tables.item_factors,
            self._tables.user_biases,
            self._tables.item_biases,
            self._tables.global_mean,
            self._members,
        )

    def member_scores(self, X: Any) -> NDArray[np.float64]:
        """Return each member's score x of each pair: an array of shape (n_pairs, n_members).

        Their mean by `member_weights_` is the score that `predict` is made of; `X` is as there.
        Rows without training ratings count as zero.
        """
        tables = self._tables
        users, items = pairs_to_codes(X, tables.user_ids, tables.item_ids)
        users = known_rows(np, users, tables.user_known)
        items = known_rows(np, items, tables.item_known)
        members = self._members or fold([self.as_member()]).members
        return members.scores(tables, users, items)

    @property
    def member_weights_(self) -> NDArray[np.float64]:
        """The members' shares in the mean, which sum to 1."""
        return read_only(np.ones(1)) if self._members is None else self._members.weights
