"""Fold-in: rows for new users and items of a fitted model, without training anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..checks import option, warn
from ..data.ids import encode_ids, lookup_ids
from ..data.near_ids import as_python
from ..data.ratings import Ratings, ratings_from_columns, without_unused
from ..serving.answers import Answers
from ..serving.ridge import Earlier, RowRatings, Rows
from ..serving.tables import Options, SeenItems, Tables
from .file import told_params
from .members import Members
from .record import TrainingRecord

__all__ = ["FoldIn", "Side", "visitor_ratings"]

Side = Literal["user", "item"]
_SIDES: tuple[Side, Side] = ("user", "item")
_OTHER: dict[Side, Side] = {"user": "item", "item": "user"}

# How often the rows of both sides are solved for in turn when ratings are added. More change no
# fourth digit of an RMSE (benchmarks/keeping_up.py).
_ROUNDS = 2


class FoldIn:
    """Solves for rows of a fitted model, given the other side's.

    Parameters
    ----------
    tables, record, members, answers
        Of the model. What is derived from them is kept here.
    """

    def __init__(
        self, tables: Tables, record: TrainingRecord, members: Members | None, answers: Answers
    ) -> None:
        self._tables = tables
        self._record = record
        self._members = members
        self._answers = answers
        self._coefficients: dict[str, Rows | None] = {}
        self._known_strengths: dict[str, _core.FoldInStrengths] = {}

    def folded(
        self, ratings: Ratings, side: Side, options: Options
    ) -> tuple[Tables, TrainingRecord]:
        """Return the parts of a model that knows these users (items) by these ratings.

        Those that it knew already are replaced.
        """
        tables = self._tables
        self._strengths(side)  # a model that cannot fold in says so first
        self._warn_of_odd(ratings)
        rows, others, values = known_pairs(ratings, side, tables)
        rows, ids = without_unused(rows, _ids(ratings, side))
        solved = self.rows(rows, others, values, len(ids), side, options)
        grown = _Grown(tables, self._record, side, ids)
        grown.put(grown.new, solved)
        counts = grown.counts
        counts[grown.new] = np.bincount(rows, minlength=len(ids))
        replaced = np.zeros(len(counts), bool)
        replaced[grown.new] = True
        nothing = np.empty(0, np.int32), np.empty(0, np.int32)
        pairs = _pairs(tables, side) if tables.seen.are_kept else nothing
        before = grown.old[pairs[0]]
        kept = ~replaced[before]
        pairs = (
            np.concatenate([before[kept], grown.new[rows]]),
            np.concatenate([pairs[1][kept], others]),
        )
        n_users = len(counts) if side == "user" else len(tables.user_ids)
        seen = _seen_items(pairs, side, n_users, tables.seen)
        return grown.parts(counts, seen)

    def visitor(self, ratings: Ratings, options: Options) -> Tables:
        """Return tables of one user, 0, who gave these ratings."""
        self._strengths("user")
        self._warn_of_odd(ratings)
        _, items, values = known_pairs(ratings, "user", self._tables)
        solved = self.rows(np.zeros(len(items), np.int32), items, values, 1, "user", options)
        seen = np.unique(items)
        return replace(
            self._tables,
            user_factors=solved.factors,
            user_biases=solved.biases,
            user_ids=np.zeros(1, np.int64),
            user_known=np.ones(1, bool),
            seen=SeenItems(1, lists=(np.array([0, len(seen)]), seen)),
        )

    def updated(self, ratings: Ratings, options: Options) -> tuple[Tables, TrainingRecord]:
        """Return the parts of a model that has learnt from more ratings, of old and new rows.

        A row that is rated again is taken to be where its earlier ratings left it: their values are
        not needed, see :doc:`/explanations/accuracy`. Rows without new ratings stay.
        """
        tables, record = self._tables, self._record
        for side in _SIDES:
            self._strengths(side)
        self._warn_of_odd(ratings)
        grown: dict[Side, _Grown] = {}
        codes: dict[Side, NDArray[np.int32]] = {}
        for side in _SIDES:
            given, ids = without_unused(_codes(ratings, side), _ids(ratings, side))
            grown[side] = _Grown(tables, record, side, ids)
            codes[side] = grown[side].new[given]
        old_pairs = _pairs(tables, "user")
        old: dict[Side, NDArray[np.int32]] = {
            "user": grown["user"].old[old_pairs[0]],
            "item": grown["item"].old[old_pairs[1]],
        }
        touched: dict[Side, NDArray[np.int32]] = {}
        rows: dict[Side, NDArray[np.int32]] = {}
        earlier: dict[Side, Earlier] = {}
        coefficients: dict[Side, Rows | None] = {}
        for side in _SIDES:
            other = _OTHER[side]
            n_rows, n_others = len(grown[side].counts), len(grown[other].counts)
            touched[side], numbers = np.unique(codes[side], return_inverse=True)
            rows[side] = numbers.astype(np.int32)
            indptr, others = _core.group_by_user(old[side], old[other], n_rows)
            earlier[side] = Earlier(
                grown[side].rows(touched[side]),
                grown[side].counts[touched[side]],
                _selected(indptr, others, touched[side]),
            )
            y = self._prior_coefficients(side, options)
            if y is not None:
                spread = [np.zeros((n_others, *part.shape[1:]), part.dtype) for part in y]
                for to, part in zip(spread, y, strict=True):
                    to[grown[other].old] = part
                coefficients[side] = Rows(*spread)
            else:
                coefficients[side] = None
        for _ in range(_ROUNDS):
            for side in _SIDES:
                other = _OTHER[side]
                solved = self._solved(
                    grown[other].rows(),
                    (rows[side], codes[other], ratings.values),
                    len(touched[side]),
                    side,
                    coefficients[side],
                    earlier[side],
                    options,
                )
                grown[side].put(touched[side], solved)
        return self._with_more(grown, codes, ratings, old)

    def _with_more(
        self,
        grown: Mapping[Side, _Grown],
        codes: Mapping[Side, NDArray[np.int32]],
        ratings: Ratings,
        old: Mapping[Side, NDArray[np.int32]],
    ) -> tuple[Tables, TrainingRecord]:
        record, n_new = self._record, len(ratings)
        counts = {
            side: each.counts
            + np.bincount(codes[side], minlength=len(each.counts)).astype(np.uint32)
            for side, each in grown.items()
        }
        pairs = [np.concatenate([old[side], codes[side]]) for side in _SIDES]
        seen = _seen_items((pairs[0], pairs[1]), "user", len(counts["user"]), self._tables.seen)
        users, _ = grown["user"].parts(counts["user"], seen)
        items, _ = grown["item"].parts(counts["item"], seen)
        total = record.n_ratings + n_new
        share = n_new / total
        mean = (1 - share) * users.rating_mean + share * float(
            ratings.values.mean(dtype=np.float64)
        )
        low, high = float(ratings.values.min()), float(ratings.values.max())
        tables = replace(
            users,
            item_factors=items.item_factors,
            item_biases=items.item_biases,
            item_ids=items.item_ids,
            item_known=items.item_known,
            rating_mean=mean,
        )
        return tables, replace(
            record,
            user_counts=counts["user"],
            item_counts=counts["item"],
            n_ratings=total,
            rating_range=(
                float(np.fmin(record.rating_range[0], low)),
                float(np.fmax(record.rating_range[1], high)),
            ),
        )

    def rows(
        self,
        rows: NDArray[np.int32],
        others: NDArray[np.int32],
        values: NDArray[np.float32],
        n_rows: int,
        side: Side,
        options: Options,
    ) -> Rows:
        """Return rows from ratings of the other side's rows, by their codes."""
        fixed = _rows_of(self._tables, _OTHER[side])
        y = self._prior_coefficients(side, options)
        return self._solved(fixed, (rows, others, values), n_rows, side, y, None, options)

    def _solved(
        self,
        fixed: Rows,
        ratings: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]],
        n_rows: int,
        side: Side,
        coefficients: Rows | None,
        earlier: Earlier | None,
        options: Options,
    ) -> Rows:
        solved = self._answers.solved_rows(
            _OTHER[side],
            fixed,
            RowRatings(*ratings, n_rows),
            self._strengths(side),
            coefficients,
            earlier,
            options,
        )
        if not all(np.isfinite(part).all() for part in solved):
            raise ValueError(
                "ratings has values so large that factors are not finite: give ratings on the scale of "
                f"those of training, {_span(self._record)}"
            )
        return solved

    def _warn_of_odd(self, ratings: Ratings) -> None:
        """Warn of ratings far from those of training, which no clipped step keeps from doing harm here."""
        low, high = self._record.rating_range
        reach = high - low
        odd = (ratings.values < low - reach) | (ratings.values > high + reach)  # none if low is NaN
        if reach > 0 and odd.any():
            warn(
                f"{int(odd.sum()):,} of {len(ratings):,} ratings are far outside those of training, "
                f"{_span(self._record)} (the first: {float(ratings.values[odd][0]):g}): mistyped ones spoil "
                "the rows of their users and items",
            )

    def _prior_coefficients(self, side: Side, options: Options) -> Rows | None:
        """Return the y of which the side's prior means are made, of each row of the other side."""
        if side not in self._coefficients:
            strengths, y = self._strengths(side), None
            if strengths.reg_implicit > 0:
                tables, other = self._tables, _OTHER[side]
                n_others = len(getattr(tables, f"{other}_ids"))
                lists = tables.seen.lists()
                if side == "item":
                    users, items = _pairs(tables, "user")
                    lists = _core.group_by_user(items, users, len(tables.item_ids))
                y = Rows(
                    *_core.prior_coefficients(
                        _rows_of(tables, side),
                        n_others,
                        *lists,
                        strengths.reg_implicit,
                        tables.biases,
                        options.threads(),
                    )
                )
            self._coefficients[side] = y
        return self._coefficients[side]

    def _strengths(self, side: Side) -> _core.FoldInStrengths:
        """Return what the side's rows were pulled with; raise ValueError if it has no meaning."""
        if side not in self._known_strengths:
            record = self._record
            params, chosen = told_params(record)
            self._known_strengths[side] = _core.fold_in_strengths(
                params,
                chosen,
                record.loss,
                record.score_scale,
                self._members is not None,
                side == "user",
            )
        return self._known_strengths[side]


