"""Muon against PyTorch's own for matrices, and against the singular value decomposition."""

import copy

import pytest
import torch
from torch import nn

from benchmark.train.muon import Muon, as_matrix, as_weights, orthogonalise


@pytest.mark.parametrize("shape", [(32, 8), (8, 32), (3, 16, 64)])
def test_orthogonalise_sends_singular_values_near_one_and_keeps_singular_vectors(shape):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vh = torch.linalg.svd(g, full_matrices=False)
    core = u.mT @ orthogonalise(g) @ vh.mT
    values = core.diagonal(dim1=-2, dim2=-1)
    assert (core - torch.diag_embed(values)).abs().max() < 1e-3
    assert values.min() > 0.5 and values.max() < 1.3


@pytest.mark.parametrize("decay", [0.0, 5.0])
@pytest.mark.parametrize("rate", [0.02, torch.tensor(0.02)], ids=["number", "tensor"])
def test_steps_agree_with_pytorchs_muon_on_matrices(decay, rate):
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(16, 40))
    theirs = copy.deepcopy(ours)
    a = Muon([ours], lr=rate, weight_decay=decay)
    b = torch.optim.Muon([theirs], lr=0.02, momentum=0.95, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    start = ours.detach().clone()
    for _ in range(5):
        gradient = torch.randn(16, 40)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert (ours - theirs).norm() / (ours - start).norm() < 0.02  # theirs iterates in bfloat16


def test_convolutions_are_stepped_as_matrices_whatever_their_memory_layout():
    torch.manual_seed(0)
    weight, gradient = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    assert torch.equal(as_weights(as_matrix(weight), weight.shape), weight)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        p = nn.Parameter(weight.clone(memory_format=layout))
        p.grad = gradient.clone()
        Muon([p], lr=0.1).step()
        results.append(p.detach())
    torch.testing.assert_close(results[0], results[1])
    matrix = nn.Parameter(weight.permute(0, 2, 3, 1).flatten(1))
    matrix.grad = gradient.permute(0, 2, 3, 1).flatten(1)
    Muon([matrix], lr=0.1).step()
    torch.testing.assert_close(as_matrix(results[0]), matrix.detach())
