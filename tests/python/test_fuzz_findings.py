"""What fuzzing found (tests/fuzz): inputs that were read wrong, or refused with a foreign error."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import re
import struct
import time
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

import warpfactor as wf
from model_files import lay_out, taken_apart
from warpfactor.data.files import read_pairs
from warpfactor.data.formats import rewrite

TEXT = b"user,item,rating\n1,10,5\n2,11,4\n3,10,3\n"
LONGEST_MESSAGE = 4000


def triples(ratings):
    users, items = ratings.user_ids[ratings.users], ratings.item_ids[ratings.items]
    return list(zip(users.tolist(), items.tolist(), ratings.values.tolist(), strict=True))


def refused(path, content, message, **options):
    """Check that a file is refused in our words, with its name or the option at fault."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        wf.read_ratings(path, **options)
    assert type(caught.value) is ValueError
    assert str(caught.value).startswith((str(path), *options))
    assert len(str(caught.value)) < LONGEST_MESSAGE
    return str(caught.value)


# --- texts ---------------------------------------------------------------------------------------

READ = {
    # The first row is the one at fault: it says nothing of the columns, neither their number.
    "longer first row": (
        b"1 2 3 4\n1 2 3\n4 5 6\n7 8 9\n4 5 1\n",
        {"sep": " ", "header": False, "on_error": "skip"},
        [(1, 2, 3.0), (4, 5, 6.0), (7, 8, 9.0), (4, 5, 1.0)],
    ),
    # Lines that end by "\r" alone begin by blanks or as comments, too.
    "blanks after cr": (b"1  2  3\r  4  5  6\r", {}, [(1, 2, 3.0), (4, 5, 6.0)]),
    "blanks before cr": (b"1  2  3  \r4  5  6 \r", {}, [(1, 2, 3.0), (4, 5, 6.0)]),
    "comments after cr": (b"# a\r1,2,3\r# b\r4,5,6\r", {}, [(1, 2, 3.0), (4, 5, 6.0)]),
}


@pytest.mark.parametrize(("content", "options", "expected"), READ.values(), ids=READ)
@pytest.mark.filterwarnings("ignore:.*left out")
def test_text_is_read(tmp_path, content, options, expected):
    (tmp_path / "r.txt").write_bytes(content)
    assert triples(wf.read_ratings(tmp_path / "r.txt", **options)) == expected


REFUSED = {
    "bytes that are no text, in a row of another width": (
        b"1  2  3\n" * 50_000 + b"\xd8 7\n1  1  1\n",
        {"sep": r"\s+", "on_error": "skip"},
        "line 50001 is not utf-8: .* pass encoding=",
    ),
    "comment of a line end": (TEXT, {"comment": "\n"}, r"comment is '\\n'; it must be"),
    "long rating": (b"1,2,3\n4,5," + b"x" * 9000 + b"\n", {"header": False}, "line 2: the rating"),
    "long names": (
        ",".join(f"{at}{'n' * 900}" for at in range(30)).encode() + b"\n" + b"1," * 29 + b"1\n",
        {"header": True},
        "cannot tell which column",
    ),
}


@pytest.mark.parametrize(("content", "options", "message"), REFUSED.values(), ids=REFUSED)
def test_text_is_refused(tmp_path, content, options, message):
    refused(tmp_path / "r.txt", content, message, **options)


