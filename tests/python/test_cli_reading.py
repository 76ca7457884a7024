"""How the command line reads files: its options, its words for mistakes, peek and convert."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import warpfactor as wf
from shell import Result, succeed, warpfactor
from warpfactor import _core
from warpfactor.checks import check_count, in_words_of, option, shell_words
from warpfactor.parameters import PARAMETERS

QUICK = ("--n-factors", "4", "--n-epochs", "2", "--n-threads", "1")


def triples() -> list[tuple[str, str, str]]:
    rng = random.Random(5)
    pairs = rng.sample([(f"u{u}", f"{i:03}") for u in range(9) for i in range(8)], 50)
    return [(user, item, str(rng.choice((1, 1.5, 2.5, 4)))) for user, item in pairs]


ROWS = triples()


def joined(sep: str, change: Callable[[str, str, str], tuple[str, ...]] | None = None) -> str:
    return "".join(sep.join(change(*row) if change else row) + "\n" for row in ROWS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    (folder / "r.csv").write_text(joined(","))
    succeed("train", folder / "r.csv", "-o", folder / "m.safetensors", *QUICK)
    return folder / "m.safetensors"


# A file that is read right with the options only, and the ids that it then holds.
LAYOUTS: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "--sep": (joined(";", lambda u, i, r: (u, i, r, "a,b,1")), ("--sep", ";")),
    "--sep of several": (joined("=>"), ("--sep", "=>")),
    "--sep tab": (joined("\t"), ("--sep", r"\t")),
    "--sep blanks": (joined("  \t "), ("--sep", r"\s+")),
    "--no-header": (joined(","), ("--no-header",)),
    "--header": ("x,y,z\n" + joined(","), ("--header",)),
    "--quote": (joined(",", lambda u, i, r: (f"'{u}'", f"'{i}'", r)), ("--quote", "'")),
    "--escape": (
        joined(",", lambda u, i, r: (u, f'"{i}"', r, r'"a \"b\" c"')),
        ("--escape", "\\", "--quote", '"'),
    ),
    "--decimal": (joined(";", lambda u, i, r: (u, i, r.replace(".", ","))), ("--decimal", ",")),
    "--comment": (joined(",") + "! the end\n", ("--comment", "!")),
    "--encoding": (
        joined(",", lambda u, i, r: (u, i, r, "Am\u00e9lie")).encode("latin-1"),
        ("--encoding", "latin-1"),
    ),
    "--strip": (joined(",", lambda u, i, r: (f" {u}", f"{i} ", r)), ("--strip",)),
    "--on-error": (joined(",") + "a,b,c,d,e\n,x,3\n", ("--on-error", "skip")),
    "columns by name": (
        "what,stars,who\n" + joined(",", lambda u, i, r: (i, r, u)),
        ("--user-column", "who", "--item-column", "what"),
    ),
    "columns by position": (
        joined(",", lambda u, i, r: (i, r, u)),
        ("--user-column", "2", "--item-column", "0"),
    ),
}


RATING = {
    "columns by name": ("--rating-column", "stars"),
    "columns by position": ("--rating-column", 1),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_options_say_how_a_file_is_read(model: Path, tmp_path: Path, name: str) -> None:
    content, options = LAYOUTS[name]
    file = tmp_path / "r.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    rating = RATING.get(name, ())
    measured = succeed("evaluate", model, file, *options, *rating).out
    assert re.findall(r"(?m)^(?:pairs|unknown \w+) +(\d+)$", measured) == ["50", "0", "0"]
    shown = succeed("peek", file, *options, *rating).out
    assert "ratings    50, from 1 to 4 (4 distinct)" in shown
    trained = succeed("train", file, *options, *rating, *QUICK).out
    assert "ratings  50 ratings by 9 users of 8 items, from 1 to 4" in trained
    if name != "--decimal":  # there are no ratings to read in pairs
        predicted = succeed("predict", model, file, *options).out.splitlines()[1:]
        assert [tuple(row.split(",")[:2]) for row in predicted] == [row[:2] for row in ROWS]


def test_numbers_and_kinds_are_read_as_told(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("user;item;rating\n1;10;1.234,5\n2;11;2.000,0\n")
    shown = succeed("peek", file, "--thousands", ".", "--decimal", ",").out
    assert "from 1234.5 to 2000 (2 distinct)" in shown
    output = tmp_path / "m.safetensors"
    for kinds, expected in (
        ("str", ["str", "str"]),
        ("int,str", ["int", "str"]),
        ("auto", ["int", "int"]),
    ):
        numbers = ("--thousands", ".", "--decimal", ",")
        succeed("train", file, "--ids", kinds, *numbers, "-o", output, *QUICK, "-q")
        assert re.findall(r"\((\w+) ids", succeed("info", output).out) == expected


def test_a_member_of_an_archive_is_read(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "set.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", joined(","))
        archive.writestr("b.csv", "1,2,3\n")
    assert "--member a.csv" in warpfactor("peek", file).out
    assert "--member a.csv" in warpfactor("train", file).err
    assert "pairs         50" in succeed("evaluate", model, file, "--member", "a.csv").out
    assert len(succeed("predict", model, file, "--member", "a.csv").out.splitlines()) == 51


def test_the_format_is_as_told(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "r"
    file.write_text(joined("\t"))
    for command in (("peek", file), ("train", file), ("evaluate", model, file)):
        succeed(*command, "--format", "tsv")
        assert "--format is 'xml'" in warpfactor(*command, "--format", "xml").err
    # --format of predict is that of its answer.
    told = succeed("predict", model, file, "--input-format", "tsv", "--format", "json").out
    assert told.startswith('[\n{"user": ')
    assert (
        "--input-format is 'xml'" in warpfactor("predict", model, file, "--input-format", "xml").err
    )


def test_files_for_a_model_have_ids_of_its_kind(tmp_path: Path) -> None:
    train, test, output = tmp_path / "r.csv", tmp_path / "t.csv", tmp_path / "m.safetensors"
    train.write_text("user,item,rating\n" + "".join(f"{n:02},i{n % 3},{n % 5}\n" for n in range(9)))
    succeed("train", train, "-o", output, *QUICK)
    # Read alone, 7 and 17 are integers. The model knows strings.
    test.write_text("user,item,rating\n7,i1,3\n17,i2,4\n")
    assert "unknown user  2" in succeed("evaluate", output, test).out
    assert succeed("predict", output, test).out.splitlines()[1].startswith("7,i1,")
    test.write_text("user,item,rating\n07,i1,3\n")
    assert "unknown user  0" in succeed("evaluate", output, test).out


def test_train_says_in_two_lines_what_it_read(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("userId,movieId,stars\n" + joined(","))
    result = succeed("train", file, *QUICK)
    first, second = result.out.splitlines()[:2]
    assert first == (
        "file     text (separator ',', quotes none, header yes, encoding utf-8): "
        "userId -> user, movieId -> item, stars -> rating"
    )
    assert second.startswith(
        "ratings  50 ratings by 9 users of 8 items, from 1 to 4 (4 distinct), read "
    )
    assert result.err == ""


def test_train_notes_what_looks_odd_unless_it_is_quiet(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text(joined(",") + "u1 ,000,3\nNA,001,3\n")
    notes = succeed("train", file, *QUICK).err.splitlines()
    assert all(note.startswith("warpfactor: note: ") for note in notes)
    assert any("by blanks only" in note and note.endswith("pass --strip") for note in notes)
    assert any("user 'NA' has 1 rating" in note for note in notes)
    assert succeed("train", file, *QUICK, "--quiet").err == ""


def test_rows_left_out_are_one_plain_line(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text(joined(",") + "u1,000,good\nu1\n")
    line = r"warpfactor: note: .*2 of 52 rows.* left out; the first is line 51: .*\n"
    for command in (
        ("train", file, "-q", *QUICK),
        ("train", file, *QUICK),
        ("evaluate", model, file),
    ):
        also = r"warpfactor: note: 50 of 50 test pairs were trained on.*\n"
        told = line + (also if command[0] == "evaluate" else "")
        assert re.fullmatch(told, succeed(*command, "--on-error", "skip").err)
        assert "pass --on-error skip" in warpfactor(*command).err


def test_warnings_of_others_keep_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_: object) -> None:
        warnings.warn("divided by zero", RuntimeWarning, stacklevel=1)

    monkeypatch.setattr("warpfactor.config.show_config", warn)
    with pytest.warns(RuntimeWarning, match="divided"):
        succeed("info")


def test_peek_ends_with_1_where_a_file_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("user,item,rating\n1,2,bad\n")
    result = warpfactor("peek", file)
    assert (result.code, result.err) == (1, "")
    assert "the rating 'bad' is not a number" in " ".join(result.out.split())
    assert "lines      'user,item,rating'" in result.out
    result = warpfactor("peek", tmp_path / "gone.csv")
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch("warpfactor: error: .*gone.csv: No such file.*\n", result.err)


def test_what_a_file_holds_is_shown_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "r.csv"
    file.write_text("user,item,rating\na\tb  c,x\x1b[31m,good\n")
    result = warpfactor("train", file, "--sep", ",")
    assert r"a\tb  c,x\x1b[31m,good" in result.err
    assert "\t" not in result.err and "\x1b" not in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "options"), [("o.csv", ()), ("o.tsv", ()), ("o.data", ("--to", "csv"))]
)
def test_convert_writes_what_was_read(tmp_path: Path, name: str, options: tuple[str, ...]) -> None:
    file, output = tmp_path / "in.txt", tmp_path / name
    file.write_text(joined("::"))
    result = succeed("convert", file, output, *options)
    assert result.out == f"wrote {output}: 50 ratings by 9 users of 8 items\n"
    for one, other in zip(
        wf.read_ratings(file).to_arrays(), wf.read_ratings(output).to_arrays(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_convert_takes_the_reading_options(tmp_path: Path) -> None:
    file, output = tmp_path / "in.txt", tmp_path / "o.csv"
    file.write_text("a;b;1,5;x\nc;d;?;x\n")
    options = ("--no-header", "--on-error", "skip", "--decimal", ",", "--sep", ";")
    result = succeed("convert", file, output, *options)
    assert "1 of 2 rows left out" in result.err
    assert output.read_text().splitlines()[1].split(",")[:3] == ["a", "b", "1.5"]


def test_convert_refuses_before_it_reads(tmp_path: Path) -> None:
    file = tmp_path / "in.csv"
    file.write_text(joined(","))
    before = file.read_bytes()
    for output, options, pattern in (
        (file, (), "OUT is .*in.csv', which is also a file to read"),
        (tmp_path, (), "is a folder"),
        (tmp_path / "gone" / "o.csv", (), "there is no folder"),
        (tmp_path / "o.csv", ("--to", "xml"), "--to is 'xml'"),
    ):
        result = warpfactor("convert", file, output, *options)
        assert result.code == 1
        assert re.match(f"warpfactor: error: .*{pattern}", result.err), result.err
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["in.csv"]


# What is Python in a message of the command line.
PYTHON = re.compile(
    r"(?<![\w/.-])[a-z_0-9]+=(?!=)|\b(True|False|None)\b|\bRatings\b|read_ratings|from_\w+\(?|"
    r"set_params|astype|warpfactor\.\w+|\bwf\.|RandomState|\w+\(\)|<class|Traceback|"
    r"glob\.|\bpass what|\ba list of"
)
FILES: dict[str, str | bytes] = {
    "good.csv": joined(","),
    "wide.csv": "user,10,20,30,40\n1,5,0,3,1\n2,0,0,1,2\n",
    "unclear.csv": "user_id,age,anime_id,rank\n1,20,5,3\n2,30,6,4\n",
    "counter.csv": "0,10,20,3\n1,11,21,4\n2,10,22,5\n3,12,20,1\n",
    "first.csv": "1,2,4*\n1,3,5\n2,2,3\n",
    "missing.csv": "user,item,rating\n1,,5\n",
    "huge.csv": "user,item,rating\n1,2,1e99\n",
    "quote.csv": 'user,item,rating\n1,"a,5\n2,b,4\n',
    "ambiguous.csv": "a;1,b;2,1\nc;3,d;4,2\n",
    "thousands.csv": "a;b;1,000\nc;d;2,000\n",
    "latin.csv": "user,item,rating\n1,Am\u00e9lie,5\n".encode("latin-1"),
    "one.csv": "a\nb\n",
    "two.csv": "a,b\nc,d\n",
    "empty.csv": b"",
    "header.csv": "user,item,rating\n",
    "time.csv": "user,item,rating,time\n1,2,3,soon\n2,3,4,later\n",
    "pickle.pkl": b"\x80\x04\x95rest",
    "model.safetensors": b"\x08" + bytes(7) + b'{"__metadata__":{}}',
    "avro.avro": b"Obj\x01rest",
    "matlab.mat": b"MATLAB 5.0 MAT-file",
    "text.parquet": joined(","),
    "array.npy": b"\x93NUMPY\x01\x00rest",
    "broken.zip": b"PK\x03\x04rest",
    "broken.gz": b"\x1f\x8brest",
    "broken.npz": b"PK\x05\x06",
    "broken.parquet": b"PAR1rest",
    "binary.bin": bytes(range(256)),
}
READ = [
    (*command, *options)
    for command in (("peek", "FILE"), ("train", "FILE"), ("evaluate", "MODEL", "FILE"))
    for options in (
        (),
        ("--user", "nobody"),
        ("--user", "1", "--item", "1"),
        ("--rating", "9"),
        ("--sep", ""),
        ("--sep", '"'),
        ("--sep", ";"),
        ("--quote", "ab"),
        ("--quote", "\u00ab"),
        ("--escape", "xy"),
        ("--decimal", ""),
        ("--thousands", "."),
        ("--encoding", "utf-99"),
        ("--encoding", "rot13"),
        ("--format", "xml"),
        ("--format", "parquet"),
        ("--format", "npz"),
        ("--on-error", "ignore"),
        ("--member", "x.csv"),
        ("--no-header", "--user", "name"),
    )
]
READ += [
    (command, "FILE", *options)
    for command in ("peek", "train")
    for options in (
        ("--timestamp", "rating"),
        ("--timestamp", "3"),
        ("--ids", "int"),
        ("--ids", "a,b,c"),
    )
]
READ += [("convert", "FILE", "out.csv"), ("convert", "FILE", "out.csv", "--sep", ";")]
READ += [
    ("predict", "MODEL", "FILE", *options)
    for options in (
        (),
        ("--user-column", "nobody"),
        ("--item-column", "7"),
        ("--input-format", "npz"),
    )
]
TRAIN = [
    ("--n-factors", "0"), ("--n-factors", "2000"), ("--n-epochs", "-1"), ("--learning-rate", "-1"),
    ("--learning-rate", "1000"), ("--reg", "-1"), ("--reg", "0.1,-1"), ("--reg-bias", "nan"),
    ("--l1-ratio", "2"), ("--loss", "cubic"), ("--loss", "logistic"), ("--loss", "custom"),
    ("--loss", "logistic", "--nonnegative"), ("--huber-delta", "0"), ("--init-scale", "nan"),
    ("--init-scale", "-1"), ("--warmup-epochs", "99"), ("--warmup-factors", "0"),
    ("--optimizer", "newton"), ("--optimizer", "adam", "--momentum", "0.5"),
    ("--optimizer", "gd", "--batch-size", "5"), ("--optimizer", "adam", "--warmup-epochs", "2"),
    ("--batch-size", "0"),
    ("--adagrad-per", "side"), ("--beta-1", "1"), ("--epsilon", "0"), ("--schedule", "steep"),
    ("--parallel", "maybe"), ("--device", "tpu"), ("--device", "cuda:99999999999"),
    ("--device", "cuda"), ("--device", "cuda", "--test-size", "0.1"), ("--dtype", "int8"),
    ("--dtype", "float16"), ("--unknown", "guess"), ("--device-memory", "0"), ("--n-threads", "0"),
    ("--seed", "-1"), ("--seed", str(2**64)), ("--patience", "-1"), ("--test-size", "0"),
    ("--test-size", "1.5"), ("--test-size", "50"), ("--test-size", "0.1", "--test-by", "moon"),
    ("--test-size", "0.1", "--test-by", "time"), ("--test-size", "0.1", "--test-by", "last"),
    ("--validation-size", "2.5"), ("--validation-size", "50"), ("--output", "gone/m"),
    ("--output", "m.csv"),
]  # fmt: skip
ASK = [
    ("recommend", "MODEL", "--user", "bob"), ("recommend", "MODEL", "--user", "u1", "-n", "0"),
    ("recommend", "MODEL", "--user", "u1", "--format", "xml"), ("recommend", "RATINGS", "--user", "u1"),
    ("recommend", "MODEL", "--user", "u1", "--confidence", "-1"),
    ("recommend", "MODEL", "--user", "u1", "-o", "x.doc"), ("info", "RATINGS"), ("info", "gone"),
    ("predict", "MODEL", "--user", "bob", "--item", "x"), ("predict", "gone", "RATINGS"),
    ("predict", "MODEL", "RATINGS", "--device", "tpu"), ("predict", "MODEL", "RATINGS", "--device", "cuda"),
    ("evaluate", "MODEL", "gone.csv"), ("evaluate", "RATINGS", "RATINGS"), ("demo", "--seed", "-1"),
    ("demo", "--n-factors", "0"), ("convert", "RATINGS", "gone/o.csv"), ("convert", "gone.csv", "o.csv"),
    ("peek", "gone.csv"), ("train", "gone.csv"),
]  # fmt: skip


def messages(result: Result) -> str:
    """What a command says of a mistake: peek's is on its output."""
    return result.err + result.out


