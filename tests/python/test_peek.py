from __future__ import annotations

import bz2
import dataclasses
import gzip
import inspect
import io
import lzma
import random
import re
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

import warpfactor as wf
from warpfactor.checks import shell_words
from warpfactor.data.peek import ReadingOptions


def lines_of(rows: object) -> str:
    return "".join(",".join(map(str, row)) + "\n" for row in rows)


def usual(n: int = 60, seed: int = 0) -> list[tuple[object, ...]]:
    """Ratings with nothing odd: 12 users of 9 items, 1 to 5."""
    rng = random.Random(seed)
    pairs = rng.sample([(user, item) for user in range(1, 13) for item in range(1, 10)], n)
    return [(user, item, rng.randint(1, 5)) for user, item in pairs]


def with_column(at: int, values: object, n: int = 60) -> str:
    rows = [list(row) for row in usual(n)]
    for row, value in zip(rows, values, strict=False):
        row[at] = value
    return lines_of(rows)


def peek_at(
    tmp_path: Path, content: str | bytes, name: str = "r.csv", **options: object
) -> wf.Peek:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    seen = wf.peek(file, **options)  # type: ignore[arg-type]
    for line in str(seen).splitlines():
        assert len(line) <= 80, line
        assert line.isprintable(), line
    return seen


def told(seen: wf.Peek) -> str:
    """All that looks odd; errors only as far as the file can be read."""
    assert not seen.error
    return " | ".join(seen.odd)


STAMPS = range(1_000_000_000, 1_000_000_060)


@pytest.mark.parametrize(
    "content",
    [
        lines_of(usual()),
        lines_of((f"u{user}", f"i{item}", rating / 2) for user, item, rating in usual()),
        lines_of((user, item, rating % 2) for user, item, rating in usual()),
        lines_of((user, item, 20 * rating) for user, item, rating in usual()),
        lines_of((*row, stamp) for row, stamp in zip(usual(), STAMPS, strict=True)),
        lines_of((f"{user:03}", f"tt{item:07}", rating) for user, item, rating in usual()),
        # A scale with a zero, which is its rarest level.
        lines_of((u, i, 0 if at == 0 else r) for at, (u, i, r) in enumerate(usual())),
        "user,item,rating\nann,x,3\nbob,y,4\n",
    ],
)
def test_nothing_is_odd_of_usual_ratings(tmp_path: Path, content: str) -> None:
    seen = peek_at(tmp_path, content)
    assert (seen.error, seen.odd) == ("", ())
    assert "odd        nothing" in str(seen)


@pytest.mark.parametrize(
    "name",
    ["ml-100k/u.data", "ml-latest-small/ratings.csv", "movietweetings-100k.dat", "jester-1.npz"],
)
def test_nothing_is_odd_of_public_sets(data_path, name: str) -> None:
    assert wf.peek(data_path(name)).odd == ()


