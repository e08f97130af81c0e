"""Students on laws whose flow is known: what they converge to, what they are shown, which settings they have."""

import math
from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from torch import nn

from samplers.batches import mirrored
from samplers.denoisers import CountingDenoiser
from samplers.easy_consistency import Tuning
from samplers.errors import UserError
from samplers.knowledge_distillation import Regression
from samplers.noise import ShardNoise
from samplers.options import configuration
from samplers.pairs import make_pairs
from samplers.progressive_distillation import cosine_grid, ddim_step
from samplers.registry import lookup
from tests.oracles import F64
from tests.samplers.students import Mixed, Power, Remembering

NOISE = ShardNoise(0, 0, (1000, 3), F64)
EASY = {"rate": "falling", "lr": 0.01, "p_mean": 0.0, "p_std": 1.5}


def missed(problem, fitted, nfe):
    """Root mean square distance of samples from where the flow takes their noise."""
    counter = CountingDenoiser(fitted.denoiser, budget=nfe)
    samples = fitted.sample(counter, NOISE)
    assert counter.nfe == nfe
    long = lookup("heun").make().fit(problem, 199)
    ends = long.sample(CountingDenoiser(problem.denoiser), NOISE)
    return float((samples - ends).square().mean().sqrt())


@pytest.mark.parametrize(
    "name, problem, options, nfe, left",
    [
        ("easy-consistency", Remembering(sigma_max=10.0), {**EASY, "images": 100_000}, 1, 0.25),
        ("easy-consistency", Mixed(), {**EASY, "images": 100_000, "c": 0.03}, 1, 0.55),
        ("knowledge-distillation", Remembering(), {"images": 20_000, "lr": 0.03, "pairs": 2000}, 1, 0.05),
        ("knowledge-distillation", Mixed(), {"images": 100_000, "lr": 0.003, "pairs": 2000}, 1, 0.35),
        ("consistency-distillation", Remembering(), {"images": 100_000, "lr": 0.03}, 1, 0.1),
        ("consistency-distillation", Mixed(), {"images": 100_000, "lr": 0.003}, 1, 0.5),
        ("progressive-distillation", Remembering(), {"images": 20_000, "lr": 0.03, "teacher": 32}, 4, 0.25),
        ("progressive-distillation", Mixed(), {"images": 20_000, "lr": 0.003, "teacher": 16}, 4, 0.7),
    ],
)
def test_training_brings_a_student_to_the_flow(name, problem, options, nfe, left):
    """Of the distance that one step of the optimiser leaves, `left` is left."""
    entry = lookup(name)
    before = missed(problem, entry.make(**options | {"batch": 200, "images": 200}).fit(problem, nfe), nfe)
    after = missed(problem, entry.make(**options | {"batch": 200}).fit(problem, nfe), nfe)
    assert after < left * before


def test_half_the_steps_walk_as_far_as_all_with_the_authors_settings():
    """Four steps of the student are eight of its teacher, to 3% of what four of the teacher's miss them by."""
    problem = Remembering(sigma_max=10.0)
    settings = {"teacher": 8, "batch": 200, "images": 200_000, "lr": 0.01}
    sampler = lookup("progressive-distillation").make(preset="authors", mirror=False, clamp=False, **settings)
    assert sampler.clip == 1.0 and sampler.schedule == "to-lowest" and sampler.chain(problem, 4) == [4]
    fitted = sampler.fit(problem, 4)
    found = fitted.sample(CountingDenoiser(fitted.denoiser, 4), NOISE)
    walked = {}
    for steps in (4, 8):
        walked[steps] = 10.0 * NOISE.initial()
        grid = sampler.grid(steps, problem)
        for sigma, sigma_next in pairwise(grid):
            walked[steps] = ddim_step(problem.denoiser, walked[steps], sigma, sigma_next)
    assert (found - walked[8]).abs().max() < 0.03 * (walked[4] - walked[8]).abs().max()


def test_the_schedule_to_the_lowest_level_halves_and_asks_for_no_lower_one():
    grid = cosine_grid(8192, 80.0, 0.002)
    assert (grid.diff() < 0).all() and grid[0] == pytest.approx(80.0) and grid[-1] == 0
    assert grid[-2] > 0.002
    assert torch.allclose(grid[::2][:-1], cosine_grid(4096, 80.0, 0.002)[:-1], rtol=1e-10)
    times = grid[:-1].atan()
    assert torch.allclose(times.diff(), times.diff()[0].expand(8191), rtol=1e-6)
    sampler = lookup("progressive-distillation").make(preset="authors")
    assert sampler.chain(Remembering(sigma_min=0.002), 4) == [2**k for k in range(12, 1, -1)]


