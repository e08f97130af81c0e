"""NCSNv2 (Song & Ermon 2020): a RefineNet that does not see the noise level; score = F(x)/σ.

Files of github.com/ermongroup/ncsnv2, ``checkpoint_*.pth``: three depths, of which the tensors tell: four stages
(CIFAR-10, CelebA), five (LSUN) and six (FFHQ).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError, load_tensors
from benchmark.networks.published.denoisers import VarianceExploding

MARK = "begin_conv.weight"
"""A tensor that only these files have."""
STAGES: dict[int, tuple[tuple[str, int, int], ...]] = {
    4: (("1", 1, 0), ("2", 2, 1), ("3", 2, 2), ("4", 2, 4)),
    5: (("1", 1, 0), ("2", 2, 1), ("3", 2, 1), ("4", 4, 2), ("5", 4, 4)),
    6: (("1", 1, 0), ("2", 2, 1), ("3", 2, 1), ("31", 2, 1), ("4", 4, 2), ("5", 4, 4)),
}
"""Depth -> of each stage: name, width in units of the first, and how it sees farther: 0 not, 1 by halving the sides,
more by that dilation."""
REFINES = {4: ("1", "2", "3", "4"), 5: ("1", "2", "3", "4", "5"), 6: ("1", "2", "31", "3", "4", "5")}
"""Depth -> names of the refining blocks, from the last stage to the first."""


class InstanceNormPlus(nn.Module):
    """Instance normalisation that adds back the means it removes, normalised over channels (Song & Ermon 2019, A.1)."""

    def __init__(self, channels: int):
        super().__init__()
        self.alpha, self.gamma = (nn.Parameter(torch.ones(channels)) for _ in range(2))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        spread = (means.var(1, keepdim=True) + 1e-5).sqrt()
        kept = (means - means.mean(1, keepdim=True)) / spread * self.alpha
        return torch.addcmul(
            (self.gamma * kept + self.beta)[:, :, None, None], F.instance_norm(x), self.gamma[:, None, None]
        )


def _conv(c_in: int, c_out: int, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, padding=dilation, dilation=dilation, bias=bias)


class _Pooled(nn.Module):
    """A convolution and the mean of every 2×2 pixels."""

    def __init__(self, c_in: int, c_out: int, kernel: int):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.kernel_size == (1, 1):  # commutes with the mean, and is cheaper behind it
            return self.conv(F.avg_pool2d(x, 2))
        return F.avg_pool2d(self.conv(x), 2)


class Residual(nn.Module):
    """Normalise, ELU, convolve, twice. The first of a stage widens (``wider``), with a convolution on the shortcut."""

    def __init__(self, c_in: int, c_out: int, view: int, wider: bool):
        super().__init__()
        self.normalize1, self.normalize2 = InstanceNormPlus(c_in), InstanceNormPlus(c_in)
        dilation = max(view, 1)
        pooled = wider and view == 1
        self.conv1 = _conv(c_in, c_in, dilation)
        self.conv2 = _Pooled(c_in, c_out, 3) if pooled else _conv(c_in, c_out, dilation)
        self.shortcut: nn.Module = nn.Identity()
        if wider:
            self.shortcut = _Pooled(c_in, c_out, 1) if pooled else _conv(c_in, c_out, dilation)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.elu(self.normalize1(x)))
        return self.shortcut(x) + self.conv2(F.elu(self.normalize2(h)))


class ResidualUnits(nn.ModuleDict):
    """``count`` residual units of two convolutions without bias or normalisation."""

    def __init__(self, channels: int, count: int):
        self.units = [(f"{unit}_1_conv", f"{unit}_2_conv") for unit in range(1, count + 1)]
        super().__init__({name: _conv(channels, channels, bias=False) for unit in self.units for name in unit})

    def forward(self, x: Tensor) -> Tensor:
        for first, second in self.units:
            x = x + self[second](F.elu(self[first](F.elu(x))))
        return x


class Refine(nn.Module):
    """Joins activations of several sizes at the size of the first, then pools in a chain (Lin et al. 2017, fig. 3)."""

    def __init__(self, widths: list[int], c_out: int, last: bool):
        super().__init__()
        self.adapt_convs = nn.ModuleList(ResidualUnits(width, 2) for width in widths)
        if len(widths) > 1:
            self.join = nn.ModuleList(_conv(width, c_out) for width in widths)
        self.chain = nn.ModuleList(_conv(c_out, c_out, bias=False) for _ in range(2))
        self.output_convs = ResidualUnits(c_out, 3 if last else 1)

    def forward(self, *inputs: Tensor) -> Tensor:
        size = inputs[0].shape[2:]
        adapted = [adapt(x) for adapt, x in zip(self.adapt_convs, inputs, strict=True)]
        if len(adapted) > 1:
            joined = [conv(x) for conv, x in zip(self.join, adapted, strict=True)]
            adapted = [F.interpolate(x, size, mode="bilinear", align_corners=True) for x in joined]
        x = path = F.elu(sum(adapted[1:], adapted[0]))
        for conv in self.chain:
            path = conv(F.max_pool2d(path, 5, stride=1, padding=2))
            x = x + path
        return self.output_convs(x)


class NCSNv2(nn.Module):
    """``x [B, C, H, W]`` in [−1, 1] plus noise -> σ·score; a second argument, the noise, is not looked at.

    Args:
        channels: width of the first stage.
        depth: number of stages, a key of :data:`STAGES`.
        image_channels: channels of the image.
    """

    def __init__(self, channels: int, depth: int, image_channels: int = 3):
        super().__init__()
        self.stages = [f"res{name}" for name, _, _ in STAGES[depth]]
        self.refines = [f"refine{name}" for name in REFINES[depth]]
        self.begin_conv = _conv(image_channels, channels)
        above = channels
        for stage, refine, (_, multiple, view) in zip(self.stages, reversed(self.refines), STAGES[depth], strict=True):
            width, top, bottom = channels * multiple, stage == self.stages[0], stage == self.stages[-1]
            blocks = (Residual(above, width, view, wider=not top), Residual(width, width, view, wider=False))
            self.add_module(stage, nn.Sequential(*blocks))
            self.add_module(refine, Refine([width] * (1 if bottom else 2), above, last=top))
            above = width
        self.normalizer = InstanceNormPlus(channels)
        self.end_conv = _conv(channels, image_channels)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        x, layers = self.begin_conv(x), []
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            layers.append(x)
        refined: tuple[Tensor, ...] = ()
        for refine in self.refines:
            refined = (self.get_submodule(refine)(layers.pop(), *refined),)
        return self.end_conv(F.elu(self.normalizer(refined[0])))


def load_ncsnv2(path: Path, state: dict[str, Tensor]) -> VarianceExploding:
    """The denoiser of a training state of NCSNv2.

    Raises:
        CheckpointError: not such a network, or damaged.
    """
    if "sigmas" not in state:
        raise CheckpointError(f"{path}: lacks tensor 'sigmas', the noise levels")
    begin, sigmas = state[MARK], 2 * state["sigmas"].double()  # theirs are for images in [0, 1]
    depth = 6 if "res31.0.conv1.weight" in state else 5 if "res5.0.conv1.weight" in state else 4
    network = NCSNv2(len(begin), depth, begin.shape[1])
    names = {name: name.replace("msf.convs", "join").replace("crp.convs", "chain") for name in state}
    load_tensors(path, network, {names[name]: tensor for name, tensor in state.items() if name != "sigmas"})
    try:
        denoiser = VarianceExploding(network, float(sigmas.min()), float(sigmas.max()))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return denoiser.for_images(begin.shape[1]).eval().requires_grad_(False)
