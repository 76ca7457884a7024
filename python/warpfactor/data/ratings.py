"""The rating triples that every part of the package works on, and the ways to make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..exchange import to_host
from .columns import as_float32, as_timestamps, not_finite, require_equal_lengths
from .ids import check_vocabulary, encode_ids, lookup_ids
from .matrices import check_matrix_shape, is_masked, is_matrix, is_sparse, matrix_entries
from .roles import Column, open_frame, resolve_columns

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ratings:
    """Ratings as (user, item, value) triples over int32 codes.

    Make one with `from_arrays`, `from_frame`, `from_sparse`, `from_masked`, `from_dense`,
    `from_pairs`, `from_any` or `warpfactor.read_ratings`; the constructor takes codes.

    A pair that occurs more than once stays so: each occurrence counts as one rating in training
    and in every error measure. `drop_duplicates` keeps one of each.

    Arrays that already have the right type are kept, not copied: do not change them afterwards.

    Parameters
    ----------
    users, items : ndarray of shape (n_ratings,), int32
        Positions in `user_ids` and `item_ids`.
    values : ndarray of shape (n_ratings,), float32
        The ratings, all finite.
    user_ids, item_ids : ndarray of shape (n_users,) and (n_items,), int64, uint64 or object
        The distinct ids, sorted. Some may have no rating.
    timestamps : ndarray of shape (n_ratings,), int64 or float64, default None
        When each rating was given; seconds since 1970 where it was made from dates.

    Raises
    ------
    ValueError
        If there is no rating, lengths differ, a code is out of range, a value is not finite in
        float32, or ids are not sorted and distinct.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    values: NDArray[np.float32]
    user_ids: NDArray[Any]
    item_ids: NDArray[Any]
    timestamps: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        check_vocabulary(self.user_ids, "user_ids")
        check_vocabulary(self.item_ids, "item_ids")
        fields = {
            "users": _codes(self.users, len(self.user_ids), "users"),
            "items": _codes(self.items, len(self.item_ids), "items"),
            "values": as_float32(self.values, "values"),
        }
        if self.timestamps is not None:
            fields["timestamps"] = as_timestamps(self.timestamps, "timestamps")
        require_equal_lengths({name: len(array) for name, array in fields.items()})
        if not len(fields["values"]):
            raise ValueError("values is empty: at least one rating is needed")
        for name, array in fields.items():
            object.__setattr__(self, name, array)

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        values: ArrayLike,
        *,
        timestamps: ArrayLike | None = None,
    ) -> Ratings:
        """Make ratings from columns of ids and values.

        Parameters
        ----------
        users, items : array-like of shape (n_ratings,)
            Ids: integers, strings (kept exactly, leading zeros too) or ``uuid.UUID`` objects, as
            NumPy arrays, lists, pandas or polars Series, or Arrow arrays.
        values : array-like of shape (n_ratings,)
            The ratings.
        timestamps : array-like of shape (n_ratings,), default None
            Numbers or dates.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            If lengths differ, nothing is given, or a value or id is missing or invalid.
        """
        columns = {
            "user": ("users", users),
            "item": ("items", items),
            "rating": ("values", values),
            "timestamp": ("timestamps", timestamps),
        }
        return ratings_from_columns(columns)

    @classmethod
    def from_pairs(cls, X: Any, y: ArrayLike) -> Ratings:
        """Make ratings from (user, item) pairs and their values, scikit-learn's X and y.

        Parameters
        ----------
        X : array-like of shape (n_ratings, 2)
            User ids and item ids: a NumPy array, a list of pairs, or a pandas, polars or Arrow
            table (columns with common names such as "user" and "item", else the first two). The
            two columns of an object array, list or table may differ in kind.
        y : array-like of shape (n_ratings,)
            The ratings.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            As `from_arrays`, and if `X` has not two columns.
        """
        users, items = _pair_columns(X, "X")
        return ratings_from_columns(
            {"user": ("X (users)", users), "item": ("X (items)", items), "rating": ("y", y)}
        )

    @classmethod
    def from_masked(cls, D: np.ma.MaskedArray[Any, Any]) -> Ratings:
        """Make ratings from a masked array of shape (n_users, n_items); masked means missing.

        Row and column numbers become the ids, and empty rows and columns are kept.

        Raises
        ------
        ValueError
            If `D` is not 2-D and real, everything is masked, or an unmasked entry is not finite.
        """
        if not is_masked(D):
            raise ValueError(f"D is {_kind(D)}; it must be a numpy.ma.MaskedArray")
        return _from_matrix(D, "D")

    @classmethod
    def from_dense(cls, D: ArrayLike) -> Ratings:
        """Make ratings from an array of shape (n_users, n_items) whose NaNs are missing.

        Row and column numbers become the ids, and empty rows and columns are kept. In an integer
        array, every entry is a rating.

        Raises
        ------
        ValueError
            If `D` is not 2-D and real, everything is NaN, or an entry is infinite.
        """
        return _from_matrix(np.asarray(to_host(D)), "D")

    @classmethod
    def from_sparse(cls, S: Any) -> Ratings:
        """Make ratings from a scipy.sparse matrix or array of shape (n_users, n_items).

        Every stored entry is a rating: explicit zeros too, and duplicates are not summed. (A
        "bsr" matrix stores the zeros that fill its blocks, a "dia" matrix cannot store a zero.)
        Row and column numbers become the ids, and empty rows and columns are kept. `S` is not
        modified.

        Raises
        ------
        ValueError
            If `S` is not 2-D and real, stores nothing, or stores an entry that is not finite.
        """
        if not is_sparse(S):
            raise ValueError(f"S is {_kind(S)}; it must be a scipy.sparse matrix or array")
        return _from_matrix(S, "S")

    @classmethod
    def from_frame(
        cls,
        df: Any,
        user: str | int | None = None,
        item: str | int | None = None,
        rating: str | int | None = None,
        timestamp: str | int | None = None,
    ) -> Ratings:
        """Make ratings from a pandas, polars or Arrow table, or any object with an Arrow stream.

        Parameters
        ----------
        df : DataFrame or Table
            One row per rating.
        user, item, rating : str or int, default None
            The column's name or position. None takes a common name (user, userId, user_id,
            item, movieId, rating, score, stars, value, ...; case is ignored), else columns 0, 1
            and 2.
        timestamp : str or int, default None
            The same; None takes a common name (timestamp, time, date, ...), or the fourth column
            if all four go by position. A column found that way is left out unless it holds a
            number or a date in every row.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            As `from_arrays`, and if a column is not there or cannot be told from the others.
        """
        frame = open_frame(df)
        if frame is None:
            raise ValueError(f"df is {_kind(df)}; it must be a pandas, polars or Arrow table")
        wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
        columns = frame.columns_of(resolve_columns(frame.names, wanted))
        return ratings_from_columns(columns, timestamp_is_guess=timestamp is None)

    @classmethod
    def from_any(cls, X: Any, y: ArrayLike | None = None, name: str = "X") -> Ratings:
        """Make ratings from whatever `MatrixFactorization.fit` takes.

        Parameters
        ----------
        X : Ratings, sparse matrix, masked array, float array, table, or pairs of ids
            With `y`: what `from_pairs` takes. Without: `Ratings` (returned as they are), or what
            `from_sparse`, `from_masked`, `from_dense` (float arrays only) or `from_frame` takes.
        y : array-like of shape (n_ratings,), default None
            The ratings, if `X` holds pairs of ids.
        name : str, default "X"
            What the error messages call `X`.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            If `X` is of another kind, or holds its own ratings and `y` is given too.
        """
        X = to_host(X)
        whole = isinstance(X, Ratings) or is_masked(X) or is_sparse(X)
        if y is not None and whole:
            raise ValueError(f"{name} ({_kind(X)}) holds the ratings itself: pass no y with it")
        if y is not None:
            return cls.from_pairs(X, y)
        if isinstance(X, Ratings):
            return X
        if whole or (isinstance(X, np.ndarray) and X.dtype.kind == "f"):
            return _from_matrix(X, name)
        if open_frame(X) is not None:
            return cls.from_frame(X)
        raise ValueError(_no_ratings(X, name))

    @property
    def n_ratings(self) -> int:
        """Number of ratings."""
        return len(self.values)

    @property
    def n_users(self) -> int:
        """Number of users, with or without ratings."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items, with or without ratings."""
        return len(self.item_ids)

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_users, n_items)``."""
        return self.n_users, self.n_items

    @property
    def density(self) -> float:
        """Ratings per cell of the matrix; above 1 is possible where pairs repeat."""
        return self.n_ratings / (self.n_users * self.n_items)

    def __len__(self) -> int:
        return self.n_ratings

    def __repr__(self) -> str:
        users, items = f"{self.n_users:,} users", f"{self.n_items:,} items"
        return f"Ratings({self.n_ratings:,} ratings, {users}, {items})"

    def take(self, index_or_mask: ArrayLike) -> Ratings:
        """Select ratings; the ids stay the same objects, so codes keep their meaning.

        Parameters
        ----------
        index_or_mask : array-like of int, or of bool and shape (n_ratings,)
            Positions, or which ones to keep.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            If nothing is selected, a position is out of range, or the mask's length is wrong.
        """
        index = np.asarray(index_or_mask)
        if index.ndim != 1 or index.dtype.kind not in "biu":
            raise ValueError(
                f"index_or_mask has dtype {index.dtype} and shape {index.shape}; it must be a non-empty "
                "1-D array of integers or booleans"
            )
        if index.dtype.kind == "b":
            require_equal_lengths({"ratings": self.n_ratings, "index_or_mask": len(index)})
        elif len(index) and not -len(self) <= index.min() <= index.max() < len(self):
            raise ValueError(
                f"index_or_mask runs from {index.min()} to {index.max()}, but there are "
                f"{len(self)} ratings"
            )
        if not (index.any() if index.dtype.kind == "b" else len(index)):
            raise ValueError("index_or_mask selects no rating: at least one is needed")
        times = None if self.timestamps is None else self.timestamps[index]
        return Ratings(
            self.users[index],
            self.items[index],
            self.values[index],
            self.user_ids,
            self.item_ids,
            times,
        )

    def drop_duplicates(self, keep: Literal["last", "first", "mean"] = "last") -> Ratings:
        """Keep one rating of every (user, item) pair.

        Parameters
        ----------
        keep : {"last", "first", "mean"}, default "last"
            Which one, by position. "mean" puts the mean of the values in place of the last.

        Returns
        -------
        Ratings
            The same ids, in the original order.

        Raises
        ------
        ValueError
            If `keep` is something else.
        """
        if keep not in ("last", "first", "mean"):
            raise ValueError(f'keep is {keep!r}; it must be "last", "first" or "mean"')
        pairs = self.users.astype(np.int64) * self.n_items + self.items
        if keep == "first":
            return self.take(np.sort(np.unique(pairs, return_index=True)[1]))
        _, at, group = np.unique(pairs[::-1], return_index=True, return_inverse=True)
        at = len(self) - 1 - at
        order = np.argsort(at)
        kept = self.take(at[order])
        if keep == "last":
            return kept
        means = np.bincount(group, weights=self.values[::-1]) / np.bincount(group)
        return Ratings(
            kept.users,
            kept.items,
            as_float32(means[order], "values"),
            self.user_ids,
            self.item_ids,
            kept.timestamps,
        )

    def to_arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Return the user ids, item ids and values, each of shape (n_ratings,)."""
        return self.user_ids[self.users], self.item_ids[self.items], self.values

    def to_sparse(self) -> csr_array[Any]:
        """Return a scipy.sparse.csr_array of shape (n_users, n_items), float32.

        Zeros and duplicates are stored as they are; many scipy operations sum duplicates.
        """
        from scipy.sparse import csr_array

        order = np.argsort(self.users, kind="stable")
        starts = np.zeros(self.n_users + 1, np.int64)
        np.cumsum(np.bincount(self.users, minlength=self.n_users), out=starts[1:])
        return csr_array((self.values[order], self.items[order], starts), shape=self.shape)


