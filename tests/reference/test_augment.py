"""Augmentation on the batch: one draw an image, each operation against a slow twin."""

from __future__ import annotations

import cmath
import colorsys
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from handful.augment import (
    AUGMENTS,
    LEAST_INK,
    LUMA,
    VIEWS,
    Augment,
    augmentation,
    background,
    blur,
    colour_jitter,
    erase,
    glyph,
    gray_object,
    photo,
    simclr_glyph,
    simclr_object,
    simclr_photo,
    stroke,
    tone_jitter,
)
from handful.latent import AutoEncoderOptions, LatentSpace
from handful.pool import open_arrays
from handful.progress import Silent

ALL: dict[str, Augment] = {k: v for k, v in AUGMENTS.items() if k != "none"}
ALL |= {f"simclr-{k}": v for k, v in VIEWS.items()}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Twin:
    """Draws what the fast version draws, number by number, in the order it says it does."""

    def __init__(self, n: int, seed: int) -> None:
        self.n, self.generator = n, draws(seed)

    def __call__(self, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        drawn = torch.empty(self.n).uniform_(low, high, generator=self.generator)
        return drawn.double().numpy()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=draws(seed))


def shape_on(ground: float, *, n: int = 64, side: int = 24) -> torch.Tensor:
    """A rectangle left of the middle, on a plain ground."""
    x = torch.full((n, 1, side, side), ground)
    x[:, :, 6:18, 5:11] = 1 - ground
    return x


# --- object ----------------------------------------------------------------------------------


def test_glyph_and_photo_still_draw_what_they_drew() -> None:
    """Rows measured with these two stand in the results: their stream must not move."""
    x = noise(3, 3, 9, 9)
    torch.testing.assert_close(
        glyph(x, draws(7)).double().sum((1, 2, 3)),
        torch.tensor([101.0933, 111.2737, 119.8022], dtype=torch.float64),
        atol=1e-3,
        rtol=0,
    )
    torch.testing.assert_close(
        photo(x, draws(7)).double().sum((1, 2, 3)),
        torch.tensor([111.8807, 131.3900, 100.4209], dtype=torch.float64),
        atol=1e-3,
        rtol=0,
    )


@pytest.mark.parametrize("ground", [0.0, 0.2, 1.0])
def test_an_object_moves_on_its_own_ground(ground: float) -> None:
    x = shape_on(ground)
    torch.testing.assert_close(background(x), torch.full((64, 1, 1, 1), ground))
    out = gray_object(x, draws(), turned=1.0, jittered=0.0)
    # what came in from beyond the borders is ground, nothing else
    torch.testing.assert_close(out[:, :, :2], x[:, :, :2], atol=1e-6, rtol=0)
    assert (out != x).flatten(1).any(dim=1).all()


