"""The library that EDM's pickles name."""

import sys
from types import ModuleType

import pytest


@pytest.fixture
def edm_library(monkeypatch):
    """The module that EDM's pickles name; its function ends the test if it is called."""

    def _reconstruct_persistent_obj(meta):
        raise AssertionError("a name from the pickle was called")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    module = ModuleType("torch_utils.persistence")
    vars(module)["_reconstruct_persistent_obj"] = _reconstruct_persistent_obj
    monkeypatch.setitem(sys.modules, "torch_utils", ModuleType("torch_utils"))
    monkeypatch.setitem(sys.modules, "torch_utils.persistence", module)
