"""The grid on which each plain solver is at its best, chosen on seeds that nothing else uses.

A rival on a grid that is not its own loses to the grid. So each gets the best of the stated ones: by the mean of one
value over seeds of their own, for each problem and number of evaluations apart. The runs that chose, with
`--set grid=GRID variant=bh1` for `unipc-bh1`:

    python -m benchmark.run --problem digits --samples 500 --seeds 100 101 102 103 104 --nfe 5 8 10 20 \
        --sampler SOLVER ... --set grid=GRID --out DIR
    python -m benchmark.run --problem mixture2d --samples 1000 (and so on)

`python -m benchmark.running.grids DIR` makes of them the rows of `BEST`, and shows the means.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, get_args

from benchmark.commands import command_line, run_command
from benchmark.records.record import Record
from benchmark.records.store import read_records
from samplers.errors import UserError
from samplers.noise import Grid
from samplers.registry import lookup

GRIDS: tuple[Grid, ...] = get_args(Grid)
"""The stated grids."""

SEEDS = (100, 101, 102, 103, 104)
"""Seeds that choose, and on which nothing is decided."""

BUDGETS = (5, 8, 10, 20)

DECIDES = {"digits": ("fd",), "mixture2d": ("w2", "sliced_w2")}
"""The values that choose on each problem, the smaller the better; the second where the first is equal, as at 0."""

PLAIN = (
    "ddpm", "ddim", "s-pndm", "plms", "ipndm", "f-pndm",
    "dpm-solver-2s", "dpm-solver-3s", "dpm-solver-fast", "dpm-solver-2m", "dpm-solver-3m",
    "dpm-solver++-2s", "dpm-solver++-2m", "dpm-solver++-3m", "deis", "heun", "langevin",
)  # fmt: skip

SOLVERS: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{name: (name, {}) for name in PLAIN},
    "unipc-bh1": ("unipc", {"variant": "bh1"}),
    "unipc-bh2": ("unipc", {}),
}
"""Every plain solver of the study: what it is called here -> its name in the registry, and options."""

Choice = tuple[str, str, int]
"""(problem, solver, evaluations)."""

Means = tuple[float, ...]
"""Those of the values that decide, over the seeds."""

BEST: dict[str, dict[str, dict[int, Grid]]] = {
    "digits": {
        "ddpm": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-uniform"},
        "ddim": {5: "ddpm-quadratic", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "s-pndm": {5: "ddpm-uniform", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "plms": {5: "ddpm-uniform", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "ipndm": {5: "ddpm-uniform", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "f-pndm": {20: "ddpm-uniform"},
        "dpm-solver-2s": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-uniform"},
        "dpm-solver-3s": {5: "ddpm-quadratic", 8: "log-snr", 10: "log-snr", 20: "ddpm-uniform"},
        "dpm-solver-fast": {5: "ddpm-quadratic", 8: "log-snr", 10: "ddpm-quadratic", 20: "ddpm-uniform"},
        "dpm-solver-2m": {5: "ddpm-quadratic", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "dpm-solver-3m": {5: "ddpm-quadratic", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-quadratic"},
        "dpm-solver++-2s": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-uniform"},
        "dpm-solver++-2m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-uniform", 20: "edm"},
        "dpm-solver++-3m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-uniform", 20: "ddpm-quadratic"},
        "deis": {5: "ddpm-uniform", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "heun": {5: "ddpm-uniform", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "langevin": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "unipc-bh1": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-uniform", 20: "ddpm-uniform"},
        "unipc-bh2": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-uniform", 20: "ddpm-uniform"},
    },
    "mixture2d": {
        "ddpm": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "ddim": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "s-pndm": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "plms": {5: "edm", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "ipndm": {5: "ddpm-quadratic", 8: "log-snr", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "f-pndm": {20: "ddpm-quadratic"},
        "dpm-solver-2s": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver-3s": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver-fast": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver-2m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver-3m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "edm"},
        "dpm-solver++-2s": {5: "log-snr", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver++-2m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "dpm-solver++-3m": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "log-snr"},
        "deis": {5: "ddpm-uniform", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "heun": {5: "ddpm-uniform", 8: "ddpm-uniform", 10: "ddpm-uniform", 20: "ddpm-quadratic"},
        "langevin": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "unipc-bh1": {5: "ddpm-quadratic", 8: "ddpm-uniform", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
        "unipc-bh2": {5: "ddpm-quadratic", 8: "ddpm-quadratic", 10: "ddpm-quadratic", 20: "ddpm-quadratic"},
    },
}
"""Problem -> solver -> evaluations -> the grid with the smallest mean; where all are near the floor, chance decides."""


def best(problem: str, solver: str, nfe: int) -> dict[str, Any]:
    """The options with which a solver of `SOLVERS` is at its best: those of the nearest number of evaluations.

    Raises:
        UserError: nothing was chosen for it.
    """
    try:
        grids = BEST[problem][solver]
    except KeyError:
        raise UserError(f"no grid was chosen for {solver} on {problem}; see benchmark.running.grids") from None
    return {**SOLVERS[solver][1], "grid": grids[min(grids, key=lambda budget: (abs(budget - nfe), budget))]}


def wanted() -> list[Choice]:
    """What is to be chosen; no budget that is all warm-up."""
    return [
        (problem, solver, nfe)
        for problem in DECIDES
        for solver, (name, _) in SOLVERS.items()
        for nfe in BUDGETS
        if nfe >= lookup(name).cls.least
    ]


def means(records: Iterable[Record]) -> dict[Choice, dict[Grid, Means]]:
    """The means over `SEEDS` of the values that decide, on each grid.

    Raises:
        UserError: a run is missing or failed.
    """
    values: dict[tuple[Choice, Grid], dict[int, Means]] = defaultdict(dict)
    for record in records:
        problem, seed = record.config["problem"]["name"], record.config["seed"]
        if record.ok and problem in DECIDES and seed in SEEDS and (solver := _solver(record)):
            choice = problem, solver, record.config["nfe"]
            grid = record.config["sampler"]["options"]["grid"]
            values[choice, grid][seed] = tuple(record.metrics[name]["value"] for name in DECIDES[problem])
    for choice in wanted():
        for grid in GRIDS:
            if missing := set(SEEDS) - set(values[choice, grid]):
                problem, solver, nfe = choice
                where = f"{solver} on {problem} at {nfe} evaluations, {grid}"
                raise UserError(f"no run of {where}, seeds {str(sorted(missing))[1:-1]}")
    return {
        choice: {grid: tuple(map(fmean, zip(*values[choice, grid].values(), strict=True))) for grid in GRIDS}
        for choice in wanted()
    }


def _solver(record: Record) -> str | None:
    """What the sampler of a record is called in `SOLVERS`, on whichever grid; None where it has other options."""
    name, options = record.config["sampler"]["name"], {k: v for k, v in record.changed.items() if k != "grid"}
    return next((solver for solver, known in SOLVERS.items() if known == (name, options)), None)


def show(found: Mapping[Choice, Mapping[Grid, Means]]) -> None:
    """Print the first means, the chosen ones with a star; then the rows of `BEST`."""
    print(f"{'':36}" + "".join(f"{grid:>16}" for grid in GRIDS))
    for (problem, solver, nfe), of in found.items():
        shown = "".join(f"{value[0]:>15.4f}{'*' if value == min(of.values()) else ' '}" for value in of.values())
        print(f"{problem:10} {solver:18} {nfe:>5} {shown}")
    print("\nBEST = {")
    for problem in DECIDES:
        print(f'    "{problem}": {{')
        for solver in SOLVERS:
            row = {nfe: min(of, key=of.__getitem__) for (p, s, nfe), of in found.items() if (p, s) == (problem, solver)}
            print(f'        "{solver}": {str(row).replace(chr(39), chr(34))},')
        print("    },")
    print("}")


def main(argv: Sequence[str] | None = None) -> int:
    """Choose anew from a results folder."""
    arguments = command_line("benchmark.running.grids", __doc__)
    arguments.add_argument("results", metavar="DIR", help="results folder of the runs that choose")

    def work(options: argparse.Namespace) -> None:
        show(means(read_records(options.results)))

    return run_command(work, arguments.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
