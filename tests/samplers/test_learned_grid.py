"""A learned grid: its gradient against differences, its ends, and what it gains on noise that it has not seen."""

import pytest
import torch

from benchmark.problems import make_problem
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.learned_grid import Levels, Walk
from samplers.noise import GRIDS, ShardNoise, make_grid
from samplers.registry import available, lookup
from tests.oracles import F64, mixture_denoiser
from tests.samplers.students import Remembering

SOLVERS = ("ddim", "dpm-solver++-2m", "dpm-solver++-3m", "unipc", "deis", "ipndm", "heun", "dpm-solver-3s")
QUICK = {"pairs": 120, "steps": 60, "batch": 60}


@pytest.mark.parametrize("end", ["denoise", "zero"])
@pytest.mark.parametrize("name", SOLVERS)
def test_gradients_through_a_solver_are_those_of_differences(name, end):
    """Also with respect to the levels at which the denoiser is asked."""
    solver = lookup(name).make(end=end)
    walk = Walk(solver, solver.cost(4) + 1, 10.0, 0.05)
    sigmas = make_grid("edm", 4, 10.0, 0.05)
    asked = sigmas * torch.tensor([1.0, 0.95, 1.1, 1.05, 1.0], dtype=F64)
    noise = torch.randn(20, 3, dtype=F64, generator=torch.Generator().manual_seed(0))

    def value(sigmas, asked):
        x = walk(mixture_denoiser, noise, Levels(sigmas, asked), ShardNoise(0, 0, (20, 3)))
        return x.square().sum()

    levels = [sigmas.clone().requires_grad_(), asked.clone().requires_grad_()]
    found = torch.cat(torch.autograd.grad(value(*levels), levels))
    eye, step = torch.eye(10, dtype=F64), 1e-6
    both = torch.cat([sigmas, asked])
    expected = torch.stack(
        [
            (value(*(both * (1 + step * e)).split(5)) - value(*(both * (1 - step * e)).split(5))) / (2 * step)
            for e in eye
        ]
    )
    inner = [1, 2, 3, 6, 7, 8]
    assert torch.allclose((found * both)[inner], expected[inner], rtol=1e-4, atol=1e-6)


def ends(problem, seeds):
    """Where a long run takes the noise of each seed."""
    long = lookup("heun").make().fit(problem, 399)
    return [long.sample(CountingDenoiser(problem.denoiser), shard(problem, seed)) for seed in seeds]


def shard(problem, seed):
    return ShardNoise(seed, 0, (300, *problem.shape), problem.dtype)


def missed(problem, fitted, nfe, true):
    """The median over seeds of the mean distance from the true ends."""
    errors = []
    for seed, end in enumerate(true):
        counter = CountingDenoiser(problem.denoiser, nfe)
        samples = fitted.sample(counter, shard(problem, seed))
        assert counter.nfe <= nfe
        errors.append((samples - end).square().mean(1).sqrt().mean())
    return float(torch.stack(errors).median())


@pytest.mark.parametrize("solver", ["ddim", "dpm-solver++-2m", "unipc", "ipndm"])
def test_a_learned_grid_is_below_its_own_solver_at_every_budget(solver):
    problem = make_problem("mixture2d")
    true = ends(problem, range(5))
    for nfe in range(4, 11):
        fitted = lookup("learned-grid").make(solver=solver, **QUICK).fit(problem, nfe)
        learned = missed(problem, fitted, nfe, true)
        named = {grid: missed(problem, lookup(solver).make(grid=grid).fit(problem, nfe), nfe, true) for grid in GRIDS}
        assert learned < min(named.values()), nfe
        assert learned < 0.8 * named["edm"], nfe  # the default
        sigmas, asked = fitted.levels.sigmas, fitted.levels.asked
        assert (sigmas.diff() < 0).all() and (asked.diff() < 0).all()
        for levels in (sigmas, asked):
            assert levels[0] == problem.sigma_max and levels[-1] == problem.sigma_min


def test_what_learning_costs_is_in_the_record():
    problem = Remembering()
    sampler = lookup("learned-grid").make(pairs=100, steps=20, batch=25)
    fitted = sampler.fit(problem, 6)
    assert fitted.info["evaluations"] == problem.asked
    assert fitted.info["backward_evaluations"] == 20 * 25 * 6
    assert 0 < fitted.info["error"] <= fitted.info["error_of_named_grid"] and fitted.info["grid_seconds"] > 0
    asked = problem.asked
    assert torch.equal(sampler.fit(problem, 6).levels.sigmas, fitted.levels.sigmas) and problem.asked == asked


def test_a_fit_that_diverges_keeps_the_best_named_grid():
    problem = make_problem("mixture2d")
    fitted = lookup("learned-grid").make(solver="ddim", lr=1e300, **QUICK).fit(problem, 5)
    named = [make_grid(name, 4, problem.sigma_max, problem.sigma_min) for name in GRIDS]
    assert any(torch.equal(fitted.levels.sigmas, grid) for grid in named)
    assert fitted.info["error"] == fitted.info["error_of_named_grid"]


def test_solvers_that_do_not_fit_are_refused_in_one_line():
    for solver, said in (
        ("ddpm", "must be deterministic"),
        ("copy-target", "must be a reverse solver"),
        ("nothing", "unknown sampler"),
    ):
        with pytest.raises(UserError, match=said):
            lookup("learned-grid").make(solver=solver).check(5)
    assert "learned-grid" in available()
    with pytest.raises(UserError, match="needs at least 2 evaluations"):
        lookup("learned-grid").make().check(1)
