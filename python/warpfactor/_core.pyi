from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, TypeAlias, TypedDict, overload, type_check_only

import numpy as np
from numpy.typing import NDArray

from .model.record import EpochRecord

__version__: str

@type_check_only
class _TrainResult(TypedDict):
    user_factors: NDArray[Any]
    item_factors: NDArray[Any]
    user_biases: NDArray[Any]
    item_biases: NDArray[Any]
    global_mean: float
    rating_mean: float
    user_counts: NDArray[np.uint32]
    item_counts: NDArray[np.uint32]
    start_bias: float
    link: str
    loss: str
    n_ratings: int
    rating_min: float
    rating_max: float
    score_scale: float
    history: list[EpochRecord]
    best_epoch: int
    n_threads: int
    instruction_set: str

@type_check_only
class _FitResult(_TrainResult):
    chosen: TrainParams
    learning_rates: list[float]

@type_check_only
class _SampleResult(_TrainResult):
    n_kept: int
    user_bias_offsets: NDArray[Any]
    item_bias_offsets: NDArray[Any]
    noise_variance: float
    user_noise: NDArray[Any] | None
    item_noise: NDArray[Any] | None

class TrainParams:
    """Parameters by name; see `parameters` for their names, types and ranges."""

    def __init__(self) -> None: ...
    def __getitem__(self, name: str) -> Any: ...
    def __setitem__(self, name: str, value: object) -> None: ...

@type_check_only
class _Parameter(TypedDict):
    name: str
    kind: str  # int, float, flag, choice or pair
    default: Any
    optional: bool
    low: Any  # int or float, or None for no limit
    high: Any
    low_open: bool
    high_open: bool
    choices: list[str]
    allowed: str
    help: str

@type_check_only
class _Loss(TypedDict):
    name: str
    labels: bool
    nonnegative: bool
    link: str

@overload
def check_params(params: TrainParams, custom_penalty: bool) -> None: ...
@overload
def check_params(params: SampleParams) -> None: ...
def parameters() -> list[_Parameter]: ...
def losses() -> list[_Loss]: ...
def pass_kind(params: TrainParams, penalty: bool) -> str: ...
def usual_epochs(n_ratings: int) -> int: ...
def most_epochs(params: TrainParams, n_ratings: int, validating: bool) -> int: ...

class RatingArrays:
    def __init__(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        values: NDArray[np.float32],
        weights: NDArray[np.float32] | None = None,
    ) -> None: ...

def checkpoint_facts(path: str | PathLike[str]) -> dict[str, Any]: ...
def train_float32(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: TrainParams,
    validation: RatingArrays | None = None,
    user_factors: NDArray[np.float32] | None = None,
    item_factors: NDArray[np.float32] | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    loss: int = 0,
    penalty: int = 0,
    device_kernels: Mapping[str, int] = {},
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    user_biases: NDArray[np.float32] | None = None,
    item_biases: NDArray[np.float32] | None = None,
    global_mean: float = 0.0,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    learning_rates: Sequence[float] = (),
    checkpoints: Mapping[str, Any] | None = None,
) -> _FitResult: ...
def train_float64(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: TrainParams,
    validation: RatingArrays | None = None,
    user_factors: NDArray[np.float64] | None = None,
    item_factors: NDArray[np.float64] | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    loss: int = 0,
    penalty: int = 0,
    device_kernels: Mapping[str, int] = {},
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    user_biases: NDArray[np.float64] | None = None,
    item_biases: NDArray[np.float64] | None = None,
    global_mean: float = 0.0,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    learning_rates: Sequence[float] = (),
    checkpoints: Mapping[str, Any] | None = None,
) -> _FitResult: ...

_Chunk: TypeAlias = tuple[
    NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float32] | None
]  # users, items, values, weights

