"""Early stopping with a bound of 500 epochs beside the best fixed number of epochs, on five real rating sets.

The ratings are divided into 80 % to train on, 10 % to stop by and 10 % to test on, several times. A fixed number of epochs
trains on the same 80 %. The best of them is chosen by the test ratings, so it is a bound and not a method. Each fit is as
a user gets it, with the search for the strengths. The model that comes back is compared, bit by bit, with a copy that
was taken at the best epoch: the last whose validation loss is within 0.05 % of the lowest.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from common import heading
from rich.console import Console
from rich.table import Table

import warpfactor as wf

FIXED = (10, 15, 20, 25, 30, 40, 50, 60, 80, 120)
SETS = {
    "ml-100k": ("ml-100k/u.data", 3),
    "ml-latest-small": ("ml-latest-small/ratings.csv", 3),
    "filmtrust": ("filmtrust.npz", 3),
    "movietweetings": ("movietweetings-100k.dat", 3),
    "ml-1m": ("ml-1m/ratings.dat", 1),
}


class BestCopy(wf.callbacks.Callback):
    """Keeps a copy of the model of the best epoch."""

    def on_train_begin(self, fit: wf.callbacks.Fit) -> None:
        self.fit, self.best = fit, np.inf

    def on_epoch_end(self, record: dict) -> None:
        if record["valid_loss"] <= self.best * (1 + 5e-4):
            self.model = self.fit.model()
        self.best = min(self.best, record["valid_loss"])


def same_bits(one: wf.Model, other: wf.Model) -> bool:
    """Return whether two models are the same to the bit."""
    names = ("user_factors_", "item_factors_", "user_biases_", "item_biases_")
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("WARPFACTOR_DATA"),
        help="folder of the rating sets",
    )
    parser.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    parser.add_argument("--factors", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("--data FOLDER, or the variable WARPFACTOR_DATA, must name the rating sets")
    console = Console(width=170)
    heading(console)
    table = Table(
        "set", "epochs run", "kept", "RMSE, early stopping", "best fixed", "RMSE, best fixed"
    )
    for name in ("20 epochs", "40 epochs", "early stopping is worse by", "refit", "same bits"):
        table.add_column(name)
    for name in arguments.sets:
        file, n_splits = SETS[name]
        ratings = wf.read_ratings(arguments.data / file).drop_duplicates()
        stopped, refit, kept, run, same = [], [], [], [], []
        fixed: dict[int, list[float]] = {n: [] for n in FIXED}
        for seed in range(n_splits):
            train, validation, test = wf.train_validation_test_split(
                ratings, 0.1, 0.1, random_state=seed
            )

            def rmse(model: wf.MatrixFactorization, test: wf.Ratings = test) -> float:
                return wf.metrics.rmse(test.values, model.predict(test))

            common = {"random_state": 0, "verbose": 0, "n_threads": arguments.threads}
            best = BestCopy()
            model = wf.MatrixFactorization(
                arguments.factors, n_epochs=500, callbacks=[best], **common
            ).fit(train, validation=validation)
            stopped.append(rmse(model))
            kept.append(model.n_epochs_)
            run.append(len(model.history_))
            same.append(same_bits(model.model_, best.model))
            again = wf.MatrixFactorization(arguments.factors, n_epochs=500, refit=True, **common)
            refit.append(rmse(again.fit(train, validation=validation)))
            for n in FIXED:
                one = wf.MatrixFactorization(
                    arguments.factors, n_epochs=n, early_stopping=False, **common
                )
                fixed[n].append(rmse(one.fit(train)))
        means = {n: float(np.mean(errors)) for n, errors in fixed.items()}
        least = min(means, key=means.__getitem__)
        worse = np.mean(stopped) / means[least] - 1
        table.add_row(
            name,
            ", ".join(map(str, run)),
            ", ".join(map(str, kept)),
            f"{np.mean(stopped):.4f}",
            str(least),
            f"{means[least]:.4f}",
            f"{means[20]:.4f}",
            f"{means[40]:.4f}",
            f"{100 * worse:.2f} %",
            f"{np.mean(refit):.4f}",
            "yes" if all(same) else "NO",
        )
    console.print(table)


if __name__ == "__main__":
    main()
