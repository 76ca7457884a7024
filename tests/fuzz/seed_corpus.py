"""Seeds of the fuzzer: a small file of each format and dialect, invented by rule.

No row is of a published set of ratings: those stay out of the project.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import warpfactor as wf
from mutate import pack_model
from targets import CHOICES, FORMATS, SUFFIXES, encode

__all__ = ["formula_seeds", "model_seeds", "seeds"]

_ROWS = [
    (41, 17, 3, 881111111),
    (52, 23, 3, 892222222),
    (63, 29, 1, 877777777),
    (7, 17, 5, 1),
]
_NAMED = [
    ("ann", "The Net, 1995", 4.5),
    ("bob", '"Weird Al" Live', 3.0),
    ("cid", "Am\u00e9lie", 0.5),
]


def _table(sep: str, header: str = "", end: str = "\n", n: int = 4) -> str:
    rows = [sep.join(map(str, row[:n])) for row in _ROWS]
    return end.join([*([header] if header else []), *rows, ""])


def _quoted(sep: str, *, escape: str = '"', header: str = "user,item,rating") -> str:
    rows = [
        sep.join((user, '"' + item.replace('"', escape + '"') + '"', str(rating)))
        for user, item, rating in _NAMED
    ]
    return "\n".join([header.replace(",", sep), *rows, ""])


def texts() -> dict[str, bytes]:
    """Files of text by name."""
    wide = "user," + ",".join(map(str, range(101, 116))) + "\n"
    wide += "".join(
        f"{u}," + ",".join(str((u * i) % 6) for i in range(15)) + "\n" for u in (1, 2, 3)
    )
    lines = [{"user": u, "item": i, "rating": r, "timestamp": t} for u, i, r, t in _ROWS]
    amazon = [
        {"reviewerID": f"A{u}", "asin": f"B{i:04}", "overall": float(r), "unixReviewTime": t}
        for u, i, r, t in _ROWS
    ]
    spark = _quoted(",", escape="\\")
    matrix = "%%MatrixMarket matrix "
    long = [f"{u % 13},{u % 17},{u % 5 + 1}" for u in range(120)]
    files: dict[str, str | bytes] = {
        "movielens.csv": _table(",", "userId,movieId,rating,timestamp"),
        "movielens-100k.data": _table("\t"),
        "movielens-1m.dat": _table("::"),
        "plain.csv": _table(",", n=3),
        "quoted.csv": _quoted(","),
        "quoted-line-end.csv": 'user,item,rating\n1,"a\nb",5\n2,"c, d",4\n3,"e ""f""",3\n',
        "quotes-as-data.tsv": '1\t"Weird Al" Yankovic\t5\n2\tWeird Al Yankovic\t3\n3\t"x\t1\n',
        "quotes-as-data.dat": '1::"Weird Al" Yankovic::5\n2::Weird Al Yankovic::3\n',
        "unclosed-quote.csv": '1,"a,5\n2,b,4\n3,c,3\n',
        "spark.csv": spark,
        "single-quotes.csv": "user,item,rating\n'1','a, b',5\n'2','c',4\n",
        "semicolon.csv": "user;item;rating\n1;10;4,5\n2;11;3,0\n3;12;5\n",
        "semicolon-times.csv": "1;10;4,5;966666603,0\n2;11;3,5;966666604,5\n",
        "decimal-thousands.csv": 'user;item;rating\n1;2;"1.234,5"\n3;4;"2.345.678,5"\n',
        "pipe.txt": "1|10|5|a,b,1\n2|11|4|c,d,2\n3|12|3|e,f,3\n",
        "two-pipes.txt": _table("||", n=3),
        "control-a.txt": _table("\x01"),
        "blanks.txt": "  1   10   5\n 2\t11  4\n3 12 3  \n",
        "space.txt": _table(" ", n=3),
        "crlf.csv": _table(",", "user,item,rating,time", "\r\n"),
        "cr.csv": _table(",", "user,item,rating,time", "\r"),
        "no-last-end.csv": _table(",", n=3).rstrip(),
        "blank-lines.csv": "\n\nuser,item,rating\n\n1,2,3\n\n4,5,6\n\n",
        "comments.txt": "# user item rating\n# more\n1 2 3\n#\n4 5 6\n",
        "konect.txt": "% bip weighted\n% 3 2 2\n1 2 3 881111111\n2 1 4 881111112\n",
        "missing.csv": "user,item,rating\n1,2,\\N\n3,4,NULL\n,5,1\n6,,2\n7,8,4\n",
        "bad-rating.csv": "1,2,4*\n3,4,5\n5,6,high\n7,8,1\n",
        "ragged.csv": "user,item,rating\n1,2,3\n4,5\n6,7,8,9\n10,11,12\n13,14,15\n",
        "huge-numbers.csv": "1,2,1e39\n9223372036854775808,3,1e-50\n-9223372036854775809,4,5\n",
        "leading-zeros.csv": "user,item,rating\n007,1.0,5\n7,1,4\n +7, 1,3\n",
        "dates.csv": "user,item,rating,date\n1,2,3,2005-09-06\n4,5,2,2005-09-07T10:11:12\n",
        "fractions.csv": "user,item,rating,timestamp\n1,2,3,1.25\n4,5,2,2.75\n",
        "milliseconds.csv": "user,item,rating,timestamp\n1,2,3,1588888888883\n4,5,2,1588888888884\n",
        "uuids.csv": "user,item,rating\n"
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8,1,5\n6BA7B811-9DAD-11D1-80B4-00C04FD430C8,2,4\n",
        "rownames.txt": '"user" "item" "rating"\n"1" 1 2 3\n"2" 4 5 2\n',
        "counter.csv": ",user_id,age,anime_id,rating\n0,1,20,5,9\n1,2,30,6,8\n2,3,40,7,7\n3,4,50,8,6\n",
        "wide.csv": wide,
        "pairs.csv": "user,item\n1,2\n3,4\n",
        "trailing-separator.csv": "user,item,rating\n1,2,3,\n4,5,6,\n",
        "long.csv": "\n".join(["user,item,rating", *long, ""]),
        "recbole.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + _table("\t"),
        "recbole-swapped.inter": "item_id:token\tuser_id:token\trating:float\n" + _table("\t", n=3),
        "libmf.txt": "0 1 3.5\n1 0 4\n2 2 1.25\n",
        "libsvm.txt": "5 1:1 7:1\n3 2:1 8:1\n",
        "netflix.txt": "1:\n1000001,3,2005-09-06\n1000002,5,2005-05-13\n2:\n1000003,4,2005-10-19\n",
        "netflix-probe.txt": "1:\n1000001\n1000002\n2:\n1000003\n",
        "book-crossing.csv": '"User-ID";"ISBN";"Book-Rating"\n"900001";"111111111X";"0"\n'
        '"900002";"0222222224";"5"\n"900003";"B\\"x";"7"\n',
        "amazon.csv": "A1AAAAAAAAAAA1,0000000001,5.0,1092222222\nA2BBBBBBBBBBB,0000000002,4.0,1019999999\n",
        "amazon-2023.csv": "user_id,parent_asin,rating,timestamp\nAGKA,0000000001,5.0,1092222222000\n",
        "amazon.json": "".join(json.dumps(row) + "\n" for row in amazon),
        "amazon-loose.json": "".join(f"{row}\n" for row in amazon),
        "amazon-blocks.txt": "product/productId: B1\nreview/userId: A1\nreview/score: 5.0\n"
        "review/time: 1182222220\n\nproduct/productId: B2\nreview/userId: A2\nreview/score: 4.0\n"
        "review/time: 1182222221\n\n",
        "lines.jsonl": "".join(json.dumps(row) + "\n" for row in lines),
        "array.json": json.dumps(lines),
        "columns.json": json.dumps({"user": [1, 2], "item": ["a", "b"], "rating": [1.5, 2]}),
        "nested.jsonl": '{"user":{"id":1},"item":[1,2],"rating":null}\n{"user":"2","item":"x","rating":"3"}\n',
        "yelp.json": '{"user_id":"u","business_id":"b","stars":4.0,"date":"2016-03-09 00:00:00"}\n',
        "kdd.txt": "0|3\n500001\t90\t1923\t05:49:00\n500002\t90\t1924\t06:10:00\n0|6\n",
        "jester.csv": "3,-1.5,2.5,99\n2,3.5,99,-0.5\n",
        "coordinate.mtx": matrix
        + "coordinate real general\n% rows columns entries\n3 3 3\n1 1 5\n2 3 4.5\n3 2 1e0\n",
        "pattern.mtx": matrix + "coordinate pattern general\n2 2 2\n1 1\n2 2\n",
        "symmetric.mtx": matrix + "coordinate integer symmetric\n3 3 3\n1 1 5\n2 1 4\n3 3 1\n",
        "skew.mtx": matrix + "coordinate real skew-symmetric\n3 3 2\n2 1 4\n3 2 1\n",
        "array.mtx": matrix + "array real general\n2 2\n1.5\n2\n0\n4\n",
        "complex.mtx": matrix + "coordinate complex hermitian\n2 2 1\n2 1 1 2\n",
        "bom.csv": b"\xef\xbb\xbf" + _table(",", "user,item,rating", n=3).encode(),
        "utf16.csv": _quoted(",").encode("utf-16"),
        "latin1.csv": _quoted(";").encode("latin-1"),
        "cut-utf8.csv": _quoted(",").encode()[:-8] + b"\xc3",
        "nul.csv": b"1,2,3\n4,\x00,5\n",
        "surrogates.csv": b"user,item,rating\n\xed\xa0\x80,1,2\n3,4,5\n",
        "no-table.txt": "this is no table\nbut a text\n",
        "one-byte.txt": "1",
    }
    return {
        name: text if isinstance(text, bytes) else text.encode() for name, text in files.items()
    }


