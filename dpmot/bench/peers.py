"""The other solvers. Each works on and shows its heights to the judge's `Watch` whenever that is due.

Heights are of the scores ⟨x, y⟩ + h for a standard normal source. Costs ‖x − y‖² of other software become heights by
h = (g − ‖y‖²)/2. Schemes whose authors published scripts rather than a library are written anew after those scripts,
with the benchmark's normal source, centred targets and start h = 0.
"""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .watch import Watch

Peer = Callable[[Tensor, int, dict[str, Any], Watch], None]


def adam(targets: Tensor, seed: int, options: dict[str, Any], watch: Watch) -> None:
    """Adam without bias correction on the histogram's gradient, after the code of DPM-OT and of AE-OT (pyOMT).

    options: lr; per_step (samples, in units of N) or samples (absolute); after `patience` steps without a smaller ‖g‖
    the samples are doubled and lr is multiplied by `decay`, at most `doublings` times. reuse: every step sees the same
    samples, as pyOMT's, which starts its Sobol sequence anew (pseudo-random here, as good in many dimensions).
    """
    n, d = targets.shape
    rng = torch.Generator(targets.device)
    lr, samples = options["lr"], batches(options, n)[0]
    doublings = options.get("doublings", math.inf)
    h, m, v = (torch.zeros(n, device=targets.device) for _ in range(3))
    used, bad, best = 0, 0, math.inf
    rng.manual_seed(seed)
    watch.start()
    while True:
        if options.get("reuse"):
            rng.manual_seed(seed)
        counts, left = torch.zeros(n, device=targets.device), samples
        while left:
            part = min(left, options["batch"])
            x = torch.randn(part, d, generator=rng, device=targets.device)
            counts += torch.addmm(h, x, targets.T).argmax(dim=1).bincount(minlength=n)
            left -= part
        used += samples
        gradient = counts / samples - 1 / n
        m.mul_(0.9).add_(gradient, alpha=0.1)
        v.mul_(0.999).add_(gradient.square(), alpha=0.001)
        h -= lr * m / (v.sqrt() + 1e-8)
        h -= h.mean()
        norm = float(gradient.norm())
        bad, best = (0, norm) if norm < best else (bad + 1, best)
        if bad > options["patience"] and doublings:
            samples, lr, bad, best, doublings = 2 * samples, lr * options["decay"], 0, math.inf, doublings - 1
        if watch.due(used):
            watch.judge(h, used)


def alignflow(targets: Tensor, seed: int, options: dict[str, Any], watch: Watch) -> None:
    """AlignFlow's `sdot_solve` (Kong et al., arXiv 2510.15038; github.com/konglk1203/AlignFlow), stage after stage.

    A stage is (lr, steps, batch, ε, ema): Adam with AMSGrad on the dual of the cost ‖x − y‖² with entropy ε, images in
    [−1, 1]; its result, the moving average of the dual, starts the next. After the last stage the run ends.
    """
    n, d = targets.shape
    y = 2 * targets  # their images lie in [−1, 1]
    squares = y.square().sum(dim=1)
    rng = torch.Generator(targets.device).manual_seed(seed)
    average, used = torch.zeros(n, device=targets.device), 0
    torch.optim.Adam([average])  # imports much when first called
    watch.start()
    for lr, steps, batch, entropy, ema in options["stages"]:
        dual = average.clone()
        optimizer = torch.optim.Adam([dual], lr=lr, amsgrad=True)
        for _ in range(steps):
            x = torch.randn(batch, d, generator=rng, device=targets.device)
            scores = torch.addmm(dual - squares, x, y.T, alpha=2)  # v − ‖x − y‖², up to ‖x‖²
            dual.grad = scores.div_(entropy).softmax(dim=1).mean(dim=0) - 1 / n
            optimizer.step()
            average = ema * average + (1 - ema) * dual
            used += batch
            if watch.due(used):
                watch.judge((average - squares) / 4, used)
    watch.judge((average - squares) / 4, used)


def pot(targets: Tensor, seed: int, options: dict[str, Any], watch: Watch) -> None:
    """POT's `solve_semidiscrete`; the cost leaves out ‖x‖², which changes nothing but time.

    options: POT's own; lr_scale multiplies its default lr0 = √(N·batch_size). By default the entropy falls with the
    iterations, from 0.1 as 0.1/√t; "no entropy" turns that off (decreasing_reg), and the argmax takes its place.

    Its steps and entropy depend on the number of the iteration alone, so its running average is what a shorter run
    would have returned. It hands out no iterates, but calls the sampler in between, which reads it from there.
    """
    from ot import semidiscrete

    d, options = targets.shape[1], dict(options)
    if "lr_scale" in options:  # of POT's own default
        options["lr0"] = options.pop("lr_scale") * math.sqrt(len(targets) * options["batch_size"])
    squares = targets.square().sum(dim=1)
    rng = torch.Generator(targets.device).manual_seed(seed)
    used = 0

    def sampler(batch: int) -> Tensor:
        nonlocal used
        if used and watch.due(used):
            watch.judge((sys._getframe(1).f_locals["g_avg"] - squares) / 2, used)
        used += batch
        return torch.randn(batch, d, generator=rng, device=targets.device)

    watch.start()
    semidiscrete.solve_semidiscrete(
        targets, sampler, metric=lambda x, y: squares - 2 * x @ y.T, max_iter=sys.maxsize - 1, **options
    )


