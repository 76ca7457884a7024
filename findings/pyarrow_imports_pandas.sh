#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# pyarrow 26.0.1, with NumPy 2.4.6 and pandas 3.1.1 installed: turning a NumPy array into an Arrow array, or an Arrow
# array into a NumPy array, imports all of pandas, although neither side is pandas' and the result does not depend on it.
# pa.array, Array.to_numpy, np.asarray, pa.scalar and a compute function that is given a Python number all do; reading a
# csv file, np.from_dlpack, Array.to_pylist and compute functions of Arrow arrays alone do not. The price is a few tenths
# of a second, once, in whatever call happens to be the first. Where pandas is not installed there is no price, so that a
# program starts faster in a smaller environment. Met when `warpfactor train` spent more time there than on training.
# Seen:
#   pandas imported by pa.array(ndarray): True
#   pandas imported by Array.to_numpy(): True
#   pandas imported by pa.scalar(1): True
#   pandas imported by pc.equal(Array, 1): True
#   pandas imported by np.from_dlpack(Array): False
#   pandas imported by Array.to_pylist(): False
#   pandas imported by pc.min_max(Array): False
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 numpy==2.4.6 pandas==3.1.1
cat >"$folder/one.py" <<'PYTHON'
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

numbers = np.arange(3)
arrow = pa.Array.from_buffers(pa.int64(), 3, [None, pa.py_buffer(numbers)])
calls = {
    "pa.array(ndarray)": lambda: pa.array(numbers),
    "Array.to_numpy()": lambda: arrow.to_numpy(),
    "pa.scalar(1)": lambda: pa.scalar(1),
    "pc.equal(Array, 1)": lambda: pc.equal(arrow, 1),
    "np.from_dlpack(Array)": lambda: np.from_dlpack(arrow),
    "Array.to_pylist()": lambda: arrow.to_pylist(),
    "pc.min_max(Array)": lambda: pc.min_max(arrow),
}
assert "pandas" not in sys.modules
calls[sys.argv[1]]()
imported = "pandas" in sys.modules
print(f"pandas imported by {sys.argv[1]}: {imported}")
sys.exit(str(imported) != sys.argv[2])
PYTHON
for call in "pa.array(ndarray)" "Array.to_numpy()" "pa.scalar(1)" "pc.equal(Array, 1)"; do
  "$folder/venv/bin/python" "$folder/one.py" "$call" True
done
for call in "np.from_dlpack(Array)" "Array.to_pylist()" "pc.min_max(Array)"; do
  "$folder/venv/bin/python" "$folder/one.py" "$call" False
done
