"""The benchmark runs end to end on synthetic targets, its peers solve what they claim to, mistakes are one line."""

import json
from itertools import pairwise

import pytest
import torch

from dpmot import SemiDiscreteProblem, certify
from dpmot.bench.__main__ import main
from dpmot.bench.peers import PEERS
from dpmot.bench.race import reached
from dpmot.bench.targets import latents

CPU = ["--device", "cpu"]


@pytest.mark.parametrize("name", ["POT", "DPM-OT (released scheme)", "staged Adam (as AlignFlow)"])
def test_a_peer_moves_towards_the_solution(name):
    targets = 0.3 * torch.randn(20, 8, generator=torch.Generator().manual_seed(0))
    targets -= targets.mean(dim=0)
    problem = SemiDiscreteProblem(targets)
    peer, settings = PEERS[name]
    run = peer(targets, 0, dict(next(iter(settings.values()))))
    curve = [next(run) for _ in range(14)]
    assert all(a[1] <= b[1] for a, b in pairwise(curve))
    before, after = (certify(problem, h, 20_000).chi2 for h in (torch.zeros(20), curve[-1][0]))
    assert after < 0.5 * before


def test_race_and_report_end_to_end(tmp_path, capsys):
    options = ["--targets", "24", "--sigma", "0.1", "--data", "/nowhere", "--out", str(tmp_path)]
    assert main(["race", *options, "--tv", "0.2", "--budget", "0.2", "--peers", "AE-OT (pyOMT)", *CPU]) == 0
    (record,) = [json.loads(path.read_text()) for path in tmp_path.glob("race*.json")]
    mine = record["runs"][0]
    assert mine["converged"] and mine["judge"]["tv_bound"] <= 0.2 and "synthetic" in record["problem"]["targets"]
    assert reached(record["runs"][-1]["curve"], 1.0) is not None
    assert main(["report", "--out", str(tmp_path)]) == 0
    table = (tmp_path / "OT.md").read_text()
    assert "AE-OT" in table and "**dpmot**" in table and (tmp_path / "race.png").stat().st_size > 10_000
    assert (tmp_path / "cells.png").exists()
    capsys.readouterr()
    for arguments in (["report", "--out", str(tmp_path / "none")], ["race", *options, "--tv", "7", *CPU]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_targets_are_what_they_say(tmp_path):
    synthetic, name = latents(10, 0.0, data=str(tmp_path))
    assert synthetic.shape == (10, 3072) and "synthetic" in name
    again, _ = latents(10, 0.0, data=str(tmp_path))
    assert torch.equal(synthetic, again)
    noisy, _ = latents(10, 0.5, data=str(tmp_path))
    assert abs(float((noisy - synthetic).std()) - 0.5) < 0.02
    assert latents(4, 0.0, data=str(tmp_path), side=64)[0].shape == (4, 3 * 64 * 64)
