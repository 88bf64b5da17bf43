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

__all__ = ["Augment", "Kind", "augmentation", "glyph", "photo"]

Kind: TypeAlias = Literal["none", "glyph", "photo"]
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


def augmentation(kind: Literal["none", "glyph", "photo", "auto"], channels: int, side: int) -> Kind:
    """Settle "auto": glyph for gray images up to 48 px, photo else; none for features."""
    if channels == 0:
        return "none"
    if kind != "auto":
        return kind
    return "glyph" if channels == 1 and side <= 48 else "photo"
