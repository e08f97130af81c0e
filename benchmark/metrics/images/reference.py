"""What samples are compared with: the features of a data set's split, computed once and cached.

python -m benchmark.metrics.images.reference cifar10 --split train --extractor mobilenet_v2 [--ship FILE.npz]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.data.arrays import ImageSet
from benchmark.data.reader import Images, from_array
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.extractors import Extractor
from benchmark.metrics.images import moments
from benchmark.records.cache import cache_folder, cached
from dpmot.progress import progress_bar

BATCH = 1000


@dataclass(frozen=True)
class Reference:
    """One split of a data set as seen by one extractor. What needs the features computes or loads them when asked.

    Attributes:
        data: the data set.
        split: its split.
        extractor: whose features.
        cache: folder of cached features.
        progress: whether to show a bar while features are computed.
    """

    data: ImageSet
    split: str
    extractor: Extractor
    cache: Path
    progress: bool = False

    @cached_property
    def images(self) -> Images:
        """The split's images."""
        return from_array(self.data.images(self.split), f"{self.data.name} {self.split}")

    def describe(self) -> dict[str, str]:
        """What the features depend on; the cache's key is its hash."""
        content = self.data.sha256(self.split)
        return {"data": self.data.name, "split": self.split, "data_sha256": content, **self.extractor.describe()}

    @cached_property
    def features(self) -> Tensor:
        """[N, D] in float32 on the extractor's device."""

        def compute() -> np.ndarray:
            label = f"features of {self.images.name}, once"
            return extract(self.images, self.extractor, label if self.progress else None).cpu().numpy()

        label = f"{self.data.name}-{self.split}-{self.extractor.name}"
        return torch.from_numpy(cached(self.cache, label, self.describe(), compute)).to(self.extractor.device)

    @cached_property
    def gaussian(self) -> Gaussian:
        """Moments of the whole split: those shipped with the project where there are, else of the features."""
        known = moments.shipped(self.data.name, self.split, self.describe()["data_sha256"], self.extractor)
        return known if known else Gaussian.fit(self.features)


def extract(images: Images, extractor: Extractor, label: str | None = None) -> Tensor:
    """Features [N, D] of all images, with a progress bar called `label` if there is one."""
    found = []
    with progress_bar(total=images.count, desc=label, unit=" images", disable=label is None) as bar:
        for batch in images.batches(BATCH if extractor.device.type == "cuda" else 100):
            found.append(extractor(batch))
            bar.update(len(batch))
    return torch.cat(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute and cache the features of a split; write its statistics to a file if asked to."""
    from benchmark.commands import command_line, run_command
    from benchmark.metrics.extractors import names

    parser = command_line("benchmark.metrics.images.reference", main.__doc__)
    parser.add_argument("data", help="data set under the data root")
    parser.add_argument("--split", default="train")
    parser.add_argument("--extractor", default="mobilenet_v2", help=f"one of {', '.join(names())}")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, ... (default: a GPU if there is one)")
    parser.add_argument("--root", help="data root (default: $DPMOT_DATA)")
    parser.add_argument("--ship", type=Path, help="write mean and covariance to this .npz")
    return run_command(prepare, parser.parse_args(arguments), interrupted="finished features are kept")


def prepare(a: argparse.Namespace) -> None:
    """Compute the features, and write their moments where asked to."""
    from benchmark.data.arrays import open_images
    from benchmark.metrics.extractors import make_extractor
    from benchmark.workers import choose_device

    extractor = make_extractor(a.extractor, device=choose_device(a.device))
    reference = Reference(open_images(a.data, a.root), a.split, extractor, cache_folder(), progress=True)
    gaussian = Gaussian.fit(reference.features)
    if a.ship:
        moments.save(a.ship, gaussian, reference.describe())
    print(f"{gaussian.count} images, {extractor.dim} features of {extractor.name} ({extractor.sha256[:8]})")


if __name__ == "__main__":
    raise SystemExit(main())
