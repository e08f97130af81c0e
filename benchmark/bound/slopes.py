"""Slopes of the terms in log-log, with intervals, against theory."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from benchmark.bound.grid import FACTORS, Cell
from benchmark.bound.mixtures import MIXTURES

CONNECTED = {name for name in MIXTURES if name.startswith(("gaussian", "overlapping"))}
TOLERANCE = 0.1
"""A slope agrees with theory when its interval holds it, or when it is within this share: theory is asymptotic, and
where there is no chance the interval is as narrow as the curve is straight."""

IDENTITIES = ("mass", "score")
"""Terms whose slope is no finding: below TV = 1/N the cost of the masses is linear in TV (BOUND.md, section 5), and the
realised score term is a difference that is linear in a small error to first order. These fits check the code."""
WIDE = 1.5
"""Where theory allows exponents this factor apart or more, to agree with it says little."""


@dataclass(frozen=True)
class Slope:
    """A fitted exponent.

    Attributes:
        term, mixture, detail: what was fitted, and where (the solver).
        against: the factor on the horizontal axis.
        theory, theory_to: the exponent that theory gives, or the two ends of what it allows at finite N.
        value, low, high: the fit and its 95% interval (least squares, Student).
        points: how many; least, most: range of the factor.
        keys: of the cells.
        agrees, identity, wide: see `TOLERANCE`, `IDENTITIES`, `WIDE`.
    """

    term: str
    mixture: str
    detail: str
    against: str
    theory: float
    theory_to: float
    value: float
    low: float
    high: float
    points: int
    least: float
    most: float
    keys: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        least, most = sorted((self.theory, self.theory_to))
        nearest = min(max(self.value, least), most)
        return (self.low <= most and least <= self.high) or abs(self.value / nearest - 1) <= TOLERANCE

    @property
    def identity(self) -> bool:
        return self.term in IDENTITIES

    @property
    def wide(self) -> bool:
        least, most = sorted((abs(self.theory), abs(self.theory_to)))
        return most >= WIDE * least

    def rows(self, cells: pd.DataFrame) -> pd.DataFrame:
        """The cells that were fitted."""
        return cells[cells["key"].isin(self.keys)]


def fit(x: Iterable[float], y: Iterable[float]) -> tuple[float, float, float]:
    """Least squares slope of log y on log x, with its 95% interval; at least three points."""
    log_x, log_y = np.log(np.asarray(list(x), float)), np.log(np.asarray(list(y), float))
    line = stats.linregress(log_x, log_y)
    half = float(stats.t.ppf(0.975, len(log_x) - 2)) * float(line.stderr)
    return float(line.slope), float(line.slope) - half, float(line.slope) + half


ORDERS = {"ddim": 1, "heun": 2, "dpm-solver-2s": 2, "dpm-solver++-2m": 2, "dpm-solver-3s": 3}
"""Order of each solver's global error in 1/K."""


def dimension_rate(dim: int, connected: bool, count: float) -> tuple[float, float]:
    """Range of the local exponent of N in W₂(ν_N, p) that theory allows around N = `count`.

    Connected laws, d = 2: from N^(−1/2) to Gaussians' N^(−1/2) log N (Ledoux 2019, Talagrand 2018). d >= 3: from the
    asymptotic N^(−1/d) to what holds while N is below e^d, when the nearest of N random points has the correlation
    ρ = √(1 − N^(−2/d)) and W₂² ∝ 1 − ρ (random coding of a Gaussian source), of exponent −(1 + ρ)/2ρd.
    Separate modes: from N^(−1/4), their fluctuating counts, to the rate within a mode.
    """
    if not connected:
        return -1 / 4, -1 / max(dim, 2)
    if dim <= 2:
        return -1 / 2, -1 / 2 + 1 / math.log(count)
    rho = math.sqrt(1 - count ** (-2 / dim))
    return -1 / dim, -(1 + rho) / (2 * rho * dim)


def slopes(cells: pd.DataFrame) -> list[Slope]:
    """Every slope that the cells (`tables.frame`) allow."""
    found: list[Slope] = []

    def add(
        rows: pd.DataFrame,
        term: str,
        column: str,
        against: str,
        theory: float,
        detail: str = "",
        theory_to: float | None = None,
    ) -> None:
        rows = rows[(rows[column] > 0) & (rows[against] > 0)]
        if rows[against].nunique() >= 3:
            line = fit(rows[against], rows[column])
            extent = float(rows[against].min()), float(rows[against].max())
            ends = theory, theory if theory_to is None else theory_to
            found.append(
                Slope(
                    term,
                    str(rows["mixture"].iloc[0]),
                    detail,
                    against,
                    *ends,
                    *line,
                    len(rows),
                    *extent,
                    tuple(rows["key"]),
                )
            )

    for _, rows in cells.groupby("mixture", sort=False):
        ordered = rows[rows["samples"] == 0]
        for solver, of_solver in ordered.groupby("solver", sort=False):
            add(of_solver, "discretisation", "term_discretisation", "intervals", -ORDERS[str(solver)], str(solver))
        checked = rows[rows["samples"] > 0]
        add(one_at_a_time(checked, "score_error"), "score", "realised_score", "score_error", 1.0, "realised")
        small = one_at_a_time(checked, "masses")
        small = small[(small["masses"] != "solved") & (small["tv"] <= 1 / small["targets"])]
        add(small, "mass", "term_mass", "tv", 0.5, "TV ≤ 1/N")
        add(one_at_a_time(checked, "end"), "end level", "term_end_level", "end", 2.0)
        number = one_at_a_time(checked, "targets", "seed")
        connected, typical = str(rows["mixture"].iloc[0]) in CONNECTED, math.exp(np.log(number["targets"]).mean())
        theory, theory_to = dimension_rate(int(rows["dim"].iloc[0]), connected, typical)
        add(number, "finite targets", "finite_targets_distance", "targets", theory, theory_to=theory_to)
    return found


def one_at_a_time(cells: pd.DataFrame, *factors: str) -> pd.DataFrame:
    """Cells that differ from the base in these factors alone."""
    base = Cell("")
    keep = pd.Series(True, index=cells.index)
    for name in {*FACTORS, "seed"} - set(factors):
        keep &= cells[name] == getattr(base, name)
    return cells[keep]
