#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1: csv.read_csv takes texts like 0x10 for hexadecimal integers, so that the ids 0x10 and 16 become one. Texts
# of 16 digits, as hashes have, it takes for the bits of a signed integer: 0xdeadbeefcafebabe becomes -2401053089206453570.
# Yet decimal digits beyond int64 become float64, and one id of 17 hexadecimal digits makes the whole column text. pandas
# 3.1.1 and Polars 2.1.0 leave all of them texts. Met in warpfactor's reader of ids, which cannot leave it to Arrow to find
# out what is an integer, and asks for texts.
# Seen:
#   ['0x10', '16']: int64, [16, 16]
#   ['0xdeadbeefcafebabe', '0x10']: int64, [-2401053089206453570, 16]
#   ['0xdeadbeefcafebabe1', '0x10']: string, ['0xdeadbeefcafebabe1', '0x10']
#   pandas: ['0xdeadbeefcafebabe', '0x10']
#   Polars: ['0xdeadbeefcafebabe', '0x10']
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1 polars==2.1.0
"$folder/venv/bin/python" - <<'PYTHON'
import io

import pandas as pd
import polars as pl
from pyarrow import csv


def file(ids):
    return io.BytesIO(("item,rating\n" + "".join(f"{id},5\n" for id in ids)).encode())


HASHES = ["0xdeadbeefcafebabe", "0x10"]
LONG = ["0xdeadbeefcafebabe1", "0x10"]
for ids, wanted in (
    (["0x10", "16"], [16, 16]),
    (HASHES, [-2401053089206453570, 16]),
    (LONG, LONG),
):
    items = csv.read_csv(file(ids))["item"]
    print(f"{ids}: {items.type}, {items.to_pylist()}")
    assert items.to_pylist() == wanted, "pyarrow behaves differently now"
for package, items in (
    ("pandas", pd.read_csv(file(HASHES))["item"].tolist()),
    ("Polars", pl.read_csv(file(HASHES))["item"].to_list()),
):
    print(f"{package}: {items}")
    assert items == HASHES, f"{package} behaves differently now"
PYTHON
