"""Known damage to images and to sets of images: what metrics are tried on."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Images = NDArray[np.uint8]


def _bytes(x: NDArray[np.float64]) -> Images:
    return x.round().clip(0, 255).astype(np.uint8)


def noise(images: Images, sigma: float, rng: np.random.Generator) -> Images:
    """White noise of standard deviation `sigma` in grey levels, on uint8 [N, H, W, 3]."""
    return _bytes(images + sigma * rng.standard_normal(images.shape))


def blur(images: Images, sigma: float) -> Images:
    """Gaussian blur of standard deviation `sigma` in pixels."""
    if sigma == 0:
        return images
    reach = int(np.ceil(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).expand(3, 1, 1, -1)
    x: Tensor = torch.nn.functional.pad(torch.from_numpy(images).permute(0, 3, 1, 2).float(), (reach,) * 4, "replicate")
    x = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, taps, groups=3), taps.mT, groups=3)
    return _bytes(x.permute(0, 2, 3, 1).double().numpy())


def jpeg(images: Images, quality: int) -> Images:
    """JPEG at a quality of 1 to 95; 100 and above leave the images as they are."""
    from PIL import Image

    def squeeze(image: Images) -> Images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    return images if quality >= 100 else np.stack([squeeze(image) for image in images])


def blend(images: Images, labels: NDArray[np.int64], part: float, rng: np.random.Generator) -> Images:
    """Replace the first `part` of the images by the mean of the image and one of another class."""
    mixed = images.copy()
    for i in range(round(part * len(images))):
        other = rng.choice(np.flatnonzero(labels != labels[i]))
        mixed[i] = _bytes((images[i].astype(float) + images[other]) / 2)
    return mixed


def copies(images: Images, train: Images, part: float, rng: np.random.Generator) -> Images:
    """Replace the first `part` of the images by training images."""
    replaced, count = images.copy(), round(part * len(images))
    replaced[:count] = train[np.sort(rng.choice(len(train), count, replace=False))]
    return replaced


def drop_modes(images: Images, labels: NDArray[np.int64], dropped: int, count: int) -> Images:
    """The first `count` images whose class is none of the first `dropped`."""
    return images[labels >= dropped][:count]
