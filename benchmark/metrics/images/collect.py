"""One pass over samples: everything the metrics need of them, split over processes where there are several."""

import hashlib
import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from benchmark.data.reader import Images
from benchmark.metrics.base import MetricError
from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.extractors import Extractor
from benchmark.workers import gather_rows
from dpmot.progress import progress_bar


@dataclass(frozen=True)
class Collected:
    """What a pass over S samples leaves; pixels are not kept.

    Attributes:
        features: [S, D] float32 of the extractor.
        logits: [S, C] of the classifier, None without one.
        pixel_distances, pixel_neighbours: distances to the two nearest training images, [S, 2], and their indices;
            pixels in [0, 1]; None where they were not asked for.
        digests: first 8 bytes of the SHA-256 of each image, int64 [S]: equal for equal images.
    """

    features: Tensor
    logits: Tensor | None
    pixel_distances: Tensor | None
    pixel_neighbours: Tensor | None
    digests: Tensor


def collect(
    images: Images,
    extractor: Extractor,
    classifier: Extractor | None = None,
    train_pixels: Index | None = None,
    batch: int = 250,
    progress: bool = False,
) -> Collected:
    """Look at every image once; each process of a group takes an equal run of them and all get the whole result.

    Args:
        classifier: whose logits to keep (may be the extractor itself).
        train_pixels: training images in bytes, on the extractor's device, to find neighbours among.
        batch: images at a time; results do not depend on it beyond rounding.
    """
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    run = math.ceil(images.count / ranks)
    start, stop = min(rank * run, images.count), min((rank + 1) * run, images.count)
    if (ranks - 1) * run >= images.count:  # the last would have none: said by all, or the others would wait for it
        raise MetricError(f"{images.count} images are too few for {ranks} processes")
    parts: dict[str, list[Tensor]] = {}
    with progress_bar(total=stop - start, desc=images.name, unit=" images", disable=not progress or rank > 0) as bar:
        for raw in images.batches(batch, start, stop):
            for key, value in _look(raw.to(extractor.device), raw, extractor, classifier, train_pixels).items():
                parts.setdefault(key, []).append(value)
            bar.update(len(raw))
    whole = {key: gather_rows(torch.cat(values)) for key, values in parts.items()}
    return Collected(
        whole["features"], whole.get("logits"), whole.get("distances"), whole.get("neighbours"), whole["digests"]
    )


def _look(
    x: Tensor, raw: Tensor, extractor: Extractor, classifier: Extractor | None, train_pixels: Index | None
) -> dict[str, Tensor]:
    """Everything about one batch x [B, 3, H, W] on the device, `raw` the same on the CPU."""
    features, logits = extractor.both(x)
    found = {"features": features, "digests": torch.tensor([_digest(image) for image in raw], device=x.device)}
    if classifier is not None:
        scores = logits if classifier is extractor else classifier.both(x)[1]
        if scores is not None:
            found["logits"] = scores
    if train_pixels is not None:
        distances, found["neighbours"] = train_pixels.nearest(x, 2)
        found["distances"] = distances / 255
    return found


def _digest(image: Tensor) -> int:
    return int.from_bytes(hashlib.sha256(image.contiguous().numpy().tobytes()).digest()[:8], "big", signed=True)
