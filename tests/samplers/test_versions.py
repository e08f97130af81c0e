"""The version of the solver's heights is raised in one place, and all that depends on heights follows."""

import json
import subprocess
import sys

PROGRAM = """
import json, sys, dpmot
dpmot.HEIGHTS_VERSION += int(sys.argv[1])
from benchmark.bound import grid, networks
from samplers.registry import available
cells = {masses: grid.Cell("gaussian-8", masses=masses).config()["version"] for masses in ("equal", "solved")}
samplers = {name: entry.cls.version for name, entry in available().items()}
print(json.dumps({"networks": networks.VERSION, **cells, **samplers}))
"""


def versions(raised):
    told = subprocess.run([sys.executable, "-c", PROGRAM, str(raised)], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def test_what_depends_on_the_solvers_heights_follows_their_version():
    before, after = versions(0), versions(3)
    raised = {name for name in before if after[name] == before[name] + 3}
    assert raised == {"dpmot", "unsolved-map", "solved", "networks"}
    assert {name for name in before if after[name] == before[name]} == before.keys() - raised
