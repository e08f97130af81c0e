"""What holds for every test."""

import os
import zlib

import pytest

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # POT starts JAX, which would fill a GPU


@pytest.fixture(autouse=True)
def own_random_numbers(request):
    """A module's GENERATOR starts anew for each test: none depends on which ran before it."""
    generator = getattr(request.module, "GENERATOR", None)
    if generator is not None:
        generator.manual_seed(zlib.crc32(request.node.name.encode()))
