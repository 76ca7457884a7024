"""The schedule of an epoch: which worker takes which blocks of users and of items, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

__all__ = ["Call", "Rounds", "Task", "calls_of"]

# A step is to leave each worker no fewer ratings, if all stages have something to do: it takes some milliseconds of Ray,
# and fetches all rows of the worker's users into the caches again.
_STEP_RATINGS = 2_000_000


class Task(NamedTuple):
    """Blocks of users that take blocks of items, one after the other.

    Parameters
    ----------
    users : list of int
        Blocks of users, in their order.
    turns : list of int
        Positions of blocks of items in the order of the epoch.
    """

    users: list[int]
    turns: list[int]


class Call(NamedTuple):
    """What a worker is to do in one go.

    Parameters
    ----------
    worker : int
    tasks : list of Task
        In their order.
    """

    worker: int
    tasks: list[Task]

    def turns(self) -> list[int]:
        """Return all turns of the tasks, each once, in their order."""
        return sorted({turn for task in self.tasks for turn in task.turns})

    def users(self) -> list[int]:
        """Return all blocks of users of the tasks, each once."""
        return list(dict.fromkeys(block for task in self.tasks for block in task.users))


class _Stage(NamedTuple):
    """Neighbouring blocks of users of one worker, and the step in which it begins."""

    worker: int
    users: list[int]
    first_step: int


class Rounds(NamedTuple):
    """Into what the blocks of an epoch are cut.

    Parameters
    ----------
    n_groups : int
        Of blocks of users, in the order of the epoch: 1 or 2.
    n_rounds : int
        Of blocks of items, in the order of the epoch.
    """

    n_groups: int
    n_rounds: int

    def n_steps(self, n_blocks: int, n_workers: int, n_ratings: int) -> int:
        """Return in how many steps a group of users takes the items of a phase."""
        n_phases = self.n_groups * self.n_rounds
        if n_workers == 1:
            return 1
        n_stages = -(-n_workers // self.n_groups)
        wanted = max(n_stages, n_ratings // (n_workers * n_phases * _STEP_RATINGS))
        return max(1, min(n_blocks // n_phases, wanted))


def calls_of(
    users: Sequence[int], rounds: Rounds, n_steps: int, worker_of: Callable[[int], int]
) -> Iterator[Call]:
    """Yield the calls of an epoch, each after those that it waits for.

    In a round there are as many phases as groups of users, and as many parts of the round's blocks of
    items: in each phase each group takes another part, no two the same, so that groups work at the
    same time. In a phase each block of items passes all blocks of users of a group in their order: in
    one call those that follow each other on one worker, which are a stage. In each step every stage
    has other blocks of items, which go on to the next stage while this one takes the next.

    Parameters
    ----------
    users : sequence of int
        The blocks of users, in the order of the epoch.
    rounds : Rounds
        How both sides are cut.
    n_steps : int
        Into how many steps the items of a phase are cut.
    worker_of : callable
        The worker of a block of users.
    """
    n, (n_groups, n_rounds) = len(users), rounds
    groups = [_stages([users[at] for at in part], worker_of) for part in _cut(range(n), n_groups)]
    apart = max(n_steps, 1 + max(stage.first_step for stages in groups for stage in stages))
    together = n_steps == 1 and all(len(stages) == 1 for stages in groups)
    # By when, group and stage: blocks of items in their order.
    turns_of: dict[tuple[int, int, int], list[int]] = {}
    for number, items in enumerate(_cut(range(n), n_rounds)):
        parts = _cut(items, n_groups)
        for phase in range(n_groups):
            # The last phase of a round and the first of the next, whose items nobody has had, are one where no other
            # stage waits for the items of the former.
            number_of = number * n_groups + phase
            begin = (number_of + 1) // 2 if together else number_of * apart
            for group, stages in enumerate(groups):
                for step, turns in enumerate(_cut(parts[(group + phase) % n_groups], n_steps)):
                    for at, stage in enumerate(stages):
                        key = begin + step + stage.first_step, group, at
                        turns_of.setdefault(key, []).extend(turns)
    calls = []
    for (_, group, at), its in sorted(turns_of.items(), key=lambda each: each[0][0]):
        stage = groups[group][at]
        if its:
            calls.append(Call(stage.worker, [Task(stage.users, its)]))
    if len({call.worker for call in calls}) == 1:  # who waits for nobody
        calls = [Call(calls[0].worker, [task for call in calls for task in call.tasks])]
    yield from calls


def _cut(turns: range, n: int) -> list[range]:
    """Cut a range into parts whose lengths differ by at most one, some of which may be empty."""
    return [turns[len(turns) * at // n : len(turns) * (at + 1) // n] for at in range(n)]


def _stages(users: Sequence[int], worker_of: Callable[[int], int]) -> list[_Stage]:
    stages: list[_Stage] = []
    for block in users:
        worker = worker_of(block)
        if not stages or stages[-1].worker != worker:
            # A worker's second stage waits for blocks that another has just sent, so it takes them a step later than they
            # could be there.
            again = any(stage.worker == worker for stage in stages)
            stages.append(_Stage(worker, [], len(stages) + again))
        stages[-1].users.append(block)
    return stages
