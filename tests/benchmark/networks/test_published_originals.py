"""Published formats against the libraries that wrote them: the same file through ours and through theirs.

Weights are random, files are written by the originals' own code; tests.originals says where that is looked for.
"""

import copy
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmark.networks.published import open_denoiser
from tests.oracles import denoiser_error
from tests.originals import ROOT, cast, noisy, original, shaken, sizes, spaces

PRECISIONS = {torch.float32: (1e-4, (0, 400, 999)), torch.float64: (1e-12, (0,))}
"""Largest relative difference that is allowed, and the steps of DDPM's chain to look at: in float64 the first alone,
where the time embedding is exact, which the originals compute in float32."""
pytestmark = pytest.mark.skipif(not ROOT, reason="DPMOT_ORACLES, a folder with clones of the originals, is not set")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


DDIM = {
    "small": (16, {"ch": 32, "ch_mult": [1, 2, 3], "num_res_blocks": 1, "attn_resolutions": [8]}),
    "cifar10": (32, {"ch": 128, "ch_mult": [1, 2, 2, 2], "num_res_blocks": 2, "attn_resolutions": [16]}),
    "celeba": (64, {"ch": 128, "ch_mult": [1, 2, 2, 2, 4], "num_res_blocks": 2, "attn_resolutions": [16]}),
    "lsun": (256, {"ch": 128, "ch_mult": [1, 1, 2, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [16]}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", sizes(DDIM))
def test_ddim(name, tmp_path, record_property):
    side, options = DDIM[name]
    model = {"type": "simple", "in_channels": 3, "out_ch": 3, "dropout": 0.1, "resamp_with_conv": True, **options}
    config = spaces(data={"image_size": side}, diffusion={"num_diffusion_timesteps": 1000}, model=model)
    with original("ddim") as load:
        network = shaken(load("models.diffusion").Model(config))
        helper = load("models.ema").EMAHelper()
        helper.register(network)
        raw = shaken(load("models.diffusion").Model(config), seed=7)
        state = {f"module.{key}": tensor for key, tensor in raw.state_dict().items()}
        torch.save([state, torch.optim.Adam(raw.parameters()).state_dict(), 1, 2, helper.state_dict()], tmp_path / "a")
        denoiser = open_denoiser(tmp_path / "a")
        alphas = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
        for dtype, (tolerance, steps) in PRECISIONS.items():
            network, denoiser = cast(network, dtype), denoiser.to(dtype)
            for step in steps:
                sigma = (1 / alphas[step] - 1).sqrt()
                x = noisy(1, side, sigma)
                epsilon = network((x * alphas[step].sqrt()).to(dtype), torch.tensor([step]))
                error = denoiser_error(denoiser, x, sigma, x - sigma * epsilon)
                record_property(f"{dtype} step {step}", error)
                assert error < tolerance


SONG = {
    "model_type": "SongUNet",
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_blocks": 2,
    "attn_resolutions": [8],
}
DDPMPP = {"model_type": "SongUNet", "model_channels": 128, "channel_mult": [2, 2, 2]}
NCSNPP = {
    "embedding_type": "fourier",
    "channel_mult_noise": 2,
    "encoder_type": "residual",
    "resample_filter": [1, 3, 3, 1],
}
EDM = {  # class of the preconditioning, side, options
    "small edm vp": ("EDMPrecond", 16, SONG | {"augment_dim": 9}),
    "small edm ve": ("EDMPrecond", 16, SONG | NCSNPP),
    "small vp": ("VPPrecond", 16, SONG),
    "small ve": ("VEPrecond", 16, SONG | NCSNPP),
    "small skip": ("VEPrecond", 16, SONG | NCSNPP | {"encoder_type": "skip", "decoder_type": "skip"}),
    "small adm": ("EDMPrecond", 16, SONG | {"model_type": "DhariwalUNet", "model_channels": 64}),
    "cifar10 vp": ("EDMPrecond", 32, DDPMPP | {"augment_dim": 9}),
    "cifar10 ve": ("EDMPrecond", 32, DDPMPP | NCSNPP | {"augment_dim": 9}),
    "ffhq vp": ("EDMPrecond", 64, DDPMPP | {"channel_mult": [1, 2, 2, 2], "augment_dim": 9}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", sizes(EDM))
def test_edm(name, tmp_path, record_property, monkeypatch):
    kind, side, options = EDM[name]
    with original("edm") as load:
        library, loss = load("training.networks"), load("training.loss")
        augment = load("training.augment").AugmentPipe(p=0.12, xflip=1e8, yflip=1, scale=1)
        network = shaken(getattr(library, kind)(img_resolution=side, img_channels=3, label_dim=0, **options))
        snapshot = {
            "ema": network,
            "loss_fn": loss.EDMLoss(),
            "augment_pipe": augment,
            "dataset_kwargs": {"class_name": "training.dataset.ImageFolderDataset"},
        }
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(snapshot))
        if kind == "VPPrecond":  # in float32 theirs loses digits of t where sigma is small
            network.sigma_inv = lambda sigma: type(network).sigma_inv(network, sigma.double())
        denoiser = open_denoiser(tmp_path / "a.pkl")
        for sigma in torch.tensor([0.02, 0.7, 50.0], dtype=torch.float64):
            x = noisy(2, side, sigma).float()
            error = denoiser_error(denoiser, x, sigma, network(x, sigma))
            record_property(f"D at {sigma}", error)
            assert error < 1e-4
        # The network alone in float64, which theirs does but for attention weights and all embeddings but that of 0.
        weights = SimpleNamespace(apply=lambda q, k: (q.mT @ k / math.sqrt(q.shape[1])).softmax(2))
        monkeypatch.setattr(library, "AttentionOp", weights)
        x, label = noisy(2, side, 1.0), torch.zeros(2, dtype=torch.float64)
        expected = network.model.double()(x, label, None)
        error = float((denoiser.network.double()(x, label) - expected).abs().max() / expected.abs().max())
        record_property("F in float64", error)
        assert error < 1e-10


SMALL = {"nf": 32, "ch_mult": (1, 2, 2), "num_res_blocks": 1, "attn_resolutions": (8,)}
CIFAR10 = {"nf": 128, "ch_mult": (1, 2, 2, 2), "num_res_blocks": 4, "attn_resolutions": (16,)}
RESIDUAL = {"fir": True, "progressive_input": "residual"}
PYRAMIDS = {"fir": True, "progressive_input": "input_skip", "progressive": "output_skip"}
SCORE_SDE = {  # side, process, continuous, options
    "small vp": (16, "vp", True, SMALL),
    "small subvp": (16, "subvp", True, SMALL),
    "small vp-discrete": (16, "vp-discrete", False, SMALL),
    "small vp residual": (16, "vp", True, SMALL | RESIDUAL),
    "small ve": (16, "ve", True, SMALL | RESIDUAL),
    "small ve discrete": (16, "ve", False, SMALL | RESIDUAL),
    "small ve pyramids": (16, "ve", True, SMALL | PYRAMIDS),
    "cifar10 ddpm++": (32, "vp", True, CIFAR10),
    "cifar10 ncsn++": (32, "ve", True, CIFAR10 | RESIDUAL),
}


BLOCKS = {"conditional": True, "normalization": "GroupNorm", "nonlinearity": "swish", "dropout": 0.1}
BLOCKS |= {"resblock_type": "biggan", "resamp_with_conv": True, "skip_rescale": True, "init_scale": 0.0}
BLOCKS |= {"attention_type": "ddpm", "conv_size": 3, "fir": False, "fir_kernel": [1, 3, 3, 1], "fourier_scale": 16}
BLOCKS |= {"progressive": "none", "progressive_input": "none", "progressive_combine": "sum"}
PROCESS = {"sigma_min": 0.01, "sigma_max": 50, "num_scales": 1000, "beta_min": 0.1, "beta_max": 20.0}


def score_sde_network(load, side, process, continuous, options):
    """Theirs, and their process and wrapper that turns its output into a score."""
    ve = process == "ve"
    model = BLOCKS | PROCESS | options
    model |= {"embedding_type": "fourier" if ve and continuous else "positional", "scale_by_sigma": ve}
    data = {"image_size": side, "num_channels": 3, "centered": not ve}
    utils, library, processes = load("models.utils"), load("models.ncsnpp"), load("sde_lib")
    network = shaken(library.NCSNpp(spaces(data=data, model=model, training={"continuous": continuous})))
    kind = {"ve": processes.VESDE, "subvp": processes.subVPSDE}.get(process, processes.VPSDE)
    sde = kind(N=1000)
    if process == "vp-discrete":  # theirs is in float32, which loses digits where it is small
        sde.sqrt_1m_alphas_cumprod = (1 - (1 - sde.discrete_betas.double()).cumprod(0)).sqrt()
    return network, sde, utils.get_score_fn


def write_score_sde(load, network, file):
    """A checkpoint as their `save_checkpoint` writes it: averages beside raw weights; numpy's numbers in it."""
    averages = load("models.ema").ExponentialMovingAverage(network.parameters(), decay=0.999).state_dict()
    raw = {f"module.{k}": v for k, v in shaken(copy.deepcopy(network), seed=7).state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters())
    optimizer.param_groups[0]["lr"] = 2e-4 * np.minimum(7 / 5000, 1.0)
    torch.save({"optimizer": optimizer.state_dict(), "model": raw, "ema": averages, "step": 7}, file)


@torch.no_grad()
@pytest.mark.parametrize("name", sizes(SCORE_SDE))
def test_score_sde(name, tmp_path, record_property, monkeypatch):
    side, process, continuous, options = SCORE_SDE[name]
    monkeypatch.setattr("torch.utils.cpp_extension.load", lambda *_, **__: None)  # its kernel is for CUDA alone
    with original("score_sde_pytorch") as load:
        network, sde, wrapper = score_sde_network(load, side, process, continuous, options)
        write_score_sde(load, network, tmp_path / "a.pth")
        stated = "" if continuous and "residual" not in name and process in ("vp", "ve") else f"#{process}"
        denoiser = open_denoiser(f"{tmp_path / 'a.pth'}{stated}")
        score_of = wrapper(sde, network, continuous=continuous)
        cast(network, torch.float32)
        for step in (1, 333, 999):  # whole steps of the discrete ones; times are float64, theirs lose digits at small t
            t = step / 999
            time = torch.full((2,), t, dtype=torch.float64)
            if process == "ve":  # in [0, 1]: x0 = x + sigma^2 score, as ours is in [-1, 1] with twice the sigma
                sigma = sde.marginal_prob(torch.zeros(2, 3, side, side), time)[1][0]
                x = noisy(2, side, 2 * sigma)
                unit = (x + 1) / 2
                expected = 2 * (unit + sigma**2 * score_of(unit.float(), time.clone())) - 1
                error = denoiser_error(denoiser, x, 2 * sigma, expected)
            else:  # x_t = alpha (x0 + sigma n), std = alpha sigma; x0 = (x_t + std^2 score) / alpha
                alpha, std = levels(sde, process, t)
                x = noisy(2, side, std / alpha)
                score = score_of((x * alpha).float(), time.clone()).double()
                error = denoiser_error(denoiser, x, std / alpha, x + std**2 / alpha * score)
            record_property(f"D at step {step}", error)
            assert error < 1e-4
        # The network alone in float64, where the noise's embedding is exact: label 0, or for theirs a sigma of 1.
        monkeypatch.setattr(load("models.up_or_down_sampling"), "_setup_kernel", lambda k: np.outer(k, k) / sum(k) ** 2)
        x, label = noisy(2, side, 1.0), torch.zeros(2)
        theirs = cast(network, torch.float64)
        if network.embedding_type == "fourier":
            expected = theirs((x + 1) / 2, label.double() + 1)
        elif process == "ve":
            expected = theirs((x + 1) / 2, label) * 50
        else:
            expected = theirs(x, label)
        error = float((denoiser.network.double()(x, label) - expected).abs().max() / expected.abs().max())
        record_property("F in float64", error)
        assert error < 1e-10


def levels(sde, process, t):
    """Scale and deviation of the state at time t, float64, by the formulas of Song et al. 2021, appendix C."""
    if process == "vp-discrete":
        alpha = float((1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)[round(999 * t)]) ** 0.5
        return alpha, (1 - alpha**2) ** 0.5
    alpha = math.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
    return alpha, 1 - alpha**2 if process == "subvp" else (1 - alpha**2) ** 0.5


NCSNV2 = {  # class, width, side, levels
    "small": ("NCSNv2", 16, 16, (50, 232)),
    "small deeper": ("NCSNv2Deeper", 16, 32, (140, 788)),
    "small deepest": ("NCSNv2Deepest", 16, 32, (348, 2311)),
    "cifar10": ("NCSNv2", 128, 32, (50, 232)),
    "celeba": ("NCSNv2", 128, 64, (90, 500)),
    "lsun": ("NCSNv2Deeper", 128, 64, (140, 788)),
}


@torch.no_grad()
@pytest.mark.parametrize("averaged", [True, False], ids=["averaged", "raw"])
@pytest.mark.parametrize("name", sizes(NCSNV2))
def test_ncsnv2(name, averaged, tmp_path, record_property, request):
    kind, width, side, (sigma_begin, num_classes) = NCSNV2[name]
    model = {"sigma_begin": sigma_begin, "sigma_end": 0.01, "num_classes": num_classes, "sigma_dist": "geometric"}
    model |= {"normalization": "InstanceNorm++", "nonlinearity": "elu", "ngf": width, "spec_norm": False}
    data = {"logit_transform": False, "rescaled": False, "channels": 3, "image_size": side}
    config = spaces(data=data, model=model, device="cpu")
    with original("ncsnv2") as load:
        make = getattr(load("models.ncsnv2"), kind)
        network, raw = shaken(make(config)), shaken(make(config), seed=7)
        helper = load("models.ema").EMAHelper()
        helper.register(network)
        model_state = {f"module.{k}": v for k, v in (raw if averaged else network).state_dict().items()}
        states = [model_state, torch.optim.Adam(raw.parameters()).state_dict(), 1, 2]
        torch.save(states + [helper.state_dict()] * averaged, tmp_path / "a.pth")
        denoiser = open_denoiser(tmp_path / "a.pth")
        assert denoiser.sigma_max == pytest.approx(2 * sigma_begin) and denoiser.sigma_min == pytest.approx(0.02)
        for dtype, tolerance in {torch.float32: 1e-4, torch.float64: 1e-10}.items():
            network, denoiser = network.to(dtype), denoiser.to(dtype)
            request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
            torch.set_default_dtype(dtype)  # theirs sums into torch.zeros
            for label in (0, num_classes // 2, num_classes - 1):
                sigma = network.sigmas[label].double()
                x = noisy(2, side, 2 * sigma)
                unit = ((x + 1) / 2).to(dtype)
                x = unit.double() * 2 - 1
                score = network(unit, torch.tensor([label, label])).double()
                error = denoiser_error(denoiser, x, 2 * sigma, 2 * (unit.double() + sigma**2 * score) - 1)
                record_property(f"{dtype} level {label}", error)
                assert error < tolerance
