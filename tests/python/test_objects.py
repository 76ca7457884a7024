"""Objects of other libraries: real ones, made by those libraries."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

import warpfactor as wf
from warpfactor.data.ratings import Ratings

USERS, ITEMS, VALUES = ["b", "a", "b"], [7, 7, 9], [5.0, 1.0, 3.0]
TIMES = [1_577_836_800, 1_577_836_801, 1_577_836_802]
ROWS = list(zip(USERS, ITEMS, VALUES, strict=True))
TABLE = pa.table({"user": USERS, "item": ITEMS, "rating": VALUES, "timestamp": TIMES})


def rows(ratings: Ratings) -> list[tuple]:
    return list(zip(*(column.tolist() for column in ratings.to_arrays()), strict=True))


def check(X, times=None, expected=ROWS) -> Ratings:
    """Read an object by every way there is, and compare what comes of it."""
    ratings = Ratings.from_any(X)
    assert sorted(rows(ratings)) == sorted(expected)
    assert sorted(rows(Ratings.from_frame(X))) == sorted(expected)
    given = None if ratings.timestamps is None else sorted(ratings.timestamps.tolist())
    assert given == times
    model = wf.MatrixFactorization(2, n_epochs=1, verbose=0, random_state=0).fit(X, validation=X)
    assert model.predict(X).tolist() == model.predict(ratings).tolist()
    assert sum(map(len, wf.train_test_split(X, 1, random_state=0))) == len(expected)
    return ratings


@pytest.fixture
def surprise():
    return pytest.importorskip("surprise")


def test_a_surprise_dataset(surprise):
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"u": USERS, "i": ITEMS, "r": VALUES})
    data = surprise.Dataset.load_from_df(df, surprise.Reader(rating_scale=(1, 5)))
    assert rows(check(data)) == ROWS


@pytest.mark.parametrize("times", [TIMES, [1.5, 2.5, 3.5], None])
def test_a_surprise_dataset_of_a_file(surprise, tmp_path, times):
    columns = [USERS, ITEMS, VALUES, *([times] if times else [])]
    lines = [",".join(map(str, row)) for row in zip(*columns, strict=True)]
    (tmp_path / "r.csv").write_text("\n".join(lines))
    reader = surprise.Reader(line_format="user item rating" + " timestamp" * bool(times), sep=",")
    data = surprise.Dataset.load_from_file(str(tmp_path / "r.csv"), reader)
    # All that Surprise reads from a file is text.
    expected = [(user, str(item), value) for user, item, value in ROWS]
    ratings = check(data, times, expected)
    assert rows(ratings) == expected


def test_a_surprise_trainset_has_raw_ids(surprise):
    pd = pytest.importorskip("pandas")
    df = pd.DataFrame({"u": USERS, "i": ITEMS, "r": VALUES})
    data = surprise.Dataset.load_from_df(df, surprise.Reader(rating_scale=(1, 5)))
    check(data.build_full_trainset())
    testset = data.build_full_trainset().build_testset()
    with pytest.raises(ValueError, match=r"from_arrays\(\*zip\(\*X\)\)"):
        Ratings.from_any(testset)
    assert sorted(rows(Ratings.from_arrays(*zip(*testset, strict=True)))) == sorted(ROWS)


def test_surprise_folds_in_files_are_refused(surprise, tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).write_text("b,7,5\n")
    files = [(str(tmp_path / "train"), str(tmp_path / "test"))]
    data = surprise.Dataset.load_from_folds(
        files, surprise.Reader(line_format="user item rating", sep=",")
    )
    with pytest.raises(ValueError, match=r"folds in files.*warpfactor\.read_ratings"):
        Ratings.from_any(data)


@pytest.mark.parametrize("times", [False, True])
def test_a_lenskit_dataset(times):
    lenskit, pd = pytest.importorskip("lenskit.data"), pytest.importorskip("pandas")
    df = pd.DataFrame({"user_id": USERS, "item_id": ITEMS, "rating": VALUES})
    if times:
        df["timestamp"] = pd.to_datetime(TIMES, unit="s")
    check(lenskit.from_interactions_df(df), TIMES if times else None)


def test_a_lenskit_dataset_without_ratings_is_refused():
    lenskit, pd = pytest.importorskip("lenskit.data"), pytest.importorskip("pandas")
    data = lenskit.from_interactions_df(pd.DataFrame({"user_id": USERS, "item_id": ITEMS}))
    with pytest.raises(ValueError, match=r"holds no ratings.*Ratings\.from_arrays"):
        Ratings.from_any(data)


def test_a_duckdb_relation():
    duckdb = pytest.importorskip("duckdb")
    connection = duckdb.connect()
    connection.register("given", TABLE)
    check(connection.sql("from given"), TIMES)
    # SUM over integers gives HUGEINT, literals decimals, timestamps microseconds in UTC.
    query = """
        select user, sum(item) as item, max(rating)::decimal(5, 2) as rating,
               to_timestamp(min(timestamp)) as timestamp
        from given group by user, item order by min(timestamp)
    """
    assert rows(check(connection.sql(query), TIMES)) == ROWS


def test_an_ibis_table():
    ibis = pytest.importorskip("ibis")
    pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow_hotfix")  # ibis's own need
    check(ibis.memtable(TABLE), TIMES)


def test_polars_and_pandas_frames():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    check(pl.from_arrow(TABLE), TIMES)
    check(pd.DataFrame(TABLE.to_pydict()), TIMES)
    with pytest.raises(ValueError, match=r"it must be Ratings, .*; pass X\.collect\(\)"):
        Ratings.from_any(pl.from_arrow(TABLE).lazy())
    series = pd.DataFrame(TABLE.to_pydict()).set_index(["user", "item"])["rating"]
    with pytest.raises(ValueError, match=r"it must be Ratings, .*; pass X\.reset_index\(\)"):
        Ratings.from_any(series)
    assert rows(check(series.reset_index())) == ROWS


class Stream:
    """An object that has nothing but the Arrow stream."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


class Batch:
    """An object that has nothing but the Arrow array, which is a batch of a table here."""

    def __arrow_c_array__(self, requested_schema=None):
        return TABLE.to_batches()[0].__arrow_c_array__(requested_schema)


def test_anything_with_an_arrow_stream():
    check(Stream(TABLE), TIMES)
    check(Batch(), TIMES)
    check(TABLE.to_batches()[0], TIMES)
    assert rows(Ratings.from_any(TABLE.to_reader())) == ROWS
    with pytest.raises(ValueError, match=r"Stream gives no table.*: pass its columns"):
        Ratings.from_any(Stream(pa.chunked_array([[1, 2]])))


def test_a_structured_array():
    fields = [("user", "U1"), ("item", int), ("rating", "f4"), ("timestamp", "M8[ms]")]
    times = np.array(TIMES, "M8[s]")
    check(np.array(list(zip(USERS, ITEMS, VALUES, times, strict=True)), fields), TIMES)
    table = np.rec.fromrecords(ROWS, names="user,item,rating")
    check(table)


def test_implicits_weighted_matrix():
    neighbours = pytest.importorskip("implicit.nearest_neighbours")
    S = sp.csr_matrix((VALUES, ([1, 0, 1], [0, 0, 1])), shape=(2, 2))
    weighted = neighbours.bm25_weight(S)
    expected = weighted.toarray().astype(np.float32)
    assert (Ratings.from_any(weighted).to_sparse().toarray() == expected).all()
    assert rows(Ratings.from_any(S)) == [(0, 0, 1.0), (1, 0, 5.0), (1, 1, 3.0)]
