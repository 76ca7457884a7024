"""How delimited text is laid out: judged over a sample, exact, or refused with what picks one."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import warpfactor as wf
from warpfactor.data.files import read_pairs, read_ratings
from warpfactor.data.formats import rewrite
from warpfactor.data.ratings import Ratings


@pytest.fixture
def path_of(tmp_path):
    """Write a file; its path."""

    def write(content: str | bytes, name: str = "r.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def read(path_of):
    """Write a file and read it; its triples."""
    return lambda content, name="r.csv", **options: triples(
        read_ratings(path_of(content, name), **options)
    )


def triples(ratings) -> list[tuple]:
    return list(zip(*(array.tolist() for array in ratings.to_arrays()), strict=True))


# Line ends inside quotes (fault 2)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "row",
    ['1,"A title{end}and, more",5', '"a{end}b",2,5', '1,2,5,"said{end}""so"",\nand went"'],
)
def test_line_ends_inside_quotes_are_part_of_the_field(read, end, row):
    # Arrow reads a MiB at a time, and looks for line ends where one stops.
    text = row.replace("{end}", end) + end
    expected = next(csv.reader(io.StringIO(text, newline="")))
    n = 200_000
    rows = read(text * n)
    assert len(rows) == n
    user, item = (int(field) if field.isdigit() else field for field in expected[:2])
    assert set(rows) == {(user, item, 5.0)}


def test_a_separator_of_two_characters_inside_quotes_is_shown_as_it_is(read):
    assert read('user::item::rating\n1::"a::b"::5\n2::c::4\n') == [(1, "a::b", 5), (2, "c", 4)]
    with pytest.raises(ValueError, match=r"columns are .who::what., .x., .y., .z."):
        read('"who::what"::x::y::z\n"a::b"::1::2::3\n"c::d"::1::2::3\n', user="nobody")


def test_a_line_end_inside_a_quoted_name_is_no_row(read):
    assert read('user,"item\nid",rating\na,b,3\nc,d,4\n', item=1) == [("a", "b", 3), ("c", "d", 4)]


# Quotes that are data (fault 3)


@pytest.mark.parametrize("sep", ["\t", "::", "|", " "])
@pytest.mark.parametrize(
    "items",
    [
        ['"Weird-Al"-Yankovic', "Weird-Al-Yankovic"],
        ['"Heroes"', "Heroes"],
        ['"Heroes', "Heroes"],
        ['12"', "12"],
        ['"', '""'],
    ],
)
def test_quotes_without_evidence_are_part_of_the_field(read, sep, items):
    text = "".join(f"u{at}{sep}{item}{sep}4\n" for at, item in enumerate(items))
    assert read(text, "r.txt") == [(f"u{at}", item, 4.0) for at, item in enumerate(items)]


@pytest.mark.parametrize("sep", ["\t", "::", "|", ";", ","])
def test_quotes_that_fields_need_are_no_part_of_them(read, sep):
    text = f'u1{sep}"a{sep}b"{sep}4\nu2{sep}"c""d"{sep}3\nu3{sep}e{sep}3\n'
    expected = [("u1", f"a{sep}b", 4), ("u2", 'c"d', 3), ("u3", "e", 3)]
    assert read(text, "r.txt") == expected


@pytest.mark.parametrize("sep", ["\t", "::", "|", ";", ","])
def test_a_column_that_is_always_quoted_is_quoted(read, sep):
    text = "".join(f'"{u}"{sep}"{i}"{sep}"{r}"\n' for u, i, r in [("1", "x", 4), ("20", "y", 3)])
    assert read(text, "r.txt") == [(1, "x", 4), (20, "y", 3)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('1,"Heroes,5\n2,Heroes,3\n3,x,4\n', 1),
        ('1,x,5\n2,"Heroes,3\n3,x,4\n', 2),
        ('1;"Weird Al" Yankovic;5\n2;x;3\n', 1),
        ('u,i,r\n1,x,5\n2,y,3\n3,"a ""b"" ,4\n', 4),
        ('1,"Heroes,5\n2,"He,roes",3\n3,x,4\n', 1),
        ("1,2,3\n" * 200_000 + '1,"2,3\n' + "1,2,3\n" * 10, 200_001),
    ],
)
def test_a_quote_that_does_not_close_is_an_error_with_its_line(read, text, line):
    with pytest.raises(ValueError, match=rf"r\.csv: line {line} holds a field .* pass quote=''"):
        read(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('7,"x,5\n8,\\",4\n9,y,3\n', 1),
        ('7,x,5\n8,"a\\"b,4\n9,y,3\n', 2),
        ('7,x,5\n8,"a"b,4\n9,y,3\n', 2),
    ],
)
def test_a_quote_that_does_not_close_is_an_error_with_an_escape_too(read, text, line):
    with pytest.raises(ValueError, match=rf"r\.csv: line {line} holds a field .* pass quote=''"):
        read(text, escape="\\", sep=",")


def test_no_quotes_on_request(read):
    assert read('1,"Heroes,5\n2,x,3\n', quote="") == [(1, '"Heroes', 5), (2, "x", 3)]
    assert read("1,'a,b',5\n2,x,3\n", quote="'") == [(1, "a,b", 5), (2, "x", 3)]


def test_quotes_inside_fields_are_data_beside_quoted_fields(read):
    text = '1,"a, b",5\n2,12" vinyl,3\n3,7",4\n'
    assert read(text) == [(1, "a, b", 5), (2, '12" vinyl', 3), (3, '7"', 4)]


@pytest.mark.parametrize("head", ["", "user,item,rating\n"])
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (r'"say \"hi\", you"', 'say "hi", you'),
        (r'"\"all\""', '"all"'),
        (r'"a\\"', "a\\"),
        (r'"a\b"', r"a\b"),
        ('"a\n\\"b\\""', 'a\n"b"'),
    ],
)
def test_sparks_escaped_quotes(read, head, field, expected):
    # One more row makes clear that quotes are escaped; a backslash outside quotes is data.
    text = f'{head}1,{field},5\n2,"\\"x\\",y",3\n3,c\\d,4\n'
    assert read(text) == [(1, expected, 5), (2, '"x",y', 3), (3, r"c\d", 4)]


@pytest.mark.parametrize(
    "text",
    [
        '41 17 3\r52 23 3\n"63 29 1""\n7 17 5\n 17 5"\n' + ' 17 5\n1,5\n7 1.017 5"\n' * 9,
        '1\t"a\tb"\t5\n2\t12"\t4\n3\t"c"d\t4\n',
        '1::"a\n"::5\n2::x"::4\n3::y::4\n',
    ],
)
def test_what_quotes_are_does_not_depend_on_where_blocks_end(read, monkeypatch, text):
    def outcome():
        try:
            return read(text, "r.txt")
        except ValueError as error:
            return str(error)

    whole = outcome()
    for block in (1, 3, 7, 64):
        monkeypatch.setattr(rewrite, "_BLOCK", block)
        assert outcome() == whole


def test_escaped_quotes_across_blocks(read, monkeypatch):
    monkeypatch.setattr(rewrite, "_BLOCK", 64)
    rows = [(n, f'i"{n}",\n{"x" * (n % 90)}', 3.0) for n in range(300)]
    text = "".join('{},"{}",3\n'.format(u, i.replace('"', '\\"')) for u, i, _ in rows)
    assert read(text) == rows


# Layout judged over a sample (fault 7)


@pytest.mark.parametrize("missing", ["\\N", "", "NA", "null", "NaN", "?", "None"])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_missing_rating_is_an_error_with_its_line_wherever_it_stands(read, missing, where):
    ratings = ["5", "4", "3"]
    ratings[where] = missing
    text = "".join(f"u{at},i{at},{rating}\n" for at, rating in enumerate(ratings))
    with pytest.raises(ValueError, match=f"line {where + 1}: the rating is missing"):
        read(text)
    with pytest.warns(UserWarning, match=f"1 of 3 rows left out; the first is line {where + 1}"):
        assert len(read(text, on_error="skip")) == 2


@pytest.mark.parametrize("bad", ["4*", "5 stars", "1.2.3", "3/5", "0x5", "1_0", "inf", "1e99"])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_rating_that_is_no_number_is_no_name(read, bad, where):
    ratings = ["5", "4", "3"]
    ratings[where] = bad
    text = "".join(f"u{at},i{at},{rating}\n" for at, rating in enumerate(ratings))
    with pytest.raises(
        ValueError, match=f"line {where + 1}: the rating '{bad}' is ".replace("*", r"\*")
    ):
        read(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1;10;4,5;966666603,0\n2;11;3,0;966666604,0\n", [(1, 10, 4.5), (2, 11, 3.0)]),
        ("1|10|5|a,b,1\n2|11|4|c,d,2\n", [(1, 10, 5.0), (2, 11, 4.0)]),
        ("a;b,3,4;5\nc;d,4,4;6\n", [("a", "b,3,4", 5.0), ("c", "d,4,4", 6.0)]),
        ("1\tThe 7\t5\n2\tThe 8\t4\n", [(1, "The 7", 5.0), (2, "The 8", 4.0)]),
        ("1 10 4,5\n2 11 3,0\n", [(1, 10, 4.5), (2, 11, 3.0)]),
        ("user;item;rating\n1,5;2;3,5\n2,5;3;4,0\n", [("1,5", 2, 3.5), ("2,5", 3, 4.0)]),
        ("1\x0110\x015\n2\x0111\x014\n", [(1, 10, 5.0), (2, 11, 4.0)]),
    ],
)
def test_the_separator_is_the_one_that_all_rows_agree_on(read, text, expected):
    assert read(text) == expected


def test_blanks_of_any_width_separate(read):
    text = "  1 1   5\n1\t 2  3\n 2 1 4  \n"
    assert read(text, "r.txt") == [(1, 1, 5), (1, 2, 3), (2, 1, 4)]
    assert read("1  a\t5\n", "r.txt", sep=r"\s+") == [(1, "a", 5)]


def test_blanks_around_numbers_are_no_part_of_them(read):
    assert read("a, b, 4.5\nc, d,3 \n", ids="str") == [("a", " b", 4.5), ("c", " d", 3.0)]
    assert read("1, 2, 4.5\n3, 4,3 \n", strip=True) == [(1, 2, 4.5), (3, 4, 3.0)]
    assert read("1, 2 ,3, 4\n", strip=True, user=1, item=0, rating=2) == [(2, 1, 3)]


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("a;x;1,234\nb;x;2,500\n", {"thousands": ","}, [1234, 2500]),
        ("a;x;1,234\nb;x;2,500\n", {"decimal": ","}, [1.234, 2.5]),
        ("a;x;1.234,5\nb;x;2.500,0\n", {"thousands": ".", "decimal": ","}, [1234.5, 2500]),
        ("a;x;1'234.5\nb;x;2\n", {"thousands": "'"}, [1234.5, 2]),
        ("a,x,+3\nb,x,-.5\n", {}, [3, -0.5]),
        ("a,x,1e1\nb,x,2.\n", {}, [10, 2]),
    ],
)
def test_numbers_are_written_in_many_ways(path_of, text, options, expected):
    assert read_ratings(path_of(text), **options).values.tolist() == pytest.approx(expected)


def test_a_number_that_can_be_read_in_two_ways_is_refused(read):
    with pytest.raises(ValueError, match="two ways: pass decimal=',' or thousands=','"):
        read("a;x;1,234\nb;x;2,500\n")


@pytest.mark.parametrize(
    "text",
    ["% bip weighted\n% 3 2 2\n1 2 5\n%\n3 4 1\n", "#made by x\n1 2 5\n# a note\n3 4 1\n"],
)
def test_comments_are_left_out(read, text):
    assert read(text, "out.network") == [(1, 2, 5), (3, 4, 1)]


def test_a_commented_line_of_names_names_the_columns(read):
    assert read("# item user rating\n1 2 3\n4 5 6\n") == [(2, 1, 3), (5, 4, 6)]
    assert read("//item,user\n1,2,3\n4,5,6\n", comment="//") == [(1, 2, 3), (4, 5, 6)]


def test_lines_are_counted_with_comments_and_blank_lines(read):
    with pytest.raises(ValueError, match="line 6: the rating 'x'"):
        read("# a\n\n1,2,3\n# b\n\n1,2,x\n3,4,5\n")
    with pytest.raises(ValueError, match="line 5: the rating 'x'"):
        read('user,item,rating\n"a\nb",2,3\n\n1,2,x\n3,4,5\n')


# Tables by position (fault 4)


@pytest.mark.parametrize(
    "text",
    [
        "userId,10,20,30\n1,0,3,4\n2,1,0,0\n",
        "user,10,20\n1,0,3\n2,1,0\n",
        "movieId\t1\t2\t3\t4\t5\n1\t0\t3\t4\t5\t5\n2\t1\t0\t0\t1\t1\n",
        ",".join(map(str, range(40))) + "\n" + ",".join(["1"] * 40) + "\n",
    ],
)
def test_a_table_of_users_by_items_is_refused(read, text):
    with pytest.raises(ValueError, match="looks like a table of users x items"):
        read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user_id,age,anime_id,rating\n1,30,7,5\n", "pass|Pass .* item='anime_id'"),
        ("0\t196\t242\t3\n1\t186\t302\t3\n2\t22\t377\t1\n3\t244\t51\t2\n", "counts the rows"),
        ("1,2,3,4,5\n6,7,8,9,1\n", "user=0, item=1, rating=2"),
        ("n,who,what,mark\n1,a,b,3\n2,a,c,3\n3,a,d,3\n4,b,c,2\n", "counts the rows"),
        ("user,item,when\n1,2,3\n", "Pass .* rating='when'"),
        ("user;age;rating\n1;2;3\n", "Pass .* item='age'"),
    ],
)
def test_columns_that_are_unclear_are_an_error_that_says_how_to_say_it(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


@pytest.mark.parametrize("name", ["r.csv", "r.parquet", "r.jsonl"])
def test_columns_taken_by_position_under_names_that_say_nothing_are_warned_of(tmp_path, name):
    table = pd.DataFrame({"datum": [20240501, 20240502], "artikel": [7, 8], "kunde": [11, 12]})
    path = tmp_path / name
    if name == "r.csv":
        table.to_csv(path, sep=";", index=False)
    elif name == "r.parquet":
        table.to_parquet(path)
    else:
        table.to_json(path, orient="records", lines=True)
    told = "user 'datum', item 'artikel', rating 'kunde'. Pass user='datum', item='artikel', rating"
    with pytest.warns(UserWarning, match=f"{name}: no column is named as .*{told}"):
        ratings = wf.read_ratings(path)
    assert ratings.user_ids.tolist() == [20240501, 20240502]
    with pytest.warns(UserWarning, match=f"the table: .*{told}"):
        wf.Ratings.from_frame(table)
    assert any(told in odd for odd in wf.peek(path).odd)
    model = wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0)
    with pytest.warns(UserWarning, match=told):
        model.fit(wf.scan_ratings(path))
    # Who names them, or reads columns that have no names, is not warned.
    named = {"user": "kunde", "item": "artikel", "rating": "datum"}
    assert wf.read_ratings(path, **named).user_ids.tolist() == [11, 12]
    wf.Ratings.from_frame(table.set_axis(range(3), axis=1))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("item_id:token\tuser_id:token\trating:float\n5\t1\t3.5\n", [(1, 5, 3.5)]),
        ("rating,reviewerID,asin\n3,A1,B2\n", [("A1", "B2", 3)]),
        (",userId,movieId,rating\n0,1,2,3\n1,4,5,6\n", [(1, 2, 3), (4, 5, 6)]),
        ('"user","item","rating"\n"1","a","b",3\n"2","a","c",4\n', [("a", "b", 3), ("a", "c", 4)]),
        ("user,item,rating,\n1,2,3,\n4,5,6,\n", [(1, 2, 3), (4, 5, 6)]),
    ],
)
def test_names_say_which_column_is_which(read, text, expected):
    assert read(text) == expected


# Bad rows


BAD_ROWS = "1,2,3\n4,5\n6,7,x\n8,9,1\n,1,1\n1,1,2\n"


def test_bad_rows_are_left_out_and_counted(path_of):
    with pytest.warns(UserWarning, match=r"r\.csv: 3 of 6 rows left out; the first is line 2: has"):
        ratings = read_ratings(path_of(BAD_ROWS), on_error="skip")
    assert triples(ratings) == [(1, 2, 3), (8, 9, 1), (1, 1, 2)]
    with pytest.raises(ValueError, match=r"line 2: .* \(2 more such row\(s\)\)"):
        read_ratings(path_of(BAD_ROWS))
    with pytest.raises(ValueError, match="no row can be read; line 1"):
        read_ratings(path_of("1,2,x5\n3,4,y5\n"), on_error="skip")


@pytest.mark.parametrize("n", [10, 200_000])
def test_the_line_of_a_bad_row_is_right_in_a_large_file(read, n):
    with pytest.raises(ValueError, match=f"line {n + 2}: the item is missing: '5,,1'"):
        read("user,item,rating\n" + "1,2,3\n" * n + "5,,1\n" + "1,2,3\n" * 5)


# Encodings and compression


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1", "cp1252", "utf-32"])
def test_encodings(read, encoding):
    text = "user,item,rating\né,ü,3\nè,ü,4\n"
    given = {} if encoding in ("utf-16", "utf-8-sig") else {"encoding": encoding}
    assert read(text.encode(encoding), **given) == [("é", "ü", 3), ("è", "ü", 4)]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "cp1252"])
def test_the_encoding_that_an_error_names_reads_the_text(read, encoding):
    text = "user,item,rating\n1,“é” ž,3\n2,€,4\n".encode(encoding)
    with pytest.raises(ValueError, match=f"pass encoding='{encoding}'"):
        read(text)
    assert read(text, encoding=encoding) == [(1, "“é” ž", 3), (2, "€", 4)]


@pytest.mark.parametrize("sep", [";", ",", "\t", "|"])
@pytest.mark.parametrize("mark", ["", '"'])
def test_a_line_for_excel_is_left_out(read, sep, mark):
    rows = [("user", "movie", "rating"), ("1", "Up", "3.5"), ("2", "Heat", "4")]
    text = f"{mark}sep={sep}{mark}\r\n" + "".join(sep.join(row) + "\r\n" for row in rows)
    for begin in ("", "\ufeff"):
        assert read(begin + text) == [(1, "Up", 3.5), (2, "Heat", 4)]


def zipped(content: bytes, *names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, content if "rating" in name or len(names) == 1 else "x,y\n")
    return sink.getvalue()


PACKED = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    "lz4": lambda content: pa.Codec("lz4").compress(content, asbytes=True),
    "zip": lambda content: zipped(content, "any.txt"),
}


@pytest.mark.parametrize("name", ["r.csv.{}", "r.{}", "r.csv"])
@pytest.mark.parametrize("packing", PACKED)
def test_compression_is_found_by_content(read, packing, name):
    content = "user,item,rating\n" + '1,"a, b",3\n' * 100_000
    packed = PACKED[packing](content.encode())
    assert read(packed, name.format(packing)) == [(1, "a, b", 3)] * 100_000


def test_the_ratings_of_a_zip_archive_are_found_or_named(read):
    content = b"1,2,3\n"
    names = "ml/README.txt", "ml/movies.csv", "ml/ratings.csv"
    assert read(zipped(content, *names), "ml.zip") == [(1, 2, 3)]
    assert read(zipped(content, *names), "ml.zip", member="ml/ratings.csv") == [(1, 2, 3)]
    with pytest.raises(
        ValueError, match=r"holds no 'x': pass member='ml/ratings.csv'; it has ml/READ"
    ):
        read(zipped(content, *names), "ml.zip", member="x")
    assert read(zipped(content, "README", "LICENSE.txt", "my ratings"), "ml.zip") == [(1, 2, 3)]
    with pytest.raises(ValueError, match=r"more than one file: pass member='a\.csv'"):
        read(zipped(content, "README", "a.csv", "b.csv"), "ml.zip")
    with pytest.raises(ValueError, match="member is 'x', but this is no zip archive"):
        read(content, member="x")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x93NUMPY\x01\x00v\x00", "a single NumPy array"),
        (b"\x80\x04\x95\x05\x00\x00\x00", "a pickle"),
        (b"SQLite format 3\x00rest", "an SQLite database"),
        (b"\x89HDF\r\n\x1a\nrest", "an HDF5 file"),
        (b"a,b\x00,3\n", "no text"),
    ],
)
def test_other_programs_files_are_named_with_what_to_do(read, content, what):
    with pytest.raises(ValueError, match=f"the file is {what}, "):
        read(content, "r.dat")


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst", "zip"])
def test_damaged_archives_are_named(read, packing):
    packed = PACKED[packing](b"1,2,3\n" * 1000 + bytes(range(32, 120)) * 100)
    with pytest.raises(ValueError, match=r"r\.csv\.x: "):
        read(packed[: len(packed) // 2], "r.csv.x")


# Exactness


FIELDS = st.text(st.sampled_from("ab01 .-_'\"\\,;|\t\n:é#%"), min_size=1, max_size=6).filter(
    lambda text: text.strip() == text
)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS, st.floats(-9, 9, width=32)), min_size=1, max_size=8),
    sep=st.sampled_from([",", ";", "\t", "|"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_what_csv_wrote_with_names_comes_back_or_is_refused(tmp_path_factory, rows, sep, quoting):
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    with path.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.writer(sink, delimiter=sep, quoting=quoting)
        writer.writerow(("user", "item", "rating"))
        writer.writerows(rows)
    try:
        read = triples(read_ratings(path, sep=sep, quote='"', ids="str"))
    except ValueError as error:
        raise AssertionError(path.read_text("utf-8")) from error
    assert read == rows


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.sampled_from("ab01.-_'\"\\é"), min_size=1, max_size=4),
            st.text(st.sampled_from("ab01.-_'\"\\é"), min_size=1, max_size=4),
            st.integers(0, 5),
        ),
        min_size=2,
        max_size=8,
    ),
    sep=st.sampled_from(["::", "\t", "|", "~~~", "\x02"]),
)
def test_any_separator_without_quotes_comes_back(tmp_path_factory, rows, sep):
    path = tmp_path_factory.mktemp("text") / "r.dat"
    path.write_text("".join(f"{u}{sep}{i}{sep}{r}\n" for u, i, r in rows), "utf-8", newline="")
    read = triples(read_ratings(path, sep=sep, quote="", header=False, ids="str"))
    assert read == [(u, i, float(r)) for u, i, r in rows]


def test_pairs_are_read_in_the_same_layouts(path_of):
    users, items = read_pairs(path_of('user|item\n1|"a|b"\n2|c\n'))
    assert users.tolist() == [1, 2] and items.tolist() == ["a|b", "c"]
    users, items = read_pairs(path_of("# user item\n1 2\n3 4\n"))
    assert np.asarray(items).tolist() == [2, 4]


# What people have on disk


@pytest.mark.parametrize(
    "text",
    [
        'user, item, rating\n1, "A, b", 3\n1, "C, d", 4\n2, "A, b", 5\n',
        "user;item;rating\n1;3,5;x;4\n1;4,5;y;4\n2;3,5;x;4\n",
        "userId::movieId::rating\n1::A::B::3\n1::A::B::4\n2::C::D::3\n",
    ],
)
def test_a_separator_inside_fields_makes_no_names_of_rows(read, text):
    with pytest.raises(ValueError, match="has 3 names, but most rows have 4 fields"):
        read(text)


@pytest.mark.parametrize(
    ("row", "options", "item"),
    [
        ("{u},The Game {i},play,4.5,0", {"user": 0, "item": 1, "rating": 3}, "The Game 1"),
        ("{u}\tA{i}\tbetty blowtorch\t4.5", {"user": 0, "item": 1, "rating": 3}, "A1"),
        ("{u};4.5;Film {i};a b c", {"user": 0, "item": 2, "rating": 1}, "Film 1"),
    ],
)
def test_blanks_in_titles_do_not_cut_rows_of_unclear_columns(read, row, options, item):
    text = "".join(row.format(u=u, i=i) + "\n" for u in range(1, 4) for i in range(1, 6))
    partly = {"rating": options["rating"]}
    with pytest.raises(ValueError, match="Pass the name or the position of each"):
        read(text, **partly)
    assert read(text, **options)[0] == (1, item, 4.5)


@pytest.mark.parametrize(
    ("head", "options"),
    [
        (",0,1,2", {"user": 1, "item": 2, "rating": 3}),
        (",Kunde,Artikel,Note", {"user": "Kunde", "item": "Artikel", "rating": "Note"}),
        ("Unnamed: 0,k,a,n", {"user": "k", "item": "a", "rating": "n"}),
    ],
)
def test_an_index_beside_unknown_names_is_no_user(read, head, options):
    text = f"{head}\n57,10,20,3\n12,11,21,4\n40,10,21,5\n"
    told = ", ".join(f"{role}={key!r}" for role, key in options.items())
    with pytest.raises(ValueError, match=f"for example {told}$"):
        read(text)
    assert read(text, **options)[:2] == [(10, 20, 3), (11, 21, 4)]


def test_empty_columns_are_not_proposed(read):
    text = "10||20||3\n11||21||4\n"
    with pytest.raises(ValueError, match=r"for example user=0, item=2, rating=4$"):
        read(text)
    assert (
        read(text, user=0, item=2, rating=4) == read(text, sep="||") == [(10, 20, 3), (11, 21, 4)]
    )


@pytest.mark.parametrize(
    ("names", "role"),
    [
        ("user,item,rating,rating", "rating"),
        ("user,user,item,rating", "user"),
        ("item,rating,item,user", "item"),
        ("user,item,rating,timestamp,timestamp", "timestamp"),
    ],
)
def test_a_name_of_two_columns_is_refused_and_told_by_position(path_of, names, role):
    fields = names.split(",")
    text = f"{names}\n" + "".join(
        ",".join(str(10 * row + at) for at in range(len(fields))) + "\n" for row in (1, 2)
    )
    path = path_of(text)
    frame = pd.DataFrame(
        [[10 * n + at for at in range(len(fields))] for n in (1, 2)], columns=fields
    )
    first = fields.index(role)
    last = len(fields) - 1 - fields[::-1].index(role)
    for read_it in (
        lambda **given: read_ratings(path, **given),
        lambda **given: Ratings.from_frame(frame, **given),
    ):
        with pytest.raises(ValueError, match=f"named {role!r}: pass .* as in {role}={first};"):
            read_it()
        for at in (first, last):
            ratings = read_it(**{role: at})
            read_column = dict(
                zip(("user", "item", "rating"), ratings.to_arrays(), strict=True),
                timestamp=ratings.timestamps,
            )[role]
            assert read_column.tolist() == [10 + at, 20 + at]


@pytest.mark.parametrize(
    ("text", "options", "fixed"),
    [
        ("1\ta\tbetty\t3\n2\tb\tcleo\t4\n", {}, {"user": 0, "item": 1, "rating": 3}),
        ("1,3,2005-09-06\n2,4,2005-09-07\n", {}, {"user": 0, "item": 2, "rating": 1}),
        ("'1','a,b',3\n'2','c,d',4\n", {}, {"quote": "'"}),
        ("1;a;3.000,5\n2;b;4.000,5\n", {}, {"decimal": ",", "thousands": "."}),
        ("1,a,3,1/2/2019\n2,b,4,1/3/2019\n", {"timestamp": 3}, {"timestamp": None}),
    ],
)
def test_of_a_file_that_is_misread_the_options_are_named(read, text, options, fixed):
    with pytest.raises(
        ValueError, match=r"most rows are such: .* pass rating .*sep, quote, decimal"
    ):
        read(text, **options)
    assert [rating for *_, rating in read(text, **fixed)] in ([3, 4], [3000.5, 4000.5])


# Decimal marks of timestamps are their own

MIXED_MARKS = {
    "comma beside dot": ("1;2;3,5;966666603.5\n1;3;4,5;966666604.25\n", {}),
    "dot beside comma": ("1;2;3.5;966666603,5\n1;3;4.5;966666604,25\n", {}),
    "both commas": ("1;2;3,5;966666603,5\n1;3;4,5;966666604,25\n", {}),
    "named": ("u;i;stars;ts\n1;2;3,5; 966666603.5\n1;3;4,5;966666604.25\n", {}),
    "asked for": ("1\t2\t3,5\t966666603.5\n1\t3\t4,5\t966666604.25\n", {"timestamp": 3}),
    "thousands": (
        "1;2;3,5;966666603.5\n1;3;4,5;966666604.25\n",
        {"decimal": ",", "thousands": "."},
    ),
    "grouped": (
        "1;2;3,5;966.666.603,5\n1;3;4,5;966.666.604,25\n",
        {"decimal": ",", "thousands": "."},
    ),
    "skipped rows": ("1;2;3,5;966666603.5\n1;2\n1;3;4,5;966666604.25\n", {"on_error": "skip"}),
}


@pytest.mark.parametrize(("text", "options"), MIXED_MARKS.values(), ids=MIXED_MARKS)
@pytest.mark.filterwarnings("ignore:.*1 of 3 rows left out")
def test_timestamps_have_a_decimal_mark_of_their_own(path_of, text, options):
    ratings = read_ratings(path_of(text), **options)
    assert ratings.values.tolist() == [3.5, 4.5]
    assert ratings.timestamps.tolist() == [966666603.5, 966666604.25]


def test_a_timestamp_of_a_million_parts_is_none(path_of):
    text = "1;2;3,5;966.666.603\n1;3;4,5;966.666.604\n"
    assert read_ratings(path_of(text)).timestamps is None
    with pytest.raises(ValueError, match=r"line 1: the timestamp '966\.666\.603' is neither"):
        read_ratings(path_of(text), timestamp=3)
    grouped = read_ratings(path_of(text), decimal=",", thousands=".")
    assert grouped.timestamps.tolist() == [966666603, 966666604]


# What other programs write, which is text but no table of fields

FOREIGN_TEXTS = {
    "page": ("<!DOCTYPE html>\n<html><body>a,b,c</body></html>\n", "a web page"),
    "bare page": ("\n  <html lang='en'>\n<head>1,2,3\n", "a web page"),
    "xml": ('<?xml version="1.0"?>\n<r><u>1</u></r>\n', "an XML file"),
    "git lfs": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "a pointer of Git LFS",
    ),
    "mysqldump": (
        "-- MySQL dump 10.13  Distrib 8.0\n--\n-- Host: a    Database: b\n",
        "an SQL dump",
    ),
    "pg_dump": ("--\n-- PostgreSQL database dump\n--\n\nSET x = 0;\n", "an SQL dump"),
    "sqlite's": (
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE r(a,b,c);\n",
        "an SQL",
    ),
    "inserts": ("INSERT INTO ratings VALUES (1,2,3),(1,3,4);\n" * 3, "an SQL dump"),
    "create": (
        "-- mine\n\nCREATE TABLE ratings (user int, item int, rating int);\n",
        "an SQL dump",
    ),
    "duckdb's box": ("\u250c\u2500\u2500\u252c\u2500\u2510\n\u2502a\u2502b\u2502\n", "a printed"),
}


@pytest.mark.parametrize("name", ["r.csv", "r.dat", "r.tsv"])
@pytest.mark.parametrize(("text", "what"), FOREIGN_TEXTS.values(), ids=FOREIGN_TEXTS)
def test_texts_that_are_no_tables_are_named_with_what_to_do(read, text, what, name):
    with pytest.raises(ValueError, match=f"the file is {what}.*, which is not read: .+"):
        read(text, name)


PRINTED = {
    "mysql": (
        (
            "+------+------+--------+\n| user | item | rating |\n+------+------+--------+\n"
            "|    1 | a b  |      3 |\n|    1 | c    |    4.5 |\n+------+------+--------+\n"
            "2 rows in set (0.00 sec)\n"
        ),
        "mysql",
    ),
    "sqlite": (
        (
            "+------+------+--------+\n| user | item | rating |\n+------+------+--------+\n"
            "| 1    | a b  | 3      |\n| 1    | c    | 4.5    |\n+------+------+--------+\n"
        ),
        "mysql",
    ),
    "psql": (
        (
            " user | item | rating \n------+------+--------\n    1 | a b  |      3\n    1 | c    |    4.5\n"
            "(2 rows)\n\n"
        ),
        "psql",
    ),
    "Markdown": (
        "| user | item | rating |\n|------|:----:|-------:|\n| 1 | a b | 3 |\n| 1 | c | 4.5 |\n",
        "Markdown",
    ),
    "aligned": (
        "| user | item | rating |\n| :--- | ---- | ---: |\n| 1 | a b | 3 |\n| 1 | c | 4.5 |\n",
        "Markdown",
    ),
    "Markdown without pipes": (
        "user | item | rating\n--- | --- | ---\n1 | a b | 3\n1 | c | 4.5\n",
        "psql",
    ),
}


@pytest.mark.parametrize(("text", "what"), PRINTED.values(), ids=PRINTED)
@pytest.mark.filterwarnings("ignore:.*rows left out")
def test_printed_tables_are_read_by_the_options_that_are_named(read, text, what):
    with pytest.raises(ValueError, match=f"the file is .*{what}.* to read it as it is") as error:
        read(text, "r.txt")
    passed = str(error.value).split(": pass ")[1].split(" to read it")[0]
    assert read(text, "r.txt", **eval(f"dict({passed})")) == [(1, "a b", 3), (1, "c", 4.5)]


@pytest.mark.parametrize(
    "text",
    [
        "1|2|3\n1|3|4\n",
        "-|a|3\n-|b|4\n",
        "--,a,3\n--,b,4\n",
        "user|item|rating\n-1|-2|3\n-3|-4|5\n",
        "a|b|-\na|b|3\n",
        "a|b|c\n-|-|-\n1|2|3\n",
        "USE ,what,mark\n1,2,3\n",
        "use,what,mark\n1,2,3\n",
        "+1,2,3\n+1,3,4\n",
    ],
)
@pytest.mark.filterwarnings("ignore:.*rows left out", "ignore:.*taken in their order")
def test_fields_of_marks_are_no_printed_table(read, text):
    assert read(text, on_error="skip")


# A line of blanks is none


@pytest.mark.parametrize("sep", [",", ";", "::", "|", "\t", " "])
@pytest.mark.parametrize("blanks", [" ", "  ", "\t", "", " \t "])
@pytest.mark.parametrize("quote", ["", '"'])
def test_a_line_of_blanks_is_left_out_as_an_empty_line_is(path_of, sep, blanks, quote):
    if set(blanks) >= {sep}:
        return  # a row of empty fields
    # By itself, quotes between spaces can be read in two ways.
    options = {"sep": sep} if quote and sep == " " else {}
    rows = [sep.join((user, f"{quote}{item}{quote}", "3")) for user, item in ("1a", "2b", "3c")]
    for at in range(4):
        path = path_of("\n".join([*rows[:at], blanks, *rows[at:], ""]))
        assert triples(read_ratings(path, **options)) == [(1, "a", 3), (2, "b", 3), (3, "c", 3)]
        bad = path_of("\n".join([*rows[:at], blanks, *rows[at:], sep.join("4d"), ""]))
        with pytest.raises(ValueError, match=r"line 5: has 2 field"):
            read_ratings(bad, **options)
        with pytest.warns(UserWarning, match="1 of 4 rows left out; the first is line 5"):
            assert len(read_ratings(bad, on_error="skip", **options)) == 3
    named = path_of("\n".join([blanks, sep.join(("user", "item", "rating")), blanks, *rows]))
    assert len(read_ratings(named, **options)) == 3


@pytest.mark.parametrize("line", [",,", " , , ", "\t,,"])
def test_a_row_of_empty_fields_is_an_error(read, line):
    with pytest.raises(ValueError, match=r"line 2: the (user|rating) is missing"):
        read(f"1,2,3\n{line}\n1,3,4\n", strip=True)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [16, 23, 64, 1 << 25])
def test_slices_of_a_file_end_where_lines_end(read, monkeypatch, end, size):
    monkeypatch.setattr("warpfactor.data.formats.rewrite._SLICE", size)
    rows = [(f"u{n % 7}", f"i{'x' * (n % 40)}", float(n % 5), 10**9 + n) for n in range(300)]
    text = end.join(["user,item,rating,time", *(f"{u},{i},{r:g},{t}" for u, i, r, t in rows)])
    for last in ("", end):
        assert read(text + last) == [row[:3] for row in rows]
    with pytest.raises(ValueError, match="line 302: the rating 'x'"):
        read(f"{text}{end}a,b,x,1{end}")
    monkeypatch.setattr("warpfactor.data.formats.rewrite._LONGEST", 1000)
    if size < 1000:
        with pytest.raises(ValueError, match="a line is longer than"):
            read(f"{text}{end}a,{'b' * 9000},1,1")
