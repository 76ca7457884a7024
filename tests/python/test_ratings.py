from __future__ import annotations

import pickle
import uuid
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.model_selection import cross_val_score

from warpfactor import MatrixFactorization
from warpfactor.data.matrices import looks_like_columns
from warpfactor.data.ratings import Ratings, pairs_to_codes

NAN = float("nan")


def triples(ratings: Ratings) -> list[tuple]:
    return list(zip(*(array.tolist() for array in ratings.to_arrays()), strict=True))


matrices = npst.arrays(
    np.float64,
    npst.array_shapes(min_dims=2, max_dims=2, max_side=6),
    elements=st.sampled_from([NAN, 0.0, -1.5, 4.0]),
).filter(lambda D: not np.isnan(D).all())


@given(matrices)
def test_dense_masked_and_sparse_matrices_agree(D):
    dense = Ratings.from_dense(D)
    masked = Ratings.from_masked(np.ma.masked_invalid(D))
    present = ~np.isnan(D)
    S = sp.coo_array((D[present], np.nonzero(present)), shape=D.shape)
    for ratings in (
        dense,
        masked,
        *(Ratings.from_sparse(S.asformat(f)) for f in ("coo", "csr", "lil")),
    ):
        assert triples(ratings) == [(r, c, D[r, c]) for r, c in np.argwhere(present).tolist()]
        assert ratings.shape == D.shape
        assert ratings.values.dtype == np.float32 and ratings.users.dtype == np.int32
    if not looks_like_columns(D):
        assert Ratings.from_any(D).to_arrays()[2].tolist() == dense.values.tolist()


@given(matrices)
def test_codes_of_a_matrix_are_its_pairs_in_the_order_of_its_ratings(D):
    ratings = Ratings.from_dense(D)
    S = ratings.to_sparse()
    plain = [] if D.shape[1] == 2 or looks_like_columns(D) else [D]
    for X in (np.ma.masked_invalid(D), S, S.tocsc(), ratings, *plain):
        users, items = pairs_to_codes(X, ratings.user_ids, ratings.item_ids)
        expected = Ratings.from_any(X)
        assert users.tolist() == expected.users.tolist()
        assert items.tolist() == expected.items.tolist()


def test_stored_zeros_and_duplicates_of_a_sparse_matrix_are_ratings():
    S = sp.coo_matrix(([0.0, 1.0, 2.0], ([0, 2, 2], [1, 0, 0])), shape=(4, 3))
    ratings = Ratings.from_sparse(S)
    assert triples(ratings) == [(0, 1, 0.0), (2, 0, 1.0), (2, 0, 2.0)]
    assert ratings.shape == (4, 3)
    assert S.nnz == 3 and S.data.tolist() == [0, 1, 2]
    assert triples(Ratings.from_sparse(ratings.to_sparse())) == triples(ratings)
    csc = sp.csc_array((np.array([5, 6]), np.array([1, 0]), np.array([0, 1, 2])), shape=(2, 2))
    assert triples(Ratings.from_sparse(csc)) == [(1, 0, 5.0), (0, 1, 6.0)]


