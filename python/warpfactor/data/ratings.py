"""The rating triples that every part of the package works on, and the ways to make them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..checks import check_count, warn
from ..exchange import to_host
from .columns import as_float32, not_finite, read_only, require_equal_lengths
from .describe import Summary, as_frame, as_html, summarize
from .hints import describe_kind, hint_for, no_ratings
from .ids import as_arrow, check_vocabulary, encode_id_columns, lookup_ids
from .matrices import (
    check_matrix_shape,
    is_masked,
    is_matrix,
    is_sparse,
    looks_like_columns,
    matrix_entries,
)
from .objects import open_table
from .pairs import pair_columns
from .repeats import kept_of_repeats, pair_keys
from .roles import ROLES, Column, Frame, find_common, with_times
from .times import as_timestamps, holds_times

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Ratings:
    """Ratings as (user, item, value) triples over int32 codes.

    Make one with `from_arrays`, `from_frame`, `from_sparse`, `from_masked`, `from_dense`,
    `from_pairs`, `from_any` or `warpfactor.read_ratings`; the constructor takes codes.

    A pair that occurs more than once stays so: each occurrence counts as one rating in training
    and in every error measure. `drop_duplicates` keeps one of each.

    What is given is read until the call returns, and not kept: it is copied. The arrays of a
    `Ratings` are read-only, so that it never changes.

    Parameters
    ----------
    users, items : ndarray of shape (n_ratings,), int32
        Positions in `user_ids` and `item_ids`.
    values : ndarray of shape (n_ratings,), float32
        The ratings, all finite.
    user_ids, item_ids : ndarray of shape (n_users,) and (n_items,), int64, uint64 or object
        The distinct ids, sorted. Some may have no rating.
    timestamps : ndarray of shape (n_ratings,), int64 or float64, default None
        When each rating was given. Numbers are as they were given, also milliseconds. Dates became
        seconds since 1970, int64 where all are whole seconds and else float64; where float64 could
        not keep two of them apart (parts of a microsecond; parts of a second before 1684 or after
        2255), int64 nanoseconds or the unit of the dates. Order and equality are always kept.

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
        fields: dict[str, NDArray[Any]] = {
            "users": _codes(self.users, len(self.user_ids), "users"),
            "items": _codes(self.items, len(self.item_ids), "items"),
            "values": as_float32(self.values, "values"),
        }
        if self.timestamps is not None:
            fields["timestamps"] = as_timestamps(self.timestamps, "timestamps")
        require_equal_lengths({name: len(array) for name, array in fields.items()})
        if not len(fields["values"]):
            raise ValueError("values is empty: at least one rating is needed")
        for name in ("user_ids", "item_ids"):
            check_vocabulary(getattr(self, name), name)
            fields[name] = np.array(getattr(self, name))
        for name, array in fields.items():
            object.__setattr__(self, name, read_only(array))

    def __reduce__(self) -> tuple[Any, ...]:
        # Arrays of a pickle can be written to.
        return adopt_ratings, tuple(getattr(self, name) for name in self.__slots__)

    @classmethod
    def from_arrays(
        cls,
        users: ArrayLike,
        items: ArrayLike,
        values: ArrayLike,
        *,
        timestamps: ArrayLike | None = None,
    ) -> Ratings:
        """Make ratings from columns of ids and values, which are copied.

        Parameters
        ----------
        users, items : array-like of shape (n_ratings,)
            Ids: integers, strings (kept exactly, leading zeros too) or ``uuid.UUID`` objects, as
            NumPy arrays, lists, pandas or polars Series, or Arrow arrays.
        values : array-like of shape (n_ratings,)
            The ratings.
        timestamps : array-like of shape (n_ratings,), default None
            Numbers, dates of any library, or texts of ISO 8601 or like 31.05.2024. See `Ratings` for what becomes of them.

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
        """Make ratings from (user, item) pairs and their values, scikit-learn's X and y; both are copied.

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
        return _from_pairs(X, y, "X")

    @classmethod
    def from_masked(cls, D: np.ma.MaskedArray[Any, Any]) -> Ratings:
        """Make ratings from a masked array of shape (n_users, n_items); masked means missing.

        Row and column numbers become the ids, and empty rows and columns are kept. `D` is copied.

        Raises
        ------
        ValueError
            If `D` is not 2-D and real, everything is masked, or an unmasked entry is not finite.
        """
        if not is_masked(D):
            raise ValueError(f"D is {describe_kind(D)}; it must be a numpy.ma.MaskedArray")
        return _from_matrix(D, "D")

    @classmethod
    def from_dense(cls, D: ArrayLike) -> Ratings:
        """Make ratings from an array of shape (n_users, n_items) whose NaNs are missing.

        Row and column numbers become the ids, and empty rows and columns are kept. In an integer
        array, every entry is a rating. `D` is copied.

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
        Row and column numbers become the ids, and empty rows and columns are kept. `S` is copied: it
        is not modified, and may be when the call has returned.

        Raises
        ------
        ValueError
            If `S` is not 2-D and real, stores nothing, or stores an entry that is not finite.
        """
        if not is_sparse(S):
            raise ValueError(f"S is {describe_kind(S)}; it must be a scipy.sparse matrix or array")
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
        """Make ratings from a table, whose columns are copied.

        Parameters
        ----------
        df : table
            One row per rating: of pandas, polars or Arrow, any object with an Arrow stream (of
            DuckDB, ibis, ...), a structured NumPy array, or a data set of Surprise (`Dataset`,
            `Trainset`) or LensKit.
        user, item, rating : str or int, default None
            The column's name or position. None takes a common name (user, userId, user_id,
            item, movieId, rating, score, stars, value, ...; case is ignored), or columns 0, 1 and
            2 if no name is common.
        timestamp : str or int, default None
            The same; None takes a common name (timestamp, time, date, ...), or the fourth column
            if all four go by position. A column found that way is left out unless it holds a
            number or a date in every row; one of a common name with a warning.

        Returns
        -------
        Ratings

        Raises
        ------
        ValueError
            As `from_arrays`, and if a column is not there or cannot be told from the others.
        """
        frame = open_table(df)
        if frame is None:
            raise ValueError(
                f"df is {describe_kind(df)}; it must be a pandas, polars or Arrow table{hint_for(df, 'df')}"
            )
        wanted = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
        return _from_table(frame, wanted)

    @classmethod
    def from_any(cls, X: Any, y: ArrayLike | None = None, name: str = "X") -> Ratings:
        """Make ratings from whatever `MatrixFactorization.fit` takes; it is copied.

        Parameters
        ----------
        X : Ratings, sparse matrix, masked array, float array, table, or pairs of ids
            With `y`: what `from_pairs` takes. Without: `Ratings` (returned as they are), or what
            `from_sparse`, `from_masked`, `from_dense` (float arrays only) or `from_frame` takes. A
            float array of three or four columns must not look like columns of user, item, rating.
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
            raise ValueError(
                f"{name} ({describe_kind(X)}) holds the ratings itself: pass no y with it"
            )
        if y is not None:
            return _from_pairs(X, y, name)
        if isinstance(X, Ratings):
            return X
        if whole:
            return _from_matrix(X, name)
        if isinstance(X, np.ndarray) and X.dtype.kind == "f" and not looks_like_columns(X):
            return _from_matrix(X, name)
        table = open_table(X)  # once: a stream may be gone then
        if table is not None:
            return _from_table(table, {})
        raise ValueError(no_ratings(X, name))

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

    def __getitem__(self, index: Any) -> NoReturn:
        """Raise TypeError: a position could mean a rating, a user or an item."""
        raise TypeError(
            "Ratings cannot be indexed: take(positions or mask) selects ratings. If scikit-learn did "
            "this, to cut rows, pass X, y = ratings.to_pairs() in place of the ratings, or use "
            "warpfactor.cross_validate(model, ratings)"
        )

    def __repr__(self) -> str:
        users, items = f"{self.n_users:,} users", f"{self.n_items:,} items"
        return f"Ratings({self.n_ratings:,} ratings, {users}, {items})"

    def _repr_html_(self) -> str:
        shown = self.head(10)
        return as_html(repr(self), shown._columns(), len(self) - len(shown), self.describe())

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
        columns = self.users[index], self.items[index], self.values[index]
        return adopt_ratings(*columns, self.user_ids, self.item_ids, times)

    def head(self, n: int = 5) -> Ratings:
        """Return the first `n` ratings, or all if there are fewer, with all of the ids.

        ``ratings.head().to_frame()`` shows them.
        """
        return self.take(np.arange(min(check_count("n", n, 1), len(self))))

    def k_core(self, *, min_per_user: int = 1, min_per_item: int = 1) -> Ratings:
        """Drop users and items with few ratings, again and again until all left have enough.

        Parameters
        ----------
        min_per_user, min_per_item : int, default 1
            The fewest ratings that a user and an item may have. A pair that occurs twice counts
            twice: `drop_duplicates` comes first where it should not.

        Returns
        -------
        Ratings
            What is left, in the original order, with the ids that are left: codes are new.

        Raises
        ------
        ValueError
            If nothing is left, or a minimum is below 1.
        """
        least = {"min_per_user": min_per_user, "min_per_item": min_per_item}
        least = {name: check_count(name, value, 1) for name, value in least.items()}
        at = _core_positions(self.users, self.items, self.shape, tuple(least.values()))
        if not len(at):
            raise ValueError(
                f"min_per_user={min_per_user} and min_per_item={min_per_item} leave no rating: lower one"
            )
        users, user_ids = without_unused(self.users[at], self.user_ids)
        items, item_ids = without_unused(self.items[at], self.item_ids)
        times = None if self.timestamps is None else self.timestamps[at]
        return adopt_ratings(users, items, self.values[at], user_ids, item_ids, times)

    def drop_duplicates(self, keep: Literal["last", "first", "mean"] = "last") -> Ratings:
        """Keep one rating of every (user, item) pair.

        Parameters
        ----------
        keep : {"last", "first", "mean"}, default "last"
            Which one, by position. "mean" puts the mean of the values in place of the last.

        Returns
        -------
        Ratings
            The same ids, in the original order. These ratings themselves, if no pair occurs twice.

        Raises
        ------
        ValueError
            If `keep` is something else.
        """
        if keep not in ("last", "first", "mean"):
            raise ValueError(f'keep is {keep!r:.80}; it must be "last", "first" or "mean"')
        keys = pair_keys(self.users, self.items, self.n_items)
        found = kept_of_repeats(keys, self.values, keep)
        if found is None:
            return self
        kept, at, means = found
        if keep != "mean":
            return self.take(kept)
        values = self.values.copy()
        values[at] = means
        columns = self.users, self.items, values, self.user_ids, self.item_ids
        return adopt_ratings(*columns, self.timestamps).take(kept)

    def describe(self) -> Summary:
        """Count and measure: a dict that prints as a table.

        Returns
        -------
        dict
            n_ratings, n_users, n_items, density; rating_range, rating_mean and rating_std;
            ratings_per_user and ratings_per_item (each the minimum, median and maximum, users and
            items without ratings included); n_users_with_one; n_repeats (ratings whose pair has
            occurred before); time_span (the first and the last timestamp, or None).
        """
        return summarize(self.users, self.items, self.values, self.shape, self.timestamps)

    def to_frame(self, kind: Literal["pandas", "polars", "arrow"] = "pandas") -> Any:
        """Return a table with the columns user, item, rating and, if there are any, timestamp.

        Parameters
        ----------
        kind : {"pandas", "polars", "arrow"}, default "pandas"
            Whose table. UUIDs are text in those of polars and Arrow.

        Raises
        ------
        ValueError
            If `kind` is something else.
        ImportError
            If the library is not installed.
        """
        return as_frame(self._columns(), kind)

    def to_pairs(self) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Return X and y for scikit-learn, whose functions cut them by rows.

        Returns
        -------
        X : ndarray of shape (n_ratings, 2), int64 or object
            User ids and item ids; int64 if all are integers that fit.
        y : ndarray of shape (n_ratings,), float32
            The ratings.
        """
        users, items, values = self.to_arrays()
        whole = users.dtype == items.dtype == np.int64
        X = np.empty((len(self), 2), np.int64 if whole else object)
        X[:, 0], X[:, 1] = users, items
        return X, values

    def _columns(self) -> dict[str, NDArray[Any]]:
        users, items, values = self.to_arrays()
        times = {} if self.timestamps is None else {"timestamp": self.timestamps.copy()}
        return {"user": users, "item": items, "rating": values, **times}

    def to_arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
        """Return the user ids, item ids and values, new arrays of shape (n_ratings,)."""
        return self.user_ids[self.users], self.item_ids[self.items], self.values.copy()

    def to_sparse(self) -> csr_array[Any]:
        """Return a new scipy.sparse.csr_array of shape (n_users, n_items), float32.

        Zeros and duplicates are stored as they are; many scipy operations sum duplicates.
        """
        from scipy.sparse import csr_array

        order = np.argsort(self.users, kind="stable")
        starts = np.zeros(self.n_users + 1, np.int64)
        np.cumsum(np.bincount(self.users, minlength=self.n_users), out=starts[1:])
        return csr_array((self.values[order], self.items[order], starts), shape=self.shape)


