"""Training, and recommending for everybody, on a cluster of Ray: ``pip install "warpfactor[ray]"``."""

from .recommending import recommend
from .trainer import RayTrainer

__all__ = ["RayTrainer", "recommend"]
