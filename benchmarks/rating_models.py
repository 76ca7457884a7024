"""The models of `accuracy.py`: warpfactor's, the biases alone, and those of other packages."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import PLAIN_STEPS, Libmf
from numpy.typing import NDArray
from rating_sets import RatingSet, Rows
from scipy import sparse

import warpfactor as wf

# What MatrixFactorization() was before it had prior means and penalties per row: plain SGD.
PLAIN_SGD: dict[str, Any] = {"n_factors": 64, "n_epochs": 20, **PLAIN_STEPS}
N_MEMBERS = 4
# Standard deviations by which `recommend` lowers a score.
CONFIDENCES = (2.0, 10.0)

# With 120 rounds myFM has its usual RMSE on MovieLens 1M (fold 1: 0.8370); each costs the same.
MYFM_RANK, MYFM_ROUNDS, MYFM_KEPT = 16, 120, 100

# Above so many ratings myFM is left out with the same implicit terms: jester-1 would take five minutes.
MYFM_FLIPPED_MOST = 1_000_000

# Penalties in units of the ratings' variance, which is what makes them mean the same on every scale.
CMFREC_PENALTIES = (
    {"lambda_": 5.0},
    {"lambda_": 10.0},
    {"lambda_": 25.0},
    {"lambda_": 0.05, "scale_lam": True},
    {"lambda_": 0.1, "scale_lam": True},
    {"lambda_": 0.2, "scale_lam": True},
)
LIBMF_RANK, LIBMF_EPOCHS = 64, 30
LIBMF_PENALTIES = (0.03, 0.05, 0.07, 0.1, 0.15)

# SVD++ costs a step for each pair of ratings of one user, in each epoch: the 13 M of MovieLens 100K took 14 s a fit, so
# that the 250 M of MovieLens 1M would take five minutes.
SVDPP_MOST_PAIRS = 5e7

HOLD_OUT_SEED, HOLD_OUT_SHARE = 20261122, 0.1


class Outcome(NamedTuple):
    """Test RMSE, the seconds of the fit, and the test predictions where the package gives them."""

    rmse: float
    seconds: float
    predictions: NDArray[Any] | None = None


class Lists(NamedTuple):
    """A fitted model's lists: `best(users, n)` returns item codes, -1 where a user has fewer left."""

    best: Callable[[NDArray[np.int32], int], NDArray[Any]]
    seconds: float


class Model(NamedTuple):
    """A model of the table.

    `run` and `lists` take a set, a seed and a number of threads. `source` says what the figures depend on: version and
    settings. `every_seed`: whether it is fitted once for each seed, and not for the first alone. `parts` are models whose
    predictions it averages, in place of a `run` of its own.
    """

    source: str
    run: Callable[[RatingSet, int, int], Outcome] | None = None
    lists: Callable[[RatingSet, int, int], Lists] | None = None
    every_seed: bool = False
    too_large: Callable[[RatingSet], bool] = lambda data: False
    parts: Sequence[str] = ()


