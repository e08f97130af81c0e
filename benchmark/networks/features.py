"""ImageNet features for Fréchet distances where FID's Inception weights can't be had: FD (MobileNetV2), never FID."""

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.networks.checkpoint import CheckpointError, load_tensors

FILE = "mobilenet_v2_imagenet_features.safetensors"
SIDE = 160


def weights_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Where weights that are not ours lie: ``root``, else ``$DPMOT_WEIGHTS``, else ``~/.cache/dpmot/weights``."""
    return Path(root or os.environ.get("DPMOT_WEIGHTS") or Path.home() / ".cache" / "dpmot" / "weights").expanduser()


class MobileNetFeatures(nn.Module):
    """Mean over positions of MobileNetV2's last 1,280 channels (Sandler et al. 2018), trained on ImageNet.

    Takes images ``[B, 3, H, W]`` in [-1, 1], rounds them to bytes as if they had been stored, resizes to 160 pixels
    (bilinear, antialiased) and gives ``[B, 1280]``.

    Raises:
        CheckpointError: the weights are not there or not these.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        super().__init__()
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from torchvision.models import mobilenet_v2

        path = Path(path or weights_root() / FILE)
        try:
            tensors = load_file(path)
        except (OSError, SafetensorError) as error:
            reason = "damaged" if path.exists() else "not there: give the folder of such weights by DPMOT_WEIGHTS"
            raise CheckpointError(f"{path}: {reason}") from error
        self.trunk = mobilenet_v2(weights=None).features
        counters = {k: v for k, v in self.trunk.state_dict().items() if k.endswith("num_batches_tracked")}  # unused
        load_tensors(path, self.trunk, {**counters, **tensors})
        self.trunk.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.mean = nn.Buffer(torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.std = nn.Buffer(torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        x = (x.float() * 127.5 + 127.5).round().clamp(0, 255) / 255
        x = F.interpolate((x - self.mean) / self.std, size=SIDE, mode="bilinear", antialias=True, align_corners=False)
        return self.trunk(x.contiguous(memory_format=torch.channels_last)).mean((2, 3))
