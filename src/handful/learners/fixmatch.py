"""FixMatch: what is sure of the weak view is taught to the strong one.

Source: K. Sohn, D. Berthelot, C.-L. Li, Z. Zhang, N. Carlini, E. D. Cubuk, A. Kurakin,
H. Zhang, C. Raffel, "FixMatch: Simplifying semi-supervised learning with consistency and
confidence", NeurIPS 2020, Algorithm 1.

::

    for k in 0 .. K - 1:                                       B labelled, mu B unlabelled
        L_s = 1/B sum_b CE(f(w(x_b)), y_b)
        q_b = softmax(f(w(u_b))), no gradient;  yhat_b = argmax q_b
        L_u = 1/(mu B) sum_b 1[max q_b >= tau] CE(f(s(u_b)), yhat_b)
        step on L_s + lambda_u L_u, learning rate eta cos(7 pi k / 16 K)
        e := a e + (1 - a) w                                   e predicts

One forward pass over [w(x), w(u), s(u)], so that batch-norm sees one mixed batch.
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

from handful.losses.consistency import consistency
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

__all__ = ["FixMatch", "FixMatchOptions"]

log = logging.getLogger(__name__)
IMPATIENT = 0.3  # of the steps without one sure guess: something is wrong
_UNSURE = (
    "no guess reached tau = %g in %d of %d steps, so unlabelled images teach nothing yet: give"
    " more labels, more steps (learner.steps) or take flexmatch"
)


@dataclass(frozen=True)
class FixMatchOptions(ConsistencyOptions):
    """Those of `ConsistencyOptions`."""


@register_learner("fixmatch")
class FixMatch:
    """A network that teaches the strong view of an image what it is sure of in the weak one.

    Formula: L_s + lambda_u L_u; L_u the mean over all mu B of 1[max q >= tau] CE(s(u), argmax q).
    Gives ``proba (n, C)`` and ``embedding (n, d)`` (before the last layer) of the averaged
    weights, d = 64 w of WRN-28-w, 64 fast.
    Needs: images of 8x8 and more, a label; ready features are refused.  While there is one class
    alone, nothing is trained and its probability is 1.
    Cost: ``steps`` x (1 + 2 mu) B images forth and back, whatever the pool; a snapshot is n
    forward passes.  Memory: two copies of the network, one mixed batch.
    When: some labels of every class and many images alike.  Not when a class has no label, which
    can then never be guessed, nor when images carry no common sort of content.
    Source: Sohn et al., NeurIPS 2020.
    Here: views of written signs without flip; the average starts fast (``ema_ramp``) in few steps.
    """

    name: ClassVar[str]
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    takes: ClassVar[frozenset[str]] = frozenset({"images"})
    needs_labels: ClassVar[bool] = True
    Options: ClassVar[type[FixMatchOptions]] = FixMatchOptions

    def __init__(self, options: FixMatchOptions | None = None) -> None:
        self.options = (options or FixMatchOptions()).resolved()
        self.model = classifier("fixmatch", self.options)

    def fit(self, view: View, rng: Generator, progress: Progress) -> Fit:
        """Train on labelled and all images for a fixed number of steps."""
        meter = Meter()
        labelled = begin(self.model, view, rng, warm=self.options.warm_start)
        if self.model.only < 0:
            streams = Streams(self.model, view, labelled, self.options, rng)
            self._train(streams, rng, progress, meter)
        return Fit(losses=meter.means(), images=meter.images, seconds=meter.seconds)

    def _train(self, streams: Streams, rng: Generator, progress: Progress, meter: Meter) -> None:
        o, steps = self.options, self.options.steps or 0
        accelerator = fabric(o.precision, o.devices)
        optimizer, rate = optimiser(self.model.trained, o)
        net, optimizer = accelerator.setup(self.model.trained, optimizer)
        sure = torch.zeros((), dtype=torch.bool, device=accelerator.device)
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
                agreed = consistency(logits[b : b + m], logits[b + m :], o.tau)
                loss = labelled + o.lambda_u * agreed.loss
                if step % EVERY == 0:
                    check_finite({"loss": loss}, stage="training", step=step, lr=o.lr or 0.0)
                    average.keep()  # the loss of its weights is finite
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                rate.step()
                average.update(net, step)
                losses = {"labelled": labelled, "unlabelled": agreed.loss, "sure": agreed.share}
                meter.add(len(x), losses)
                task.advance()
                sure = sure | agreed.mask.any()
                if m and step == int(IMPATIENT * steps) and not sure:
                    log.warning(_UNSURE, o.tau, step + 1, steps)
                if step % EVERY == EVERY - 1 or step == steps - 1:
                    progress.log("training", step + 1, assignment=None, **meter.means())
                    if step < steps - 1:
                        meter.restart()

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        return self.model.snapshot(view, self.model.parts(view.pool, parts & self.gives))

    def predict(self, images: Array) -> NDArray[np.float32]:
        """Class probabilities ``(B, C)`` of new images, uint8 ``(B, C, H, W)``."""
        return self.model.predict(images)

    def state(self) -> Weights:
        return self.model.state()

    def load(self, state: Weights) -> None:
        self.model.load(state)
