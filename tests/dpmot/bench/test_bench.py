"""The benchmark runs end to end on synthetic targets, its peers solve what they claim to, mistakes are one line."""

import hashlib
import json
import sys
import time

import numpy as np
import pytest
import torch

from dpmot import SemiDiscreteProblem, certify, solve
from dpmot.bench import rates
from dpmot.bench.__main__ import main
from dpmot.bench.peers import PEERS
from dpmot.bench.race import ours, reached
from dpmot.bench.targets import latents
from dpmot.bench.watch import Finished, Watch
from dpmot.machine import describe, pinned
from dpmot.solving.attempts import Attempts

CPU = ["--device", "cpu"]


class Tape:
    """In the place of a `Watch`: marks by samples alone, certificates none."""

    def __init__(self, step, number):
        self.step, self.number, self.shown = step, number, []

    def start(self):
        pass

    def due(self, samples):
        return samples >= self.step * (len(self.shown) + 1)

    def judge(self, heights, samples):
        self.shown.append((heights.clone(), samples))
        if len(self.shown) == self.number:
            raise Finished


def need(peer):
    for package in {"POT": ["ot"], "OTT-JAX": ["ott", "optax"]}.get(peer, []):
        pytest.importorskip(package)


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_moves_towards_the_solution(name):
    need(name)
    targets = 0.3 * torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    problem = SemiDiscreteProblem(targets - targets.mean(dim=0))
    solver, grid = PEERS[name]
    tape = Tape(25_000, 8)
    with pytest.raises(Finished):
        solver(problem.targets, 0, next(iter(grid.values())), tape)
    before, after = (certify(problem, h, 20_000).chi2 for h in (torch.zeros(20), tape.shown[-1][0]))
    assert after < 0.5 * before


@pytest.mark.parametrize(("name", "setting"), [(name, each) for name in PEERS for each in list(PEERS[name][1])[1:]])
def test_other_settings_run(name, setting):
    need(name)
    tape, targets = Tape(1, 2), torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(Finished):
        PEERS[name][0](targets, 0, PEERS[name][1][setting], tape)
    (_, first), (heights, second) = tape.shown
    assert heights.isfinite().all() and heights.std() > 0 and second > first


def test_the_best_of_the_grids_lie_inside():
    """By the races so far: OTT-JAX's at a rate up to 10, POT's at a batch of 256 and 100 times its rate."""
    rates = [options["lr"] for options in PEERS["OTT-JAX"][1].values()]
    assert min(rates) < 0.1 and max(rates) > 10
    grid = PEERS["POT"][1].values()
    assert {32, 256} < {options["batch_size"] for options in grid} and max(o.get("lr_scale", 1) for o in grid) > 100
    assert any(options == {"batch_size": 256} for options in grid)


def test_pot_shows_what_a_run_of_that_length_returns():
    semidiscrete = pytest.importorskip("ot.semidiscrete")
    targets, tape = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), Tape(320, 3)
    with pytest.raises(Finished):
        PEERS["POT"][0](targets, 5, {"batch_size": 32}, tape)
    rng = torch.Generator().manual_seed(5)
    expected = semidiscrete.solve_semidiscrete(targets, lambda b: torch.randn(b, 8, generator=rng), max_iter=30)
    heights, samples = tape.shown[-1]
    assert samples == 960
    assert torch.allclose(heights, (expected - targets.square().sum(dim=1)) / 2, atol=1e-4)


def test_the_watch_stops_at_budget_level_or_deadline():
    problem = SemiDiscreteProblem(torch.randn(30, 20, generator=torch.Generator().manual_seed(0)))
    good = solve(problem, tv=0.05).heights
    for watch, heights in (
        (Watch(problem, 0.0, (0.1,)), torch.zeros(30)),
        (Watch(problem, 1e6, (0.1,)), good),
        (Watch(problem, 1e6, (0.1,), deadline=0.0), torch.zeros(30)),
    ):
        assert watch.due(1) or heights is good
        with pytest.raises(Finished):
            watch.judge(heights, 240)
        assert len(watch.curve) == 1
    watch = Watch(problem, 1e6, (0.1,))
    assert not watch.due(239) and watch.due(240)
    watch.judge(torch.zeros(30), 300)
    assert not watch.due(300) and watch.due(340)


