"""Slopes fitted to the cells, and what BOUND.md and the verdict say of the published records."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmark.bound import grid, runner, slopes, tables
from benchmark.bound.mixtures import exact_flow


def test_slope_of_a_power_law_and_its_interval() -> None:
    x = np.array([1.0, 2, 4, 8, 16, 32])
    assert slopes.fit(x, 3 * x**-1.5) == pytest.approx((-1.5, -1.5, -1.5))
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        _, low, high = slopes.fit(x, 3 * x**-1.5 * np.exp(0.2 * rng.standard_normal(6)))
        covered += low <= -1.5 <= high
    assert abs(covered / 400 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 400)


def test_slope_agreement() -> None:
    made: dict[str, Any] = dict.fromkeys(("term", "mixture", "detail", "against"), "")
    made |= {"points": 4, "least": 1.0, "most": 2.0, "keys": ()}
    made |= {"theory": -1.0, "theory_to": -1.0}
    assert slopes.Slope(value=-1.05, low=-1.06, high=-1.04, **made).agrees
    assert slopes.Slope(value=-1.5, low=-2.1, high=-0.9, **made).agrees
    assert not slopes.Slope(value=-1.5, low=-1.6, high=-1.4, **made).agrees
    assert slopes.Slope(value=-1.5, low=-1.6, high=-1.4, **made | {"theory_to": -1.45}).agrees


@pytest.mark.parametrize("dim", [3, 8, 64])
def test_random_coding_rate_is_the_slope_of_its_own_law(dim: int) -> None:
    """d log W₂/d log N for W₂² = 1 − √(1 − N^(−2/d)) by a difference quotient; it tends to −1/d for N beyond e^d."""

    def log_w2(log_count: float) -> float:
        return 0.5 * math.log(1 - math.sqrt(1 - math.exp(-2 * log_count / dim)))

    slope = (log_w2(math.log(70) + 1e-4) - log_w2(math.log(70) - 1e-4)) / 2e-4
    assert slopes.dimension_rate(dim, True, 70)[1] == pytest.approx(slope, rel=1e-6)
    assert slopes.dimension_rate(dim, True, math.exp(4.0 * dim))[1] == pytest.approx(-1 / dim, rel=1e-3)


RESULTS = Path(__file__).resolve().parents[3] / "results" / "bound"


@pytest.fixture(scope="module")
def kept() -> list[dict[str, Any]]:
    """The records of the whole grid that the repository holds."""
    return runner.read(RESULTS)


def test_prose_and_verdict_are_what_the_records_say(kept: list[dict[str, Any]]) -> None:
    cells = tables.frame(kept)
    found = tables.verdict(cells, slopes.slopes(cells))
    assert json.loads((RESULTS / "verdict.json").read_text()) == found
    prose = " ".join((RESULTS / "BOUND.md").read_text().split())
    upper, point, lower = tables.outcomes(cells).to_dict("records")
    assert f"In this sense {upper['holds']} of {found['cells']} cells hold" in prose
    assert f"with its point estimate {point['holds']} cells hold and {point['undecided']} are undecided" in prose
    assert f"with its lower limit {lower['holds']} hold and {lower['undecided']} are undecided" in prose
    assert upper["exceeded"] == point["exceeded"] == lower["exceeded"] == point["value above"] == 0
    assert f"{lower['value above']} lie above the bound with the lower limit" in prose
    agreeing, narrow = re.findall(r"(\d+ of \d+) (?:fitted|without)", found["evidence"])
    assert f"finite targets are tests: {agreeing} agree" in prose
    assert f"of the other slopes {narrow} agree" in prose


def test_growth_on_separate_modes_is_as_the_prose_says(kept: list[dict[str, Any]]) -> None:
    """Section 6: e^{R²/4s²}/√2 at σ_M = s, and the general formula at every level; R from the modes' distances."""
    flow = exact_flow("separate-16")
    exponent = float(torch.cdist(flow.means, flow.means).max()) ** 2 / 8 / flow.width**2
    growth = {
        record["config"]["cell"]["level"]: record["details"]["growth"]
        for record in kept
        if record["config"]["cell"]["mixture"] == "separate-16"
    }
    assert set(growth) >= set(grid.LEVELS)
    assert growth[1.0] == pytest.approx(math.exp(exponent / 2) / math.sqrt(2), rel=1e-9)
    for level, value in growth.items():
        assert value == pytest.approx(math.exp(exponent * level**2 / (1 + level**2)) / math.hypot(1, level), rel=1e-9)


def made_slope(term: str, mixture: str = "digits-64", **changes: Any) -> slopes.Slope:
    made: dict[str, Any] = {"detail": "", "against": "", "points": 4, "least": 1.0, "most": 2.0, "keys": ()}
    made |= {"theory": -1.0, "theory_to": -1.0, "value": -1.0, "low": -1.1, "high": -0.9}
    return slopes.Slope(term=term, mixture=mixture, **made | changes)


def test_agreement_counts_no_identities_and_names_wide_ranges() -> None:
    found = [made_slope("mass"), made_slope("score"), made_slope("end level"), made_slope("discretisation", low=-1.05)]
    found += [made_slope("discretisation", value=-2.0, low=-2.1, high=-1.9)]
    found += [made_slope("finite targets", theory=-0.5, theory_to=-1.5), made_slope("finite targets", theory_to=-1.4)]
    text = tables.agreement(found)
    assert text.startswith("4 of 5 fitted slopes (discretisation, end level, finite targets) agree")
    assert "3 of 4 without" in text and "finite targets of digits-64 [-0.5, -1.5])" in text
    assert text.endswith("2 of 2 slopes that check identities (mass, score) come out")
