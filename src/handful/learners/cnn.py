"""The supervised baseline: a small CNN from scratch after every query.

The learner behind the rows `random`, `entropy`, `margin`, `least-confidence` of every
table, so that only the rule differs between them.

::

    network := new weights                     (warm_start: the last ones)
    for a fixed number of steps, on batches of the labelled images alone:
        L = cross-entropy;  AdamW, learning rate by a cosine to 0

Steps, not epochs: 10 epochs over 480 labels would be 20 to 80 steps, and every curve over
labels would be a curve over training time as well.  From scratch, because going on from the
last weights ties later rounds to the first labels.  No validation part: the last step counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from handful.classifier import Classifier
from handful.errors import RecipeError
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
from handful.types import Array, Fit, Pool, Snapshot, View, Weights

__all__ = ["CNN", "CNNOptions", "flip", "shift"]


@dataclass(frozen=True)
class CNNOptions:
    """How the network is trained; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "fast"] = "published"
    steps: int | None = None  # of one fit: 2,000 published, 500 fast
    epochs: int | None = None  # instead of steps: 10 is the CCL paper's recipe to the letter
    lr: float = 1e-3  # at the start; falls to 0 by a cosine
    weight_decay: float = 1e-4  # of AdamW
    batch_size: int = 64  # or all labelled images, when these are fewer
    augment: Literal["none", "shift", "flip"] = "none"  # shift: up to 2 pixels; flip: photos
    warm_start: bool = False  # True: go on from the last weights
    enough_loss: float = 1e-3  # end when the loss stays below this ...
    enough_steps: int = 200  # ... for so many steps in a row
    draws: int | None = None  # stochastic passes of the part "draws": 100 published, 20 fast
    precision: Precision = "32-true"
    devices: int = 1

    def resolved(self) -> CNNOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        if self.batch_size < 2:
            raise RecipeError("learner.batch_size is 1: batch-norm needs 2 images or more")
        return replace(
            self,
            steps=(500 if fast else 2000) if self.steps is None else self.steps,
            draws=(20 if fast else 100) if self.draws is None else self.draws,
        )


@register_learner("cnn")
class CNN:
    """Supervised CNN of two blocks, trained from scratch on the labelled images alone.

    Gives ``proba (n, C)``, ``embedding (n, 128)`` (before the last dropout) and ``draws
    (T, n, C)``, passes with dropout on and batch-norm frozen.  Images of 8x8 to 96x96, gray
    or RGB; ready features get an MLP of the same kind.  Needs a label.  While there is one
    class alone, nothing is trained and its probability is 1.  Cost of a fit: ``steps``
    batches, whatever the pool; of a snapshot: n forward passes, the second half T times
    for ``draws``.  D. Wang, Y. Shang, IJCNN 2014; Y. Gal et al., ICML 2017 (``draws``).
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "draws"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[CNNOptions]] = CNNOptions

    def __init__(self, options: CNNOptions | None = None) -> None:
        self.options = (options or CNNOptions()).resolved()
        self.model = Classifier(
            "cnn", precision=self.options.precision, devices=self.options.devices
        )

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train on the labelled rows for a fixed number of steps."""
        meter = Meter()
        labelled = self.model.begin(view, rng, warm=self.options.warm_start)
        if self.model.only < 0:
            self._train(view.pool, np.asarray(view.known), labelled, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _train(
        self,
        pool: Pool,
        known: NDArray[np.int64],
        labelled: NDArray[np.int64],
        rng: Generator,
        progress: Progress,
        meter: Meter,
    ) -> None:
        o, net = self.options, self.model.trained
        steps = o.steps or 0
        if o.epochs is not None:  # few labels make few steps, and the network stays raw
            steps = o.epochs * math.ceil(len(labelled) / o.batch_size)
        accelerator = fabric(o.precision, o.devices)
        images = Images(pool.subset(labelled), device=accelerator.device)
        target = torch.from_numpy(known[labelled]).to(accelerator.device)
        optimizer = torch.optim.AdamW(net.parameters(), lr=o.lr, weight_decay=o.weight_decay)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(steps, 1))
        model, optimizer = accelerator.setup(net, optimizer)
        stream = cycle(np.arange(len(labelled)), o.batch_size, rng)
        augment = torch_generator(rng)
        quiet = 0
        net.train()
        with seeded(rng), progress.task("training", steps, "steps") as task:
            for step in range(steps):
                rows = next(stream)
                x = self._augmented(images.float(rows), augment)
                loss = F.cross_entropy(model(x), target[torch.from_numpy(rows).to(target.device)])
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                cosine.step()
                if step % 50 == 0:
                    check_finite({"ce": loss}, stage="training", step=step, lr=o.lr)
                    meter.restart()
                meter.add(len(rows), {"ce": loss})
                task.advance()
                quiet = quiet + 1 if float(loss.detach()) < o.enough_loss else 0
                if quiet >= o.enough_steps:
                    break
        check_finite(meter.sums, stage="training", step=steps, lr=o.lr)

    def _augmented(self, x: Tensor, draws: torch.Generator) -> Tensor:
        if x.ndim == 2 or self.options.augment == "none":  # vectors have no up and no left
            return x
        return {"shift": shift, "flip": flip}[self.options.augment](x, draws)

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found = self.model.parts(view.pool, parts, draws=self.options.draws or 0)
        return self.model.snapshot(view, found)

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        return self.model.predict(images)

    def state(self) -> Weights:
        return self.model.state()

    def load(self, state: Weights) -> None:
        self.model.load(state)


def shift(x: Tensor, draws: torch.Generator, *, reach: int = 2) -> Tensor:
    """Move each image by up to ``reach`` pixels up, down, left, right; zeros come in."""
    n, c, h, w = x.shape
    dy, dx = torch.randint(-reach, reach + 1, (2, n, 1), generator=draws).to(x.device)
    rows = torch.arange(h, device=x.device) + dy  # (n, h): where each row is taken from
    columns = torch.arange(w, device=x.device) + dx
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    at = rows.clamp(0, h - 1)[:, :, None] * w + columns.clamp(0, w - 1)[:, None, :]
    moved: Tensor = x.reshape(n, c, h * w).gather(2, at.view(n, 1, h * w).expand(n, c, h * w))
    return moved.view(n, c, h, w).mul(inside[:, None])


def flip(x: Tensor, draws: torch.Generator) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = torch.rand(len(x), generator=draws).to(x.device) < 0.5
    return torch.where(mirrored[:, None, None, None], x.flip(3), x)
