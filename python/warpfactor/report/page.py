"""One self-contained page of a model: what it was trained on, how well it does, and what it recommends."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from ..checks import check_count
from ..data.ratings import Ratings
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.held_out import judged
from ..evaluation.simple_models import baselines_of
from ..model.looking import facts
from ..model.model import Model
from ..parameters import N_LISTED
from ..training.changed import changed_params
from ..writing import whole_file
from .draw import (
    draw_calibration,
    draw_coverage,
    draw_errors,
    draw_history,
    draw_map,
    draw_popularity,
    draw_residuals,
)
from .measures import (
    BY,
    Scored,
    calibration,
    group_by,
    interval_coverage,
    item_map,
    popularity_shares,
    scored,
)
from .naming import Names, short_name
from .people import chosen_users, people
from .svg import inline_svg
from .tables import error_table, list_table

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Report", "check_packages", "make_report"]

# The cutoffs beside the length of the lists.
_CUTOFFS = (5, 10, 20)
_ON_MAP, _NAMED_ON_MAP = 300, 22


@dataclass(frozen=True, repr=False)
class Report:
    """A page about a model; a notebook shows it.

    Attributes
    ----------
    html : str
        The page, which needs no other file and no network.
    evaluation : Evaluation or None
        What was measured on the test ratings.
    """

    html: str
    evaluation: Evaluation | None = None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page to a file, whole or not at all; `OSError` says why it cannot be."""
        with whole_file(path) as file:
            file.write(self.html.encode())

    def __repr__(self) -> str:
        return f"Report({len(self.html.encode()) / 1024:,.0f} KiB; save(path) writes the page)"

    def _repr_html_(self) -> str:
        # In a frame, because a notebook has a style of its own, and so has the page.
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" sandbox style="width:100%;height:42rem;border:0"></iframe>'


def make_report(
    model: Any,
    test: Any = None,
    path: str | PathLike[str] | None = None,
    titles: Any = None,
    *,
    train: Any = None,
    n: int = N_LISTED,
    users: Any = None,
    heading: str = "Model report",
) -> Report:
    """Make one self-contained HTML page of what there is to see of a model.

    The page has the learning curve; with test ratings the errors by rating, by the user's activity and by
    the item's popularity, the ranking metrics, all beside baselines, and whether predictions (or intervals,
    where the model has a standard deviation) come true; how recommendations spread over the items; a map of
    the items; recommendations to some users, and why; the parameters. It needs no network, is light or
    dark as the reader's system, and has no script in it.

    Parameters
    ----------
    model : Model or fitted estimator
        What it is about.
    test : Ratings, or anything `Ratings.from_any` takes, or None, default None
        Ratings that it was not trained on. None: the page says nothing of errors.
    path : str or path-like or None, default None
        A file to write the page to.
    titles : path, table, dict or Titles, or None, default None
        The items' titles by id. Items without one are named by their id.
    train : Ratings, or anything `Ratings.from_any` takes, or None, default None
        What it was trained on: adds the baselines that have to be trained, and what the users liked.
    n : int, default 10
        The length of the lists.
    users : array-like of ids or None, default None
        To whom to recommend for all to see. None: to four users of few to many ratings.
    heading : str, default "Model report"
        What the page is called.

    Returns
    -------
    Report
        The page as `html`, which a notebook shows; `save` writes it.

    Raises
    ------
    ValueError
        If an argument is invalid, or no test rating has a prediction.
    ImportError
        If Jinja2 or matplotlib is missing.
    OSError
        If the file cannot be written.
    """
    check_packages()
    fitted = judged(model).model
    check_count("n", n, 1)
    trained = None if train is None else Ratings.from_any(train, name="train")
    if trained is not None:
        # A model that `warpfactor train` saved takes the test's items for seen as well.
        fitted = fitted.with_seen_only(trained)
    page = _Page(
        fitted,
        None if test is None else Ratings.from_any(test, name="test"),
        trained,
        Names(fitted, titles),
        n,
        users,
    )
    text = _template().render(
        heading=short_name(heading),
        subtitle=page.subtitle(),
        tiles=page.tiles(),
        findings=page.findings(),
        sections=list(page.sections()),
        version=_core.__version__,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    )
    report = Report(text, page.evaluation)
    if path is not None:
        report.save(path)
    return report


