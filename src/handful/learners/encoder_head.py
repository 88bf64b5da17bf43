"""Is it the query or the representation?  A pre-trained encoder with a plain head on it.

::

    pre-train E, D on all images, no label        L_rec = mean (x - D(E(x)))^2
    z = E(x), standardised over all images
    frozen:     multinomial logistic regression on z of the labelled images
    finetune:   then E and that head together, cross-entropy on the labelled images,
                AdamW with a small rate for E

The encoder is the one CCL starts from, so a table with both tells what the clustering adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from handful.errors import InputError
from handful.latent import AutoEncoderOptions, LatentSpace
from handful.networks.heads import LogisticHead, Scale
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import Meter, check_finite, cycle, fabric
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["EncoderHead", "EncoderHeadOptions"]

_NORM_LABELS = 256  # below, batch-norm keeps the statistics of all images


@dataclass(frozen=True)
class EncoderHeadOptions(AutoEncoderOptions):
    """The head on the encoder; the encoder and its pre-training are CCL's."""

    scale: Scale = "standard"  # of the latent numbers, over all images
    C: float | Literal["cv"] = "cv"  # weight of the labels; cv: chosen from the grid
    grid: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    C_few: float = 1.0  # with "cv" while some class has fewer than 5 labels
    finetune: bool = False  # train encoder and head together after the head
    finetune_steps: int = 1000
    lr_encoder: float = 1e-4  # of fine-tuning
    lr_head: float = 1e-3  # of fine-tuning
    labelled_batch: int = 64  # of fine-tuning

    def resolved(self) -> EncoderHeadOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        return replace(
            self,
            pretrain_epochs=self.pretrain_epochs or (15 if fast else 50),
            pretrain_steps=self.pretrain_steps or (1500 if fast else None),
        )


@register_learner("encoder-head")
class EncoderHead:
    """Logistic regression on the latent numbers of an auto-encoder that saw every image.

    Pre-trains once, at the first fit; every fit starts from that encoder again.  Gives
    ``proba (n, C)`` and ``embedding (n, d)``, the latent numbers before scaling.  Needs a
    label.  Runs on ready features with a small MLP auto-encoder.  Cost: pre-training once,
    then n forward passes a round (with ``finetune``), or none.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[EncoderHeadOptions]] = EncoderHeadOptions

    def __init__(self, options: EncoderHeadOptions | None = None) -> None:
        self.options = (options or EncoderHeadOptions()).resolved()
        self._frozen = LatentSpace(self.options)
        self._tuned: LatentSpace | None = None
        self._head: LogisticHead | None = None

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Pre-train once; then the head, and with ``finetune`` both together."""
        o, known, meter = self.options, np.asarray(view.known), Meter()
        labelled = np.flatnonzero(known >= 0)
        if not len(labelled):
            raise InputError(
                "the learner 'encoder-head' needs a label to start from: label some images"
            )
        self._frozen.attach(view.pool, progress)
        if not self._frozen.built:
            meter.images += self._frozen.pretrain(rng, progress)
        z = self._frozen.z().numpy()
        deviation = z.std(axis=0, dtype=np.float64)
        self._head = LogisticHead.fit(
            z[labelled],
            known[labelled],
            n_classes=max(len(view.classes), int(known.max()) + 1),
            scale=o.scale,
            moments=(z.mean(axis=0, dtype=np.float64), np.where(deviation > 1e-6, deviation, 1)),
            C=o.C,
            grid=o.grid,
            C_few=o.C_few,
            rng=rng,
        )
        self._tuned = None
        if o.finetune and len(self._head.seen) > 1:
            self._tuned = LatentSpace(o)
            self._tuned.load(self._frozen.state())
            self._tuned.attach(view.pool, progress)
            self._finetune(self._tuned, known, labelled, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _finetune(
        self,
        space: LatentSpace,
        known: NDArray[np.int64],
        labelled: NDArray[np.int64],
        rng: Generator,
        progress: Progress,
        meter: Meter,
    ) -> None:
        """Cross-entropy through the encoder, from the frozen solution on."""
        o, head, network = self.options, self.head, space.network
        linear = _linear(head, space.device)
        target = torch.from_numpy(np.searchsorted(head.seen, known)).to(space.device)
        optimizer = torch.optim.AdamW(
            [
                {"params": network.encoder.parameters(), "lr": o.lr_encoder},
                {"params": linear.parameters(), "lr": o.lr_head},
            ],
            weight_decay=1e-4,
        )
        accelerator = fabric(o.precision, o.devices)
        encoder, optimizer = accelerator.setup(network.encoder, optimizer)
        encoder.train(len(labelled) >= _NORM_LABELS)
        stream = cycle(labelled, o.labelled_batch, rng)
        with progress.task("fine-tuning", o.finetune_steps, "steps") as task:
            for step in range(o.finetune_steps):
                rows = next(stream)
                z = encoder(space.prepare(space.images.float(rows)))
                logits = linear(_scaled(z, head))
                loss = F.cross_entropy(logits, target[torch.from_numpy(rows).to(target.device)])
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                if step % 50 == 0:
                    check_finite({"ce": loss}, stage="fine-tuning", step=step, lr=o.lr_encoder)
                    meter.restart()
                meter.add(len(rows), {"ce": loss})
                task.advance()
        check_finite(meter.sums, stage="fine-tuning", step=o.finetune_steps, lr=o.lr_encoder)
        space.moved()
        W, b = (p.detach().cpu().numpy().astype(np.float64) for p in linear.parameters())
        self._head = replace(head, W=W, b=b)

    # --------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        head, space = self.head, self.space
        space.attach(view.pool)
        found: dict[str, Array] = {}
        if parts & self.gives:
            z = space.z().numpy()
            if "proba" in parts:
                found["proba"] = head.proba(z)
            if "embedding" in parts:
                found["embedding"] = z.copy()
        return Snapshot.of(
            view, found, learner=self.name, n_classes=head.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        return self.head.proba(self.space.encode(images).numpy())

    @property
    def head(self) -> LogisticHead:
        """What was fitted: weights, scale and the C that was chosen."""
        if self._head is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._head

    @property
    def space(self) -> LatentSpace:
        """The encoder in use: fine-tuned where asked for, else as pre-trained."""
        return self._tuned or self._frozen

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        parts = {"head.": self.head.state(), "frozen.": self._frozen.state()}
        if self._tuned is not None:
            parts["tuned."] = self._tuned.state()
        return {prefix + name: a for prefix, state in parts.items() for name, a in state.items()}

    def load(self, state: Weights) -> None:
        self._head = LogisticHead.from_state(_part(state, "head."))
        self._frozen.load(_part(state, "frozen."))
        self._tuned = None
        if tuned := _part(state, "tuned."):
            self._tuned = LatentSpace(self.options)
            self._tuned.load(tuned)


def _part(state: Weights, prefix: str) -> Weights:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _linear(head: LogisticHead, device: torch.device) -> nn.Linear:
    """The head as a layer, with the solution on frozen vectors as its first weights."""
    K, d = head.W.shape
    layer = nn.Linear(d, K, device="meta").to_empty(device=device)  # no weights are drawn
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.W))
        layer.bias.copy_(torch.from_numpy(head.b))
    return layer


def _scaled(z: Tensor, head: LogisticHead) -> Tensor:
    if head.scale == "standard":
        mean, deviation = (torch.from_numpy(m).to(z) for m in (head.mean, head.deviation))
        return (z - mean) / deviation
    return F.normalize(z, dim=1) if head.scale == "unit" else z
