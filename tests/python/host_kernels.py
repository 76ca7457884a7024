"""The device's kernels that answer, in NumPy, on addresses of the host: written apart from those of the core.

They stand in for the core's where it is no twin build. The signatures are those of `warpfactor._core`.
"""

from __future__ import annotations

import ctypes

import numpy as np

from warpfactor import _core
from warpfactor.data.ids import find_integers


def array_at(address, dtype, shape):
    """An array of the memory at an address; None at 0."""
    dtype = np.dtype(dtype)
    if address == 0:
        return None
    size = int(np.prod(shape)) * dtype.itemsize
    raw = (ctypes.c_byte * size).from_address(address)
    return np.frombuffer(raw, dtype, int(np.prod(shape))).reshape(shape)


def find_codes(
    *, ids, type, stride, n, vocabulary, is_unsigned, first, n_ids, known, codes, missing, stream
):
    if not n:
        return
    item = np.dtype(type)
    whole = array_at(
        min(ids, ids + stride * (n - 1)), np.int8, abs(stride) * (n - 1) + item.itemsize
    )
    begin = 0 if stride >= 0 else -stride * (n - 1)
    wanted = np.ndarray(n, item, whole, begin, (stride,))
    kept = (
        range(first, first + n_ids)
        if vocabulary == 0
        else array_at(vocabulary, "u8" if is_unsigned else "i8", n_ids)
    )
    found = find_integers(np, kept, wanted)
    found = np.where((found >= 0) & array_at(known, bool, n_ids)[found], found, -1)
    array_at(codes, "i4", n)[:] = found
    if missing and (found < 0).any():
        array_at(missing, "i4", 1)[0] = 1


def linked(x, link):
    if link == "identity":
        return x
    with np.errstate(over="ignore"):
        probability = 1 / (1 + np.exp(-x))
    return probability if link == "probability" else 2 * probability - 1


class ScoreShape:
    """`_core.ScoreShape`, whose members can be read."""

    def __init__(self, *, mean, start_bias, rating_mean, link, biases):
        self.mean, self.start_bias, self.rating_mean = mean, start_bias, rating_mean
        self.link, self.biases = link, biases


def rows_at(address, codes, k, real):
    """Rows of these codes; zeros for -1."""
    least = array_at(address, real, (max(codes.max(initial=-1) + 1, 1), k))
    return np.where(codes[:, None] >= 0, least[np.maximum(codes, 0)], 0)


def values_at(address, codes, real, otherwise):
    if address == 0:
        return np.where(codes >= 0, np.dtype(real).type(0), otherwise)
    there = array_at(address, real, max(codes.max(initial=-1) + 1, 1))
    return np.where(codes >= 0, there[np.maximum(codes, 0)], otherwise)


def predict_pairs(
    *, is_double, user_factors, item_factors, user_biases, item_biases, n_factors, users, items, n,
    n_columns, shape, nan_if_unknown, predicted, stream,
):  # fmt: skip
    if not n:
        return
    real = np.float64 if is_double else np.float32
    if n_columns:
        rows, columns = np.divmod(np.arange(n), n_columns)
        u, i = array_at(users, "i4", rows[-1] + 1)[rows], array_at(items, "i4", n_columns)[columns]
    else:
        u, i = (array_at(at, "i4", n) for at in (users, items))
    P, Q = rows_at(user_factors, u, n_factors, real), rows_at(item_factors, i, n_factors, real)
    both = (u >= 0) & (i >= 0)
    score = np.where(both, (P * Q).sum(axis=1), 0) + real(shape.mean)
    for at, codes in ((user_biases, u), (item_biases, i)):
        score = score + values_at(at, codes, real, real(shape.start_bias))
    out = linked(score.astype(real), shape.link)
    if nan_if_unknown or not shape.biases:
        out = np.where(both, out, np.nan if nan_if_unknown else real(shape.rating_mean))
    array_at(predicted, real, n)[:] = out


def unit_rows(*, is_double, rows, n, n_factors, unit, stream):
    real = np.float64 if is_double else np.float32
    X = array_at(rows, real, (n, n_factors))
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    array_at(unit, real, (n, n_factors))[:] = X / np.maximum(lengths, np.finfo(real).tiny)


