"""Nearest neighbours at the speed of a matrix product, and exact nonetheless.

Scores |y|² − 2⟨x, y⟩ are computed in float32 by one matrix product; the best few of each row are re-scored from
differences in float64. The rounding error of a score is at most γ(2|x||y| + |y|²) with γ = (d + 16)·2⁻²⁴ (Higham, 2002,
§3.5, with room for centring). A row whose k-th re-scored distance lies below every rejected score by more than that is
proven; the few others are computed in full in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.metrics.estimation.arithmetic import true_float32

SPARE = 14  # candidates beyond k that are re-scored
SCORES = 1 << 26  # scores held at once (256 MiB)
ROWS = 1 << 14  # rows converted to float64 at once


@dataclass(frozen=True, eq=False)
class Index:
    """Points made ready for queries.

    Attributes:
        points: [N, d] as given, any numeric type.
        mean: [d] float64, near their centre; whole numbers for integer types, so that centring rounds nothing.
        centred: [N, d] float32.
        norms: |centred|², [N].
    """

    points: Tensor
    mean: Tensor
    centred: Tensor
    norms: Tensor

    @classmethod
    def of(cls, points: Tensor) -> "Index":
        """Of points [N, ...], on the device where the work is to be done."""
        points = points.flatten(1)
        mean = points[:ROWS].double().mean(0)
        mean = mean if points.is_floating_point() else mean.round()
        centred = torch.cat([(part.double() - mean).float() for part in points.split(ROWS)])
        return cls(points, mean, centred, centred.square().sum(1))

    def nearest(self, queries: Tensor, k: int = 2) -> tuple[Tensor, Tensor]:
        """The k nearest points of each query [Q, ...] in Euclidean distance, exactly.

        A query that is one of the points finds itself, at distance 0.

        Returns:
            Distances [Q, k] in float64, ascending, and indices [Q, k] of the points.

        Raises:
            ValueError: fewer points than neighbours wanted.
        """
        if len(self.points) < k:
            raise ValueError(f"{k} neighbours wanted of {len(self.points)} points")
        found = [self._nearest(x, k) for x in queries.flatten(1).split(max(1, SCORES // len(self.points)))]
        return torch.cat([d for d, _ in found]), torch.cat([i for _, i in found])

    def _nearest(self, x: Tensor, k: int) -> tuple[Tensor, Tensor]:
        centred = (x.double() - self.mean).float()
        with true_float32():
            scores = torch.addmm(self.norms, centred, self.centred.T, alpha=-2)
        best, candidates = scores.topk(min(len(self.points), k + SPARE), largest=False)
        distances, order = self._distances(x, candidates).sort(dim=1, stable=True)
        index = candidates.gather(1, order)
        if len(self.points) > k + SPARE:
            doubtful = ~self._proven(distances[:, k - 1], best[:, -1], centred)
            for row in doubtful.nonzero()[:, 0].tolist():
                parts = [(part.double() - x[row].double()).square().sum(1) for part in self.points.split(ROWS)]
                distances[row], index[row] = torch.cat(parts).sqrt().topk(distances.shape[1], largest=False)
        return distances[:, :k], index[:, :k]

    def _distances(self, x: Tensor, candidates: Tensor) -> Tensor:
        """Distances [B, K] in float64 of x [B, d] to points[candidates], one column at a time to save memory."""
        columns = [(x.double() - self.points[column].double()).square_().sum(1) for column in candidates.T]
        return torch.stack(columns, 1).sqrt()

    def _proven(self, kth: Tensor, last: Tensor, centred: Tensor) -> Tensor:
        """Whether no rejected point can be nearer than the k-th exact distance [B]; `last` is the last kept score."""
        own, furthest = centred.double().square().sum(1), self.norms.max().double()
        slack = (centred.shape[1] + 16) * 2.0**-24 * (2 * (own * furthest).sqrt() + furthest + own)
        return kth.square() - own <= last.double() - slack


def nearest(queries: Tensor, points: Tensor, k: int = 2) -> tuple[Tensor, Tensor]:
    """`Index.of(points).nearest(queries, k)`, for points that are asked once."""
    return Index.of(points).nearest(queries, k)
