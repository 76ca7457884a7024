"""A slow, plain NumPy version of the model and its step: what the kernels are checked against."""

from __future__ import annotations

import numpy as np

# Plain steps: penalties per rating alone, and no prior means.
PLAIN = {"reg_row": 0.0, "reg_bias_row": 0.0, "implicit_feedback": "none"}

POISSON_FLOOR = 1e-6  # of the mean rating; below, the loss goes on along its tangent


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
    touching = np.maximum(x, POISSON_FLOOR)
    log_part = np.where(r > 0, r * np.log(np.where(r > 0, r, 1) / touching), 0)
    return log_part - r / touching * (x - touching) - r + x


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
    return 1 - r / np.maximum(x, POISSON_FLOOR)


def sides(reg):
    """(of the users, of the items)"""
    return reg if isinstance(reg, tuple) else (reg, reg)


def penalty_of(w, reg, l1_ratio=0.0):
    return reg * (l1_ratio * np.abs(w) + (1 - l1_ratio) / 2 * w**2)


class Pulls:
    """The pulls of one side's rows: strengths per rating of weight 1, and the prior means."""

    def __init__(self, weights_of_rows, k, *, reg, reg_bias, reg_row, reg_bias_row, start_bias=0.0):
        n = np.where(weights_of_rows > 0, weights_of_rows, 1)
        self.strengths = [reg + reg_row / n, reg_bias + reg_bias_row / n]
        # By the penalty per row, biases are pulled to where they started.
        share = reg_bias_row / n / np.where(self.strengths[1] > 0, self.strengths[1], 1)
        self.means = [np.zeros((len(n), k)), start_bias * share]

    def __call__(self, part, rows, w, weight, limit):
        """What the penalties add to the gradient of rows, by ratings that weigh so much."""
        strength = np.minimum(weight * self.strengths[part][rows], limit)
        if part == 0 and np.ndim(rows) > 0:
            strength = strength[:, None]
        return strength * (w[rows] - self.means[part][rows])


class PriorMeans:
    """Prior means from who rated what: conjugate gradients of a ridge regression, column by column.

    `rated` has a row for each row of the side, and a column for each of the other side's.
    """

    def __init__(self, rated, k, rho):
        counts = rated.sum(1, keepdims=True)
        self.X = rated / np.sqrt(np.where(counts > 0, counts, 1))
        self.rho = np.r_[np.full(k, rho), 5 * rho]
        self.y = np.zeros((rated.shape[1], k + 1))
        self.d = np.zeros_like(self.y)

    def step(self, factors, biases):
        """One step towards the least over the gradient and the step before; the means after it."""
        X, rho = self.X, self.rho
        rows = np.c_[factors, biases]
        g = X.T @ (rows - X @ self.y) - rho * self.y
        z = g / ((X**2).sum(0)[:, None] + rho)
        for c in range(len(rho)):
            both = np.c_[z[:, c], self.d[:, c]]
            H = (X @ both).T @ (X @ both) + rho[c] * both.T @ both
            along = np.linalg.pinv(H, rcond=1e-9, hermitian=True) @ (both.T @ g[:, c])
            self.d[:, c] = both @ along
        self.y += self.d
        means = X @ self.y
        return [means[:, :-1], means[:, -1]]


def bias_strengths(users, items, z, w):
    """Noise over the variance of the users' and of the items' biases, by mean-field EM.

    z = mu + b_u + b_i + noise with normal b_u, b_i and noise: crossed random effects.
    """
    kept = w > 0
    sides, z, w = [users[kept], items[kept]], z[kept], w[kept]
    counts = [np.bincount(rows, w) for rows in sides]
    rated = [count > 0 for count in counts]
    mu = np.average(z, weights=w)
    spread = np.average((z - mu) ** 2, weights=w)
    noise, signal = spread / 2, [spread / 4, spread / 4]
    means = [np.zeros(len(count)) for count in counts]
    for _ in range(100):
        variances = [None, None]
        for side in (1, 0):  # items first
            left = z - mu - means[1 - side][sides[1 - side]]
            sums = np.bincount(sides[side], w * left)
            ratio = noise / signal[side]
            means[side] = sums / (counts[side] + ratio)
            variances[side] = noise / (counts[side] + ratio)
        e = z - mu - means[0][sides[0]] - means[1][sides[1]]
        off = np.average(e, weights=w)
        of_rows = variances[0][sides[0]] + variances[1][sides[1]]
        before = np.array([noise, *signal])
        noise = np.average((e - off) ** 2 + of_rows, weights=w)
        mu += off
        for side in (0, 1):
            middle = means[side][rated[side]].mean()
            mu += middle
            means[side] -= middle
            signal[side] = np.mean((means[side] ** 2 + variances[side])[rated[side]])
        noise, signal = max(noise, 1e-4 * spread), [max(v, 1e-4 * spread) for v in signal]
        if np.abs(np.array([noise, *signal]) / before - 1).max() < 1e-3:
            break
    return noise / signal[0], noise / signal[1]


