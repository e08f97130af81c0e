"""DPM-OT as its paper describes it: one semi-discrete OT map in place of most of the trajectory.

1. Latents: y_i = x_i + σ_M ε_i, N examples noised to the level σ_M.
2. Heights: h minimises the convex energy E(h) = ∫ max_i{⟨z, y_i⟩ + h_i} dμ(z) − (1/N) Σ_i h_i, μ = N(0, I), whose
   gradient is the mass μ(W_i) of each cell W_i less 1/N; a certificate says how far the masses are from that.
3. Map: T_h = ∇ max_i{⟨z, y_i⟩ + h_i} sends z to the y_i in whose cell it lies: OT from white noise to the latents.
4. Reverse steps: of any solver, from T_h(z) at σ_M down to an image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal

from torch import Tensor

from dpmot import HEIGHTS_VERSION, Gaussian, HardMap, SemiDiscreteProblem, SoftmaxMap, Solution, TopKMap, solve
from samplers.base import Family, Problem
from samplers.errors import UserError
from samplers.latents import FittedLatent, LatentSampler
from samplers.noise import ShardNoise
from samplers.options import check_at_least, check_positive
from samplers.registry import register


@register("dpmot")
@dataclass(frozen=True)
class DPMOT(LatentSampler):
    """White noise z goes to the latent T_h(z) by the OT map, then takes the reverse steps.

    Attributes:
        tv: the solve stops once the total variation between the map's masses and 1/N is certified below this.
        confidence: of that certificate.
        solve_samples: source samples for each target after which the solve gives up, and the record says so.
        map: `hard` (T_h itself), `top-k` (AE-OT's extension between neighbouring cells) or `softmax`.
        k, angle: of the top-k map: neighbours looked at; largest angle between their normals, in radians.
        temperature: of the softmax map, in units of the scores.
    """

    title = "DPM-OT"
    family: ClassVar[Family] = "ot"
    summary = "one certified OT map to latents at σ_M, then a few reverse steps"
    version = 3 + HEIGHTS_VERSION

    tv: float = 0.05
    confidence: float = 0.99
    solve_samples: int = 2000
    map: Literal["hard", "top-k", "softmax"] = "hard"
    k: int = 5
    angle: float = 0.7
    temperature: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "solve_samples", "k")
        check_positive(self, "angle", "temperature")
        if not (0 < self.tv < 1 and 0 < self.confidence < 1):
            raise UserError(f"tv and confidence must lie in (0, 1), got {self.tv:g} and {self.confidence:g}")

    def fit(self, problem: Problem, nfe: int, progress: bool = False) -> FittedLatent:
        latents = self.latents(problem, nfe)
        began = perf_counter()
        transport = SemiDiscreteProblem(latents.noised.flatten(1), Gaussian())
        h, info = self.find_heights(transport, progress)
        t_h = self.make_map(transport, h)

        def start(z: Tensor, noise: ShardNoise) -> Tensor:
            return t_h(z.flatten(1)).reshape(z.shape)

        return self.enter(problem, nfe, latents, start, perf_counter() - began, **info)

    def find_heights(self, transport: SemiDiscreteProblem, progress: bool) -> tuple[Tensor, dict[str, Any]]:
        """Solve for the heights h [N]; with what a record keeps of the solve."""
        solution = self.solve(transport, progress)
        return solution.heights, {
            "converged": solution.converged,
            "certificate": solution.certificate.to_dict(),
            "solve_samples": solution.samples,
            "certificate_samples": solution.certificate_samples,
            "solve_seconds": solution.seconds,
            "history": solution.history,
        }

    def solve(self, transport: SemiDiscreteProblem, progress: bool) -> Solution:
        """Solve the OT problem with the options of this sampler."""
        return solve(
            transport,
            tv=self.tv,
            confidence=self.confidence,
            max_samples=self.solve_samples * transport.num_targets,
            seed=self.target_seed,
            progress=progress,
        )

    def make_map(self, transport: SemiDiscreteProblem, heights: Tensor) -> Callable[[Tensor], Tensor]:
        """Make the map of the option `map`, from z [S, d] to latents [S, d]."""
        if self.map == "top-k":
            return TopKMap(transport, heights, k=self.k, angle=self.angle)
        if self.map == "softmax":
            return SoftmaxMap(transport, heights, temperature=self.temperature)
        return HardMap(transport, heights)
