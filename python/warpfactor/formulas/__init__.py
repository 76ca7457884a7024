"""Losses and penalties of the user's own: formulas, their slopes, and compiled code."""
