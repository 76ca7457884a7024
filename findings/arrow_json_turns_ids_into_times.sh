#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1: json.read_json makes timestamps of JSON strings that look like dates, although JSON has no dates and the
# file says that they are strings; there is no option to turn that off except a schema for the column. Ids such as
# "2020-01-01" (an issue of a paper, an episode) come back as times, and written as text they are no longer what they were;
# one id of another form makes the whole column text again, so that the kind of the ids depends on the rows. csv.read_csv of
# the same package guesses too, but there nothing says what is a string. Met when reading rating files of JSON lines.
# Seen:
#   all like dates: timestamp[s], [datetime.datetime(2020, 1, 1, 0, 0), datetime.datetime(2020, 1, 2, 0, 0)]
#   one is not:     string, ['2020-01-01', 'special']
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import io

from pyarrow import json


def ids(second):
    lines = f'{{"item": "2020-01-01", "rating": 5}}\n{{"item": "{second}", "rating": 4}}\n'
    return json.read_json(io.BytesIO(lines.encode()))["item"]


alike, mixed = ids("2020-01-02"), ids("special")
print(f"all like dates: {alike.type}, {alike.to_pylist()}")
print(f"one is not:     {mixed.type}, {mixed.to_pylist()}")
assert str(alike.type) == "timestamp[s]" and str(mixed.type) == "string", "pyarrow behaves differently now"
PYTHON
