"""Targets made into operands, block by block on the device: raw rows, rounded, reduced, hashed."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..problem import SemiDiscreteProblem

JITTER = 1e-14  # relative variance added before a Cholesky factor, ten times as much whenever it fails
TRIES = 12
BLOCK = 2**27  # numbers prepared at once
NARROW = 64  # largest dimension of a span that targets are reduced to where they have more coordinates
ROUNDING = 8.0  # what may lie outside of it, in units of the targets' own rounding


def raw_rows(problem: SemiDiscreteProblem, rows: range | Tensor, device: torch.device) -> Iterator[Tensor]:
    """Those raw targets, block by block on the device, so that only blocks of them need to fit there."""
    number = max(1, BLOCK // problem.dim)
    for start in range(0, len(rows), number):
        some = rows[start : start + number]
        index = slice(some.start, some.stop) if isinstance(some, range) else some.to(problem.targets.device)
        yield problem.targets[index].to(device)


def rounded(
    problem: SemiDiscreteProblem, rows: range | Tensor, scale: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """z_j = (y_j − ȳ)/scale for those rows, rounded to the operands' type."""
    mean = problem.target_mean.to(device)
    out, done = torch.empty(len(rows), problem.dim, device=device, dtype=dtype), 0
    for block in raw_rows(problem, rows, device):
        part = out[done : done + len(block)]
        block = block.to(torch.promote_types(block.dtype, dtype))
        part.copy_((block - mean).div_(scale))
        done += len(finite(part))
    return out


def finite(operands: Tensor) -> Tensor:
    """The same; ValueError where a value was beyond their type's range."""
    if not bool(operands.isfinite().all()):
        raise ValueError("the targets' range is too wide for these operands: give precision='fp32' or 'fp64'")
    return operands


def columns(problem: SemiDiscreteProblem, rows: Tensor, scale: float, device: torch.device) -> Iterator[Tensor]:
    """(y_j − ȳ)/scale in float64, block by block of columns."""
    mean, index = problem.target_mean.to(device), rows.to(problem.targets.device)
    whole = len(rows) == problem.num_targets
    number = max(1, BLOCK // len(rows))
    for start in range(0, problem.dim, number):
        some = slice(start, start + number)
        block = problem.targets[:, some] if whole else problem.targets[index, some]
        yield (block.to(device).double() - mean[some]).div_(scale)


def gram_factor(problem: SemiDiscreteProblem, rows: Tensor, scale: float, device: torch.device) -> Tensor:
    """L with LLᵀ = ZZᵀ, the Gram matrix of the centred targets, accumulated and factored in float64: [n, n].

    Centred targets have a singular Gram matrix, and its condition is the square of theirs: what is added to factor it
    and its own rounding would blur targets nearer than 1e-7 of their norm. So it is factored twice (CholeskyQR2: Fukaya
    et al. 2014; with a shift, 2020): Z = L₁Q₁, then Q₁Q₁ᵀ = L₂L₂ᵀ, which is near the identity, and L = L₁L₂.
    """
    gram = torch.zeros(len(rows), len(rows), dtype=torch.float64, device=device)
    for z in columns(problem, rows, scale, device):
        gram.addmm_(z, z.T)
    factor = _cholesky(gram)
    gram.zero_()
    for z in columns(problem, rows, scale, device):
        q = torch.linalg.solve_triangular(factor, z, upper=False)
        gram.addmm_(q, q.T)
    return torch.mm(factor, _cholesky(gram), out=gram)


def narrow_span(problem: SemiDiscreteProblem, rows: Tensor, device: torch.device) -> Tensor | None:
    """Orthonormal basis [r, d] float64 of the span of the centred targets, where they have more coordinates than it.

    That is where r ≤ 64, and less than both d and the number of targets alone would make it. Found from rows spread
    evenly, and tried on all: what lies outside must be of the size of the targets' own rounding. Else None.
    """
    most = min(NARROW, problem.dim - 1, len(rows) - 2)
    some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), 2 * NARROW + 2)).long().to(rows.device)]
    mean = problem.target_mean.to(device)
    raw = torch.cat([block.double() for block in raw_rows(problem, some, device)])
    rounding = ROUNDING * torch.finfo(problem.targets.dtype).eps * float(raw.norm(dim=1).max())
    z = raw - mean
    gram, least = (z @ z.T).cpu(), rounding**2 * len(z)
    if not torch.linalg.cholesky_ex(gram - least * torch.eye(len(z), dtype=gram.dtype)).info:  # they span too many
        return None
    squares, vectors = (part.to(device) for part in torch.linalg.eigh(gram))
    inside = squares > least
    if not 0 < int(inside.sum()) <= most:
        return None
    basis = torch.linalg.qr(z.T @ (vectors[:, inside] / squares[inside].sqrt())).Q.T
    for block in raw_rows(problem, rows, device):
        z = block.double() - mean
        if float((z - z @ basis.T @ basis).norm(dim=1).max()) > rounding:
            return None
    return basis


def coordinates(problem: SemiDiscreteProblem, rows: Tensor, basis: Tensor, scale: float, dtype: torch.dtype) -> Tensor:
    """Those of (y_j − ȳ)/scale in an orthonormal basis [r, d], rounded to the operands' type: [n, r]."""
    mean, device = problem.target_mean.to(basis.device), basis.device
    parts = [((block.double() - mean) @ basis.T).div_(scale) for block in raw_rows(problem, rows, device)]
    return finite(torch.cat(parts).to(dtype))


def _cholesky(gram: Tensor) -> Tensor:
    """Factor of gram [n, n] with the least jitter that it takes, added in place; ValueError where none helps."""
    size = gram.diagonal().mean()
    for power in range(TRIES):
        gram.diagonal().add_(JITTER * 10**power * size)
        factor, failed = torch.linalg.cholesky_ex(gram)
        if not failed:
            return factor
    raise ValueError("the targets' Gram matrix cannot be factored: their range is too wide")


def row_keys(x: Tensor) -> Tensor:
    """A 64-bit hash of every row, [B] int64: equal for equal rows, whatever the batch or the order of summation."""
    rng = torch.Generator().manual_seed(1)
    salt = (torch.randint(-(2**62), 2**62, x.shape[1:], generator=rng) * 2 + 1).to(x.device)
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    rows = max(1, 2**24 // x.shape[1])
    return torch.cat([((part + 0.0).view(bits).long() * salt).sum(dim=1) for part in x.split(rows)])  # −0 + 0 = 0


def duplicates(keys: Tensor) -> tuple[Tensor | None, Tensor]:
    """Groups of equal rows by their keys: (group of each or None when all differ, lowest row of each group)."""
    everything = torch.arange(len(keys), device=keys.device)
    distinct, group = keys.unique(return_inverse=True)
    if len(distinct) == len(keys):
        return None, everything
    first = torch.full_like(distinct, len(keys)).scatter_reduce_(0, group, everything, "amin")
    order = first.argsort()  # distinct targets in the order of their first appearance
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return rank[group], first[order]