def sgd_pass(
    P, Q, bu, bi, users, items, z, weights, rate, reg, reg_bias, biases, *, loss="squared",
    delta=1.0, offset=0.0, l1_ratio=0.0, lowest=-np.inf, max_slope=np.inf, squares=None,
    pulls=None,
):  # fmt: skip
    """One pass in the given order, in place and in double precision; the mean loss of it.

    The squared loss is returned without its half. With `squares`, adagrad's sums of the users and
    of the items, a step is adagrad's. With `pulls`, those of the users and of the items, these take
    the place of reg and reg_bias.
    """
    total = 0.0
    reg, reg_bias = sides(reg), sides(reg_bias)
    for n, (u, i) in enumerate(zip(users, items, strict=True)):
        x = offset + P[u] @ Q[i] + (bu[u] + bi[i] if biases else 0.0)
        total += weights[n] * loss_of(loss, z[n], x, delta) * (2 if loss == "squared" else 1)
        slope = np.clip(slope_of(loss, z[n], x, delta), -max_slope, max_slope)
        rows = ((P, bu, u, Q[i].copy()), (Q, bi, i, P[u].copy()))
        for side, (factors, own_biases, row, other) in enumerate(rows):
            step = rate * weights[n]
            if pulls is None:
                by_factors = slope * other + (1 - l1_ratio) * reg[side] * factors[row]
                by_bias = slope + (1 - l1_ratio) * reg_bias[side] * own_biases[row]
            else:
                own, limit = pulls[side], 1 / (2 * rate)
                w = weights[n]
                by_factors = slope * other + own(0, row, factors, w, limit) / w
                by_bias = slope + own(1, row, own_biases, w, limit) / w
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
    offset=0.0, l1_ratio=0.0, reg_row=0.0, reg_bias_row=0.0, means=(0.0, 0.0, 0.0, 0.0),
):  # fmt: skip
    """What training minimizes. `means`: the prior means of P, Q, bu and bi. Every row is rated."""
    terms = loss_of(loss, z, predict(P, Q, bu, bi, offset, users, items), delta)
    reg, reg_bias = sides(reg), sides(reg_bias)
    P, Q, bu, bi = (array - mean for array, mean in zip((P, Q, bu, bi), means, strict=True))
    terms = terms + penalty_of(P[users], reg[0], l1_ratio).sum(1)
    terms += penalty_of(Q[items], reg[1], l1_ratio).sum(1)
    terms += penalty_of(bu[users], reg_bias[0], l1_ratio)
    terms += penalty_of(bi[items], reg_bias[1], l1_ratio)
    per_row = sum(
        strength / 2 * (array**2).sum()
        for strength, array in zip(
            (*sides(reg_row), *sides(reg_bias_row)), (P, Q, bu, bi), strict=True
        )
    )
    return (weights * terms).sum() + per_row


