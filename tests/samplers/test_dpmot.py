"""DPM-OT and its controls: the exact facts about their output laws."""

from dataclasses import replace

import ot
import pytest
import torch
from scipy.stats import chisquare

from benchmark.problems import make_problem
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.latents import make_latents
from samplers.noise import ShardNoise, stream, vp_sigma
from samplers.registry import lookup

COUNT = 60


@pytest.fixture(scope="module")
def problem():
    return make_problem("mixture", dim=8, modes=5, width=0.2)


def fit(problem, name, nfe=5, **options):
    return lookup(name).make(**{"count": COUNT, "sigma_m": 0.5, **options}).fit(problem, nfe)


def noise(problem, size=6000, seed=0):
    return ShardNoise(seed, 0, (size, *problem.shape), problem.dtype)


def chosen(problem, fitted, shard):
    """Which latent each sample starts from."""
    y = fitted.start(shard.initial(), shard)
    latents = make_latents(problem, "train", COUNT, 0.5, 0).noised
    distance = torch.cdist(y, latents)
    assert float(distance.amin(1).max()) < 1e-5, "a hard map's values are latents"
    return distance.argmin(1)


@pytest.mark.parametrize("name, options", [("dpmot", {"tv": 0.02}), ("random-latent", {})])
def test_the_latent_is_uniform_when_the_map_is_solved(problem, name, options):
    counts = chosen(problem, fit(problem, name, **options), noise(problem)).bincount(minlength=COUNT)
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("heights", ["zero", "shuffled"])
def test_the_latent_is_not_uniform_when_the_map_is_not_solved(problem, heights):
    counts = chosen(problem, fit(problem, "unsolved-map", heights=heights), noise(problem)).bincount(minlength=COUNT)
    assert chisquare(counts).pvalue < 1e-6


def energy_p_value(x, y, permutations=400):
    """Permutation test of equal laws by the energy distance (Székely and Rizzo 2004), for as many x as y."""
    both = torch.cat([x, y])
    generator = torch.Generator().manual_seed(0)
    signs = torch.cat([torch.ones(len(x)), -torch.ones(len(y))]).double()
    orders = [torch.arange(len(both)), *(torch.randperm(len(both), generator=generator) for _ in range(permutations))]
    labels = torch.stack([signs[order] for order in orders])
    energy = -((labels @ torch.cdist(both, both)) * labels).sum(1)  # 2 E|x − y| − E|x − x'| − E|y − y'|, times len(x)²
    return float((energy >= energy[0]).double().mean())


def samples(problem, name, seed, **options):
    return fit(problem, name, **options).sample(problem.denoiser, noise(problem, 600, seed))


def test_output_laws_of_dpmot_and_random_latent_are_indistinguishable_when_solved(problem):
    solved = samples(problem, "dpmot", seed=1, tv=0.02)
    assert energy_p_value(solved, samples(problem, "random-latent", seed=2)) > 0.01


def test_output_laws_differ_when_not_solved(problem):
    unsolved = samples(problem, "unsolved-map", seed=1)
    assert energy_p_value(unsolved, samples(problem, "random-latent", seed=2)) < 0.01


def test_the_pairing_is_optimal_transport(problem):
    """On a discretised source the map's cost is the optimum of the linear programme for the masses it has."""
    shard = noise(problem, 1500)
    z = shard.initial()
    index = chosen(problem, fit(problem, "dpmot", tv=0.02), shard)
    latents = make_latents(problem, "train", COUNT, 0.5, 0).noised
    cost = ot.dist(z.numpy(), latents.numpy())
    masses = index.bincount(minlength=COUNT).double().numpy() / len(z)
    best = ot.emd2([], masses, cost)
    assert cost[range(len(z)), index].mean() == pytest.approx(best, rel=1e-9)


def test_the_budget_decides_the_level_unless_it_is_given(problem):
    assert fit(problem, "random-latent", 10, sigma_m=None).sigma_m == pytest.approx(
        float(vp_sigma(torch.tensor(10 / 1000)))
    )
    assert fit(problem, "random-latent", 10, sigma_m=0.7).sigma_m == 0.7


