#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# DuckDB 2.0.1: read_csv finds the types of columns in the first 20480 rows. If the ratings there are whole, a later 3.5 is
# read as 4 and 2.5 as 3, and a later id 007 as 7, without a warning. One expects an error: a later "good" does stop the
# reading with one, and among the first rows the same 3.5 and 007 make the columns DOUBLE and VARCHAR. Files in order of time
# are like that where half stars were introduced later. pandas 3.1.1 and pyarrow 26.0.1 read these ratings as they are, and Polars
# 2.1.0 refuses the file. Met when comparing what warpfactor's reader of rating files gives with what others give.
# Seen, of the last rows "7,1,3.5" and "007,2,2.5":
#   DuckDB, after 100 rows: [('7', 1, 3.5), ('007', 2, 2.5)]
#   DuckDB, after 30000 rows: [(7, 1, 4), (7, 2, 3)]
#   DuckDB, a text after 30000 rows: ConversionException
#   pandas, after 30000 rows: [3.5, 2.5]
#   pyarrow, after 30000 rows: [3.5, 2.5]
#   Polars, after 30000 rows: ComputeError
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.1 pandas==3.1.1 polars==2.1.0 pyarrow==26.0.1
"$folder/venv/bin/python" - "$folder/ratings.csv" <<'PYTHON'
import sys

import duckdb
import pandas as pd
import polars as pl
from pyarrow import csv

path = sys.argv[1]


def write(n_rows, last="7,1,3.5\n007,2,2.5\n"):
    with open(path, "w") as file:
        file.write("user,item,rating\n" + "1,2,3\n" * n_rows + last)


def last_two():
    return duckdb.read_csv(path).fetchall()[-2:]


write(100)
early = last_two()
print(f"DuckDB, after 100 rows: {early}")
write(30000, "7,1,good\n")
try:
    last_two()
except duckdb.ConversionException as error:
    refusal = type(error).__name__
else:
    raise AssertionError("DuckDB behaves differently now")
write(30000)
late = last_two()
print(f"DuckDB, after 30000 rows: {late}")
print(f"DuckDB, a text after 30000 rows: {refusal}")
assert early == [("7", 1, 3.5), ("007", 2, 2.5)], "DuckDB behaves differently now"
assert late == [(7, 1, 4), (7, 2, 3)], "DuckDB behaves differently now"

others = {
    "pandas": pd.read_csv(path)["rating"].tolist()[-2:],
    "pyarrow": csv.read_csv(path)["rating"].to_pylist()[-2:],
}
for package, ratings in others.items():
    print(f"{package}, after 30000 rows: {ratings}")
    assert ratings == [3.5, 2.5], f"{package} behaves differently now"
try:
    pl.read_csv(path)
except pl.exceptions.ComputeError as error:
    print(f"Polars, after 30000 rows: {type(error).__name__}")
else:
    raise AssertionError("Polars behaves differently now")
PYTHON
