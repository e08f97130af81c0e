"""Every sampler that diffusers has too: the same trajectory on the same model, levels and noise."""

import math
from unittest import mock

import pytest
import torch
from scipy.integrate import quad

from samplers.deis import DEIS
from samplers.denoisers import prepared
from samplers.noise import ShardNoise, make_grid, vp_time
from samplers.registry import lookup
from tests.oracles import F64, mixture_denoiser, relative_error, sigma_sample, vp_sample, vp_scheduler

schedulers = pytest.importorskip("diffusers.schedulers")

FLOAT64 = 1e-12  # where the scheduler keeps the state's type; the others compute in float32
FLOAT32 = 1e-6
STEPS = (8, 20)


def ours(name, sigmas, **options):
    noise = ShardNoise(1, 0, (64, 3), F64)
    return lookup(name).make(**options).integrate(mixture_denoiser, sigmas[0] * noise.initial(), sigmas, noise)


def start(sigmas):
    return sigmas[0] * ShardNoise(1, 0, (64, 3), F64).initial()


def fresh(count):
    noise = ShardNoise(1, 0, (64, 3), F64)
    return [noise.step() for _ in range(count)]


def grids(steps):
    """Levels of two kinds that end above 0."""
    return [make_grid("log-snr", steps, 80.0, 0.02), make_grid("ddpm-uniform", steps, 40.0, 0.05)]


def to_zero(steps):
    return torch.cat([make_grid("edm", steps - 1, 80.0, 0.02), torch.zeros(1, dtype=F64)])


@pytest.mark.parametrize("steps", [10, 20, 50])
@pytest.mark.parametrize("name, skip_prk", [("f-pndm", False), ("plms", True)])
def test_pndm(name, skip_prk, steps):
    scheduler, sigmas = vp_scheduler(schedulers.PNDMScheduler, steps, set_alpha_to_one=True, skip_prk_steps=skip_prk)
    expected = vp_sample(scheduler, mixture_denoiser, start(sigmas), sigmas[0])
    assert relative_error(ours(name, sigmas), expected) < FLOAT64


@pytest.mark.parametrize("steps", STEPS)
def test_ipndm(steps):
    """diffusers' works on v = α ε − σ x0 of a cosine schedule, whose levels are set to ours."""
    sigmas = to_zero(steps)
    scheduler = schedulers.IPNDMScheduler()
    scheduler.set_timesteps(steps)
    scheduler.alphas = (1 + sigmas**2).rsqrt()
    scheduler.betas = sigmas * scheduler.alphas
    x = start(sigmas) * scheduler.alphas[0]
    for timestep, sigma, alpha in zip(scheduler.timesteps, sigmas[:-1], scheduler.alphas[:-1], strict=True):
        x0 = mixture_denoiser(x / alpha, sigma)
        eps = (x / alpha - x0) / sigma
        x = scheduler.step(alpha * eps - sigma * alpha * x0, timestep, x).prev_sample
    assert relative_error(ours("ipndm", sigmas), x) < FLOAT64


def clamped(name, sigmas, **options):
    """Ours with every x0 within [−1, 1]; a quarter of the modes lies outside."""
    noise = ShardNoise(1, 0, (64, 3), F64)
    sampler = lookup(name).make(clamp=True, **options)
    return sampler.integrate(prepared(mixture_denoiser, sampler.clamp, sampler.afs), start(sigmas), sigmas, noise)


@pytest.mark.parametrize("steps", [10, 50])
def test_clamping_is_that_of_ddpm_and_ddim(steps):
    config = {"clip_sample": True, "clip_sample_range": 1.0}
    scheduler, sigmas = vp_scheduler(schedulers.DDPMScheduler, steps, variance_type="fixed_large", **config)
    with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", side_effect=fresh(steps)):
        expected = vp_sample(scheduler, mixture_denoiser, start(sigmas), sigmas[0])
    assert relative_error(clamped("ddpm", sigmas, variance="large"), expected) < FLOAT64
    scheduler, sigmas = vp_scheduler(schedulers.DDIMScheduler, steps, set_alpha_to_one=True, **config)
    consistent = {"use_clipped_model_output": [True] * steps}
    expected = vp_sample(scheduler, mixture_denoiser, start(sigmas), sigmas[0], **consistent)
    assert relative_error(clamped("ddim", sigmas), expected) < FLOAT64
    assert relative_error(ours("ddim", sigmas), expected) > 1e-2


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim(eta, steps):
    scheduler, sigmas = vp_scheduler(schedulers.DDIMScheduler, steps, set_alpha_to_one=True, clip_sample=False)
    noise = {"eta": [eta] * steps, "variance_noise": fresh(steps)} if eta else {}
    expected = vp_sample(scheduler, mixture_denoiser, start(sigmas), sigmas[0], **noise)
    assert relative_error(ours("ddim", sigmas, eta=eta), expected) < FLOAT64


