from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.data.arrays import ImageSet
from benchmark.metrics.base import MetricError
from benchmark.metrics.estimation.gaussian import Gaussian
from benchmark.metrics.extractors import Extractor
from benchmark.metrics.frechet import frechet_distance
from benchmark.metrics.images import moments
from benchmark.metrics.images.reference import Reference

DIM = 6
FEATURES = torch.randn(200, DIM, generator=torch.Generator().manual_seed(0))


def extractor(name: str = "small", fid: bool = False, dim: int = DIM) -> Extractor:
    return Extractor(name, "abc", "none", dim, lambda images: (FEATURES, None), torch.device("cpu"), fid)


def test_saved_statistics_come_back(tmp_path: Path) -> None:
    whole = Gaussian.fit(FEATURES)
    moments.save(tmp_path / "s.npz", whole, {"data": "d", "split": "train", **extractor().describe()})
    back = moments.read(tmp_path / "s.npz", extractor(), {"data": "d", "split": "train"})
    assert back.count == 200
    assert frechet_distance(whole, back) < 1e-6
    other = Gaussian.fit(FEATURES * 1.1)
    assert frechet_distance(other, back) == pytest.approx(frechet_distance(other, whole), rel=1e-4)


def test_statistics_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    moments.save(path, Gaussian.fit(FEATURES), {"data": "d", "split": "train", **extractor().describe()})
    with pytest.raises(MetricError, match="statistics of extractor 'small', not 'large'"):
        moments.read(path, extractor("large"))
    with pytest.raises(MetricError, match="statistics of split 'train', not 'test'"):
        moments.read(path, extractor(), {"data": "d", "split": "test"})


def test_published_formats(tmp_path: Path) -> None:
    whole = Gaussian.fit(FEATURES)
    np.savez(tmp_path / "edm.npz", mu=whole.mean.numpy(), sigma=whole.cov.numpy())
    np.savez(tmp_path / "sde.npz", pool_3=FEATURES.numpy())
    for name in ("edm.npz", "sde.npz"):
        found = moments.read(tmp_path / name, extractor("inception", fid=True))
        assert frechet_distance(whole, found) == pytest.approx(0, abs=1e-9)
        with pytest.raises(MetricError, match="are of the Inception of FID, not of 'small'"):
            moments.read(tmp_path / name, extractor())
    with pytest.raises(MetricError, match="statistics of 6 features, 'inception' has 2048"):
        moments.read(tmp_path / "edm.npz", extractor("inception", fid=True, dim=2048))


def test_files_that_are_no_statistics(tmp_path: Path) -> None:
    inception = extractor("inception", fid=True)
    (tmp_path / "text.npz").write_text("text")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    np.savez(tmp_path / "shape.npz", mu=np.zeros(3), sigma=np.zeros((4, 4)))
    np.savez(tmp_path / "nan.npz", mu=np.full(3, np.nan), sigma=np.eye(3))
    messages = {
        "none": "no readable", "text": "no readable", "other": "expected mu and sigma", "shape": "do not fit",
        "nan": "not finite",
    }  # fmt: skip
    for name, message in messages.items():
        with pytest.raises(MetricError, match=message):
            moments.read(tmp_path / f"{name}.npz", inception)


def test_shipped_statistics_are_of_the_same_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another array that bears the name gets moments of its own."""
    monkeypatch.setattr(moments, "SHIPPED", tmp_path)
    of = []
    for value in (3, 4):
        folder = tmp_path / str(value) / "d"
        folder.mkdir(parents=True)
        np.save(folder / "train.npy", np.full((8, 4, 4, 3), value, np.uint8))
        of.append(Reference(ImageSet(folder, {}), "train", extractor(), tmp_path / "cache"))
    gaussian = Gaussian.fit(FEATURES[:50])
    moments.save(tmp_path / "d-train-small.npz", gaussian, of[0].describe())
    assert of[0].gaussian.count == 50
    assert of[1].gaussian.count == len(FEATURES)  # what the extractor gives


def test_shipped_statistics_are_whole() -> None:
    for path in moments.SHIPPED.glob("*.npz"):
        with np.load(path) as file:
            assert int(file["count"]) in (10_000, 50_000)
            assert len(file["upper"]) == len(file["mean"]) * (len(file["mean"]) + 1) // 2


def test_a_batch_of_guided_diffusion_gives_its_statistics(tmp_path: Path) -> None:
    """It holds images, and other moments, beside those of the reference."""
    whole = Gaussian.fit(FEATURES)
    images = np.zeros((10, 4, 4, 3), np.uint8)
    np.savez(tmp_path / "v.npz", arr_0=images, mu=whole.mean, sigma=whole.cov, mu_s=np.ones(3), sigma_s=np.ones(3))
    assert frechet_distance(whole, moments.read(tmp_path / "v.npz", extractor(fid=True))) < 1e-9


def test_statistics_that_are_none_are_one_line(tmp_path: Path) -> None:
    mean, cov = np.zeros(DIM), np.eye(DIM)
    skewed = cov + np.triu(np.ones((DIM, DIM)), 1)
    np.save(tmp_path / "array.npy", cov)
    np.save(tmp_path / "pickled.npy", {"mu": mean, "sigma": cov}, allow_pickle=True)
    for name, content in (
        ("swapped", {"mu": cov, "sigma": mean}),
        ("square", {"mu": cov, "sigma": cov}),
        ("skewed", {"mu": mean, "sigma": skewed}),
        ("negative", {"mu": mean, "sigma": -cov}),
        ("half", {"mu": mean}),
        ("images", {"arr_0": np.zeros((3, 4, 4, 3), np.uint8)}),
    ):
        np.savez(tmp_path / f"{name}.npz", **content)
    for name, said in (
        ("array.npy", "no readable .npz of statistics"),
        ("pickled.npy", "no readable .npz of statistics"),
        ("swapped.npz", "do not fit"),
        ("square.npz", "do not fit"),
        ("skewed.npz", "no covariance"),
        ("negative.npz", "no covariance"),
        ("half.npz", "has mu alone, expected mu and sigma"),
        ("images.npz", "has arr_0, expected mu and sigma"),
    ):
        with pytest.raises(MetricError) as caught:
            moments.read(tmp_path / name, extractor(fid=True))
        assert said in str(caught.value) and "\n" not in str(caught.value)