def models(libmf: Path | None) -> tuple[dict[str, Model], list[str]]:
    """Return the models by name, and a note for each package that is not here."""
    build = f"warpfactor {wf.show_config('dicts')['version']}, build {_fingerprint()}"
    known = wf.MatrixFactorization().get_params()
    plain = {name: value for name, value in PLAIN_SGD.items() if name in known}
    found = {
        "popularity": Model("the number of ratings of an item", lists=_popular),
        "biases": Model("mu + b_u + b_i, shrunk as mean-field EM chooses", _biases, _bias_lists),
        "plain SGD": _warpfactor(
            f"{build}, {plain}", lambda **seeded: wf.MatrixFactorization(**plain, **seeded)
        ),
        "defaults": _warpfactor(f"{build}, defaults", wf.MatrixFactorization),
    }
    notes = []
    if "confidence" in inspect.signature(wf.MatrixFactorization.recommend).parameters:
        for z in CONFIDENCES:
            model = _warpfactor(f"{build}, defaults", wf.MatrixFactorization, confidence=z)
            found[f"defaults, confidence={z:g}"] = model._replace(run=None)
    else:
        notes.append("recommend() has no confidence in this build: left out")
    if hasattr(wf, "Ensemble"):
        found["ensemble"] = _warpfactor(
            f"{build}, {N_MEMBERS} members", _ensemble, every_seed=False
        )
    else:
        notes.append("wf.Ensemble is not in this build: left out")
    if hasattr(wf, "BayesianMatrixFactorization"):
        found["Bayesian"] = _warpfactor(
            f"{build}, defaults", wf.BayesianMatrixFactorization, every_seed=False
        )
    else:
        notes.append("wf.BayesianMatrixFactorization is not in this build: left out")
    if {"ensemble", "Bayesian"} <= found.keys():
        found["mixed"] = Model(f"{build}, mean of both", parts=("ensemble", "Bayesian"))

    packages: dict[str, Callable[[], dict[str, Model]]] = {
        "surprise": _surprise_models,
        "cmfrec": _cmfrec_models,
        "myfm": _myfm_models,
    }
    for package, make in packages.items():
        if importlib.util.find_spec(package) is None:
            notes.append(f"{package} is not installed: left out")
        else:
            found |= make()
    if libmf is None:
        notes.append("--libmf is not given: LIBMF left out")
    elif not libmf.is_file():
        notes.append(f"--libmf {libmf.name} is not there: LIBMF left out")
    else:
        found["LIBMF"] = Model(
            f"LIBMF, mf-train {_digest([libmf])}, k={LIBMF_RANK}, {LIBMF_EPOCHS} epochs, "
            f"-l2 of {LIBMF_PENALTIES}",
            lambda data, seed, n_threads: _libmf(libmf, data, n_threads),
        )
    return found, notes


def _fingerprint() -> str:
    """Name the warpfactor that is imported: whatever changes its code changes this."""
    folder = Path(wf.__file__).parent
    return _digest(
        path for path in sorted(folder.rglob("*")) if path.suffix in {".py", ".so", ".pyd"}
    )


def _digest(paths: Any) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def _outcome(data: RatingSet, predictions: NDArray[Any], seconds: float) -> Outcome:
    return Outcome(wf.metrics.rmse(data.test.ratings, predictions), seconds, predictions)


def mixture(data: RatingSet, parts: Sequence[Outcome]) -> Outcome:
    """Average the predictions of several models; the seconds are of all their fits."""
    predictions = np.mean([np.asarray(part.predictions) for part in parts], axis=0)
    return _outcome(data, predictions, sum(part.seconds for part in parts))


# --- warpfactor


def _warpfactor(
    source: str, make: Callable[..., Any], every_seed: bool = True, **listing: Any
) -> Model:
    def fit(data: RatingSet, seed: int, n_threads: int) -> tuple[Any, float]:
        ratings = wf.Ratings.from_arrays(*data.train)
        model = make(random_state=seed, n_threads=n_threads, verbose=0)
        _, seconds = _timed(lambda: model.fit(ratings))
        return model, seconds

    def run(data: RatingSet, seed: int, n_threads: int) -> Outcome:
        model, seconds = fit(data, seed, n_threads)
        pairs = np.c_[data.test.users, data.test.items]
        return _outcome(data, model.predict(pairs), seconds)

    def lists(data: RatingSet, seed: int, n_threads: int) -> Lists:
        model, seconds = fit(data, seed, n_threads)
        return Lists(lambda users, n: model.recommend(users, n, **listing)[0], seconds)

    return Model(source, run, lists, every_seed)


def _ensemble(**params: Any) -> Any:
    return wf.Ensemble(wf.MatrixFactorization(**params), N_MEMBERS)


# --- the biases alone, and popularity


class Biases(NamedTuple):
    """A rating is mean + users[u] + items[i]."""

    mean: float
    users: NDArray[np.float64]
    items: NDArray[np.float64]


