"""Lists of the best or the nearest, as tables on the terminal or in files."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..writing import whole_file
from .app import note
from .options import TitlesFile
from .progress import progress
from .tables import id_column, number_column, write_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ListTable", "titles_of", "write_lists"]

# After so many an interrupt is heard.
_ROWS_PER_CHUNK = 4096


class ListTable(NamedTuple):
    """What the columns of lists are.

    Parameters
    ----------
    query, found, score : str
        The names of the first column, of what was found, and of its number.
    ids : ndarray
        The vocabulary of what was found.
    titles : ndarray or None
        Their titles, None where there is none; None: there is no such column.
    """

    query: str
    found: str
    score: str
    ids: NDArray[Any]
    titles: NDArray[Any] | None


_Answer = Callable[[Any], tuple[Any, Any]]
_Parts = Iterator[tuple[Any, Any, Any]]


def titles_of(file: TitlesFile | None, ids: NDArray[Any]) -> NDArray[Any] | None:
    """Return the titles of a vocabulary, of the file that ``--titles`` names."""
    return None if file is None else file.read().by_code(ids)


def write_lists(
    output: Path | None,
    format: str,
    table: ListTable,
    queries: NDArray[Any],
    answer: _Answer,
    doing: str,
) -> None:
    """Write the lists of some queries, some of them at a time.

    Parameters
    ----------
    output, format
        As of `tables.write_table`; the format can also be "table".
    table : ListTable
        The columns.
    queries : ndarray of shape (n_queries,)
        Whose lists.
    answer : callable
        From some of the queries to (found, scores), of shape (n, n_listed), with NaN in empty slots.
    doing : str
        What the bar says.
    """
    empty: list[Any] = []

    def parts() -> _Parts:
        import numpy as np

        starts = range(0, len(queries), _ROWS_PER_CHUNK)
        for start in progress(starts, doing, output):
            some = queries[start : start + _ROWS_PER_CHUNK]
            found, scores = answer(some)
            empty.extend(some[np.isnan(scores).all(axis=1)].tolist())
            yield some, found, scores

    if format == "table":
        _print_tables(output, table, parts())
    else:
        _write_rows(output, format, table, queries, parts())
    if empty:
        note(
            f"{len(empty):,} of {len(queries):,} lists are empty, such as that of {table.query} "
            f"{empty[0]!r:.60}: nothing is left that may be listed"
        )


def _titles_at(table: ListTable, found: NDArray[Any]) -> Any:
    import numpy as np

    assert table.titles is not None
    return table.titles[np.searchsorted(table.ids, found)]


def _write_rows(
    output: Path | None, format: str, table: ListTable, queries: NDArray[Any], parts: _Parts
) -> None:
    import numpy as np
    import pyarrow as pa

    types = [id_column(queries[:1]).type, pa.int32(), id_column(table.ids[:1]).type]
    names = [table.query, "rank", table.found, table.score]
    if table.titles is not None:
        names.append("title")

    def batches() -> Iterator[Any]:
        for part, found, scores in parts:
            rows, places = np.nonzero(~np.isnan(scores))
            columns = [
                id_column(part).take(number_column(rows)),
                number_column((places + 1).astype(np.int32)),
                id_column(found[rows, places]),
                number_column(scores[rows, places]),
            ]
            if table.titles is not None:
                titles = _titles_at(table, found[rows, places])
                columns.append(pa.array(titles, pa.string()))
            yield pa.record_batch(columns, names=names)

    first = next(whole := batches(), None)
    score_type = pa.float32() if first is None else first.schema.field(3).type
    types += [score_type] + ([pa.string()] if table.titles is not None else [])
    schema = pa.schema(list(zip(names, types, strict=True)))

    def all_batches() -> Iterator[Any]:
        with contextlib.closing(cast("Any", whole)):
            if first is not None:
                yield first
            yield from whole

    write_table(output, format, all_batches(), schema)


def _print_tables(output: Path | None, table: ListTable, parts: _Parts) -> None:
    from rich.console import Console
    from rich.table import Table

    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(cast("Any", parts)))
        sink: Any = sys.stdout
        if output is not None:
            sink = stack.enter_context(
                io.TextIOWrapper(stack.enter_context(whole_file(output)), encoding="utf-8")
            )
        # A pipe has no width that long ids would have to be cut for.
        console = Console(
            file=sink, highlight=False, markup=False, width=None if sink.isatty() else 1000
        )
        heads = ["rank", table.found, table.score]
        for queries, found, scores in parts:
            for query, row, row_scores in zip(queries, found, scores, strict=True):
                shown = Table(*heads, title=f"{table.query} {query}")
                shown.columns[0].justify = shown.columns[2].justify = "right"
                if table.titles is not None:
                    shown.add_column("title")
                for rank, item, score in zip(itertools.count(1), row, row_scores, strict=False):
                    if not math.isnan(score):
                        cells = [str(rank), str(item), f"{score:.4f}"]
                        if table.titles is not None:
                            cells.append(_titles_at(table, item) or "")
                        shown.add_row(*cells)
                console.print(shown)
