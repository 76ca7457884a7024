"""What one worker of a cluster does: it holds blocks of users, with all of their ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core

__all__ = ["BlockWorker", "Piece", "rows_of_block"]

Sums = tuple[float, float]


class Piece(NamedTuple):
    """Ratings of one block of users, all or a part of them.

    Parameters
    ----------
    users : ndarray of shape (n,), int32
        Internal rows, counted from the block's first.
    items : ndarray of shape (n,), int32
        Internal rows.
    values : ndarray of shape (n,), float32
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]

    def arrays(self) -> _core.RatingArrays:
        """Return the ratings as the core takes them."""
        return _core.RatingArrays(self.users, self.items, self.values)


def _whole(pieces: Sequence[Any]) -> Piece:
    if len(pieces) == 1:
        return Piece(*pieces[0])
    if not pieces:
        return Piece(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    return Piece(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def rows_of_block(of: str, dtype: np.dtype[Any]) -> Any:
    """Return the core's function or class of this name for factors of this type."""
    return getattr(_core, f"{of}_{dtype.name}")


class BlockWorker:
    """Blocks of users and their ratings; what is asked of it is done in the order in which it comes.

    The result of a call depends on the block's number and what it was given, not on the worker.

    Parameters
    ----------
    n_threads : int
        With which it trains; 0 for all that there are. Results do not depend on it.
    """

    def __init__(self, n_threads: int) -> None:
        self._n_threads = n_threads
        self._pieces: dict[int, Piece] = {}
        self._blocks: dict[int, Any] = {}
        self._type = np.dtype(np.float32)
        self._plan: Any = None

    def load(self, number: int, n_users: int, n_items: int, *pieces: Any) -> Any:
        """Take the ratings of a block; return their moments, and how many each item has."""
        piece = self._pieces[number] = _whole(pieces)
        moments, _, item_counts = _core.moments_of(piece.arrays(), n_users, n_items)
        return moments, item_counts

    def sample(self, number: int, codes: NDArray[np.int32], counted: int, seed: int) -> Piece:
        """Return the ratings that the trainer looks at itself, with the users' codes."""
        piece = self._pieces[number]
        users = codes[piece.users]
        taken = _core.sampled_users(codes, counted, seed)[piece.users]
        return Piece(users[taken], piece.items[taken], piece.values[taken])

    def begin(
        self,
        number: int,
        plan: Any,
        cut: dict[str, Any],
        n_users: int,
        n_items: int,
        rows: NDArray[Any],
        *validation: Any,
    ) -> tuple[Any, Any]:
        """Sort the ratings of a block, which are not kept otherwise, and take its rows.

        Returns
        -------
        (item_counts, item_diagonal)
            What the items' prior means need of the block's users; None without prior means.
        """
        self._type, self._plan = rows.dtype, plan
        block = rows_of_block("UserBlock", rows.dtype)(
            self._pieces.pop(number).arrays(), n_users, n_items, plan, number, cut, self._n_threads
        )
        block.set_rows(rows)
        if validation:
            block.take_validation(Piece(*validation).arrays())
        self._blocks[number] = block
        if not (plan.user_means or plan.item_means):
            return None, None
        return block.item_counts(), block.item_diagonal()

    def begin_means(self, number: int, item_scales: NDArray[np.float64]) -> None:
        """Take what the users' side of the prior means needs of the items."""
        self._blocks[number].begin_means(item_scales)

    def state(self, number: int) -> tuple[Any, Any]:
        """Return copies of the rows of a block, and of what its prior means keep."""
        means = self._plan.user_means or self._plan.item_means
        block = self._blocks[number]
        return block.rows(), block.means() if means else None

    def set_state(self, number: int, rows: Any, means: Any) -> None:
        """Go back to what `state` returned."""
        self._blocks[number].set_rows(rows)
        if means is not None:
            self._blocks[number].set_means(means)

    def train(
        self,
        numbers: list[int],
        item_block: int,
        items: Any,
        epoch: int,
        rate: float,
        active: int,
    ) -> tuple[Any, list[Sums]]:
        """Train a block of items against blocks of users, one after the other.

        Returns
        -------
        (items, losses)
            The items' new rows, and the losses over the ratings of each block of users.
        """
        losses = []
        for number in numbers:
            items, of_block = self._blocks[number].run(item_block, items, epoch, rate, active)
            losses.append(of_block)
        return items, losses

    def add(self, numbers: list[int], item_block: int, work: Any, active: int) -> Any:
        """Add what blocks of users send to the items that they rated, to those items' work."""
        for number in numbers:
            work = self._blocks[number].add_to_items(item_block, work, active)
        return work

    def evaluate(self, number: int, *items: Any) -> list[Sums]:
        """Return the losses over the validation ratings of a block, by block of items."""
        block = self._blocks[number]
        return [block.evaluate(at, rows) for at, rows in enumerate(items)]

    def step_means(self, number: int, part: str, active: int, along: Any) -> Any:
        """Take a part of a step of the prior means, of a block of users; return its sums."""
        return self._blocks[number].step_means(part, active, along)

    def sum_items(self, number: int, part: str, active: int, *item_work: Any) -> Any:
        """Add up what the items of each user send, then take a part of a step; return its sums."""
        block = self._blocks[number]
        block.sum_items(list(item_work), active)
        return block.step_means(part, active, np.empty(0, self._type))

    def step_item_means(
        self, part: str, n_items: int, active: int, rows: Any, means: Any, work: Any, along: Any
    ) -> Any:
        """Take a part of a step of the prior means, of a block of items.

        Returns
        -------
        (rows, means, work, sums)
            `work` is the first part of the means.
        """
        means = np.concatenate((work, means[len(work) :]))
        step = rows_of_block("step_item_means", self._type)
        rows, means, sums = step(
            part, self._plan, n_items, active, rows, means, along, self._n_threads
        )
        return rows, means, means[: len(work)].copy(), sums

    def empty_work(self, n_items: int) -> Any:
        """Return the work of a block of items before users add to it."""
        return rows_of_block("empty_work", self._type)(self._plan, n_items)

    def about(self) -> tuple[str, str, int]:
        """Return the version and the kernels of this process, and with how many threads it works."""
        threads = self._n_threads or _core.available_threads()
        if self._plan is None:
            return _core.__version__, _core.instruction_set(), threads
        kernels = _core.training_instruction_set(self._plan.n_factors, self._type == np.float64)
        return _core.__version__, kernels, threads
