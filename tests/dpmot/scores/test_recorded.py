"""Recycled shards: replayed from a recording on a GPU, they count what they do when launched one by one."""

import pytest
import torch

from dpmot import SemiDiscreteProblem, solve
from dpmot.scores import sampling
from dpmot.scores.cells import Cells


def problem(n: int, d: int, device: str) -> SemiDiscreteProblem:
    return SemiDiscreteProblem(torch.randn(n, d, generator=torch.Generator().manual_seed(5)).to(device))


@pytest.fixture
def recordings(monkeypatch):
    """Sizes of the shards that are recorded."""
    record, sizes = sampling._Recorded._record, []

    def spied(self, cells, w, targets):
        sizes.append(len(w))
        return record(self, cells, w, targets)

    monkeypatch.setattr(sampling._Recorded, "_record", spied)
    return sizes


def launched(monkeypatch) -> None:
    monkeypatch.setattr(sampling, "recordable", lambda cells: False)


def test_nothing_is_recorded_on_a_cpu():
    cells = Cells.of(problem(30, 40, "cpu"))
    counts = sampling.histogram(cells, torch.zeros(30), 100, (1,), subspace=16).counts
    assert int(counts.sum()) == 100 and cells not in sampling._recorded


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_recorded_shards_count_what_launched_ones_do(precision, recordings, monkeypatch):
    cells = Cells.of(problem(3000, 512, "cuda"), precision=precision)
    heights = torch.randn(7, 3000, generator=torch.Generator().manual_seed(6)).cuda()
    cases = [(40_000, 64), (40_003, 64), (900, 64), (900, 16), (40_000, 64), (900, 64), (900, 16)]

    def counts():
        numbered = enumerate(zip(heights, cases, strict=True))
        return [sampling.histogram(cells, h, b, (1, 3, k), subspace=m).counts for k, (h, (b, m)) in numbered]

    replayed = counts()
    assert recordings == [5000, 5001, 900, 900]
    launched(monkeypatch)
    for found, expected, (total, _) in zip(replayed, counts(), cases, strict=True):
        assert torch.equal(found, expected) and int(found.sum()) == total


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_solve_ends_with_the_same_heights_and_keeps_no_recording(recordings, monkeypatch):
    before = len(sampling._recorded)
    replayed = solve(problem(600, 512, "cuda"), tv=0.2)
    assert recordings == [1200] and len(sampling._recorded) == before
    launched(monkeypatch)
    expected = solve(problem(600, 512, "cuda"), tv=0.2)
    assert torch.equal(replayed.heights, expected.heights) and replayed.samples == expected.samples
