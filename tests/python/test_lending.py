"""What Arrow's threads get of Python's objects has come back when a reader returns."""

from __future__ import annotations

import gzip
import io
import json
import threading
import time

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

from warpfactor import read_ratings
from warpfactor.data.formats import lending


@pytest.mark.parametrize("given", ["bytes", "file"])
@pytest.mark.parametrize("fails", [False, True])
def test_a_reader_is_left_when_its_thread_has_let_go(given, fails):
    given = b"1,2\n" if given == "bytes" else io.BytesIO(b"1,2\n")
    has_let_go = threading.Event()

    def reads_on(held):
        mine = held.pop()
        assert mine.read(8) is not None
        time.sleep(0.05)
        has_let_go.set()

    def read(source, **options):
        assert options == {"size": 3}
        threading.Thread(target=reads_on, args=([source],)).start()
        if fails:
            raise pa.ArrowInvalid("no")
        return "read"

    if fails:
        with pytest.raises(pa.ArrowInvalid):
            lending.read_lent(read, given, size=3)
    else:
        assert lending.read_lent(read, given, size=3) == "read"
    assert has_let_go.is_set()


def test_a_thread_that_keeps_the_bytes_is_not_awaited_for_ever(monkeypatch):
    monkeypatch.setattr(lending, "_LONGEST_WAIT", 0.05)
    kept = []
    started = time.monotonic()
    lending.read_lent(kept.append, b"1,2\n")
    assert 0.05 <= time.monotonic() - started < 2


def test_blocks_of_a_file_are_lent_one_by_one(monkeypatch):
    text = b"a,b\n" + b"1,2\n" * 500_000
    most = 0

    class Watched(lending.Loans):
        def array(self, data):
            nonlocal most
            array = super().array(data)
            most = max(most, len(self._lent))
            return array

    monkeypatch.setattr(lending, "Loans", Watched)
    table = lending.read_lent(
        arrow_csv.read_csv, io.BytesIO(text), read_options=arrow_csv.ReadOptions(block_size=1 << 12)
    )
    assert len(table) == 500_000
    # Notes of what has come back do not pile up.
    assert most < 400


@pytest.mark.parametrize(
    "name", ["plain.csv", "quoted.csv", "two.dat", "blanks.txt", "r.mtx", "r.jsonl", "r.parquet.gz"]
)
def test_every_format_returns_its_loans(name, tmp_path, monkeypatch):
    users, items = (np.arange(600) % n for n in (20, 30))
    values = users % 5 + 1.0
    rows = list(zip(users.tolist(), items.tolist(), values.tolist(), strict=True))
    path = tmp_path / name
    if name == "plain.csv":
        path.write_text("user,item,rating\n" + "".join(f"{u},{i},{v}\n" for u, i, v in rows))
    elif name == "quoted.csv":
        path.write_text("user,item,rating\n" + "".join(f'"{u}","a, {i}",{v}\n' for u, i, v in rows))
    elif name == "two.dat":
        path.write_text("".join(f"{u}::{i}::{v}::9\n" for u, i, v in rows))
    elif name == "blanks.txt":
        path.write_text("".join(f"{u}  {i}\t {v}\n" for u, i, v in rows))
    elif name == "r.mtx":
        lines = "".join(f"{u + 1} {i + 1} {v}\n" for u, i, v in dict.fromkeys(rows))
        n = lines.count("\n")
        path.write_text(f"%%MatrixMarket matrix coordinate real general\n20 30 {n}\n{lines}")
    elif name == "r.jsonl":
        path.write_text(
            "".join(json.dumps({"user": u, "item": i, "rating": v}) + "\n" for u, i, v in rows)
        )
    else:
        from pyarrow import parquet

        sink = io.BytesIO()
        parquet.write_table(pa.table({"user": users, "item": items, "rating": values}), sink)
        path.write_bytes(gzip.compress(sink.getvalue()))

    waits = []
    wait = lending.Loans.await_return

    def watched(self):
        lent = list(self._lent)
        wait(self)
        waits.append([each() for each in lent])

    monkeypatch.setattr(lending.Loans, "await_return", watched)
    ratings = read_ratings(path)
    assert len(ratings) == len(set(rows) if name == "r.mtx" else rows)
    assert bool(waits) == (name != "r.parquet.gz")
    assert not any(left is not None for lent in waits for left in lent)
