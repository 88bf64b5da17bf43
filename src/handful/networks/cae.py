"""The convolutional auto-encoder of DCEC and CCL, for any image from 8x8 up.

Source: X. Guo, X. Liu, E. Zhu, J. Yin, "Deep clustering with convolutional
autoencoders", ICONIP 2017; batch-norm as in the CCL paper.  Layers::

    conv 5x5/2 f1 - ReLU - BN - conv 5x5/2 f2 - ReLU - BN - conv 3x3/2 f3 - ReLU
    flatten - linear d                                           (the embedding)
    linear - ReLU - deconv 3x3/2 f2 - ReLU - BN - deconv 5x5/2 f1 - ReLU - BN - deconv 5x5/2

DCEC pads its third convolution by "same" or "valid" depending on the height, which works
for multiples of 4 only.  Here the padding is 0 where the side that enters is odd (and at
least 3), else 1: the same network wherever DCEC's own rule works, and exact output sizes
everywhere else, square or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from torch import Tensor, nn

from handful.errors import InputError

__all__ = ["CAE", "MLPAutoEncoder", "Norm"]

Norm: TypeAlias = Literal["block", "single", "none"]
Pair: TypeAlias = tuple[int, int]


def _halve(size: Pair, kernel: int, padding: Pair) -> Pair:
    """Output size of a stride-2 convolution."""
    h, w = ((m + 2 * p - kernel) // 2 + 1 for m, p in zip(size, padding, strict=True))
    return h, w


def _output_padding(small: Pair, large: Pair, kernel: int, padding: Pair) -> Pair:
    """What a stride-2 transposed convolution must add to reach ``large`` exactly: 0 or 1."""
    h, w = (
        b - (2 * (a - 1) - 2 * p + kernel) for a, b, p in zip(small, large, padding, strict=True)
    )
    return h, w


class CAE(nn.Module):
    """Encoder ``(B, C, H, W) -> (B, d)`` and decoder back; pixels in [0, 1].

    ``norm``: "block" after the activation of conv1, conv2, deconv3, deconv2; "single" the
    literal singular of the CCL paper, once after conv3 and once before deconv1; "none" as
    DCEC.  6.7 million multiply-adds a forward pass for a 28x28 gray image.  ``code_dim``: the
    width of what the decoder takes, where it is not the embedding itself.
    """

    def __init__(
        self,
        channels: int,
        size: Pair,
        *,
        embedding_dim: int = 10,
        code_dim: int | None = None,
        filters: Sequence[int] = (32, 64, 128),
        norm: Norm = "block",
        activation: Literal["relu", "leaky"] = "relu",
        out_activation: Literal["linear", "sigmoid"] = "linear",
    ) -> None:
        super().__init__()
        if min(size) < 8:
            raise InputError(f"images of {size[0]}x{size[1]} are too small: 8x8 at least")
        f1, f2, f3 = filters
        five: Pair = (2, 2)
        s1 = _halve(size, 5, five)
        s2 = _halve(s1, 5, five)
        three: Pair = tuple(0 if m % 2 and m >= 3 else 1 for m in s2)  # type: ignore[assignment]
        s3 = _halve(s2, 3, three)

        def act() -> nn.Module:
            return nn.ReLU() if activation == "relu" else nn.LeakyReLU(0.01)

        def block_norm(width: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(width)] if norm == "block" else []

        def single_norm(width: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(width)] if norm == "single" else []

        self.encoder = nn.Sequential(
            *(nn.Conv2d(channels, f1, 5, 2, five), act(), *block_norm(f1)),
            *(nn.Conv2d(f1, f2, 5, 2, five), act(), *block_norm(f2)),
            *(nn.Conv2d(f2, f3, 3, 2, three), act(), *single_norm(f3)),
            nn.Flatten(),
            nn.Linear(f3 * s3[0] * s3[1], embedding_dim),
        )
        up3 = nn.ConvTranspose2d(f3, f2, 3, 2, three, _output_padding(s3, s2, 3, three))
        up2 = nn.ConvTranspose2d(f2, f1, 5, 2, five, _output_padding(s2, s1, 5, five))
        up1 = nn.ConvTranspose2d(f1, channels, 5, 2, five, _output_padding(s1, size, 5, five))
        self.decoder = nn.Sequential(
            *(nn.Linear(code_dim or embedding_dim, f3 * s3[0] * s3[1]), act()),
            nn.Unflatten(1, (f3, *s3)),
            *(up3, act(), *block_norm(f2)),
            *(up2, act(), *block_norm(f1), *single_norm(f1)),
            up1,
            nn.Sigmoid() if out_activation == "sigmoid" else nn.Identity(),
        )

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        return z, self.decode(z)


class MLPAutoEncoder(nn.Module):
    """The auto-encoder for ready features ``(B, D)``: D - h - h - d - h - h - D.

    It makes CCL usable on features of photos and beyond images.  Features are standardised
    by whoever trains it; batch-norm after each activation, as in `CAE`.
    """

    def __init__(self, features: int, *, embedding_dim: int = 10, hidden: int = 256) -> None:
        super().__init__()

        def layer(a: int, b: int) -> list[nn.Module]:
            return [nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b)]

        self.encoder = nn.Sequential(
            *layer(features, hidden), *layer(hidden, hidden), nn.Linear(hidden, embedding_dim)
        )
        self.decoder = nn.Sequential(
            *layer(embedding_dim, hidden), *layer(hidden, hidden), nn.Linear(hidden, features)
        )

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z: Tensor) -> Tensor:
        x: Tensor = self.decoder(z)
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.encode(x)
        return z, self.decode(z)
