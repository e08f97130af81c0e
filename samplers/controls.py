"""Controls: what is left of DPM-OT when one of its parts is taken away."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from dpmot import SemiDiscreteProblem, closed_form_heights
from samplers.base import Denoiser, Family, FittedSampler, Problem, Sampler
from samplers.dpmot import DPMOT
from samplers.latents import FittedLatent, LatentSampler
from samplers.noise import ShardNoise, stream
from samplers.options import check_at_least
from samplers.registry import register


def random_index(noise: ShardNoise, count: int) -> Tensor:
    """Uniform indices below `count`, one a sample, from the shard's own stream; [S]."""
    return (noise.uniform("index") * count).long()


@register("random-latent")
@dataclass(frozen=True)
class RandomLatent(LatentSampler):
    """A latent drawn uniformly at random, then the same reverse steps: DPM-OT without its OT map.

    With a hard map and equal masses DPM-OT has exactly this output law, since z is not used again after T_h(z).
    """

    title = "random latent"
    family = "control"
    summary = "DPM-OT with a random latent in place of the OT map"
    paper = "control of this suite"

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedLatent:
        latents = self.latents(problem, nfe)
        began = perf_counter()

        def start(z: Tensor, noise: ShardNoise) -> Tensor:
            return latents.noised[random_index(noise, len(latents)).to(latents.noised.device)]

        return self.enter(problem, nfe, latents, start, perf_counter() - began)


@register("unsolved-map")
@dataclass(frozen=True)
class UnsolvedMap(DPMOT):
    """DPM-OT with heights that do not solve the OT problem.

    Attributes:
        heights: `zero` (h = 0: the cells of the largest inner product), `closed-form` (the solver's start, not
            iterated), or `shuffled` (the solved heights, permuted among the targets).
    """

    title = "unsolved map"
    family = "control"
    summary = "DPM-OT with an OT map that was not solved"
    paper = "control of this suite"

    heights: Literal["zero", "closed-form", "shuffled"] = "zero"

    def find_heights(self, transport: SemiDiscreteProblem, progress: bool) -> tuple[Tensor, dict[str, Any]]:
        """Make the heights of the option `heights`, [N]; nothing is recorded of them."""
        if self.heights == "closed-form":
            return closed_form_heights(transport), {}
        if self.heights == "shuffled":
            solved = self.solve(transport, progress).heights
            order = torch.randperm(len(solved), generator=stream("shuffle", self.target_seed))
            return solved[order.to(solved.device)], {}
        targets = transport.targets
        return torch.zeros(len(targets), dtype=targets.dtype, device=targets.device), {}


@dataclass(frozen=True)
class _FittedCopy(FittedSampler):
    examples: Tensor

    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        return self.examples[random_index(noise, len(self.examples)).to(self.examples.device)]


@register("copy-target")
@dataclass(frozen=True)
class CopyTarget(Sampler):
    """Return a random clean example and call no network: what replaying the targets alone is worth.

    Attributes:
        targets: the split that is replayed, `train` or `test`.
        count: how many of its examples.
    """

    title = "copy of a target"
    family: ClassVar[Family] = "control"
    summary = "a random training example as it is; no network"
    paper = "control of this suite"
    network = False

    targets: Literal["train", "test"] = "train"
    count: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "count")

    @property
    def from_examples(self) -> bool:
        return True

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> _FittedCopy:
        examples = problem.examples(self.targets, self.count).to(problem.device, problem.dtype)
        return _FittedCopy(examples, info={"targets": len(examples)})


@register("held-out")
@dataclass(frozen=True)
class HeldOut(CopyTarget):
    """Real examples that no denoiser was trained on, each at most once: the floor of every measure.

    A seed puts the split into an order of its own and its shards take their share of it one after the other, beginning
    again where more samples are asked for than there are. Where all are asked for, all seeds give the same set, and the
    spread over seeds is none. (The targets of `dpmot-released` are of this split.)
    """

    title = "held-out data"
    family = "real"
    summary = "held-out real examples, each once: the floor of every measure"
    version = 2

    targets: Literal["train", "test"] = "test"
    count: int = 10_000

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> _FittedCopy:
        fitted = super().fit(problem, nfe, progress)
        return _FittedOnce(fitted.examples, info=fitted.info)


@dataclass(frozen=True)
class _FittedOnce(_FittedCopy):
    def sample(self, denoiser: Denoiser, noise: ShardNoise) -> Tensor:
        order = torch.randperm(len(self.examples), generator=stream(noise.seed, "held-out"))
        size = noise.shape[0]
        places = torch.arange(size) + (noise.shard * size if isinstance(noise.shard, int) else 0)
        return self.examples[order[places % len(order)].to(self.examples.device)]
