"""LADA: the supervised network, trained on the mixtures that made the query choose their images.

::

    network := new weights
    for a fixed number of steps, on batches of the labelled images:
        L = cross-entropy
        in every fourth step also a batch of pairs (a, b, tau) that the query chose:
            lam ~ Beta(tau, tau),  x = lam a + (1 - lam) b,  y = lam y_a + (1 - lam) y_b
            L = cross-entropy + mixed cross-entropy

The pairs and their tau come from the rule ``lada`` through the book, so a killed run trains on
the same ones.  Without a pair (the first round, or another rule) it is the supervised network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from handful.augment import AUGMENTS, augmentation
from handful.classifier import Classifier
from handful.errors import RecipeError
from handful.losses.mixup import mixed_cross_entropy, mixup
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Images,
    Meter,
    Precision,
    check_finite,
    cycle,
    fabric,
    seeded,
    torch_generator,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["LADA", "LADAOptions", "Virtual", "virtual_pairs"]

Virtuals: TypeAlias = Iterator[tuple[Tensor, Tensor]]


class Virtual(NamedTuple):
    """Pairs of labelled rows to mix, all ``(P,)``."""

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    tau: NDArray[np.float64]


@dataclass(frozen=True)
class LADAOptions:
    """How it trains; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "fast"] = "published"
    steps: int | None = None  # of one fit: 2,000 published, 500 fast
    lr: float = 1e-3  # at the start; falls to 0 by a cosine
    weight_decay: float = 1e-4  # of AdamW
    batch_size: int = 64  # or all labelled images, when these are fewer
    virtual_size: int = 64  # mixtures of a batch, or all pairs, when these are fewer
    virtual_share: float = 0.25  # of the steps that train on mixtures, too
    keep_virtual: bool = True  # pairs of all rounds; False: of the last query alone
    augment: Literal["none", "glyph", "object", "photo", "auto"] = "none"  # never of mixtures
    warm_start: bool = False  # True: go on from the last weights
    enough_loss: float = 1e-3  # end when the loss stays below this ...
    enough_steps: int = 200  # ... for so many steps in a row
    precision: Precision = "32-true"
    devices: int = 1

    def resolved(self) -> LADAOptions:
        """Fill in what depends on the schedule."""
        if self.batch_size < 2:
            raise RecipeError("learner.batch_size is 1: batch-norm needs 2 images or more")
        if not 0 <= self.virtual_share <= 1:
            raise RecipeError(f"learner.virtual_share is {self.virtual_share}: give 0 to 1")
        steps = 500 if self.schedule == "fast" else 2000
        return replace(self, steps=steps if self.steps is None else self.steps)


