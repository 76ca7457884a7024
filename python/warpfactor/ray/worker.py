"""What one worker of a cluster does: it holds blocks of users, with all of their ratings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core

__all__ = ["CHANGED", "BlockWorker", "Piece", "rows_of_block"]

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


def _returned(values: list[Any]) -> Any:
    """Return values of several returns: Ray takes one for one return, and a list for several."""
    return values[0] if len(values) == 1 else values


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

    def begin_means(self, numbers: list[int], item_scales: NDArray[np.float64]) -> None:
        """Take what the users' side of the prior means needs of the items."""
        for number in numbers:
            self._blocks[number].begin_means(item_scales)

    def rows(self, numbers: list[int]) -> Any:
        """Return copies of the rows of blocks; of one block alone its own."""
        return _returned([self._blocks[number].rows() for number in numbers])

    def means(self, numbers: list[int]) -> Any:
        """Return copies of what the prior means of blocks keep; of one block alone its own."""
        return _returned([self._blocks[number].means() for number in numbers])

    def set_state(self, numbers: list[int], *state: Any) -> None:
        """Go back to what `rows` returned, or to that and what `means` returned after it."""
        for number, rows in zip(numbers, state, strict=False):
            self._blocks[number].set_rows(rows)
        for number, means in zip(numbers, state[len(numbers) :], strict=False):
            self._blocks[number].set_means(means)

    def train(
        self,
        numbers: list[int],
        item_blocks: list[int],
        epoch: int,
        rate: float,
        active: int,
        *items: Any,
    ) -> list[Any]:
        """Train blocks of items, one after the other, each against blocks of users, one after the other.

        Which of two blocks of users and of two of items is first is all that there is to it: so a block of
        users takes all of the items before the next one does, while its rows are in the cache.

        Returns
        -------
        list
            The new rows of each block of items, and last the losses over the ratings of each pair of
            blocks, those of a block of users together.
        """
        moved, losses = self._own(items), []
        for number in numbers:
            run = self._blocks[number].run
            losses += [
                run(item_block, rows, epoch, rate, active)
                for item_block, rows in zip(item_blocks, moved, strict=True)
            ]
        return [*moved, losses]

    def add(self, numbers: list[int], item_blocks: list[int], active: int, *work: Any) -> Any:
        """Add what blocks of users send to the items that they rated, to the work of blocks of those items."""
        added = self._own(work)
        for number in numbers:
            for item_block, of_items in zip(item_blocks, added, strict=True):
                self._blocks[number].add_to_items(item_block, of_items, active)
        return _returned(added)

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

    def evaluate(self, numbers: list[int], *items: Any) -> list[Sums]:
        """Return the losses over the validation ratings of blocks, each by block of items."""
        return [
            self._blocks[number].evaluate(at, rows)
            for number in numbers
            for at, rows in enumerate(items)
        ]

    def step_means(self, numbers: list[int], part: str, active: int, along: Any) -> list[Any]:
        """Take a part of a step of the prior means, of blocks of users; return their sums."""
        return [self._blocks[number].step_means(part, active, along) for number in numbers]

    def sum_items(self, numbers: list[int], part: str, active: int, *item_work: Any) -> list[Any]:
        """Add up what the items of each user send, then take a part of a step; return the sums."""
        for number in numbers:
            self._blocks[number].sum_items(list(item_work), active)
        return self.step_means(numbers, part, active, np.empty(0, self._type))

    def step_item_means(
        self, part: str, n_items: list[int], active: int, along: Any, *state: Any
    ) -> Any:
        """Take a part of a step of the prior means, of blocks of items.

        Parameters
        ----------
        part : str
            Which.
        n_items : list of int
            The items of each block.
        active : int
            How many factors are trained.
        along : ndarray
            How far the step goes; may be empty.
        *state : ndarray
            The rows of the blocks, then what they keep for the prior means, then its first part, the
            work, which is newer.

        Returns
        -------
        list
            What the part changes (`CHANGED`): so much of the state, block by block; then the list of
            the sums.
        """
        step = rows_of_block("step_item_means", self._type)
        n = len(n_items)
        sums: list[Any] = []
        changed: dict[str, list[Any]] = {"rows": [], "means": [], "work": []}
        for at, size in enumerate(n_items):
            rows, means, work = state[at], state[n + at], state[2 * n + at]
            means = np.concatenate((work, means[len(work) :]))
            rows, means, of_block = step(
                part, self._plan, size, active, rows, means, along, self._n_threads
            )
            sums.append(of_block)
            changed["rows"].append(rows)
            changed["means"].append(means)
            changed["work"].append(means[: len(work)])
        return [each for name in CHANGED[part] for each in changed[name]] + [sums]

    def about(self) -> tuple[str, str, int]:
        """Return the version and the kernels of this process, and with how many threads it works."""
        threads = self._n_threads or _core.available_threads()
        if self._plan is None:
            return _core.__version__, _core.instruction_set(), threads
        kernels = _core.training_instruction_set(self._plan.n_factors, self._type == np.float64)
        return _core.__version__, kernels, threads