def test_the_judge_draws_what_the_next_level_takes():
    problem = SemiDiscreteProblem(torch.randn(30, 20, generator=torch.Generator().manual_seed(0)))
    takes = {level: Attempts(level, 0.99, problem.weights).samples(1) for level in (0.05, 0.01)}
    good = solve(problem, tv=0.004).heights
    judged = [(torch.zeros(30), 20_000), (good, takes[0.01])]  # bad ones at a glance; good ones at what 1% takes
    for heights, samples in judged:
        watch = Watch(problem, 1e6, (0.05, 0.01))
        try:
            watch.judge(heights, 240)
        except Finished:
            assert heights is good
        assert watch.curve[0]["judge"]["samples"] == samples
        assert (watch.curve[0]["judge"]["tv_bound"] <= 0.01) == (heights is good)
    for run in ours(problem.targets, (0.05, 0.01)):
        assert run["judge"]["samples"] == max(takes[run["level"]], 20_000) and run["judge"]["tv_bound"] <= run["level"]


def test_records_tell_equal_heights():
    targets = torch.randn(30, 20, generator=torch.Generator().manual_seed(0))
    run, again, other = (next(ours(targets, (0.02,), seed=seed)) for seed in (0, 0, 1))
    heights = solve(SemiDiscreteProblem(targets), tv=0.02).heights.numpy().tobytes()
    assert run["heights_sha256"] == again["heights_sha256"] == hashlib.sha256(heights).hexdigest()
    assert run["heights_sha256"] != other["heights_sha256"]


def test_threads_are_pinned_and_recorded():
    before = describe("cpu")
    with pinned(1, "cpu"):
        assert (describe("cpu")["threads"], describe("cpu")["cores"]) == (1, 1)
    assert describe("cpu") == before
    with pinned(before["threads"] + 1, "cuda"):
        assert describe("cpu")["threads"] == before["threads"] + 1 and describe("cpu")["cores"] == before["cores"]


