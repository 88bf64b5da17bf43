"""Augmentation on the batch: one independent draw per image, no Python loop over images.

Source of `glyph` and `photo`: X. Guo, E. Zhu, X. Liu, J. Yin, "Deep embedded clustering with
data augmentation", ACML 2018; of the `VIEWS`: T. Chen, S. Kornblith, M. Norouzi, G. Hinton,
"A simple framework for contrastive learning of visual representations", ICML 2020, appendix A,
with ranges of ours for what is no photo.  A library that draws once per batch would give every
image the same turn; here each image has its own row of the transform.

Geometry is one affine map an image, so a view is resampled once; colours are one 3x3 matrix
an image and step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = [
    "AUGMENTS",
    "VIEWS",
    "Augment",
    "Kind",
    "Views",
    "augmentation",
    "background",
    "blur",
    "colour_jitter",
    "erase",
    "glyph",
    "gray_object",
    "photo",
    "simclr_glyph",
    "simclr_object",
    "simclr_photo",
    "stroke",
    "tone_jitter",
]

Kind: TypeAlias = Literal["none", "glyph", "object", "photo"]
Views: TypeAlias = Literal["glyph", "object", "photo"]
Augment: TypeAlias = Callable[[Tensor, Generator], Tensor]
Range: TypeAlias = tuple[float, float]
LUMA = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601
LEAST_INK = 1 / 3  # that an erosion must leave


def _uniform(n: int, low: float, high: float, generator: Generator, like: Tensor) -> Tensor:
    # drawn on the CPU, so that a GPU sees the same augmentations
    return torch.empty(n).uniform_(low, high, generator=generator).to(like)


def _warp(x: Tensor, theta: Tensor, padding: Literal["zeros", "border"] = "zeros") -> Tensor:
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode=padding, align_corners=False)


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
    return tone_jitter(x, generator, p=jittered, brightness=jitter, contrast=jitter)


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


# --- two views of one image: SimCLR ------------------------------------------------------------


def simclr_photo(
    x: Tensor,
    generator: Generator,
    *,
    area: Range = (0.2, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    flip: float = 0.5,
    coloured: float = 0.8,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    gray: float = 0.2,
    blurred: float = 0.5,
) -> Tensor:
    """A view of a photo, ``(B, C, H, W)`` in [0, 1]: crop, flip, colours, gray, blur.

    ``jitter``: ranges of brightness, contrast, saturation and hue (in turns of the colour
    circle).  The blur has sigma 0.1 to 2 at 96 pixels, in proportion elsewhere, none up to 32.
    """
    x = x.contiguous()  # resampling and mixing of colours are faster on planes
    theta = _after(_crop(x, generator, area, ratio), _flip(len(x), flip, generator, x))
    x = _warp(x, theta, padding="border")
    if x.shape[1] == 3:
        x = colour_jitter(x, generator, p=coloured, ranges=jitter)
        x = torch.lerp(x, _luma(x), _hit(len(x), gray, generator, x).view(-1, 1, 1, 1))
    else:
        x = tone_jitter(x, generator, p=coloured, brightness=jitter[0], contrast=jitter[1])
    side = min(x.shape[2:])
    if side <= 32:
        return x
    return blur(x, generator, p=blurred, sigma=(0.1 * side / 96, 2 * side / 96))


def simclr_glyph(
    x: Tensor,
    generator: Generator,
    *,
    area: Range = (0.6, 1.0),
    ratio: Range = (4 / 5, 5 / 4),
    turned: float = 0.8,
    rotate: float = 12.0,
    shift: float = 0.1,
    scale: float = 0.15,
    shear: float = 10.0,
    blurred: float = 0.2,
    thickened: float = 0.3,
    erased: float = 0.25,
    jittered: float = 0.8,
    jitter: float = 0.3,
) -> Tensor:
    """A view of a written sign on a plain ground: never a flip, nor a turn above 12 degrees.

    Crop and affine map, blur, thicker or thinner strokes, a rectangle erased, brightness and
    contrast.  What comes in from outside, or is erased, has the value of the ground.
    """
    ground = background(x)
    turn = _affine(x, generator, p=turned, rotate=rotate, shift=shift, scale=scale, shear=shear)
    x = _warp_on(x, _after(_crop(x, generator, area, ratio), turn), ground)
    x = _blur_gray(x, generator, p=blurred)
    if min(x.shape[2:]) > 8:
        x = stroke(x, generator, p=thickened, ground=ground)
    x = erase(x, generator, p=erased, area=(0.05, 0.15), ground=ground)
    # last, so that the ground is still known where it is filled in
    return tone_jitter(x, generator, p=jittered, brightness=jitter, contrast=jitter)


def simclr_object(
    x: Tensor,
    generator: Generator,
    *,
    area: Range = (0.4, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
    flip: float = 0.5,
    turned: float = 0.5,
    rotate: float = 8.0,
    shift: float = 0.06,
    blurred: float = 0.2,
    erased: float = 0.25,
    jittered: float = 0.8,
    jitter: float = 0.3,
) -> Tensor:
    """A view of a gray thing on a plain ground: crop, flip, small turn, blur, erasing, tones."""
    ground = background(x)
    theta = _after(_crop(x, generator, area, ratio), _flip(len(x), flip, generator, x))
    theta = _after(theta, _affine(x, generator, p=turned, rotate=rotate, shift=shift))
    x = _warp_on(x, theta, ground)
    x = _blur_gray(x, generator, p=blurred)
    x = erase(x, generator, p=erased, area=(0.05, 0.2), ground=ground)
    return tone_jitter(x, generator, p=jittered, brightness=jitter, contrast=jitter)


VIEWS: dict[Views, Augment] = {
    "glyph": simclr_glyph,
    "object": simclr_object,
    "photo": simclr_photo,
}


# --- operations: each draws for every image, and changes those that it hits ----------------------


def background(x: Tensor) -> Tensor:
    """The ground of each image: the median of its border pixels, ``(B, C, 1, 1)``."""
    sides = (x[:, :, 0], x[:, :, -1], x[:, :, 1:-1, 0], x[:, :, 1:-1, -1])
    return torch.cat(sides, dim=2).median(dim=2).values[:, :, None, None]


def tone_jitter(
    x: Tensor, generator: Generator, *, p: float, brightness: float, contrast: float
) -> Tensor:
    """Brightness ``f x`` and contrast ``f x + (1 - f) mean``, in random order, each clipped.

    Each factor is drawn from 1 ± its range; an image is left alone with probability 1 - p.
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


