"""The embedding layer: a linear map that starts out keeping the distances between images.

::

    F(x) = E (x - mean) + b,   and F / max(||F||_2, 1e-12) with norm = "l2"

Source: Zhao, Chen, Zhou 2024 (DSAC), II-A.  The layer starts isometric, because the first
clustering is made before anything is trained: a random map would make it depend on a seed.
``p <= m``: orthonormal columns, every distance is kept; ``p > m``: the top m principal
directions of the pool, the map of rank m that keeps the distances best.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from handful.geometry import row_blocks

__all__ = ["EmbedNorm", "Embedding", "isometry"]

EmbedNorm: TypeAlias = Literal["none", "l2"]
HeadKind: TypeAlias = Literal["linear", "relu-bn-linear"]
Matrix: TypeAlias = NDArray[np.float64]
EXACT_WIDTH = 4096  # above, the covariance (p, p) is never made
PASSES = 6  # over the data, of the subspace iteration that takes its place


class Embedding(nn.Module):
    """``(B, p) -> (B, m)``; ``mean`` is a constant of the pool and travels with the weights."""

    mean: Tensor

    def __init__(self, p: int, m: int, *, norm: EmbedNorm = "none") -> None:
        super().__init__()
        self.norm = norm
        self.linear = nn.Linear(p, m)
        self.register_buffer("mean", torch.zeros(p))

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.linear(x - self.mean)
        return F.normalize(z, dim=1, eps=1e-12) if self.norm == "l2" else z

    def start(self, x: NDArray[Any], rng: Generator) -> None:
        """Make the layer the isometry of the vectors ``x (n, p)`` (or of a sample of them)."""
        weight, mean = isometry(x, self.linear.out_features, rng)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(weight))
            self.linear.bias.zero_()
            self.mean.copy_(torch.from_numpy(mean))


def isometry(x: NDArray[Any], m: int, rng: Generator) -> tuple[Matrix, Matrix]:
    """``W (m, p)`` and the mean ``(p,)`` such that ``W (x - mean)`` keeps distances, or most.

    ``p <= m``: W has orthonormal columns, drawn by ``rng``.  ``p > m``: orthonormal rows, the
    top m principal directions, the largest entry of each positive; a flat direction is as
    good as any.  O(n p^2 + p^3) time up to a width of 4,096, O(passes n p m) above; blocks of
    64 MB beside the result.
    """
    n, p = x.shape
    mean = x.mean(axis=0, dtype=np.float64) if n else np.zeros(p)
    if p <= m:
        Q, R = np.linalg.qr(rng.normal(size=(m, p)))
        return Q * np.where(np.diag(R) < 0, -1, 1), mean
    if p <= EXACT_WIDTH:
        covariance = np.zeros((p, p))
        for rows in row_blocks(n, p):
            b = (x[rows] - mean).astype(np.float32)  # half the time; the sum of blocks is float64
            covariance += b.T @ b
        top = np.linalg.eigh(covariance)[1][:, : -m - 1 : -1]
    else:
        top = _leading(x, mean, m, rng)
    largest = np.take_along_axis(top, np.abs(top).argmax(axis=0)[None], axis=0)
    return np.ascontiguousarray((top * np.where(largest < 0, -1, 1)).T), mean


def _leading(x: NDArray[Any], mean: Matrix, m: int, rng: Generator) -> Matrix:
    """The top ``m`` principal directions ``(p, m)`` by subspace iteration."""
    p = x.shape[1]
    basis = np.linalg.qr(rng.normal(size=(p, min(p, m + 10))))[0]
    for _ in range(PASSES):
        product = np.zeros_like(basis)
        for rows in row_blocks(len(x), p):
            b = x[rows] - mean
            product += b.T @ (b @ basis)
        basis, R = np.linalg.qr(product)
    # directions inside the subspace, by falling variance
    order = np.linalg.svd(R)[0]
    leading: Matrix = (basis @ order)[:, :m]
    return leading


class EmbeddedClassifier(nn.Module):
    """``x -> F(x), f(F(x))``: a body (a backbone, or nothing before cached vectors), E and f.

    ``head="linear"``: f is one linear layer, its weights from N(0, 1 / m), biases 0;
    ``"relu-bn-linear"`` puts ReLU and batch norm before it.
    """

    def __init__(
        self,
        body: nn.Module,
        p: int,
        m: int,
        n_classes: int,
        *,
        norm: EmbedNorm = "none",
        head: HeadKind = "linear",
    ) -> None:
        super().__init__()
        self.body, self.embedding = body, Embedding(p, m, norm=norm)
        self.before = (
            nn.Sequential(nn.ReLU(), nn.BatchNorm1d(m))
            if head == "relu-bn-linear"
            else nn.Sequential()
        )
        self.last = _last(m, n_classes)

    def embed(self, x: Tensor) -> Tensor:
        """``F(x)``: ``(B, ...) -> (B, m)``."""
        z: Tensor = self.embedding(self.body(x))
        return z

    def logits(self, z: Tensor) -> Tensor:
        """``f(z)``: ``(B, m) -> (B, c)``."""
        # batch norm cannot train on one image
        self.before.train(self.training and len(z) > 1)
        found: Tensor = self.last(self.before(z))
        return found

    def forward(self, x: Tensor, free: int = 0, seen: bool = False) -> tuple[Tensor, Tensor]:
        """F of all rows, and logits of those after the first ``free``, which have no class.

        ``seen``: ``x (B, p)`` is what the body made of the rows before.
        """
        z = self.embedding(x) if seen else self.embed(x)
        return z, self.logits(z[free:])

    def grow(self, n_classes: int) -> None:
        """Rows of f for classes that came since, drawn from torch's state; the others stay."""
        old, c = self.last, self.last.out_features
        if n_classes <= c:
            return
        self.last = _last(old.in_features, n_classes).to(old.weight.device)
        with torch.no_grad():
            self.last.weight[:c] = old.weight
            self.last.bias[:c] = old.bias


def _last(m: int, n_classes: int) -> nn.Linear:
    layer = nn.Linear(m, n_classes)
    nn.init.normal_(layer.weight, std=m**-0.5)
    nn.init.zeros_(layer.bias)
    return layer
