"""ScoreSDE's and EDM's files, written here tensor by tensor, against diffusers' NCSN++ and the papers' formulas.

The original libraries themselves are compared in test_published_originals.py.
"""

import math
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from benchmark.networks.published import denoiser_hash, open_denoiser
from benchmark.networks.published.score_unet import Block, InputSkip, Output, ScoreUNet, ScoreUNetConfig
from tests.benchmark.networks.edm_pickles import Persistent
from tests.oracles import denoiser_error


def normal(*shape, scale=0.1):
    return torch.randn(*shape) * scale


def save_score_sde(file, modules, extra=()):
    """A training state of ScoreSDE: ``modules`` are the averages, the raw weights are others."""
    state = {"module.sigmas": torch.linspace(math.log(50), math.log(0.01), 1000, dtype=torch.float64).exp()}
    named = [(f"module.all_modules.{k}.{name}", t) for k, module in enumerate(modules) for name, t in module.items()]
    frozen = named[0][0] if named[0][0].endswith(".W") and named[0][1].dim() == 1 else ""
    state |= {name: tensor if name == frozen else tensor + 1 for name, tensor in named}
    average = [tensor for name, tensor in named if name != frozen]
    optimizer = {"state": {}, "param_groups": [{"lr": np.float64(2e-4)}]}  # their warm-up leaves numpy's numbers
    ema = {"decay": 0.999, "num_updates": 7, "shadow_params": average}
    torch.save({"optimizer": optimizer, "model": state, "ema": ema, "step": 7, **dict(extra)}, file)


def layer(module, prefix=""):
    return {f"{prefix}weight": module.weight.detach(), f"{prefix}bias": module.bias.detach()}


def nins(*weights_and_biases):
    pairs = enumerate(weights_and_biases)
    return {k: v for i, (w, b) in pairs for k, v in ((f"NIN_{i}.W", w.detach().T), (f"NIN_{i}.b", b.detach()))}


def from_diffusers(unet):
    """The list of modules of ScoreSDE's NCSN++ from diffusers' network of the same architecture."""

    def block(r):
        parts = {"GroupNorm_0": r.norm1, "Conv_0": r.conv1, "Dense_0": r.time_emb_proj, "GroupNorm_1": r.norm2}
        parts |= {"Conv_1": r.conv2} | ({"Conv_2": r.conv_shortcut} if r.conv_shortcut is not None else {})
        return {k: v for name, part in parts.items() for k, v in layer(part, f"{name}.").items()}

    def attention(a):
        projections = (a.to_q, a.to_k, a.to_v, a.to_out[0])
        return layer(a.group_norm, "GroupNorm_0.") | nins(*((p.weight, p.bias) for p in projections))

    mid, modules = unet.mid_block, [{"W": unet.time_proj.weight.detach()}]
    modules += [layer(unet.time_embedding.linear_1), layer(unet.time_embedding.linear_2), layer(unet.conv_in)]
    for down in unet.down_blocks:
        for k, resnet in enumerate(down.resnets):
            modules += [block(resnet)] + ([attention(down.attentions[k])] if hasattr(down, "attentions") else [])
        if down.resnet_down is not None:
            modules += [block(down.resnet_down), layer(down.skip_conv, "Conv_0.")]
    modules += [block(mid.resnets[0]), attention(mid.attentions[0]), block(mid.resnets[1])]
    for up in unet.up_blocks:
        modules += [block(resnet) for resnet in up.resnets]
        modules += [attention(up.attentions[0])] if hasattr(up, "attentions") else []
        if up.resnet_up is not None:
            modules += [layer(up.skip_norm), layer(up.skip_conv), block(up.resnet_up)]
    return [*modules, layer(unet.conv_norm_out), layer(unet.conv_out)]


