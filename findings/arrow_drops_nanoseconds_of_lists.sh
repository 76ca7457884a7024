#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1 (pandas 3.1.1): a list of pandas.Timestamp becomes a column of microseconds, and the nanoseconds are cut off
# without a word, so that events one nanosecond apart become one. A Series of the same times keeps them, and with
# microseconds asked for it is refused, since that "would lose data"; the list is cut then too. Rows given to
# Table.from_pylist are lists as well. Met in warpfactor's reader of times: the order of ratings, and so a split by time,
# would depend on whether the times come as a list or as a Series.
# Seen:
#   a list: timestamp[us], 1 distinct of 2
#   a list, microseconds asked for: timestamp[us], 1 distinct of 2
#   Table.from_pylist: timestamp[us], 1 distinct of 2
#   a Series: timestamp[ns], 2 distinct of 2
#   a Series, microseconds asked for: refused: Casting from timestamp[ns] to timestamp[us] would lose data: 1000000000000000001
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import pandas as pd
import pyarrow as pa

times = [pd.Timestamp(10**18 + 1), pd.Timestamp(10**18 + 2)]
WAYS = {
    "a list": (lambda: pa.array(times), 1),
    "a list, microseconds asked for": (lambda: pa.array(times, pa.timestamp("us")), 1),
    "Table.from_pylist": (lambda: pa.Table.from_pylist([{"at": t} for t in times])["at"], 1),
    "a Series": (lambda: pa.array(pd.Series(times)), 2),
    "a Series, microseconds asked for": (
        lambda: pa.array(pd.Series(times), pa.timestamp("us")),
        None,
    ),
}
for name, (make, wanted) in WAYS.items():
    try:
        column = make()
    except pa.ArrowInvalid as error:
        n_distinct = None
        print(f"{name}: refused: {error}")
    else:
        n_distinct = len(column.unique())
        print(f"{name}: {column.type}, {n_distinct} distinct of {len(times)}")
    assert n_distinct == wanted, "pyarrow behaves differently now"
PYTHON
