"""Newton's matrix for the descent, where errors of long wavelength outlast scaled gradients: clusters on the plane.

The Hessian of E is the Laplacian of the graph of neighbouring cells, weighted by the mass that crosses their facet per
unit of height (Kitagawa, Mérigot and Thibert 2019). Its inverse turns the gradient of a batch into a step; averaged
steps keep the sampling floor (stochastic Newton: Boyer and Godichon-Baggioni 2023).
"""

import torch
from torch import Tensor

from ..scores.cells import Cells
from ..scores.ranks import memory_errors
from ..scores.sampling import own_shards, sum_over_ranks

CELLS = 2048  # at most: the matrix is dense
SAMPLES = 200  # per cell and estimate of the weights
UNIT = 2.0**-16  # weights are summed in fixed point, so that the order of summation does not matter
RIDGE = 0.03  # of a cell's own stiffness, added to the diagonal: bounds the steps of weakly coupled clusters
KAPPA = 4.0  # step k goes κ/√(k + 1) of Newton's way ...
TRUST = 0.5  # ... but moves hardly any facet by more than this part of its cells' mean gaps


@memory_errors("no room for the matrix of neighbouring cells")
def facets(cells: Cells, heights: Tensor, gap: Tensor, key: tuple[int, ...]) -> Tensor:
    """Mass that crosses between cells i and j per unit of h_i − h_j, [n, n] float64, symmetric: −∂²E/∂h_i∂h_j.

    That is the density at 0 of the difference between best and second-best score where these are i and j, smoothed by
    an exponential window of half the cell's mean `gap` [n]; from fresh samples.
    """
    n, heights = cells.num, heights.float()
    sums = torch.zeros(n * n, dtype=torch.int64, device=cells.device)
    for size, rng in own_shards(cells, SAMPLES * n, cells.dim, key):
        best, cell = cells.top(cells.draw(size, rng), heights, 2)
        width = 0.5 * gap[cell[:, 0]]
        weight = torch.exp(-(best[:, 0] - best[:, 1]) / width) / width
        sums.index_add_(0, cell[:, 0] * n + cell[:, 1], (weight / UNIT).long())
    density = sum_over_ranks(cells, sums).view(n, n).double() * (UNIT / (2 * SAMPLES * n))
    return density + density.T


def inverse(weights: Tensor, stiffness: Tensor) -> Tensor:
    """Of the Laplacian of `weights` [n, n] with a part of the cells' `stiffness` [n] (mass per height) added."""
    hessian = torch.diag(weights.sum(dim=1) + RIDGE * stiffness) - weights
    return torch.cholesky_inverse(torch.linalg.cholesky(hessian))


def edges(weights: Tensor) -> Tensor:
    """Pairs of neighbours that matter, [2, E] int64."""
    return (weights > 1e-3 * weights.sum(dim=1, keepdim=True)).nonzero().T.contiguous()


def move(error: Tensor, matrix: Tensor, pairs: Tensor, gap: Tensor, step: int) -> Tensor:
    """What to take off the heights [n] for an `error` [n] of the masses at the `step`-th step, from 1."""
    change = KAPPA * (step + 1) ** -0.5 * (matrix @ error)
    i, j = pairs
    moved = (change[i] - change[j]).abs() / (gap[i] + gap[j]) if i.numel() else change.abs() / gap
    shift = moved.quantile(0.99)
    return change * min(1.0, TRUST / max(float(shift), 1e-30))
