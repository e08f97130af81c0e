"""Repetitions draw everything anew, and an interval over them covers the draw of targets."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import run
from benchmark.data.digits import load_digits
from benchmark.problems import make_problem
from benchmark.records.store import key_of
from benchmark.report.arms import Arm
from benchmark.report.arranging import load
from benchmark.report.verdict.deciding import Effect
from benchmark.running.plan import Case, make_plan
from samplers.denoisers import CountingDenoiser
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import lookup


@pytest.mark.parametrize("name", ["mixture2d", "mixture"])
def test_draws_of_a_law_are_new_in_every_split_and_do_not_move_the_law(name):
    problems = [make_problem(name, draw=draw) for draw in (0, 1, 2)]
    for split in ("train", "test", "reference"):
        first, second, third = (p.examples(split, 1500) for p in problems)
        assert not torch.isin(second, first).any() and not torch.isin(third, second).any()
        assert torch.equal(second[:700], problems[1].examples(split, 700))
    assert torch.equal(problems[0].means, problems[1].means)


def test_draws_of_a_finite_split_are_its_images_in_another_order():
    today, drawn = make_problem("digits"), make_problem("digits", draw=3)
    whole = load_digits("train").images
    assert torch.equal(today.examples("train", 100), whole[:100])
    for split, size in (("train", 1297), ("test", 500), ("reference", 1297)):
        here, there = today.examples(split, size).flatten(1), drawn.examples(split, size).flatten(1)
        assert not torch.equal(here, there)
        assert sorted(here.tolist()) == sorted(there.tolist())
    assert not torch.equal(drawn.examples("train", 100), drawn.examples("reference", 100))


def test_a_draw_at_its_default_keeps_the_keys_of_published_runs():
    """Records of the suite's first study say nothing of a draw."""
    published = next(Path("results/runs/mixture2d").glob("ddim-nfe10-seed0-*.json"))
    record = json.loads(published.read_text())
    made = make_plan([Case("mixture2d", "ddim", (10,), (0,))]).runs[0].config
    assert "draw" not in made["problem"]["options"] and made["problem"] == record["config"]["problem"]
    assert "draw" in make_plan([Case("mixture2d", "ddim", (10,), (1,), anew=True)]).runs[0].config["problem"]["options"]


def test_a_repetition_is_problem_transport_and_noise_at_once():
    cases = [Case("mixture2d", name, (5, 10), (1, 2), 100, anew=True) for name in ("random-latent", "ddim")]
    runs = make_plan(cases).runs
    assert [r.problem.draw for r in runs] == [1] * 4 + [2] * 4  # one after the other
    assert all(r.seed == r.problem.draw for r in runs)
    assert {r.options["target_seed"] for r in runs if r.entry.name == "random-latent"} == {1, 2}
    assert len({id(r.problem) for r in runs}) == 2  # arms of one repetition share the problem
    assert len({key_of(r.config) for r in runs}) == 8
    with pytest.raises(UserError, match="from 1 on"):
        make_plan([Case("mixture2d", "ddim", (5,), (0, 1), anew=True)])


def test_repetitions_are_one_arm_of_the_report_apart_from_runs_of_the_first_draw(tmp_path, capsys):
    asked = ["--nfe", "3", "--samples", "60", "--out", str(tmp_path)]
    assert run.main(["--sampler", "random-latent", "ddim", "--repetitions", "1", "2", *asked]) == 0
    alone = load(tmp_path)
    assert alone.of_repetitions and alone.problems == ["mixture2d"]
    assert list(alone.by_seed("mixture2d", Arm("random-latent"), 3, "w2_squared").index) == [1, 2]
    assert alone.pictures("mixture2d", Arm("ddim"), 3) is not None
    assert run.main(["--sampler", "ddim", "--seeds", "0", "1", *asked]) == 0
    mixed = load(tmp_path)
    assert list(mixed.runs["seed"]) == [0, 1] and mixed.study is not None
    assert sorted(mixed.study.runs["sampler"].unique()) == ["ddim", "random-latent"]
    assert run.main(["--sampler", "ddim", "--seeds", "0", "--repetitions", "1", *asked]) == 2
    assert "--seeds or --repetitions" in capsys.readouterr().err


def squared_w2(repetition: int, drawn: int) -> float:
    """W₂² of 100 random latents with one reverse step to 100 reference points, on the line, in closed form.

    Args:
        repetition: of the sampling noise.
        drawn: of the targets, their noise and the reference.
    """
    problem = make_problem("mixture", dim=1, modes=3, draw=drawn)
    fitted = lookup("random-latent").make(count=20, target_seed=drawn, sigma_m=0.3).fit(problem, 2)
    noise = ShardNoise(repetition, 0, (100, 1), torch.float64)
    samples = fitted.sample(CountingDenoiser(problem.denoiser), noise).flatten()
    return float((samples.sort().values - problem.examples("reference", 100).flatten().sort().values).square().mean())


def test_intervals_over_repetitions_cover_the_draw_of_targets_and_those_over_seeds_alone_do_not():
    """Studies of 10 repetitions; the truth is the mean over all of them."""
    studies, size = 300, 10
    every = np.array([squared_w2(r, r) for r in range(1, studies * size + 1)])
    # W₂² of few targets is skewed; its logarithm is what a Student interval of ten fits.
    values = np.log(every).reshape(studies, size)

    def covered(rows):
        ends = [Effect.of(row).interval for row in rows]
        return np.mean([low <= truth <= high for low, high in ends])

    truth = values.mean()
    assert 0.92 <= covered(values) <= 0.98
    one_draw = np.log([[squared_w2(r, study) for r in range(1, size + 1)] for study in range(1, 61)])
    assert covered(one_draw) < 0.6
