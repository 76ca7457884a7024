"""The exchange of blocks: how an epoch over ratings that several workers hold is done.

Users and items are cut into as many blocks. A block of users stays with one worker, which holds its
rows and all of its ratings. The rows of a block of items, with what the optimizer keeps of them,
travel: in an epoch each passes all blocks of users, from worker to worker, and they follow each other
as on a belt. So no two workers touch the same rows at a time, and the order is that of one machine,
whose stripes follow each other through the threads.

What is done depends on the blocks alone, not on who holds them, and neither do the bits. The trainer
itself is the core's: it calls `BlockExchange` as it calls the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .crew import Crew, WorkerLostError
from .worker import CHANGED, Piece, rows_of_block

__all__ = ["BlockExchange", "Holding", "SideBlocks", "divided"]

_Result = TypeVar("_Result")
# A worker that ends again and again at the same place would do so for ever.
_MOST_LOSSES = 5
# An epoch has so many steps for each worker at least, if there are as many blocks; of w workers each is busy in s of
# s + w - 1 steps. And no more than leave each step so many ratings on a worker: a step takes some milliseconds of Ray, and
# fetches all rows of the worker's users into the caches again. 10 M ratings, k = 32, two workers, steps 4, 6, 8: 0.121,
# 0.137, 0.133 s an epoch (2026-11-28, loaded machine).
_STEPS, _STEP_RATINGS = 2, 2_000_000
# Of the time, what copies of the rows to this machine may take where nobody says how often they are made.
_COPY_SHARE = 0.05
# What there is of the blocks: rows, and what their prior means keep.
_ROWS, _MEANS = ("user_rows", "item_rows"), ("user_means", "item_means")


class SideBlocks:
    """How one side's rows are cut into blocks.

    Parameters
    ----------
    cut : mapping
        The side's part of what `_core.cut_sides` returns.

    Attributes
    ----------
    position : ndarray of shape (n_rows,), int32
        The internal row of each code.
    codes : ndarray of shape (n_rows,), int32
        The code of each internal row.
    first : ndarray of shape (n_blocks + 1,), int32
        The first internal row of each block, and the number of rows.
    """

    def __init__(self, cut: dict[str, Any]) -> None:
        self.position: NDArray[np.int32] = cut["position"]
        self.stripes = np.asarray(cut["begin"], np.int32)
        self.first_stripe = np.asarray(cut["first_stripe"], np.int32)
        self.first: NDArray[np.int32] = self.stripes[self.first_stripe]
        self.codes = np.empty_like(self.position)
        self.codes[self.position] = np.arange(len(self.position), dtype=np.int32)

    def __len__(self) -> int:
        return len(self.first) - 1

    def block(self, number: int) -> slice:
        """Return the internal rows of a block."""
        return slice(int(self.first[number]), int(self.first[number + 1]))

    def size(self, number: int) -> int:
        """Return how many rows a block has."""
        return int(self.first[number + 1] - self.first[number])

    def blocks_of(self, positions: NDArray[np.int32]) -> NDArray[np.intp]:
        """Return the blocks of internal rows."""
        return np.searchsorted(self.first, positions, side="right") - 1

    def stripes_of(self, number: int) -> list[int]:
        """Return where the stripes of a block begin and end, counted from its first row."""
        of = self.stripes[self.first_stripe[number] : self.first_stripe[number + 1] + 1]
        return [int(row) for row in of - of[0]]


class Holding(NamedTuple):
    """What the workers are to hold.

    Parameters
    ----------
    users, items : SideBlocks
        How the sides are cut.
    cut : dict
        What `_core.cut_sides` returns.
    user_counts, item_counts : ndarray of uint32
        Ratings of each code.
    pieces : list of list
        Of each block of users: references to its ratings, as `Piece`.
    """

    users: SideBlocks
    items: SideBlocks
    cut: dict[str, Any]
    user_counts: NDArray[np.uint32]
    item_counts: NDArray[np.uint32]
    pieces: list[list[Any]]

    def worker_of(self, block: int, n_workers: int) -> int:
        """Return which worker holds a block of users: neighbours are together."""
        return block * n_workers // len(self.users)

    def load(self, crew: Crew, block: int) -> Any:
        """Have a worker take the ratings of a block; return a reference to what it tells of them."""
        return crew.call(
            self.worker_of(block, crew.n_workers),
            "load",
            block,
            self.users.size(block),
            len(self.items.codes),
            *self.pieces[block],
        )


class _Taken(NamedTuple):
    """Copies on this machine of what blocks have.

    Parameters
    ----------
    references : dict of str to list
        By part, those of each block.
    values : dict of str to list
        What they stand for, which is here as long as this is.
    """

    references: dict[str, list[Any]]
    values: dict[str, list[Any]]


class BlockExchange:
    """The trainer's backend whose work is done by a crew; the core calls its methods.

    A worker that is lost is replaced: the new one loads its blocks again, all go back to the last
    copy of the rows on this machine, and do what has been done since.

    Parameters
    ----------
    crew : Crew
        Whose workers have loaded the blocks.
    holding : Holding
        What they hold.
    dtype : dtype
        Of the factors.
    copy_every : int or None
        After how many epochs the rows of all blocks are copied to this machine. None: as often as takes
        a twentieth of the time.
    """

    def __init__(
        self, crew: Crew, holding: Holding, dtype: np.dtype[Any], copy_every: int | None
    ) -> None:
        self._crew, self._holding, self._type = crew, holding, dtype
        self._blocks = range(len(holding.users))
        self._every = copy_every
        self._none = np.empty(0, dtype)
        self._scales: Any = None
        self._validation: list[Any] = []
        # What is to be restored when a worker is lost, and what has been done since.
        self._saved = self._kept = _Taken({}, {})
        self._since: list[Callable[[], object]] = []
        self._copied = self._copy_seconds = 0.0  # when, and how long it took
        # References to the rows of each block of items, and to what their prior means keep.
        self._items: list[Any] = []
        self._item_means: list[Any] = []
        # Of a step of the prior means: what items send and are sent, and that before anything is.
        self._work: list[Any] = []
        self._no_work: list[Any] = []
        # The workers, each with its blocks of users; of the blocks of items it takes those of the same numbers where
        # anybody may.
        self._shares = [
            (worker, [at for at in self._blocks if holding.worker_of(at, crew.n_workers) == worker])
            for worker in range(crew.n_workers)
        ]
        self._broken = False
        self._missing: set[int] = set()  # blocks of users that no worker holds
        self.n_lost = 0  # workers, so far

    # What the trainer calls.

    def upload(self, plan: Any, users: Any, items: Any, validation: Any) -> None:
        """Take what was decided, the first factors and biases, and the validation ratings."""
        self._plan = plan
        self._has_means = plan.user_means or plan.item_means
        self._plan_reference = self._crew.put(plan)
        self._items = self._packed(items, of_users=False)
        self._validation = [] if validation is None else self._divided(validation)
        first_rows = self._packed(users, of_users=True)
        for attempt in range(_MOST_LOSSES):
            try:
                self._begin(list(self._blocks), first_rows)
                self._copy()
                return
            except WorkerLostError:
                if attempt == _MOST_LOSSES - 1:
                    raise
                # Without a copy all begin anew.
                self.n_lost += len(self._crew.replace_lost())
                self._crew.get([self._holding.load(self._crew, block) for block in self._blocks])

    def run_epoch(self, epoch: int, rate: float, active: int) -> tuple[float, float]:
        """Train one epoch; return the sums of the losses."""
        sums = self._done(lambda: self._run_epoch(epoch, rate, active))
        if self._is_due(epoch):
            self._retrying(self._copy)
        return sums

    def update_means(self, active: int) -> None:
        """Move the prior means."""
        self._done(lambda: self._update_means(active))

    def evaluate(self) -> tuple[float, float]:
        """Return the sums of the losses over the validation ratings."""

        def evaluated() -> tuple[float, float]:
            told = self._on_all("evaluate", *self._items)
            return _total([each for sums in self._crew.get(told) for each in sums])

        return self._retrying(evaluated)

    def keep(self) -> None:
        """Keep a copy of all rows."""
        self._kept = self._retrying(lambda: self._taken(*_ROWS))

    def restore(self) -> None:
        """Go back to that copy; prior means stay what they have become."""
        kept = self._kept  # this copy, whenever it is done again

        def back() -> None:
            self._items = list(kept.references["item_rows"])
            self._set(kept.references["user_rows"])

        self._done(back)

    def state(self, kept: bool) -> list[tuple[str, NDArray[Any]]]:
        """Return all that training remembers of rows, as arrays by name; `kept`: the copy of `keep` too."""
        named = [("", self._retrying(self._all))]
        if kept:
            named.append(("kept_", self._kept))
        return [
            (f"{prefix}{part}_{block}", np.asarray(array))
            for prefix, taken in named
            for part, arrays in taken.values.items()
            for block, array in enumerate(arrays)
        ]

    def set_state(self, arrays: Sequence[tuple[str, NDArray[Any]]], kept: bool) -> None:
        """Go on from what `state` returned."""
        given = dict(arrays)

        def taken(prefix: str, like: _Taken) -> _Taken:
            values = {
                part: [given[f"{prefix}{part}_{block}"] for block in self._blocks]
                for part in like.values
            }
            return _Taken(
                {part: list(map(self._crew.put, of)) for part, of in values.items()}, values
            )

        self._saved, self._since = taken("", self._saved), []
        if kept:
            self._kept = taken("kept_", self._kept)
        self._retrying(self._go_back)

    def release(self) -> None:
        """Do nothing: the workers end with the fit."""

    def download(self) -> tuple[NDArray[Any], ...]:
        """Return the factors and biases of the users and of the items, in the order of the codes."""
        now = self._retrying(lambda: self._taken(*_ROWS)).values
        users = self._unpacked(now["user_rows"], self._holding.users)
        return *users, *self._unpacked(now["item_rows"], self._holding.items)

    def n_threads(self) -> int:
        """Return how many threads all workers have."""
        return sum(threads for _, _, threads in self._about())

    def instruction_set(self) -> str:
        """Return which kernels train."""
        return ", ".join(sorted({kernels for _, kernels, _ in self._about()}))

    # How it is done.

    def _is_due(self, epoch: int) -> bool:
        """Whether the rows are to be copied after this epoch."""
        if self._every is not None:
            return (epoch + 1) % self._every == 0
        return perf_counter() - self._copied > self._copy_seconds / _COPY_SHARE

    def _run_epoch(self, epoch: int, rate: float, active: int) -> tuple[float, float]:
        users, items = _core.block_order(len(self._blocks), self._plan.seed, epoch)
        told, cells = [], []
        for worker, blocks, turns in self._passes(users):
            at = [items[turn] for turn in turns]
            *moved, losses = self._crew.call(
                worker,
                "train",
                blocks,
                at,
                epoch,
                rate,
                active,
                *(self._items[block] for block in at),
                n_returns=len(at) + 1,
            )
            for block, rows in zip(at, moved, strict=True):
                self._items[block] = rows
            told.append(losses)
            cells += [(turn, block) for block in blocks for turn in turns]
        losses = [each for call in self._crew.get(told) for each in call]
        # The sum is taken in an order that does not depend on who did what.
        return _total([each for _, each in sorted(zip(cells, losses, strict=True))])

    def _passes(self, users: Sequence[int]) -> Iterator[tuple[int, list[int], range]]:
        """Yield (worker, blocks of users, turns of blocks of items) of each call, in their order.

        Each block of items passes all blocks of users in the order given: in one call those that
        follow each other on one worker, which are a stage. In each step every stage has other blocks of
        items, which go on to the next stage while this one takes the next.
        """
        stages: list[tuple[int, list[int]]] = []
        for block in users:
            worker = self._holding.worker_of(block, self._crew.n_workers)
            if not stages or stages[-1][0] != worker:
                stages.append((worker, []))
            stages[-1][1].append(block)
        n = len(self._blocks)
        n_workers = self._crew.n_workers
        n_ratings = int(self._holding.user_counts.sum(dtype=np.int64))
        wanted = max(_STEPS * n_workers, n_ratings // (n_workers * _STEP_RATINGS))
        n_steps = min(n, wanted) if len(stages) > 1 else 1
        turns = [range(n * at // n_steps, n * (at + 1) // n_steps) for at in range(n_steps)]
        # Where the users begin in the middle of a worker's, it has the first stage and the last. That waits for blocks
        # that another has just sent, so it takes them a step later than they could be there.
        late = [
            number + (worker == stages[0][0] and number > 0)
            for number, (worker, _) in enumerate(stages)
        ]
        for step in range(n_steps + late[-1]):
            for (worker, blocks), by in zip(stages, late, strict=True):
                if 0 <= step - by < n_steps:
                    yield worker, blocks, turns[step - by]

    def _update_means(self, active: int) -> None:
        if self._plan.user_means:
            self._step_users("leave", active, self._none)
            self._gather_at_items(active)
            of_items = self._step_items("precondition", active)
            of_users = self._gather_at_users("scale", active)
            along = self._along([*of_items, *of_users])
            self._step_items("coefficients", active, along)
            self._step_users("means", active, along)
        if self._plan.item_means:
            self._work = list(self._no_work)
            self._step_items("leave", active)
            of_users = self._gather_at_users("precondition", active)
            self._gather_at_items(active)
            of_items = self._step_items("scale", active)
            along = self._along([*of_users, *of_items])
            self._step_users("coefficients", active, along)
            self._step_items("means", active, along)

    def _gather_at_items(self, active: int) -> None:
        """Sum what the users of each item send; each sum goes round the blocks of users."""
        self._work = list(self._no_work)
        for worker, blocks, at in self._passes(self._blocks):
            work = self._work[at.start : at.stop]
            added = self._crew.call(
                worker, "add", blocks, list(at), active, *work, n_returns=len(at)
            )
            self._work[at.start : at.stop] = added if len(at) > 1 else [added]

    def _gather_at_users(self, part: str, active: int) -> list[Any]:
        """Sum what the items of each user send, which all workers read."""
        return self._on_all("sum_items", part, active, *self._work)

    def _step_users(self, part: str, active: int, along: Any) -> None:
        self._on_all("step_means", part, active, along)

    def _step_items(self, part: str, active: int, along: Any = None) -> list[Any]:
        """Take a part of a step at all blocks of items, each worker at some."""
        state = {"rows": self._items, "means": self._item_means, "work": self._work}
        sums = []
        for worker, blocks in self._shares:
            *changed, of_blocks = self._crew.call(
                worker,
                "step_item_means",
                part,
                [self._holding.items.size(block) for block in blocks],
                active,
                self._none if along is None else along,
                *(each[block] for each in state.values() for block in blocks),
                n_returns=len(CHANGED[part]) * len(blocks) + 1,
            )
            sums.append(of_blocks)
            for at, name in enumerate(CHANGED[part]):
                for block, value in zip(blocks, changed[at * len(blocks) :], strict=False):
                    state[name][block] = value
        return sums

    def _along(self, sums: list[Any]) -> Any:
        total = np.zeros(1)
        for of_worker in self._crew.get(sums):
            for each in of_worker:
                if len(each):
                    total = total + np.asarray(each)
        return rows_of_block("least_along", self._type)(total.tolist())

    def _on_all(self, method: str, *arguments: Any) -> list[Any]:
        """Have each worker do something with all of its blocks of users; return references in their order."""
        return [
            self._crew.call(worker, method, blocks, *arguments) for worker, blocks in self._shares
        ]

    # Beginning, keeping, and beginning again.

    def _begin(self, blocks: list[int], first_rows: list[Any]) -> None:
        """Have the workers of these blocks sort their ratings and take their first rows."""
        users, items = self._holding.users, self._holding.items
        told = []
        for block in blocks:
            cut = {
                "users": users.stripes_of(block),
                "items": items.stripes.tolist(),
                "first_stripe": items.first_stripe.tolist(),
                "users_outer": self._holding.cut["users_outer"],
                "band_rows": self._holding.cut["band_rows"],
            }
            shape = users.size(block), len(items.codes)
            held_out = self._validation[block] if self._validation else ()
            arguments = (block, self._plan_reference, cut, *shape, first_rows[block], *held_out)
            worker = self._holding.worker_of(block, self._crew.n_workers)
            told.append(self._crew.call(worker, "begin", *arguments))
        counted = self._crew.get(told)
        if not self._has_means:
            return
        if self._scales is None:
            counts, diagonals = (sum(column) for column in zip(*counted, strict=True))
            scales = np.zeros(len(counts))
            np.divide(1, np.sqrt(counts), out=scales, where=counts > 0)
            packed = rows_of_block("packed_means", self._type)
            self._item_means = [
                self._crew.put(packed(self._plan, scales[at], diagonals[at]))
                for at in map(items.block, self._blocks)
            ]
            self._scales = self._crew.put(scales)
            empty = rows_of_block("empty_work", self._type)
            sizes = map(items.size, self._blocks)
            self._no_work = [self._crew.put(empty(self._plan, size)) for size in sizes]
        for worker, mine in self._shares:
            begun = [block for block in mine if block in blocks]
            self._crew.call(worker, "begin_means", begun, self._scales)

    def _taken(self, *parts: str) -> _Taken:
        """Copy parts of all blocks to this machine."""
        references = {
            "user_rows": lambda: self._collected("rows"),
            "user_means": lambda: self._collected("means"),
            "item_rows": lambda: list(self._items),
            "item_means": lambda: list(self._item_means),
        }
        taken = {part: references[part]() for part in parts}
        return _Taken(taken, {part: self._crew.get(of) for part, of in taken.items()})

    def _collected(self, method: str) -> list[Any]:
        """Return references to what each block of users has."""
        told: list[Any] = []
        for worker, blocks in self._shares:
            of_worker = self._crew.call(worker, method, blocks, n_returns=len(blocks))
            told += of_worker if len(blocks) > 1 else [of_worker]
        return told

    def _all(self) -> _Taken:
        return self._taken(*(_ROWS + _MEANS if self._has_means else _ROWS))

    def _copy(self) -> None:
        before = perf_counter()
        self._saved = self._all()
        self._since = []
        self._copied = perf_counter()
        self._copy_seconds = self._copied - before

    def _done(self, operation: Callable[[], _Result]) -> _Result:
        """Do what changes rows, and remember it until the next copy."""
        result = self._retrying(operation)
        self._since.append(operation)
        return result

    def _retrying(self, operation: Callable[[], _Result]) -> _Result:
        """Do something, again where a worker is lost in the middle of it."""
        for attempt in range(_MOST_LOSSES):
            try:
                if self._broken:
                    self._recover()
                return operation()
            except WorkerLostError:
                self._broken = True
                if attempt == _MOST_LOSSES - 1:
                    raise
        raise AssertionError

    def _recover(self) -> None:
        """Put new workers in the place of the lost, and bring all to where the last operation ended."""
        lost = self._crew.replace_lost()
        self.n_lost += len(lost)
        n_workers = self._crew.n_workers
        rows = self._saved.references["user_rows"]
        self._missing.update(
            at for at in self._blocks if self._holding.worker_of(at, n_workers) in lost
        )
        blocks = sorted(self._missing)  # also those of a recovery that another loss ended
        self._crew.get([self._holding.load(self._crew, block) for block in blocks])
        self._begin(blocks, rows)
        self._missing.clear()
        self._go_back()
        for operation in self._since:
            operation()
        self._broken = False

    def _go_back(self) -> None:
        """Bring all to the last copy."""
        saved = self._saved.references
        told = self._set(saved["user_rows"], *([saved["user_means"]] if self._has_means else []))
        self._items = list(saved["item_rows"])
        self._item_means = list(saved.get("item_means", ()))
        self._crew.get(told)

    def _set(self, *parts: list[Any]) -> list[Any]:
        """Have the workers take rows, or rows and what prior means keep, of all blocks of users."""
        return [
            self._crew.call(worker, "set_state", blocks, *(of[at] for of in parts for at in blocks))
            for worker, blocks in self._shares
        ]

    def _packed(self, rows: tuple[NDArray[Any], NDArray[Any]], *, of_users: bool) -> list[Any]:
        """Return references to the rows of each block of a side, as they are sent."""
        side = self._holding.users if of_users else self._holding.items
        counts = self._holding.user_counts if of_users else self._holding.item_counts
        packed = rows_of_block("packed_rows", self._type)
        factors, biases = rows
        return [
            self._crew.put(packed(self._plan, of_users, factors[at], biases[at], counts[at]))
            for at in (side.codes[side.block(block)] for block in self._blocks)
        ]

    def _unpacked(self, blocks: list[Any], side: SideBlocks) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the factors and biases of a side, from the rows of its blocks."""
        unpacked = rows_of_block("unpacked_rows", self._type)
        factors = np.empty((len(side.codes), self._plan.n_factors), self._type)
        biases = np.empty(len(side.codes), self._type)
        for block, rows in enumerate(blocks):
            at = side.codes[side.block(block)]
            factors[at], biases[at] = unpacked(self._plan, rows, len(at))
        return factors, biases

    def _divided(self, ratings: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]) -> list[Any]:
        """Return references to the columns of ratings, by block of users."""
        users, items, values = ratings
        pieces = divided(self._holding.users, self._holding.items, users, items, values)
        return [[self._crew.put(column) for column in piece] for piece in pieces]

    def _about(self) -> list[tuple[str, str, int]]:
        def told() -> list[tuple[str, str, int]]:
            return self._crew.get(
                [self._crew.call(worker, "about") for worker in range(self._crew.n_workers)]
            )

        about = self._retrying(told)
        versions = {version for version, _, _ in about}
        if versions != {_core.__version__}:
            raise RuntimeError(
                f"the workers have warpfactor {', '.join(sorted(versions))}, and this is "
                f"{_core.__version__}: install the same version on all machines"
            )
        return about


def divided(
    users: SideBlocks,
    items: SideBlocks,
    user_codes: NDArray[np.int32],
    item_codes: NDArray[np.int32],
    values: NDArray[np.float32],
) -> list[Piece]:
    """Divide ratings into those of each block of users, in the order given."""
    rows, columns = users.position[user_codes], items.position[item_codes]
    blocks = users.blocks_of(rows)
    order = np.argsort(blocks.astype(np.uint16), kind="stable")  # of 16 bits it is a radix sort
    begin = np.searchsorted(blocks[order], np.arange(len(users) + 1))
    rows = rows - users.first[blocks]
    return [
        Piece(rows[at], columns[at], values[at])
        for at in (order[begin[n] : begin[n + 1]] for n in range(len(users)))
    ]


def _total(sums: list[tuple[float, float]]) -> tuple[float, float]:
    """Add up losses in their order."""
    losses, squares = 0.0, 0.0
    for loss, square in sums:
        losses += loss
        squares += square
    return losses, squares
