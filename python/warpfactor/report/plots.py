"""Figures of a model, for matplotlib (``pip install "warpfactor[plot]"``).

Each function draws on the axes that it is given, or on those of a new figure, and returns them. Colours
and sizes are those of the style that is set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..checks import check_choice, check_count
from ..evaluation.held_out import judged
from . import draw
from .measures import (
    BY,
    group_by,
    interval_coverage,
    item_map,
    popularity_shares,
    scored,
)
from .measures import (
    calibration as compared,
)
from .naming import Names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["calibration", "embedding", "errors", "history", "popularity", "residuals"]


def history(model: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the learning curve: the errors of training and validation by epoch.

    Parameters
    ----------
    model : Model or fitted estimator
        What was trained.
    ax : matplotlib.axes.Axes or None, default None
        Where to draw; None: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        RMSEs with the squared loss, losses with others. A dotted line is the epoch that was kept,
        where it was not the last.

    Raises
    ------
    ValueError
        If the model has no `history_`.
    ImportError
        If matplotlib is missing.
    """
    fitted = judged(model).model
    if not fitted.history_:
        raise ValueError("model has an empty history_, so there is no learning curve to draw")
    ax = _axes(ax)
    draw.draw_history(fitted, ax)
    return ax


def residuals(model: Any, test: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the distribution of rating less prediction, beside the normal one.

    Parameters
    ----------
    model : Model or fitted estimator
        What predicts.
    test : Ratings, or anything `Ratings.from_any` takes
        The ratings, which the model was not trained on.
    ax
        As of `history`.

    Returns
    -------
    matplotlib.axes.Axes
        A histogram as a density, up to the error that 99.8 % are below.

    Raises
    ------
    ValueError
        If no test rating has a prediction.
    ImportError
        If matplotlib is missing.
    """
    found = scored(model, test, with_std=False)
    ax = _axes(ax)
    draw.draw_residuals(found, ax)
    return ax


def errors(model: Any, test: Any, *, by: str = "rating", ax: Axes | None = None) -> Axes:
    """Draw the RMSE by rating, by the user's activity or by the item's popularity.

    Parameters
    ----------
    model : Model or fitted estimator, or a mapping of names to those
        What predicts; several stand beside each other, such as a model and its `warpfactor.baselines`,
        of which those that only recommend are left out.
    test
        As of `residuals`.
    by : {"rating", "activity", "popularity"}, default "rating"
        What the ratings are grouped by: their value, or how many training ratings their user or their
        item has. A group with fewer than 20 ratings, or 0.5 % of them, joins the next.
    ax
        As of `history`.

    Returns
    -------
    matplotlib.axes.Axes
        The grey bars are the groups' shares of the test ratings.

    Raises
    ------
    ValueError
        If no test rating has a prediction, or the models predict different ones.
    ImportError
        If matplotlib is missing.
    """
    check_choice("by", by, BY)
    given = model if isinstance(model, Mapping) else {"model": model}
    models = {name: judged(each, f"model[{name!r}]") for name, each in given.items()}
    models = {name: each for name, each in models.items() if each.predicts}
    if not models:
        raise ValueError(
            "model is a mapping without a model that predicts; it must have at least one"
        )
    found = {name: scored(each, test, with_std=False) for name, each in models.items()}
    first = next(iter(found.values()))
    for name, each in found.items():
        if len(each.values) != len(first.values):
            raise ValueError(
                f"model has {name!r:.80}, which predicts {len(each.values)} of the test ratings, and "
                f"another, which predicts {len(first.values)}: use unknown='mean' for all"
            )
    ax = _axes(ax)
    groups = group_by(first, by)
    draw.draw_errors(groups, {name: each.errors for name, each in found.items()}, by, ax)
    return ax


def calibration(model: Any, test: Any, *, kind: str = "auto", ax: Axes | None = None) -> Axes:
    """Draw whether predictions, or intervals, come true.

    Parameters
    ----------
    model, test
        As of `residuals`.
    kind : {"auto", "mean", "intervals"}, default "auto"
        "mean": the mean rating by the mean prediction, in up to 12 groups of like predictions, with 95 %
        intervals of the means. "intervals": how many ratings lie in `predict_interval` by how many should.
        "auto": the intervals where the model has standard deviations.
    ax
        As of `history`.

    Returns
    -------
    matplotlib.axes.Axes
        On the dotted line both are equal.

    Raises
    ------
    ValueError
        If no test rating has a prediction, or `kind` is "intervals" and the model has none.
    ImportError
        If matplotlib is missing.
    """
    check_choice("kind", kind, ("auto", "mean", "intervals"))
    fitted = judged(model).model
    has_std = fitted.noise_variance_ is not None
    if kind == "intervals" and not has_std:
        raise ValueError(
            "kind is 'intervals', and the model has no standard deviations: use kind='mean', or fit "
            "warpfactor.Ensemble(model)"
        )
    found = scored(fitted, test, with_std=kind != "mean")
    ax = _axes(ax)
    if kind == "mean" or not has_std:
        draw.draw_calibration(compared(found), ax)
    else:
        draw.draw_coverage(interval_coverage(fitted, found), ax)
    return ax


def popularity(model: Any, *, n: int = 10, ax: Axes | None = None) -> Axes:
    """Draw which share of the recommendations goes to much rated items.

    Parameters
    ----------
    model : Model or fitted estimator
        What recommends.
    n : int, default 10
        The length of a list. Up to 20,000 users get one.
    ax
        As of `history`.

    Returns
    -------
    matplotlib.axes.Axes
        Items are in ten groups of equally many, most rated first.

    Raises
    ------
    ImportError
        If matplotlib is missing.
    """
    fitted = judged(model).model
    shares = popularity_shares(fitted, check_count("n", n, 1))
    ax = _axes(ax)
    draw.draw_popularity(shares, ax)
    return ax


def embedding(
    model: Any, titles: Any = None, *, n: int = 300, n_titles: int = 25, ax: Axes | None = None
) -> Axes:
    """Draw items in two dimensions, near each other where the same users like them.

    Items are compared by what the factors add to the scores of up to 5,000 users, the columns of P Qᵀ, and shown
    in the plane of their first two principal components. Biases do not count: that something is liked by all says
    nothing of whom it resembles.

    Parameters
    ----------
    model : Model or fitted estimator
        Whose items.
    titles : path, table, dict or Titles, or None, default None
        The items' titles by id: see `warpfactor.read_titles`. Items without one are named by their id.
    n : int, default 300
        How many items: those with the most training ratings.
    n_titles : int, default 25
        How many of them are named at most; names keep clear of each other.
    ax
        As of `history`.

    Returns
    -------
    matplotlib.axes.Axes
        Without ticks, as only distances have a meaning.

    Raises
    ------
    ValueError
        If `n` or `n_titles` is invalid, or the titles cannot be read.
    ImportError
        If matplotlib is missing.
    """
    fitted = judged(model).model
    n_named = check_count("n_titles", n_titles, 0)
    found = item_map(fitted, check_count("n", n, 1))
    names = Names(fitted, titles).of_codes(found.codes)
    ax = _axes(ax)
    draw.draw_map(found, names, n_named, ax)
    return ax


def _axes(ax: Axes | None) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f'figures need matplotlib, which cannot be imported ({error}): pip install "warpfactor[plot]"'
        ) from error
    return plt.subplots(layout="constrained")[1] if ax is None else ax
