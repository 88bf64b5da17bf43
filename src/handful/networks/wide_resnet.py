"""Networks of semi-supervised learning: a wide residual one as published, a slim one for a CPU.

Source: S. Zagoruyko, N. Komodakis, "Wide residual networks", BMVC 2016; the form with leaky
units and slow batch-norm is that of semi-supervised papers since A. Oliver et al., "Realistic
evaluation of deep semi-supervised learning algorithms", NeurIPS 2018.

::

    conv 3x3, 16 - group(16 w) - group(32 w, half) - group(64 w, half) - BN - leaky - mean - linear
    group := (depth - 4) / 6 blocks;  block(x) := s(x) + conv(leaky(BN(conv(leaky(BN(x))))))

``s`` is the identity, or a 1x1 convolution where width or side changes; in the first block of
all it sees x after the first BN and leaky unit.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from handful.errors import RecipeError

__all__ = ["SlimCNN", "WideResNet"]

SLOPE = 0.1  # of the leaky units
SLOW = 1e-3  # share of a batch in the running statistics: they go with averaged weights
SMALL = 24  # pixels: from here on the first convolution of the slim network halves the side


class WideResNet(nn.Module):
    """WRN-``depth``-``widen`` for images ``(B, C, H, W)`` of 8x8 and more, any number of classes.

    ``forward(x) -> logits (B, K)``; ``embed(x) -> (B, 64 widen)``, the mean over all places.
    28-2 for RGB and K = 10 has 1,467,610 weights.  Cost: .2 G multiply-adds for 32x32.
    """

    def __init__(self, channels: int, n_classes: int, *, depth: int = 28, widen: int = 2) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise RecipeError(f"learner.depth is {depth}: 10, 16, 22, 28, ... (6 n + 4)")
        blocks, widths = (depth - 4) // 6, [16, 16 * widen, 32 * widen, 64 * widen]
        self.width, self.heads = widths[3], None
        self.stem = nn.Conv2d(channels, widths[0], 3, padding=1, bias=False)
        groups = [
            _Block(widths[g] if i == 0 else widths[g + 1], widths[g + 1], 2 if g and not i else 1)
            for g in range(3)
            for i in range(blocks)
        ]
        groups[0].both = True
        self.body = nn.Sequential(
            *groups,
            nn.BatchNorm2d(widths[3], momentum=SLOW),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        last = nn.Linear(widths[3], n_classes)
        self.top = nn.Sequential(last)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, SLOPE, mode="fan_out")
        nn.init.xavier_normal_(last.weight)
        nn.init.zeros_(last.bias)

    def embed(self, x: Tensor) -> Tensor:
        """The vector before the last layer, ``(B, 64 widen)``."""
        z: Tensor = self.body(self.stem(x))
        return z

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.embed(x))
        return logits


class _Block(nn.Module):
    """BN and leaky unit before each of two convolutions; ``both`` ways start behind the first."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.both = False
        self.bn1 = nn.BatchNorm2d(inputs, momentum=SLOW)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, momentum=SLOW)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        same = inputs == outputs and stride == 1
        self.short = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.bn1(x), SLOPE)
        if self.both:
            x = h
        h = F.leaky_relu(self.bn2(self.conv1(h)), SLOPE)
        out: Tensor = self.conv2(h) + (x if self.short is None else self.short(x))
        return out


class SlimCNN(nn.Module):
    """Four convolutions for a CPU: 61,050 weights for gray and K = 10.

    A hundredth of the work of WRN-28-2; batch-norm and ReLU behind each convolution::

        conv 3x3, 16 (half from 24 pixels on) - conv 3x3, 32 - max-pool 2 - conv 3x3, 64
        - max-pool 2 - conv 3x3, 64 - mean - linear

    The last one sees all of a small sign.

    ``forward(x) -> logits (B, K)``; ``embed(x) -> (B, 64)``.
    """

    def __init__(self, channels: int, n_classes: int, *, side: int, width: int = 16) -> None:
        super().__init__()
        self.width, self.heads = 4 * width, None
        first = 2 if side >= SMALL else 1
        self.stem = _conv(channels, width, first)
        self.body = nn.Sequential(
            _conv(width, 2 * width),
            nn.MaxPool2d(2),
            _conv(2 * width, 4 * width),
            nn.MaxPool2d(2, ceil_mode=True),  # 7 places a side become 4, none is lost
            _conv(4 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.top = nn.Sequential(nn.Linear(4 * width, n_classes))

    def embed(self, x: Tensor) -> Tensor:
        """The vector before the last layer, ``(B, 4 width)``."""
        z: Tensor = self.body(self.stem(x))
        return z

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.embed(x))
        return logits


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
