"""Pairs of noise and where a long run of a solver takes it: what a faster way is taught to do."""

from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from samplers.base import Problem, ReverseSampler
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import lookup

BLOCK = 1000
"""Pairs drawn at a time, each block from noise of its own."""


@dataclass(frozen=True)
class Pairs:
    """White noise and the samples that a solver makes of it.

    Attributes:
        noise: what the run starts from, divided by σ_max, [N, *shape].
        ends: where it ends, [N, *shape].
        evaluations: of the denoiser, in all.
        seconds: what the runs took, now or when they were remembered.
    """

    noise: Tensor
    ends: Tensor
    evaluations: int
    seconds: float


def make_pairs(problem: Problem, solver: str, nfe: int, count: int, seed: int) -> Pairs:
    """Run a registered solver with its defaults from `count` noises, or remember where they led.

    Raises:
        UserError: `solver` is no reverse solver, or `nfe` too small for it.
    """
    entry = lookup(solver)
    sampler = entry.make()
    if not isinstance(sampler, ReverseSampler):
        raise UserError(f"a long run takes a reverse solver such as heun, not '{solver}'")
    fitted = sampler.fit(problem, nfe)
    noises = [
        ShardNoise(seed, f"pairs {first}", (min(BLOCK, count - first), *problem.shape), problem.dtype, problem.device)
        for first in range(0, count, BLOCK)
    ]

    def run() -> Tensor:
        began = perf_counter()
        ends = torch.cat([fitted.sample(CountingDenoiser(problem.denoiser, nfe), noise) for noise in noises])
        return torch.cat([ends.flatten(), ends.new_tensor([perf_counter() - began])])

    key = f"pairs, {count} of {solver} with {nfe} evaluations, seed {seed}, version {entry.cls.version}"
    found = problem.remember(key, run)
    return Pairs(
        noise=torch.cat([noise.initial() for noise in noises]),
        ends=found[:-1].reshape(count, *problem.shape),
        evaluations=count * nfe,
        seconds=float(found[-1]),
    )
