"""Named grids of (problem, sampler, NFE, seed)."""

from benchmark.plan import Case
from samplers.base import OptionError
from samplers.registry import did_you_mean

SEEDS = (0, 1, 2, 3, 4)
MORE_SEEDS = tuple(range(5, 15))
"""Further seeds of DPM-OT and its control at 10 evaluations: that two arms are equal takes more of them to show."""
BUDGETS = (5, 10, 20)

FAST = ("ddpm", "ddim", "f-pndm", "dpm-solver++-2m", "unipc", "deis", "heun", "langevin")
"""The plain samplers of the quick suite: one of each family."""

FRONTIER = (0.1, 0.3, 1.0, 3.0)
"""Levels σ_M of the frontier of quality against novelty, in units of images in [−1, 1]."""


SAMPLES = {"mixture2d": 1000, "digits": 500}

LATENTS: dict[str, dict[str, object]] = {"mixture2d": {"count": 250, "tv": 0.15}, "digits": {"count": 1297}}
"""Targets of the transport. On the plane cells of separate modes are coupled through thin boundaries only, which is
slow to solve: few targets and a wide tolerance there; on digits all training images."""


def _quick(problem: str) -> list[Case]:
    """Every claim on one problem, small enough for two CPU cores."""
    latents, samples = LATENTS[problem], SAMPLES[problem]
    random = {"count": latents["count"]}
    arms = {"dpmot": latents, "random-latent": random, "unsolved-map": latents}

    def both(seeds: tuple[int, ...] = SEEDS, **options: object) -> list[Case]:
        """DPM-OT and its control, alike but for the OT map."""
        pair = ("dpmot", "random-latent")
        return [Case(problem, name, (10,), seeds, samples, options={**arms[name], **options}) for name in pair]

    cases = [Case(problem, name, BUDGETS, SEEDS, samples) for name in FAST]
    cases += [Case(problem, "heun", (35,), SEEDS, samples)]
    for name, options in arms.items():
        budgets = (10,) if name == "unsolved-map" else BUDGETS
        cases += [Case(problem, name, budgets, SEEDS, samples, options=options)]
    cases += [
        Case(problem, "unsolved-map", (10,), SEEDS, samples, options={**latents, "heights": heights})
        for heights in ("closed-form", "shuffled")
    ]
    cases += both(seeds=MORE_SEEDS)
    cases += both(targets="model")
    cases += [case for sigma_m in FRONTIER for case in both(SEEDS[:3], sigma_m=sigma_m)]
    cases += [
        Case(problem, "copy-target", (0,), SEEDS, samples, options=random),
        Case(problem, "held-out", (0,), SEEDS, samples),
    ]
    released = {**random, "iterations": 100}
    cases += [Case(problem, "dpmot-released", (6, 11, 21), SEEDS, samples, options=released)]
    return [*cases, Case(problem, "dpmot-released", (11,), SEEDS, samples, options={**released, "level": "matched"})]


def suite(name: str) -> list[Case]:
    """The cases of a suite.

    Raises:
        OptionError: there is no suite of that name.
    """
    if name not in SUITES:
        raise OptionError(f"unknown suite '{name}'{did_you_mean(name, SUITES)}")
    return [case for problem in SUITES[name] for case in _quick(problem)]


SUITES: dict[str, tuple[str, ...]] = {"quick": ("mixture2d", "digits")}
"""Suite -> the problems on which it runs every arm."""
