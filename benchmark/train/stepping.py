"""The state of a denoiser's training and one step of it: EDM loss, Muon and Adam, weight averages, on many devices."""

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from benchmark.networks.replay import Replayed
from benchmark.networks.unet import Denoiser, UNet
from benchmark.train.evaluate import edm_loss
from benchmark.train.images import as_float
from benchmark.train.muon import Muon
from benchmark.train.recipes import DenoiserRecipe
from benchmark.workers import Workers
from samplers.errors import UserError

ADAM = ("exp_avg", "exp_avg_sq")
"""What Adam remembers of a weight."""


class DenoiserTraining:
    """The state of a training run, and one step of it.

    ``seconds`` is the time that its steps took, ``images_before`` what its first weights had been trained on.

    Step k's images, flips, noise, noise levels and dropout come from (seed, k) alone, and each process takes its part
    of them: a run goes on as if it had not stopped, also on another number of processes. On CUDA, forward and backward
    pass are replayed as one graph, and so is Muon's step: launched one by one, their kernels would keep the GPU waiting
    for Python.

    Raises:
        UserError: the processes cannot share a step's images equally.
    """

    def __init__(self, recipe: DenoiserRecipe, images: Tensor, workers: Workers, seed: int = 0):
        if recipe.batch % workers.count:
            raise UserError(f"{workers.count} processes cannot share a batch of {recipe.batch} images equally")
        torch.manual_seed(seed)
        self.recipe, self.images, self.workers, self.seed, self.step = recipe, images, workers, seed, 0
        self.seconds, self.images_before = 0.0, 0
        device, own = workers.device, recipe.batch // workers.count
        self.share = slice(workers.rank * own, (workers.rank + 1) * own)
        torch.backends.cuda.matmul.allow_tf32 = True
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.denoiser = Denoiser(UNet(recipe.network), dtype).to(device)
        self.averages = [Denoiser(UNet(recipe.network), dtype).to(device).eval() for _ in recipe.ema]
        for average in self.averages:
            average.requires_grad_(False).load_state_dict(self.denoiser.state_dict())
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.gradients = torch.zeros(sum(p.numel() for p in self.parameters), device=device)  # one buffer to sum over
        parts = self.gradients.split([p.numel() for p in self.parameters])
        self._gradient_views = [
            part.as_strided(p.shape, p.stride()) for p, part in zip(self.parameters, parts, strict=True)
        ]
        for p, view in zip(self.parameters, self._gradient_views, strict=True):
            p.grad = view
        self.rate = torch.tensor(recipe.lr, device=device)  # read anew by the recorded graph
        self._choose_optimisers()
        self.generator = torch.Generator(device)
        self.dropout_seeds = torch.zeros(own, dtype=torch.int64, device=device)
        self.network.set_dropout(recipe.dropout, self.dropout_seeds)
        shape = (own, *images.shape[1:])
        self.x0, self.noise = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        self.sigma, self.loss = torch.ones(own, device=device), torch.zeros((), device=device)
        self._gradients = Replayed(self.compute_gradients, device)
        self._muon = Replayed(self.muon.step, device) if self.muon else None

    def _choose_optimisers(self) -> None:
        """Muon for the inner convolutions and Adam for the rest, or Adam for all with EDM's settings."""
        recipe, inner = self.recipe, []
        if recipe.optimiser == "muon":
            inner = [p for name, p in self.network.named_parameters() if p.dim() == 4 and not name.startswith("conv_")]
        chosen = set(inner)
        outer = [p for p in self.parameters if p not in chosen]
        self.muon = Muon(inner, lr=self.rate, weight_decay=recipe.weight_decay) if inner else None
        betas = (0.9, 0.99) if inner else (0.9, 0.999)
        self.adam = torch.optim.Adam(outer, lr=self.rate, betas=betas, fused=True)

    @property
    def network(self) -> UNet:
        """The network in training."""
        return self.denoiser.network

    @property
    def average(self) -> Denoiser:
        """The first of the weight averages."""
        return self.averages[0]

    @property
    def seen(self) -> int:
        """Training images seen so far, over all processes."""
        return self.step * self.recipe.batch

    def draw_batch(self) -> None:
        """Draw images, noise levels and noise of the present step, and keep this process's share."""
        recipe, device, generator, share = self.recipe, self.workers.device, self.generator, self.share
        generator.manual_seed((self.seed * 1_000_003 + self.step) * 4099)
        chosen = torch.randint(len(self.images), (recipe.batch,), device=device, generator=generator)
        x0 = as_float(self.images[chosen[share]])
        if recipe.flips:
            flip = torch.rand(recipe.batch, 1, 1, 1, device=device, generator=generator)[share] < 0.5
            x0 = torch.where(flip, x0.flip(3), x0)
        self.x0.copy_(x0)
        normal = torch.randn(recipe.batch, device=device, generator=generator)[share]
        self.sigma.copy_((recipe.p_mean + recipe.p_std * normal).exp())
        noise = torch.randn(recipe.batch, *self.images.shape[1:], device=device, generator=generator)
        self.noise.copy_(noise[share])
        seeds = torch.randint(2**31, (recipe.batch,), device=device, generator=generator)
        self.dropout_seeds.copy_(seeds[share])

    def compute_gradients(self) -> None:
        """Loss and gradients of the drawn batch."""
        losses = edm_loss(self.denoiser, self.x0, self.sigma, self.noise, self.recipe.network.sigma_data)
        loss = losses.mean()
        torch._foreach_copy_(self._gradient_views, torch.autograd.grad(loss, self.parameters))
        self.loss.copy_(loss.detach())

    def learning_rate(self) -> float:
        """Rate of the present step: linear warm-up, level, 1/√images, linear decay to zero.

        The fall by the square root from ``settle`` images on is that of Karras et al. 2024 (arXiv 2312.02696).
        """
        recipe, warm = self.recipe, (self.step + 1) / self.recipe.warmup
        left = (1 - self.seen / recipe.images) / (1 - recipe.decay) if recipe.decay < 1 else 1.0
        settled = math.sqrt(max(1.0, self.seen / recipe.settle)) if recipe.settle else 1.0
        return recipe.lr * max(0.0, min(1.0, warm, left)) / settled

    def train_step(self) -> Tensor:
        """Make one step; returns this process's mean loss, still on the device."""
        self.draw_batch()
        self._gradients()
        if self.workers.count > 1:
            dist.all_reduce(self.gradients)
            self.gradients /= self.workers.count
        self.gradients *= (self.recipe.clip / (self.gradients.norm() + 1e-6)).clamp(max=1)
        self.rate.fill_(self.learning_rate())
        if self._muon:
            self._muon()
        self.adam.step()
        self.step += 1
        with torch.no_grad():
            for half_life, average in zip(self.recipe.ema, self.averages, strict=True):
                weight = 1 - 0.5 ** (self.recipe.batch / (half_life * self.seen)) if half_life else 1.0
                torch._foreach_lerp_([*average.network.parameters()], self.parameters, weight)
        return self.loss.clone()

    def settings(self) -> dict[str, Any]:
        """What a run that goes on from this one's state must share: the recipe, but for its length and its rates."""
        free = ("network", "images", "ema", "lr", "settle", "decay")
        own = {"seed": self.seed, "ema": list(self.recipe.ema)}
        return own | {name: value for name, value in vars(self.recipe).items() if name not in free}

    def facts(self) -> dict[str, Any]:
        """Where the run stands, JSON-ready."""
        facts = {"step": self.step, "seconds": self.seconds, "images_before": self.images_before}
        return facts | {"settings": self.settings()}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors from which the run can go on: weights, their averages, what the optimisers remember."""
        found = {f"network.{name}": p for name, p in self.network.state_dict().items()}
        for half_life, average in zip(self.recipe.ema, self.averages, strict=True):
            found |= {f"average {half_life:g}.{name}": p for name, p in average.network.state_dict().items()}
        for name, p in self.network.named_parameters():
            memory = self.muon.state[p] if self.muon and p in self.muon.state else self.adam.state.get(p, {})
            found |= {f"{kind}.{name}": value for kind, value in memory.items() if kind != "step"}
        return found

    def load_state(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Go on from :meth:`facts` and :meth:`tensors`; the number of processes may be another.

        Raises:
            ValueError: they belong to another recipe, seed or network.
        """
        for name, value in self.settings().items():
            if (found := facts["settings"].get(name)) != value:
                raise ValueError(f"it was made with {name} {found}, this run has {value}")
        groups = {"network": self.network}
        groups |= {f"average {h:g}": a.network for h, a in zip(self.recipe.ema, self.averages, strict=True)}
        try:
            for group, network in groups.items():
                network.load_state_dict({name: tensors[f"{group}.{name}"] for name in network.state_dict()})
            names = {p: name for name, p in self.network.named_parameters()}
            if self.muon:
                for p in self.muon.param_groups[0]["params"]:
                    self.muon.state[p]["momentum"] = torch.empty_like(p).copy_(tensors[f"momentum.{names[p]}"])
            for p in self.adam.param_groups[0]["params"]:
                step = torch.tensor(float(facts["step"]), device=p.device)
                kept = {kind: torch.empty_like(p).copy_(tensors[f"{kind}.{names[p]}"]) for kind in ADAM}
                self.adam.state[p] = {"step": step, **kept}
        except (KeyError, RuntimeError):  # a tensor that is missing, or of another shape
            raise ValueError("it belongs to another network") from None
        self.step, self.seconds, self.images_before = facts["step"], facts["seconds"], facts["images_before"]
