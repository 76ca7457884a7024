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

from collections.abc import Callable, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .crew import Crew, WorkerLostError
from .schedule import Call, Rounds, calls_of
from .worker import CHANGED, Functions, Piece, rows_of_block

__all__ = ["BlockExchange", "Holding", "SideBlocks", "divided"]

_Result = TypeVar("_Result")
# A worker that ends again and again at the same place would do so for ever.
_MOST_LOSSES = 5
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
    user_weights, item_weights : ndarray of float64, or None
        What the ratings of each code weigh; None: as much as there are.
    """

    users: SideBlocks
    items: SideBlocks
    cut: dict[str, Any]
    user_counts: NDArray[np.uint32]
    item_counts: NDArray[np.uint32]
    pieces: list[list[Any]]
    user_weights: NDArray[np.float64] | None = None
    item_weights: NDArray[np.float64] | None = None

    def weights(self, *, of_users: bool) -> NDArray[np.float64]:
        """Return what the ratings of each code of a side weigh."""
        weights = self.user_weights if of_users else self.item_weights
        if weights is None:
            return (self.user_counts if of_users else self.item_counts).astype(np.float64)
        return weights

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


class Place(NamedTuple):
    """Where an array is: in a parcel, a list of arrays that one call returned as one object.

    To send an object takes as long as a megabyte of it, and what a call makes for several blocks goes
    together anyway.

    Parameters
    ----------
    parcel : reference
        To a list of arrays.
    number : int
        Of the array in the list.
    """

    parcel: Any
    number: int


def _places(parcel: Any, n: int) -> list[Place]:
    """Return the places of the first n arrays of a parcel."""
    return [Place(parcel, number) for number in range(n)]


def _sent(places: Sequence[Place]) -> tuple[list[tuple[int, int]], list[Any]]:
    """Return (parcel's number, array's number) of each place, and the parcels, each once."""
    parcels = {id(place.parcel): place.parcel for place in places}
    numbers = {parcel: number for number, parcel in enumerate(parcels)}
    return [(numbers[id(place.parcel)], place.number) for place in places], list(parcels.values())


class _Taken(NamedTuple):
    """Copies on this machine of what blocks have.

    Parameters
    ----------
    places : dict of str to list
        By part, those of each block.
    values : dict of str to list
        The arrays, which are here as long as this is.
    """

    places: dict[str, list[Place]]
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
    n_factors : int
        Their number.
    dtype : dtype
        Their type.
    functions : Functions
        A loss and a penalty of the user's.
    copy_every : int or None
        After how many epochs the rows of all blocks are copied to this machine. None: as often as takes
        a twentieth of the time.
    """

    def __init__(
        self,
        crew: Crew,
        holding: Holding,
        n_factors: int,
        dtype: np.dtype[Any],
        functions: Functions,
        copy_every: int | None,
    ) -> None:
        self._crew, self._holding = crew, holding
        self._n_factors, self._type, self._functions = n_factors, dtype, functions
        self._blocks = range(len(holding.users))
        self._every = copy_every
        self._none = np.empty(0, dtype)
        self._scales: Any = None
        # By block of users: references to the validation ratings and to pairs without a rating, None if there are none.
        self._validation: list[Any] = [None] * len(self._blocks)
        self._pairs: list[Any] = [None] * len(self._blocks)
        # What is to be restored when a worker is lost, and what has been done since.
        self._saved = self._kept = _Taken({}, {})
        self._since: list[Callable[[], object]] = []
        self._copied = self._copy_seconds = 0.0  # when, and how long it took
        # Where the rows of each block of items are, and what their prior means keep.
        self._items: list[Place] = []
        self._item_means: list[Place] = []
        # Of a step of the prior means: what items send and are sent, and that before anything is.
        self._work: list[Place] = []
        self._no_work: list[Place] = []
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

    def upload(self, plan: Any, users: Any, items: Any, validation: Any, pairs: Any) -> None:
        """Take what was decided, the first factors and biases, validation ratings, and pairs without one."""
        self._plan = plan
        self._has_means = plan.user_means or plan.item_means
        self._plan_reference = self._crew.put(plan)
        self._items = self._packed(items, of_users=False)
        if validation is not None:
            self._validation = [self._crew.put(piece) for piece in self._divided(*validation)]
        if pairs is not None:
            nothing = np.zeros(len(pairs[0]), np.float32)
            pieces = self._divided(*pairs, nothing)
            self._pairs = [self._crew.put((piece.users, piece.items)) for piece in pieces]
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
            at, parcels = _sent(self._items)
            told = self._on_all("evaluate", at, *parcels)
            return _total([each for sums in self._crew.get(told) for each in sums])

        return self._retrying(evaluated)

    def keep(self) -> None:
        """Keep a copy of all rows."""
        self._kept = self._retrying(lambda: self._taken(*_ROWS))

    def restore(self) -> None:
        """Go back to that copy; prior means stay what they have become."""
        kept = self._kept  # this copy, whenever it is done again

        def back() -> None:
            self._items = list(kept.places["item_rows"])
            self._set(kept.places["user_rows"])

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
            return _Taken({part: self._put(of) for part, of in values.items()}, values)

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
        users, items, *cuts = _core.block_order(len(self._blocks), self._plan.seed, epoch)
        told, cells = [], []
        n_ratings = int(self._holding.user_counts.sum(dtype=np.int64))
        for call in self._calls(users, Rounds(*cuts), n_ratings):
            turns = call.turns()
            item_blocks = {turn: items[turn] for turn in turns}
            at, parcels = _sent([self._items[block] for block in item_blocks.values()])
            moved, losses = self._crew.call(
                call.worker,
                "train",
                call.tasks,
                item_blocks,
                epoch,
                rate,
                active,
                at,
                *parcels,
                n_returns=2,
            )
            for block, place in zip(item_blocks.values(), _places(moved, len(turns)), strict=True):
                self._items[block] = place
            told.append(losses)
            for task in call.tasks:
                cells += [(turn, block) for block in task.users for turn in task.turns]
        losses = [each for call in self._crew.get(told) for each in call]
        # The sum is taken in an order that does not depend on who did what.
        return _total([each for _, each in sorted(zip(cells, losses, strict=True))])

    def _calls(self, users: Sequence[int], rounds: Rounds, n_ratings: int) -> Iterator[Call]:
        """Return the calls that take all blocks of items past all blocks of users."""
        n_workers = self._crew.n_workers
        n_steps = rounds.n_steps(len(self._blocks), n_workers, n_ratings)

        def worker_of(block: int) -> int:
            return self._holding.worker_of(block, n_workers)

        return calls_of(users, rounds, n_steps, worker_of)

    def _update_means(self, active: int) -> None:
        if self._plan.user_means:
            self._gather_at_items(active, leave=True)
            of_items = self._step_items(["precondition"], active)
            of_users = self._gather_at_users("scale", active)
            along = self._along([*of_items, *of_users])
            # What items send comes with the calls that are made anyway.
            then = ["leave"] if self._plan.item_means else []
            self._step_items(["coefficients", *then], active, along)
            self._step_users("means", active, along)
        if self._plan.item_means:
            if not self._plan.user_means:
                self._work = list(self._no_work)
                self._step_items(["leave"], active)
            of_users = self._gather_at_users("precondition", active)
            self._gather_at_items(active, leave=False)
            of_items = self._step_items(["scale"], active)
            along = self._along([*of_users, *of_items])
            self._step_users("coefficients", active, along)
            self._step_items(["means"], active, along)

    def _gather_at_items(self, active: int, *, leave: bool) -> None:
        """Sum what the users of each item send; each sum goes round the blocks of users.

        `leave`: whether the users are first to leave for it what the prior means leave of their rows.
        """
        self._work = list(self._no_work)
        n_groups = min(2, len(self._blocks))
        to_leave = set(self._blocks if leave else ())
        # A pair takes a fraction of what training with a rating takes: as few steps as there may be.
        for call in self._calls(self._blocks, Rounds(n_groups, 1), 0):
            turns = call.turns()
            first = [block for block in call.users() if block in to_leave]
            to_leave.difference_update(first)
            at, parcels = _sent([self._work[turn] for turn in turns])
            arguments = call.tasks, turns, active, first, at
            added = self._crew.call(call.worker, "add", *arguments, *parcels)
            for turn, place in zip(turns, _places(added, len(turns)), strict=True):
                self._work[turn] = place

    def _gather_at_users(self, part: str, active: int) -> list[Any]:
        """Sum what the items of each user send, which all workers read."""
        at, parcels = _sent(self._work)
        return self._on_all("sum_items", part, active, at, *parcels)

    def _step_users(self, part: str, active: int, along: Any) -> None:
        self._on_all("step_means", part, active, along)

    def _step_items(self, parts: list[str], active: int, along: Any = None) -> list[Any]:
        """Take parts of a step at all blocks of items, each worker at some."""
        state = {"rows": self._items, "means": self._item_means, "work": self._work}
        changed = [name for name in state if any(name in CHANGED[part] for part in parts)]
        sums = []
        for worker, blocks in self._shares:
            at, parcels = _sent([each[block] for each in state.values() for block in blocks])
            *new, of_blocks = self._crew.call(
                worker,
                "step_item_means",
                parts,
                changed,
                [self._holding.items.size(block) for block in blocks],
                active,
                self._none if along is None else along,
                at,
                *parcels,
                n_returns=len(changed) + 1,
            )
            sums.append(of_blocks)
            for name, parcel in zip(changed, new, strict=True):
                for block, place in zip(blocks, _places(parcel, len(blocks)), strict=True):
                    state[name][block] = place
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

    def _begin(self, blocks: list[int], first_rows: list[Place]) -> None:
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
            rows = first_rows[block]
            arguments = (
                block,
                self._plan_reference,
                cut,
                self._functions,
                *shape,
                rows.number,
                rows.parcel,
                self._pairs[block],
                self._validation[block],
            )
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
            self._item_means = self._put(
                packed(self._plan, scales[at], diagonals[at])
                for at in map(items.block, self._blocks)
            )
            self._scales = self._crew.put(scales)
            empty = rows_of_block("empty_work", self._type)
            self._no_work = self._put(
                empty(self._plan, size) for size in map(items.size, self._blocks)
            )
        for worker, mine in self._shares:
            begun = [block for block in mine if block in blocks]
            self._crew.call(worker, "begin_means", begun, self._scales)

    def _put(self, arrays: Iterable[NDArray[Any]]) -> list[Place]:
        """Send arrays to the store, each in a parcel of its own."""
        return [Place(self._crew.put([array]), 0) for array in arrays]

    def _taken(self, *parts: str) -> _Taken:
        """Copy parts of all blocks to this machine."""
        where: dict[str, Callable[[], list[Place]]] = {
            "user_rows": lambda: self._collected("rows"),
            "user_means": lambda: self._collected("means"),
            "item_rows": lambda: list(self._items),
            "item_means": lambda: list(self._item_means),
        }
        places = {part: where[part]() for part in parts}
        return _Taken(places, {part: self._arrays(of) for part, of in places.items()})

    def _arrays(self, places: list[Place]) -> list[Any]:
        """Wait for arrays."""
        at, parcels = _sent(places)
        values = self._crew.get(parcels)
        return [values[parcel][number] for parcel, number in at]

    def _collected(self, method: str) -> list[Place]:
        """Return where something of each block of users is."""
        told: list[Place] = []
        for worker, blocks in self._shares:
            told += _places(self._crew.call(worker, method, blocks), len(blocks))
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
        rows = self._saved.places["user_rows"]
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
        saved = self._saved.places
        told = self._set(saved["user_rows"], *([saved["user_means"]] if self._has_means else []))
        self._items = list(saved["item_rows"])
        self._item_means = list(saved.get("item_means", ()))
        self._crew.get(told)

    def _set(self, *parts: list[Place]) -> list[Any]:
        """Have the workers take rows, or rows and what prior means keep, of all blocks of users."""
        told = []
        for worker, blocks in self._shares:
            at, parcels = _sent([of[block] for of in parts for block in blocks])
            told.append(self._crew.call(worker, "set_state", blocks, at, *parcels))
        return told

    def _packed(self, rows: tuple[NDArray[Any], NDArray[Any]], *, of_users: bool) -> list[Place]:
        """Send the rows of each block of a side to the store."""
        side = self._holding.users if of_users else self._holding.items
        weights = self._holding.weights(of_users=of_users)
        packed = rows_of_block("packed_rows", self._type)
        factors, biases = rows
        return self._put(
            packed(self._plan, of_users, factors[at], biases[at], weights[at])
            for at in (side.codes[side.block(block)] for block in self._blocks)
        )

    def _unpacked(self, blocks: list[Any], side: SideBlocks) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the factors and biases of a side, from the rows of its blocks."""
        unpacked = rows_of_block("unpacked_rows", self._type)
        factors = np.empty((len(side.codes), self._plan.n_factors), self._type)
        biases = np.empty(len(side.codes), self._type)
        for block, rows in enumerate(blocks):
            at = side.codes[side.block(block)]
            factors[at], biases[at] = unpacked(self._plan, rows, len(at))
        return factors, biases

    def _divided(self, *columns: Any) -> list[Piece]:
        """Divide ratings, as `Piece` has them but for codes, into those of each block of users."""
        return divided(self._holding.users, self._holding.items, Piece(*columns))

    def _about(self) -> list[tuple[str, str, int]]:
        def told() -> list[tuple[str, str, int]]:
            of_kernels = self._n_factors, self._type
            workers = range(self._crew.n_workers)
            return self._crew.get(
                [self._crew.call(worker, "about", *of_kernels) for worker in workers]
            )

        about = self._retrying(told)
        versions = {version for version, _, _ in about}
        if versions != {_core.__version__}:
            raise RuntimeError(
                f"the workers have warpfactor {', '.join(sorted(versions))}, and this is "
                f"{_core.__version__}: install the same version on all machines"
            )
        return about


def divided(users: SideBlocks, items: SideBlocks, ratings: Piece) -> list[Piece]:
    """Divide ratings, in codes, into those of each block of users, in the order given."""
    rows, columns = users.position[ratings.users], items.position[ratings.items]
    blocks = users.blocks_of(rows)
    order = np.argsort(blocks.astype(np.uint16), kind="stable")  # of 16 bits it is a radix sort
    begin = np.searchsorted(blocks[order], np.arange(len(users) + 1))
    internal = ratings._replace(users=rows - users.first[blocks], items=columns)
    return [internal.take(order[begin[n] : begin[n + 1]]) for n in range(len(users))]


def _total(sums: list[tuple[float, float]]) -> tuple[float, float]:
    """Add up losses in their order."""
    losses, squares = 0.0, 0.0
    for loss, square in sums:
        losses += loss
        squares += square
    return losses, squares
