"""A small ConvNeXt: the blocks of the large one, few enough to train in a test.

::

    stem    conv s x s, stride s - LN                     (s = 2: for images of 16 to 96 pixels)
    stage   [LN - conv 2x2, stride 2, from the second on]  then ``depth`` blocks
    block   x + gamma * W2 GELU(W1 LN(dwconv 7x7(x)))      W1: C -> 4 C, W2: 4 C -> C
    top     global average - LN

gamma starts at 1e-6, so that a block starts as the identity.
Z. Liu, H. Mao, C.-Y. Wu, C. Feichtenhofer, T. Darrell, S. Xie, "A ConvNet for the 2020s",
CVPR 2022, Fig. 4; stages (1, 1, 2) of 48, 96, 192 instead of (3, 3, 9, 3) of 96 to 768.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Block", "ConvNeXt"]


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of ``(B, C, H, W)``, pixel by pixel."""

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = super().forward(x.permute(0, 2, 3, 1))
        return z.permute(0, 3, 1, 2)


class Block(nn.Module):
    """``x + gamma * W2 GELU(W1 LN(dwconv 7x7(x)))`` for ``x (B, C, H, W)``."""

    def __init__(self, channels: int, *, scale: float = 1e-6) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide = nn.Linear(channels, 4 * channels)
        self.back = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.mix(x).permute(
            0, 2, 3, 1
        )  # channels last: both products are linear layers
        z = self.gamma * self.back(F.gelu(self.wide(self.norm(z))))
        return x + z.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """``(B, 3, H, W) -> (B, widths[-1])``; 0.8 million weights with the defaults.

    Every size from ``stem 2^(stages - 1)`` pixels on; weights are drawn from a normal
    distribution of deviation .02, cut off at two.
    """

    def __init__(
        self,
        *,
        depths: tuple[int, ...] = (1, 1, 2),
        widths: tuple[int, ...] = (48, 96, 192),
        stem: int = 2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], stem, stride=stem),
            LayerNorm2d(widths[0], eps=1e-6),
        ]
        before = widths[0]
        for depth, width in zip(depths, widths, strict=True):
            if width != before:
                layers += [LayerNorm2d(before, eps=1e-6), nn.Conv2d(before, width, 2, stride=2)]
            layers += [Block(width) for _ in range(depth)]
            before = width
        self.stages = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(before, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.norm(self.stages(x).mean((2, 3)))
        return z
