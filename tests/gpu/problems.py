"""Ratings for which the order of training does not matter, and the check against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import reference
import warpfactor as wf
from warpfactor import _core
from warpfactor.training.core_params import core_params

LABELS = ("logistic", "squared_hinge")
LOSSES = [row["name"] for row in _core.losses() if row["name"] != "custom"]

# The numbers are far from their defaults, so that what takes a default instead is found out.
# Adam's epsilon is as large as many gradients are: an error of a gradient becomes one of
# rate/epsilon times its size.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": "sgd", "momentum": 0.7},
    "adagrad row": {"optimizer": "adagrad"},
    "adagrad element": {"optimizer": "adagrad", "adagrad_per": "element"},
    "adam": {"optimizer": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 0.05},
}
FULL_BATCH: dict[str, dict[str, Any]] = {
    "gd": {"optimizer": "gd"},
    "gd with momentum": {"optimizer": "gd", "momentum": 0.6},
}
PENALTIES: dict[str, dict[str, Any]] = {
    "L2": {"reg": (0.05, 0.2), "reg_bias": (0.1, 0.02)},
    "L1": {"reg": (0.2, 0.1), "reg_bias": (0.05, 0.1), "l1_ratio": 1.0},
    "elastic net": {"reg": (0.3, 0.1), "reg_bias": (0.1, 0.2), "l1_ratio": 0.4},
    "non-negative": {"reg": (0.1, 0.3), "reg_bias": 0.1, "nonnegative": True},
    "non-negative, L1": {"reg": 0.2, "reg_bias": 0.1, "nonnegative": True, "l1_ratio": 0.5},
}
PER_ROW: dict[str, Any] = {"reg_row": (0.5, 2.0), "reg_bias_row": (1.5, 0.3)}
PENALTIES |= {
    "per row": PENALTIES["L2"] | PER_ROW,
    "non-negative, L1, per row": PENALTIES["non-negative, L1"] | PER_ROW,
    "steps as long as they may be": PENALTIES["L2"] | {"reg_row": 500.0, "reg_bias_row": 900.0},
    "prior means": PENALTIES["L2"] | PER_ROW | {"implicit_feedback": "both", "reg_implicit": 0.7},
    "prior means of users": PENALTIES["L2"] | {"implicit_feedback": "users"},
    "prior means of items": PENALTIES["L2"] | PER_ROW | {"implicit_feedback": "items"},
}
# Without what is on by default: all rows are pulled alike, to zero.
PLAIN: dict[str, Any] = reference.PLAIN


def refused(penalty: str, loss: str) -> bool:
    """Whether the loss and the penalty do not go together; see test_bad_input.py."""
    if "means" in penalty:
        return loss == "poisson"
    return "non" in penalty and loss in LABELS


def enough_epochs(penalty: str, n_epochs: int) -> int:
    """So many, or five: the second step of prior means, the first that is no gradient's, has an effect then."""
    return 5 if "means" in penalty else n_epochs


def model_of(**params: Any) -> wf.MatrixFactorization:
    # "blocked" by default, whose bytes can be compared on any device. With a strength given, none are searched, which
    # is the same on all devices and takes longer than the fits here.
    defaults = {"random_state": 0, "verbose": 0, "parallel": "blocked", "reg": 0.04}
    return wf.MatrixFactorization(**{**defaults, **params})


def planted(n_users: int = 300, n_items: int = 200, n: int = 6000, seed: int = 0) -> wf.Ratings:
    return wf.datasets.make_ratings(n_users, n_items, n, random_state=seed).ratings


def bytes_of(model: wf.MatrixFactorization) -> bytes:
    return b"".join(
        array.tobytes()
        for array in (
            model.user_factors_,
            model.item_factors_,
            model.user_biases_,
            model.item_biases_,
        )
    )


def scores_of(model: wf.MatrixFactorization, users: Any, items: Any) -> np.ndarray:
    """Score pairs of rows in double precision, by NumPy."""
    P, Q, bu, bi = (
        array.astype(float)
        for array in (
            model.user_factors_,
            model.item_factors_,
            model.user_biases_,
            model.item_biases_,
        )
    )
    return reference.predict(P, Q, bu, bi, model.global_mean_, users, items)