def adopt_ratings(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    values: NDArray[np.float32],
    user_ids: NDArray[Any],
    item_ids: NDArray[Any],
    timestamps: NDArray[Any] | None = None,
) -> Ratings:
    """Make ratings of valid arrays that nobody else holds: they are closed to writing, not copied.

    Parameters are those of `Ratings`, of exactly its types, and contiguous; nothing is checked.
    """
    ratings = object.__new__(Ratings)
    arrays = (users, items, values, user_ids, item_ids, timestamps)
    for name, array in zip(Ratings.__slots__, arrays, strict=True):
        object.__setattr__(ratings, name, None if array is None else read_only(array))
    return ratings


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
        if looks_like_columns(X):
            raise ValueError(
                f"{name} has shape {shape}, and could be two things. If its columns are user, item and "
                f"more, write {name}[:, :2]. If it is a matrix of {shape[1]} items, write "
                f"warpfactor.Ratings.from_dense({name})"
            )
        check_matrix_shape(shape, user_ids, item_ids, name)
        return (
            lookup_ids(user_ids, np.arange(shape[0]), f"{name} (users)")[rows],
            lookup_ids(item_ids, np.arange(shape[1]), f"{name} (items)")[columns],
        )
    user_column, item_column = pair_columns(X, name)
    users = lookup_ids(user_ids, user_column, f"{name} (users)")
    items = lookup_ids(item_ids, item_column, f"{name} (items)")
    require_equal_lengths({f"{name} (users)": len(users), f"{name} (items)": len(items)})
    return users, items


