"""What watches a fit while it runs, as `wf.callbacks`."""

from .training.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    Fit,
    Log,
    Plot,
    Progress,
    TimeLimit,
)

__all__ = ["CSVLog", "Callback", "Checkpoint", "Fit", "Log", "Plot", "Progress", "TimeLimit"]
