#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# safetensors 0.8.0: metadata is written in a random order, a new one at each save, even within one process. So two files of
# the same tensors and the same metadata differ in their bytes and their checksums, although the format is plain, the
# tensors are always sorted, and a dict has an order. Without metadata, or with one key, the bytes are the same each time, so
# that a short test shows nothing. Met with warpfactor's model file, which has ten keys: the checksum of the file does not
# say whether two trainings gave the same model.
# Seen:
#   no metadata: 1 different files of 20
#   1 key: 1 different files of 20
#   8 keys: 20 different files of 20
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check safetensors==0.8.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import hashlib

import numpy as np
from safetensors.numpy import save

tensors = {"user_factors": np.arange(4, dtype=np.float32), "item_factors": np.ones(3)}
for name, n_keys in (("no metadata", 0), ("1 key", 1), ("8 keys", 8)):
    metadata = {f"key_{at}": str(at) for at in range(n_keys)} or None
    files = {hashlib.sha256(save(tensors, metadata)).hexdigest() for _ in range(20)}
    print(f"{name}: {len(files)} different files of 20")
    assert (len(files) > 1) == (n_keys > 1), "safetensors behaves differently now"
PYTHON
