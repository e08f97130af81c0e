"""The part of a reference that measures over pairs use."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.metrics.evidence import PAIRS, Evidence


def part(features):
    return Evidence.reference_features.fget(SimpleNamespace(all_reference_features=features))  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [12_345, 15_000, 24_149, 50_000])
@pytest.mark.parametrize("order", ["sorted by class", "classes in turn"])
def test_it_is_a_random_part_however_the_examples_are_ordered(count, order):
    """Each of ten classes has its tenth of the part, to five deviations."""
    labels = np.arange(count) * 10 // count if order == "sorted by class" else np.arange(count) % 10
    chosen = part(torch.from_numpy(labels)[:, None].float())[:, 0].long().numpy()
    assert len(chosen) == PAIRS
    shares = np.bincount(chosen, minlength=10) / PAIRS
    assert abs(shares - 0.1).max() < 5 * np.sqrt(0.1 * 0.9 / PAIRS)


def test_it_holds_no_example_twice_and_all_where_they_are_few():
    chosen = part(torch.arange(25_000)[:, None])
    assert len(chosen.unique()) == PAIRS
    few = torch.arange(50)[:, None]
    assert torch.equal(part(few), few)
