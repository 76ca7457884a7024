# SPDX-License-Identifier: Apache-2.0
"""Updates per second of two builds, alternating: has a change made training slower?

    pip install --no-deps --target FOLDER WHEEL    # for each of the two
    python benchmarks/two_builds.py OLD_FOLDER NEW_FOLDER

The ratings are those of cpu_throughput.py: 9.0 M of MovieLens 10M's shape. Each run is a process of its own, whose figure
is the median epoch of a fit; the order of the two changes from turn to turn. Printed are medians, and of the ratio new/old
the median, the least and the most of the turns. `bits.py` tells whether the builds also give the same bits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FIT = """
import statistics, sys
import numpy as np
import warpfactor as wf
columns = [np.load(f"{sys.argv[1]}/{name}.npy") for name in ("users", "items", "values")]
ratings = wf.Ratings(*columns, np.arange(columns[0].max() + 1), np.arange(columns[1].max() + 1))
off = {"reg": 0.04, "reg_bias": 0.05, "reg_row": 0.0, "reg_bias_row": 0.0, "implicit_feedback": "none"}
known = wf.MatrixFactorization().get_params()
model = wf.MatrixFactorization(
    n_factors=int(sys.argv[2]), biases=sys.argv[3] == "yes", n_epochs=12, random_state=0, verbose=0,
    **{name: value for name, value in off.items() if name in known},
).fit(ratings)
print(len(ratings) / statistics.median(epoch["seconds"] for epoch in model.history_) / 1e6)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--n-factors", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    sys.path.insert(0, str(options.new))
    from common import ML10M_SHAPE, generated, heading
    from rich.console import Console

    heading(Console(width=100))
    print(f"{'k':>5} {'biases':>7} {'old M/s':>9} {'new M/s':>9} {'new/old':>8}  least .. most")
    with tempfile.TemporaryDirectory() as folder:
        ratings, _, _ = generated(**ML10M_SHAPE)
        for name in ("users", "items", "values"):
            np.save(f"{folder}/{name}.npy", getattr(ratings, name))
        for k in options.n_factors:
            for biases in ("yes", "no"):
                rates: dict[Path, list[float]] = {options.old: [], options.new: []}
                for turn in range(options.repeats):
                    for build in sorted(rates, reverse=turn % 2 == 1):
                        rates[build].append(_run(build, folder, str(k), biases))
                old, new = rates[options.old], rates[options.new]
                ratios = [n / o for o, n in zip(old, new, strict=True)]
                print(
                    f"{k:5} {biases:>7} {statistics.median(old):9.1f} {statistics.median(new):9.1f} "
                    f"{statistics.median(ratios):8.3f}  {min(ratios):.3f} .. {max(ratios):.3f}",
                    flush=True,
                )


def _run(build: Path, *arguments: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", FIT, *arguments],
        env={**os.environ, "PYTHONPATH": str(build)},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
