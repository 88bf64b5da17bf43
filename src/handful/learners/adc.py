"""ADC: a clustering that learns from *same or different?*; a reconstruction.

Source: B. Sun, P. Zhou, L. Du, X. Li, "Active deep image clustering", Knowledge-Based Systems
252, 2022.  The paper says that pairs are asked about, and that annotated and unannotated images
train the network; its loss and its score are not known to us.  What stands here in their place
follows deep adaptive clustering (J. Chang et al., ICCV 2017)::

    p_i = softmax(head(encoder(x_i))),   s_ij = <p_i, p_j> / (||p_i|| ||p_j||)
    start   pre-train an auto-encoder; k-means of z; the head learns its clusters
    train   L_pair + beta L_self
            L_pair = mean over the same of -log s + mean over different of -log(1 - s)
            L_self = cross-entropy of s against 1 where s > u and 0 where s < l, over pairs of
                     a batch that no answer decides; u falls and l rises, epoch by epoch

Wherever results are shown, ``adc`` is this reconstruction.  Query: the rule ``adc``.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from handful import geometry
from handful.errors import InputError
from handful.latent import AutoEncoderOptions, LatentSpace, by_class, cluster_count
from handful.losses.pairwise import (
    pair_similarity,
    pairwise_log_loss,
    self_pair_loss,
    thresholds,
)
from handful.pairs import Closure, Constraints, closure_of
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    batches,
    check_finite,
    fabric,
    known_classes,
    load_weights,
    seeded,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["ADC", "ADCOptions"]

EMPTY = -10.0  # first logit of a cluster that k-means could not fill
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ADCOptions(AutoEncoderOptions):
    """The reconstruction of ADC; ``None`` is settled by ``schedule``."""

    beta: float = 1.0  # weight of the pairs that nobody answered
    head_epochs: int = 5  # of the head on the clusters of k-means, whose rule it starts as
    epochs: int | None = None  # of a round: 50 published, 10 fast
    pair_lr: float = 1e-3  # of Adam
    n_images: int = 128  # of a step, for L_self
    n_pairs: int = 128  # of a step, half of each kind, for L_pair
    n_init: int = 20  # of k-means
    n_clusters: int | None = None  # as many as classes when None
    two_classes: bool = False  # the user vouches for it: two differences make a sameness

    def resolved(self) -> ADCOptions:
        """Fill in what depends on the schedule alone."""
        return replace(self, epochs=self.epochs or (10 if self.schedule == "fast" else 50))


@register_learner("adc")
class ADC:
    """Active deep clustering by pairs (a reconstruction): answers and sure guesses train it.

    Learns from pair answers and from labels, which give all their pairs; without either it is
    k-means of a pre-trained encoder.  Warm: each round goes on from the last.  Gives
    ``clusters`` p ``(n, K)``, ``proba (n, C)`` (clusters summed by the class that labels voted
    them; uniform without a label), ``embedding`` and ``centres`` (means of z by cluster).  A
    step costs n_images + 2 n_pairs images and n_images^2 similarities; nothing of n x n.
    The guesses alone would be content with one cluster: ``occupied`` counts them, and a
    warning says when one is empty.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    learns_pairs: ClassVar[bool] = True
    Options: ClassVar[type[ADCOptions]] = ADCOptions

    def __init__(self, options: ADCOptions | None = None) -> None:
        self.options = (options or ADCOptions()).resolved()
        self.space = LatentSpace(self.options)
        self._head: nn.Linear | None = None
        self.epoch = 0  # trained so far, over all rounds: it sets u and l
        self.class_of = np.empty(0, dtype=np.int64)
        self.n_classes = 0

    @property
    def head(self) -> nn.Linear:
        """``(d,) -> (K,)`` logits of the clusters."""
        if self._head is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._head

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Start from k-means at the first call; with answers, train on what they imply."""
        meter, known = Meter(), known_classes(view)
        k = cluster_count(view, known, self.options.n_clusters)
        self.space.attach(view.pool, progress)
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        if not self.space.built:
            meter.images += self.space.pretrain(rng, progress)
        figures: dict[str, float] = {}
        if self._head is None or self.head.out_features != k:  # a class has come: its cluster too
            figures = self._begin(k, rng)
        closure = closure_of(view, two_classes=self.options.two_classes)
        if (shown := closure.different_groups()) > k:
            log.warning("adc: the answers show at least %d classes, the model has %d", shown, k)
        pairs = Constraints(closure)
        if len(pairs):
            figures = self._train(closure, pairs, rng, progress, meter)
        p = self._p(self.space.z())
        hard = p.argmax(axis=1)
        figures["occupied"] = float(len(np.unique(hard)))
        if figures["occupied"] < min(k, len(hard)):
            log.warning("adc: only %d of %d clusters hold an image", int(figures["occupied"]), k)
        progress.log("clustering", self.epoch, assignment=hard, **figures)
        self._name_clusters(hard, known)
        return Fit(losses=figures, images=meter.images, seconds=meter.seconds)

    def _begin(self, k: int, rng: Generator) -> dict[str, float]:
        """The head learns the clusters that k-means finds in the encoder's space."""
        o, z = self.options, self.space.z()
        found = geometry.kmeans(z.numpy(), k, rng, n_init=o.n_init)
        mu = np.zeros((k, z.shape[1]), dtype=np.float32)
        mu[: len(found.centres)] = found.centres
        s2 = max(found.inertia / len(z), 1e-6)
        with seeded(rng):
            head = self._head = nn.Linear(z.shape[1], k)
        with torch.no_grad():  # -||z - mu||^2 / s^2, less what all clusters share
            head.weight.copy_(torch.from_numpy(2 * mu / s2))
            head.bias.copy_(torch.from_numpy(-np.square(mu).sum(axis=1) / s2))
            head.bias[len(found.centres) :] = EMPTY  # images that repeat: fewer centres
        head.to(self.space.device)
        x = z.to(self.space.device)
        y = torch.from_numpy(found.labels).to(self.space.device)
        optimizer = torch.optim.Adam(head.parameters(), lr=o.pair_lr)
        losses = Meter()
        for _ in range(o.head_epochs):
            for rows in batches(len(x), o.n_images, rng):
                loss = F.cross_entropy(head(x[rows]), y[rows])
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                losses.add(len(rows), {"start": loss})
        return losses.means()

    def _train(
        self,
        closure: Closure[int],
        pairs: Constraints,
        rng: Generator,
        progress: Progress,
        meter: Meter,
    ) -> dict[str, float]:
        o, space, images = self.options, self.space, self.space.images
        net = nn.Sequential(space.network.encoder, self.head)
        accelerator = fabric(o.precision, o.devices)
        model, optimizer = accelerator.setup(net, torch.optim.Adam(net.parameters(), lr=o.pair_lr))
        draws, epochs = torch_generator(rng), o.epochs or 10
        meter.restart()
        space.network.train()
        with progress.task("pairs", epochs * math.ceil(len(images) / o.n_images), "steps") as task:
            for _ in range(epochs):
                upper, lower = thresholds(self.epoch)
                for rows, x in images.stream(batches(len(images), o.n_images, rng)):
                    n_same = o.n_pairs // 2 if pairs.n_different else o.n_pairs
                    n_same = n_same if pairs.n_same else 0
                    same = pairs.same(n_same, rng, by="link")
                    different = pairs.different(o.n_pairs - n_same, rng, by="edge")
                    ends = np.concatenate([same, different])
                    whole = torch.cat([x, images.float(ends.ravel())])
                    p = model(space.augment(space.prepare(whole), draws)).softmax(dim=1)
                    s = pair_similarity(*p[len(x) :].view(len(ends), 2, -1).unbind(dim=1))
                    i, j = _undecided(rows, closure)
                    own = pair_similarity(p[i], p[j])
                    losses = {
                        "pair": pairwise_log_loss(s[: len(same)], s[len(same) :]),
                        "guess": self_pair_loss(own, upper, lower),
                    }
                    optimizer.zero_grad(set_to_none=True)
                    accelerator.backward(losses["pair"] + o.beta * losses["guess"])
                    optimizer.step()
                    meter.add(len(whole), losses)
                    task.advance(1)
                self.epoch += 1
                check_finite(meter.sums, stage="pairs", step=self.epoch, lr=o.pair_lr)
        space.moved()
        return meter.means()

    def _p(self, z: Tensor) -> NDArray[np.float32]:
        """``(n, d) -> (n, K)`` probabilities of the clusters."""
        with torch.inference_mode():
            p: NDArray[np.float32] = self.head(z.to(self.space.device)).softmax(1).cpu().numpy()
        return p

    def _name_clusters(self, hard: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        k = self.head.out_features
        self.class_of = np.full(k, -1, dtype=np.int64)
        labelled = np.flatnonzero(known >= 0)
        if len(labelled):
            self.class_of = geometry.vote(
                hard[labelled], known[labelled], k, self.n_classes, centres=self._centres(hard, k)
            )

    def _centres(self, hard: NDArray[np.int64], k: int) -> NDArray[np.float32]:
        """Mean of z by cluster ``(K, d)``; an empty one has the mean of all."""
        z = self.space.z().numpy()
        means, counts = geometry.class_means(z, hard, k)
        means[counts == 0] = z.mean(axis=0)
        return np.asarray(means, dtype=np.float32)

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        self.space.attach(view.pool)
        p = self._p(self.space.z())
        found: dict[str, Array] = {}
        if "clusters" in parts:
            found["clusters"] = p
        if "proba" in parts:
            found["proba"] = by_class(p, self.class_of, self.n_classes)
        if "embedding" in parts:
            found["embedding"] = self.space.z().numpy()
        if "centres" in parts:
            found["centres"] = self._centres(p.argmax(axis=1), p.shape[1])
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images or feature rows."""
        return by_class(self._p(self.space.encode(images)), self.class_of, self.n_classes)

    def state(self) -> Weights:
        return {
            **self.space.state(),
            **weights_of(self.head, "head."),
            "epoch": np.array([self.epoch]),
            "class_of": self.class_of.copy(),
            "n_classes": np.array([self.n_classes]),
        }

    def load(self, state: Weights) -> None:
        self.space.load(state)
        k, d = state["head.weight"].shape
        with seeded(np.random.default_rng(0)):  # its first weights are overwritten at once
            self._head = nn.Linear(d, k).to(self.space.device)
        load_weights(self._head, state, "head.")
        self.epoch = int(state["epoch"][0])
        self.class_of = np.array(state["class_of"], dtype=np.int64)
        self.n_classes = int(state["n_classes"][0])


def _undecided(rows: NDArray[np.int64], closure: Closure[int]) -> tuple[Tensor, Tensor]:
    """Places ``i < j`` in a batch of all pairs that no answer decides."""
    n = len(rows)
    free = np.triu(np.ones((n, n), dtype=bool), 1)
    spoken = [place for place, row in enumerate(rows.tolist()) if closure.mentions(row)]
    for at, i in enumerate(spoken):
        for j in spoken[at + 1 :]:
            free[i, j] = closure.known(int(rows[i]), int(rows[j])) == 0
    i_free, j_free = np.nonzero(free)
    return torch.from_numpy(i_free), torch.from_numpy(j_free)
