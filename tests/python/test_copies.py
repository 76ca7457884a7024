"""Whose memory is whose: inputs may change after a call, and outputs may be changed, to no effect."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import warpfactor as wf
from warpfactor.data.ratings import Ratings

NAN = float("nan")
FORMATS = ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")

# Users, items and ratings as a matrix, of at least two entries so that order can be spoilt.
matrices = npst.arrays(
    np.float64,
    st.tuples(st.integers(2, 6), st.integers(5, 7)),
    elements=st.sampled_from([NAN, NAN, 0.5, 1.0, 4.0, 5.0]),
).filter(lambda D: (~np.isnan(D)).sum() > 1)


class Given:
    """An input: the call that reads it, and the ways to write to its memory."""

    def __init__(self, read: Callable[[], Ratings], *spoil: Callable[[], object]) -> None:
        self.read = read
        self._spoil = spoil

    def spoil(self) -> None:
        for change in self._spoil:
            change()


def overwrite(array: np.ndarray) -> None:
    if array.dtype == object:
        array[...] = "spoilt"
    else:
        array[...] = array.ravel()[::-1].reshape(array.shape)
        array[...] += array.dtype.type(1)


def columns(D: np.ndarray, order: str = "C") -> list[np.ndarray]:
    """Users, items, ratings and times in the types that are kept without a conversion."""
    users, items = np.nonzero(~np.isnan(D))
    values = D[users, items].astype(np.float32)
    times = np.arange(len(values)) * 7
    made = [users.astype(np.int32), items.astype(np.int32), values, times]
    return [np.array(column, order=order) for column in made]


def from_columns(make: Callable[[np.ndarray], Any] = lambda a: a) -> Callable[[np.ndarray], Given]:
    def build(D: np.ndarray) -> Given:
        arrays = columns(D)
        users, items, values, times = map(make, arrays)
        return Given(
            lambda: Ratings.from_arrays(users, items, values, timestamps=times),
            *(lambda a=a: overwrite(a) for a in arrays),
        )

    return build


def from_codes(D: np.ndarray) -> Given:
    users, items, values, times = columns(D)
    user_ids, item_ids = (
        np.arange(D.shape[0]),
        np.array([f"i{i}" for i in range(D.shape[1])], object),
    )
    arrays = [users, items, values, user_ids, item_ids, times]
    return Given(lambda: Ratings(*arrays), *(lambda a=a: overwrite(a) for a in arrays))


def from_strided(D: np.ndarray) -> Given:
    wide = [np.repeat(column, 2) for column in columns(D)]
    users, items, values, times = (array[::2] for array in wide)
    return Given(
        lambda: Ratings.from_arrays(users, items, values, timestamps=times),
        *(lambda a=a: overwrite(a) for a in wide),
    )


def from_lists(D: np.ndarray) -> Given:
    lists = [column.tolist() for column in columns(D)]
    users, items, values, times = lists
    return Given(
        lambda: Ratings.from_arrays(users, items, values, timestamps=times),
        *(x.reverse for x in lists),
        *(x.clear for x in lists),
    )


def from_pairs(D: np.ndarray) -> Given:
    users, items, values, _ = columns(D)
    X = np.column_stack([users, items])
    return Given(
        lambda: Ratings.from_pairs(X, values), lambda: overwrite(X), lambda: overwrite(values)
    )


def from_objects(D: np.ndarray) -> Given:
    users, items, values, _ = columns(D)
    X = np.array([[f"u{u}", f"i{i}"] for u, i in zip(users, items, strict=True)], object)
    return Given(
        lambda: Ratings.from_any(X, values), lambda: overwrite(X), lambda: overwrite(values)
    )


def from_dense(D: np.ndarray) -> Given:
    dense = D.astype(np.float32)
    return Given(lambda: Ratings.from_dense(dense), lambda: overwrite(dense))


def from_masked(D: np.ndarray) -> Given:
    masked = np.ma.masked_invalid(D.astype(np.float32))

    def unmask() -> None:
        masked.data[...] = 3
        masked.mask[...] = ~masked.mask

    def mask() -> None:
        masked[:] = np.ma.masked

    return Given(lambda: Ratings.from_masked(masked), unmask, mask)


def from_sparse(format: str) -> Callable[[np.ndarray], Given]:
    def build(D: np.ndarray) -> Given:
        rows, items, values, _ = columns(D)
        order = np.random.default_rng(0).permutation(len(rows))
        coo = sp.coo_array((values[order], (rows[order], items[order])), shape=D.shape)
        S = coo.asformat(format)
        if format in ("csr", "csc"):  # unsorted, as fancy indexing leaves it
            S = S[:, order_of(D.shape[1])] if format == "csr" else S[order_of(D.shape[0])]
        in_place = ["sum_duplicates", "eliminate_zeros", "sort_indices"]
        changes = [getattr(S, name) for name in in_place if hasattr(S, name)]
        if hasattr(S, "max"):
            changes += [lambda: S.max(axis=1), lambda: S.min(axis=0)]
        if format in ("lil", "dok"):
            changes.append(lambda: S.__setitem__((0, 0), 7.0))
        else:
            held = [a for a in vars(S).values() if isinstance(a, np.ndarray)]
            held += [a for a in getattr(S, "coords", ())]
            changes += [lambda a=a: a.__setitem__(..., 1) for a in held]
        return Given(lambda: Ratings.from_sparse(S), *changes)

    return build


def order_of(n: int) -> np.ndarray:
    return np.random.default_rng(1).permutation(n)


def from_structured(D: np.ndarray) -> Given:
    users, items, values, times = columns(D)
    table = np.rec.fromarrays([users, items, values, times], names="user,item,rating,timestamp")
    return Given(
        lambda: Ratings.from_any(np.asarray(table)),
        *(lambda n=n: overwrite(table[n]) for n in table.dtype.names),
    )


NAMES = ("user", "item", "rating", "timestamp")


def from_pandas(D: np.ndarray) -> Given:
    pd = pytest.importorskip("pandas")
    arrays = columns(D)
    parts = [pd.DataFrame({n: a}, copy=False) for n, a in zip(NAMES, arrays, strict=True)]
    df = pd.concat(parts, axis=1, **({"copy": False} if pd.__version__ < "3" else {}))
    return Given(
        lambda: Ratings.from_frame(df),
        *(lambda a=a: overwrite(a) for a in arrays),
        lambda: df.__setitem__("rating", 9.0),
        lambda: df.pop("item"),
    )


def from_polars(D: np.ndarray) -> Given:
    pl = pytest.importorskip("polars")
    arrays = columns(D)
    # An Arrow array over NumPy's memory is the way that shares it.
    shared = pl.from_arrow(pa.table(dict(zip(NAMES, map(pa.array, arrays), strict=True))))
    return Given(
        lambda: Ratings.from_frame(shared),
        *(lambda a=a: overwrite(a) for a in arrays),
        lambda: shared.__setitem__((0, "rating"), 9.0),
    )


def from_table(D: np.ndarray) -> Given:
    arrays = columns(D)
    table = pa.table(dict(zip(NAMES, map(pa.array, arrays), strict=True)))
    return Given(lambda: Ratings.from_any(table), *(lambda a=a: overwrite(a) for a in arrays))


def pandas_series(array: np.ndarray) -> Any:
    return pytest.importorskip("pandas").Series(array, copy=False)


INPUTS: dict[str, Callable[[np.ndarray], Given]] = {
    "codes": from_codes,
    "arrays": from_columns(),
    "views": from_columns(lambda a: a[:]),
    "memoryviews": from_columns(memoryview),
    "masked columns": from_columns(np.ma.asarray),
    "strided": from_strided,
    "lists": from_lists,
    "series": from_columns(pandas_series),
    "Arrow arrays": from_columns(pa.array),
    "pairs": from_pairs,
    "object pairs": from_objects,
    "dense": from_dense,
    "masked": from_masked,
    **{format: from_sparse(format) for format in FORMATS},
    "structured": from_structured,
    "pandas": from_pandas,
    "polars": from_polars,
    "Arrow table": from_table,
}


def state(ratings: Ratings) -> dict[str, list]:
    arrays = {name: getattr(ratings, name) for name in Ratings.__slots__}
    held = {name: a.tolist() for name, a in arrays.items() if a is not None}
    return held | {"sparse": ratings.to_sparse().toarray().tolist()}


def arrays_of(model: wf.Model) -> dict[str, np.ndarray]:
    names = [name for name in dir(model) if name.endswith("_") and not name.startswith("_")]
    found = {name: getattr(model, name) for name in names}
    indptr, items = model.seen_
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    return arrays | {"indptr": indptr, "items": items}


def answers(model: wf.Model, ratings: Ratings) -> dict[str, Any]:
    ids, scores = model.recommend(ratings.user_ids, n=3)
    alike, cosines = model.similar_items(ratings.item_ids[np.unique(ratings.items)], n=2)
    return {
        "predictions": model.predict(ratings).tolist(),
        "recommended": (ids.tolist(), np.nan_to_num(scores).tolist()),
        "similar": (alike.tolist(), np.nan_to_num(cosines).tolist()),
        "arrays": {name: array.tolist() for name, array in arrays_of(model).items()},
        "params": {**model.get_params()},
        "history": repr(model.history_),
    }


def fitted(X: Any, y: Any = None, **given: Any) -> wf.Model:
    init = given.pop("init", 0.01)
    callbacks = given.pop("callbacks", ())
    estimator = wf.MatrixFactorization(
        2, n_epochs=2, random_state=0, verbose=0, init=init, callbacks=callbacks
    )
    return estimator.fit(X, y, **given).model_


@pytest.mark.parametrize("kind", INPUTS)
@settings(deadline=None, max_examples=15)
@given(D=matrices)
def test_an_input_may_change_when_the_call_is_over(kind, D):
    source = INPUTS[kind](D)
    ratings = source.read()
    model = fitted(ratings)
    before = copy.deepcopy((state(ratings), answers(model, ratings)))
    source.spoil()
    assert (state(ratings), answers(model, ratings)) == before


def test_scipys_own_methods_change_nothing():
    B = sp.random(50, 40, 0.3, format="csr", random_state=0)[:, order_of(40)]
    ratings = Ratings.from_sparse(B)
    model = fitted(B)
    before = ratings.to_sparse().toarray(), [array.copy() for array in model.seen_]
    B.max(axis=1)
    assert (ratings.to_sparse().toarray() == before[0]).all()
    assert all((a == b).all() for a, b in zip(model.seen_, before[1], strict=True))


@settings(deadline=None, max_examples=20)
@given(D=matrices)
def test_what_fit_was_given_may_change_in_its_callbacks(D):
    """All is copied, or read for the last time, before the first epoch ends."""
    expected = None
    for spoilt in (False, True):
        users, items, y, _ = columns(D)
        X = np.column_stack([users, items])
        weights = np.ones(len(y), np.float32)
        valid = X.copy(), y.copy()
        held = fitted_shape(X)
        P, Q = np.full((held[0], 2), 0.1, np.float32), np.full((held[1], 2), 0.2, np.float32)
        arrays = [X, y, weights, *valid, P, Q] if spoilt else []
        records: list[dict] = []

        def spoil(record, arrays=arrays, records=records):
            records.append(record)
            for array in arrays:
                overwrite(array)

        model = fitted(
            X, y, sample_weight=weights, validation=valid, init=(P, Q), callbacks=[spoil]
        )
        for record in records:
            record.clear()
        ratings = Ratings.from_pairs(np.column_stack([users, items]), columns(D)[2])
        found = answers(model, ratings)
        found["history"] = [{k: v for k, v in e.items() if k != "seconds"} for e in model.history_]
        expected = expected or found
        assert found == expected


def fitted_shape(X: np.ndarray) -> tuple[int, int]:
    return len(np.unique(X[:, 0])), len(np.unique(X[:, 1]))


@pytest.fixture
def ratings() -> Ratings:
    data = wf.datasets.make_ratings(20, 15, 120, random_state=0).ratings
    return Ratings.from_arrays(*data.to_arrays(), timestamps=np.arange(len(data)))


def closed(array: np.ndarray) -> bool:
    with pytest.raises(ValueError):
        array[0] = array[0]
    return True


def stays_closed(array: np.ndarray) -> bool:
    """Whether an array cannot be opened to writing either."""
    with pytest.raises(ValueError):
        array.flags.writeable = True
    return closed(array)


def test_the_arrays_of_ratings_are_closed(ratings):
    train, test = wf.train_test_split(ratings, 0.3, random_state=0)
    made = wf.datasets.make_ratings(5, 5, 10, random_state=0).ratings
    for each in (
        ratings,
        made,
        train,
        test,
        ratings.head(),
        ratings.drop_duplicates(),
        ratings.drop_duplicates("mean"),
        ratings.k_core(min_per_user=2),
        Ratings.from_dense([[1.0, NAN]]),
        Ratings(*(getattr(ratings, name) for name in Ratings.__slots__)),
        pickle.loads(pickle.dumps(ratings)),
        copy.copy(ratings),
        copy.deepcopy(ratings),
    ):
        for name in Ratings.__slots__:
            array = getattr(each, name)
            assert array is None or stays_closed(array), name


def test_the_arrays_of_a_model_are_closed(ratings, tmp_path):
    model = fitted(ratings)
    model.save(tmp_path / "m.safetensors")
    for each in (
        model,
        model.with_seen(ratings),
        model.with_options(unknown="nan"),
        wf.load(tmp_path / "m.safetensors"),
        pickle.loads(pickle.dumps(model)),
    ):
        for name, array in arrays_of(each).items():
            assert closed(array), name


def test_what_is_handed_out_may_be_changed(ratings):
    model = fitted(ratings, validation=ratings)
    before = copy.deepcopy((state(ratings), answers(model, ratings)))
    S = ratings.to_sparse()
    X, y = ratings.to_pairs()
    table = ratings.to_frame("arrow")
    frame = pytest.importorskip("pandas").DataFrame(ratings.to_frame())
    codes = [column.to_numpy(zero_copy_only=False) for column in table.columns]
    outputs = [
        *ratings.to_arrays(), S.data, S.indices, S.indptr, X, y,
        model.predict(ratings), *model.recommend(ratings.user_ids), *model.recommend(3),
        *model.similar_items(ratings.item_ids), *model.is_known(ratings),
    ]  # fmt: skip
    for array in outputs:
        assert array.flags.writeable
        array[...] = array.dtype.type(1)
    for code in codes:
        assert not any(np.shares_memory(code, getattr(ratings, n)) for n in Ratings.__slots__)
    frame.loc[:, "rating"] = 9
    ratings.describe().clear()
    model.get_params().clear()
    for record in model.history_:
        record.clear()
    model.history_.clear()
    assert (state(ratings), answers(model, ratings)) == before


def test_what_a_question_was_put_with_may_change(ratings):
    model = fitted(ratings)
    X, _ = ratings.to_pairs()
    users, items = ratings.user_ids.copy(), ratings.item_ids.copy()
    index = np.arange(5)
    found = [
        model.predict(X), *model.recommend(users), *model.similar_items(items),
        *(getattr(ratings.take(index), name) for name in ("users", "items", "values")),
    ]  # fmt: skip
    before = [array.tolist() for array in found]
    for array in (X, users, items, index):
        overwrite(array)
    assert repr([array.tolist() for array in found]) == repr(before)


def whole(kind: str) -> tuple[Any, list[np.ndarray]]:
    """Ratings as one object of a kind, and the arrays that are its memory."""
    rng = np.random.default_rng(0)
    D = np.where(rng.random((12, 9)) < 0.7, rng.integers(1, 6, (12, 9)), NAN)
    if kind == "dense":
        return D, [D]
    if kind == "masked":
        masked = np.ma.masked_invalid(D)
        return masked, [masked.data, masked.mask]
    arrays = columns(D)
    if kind in ("csr", "coo"):
        users, items, values, _ = arrays
        S = sp.coo_array((values, (users, items)), shape=D.shape).asformat(kind)
        return S, [S.data, *((S.indices, S.indptr) if kind == "csr" else S.coords)]
    if kind == "structured":
        table = np.asarray(np.rec.fromarrays(arrays, names=NAMES))
        return table, [table[name] for name in NAMES]
    return pa.table(dict(zip(NAMES, map(pa.array, arrays), strict=True))), arrays


WHOLE = ["dense", "masked", "csr", "coo", "structured", "Arrow table"]
TIMED = ["structured", "Arrow table"]
DIVIDE: dict[str, Callable[..., tuple[Ratings, ...]]] = {
    "train_test_split": wf.train_test_split,
    "train_validation_test_split": wf.train_validation_test_split,
}


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        *((kind, by) for kind in WHOLE for by in ("random", "user")),
        *((kind, by) for kind in TIMED for by in ("time", "last")),
    ],
)
@pytest.mark.parametrize("name", DIVIDE)
def test_parts_share_nothing_with_what_was_divided(name, kind, by):
    X, memory = whole(kind)
    given = [array.copy() for array in memory]
    parts = DIVIDE[name](X, by=by, random_state=0)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(memory, given, strict=True))
    before = [state(part) for part in parts]
    for array in memory:
        overwrite(array)
    assert [state(part) for part in parts] == before
    for part in parts:
        assert all(stays_closed(getattr(part, role)) for role in ("users", "items", "values"))
        for array in (*part.to_arrays(), part.to_sparse().data):
            overwrite(array)
    assert [state(part) for part in parts] == before


STAMPS = np.random.default_rng(1).permutation(200)
SPLITTERS: dict[str, Callable[..., Any]] = {
    "RatingKFold": lambda times: wf.splits.RatingKFold(3, random_state=0),
    "UserKFold": lambda times: wf.splits.UserKFold(3, random_state=0),
    "LeaveLastOut": lambda times: wf.splits.LeaveLastOut(2, timestamps=times),
    "TimeSplit": lambda times: wf.splits.TimeSplit(3, timestamps=times),
}
# Times in each form that is kept without a conversion, with the memory behind it.
TIMES: dict[str, Callable[[np.ndarray], Any]] = {
    "integers": lambda array: array,
    "floats": lambda array: array.astype(float),
    "dates": lambda array: array.astype("M8[s]"),
    "list": lambda array: array.tolist(),
}


@pytest.mark.parametrize("form", TIMES)
@pytest.mark.parametrize("name", SPLITTERS)
def test_folds_share_nothing_with_what_was_divided(name, form):
    X = np.random.default_rng(2).integers(0, 20, (200, 2))
    times = TIMES[form](STAMPS.copy())
    kept = copy.deepcopy((X.tolist(), list(times)))
    splitter = SPLITTERS[name](times)
    wanted = [[part.tolist() for part in fold] for fold in splitter.split(X)]
    assert (X.tolist(), list(times)) == kept
    folds = splitter.split(X)
    # From here on neither counts any more; nor does what becomes of the folds.
    overwrite(X)
    if isinstance(times, list):
        times.clear()
    else:
        times[...] = times[::-1].copy()
    found = []
    for fold in folds:
        found.append([part.tolist() for part in fold])
        for part in fold:
            part[...] = 0
    assert found == wanted
    if name != "UserKFold" and name != "LeaveLastOut":  # which divide by the users of X
        again = [[part.tolist() for part in fold] for fold in splitter.split(X)]
        assert again == wanted


def test_the_folds_of_ratings_leave_them_as_they_are(ratings):
    before = state(ratings)
    for make in SPLITTERS.values():
        for fold in make(None).split(ratings):
            for part in fold:
                overwrite(part)
    assert state(ratings) == before


class Reused:
    """A splitter that fills the same two arrays for each fold."""

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        train, test = np.empty(len(X) - 20, np.intp), np.empty(20, np.intp)
        for first in (0, 20, 40):
            test[:] = np.arange(first, first + 20)
            train[:] = np.setdiff1d(np.arange(len(X)), test)
            yield train, test

    def get_n_splits(self, *_: Any) -> int:
        return 3


ERRORS = ("test_rmse", "test_mae", "n_train", "n_test", "n_unknown")


def validated(X: Any, cv: Any = 3, **options: Any) -> dict[str, Any]:
    model = wf.MatrixFactorization(2, n_epochs=2, random_state=0, verbose=0)
    params = repr(model.get_params())
    seed = {"random_state": 0} if isinstance(cv, int) else {}
    found = wf.cross_validate(model, X, cv, **seed, **options)
    assert repr(model.get_params()) == params
    assert not hasattr(model, "model_")
    return {name: found[name] for name in (*ERRORS, "models") if name in found}


def listed(found: dict[str, Any]) -> dict[str, list]:
    return {name: found[name].tolist() for name in ERRORS if name in found}


@pytest.mark.parametrize("kind", WHOLE)
def test_cross_validation_shares_nothing_with_what_it_is_given(kind):
    X, memory = whole(kind)
    given = [array.copy() for array in memory]
    found = validated(X, return_models=True)
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(memory, given, strict=True))
    before = listed(found), [answers(each.model_, Ratings.from_any(X)) for each in found["models"]]
    asked = Ratings.from_any(X)
    for array in memory:
        overwrite(array)
    assert (listed(found), [answers(each.model_, asked) for each in found["models"]]) == before
    for name in ERRORS:
        overwrite(found[name])
    assert listed(validated(asked)) == before[0]


@pytest.mark.parametrize("masks", [False, True])
def test_positions_that_were_given_stay_and_may_change(ratings, masks):
    n = len(ratings)
    folds = [(np.setdiff1d(np.arange(n), test), test) for test in np.array_split(np.arange(n), 3)]
    if masks:
        folds = [tuple(np.isin(np.arange(n), part) for part in fold) for fold in folds]
    kept = copy.deepcopy(folds)
    found = listed(validated(ratings, folds))
    assert repr(folds) == repr(kept)

    def refilled() -> Any:
        for train, test in kept:
            first, second = train.copy(), test.copy()
            yield first, second
            first[...], second[...] = first[0], second[0]

    assert listed(validated(ratings, refilled())) == found


def test_a_splitter_may_fill_the_same_arrays_again(ratings):
    class Fresh(Reused):
        def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
            return copy.deepcopy([copy.deepcopy(fold) for fold in super().split(X)])

    assert listed(validated(ratings, Reused())) == listed(validated(ratings, Fresh()))


def test_a_metric_may_work_in_place(ratings):
    def spoiling(y_true: np.ndarray, y_pred: np.ndarray) -> float:
        y_pred -= y_true
        return float(np.sqrt(np.mean(y_pred**2)))

    metrics = {"first": spoiling, "second": spoiling, "rmse": wf.metrics.rmse}
    model = wf.MatrixFactorization(2, n_epochs=2, random_state=0, verbose=0)
    found = wf.cross_validate(model, ratings, 3, metrics=metrics, random_state=0)
    assert (found["test_first"] == found["test_second"]).all()
    assert np.allclose(found["test_first"], found["test_rmse"])


@pytest.mark.parametrize(
    "suffix", ["csv", "tsv", "jsonl", "inter", "parquet", "feather", "orc", "npz"]
)
def test_what_is_written_stays_as_it_was(tmp_path, suffix):
    arrays = columns(np.where(np.arange(30) % 4, 3.0, NAN).reshape(5, 6))
    kept = [array.copy() for array in arrays]
    users, items, values, times = arrays
    ratings = Ratings.from_arrays(users, items, values, timestamps=times)
    before = state(ratings)
    path = tmp_path / f"r.{suffix}"
    wf.write_ratings(ratings, path)
    assert all((a == b).all() for a, b in zip(arrays, kept, strict=True))
    assert state(ratings) == before
    for array in arrays:
        overwrite(array)
    read = wf.read_ratings(path)
    assert state(read) == before
    # The other way round: what was read does not go with its file.
    path.write_bytes(b"spoilt")
    assert state(read) == before
    wf.write_ratings(ratings, path)
    assert state(wf.read_ratings(path)) == before


@pytest.mark.parametrize("steps", [0, 3])
def test_descent_keeps_and_changes_nothing(steps):
    D = np.ma.masked_equal(np.array([[5.0, 3, 0], [4, 0, 1]]), 0)
    P, Q = np.full((2, 1), 0.5), np.full((1, 3), 0.25)
    before = [D.data.copy(), np.ma.getmaskarray(D).copy(), P.copy(), Q.copy()]
    found = wf.matrix_factorization_bgd(D, P, Q, steps)
    after = [D.data, np.ma.getmaskarray(D), P, Q]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    assert not any(np.shares_memory(out, given) for out in found for given in (D.data, P, Q))
