"""DEC and DCEC: deep clustering without a label, by self-training on its own soft clusters.

Sources: J. Xie, R. Girshick, A. Farhadi, ICML 2016 (DEC); X. Guo, X. Liu, E. Zhu, J. Yin,
ICONIP 2017 (DCEC: the reconstruction stays in the loss, so that the latent space keeps its
shape).  One method, two weights::

    pre-train an auto-encoder;  centroids := k-means of z, best of n_init starts
    repeat: P := target of q of all images; stop when < tol of the images changed cluster
            p_interval steps on   w_rec mean (x - x_hat)^2 + w_clu KL(P || Q)

Labels never enter the training.  They only name the clusters, by majority vote.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.latent import LEAST_STEPS, AutoEncoderOptions, LatentSpace, by_class
from handful.losses.dec import clustering_loss, student_log_assignment, target
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import Meter, batches, check_finite, fabric, torch_generator
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["DCEC", "DEC", "DCECOptions", "DECOptions"]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DECOptions(AutoEncoderOptions):
    """DEC as published, on the convolutional auto-encoder, with Adam."""

    w_rec: float = 0.0  # weight of the reconstruction
    w_clu: float = 1.0  # weight of the clustering loss
    p_interval: int | None = None  # one epoch, as the authors' code
    tol: float = 0.001  # stop when a smaller share of the images changed cluster
    steps: int | None = None  # at most: 20,000 published, 1,500 fast
    n_init: int | None = None  # of k-means: 20 published, 4 fast
    n_clusters: int | None = None  # as many as classes when None
    student_alpha: float = 1.0  # degrees of freedom of q

    def resolved(self) -> DECOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        least = self.least_steps
        if least is None:
            least = LEAST_STEPS if self.pretrain_epochs is None else 0
        return replace(
            self,
            least_steps=least,
            steps=self.steps if self.steps is not None else (1500 if fast else 20_000),
            n_init=self.n_init or (4 if fast else 20),
            pretrain_epochs=self.pretrain_epochs or (15 if fast else 50),
            pretrain_steps=self.pretrain_steps or (1500 if fast else None),
        )


@dataclass(frozen=True)
class DCECOptions(DECOptions):
    """DCEC: the reconstruction stays, the clustering weighs a tenth of it."""

    w_rec: float = 1.0  # the decoder keeps the space in shape
    w_clu: float = 0.1  # gamma of the paper
    p_interval: int | None = 140  # steps between two refreshes of P


@register_learner("dec")
class DEC:
    """Deep embedded clustering: zero labels train it, labels only name its clusters.

    Trained once; later fits vote anew.  Gives ``clusters`` q ``(n, K)``, ``proba (n, C)``
    (clusters summed by the class they were voted), ``embedding`` and ``centres``.  Without
    any label ``proba`` is uniform.  A refresh costs one forward pass over all images and
    O(n K d); memory n (2 K + d) floats beside the images.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    Options: ClassVar[type[DECOptions]] = DECOptions

    def __init__(self, options: DECOptions | None = None) -> None:
        self.options = (options or self.Options()).resolved()
        self.space = LatentSpace(self.options)
        self.centroids = nn.Parameter(torch.empty(0, 0))
        self.class_of = np.empty(0, dtype=np.int64)
        self.n_classes = 0

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train at the first call; at every call, name the clusters by the labels so far."""
        meter, losses = Meter(), {}
        known = np.asarray(view.known)
        self.space.attach(view.pool, progress)
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        if not self.space.built:
            k = self.options.n_clusters or self.n_classes or view.clusters or 0
            if k < 1:
                raise RecipeError(
                    "the number of clusters is unknown: name the classes or set learner.n_clusters"
                )
            if k > len(view.pool):
                raise InputError(
                    f"fewer images ({len(view.pool)}) than clusters ({k}): set learner.n_clusters"
                )
            meter.images += self.space.pretrain(rng, progress)
            n_init = self.options.n_init or 20
            centres = geometry.kmeans(self.space.z().numpy(), k, rng, n_init=n_init).centres
            self._set_centroids(centres)
            losses = self._cluster(rng, progress, meter)
        self._name_clusters(known)
        return Fit(losses=losses, images=meter.images, seconds=meter.seconds)

    def _cluster(self, rng: Generator, progress: Progress, meter: Meter) -> dict[str, float]:
        o, space, net = self.options, self.space, self.space.network
        images = space.images
        steps, interval = o.steps or 0, o.p_interval or math.ceil(len(images) / o.batch_size)
        accelerator = fabric(o.precision, o.devices)
        optimizer = torch.optim.Adam([*net.parameters(), self.centroids], lr=o.lr)
        model, optimizer = accelerator.setup(net, optimizer)
        draws, augment = torch_generator(rng), space.augment
        hard: Tensor | None = None
        net.train()
        step, p = 0, torch.empty(0)
        figures: dict[str, float] = {}  # since the last refresh but one: it may end at a refresh
        with progress.task("clustering", steps, "steps") as task:
            for rows, x in images.stream(self._for_ever(len(images), rng)):
                if step % interval == 0:
                    space.moved()
                    log_q = self._log_q(space.z())
                    p, now = target(log_q).to(space.device), log_q.argmax(dim=1)
                    changed = 1.0 if hard is None else float((now != hard).float().mean())
                    figures = meter.means()
                    progress.log(
                        "clustering", step, assignment=now.numpy(), changed=changed, **figures
                    )
                    meter.restart()
                    if hard is not None and changed < o.tol:
                        break
                    hard = now
                if step >= steps:
                    break
                x = augment(space.prepare(x), draws)
                z, x_hat = model(x)
                log_q = student_log_assignment(z, self.centroids, o.student_alpha)
                losses = {
                    "rec": (x_hat - x).square().mean(),
                    "clu": clustering_loss(log_q, p[torch.from_numpy(rows).to(p.device)]),
                }
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(o.w_rec * losses["rec"] + o.w_clu * losses["clu"])
                optimizer.step()
                meter.add(len(rows), losses)
                step += 1
                task.advance(1)
                if step % 20 == 1:
                    check_finite(losses, stage="clustering", step=step, lr=o.lr)
        space.moved()
        return meter.means() or figures

    def _for_ever(self, n: int, rng: Generator) -> Iterator[NDArray[np.int64]]:
        while True:
            yield from batches(n, self.options.batch_size, rng)

    def _name_clusters(self, known: NDArray[np.int64]) -> None:
        self.class_of = np.full(len(self.centroids), -1, dtype=np.int64)
        labelled = np.flatnonzero(known >= 0)
        if len(labelled):
            hard = self._log_q(self.space.z()[labelled]).argmax(dim=1).numpy()
            self.class_of = geometry.vote(
                hard,
                known[labelled],
                len(self.centroids),
                self.n_classes,
                centres=self.centroids.detach().cpu().numpy(),
            )

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found: dict[str, Array] = {}
        self.space.attach(view.pool)
        if parts & {"proba", "clusters"}:
            q = self._log_q(self.space.z()).exp().numpy()
            found |= {"clusters": q, "proba": by_class(q, self.class_of, self.n_classes)}
        if "embedding" in parts:
            found["embedding"] = self.space.z().numpy()
        if "centres" in parts:
            found["centres"] = self.centroids.detach().cpu().numpy().copy()
        given = {name: found[name] for name in parts & self.gives}
        return Snapshot.of(
            view, given, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images or feature rows."""
        q = self._log_q(self.space.encode(images)).exp().numpy()
        return by_class(q, self.class_of, self.n_classes)

    def _log_q(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            centroids = self.centroids.detach().to(z.device)
            return student_log_assignment(z, centroids, self.options.student_alpha)

    def _set_centroids(self, centroids: Array) -> None:
        placed = torch.from_numpy(np.array(centroids, dtype=np.float32))
        self.centroids = nn.Parameter(placed.to(self.space.device))

    def state(self) -> Weights:
        return {
            **self.space.state(),
            "centroids": self.centroids.detach().cpu().numpy().copy(),
            "class_of": self.class_of.copy(),
            "n_classes": np.array([self.n_classes]),
        }

    def load(self, state: Weights) -> None:
        self.space.load(state)
        self.class_of = np.array(state["class_of"], dtype=np.int64)
        self.n_classes = int(state["n_classes"][0])
        self._set_centroids(state["centroids"])


@register_learner("dcec")
class DCEC(DEC):
    """Deep convolutional embedded clustering: DEC whose decoder keeps the latent space in shape.

    Everything else as `DEC`; the loss is ``mean (x - x_hat)^2 + 0.1 KL(P || Q)``.
    """

    Options: ClassVar[type[DECOptions]] = DCECOptions
