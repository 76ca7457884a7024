"""What each part of the default model is worth: test RMSE with one part left out at a time.

    python benchmarks/ablation.py [--data FOLDER] [--sets NAME ...] [--seeds N]

--sets takes what `accuracy.py --sets` takes; the default are the six real sets, fold 1 of MovieLens 100K and of 1M, and the ten
generated ones. RMSE is over N seeds (default 3; the root of the mean of their mean squared errors), of predictions as they are,
not clipped. All fits are on one thread.

"whole" is the default model with the usual strengths (reg 0.04, reg_row 8, reg_implicit 2, init 0.05). The columns before it
differ from it in one part:

- "users'" and "items'": prior means of that side alone; "no means": of neither.
- "no reg_row": no penalty per row of the factors.
- "no EM": the biases' penalty per rating, reg_bias 0.05, and mu the mean of the ratings.
- "none": no prior means, no reg_row and no EM, all else as in "whole".

"chosen" is `MatrixFactorization()`: the whole model with the strengths that training chooses. "biases" and "plain SGD" are those of
`accuracy.py`.

The second table is of the test ratings of users with at most 20 training ratings, where a set has a hundred of them: what who rated
what is worth where little is known of the user.

The third table gives the processor seconds of a fit, on one thread, the least over the seeds, for the columns whose ratio tells
what prior means cost, and what choosing the strengths costs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import heading
from numpy.typing import NDArray
from rating_models import PLAIN_SGD, models
from rating_sets import ALL, FILES, FOLDS, GENERATED, GROUPS, RatingSet, sets
from rich import box
from rich.console import Console
from rich.table import Table

import warpfactor as wf

SETS = (*FILES, "ml-100k-u1", "ml-1m-fold1", *GENERATED)
WHOLE: dict[str, Any] = {
    "reg": 0.04,
    "reg_row": 8.0,
    "reg_implicit": 2.0,
    "init": 0.05,
    "implicit_feedback": "both",
}
NO_EM = {"reg_bias": 0.05, "reg_bias_row": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain SGD": PLAIN_SGD,
    "none": WHOLE | NO_EM | {"reg_row": 0.0, "implicit_feedback": "none", "learning_rate": 0.08},
    "no means": WHOLE | {"implicit_feedback": "none"},
    "users'": WHOLE | {"implicit_feedback": "users"},
    "items'": WHOLE | {"implicit_feedback": "items"},
    "no reg_row": WHOLE | {"reg_row": 0.0},
    "no EM": WHOLE | NO_EM,
    "whole": WHOLE,
    "chosen": {},
}
FEW_RATINGS, FEWEST_TESTS = 20, 100
EVERYTHING = slice(None)
TIMED = ("plain SGD", "none", "no means", "whole", "chosen")


class Found(NamedTuple):
    """The squared error of each test rating, a mean over the seeds, and the least processor seconds of a fit."""

    squares: NDArray[np.float64]
    seconds: float

    def rmse(self, part: NDArray[np.bool_] | slice = EVERYTHING) -> str:
        """Return the RMSE over some of the test ratings, for the table."""
        return f"{np.sqrt(self.squares[part].mean()):.4f}"


def measure(data: RatingSet, params: dict[str, Any], seeds: int) -> Found:
    """Fit with each seed, and test."""
    ratings = wf.Ratings.from_arrays(*data.train)
    squares, seconds = np.zeros(len(data.test.ratings)), []
    for seed in range(seeds):
        model = wf.MatrixFactorization(random_state=seed, n_threads=1, verbose=0, **params)
        start = time.process_time()
        model.fit(ratings)
        seconds.append(time.process_time() - start)
        predicted = model.predict(np.c_[data.test.users, data.test.items])
        squares += (data.test.ratings - predicted.astype(np.float64)) ** 2 / seeds
    return Found(squares, min(seconds))


def measure_biases(data: RatingSet) -> Found:
    """Fit the biases alone, and test."""
    run = models(None)[0]["biases"].run
    assert run is not None
    start = time.process_time()
    predicted = run(data, 0, 1).predictions
    return Found((data.test.ratings - predicted) ** 2, time.process_time() - start)


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for k, column in enumerate(columns):
        table.add_column(column.replace(" ", "\n"), justify="right" if k else "left", no_wrap=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; it must be at least 1")
    names = list(dict.fromkeys(name for word in options.sets for name in GROUPS.get(word, (word,))))
    for name in names:
        if name not in ALL and not Path(name).exists():
            parser.error(f"--sets {name} is no file and no set; sets: {', '.join((*GROUPS, *ALL))}")
    if options.data is None and any(name in FILES or name in FOLDS for name in names):
        parser.error("give --data FOLDER, or set WARPFACTOR_DATA")

    console = Console(width=160)
    heading(console)
    columns = ["set", "biases", *VARIANTS]
    errors = _table(f"Test RMSE, seeds: {options.seeds}", columns)
    of_few = f"Test RMSE, users with at most {FEW_RATINGS} training ratings"
    few = _table(of_few, ["set", "share of test ratings", *columns[1:]])
    costs = _table("Processor seconds of a fit, one thread", ["set", "ratings", *TIMED])
    for data in sets(options.data, names):
        found = {"biases": measure_biases(data)}
        found |= {name: measure(data, each, options.seeds) for name, each in VARIANTS.items()}
        errors.add_row(data.name, *(each.rmse() for each in found.values()))
        counts = np.bincount(data.train.users, minlength=data.n_users)[data.test.users]
        part = (counts > 0) & (counts <= FEW_RATINGS)
        if part.sum() >= FEWEST_TESTS:
            cells = (each.rmse(part) for each in found.values())
            few.add_row(data.name, f"{part.mean():.1%}", *cells)
        n_train = len(data.train.ratings)
        costs.add_row(data.name, f"{n_train:,}", *(f"{found[name].seconds:.2f}" for name in TIMED))
        print(data.name, file=sys.stderr, flush=True)
    for table in (errors, few, costs):
        console.print(table)


if __name__ == "__main__":
    main()
