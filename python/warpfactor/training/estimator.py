"""The scikit-learn estimator: parameters, `fit`, and a fitted model that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..checks import check_flag
from ..formulas.losses import CustomLoss, CustomPenalty
from ..model.record import EpochRecord
from ..parameters import DEFAULTS
from .callbacks import Callback, check_callbacks
from .core_params import core_params
from .fit import fit_model
from .from_model import FromModel
from .partial_fit import PartialFit
from .sklearn_tasks import CallbackSupportMixin, SklearnTasks, with_callbacks

__all__ = ["MatrixFactorization"]


class MatrixFactorization(FromModel, CallbackSupportMixin, PartialFit):  # type: ignore[misc]
    r"""Biased matrix factorization of ratings, trained by parallel SGD.

    The model predicts user u's rating of item i from the score

        x(u, i) = μ + b_u + b_i + p_u · q_i

    which is the prediction r̂ itself with most losses, and training minimizes, over the ratings with
    weights w (scaled to a mean of 1),

        Σ w · [l(z, ẑ) + reg·(h(p_u - m_u) + h(q_i - m_i)) + reg_bias·(h(b_u - a_u) + h(b_i - a_i))]
          + ½ Σ_u [reg_row·‖p_u - m_u‖² + reg_bias_row·(b_u - a_u)²] + the same over the items

    where h(v) = l1_ratio ‖v‖₁ + (1 - l1_ratio)/2 ‖v‖₂², and the loss l (see `loss`) is by default
    ½(z - ẑ)² with z = (r - μ)/s the standardized ratings, μ as in `global_mean_` and s
    their standard deviation, but at least a fifth of the root mean square of r - μ, and 1 with
    ``normalize=False``. So `reg` and `reg_bias` count once per rating seen, `reg_row` and
    `reg_bias_row` once per user and item, and all of them and `learning_rate` mean the same on any
    rating scale. The prior means m and a say what to expect of a row from who rated what; see
    `implicit_feedback`. The fitted attributes are in the units of the ratings. For one rating with
    the slope g = ∂l/∂ẑ (ẑ - z with the squared loss) a step is

        p_u ← p_u - η w (g q_i + (reg + reg_row/n_u)(p_u - m_u))
        b_u ← b_u - η w (g + (reg_bias + reg_bias_row/n_u)(b_u - a_u))

    with n_u what the user's ratings weigh (their number, without weights), and likewise for the item,
    both from the values before the step; no step goes more than half of the way to the prior mean
    where there are penalties per row or prior means. With an L1 part, reg is
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
    n_epochs : int, "auto" or None, default None
        Passes over the ratings; with early stopping the most of them. None, or "auto": 40 up to
        100,000 ratings, 20 from 400,000 on, and in between 20·√(400,000/n).
    learning_rate : float, "auto" or None, default None
        η of the first epoch. None, or "auto": 0.08·(1 - `momentum`) with "sgd", half of it where nothing
        counts per row; 0.1 with "adagrad" by row and
        0.05 by element; 0.003 with "adam"; with "gd" 1/n, where n is the number of ratings (their
        weights, if there are) of the busiest user plus that of the busiest item. In batches "sgd"
        and "adagrad" take no more than 1/n for the share of n that a batch has on average.
    reg, reg_bias : float, (float, float), "auto" or None, default None
        Strength of the penalty on the factors, and on the biases, per rating; a pair is (of the users,
        of the items). None, or "auto": see below.
    reg_row, reg_bias_row : float, (float, float), "auto" or None, default None
        Strength of the penalty on the factors, and on the biases, that counts once for each user and
        item, however many ratings they have: rows with few ratings stay near their prior mean. The
        result then depends little on `n_factors`, `n_epochs`, `learning_rate` and `init`. None, or
        "auto": see below.
    implicit_feedback : {"auto", "none", "users", "items", "both"}, default "auto"
        Which rows have prior means from who rated what: the users' from the items that they rated,
        the items' from the users who rated them,

            m_u = n_u^(-½) Σ_{j rated by u} y_j

        and a_u the same sum of one number per item. It is the implicit feedback of SVD++ [9]_, but as
        the mean to which the user's factors are pulled, not as a term of the score: so it serves both
        sides, and predictions need P, Q and the biases alone. The y_j move after every second epoch,
        by a step of conjugate gradients towards the least of Σ_u ‖p_u - m_u‖² + ρ Σ_j ‖y_j‖². "auto":
        see below.
    reg_implicit : float, "auto" or None, default None
        ρ, above 0; of the biases' means 5ρ.

        What "auto" means. With `biases`, L2 (no `l1_ratio`, no `penalty`) and factors of any sign,
        `implicit_feedback` is "both", `reg_bias` 0, and `reg_bias_row` σ²/τ², with the variances of
        the noise and of the users' (items') biases in z = μ + b_u + b_i + noise, estimated by
        mean-field EM of crossed random effects from up to about a million ratings; a quarter of that
        with "logistic". `reg`, `reg_row`, `reg_implicit` and `init` are 0.04, 8, 2 and 0.05 if you give
        one of them, or the optimizer is "gd". If not, training tries some values on a tenth of up to
        about 100,000 ratings and takes the best, from the best of these and of two sets for ratings
        whose choice says little of taste (weak prior means, factors that start narrow, for a strong
        signal fewer epochs); :doc:`/explanations/accuracy` has the steps. That takes 7 to 11 fits by plain SGD, three
        times as many below 20,000 ratings, and with another optimizer, momentum or batches two by the
        model's own steps. If factors do not help, `init` is set to 0, so that they stay zero. Without
        biases, with an L1 part, a `penalty` of your own, `nonnegative` or "poisson": `reg` is 0.04,
        `reg_bias` 0.05, and nothing counts per row. `chosen_` tells what was taken.
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
    init : float or (P, Q), default 0.05
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
        `CudaError` that says why, never a silent fall-back. Training needs the device's
        code, prediction CuPy as well: ``pip install "warpfactor[gpu]"`` brings both. "auto" trains on
        a CUDA device where one is usable, predicts there if CuPy can be imported too, and else uses
        the CPU. A model may change the device between calls: ``set_params(device="cpu")``.
        Predictions leave copies of the fitted arrays on the device.
    device_memory : int or None, default None
        The most bytes of the device's memory to use, in training and in prediction, which works in
        tiles that fit beside the model; None: what is free. Ratings that do not fit beside the model
        go to the device in chunks in each epoch, while it works on those before. Arrays of your own
        there, and what the CUDA libraries take for themselves, are not counted.
    n_threads : int or None, default None
        Threads to use; None: the processors that this process may really use (affinity and
        container limits). Small data uses fewer: no more than can work without sharing a row.
    random_state : int, RandomState, Generator or None, default None
        Seed of the initial factors and of the order of the ratings. An int gives the same model
        each time on the same kind of processor, except with "hogwild".
    early_stopping : bool or int, default True
        With validation ratings: keep the factors of the epoch with the lowest validation loss (with a
        schedule that falls to 0, of the last one within 0.05 % of it, as its rate is lower). False: run
        all epochs and keep the last one's. `n_epochs` is only a bound then: the "linear" and
        "cosine" schedules fall in half as many epochs again as None would mean (up to `n_epochs`
        in more with a lower `learning_rate` than None would mean, and in three times as many with
        "adagrad"). If this many epochs (True: 3) pass without a lower loss, and their mean is 1 %
        above it, training goes back to the best epoch and on at 0.35 times the rate, once more if
        that helped. With other schedules, and "gd", which falls in `n_epochs`, it stops after this
        many.
    validation_fraction : float or None, default None
        The share of the ratings that `fit` draws for validation by `random_state`, where it is given
        no `validation`.
    refit : bool, default False
        Whether to train again on all ratings, those for validation too, by the learning rates of the
        epochs that led to the best one. `history_` and `n_epochs_` stay those of the first time.
    unknown : {"mean", "nan", "raise"}, default "mean"
        The prediction for a user or item without training ratings: its bias and factors count
        as zero (so, μ plus the bias of the one that is known; without biases, the ratings' mean;
        where biases start from half of the mean, as half of it); NaN; or a `ValueError`.
    normalize : bool, default True
        Whether to train on ratings divided by s, or else s = 1.
    warm_start : bool, default False
        Whether `fit` goes on from the factors, biases and μ of the fit before, in the place of `init`,
        for users and items of the same ids; others start from zero. What is "auto" among the penalties
        is then as it was chosen before, so that there is no search. For ratings that only come in
        addition `partial_fit` is faster.
    verbose : int or bool, default 1
        1: a progress bar in terminals and notebooks, lines in logs if the fit takes longer than five
        seconds. 2: a line for each epoch, and what was chosen. 0: nothing.
    callbacks : list or tuple of Callback or callable, default ()
        See `warpfactor.callbacks`. A plain callable is called after each epoch with that epoch's
        entry of `history_`; a true return value ends the training.

    Attributes
    ----------
    model_ : Model
        The fitted model, apart from the estimator and scikit-learn. The attributes below are its.
    user_factors_, item_factors_ : ndarray of shape (n_users, n_factors) and (n_items, n_factors)
        P and Q. Rows without a training rating are zero (or as `init` gave them).
    user_biases_, item_biases_ : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i; zeros without biases. Rows without a training rating have what biases start
        from.
    global_mean_ : float
        μ: what an average user gives an average item, by the same EM as `reg_bias_row`; where that is
        given, the (weighted) mean of the training ratings. 0 without biases (but see `loss` and
        `nonnegative`).
    user_ids_, item_ids_ : ndarray of shape (n_users,) and (n_items,)
        The ids of the rows, sorted.
    chosen_ : dict
        What training chose where the parameters leave it open, by their names, such as ``n_epochs``
        and ``reg_row``.
    history_ : list of dict
        For each epoch: epoch (from 1), seconds (of that epoch), learning_rate, train_rmse (each
        rating's error before its own step; during a warm-up that of the factors that take part),
        train_loss (likewise), valid_rmse and valid_loss (after the epoch; NaN without a validation
        set). RMSEs are those of the predictions. Losses are the mean of l in the units of the
        ratings as given, with labels as ±1 and δ of the Huber loss times s; the squared loss
        without its ½, so it is the square of the RMSE.
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
    .. [9] Y. Koren, "Factorization meets the neighborhood: a multifaceted collaborative filtering
       model", KDD 2008.

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

    def __init__(
        self,
        n_factors: int = DEFAULTS["n_factors"],
        *,
        n_epochs: int | str | None = DEFAULTS["n_epochs"],
        learning_rate: float | str | None = DEFAULTS["learning_rate"],
        reg: float | tuple[float, float] | str | None = DEFAULTS["reg"],
        reg_bias: float | tuple[float, float] | str | None = DEFAULTS["reg_bias"],
        reg_row: float | tuple[float, float] | str | None = DEFAULTS["reg_row"],
        reg_bias_row: float | tuple[float, float] | str | None = DEFAULTS["reg_bias_row"],
        implicit_feedback: str = DEFAULTS["implicit_feedback"],
        reg_implicit: float | str | None = DEFAULTS["reg_implicit"],
        biases: bool = DEFAULTS["biases"],
        loss: str | CustomLoss = DEFAULTS["loss"],
        huber_delta: float = DEFAULTS["huber_delta"],
        l1_ratio: float = DEFAULTS["l1_ratio"],
        penalty: CustomPenalty | None = DEFAULTS["penalty"],
        nonnegative: bool = DEFAULTS["nonnegative"],
        optimizer: str = DEFAULTS["optimizer"],
        batch_size: int | None = DEFAULTS["batch_size"],
        momentum: float = DEFAULTS["momentum"],
        adagrad_per: str = DEFAULTS["adagrad_per"],
        beta_1: float = DEFAULTS["beta_1"],
        beta_2: float = DEFAULTS["beta_2"],
        epsilon: float = DEFAULTS["epsilon"],
        schedule: str = DEFAULTS["schedule"],
        warmup_epochs: int = DEFAULTS["warmup_epochs"],
        warmup_factors: int = DEFAULTS["warmup_factors"],
        parallel: str = DEFAULTS["parallel"],
        init: float | tuple[ArrayLike, ArrayLike] = DEFAULTS["init"],
        dtype: DTypeLike = DEFAULTS["dtype"],
        device: str = DEFAULTS["device"],
        device_memory: int | None = DEFAULTS["device_memory"],
        n_threads: int | None = DEFAULTS["n_threads"],
        random_state: int | np.random.RandomState | np.random.Generator | None = DEFAULTS[
            "random_state"
        ],
        early_stopping: bool | int = DEFAULTS["early_stopping"],
        validation_fraction: float | None = DEFAULTS["validation_fraction"],
        refit: bool = DEFAULTS["refit"],
        unknown: str = DEFAULTS["unknown"],
        normalize: bool = DEFAULTS["normalize"],
        warm_start: bool = DEFAULTS["warm_start"],
        verbose: int = DEFAULTS["verbose"],
        callbacks: Sequence[Callback | Callable[[EpochRecord], object]] = DEFAULTS["callbacks"],
    ) -> None:
        self.n_factors = n_factors
        self.n_epochs = n_epochs
        self.learning_rate = learning_rate
        self.reg = reg
        self.reg_bias = reg_bias
        self.reg_row = reg_row
        self.reg_bias_row = reg_bias_row
        self.implicit_feedback = implicit_feedback
        self.reg_implicit = reg_implicit
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
        self.validation_fraction = validation_fraction
        self.refit = refit
        self.unknown = unknown
        self.normalize = normalize
        self.warm_start = warm_start
        self.verbose = verbose
        self.callbacks = callbacks

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        validation: Any = None,
        implicit: Any = None,
        checkpoint: str | PathLike[str] | None = None,
        every: int = 1,
        resume: str | PathLike[str] | bool | None = None,
        scratch: Any = None,
        buffer: int | None = None,
    ) -> MatrixFactorization:
        """Factorize ratings.

        Nothing given is kept or changed: what is not copied at once is read until `fit` returns.

        Parameters
        ----------
        X : array-like of shape (n_ratings, 2), or anything `Ratings.from_any` takes
            With `y`: user ids and item ids. Without: `Ratings`, a scipy sparse matrix (zeros that
            it stores are ratings), a NumPy masked array (masked: missing), a float array (NaN:
            missing), or a pandas, polars or Arrow table. A pair that occurs twice counts twice.
            A float array of three or four columns that could be user, item, rating is refused: write
            ``Ratings.from_arrays`` or ``Ratings.from_dense``. So is a matrix whose rows, the users,
            scikit-learn's cross-validation has cut: `warpfactor.cross_validate` divides the ratings.
            A data set of Surprise or LensKit is taken too. Arrays may lie on a CUDA device (CuPy, DLPack
            or ``__cuda_array_interface__``): they are copied to the host once, where ids are numbered.
            A path, or a list of paths, is read as `read_ratings` does, or with `scratch` in parts. What
            `scan_ratings` returns, a `pyarrow.dataset.Dataset` and iterables of record batches or
            tables are always read in parts.
        y : array-like of shape (n_ratings,), default None
            The ratings.
        sample_weight : array-like of shape (n_ratings,), default None
            Weights >= 0 of the ratings: 2 acts as the rating given twice, 0 as if it were absent.
        validation : Ratings, (X, y), anything `X` can be, or a float; default None
            Ratings to evaluate after every epoch, for `history_` and early stopping. Pairs whose
            user or item has no training rating are left out: training cannot improve them. A number
            stands for `validation_fraction`.
        implicit : Ratings, array-like of shape (n, 2), or anything `predict` takes; default None
            Pairs without a rating that count for the prior means beside those of `X` (see
            `implicit_feedback`): clicks, or the pairs that a contest asks for. Pairs of a user or an
            item without a rating in `X` are left out.
        checkpoint : str, path-like or None, default None
            A file that keeps the state of the fit, replaced whole after each `every`-th epoch and the
            last one, from which a fit that was cut off goes on. Not a model: see :doc:`/how-to/checkpoints`.
        every : int, default 1
            After how many epochs `checkpoint` is written.
        resume : bool, str, path-like or None, default None
            True: go on from `checkpoint` if it is there, else begin. A path: go on from that file, with the
            ratings and parameters of before, to the bits of a fit without a break (not with "hogwild" or on
            CUDA). False: begin anew. None: begin, but replace no checkpoint of a fit that has not ended.
        scratch : str, path-like or True, default None
            A folder on a disk for the ratings, in place of memory; True: the system's. The same bits. On a
            CUDA device what does not fit is read in each epoch. None: as True where `X` is read in parts.
        buffer : int, default None
            With `scratch`, how many bytes of ratings may be in memory; None: 2**30. So much `seen_` is kept.

        Returns
        -------
        MatrixFactorization
            Itself. If fitting fails or is interrupted, what an earlier fit left is unchanged.

        Raises
        ------
        ValueError
            If the ratings, weights or parameters are not valid, or `resume` is of others; it says which.
        OSError
            If files cannot be read, or the disk of `scratch` has too little room.
        MemoryError
            If the fit, ids of ratings on a disk, or their model would not fit into memory.
        DivergedError
            If training diverges.
        CudaError
            If `device` asks for CUDA and it cannot be used (not built, no driver, driver too old,
            no device, out of memory), or arrays are on a device and CuPy is missing.
        """
        if (fitted := self.__sklearn_is_fitted__()) and self.device != "cpu":
            self.model_.free_device()  # the new factors may need the memory
        goes_on = check_flag("warm_start", self.warm_start) and fitted
        params = self.get_params(deep=False)
        if hasattr(self, "_skl_callbacks") or hasattr(self, "_parent_callback_ctx"):
            tasks = SklearnTasks(self, self._init_callback_context, {"X": X, "y": y})
            check_callbacks(params["callbacks"])
            params["callbacks"] = [*params["callbacks"], tasks]
        self.model_ = fit_model(
            params,
            X,
            y,
            sample_weight=sample_weight,
            validation=validation,
            implicit=implicit,
            start=self.model_ if goes_on else None,
            checkpoint=checkpoint,
            every=every,
            resume=resume,
            scratch=scratch,
            buffer=buffer,
        )
        return self

    def check_params(self) -> None:
        """Raise ValueError if a parameter is invalid, or two do not go together, whatever the ratings."""
        core_params(self.get_params(deep=False))
