"""One file for each format of ratings: how it is recognized, and which of its columns is what."""
