"""The core trains from chunks that Python makes, over a scratch file, to the bits of all ratings at once."""

import numpy as np
import pytest

from warpfactor import _core

N, N_USERS, N_ITEMS, BUFFER = 150_000, 3000, 2000, 8 << 20


@pytest.fixture(scope="module")
def ratings():
    random = np.random.default_rng(1)
    users = random.integers(0, N_USERS, N, dtype=np.int32)
    items = random.integers(0, N_ITEMS, N, dtype=np.int32)
    return users, items, random.integers(1, 6, N).astype(np.float32)


def params():
    chosen = _core.TrainParams()
    for name, value in {"n_factors": 4, "n_epochs": 2, "reg": (0.04, 0.04), "n_threads": 2}.items():
        chosen[name] = value
    return chosen


def test_chunks_give_the_bits_of_all_ratings_at_once(ratings, tmp_path):
    users, items, values = ratings

    def chunks():
        for first in range(0, N, 44_444):
            part = slice(first, first + 44_444)
            yield users[part], items[part], values[part], None

    for train, whole in [
        (_core.train_chunks_float32, _core.train_float32),
        (_core.train_chunks_float64, _core.train_float64),
    ]:
        found = train(chunks, N_USERS, N_ITEMS, N, str(tmp_path), BUFFER, 0, params())
        expected = whole(_core.RatingArrays(users, items, values), N_USERS, N_ITEMS, params())
        for name in ("user_factors", "item_factors", "user_biases", "item_biases", "user_counts"):
            assert found[name].tobytes() == expected[name].tobytes()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt])
def test_what_the_source_raises_comes_out_and_leaves_no_file(ratings, tmp_path, error):
    def chunks():
        yield (*(part[:10] for part in ratings), None)
        raise error("the source broke")

    with pytest.raises(error, match="the source broke"):
        _core.train_chunks_float32(chunks, N_USERS, N_ITEMS, N, str(tmp_path), BUFFER, 0, params())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("made", "error", "told"),
    [
        (
            lambda u, i, v: (u.astype(np.int64), i, v, None),
            TypeError,
            "users must be contiguous arrays of int32",
        ),
        (
            lambda u, i, v: (u, i[::-1], v, None),
            TypeError,
            "items must be contiguous arrays of int32",
        ),
        (lambda u, i, v: (u, i, v), ValueError, "users, items, values, weights or None"),
        (
            lambda u, i, v: (u[1:], i[1:], v[1:], None),
            ValueError,
            "n_ratings is 150000; it must be",
        ),
        (lambda u, i, v: (u, i, v, v[1:]), ValueError, "the lengths must be equal"),
    ],
)
def test_chunks_of_other_kinds_are_refused(ratings, tmp_path, made, error, told):
    with pytest.raises(error, match=told):
        _core.train_chunks_float32(
            lambda: iter([made(*ratings)]), N_USERS, N_ITEMS, N, str(tmp_path), BUFFER, 0, params()
        )


def test_a_folder_that_is_not_there_is_a_file_not_found(ratings):
    with pytest.raises(FileNotFoundError, match="scratch is /nonexistent"):
        _core.train_chunks_float32(
            lambda: iter([(*ratings, None)]),
            N_USERS,
            N_ITEMS,
            N,
            "/nonexistent",
            BUFFER,
            0,
            params(),
        )
