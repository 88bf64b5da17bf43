"""The classifier that every query rule is compared on: a small CNN, trained from scratch.

Layers, for images ``(B, C, H, W)`` in [0, 1] of 8x8 to 96x96::

    conv 3x3, 32, pad 1 - BN - ReLU - conv 3x3, 32, pad 1 - BN - ReLU - max-pool 2 - dropout .25
    conv 3x3, 64, pad 1 - BN - ReLU - conv 3x3, 64, pad 1 - BN - ReLU - max-pool 2 - dropout .25
    adaptive average pool to 4x4 - linear 1024 -> 128 - ReLU - dropout .5 - linear 128 -> K

The 128 numbers before the last dropout are the embedding.  What comes before the first
dropout (`stem`) does not change between stochastic passes, so it is computed once for all
of them.  `SmallMLP` is the same idea for vectors: ready features instead of images.

Methods that compare classifiers give either network further linear heads on the same 128
numbers (``heads``); the prediction is the top's, always.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

__all__ = ["LinearHeads", "SmallCNN", "SmallMLP", "dropout_on", "statistics_kept"]


class SmallCNN(nn.Module):
    """Two blocks of two convolutions, one hidden layer: 197,866 weights for gray and K = 10.

    ``forward(x (B, C, H, W)) -> logits (B, K)``;  ``embed(x) -> (B, 128)``.
    """

    def __init__(
        self, channels: int, n_classes: int, *, width: int = 32, hidden: int = 128, heads: int = 0
    ):
        super().__init__()
        self.width = hidden  # of the embedding
        wide = 2 * width
        self.stem = nn.Sequential(
            _conv(channels, width), _conv(width, width), nn.MaxPool2d(2)
        )  # everything before the first dropout
        self.body = nn.Sequential(
            nn.Dropout(0.25),
            _conv(width, wide),
            _conv(wide, wide),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * wide, hidden),
            nn.ReLU(),
        )
        self.top = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, n_classes))
        self.heads = _linear(heads, hidden, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """The vector before the last dropout, ``(B, 128)``."""
        z: Tensor = self.body(self.stem(x))
        return z

    def hidden(self, x: Tensor) -> Tensor:
        """The same behind the last dropout: what the top's linear layer and the heads read."""
        h: Tensor = self.top[0](self.embed(x))
        return h

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.embed(x))
        return logits


class SmallMLP(nn.Module):
    """The same for ready features ``(B, d)``: BN - linear 256 - BN - ReLU - linear 128 - ReLU.

    The first BN takes the place of the fixed range that pixels have: features come on any scale.
    """

    def __init__(
        self, d: int, n_classes: int, *, width: int = 256, hidden: int = 128, heads: int = 0
    ):
        super().__init__()
        self.width = hidden  # of the embedding
        self.stem = nn.Sequential(
            nn.BatchNorm1d(d), nn.Linear(d, width), nn.BatchNorm1d(width), nn.ReLU()
        )
        self.body = nn.Sequential(nn.Dropout(0.25), nn.Linear(width, hidden), nn.ReLU())
        self.top = nn.Sequential(nn.Dropout(0.5), nn.Linear(hidden, n_classes))
        self.heads = _linear(heads, hidden, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """The vector before the last dropout, ``(B, 128)``."""
        z: Tensor = self.body(self.stem(x))
        return z

    def hidden(self, x: Tensor) -> Tensor:
        """The same behind the last dropout: what the top's linear layer and the heads read."""
        h: Tensor = self.top[0](self.embed(x))
        return h

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.embed(x))
        return logits


class LinearHeads(nn.Module):
    """Ready features ``(B, d)``, standardised, and linear heads on them: nothing else to train.

    ``stem`` has no weight, only the statistics of all images; keep it in evaluation mode.
    """

    def __init__(self, d: int, n_classes: int, *, heads: int = 0):
        super().__init__()
        self.width = d  # of the embedding
        self.stem = nn.BatchNorm1d(d, affine=False)
        self.body = nn.Identity()
        self.top = nn.Sequential(nn.Identity(), nn.Linear(d, n_classes))
        self.heads = _linear(heads, d, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """The standardised features, ``(B, d)``."""
        z: Tensor = self.stem(x)
        return z

    def hidden(self, x: Tensor) -> Tensor:
        """The same: there is no dropout."""
        return self.embed(x)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.top(self.embed(x))
        return logits


def _conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _linear(heads: int, hidden: int, n_classes: int) -> nn.ModuleList | None:
    """Further heads, drawn after all other weights: without them the rest is the same."""
    return nn.ModuleList(nn.Linear(hidden, n_classes) for _ in range(heads)) if heads else None


@contextmanager
def dropout_on(network: nn.Module) -> Iterator[None]:
    """Switch on the dropout layers alone, everything else in evaluation mode; restore after.

    ``network.train()`` would also make batch normalisation use the statistics of the batch:
    an image's scores would then depend on its neighbours (Gal, Islam, Ghahramani, ICML 2017,
    do not say so, and code that copies them often gets it wrong).
    """
    modes = {module: module.training for module in network.modules()}
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def statistics_kept(network: nn.Module) -> Iterator[None]:
    """Batch-norm goes on normalising a batch by itself, and its running statistics stay.

    For a second stream of images in a training step (the unlabelled ones): the statistics that
    evaluation uses then come from one stream alone.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