def fit_biases(train: Rows, n_users: int, n_items: int, rounds: int = 100) -> Biases:
    """Fit r = μ + b_u + b_i + ε with b_u ~ N(0, τ_u²), b_i ~ N(0, τ_i²), ε ~ N(0, σ²): crossed random effects.

    Variational EM in which all biases are independent given the ratings: each round updates the means and variances of
    the items' biases, then the users', then μ and the three variances.
    """
    u, i, r = train.users, train.items, train.ratings.astype(np.float64)
    n_u, n_i = np.bincount(u, minlength=n_users), np.bincount(i, minlength=n_items)
    mean = r.mean()
    b_u, b_i = np.zeros(n_users), np.zeros(n_items)
    noise = r.var() / 2
    var_u = var_i = r.var() / 4
    for _ in range(rounds):
        before = noise, var_u, var_i
        b_i = np.bincount(i, r - mean - b_u[u], n_items) / (n_i + noise / var_i)
        v_i = noise / (n_i + noise / var_i)
        b_u = np.bincount(u, r - mean - b_i[i], n_users) / (n_u + noise / var_u)
        v_u = noise / (n_u + noise / var_u)
        residuals = r - mean - b_u[u] - b_i[i]
        mean += residuals.mean()
        residuals -= residuals.mean()
        noise = np.mean(residuals**2 + v_u[u] + v_i[i])
        var_u = np.mean((b_u**2 + v_u)[n_u > 0])
        var_i = np.mean((b_i**2 + v_i)[n_i > 0])
        if np.allclose((noise, var_u, var_i), before, rtol=1e-5, atol=0):
            break
    return Biases(mean, b_u, b_i)


def _biases(data: RatingSet, seed: int, n_threads: int) -> Outcome:
    fit, seconds = _timed(lambda: fit_biases(data.train, data.n_users, data.n_items))
    predictions = fit.mean + fit.users[data.test.users] + fit.items[data.test.items]
    return _outcome(data, predictions, seconds)


def _bias_lists(data: RatingSet, seed: int, n_threads: int) -> Lists:
    fit, seconds = _timed(lambda: fit_biases(data.train, data.n_users, data.n_items))
    return _lists_of(data, lambda users: np.tile(fit.items, (len(users), 1)), seconds)


def _popular(data: RatingSet, seed: int, n_threads: int) -> Lists:
    counts, seconds = _timed(lambda: np.bincount(data.train.items, minlength=data.n_items))
    return _lists_of(data, lambda users: np.tile(counts.astype(float), (len(users), 1)), seconds)


def _lists_of(
    data: RatingSet, scores: Callable[[NDArray[np.int32]], NDArray[Any]], seconds: float
) -> Lists:
    """Make lists of scores of all items, as warpfactor does: without what a user rated, and without unrated items."""
    rated = sparse.csr_array(
        (np.ones(len(data.train.users), bool), (data.train.users, data.train.items)),
        shape=(data.n_users, data.n_items),
    )
    unknown = np.bincount(data.train.items, minlength=data.n_items) == 0

    def best(users: NDArray[np.int32], n: int) -> NDArray[Any]:
        parts = []
        for start in range(0, len(users), 1000):
            some = users[start : start + 1000]
            values = scores(some)
            values[rated[some].nonzero()] = -np.inf
            values[:, unknown] = -np.inf
            order = np.argsort(-values, axis=1, kind="stable")[:, :n]
            left = np.take_along_axis(values, order, 1) > -np.inf
            parts.append(np.where(left, order, -1))
        return np.concatenate(parts)

    return Lists(best, seconds)


# --- Surprise