ODD_RATINGS = {
    # Timestamps, ids, counters and years in the place of ratings.
    "seconds": (with_column(2, STAMPS), "as seconds since 1970 do .2001-09-09 .*rating"),
    "milliseconds": (with_column(2, range(10**12, 10**12 + 60)), "as milliseconds since 1970"),
    "a column beside it": (
        "user,item,rating,stars\n" + lines_of((u, i, 10**9 + r, r) for u, i, r in usual()),
        "timestamps; pass rating='stars'",
    ),
    "counter": (with_column(2, range(1, 61)), "60 different integers .* ids or a counter"),
    "ids": (with_column(2, range(7001, 8000, 13)), "different integers .* ids or a counter"),
    "years": (with_column(2, [1990 + n % 9 for n in range(60)]), "from 1990 to 1998, as years do"),
    "swapped with items": (
        lines_of((user, rating % 2, 100 * user + item) for user, item, rating in usual()),
        "2 items but 60 different ratings|counter",
    ),
    "all equal": (with_column(2, [1] * 60), "all ratings are 1,"),
    # What is none of the scale.
    "99": (with_column(2, [99] * 20), "the rating 99 .20 times. lies far .* end at 5"),
    "9999": (with_column(2, [9999]), "the rating 9999 .1 times. lies far"),
    "-999": (with_column(2, [-999]), "the rating -999 .1 times. lies far .* begin at 1"),
    "-1": (with_column(2, [-1] * 9), "-1 is rated 9 times .*'not rated'"),
    "many zeros": (with_column(2, [0] * 40), "0 is rated 40 times of 60"),
    "zero on a scale": (with_column(2, [0] * 20), "0 is rated 20 times .* scale of 1 to 5"),
}
ODD_IDS = {
    "users that count rows": (
        with_column(0, range(60)),
        "a user of its own, 0 to 59: .*count the rows",
    ),
    "items that count rows": (with_column(1, range(5, 65)), "an item of its own.*count the rows"),
    "users of one rating": (
        with_column(0, random.Random(1).sample(range(10**6), 60)),
        "a user of its own.*nothing joins",
    ),
    "one user": (with_column(0, [7] * 60), "there is one user only"),
    "one item": (with_column(1, [7] * 60), "there is one item only"),
    "users are seconds": (
        with_column(0, [10**9 + n // 3 for n in range(60)]),
        "user ids run .* seconds",
    ),
    "items are milliseconds": (
        with_column(1, [10**12 + n // 3 for n in range(60)]),
        "item ids run .*milli",
    ),
    "items are dates": (
        with_column(1, [f"2020-01-{1 + n % 9:02}" for n in range(60)]),
        "look like dates",
    ),
    "a user has most": (with_column(0, [77] * 40), "user 77 has 40 of 60 ratings"),
    "-1 as user": (with_column(0, [-1] * 3), "user -1 has 3 ratings"),
    "blanks": (
        with_column(0, ["a", " a", "a ", "b"]),
        "2 of .* user ids differ from others by blanks only",
    ),
    "case": (with_column(1, ["Ab", "aB", "AB"]), "2 of .* item ids differ .* letter case only.*'A"),
    "leading zeros": (
        with_column(1, ["007", "7", "07"]),
        "leading zeros only, such as '007' and '07'",
    ),
    ".0": (with_column(0, ["5.0", "6.0"]), "2 of .* by .0 at the end only, such as '5' and '5.0'"),
    "all .0": (lines_of((f"{u}.0", i, r) for u, i, r in usual()), r"12 of 12 user ids end with .0"),
    "some .0": (
        with_column(1, ["10.0", "1.0"]),
        r"2 of .* item ids end with .0, such as .*, beside others without, .*write them as integers",
    ),
    "one .0": (
        with_column(0, ["77.0"]),
        "1 of .* user ids ends with .0, such as .*, beside others without",
    ),
    "zeros behind": (
        with_column(1, ["40.00", "-41.0"] * 5),
        "2 of .* item ids end with .0, such as .*, beside",
    ),
    "blank at an end": (
        with_column(1, ["x "]),
        "1 of .* item ids begins or ends with a blank.*strip",
    ),
    "quotes": (
        '1\t"Weird Al" Yankovic\t5\n2\tWeird Al Yankovic\t3\n',
        "1 of 2 item ids holds quotes, .*quote=",
    ),
    "single quotes": (
        with_column(0, [f"'{n % 9}'" for n in range(60)]),
        "9 of 9 user ids hold quotes",
    ),
    "zero width": (
        with_column(0, ["a\u200b"]),
        "1 of .* user ids holds characters that do not print",
    ),
    "no-break space": (with_column(1, ["a\u00a0b"]), "item ids holds characters that do not print"),
    "line ends": (
        'user,item,rating\n1,"a\nb",5\n2,c,4\n',
        "1 of 2 item ids holds characters that do",
    ),
    "mojibake": (with_column(1, ["Am\u00c3\u00a9lie"]), "another encoding.*encoding"),
    "replaced": (with_column(1, ["Am\ufffdlie"]), "another encoding"),
    "missing": (
        with_column(0, ["NA", "null", "None", "nan"]),
        "user 'NA' has 1 rating: .*'not known'",
    ),
    "Amazon": (
        lines_of((f"B0{u:08}", f"A{i:03}", r) for u, i, r in usual()),
        "product numbers of Amazon.*user=1, item=0",
    ),
    "long": (with_column(1, ["x" * 600]), "the longest item id has 600 characters"),
}
ODD_PAIRS = {
    "repeats": (lines_of([(1, 2, 3), (2, 1, 4)] * 40), "98% of the ratings repeat"),
    "conflicts": (
        lines_of([*usual(), *((u, i, 6 - r) for u, i, r in usual()[:9])]),
        "another rating than",
    ),
}
ODD_TIMES = {
    "milliseconds": ([10**12 + n for n in range(60)], "timestamps are milliseconds"),
    "future": ([2_100_000_000 + n for n in range(60)], "in the future, 2036-07-1"),
    "zeros": ([0, 0, *range(10**9, 10**9 + 58)], "2 of 60 timestamps are before 1995"),
    "constant": ([10**9] * 60, "all timestamps are 1000000000"),
    "no dates": (list(range(60)), "no dates from 1995 to 2040"),
    "a late row in milliseconds": (
        [*range(10**9, 10**9 + 59), 10**12],
        "^the timestamps are of two units, 59 in seconds and 1 in milliseconds: bring them to one[^|]*$",
    ),
    "an early one in seconds": (
        [10**9, *range(10**12, 10**12 + 59)],
        "^the timestamps are of two units, 1 in seconds and 59 in milliseconds: [^|]*$",
    ),
    "seconds and nanoseconds": (
        [*range(10**9, 10**9 + 30), *range(10**18, 10**18 + 30)],
        "of two units, 30 in seconds and 30 in nanoseconds",
    ),
    "three units": (
        [10**9, 10**12, *range(10**15, 10**15 + 58)],
        "of 3 units, 1 in seconds and 1 in milliseconds and 58 in microseconds",
    ),
    "unreadable": (["x", *range(10**9, 10**9 + 59)], "left out, .*timestamp='time'"),
}


ODD = ODD_RATINGS | ODD_IDS | ODD_PAIRS


@pytest.mark.parametrize(("content", "pattern"), ODD.values(), ids=ODD)
def test_what_is_odd_is_told_with_what_to_do(tmp_path: Path, content: str, pattern: str) -> None:
    assert re.search(pattern, told(peek_at(tmp_path, content)))


@pytest.mark.parametrize(("stamps", "pattern"), ODD_TIMES.values(), ids=ODD_TIMES)
def test_odd_timestamps_are_told(tmp_path: Path, stamps: list[object], pattern: str) -> None:
    rows = [(*row, stamp) for row, stamp in zip(usual(), stamps, strict=True)]
    seen = peek_at(tmp_path, "user,item,rating,time\n" + lines_of(rows))
    assert re.search(pattern, told(seen))
    assert ("before 1995" in told(seen)) == ("before 1995" in pattern)


def test_a_separator_inside_all_ids_is_told(tmp_path: Path) -> None:
    for mark in (";", "|", "::", "\t"):
        rows = lines_of((f"{user}{mark}{item}", f"m{item}", r) for user, item, r in usual())
        seen = peek_at(tmp_path, rows, sep=",")
        assert f"pass sep={mark!r} if it separates" in told(seen)


def test_a_matrix_of_users_items_and_ratings_is_told(tmp_path: Path) -> None:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    triples = np.array(usual(), np.float64)
    scipy_sparse.save_npz(tmp_path / "m.npz", scipy_sparse.csr_array(triples))
    seen = wf.peek(tmp_path / "m.npz")
    assert "the matrix may hold users, items and ratings in its columns" in told(seen)


# Files of the kinds of fault that were found, which cannot be read, with what is said and shown.
UNREADABLE = {
    "wide table": ("user,10,20,30,40\n1,5,0,3,1\n2,0,0,1,2\n", "a table of users x items"),
    "wide table by title": (
        "user_id,Alien,Heat,Jaws,Up\n1,5,0,3,1\n2,0,0,1,2\n",
        "cannot tell which column",
    ),
    "age beside": (
        "user_id,age,anime_id,rank\n1,20,5,3\n2,30,6,4\n",
        "cannot tell which column holds the item",
    ),
    "row counter": ("0,10,20,3\n1,11,21,4\n2,10,22,5\n3,12,20,1\n", "counts the rows"),
    "unclosed quote": ('user,item,rating\n1,"a,5\n2,b,4\n', "does not end with it"),
    "first rating": ("1,2,4*\n1,3,5\n2,2,3\n", "line 1: the rating '4\\*'"),
    "no rating": ("1,2,\\N\n1,3,5\n2,2,3\n", "line 1: the rating is missing"),
    "one column": ("a\nb\nc\n", "no separator found"),
    "latin-1": ("user,item,rating\n1,Am\u00e9lie,5\n".encode("latin-1"), "encoding='cp1252'"),
    "pickle": (b"\x80\x04\x95rest", "a pickle"),
    "npy": (b"\x93NUMPY\x01\x00rest", "a single NumPy array"),
    "empty": (b"", "the file is empty"),
    "header alone": ("user,item,rating\n", "nothing but a header"),
}


@pytest.mark.parametrize(("content", "pattern"), UNREADABLE.values(), ids=UNREADABLE)
def test_of_a_file_that_cannot_be_read_the_error_comes_first(
    tmp_path: Path, content: str | bytes, pattern: str
) -> None:
    seen = peek_at(tmp_path, content)
    assert re.search(pattern, seen.odd[0])
    assert seen.odd[0] == seen.error
    with pytest.raises(ValueError, match=re.escape(seen.error)):
        wf.read_ratings(tmp_path / "r.csv")
    raw = content.encode() if isinstance(content, str) else content
    first = raw.split(b"\n")[0].decode("utf-8", "replace")
    assert seen.lines[:1] == ((repr(first),) if raw else ())
    assert seen.rows == ()


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_cut_archive_is_told(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "r.csv"
    text = b"user,item,rating\n" + b"".join(b"%d,%d,3\n" % (n, n * n) for n in range(999))
    path.write_bytes(pack(text)[:-40])
    seen = wf.peek(path)
    assert "damaged" in seen.error
    assert seen.odd == (seen.error,)


def zipped(*names: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, "1,2,3\n")
    return packed.getvalue()


def saved(matrix: object) -> bytes:
    scipy_sparse = pytest.importorskip("scipy.sparse")
    packed = io.BytesIO()
    scipy_sparse.save_npz(packed, scipy_sparse.coo_array(matrix))
    return packed.getvalue()


def model_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "m"
        wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0).fit(np.eye(5)).save(file)
        return file.read_bytes()


TWICE = ([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0]))
TITLES = [f'{n % 9}\t"Weird Al" {n % 7}\t{n % 5 + 1}' for n in range(60)]
TIMED = "user,item,rating,time\n"
# The files of the twelve kinds of fault of issue 13: a name, what makes the content, and what is said.
TWELVE = {
    1: [
        # Nothing is summed, sorted or left out of a matrix that is read.
        ("m.npz", lambda: saved(TWICE), "1 rating of a pair that occurs before, 1 with another"),
        ("m.npz", lambda: saved(([0.0, 2.0], ([1, 0], [0, 1]))), "ratings 2, from 0 to 2"),
        ("m.mtx", lambda: MATRIX + "3 2 3\n3 1 4\n1 2 5\n3 1 4\n", "1 rating of a pair"),
    ],
    2: [
        ("r.csv", lambda: 'user,item,rating\n1,"a\nb",5\n2,c,4\n', "'a.nb'"),
        ("r.csv", lambda: '1,"a\r\nb",5\n2,"c",4\n', "do not print"),
        ("r.txt", lambda: '1;"a\n\nb";5\n2;"c";4\n', "do not print"),
    ],
    3: [
        ("r.tsv", lambda: "\n".join(TITLES), "7 of 7 item ids hold quotes, .*quote="),
        ("r.dat", lambda: "\n".join(TITLES).replace("\t", "::"), "ids hold quotes"),
        ("r.csv", lambda: 'user,item,rating\n1,"a,5\n2,b,4\n', "does not end with it"),
        ("r.csv", lambda: '1,"a \\"b\\" c",5\n2,"d",4\n', r"escaped by \\"),
    ],
    4: [
        ("r.csv", lambda: UNREADABLE["wide table"][0], "a table of users x items"),
        ("r.csv", lambda: UNREADABLE["age beside"][0], "which column holds the item"),
        ("r.csv", lambda: UNREADABLE["row counter"][0], "counts the rows"),
        ("r.inter", lambda: RECBOLE, "item_id:token .item., user_id:token .user."),
    ],
    5: [
        ("m.npz", lambda: saved(np.array(usual(), float)), "may hold users, items and ratings"),
        ("m.mtx", lambda: array_of(usual()), "may hold users, items and ratings"),
        ("m.npy", lambda: b"\x93NUMPY\x01\x00rest", "save users, items and ratings"),
    ],
    6: [
        ("r.csv", lambda: TIMED + timed(10**12), "timestamps are milliseconds"),
        ("r.csv", lambda: TIMED + timed(10**9 + 0.125), "1000000000.125"),
        ("r.csv", lambda: TIMED + timed(10**15), "timestamps are microseconds"),
    ],
    7: [
        ("r.csv", lambda: UNREADABLE["first rating"][0], "line 1: the rating '4.'"),
        ("r.csv", lambda: UNREADABLE["no rating"][0], "line 1: the rating is missing"),
        ("r.csv", lambda: "1;10;4,5;966666603,0\n2;11;3,0;966666604,0\n", "separator ';'"),
        ("r.csv", lambda: "1|10|5|a,b,1\n2|11|4|c,d,0\n", r"separator '\|'"),
    ],
    8: [
        ("r.csv", lambda: with_column(1, ["007", "7"]), "by leading zeros only"),
        ("r.csv", lambda: with_column(0, [" 1", "1"]), "by blanks only.*strip"),
        ("r.csv", lambda: with_column(0, ["5.0", "5"]), "by .0 at the end only"),
    ],
    9: [
        ("m.safetensors", model_file, "a model .* load it with warpfactor.load"),
        ("m.csv", model_file, "a model .* load it with warpfactor.load"),
        ("m", model_file, "a model .* load it with warpfactor.load"),
    ],
    10: [
        # Rows are users, and those that were cut off are missing in the shape.
        ("m.npz", lambda: saved(np.eye(9)[:5]), r"shape \(5, 9\)"),
        ("m.mtx", lambda: MATRIX + "5 9 1\n1 2 5\n", "matrix 5 x 9"),
        ("m.mtx", lambda: array_of(usual(3)), "matrix 3 x 3"),
    ],
    11: [
        ("r.parquet", lambda: "user\titem\tscore\n1\t2\t3.5\n", "begins with .*format='text'"),
        ("r.feather", lambda: "user,item,score\n1,2,3.5\n", "begins with .*format='text'"),
        ("r.npz", lambda: "user,item,score\n1,2,3.5\n", "no archive of NumPy arrays"),
        ("r.tsv", lambda: "user\titem\tscore\n1\t2\t3.5\n1\t3", "line 3: has 2 field"),
    ],
    12: [
        ("r.zip", lambda: zipped("a.csv", "b.csv"), "member='a.csv'; it has a.csv, b.csv"),
        ("r.csv.xz", lambda: lzma.compress(b"1,2,3\n" * 9)[:-9], "is damaged"),
        ("r.csv", lambda: b"\x80\x04\x95rest", "a pickle"),
        ("r.csv", lambda: "1,Am\u00e9lie,5\n".encode("latin-1"), "encoding='cp1252'"),
    ],
}
MATRIX = "%%MatrixMarket matrix coordinate real general\n"
RECBOLE = "item_id:token\tuser_id:token\trating:float\n1\t7\t5\n2\t8\t4\n"


def timed(start: float) -> str:
    return lines_of((*row, start + at) for at, row in enumerate(usual()))


def array_of(rows: list[tuple[object, ...]]) -> str:
    values = "".join(f"{row[at]}\n" for at in range(3) for row in rows)
    return f"%%MatrixMarket matrix array real general\n{len(rows)} 3\n{values}"


@pytest.mark.parametrize(
    ("name", "content", "pattern"),
    [case for cases in TWELVE.values() for case in cases],
    ids=[f"{number}-{at}" for number, cases in TWELVE.items() for at, _ in enumerate(cases)],
)
def test_the_files_of_the_twelve_faults_are_seen_through(
    tmp_path: Path, name: str, content: Callable[[], str | bytes], pattern: str
) -> None:
    seen = peek_at(tmp_path, content(), name)
    shown = " ".join(str(seen).split())
    assert re.search(pattern, " ".join([shown, *seen.odd])), shown


def test_spark_and_windows_files_are_read_as_they_are(tmp_path: Path) -> None:
    rows = "".join(f'{user},"a \\"b\\" {item}",{rating}\n' for user, item, rating in usual())
    seen = peek_at(tmp_path, rows)
    assert "escaped by" in str(seen)
    assert told(seen) == ""
    seen = peek_at(tmp_path, "1;10;4,5;966666603,0\n2;11;3,0;966666604,0\n")
    assert (seen.layout["separator"], seen.rating_range) == (";", (3.0, 4.5))


def test_counts_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [(rng.randint(1, 9), rng.randint(1, 7), rng.randint(1, 4)) for _ in range(200)]
    last: dict[tuple[int, int], int] = {}
    n_repeats = n_conflicts = 0
    for user, item, rating in rows:
        before = last.get((user, item))
        n_repeats += before is not None
        n_conflicts += before not in (None, rating)
        last[user, item] = rating
    seen = peek_at(tmp_path, lines_of(rows))
    assert (seen.n_repeats, seen.n_conflicts) == (n_repeats, n_conflicts)
    assert (seen.n_ratings, seen.n_levels, seen.rating_range) == (200, 4, (1.0, 4.0))
    assert (seen.n_users, seen.n_items) == tuple(len({row[at] for row in rows}) for at in (0, 1))
    assert f"{n_repeats} ratings of a pair that occurs before, {n_conflicts} with" in str(seen)


def test_what_is_shown_is_what_is_read(tmp_path: Path) -> None:
    text = "n,when,who,what,stars\n1,966666603,ann,007,4.5\n2,1064982703,bob,008,3\n"
    seen = peek_at(tmp_path, text, user="who", item="what")
    assert seen.columns == {"n": "", "when": "", "who": "user", "what": "item", "stars": "rating"}
    assert seen.rows == (("ann", "007", "4.5"), ("bob", "008", "3"))
    assert seen.layout["header"] == "yes"
    seen = peek_at(tmp_path, text, user="who", item="what", timestamp="when", ids="str")
    assert seen.rows[0] == ("ann", "007", "4.5", "966666603")
    assert seen.time_range == ("2000-08-19", "2003-10-01")
    assert "times      2000-08-19 to 2003-10-01" in str(seen)
    ratings = wf.read_ratings(tmp_path / "r.csv", user="who", item="what")
    assert (seen.n_ratings, seen.n_users, seen.n_items) == (2, *ratings.shape)


def test_rows_left_out_are_counted(tmp_path: Path) -> None:
    text = lines_of(usual()) + "1,2,good\n3,4\n"
    seen = peek_at(tmp_path, text, on_error="skip")
    assert (seen.n_ratings, seen.n_skipped) == (60, 2)
    assert "2 of 62 rows are left out; the first is line 61" in told(seen)
    assert "left out   2 rows" in str(seen)


def test_several_files_are_one_set(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("user,item,rating\n1,2,3\n2,3,4\n")
    for path in (tmp_path, [tmp_path / "a.csv", tmp_path / "b.csv"]):
        seen = wf.peek(path)
        assert (seen.n_ratings, seen.n_repeats, seen.layout["files"]) == (4, 2, "2")


def test_long_and_strange_ids_are_shown_on_one_line(tmp_path: Path) -> None:
    rows = [("u" * 300, "tab\tand\x07bell", 1.5), ("v" * 300, "\u6f22\u5b57" * 99, 2)]
    seen = peek_at(tmp_path, lines_of(rows), sep=",")
    assert seen.rows[0][1] == "tab\tand\x07bell"
    assert "\\t" in str(seen)


def test_advice_is_in_the_words_of_the_shell_there(tmp_path: Path) -> None:
    content, _ = ODD_RATINGS["a column beside it"]
    (tmp_path / "r.csv").write_text(content)
    with shell_words():
        seen = wf.peek(tmp_path / "r.csv")
    assert "pass --rating-column stars" in seen.odd[0]


def test_options_are_those_of_read_ratings(tmp_path: Path) -> None:
    names = [
        name
        for name, parameter in inspect.signature(wf.read_ratings).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert list(get_type_hints(ReadingOptions)) == names
    with pytest.raises(TypeError, match="separator"):
        wf.peek(tmp_path, separator=";")  # type: ignore[call-arg]
    with pytest.raises(FileNotFoundError):
        wf.peek(tmp_path / "gone.csv")
    with pytest.raises(ValueError, match="ids is 'text'"):
        wf.peek(tmp_path, ids="text")


def test_a_peek_does_not_change(tmp_path: Path) -> None:
    seen = peek_at(tmp_path, lines_of(usual()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.odd = ()  # type: ignore[misc]


FIRST_ROWS = {
    "three columns": ("0,1,2\n" + lines_of(usual()), 60),
    "times": ("0\t1\t2\t3\n" + lines_of((*r, 10**9) for r in usual()).replace(",", "\t"), 60),
    "dates": ("0,1,2,3\n" + lines_of((*row, "2024-05-31") for row in usual()), 60),
    "texts": ("0;1;2\nann;x;3\nbob;y;4\n", 2),
}


@pytest.mark.parametrize(("content", "n"), FIRST_ROWS.values(), ids=FIRST_ROWS)
def test_a_first_row_that_counts_the_columns_is_told(tmp_path: Path, content: str, n: int) -> None:
    seen = peek_at(tmp_path, content)
    assert (seen.n_ratings, seen.n_skipped) == (n + 1, 0)
    assert re.search("^the first row, 0, 1, 2.* counts the columns.*pass header=True", seen.odd[0])
    named = peek_at(tmp_path, content, header=True)
    assert named.n_ratings == n
    assert "counts the columns" not in told(named)


@pytest.mark.parametrize("first", ["0,1,3", "1,2,3", "0,1,2.5", "1,0,2"])
def test_other_first_rows_are_ratings(tmp_path: Path, first: str) -> None:
    assert "counts the columns" not in told(peek_at(tmp_path, f"{first}\n" + lines_of(usual())))


# Which columns are taken, and which could be too.
RIVALS = {
    "names beside ids": (
        "username,user_id,movie,movie_id,rating",
        {"user": "user_id", "item": "movie_id", "rating": "rating"},
        {"user": "'username'", "item": "'movie'"},
    ),
    "an id of another name": (
        "userId,item,songID,stars",
        {"user": "userId", "item": "songID", "rating": "stars"},
        {"item": "'item'"},
    ),
    "ids of users alone": (
        "member,account_id,title,book,score",
        {"user": "account_id", "item": "book", "rating": "score"},
        {"user": "'member'"},
    ),
    "two ratings": (
        "user,item,rating,score",
        {"user": "user", "item": "item", "rating": "rating"},
        {"rating": "'score'"},
    ),
    "the rating's id is none": (
        "rating_id,user_id,item_id,rating",
        {"user": "user_id", "item": "item_id", "rating": "rating"},
        {"rating": "'rating_id'"},
    ),
    "no doubt": (
        "user_id,item_id,rating,timestamp",
        {"user": "user_id", "item": "item_id", "rating": "rating"},
        {},
    ),
}


@pytest.mark.parametrize(("head", "taken", "rivals"), RIVALS.values(), ids=RIVALS)
def test_other_columns_that_could_be_it_are_told(
    tmp_path: Path, head: str, taken: dict[str, str], rivals: dict[str, str]
) -> None:
    names = head.split(",")
    rows = [[(7 * at + n * (at + 3)) % 5 + 1 for at in range(len(names))] for n in range(6)]
    content = f"{head}\n{lines_of(rows)}"
    seen = peek_at(tmp_path, content)
    assert {role: n for n, role in seen.columns.items() if role in taken} == taken
    said = [text for text in seen.odd if "could be it too" in text]
    assert len(said) == len(rivals)
    for (role, other), text in zip(rivals.items(), said, strict=True):
        assert text.startswith(
            f"column {taken[role]!r} was taken for the {role}, but {other} could"
        )
        assert f"pass {role}={other} if it is, or {role}={taken[role]!r}" in text
    quiet = peek_at(tmp_path, content, **{role: taken[role] for role in rivals})
    assert "could be it too" not in " ".join(quiet.odd)


@pytest.mark.parametrize("ids", [["ann", "v1.0", "2.0"], ["1.5", "2.5"], ["007", "7"]])
def test_other_ids_are_no_integers_written_as_decimals(tmp_path: Path, ids: list[str]) -> None:
    rows = [(ids[n % len(ids)], n % 7, 1 + n % 5) for n in range(30)]
    assert "end with .0" not in " ".join(peek_at(tmp_path, lines_of(rows)).odd)
