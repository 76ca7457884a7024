#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1: write_csv with quoting_style="needed", which is also the default, quotes every string and every name in
# the header, whether or not there is anything in it to quote; so what is "needed" goes by a column's type and not by its
# values. quoting_style="none" writes the same strings bare, but refuses a column with a quote or separator in it. Tools
# that split lines at commas (cut, awk, LIBMF's reader) then see the quotes as part of the id.
# Seen:
#   needed: '"user","rating"\n"u1",4.5\n"u2",3\n'
#   none: '"user","rating"\nu1,4.5\nu2,3\n'
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import io

import pyarrow as pa
from pyarrow import csv

table = pa.table({"user": ["u1", "u2"], "rating": [4.5, 3.0]})
wanted = {
    "needed": '"user","rating"\n"u1",4.5\n"u2",3\n',
    "none": '"user","rating"\nu1,4.5\nu2,3\n',
}
for style, text in wanted.items():
    written = io.BytesIO()
    csv.write_csv(table, written, csv.WriteOptions(quoting_style=style))
    print(f"{style}: {written.getvalue().decode()!r}")
    assert written.getvalue().decode() == text, "pyarrow behaves differently now"
try:
    csv.write_csv(pa.table({"user": ["a,b"]}), io.BytesIO(), csv.WriteOptions(quoting_style="none"))
except pa.ArrowInvalid as error:
    print(f"none, with a separator in a value: {error}")
else:
    raise AssertionError("pyarrow behaves differently now")
PYTHON
