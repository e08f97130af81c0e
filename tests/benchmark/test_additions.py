"""A metric, a data set and a feature network from outside, one file each, arrive wherever their like are used.

They are those of another package, by its entry points, and a second metric is a file beside the project's own. The
commands are given in a process that has seen none of them before.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.benchmark.metrics.dataset import draw_images, write_dataset

Outcome = tuple[str, dict[str, Any], dict[str, Any], np.ndarray]

METRIC = '''
from benchmark.metrics import Estimate, Quantity, metric


@metric("{name}", version="7", quantities=[Quantity("{name}", "{name}", better="higher")], needs=["points"])
def {name}(evidence):
    """The share of samples with a positive mean."""
    samples = evidence.points(evidence.count).flatten(1)
    return {{"{name}": Estimate(float((samples.mean(1) > 0).double().mean()), count=len(samples))}}
'''

PROBLEM = '''
from dataclasses import dataclass
from typing import ClassVar

from benchmark.problems.images import OneMode


@dataclass(frozen=True)
class Theirs(OneMode):
    """Twelve pixels square, without classes."""

    name: ClassVar[str] = "tiny"
    summary: ClassVar[str] = "small pictures of another package"
    side: ClassVar[int] = 12
    extractor: str = "means"
    shard: int = 60
'''

EXTRACTOR = '''
import torch

from benchmark.metrics.extractors import Extractor, extractor


@extractor("means", "mean colours of the four quarters")
def load(name, weights, device):
    """No weights."""

    def activations(images):
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1), None

    return Extractor(name=name, sha256="0" * 64, resize="none", dim=12, activations=activations, device=device)
'''

ENTRY_POINTS = """
[dpmot_bench.metrics]
glow = theirs.metric:glow
[dpmot_bench.problems]
tiny = theirs.problem:Theirs
[dpmot_bench.extractors]
means = theirs.extractor:load
"""

COMMANDS = """
import sys
from pathlib import Path

from benchmark import evaluate, metrics, run
from benchmark.networks.checkpoint import save_network
from benchmark.networks.unet import UNet, UNetConfig

root = Path(sys.argv[1])
metrics.__path__.append(str(root / "dropped"))
config = UNetConfig(channels=(8,), blocks=(1,), attention=(), middle_attention=False, embedding=16)
save_network(root / "tiny.safetensors", UNet(config))
print("LIST")
run.main(["--list"])
sampled = ["--sampler", "held-out", "--problem", "tiny", "--samples", "60", "--seeds", "0", "--out", str(root / "out")]
assert run.main([*sampled, "--set", f"problem.checkpoint={root / 'tiny.safetensors'}", "--metrics", "glow", "kd"]) == 0
measured = [str(root / "new.npz"), "--problem", "tiny", "--extractor", "means", "--out", str(root / "values.json")]
assert evaluate.main(measured) == 0
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What `--list` prints, the record of a run, the values of `benchmark.evaluate`, and the training images."""
    root = tmp_path_factory.mktemp("added")
    texts = {
        "theirs/__init__.py": "",
        "theirs/metric.py": METRIC.format(name="glow"),
        "theirs/problem.py": PROBLEM,
        "theirs/extractor.py": EXTRACTOR,
        "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
        "theirs-1.0.dist-info/entry_points.txt": ENTRY_POINTS,
        "dropped/shine.py": METRIC.format(name="shine"),
        "commands.py": COMMANDS,
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    write_dataset(root)
    np.savez(root / "new.npz", draw_images(np.random.default_rng(7), 150)[0])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "DPMOT_DATA": str(root),
        "DPMOT_CACHE": str(root / "cache"),
    }
    command = [sys.executable, str(root / "commands.py"), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    [record] = [json.loads(path.read_text()) for path in (root / "out" / "runs").rglob("*.json")]
    values = json.loads((root / "values.json").read_text())
    return done.stdout.partition("LIST")[2], record, values, np.load(root / "tiny" / "train.npy")


def quarters(images: np.ndarray) -> np.ndarray:
    """Mean colours of the four quarters, [N, 12], by reshaping."""
    means = images.reshape(len(images), 2, 6, 2, 6, 3).mean((2, 4)) / 127.5 - 1
    return means.transpose(0, 3, 1, 2).reshape(len(images), 12)


def frechet(x: np.ndarray, y: np.ndarray) -> float:
    """The Fréchet distance by the eigenvalues of the product of covariances."""
    a, b = np.cov(x.T), np.cov(y.T)
    cross = np.sqrt(np.linalg.eigvals(a @ b).real.clip(0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a) + np.trace(b) - 2 * cross)


def test_they_are_listed(outcome: Outcome) -> None:
    listed = outcome[0]
    for line in ("glow: glow", "shine: shine", "tiny: small pictures", "means: mean colours of the four quarters"):
        assert f"  {line}" in listed


def test_a_run_on_the_new_data_set_holds_the_new_metric_in_the_new_features(
    outcome: Outcome,
) -> None:
    record = outcome[1]
    assert record["status"] == "ok", record["error"]
    assert record["config"]["problem"]["name"] == "tiny"
    assert record["config"]["problem"]["fingerprint"]["extractor_sha256"] == "0" * 64
    assert record["config"]["metrics"] == {"fd": "1", "novelty": "1", "glow": "7", "kd": "2"}
    values = record["metrics"]
    assert {"fd", "copy_share", "glow", "kd"} <= set(values) and "shine" not in values
    assert values["fd"]["note"].startswith("features: means")
    assert 0 < values["glow"]["value"] < 1


def test_evaluate_measures_anyones_images_by_all_of_them(
    outcome: Outcome,
) -> None:
    values = outcome[2]["metrics"]
    assert outcome[2]["extractor"] == "means"
    images = draw_images(np.random.default_rng(7), 150)[0]
    expected = float(((images.reshape(150, -1) / 127.5 - 1).mean(1) > 0).mean())
    assert values["glow"]["value"] == values["shine"]["value"] == pytest.approx(expected)
    assert values["fd[means]"]["value"] == pytest.approx(frechet(quarters(images), quarters(outcome[3])), rel=1e-4)
    assert {"fd[means]", "kd[means]", "precision[means]", "copy_share", "copy_share[means]"} <= set(values)