@pytest.mark.parametrize("block", [1, 3, 16, 1 << 22])
def test_escaped_fields_with_line_ends_at_the_end_of_a_block(tmp_path, monkeypatch, block):
    # A field with a line end before one that the block cuts: a cut within the first lost its end.
    row = '"x{0}\ny","z\n{0}\\"w",5\n'
    (tmp_path / "r.csv").write_text("".join(row.format(at) for at in range(20)), newline="")
    monkeypatch.setattr(rewrite, "_BLOCK", block)
    read = wf.read_ratings(tmp_path / "r.csv", escape="\\", header=False)
    assert triples(read) == [(f"x{at}\ny", f'z\n{at}"w', 5.0) for at in range(20)]


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_escaped_text_is_cut_at_lines_of_any_end(tmp_path, monkeypatch, end):
    # Without a line feed all of it was kept, and looked at again with each block.
    rows = [f'{at},"a\\"{at}",5' for at in range(2000)]
    (tmp_path / "r.csv").write_text(end.join([*rows, ""]), newline="")
    monkeypatch.setattr(rewrite, "_BLOCK", 64)
    monkeypatch.setattr(rewrite, "_LONGEST", 1000)
    read = wf.read_ratings(tmp_path / "r.csv", escape="\\", header=False)
    assert triples(read) == [(at, f'a"{at}', 5.0) for at in range(2000)]


@pytest.mark.parametrize("quote", ['"', "'"])
def test_quotes_that_escape_quotes_are_doubled(tmp_path, quote):
    # As Spark and pandas write it; each field went on to the end of the file.
    (tmp_path / "r.csv").write_text(f"1,{quote}a{quote * 2}b{quote},5\n2,c,4\n")
    read = wf.read_ratings(tmp_path / "r.csv", quote=quote, escape=quote, header=False)
    assert triples(read) == [(1, f"a{quote}b", 5.0), (2, "c", 4.0)]


@pytest.mark.parametrize("escape", ["^", "1", "\\"])
def test_a_quote_that_does_not_close_takes_no_time(tmp_path, escape):
    # Each escaped quote behind it was tried as the beginning of a field.
    (tmp_path / "r.csv").write_text('7,"x,5\n' + f'8,{escape}",4\n' * 30_000)
    begin = time.process_time()
    with contextlib.suppress(ValueError):
        wf.read_ratings(tmp_path / "r.csv", escape=escape, header=False)
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("options", [{"sep": "::"}, {"escape": "\\"}, {"encoding": "latin-1"}])
def test_a_line_without_end_is_refused(tmp_path, monkeypatch, options):
    monkeypatch.setattr(rewrite, "_LONGEST", 1000)
    monkeypatch.setattr(rewrite, "_BLOCK", 100)
    sep = options.get("sep", ",")
    content = sep.join(["1", "2", "3\n"]) * 100_000 + '4,"' + "x" * 3000
    refused(tmp_path / "r.txt", content.encode(), "line is longer than", **options)


@pytest.mark.parametrize("encoding", ["no-such", "hex", "rot13", "", "\0"])
@pytest.mark.parametrize("name", ["r.csv", "r.json", "r.parquet"])
def test_an_encoding_that_is_none_is_named(tmp_path, name, encoding):
    (tmp_path / name).write_text('{"user": 1, "item": 2, "rating": 3}\n')
    for read in (wf.read_ratings, read_pairs, wf.peek):
        with pytest.raises(ValueError, match=r"encoding is '.*', which Python does not know"):
            read(tmp_path / name, encoding=encoding)


@pytest.mark.parametrize("block", [8, 64, 1 << 22])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # The second needs its quotes, so they stand around fields; the third holds one as data.
        (['"a"', '"b\nc"', 'd"'], ["a", "b\nc", 'd"']),
        (['e"', '"a"', '"b""c"'], ['e"', "a", 'b"c']),
        (['"a"', 'd"', '"b\tc"'], ["a", 'd"', "b\tc"]),
        (['"a"', 'd"', "b"], ['"a"', 'd"', "b"]),
    ],
)
def test_quotes_are_judged_alike_whatever_is_read_at_a_time(
    tmp_path, monkeypatch, block, fields, expected
):
    monkeypatch.setattr("warpfactor.data.formats.rewrite._BLOCK", block)
    path = tmp_path / "r.tsv"
    path.write_text("".join(f"{field}\t{at}\t5\n" for at, field in enumerate(fields)))
    assert wf.read_ratings(path).to_arrays()[0].tolist() == expected


