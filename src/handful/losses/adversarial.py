"""VAAL and SRAAL: an auto-encoder against a discriminator that tells labelled images from others.

Sources: S. Sinha, S. Ebrahimi, T. Darrell, "Variational adversarial active learning", ICCV
2019; B. Zhang et al., "State-relabeling adversarial active learning", CVPR 2020.  With
``mu, logvar (B, Z)`` of the encoder, ``x_hat`` of the decoder and the logit of the
probability ``D(mu)`` of being labelled::

    KL_b  = 1/2 sum_z (mu^2 + exp(logvar) - 1 - logvar)
    rec_b = 1/2 sum (x - x_hat)^2                          a Gaussian decoder of variance 1
    L_vae = mean_b (rec_b + beta KL_b)
    L_adv = BCE(D(mu_l), 1) + BCE(D(mu_u), 1)              all shall look labelled
    L_D   = BCE(D(mu_l), 1) + BCE(D(mu_u), t)              VAAL: t = 0; SRAAL: t = 1 - U

VAAL's released code averages the square over all elements and sums the KL over the batch,
which makes beta larger by ``B C H W / 2``: the code collapses (``reduction="released"``).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Reduction",
    "active_latents",
    "adversarial_loss",
    "discriminator_loss",
    "kl_divergence",
    "squared_error",
    "vae_loss",
]

Reduction: TypeAlias = Literal["image", "released"]


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL of N(mu, exp(logvar)) from N(0, 1) of each image in nats: ``(B, Z), (B, Z) -> (B,)``."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def active_latents(mu: Tensor, *, least: float = 0.01) -> int:
    """How many numbers of the code say something: variance of ``mu (n, Z)`` above ``least``."""
    return int((mu.var(dim=0, unbiased=False) > least).sum())


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """``rec_b = 1/2 ||x_b - x_hat_b||^2``: two ``(B, ...)`` -> ``(B,)``."""
    return 0.5 * (x - x_hat).square().flatten(1).sum(dim=1)


def vae_loss(
    x: Tensor,
    x_hat: Tensor,
    mu: Tensor,
    logvar: Tensor,
    *,
    beta: float,
    reduction: Reduction = "image",
) -> Tensor:
    """``mean_b (rec_b + beta KL_b)`` of one stream of images.

    ``"released"``: ``(1 / (B C H W)) sum (x - x_hat)^2 + beta sum_b KL_b``, the fault of the
    released code of VAAL, kept to show what it does.
    """
    kl = kl_divergence(mu, logvar)
    if reduction == "released":
        return F.mse_loss(x_hat, x) + beta * kl.sum()
    return (squared_error(x, x_hat) + beta * kl).mean()


def adversarial_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """``L_adv`` of the logits ``(l,)`` and ``(u,)``: the encoder wants both to look labelled."""
    return _bce(labelled, 1.0) + _bce(unlabelled, 1.0)


def discriminator_loss(
    labelled: Tensor, unlabelled: Tensor, target: Tensor | float = 0.0
) -> Tensor:
    """``L_D`` of the logits ``(l,)`` and ``(u,)``; ``target``: ``t`` of each unlabelled image.

    With a soft target the least value is the target's entropy, not 0.
    """
    return _bce(labelled, 1.0) + _bce(unlabelled, target)


def _bce(logits: Tensor, target: Tensor | float) -> Tensor:
    wanted = target if isinstance(target, Tensor) else torch.full_like(logits, target)
    return F.binary_cross_entropy_with_logits(logits, wanted)
