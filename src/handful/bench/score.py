"""One row of ``rounds.csv`` from one trained model: the scorer's side of the ``yield``.

Three sets are scored and never mixed: ``test`` (held back, never in the pool),
``unlabelled`` (pool images that nobody was asked about) and ``all`` (the whole pool).
Accuracy is of class-named predictions; ACC, NMI, ARI and purity are of the clustering
(the learner's clusters, or its classes where it has none), matched with Hungarian
assignment and never used for a prediction.  A learner with ``cluster_labels()`` answers with
its classes as soon as it has a label; its clusters are then scored beside them.  What cannot
be computed is left out.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry, metrics
from handful.pairs import closure_of, groups_to_name, name_clusters, named
from handful.progress import Progress, Task
from handful.rng import rng_for
from handful.types import UNKNOWN, Array, Classes, Fit, Learner, Pool, Snapshot

__all__ = ["Scored", "Scorer", "predict"]

Ids: TypeAlias = NDArray[np.int64]
_KMEANS_ROWS = 20_000  # a seeded sample of the embedding is enough for its k-means


@dataclass(frozen=True)
class Scorer:
    """Scores models of one run.

    ``truth (n,)`` and ``test_truth (m,)`` hold ids into ``names``, -1 where nobody knows.
    The learner's class ids are the book's; they are matched by name.
    """

    pool: Pool
    truth: Ids | None
    test: Pool | None
    test_truth: Ids | None
    names: tuple[str, ...]
    seed: int
    pairs: bool = False  # the answers are same or different, not classes
    two_classes: bool = False

    def row(
        self,
        snapshot: Snapshot,
        classes: Classes,
        learner: Learner,
        *,
        asked: int,
        paid: int,
        fit: Fit,
        seconds_query: float,
        ari_kmeans: float | None = None,
    ) -> dict[str, Any]:
        """All figures of the model that ``snapshot`` describes; what has no value is left out.

        ``ari_kmeans`` : that of the model before the first label, where the run had one; what
        labels have shaped is no control without labels any more.
        """
        row: dict[str, Any] = {"round": snapshot.round, "labels": paid, "asked": asked}
        row |= self._clustering(snapshot, learner)
        row |= self._pairs(snapshot) if self.pairs else {}
        if self.truth is not None and "embedding" in snapshot.parts:
            if ari_kmeans is None:
                ari_kmeans = self._ari_kmeans(np.asarray(snapshot.embedding), snapshot.round)
            row["ari_kmeans"] = ari_kmeans
        row |= self._pseudo(snapshot, classes, learner)
        if (snapshot.known >= 0).any():
            row |= self._accuracy(snapshot, classes, learner)
        row |= {f"loss_{name}": value for name, value in fit.losses.items()}
        row |= {"seconds_fit": fit.seconds, "seconds_query": seconds_query, "peak_mb": _peak_mb()}
        if fit.seconds > 0 and fit.images:
            row["images_per_second"] = fit.images / fit.seconds
        return {k: v for k, v in row.items() if not (isinstance(v, float) and math.isnan(v))}

    def to_truth(self, predicted: Ids, classes: Classes) -> Ids:
        """Book ids to ids of the truth, by name; -1 for a class that the truth does not have."""
        place = {name: i for i, name in enumerate(self.names)}
        table = np.array([*(place.get(name, UNKNOWN) for name in classes.names), UNKNOWN])
        return table[np.where(predicted < len(classes), predicted, -1)].astype(np.int64)

    def _accuracy(self, snapshot: Snapshot, classes: Classes, learner: Learner) -> dict[str, float]:
        row: dict[str, float] = {}
        open_ = snapshot.known < 0
        if "proba" in snapshot.parts:
            found = self.to_truth(np.asarray(snapshot.proba).argmax(axis=1), classes)
            row["entropy_mean"] = _entropy(np.asarray(snapshot.proba)[open_])
            scored = open_ & (self.truth >= 0) if self.truth is not None else open_ & False
            if self.truth is not None and scored.any():
                row["accuracy_unlabelled"] = metrics.accuracy(self.truth[scored], found[scored])
        if self.test is not None and self.test_truth is not None and len(self.test):
            proba = predict(learner, self.test, size=self.pool.size, channels=self.pool.channels)
            found = self.to_truth(proba.argmax(axis=1), classes)
            scored = self.test_truth >= 0
            true, found = self.test_truth[scored], found[scored]
            row["accuracy_test"] = metrics.accuracy(true, found)
            row["macro_f1_test"] = metrics.macro_f1(true, found)
            row["balanced_accuracy_test"] = metrics.balanced_accuracy(true, found)
        return row

    def _clustering(self, snapshot: Snapshot, learner: Learner) -> dict[str, float]:
        row: dict[str, float] = {}
        if self.truth is None:
            return row
        named, labelled = self.truth >= 0, bool((snapshot.known >= 0).any())
        own = getattr(learner, "cluster_labels", None)
        if own is not None and named.any():
            scores = clustering(self.truth[named], own()[named])
            row |= {f"{name}_clusters": value for name, value in scores.items()}
        by_class = own is not None and labelled and "proba" in snapshot.parts
        part = "clusters" if "clusters" in snapshot.parts and not by_class else "proba"
        if part in snapshot.parts and (part == "clusters" or labelled):
            groups = np.asarray(snapshot.parts[part]).argmax(axis=1)
            for where, rows in (("all", named), ("unlabelled", named & (snapshot.known < 0))):
                if rows.any() and not (self.pairs and where == "unlabelled"):
                    scores = clustering(self.truth[rows], groups[rows])
                    row |= {f"{name}_{where}": value for name, value in scores.items()}
            if named.any():
                row["purity_all"] = metrics.purity(self.truth[named], groups[named])
        return row

    def _pairs(self, snapshot: Snapshot) -> dict[str, float]:
        """What the answers say together; and what names for all images would cost, and be worth.

        ``name_questions`` : one for each group and for each cluster that no group names, on the
        image nearest to its mean; ``accuracy_named`` : with these names, groups before clusters.
        """
        closure = closure_of(snapshot, two_classes=self.two_classes)
        row: dict[str, float] = asdict(closure.counts)
        given = {"clusters", "embedding"} <= set(snapshot.parts)
        if self.truth is None or not given or not (self.truth >= 0).all():
            return row
        clusters = np.asarray(snapshot.clusters).argmax(axis=1)
        z, k = np.asarray(snapshot.embedding), snapshot.clusters.shape[1]

        def name(rows: Ids) -> int:
            x = np.asarray(z[rows], dtype=np.float64)
            heart = np.square(x - x.mean(axis=0)).sum(axis=1).argmin()
            return int(self.truth[rows[heart]])  # type: ignore[index]

        groups = [np.array(sorted(group)) for group in groups_to_name(closure)]
        names = {row: name(group) for group in groups for row in group.tolist()}
        class_of, _ = name_clusters(clusters, names, k)
        nameless = np.intersect1d(np.flatnonzero(class_of < 0), clusters)
        for cluster in nameless:
            class_of[cluster] = name(np.flatnonzero(clusters == cluster))
        row["name_questions"] = len(groups) + len(nameless)
        row["accuracy_named"] = metrics.accuracy(self.truth, named(clusters, names, class_of))
        return row

    def _pseudo(self, snapshot: Snapshot, classes: Classes, learner: Learner) -> dict[str, float]:
        """How many images the learner labelled by itself, and which share of them wrongly."""
        guess = getattr(learner, "pseudo_labels", None)
        if guess is None:
            return {}
        guessed = np.asarray(guess())
        own = (guessed >= 0) & (snapshot.known < 0)
        row = {"pseudo_count": float(own.sum())}
        if self.truth is not None and (scored := own & (self.truth >= 0)).any():
            found = self.to_truth(guessed[scored], classes)
            row["pseudo_error"] = 1 - metrics.accuracy(self.truth[scored], found)
        return row

    def _ari_kmeans(self, embedding: Array, round: int) -> float:
        """What a plain k-means finds in the latent space without one label."""
        assert self.truth is not None
        rng = rng_for(self.seed, round, "ari_kmeans")
        rows = np.flatnonzero(self.truth >= 0)
        if len(rows) > _KMEANS_ROWS:
            rows = np.sort(rng.choice(rows, size=_KMEANS_ROWS, replace=False))
        if len(rows) <= len(self.names):
            return math.nan
        groups = geometry.kmeans(embedding[rows], len(self.names), rng=rng, n_init=4).labels
        return metrics.ari(self.truth[rows], groups)


def clustering(truth: Ids, groups: Ids) -> dict[str, float]:
    """ACC (Hungarian), NMI and ARI."""
    return {
        "acc": metrics.acc(truth, groups),
        "nmi": metrics.nmi(truth, groups),
        "ari": metrics.ari(truth, groups),
    }


def predict(
    learner: Learner, pool: Pool, *, size: tuple[int, int], channels: int, block: int = 1024
) -> Array:
    """Class probabilities ``(n, C)`` of a pool, read as the learner was trained.

    Gray images are repeated for a learner of colour; colour becomes luma (ITU-R BT.601) for
    a learner of gray.
    """
    if pool.features is not None:
        return learner.predict(pool.features)
    rows = np.arange(len(pool), dtype=np.int64)
    blocks = []
    for start in range(0, len(rows), block):
        images = pool.read(rows[start : start + block], size)
        if images.shape[1] > channels:
            luma = np.einsum("bchw,c->bhw", images, np.array([0.299, 0.587, 0.114]))
            images = np.rint(luma).astype(np.uint8)[:, None]
        elif images.shape[1] < channels:
            images = np.repeat(images, channels, axis=1)
        blocks.append(learner.predict(images))
    return np.concatenate(blocks)


@dataclass
class Scored:
    """A `Progress` that keeps what is logged, and scores assignments on the way."""

    inner: Progress
    truth: Ids | None
    round: Callable[[], int]
    rows: list[Mapping[str, Any]] = field(default_factory=list)

    def task(
        self, name: str, total: int | None, unit: str = "images"
    ) -> AbstractContextManager[Task]:
        return self.inner.task(name, total, unit)

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        row: dict[str, Any] = {"round": self.round(), "stage": stage, "step": step, **figures}
        if assignment is not None and self.truth is not None:
            named = self.truth >= 0
            row |= clustering(self.truth[named], np.asarray(assignment)[named])
        self.rows.append(row)
        self.inner.log(stage, step, assignment=assignment, **figures)


def _entropy(proba: Array, block: int = 1 << 18) -> float:
    """Mean entropy in nats over the rows; NaN for none."""
    if not len(proba):
        return math.nan
    total = 0.0
    for start in range(0, len(proba), block):
        p = np.asarray(proba[start : start + block], dtype=np.float64)
        total -= float((p * np.log(np.where(p > 0, p, 1.0))).sum())
    return total / len(proba)


def _peak_mb() -> float:
    """Largest resident size of this process so far (Linux counts in kB, macOS in bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
