"""Measures as figures, on axes of matplotlib in whatever style is set."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..model.fitted import Fitted
from .measures import Calibration, Coverage, Groups, ItemMap, Scored, Shares
from .naming import clean, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "draw_calibration",
    "draw_coverage",
    "draw_errors",
    "draw_history",
    "draw_map",
    "draw_popularity",
    "draw_residuals",
]

# The mean width of a letter and the height of a line, in font sizes: for labels that keep clear of each other.
_LETTER, _LINE = 0.58, 1.25
_LONGEST_LABEL = 26


def draw_history(model: Fitted, ax: Axes) -> None:
    """Draw the errors of the epochs, and which epoch was kept."""
    history = model.history_
    squared = model.loss_ == "squared"
    kind = "rmse" if squared else "loss"
    epochs = [record["epoch"] for record in history]
    rows: list[Mapping[str, Any]] = [dict(record) for record in history]
    marker = "o" if len(epochs) <= 30 else ""
    for which, name, style in (("valid", "validation", "C0-"), ("train", "training", "C1--")):
        errors = np.array([row[f"{which}_{kind}"] for row in rows], float)
        if np.isfinite(errors).any():
            ax.plot(epochs, errors, style, marker=marker, markersize=3, label=name)
    if 0 < model.n_epochs_ < len(history):
        ax.axvline(model.n_epochs_, linestyle=":", linewidth=1, color=_faint(), label="kept")
    ax.set_xlabel("epoch")
    ax.set_ylabel("RMSE" if squared else f"{model.loss_} loss")
    _whole_numbers(ax)
    ax.legend()


def draw_errors(
    groups: Groups, errors: Mapping[str, NDArray[np.float64]], by: str, ax: Axes
) -> None:
    """Draw the RMSE of each model in each group, over the groups' shares of the ratings."""
    at = np.arange(len(groups.labels))
    _bars_behind(ax, at, groups.shares)
    # By marks as well, for those who do not see the colours, or print without them.
    for (name, each), marker in zip(errors.items(), itertools.cycle("os^Dv"), strict=False):
        ax.plot(at, groups.rmse(each), marker=marker, markersize=4, label=clean(name))
    ax.set_xticks(at, groups.labels)
    names = {
        "rating": "rating",
        "activity": "training ratings of the user, from",
        "popularity": "training ratings of the item, from",
    }
    ax.set_xlabel(names[by])
    ax.set_ylabel("RMSE")
    ax.set_ylim(bottom=0)
    if len(errors) > 1:
        ax.legend()


