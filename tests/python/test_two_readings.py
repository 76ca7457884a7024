"""What could be read in two ways is refused, with a line to write for each: arrays, and columns of files."""

from __future__ import annotations

import re

import numpy as np
import pytest

import warpfactor as wf
from warpfactor.checks import shell_words
from warpfactor.data.files import read_pairs, read_ratings
from warpfactor.data.ratings import Ratings

NAN = float("nan")
TRIPLES = np.array([[1, 10, 5], [1, 11, 3], [2, 10, 4.5], [3, 12, 1]])
TIMED = np.column_stack([TRIPLES, [966666603, 966666604, 966666605, 966666606]])
SHAPES = {
    "triples": TRIPLES,
    "with times": TIMED,
    "float32": TRIPLES.astype(np.float32),
    "integers": TRIPLES.astype(int),
    "a missing rating": np.where(TRIPLES == 4.5, NAN, TRIPLES),
    "Fortran order": np.asfortranarray(TRIPLES),
    "one row": TRIPLES[:1],
}


def model() -> wf.MatrixFactorization:
    return wf.MatrixFactorization(2, n_epochs=1, verbose=0, random_state=0)


CALLS = {
    "X": [
        Ratings.from_any,
        lambda X: model().fit(X),
        lambda X: model().fit(TRIPLES[:, :2], TRIPLES[:, 2]).score(X),
    ],
    "validation": [lambda X: model().fit(TRIPLES[:, :2], TRIPLES[:, 2], validation=X)],
    "ratings": [wf.train_test_split],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, calls in CALLS.items() for call in calls]
)
def test_both_lines_are_given_and_work(shape, name, call):
    X = SHAPES[shape]
    with pytest.raises(ValueError, match=f"^{name} has shape .*could be two things") as error:
        call(X)
    lines = re.findall(
        r"write (warpfactor\.Ratings\.from_\w+\(.*?\))\.? ?(?:If|$)", str(error.value)
    )
    assert len(lines) == 2
    known = {"warpfactor": wf, name: X}
    dense = eval(lines[1], known)
    assert dense.n_items == X.shape[1]
    if shape == "a missing rating":
        with pytest.raises(ValueError, match="values: nan is not finite at position 2"):
            eval(lines[0], known)
        return
    columns = eval(lines[0], known)
    assert [column.tolist() for column in columns.to_arrays()] == X[:, :3].T.tolist()
    assert (columns.timestamps is None) == (X.shape[1] == 3)


@pytest.mark.parametrize(
    "D",
    [
        np.array([[1, NAN, 5], [NAN, 2, 3]]),  # missing where ids would be
        np.array([[1.5, 2, 5], [4, 2, 3]]),
        np.array([[-1.0, 2, 5], [4, 2, 3]]),
        np.array([[1, 2, NAN], [4, 2, NAN]]),  # no rating at all
        np.array([[1.0, 2, 3, 4, 5]]),
        np.array([[3.0], [4.0]]),
        np.array([[np.inf, 2, NAN, 1], [NAN, 2, 3, 4]])[1:],
    ],
)
def test_other_float_arrays_are_matrices(D):
    assert Ratings.from_any(D).shape == D.shape


def test_a_matrix_can_always_be_said():
    for X in (TRIPLES, TIMED, TRIPLES.astype(int)):
        assert len(Ratings.from_dense(X)) == X.size
    masked = np.ma.masked_invalid(TRIPLES)
    assert len(Ratings.from_any(masked)) == TRIPLES.size


@pytest.mark.parametrize("X", [TRIPLES, TIMED])
def test_predict_names_the_pairs(X):
    fitted = model().fit(X[:, :2], X[:, 2])
    with pytest.raises(
        ValueError, match=r"could be two things.* write X\[:, :2\]. If it is a matrix"
    ):
        fitted.predict(X)
    with pytest.raises(ValueError, match=r"pass X\[:, :2\] if they come first"):
        fitted.predict(X.astype(int))
    square = model().fit(Ratings.from_dense(X))  # the model has X's shape
    with pytest.raises(ValueError, match=r"two things.* write X\[:, :2\].*from_dense\(X\)"):
        square.predict(X)
    assert len(square.predict(Ratings.from_dense(X))) == X.size


