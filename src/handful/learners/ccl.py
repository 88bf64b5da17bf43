"""CCL: convolutional auto-encoder, clustering layer, clustering contrastive loss.

Source: H. Roda, A. B. Geva, "Semi-supervised active learning using convolutional
auto-encoder and contrastive learning", Frontiers in AI 7:1398844, 2024 (Eqs. 1-7,
Algorithm 1).  No code was published; what the paper leaves open is an `Options` field.

::

    pre-train E, D on all images            L_rec = mean (x - D(E(x)))^2            (Eq. 5)
    centroids := class means of z = E(x)                                            (Eq. 6)
    each round, each batch x of all images and B of the labelled ones:
        q = Student-t assignment of z to the centroids                              (Eq. 1)
        p = target from q of all images, refreshed every 80 steps                   (Eq. 3)
        L = w_rec L_rec(x) + w_clu KL(p || q)(x) + w_ccl L_ccl(B)                   (Eqs. 2, 7)

Prediction: the class of the nearest centroid.  Query: entropy of q over the clusters.
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
from handful.errors import InputError, RecipeError
from handful.latent import LEAST_STEPS, AutoEncoderOptions, LatentSpace, by_class
from handful.losses.ccl import Form, Similarity, ccl_loss
from handful.losses.dec import clustering_loss, student_log_assignment, target
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Images,
    Meter,
    batches,
    check_finite,
    cycle,
    fabric,
    known_classes,
    load_weights,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["CCL", "CCLOptions"]
LEAST_ROUND_STEPS = 60  # an epoch of a small folder is a step or two
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CCLOptions(AutoEncoderOptions):
    """Every choice the paper makes or leaves open; ``None`` is settled by ``schedule``."""

    ccl_form: Form = "centroids"  # the reading of Eq. 7; "student" is ours
    similarity: Similarity = "neg_sq"  # of Eq. 7; not used by "student"
    tau: float | None = None  # 1, or 0.1 for cosine
    reduction: Literal["mean", "sum"] = "mean"  # over the labelled batch; sum as printed
    student_alpha: float = 1.0  # degrees of freedom of q; Eq. 1 is the case 1
    w_rec: float = 1.0  # weight of the reconstruction
    w_clu: float = 0.1  # weight of the clustering loss
    w_ccl: float = 1.0  # 0: plain clustering, the labelled stream is not drawn
    epochs: int | None = None  # of a round: 10 published, 3 fast
    least_round_steps: int | None = None  # 60 where the schedule sets the epochs
    labelled_batch: int = 128  # at most, of the labelled stream
    labelled_stream: bool = True  # False: L_ccl on what happens to be in the batch
    balanced_labelled: bool = False  # the labelled stream draws classes evenly
    labelled_target: Literal["student", "onehot"] = "student"  # rows of P of labelled images
    p_interval: int = 80  # steps between two refreshes of P
    refresh: Literal["full", "running"] = "full"  # running: q kept from the training passes
    centroid_update: Literal["gradient", "mean", "both"] = "gradient"  # mean: Eq. 6 anew
    centroid_momentum: float = 1.0  # of "mean": 1 replaces the centroid by the class mean
    detach_centroids: bool = False  # in L_ccl only
    train_decoder: bool = True  # False: Algorithm 1, line 16, to the letter
    warm_start: bool = True  # False: every round starts from the pre-trained weights
    order: Literal["train_first", "algorithm1"] = "train_first"  # algorithm1: ask first
    n_clusters: int | None = None  # as many as classes when None
    unseen: Literal["absent", "drawn"] = "absent"  # centroid of a class that has no label yet
    n_init: int = 20  # of k-means where there is no label at all
    mapping: Literal["identity", "vote"] = "identity"  # how clusters get their class

    def resolved(self) -> CCLOptions:
        """Fill in what depends on the schedule and on other fields."""
        fast = self.schedule == "fast"
        least, least_round = self.least_steps, self.least_round_steps
        if least is None:
            least = LEAST_STEPS if self.pretrain_epochs is None else 0
        if least_round is None:
            least_round = LEAST_ROUND_STEPS if self.epochs is None else 0
        return replace(
            self,
            least_steps=least,
            least_round_steps=least_round,
            tau=self.tau or (0.1 if self.similarity == "cosine" else 1.0),
            epochs=self.epochs if self.epochs is not None else (3 if fast else 10),
            pretrain_epochs=self.pretrain_epochs or (15 if fast else 50),
            pretrain_steps=self.pretrain_steps or (1500 if fast else None),
        )


@register_learner("ccl")
class CCL:
    """Deep clustering of all images, pulled into place by the labelled ones.

    Warm: each ``fit`` goes on from the last.  Gives ``clusters`` q ``(n, K)`` (what the
    paper's entropy query reads), ``proba (n, C)`` (clusters summed by class),
    ``embedding (n, d)`` and ``centres (K, d)``.  A class without a label keeps a drawn
    centroid; a class that appears later takes one over or appends a row.  Runs on pools of
    features with a small MLP auto-encoder.  Cost of an epoch: n forward and backward passes
    and one forward pass every ``p_interval`` steps; memory n (2 K + d) floats beside images.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    Options: ClassVar[type[CCLOptions]] = CCLOptions

    def __init__(self, options: CCLOptions | None = None) -> None:
        self.options = (options or CCLOptions()).resolved()
        self.space = LatentSpace(self.options)
        self.centroids = nn.Parameter(torch.empty(0, 0))
        self.owner = np.empty(0, dtype=np.int64)  # (K,) class whose labels made the centroid
        self.class_of = np.empty(0, dtype=np.int64)  # (K,) class a cluster predicts
        self.n_classes = 0
        self._pretrained: Weights = {}  # kept only for cold starts

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Pre-train once, place the centroids, then ``epochs`` over all images."""
        o, meter = self.options, Meter()
        known = known_classes(view)
        images = self.space.attach(view.pool, progress)
        if not self.space.built:
            meter.images += self.space.pretrain(rng, progress)
            self._pretrained = {} if o.warm_start else weights_of(self.space.network)
        elif not o.warm_start:
            load_weights(self.space.network, self._pretrained)
            self.space.moved()
            self.owner = np.empty(0, dtype=np.int64)
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        self._place_centroids(view, known, rng)
        losses: dict[str, float] = {}
        if not (o.order == "algorithm1" and view.round == 0):
            losses = self._cluster(images, known, view.round, rng, progress, meter)
        self._map_clusters(known)
        return Fit(losses=losses, images=meter.images, seconds=meter.seconds)

    def _cluster(
        self,
        images: Images,
        known: NDArray[np.int64],
        round: int,
        rng: Generator,
        progress: Progress,
        meter: Meter,
    ) -> dict[str, float]:
        """The clustering training of one round: the paper's Algorithm 1, lines 9-19."""
        o, n, space, net = self.options, len(images), self.space, self.space.network
        epochs = self._epochs(n)
        accelerator = fabric(o.precision, o.devices)
        by_gradient = [self.centroids] if o.centroid_update != "mean" else []
        self.centroids.requires_grad_(bool(by_gradient))
        optimizer = torch.optim.Adam([*self._trained(), *by_gradient], lr=o.lr)
        model, optimizer = accelerator.setup(net, optimizer)
        cluster_of = self._cluster_of(known)
        labelled = np.flatnonzero(known >= 0)
        stream = self._labelled_stream(known, labelled, rng)
        draws, augment = torch_generator(rng), space.augment
        refresh = _Targets(self, images, known)
        net.train()
        step = 0
        with progress.task(f"round {round}: training", epochs * n) as task:
            for _ in range(epochs):
                for rows, x in images.stream(batches(n, o.batch_size, rng)):
                    if step % o.p_interval == 0:
                        refresh(step, optimizer, progress, meter)
                    x = augment(space.prepare(x), draws)
                    both, mine = x, rows[known[rows] >= 0] if len(labelled) else rows[:0]
                    if stream is not None:
                        mine = next(stream)
                        x_labelled = augment(space.prepare(images.float(mine)), draws)
                        both = torch.cat([x, x_labelled])
                    z, x_hat = model(both)
                    b = len(rows)
                    log_q = student_log_assignment(z[:b], self.centroids, o.student_alpha)
                    losses = {
                        "rec": (x_hat[:b] - x).square().mean(),
                        "clu": clustering_loss(log_q, refresh.p(rows)),
                    }
                    z_mine = z[b:] if stream is not None else z[known[rows] >= 0]
                    losses["ccl"] = self._ccl(z_mine, cluster_of[mine])
                    total = (
                        o.w_rec * losses["rec"] + o.w_clu * losses["clu"] + o.w_ccl * losses["ccl"]
                    )
                    optimizer.zero_grad(set_to_none=True)
                    accelerator.backward(total)
                    optimizer.step()
                    refresh.seen(rows, log_q)
                    meter.add(len(both), {**losses, "total": total})
                    step += 1
                    task.advance(b)
                    if step % 20 == 1:
                        check_finite(losses, stage=f"round {round}", step=step, lr=o.lr)
        space.moved()
        means = meter.means()
        final = {**meter.sums, "centroids": self.centroids}
        check_finite(final, stage=f"round {round}", step=step, lr=o.lr)
        return means

    def _epochs(self, n: int) -> int:
        o = self.options
        least = math.ceil((o.least_round_steps or 0) / math.ceil(n / o.batch_size))
        return max(o.epochs or 0, least)

    def _ccl(self, z: Tensor, cluster: NDArray[np.int64]) -> Tensor:
        o = self.options
        assert o.tau is not None
        if o.w_ccl == 0 or len(cluster) == 0:
            return torch.zeros((), device=z.device)
        centroids = self.centroids.detach() if o.detach_centroids else self.centroids
        return ccl_loss(
            z,
            torch.from_numpy(cluster).to(z.device),
            centroids,
            form=o.ccl_form,
            sim=o.similarity,
            tau=o.tau,
            alpha=o.student_alpha,
            reduction=o.reduction,
        )

    def _labelled_stream(
        self, known: NDArray[np.int64], labelled: NDArray[np.int64], rng: Generator
    ) -> Iterator[NDArray[np.int64]] | None:
        o = self.options
        if o.w_ccl == 0 or not o.labelled_stream or len(labelled) == 0:
            return None
        if not o.balanced_labelled:
            return cycle(labelled, o.labelled_batch, rng)
        return _balanced(known, labelled, o.labelled_batch, rng)

    # ----------------------------------------------------------------- centroids

    def _place_centroids(self, view: View, known: NDArray[np.int64], rng: Generator) -> None:
        """First call: class means, the rest by seeded k-means.  Later: new classes only."""
        z = self.space.z().numpy()
        if len(self.owner) == 0:
            k = self.options.n_clusters or self.n_classes or view.clusters or 0
            if k < 1:
                raise RecipeError(
                    "the number of clusters is unknown: name the classes, label some images or"
                    " set learner.n_clusters"
                )
            if k > len(z):
                raise InputError(f"fewer images ({len(z)}) than clusters ({k}): label by hand")
            self._set_centroids(self._first_centroids(z, known, k, rng))
            return
        centroids = self.centroids.detach().cpu().numpy()
        for c in np.setdiff1d(known[known >= 0], self.owner):
            mean = z[known == c].mean(axis=0)
            free = np.flatnonzero(self.owner < 0)
            if len(free):  # a drawn centroid stands for a class nobody had named yet
                j = free[np.square(centroids[free] - mean).sum(axis=1).argmin()]
                centroids[j], self.owner[j] = mean, c
            else:
                centroids = np.vstack([centroids, mean[None]])
                self.owner = np.append(self.owner, c)
        self._set_centroids(centroids)

    def _first_centroids(
        self, z: NDArray[np.float32], known: NDArray[np.int64], k: int, rng: Generator
    ) -> Array:
        o, seen = self.options, np.unique(known[known >= 0])
        if missing := self.n_classes - len(seen):
            log.warning("%d of %d classes have no label yet", missing, self.n_classes)
        if o.unseen == "absent" and o.n_clusters is None and len(seen):
            self.owner = seen
            return np.stack([z[known == c].mean(axis=0) for c in seen])
        centroids = geometry.seeded_kmeans(z, known, max(k, self.n_classes), rng, n_init=o.n_init)
        self.owner = np.full(len(centroids), -1, dtype=np.int64)
        self.owner[seen] = seen
        return centroids

    def _set_centroids(self, centroids: Array) -> None:
        placed = torch.from_numpy(np.array(centroids, dtype=np.float32))
        self.centroids = nn.Parameter(placed.to(self.space.device))

    def _cluster_of(self, known: NDArray[np.int64]) -> NDArray[np.int64]:
        """(n,) index of the centroid that each labelled image belongs to, -1 unlabelled."""
        at = np.full(max(self.n_classes, 1), -1, dtype=np.int64)
        owned = np.flatnonzero(self.owner >= 0)
        at[self.owner[owned]] = owned
        return np.where(known >= 0, at[np.maximum(known, 0)], -1)

    def _map_clusters(self, known: NDArray[np.int64]) -> None:
        """Settle which class each cluster predicts; the truth of other images plays no part."""
        self.class_of = self.owner.copy()
        if self.n_classes == 0 or not (known >= 0).any():
            return
        by_vote = self.options.mapping == "vote"
        if not by_vote and (self.owner >= 0).all():
            return
        labelled = np.flatnonzero(known >= 0)
        hard = self._log_q(self.space.z()[labelled]).argmax(dim=1).numpy()
        self.class_of = geometry.vote(
            hard,
            known[labelled],
            len(self.owner),
            self.n_classes,
            fixed=None if by_vote else self.owner,
            centres=self.centroids.detach().cpu().numpy(),
        )

    # ---------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found: dict[str, Array] = {}
        self.space.attach(view.pool)
        if parts & {"proba", "clusters", "embedding"}:
            z = self.space.z()
            if parts & {"proba", "clusters"}:
                q = self._log_q(z).exp().numpy()
                if "clusters" in parts:
                    found["clusters"] = q
                if "proba" in parts:
                    found["proba"] = by_class(q, self.class_of, self.n_classes)
            if "embedding" in parts:
                found["embedding"] = z.numpy()
        if "centres" in parts:
            found["centres"] = self.centroids.detach().cpu().numpy().copy()
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        q = self._log_q(self.space.encode(images)).exp().numpy()
        return by_class(q, self.class_of, self.n_classes)

    def _log_q(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            centroids = self.centroids.detach().to(z.device)
            return student_log_assignment(z, centroids, self.options.student_alpha)

    def _trained(self) -> list[nn.Parameter]:
        net = self.space.network
        return list((net if self.options.train_decoder else net.encoder).parameters())

    # ---------------------------------------------------------------------- state

    def state(self) -> Weights:
        return {
            **self.space.state(),
            **{f"pretrained.{k}": v for k, v in self._pretrained.items()},
            "centroids": self.centroids.detach().cpu().numpy().copy(),
            "owner": self.owner.copy(),
            "class_of": self.class_of.copy(),
            "n_classes": np.array([self.n_classes]),
        }

    def load(self, state: Weights) -> None:
        self.space.load(state)
        self._pretrained = {
            k.removeprefix("pretrained."): v
            for k, v in state.items()
            if k.startswith("pretrained.")
        }
        self.owner = np.array(state["owner"], dtype=np.int64)
        self.class_of = np.array(state["class_of"], dtype=np.int64)
        self.n_classes = int(state["n_classes"][0])
        self._set_centroids(state["centroids"])


class _Targets:
    """P of all images (Eq. 3) and its refresh every ``p_interval`` steps.

    ``refresh="running"`` keeps the log q that the training passes compute anyway and takes P
    from it: no extra forward pass but the round's first.
    """

    def __init__(self, learner: CCL, images: Images, known: NDArray[np.int64]) -> None:
        self.learner, self.images, self.known = learner, images, known
        self.log_q = torch.empty(0)
        self._p = torch.empty(0)
        self.hard: Tensor | None = None

    def __call__(
        self, step: int, optimizer: torch.optim.Optimizer, progress: Progress, meter: Meter
    ) -> None:
        me, o = self.learner, self.learner.options
        if step == 0 or o.refresh == "full":
            if step:
                me.space.moved()  # the weights have moved
            z = me.space.z()
            if o.centroid_update != "gradient":
                self._recentre(z, optimizer)
            self.log_q = me._log_q(z)
        p = target(self.log_q)
        if o.labelled_target == "onehot":
            mine = np.flatnonzero(self.known >= 0)
            p[mine] = torch.nn.functional.one_hot(
                torch.from_numpy(me._cluster_of(self.known)[mine]), p.shape[1]
            ).to(p)
        self._p = p.to(me.space.device)
        hard = self.log_q.argmax(dim=1)
        changed = math.nan if self.hard is None else float((hard != self.hard).float().mean())
        self.hard = hard
        progress.log("clustering", step, assignment=hard.numpy(), changed=changed, **meter.means())
        meter.restart()

    def _recentre(self, z: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """``centroid_update`` "mean" / "both": centroids of labelled classes by Eq. 6."""
        me, m = self.learner, self.learner.options.centroid_momentum
        cluster_of = me._cluster_of(self.known)
        moments = optimizer.state.get(me.centroids, {})
        with torch.no_grad():
            for j in np.unique(cluster_of[cluster_of >= 0]):
                mean = z[torch.from_numpy(cluster_of == j)].mean(dim=0).to(me.centroids)
                me.centroids[j].lerp_(mean, m)
                for key in ("exp_avg", "exp_avg_sq"):
                    if key in moments:
                        moments[key][j] = 0

    def p(self, rows: NDArray[np.int64]) -> Tensor:
        return self._p[torch.from_numpy(rows).to(self._p.device)]

    def seen(self, rows: NDArray[np.int64], log_q: Tensor) -> None:
        if self.learner.options.refresh == "running":
            self.log_q[torch.from_numpy(rows)] = log_q.detach().float().cpu()


def _balanced(
    known: NDArray[np.int64], labelled: NDArray[np.int64], size: int, rng: Generator
) -> Iterator[NDArray[np.int64]]:
    """Batches that draw each labelled class alike."""
    classes = np.unique(known[labelled])
    streams = {c: cycle(labelled[known[labelled] == c], 1, rng) for c in classes}
    while True:
        drawn = rng.permutation(np.resize(rng.permutation(classes), min(size, len(labelled))))
        yield np.concatenate([next(streams[c]) for c in drawn])