def test_a_nan_under_the_mask_is_missing_and_one_beside_it_is_an_error():
    assert len(Ratings.from_masked(np.ma.array([[NAN, 2.0]], mask=[[1, 0]]))) == 1
    with pytest.raises(ValueError, match="D: nan is not finite at row 0, column 1"):
        Ratings.from_masked(np.ma.array([[1.0, NAN]], mask=[[1, 0]]))
    assert len(Ratings.from_masked(np.ma.array([[1, 2], [3, 4]]))) == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Ratings.from_masked(np.ma.masked_all((2, 3))),
            r"D of shape \(2, 3\) holds no rating",
        ),
        (lambda: Ratings.from_masked(np.ma.masked_all(3)), r"shape \(3,\)"),
        (lambda: Ratings.from_masked(np.ones((2, 2))), "must be a numpy.ma.MaskedArray"),
        (lambda: Ratings.from_dense(np.full((2, 3), NAN)), "holds no rating"),
        (lambda: Ratings.from_dense([[1, np.inf]]), "inf is not finite at row 0, column 1"),
        (lambda: Ratings.from_dense([[1e300]]), "beyond float32 at row 0, column 0"),
        (lambda: Ratings.from_dense(np.array([[1, None]])), "dtype object"),
        (lambda: Ratings.from_dense(np.array([[1j]])), "dtype complex128"),
        (lambda: Ratings.from_dense(np.ones(3)), r"shape \(3,\)"),
        (lambda: Ratings.from_dense(np.ones((0, 3))), "holds no rating"),
        (lambda: Ratings.from_sparse(sp.csr_array((3, 4))), "holds no rating"),
        (lambda: Ratings.from_sparse(sp.csr_array([[1j]])), "dtype complex128"),
        (lambda: Ratings.from_sparse(sp.coo_array(np.ones(3))), r"shape \(3,\)"),
        (
            lambda: Ratings.from_sparse(sp.csr_array([[NAN]])),
            "nan is not finite at row 0, column 0",
        ),
        (lambda: Ratings.from_sparse(np.ones((2, 2))), "must be a scipy.sparse"),
    ],
)
def test_bad_matrices_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@given(st.lists(st.tuples(st.text("01", max_size=3), st.integers(), st.floats(-9, 9)), min_size=1))
def test_arrays_come_back_as_given(rows):
    users, items, values = zip(*rows, strict=True)
    items = [item % 1000 for item in items]
    ratings = Ratings.from_arrays(users, items, values, timestamps=range(len(rows)))
    expected = np.array(values, np.float32).tolist()
    assert triples(ratings) == list(zip(users, items, expected, strict=True))
    assert ratings.timestamps.tolist() == list(range(len(rows)))


def test_pairs_of_any_container_agree():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    y = [5.0, 1, 3]
    expected = [("u2", 7, 5.0), ("u1", 7, 1.0), ("u2", 9, 3.0)]
    users, items = ["u2", "u1", "u2"], [7, 7, 9]
    for X in (
        list(zip(users, items, strict=True)),
        np.array(list(zip(users, items, strict=True)), object),
        pd.DataFrame({"a": users, "b": items}),
        pd.DataFrame({"item": items, "user": users}),
        pd.DataFrame({"a": pd.Series(users, dtype=object), "b": items}, dtype=object),
        pl.DataFrame({"a": users, "b": items}),
        pa.table({"a": users, "b": items}),
    ):
        assert triples(Ratings.from_pairs(X, y)) == expected
        assert triples(Ratings.from_any(X, np.array(y))) == expected
        codes = pairs_to_codes(X, np.array(["u1"], object), np.array([7, 9]))
        assert [c.tolist() for c in codes] == [[-1, 0, -1], [0, 0, 1]]
    for X in (np.array([[2, 7], [1, 9]]), np.array([[2.0, 7.0], [1.0, 9.0]])):
        assert triples(Ratings.from_any(X, [1, 2])) == [(2, 7, 1.0), (1, 9, 2.0)]
    X = np.array([["2", "07"], ["1", "9"]])
    assert triples(Ratings.from_pairs(X, pd.Series([1, 2]))) == [("2", "07", 1.0), ("1", "9", 2.0)]


def test_frames_of_any_library_agree():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    data = {"x": ["?"] * 2, "Movie-ID": [3, 1], "stars": [4, 5], "userId": ["b", "a"], "ts": [7, 8]}

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table(data).__arrow_c_stream__(requested_schema)

    for df in (pd.DataFrame(data), pl.DataFrame(data), pa.table(data), Stream()):
        ratings = Ratings.from_any(df)
        assert triples(ratings) == [("b", 3, 4.0), ("a", 1, 5.0)]
        assert ratings.timestamps.tolist() == [7, 8]
        chosen = Ratings.from_frame(df, user="x", item=4, rating="Movie-ID")
        assert triples(chosen) == [("?", 7, 3.0), ("?", 8, 1.0)]


