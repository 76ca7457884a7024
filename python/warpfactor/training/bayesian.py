"""Bayesian matrix factorization: the accuracy mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _core
from ..checks import check_choice, check_count, option
from ..model.file import stored_params
from ..model.members import Members, Noise
from ..model.record import EpochRecord, origin_of
from ..parameters import PARAMETERS
from ..seeds import seed_from
from ..serving.tables import UNKNOWN, Options
from .callbacks import Callback, CallbackLife, Fit, check_callbacks
from .core_params import float_type
from .from_model import FromModel
from .given import given_ratings, made_model
from .partial_fit import NoPartialFit
from .progress import EpochBar, check_verbose

__all__ = ["BayesianMatrixFactorization", "sampled_params"]

_DEFAULTS = _core.SampleParams()
_MOST_FACTORS = int(PARAMETERS["n_factors"].high or 0)
# Of how a fitted model answers, what is a parameter here: it is sampled on the CPU, and answers there.
_OPTIONS = ("unknown", "n_threads")


class BayesianMatrixFactorization(FromModel, NoPartialFit):
    r"""Bayesian matrix factorization of ratings, by Gibbs sampling.

    It is the slower and the more accurate way: in place of one factorization that fits the ratings
    it draws many, from the distribution that the ratings leave for it, and predicts their mean.
    Nothing is to be tuned, since the penalties are drawn as well. With z = (r - mean)/s the
    standardized ratings, a draw has the score

        x(u, i) = b_u + b_i + p_u · q_i

    and the model is, for a rating of weight w (scaled to a mean of 1),

        z ~ N(x, 1/(α w a_u a_i)),    a_u ~ Gamma(10, rate 10)
        p_u ~ N(m_u, diag(1/λ)),      b_u ~ N(c_u, 1/λ_b)

    and likewise for the items, whose prior means, λ and λ_b are others. ``noise="even"`` is a_u = 1.
    Who rated what tells of taste as well (SVD++ [2]_): the prior means of a user who rated the n_u
    items R(u) are

        m_u = m + n_u^(-1/2) Σ_{j ∈ R(u)} y_j,    y_j ~ N(0, diag(1/ρ))

    with c_u likewise from one more number for each item; those of an item come from the users who
    rated it. Without `implicit_feedback` for that side, m_u = m. The hyperparameters m, c, λ, λ_b,
    ρ and α have vague priors: λ ~ Gamma(1/2, rate 1/2), m ~ N(0, 1/λ), ρ ~ Gamma(1/2, rate 1/200),
    α ~ Gamma(1/2, rate 1/2).

    A sweep draws each of these given all others (Gibbs sampling [1]_): the users one by one, and in
    a user b_u and then the factors, one after the other from its normal distribution, which takes
    time in proportion to n_u and `n_factors`; then the items; then the hyperparameters; and then
    each y_j. After `n_burn_in` sweeps, each of `n_samples` more is a sample. (libFM and myFM sample
    the same way without noise by row [3]_, and have SVD++ as features of a factorization machine.)

    The fitted model holds `n_kept` of the samples side by side as factors of its own, so that one dot
    product predicts their mean exactly. It predicts, recommends and is saved like any other model,
    and predicts standard deviations and intervals from the spread of the samples and the noise.

    Parameters
    ----------
    n_factors : int, default 32
        k, the factors of a sample, from 1 to 1024. More cost time in proportion, and rarely harm.
    n_samples : int, default 240
        Sweeps after the burn-in.
    n_burn_in : int, default 40
        Sweeps before the first sample.
    n_kept : int or None, default None
        How many samples the model holds, evenly spaced over all of them. The model has `n_kept` times
        `n_factors` factors, at most 4096, which all that it does takes time and memory for. None: 64,
        or fewer where they would be more than 2048 factors. `history_` tells the error of the mean of
        all samples. On MovieLens 1M (rank 32) the RMSE was 0.8194 with all 240, 0.8198 with 64.
    noise : {"rows", "even"}, default "rows"
        Whether each user and each item has a noise of its own, or all ratings have the same.
    implicit_feedback : {"auto", "both", "users", "items", "none"}, default "auto"
        Whose prior means depend on who rated what.
    dtype : {"float32", "float64"}, default "float32"
        Type of the factors and of the arithmetic. Ratings are float32 in any case.
    n_threads : int or None, default None
        Threads to use; None: the processors that this process may really use.
    random_state : int, RandomState, Generator or None, default None
        Seed of all draws. An int gives the same model each time on the same kind of processor, for
        any number of threads.
    unknown : {"mean", "nan", "raise"}, default "mean"
        The prediction for a user or item without training ratings: with the means of all users' or
        items' biases and factors in place of its own; NaN; or a `ValueError`.
    verbose : int or bool, default 1
        1: a progress bar and a closing line, if standard error is a terminal. 0: nothing.
    callbacks : list or tuple of callable, default ()
        Each is called after each sweep with that sweep's entry of `history_`; a true return value
        ends the sampling, and the model holds the samples kept by then.

    Attributes
    ----------
    model_ : Model
        The fitted model, apart from the estimator and scikit-learn. The attributes below are its.
    user_factors_, item_factors_ : ndarray of shape (n_users, n_kept k) and (n_items, n_kept k)
        The factors of sample s, less their mean over all rows and divided by √n_kept, in the columns
        s k to (s + 1) k - 1. Rows without a training rating are zero.
    user_biases_, item_biases_ : ndarray of shape (n_users,) and (n_items,)
        The mean over the kept samples of b_u less its mean over all rows, and what the mean q of the
        items' factors adds to it: b_u - b + (p_u - p) · q. Rows without a training rating have zero.
    global_mean_ : float
        The rest: what is predicted for an unknown user and an unknown item.
    user_ids_, item_ids_ : ndarray of shape (n_users,) and (n_items,)
        The ids of the rows, sorted.
    history_ : list of dict
        For each sweep: epoch (from 1), seconds, learning_rate (NaN), train_rmse and valid_rmse (NaN
        without a validation set), train_loss and valid_loss (their squares). Up to the end of the
        burn-in they are those of the draw, after it those of the mean of all samples so far.
    n_epochs_ : int
        How many sweeps there were.
    n_threads_ : int
        The threads that sampled.
    instruction_set_ : str
        The kernels that sampled: "baseline", "avx2" or "avx512".

    See Also
    --------
    MatrixFactorization : one factorization, by stochastic gradient descent, many times as fast.

    References
    ----------
    .. [1] R. Salakhutdinov, A. Mnih, "Bayesian probabilistic matrix factorization using Markov chain
       Monte Carlo", ICML 2008.
    .. [2] Y. Koren, "Factorization meets the neighborhood: a multifaceted collaborative filtering
       model", KDD 2008, eq. 15.
    .. [3] S. Rendle, "Factorization machines with libFM", ACM Transactions on Intelligent Systems
       and Technology 3(3), 2012, section 3.3; myFM by T. Ohtsuki is an implementation of it.

    Examples
    --------
    >>> import numpy as np
    >>> import warpfactor as wf
    >>> X = np.array([["ann", "up"], ["ann", "big"], ["bob", "up"], ["eve", "big"]])
    >>> model = wf.BayesianMatrixFactorization(n_factors=2, random_state=0).fit(X, [5, 3, 4, 2])
    >>> mean, deviation = model.predict([("bob", "big")], return_std=True)
    >>> bool(deviation[0] > 0)
    True
    """

    _TELLING = "n_burn_in"

    def __init__(
        self,
        n_factors: int = _DEFAULTS.n_factors,
        *,
        n_samples: int = _DEFAULTS.n_samples,
        n_burn_in: int = _DEFAULTS.n_burn_in,
        n_kept: int | None = None,
        noise: str = _DEFAULTS.noise,
        implicit_feedback: str = _DEFAULTS.implicit_feedback,
        dtype: DTypeLike = "float32",
        n_threads: int | None = None,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        unknown: str = "mean",
        verbose: int = 1,
        callbacks: Sequence[Callback | Callable[[EpochRecord], object]] = (),
    ) -> None:
        self.n_factors = n_factors
        self.n_samples = n_samples
        self.n_burn_in = n_burn_in
        self.n_kept = n_kept
        self.noise = noise
        self.implicit_feedback = implicit_feedback
        self.dtype = dtype
        self.n_threads = n_threads
        self.random_state = random_state
        self.unknown = unknown
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        validation: Any = None,
        implicit: Any = None,
    ) -> BayesianMatrixFactorization:
        """Sample factorizations of ratings.

        Parameters
        ----------
        X, y
            As in `MatrixFactorization.fit`.
        sample_weight : array-like of shape (n_ratings,), default None
            Weights >= 0 in the order of the ratings: a rating of weight 2 has half of the noise's
            variance, one of weight 0 is left out.
        validation : Ratings, (X, y), or anything `X` can be; default None
            Ratings to evaluate after every sweep, for `history_` alone: nothing is chosen by them.
            Pairs whose user or item has no training rating are left out.
        implicit : Ratings, array-like of shape (n, 2), or anything `predict` takes; default None
            Pairs without a rating that count as rated for the prior means, beside those of `X`: clicks,
            or the pairs that a contest asks for. A pair counts once. Pairs of a user or an item without
            a rating in `X` are left out.

        Returns
        -------
        BayesianMatrixFactorization
            Itself. If fitting fails or is interrupted, what an earlier fit left is unchanged.

        Raises
        ------
        ValueError
            If the ratings, weights or parameters are not valid; the text says which and how.
        DivergedError
            If ratings are so far apart that draws leave the range of numbers.
        """
        started = perf_counter()
        core, dtype, shown = self._checked()
        given = given_ratings(X, y, sample_weight=sample_weight, validation=validation)
        pairs = None if implicit is None else given.implicit_codes(implicit, core.implicit_feedback)
        draw = _core.sample_float32 if dtype == np.float32 else _core.sample_float64
        ratings = given.ratings
        n_sweeps = core.n_burn_in + core.n_samples
        fit = Fit(n_sweeps, len(ratings), "squared", validating=given.held_out is not None)
        with (
            EpochBar(n_sweeps, "squared", verbose=shown) as bar,
            CallbackLife(self.callbacks, fit) as life,
        ):

            def on_sweep(record: EpochRecord) -> bool:
                bar.advance(record)
                return life.epoch_end(record)

            result = draw(
                given.arrays(),
                ratings.n_users,
                ratings.n_items,
                core,
                given.held_out,
                on_sweep if self.callbacks or bar.enabled else None,
                pairs,
            )
            model = made_model(
                given,
                result,
                stored_params(self.get_params(deep=False)),
                Options(**self._options()),
                members=_members(result),
                origin=origin_of(type(self).__name__, started),
            )
            life.finish(model)
            bar.finish(model)
        self.model_ = model
        return self

    def check_params(self) -> None:
        """Raise ValueError if a parameter is invalid, or two do not go together, whatever the ratings."""
        self._checked()

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _OPTIONS}

    def _checked(self) -> tuple[_core.SampleParams, np.dtype[Any], int]:
        """Check all parameters; return those of the core, the dtype, and how much to show."""
        core = _core.SampleParams()
        core.n_factors = check_count("n_factors", self.n_factors, 1, _MOST_FACTORS)
        core.n_samples = check_count("n_samples", self.n_samples, 1)
        core.n_burn_in = check_count("n_burn_in", self.n_burn_in, 0)
        if self.n_kept is not None:
            core.n_kept = check_count("n_kept", self.n_kept, 1)
        core.noise = check_choice("noise", self.noise, _core.noise_kinds)
        core.implicit_feedback = check_choice(
            "implicit_feedback", self.implicit_feedback, _core.implicit_feedback_kinds
        )
        if self.n_threads is not None:
            core.n_threads = check_count("n_threads", self.n_threads, 1)
        check_choice("unknown", self.unknown, UNKNOWN)
        dtype = float_type(self.dtype)
        if dtype == np.float16:
            raise ValueError(
                f"{option('dtype')} is {self.dtype!r:.80}; it must be 'float32' or 'float64'"
            )
        check_callbacks(self.callbacks)
        core.seed = seed_from(self.random_state)
        _core.check_params(core)
        return core, dtype, check_verbose(self.verbose)


def sampled_params(
    estimator: BayesianMatrixFactorization,
) -> tuple[_core.SampleParams, np.dtype[Any]]:
    """Check the parameters; return those of the core, and the type of the factors."""
    core, dtype, _ = estimator._checked()
    return core, dtype


def _members(result: Any) -> Members:
    n_kept = result["n_kept"]
    noise = Noise(result["noise_variance"], users=result["user_noise"], items=result["item_noise"])
    rank = result["user_factors"].shape[1] // n_kept
    return Members(
        weights=np.full(n_kept, 1 / n_kept),
        ranks=np.full(n_kept, rank, np.int32),
        user_offsets=result["user_bias_offsets"],
        item_offsets=result["item_bias_offsets"],
        noise=noise,
    )
