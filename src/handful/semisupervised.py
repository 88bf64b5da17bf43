"""What learners that train on weak and strong views share: batches, network, averaged weights.

FixMatch and FlexMatch see the same two streams, train the same network by the same schedule and
predict by the same average of weights.  Each of them owns its loss and its training loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful.augment import augmentation
from handful.classifier import Classifier, Network
from handful.errors import InputError, RecipeError, TrainingError
from handful.losses.consistency import cosine_7_16
from handful.networks.wide_resnet import SlimCNN, WideResNet
from handful.randaugment import PAIRS, Kind
from handful.training import Precision, check_finite, cycle, ema, known_classes, torch_generator
from handful.types import Pool, View

__all__ = [
    "EVERY",
    "Average",
    "Batch",
    "ConsistencyOptions",
    "Streams",
    "begin",
    "classifier",
    "mixed",
    "optimiser",
]

EVERY = 50  # steps between two looks at the losses
SAMPLED = 4096  # images that the value of the ground is taken from
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ConsistencyOptions:
    """Network, views and schedule; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "fast"] = "published"  # as the paper, or for a CPU
    network: Literal["auto", "wide-resnet", "slim"] = "auto"  # auto: the first one published
    depth: int = 28  # of wide-resnet: 6 n + 4
    widen: int = 2  # of wide-resnet, times 16, 32, 64 channels
    augment: Literal["auto", "glyph", "object", "photo"] = "auto"  # glyph: gray up to 48 pixels
    steps: int | None = None  # of one fit: 2^20 published, 2,000 fast
    tau: float = 0.95  # probability from which a guess is sure
    lambda_u: float = 1.0  # weight of the unlabelled loss
    batch_size: int | None = None  # B, labelled images a step: 64 published, 32 fast
    mu: int | None = None  # unlabelled images a step, times B: 7 published, 3 fast
    lr: float | None = None  # of SGD: .03 published, .06 fast; falls to .195 of it by a cosine
    momentum: float = 0.9  # Nesterov's
    weight_decay: float = 5e-4  # of filters and matrices alone; the paper has 1e-3 on CIFAR-100
    ema: float | None = None  # a of the averaged weights: .999 published, .99 fast
    ema_ramp: bool | None = None  # a := min(a, 1 - 1 / (k + 2)) at step k: fast
    warm_start: bool = False  # True: go on from the last averaged weights
    precision: Precision = "32-true"
    devices: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (("tau", 0, 1), ("lambda_u", 0, float("inf"))):
            if not low <= getattr(self, name) <= high:
                raise RecipeError(f"learner.{name} is {getattr(self, name)}: {low} to {high}")
        for name in ("steps", "batch_size", "mu"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RecipeError(f"learner.{name} is {value}: 1 or more")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise RecipeError(f"learner.ema is {self.ema}: from 0 to below 1")

    def resolved(self) -> Self:
        """Fill in what depends on the schedule alone."""
        fast = self.schedule == "fast"
        network = self.network
        if network == "auto":
            network = "slim" if fast else "wide-resnet"
        return replace(
            self,
            network=network,
            steps=self.steps or (2_000 if fast else 1 << 20),
            batch_size=self.batch_size or (32 if fast else 64),
            lr=(0.06 if fast else 0.03) if self.lr is None else self.lr,
            mu=self.mu or (3 if fast else 7),
            ema=(0.99 if fast else 0.999) if self.ema is None else self.ema,
            ema_ramp=fast if self.ema_ramp is None else self.ema_ramp,
        )


def classifier(who: str, o: ConsistencyOptions) -> Classifier:
    """The network of the options, in the hands of the learner called ``who``."""
    made = partial(_network, o=o)
    return Classifier(who, precision=o.precision, devices=o.devices, make=made)


def _network(shape: tuple[int, ...], n_classes: int, *, o: ConsistencyOptions) -> Network:
    if o.network == "slim":
        return SlimCNN(shape[0], n_classes, side=min(shape[1:]))
    return WideResNet(shape[0], n_classes, depth=o.depth, widen=o.widen)


def begin(model: Classifier, view: View, rng: Generator, *, warm: bool) -> NDArray[np.int64]:
    """The labelled rows, rising; a new network, or with ``warm`` the last one.

    Says which classes have no label: no guess will ever name them.  `InputError` for ready
    features, of which there are no views, and where nothing is labelled.
    """
    if view.pool.features is not None:
        raise InputError(
            f"the learner {model.who!r} compares views of images and this pool holds ready"
            " features: give it the images, or take self-training or propagation"
        )
    labelled = model.begin(view, rng, warm=warm)
    known = np.bincount(np.asarray(view.known)[labelled], minlength=len(view.classes))
    listed = [c for c in np.flatnonzero(known == 0) if c not in view.classes.archived]
    if listed and model.only < 0:
        names = [view.classes.names[c] for c in listed]
        log.warning(
            "%d of %d classes have no label yet (%s%s): no image will be taken for one of them",
            len(names),
            len(view.classes),
            ", ".join(names[:3]),
            ", ..." if len(names) > 3 else "",
        )
    return labelled


# --- batches -----------------------------------------------------------------------------------


class Batch(NamedTuple):
    """``x``: the weak views of b labelled images, the weak and the strong ones of m others."""

    x: Tensor  # (b + 2 m, C, H, W)
    y: Tensor  # (b,) classes
    rows: Tensor  # (m,) pool rows


class Streams:
    """Batches for ever: labelled images drawn with replacement, all images epoch by epoch.

    The stream of all images holds the labelled ones too, without their labels; an image that
    cannot be decoded is in neither.  ``n`` is its length.  Everything labelled: it is empty.
    """

    def __init__(
        self,
        model: Classifier,
        view: View,
        labelled: NDArray[np.int64],
        o: ConsistencyOptions,
        rng: Generator,
    ) -> None:
        known = known_classes(view)
        broken = np.array(sorted(view.pool.broken), dtype=np.int64)
        rows = np.setdiff1d(np.arange(len(known)), broken)
        self.n = len(rows) if (known[rows] < 0).any() else 0
        self._images = model.source(view.pool)
        self._labelled = np.setdiff1d(labelled, broken)
        self._y = torch.from_numpy(known)
        self._pair = PAIRS[_kind(o, view.pool)]
        self._b, self._rng, self._draws = o.batch_size or 1, rng, torch_generator(rng)
        self._rows = cycle(rows, self._b * (o.mu or 1), rng)
        spread = np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(np.int64)
        self._fill = self._pair.fill(self._images.float(rows[spread]))

    def _order(self) -> Iterator[NDArray[np.int64]]:
        while True:
            mine = self._rng.choice(self._labelled, self._b)
            yield np.concatenate([mine, next(self._rows)]) if self.n else mine

    def __iter__(self) -> Iterator[Batch]:
        for rows, x in self._images.stream(self._order()):  # read ahead where they are not kept
            mine, free = rows[: self._b], rows[self._b :]
            weak = self._pair.weak(x, self._draws, self._fill)
            views = [weak]
            if self.n:  # the strong view starts from the image itself, with draws of its own
                views.append(self._pair.strong(x[self._b :], self._draws, self._fill))
            device = self._images.device
            yield Batch(
                torch.cat(views).contiguous(memory_format=torch.channels_last),
                self._y[torch.from_numpy(mine)].to(device),
                torch.from_numpy(free).to(device),
            )


def _kind(o: ConsistencyOptions, pool: Pool) -> Kind:
    kind = augmentation(o.augment, pool.channels, max(pool.size))
    assert kind != "none"  # a pool of features has been refused
    return kind


def mixed(network: nn.Module, x: Tensor, devices: int = 1) -> Tensor:
    """One forward pass; of several devices each sees its share of every kind of view.

    Split as they lie, one device's batch-norm would see labelled images alone.
    """
    if devices == 1:
        logits: Tensor = network(x)
        return logits
    order = torch.cat([torch.arange(d, len(x), devices) for d in range(devices)]).to(x.device)
    dealt: Tensor = network(x[order])
    return dealt[order.argsort()]


# --- weights -----------------------------------------------------------------------------------


def optimiser(
    network: nn.Module, o: ConsistencyOptions
) -> tuple[torch.optim.SGD, torch.optim.lr_scheduler.LambdaLR]:
    """SGD with Nesterov's momentum; no decay of biases and norm layers; the rate by a cosine."""
    flat = [w for w in network.parameters() if w.ndim <= 1]
    groups: list[dict[str, object]] = [
        {"params": [w for w in network.parameters() if w.ndim > 1]},
        {"params": flat, "weight_decay": 0.0},
    ]
    nesterov = o.momentum > 0
    sgd = torch.optim.SGD(
        groups, lr=o.lr or 0.0, momentum=o.momentum, nesterov=nesterov, weight_decay=o.weight_decay
    )
    return sgd, torch.optim.lr_scheduler.LambdaLR(sgd, lambda k: cosine_7_16(k, o.steps or 1))


class Average:
    """``e <- a e + (1 - a) w`` after each step: the weights that predict.  Buffers are copied."""

    def __init__(self, network: Network, o: ConsistencyOptions) -> None:
        self.network = deepcopy(network)
        self._decay, self._ramp = o.ema or 0.0, bool(o.ema_ramp)
        self._kept = deepcopy(self.network.state_dict())

    def update(self, network: nn.Module, step: int) -> None:
        """After step ``step`` (from 0)."""
        a = min(self._decay, 1 - 1 / (step + 2)) if self._ramp else self._decay
        ema(self.network, network, a)

    def keep(self) -> None:
        """Remember the average as it is: nothing in it has gone wrong."""
        self._kept = deepcopy(self.network.state_dict())

    @classmethod
    @contextmanager
    def of(cls, model: Classifier, o: ConsistencyOptions) -> Iterator[Average]:
        """Average while the body trains ``model``'s network; then the average takes its place.

        After a loss that is not finite it is the average that was kept last.
        """
        average = cls(model.trained, o)
        try:
            yield average
            for name, weight in average.network.named_parameters():
                check_finite({name: weight}, stage="training", step=o.steps or 0, lr=o.lr or 0.0)
        except TrainingError:
            average.network.load_state_dict(average._kept)
            raise
        finally:
            model.network = average.network.eval()
