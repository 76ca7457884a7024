"""Factorize a matrix with missing entries, D ≈ PQ, by gradient descent, and fill the gaps.

    python examples/masked_matrix.py

The program that warpfactor grew from: what is missing is masked, P and Q set the rank, and every step
moves both along the gradients of the squared error over the known entries plus an L2 penalty.
"""

import numpy as np

import warpfactor as wf

ratings = np.array([[5, 3, 0, 1], [4, 0, 0, 1], [1, 1, 0, 5], [1, 0, 0, 4], [0, 1, 5, 4]])
D = np.ma.masked_equal(ratings, 0).astype(float)

rng = np.random.default_rng(0)
rank = 2
P, Q = rng.random((D.shape[0], rank)), rng.random((rank, D.shape[1]))


def error(P: np.ndarray, Q: np.ndarray) -> float:
    """Root mean square of the errors at the known entries."""
    return float(np.sqrt(((D - P @ Q) ** 2).mean()))


print(f"step    0: RMSE {error(P, Q):.4f}")
for steps in range(1000, 6000, 1000):
    P, Q = wf.matrix_factorization_bgd(D, P, Q, steps=1000, alpha=0.0002, beta=0.02)
    print(f"step {steps:4}: RMSE {error(P, Q):.4f}")

np.set_printoptions(precision=2, suppress=True)
print("\nD, -- where nothing is known:", D, "\nPQ:", P @ Q, sep="\n")
