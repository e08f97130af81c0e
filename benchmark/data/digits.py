"""The 8×8 handwritten digits that scikit-learn carries (Alpaydin & Kaynak 1998): 1,797 images, no download."""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

SPLIT_SEED = 0
TRAIN_IMAGES = 1297


class Digits(NamedTuple):
    """One split: ``images`` float32 ``[N, 1, 8, 8]`` in [-1, 1] (17 grey levels), ``labels`` int64 ``[N]``."""

    images: Tensor
    labels: Tensor


@cache
def load_digits(split: str) -> Digits:
    """The ``train`` (1,297 images) or ``test`` split (500), cut from a permutation with a fixed seed.

    Raises:
        ValueError: any other split.
    """
    from sklearn.datasets import load_digits as load

    if split not in ("train", "test"):
        raise ValueError(f"digits have the splits train and test, not '{split}'")
    bunch = load()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(SPLIT_SEED))
    chosen = order[:TRAIN_IMAGES] if split == "train" else order[TRAIN_IMAGES:]
    images = torch.from_numpy(bunch.images).float()[chosen, None] / 8 - 1
    return Digits(images, torch.from_numpy(bunch.target).long()[chosen])
