"""One cell of the grid measured: the error of the output's law, every term of the bound, and what each term is worth.

Beside a term as the bound states it stands what it is `realised` to be: the same link of the proof with the Lipschitz
constant replaced by what the exact flow does to the very coupling that the proof pushes forward (for the score, the
distance between the learned and the exact path). A realised value lies between the link's W₂ and the stated term: it
says which constant is slack. Their sum is called the synchronous sum.
"""

import math
from dataclasses import asdict
from functools import lru_cache
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.bound.grid import Cell
from benchmark.bound.mixtures import exact_flow, mixture
from benchmark.bound.terms import (
    Bound,
    Distance,
    MixtureFlow,
    ScoreError,
    distance_to_law,
    finite_target_term,
    mass_plan,
    mass_term,
    mass_term_from_tv,
    score_term,
    squared_distances,
    synchronous_term,
)
from dpmot import Gaussian, HardMap, SemiDiscreteProblem, solve
from samplers.base import ReverseSampler
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.noise import ShardNoise, make_grid, stream
from samplers.registry import lookup

MAP_SAMPLES = 1000
"""Source samples a target from which the masses of a map are counted; the law measured is that of these samples."""


def measure(cell: Cell) -> dict[str, Any]:
    """The record of a cell: error, bound, terms, realised terms, details."""
    began, began_cpu = perf_counter(), process_time()
    flow, sigma_m = exact_flow(cell.mixture), _sigma_m(cell)
    points = targets(cell.mixture, cell.targets, cell.level, cell.seed)
    masses = target_masses(cell.mixture, cell.targets, cell.level, cell.seed, cell.masses)
    exact = images(cell.mixture, cell.targets, cell.level, cell.seed, 0.0)
    learned = images(cell.mixture, cell.targets, cell.level, cell.seed, cell.score_error)
    error = score_error(flow, cell.score_error)
    at_end, output, nfe = reverse(cell, points, error)
    finished = flow.solve(at_end, _sigma_end(cell), 0.0, error)
    squared, plan = mass_plan(points, masses)
    bound = Bound(
        mass=mass_term(flow, sigma_m, points, masses),
        finite_targets=0.0,
        discretisation=synchronous_term(finished, learned, masses),
        score=score_term(flow, sigma_m, lambda sigma: cell.score_error / flow.width),
        end_level=synchronous_term(output, finished, masses),
    )
    realised = asdict(bound) | {
        "mass": math.sqrt(float((plan * squared_distances(exact, exact)).sum())),
        "score": synchronous_term(learned, exact, masses),
    }
    tv = 0.5 * float((masses - 1 / len(masses)).abs().sum())
    details: dict[str, Any] = {
        "sigma_m": sigma_m,
        "growth": flow.growth(0.0, sigma_m),
        "tv": tv,
        "mass_distance": math.sqrt(squared),
        "mass_from_tv": mass_term_from_tv(flow, sigma_m, points, tv),
        "nfe": nfe,
    }
    record: dict[str, Any] = {"terms": asdict(bound), "realised": realised, "details": details, "measured": None}
    if cell.samples:
        _compare(cell, flow, output, masses, record)
    record |= {"seconds": perf_counter() - began, "cpu_seconds": process_time() - began_cpu}
    return record


def _compare(cell: Cell, flow: MixtureFlow, output: Tensor, masses: Tensor, record: dict[str, Any]) -> None:
    """Add the finite-target term, the error itself and the totals to a record."""
    distance, along = finite_targets(cell.mixture, cell.targets, cell.level, cell.seed, cell.samples)
    record["terms"]["finite_targets"] = finite_target_term(flow, _sigma_m(cell), distance.high)
    record["realised"]["finite_targets"] = along
    record["details"]["finite_targets_distance"] = _estimate(distance)
    measured, _ = distance_to_law(output, masses, *references(cell.mixture, cell.samples))
    record["measured"] = _estimate(measured)
    record["bound"] = sum(record["terms"].values())
    record["synchronous"] = sum(record["realised"].values())


def _estimate(distance: Distance) -> dict[str, float]:
    return {"value": distance.value, "low": distance.low, "high": distance.high}


def violated(record: dict[str, Any]) -> bool:
    """Whether the upper confidence limit of the error exceeds the bound."""
    return record["measured"] is not None and not record["measured"]["high"] <= record["bound"]


def _sigma_m(cell: Cell) -> float:
    return cell.level * exact_flow(cell.mixture).width


def _sigma_end(cell: Cell) -> float:
    return min(cell.end, cell.level / 2) * exact_flow(cell.mixture).width


def _noised(name: str, count: int, sigma: float, *parts: object) -> Tensor:
    """Exact draws of p_σ, [count, d]; at every σ of the same stream made from the same draws of p_0."""
    generator = stream("bound", name, *parts)
    clean = mixture(name).sample(count, generator)
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def targets(name: str, count: int, level: float, seed: int) -> Tensor:
    """The latents y_i of level σ_M, [N, d]."""
    return _noised(name, count, level * exact_flow(name).width, "targets", count, seed)