class Problem:
    """Ratings that the loss can take, and initial factors.

    Everything is exact in the type that it is stored in: factors are rounded to float16, ratings
    are eighths and weights halves, with a mean of 1 and as many ratings as a power of two, so that
    their mean, half of it and the differences from it are exact in float32. What is left of an
    error is that of the arithmetic.
    """

    def __init__(
        self,
        loss: str = "squared",
        *,
        k: int = 4,
        conflict_free: bool,
        nonnegative: bool = False,
        weighted: bool = False,
        hot: bool = False,
        n: int = 32,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        n_ignored = n // 4 if weighted else 0
        total = n + n_ignored
        if conflict_free:
            self.users, self.items = np.arange(total), rng.permutation(total)
        else:
            # Each row is there; some pairs come twice.
            n_users, n_items = total // 5, total // 7
            self.users = np.r_[np.arange(n_users), rng.integers(0, n_users, total - n_users)]
            self.items = np.r_[np.arange(n_items), rng.integers(0, n_items, total - n_items)]
            if hot:  # half of the ratings are of one item, and other ones of one user
                self.users[n_users::2], self.items[n_items + 1 :: 2] = 0, 0
        values = rng.normal(1, 1.2, total)
        if loss in LABELS:
            values = np.where(values > 0.8, 1.0, -1.0)
        elif loss == "poisson":
            values = np.exp(values / 2)
        self.values = values if loss in LABELS else np.rint(8 * values) / 8
        self.weights = np.ones(total)
        self.given_weights = None
        if weighted:
            halves = rng.permutation(np.r_[np.full(n // 2, 0.5), np.full(n // 2, 1.5)])
            self.weights = np.r_[halves, np.zeros(n_ignored)]
            self.given_weights = self.weights
        size = 0.7 * k**-0.25  # so that a product of rows is about 0.5
        self.P = rng.normal(0, size, (self.users.max() + 1, k)).astype(np.float16).astype(float)
        self.Q = rng.normal(0, size, (self.items.max() + 1, k)).astype(np.float16).astype(float)
        if nonnegative or loss == "poisson":
            self.P, self.Q = np.abs(self.P), np.abs(self.Q)
        self.loss, self.X = loss, np.c_[self.users, self.items]

    def fit(self, model: wf.MatrixFactorization) -> wf.MatrixFactorization:
        return model.fit(self.X, self.values, sample_weight=self.given_weights)

    def batches(self, model: wf.MatrixFactorization, epoch: int) -> list[np.ndarray]:
        if model.batch_size is None and model.optimizer != "gd":  # order does not matter
            return [np.flatnonzero(self.weights > 0)]
        arrays = _core.RatingArrays(
            self.users.astype(np.int32),
            self.items.astype(np.int32),
            self.values.astype(np.float32),
            None if self.given_weights is None else self.given_weights.astype(np.float32),
        )
        # Which ratings make a batch does not depend on the device.
        params = core_params(model.set_params(device="cpu", dtype="float32").get_params(deep=False))
        return [np.array(batch) for batch in _core.epoch_batches(arrays, params, epoch)]

    def pulls(
        self, params: dict[str, Any], w: np.ndarray, start_bias: float
    ) -> tuple[list[reference.Pulls], list[reference.PriorMeans | None]]:
        """Return the pulls of the users and of the items, and what moves their prior means."""
        pulls, means = [], []
        k = self.P.shape[1]
        counts = len(self.P), len(self.Q)
        for side, (rows, name) in enumerate(((self.users, "users"), (self.items, "items"))):
            strengths = {
                reg: reference.sides(params[reg])[side]
                for reg in ("reg", "reg_bias", "reg_row", "reg_bias_row")
            }
            for reg in ("reg", "reg_bias"):
                strengths[reg] *= 1 - params.get("l1_ratio", 0.0)
            weights = np.bincount(rows, w, minlength=counts[side])
            pulls.append(reference.Pulls(weights, k, **strengths, start_bias=start_bias))
            if params["implicit_feedback"] not in ("both", name):
                means.append(None)
                continue
            rated = np.zeros(counts)
            rated[self.users[self.weights > 0], self.items[self.weights > 0]] = 1
            rho = params.get("reg_implicit", 2.0)
            means.append(reference.PriorMeans(rated if side == 0 else rated.T, k, rho))
        return pulls, means


def stored_in_half(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Round to the half above or below, at random: no way of rounding errs by more."""
    nearest = x.astype(np.float16)
    beyond = np.nextafter(nearest, np.where(x > nearest, np.inf, -np.inf).astype(np.float16))
    return np.where((rng.random(x.shape) < 0.5) | (nearest == x), nearest, beyond).astype(float)


class ByNumpy:
    """What so many epochs of a problem come to in double precision: the model, and its curve."""

    def __init__(
        self,
        problem: Problem,
        params: dict[str, Any],
        n_epochs: int,
        *,
        half: np.random.Generator | None = None,
    ) -> None:
        loss, biases = params["loss"], params.get("biases", True)
        self.units = units = reference.Units(
            problem.values, problem.weights, loss=loss, biases=biases,
            nonnegative=params.get("nonnegative", False), normalize=params["normalize"],
        )  # fmt: skip
        counted = problem.weights > 0
        w = problem.weights * counted.sum() / problem.weights.sum()
        z = (problem.values - units.shift) / units.scale
        self.root = np.sqrt(units.model_scale)
        P, Q = problem.P / self.root, problem.Q / self.root
        bu, bi = np.full(len(P), units.start_bias), np.full(len(Q), units.start_bias)
        self.parts = (P, Q, bu, bi)
        rule = {"gd": "sgd", "adagrad": "adagrad " + params.get("adagrad_per", "row")}
        named = ("momentum", "beta_1", "beta_2", "epsilon", "l1_ratio")
        pulls, means = None, [None, None]
        if any(params[name] != PLAIN[name] for name in PLAIN):
            pulls, means = problem.pulls(params, w, units.start_bias)
        steps = reference.Steps(
            *self.parts, rule=rule.get(params["optimizer"], params["optimizer"]),
            reg=params["reg"], reg_bias=params["reg_bias"], biases=biases, loss=loss,
            delta=params.get("huber_delta", 1.0), offset=units.offset, lowest=units.lowest,
            max_slope=units.max_slope, pulls=pulls, **{name: params[name] for name in named if name in params},
        )  # fmt: skip
        losses, squares = np.empty(n_epochs), np.empty(n_epochs)
        drawn = model_of(**{**params, "n_epochs": n_epochs})
        for epoch in range(n_epochs):
            if epoch > 0 and epoch % 2 == 0:  # the prior means move after every second epoch
                for side, (rows, own_biases) in enumerate(((P, bu), (Q, bi))):
                    if means[side] is not None:
                        pulls[side].means = means[side].step(rows, own_biases)
            totals = np.zeros(2)
            for batch in problem.batches(drawn, epoch):
                totals += steps.step(
                    problem.users[batch], problem.items[batch], z[batch], w[batch],
                    params["learning_rate"],
                )  # fmt: skip
                if half is not None:
                    for part in (P, Q):  # biases are float32
                        part[:] = stored_in_half(part, half)
            losses[epoch], squares[epoch] = totals / counted.sum()
        if loss in ("squared", "huber"):
            losses *= units.scale**2
        elif loss in ("absolute", "poisson"):
            losses *= units.scale
        self.losses, self.rmses = losses, units.scale * np.sqrt(squares)
        if not biases:
            bu[:], bi[:] = 0, 0


def check_epochs(
    problem: Problem, place: dict[str, str], params: dict[str, Any], n_epochs: int, **own: Any
) -> wf.MatrixFactorization:
    """The model, and the curve of every epoch, is what NumPy gets in double precision.

    `own` is what the model gets in addition: formulas of what NumPy knows by name.
    """
    params = {
        "n_factors": problem.P.shape[1], "schedule": "constant", "normalize": False,
        "loss": problem.loss, "init": (problem.P, problem.Q), **PLAIN, **params,
    }  # fmt: skip
    model = problem.fit(model_of(**{**params, "n_epochs": n_epochs, **place, **own}))
    exact = ByNumpy(problem, params, n_epochs)
    if params["loss"] == "squared" and "loss" in own:
        exact.losses /= 2  # which is reported without its half only under its name

    # float32: the bound that was asked for. A step errs by some 1e-7 for numbers of about 1, a
    # thousand terms of a product make it ten times that, and so does rate/epsilon of Adam.
    # float64: as the CPU's own tests; standardized ratings are float32 even there.
    # float16: thrice what NumPy itself is off by with factors that are stored so.
    normalize = params["normalize"]
    of_parts, of_losses, of_rmses = 4 * [1e-5], 1e-5, 1e-5
    if place["dtype"] == "float64":
        of_parts = 4 * [1e-6 if normalize else 1e-12]
        of_losses = of_rmses = 1e-6 if normalize else 1e-9
    if place["dtype"] == "float16":
        rounded = [
            ByNumpy(problem, params, n_epochs, half=np.random.default_rng(seed))
            for seed in range(3)
        ]

        def spread(of: Callable[[ByNumpy], np.ndarray]) -> float:
            return 3 * max(float(np.abs(of(other) - of(exact)).max()) for other in rounded)

        for part in range(4):
            of_parts[part] += spread(lambda found, part=part: found.parts[part])
        of_losses += spread(lambda found: found.losses)
        of_rmses += spread(lambda found: found.rmses)

    found_losses, found_rmses = (
        [record[name] for record in model.history_] for name in ("train_loss", "train_rmse")
    )
    np.testing.assert_allclose(found_losses, exact.losses, rtol=of_losses, atol=of_losses)
    if params["loss"] not in LABELS:
        np.testing.assert_allclose(found_rmses, exact.rmses, rtol=of_rmses, atol=of_rmses)
    assert model.user_factors_.dtype == ("float64" if place["dtype"] == "float64" else "float32")
    found = (
        model.user_factors_ / exact.root,
        model.item_factors_ / exact.root,
        model.user_biases_ / exact.units.model_scale,
        model.item_biases_ / exact.units.model_scale,
    )
    for mine, expected, tolerance in zip(found, exact.parts, of_parts, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=tolerance)
    return model
