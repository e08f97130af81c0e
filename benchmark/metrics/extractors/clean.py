"""clean-fid's Inception (Parmar, Zhang & Zhu, CVPR 2022): the same weights, antialiased bicubic resizing."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.data.pixels import to_pixels
from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors.base import Activations, Extractor, extractor, state_hash

FILE = "inception-2015-12-05.pt"


@extractor("clean-inception", "the Inception of FID with clean-fid's resizing")
def load(name: str, weights: Path | None, device: torch.device) -> Extractor:
    """`clean-inception`: weights downloaded by clean-fid, or NVIDIA's `inception-2015-12-05.pt` at a path."""
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import make_resizer

    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if weights and weights.name != FILE:
        raise MetricError(f"clean-fid's weights are a file {FILE}, not {weights}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        network = InceptionV3W(str(weights.parent if weights else folder), download=weights is None)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:120]
        raise MetricError(f"weights of '{name}' could not be loaded ({reason}): give them by --weights") from error
    network.eval().requires_grad_(False).to(device)
    resize = make_resizer("PIL", False, "bicubic", (299, 299))

    def activations(images: Tensor) -> Activations:
        resized = np.stack([resize(image) for image in to_pixels(images).permute(0, 2, 3, 1).cpu().numpy()])
        return network(torch.from_numpy(resized).permute(0, 3, 1, 2).to(device)), None

    return Extractor(
        name=name,
        sha256=state_hash(network),
        resize="PIL bicubic, antialiased, to 299",
        dim=2048,
        activations=activations,
        device=device,
        fid=weights is None,
    )
