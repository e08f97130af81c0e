"""Triton kernels of :func:`benchmark.networks.norm.add_norm`: every activation is read once from memory.

One program normalises some whole groups of channels of one image, NHWC. Where their pixels fit its registers it holds
them there; where not it goes over them twice, a chunk at a time, the second time out of the L2 cache. Mean and variance
are exact: two passes over a chunk's registers, chunks merged by Chan, Golub and LeVeque (1983).
"""

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.networks.dropout import Dropout
from benchmark.networks.dropout_triton import channel_hash, dropped, pixel_hash

EPS = 1e-5  # added to a variance: what PyTorch takes for granted


class Tile(NamedTuple):
    """What one program works on: ``channels`` of an image, ``chunk`` pixels at a time, by so many ``warps``."""

    channels: int
    chunk: int
    warps: int


FORWARD = {
    16: Tile(256, 16, 4),
    64: Tile(128, 64, 4),
    256: Tile(32, 256, 4),
    1024: Tile(16, 1024, 8),
    4096: Tile(8, 4096, 16),
}
BACKWARD = {
    16: Tile(256, 16, 4),
    64: Tile(64, 64, 2),
    256: Tile(32, 256, 8),
    1024: Tile(16, 1024, 8),
    4096: Tile(8, 4096, 16),
}
"""By the pixels of an image; chosen on an H200."""