@pytest.fixture(scope="module")
def ncsnpp():
    """NCSN++ with pyramids on both sides (Song et al. 2021, LSUN and CelebA-HQ), small, by diffusers."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        time_embedding_type="fourier",
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D", "SkipDownBlock2D"),
        up_block_types=("SkipUpBlock2D", "AttnSkipUpBlock2D", "SkipUpBlock2D"),
        block_out_channels=(32, 128, 128),
        layers_per_block=1,
        mid_block_scale_factor=math.sqrt(2),
        attention_head_dim=None,
        norm_num_groups=None,
        norm_eps=1e-6,
    ).eval()


def assert_denoises_as(unet, denoiser):
    for sigma in (0.05, 1.0, 70.0):
        x = normal(2, 3, 16, 16, scale=1 + sigma)
        score = unet(x, torch.full((2,), sigma / 2)).sample  # of images in [0, 1], where sigma is half of ours
        assert denoiser_error(denoiser, x, sigma, x + sigma * sigma / 2 * score) < 1e-4


@torch.no_grad()
def test_ncsnpp_files_of_score_sde_give_the_score_that_diffusers_does(ncsnpp, tmp_path):
    save_score_sde(tmp_path / "checkpoint_24.pth", from_diffusers(ncsnpp))
    denoiser = open_denoiser(tmp_path / "checkpoint_24.pth")
    assert (denoiser.sigma_min, denoiser.sigma_max) == pytest.approx((0.02, 100))
    assert_denoises_as(ncsnpp, denoiser)


def edm_tensors(network, side):
    """The tensors of a network by EDM's names."""
    names = {"mapping.0": "map_layer0", "mapping.2": "map_layer1", "freqs": "map_noise.freqs"}
    count = 0
    for part, steps in (("enc", network.enc), ("dec", network.dec)):
        for k, step in enumerate(steps):
            if isinstance(step, Block) and not isinstance(step.resample, torch.nn.Identity):
                side, count = (side * 2, 0) if step.resample.up else (side // 2, 0)
                kind = "up" if step.resample.up else "down"
            elif isinstance(step, Block) and (part == "enc" or k > 1):
                kind, count = f"block{count}", count + 1
            else:
                kind, count = f"in{k}" if isinstance(step, Block) else "conv", 0
            names[f"{part}.{k}"] = f"{part}.{side}x{side}_{kind}"
            if isinstance(step, InputSkip):
                names[f"{part}.{k}.conv"] = f"{part}.{side}x{side}_aux_{'residual' if step.residual else 'skip'}"
            elif isinstance(step, Output):
                names |= {f"{part}.{k}.{leaf}": f"{part}.{side}x{side}_aux_{leaf}" for leaf in ("norm", "conv")}
    found = {}
    for name, tensor in network.state_dict().items():
        ours = max((known for known in names if f"{name}.".startswith(f"{known}.")), key=len)
        found[names[ours] + name.removeprefix(ours)] = tensor
    return found


def as_module(class_name, tensors, **attributes):
    """A tree of persistent modules that holds tensors under dotted names."""
    children = {}
    for name, tensor in tensors.items():
        first, _, rest = name.partition(".")
        children.setdefault(first, {})[rest] = tensor
    own = OrderedDict((name, torch.nn.Parameter(t[""])) for name, t in children.items() if "" in t)
    modules = {name: as_module("Conv2d", t, skip_scale=np.sqrt(0.5)) for name, t in children.items() if "" not in t}
    for name in modules.keys() & {"enc", "dec"}:
        plain = torch.nn.ModuleDict()  # the one kind of module that is PyTorch's own in these files
        plain._modules = modules[name].meta["state"]["_modules"]
        modules[name] = plain
    return Persistent(class_name, _parameters=own, _buffers={"none": None}, _modules=modules, **attributes)


def save_edm(file, network, kind, side=16, **options):
    """A snapshot of EDM's training with ``network`` in a preconditioning of class ``kind``."""
    tensors = {**edm_tensors(network, side), "map_augment.weight": normal(8, 9)}
    options = {"img_resolution": side, "in_channels": 3, "out_channels": 3, **options}
    model = as_module("SongUNet", tensors, _init_args=(), _init_kwargs=options)
    ema = Persistent(kind, _parameters={}, _modules={"model": model}, img_resolution=side, label_dim=0, sigma_data=0.5)
    file.write_bytes(pickle.dumps({"ema": ema, "loss_fn": Persistent("EDMLoss"), "dataset_kwargs": {}}))


@torch.no_grad()
def test_ncsnpp_pickles_of_edm_give_the_score_that_diffusers_does(ncsnpp, tmp_path, edm_library):
    save_score_sde(tmp_path / "a.pth", from_diffusers(ncsnpp))
    options = {"model_channels": 32, "channel_mult": [1, 4, 4], "num_blocks": 1, "attn_resolutions": [8]}
    options |= {"embedding_type": "fourier", "channel_mult_noise": 2, "resample_filter": [1, 3, 3, 1]}
    options |= {"encoder_type": "skip", "decoder_type": "skip"}
    save_edm(tmp_path / "a.pkl", open_denoiser(tmp_path / "a.pth").network, "VEPrecond", **options)
    denoiser = open_denoiser(tmp_path / "a.pkl")
    assert (denoiser.sigma_min, denoiser.sigma_max) == (0.02, 100)
    assert_denoises_as(ncsnpp, denoiser)


TINY = {"model_channels": 16, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8]}


