"""Distillation: a student network learns to do in a few evaluations what the denoiser does in many.

The student starts as a copy of the problem's denoiser and takes its place in sampling; evaluations are counted as ever.
What its training cost stands in the record of the fit.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from tqdm import tqdm

from samplers.base import Problem, Sampler
from samplers.cudnn import fastest_convolutions
from samplers.errors import UserError
from samplers.noise import stream
from samplers.options import check_at_least, check_positive

EXAMPLES, BYTES = 50_000, 1 << 33
"""Students learn from the first training examples of the split: so many at most, and no more than fill 8 GiB."""

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
"""loss(student, x0, generator) -> a scalar; x0 [B, *shape] are clean examples."""


@dataclass(frozen=True)
class Distillation(Sampler):
    """Base of the distilled samplers: how a student is trained.

    Its noise is drawn on the problem's device, on which the student therefore depends; on a GPU two trainings differ by
    rounding, as the fastest convolutions are chosen by measurement.

    One training serves all seeds of sampling, so the spread over seeds says nothing of that over trainings.

    Attributes:
        images: training examples that every student sees, repetitions counted.
        batch: of them at a time.
        lr: learning rate of Adam at the start; it falls to zero linearly.
        student_seed: seed of the training.
    """

    family = "distilled"

    images: int = 50_000
    batch: int = 128
    lr: float = 3e-4
    student_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "images", "batch")
        check_positive(self, "lr")

    def suits(self, problem: Problem, nfe: int) -> None:
        if not problem.trainable:
            raise UserError(f"learns from a network, and the denoiser of {problem.name} is a formula")

    @property
    def steps(self) -> int:
        """Steps of the optimiser that show a student at least `images` examples."""
        return math.ceil(self.images / self.batch)

    def check(self, nfe: int) -> None:
        if nfe < 1:
            raise UserError(f"needs at least 1 evaluation, got {nfe}")

    def train(self, problem: Problem, student: nn.Module, loss: Loss, what: str, progress: bool) -> float:
        """Train `student` in place, or take the weights that this training gave before; the seconds that it took.

        Args:
            what: what is learned; with the options of the training the key under which the problem remembers it.

        Raises:
            RuntimeError: the training diverged.
        """
        shapes = [(name, tuple(weight.shape)) for name, weight in student.named_parameters()]
        key = (
            f"{what}, {self.images} images, batch {self.batch}, lr {self.lr}, seed {self.student_seed}, version "
            f"{self.version}, levels from {problem.sigma_max} to {problem.sigma_min}, {problem.device.type}, {shapes}"
        )

        def learn() -> Tensor:
            began = perf_counter()
            self._descend(problem, student, loss, what, progress)
            weights = torch.cat([weight.detach().flatten() for weight in student.parameters()])
            if not weights.isfinite().all():
                raise RuntimeError(f"{what}: the training diverged at lr = {self.lr:g}")
            return torch.cat([weights, weights.new_tensor([perf_counter() - began])])

        found = problem.remember(key, learn)
        weights = list(student.parameters())
        with torch.no_grad():
            for weight, values in zip(weights, found[:-1].split([w.numel() for w in weights]), strict=True):
                weight.copy_(values.reshape(weight.shape))
        return float(found[-1])

    @torch.enable_grad()
    def _descend(self, problem: Problem, student: nn.Module, loss: Loss, what: str, progress: bool) -> None:
        count = min(EXAMPLES, max(BYTES // (4 * math.prod(problem.shape)), 1))
        examples = problem.examples("train", count).to(problem.device, problem.dtype)
        seed = stream("distillation", what, self.student_seed).initial_seed()
        generator = torch.Generator(problem.device).manual_seed(seed)
        optimizer = torch.optim.Adam(student.parameters(), self.lr, fused=problem.device.type == "cuda")
        with fastest_convolutions():
            for step in tqdm(range(self.steps), what, leave=False, disable=not progress):
                optimizer.param_groups[0]["lr"] = self.lr * (1 - step / self.steps)
                chosen = torch.randint(len(examples), (self.batch,), generator=generator, device=problem.device)
                optimizer.zero_grad()
                loss(student, examples[chosen], generator).backward()
                optimizer.step()


def new_student(problem: Problem) -> nn.Module:
    """A trainable copy of the problem's denoiser, on its device."""
    return problem.student().eval().requires_grad_(True)


def frozen(problem: Problem, student: nn.Module) -> nn.Module:
    """A copy of a student that no longer learns."""
    copy = new_student(problem)
    copy.load_state_dict(student.state_dict())
    return copy.requires_grad_(False)


def noised(x0: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """x0 [B, ...] + σ n; sigma [B, 1, ...]."""
    return x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)


def draw_levels(levels: Tensor, x0: Tensor, generator: torch.Generator) -> Tensor:
    """A row of `levels` [K, L] for each of x0 [B, ...], at random: [L, B, 1, ...], in the type of x0."""
    index = torch.randint(len(levels), (len(x0),), generator=generator, device=x0.device)
    return levels[index].to(x0.dtype).T.reshape(-1, len(x0), *[1] * (x0.ndim - 1))


def weights_sha256(student: nn.Module) -> str:
    """Hex SHA-256 of the weights: which student it was that sampled."""
    digest = hashlib.sha256()
    for weight in student.parameters():
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
