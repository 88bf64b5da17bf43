"""Weak and strong views: worked numbers, slow twins, Pillow's operations, one draw an image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from handful import randaugment as ra
from handful.randaugment import PAIRS, affine, border_median, cutout, moved

SQUARE = torch.arange(1.0, 17).view(1, 1, 4, 4)
BLACK = torch.zeros(1)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def one(*values):
    return [torch.tensor([float(v)]) for v in values]


# --- worked numbers and slow twins -----------------------------------------------------------


def test_worked_numbers():
    hole = cutout(SQUARE, torch.tensor([1]), torch.tensor([3]), 2, BLACK)
    want = [[1, 2, 0, 0], [5, 6, 0, 0], [9, 10, 11, 12], [13, 14, 15, 16]]
    assert hole[0, 0].tolist() == want
    right = moved(SQUARE, torch.tensor([0]), torch.tensor([1]), BLACK)
    assert right[0, 0].tolist() == [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15]]


@pytest.mark.parametrize("filled", [True, False])
def test_moving_equals_its_slow_twin(filled):
    x = torch.rand(30, 2, 5, 7, generator=draws())
    rng = np.random.default_rng(1)
    dy, dx = rng.integers(-2, 3, (2, 30))
    fill = torch.tensor([0.25, 0.75])
    found = moved(x, torch.from_numpy(dy), torch.from_numpy(dx), fill if filled else None)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="reflect")
    for i in range(30):
        for r in range(5):
            for c in range(7):
                a, b = r - dy[i], c - dx[i]
                inside = 0 <= a < 5 and 0 <= b < 7
                want = padded[i, :, a + 2, b + 2] if inside or not filled else fill.numpy()
                assert np.array_equal(found[i, :, r, c].numpy(), want)


def test_a_hole_equals_its_slow_twin():
    x = torch.rand(40, 1, 6, 9, generator=draws())
    cy, cx = torch.randint(6, (40,)), torch.randint(9, (40,))
    found = cutout(x, cy, cx, 3, torch.tensor([0.5]))
    for i in range(40):
        for r in range(6):
            for c in range(9):
                top, left = int(cy[i]) - 1, int(cx[i]) - 1
                hit = top <= r < top + 3 and left <= c < left + 3
                assert found[i, 0, r, c] == (0.5 if hit else x[i, 0, r, c])


def test_the_affine_map_equals_its_slow_twin():
    """Bilinear by hand, on an image that is not square, in pixels about its middle."""
    h, w = 7, 10
    x = torch.rand(1, 1, h, w, generator=draws())
    angle, tx, ty, kx, ky, size = 17.0, 0.1, -0.05, 0.2, -0.1, 1.15
    found = affine(x, *one(angle, tx, ty, kx, ky, size), fill=torch.tensor([0.3]))
    a = math.radians(angle)
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    matrix = turn @ np.array([[1, kx], [ky, 1]])
    matrix /= size
    for r in range(h):
        for c in range(w):
            u, v = matrix @ [c - (w - 1) / 2, r - (h - 1) / 2]
            u, v = u + tx * w + (w - 1) / 2, v + ty * h + (h - 1) / 2
            value = 0.0
            for row in (math.floor(v), math.floor(v) + 1):
                for column in (math.floor(u), math.floor(u) + 1):
                    share = (1 - abs(v - row)) * (1 - abs(u - column))
                    inside = 0 <= row < h and 0 <= column < w
                    value += share * (float(x[0, 0, row, column]) if inside else 0.3)
            # float32 coordinates: a ten-thousandth of a pixel
            assert float(found[0, 0, r, c]) == pytest.approx(value, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("_autocontrast", lambda im, u: ImageOps.autocontrast(im)),
        ("_brightness", lambda im, u: ImageEnhance.Brightness(im).enhance(0.05 + 0.9 * u)),
        ("_colour", lambda im, u: ImageEnhance.Color(im).enhance(0.05 + 0.9 * u)),
        ("_contrast", lambda im, u: ImageEnhance.Contrast(im).enhance(0.05 + 0.9 * u)),
        ("_equalise", lambda im, u: ImageOps.equalize(im)),
        ("_identity", lambda im, u: im),
        ("_posterise", lambda im, u: ImageOps.posterize(im, 4 + int(u * 5))),
        ("_sharpness", lambda im, u: ImageEnhance.Sharpness(im).enhance(0.05 + 0.9 * u)),
        ("_solarise", lambda im, u: ImageOps.solarize(im, math.ceil(255 * u))),
    ],
)
@pytest.mark.parametrize("u", [0.13, 0.71])
def test_tones_are_those_of_an_image_library(name, theirs, u):
    rng = np.random.default_rng(2)
    # dark and of few levels, so that every operation has something to do
    pixels = (rng.beta(2, 4, (20, 24, 3)) * 200 + 20).astype(np.uint8)
    want = np.asarray(theirs(Image.fromarray(pixels), u)).astype(float)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    found = getattr(ra, name)(x, torch.full((1, 1, 1, 1), u))[0].permute(1, 2, 0) * 255
    inner = (slice(1, -1), slice(1, -1))  # Pillow leaves the border of a smoothed image alone
    assert np.abs(found.numpy() - want)[inner].max() <= 1.5, "a level, and Pillow's rounding"


def test_tones_of_flat_images_stay_finite():
    x = torch.full((4, 3, 9, 9), 0.4)
    for tone in ra.TONES:
        y = tone(x, torch.rand(4, 1, 1, 1, generator=draws()))
        assert torch.isfinite(y).all()
        assert y.min() >= 0
        assert y.max() <= 1
    assert torch.allclose(ra._autocontrast(x, x[:, :1, :1, :1]), x)


def test_blur_is_a_box():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 12), dtype=np.uint8)
    want = np.asarray(Image.fromarray(pixels).filter(ImageFilter.BoxBlur(1))).astype(float)
    found = ra._box(torch.from_numpy(pixels)[None, None].float())[0, 0].numpy()
    assert np.abs(found - want).max() <= 1


# --- what a view may do ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PAIRS))
@pytest.mark.parametrize(("channels", "h", "w"), [(1, 8, 8), (3, 32, 32), (1, 17, 28)])
def test_views_keep_shape_and_range_and_draw_for_each_image(kind, channels, h, w):
    pair = PAIRS[kind]
    image = torch.rand(1, channels, h, w, generator=draws(1))
    x, fill = image.expand(120, -1, -1, -1), pair.fill(image)
    assert fill.shape == (channels,)
    for view, least in ((pair.weak, 5), (pair.strong, 60)):
        before = torch.get_rng_state()
        y = view(x, draws(), fill)
        assert torch.equal(before, torch.get_rng_state())
        assert y.shape == x.shape
        assert y.min() >= -1e-6
        assert y.max() <= 1 + 1e-6
        assert torch.equal(y, view(x, draws(), fill)), "same draws, same view"
        assert len(torch.unique(y.flatten(1), dim=0)) >= least, "one draw for the whole batch"


def lefts(y):
    """Whether more light is on the left, for each image."""
    half = y.shape[3] // 2
    return y[..., :half].mean((1, 2, 3)) > y[..., half:].mean((1, 2, 3))


def test_signs_are_never_mirrored_and_things_are():
    x = torch.zeros(300, 1, 28, 28)
    x[:, :, 6:22, 4:10] = 1
    for view in PAIRS["glyph"][:2]:
        assert lefts(view(x, draws(), BLACK)).float().mean() > 0.97  # a hole may hide the sign
    for kind in ("object", "photo"):
        for view in PAIRS[kind][:2]:
            fill = torch.zeros(1)
            assert 0.35 < lefts(view(x, draws(), fill)).float().mean() < 0.65


def test_an_operation_drawn_twice_stays_within_its_range():
    m = ra._drawn(20_000, 9, draws())
    assert m.abs().max() == 1
    changed = (m != 0).sum(dim=0)
    assert changed.max() == 2
    assert changed.min() == 1  # the same one twice
    assert float((changed == 1).float().mean()) == pytest.approx(1 / 9, abs=0.02)
    assert ((m != 0).float().mean(dim=1) - (1 - (8 / 9) ** 2)).abs().max() < 0.02


def test_weak_shifts_reach_an_eighth_and_bring_the_ground_in():
    x = torch.full((400, 1, 16, 24), 0.2)
    x[:, :, 8, 12] = 1
    y = PAIRS["glyph"].weak(x, draws(), torch.tensor([0.2]))
    at = y.flatten(1).argmax(1)
    assert set((at // 24 - 8).tolist()) == set(range(-2, 3))
    assert set((at % 24 - 12).tolist()) == set(range(-3, 4))
    assert y.flatten(1).sort(dim=1).values[:, :-1].sub(0.2).abs().max() < 1e-6


@pytest.mark.parametrize(("side", "hole"), [(28, 14), (16, 8), (15, 3), (8, 2)])
def test_the_hole_is_half_the_side_and_less_in_tiny_images(side, hole):
    x = torch.ones(300, 1, side, side)
    y = ra._hole(x, draws(), BLACK)
    covered = (y == 0).flatten(1).sum(dim=1)
    assert covered.max() == hole * hole
    assert covered.min() >= (hole // 2) ** 2


def test_tiny_signs_are_not_blurred(monkeypatch):
    called = []
    monkeypatch.setattr(ra, "_box", lambda x, **k: called.append(x.shape[2]) or x)
    for side in (8, 16):
        PAIRS["glyph"].strong(torch.rand(64, 1, side, side), draws(), BLACK)
    assert called == [16]


def test_the_ground_is_the_median_of_all_borders():
    x = torch.rand(5, 2, 6, 4, generator=draws())
    for c in range(2):
        ring = [
            float(x[i, c, r, k]) for i in range(5) for r in range(6) for k in range(4)
            if r in (0, 5) or k in (0, 3)
        ]  # fmt: skip
        assert float(border_median(x)[c]) == pytest.approx(sorted(ring)[(len(ring) - 1) // 2])