@lru_cache(maxsize=8)
def references(name: str, samples: int) -> tuple[Tensor, Tensor]:
    """Two samples of p_0 that the targets have not seen."""
    first, second = (_noised(name, samples, 0.0, "held-out", half) for half in "AB")
    return first, second


@lru_cache(maxsize=4)
def held_out(name: str, level: float, samples: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Two samples of p_{σ_M} that the targets have not seen, and their images under the exact flow.

    They are the samples of `references`, noised: common random numbers, so that chance errs alike on both sides of the
    bound. Both sides' confidence limits stay what they are.
    """
    flow, sigma = exact_flow(name), level * exact_flow(name).width
    first, second = (_noised(name, samples, sigma, "held-out", half) for half in "AB")
    return (first, second), (flow.solve(first, sigma, 0.0, rtol=1e-6), flow.solve(second, sigma, 0.0, rtol=1e-6))


@lru_cache(maxsize=4)
def finite_targets(name: str, count: int, level: float, seed: int, samples: int) -> tuple[Distance, float]:
    """W₂(ν_N, p_{σ_M}), and what its optimal coupling costs after the exact flow (root mean square distance)."""
    latents, ends = held_out(name, level, samples)
    distance, plans = distance_to_law(targets(name, count, level, seed), torch.full((count,), 1 / count), *latents)
    exact = images(name, count, level, seed, 0.0)
    costs = [(plan * squared_distances(exact, end)).sum() for plan, end in zip(plans, ends, strict=True)]
    return distance, math.sqrt(float(np.mean(costs)))


@lru_cache(maxsize=8)
def images(name: str, count: int, level: float, seed: int, size: float) -> Tensor:
    """Φ^θ(y_i) at σ = 0 for a score error of that size, [N, d]."""
    flow = exact_flow(name)
    return flow.solve(targets(name, count, level, seed), level * flow.width, 0.0, score_error(flow, size))


def score_error(flow: MixtureFlow, size: float) -> ScoreError | None:
    """A score error of norm size/s everywhere: size/s·(cos φ a + sin φ b), φ = ⟨ω, x⟩/s, random a ⟂ b and ω."""
    if size == 0:
        return None
    generator = stream("bound", "score error", flow.means.shape[1])
    basis = torch.linalg.qr(torch.randn(flow.means.shape[1], 2, generator=generator, dtype=torch.float64)).Q
    omega = torch.nn.functional.normalize(torch.randn(len(basis), generator=generator, dtype=torch.float64), dim=0)

    def error(x: Tensor, sigma: float) -> Tensor:
        angle = (x @ omega / flow.width)[:, None]
        return size / flow.width * torch.cat([angle.cos(), angle.sin()], 1) @ basis.T

    return error


def reverse(cell: Cell, points: Tensor, error: ScoreError | None) -> tuple[Tensor, Tensor, int]:
    """The reverse steps with the learned denoiser: x at σ_e, the output, and the evaluations it took."""
    problem = mixture(cell.mixture)
    solver = lookup(cell.solver).make()
    if not isinstance(solver, ReverseSampler) or solver.convergence is None:
        raise UserError(f"the bound is for deterministic reverse solvers, not '{cell.solver}'")

    def learned(x: Tensor, sigma: Tensor) -> Tensor:
        exact = problem.denoiser(x, sigma)
        return exact if error is None else exact + float(sigma) ** 2 * error(x, float(sigma))

    denoiser = CountingDenoiser(learned)
    sigmas = make_grid("log-snr", cell.intervals, _sigma_m(cell), _sigma_end(cell))
    unused = ShardNoise(0, "bound", tuple(points.shape), torch.float64)
    at_end = solver.integrate(denoiser, points, sigmas, unused)
    return at_end, denoiser(at_end, sigmas[-1]), denoiser.nfe


@lru_cache(maxsize=16)
def target_masses(name: str, count: int, level: float, seed: int, masses: str) -> Tensor:
    """Masses q of the targets, [N] float64: see `Cell.masses`."""
    equal = torch.full((count,), 1 / count, dtype=torch.float64)
    if masses == "equal":
        return equal
    if masses == "one":
        return torch.nn.functional.one_hot(torch.tensor(0), count).double()
    transport = SemiDiscreteProblem(targets(name, count, level, seed), Gaussian())
    if masses == "solved":
        return map_masses(transport, solve(transport, tv=0.05, seed=seed).heights)
    share = float(masses)
    return (1 - share) * equal + share * map_masses(transport, torch.zeros(count))


def map_masses(transport: SemiDiscreteProblem, heights: Tensor) -> Tensor:
    """Shares of fresh source samples that the hard map sends to each target, [N] float64."""
    count = MAP_SAMPLES * transport.num_targets
    brenier = HardMap(transport, heights)
    generator = stream("bound", "map", transport.num_targets)
    hits = torch.zeros(transport.num_targets, dtype=torch.float64)
    for start in range(0, count, 20_000):
        z = transport.draw(min(20_000, count - start), generator, torch.device("cpu"), torch.float64)
        hits += brenier.assign(z).bincount(minlength=transport.num_targets)
    return hits / hits.sum()