@pytest.mark.filterwarnings("ignore:.*taken in their order")
def test_columns_without_known_names_go_by_position():
    table = pa.table({"a": ["u"], "b": ["i"], "c": [3.5], "d": [10]})
    ratings = Ratings.from_frame(table)
    assert triples(ratings) == [("u", "i", 3.5)] and ratings.timestamps.tolist() == [10]
    assert Ratings.from_frame(table.set_column(3, "d", pa.array(["x"]))).timestamps is None
    timed = pa.table({"a": ["u"], "b": ["i"], "c": [3.5], "timestamp": [10]})
    assert triples(Ratings.from_frame(timed)) == [("u", "i", 3.5)]
    chosen = Ratings.from_frame(pa.table({"a": ["u"], "b": ["i"], "c": [3.5]}), "a", "b")
    assert triples(chosen) == [("u", "i", 3.5)]


def test_the_only_other_id_is_the_one_that_is_missing():
    table = pa.table({"user_id": ["a"], "rating": [3.0], "anime_id": ["x"]})
    assert triples(Ratings.from_frame(table)) == [("a", "x", 3.0)]
    table = pa.table({"viewerId": ["a"], "score": [3.0], "item": ["x"]})
    assert triples(Ratings.from_frame(table)) == [("a", "x", 3.0)]


@pytest.mark.parametrize(
    ("names", "passed"),
    [
        (["user", "b", "c", "d"], "item='b', rating='c'"),
        (["user_id", "age", "anime_id", "rating"], "item='anime_id'"),
        (["rating", "b", "c"], "user='b', item='c'"),
        (["user", "b", "c"], "item='b', rating='c'"),
        (["user", "item", "age"], "rating='age'"),
        (["user", "age", "rating"], "item='age'"),
        (["when", "item", "rating", "timestamp"], "user='when'"),
        (["a", "b", "c", "d", "e"], "user='a', item='b', rating='c'"),
    ],
)
def test_columns_are_not_guessed_where_names_leave_some_over(names, passed):
    table = pa.table({name: [1.0] for name in names})
    with pytest.raises(ValueError, match=f"cannot tell which column.* for example {passed}$"):
        Ratings.from_frame(table)


@pytest.mark.parametrize(
    "dates",
    [
        np.array(["1970-01-01T00:00:05", "1970-01-02"], "M8[ms]"),
        pa.array([5_000_000, 86_400_000_000], pa.timestamp("us", "UTC")),
        [5, 86_400],
        np.array([5, 86_400], np.uint64),
        [datetime(1970, 1, 1, 0, 0, 5), datetime(1970, 1, 2)],
        [datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC), datetime(1970, 1, 2, tzinfo=UTC)],
    ],
)
def test_dates_become_seconds(dates):
    ratings = Ratings.from_arrays([1, 2], [1, 1], [1, 2], timestamps=dates)
    assert ratings.timestamps.dtype == np.int64
    assert ratings.timestamps.tolist() == [5, 86_400]


