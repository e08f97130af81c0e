"""How published networks become denoisers: D(x; σ) = c_skip·x + c_out·F(c_in·x, c_noise) with x = x0 + σ·n.

Karras et al. 2022, eq. 7 and table 1. A class here is one training's four scalings; the network F is any module that
takes ``(x [B, ...], c_noise [B])``.
"""

import math
from typing import Self

import torch
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError
from samplers.noise import vp_alpha, vp_sigma, vp_time


class Preconditioned(nn.Module):
    """Base of all: ``denoiser(x, sigma) -> x0_hat``; x ``[B, ...]``, sigma ``[]`` or ``[B]``.

    Attributes:
        sigma_min, sigma_max: the range that the network was trained on.
        image_channels, image_size: of the images that it was made for; the size is None where the file does not say.

    Raises:
        CheckpointError: no such range.
    """

    image_channels: int = 3
    image_size: tuple[int, int] | None = None

    def __init__(self, network: nn.Module, sigma_min: float, sigma_max: float):
        super().__init__()
        if not 0 < sigma_min < sigma_max < math.inf:
            raise CheckpointError(f"noise levels from {sigma_min:g} to {sigma_max:g} are none to train on")
        self.network, self.sigma_min, self.sigma_max = network, sigma_min, sigma_max

    def for_images(self, channels: int, size: tuple[int, int] | None = None) -> Self:
        """This denoiser, which says what images it was made for."""
        self.image_channels, self.image_size = channels, size
        return self

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """c_skip, c_out, c_in and c_noise of the levels ``sigma``, each float64 ``[M]``."""
        raise NotImplementedError

    def forward(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        levels = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).reshape(-1)
        *scales, noise = self.scalings(levels)
        skip, out, into = (c.to(x.dtype).view(-1, *[1] * (x.dim() - 1)) for c in scales)
        dtype = next(self.network.parameters()).dtype
        noise = noise.to(torch.promote_types(dtype, torch.float32)).expand(len(x))  # half types can't tell steps apart
        return skip * x + out * self.network((into * x).to(dtype), noise).to(x.dtype)


class EDM(Preconditioned):
    """Karras et al. 2022, table 1, last column; its networks learn from ln σ ~ N(−1.2, 1.2²) and are used in 0.002…80.

    Args:
        sigma_data: standard deviation of the data.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5):
        super().__init__(network, 0.002, 80.0)
        if not 0 < sigma_data < math.inf:
            raise CheckpointError(f"sigma_data is {sigma_data:g}, expected a deviation above 0")
        self.sigma_data = sigma_data

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        total = (sigma**2 + self.sigma_data**2).sqrt()
        return self.sigma_data**2 / total**2, sigma * self.sigma_data / total, 1 / total, sigma.log() / 4


class VariancePreserving(Preconditioned):
    """ε-prediction in the continuous linear VP process of Song et al. 2021, sec. 3.4, trained on t in [1e-5, 1].

    The state at time t is α·(x0 + σ·n); the network sees it and 999·t.
    """

    def __init__(self, network: nn.Module):
        ends = vp_sigma(torch.tensor([1e-5, 1], dtype=torch.float64)).tolist()
        super().__init__(network, *ends)

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.ones_like(sigma), -sigma, vp_alpha(sigma), 999 * vp_time(sigma)


class SubVariancePreserving(Preconditioned):
    """ε-prediction in the sub-VP process (Song et al. 2021, eq. 29): mean α·x0 as in VP, but deviation 1 − α².

    So σ = (1 − α²)/α, hence 1/α = (σ + √(σ² + 4))/2, and VP has the same α at σ_VP = √(1/α² − 1) = √(σ/α).
    """

    def __init__(self, network: nn.Module):
        alpha = vp_alpha(vp_sigma(torch.tensor([1e-5, 1], dtype=torch.float64)))
        super().__init__(network, *((1 - alpha**2) / alpha).tolist())

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        inverse = (sigma + (sigma**2 + 4).sqrt()) / 2
        return torch.ones_like(sigma), -sigma, 1 / inverse, 999 * vp_time((sigma * inverse).sqrt())


class VarianceExploding(Preconditioned):
    """Score networks of NCSN's family: the score is F/σ, so D = x + σ·F(x) (Tweedie); F may see ln(σ/2).

    They were trained on images in [0, 1], where our σ is σ/2, and map them to [−1, 1] before their first layer.
    """

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        one = torch.ones_like(sigma)
        return one, sigma, one, (sigma / 2).log()


class _Discrete(Preconditioned):
    """A network that was trained at the steps of a ladder of levels; between them time is linear in log σ.

    Args:
        sigmas: levels of all steps, float64, increasing, ``[T]``.
    """

    def __init__(self, network: nn.Module, sigmas: Tensor):
        super().__init__(network, float(sigmas[0]), float(sigmas[-1]))
        self.log_sigmas = nn.Buffer(sigmas.double().log())

    def time(self, sigma: Tensor) -> Tensor:
        """The step, in general between two whole ones, at which the level is ``sigma``; beyond the ends it stays."""
        log_sigma = sigma.double().log().clamp(self.log_sigmas[0], self.log_sigmas[-1]).contiguous()
        upper = torch.searchsorted(self.log_sigmas, log_sigma).clamp(1, len(self.log_sigmas) - 1)
        below, above = self.log_sigmas[upper - 1], self.log_sigmas[upper]
        return upper - 1 + (log_sigma - below) / (above - below)


class DiscreteEpsilonDenoiser(_Discrete):
    """A network that predicts the noise of a variance-preserving chain of discrete steps (Ho et al. 2020).

    The chain's state at step t is √ᾱ_t·x0 + √(1 − ᾱ_t)·ε = √ᾱ_t·(x0 + σ_t·ε) with σ_t = √(1/ᾱ_t − 1); the network's
    time embedding takes fractions.

    Args:
        network: ``(x_vp [B, ...], t [B]) -> ε [B, ...]``.
        alphas_cumprod: ᾱ of all steps, float64, decreasing, ``[T]``.
    """

    def __init__(self, network: nn.Module, alphas_cumprod: Tensor):
        super().__init__(network, (1 / alphas_cumprod.double() - 1).sqrt())

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return torch.ones_like(sigma), -sigma, vp_alpha(sigma), self.time(sigma)


class DiscreteVarianceExploding(_Discrete):
    """:class:`VarianceExploding` of a network that sees the step, counted from the highest level down."""

    def scalings(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        one = torch.ones_like(sigma)
        return one, sigma, one, len(self.log_sigmas) - 1 - self.time(sigma)


def linear_alphas_cumprod(start: float = 1e-4, end: float = 0.02, steps: int = 1000) -> Tensor:
    """ᾱ of Ho et al. (2020): β linear from ``start`` to ``end``; float64 ``[steps]``."""
    return (1 - torch.linspace(start, end, steps, dtype=torch.float64)).cumprod(0)