def colour_jitter(
    x: Tensor, generator: Generator, *, p: float, ranges: tuple[float, float, float, float]
) -> Tensor:
    """Brightness, contrast, saturation and hue of RGB images, in random order, each clipped.

    Factors from 1 ± range: ``f x``, ``f x + (1 - f) mean(luma)``, ``f x + (1 - f) luma``; the
    hue turns by ±range of the colour circle around the gray axis, luma kept (rotation of I
    and Q in YIQ).  Each is a 3x3 matrix and an offset, so a step is one product whatever
    the order of an image: step k applies to each image the operation that is its k-th.
    """
    n, _, h, w = x.shape
    hit = _hit(n, p, generator, x)
    drawn = torch.stack([hit * _uniform(n, -r, r, generator, x) for r in ranges])
    keys = torch.stack([_uniform(n, 0, 1, generator, x) for _ in ranges])
    place = keys.argsort(dim=0).argsort(dim=0)  # (4, n): when an operation comes
    luma, eye = x.new_tensor(LUMA), torch.eye(3).to(x)
    flat = x.reshape(n, 3, h * w)
    for step in range(len(ranges)):
        bright, mixed, saturated, turn = drawn * (place == step)
        gray = -saturated[:, None, None] * luma.expand(3, 3)
        matrix = ((1 + saturated)[:, None, None] * eye + gray) @ _hue(turn)
        matrix = ((1 + bright) * (1 + mixed))[:, None, None] * matrix
        offset = (-mixed * (flat.mean(dim=2) @ luma))[:, None, None]
        flat = torch.baddbmm(offset, matrix, flat).clamp_(0, 1)
    return flat.view(n, 3, h, w)