def frame(**columns) -> pa.Table:
    return pa.table({"user": [1, 2], "item": [1, 2], "rating": [1.0, 2.0]} | columns)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Ratings.from_arrays([1, 2], [1], [1, 2]),
            "users has 2, items has 1, values has 2",
        ),
        (lambda: Ratings.from_arrays([1], [1], [1], timestamps=[1, 2]), "timestamps has 2"),
        (lambda: Ratings.from_pairs([[1, 2]], [1, 2]), r"X \(users\) has 1.*y has 2"),
        (lambda: Ratings.from_arrays([], [], []), "values is empty"),
        (
            lambda: Ratings.from_arrays([1, 1], [1, 2], [1, NAN]),
            "values: nan is not finite at position 1",
        ),
        (
            lambda: Ratings.from_arrays([1], [1], [1e39]),
            r"values: 1e\+39 is beyond float32 at position 0",
        ),
        (
            lambda: Ratings.from_arrays([1], [1], ["5"]),
            "values holds '5' at position 0; it must be real numbers: convert",
        ),
        (
            lambda: Ratings.from_arrays([1, 2], [1, 1], [1, None]),
            r"1 missing value\(s\), the first \(None\) at position 1",
        ),
        (lambda: Ratings.from_arrays([1], [1], [1j]), "values holds 1j at position 0"),
        (lambda: Ratings.from_arrays([1], [1], [[1]]), r"values holds \[1\] at position 0"),
        (lambda: Ratings.from_arrays([1], [1], np.ones((1, 1))), r"shape \(1, 1\)"),
        (lambda: Ratings.from_arrays([1], [1], np.ma.masked_all(1)), "position 0 is masked"),
        (lambda: Ratings.from_arrays([1], [None], [1]), "items: the id at position 0 is missing"),
        (
            lambda: Ratings.from_arrays([1], [1], [1], timestamps=[NAN]),
            "timestamps: nan at position 0",
        ),
        (
            lambda: Ratings.from_arrays([1], [1], [1], timestamps=["x"]),
            "timestamps: 'x' at position 0 is neither a number nor a date like",
        ),
        (
            lambda: Ratings.from_arrays([1, 2], [1, 1], [1, 2], timestamps=[datetime.now(), 3]),
            "timestamps holds dates, and 3 at position 1",
        ),
        (
            lambda: Ratings.from_arrays([1], [1], [1], timestamps=np.array(["NaT"], "M8[s]")),
            "timestamps: 1 missing",
        ),
        (
            lambda: Ratings.from_pairs([1, 2], [1, 2]),
            "holds 1 at position 0; it must be a list of .* pairs",
        ),
        (lambda: Ratings.from_pairs(["ab"], [1]), "holds 'ab' at position 0"),
        (lambda: Ratings.from_pairs([(1, 2), (1, 2, 3)], [1, 2]), "at position 1"),
        (lambda: Ratings.from_pairs(np.ones((2, 3)), [1, 2]), r"has shape \(2, 3\)"),
        (lambda: Ratings.from_pairs(np.array([[1, 0.5]]), [1]), r"X \(items\): 0.5 at position 0"),
        (
            lambda: Ratings.from_frame(frame(), user="nope"),
            "user='nope' is no column: the columns are 'user'",
        ),
        (lambda: Ratings.from_frame(frame(), user=3), "user=3: there are columns 0 to 2"),
        (lambda: Ratings.from_frame(frame(), user=-1), "user=-1"),
        (
            lambda: Ratings.from_frame(frame(), user="item", item="item"),
            "each needs one of its own",
        ),
        (
            lambda: Ratings.from_frame(frame().select([0, 1])),
            "cannot tell which column holds the rating",
        ),
        (lambda: Ratings.from_frame(frame().rename_columns(["a", "user", "b"])), "holds the item"),
        (
            lambda: Ratings.from_frame(frame(rating=[1.0, None])),
            "rating column 'rating': 1 missing.*position 1",
        ),
        (lambda: Ratings.from_frame(frame(user=["a", None])), "user column 'user': 1 missing"),
        (
            lambda: Ratings.from_frame(frame(rating=["a", "b"])),
            "holds 'a' at position 0; it must be real numbers",
        ),
        (
            lambda: Ratings.from_frame(frame(t=[1, None]), timestamp="t"),
            "timestamp column 't': 1 missing",
        ),
        (
            lambda: Ratings.from_frame([1, 2]),
            "df is list; it must be a pandas, polars or Arrow table",
        ),
        (
            lambda: Ratings.from_any(np.array([[1, 2]])),
            "X holds pairs of ids but no ratings: pass y",
        ),
        (lambda: Ratings.from_any(np.ones((2, 5), int)), "cannot say what is missing"),
        (
            lambda: Ratings.from_any(np.array([["a", "b"]]), name="train"),
            "train holds pairs of ids",
        ),
        (lambda: Ratings.from_any("ratings.csv"), "read_ratings reads files"),
        (lambda: Ratings.from_any(None), "X is NoneType.*; it must be Ratings, "),
        (lambda: Ratings.from_any([(1, 2)]), "together with y"),
        (lambda: Ratings.from_any(Ratings.from_arrays([1], [1], [1]), [1]), "pass no y"),
        (lambda: Ratings.from_any(sp.csr_array([[1.0]]), [1]), "pass no y"),
        (lambda: Ratings.from_any(np.ma.array([[1.0, 2]]), [1]), "pass no y"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


IDS = np.array([4, 8])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": [2]}, "users: code 2 at position 0"),
        ({"items": [-1]}, "items: code -1 at position 0"),
        ({"users": [0.0]}, "users has dtype .*; it must be a 1-D array of integer codes"),
        ({"users": [0, 1]}, "lengths differ: users has 2"),
        ({"users": [], "items": [], "values": []}, "users has dtype|values is empty"),
        ({"user_ids": np.array([8, 4])}, "user_ids holds .*; ids must be sorted and distinct"),
        ({"item_ids": np.array([4, 4])}, "item_ids holds .*; ids must be sorted and distinct"),
        ({"item_ids": np.array(["a", "b"])}, "item_ids is .*; it must be a 1-D array of int64"),
        ({"item_ids": np.array(["a", 1], object)}, "item_ids is .*; it must be"),
        ({"item_ids": [4, 8]}, "item_ids is .*; it must be"),
        ({"values": [NAN]}, "values: nan"),
    ],
)
def test_the_constructor_checks_codes_and_ids(change, message):
    given = {"users": [0], "items": [1], "values": [2], "user_ids": IDS, "item_ids": IDS}
    assert triples(Ratings(**given)) == [(4, 8, 2.0)]
    with pytest.raises(ValueError, match=message):
        Ratings(**given | change)


