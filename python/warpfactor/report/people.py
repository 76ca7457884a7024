"""Recommendations to some users, for people to judge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data.ids import lookup_ids
from ..data.ratings import Ratings, pairs_to_codes
from ..model.model import Model
from .naming import Names, short_name

__all__ = ["chosen_users", "people"]

# Users of few to many ratings: those at such places when sorted by their number.
_PLACES = (0.1, 0.4, 0.7, 0.95)
_N_LIKED, _N_REASONS = 5, 2


class _Item(NamedTuple):
    name: str
    predicted: str
    n_ratings: str
    why: str


class _Person(NamedTuple):
    name: str
    about: str
    recommended: list[_Item]


def chosen_users(model: Model, test: Ratings | None, users: Any) -> NDArray[np.intp]:
    """Return the numbers of users to recommend to, in the model.

    Parameters
    ----------
    model : Model
        What recommends.
    test : Ratings or None
        Test ratings.
    users : id, array-like of ids, or None
        Whom; None: four of few to many ratings, of those with test ratings if there are any.

    Raises
    ------
    ValueError
        If the model does not know one of them.
    """
    return _chosen(model, test) if users is None else _given(model, users)


def people(
    model: Model,
    users: NDArray[np.intp],
    test: Ratings | None,
    train: Ratings | None,
    names: Names,
    *,
    n: int,
) -> list[_Person]:
    """Recommend to some users.

    Parameters
    ----------
    model : Model
        What recommends.
    users : ndarray of int
        Whom, by their numbers in the model.
    test, train : Ratings or None
        Test ratings, which say what came true; training ratings, which say what was liked.
    names : Names
        The items' names.
    n : int
        How many items each gets.
    """
    return [_person(model, int(code), test, train, names, n) for code in users]


def _given(model: Model, users: Any) -> NDArray[np.intp]:
    ids = [users] if isinstance(users, (str, bytes)) or np.ndim(users) == 0 else list(users)
    codes = lookup_ids(model.user_ids_, ids, "users")
    unknown = [each for each, code in zip(ids, codes, strict=True) if code < 0]
    if unknown:
        raise ValueError(f"users has {unknown[0]!r:.80}; all must be users of the model")
    return codes.astype(np.intp)


def _chosen(model: Model, test: Ratings | None) -> NDArray[np.intp]:
    counts = np.asarray(model.user_counts_, np.int64)
    eligible = counts > 0
    if test is not None:
        users, _ = pairs_to_codes(test, model.user_ids_, model.item_ids_, "test")
        tested = np.bincount(users[users >= 0], minlength=len(counts)) > 0
        if (eligible & tested).any():
            eligible &= tested
    candidates = np.flatnonzero(eligible)
    order = candidates[np.argsort(counts[candidates], kind="stable")]
    places = [round(place * (len(order) - 1)) for place in _PLACES]
    return order[sorted(set(places))]


def _person(
    model: Model, code: int, test: Ratings | None, train: Ratings | None, names: Names, n: int
) -> _Person:
    user = model.user_ids_[code]
    n_rated = int(model.user_counts_[code])
    about = [f"{n_rated:,} training rating{'s' if n_rated != 1 else ''}"]
    mine = _ratings_of(train, user)
    if mine is not None:
        about.append(f"liked {'; '.join(_liked(model, mine, names))}")
    ids, scores = model.recommend(user, n)
    there = np.isfinite(scores)
    items = lookup_ids(model.item_ids_, ids[there], "items")
    tested = _by_item(model, _ratings_of(test, user))
    shown = []
    for name, item, score in zip(names.of_codes(items), items, scores[there], strict=True):
        notes = []
        if int(item) in tested:
            notes.append(f"rated {tested[int(item)]:g} in the test")
        # Without training ratings, or a history to tell the noise by, there are no reasons.
        reasons = (
            _reasons(model, code, int(item), mine, names) if n_rated and model.history_ else []
        )
        if reasons:
            notes.append(f"because of {'; '.join(reasons)}")
        why = ". ".join(note[0].upper() + note[1:] for note in notes)
        count = f"{int(model.item_counts_[item]):,}"
        shown.append(_Item(name, f"{float(score):.2f}", count, why))
    return _Person(f"User {short_name(user)}", ", ".join(about), shown)


def _ratings_of(ratings: Ratings | None, user: Any) -> Ratings | None:
    """Return a user's ratings; None if there are none."""
    if ratings is None:
        return None
    mine = ratings.users == lookup_ids(ratings.user_ids, [user], "users")[0]
    return ratings.take(mine) if mine.any() else None


def _by_item(model: Model, mine: Ratings | None) -> dict[int, float]:
    """Return ratings by the items' numbers in the model."""
    if mine is None:
        return {}
    items = lookup_ids(model.item_ids_, mine.item_ids, "items")[mine.items]
    pairs = zip(items.tolist(), mine.values.tolist(), strict=True)
    return {item: value for item, value in pairs if item >= 0}


def _liked(model: Model, mine: Ratings, names: Names) -> list[str]:
    """Return what a user rated highest, of equal ratings the items that fewer have rated."""
    rated = _by_item(model, mine)
    items = sorted(rated, key=lambda item: (-rated[item], int(model.item_counts_[item]), item))
    return names.of_codes(np.array(items[:_N_LIKED], np.intp))


def _reasons(model: Model, user: int, item: int, mine: Ratings | None, names: Names) -> list[str]:
    """Return the rated items that speak most for an item; of known ratings, those that were liked.

    What was disliked speaks for what is unlike it, which is true and no reason to give.
    """
    # Of labels the scores are logits, which ratings say nothing of.
    given = mine if model.link_ == "identity" else None
    pair = model.user_ids_[user], model.item_ids_[item]
    found = model.explain(*pair, _N_REASONS if given is None else None, ratings=given)
    codes = lookup_ids(model.item_ids_, found.items[found.shares > 0], "items")
    if given is not None:
        rated = _by_item(model, given)
        usual = float(given.values.mean())
        codes = np.array([code for code in codes.tolist() if rated[code] >= usual], np.int32)
    return names.of_codes(codes[:_N_REASONS])
