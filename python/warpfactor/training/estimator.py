"""The estimator: what users fit, predict and recommend with."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .. import _core
from ..data.ids import consecutive, find_integers, lookup_ids
from ..data.ratings import Ratings, as_float32, pairs_to_codes
from ..exceptions import CudaError
from ..exchange import as_device_array, is_device_array, to_host
from ..formulas.cuda_compile import DeviceKernels, device_kernels
from ..formulas.losses import CustomLoss, CustomPenalty
from ..serving.device import (
    DeviceCopies,
    Memory,
    free_cached,
    prediction_problem,
    require_prediction,
    use_device,
)
from ..serving.scoring import (
    PAIR_BYTES,
    CpuScorer,
    DeviceScorer,
    Factors,
    answers,
    known_rows,
    named_items,
    rated_biases,
    row_bytes,
    tiles,
    unit_rows,
)
from .progress import EpochBar, EpochRecord

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["MatrixFactorization"]

_DEFAULTS = _core.TrainParams()
_CHOICES = {row["name"]: row["choices"] for row in _core.parameters()}
_MOST_FACTORS = next(row["high"] for row in _core.parameters() if row["name"] == "n_factors")
_LOSSES = {row["name"]: row for row in _core.losses()}
_UNKNOWN = ("mean", "nan", "raise")
_OUTPUTS = ("numpy", "cupy")


class MatrixFactorization(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Biased matrix factorization of ratings, trained by parallel SGD.

    The model predicts user u's rating of item i from the score

        x(u, i) = μ + b_u + b_i + p_u · q_i

    which is the prediction r̂ itself with most losses, and training minimizes, over the ratings with
    weights w (scaled to a mean of 1),

        Σ w · [l(z, ẑ) + reg·(h(p_u) + h(q_i)) + reg_bias·(h(b_u) + h(b_i))]

    where h(v) = l1_ratio ‖v‖₁ + (1 - l1_ratio)/2 ‖v‖₂², and the loss l (see `loss`) is by default
    ½(z - ẑ)² with z = (r - μ)/s the standardized ratings, μ their mean (0 without biases) and s
    their standard deviation, but at least a fifth of the root mean square of r - μ, and 1 with
    ``normalize=False``. So the penalties count once per rating seen, and `learning_rate`, `reg` and
    `reg_bias` mean the same on any rating scale. The fitted attributes are in the units of the
    ratings. For one rating with the slope g = ∂l/∂ẑ (ẑ - z with the squared loss) a step is

        p_u ← p_u - η w (g q_i + reg p_u),    b_u ← b_u - η w (g + reg_bias b_u)

    and likewise for the item, both from the values before the step. With an L1 part, reg is
    (1 - l1_ratio) reg here, and the proximal step of the L1 part follows, the soft threshold

        v ← sign(v) max(0, |v| - η w l1_ratio reg)

    for each element, which leaves exact zeros; with the other optimizers their own rate stands for
    η (with "adam" the threshold is at most η). Steps are limited, because a few long ones would
    send the factors to infinity: g is clipped to five standard deviations of the ratings, or twice
    the root mean square of r - μ if that is more (not where `init` gives the factors; see `loss`
    for those whose g is something else), and η w to the larger of η and 1/4.

    Parameters
    ----------
    n_factors : int, default 64
        The rank k, from 1 to 1024.
    n_epochs : int, default 20
        Passes over the ratings.
    learning_rate : float or None, default None
        η of the first epoch. None: 0.04·(1 - `momentum`) with "sgd"; 0.1 with "adagrad" by row and
        0.05 by element; 0.003 with "adam"; with "gd" 1/n, where n is the number of ratings (their
        weights, if there are) of the busiest user plus that of the busiest item. In batches "sgd"
        and "adagrad" take no more than 1/n for the share of n that a batch has on average.
    reg : float or (float, float), default 0.04
        Strength of the penalty on the factors; a pair is (of the users, of the items).
    reg_bias : float or (float, float), default 0.05
        Strength of the penalty on the biases; a pair is (of the users, of the items).
    biases : bool, default True
        Whether the score has μ, b_u and b_i; otherwise x = p_u · q_i.
    loss : str or CustomLoss, default "squared"
        The error term l(r, x) of a rating r and its score x.

        "squared" : ½(r - x)². Predicts x.
        "absolute" : |r - x|. Predicts x: an estimate of the median, which outliers do not move.
        "huber" : ½e² where |e| = |r - x| is at most δ, δ(|e| - δ/2) beyond [5]_, with δ
        `huber_delta` times s: outliers count by their distance only. Predicts x.
        "logistic" : log(1 + exp(-y x)), with y = ±1 the label: ratings are all -1 or 1, or all 0 or
        1. μ is the log-odds of the upper label's share of the ratings. Predicts the probability
        p = 1/(1 + exp(-x)) of the upper label for labels 0 and 1, and 2p - 1 for -1 and 1.
        "squared_hinge" : ½ max(0, 1 - y x)², labels as for "logistic", μ = 0. Predicts x, whose
        sign is the label. g is clipped to 5.
        "poisson" : r log(r/x) - r + x, for counts and other ratings r ≥ 0: half of the Poisson
        deviance, alias the generalized Kullback-Leibler divergence of non-negative matrix
        factorization [6]_. Implies `nonnegative`; s is the mean rating. Predicts x. Below a
        millionth of the mean, l goes on along its tangent; g is clipped to five times the ratings'
        standard deviation over their mean, or to 5 if that is more.

        ``wf.losses.custom(lambda r, x: ...)`` : a formula of your own; see `losses.custom`. It sees
        r and x as you know them, not standardized, and predicts x. With ``normalize=True`` its
        slopes are scaled so that their root mean square over the ratings, at the predictions that
        training starts from, is that of the squared loss: `learning_rate` and the penalties keep
        their meaning whatever the formula's scale (a factor in front of it changes nothing). g is
        clipped where the squared loss's g would be, as a multiple of its root mean square.

        Ratings that a loss cannot take are an error. `normalize` does nothing for losses with
        labels.
    huber_delta : float, default 1.0
        δ of the Huber loss, in units of s.
    l1_ratio : float, default 0.0
        The share of L1 in the penalties, from 0 (all L2) to 1 (all L1), as in scikit-learn's
        elastic net. L1 pulls by the same amount however small a factor is, so that with the default
        `reg` and `init` all factors may end at 0: begin with 0.01 and 0.1, say.
    penalty : CustomPenalty or None, default None
        ``wf.losses.penalty(lambda w: ...)``: a formula h(w) of your own in place of the elastic net,
        for each factor and bias w, in units of training (factors √s, biases s); `reg` and `reg_bias`
        are its strengths, and its slope is part of the gradient. Not with an `l1_ratio`.
    nonnegative : bool, default False
        Whether all factors and biases are kept at 0 or above, by projection after each step. Then
        μ = 0, biases start from half of the mean rating each, random factors from non-negative
        numbers, and factors given by `init` must be non-negative. Not with losses with labels.
    optimizer : {"sgd", "adagrad", "adam", "gd"}, default "sgd"
        How the gradient G of a step becomes a change of the row p, where G is the sum of the above
        over the ratings of the step (see `batch_size`) that are the row's, taken before any row
        moves. A row without a rating in the step stays as it is, and so does what is remembered of
        it: v, s, m and the count t are those of the row's own steps. (So do PyTorch's SGD and Adam if
        each row is a parameter of its own, without a gradient where it has no rating.) The η of an
        L1 step is what the element's G is multiplied by, for "adam" at most η itself.

        "sgd" : p ← p - η v, with v ← `momentum` v + G; that is p - η G without momentum [7]_.
        "adagrad" : p ← p - η G/√(1 + s), then s ← s + G², with s one number for each row, and the
        mean of G² over its elements [4]_, or one for each element [3]_: see `adagrad_per`.
        "adam" : p ← p - η m̂/(√ŝ + `epsilon`), with the moving averages m ← β₁m + (1 - β₁)G and
        s ← β₂s + (1 - β₂)G², m̂ = m/(1 - β₁ᵗ) and ŝ = s/(1 - β₂ᵗ) [8]_.
        "gd" : as "sgd", with one step an epoch of all ratings together. Takes hundreds of epochs.
    batch_size : int or None, default None
        How many ratings make a step; None: each rating makes one of its own, which is the fastest
        way for "sgd". Since G is a sum, a learning rate does about as much in an epoch whatever the
        size, as long as no row has so many ratings in a batch that their sum overshoots. The
        ratings are dealt into batches once, at random; the order of the batches is drawn anew for
        each epoch. Not with "gd". With ``parallel="hogwild"`` each thread of a CPU takes batches of
        its own, if there are as many as threads.
    momentum : float, default 0.0
        How much of the previous step is repeated, for "sgd" and "gd": 0 ≤ momentum < 1. On
        MovieLens 100K 0.9 takes "gd" in 76 epochs to a test RMSE that it does not reach in 500
        without; with a step per rating it changed nothing.
    adagrad_per : {"row", "element"}, default "row"
        What "adagrad" keeps a sum of squares of.
    beta_1, beta_2 : float, default 0.9 and 0.999
        β₁ and β₂ of "adam", from 0 to below 1.
    epsilon : float, default 1e-8
        The ε of "adam", above 0.
    schedule : {"constant", "inverse_time", "linear", "cosine"}, default "linear"
        How η falls over the epochs t = 0 .. n_epochs - 1: η, η/(1 + t/10), η(1 - t/n_epochs) or
        η(1 + cos(πt/n_epochs))/2.
    warmup_epochs : int, default 0
        So many epochs, fewer than `n_epochs`, train the first `warmup_factors` factors alone, 16 of
        128 in a third of the time of all; then the others join in, from their random start, as in
        LIBMF [4]_. Worth trying with many factors, few epochs and much data: on 9 million generated
        ratings 3 epochs of 16 factors and one of all 128 came as near as 4 of 128, in two thirds of
        the time of the fit; on MovieLens 1M it was of little use. Early stopping begins after them.
        Not with "adam" or initial factors of your own, nor without biases where factors start from
        more than small random numbers (see `init`).
    warmup_factors : int, default 16
        See `warmup_epochs`. Rounded up to whole sixteens, and down to `n_factors`.
    parallel : {"auto", "blocked", "hogwild"}, default "auto"
        How threads share the work. "blocked": no two of them touch the same row at once, so
        the same seed gives the same bits for any number of threads, and on any CUDA device of one
        architecture. "hogwild" [2]_: without locks; results vary from run to run. On a CUDA device
        the rows of one side only are raced for, the items' as a rule. "auto": "blocked" on the CPU,
        where it costs nothing, and "hogwild" on a CUDA device, which it keeps busier.
    init : float or (P, Q), default 0.01
        The standard deviation of the random (uniform) initial factors, in units of √s; or the
        initial factors themselves, of shapes (n_users, n_factors) and (n_items, n_factors), in
        rating units and with rows in the order of the sorted ids. Random factors with
        ``loss="poisson"``, or a loss of your own with `nonnegative`, and no biases are about
        √(mean rating / n_factors), so that the first predictions are about the mean.
    dtype : {"float32", "float64", "float16"}, default "float32"
        Type of the factors and predictions. Ratings are float32 in any case. "float16" is for CUDA
        devices: factors are stored in half precision while they are trained, which halves their
        memory and its traffic; arithmetic, fitted attributes and predictions are float32.
    device : {"cpu", "cuda", "cuda:<n>", "auto"}, default "cpu"
        Where to train and to predict; "cuda" is "cuda:0". A CUDA device that cannot be used is a
        `CudaError` that says why, never a silent fall-back. Training needs a build with CUDA,
        prediction CuPy as well (``pip install "warpfactor[gpu]"``). "auto" trains on a CUDA device
        where one is usable, predicts there if CuPy can be imported too, and else uses the CPU. A
        model may change the device between calls: ``set_params(device="cpu")``. Predictions leave
        copies of the fitted arrays on the device: replace those arrays, do not write into them.
    device_memory : int or None, default None
        The most bytes of the device's memory to use, in training and in prediction, which works in
        tiles that fit beside the model; None: what is free. Ratings that do not fit beside the model
        go to the device in chunks in each epoch, while it works on those before. Arrays that the caller keeps there, and
        what the CUDA libraries take for themselves, are not counted.
    n_threads : int or None, default None
        Threads to use; None: the processors that this process may really use (affinity and
        container limits). Small data uses fewer: no more than can work without sharing a row.
    random_state : int, RandomState, Generator or None, default None
        Seed of the initial factors and of the order of the ratings. An int gives the same model
        each time (but for "hogwild", on the same kind of processor).
    early_stopping : bool or int, default True
        With a validation set: stop after this many epochs (True: 3) without a lower validation loss
        and keep the best epoch's factors. False: run all epochs and keep the last one's.
    unknown : {"mean", "nan", "raise"}, default "mean"
        The prediction for a user or item without training ratings: its bias and factors count
        as zero (so, μ plus the bias of the one that is known; without biases, the ratings' mean;
        where biases start from half of the mean, as half of it); NaN; or a `ValueError`.
    normalize : bool, default True
        Whether to train on ratings divided by s, or else s = 1.
    verbose : int or bool, default 1
        1: a progress bar and a closing line, if standard error is a terminal. 0: nothing.
    callbacks : list or tuple of callable, default ()
        Each is called after each epoch with that epoch's entry of `history_`; a true return value
        ends the training.

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray of shape (n_users, n_factors) and (n_items, n_factors)
        P and Q. Rows without a training rating are zero (or as `init` gave them).
    user_biases_, item_biases_ : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i; zeros without biases. Rows without a training rating have what biases start
        from.
    global_mean_ : float
        μ: the (weighted) mean of the training ratings, or 0 without biases (but see `loss` and
        `nonnegative`).
    user_ids_, item_ids_ : ndarray of shape (n_users,) and (n_items,)
        The ids of the rows, sorted.
    history_ : list of dict
        For each epoch: epoch (from 1), seconds (of that epoch), learning_rate, train_rmse (each
        rating's error before its own step; during a warm-up that of the factors that take part),
        train_loss (likewise), valid_rmse and valid_loss
        (after the epoch; NaN without a validation set). RMSEs are those of the predictions. Losses
        are the mean of l in the units of the ratings as given, with labels as ±1 and δ of the Huber
        loss times s; the squared loss without its ½, so it is the square of the RMSE.
    n_epochs_ : int
        The epoch, counted from 1, whose factors were kept; ``len(history_)`` epochs were run.
    n_threads_ : int
        The threads that trained, or prepared the ratings for a CUDA device.
    instruction_set_ : str
        The kernels that trained: "baseline", "avx2" or "avx512", or the architecture of a CUDA
        device, such as "sm_90".

    References
    ----------
    .. [1] Y. Koren, R. Bell, C. Volinsky, "Matrix factorization techniques for recommender
       systems", Computer 42(8), 2009, eqs. 4 and 5.
    .. [2] F. Niu, B. Recht, C. Ré, S. Wright, "Hogwild!: a lock-free approach to parallelizing
       stochastic gradient descent", NIPS 2011.
    .. [3] J. Duchi, E. Hazan, Y. Singer, "Adaptive subgradient methods for online learning and
       stochastic optimization", JMLR 12, 2011.
    .. [4] W.-S. Chin, Y. Zhuang, Y.-C. Juan, C.-J. Lin, "A learning-rate schedule for stochastic
       gradient methods to matrix factorization", PAKDD 2015.
    .. [5] P. J. Huber, "Robust estimation of a location parameter", Annals of Mathematical
       Statistics 35(1), 1964.
    .. [6] D. D. Lee, H. S. Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.
    .. [7] B. T. Polyak, "Some methods of speeding up the convergence of iteration methods", USSR
       Computational Mathematics and Mathematical Physics 4(5), 1964.
    .. [8] D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import warpfactor as wf
    >>> X = np.array([["ann", "up"], ["ann", "big"], ["bob", "up"], ["eve", "big"]])
    >>> model = wf.MatrixFactorization(n_factors=2, random_state=0).fit(X, [5, 3, 4, 2])
    >>> model.predict([("bob", "big")]).shape
    (1,)
    >>> ids, scores = model.recommend("bob")
    >>> ids[0]
    'big'
    """

    user_factors_: NDArray[Any]
    item_factors_: NDArray[Any]
    user_biases_: NDArray[Any]
    item_biases_: NDArray[Any]
    global_mean_: float
    user_ids_: NDArray[Any]
    item_ids_: NDArray[Any]
    history_: list[EpochRecord]
    n_epochs_: int
    n_threads_: int
    instruction_set_: str
    # What the public attributes cannot tell: the prediction where nothing is known, even without
    # biases (the mean, or a score of 0); the bias of a row that is not there; what the model was
    # trained with, whatever set_params has changed since; which rows have training ratings; and
    # each user's items (compressed rows), which recommend leaves out.
    _rating_mean: float
    _start_bias: float
    _trained_loss: str
    _link: str
    _user_known: NDArray[np.bool_]
    _item_known: NDArray[np.bool_]
    _seen: tuple[NDArray[np.int64], NDArray[np.int32]]
    _train_pairs: tuple[NDArray[np.int32], NDArray[np.int32]] | None
    # What predictions on a device have left there; never pickled or saved.
    _device_copies: DeviceCopies | None = None

    def __init__(
        self,
        n_factors: int = _DEFAULTS["n_factors"],
        *,
        n_epochs: int = _DEFAULTS["n_epochs"],
        learning_rate: float | None = _DEFAULTS["learning_rate"],
        reg: float | tuple[float, float] = _DEFAULTS["reg"][0],
        reg_bias: float | tuple[float, float] = _DEFAULTS["reg_bias"][0],
        biases: bool = _DEFAULTS["biases"],
        loss: str | CustomLoss = _DEFAULTS["loss"],
        huber_delta: float = _DEFAULTS["huber_delta"],
        l1_ratio: float = _DEFAULTS["l1_ratio"],
        penalty: CustomPenalty | None = None,
        nonnegative: bool = _DEFAULTS["nonnegative"],
        optimizer: str = _DEFAULTS["optimizer"],
        batch_size: int | None = None,
        momentum: float = _DEFAULTS["momentum"],
        adagrad_per: str = _DEFAULTS["adagrad_per"],
        beta_1: float = _DEFAULTS["beta_1"],
        beta_2: float = _DEFAULTS["beta_2"],
        epsilon: float = _DEFAULTS["epsilon"],
        schedule: str = _DEFAULTS["schedule"],
        warmup_epochs: int = _DEFAULTS["warmup_epochs"],
        warmup_factors: int = _DEFAULTS["warmup_factors"],
        parallel: str = _DEFAULTS["parallel"],
        init: float | tuple[ArrayLike, ArrayLike] = _DEFAULTS["init_scale"],
        dtype: DTypeLike = "float32",
        device: str = _DEFAULTS["device"],
        device_memory: int | None = None,
        n_threads: int | None = None,
        random_state: int | np.random.RandomState | np.random.Generator | None = None,
        early_stopping: bool | int = True,
        unknown: str = "mean",
        normalize: bool = _DEFAULTS["normalize"],
        verbose: int = 1,
        callbacks: Sequence[Callable[[EpochRecord], object]] = (),
    ) -> None:
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.reg = reg
        self.reg_bias = reg_bias
        self.biases = biases
        self.loss = loss
        self.huber_delta = huber_delta
        self.l1_ratio = l1_ratio
        self.penalty = penalty
        self.nonnegative = nonnegative
        self.optimizer = optimizer
        self.batch_size = batch_size
        self.momentum = momentum
        self.adagrad_per = adagrad_per
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.schedule = schedule
        self.warmup_epochs = warmup_epochs
        self.warmup_factors = warmup_factors
        self.parallel = parallel
        self.init = init
        self.dtype = dtype
        self.device = device
        self.device_memory = device_memory
        self.n_threads = n_threads
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.unknown = unknown
        self.normalize = normalize
        self.verbose = verbose
        self.callbacks = callbacks

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        validation: Any = None,
    ) -> MatrixFactorization:
        """Factorize ratings.

        Parameters
        ----------
        X : array-like of shape (n_ratings, 2), or anything `Ratings.from_any` takes
            With `y`: user ids and item ids. Without: `Ratings`, a scipy sparse matrix (zeros that
            it stores are ratings), a NumPy masked array (masked: missing), a float array (NaN:
            missing), or a pandas, polars or Arrow table. A pair that occurs twice counts twice.
            This and the other arrays may lie on a CUDA device (CuPy, DLPack or
            ``__cuda_array_interface__``): they are copied to the host once, where ids are numbered.
        y : array-like of shape (n_ratings,), default None
            The ratings.
        sample_weight : array-like of shape (n_ratings,), default None
            Weights >= 0 in the order of the ratings; a weight of 2 acts as the rating given twice,
            0 as if it were absent.
        validation : Ratings, (X, y), or anything `X` can be; default None
            Ratings to evaluate after every epoch, for `history_` and early stopping. Pairs whose
            user or item has no training rating are left out: training cannot improve them.

        Returns
        -------
        MatrixFactorization
            Itself. If fitting fails or is interrupted, what an earlier fit left is unchanged.

        Raises
        ------
        ValueError
            If the ratings, weights or parameters are not valid; the text says which and how.
        DivergedError
            If training diverges.
        CudaError
            If `device` asks for CUDA and it cannot be used (not built, no driver, driver too old,
            no device, out of memory), or arrays are on a device and CuPy is missing.
        """
        params = self._train_params()
        # Half precision is for the device's memory: what comes in and out is float32.
        dtype = np.dtype(np.float64 if self._float_type() == np.float64 else np.float32)
        ratings = Ratings.from_any(X, y)
        weights = None if sample_weight is None else _weights(sample_weight, len(ratings))
        counted = slice(None) if weights is None else weights > 0
        held_out = None
        if validation is not None:
            held_out = _validation_arrays(validation, ratings)
        P, Q = self._initial_factors(ratings, params, dtype)
        loss = self.loss.address(dtype) if isinstance(self.loss, CustomLoss) else 0
        penalty = 0 if self.penalty is None else self.penalty.address(dtype)
        kernels = self._device_kernels(params)
        train = _core.train_float32 if dtype == np.float32 else _core.train_float64

        if params["device"] == "cuda":
            self._device_copies = None
            free_cached(params["device_index"])
        verbose = self.verbose if isinstance(self.verbose, bool) else self._count("verbose", 0) > 0
        with EpochBar(params["n_epochs"], params["loss"], enabled=verbose) as bar:

            def on_epoch(record: EpochRecord) -> bool:
                bar.advance(record)
                wishes = [bool(callback(record.copy())) for callback in self.callbacks]
                return any(wishes)

            result = train(
                _core.RatingArrays(ratings.users, ratings.items, ratings.values, weights),
                ratings.n_users,
                ratings.n_items,
                params,
                held_out,
                P,
                Q,
                on_epoch if self.callbacks or bar.enabled else None,
                loss,
                penalty,
                kernels.functions if kernels else {},
            )

        self.user_factors_ = result["user_factors"]
        self.item_factors_ = result["item_factors"]
        self.user_biases_ = result["user_biases"]
        self.item_biases_ = result["item_biases"]
        self.global_mean_ = result["global_mean"]
        self.user_ids_ = ratings.user_ids
        self.item_ids_ = ratings.item_ids
        self.history_ = result["history"]
        self.n_epochs_ = result["best_epoch"]
        self.n_threads_ = result["n_threads"]
        self.instruction_set_ = result["instruction_set"]
        trained = _LOSSES[params["loss"]]
        score_only = trained["labels"] and trained["link"] == "identity"
        self._rating_mean = 0.0 if score_only else result["rating_mean"]
        self._start_bias = result["start_bias"]
        self._trained_loss = params["loss"]
        self._link = result["link"]
        self._user_known = result["user_counts"] > 0
        self._item_known = result["item_counts"] > 0
        self._train_pairs = ratings.users[counted], ratings.items[counted]
        bar.finish(self)
        return self

    def predict(self, X: Any, *, output: str = "numpy") -> NDArray[Any]:
        """Predict the rating of each (user, item) pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2), Ratings, table or matrix
            User ids and item ids; of a matrix, the entries that are there (a matrix stands for the
            ids 0, 1, ... of rows and columns). Integers that lie on a CUDA device (CuPy, DLPack or
            ``__cuda_array_interface__``, of any strides) are looked up there.
        output : {"numpy", "cupy"}, default "numpy"
            What to return; "cupy" needs a CUDA `device`, on which the result stays.

        Returns
        -------
        ndarray of shape (n_pairs,), dtype of the factors
            r̂ of each pair, in the units of the ratings; not clipped to their range. What r̂ is for
            ratings that are labels, see `loss`.

        Raises
        ------
        ValueError
            If ids are of another kind than in training, or, with ``unknown="raise"``, have no
            training rating; or if `output` is "cupy" and `device` the CPU.
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        check_is_fitted(self)
        unknown = self._unknown_choice()
        with self._scorer(output) as scorer:
            xp, k = scorer.xp, self.item_factors_.shape[1]
            dtype = self.item_factors_.dtype
            wanted = self._known_arrays() | self._factor_arrays()
            pairs = self._integer_pairs(X) if isinstance(scorer, DeviceScorer) else None
            if pairs is None:
                columns = pairs_to_codes(X, self.user_ids_, self.item_ids_)
                n_pairs = len(columns[0])
            else:
                n_pairs = len(pairs)
                wanted |= self._vocabularies("user", "item")
            fixed = n_pairs * dtype.itemsize if output == "cupy" else 0
            per_pair = 2 * k * dtype.itemsize + PAIR_BYTES
            arrays, n_rows = scorer.take(wanted, self._memory("predict", fixed, per_pair))
            factors = self._factors(arrays)

            def codes_of(part: slice) -> list[Any]:
                if pairs is None:
                    codes = [xp.asarray(column[part]) for column in columns]
                else:
                    block = xp.asarray(pairs[part])
                    codes = [
                        find_integers(xp, self._vocabulary(arrays, side), block[:, at])
                        for at, side in enumerate(("user", "item"))
                    ]
                return [
                    known_rows(xp, column, arrays[f"{side}_known"])
                    for side, column in zip(("user", "item"), codes, strict=True)
                ]

            parts = list(tiles(n_pairs, n_rows))
            if unknown == "raise":
                self._reject_unknown_pairs((part.start, *codes_of(part)) for part in parts)
            predicted: NDArray[Any] = (np if output == "numpy" else xp).empty(n_pairs, dtype)
            for part in parts:
                codes = codes_of(part)
                some = self._finished(xp, scorer.pair_scores(factors, *codes), *codes)
                if output == "numpy":
                    some = to_host(some)
                if len(some) == n_pairs:
                    return cast("NDArray[Any]", some)
                predicted[part] = some
            return predicted

    def score(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return R², the share of the ratings' variance that the predictions explain.

        Parameters
        ----------
        X, y
            As in `fit`.
        sample_weight : array-like of shape (n_ratings,), default None
            Weights of the ratings.

        Returns
        -------
        float
            1 - Σw(r - r̂)² / Σw(r - r̄)²; for an error in rating units see `warpfactor.metrics`.

        Raises
        ------
        ValueError
            As `predict`, and if a prediction is NaN (``unknown="nan"``).
        """
        from sklearn.metrics import r2_score

        ratings = Ratings.from_any(X, y)
        return float(r2_score(ratings.values, self.predict(ratings), sample_weight=sample_weight))

    def recommend(
        self, users: Any, n: int = 10, *, exclude_seen: bool = True, output: str = "numpy"
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return each user's items of the highest predicted rating.

        Parameters
        ----------
        users : id or array-like of ids, shape (n_users,)
            Whom to recommend to. With ``unknown="mean"``, users without training ratings get the
            items of the highest biases.
        n : int, default 10
            How many items a user gets.
        exclude_seen : bool, default True
            Whether to leave out the items that the user rated in training. Items without any
            training rating are always left out.
        output : {"numpy", "cupy"}, default "numpy"
            What to return; "cupy" needs a CUDA `device` and item ids that are integers.

        Returns
        -------
        ids : ndarray of shape (n_users, n), or (n,) for a single id
            Item ids, best first. n is cut to the number of items.
        scores : ndarray of the same shape
            Their predicted ratings. Where a user has fewer than n items left, the rest of the row
            has the score NaN and the id -1 (0 if unsigned, None if ids are no integers).

        Raises
        ------
        ValueError
            If a user has no training ratings and `unknown` is not "mean", or `output` cannot be
            "cupy".
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        check_is_fitted(self)
        with self._scorer(output) as scorer:
            xp = scorer.xp
            n = min(_count("n", n, 1), len(self.item_ids_))
            single, codes = self._lookup(scorer, users, "user")
            wanted = self._known_arrays() | self._factor_arrays()
            if exclude_seen:
                wanted["seen_indptr"], wanted["seen_items"] = self._seen_lists()
            fixed = self.item_biases_.nbytes
            arrays, n_rows = self._take(scorer, wanted, "recommend", len(codes), n, fixed, output)
            codes = known_rows(xp, codes, arrays["user_known"])
            if self._unknown_choice() != "mean" and (codes < 0).any():
                self._reject_unknown("user", users, single, codes)
            factors = self._factors(arrays)
            rated = rated_biases(xp, factors.item_biases, arrays["item_known"])
            factors = factors._replace(item_biases=rated)
            seen = (arrays["seen_indptr"], arrays["seen_items"]) if exclude_seen else None
            parts = scorer.best_items(factors, codes, n, seen, n_rows)
            out = np if output == "numpy" else xp
            found, scores = _collected(out, parts, (len(codes), n), self.item_factors_.dtype)
            if self._start_bias:
                unknown = to_host(codes < 0) if out is np else codes < 0
                scores += out.where(unknown, self._start_bias, 0)[:, None]
            ids, scores = named_items(out, arrays.get("item_ids", self.item_ids_), found, scores)
            scores = answers(out, scores, self._link)
            return (ids[0], scores[0]) if single else (ids, scores)

    def similar_items(
        self, items: Any, n: int = 10, *, output: str = "numpy"
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the items whose factors point most nearly the same way.

        Parameters
        ----------
        items : id or array-like of ids, shape (n_items,)
            The items to compare with; each is left out of its own row.
        n : int, default 10
            How many similar items each gets.
        output : {"numpy", "cupy"}, default "numpy"
            As in `recommend`.

        Returns
        -------
        ids : ndarray of shape (n_items, n), or (n,) for a single id
            Item ids, most similar first; empty slots as in `recommend`.
        scores : ndarray of the same shape
            Cosine of the angle between the two items' factors, from -1 to 1.

        Raises
        ------
        ValueError
            If an item has no training ratings, or `output` cannot be "cupy".
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        check_is_fitted(self)
        with self._scorer(output) as scorer:
            xp = scorer.xp
            n = min(_count("n", n, 1), len(self.item_ids_))
            single, codes = self._lookup(scorer, items, "item")
            wanted = {"item_factors": self.item_factors_, "item_known": self._item_known}
            fixed = 2 * self.item_factors_.nbytes + PAIR_BYTES * len(self.item_ids_)
            arrays, n_rows = self._take(
                scorer, wanted, "similar_items", len(codes), n, fixed, output
            )
            codes = known_rows(xp, codes, arrays["item_known"])
            if (codes < 0).any():
                self._reject_unknown("item", items, single, codes)
            unit = unit_rows(xp, arrays["item_factors"])
            none = xp.zeros(len(unit), unit.dtype)
            biases = rated_biases(xp, none, arrays["item_known"])
            factors = Factors(unit, unit, none, biases, 0.0)
            itself = xp.arange(len(unit) + 1), xp.arange(len(unit), dtype=np.int32)
            parts = scorer.best_items(factors, codes, n, itself, n_rows)
            out = np if output == "numpy" else xp
            found, scores = _collected(out, parts, (len(codes), n), self.item_factors_.dtype)
            ids, scores = named_items(out, arrays.get("item_ids", self.item_ids_), found, scores)
            return (ids[0], scores[0]) if single else (ids, scores)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted model to one safetensors file, without pickle.

        The file is written under a temporary name and renamed: a crash leaves the old file whole.

        Parameters
        ----------
        path : str or path-like
            The file; `warpfactor.load` reads it. `callbacks`, a `random_state` that is no int, and
            initial factors given as arrays are not stored.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        from ..model import file as model_file

        check_is_fitted(self)
        model_file.save(self, path)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "user_factors_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        tags.target_tags.required = False
        return tags

    def _mark_seen(self, ratings: Ratings) -> None:
        """Leave these pairs out of recommendations too; ids that the model lacks are passed over."""
        users, items = pairs_to_codes(ratings, self.user_ids_, self.item_ids_)
        both = (users >= 0) & (items >= 0)
        indptr, seen = self._seen_lists()
        counts = np.diff(indptr)
        rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        self._seen = _core.group_by_user(
            np.concatenate([rows, users[both]]), np.concatenate([seen, items[both]]), len(counts)
        )

    def _seen_lists(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Each user's items in compressed rows, made when first needed: sorting can outlast training."""
        pairs = self._train_pairs
        if pairs is not None:
            self._seen = _core.group_by_user(*pairs, len(self.user_ids_))
            self._train_pairs = None
        return self._seen

    def __getstate__(self) -> Any:
        if self.__sklearn_is_fitted__():
            self._seen_lists()  # half the size of the pairs
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_device_copies"}

    def _train_params(self) -> _core.TrainParams:
        self._unknown_choice()
        params = _core.TrainParams()
        params["n_factors"] = self._count("n_factors", 1, _MOST_FACTORS)
        params["n_epochs"] = self._count("n_epochs", 0)
        if self.learning_rate is not None:
            params["learning_rate"] = self._real("learning_rate")
        params["reg"] = self._per_side("reg")
        params["reg_bias"] = self._per_side("reg_bias")
        params["l1_ratio"] = self._real("l1_ratio")
        params["nonnegative"] = self._flag("nonnegative")
        params["biases"] = self._flag("biases")
        if isinstance(self.loss, CustomLoss):
            params["loss"] = "custom"
        else:
            names = [each["name"] for each in _core.losses() if each["name"] != "custom"]
            if not isinstance(self.loss, str) or self.loss not in names:
                listed = ", ".join(repr(name) for name in names)
                raise ValueError(
                    f"loss is {self.loss!r:.80}; it must be {listed}, or one that "
                    "warpfactor.losses.custom made"
                )
            params["loss"] = self.loss
        if self.penalty is not None and not isinstance(self.penalty, CustomPenalty):
            raise ValueError(
                f"penalty is {self.penalty!r:.80}; it must be None, or one that "
                "warpfactor.losses.penalty made"
            )
        params["huber_delta"] = self._real("huber_delta")
        params["normalize"] = self._flag("normalize")
        params["optimizer"] = self._choice("optimizer", _CHOICES["optimizer"])
        if self.batch_size is not None:
            params["batch_size"] = self._count("batch_size", 1, 2**63 - 1)
        params["momentum"] = self._real("momentum")
        params["adagrad_per"] = self._choice("adagrad_per", _CHOICES["adagrad_per"])
        params["beta_1"], params["beta_2"] = self._real("beta_1"), self._real("beta_2")
        params["epsilon"] = self._real("epsilon")
        params["schedule"] = self._choice("schedule", _CHOICES["schedule"])
        params["warmup_epochs"] = self._count("warmup_epochs", 0)
        params["warmup_factors"] = self._count("warmup_factors", 1)
        params["parallel"] = self._choice("parallel", _CHOICES["parallel"])
        params["device"], params["device_index"] = self._device()
        params["device_memory"] = self._memory_limit()
        params["half"] = self._float_type() == np.float16
        if params["half"] and params["device"] == "cpu":
            raise ValueError(
                f"dtype is 'float16', which is for CUDA devices, and device is {self.device!r}, "
                "here the CPU: use dtype='float32', or device='cuda'"
            )
        params["n_threads"] = self._thread_count()
        params["seed"] = self._seed()
        patience = self.early_stopping
        if isinstance(patience, (bool, np.bool_)):
            params["patience"] = _DEFAULTS["patience"] if patience else 0
        else:
            params["patience"] = self._count("early_stopping", 1)
        if isinstance(self.init, numbers.Real) and not isinstance(self.init, bool):
            params["init_scale"] = float(self.init)
        elif not (isinstance(self.init, (tuple, list)) and len(self.init) == 2):
            raise ValueError(
                f"init is {self.init!r:.80}; it must be a scale >= 0 or a pair of arrays (P, Q)"
            )
        if not isinstance(self.callbacks, (list, tuple)):
            raise ValueError(f"callbacks is {self.callbacks!r}; it must be a list of callables")
        for callback in self.callbacks:
            if not callable(callback):
                raise ValueError(f"callbacks holds {callback!r}; each must be callable")
        return params

    def _device_kernels(self, params: _core.TrainParams) -> DeviceKernels | None:
        """Compile the kernels of a custom loss or penalty, if they are to run on a CUDA device."""
        loss = self.loss if isinstance(self.loss, CustomLoss) else None
        custom = loss is not None or self.penalty is not None
        # The twin calls the functions that the CPU calls.
        if params["device"] == "cpu" or not custom or _core.cuda_is_twin():
            return None
        _, usable, reason = _core.cuda_status()
        if not usable:
            raise CudaError(reason)
        return device_kernels(
            loss,
            self.penalty,
            n_factors=params["n_factors"],
            dtype=self._float_type(),
            device=params["device_index"],
            general=not _core.is_plain(params, self.penalty is not None),
        )

    def _initial_factors(
        self, ratings: Ratings, params: _core.TrainParams, dtype: np.dtype[Any]
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
        if isinstance(self.init, numbers.Real):
            return None, None
        P, Q = cast("tuple[ArrayLike, ArrayLike]", self.init)
        nonnegative = params["nonnegative"] or _LOSSES[params["loss"]]["nonnegative"]
        return (
            _initial("P", P, (ratings.n_users, params["n_factors"]), dtype, nonnegative),
            _initial("Q", Q, (ratings.n_items, params["n_factors"]), dtype, nonnegative),
        )

    def _float_type(self) -> np.dtype[Any]:
        try:
            dtype = np.dtype(self.dtype)
        except TypeError:
            dtype = np.dtype(object)
        if dtype not in (np.float16, np.float32, np.float64):
            raise ValueError(
                f"dtype is {self.dtype!r}; it must be 'float32' or 'float64', or on a CUDA device "
                "'float16'"
            )
        return dtype

    def _device(self) -> tuple[str, int]:
        device = self.device
        if device == "auto":
            _, usable, _ = _core.cuda_status()
            return ("cuda" if usable else "cpu"), 0
        if device == "cpu":
            return "cpu", 0
        kind, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
        if kind == "cuda" and (device == "cuda" or (index.isascii() and index.isdigit())):
            if int(index or 0) >= 2**31:
                raise ValueError(f"device is {device!r}; the number must be below 2**31")
            return "cuda", int(index or 0)
        raise ValueError(f"device is {device!r}; it must be 'cpu', 'cuda', 'cuda:<n>' or 'auto'")

    def _seed(self) -> int:
        state = self.random_state
        if isinstance(state, numbers.Integral) and not isinstance(state, bool):
            if not 0 <= state < 2**64:
                raise ValueError(f"random_state is {state}; an int must be from 0 to 2**64 - 1")
            return int(state)
        if isinstance(state, np.random.Generator):
            return int(state.integers(2**63))
        try:
            return int(check_random_state(state).randint(2**63 - 1, dtype=np.int64))
        except ValueError:
            raise ValueError(
                f"random_state is {state!r}; it must be an int, a RandomState, a Generator or None"
            ) from None

    def _thread_count(self) -> int:
        return 0 if self.n_threads is None else self._count("n_threads", 1)

    def _unknown_choice(self) -> str:
        return self._choice("unknown", _UNKNOWN)

    def _choice(self, name: str, allowed: Sequence[str]) -> str:
        value = getattr(self, name)
        if not isinstance(value, str) or value not in allowed:
            listed = " or ".join(repr(a) for a in allowed)
            raise ValueError(f"{name} is {value!r}; it must be {listed}")
        return value

    def _count(self, name: str, low: int, high: int = 2**31 - 1) -> int:
        return _count(name, getattr(self, name), low, high)

    def _real(self, name: str) -> float:
        value = getattr(self, name)
        if not isinstance(value, numbers.Real) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; it must be a number")
        return float(value)  # its range is checked in the core

    def _per_side(self, name: str) -> tuple[float, float]:
        value = getattr(self, name)
        sides = value if isinstance(value, (tuple, list)) else (value, value)
        if len(sides) != 2 or any(
            not isinstance(side, numbers.Real) or isinstance(side, bool) for side in sides
        ):
            raise ValueError(
                f"{name} is {value!r}; it must be a number, or a pair of them (users, items)"
            )
        return float(sides[0]), float(sides[1])

    def _flag(self, name: str) -> bool:
        value = getattr(self, name)
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name} is {value!r}; it must be True or False")
        return bool(value)

    def _has_biases(self) -> bool:
        # Not self.biases: set_params may have changed it since the fit.
        return bool(self.global_mean_ or self.user_biases_.any() or self.item_biases_.any())

    def _factor_arrays(self) -> dict[str, NDArray[Any]]:
        return {name: getattr(self, f"{name}_") for name in Factors._fields if name != "mean"}

    def _factors(self, arrays: dict[str, Any]) -> Factors:
        named = {name: arrays[name] for name in self._factor_arrays()}
        return Factors(**named, mean=self.global_mean_)

    def _known_arrays(self) -> dict[str, NDArray[Any]]:
        return {"user_known": self._user_known, "item_known": self._item_known}

    def _vocabularies(self, *sides: str) -> dict[str, NDArray[Any]]:
        """What look-ups on a device need there: nothing where ids are consecutive integers."""
        ids = {f"{side}_ids": getattr(self, f"{side}_ids_") for side in sides}
        return {name: array for name, array in ids.items() if consecutive(array) is None}

    def _vocabulary(self, arrays: dict[str, Any], side: str) -> Any:
        return consecutive(getattr(self, f"{side}_ids_")) or arrays[f"{side}_ids"]

    def _prediction_device(self, output: str) -> int | None:
        """Return the number of the CUDA device to predict on; None: the CPU."""
        if not isinstance(output, str) or output not in _OUTPUTS:
            raise ValueError(f"output is {output!r}; it must be 'numpy' or 'cupy'")
        where, index = self._device()
        problem = prediction_problem() if self.device == "auto" else ""
        if where == "cpu" or problem:
            if output == "cupy":
                why = f", which is the CPU here ({problem})" if problem else ""
                raise ValueError(
                    f"output is 'cupy', which needs a CUDA device, and device is {self.device!r}"
                    f"{why}: use set_params(device='cuda'), or output='numpy'"
                )
            return None
        require_prediction()
        return index

    @contextmanager
    def _scorer(self, output: str) -> Iterator[CpuScorer | DeviceScorer]:
        index = self._prediction_device(output)
        if index is None:
            yield CpuScorer(self._thread_count())
            return
        with use_device(index) as xp:
            if self._device_copies is None or self._device_copies.index != index:
                self._device_copies = DeviceCopies(index)
            yield DeviceScorer(xp, self._device_copies)

    def _memory(self, what: str, fixed: int, per_row: int) -> Memory:
        return Memory(what, fixed, per_row, self._memory_limit() or None)

    def _memory_limit(self) -> int:
        """Return `device_memory` as the core takes it: 0 stands for what is free."""
        return 0 if self.device_memory is None else self._count("device_memory", 1, 2**63 - 1)

    def _take(
        self,
        scorer: CpuScorer | DeviceScorer,
        wanted: dict[str, NDArray[Any]],
        what: str,
        n_queries: int,
        n: int,
        fixed: int,
        output: str,
    ) -> tuple[dict[str, Any], int]:
        """Get the arrays that a search for the n best items needs, and the rows of its tiles."""
        n_items, k = self.item_factors_.shape
        size = self.item_factors_.itemsize
        fixed += n_queries * PAIR_BYTES
        if output == "cupy":
            if self.item_ids_.dtype == object:
                raise ValueError(
                    "output is 'cupy', and CuPy arrays hold numbers only, but the model's item "
                    f"ids are like {self.item_ids_[0]!r}: use output='numpy'"
                )
            wanted = wanted | {"item_ids": self.item_ids_}
            # Codes, ids, scores, and the masks and indices on the way.
            fixed += n_queries * n * (24 + 2 * size)
        return scorer.take(wanted, self._memory(what, fixed, row_bytes(n_items, k, n, size)))

    def _finished(self, xp: Any, scores: Any, users: Any, items: Any) -> Any:
        """Turn the scores of pairs of codes into predicted ratings."""
        missing = (users < 0) | (items < 0)
        some_missing = bool(missing.any())
        if some_missing and self._start_bias:
            scores += self._start_bias * ((users < 0).astype(int) + (items < 0))
        predicted = answers(xp, scores, self._link)
        if some_missing and self.unknown == "nan":
            predicted[missing] = np.nan
        elif some_missing and not self._has_biases():
            predicted[missing] = self._rating_mean
        return predicted

    def _integer_pairs(self, X: Any) -> Any:
        """Return pairs of integers whose ids a device can look up, or None."""
        if self.user_ids_.dtype == object or self.item_ids_.dtype == object:
            return None
        if is_device_array(X):
            X = as_device_array(X)
        elif not isinstance(X, np.ndarray) or isinstance(X, np.ma.MaskedArray):
            return None
        return X if X.ndim == 2 and X.shape[1] == 2 and X.dtype.kind in "iu" else None

    def _lookup(self, scorer: CpuScorer | DeviceScorer, wanted: Any, side: str) -> tuple[bool, Any]:
        """Return whether a single id is wanted, and the codes, where the scores will be."""
        ids = getattr(self, f"{side}_ids_")
        if isinstance(scorer, DeviceScorer) and ids.dtype != object and is_device_array(wanted):
            values = as_device_array(wanted)
            if values.ndim < 2 and values.dtype.kind in "iu":
                arrays, _ = scorer.take(
                    self._vocabularies(side), self._memory("looking up ids", 0, PAIR_BYTES)
                )
                vocabulary = self._vocabulary(arrays, side)
                return values.ndim == 0, find_integers(scorer.xp, vocabulary, values.reshape(-1))
        wanted = to_host(wanted)
        single = isinstance(wanted, (str, bytes)) or np.ndim(wanted) == 0
        values = [wanted.item() if isinstance(wanted, np.ndarray) else wanted] if single else wanted
        if not single and len(values) == 0:
            return False, scorer.xp.empty(0, np.int32)
        return single, scorer.xp.asarray(lookup_ids(ids, values, f"{side}s"))

    def _reject_unknown_pairs(self, parts: Iterable[tuple[int, Any, Any]]) -> None:
        """Raise ValueError if codes, with the row they start at, hold unknown users or items."""
        n_missing, first = 0, ""
        for start, users, items in parts:
            missing = (users < 0) | (items < 0)
            n_here = int(missing.sum())
            if n_here and not n_missing:
                at = int(missing.argmax())
                first = f"{start + at} (its {'user' if users[at] < 0 else 'item'})"
            n_missing += n_here
        if n_missing:
            raise ValueError(
                f"X has {n_missing} pairs with a user or item without training ratings, the first "
                f"at row {first}: drop them, or use unknown='mean' or 'nan'"
            )

    def _reject_unknown(self, who: str, wanted: Any, single: bool, codes: Any) -> NoReturn:
        at = int((codes < 0).argmax())
        wanted = to_host(wanted)
        if isinstance(wanted, np.ndarray):
            wanted = wanted.tolist()
        value = wanted if single else list(wanted)[at]
        raise ValueError(
            f"{who} {value!r} has no training ratings: leave it out"
            + (", or use unknown='mean'" if who == "user" else "")
        )


def _collected(
    module: Any, parts: Iterable[tuple[slice, Any, Any]], shape: tuple[int, int], dtype: Any
) -> tuple[Any, Any]:
    """Put the parts of a search together, in arrays of NumPy or CuPy."""
    found, scores = module.empty(shape, np.int32), module.empty(shape, dtype)
    for part, some_found, some_scores in parts:
        if module is np:
            some_found, some_scores = to_host(some_found), to_host(some_scores)
        if len(some_found) == shape[0]:
            return some_found, some_scores
        found[part], scores[part] = some_found, some_scores
    return found, scores


def _count(name: str, value: Any, low: int, high: int = 2**31 - 1) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; it must be an integer")
    count = int(value)
    if not low <= count <= high:
        limit = f"from {low} to {high}" if high < 2**31 - 1 else f"at least {low}"
        raise ValueError(f"{name} is {count}; it must be {limit}")
    return count


def _weights(sample_weight: Any, n_ratings: int) -> NDArray[np.float32]:
    weights = as_float32(sample_weight, "sample_weight")
    if len(weights) != n_ratings:
        raise ValueError(
            f"sample_weight has shape {weights.shape}; it must be ({n_ratings},), one per rating"
        )
    if weights.min() < 0:
        at = int(weights.argmin())
        raise ValueError(f"sample_weight[{at}] is {weights[at]}; weights must be at least 0")
    if not weights.any():
        raise ValueError("sample_weight is 0 everywhere; at least one weight must be above 0")
    return weights


def _initial(
    name: str, given: ArrayLike, shape: tuple[int, int], dtype: np.dtype[Any], nonnegative: bool
) -> NDArray[Any]:
    array = np.asarray(given)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"init: {name} has dtype {array.dtype}; initial factors must be numbers")
    if array.shape != shape:
        rows = "n_users" if name == "P" else "n_items"
        raise ValueError(
            f"init: {name} has shape {array.shape}; it must be ({rows}, n_factors) = {shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"init: {name} holds NaN or infinity; initial factors must be finite")
    if nonnegative and array.size and array.min() < 0:
        raise ValueError(
            f"init: {name} holds {array.min()}; with nonnegative=True, and with loss='poisson', "
            "initial factors must be at least 0"
        )
    return np.ascontiguousarray(array, dtype)


def _validation_arrays(validation: Any, train: Ratings) -> _core.RatingArrays:
    X, y = validation if isinstance(validation, tuple) else (validation, None)
    held_out = Ratings.from_any(X, y, "validation")
    users, items = pairs_to_codes(held_out, train.user_ids, train.item_ids, "validation")
    return _core.RatingArrays(users, items, held_out.values)
