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

import logging
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from handful import features
from handful.errors import InputError, RecipeError
from handful.networks.small_cnn import SmallCNN, SmallMLP, dropout_on
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Images,
    Meter,
    Precision,
    check_finite,
    cycle,
    device_for,
    embed,
    fabric,
    load_weights,
    seeded,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Pool, Snapshot, View, Weights

__all__ = ["CNN", "CNNOptions", "flip", "shift"]
log = logging.getLogger(__name__)


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
        self.network: SmallCNN | SmallMLP | None = None
        self.n_classes = 0
        self._only = -1  # the one class that has labels, while there is only one
        self._shape: tuple[int, ...] = ()  # (C, H, W), or (d,) for features
        self._masks = 0  # seed of the dropout masks of "draws"
        self._images: Images | None = None

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train on the labelled rows for a fixed number of steps."""
        known, meter = np.asarray(view.known), Meter()
        labelled = np.flatnonzero(known >= 0)
        if not len(labelled):
            raise InputError("the learner 'cnn' needs a label to start from: label some images")
        features.check(view.pool)
        self.n_classes = max(len(view.classes), int(known.max()) + 1)
        self._masks = int(rng.integers(1 << 62))
        self._build(view.pool, rng)
        classes = np.unique(known[labelled])
        self._only = int(classes[0]) if len(classes) == 1 else -1
        if self._only >= 0:
            log.warning("one class alone has labels: its probability is 1 for every image")
            self._settle_norms(self._source(view.pool))
            return Fit(seconds=meter.seconds)
        self._train(view.pool, known, labelled, rng, progress, meter)
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
        o, net = self.options, self._net
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
        if len(self._shape) == 1 or self.options.augment == "none":
            return x
        return {"shift": shift, "flip": flip}[self.options.augment](x, draws)

    def _settle_norms(self, images: Images) -> None:
        """Running statistics of batch-norm from one pass over all images, weights unchanged."""
        if len(images) < 2:
            return  # the variance of one image says nothing
        net = self._net
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        net.eval()
        for norm in norms:
            norm.train()
        embed(net.embed, images)
        net.eval()
        for norm in norms:
            norm.momentum = 0.1

    # --------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found: dict[str, Array] = {}
        images = self._source(view.pool)
        net = self._net
        if parts & {"proba", "embedding"}:
            z = embed(net.embed, images, network=net)
            if "embedding" in parts:
                found["embedding"] = z.numpy()
            if "proba" in parts:
                found["proba"] = self._proba(z)
        if "draws" in parts:
            found["draws"] = self._draw(images)
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def _proba(self, z: Tensor) -> NDArray[np.float32]:
        """Softmax over the classes from the vectors before the last dropout."""
        if self._only >= 0:
            return self._certain(len(z))
        net = self._net
        net.eval()
        with torch.inference_mode():
            logits: Tensor = net.top(z.to(self._device)).float()
            return logits.softmax(1).cpu().numpy()

    def _certain(self, n: int) -> NDArray[np.float32]:
        proba = np.zeros((n, self.n_classes), dtype=np.float32)
        proba[:, self._only] = 1
        return proba

    def _draw(self, images: Images) -> NDArray[np.float32]:
        """T passes with dropout on: one mask an image and pass, the same for the same fit."""
        assert self.options.draws is not None
        net, passes = self._net, self.options.draws
        if self._only >= 0:
            return np.repeat(self._certain(len(images))[None], passes, axis=0)

        def stochastic(x: Tensor) -> Tensor:
            h = net.stem(x)  # no dropout up to here: once for all passes
            return torch.stack([net.top(net.body(h)).softmax(1) for _ in range(passes)], dim=1)

        drawn = np.empty((passes, len(images), self.n_classes), dtype=np.float32)
        with dropout_on(net), seeded(np.random.default_rng(self._masks)):
            for rows in features.blocks(len(images), passes * self.n_classes):
                drawn[:, rows] = embed(stochastic, images, rows).numpy().transpose(1, 0, 2)
        return drawn

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        net = self._net
        shape = tuple(images.shape[1:])
        if shape != self._shape:
            raise InputError(f"images of shape {shape}: this model takes {self._shape}")
        z = torch.empty((len(images), 128))
        net.eval()
        with torch.inference_mode():
            for rows in features.blocks(len(images), 8 * int(np.prod(shape))):
                x = torch.from_numpy(np.ascontiguousarray(images[rows])).to(self._device)
                z[rows] = net.embed(Images.scale(x)).float().cpu()
        return self._proba(z)

    # ------------------------------------------------------------------- network

    def _source(self, pool: Pool) -> Images:
        if self._images is None or self._images.pool is not pool:
            self._images = Images(pool, device=self._device)
        return self._images

    def _build(self, pool: Pool, rng: Generator) -> None:
        """New weights; with ``warm_start`` the old ones, rows of new classes added to the top."""
        before, shape = self.network, self._shape
        if pool.features is not None:
            self._shape = (int(pool.features.shape[1]),)
        else:
            self._shape = (pool.channels, *pool.size)
        with seeded(rng):
            self.network = self._new_network()
        if before is None or not self.options.warm_start or shape != self._shape:
            return
        old, new = before.state_dict(), self.network.state_dict()
        for name, array in old.items():
            if name.startswith("top."):
                new[name][: len(array)] = array
            else:
                new[name].copy_(array)

    def _new_network(self) -> SmallCNN | SmallMLP:
        device = device_for(self.options.precision, self.options.devices)
        if len(self._shape) == 1:
            return SmallMLP(self._shape[0], self.n_classes).to(device)
        net = SmallCNN(self._shape[0], self.n_classes).to(device)
        placed: SmallCNN = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    @property
    def _net(self) -> SmallCNN | SmallMLP:
        if self.network is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self.network

    @property
    def _device(self) -> torch.device:
        return next(self._net.parameters()).device

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        return {
            **weights_of(self._net, "network."),
            "n_classes": np.array([self.n_classes]),
            "only": np.array([self._only]),
            "shape": np.array(self._shape),
            "masks": np.array([self._masks]),
        }

    def load(self, state: Weights) -> None:
        self._shape = tuple(int(v) for v in state["shape"])
        self.n_classes, self._only = int(state["n_classes"][0]), int(state["only"][0])
        self._masks = int(state["masks"][0])
        with seeded(np.random.default_rng(0)):  # its first weights are overwritten at once
            self.network = self._new_network()
        load_weights(self.network, state, "network.")


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
