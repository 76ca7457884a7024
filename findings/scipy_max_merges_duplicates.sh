#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SciPy 1.17.1 (NumPy 2.4.6): questions to a sparse matrix change it. max(), argmax(axis=) and count_nonzero() of a
# matrix in csr form that stores an entry twice add the two up in place, and the matrix is another one afterwards. As
# csr_array((data, indices, indptr)) keeps the arrays it is given, the arrays of whoever made it change too: their order,
# their values and how many of them count, while their lengths stay. sum() and a product with a vector change nothing.
# For ratings a repeated entry is a second rating, not a half of one: whoever kept the three arrays, or reads the matrix
# again, now trains on a rating of 7 that nobody gave.
# Seen:
#   before: 4 entries, data [1. 2. 3. 4.], columns [2 0 1 1]
#   after max(): 3 entries, data [2. 1. 7. 4.], columns [0 2 1 1]
#   after argmax(axis=1): 3 entries, data [2. 1. 7. 4.], columns [0 2 1 1]
#   after count_nonzero(): 3 entries, data [2. 1. 7. 4.], columns [0 2 1 1]
#   after sum(axis=1): 4 entries, data [1. 2. 3. 4.], columns [2 0 1 1]
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check scipy==1.17.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from scipy.sparse import csr_array

QUESTIONS = {
    "max()": (lambda S: S.max(), True),
    "argmax(axis=1)": (lambda S: S.argmax(axis=1), True),
    "count_nonzero()": (lambda S: S.count_nonzero(), True),
    "sum(axis=1)": (lambda S: S.sum(axis=1), False),
}
for name, (ask, changes) in QUESTIONS.items():
    # Row 0 rates items 2 and 0; row 1 rates item 1 twice.
    data = np.array([1.0, 2.0, 3.0, 4.0])
    columns, starts = np.array([2, 0, 1, 1]), np.array([0, 2, 4])
    S = csr_array((data, columns, starts), shape=(2, 3))
    if name == "max()":
        print(f"before: {S.nnz} entries, data {data}, columns {columns}")
    ask(S)
    print(f"after {name}: {S.nnz} entries, data {data}, columns {columns}")
    wanted = ([2, 1, 7, 4], [0, 2, 1, 1], 3) if changes else ([1, 2, 3, 4], [2, 0, 1, 1], 4)
    assert (data.tolist(), columns.tolist(), S.nnz) == wanted, "SciPy behaves differently now"
PYTHON
