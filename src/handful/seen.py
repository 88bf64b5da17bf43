"""What a rule with a network of its own trains on: the images behind a snapshot, in [0, 1].

A learner has a pool; a rule has a snapshot that reads rows.  `seen` makes of it what the
leaves of training take, so that batches, read-ahead and evaluation are the same for both.
For VAAL and SRAAL also what their codes hold in the end: a collapsed code must not go unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handful import features
from handful.errors import InputError
from handful.losses.adversarial import active_latents, kl_divergence
from handful.networks.vae import MLPVAE, VAE, Discriminator
from handful.training import Images, device_for, embed
from handful.types import Array, Pool, Snapshot

__all__ = ["Codes", "ended", "form", "read_codes", "seen", "unit_range"]

COLLAPSED = 0.5  # nats an image: below it the code says nothing
log = logging.getLogger(__name__)


class _Rows:
    """Some rows of a snapshot with the members of a pool that `Images` and `moments` use."""

    def __init__(self, snapshot: Snapshot, rows: NDArray[np.int64], rule: str) -> None:
        self._snapshot, self._rows, self._rule = snapshot, rows, rule
        first = snapshot.images(rows[:1], rule)
        self.features: Array | None = None
        self.channels, self.size = 0, (1, 1)
        if first.ndim == 2:
            self.features = np.asarray(snapshot.images(rows, rule), dtype=np.float32)
        elif first.ndim == 4 and first.dtype == np.uint8:
            self.channels, self.size = first.shape[1], (first.shape[2], first.shape[3])
        else:
            raise InputError(
                f"{rule} got images of {first.dtype} {first.shape}: give uint8 (n, C, H, W),"
                " or features (n, d)"
            )

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, rows: Array) -> Array:
        return self._snapshot.images(self._rows[rows], self._rule)


def seen(snapshot: Snapshot, rows: NDArray[np.int64], *, rule: str) -> Images:
    """The images of these rows; row 0 of the result is ``rows[0]``."""
    pool = cast(Pool, _Rows(snapshot, rows, rule))  # ids and digests are nobody's business here
    if pool.features is not None and not np.isfinite(pool.features).all():
        raise InputError(f"{rule} got features that hold NaN or inf: leave such rows out")
    return Images(pool, device=device_for())


def form(images: Images) -> tuple[int, ...]:
    """``(C, H, W)``, or ``(d,)`` of features."""
    ready = images.pool.features
    return (images.channels, *images.size) if ready is None else (int(ready.shape[1]),)


def unit_range(images: Images) -> Callable[[Tensor], Tensor]:
    """What brings a batch to [0, 1], where a squared error has its usual meaning.

    Pixels are there already.  Features: mean 1/2 and deviation 1/4 in every column, clipped.
    """
    if images.channels:
        return lambda x: x
    mean, deviation = (torch.from_numpy(m).float() for m in features.moments(images.pool))
    mean, deviation = mean.to(images.device), deviation.to(images.device)
    return lambda x: (0.5 + (x - mean) / (4 * deviation)).clamp(0, 1)


class Codes(NamedTuple):
    """``mu (m, Z)`` and the logit of "labelled" ``(m,)``; mean KL in nats, active numbers of Z."""

    mu: NDArray[np.float32]
    logits: NDArray[np.float64]
    kl: float
    active: int


def read_codes(
    vae: VAE | MLPVAE,
    images: Images,
    scaled: Callable[[Tensor], Tensor],
    rows: NDArray[np.int64],
    *,
    critic: Discriminator | None = None,
) -> Codes:
    """What both networks make of these rows in evaluation mode, z not drawn; no critic: logit 0.

    One pass of the encoder; m (Z + 2) numbers.
    """

    def forward(x: Tensor) -> Tensor:
        mu, logvar = vae.encode(scaled(x))
        logit = critic(mu) if critic is not None else mu.new_zeros(len(mu))
        return torch.cat([logit[:, None], kl_divergence(mu, logvar)[:, None], mu], dim=1)

    found = embed(forward, images, rows, network=vae)
    # float32 says no more than 5 digits: equal images in two places of a batch must tie
    logits = np.round(found[:, 0].double().numpy(), 5)
    mu = found[:, 2:]
    return Codes(mu.numpy(), logits, float(found[:, 1].mean()), active_latents(mu))


def ended(rule: str, figures: dict[str, float], *, beta: float) -> dict[str, float]:
    """Log how a game ended, for the memo as well; warn where nothing is encoded any more."""
    said = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    log.info("%s ended with %s", rule, said)
    if figures["kl"] < COLLAPSED or not figures["active"]:
        log.warning(
            "%s: the code is collapsed (%s), so the batch is nearly random; lower beta, now %g",
            *(rule, said, beta),
        )
    return {name: round(float(value), 6) for name, value in figures.items()}
