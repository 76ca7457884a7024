"""The CUDA part of warpfactor: a library that warpfactor loads when it is imported.

There is nothing to import here; ``warpfactor.show_config()`` tells whether it was found.
"""
