"""A fitted model in a line of text, for the progress bar and the command line."""

from __future__ import annotations

import math

from .fitted import Fitted
from .record import EpochRecord

__all__ = ["counted", "curve", "epoch_errors", "kept_errors", "summary"]

# How many epochs `curve` tells of.
_ON_CURVE = 6


def summary(model: Fitted, seconds: float) -> str:
    """Say in one line what a fit took, with what, and the errors of the epoch that was kept."""
    threads = counted(model.n_threads_, "thread")
    took = f"{counted(len(model.history_), 'epoch')} in {seconds:.2f} s"
    return f"{took} with {threads} ({model.instruction_set_}){kept_errors(model)}"


def kept_errors(model: Fitted) -> str:
    """Return the errors of the epoch that was kept, and which it is if not the last."""
    history = model.history_
    if not model.n_epochs_:
        return ""
    which = f" (epoch {model.n_epochs_} kept)" if model.n_epochs_ < len(history) else ""
    return f": {epoch_errors(history[model.n_epochs_ - 1], model.loss_)}{which}"


def epoch_errors(record: EpochRecord, loss: str) -> str:
    """Return an epoch's errors: RMSEs with the squared loss, losses with others."""
    name, train, valid = "RMSE", record["train_rmse"], record["valid_rmse"]
    if loss != "squared":
        name, train, valid = f"{loss} loss", record["train_loss"], record["valid_loss"]
    text = f"train {name} {train:.4f}"
    if not math.isnan(valid):
        text += f", validation {name} {valid:.4f}"
    return text


def curve(model: Fitted) -> str:
    """Return the errors of a few epochs from the first to the last: of validation, if there is any."""
    history = model.history_
    validated = not math.isnan(history[-1]["valid_loss"])
    which, unit = ("valid", "validation") if validated else ("train", "train")
    key, name = (f"{which}_rmse", "RMSE") if model.loss_ == "squared" else (f"{which}_loss", "loss")
    last = len(history) - 1
    n_shown = min(_ON_CURVE, len(history))
    shown = sorted({round(last * n / (n_shown - 1)) for n in range(n_shown)})
    errors: list[dict[str, float]] = [dict(history[n]) for n in shown]  # type: ignore[arg-type]
    points = ", ".join(f"{each[key]:.4f} ({each['epoch']})" for each in errors)
    return f"{unit} {name} (epoch): {points}"


def counted(n: int, noun: str) -> str:
    """Return a number with its noun, such as "1 thread" or "1,024 items"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
