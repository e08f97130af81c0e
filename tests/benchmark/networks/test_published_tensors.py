"""DDIM's and NCSNv2's files: what is read gives what a forward pass straight from the named tensors gives.

The original libraries themselves are compared in test_published_originals.py.
"""

import math
from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F

from benchmark.networks.published import open_denoiser
from tests.oracles import denoiser_error


def normal(*shape, scale=0.1):
    return torch.randn(*shape) * scale


def ddpm_state(width, multiples, blocks, attention):
    """Random tensors of Ho et al.'s U-Net (2020, appendix B) under their names."""
    state = {}

    def layer(name, *shape):
        state[f"{name}.weight"], state[f"{name}.bias"] = normal(*shape), normal(shape[0])

    def norm(name, channels):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + normal(channels), normal(channels)

    def block(name, c_in, c_out):
        norm(f"{name}.norm1", c_in)
        layer(f"{name}.conv1", c_out, c_in, 3, 3)
        layer(f"{name}.temb_proj", c_out, 4 * width)
        norm(f"{name}.norm2", c_out)
        layer(f"{name}.conv2", c_out, c_out, 3, 3)
        if c_in != c_out:
            layer(f"{name}.nin_shortcut", c_out, c_in, 1, 1)

    def attend(name, channels):
        norm(f"{name}.norm", channels)
        for part in ("q", "k", "v", "proj_out"):
            layer(f"{name}.{part}", channels, channels, 1, 1)

    layer("temb.dense.0", 4 * width, width)
    layer("temb.dense.1", 4 * width, 4 * width)
    layer("conv_in", width, 3, 3, 3)
    skips, at = [width], width
    for level, multiple in enumerate(multiples):
        for k in range(blocks):
            block(f"down.{level}.block.{k}", at, width * multiple)
            at = width * multiple
            skips.append(at)
            if level in attention:
                attend(f"down.{level}.attn.{k}", at)
        if level < len(multiples) - 1:
            layer(f"down.{level}.downsample.conv", at, at, 3, 3)
            skips.append(at)
    block("mid.block_1", at, at)
    attend("mid.attn_1", at)
    block("mid.block_2", at, at)
    for level, multiple in reversed(list(enumerate(multiples))):
        for k in range(blocks + 1):
            block(f"up.{level}.block.{k}", at + skips.pop(), width * multiple)
            at = width * multiple
            if level in attention:
                attend(f"up.{level}.attn.{k}", at)
        if level:
            layer(f"up.{level}.upsample.conv", at, at, 3, 3)
    norm("norm_out", at)
    layer("conv_out", 3, at, 3, 3)
    return state


