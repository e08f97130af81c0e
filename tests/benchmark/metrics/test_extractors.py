import os
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.metrics import quantities
from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors import Extractor, best_available, make_extractor
from samplers.errors import UserError

WEIGHTS = Path(os.environ.get("DPMOT_WEIGHTS", "")) if "DPMOT_WEIGHTS" in os.environ else None
DATA = Path(os.environ["DPMOT_DATA"]) / "cifar10" if "DPMOT_DATA" in os.environ else None
needs_weights = pytest.mark.skipif(WEIGHTS is None, reason="DPMOT_WEIGHTS is not set")
needs_data = pytest.mark.skipif(DATA is None or not DATA.is_dir(), reason="DPMOT_DATA has no cifar10")
IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def named(key: str, extractor: Extractor) -> str:
    """The name of a value measured with this network."""
    return quantities()[key].key_with(extractor.name, extractor.fid)


@needs_weights
def test_mobilenet_is_torchvisions() -> None:
    """Against torchvision's own model and transforms, batch norms not folded."""
    from safetensors.torch import load_file
    from torchvision.models import mobilenet_v2
    from torchvision.transforms import v2

    trunk = mobilenet_v2(weights=None).features.eval()
    trunk.load_state_dict(load_file(WEIGHTS / "mobilenet_v2_imagenet_features.safetensors"), strict=False)
    resize = v2.Resize(160, antialias=True)
    normalise = v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.no_grad():
        expected = trunk(resize(normalise(IMAGES.float() / 255))).mean((2, 3))
    found = make_extractor("mobilenet_v2")(IMAGES)
    assert found.shape == (6, 1280) and found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@needs_weights
@needs_data
def test_cifar_classifier_has_its_published_error() -> None:
    """ResNet-20's test error is 8.27%; on 500 images within three standard errors."""
    images = torch.from_numpy(np.load(DATA / "test.npy", mmap_mode="r")[:500].copy()).permute(0, 3, 1, 2)
    features, logits = make_extractor("cifar10_resnet20").both(images)
    wrong = (logits.argmax(1).numpy() != np.load(DATA / "test_labels.npy")[:500]).mean()
    assert features.shape == (500, 64)
    assert abs(wrong - 0.0827) < 3 * (0.0827 * 0.9173 / 500) ** 0.5


@needs_weights
@pytest.mark.parametrize("name", ["mobilenet_v2", "cifar10_resnet20"])
def test_features_do_not_depend_on_the_batch(name: str) -> None:
    extractor = make_extractor(name)
    singly = torch.cat([extractor(image[None]) for image in IMAGES])
    torch.testing.assert_close(extractor(IMAGES), singly, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of the right shapes that are not FID's."""
    from torch_fidelity import feature_extractor_inceptionv3 as inception

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inception, "load_state_dict_from_url", lambda *args, **options: {})
        patch.setattr(inception.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = inception.FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"])
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def test_inception_with_other_weights_is_not_called_fid(random_inception: Path) -> None:
    extractor = make_extractor("inception", random_inception)
    features, logits = extractor.both(IMAGES[:2])
    assert features.shape == (2, 2048) and logits.shape == (2, 1008)
    assert not extractor.fid and extractor.name == f"inception:{extractor.sha256[:8]}"
    assert named("fd", extractor) == f"fd[inception:{extractor.sha256[:8]}]"


def test_only_the_weights_of_fid_make_a_fid(random_inception: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.metrics.extractors import fidelity

    monkeypatch.setattr(fidelity, "_is_original", lambda weights: True)
    extractor = make_extractor("inception", random_inception)
    assert [named(m, extractor) for m in ("fd", "kd", "is", "precision")] == ["fid", "kid", "is", "precision"]


def test_where_inception_cannot_be_had_the_stand_in_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from urllib.error import URLError

    from torch_fidelity import feature_extractor_inceptionv3 as inception

    def no_network(*args: object, **options: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(inception, "load_state_dict_from_url", no_network)
    with pytest.raises(MetricError, match=r"^weights of 'inception' could not be loaded \(URLError.*--weights$"):
        make_extractor("inception")
    if WEIGHTS is None:
        pytest.skip("DPMOT_WEIGHTS is not set: no stand-in either")
    extractor, said = best_available()
    assert extractor.name == "mobilenet_v2" and "no FID" in said and "mobilenet_v2" in said
    assert named("fd", extractor) == "fd[mobilenet_v2]"


def test_an_extractor_registered_with_torch_fidelity() -> None:
    import benchmark.metrics.checks.registered  # noqa: F401

    extractor = make_extractor("torch-fidelity:example")
    features, logits = extractor.both(IMAGES)
    assert features.shape == (6, 48) and logits.shape == (6, 10) and extractor.dim == 48


def test_mistakes_get_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {"inceptoin": "did you mean 'inception'", "torch-fidelity:none": "has no extractor 'none'"}
    for name, message in cases.items():
        with pytest.raises(UserError, match=message):
            make_extractor(name)
    with pytest.raises(MetricError, match="no such file of weights"):
        make_extractor("inception", tmp_path / "none")
    monkeypatch.setenv("DPMOT_WEIGHTS", str(tmp_path))
    for name in ("mobilenet_v2", "cifar10_resnet20"):
        with pytest.raises(MetricError, match="not there: give the folder of such weights by DPMOT_WEIGHTS"):
            make_extractor(name)
    (tmp_path / "cifar10_resnet20.safetensors").write_bytes(b"damaged")
    with pytest.raises(MetricError, match="damaged"):
        make_extractor("cifar10_resnet20")
    with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
        make_extractor("example")(IMAGES[0])


@needs_weights
@pytest.mark.parametrize("name", ["mobilenet_v2", "cifar10_resnet20", "classifier:cifar10", "example"])
def test_bytes_and_floats_of_an_image_give_the_same_features(name: str) -> None:
    extractor = make_extractor(name)
    torch.testing.assert_close(extractor(IMAGES), extractor(IMAGES.float() / 127.5 - 1), rtol=0, atol=0)


@needs_data
def test_the_projects_classifier_knows_the_classes_it_says() -> None:
    """Far better than chance on the first held-out images."""
    images = torch.from_numpy(np.load(DATA / "test.npy", mmap_mode="r")[:200].copy()).permute(0, 3, 1, 2)
    extractor = make_extractor("classifier:cifar10")
    found = extractor.posterior(images).argmax(1).numpy()
    assert extractor.classes_of == "cifar10" and (found == np.load(DATA / "test_labels.npy")[:200]).mean() > 0.8


def test_a_family_of_extractors_asks_which() -> None:
    with pytest.raises(UserError, match="give it as classifier:NAME"):
        make_extractor("classifier")
    with pytest.raises(UserError, match="no classifier is shipped for 'celeba64'"):
        make_extractor("classifier:celeba64")
