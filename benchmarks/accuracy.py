"""Test RMSE of warpfactor, of the biases alone and of other packages on every rating set here, and the seconds of the fits.

    python benchmarks/accuracy.py [--data FOLDER] [--sets NAME ...] [--models NAME ...] [--seeds N] [--threads T]
                                  [--libmf MF_TRAIN] [--cache FILE] [--out FILE] [--lists]

--sets takes names, the groups "real", "folds" and "generated" (the default is these three) and "ml-1m-folds", and paths of
other files of ratings. `rating_sets.py` says how a set is split and how the generated ones come about. RMSE is of predictions as they
are, not clipped to the scale.

--models takes names of columns (default all): "biases" are mu + b_u + b_i, shrunk as mean-field EM chooses; "plain SGD" is
`MatrixFactorization` without prior means and penalties per row; "defaults" is `MatrixFactorization()`; "ensemble" are four
of the latter; "Bayesian" is `BayesianMatrixFactorization()`; "mixed" is the mean of these two. "plain SGD" and "defaults"
are fitted with N seeds (default 3): the table gives their mean, and for the defaults half of their range. The rest has
the seed 0. Surprise and myFM have their own defaults, but for myFM's rank of 16; LIBMF and cmfrec choose their penalty by
a tenth of the training ratings, held out, which is not in their seconds. What is not installed is left out, and the table
says so; so is LIBMF if --libmf does not name its mf-train. SVD++ is left out where it takes very long.

Seconds are of the fit alone, from what the package takes: for warpfactor from `Ratings`, for LIBMF the whole process,
which reads a text file. T is the number of threads (default 1) for those that can use more. The defaults, the ensemble
and the Bayesian model choose their strengths in those seconds.

Where myFM and the defaults are on fold 1 of MovieLens 1M, a last table tells in what time the defaults are as good as myFM:
of the fits with 1, 2, 3, ... epochs the first whose RMSE is no more than myFM's, the search for strengths included.

A package that fails on a set is left out there, and the tables say why. --out writes the tables to a file, after each set
those so far. On one thread of a quiet machine the whole takes about 40 minutes, of which all but four are the packages'.

--lists prints another table: how good lists of ten are (`ranked_lists.py` says how they are judged).

--cache keeps what was measured in a JSON file, by set, model, seed and threads. What is there is not measured again, as
long as the package, its settings and the ratings are the same. A file holds what one machine measured; where a table has
figures of several sittings, it says so, since seconds of different sittings do not compare.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import heading, processor
from ranked_lists import Judgement, hold_out_last, judge
from rating_models import Model, Outcome, mixture, models
from rating_sets import ALL, DEFAULT_GROUPS, FILES, FOLDS, GROUPS, RatingSet, load, sets
from rich import box
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import warpfactor as wf

# Lists of a hundred jokes that everybody rated, or of items chosen at random, say nothing.
LISTED = ("ml-latest-small", "ml-100k", "ml-1m", "movietweetings-100k", "filmtrust")
# Where the last table measures, and what with; it stops after so many epochs, and times each fit so often.
REACHED_ON, REACHED, MOST_EPOCHS, REPEATED = "ml-1m-fold1", "myFM", 20, 3
OWN = ("biases", "plain SGD", "defaults", "ensemble", "Bayesian", "mixed")

# What the cache keeps of a fit: source, data, sitting and the figures.
Entry = dict[str, Any]


class Reached(NamedTuple):
    """The first fit of the defaults, by epochs, that is as good as another model."""

    title: str
    of_other: Entry
    n_epochs: int
    rmse: float
    seconds: float


class Row(NamedTuple):
    """A line of the table: the entries of each model, one for each of its seeds."""

    title: str
    n_train: int
    entries: dict[str, list[Entry]]

    def mean(self, model: str, figure: str) -> float | None:
        """Return the mean over the seeds; None where the model was left out."""
        entries = self.entries.get(model)
        return statistics.fmean(entry[figure] for entry in entries) if entries else None


class Cache:
    """What was measured, kept in a file if there is one.

    Parameters
    ----------
    path : Path or None
        The file; it need not exist.

    Raises
    ------
    SystemExit
        If another machine measured what is in the file.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._machine = f"{processor()}, {os.cpu_count()} processors"
        self.sitting = f"{datetime.now():%Y-%m-%d %H:%M}"
        self._entries: dict[str, Entry] = {}
        if path is not None and path.exists():
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["machine"] != self._machine:
                sys.exit(
                    f"--cache {path} is of another machine, {kept['machine']}; this is "
                    f"{self._machine}: give another file"
                )
            self._entries = kept["entries"]

    def get(self, key: str, source: str, data: int) -> Entry | None:
        """Return what was measured of the same source and data."""
        entry = self._entries.get(key)
        return entry if entry and (entry["source"], entry["data"]) == (source, data) else None

    def put(self, key: str, source: str, data: int, **figures: Any) -> Entry:
        """Keep figures, in the file at once: the next fit may take minutes."""
        entry = {"source": source, "data": data, "sitting": self.sitting, **figures}
        self._entries[key] = entry
        if self._path is not None:
            text = json.dumps({"machine": self._machine, "entries": self._entries}, indent=1)
            beside = self._path.with_name(self._path.name + ".new")
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        return entry