def test_an_object_is_mirrored_half_of_the_time_and_never_stood_on_its_head() -> None:
    x = shape_on(0.0, n=400)
    x[:, :, 15:18] *= 0.5  # darker at the foot
    out = gray_object(x, draws(), turned=0.0, jittered=0.0)
    mirrored = (out - x.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    assert torch.equal(mirrored, (out - x).abs().amax((1, 2, 3)) > 0.1)
    assert 160 < int(mirrored.sum()) < 240


def test_an_object_turns_as_scipy_turns_it() -> None:
    """Slow twin: `scipy.ndimage.affine_transform`, sides that differ, angle and shift read off."""
    x = noise(40, 1, 20, 30, seed=3)
    x[:, :, :3] = x[:, :, -3:] = x[..., :3] = x[..., -3:] = 0.25  # a plain border
    out = gray_object(x, draws(5), flip=0.0, turned=1.0, rotate=8.0, shift=0.06, jittered=0.0)
    one = Twin(40, 5)
    one(), one()  # flip, turned
    angle, across, down = np.deg2rad(one(-8, 8)), 30 * one(-0.06, 0.06), 20 * one(-0.06, 0.06)
    for i in range(40):
        cos, sin = math.cos(angle[i]), math.sin(angle[i])
        matrix = np.array([[cos, sin], [-sin, cos]])  # rows and columns: y first
        centre = np.array([9.5, 14.5])
        moved = np.array([down[i], across[i]])
        offset = centre + moved - matrix @ centre
        twin = ndimage.affine_transform(
            x[i, 0].double().numpy(), matrix, offset, order=1, mode="grid-constant", cval=0.25
        )
        np.testing.assert_allclose(out[i, 0].numpy(), twin, atol=2e-5)


def test_brightness_and_contrast_come_in_either_order() -> None:
    """Slow twin: image by image with the drawn factors, clipped after each step."""
    x = noise(60, 1, 6, 6, seed=1)
    out = tone_jitter(x, draws(2), p=0.8, brightness=0.3, contrast=0.3)
    one = Twin(60, 2)
    hit, bright, contrast, first = one(), one(-0.3, 0.3), one(-0.3, 0.3), one()
    for i in range(60):
        twin = x[i].double()
        steps = ["bright", "contrast"] if first[i] < 0.5 else ["contrast", "bright"]
        for step in steps if hit[i] < 0.8 else []:
            if step == "bright":
                twin = (twin * (1 + bright[i])).clamp(0, 1)
            else:
                f = 1 + contrast[i]
                twin = (f * twin + (1 - f) * twin.mean()).clamp(0, 1)
        torch.testing.assert_close(out[i].double(), twin, atol=1e-6, rtol=0)
    untouched = (out == x).flatten(1).all(dim=1)
    assert untouched.tolist() == [h >= 0.8 for h in hit]


# --- views -----------------------------------------------------------------------------------


def test_a_crop_is_resampled_as_scipy_samples_it() -> None:
    """Slow twin: the first of ten boxes that fits, `map_coordinates` within it."""
    n, h, w = 30, 20, 32
    x = noise(n, 3, h, w, seed=4)
    out = simclr_photo(x, draws(3), flip=0.5, coloured=0.0, gray=0.0, blurred=0.0)
    one, many = Twin(n, 3), Twin(10 * n, 3)
    many.generator = one.generator
    area = many(0.2, 1.0).reshape(n, 10)
    ratio = np.exp(many(math.log(3 / 4), math.log(4 / 3))).reshape(n, 10)
    place = one(-1, 1), one(-1, 1)
    mirrored = one() < 0.5
    shares = []
    for i in range(n):
        boxes = [
            (math.sqrt(a * h * w * r), math.sqrt(a * h * w / r))
            for a, r in zip(area[i], ratio[i], strict=True)
        ]
        wide, tall = next(b for b in boxes if b[0] <= w and b[1] <= h)
        shares.append(wide * tall / (h * w))
        left, top = ((1 + place[0][i]) * (w - wide) / 2, (1 + place[1][i]) * (h - tall) / 2)
        columns = left + (np.arange(w) + 0.5) * wide / w - 0.5
        columns = columns[::-1] if mirrored[i] else columns
        rows = top + (np.arange(h) + 0.5) * tall / h - 0.5
        at = np.meshgrid(rows, columns, indexing="ij")
        for channel in range(3):
            twin = ndimage.map_coordinates(
                x[i, channel].double().numpy(), at, order=1, mode="nearest"
            )
            np.testing.assert_allclose(out[i, channel].numpy(), twin, atol=2e-5)
    assert min(shares) >= 0.2
    assert min(shares) < 0.4
    assert max(shares) > 0.7


def test_a_box_that_never_fits_is_cut_to_the_image() -> None:
    across = noise(4, 1, 1, 12).expand(4, 1, 12, 12)  # tells columns apart, not rows
    box: dict[str, Any] = {"area": (1.0, 1.0), "ratio": (2.0, 2.0), "flip": 0.0, "coloured": 0.0}
    torch.testing.assert_close(simclr_photo(across, draws(), **box), across, atol=1e-5, rtol=0)
    down = across.transpose(2, 3)
    out = simclr_photo(down, draws(), **box)
    steps = (out[..., 1:, 0] - out[..., :-1, 0]).abs().sum() / 12
    assert steps < (down[..., 1:, 0] - down[..., :-1, 0]).abs().sum() / 12  # 0.7 of the height


def test_colours_change_as_a_loop_over_pixels_changes_them() -> None:
    """Slow twin: image by image in the drawn order, the hue by a rotation of I and Q."""
    n = 40
    x = noise(n, 3, 3, 4, seed=5)
    out = colour_jitter(x, draws(6), p=0.8, ranges=(0.4, 0.4, 0.4, 0.1))
    one = Twin(n, 6)
    hit = one() < 0.8
    bright, mixed, saturated, turn = one(-0.4, 0.4), one(-0.4, 0.4), one(-0.4, 0.4), one(-0.1, 0.1)
    keys = np.stack([one() for _ in range(4)])
    luma = np.array(LUMA)
    yiq = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    orders = set()
    for i in range(n):
        twin = x[i].double().numpy()
        order = tuple(np.argsort(keys[:, i]))
        orders.add(order)
        for operation in order if hit[i] else ():
            gray = np.tensordot(luma, twin, 1)
            if operation == 0:
                twin = (1 + bright[i]) * twin
            elif operation == 1:
                twin = (1 + mixed[i]) * twin - mixed[i] * gray.mean()
            elif operation == 2:
                twin = (1 + saturated[i]) * twin - saturated[i] * gray
            else:
                y, in_phase, quadrature = np.tensordot(yiq, twin, 1)
                chroma = (in_phase + 1j * quadrature) * np.exp(2j * np.pi * turn[i])
                turned = np.stack([y, chroma.real, chroma.imag])
                twin = np.tensordot(np.linalg.inv(yiq), turned, 1)
            twin = twin.clip(0, 1)
        np.testing.assert_allclose(out[i].numpy(), twin, atol=1e-5)
    assert len(orders) > 12  # of 24


def test_the_hue_turns_as_the_standard_library_turns_it() -> None:
    """`colorsys` rounds its weights otherwise (.30, .59, .11): 0.02 of 1."""
    x = 0.3 + 0.3 * noise(20, 3, 1, 1, seed=8)
    out = colour_jitter(x, draws(1), p=1.0, ranges=(0.0, 0.0, 0.0, 0.1))
    one = Twin(20, 1)
    one(), one(0, 0), one(0, 0), one(0, 0)
    turn = one(-0.1, 0.1)
    for i in range(20):
        y, in_phase, quadrature = colorsys.rgb_to_yiq(*x[i].flatten().tolist())
        chroma = complex(in_phase, quadrature) * cmath.exp(2j * math.pi * turn[i])
        twin = colorsys.yiq_to_rgb(y, chroma.real, chroma.imag)
        np.testing.assert_allclose(out[i].flatten().numpy(), twin, atol=0.02)


def test_a_fifth_of_the_views_of_photos_is_gray() -> None:
    x = noise(1, 3, 8, 8).expand(600, 3, 8, 8)
    out = simclr_photo(x, draws(2), coloured=0.0)
    gray = (out - out.mean(dim=1, keepdim=True)).abs().amax((1, 2, 3)) < 1e-6
    assert 90 < int(gray.sum()) < 150
    colours = simclr_photo(x, draws(2), coloured=0.0, gray=0.0)
    luma = (colours * torch.tensor(LUMA).view(3, 1, 1)).sum(dim=1, keepdim=True).expand_as(x)
    torch.testing.assert_close(simclr_photo(x, draws(2), coloured=0.0, gray=1.0), luma)


def test_blur_is_a_gaussian_cut_at_the_border() -> None:
    """Slow twin: weights over the whole image, pixel by pixel."""
    x = noise(12, 2, 7, 9, seed=6)
    out = blur(x, draws(3), p=0.6, sigma=(0.3, 2.0))
    one = Twin(12, 3)
    sigma, hit = one(0.3, 2.0), one() < 0.6
    assert 0 < hit.sum() < 12
    i, j = np.arange(7), np.arange(9)
    for k in range(12):
        twin = x[k].double().numpy()
        if hit[k]:
            flat = np.zeros_like(twin)
            for a in range(7):
                for b in range(9):
                    far = (i[:, None] - a) ** 2 + (j - b) ** 2
                    weight = np.exp(-far / (2 * sigma[k] ** 2))
                    flat[:, a, b] = (twin * weight).sum((1, 2)) / weight.sum()
            twin = flat
        np.testing.assert_allclose(out[k].numpy(), twin, atol=1e-6)


def test_blur_agrees_with_scipy_away_from_the_border() -> None:
    x = noise(1, 1, 41, 41, seed=7)
    out = blur(x, draws(), p=1.0, sigma=(1.5, 1.5))
    twin = ndimage.gaussian_filter(x[0, 0].double().numpy(), 1.5, truncate=6)
    np.testing.assert_allclose(out[0, 0, 12:-12, 12:-12], twin[12:-12, 12:-12], atol=1e-5)


def test_small_photos_are_never_blurred() -> None:
    x = noise(50, 3, 32, 32)
    still: dict[str, Any] = {
        "area": (1.0, 1.0),
        "ratio": (1.0, 1.0),
        "flip": 0.0,
        "coloured": 0.0,
        "gray": 0.0,
    }
    torch.testing.assert_close(simclr_photo(x, draws(), **still), x, atol=2e-5, rtol=0)
    large = noise(50, 3, 48, 48)
    changed = simclr_photo(large, draws(), **still) - large
    assert 12 < int((changed.abs().amax((1, 2, 3)) > 1e-3).sum()) < 38


@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_strokes_grow_and_shrink_as_in_scipy(ground: float) -> None:
    """Slow twin: `scipy.ndimage.grey_dilation` and `grey_erosion`, 3x3."""
    ink = torch.zeros(60, 1, 20, 20)
    ink[:, :, 4:16, 7:13] = 0.5 + 0.5 * noise(60, 1, 12, 6, seed=2)
    x = ink if ground == 0 else 1 - ink
    out = stroke(x, draws(4), p=0.5, ground=background(x))
    one = Twin(60, 4)
    up, hit = one() < 0.5, one() < 0.5
    for i in range(60):
        plain = x[i, 0].numpy()
        change = ndimage.grey_dilation if up[i] else ndimage.grey_erosion
        twin = change(plain, size=3, mode="nearest") if hit[i] else plain
        np.testing.assert_array_equal(out[i, 0].numpy(), twin)


def test_a_stroke_that_would_be_gone_stays() -> None:
    x = torch.zeros(40, 1, 12, 12)
    x[:, :, :, 5:7] = 1.0  # two pixels wide: an erosion leaves nothing
    out = stroke(x, draws(), p=1.0, ground=background(x))
    share = out.sum((1, 2, 3)) / x.sum((1, 2, 3))
    assert set(share.tolist()) == {1.0, 2.0}
    assert LEAST_INK < 1


def test_one_rectangle_is_erased() -> None:
    x = 0.5 + 0.5 * noise(1200, 1, 20, 30, seed=3)
    ground = torch.full((1200, 1, 1, 1), 0.1)
    out = erase(x, draws(6), p=0.25, area=(0.05, 0.15), ground=ground)
    gone = (out == 0.1)[:, 0]
    hit = gone.flatten(1).any(dim=1)
    assert 250 < int(hit.sum()) < 350
    assert torch.equal(out[~hit], x[~hit])
    for mask in gone[hit]:
        rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
        tall, wide = (int(r.max() - r.min()) + 1 for r in (rows, columns))
        assert int(mask.sum()) == tall * wide  # a rectangle, filled
        assert 0.03 < tall * wide / 600 < 0.18
        assert 0.4 < tall / wide < 2.5
    assert gone.any(dim=0).all()  # anywhere


def test_a_sign_is_mapped_as_scipy_maps_it() -> None:
    """Slow twin: rotation, scale, shear and translation by `affine_transform`, no crop."""
    n, h, w = 30, 20, 28
    x = noise(n, 1, h, w, seed=3)
    x[:, :, :4] = x[:, :, -4:] = x[..., :4] = x[..., -4:] = 0.75
    out = simclr_glyph(
        x,
        draws(5),
        area=(1.0, 1.0),
        ratio=(1.4, 1.4),  # the whole of it
        turned=0.8,
        blurred=0.0,
        thickened=0.0,
        erased=0.0,
        jittered=0.0,
    )
    one = Twin(n, 5)
    hit = one() < 0.8
    angle, across, down = np.deg2rad(one(-12, 12)), w * one(-0.1, 0.1), h * one(-0.1, 0.1)
    scale, shear = 1 + one(-0.15, 0.15), np.tan(np.deg2rad(one(-10, 10)))
    assert 0 < hit.sum() < n
    for i in range(n):
        twin = x[i, 0].double().numpy()
        if hit[i]:
            cos, sin = math.cos(angle[i]), math.sin(angle[i])
            turn = np.array([[cos, -sin], [sin, cos]]) @ [[1, shear[i]], [0, 1]] / scale[i]
            matrix = turn[::-1, ::-1]  # rows before columns
            centre, moved = np.array([(h - 1) / 2, (w - 1) / 2]), np.array([down[i], across[i]])
            offset = centre + moved - matrix @ centre
            twin = ndimage.affine_transform(
                twin, matrix, offset, order=1, mode="grid-constant", cval=0.75
            )
        np.testing.assert_allclose(out[i, 0].numpy(), twin, atol=2e-5)


@pytest.mark.parametrize("view", [simclr_glyph, simclr_object])
@pytest.mark.parametrize("ground", [0.0, 1.0])
def test_what_comes_in_is_ground(view: Callable[..., Tensor], ground: float) -> None:
    x = torch.full((200, 1, 28, 28), ground)
    x[:, :, 9:19, 9:19] = 0.5
    out = view(x, draws(1), jittered=0.0, blurred=0.0)
    low, high = min(ground, 0.5), max(ground, 0.5)
    assert out.min() >= low - 1e-6
    assert out.max() <= high + 1e-6
    # a sign may grow to the border, but its corners stay ground
    corners = out[:, 0, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert ((corners - ground).abs() < 1e-5).float().mean() > 0.97


def test_a_sign_is_never_mirrored_and_an_object_is() -> None:
    x = torch.zeros(400, 1, 16, 16)
    x[:, :, 2:14, 3:6] = 1.0

    def on_the_right(view: Augment) -> float:
        out = view(x, draws(3))
        out = out - background(out)
        return float((out[..., 8:].sum((1, 2, 3)) > out[..., :8].sum((1, 2, 3))).float().mean())

    assert on_the_right(simclr_glyph) < 0.03
    assert 0.35 < on_the_right(simclr_object) < 0.55


@pytest.mark.parametrize("view", sorted(VIEWS))
def test_tiny_images_are_neither_cropped_nor_blurred(view: str) -> None:
    x = noise(30, 1, 7, 9)
    still: dict[str, Any] = {"flip": 0.0} if view == "photo" else {"turned": 0.0, "erased": 0.0}
    still |= {"flip": 0.0} if view == "object" else {}
    still |= {"coloured": 0.0} if view == "photo" else {"jittered": 0.0}
    out = VIEWS[view](x, draws(), **still)
    torch.testing.assert_close(out, x, atol=1e-5, rtol=0)


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(ALL))
@pytest.mark.parametrize("size", [(1, 16, 16), (3, 12, 20), (3, 40, 36)])
def test_one_draw_an_image_from_the_generator_alone(kind: str, size: tuple[int, ...]) -> None:
    x = noise(1, *size).expand(8, *size).contiguous(memory_format=torch.channels_last)
    kept = x.clone()
    before = torch.get_rng_state()
    out = ALL[kind](x, draws(1))
    again = ALL[kind](x, draws(1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, kept)
    assert torch.equal(out, again)
    assert out.shape == x.shape
    assert all(not torch.equal(out[0], other) for other in out[1:])
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(ALL[kind](x, draws(2)), out)


@pytest.mark.parametrize("kind", sorted(ALL))
def test_an_image_never_sees_its_neighbours(kind: str) -> None:
    x = noise(6, 3, 36, 36)
    other = x.clone()
    other[1:] = noise(5, 3, 36, 36, seed=9)
    torch.testing.assert_close(ALL[kind](x, draws(4))[0], ALL[kind](other, draws(4))[0])


@pytest.mark.parametrize("kind", sorted(ALL))
def test_an_image_of_one_value_keeps_to_one_value(kind: str) -> None:
    """Where black may come in from outside (`glyph`), it is black already."""
    x = torch.zeros(16, 3, 20, 20)
    out = ALL[kind](x, draws(4))
    torch.testing.assert_close(out, x)


def test_ccl_can_train_on_objects() -> None:
    pixels = (shape_on(0.0, n=24, side=12)[:, 0].numpy() * 255).astype(np.uint8)
    pool = open_arrays("things", {"images": pixels}).pool
    space = LatentSpace(AutoEncoderOptions(augment="object", pretrain_epochs=1, filters=(4, 4, 4)))
    space.attach(pool)
    space.pretrain(np.random.default_rng(0), Silent())
    assert space.augment is gray_object
    assert augmentation("object", 1, 28) == "object"
    assert augmentation("object", 0, 512) == "none"
