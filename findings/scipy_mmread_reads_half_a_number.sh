#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SciPy 1.17.1: io.mmread takes the part of a field that is a number, and leaves out the rest of it without a word: 4,5
# (a decimal comma) and 4x are 4. In a file whose header says "integer" 4.5 is 4 too, so that half stars vanish if a tool
# writes the wrong word there. numpy.loadtxt refuses all of them, and so does float(). Met when reading Matrix Market
# files: ratings that are wrong but look like ratings. warpfactor reads these files itself and names the line.
# Seen, for a matrix of one entry:
#   real, "4,5": 4.0
#   real, "4x": 4.0
#   integer, "4.5": 4
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check scipy==1.17.1
OPENBLAS_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import io

from scipy.io import mmread

for kind, text in (("real", "4,5"), ("real", "4x"), ("integer", "4.5")):
    file = f"%%MatrixMarket matrix coordinate {kind} general\n1 1 1\n1 1 {text}\n"
    value = mmread(io.BytesIO(file.encode())).toarray()[0, 0]
    print(f'{kind}, "{text}": {value}')
    assert value == 4, "SciPy behaves differently now"
PYTHON
