"""MobileNetV2 trained on ImageNet: the stand-in where the Inception weights of FID cannot be had. FD, never FID."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmark.data.pixels import to_pixels
from benchmark.metrics.extractors.base import Activations, Extractor, extractor, load_weights, state_hash, weights_root

FILE = "mobilenet_v2_imagenet_features.safetensors"
SIDE = 160


class MobileNetFeatures(nn.Module):
    """Mean over positions of MobileNetV2's last 1,280 channels (Sandler et al. 2018): [B, 3, H, W] -> [B, 1280].

    Images in [−1, 1] are rounded to bytes as if they had been stored, and resized to 160 pixels (bilinear,
    antialiased).

    Raises:
        MetricError: the weights are not there or not these.
    """

    def __init__(self, path: Path):
        super().__init__()
        from torchvision.models import mobilenet_v2

        self.trunk = mobilenet_v2(weights=None).features
        load_weights(self.trunk, path)
        self.trunk.eval().requires_grad_(False)
        self.mean = nn.Buffer(torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.std = nn.Buffer(torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = (to_pixels(x).float() / 255 - self.mean) / self.std
        x = F.interpolate(x, size=SIDE, mode="bilinear", antialias=True, align_corners=False)
        return self.trunk(x.contiguous(memory_format=torch.channels_last)).mean((2, 3))


@extractor("mobilenet_v2", "MobileNetV2, ImageNet")
def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """`mobilenet_v2`: weights of the weights' folder, or at a path."""
    network = MobileNetFeatures(weights or weights_root() / FILE).to(device)
    digest = state_hash(network)
    fuse_norms(network)
    batch = 10 if device.type == "cpu" else 1000  # on a CPU small batches stay in its cache

    def activations(images: Tensor) -> Activations:
        return torch.cat([network(part) for part in images.split(batch)]), None

    return Extractor(
        name=name,
        sha256=digest,
        resize=f"bilinear, antialiased, to {SIDE}",
        dim=1280,
        activations=activations,
        device=device,
    )


def fuse_norms(network: nn.Module) -> None:
    """Fold every batch norm that follows a convolution into it: a quarter less time on a CPU."""
    for stage in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        for conv, norm in zip(layers := list(stage._modules), layers[1:], strict=False):
            a, b = stage._modules[conv], stage._modules[norm]
            if isinstance(a, nn.Conv2d) and isinstance(b, nn.BatchNorm2d):
                stage._modules[conv], stage._modules[norm] = fuse_conv_bn_eval(a, b), nn.Identity()
    network.to(memory_format=torch.channels_last)
