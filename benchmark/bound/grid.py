"""The grid: one factor at a time around a base, seeds where the targets' draw matters, random combinations, and stress.

A stress cell is made so that one term of our bound carries the error: without it the bound fails there.
"""

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from benchmark.bound.mixtures import MIXTURES
from benchmark.records.store import key_of
from dpmot import HEIGHTS_VERSION

VERSION = 1
"""Raised when a change of code changes the numbers; part of a cell's key."""


@dataclass(frozen=True)
class Cell:
    """One configuration of DPM-OT on a mixture. Lengths are in units of the mixture's width s.

    Attributes:
        mixture: a name of `MIXTURES`.
        targets: N.
        level: σ_M/s.
        intervals: K, on the log-SNR grid.
        solver: the reverse solver.
        masses: of the targets: `equal` (exact cells, or a random latent), `solved` (the map's, from `dpmot.solve`),
            `one` (all on the first target: a map whose heights are so far off that one cell takes everything), or a
            share t as text: (1 − t)·equal + t·(masses of the unsolved map, h = 0).
        score_error: ‖s_θ − s‖·s, the size of the error injected into the score.
        end: σ_e/s; σ_e is σ_M/2 at most.
        seed: of the targets.
        samples: of p_0 and of p_{σ_M}, twice each, for the distances. 0: terms only, without finite targets and check.
    """

    mixture: str
    targets: int = 100
    level: float = 1.0
    intervals: int = 8
    solver: str = "ddim"
    masses: str = "equal"
    score_error: float = 0.0
    end: float = 0.2
    seed: int = 0
    samples: int = 4000

    def config(self) -> dict[str, Any]:
        """Exactly what determines the outcome, JSON-ready."""
        problem, options = MIXTURES[self.mixture]
        version = VERSION + HEIGHTS_VERSION if self.masses == "solved" else VERSION
        return {"version": version, "problem": {"name": problem, "options": options}, "cell": asdict(self)}

    def key(self) -> str:
        return key_of(self.config())

    def __str__(self) -> str:
        base = Cell(self.mixture)
        changed = [f"{name}={value}" for name, value in asdict(self).items() if getattr(base, name) != value]
        return " ".join([self.mixture, *changed])


TARGETS = (25, 50, 100, 200)
LEVELS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
INTERVALS = (2, 4, 8, 16)
SOLVERS = ("ddim", "heun", "dpm-solver-2s", "dpm-solver++-2m", "dpm-solver-3s")
MASSES = ("equal", "solved", "0.0001", "0.001", "0.01", "0.1", "1")
SCORE_ERRORS = (0.0, 0.01, 0.03, 0.1, 0.3)
ENDS = (0.05, 0.1, 0.2, 0.4)
ORDER_INTERVALS = (16, 32, 64, 128)
ORDER_MIXTURES = ("gaussian-8", "overlapping-2", "overlapping-8", "separate-2", "digits-64")

FACTORS: dict[str, tuple[Any, ...]] = {
    "targets": TARGETS,
    "level": LEVELS,
    "intervals": INTERVALS,
    "solver": SOLVERS,
    "masses": MASSES,
    "score_error": SCORE_ERRORS,
    "end": ENDS,
}
"""What is varied, and how."""

SEEDS = (0, 1, 2)
QUICK_MIXTURES = ("gaussian-8", "overlapping-2", "digits-64")


def sweep(base: Cell, factor: str) -> list[Cell]:
    """The base with one factor at each of its values."""
    return [replace(base, **{factor: value}) for value in FACTORS[factor]]


def everything(name: str) -> Cell:
    """The base with every term at work: a solved map's masses and an error in the score."""
    return Cell(name, masses="solved", score_error=0.1)


def combinations(name: str, count: int) -> list[Cell]:
    """Random combinations of all factors (the same ones every time): what varying one at a time would miss."""
    rng = random.Random(f"bound {name}")
    drawn = [{factor: rng.choice(values) for factor, values in FACTORS.items()} for _ in range(count)]
    return [Cell(name, **factors) for factors in drawn]


def full_grid() -> list[Cell]:
    """Every cell, in an order that lets neighbours share work."""
    cells: list[Cell] = []
    for name in MIXTURES:
        base = Cell(name)
        for factor in FACTORS:
            cells += sweep(base, factor)
        cells += [replace(cell, seed=seed) for cell in sweep(base, "targets") for seed in SEEDS]
        cells += [everything(name), *combinations(name, 6)]
    cells += [cell for aimed in stress_cells().values() for cell in aimed]
    return distinct(cells + order_cells(ORDER_MIXTURES))


FINE: dict[str, Any] = {"solver": "dpm-solver-3s", "intervals": 64}
"""Steps so many and of such an order that stress cells of other terms have no discretisation to speak of."""