@pytest.mark.parametrize("name", ["dpmot", "random-latent", "unsolved-map", "dpmot-released"])
@pytest.mark.parametrize("nfe", [2, 5, 11])
def test_evaluations_are_counted_and_within_the_budget(problem, name, nfe):
    options = {"iterations": 3} if name == "dpmot-released" else {"sigma_m": 0.5}
    fitted = lookup(name).make(count=20, **options).fit(problem, nfe)
    denoiser = CountingDenoiser(problem.denoiser, nfe)
    x = fitted.sample(denoiser, noise(problem, 10))
    assert x.shape == (10, *problem.shape) and x.isfinite().all()
    assert 1 <= denoiser.nfe <= nfe and (denoiser.nfe == nfe or name != "dpmot-released")


def test_copies_are_copies_and_cost_nothing(problem):
    denoiser = CountingDenoiser(problem.denoiser, 0)
    for name, split in (("copy-target", "train"), ("held-out", "test")):
        x = lookup(name).make(count=COUNT).fit(problem, 0).sample(denoiser, noise(problem, 200))
        source = problem.examples(split, COUNT)
        assert (x[:, None] == source).all(2).any(1).all()
    assert denoiser.nfe == 0


def test_held_out_examples_come_once_each_and_in_another_order_for_every_seed(problem):
    fitted = lookup("held-out").make(count=60).fit(problem, 0)
    shape = (20, *problem.shape)
    runs = [[ShardNoise(seed, k, shape, problem.dtype) for k in range(4)] for seed in (0, 1)]
    first, second = (torch.cat([fitted.sample(problem.denoiser, shard) for shard in run]) for run in runs)
    source = problem.examples("test", 60)
    for drawn in (first, second):
        assert torch.equal(drawn[:60].sort(0).values, source.sort(0).values)
        assert torch.equal(drawn[60:], drawn[:20]), "and then from the beginning"
    assert not torch.equal(first, second)


def test_arms_share_latents_and_reverse_noise(problem):
    """With the same index, random-latent and DPM-OT would return the same sample: only the choice differs."""
    shard = noise(problem, 400)
    outputs = {}
    for name in ("dpmot", "random-latent"):
        fitted = fit(problem, name, reverse="ddpm")
        fixed = replace(
            fitted, start=lambda z, n: make_latents(problem, "train", COUNT, 0.5, 0).noised[:1].expand_as(z)
        )
        outputs[name] = fixed.sample(problem.denoiser, replace(shard))
    assert torch.equal(outputs["dpmot"], outputs["random-latent"])


@pytest.mark.parametrize("options", [{"map": "top-k", "angle": 3.0}, {"map": "softmax", "temperature": 1.0}])
def test_extended_maps_leave_the_targets(problem, options):
    fitted = fit(problem, "dpmot", **options)
    shard = noise(problem, 200)
    latents = make_latents(problem, "train", COUNT, 0.5, 0).noised
    distance = torch.cdist(fitted.start(shard.initial(), shard), latents).amin(1)
    assert float((distance > 1e-3).double().mean()) > 0.5


def test_targets_of_the_model_are_its_long_run(problem):
    latents = make_latents(problem, "model", 50, 0.5, 0)
    assert float(problem.posterior(latents.clean).amax(1).median()) > 0.9
    assert not torch.isclose(latents.clean, problem.examples("train", 50)).all(1).any()


def test_released_levels_are_those_of_the_release():
    """CIFAR-10 of the release: L = 232, n = 5, B = 10 gives 0.0139 and 0.0104 in [0, 1], half of ours."""
    problem = make_problem("mixture", dim=4)
    info = lookup("dpmot-released").make(iterations=1, count=20).fit(problem, 11).info
    assert info["sigma_m"] / 2 == pytest.approx(0.0139, abs=5e-5)
    assert info["chain_start"] / 2 == pytest.approx(0.0104, abs=5e-5)
    matched = lookup("dpmot-released").make(iterations=1, count=20, level="matched").fit(problem, 11).info
    assert matched["sigma_m"] == matched["chain_start"]


