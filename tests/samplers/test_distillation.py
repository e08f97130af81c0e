"""Distilled students against closed forms: on Gaussian data what they should learn is known at every level."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch
from torch import nn

from samplers.consistency_distillation import ConsistencyFunction
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.noise import ShardNoise, make_grid
from samplers.progressive_distillation import cosine_grid, ddim_step, progressive_target
from samplers.registry import lookup
from tests.oracles import F64, Gaussian

SHAPE = (200, 3)
QUICK = {"images": 200_000, "batch": 200, "lr": 0.03}


class Affine(nn.Module):
    """D(x, σ) = m + k(σ)(x − m) + b(σ), with k and b of their own for every level that is known."""

    def __init__(self, problem, levels):
        super().__init__()
        self.levels, self.mean = levels, problem.m
        self.slope = nn.Parameter(problem.shrink(levels[:, None]))
        self.shift = nn.Parameter(torch.zeros_like(self.slope))

    def forward(self, x, sigma):
        index = (sigma.reshape(-1, 1).log() - self.levels.log()).abs().argmin(1)
        assert torch.allclose(self.levels[index], sigma.reshape(-1), rtol=1e-9)  # no other level is ever asked for
        return self.mean + self.slope[index] * (x - self.mean) + self.shift[index]


@dataclass
class Taught(Gaussian):
    """A Gaussian problem whose students know some levels; it counts its teacher's evaluations."""

    sigma_max: float = 10.0
    trainable: bool = True
    levels: torch.Tensor = field(default_factory=lambda: torch.ones(1, dtype=F64))
    memory: dict = field(default_factory=dict)
    asked: int = 0

    def examples(self, split, count):
        return self.m + self.s * torch.randn(count, 3, dtype=F64, generator=torch.Generator().manual_seed(0))

    def student(self):
        return Affine(self, self.levels)

    def denoiser(self, x, sigma):
        self.asked += len(x)
        return super().denoiser(x, sigma)

    def remember(self, key, make):
        if key not in self.memory:
            self.memory[key] = make()
        return self.memory[key]


def drawn(fitted, nfe, seed=0):
    """Samples and the noise they started from."""
    noise = ShardNoise(seed, 0, SHAPE, F64)
    counter = CountingDenoiser(fitted.denoiser, budget=nfe)
    samples = fitted.sample(counter, noise)
    assert counter.nfe == nfe
    return samples, noise.initial()


def test_levels_of_half_the_steps_are_every_second_one():
    assert torch.allclose(cosine_grid(16, 80.0)[::2], cosine_grid(8, 80.0), rtol=1e-12)
    grid = cosine_grid(5, 80.0)
    assert grid[0] == pytest.approx(80.0) and grid[-1] == 0 and (grid.diff() < 0).all()
    alpha = (1 + grid**2).rsqrt()  # of the cosine schedule α = cos(πt/2), with t in equal steps
    assert torch.allclose(alpha.acos().diff(), alpha.acos().diff()[0].expand(5), rtol=1e-9)


def test_one_step_with_the_target_lands_where_the_teachers_two_do():
    problem, x = Gaussian(), torch.randn(7, 3, dtype=F64)
    for sigma, middle, end in ((80.0, 20.0, 5.0), (1.0, 0.5, 0.1), (0.3, 0.1, 0.0)):
        levels = [torch.full((7, 1), level, dtype=F64) for level in (sigma, middle, end)]
        target = progressive_target(problem.denoiser, x, *levels)
        landed = ddim_step(lambda *_, target=target: target, x, levels[0], levels[2])
        two = x
        for before, after in pairwise((sigma, middle, end)):  # a DDIM step on Gaussian data, in closed form
            keep = problem.shrink(before) + after / before * (1 - problem.shrink(before))
            two = problem.m + keep * (two - problem.m)
        assert torch.allclose(landed, two, rtol=1e-10, atol=1e-12)