def _named(side: Side) -> str:
    return f"{option('ratings')} ({side}s)"


def _span(record: TrainingRecord) -> str:
    return "{:g} to {:g}".format(*record.rating_range)


class _Grown:
    """One side of a model with room for more rows, whose ids stay sorted.

    `old` and `new` are the numbers that the model's rows, and those of the ids given, have in it.
    """

    def __init__(
        self, tables: Tables, record: TrainingRecord, side: Side, ids: NDArray[Any]
    ) -> None:
        self._tables, self._record, self._side = tables, record, side
        own = getattr(tables, f"{side}_ids")
        n = len(own)
        there = lookup_ids(own, ids, _named(side))
        fresh = ids[there < 0]
        if len(fresh):
            both = [own, fresh]
            if own.dtype != fresh.dtype:  # NumPy would join int64 and uint64 as float64
                both = [each.astype(object) for each in both]
            at, self.ids = encode_ids(np.concatenate(both), f"{side} ids")
        else:
            at, self.ids = np.arange(n, dtype=np.int32), own
        self.old = at[:n]
        self.new = np.empty(len(ids), np.int32)
        self.new[there >= 0] = self.old[there[there >= 0]]
        self.new[there < 0] = at[n:]
        rows, counts = _rows_of(tables, side), getattr(record, f"{side}_counts")
        n_rows = len(self.ids)
        self._factors = np.zeros((n_rows, rows.factors.shape[1]), rows.factors.dtype)
        self._factors[self.old] = rows.factors
        self._biases = np.full(n_rows, tables.start_bias, rows.biases.dtype)
        self._biases[self.old] = rows.biases
        self.counts = np.zeros(n_rows, np.uint32)
        self.counts[self.old] = counts

    def rows(self, at: NDArray[np.int32] | None = None) -> Rows:
        """Return the rows of these numbers; None: all."""
        if at is None:
            return Rows(self._factors, self._biases)
        return Rows(self._factors[at], self._biases[at])

    def put(self, at: NDArray[np.int32], rows: Rows) -> None:
        """Put rows in the place of those of these numbers."""
        self._factors[at] = rows.factors
        self._biases[at] = rows.biases

    def parts(self, counts: NDArray[np.uint32], seen: SeenItems) -> tuple[Tables, TrainingRecord]:
        """Return the parts of the model with this side and the other one as it was."""
        side = self._side
        own: dict[str, Any] = {
            f"{side}_factors": self._factors,
            f"{side}_biases": self._biases,
            f"{side}_ids": self.ids,
            f"{side}_known": counts > 0,
        }
        tables = replace(self._tables, seen=seen, **own)
        counted: dict[str, Any] = {f"{side}_counts": counts}
        return tables, replace(self._record, **counted)


