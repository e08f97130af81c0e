"""Closed forms of the heights: starts for the solver, and the solution itself in one dimension."""

import torch
from torch import Tensor

from ..problem import Gaussian, SemiDiscreteProblem
from ..scores.cells import Cells

MODERATE = 256  # dimension up to which the start for a normal target law is tried


def closed_form_heights(problem: SemiDiscreteProblem) -> Tensor:
    """Start for high dimension: h_j = −q·s·(‖y_j − ȳ‖ − mean), q = Φ⁻¹(1 − 1/N), s the source's std. [N] float32.

    In high dimension the scores ⟨x, y_j⟩ are near independent normals of deviation s·‖y_j − ȳ‖, and these heights let
    each exceed the typical maximum with equal probability.
    """
    cells = Cells.of(problem)
    return cells.outer(-quantile(cells.masses) * cells.norms)


def starts(cells: Cells) -> list[Tensor]:
    """For high dimension and, where d is moderate, for a normal target law: h = −½zᵀA⁻¹z with A = Cov(z)^½.

    Internal heights [n] float64, each.
    """
    found = [-quantile(cells.masses) * cells.norms]
    if cells.intrinsic <= MODERATE and (cells.span is not None or not cells.reduced):
        z = cells.targets.double()
        values, vectors = torch.linalg.eigh(cells.summed(z.T @ (z * cells.of_own(cells.masses)[:, None])))
        inverse = torch.where(values > 1e-9 * values.max(), values, torch.inf).rsqrt()
        found.append(-0.5 * cells.gathered(((z @ vectors).square() * inverse).sum(dim=1)))
    return found


def on_a_line(cells: Cells) -> Tensor | None:
    """The solution [n] float64 in one dimension, for a normal source; None elsewhere.

    Cells are intervals in the order of their targets, which end at b_j = Φ⁻¹(ν_1 + … + ν_j); scores are equal there:
    h_{j+1} − h_j = −b_j·(z_{j+1} − z_j).
    """
    if cells.dim > 1 or not isinstance(cells.problem.source, Gaussian):
        return None
    z, order = cells.gathered(cells.targets[:, 0].double()).sort()
    ends = torch.special.ndtri(cells.masses[order].cumsum(0)[:-1])
    heights = torch.zeros_like(z)
    heights[order[1:]] = (-ends * z.diff()).cumsum(0)
    return heights - heights.mean()


def quantile(masses: Tensor) -> Tensor:
    """q_j = Φ⁻¹(1 − ν_j), at least 0.5 so that it can be a scale."""
    return (-torch.special.ndtri(masses)).clamp(min=0.5)