def ddpm_forward(state, x, t):
    """ε of Ho et al.'s U-Net at step t, from its tensors."""

    def conv(name, h, **options):
        return F.conv2d(h, state[f"{name}.weight"], state[f"{name}.bias"], **options)

    def dense(name, h):
        return F.linear(h, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name, h):
        return F.group_norm(h, 32, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    def block(name, h):
        inner = conv(f"{name}.conv1", F.silu(norm(f"{name}.norm1", h)), padding=1)
        inner = inner + dense(f"{name}.temb_proj", F.silu(embedding))[:, :, None, None]
        inner = conv(f"{name}.conv2", F.silu(norm(f"{name}.norm2", inner)), padding=1)
        return inner + (conv(f"{name}.nin_shortcut", h) if f"{name}.nin_shortcut.weight" in state else h)

    def attend(name, h):
        if f"{name}.q.weight" not in state:
            return h
        q, k, v = (conv(f"{name}.{part}", norm(f"{name}.norm", h)).flatten(2) for part in "qkv")
        weights = torch.einsum("bci,bcj->bij", q, k).div(math.sqrt(h.shape[1])).softmax(-1)
        return h + conv(f"{name}.proj_out", torch.einsum("bij,bcj->bci", weights, v).view_as(h))

    half = state["temb.dense.0.weight"].shape[1] // 2
    angles = t * torch.exp(-math.log(10000) / (half - 1) * torch.arange(half))[None]
    embedding = dense("temb.dense.0", torch.cat([angles.sin(), angles.cos()], 1))
    embedding = dense("temb.dense.1", F.silu(embedding))
    skips, level = [conv("conv_in", x, padding=1)], 0
    while f"down.{level}.block.0.conv1.weight" in state:
        k = 0
        while f"down.{level}.block.{k}.conv1.weight" in state:
            skips.append(attend(f"down.{level}.attn.{k}", block(f"down.{level}.block.{k}", skips[-1])))
            k += 1
        if f"down.{level}.downsample.conv.weight" in state:
            skips.append(conv(f"down.{level}.downsample.conv", F.pad(skips[-1], (0, 1, 0, 1)), stride=2))
        level += 1
    h = block("mid.block_2", attend("mid.attn_1", block("mid.block_1", skips[-1])))
    for at in reversed(range(level)):
        for j in range(k + 1):
            h = attend(f"up.{at}.attn.{j}", block(f"up.{at}.block.{j}", torch.cat([h, skips.pop()], 1)))
        if at:
            h = conv(f"up.{at}.upsample.conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3), padding=1)
    return conv("conv_out", F.silu(norm("norm_out", h)), padding=1)


@torch.no_grad()
@pytest.mark.parametrize("layout", ["training state", "converted", "legacy"])
def test_ddpm_files_give_the_noise_that_their_tensors_do(layout, tmp_path):
    pytest.importorskip("diffusers")
    torch.manual_seed(0)
    state, raw = (ddpm_state(32, (1, 2, 3), 2, attention=(1,)) for _ in range(2))
    if layout == "training state":
        prefixed = OrderedDict((f"module.{name}", tensor) for name, tensor in raw.items())
        torch.save([prefixed, {"state": {}, "param_groups": []}, 3, 500, state], tmp_path / "ckpt.pth")
    else:
        torch.save(state, tmp_path / "ckpt.pth", _use_new_zipfile_serialization=layout == "converted")
    denoiser = open_denoiser(tmp_path / "ckpt.pth")
    alphas = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    assert denoiser.sigma_max == pytest.approx(float((1 / alphas[-1] - 1).sqrt()))
    for step in (0, 41, 999):
        sigma = (1 / alphas[step] - 1).sqrt()
        x = normal(2, 3, 16, 16, scale=1) * (1 + sigma)
        epsilon = ddpm_forward(state, (x * alphas[step].sqrt()).float(), step)
        assert denoiser_error(denoiser, x, sigma, x - sigma * epsilon) < 1e-4


def test_ddpm_layout_has_the_published_number_of_parameters():
    with torch.device("meta"):
        cifar10 = ddpm_state(128, (1, 2, 2, 2), 2, attention=(1,))
        lsun = ddpm_state(128, (1, 1, 2, 2, 4, 4), 2, attention=(4,))
    for state, millions in ((cifar10, 35.7), (lsun, 114)):  # Ho et al. 2020, appendix B
        assert sum(t.numel() for t in state.values()) == pytest.approx(millions * 1e6, rel=5e-3)


def ncsnv2_state(width):
    """Random tensors of the NCSNv2 of CIFAR-10 and CelebA (Song & Ermon 2020) under their names."""
    state = {"sigmas": torch.linspace(math.log(50), math.log(0.01), 232).exp()}

    def conv(name, c_out, c_in, side=3, bias=True):
        state[f"{name}.weight"] = normal(c_out, c_in, side, side)
        state.update({f"{name}.bias": normal(c_out)} if bias else {})

    def norm(name, channels):
        state.update({f"{name}.{leaf}": (leaf != "beta") + normal(channels) for leaf in ("alpha", "gamma", "beta")})

    conv("begin_conv", width, 3)
    norm("normalizer", width)
    conv("end_conv", 3, width)
    for stage, c_in, c_out in ((1, 1, 1), (2, 1, 2), (3, 2, 2), (4, 2, 2)):
        for k, first in ((0, c_in * width), (1, c_out * width)):
            down, pool = k == 0 and stage > 1, ".conv" if k == 0 and stage == 2 else ""
            norm(f"res{stage}.{k}.normalize1", first)
            norm(f"res{stage}.{k}.normalize2", first)
            conv(f"res{stage}.{k}.conv1", first, first)
            conv(f"res{stage}.{k}.conv2{pool}", c_out * width, first)
            if down:
                conv(f"res{stage}.{k}.shortcut{pool}", c_out * width, first, side=1 if pool else 3)
    for stage, inputs, c_in, c_out in ((1, 1, 2, 2), (2, 2, 2, 2), (3, 2, 2, 1), (4, 2, 1, 1)):
        for i in range(inputs):
            for unit in ("1_1", "1_2", "2_1", "2_2"):
                conv(f"refine{stage}.adapt_convs.{i}.{unit}_conv", c_in * width, c_in * width, bias=False)
            if inputs > 1:
                conv(f"refine{stage}.msf.convs.{i}", c_out * width, c_in * width)
        for k in range(2):
            conv(f"refine{stage}.crp.convs.{k}", c_out * width, c_out * width, bias=False)
        for unit in range(1, 4 if stage == 4 else 2):
            for k in (1, 2):
                conv(f"refine{stage}.output_convs.{unit}_{k}_conv", c_out * width, c_out * width, bias=False)
    return state


def ncsnv2_forward(state, x):
    """Sigma times the score of images in [0, 1] plus noise, from the tensors of NCSNv2."""

    def conv(name, h, **options):
        return F.conv2d(h, state[f"{name}.weight"], state.get(f"{name}.bias"), **{"padding": 1, **options})

    def norm(name, h):
        alpha, gamma, beta = (state[f"{name}.{leaf}"][:, None, None] for leaf in ("alpha", "gamma", "beta"))
        means, variances = h.mean((2, 3), keepdim=True), h.var((2, 3), unbiased=False, keepdim=True)
        kept = (means - means.mean(1, keepdim=True)) / (means.var(1, keepdim=True) + 1e-5).sqrt()
        return gamma * ((h - means) / (variances + 1e-5).sqrt() + alpha * kept) + beta

    def residual(name, h, dilation, pool):
        spread = {"padding": dilation, "dilation": dilation}
        inner = conv(f"{name}.conv1", F.elu(norm(f"{name}.normalize1", h)), **spread)
        inner = F.elu(norm(f"{name}.normalize2", inner))
        if pool:
            total = conv(f"{name}.conv2.conv", inner) + conv(f"{name}.shortcut.conv", h, padding=0)
            return F.avg_pool2d(total, 2)
        down = f"{name}.shortcut.weight" in state
        return conv(f"{name}.conv2", inner, **spread) + (conv(f"{name}.shortcut", h, **spread) if down else h)

    def units(name, h, count):
        for unit in range(1, count + 1):
            h = h + conv(f"{name}.{unit}_2_conv", F.elu(conv(f"{name}.{unit}_1_conv", F.elu(h))))
        return h

    layers = [conv("begin_conv", 2 * x - 1)]
    for stage, dilation in ((1, 1), (2, 1), (3, 2), (4, 4)):
        h = residual(f"res{stage}.0", layers[-1], dilation, pool=stage == 2)
        layers.append(residual(f"res{stage}.1", h, dilation, pool=False))
    refined = None
    for stage in range(1, 5):
        inputs = [layers[5 - stage]] + ([refined] if refined is not None else [])
        adapted = [units(f"refine{stage}.adapt_convs.{i}", h, 2) for i, h in enumerate(inputs)]
        if refined is not None:
            joined = [conv(f"refine{stage}.msf.convs.{i}", h) for i, h in enumerate(adapted)]
            size = joined[0].shape[2:]
            adapted = [sum(F.interpolate(h, size, mode="bilinear", align_corners=True) for h in joined)]
        h = path = F.elu(adapted[0])
        for k in range(2):
            path = conv(f"refine{stage}.crp.convs.{k}", F.max_pool2d(path, 5, 1, 2))
            h = h + path
        refined = units(f"refine{stage}.output_convs", h, 3 if stage == 4 else 1)
    return conv("end_conv", F.elu(norm("normalizer", refined)))


@torch.no_grad()
@pytest.mark.parametrize("averaged", [True, False], ids=["averaged", "raw"])
def test_ncsnv2_files_give_the_score_that_their_tensors_do(averaged, tmp_path):
    torch.manual_seed(0)
    state, other = ncsnv2_state(16), ncsnv2_state(16)
    prefixed = {f"module.{name}": tensor for name, tensor in (other if averaged else state).items()}
    averages = {name: tensor for name, tensor in state.items() if name != "sigmas"}
    torch.save([prefixed, {"state": {}}, 1, 2] + [averages] * averaged, tmp_path / "checkpoint_300000.pth")
    denoiser = open_denoiser(tmp_path / "checkpoint_300000.pth")
    assert (denoiser.sigma_min, denoiser.sigma_max) == pytest.approx((0.02, 100))
    for sigma in (0.02, 1.0, 90.0):
        x = normal(2, 3, 16, 16, scale=1 + sigma)
        unit, half = (x + 1) / 2, sigma / 2  # their units; Tweedie: x0 = x + sigma^2 score, score = F / sigma
        expected = 2 * (unit + half * ncsnv2_forward(state, unit)) - 1
        assert denoiser_error(denoiser, x, sigma, expected) < 1e-4


def test_ncsnv2_has_the_parameters_of_the_original():
    with torch.device("meta"):
        count = sum(t.numel() for name, t in ncsnv2_state(128).items() if name != "sigmas")
    assert count == 29_694_083  # NCSNv2(config of CIFAR-10) of ermongroup/ncsnv2 at 128 channels
