"""VAAL: a VAE hides from a discriminator who has a label; ask where it does not succeed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import RecipeError
from handful.registry import register_query, top_k
from handful.types import Picks, Snapshot

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from handful.networks.vae import MLPVAE, VAE, Discriminator

__all__ = ["VAAL"]

WINDOW = 50  # steps that the figures at the end are the mean of
_log = logging.getLogger(__name__)


@register_query("vaal")
@dataclass(frozen=True)
class VAAL:
    """Ask about the images whose codes a discriminator finds least like those of labelled ones.

    Formula   the k lowest logits of D(mu(x)).  VAE and D play: ``L_vae`` of both streams
              + w_adv L_adv with D fixed, then L_D with the VAE fixed (`losses.adversarial`).
    Needs     images, or ready features (an MLP in place of convolutions); of the learner
              nothing: no class label enters.  Without a label the batch is random.
    Cost      ``steps`` x (2 passes of the VAE forward and backward on 128 images), new in every
              round; then one pass over the open images.  The images as uint8, or the features
              twice, up to 4 GB; Z + 2 numbers an open image.  Memory: at most 500 MB at
              200,000 x 128 (features; 100 MB for as many images of 8 x 8).
    Source    Sinha, Ebrahimi & Darrell, ICCV 2019.
    Here      square and KL are both summed over an image and averaged over the batch; the
              released code mixes two averages and its code collapses (``released``).  beta .01:
              with 1 a small image costs more than it is worth.  Both streams pass batch-norm
              together.  How the game ended is logged, and kept in the memo.
    When      some kind of image has no label yet, and looks different.  Not where classes
              differ in a detail: the VAE looks at the whole image.

    A rule does not see the recipe's schedule: published are ``steps`` 3,000, the default is fast.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    cold: ClassVar[bool] = False
    name: ClassVar[str] = "vaal"

    steps: int = 800  # of the game in one round
    vae_steps: int = 2  # of the VAE, for one of the discriminator
    batch_size: int = 64  # of each stream, or all its images when these are fewer
    lr: float = 5e-4  # of Adam, both networks
    beta: float = 0.01  # weight of the KL
    w_adv: float = 1.0  # weight of hiding
    latent: int | None = None  # Z; 32, and 64 for colour above 32 x 32
    network: Literal["auto", "conv", "mlp"] = "auto"  # auto: conv for images of 8 x 8 or more
    filters: tuple[int, ...] = (32, 64, 128)  # of the three convolutions
    hidden: int = 512  # width of the discriminator's two layers
    reduction: Literal["image", "released"] = "image"  # released: the fault of the authors' code
    bn: Literal["joint", "separate"] = "joint"  # batch-norm of both streams, or of each alone
    ties: Literal["random", "index"] = "random"  # index: for worked numbers

    def __post_init__(self) -> None:
        if min(self.steps, self.vae_steps, self.batch_size) < 1 or len(self.filters) != 3:
            raise RecipeError(
                "query 'vaal' needs steps, vae_steps and batch_size of 1 or more, and 3 filters"
            )

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        free, labelled = np.flatnonzero(snapshot.open), np.flatnonzero(snapshot.known >= 0)
        if k <= 0 or k >= len(free):
            return snapshot.picks(free[: max(k, 0)])
        if not len(labelled):
            _log.warning("vaal has no labelled image to compare with: the batch is random")
            return snapshot.picks(rng.permutation(free)[:k])
        logits, figures = self._play(snapshot, labelled, free, rng)
        best = top_k(-logits, k, rng, ties=self.ties, who=self.name)
        return snapshot.picks(free[best], memo={"vaal": figures})

    def _play(
        self,
        snapshot: Snapshot,
        labelled: NDArray[np.int64],
        free: NDArray[np.int64],
        rng: Generator,
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Train both networks: logit of "labelled" of every open image, and how it ended."""
        import torch

        from handful.losses.adversarial import discriminator_loss
        from handful.seen import ended, form, read_codes, seen, unit_range
        from handful.training import Meter, check_finite, cycle, seeded

        images = seen(snapshot, np.concatenate([labelled, free]), rule=self.name)
        scaled, n_l = unit_range(images), len(labelled)
        batches_l = cycle(np.arange(n_l), self.batch_size, rng)
        batches_u = cycle(np.arange(n_l, len(images)), self.batch_size, rng)
        meter = Meter()
        with seeded(rng):
            vae, critic = self._networks(form(images), images.device)
            of_vae = torch.optim.Adam(vae.parameters(), lr=self.lr, fused=True)
            of_critic = torch.optim.Adam(critic.parameters(), lr=self.lr, fused=True)
            for step in range(self.steps):
                critic.requires_grad_(False)
                for _ in range(self.vae_steps):
                    rows_l, rows_u = next(batches_l), next(batches_u)
                    x = scaled(images.float(np.concatenate([rows_l, rows_u])))
                    loss, error, mu_l, mu_u = self._hidden(vae, critic, x, len(rows_l))
                    of_vae.zero_grad(set_to_none=True)
                    torch.autograd.backward(loss)
                    of_vae.step()
                critic.requires_grad_(True)
                told = discriminator_loss(critic(mu_l.detach()), critic(mu_u.detach()))
                of_critic.zero_grad(set_to_none=True)
                torch.autograd.backward(told)
                of_critic.step()
                if step % WINDOW == 0 or step == self.steps - 1:
                    losses = {"vae": loss, "discriminator": told}
                    check_finite(losses, stage="vaal", step=step, lr=self.lr)
                if step >= self.steps - WINDOW:
                    meter.add(len(x), {"mse": error, "loss_d": told})
        codes = read_codes(vae, images, scaled, np.arange(n_l, len(images)), critic=critic)
        figures = {"kl": codes.kl, "active": codes.active, **meter.means()}
        return codes.logits, ended(self.name, figures, beta=self.beta)

    def _networks(
        self, shape: tuple[int, ...], device: torch.device
    ) -> tuple[VAE | MLPVAE, Discriminator]:
        from handful.networks.vae import Discriminator, vae_for

        latent = self.latent
        if latent is None:
            latent = 64 if len(shape) == 3 and shape[0] > 1 and max(shape[1:]) > 32 else 32
        vae = vae_for(shape, network=self.network, latent=latent, filters=self.filters)
        return vae.to(device).train(), Discriminator(latent, hidden=self.hidden).to(device)

    def _hidden(
        self, vae: VAE | MLPVAE, critic: Discriminator, x: Tensor, n_l: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``L_G`` of a batch whose first ``n_l`` images are labelled, the error, both codes."""
        from handful.losses.adversarial import adversarial_loss, vae_loss

        x_l, x_u = x[:n_l], x[n_l:]
        known, unknown = vae(x).split(n_l) if self.bn == "joint" else (vae(x_l), vae(x_u))
        loss = sum(
            vae_loss(y, out.x_hat, out.mu, out.logvar, beta=self.beta, reduction=self.reduction)
            for y, out in ((x_l, known), (x_u, unknown))
        )
        hiding = adversarial_loss(critic(known.mu), critic(unknown.mu))
        error = (x_u - unknown.x_hat).square().mean()
        return loss + self.w_adv * hiding, error, known.mu, unknown.mu
