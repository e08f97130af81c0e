"""Training the small classifiers that the mode-mixture metric and the feature distances use."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmark.networks.checkpoint import save_network
from benchmark.networks.classifier import Classifier
from benchmark.train.images import as_float, load_split
from benchmark.train.recipes import ClassifierRecipe
from dpmot.progress import progress_bar
from samplers.errors import UserError


def augment(images: Tensor, recipe: ClassifierRecipe, generator: torch.Generator) -> Tensor:
    """Shift (edges repeated), mirror and cut out, each image by its own draw; float in [-1, 1] in and out."""
    n, _, height, width = images.shape
    device, shift = images.device, recipe.shift

    def draw(low: int, high: int) -> Tensor:
        return torch.randint(low, high, (n, 1, 1), device=device, generator=generator)

    rows, columns = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
    y = (rows + draw(-shift, shift + 1)).clamp(0, height - 1)
    x = (columns + draw(-shift, shift + 1)).clamp(0, width - 1)
    if recipe.flips:
        x = torch.where(draw(0, 2) == 1, width - 1 - x, x)
    images = images[torch.arange(n, device=device)[:, None, None], :, y, x].permute(0, 3, 1, 2)
    if recipe.cutout:
        top, left = draw(1 - recipe.cutout, height), draw(1 - recipe.cutout, width)
        hole = (rows >= top) & (rows < top + recipe.cutout) & (columns >= left) & (columns < left + recipe.cutout)
        images = images.masked_fill(hole[:, None], 0.0)
    return images


@torch.no_grad()
def accuracy(classifier: Classifier, images: Tensor, labels: Tensor, batch: int = 1000) -> float:
    """Fraction of images whose most probable class is their label."""
    hits = [
        (classifier(as_float(x)).argmax(1) == y) for x, y in zip(images.split(batch), labels.split(batch), strict=True)
    ]
    return torch.cat(hits).float().mean().item()


def train_classifier(
    problem: str,
    recipe: ClassifierRecipe,
    checkpoint: Path,
    command: str,
    device: torch.device,
    data: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Train on the training split, write the weights, return the test accuracy.

    Raises:
        DataError: the data are missing.
        UserError: the data set has no labels.
    """
    train, test = (load_split(problem, split, device, data) for split in ("train", "test"))
    if train.labels is None or test.labels is None:
        raise UserError(f"{problem}: has no labels, so no classifier can be trained on it")
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    model = Classifier(recipe.network).to(device).to(memory_format=torch.channels_last)
    steps = recipe.epochs * (len(train.images) // recipe.batch)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, total_steps=steps, pct_start=0.2)
    half = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    for _ in progress_bar(range(recipe.epochs), unit="epoch"):
        order = torch.randperm(len(train.images), device=device, generator=generator)
        for chosen in order.split(recipe.batch)[: len(order) // recipe.batch]:
            images = augment(as_float(train.images[chosen]), recipe, generator)
            with half:
                logits = model(images)
            loss = F.cross_entropy(logits.float(), train.labels[chosen], label_smoothing=recipe.label_smoothing)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    model.eval()
    record = {"test_accuracy": accuracy(model, test.images, test.labels)}
    seen = steps * recipe.batch
    stated: dict[str, Any] = {"problem": problem, "command": command, "images_seen": seen, "seed": seed, **record}
    save_network(checkpoint, model, dtype=getattr(torch, recipe.store), **stated)
    tqdm.write(f"wrote {checkpoint}: test accuracy {record['test_accuracy']:.4f}")
    return record
