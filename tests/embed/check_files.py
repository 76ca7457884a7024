# SPDX-License-Identifier: Apache-2.0
"""Model files between Python and C++, both ways; see main.cpp.

python check_files.py write FOLDER    train and save models for `embed load FOLDER`
python check_files.py again FOLDER    compare with what `embed load FOLDER` saved again
python check_files.py check FOLDER    compare with what `embed train FOLDER` saved
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

import warpfactor as wf

WRITTEN_BY_CPP = ("squared", "float64", "logistic", "poisson")


def answers(model: Any) -> str:
    """Return what a model answers about its first rows and about an unknown user."""
    users, items = list(model.user_ids_[:8]), list(model.item_ids_[:8])
    unknown = {str: "nobody", UUID: UUID(int=0)}.get(type(users[0]), -12345)
    lines = []
    for user in [unknown, *users]:
        name = "unknown" if user is unknown else str(user)
        predicted = model.predict(np.array([[user, item] for item in items], dtype=object))
        lines += [_line("predict", name, *each) for each in zip(items, predicted, strict=True)]
        found = zip(*model.recommend(user, n=5), strict=True)
        lines += [_line("recommend", name, *each) for each in found if not np.isnan(each[1])]
    for item in items:
        found = zip(*model.similar_items(item, n=3), strict=True)
        lines += [_line("similar", item, *each) for each in found if not np.isnan(each[1])]
    return "".join(lines)


def _line(what: str, of: Any, item: Any, value: Any) -> str:
    return f"{what}\t{of}\t{item}\t{float(value):.17g}\n"


def write(folder: Path) -> None:
    """Save a model of each kind, and what it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    users, items = np.divmod(rng.choice(60 * 40, 1200, replace=False), 40)
    stars = np.clip(np.rint(3 + (users % 3) - (items % 3) + rng.normal(0, 0.5, 1200)), 1, 5)
    names = [f"user {n} é" for n in users]
    uuids = [UUID(int=int(n) << 64) for n in users + 1]
    models: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "squared": (names, stars, {}),
        "logistic": (users, (stars > 3).astype(float), {"loss": "logistic"}),
        "poisson": (users, stars - 1, {"loss": "poisson"}),
        "float64": (users - 5, stars, {"dtype": "float64", "biases": False}),
        "ensemble": (names, stars, {}),
        "uuid": (uuids, np.where(stars > 3, 1, -1), {"loss": "logistic"}),
    }
    # The last users and items have only ratings of weight 0: rows that are unknown.
    weights = np.where((users < 57) & (items < 38), 1.0, 0.0)
    for name, (ids, values, params) in models.items():
        ratings = wf.Ratings.from_arrays(ids, items + 100, values)
        model = wf.MatrixFactorization(n_factors=9, random_state=0, verbose=0, **params)
        if name == "ensemble":
            model = wf.Ensemble(model, n_models=3)
        model.fit(ratings, sample_weight=weights)
        model.save(folder / f"{name}.safetensors")
        loaded = wf.load(folder / f"{name}.safetensors")
        (folder / f"{name}.answers").write_bytes(answers(loaded).encode())
        print(f"{name}: written")


def again(folder: Path) -> None:
    """Load the ensemble that C++ loaded and saved again, and compare its intervals."""
    one, other = (wf.load(folder / f"ensemble.{name}") for name in ("safetensors", "again"))
    X = np.array([[u, i] for u in one.user_ids_ for i in one.item_ids_], dtype=object)
    for bound, same in zip(one.predict_interval(X), other.predict_interval(X), strict=True):
        np.testing.assert_array_equal(bound, same)
    print("ensemble: saved again by C++, the same intervals")


def check(folder: Path) -> None:
    """Load what C++ saved, and compare the answers."""
    for name in WRITTEN_BY_CPP:
        model = wf.load(folder / f"{name}.safetensors")
        expected = (folder / f"{name}.answers").read_bytes().decode()
        got = answers(model)
        for one, other in zip(expected.splitlines(), got.splitlines(), strict=True):
            if one != other:
                raise SystemExit(f"{name}: C++ has {one!r}, Python {other!r}")
        if (
            not {"learning_rate", "reg_row", "init"}
            <= model.chosen_.keys()
            <= model.get_params().keys()
        ):
            raise SystemExit(
                f"{name}: C++ chose {model.chosen_}, which Python does not know by name"
            )
        print(f"{name}: the answers of C++, {len(got.splitlines())} lines")


if __name__ == "__main__":
    commands = {"write": write, "again": again, "check": check}
    if len(sys.argv) != 3 or sys.argv[1] not in commands:
        raise SystemExit(__doc__)
    commands[sys.argv[1]](Path(sys.argv[2]))
