"""Moments of reference features as files: shipped with the project, published by others, or saved by a user.

Ours say what they are statistics of (`describe`); published ones (EDM, clean-fid, pytorch-fid: `mu`, `sigma`; ScoreSDE:
`pool_3`) don't, but are all of the Inception of FID, with 2,048 features.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.metrics.base import MetricError
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.extractors.base import Extractor
from benchmark.records.files import replacing

KEYS = ("description", "pool_3", "mu", "sigma", "mean", "upper", "count")
"""What is read of a file; batches of guided diffusion hold their images too."""
SHIPPED = Path(__file__).parent / "shipped"


def save(path: Path, gaussian: Gaussian, description: dict[str, Any]) -> None:
    """Write mean [D] and the upper triangle of the covariance in float32, compressed, with what they describe."""
    rows, columns = np.triu_indices(len(gaussian.mean))
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            mean=gaussian.mean.cpu().numpy().astype(np.float32),
            upper=gaussian.cov.cpu().numpy()[rows, columns].astype(np.float32),
            count=gaussian.count,
            description=json.dumps(description, sort_keys=True),
        )


def read(path: Path, extractor: Extractor, wanted: dict[str, Any] | None = None) -> Gaussian:
    """Statistics of a file, checked against the extractor, and against `wanted` (data set, split) where the file says.

    Raises:
        MetricError: unreadable, of another extractor or split, or of another number of features.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in KEYS if key in file.files}
            others = [key for key in file.files if key not in KEYS]
    except Exception as error:  # zipfile, zlib and numpy raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MetricError(f"{path}: no readable .npz of statistics ({reason})") from None
    if not arrays.keys() - {"description"}:
        raise MetricError(f"{path}: has {', '.join(others) or 'nothing'}, expected mu and sigma, or pool_3")
    if "description" in arrays:
        _check(path, json.loads(str(arrays["description"])), {**extractor.describe(), **(wanted or {})})
    elif not extractor.fid:
        raise MetricError(f"{path}: published statistics are of the Inception of FID, not of '{extractor.name}'")
    gaussian = _gaussian(path, arrays)
    if len(gaussian.mean) != extractor.dim:
        raise MetricError(
            f"{path}: statistics of {len(gaussian.mean)} features, '{extractor.name}' has {extractor.dim}"
        )
    return Gaussian(gaussian.mean.to(extractor.device), gaussian.cov.to(extractor.device), gaussian.count)


def _gaussian(path: Path, arrays: dict[str, Any]) -> Gaussian:
    if "pool_3" in arrays:  # features themselves
        return Gaussian.fit(torch.from_numpy(arrays["pool_3"].reshape(len(arrays["pool_3"]), -1)))
    if {"mu", "sigma"} <= arrays.keys():
        mean, cov, count = arrays["mu"], arrays["sigma"], 0
    elif {"mean", "upper", "count"} <= arrays.keys():
        mean, count = arrays["mean"], int(arrays["count"])
        cov = np.zeros((len(mean), len(mean)))
        rows, columns = np.triu_indices(len(mean))
        cov[rows, columns] = cov[columns, rows] = arrays["upper"]
    else:
        raise MetricError(f"{path}: has {', '.join(arrays)} alone, expected mu and sigma, or pool_3")
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise MetricError(f"{path}: mean {list(mean.shape)} and covariance {list(cov.shape)} do not fit")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise MetricError(f"{path}: holds values that are not finite")
    if (cov.diagonal() < 0).any() or abs(cov - cov.T).max() > 1e-3 * abs(cov).max():
        raise MetricError(f"{path}: its sigma is no covariance: it is not symmetric, or has variances below 0")
    as_tensor: list[Tensor] = [torch.from_numpy(np.asarray(a, np.float64)) for a in (mean, cov)]
    return Gaussian(as_tensor[0], as_tensor[1], count)


def _check(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for key, value in wanted.items():
        if found.get(key, value) != value:
            raise MetricError(f"{path}: statistics of {key} '{found[key]}', not '{value}'")


def shipped(data: str, split: str, data_sha256: str, extractor: Extractor) -> Gaussian | None:
    """The project's own statistics of a data set's split; None where it ships none of these images and this extractor.

    Args:
        data_sha256: of the split's images, since others may bear the same name.
    """
    path = SHIPPED / f"{data}-{split}-{extractor.name}.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        known = json.loads(str(file["description"]))["data_sha256"]
    return read(path, extractor, {"data": data, "split": split}) if known == data_sha256 else None
