"""One report from synthetic records, made once for all tests that look at files."""

from pathlib import Path

import pytest

from benchmark.report.arranging import load
from benchmark.report.building import build
from benchmark.report.results import Results
from tests.benchmark.report import synthetic

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with its report: two problems, a failure, and text that would be markup if not escaped."""
    root = tmp_path_factory.mktemp("report") / "results"
    records = synthetic.quick("mixture2d", "w2") + synthetic.quick("digits", "fd")
    failure = synthetic.record("digits", "unipc", 3, 0, {}, status="failed", error=EVIL)
    plugin = synthetic.record("digits", "evil", 10, 0, {"fd": 3.0}, {"name": EVIL})
    synthetic.write(root, [*records, failure, plugin], pictures=True)
    build(root)
    return root


@pytest.fixture(scope="session")
def loaded(built: Path) -> Results:
    """Those records, read."""
    return load(built)
