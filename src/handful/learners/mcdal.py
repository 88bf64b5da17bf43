"""MCDAL: a classifier with two more heads, trained to differ where there is no label.

::

    network, heads F, F1, F2 := new weights
    for a fixed number of steps:
        A  labelled batch:              network and F by CE(F);  F1, F2 by CE(F1) + CE(F2)
        B  labelled and unlabelled:     F1, F2 alone by
               CE(F1; S) + CE(F2; S) - [ d(p1, p2) + d(p1, p) + d(p2, p) ]_U

Three classifiers that are right on the labelled images and as different as they can be on the
others disagree where the labels leave the class open.  F1 and F2 never reach the network: with
their gradient it would be adversarial training, another method.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from handful.augment import AUGMENTS, augmentation
from handful.classifier import Classifier, Network, with_heads
from handful.errors import InputError, RecipeError
from handful.losses.mcdal import auxiliary_loss, spread
from handful.networks.small_cnn import LinearHeads, statistics_kept
from handful.progress import Progress
from handful.registry import register_learner
from handful.training import (
    Meter,
    Precision,
    check_finite,
    cycle,
    fabric,
    seeded,
    torch_generator,
)
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["MCDAL", "MCDALOptions", "rate"]

_DROPS = 30 / 99, 60 / 99, 80 / 99  # of the training, where the published rate falls


@dataclass(frozen=True)
class MCDALOptions:
    """How it trains; ``None`` is settled by ``schedule``.  CIFAR-10's numbers are published."""

    schedule: Literal["published", "fast"] = "published"
    optimizer: Literal["sgd", "adam"] | None = (
        None  # sgd published (warm-up, x0.2 thrice), adam fast
    )
    lr: float | None = None  # .1 published, 1e-3 fast (falls to 0 by a cosine)
    epochs: int | None = None  # 99 published, 15 fast
    epoch_images: int | None = None  # of an epoch at least: 50,000 published, 2,000 fast
    batch_size: int | None = None  # of labelled images: 128 published, 32 fast
    unlabelled_size: int | None = None  # of unlabelled ones: 128 published, 96 fast
    frozen: bool = False  # ready features stay as they are: the three heads alone are trained
    steps: int | None = None  # instead of epochs; 300 where frozen
    augment: Literal["none", "glyph", "object", "photo", "auto"] = "none"
    precision: Precision = "32-true"
    devices: int = 1

    def resolved(self) -> MCDALOptions:
        """Fill in what depends on the schedule."""
        fast = self.schedule == "fast"
        optimizer = self.optimizer or ("adam" if fast or self.frozen else "sgd")
        settled: dict[str, Any] = {
            "optimizer": optimizer,
            "lr": 0.1 if optimizer == "sgd" else 1e-2 if self.frozen else 1e-3,
            "steps": 300 if self.frozen else None,
            "epochs": 15 if fast else 99,
            "epoch_images": 2_000 if fast else 50_000,
            "batch_size": 32 if fast else 128,
            "unlabelled_size": 96 if fast else 128,
        }
        if self.batch_size == 1:
            raise RecipeError("learner.batch_size is 1: batch-norm needs 2 images or more")
        return replace(self, **{k: v for k, v in settled.items() if getattr(self, k) is None})


class _Batches(NamedTuple):
    """The images of one step, both parts ``(b, ...)``, and the classes of the first."""

    labelled: Tensor
    target: Tensor
    unlabelled: Tensor


