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

from .problem import SemiDiscreteProblem, fraction, whole
from .scores.cells import STREAMS, Cells
from .scores.sampling import histogram

CHI2_SHARE = 0.95  # of the error probability, for the bound through χ²
TINY_SHARE = 0.1  # of that again, for the observed mass of tiny cells, where there are some


@dataclass(frozen=True)
class WorstCell:
    """The cell whose mass is furthest off: p/ν estimated, with an interval that holds for all cells at once."""

    index: int
    ratio: float
    ratio_interval: tuple[float, float]


@dataclass(frozen=True)
class Certificate:
    """What `samples` fresh samples say about the cells' masses.

    chi2: unbiased estimate of χ² (can be slightly negative near 0); chi2_interval: two-sided, at `confidence`. Cells
        too `tiny` for these samples are joined to the largest cell first; there are none where all are expected to be
        hit once or more.
    tv: plug-in estimate ½Σ|c/M − ν|, biased upward by sampling noise, capped at tv_bound.
    tv_bound: the total variation between the cells' masses and the prescribed ones is below this, at `confidence`.
    empty_cells: cells that no sample hit. Duplicate targets share one cell.
    missed_by_chance: how many cells so many samples miss on average where all masses are as prescribed; None in what
        was saved before this was kept.
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
    missed_by_chance: float | None = None

    def __str__(self) -> str:
        low, high = self.chi2_interval
        chance = self.missed_by_chance or 0.0
        missed = f" ({chance:,.{int(chance < 10)}f} by chance)" if chance >= 0.1 else ""
        return (
            f"TV ≤ {self.tv_bound:.4f}, χ² = {self.chi2:.3g} in [{low:.3g}, {high:.3g}] at confidence "
            f"{self.confidence:.6g}; {self.empty_cells} empty cells{missed}; {self.samples:,} fresh samples"
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
    confidence, seed = fraction(confidence, "confidence"), whole(seed, "seed")
    cells = Cells.of(problem, device, precision, shard_targets)
    samples = max(100 * cells.num, 20_000) if samples is None else whole(samples, "samples of a certificate", 2)
    counts = histogram(cells, cells.inner(heights), samples, (seed, STREAMS["certificate"], 0)).counts
    return from_counts(counts, cells.masses, 1 - confidence, cells.first)


def from_counts(counts: Tensor, masses: Tensor, error: float = 0.01, label: Tensor | None = None) -> Certificate:
    """Certificate of multinomial `counts` [n] against `masses` [n]; `label` [n] names the cells.

    error: probability with which a statement may be wrong, 1 − confidence; may be far below the rounding of 1.
    """
    c, nu = counts.double(), masses.double()
    total = float(c.sum())
    # Plug-in TV exceeds TV on average (Jensen) and one sample moves it by at most 1/M (McDiarmid). It is the smaller
    # bound for few cells and samples alone, and gets the smaller part of the error.
    plug_in = 0.5 * float((c / total - nu).abs().sum())
    by_mcdiarmid = plug_in + math.sqrt(math.log(1 / ((1 - CHI2_SHARE) * error)) / (2 * total))
    bound = min(_bound_by_chi2(c, nu, CHI2_SHARE * error), by_mcdiarmid, 1.0)
    joined = _joined(c, nu, tiny(nu, total))
    worst = int((c / total / nu - 1).abs().argmax())
    mass, number = float(nu[worst]), len(c)
    low, high = _binomial_interval(float(c[worst]), total, error / number)
    return Certificate(
        chi2=_chi2(*joined),
        chi2_interval=_chi2_interval(*joined, error),
        tv=min(plug_in, bound),
        tv_bound=bound if number > 1 else 0.0,
        empty_cells=int((c == 0).sum()),
        worst_cell=WorstCell(
            int(label[worst]) if label is not None else worst, float(c[worst]) / total / mass, (low / mass, high / mass)
        ),
        samples=int(total),
        confidence=1 - error,
        missed_by_chance=float((total * torch.log1p(-nu)).exp().sum()),
    )


def product_chi2(a: Tensor, b: Tensor, masses: Tensor) -> float:
    """χ² from two independent histograms [n] of the same cells: Σ a_j·b_j/(A·B·ν_j) − 1, A and B their totals.

    Without bias also where the samples of a histogram depend on each other.
    """
    return float((a.double() * b / masses).sum()) / (float(a.sum()) * float(b.sum())) - 1


def tiny(nu: Tensor, samples: float) -> Tensor:
    """Which cells are too small for χ²: expected less than one sample, and less than a tenth of 1/n. [n] bool.

    Their terms c(c − 1)/ν are nearly always 0, and enormous else: no limit drawn from them holds.
    """
    return nu < 1 / max(samples, 10 * len(nu))


def _joined(values: Tensor, nu: Tensor, some: Tensor) -> tuple[Tensor, Tensor]:
    """Of values [n] and masses [n], with the sums over `some` cells added to those of the largest cell."""
    if not bool(some.any()):
        return values, nu
    largest = nu[~some].argmax()
    values, nu, rest = values[~some], nu[~some], (values[some].sum(), nu[some].sum())
    values[largest] += rest[0]
    nu[largest] += rest[1]
    return values, nu


def _bound_by_chi2(c: Tensor, nu: Tensor, error: float) -> float:
    """Limit on the total variation: ½√χ² (Cauchy-Schwarz) of the cells that are not tiny, and what those can add.

    Let S be the tiny cells, of masses P (true) and N (prescribed), and TV' the total variation after they are joined to
    another cell b. Then TV ≤ TV' + max(P, N): as |p_b − ν_b| ≤ |(p_b + P) − (ν_b + N)| + |P − N| (triangle inequality),
    2·TV ≤ 2·TV' + |P − N| + Σ_S |p_i − ν_i| ≤ 2·TV' + |P − N| + P + N = 2·TV' + 2·max(P, N).
    P, a single probability, has the upper limit of Clopper and Pearson.
    """
    some = tiny(nu, float(c.sum()))
    if not bool(some.any()):
        return 0.5 * math.sqrt(_chi2_limit(c, nu, error))
    mass = _binomial_interval(float(c[some].sum()), float(c.sum()), 2 * TINY_SHARE * error)[1]
    limit = _chi2_limit(*_joined(c, nu, some), (1 - TINY_SHARE) * error)
    return 0.5 * math.sqrt(limit) + max(mass, float(nu[some].sum()))


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
