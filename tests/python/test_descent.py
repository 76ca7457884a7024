"""matrix_factorization_bgd against the same descent in plain NumPy, and against PyTensor's gradients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import warpfactor as wf

# The 5 x 4 matrix of the tutorial that the first Theano program followed; 0 is missing.
TUTORIAL = np.array([[5, 3, 0, 1], [4, 0, 0, 1], [1, 1, 0, 5], [1, 0, 0, 4], [0, 1, 5, 4]], float)


def descend(D, P, Q, steps, alpha, beta):
    """Both gradients of E from the same P and Q, written out with dense matrices."""
    missing = np.ma.getmaskarray(D)
    filled = np.ma.filled(D, 0.0)
    for _ in range(steps):
        error = np.where(missing, 0.0, filled - P @ Q)
        P, Q = (
            P - alpha * (-2 * error @ Q.T + beta * P),
            Q - alpha * (-2 * P.T @ error + beta * Q),
        )
    return P, Q


def problem(m, n, k, missing, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    D = np.ma.masked_array(
        rng.normal(3, 1, (m, n)).astype(dtype), mask=rng.random((m, n)) < missing
    )
    return D, rng.random((m, k)).astype(dtype), rng.random((k, n)).astype(dtype)


def test_tutorial_after_5000_steps():
    D = np.ma.masked_equal(TUTORIAL, 0)
    rng = np.random.default_rng(1)
    P, Q = rng.random((5, 2)), rng.random((2, 4))
    expected = descend(D, P, Q, 5000, 0.0002, 0.02)
    for found, wanted in zip(wf.matrix_factorization_bgd(D, P, Q), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-9)
        assert found.dtype == np.float64


@pytest.mark.parametrize("k", [1, 7, 8, 17, 40, 64])
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 2e-4)])
def test_any_rank(k, dtype, rtol):
    D, P, Q = problem(60, 41, k, 0.7, dtype=dtype)
    found = wf.matrix_factorization_bgd(D, P, Q, 50, 0.001, 0.1)
    expected = descend(D.astype(float), P.astype(float), Q.astype(float), 50, 0.001, 0.1)
    for ours, wanted in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(ours, wanted, rtol=rtol, atol=rtol)


def test_all_forms_of_the_matrix_agree():
    D, P, Q = problem(30, 20, 3, 0.5)
    with_nan = D.filled(np.nan)
    stored = sparse.coo_array(np.where(np.ma.getmaskarray(D), 0.0, D.filled(0.0)))
    expected = wf.matrix_factorization_bgd(D, P, Q, 20)
    for form in (with_nan, stored, stored.tocsr(), stored.tocsc(), with_nan.tolist()):
        found = wf.matrix_factorization_bgd(form, P, Q, 20)
        for ours, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_matrix_without_missing_entries():
    D, P, Q = problem(12, 9, 2, 0.0)
    found = wf.matrix_factorization_bgd(np.asarray(D), P, Q, 100, 0.001)
    expected = descend(D, P, Q, 100, 0.001, 0.02)
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-10)


def test_same_bits_for_any_number_of_threads():
    D, P, Q = problem(500, 400, 20, 0.5)  # large enough that threads are used
    expected = wf.matrix_factorization_bgd(D, P, Q, 5, n_threads=1)
    for n_threads in (2, 3, 7):
        found = wf.matrix_factorization_bgd(D, P, Q, 5, n_threads=n_threads)
        for ours, wanted in zip(found, expected, strict=True):
            assert ours.tobytes() == wanted.tobytes()


def test_what_was_given_is_not_changed():
    D, P, Q = problem(10, 8, 2, 0.3)
    D_before, P_before, Q_before = D.copy(), P.copy(), Q.copy()
    ours = wf.matrix_factorization_bgd(D, P, Q, 0)
    assert all(not np.shares_memory(a, b) for a, b in zip(ours, (P, Q), strict=True))
    np.testing.assert_array_equal(ours[0], P)
    np.testing.assert_array_equal(ours[1], Q)
    wf.matrix_factorization_bgd(D, P, Q, 10)
    np.testing.assert_array_equal(D.filled(-1), D_before.filled(-1))
    np.testing.assert_array_equal(P, P_before)
    np.testing.assert_array_equal(Q, Q_before)


def test_rows_and_columns_without_entries_only_shrink():
    D, P, Q = problem(6, 5, 2, 0.2)
    D[2] = np.ma.masked
    D[:, 3] = np.ma.masked
    found_P, found_Q = wf.matrix_factorization_bgd(D, P, Q, 7, 0.001, 0.5)
    shrunk = (1 - 0.001 * 0.5) ** 7
    np.testing.assert_allclose(found_P[2], P[2] * shrunk, rtol=1e-13)
    np.testing.assert_allclose(found_Q[:, 3], Q[:, 3] * shrunk, rtol=1e-13)


def test_a_small_penalty_counts_in_float32_too():
    # alpha * beta is 1e-8, less than half the distance of 1 to the next float32: (1 - alpha * beta) would be 1. Nothing
    # is known about the last row, so the penalty alone moves it.
    D = np.ma.masked_array(np.ones((2, 1)), mask=[[False], [True]])
    P, Q = np.full((2, 1), 1e-3, np.float32), np.ones((1, 1), np.float32)
    found, _ = wf.matrix_factorization_bgd(D, P, Q, 1000, alpha=1e-3, beta=1e-1)
    np.testing.assert_allclose(found[1], 1e-3 * (1 - 1e-4) ** 1000, rtol=1e-4)


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.float64, np.bool_])
def test_other_types_than_float32_give_float64(kind):
    D, _, _ = problem(4, 3, 1, 0.2)
    found = wf.matrix_factorization_bgd(D, np.ones((4, 1), kind), np.ones((1, 3), np.float32), 1)
    assert [array.dtype for array in found] == [np.float64, np.float64]


def test_too_large_a_step_says_so():
    D, P, Q = problem(30, 20, 3, 0.5)
    with pytest.raises(wf.DivergedError, match=r"lower alpha, for example to 0\.25") as caught:
        wf.matrix_factorization_bgd(D, P, Q, 1000, alpha=1.0)
    assert 1 <= caught.value.epoch <= 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"P": np.ones((3, 2))}, r"P has shape \(3, 2\) and Q \(2, 5\); for D of shape \(6, 5\)"),
        ({"P": np.ones((6, 3))}, "with the same k"),
        ({"P": np.ones(6)}, r"P has shape \(6,\); it must be 2-D"),
        ({"Q": np.full((2, 5), np.nan)}, "Q holds NaN, infinity"),
        ({"Q": np.full((2, 5), "a")}, "Q has dtype <U1"),
        ({"D": np.full((6, 5), np.nan)}, "everything is missing"),
        ({"D": np.full((6, 5), np.inf)}, "D holds NaN, infinity"),
        ({"D": np.ones(6)}, r"D has shape \(6,\)"),
        ({"P": np.ma.masked_equal(np.eye(6)[:, :2], 0)}, "P has masked entries"),
        ({"D": np.full((6, 5), "a")}, "D has dtype"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"alpha": 0.0}, "alpha is 0; it must be finite and above 0"),
        ({"alpha": "x"}, "alpha is 'x'; it must be a number"),
        ({"beta": -1.0}, "beta is -1; it must be finite and at least 0"),
        ({"n_threads": 0}, "n_threads is 0"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"D": np.ones((6, 5)), "P": np.ones((6, 2)), "Q": np.ones((2, 5)), "steps": 1}
    with pytest.raises(ValueError, match=message):
        wf.matrix_factorization_bgd(**{**arguments, **change})


def pytensor_descent(D, k, alpha, beta):
    """The program it comes from: the loss is stated, pytensor.grad derives both gradients."""
    import pytensor
    import pytensor.tensor as pt

    P, Q = pt.dmatrix("P"), pt.dmatrix("Q")
    known = ~np.ma.getmaskarray(D)
    error = pt.switch(known, D.filled(0.0) - P @ Q, 0.0)
    loss = (error**2).sum() + beta / 2 * ((P**2).sum() + (Q**2).sum())
    gradients = pytensor.grad(loss, [P, Q])
    return pytensor.function([P, Q], [P - alpha * gradients[0], Q - alpha * gradients[1]])


@pytest.mark.parametrize(
    ("shape", "k", "missing", "steps"), [((5, 4), 2, 0, 5000), ((300, 200), 8, 0.7, 500)]
)
def test_agrees_with_pytensor(shape, k, missing, steps):
    if shape == (5, 4):
        D = np.ma.masked_equal(TUTORIAL, 0)
        rng = np.random.default_rng(1)
        P, Q = rng.random((5, k)), rng.random((k, 4))
    else:
        D, P, Q = problem(*shape, k, missing)
    step = pytensor_descent(D, k, 0.0002, 0.02)
    expected = P, Q
    for _ in range(steps):
        expected = step(*expected)
    found = wf.matrix_factorization_bgd(D, P, Q, steps)
    for ours, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-9)
