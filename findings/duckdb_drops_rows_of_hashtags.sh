#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# DuckDB 2.0.1: read_csv leaves out well-formed rows that begin with # as comments, without a word, if the first column is
# then one of numbers. Nothing in the call or in the file speaks of comments; the rows have all their fields. Of ratings of
# tags, most of them like #sunset1 and ten of them years, ten of 2000 rows are left. All are there if the file is longer, if
# one more tag is a plain word, or if the tags are the second column. pandas 3.1.1, Polars 2.1.0 and pyarrow 26.0.1 read all.
# Met when comparing what warpfactor's reader of ids gives with what others give.
# Seen, of 2000 rows and more:
#   DuckDB: 10 rows of 2000, items BIGINT
#   DuckDB, three times as long: 6000 rows of 6000, items VARCHAR
#   DuckDB, with a plain word: 2001 rows of 2001, items VARCHAR
#   DuckDB, items in the second column: 2000 rows of 2000, items VARCHAR
#   pandas: 2000 rows of 2000
#   Polars: 2000 rows of 2000
#   pyarrow: 2000 rows of 2000
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
tags = [str(year) for year in range(2001, 2011)] + [f"#sunset{at}" for at in range(1990)]


def write(header, rows):
    with open(path, "w") as file:
        file.write("".join(f"{row}\n" for row in (header, *rows)))


def by_duckdb(case, header, rows, wanted):
    write(header, rows)
    table = duckdb.read_csv(path)
    n_read, kind = len(table.fetchall()), table.types[table.columns.index("item")]
    print(f"DuckDB{case}: {n_read} rows of {len(rows)}, items {kind}")
    assert n_read == wanted, "DuckDB behaves differently now"


rows = [f"{tag},7,5" for tag in tags]
by_duckdb("", "item,user,rating", rows, 10)
by_duckdb(", three times as long", "item,user,rating", rows * 3, 6000)
by_duckdb(", with a plain word", "item,user,rating", [*rows, "sunset,7,5"], 2001)
second = [f"7,{tag},5" for tag in tags]
by_duckdb(", items in the second column", "user,item,rating", second, 2000)

write("item,user,rating", rows)
others = {
    "pandas": len(pd.read_csv(path)),
    "Polars": len(pl.read_csv(path, infer_schema_length=None)),
    "pyarrow": len(csv.read_csv(path)),
}
for package, n_read in others.items():
    print(f"{package}: {n_read} rows of {len(rows)}")
    assert n_read == len(rows), f"{package} behaves differently now"
PYTHON