@triton.jit
def _spread(values, TILE: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """[groups] -> [channels]."""
    return tl.reshape(tl.broadcast_to(values[:, None], [TILE // GROUP, GROUP]), [TILE])


@triton.jit
def _gather(values, TILE: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sums over each group: [channels] -> [groups]."""
    return tl.sum(tl.reshape(values, [TILE // GROUP, GROUP]), 1)


@triton.jit
def _read_sum(x, r, total, at, ADD: tl.constexpr):  # type: ignore[no-untyped-def]
    """x + r in the activation's rounding, stored in total; x where there is nothing to add."""
    v = tl.load(x + at).to(tl.float32)
    if ADD:
        rounded = (v + tl.load(r + at).to(tl.float32)).to(total.dtype.element_ty)
        tl.store(total + at, rounded)
        v = rounded.to(tl.float32)
    return v


@triton.jit
def _moments(v, CHUNK: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Mean, and sum of squares around it, of each group of v [pixels, channels]."""
    mean = _gather(tl.sum(v, 0), TILE, GROUP) / (CHUNK * GROUP)
    d = v - _spread(mean, TILE, GROUP)[None, :]
    return mean, _gather(tl.sum(d * d, 0), TILE, GROUP)


@triton.jit
def _write(v, y, out, a, b, pixel, channel, SILU: tl.constexpr, DROP: tl.constexpr):  # type: ignore[no-untyped-def]
    z = v * a[None, :] + b[None, :]
    if SILU:
        z = z * tl.sigmoid(z)
    tl.store(y + out, dropped(z, pixel, channel, DROP).to(y.dtype.element_ty))


@triton.jit
def _forward(  # type: ignore[no-untyped-def]
    x, r, total, y, scale, shift, mean, rstd, seed, salt, film_stride, y_stride, channels, eps,
    PIXELS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr,
    ADD: tl.constexpr, SILU: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = tl.arange(0, CHUNK)[:, None]
    pixel = n * PIXELS + inside
    at, out, channel = pixel * channels + c, pixel * y_stride + c, channel_hash(c, salt, DROP)
    GROUPS: tl.constexpr = TILE // GROUP
    if CHUNK == PIXELS:
        v = _read_sum(x, r, total, at, ADD)
        m, squares = _moments(v, CHUNK, TILE, GROUP)
    else:
        m = tl.zeros([GROUPS], tl.float32)
        squares = tl.zeros([GROUPS], tl.float32)
        for k in tl.range(0, PIXELS // CHUNK):
            part = _read_sum(x, r, total, at + k * CHUNK * channels, ADD)
            m_k, squares_k = _moments(part, CHUNK, TILE, GROUP)
            d = m_k - m
            m += d / (k + 1)
            squares += squares_k + d * d * (CHUNK * GROUP) * k / (k + 1)
    rs = 1.0 / tl.sqrt(squares / (PIXELS * GROUP) + eps)
    a = tl.load(scale + n * film_stride + c) * _spread(rs, TILE, GROUP)
    b = tl.load(shift + n * film_stride + c) - a * _spread(m, TILE, GROUP)
    if CHUNK == PIXELS:
        _write(v, y, out, a, b, pixel_hash(inside, seed + n, DROP), channel, SILU, DROP)
    else:
        for k in tl.range(0, PIXELS // CHUNK):
            again = tl.load((total if ADD else x) + at + k * CHUNK * channels).to(tl.float32)
            here = pixel_hash(inside + k * CHUNK, seed + n, DROP)
            _write(again, y, out + k * CHUNK * y_stride, a, b, here, channel, SILU, DROP)
    g = n * (channels // GROUP) + tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    tl.store(mean + g, m)
    tl.store(rstd + g, rs)


@triton.jit
def _read_slopes(  # type: ignore[no-untyped-def]
    total, dy, at, out, m, rs, a, b, pixel, channel, SILU: tl.constexpr, DROP: tl.constexpr
):
    """The normalised activation, and the loss's slope in what SiLU takes."""
    normed = (tl.load(total + at).to(tl.float32) - m[None, :]) * rs[None, :]
    dz = dropped(tl.load(dy + out).to(tl.float32), pixel, channel, DROP)
    if SILU:
        z = normed * a[None, :] + b[None, :]
        s = tl.sigmoid(z)
        dz = dz * s * (1.0 + z * (1.0 - s))
    return normed, dz


@triton.jit
def _write_slopes(normed, dz, dtotal, dx, at, a, m1, m2, rs, ADD: tl.constexpr):  # type: ignore[no-untyped-def]
    d = (dz * a[None, :] - m1[None, :] - normed * m2[None, :]) * rs[None, :]
    if ADD:
        d += tl.load(dtotal + at).to(tl.float32)
    tl.store(dx + at, d.to(dx.dtype.element_ty))


@triton.jit
def _backward(  # type: ignore[no-untyped-def]
    total, dy, dtotal, dx, scale, shift, dscale, dshift, mean, rstd, seed, salt,
    film_stride, y_stride, film_channels, channels,
    PIXELS: tl.constexpr, CHUNK: tl.constexpr, TILE: tl.constexpr, GROUP: tl.constexpr,
    ADD: tl.constexpr, SILU: tl.constexpr, DROP: tl.constexpr,
):  # fmt: skip
    n = tl.program_id(1).to(tl.int64)
    c = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = tl.arange(0, CHUNK)[:, None]
    pixel = n * PIXELS + inside
    at, out, channel = pixel * channels + c, pixel * y_stride + c, channel_hash(c, salt, DROP)
    g = n * (channels // GROUP) + c // GROUP
    m, rs = tl.load(mean + g), tl.load(rstd + g)
    a, b = tl.load(scale + n * film_stride + c), tl.load(shift + n * film_stride + c)
    if CHUNK == PIXELS:
        hashed = pixel_hash(inside, seed + n, DROP)
        normed, dz = _read_slopes(total, dy, at, out, m, rs, a, b, hashed, channel, SILU, DROP)
        da, db = tl.sum(dz * normed, 0), tl.sum(dz, 0)
    else:
        da, db = tl.zeros([TILE], tl.float32), tl.zeros([TILE], tl.float32)
        for k in tl.range(0, PIXELS // CHUNK):
            here, there = at + k * CHUNK * channels, out + k * CHUNK * y_stride
            hashed = pixel_hash(inside + k * CHUNK, seed + n, DROP)
            one, two = _read_slopes(total, dy, here, there, m, rs, a, b, hashed, channel, SILU, DROP)
            da += tl.sum(two * one, 0)
            db += tl.sum(two, 0)
    tl.store(dscale + n * film_channels + c, da)
    tl.store(dshift + n * film_channels + c, db)
    count: tl.constexpr = PIXELS * GROUP
    m1 = _spread(_gather(a * db, TILE, GROUP) / count, TILE, GROUP)
    m2 = _spread(_gather(a * da, TILE, GROUP) / count, TILE, GROUP)
    if CHUNK == PIXELS:
        _write_slopes(normed, dz, dtotal, dx, at, a, m1, m2, rs, ADD)
    else:
        for k in tl.range(0, PIXELS // CHUNK):
            here, there = at + k * CHUNK * channels, out + k * CHUNK * y_stride
            hashed = pixel_hash(inside + k * CHUNK, seed + n, DROP)
            one, two = _read_slopes(total, dy, here, there, m, rs, a, b, hashed, channel, SILU, DROP)
            _write_slopes(one, two, dtotal, dx, here, a, m1, m2, rs, ADD)


def supports(x: Tensor) -> bool:
    """Whether the kernels take activations of this shape: 4, 8, 16, 32 or 64 pixels square."""
    return x.shape[2] * x.shape[3] in FORWARD


def _launch(x: Tensor, group_size: int, tiles: dict[int, Tile]) -> tuple[tuple[int, int], dict[str, int]]:
    """Grid and compile-time sizes for activations ``x``."""
    pixels, channels = x.shape[2] * x.shape[3], x.shape[1]
    tile, chunk, warps = tiles[pixels]
    while channels % tile:
        tile //= 2
    if tile < group_size or tile % group_size:
        raise ValueError(f"{channels} channels in groups of {group_size} do not fit the kernels' tiles")
    sizes = {"PIXELS": pixels, "CHUNK": chunk, "TILE": tile, "GROUP": group_size, "num_warps": warps}
    return (channels // tile, len(x)), sizes


def _nhwc(t: Any) -> Any:
    """A tensor with its channels last; None stays None."""
    return None if t is None else t.contiguous(memory_format=torch.channels_last)


def _film_stride(scale: Tensor) -> int:
    """Elements from one image's scale to the next one's: 0 where all images share it."""
    return scale.stride(0) if len(scale) > 1 else 0


def _dropping(drop: Dropout | None, otherwise: Tensor) -> tuple[Tensor, int, int]:
    """Seed, salt and threshold for the kernels; without dropout, anything and 0."""
    return (otherwise, 0, 0) if drop is None else (drop.seed, drop.salted, drop.threshold)


def _normalise(
    x: Tensor,
    r: Tensor | None,
    y: Tensor,
    scale: Tensor,
    shift: Tensor,
    group_size: int,
    silu: bool,
    drop: Dropout | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Write the activation of ``x + r`` into ``y`` (some channels of it); returns ``x + r``, means, 1 / deviations."""
    total = x if r is None else torch.empty_like(x)
    mean = torch.empty(len(x), x.shape[1] // group_size, device=x.device)
    rstd = torch.empty_like(mean)
    grid, sizes = _launch(x, group_size, FORWARD)
    seed, salt, threshold = _dropping(drop, mean)
    _forward[grid](
        x, x if r is None else r, total, y, scale, shift, mean, rstd, seed, salt,
        _film_stride(scale), y.stride(3), x.shape[1], EPS, ADD=r is not None, SILU=silu, DROP=threshold, **sizes,
    )  # fmt: skip
    return total, mean, rstd


class AddNorm(torch.autograd.Function):
    """:func:`benchmark.networks.norm.add_norm` by the kernels above; float32 scale and shift."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, r: Tensor | None, skip: Tensor | None, scale: Tensor, shift: Tensor,
                group_size: int, silu: bool, drop: Dropout | None = None,
                ) -> tuple[Tensor, Tensor | None, Tensor]:  # fmt: skip
        if skip is not None and drop is not None:
            raise ValueError("no dropout of a concatenation: its places are counted in one tensor")
        x, r, skip = _nhwc(x), _nhwc(r), _nhwc(skip)
        scale, shift = scale.float(), shift.float()
        n, c, height, width = x.shape
        joined = c if skip is None else c + skip.shape[1]
        y = torch.empty(n, joined, height, width, device=x.device, dtype=x.dtype, memory_format=torch.channels_last)
        total, *moments = _normalise(x, r, y[:, :c], scale[:, :c], shift[:, :c], group_size, silu, drop)
        if skip is not None:
            moments += _normalise(skip, None, y[:, c:], scale[:, c:], shift[:, c:], group_size, silu)[1:]
        ctx.save_for_backward(total, skip, scale, shift, *moments)
        ctx.group_size, ctx.silu, ctx.drop, ctx.added = group_size, silu, drop, r is not None
        ctx.set_materialize_grads(False)
        return total.view_as(total), None if skip is None else skip.view_as(skip), y

    @staticmethod
    def backward(ctx: Any, dtotal: Tensor | None, dskip: Tensor | None, dy: Tensor) -> tuple[Tensor | None, ...]:
        total, skip, scale, shift, *moments = ctx.saved_tensors
        dy, c, n = _nhwc(dy), total.shape[1], len(total)
        dscale, dshift = film = torch.empty(2, n, dy.shape[1], device=total.device)

        def gradient(source: Tensor, through: Tensor | None, first: int, mean: Tensor, rstd: Tensor) -> Tensor:
            """Gradient of ``source``, which makes the channels from ``first`` on; ``through`` is added to it."""
            part, out = slice(first, first + source.shape[1]), torch.empty_like(source)
            through = _nhwc(through)
            grid, sizes = _launch(source, ctx.group_size, BACKWARD)
            seed, salt, threshold = _dropping(ctx.drop, mean)
            _backward[grid](
                source, dy[:, part], source if through is None else through, out, scale[:, part], shift[:, part],
                dscale[:, part], dshift[:, part], mean, rstd, seed, salt, _film_stride(scale), dy.stride(3),
                dy.shape[1], source.shape[1], ADD=through is not None, SILU=ctx.silu, DROP=threshold, **sizes,
            )  # fmt: skip
            return out

        dx = gradient(total, dtotal, 0, *moments[:2])
        dskip = None if skip is None else gradient(skip, dskip, c, *moments[2:])
        if len(scale) == 1:
            dscale, dshift = film.sum(1, keepdim=True)
        return dx, dx if ctx.added else None, dskip, dscale, dshift, None, None, None