def stress_cells() -> dict[str, list[Cell]]:
    """Cells of which each is aimed at one term: term -> cells. Lengths below are in units of s, for one Gaussian.

    finite targets: N = 1 to 8. One target y errs by √(|y|² + d), its other terms by a few hundredths.
    mass: all of it on one of N targets errs as much; N of equal masses are nearer, and at σ_M = 0.05 G is close to 1.
    discretisation: from σ_M = 20 to σ_e = 0.2, one DDIM step multiplies a latent by 1 − (σ_M − σ_e)σ_M/(1 + σ_M²) =
        0.012 where the flow does by √((1 + σ_e²)/(1 + σ_M²)) = 0.051: the output collapses. Heun's step averages the
        slope with one that is nearly 0, and leaves half of the latent: the output is ten times too wide.
    score: an error of size ε from σ_M = 1 moves the output by up to ε(√2 − 1): more than N = 200 targets miss.
    end level: to denoise at σ_e = 10 multiplies by 1/(1 + σ_e²) where the flow does by 1/√(1 + σ_e²): a collapse. A
        score error ε moves the denoised image by σ_e²ε, the flow by no more than ε√(1 + σ_e²): nothing collapses.
    """
    laws = list(MIXTURES)
    flat = [name for name in laws if not _separate(name)]  # G is moderate at every level
    far = [Cell(name, targets=200, level=20.0) for name in flat]
    few_steps = (("ddim", 1), ("ddim", 2), ("ddim", 3), ("heun", 1), ("heun", 2))
    unequal = (("one", 8, 0.05), ("one", 32, 0.05), ("1", 8, 0.1))
    return {
        "mass": [Cell(name, masses=kind, targets=n, level=level) for name in laws for kind, n, level in unequal],
        "finite_targets": [
            Cell(name, targets=count, level=0.1 if _separate(name) else 0.5) for name in laws for count in (1, 2, 4, 8)
        ],
        "discretisation": [replace(cell, solver=solver, intervals=k) for cell in far for solver, k in few_steps],
        "score": [
            Cell(name, targets=200, end=0.05, score_error=size, **FINE) for name in flat for size in (3.0, 10.0, 30.0)
        ],
        "end_level": [replace(cell, end=10.0, score_error=size, **FINE) for cell in far for size in (0.0, 0.3, 1.0)],
    }


def sharp_cells() -> dict[str, Cell]:
    """Of each term's stress cells one in which even half of the term is not enough."""
    far = Cell("gaussian-8", targets=200, level=20.0)
    return {
        "mass": Cell("separate-2", targets=32, level=0.05, masses="one"),
        "finite_targets": Cell("gaussian-8", targets=1, level=0.5),
        "discretisation": replace(far, solver="heun", intervals=1),
        "score": Cell("gaussian-8", targets=200, end=0.05, score_error=30.0, **FINE),
        "end_level": replace(far, end=10.0, score_error=0.3, **FINE),
    }


def aimed_at() -> dict[str, str]:
    """Key of a stress cell -> the term it is aimed at."""
    return {cell.key(): term for term, cells in stress_cells().items() for cell in cells}


def _separate(name: str) -> bool:
    """Whether the modes lie so far apart that G explodes with the level."""
    return name.startswith(("separate", "digits"))


def order_cells(names: Iterable[str]) -> list[Cell]:
    """Cells for the solvers' orders, terms only: after so many steps the bound may be too tight to check."""
    return [
        Cell(name, solver=solver, intervals=intervals, level=0.5, samples=0)
        for name in names
        for solver in SOLVERS
        for intervals in ORDER_INTERVALS
    ]


def quick_grid() -> list[Cell]:
    """A part of the full grid that touches every factor, and in which every term is needed somewhere."""
    cells = [*sharp_cells().values()]
    for name in QUICK_MIXTURES:
        base = Cell(name)
        cells += [base, *sweep(base, "masses")[1::2], replace(base, targets=25), replace(base, level=0.25)]
        cells += [replace(base, intervals=2), replace(base, solver="dpm-solver-2s"), replace(base, score_error=0.1)]
        cells += [replace(base, end=0.4), everything(name)]
    return distinct(cells + order_cells(ORDER_MIXTURES[:1]))


def distinct(cells: Iterable[Cell]) -> list[Cell]:
    """Each cell once, sorted so that cells of the same mixture, level, targets and seed are neighbours."""
    order = list(MIXTURES)

    def place(cell: Cell) -> tuple[Any, ...]:
        return order.index(cell.mixture), cell.level, cell.targets, cell.seed, cell.score_error, cell.samples == 0

    return sorted(dict.fromkeys(cells), key=place)
