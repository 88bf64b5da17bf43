"""Augmentation on the batch: one draw an image, each operation against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from handful.augment import (
    AUGMENTS,
    augmentation,
    background,
    colour_jitter,
    glyph,
    gray_object,
    photo,
)
from handful.latent import AutoEncoderOptions, LatentSpace
from handful.pool import open_arrays
from handful.progress import Silent


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
    twin_draws = draws(5)

    def one(low: float, high: float) -> np.ndarray:
        return torch.empty(40).uniform_(low, high, generator=twin_draws).double().numpy()

    one(0, 1)  # flip
    one(0, 1)  # turned
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
    out = colour_jitter(x, draws(2), p=0.8, brightness=0.3, contrast=0.3)
    twin_draws = draws(2)

    def one(low: float, high: float) -> list[float]:
        return torch.empty(60).uniform_(low, high, generator=twin_draws).tolist()

    hit, bright, contrast, first = one(0, 1), one(-0.3, 0.3), one(-0.3, 0.3), one(0, 1)
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


# --- all of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(set(AUGMENTS) - {"none"}))
@pytest.mark.parametrize("size", [(1, 16, 16), (3, 12, 20)])
def test_one_draw_an_image_from_the_generator_alone(kind: str, size: tuple[int, ...]) -> None:
    x = noise(1, *size).expand(8, *size).contiguous(memory_format=torch.channels_last)
    kept = x.clone()
    before = torch.get_rng_state()
    out = AUGMENTS[kind](x, draws(1))  # type: ignore[index]
    again = AUGMENTS[kind](x, draws(1))  # type: ignore[index]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(x, kept)
    assert torch.equal(out, again)
    assert out.shape == x.shape
    assert all(not torch.equal(out[0], other) for other in out[1:])
    assert out.min() >= 0
    assert out.max() <= 1
    assert not torch.equal(AUGMENTS[kind](x, draws(2)), out)  # type: ignore[index]


@pytest.mark.parametrize("kind", sorted(set(AUGMENTS) - {"none"}))
def test_an_image_never_sees_its_neighbours(kind: str) -> None:
    x = noise(6, 3, 16, 16)
    other = x.clone()
    other[1:] = noise(5, 3, 16, 16, seed=9)
    torch.testing.assert_close(
        AUGMENTS[kind](x, draws(4))[0],  # type: ignore[index]
        AUGMENTS[kind](other, draws(4))[0],  # type: ignore[index]
    )


def test_ccl_can_train_on_objects() -> None:
    pixels = (shape_on(0.0, n=24, side=12)[:, 0].numpy() * 255).astype(np.uint8)
    pool = open_arrays("things", {"images": pixels}).pool
    space = LatentSpace(AutoEncoderOptions(augment="object", pretrain_epochs=1, filters=(4, 4, 4)))
    space.attach(pool)
    space.pretrain(np.random.default_rng(0), Silent())
    assert space.augment is gray_object
    assert augmentation("object", 1, 28) == "object"
    assert augmentation("object", 0, 512) == "none"
