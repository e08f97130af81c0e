"""What a solve returns, and the state that lets an interrupted one continue."""

import hashlib
import json
import os
import re
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .certificate import Certificate
from .problem import SemiDiscreteProblem

SAVE_SECONDS = 1.0

Phase = Literal["start", "burn-in", "descent", "certificate", "facets", "done"]
"""What a solve does next: try its start as it is, move far, descend, certify, couple neighbouring cells, or nothing."""


@dataclass(frozen=True, eq=False)
class Solution:
    """Heights [N] float32 on the CPU, and what is known of them.

    certificate: of exactly these heights; converged: whether it reached `tv`, the target, at `confidence`.
    samples: source samples the optimisation used; certificate_samples: those of all certificates.
    seconds: wall-clock by phase (prepare, start, burn-in, descent, facets, certificate). phase_samples: the samples of
        each phase that draws some; `samples` is the sum of burn-in, descent and facets. history: one entry per
        certificate, with the samples and seconds of all but certificates until then.
    problem: fingerprint of the problem these heights belong to.
    """

    heights: Tensor
    certificate: Certificate
    converged: bool
    tv: float
    confidence: float
    samples: int
    certificate_samples: int
    seconds: dict[str, float]
    phase_samples: dict[str, int]
    history: list[dict[str, Any]]
    seed: int
    problem: str

    def __str__(self) -> str:
        verdict = "converged" if self.converged else "NOT converged"
        return (
            f"{verdict} (target TV ≤ {self.tv:g} at {self.confidence:.4g}): {self.certificate}; "
            f"{self.samples:,} samples, {sum(self.seconds.values()):.2f} s"
        )

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: the heights, and the rest as JSON in its metadata."""
        meta = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("heights", "certificate")}
        _write(path, {"heights": self.heights}, {**meta, "certificate": self.certificate.to_dict()})

    @classmethod
    def load(cls, path: str | Path) -> "Solution":
        """Read what `save` wrote. ValueError for a file that is something else or damaged."""
        tensors, meta = _read(path)
        try:
            meta["certificate"] = Certificate.from_dict(meta["certificate"])
            return cls(heights=tensors["heights"], **meta)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is no saved solution: {error}") from None


@dataclass(eq=False)
class State:
    """Everything a solve needs to go on: internal heights and counters. Tensors are [n] float64 unless said."""

    heights: Tensor
    average: Tensor
    gap_prior: Tensor
    gap_sum: Tensor
    gap_count: Tensor
    silent: Tensor  # expected hits since the last hit, per cell
    hits: Tensor  # [n] int64, of the fresh samples that the attempt, or the trial of the start, has drawn so far
    twin: Tensor  # [n] int64, of as many others in that trial
    facets: Tensor  # [n, n], how cells are coupled, the mean of so many `estimates`; [0, 0] before the first
    matrix: Tensor  # [n, n], what turns errors of the masses into moves of the heights
    edges: Tensor  # [2, E] int64
    phase: Phase = "burn-in"
    step: int = 0
    samples: int = 0  # drawn so far
    descent: int = 0  # of these, since the average began
    goal: int = 0  # descent samples at which to certify
    attempt: int = 0
    looks: int = 0  # of the attempt, done
    shard: int = 0  # of the look under way: the first that is not counted yet
    estimates: int = 0
    certificate_samples: int = 0
    best: float = float("inf")
    stalled: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    phase_samples: dict[str, int] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    certificate: dict[str, Any] | None = None  # the last one

    @classmethod
    def of(cls, heights: Tensor, gap: Tensor, goal: int) -> "State":
        """The state before the first step, from `heights` [n] with the mean gaps [n] known in closed form."""
        zero, none = torch.zeros_like(gap), gap.new_zeros(0, 0)
        return cls(
            heights=heights,
            average=heights.clone(),
            gap_prior=gap,
            gap_sum=zero,
            gap_count=zero.clone(),
            silent=zero.clone(),
            hits=zero.long(),
            twin=zero.long(),
            facets=none,
            matrix=none,
            edges=none,
            goal=goal,
        )

    def drew(self, phase: str, samples: int) -> None:
        """Count samples of a phase."""
        self.phase_samples[phase] = self.phase_samples.get(phase, 0) + samples
        if phase == "certificate":
            self.certificate_samples += samples
        elif phase != "start":
            self.samples += samples

    def took(self, phase: str, seconds: float) -> None:
        """Count seconds of a phase."""
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds

    def save(self, path: str | Path, **identity: Any) -> None:
        tensors = {k: v for k, v in vars(self).items() if isinstance(v, Tensor)}
        rest = {k: v for k, v in vars(self).items() if k not in tensors}
        _write(path, tensors, {"state": rest, "identity": identity})

    @classmethod
    def load(cls, path: str | Path, device: torch.device, **identity: Any) -> "State":
        """ValueError unless the file is a state of the same problem, options and seed."""
        tensors, meta = _read(path)
        if "state" not in meta:
            raise ValueError(f"{path} is no state of a solve; give another checkpoint file")
        saved = meta["identity"]
        for name, value in identity.items():
            if saved.get(name) != value:
                raise ValueError(
                    f"checkpoint {path} belongs to another solve ({name} {saved.get(name)!r}, now {value!r}); "
                    "delete it or give another file"
                )
        values: dict[str, Any] = {**{k: v.to(device) for k, v in tensors.items()}, **meta["state"]}
        try:
            return cls(**values)
        except TypeError:
            raise ValueError(f"checkpoint {path} was made by another version; delete it or give another file") from None


@dataclass(eq=False)
class Checkpoint:
    """A file that keeps the state of a solve, and whose solve it is."""

    path: Path
    identity: dict[str, Any]
    saved: float = 0.0

    def load(self, device: torch.device) -> State | None:
        return State.load(self.path, device, **self.identity) if self.path.exists() else None

    def save(self, state: State) -> None:
        """At most every SAVE_SECONDS: a step is either shorter, or kept."""
        if time.monotonic() - self.saved >= SAVE_SECONDS:
            state.save(self.path, **self.identity)
            self.saved = time.monotonic()


def digest(heights: Tensor) -> str:
    """Short hash of a warm start."""
    return hashlib.sha256(heights.detach().float().cpu().numpy().tobytes()).hexdigest()[:16]


def fingerprint(problem: SemiDiscreteProblem, keys: Tensor) -> str:
    """Short hash that tells problems apart: all targets by the `keys` [N] of their rows, all masses, the source.

    A source is known by its text: class or function, and fields where it has them. What a function reads elsewhere is
    not seen.
    """
    digest = hashlib.sha256(f"{list(problem.targets.shape)} {_law(problem.source)}".encode())
    for part in (keys, problem.weights):
        digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _law(source: Any) -> str:
    """Module, text and fields of a source, without the addresses that differ between runs."""
    text = f"{getattr(source, '__module__', '')} {source!r} {getattr(source, '__dict__', {})!r}"
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)


def _write(path: str | Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Written aside and renamed: a reader finds the old file or the new one, never half of one."""
    path = Path(path)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(cpu, aside, metadata={"dpmot": json.dumps(meta)})
        aside.replace(path)
    except SafetensorError as error:
        raise OSError(f"can't write {path}: {error}") from None
    finally:
        aside.unlink(missing_ok=True)


def _read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["dpmot"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no file of dpmot: {error}") from None
