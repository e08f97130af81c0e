"""Cells on the plane, unsolved and solved: the figure of the tutorial."""

from pathlib import Path

import torch

from .. import HardMap, SemiDiscreteProblem, certify, solve


def draw(folder: Path, number: int = 40, seed: int = 3) -> list[Path]:
    """Cells of h = 0 and of certified heights, `number` targets in three clusters; writes cells.png and cells.pdf."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    rng = torch.Generator().manual_seed(seed)
    centres = torch.tensor([[-1.5, -0.8], [1.6, -0.5], [0.0, 1.5]])
    targets = centres[torch.randint(3, (number,), generator=rng)] + 0.45 * torch.randn(number, 2, generator=rng)
    problem = SemiDiscreteProblem(targets)
    heights = solve(problem, tv=0.02).heights
    line = torch.linspace(-3, 3, 500)
    grid = torch.cartesian_prod(line, line)
    sns.set_theme(style="white", context="paper")
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained", sharex=True, sharey=True)
    colours = sns.color_palette("husl", number)
    for axis, h, name in zip(axes, (torch.zeros(number), heights), ("unsolved, h = 0", "solved"), strict=True):
        cells = HardMap(problem, h).assign(grid).reshape(500, 500).T
        image = torch.tensor(colours)[cells]
        axis.imshow(image.numpy(), origin="lower", extent=(-3, 3, -3, 3), alpha=0.55)
        axis.contour(line, line, cells, levels=torch.arange(number).numpy() + 0.5, colors="white", linewidths=0.6)
        axis.scatter(*targets.T, c=colours, edgecolors="black", s=28, zorder=3)
        found = certify(problem, h, 200_000, seed=1)
        axis.set_title(
            f"{name}: TV {found.tv:.3f}, bound {found.tv_bound:.3f}; {found.empty_cells} of {number} cells empty"
        )
        axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    paths = [folder / "cells.png", folder / "cells.pdf"]
    for path in paths:
        figure.savefig(path, dpi=130)
    plt.close(figure)
    return paths
