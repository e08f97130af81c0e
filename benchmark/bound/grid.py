"""The grid: one factor at a time around a base, seeds where the targets' draw matters, and random combinations."""

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
        masses: of the targets: `equal` (exact cells, or a random latent), `solved` (the map's, from `dpmot.solve`), or
            a share t as text: (1 − t)·equal + t·(masses of the unsolved map, h = 0).
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
    return distinct(cells + order_cells(ORDER_MIXTURES))


def order_cells(names: Iterable[str]) -> list[Cell]:
    """Cells for the solvers' orders, terms only: after so many steps the bound may be too tight to check."""
    return [
        Cell(name, solver=solver, intervals=intervals, level=0.5, samples=0)
        for name in names
        for solver in SOLVERS
        for intervals in ORDER_INTERVALS
    ]


def quick_grid() -> list[Cell]:
    """A part of the full grid that touches every factor and every term."""
    cells: list[Cell] = []
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
