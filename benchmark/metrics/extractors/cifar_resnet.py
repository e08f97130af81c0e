"""Residual networks for CIFAR-10 (He et al., CVPR 2016, section 4.2), whose shortcuts have no parameters (option A)."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.data.pixels import to_pixels
from benchmark.metrics.extractors.base import Activations, Extractor, extractor, load_weights, state_hash, weights_root

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, with which these weights were trained


class Block(nn.Module):
    """Two 3×3 convolutions; the shortcut takes every second pixel and pads channels with zeros where sizes differ."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.pad = stride, (c_out - c_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class CifarResNet(nn.Module):
    """Depth 6n + 2: images in [0, 1], normalised, [B, 3, 32, 32] -> features [B, 64], logits [B, 10]."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = self._stage(16, 16, blocks, 1)
        self.layer2 = self._stage(16, 32, blocks, 2)
        self.layer3 = self._stage(32, 64, blocks, 2)
        self.linear = nn.Linear(64, 10)

    @staticmethod
    def _stage(c_in: int, c_out: int, blocks: int, stride: int) -> nn.Sequential:
        return nn.Sequential(Block(c_in, c_out, stride), *(Block(c_out, c_out, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return features, self.linear(features)


def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """`cifar10_resnetN` with weights `cifar10_resnetN.safetensors` of the weights' folder, or at a path."""
    network = CifarResNet(int(name.removeprefix("cifar10_resnet")))
    load_weights(network, weights or weights_root() / f"{name}.safetensors")
    network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (MEAN, STD))

    def activations(images: Tensor) -> Activations:
        x = to_pixels(images).float() / 255
        if x.shape[-2:] != (32, 32):
            x = F.interpolate(x, size=(32, 32), mode="bilinear", antialias=True, align_corners=False)
        return network(((x - mean) / std).contiguous(memory_format=torch.channels_last))

    return Extractor(
        name=name,
        sha256=state_hash(network),
        resize="none at 32, else bilinear, antialiased, to 32",
        dim=64,
        activations=activations,
        device=device,
        classes_of="cifar10",
    )


for depth in (20, 32, 44, 56):
    extractor(f"cifar10_resnet{depth}", f"ResNet-{depth} for CIFAR-10: classifier")(load)
