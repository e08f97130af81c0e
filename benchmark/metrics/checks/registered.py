"""Register the example network with torch-fidelity, whose own pipeline can then be run on it.

    python -m benchmark.evaluate IMAGES --problem cifar10 --import benchmark.metrics.checks.registered \
        --extractor torch-fidelity:example

A network that somebody registers with torch-fidelity is used in the same way.
"""

from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from benchmark.metrics.extractors.example import Example


class Registered(FeatureExtractorBase):
    """uint8 [B, 3, H, W] -> 48 features, 10 logits."""

    def __init__(self, name: str, features_list: list[str], **options: object) -> None:
        super().__init__(name, features_list)
        self.network = Example()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        features, logits = self.network(x.float() / 127.5 - 1)
        found = {"features": features, "logits": logits}
        return tuple(found[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return "features", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "logits" if metric == "isc" else "features"

    @staticmethod
    def can_be_compiled() -> bool:
        return False


if "example" not in FEATURE_EXTRACTORS_REGISTRY:
    register_feature_extractor("example", Registered)
