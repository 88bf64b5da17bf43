"""TOD: a classifier that also learns to agree with its own average over time.

::

    in every round, on from the last weights:
        for step t = 1, 2, ...:  labelled batch S, unlabelled batch U
            L = cross-entropy(S) + lam L_U(S, U)           f near its teacher's f~, on logits
            w~ <- a_t w~ + (1 - a_t) w,   a_t = min(1 - 1 / (t + 1), alpha)
        kept beside the weights: those of the round before, for the query (COD)

Going on from the last weights is part of the method: what the query measures is how far one
round has moved each prediction, and two networks from scratch differ by chance.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from handful.augment import AUGMENTS, augmentation
from handful.classifier import Classifier, Network, with_heads
from handful.errors import RecipeError
from handful.losses.tod import ema_decay, two_head_loss, unsupervised_loss
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    Precision,
    check_finite,
    cycle,
    ema,
    embed,
    fabric,
    load_weights,
    seeded,
    torch_generator,
    weights_of,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["TOD", "TODOptions"]


@dataclass(frozen=True)
class TODOptions:
    """How it trains; ``None`` is settled by ``schedule``.  CIFAR-10's numbers are published."""

    schedule: Literal["published", "fast"] = "published"
    optimizer: Literal["sgd", "adam"] | None = (
        None  # sgd published (x0.1 at 80 %), adam fast (cosine)
    )
    lr: float | None = None  # .1 published, 1e-3 fast
    first_epochs: int | None = None  # over the labels, first round: 200 published, 15 fast
    epochs: int | None = None  # in later rounds: 200 published, 8 fast
    least_steps: int = 100  # of a round, however few the labels
    batch_size: int | None = None  # of labelled images: 128 published, 32 fast
    unlabelled_size: int | None = None  # of unlabelled ones: 128 published, 96 fast
    lam: float | None = None  # lambda, weight of L_U: .02 published, .05 fast
    alpha: float | None = None  # the teacher's decay: .999 published, .99 fast
    two_head: bool = False  # the authors' code: a second head stands between student and teacher
    augment: Literal["none", "glyph", "object", "photo", "auto"] = "none"
    precision: Precision = "32-true"
    devices: int = 1

    def resolved(self) -> TODOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        optimizer = self.optimizer or ("adam" if fast else "sgd")
        settled: dict[str, Any] = {
            "optimizer": optimizer,
            "lr": 1e-3 if optimizer == "adam" else 0.1,
            "first_epochs": 15 if fast else 200,
            "epochs": 8 if fast else 200,
            "batch_size": 32 if fast else 128,
            "unlabelled_size": 96 if fast else 128,
            "lam": 0.05 if fast else 0.02,
            "alpha": 0.99 if fast else 0.999,
        }
        if self.batch_size == 1:
            raise RecipeError("learner.batch_size is 1: batch-norm needs 2 images or more")
        if self.alpha is not None and not 0 <= self.alpha < 1:
            raise RecipeError(f"learner.alpha is {self.alpha}: a decay is from 0 to below 1")
        return replace(self, **{k: v for k, v in settled.items() if getattr(self, k) is None})