@pytest.mark.parametrize("steps", [10, 50])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm(variance, steps):
    scheduler, sigmas = vp_scheduler(
        schedulers.DDPMScheduler, steps, variance_type=f"fixed_{variance}", clip_sample=False
    )
    with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", side_effect=fresh(steps)):
        expected = vp_sample(scheduler, mixture_denoiser, start(sigmas), sigmas[0])
    assert relative_error(ours("ddpm", sigmas, variance=variance), expected) < FLOAT64


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("plus", ["", "++"])
@pytest.mark.parametrize("falls", [True, False])
def test_dpm_solver_multistep(plus, order, steps, falls):
    config = {"algorithm_type": f"dpmsolver{plus}", "solver_order": order, "lower_order_final": falls}
    cases = [("sigma_min", sigmas) for sigmas in grids(steps)] + [("zero", to_zero(steps))] * (plus == "++")
    for end, sigmas in cases:
        expected = sigma_sample(
            schedulers.DPMSolverMultistepScheduler,
            mixture_denoiser,
            start(sigmas),
            sigmas,
            final_sigmas_type=end,
            **config,
        )
        found = ours(f"dpm-solver{plus}-{order}m", sigmas, lower_order_final=15 if falls else 0)
        assert relative_error(found, expected) < FLOAT32


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("plus", ["", "++"])
def test_dpm_solver_singlestep_of_order_2(plus, steps):
    for sigmas in grids(steps):
        middle = (sigmas[:-1] * sigmas[1:]).sqrt()
        visited = torch.cat([torch.stack([sigmas[:-1], middle], 1).flatten(), sigmas[-1:]])
        expected = sigma_sample(
            schedulers.DPMSolverSinglestepScheduler,
            mixture_denoiser,
            start(sigmas),
            visited,
            algorithm_type=f"dpmsolver{plus}",
            solver_order=2,
            lower_order_final=False,
            final_sigmas_type="sigma_min",
        )
        assert relative_error(ours(f"dpm-solver{plus}-2s", sigmas), expected) < FLOAT32


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("prediction", ["data", "noise"])
@pytest.mark.parametrize("falls", [True, False])
def test_unipc(order, variant, prediction, steps, falls):
    for sigmas in grids(steps):
        expected = sigma_sample(
            schedulers.UniPCMultistepScheduler,
            mixture_denoiser,
            start(sigmas),
            sigmas,
            solver_order=order,
            solver_type=variant,
            predict_x0=prediction == "data",
            lower_order_final=falls,
            final_sigmas_type="sigma_min",
        )
        options = {"order": order, "variant": variant, "prediction": prediction, "lower_order_final": falls}
        assert relative_error(ours("unipc", sigmas, **options), expected) < FLOAT64


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_in_log_rho(order, steps):
    for sigmas in grids(steps):
        expected = sigma_sample(
            schedulers.DEISMultistepScheduler, mixture_denoiser, start(sigmas), sigmas, solver_order=order
        )
        found = ours("deis", sigmas, order=order - 1, variable="log-rho", lower_order_final=15)
        assert relative_error(found, expected) < FLOAT64


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("variable, of", [("t", vp_time), ("rho", lambda s: s), ("log-rho", torch.log)])
def test_deis_weights_integrate_polynomials(variable, of, degree):
    """No scheduler of diffusers works in t or ρ: Σ C_j p(u_j) must be ∫ p(u(σ)) dσ, which SciPy integrates."""
    levels, sigma_next = torch.tensor([0.7, 1.3, 2.9, 8.0], dtype=F64)[: degree + 1], 0.2
    weights = DEIS(order=degree, variable=variable).weights(levels, torch.tensor(sigma_next, dtype=F64))
    for power in range(degree + 1):
        exact, _ = quad(lambda s, k=power: float(of(torch.tensor(s, dtype=F64)) ** k), float(levels[0]), sigma_next)
        assert math.isclose(float(weights @ of(levels) ** power), exact, rel_tol=1e-9)


@pytest.mark.parametrize("steps", STEPS)
def test_heun(steps):
    sigmas = to_zero(steps)
    expected = sigma_sample(schedulers.HeunDiscreteScheduler, mixture_denoiser, start(sigmas), sigmas, vp=False)
    assert relative_error(ours("heun", sigmas), expected) < FLOAT64


def test_what_is_first_order_is_ddim():
    for sigmas in grids(10):
        expected = ours("ddim", sigmas)
        for name, options in [("dpm-solver-1", {}), ("deis", {"order": 0})]:
            assert relative_error(ours(name, sigmas, **options), expected) < FLOAT64


def test_ddim_with_eta_1_is_ddpm():
    sigmas = to_zero(10)
    assert relative_error(ours("ddim", sigmas, eta=1.0), ours("ddpm", sigmas)) < FLOAT64
