"""The fitted model and its file."""
