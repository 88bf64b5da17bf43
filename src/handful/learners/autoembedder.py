"""AutoEmbedder: an embedding in which the same lie on one point, and different ones alpha apart.

Source: A. Q. Ohi, M. F. Mridha, F. B. Safir, M. A. Hamid, M. M. Monowar, "AutoEmbedder: a
semi-supervised DNN embedding system for clustering", Knowledge-Based Systems 204, 2020::

    D_ik = min(||E(x_i) - E(x_k)||_2, alpha),   t_ik = 0 for the same, alpha for different images
    minimise  mean over pairs of (D_ik - t_ik)^2,  half of a batch the same, half different
    clusters := k-means of E(x), best of n_init starts

One network sees both images of a pair.  Nothing holds the unlabelled images in place: with few
answers the embedding fits those images and no others, which the two inertias show.  Each
round begins at the pre-trained encoder again, with all answers so far.
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
from torch import Tensor
from torch.nn import functional as F

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.latent import AutoEncoderOptions, LatentSpace, by_class, cluster_count
from handful.losses.pairwise import autoembedder_loss
from handful.pairs import Constraints, closure_of
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    check_finite,
    fabric,
    known_classes,
    load_weights,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["AutoEmbedder", "AutoEmbedderOptions"]
REACH = 3.0  # alpha over the median distance of two images, on the fast schedule
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AutoEmbedderOptions(AutoEncoderOptions):
    """AutoEmbedder on the house encoder; ``None`` is settled by ``schedule``."""

    # distance of different images: 100 published; fast: 3 times the median distance of any two
    # before training, chosen on digits, where 100 tore apart what the encoder had found
    alpha: float | None = None
    clip: Literal["cannot", "both"] = "cannot"  # both: published, far must-links are then dead
    normalise: bool = False  # embeddings of length 1: alpha is then at most 2
    pair_lr: float = 1e-3  # of Adam, on the pairs
    n_pairs: int = 128  # in a batch, half of each kind
    epochs: int | None = None  # 120 published: n / n_pairs steps each; none fast
    steps: int | None = None  # in place of epochs: 400 fast
    n_init: int = 10  # of k-means
    n_clusters: int | None = None  # as many as classes when None
    two_classes: bool = False  # the user vouches for it: two differences make a sameness

    def __post_init__(self) -> None:
        if self.alpha is None:
            return
        if not self.alpha > 0:
            raise RecipeError(f"learner.alpha is {self.alpha}: it must be above 0")
        if self.normalise and self.alpha > 2:
            raise RecipeError(
                f"learner.alpha is {self.alpha:g} and embeddings of length 1 are at most 2 apart:"
                " set learner.alpha to 2 or less, or learner.normalise to false"
            )

    def resolved(self) -> AutoEmbedderOptions:
        """Fill in what depends on the schedule alone."""
        if self.schedule == "fast":
            given = self.steps is not None or self.epochs is not None
            return replace(self, steps=self.steps if given else 400)
        alpha = self.alpha or (2.0 if self.normalise else 100.0)
        return replace(self, epochs=self.epochs or 120, alpha=alpha)


@register_learner("autoembedder")
class AutoEmbedder:
    """Pairs train an embedding, k-means groups it: the same to distance 0, different to alpha.

    Learns from pair answers and from labels, which give all their pairs; with none, or none of
    different images, nothing is trained and k-means groups what the pre-trained encoder gives.
    Gives ``clusters (n, K)`` by 1 / (1 + d^2 / s^2), ``proba (n, C)`` (clusters summed by the
    class that labels voted them; uniform without a label), ``embedding`` and ``centres``.  A
    step encodes 2 n_pairs images; k-means n K m a start; nothing of n x n.  Different from the
    authors' code: one network, not two that drift apart; must-links are never clipped; no label
    is used that was not paid for.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    learns_pairs: ClassVar[bool] = True
    Options: ClassVar[type[AutoEmbedderOptions]] = AutoEmbedderOptions

    def __init__(self, options: AutoEmbedderOptions | None = None) -> None:
        self.options = (options or AutoEmbedderOptions()).resolved()
        self.space = LatentSpace(self.options)
        self.alpha = self.options.alpha or 0.0  # 0: settled by the first embedding
        self.centres: NDArray[np.float32] = np.empty((0, 0), dtype=np.float32)
        self.spread = 1.0  # s^2: mean squared distance to the nearest centre
        self.class_of = np.empty(0, dtype=np.int64)
        self.n_classes = 0
        self._start: Weights = {}  # the pre-trained network

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Pre-train at the first call; then embed anew by all that answers imply, and group."""
        meter, known = Meter(), known_classes(view)
        k = cluster_count(view, known, self.options.n_clusters)
        self.space.attach(view.pool, progress)
        self.n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        if not self.space.built:
            meter.images += self.space.pretrain(rng, progress)
            self._start = weights_of(self.space.network)
        load_weights(self.space.network, self._start)
        self.space.moved()
        self.alpha = self.options.alpha or self._reach()
        pairs = Constraints(closure_of(view, two_classes=self.options.two_classes))
        figures: dict[str, float] = {}
        if pairs.n_different:
            if not pairs.n_same:
                log.warning("autoembedder: no two images are the same: all are pushed apart")
            figures = self._embed(pairs, rng, progress, meter)
        elif len(pairs):
            log.warning(
                "autoembedder: no two images are different: on one point all would be well, so"
                " nothing is trained; it needs at least one pair of different classes"
            )
        figures |= self._group(k, pairs, known, rng)
        return Fit(losses=figures, images=meter.images, seconds=meter.seconds)

    def _embed(
        self, pairs: Constraints, rng: Generator, progress: Progress, meter: Meter
    ) -> dict[str, float]:
        """Train on pairs; batch norm keeps the statistics of all images, not of the few asked."""
        o, space = self.options, self.space
        steps = o.steps
        if steps is None:
            steps = (o.epochs or 120) * math.ceil(len(space.images) / o.n_pairs)
        accelerator = fabric(o.precision, o.devices)
        adam = torch.optim.Adam(space.network.encoder.parameters(), lr=o.pair_lr)
        encoder, optimizer = accelerator.setup(space.network.encoder, adam)
        draws = torch_generator(rng)
        space.network.eval()
        with progress.task("pairs", steps, "steps") as task:
            for step in range(steps):
                same, different = self._batch(pairs, rng)
                ends = np.concatenate([same, different])
                x = space.augment(space.prepare(space.images.float(ends.ravel())), draws)
                z = self._scaled(encoder(x)).view(len(ends), 2, -1)
                is_same = torch.arange(len(ends), device=z.device) < len(same)
                loss = autoembedder_loss(z[:, 0], z[:, 1], is_same, alpha=self.alpha, clip=o.clip)
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                meter.add(2 * len(ends), {"pair": loss})
                task.advance(1)
                if step % 20 == 0:
                    check_finite({"pair": loss}, stage="pairs", step=step, lr=o.pair_lr)
                    progress.log("pairs", step, pair=float(loss.detach()))
        space.moved()
        return meter.means()

    def _reach(self) -> float:
        """Three times the median distance of any two images, of a sample; at most 2 if scaled."""
        z = self._z().numpy()
        a, b = np.random.default_rng(0).integers(len(z), size=(2, 4096))
        median = float(np.median(np.linalg.norm(z[a] - z[b], axis=1)[a != b])) if len(z) > 1 else 0
        far = REACH * (median or 1.0)
        return min(far, 2.0) if self.options.normalise else far

    def _batch(
        self, pairs: Constraints, rng: Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Half of each kind: any two of a group, any group alike; any two groups that differ."""
        n = self.options.n_pairs
        n_same = n // 2 if pairs.n_same else 0
        return pairs.same(n_same, rng, by="group"), pairs.different(n - n_same, rng, by="edge")

    def _group(
        self, k: int, pairs: Constraints, known: NDArray[np.int64], rng: Generator
    ) -> dict[str, float]:
        """k-means of all images, and the names of its clusters."""
        z = self._z().numpy()
        found = geometry.kmeans(z, k, rng, n_init=self.options.n_init)
        self.centres = np.asarray(found.centres, dtype=np.float32)
        self.spread = max(found.inertia / len(z), 1e-12)
        self.class_of = np.full(len(self.centres), -1, dtype=np.int64)
        labelled = np.flatnonzero(known >= 0)
        if len(labelled):
            self.class_of = geometry.vote(
                found.labels[labelled],
                known[labelled],
                len(self.centres),
                self.n_classes,
                centres=self.centres,
            )
        d2 = geometry.nearest(z, self.centres)[1]
        asked = np.zeros(len(z), dtype=bool)
        asked[pairs.members] = True
        figures = {}
        if asked.any():
            figures["inertia_asked"] = float(d2[asked].mean())
        if not asked.all():
            figures["inertia_rest"] = float(d2[~asked].mean())
        if pairs.n_different:  # of a fixed sample, whatever was drawn before
            ends = pairs.different(4096, np.random.default_rng(0))
            apart = np.linalg.norm(z[ends[:, 0]] - z[ends[:, 1]], axis=1)
            figures["satisfied"] = float((apart >= self.alpha).mean())
        return figures

    def _z(self) -> Tensor:
        return self._scaled(self.space.z())

    def _scaled(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=1) if self.options.normalise else z

    def _clusters(self, z: Tensor) -> NDArray[np.float32]:
        """``(n, m) -> (n, K)``: nearest is likeliest; rows sum to 1."""
        q = 1 / (1 + geometry.squared_distances(z.numpy(), self.centres) / self.spread)
        return np.asarray(q / q.sum(axis=1, keepdims=True), dtype=np.float32)

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        if not self.space.built:
            raise InputError("this model has not been trained yet: call fit or load first")
        found: dict[str, Array] = {}
        self.space.attach(view.pool)
        if parts & {"proba", "clusters"}:
            q = self._clusters(self._z())
            found |= {"clusters": q, "proba": by_class(q, self.class_of, self.n_classes)}
        if "embedding" in parts:
            found["embedding"] = self._z().numpy()
        if "centres" in parts:
            found["centres"] = self.centres.copy()
        given = {name: found[name] for name in parts & self.gives}
        return Snapshot.of(
            view, given, learner=self.name, n_classes=self.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images or feature rows."""
        q = self._clusters(self._scaled(self.space.encode(images)))
        return by_class(q, self.class_of, self.n_classes)

    def state(self) -> Weights:
        return {
            **self.space.state(),
            **{f"start.{name}": array.copy() for name, array in self._start.items()},
            "centres": self.centres.copy(),
            "spread": np.array([self.spread], dtype=np.float64),
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
        self.centres = np.array(state["centres"])
        self.spread = float(state["spread"][0])
        self.class_of = np.array(state["class_of"], dtype=np.int64)
        self.n_classes = int(state["n_classes"][0])
