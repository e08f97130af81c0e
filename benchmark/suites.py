"""Named grids of (problem, sampler, NFE, seed)."""

from benchmark.plan import Case
from samplers.base import OptionError
from samplers.registry import did_you_mean

SEEDS = (0, 1, 2, 3, 4)
FAST = ("ddpm", "ddim", "f-pndm", "dpm-solver++-2m", "unipc", "deis", "heun", "langevin")
"""The plain samplers of the quick suite: one of each family."""

FRONTIER = (0.1, 0.3, 1.0, 3.0)
"""Levels σ_M of the frontier of quality against novelty, in units of images in [−1, 1]."""


def _quick(problem: str) -> list[Case]:
    """Every claim on one problem, small enough for two CPU cores."""
    budgets = (5, 10, 20)
    cases = [Case(problem, name, budgets, SEEDS, options={"grid": "edm"}) for name in FAST if name != "langevin"]
    cases += [Case(problem, "langevin", budgets, SEEDS)]
    cases += [Case(problem, name, budgets, SEEDS) for name in ("dpmot", "random-latent", "unsolved-map")]
    cases += [Case(problem, "unsolved-map", (10,), SEEDS, options={"heights": h}) for h in ("closed-form", "shuffled")]
    cases += [Case(problem, name, (10,), SEEDS, options={"targets": "model"}) for name in ("dpmot", "random-latent")]
    cases += [Case(problem, name, (0,), SEEDS) for name in ("copy-target", "held-out")]
    cases += [Case(problem, "dpmot-released", (6, 11, 21), SEEDS, options={"iterations": 100})]
    cases += [Case(problem, "dpmot-released", (11,), SEEDS, options={"iterations": 100, "level": "matched"})]
    for sigma_m in FRONTIER:
        cases += [Case(problem, n, (10,), SEEDS, options={"sigma_m": sigma_m}) for n in ("dpmot", "random-latent")]
    return [*cases, Case(problem, "heun", (35,), SEEDS, options={"grid": "edm"})]


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
