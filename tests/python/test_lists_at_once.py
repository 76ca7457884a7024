"""Lists of many users at once, which the core scores by panels of items, are those of each user alone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import warpfactor as wf
from warpfactor import _core

PROGRAM = """
import sys
import numpy as np
import warpfactor as wf
rng = np.random.default_rng(0)
users, items = rng.integers(0, 60, 2500), rng.integers(0, 331, 2500)
ratings = wf.Ratings.from_arrays(users, items, rng.integers(1, 6, 2500))
for dtype in ("float32", "float64"):
    for k in (1, 7, 16, 33, 50, 64, 100):
        model = wf.MatrixFactorization(k, n_epochs=2, random_state=0, verbose=0, dtype=dtype, init=0.3,
            reg=0.04, reg_row=0, reg_bias=0.05, reg_bias_row=0, implicit_feedback="none").fit(ratings)
        for options in ({"exclude_seen": True}, {"exclude_seen": False, "diversity": 0.3}):
            together = model.recommend(model.user_ids_, n=12, **options)
            alone = [model.recommend(model.user_ids_[[at]], n=12, **options) for at in range(20)]
            for part in (0, 1):
                assert np.array_equal(together[part][:20], np.concatenate([each[part] for each in alone])), (k, options)
        together = model.similar_items(model.item_ids_[:30], n=9)
        alone = [model.similar_items(model.item_ids_[[at]], n=9) for at in range(30)]
        for part in (0, 1):
            assert np.array_equal(together[part], np.concatenate([each[part] for each in alone])), (k, dtype)
print("same")
"""


@pytest.mark.parametrize("isa", _core.usable_instruction_sets())
def test_lists_of_many_users_have_the_bits_of_those_of_each_alone(isa):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "WARPFACTOR_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "same\n", done.stderr


def test_the_configuration_says_why_the_instruction_set_is_what_it_is():
    config = wf.show_config("dicts")
    forced = os.environ.get("WARPFACTOR_ISA")
    assert ("WARPFACTOR_ISA" in config["instruction_set_reason"]) == bool(forced)
    assert config["instruction_set"] in _core.usable_instruction_sets()
    for k in (1, 64, 128):
        assert _core.training_instruction_set(k) in _core.usable_instruction_sets()