def _packed() -> Iterator[tuple[str, bytes]]:
    text = _table(",", "userId,movieId,rating,timestamp").encode()
    yield ".csv.gz", gzip.compress(text, mtime=0)
    yield ".csv.gz", gzip.compress(text, mtime=0) * 2
    yield ".gz", gzip.compress(text, mtime=0)[:-5]
    yield ".bz2", bz2.compress(text)
    yield ".xz", lzma.compress(text)
    for codec in ("zstd", "lz4"):
        target = pa.BufferOutputStream()
        with pa.CompressedOutputStream(target, codec) as stream:
            stream.write(text)
        yield ".zst", bytes(target.getvalue())
    for members in (
        {"ratings.csv": text},
        {"ml/ratings.csv": text, "ml/README": b"about", "__MACOSX/ml/._ratings.csv": b"\0"},
        {"a.csv": text, "b.csv": text},
    ):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)
        yield ".zip", target.getvalue()


def _binary() -> Iterator[tuple[str, bytes]]:
    from pyarrow import feather, orc, parquet

    users, items, values, times = map(list, zip(*_ROWS, strict=True))
    table = pa.table({"user": users, "item": items, "rating": pa.array(values, pa.float32())})
    named = pa.table(
        dict(zip(("userId", "itemId", "rating"), zip(*_NAMED, strict=True), strict=True))
    )
    timed = table.append_column("timestamp", pa.array(times, pa.timestamp("s")))
    for each in (table, named, timed):
        for suffix, write in (
            (".parquet", parquet.write_table),
            (".feather", feather.write_feather),
            (".orc", orc.write_table),
        ):
            target = io.BytesIO()
            write(each, target)
            yield suffix, target.getvalue()
    for new in (pa.ipc.new_file, pa.ipc.new_stream):
        target = io.BytesIO()
        with new(target, table.schema) as writer:
            writer.write_table(table)
        yield ".arrow", target.getvalue()
    arrays: list[dict[str, Any]] = [
        {"users": np.array(users), "items": np.array(items), "ratings": np.array(values, np.float32)},
        {
            "users": np.array([0, 1, 1]), "items": np.array([1, 0, 1]), "values": np.ones(3),
            "user_ids": np.array(["a", "b"]), "item_ids": np.array([10, 20]),
            "timestamps": np.arange(3),
        },
    ]  # fmt: skip
    for each in arrays:
        target = io.BytesIO()
        np.savez(target, **each)
        yield ".npz", target.getvalue()
    target = io.BytesIO()
    np.savez_compressed(target, **arrays[0])
    yield ".npz", target.getvalue()
    target = io.BytesIO()
    np.save(target, np.eye(3))
    yield ".npz", target.getvalue()
    yield ".pkl", pickle.dumps([(1, 2, 3.0)], protocol=4)
    yield from _sparse()


