"""Ratings, the ids of their users and items, and the files and tables they come from."""