def test_one_rating_is_enough():
    ratings = Ratings.from_arrays([uuid.UUID(int=3)], ["i"], [2])
    assert (len(ratings), ratings.shape, ratings.density) == (1, (1, 1), 1.0)
    assert repr(ratings) == "Ratings(1 ratings, 1 users, 1 items)"
    assert ratings.to_sparse().toarray().tolist() == [[2.0]]
    assert triples(pickle.loads(pickle.dumps(ratings))) == triples(ratings)


def test_take_selects_by_position_or_mask_and_keeps_the_ids():
    ratings = Ratings.from_arrays([3, 1, 2], [1, 1, 1], [1, 2, 3], timestamps=[7, 8, 9])
    for index in ([2, 0], np.array([-1, 0])):
        part = ratings.take(index)
        assert triples(part) == [(2, 1, 3.0), (3, 1, 1.0)]
        assert part.timestamps.tolist() == [9, 7]
        assert part.user_ids is ratings.user_ids and part.item_ids is ratings.item_ids
    assert triples(ratings.take([False, True, False])) == [(1, 1, 2.0)]
    for bad, message in (
        ([], "non-empty"),
        ([False] * 3, "selects no rating"),
        ([True], "ratings has 3, index_or_mask has 1"),
        ([3], "runs from 3 to 3"),
        ([0.5], "dtype float64"),
        (1, r"shape \(\)"),
    ):
        with pytest.raises(ValueError, match=message):
            ratings.take(bad)


@pytest.mark.parametrize(
    ("keep", "expected", "times"),
    [
        ("last", [(2, 1, 5.0), (1, 1, 4.0)], [8, 9]),
        ("first", [(1, 1, 1.0), (2, 1, 5.0)], [7, 8]),
        ("mean", [(2, 1, 5.0), (1, 1, 2.5)], [8, 9]),
    ],
)
def test_duplicates_stay_until_they_are_dropped(keep, expected, times):
    ratings = Ratings.from_arrays([1, 2, 1], [1, 1, 1], [1, 5, 4], timestamps=[7, 8, 9])
    assert len(ratings) == 3
    assert triples(ratings.drop_duplicates(keep)) == expected
    assert ratings.drop_duplicates(keep).timestamps.tolist() == times
    with pytest.raises(ValueError, match="keep is 'all'"):
        ratings.drop_duplicates("all")


def test_codes_of_ratings_are_looked_up_only_under_other_ids():
    ratings = Ratings.from_arrays(["a", "c"], [5, 6], [1, 2])
    assert pairs_to_codes(ratings, ratings.user_ids, ratings.item_ids)[0] is ratings.users
    users, items = pairs_to_codes(ratings, np.array(["b", "c"], object), ratings.item_ids)
    assert users.tolist() == [-1, 1] and items is ratings.items