def _sparse() -> Iterator[tuple[str, bytes]]:
    from scipy import sparse

    for layout in ("csr", "csc", "coo", "dia", "bsr"):
        target = io.BytesIO()
        sparse.save_npz(target, sparse.random_array((4, 3), density=0.5, format=layout, rng=0))
        yield ".npz", target.getvalue()


def seeds() -> Iterator[bytes]:
    """Inputs of `targets.read_file`."""
    files = texts()
    for name, content in sorted(files.items()):
        end = Path(name).suffix
        suffix = end if end in SUFFIXES else ".txt"
        yield encode(content, suffix=suffix)
        yield encode(content, suffix=suffix, on_error="skip", block=7)
        yield encode(content, suffix=suffix, function="read_pairs", ids="str", strip=True)
        yield encode(content, suffix=suffix, function="peek")
        if end in (".csv", ".tsv"):
            sep = {".csv": ",", ".tsv": "\t"}[end]
            for on_error in ("raise", "skip"):
                yield encode(content, function="plain", sep=sep, on_error=on_error)
    for name, options in (
        ("spark.csv", {"escape": "\\"}),
        ("single-quotes.csv", {"quote": "'"}),
        ("decimal-thousands.csv", {"decimal": ",", "thousands": "."}),
        ("two-pipes.txt", {"sep": "||"}),
        ("latin1.csv", {"encoding": "latin-1"}),
        ("blanks.txt", {"sep": r"\s+"}),
        ("uuids.csv", {"ids": "uuid"}),
        ("plain.csv", {"columns": CHOICES["columns"][1], "header": False}),
    ):
        yield encode(files[name], **options)
    for suffix, content in (*_packed(), *_binary()):
        yield encode(content, suffix=suffix)
        yield encode(content, suffix=suffix, function="peek")
    # The content of one format read as another.
    for name in FORMATS:
        yield encode(files["movielens.csv"], format=name)
        yield encode(files["lines.jsonl"], format=name)


