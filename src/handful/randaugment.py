"""Weak and strong views of a batch: what consistency is asked between.

Sources: K. Sohn et al., "FixMatch", NeurIPS 2020, section 2.3 and appendix D (the operations on
photos and their ranges); E. D. Cubuk, B. Zoph, J. Shlens, Q. V. Le, "RandAugment", NeurIPS 2020;
T. DeVries, G. W. Taylor, "Improved regularization of convolutional neural networks with cutout",
2017.  The operations on written signs are ours: nothing that turns a 6 into a 9.

Images ``(B, C, H, W)`` in [0, 1]; each draws its own operations and magnitudes.  All geometry of
a view is one affine map, resampled once; then come the tones, then a hole.  What comes in from
outside has the value ``fill (C,)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from handful.augment import LUMA

__all__ = ["PAIRS", "Kind", "Pair", "affine", "border_median", "cutout", "moved"]

View: TypeAlias = Callable[[Tensor, Generator, Tensor], Tensor]  # images, draws, fill
Kind: TypeAlias = Literal["glyph", "object", "photo"]
REACH = 1 / 8  # of a weak shift, in sides
TINY = 16  # pixels: below, no blur and a smaller hole
# operations on signs: degrees, sides, sides, slopes, slopes, share, share, share, 3x3 box blur
GLYPH_MOST = (20.0, 0.15, 0.15, 0.3, 0.3, 0.2, 0.2, 0.5, 1.0)
PHOTO_GEOMETRY = (30.0, 0.3, 0.3, 0.3, 0.3)  # degrees, sides, sides, slopes, slopes


# --- views -------------------------------------------------------------------------------------


def weak_glyph(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """A shift by whole pixels, up to an eighth of each side; the ground comes in."""
    return moved(x, *_shifts(x, generator), fill)


def strong_glyph(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """Two operations an image out of nine, with replacement, then a hole of half the side.

    Turn ±20 degrees, shift ±15 % and shear ±.3 along either side, size ±20 %, brightness ±.2,
    contrast .5 to 1.5 about the image's mean, 3x3 box blur.  The same one drawn twice goes to
    the end of its range and no further.  Never a flip, an inversion or an equalisation.
    """
    n, tiny = len(x), min(x.shape[2:]) < TINY
    most = torch.tensor(GLYPH_MOST[:-1] if tiny else GLYPH_MOST)
    m = _drawn(n, len(most), generator) * most[:, None]
    angle, tx, ty, kx, ky, size, bright, contrast, *blur = m
    x = affine(x, angle, tx, ty, kx, ky, 1 + size, fill=fill)
    if blur:
        rows = blur[0].nonzero().squeeze(1).to(x.device)
        x = x.index_copy(0, rows, _box(x[rows]))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = torch.lerp(mean, x, _each(1 + contrast, x)).add_(_each(bright, x)).clamp_(0, 1)
    return _hole(x, generator, fill)


def weak_object(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """As for signs, and mirrored left to right one time in two."""
    return weak_glyph(_mirrored(x, generator), generator, fill)


def strong_object(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """As for signs, and mirrored left to right one time in two."""
    return strong_glyph(_mirrored(x, generator), generator, fill)


def weak_photo(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """Mirrored one time in two, then a shift by up to an eighth of each side, reflected."""
    return moved(_mirrored(x, generator), *_shifts(x, generator))


def strong_photo(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """The weak view's flip and shift, two operations of RandAugment, a hole of half the side.

    Of fourteen, with replacement, magnitudes uniform: turn ±30 degrees, shift and shear ±.3
    along either side; autocontrast, brightness, colour, contrast, sharpness (factors .05 to
    .95), equalise, identity, posterise (4 to 8 bits), solarise (from 0 to 1).
    """
    n, geometry = len(x), len(PHOTO_GEOMETRY)
    x = weak_photo(x, generator, fill)
    chosen = torch.randint(geometry + len(TONES), (2, n), generator=generator)
    u = torch.rand(2, n, generator=generator)
    most = torch.tensor(PHOTO_GEOMETRY)[:, None]
    m = torch.zeros(geometry + len(TONES), n).scatter_add_(0, chosen, 2 * u - 1)
    angle, tx, ty, kx, ky = m[:geometry] * most
    x = affine(x, angle, tx, ty, kx, ky, torch.ones(n), fill=fill)
    for slot in range(2):
        for j, tone in enumerate(TONES, start=geometry):
            rows = (chosen[slot] == j).nonzero().squeeze(1)
            if len(rows):
                changed = tone(x[rows.to(x.device)], u[slot, rows].to(x).view(-1, 1, 1, 1))
                x = x.index_copy(0, rows.to(x.device), changed)
    return _hole(x, generator, fill)


# --- geometry ----------------------------------------------------------------------------------


def moved(x: Tensor, dy: Tensor, dx: Tensor, fill: Tensor | None = None) -> Tensor:
    """Each image moved down by ``dy (n,)`` and right by ``dx (n,)`` whole pixels.

    ``fill (C,)`` comes in; without it the image is reflected at its border (not repeating it).
    """
    n, c, h, w = x.shape
    rows = torch.arange(h, device=x.device) - dy.to(x.device)[:, None]  # where each is taken from
    columns = torch.arange(w, device=x.device) - dx.to(x.device)[:, None]
    if fill is None:
        rows, columns = _reflected(rows, h), _reflected(columns, w)
    at = rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None, :]
    out = x.reshape(n, c, h * w).gather(2, at.view(n, 1, h * w).expand(n, c, h * w)).view_as(x)
    if fill is None:
        return out
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    return torch.where(inside[:, None], out, fill.to(x).view(1, -1, 1, 1))


def affine(
    x: Tensor,
    angle: Tensor,
    tx: Tensor,
    ty: Tensor,
    kx: Tensor,
    ky: Tensor,
    size: Tensor,
    *,
    fill: Tensor,
) -> Tensor:
    """One bilinear resampling an image: ``[R(angle) [[1, kx], [ky, 1]] / size, t]`` in pixels.

    Degrees, shares of a side, slopes, a factor, each ``(n,)``; the turn is one of the picture,
    also where its sides differ.
    """
    n, h, w = len(x), *x.shape[2:]
    cos, sin = (angle * (math.pi / 180)).cos() / size, (angle * (math.pi / 180)).sin() / size
    across, down = (cos * kx - sin) * (h / w), (sin + cos * ky) * (w / h)
    rows = [cos - sin * ky, across, 2 * tx, down, sin * kx + cos, 2 * ty]
    theta = torch.stack(rows, dim=1).view(n, 2, 3).to(x)
    ground = fill.to(x).view(1, -1, 1, 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x - ground, grid, align_corners=False) + ground


def cutout(x: Tensor, cy: Tensor, cx: Tensor, side: int, fill: Tensor) -> Tensor:
    """Fill a square with its centre at row ``cy (n,)``, column ``cx (n,)``, cut at the border.

    It covers ``[centre - side // 2, centre - side // 2 + side)``.
    """
    covered = []
    for length, centre in ((x.shape[2], cy), (x.shape[3], cx)):
        at = torch.arange(length, device=x.device)
        start = (centre.to(x.device) - side // 2)[:, None]
        covered.append((at >= start) & (at < start + side))
    hole = covered[0][:, None, :, None] & covered[1][:, None, None, :]
    return torch.where(hole, fill.to(x).view(1, -1, 1, 1), x)


# --- tones of photos: images (k, C, H, W), u (k, 1, 1, 1) in [0, 1] ------------------------------


def _factor(u: Tensor) -> Tensor:
    return 0.05 + 0.9 * u


def _autocontrast(x: Tensor, u: Tensor) -> Tensor:
    low, high = x.amin(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
    flat = high <= low
    return torch.where(flat, x, (x - low) / torch.where(flat, 1.0, high - low))


def _brightness(x: Tensor, u: Tensor) -> Tensor:
    return x * _factor(u)


def _colour(x: Tensor, u: Tensor) -> Tensor:
    return torch.lerp(_luma(x), x, _factor(u))


def _contrast(x: Tensor, u: Tensor) -> Tensor:
    return torch.lerp(_luma(x).mean(dim=(2, 3), keepdim=True), x, _factor(u))


def _equalise(x: Tensor, u: Tensor) -> Tensor:
    """Each channel's histogram of 256 levels flattened, as image libraries do it."""
    n, c, h, w = x.shape
    level = (x * 255).round().long().reshape(n * c, h * w)
    counts = torch.zeros(n * c, 256, dtype=torch.long, device=x.device)
    counts.scatter_add_(1, level, torch.ones_like(level))
    top = counts.gather(1, level.amax(dim=1, keepdim=True))
    step = (h * w - top) // 255
    lower = counts.cumsum(dim=1) - counts
    table = ((lower + step // 2) // step.clamp_min(1)).clamp_max(255)
    out = torch.where(step > 0, table.gather(1, level), level)
    return (out.to(x) / 255).view(n, c, h, w)


def _identity(x: Tensor, u: Tensor) -> Tensor:
    return x


def _posterise(x: Tensor, u: Tensor) -> Tensor:
    dropped = 2 ** (4 - (u * 5).floor().clamp_max(4))  # 4 to 8 bits stay
    return ((x * 255).round() / dropped).floor() * dropped / 255


def _sharpness(x: Tensor, u: Tensor) -> Tensor:
    return torch.lerp(_box(x, centre=5.0), x, _factor(u))


def _solarise(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(x < u, x, 1 - x)


TONES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    _autocontrast, _brightness, _colour, _contrast, _equalise, _identity, _posterise, _sharpness,
    _solarise,
)  # fmt: skip


# --- pieces ------------------------------------------------------------------------------------


def border_median(x: Tensor) -> Tensor:
    """The ground of written signs: the median of all border pixels of ``x``, ``(C,)``."""
    sides = (x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1])
    return torch.cat(sides, dim=2).transpose(0, 1).flatten(1).median(dim=1).values


def _mean_colour(x: Tensor) -> Tensor:
    return x.mean(dim=(0, 2, 3))


def _drawn(n: int, kinds: int, generator: Generator) -> Tensor:
    """Two of ``kinds`` operations an image, with replacement: magnitudes ``(kinds, n)``, ±1."""
    chosen = torch.randint(kinds, (2, n), generator=generator)
    share = torch.empty(2, n).uniform_(-1, 1, generator=generator)
    return torch.zeros(kinds, n).scatter_add_(0, chosen, share).clamp_(-1, 1)


def _shifts(x: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    dy, dx = (
        torch.randint(-r, r + 1, (len(x),), generator=generator)
        for r in (round(side * REACH) for side in x.shape[2:])
    )
    return dy, dx


def _reflected(at: Tensor, length: int) -> Tensor:
    return (length - 1 - (length - 1 - at.abs()).abs()).abs()


def _mirrored(x: Tensor, generator: Generator) -> Tensor:
    hit = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(_each(hit, x).bool(), x.flip(3), x)


def _hole(x: Tensor, generator: Generator, fill: Tensor) -> Tensor:
    """A hole of half the side, a quarter below 16 pixels, centred anywhere in the image."""
    n, h, w = len(x), *x.shape[2:]
    cy = torch.randint(h, (n,), generator=generator)
    cx = torch.randint(w, (n,), generator=generator)
    return cutout(x, cy, cx, min(h, w) // (4 if min(h, w) < TINY else 2), fill)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """One number an image, ready to be multiplied with images."""
    return values.to(like).view(-1, 1, 1, 1)


def _box(x: Tensor, *, centre: float = 1.0) -> Tensor:
    """Mean over 3x3 with a weight in the middle; at the border the edge is repeated."""
    near = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return (9 * near + (centre - 1) * x) / (8 + centre)


def _luma(x: Tensor) -> Tensor:
    if x.shape[1] != 3:
        return x.mean(dim=1, keepdim=True)
    luma: Tensor = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return luma


class Pair(NamedTuple):
    """The two views of one kind of image, and the value of what lies outside of it."""

    weak: View
    strong: View
    fill: Callable[[Tensor], Tensor]  # images -> (C,)


PAIRS: Mapping[Kind, Pair] = {
    "glyph": Pair(weak_glyph, strong_glyph, border_median),
    "object": Pair(weak_object, strong_object, border_median),
    "photo": Pair(weak_photo, strong_photo, _mean_colour),
}
