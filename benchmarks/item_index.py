"""Indexes of inner products over `export_items`, beside the exact `recommend`: recall at 10 and queries per second.

    python benchmarks/item_index.py [--data FOLDER] [--n-factors K] [--n-items N] [--threads T]

Three catalogues: the model of MovieLens 1M in FOLDER (default $WARPFACTOR_DATA), that of generated ratings of N items, and N
random factors whose lengths are log-normal (sigma 1/2). Recall is the share of the ten items of the highest score that an index
finds. The exact search is `recommend(exclude_seen=False)`; of random factors, a product of matrices. The median over three passes gives the queries per second, all on T threads. HNSW has 32 links a node, 200 candidates while building, and as many
while searching as the table says; faiss' and usearch's are searched by inner product as docs/how-to/recommending.md shows. "L2" is
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
from typing import NamedTuple

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

Search = Callable[[NDArray[np.float32], int], NDArray[np.int64]]


def usearch_index(vectors: NDArray[np.float32], threads: int) -> Search:
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=LINKS, expansion_add=BUILDING
    )  # fmt: skip
    index.add(np.arange(len(vectors)), vectors, threads=threads)

    def search(queries: NDArray[np.float32], effort: int) -> NDArray[np.int64]:
        index.expansion_search = effort
        return index.search(queries, LISTED, threads=threads).keys.astype(np.int64)

    return search


def faiss_index(vectors: NDArray[np.float32], threads: int, *, l2: bool) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    metric = faiss.METRIC_L2 if l2 else faiss.METRIC_INNER_PRODUCT
    index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, metric)
    index.hnsw.efConstruction = BUILDING
    index.add(vectors)

    def search(queries: NDArray[np.float32], effort: int) -> NDArray[np.int64]:
        index.hnsw.efSearch = effort
        return index.search(queries, LISTED)[1]

    return search


def as_distances(
    vectors: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Add the coordinate that makes the nearest item that of the largest inner product."""
    squares = (vectors.astype(np.float64) ** 2).sum(axis=1)
    rest = np.sqrt(squares.max() - squares).astype(np.float32)
    return np.c_[vectors, rest], np.c_[queries, np.zeros(len(queries), np.float32)]


def measured(
    search: Search, queries: NDArray[np.float32], effort: int
) -> tuple[NDArray[np.int64], float]:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        found = search(queries, effort)
        seconds.append(time.perf_counter() - start)
    return found, len(queries) / statistics.median(seconds)


class Catalogue(NamedTuple):
    """Vectors of items and of queries, and the exact search by these queries."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    exact: Callable[[], NDArray[np.int64]]


def of_model(ratings: wf.Ratings, n_factors: int, threads: int) -> Catalogue:
    fit = wf.MatrixFactorization(n_factors, n_threads=threads, random_state=0, verbose=0)
    model = fit.fit(ratings).model_
    users = model.user_ids_[model.user_known_][:QUERIES]
    return Catalogue(
        *model.export_items(),
        model.export_users(users),
        lambda: model.recommend(users, LISTED, exclude_seen=False)[0],
    )


def uneven(n_items: int, n_factors: int) -> Catalogue:
    """Normal factors whose lengths are log-normal, as those of rare and of popular items may be."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(n_items, n_factors)) * np.exp(rng.normal(size=(n_items, 1)) / 2)
    vectors = np.c_[factors / 8, rng.normal(size=n_items) * 0.3].astype(np.float32)
    users = rng.normal(size=(QUERIES, n_factors)) / 8
    queries = np.c_[users, np.ones(QUERIES)].astype(np.float32)

    def exact() -> NDArray[np.int64]:
        parts = np.array_split(queries, 16)
        return np.vstack([np.argpartition(-(q @ vectors.T), LISTED)[:, :LISTED] for q in parts])

    return Catalogue(np.arange(n_items), vectors, queries, exact)


def rows(catalogue: Catalogue, threads: int) -> list[tuple[str, ...]]:
    """Measure one catalogue; a row for each way to search it."""
    ids, vectors, queries, search_all = catalogue

    def exact(_: NDArray[np.float32], __: int) -> NDArray[np.int64]:
        return search_all()

    best, speed = measured(exact, queries, 0)
    lengths = np.linalg.norm(vectors, axis=1)
    spread = f"{np.percentile(lengths, 99) / np.percentile(lengths, 1):.0f}"
    table = [("exact", "", "1.000", f"{speed:,.0f}", "", f"{len(ids):,}, {spread}")]
    for package, name, l2 in (
        ("faiss", "faiss HNSW, inner product", False),
        ("usearch", "usearch HNSW, inner product", False),
        ("faiss", "faiss HNSW, reduced to L2", True),
    ):
        if importlib.util.find_spec(package) is None:
            table.append((f"{name}: not installed", "", "", "", "", ""))
            continue
        given = as_distances(vectors, queries) if l2 else (vectors, queries)
        start = time.perf_counter()
        if package == "faiss":
            search = faiss_index(given[0], threads, l2=l2)
        else:
            search = usearch_index(given[0], threads)
        build = time.perf_counter() - start
        for effort in EFFORTS:
            found, speed = measured(search, given[1], effort)
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
    k, threads = options.n_factors, options.threads
    makers: dict[str, Callable[[], Catalogue]] = {}
    if options.data is not None:
        path = Path(options.data) / "ml-1m" / "ratings.dat"
        makers["MovieLens 1M"] = lambda: of_model(wf.read_ratings(path), k, threads)
    n = options.n_items
    drawn = {"n_users": 20_000, "n_items": n, "n_ratings": 40 * n, "random_state": 0}
    makers["generated"] = lambda: of_model(wf.datasets.make_ratings(**drawn).ratings, k, threads)
    makers["factors of uneven lengths"] = lambda: uneven(n, k)
    for name, make in makers.items():
        table = Table(title=f"{name}, k = {k}")
        for head in (
            "search",
            "candidates",
            "recall@10",
            "queries/s",
            "build, s",
            "items, longest / shortest",
        ):
            table.add_column(head, justify="left" if head == "search" else "right")
        for row in rows(make(), threads):
            table.add_row(*row)
        console.print(table)
    console.print("longest / shortest: of the vectors, their 99th percentile over their 1st")


if __name__ == "__main__":
    main()