def model_seeds() -> Iterator[bytes]:
    """Inputs of `targets.load_model`: small models, in files of both formats."""
    ratings = wf.datasets.make_ratings(8, 6, 24, random_state=0).ratings
    users = [f"u{code}" for code in ratings.users]
    model = wf.MatrixFactorization(n_factors=2, n_epochs=2, n_threads=1, random_state=0, verbose=0)
    named = wf.Ratings.from_arrays(users, ratings.items, ratings.values)
    formula = wf.losses.CustomLoss.from_text("(r - x)**2")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for data in (ratings, named):
            model.fit(data, validation=data).save(path)
            whole = path.read_bytes()
            yield whole
        header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])
        params = json.loads(header["__metadata__"]["params"]) | {
            "loss": {"formula": formula.to_text()}
        }
        tensors = {
            name: (each["dtype"], each["shape"], _body(whole)[slice(*each["data_offsets"])])
            for name, each in header.items()
            if name != "__metadata__"
        }
        metadata = header["__metadata__"] | {"params": json.dumps(params)}
        yield pack_model(tensors, metadata)
        model.fit(ratings)
        yield _first_format(model.model_)


def formula_seeds() -> Iterator[bytes]:
    """Inputs of `targets.train_formula`."""
    yield from (
        b"(r - x)**2", b"where(x > r, 2, 1)*(r - x)**2", b"log(1 + exp(-r*x))", b"sqrt((x - r)**2 + 1)",
        b"abs(x - clip(r, x/2, 4.5))", b"maximum(0, 1 - r*x)**2", b"log(cosh(x - r))", b"tanh(tanh(x - r))**2",
        b"x - r*log(softplus(x))", b"where((x > r) & ~(x == 2), sigmoid(x), -expm1(-x)*arctan(r))",
        b"(x + r)**(1.5 + sin(r)*minimum(x, 3))", b"sinh(x)*sign(x - r) + log1p(x**2)*cos(x) + 1e-3",
    )  # fmt: skip


def _body(whole: bytes) -> bytes:
    return whole[8 + int.from_bytes(whole[:8], "little") :]


def _first_format(model: Any) -> bytes:
    """A file as the first warpfactor wrote it."""
    indptr, seen = model.seen_
    arrays = {
        "user_factors": model.user_factors_, "item_factors": model.item_factors_,
        "user_biases": model.user_biases_, "item_biases": model.item_biases_,
        "user_known": model.user_known_, "item_known": model.item_known_,
        "seen_indptr": indptr, "seen_items": seen,
        "user_ids.values": model.user_ids_, "item_ids.values": model.item_ids_,
    }  # fmt: skip
    types = {"f4": "F32", "i8": "I64", "i4": "I32", "b1": "BOOL"}
    history = [
        {key: value for key, value in epoch.items() if not key.endswith("_loss")}
        for epoch in model.history_
    ]
    fitted = {
        "global_mean": model.global_mean_, "rating_mean": model.rating_mean_, "n_epochs": 2,
        "n_threads": 1, "instruction_set": "avx2",
        "history": [
            {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in epoch.items()} for epoch in history
        ],
    }  # fmt: skip
    metadata = {
        "format": "warpfactor.MatrixFactorization", "format_version": "1",
        "warpfactor_version": "0.1.0", "user_ids": "int", "item_ids": "int",
        "fitted": json.dumps(fitted), "params": json.dumps({"n_factors": 2, "unknown": "nan"}),
    }  # fmt: skip
    tensors = {
        name: (types[array.dtype.str[1:]], list(array.shape), np.ascontiguousarray(array).tobytes())
        for name, array in arrays.items()
    }
    return pack_model(tensors, metadata)
