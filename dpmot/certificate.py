"""How far the cells' masses are from what they should be, with confidence, from fresh samples alone.

With c_i of M fresh samples in cell i and ν_i its prescribed mass, χ² = Σ (p_i − ν_i)²/ν_i is estimated without bias by
the U-statistic Σ c_i(c_i − 1)/(M(M − 1)ν_i) − 1, and the total variation ½Σ|p_i − ν_i| is at most ½√χ² (Cauchy-
Schwarz). Samples on which heights were optimised can't certify them: in-sample figures are several times too good.
"""

import json
import math
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from .cells import STREAMS, Cells
from .problem import SemiDiscreteProblem
from .sampling import histogram

CHI2_SHARE = 0.95  # of the error probability, for the bound through χ²


@dataclass(frozen=True)
class WorstCell:
    """The cell whose mass is furthest off: p/ν estimated, with an interval that holds for all cells at once."""

    index: int
    ratio: float
    ratio_interval: tuple[float, float]


@dataclass(frozen=True)
class Certificate:
    """What `samples` fresh samples say about the cells' masses.

    chi2: unbiased estimate of χ² (can be slightly negative near 0); chi2_interval: two-sided, at `confidence`.
    tv: plug-in estimate ½Σ|c/M − ν|, biased upward by sampling noise, capped at tv_bound.
    tv_bound: the total variation between the cells' masses and the prescribed ones is below this, at `confidence`.
    empty_cells: cells that no sample hit. Duplicate targets share one cell.
    confidence: 1 − the error probability, which is exact inside: late attempts of a solve show a rounded 1.
    """

    chi2: float
    chi2_interval: tuple[float, float]
    tv: float
    tv_bound: float
    empty_cells: int
    worst_cell: WorstCell
    samples: int
    confidence: float

    def __str__(self) -> str:
        low, high = self.chi2_interval
        return (
            f"TV ≤ {self.tv_bound:.4f}, χ² = {self.chi2:.3g} in [{low:.3g}, {high:.3g}] at confidence "
            f"{self.confidence:.6g}; {self.empty_cells} empty cells; {self.samples:,} fresh samples"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON knows it: tuples become lists."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Certificate":
        worst = data["worst_cell"]
        worst = WorstCell(worst["index"], worst["ratio"], tuple(worst["ratio_interval"]))
        return cls(**{**data, "chi2_interval": tuple(data["chi2_interval"]), "worst_cell": worst})


def certify(
    problem: SemiDiscreteProblem,
    heights: Tensor,
    samples: int | None = None,
    seed: int = 0,
    confidence: float = 0.99,
    *,
    device: torch.device | str | None = None,
    precision: str = "auto",
    shard_targets: bool | str = "auto",
) -> Certificate:
    """Certify `heights` [N] on `samples` fresh source samples (100·N, at least 20,000, by default).

    The statement holds for heights chosen independently of these samples: give another seed to certify again.
    device, precision, shard_targets: as for `solve`.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    cells = Cells.of(problem, device, precision, shard_targets)
    samples = max(100 * cells.num, 20_000) if samples is None else samples
    if samples < 2:
        raise ValueError(f"a certificate needs at least 2 samples, got {samples}")
    counts = histogram(cells, cells.inner(heights), samples, (seed, STREAMS["certificate"], 0)).counts
    return from_counts(counts, cells.masses, 1 - confidence, cells.first)


def from_counts(counts: Tensor, masses: Tensor, error: float = 0.01, label: Tensor | None = None) -> Certificate:
    """Certificate of multinomial `counts` [n] against `masses` [n]; `label` [n] names the cells.

    error: probability with which a statement may be wrong, 1 − confidence; may be far below the rounding of 1.
    """
    c, nu = counts.double(), masses.double()
    total = float(c.sum())
    interval = _chi2_interval(c, nu, error)
    # Plug-in TV exceeds TV on average (Jensen) and one sample moves it by at most 1/M (McDiarmid). It is the smaller
    # bound for few cells and samples alone, and gets the smaller part of the error.
    plug_in = 0.5 * float((c / total - nu).abs().sum())
    by_mcdiarmid = plug_in + math.sqrt(math.log(1 / ((1 - CHI2_SHARE) * error)) / (2 * total))
    bound = min(0.5 * math.sqrt(_chi2_limit(c, nu, CHI2_SHARE * error)), by_mcdiarmid, 1.0)
    worst = int((c / total / nu - 1).abs().argmax())
    mass, number = float(nu[worst]), len(c)
    low, high = _binomial_interval(float(c[worst]), total, error / number)
    return Certificate(
        chi2=_chi2(c, nu),
        chi2_interval=interval,
        tv=min(plug_in, bound),
        tv_bound=bound if number > 1 else 0.0,
        empty_cells=int((c == 0).sum()),
        worst_cell=WorstCell(
            int(label[worst]) if label is not None else worst, float(c[worst]) / total / mass, (low / mass, high / mass)
        ),
        samples=int(total),
        confidence=1 - error,
    )


def _chi2(c: Tensor, nu: Tensor) -> float:
    total = float(c.sum())
    return float((c * (c - 1) / nu).sum()) / (total * (total - 1)) - 1


def _chi2_interval(c: Tensor, nu: Tensor, alpha: float) -> tuple[float, float]:
    """Two-sided interval for χ²."""
    return _chi2_limit(c, nu, alpha / 2, lower=True), _chi2_limit(c, nu, alpha / 2)


def _chi2_limit(c: Tensor, nu: Tensor, alpha: float, lower: bool = False) -> float:
    """One-sided limit for χ² by inverting the U-statistic's law: χ² lies beyond it with probability α at most.

    Its variance is 4ζ₁/M + 2ζ₂/M² with ζ₁ = Σp³/ν² − (Σp²/ν)² and ζ₂ = Σp²/ν² − (Σp²/ν)² (Hoeffding), estimated by
    factorial moments; near the null it follows a non-central χ² law, whose skewness enters through the Wilson-Hilferty
    quantile. A hypothetical value θ implies ζ₁ ≥ θ near the null; taking the larger keeps the interval honest.
    """
    total = float(c.sum())
    estimate = _chi2(c, nu)
    second = c * (c - 1)
    squared = (estimate + 1) ** 2
    zeta1 = float((second * (c - 2) / nu**2).sum()) / total**3 - squared
    zeta2 = max(float((second / nu**2).sum()) / total**2 - squared, len(c) - 1.0)

    def limit(theta: float, z: float) -> float:
        """Quantile of the estimate were θ true."""
        one = max(zeta1, theta)
        variance = 2 * zeta2 / total**2 + 4 * one / total
        skewness = (8 * zeta2 + 24 * total * one) / total**3 / variance**1.5 if variance else 0.0
        return theta + math.sqrt(variance) * _skewed_quantile(z, skewness)

    z = NormalDist().inv_cdf(alpha) * (-1 if lower else 1)
    return _solve(lambda t: limit(t, z) - estimate)


def _skewed_quantile(z: float, skewness: float) -> float:
    """Quantile of a standardised gamma law from the normal one (Wilson and Hilferty 1931)."""
    if skewness < 1e-6:
        return z
    return 2 / skewness * (max(1 + skewness * z / 6 - skewness**2 / 36, 0.0) ** 3 - 1)


def _solve(increasing: Any) -> float:
    """Root in θ ≥ 0 of an increasing function; 0 if it is positive there already."""
    if increasing(0.0) >= 0:
        return 0.0
    low, high = 0.0, 1e-9
    while increasing(high) < 0:
        low, high = high, 2 * high
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return high


def _binomial_interval(count: float, total: float, alpha: float) -> tuple[float, float]:
    """Clopper-Pearson interval for a probability."""
    from scipy.special import betaincinv

    low = float(betaincinv(count, total - count + 1, alpha / 2)) if count > 0 else 0.0
    high = 1 - float(betaincinv(total - count, count + 1, alpha / 2)) if count < total else 1.0
    return low, high
