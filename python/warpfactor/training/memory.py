"""What a fit and its model take of memory, told before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from .. import _core
from ..checks import check_count, check_flag, is_number
from ..data.describe import html_table
from ..data.ratings import Ratings
from .bayesian import BayesianMatrixFactorization
from .core_params import core_params, typed_words
from .ensemble import Ensemble
from .estimator import MatrixFactorization
from .fit_sizes import RATING, Counts, FitSizes, changes_of, sizes_of
from .streams import BUFFER

__all__ = ["MemoryEstimate", "estimate_memory"]

_MOST_RATINGS = 2**48
# Recommended items a user, as `recommend` has it by default.
_LISTED = 10


@dataclass(frozen=True, repr=False)
class MemoryEstimate:
    """What a fit and its model take of memory, in bytes; prints as a table.

    Parameters
    ----------
    fit : dict of str to dict of str to int
        For each phase of the fit ("preparing", "epochs", "finishing") what each part takes in the moment
        of it that takes most. Numbers that only the ratings decide are the highest that they can be.
    model : dict of str to int
        The parts of the fitted model. "lists of what is seen" come with the first recommendation.
    predict : dict of str to int
        What `predict` takes for each pair beside the model: codes and the result.
    recommend : dict of str to int
        What `recommend` takes for each user of a call (ten items), and for each thread.
    device : dict of str to int
        The parts of a fit on a CUDA device; empty unless the parameters say ``device="cuda"``.
    device_streamed : int
        How much of it goes through the device in pieces, if it does not fit.
    available : int or None
        What the fit may take: as given to `estimate_memory`, or what this machine has left, the ratings
        that are there already counted in. None: not known.
    limit : str
        What sets `available`.
    device_available : int or None
        What the fit may take on the device, as given by `device_memory`. None: not given.
    smaller : dict of str to int
        If it does not fit: changes of one parameter with which it would, and what it then takes. With
        ``scratch=FOLDER`` the ratings are read from their files, and are not in memory.
    disk : int
        What a fit with ``scratch=`` takes on the disk; 0 without.
    """

    fit: dict[str, dict[str, int]]
    model: dict[str, int]
    predict: dict[str, int]
    recommend: dict[str, int]
    device: dict[str, int] = field(default_factory=dict)
    device_streamed: int = 0
    available: int | None = None
    limit: str = ""
    device_available: int | None = None
    smaller: dict[str, int] = field(default_factory=dict)
    disk: int = 0

    @property
    def peak(self) -> int:
        """The most that the fit takes at a time, its ratings included."""
        return max(sum(parts.values()) for parts in self.fit.values())

    @property
    def device_peak(self) -> int:
        """The most that it takes on the device, with the ratings there; 0 on the CPU."""
        return sum(self.device.values())

    @property
    def device_least(self) -> int:
        """What it takes on the device at least, with ratings that are streamed."""
        return self.device_peak - self.device_streamed

    @property
    def fits(self) -> bool | None:
        """Whether the fit has enough memory, on the device too if it is told of one; None: not known."""
        if self.device_available is not None and self.device_least > self.device_available:
            return False
        return None if self.available is None else self.peak <= self.available

    def verdict(self) -> str:
        """Say in a line or two whether it fits, and what would do if not."""
        text = f"The fit takes up to {_size(self.peak)}"
        if self.available is not None:
            text += f"; {_size(self.available)} {self.limit}: it "
            text += "fits." if self.peak <= self.available else "does not fit."
        else:
            text += "."
        if self.smaller:
            offers = ", ".join(f"{change} ({_size(size)})" for change, size in self.smaller.items())
            text += f" With one of these it does: {offers}."
        elif self.available is not None and self.peak > self.available:
            text += (
                " No change of one parameter is enough: use fewer factors and fewer parts of these."
            )
        if self.disk:
            text += f" On the disk it takes up to {_size(self.disk)}."
        if self.device:
            text += (
                f" On the device it takes {_size(self.device_peak)}, or at least "
                f"{_size(self.device_least)} with ratings that are streamed"
            )
            if self.device_available is not None:
                room = self.device_available
                fits = "all of it fits" if self.device_peak <= room else "the ratings are streamed"
                text += f"; {_size(room)} are allowed: "
                text += fits if self.device_least <= room else "it does not fit"
            text += "."
        return text

    def _rows(self) -> list[tuple[str, ...]]:
        phases = list(self.fit)
        names = list(dict.fromkeys(name for parts in self.fit.values() for name in parts))
        rows: list[tuple[str, ...]] = [("fit", *phases)]
        for name in names:
            sizes = (self.fit[phase].get(name, 0) for phase in phases)
            rows.append((name, *(_size(size) if size else "" for size in sizes)))
        rows.append(("in all", *(_size(sum(self.fit[phase].values())) for phase in phases)))
        for title, parts in (
            ("device", self.device),
            ("model", self.model),
            ("predict", self.predict),
            ("recommend", self.recommend),
        ):
            if parts:
                rows.append((title, "", "", ""))
                rows += [(name, _size(size), "", "") for name, size in parts.items()]
        return rows

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        titles = {"fit", "device", "model", "predict", "recommend"}
        lines = []
        for name, *cells in rows:
            indent = "" if name in titles and (not any(cells) or name == "fit") else "  "
            label = f"{indent}{name}".ljust(widths[0] + 2)
            columns = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
            lines.append(f"{label}  {'  '.join(columns)}".rstrip())
        return "\n".join([*lines, self.verdict()])

    def _repr_html_(self) -> str:
        (first, *phases), *rows = self._rows()
        return f"{html_table([first, *phases], rows)}<p>{self.verdict()}</p>"


def estimate_memory(
    ratings: Ratings | None = None,
    estimator: MatrixFactorization | BayesianMatrixFactorization | Ensemble | None = None,
    *,
    n_ratings: int | None = None,
    n_users: int | None = None,
    n_items: int | None = None,
    n_validation: int = 0,
    n_implicit: int = 0,
    sample_weight: bool = False,
    scratch: bool = False,
    buffer: int | None = None,
    available: float | None = None,
    **params: Any,
) -> MemoryEstimate:
    """Tell what a fit and its model will take of memory, by the sizes of the code that takes it.

    Parameters
    ----------
    ratings : Ratings or None, default None
        What is to be fitted. Without them: `n_ratings`, `n_users` and `n_items`.
    estimator : MatrixFactorization, BayesianMatrixFactorization, Ensemble or None, default None
        Whose parameters are used. None: the defaults of `MatrixFactorization`.
    n_ratings, n_users, n_items : int or None, default None
        Counts, in the place of `ratings`. Rows then count as having ratings in equal numbers, which takes
        more than a long tail in batches.
    n_validation : int, default 0
        How many validation ratings `fit` will be given. A `validation_fraction` is counted by itself.
    n_implicit : int, default 0
        How many pairs without a rating `fit` will be given.
    sample_weight : bool, default False
        Whether it will be given weights.
    scratch : bool, default False
        Whether it will be given ``scratch=``: the ratings are then on a disk, and of counts alone none are
        in memory.
    buffer : int or None, default None
        Its `buffer`, in bytes; None: 2³⁰.
    available : number or None, default None
        Bytes that the fit may take, its ratings included, such as ``16e9``. None: what this machine has
        left (memory and swap, the limits of containers and of the process).
    **params
        Parameters of the estimator in the place of its own, such as ``n_factors=128``; of an ensemble those
        of its members as ``model__n_factors=128``.

    Returns
    -------
    MemoryEstimate
        In bytes, by part. It prints as a table, and says what would do if the fit does not fit.

    Raises
    ------
    ValueError
        If neither ratings nor their counts are given, or a parameter is invalid.
    TypeError
        If `ratings` or `estimator` is something else.

    Notes
    -----
    The fit's figures are those of its arrays. The Python process itself takes some 100 MB more, and
    reading a file up to several times the ratings: see :doc:`/how-to/memory`. An ensemble's members train side
    by side, as many at a time as there are threads: the figures are for this machine's, or for `n_threads`.

    Examples
    --------
    >>> import warpfactor as wf
    >>> told = wf.estimate_memory(
    ...     n_ratings=100_000_000, n_users=5_000_000, n_items=200_000, n_factors=128, available=16e9
    ... )
    >>> told.fits
    False
    """
    if ratings is not None and not isinstance(ratings, Ratings):
        raise TypeError(
            f"ratings is a {type(ratings).__name__}; it must be Ratings: read a file by "
            "warpfactor.read_ratings, or give n_ratings, n_users and n_items"
        )
    estimator = _chosen(estimator, params)
    n, users, items = shape = _shape(ratings, n_ratings, n_users, n_items)
    weighted = check_flag("sample_weight", sample_weight)
    on_disk = check_flag("scratch", scratch)
    if buffer is not None and not on_disk:
        raise ValueError(f"buffer is {buffer!r}, and is for fits with scratch=True: give that too")
    counts = Counts(
        n,
        users,
        items,
        _rows(ratings),
        held=_held(ratings, shape, weighted=weighted, on_disk=on_disk),
        n_validation=check_count("n_validation", n_validation, 0, _MOST_RATINGS),
        n_implicit=check_count("n_implicit", n_implicit, 0, _MOST_RATINGS),
        weighted=weighted,
        buffer=_buffer(estimator, buffer) if on_disk else 0,
    )
    told = sizes_of(estimator, counts)
    room, limit = _room(available, 0 if ratings is None else counts.held)
    smaller: dict[str, int] = {}
    if room is not None and told.peak > room:
        smaller = told.smaller(room) if told.smaller else _tried(estimator, counts, room)
    plain = isinstance(estimator, MatrixFactorization)
    disk = 0
    if on_disk:
        disk = _core.scratch_bytes(n, weighted, core_params(estimator.get_params(deep=False)))
    return MemoryEstimate(
        told.fit,
        _model(shape, told, weighted=weighted),
        {"each pair": 8 + told.number},
        {
            "each user": _LISTED * (4 + told.number + 8),
            "each thread": items * told.number + items // 8,
        },
        told.device,
        told.device_streamed,
        room,
        limit,
        estimator.device_memory if plain else None,
        smaller,
        disk,
    )


def _chosen(
    estimator: Any, params: Mapping[str, Any]
) -> MatrixFactorization | BayesianMatrixFactorization | Ensemble:
    """Return the estimator with other parameters."""
    if estimator is None:
        estimator = MatrixFactorization()
    known = (MatrixFactorization, BayesianMatrixFactorization, Ensemble)
    if not isinstance(estimator, known):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}; it must be a MatrixFactorization, a "
            "BayesianMatrixFactorization or an Ensemble"
        )
    if not params:
        return estimator
    changed: MatrixFactorization | BayesianMatrixFactorization | Ensemble = clone(estimator)
    if isinstance(changed, Ensemble) and changed.model is None:
        changed.set_params(model=MatrixFactorization())
    unknown = sorted(set(params) - set(changed.get_params()))
    if unknown:
        raise TypeError(f"{', '.join(unknown)}: {type(estimator).__name__} has no such parameter")
    changed.set_params(**params)
    return changed


def _rows(ratings: Ratings | None) -> tuple[NDArray[np.uint32], NDArray[np.uint32]] | None:
    """Return how many ratings each user and each item has."""
    if ratings is None:
        return None
    users, items = (
        np.bincount(codes, minlength=n).astype(np.uint32)
        for codes, n in ((ratings.users, ratings.n_users), (ratings.items, ratings.n_items))
    )
    return users, items


def _held(
    ratings: Ratings | None, shape: tuple[int, int, int], *, weighted: bool, on_disk: bool
) -> int:
    """Return the bytes of the ratings and their ids that are there during a fit."""
    n, users, items = shape
    of_rating = RATING + (4 if weighted else 0)
    if ratings is not None:
        arrays = (ratings.user_ids, ratings.item_ids, ratings.timestamps)
        # Of texts the pointers count.
        return n * of_rating + sum(array.nbytes for array in arrays if array is not None)
    return (0 if on_disk else n * of_rating) + 8 * (users + items)


def _buffer(estimator: Any, buffer: int | None) -> int:
    """Check that a fit can have its ratings on a disk; return its buffer."""
    if not isinstance(estimator, MatrixFactorization):
        raise ValueError(
            f"scratch is True, and {type(estimator).__name__} trains on ratings in memory: leave it out"
        )
    size = BUFFER if buffer is None else check_count("buffer", buffer, 1, 2**63 - 1)
    with typed_words():
        _core.check_scratch(size, core_params(estimator.get_params(deep=False)))
    return size


def _tried(estimator: Any, counts: Counts, room: int) -> dict[str, int]:
    """Return changes of an ensemble with which it fits, the smallest one of each parameter."""
    smaller: dict[str, int] = {}
    found: set[str] = set()
    for change, changed in changes_of(estimator):
        name = change.partition("=")[0]
        if name in found:
            continue
        peak = sizes_of(changed, counts).peak
        if peak <= room:
            smaller[change] = peak
            found.add(name)
    return smaller


def _shape(
    ratings: Ratings | None, n_ratings: int | None, n_users: int | None, n_items: int | None
) -> tuple[int, int, int]:
    given = {"n_ratings": n_ratings, "n_users": n_users, "n_items": n_items}
    if ratings is not None:
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name} is {value!r}, and ratings are given: leave one of them out"
                )
        return len(ratings), ratings.n_users, ratings.n_items
    missing = [name for name, value in given.items() if value is None]
    if missing:
        raise ValueError(f"{missing[0]} is None; it must be given where ratings are not")
    n = check_count("n_ratings", n_ratings, 1, _MOST_RATINGS)
    return n, check_count("n_users", n_users, 1), check_count("n_items", n_items, 1)


def _model(shape: tuple[int, int, int], told: FitSizes, *, weighted: bool) -> dict[str, int]:
    n, users, items = shape
    rows = users + items
    parts = {
        "factors and biases": rows * (told.n_factors + 1) * told.number,
        "ids, counts and flags": rows * (8 + 4 + 1),
        **told.model,
        # Until the lists are made, the model holds the ratings' codes, or copies of those with weights.
        "codes of the ratings, until there are lists": 8 * n if weighted else 0,
        "lists of what is seen": 4 * n + 8 * users,
    }
    return {name: size for name, size in parts.items() if size}


def _room(available: float | None, there: int) -> tuple[int | None, str]:
    if available is not None:
        if not is_number(available) or not 1 <= available < _MOST_RATINGS:
            raise ValueError(
                f"available is {available!r}; it must be a number of bytes, at least 1"
            )
        return int(available), "are given"
    left, limit = _core.available_memory()
    return (None, "") if left < 0 else (left + there, f"are available ({limit})")


def _size(size: int) -> str:
    return _core.bytes_text(size)
