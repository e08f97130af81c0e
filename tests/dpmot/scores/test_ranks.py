"""Several ranks, sharing samples or targets, end with what one rank finds alone."""

import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from dpmot import HardMap, SemiDiscreteProblem, SoftmaxMap, TopKMap, certify, solve

RANK = """
import sys, torch, torch.distributed as dist
import dpmot.scores.sampling
from tests.dpmot.scores.test_ranks import SHARD, answers
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dpmot.scores.sampling.MAX_SHARD = SHARD
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
torch.save([answers(False), answers(True)], f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""
SHARD = 100  # samples: small enough that both ranks have some


def answers(sharded):
    """Heights, certificates and maps of several problems; targets shared by rows or not."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.randn(41, 20, generator=rng)
    found = {}
    for name, y in {
        "plain": targets,
        "duplicates": torch.cat([targets[:30], targets[5:20]]),
        "recycled": torch.randn(300, 260, generator=rng),
        "all equal": torch.ones(3, 4),
        "more dimensions than targets": torch.randn(40, 100, generator=rng),
        "plane": torch.randn(50, 2, generator=rng) @ torch.randn(2, 30, generator=rng),
    }.items():
        problem = SemiDiscreteProblem(y)
        solution = solve(problem, tv=0.1, shard_targets=sharded)
        z = torch.randn(500, y.shape[1], generator=rng)
        maps = (
            HardMap(problem, solution.heights, shard_targets=sharded),
            TopKMap(problem, solution.heights, k=30, angle=1.2, shard_targets=sharded),
            SoftmaxMap(problem, solution.heights, temperature=0.5, shard_targets=sharded),
        )
        judged = certify(problem, solution.heights, 5000, seed=1, shard_targets=sharded)
        if sharded and dist.is_initialized():
            assert all(len(each.cells.targets) < each.cells.num for each in maps) or name == "all equal"
        found[name] = (solution.heights, judged.to_dict(), solution.samples, *(each(z) for each in maps))
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    running = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), str(folder)]) for rank in range(2)]
    assert [process.wait(timeout=200) for process in running] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture
def alone(monkeypatch):
    monkeypatch.setattr("dpmot.scores.sampling.MAX_SHARD", SHARD)
    return answers(False), answers(True)  # without a process group there is nobody to share with


def test_ranks_that_share_samples_give_the_bits_of_one(ranks, alone):
    for rank in ranks:
        for name, expected in alone[0].items():
            got = rank[0][name]
            assert torch.equal(got[0], expected[0]) and got[1:3] == expected[1:3], name
            assert all(torch.equal(a, b) for a, b in zip(got[3:], expected[3:], strict=True)), name


def test_ranks_that_share_targets_agree_with_one_up_to_rounding(ranks, alone):
    for name, (heights, judged, samples, hard, mixed, smooth) in alone[1].items():
        first, second = (rank[1][name] for rank in ranks)
        for mine, theirs in zip(first, second, strict=True):
            assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs
        assert first[2] == samples and torch.allclose(first[0], heights, atol=1e-3 * float(heights.std()) + 1e-6)
        assert abs(first[1]["chi2"] - judged["chi2"]) < 2e-3
        same = (first[3] == hard).all(dim=1)
        assert same.double().mean() > 0.995
        assert torch.allclose(first[4][same], mixed[same], atol=1e-4) or name == "recycled"
        assert (first[4] == mixed).all(dim=1).double().mean() > 0.9
        assert torch.allclose(first[5], smooth, atol=2e-2 * float(smooth.std()) + 1e-6)


def test_a_wrong_choice_is_refused():
    with pytest.raises(ValueError, match="shard_targets"):
        solve(SemiDiscreteProblem(torch.eye(3)), shard_targets="rows")