def draw_residuals(scored: Scored, ax: Axes) -> None:
    """Draw how often which error occurs, beside the normal distribution of that mean and deviation."""
    errors = scored.errors
    most = float(np.quantile(np.abs(errors), 0.998))
    if most < 1e-6:  # all are right, within rounding
        most = 1.0
    density, edges = np.histogram(errors, bins=48, range=(-most, most))
    width = edges[1] - edges[0]
    ax.stairs(density / (len(errors) * width), edges, fill=True, alpha=0.55, label="found")
    mean, std = float(errors.mean()), float(errors.std())
    if std > 0:
        x = np.linspace(-most, most, 121)
        normal = np.exp(-(((x - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
        ax.plot(x, normal, color="C1", label="normal")
        ax.legend()
    ax.axvline(0, linestyle=":", linewidth=1, color=_faint())
    ax.set_xlabel(f"rating less prediction (mean {mean:+.3f}, deviation {std:.3f})")
    ax.set_ylabel("density")
    ax.set_ylim(bottom=0)


def draw_calibration(points: Calibration, ax: Axes) -> None:
    """Draw the mean rating by the mean prediction, with 95 % intervals of the means."""
    low = min(points.predicted.min(), points.rating.min())
    high = max(points.predicted.max(), points.rating.max())
    pad = 0.04 * (high - low) if high - low > 1e-3 * max(1.0, abs(high)) else 0.5
    span = [low - pad, high + pad]
    ax.plot(span, span, linestyle=":", linewidth=1, color=_faint(), label="equal")
    ax.errorbar(
        points.predicted,
        points.rating,
        yerr=1.96 * points.standard_error,
        marker="o",
        markersize=3.5,
        label="test ratings",
    )
    ax.set_xlabel("mean prediction")
    ax.set_ylabel("mean rating")
    ax.legend()


def draw_coverage(coverage: Coverage, ax: Axes) -> None:
    """Draw how many ratings lie in their intervals by how many should."""
    ax.plot([0, 1], [0, 1], linestyle=":", linewidth=1, color=_faint(), label="equal")
    ax.plot(coverage.wanted, coverage.found, marker="o", markersize=3.5, label="test ratings")
    ax.set_xlabel("share of ratings that the interval is to hold")
    ax.set_ylabel("share that it holds")
    ax.legend()


def draw_popularity(shares: Shares, ax: Axes) -> None:
    """Draw the shares of ratings and of recommendations by groups of items."""
    at = np.arange(len(shares.labels))
    ax.bar(at - 0.2, shares.recommended, 0.4, label="recommendations")
    ax.bar(at + 0.2, shares.ratings, 0.4, label="training ratings")
    ax.set_xticks(at, shares.labels)
    ax.set_xlabel("items, most rated first: up to … %")
    ax.set_ylabel("share")
    ax.legend()


def draw_map(found: ItemMap, names: Sequence[str], n_names: int, ax: Axes) -> None:
    """Draw items as points, and name those that have room, the most rated first."""
    ax.scatter(found.points[:, 0], found.points[:, 1], s=14, alpha=0.6, linewidths=0, gid="items")
    ax.margins(0.12)
    for axis, share, which in zip("xy", found.shares, ("first", "second"), strict=True):
        label = f"{which} component ({share:.0%} of the variance)"
        getattr(ax, f"set_{axis}label")(label)
        getattr(ax, f"set_{axis}ticks")([])
    if max(found.shares) > 0:
        _name_points(ax, found.points, names, n_names)


def _name_points(ax: Axes, points: NDArray[np.float64], names: Sequence[str], n_names: int) -> None:
    """Name points in their order, where no other name is in the way, nor the edge."""
    import matplotlib as mpl

    size = 0.8 * float(mpl.rcParams["font.size"])
    box = ax.get_position()
    figure = ax.figure.figure  # the whole one, of a part too; get_figure(root=True) came with 3.10
    width, height = (72 * figure.get_size_inches()) * (box.width, box.height)
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    at = (points - (left, low)) / (right - left, high - low) * (width, height)
    taken: list[tuple[float, float, float, float]] = []
    for (x, y), point, name in zip(at, points, names, strict=True):
        if len(taken) >= n_names:
            break
        text = shortened(clean(name), _LONGEST_LABEL)
        wide, tall = _LETTER * size * _letters(text), _LINE * size
        for side, start in (("left", x + 4), ("right", x - 4 - wide)):
            here = (start, y - tall / 2, start + wide, y + tall / 2)
            inside = here[0] >= 0 and here[1] >= 0 and here[2] <= width and here[3] <= height
            if inside and not any(_overlap(here, other) for other in taken):
                ax.annotate(
                    text,
                    (point[0], point[1]),
                    (4 if side == "left" else -4, 0),
                    textcoords="offset points",
                    ha=side,
                    va="center",
                    fontsize=size,
                    parse_math=False,
                )
                taken.append(here)
                break


def _letters(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _overlap(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _bars_behind(ax: Axes, at: NDArray[Any], shares: NDArray[np.float64]) -> None:
    """Draw shares as faint bars of their own height, which the axis does not count."""
    behind = ax.twinx()
    behind.bar(at, shares, 0.8, color=_faint(), alpha=0.2, linewidth=0)
    behind.set_ylim(0, 2.2 * max(shares.max(), 1e-9))
    behind.set_axis_off()
    behind.set_zorder(ax.get_zorder() - 1)
    ax.set_frame_on(True)
    ax.patch.set_visible(False)


def _whole_numbers(ax: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _faint() -> Any:
    import matplotlib as mpl

    return mpl.rcParams["axes.labelcolor"]