def test_no_pairs_have_no_codes():
    for X in (np.empty((0, 2)), np.empty((0, 2), int), [], pa.table({"user": [], "item": []})):
        users, items = pairs_to_codes(X, IDS, IDS)
        assert users.dtype == items.dtype == np.int32
        assert len(users) == len(items) == 0


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((3, 5)), r"X has shape \(3, 5\), but the model has 2 users and 2 items"),
        (np.ones((3, 4)), r"X has shape \(3, 4\), and could be two things.*X\[:, :2\]"),
        (np.ones((3, 3), int), r"has shape \(3, 3\)"),
        (np.ones(3), r"has shape \(3,\)"),
        ([("4", 8)], "holds the string '4'; the model's are integers: pass 4"),
        ("ab", "is str; it must be .* pairs of ids"),
        (pa.table({"a": [1]}), "which column holds the user and item"),
    ],
)
def test_pairs_that_fit_no_model_are_named(X, message):
    with pytest.raises(ValueError, match=message):
        pairs_to_codes(X, IDS, IDS)


def sample() -> Ratings:
    users, items = ["a", "a", "b", "c", "c", "c", "d"], [1, 2, 1, 1, 2, 1, 9]
    return Ratings.from_arrays(
        users, items, [1, 2, 3, 4, 5, 4, 2], timestamps=np.arange(7) + 1_577_836_800
    )


def test_head_is_the_first_ratings_and_keeps_the_ids():
    ratings = sample()
    assert triples(ratings.head()) == triples(ratings)[:5]
    assert triples(ratings.head(2)) == triples(ratings)[:2]
    assert len(ratings.head(100)) == 7
    assert ratings.head().user_ids is ratings.user_ids
    for n in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"n is {n}; it must be"):
            ratings.head(n)


def test_describe_counts():
    found = sample().describe()
    assert found == {
        "n_ratings": 7,
        "n_users": 4,
        "n_items": 3,
        "density": 7 / 12,
        "rating_range": (1.0, 5.0),
        "rating_mean": 3.0,
        "rating_std": pytest.approx(np.std([1, 2, 3, 4, 5, 4, 2])),
        "ratings_per_user": (1, 1.5, 3),
        "ratings_per_item": (1, 2.0, 4),
        "n_users_with_one": 2,
        "n_repeats": 1,
        "time_span": (1_577_836_800, 1_577_836_806),
    }
    text = repr(found)
    assert len(text.splitlines()) == len(found)
    assert "58.3333%" in text and "2020-01-01 00:00 to 2020-01-01 00:00" in text
    assert "1, 1.5, 3" in text


def test_describe_of_other_times_and_of_none():
    ratings = Ratings.from_arrays([1, 2], [1, 1], [3, 3])
    assert ratings.describe()["time_span"] is None
    assert "no timestamps" in repr(ratings.describe())
    for unit in (1, 10**3, 10**6, 10**9):
        times = [10**9 * unit, 2 * 10**9 * unit]
        dated = Ratings.from_arrays([1, 2], [1, 1], [3, 3], timestamps=times)
        assert "2001-09-09 01:46 to 2033-05-18 03:33" in repr(dated.describe())
    counted = Ratings.from_arrays([1, 2], [1, 1], [3, 3], timestamps=[1, 2000])
    assert "1 to 2,000" in repr(counted.describe())


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
)
def test_a_k_core_is_the_largest_set_in_which_all_have_enough(pairs, per_user, per_item):
    users, items = zip(*pairs, strict=True)
    ratings = Ratings.from_arrays(users, items, range(len(pairs)), timestamps=range(len(pairs)))
    left = list(range(len(pairs)))
    while True:  # the definition, one rating at a time
        bad = next(
            (
                at
                for at in left
                if sum(users[j] == users[at] for j in left) < per_user
                or sum(items[j] == items[at] for j in left) < per_item
            ),
            None,
        )
        if bad is None:
            break
        left.remove(bad)
    if not left:
        with pytest.raises(ValueError, match=f"min_per_user={per_user} and .* leave no rating"):
            ratings.k_core(min_per_user=per_user, min_per_item=per_item)
        return
    core = ratings.k_core(min_per_user=per_user, min_per_item=per_item)
    assert triples(core) == [(users[at], items[at], float(at)) for at in left]
    assert core.timestamps.tolist() == left
    assert core.user_ids.tolist() == sorted({users[at] for at in left})
    assert core.item_ids.tolist() == sorted({items[at] for at in left})


