"""Nearest neighbours at the speed of a matrix product, and exact nonetheless.

Scores |y|² − 2⟨x, y⟩ are computed in float32 by one matrix product; the best few of each row are re-scored from
differences in float64. The rounding error of a score is at most γ(2|x||y| + |y|²) with γ = (d + 16)·2⁻²⁴ (Higham, 2002,
§3.5, with room for centring). A row whose k-th re-scored distance lies below every rejected score by more than that is
proven; the few others are computed in full in float64.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

SPARE = 14  # candidates beyond k that are re-scored
SCORES = 1 << 26  # scores held at once (256 MiB)


def nearest(queries: Tensor, points: Tensor, k: int = 2, among_themselves: bool = False) -> tuple[Tensor, Tensor]:
    """The k nearest points of each query in Euclidean distance, exactly.

    Args:
        queries: [Q, ...], any numeric type, on the device where the work is to be done.
        points: [N, ...] on the same device, N >= k.
        k: neighbours wanted.
        among_themselves: queries and points are the same set, and a point is not its own neighbour.

    Returns:
        Distances [Q, k] in float64, ascending, and indices [Q, k] of the points.

    Raises:
        ValueError: fewer points than neighbours wanted.
    """
    queries, points = queries.flatten(1), points.flatten(1)
    if len(points) - among_themselves < k:
        raise ValueError(f"{k} neighbours wanted of {len(points)} points")
    y, keep = _centred(points, points), min(len(points), k + SPARE + among_themselves)
    norms = y.square().sum(1)
    distances, indices = [], []
    with _full_float32():
        for start in range(0, len(queries), batch := max(1, SCORES // len(points))):
            x = queries[start : start + batch]
            centred = _centred(x, points)
            scores = torch.addmm(norms, centred, y.T, alpha=-2)
            if among_themselves:
                scores[torch.arange(len(x)), torch.arange(start, start + len(x))] = torch.inf
            best, candidates = scores.topk(keep - among_themselves, largest=False)
            exact = _rescored(x, points, candidates)
            d, order = exact.sort(dim=1, stable=True)
            index = candidates.gather(1, order)
            if best.shape[1] < len(points) - among_themselves:
                doubtful = ~_proven(d[:, k - 1], best[:, -1], centred, norms)
                rows = doubtful.nonzero()[:, 0]
                _in_full(x, points, rows, start if among_themselves else None, d, index)
            distances.append(d[:, :k])
            indices.append(index[:, :k])
    return torch.cat(distances), torch.cat(indices)


def _centred(x: Tensor, points: Tensor) -> Tensor:
    """x less the mean of the points (a whole number for integer types, so that nothing is rounded), in float32."""
    mean = points.double().mean(0) if len(points) <= 10_000 else points[:10_000].double().mean(0)
    return (x.double() - (mean if points.is_floating_point() else mean.round())).float()


def _rescored(x: Tensor, points: Tensor, candidates: Tensor) -> Tensor:
    """Distances [B, K] in float64 of x [B, d] to points[candidates], one candidate a row at a time to save memory."""
    exact = [(x.double() - points[column].double()).square_().sum(1) for column in candidates.T]
    return torch.stack(exact, 1).sqrt()


def _proven(kth: Tensor, rejected: Tensor, centred: Tensor, norms: Tensor) -> Tensor:
    """Whether no rejected point can be nearer than the k-th exact distance [B]; `rejected` is the last kept score."""
    own = centred.double().square().sum(1)
    furthest = norms.max().double()
    slack = (centred.shape[1] + 16) * 2.0**-24 * (2 * (own * furthest).sqrt() + furthest + own)
    return kth.square() - own <= rejected.double() - slack


def _in_full(x: Tensor, points: Tensor, rows: Tensor, start: int | None, d: Tensor, index: Tensor) -> None:
    """Overwrite `d` and `index` [B, K] in the given rows by a complete search in float64."""
    for row in rows.tolist():
        full = torch.cat([(block.double() - x[row].double()).square().sum(1) for block in points.split(1 << 14)]).sqrt()
        if start is not None:
            full[start + row] = torch.inf
        d[row], index[row] = full.topk(d.shape[1], largest=False)


@contextmanager
def _full_float32() -> Iterator[None]:
    """Matrix products in true float32, which the error bound takes for granted, whatever the caller has set."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