@register_learner("mcdal")
class MCDAL:
    """Classifier with two auxiliary heads that are driven apart on unlabelled images.

    Formula   A: CE(F) for the network and F, CE(F1) + CE(F2) for the heads.  B: heads alone,
              CE(F1; S) + CE(F2; S) - [d(p1, p2) + d(p1, p) + d(p2, p)]_U,
              d(p, q) = 1/(b c) sum |p - q|;  p of F is constant.
    Needs     a label.  While there is one class alone, nothing is trained and its probability
              is 1.  Images of 8x8 to 96x96, or ready features.
    Cost      from scratch in every round: ``epochs max(|S|, epoch_images) / batch_size`` steps
              of two forward passes of S and one of U, one backward pass of S.
    When      for the rule ``mcdal``.  Only the heads learn from the unlabelled images: the
              prediction is that of a supervised network.
    Source    Cho, Kim, Jung & Kweon, IEEE TNNLS 2022.
    Here      the heads begin from different random weights (equal ones would never part), read
              the vector behind the last dropout and send no gradient back.  Unlabelled batches
              are normalised by themselves and leave the running statistics alone.

    Gives ``proba (n, C)``, ``embedding (n, 128)`` (``frozen``: the features, standardised) and
    ``heads (3, n, C)``: F, F1, F2.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding", "heads"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[MCDALOptions]] = MCDALOptions

    def __init__(self, options: MCDALOptions | None = None) -> None:
        self.options = o = (options or MCDALOptions()).resolved()
        self.model = Classifier(
            "mcdal",
            precision=o.precision,
            devices=o.devices,
            make=_heads_alone if o.frozen else with_heads(2),
        )

    # ------------------------------------------------------------------ learning

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train network and heads from scratch on the labelled rows and the others."""
        meter = Meter()
        labelled = self.model.begin(view, rng)
        if self.model.only < 0:
            self._train(view, labelled, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def steps(self, labels: int) -> int:
        """Training steps with so many labelled images."""
        o = self.options
        if o.steps is not None:
            return o.steps
        return (o.epochs or 0) * (max(labels, o.epoch_images or 0) // (o.batch_size or 2))

    def _train(
        self, view: View, labelled: NDArray[np.int64], rng: Generator, progress: Progress,
        meter: Meter,
    ) -> None:  # fmt: skip
        o, net, steps = self.options, self.model.trained, self.steps(len(labelled))
        assert net.heads is not None
        accelerator = fabric(o.precision, o.devices)
        task_part = [p for k, p in net.named_parameters() if not k.startswith("heads.")]
        task, heads = self._optimizer(task_part), self._optimizer(net.heads.parameters())
        rates = [LambdaLR(one, self._factor(steps)) for one in (task, heads)]
        model, task, heads = accelerator.setup(net, task, heads)
        model.mark_forward_method("hidden")
        net.train()
        if o.frozen:
            self.model.settle_norms(self.model.source(view.pool))
        with seeded(rng), progress.task("training", steps, "steps") as bar:
            for step, batch in zip(range(steps), self._batches(view, labelled, rng), strict=False):
                # A: the heads' part ends at the detached vector, so one pass serves both
                h = model.hidden(batch.labelled)
                ce = F.cross_entropy(net.top[1](h), batch.target)
                auxiliary = auxiliary_loss(*_two(net, h.detach()), batch.target)
                task.zero_grad(set_to_none=True)
                heads.zero_grad(set_to_none=True)
                accelerator.backward(ce + auxiliary)
                task.step()
                heads.step()
                # B
                auxiliary, apart = self._apart(model, net, batch)
                heads.zero_grad(set_to_none=True)
                accelerator.backward(auxiliary - apart)
                heads.step()
                for one in rates:
                    one.step()
                losses = {"ce": ce, "auxiliary": auxiliary, "discrepancy": apart}
                if step % 50 == 0:
                    check_finite(losses, stage="training", step=step, lr=o.lr or 0.0)
                    meter.restart()
                meter.add(len(batch.labelled) + len(batch.unlabelled), losses)
                bar.advance()
        check_finite(meter.sums, stage="training", step=steps, lr=o.lr or 0.0)

    def _batches(
        self, view: View, labelled: NDArray[np.int64], rng: Generator
    ) -> Iterator[_Batches]:
        """A labelled and an unlabelled batch, for ever."""
        o, images, known = self.options, self.model.source(view.pool), np.asarray(view.known)
        unlabelled = np.flatnonzero(known < 0)
        if len(unlabelled) < 2:  # one image has no statistics of its own
            unlabelled = unlabelled[:0]
        augment = AUGMENTS[augmentation(o.augment, view.pool.channels, max(view.pool.size))]
        draws = torch_generator(rng)
        some = cycle(labelled, o.batch_size or 2, rng)
        others = cycle(unlabelled, o.unlabelled_size or 2, rng)
        for rows, more in zip(some, others, strict=False):
            x, u = (images.float(part) for part in (rows, more))
            x, u = augment(x, draws), augment(u, draws) if len(u) else u
            yield _Batches(x, torch.from_numpy(known[rows]).to(x.device), u)

    @staticmethod
    def _apart(model: Any, net: Network, batch: _Batches) -> tuple[Tensor, Tensor]:
        """CE of the heads on S, and what keeps the three heads apart on U."""
        with torch.no_grad(), statistics_kept(net):
            h_s = model.hidden(batch.labelled)
            h_u = model.hidden(batch.unlabelled) if len(batch.unlabelled) else h_s[:0]
            task = net.top[1](h_u)
        return auxiliary_loss(*_two(net, h_s), batch.target), spread(task, *_two(net, h_u))

    def _optimizer(self, parameters: Any) -> torch.optim.Optimizer:
        lr = self.options.lr or 0.0
        if self.options.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=lr)
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=5e-4)

    def _factor(self, steps: int) -> Callable[[int], float]:
        """What the learning rate is multiplied with at each step."""
        if self.options.optimizer == "adam":
            return lambda step: (1 + math.cos(math.pi * step / max(steps, 1))) / 2
        return partial(rate, steps=steps, warm_up=steps // (self.options.epochs or 1))

    # --------------------------------------------------------------- description

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        return self.model.snapshot(view, self.model.parts(view.pool, parts & self.gives))

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, by the task head."""
        return self.model.predict(images)

    def state(self) -> Weights:
        return self.model.state()

    def load(self, state: Weights) -> None:
        self.model.load(state)


def _heads_alone(shape: tuple[int, ...], n_classes: int) -> Network:
    if len(shape) > 1:
        raise InputError(
            "learner.frozen trains heads on ready features, and this pool holds images: give"
            " an array of features, or leave it out"
        )
    return LinearHeads(shape[0], n_classes, heads=2)


def _two(net: Network, h: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of F1 and F2 from the vectors ``h (b, 128)``."""
    assert net.heads is not None
    first, second = net.heads
    return first(h), second(h)


def rate(step: int, *, steps: int, warm_up: int) -> float:
    """The published factor: rises over ``warm_up`` steps, x0.2 at 30, 60 and 80 of 99 parts."""
    if step < warm_up:
        return (step + 1) / warm_up
    return float(0.2 ** sum(step >= steps * part for part in _DROPS))