@pytest.mark.parametrize("name", FILES)
def test_mistakes_of_files_name_options_of_the_command_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    content = FILES[name]
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    n_mistakes = 0
    for command in READ:
        args = [{"FILE": name, "MODEL": str(model)}.get(each, each) for each in command]
        quick = QUICK if command[0] == "train" else ()
        result = warpfactor(*args, *quick)
        assert result.code in (0, 1), (args, result)
        if result.code:
            n_mistakes += 1
            # What of the file is shown is no message.
            text = re.sub(r"(?m)^(lines|file) .*(\n {11}.*)*", "", messages(result))
            assert not PYTHON.search(text.replace(name, "")), (args, text)
            assert command[0] == "peek" or len(result.err.splitlines()) == 1, result.err
    assert n_mistakes >= 25


def test_several_files_are_read_as_one_set(model: Path, tmp_path: Path) -> None:
    whole, lines = tmp_path / "whole.csv", joined(",").splitlines(keepends=True)
    whole.write_text("".join(lines))
    parts = [tmp_path / "a.csv", tmp_path / "b.tsv", tmp_path / "c"]
    parts[0].write_text("".join(lines[:20]))
    parts[1].write_text("".join(lines[20:40]).replace(",", "\t"))
    parts[2].mkdir()
    (parts[2] / "ratings.csv").write_text("".join(lines[40:]))
    saved = []
    for at, given in enumerate(([whole], parts)):
        out = succeed("train", *given, "-o", tmp_path / f"{at}.safetensors", *QUICK).out
        assert "50 ratings by 9 users of 8 items, from 1 to 4" in out
        saved.append(wf.load(tmp_path / f"{at}.safetensors"))
    assert saved[0].user_ids_.tolist() == saved[1].user_ids_.tolist()
    assert (saved[0].user_factors_ == saved[1].user_factors_).all()
    assert succeed("evaluate", model, *parts).out == succeed("evaluate", model, whole).out
    shown = succeed("peek", *parts).out
    assert "ratings    50, from 1 to 4" in shown
    for part in parts:
        assert str(part) in re.sub(r"\n {11}", "", shown)


