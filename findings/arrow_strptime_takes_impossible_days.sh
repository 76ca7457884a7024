#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1: pyarrow.compute.strptime() takes a day that its month does not have, and counts on into the next month,
# with error_is_null false or true: 31.02.2024 by "%d.%m.%Y" becomes 2 March. A cast of "2024-02-31" refuses it, and so does
# Python's strptime. And %Y takes two digits: 31.12.24 is of the year 24. So a column of mistyped dates is
# silently shifted. warpfactor rewrites dates with dots as ISO 8601 and casts those.
# Printed: 2024-03-02 and 0024-12-31; refused by the cast.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q "pyarrow==26.0.1"
"$work/venv/bin/python" - <<'PYTHON'
import datetime

import pyarrow as pa
import pyarrow.compute as pc

for null in (False, True):
    read = pc.strptime(pa.array(["31.02.2024", "31.12.24"]), format="%d.%m.%Y", unit="s", error_is_null=null)
    print([value.date().isoformat() for value in read.to_pylist()])
    assert read.to_pylist() == [datetime.datetime(2024, 3, 2), datetime.datetime(24, 12, 31)]
try:
    pa.array(["2024-02-31"]).cast(pa.timestamp("s"))
except pa.ArrowInvalid as error:
    print("the cast refuses it:", error)
else:
    raise SystemExit("a cast takes 2024-02-31")
try:
    datetime.datetime.strptime("31.02.2024", "%d.%m.%Y")
except ValueError as error:
    print("Python refuses it:", error)
else:
    raise SystemExit("Python takes it")
PYTHON
