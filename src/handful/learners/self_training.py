"""Self-training: the probe teaches itself what it is sure of, class by class.

::

    repeat   fit the probe on paid labels and accepted guesses, from scratch
             sure      := unlabelled images with max p >= threshold
             cap       := max(1, floor(median over the classes of the number of sure ones))
             accepted  := at most ``cap`` a class, the surest first
    until    the accepted set and its labels repeat, or ``rounds`` are over

A guess may be taken back in the next round; a paid label never changes.  The cap matters: a
high threshold alone picks what is easy, and the easy classes run away with the model.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import features
from handful.errors import InputError, RecipeError
from handful.features import FeatureOptions, FeatureSpace
from handful.networks.heads import LogisticHead, Scale
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import Meter
from handful.types import UNKNOWN, Array, Fit, Snapshot, View, Weights

__all__ = ["SelfTraining", "SelfTrainingOptions", "accept"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelfTrainingOptions(FeatureOptions):
    """The probe, and what it believes of itself."""

    scale: Scale = "unit"  # unit: length 1; standard: mean 0, deviation 1 over all images
    C: float | Literal["cv"] = 100.0  # weight of the labels; cv: chosen from the grid
    grid: tuple[float, ...] = (0.1, 1.0, 10.0, 100.0, 1000.0)
    C_few: float = 100.0  # with "cv" while some class has fewer than 5 labels
    threshold: float = 0.8  # probability from which a guess may be accepted
    balanced: bool = True  # accept as many of a class as the median class has at most
    rounds: int = 10  # of accepting, at most; 0 is the probe alone

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise RecipeError(f"learner.threshold is {self.threshold}: above 0, at most 1")
        if self.rounds < 0:
            raise RecipeError(f"learner.rounds is {self.rounds}: 0 or more are needed")


@register_learner("self-training")
class SelfTraining:
    """The probe, fitted again on its own surest guesses, as many of each class.

    Gives ``proba (n, C)`` and ``embedding (n, d)``, the scaled vectors.  Works without a label
    (every class is then as likely).  Cost: at most ``rounds`` + 1 probes of up to n rows.
    Scudder 1965; Yarowsky 1995.  On 8x8 digits with 3 labels a class: .86, the probe .81.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    Options: ClassVar[type[SelfTrainingOptions]] = SelfTrainingOptions

    def __init__(self, options: SelfTrainingOptions | None = None) -> None:
        self.options = options or SelfTrainingOptions()
        self.space = FeatureSpace(self.options)
        self._head: LogisticHead | None = None  # None after a fit without a label
        self._guessed: NDArray[np.int64] | None = None  # (n,) accepted guesses, -1 elsewhere
        self._n_classes = 1

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Fit, accept, fit again; the last fit leaves no trace."""
        o, meter = self.options, Meter()
        known = np.asarray(view.known)
        self._n_classes = max(len(view.classes), int(known.max(initial=-1)) + 1, 1)
        z = self.space.vectors(view.pool, progress)
        guessed = np.full(len(z), UNKNOWN, dtype=np.int64)
        self._head, self._guessed = None, guessed
        if not (known >= 0).any():
            return Fit(images=len(z), seconds=meter.seconds)
        mean, deviation = np.zeros(1), np.ones(1)
        if o.scale == "standard":
            mean, deviation = features.moments(view.pool, self.space)
        total = 0
        with progress.task("self-training", o.rounds + 1, "rounds") as task:
            for round in range(o.rounds + 1):
                labels = np.where(known >= 0, known, guessed)
                rows = np.flatnonzero(labels >= 0)
                total += len(rows)
                self._head = LogisticHead.fit(
                    z[rows],
                    labels[rows],
                    n_classes=self._n_classes,
                    scale=o.scale,
                    moments=(mean, deviation),
                    C=o.C,
                    grid=o.grid,
                    C_few=o.C_few,
                    rng=rng,
                )
                task.advance()
                if round == o.rounds:
                    break
                before, guessed = guessed, self._accepted(z, known)
                if round == 0 and not (guessed >= 0).any():
                    _log.info("self-training: no guess reaches %g, the probe stays", o.threshold)
                if np.array_equal(before, guessed):
                    break
                self._guessed = guessed
        losses = {"accepted": float((self._guessed >= 0).sum()), "rounds": float(round)}
        return Fit(losses=losses, images=total, seconds=meter.seconds)

    def _accepted(self, z: Array, known: Array) -> NDArray[np.int64]:
        p = self._proba(z)
        p[known >= 0] = 0  # paid for: nothing to guess
        return accept(p, threshold=self.options.threshold, balanced=self.options.balanced)

    def _proba(self, z: Array) -> NDArray[np.float32]:
        """``(n, d) -> (n, C)`` in blocks; uniform without a head."""
        out = np.full((len(z), self._n_classes), 1 / self._n_classes, dtype=np.float32)
        if self._head is not None:
            for rows in features.blocks(len(z), 4 * z.shape[1]):
                out[rows] = self._head.proba(z[rows])
        return out

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        self._check()
        found: dict[str, Array] = {}
        if parts & self.gives:
            z = self.space.vectors(view.pool)
            if "proba" in parts:
                found["proba"] = self._proba(z)
            if "embedding" in parts:
                found["embedding"] = self._scaled(z)
        return Snapshot.of(
            view, found, learner=self.name, n_classes=self._n_classes, predict=self.predict
        )

    def _scaled(self, z: Array) -> NDArray[np.float32]:
        out = np.empty(z.shape, dtype=np.float32)
        for rows in features.blocks(len(z), 4 * z.shape[1]):
            out[rows] = z[rows] if self._head is None else self._head.scaled(z[rows])
        return out

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)`` or features."""
        self._check()
        z = self.space.encode(images)
        if self._head is not None and z.shape[1] != self._head.W.shape[1]:
            raise InputError(
                f"images of {z.shape[1]} numbers: this model takes {self._head.W.shape[1]}"
            )
        return self._proba(z)

    def pseudo_labels(self) -> NDArray[np.int64]:
        """The accepted guesses of the last fit, ``(n,)``, -1 where there is none."""
        return self._check().copy()

    def _check(self) -> NDArray[np.int64]:
        if self._guessed is None:
            raise InputError("this model has not been trained yet: call fit or load first")
        return self._guessed

    def state(self) -> Weights:
        head = self._head.state() if self._head is not None else {}
        return {
            **{f"head.{name}": array for name, array in head.items()},
            "guessed": self._check().copy(),
            "classes": np.array([self._n_classes]),
        }

    def load(self, state: Weights) -> None:
        head = {k.removeprefix("head."): v for k, v in state.items() if k.startswith("head.")}
        self._head = LogisticHead.from_state(head) if head else None
        self._guessed = np.array(state["guessed"])
        self._n_classes = int(state["classes"][0])


def accept(p: Array, *, threshold: float = 0.8, balanced: bool = True) -> NDArray[np.int64]:
    """The guesses that may be trained on, ``(n,)`` class or -1, of probabilities ``p (n, C)``.

    Sure is a row whose largest p is ``threshold`` or more.  Of each class the surest ones are
    taken, at most max(1, floor(median over all C classes of the number of sure rows)); equal
    ones fall by row.  ``balanced=False``: all sure rows.  O(n (C + log n)).
    """
    best, guess = p.max(axis=1), p.argmax(axis=1)
    sure = np.flatnonzero(best >= threshold)
    counts = np.bincount(guess[sure], minlength=p.shape[1])
    cap = max(1, int(np.median(counts))) if balanced else len(p)
    out = np.full(len(p), UNKNOWN, dtype=np.int64)
    for c in np.flatnonzero(counts):
        rows = sure[guess[sure] == c]
        rows = rows[np.argsort(-best[rows], kind="stable")][:cap]
        out[rows] = c
    return out
