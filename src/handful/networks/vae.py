"""Variational auto-encoders of images and of vectors, and the discriminator of their codes.

::

    encoder    x -> mu, logvar (B, Z);   z = mu + exp(logvar / 2) eps
    decoder    the first ``decoded`` numbers of z -> x_hat; all of them, unless told otherwise
    D          mu -> logit of "labelled", hidden layers of ReLU

`VAE` is the convolutional trunk of `CAE` with two heads; `MLPVAE` the same for vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from handful.errors import InputError
from handful.networks.cae import CAE

__all__ = ["MLPVAE", "VAE", "Coded", "Discriminator", "Kind", "vae_for"]

Kind: TypeAlias = Literal["auto", "conv", "mlp"]


class Coded(NamedTuple):
    """What a pass gives: ``x_hat`` as ``x``, ``mu``, ``logvar`` and the drawn ``z (B, Z)``."""

    x_hat: Tensor
    mu: Tensor
    logvar: Tensor
    z: Tensor

    def split(self, n: int) -> tuple[Coded, Coded]:
        """The first ``n`` images and the others."""
        return Coded(*(t[:n] for t in self)), Coded(*(t[n:] for t in self))


class VAE(nn.Module):
    """Images ``(B, C, H, W)`` in [0, 1] from 8x8 up.  ``forward`` draws z from torch's state."""

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        *,
        latent: int = 32,
        decoded: int | None = None,
        filters: Sequence[int] = (32, 64, 128),
    ) -> None:
        super().__init__()
        self.decoded = latent if decoded is None else decoded
        self.trunk = CAE(
            channels, size, embedding_dim=2 * latent, code_dim=self.decoded, filters=filters
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``mu, logvar``, each ``(B, Z)``."""
        mu, logvar = self.trunk.encode(x).chunk(2, dim=1)
        return mu, logvar

    def forward(self, x: Tensor) -> Coded:
        mu, logvar = self.encode(x)
        z = _drawn(mu, logvar)
        return Coded(self.trunk.decode(z[:, : self.decoded]), mu, logvar, z)


class MLPVAE(nn.Module):
    """Vectors ``(B, d)``, or images flattened: d - 256 - 128 - Z and back, ReLU, no batch-norm."""

    def __init__(
        self,
        shape: Sequence[int],
        *,
        latent: int = 32,
        decoded: int | None = None,
        hidden: Sequence[int] = (256, 128),
    ) -> None:
        super().__init__()
        d, (wide, narrow) = int(torch.Size(shape).numel()), hidden
        self.decoded = latent if decoded is None else decoded
        self.encoder = nn.Sequential(
            *(nn.Flatten(), nn.Linear(d, wide), nn.ReLU()),
            *(nn.Linear(wide, narrow), nn.ReLU(), nn.Linear(narrow, 2 * latent)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(self.decoded, narrow), nn.ReLU(), nn.Linear(narrow, wide), nn.ReLU()),
            *(nn.Linear(wide, d), nn.Unflatten(1, tuple(shape))),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``mu, logvar``, each ``(B, Z)``."""
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        return mu, logvar

    def forward(self, x: Tensor) -> Coded:
        mu, logvar = self.encode(x)
        z = _drawn(mu, logvar)
        return Coded(self.decoder(z[:, : self.decoded]), mu, logvar, z)


class Discriminator(nn.Module):
    """``mu (B, Z) -> (B,)``, the logit of "this image has a label"."""

    def __init__(self, latent: int, *, hidden: int = 512, layers: int = 2) -> None:
        super().__init__()
        widths = [latent, *[hidden] * layers]
        stack: list[nn.Module] = []
        for a, b in pairwise(widths):
            stack += [nn.Linear(a, b), nn.ReLU()]
        self.body = nn.Sequential(*stack, nn.Linear(widths[-1], 1))

    def forward(self, mu: Tensor) -> Tensor:
        logit: Tensor = self.body(mu).squeeze(1)
        return logit


def vae_for(
    shape: tuple[int, ...],
    *,
    network: Kind = "auto",
    latent: int = 32,
    decoded: int | None = None,
    filters: Sequence[int] = (32, 64, 128),
) -> VAE | MLPVAE:
    """The auto-encoder of images ``(C, H, W)`` or of vectors ``(d,)``.

    ``"auto"``: convolutions for images of 8x8 or more, else the MLP.
    """
    fits = len(shape) == 3 and min(shape[1:]) >= 8
    if network == "mlp" or (network == "auto" and not fits):
        return MLPVAE(shape, latent=latent, decoded=decoded)
    if not fits:
        raise InputError(f"a convolutional network takes images of 8x8 or more, not {shape}")
    channels, height, width = shape
    made = VAE(channels, (height, width), latent=latent, decoded=decoded, filters=filters)
    placed: VAE = made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed


def _drawn(mu: Tensor, logvar: Tensor) -> Tensor:
    return mu + torch.exp(logvar / 2) * torch.randn_like(mu)
