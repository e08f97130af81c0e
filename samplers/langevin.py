"""Annealed Langevin dynamics of NCSN."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from samplers.base import Denoiser, ReverseSampler
from samplers.errors import UserError
from samplers.noise import Grid, ShardNoise
from samplers.options import check_at_least, check_positive
from samplers.registry import register


def stable_step(gamma: Tensor, steps: int) -> Tensor:
    """Step over σ² that keeps a chain at its level, for `steps` steps after a level γ times as high; float64 [].

    Technique 4 of Song and Ermon (2020): for data at one point the variance over σ² goes from γ² to
    (1−a)^(2T) (γ² − c) + c with c = 2/(2−a), and the step a is to bring it nearest to 1. Found on a fine ladder.
    """
    a = torch.logspace(-6, 0, 6001, dtype=torch.float64)
    limit = 2 / (2 - a)
    ratio = (1 - a) ** (2 * steps) * (gamma**2 - limit) + limit
    return a[(ratio - 1).abs().argmin()]


@register("langevin")
@dataclass(frozen=True)
class Langevin(ReverseSampler):
    """Annealed Langevin dynamics (Song, Ermon 2019, algorithm 1; 2020, algorithm 1 with its final denoising).

    A few steps x ← x + α s(x; σ) + √(2α) z at each level below the first, where x already is at its law; α falls
    with σ². The ladder is geometric on the default grid; the denoising at its foot is `end="denoise"`.

    Attributes:
        n_steps_each: steps at a level, T of the papers (5 in NCSNv2, with 232 levels). One is the best use of up to
            some 20 evaluations; with many levels more of them come nearer to the law of the data.
        step_lr: ε of the second paper (half of the first's), α at the lowest level; its unit is that of σ_min². Where
            None, the step is that of technique 4 of the second paper, for the ladder at hand.
    """

    title = "Langevin"
    family = "plain"
    summary = "Langevin steps at each of a ladder of noise levels"
    paper = "Song, Ermon 2019, arXiv 1907.05600; 2020, arXiv 2006.09011"
    preset = {"n_steps_each": 5}  # on 232 levels
    fast = False

    grid: Grid = "log-snr"
    n_steps_each: int = 1
    step_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "n_steps_each")
        check_positive(self, "step_lr")
        if self.afs:
            raise UserError("afs is for solvers that begin with an evaluation at sigma_max: set afs=false")

    def cost(self, intervals: int) -> int:
        return self.n_steps_each * intervals

    def integrate(self, denoiser: Denoiser, x: Tensor, sigmas: Tensor, noise: ShardNoise) -> Tensor:
        lowest = sigmas[sigmas > 0][-1]
        for sigma_before, sigma in pairwise(sigmas):
            if sigma == 0:
                return denoiser(x, sigma_before)
            if self.step_lr is None:
                alpha = stable_step(sigma_before / sigma, self.n_steps_each) * sigma**2
            else:
                alpha = self.step_lr * (sigma / lowest) ** 2
            for _ in range(self.n_steps_each):
                score = (denoiser(x, sigma) - x) / sigma**2
                x = x + alpha * score + (2 * alpha).sqrt() * noise.step()
        return x
