"""Runs samplers on problems, measures, stores, and reports."""

import os

# POT starts JAX where that is installed, and JAX would take most of a GPU's memory at once.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
