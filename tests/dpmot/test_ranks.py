"""Several ranks share the samples and end with the same bits as one."""

import subprocess
import sys

import torch

from dpmot import SemiDiscreteProblem, solve

RANK = """
import sys, torch, torch.distributed as dist
from dpmot import SemiDiscreteProblem, solve
rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
targets = torch.randn(40, 20, generator=torch.Generator().manual_seed(0))
torch.save(solve(SemiDiscreteProblem(targets), tv=0.1).heights, f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


def test_two_ranks_give_the_heights_of_one(tmp_path, monkeypatch):
    # Shards small enough that both ranks have some.
    code = "import dpmot.sampling as s; s.MAX_SHARD = 100\n" + RANK
    ranks = [subprocess.Popen([sys.executable, "-c", code, str(rank), str(tmp_path)]) for rank in range(2)]
    assert [process.wait(timeout=200) for process in ranks] == [0, 0]
    monkeypatch.setattr("dpmot.sampling.MAX_SHARD", 100)
    alone = solve(SemiDiscreteProblem(torch.randn(40, 20, generator=torch.Generator().manual_seed(0))), tv=0.1).heights
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), alone)
