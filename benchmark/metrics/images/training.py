"""The training split of a data set as novelty needs it, in pixels or in features; what is slow is cached on disk."""

import hashlib
import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.metrics.estimation.neighbours import Index
from benchmark.metrics.estimation.training_set import TrainingSet
from benchmark.metrics.images.reference import Reference
from benchmark.records.files import replacing
from dpmot.progress import progress_bar

QUERIES = 500


def pixel_index(train: Reference, device: torch.device) -> Index:
    """The training images, as bytes in the order of a uint8 [N, 3, H, W] array."""
    return Index.of(_pixels(train).to(device))


def in_pixels(index: Index, train: Reference, test: Reference) -> TrainingSet:
    """Distances in pixels of [0, 1] to the training images in `index`."""
    key = [{k: r.describe()[k] for k in ("data", "split", "data_sha256")} for r in (train, test)]
    return _training_set(index, _pixels(test), 255.0, key, train)


def in_features(train: Reference, test: Reference) -> TrainingSet:
    """Distances in the features of the references' extractor."""
    return _training_set(Index.of(train.features), test.features, 1.0, [train.describe(), test.describe()], train)


def labels(train: Reference) -> NDArray[np.int64]:
    """Labels of the training images, [N]; all 0 where there are none."""
    found = train.data.labels(train.split)
    return np.zeros(train.images.count, np.int64) if found is None else found


def _pixels(reference: Reference) -> Tensor:
    images = torch.from_numpy(np.array(reference.data.images(reference.split)))
    return images.permute(0, 3, 1, 2).flatten(1)


def _training_set(index: Index, test: Tensor, unit: float, key: Any, train: Reference) -> TrainingSet:
    """With the held-out distances from the cache. The cell of an example is the label of its nearest training image."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    path = train.cache / f"{train.data.name}-novelty-{digest}.npz"
    if not path.exists():
        found = []
        label = f"held-out neighbours of {train.data.name}, once"
        for part in progress_bar(test.split(QUERIES), desc=label, unit=" batches", disable=not train.progress):
            found.append(index.nearest(part.to(index.points.device), 1))
        distances, neighbours = (torch.cat(parts)[:, 0].cpu().numpy() for parts in zip(*found, strict=True))
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, distances=distances, neighbours=neighbours)
    with np.load(path) as cached:
        return TrainingSet(index, cached["distances"] / unit, labels(train)[cached["neighbours"]], unit)