@pytest.mark.parametrize(
    ("X", "line"),
    [
        ([(1, 2, 5.0), (1, 3, 4.0)], "warpfactor.Ratings.from_arrays(*zip(*X))"),
        ([[1, 2, 5.0], [1, 3, 4.0]], "warpfactor.Ratings.from_dense(X)"),
        ((("a", "b", 5.0),), "warpfactor.Ratings.from_arrays(*zip(*X))"),
        ([(1, 2, 5.0, 7)], "u, i, r, t = zip(*X)"),
        (
            np.array([["a", "b", "5"], ["a", "c", "4"]]),
            "warpfactor.Ratings.from_arrays(X[:, 0], X[:, 1], X[:, 2].astype(float))",
        ),
        (
            np.array([["a", "b", 5.0, 7]], object),
            "from_arrays(X[:, 0], X[:, 1], X[:, 2].astype(float), timestamps=X[:, 3])",
        ),
        ({"user": [1], "item": [2]}, "pandas.DataFrame(X)"),
    ],
)
def test_other_rows_of_user_item_rating_get_their_line(X, line):
    with pytest.raises(ValueError, match=re.escape(line)) as error:
        Ratings.from_any(X)
    if line.startswith("warpfactor.Ratings.from_arrays"):
        assert len(eval(line, {"warpfactor": wf, "X": X})) == len(X)
    assert "X" in str(error.value)


# Files without names whose columns are in another order than user, item, rating, time

ORDERS = {
    "user, item, time, rating": (
        "1,2,977777770,5\n1,3,977777771,4\n",
        "rating=3, timestamp=2",
        {"rating": 3, "timestamp": 2},
    ),
    "milliseconds": (
        "1\t2\t977777770000\t5\n1\t3\t977777771000\t4.5\n",
        "rating=3, timestamp=2",
        {"rating": 3, "timestamp": 2},
    ),
    "user, time, item, rating": (
        "1;977777770;2;5\n1;977777771;3;4,5\n",
        "item=2, rating=3, timestamp=1",
        {"item": 2, "rating": 3, "timestamp": 1},
    ),
    "time first": (
        "977777770::1::2::5\n977777771::1::3::4\n",
        "user=1, item=2, rating=3, timestamp=0",
        {"user": 1, "item": 2, "rating": 3, "timestamp": 0},
    ),
    "names that say nothing": (
        "a,b,c,d\n1,2,977777770,5\n1,3,977777771,4\n",
        "rating=3, timestamp=2",
        {"rating": 3, "timestamp": 2},
    ),
}


@pytest.mark.parametrize(("text", "told", "fixed"), ORDERS.values(), ids=ORDERS)
def test_times_in_the_place_of_another_column_are_refused(tmp_path, text, told, fixed):
    path = tmp_path / "r.csv"
    path.write_text(text)
    insist = {"user": 0, "item": 1, "rating": 2}
    with pytest.raises(
        ValueError, match=f"If they are times, pass {told}; else user=0, item=1, rating=2$"
    ):
        read_ratings(path)
    ratings = read_ratings(path, **fixed)
    assert ratings.user_ids.tolist() == [1]
    assert ratings.item_ids.tolist() == [2, 3]
    assert ratings.values[0] == 5
    assert ratings.timestamps[0] in (977777770, 977777770000)
    assert len(read_ratings(path, **insist)) == 2
    with shell_words(), pytest.raises(ValueError, match=" --rating-column 3 --timestamp-column"):
        read_ratings(path)


@pytest.mark.parametrize(
    "text",
    [
        "1,2,5,977777770\n1,3,4,977777771\n",
        "977777770,977777771,5,977777770\n977777772,977777773,4,977777771\n",  # ids of 9 digits
        "1,2,977777770,977777770\n1,3,977777771,977777771\n",
        "1,2,977777770\n1,3,977777771\n",
        "1,2,300760,5\n1,3,300761,4\n",
        "1,2,5\n1,3,4\n",
    ],
)
def test_other_orders_are_read(tmp_path, text):
    path = tmp_path / "r.csv"
    path.write_text(text)
    assert len(read_ratings(path)) == 2


def test_times_in_the_place_of_the_items_of_pairs_are_refused(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("1,977777770,2\n1,977777771,3\n")
    with pytest.raises(ValueError, match=r"pass user=0, item=2; else user=0, item=1$"):
        read_pairs(path)
    assert read_pairs(path, item=2, user=0)[1].tolist() == [2, 3]


def test_options_are_joined_as_they_are_typed(tmp_path):
    path = tmp_path / "r.csv"
    texts = {
        "0,10,20,3\n1,11,21,4\n2,10,22,5\n3,12,20,1\n": (("user", 1), ("item", 2), ("rating", 3)),
        "1,2,977777770,5\n1,3,977777771,4\n": (("rating", 3), ("timestamp", 2)),
        "n,who,what,mark,more\na,b,c,3,4\nd,e,f,4,5\n": (("user", "n"), ("item", "who")),
    }
    for text, options in texts.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=", ".join(f"{role}={at!r}" for role, at in options)):
            read_ratings(path)
        in_shell = " ".join(f"--{role}-column {at}" for role, at in options)
        with shell_words(), pytest.raises(ValueError, match=in_shell):
            read_ratings(path)
