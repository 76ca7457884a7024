"""What one worker of a cluster does: it holds blocks of users, with all of their ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .schedule import Task

__all__ = ["CHANGED", "BlockWorker", "Functions", "Piece", "rows_of_block"]

Sums = tuple[float, float]
# What the parts of a step of the prior means change of a block of items: its rows, what it keeps for the prior means,
# or the work, which is the first part of that.
CHANGED = {
    "leave": ("work",),
    "precondition": ("work",),
    "scale": ("work",),
    "coefficients": ("means",),
    "means": ("rows", "means"),
}


class Piece(NamedTuple):
    """Ratings of one block of users, all or a part of them.

    Parameters
    ----------
    users : ndarray of shape (n,), int32
        Internal rows, counted from the block's first.
    items : ndarray of shape (n,), int32
        Internal rows.
    values : ndarray of shape (n,), float32
    weights : ndarray of shape (n,), float32, or None
        All above 0; None: all 1.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    weights: NDArray[np.float32] | None = None

    def arrays(self) -> _core.RatingArrays:
        """Return the ratings as the core takes them."""
        return _core.RatingArrays(*self)

    def take(self, at: Any) -> Piece:
        """Return some of the ratings."""
        weights = None if self.weights is None else self.weights[at]
        return Piece(self.users[at], self.items[at], self.values[at], weights)

    @staticmethod
    def joined(pieces: Sequence[Any]) -> Piece:
        """Return the ratings of pieces one after the other, of which all or none have weights."""
        if len(pieces) == 1:
            return Piece(*pieces[0])
        if not pieces:
            return Piece(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
        users, items, values, weights = zip(*pieces, strict=True)
        return Piece(
            np.concatenate(users),
            np.concatenate(items),
            np.concatenate(values),
            None if weights[0] is None else np.concatenate(weights),
        )


class Functions(NamedTuple):
    """A loss and a penalty of the user's, which each worker compiles; None where there is none.

    Parameters
    ----------
    loss : CustomLoss or None
    penalty : CustomPenalty or None
    """

    loss: Any = None
    penalty: Any = None

    def addresses(self, dtype: np.dtype[Any]) -> dict[str, int]:
        """Return where they are in this process, compiled for factors of this type."""
        return {
            name: 0 if each is None else each.address(dtype)
            for name, each in zip(self._fields, self, strict=True)
        }


def _arrays(at: Sequence[tuple[int, int]], parcels: Sequence[Any]) -> list[NDArray[Any]]:
    """Return arrays out of parcels, by (parcel's number, array's number)."""
    return [parcels[parcel][number] for parcel, number in at]


def rows_of_block(of: str, dtype: np.dtype[Any]) -> Any:
    """Return the core's function or class of this name for factors of this type."""
    return getattr(_core, f"{of}_{dtype.name}")


class BlockWorker:
    """Blocks of users and their ratings; what is asked of it is done in the order in which it comes.

    The result of a call depends on the block's number and what it was given, not on the worker. Arrays
    of blocks come and go in parcels, lists of some: `at` says of each array which parcel has it, and
    where.

    Parameters
    ----------
    n_threads : int
        With which it trains; 0 for all that there are. Results do not depend on it.
    sends_copies : bool, default False
        Whether what a call returns is copied before the next call begins, so that its memory may be used
        again: fresh memory takes longer to be had than to be written.
    """

    def __init__(self, n_threads: int, *, sends_copies: bool = False) -> None:
        self._n_threads = n_threads
        self._sends_copies = sends_copies
        self._rooms: list[NDArray[Any]] = []
        self._pieces: dict[int, Piece] = {}
        self._blocks: dict[int, Any] = {}
        self._type = np.dtype(np.float32)
        self._plan: Any = None

    def is_there(self) -> bool:
        """Answer."""
        return True

    def load(self, number: int, n_users: int, n_items: int, *pieces: Any) -> Any:
        """Take the ratings of a block; return their moments, and what those of each user and item weigh.

        Of ratings without weights the latter is None.
        """
        piece = self._pieces[number] = Piece.joined(pieces)
        moments, _, _ = _core.moments_of(piece.arrays(), n_users, n_items)
        if piece.weights is None:
            return moments, None
        sides = (piece.users, n_users), (piece.items, n_items)
        return moments, [np.bincount(rows, piece.weights, n) for rows, n in sides]

    def sample(self, number: int, codes: NDArray[np.int32], counted: int, seed: int) -> Piece:
        """Return the ratings that the trainer looks at itself, with the users' codes."""
        piece = self._pieces[number]
        taken = _core.sampled_users(codes, counted, seed)[piece.users]
        return piece._replace(users=codes[piece.users]).take(taken)

    def begin(
        self,
        number: int,
        plan: Any,
        cut: dict[str, Any],
        functions: Functions,
        n_users: int,
        n_items: int,
        at: int,
        parcel: list[NDArray[Any]],
        pairs: Any,
        validation: Any,
    ) -> tuple[Any, Any]:
        """Sort the ratings of a block, which are not kept otherwise, and take its rows.

        Parameters
        ----------
        number : int
            Of the block.
        plan : BlockPlan
            What the trainer has decided.
        cut : dict
            The stripes of the block's users and of all items.
        functions : Functions
            The user's own.
        n_users, n_items : int
            Rows of the block, and of all items.
        at, parcel
            The rows: array number `at` of the parcel.
        pairs : (users, items) or None
            Internal rows, as in `Piece`, of pairs without a rating.
        validation : Piece or None
            The block's validation ratings.

        Returns
        -------
        (item_counts, item_diagonal)
            What the items' prior means need of the block's users; None without prior means.
        """
        rows = parcel[at]
        self._type, self._plan = rows.dtype, plan
        ratings = self._pieces.pop(number).arrays()
        block = rows_of_block("UserBlock", rows.dtype)(
            ratings,
            n_users,
            n_items,
            plan,
            number,
            cut,
            self._n_threads,
            pairs,
            **functions.addresses(rows.dtype),
        )
        block.set_rows(rows)
        if validation is not None:
            block.take_validation(Piece(*validation).arrays())
        self._blocks[number] = block
        if not (plan.user_means or plan.item_means):
            return None, None
        return block.item_counts(), block.item_diagonal()

    def begin_means(self, numbers: list[int], item_scales: NDArray[np.float64]) -> None:
        """Take what the users' side of the prior means needs of the items."""
        for number in numbers:
            self._blocks[number].begin_means(item_scales)

    def rows(self, numbers: list[int]) -> list[NDArray[Any]]:
        """Return copies of the rows of blocks."""
        return [self._blocks[number].rows() for number in numbers]

    def means(self, numbers: list[int]) -> list[NDArray[Any]]:
        """Return copies of what the prior means of blocks keep."""
        return [self._blocks[number].means() for number in numbers]

    def set_state(self, numbers: list[int], at: list[tuple[int, int]], *parcels: Any) -> None:
        """Go back to what `rows` returned, or to that and what `means` returned after it."""
        state = _arrays(at, parcels)
        for number, rows in zip(numbers, state, strict=False):
            self._blocks[number].set_rows(rows)
        for number, means in zip(numbers, state[len(numbers) :], strict=False):
            self._blocks[number].set_means(means)

    def train(
        self,
        tasks: list[Task],
        item_blocks: dict[int, int],
        epoch: int,
        rate: float,
        active: int,
        at: list[tuple[int, int]],
        *parcels: Any,
    ) -> tuple[list[NDArray[Any]], list[Sums]]:
        """Train blocks of items, one after the other, each against blocks of users, one after the other.

        Which of two blocks of users and of two of items is first is all that there is to a task: so a
        block of users takes all of the items before the next one does, while its rows are in the cache.

        Parameters
        ----------
        tasks : list of Task
            In their order.
        item_blocks : dict of int to int
            The block of items of each turn.
        epoch, rate, active
            As the trainer calls `BlockExchange.run_epoch`.
        at, *parcels
            The rows of these blocks.

        Returns
        -------
        (rows, losses)
            The new rows of each block of items, and the losses over the ratings of each pair of blocks, by
            task, block of users and turn.
        """
        moved = dict(zip(item_blocks, self._own(_arrays(at, parcels)), strict=True))
        losses: list[Sums] = []
        for task in tasks:
            for number in task.users:
                run = self._blocks[number].run
                losses += [
                    run(item_blocks[turn], moved[turn], epoch, rate, active) for turn in task.turns
                ]
        return list(moved.values()), losses

    def add(
        self,
        tasks: list[Task],
        item_blocks: list[int],
        active: int,
        leave: list[int],
        at: list[tuple[int, int]],
        *parcels: Any,
    ) -> list[NDArray[Any]]:
        """Add what blocks of users send to the items that they rated, to the work of blocks of those items.

        Those of `leave` first take the part "leave" of a step of the prior means. Turns of the tasks are
        blocks of items.
        """
        self.step_means(leave, "leave", active, np.empty(0, self._type))
        added = dict(zip(item_blocks, self._own(_arrays(at, parcels)), strict=True))
        for task in tasks:
            for number in task.users:
                for item_block in task.turns:
                    self._blocks[number].add_to_items(item_block, added[item_block], active)
        return list(added.values())

    def _own(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return copies that may be written to, as what is sent may not, each on a cache line of its own."""
        copies = []
        for at, array in enumerate(arrays):
            line = 64 // array.itemsize
            if not self._sends_copies or at >= len(self._rooms):
                room = np.empty(0, array.dtype)
            else:
                room = self._rooms[at]
            if len(room) < len(array) + line or room.dtype != array.dtype:
                room = np.empty(len(array) + line, array.dtype)
                if self._sends_copies:
                    self._rooms[at : at + 1] = [room]
            first = -room.ctypes.data % 64 // array.itemsize
            copies.append(room[first : first + len(array)])
            copies[-1][:] = array
        return copies

    def evaluate(self, numbers: list[int], at: list[tuple[int, int]], *parcels: Any) -> list[Sums]:
        """Return the losses over the validation ratings of blocks, each by block of items."""
        items = _arrays(at, parcels)
        return [
            self._blocks[number].evaluate(item_block, rows)
            for number in numbers
            for item_block, rows in enumerate(items)
        ]

    def step_means(self, numbers: list[int], part: str, active: int, along: Any) -> list[Any]:
        """Take a part of a step of the prior means, of blocks of users; return their sums."""
        return [self._blocks[number].step_means(part, active, along) for number in numbers]

    def sum_items(
        self, numbers: list[int], part: str, active: int, at: list[tuple[int, int]], *parcels: Any
    ) -> list[Any]:
        """Add up what the items of each user send, then take a part of a step; return the sums."""
        work = _arrays(at, parcels)
        for number in numbers:
            self._blocks[number].sum_items(work, active)
        return self.step_means(numbers, part, active, np.empty(0, self._type))

    def step_item_means(
        self,
        parts: list[str],
        changed: list[str],
        n_items: list[int],
        active: int,
        along: Any,
        at: list[tuple[int, int]],
        *parcels: Any,
    ) -> list[Any]:
        """Take parts of a step of the prior means, of blocks of items.

        Parameters
        ----------
        parts : list of str
            Which, in their order.
        changed : list of str
            What they change (`CHANGED`).
        n_items : list of int
            The items of each block.
        active : int
            How many factors are trained.
        along : ndarray
            How far the step goes; may be empty.
        at, *parcels
            The rows of the blocks, then what they keep for the prior means, then its first part, the
            work, which is newer.

        Returns
        -------
        list
            Of each that is changed, a list by block; then the list of the sums.
        """
        step = rows_of_block("step_item_means", self._type)
        n, state = len(n_items), _arrays(at, parcels)
        sums: list[Any] = []
        new: dict[str, list[Any]] = {"rows": [], "means": [], "work": []}
        for number, size in enumerate(n_items):
            rows, means, work = (state[of * n + number] for of in range(3))
            means = np.concatenate((work, means[len(work) :]))
            for part in parts:
                rows, means, of_block = step(
                    part, self._plan, size, active, rows, means, along, self._n_threads
                )
            sums.append(of_block)
            new["rows"].append(rows)
            new["means"].append(means)
            new["work"].append(means[: len(work)])
        return [*(new[name] for name in changed), sums]

    def about(self, n_factors: int, dtype: np.dtype[Any]) -> tuple[str, str, int]:
        """Return the version and the kernels of this process, and with how many threads it works."""
        threads = self._n_threads or _core.available_threads()
        kernels = _core.training_instruction_set(n_factors, dtype == np.float64)
        return _core.__version__, kernels, threads
