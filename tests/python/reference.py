"""A slow, plain NumPy version of the model and its step: what the kernels are checked against."""

from __future__ import annotations

import numpy as np


def predict(P, Q, bu, bi, mu, users, items):
    return mu + bu[users] + bi[items] + np.einsum("nf,nf->n", P[users], Q[items])


def sgd_pass(P, Q, bu, bi, users, items, z, weights, rate, reg, reg_bias, biases):
    """One pass in the given order, in place and in double precision; the mean squared error of it."""
    total = 0.0
    for n, (u, i) in enumerate(zip(users, items, strict=True)):
        x = P[u] @ Q[i] + (bu[u] + bi[i] if biases else 0.0)
        error = z[n] - x
        total += weights[n] * error**2
        step = rate * weights[n]
        if biases:
            bu[u] += step * (error - reg_bias * bu[u])
            bi[i] += step * (error - reg_bias * bi[i])
        p = P[u].copy()
        P[u] += step * (error * Q[i] - reg * p)
        Q[i] += step * (error * p - reg * Q[i])
    return total / weights.sum()


def objective(P, Q, bu, bi, users, items, z, weights, reg, reg_bias):
    error = z - predict(P, Q, bu, bi, 0.0, users, items)
    penalty = reg * ((P[users] ** 2).sum(1) + (Q[items] ** 2).sum(1))
    penalty += reg_bias * (bu[users] ** 2 + bi[items] ** 2)
    return 0.5 * (weights * (error**2 + penalty)).sum()