def test_a_k_core_of_one_drops_ids_without_ratings():
    ratings = Ratings.from_dense([[NAN, 3.0], [NAN, NAN]])
    assert ratings.k_core().shape == (1, 1) and ratings.k_core().item_ids.tolist() == [1]
    with pytest.raises(ValueError, match="min_per_item is 0; it must be at least 1"):
        ratings.k_core(min_per_item=0)


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("times", [True, False])
def test_a_frame_gives_the_ratings_back(kind, times):
    if kind != "arrow":
        pytest.importorskip(kind)
    given = sample()
    ratings = given if times else Ratings.from_arrays(*given.to_arrays())
    frame = ratings.to_frame(kind)
    assert type(frame).__module__.split(".")[0] == {"arrow": "pyarrow"}.get(kind, kind)
    again = Ratings.from_frame(frame)
    assert triples(again) == triples(ratings)
    assert (again.timestamps is None) == (not times)
    assert not times or again.timestamps.tolist() == ratings.timestamps.tolist()
    uuids = Ratings.from_arrays([uuid.UUID(int=1)], [2**64 - 1], [1.0])
    [(user, item, _)] = triples(Ratings.from_frame(uuids.to_frame(kind)))
    assert str(user) == str(uuid.UUID(int=1)) and item == 2**64 - 1


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(ImportError, match=r'to_frame\(kind="polars"\) needs polars.*kind="arrow"'):
        sample().to_frame("polars")
    with pytest.raises(ValueError, match="kind is 'numpy'; it must be 'pandas', 'polars' or"):
        sample().to_frame("numpy")


def test_a_notebook_shows_ratings_and_numbers_escaped():
    ratings = Ratings.from_arrays(["<b>&"] * 12, range(12), range(12))
    shown = ratings._repr_html_()
    assert "<b>" not in shown and shown.count("&lt;b&gt;&amp;") == 10
    assert "and 2 more" in shown and "12 ratings, 1 users" in shown and "density" in shown
    assert shown.count('<table class="dataframe">') == shown.count("</table>") == 2
    assert "<table " in ratings.describe()._repr_html_()


def test_pairs_are_what_scikit_learn_cuts():
    X, y = Ratings.from_arrays([1, 2], [3, 4], [5, 6]).to_pairs()
    assert X.dtype == np.int64 and X.tolist() == [[1, 3], [2, 4]] and y.tolist() == [5, 6]
    for users in (["a", "b"], [1, 2**64 - 1]):
        ratings = Ratings.from_arrays(users, [3, 4], [5, 6])
        X, y = ratings.to_pairs()
        assert X.dtype == object and X.tolist() == [[users[0], 3], [users[1], 4]]
        assert triples(Ratings.from_pairs(X, y)) == triples(ratings)


def test_ratings_are_cut_by_take_and_not_by_scikit_learn():
    ratings = sample()
    for index in (0, slice(2), np.array([True] * 7)):
        with pytest.raises(TypeError, match=r"take\(positions or mask\) selects"):
            ratings[index]
    model = MatrixFactorization(2, n_epochs=1, verbose=0, random_state=0)
    with pytest.raises(TypeError, match=r"X, y = ratings\.to_pairs\(\).*cross_validate"):
        cross_val_score(model, ratings, cv=2)
    assert len(cross_val_score(model, *ratings.to_pairs(), cv=2)) == 2


@pytest.mark.parametrize(
    "items", [[10, 20, 30], [1, 2, 3], ["a", "b", "c"], ["a", "b", "c", "d", "e"]]
)
@pytest.mark.parametrize("reset", [False, True])
def test_a_pivot_of_pandas_is_refused(items, reset):
    pd = pytest.importorskip("pandas")
    triples = pd.DataFrame(
        [(user, item, 3.0) for user in (1, 2, 3) for item in items], columns=["userId", "m", "r"]
    )
    pivot = triples.pivot(index="userId", columns="m", values="r").fillna(0)
    with pytest.raises(ValueError, match="looks like a table of users x items"):
        Ratings.from_frame(pivot.reset_index() if reset else pivot)


@pytest.mark.parametrize("names", [[10, 11, 12], ["user", 10, 11], ["user", "10", "11", "12"]])
def test_columns_named_by_numbers_are_items(names):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame([[1, 2, 3, 4][: len(names)]], columns=names)
    with pytest.raises(ValueError, match="looks like a table of users x items"):
        Ratings.from_frame(frame)