def pair_at(X: Any, row: int) -> tuple[Any, Any]:
    """Return the user id and the item id of one of the pairs that `pairs_to_codes` reads."""
    if isinstance(X, Ratings):
        return X.user_ids[X.users[row]], X.item_ids[X.items[row]]
    X = to_host(X)
    if is_matrix(X):
        rows, columns, _, _ = matrix_entries(X, "X")
        return int(rows[row]), int(columns[row])
    user, item = (_element(column, row) for column in pair_columns(X, "X"))
    return user, item


def _element(column: Any, row: int) -> Any:
    arrow = as_arrow(column, "X")
    if arrow is not None:
        return arrow[row].as_py()
    return column[row] if isinstance(column, list) else np.asarray(to_host(column))[row]


def ratings_from_columns(columns: Mapping[str, Column]) -> Ratings:
    """Make ratings from the columns of the roles "user", "item", "rating" and "timestamp".

    The last may be missing or None.
    """
    (user_name, users), (item_name, items) = columns["user"], columns["item"]
    value_name, values = columns["rating"]
    (user_codes, user_ids), (item_codes, item_ids) = encode_id_columns(
        (user_name, users), (item_name, items)
    )
    numbers = as_float32(values, value_name)
    lengths = {user_name: len(user_codes), item_name: len(item_codes), value_name: len(numbers)}
    times = None
    time_name, given = columns.get("timestamp", ("timestamp", None))
    if given is not None:
        times = as_timestamps(given, time_name)
        lengths[time_name] = len(times)
    require_equal_lengths(lengths)
    if not len(numbers):
        raise ValueError(f"{value_name} is empty: at least one rating is needed")
    return adopt_ratings(user_codes, item_codes, numbers, user_ids, item_ids, times)


