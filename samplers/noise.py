"""Noise levels and noise.

One convention everywhere: `x = x0 + σ n` with `n ~ N(0, I)` (variance exploding, "VE"). A variance-preserving (VP)
state is `α x` with `α = 1/√(1+σ²)`; `λ = −log σ` is the half log-SNR of Lu et al. (2022).
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from samplers.errors import UserError
from samplers.options import either

BETA_MIN, BETA_MAX = 0.1, 20.0
"""Linear VP schedule of DDPM in continuous time: β(t) = β_min + t (β_max − β_min), t in [0, 1] (Song et al., 2021)."""


def vp_sigma(t: Tensor) -> Tensor:
    """σ of the linear VP schedule at time t: σ² = exp(∫β) − 1 (Karras et al. 2022, table 1)."""
    return (0.5 * (BETA_MAX - BETA_MIN) * t**2 + BETA_MIN * t).expm1().sqrt()


def vp_time(sigma: Tensor) -> Tensor:
    """Inverse of `vp_sigma`; beyond t = 1 the schedule is continued."""
    integral = (sigma**2).log1p()  # the root of a quadratic, in the form that keeps its digits at small σ
    return 2 * integral / ((BETA_MIN**2 + 2 * (BETA_MAX - BETA_MIN) * integral).sqrt() + BETA_MIN)


def vp_alpha(sigma: Tensor) -> Tensor:
    """α of the VP state at noise level σ: 1/√(1+σ²)."""
    return (1 + sigma**2).rsqrt()


def _ends(sigma_max: float, sigma_min: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(sigma_max, dtype=torch.float64), torch.tensor(sigma_min, dtype=torch.float64)


def _spaced(to: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]) -> Callable[[int, float, float], Tensor]:
    """A grid that is uniform in `to(σ)`."""

    def grid(steps: int, sigma_max: float, sigma_min: float) -> Tensor:
        start, stop = (to(end) for end in _ends(sigma_max, sigma_min))
        sigmas = back(start + (stop - start) * torch.linspace(0, 1, steps + 1, dtype=torch.float64))
        sigmas[0], sigmas[-1] = sigma_max, sigma_min
        return sigmas

    return grid


RHO = 7.0

Grid = Literal["ddpm-uniform", "ddpm-quadratic", "log-snr", "edm"]
"""Names of the grids below."""

GRIDS: dict[Grid, Callable[[int, float, float], Tensor]] = {
    "ddpm-uniform": _spaced(vp_time, vp_sigma),
    "ddpm-quadratic": _spaced(lambda s: vp_time(s).sqrt(), lambda u: vp_sigma(u**2)),
    "log-snr": _spaced(torch.log, torch.exp),
    "edm": _spaced(lambda s: s ** (1 / RHO), lambda u: u**RHO),
}
"""Grid name -> function (steps, σ_max, σ_min) -> decreasing σ, float64 [steps + 1].

`ddpm-uniform`, `ddpm-quadratic`: uniform in t and in √t of the linear VP schedule (DDIM, Song et al. 2021, app. D.2);
`log-snr`: uniform in log σ (DPM-Solver, Lu et al. 2022, sec. 3.3; also the geometric ladder of NCSN);
`edm`: uniform in σ^(1/7) (Karras et al. 2022, eq. 5).
"""


def make_grid(name: Grid, steps: int, sigma_max: float, sigma_min: float) -> Tensor:
    """The named grid with `steps` intervals: decreasing σ, float64 [steps + 1].

    Raises:
        UserError: unknown grid, no interval, or levels that do not decrease.
    """
    if name not in GRIDS:
        raise UserError(f"grid takes {either(GRIDS)}, not '{name}'")
    if steps < 1:
        raise UserError(f"a grid needs at least 1 interval, got {steps}")
    if not 0 < sigma_min < sigma_max < math.inf:
        raise UserError(f"a grid needs 0 < sigma_min < sigma_max, got {sigma_min:g} and {sigma_max:g}")
    return GRIDS[name](steps, sigma_max, sigma_min)


def stream(*parts: object) -> torch.Generator:
    """A CPU generator whose state depends on `parts` alone (through SHA-256), whatever the machine or process."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


@dataclass
class ShardNoise:
    """All randomness of one shard of samples: shard k of seed s draws from (s, k) alone.

    Every sampler at the same seed sees the same `initial` noise, and the i-th call of `step` is the same for all.
    Drawn on the CPU and moved, so that the numbers do not depend on the device.

    Attributes:
        seed, shard: what the streams are derived from; a shard is a number, or a name for noise outside of runs.
        shape: shape of the whole shard, [S, ...].
        dtype, device: of the tensors handed out.
    """

    seed: int
    shard: int | str
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"
    _steps: torch.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._steps = stream(self.seed, self.shard, "steps")

    def _draw(self, generator: torch.Generator) -> Tensor:
        return torch.randn(self.shape, generator=generator, dtype=self.dtype).to(self.device)

    def initial(self) -> Tensor:
        """The white noise that samples start from, [S, ...]; the same at every call."""
        return self._draw(stream(self.seed, self.shard, "initial"))

    def step(self) -> Tensor:
        """Fresh white noise for one stochastic step, [S, ...]."""
        return self._draw(self._steps)

    def uniform(self, name: str) -> Tensor:
        """U[0, 1) numbers of the shard's own stream `name`, float64 [S]; the same at every call."""
        return torch.rand(self.shape[0], generator=stream(self.seed, self.shard, name), dtype=torch.float64)