@register_learner("lada")
class LADA:
    """Supervised network that also trains on mixtures of the pairs which its rule asked about.

    Formula   L = CE(S), in a quarter of the steps plus -sum_c y_c log p_c(x) over mixtures
              x = lam a + (1 - lam) b, y = lam y_a + (1 - lam) y_b, lam ~ Beta(tau, tau) drawn
              anew each time, tau of the pair.
    Needs     a label; ``pairs`` of the rule ``lada`` in the round's memo, else it is plainly
              supervised.  While there is one class alone, nothing is trained and its
              probability is 1.  Images of 8x8 to 96x96, or ready features.
    Cost      ``steps`` batches, a quarter of them twice as large, whatever the pool.
    When      for the rule ``lada``.
    Source    Kim, Song, Jang & Moon, NeurIPS 2021.
    Here      from scratch in every round, by steps, as the supervised network of all tables.
              Real and mixed images pass as one batch, for batch-norm's sake.  Pairs of earlier
              rounds stay (the code: the last query's alone, ``keep_virtual=False``).  A pair
              one of whose images got no class is left out.

    Gives ``proba (n, C)`` and ``embedding (n, 128)``.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[LADAOptions]] = LADAOptions

    def __init__(self, options: LADAOptions | None = None) -> None:
        self.options = (options or LADAOptions()).resolved()
        self.model = Classifier(
            "lada", precision=self.options.precision, devices=self.options.devices
        )

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train on the labelled rows, and on mixtures of the pairs in the view's memo."""
        meter = Meter()
        labelled = self.model.begin(view, rng, warm=self.options.warm_start)
        if self.model.only < 0:
            self._train(view, labelled, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _train(
        self, view: View, labelled: NDArray[np.int64], rng: Generator, progress: Progress,
        meter: Meter,
    ) -> None:  # fmt: skip
        o, net, steps = self.options, self.model.trained, self.options.steps or 0
        accelerator = fabric(o.precision, o.devices)
        images = Images(view.pool.subset(labelled), device=accelerator.device)
        y = torch.from_numpy(np.asarray(view.known)[labelled]).to(accelerator.device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=o.lr, weight_decay=o.weight_decay)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
        model, optimizer = accelerator.setup(net, optimizer)
        stream = cycle(np.arange(len(labelled)), o.batch_size, rng)
        virtual = self._virtual(view, labelled, images, y, rng)
        augment = AUGMENTS[augmentation(o.augment, view.pool.channels, max(view.pool.size))]
        draws, quiet = torch_generator(rng), 0
        mixed_loss = torch.zeros((), device=accelerator.device)
        net.train()
        with seeded(rng), progress.task("training", steps, "steps") as task:
            for step in range(steps):
                rows = next(stream)
                x, seen = augment(images.float(rows), draws), len(rows)
                mixed = next(virtual, None) if self._is_virtual(step) else None
                logits = model(x if mixed is None else torch.cat([x, mixed[0]]))
                ce = F.cross_entropy(logits[:seen], y[torch.from_numpy(rows).to(y.device)])
                loss = ce
                if mixed is not None:
                    mixed_loss = mixed_cross_entropy(logits[seen:], mixed[1])
                    loss = ce + mixed_loss
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                cosine.step()
                losses = {"ce": ce, "virtual": mixed_loss}  # of the last mixtures so far
                if step % 50 == 0:
                    check_finite(losses, stage="training", step=step, lr=o.lr)
                    meter.restart()
                meter.add(len(logits), losses)
                task.advance()
                quiet = quiet + 1 if float(ce.detach()) < o.enough_loss else 0
                if quiet >= o.enough_steps:
                    break
        check_finite(meter.sums, stage="training", step=steps, lr=o.lr)

    def _is_virtual(self, step: int) -> bool:
        """Whether a step trains on mixtures, too: evenly spread, ``virtual_share`` of them."""
        share = self.options.virtual_share
        return int((step + 1) * share) > int(step * share)

    def _virtual(
        self,
        view: View,
        labelled: NDArray[np.int64],
        images: Images,
        y: Tensor,
        rng: Generator,
    ) -> Virtuals:
        """Mixtures and their targets, a new lam each time; nothing where there is no pair."""
        pairs = virtual_pairs(view, keep=self.options.keep_virtual)
        a, b = (np.searchsorted(labelled, rows) for rows in (pairs.a, pairs.b))
        if not len(a):
            return
        for some in cycle(np.arange(len(a)), self.options.virtual_size, rng):
            lam = torch.from_numpy(rng.beta(pairs.tau[some], pairs.tau[some])).float()
            x_a, x_b = (images.float(rows[some]) for rows in (a, b))
            y_a, y_b = (y[torch.from_numpy(rows[some]).to(y.device)] for rows in (a, b))
            yield mixup(x_a, x_b, y_a, y_b, lam.to(y.device), n_classes=self.model.n_classes)

    # --------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        return self.model.snapshot(view, self.model.parts(view.pool, parts & self.gives))

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        return self.model.predict(images)

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        return self.model.state()

    def load(self, state: Weights) -> None:
        self.model.load(state)


def virtual_pairs(view: View, *, keep: bool = True) -> Virtual:
    """The pairs of the rule ``lada`` both of whose images have a class.

    ``keep=False``: those of the last query alone.
    """
    told = [pair for pair in view.memo.get("pairs", ()) if keep or pair[3] == view.round - 1]
    a, b = (np.array([view.pool.row(p[i]) for p in told], dtype=np.int64) for i in (0, 1))
    tau = np.array([p[2] for p in told], dtype=np.float64)
    known = np.asarray(view.known)
    both = (known[a] >= 0) & (known[b] >= 0)
    return Virtual(a[both], b[both], tau[both])
