"""What watches a fit while it runs, as `wf.callbacks`."""

from .training.callbacks import Callback, CSVLog, Fit, Log, Plot, Progress, SaveModel, TimeLimit

__all__ = ["CSVLog", "Callback", "Fit", "Log", "Plot", "Progress", "SaveModel", "TimeLimit"]