def pairs_to_codes(
    X: Any, user_ids: NDArray[Any], item_ids: NDArray[Any], name: str = "X"
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Find the (user, item) pairs of `X` in a model's ids.

    Parameters
    ----------
    X : Ratings, (n, 2) array, list of pairs, table, sparse matrix, masked array or float array
        Where the pairs are. Of a matrix, the entries that are there: row by row in a masked
        or float array, in `Ratings.from_sparse`'s order in a sparse one; rows and columns are the
        ids 0, 1, 2, ..., so a matrix has a row for each up to the model's last user, and a column
        for each up to its last item. A float array of two columns holds ids.
    user_ids, item_ids : ndarray of shape (n_users,) and (n_items,)
        The model's vocabularies.
    name : str, default "X"
        What the error messages call `X`.

    Returns
    -------
    user_codes, item_codes : ndarray of shape (n,), int32
        Codes, -1 where an id is not the model's.

    Raises
    ------
    ValueError
        If `X` holds no pairs, or ids of another kind than the model's.
    """
    if isinstance(X, Ratings):
        users, items = X.users, X.items
        if X.user_ids is not user_ids:
            users = lookup_ids(user_ids, X.user_ids, "user ids")[users]
        if X.item_ids is not item_ids:
            items = lookup_ids(item_ids, X.item_ids, "item ids")[items]
        return users, items
    X = to_host(X)
    if is_matrix(X):
        rows, columns, _, shape = matrix_entries(X, name)
        check_matrix_shape(shape, user_ids, item_ids, name)
        return (
            lookup_ids(user_ids, np.arange(shape[0]), "user ids")[rows],
            lookup_ids(item_ids, np.arange(shape[1]), "item ids")[columns],
        )
    user_column, item_column = _pair_columns(X, name)
    users = lookup_ids(user_ids, user_column, "user ids")
    items = lookup_ids(item_ids, item_column, "item ids")
    require_equal_lengths({f"{name} (users)": len(users), f"{name} (items)": len(items)})
    return users, items


def ratings_from_columns(
    columns: Mapping[str, Column], *, timestamp_is_guess: bool = False
) -> Ratings:
    """Make ratings from the columns of the roles "user", "item", "rating" and "timestamp".

    The last may be missing or None; one that was guessed is left out if it holds no timestamps.
    """
    (user_name, users), (item_name, items) = columns["user"], columns["item"]
    value_name, values = columns["rating"]
    user_codes, user_ids = encode_ids(users, user_name)
    item_codes, item_ids = encode_ids(items, item_name)
    numbers = as_float32(values, value_name)
    lengths = {user_name: len(user_codes), item_name: len(item_codes), value_name: len(numbers)}
    times = None
    time_name, given = columns.get("timestamp", ("timestamp", None))
    if given is not None:
        try:
            times = as_timestamps(given, time_name)
            lengths[time_name] = len(times)
        except ValueError:
            if not timestamp_is_guess:
                raise
    require_equal_lengths(lengths)
    if not len(numbers):
        raise ValueError(f"{value_name} is empty: at least one rating is needed")
    return Ratings(user_codes, item_codes, numbers, user_ids, item_ids, times)


def _from_matrix(D: Any, name: str) -> Ratings:
    rows, columns, values, shape = matrix_entries(D, name)
    if not len(values):
        raise ValueError(f"{name} of shape {shape} holds no rating: every entry is missing")
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(numbers).all():
        at = int(np.isfinite(numbers).argmin())
        raise ValueError(
            f"{name}: {not_finite(values[at])} at row {rows[at]}, column {columns[at]}: leave "
            "the entry out, or mask it, if the rating is missing"
        )
    return Ratings(rows, columns, numbers, np.arange(shape[0]), np.arange(shape[1]))


def _pair_columns(X: Any, name: str) -> tuple[Any, Any]:
    X = to_host(X)
    frame = open_frame(X)
    if frame is not None:
        found = resolve_columns(frame.names, {"user": None, "item": None})
        return frame.column(found["user"]), frame.column(found["item"])
    if is_masked(X) or is_sparse(X) or isinstance(X, (Ratings, str, bytes)):
        raise ValueError(f"{name} is {_kind(X)}; it must be (n, 2) pairs of ids")
    if not hasattr(X, "__array__") and hasattr(X, "__iter__"):
        return _listed_pairs(list(X), name)
    array = np.asarray(X)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"{name} has shape {array.shape}; it must be an (n, 2) array of user and item ids"
        )
    return array[:, 0], array[:, 1]


def _listed_pairs(pairs: list[Any], name: str) -> tuple[list[Any], list[Any]]:
    for at, pair in enumerate(pairs):
        if isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2:
            raise ValueError(
                f"{name} holds {pair!r:.60} at position {at}; it must be a list of (user, item) pairs"
            )
    return [user for user, _ in pairs], [item for _, item in pairs]


def _codes(codes: Any, n_ids: int, name: str) -> NDArray[np.int32]:
    array = np.asarray(codes)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} has dtype {array.dtype} and shape {array.shape}; it must be a 1-D array of integer "
            "codes: Ratings.from_arrays takes ids"
        )
    if len(array) and not 0 <= array.min() <= array.max() < n_ids:
        at = int(np.argmax((array < 0) | (array >= n_ids)))
        raise ValueError(
            f"{name}: code {array[at]} at position {at} is not below the number of ids, {n_ids}: "
            "Ratings.from_arrays takes ids"
        )
    return np.require(array, np.int32, ["C", "A"])


def _no_ratings(X: Any, name: str) -> str:
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.shape[1] == 2:
        return f"{name} holds pairs of ids but no ratings: pass y too, or a Ratings"
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "iub":
        return (
            f"{name} is an array of dtype {X.dtype}, which cannot say what is missing: pass floats "
            "with NaN, numpy.ma.masked_equal(X, 0), or Ratings.from_dense(X) if nothing is"
        )
    hint = "; warpfactor.read_ratings reads files" if isinstance(X, (str, bytes)) else ""
    return (
        f"{name} is {_kind(X)}; it must be Ratings, a sparse matrix, a masked array, a 2-D float array "
        f"with NaN, a table, or pairs of ids together with y{hint}"
    )


def _kind(X: Any) -> str:
    if isinstance(X, np.ndarray):
        return f"{type(X).__name__} of dtype {X.dtype} and shape {X.shape}"
    return type(X).__name__ if hasattr(X, "__len__") else f"{type(X).__name__} {X!r:.60}"