def test_progressive_students_walk_as_far_as_their_first_teacher():
    problem = Taught(levels=cosine_grid(8, 10.0)[:-1])
    sampler = lookup("progressive-distillation").make(teacher=8, **QUICK)
    fitted = sampler.fit(problem, 2)
    assert len(fitted.info.pop("weights_sha256")) == 64
    assert fitted.info == {"students": [4, 2], "images": 400_000, "teacher_evaluations": 800_000}
    samples, z = drawn(fitted, 2)
    x = 10.0 * z
    for before, after in pairwise(cosine_grid(8, 10.0).tolist()):
        keep = problem.shrink(before) + after / before * (1 - problem.shrink(before))
        x = problem.m + keep * (x - problem.m)
    two = 10.0 * z
    for before, after in pairwise(cosine_grid(2, 10.0).tolist()):
        keep = problem.shrink(before) + after / before * (1 - problem.shrink(before))
        two = problem.m + keep * (two - problem.m)
    assert (samples - x).abs().max() < 0.03 * (two - x).abs().max()  # 30 times nearer than two steps undistilled


def test_students_of_equal_steps_are_learned_once():
    problem = Taught(levels=cosine_grid(8, 10.0)[:-1])
    sampler = lookup("progressive-distillation").make(teacher=8, images=400, batch=200)
    first = sampler.fit(problem, 2)
    asked = problem.asked
    assert asked == 800  # two evaluations for each image of the first student; the second learns from the first
    again = sampler.fit(problem, 2)
    assert problem.asked == asked and torch.equal(drawn(first, 2)[0], drawn(again, 2)[0])
    assert first.seconds == again.seconds > 0
    sampler.fit(problem, 4)
    assert problem.asked == asked
    lookup("progressive-distillation").make(teacher=8, images=400, batch=200, student_seed=1).fit(problem, 4)
    assert problem.asked == 2 * asked


@pytest.mark.parametrize(
    "nfe, teacher, sigma_min, chain",
    [
        (5, 64, 0.002, [40, 20, 10, 5]),
        (5, 64, 0.02, [20, 10, 5]),  # the last of 80 steps is at 0.0195
        (20, 64, 0.002, [40, 20]),
        (64, 64, 0.002, [64]),
        (1, 3, 0.002, [2, 1]),
    ],
)
def test_the_chain_halves_down_to_the_budget(nfe, teacher, sigma_min, chain):
    problem = Taught(sigma_max=80.0, sigma_min=sigma_min)
    assert lookup("progressive-distillation").make(teacher=teacher).chain(problem, nfe) == chain


def test_a_consistency_student_is_the_flow_to_the_end():
    levels = make_grid("edm", 17, 10.0, 0.02)
    problem = Taught(levels=levels)
    fitted = lookup("consistency-distillation").make(**{**QUICK, "images": 300_000}).fit(problem, 1)
    assert problem.asked == fitted.info["teacher_evaluations"] == 2 * fitted.info["images"]
    x = problem.m + 3 * torch.randn(SHAPE, dtype=F64)
    for level in (levels[0], levels[8], levels[14]):
        exact = problem.flow(x, float(level), 0.02)
        error = (fitted.denoiser(x, level) - exact).square().mean().sqrt() / (exact - problem.m).square().mean().sqrt()
        assert error < 0.05
    assert torch.equal(fitted.denoiser(x, torch.tensor(0.02, dtype=F64)), x)  # the boundary condition, exactly