def train_chunks_float32(
    chunks: Callable[[], Iterator[_Chunk]],
    n_users: int,
    n_items: int,
    n_ratings: int,
    scratch: str,
    buffer_bytes: int,
    freed_bytes: int,
    params: TrainParams,
    validation: RatingArrays | None = None,
    user_factors: NDArray[np.float32] | None = None,
    item_factors: NDArray[np.float32] | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    loss: int = 0,
    penalty: int = 0,
    device_kernels: Mapping[str, int] = {},
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    user_biases: NDArray[np.float32] | None = None,
    item_biases: NDArray[np.float32] | None = None,
    global_mean: float = 0.0,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    learning_rates: Sequence[float] = (),
    checkpoints: Mapping[str, Any] | None = None,
) -> _FitResult: ...
def train_chunks_float64(
    chunks: Callable[[], Iterator[_Chunk]],
    n_users: int,
    n_items: int,
    n_ratings: int,
    scratch: str,
    buffer_bytes: int,
    freed_bytes: int,
    params: TrainParams,
    validation: RatingArrays | None = None,
    user_factors: NDArray[np.float64] | None = None,
    item_factors: NDArray[np.float64] | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    loss: int = 0,
    penalty: int = 0,
    device_kernels: Mapping[str, int] = {},
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    user_biases: NDArray[np.float64] | None = None,
    item_biases: NDArray[np.float64] | None = None,
    global_mean: float = 0.0,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    learning_rates: Sequence[float] = (),
    checkpoints: Mapping[str, Any] | None = None,
) -> _FitResult: ...
def check_scratch(buffer_bytes: int, params: TrainParams) -> None: ...
def scratch_bytes(n_ratings: int, weighted: bool, params: TrainParams) -> int: ...

class SampleParams:
    def __init__(self) -> None: ...
    n_factors: int
    n_burn_in: int
    n_samples: int
    n_kept: int
    noise: str
    implicit_feedback: str
    n_threads: int
    seed: int

noise_kinds: list[str]
implicit_feedback_kinds: list[str]
most_kept_factors: int

