"""The other solvers, each as a generator: work, then yield (heights, samples used), again and again.

Heights are of the scores ⟨x, y⟩ + h for a standard normal source. Costs ‖x − y‖² of other software become heights by
h = (g − ‖y‖²)/2. Checkpoints come at geometric numbers of samples; only the work between them is timed;
a checkpoint after no samples says that compiling is done.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

Run = Iterator[tuple[Tensor, int]]
Peer = Callable[[Tensor, int, dict[str, Any]], Run]


def checkpoints(n: int, first: int = 8) -> Iterator[int]:
    """8·N, then √2 times as many each time."""
    k = 0
    while True:
        yield int(first * n * 2 ** (k / 2))
        k += 1


def adam(targets: Tensor, seed: int, options: dict[str, Any]) -> Run:
    """Adam on the histogram's gradient, as the released DPM-OT, AE-OT (pyOMT) and staged schedules do it.

    options: lr; per_step (samples, in units of N, or `samples` absolute); correct (Adam's bias correction);
    patience, doublings, decay: after `patience` steps without a smaller ‖g‖ double the samples and multiply lr by
    `decay`, at most `doublings` times; stages: multiply lr by 0.1 and double the samples every `stages`·N samples.
    """
    n, d = targets.shape
    rng = torch.Generator(targets.device).manual_seed(seed)
    lr, samples = options["lr"], int(options.get("per_step", 0) * n) or options["samples"]
    patience, doublings = options.get("patience", math.inf), options.get("doublings", 0)
    h, m, v = (torch.zeros(n, device=targets.device) for _ in range(3))
    used, step, bad, best, stage = 0, 0, 0, math.inf, 0
    marks = checkpoints(n)
    mark = next(marks)
    while True:
        counts, left = torch.zeros(n, device=targets.device), samples
        while left:
            batch = min(left, options.get("batch", 4000))
            x = torch.randn(batch, d, generator=rng, device=targets.device)
            counts += torch.addmm(h, x, targets.T).argmax(dim=1).bincount(minlength=n)
            left -= batch
        used, step = used + samples, step + 1
        gradient = counts / samples - 1 / n
        m.mul_(0.9).add_(gradient, alpha=0.1)
        v.mul_(0.999).add_(gradient.square(), alpha=0.001)
        scale = (1 - 0.999**step) ** 0.5 / (1 - 0.9**step) if options.get("correct") else 1.0
        h -= lr * scale * m / (v.sqrt() + 1e-8)
        h -= h.mean()
        norm = float(gradient.norm())
        bad, best = (0, norm) if norm < best else (bad + 1, best)
        if bad > patience and doublings:
            samples, lr, bad, best, doublings = 2 * samples, lr * options["decay"], 0, math.inf, doublings - 1
        if "stages" in options and used > options["stages"] * n * (2 ** (stage + 1) - 1):
            samples, lr, stage = 2 * samples, lr * 0.3, stage + 1
        while used >= mark:
            yield h, used
            mark = _beyond(marks, used)


def pot(targets: Tensor, seed: int, options: dict[str, Any]) -> Run:
    """POT's `solve_semidiscrete`. It gives no iterates, so each checkpoint is a run of its own length from scratch;
    the cost leaves out ‖x‖², which changes nothing but time."""
    from ot import semidiscrete

    n, d = targets.shape
    scale = options.pop("lr_scale", None)
    if scale is not None:  # of POT's own default
        options["lr0"] = scale * math.sqrt(n * options["batch_size"])
    squares = targets.square().sum(dim=1)
    for total in checkpoints(n):
        rng = torch.Generator(targets.device).manual_seed(seed)
        potential = semidiscrete.solve_semidiscrete(
            targets,
            lambda b, rng=rng: torch.randn(b, d, generator=rng, device=targets.device),
            metric=lambda x, y: squares - 2 * x @ y.T,
            max_iter=math.ceil(total / options["batch_size"]),
            **options,
        )
        yield (potential - squares) / 2, total


def ott(targets: Tensor, seed: int, options: dict[str, Any]) -> Run:
    """OTT-JAX's `SemidiscreteSolver`, stepped through its public `step` (compiled), without entropy."""
    import jax
    import optax
    from ott.geometry.semidiscrete_pointcloud import SemidiscretePointCloud
    from ott.problems.linear.semidiscrete_linear_problem import SemidiscreteLinearProblem
    from ott.solvers.linear.semidiscrete import SemidiscreteSolver, SemidiscreteState

    n = len(targets)
    y = jax.numpy.asarray(targets.cpu().numpy())
    problem = SemidiscreteLinearProblem(SemidiscretePointCloud(jax.random.normal, y, epsilon=0.0))
    batch, rate = options["batch"], options["lr"]
    schedule = optax.exponential_decay(rate, transition_steps=options["halve"] * n // batch, decay_rate=0.5)
    solver = SemidiscreteSolver(num_iterations=1, batch_size=batch, optimizer=optax.adam(schedule))
    zero, none = jax.numpy.zeros(n), jax.numpy.zeros(1)
    state = SemidiscreteState(
        jax.numpy.array(0), jax.numpy.array(jax.numpy.nan), zero, zero, solver.optimizer.init(zero), none, none, none
    )
    step = jax.jit(lambda key, state: solver.step(key, state, problem))
    key, used = jax.random.key(seed), 0
    jax.block_until_ready(step(key, state))
    yield torch.zeros(n, device=targets.device), 0
    for mark in checkpoints(n):
        while used < mark:
            key, part = jax.random.split(key)
            state = step(part, state)
            used += batch
        potential = torch.from_numpy(np.array(state.g_ema)).to(targets.device)
        yield (potential - targets.square().sum(dim=1)) / 2, used


# Name -> (solver, settings tried). "default" is the author's own; the others the stated grid.
PEERS: dict[str, tuple[Peer, dict[str, dict[str, Any]]]] = {
    "POT": (
        pot,
        {
            "default": {"batch_size": 32},
            "batch 256, no entropy": {"batch_size": 256, "decreasing_reg": False},
            "batch 256, no entropy, 10 lr": {"batch_size": 256, "decreasing_reg": False, "lr_scale": 10.0},
            "batch 256, no entropy, 100 lr": {"batch_size": 256, "decreasing_reg": False, "lr_scale": 100.0},
        },
    ),
    "OTT-JAX": (
        ott,
        {
            "Adam 0.1": {"batch": 1024, "lr": 0.1, "halve": 400},
            "Adam 1": {"batch": 1024, "lr": 1.0, "halve": 400},
            "Adam 10": {"batch": 1024, "lr": 10.0, "halve": 400},
        },
    ),
    "DPM-OT (released scheme)": (
        adam,
        {"default": {"lr": 0.1, "per_step": 10, "patience": 50, "doublings": 3, "decay": 0.8}},
    ),
    "AE-OT (pyOMT)": (
        adam,
        {"default": {"lr": 0.05, "samples": 20_000, "batch": 1000, "patience": 30, "doublings": 20, "decay": 0.8}},
    ),
    "staged Adam (as AlignFlow)": (
        adam,
        {
            "lr 0.1": {"lr": 0.1, "per_step": 1, "stages": 20, "correct": True},
            "lr 1": {"lr": 1.0, "per_step": 1, "stages": 20, "correct": True},
        },
    ),
}


def _beyond(marks: Iterator[int], used: int) -> int:
    return next(mark for mark in marks if mark > used)
