"""Objects that pickle as EDM's networks do."""

import sys
from collections import OrderedDict


class Persistent:
    """Pickles as an object of EDM's does: by the name of a function of theirs, with source code and state."""

    def __init__(self, class_name, **state):
        self.meta = {"type": "class", "version": 6, "module_src": "raise SystemExit", "class_name": class_name}
        self.meta["state"] = {"training": False, "_backward_hooks": OrderedDict(), **state}

    def __reduce__(self):
        return (sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (self.meta,))
