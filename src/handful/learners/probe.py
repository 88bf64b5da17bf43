"""The linear probe: multinomial logistic regression on vectors that nobody trained.

::

    min over W, b of  1/2 ||W||_F^2 + C sum over labelled i of CE(W z_i + b, y_i)

``z`` is an image's pixels, its ready features, or what a frozen encoder makes of it.  The
objective is convex and solved to its optimum, so the same labels give the same model: the
control of every table, and a hard one to beat from a few labels.  ``scale="none", C=0.1`` is
the control of the CCL tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import features
from handful.errors import InputError
from handful.features import FeatureOptions, FeatureSpace
from handful.networks.heads import LogisticHead, Scale
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import Meter
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["Probe", "ProbeOptions"]


@dataclass(frozen=True)
class ProbeOptions(FeatureOptions):
    """What the probe stands on, and how strongly it is held back."""

    scale: Scale = "unit"  # unit: length 1; standard: mean 0, deviation 1 over all images
    C: float | Literal["cv"] = 100.0  # weight of the labels; cv: chosen from the grid
    grid: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    C_few: float = 100.0  # with "cv" while some class has fewer than 5 labels


@register_learner("probe")
class Probe:
    """Logistic regression on pixels, ready or frozen features; no training run, no randomness.

    Gives ``proba (n, C)`` and ``embedding (n, d)``, the scaled vectors.  Needs a label; one
    class alone has probability 1, a class without a label has 0.  Cost: at most 2,000 steps
    of L-BFGS of l d C each; a snapshot n d C.  Sources: multinomial logistic regression;
    measured insensitive to C above 10 on vectors of unit length (8x8 digits).
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    needs_labels: ClassVar[bool] = True
    order_free: ClassVar[bool] = True
    Options: ClassVar[type[ProbeOptions]] = ProbeOptions

    def __init__(self, options: ProbeOptions | None = None) -> None:
        self.options = options or ProbeOptions()
        self.space = FeatureSpace(self.options)
        self._head: LogisticHead | None = None

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Solve for the labelled rows; the last fit leaves no trace."""
        o, known, meter = self.options, np.asarray(view.known), Meter()
        labelled = np.flatnonzero(known >= 0)
        if not len(labelled):
            raise InputError("the learner 'probe' needs a label to start from: label some images")
        z = self.space.vectors(view.pool, progress, labelled)
        if o.scale == "standard":
            moments = features.moments(view.pool, self.space)
        else:
            moments = (np.zeros(1), np.ones(1))
        self._head = LogisticHead.fit(
            z,
            known[labelled],
            n_classes=max(len(view.classes), int(known.max()) + 1),
            scale=o.scale,
            moments=moments,
            C=o.C,
            grid=o.grid,
            C_few=o.C_few,
            rng=rng,
        )
        return Fit(images=len(labelled), seconds=meter.seconds)

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        head, pool = self.head, view.pool
        self.space.attach(pool)
        n, d = len(pool), self.space.width
        found: dict[str, Array] = {}
        if "proba" in parts:
            found["proba"] = np.empty((n, head.n_classes), dtype=np.float32)
        if "embedding" in parts:
            found["embedding"] = np.empty((n, d), dtype=np.float32)
        for rows in features.blocks(n, 4 * d) if found else ():
            z = self.space.vectors(pool, rows=rows)
            for name, array in found.items():
                array[rows] = head.proba(z) if name == "proba" else head.scaled(z)
        return Snapshot.of(
            view, found, learner=self.name, n_classes=head.n_classes, predict=self.predict
        )

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        z = self.space.encode(images)
        if z.shape[1] != self.head.W.shape[1]:
            raise InputError(
                f"images of {z.shape[1]} numbers: this model takes {self.head.W.shape[1]}"
            )
        return self.head.proba(z)

    @property
    def head(self) -> LogisticHead:
        """What was fitted: weights, scale and the C that was chosen."""
        if self._head is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._head

    def state(self) -> Weights:
        return self.head.state()

    def load(self, state: Weights) -> None:
        self._head = LogisticHead.from_state(state)
