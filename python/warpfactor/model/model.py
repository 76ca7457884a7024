"""The fitted model: what it predicts with and what is known of its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core
from ..checks import check_flag, check_number
from ..data.columns import check_weights
from ..data.matrices import check_matrix_shape, stands_for_matrix
from ..data.ratings import Ratings, pairs_to_codes
from ..parameters import DEFAULTS
from ..serving.answers import Answers
from ..serving.lookup import known_rows
from ..serving.tables import Options, SeenItems, Tables, parse_device
from .file import read, write
from .fitted import Fitted
from .folding import FoldIn
from .growing import Growing
from .looking import Looking
from .members import Members, Noise, fold
from .recommending import Recommending, check_output
from .record import TrainingRecord

if TYPE_CHECKING:
    from os import PathLike

__all__ = ["Model", "load"]


class Model(Growing, Looking, Recommending, Fitted):
    """A fitted factorization, which does not change: what `fit` makes and `load` returns.

    It predicts, recommends, finds similar items and saves itself, without scikit-learn. What was
    fitted is fixed: attributes cannot be set, and arrays are read-only. How it answers (`unknown`,
    `device`, `device_memory`, `n_threads`) is chosen by `set_params`. To train on, make an
    estimator of it: ``MatrixFactorization.from_model(model)``.

    Attributes
    ----------
    user_factors_, item_factors_ : ndarray of shape (n_users, k) and (n_items, k), float32 or float64
        P and Q. Rows without a training rating are zero, unless `init` gave them.
    user_biases_, item_biases_ : ndarray of shape (n_users,) and (n_items,)
        b_u and b_i; zeros without biases.
    global_mean_ : float
        μ of the score x = μ + b_u + b_i + p_u · q_i; 0 without biases.
    user_ids_, item_ids_ : ndarray of shape (n_users,) and (n_items,)
        The ids of the rows, sorted.
    user_known_, item_known_ : ndarray of bool of the same shapes
        Whether the row has training ratings. The others follow `unknown`.
    user_counts_, item_counts_ : ndarray of uint32 of the same shapes
        How many training ratings each row has.
    seen_ : (indptr, items), int64 and int32
        User number c rated the items number ``items[indptr[c]:indptr[c + 1]]``. None of a model that
        was fitted from disk with more ratings than its `buffer` holds.
    n_ratings_ : int
        How many ratings it was trained on.
    rating_mean_ : float
        Their (weighted) mean; 0 with a loss that predicts scores.
    rating_range_ : (float, float)
        The lowest and the highest of them; NaN in files that did not keep them.
    has_biases_, start_bias_ : bool, float
        Whether the score has μ, b_u and b_i; the bias that a row without training ratings has.
    loss_ : str
        The loss it was trained with; "custom" for a formula.
    link_ : {"identity", "probability", "signed_probability"}
        What a score x predicts: x, 1/(1 + exp(-x)), or 2/(1 + exp(-x)) - 1.
    origin_ : dict
        When, how and how well it was trained, so far as known: estimator, at (UTC), seconds, test_rmse
        and n_test (what `warpfactor train --test-size` found, or `with_test_error` was told).
    chosen_, history_, n_epochs_, n_threads_, instruction_set_
        As of `MatrixFactorization`.
    n_members_ : int
        How many models or samples its score is the mean of: 1, or what `Ensemble` was told. The
        factors are those of the members side by side, each times the root of its weight.
    member_weights_ : ndarray of shape (n_members,), float64
        The members' shares in the mean; ``member_scores(X)`` returns what each scores.
    noise_variance_ : float or None
        The variance of ratings about the mean that the members estimate, in units of the ratings
        squared, of a user and an item like all others; None where it was not estimated.

    Examples
    --------
    >>> import warpfactor as wf
    >>> ratings = wf.datasets.make_ratings(50, 40, 600, random_state=0).ratings
    >>> model = wf.MatrixFactorization(n_factors=4, random_state=0, verbose=0).fit(ratings).model_
    >>> model
    Model(50 users, 40 items, 4 factors, squared loss)
    """

    def __init__(
        self,
        tables: Tables,
        record: TrainingRecord,
        options: Options | None = None,
        members: Members | None = None,
    ) -> None:
        n_members = 1 if members is None else len(members.weights)
        answers = Answers(tables, record.evidence._replace(n_members=n_members))
        fold_in = FoldIn(tables, record, members, answers)
        self._set(tables, record, options or Options(), members, answers, fold_in)

    def _set(
        self,
        tables: Tables,
        record: TrainingRecord,
        options: Options,
        members: Members | None,
        answers: Answers,
        fold_in: FoldIn,
    ) -> None:
        values = {
            "_tables": tables,
            "_record": record,
            "_options": options,
            "_members": members,
            "_answers": answers,
            "_fold_in": fold_in,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a Model does not change, so {name} cannot be set: use set_params for how it answers"
        )

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Model does not change, so {name} cannot be deleted")

    def __repr__(self) -> str:
        users, items = len(self.user_ids_), len(self.item_ids_)
        k = self.user_factors_.shape[1]
        members = "" if self.n_members_ == 1 else f"{self.n_members_} members, "
        return f"Model({users:,} users, {items:,} items, {members}{k} factors, {self.loss_} loss)"

    def __getstate__(self) -> dict[str, Any]:
        names = ("tables", "record", "options", "members")
        return {name: getattr(self, f"_{name}") for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What lies on a device stays out of a pickle, and so does what can be derived.
        self.__init__(**state)  # type: ignore[misc]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters that it was trained with, and how it answers now."""
        own = self._record.params
        # Another estimator's are all stored: those of MatrixFactorization would only be beside them.
        defaults = {} if set(own) - set(DEFAULTS) else DEFAULTS
        return {**defaults, **own, **self._options._asdict()}

    def __getattr__(self, name: str) -> Any:
        """Return a parameter, as an attribute of an estimator is."""
        params = {} if name.startswith("_") else self.get_params()
        if name not in params:
            raise AttributeError(f"a Model has no attribute {name!r}")
        return params[name]

    def set_params(self, **options: Any) -> Self:
        """Choose how this model answers.

        Parameters
        ----------
        unknown, device, device_memory, n_threads
            As of `MatrixFactorization`.

        Returns
        -------
        Model
            Itself.

        Raises
        ------
        ValueError
            If an option is another, or its value is invalid.
        """
        object.__setattr__(self, "_options", self._changed(options))
        return self

    def with_options(self, **options: Any) -> Model:
        """Return the same fitted model, arrays shared, that answers in another way.

        Parameters and errors are those of `set_params`.
        """
        changed = self._changed(options)
        other = Model.__new__(Model)
        other._set(self._tables, self._record, changed, self._members, self._answers, self._fold_in)
        return other

    def _changed(self, options: Mapping[str, Any]) -> Options:
        for name in options:
            if name not in Options._fields:
                raise ValueError(
                    f"{name} is no option of a fitted model, which takes "
                    f"{', '.join(Options._fields)}: to train with other parameters, use "
                    "MatrixFactorization.from_model(model).set_params(...).fit(...)"
                )
        return self._options._replace(**options).checked()

    def _served(self) -> tuple[Answers, Options]:
        return self._answers, self._options

    # For scikit-learn's functions that take fitted estimators: scorers, permutation_importance, ...

    def fit(self, *given: Any, **named: Any) -> Any:
        """Raise TypeError: a model does not change.

        ``MatrixFactorization.from_model(model).fit(...)`` trains anew with the same parameters.
        """
        raise TypeError(
            "a Model does not change, so it cannot be fitted: use "
            "MatrixFactorization.from_model(model).fit(...)"
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Any:
        raise TypeError(
            "a Model is fitted and cannot be cloned: clone MatrixFactorization.from_model(model)"
        )

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=False),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(sparse=True, string=True, allow_nan=True),
        )

    @overload
    def predict(
        self, X: Any, *, return_std: Literal[False] = False, output: str = "numpy"
    ) -> NDArray[Any]: ...
    @overload
    def predict(
        self, X: Any, *, return_std: Literal[True], output: str = "numpy"
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...
    @overload
    def predict(self, X: Any, *, return_std: bool, output: str = "numpy") -> Any: ...
    def predict(self, X: Any, *, return_std: bool = False, output: str = "numpy") -> Any:
        """Predict the rating of each (user, item) pair.

        Parameters
        ----------
        X : array-like of shape (n_pairs, 2), Ratings, table or matrix
            User ids and item ids; of a matrix, the entries that are there. Rows and columns of a
            matrix are the ids 0, 1, ..., so it has a row for each up to the last user, and a column
            for each up to the last item, as the matrix has that was fitted. Integers that lie on a CUDA device (CuPy, DLPack or
            ``__cuda_array_interface__``, of any strides) are looked up there.
        return_std : bool, default False
            Whether to return the standard deviation of each rating about its prediction as well.
            The model must have learnt it, as those of `Ensemble` do. It is computed on the CPU.
        output : {"numpy", "cupy"}, default "numpy"
            What to return; "cupy" needs a CUDA `device`, on which the result stays.

        Returns
        -------
        predicted : ndarray of shape (n_pairs,), dtype of the factors
            r̂ of each pair, in the units of the ratings; not clipped to their range. For ratings
            that are labels see `loss` of `MatrixFactorization`. Of several members, what `link_`
            makes of the mean of their scores.
        std : ndarray of the same shape and dtype
            With `return_std`: the root of the noise and the members' spread together. A user or
            item without training ratings counts as one drawn from the others.

        Raises
        ------
        ValueError
            If ids are of another kind than in training, or, with ``unknown="raise"``, have no
            training rating; if a matrix has another shape; if `output` is "cupy" and `device` the
            CPU; or if the model has no standard deviations.
        CudaError
            If `device` asks for a CUDA device that cannot be used; the text says why.
        """
        if not check_flag("return_std", return_std):
            return self._answers.predict(X, self._options, check_output(output))
        self._require_noise("return_std=True")
        X = _kept(X)
        predicted = self._answers.predict(X, self._options, check_output(output))
        return predicted, self._answers.like(predicted, self._deviation(X))

    def predict_interval(self, X: Any, coverage: float = 0.9) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return bounds between which the rating of each pair lies, in such a share of cases.

        Parameters
        ----------
        X
            As of `predict`.
        coverage : float, default 0.9
            The share of ratings, above 0 and below 1, that shall lie within their bounds.

        Returns
        -------
        lower, upper : ndarray of shape (n_pairs,), dtype of the factors
            The prediction less and plus a multiple of its standard deviation; not clipped to the
            range of the ratings. The multiple is the one that holds that share of the ratings on
            which the model was calibrated, or that of the normal distribution if it was not.

        Raises
        ------
        ValueError
            As `predict` with `return_std`, and if `coverage` is out of range.
        """
        share = check_number("coverage", coverage)
        if not 0 < share < 1:
            raise ValueError(f"coverage is {coverage!r:.80}; it must be above 0 and below 1")
        noise = self._require_noise("predict_interval")
        predicted, std = self.predict(X, return_std=True)
        width = std * std.dtype.type(noise.half_width(share))
        return predicted - width, predicted + width

    def _require_noise(self, wanted_by: str) -> Noise:
        noise = None if self._members is None else self._members.noise
        if noise is None:
            raise ValueError(
                f"{wanted_by} needs a model that knows how far ratings lie from its predictions, "
                "and a single fit does not: fit warpfactor.Ensemble(MatrixFactorization(...)), of "
                "a loss without labels, with intervals=True"
            )
        return noise

    def _deviation(self, X: Any) -> NDArray[np.float64]:
        """Return the standard deviation of each pair; NaN where the prediction is."""
        tables, members = self._tables, self._members
        assert members is not None
        users, items = pairs_to_codes(X, tables.user_ids, tables.item_ids)
        users = known_rows(np, users, tables.user_known)
        items = known_rows(np, items, tables.item_known)
        counts = self.user_counts_, self.item_counts_
        deviation = members.deviation(tables, users, items, counts)
        if self._options.unknown == "nan":
            deviation[(users < 0) | (items < 0)] = np.nan
        return deviation

    def score(
        self, X: Any, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return R², the share of the ratings' variance that the predictions explain.

        Parameters
        ----------
        X, y
            As in `MatrixFactorization.fit`.
        sample_weight : array-like of shape (n_ratings,), default None
            Weights of the ratings, >= 0.

        Returns
        -------
        float
            1 - Σw(r - r̂)² / Σw(r - r̄)², NaN for a single rating; for an error in rating units see
            `warpfactor.metrics`.

        Raises
        ------
        ValueError
            As `predict`, if weights are not valid, and if a prediction is NaN (``unknown="nan"``).
        """
        ratings = Ratings.from_any(X, y)
        if y is None and stands_for_matrix(X):
            check_matrix_shape(X.shape, self.user_ids_, self.item_ids_, "X")
        weights = None if sample_weight is None else check_weights(sample_weight, len(ratings))
        predicted = np.asarray(self.predict(ratings), np.float64)
        if np.isnan(predicted).any():
            raise ValueError(
                "score needs a prediction for each rating, and some are NaN, for users or items "
                "without training ratings: use unknown='mean', or leave them out"
            )
        if len(ratings) < 2:
            return float("nan")
        true = ratings.values.astype(np.float64)
        unexplained = np.average((true - predicted) ** 2, weights=weights)
        variance = np.average((true - np.average(true, weights=weights)) ** 2, weights=weights)
        if variance == 0:
            return 1.0 if unexplained == 0 else 0.0
        return float(1 - unexplained / variance)

    def with_seen(self, ratings: Ratings) -> Model:
        """Return the same fitted model, which leaves these pairs out of recommendations too.

        Parameters
        ----------
        ratings : Ratings
            Pairs that users know already, such as held-out ratings. Those with a user or an item
            that the model does not have are passed over.
        """
        seen = self._tables.seen.extended(*self._tables.codes_of(ratings))
        tables = replace(self._tables, seen=seen)
        return Model(tables, self._record, self._options, self._members)

    def by_codes(self, seen: tuple[NDArray[np.int64], NDArray[np.int32]]) -> Model:
        """Return the same fitted model with the numbers of its rows as ids, for evaluation.

        Parameters
        ----------
        seen : (indptr, items)
            What its recommendations leave out, in the place of `seen_`.
        """
        n_users, n_items = len(self.user_ids_), len(self.item_ids_)
        tables = replace(
            self._tables,
            user_ids=np.arange(n_users),
            item_ids=np.arange(n_items),
            seen=SeenItems(n_users, lists=seen),
        )
        return Model(tables, self._record, self._options, self._members)

    def with_noise(self, noise: Noise | None) -> Model:
        """Return the same fitted model with other standard deviations; see `model.members.Noise`."""
        members = fold([self.as_member()]).members if self._members is None else self._members
        return Model(self._tables, self._record, self._options, members.with_noise(noise))

    def is_known(self, ratings: Ratings) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return which pairs have a user, and which an item, with training ratings."""
        return self._tables.known_pairs(ratings)

    def free_device(self) -> None:
        """Let go of the copies of the arrays that predictions have left on a CUDA device."""
        self._answers.copies = None

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model to one safetensors file, without pickle.

        The file is written under a temporary name and renamed: a crash leaves the old file whole. A
        new file gets its mode by the umask, an old one keeps its own, and symbolic links are followed.

        Parameters
        ----------
        path : str or path-like
            The file; `warpfactor.load` reads it, and so does C++. `callbacks`, a `random_state`
            that is no int, and initial factors given as arrays are not stored.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        write(path, self._tables, self._record, self._options, self._members)

    @staticmethod
    def load(path: str | PathLike[str], device: str | None = None) -> Model:
        """Read a model that `save` wrote; see `warpfactor.load`."""
        return load(path, device)


def load(path: str | PathLike[str], device: str | None = None) -> Model:
    """Read a model that `Model.save` or `MatrixFactorization.save` wrote, or C++'s `save`.

    Parameters
    ----------
    path : str or path-like
        The file.
    device : {"cpu", "cuda", "cuda:<n>", "auto"} or None, default None
        The model's `device` from now on. None: as it was saved, but "cpu" if that was a CUDA device
        and this machine, or this build of warpfactor, cannot use CUDA. The predictions are the same
        within rounding.

    Returns
    -------
    Model
        The fitted model. It needs no scikit-learn; ``MatrixFactorization.from_model`` makes the
        fitted estimator of it.

    Raises
    ------
    ValueError
        If `device` is another.
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If the file is damaged, no warpfactor model, or of a later format; the text says which.
    """
    if device is not None:
        parse_device(device)
    tables, record, options, members = read(path)
    saved_for_cuda, _ = parse_device(options.device)
    if device is None and saved_for_cuda and not _core.cuda_status()[1]:
        device = "cpu"
    if device is not None:
        options = options._replace(device=device)
    return Model(tables, record, options, members)


def _kept(X: Any) -> Any:
    """Return pairs that can be read twice: an iterator and a stream are used up by the first time."""
    if hasattr(X, "__next__"):
        return X.read_all() if hasattr(X, "read_all") else list(X)
    return X
