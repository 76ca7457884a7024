#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1 and Polars 2.1.0: a list of datetimes of which some have a time zone becomes one column without a word. If
# the first has none, the others become UTC without saying so, among local times; if the first has one, those without are
# taken for UTC. The type of the column depends on which row comes first, and so does the order of the rows in time. Python
# refuses to compare the two kinds, and pandas 3.1.1 to convert them. Met in warpfactor's reader of times: of a log whose
# program began to write zones one day, a split by time would put ratings into the wrong part by hours.
# Seen:
#   pyarrow, naive first: timestamp[us], 12:00 07:00
#   pyarrow, zoned first: timestamp[us, tz=+05:00], 12:00 17:00
#   Polars, naive first: Datetime(time_unit='us', time_zone=None), 12:00 07:00
#   Polars, zoned first: Datetime(time_unit='us', time_zone='UTC'), 07:00 12:00
#   Python: TypeError: can't compare offset-naive and offset-aware datetimes
#   pandas: ValueError: Tz-aware datetime.datetime cannot be converted to datetime64 unless utc=True
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
from datetime import datetime, timedelta, timezone

import pandas as pd
import polars as pl
import pyarrow as pa

naive = datetime(2020, 1, 1, 12)
zoned = datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
orders = {"naive first": [naive, zoned], "zoned first": [zoned, naive]}


def by_arrow(times):
    column = pa.array(times)
    return column.type, column.to_pylist()


def by_polars(times):
    column = pl.Series(times)
    return column.dtype, column.to_list()


for package, convert in (("pyarrow", by_arrow), ("Polars", by_polars)):
    kinds = set()
    for name, times in orders.items():
        kind, given = convert(times)
        print(f"{package}, {name}: {kind}, {' '.join(f'{time:%H:%M}' for time in given)}")
        kinds.add(kind)
    assert len(kinds) == 2, f"{package} behaves differently now"
for package, ask, refusal in (
    ("Python", lambda: naive < zoned, TypeError),
    ("pandas", lambda: pd.to_datetime([naive, zoned]), ValueError),
):
    try:
        ask()
    except refusal as error:
        print(f"{package}: {type(error).__name__}: {error}")
    else:
        raise AssertionError(f"{package} behaves differently now")
PYTHON
