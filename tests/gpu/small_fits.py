"""Small fits that go through every kind of kernel, for a memory checker.

compute-sanitizer --tool memcheck --error-exitcode 1 python tests/gpu/small_fits.py
"""

from __future__ import annotations

import importlib.util
import itertools

import numpy as np

import warpfactor as wf

RANKS = (1, 5, 33, 64, 65, 129, 257, 1024)  # of each kind of tile, with rows that end in its middle
RULES = (
    {},
    {"momentum": 0.5, "weighted": True},
    {"optimizer": "adagrad", "parallel": "hogwild"},
    {"optimizer": "adagrad", "adagrad_per": "element"},
    {"optimizer": "adam", "biases": False},
    {"optimizer": "adam", "batch_size": 300, "weighted": True},
    {"optimizer": "gd", "nonnegative": True},
    {"l1_ratio": 0.5, "loss": "poisson"},
)


def main() -> None:
    ratings = wf.datasets.make_ratings(90, 70, 2000, random_state=0).ratings
    train, test = wf.train_test_split(ratings, 0.1, random_state=0)
    weights = np.random.default_rng(0).uniform(0, 2, len(train))
    n_fits = 0
    for dtype, (k, rule) in itertools.product(
        ("float32", "float16", "float64"), zip(RANKS, RULES, strict=True)
    ):
        params = {name: value for name, value in rule.items() if name != "weighted"}
        model = wf.MatrixFactorization(
            n_factors=k, n_epochs=2, device="cuda", dtype=dtype, random_state=0, verbose=0, **params
        )
        weighted = weights if rule.get("weighted") else None
        model.fit(train, sample_weight=weighted, validation=test)
        assert np.isfinite(model.predict(test)).all()
        for n in (1, 33, 70):
            _, scores = model.recommend(model.user_ids_, n=n)
            assert np.isfinite(scores[:, 0]).all()
        model.similar_items(np.unique(train.item_ids[train.items]), n=5)
        n_fits += 1
    if importlib.util.find_spec("sympy"):  # else no formulas
        own = {
            "loss": wf.losses.custom(lambda r, x: wf.losses.log(1 + (r - x) ** 2)),
            "penalty": wf.losses.penalty(lambda w: wf.losses.sqrt(w**2 + 0.01)),
        }
        for k, how in ((5, {}), (129, {"optimizer": "adam"}), (33, {"batch_size": 300})):
            model = wf.MatrixFactorization(
                n_factors=k, n_epochs=2, device="cuda", random_state=0, verbose=0, **own, **how
            )
            model.fit(train, validation=test)
            n_fits += 1
    few = wf.MatrixFactorization(n_factors=8, n_epochs=2, device="cuda", verbose=0, random_state=0)
    streamed = few.fit(train).user_factors_.tobytes()
    size = 200_000
    while size > 1000:  # to the smallest budget that is enough
        try:
            assert few.set_params(device_memory=size).fit(train).user_factors_.tobytes() == streamed
        except wf.CudaError:
            break
        size //= 2
    print(f"{n_fits} fits, and one within {2 * size} bytes of the device's memory")


if __name__ == "__main__":
    main()
