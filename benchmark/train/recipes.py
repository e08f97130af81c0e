"""Training recipes: what is trained on what, how long, with which settings; one entry per problem and network."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.networks.classifier import ClassifierConfig
from benchmark.networks.unet import UNetConfig
from samplers.errors import UserError


@dataclass(frozen=True)
class DenoiserRecipe:
    """How a denoiser is trained. ``images`` counts training images seen, over all processes.

    Attributes:
        network: architecture.
        images: length of the training.
        batch: images of one step, over all processes.
        optimiser: "muon" for the inner convolutions, with Adam for everything else; or "adam" for all.
        lr: learning rate of both.
        weight_decay: of Muon's weights, decoupled: a step takes lr·weight_decay of them.
        warmup: steps of linear warm-up.
        settle: images after which the learning rate falls as 1/√images; 0 for never.
        decay: fraction of the training after which the learning rate falls linearly to zero as well; 1 for never.
        ema: half-lives of the weight averages, as fractions of the images seen so far; 0 for the weights themselves.
        clip: largest norm of the gradient.
        flips: mirror half of the images.
        dropout: probability, before the second convolution of every residual block.
        p_mean, p_std: log σ ~ N(p_mean, p_std²) in training (EDM, Table 1).
        store: type of the stored weights.
    """

    network: UNetConfig
    images: int
    batch: int = 512
    optimiser: str = "muon"
    lr: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 200
    settle: int = 0
    decay: float = 0.6
    ema: tuple[float, ...] = (0.05,)
    clip: float = 1.0
    flips: bool = True
    dropout: float = 0.0
    p_mean: float = -1.2
    p_std: float = 1.2
    store: str = "float16"

    def __post_init__(self) -> None:
        _require(self, "positive", lambda value: value > 0, "images", "batch", "lr", "warmup", "clip", "p_std")
        _require(self, "at least 0", lambda value: value >= 0, "weight_decay", "settle")
        if not self.ema or not all(value >= 0 for value in self.ema) or len(set(self.ema)) < len(self.ema):
            raise UserError(f"ema must be half-lives of at least 0, all different, got {list(self.ema)}")
        if self.optimiser not in ("muon", "adam"):
            raise UserError(f"optimiser must be muon or adam, got {self.optimiser}")
        _require(self, "above 0 and at most 1", lambda value: 0 < value <= 1, "decay")
        _require(self, "at least 0 and below 1", lambda value: 0 <= value < 1, "dropout")


@dataclass(frozen=True)
class ClassifierRecipe:
    """How a classifier is trained: SGD with Nesterov momentum, one-cycle learning rate, label smoothing.

    Attributes:
        network: architecture.
        epochs: passes over the training split.
        batch: images of one step.
        lr: peak learning rate.
        shift: images are shifted by up to so many pixels each way (edges padded).
        flips: mirror half of the images.
        cutout: side of a square that is set to zero in every image; 0 for none.
    """

    network: ClassifierConfig
    epochs: int
    batch: int = 512
    lr: float = 0.4
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    shift: int = 4
    flips: bool = True
    cutout: int = 8
    store: str = "float16"

    def __post_init__(self) -> None:
        _require(self, "positive", lambda value: value > 0, "epochs", "batch", "lr")


def _require(recipe: object, what: str, holds: Callable[[float], bool], *names: str) -> None:
    """Raise UserError for the first of the named settings that is not so."""
    for name in names:
        if not holds(value := getattr(recipe, name)):  # not so either where it is NaN
            raise UserError(f"{name.replace('_', '-')} must be {what}, got {value}")


DENOISERS = {
    "digits": DenoiserRecipe(
        network=UNetConfig(
            image_channels=1,
            channels=(32, 64),
            blocks=(1, 1),
            attention=(),
            middle_attention=False,
            patch=2,
            embedding=64,
        ),
        images=400_000,
        batch=256,
        lr=2e-3,
        warmup=100,
        flips=False,
        p_mean=-0.6,
        p_std=1.4,
        store="float32",
    ),
    "cifar10": DenoiserRecipe(
        network=UNetConfig(blocks=(4, 4, 4), attention=(1, 2)),
        images=60_000_000,
        lr=2e-3,
        settle=10_000_000,
        decay=0.85,
        ema=(0.05, 0.12),
        dropout=0.13,
        p_mean=-0.6,
        p_std=1.1,
    ),
}

for _name in ("celeba64", "lsun_bedroom64"):
    DENOISERS[_name] = DenoiserRecipe(
        network=UNetConfig(channels=(128, 256, 256, 256), blocks=(2, 2, 2, 2), attention=(3,)),
        images=5_600_000,
        batch=128,
        lr=1e-3,
    )

CLASSIFIERS = {
    "digits": ClassifierRecipe(
        network=ClassifierConfig(image_channels=1, stem=16, channels=(32, 32)),
        epochs=60,
        batch=64,
        lr=0.1,
        shift=1,
        flips=False,
        cutout=0,
        store="float32",
    ),
    "cifar10": ClassifierRecipe(network=ClassifierConfig(), epochs=40),
}
