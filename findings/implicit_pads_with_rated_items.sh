#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# implicit 0.7.3 (NumPy 2.4.6, SciPy 1.17.1): recommend(..., filter_already_liked_items=True) that is asked for more items
# than are left returns the filtered ones all the same, at the end of the list, with the lowest float as score; and where
# there are fewer items than N, item 0 with a score of 0 for each place that is left, which by score would come before
# them. Neither -1 nor a shorter list says so. Met when comparing recommendations: whoever takes the ids alone recommends
# what the user has, and whoever sorts by score recommends item 0.
# Seen, for a user who has items 0, 1 and 2 of 4:
#   N = 3: items [3, 2, 1], filtered ones among them: 2, lowest score -3.4028234663852886e+38
#   N = 6: items [3, 2, 1, 0, 0, 0], scores of the last two: [0.0, 0.0]
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check implicit==0.7.3 scipy==1.17.1 numpy==2.4.6
OPENBLAS_NUM_THREADS=1 "$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix

liked = csr_matrix(np.array([[1, 1, 1, 0], [0, 1, 1, 1], [1, 0, 0, 1]], np.float32))
model = AlternatingLeastSquares(factors=2, iterations=5, random_state=0, num_threads=1)
model.fit(liked, show_progress=False)

ids, scores = model.recommend(0, liked[0], N=3, filter_already_liked_items=True)
n_filtered = int(np.isin(ids, liked[0].indices).sum())
print(f"N = 3: items {ids.tolist()}, filtered ones among them: {n_filtered}, lowest score {scores.min()}")
assert ids[0] == 3 and n_filtered == 2, "implicit behaves differently now"
assert (scores[1:] == np.finfo(np.float32).min).all(), "implicit behaves differently now"

ids, scores = model.recommend(0, liked[0], N=6, filter_already_liked_items=True)
print(f"N = 6: items {ids.tolist()}, scores of the last two: {scores[-2:].tolist()}")
assert ids[-2:].tolist() == [0, 0] and scores[-2:].tolist() == [0, 0], "implicit behaves differently now"
PYTHON
