"""On trained networks: the terms of the bound that can be measured, named as such.

The exact score is unknown there, and with it the Lipschitz constant G and the score term. The rest is measured with the
network's own flow Φ^θ, from σ_M to the end level σ_e = σ_min: the OT distances at σ_M, what their couplings cost after
Φ^θ, the discretisation, and the end level, which is ‖E∘S − S‖ plus σ_e√d, at least the distance of p_{σ_e} from the
data. Their sum bounds the error but for W₂(Φ^θ#p_{σ_M}, p_{σ_e}), which is the score's: it is no bound by itself. The
error `w2` is that of equal masses, against held-out examples; `mass` is what the solved map would add.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from benchmark.bound.measure import map_masses
from benchmark.bound.terms import distance_to_law, mass_plan, squared_distances, synchronous_term
from benchmark.problems import make_problem, problem_names
from benchmark.problems.base import Problem
from benchmark.records import environment
from benchmark.records.store import RecordFolder, key_of
from benchmark.running.executors import carry_out
from benchmark.workers import choose_device
from dpmot import HEIGHTS_VERSION, Gaussian, SemiDiscreteProblem, solve
from dpmot.progress import progress_bar
from samplers.denoisers import CountingDenoiser
from samplers.latents import make_latents
from samplers.noise import ShardNoise, make_grid, stream
from samplers.registry import lookup

VERSION = 1 + HEIGHTS_VERSION
NEEDS = ("key", "config", "measured", "environment")
"""What a record of a setting holds at least."""
NETWORKS = ("digits", "cifar10")
NEEDS_GPU = {"cifar10"}
LEVELS = (0.1, 0.5, 2.0)
TARGETS = 200
HELD_OUT = 500
BATCH = 250  # images that the network sees at once
REFERENCE_STEPS = 32  # of third order; the difference from half as many is recorded as the reference's error


@dataclass(frozen=True)
class Setting:
    """What is measured: a problem with a network, N train latents at σ_M, K steps of a solver."""

    problem: str
    sigma_m: float
    targets: int = TARGETS
    solver: str = "ddim"
    intervals: int = 8


def usable(names: Iterable[str] = NETWORKS) -> tuple[list[str], list[str]]:
    """Names whose network is there, and for the others the reason why not."""
    found, left_out = [], []
    for name in names:
        try:
            if name not in problem_names():
                raise LookupError("no such problem")
            if name in NEEDS_GPU and not torch.cuda.is_available():
                raise LookupError("needs a CUDA device")
            make_problem(name).fingerprint()
            found.append(name)
        except (LookupError, OSError, ValueError) as error:
            left_out.append(f"{name}: {error}")
    return found, left_out


def measure(problem: Problem, setting: Setting) -> dict[str, float]:
    """The measurable terms, and the error itself against held-out examples."""
    walk = Walk(problem, setting.sigma_m, problem.sigma_min)
    latents = make_latents(problem, "train", setting.targets, setting.sigma_m, 0).noised
    count = len(latents)
    equal = torch.full((count,), 1 / count, dtype=torch.float64)
    ends, coarse = walk("dpm-solver-3s", REFERENCE_STEPS, latents), walk("dpm-solver-3s", REFERENCE_STEPS // 2, latents)
    at_end = walk(setting.solver, setting.intervals, latents)
    output = CountingDenoiser(problem.denoiser, batch=BATCH)(at_end, problem.sigma_min)

    clean = problem.examples("test", HELD_OUT).to(problem.device, problem.dtype)
    clean = clean[: len(clean) // 2 * 2]
    noise = torch.randn(clean.shape, generator=stream("bound", "network"), dtype=problem.dtype).to(problem.device)
    held_out = clean + setting.sigma_m * noise
    images = rows(walk("dpm-solver-3s", REFERENCE_STEPS, held_out)).chunk(2)
    distance, plans = distance_to_law(rows(latents), equal, *rows(held_out).chunk(2))
    finite = [(plan * squared_distances(rows(ends), image)).sum() for plan, image in zip(plans, images, strict=True)]

    transport = SemiDiscreteProblem(rows(latents), Gaussian())
    masses = map_masses(transport, solve(transport, tv=0.05).heights)
    squared, plan = mass_plan(rows(latents), masses)
    error, _ = distance_to_law(rows(output), equal, *rows(clean).chunk(2))
    return {
        "mass_distance": math.sqrt(squared),
        "mass": math.sqrt(float((plan * squared_distances(rows(ends), rows(ends))).sum())),
        "finite_targets_distance": distance.value,
        "finite_targets": math.sqrt(float(sum(finite)) / 2),
        "discretisation": synchronous_term(rows(at_end), rows(ends), equal),
        "reference_error": synchronous_term(rows(coarse), rows(ends), equal),
        "end_level": synchronous_term(rows(output), rows(at_end), equal)
        + problem.sigma_min * math.sqrt(clean[0].numel()),
        "w2": error.value,
        "w2_low": error.low,
        "w2_high": error.high,
    }


@dataclass(frozen=True)
class Walk:
    """The network's flow from σ_M to σ_e by a solver of so many steps."""

    problem: Problem
    sigma_m: float
    sigma_end: float

    @torch.no_grad()
    def __call__(self, solver: str, intervals: int, x: Tensor) -> Tensor:
        """x [B, *shape] at σ_M -> [B, *shape] at σ_e."""
        noise = ShardNoise(0, "bound", tuple(x.shape), x.dtype, x.device)
        sigmas = make_grid("log-snr", intervals, self.sigma_m, self.sigma_end)
        walker: Any = lookup(solver).make()
        return walker.integrate(CountingDenoiser(self.problem.denoiser, batch=BATCH), x, sigmas, noise)


