"""Triton's form of :class:`benchmark.networks.dropout.Dropout`, for kernels to call."""

import triton
import triton.language as tl


@triton.jit
def _mixed(v):  # type: ignore[no-untyped-def]
    """The finaliser of MurmurHash3."""
    v = (v ^ (v >> 16)) * 0x85EBCA6B
    v = (v ^ (v >> 13)) * 0xC2B2AE35
    return v ^ (v >> 16)


@triton.jit
def pixel_hash(pixel, seed, DROP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Hash of pixels, by the image's seed."""
    return _mixed(pixel.to(tl.uint32) * 0x9E3779B1 + tl.load(seed).to(tl.uint32)) if DROP else pixel


@triton.jit
def channel_hash(c, salt, DROP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Hash of channels, by the layer's salt."""
    return _mixed(c.to(tl.uint32) * 0x9E3779B1 + salt.to(tl.uint32))[None, :] if DROP else c


@triton.jit
def dropped(z, pixel, channel, DROP: tl.constexpr):  # type: ignore[no-untyped-def]
    """z where `Dropout.keeps` keeps it, scaled; takes the hashes. DROP is its threshold, 0 for no dropout."""
    if DROP:
        v = pixel + channel
        z = tl.where((v ^ (v >> 15)) * 0x85EBCA6B >= DROP, z * (1 / (1 - DROP / 4294967295)), 0.0)
    return z
