"""Indexes of inner products over `export_items`, beside the exact `recommend`: recall at 10 and queries per second.

    python benchmarks/item_index.py [--data FOLDER] [--n-factors K] [--n-items N] [--threads T]

Two catalogues: the model of MovieLens 1M in FOLDER (default $WARPFACTOR_DATA), and a generated one of N items. Recall is the
share of the ten items of the highest score, by `recommend(exclude_seen=False)`, that an index finds; the median over three
passes gives the queries per second, all on T threads. HNSW has 32 links a node, 200 candidates while building, and as many
while searching as the table says; faiss' and usearch's are searched by inner product as docs/recommending.md shows. "L2" is
the textbook reduction of inner products to Euclidean distances, by one more coordinate that makes all items as long as the
longest (Bachrach et al., RecSys 2014), in the same index of faiss. What is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import heading
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import warpfactor as wf

LISTED = 10
QUERIES = 4000
LINKS, BUILDING = 32, 200
EFFORTS = (32, 128)

Search = Callable[[NDArray[np.float32]], NDArray[np.int64]]


def usearch_index(vectors: NDArray[np.float32], effort: int, threads: int) -> Search:
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=LINKS,
        expansion_add=BUILDING, expansion_search=effort,
    )  # fmt: skip
    index.add(np.arange(len(vectors)), vectors, threads=threads)
    return lambda queries: index.search(queries, LISTED, threads=threads).keys.astype(np.int64)


def faiss_index(vectors: NDArray[np.float32], effort: int, threads: int, *, l2: bool) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, metric)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILDING, effort
    index.add(vectors)
    return lambda queries: index.search(queries, LISTED)[1]


def as_distances(
    vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add the coordinate that makes the nearest item that of the largest inner product."""
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    rest = np.sqrt(squares.max() - squares).astype(np.float32)
    return np.c_[vectors, rest], np.c_[queries, np.zeros(len(queries), np.float32)]


def measured(search: Search, queries: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = search(queries)
        seconds.append(time.perf_counter() - start)
    return found, len(queries) / statistics.median(seconds)


def rows(model: wf.Model, threads: int) -> list[tuple[str, ...]]:
    """Measure one catalogue; a row for each way to search it."""
    users = model.user_ids_[model.user_known_][:QUERIES]
    ids, vectors = model.export_items()
    queries = model.export_users(users)
    answering = model.with_options(n_threads=threads)

    def exact(_: NDArray[np.float32]) -> NDArray[np.int64]:
        return answering.recommend(users, LISTED, exclude_seen=False)[0]

    best, speed = measured(exact, queries)
    lengths = np.linalg.norm(vectors, axis=1)
    spread = f"{np.percentile(lengths, 99) / np.percentile(lengths, 1):.0f}"
    table = [("exact recommend", "", "1.000", f"{speed:,.0f}", "", f"{len(ids):,}, {spread}")]
    for package, name, l2 in (
        ("faiss", "faiss HNSW, inner product", False),
        ("usearch", "usearch HNSW, inner product", False),
        ("faiss", "faiss HNSW, reduced to L2", True),
    ):
        if importlib.util.find_spec(package) is None:
            table.append((f"{name}: not installed", "", "", "", "", ""))
            continue
        given = as_distances(vectors, queries) if l2 else (vectors, queries)
        for effort in EFFORTS:
            start = time.perf_counter()
            if package == "faiss":
                search = faiss_index(given[0], effort, threads, l2=l2)
            else:
                search = usearch_index(given[0], effort, threads)
            build = time.perf_counter() - start
            found, speed = measured(search, given[1])
            hits = sum(len(np.intersect1d(a, ids[b])) for a, b in zip(best, found, strict=True))
            table.append(
                (name, str(effort), f"{hits / best.size:.3f}", f"{speed:,.0f}", f"{build:.1f}", "")
            )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=os.environ.get("WARPFACTOR_DATA"))
    parser.add_argument("--n-factors", type=int, default=64)
    parser.add_argument("--n-items", type=int, default=50_000)
    parser.add_argument("--threads", type=int, default=wf.show_config("dicts")["n_threads"])
    options = parser.parse_args()

    console = Console(width=120)
    heading(console)
    sets: dict[str, wf.Ratings] = {}
    if options.data is not None:
        sets["MovieLens 1M"] = wf.read_ratings(Path(options.data) / "ml-1m" / "ratings.dat")
    sets["generated"] = wf.datasets.make_ratings(
        20_000, options.n_items, 40 * options.n_items, random_state=0
    ).ratings
    for name, ratings in sets.items():
        fit = wf.MatrixFactorization(options.n_factors, random_state=0, verbose=0)
        table = Table(title=f"{name}, k = {options.n_factors}")
        for head in (
            "search",
            "candidates",
            "recall@10",
            "queries/s",
            "build, s",
            "items, longest / shortest",
        ):
            table.add_column(head, justify="left" if head == "search" else "right")
        for row in rows(fit.fit(ratings).model_, options.threads):
            table.add_row(*row)
        console.print(table)
    console.print("longest / shortest: of the vectors, their 99th percentile over their 1st")


if __name__ == "__main__":
    main()
