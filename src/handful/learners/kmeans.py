"""k-means with the labels as names: the control that needs no label at all.

::

    centres  := k-means on the vectors of all images, labels unused
    clusters := 1 for the nearest centre (hard), or q_ij ∝ 1 / (1 + d_ij^2 / s^2) (soft)
                with s^2 = mean squared distance to the nearest centre
    proba    := clusters @ shares,  shares_jc = labelled images of class c in cluster j
                                                / labelled images in cluster j

A cluster in which nothing is labelled says nothing: every class is as likely as any other.
The vectors are pixels, ready features, what a frozen encoder makes of the images, or the
latent numbers of an auto-encoder (``"cae"``):
then this is the point from which DEC, DCEC and CCL set out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.features import FeatureOptions, FeatureSpace
from handful.latent import AutoEncoderOptions, LatentSpace
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import Meter
from handful.types import Array, Fit, Pool, Snapshot, View, Weights

__all__ = ["KMeans", "KMeansOptions"]


@dataclass(frozen=True)
class KMeansOptions(FeatureOptions, AutoEncoderOptions):
    """How many groups, of what; the auto-encoder's options count with ``features="cae"``."""

    # one kind more than other learners have, which never reaches the feature space
    features: Literal["auto", "pixels", "features", "backbone", "cae"] = "auto"  # type: ignore[assignment]
    n_clusters: int | None = None  # the view's hint, or the number of classes, when None
    n_init: int = 20  # starts by k-means++; the one with the least inertia is kept
    assignment: Literal["hard", "soft"] = "hard"  # soft: for rules that need an order

    def resolved(self) -> KMeansOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        return replace(
            self,
            pretrain_epochs=self.pretrain_epochs or (15 if fast else 50),
            pretrain_steps=self.pretrain_steps or (1500 if fast else None),
        )


@register_learner("kmeans")
class KMeans:
    """k-means on pixels, features or a latent space; labels name the clusters, move nothing.

    Gives ``clusters (n, K)``, ``centres (K, d)``, ``embedding (n, d)`` and ``proba (n, C)``.
    Works without a label (``proba`` is then uniform: score the clusters).  Every fit starts
    anew, so its rounds differ by their random starts as well.  Fewer clusters than asked for
    when the images repeat.  Cost: n_init x iterations x n K d; memory n (d + K) floats.
    S. Lloyd 1982; D. Arthur, S. Vassilvitskii, SODA 2007.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "clusters", "centres"})
    Options: ClassVar[type[KMeansOptions]] = KMeansOptions

    def __init__(self, options: KMeansOptions | None = None) -> None:
        self.options = (options or KMeansOptions()).resolved()
        self._space = LatentSpace(self.options) if self.options.features == "cae" else None
        self._features = FeatureSpace(self.options)
        self._centres: NDArray[np.float32] | None = None
        self._shares: NDArray[np.float32] = np.ones((1, 1), dtype=np.float32)  # (K, C)
        self._spread = 1.0  # s^2 of the soft assignment

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Cluster all images, then count the votes of the labelled ones."""
        o, meter, pool = self.options, Meter(), view.pool
        known = np.asarray(view.known)
        n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1)
        k = o.n_clusters or view.clusters or n_classes
        if k < 1:
            raise RecipeError(
                "the number of clusters is unknown: name the classes, label some images or set"
                " learner.n_clusters"
            )
        if self._space is not None and not self._space.built:
            self._space.attach(pool, progress)
            meter.images = self._space.pretrain(rng, progress)
        z = self._vectors(pool, progress)
        with progress.task("k-means", None) as task:
            found = geometry.kmeans(z, min(k, len(z)), rng, n_init=o.n_init)
            task.advance(len(z))
        self._centres = np.asarray(found.centres, dtype=np.float32)
        self._spread = max(found.inertia / max(len(z), 1), 1e-12)
        votes = np.zeros((len(self._centres), max(n_classes, 1)))
        labelled = np.flatnonzero(known >= 0)
        nearest = geometry.nearest(z[labelled], self._centres)[0]
        np.add.at(votes, (nearest, known[labelled]), 1)
        votes[votes.sum(axis=1) == 0] = 1  # nothing labelled: nothing known
        self._shares = (votes / votes.sum(axis=1, keepdims=True)).astype(np.float32)
        inertia = found.inertia / max(len(z), 1)
        return Fit(losses={"inertia": inertia}, images=meter.images + len(z), seconds=meter.seconds)

    def _vectors(self, pool: Pool, progress: Progress | None = None) -> NDArray[np.float32]:
        if self._space is None:
            return self._features.vectors(pool, progress)
        self._space.attach(pool)
        return self._space.z().numpy().copy()

    def _assign(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(n, d) -> (n, K)``; rows sum to 1."""
        if self.options.assignment == "soft":
            q = 1 / (1 + geometry.squared_distances(z, self.centres) / self._spread)
            return np.asarray(q / q.sum(axis=1, keepdims=True), dtype=np.float32)
        hard = np.zeros((len(z), len(self.centres)), dtype=np.float32)
        hard[np.arange(len(z)), geometry.nearest(z, self.centres)[0]] = 1
        return hard

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        centres, pool = self.centres, view.pool
        found: dict[str, Array] = {}
        if parts & {"proba", "clusters", "embedding"}:
            z = self._vectors(pool)
            if "embedding" in parts:
                found["embedding"] = z
            if parts & {"proba", "clusters"}:
                clusters = self._assign(z)
                if "clusters" in parts:
                    found["clusters"] = clusters
                if "proba" in parts:
                    found["proba"] = clusters @ self._shares
        if "centres" in parts:
            found["centres"] = centres.copy()
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self._shares.shape[1], predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        if self._space is not None:
            return self._assign(self._space.encode(images).numpy()) @ self._shares
        z = self._features.encode(images)
        if z.shape[1] != self.centres.shape[1]:
            raise InputError(
                f"images of {z.shape[1]} numbers: this model takes {self.centres.shape[1]}"
            )
        return self._assign(z) @ self._shares

    @property
    def centres(self) -> NDArray[np.float32]:
        """``(K, d)``."""
        if self._centres is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._centres

    def state(self) -> Weights:
        space = self._space.state() if self._space is not None else {}
        return {
            **{f"space.{name}": array for name, array in space.items()},
            "centres": self.centres.copy(),
            "shares": self._shares.copy(),
            "spread": np.array([self._spread], dtype=np.float64),
        }

    def load(self, state: Weights) -> None:
        self._centres = np.array(state["centres"])
        self._shares = np.array(state["shares"])
        self._spread = float(state["spread"][0])
        if self._space is not None:
            prefix = "space."
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            self._space.load(own)