def rows(x: Tensor) -> Tensor:
    """Images as float64 rows on the CPU, [B, d]."""
    return x.detach().flatten(1).double().cpu()


def run(names: Iterable[str], folder: Path, force: bool = False) -> None:
    """Measure what has no record yet in `folder`/networks; write `networks.csv` and `networks.md` of all records."""
    settings = [Setting(name, level) for name in names for level in LEVELS]
    kept = networks_in(folder)
    done = carry_out(Measuring(kept, choose_device(None), force), [settings], jobs=1)
    for record in progress_bar(done, total=len(settings), unit="network level", disable=not settings):
        _drop_others(kept, record)
    if records := kept.read():
        table = [record["config"]["setting"] | record["measured"] for record in records]
        write(pd.DataFrame(table).sort_values(["problem", "sigma_m"], ascending=[False, True]), folder)


def networks_in(folder: Path) -> RecordFolder:
    """The records of terms on networks, below the study's folder."""
    return RecordFolder(folder / "networks", lambda config: config["setting"]["problem"], NEEDS)


@dataclass(frozen=True)
class Measuring:
    """Gives the record of a setting: the one that is kept, unless `force`, else a new one, which is then kept."""

    kept: RecordFolder
    device: torch.device
    force: bool

    def __call__(self, setting: Setting) -> dict[str, Any]:
        problem = make_problem(setting.problem).to(self.device)
        config = {"version": VERSION, "setting": asdict(setting), "fingerprint": problem.fingerprint()}
        record = None if self.force else self.kept.find(config)
        if record is None:
            record = {"key": key_of(config), "config": config, "measured": measure(problem, setting)}
            record["environment"] = environment.describe(str(self.device))
            self.kept.save(record)
        return record


def _drop_others(kept: RecordFolder, record: dict[str, Any]) -> None:
    """Remove records of the same setting: they are of another network or another version of the measurement."""
    for other in kept.read():
        if other["config"]["setting"] == record["config"]["setting"] and other["key"] != record["key"]:
            kept.path(other["config"]).unlink()


def write(table: pd.DataFrame, folder: Path) -> None:
    """`networks.csv` and `networks.md`."""
    from benchmark.bound.tables import markdown

    table.to_csv(folder / "networks.csv", index=False, float_format="%.6g")
    text = [
        "# Terms that can be measured on trained networks",
        "",
        *(line for line in (__doc__ or "").split("\n\n", 1)[1].strip().splitlines()),
        "",
        "`*_distance`: at the level σ_M. `mass`, `finite_targets`: the same couplings after the network's flow. Not "
        "measurable: the score term, and the Lipschitz constant G.",
        "",
        markdown(table),
    ]
    (folder / "networks.md").write_text("\n".join(text) + "\n")
