"""Matrix factorization of ratings by parallel SGD.

>>> import warpfactor as wf
>>> ratings = wf.datasets.make_ratings(200, 100, 5_000, random_state=0).ratings
>>> train, test = wf.train_test_split(ratings, test_size=0.1, random_state=0)
>>> model = wf.MatrixFactorization(n_factors=8, random_state=0).fit(train, validation=test)
>>> wf.metrics.rmse(test.values, model.predict(test)) < 1.1
True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import baselines, callbacks, datasets, losses, metrics, plot, splits
    from ._core import __version__
    from .config import show_config
    from .data.files import read_ratings
    from .data.peek import Peek, peek
    from .data.ratings import Ratings
    from .data.scan import scan_ratings
    from .data.titles import read_titles
    from .data.write import write_ratings
    from .evaluation.compare import Comparison, compare
    from .evaluation.cross_validation import cross_validate
    from .evaluation.evaluate import Evaluation, evaluate
    from .evaluation.splits import train_test_split, train_validation_test_split
    from .evaluation.tuning import Tuning, tune
    from .exceptions import CudaError, DivergedError, ModelFileError
    from .model.model import Model, load
    from .training.bayesian import BayesianMatrixFactorization
    from .training.descent import matrix_factorization_bgd
    from .training.ensemble import Ensemble
    from .training.estimator import MatrixFactorization
    from .training.memory import MemoryEstimate, estimate_memory

__all__ = [
    "BayesianMatrixFactorization",
    "Comparison",
    "CudaError",
    "DivergedError",
    "Ensemble",
    "Evaluation",
    "MatrixFactorization",
    "MemoryEstimate",
    "Model",
    "ModelFileError",
    "Peek",
    "Ratings",
    "Tuning",
    "__version__",
    "baselines",
    "callbacks",
    "compare",
    "cross_validate",
    "datasets",
    "estimate_memory",
    "evaluate",
    "load",
    "losses",
    "matrix_factorization_bgd",
    "metrics",
    "peek",
    "plot",
    "read_ratings",
    "read_titles",
    "scan_ratings",
    "show_config",
    "splits",
    "train_test_split",
    "train_validation_test_split",
    "tune",
    "write_ratings",
]

# Imported when first asked for: scikit-learn and pyarrow take most of a second, which
# `warpfactor --help` need not wait for.
_HOME = {
    "BayesianMatrixFactorization": "training.bayesian",
    "Comparison": "evaluation.compare",
    "CudaError": "exceptions",
    "DivergedError": "exceptions",
    "Ensemble": "training.ensemble",
    "Evaluation": "evaluation.evaluate",
    "MatrixFactorization": "training.estimator",
    "MemoryEstimate": "training.memory",
    "ModelFileError": "exceptions",
    "Peek": "data.peek",
    "Ratings": "data.ratings",
    "__version__": "_core",
    "compare": "evaluation.compare",
    "cross_validate": "evaluation.cross_validation",
    "estimate_memory": "training.memory",
    "evaluate": "evaluation.evaluate",
    "Model": "model.model",
    "load": "model.model",
    "matrix_factorization_bgd": "training.descent",
    "peek": "data.peek",
    "read_ratings": "data.files",
    "read_titles": "data.titles",
    "scan_ratings": "data.scan",
    "show_config": "config",
    "train_test_split": "evaluation.splits",
    "train_validation_test_split": "evaluation.splits",
    "tune": "evaluation.tuning",
    "Tuning": "evaluation.tuning",
    "write_ratings": "data.write",
}


def _refuse_sub_interpreters() -> None:
    """Raise ImportError in a sub-interpreter of Python's, where NumPy and Arrow may hang."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on, and before
        try:
            interpreters = importlib.import_module(name)
        except ImportError:
            continue
        if interpreters.get_current() != interpreters.get_main():
            raise ImportError(
                "warpfactor cannot be imported in a sub-interpreter of Python: use a process of its own "
                "(with mod_wsgi: WSGIApplicationGroup %{GLOBAL})"
            )
        return


_refuse_sub_interpreters()

_MODULES = ("baselines", "callbacks", "datasets", "losses", "metrics", "plot", "splits")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