class Steps:
    """The steps of every optimizer, each of any number of ratings together, in double precision.

    `rule` is "sgd", "adagrad row", "adagrad element" or "adam". P, Q, bu and bi are changed in
    place. What a row remembers counts its own steps: those with one of its ratings.
    """

    def __init__(
        self, P, Q, bu, bi, *, rule, reg, reg_bias, biases=True, loss="squared", delta=1.0,
        offset=0.0, l1_ratio=0.0, lowest=-np.inf, max_slope=np.inf, momentum=0.0, beta_1=0.9,
        beta_2=0.999, epsilon=1e-8, pulls=None,
    ):  # fmt: skip
        self.pulls = pulls
        self.sides = [[P, bu], [Q, bi]]
        self.rule, self.biases, self.l1_ratio = rule, biases, l1_ratio
        self.strengths = list(zip(sides(reg), sides(reg_bias), strict=True))
        self.loss, self.delta, self.offset = loss, delta, offset
        self.lowest, self.max_slope = lowest, max_slope
        self.momentum, self.beta_1, self.beta_2 = momentum, beta_1, beta_2
        self.epsilon = epsilon
        self.first = [[np.zeros_like(part) for part in side] for side in self.sides]
        self.second = [[np.zeros_like(part) for part in side] for side in self.sides]
        self.squares = [np.zeros(len(P)), np.zeros(len(Q))]
        self.counts = [np.zeros(len(P), int), np.zeros(len(Q), int)]

    def step(self, users, items, z, weights, rate):
        """One step of all ratings given; their weighted losses and squared errors, from before."""
        (P, bu), (Q, bi) = self.sides
        x = self.offset + np.einsum("nf,nf->n", P[users], Q[items])
        if self.biases:
            x = x + bu[users] + bi[items]
        slope = slope_of(self.loss, z, x, self.delta)
        slope = weights * np.clip(slope, -self.max_slope, self.max_slope)
        moves = []
        for side, (rows, others) in enumerate(((users, Q[items]), (items, P[users]))):
            moved = np.unique(rows)
            weight = np.zeros(len(self.sides[side][1]))
            np.add.at(weight, rows, weights)
            gradients = []
            for part, by_rating in enumerate((slope[:, None] * others, slope)):
                w, reg = self.sides[side][part], self.strengths[side][part]
                total = np.zeros_like(w)
                np.add.at(total, rows, by_rating)
                if self.pulls is not None:
                    limit, all_rows = (1 - self.momentum) / (2 * rate), np.arange(len(w))
                    total += self.pulls[side](part, all_rows, w, weight, limit)
                    gradients.append(total)
                    continue
                shaped = weight[:, None] if part == 0 else weight
                gradients.append(total + shaped * (1 - self.l1_ratio) * reg * w)
            moves.append((moved, gradients, weight))
        # All gradients are taken: now the rows move.
        for side, move in enumerate(moves):
            self._move(side, *move, rate)
        losses = loss_of(self.loss, z, x, self.delta) * (2 if self.loss == "squared" else 1)
        return (weights * losses).sum(), (weights * (z - x) ** 2).sum()

    def _move(self, side, rows, gradients, weight, rate):
        self.counts[side][rows] += 1
        t = self.counts[side][rows]
        squares = self.squares[side][rows]
        by_row = np.c_[gradients[0], gradients[1]] if self.biases else gradients[0]
        self.squares[side][rows] += (by_row[rows] ** 2).mean(1)
        for part in range(2 if self.biases else 1):
            g = gradients[part][rows]
            column = (slice(None), None) if part == 0 else slice(None)
            m, s = self.first[side][part], self.second[side][part]
            own_rate, along = np.full_like(g, rate), g
            if self.rule == "sgd":
                m[rows] = along = self.momentum * m[rows] + g
            elif self.rule == "adagrad row":
                own_rate /= np.sqrt(1 + squares)[column]
            elif self.rule == "adagrad element":
                own_rate /= np.sqrt(1 + s[rows])
                s[rows] += g**2
            else:
                assert self.rule == "adam"
                m[rows] = self.beta_1 * m[rows] + (1 - self.beta_1) * g
                s[rows] = self.beta_2 * s[rows] + (1 - self.beta_2) * g**2
                along = m[rows] / (1 - self.beta_1**t)[column]
                root = np.sqrt(s[rows] / (1 - self.beta_2**t)[column])
                own_rate = rate / (root + self.epsilon)
            w = self.sides[side][part]
            strength = self.l1_ratio * self.strengths[side][part]
            stepped = w[rows] - own_rate * along
            threshold = own_rate * weight[rows][column] * strength
            if self.rule == "adam":
                threshold = np.minimum(threshold, rate)
            shrunk = np.sign(stepped) * np.maximum(0, np.abs(stepped) - threshold)
            w[rows] = np.maximum(shrunk, self.lowest)


class Units:
    """In which units a loss trains, as the class docstring of TrainParams says."""

    def __init__(self, values, weights, *, loss, biases=True, nonnegative=False, normalize=True):
        mean = np.average(values, weights=weights)
        deviation = np.sqrt(np.average((values - mean) ** 2, weights=weights))
        self.shift = self.offset = self.start_bias = 0.0
        self.scale = 1.0  # of the ratings
        self.max_slope = np.inf  # with initial factors given
        self.lowest = 0.0 if nonnegative or loss == "poisson" else -np.inf
        if loss in ("logistic", "squared_hinge"):
            if loss == "logistic" and biases:
                self.offset = np.log((1 + mean) / (1 - mean))
        elif loss == "poisson":
            self.scale = mean if normalize else 1.0
            self.max_slope = 5 * max(1, deviation / mean)
        else:
            self.shift = mean if biases and not nonnegative else 0.0
            size = np.hypot(deviation, mean - self.shift)
            self.scale = max(deviation, size / 5) if normalize else 1.0
        if biases and self.lowest == 0:
            self.start_bias = mean / 2 / self.scale
        labels = loss in ("logistic", "squared_hinge")
        self.model_scale = 1.0 if labels else self.scale
