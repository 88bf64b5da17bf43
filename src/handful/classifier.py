"""The classifier that supervised and semi-supervised learners train: who it is, what it gives.

The small CNN of the fair protocol (an MLP where the pool holds ready features), its weights
before and after, and what rules ask of it: probabilities, the vector before the last dropout,
stochastic passes, the opinions of further heads.  Every learner that owns one writes its own
training loop; nothing here takes a step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful import features
from handful.errors import InputError
from handful.networks.small_cnn import LinearHeads, SmallCNN, SmallMLP, dropout_on
from handful.networks.wide_resnet import SlimCNN, WideResNet
from handful.training import (
    Images,
    Precision,
    device_for,
    embed,
    load_weights,
    seeded,
    weights_of,
)
from handful.types import Array, Pool, Snapshot, View, Weights

__all__ = ["Classifier", "Network", "small", "with_heads"]
Network: TypeAlias = SmallCNN | SmallMLP | LinearHeads | SlimCNN | WideResNet
# (shape of an image or of a vector, number of classes) -> a network with new weights
Maker: TypeAlias = Callable[[tuple[int, ...], int], Network]
log = logging.getLogger(__name__)


def small(shape: tuple[int, ...], n_classes: int, *, heads: int = 0) -> Network:
    """`SmallCNN` for images ``(C, H, W)``, `SmallMLP` for vectors ``(d,)``."""
    if len(shape) == 1:
        return SmallMLP(shape[0], n_classes, heads=heads)
    return SmallCNN(shape[0], n_classes, heads=heads)


def with_heads(heads: int) -> Maker:
    """`small` with so many linear heads beside the top."""
    return partial(small, heads=heads)


class Classifier:
    """One network over one pool, for the learner called ``who``.

    ``only`` is the one class that has labels while there is no other (-1: there are two or
    more): nothing can be learned from one class, and its probability is 1.
    """

    def __init__(
        self,
        who: str,
        *,
        precision: Precision = "32-true",
        devices: int = 1,
        make: Maker = small,
    ) -> None:
        self.who, self.precision, self.devices = who, precision, devices
        self.network: Network | None = None
        self.n_classes = 0
        self.only = -1
        self.shape: tuple[int, ...] = ()  # (C, H, W), or (d,) for features
        self._make = make
        self._masks = 0  # seed of the dropout masks of "draws"
        self._images: Images | None = None

    # ------------------------------------------------------------------ learning

    def begin(self, view: View, rng: Generator, *, warm: bool = False) -> NDArray[np.int64]:
        """Look at the labels and make the network; the labelled rows, rising.

        New weights, or with ``warm`` the last ones, rows of new classes added to the top.
        `InputError` where nothing is labelled.
        """
        known = np.asarray(view.known)
        labelled = np.flatnonzero(known >= 0)
        if not len(labelled):
            raise InputError(
                f"the learner {self.who!r} needs a label to start from: label some images"
            )
        features.check(view.pool)
        self.n_classes = max(len(view.classes), int(known.max()) + 1)
        self._masks = int(rng.integers(1 << 62))
        self._build(view.pool, rng, warm=warm)
        classes = np.unique(known[labelled])
        self.only = int(classes[0]) if len(classes) == 1 else -1
        if self.only >= 0:
            log.warning("one class alone has labels: its probability is 1 for every image")
            self.settle_norms(self.source(view.pool))
        return labelled

    def _build(self, pool: Pool, rng: Generator, *, warm: bool) -> None:
        before, shape = self.network, self.shape
        if pool.features is not None:
            self.shape = (int(pool.features.shape[1]),)
        else:
            self.shape = (pool.channels, *pool.size)
        with seeded(rng):
            self.network = self._new_network()
        if before is None or not warm or shape != self.shape:
            return
        old, new = before.state_dict(), self.network.state_dict()
        for name, array in old.items():
            if new[name].shape == array.shape:
                new[name].copy_(array)
            else:  # of the top: one row a class
                new[name][: len(array)] = array

    def _new_network(self) -> Network:
        net = self._make(self.shape, self.n_classes).to(device_for(self.precision, self.devices))
        if len(self.shape) == 1:
            return net
        placed: Network = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def settle_norms(self, images: Images) -> None:
        """Running statistics of batch-norm from one pass over all images, weights unchanged."""
        if len(images) < 2:
            return  # the variance of one image says nothing
        net = self.trained
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

    def parts(self, pool: Pool, wanted: frozenset[str], *, draws: int = 0) -> dict[str, Array]:
        """Those of ``proba``, ``embedding (n, d)``, ``heads``, ``draws (T, n, C)`` wanted.

        ``heads (1 + H, n, C)``: the top first, ``proba`` again, then the further heads.
        One forward pass over the pool; for ``draws`` the part behind the first dropout
        ``draws`` times.
        """
        found: dict[str, Array] = {}
        images = self.source(pool)
        if self.trained.heads is None:
            wanted -= {"heads"}
        if wanted & {"proba", "embedding", "heads"}:
            z = embed(self.trained.embed, images, network=self.trained)
            if "embedding" in wanted:
                found["embedding"] = z.numpy()
            if "proba" in wanted:
                found["proba"] = self.proba(z)
            if "heads" in wanted:
                found["heads"] = self.opinions(z)
        if "draws" in wanted:
            found["draws"] = self._draw(images, draws)
        return found

    def snapshot(self, view: View, found: dict[str, Array]) -> Snapshot:
        """The learner's snapshot of its view with the parts that were found."""
        return Snapshot.of(
            view, found, learner=self.who, n_classes=self.n_classes, predict=self.predict
        )

    def proba(self, z: Tensor) -> NDArray[np.float32]:
        """Softmax over the classes from the vectors ``(B, d)`` before the last layer."""
        if self.only >= 0:
            return self.certain(len(z))
        net = self.trained
        net.eval()
        with torch.inference_mode():
            logits: Tensor = net.top(z.to(self.device)).float()
            return logits.softmax(1).cpu().numpy()

    def opinions(self, z: Tensor) -> NDArray[np.float32]:
        """Softmax of the top and of every further head, ``(1 + H, B, C)``."""
        first = self.proba(z)[None]
        heads = list(self.trained.heads or ())
        if self.only >= 0:
            return np.repeat(first, 1 + len(heads), axis=0)
        with torch.inference_mode():
            others = [head(z.to(self.device)).float().softmax(1).cpu().numpy() for head in heads]
        return np.concatenate([first, *(p[None] for p in others)])

    def certain(self, n: int) -> NDArray[np.float32]:
        """Probability 1 for the one class that has labels, ``(n, C)``."""
        proba = np.zeros((n, self.n_classes), dtype=np.float32)
        proba[:, self.only] = 1
        return proba

    def _draw(self, images: Images, passes: int) -> NDArray[np.float32]:
        """T passes with dropout on: one mask an image and pass, the same for the same fit."""
        net = self.trained
        if self.only >= 0:
            return np.repeat(self.certain(len(images))[None], passes, axis=0)

        def stochastic(x: Tensor) -> Tensor:
            h = net.stem(x)  # no dropout up to here: once for all passes
            return torch.stack([net.top(net.body(h)).softmax(1) for _ in range(passes)], dim=1)

        drawn = np.empty((passes, len(images), self.n_classes), dtype=np.float32)
        with dropout_on(net), seeded(np.random.default_rng(self._masks)):
            for rows in features.blocks(len(images), passes * self.n_classes):
                drawn[:, rows] = embed(stochastic, images, rows).numpy().transpose(1, 0, 2)
        return drawn

    def embed(self, images: Array) -> Tensor:
        """Vectors ``(B, width)`` of new images, uint8 ``(B, C, H, W)`` or features ``(B, d)``."""
        net, shape = self.trained, tuple(images.shape[1:])
        if shape != self.shape:
            raise InputError(f"images of shape {shape}: this model takes {self.shape}")
        z = torch.empty((len(images), net.width))
        net.eval()
        with torch.inference_mode():
            for rows in features.blocks(len(images), 8 * int(np.prod(shape))):
                x = torch.from_numpy(np.ascontiguousarray(images[rows])).to(self.device)
                z[rows] = net.embed(Images.scale(x)).float().cpu()
        return z

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images."""
        return self.proba(self.embed(images))

    # ------------------------------------------------------------------- network

    def source(self, pool: Pool) -> Images:
        """The pixels of ``pool``; read once and kept for as long as it is the same pool."""
        if self._images is None or self._images.pool is not pool:
            self._images = Images(pool, device=self.device)
        return self._images

    @property
    def trained(self) -> Network:
        if self.network is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self.network

    @property
    def device(self) -> torch.device:
        return next(self.trained.parameters()).device

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        return {
            **weights_of(self.trained, "network."),
            "n_classes": np.array([self.n_classes]),
            "only": np.array([self.only]),
            "shape": np.array(self.shape),
            "masks": np.array([self._masks]),
        }

    def load(self, state: Weights) -> None:
        self.shape = tuple(int(v) for v in state["shape"])
        self.n_classes, self.only = int(state["n_classes"][0]), int(state["only"][0])
        self._masks = int(state["masks"][0])
        with seeded(np.random.default_rng(0)):  # its first weights are overwritten at once
            self.network = self._new_network()
        load_weights(self.network, state, "network.")
