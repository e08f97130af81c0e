"""Slopes of the terms in log-log, with intervals, against theory."""

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


@dataclass(frozen=True)
class Slope:
    """A fitted exponent.

    Attributes:
        term, mixture, detail: what was fitted, and where (the solver).
        against: the factor on the horizontal axis.
        theory: the exponent that theory gives.
        value, low, high: the fit and its 95% interval (least squares, Student).
        points: how many; least, most: range of the factor.
        agrees: see `TOLERANCE`.
    """

    term: str
    mixture: str
    detail: str
    against: str
    theory: float
    value: float
    low: float
    high: float
    points: int
    least: float
    most: float

    @property
    def agrees(self) -> bool:
        return self.low <= self.theory <= self.high or abs(self.value / self.theory - 1) <= TOLERANCE


def fit(x: Iterable[float], y: Iterable[float]) -> tuple[float, float, float]:
    """Least squares slope of log y on log x, with its 95% interval; at least three points."""
    log_x, log_y = np.log(np.asarray(list(x), float)), np.log(np.asarray(list(y), float))
    line = stats.linregress(log_x, log_y)
    half = float(stats.t.ppf(0.975, len(log_x) - 2)) * float(line.stderr)
    return float(line.slope), float(line.slope) - half, float(line.slope) + half


ORDERS = {"ddim": 1, "heun": 2, "dpm-solver-2s": 2, "dpm-solver++-2m": 2, "dpm-solver-3s": 3}
"""Order of each solver's global error in 1/K."""


def dimension_rate(dim: int, connected: bool) -> float:
    """Exponent of N in W₂(ν_N, p): −1/d (d = 2: up to logarithms), but −1/4 at best where counts vary between modes."""
    return -1 / max(dim, 2 if connected else 4)


def slopes(cells: pd.DataFrame) -> list[Slope]:
    """Every slope that the cells (`tables.frame`) allow."""
    found: list[Slope] = []

    def add(rows: pd.DataFrame, term: str, column: str, against: str, theory: float, detail: str = "") -> None:
        rows = rows[(rows[column] > 0) & (rows[against] > 0)]
        if rows[against].nunique() >= 3:
            line = fit(rows[against], rows[column])
            extent = float(rows[against].min()), float(rows[against].max())
            found.append(Slope(term, str(rows["mixture"].iloc[0]), detail, against, theory, *line, len(rows), *extent))

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
        rate = dimension_rate(int(rows["dim"].iloc[0]), str(rows["mixture"].iloc[0]) in CONNECTED)
        number = one_at_a_time(checked, "targets", "seed")
        add(number, "finite targets", "finite_targets_distance", "targets", rate)
    return found


def one_at_a_time(cells: pd.DataFrame, *factors: str) -> pd.DataFrame:
    """Cells that differ from the base in these factors alone."""
    base = Cell("")
    keep = pd.Series(True, index=cells.index)
    for name in {*FACTORS, "seed"} - set(factors):
        keep &= cells[name] == getattr(base, name)
    return cells[keep]