SEVERAL = {"train": ("train",), "evaluate": ("evaluate", "MODEL"), "peek": ("peek",)}


@pytest.mark.parametrize("command", SEVERAL)
def test_mistakes_in_one_of_several_files_name_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text(joined(","))
    Path("b.csv").write_text(joined(",") + "u1,001,many\n")
    args = [str(model) if each == "MODEL" else each for each in SEVERAL[command]]
    quick = QUICK if command == "train" else ()
    bad = warpfactor(*args, "a.csv", "b.csv", *quick)
    assert (bad.code, "b.csv: line 51" in messages(bad)) == (1, True), bad
    gone = warpfactor(*args, "a.csv", "gone.csv", *quick)
    assert (gone.code, "gone.csv: No such file" in messages(gone)) == (1, True), gone
    none = warpfactor(*args)
    assert (none.code, "Missing argument" in none.err) == (2, True), none
    kinds = warpfactor(*args, "a.csv", "b.csv", "--sep", "", *quick)
    assert kinds.code == 1
    assert "['" not in messages(kinds)
    assert "Posix" not in messages(kinds)
    skipped = succeed(*args, "a.csv", "b.csv", "--on-error", "skip", *quick)
    text = re.sub(r"\s+", " ", messages(skipped))
    assert re.search(r"1 of 101 rows (are )?left out; the first is line 51: .* \(in b\.csv\)", text)
    if command == "evaluate":
        assert "note: a.csv, b.csv: 1 of 101 rows" in text
    assert f"{'FILE' if command == 'peek' else 'RATINGS'}..." in succeed(command, "--help").out


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("read", [("a", "b"), ("b", "a"), ("folder",), ("a", "folder")], ids=str)
def test_nothing_is_written_over_one_of_several_files(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: tuple[str, ...], link: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    target = Path("folder/ratings.b") if "folder" in read else Path("b")
    for name in ("a", target):
        Path(name).write_text(joined(","))
    output = target
    if link:
        output = Path("link")
        output.symlink_to(target)
    commands = [("train", *read, *QUICK, "-o", output)]
    if len(read) == 1:
        commands += [("predict", model, *read, "--format", "csv", "-o", output)]
        commands += [("convert", *read, output, "--to", "csv")]
    for command in commands:
        result = warpfactor(*command)
        name = "OUT" if command[0] == "convert" else "--output"
        assert result.code == 1, result
        assert f"{name} is {str(output)!r}, which is also a file to read" in result.err
        assert (f"({str(target)!r})" in result.err) == link
        assert target.read_text() == joined(",")


FOLDERS: dict[str, tuple[str, ...]] = {
    "delta": ("_delta_log/0.json", "a.parquet"),
    "iceberg": ("metadata/1.metadata.json", "a.parquet"),
    "hudi": (".hoodie/x", "a.parquet"),
    "two formats": ("a.csv", "b.mtx"),
    "twice": ("ratings.csv", "ratings.csv.gz"),
    "empty": (),
    "user column": ("user=1/a.csv", "user=2/a.csv"),
    "no ratings": ("a.csv", "b.txt"),
    "*.csv": (),
}
CONTENTS = {".csv": joined(","), ".mtx": "%%MatrixMarket matrix coordinate real general\n"}


@pytest.mark.parametrize("name", FOLDERS)
def test_mistakes_of_folders_are_in_the_words_of_the_shell(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for each in FOLDERS[name]:
        (folder / each).parent.mkdir(parents=True, exist_ok=True)
        (folder / each).write_text(CONTENTS.get(Path(each).suffix, "a word"))
    result = warpfactor("train", folder / name if "*" in name else folder, *QUICK)
    assert result.code == 1
    assert not PYTHON.search(result.err.replace("user=", "").replace("VALUE", "")), result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.parametrize(
    "command", [*ASK, *(("train", "RATINGS", *options) for options in TRAIN)], ids=" ".join
)
def test_mistakes_name_options_of_the_command_line(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text(joined(","))
    files = {"RATINGS": "ratings.csv", "MODEL": str(model)}
    if "cuda" in command and wf.show_config("dicts")["cuda_usable"]:
        pytest.skip("this machine has a usable CUDA device")
    result = warpfactor(*(files.get(each, each) for each in command))
    assert result.code == 1, result
    [line] = result.err.splitlines()
    assert line.startswith("warpfactor: error: ")
    assert not PYTHON.search(line.replace("WARPFACTOR_CUDA=ON", "")), line
    # No argument without its dashes either; "loss" and the like are words too.
    for row in PARAMETERS.values():
        if "_" in row.name:
            assert not re.search(rf"(?<![-\w]){row.name}\b", line), line


def test_other_devices_are_refused_in_the_same_words(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.csv").write_text(joined(","))
    monkeypatch.setattr(_core, "cuda_status", lambda: (True, False, "no driver: use device='cpu'"))
    for command in (
        ("train", tmp_path / "r.csv", "--test-size", "5"),
        ("evaluate", model, tmp_path / "r.csv"),
    ):
        result = warpfactor(*command, "--device", "cuda")
        assert "no driver: use --device cpu" in result.err


def test_texts_of_the_core_are_put_in_the_words_of_the_shell() -> None:
    names = [row.core for row in PARAMETERS.values() if row.core]
    text = (
        "reg.users is -1; use biases=True or device='cpu'; lower learning_rate or reg, not the loss"
    )
    assert in_words_of(names, text) == text
    with shell_words():
        assert in_words_of(names, text) == (
            "--reg.users is -1; use --biases or --device cpu; lower --learning-rate or --reg, not the loss"
        )
        assert in_words_of(names, "loss is 3; pass biases=False") == "--loss is 3; pass --no-biases"


def test_options_are_worded_for_where_they_were_typed() -> None:
    assert (option("sep"), option("sep", "\t"), option("header", False)) == (
        "sep",
        "sep='\\t'",
        "header=False",
    )
    with shell_words():
        assert [option("sep", "\t"), option("on_error"), option("header", False), option("n")] == [
            "--sep '\\t'",
            "--on-error",
            "--no-header",
            "--n-items",
        ]
        with shell_words(format="input-format"):
            assert option("format", "npz") == "--input-format npz"
            assert option("user", "who is") == "--user-column 'who is'"
        assert option("format") == "--format"
        with pytest.raises(ValueError, match=r"^--patience is 0; it must be at least 1$"):
            check_count("early_stopping", 0, 1)
    assert option("format") == "format"


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "peek", "convert"])
def test_help_lists_the_reading_options_without_heavy_imports(command: str) -> None:
    code = (
        f"import sys; from warpfactor.cli import app; app(['{command}', '--help', 'all'], standalone_mode=False);"
        "print(*({'numpy', 'pyarrow', 'sklearn', 'warpfactor.data'} & {*sys.modules}), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stderr == "\n"
    options = "--sep --header --quote --escape --comment --encoding --strip --on-error --member --user-column"
    for flag in options.split():
        assert flag in result.stdout
    assert ("--ids" in result.stdout) == (command not in ("evaluate", "predict"))
    assert ("--input-format" in result.stdout) == (command == "predict")