class Bench:
    """Measures models on sets, through the cache."""

    def __init__(self, found: dict[str, Model], cache: Cache, n_threads: int) -> None:
        self._found, self._cache, self._n_threads = found, cache, n_threads
        self._outcomes: dict[tuple[int, str, int], Outcome] = {}
        self.sittings: set[str] = set()
        self.failures: list[str] = []

    def rmse(self, data: RatingSet, name: str, seeds: int) -> list[Entry]:
        """Return the entries of a model on a set, one for each of its seeds.

        None where it takes too long, or where another package fails.
        """
        model = self._found[name]
        if model.too_large(data):
            return []
        digest = _digest(data)
        entries = []
        for seed in range(seeds if model.every_seed else 1):
            key = f"rmse/{data.name}/{name}/seed {seed}/{self._n_threads} threads"
            entry = self._cache.get(key, model.source, digest)
            if entry is None:
                try:
                    outcome = self._fit(data, name, seed)
                except Exception as error:
                    if name in OWN:
                        raise
                    # An hour's other figures are worth more than to end here.
                    self.failures.append(f"{name} failed on {data.name}: {error!r:.200}")
                    _tell(self.failures[-1])
                    return []
                figures = {"rmse": float(outcome.rmse), "seconds": outcome.seconds}
                entry = self._cache.put(key, model.source, digest, **figures)
                _tell(
                    f"{data.name}, {name}, seed {seed}: {entry['rmse']:.4f}, {entry['seconds']:.2f} s"
                )
            entries.append(entry)
            self.sittings.add(entry["sitting"])
        return entries

    def reached(self, data: RatingSet, other: Entry) -> Reached | None:
        """Return the first fit of the defaults that is as good as another model; None if none is."""
        ratings = wf.Ratings.from_arrays(*data.train)
        pairs = np.c_[data.test.users, data.test.items]
        for n_epochs in range(1, 1 + MOST_EPOCHS):
            seconds = []
            for _ in range(REPEATED):
                model = wf.MatrixFactorization(
                    n_epochs=n_epochs, random_state=0, n_threads=self._n_threads, verbose=0
                )
                start = time.perf_counter()
                model.fit(ratings)
                seconds.append(time.perf_counter() - start)
            rmse = float(wf.metrics.rmse(data.test.ratings, model.predict(pairs)))
            if rmse <= other["rmse"]:
                return Reached(data.name, other, n_epochs, rmse, statistics.median(seconds))
        return None

    def _fit(self, data: RatingSet, name: str, seed: int) -> Outcome:
        # A mixture comes after its parts, and need not fit them again.
        key = _digest(data), name, seed
        if key in self._outcomes:
            return self._outcomes[key]
        model = self._found[name]
        if model.parts:
            return mixture(data, [self._fit(data, part, seed) for part in model.parts])
        assert model.run is not None
        with threadpool_limits(self._n_threads):
            outcome = model.run(data, seed, self._n_threads)
        if any(name in other.parts for other in self._found.values()):
            self._outcomes[key] = outcome
        return outcome

    def lists(self, data: RatingSet, name: str, seeds: int) -> list[Entry]:
        """Return the entries of a model's lists, one for each of its seeds."""
        model = self._found[name]
        digest = _digest(data)
        entries = []
        for seed in range(seeds if model.every_seed else 1):
            key = f"lists/{data.name}/{name}/seed {seed}/{self._n_threads} threads"
            entry = self._cache.get(key, model.source, digest)
            if entry is None:
                with threadpool_limits(self._n_threads):
                    judgement = judge(data, model, seed, self._n_threads)
                entry = self._cache.put(key, model.source, digest, **judgement._asdict())
                _tell(f"{data.name}, {name}, seed {seed}: hit {judgement.hit:.4f}")
            entries.append(entry)
            self.sittings.add(entry["sitting"])
        return entries

    def caption(self, names: Sequence[str]) -> str:
        """Say what the columns are and when they were measured."""
        lines = [f"{name}: {self._found[name].source}" for name in names]
        when = "one sitting" if len(self.sittings) == 1 else f"{len(self.sittings)} sittings"
        warning = "" if len(self.sittings) == 1 else ", whose seconds do not compare"
        lines.append(
            f"Measured with --threads {self._n_threads}, in {when}{warning}: "
            f"{'; '.join(sorted(self.sittings))}"
        )
        lines += self.failures
        return "\n".join(lines)