def _surprise_models() -> dict[str, Model]:
    import surprise

    source = f"scikit-surprise {version('scikit-surprise')}, defaults"

    def fit(algorithm: Any, data: RatingSet, seed: int) -> tuple[Biases, Any, Any, float]:
        # Its inner ids are these codes where a row is rated; the rest have neither biases nor factors.
        u, i, r = data.train
        users, of_user = np.unique(u, return_inverse=True)
        items, of_item = np.unique(i, return_inverse=True)
        by_user: dict[int, list[tuple[int, float]]] = {k: [] for k in range(len(users))}
        by_item: dict[int, list[tuple[int, float]]] = {k: [] for k in range(len(items))}
        for a, b, value in zip(of_user.tolist(), of_item.tolist(), r.tolist(), strict=True):
            by_user[a].append((b, value))
            by_item[b].append((a, value))
        scale = float(r.min()), float(r.max())
        inner = [{int(raw): k for k, raw in enumerate(ids)} for ids in (users, items)]
        trainset = surprise.Trainset(
            by_user, by_item, len(users), len(items), len(r), scale, *inner
        )
        model = algorithm(random_state=seed)
        _, seconds = _timed(lambda: model.fit(trainset))
        P, Q = np.zeros((data.n_users, model.n_factors)), np.zeros((data.n_items, model.n_factors))
        biases = Biases(float(trainset.global_mean), np.zeros(data.n_users), np.zeros(data.n_items))
        P[users], Q[items] = model.pu, model.qi
        biases.users[users], biases.items[items] = model.bu, model.bi
        if isinstance(model, surprise.SVDpp):
            rated = sparse.csr_array((np.ones(len(r)), (u, i)), shape=(data.n_users, data.n_items))
            y = np.zeros_like(Q)
            y[items] = model.yj
            P += (rated @ y) / np.sqrt(np.bincount(u, minlength=data.n_users).clip(1))[:, None]
        return biases, P, Q, seconds

    def run(algorithm: Any) -> Callable[[RatingSet, int, int], Outcome]:
        def run_one(data: RatingSet, seed: int, n_threads: int) -> Outcome:
            biases, P, Q, seconds = fit(algorithm, data, seed)
            u, i = data.test.users, data.test.items
            dots = np.einsum("nk,nk->n", P[u], Q[i])
            return _outcome(data, biases.mean + biases.users[u] + biases.items[i] + dots, seconds)

        return run_one

    def lists(data: RatingSet, seed: int, n_threads: int) -> Lists:
        biases, P, Q, seconds = fit(surprise.SVD, data, seed)
        return _lists_of(data, lambda users: P[users] @ Q.T + biases.items, seconds)

    return {
        "Surprise SVD": Model(source, run(surprise.SVD), lists),
        "Surprise SVD++": Model(source, run(surprise.SVDpp), too_large=_too_many_pairs),
    }


def _too_many_pairs(data: RatingSet) -> bool:
    per_user = np.bincount(data.train.users).astype(float)
    return bool((per_user**2).sum() > SVDPP_MOST_PAIRS)


# --- cmfrec


def _held_out(train: Rows) -> tuple[Rows, Rows]:
    """Split training ratings for choosing settings."""
    draws = np.random.default_rng(HOLD_OUT_SEED).random(len(train.ratings))
    return train.split(draws < HOLD_OUT_SHARE)


def _cmfrec_models() -> dict[str, Model]:
    from cmfrec import CMF

    def fit(train: Rows, data: RatingSet, seed: int, n_threads: int, **params: Any) -> Any:
        matrix = sparse.coo_matrix(
            (train.ratings, (train.users, train.items)), shape=(data.n_users, data.n_items)
        )
        params |= {"lambda_": params["lambda_"] * float(train.ratings.var())}
        model = CMF(nthreads=n_threads, random_state=seed, verbose=False, **params)
        _, seconds = _timed(lambda: model.fit(matrix))
        # It leaves biases of 1 where there are no ratings (findings/cmfrec_lifts_unrated_items.sh).
        model.user_bias_[np.bincount(train.users, minlength=data.n_users) == 0] = 0
        model.item_bias_[np.bincount(train.items, minlength=data.n_items) == 0] = 0
        return model, seconds

    def run(**params: Any) -> Callable[[RatingSet, int, int], Outcome]:
        def run_one(data: RatingSet, seed: int, n_threads: int) -> Outcome:
            kept, held_out = _held_out(data.train)

            def error(penalty: dict[str, Any]) -> float:
                model, _ = fit(kept, data, seed, n_threads, **penalty, **params)
                predictions = model.predict(held_out.users, held_out.items)
                return float(wf.metrics.rmse(held_out.ratings, predictions))

            penalty = min(CMFREC_PENALTIES, key=error)
            model, seconds = fit(data.train, data, seed, n_threads, **penalty, **params)
            return _outcome(data, model.predict(data.test.users, data.test.items), seconds)

        return run_one

    per_row = ", ".join(f"{p['lambda_']:g}" for p in CMFREC_PENALTIES if "scale_lam" not in p)
    scaled = ", ".join(f"{p['lambda_']:g}" for p in CMFREC_PENALTIES if "scale_lam" in p)
    source = (
        f"cmfrec {version('cmfrec')}, lambda_ of {per_row}, or with scale_lam {scaled}, times the "
        "ratings' variance"
    )
    return {
        "cmfrec": Model(source, run()),
        "cmfrec implicit": Model(
            f"{source}, add_implicit_features", run(add_implicit_features=True)
        ),
    }