def test_race_and_report_end_to_end(tmp_path, capsys, monkeypatch):
    options = ["--targets", "24", "--sigma", "0.1", "0.5", "--data", "/nowhere", "--out", str(tmp_path)]
    race = ["race", *options, "--tv", "0.2", "--threads", "1", "--peers", "AE-OT (pyOMT)", "OTT-JAX: Adam 1", *CPU]
    monkeypatch.setitem(sys.modules, "optax", None)  # as if it were not installed
    monkeypatch.setenv("DPMOT_COMMIT", "abc-dirty")
    assert main([*race, "--budget", "0.2", "--limit", "100"]) == 0
    files = sorted(tmp_path.glob("race*-ae-ot-pyomt-ott-jax-adam-1.json"))
    record, other = [json.loads(path.read_text()) for path in files]
    assert (record["problem"]["sigma"], other["problem"]["sigma"]) == (0.1, 0.5)
    assert record["machine"]["commit"] == "abc" and record["machine"]["dirty"] and record["budget"] == 0.2
    missing = [run for run in record["runs"] if run["solver"] == "OTT-JAX"]
    assert [run["setting"] for run in missing] == ["Adam 1"] and missing[0]["error"].startswith("not installed")
    mine = record["runs"][0]
    assert mine["converged"] and mine["judge"]["tv_bound"] <= 0.2 and "synthetic" in record["problem"]["targets"]
    first_peer = next(run for run in record["runs"] if run["solver"] == "AE-OT (pyOMT)")
    assert main([*race, "--budget", "0.1", "--limit", "100", "--label", "Short one"]) == 0
    assert [path.stem[-10:] for path in sorted(tmp_path.glob("race*one.json"))] == 2 * ["-short-one"]
    assert reached(first_peer["curve"], 1.0) is not None and first_peer["batch"] == [20_000]
    assert record["machine"]["threads"] == record["machine"]["cores"] == 1
    assert main(["maps", *options, "--rows", "64", *CPU]) == 0
    assert main(["report", "--out", str(tmp_path)]) == 0
    table = (tmp_path / "OT.md").read_text()
    assert (
        "AE-OT" in table
        and "**dpmot**" in table
        and "softmax" in table
        and (tmp_path / "race.png").stat().st_size > 10_000
    )
    assert (tmp_path / "cells.png").exists()
    capsys.readouterr()
    for arguments in (
        ["report", "--out", str(tmp_path / "none")],
        ["race", *options, "--tv", "7", *CPU],
        ["race", *options, "--threads", "0", *CPU],
        ["race", *options, "--peers", "nobody", *CPU],
        ["race", *options, "--peers", "OTT-JAX: none such", *CPU],
        ["race", *options, "--label", "σ", *CPU],
        ["race", *options, "--peers", *8 * ["AlignFlow: its CIFAR-10 stages"], *CPU],
        ["solve", "--targets", "0", "--data", "/nowhere", *CPU],
        ["maps", "--targets", "-5", "--data", "/nowhere", *CPU],
        ["race", *options, "--sigma", "-1", *CPU],
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_complaints_and_interruptions_are_one_line(capsys, monkeypatch):
    for arguments in ([], ["walk"], ["race", "--sigma", "much"], ["solve", "--no-such"]):
        with pytest.raises(SystemExit) as error:
            main(arguments)
        said = capsys.readouterr().err
        assert error.value.code == 2 and said.startswith("error: ") and said.count("\n") == 1

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("dpmot.bench.__main__.latents", interrupted)
    assert main(["maps", *CPU]) == 130 and capsys.readouterr().err == "interrupted\n"


def test_targets_are_what_they_say(tmp_path):
    synthetic, name = latents(10, 0.0, data=str(tmp_path))
    assert synthetic.shape == (10, 3072) and "synthetic" in name
    again, _ = latents(10, 0.0, data=str(tmp_path))
    assert torch.equal(synthetic, again)
    noisy, _ = latents(10, 0.5, data=str(tmp_path))
    assert abs(float((noisy - synthetic).std()) - 0.5) < 0.02
    assert latents(4, 0.0, data=str(tmp_path), side=64)[0].shape == (4, 3 * 64 * 64)


def test_the_name_says_what_the_targets_are_made_of(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 3), dtype=np.uint8)
    (tmp_path / "tiny").mkdir()
    for split, part in {"train": images[:5], "test": images[5:]}.items():
        np.save(tmp_path / "tiny" / f"{split}.npy", part)
    for number, name in (
        (4, "tiny"),
        (5, "tiny"),
        (6, "tiny (5 train, 1 test)"),
        (10, "tiny (5 train, 3 test, 2 mirrored)"),
        (20, "tiny (5 train, 3 test, 8 mirrored, 4 averaged pairs)"),
    ):
        found, said = latents(number, 0.0, str(tmp_path), "tiny", side=4)
        assert said == f"{name}, σ = 0"
    own, found = images.transpose(0, 3, 1, 2) / 255, found.reshape(20, 3, 4, 4).numpy()
    assert np.allclose(found[:8], own) and np.allclose(found[8:16], own[..., ::-1])
    means = (own[:, None] + own[None, ..., ::-1]).reshape(64, -1) / 2
    assert all(np.isclose(means, one.reshape(-1), atol=1e-6).all(axis=1).any() for one in found[16:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rates_are_of_what_they_say(dtype, monkeypatch):
    pytest.importorskip("triton")
    device, asked = "cuda" if torch.cuda.is_available() else "cpu", []

    def kernel(x, y, h, *, values, tf32):
        asked.append((x.shape, y.shape, x.dtype, values, tf32, torch.get_float32_matmul_precision()))
        time.sleep(0.05)

    monkeypatch.setattr("dpmot.scores.kernel.argmax_scores", kernel)
    before = torch.get_float32_matmul_precision()
    found = rates.measure(64, 300, 16, dtype, repeats=3, device=device)
    assert torch.get_float32_matmul_precision() == before
    rounds = dtype == torch.float32
    assert set(asked) == {((64, 16), (300, 16), dtype, values, rounds, "high") for values in (True, False)}
    assert found["dtype"] == ("tf32" if rounds else str(dtype)[6:]) and found["over_torch"] > 0
    if device == "cpu":  # CUDA events do not see the host asleep
        assert 0.5 < found["kernel_tflops"] / (2e-12 * 64 * 300 * 16 / 0.05) <= 1
    monkeypatch.setattr("dpmot.scores.kernel.argmax_scores", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # a kernel that fails has no rate
        rates.measure(64, 300, 16, dtype, device=device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kernel_rates_end_to_end(tmp_path):
    assert main(["kernel", "--targets", "4096", "--dims", "64", "256", "--out", str(tmp_path)]) == 0
    runs = json.loads((tmp_path / "kernel-n4096.json").read_text())["runs"]
    types = ("float16", "bfloat16", "tf32")
    assert [(run["dim"], run["dtype"]) for run in runs] == [(dim, dtype) for dim in (64, 256) for dtype in types]
    assert all(run["kernel_tflops"] > 1 for run in runs)
    assert main(["report", "--out", str(tmp_path)]) == 0
    assert "| 256 | 4,096 | tf32 |" in (tmp_path / "OT.md").read_text()
