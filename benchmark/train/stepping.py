"""The state of a denoiser's training and one step of it: EDM loss, Muon and Adam, weight average, on many devices."""

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


class DenoiserTraining:
    """The state of a training run, and one step of it.

    ``seconds`` is the time that its steps took, ``images_before`` what its first weights had been trained on.

    Step k's images, flips, noise, noise levels and dropout come from (seed, k, rank) alone, so that a resumed run goes
    on exactly as if it had not stopped. On CUDA, forward and backward pass are replayed as one graph, and so is Muon's
    step: launched one by one, their kernels would keep the GPU waiting for Python.
    """

    def __init__(self, recipe: DenoiserRecipe, images: Tensor, workers: Workers, seed: int = 0):
        torch.manual_seed(seed)
        self.recipe, self.images, self.workers, self.seed, self.step = recipe, images, workers, seed, 0
        self.seconds, self.images_before = 0.0, 0
        device = workers.device
        torch.backends.cuda.matmul.allow_tf32 = True
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.denoiser = Denoiser(UNet(recipe.network), dtype).to(device)
        self.average = Denoiser(UNet(recipe.network), dtype).to(device).eval().requires_grad_(False)
        self.average.load_state_dict(self.denoiser.state_dict())
        self.parameters: list[Tensor] = list(self.network.parameters())
        self.gradients = torch.zeros(sum(p.numel() for p in self.parameters), device=device)  # one buffer to sum over
        parts = self.gradients.split([p.numel() for p in self.parameters])
        self._gradient_views = [
            part.as_strided(p.shape, p.stride()) for p, part in zip(self.parameters, parts, strict=True)
        ]
        for p, view in zip(self.parameters, self._gradient_views, strict=True):
            p.grad = view
        inner = [p for name, p in self.network.named_parameters() if p.dim() == 4 and not name.startswith("conv_")]
        chosen = set(inner)
        outer = [p for p in self.parameters if p not in chosen]
        self.rate = torch.tensor(recipe.lr, device=device)  # read anew by the recorded graph
        self.muon = Muon(inner, lr=self.rate, weight_decay=recipe.weight_decay)
        self.adam = torch.optim.Adam(outer, lr=self.rate, betas=(0.9, 0.99), fused=True)
        self.generator = torch.Generator(device)
        self.dropout_seed = torch.zeros(1, dtype=torch.int64, device=device)
        self.network.set_dropout(recipe.dropout, self.dropout_seed)
        shape = (recipe.batch, *images.shape[1:])
        self.x0, self.noise = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
        self.sigma, self.loss = torch.ones(recipe.batch, device=device), torch.zeros((), device=device)
        self._gradients, self._muon = Replayed(self.compute_gradients, device), Replayed(self.muon.step, device)

    @property
    def network(self) -> UNet:
        """The network in training."""
        return self.denoiser.network

    @property
    def step_images(self) -> int:
        """Images of one step, over all processes."""
        return self.recipe.batch * self.workers.count

    @property
    def seen(self) -> int:
        """Training images seen so far, over all processes."""
        return self.step * self.step_images

    def draw_batch(self) -> None:
        """Draw images, noise levels and noise of the present step."""
        recipe, device, generator = self.recipe, self.workers.device, self.generator
        generator.manual_seed((self.seed * 1_000_003 + self.step) * 4099 + self.workers.rank)
        chosen = torch.randint(len(self.images), (recipe.batch,), device=device, generator=generator)
        x0 = as_float(self.images[chosen])
        if recipe.flips:
            flip = torch.rand(recipe.batch, 1, 1, 1, device=device, generator=generator) < 0.5
            x0 = torch.where(flip, x0.flip(3), x0)
        self.x0.copy_(x0)
        self.sigma.normal_(recipe.p_mean, recipe.p_std, generator=generator).exp_()
        self.noise.normal_(generator=generator)
        self.dropout_seed.random_(0, 2**31, generator=generator)

    def compute_gradients(self) -> None:
        """Loss and gradients of the drawn batch."""
        losses = edm_loss(self.denoiser, self.x0, self.sigma, self.noise, self.recipe.network.sigma_data)
        loss = losses.mean()
        torch._foreach_copy_(self._gradient_views, torch.autograd.grad(loss, self.parameters))
        self.loss.copy_(loss.detach())

    def learning_rate(self) -> float:
        """Linear warm-up, constant, then linear decay to zero."""
        recipe, warm = self.recipe, (self.step + 1) / self.recipe.warmup
        left = (1 - self.seen / recipe.images) / (1 - recipe.decay) if recipe.decay < 1 else 1.0
        return recipe.lr * max(0.0, min(1.0, warm, left))

    def train_step(self) -> Tensor:
        """One step; returns this process's mean loss, still on the device."""
        self.draw_batch()
        self._gradients()
        if self.workers.count > 1:
            dist.all_reduce(self.gradients)
            self.gradients /= self.workers.count
        self.gradients *= (self.recipe.clip / (self.gradients.norm() + 1e-6)).clamp(max=1)
        self.rate.fill_(self.learning_rate())
        self._muon()
        self.adam.step()
        self.step += 1
        weight = 1 - 0.5 ** (self.step_images / (self.recipe.ema * self.seen)) if self.recipe.ema else 1.0
        with torch.no_grad():
            torch._foreach_lerp_([*self.average.network.parameters()], self.parameters, weight)
        return self.loss.clone()

    def settings(self) -> dict[str, Any]:
        """What a run that goes on from this one's state must share: the recipe, but for its length."""
        free = ("network", "images", "batch")
        own = {"seed": self.seed, "images a step": self.step_images}
        return own | {name: value for name, value in vars(self.recipe).items() if name not in free}

    def state(self) -> dict[str, Any]:
        """Everything from which the run can go on."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "images_before": self.images_before,
            "settings": self.settings(),
            "network": self.network.state_dict(),
            "average": self.average.network.state_dict(),
            "muon": self.muon.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`; the number of processes may differ if the images of a step agree.

        Raises:
            ValueError: it belongs to another recipe, seed or network.
        """
        for name, value in self.settings().items():
            if (found := state["settings"].get(name)) != value:
                raise ValueError(f"it was made with {name} {found}, this run has {value}")
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError:
            raise ValueError("it belongs to another network") from None
        self.average.network.load_state_dict(state["average"])
        for optimiser, name in ((self.muon, "muon"), (self.adam, "adam")):
            optimiser.load_state_dict(state[name])
            for group in optimiser.param_groups:
                group["lr"] = self.rate  # loading has put a copy there
        self.step, self.seconds, self.images_before = state["step"], state["seconds"], state["images_before"]