@register_learner("tod")
class TOD:
    """Classifier with a consistency loss on all images, and its predictions of the round before.

    Formula   L = CE(S) + lam L_U,  L_U = 1/(b c) sum ||f(x; w) - f(x; w~)||^2, one term for the
              labelled batch S and one for the unlabelled batch U;  w~ the running average of w.
    Needs     a label.  While there is one class alone, nothing is trained and its probability
              is 1.  Images of 8x8 to 96x96, or ready features.
    Cost      a step: forward of S and U twice (student, teacher), backward once, over
              ``max(least_steps, epochs |S| / batch_size)`` steps; ``previous`` is one more
              forward pass over the pool.
    When      for the rule ``tod``; a few labels and many more images.  L_U is on logits: where
              they grow to 10 and more it outweighs the cross-entropy (both are logged).
    Source    Huang, Wang, Xiong, Huan & Dou, ICCV 2021.
    Here      always warm: COD compares a network with itself.  The teacher starts as a copy of
              the student (the code: another random network, which stays in the average), its
              batch-norm in evaluation mode on the student's statistics; t and w~ go on over the
              rounds and begin anew where the class list grows.  A random unlabelled batch in
              every step (the code: always the first one).  Both batches pass as one.  The last
              step counts, no "best" epoch.  It keeps the round before as weights, so that
              ``previous`` can be had of any pool; uniform in the first round.

    Gives ``proba (n, C)``, ``embedding (n, 128)`` and ``previous (n, C)``.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "previous"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[TODOptions]] = TODOptions

    def __init__(self, options: TODOptions | None = None) -> None:
        self.options = (options or TODOptions()).resolved()
        self.model = self._classifier()
        self.before: Classifier | None = None  # the model of the round before
        self.teacher: Network | None = None
        self.step = 0  # t of the teacher, over all rounds

    def _classifier(self) -> Classifier:
        o = self.options
        make = with_heads(1 if o.two_head else 0)
        return Classifier("tod", precision=o.precision, devices=o.devices, make=make)

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Go on from the last weights on the labelled rows and the others."""
        meter = Meter()
        last = self.model.state() if self.model.network is not None else None
        labelled = self.model.begin(view, rng, warm=True)
        self.before = self._model_of(last)
        if self.model.only < 0:
            self._train(view, labelled, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _model_of(self, state: Weights | None) -> Classifier | None:
        """The model of the round before; None where it has nothing to say about these images."""
        if state is None or int(state["only"][0]) >= 0:  # nothing was trained
            return None
        if tuple(state["shape"]) != self.model.shape:
            return None
        before = self._classifier()
        before.load(state)
        return before

    def _train(
        self, view: View, labelled: NDArray[np.int64], rng: Generator, progress: Progress,
        meter: Meter,
    ) -> None:  # fmt: skip
        o, net, teacher = self.options, self.model.trained, self._teacher()
        known, unlabelled = np.asarray(view.known), np.flatnonzero(view.known < 0)
        epochs = o.first_epochs if self.before is None else o.epochs
        steps = max(o.least_steps, (epochs or 0) * math.ceil(len(labelled) / (o.batch_size or 2)))
        images = self.model.source(view.pool)
        accelerator = fabric(o.precision, o.devices)
        optimizer, rate = self._optimizer(net, steps)
        student, optimizer = accelerator.setup(net, optimizer)
        student.mark_forward_method("hidden")
        kind = augmentation(o.augment, view.pool.channels, max(view.pool.size))
        draws = torch_generator(rng)
        some = cycle(labelled, o.batch_size or 2, rng)
        others = cycle(unlabelled, o.unlabelled_size or 1, rng)
        net.train()
        with seeded(rng), progress.task("training", steps, "steps") as task:
            for step in range(steps):
                rows, more = next(some), next(others)
                x = AUGMENTS[kind](images.float(np.concatenate([rows, more])), draws)
                y = torch.from_numpy(known[rows]).to(x.device)
                with torch.no_grad(), accelerator.autocast():
                    f_teacher = teacher(x).float()
                h = student.hidden(x)
                f = net.top[1](h)
                ce = F.cross_entropy(f[: len(rows)], y)
                consistency = self._consistency(net, h, f, f_teacher, len(rows))
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(ce + (o.lam or 0.0) * consistency)
                optimizer.step()
                rate.step()
                self.step += 1
                ema(teacher, net, ema_decay(self.step, o.alpha or 0.0))
                losses = {"ce": ce, "consistency": consistency}
                if step % 50 == 0:
                    check_finite(losses, stage="training", step=step, lr=o.lr or 0.0)
                    meter.restart()
                meter.add(len(x), losses)
                task.advance()
        check_finite(meter.sums, stage="training", step=steps, lr=o.lr or 0.0)

    def _consistency(
        self, net: Network, h: Tensor, f: Tensor, teacher: Tensor, labelled: int
    ) -> Tensor:
        """L_U; the second head reads the same vectors ``h (b, 128)`` as the first."""
        if net.heads is None:
            return unsupervised_loss(f, teacher, labelled)
        return two_head_loss(f, net.heads[0](h), teacher, labelled)

    def _teacher(self) -> Network:
        """The teacher so far; a copy of the student at first, and when classes were added."""
        net = self.model.trained
        if self.teacher is None or _forms(self.teacher) != _forms(net):
            self.teacher, self.step = copy.deepcopy(net), 0
        return self.teacher.requires_grad_(False).eval()

    def _optimizer(
        self, net: Network, steps: int
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        lr = self.options.lr or 0.0
        if self.options.optimizer == "adam":
            adam = torch.optim.Adam(net.parameters(), lr=lr)
            return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
        sgd = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
        return sgd, torch.optim.lr_scheduler.MultiStepLR(sgd, [steps * 4 // 5], gamma=0.1)

    # --------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        found = self.model.parts(view.pool, parts & self.gives)
        if "previous" in parts:
            found["previous"] = self._previous(view)
        return self.model.snapshot(view, found)

    def _previous(self, view: View) -> NDArray[np.float32]:
        """Probabilities by the model of the round before, 0 for classes that it did not know."""
        n, c = len(view.pool), self.model.n_classes
        if self.before is None:
            return np.full((n, c), 1 / c, dtype=np.float32)
        net = self.before.trained
        p = self.before.proba(embed(net.embed, self.model.source(view.pool), network=net))
        wide = np.zeros((n, c), dtype=np.float32)
        wide[:, : p.shape[1]] = p[:, :c]
        return wide

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, by the student."""
        return self.model.predict(images)

    # --------------------------------------------------------------------- state

    def state(self) -> Weights:
        state = {**self.model.state(), "step": np.array([self.step])}
        if self.before is not None:
            state |= {f"previous.{name}": a for name, a in self.before.state().items()}
        if self.teacher is not None:
            state |= weights_of(self.teacher, "teacher.")
        return state

    def load(self, state: Weights) -> None:
        self.model.load(state)
        own = {
            k.removeprefix("previous."): v for k, v in state.items() if k.startswith("previous.")
        }
        self.before = None
        if own:
            self.before = self._classifier()
            self.before.load(own)
        self.teacher, self.step = None, int(state["step"][0])
        if any(name.startswith("teacher.") for name in state):
            self.teacher = copy.deepcopy(self.model.trained)
            load_weights(self.teacher, state, "teacher.")


def _forms(network: Network) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in network.parameters()]
