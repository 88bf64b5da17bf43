"""SDEC: deep embedded clustering that pulls what is the same together, and what differs apart.

Source: Y. Ren, K. Hu, X. Dai, L. Pan, S. C. H. Hoi, Z. Xu, "Semi-supervised deep embedded
clustering", Neurocomputing 325, 2019::

    pre-train an auto-encoder;  mu := k-means of z, best of n_init starts
    a_ik := +1 for the same, -1 for different images, as far as answers imply it
    repeat: P := target of q of all images; stop when < tol of the images changed cluster
            p_interval steps on   KL(P || Q) + lam (1/n) sum_ik a_ik ||z_i - z_k||^2

The encoder moves and the decoder is dropped.  A batch holds images for the first term and
pairs, drawn uniformly from all that are known, for the second.  Each round begins at the
pre-trained encoder again, with all answers so far: the paper trains once.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful import geometry
from handful.errors import TrainingError
from handful.latent import AutoEncoderOptions, LatentSpace, by_class, cluster_count
from handful.losses.dec import clustering_loss, student_log_assignment, target
from handful.losses.pairwise import pair_term
from handful.pairs import Constraints, closure_of
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    batches,
    fabric,
    known_classes,
    load_weights,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["SDEC", "SDECOptions"]

GUARDED = 1e-3  # above this lam, different images far enough apart are left in peace
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SDECOptions(AutoEncoderOptions):
    """SDEC as published, on the convolutional auto-encoder; ``None`` is settled by ``schedule``."""

    lam: float = 1e-5  # weight of the pairs; as published they hardly count: sdec-strong has 0.1
    cl_margin: float | None = None  # no push beyond; twice the median of centres where lam > 1e-3
    balance: bool = False  # a mean for each kind of pair, in place of the formula's 1/n
    n_pairs: int = 128  # in a step
    optimizer: Literal["sgd", "adam"] | None = None  # sgd (momentum 0.9) published, adam fast
    cluster_lr: float | None = None  # 0.01 published, 1e-3 fast
    p_interval: int | None = None  # steps between two targets; an epoch when None
    tol: float = 0.001  # stop when a smaller share of the images changed cluster
    steps: int | None = None  # at most: 20,000 published; fast: 30 epochs
    n_init: int | None = None  # of k-means: 20 published, 4 fast
    n_clusters: int | None = None  # as many as classes when None
    two_classes: bool = False  # the user vouches for it: two differences make a sameness

    def resolved(self) -> SDECOptions:
        """Fill in what depends on the schedule alone."""
        fast = self.schedule == "fast"
        return replace(
            self,
            optimizer=self.optimizer or ("adam" if fast else "sgd"),
            cluster_lr=self.cluster_lr or (1e-3 if fast else 0.01),
            steps=self.steps if self.steps is not None else (None if fast else 20_000),
            n_init=self.n_init or (4 if fast else 20),
        )


@register_learner("sdec")
class SDEC:
    """Semi-supervised deep embedded clustering: DEC with must-links and cannot-links.

    Learns from pair answers and from labels, which give all their pairs.  Without either it is
    DEC.  Gives ``clusters`` q ``(n, K)``, ``proba (n, C)`` (clusters summed by the class that
    labels voted them; uniform without a label), ``embedding`` and ``centres``.  Each step
    encodes a batch and ``n_pairs`` pairs; a refresh is a forward pass over all images and
    O(n K d); memory n (2 K + d) floats beside the images, nothing of n x n.  Different from the
    authors' code: the pairs have a gradient, and are drawn without replacement by the rule.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    learns_pairs: ClassVar[bool] = True
    Options: ClassVar[type[SDECOptions]] = SDECOptions

    def __init__(self, options: SDECOptions | None = None) -> None:
        self.options = (options or SDECOptions()).resolved()
        self.space = LatentSpace(self.options)
        self.centroids = nn.Parameter(torch.empty(0, 0))
        self.class_of = np.empty(0, dtype=np.int64)
        self.n_classes = 0
        self._start: Weights = {}  # the pre-trained network, and the centres k-means found in it

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Pre-train at the first call; then cluster anew with all that answers imply."""
        meter, known = Meter(), known_classes(view)
        k = cluster_count(view, known, self.options.n_clusters)
        self.space.attach(view.pool, progress)
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        if not self.space.built:
            meter.images += self.space.pretrain(rng, progress)
            self._start = weights_of(self.space.network)
        self._restart(k, rng)
        closure = closure_of(view, two_classes=self.options.two_classes)
        if (shown := closure.different_groups()) > k:
            log.warning("sdec: the answers show at least %d classes, the model has %d", shown, k)
        losses = self._cluster(Constraints(closure), rng, progress, meter)
        self._name_clusters(known)
        return Fit(losses=losses, images=meter.images, seconds=meter.seconds)

    def _restart(self, k: int, rng: Generator) -> None:
        """Back to the pre-trained encoder; k-means there once for each number of clusters."""
        kept = {n: a for n, a in self._start.items() if n not in ("k", "centres")}
        load_weights(self.space.network, kept)
        self.space.moved()
        if self._start.get("k", _NONE)[0] != k:
            z = self.space.z().numpy()
            found = geometry.kmeans(z, k, rng, n_init=self.options.n_init or 20)
            self._start["k"] = np.array([k])
            self._start["centres"] = np.asarray(found.centres, dtype=np.float32)
        self._set_centroids(self._start["centres"])

    def _cluster(
        self, pairs: Constraints, rng: Generator, progress: Progress, meter: Meter
    ) -> dict[str, float]:
        o, space, images = self.options, self.space, self.space.images
        epoch = math.ceil(len(images) / o.batch_size)
        interval, steps = o.p_interval or epoch, o.steps if o.steps is not None else 30 * epoch
        accelerator = fabric(o.precision, o.devices)
        encoder, optimizer = accelerator.setup(space.network.encoder, self._optimizer())
        draws, margin = torch_generator(rng), self._margin()
        hard: Tensor | None = None
        figures: dict[str, float] = {}
        last, p = self._place(), torch.empty(0)
        space.network.train()
        with progress.task("clustering", steps, "steps") as task:
            for step, (rows, x) in enumerate(images.stream(self._for_ever(len(images), rng))):
                if step % interval == 0:
                    p, now = self._refresh(step, last)
                    last = self._place()
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
                stated, sign = pairs.stated(o.n_pairs, rng)
                whole = torch.cat([x, images.float(stated.ravel())]) if len(stated) else x
                z = encoder(space.augment(space.prepare(whole), draws))
                log_q = student_log_assignment(z[: len(x)], self.centroids)
                ends = z[len(x) :].reshape(len(stated), 2, z.shape[1])
                losses = {
                    "clu": clustering_loss(log_q, p[torch.from_numpy(rows).to(p.device)]),
                    "pair": pair_term(
                        ends[:, 0], ends[:, 1], torch.from_numpy(sign).to(z.device),
                        n=len(images), n_pairs=len(pairs), margin=margin, balance=o.balance,
                    ),
                }  # fmt: skip
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(losses["clu"] + o.lam * losses["pair"])
                optimizer.step()
                length = z.detach().norm(dim=1).mean()  # cannot-links alone would blow it up
                meter.add(len(whole), {**losses, "length": length})
                task.advance(1)
        space.moved()
        return meter.means() or figures

    def _refresh(self, step: int, last: Weights) -> tuple[Tensor, Tensor]:
        """P and the hard clusters of all images; back to the refresh before where it diverged."""
        self.space.moved()
        try:
            log_q = self._log_q(self.space.z())
            if not torch.isfinite(log_q).all():
                raise TrainingError("the centres hold NaN")
        except TrainingError as error:
            self._put_back(last)
            raise TrainingError(
                f"SDEC diverged before step {step}, and is back at the refresh before:"
                f" lower learner.lam (now {self.options.lam:g}); {error}"
            ) from error
        return target(log_q).to(self.space.device), log_q.argmax(dim=1)

    def _place(self) -> Weights:
        """Where the encoder and the centres are."""
        centroids = self.centroids.detach().cpu().numpy().copy()
        return {**weights_of(self.space.network, "network."), "centroids": centroids}

    def _put_back(self, place: Weights) -> None:
        load_weights(self.space.network, place, "network.")
        self._set_centroids(place["centroids"])
        self.space.moved()

    def _optimizer(self) -> torch.optim.Optimizer:
        o, moved = self.options, [*self.space.network.encoder.parameters(), self.centroids]
        if o.optimizer == "sgd":
            return torch.optim.SGD(moved, lr=o.cluster_lr or 0.01, momentum=0.9)
        return torch.optim.Adam(moved, lr=o.cluster_lr or 1e-3)

    def _margin(self) -> float | None:
        """How far apart different images may be before they are left in peace; None: never."""
        o = self.options
        if o.cl_margin is not None or o.lam <= GUARDED or len(self.centroids) < 2:
            return o.cl_margin
        centres = self.centroids.detach().cpu().numpy()
        d2 = geometry.squared_distances(centres, centres)
        apart = np.sqrt(np.maximum(d2[np.triu_indices(len(centres), 1)], 0))
        return 2 * float(np.median(apart))

    def _for_ever(self, n: int, rng: Generator) -> Iterator[NDArray[np.int64]]:
        while True:
            yield from batches(n, self.options.batch_size, rng)

    def _name_clusters(self, known: NDArray[np.int64]) -> None:
        self.class_of = np.full(len(self.centroids), -1, dtype=np.int64)
        labelled = np.flatnonzero(known >= 0)
        if len(labelled):
            hard = self._log_q(self.space.z()[labelled]).argmax(dim=1).numpy()
            centres = self.centroids.detach().cpu().numpy()
            self.class_of = geometry.vote(
                hard, known[labelled], len(centres), self.n_classes, centres=centres
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
            return student_log_assignment(z, self.centroids.detach().to(z.device))

    def _set_centroids(self, centroids: Array) -> None:
        placed = torch.from_numpy(np.array(centroids, dtype=np.float32))
        self.centroids = nn.Parameter(placed.to(self.space.device))

    def state(self) -> Weights:
        return {
            **self.space.state(),
            **{f"start.{name}": array.copy() for name, array in self._start.items()},
            "centroids": self.centroids.detach().cpu().numpy().copy(),
            "class_of": self.class_of.copy(),
            "n_classes": np.array([self.n_classes]),
        }

    def load(self, state: Weights) -> None:
        self.space.load(state)
        self._start = {
            name.removeprefix("start."): np.array(array)
            for name, array in state.items()
            if name.startswith("start.")
        }
        self.class_of = np.array(state["class_of"], dtype=np.int64)
        self.n_classes = int(state["n_classes"][0])
        self._set_centroids(state["centroids"])


_NONE = np.array([-1])
