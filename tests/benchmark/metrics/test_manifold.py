import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from benchmark.metrics import manifold
from benchmark.metrics.manifold import Balls, precision_recall_density_coverage


def measured(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    balls = (Balls.of(torch.as_tensor(v, dtype=torch.float32)) for v in (x, y))
    return {name: e.value for name, e in precision_recall_density_coverage(*balls).items()}


def by_definition(x: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The papers' definitions, all distances at once."""
    xy, r3, r5 = cdist(x, y), np.sort(cdist(y, y))[:, 3], np.sort(cdist(y, y))[:, 5]
    return {
        "precision": (xy <= r3).any(1).mean(),
        "recall": (xy <= np.sort(cdist(x, x))[:, [3]]).any(0).mean(),
        "density": (xy <= r5).sum() / (5 * len(x)),
        "coverage": (xy.min(0) <= r5).mean(),
    }


@pytest.mark.parametrize("shift", [0.0, 0.7, 3.0])
def test_papers_definitions(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "BLOCK", 2000)  # several blocks
    rng = np.random.default_rng(0)
    x, y = rng.normal(shift, 1.2, (150, 8)), rng.normal(size=(120, 8))
    assert measured(x, y) == pytest.approx(by_definition(x, y))


def test_torch_fidelity() -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    x, y = (torch.randn(400, 16, generator=torch.Generator().manual_seed(s)) * (1 + 0.2 * s) for s in (0, 1))
    theirs = prc_features_to_metric(x, y, verbose=False, save_cpu_ram=False)
    ours = measured(x.numpy(), y.numpy())
    assert (ours["precision"], ours["recall"]) == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


def test_known_answers() -> None:
    """Ten tight clusters of 20; a sample that knows half of them is precise and has half the recall."""
    rng = np.random.default_rng(1)
    centres = 100 * np.eye(10)
    draw = lambda which: np.concatenate([c + 0.01 * rng.normal(size=(20, 10)) for c in which])  # noqa: E731
    reference = draw(centres)
    half = measured(draw(centres[:5]), reference)
    # 10 dimensions: not every draw is within its fellows' balls, but none is near a foreign cluster.
    assert half["precision"] == pytest.approx(measured(draw(centres), reference)["precision"], abs=0.15)
    assert half["recall"] <= 0.5 and half["coverage"] <= 0.5
    assert half["recall"] > 0.35 and half["coverage"] > 0.45
    identical = measured(reference, reference)
    assert all(identical[name] == 1 for name in ("precision", "recall", "coverage"))
    far = measured(reference + 1000, reference)
    assert all(value == 0 for value in far.values())


def test_density_of_equal_laws_is_about_one() -> None:
    rng = np.random.default_rng(2)
    assert measured(rng.normal(size=(1500, 3)), rng.normal(size=(1500, 3)))["density"] == pytest.approx(1, abs=0.06)
