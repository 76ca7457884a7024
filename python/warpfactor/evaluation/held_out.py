"""Test ratings, prepared once, by which several models are judged alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..data.ids import lookup_ids
from ..data.ratings import Ratings, pairs_to_codes
from ..model.model import Model
from ..serving.tables import Options
from .ranking import (
    LIST_METRICS,
    Relevant,
    auc_of_rows,
    metrics_of_rows,
    self_information,
    short_head,
)
from .simple_models import Judged

__all__ = ["HeldOut", "ListValues", "RatingValues", "judged"]

# Scores that are held at a time for the AUC: 8 MiB in float32.
_SCORES = 1 << 21
# Places of lists that are held at a time.
_PLACES = 1 << 22

Lists = tuple[NDArray[np.int64], NDArray[np.int32]]


def judged(given: Any, name: str = "model") -> Judged:
    """Return the model of a fitted estimator or baseline, or the model itself.

    Raises
    ------
    TypeError
        If it is something else.
    ValueError
        If it is not fitted.
    """
    if isinstance(given, Judged):
        return given
    if isinstance(given, Model):
        return Judged(given)
    if not hasattr(given, "fit"):
        raise TypeError(
            f"{name} is {given!r:.60}; it must be a fitted MatrixFactorization or another estimator of "
            "warpfactor, a Model, or one of warpfactor.baselines: to judge lists of another program, use "
            "the functions of warpfactor.metrics"
        )
    model = getattr(given, "model_", None)
    if not isinstance(model, Model):
        raise ValueError(f"{name} is {given!r:.60}, which is not fitted: call its fit first")
    own = {each: getattr(given, each) for each in Options._fields if hasattr(given, each)}
    able = {each: getattr(given, each, True) for each in ("predicts", "ranks")}
    return Judged(model.with_options(**own), **able)


class RatingValues(NamedTuple):
    """Errors of predicted ratings, and how many pairs got no prediction."""

    rmse: float
    mae: float
    n_left_out: int


@dataclass(frozen=True, slots=True)
class ListValues:
    """What the lists of one model are worth: values of each user, and of all that is listed."""

    of_users: dict[str, dict[int, NDArray[np.float64]]]
    of_places: dict[str, dict[int, float]]
    auc: NDArray[np.float64] | None


class HeldOut:
    """Test ratings, and the users that lists are judged for.

    Parameters
    ----------
    test : Ratings
        What was held out.
    train : Ratings or None
        What was trained on; None: what each model says that users have seen.
    relevant_from : float
        The least rating that is relevant.
    lowest : float
        The lowest rating of the scale, whose gain would be 1.

    Attributes
    ----------
    n_trained : int
        How many test pairs are in `train` as well.
    to_list : ndarray of int
        Positions of the test ratings that lists can be judged by, if they are relevant.
    users : ndarray of shape (n_judged,)
        Codes, in `test`, of the users with a relevant item, which are to be judged.
    """

    def __init__(
        self, test: Ratings, train: Ratings | None, relevant_from: float, lowest: float
    ) -> None:
        self.test, self.train = test, train
        trained = _in_both(test, train) if train is not None else np.zeros(len(test), bool)
        self.n_trained = int(trained.sum())
        # Of a pair that is rated twice the last rating counts.
        keys = test.users.astype(np.int64) * test.n_items + test.items
        last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
        self.to_list = last[~trained[last]]
        wanted = self.to_list[test.values[self.to_list] >= relevant_from]
        self.n_relevant = len(wanted)
        self._wanted_users, self._wanted_items = test.users[wanted], test.items[wanted]
        self._gains = 1.0 + (test.values[wanted].astype(np.float64) - lowest)
        self.users = np.flatnonzero(np.bincount(self._wanted_users, minlength=test.n_users))
        self._counted = np.ones(len(test), bool)

    def keep_pairs(self, predicted: NDArray[np.bool_]) -> None:
        """Count errors of these test pairs alone, so that all models are judged by the same ones."""
        self._counted = predicted

    def keep_users(self, known: NDArray[np.bool_]) -> None:
        """Judge users of these codes in `test` alone."""
        self.to_list = self.to_list[known[self.test.users[self.to_list]]]
        kept = known[self._wanted_users]
        self._wanted_users, self._wanted_items = self._wanted_users[kept], self._wanted_items[kept]
        self._gains = self._gains[kept]
        self.users = np.flatnonzero(np.bincount(self._wanted_users, minlength=self.test.n_users))

    def rating_values(
        self, model: Model, clip: tuple[float, float] | None, n_threads: int | None
    ) -> RatingValues:
        """Return the errors of the predictions that a model has for the test pairs."""
        asked = model if n_threads is None else model.with_options(n_threads=n_threads)
        predicted = np.asarray(_predictions(asked, self.test), np.float64)
        if clip is not None:
            predicted = np.clip(predicted, *clip)
        errors = (self.test.values - predicted)[self._counted & ~np.isnan(predicted)]
        if not len(errors):
            return RatingValues(np.nan, np.nan, len(self.test))
        return RatingValues(
            float(np.sqrt(np.mean(errors * errors))),
            float(np.mean(np.abs(errors))),
            len(self.test) - len(errors),
        )

    def list_values(
        self,
        model: Model,
        seen: Lists,
        cutoffs: Sequence[int],
        *,
        lists: bool,
        auc: bool,
        confidence: float,
        n_threads: int | None,
    ) -> ListValues:
        """Return what the lists and scores of a model are worth.

        Parameters
        ----------
        model : Model
            Who recommends.
        seen : (indptr, items)
            What each of its users must not be recommended; see `seen_by`.
        cutoffs : sequence of int
            How many items of a list count, in rising order.
        lists, auc : bool
            Whether lists are judged, and whether scores are.
        confidence : float
            As of `recommend`.
        n_threads : int or None
            Threads to use; None takes all.
        """
        n_users, n_items = len(model.user_ids_), len(model.item_ids_)
        users = lookup_ids(model.user_ids_, self.test.user_ids, "user ids")[self.users]
        relevant = self._relevant(model)
        threads = 0 if n_threads is None else n_threads
        found = ListValues({}, {}, None)
        if lists:
            asked = model.by_codes(seen).with_options(unknown="mean", n_threads=n_threads)
            # A user that the model does not have is not among the codes either.
            found = _judged_lists(
                asked, np.where(users < 0, n_users, users), relevant, cutoffs, confidence, threads
            )
        if auc:
            inside = relevant.items < n_items
            rows = np.repeat(np.arange(len(users)), np.diff(relevant.indptr))[inside]
            columns = Relevant(
                _offsets(rows, len(users)), relevant.items[inside], relevant.gains[inside]
            )
            found = ListValues(
                found.of_users, found.of_places, _auc(model, users, seen, columns, threads)
            )
        return found

    def seen_by(self, model: Model) -> tuple[Lists, int]:
        """Return what a model must not list for its users, and how many test pairs trained it.

        With `train` those are what was trained on. Else they are what the model says that users
        have seen, without the test pairs, which a model that serves people may have been told of as
        well: then only the counts of training ratings tell how many of them it was trained on.
        """
        n_users, n_items = len(model.user_ids_), len(model.item_ids_)
        if self.train is not None:
            pairs = pairs_to_codes(self.train, model.user_ids_, model.item_ids_)
            both = (pairs[0] >= 0) & (pairs[1] >= 0)
            return _core.group_by_user(pairs[0][both], pairs[1][both], n_users), self.n_trained
        indptr, items = model.seen_
        users, test_items = pairs_to_codes(self.test, model.user_ids_, model.item_ids_)
        both = (users >= 0) & (test_items >= 0)
        rows = np.repeat(np.arange(n_users, dtype=np.int64), np.diff(indptr))
        keys = rows * n_items + items
        tested = np.sort(users[both].astype(np.int64) * n_items + test_items[both])
        tested = tested[np.diff(tested, prepend=-1) > 0]
        at = np.searchsorted(keys, tested)
        at = at[keys[np.minimum(at, len(keys) - 1)] == tested] if len(keys) else at[:0]
        if not len(at):
            return (np.asarray(indptr), np.asarray(items)), 0
        overlap = np.bincount(rows[at], minlength=n_users)
        others = np.diff(indptr) - overlap
        trained = np.minimum(overlap, np.maximum(np.asarray(model.user_counts_) - others, 0))
        kept = np.ones(len(keys), bool)
        kept[at] = False
        return (_offsets(rows[kept], n_users), np.asarray(items)[kept]), int(trained.sum())

    def _relevant(self, model: Model) -> Relevant:
        """Return each judged user's relevant items as a model's codes, or as codes beyond those."""
        codes = lookup_ids(model.item_ids_, self.test.item_ids, "item ids").astype(np.int64)
        beyond = len(model.item_ids_) + np.arange(len(codes))
        items = np.where(codes < 0, beyond, codes)[self._wanted_items].astype(np.int32)
        rows = np.searchsorted(self.users, self._wanted_users)
        order = np.lexsort((items, rows))
        return Relevant(_offsets(rows, len(self.users)), items[order], self._gains[order])


def _predictions(model: Model, test: Ratings) -> Any:
    if model.unknown != "raise":
        return model.predict(test)
    users, items = model.is_known(test)
    predicted = np.full(len(test), np.nan)
    if (users & items).any():
        predicted[users & items] = model.predict(test.take(users & items))
    return predicted


def _in_both(test: Ratings, train: Ratings) -> NDArray[np.bool_]:
    """Return which test pairs are in the training ratings."""
    users, items = pairs_to_codes(train, test.user_ids, test.item_ids)
    both = (users >= 0) & (items >= 0)
    trained = users[both].astype(np.int64) * test.n_items + items[both]
    return np.isin(test.users.astype(np.int64) * test.n_items + test.items, trained)


def _offsets(rows: NDArray[Any], n_rows: int) -> NDArray[np.int64]:
    offsets = np.zeros(n_rows + 1, np.int64)
    np.cumsum(np.bincount(rows, minlength=n_rows), out=offsets[1:])
    return offsets


def _judged_lists(
    asked: Model,
    users: NDArray[Any],
    relevant: Relevant,
    cutoffs: Sequence[int],
    confidence: float,
    n_threads: int,
) -> ListValues:
    """Return what the lists of users are worth, some users at a time, as lists may be long."""
    n_items = len(asked.item_ids_)
    parts: list[dict[str, dict[int, NDArray[np.float64]]]] = []
    listed = {k: np.zeros(n_items, np.int64) for k in cutoffs}
    step = max(1, _PLACES // min(cutoffs[-1], n_items))
    for start in range(0, len(users), step):
        some = users[start : start + step]
        ids, _ = asked.recommend(some, n=cutoffs[-1], confidence=confidence)
        lists = np.ascontiguousarray(ids, np.int32)
        parts.append(
            metrics_of_rows(lists, relevant.part(start, start + len(some)), cutoffs, n_threads)
        )
        for k, counts in listed.items():
            places = lists[:, :k].ravel()
            counts += np.bincount(places[places >= 0], minlength=n_items)
    of_users = {
        name: {k: np.concatenate([part[name][k] for part in parts]) for k in cutoffs}
        for name in LIST_METRICS
    }
    return ListValues(of_users, _of_places(asked, listed), None)


def _of_places(model: Model, listed: dict[int, NDArray[np.int64]]) -> dict[str, dict[int, float]]:
    """Return the metrics of what is listed, from how often each item is."""
    counts = np.asarray(model.item_counts_, np.float64)
    known = counts > 0  # the candidates
    in_head = np.zeros(len(counts), bool)
    in_head[known] = short_head(counts[known])
    information = self_information(counts, max(int(model.user_known_.sum()), 1))
    found: dict[str, dict[int, float]] = {"coverage": {}, "novelty": {}, "popularity_share": {}}
    for k, times in listed.items():
        n_places = int(times.sum())
        found["coverage"][k] = np.count_nonzero(times) / max(int(known.sum()), 1)
        found["novelty"][k] = float(times @ information) / n_places if n_places else np.nan
        found["popularity_share"][k] = int(times[in_head].sum()) / n_places if n_places else np.nan
    return found


def _auc(
    model: Model, users: NDArray[np.int32], seen: Lists, relevant: Relevant, n_threads: int
) -> NDArray[np.float64]:
    """Return each user's AUC by the model's scores, some users at a time."""
    n_items = len(model.item_ids_)
    # NaN: no candidate. What a score has of the user alone moves no item past another.
    biases = np.where(model.item_known_, model.item_biases_, np.nan).astype(
        model.item_factors_.dtype
    )
    values = np.empty(len(users))
    step = max(1, _SCORES // max(n_items, 1))
    for start in range(0, len(users), step):
        codes = users[start : start + step]
        known = (codes >= 0) & model.user_known_[codes]
        factors = np.where(known[:, None], model.user_factors_[codes], 0)
        scores = factors @ model.item_factors_.T
        scores += biases
        end = start + len(codes)
        values[start:end] = auc_of_rows(
            np.ascontiguousarray(scores),
            _rows_of(seen, codes),
            relevant.part(start, end),
            n_threads,
        )
    return values


def _rows_of(lists: Lists, codes: NDArray[np.int32]) -> Lists:
    """Return the lists of some users, one after the other; those of -1 are empty."""
    indptr, items = lists
    known = codes >= 0
    starts = np.where(known, indptr[codes], 0)
    lengths = np.where(known, indptr[codes + 1], 0) - starts
    offsets = np.zeros(len(codes) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    at = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return offsets, items[at]
