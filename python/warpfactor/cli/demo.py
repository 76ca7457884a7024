"""``warpfactor demo``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ..parameters import DEFAULTS, PARAMETERS
from .app import command
from .options import check_renamed, training_option

if TYPE_CHECKING:
    from ..data.ratings import Ratings
    from ..model.model import Model

__all__ = ["demo", "shape"]


@command
@training_option("n_factors")
@click.option(
    "--seed",
    type=int,
    default=PARAMETERS["random_state"].default,
    help="Seed of the data, the split and the training.",
)
def demo(n_factors: int, seed: int) -> None:
    """Show what warpfactor does, on generated ratings.

    A million ratings of MovieLens-1M's shape are generated, whose noise floor is known: no model
    can predict with a lower error. A tenth is held out, and a model trained on the rest.

    Example: warpfactor demo
    """
    from rich.console import Console

    from ..data.synthetic import make_ratings
    from ..evaluation.metrics import rmse
    from ..evaluation.splits import train_test_split
    from ..model.summary import counted
    from ..training.fit import fit_model

    check_renamed("random_state", seed)
    console = Console(highlight=False)
    started = time.perf_counter()
    console.print("[bold]Generating ratings of MovieLens-1M's shape[/bold]")
    data = make_ratings(random_state=seed)
    train, test = train_test_split(data.ratings, test_size=0.1, random_state=seed)
    console.print(f"{shape(data.ratings)}, of which {len(test):,} are held out to test with\n")
    # The test ratings are passed as validation for the curve alone: without early stopping they
    # decide nothing.
    own = {"n_factors": n_factors, "random_state": seed, "early_stopping": False, "verbose": 0}
    console.print(
        f"[bold]Training {n_factors} factors with default settings[/bold]\n"
        "Early stopping is off: the test ratings are only watched, all epochs run\n"
    )
    model = fit_model({**DEFAULTS, **own}, train, validation=test)
    console.print(_learning_curve(model))
    error, floor = rmse(test, model.predict(test)), data.noise_floor
    median = sorted(entry["seconds"] for entry in model.history_)[len(model.history_) // 2]
    console.print(
        f"\ntest RMSE    [bold]{error:.4f}[/bold]\n"
        f"noise floor  [bold]{floor:.4f}[/bold]  (the test RMSE is {error / floor - 1:.1%} above)\n"
        f"speed        {len(train) / median / 1e6:.0f} M ratings/s "
        f"({counted(model.n_threads_, 'thread')}, {model.instruction_set_})\n"
    )
    console.print(_demo_recommendations(model, train))
    console.print(
        f"\nThis took {time.perf_counter() - started:.1f} s. With ratings of your own:\n"
        "warpfactor train ratings.csv --test-size 0.1 --output m.safetensors"
    )


def shape(ratings: Ratings) -> str:
    """Say how many ratings there are, of how many users and items."""
    import numpy as np

    from ..model.summary import counted

    # A part of ratings keeps all ids.
    users = counted(int(np.count_nonzero(np.bincount(ratings.users))), "user")
    items = counted(int(np.count_nonzero(np.bincount(ratings.items))), "item")
    return f"{counted(len(ratings), 'rating')} by {users} of {items}"


def _learning_curve(model: Model) -> Any:
    from rich.table import Table

    table = Table(title="Learning curve")
    for name in ("epoch", "learning rate", "train RMSE", "test RMSE", "ms"):
        table.add_column(name, justify="right")
    for entry in model.history_:
        table.add_row(
            str(entry["epoch"]),
            f"{entry['learning_rate']:.4f}",
            f"{entry['train_rmse']:.4f}",
            f"{entry['valid_rmse']:.4f}",
            f"{1000 * entry['seconds']:.0f}",
        )
    return table


def _demo_recommendations(model: Model, train: Ratings) -> Any:
    import numpy as np
    from rich.table import Table

    from ..model.summary import counted

    n_given = np.bincount(train.users, minlength=train.n_users)
    order = np.argsort(n_given, kind="stable")
    codes = [order[len(order) * share // 100] for share in (10, 50, 90)]
    ids, scores = model.recommend(train.user_ids[codes], n=5)
    table = Table("rank", title="Recommended items, with predicted ratings")
    for code in codes:
        title = f"user {train.user_ids[code]}\n{counted(int(n_given[code]), 'rating')}"
        table.add_column(title, justify="right")
    for at in range(ids.shape[1]):
        best = zip(ids[:, at], scores[:, at], strict=True)
        table.add_row(str(at + 1), *(f"item {item}  {score:.2f}" for item, score in best))
    return table