def ott(targets: Tensor, seed: int, options: dict[str, Any], watch: Watch) -> None:
    """OTT-JAX's `SemidiscreteSolver`, stepped through its public `step` (compiled), without entropy.

    options: batch; lr of optax's Adam, which decays exponentially: by one half in `halve`·N samples, 400·N in all
    settings. OTT-JAX has no schedule of its own; the moving average of its iterates (g_ema) is what is judged.
    """
    import jax
    import optax
    from ott.geometry.semidiscrete_pointcloud import SemidiscretePointCloud
    from ott.problems.linear.semidiscrete_linear_problem import SemidiscreteLinearProblem
    from ott.solvers.linear.semidiscrete import SemidiscreteSolver, SemidiscreteState

    n = len(targets)
    squares = targets.square().sum(dim=1)
    y = jax.numpy.asarray(targets.cpu().numpy())
    batch, rate = options["batch"], options["lr"]
    schedule = optax.exponential_decay(rate, transition_steps=options["halve"] * n // batch, decay_rate=0.5)
    solver = SemidiscreteSolver(num_iterations=1, batch_size=batch, optimizer=optax.adam(schedule))
    zero, none = jax.numpy.zeros(n), jax.numpy.zeros(1)
    state = SemidiscreteState(
        jax.numpy.array(0), jax.numpy.array(jax.numpy.nan), zero, zero, solver.optimizer.init(zero), none, none, none
    )

    @jax.jit
    def step(key: Any, state: Any, y: Any) -> Any:  # targets as an argument: constants slow the compiler down
        return solver.step(
            key, state, SemidiscreteLinearProblem(SemidiscretePointCloud(jax.random.normal, y, epsilon=0.0))
        )

    key, used = jax.random.key(seed), 0
    jax.block_until_ready(step(key, step(key, state, y), y))  # compiled for the start's types, and for a step's
    watch.start()
    while True:
        key, part = jax.random.split(key)
        state = step(part, state, y)
        used += batch
        if used // batch % 8 == 0:  # or the queue runs ahead of the clock
            jax.block_until_ready(state.g)
        if watch.due(used):
            potential = torch.from_numpy(np.array(state.g_ema)).to(targets.device)
            watch.judge((potential - squares) / 2, used)


def batches(options: dict[str, Any], n: int) -> list[int]:
    """Samples of a step for `n` targets, of every stage; `adam`, who may double them, begins with these."""
    if "stages" in options:
        return [stage[2] for stage in options["stages"]]
    if "per_step" in options:
        return [int(options["per_step"] * n)]
    return [next(options[name] for name in ("samples", "batch_size", "batch") if name in options)]


# Name -> (solver, settings tried). The first setting is the authors' own where they give one; the others a stated grid.
PEERS: dict[str, tuple[Peer, dict[str, dict[str, Any]]]] = {
    "POT": (
        pot,
        {
            "default": {"batch_size": 32},
            "batch 256": {"batch_size": 256},
            "batch 256, no entropy": {"batch_size": 256, "decreasing_reg": False},
            "batch 256, no entropy, 10 lr": {"batch_size": 256, "decreasing_reg": False, "lr_scale": 10.0},
            "batch 256, no entropy, 100 lr": {"batch_size": 256, "decreasing_reg": False, "lr_scale": 100.0},
            "batch 256, no entropy, 1000 lr": {"batch_size": 256, "decreasing_reg": False, "lr_scale": 1000.0},
            "batch 4096, no entropy, 100 lr": {"batch_size": 4096, "decreasing_reg": False, "lr_scale": 100.0},
        },
    ),
    "OTT-JAX": (
        ott,
        {
            "Adam 0.01": {"batch": 1024, "lr": 0.01, "halve": 400},
            "Adam 0.1": {"batch": 1024, "lr": 0.1, "halve": 400},
            "Adam 1": {"batch": 1024, "lr": 1.0, "halve": 400},
            "Adam 10": {"batch": 1024, "lr": 10.0, "halve": 400},
            "Adam 100": {"batch": 1024, "lr": 100.0, "halve": 400},
        },
    ),
    "DPM-OT (released scheme)": (
        adam,
        {"default": {"lr": 0.1, "per_step": 10, "batch": 4000, "patience": 50, "doublings": 3, "decay": 0.8}},
    ),
    "AE-OT (pyOMT)": (
        adam,
        {"default": {"lr": 0.05, "samples": 20_000, "batch": 1000, "patience": 30, "decay": 1.0, "reuse": True}},
    ),
    "AlignFlow": (
        alignflow,
        {
            "its CIFAR-10 stages": {
                "stages": ((10, 1000, 1024, 1, 0.99), (0.1, 5000, 4096, 1, 0.999), (0.1, 5000, 16384, 0.01, 0.999))
            },
            "its ImageNet stage": {"stages": ((10, 3000, 4096, 0.01, 0.99),)},
        },
    ),
}
