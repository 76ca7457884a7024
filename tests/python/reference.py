"""A slow, plain NumPy version of the model and its step: what the kernels are checked against."""

from __future__ import annotations

import numpy as np


def predict(P, Q, bu, bi, mu, users, items):
    return mu + bu[users] + bi[items] + np.einsum("nf,nf->n", P[users], Q[items])


def loss_of(loss, r, x, delta=1.0):
    """l(r, x) as its formula says."""
    e = x - r
    if loss == "squared":
        return e**2 / 2
    if loss == "absolute":
        return np.abs(e)
    if loss == "huber":
        return np.where(np.abs(e) <= delta, e**2 / 2, delta * (np.abs(e) - delta / 2))
    if loss == "logistic":
        return np.logaddexp(0, -r * x)
    if loss == "squared_hinge":
        return np.maximum(0, 1 - r * x) ** 2 / 2
    assert loss == "poisson"
    return np.where(r > 0, r * np.log(np.where(r > 0, r, 1) / x), 0) - r + x


def slope_of(loss, r, x, delta=1.0):
    """dl/dx"""
    e = x - r
    if loss == "squared":
        return e
    if loss == "absolute":
        return np.sign(e)
    if loss == "huber":
        return np.clip(e, -delta, delta)
    if loss == "logistic":
        return -r / (1 + np.exp(r * x))
    if loss == "squared_hinge":
        return -r * np.maximum(0, 1 - r * x)
    assert loss == "poisson"
    return 1 - r / x


def sides(reg):
    """(of the users, of the items)"""
    return reg if isinstance(reg, tuple) else (reg, reg)


def penalty_of(w, reg, l1_ratio=0.0):
    return reg * (l1_ratio * np.abs(w) + (1 - l1_ratio) / 2 * w**2)


def sgd_pass(
    P, Q, bu, bi, users, items, z, weights, rate, reg, reg_bias, biases, *, loss="squared",
    delta=1.0, offset=0.0, l1_ratio=0.0, lowest=-np.inf, max_slope=np.inf, squares=None,
):  # fmt: skip
    """One pass in the given order, in place and in double precision; the mean loss of it.

    The squared loss is returned without its half. With `squares`, adagrad's sums of the users and
    of the items, a step is adagrad's.
    """
    total = 0.0
    reg, reg_bias = sides(reg), sides(reg_bias)
    for n, (u, i) in enumerate(zip(users, items, strict=True)):
        x = offset + P[u] @ Q[i] + (bu[u] + bi[i] if biases else 0.0)
        total += weights[n] * loss_of(loss, z[n], x, delta) * (2 if loss == "squared" else 1)
        slope = np.clip(slope_of(loss, z[n], x, delta), -max_slope, max_slope)
        rows = ((P, bu, u, Q[i].copy()), (Q, bi, i, P[u].copy()))
        for side, (factors, own_biases, row, other) in enumerate(rows):
            by_factors = slope * other + (1 - l1_ratio) * reg[side] * factors[row]
            by_bias = slope + (1 - l1_ratio) * reg_bias[side] * own_biases[row]
            step = rate * weights[n]
            if squares is not None:
                step /= np.sqrt(1 + squares[side][row])
                gradients = np.r_[by_factors, by_bias] if biases else by_factors
                squares[side][row] += np.mean((weights[n] * gradients) ** 2)

            def settled(w, threshold):
                w = np.sign(w) * np.maximum(0, np.abs(w) - threshold)
                return np.maximum(w, lowest)

            factors[row] = settled(factors[row] - step * by_factors, step * l1_ratio * reg[side])
            if biases:
                own_biases[row] = settled(
                    own_biases[row] - step * by_bias, step * l1_ratio * reg_bias[side]
                )
    return total / weights.sum()


def objective(
    P, Q, bu, bi, users, items, z, weights, reg, reg_bias, *, loss="squared", delta=1.0,
    offset=0.0, l1_ratio=0.0,
):  # fmt: skip
    terms = loss_of(loss, z, predict(P, Q, bu, bi, offset, users, items), delta)
    reg, reg_bias = sides(reg), sides(reg_bias)
    terms = terms + penalty_of(P[users], reg[0], l1_ratio).sum(1)
    terms += penalty_of(Q[items], reg[1], l1_ratio).sum(1)
    terms += penalty_of(bu[users], reg_bias[0], l1_ratio)
    terms += penalty_of(bi[items], reg_bias[1], l1_ratio)
    return (weights * terms).sum()
