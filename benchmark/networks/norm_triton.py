"""Triton kernels of :func:`benchmark.networks.norm.add_norm`: every activation is read once and written once.

One program normalises some whole groups of channels of one image. It holds all their pixels in registers, so that mean
and variance are taken exactly (two passes over registers, not over memory). Activations are NHWC.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.networks.norm import EPS

PIXELS = (16, 64, 256, 1024, 4096)
FORWARD = {16: (256, 4), 64: (256, 8), 256: (128, 16), 1024: (32, 16), 4096: (8, 16)}
BACKWARD = {16: (256, 4), 64: (256, 8), 256: (128, 16), 1024: (8, 4), 4096: (8, 16)}
"""Pixels of an image -> channels and warps of a program; chosen on an H200."""


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    x, r, total, y, scale, shift, mean, rstd, film_stride, y_stride, channels, eps,
    PIXELS: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr, ADD: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * TILE + tl.arange(0, TILE)
    pixel = n * PIXELS + tl.arange(0, PIXELS)[:, None]
    v = tl.load(x + pixel * channels + c).to(tl.float32)
    if ADD:
        rounded = (v + tl.load(r + pixel * channels + c).to(tl.float32)).to(total.dtype.element_ty)
        tl.store(total + pixel * channels + c, rounded)
        v = rounded.to(tl.float32)
    GROUPS: tl.constexpr = TILE // GROUP
    count: tl.constexpr = PIXELS * GROUP
    m = tl.sum(tl.reshape(tl.sum(v, 0), [GROUPS, GROUP]), 1) / count
    d = v - tl.reshape(tl.broadcast_to(m[:, None], [GROUPS, GROUP]), [TILE])[None, :]
    var = tl.sum(tl.reshape(tl.sum(d * d, 0), [GROUPS, GROUP]), 1) / count
    rs = 1.0 / tl.sqrt(var + eps)
    a = tl.load(scale + n * film_stride + c) * tl.reshape(tl.broadcast_to(rs[:, None], [GROUPS, GROUP]), [TILE])
    z = d * a[None, :] + tl.load(shift + n * film_stride + c)[None, :]
    if SILU:
        z = z * tl.sigmoid(z)
    tl.store(y + pixel * y_stride + c, z.to(y.dtype.element_ty))
    g = n * (channels // GROUP) + tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    tl.store(mean + g, m)
    tl.store(rstd + g, rs)


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    total, dy, dtotal, dx, scale, shift, dscale, dshift, mean, rstd, film_stride, y_stride, film_channels, channels,
    PIXELS: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr, ADD: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * TILE + tl.arange(0, TILE)
    pixel = n * PIXELS + tl.arange(0, PIXELS)[:, None]
    g = n * (channels // GROUP) + c // GROUP
    rs = tl.load(rstd + g)
    a = tl.load(scale + n * film_stride + c)
    normed = (tl.load(total + pixel * channels + c).to(tl.float32) - tl.load(mean + g)[None, :]) * rs[None, :]
    dz = tl.load(dy + pixel * y_stride + c).to(tl.float32)
    if SILU:
        z = normed * a[None, :] + tl.load(shift + n * film_stride + c)[None, :]
        s = tl.sigmoid(z)
        dz = dz * s * (1.0 + z * (1.0 - s))
    da, db = tl.sum(dz * normed, 0), tl.sum(dz, 0)
    tl.store(dscale + n * film_channels + c, da)
    tl.store(dshift + n * film_channels + c, db)
    GROUPS: tl.constexpr = TILE // GROUP
    count: tl.constexpr = PIXELS * GROUP
    m1 = tl.sum(tl.reshape(a * db, [GROUPS, GROUP]), 1) / count
    m2 = tl.sum(tl.reshape(a * da, [GROUPS, GROUP]), 1) / count
    m1 = tl.reshape(tl.broadcast_to(m1[:, None], [GROUPS, GROUP]), [TILE])
    m2 = tl.reshape(tl.broadcast_to(m2[:, None], [GROUPS, GROUP]), [TILE])
    d = (dz * a[None, :] - m1[None, :] - normed * m2[None, :]) * rs[None, :]
    if ADD:
        d += tl.load(dtotal + pixel * channels + c).to(tl.float32)
    tl.store(dx + pixel * channels + c, d.to(dx.dtype.element_ty))


def supports(x: Tensor) -> bool:
    """Whether the kernels take activations of this shape: 4, 8, 16, 32 or 64 pixels square."""
    return x.shape[2] * x.shape[3] in PIXELS


def _launch(x: Tensor, group_size: int, tiles: dict[int, tuple[int, int]]) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid and compile-time sizes for activations ``x``."""
    pixels, channels = x.shape[2] * x.shape[3], x.shape[1]
    tile, warps = tiles[pixels]
    while channels % tile:
        tile //= 2
    if tile < group_size or tile % group_size:
        raise ValueError(f"{channels} channels in groups of {group_size} do not fit the kernels' tiles")
    return (channels // tile, len(x)), {"PIXELS": pixels, "TILE": tile, "GROUP": group_size, "num_warps": warps}


def _nhwc(t: Any) -> Any:
    """A tensor with its channels last; None stays None."""
    return None if t is None else t.contiguous(memory_format=torch.channels_last)


def _film_stride(scale: Tensor) -> int:
    """Elements from one image's scale to the next one's: 0 where all images share it."""
    return scale.stride(0) if len(scale) > 1 else 0


def _normalise(
    x: Tensor, r: Tensor | None, y: Tensor, scale: Tensor, shift: Tensor, group_size: int, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Write the activation of ``x + r`` into ``y`` (some channels of it); returns ``x + r``, means, 1 / deviations."""
    total = x if r is None else torch.empty_like(x)
    mean = torch.empty(len(x), x.shape[1] // group_size, device=x.device)
    rstd = torch.empty_like(mean)
    grid, sizes = _launch(x, group_size, FORWARD)
    _forward[grid](
        x, x if r is None else r, total, y, scale, shift, mean, rstd,
        _film_stride(scale), y.stride(3), x.shape[1], EPS, ADD=r is not None, SILU=silu, **sizes,
    )  # fmt: skip
    return total, mean, rstd


class AddNorm(torch.autograd.Function):
    """:func:`benchmark.networks.norm.add_norm` by the kernels above; float32 scale and shift."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor | None, skip: Tensor | None, scale: Tensor, shift: Tensor,
                group_size: int, silu: bool) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
        x, r, skip = _nhwc(x), _nhwc(r), _nhwc(skip)
        scale, shift = scale.float(), shift.float()
        n, c, height, width = x.shape
        joined = c if skip is None else c + skip.shape[1]
        y = torch.empty(n, joined, height, width, device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
        total, *moments = _normalise(x, r, y[:, :c], scale[:, :c], shift[:, :c], group_size, silu)
        if skip is not None:
            moments += _normalise(skip, None, y[:, c:], scale[:, c:], shift[:, c:], group_size, silu)[1:]
        ctx.save_for_backward(total, skip, scale, shift, *moments)
        ctx.group_size, ctx.silu, ctx.added = group_size, silu, r is not None
        ctx.set_materialize_grads(False)
        return total.view_as(total), None if skip is None else skip.view_as(skip), y

    @staticmethod
    def backward(ctx: Any, dtotal: Tensor | None, dskip: Tensor | None, dy: Tensor) -> tuple[Tensor | None, ...]:
        total, skip, scale, shift, *moments = ctx.saved_tensors
        dy, c, n = _nhwc(dy), total.shape[1], len(total)
        dscale = torch.empty(n, dy.shape[1], device=total.device)
        dshift = torch.empty_like(dscale)

        def gradient(source: Tensor, through: Tensor | None, first: int, mean: Tensor, rstd: Tensor) -> Tensor:
            """Gradient of ``source``, which makes the channels from ``first`` on; ``through`` is added to it."""
            part, out = slice(first, first + source.shape[1]), torch.empty_like(source)
            through = _nhwc(through)
            grid, sizes = _launch(source, ctx.group_size, BACKWARD)
            _backward[grid](
                source, dy[:, part], source if through is None else through, out, scale[:, part], shift[:, part],
                dscale[:, part], dshift[:, part], mean, rstd, _film_stride(scale), dy.stride(3), dy.shape[1],
                source.shape[1], ADD=through is not None, SILU=ctx.silu, **sizes,
            )  # fmt: skip
            return out

        dx = gradient(total, dtotal, 0, *moments[:2])
        dskip = None if skip is None else gradient(skip, dskip, c, *moments[2:])
        if len(scale) == 1:
            dscale, dshift = dscale.sum(0, keepdim=True), dshift.sum(0, keepdim=True)
        return dx, dx if ctx.added else None, dskip, dscale, dshift, None, None
