"""Pictures to prepare."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of 178×218, named as CelebA's, of which the last three are beyond the training split."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in [*range(1, 10), 162_771, 182_638, 182_639]:
        pixels = random.integers(0, 256, (218, 178, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:06d}.png")
    return folder
