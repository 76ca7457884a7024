"""What a model should beat; see `warpfactor.evaluation.baselines`."""

from .evaluation.baselines import BiasOnly, Mean, Popularity, RecentPopularity

__all__ = ["BiasOnly", "Mean", "Popularity", "RecentPopularity"]
