#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# NumPy 2.4.6: unique() of a million distinct int64 takes about eighty times as long as unique() of the same array with
# return_counts=True, which does more. Alone it puts the values into a hash set (since 2.3, for speed); asked for counts or
# positions it sorts, as it always did. sorted=False does not help. With few distinct values or int32 it is 5 to 50 times,
# with floats nothing. So what looks like the cheapest question about a column of ids is the dearest. Met in warpfactor where
# users were counted: bincount() of the codes now counts them.
# Seen:
#   1,000,000 distinct int64: unique 0.50 s, with counts 0.006 s, sort 0.005 s
#   the same values: True
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import time

import numpy as np

ids = np.random.default_rng(0).permutation(1_000_000).astype(np.int64) << 32


def least(work):
    """Of three, since other programs make each of them slower and none faster."""
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


alone, distinct = least(lambda: np.unique(ids))
counted, (again, _) = least(lambda: np.unique(ids, return_counts=True))
sorting, _ = least(lambda: np.sort(ids))
print(f"{len(ids):,} distinct int64: unique {alone:.2f} s, with counts {counted:.3f} s, sort {sorting:.3f} s")
print(f"the same values: {np.array_equal(distinct, again)}")
assert np.array_equal(distinct, again)
assert alone > 5 * counted, "NumPy behaves differently now"
PYTHON