def blur(x: Tensor, generator: Generator, *, p: float, sigma: Range) -> Tensor:
    """Gaussian blur of those hit, each with its own sigma (pixels), as two matrix products.

    ``y = G_h x G_w^T``, ``G_ij ∝ exp(-(i - j)^2 / 2 sigma^2)``, rows sum to 1: the kernel is
    not cut off, and at a border what is left of it is scaled up.
    """
    drawn = _uniform(len(x), *sigma, generator, x)
    rows = _hit(len(x), p, generator, x).nonzero().squeeze(1)

    def kernel(side: int) -> Tensor:
        at = torch.arange(side, device=x.device, dtype=x.dtype)
        gap = (at[:, None] - at).square()
        return torch.softmax(-gap / (2 * drawn[rows].square())[:, None, None], dim=2)[:, None]

    blurred = kernel(x.shape[2]) @ x[rows] @ kernel(x.shape[3]).transpose(2, 3)
    return x.index_copy(0, rows, blurred)


def stroke(x: Tensor, generator: Generator, *, p: float, ground: Tensor) -> Tensor:
    """Gray dilation or erosion by 3x3 of those hit, even odds: thicker or thinner strokes.

    Where less than `LEAST_INK` of the ink would be left, strokes are as thin as the element
    and the sign would be gone: such an image stays as it is.
    """
    n = len(x)
    sign = 2 * _hit(n, 0.5, generator, x) - 1
    rows = _hit(n, p, generator, x).nonzero().squeeze(1)
    plain, up = x[rows], sign[rows].view(-1, 1, 1, 1)
    wide = F.pad(up * plain, (1, 1, 1, 1), mode="replicate")
    wide = torch.maximum(torch.maximum(wide[..., :-2], wide[..., 1:-1]), wide[..., 2:])
    wide = torch.maximum(torch.maximum(wide[..., :-2, :], wide[..., 1:-1, :]), wide[..., 2:, :])

    def ink(y: Tensor) -> Tensor:
        return (y - ground[rows]).abs().sum(dim=(1, 2, 3), keepdim=True)

    changed = up * wide
    gone = ink(changed) < LEAST_INK * ink(plain)
    return x.index_copy(0, rows, torch.where(gone, plain, changed))


def erase(x: Tensor, generator: Generator, *, p: float, area: Range, ground: Tensor) -> Tensor:
    """Fill one rectangle of those hit with their ground: its share ``area``, sides 1:2 to 2:1."""
    n, (h, w) = len(x), x.shape[2:]
    hit = _hit(n, p, generator, x)
    share = hit * _uniform(n, *area, generator, x) * h * w
    ratio = _uniform(n, -math.log(2), math.log(2), generator, x).exp()
    inside = []
    for side, length, at in ((h, share * ratio, 2), (w, share / ratio, 3)):
        length = length.sqrt().round().clamp_max(side)
        start = ((side - length + 1) * _uniform(n, 0, 1, generator, x)).floor()
        where = torch.arange(side, device=x.device)
        covered = (where >= start[:, None]) & (where < (start + length)[:, None])
        inside.append(covered.view(n, 1, *((side, 1) if at == 2 else (1, side))))
    return torch.where(inside[0] & inside[1], ground, x)


# --- pieces ----------------------------------------------------------------------------------


def _hit(n: int, p: float, generator: Generator, like: Tensor) -> Tensor:
    """1 with probability ``p``, else 0, one draw an image."""
    return (_uniform(n, 0, 1, generator, like) < p).to(like)


