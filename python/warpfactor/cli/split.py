"""``warpfactor split``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from ..writing import check_target
from .app import command, refuse_same_file
from .demo import shape
from .kinds import FILE
from .options import file_layout, ratings_files, sizing, test_by
from .progress import busy

__all__ = ["split"]


@command
@ratings_files("ratings", "RATINGS")
@click.option(
    "--train",
    metavar="FILE",
    type=FILE,
    required=True,
    help="Where to write the rest, to train on.",
)
@click.option(
    "--test", metavar="FILE", type=FILE, required=True, help="Where to write the test part."
)
@click.option("--validation", metavar="FILE", type=FILE, help="Where to write a validation part.")
@sizing("--test-size", "The test's share, or number of ratings; 0.1 if not given.")
@sizing("--validation-size", "The same of the validation part.")
@test_by
@click.option("--seed", type=int, default=0, help="Seed of the choice.")
@file_layout("user", "item", "rating", "timestamp")
def split(
    ratings: Path | list[Path],
    train: Path,
    test: Path,
    validation: Path | None,
    test_size: Any,
    validation_size: Any,
    test_by: str,
    seed: int,
    layout: dict[str, Any],
) -> None:
    """Divide RATINGS into a file to train on and one to test on.

    Suffixes say how the files are written: .csv, .tsv, .parquet, .npz, ... Files of their names are
    replaced.

    Example: warpfactor split ratings.csv --train train.csv --test test.csv --test-by time
    """
    targets = {"--train": train, "--test": test}
    if validation is not None:
        targets["--validation"] = validation
    elif validation_size is not None:
        raise ValueError("--validation-size needs --validation FILE, where to write that part")
    # A mistake must show before the work.
    for flag, path in targets.items():
        check_target(path)
        refuse_same_file(path, ratings, flag)
    if len({path.resolve() for path in targets.values()}) < len(targets):
        raise ValueError(f"{', '.join(targets)} must be different files")

    from ..data.files import read_ratings
    from ..data.write import write_ratings, written_format
    from ..evaluation.splits import train_test_split, train_validation_test_split

    for path in targets.values():
        written_format(path)
    with busy("reading", ratings):
        data = read_ratings(ratings, **layout)
    size = 0.1 if test_size is None else test_size
    by = cast(Any, test_by)
    if validation is None:
        parts = [*train_test_split(data, size, by=by, random_state=seed)]
    else:
        part = 0.1 if validation_size is None else validation_size
        rest, kept, held = train_validation_test_split(data, part, size, by=by, random_state=seed)
        parts = [rest, held, kept]
    for path, each in zip(targets.values(), parts, strict=True):
        with busy("writing", path):
            write_ratings(each, path)
        click.echo(f"wrote {path}: {shape(each)}")