@pytest.mark.parametrize(
    "options",
    [
        {"reverse": "ddim"},
        {"level": "matched", "reverse": "dpm-solver++-2m"},
        {"source": "gaussian", "centred": True, "bias_correction": True, "targets": "train"},
    ],
)
def test_deviations_of_the_release_can_be_undone_one_by_one(problem, options):
    fitted = lookup("dpmot-released").make(count=20, iterations=30, **options).fit(problem, 11)
    denoiser = CountingDenoiser(problem.denoiser, 11)
    x = fitted.sample(denoiser, noise(problem, 50))
    targets = problem.examples(options.get("targets", "test"), 20)
    assert denoiser.nfe == 11
    assert float(torch.cdist(x, targets).amin(1).max()) < 0.6, "from so low a level every sample stays at its target"


class AdamOfTheRelease(torch.optim.Optimizer):
    """Adam without bias correction, as the release's `OTSolver` writes it out."""

    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        (p,) = self.param_groups[0]["params"]
        state = self.state[p] or {"m": torch.zeros_like(p), "v": torch.zeros_like(p)}
        state["m"] = 0.9 * state["m"] + 0.1 * p.grad
        state["v"] = 0.999 * state["v"] + 0.001 * p.grad * p.grad
        self.state[p] = state
        p -= self.param_groups[0]["lr"] * state["m"] / (state["v"].sqrt() + 1e-8)


@pytest.mark.parametrize("corrected", [False, True])
def test_released_solve_descends_by_adam(corrected):
    """Against an optimiser of its own, fed with the gradient that the same samples give."""
    problem, iterations = make_problem("mixture2d"), 40
    options = {"count": 12, "iterations": iterations, "bias_correction": corrected}
    fitted = lookup("dpmot-released").make(**options).fit(problem, 11)
    points, generator = fitted.latents.flatten(1), stream("released", 0)
    heights = torch.nn.Parameter(torch.zeros(12, dtype=points.dtype))
    adam = (torch.optim.Adam if corrected else AdamOfTheRelease)([heights], lr=0.2)
    for _ in range(iterations):
        x = torch.special.ndtr(torch.randn(120, points.shape[1], generator=generator, dtype=points.dtype))
        hits = (x @ points.T + heights.detach()).argmax(1).bincount(minlength=12)
        heights.grad = hits.to(heights.dtype) / 120 - 1 / 12
        adam.step()
        heights.data -= heights.data.mean()
    torch.testing.assert_close(fitted.heights, heights.detach(), atol=1e-5, rtol=1e-5)


def released_loop(points, draw, lr, max_iter, tol):
    """`train_ot` of the release from its first step on, in float64, for targets of equal masses."""
    h, m, v = (torch.zeros(len(points), dtype=points.dtype) for _ in range(3))
    batches, best, bad, doubled, zeros, iterations = 10 * len(points) // 4000, 1e20, 0, 0, None, 0
    for iterations in range(1, max_iter + 1):
        index = torch.cat([(points @ draw(4000).T + h[:, None]).argmax(0) for _ in range(batches)])
        mass = index.bincount(minlength=len(points)).double() / (4000 * batches)
        gradient = mass - 1 / len(points)
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        h = h - lr * m / (v.sqrt() + 1e-8)
        h = h - h.mean()
        norm = gradient.square().sum().sqrt()
        if iterations % 50 == 0:
            zeros = int((mass == 0).sum())
        best, bad = (norm, 0) if norm < best else (best, bad + 1)
        if norm < tol and zeros == 0:
            break
        if bad > 50 and doubled < 3:
            batches, bad, best, lr, doubled = 2 * batches, 0, 1e20, 0.8 * lr, doubled + 1
    return h, iterations


