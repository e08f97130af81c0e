"""The digits: splits and values against scikit-learn's own."""

import pytest
import torch
from sklearn.datasets import load_digits as original

from benchmark.data.digits import load_digits


def test_splits_are_disjoint_and_together_the_original():
    train, test = load_digits("train"), load_digits("test")
    assert train.images.shape == (1297, 1, 8, 8) and test.images.shape == (500, 1, 8, 8)
    rows = torch.cat([torch.cat([s.images.flatten(1), s.labels[:, None]], 1) for s in (train, test)])
    source = original()
    expected = torch.from_numpy(source.data / 8 - 1).float()
    expected = torch.cat([expected, torch.from_numpy(source.target)[:, None]], 1)
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, expected.tolist()))
    assert train.images.min() == -1 and train.images.max() == 1


def test_every_class_is_in_both_splits():
    for split in ("train", "test"):
        assert load_digits(split).labels.bincount(minlength=10).min() > 30


def test_other_splits_are_refused():
    with pytest.raises(ValueError, match="train and test"):
        load_digits("valid")