def search_items(
    *, is_double, user_factors, item_factors, item_biases, n_factors, n_items, queries, n_queries, seen,
    without, only, not_itself, times, bias_variances, factor_variances, user_lengths, n_users, first_draw, n, n_splits,
    best, found, stream,
):  # fmt: skip
    real = np.float64 if is_double else np.float32
    assert 1 <= n <= _core.most_selected
    assert n_splits == 1 or only[0] == 0
    codes = array_at(queries, "i4", n_queries)
    Q = array_at(item_factors, real, (n_items, n_factors))
    scores = rows_at(user_factors, codes, n_factors, real) @ Q.T
    scores = scores + array_at(item_biases, real, n_items)
    if times:
        spread = array_at(user_lengths, real, n_users + 1)[codes][:, None]
        spread = spread * array_at(factor_variances, real, n_items)
        deviation = np.sqrt(spread + array_at(bias_variances, real, n_items))
        if first_draw is not None:
            users = np.where(codes < 0, n_users, codes)
            deviation *= normal_numbers(first_draw, users, n_items).astype(real)
        scores += real(times) * deviation
    best, found = (
        array_at(at, dtype, (n_splits, n_queries, n)) for at, dtype in ((best, real), (found, "i4"))
    )
    best[:], found[:] = -np.inf, -1
    width = -(-n_items // n_splits)
    for at, code in enumerate(codes):
        row = scores[at]
        for lists, number in ((seen, code), (without, at)):
            row[listed(lists, number)] = -np.inf
        if not_itself and code >= 0:
            row[code] = -np.inf
        if only[0]:
            kept = np.full(n_items, False)
            kept[listed(only, at)] = True
            row[~kept] = -np.inf
        for part in range(n_splits):
            some = row[part * width : (part + 1) * width]
            order = np.argsort(-some, kind="stable")
            order = order[some[order] > -np.inf][:n]
            best[part, at, : len(order)] = some[order]
            found[part, at, : len(order)] = order + part * width


def mixed(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def normal_numbers(first_draw, users, n_items):
    pairs = users.astype("u8")[:, None] * np.uint64(n_items) + np.arange(n_items, dtype="u8")
    state = mixed(pairs + np.uint64(first_draw))
    first, second = (
        mixed(state + np.uint64(n * 0x9E3779B97F4A7C15 % 2**64)) >> np.uint64(11) for n in (1, 2)
    )
    radius = np.sqrt(-2 * np.log((first + np.uint64(1)).astype(float) * 2.0**-53))
    return radius * np.cos(2 * np.pi * 2.0**-53 * second.astype(float))


def listed(lists, row):
    if lists[0] == 0 or row < 0:
        return []
    begin, end = array_at(lists[0], "i8", row + 2)[row:].tolist()
    items = np.array([]) if end == 0 else array_at(lists[1], "i4", end)[begin:]
    assert (np.diff(items) > 0).all()
    return items.astype(int)


def finish_lists(
    *, is_double, queries, n_queries, n, n_splits, best, found, user_biases, lengths, shape, has_ids, ids, first_id,
    empty_id, names_out, scores_out, stream,
):  # fmt: skip
    real = np.float64 if is_double else np.float32
    if not n_queries:
        return
    codes = array_at(queries, "i4", n_queries)
    best, found = (
        array_at(at, dtype, (n_splits, n_queries, n)).swapaxes(0, 1).reshape(n_queries, -1)
        for at, dtype in ((best, real), (found, "i4"))
    )
    order = np.lexsort((found, -best), axis=1)[:, :n]
    best, found = (np.take_along_axis(array, order, axis=1) for array in (best, found))
    offset = values_at(user_biases, codes, real, real(shape.start_bias)) + real(shape.mean)
    score = (best + offset[:, None]).astype(real)
    filled = (found >= 0) & np.isfinite(score)
    if lengths:
        filled &= np.arange(n) < array_at(lengths, "i8", n_queries)[:, None]
    out = linked(score, shape.link)
    if not shape.biases:
        out = np.where(codes[:, None] < 0, real(shape.rating_mean), out)
    array_at(scores_out, real, (n_queries, n))[:] = np.where(filled, out, np.nan)
    if has_ids:
        names = found.astype("i8") + first_id
        if ids:
            names = array_at(ids, "i8", max(found.max() + 1, 1))[np.maximum(found, 0)]
        array_at(names_out, "i8", (n_queries, n))[:] = np.where(filled, names, empty_id)
    else:
        array_at(names_out, "i4", (n_queries, n))[:] = np.where(filled, found, -1)


KERNELS = {
    function.__name__: function
    for function in (
        find_codes,
        predict_pairs,
        unit_rows,
        search_items,
        finish_lists,
        ScoreShape,
    )
}
