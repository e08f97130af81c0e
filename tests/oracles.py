"""Independent answers for the samplers: closed-form problems, and diffusers' schedulers behind our noise convention."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from samplers.noise import vp_sigma

F64 = torch.float64
CPU = torch.device("cpu")


@dataclass
class Gaussian:
    """Data N(mean, diag(std²)): denoiser, probability flow and the law at every level are known. A `Problem`."""

    mean: tuple[float, ...] = (0.3, -1.0, 2.0)
    std: tuple[float, ...] = (0.5, 1.0, 2.0)
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    dtype: torch.dtype = F64
    device: torch.device = CPU
    name: str = "gaussian"
    trainable: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.mean),)

    @property
    def m(self) -> Tensor:
        return torch.tensor(self.mean, dtype=self.dtype)

    @property
    def s(self) -> Tensor:
        return torch.tensor(self.std, dtype=self.dtype)

    def shrink(self, sigma: Tensor | float) -> Tensor:
        """dD/dx = s²/(s²+σ²), [d]."""
        return self.s**2 / (self.s**2 + sigma**2)

    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """Elementwise, so that a sample's bits cannot depend on its batch."""
        sigma = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1)
        return self.m + self.s**2 / (self.s**2 + sigma**2) * (x - self.m)

    def flow(self, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
        """The exact solution of dx/dσ = (x − D)/σ from σ to σ_next."""
        return self.m + ((self.s**2 + sigma_next**2) / (self.s**2 + sigma**2)).sqrt() * (x - self.m)

    def examples(self, split: str, count: int) -> Tensor:
        return self.m + self.s * torch.randn(count, *self.shape, dtype=self.dtype)

    def remember(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        return make()


MODES = torch.tensor([[1.5, -0.5, 0.2], [-1.0, 1.0, 0.8], [0.3, 0.4, -1.6], [-0.8, -1.2, -0.1]], dtype=F64)


def mixture_denoiser(x: Tensor, sigma: Tensor | float, width: float = 0.3) -> Tensor:
    """The exact denoiser of four Gaussians in three dimensions: not linear, for parity of whole trajectories."""
    sigma = torch.as_tensor(sigma, dtype=x.dtype)
    variance = width**2 + sigma**2
    modes = MODES.to(x.dtype)
    weights = torch.softmax(-(x[:, None] - modes).pow(2).sum(-1) / (2 * variance), 1)
    return (weights @ modes) * (sigma**2 / variance) + x * (width**2 / variance)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def vp_scheduler(cls: type, steps: int, **config: Any) -> tuple[Any, Tensor]:
    """A scheduler that looks levels up by timestep, and the levels that it visits, [steps + 1], the last 0.

    Its discrete ᾱ is replaced by that of the continuous VP schedule at t = (timestep + 1)/1000, in float64.
    """
    scheduler = cls(num_train_timesteps=1000, timestep_spacing="leading", **config)
    times = torch.arange(1, 1001, dtype=F64) / 1000
    scheduler.alphas_cumprod = 1 / (1 + vp_sigma(times) ** 2)
    scheduler.alphas = scheduler.alphas_cumprod / torch.cat([torch.ones(1, dtype=F64), scheduler.alphas_cumprod[:-1]])
    scheduler.betas = 1 - scheduler.alphas
    scheduler.one = scheduler.final_alpha_cumprod = torch.ones((), dtype=F64)
    scheduler.set_timesteps(steps)
    visited = torch.arange(steps - 1, -1, -1) * (1000 // steps)
    return scheduler, torch.cat([vp_sigma(times)[visited], torch.zeros(1, dtype=F64)])


def vp_sample(scheduler: Any, denoiser: Callable, x: Tensor, sigma_max: Tensor, **step: Iterable[Any]) -> Tensor:
    """Run a scheduler of `vp_scheduler` from x = x0 + σ_max n; `step` holds one keyword's value for each step."""
    x = x / (1 + sigma_max**2).sqrt()
    each = {name: iter(values) for name, values in step.items()}
    for t in scheduler.timesteps:
        alpha_bar = scheduler.alphas_cumprod[t]
        sigma = (1 / alpha_bar - 1).sqrt()
        ve = x / alpha_bar.sqrt()
        eps = (ve - denoiser(ve, sigma)) / sigma
        x = scheduler.step(eps, t, x, **{name: next(values) for name, values in each.items()}).prev_sample
    return x


def sigma_sample(cls: type, denoiser: Callable, x: Tensor, sigmas: Tensor, vp: bool = True, **config: Any) -> Tensor:
    """Run a scheduler that keeps a list of levels on `sigmas`, [steps + 1], whatever its own spacing.

    With `vp` its state is the VP one, x/√(1+σ²); its order falls at the end below 15 steps where its config says so.
    """
    scheduler = cls(**config)
    steps = len(sigmas) - 1
    scheduler.set_timesteps(steps)
    scheduler.sigmas = sigmas.clone()
    if hasattr(scheduler, "dt"):  # Heun visits each inner level twice
        scheduler.sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.set_begin_index(0)
    scale = (1 + sigmas**2).sqrt() if vp else torch.ones_like(sigmas)
    x = x / scale[0]
    for i, t in enumerate(scheduler.timesteps):
        sigma = scheduler.sigmas[i]
        ve = x * (1 + sigma**2).sqrt() if vp else x
        x = scheduler.step((ve - denoiser(ve, sigma)) / sigma, t, x).prev_sample
    return x * scale[-1]


def denoiser_error(denoiser: Callable[..., Tensor], x: Tensor, sigma: Tensor | float, expected: Tensor) -> float:
    """Largest difference of x − D(x; σ) from the ``expected`` D's, in units of its largest value."""
    residual = x.double() - expected.double()
    return float((x.double() - denoiser(x.double(), sigma) - residual).abs().max() / residual.abs().max())
