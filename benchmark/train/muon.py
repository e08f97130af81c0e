"""Muon: momentum whose matrix updates are orthogonalised (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

``torch.optim.Muon`` takes matrices alone and steps them one by one; this one takes convolutions too, as matrices
``[out, in·k·k]``, and steps all those of one shape together.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz iteration of ``[..., m, n]`` = U S Vᵀ towards ``U Vᵀ`` (singular values end near 1)."""
    a, b, c = COEFFICIENTS
    tall = g.shape[-2] > g.shape[-1]
    x = g.reshape(-1, *g.shape[-2:])
    x = x.bfloat16() if g.is_cuda else x.float()
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)  # (a + b·XXᵀ + c·(XXᵀ)²)X
    return (x.mT if tall else x).reshape(g.shape)


def as_matrix(p: Tensor) -> Tensor:
    """A convolution's weights ``[out, in, k, k]`` as ``[out, k·k·in]``; a matrix as it is."""
    return p.permute(0, 2, 3, 1).flatten(1) if p.dim() == 4 else p


def as_weights(matrix: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of :func:`as_matrix`."""
    if len(shape) == 2:
        return matrix
    c_out, c_in, height, width = shape
    return matrix.view(c_out, height, width, c_in).permute(0, 3, 1, 2)


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, its updates scaled so that a learning rate tuned for Adam fits (Liu et al. 2025).

    Weight decay is decoupled: a step takes the share ``lr·weight_decay`` off the weights. Without it orthogonalised
    updates, whose size never shrinks, let the weights grow, and ever the same update turns them ever less.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float | Tensor = 1e-3,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, ...], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(tuple(p.shape), []).append(p)
            for params in shapes.values():
                for p in params:
                    if "momentum" not in self.state[p]:
                        self.state[p]["momentum"] = torch.zeros_like(p)
                grads = [p.grad for p in params if p.grad is not None]
                momenta = [self.state[p]["momentum"] for p in params]
                torch._foreach_lerp_(momenta, grads, 1 - group["momentum"])
                nesterov = torch._foreach_lerp(grads, momenta, group["momentum"])
                updates = orthogonalise(torch.stack([as_matrix(u) for u in nesterov]))
                scale = 0.2 * max(updates.shape[-2:]) ** 0.5
                updates = updates.to(params[0].dtype) * (group["lr"] * scale)
                if group["weight_decay"]:
                    torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_sub_(params, [as_weights(u, params[0].shape) for u in updates])
