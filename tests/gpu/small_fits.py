"""Small fits that go through every kind of kernel, for a memory checker.

compute-sanitizer --tool memcheck --error-exitcode 1 python tests/gpu/small_fits.py
"""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np

import warpfactor as wf

RANKS = (1, 5, 33, 64, 65, 129, 257, 1024)  # of each kind of tile, with rows that end in its middle
PLAIN = {"reg_row": 0.0, "reg_bias_row": 0.0, "implicit_feedback": "none"}
RULES = (
    {},
    {"momentum": 0.5, "weighted": True},
    {"optimizer": "adagrad", "parallel": "hogwild"},  # the others are "blocked"
    {"optimizer": "adagrad", "adagrad_per": "element"},
    {"optimizer": "adam", "biases": False},
    {"optimizer": "adam", "batch_size": 300, "weighted": True},
    {"optimizer": "gd", "nonnegative": True},
    {"l1_ratio": 0.5, "loss": "poisson"},
)


def model_of(**params: Any) -> wf.MatrixFactorization:
    return wf.MatrixFactorization(
        **{"n_epochs": 2, "device": "cuda", "parallel": "blocked", "random_state": 0, "verbose": 0}
        | params
    )


def main() -> None:
    ratings = wf.datasets.make_ratings(90, 70, 2000, random_state=0).ratings
    train, test = wf.train_test_split(ratings, 0.1, random_state=0)
    weights = np.random.default_rng(0).uniform(0, 2, len(train))
    n_fits = 0
    # Prior means of rows of each kind of tile, whose lists are of more others than a part has; then none of it.
    wide = wf.datasets.make_ratings(1500, 40, 30_000, random_state=0).ratings
    for k, more in itertools.product((3, 64, 100, 300, 1024), ({}, {"momentum": 0.5}, PLAIN)):
        fitted = model_of(n_factors=k, **{"n_epochs": 5, **more}).fit(wide)
        assert np.isfinite(fitted.user_factors_).all()
        n_fits += 1
    for dtype, (k, rule) in itertools.product(
        ("float32", "float16", "float64"), zip(RANKS, RULES, strict=True)
    ):
        params = {name: value for name, value in rule.items() if name != "weighted"}
        model = model_of(n_factors=k, dtype=dtype, **params)
        weighted = weights if rule.get("weighted") else None
        model.fit(train, sample_weight=weighted, validation=test)
        assert np.isfinite(model.predict(test)).all()
        for n in (1, 33, 70):
            _, scores = model.recommend(model.user_ids_, n=n)
            assert np.isfinite(scores[:, 0]).all()
        lists = [model.item_ids_[at % 5 :: 3].tolist() for at in range(len(model.user_ids_))]
        for how in ({"items": lists}, {"exclude": lists}, {"confidence": 1.0}):
            model.recommend(model.user_ids_, n=5, **how)
        model.score_items(model.user_ids_[:9])
        model.similar_items(np.unique(train.item_ids[train.items]), n=5)
        n_fits += 1
    # A tile takes thousands of ratings: with so many there are dozens of tiles at a time.
    many = wf.datasets.make_ratings(3000, 2000, 200_000, random_state=0).ratings
    model = model_of(n_factors=32, parallel="hogwild").fit(many)
    assert np.isfinite(model.user_factors_).all()
    for n in (1, 200):  # of so few users in parts of the items
        _, scores = model.recommend(model.user_ids_[:70], n=n)
        assert np.isfinite(scores).all()
    n_fits += 1
    if all(map(importlib.util.find_spec, ("sympy", "numba"))):  # else no formulas
        own = {
            "loss": wf.losses.custom(lambda r, x: wf.losses.log(1 + (r - x) ** 2)),
            "penalty": wf.losses.penalty(lambda w: wf.losses.sqrt(w**2 + 0.01)),
        }
        for k, how in ((5, {}), (129, {"optimizer": "adam"}), (33, {"batch_size": 300})):
            model_of(n_factors=k, **own, **how).fit(train, validation=test)
            model_of(n_factors=k, n_epochs=4, loss=own["loss"], **how).fit(train, validation=test)
            n_fits += 2
    else:
        print("no fits with formulas: SymPy or Numba is not installed")
    few = model_of(n_factors=8, n_epochs=4)
    resident = few.fit(train).user_factors_.tobytes()
    enough: list[int] = []
    for size in (1 << n for n in range(20, 9, -1)):  # to the smallest budget that is enough
        try:
            few.set_params(device_memory=size).fit(train)
        except wf.CudaError as error:
            if "out of memory" not in str(error):
                raise
            break
        assert few.user_factors_.tobytes() == resident
        enough.append(size)
    assert len(enough) > 1, "the budget could not be lowered"
    print(f"{n_fits} fits, and one within {enough[-1]:,} bytes of the device's memory")


if __name__ == "__main__":
    main()