def check_packages() -> None:
    """Raise ImportError, with what to install, if Jinja2 or matplotlib is missing."""
    for name in ("jinja2", "matplotlib"):
        try:
            import_module(name)
        except ImportError as error:
            raise ImportError(
                f'a report needs {name}, which cannot be imported ({error}): pip install "warpfactor[plot]"'
            ) from error


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("warpfactor.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


class _Page:
    """What the template shows, measured once."""

    def __init__(
        self,
        model: Model,
        test: Ratings | None,
        train: Ratings | None,
        names: Names,
        n: int,
        users: Any,
    ) -> None:
        self._model = model
        self._test, self._train = test, train
        self._names, self._n = names, n
        self._users = chosen_users(model, test, users)
        self._figures = 0
        self._shares = popularity_shares(model, n)
        self.evaluation: Evaluation | None = None
        self._scored: Scored | None = None
        self._errors: dict[str, Any] = {}
        if test is not None:
            self._measure(test)

    def _measure(self, test: Ratings) -> None:
        self._scored = found = scored(self._model, test)
        baselines = baselines_of(self._model, self._train)
        self.evaluation = evaluate(
            self._model,
            test,
            k=sorted({*_CUTOFFS, self._n}),
            train=self._train,
            baselines=baselines,
        )
        self._errors = {"model": found.errors}
        for name, each in baselines.items():
            if each.predicts:
                predicted = np.asarray(each.model.predict(found.ratings), np.float64)
                self._errors[name] = found.values - predicted

    def subtitle(self) -> str:
        """Return a line of whom, what and how many."""
        model = self._model
        low, high = model.rating_range_
        span = "" if np.isnan(low) else f" from {low:g} to {high:g}"
        return (
            f"{len(model.user_ids_):,} users, {len(model.item_ids_):,} items, "
            f"{model.n_ratings_:,} training ratings{span}"
        )

    def tiles(self) -> list[dict[str, str]]:
        """Return the numbers to see first."""
        found, model = self.evaluation, self._model
        tiles = []
        if found is not None:
            beaten = _best_error(found)
            note = "" if beaten is None else f"{beaten[0]}: {beaten[1]:.4f}"
            tiles.append(_tile("Test RMSE", f"{found.rmse:.4f}", note))
            tiles.append(
                _tile("Test MAE", f"{found.mae:.4f}", f"{found.counts['pairs']:,} ratings")
            )
            if "ndcg" in found.ranking:
                best = _best_list(found, self._n)
                note = "" if best is None else f"{best[0]}: {best[1]:.3f}"
                value = found.ranking["ndcg"][self._n]
                tiles.append(_tile(f"nDCG@{self._n}", f"{value:.3f}", note))
        elif "test_rmse" in model.origin_:
            told = model.origin_
            n_test = f"{told['n_test']:,} ratings" if "n_test" in told else ""
            tiles.append(_tile("Test RMSE", f"{told['test_rmse']:.4f}", n_test))
        tiles.append(
            _tile(
                f"Coverage@{self._n}", f"{self._shares.covered:.0%}", "of the items are recommended"
            )
        )
        shares = self._shares
        note = f"of the places in lists; they have {shares.ratings[0]:.0%} of the ratings"
        tiles.append(_tile("Most rated tenth", f"{shares.recommended[0]:.0%}", note))
        return tiles

    def findings(self) -> list[str]:
        """Return in sentences what the numbers say."""
        found, n = self.evaluation, self._n
        said = []
        beaten = None if found is None else _best_error(found)
        if found is not None and beaten is not None:
            name, error = beaten
            change = (error - found.rmse) / error if error else 0.0
            how = "smaller" if change > 0 else "larger"
            said.append(f"The error is {abs(change):.1%} {how} than that of the baseline {name!r}.")
        if found is not None and "ndcg" in found.ranking:
            best = _best_list(found, n)
            if best is not None:
                mine = found.ranking["ndcg"][n]
                than = "more" if mine > best[1] else "less" if mine < best[1] else "as much"
                said.append(
                    f"Its lists find {than} of what users liked in the test "
                    f"{'as' if than == 'as much' else 'than'} those of the baseline {best[0]!r} "
                    f"(nDCG@{n} {mine:.3f} and {best[1]:.3f})."
                )
        if self._scored is not None and self._scored.std is not None:
            coverage = interval_coverage(self._model, self._scored)
            held = float(coverage.found[list(coverage.wanted).index(0.9)])
            said.append(f"Intervals that are to hold 90 % of the ratings hold {held:.1%}.")
        return said

    def sections(self) -> Iterator[dict[str, Any]]:
        """Yield the page's sections."""
        model = self._model
        figures = []
        if model.history_:
            about = "Training errors are those before each rating's own step."
            if "n_burn_in" in model.get_params():
                about = "After the burn-in, of the mean of the samples so far."
            figures = [self._figure(lambda ax: draw_history(model, ax), "Error by epoch", about)]
        yield _section("training", "Training", pairs=facts(model), figures=figures, beside=True)
        if self.evaluation is not None and self._scored is not None:
            yield self._error_section(self.evaluation, self._scored)
            yield self._truth_section(self._scored)
        yield self._list_section()
        yield self._map_section()
        yield self._people_section()
        yield self._setup_section()

    def _error_section(self, found: Evaluation, here: Scored) -> dict[str, Any]:
        words = {
            "rating": ("By rating", "Ratings that are rare are predicted worse."),
            "activity": ("By the user's activity", "From left to right, users with more ratings."),
            "popularity": (
                "By the item's popularity",
                "From left to right, items with more ratings.",
            ),
        }
        figures = []
        for by in BY:
            groups = group_by(here, by)
            heading, caption = words[by]
            if len(groups.labels) > 1:
                figures.append(
                    self._figure(
                        lambda ax, by=by, groups=groups: draw_errors(groups, self._errors, by, ax),
                        heading,
                        f"{caption} Bars: the share of the test ratings.",
                    )
                )
        notes = []
        if here.n_left_out:
            notes.append(f"{here.n_left_out:,} test ratings have no prediction and do not count.")
        return _section(
            "errors",
            "Errors on test ratings",
            table=error_table(found),
            figures=figures,
            beside=True,
            notes=notes,
        )

    def _truth_section(self, here: Scored) -> dict[str, Any]:
        model = self._model
        figures = [
            self._figure(
                lambda ax: draw_calibration(calibration(here), ax),
                "Predictions",
                "The mean rating of pairs with like predictions.",
            )
        ]
        if here.std is not None:
            figures.append(
                self._figure(
                    lambda ax: draw_coverage(interval_coverage(model, here), ax),
                    "Intervals",
                    "How many ratings lie within intervals of several widths.",
                )
            )
        figures.append(
            self._figure(
                lambda ax: draw_residuals(here, ax),
                "Residuals",
                "How often which difference between rating and prediction occurs.",
            )
        )
        return _section("calibration", "Do predictions come true?", figures=figures)

    def _list_section(self) -> dict[str, Any]:
        found, n, shares = self.evaluation, self._n, self._shares
        section = _section(
            "lists",
            "Lists of recommendations",
            figures=[
                self._figure(
                    lambda ax: draw_popularity(shares, ax),
                    "Popularity bias",
                    f"Items in groups of equally many, by their training ratings. Lists of {n} for "
                    f"{shares.n_users:,} users.",
                )
            ],
            beside=True,
        )
        if found is not None and found.ranking:
            section["table"] = list_table(found, (n,))
            others = tuple(k for k in found.k if k != n)
            if others:
                section["more"] = {
                    "heading": "At other lengths",
                    "table": list_table(found, others),
                }
            section["notes"] += found.notes()
        return section

    def _map_section(self) -> dict[str, Any]:
        found = item_map(self._model, _ON_MAP)
        names = self._names.of_codes(found.codes)
        figure = self._figure(
            lambda ax: draw_map(found, names, _NAMED_ON_MAP, ax),
            "Items by taste",
            "Items near each other are liked by the same users. Biases do not count.",
            tall=1.6,
            tooltips={"items": names},
        )
        flat = max(found.shares) == 0
        return _section(
            "map",
            f"The {len(names):,} most rated items",
            figures=[] if flat else [figure],
            notes=["The factors are zero: the model predicts by biases alone."] if flat else [],
        )

    def _people_section(self) -> dict[str, Any]:
        shown = people(self._model, self._users, self._test, self._train, self._names, n=self._n)
        return _section(
            "recommendations",
            "Recommendations",
            text="Items that the user has not rated in training, by predicted rating, with the rated items that "
            "have the largest shares in it.",
            people=shown,
        )

    def _setup_section(self) -> dict[str, Any]:
        model = self._model
        parts = []
        for heading, params in (
            ("Parameters that are not the defaults", changed_params(model)),
            ("Chosen by training", model.chosen_),
        ):
            if params:
                parts.append({"heading": heading, "rows": _written(params)})
        return _section("setup", "Parameters", parts=parts)

    def _figure(
        self,
        draw: Any,
        heading: str,
        caption: str,
        *,
        tall: float = 1.0,
        tooltips: Mapping[str, Sequence[str]] | None = None,
    ) -> dict[str, Any]:
        from markupsafe import Markup

        self._figures += 1
        name = f"figure-{self._figures}"
        svg = inline_svg(draw, name, f"{heading}. {caption}", tall=tall, tooltips=tooltips)
        return {"svg": Markup(svg), "heading": heading, "caption": caption}


def _section(id: str, heading: str, **parts: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {
        "text": "",
        "pairs": [],
        "table": None,
        "beside": False,
        "figures": [],
        "people": [],
        "parts": [],
        "more": None,
        "notes": [],
    }
    return empty | {"id": id, "heading": heading} | parts


def _tile(name: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "value": value, "note": note}


def _best_error(found: Evaluation) -> tuple[str, float] | None:
    errors = {name: each.rmse for name, each in found.baselines.items() if not np.isnan(each.rmse)}
    return min(errors.items(), key=lambda pair: pair[1]) if errors else None


def _best_list(found: Evaluation, n: int) -> tuple[str, float] | None:
    values = {name: each.ranking["ndcg"][n] for name, each in found.baselines.items()}
    known = {name: value for name, value in values.items() if not np.isnan(value)}
    return max(known.items(), key=lambda pair: pair[1]) if known else None


def _written(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return ", ".join(map(text, value))
        return f"{value:.4g}" if isinstance(value, float) else short_name(value)

    return [(name, text(value)) for name, value in params.items()]
