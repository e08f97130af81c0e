"""What a problem is: data, a denoiser, a reference, and what measuring needs to know."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from benchmark.networks.students import open_student, student_hash
from benchmark.records.cache import cache_folder, cached
from samplers.noise import stream
from samplers.options import configuration

Split = Literal["train", "test", "reference"]


class Problem(ABC):
    """Base of all problems. A subclass is a frozen dataclass whose fields are the options a user may set.

    It satisfies `samplers.base.Problem`, so samplers can be fitted to it.

    Class attributes:
        name: as given to `--problem`.
        summary: one line for `--list`.
        metrics: the metrics that apply (names of `benchmark.metrics`).
        sigma_min, sigma_max: noise range between which the denoiser is meant to be used.
        trainable: whether the denoiser is a network, of which there can be a `student`.
        redistributable: whether results may hold pictures of the examples themselves.
        dtype: of a sampler's state.
        shard: samples to a shard; part of a run's key, since noise is drawn shard by shard.
        neighbours: training examples, the first of the split, among which copies are looked for.
        feature_name: what `features` are, for notes; empty where there are none.
        reference_count: examples that distances are measured to; None where as many as asked for can be drawn.
        fid: whether they are the Inception features of FID, so that distances in them bear its name.
        draw: which draw of the examples this is, where that is an option; 0 is the one that was there first. Others are
            independent of it: other draws from a law that is known, a random order of a split that is finite.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    trainable: bool = False
    redistributable: ClassVar[bool] = True
    dtype: torch.dtype = torch.float32
    device: torch.device = torch.device("cpu")
    shard: int = 500
    neighbours: int = 4000
    feature_name: ClassVar[str] = ""
    fid: bool = False
    draw: int = 0
    reference_count: int | None = None

    def to(self, device: torch.device | str) -> Self:
        """This problem with its network, and the samples drawn from it, on a device."""
        object.__setattr__(self, "device", torch.device(device))
        return self

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch axis."""

    @property
    @abstractmethod
    def mode_weights(self) -> Tensor:
        """True weights of the modes, or class frequencies of the training split; [C], sums to one."""

    @abstractmethod
    def denoiser(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x0 | x0 + σn = x]; x [B, *shape], sigma [] or [B]."""

    @abstractmethod
    def examples(self, split: Split, count: int) -> Tensor:
        """The first `count` examples of a split, [count, *shape]; fewer where the split is smaller.

        `train` is what models and targets are made of; `test` is held out; `reference` is what distances are measured
        against: independent exact draws where the law is known, else the training split, as is usual for FID.
        """

    @abstractmethod
    def posterior(self, x: Tensor) -> Tensor:
        """Probabilities of the modes or classes given clean samples x [B, *shape]; [B, C]."""

    def order(self, split: Split, size: int) -> Tensor:
        """Give the places of a finite split's examples in the order of this draw, [size]: their own in draw 0."""
        if self.draw == 0:
            return torch.arange(size)
        return torch.randperm(size, generator=stream(self.name, split, "draw", self.draw))

    def features(self, x: Tensor) -> Tensor | None:
        """Features for Fréchet distances, [B, D], where the problem has any."""
        return None

    def remember(self, key: str, make: Callable[[], Tensor]) -> Tensor:
        """`make()`, or what it gave before for this problem under this key.

        It is kept on disk for problems with data or checkpoints, made anew for those in closed form.
        """
        if not (fingerprint := self.fingerprint()):
            return make()
        depends: dict[str, Any] = {"problem": self.name, "shape": self.shape, "fingerprint": fingerprint, "what": key}
        if self.draw:
            depends["draw"] = self.draw
        found = cached(cache_folder(), f"{self.name}-{key.split(',')[0]}", depends, lambda: make().cpu().numpy())
        return torch.from_numpy(found).to(self.device)

    def student(self) -> nn.Module:
        """A copy of a trainable denoiser: a module on its device, called like it."""
        raise NotImplementedError(f"{self.name}: the denoiser is no network")

    def trained(self, source: str) -> tuple[nn.Module, dict[str, Any]]:
        """A student that was trained before, on the problem's device, and what its file says of the training.

        Args:
            source: a file that `python -m benchmark.train student` wrote, or the name of one that the suite ships.

        Raises:
            UserError: it cannot be used, or is of another problem.
        """
        return open_student(self.name, source, self.device)

    def trained_hash(self, source: str) -> str:
        """SHA-256 of a student's file.

        Raises:
            UserError: it cannot be read.
        """
        return student_hash(self.name, source)

    def configuration(self) -> dict[str, Any]:
        """Give the options as they stand in a run's configuration: files by content, so that paths do not count."""
        return configuration(self)

    def places(self) -> dict[str, str]:
        """Say where the files that the options name lie, for the record; they are no part of its key."""
        return {}

    def fingerprint(self) -> dict[str, Any]:
        """Hashes of data and checkpoints that determine the outcome beyond the options."""
        return {}
