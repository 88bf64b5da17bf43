"""FlexMatch: FixMatch with a threshold for each class, lower where little is learned yet.

Source: B. Zhang, Y. Wang, W. Hou, H. Wu, J. Wang, M. Okumura, T. Shinozaki, "FlexMatch:
Boosting semi-supervised learning with curriculum pseudo labeling", NeurIPS 2021, Algorithm 1.

::

    last_i := -1 for every image of the stream, N of them
    for k in 0 .. K - 1:                                       B labelled, mu B unlabelled
        sigma(c) = |{i : last_i = c}|
        beta(c)  = sigma(c) / max(max_c' sigma(c'), N - sum_c' sigma(c'))
        T(c)     = tau M(beta(c)),  M(x) = x / (2 - x)
        L_u = 1/(mu B) sum_b 1[max q_b >= T(yhat_b)] CE(f(s(u_b)), yhat_b)
        step on L_s + lambda_u L_u as FixMatch;  e := a e + (1 - a) w
        last_i := yhat_i where max q_i >= tau                  the fixed one, after the loss

At the start T = 0: every image is used, with whatever guess it has.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch.nn import functional as F

from handful.losses.consistency import LastSure, Mapping, consistency, flexible
from handful.progress import Progress
from handful.registry import register_learner
from handful.semisupervised import (
    EVERY,
    Average,
    ConsistencyOptions,
    Streams,
    begin,
    classifier,
    mixed,
    optimiser,
)
from handful.training import Meter, check_finite, fabric, seeded
from handful.types import Array, Fit, Snapshot, View, Weights

__all__ = ["FlexMatch", "FlexMatchOptions"]

log = logging.getLogger(__name__)
LEAST_STEPS = 800  # before them guesses of the start are still being unlearned


@dataclass(frozen=True)
class FlexMatchOptions(ConsistencyOptions):
    """FixMatch's, and how thresholds follow the counts."""

    mapping: Mapping = "convex"  # M(x) = x / (2 - x); linear: x
    warmup: bool = True  # those never sure yet hold all thresholds down


@register_learner("flexmatch")
class FlexMatch:
    """FixMatch with a threshold a class that rises with the images it was sure of.

    Formula: L_s + lambda_u L_u; L_u the mean over all mu B of 1[max q >= T(yhat)] CE(s(u), yhat).
    Gives ``proba (n, C)`` and ``embedding (n, d)`` (before the last layer) of the averaged
    weights, d = 64 w of WRN-28-w, 64 fast.
    Needs: images of 8x8 and more, a label; ready features are refused.  While there is one class
    alone, nothing is trained and its probability is 1.
    Cost: as FixMatch, O(B) a step for the counts.  Memory: two copies of the network, one mixed
    batch, one number an image.
    When: classes are learned at different speed and there is time for many steps.  Not for fewer
    than 800: its first guesses, taken at T = 0, are still in the average.
    Source: Zhang et al., NeurIPS 2021; counts are those of the published code, the last sure
    guess of each image, where the paper counts the present ones.
    Here: counts by differences; images in the stream by their row, labelled ones too.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    takes: ClassVar[frozenset[str]] = frozenset({"images"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[FlexMatchOptions]] = FlexMatchOptions

    def __init__(self, options: FlexMatchOptions | None = None) -> None:
        self.options = (options or FlexMatchOptions()).resolved()
        self.model = classifier("flexmatch", self.options)
        self.last: NDArray[np.int16] = np.empty(0, dtype=np.int16)  # (n,) by pool row, -1: never

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train on labelled and all images for a fixed number of steps."""
        o, meter = self.options, Meter()
        if (o.steps or 0) < LEAST_STEPS:
            log.warning("%d steps are few for FlexMatch: take %d or more", o.steps, LEAST_STEPS)
        labelled = begin(self.model, view, rng, warm=o.warm_start)
        if not o.warm_start or len(self.last) != len(view.pool):
            self.last = np.full(len(view.pool), -1, dtype=np.int16)
        if self.model.only < 0:
            streams = Streams(self.model, view, labelled, o, rng)
            self._train(streams, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _train(self, streams: Streams, rng: Generator, progress: Progress, meter: Meter) -> None:
        o, steps = self.options, self.options.steps or 0
        accelerator = fabric(o.precision, o.devices)
        optimizer, rate = optimiser(self.model.trained, o)
        net, optimizer = accelerator.setup(self.model.trained, optimizer)
        status = LastSure(torch.from_numpy(self.last).to(accelerator.device), self.model.n_classes)
        net.train()
        with (
            seeded(rng),
            Average.of(self.model, o) as average,
            progress.task("training", steps, "steps") as task,
        ):
            for step, (x, y, rows) in enumerate(islice(streams, steps)):
                logits = mixed(net, x, o.devices)
                b, m = len(y), len(rows)
                labelled = F.cross_entropy(logits[:b], y)
                least = flexible(
                    status.sigma, streams.n, tau=o.tau, mapping=o.mapping, warmup=o.warmup
                )
                agreed = consistency(logits[b : b + m], logits[b + m :], least)
                loss = labelled + o.lambda_u * agreed.loss
                if step % EVERY == 0:
                    check_finite({"loss": loss}, stage="training", step=step, lr=o.lr or 0.0)
                    average.keep()  # the loss of its weights is finite
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                rate.step()
                average.update(net, step)
                status.update(rows, agreed.guess, agreed.sureness >= o.tau)
                losses = {
                    "labelled": labelled,
                    "unlabelled": agreed.loss,
                    "used": agreed.share,
                    "threshold_least": least.min(),
                    "threshold_most": least.max(),
                }
                meter.add(len(x), losses)
                task.advance()
                if step % EVERY == EVERY - 1 or step == steps - 1:
                    progress.log("training", step + 1, assignment=None, **meter.means())
                    if step < steps - 1:
                        meter.restart()
        self.last = status.last.to(torch.int16).cpu().numpy()

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        return self.model.snapshot(view, self.model.parts(view.pool, parts & self.gives))

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)``."""
        return self.model.predict(images)

    def state(self) -> Weights:
        return {**self.model.state(), "last": self.last.copy()}

    def load(self, state: Weights) -> None:
        self.model.load(state)
        self.last = np.array(state["last"])
