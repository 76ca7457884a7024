# SPDX-License-Identifier: Apache-2.0
"""Print a hash of the factors of fits that take every path: equal hashes of two builds are equal bits.

Run it with each build on one machine: the bits depend on the instruction set.

    PYTHONPATH=build/old python benchmarks/bits.py > old.txt
    PYTHONPATH=build/new python benchmarks/bits.py | diff old.txt - && echo "the same bits"
"""

from __future__ import annotations

import argparse
import hashlib
from typing import Any

import numpy as np

import warpfactor as wf

# Name, parameters, and whether the ratings are weighted, labels, or counts.
FITS: list[tuple[str, dict[str, Any], str]] = [
    ("defaults", {}, ""),
    ("no biases, k = 33", {"biases": False, "n_factors": 33}, ""),
    ("float64, hogwild on one thread", {"dtype": "float64", "parallel": "hogwild", "n_threads": 1}, ""),
    ("weights, huber, cosine", {"loss": "huber", "schedule": "cosine"}, "weights"),
    ("absolute, L1, inverse time", {"loss": "absolute", "l1_ratio": 0.2, "schedule": "inverse_time"}, ""),
    ("logistic, momentum", {"loss": "logistic", "momentum": 0.5, "learning_rate": 0.02}, "labels"),
    ("squared hinge, adagrad by row", {"loss": "squared_hinge", "optimizer": "adagrad"}, "labels"),
    ("poisson, adagrad by element", {"loss": "poisson", "optimizer": "adagrad", "adagrad_per": "element"}, "counts"),
    ("adam in batches, weights", {"optimizer": "adam", "batch_size": 512}, "weights"),
    ("gd, nonnegative", {"optimizer": "gd", "nonnegative": True, "momentum": 0.9}, ""),
    ("warm-up, k = 96", {"n_factors": 96, "warmup_epochs": 2}, ""),
    ("pairs of penalties, not normalized", {"reg": (0.02, 0.05), "reg_bias": (0.01, 0.1), "normalize": False}, ""),
]  # fmt: skip


def main() -> None:
    """Fit each and print the hashes of what it predicts with, and of some answers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    ratings = wf.datasets.make_ratings(3000, 800, 120_000, random_state=1).ratings
    train, test = wf.train_test_split(ratings, test_size=0.1, random_state=1)
    weights = np.random.default_rng(2).integers(0, 4, len(train)).astype(np.float32)
    for name, params, kind in FITS:
        made = [train, test]
        if kind in ("labels", "counts"):
            values = [
                np.where(r.values >= 3.5, 1, -1) if kind == "labels" else np.rint(r.values)
                for r in made
            ]
            made = [
                wf.Ratings.from_arrays(r.users, r.items, v.astype(np.float32))
                for r, v in zip(made, values, strict=True)
            ]
        model = wf.MatrixFactorization(
            **{"n_epochs": 6, "parallel": "blocked"} | params,
            random_state=3,
            device=options.device,
            verbose=0,
        )
        model.fit(made[0], validation=made[1], sample_weight=weights if kind == "weights" else None)
        ids, scores = model.recommend(model.user_ids_[:50], n=7)
        similar, cosines = model.similar_items(model.item_ids_[:20], n=5)
        factors = (model.user_factors_, model.item_factors_, model.user_biases_, model.item_biases_)
        history = [
            [value for key, value in epoch.items() if key != "seconds"] for epoch in model.history_
        ]
        answers = (model.predict(test), ids, scores, similar, cosines)
        print(f"{name:36} {_hash(factors)} {_hash([np.array(history)])} {_hash(answers)}")


def _hash(arrays: Any) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
