"""Assay's server: the Django project."""

import os

# Before numpy is imported: the matrices here are small, and a thread for each core only spins.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