def _digest(data: RatingSet) -> int:
    digest = 0
    for array in (*data.train, *data.test):
        digest = zlib.crc32(array.tobytes(), digest)
    return digest


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _with_means(rows: Sequence[Row]) -> Iterator[Row]:
    """Add a line for the mean over the folds of a set, after the last of them."""
    left = Counter(FOLDS[row.title][0] for row in rows if row.title in FOLDS)
    folds: dict[str, list[Row]] = {source: [] for source in left}
    for row in rows:
        yield row
        source, _ = FOLDS.get(row.title, ("", 0))
        if source in folds:
            folds[source].append(row)
            if len(folds[source]) == left[source] > 1:
                yield _mean_row(f"{source}, mean of {left[source]}", folds[source])


def _mean_row(title: str, rows: Sequence[Row]) -> Row:
    """Average the folds, seed by seed."""
    entries = {
        name: [
            {what: statistics.fmean(e[what] for e in folds) for what in ("rmse", "seconds")}
            for folds in zip(*(row.entries[name] for row in rows), strict=False)
        ]
        for name in rows[0].entries
    }
    return Row(title, round(statistics.fmean(row.n_train for row in rows)), entries)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1))
    for k, column in enumerate(columns):
        table.add_column(column, justify="right" if k else "left", no_wrap=True)
    return table


def _stacked(names: Sequence[str]) -> list[str]:
    return [name.replace(" ", "\n") for name in names]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _rmse_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    pairs = [[name, "±"] if name == "defaults" else [name] for name in names]
    table = _table("Test RMSE", ["set", "ratings", *_stacked([*itertools.chain(*pairs)])])
    for row in rows:
        cells = []
        for name in names:
            cells.append(_cell(row.mean(name, "rmse"), ".4f"))
            if name == "defaults":
                errors = [entry["rmse"] for entry in row.entries[name]]
                cells.append(f"{(max(errors) - min(errors)) / 2:.4f}" if len(errors) > 1 else "")
        table.add_row(row.title, f"{row.n_train:,}", *cells)
    return table


def _seconds_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    table = _table(
        "Seconds of a fit (the mean over the seeds)", ["set", "ratings", *_stacked(names)]
    )
    for row in rows:
        cells = (_cell(row.mean(name, "seconds"), ".2f") for name in names)
        table.add_row(row.title, f"{row.n_train:,}", *cells)
    return table


def _margins_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """How much more the RMSE of the defaults is than that of the others."""
    others = [name for name in names if name in OWN and name != "defaults"]
    peers = [name for name in names if name not in OWN]
    title = "RMSE of the defaults over that of others, in percent: negative is better"
    table = _table(title, ["set", *_stacked(others), *(["best package", "which"] if peers else [])])
    for row in rows:
        own = row.mean("defaults", "rmse")
        assert own is not None
        errors = {name: row.mean(name, "rmse") for name in names}
        over = {
            name: 100 * (own / error - 1) for name, error in errors.items() if error is not None
        }
        cells = [_cell(over.get(name), "+.2f") for name in others]
        if peers:
            best = max((name for name in peers if name in over), key=over.__getitem__, default="")
            cells += [_cell(over.get(best), "+.2f"), best]
        table.add_row(row.title, *cells)
    return table