class Recording(nn.Module):
    """Returns c, a number that can be learned, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.c, self.asked = nn.Parameter(torch.tensor(0.7, dtype=F64)), []

    def forward(self, x, sigma):
        self.asked.append((x.detach(), sigma))
        return self.c * torch.ones_like(x)


@pytest.mark.parametrize("levels, weight", [((3.0, 1.0, 0.2), 1.0), ((0.5, 0.3, 0.0), 4.0)])
def test_the_progressive_loss_is_the_papers(levels, weight):
    """max(SNR, 1)·‖x0_hat − x0_tilde‖², by hand."""
    problem, student = Gaussian(), Recording()
    sampler = lookup("progressive-distillation").cls
    loss = sampler.loss(problem.denoiser, torch.tensor(levels, dtype=F64))
    value = loss(student, problem.examples("train", 50), torch.Generator().manual_seed(0))
    [(x, sigma)] = student.asked
    assert (sigma == levels[0]).all()
    landed = x
    for before, after in pairwise(levels):
        landed = problem.m + (problem.shrink(before) + after / before * (1 - problem.shrink(before))) * (
            landed - problem.m
        )
    target = (landed - levels[2] / levels[0] * x) / (1 - levels[2] / levels[0])
    assert value.item() == pytest.approx(weight * float((0.7 - target).square().mean()), rel=1e-9)
    value.backward()
    assert student.c.grad == pytest.approx(weight * 2 * float((0.7 - target).mean()), rel=1e-9)


def test_the_consistency_loss_is_the_papers():
    """(√(‖f(x, σ) − f(x', σ')‖² + c²) − c)/(σ − σ'), by hand, with σ' = σ_min, where f is the identity."""
    problem, student = Gaussian(), Recording()
    loss = lookup("consistency-distillation").cls.loss(problem.denoiser, torch.tensor([2.0, 0.5], dtype=F64))
    value = loss(student, problem.examples("train", 50), torch.Generator().manual_seed(0))
    x = student.asked[-1][0]
    slope = (1 - problem.shrink(2.0)) * (x - problem.m) / 2.0
    ahead = x - 1.5 * slope
    below = x - 0.75 * (slope + (1 - problem.shrink(0.5)) * (ahead - problem.m) / 0.5)
    c = 0.00054 * 3**0.5
    distance = ((x + 0.75 * (0.7 - x) - below).square().sum(1) + c**2).sqrt() - c
    assert value.item() == pytest.approx(float(distance.mean()) / 1.5, rel=1e-9)
    value.backward()
    assert student.c.grad.abs() > 0


def test_consistency_sampling_puts_noise_back():
    problem = Gaussian(sigma_min=0.5)
    sampler = lookup("consistency-distillation").make(grid="log-snr", images=1)
    fitted = sampler.fit(Taught(sigma_min=0.5, levels=make_grid("edm", 17, 10.0, 0.5)), 3)
    asked = []

    def flow(x, sigma):  # a perfect student
        asked.append(float(sigma))
        return problem.flow(x, float(sigma), 0.5)

    samples = fitted.sample(CountingDenoiser(flow, 3), ShardNoise(0, 0, (20_000, 3), F64))
    assert asked == pytest.approx(make_grid("log-snr", 3, 10.0, 0.5)[:3].tolist())
    assert torch.allclose(samples.std(0), (problem.s**2 + 0.5**2).sqrt(), rtol=0.02)


def test_a_consistency_function_takes_one_level_or_one_for_each():
    student = Affine(Gaussian(), torch.tensor([1.0, 2.0], dtype=F64))
    function, x = ConsistencyFunction(student, 0.1), torch.randn(2, 3, dtype=F64)
    both = function(x, torch.tensor([1.0, 2.0], dtype=F64))
    assert torch.allclose(both[1:], function(x[1:], torch.tensor(2.0, dtype=F64)))


def test_mistakes_are_one_line():
    for options in ({"images": 0}, {"batch": 0}, {"lr": 0.0}, {"lr": float("inf")}):
        with pytest.raises(UserError, match="must be"):
            lookup("progressive-distillation").make(**options)
    with pytest.raises(UserError, match="at least 2"):
        lookup("progressive-distillation").make(teacher=1)
    with pytest.raises(UserError, match="at least 2"):
        lookup("consistency-distillation").make(levels=1)
    with pytest.raises(UserError, match="grid takes"):
        lookup("consistency-distillation").make(grid="none")
    for name in ("progressive-distillation", "consistency-distillation"):
        with pytest.raises(UserError, match="at least 1 evaluation"):
            lookup(name).make().fit(Taught(), 0)
        with pytest.raises(UserError, match="the denoiser of gaussian is a formula"):
            lookup(name).make().fit(Gaussian(), 5)
    with pytest.raises(UserError, match=r"below its σ_min = 0\.02 in 128 steps"):
        lookup("progressive-distillation").make().fit(Taught(), 64)


def test_a_training_that_diverges_says_so():
    problem = Taught(levels=cosine_grid(2, 10.0)[:-1])
    with pytest.raises(RuntimeError, match="diverged at lr = 1e"):
        lookup("progressive-distillation").make(teacher=2, images=2000, batch=10, lr=1e200).fit(problem, 1)
    assert not problem.memory  # nothing of it is kept