class Constant(nn.Module):
    """Returns c, a number that can be learned, and remembers what it was asked."""

    def __init__(self):
        super().__init__()
        self.c, self.asked = nn.Parameter(torch.tensor(0.7, dtype=F64)), []

    def forward(self, x, sigma):
        self.asked.append((x.detach(), sigma))
        return self.c * torch.ones_like(x)


def tuning(**changes):
    settings = {"p_mean": -1.1, "p_std": 2.0, "q": 2.0, "k": 8.0, "b": 1.0, "c": 0.0, "stage_images": 100.0}
    return Tuning(**settings | changes)


def test_the_levels_of_easy_consistency_draw_together():
    t = torch.tensor([0.01, 0.5, 3.0, 40.0], dtype=F64)
    first = tuning().below(t, 0)
    assert (first[:2] == 0).all()  # r = 0 where 1 + 8 sigmoid(−t) ≥ 2, that is t ≤ log 7
    assert first[3] == pytest.approx(20.0)
    by_hand = 3.0 * (1 - (1 + 8 / (1 + math.exp(3.0))) / 2**4)
    assert tuning().below(t, 399)[2] == pytest.approx(by_hand)  # stage 3
    gaps = torch.stack([t - tuning().below(t, seen) for seen in range(0, 1000, 100)])
    assert (gaps > 0).all() and (gaps.diff(dim=0) <= 0).all()
    assert torch.allclose(gaps[7] / 2, gaps[8])
    one_hour = tuning(q=256.0).below(t, 0)
    assert torch.allclose(one_hour, t * (1 - (1 + 8 * torch.sigmoid(-t)) / 256))


def test_the_easy_consistency_loss_is_the_papers_and_its_boundary_exact():
    """(1/t² + 1/σ_data²)·‖f(x_t, t) − f(x_r, r)‖, by hand; f(x, 0) is x whatever the network says."""
    student, x0 = Constant(), torch.randn(2, 3, dtype=F64)
    noise = torch.randn(2, 3, dtype=F64)
    t, r = torch.tensor([[0.5], [4.0]], dtype=F64), torch.tensor([[0.0], [2.0]], dtype=F64)
    errors = tuning().errors(student, x0 + t * noise, t, x0 + r * noise, r)
    weight = 1 / t.flatten() ** 2 + 4
    assert errors[0].item() == pytest.approx(float(weight[0] * (0.7 - x0[0]).norm()), rel=1e-9)
    assert errors[1].item() == pytest.approx(0.0, abs=1e-5)  # a constant is consistent
    errors.sum().backward()
    by_hand = float(weight[0] * ((0.7 - x0[0]) / (0.7 - x0[0]).norm()).sum())
    assert student.c.grad == pytest.approx(by_hand, rel=1e-6)  # nothing through the target, no NaN from equal values


def test_easy_consistency_samples_at_the_top_and_in_the_middle():
    problem, asked = Remembering(), []

    def flow(x, sigma):
        asked.append(float(sigma))
        return problem.flow(x, float(sigma), 0.0)

    sampling = lookup("easy-consistency").make().sampling(problem, 2)
    samples = sampling(flow, ShardNoise(0, 0, (20_000, 3), F64))
    assert asked == [80.0, pytest.approx(0.821)]
    assert torch.allclose(samples.std(0), problem.s, rtol=0.02)


@pytest.mark.parametrize("distance, power", [("l2", 2), ("l1", 1)])
def test_knowledge_distillation_regresses_on_where_the_noise_goes(distance, power):
    problem, student = Remembering(), Constant()
    pairs = make_pairs(problem, "heun", 199, 1500, seed=3)
    far = problem.flow(80.0 * pairs.noise, 80.0, 0.0)
    assert pairs.noise.shape == (1500, 3) and pairs.evaluations == problem.asked == 1500 * 199
    assert (pairs.ends - far).abs().max() < 0.01
    again = make_pairs(problem, "heun", 199, 1500, seed=3)
    assert torch.equal(again.ends, pairs.ends) and again.seconds == pairs.seconds
    examples = torch.stack([pairs.noise, pairs.ends], 1)
    loss = Regression(80.0, distance)(student, examples, torch.Generator())
    [(x, sigma)] = student.asked
    assert torch.equal(x, 80.0 * pairs.noise) and (sigma == 80.0).all()
    assert loss.item() == pytest.approx(float((0.7 - pairs.ends).abs().pow(power).mean()))


def test_what_pairs_cost_is_in_the_record():
    problem = Remembering()
    fitted = lookup("knowledge-distillation").make(images=400, batch=200, pairs=1000).fit(problem, 1)
    assert fitted.info["teacher_evaluations"] == problem.asked == 35_000
    pairs = make_pairs(problem, "heun", 35, 1000, 0)
    assert fitted.seconds > pairs.seconds > 0