def _reached_table(reached: Reached) -> Table:
    columns = ["set", REACHED, "seconds", "defaults", "epochs", "seconds", "ratio"]
    table = _table(f"The defaults' time to the RMSE of {REACHED}", columns)
    other = reached.of_other
    figures = f"{other['rmse']:.4f}", f"{other['seconds']:.2f}", f"{reached.rmse:.4f}"
    ratio = f"1/{other['seconds'] / reached.seconds:.0f}"
    table.add_row(reached.title, *figures, str(reached.n_epochs), f"{reached.seconds:.2f}", ratio)
    return table


def _print_tables(
    console: Console, rows: Sequence[Row], names: Sequence[str], reached: Reached | None, text: str
) -> None:
    heading(console)
    rows = list(_with_means(rows))
    console.print(_rmse_table(rows, names))
    console.print(_seconds_table(rows, names))
    if "defaults" in names and len(names) > 1:
        console.print(_margins_table(rows, names))
    if reached is not None:
        console.print(_reached_table(reached))
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _lists_table(row: Row) -> Table:
    columns = ["model", "hit@10", "nDCG@10", "coverage, %", "<= 5 ratings, %", "fit, s"]
    table = _table(f"{row.title}: lists of ten", columns)
    for name in row.entries:
        hit, ndcg, coverage, little_known, seconds = (
            row.mean(name, figure) or 0.0 for figure in Judgement._fields
        )
        shares = f"{100 * coverage:.1f}", f"{100 * little_known:.2f}"
        table.add_row(name, f"{hit:.3f}", f"{ndcg:.4f}", *shares, f"{seconds:.2f}")
    return table


def _chosen_sets(parser: argparse.ArgumentParser, given: Sequence[str]) -> list[str]:
    names = [name for word in given for name in GROUPS.get(word, (word,))]
    for name in names:
        if name not in ALL and not Path(name).exists():
            parser.error(f"--sets {name} is no file and no set; sets: {', '.join((*GROUPS, *ALL))}")
    return list(dict.fromkeys(names))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--sets", nargs="+")
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--libmf", type=Path)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--lists", action="store_true", help="judge lists in place of ratings")
    options = parser.parse_args()
    for name in ("seeds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it must be at least 1")

    chosen = _chosen_sets(parser, options.sets or (LISTED if options.lists else DEFAULT_GROUPS))
    if options.data is None and any(name in FILES or name in FOLDS for name in chosen):
        parser.error("give --data FOLDER, or set WARPFACTOR_DATA")
    found, notes = models(options.libmf)
    able = [n for n, m in found.items() if (m.lists if options.lists else m.run or m.parts)]
    names = options.models or able
    for name in names:
        if name not in able:
            parser.error(
                f"--models {name!r} is none of {', '.join(map(repr, able))}. {'. '.join(notes)}"
            )

    def caption() -> str:
        return "\n".join([bench.caption(names), *(notes if options.models is None else [])])

    console = Console(width=200)
    bench = Bench(found, Cache(options.cache), options.threads)
    if options.lists:
        heading(console)
        for name in chosen:
            data = hold_out_last(Path(name).name, load(name, options.data))
            judged = {model: bench.lists(data, model, options.seeds) for model in names}
            console.print(_lists_table(Row(data.name, len(data.train.ratings), judged)))
        console.print(caption(), highlight=False, markup=False, soft_wrap=True)
        return
    rows, reached = [], None
    for data in sets(options.data, chosen):
        measured = {model: bench.rmse(data, model, options.seeds) for model in names}
        rows.append(Row(data.name, len(data.train.ratings), measured))
        if data.name == REACHED_ON and measured.get(REACHED) and "defaults" in names:
            reached = bench.reached(data, measured[REACHED][0])
        if options.out is not None:
            with options.out.open("w", encoding="utf-8") as file:
                _print_tables(Console(file=file, width=200), rows, names, reached, caption())
    _print_tables(console, rows, names, reached, caption())


if __name__ == "__main__":
    main()
