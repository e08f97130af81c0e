"""How to bring one's own features: register a network with torch-fidelity, then name it.

    python -m benchmark.evaluate IMAGES --problem cifar10 --import benchmark.metrics.extractors.example \
        --extractor torch-fidelity:example

This one is a small convolutional network whose weights were never trained: it serves to compare libraries.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor


class Example(FeatureExtractorBase):
    """uint8 [B, 3, H, W] -> 48 features, 10 logits."""

    def __init__(self, name: str, features_list: list[str], **options: object) -> None:
        super().__init__(name, features_list)
        generator = torch.Generator().manual_seed(0)
        widths = [(16, 3, 3, 3), (48, 16, 3, 3), (10, 48)]
        self.weights = nn.ParameterList(
            [
                torch.randn(shape, generator=generator) * (2 / shape[1:].numel()) ** 0.5
                for shape in map(torch.Size, widths)
            ]
        )

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = x.float() / 127.5 - 1
        for weight in self.weights[:2]:
            x = F.avg_pool2d(F.relu(F.conv2d(x, weight)), 2)
        features = x.mean((2, 3))
        found = {"features": features, "logits": features @ self.weights[2].T}
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
    register_feature_extractor("example", Example)
