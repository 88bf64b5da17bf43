"""SRAAL: VAAL's game, in which an unlabelled image counts as labelled where the learner is sure."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import RecipeError
from handful.registry import register_query, top_k
from handful.types import Array, Picks, Snapshot

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from handful.networks.vae import MLPVAE, VAE, Discriminator

__all__ = ["SRAAL", "uncertainty"]

WINDOW = 50  # steps that the figures at the end are the mean of
SURE = 1e-9  # U up to which nothing counts as unlabelled
_log = logging.getLogger(__name__)


@register_query("sraal")
@dataclass(frozen=True)
class SRAAL:
    """Ask about images whose codes look unlabelled, where unlabelled means: the learner doubts.

    Formula   the k lowest logits of D(mu(x)).  A VAE, half of whose code is decoded while the
              other half is classified, and D play: ``L_vae`` of both streams + w_stl CE of the
              labelled + w_adv L_adv with D fixed; then L_D with target 1 - U(x) for an
              unlabelled x (`losses.adversarial`).  U: `uncertainty` of the learner's proba.
    Needs     ``proba`` and the labels; images, or ready features (an MLP in place of
              convolutions).  Starts cold: the VAE alone, then k-center on its codes.
    Cost      ``steps`` x (2 passes of the VAE forward and backward on 128 images), new in every
              round; then one pass over the open images.  The images as uint8, or the features
              twice, up to 4 GB; Z + 3 numbers an open image.  Memory: at most 500 MB at
              200,000 x 128 (features; 170 MB for as many images of 8 x 8).
    Source    Zhang, Li, Yang, Wang, Zha & Huang, CVPR 2020.
    Here      labelled is 1 throughout; the released code turns the states round but not the
              encoder's aim.  U by the variance over C, uniform rows 1; the code's own is
              ``oui_variance="released"``.  U is that of the learner as it was just trained.  KL
              once, summed as the square is.  Mean U, KL, error and L_D are logged, and kept in
              the memo: a mean U near 1 is VAAL.
    When      as `VAAL`, with a learner whose probabilities mean something.

    A rule does not see the recipe's schedule: published are ``steps`` 2,000, the default is fast.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "sraal"

    steps: int = 500  # of the game in one round
    vae_steps: int = 2  # of the VAE, for one of the discriminator
    batch_size: int = 64  # of each stream, or all its images when these are fewer
    lr: float = 5e-4  # of Adam, both networks
    beta: float = 0.01  # weight of the KL
    w_stl: float = 5.0  # weight of the labels
    w_adv: float = 1.0  # weight of hiding
    latent: int = 64  # Z: one half is decoded, the other classified
    network: Literal["auto", "conv", "mlp"] = "auto"  # auto: conv for images of 8 x 8 or more
    filters: tuple[int, ...] = (32, 64, 128)  # of the three convolutions
    hidden: int = 512  # width of the discriminator's four layers
    oui_variance: Literal["population", "released"] = "population"  # released: over C - 1
    ties: Literal["random", "index"] = "random"  # index: for worked numbers

    def __post_init__(self) -> None:
        least = min(self.steps, self.vae_steps, self.batch_size)
        if least < 1 or self.latent < 2 or self.latent % 2 or len(self.filters) != 3:
            raise RecipeError(
                "query 'sraal' needs steps, vae_steps and batch_size of 1 or more, an even"
                " latent and 3 filters"
            )

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        proba = snapshot.part("proba", self.name)
        free, labelled = np.flatnonzero(snapshot.open), np.flatnonzero(snapshot.known >= 0)
        if k <= 0 or k >= len(free):
            return snapshot.picks(free[: max(k, 0)])
        if not len(labelled):
            codes = self._unlabelled(snapshot, free, rng)
            nobody = np.empty(0, dtype=np.int64)
            spread = geometry.k_center(codes, nobody, k, rng, ties=self.ties)
            return snapshot.picks(free[spread.rows])
        doubt = uncertainty(proba[free], variance=self.oui_variance)
        if doubt.max() <= SURE:
            _log.warning("sraal: %s doubts no image, so the batch is random", snapshot.learner)
            return snapshot.picks(rng.permutation(free)[:k])
        logits, figures = self._play(snapshot, labelled, free, doubt, rng)
        best = top_k(-logits, k, rng, ties=self.ties, who=self.name)
        return snapshot.picks(free[best], memo={"sraal": figures})

    def _play(
        self,
        snapshot: Snapshot,
        labelled: NDArray[np.int64],
        free: NDArray[np.int64],
        doubt: NDArray[np.float64],
        rng: Generator,
    ) -> tuple[NDArray[np.float64], dict[str, float]]:
        """Train all networks: logit of "labelled" of every open image, and how it ended."""
        import torch

        from handful.losses.adversarial import discriminator_loss
        from handful.seen import ended, form, read_codes, seen, unit_range
        from handful.training import Meter, check_finite, cycle, seeded

        images = seen(snapshot, np.concatenate([labelled, free]), rule=self.name)
        scaled, n_l = unit_range(images), len(labelled)
        # of row i of the images: its class, and the state that the discriminator is to see
        classes = torch.from_numpy(snapshot.known[labelled]).to(images.device)
        state = torch.from_numpy(1 - doubt).float().to(images.device)
        batches_l = cycle(np.arange(n_l), self.batch_size, rng)
        batches_u = cycle(np.arange(n_l, len(images)), self.batch_size, rng)
        n_classes = max(snapshot.n_classes, int(snapshot.known.max()) + 1)
        meter = Meter()
        with seeded(rng):
            vae, classifier, critic = self._networks(form(images), n_classes, images.device)
            both = [*vae.parameters(), *classifier.parameters()]
            of_vae = torch.optim.Adam(both, lr=self.lr, fused=True)
            of_critic = torch.optim.Adam(critic.parameters(), lr=self.lr, fused=True)
            for step in range(self.steps):
                critic.requires_grad_(False)
                for _ in range(self.vae_steps):
                    rows_l, rows_u = next(batches_l), next(batches_u)
                    x = scaled(images.float(np.concatenate([rows_l, rows_u])))
                    y = classes[torch.from_numpy(rows_l).to(images.device)]
                    loss, error, mu = self._represented(vae, classifier, critic, x, y)
                    of_vae.zero_grad(set_to_none=True)
                    torch.autograd.backward(loss)
                    of_vae.step()
                critic.requires_grad_(True)
                logits = critic(mu.detach())
                target = state[torch.from_numpy(rows_u - n_l).to(images.device)]
                told = discriminator_loss(logits[: len(rows_l)], logits[len(rows_l) :], target)
                of_critic.zero_grad(set_to_none=True)
                torch.autograd.backward(told)
                of_critic.step()
                if step % WINDOW == 0 or step == self.steps - 1:
                    losses = {"vae": loss, "discriminator": told}
                    check_finite(losses, stage="sraal", step=step, lr=self.lr)
                if step >= self.steps - WINDOW:
                    meter.add(len(x), {"mse": error, "loss_d": told})
        codes = read_codes(vae, images, scaled, np.arange(n_l, len(images)), critic=critic)
        figures = {"kl": codes.kl, "active": codes.active, **meter.means()}
        return codes.logits, ended(self.name, {**figures, "mean_u": doubt.mean()}, beta=self.beta)

    def _networks(
        self, shape: tuple[int, ...], n_classes: int, device: torch.device
    ) -> tuple[VAE | MLPVAE, nn.Module, Discriminator]:
        from torch import nn

        from handful.networks.vae import Discriminator, vae_for

        half = self.latent // 2
        vae = vae_for(
            shape, network=self.network, latent=self.latent, decoded=half, filters=self.filters
        )
        classifier = nn.Sequential(
            *(nn.Linear(half, 1024), nn.ReLU(), nn.Linear(1024, 256), nn.ReLU()),
            nn.Linear(256, n_classes),
        )
        critic = Discriminator(self.latent, hidden=self.hidden, layers=4)
        return vae.to(device).train(), classifier.to(device), critic.to(device)

    def _represented(
        self,
        vae: VAE | MLPVAE,
        classifier: nn.Module,
        critic: Discriminator,
        x: Tensor,
        y: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """``L_G`` of a batch whose first images have the classes ``y``, the error, the codes."""
        from torch.nn import functional as F

        from handful.losses.adversarial import adversarial_loss, vae_loss

        out, n_l = vae(x), len(y)
        known, unknown = out.split(n_l)
        loss = F.cross_entropy(classifier(known.z[:, vae.decoded :]), y) * self.w_stl
        for part, of in ((x[:n_l], known), (x[n_l:], unknown)):
            loss = loss + vae_loss(part, of.x_hat, of.mu, of.logvar, beta=self.beta)
        hiding = adversarial_loss(critic(known.mu), critic(unknown.mu))
        error = (x[n_l:] - unknown.x_hat).square().mean()
        return loss + self.w_adv * hiding, error, out.mu

    def _unlabelled(
        self, snapshot: Snapshot, free: NDArray[np.int64], rng: Generator
    ) -> NDArray[np.float32]:
        """Codes of the open images after the VAE was trained on them alone."""
        import torch

        from handful.losses.adversarial import vae_loss
        from handful.seen import form, read_codes, seen, unit_range
        from handful.training import check_finite, cycle, seeded

        images = seen(snapshot, free, rule=self.name)
        scaled, batches = unit_range(images), cycle(np.arange(len(free)), self.batch_size, rng)
        with seeded(rng):
            vae, _, _ = self._networks(form(images), 1, images.device)
            optimizer = torch.optim.Adam(vae.parameters(), lr=self.lr, fused=True)
            for step in range(self.steps * self.vae_steps):
                x = scaled(images.float(next(batches)))
                out = vae(x)
                loss = vae_loss(x, out.x_hat, out.mu, out.logvar, beta=self.beta)
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                if step % WINDOW == 0:
                    check_finite({"vae": loss}, stage="sraal", step=step, lr=self.lr)
        return read_codes(vae, images, scaled, np.arange(len(free))).mu


def uncertainty(
    p: Array, *, variance: Literal["population", "released"] = "population"
) -> NDArray[np.float64]:
    """U of each row of ``p (n, C)``, in [0, 1]: 0 for a certain row, 1 for a uniform one.

    ``U = 1 - (MinVar / Var) m``, m the largest of the row, Var its variance, MinVar the least
    variance of a row with such an m.  Two classes: MinVar = Var, hence 1 - m.  A uniform row is
    0 / 0 and gets 1, the limit.  ``"released"``: Var over C - 1, so that a certain row of C
    classes gets 1 / C.  O(n C) time, in blocks.
    """
    n, C = p.shape
    out = np.zeros(n)
    for rows in geometry.row_blocks(n, C):
        q = p[rows].astype(np.float64)
        m = q.max(axis=1, initial=0.0)
        if C == 1:
            continue
        var = ((q - 1 / C) ** 2).sum(axis=1) / C
        least = ((m - 1 / C) ** 2 + (C - 1) * (1 / C - (1 - m) / (C - 1)) ** 2) / C
        flat = var <= 1e-12
        ratio = (
            np.ones_like(m) if C == 2 else np.divide(least, var, out=np.ones_like(m), where=~flat)
        )
        if variance == "released":
            ratio *= (C - 1) / C
        out[rows] = np.where(flat & (C > 2), 1.0, 1 - ratio * m)
    return np.clip(out, 0, 1)