@pytest.mark.parametrize("header", [True, False])
def test_a_wide_table_is_refused_at_once(tmp_path, header):
    # The time grew by the square of the number of columns.
    names = [f"n{at}" if header else str(at % 5) for at in range(20_000)]
    content = (",".join(names) + "\n" + ",".join("1" for _ in names) + "\n").encode()
    begin = time.process_time()
    refused(tmp_path / "r.csv", content, "cannot tell which column")
    assert time.process_time() - begin < 5


# --- packed files --------------------------------------------------------------------------------


def zipped(content=TEXT, name="ratings.csv", method=zipfile.ZIP_STORED):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def changed(content, old, new):
    assert old in content
    return content.replace(old, new, 1)


PACKED = {
    "zip, checksum": changed(zipped(), b"1,10,5", b"1,10,4"),
    # The directory says that the archive begins 4096 bytes earlier than it is long.
    "zip, place of the directory": zipped()[:-6] + struct.pack("<IH", 4096, 0),
    "zip, place of a member": changed(zipped(), b"\0\0\x80\x01\0\0\0\0", b"\0\0\x80\x01\x07\0\0\0"),
    "zip, no name": zipped(name="").replace(b"PK", b"PK"),
    "zip, cut": zipped()[:60],
    "zip, version": changed(zipped(), b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xeb"),
    "gzip, contents": gzip.compress(TEXT, mtime=0)[:12] + b"\xff" * 30,
    "gzip, cut": gzip.compress(TEXT, mtime=0)[:-12],
    "bz2, contents": bz2.compress(TEXT)[:20] + b"\xff" * 30,
    "xz, contents": lzma.compress(TEXT)[:30] + b"\xff" * 40,
    "xz, cut": lzma.compress(TEXT)[:-20],
    "zstd, contents": b"\x28\xb5\x2f\xfd" + b"\xff" * 30,
    "lz4, contents": b"\x04\x22\x4d\x18" + b"\xff" * 30,
}


@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
def test_damaged_packing_is_named(tmp_path, content):
    refused(tmp_path / "r", content, "damaged|holds no files")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_damaged_packing_leaves_no_memory_behind(tmp_path, codec):
    target = pa.BufferOutputStream()
    with pa.CompressedOutputStream(target, codec) as stream:
        stream.write(TEXT * 2000)
    content = bytes(target.getvalue())
    paths = [tmp_path / "begin", tmp_path / "end"]
    paths[0].write_bytes(content[:20])
    paths[1].write_bytes(content[:-20])

    def read_all():
        for path in paths:
            with pytest.raises(ValueError, match="damaged"):
                wf.read_ratings(path)

    read_all()
    tracemalloc.start()
    for _ in range(5):
        read_all()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**20  # it was 4 MiB for each


def npz(**arrays):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, array in arrays.items():
            inner = io.BytesIO()
            if isinstance(array, bytes):
                inner.write(array)
            else:
                np.lib.format.write_array(inner, np.asarray(array), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), inner.getvalue())
    return target.getvalue()


def header_of(text):
    text = text.ljust(118) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def csr(**other):
    parts = {"format": np.array(b"csr"), "shape": [2, 2], "data": [1.0, 2.0]}
    return npz(**(parts | {"indices": [0, 1], "indptr": [0, 1, 2]} | other))


