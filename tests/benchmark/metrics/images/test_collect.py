import numpy as np
import pytest
import torch
import torch.distributed as dist

from benchmark.data.reader import from_array
from benchmark.metrics.base import MetricError
from benchmark.metrics.extractors import Extractor
from benchmark.metrics.images.collect import collect


@pytest.mark.parametrize("rank", range(4))
def test_every_rank_says_that_the_images_are_too_few(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine images in runs of three leave the last of four without; a rank that went on would wait for it."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(dist, "get_rank", lambda: rank)
    extractor = Extractor("none", "", "none", 1, lambda x: (torch.zeros(len(x), 1), None), torch.device("cpu"), False)
    with pytest.raises(MetricError, match="9 images are too few for 4 processes"):
        collect(from_array(np.zeros((9, 4, 4, 3), np.uint8), "nine"), extractor)
