"""Changes of fuzzed inputs that know how tables, archives and model files are built."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from targets import CHOICES, HEADER

__all__ = ["mutate_file", "mutate_model", "pack_model"]

# Changes bytes at random to at most so many: libFuzzer's own, or a plain one.
Blind = Callable[[bytes, int], bytes]

_TOKENS = [
    *(b",", b";", b"\t", b"|", b"::", b" ", b"  ", b"\x01", b"\x1f", b"\x1e", b"\x1c", b":"),
    *(b'"', b'""', b'"""', b"'", b"\\", b'\\"', b"\\\\", b'","', b'"\n"', b'"\n', b'\n"', b'" '),
    *(b"\n", b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\x85", b"\x0b", b"\x0c", b"\xe2\x80\xa8"),
    *(b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1a", b"\x7f", b"\x1b$B"),
    *(b"\xc3\xa9", b"\xe9", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xc0\x80", b"\xc2\xa0"),
    *(b"0", b"1", b"-1", b"007", b"1.0", b"+5", b"-0", b".5", b"5.", b"1e5", b"1e999", b"1e-999"),
    *(b"4*", b"1,5", b"1.234,5", b"1,234", b"1_000", b"0x10", b"\xd9\xa3", b"infinity", b"-inf"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616", b"966666603"),
    *(b"3.4028236e38", b"1" * 40, b"2003-01-01", b"2003-01-01T00:00:00Z", b"9999-99-99"),
    *(b"NaN", b"nan", b"NULL", b"\\N", b"NA", b"None", b"null", b"?", b"-", b"true"),
    *(b"user", b"item", b"rating", b"timestamp", b"userId", b"user_id:token", b"rating:float"),
    *(
        b"user,item,rating\n",
        b"user_id:token\titem_id:token\trating:float\n",
        b",user,item,rating\n",
    ),
    *(b"#", b"%", b"# user item rating\n", b"% sym unweighted\n", b"//", b"--"),
    *(b"%%MatrixMarket matrix coordinate real general\n", b"3 3 3\n", b"1 1 5\n", b"pattern"),
    *(
        b"%%MatrixMarket matrix array integer symmetric\n",
        b"complex",
        b"skew-symmetric",
        b"hermitian",
    ),
    *(b'{"user": 1, "item": 2, "rating": 3}\n', b"{", b"}", b"[", b"]", b'"a":', b"null"),
    *(
        b"1:\n",
        b"-1:\n",
        b"1000001,3,2005-09-06\n",
        b"product/productId: B1\n",
        b"review/score: 5\n",
    ),
    *(b"1::2::3::4\n", b"1\t2\t3\t881111111\n", b'"900001";"111111111X";"0"\n', b"A1,B1,5.0,1\n"),
    *(b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", b"\\u00e9", b"+AGEA-", b"&amp;"),
]
_SEPARATORS = (b",", b";", b"\t", b"|", b"::", b" ", b"\x01")


def mutate_file(data: bytes, size: int, rng: random.Random, blind: Blind) -> bytes:
    """Change an input of the readers: its options, its content, or what is packed in it."""
    header, content = data[:HEADER].ljust(HEADER, b"\0"), data[HEADER:]
    if rng.random() < 0.15:
        header = _options(header, rng)
    if rng.random() < 0.9:
        content = _content(content, max(size - HEADER, 1), rng, blind)
    return (header + content)[:size]


def _options(header: bytes, rng: random.Random) -> bytes:
    changed = bytearray(header)
    at, choices = rng.choice(list(enumerate(CHOICES.values())))
    changed[at] = rng.randrange(len(choices))
    if rng.random() < 0.3:
        # Back to a default, so that options do not pile up.
        changed[rng.randrange(HEADER)] = 0
    return bytes(changed)


def _content(content: bytes, size: int, rng: random.Random, blind: Blind) -> bytes:
    unpacked = _unpacked(content) if rng.random() < 0.8 else None
    if unpacked is not None:
        inner, pack = unpacked
        return pack(_content(inner, size, rng, blind))
    if content[:4] in (b"PAR1", b"FEA1", b"ARRO") or content[:3] == b"ORC":
        return _columnar(rng) if rng.random() < 0.3 else blind(content, size)
    if content.startswith(b"PK\x03\x04") and rng.random() < 0.8:
        return _archive(content, size, rng, blind)
    if rng.random() < 0.15:
        return blind(content, size)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        content = _text(content, rng)[: 16 * size]
    if rng.random() < 0.03:
        content = rng.choice(list(_PACKERS.values()))(content[: size // 2])
    return content


# --- text --------------------------------------------------------------------------------------


def _text(text: bytes, rng: random.Random) -> bytes:
    match rng.randrange(12):
        case 0 | 1 | 2:
            at = _place(text, rng)
            return text[:at] + rng.choice(_TOKENS) * rng.choice((1, 1, 1, 2)) + text[at:]
        case 3 | 4:
            return _in_field(text, rng)
        case 5 | 6:
            return _in_lines(text, rng)
        case 7:
            old, new = rng.choice(_SEPARATORS), rng.choice(_SEPARATORS)
            return text.replace(old, new, rng.choice((1, -1)))
        case 8:
            old, new = rng.sample((b"\n", b"\r\n", b"\r"), 2)
            return text.replace(old, new, rng.choice((1, -1)))
        case 9:
            at, n = _place(text, rng), rng.choice((1, 1, 2, 4, 16))
            return text[:at] + text[at + n :]
        case 10:
            # Many equal rows, as a sample of a large file has.
            lines = text.splitlines(keepends=True)
            first = rng.randrange(len(lines) or 1)
            return b"".join(lines[: first + 1] + lines[first:] * rng.choice((1, 3, 20)))
    encoding = rng.choice(("utf-16", "utf-16-le", "utf-8-sig", "latin-1", "utf-32", "cp1252"))
    return text.decode("utf-8", "ignore").encode(encoding, "ignore")


def _place(text: bytes, rng: random.Random) -> int:
    ends = (
        [match.end() for match in re.finditer(rb"[,;|\t\r\n\":]", text)]
        if rng.random() < 0.6
        else []
    )
    return rng.choice(ends) if ends else rng.randint(0, len(text))


def _in_field(text: bytes, rng: random.Random) -> bytes:
    fields = [match.span() for match in re.finditer(rb"[^,;|\t\r\n:]+", text)]
    if not fields:
        return rng.choice(_TOKENS)
    begin, end = rng.choice(fields)
    field = text[begin:end]
    other = rng.choice(fields)
    new = rng.choice(
        (
            *(b'"' + field + b'"', b'"' + field, field + b'"', b" " + field, field + b" ", b""),
            *(
                b'"' + field + b'\n"',
                b'"' + field + b',"',
                b'"' + field.replace(b'"', b'""') + b'"',
            ),
            *(rng.choice(_TOKENS), field + rng.choice(_TOKENS), text[other[0] : other[1]]),
            *(str(rng.randrange(-9, 2 ** rng.choice((4, 8, 33, 64)))).encode(), field * 2),
        )
    )
    return text[:begin] + new + text[end:]


def _in_lines(text: bytes, rng: random.Random) -> bytes:
    lines = text.splitlines(keepends=True)
    if len(lines) < 2:
        return text + b"\n" + text
    a, b = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(6):
        case 0:
            lines[a], lines[b] = lines[b], lines[a]
        case 1:
            del lines[a]
        case 2:
            lines.insert(b, lines[a])
        case 3:
            lines[a] = lines[a] + lines[b].strip()
        case 4:
            lines[a] = rng.choice(_SEPARATORS).join(lines[a].split(rng.choice(_SEPARATORS)))
        case 5:
            sep = rng.choice(_SEPARATORS)
            column = rng.randrange(4)
            for at, line in enumerate(lines):
                fields = line.split(sep)
                if len(fields) > column + 1:
                    fields[column] = b'"' + fields[column] + b'"'
                lines[at] = sep.join(fields)
    return b"".join(lines)


# --- what packs or holds tables ------------------------------------------------------------------


def _zipped(content: bytes, name: str = "ratings.csv", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), content, method)
    return target.getvalue()


def _by_arrow(codec: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        target = pa.BufferOutputStream()
        with pa.CompressedOutputStream(target, codec) as stream:
            stream.write(content)
        return bytes(target.getvalue())

    return pack


_PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": lambda content: gzip.compress(content, 1, mtime=0),
    b"BZh": lambda content: bz2.compress(content, 1),
    b"\xfd7zXZ": lambda content: lzma.compress(content, preset=0),
    b"\x28\xb5\x2f\xfd": _by_arrow("zstd"),
    b"\x04\x22\x4d\x18": _by_arrow("lz4"),
    b"PK": _zipped,
}
_LARGEST = 1 << 20


def _unpacked(content: bytes) -> tuple[bytes, Callable[[bytes], bytes]] | None:
    """What is packed in a file, and what packs it again; None if it is not packed, or damaged."""
    for mark, pack in _PACKERS.items():
        if not content.startswith(mark) or mark == b"PK":
            continue
        try:
            match mark[:1]:
                case b"\x1f":
                    return zlib.decompressobj(31).decompress(content, _LARGEST), pack
                case b"B":
                    return bz2.BZ2Decompressor().decompress(content, _LARGEST), pack
                case b"\xfd":
                    return lzma.LZMADecompressor().decompress(content, _LARGEST), pack
            codec = "zstd" if mark.startswith(b"\x28") else "lz4"
            with pa.CompressedInputStream(pa.BufferReader(content), codec) as stream:
                return stream.read(_LARGEST), pack
        except (OSError, zlib.error, lzma.LZMAError, EOFError, ValueError):
            return None
    return None


def _archive(content: bytes, size: int, rng: random.Random, blind: Blind) -> bytes:
    """Change one member of a zip archive: a text, or an array with its header."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {
                info.filename: archive.read(info)
                for info in archive.infolist()
                if info.file_size < _LARGEST
            }
    except Exception:  # noqa: BLE001 - whatever a damaged archive makes Python raise
        return blind(content, size)
    if not members:
        return _zipped(b"1,2,3\n")
    name = rng.choice(list(members))
    inner = members[name]
    match rng.randrange(8):
        case 0:
            members.pop(name)
        case 1:
            members[
                rng.choice(("users.npy", "items.npy", "ratings.npy", "user_ids.npy", "a.csv"))
            ] = inner
        case 2:
            members[name] = members[rng.choice(list(members))]
        case 3:
            members[name] = _array(rng)
        case 4 if inner.startswith(b"\x93NUMPY"):
            members[name] = _array_header(inner, rng)
        case _:
            members[name] = (
                blind(inner, size) if name.endswith(".npy") else _content(inner, size, rng, blind)
            )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", rng.choice((0, 0, 8, 12, 14))) as archive:
        for name, inner in members.items():
            archive.writestr(zipfile.ZipInfo(name), inner)
    return target.getvalue()


_DTYPES = (
    "<i8",
    ">i4",
    "<f4",
    "<f8",
    "<f2",
    "|b1",
    "<U3",
    "|S3",
    "<u8",
    "<c8",
    "<M8[s]",
    "|u1",
    "|V4",
)


def _array(rng: random.Random) -> bytes:
    shape = rng.choice(((3,), (3,), (0,), (), (3, 1), (4,)))
    dtype = np.dtype(rng.choice(_DTYPES))
    raw = rng.randbytes(int(np.prod(shape)) * dtype.itemsize)
    array = np.frombuffer(raw, dtype).reshape(shape) if raw else np.zeros(shape, dtype)
    if rng.random() < 0.5 and dtype.kind in "iuf":
        array = np.arange(array.size).astype(dtype).reshape(shape)
    target = io.BytesIO()
    np.lib.format.write_array(target, array, allow_pickle=False)
    return target.getvalue()


def _array_header(inner: bytes, rng: random.Random) -> bytes:
    old = re.search(rb"\((\d*),?\)", inner)
    new = rng.choice(
        (b"(-1,)", b"(9999999999,)", b"(3, 99999999999)", b"()", b"(0,)", b"(2,)", b"(1, 2)")
    )
    if rng.random() < 0.3:
        dtype = rng.choice((*_DTYPES, "|O", "<i3", "O8", "<U999999999"))
        return re.sub(rb"'descr': '[^']*'", b"'descr': '" + dtype.encode() + b"'", inner)
    return inner.replace(old[0], new, 1) if old else inner


def _columnar(rng: random.Random) -> bytes:
    """A small table of columns of any types, in a format of Arrow's."""
    n = rng.choice((0, 1, 3, 3, 3))
    names = rng.choice(
        (("user", "item", "rating"), ("user", "item", "rating", "timestamp"), ("a", "a", "b"))
    )
    table = pa.table([_column(rng, n) for _ in names], names=list(names))
    target = io.BytesIO()
    try:
        _write_columnar(table, target, rng)
    except (pa.ArrowException, OSError, ValueError):
        return b"PAR1"
    return target.getvalue()


def _write_columnar(table: Any, target: Any, rng: random.Random) -> None:
    from pyarrow import feather, orc, parquet

    match rng.randrange(5):
        case 0:
            feather.write_feather(table, target, rng.choice(("lz4", "zstd", "uncompressed")))
        case 1:
            with pa.ipc.new_file(target, table.schema) as writer:
                writer.write_table(table)
        case 2:
            with pa.ipc.new_stream(target, table.schema) as writer:
                writer.write_table(table, max_chunksize=2)
        case 3:
            orc.write_table(table, target)
        case _:
            parquet.write_table(table, target, use_dictionary=rng.random() < 0.5)


def _column(rng: random.Random, n: int) -> Any:
    some = [rng.choice((0, 1, 2, 3, 5)) for _ in range(n)]
    if rng.random() < 0.2 and n:
        some[rng.randrange(n)] = None
    kinds = [
        *(pa.int64(), pa.int64(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.float16()),
        *(pa.bool_(), pa.date32(), pa.time32("s"), pa.timestamp("ns", "UTC"), pa.duration("s")),
        *(pa.decimal128(5, 1), pa.decimal256(50, 2), pa.string(), pa.large_string(), pa.binary()),
        *(pa.string_view(), pa.binary(16), pa.null(), pa.list_(pa.int64()), pa.uuid()),
        pa.struct([("a", pa.int64())]),
    ]
    kind = rng.choice(kinds)
    texts = [None if each is None else rng.choice(("a", "b", "", "1", "é", "NaN")) for each in some]
    try:
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
            column = pa.array(texts, kind)
        elif pa.types.is_binary(kind):
            column = pa.array([b"\xff" if each is None else each.encode() for each in texts], kind)
        elif kind in (pa.binary(16), pa.uuid()):
            column = pa.array([rng.randbytes(16) for _ in some], pa.binary(16)).cast(kind)
        elif pa.types.is_list(kind):
            column = pa.array([[each] for each in some], kind)
        elif pa.types.is_struct(kind):
            column = pa.array([{"a": each} for each in some], kind)
        elif pa.types.is_floating(kind):
            some = [rng.choice((each, each, float("nan"), float("inf"), 0.5)) for each in some]
            column = pa.array([None if e is None else np.float16(e) for e in some], kind)
        else:
            column = pa.array(some, pa.int64()).cast(kind)
        return column.dictionary_encode() if rng.random() < 0.15 else column
    except (pa.ArrowException, ValueError, TypeError):
        return pa.array(some, pa.int64())


# --- formulas ----------------------------------------------------------------------------------

_ATOMS = ("x", "r", "x", "r", "(x - r)", "2", "0.5", "100", "1e-3", "3", "1e30", "(r - r + 7)")
_AROUND = (
    "(@)**2", "(@)**(@)", "exp(@)", "log(@)", "abs(@)", "-(@)", "tanh(@)", "sinh(@)", "cosh(@)", "sin(@)",
    "sqrt(1 + (@)**2)", "1/(1 + @)", "(@)*(@)", "clip(@, r, x)", "where(@ > r, @, x)", "maximum(@, r)",
    "where((@ < 1) | (r == 2), @, -(@))", "sigmoid(@)", "softplus(@)", "arctan(@)", "log1p(@)", "(@) - r",
)  # fmt: skip


def mutate_formula(data: bytes, size: int, rng: random.Random, blind: Blind) -> bytes:
    """Change the text of a formula: a part of it, or what stands around it."""
    text = data.decode("latin-1")
    if rng.random() < 0.1:
        return blind(data, size)
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        parts = list(re.finditer(r"[xr]|[0-9.]+", text))
        if rng.random() < 0.5 or not parts:
            text = rng.choice(_AROUND).replace("@", text)
        else:
            part = rng.choice(parts)
            new = rng.choice(_ATOMS if rng.random() < 0.5 else _AROUND).replace("@", part[0])
            text = text[: part.start()] + new + text[part.end() :]
    return text.encode("latin-1")[:size] if len(text) <= size else data


# --- model files -------------------------------------------------------------------------------


def pack_model(tensors: dict[str, Any], metadata: dict[str, Any]) -> bytes:
    """Lay out a safetensors file whose checksum fits, of arrays and texts that need not."""
    crc = 0
    header: dict[str, Any] = {"__metadata__": metadata}
    parts, at = [], 0
    is_third = metadata.get("format_version") == "3"
    for name, value in sorted(metadata.items()) if is_third else ():
        if name != "crc32":
            crc = zlib.crc32(f"{name}\0{value}\0".encode("utf-8", "surrogatepass"), crc)
    for name in sorted(tensors):
        dtype, shape, raw = tensors[name]
        lengths = ",".join(map(str, shape)) if isinstance(shape, list) else shape
        said = f"{name}\0{dtype}\0{lengths}\0" if is_third else name
        crc = zlib.crc32(raw, zlib.crc32(said.encode("utf-8", "surrogatepass"), crc))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
        parts.append(raw)
        at += len(raw)
    header["__metadata__"] = {**metadata, "crc32": str(crc)}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def mutate_model(data: bytes, size: int, rng: random.Random, blind: Blind) -> bytes:
    """Change a model file: at random, or one of its parts with the checksum set right again."""
    parts = _model_parts(data) if rng.random() < 0.85 else None
    if parts is None:
        return blind(data, size)
    tensors, metadata = parts
    for _ in range(rng.choice((1, 1, 2, 4))):
        if rng.random() < 0.5 and tensors:
            _mutate_tensor(tensors, rng, blind)
        else:
            _mutate_metadata(metadata, rng, blind)
    return pack_model(tensors, metadata)[:size]


def _model_parts(data: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    try:
        (n,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + n])
        metadata = dict(header.pop("__metadata__"))
        body = data[8 + n :]
        tensors = {
            name: (each["dtype"], each["shape"], body[slice(*each["data_offsets"])])
            for name, each in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, struct.error, RecursionError):
        return None
    return tensors, metadata


_SIZES = {"F64": 8, "F32": 4, "I64": 8, "I32": 4, "U32": 4, "U8": 1, "BOOL": 1, "F16": 2, "BF16": 2}
_SIZES |= {"U64": 8, "I16": 2, "U16": 2, "I8": 1, "F8_E4M3": 1}


def _mutate_tensor(tensors: dict[str, Any], rng: random.Random, blind: Blind) -> None:
    name = rng.choice(list(tensors))
    dtype, shape, raw = tensors[name]
    match rng.randrange(8):
        case 0:
            del tensors[name]
        case 1:
            tensors[name] = tensors[rng.choice(list(tensors))]
        case 2:
            tensors[rng.choice(("user_ids.utf8", "item_ids.offsets", "x", *tensors))] = tensors.pop(
                name
            )
        case 3:
            # Another type over the same bytes.
            other = rng.choice(list(_SIZES))
            if len(raw) % _SIZES[other] == 0:
                tensors[name] = (other, [len(raw) // _SIZES[other]], raw)
        case 4:
            total = len(raw) // _SIZES.get(dtype, 1)
            shapes = ([total], [1, total], [total, 1], [0, 0], [2, total // 2], [])
            shape = rng.choice(shapes)
            tensors[name] = (dtype, shape, raw[: int(np.prod(shape)) * _SIZES.get(dtype, 1)])
        case 5 if shape:
            # One row less, or the first twice.
            row = len(raw) // max(shape[0], 1)
            if rng.random() < 0.5 and shape[0]:
                tensors[name] = (dtype, [shape[0] - 1, *shape[1:]], raw[row:])
            else:
                tensors[name] = (dtype, [shape[0] + 1, *shape[1:]], raw[:row] + raw)
        case _:
            size = _SIZES.get(dtype, 1)
            changed = bytearray(blind(raw, len(raw)).ljust(len(raw), b"\xff")[: len(raw)])
            if rng.random() < 0.5 and len(raw) >= size:
                at = rng.randrange(len(raw) // size) * size
                changed = bytearray(raw)
                special = rng.choice((b"\xff", b"\x7f", b"\x80", b"\0")) * size
                changed[at : at + size] = special
            tensors[name] = (dtype, shape, bytes(changed))


_VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, 10**30, 2**31, "", "x", [], {}, [1, 2], {"a": 1}, "cpu", "cuda"),
    *("int", "str", "uuid", "1", "2", "identity", "probability", "float64", {"formula": "r - x"}),
    *({"formula": "(" * 500}, {"formula": "x**" * 50 + "x"}, {"formula": "9" * 5000}, "nan"),
)


def _mutate_metadata(metadata: dict[str, Any], rng: random.Random, blind: Blind) -> None:
    if not metadata:
        return
    name = rng.choice(list(metadata))
    text = metadata[name]
    try:
        inner = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        inner = None
    if isinstance(inner, (dict, list)) and inner and rng.random() < 0.8:
        _mutate_json(inner, rng)
        metadata[name] = json.dumps(inner)
        return
    match rng.randrange(5):
        case 0:
            del metadata[name]
        case 1:
            metadata[name] = str(rng.choice(_VALUES))
        case 2:
            metadata[name] = "[" * rng.choice((3, 2000)) + str(text)
        case _:
            metadata[name] = blind(str(text).encode(), 2 * len(str(text)) + 8).decode(
                "utf-8", "ignore"
            )


def _mutate_json(inner: Any, rng: random.Random) -> None:
    keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
    key = rng.choice(keys)
    if isinstance(inner[key], (dict, list)) and inner[key] and rng.random() < 0.7:
        _mutate_json(inner[key], rng)
    elif rng.random() < 0.15:
        del inner[key]
    elif isinstance(inner, dict) and rng.random() < 0.15:
        inner[rng.choice(("x", "", "loss", "device", "unknown", "dtype"))] = rng.choice(_VALUES)
    else:
        inner[key] = rng.choice(_VALUES)
