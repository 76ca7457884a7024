"""A model to look at: figures, and one page of them."""
