"""Named grids of (problem, sampler, NFE, seed)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmark.running.plan import Case
from samplers.errors import UserError
from samplers.plugins import did_you_mean
from samplers.registry import lookup

BUDGETS = (5, 10, 20)

FAST = ("ddpm", "ddim", "f-pndm", "dpm-solver++-2m", "unipc", "deis", "heun", "langevin")
"""The plain samplers of a suite: one of each family."""

FRONTIER = (0.1, 0.3, 1.0, 3.0)
"""Levels σ_M of the frontier of quality against novelty, in units of images in [−1, 1]."""


@dataclass(frozen=True)
class Scale:
    """How large a problem's runs are.

    Attributes:
        samples: of each run.
        seeds: of every arm.
        more_seeds: further seeds of DPM-OT and its control at 10 evaluations and of the plain samplers from 10 on: that
            two arms are equal takes more of them to show.
        latents: options of the transport's targets.
        released: how many targets the released code's scheme gets.
        iterations: of that scheme's Adam in further rows: as many as the release takes, where that is soon done.
        students: options of the distilled samplers, by name; none where the denoiser is no network.
    """

    samples: int
    seeds: tuple[int, ...]
    more_seeds: tuple[int, ...]
    latents: Mapping[str, Any]
    released: int
    iterations: tuple[int, ...] = ()
    students: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SCALES = {
    "mixture2d": Scale(1000, (0, 1, 2, 3, 4), tuple(range(5, 15)), {"count": 500}, 500, (1000,)),
    "digits": Scale(
        500,
        (0, 1, 2, 3, 4),
        tuple(range(5, 15)),
        {"count": 1297},  # all training images
        1297,
        (1000,),
        {
            "progressive-distillation": {"images": 20_000, "teacher": 40},
            "consistency-distillation": {"images": 40_000, "lr": 1e-3},
        },
    ),
    "cifar10": Scale(
        10_000,
        (0, 1, 2),
        (),
        {"count": 50_000},
        10_000,
        (),
        {
            "progressive-distillation": {"images": 500_000, "batch": 512, "lr": 2e-4},
            "consistency-distillation": {"images": 1_000_000, "batch": 512, "lr": 2e-4},
        },
    ),
}


def every_arm(problem: str) -> list[Case]:
    """Every claim on one problem; no sampler at budgets that are all warm-up (`Sampler.least`)."""
    scale = SCALES[problem]
    random: dict[str, Any] = {"count": scale.latents["count"]}
    arms = {"dpmot": scale.latents, "random-latent": random, "unsolved-map": scale.latents}

    def case(sampler: str, nfes: tuple[int, ...], seeds: tuple[int, ...] = scale.seeds, **options: Any) -> Case:
        least = lookup(sampler).cls.least if any(nfes) else 0
        return Case(problem, sampler, tuple(nfe for nfe in nfes if nfe >= least), seeds, scale.samples, options)

    def both(seeds: tuple[int, ...] = scale.seeds, **options: Any) -> list[Case]:
        """DPM-OT and its control, alike but for the OT map."""
        return [case(name, (10,), seeds, **{**arms[name], **options}) for name in ("dpmot", "random-latent")]

    cases = [case(name, BUDGETS) for name in FAST]
    cases += [case("heun", (35,))]
    cases += [case(name, BUDGETS, **options) for name, options in scale.students.items()]
    for name, options in arms.items():
        cases += [case(name, (10,) if name == "unsolved-map" else BUDGETS, **options)]
    cases += [case("unsolved-map", (10,), **scale.latents, heights=heights) for heights in ("closed-form", "shuffled")]
    if scale.more_seeds:
        cases += both(scale.more_seeds)
        cases += [case(name, BUDGETS[1:], scale.more_seeds) for name in FAST]
        cases += [case("heun", (35,), scale.more_seeds)]
    cases += both(targets="model")
    cases += [one for sigma_m in FRONTIER for one in both(scale.seeds[:3], sigma_m=sigma_m)]
    cases += [case("copy-target", (0,), **random), case("held-out", (0,))]
    released: dict[str, Any] = {"count": scale.released, "iterations": 100}
    cases += [case("dpmot-released", (6, 11, 21), **released)]
    cases += [case("dpmot-released", (11,), **released, level="matched")]
    return cases + [case("dpmot-released", (11,), **released | {"iterations": count}) for count in scale.iterations]


def suite(name: str) -> list[Case]:
    """The cases of a suite.

    Raises:
        UserError: there is no suite of that name.
    """
    if name not in SUITES:
        raise UserError(f"unknown suite '{name}'{did_you_mean(name, SUITES)}")
    return [case for problem in SUITES[name] for case in every_arm(problem)]


SUITES: dict[str, tuple[str, ...]] = {"quick": ("mixture2d", "digits"), "cifar10": ("cifar10",)}
"""Suite -> the problems on which it runs every arm; `cifar10` is for GPUs."""
