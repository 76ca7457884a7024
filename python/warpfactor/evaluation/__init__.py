"""Held-out ratings, and the errors on them."""
