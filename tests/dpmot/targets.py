"""Targets that several tests draw."""

import torch


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grid_of_clusters(number, seed):
    """On the plane, ten times as far from each other as wide: cells are coupled weakly, errors of long wavelength."""
    centres = torch.cartesian_prod(*2 * [0.5 * (torch.arange(5) - 2.0)])
    rng = torch.Generator().manual_seed(seed)
    return centres[torch.randint(25, (number,), generator=rng)] + 0.05 * torch.randn(number, 2, generator=rng)