def found_strengths_float32(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: TrainParams,
    n_divisions: int,
    loss: int = 0,
    penalty: int = 0,
) -> TrainParams: ...
def found_strengths_float64(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: TrainParams,
    n_divisions: int,
    loss: int = 0,
    penalty: int = 0,
) -> TrainParams: ...
def sample_float32(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: SampleParams,
    validation: RatingArrays | None = None,
    on_sweep: Callable[[EpochRecord], bool] | None = None,
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> _SampleResult: ...
def sample_float64(
    ratings: RatingArrays,
    n_users: int,
    n_items: int,
    params: SampleParams,
    validation: RatingArrays | None = None,
    on_sweep: Callable[[EpochRecord], bool] | None = None,
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> _SampleResult: ...

class BlockPlan:
    """What the trainer has decided, for those who train. It can be pickled."""

    @property
    def n_factors(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def user_means(self) -> bool: ...
    @property
    def item_means(self) -> bool: ...
    def __getstate__(self) -> bytes: ...
    def __setstate__(self, state: bytes) -> None: ...

_Moments: TypeAlias = tuple[int, float, float, float, float, float]

def moments_of(
    ratings: RatingArrays, n_users: int, n_items: int
) -> tuple[_Moments, NDArray[np.uint32], NDArray[np.uint32]]: ...
def joined_moments(parts: Sequence[_Moments]) -> _Moments: ...
def cut_sides(
    user_counts: NDArray[np.uint32],
    item_counts: NDArray[np.uint32],
    n_ratings: int,
    params: TrainParams,
    n_blocks: int,
    number_bytes: int,
) -> dict[str, Any]: ...
def block_order(n_blocks: int, seed: int, epoch: int) -> tuple[list[int], list[int], int, int]: ...
def sampled_users(users: NDArray[np.int32], counted: int, seed: int) -> NDArray[np.bool_]: ...

class UserBlock_float32:
    def __init__(
        self,
        ratings: RatingArrays,
        n_users: int,
        n_items: int,
        plan: BlockPlan,
        number: int,
        cut: dict[str, Any],
        n_threads: int,
        pairs: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
        loss: int = 0,
        penalty: int = 0,
    ) -> None: ...
    def rows(self) -> NDArray[np.float32]: ...
    def set_rows(self, rows: NDArray[np.float32]) -> None: ...
    def run(
        self,
        item_block: int,
        items: NDArray[np.float32],
        epoch: int,
        learning_rate: float,
        active_factors: int,
    ) -> tuple[float, float]: ...
    def take_validation(self, validation: RatingArrays) -> None: ...
    def evaluate(self, item_block: int, items: NDArray[np.float32]) -> tuple[float, float]: ...
    def item_counts(self) -> NDArray[np.int64]: ...
    def item_diagonal(self) -> NDArray[np.float64]: ...
    def begin_means(self, item_scales: NDArray[np.float64]) -> None: ...
    def means(self) -> NDArray[np.float32]: ...
    def set_means(self, means: NDArray[np.float32]) -> None: ...
    def add_to_items(
        self, item_block: int, item_work: NDArray[np.float32], active_factors: int
    ) -> None: ...
    def sum_items(self, item_work: Sequence[NDArray[np.float32]], active_factors: int) -> None: ...
    def step_means(
        self, part: str, active_factors: int, along: NDArray[np.float32]
    ) -> list[float]: ...

def step_item_means_float32(
    part: str,
    plan: BlockPlan,
    n_rows: int,
    active_factors: int,
    rows: NDArray[np.float32],
    means: NDArray[np.float32],
    along: NDArray[np.float32],
    n_threads: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[float]]: ...
def least_along_float32(sums: Sequence[float]) -> NDArray[np.float32]: ...
def packed_rows_float32(
    plan: BlockPlan,
    of_users: bool,
    factors: NDArray[np.float32],
    biases: NDArray[np.float32],
    weights: NDArray[np.float64],
) -> NDArray[np.float32]: ...
def packed_means_float32(
    plan: BlockPlan, scales: NDArray[np.float64], diagonal: NDArray[np.float64]
) -> NDArray[np.float32]: ...
def empty_work_float32(plan: BlockPlan, n_rows: int) -> NDArray[np.float32]: ...
def unpacked_rows_float32(
    plan: BlockPlan, rows: NDArray[np.float32], n_rows: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...
def train_elsewhere_float32(
    sample: RatingArrays,
    user_counts: NDArray[np.uint32],
    item_counts: NDArray[np.uint32],
    moments: _Moments,
    params: TrainParams,
    backend: object,
    validation: RatingArrays | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    checkpoints: dict[str, Any] | None = None,
    loss: int = 0,
    penalty: int = 0,
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> _FitResult: ...

class UserBlock_float64:
    def __init__(
        self,
        ratings: RatingArrays,
        n_users: int,
        n_items: int,
        plan: BlockPlan,
        number: int,
        cut: dict[str, Any],
        n_threads: int,
        pairs: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
        loss: int = 0,
        penalty: int = 0,
    ) -> None: ...
    def rows(self) -> NDArray[np.float64]: ...
    def set_rows(self, rows: NDArray[np.float64]) -> None: ...
    def run(
        self,
        item_block: int,
        items: NDArray[np.float64],
        epoch: int,
        learning_rate: float,
        active_factors: int,
    ) -> tuple[float, float]: ...
    def take_validation(self, validation: RatingArrays) -> None: ...
    def evaluate(self, item_block: int, items: NDArray[np.float64]) -> tuple[float, float]: ...
    def item_counts(self) -> NDArray[np.int64]: ...
    def item_diagonal(self) -> NDArray[np.float64]: ...
    def begin_means(self, item_scales: NDArray[np.float64]) -> None: ...
    def means(self) -> NDArray[np.float64]: ...
    def set_means(self, means: NDArray[np.float64]) -> None: ...
    def add_to_items(
        self, item_block: int, item_work: NDArray[np.float64], active_factors: int
    ) -> None: ...
    def sum_items(self, item_work: Sequence[NDArray[np.float64]], active_factors: int) -> None: ...
    def step_means(
        self, part: str, active_factors: int, along: NDArray[np.float64]
    ) -> list[float]: ...

def step_item_means_float64(
    part: str,
    plan: BlockPlan,
    n_rows: int,
    active_factors: int,
    rows: NDArray[np.float64],
    means: NDArray[np.float64],
    along: NDArray[np.float64],
    n_threads: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]: ...
def least_along_float64(sums: Sequence[float]) -> NDArray[np.float64]: ...
def packed_rows_float64(
    plan: BlockPlan,
    of_users: bool,
    factors: NDArray[np.float64],
    biases: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]: ...
def packed_means_float64(
    plan: BlockPlan, scales: NDArray[np.float64], diagonal: NDArray[np.float64]
) -> NDArray[np.float64]: ...
def empty_work_float64(plan: BlockPlan, n_rows: int) -> NDArray[np.float64]: ...
def unpacked_rows_float64(
    plan: BlockPlan, rows: NDArray[np.float64], n_rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...
def train_elsewhere_float64(
    sample: RatingArrays,
    user_counts: NDArray[np.uint32],
    item_counts: NDArray[np.uint32],
    moments: _Moments,
    params: TrainParams,
    backend: object,
    validation: RatingArrays | None = None,
    on_epoch: Callable[[EpochRecord], bool] | None = None,
    on_snapshot: Callable[[EpochRecord, Callable[[], _FitResult]], object] | None = None,
    checkpoints: dict[str, Any] | None = None,
    loss: int = 0,
    penalty: int = 0,
    implicit: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> _FitResult: ...
def epoch_batches(ratings: RatingArrays, params: TrainParams, epoch: int) -> list[list[int]]: ...
def loss_terms(
    loss: str,
    ratings: NDArray[np.float64],
    scores: NDArray[np.float64],
    huber_delta: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

_Lists: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int32]]

class ModelView:
    def __init__(
        self,
        user_factors: NDArray[Any],
        item_factors: NDArray[Any],
        user_biases: NDArray[Any] | None,
        item_biases: NDArray[Any] | None,
        user_known: NDArray[np.bool_] | None,
        item_known: NDArray[np.bool_] | None,
        *,
        global_mean: float,
        rating_mean: float,
        start_bias: float,
        biases: bool,
        link: str,
        uncertainty: tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None = None,
    ) -> None: ...
    def predict(
        self, users: NDArray[np.int32], items: NDArray[np.int32], n_threads: int = 0
    ) -> NDArray[Any]: ...
    def recommend(
        self,
        users: NDArray[np.int32],
        n: int,
        seen: _Lists | None = None,
        n_threads: int = 0,
        *,
        confidence: float = 0.0,
        exploration: float = 0.0,
        seed: int | None = None,
        diversity: float = 0.0,
        allowed: NDArray[np.bool_] | None = None,
        only: _Lists | None = None,
        without: _Lists | None = None,
        groups: NDArray[np.int64] | None = None,
        group: str = "mean",
    ) -> tuple[NDArray[np.int32], NDArray[Any]]: ...
    def score_items(
        self, users: NDArray[np.int32], items: NDArray[np.int32], n_threads: int = 0
    ) -> NDArray[Any]: ...
    def similar_items(
        self, items: NDArray[np.int32], n: int, n_threads: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[Any]]: ...

def uncertainty(
    user_factors: NDArray[Any],
    item_factors: NDArray[Any],
    item_biases: NDArray[Any],
    user_counts: NDArray[np.uint32],
    item_counts: NDArray[np.uint32],
    *,
    start_bias: float,
    biases: bool,
    link: str,
    train_rmse: float,
    n_members: int = 1,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], float]: ...

class FoldInStrengths:
    least: ClassVar[float]
    @property
    def reg(self) -> float: ...
    @property
    def reg_bias(self) -> float: ...
    @property
    def reg_row(self) -> float: ...
    @property
    def reg_bias_row(self) -> float: ...
    @property
    def reg_implicit(self) -> float: ...
    @property
    def score_scale(self) -> float: ...

def fold_in_strengths(
    params: str, chosen: str, loss: str, score_scale: float, has_members: bool, users: bool
) -> FoldInStrengths: ...
def prior_coefficients(
    rows: tuple[NDArray[Any], NDArray[Any]],
    n_others: int,
    indptr: NDArray[np.int64],
    others: NDArray[np.int32],
    reg_implicit: float,
    biases: bool,
    n_threads: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]: ...
def fold_in(
    others: tuple[NDArray[Any], NDArray[Any]],
    ratings: RatingArrays,
    n_rows: int,
    strengths: FoldInStrengths,
    global_mean: float,
    biases: bool,
    coefficients: tuple[NDArray[Any], NDArray[Any]] | None = None,
    earlier: tuple[NDArray[Any], NDArray[Any]] | None = None,
    earlier_counts: NDArray[np.uint32] | None = None,
    earlier_indptr: NDArray[np.int64] | None = None,
    earlier_others: NDArray[np.int32] | None = None,
    n_threads: int = 0,
) -> tuple[NDArray[Any], NDArray[Any]]: ...

class TextEncoder:
    """Takes any object with Python's buffer interface, such as Arrow's buffers."""

    def __init__(
        self,
        *,
        integers: bool = True,
        strip: bool = False,
        empty_is_missing: bool = True,
        streaming: bool = False,
        n_threads: int = 0,
    ) -> None: ...
    @property
    def streams(self) -> bool: ...
    @property
    def are_integers(self) -> bool: ...
    @property
    def n_ids(self) -> int: ...
    @property
    def n_bytes(self) -> int: ...
    @property
    def n_missing(self) -> int: ...
    @property
    def first_missing(self) -> int: ...
    def reserve(self, n_rows: int) -> None: ...
    def add(
        self, validity: Any, offsets: Any, text: Any, first: int, n_rows: int, wide: bool
    ) -> None: ...
    def add_integers(self, values: NDArray[np.int64]) -> None: ...
    def take_codes(self) -> NDArray[np.int32]: ...
    def finish(self) -> tuple[NDArray[np.int32], NDArray[np.int64] | list[str]]: ...

def encode_integers(
    values: NDArray[np.int32] | NDArray[np.int64], n_threads: int = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64]]: ...
def encode_columns(
    first: NDArray[np.int32] | NDArray[np.int64],
    second: NDArray[np.int32] | NDArray[np.int64],
    n_threads: int = 0,
) -> tuple[
    tuple[NDArray[np.int32], NDArray[np.int64]], tuple[NDArray[np.int32], NDArray[np.int64]]
]: ...
def to_floats(
    values: NDArray[np.float32] | NDArray[np.float64], n_threads: int = 0
) -> tuple[NDArray[np.float32], int]: ...
def descend(
    rows: NDArray[np.int32],
    columns: NDArray[np.int32],
    values: NDArray[Any],
    P: NDArray[Any],
    Q_transposed: NDArray[Any],
    n_steps: int,
    alpha: float,
    beta: float,
    n_threads: int = 0,
) -> None: ...
def group_by_user(
    users: NDArray[np.int32], items: NDArray[np.int32], n_users: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]: ...

RANKING_METRICS: tuple[str, ...]

def ranking_metrics(
    lists: NDArray[np.int32],
    indptr: NDArray[np.int64],
    items: NDArray[np.int32],
    gains: NDArray[np.float64],
    cutoffs: NDArray[np.int32],
    n_threads: int = 0,
) -> NDArray[np.float64]: ...
def ranked_lists(scores: NDArray[Any], length: int, n_threads: int = 0) -> NDArray[np.int32]: ...
def ranking_auc(
    scores: NDArray[Any],
    excluded_indptr: NDArray[np.int64] | None,
    excluded_items: NDArray[np.int32] | None,
    indptr: NDArray[np.int64],
    items: NDArray[np.int32],
    n_threads: int = 0,
) -> NDArray[np.float64]: ...

class RatingCounts:
    def __init__(
        self,
        n_ratings: int,
        n_users: int,
        n_items: int,
        weighted: bool = False,
        n_validation: int = 0,
        n_implicit: int = 0,
        initial: bool = False,
        custom_penalty: bool = False,
        user_counts: NDArray[np.uint32] | None = None,
        item_counts: NDArray[np.uint32] | None = None,
        buffer: int = 0,
    ) -> None: ...

def kept_samples(params: SampleParams) -> int: ...
def fit_memory(
    counts: RatingCounts, params: TrainParams | SampleParams, is_double: bool
) -> tuple[list[tuple[str, list[tuple[str, int]]]], list[tuple[str, int]], int]: ...
def smaller_fits(
    counts: RatingCounts,
    params: TrainParams | SampleParams,
    is_double: bool,
    bytes: int,
    freed: int = 0,
) -> list[tuple[str, int]]: ...
def available_memory() -> tuple[int, str]: ...
def bytes_text(bytes: int) -> str: ...
def available_threads() -> int: ...
def instruction_set() -> str: ...
def training_instruction_set(n_factors: int, in_double: bool = False) -> str: ...
def instruction_set_reason() -> str: ...
def usable_instruction_sets() -> list[str]: ...
def built_instruction_sets() -> list[str]: ...
def cuda_status() -> tuple[bool, bool, str]: ...
def cuda_is_twin() -> bool: ...

cuda_source: str
most_selected: int

def best_items(
    scores: int,
    n_rows: int,
    n_columns: int,
    row_stride: int,
    n: int,
    items_out: int,
    scores_out: int,
    is_double: bool,
    stream: int,
) -> None: ...

class ScoreShape:
    def __init__(
        self, *, mean: float, start_bias: float, rating_mean: float, link: str, biases: bool
    ) -> None: ...

def find_codes(
    *,
    ids: int,
    type: str,
    stride: int,
    n: int,
    vocabulary: int,
    is_unsigned: bool,
    first: int,
    n_ids: int,
    known: int,
    codes: int,
    missing: int,
    stream: int,
) -> None: ...
def predict_pairs(
    *,
    is_double: bool,
    user_factors: int,
    item_factors: int,
    user_biases: int,
    item_biases: int,
    n_factors: int,
    users: int,
    items: int,
    n: int,
    n_columns: int,
    shape: ScoreShape,
    nan_if_unknown: bool,
    predicted: int,
    stream: int,
) -> None: ...
def unit_rows(
    *, is_double: bool, rows: int, n: int, n_factors: int, unit: int, stream: int
) -> None: ...
def search_items(
    *,
    is_double: bool,
    user_factors: int,
    item_factors: int,
    item_biases: int,
    n_factors: int,
    n_items: int,
    queries: int,
    n_queries: int,
    seen: tuple[int, int],
    without: tuple[int, int],
    only: tuple[int, int],
    not_itself: bool,
    times: float,
    bias_variances: int,
    factor_variances: int,
    user_lengths: int,
    n_users: int,
    first_draw: int | None,
    n: int,
    n_splits: int,
    best: int,
    found: int,
    stream: int,
) -> None: ...
def finish_lists(
    *,
    is_double: bool,
    queries: int,
    n_queries: int,
    n: int,
    n_splits: int,
    best: int,
    found: int,
    user_biases: int,
    lengths: int,
    shape: ScoreShape,
    has_ids: bool,
    ids: int,
    first_id: int,
    empty_id: int,
    names_out: int,
    scores_out: int,
    stream: int,
) -> None: ...