# --- LIBMF


def _libmf(program: Path, data: RatingSet, n_threads: int) -> Outcome:
    def ratings(rows: Rows) -> wf.Ratings:
        return wf.Ratings(
            rows.users, rows.items, rows.ratings, np.arange(data.n_users), np.arange(data.n_items)
        )

    kept, held_out = map(ratings, _held_out(data.train))
    inner = Libmf(program, kept, held_out, n_threads)

    def error(reg: float) -> float:
        return inner.run(LIBMF_RANK, LIBMF_EPOCHS, reg=reg, validate=True)[1][-1]

    reg = min(LIBMF_PENALTIES, key=error)
    outer = Libmf(program, ratings(data.train), ratings(data.test), n_threads)
    seconds, _ = outer.run(LIBMF_RANK, LIBMF_EPOCHS, reg=reg, validate=False)
    _, errors = outer.run(LIBMF_RANK, LIBMF_EPOCHS, reg=reg, validate=True)
    return Outcome(errors[-1], seconds)


# --- myFM


def _myfm_models() -> dict[str, Model]:
    os.environ["TQDM_DISABLE"] = "1"  # fit() has no argument that turns its progress bar off
    import myfm

    sampler = {"n_iter": MYFM_ROUNDS, "n_kept_samples": MYFM_KEPT}

    def plain(data: RatingSet, seed: int, n_threads: int) -> Outcome:
        def features(rows: Rows) -> sparse.csr_matrix:
            n = len(rows.users)
            columns = np.c_[rows.users, data.n_users + rows.items].ravel()
            starts = np.arange(0, 2 * n + 1, 2)
            shape = (n, data.n_users + data.n_items)
            return sparse.csr_matrix((np.ones(2 * n), columns, starts), shape=shape)

        X, X_test = features(data.train), features(data.test)
        model = myfm.MyFMGibbsRegressor(rank=MYFM_RANK, random_seed=seed)
        y, groups = data.train.ratings.astype(float), [data.n_users, data.n_items]
        _, seconds = _timed(lambda: model.fit(X, y, group_shapes=groups, **sampler))
        return _outcome(data, model.predict(X_test), seconds)

    def flipped(data: RatingSet, seed: int, n_threads: int) -> Outcome:
        # A user's row: itself, and what it rated; an item's: itself, and who rated it. Each counts n^(-1/2).
        u, i = data.train.users, data.train.items
        rated = sparse.csr_matrix((np.ones(len(u)), (u, i)), shape=(data.n_users, data.n_items))

        def block(counts: sparse.csr_matrix) -> sparse.csr_matrix:
            weights = sparse.diags_array(1 / np.sqrt(counts.sum(axis=1).A1.clip(1)))
            return sparse.csr_matrix(
                sparse.hstack([sparse.eye_array(counts.shape[0]), weights @ counts])
            )

        of_users, of_items = block(rated), block(rated.T.tocsr())

        def blocks(rows: Rows) -> list[Any]:
            return [
                myfm.RelationBlock(rows.users, of_users),
                myfm.RelationBlock(rows.items, of_items),
            ]

        train, test = blocks(data.train), blocks(data.test)
        groups = [data.n_users, data.n_items, data.n_items, data.n_users]
        model = myfm.MyFMGibbsRegressor(rank=MYFM_RANK, random_seed=seed)
        y = data.train.ratings.astype(float)
        _, seconds = _timed(lambda: model.fit(None, y, X_rel=train, group_shapes=groups, **sampler))
        return _outcome(data, model.predict(None, test), seconds)

    source = f"myfm {version('myfm')}, rank {MYFM_RANK}, {MYFM_ROUNDS} rounds, {MYFM_KEPT} kept"
    return {
        "myFM": Model(source, plain),
        "myFM SVD++ flipped": Model(
            f"{source}, SVD++ flipped; left out above {MYFM_FLIPPED_MOST:,} ratings",
            flipped,
            too_large=lambda data: len(data.train.ratings) > MYFM_FLIPPED_MOST,
        ),
    }
