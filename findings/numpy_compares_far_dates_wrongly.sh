#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# NumPy 2.4.6: two datetime64 of different units are compared in the finer unit, and the conversion into it overflows without
# a word. So 9999-12-31, with which databases say "no end", comes before 2020 if the other side is in nanoseconds, the unit
# of many tables. np.array of a list with both gives a date in 1816. Both dates are valid, each in its own unit, and whoever
# compares them asks for no conversion. pandas 3.1.1 compares the two correctly and refuses to convert the far one, and so
# does pyarrow 26.0.1. Met in warpfactor's reader of times, which checks each conversion by another one back: without that
# a split by time puts the latest ratings first.
# Seen:
#   2020-01-01T00:00:00.000000000 < 9999-12-31: False
#   np.array of both: ['2020-01-01T00:00:00.000000000' '1816-03-29T05:56:08.066277376']
#   ratings before 9999-12-31: 0 of 2
#   pandas: 2020-01-01 < 9999-12-31: [True, True]
#   pandas, conversion: OutOfBoundsDatetime
#   pyarrow, conversion: ArrowInvalid
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 pandas==3.1.1 pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import pandas as pd
import pyarrow as pa

end = np.datetime64("9999-12-31")
now = np.datetime64("2020-01-01", "ns")
print(f"{now} < {end}: {now < end}")
print(f"np.array of both: {np.array([now, end])}")
times = np.array(["2020-01-01", "2021-01-01"], "datetime64[ns]")
print(f"ratings before {end}: {(times < end).sum()} of {len(times)}")
assert not now < end and np.array([now, end])[1] < now, "NumPy behaves differently now"
assert not (times < end).any(), "NumPy behaves differently now"


def refusal(convert):
    try:
        convert()
    except (ValueError, pa.ArrowInvalid) as error:
        return type(error).__name__
    return None


before = (pd.Series(times) < pd.Timestamp("9999-12-31")).tolist()
print(f"pandas: 2020-01-01 < 9999-12-31: {before}")
seconds = np.array([end], "datetime64[s]")
by_pandas = refusal(lambda: pd.Series(seconds).astype("datetime64[ns]"))
by_arrow = refusal(lambda: pa.array(seconds).cast(pa.timestamp("ns")))
print(f"pandas, conversion: {by_pandas}")
print(f"pyarrow, conversion: {by_arrow}")
assert all(before) and by_pandas and by_arrow, "pandas or pyarrow behaves differently now"
PYTHON