@pytest.mark.parametrize("tol, stops", [(8e-4, 100), (10.0, 50)])
def test_released_numbers_are_those_of_its_loop(tol, stops):
    """With the preset's options: whole batches, and empty cells that are looked for every 50 iterations."""
    options = {"cut": 200, "whole_batches": True, "recount": 50, "lr": 1e-6, "tol": tol, "iterations": 100}
    sampler = lookup("dpmot-released").make(source="gaussian", **options)
    angle = 2 * torch.pi / 400 * torch.arange(450, dtype=torch.float64)
    points = sampler.whole(torch.stack([angle.cos(), angle.sin()], 1))  # 400, whose cells are equal from the start
    generator = stream("released", 0)

    def draw(count):
        return torch.randn(count, 2, generator=generator, dtype=torch.float64)

    expected, iterations = released_loop(points, draw, 1e-6, 100, tol)
    heights, info = sampler.solve(points, False)
    assert len(points) == 400 and info["iterations"] == iterations == stops
    torch.testing.assert_close(heights, expected, atol=1e-12, rtol=1e-9)
    assert tol > 1 or info["samples"] > 100 * 4000, "and samples were doubled"


@pytest.mark.parametrize("count, left, samples", [(10_000, 10_000, 100_000), (1297, 1000, 8_000), (1999, 1000, 8_000)])
def test_released_sizes_are_whole_batches_of_whole_thousands(count, left, samples):
    sampler = lookup("dpmot-released").make(preset="authors")
    points = sampler.whole(torch.zeros(count, 2))
    assert (len(points), sampler.samples(len(points))) == (left, samples)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"cut": 1000}, "cut=1000 leaves none of 60 targets: take more, or a smaller cut"),
        ({"whole_batches": True}, "whole_batches takes at least 400 targets, got 60: set whole_batches=false"),
    ],
)
def test_too_few_targets_for_the_releases_sizes_get_one_line(problem, options, message):
    with pytest.raises(UserError, match=f"^{message}$"):
        lookup("dpmot-released").make(count=COUNT, **options).fit(problem, 6)


def test_released_step_is_the_releases_in_our_units():
    """Its levels lie in [0, 1]; y' = 2y − 1 with twice the step gives twice the heights, and the same cells."""
    sampler = lookup("dpmot-released").make(iterations=50)
    theirs = replace(sampler, lr=0.1)
    points = torch.rand(30, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours, released = sampler.solve(2 * points - 1, False)[0], theirs.solve(points, False)[0]
    torch.testing.assert_close(ours, 2 * released, atol=1e-6, rtol=1e-6)


def test_released_steps_follow_the_release():
    """`sig_n = L − B//n`, one less where a remainder is left, which the last level then gets."""
    sampler = lookup("dpmot-released").make()
    assert sampler.langevin_steps(10) == [5, 5]
    assert sampler.langevin_steps(12) == [5, 5, 2]
    assert sampler.langevin_steps(4) == [4]


@pytest.mark.parametrize(
    "name, options, nfe, message",
    [
        ("dpmot", {"sigma_m": 1e-3}, 5, "must lie above sigma_min"),
        ("dpmot", {}, 1, "needs at least 2 evaluations, got 1"),
        ("random-latent", {"reverse": "nope"}, 5, "unknown sampler 'nope'"),
        ("dpmot-released", {}, 1, "needs at least 2 evaluations, got 1"),
        ("dpmot-released", {"reverse": "ddim"}, 6, "more evaluations"),
        ("dpmot-released", {"step": -1.0}, 6, "step must be positive"),
        ("dpmot", {"sigma_min": 0.0}, 5, "sigma_min must be positive"),
        ("dpmot", {"map": "softmax", "temperature": 0.0}, 5, "temperature must be positive"),
        ("dpmot", {"map": "top-k", "k": 0}, 5, "k must be at least 1"),
        ("dpmot-released", {"reverse": "held-out"}, 11, "reverse solver such as ddim, not 'held-out'|has no option"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_a_line(problem, name, options, nfe, message):
    with pytest.raises(UserError, match=message):
        lookup(name).make(**options).fit(problem, nfe)