ARRAYS = {
    "header that is no literal": npz(users=header_of("{'descr': ("), items=[1], ratings=[1.0]),
    "member that is no array": npz(users=b"1,2,3", items=[1], ratings=[1.0]),
    "vocabulary that is no array": npz(users=[0], items=[0], ratings=[1.0], user_ids=b"a"),
    "larger than memory": npz(
        users=header_of("{'descr': '<i8', 'fortran_order': False, 'shape': (9999999999999,), }"),
        items=[1],
        ratings=[1.0],
    ),
    "objects": npz(
        users=header_of("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }") + b"\x80\x04N.",
        items=[1],
        ratings=[1.0],
    ),
    # SciPy's loops write where these say.
    "positions beyond the matrix": csr(indices=[0, 7]),
    "falling pointers": csr(indptr=[0, 9, 2]),
    "negative positions": csr(indices=[0, -5]),
    "no pointers": csr(indptr=b""),
    "no data of this layout": npz(format=np.array(b"dia"), shape=[2, 2], data=[[1.0, 2.0]]),
    "offsets that are no numbers": npz(
        format=np.array(b"dia"), shape=[2, 2], data=[[1.0, 2.0]], offsets=[float("nan")]
    ),
    "unknown layout": csr(format=np.array(b"xyz")),
    "cut": csr()[:-30],
}


@pytest.mark.parametrize("content", ARRAYS.values(), ids=ARRAYS)
def test_damaged_arrays_are_named(tmp_path, content):
    refused(tmp_path / "r.npz", content, "damaged|holds Python objects")


def test_the_arrays_of_these_tests_can_be_read_undamaged(tmp_path):
    (tmp_path / "r.npz").write_bytes(csr())
    assert triples(wf.read_ratings(tmp_path / "r.npz")) == [(0, 0, 1.0), (1, 1, 2.0)]
    sparse.save_npz(tmp_path / "s.npz", sparse.csr_array([[1.0, 0], [0, 2]]))
    assert triples(wf.read_ratings(tmp_path / "s.npz")) == [(0, 0, 1.0), (1, 1, 2.0)]


def arrow_file(kind, table):
    target = io.BytesIO()
    new = {"file": pa.ipc.new_file, "stream": pa.ipc.new_stream}[kind]
    with new(target, table.schema) as writer:
        writer.write_table(table)
    return target.getvalue()


@pytest.mark.parametrize(
    "dtype", [pa.decimal128(25, 1), pa.decimal256(50, 2), pa.float32(), pa.int8()]
)
def test_numbers_of_a_dictionary_are_read(tmp_path, dtype):
    # Through Python's decimals, a damaged one of which raised decimal.InvalidOperation.
    values = pa.array([1, 2], pa.int64()).cast(dtype).dictionary_encode()
    table = pa.table({"user": [1, 2], "item": [3, 4], "rating": values})
    (tmp_path / "r.arrow").write_bytes(arrow_file("file", table))
    assert triples(wf.read_ratings(tmp_path / "r.arrow")) == [(1, 3, 1.0), (2, 4, 2.0)]


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_positions_that_are_not_in_order_are_named(tmp_path, kind):
    # Arrow reads where the offsets of texts point, unless it is asked to validate them.
    table = pa.table({"user": pa.array(["a", "b"]), "item": [1, 2], "rating": [1.0, 2.0]})
    good = arrow_file(kind, table)
    bad = changed(good, struct.pack("<3i", 0, 1, 2), struct.pack("<3i", 0, 2, 1))
    (tmp_path / "good.arrow").write_bytes(good)
    assert len(wf.read_ratings(tmp_path / "good.arrow").values) == 2
    refused(tmp_path / "r.arrow", bad, "ffset")


@pytest.mark.parametrize("kind", ["file", "stream"])
def test_columns_of_one_name_are_named(tmp_path, kind):
    table = pa.table([[1], [2], [3.0]], names=["user", "user", "rating"])
    message = "more than one column 'user'"
    options = {"user": 0, "item": 1, "rating": 2}
    refused(tmp_path / "r.arrow", arrow_file(kind, table), message, **options)


# --- model files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_parts(tmp_path_factory):
    """The tensors (type, shape, bytes) and the metadata of a saved model."""
    path = tmp_path_factory.mktemp("model") / "m"
    ratings = wf.datasets.make_ratings(8, 6, 24, random_state=0).ratings
    wf.MatrixFactorization(n_factors=2, n_epochs=1, verbose=0, random_state=0).fit(ratings).save(
        path
    )
    return taken_apart(path)