def test_options_that_came_later_leave_keys_alone():
    old = ["images", "batch", "lr", "student_seed"]
    assert list(configuration(lookup("progressive-distillation").make())) == [*old, "teacher"]
    assert list(configuration(lookup("consistency-distillation").make())) == [*old, "levels", "grid"]
    assert configuration(lookup("consistency-distillation").make(clip=1.0))["clip"] == 1.0
    problem = Remembering()
    shapes = [("p", (12, 3))]
    for options, between in (({}, ""), ({"clip": 1.0, "rate": "constant"}, "rate constant, clip 1.0, ")):
        lookup("consistency-distillation").make(images=200, batch=200, **options).fit(problem, 1)
        assert list(problem.memory)[-1] == (
            f"consistency of 18 levels, 200 images, batch 200, lr 0.0003, seed 0, {between}version 1, "
            f"levels from 80.0 to 0.02, cpu, {shapes}"
        )


def test_a_preset_is_a_set_of_options():
    entry = lookup("consistency-distillation")
    sampler = entry.make(preset="authors", images=1000)
    assert (sampler.optimiser, sampler.rate, sampler.lr, sampler.average) == ("radam", "constant", 4e-4, 0.9999)
    assert sampler.images == 1000 and sampler.mirror
    with pytest.raises(UserError, match="preset takes authors, not 'mine'"):
        entry.make(preset="mine")
    for name in ("progressive-distillation", "easy-consistency", "knowledge-distillation", "learned-grid"):
        cls = lookup(name).cls
        assert cls.preset.keys() <= {field.name for field in fields(cls)}
        lookup(name).make(preset="authors")


def test_the_rate_rises_and_falls():
    sampler = lookup("consistency-distillation").make(images=1000, batch=100, warmup=400, lr=1.0)
    assert [sampler.learning_rate(step) for step in range(10)] == pytest.approx(
        [0.25, 0.45, 0.6, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
    )
    constant = lookup("consistency-distillation").make(images=1000, batch=100, rate="constant", lr=2.0)
    assert {constant.learning_rate(step) for step in range(10)} == {2.0}


def test_the_average_of_the_weights_samples():
    """After one step the average is 1 − β of the way from the first weights to the new ones."""
    problem, found = Remembering(), {}
    for average in (0.0, 0.75):
        sampler = lookup("knowledge-distillation").make(images=200, batch=200, pairs=200, lr=0.01, average=average)
        found[average] = sampler.fit(problem, 1).denoiser.p.detach() - Power(problem).p.detach()
    assert found[0.0].abs().max() > 0.005
    assert torch.allclose(found[0.75], 0.25 * found[0.0])


def test_half_of_the_images_are_mirrored():
    x = torch.arange(12.0).reshape(1, 1, 3, 4).expand(1000, 1, 3, 4)
    found = mirrored(x, torch.Generator().manual_seed(0))
    flipped = (found == x.flip(3)).flatten(1).all(1)
    assert (flipped | (found == x).flatten(1).all(1)).all()
    assert 400 < flipped.sum() < 600


def test_what_does_not_fit_is_said_in_one_line():
    problem = Remembering()
    for name, options, nfe, said in (
        ("knowledge-distillation", {"mirror": True}, 1, "mirror does not suit pairs"),
        ("knowledge-distillation", {}, 2, "takes a single evaluation, got 2"),
        ("knowledge-distillation", {"teacher": "copy-target", "images": 1}, 1, "a long run takes a reverse solver"),
        ("consistency-distillation", {"mirror": True}, 1, "mirror is for images, and a sample of gaussian is none"),
        ("easy-consistency", {"dropout": 0.5, "images": 1}, 1, "dropout is for networks of this project"),
        ("easy-consistency", {"average": 1.0}, 1, "average must be at least 0 and below 1"),
        ("easy-consistency", {"halvings": 0}, 1, "halvings must be at least 1"),
        ("progressive-distillation", {"schedule": "linear"}, 1, "schedule takes to-zero or to-lowest, not 'linear'"),
    ):
        with pytest.raises(UserError, match=said) as error:
            lookup(name).make(**options).fit(problem, nfe)
        assert "\n" not in str(error.value)


def test_a_training_that_diverges_stops_early_and_leaves_nothing():
    problem = Remembering()
    sampler = lookup("consistency-distillation").make(images=10_000_000, batch=10, lr=1e200)
    with pytest.raises(RuntimeError, match=r"diverged at lr = 1e\+200, in step 200"):
        sampler.fit(problem, 1)
    assert not problem.memory
