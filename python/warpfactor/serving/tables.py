"""What answers are made from: the arrays of a fitted model, and the choices of how to answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import check_choice, check_count, option
from ..data.columns import read_only
from ..data.ratings import Ratings, pairs_to_codes
from ..parameters import DEFAULTS, PARAMETERS

__all__ = ["UNKNOWN", "Options", "SeenItems", "Tables", "parse_device"]

_Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
UNKNOWN = PARAMETERS["unknown"].choices


class SeenItems:
    """Each user's rated items, which `recommend` leaves out, as compressed rows.

    Parameters
    ----------
    lists : (indptr, items) or None
        User c rated items[indptr[c]:indptr[c + 1]], sorted and without repeats.
    pairs : (users, items), or a function that returns them, or None
        In place of `lists`: codes that are grouped when first needed, because sorting them can take
        longer than training. Without either the lists were not kept, and who asks is told so.
    n_users : int
        Number of users.
    """

    def __init__(
        self,
        n_users: int,
        *,
        lists: tuple[NDArray[np.int64], NDArray[np.int32]] | None = None,
        pairs: _Pairs | Callable[[], _Pairs] | None = None,
    ) -> None:
        self._n_users = n_users
        self._pairs = pairs
        self._lists = None if lists is None else (read_only(lists[0]), read_only(lists[1]))

    @property
    def are_kept(self) -> bool:
        """Whether it is known what users rated."""
        # In this order: a thread that groups the pairs sets the lists before it lets go of the pairs.
        return self._pairs is not None or self._lists is not None

    def take(self) -> None:
        """Call the function that returns the pairs, if there is one, and let go of it."""
        pairs = self._pairs
        if callable(pairs):
            self._pairs = pairs()

    def lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return (indptr, items); raise ValueError if they were not kept."""
        self.take()
        pairs = self._pairs  # read first: where another thread has just let go of them, lists stand
        if self._lists is None:
            if pairs is None:
                raise ValueError(
                    "the model does not know what users rated: it was fitted from disk, and that would "
                    "have taken more memory than buffer. Pass exclude_seen=False, give the ratings of those "
                    "users to model.with_seen_only, or fit with a buffer of 8 bytes per rating"
                )
            assert not callable(pairs)
            indptr, items = _core.group_by_user(*pairs, self._n_users)
            self._lists = read_only(indptr), read_only(items)
            self._pairs = None
        return self._lists

    def known_lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the same, without any item where the lists were not kept."""
        if self.are_kept:
            return self.lists()
        return np.zeros(self._n_users + 1, np.int64), np.empty(0, np.int32)

    def extended(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> SeenItems:
        """Return lists that hold more pairs of codes."""
        indptr, seen = self.lists()
        rows = np.repeat(np.arange(self._n_users, dtype=np.int32), np.diff(indptr))
        pairs = np.concatenate([rows, users]), np.concatenate([seen, items])
        return SeenItems(self._n_users, lists=_core.group_by_user(*pairs, self._n_users))

    def __getstate__(self) -> dict[str, Any]:
        lists = self.lists() if self.are_kept else None  # half the size of the pairs
        return {"n_users": self._n_users, "lists": lists}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # arrays of a pickle can be written to


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Tables:
    """The arrays and numbers of a fitted model that answers are made from.

    Parameters
    ----------
    user_factors, item_factors : ndarray of shape (n_users, k) and (n_items, k), float32 or float64
        P and Q.
    user_biases, item_biases : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i.
    user_ids, item_ids : ndarray of shape (n_users,) and (n_items,)
        The ids of the rows, sorted.
    user_known, item_known : ndarray of bool of the same shapes
        Whether the row has training ratings.
    seen : SeenItems
        What each user rated.
    global_mean : float
        μ.
    rating_mean : float
        The prediction where nothing is known and the model has no biases.
    start_bias : float
        The bias of a row that is not there.
    biases : bool
        Whether the model has μ and biases.
    link : {"identity", "probability", "signed_probability"}
        What rating a score predicts.
    """

    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any]
    item_biases: NDArray[Any]
    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    user_known: NDArray[np.bool_]
    item_known: NDArray[np.bool_]
    seen: SeenItems
    global_mean: float
    rating_mean: float
    start_bias: float
    biases: bool
    link: str

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                object.__setattr__(self, name, read_only(value))

    def __reduce__(self) -> tuple[Any, ...]:
        # By way of __init__, because arrays of a pickle can be written to.
        return Tables, tuple(getattr(self, name) for name in self.__slots__)

    def codes_of(self, ratings: Ratings) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the codes of pairs that have a user and an item of the model, others left out."""
        users, items = pairs_to_codes(ratings, self.user_ids, self.item_ids)
        both = (users >= 0) & (items >= 0)
        return users[both], items[both]

    def known_pairs(self, ratings: Ratings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which pairs have a user, and which an item, with training ratings."""
        users, items = pairs_to_codes(ratings, self.user_ids, self.item_ids)
        return (users >= 0) & self.user_known[users], (items >= 0) & self.item_known[items]


class Options(NamedTuple):
    """How to answer, and where; see `MatrixFactorization` for each."""

    unknown: str = DEFAULTS["unknown"]
    device: str = DEFAULTS["device"]
    device_memory: int | None = DEFAULTS["device_memory"]
    n_threads: int | None = DEFAULTS["n_threads"]

    def checked(self) -> Options:
        """Return the same; raise ValueError if a value is invalid."""
        check_choice("unknown", self.unknown, UNKNOWN)
        parse_device(self.device)
        self.memory_limit()
        self.threads()
        return self

    def memory_limit(self) -> int:
        """Return `device_memory` as the core takes it: 0 stands for what is free."""
        if self.device_memory is None:
            return 0
        return check_count("device_memory", self.device_memory, 1, 2**63 - 1)

    def threads(self) -> int:
        """Return `n_threads` as the core takes it: 0 stands for all."""
        return 0 if self.n_threads is None else check_count("n_threads", self.n_threads, 1)


def parse_device(device: Any) -> tuple[bool, int]:
    """Return whether a device's name means CUDA here, and the device's number.

    Raises
    ------
    ValueError
        If it is no such name.
    """
    if device == "auto":
        _, usable, _ = _core.cuda_status()
        return usable, 0
    if device == "cpu":
        return False, 0
    kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind == "cuda" and (device == "cuda" or (index.isascii() and index.isdigit())):
        if int(index or 0) >= 2**31:
            raise ValueError(
                f"{option('device')} is {device!r:.80}; the number must be below 2**31"
            )
        return True, int(index or 0)
    raise ValueError(
        f"{option('device')} is {device!r:.80}; it must be 'cpu', 'cuda', 'cuda:<n>' or 'auto'"
    )