def test_the_model_of_these_tests_can_be_read_undamaged(tmp_path, model_parts):
    loaded = wf.load(lay_out(tmp_path / "m", *model_parts))
    assert len(loaded.user_ids_) == 8


@pytest.mark.parametrize("name", ["params", "model", "training", "history"])
def test_deeply_nested_json_is_named(tmp_path, model_parts, name):
    tensors, metadata = model_parts
    path = lay_out(tmp_path / "m", tensors, metadata | {name: "[" * 100_000})
    with pytest.raises(wf.ModelFileError, match=re.escape(str(path))):
        wf.load(path)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "BF16"])
def test_types_that_numpy_lacks_are_named(tmp_path, model_parts, dtype):
    tensors, metadata = model_parts
    size = 2 if dtype == "BF16" else 1
    raw = tensors["user_biases"][2]
    changed = tensors | {"user_biases": (dtype, [len(raw) // size], raw)}
    path = lay_out(tmp_path / "m", changed, metadata)
    with pytest.raises(wf.ModelFileError, match=re.escape(str(path))):
        wf.load(path)


@pytest.mark.parametrize("dtype", ["nan", "", [1], {}])
def test_a_stored_type_is_checked(tmp_path, model_parts, dtype):
    tensors, metadata = model_parts
    params = json.loads(metadata["params"]) | {"dtype": dtype}
    path = lay_out(tmp_path / "m", tensors, metadata | {"params": json.dumps(params)})
    with pytest.raises(wf.ModelFileError, match=re.escape(str(path))):
        wf.load(path)


@pytest.mark.parametrize("item", [2**31 - 1, -1, 6])
def test_items_of_format_1_are_checked_before_they_are_counted(tmp_path, model_parts, item):
    # Counted up to 2**31 - 1, they took 16 GiB.
    tensors, metadata = dict(model_parts[0]), model_parts[1]
    seen = np.frombuffer(tensors["seen_items"][2], np.int32).copy()
    seen[0] = item
    tensors["seen_items"] = ("I32", [len(seen)], seen.tobytes())
    for side, n in (("user", 8), ("item", 6)):
        tensors.pop(f"{side}_counts")
        tensors[f"{side}_known"] = ("BOOL", [n], b"\1" * n)
    model, training = json.loads(metadata["model"]), json.loads(metadata["training"])
    metadata = {
        **{name: metadata[name] for name in ("warpfactor_version", "user_ids", "item_ids", "params")},
        "format": "warpfactor.MatrixFactorization", "format_version": "1",
        "fitted": json.dumps(model | training | {"history": []}),
    }  # fmt: skip
    path = lay_out(tmp_path / "m", tensors, metadata)
    with pytest.raises(wf.ModelFileError, match="seen items do not fit"):
        wf.load(path)


@pytest.mark.parametrize("sep", [",", "::"])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_byte_order_mark_inside_a_file_stays_wherever_the_file_is_cut(
    tmp_path, monkeypatch, sep, quoted
):
    rows = ["7,5,3", "63,29,1", "\ufeff41,5,3", "8,29,2"]
    if quoted:
        rows.append('"9",5,1')
    path = tmp_path / "joined.csv"
    path.write_text("\n".join(rows).replace(",", sep) + "\n", encoding="utf-8")
    whole = wf.read_ratings(path)
    assert "\ufeff41" in whole.user_ids
    for size in range(8, 40):
        monkeypatch.setattr(rewrite, "_BLOCK", size)
        monkeypatch.setattr(rewrite, "_SLICE", size)
        parts = wf.read_ratings(path)
        assert parts.user_ids.tolist() == whole.user_ids.tolist(), size
        assert parts.users.tolist() == whole.users.tolist(), size
