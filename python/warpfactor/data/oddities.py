"""What looks odd in ratings that were read, each with what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..checks import option, options, where_typed
from .formats.reading import Coded, Reading
from .ids import arrow_numbers, pack_ids
from .roles import all_common
from .times import EARLIEST, LATEST, UNITS, as_date, unit_of_time

__all__ = ["Facts", "facts_of", "oddities"]

# Below so many ratings, shares say nothing: any file of five lines has users of one rating.
_FEW = 20
# Ratings have 2 to 101 levels; counts and prices repeat too. Of an id or a counter nearly all differ.
_MOSTLY_DISTINCT = 0.9
# Catalogues have more items than there are levels of ratings; with so few items, and so many times
# more levels, the two columns are likely to be swapped.
_FEW_ITEMS, _TIMES_MORE_LEVELS = 11, 10
# Some sites let users rate again, but then a few per cent of the ratings are repeats.
_MANY_REPEATS = 0.5
# Above this, it matters which rating of a pair is kept.
_MANY_CONFLICTS = 0.01
# The busiest user of the public sets gave below 3 % of the ratings, the best-known item has below 1 %.
_ONE_HAS_MOST = 0.5
# Zeros are the rarest rating where they are one.
_MANY_ZEROS = 0.5
# Scales are even. A gap of three times what all other levels span is none of a scale.
_GAP = 3
# The longest titles have some 250 characters; an unclosed quote takes in lines of them.
_LONG_ID = 500
# Ids hold ";" or "|" now and then (lists of genres), all of them only where it separates fields.
_NEARLY_ALL = 0.9
_SEPARATORS = ("::", "\t", ";", "|", ",")
_MISSING = r"(?i)^\s*(na|n/a|nan|null|none|nil|unknown|missing|\\n|<na>|\?|-)\s*$"
_YEARS = (1900, 2100)
_N_LOW = 1 << 24
# What most ids have, most of the first ones have too.
_SAMPLE = 1000


class Facts(NamedTuple):
    """Counts over all ratings.

    Attributes
    ----------
    levels, level_counts : ndarray of shape (n_levels,)
        The distinct ratings in order (float32), and how often each was given (int64).
    user_counts, item_counts : ndarray of int64
        How many ratings each user and item has.
    n_repeats, n_conflicts : int
        Ratings whose user and item occur before, and those that differ from the one before.
    """

    levels: NDArray[np.float32]
    level_counts: NDArray[np.int64]
    user_counts: NDArray[np.int64]
    item_counts: NDArray[np.int64]
    n_repeats: int
    n_conflicts: int

    @property
    def n(self) -> int:
        """Number of ratings."""
        return int(self.level_counts.sum())


def facts_of(reading: Reading) -> Facts:
    """Count, in passes over whole arrays."""
    values: Any = reading.values
    levels, level_counts = np.unique(values, return_counts=True)
    (users, user_ids), (items, item_ids) = reading.users, reading.items
    pairs = users.astype(np.int64) * len(item_ids) + items
    in_order = np.sort(pairs)
    again = in_order[1:] == in_order[:-1]
    n_repeats = int(np.count_nonzero(again))
    n_conflicts = 0
    if n_repeats:
        # To sort numbers is ten times as fast as to find their order, so that is done for the few
        # that may repeat alone: those that share their lowest bits with a pair that does.
        is_repeated = np.zeros(_N_LOW, bool)
        is_repeated[in_order[1:][again] % _N_LOW] = True
        some = np.flatnonzero(is_repeated[pairs % _N_LOW])
        order = some[np.argsort(pairs[some], kind="stable")]
        same_pair = np.diff(pairs[order]) == 0
        n_conflicts = int(np.count_nonzero(same_pair & (np.diff(values[order]) != 0)))
    return Facts(
        levels,
        level_counts,
        np.bincount(users, minlength=len(user_ids)),
        np.bincount(items, minlength=len(item_ids)),
        n_repeats,
        n_conflicts,
    )


def oddities(reading: Reading, facts: Facts) -> list[str]:
    """Say what looks odd, the likeliest to spoil a factorization first."""
    found = [*_of_first_row(reading), *_of_ratings(reading, facts)]
    found += [*_of_columns(reading), *_of_shape(reading, facts)]
    for role, side, counts in (
        ("user", reading.users, facts.user_counts),
        ("item", reading.items, facts.item_counts),
    ):
        found += _of_side(reading, role, side, counts)
        if side.ids.dtype == object and isinstance(side.ids[0], str):
            found += _of_texts(reading, role, side, counts)
    found += [*_of_pairs(facts), *_of_times(reading)]
    if reading.n_skipped:
        n = reading.n_skipped
        found.append(
            f"{n:,} of {n + facts.n:,} rows are left out; {reading.first_skipped}: mend the file if "
            "they should count"
        )
    return found


def _other_columns(reading: Reading, role: str) -> str:
    """How to say that another column has this role."""
    taken = set(reading.found.values())
    free = [name for at, name in enumerate(reading.names) if at not in taken and name]
    if not free:
        return f"pass {option(role)} if another column holds the {role}s"
    name = free[0]
    return f"pass {option(role, int(name) if name.isdecimal() else name)}, or which column it is"


def _of_first_row(reading: Reading) -> Iterator[str]:
    """A first row that counts the columns, as pandas names those that have no names."""
    in_order = list(reading.found.values()) == list(range(len(reading.found)))
    all_read = in_order and len(reading.found) == len(reading.names)
    if reading.layout.get("header") != "no" or not all_read or len(reading) < 2:
        return
    first = [str(side.ids[side.codes[0]]) for side in (reading.users, reading.items)]
    first += [
        f"{numbers[0]:g}" for numbers in (reading.values, reading.times) if numbers is not None
    ]
    # Times that were left out may be dates below a 3.
    if first == ["0", "1", "2", "3"][: len(first)]:
        yield (
            f"the first row, {', '.join(first)}, counts the columns, as pandas names columns that have no "
            f"names: pass {option('header', True)} if it holds no rating"
        )


def _of_columns(reading: Reading) -> Iterator[str]:
    """Columns whose names say the same as the name of the one that was taken."""
    taken = set(reading.found.values())
    guess = reading.guess()
    if guess:
        yield guess
    wanted = {} if reading.request is None else reading.request.wanted
    for role in ("user", "item", "rating"):
        places = all_common(reading.names, role)
        if wanted.get(role) is not None or reading.found.get(role) not in places:
            continue
        names = [reading.names[at] for at in places if at not in taken]
        if names:
            name = reading.names[reading.found[role]]
            yield (
                f"column {name!r} was taken for the {role}, but {' or '.join(map(repr, names))} could be it "
                f"too: pass {option(role, names[0])} if it is, or {option(role, name)}"
            )


def _of_ratings(reading: Reading, facts: Facts) -> Iterator[str]:
    levels, counts, n = facts.levels, facts.level_counts, facts.n
    low, high = float(levels[0]), float(levels[-1])
    whole = bool((levels == np.trunc(levels)).all())
    span = f"from {low:.10g} to {high:.10g}"
    unit = unit_of_time(low, high)
    if unit:
        yield (
            f"the ratings run {span}, as {unit} since 1970 do ({as_date(low, unit)} to "
            f"{as_date(high, unit)}): these look like timestamps; {_other_columns(reading, 'rating')}"
        )
        return
    if len(levels) == 1:
        if n > 1:
            yield (
                f"all ratings are {low:g}, from which nothing can be learned: for clicks or purchases "
                f"add pairs without one as 0; {_other_columns(reading, 'rating')}"
            )
        return
    few_items = len(facts.item_counts) <= _FEW_ITEMS
    if n >= _FEW and whole and len(levels) > _MOSTLY_DISTINCT * n:
        yield (
            f"the ratings are {len(levels):,} different integers {span} in {n:,} rows, as ids or a "
            f"counter are; {_other_columns(reading, 'rating')}"
        )
    elif few_items and whole and len(levels) >= _TIMES_MORE_LEVELS * len(facts.item_counts):
        yield (
            f"there are {len(facts.item_counts):,} items but {len(levels):,} different ratings "
            f"{span}: item and rating may be swapped; pass {option('item')} and {option('rating')}"
        )
    elif whole and len(levels) > 2 and _YEARS[0] <= low and high <= _YEARS[1]:
        yield f"the ratings run {span}, as years do; {_other_columns(reading, 'rating')}"
    yield from _of_scale(levels, counts, n)


def _of_scale(levels: NDArray[Any], counts: NDArray[Any], n: int) -> Iterator[str]:
    """Levels that are none of the scale of the others."""
    low, high = float(levels[0]), float(levels[-1])
    if (high - low) > 0 and len(levels) > 3:
        gaps = np.diff(levels.astype(np.float64))
        # The last levels, or the first ones, behind a gap.
        for at, stray, edge, others in (
            (len(gaps) - 1, high, levels[-2], levels[-2] - low),
            (0, low, levels[1], high - levels[1]),
        ):
            if gaps[at] > _GAP * others > 0:
                times = counts[-1 if at else 0]
                yield (
                    f"the rating {stray:g} ({times:,} times) lies far from the others, which "
                    f"{'end' if at else 'begin'} at {float(edge):g}: if it means 'not rated' or is "
                    "a mistake, leave those rows out"
                )
    at_zero = np.flatnonzero(levels == 0)
    zeros = int(counts[at_zero[0]]) if len(at_zero) else 0
    above = levels[levels > 0]
    told = f"0 is rated {zeros:,} times of {n:,}"
    advice = "if it means 'not rated', leave those rows out"
    # On a scale of 0 to 5 or to 10 the lowest is the rarest; where more are 0 than the least above,
    # it hardly belongs to it.
    is_scale = low == 0 and len(above) > 1 and high in (5, 10)
    if zeros and is_scale and zeros > counts[at_zero[0] + 1]:
        yield f"{told}, beside a scale of {float(above[0]):g} to {high:g}: {advice}"
    elif zeros > _MANY_ZEROS * n and n >= _FEW and len(above) > 1:
        yield f"{told}: {advice}"
    if low == -1 and len(levels) > 3 and levels[1] >= 0:
        yield (
            f"-1 is rated {counts[0]:,} times of {n:,}, and no other rating is negative: {advice}"
        )


def _of_shape(reading: Reading, facts: Facts) -> Iterator[str]:
    n, n_users, n_items = facts.n, len(facts.user_counts), len(facts.item_counts)
    if n < 2:
        return
    full = n == n_users * n_items and not facts.n_repeats
    if not reading.names and full and n_items in (3, 4) and n_users > n_items:
        yield (
            f"every cell of {n_users:,} users x {n_items} items has a rating: the matrix may hold "
            "users, items and ratings in its columns; write them as a table of three columns"
        )
    for role, count in (("user", n_users), ("item", n_items)):
        if count == 1:
            yield f"there is one {role} only; {_other_columns(reading, role)}"
    for role, side in (("user", reading.users), ("item", reading.items)):
        if len(side.ids) == n >= _FEW:
            counts_rows = side.ids.dtype.kind in "iu" and bool((np.diff(side.codes) == 1).all())
            counts_rows = counts_rows and int(side.ids[-1]) - int(side.ids[0]) == n - 1
            what = "its column may count the rows" if counts_rows else "nothing joins ratings"
            yield (
                f"each rating has {'a user' if role == 'user' else 'an item'} of its own, "
                f"{_shown(side.ids[0])} to {_shown(side.ids[-1])}: {what}; "
                f"{_other_columns(reading, role)}"
            )


def _of_side(reading: Reading, role: str, side: Coded, counts: NDArray[Any]) -> Iterator[str]:
    ids, n = side.ids, int(counts.sum())
    if ids.dtype.kind in "iu":
        unit = unit_of_time(float(ids[0]), float(ids[-1])) if len(ids) > 1 else None
        if unit:
            yield (
                f"the {role} ids run from {ids[0]} to {ids[-1]}, as {unit} since 1970 do "
                f"({as_date(ids[0], unit)} to {as_date(ids[-1], unit)}): these look like timestamps; "
                f"{_other_columns(reading, role)}"
            )
        if ids[0] == -1 and len(ids) > 2 and ids[1] >= 0:
            yield (
                f"{role} -1 has {_ratings(counts[0])}, and no other {role} id is negative: if it means "
                "'not known', leave those rows out"
            )
    top = int(counts.argmax())
    if n >= _FEW and len(ids) > 2 and counts[top] > _ONE_HAS_MOST * n:
        yield (
            f"{role} {_shown(ids[top])} has {counts[top]:,} of {n:,} ratings: if it stands for several "
            f"or for none that is known, leave those rows out"
        )


def _of_texts(reading: Reading, role: str, side: Coded, counts: NDArray[Any]) -> Iterator[str]:
    """Oddities of ids that are strings."""
    import pyarrow.compute as pc

    # By way of buffers: pa.array() would import pandas where that is installed.
    packed = pack_ids(side.ids)
    buffers = pa.py_buffer(packed["offsets"]), pa.py_buffer(packed["utf8"])
    texts = pa.LargeStringArray.from_buffers(len(side.ids), *buffers)
    n = len(texts)

    def with_pattern(pattern: str, *, at_least: float = 0.0) -> NDArray[np.bool_]:
        """Which ids match; none, if the share of those that do is not above `at_least`."""
        for part in (texts[:_SAMPLE], texts) if at_least else (texts,):
            matches = _flags(pc.match_substring_regex(part, pattern))
            if not matches.sum() > at_least * len(matches):
                return np.zeros(n, bool)
        return matches

    def holding(found: NDArray[np.bool_], verb: str) -> str:
        total = int(found.sum())
        # "1 of 7 item ids holds", "2 of 7 item ids hold".
        verb = _singular(verb) if total == 1 else verb
        return (
            f"{total:,} of {n:,} {role} ids {verb}, such as {_shown(side.ids[int(found.argmax())])}"
        )

    yield from _variants(role, side.ids, texts)
    blank = with_pattern(r"^\s|\s$")
    if blank.any():
        yield f"{holding(blank, 'begin or end with a blank')}: pass {option('strip', True)}"
    missing = with_pattern(_MISSING)
    if missing.any():
        at = int(missing.argmax())
        yield (
            f"{role} {_shown(side.ids[at])} has {_ratings(counts[at])}: if it means 'not known', leave "
            "those rows out"
        )
    # pandas writes 10.0 where a column has, or had, a missing value.
    are_numbers = with_pattern(r"^-?[0-9]+(\.0+)?$", at_least=_NEARLY_ALL).any()
    dotted = with_pattern(r"^-?[0-9]+\.0+$")
    if are_numbers and dotted.any():
        beside = "" if dotted.all() else ", beside others without"
        yield (
            f"{holding(dotted, 'end with .0')}{beside}, as integers written as decimals do: write them as "
            "integers, or pass ids with the .0 when predicting"
        )
    damaged = with_pattern("\ufffd|\u00c3[\u0080-\u00bf]|\u00c2[\u0080-\u00bf]|\u00e2\u20ac")
    if damaged.any():
        yield (
            f"{holding(damaged, 'hold characters of another encoding')}: read the original with "
            f"{option('encoding')}"
        )
    unseen = with_pattern(r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\x{a0}]")
    if unseen.any():
        yield f"{holding(unseen, 'hold characters that do not print')}: remove them from the file"
    # Inside fields that stand in quotes, quotes are meant.
    plain = reading.layout.get("quotes") == "none"
    for mark, pattern in (('"', '"' if plain else '^".*"$'), ("'", "^'.*'$")):
        quoted = with_pattern(pattern)
        if quoted.any():
            yield (
                f"{holding(quoted, 'hold quotes')}, which were read as part of them: pass "
                f"{option('quote', mark)} if they stand around fields"
            )
            break
    dates = with_pattern(r"^[12][0-9]{3}-[01][0-9]-[0-3][0-9]", at_least=_NEARLY_ALL)
    if dates.any():
        yield f"{holding(dates, 'look like dates')}; {_other_columns(reading, role)}"
    products = with_pattern("^B0[0-9A-Z]{8}$", at_least=0.5)
    if role == "user" and products.any():
        yield (
            f"{holding(products, 'are product numbers of Amazon')}: user and item may be swapped; pass "
            f"{options({'user': 1, 'item': 0})}"
        )
    used = reading.layout.get("separator")
    for mark in _SEPARATORS if used is not None and n > 1 else ():
        if mark == used:  # inside quotes
            continue
        held = with_pattern(re.escape(mark), at_least=_NEARLY_ALL)
        if held.any():
            yield (
                f"{holding(held, f'hold {mark!r}')}: pass {option('sep', mark)} if it separates the "
                "fields"
            )
            break
    lengths = arrow_numbers(pc.utf8_length(texts))
    if lengths.max() > _LONG_ID:
        yield (
            f"the longest {role} id has {lengths.max():,} characters, {_shown(side.ids[int(lengths.argmax())])}: "
            f"a quote may not be closed; pass {option('quote', '')} if quotes are part of the fields"
        )


def _flags(column: Any) -> NDArray[np.bool_]:
    """An Arrow column of booleans as an array; see `arrow_numbers`."""
    return arrow_numbers(column.cast(pa.uint8())).astype(bool)


def _singular(verb: str) -> str:
    """The verb of one id."""
    words = {
        "begin or end": "begins or ends",
        "hold": "holds",
        "end": "ends",
        "are": "is",
        "look": "looks",
    }
    first = next(word for word in words if verb.startswith(word))
    return words[first] + verb.removeprefix(first)


def _variants(role: str, ids: NDArray[Any], texts: Any) -> Iterator[str]:
    """Ids that differ from others in what people do not mean to say."""
    import pyarrow.compute as pc

    ways: Mapping[str, tuple[Any, str]] = {
        "blanks": (pc.utf8_trim_whitespace(texts), f"pass {option('strip', True)}"),
        "letter case": (pc.utf8_lower(texts), "write them alike"),
        "leading zeros": (
            pc.replace_substring_regex(texts, "^0+([0-9])", r"\1"),
            f"if they are numbers, write them without, or read numbers by {option('ids', 'int')}",
        ),
        ".0 at the end": (
            pc.replace_substring_regex(texts, r"^(-?[0-9]+)\.0+$", r"\1"),
            "write numbers alike, without the .0",
        ),
    }
    for what, (plain, advice) in ways.items():
        if not pc.any(pc.not_equal(plain, texts)).as_py():
            continue
        encoded = plain.dictionary_encode()
        codes = arrow_numbers(encoded.indices)
        counts = np.bincount(codes, minlength=len(encoded.dictionary))
        n_same = int(counts.sum()) - len(counts)
        if n_same:
            first = int((counts > 1).argmax())
            one, other = np.flatnonzero(codes == first)[:2]
            differ = "differs from another" if n_same == 1 else "differ from others"
            yield (
                f"{n_same:,} of {len(ids):,} {role} ids {differ} by {what} only, such as "
                f"{_shown(ids[one])} and {_shown(ids[other])}: {advice}"
            )


def _of_pairs(facts: Facts) -> Iterator[str]:
    n, keep = facts.n, where_typed("; drop_duplicates() keeps one of each", "")
    if n >= _FEW and facts.n_repeats > _MANY_REPEATS * n:
        yield (
            f"{facts.n_repeats / n:.0%} of the ratings repeat a user and item that occur before: each "
            f"counts; check {option('user')} and {option('item')}{keep}"
        )
    elif n >= _FEW and facts.n_conflicts > _MANY_CONFLICTS * n:
        yield (
            f"{facts.n_conflicts:,} of {n:,} ratings give a pair another rating than before, and each "
            f"counts: leave all but one of a pair out{keep}"
        )


def _of_times(reading: Reading) -> Iterator[str]:
    times: Any = reading.times
    if times is None:
        left_out = reading.without_times()
        if left_out:
            yield left_out
        return
    low, high = float(times.min()), float(times.max())
    if low == high and len(times) > 1:
        yield (
            f"all timestamps are {low:.10g}: a split by time would be one by place in the file; "
            f"{_other_columns(reading, 'timestamp')}"
        )
        return
    unit = unit_of_time(high, high)
    if unit is None:
        yield (
            f"the timestamps run from {low:.10g} to {high:.10g}, which are no dates from 1995 to 2040 "
            f"in any unit: only their order counts; {_other_columns(reading, 'timestamp')}"
        )
        return
    units = _units_of(times)
    if len(units) > 1:
        told = " and ".join(f"{count:,} in {name}" for name, count in units.items())
        yield (
            f"the timestamps are of {'two' if len(units) == 2 else len(units)} units, {told}: bring them to "
            "one, as their order is wrong"
        )
        return
    if unit != "seconds":
        yield (
            f"the timestamps are {unit} since 1970: splits by time take any unit, but those of another "
            "file must be of the same"
        )
    if low < EARLIEST * UNITS[unit]:
        n_early = int(np.count_nonzero(times < EARLIEST * UNITS[unit]))
        yield (
            f"{n_early:,} of {len(times):,} timestamps are before 1995, the earliest is {low:.10g}: if it "
            "means 'not known', a split by time trains on those rows"
        )
    if high > time.time() * UNITS[unit]:
        yield f"the latest timestamp is in the future, {as_date(high, unit)}: check its unit and clock"


def _units_of(times: NDArray[Any]) -> dict[str, int]:
    """How many times are from 1995 to 2040 in each unit."""
    counts = {
        name: int(np.count_nonzero((times >= EARLIEST * size) & (times <= LATEST * size)))
        for name, size in UNITS.items()
    }
    return {name: count for name, count in counts.items() if count}


def _ratings(count: int) -> str:
    return f"{count:,} rating{'' if count == 1 else 's'}"


def _shown(value: Any) -> str:
    """An id as it is, cut if it is long."""
    if not isinstance(value, str):
        return str(value)
    return repr(value if len(value) <= 40 else value[:37] + "...")
