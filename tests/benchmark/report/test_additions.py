"""What is added from outside, in one file each, arrives in the tables and on the page.

A package of another author brings a sampler and a metric by its entry points; a claim and a figure are files beside
those of the project. The report is made in a process of its own, which has seen none of them before.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.benchmark.report.synthetic import SEEDS, measured, quick, record, write

SAMPLER = '''
from dataclasses import dataclass

from samplers.base import ReverseSampler


@dataclass(frozen=True)
class Theirs(ReverseSampler):
    """A sampler of another package."""

    title = "Sampler of Theirs"
    family = "plain"

    def cost(self, intervals):
        return intervals

    def integrate(self, denoiser, x, sigmas, noise):
        return x
'''

METRIC = '''
from benchmark.metrics import Estimate, Quantity, metric


@metric(
    "glow",
    version="1",
    quantities=[Quantity("glow", "glow", better="higher", rate=True, meaning="share of samples that glow", column=35)],
)
def glow(evidence):
    """Samples with a positive sum."""
    samples = evidence.points(evidence.count)
    return {"glow": Estimate(float((samples.flatten(1).sum(1) > 0).double().mean()), count=len(samples))}
'''

CLAIM = '''
from benchmark.report.arms import OURS
from benchmark.report.verdict.claim import SUPPORTED, UNDECIDED, Claim, Finding


def test(results):
    """Whether DPM-OT's samples glow."""
    glows = [float(results.by_seed(problem, OURS, 10, "glow").mean()) for problem in results.problems]
    if not glows:
        return Finding(UNDECIDED, "Nothing was run.")
    return Finding(SUPPORTED if min(glows) > 0.5 else UNDECIDED, f"Its glow is {min(glows):.3f}.")


CLAIM = Claim("C6", "Samples that glow", "Supported if more than half of them glow.", test)
'''

FIGURE = '''
from benchmark.report.arms import OURS
from benchmark.report.figures.figure import figure
from benchmark.report.figures.style import panels


@figure("glow", "Glow over seeds", section="novelty", each_problem=True)
def glow(results, problem):
    """A bar for each seed."""
    values = results.by_seed(problem, OURS, 10, "glow")
    fig, axes = panels(1, 4, 3)
    axes[0, 0].bar(values.index, values)
    return fig, f"Glow of DPM-OT on {problem}, seed by seed."
'''

ENTRY_POINTS = """
[dpmot_bench.samplers]
theirs = theirs.sampler:Theirs

[dpmot_bench.metrics]
glow = theirs.metric:glow
"""

MAKE = """
import sys

from benchmark.report import figures
from benchmark.report.building import build
from benchmark.report.verdict import claims

package, results = sys.argv[1:]
claims.__path__.append(f"{package}/claims")
figures.__path__.append(f"{package}/figures")
build(results)
"""


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of results with a sampler and a metric of another package, and with a claim and a figure more."""
    root = tmp_path_factory.mktemp("extended")
    texts = {
        "theirs/__init__.py": "",
        "theirs/sampler.py": SAMPLER,
        "theirs/metric.py": METRIC,
        "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
        "theirs-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
        "theirs/claims/c6_glow.py": CLAIM,
        "theirs/figures/glow.py": FIGURE,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "make.py").write_text(MAKE)
    records = quick("digits", "fd", seeds=SEEDS[:2])
    values = measured(np.random.default_rng(1), ("fd", 3.0), mixture=0.1, copies=0.01)
    records += [record("digits", "theirs", nfe, seed, values) for nfe in (5, 10) for seed in SEEDS[:2]]
    for r in records:
        value = 0.9 if r["config"]["sampler"]["name"] == "theirs" else 0.6
        r["metrics"]["glow"] = {"value": value, "low": None, "high": None, "count": 1000, "note": ""}
    results = write(root / "results", records)
    command = [sys.executable, str(root / "make.py"), str(root / "theirs"), str(results)]
    path = os.pathsep.join([str(root), *sys.path])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}, timeout=280)
    return results


@pytest.fixture(scope="module")
def page(extended: Path) -> str:
    return (extended / "index.html").read_text()


@pytest.fixture(scope="module")
def data(page: str) -> dict[str, Any]:
    """What the page's table is built from."""
    stored = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert stored
    return json.loads(stored[1])


@pytest.fixture(scope="module")
def table(extended: Path) -> pd.DataFrame:
    """The table of results as a reader sees it, without the marks of the best."""
    lines = (extended / "tables" / "results-digits.md").read_text().replace("**", "").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return pd.DataFrame(rows[2:], columns=rows[0])


def test_a_new_sampler_has_its_title_and_family(
    extended: Path, table: pd.DataFrame, data: dict[str, Any], page: str
) -> None:
    assert table.loc[table["sampler"] == "Sampler of Theirs", "NFE"].tolist() == ["5", "10"]
    numbers = pd.read_csv(extended / "tables" / "results-digits.csv")
    assert set(numbers.loc[numbers["label"] == "theirs", "family"]) == {"plain samplers"}
    cells = [cell for cell in data["cells"] if cell["label"] == "Sampler of Theirs"]
    assert {(cell["nfe"], cell["family"]) for cell in cells} == {(5, "plain samplers"), (10, "plain samplers")}
    assert {cell["colour"] for cell in cells}.isdisjoint(c["colour"] for c in data["cells"] if c not in cells)
    assert "<td>Sampler of Theirs</td>" in page, "as a plain sampler it is one that C2 compares with"


def test_a_new_metric_has_its_column(extended: Path, table: pd.DataFrame, data: dict[str, Any], page: str) -> None:
    columns = list(table.columns)
    assert columns.index("mode weights TV % ↓") < columns.index("glow % ↑") < columns.index("copies %")
    assert set(table.loc[table["sampler"] == "Sampler of Theirs", "glow % ↑"]) == {"90 ± 0"}
    bold = (extended / "tables" / "results-digits.md").read_text().count("**90** ± 0")
    assert bold == 2, "more glow is better, at either budget"
    assert r"glow \% $\uparrow$" in (extended / "tables" / "results-digits.tex").read_text()
    described = {"label": "glow", "better": "higher", "rate": True, "meaning": "share of samples that glow"}
    assert data["metrics"]["glow"] == described
    assert "<dt>glow</dt><dd>share of samples that glow</dd>" in page


def test_a_new_claim_is_judged(extended: Path, page: str) -> None:
    text = (extended / "verdict.md").read_text()
    assert "| C6 | Samples that glow | **supported** |" in text
    assert "## C6: Samples that glow\n\n**Supported.** Its glow is 0.600." in text
    claims = json.loads((extended / "verdict.json").read_text())["claims"]
    assert [claim["claim"] for claim in claims] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert claims[-1]["rule"] == "Supported if more than half of them glow."
    assert 'id="C6"' in page and "Its glow is 0.600." in page


def test_a_new_figure_is_drawn(extended: Path, page: str) -> None:
    assert {p.name for p in (extended / "figures").glob("glow*")} == {"glow-digits.png", "glow-digits.pdf"}
    headings = re.findall(r"<h3>([^<]*)</h3>", page)
    assert headings.index("Mode mixture: digits") < headings.index("Glow over seeds: digits")
    assert headings.index("Glow over seeds: digits") < headings.index("Convergence of the transport solve")
    assert "Glow of DPM-OT on digits, seed by seed." in page