def known_pairs(
    ratings: Ratings, side: Side, tables: Tables
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Return the ratings of others that a model knows: rows as in `ratings`, others by its codes."""
    other = _OTHER[side]
    known, ids = getattr(tables, f"{other}_known"), getattr(tables, f"{other}_ids")
    found = lookup_ids(ids, _ids(ratings, other), _named(other))
    found = np.where((found >= 0) & known[found], found, -1).astype(np.int32)
    given = _codes(ratings, other)
    others = found[given]
    kept = others >= 0
    if kept.all():
        return _codes(ratings, side), others, ratings.values
    unknown = np.unique(given[~kept])
    first = as_python(_ids(ratings, other)[unknown[0]])
    if not kept.any():
        raise ValueError(
            f"ratings has no {other} that the model knows ({other} {first}, ...), so it tells nothing: "
            f"give ratings of the model's {other}s, or fit anew"
        )
    warn(
        f"{int((~kept).sum()):,} of {len(ratings):,} ratings are of {len(unknown):,} {other}"
        f"{'' if len(unknown) == 1 else 's'} that the model does not know ({other} {first}"
        f"{'' if len(unknown) == 1 else ', ...'}), and are left out",
    )
    return _codes(ratings, side)[kept], others[kept], ratings.values[kept]


def visitor_ratings(ratings: Any) -> Ratings:
    """Return what one visitor rated, as `Model.recommend` takes it.

    Parameters
    ----------
    ratings : mapping, (items, values) or Ratings
        Of item ids to ratings; or the two as sequences; or ratings of one user.
    """
    if isinstance(ratings, Ratings):
        n_users = np.count_nonzero(np.bincount(ratings.users))  # unique() is slow
        if n_users > 1:
            raise ValueError(
                f"ratings is of {n_users:,} users; it must be of one visitor: for several use "
                "fold_in_users(ratings), and recommend to them by their ids"
            )
        return ratings
    if isinstance(ratings, Mapping):
        items, values = list(ratings.keys()), list(ratings.values())
    elif isinstance(ratings, tuple) and len(ratings) == 2:
        items, values = ratings
    else:
        raise ValueError(
            f"ratings is {ratings!r:.80}; it must be {{item: rating, ...}}, (items, values) or Ratings of "
            "one user"
        )
    if hasattr(values, "__len__") and len(items) != len(values):
        raise ValueError(
            f"ratings has items and values of lengths {len(items)} and {len(values)}; each item needs one value"
        )
    columns: dict[str, Any] = {
        "user": ("users", np.zeros(len(items), np.int64)),
        "item": ("ratings (items)", items),
        "rating": ("ratings (values)", values),
    }
    return ratings_from_columns(columns)


def _ids(of: Ratings | Tables, side: Side) -> NDArray[Any]:
    ids: NDArray[Any] = getattr(of, f"{side}_ids")
    return ids


def _codes(ratings: Ratings, side: Side) -> NDArray[np.int32]:
    return ratings.users if side == "user" else ratings.items


def _rows_of(tables: Tables, side: Side) -> Rows:
    return Rows(getattr(tables, f"{side}_factors"), getattr(tables, f"{side}_biases"))


def _pairs(tables: Tables, side: Side) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return who rated what as pairs of codes, those of the side first."""
    indptr, items = tables.seen.lists()
    users = np.repeat(np.arange(len(indptr) - 1, dtype=np.int32), np.diff(indptr))
    return (users, items) if side == "user" else (items, users)


def _seen_items(
    pairs: tuple[NDArray[np.int32], NDArray[np.int32]], side: Side, n_users: int, before: SeenItems
) -> SeenItems:
    """What users rated, if that was known before."""
    if not before.are_kept:
        return SeenItems(n_users)
    users, items = pairs if side == "user" else pairs[::-1]
    return SeenItems(n_users, pairs=(users, items))


def _selected(
    indptr: NDArray[np.int64], others: NDArray[np.int32], rows: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the lists of some rows."""
    lengths = np.diff(indptr)[rows]
    begin = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    at = np.arange(begin[-1]) + np.repeat(indptr[:-1][rows] - begin[:-1], lengths)
    return begin, others[at]
