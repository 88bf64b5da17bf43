"""The convolutional auto-encoder for every size, and augmentation on the batch."""

from __future__ import annotations

import pytest
import torch

from handful.augment import augmentation, glyph, photo
from handful.errors import InputError
from handful.networks.cae import CAE, MLPAutoEncoder


@pytest.mark.parametrize(
    ("channels", "size", "block", "none"),
    [
        (1, (28, 28), 276_363, 275_979),
        (1, (16, 16), 262_923, 262_539),
        (1, (8, 8), 254_859, 254_475),
        (3, (32, 32), 298_381, 297_997),
        (3, (96, 96), 642_445, 642_061),
        (3, (45, 61), 384_397, 384_013),
    ],
)
def test_parameter_counts(channels: int, size: tuple[int, int], block: int, none: int) -> None:
    def count(norm: str) -> int:
        network = CAE(channels, size, norm=norm)  # type: ignore[arg-type]
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    assert count("block") == block
    assert count("none") == none


ROWS = {  # side: sizes after conv1-3, padding of conv3, output padding of deconv3, 2, 1
    8: ((4, 2, 1), 1, (1, 1, 1)),
    9: ((5, 3, 1), 0, (0, 0, 0)),
    12: ((6, 3, 1), 0, (0, 1, 1)),
    16: ((8, 4, 2), 1, (1, 1, 1)),
    20: ((10, 5, 2), 0, (0, 1, 1)),
    28: ((14, 7, 3), 0, (0, 1, 1)),
    30: ((15, 8, 4), 1, (1, 0, 1)),
    32: ((16, 8, 4), 1, (1, 1, 1)),
    45: ((23, 12, 6), 1, (1, 0, 0)),
    61: ((31, 16, 8), 1, (1, 0, 0)),
    64: ((32, 16, 8), 1, (1, 1, 1)),
    96: ((48, 24, 12), 1, (1, 1, 1)),
}


@pytest.mark.parametrize("side", ROWS)
def test_each_layer_has_the_size_of_the_table(side: int) -> None:
    network = CAE(1, (side, 8), norm="none")
    convolutions = [m for m in network.encoder if isinstance(m, torch.nn.Conv2d)]
    ups = [m for m in network.decoder if isinstance(m, torch.nn.ConvTranspose2d)]
    x, sizes = torch.zeros(1, 1, side, 8), []
    for convolution in convolutions:
        x = convolution(x)
        sizes.append(x.shape[2])
    assert (tuple(sizes), convolutions[2].padding[0]) == ROWS[side][:2]
    assert tuple(up.output_padding[0] for up in ups) == ROWS[side][2]


@pytest.mark.parametrize("height", range(8, 97, 4))
def test_what_comes_out_has_the_size_that_went_in(height: int) -> None:
    for width in (8, 9, 13, 27, 30, 96):
        network = CAE(1, (height, width), filters=(2, 2, 2), embedding_dim=3).eval()
        z, x = network(torch.zeros(2, 1, height, width))
        assert z.shape == (2, 3)
        assert x.shape == (2, 1, height, width)


@pytest.mark.parametrize(("norm", "layers"), [("block", 4), ("single", 2), ("none", 0)])
def test_options_of_the_network(norm: str, layers: int) -> None:
    network = CAE(3, (12, 10), norm=norm, activation="leaky", out_activation="sigmoid")  # type: ignore[arg-type]
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules()) == layers
    assert any(isinstance(m, torch.nn.LeakyReLU) for m in network.modules())
    _, x = network(torch.randn(4, 3, 12, 10, generator=torch.Generator().manual_seed(0)))
    assert x.min() >= 0
    assert x.max() <= 1


def test_too_small_images_are_refused() -> None:
    with pytest.raises(InputError, match="8x8 at least"):
        CAE(1, (7, 20))


def test_features_have_an_autoencoder_of_their_own() -> None:
    z, x = MLPAutoEncoder(17, embedding_dim=4, hidden=8)(torch.zeros(5, 17))
    assert z.shape == (5, 4)
    assert x.shape == (5, 17)


def image() -> torch.Tensor:
    x = torch.zeros(6, 1, 16, 16)
    x[:, :, 4:12, 6:9] = 1.0
    return x


@pytest.mark.parametrize("augment", [glyph, photo])
def test_every_image_has_its_own_draw(augment: object) -> None:
    out = augment(image(), torch.Generator().manual_seed(1))  # type: ignore[operator]
    again = augment(image(), torch.Generator().manual_seed(1))  # type: ignore[operator]
    assert out.shape == (6, 1, 16, 16)
    assert torch.equal(out, again)
    assert all(not torch.equal(out[0], other) for other in out[1:])
    assert out.min() >= 0
    assert out.max() <= 1


def test_glyph_without_ranges_changes_nothing_and_never_flips() -> None:
    x = torch.rand(3, 1, 11, 16, generator=torch.Generator().manual_seed(2))
    still = glyph(x, torch.Generator(), rotate=0, scale=0, shear=0, shift=0)
    torch.testing.assert_close(still, x, atol=1e-5, rtol=0)
    left = torch.zeros(64, 1, 16, 16)
    left[:, :, :, :3] = 1.0
    out = glyph(left, torch.Generator().manual_seed(3))
    assert (out[..., :8].sum((1, 2, 3)) > out[..., 8:].sum((1, 2, 3))).all()


def test_glyph_moves_by_at_most_its_range() -> None:
    x = torch.zeros(200, 1, 21, 21)
    x[:, :, 10, 10] = 1.0
    out = glyph(x, torch.Generator().manual_seed(4), rotate=0, scale=0, shear=0, shift=0.1)
    at = out.flatten(1).argmax(dim=1)
    moved = torch.stack([at // 21 - 10, at % 21 - 10]).abs()
    assert moved.max() == 2  # a tenth of 21 pixels, rounded
    assert len(at.unique()) > 10


def test_photo_flips_half_of_the_images() -> None:
    x = torch.zeros(400, 3, 12, 12)
    x[..., :4] = 1.0
    out = photo(x, torch.Generator().manual_seed(5), least_area=1.0, jitter=0.0)
    flipped = out[..., 6:].sum((1, 2, 3)) > out[..., :6].sum((1, 2, 3))
    assert 160 < int(flipped.sum()) < 240


def test_an_image_of_one_value_stays_so() -> None:
    grey = torch.full((4, 3, 10, 10), 0.5)
    out = photo(grey, torch.Generator().manual_seed(6))
    assert (out.amax((1, 2, 3)) - out.amin((1, 2, 3))).max() < 1e-5


def test_auto_takes_glyph_for_small_gray_images_only() -> None:
    assert augmentation("auto", 1, 28) == "glyph"
    assert augmentation("auto", 1, 64) == "photo"
    assert augmentation("auto", 3, 28) == "photo"
    assert augmentation("auto", 0, 512) == "none"
    assert augmentation("glyph", 0, 512) == "none"
    assert augmentation("none", 1, 28) == "none"