def tiny_network():
    torch.manual_seed(1)
    config = ScoreUNetConfig((16, 32), (False, True), 1, stem=16, noise_channels=16, embedding=64)
    return ScoreUNet(config).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["EDMPrecond", "VPPrecond"])
def test_preconditioning_is_that_of_the_paper(kind, tmp_path, edm_library):
    network = tiny_network()
    save_edm(tmp_path / "a.pkl", network, kind, **TINY)
    denoiser = open_denoiser(tmp_path / "a.pkl")
    for sigma in (0.02, 0.5, 40.0):
        x = normal(2, 3, 16, 16, scale=1 + sigma)
        if kind == "EDMPrecond":  # Karras et al. 2022, table 1
            total = sigma**2 + 0.25
            inner = network(x / total**0.5, torch.full((2,), math.log(sigma) / 4))
            expected = 0.25 / total * x + sigma * 0.5 / total**0.5 * inner
        else:
            t = (math.sqrt(0.1**2 + 2 * 19.9 * math.log(1 + sigma**2)) - 0.1) / 19.9
            expected = x - sigma * network(x / (1 + sigma**2) ** 0.5, torch.full((2,), 999 * t))
        assert denoiser_error(denoiser, x, sigma, expected) < 1e-4


def score_sde_modules(network):
    """The list of modules of ScoreSDE's DDPM++ from a network without pyramids."""
    modules = [layer(network.mapping[0]), layer(network.mapping[2])]
    for step in [*network.enc, *network.dec]:
        if isinstance(step, Output):
            modules += [layer(step.norm), layer(step.conv)]
        elif not isinstance(step, Block):
            modules.append(layer(step))
        else:
            parts = {"GroupNorm_0": step.norm0, "Conv_0": step.conv0, "Dense_0": step.affine}
            parts |= {"GroupNorm_1": step.norm1, "Conv_1": step.conv1}
            parts |= {"Conv_2": step.skip} if isinstance(step.skip, torch.nn.Conv2d) else {}
            modules.append({k: v for name, part in parts.items() for k, v in layer(part, f"{name}.").items()})
            if step.attention:
                weights = [step.qkv.weight[k::3, :, 0, 0] for k in range(3)] + [step.proj.weight[:, :, 0, 0]]
                biases = [step.qkv.bias[k::3] for k in range(3)] + [step.proj.bias]
                modules.append(layer(step.norm2, "GroupNorm_0.") | nins(*zip(weights, biases, strict=True)))
    return modules


@torch.no_grad()
def test_process_of_a_score_sde_file_is_stated_behind_a_hash_sign(tmp_path):
    network, file = tiny_network(), tmp_path / "checkpoint_8.pth"
    save_score_sde(file, score_sde_modules(network))
    t = 0.4  # Song et al. 2021, appendix C: mean alpha x0, deviation of VP and of sub-VP
    alpha = math.exp(-0.25 * t**2 * 19.9 - 0.05 * t)
    for process, deviation in (("", (1 - alpha**2) ** 0.5), ("#vp", (1 - alpha**2) ** 0.5), ("#subvp", 1 - alpha**2)):
        sigma = deviation / alpha
        x = normal(2, 3, 16, 16, scale=1 + sigma)
        expected = x - sigma * network(alpha * x, torch.full((2,), 999 * t))
        assert denoiser_error(open_denoiser(f"{file}{process}"), x, sigma, expected) < 1e-4
    x, sigma = normal(2, 3, 16, 16, scale=3), 100 * (0.02 / 100) ** (250 / 999)  # the 250th of 1,000 levels, downwards
    expected = x + sigma * network(x, torch.full((2,), 250.0))
    assert denoiser_error(open_denoiser(f"{file}#ve"), x, sigma, expected) < 1e-4
    assert len({denoiser_hash(f"{file}{process}") for process in ("", "#vp", "#subvp", "#ve")}) == 4