def _from_pairs(X: Any, y: ArrayLike, name: str) -> Ratings:
    users, items = pair_columns(X, name)
    return ratings_from_columns(
        {"user": (f"{name} (users)", users), "item": (f"{name} (items)", items), "rating": ("y", y)}
    )


def _from_table(table: Frame, wanted: Mapping[str, str | int | None]) -> Ratings:
    roles = {role: wanted.get(role) for role in ROLES}
    found = with_times(
        table.names, table.resolve(roles), roles, lambda at: holds_times(table.column(at))
    )
    columns = table.columns_of(found)
    if roles["timestamp"] is None and "timestamp" in columns:
        name, given = columns["timestamp"]
        try:
            columns["timestamp"] = name, as_timestamps(given, name)
        except ValueError as error:
            # A column that was taken by its place is a guess, which may fail.
            del columns["timestamp"]
            if find_common([table.names[found["timestamp"]]], "timestamp") is not None:
                warn(f"{error}; until then the timestamps are left out")
    return ratings_from_columns(columns)


def _from_matrix(D: Any, name: str) -> Ratings:
    rows, columns, values, shape = matrix_entries(D, name, copy=True)
    if not len(values):
        raise ValueError(f"{name} of shape {shape} holds no rating: every entry is missing")
    with np.errstate(over="ignore"):
        numbers = np.array(values, np.float32, order="C")
    if not np.isfinite(numbers).all():
        at = int(np.isfinite(numbers).argmin())
        raise ValueError(
            f"{name}: {not_finite(values[at])} at row {rows[at]}, column {columns[at]}: leave "
            "the entry out, or mask it, if the rating is missing"
        )
    return adopt_ratings(rows, columns, numbers, np.arange(shape[0]), np.arange(shape[1]))


def _core_positions(
    users: NDArray[np.int32],
    items: NDArray[np.int32],
    shape: tuple[int, int],
    least: tuple[int, ...],
) -> NDArray[np.int64]:
    """Return which ratings are left when all users and items have at least so many."""
    at = np.arange(len(users))
    while True:
        enough = [
            (np.bincount(codes[at], minlength=n) >= fewest)[codes[at]]
            for codes, n, fewest in zip((users, items), shape, least, strict=True)
        ]
        kept = enough[0] & enough[1]
        if kept.all():
            return at
        at = at[kept]


def without_unused(
    codes: NDArray[np.int32], ids: NDArray[Any]
) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Return codes and ids without the ids that do not occur."""
    used = np.bincount(codes, minlength=len(ids)) > 0
    if used.all():
        return codes, ids
    return (np.cumsum(used, dtype=np.int32) - np.int32(1))[codes], ids[used]


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
    return np.array(array, np.int32)
