"""``warpfactor evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .app import command
from .ids import id_kinds, note_unknown
from .kinds import FILE
from .options import file_layout, judging, model_file, prediction_device, ratings_files, table_file
from .progress import busy
from .tables import table_format, write_frame

__all__ = ["evaluate"]


@command
@model_file
@ratings_files("ratings", "RATINGS")
@click.option(
    "--train",
    metavar="FILE",
    type=FILE,
    help="What the model was trained on: for what users know, and more baselines.",
)
@table_file("Also write the table to this file: .csv, .parquet, ...")
@judging
@click.option(
    "--confidence",
    type=float,
    default=0.0,
    help="Judge lists with each score lowered by so many standard deviations, as of recommend.",
)
@file_layout("user", "item", "rating", "timestamp", without=("ids",))
@prediction_device
def evaluate(
    model_file: Path,
    ratings: Path | list[Path],
    train: Path | None,
    output: Path | None,
    how: dict[str, Any],
    confidence: float,
    layout: dict[str, Any],
    device: str | None,
) -> None:
    """Measure a MODEL on held-out RATINGS: its errors, its lists.

    RATINGS is a file or a folder; several are read as one set. Baselines stand beside the model.

    Example: warpfactor evaluate m.safetensors test.csv

    Example: warpfactor evaluate m.safetensors test.csv --train train.csv --metrics ndcg
    """
    format = None if output is None else table_format(output, None, "csv", by_suffix_alone=True)

    from ..data.files import read_ratings
    from ..evaluation.evaluate import evaluate
    from ..model.model import load

    model = load(model_file, device)
    with busy("reading", ratings):
        pairs = read_ratings(ratings, **layout, ids=id_kinds(model))
    known = None
    if train is not None:
        with busy("reading", train):
            known = read_ratings(train, **layout, ids=id_kinds(model))
    if how["k"] is None:
        del how["k"]
    found = evaluate(model, pairs, train=known, confidence=confidence, **how)
    counts = found.counts
    click.echo(f"pairs         {counts['pairs']:,}")
    click.echo(f"unknown user  {counts['unknown_user']:,}")
    click.echo(f"unknown item  {counts['unknown_item']:,}")
    if counts["left_out"]:
        click.echo(f"left out      {counts['left_out']:,} (no prediction)")
    for name in ("mae", "rmse"):
        if name in found.metrics:
            click.echo(f"{name.upper():14}{found[name]:.4f}")
    click.echo(f"\n{found}")
    if output is not None and format is not None:
        write_frame(output, format, found.to_frame("arrow"))
    note_unknown(
        model,
        pairs,
        mean="MAE and RMSE include the others, predicted from means and biases",
        otherwise="MAE and RMSE are over these alone",
    )
