import enum
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, type_check_only

import numpy as np
from numpy.typing import NDArray

from .training.progress import EpochRecord

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
    link: Link
    history: list[EpochRecord]
    best_epoch: int
    n_threads: int
    instruction_set: str

class Loss(enum.Enum):
    squared = 0
    absolute = 1
    huber = 2
    logistic = 3
    squared_hinge = 4
    poisson = 5
    custom = 6

class Link(enum.Enum):
    identity = 0
    probability = 1
    signed_probability = 2

class Schedule(enum.Enum):
    constant = 0
    inverse_time = 1
    linear = 2
    cosine = 3

class Optimizer(enum.Enum):
    sgd = 0
    adagrad = 1
    adam = 2
    gd = 3

class AdagradPer(enum.Enum):
    row = 0
    element = 1

class Parallel(enum.Enum):
    auto = 0
    blocked = 1
    hogwild = 2

class Device(enum.Enum):
    cpu = 0
    cuda = 1

class TrainParams:
    n_factors: int
    n_epochs: int
    learning_rate: float | None
    reg: tuple[float, float]
    reg_bias: tuple[float, float]
    l1_ratio: float
    nonnegative: bool
    biases: bool
    loss: Loss
    huber_delta: float
    normalize: bool
    init_scale: float
    optimizer: Optimizer
    warmup_epochs: int
    warmup_factors: int
    batch_size: int
    momentum: float
    adagrad_per: AdagradPer
    beta_1: float
    beta_2: float
    epsilon: float
    schedule: Schedule
    parallel: Parallel
    device: Device
    device_index: int
    device_memory: int
    half: bool
    n_threads: int
    seed: int
    patience: int
    def __init__(self) -> None: ...

class RatingArrays:
    def __init__(
        self,
        users: NDArray[np.int32],
        items: NDArray[np.int32],
        values: NDArray[np.float32],
        weights: NDArray[np.float32] | None = None,
    ) -> None: ...

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
    device_kernels: Sequence[int] = (0, 0, 0, 0),
) -> _TrainResult: ...
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
    device_kernels: Sequence[int] = (0, 0, 0, 0),
) -> _TrainResult: ...
def epoch_batches(ratings: RatingArrays, params: TrainParams, epoch: int) -> list[list[int]]: ...
def loss_terms(
    loss: Loss,
    ratings: NDArray[np.float64],
    scores: NDArray[np.float64],
    huber_delta: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]: ...

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
    ) -> None: ...
    def predict(
        self, users: NDArray[np.int32], items: NDArray[np.int32], n_threads: int = 0
    ) -> NDArray[Any]: ...
    def recommend(
        self,
        users: NDArray[np.int32],
        n: int,
        seen_indptr: NDArray[np.int64] | None = None,
        seen_items: NDArray[np.int32] | None = None,
        n_threads: int = 0,
    ) -> tuple[NDArray[np.int32], NDArray[Any]]: ...
    def similar_items(
        self, items: NDArray[np.int32], n: int, n_threads: int = 0
    ) -> tuple[NDArray[np.int32], NDArray[Any]]: ...

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
def rated_rows(
    rows: NDArray[np.int32], n_rows: int, weights: NDArray[np.float32] | None = None
) -> NDArray[np.bool_]: ...
def group_by_user(
    users: NDArray[np.int32], items: NDArray[np.int32], n_users: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]: ...
def available_threads() -> int: ...
def instruction_set() -> str: ...
def built_instruction_sets() -> list[str]: ...
def cuda_status() -> tuple[bool, bool, str]: ...
def cuda_is_twin() -> bool: ...

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
