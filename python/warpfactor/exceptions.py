"""The errors that are warpfactor's own."""

from __future__ import annotations

__all__ = ["CudaError", "DivergedError", "ModelFileError", "NoModelFileError"]


class DivergedError(ArithmeticError):
    """Training diverged: the learning rate is too high for the data.

    Attributes
    ----------
    epoch : int
        The epoch, counted from 1, in which it showed.
    """

    def __init__(self, message: str, epoch: int) -> None:
        super().__init__(message, epoch)
        self.message = message
        self.epoch = epoch

    def __str__(self) -> str:
        return self.message


class CudaError(RuntimeError):
    """The CUDA device cannot do what was asked; the text says why and what to do."""


class NoModelFileError(FileNotFoundError):
    """There is no file of a model at a path.

    Attributes
    ----------
    path : str
        The path.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def __str__(self) -> str:
        return f"there is no model file {self.path}"


class ModelFileError(ValueError):
    """The file is damaged, or is no model that this version of warpfactor can read."""