def _luma(x: Tensor) -> Tensor:
    luma: Tensor = (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return luma


def _hue(turn: Tensor) -> Tensor:
    """``(n,) -> (n, 3, 3)``: a turn of the colour circle around the gray axis."""
    yiq = torch.tensor([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], dtype=torch.float64)
    inverse, yiq = torch.linalg.inv(yiq).to(turn), yiq.to(turn)
    cos, sin = (2 * math.pi * turn).cos(), (2 * math.pi * turn).sin()
    one, zero = torch.ones_like(turn), torch.zeros_like(turn)
    rows = [one, zero, zero, zero, cos, -sin, zero, sin, cos]
    around: Tensor = inverse @ torch.stack(rows, dim=1).view(-1, 3, 3) @ yiq
    return around


def _blur_gray(x: Tensor, generator: Generator, *, p: float) -> Tensor:
    """Blur of sigma 0.3 to 0.8 at 28 pixels, in proportion elsewhere; none up to 16."""
    side = min(x.shape[2:])
    if side <= 16:
        return x
    return blur(x, generator, p=p, sigma=(0.3 * side / 28, 0.8 * side / 28))


def _crop(x: Tensor, generator: Generator, area: Range, ratio: Range, tries: int = 10) -> Tensor:
    """``(n, 2, 3)``: a crop of ``U(area)`` of the image, its sides' ratio log-uniform.

    The first of ten drawn boxes that fits; the last resort is one cut to the image.  Images
    under 8 pixels are not cropped.
    """
    n, (h, w) = len(x), x.shape[2:]
    if min(h, w) < 8:
        return torch.eye(2, 3).to(x).expand(n, 2, 3)
    share = _uniform(n * tries, *area, generator, x).view(n, tries)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    form = _uniform(n * tries, low, high, generator, x).exp().view(n, tries) * (h / w)
    wide, tall = (share * form).sqrt(), (share / form).sqrt()
    first = ((wide <= 1) & (tall <= 1)).to(torch.uint8).argmax(dim=1, keepdim=True)
    wide, tall = (side.gather(1, first).squeeze(1).clamp_max(1) for side in (wide, tall))
    across = (1 - wide) * _uniform(n, -1, 1, generator, x)
    down = (1 - tall) * _uniform(n, -1, 1, generator, x)
    zero = torch.zeros_like(wide)
    return torch.stack([wide, zero, across, zero, tall, down], dim=1).view(n, 2, 3)


def _flip(n: int, p: float, generator: Generator, like: Tensor) -> Tensor:
    """``(n, 2, 3)``: mirror left to right with probability ``p``."""
    theta = torch.eye(2, 3).to(like).repeat(n, 1, 1)
    theta[:, 0, 0] = 1 - 2 * _hit(n, p, generator, like)
    return theta


def _affine(
    x: Tensor,
    generator: Generator,
    *,
    p: float,
    rotate: float,
    shift: float,
    scale: float = 0.0,
    shear: float = 0.0,
) -> Tensor:
    """``(n, 2, 3)``, for those hit: ``[R(a) [[1, tan k], [0, 1]] / s, t]`` in pixels.

    Degrees ``a`` in ±rotate and ``k`` in ±shear, ``s`` in 1 ± scale, ``t`` in ±shift of a
    side.  The turn is one of the picture, also where its sides differ.
    """
    n, (h, w) = len(x), x.shape[2:]
    hit = _hit(n, p, generator, x)
    a = hit * _uniform(n, -rotate, rotate, generator, x) * (math.pi / 180)
    tx = 2 * hit * _uniform(n, -shift, shift, generator, x)
    ty = 2 * hit * _uniform(n, -shift, shift, generator, x)
    cos, sin, skew = a.cos(), a.sin(), torch.zeros_like(a)
    if scale or shear:
        s = 1 + hit * _uniform(n, -scale, scale, generator, x)
        skew = (hit * _uniform(n, -shear, shear, generator, x) * (math.pi / 180)).tan()
        cos, sin = cos / s, sin / s
    across, down = (cos * skew - sin) * (h / w), sin * skew + cos
    return torch.stack([cos, across, tx, sin * (w / h), down, ty], dim=1).view(n, 2, 3)


def _after(outer: Tensor, inner: Tensor) -> Tensor:
    """The map ``outer(inner(.))`` of two maps ``(n, 2, 3)``."""
    both = outer[:, :, :2] @ inner
    both[:, :, 2] += outer[:, :, 2]
    return both


def _warp_on(x: Tensor, theta: Tensor, ground: Tensor) -> Tensor:
    """Resample, ``ground`` coming in from beyond the borders."""
    return _warp(x - ground, theta) + ground
