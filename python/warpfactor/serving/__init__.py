"""Scores and the best items, on the CPU and on CUDA devices."""
