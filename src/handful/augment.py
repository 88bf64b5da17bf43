"""Augmentation on the batch: one independent draw per image, no Python loop over images.

Source of the idea: X. Guo, E. Zhu, X. Liu, J. Yin, "Deep embedded clustering with data
augmentation", ACML 2018.  A library that draws once per batch would give every image the
same turn; here each image has its own row of the transform.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = ["AUGMENTS", "Augment", "Kind", "augmentation", "glyph", "gray_object", "photo"]

Kind: TypeAlias = Literal["none", "glyph", "object", "photo"]
Augment: TypeAlias = Callable[[Tensor, Generator], Tensor]


def _uniform(n: int, low: float, high: float, generator: Generator, like: Tensor) -> Tensor:
    # drawn on the CPU, so that a GPU sees the same augmentations
    return torch.empty(n).uniform_(low, high, generator=generator).to(like)


def _warp(x: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def glyph(
    x: Tensor,
    generator: Generator,
    *,
    rotate: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.15,
    shift: float = 0.1,
) -> Tensor:
    """Affine changes that leave a written sign what it is: ``(B, C, H, W) -> (B, C, H, W)``.

    ``theta_i = [[s cos a, -s sin a + h, t_x], [s sin a, s cos a, t_y]]`` with ``a`` in
    ±rotate degrees, ``s`` in 1 ± scale, ``h`` in ±shear, ``t`` in ±2 shift (normalised
    coordinates span 2 sides).  Bilinear, zero padding, never a flip.
    """
    n = len(x)
    a = _uniform(n, -rotate, rotate, generator, x) * (math.pi / 180)
    s = _uniform(n, 1 - scale, 1 + scale, generator, x)
    h = _uniform(n, -shear, shear, generator, x)
    tx = _uniform(n, -2 * shift, 2 * shift, generator, x)
    ty = _uniform(n, -2 * shift, 2 * shift, generator, x)
    cos, sin = s * a.cos(), s * a.sin()
    theta = torch.stack([cos, -sin + h, tx, sin, cos, ty], dim=1).view(n, 2, 3)
    return _warp(x, theta)


def photo(
    x: Tensor,
    generator: Generator,
    *,
    least_area: float = 0.6,
    flip: float = 0.5,
    jitter: float = 0.2,
) -> Tensor:
    """Random resized crop, horizontal flip, brightness / contrast / saturation jitter.

    The crop keeps ``U(least_area, 1)`` of the area, aspect ratio within 3/4 .. 4/3, and is
    resampled bilinearly to the full size.  Each factor is drawn from 1 ± jitter.
    """
    n = len(x)
    area = _uniform(n, least_area, 1.0, generator, x)
    ratio = _uniform(n, math.log(3 / 4), math.log(4 / 3), generator, x).exp()
    w = (area * ratio).sqrt().clamp_max(1.0)
    h = (area / ratio).sqrt().clamp_max(1.0)
    cx = (1 - w) * _uniform(n, -1, 1, generator, x)
    cy = (1 - h) * _uniform(n, -1, 1, generator, x)
    sign = torch.where(_uniform(n, 0, 1, generator, x) < flip, -1.0, 1.0).to(x)
    zero = torch.zeros_like(w)
    theta = torch.stack([w * sign, zero, cx, zero, h, cy], dim=1).view(n, 2, 3)
    x = _warp(x, theta)

    def factor() -> Tensor:
        return _uniform(n, 1 - jitter, 1 + jitter, generator, x).view(n, 1, 1, 1)

    x = x * factor()
    x = (x - x.mean(dim=(1, 2, 3), keepdim=True)) * factor() + x.mean(dim=(1, 2, 3), keepdim=True)
    if x.shape[1] == 3:
        gray = x.mean(dim=1, keepdim=True)
        x = (x - gray) * factor() + gray
    return x.clamp(0, 1)


def gray_object(
    x: Tensor,
    generator: Generator,
    *,
    flip: float = 0.5,
    turned: float = 0.5,
    rotate: float = 8.0,
    shift: float = 0.06,
    jittered: float = 0.8,
    jitter: float = 0.3,
) -> Tensor:
    """Changes that leave a gray thing on a plain ground what it is: ``(B, C, H, W)`` both ways.

    A horizontal flip with probability ``flip``; with ``turned`` a rotation by ±rotate degrees
    and a translation by ±shift of each side, the background coming in; with ``jittered``
    brightness and contrast by factors of 1 ± jitter, in random order.  Values in [0, 1].
    """
    theta = _flip(len(x), flip, generator, x)
    theta = _after(theta, _affine(x, generator, p=turned, rotate=rotate, shift=shift))
    x = _warp_on(x, theta, background(x))
    return colour_jitter(x, generator, p=jittered, brightness=jitter, contrast=jitter)


def background(x: Tensor) -> Tensor:
    """The ground of each image: the median of its border pixels, ``(B, C, 1, 1)``."""
    sides = (x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1])
    return torch.cat(sides, dim=2).median(dim=2).values[:, :, None, None]


def colour_jitter(
    x: Tensor, generator: Generator, *, p: float, brightness: float, contrast: float
) -> Tensor:
    """Brightness ``f x`` and contrast ``f x + (1 - f) mean``, in random order, each clipped.

    Each factor is drawn from 1 ± its range, for each image; an image is left alone with
    probability ``1 - p``.
    """
    n = len(x)
    hit = _hit(n, p, generator, x)
    factors = torch.stack(
        [1 + hit * _uniform(n, -r, r, generator, x) for r in (brightness, contrast)]
    )
    first = _hit(n, 0.5, generator, x)  # 1: brightness before contrast
    for turn in (first, 1 - first):
        bright = torch.lerp(torch.ones_like(turn), factors[0], turn).view(n, 1, 1, 1)
        mixed = torch.lerp(factors[1], torch.ones_like(turn), turn).view(n, 1, 1, 1)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = torch.addcmul((1 - mixed) * mean, x, bright * mixed).clamp_(0, 1)
    return x


def _hit(n: int, p: float, generator: Generator, like: Tensor) -> Tensor:
    """1 with probability ``p``, else 0, one draw an image."""
    return (_uniform(n, 0, 1, generator, like) < p).to(like)


def _flip(n: int, p: float, generator: Generator, like: Tensor) -> Tensor:
    """``(n, 2, 3)``: mirror left to right with probability ``p``."""
    theta = torch.eye(2, 3).to(like).repeat(n, 1, 1)
    theta[:, 0, 0] = 1 - 2 * _hit(n, p, generator, like)
    return theta


def _affine(x: Tensor, generator: Generator, *, p: float, rotate: float, shift: float) -> Tensor:
    """``(n, 2, 3)``: with probability ``p`` turn by ±rotate degrees and move by ±shift of a side.

    The turn is one of the picture, also where the sides differ.
    """
    n, (h, w) = len(x), x.shape[2:]
    hit = _hit(n, p, generator, x)
    a = hit * _uniform(n, -rotate, rotate, generator, x) * (math.pi / 180)
    tx = 2 * hit * _uniform(n, -shift, shift, generator, x)
    ty = 2 * hit * _uniform(n, -shift, shift, generator, x)
    cos, sin = a.cos(), a.sin()
    rows = [cos, -sin * (h / w), tx, sin * (w / h), cos, ty]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def _after(outer: Tensor, inner: Tensor) -> Tensor:
    """The map ``outer(inner(.))`` of two maps ``(n, 2, 3)``."""
    linear = outer[:, :, :2] @ inner
    linear[:, :, 2] += outer[:, :, 2]
    return linear


def _warp_on(x: Tensor, theta: Tensor, ground: Tensor) -> Tensor:
    """Resample, ``ground`` coming in from beyond the borders."""
    return _warp(x - ground, theta) + ground


def augmentation(
    kind: Literal["none", "glyph", "object", "photo", "auto"], channels: int, side: int
) -> Kind:
    """Settle "auto": glyph for gray images up to 48 px, photo else; none for features."""
    if channels == 0:
        return "none"
    if kind != "auto":
        return kind
    return "glyph" if channels == 1 and side <= 48 else "photo"


def _unchanged(x: Tensor, generator: Generator) -> Tensor:
    return x


AUGMENTS: dict[Kind, Augment] = {
    "none": _unchanged,
    "glyph": glyph,
    "object": gray_object,
    "photo": photo,
}
