"""Training a classifier: it learns, and what it writes is what it learned."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.networks.checkpoint import SHIPPED, load_classifier, read_checkpoint
from benchmark.train.classifier import accuracy, augment, train_classifier
from benchmark.train.images import as_float, load_split
from benchmark.train.recipes import CLASSIFIERS

CPU = torch.device("cpu")


def test_a_few_epochs_on_digits_teach_most_of_them(tmp_path):
    file, recipe = tmp_path / "c.safetensors", replace(CLASSIFIERS["digits"], epochs=3)
    record = train_classifier("digits", recipe, file, "the command", CPU)
    test = load_split("digits", "test", CPU)
    assert record["test_accuracy"] > 0.7  # a tenth by chance
    assert accuracy(load_classifier(file), test.images, test.labels) == pytest.approx(record["test_accuracy"])
    assert read_checkpoint(file)[1]["command"] == "the command"


def test_augmentation_moves_images_and_cuts_one_square_of_each():
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    recipe = replace(CLASSIFIERS["digits"], shift=1, flips=False, cutout=0)
    moved = augment(images, recipe, torch.Generator().manual_seed(1))
    inner = [
        moved[:, :, 1:-1, 1:-1] == images[:, :, 1 + y : 7 + y, 1 + x : 7 + x] for y in (-1, 0, 1) for x in (-1, 0, 1)
    ]
    assert torch.stack([each.flatten(1).all(1) for each in inner]).sum(0).tolist() == [1] * 64
    still = replace(recipe, shift=0, cutout=3)
    holes = augment(images, still, torch.Generator().manual_seed(1)) == 0
    assert 0 < holes.sum((1, 2, 3)).max() <= 9 and holes.any(2).sum(2).max() <= 3
    mirrored = augment(images, replace(recipe, shift=0, flips=True), torch.Generator().manual_seed(1))
    same, flipped = ((mirrored == each).flatten(1).all(1) for each in (images, images.flip(3)))
    assert (same ^ flipped).all() and 16 < same.sum() < 48


@pytest.mark.skipif(
    not Path(os.environ.get("DPMOT_DATA", "nowhere"), "cifar10").is_dir(), reason="DPMOT_DATA has no cifar10"
)
def test_the_shipped_classifier_of_cifar10_is_as_good_as_its_card_says():
    test = load_split("cifar10", "test", CPU)
    classifier = load_classifier(SHIPPED / "cifar10" / "classifier.safetensors")
    assert as_float(test.images[:1]).abs().max() <= 1
    assert accuracy(classifier, test.images[:1000], test.labels[:1000]) > 0.92
