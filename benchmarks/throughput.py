"""Training speed: CCL against a bare loop of PyTorch, and what the refresh of P costs.

``python benchmarks/throughput.py [usps] [refresh]``

``usps``: images a second of whole ``fit`` calls (placing the centroids, refresh of P and
naming of the clusters included) over those of a bare loop with the same network, the same
two streams and the same three losses; the same for pre-training.  Rounds of the two take
turns in one process; the best of each counts.

``refresh``: seconds of a CCL epoch on MNIST's training part, with P refreshed by a forward
pass every 80 steps, from the running q, and not at all after the first step.

One thread, unless OMP_NUM_THREADS says otherwise.  Needs HANDFUL_DATA.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch.nn import functional as F

from handful.bench.split import split
from handful.learners.ccl import CCL, CCLOptions
from handful.networks.cae import CAE
from handful.pool import Data, open_data
from handful.progress import Silent
from handful.rng import rng_for
from handful.training import Images, pretrain_autoencoder, seeded
from handful.types import Classes, View
from record import record

EPOCHS, TURNS, LABELS, BATCH, LABELLED = 5, 5, 750, 256, 128


def bare_pretraining(net: CAE, x: torch.Tensor, epochs: int) -> int:
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            batch = x[rows].float() / 255
            loss = (net.decode(net.encode(batch)) - batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return epochs * len(x)


def bare_ccl(
    net: CAE, x: torch.Tensor, y: torch.Tensor, labelled: torch.Tensor, epochs: int
) -> int:
    """The same three losses on the same two streams; P is fixed, nothing is logged."""
    centroids = torch.randn(10, 10).requires_grad_()
    p = torch.softmax(torch.randn(len(x), 10), 1)
    optimizer = torch.optim.Adam([*net.parameters(), centroids], 1e-3)
    seen = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(BATCH):
            mine = labelled[torch.randint(len(labelled), (min(LABELLED, len(labelled)),))]
            batch = torch.cat([x[rows], x[mine]]).float() / 255
            z = net.encode(batch)
            x_hat, b = net.decode(z), len(rows)
            log_q = F.log_softmax(-torch.log1p(torch.cdist(z, centroids).square()), 1)
            loss = (
                (x_hat[:b] - batch[:b]).square().mean()
                + 0.1 * F.kl_div(log_q[:b], p[rows], reduction="batchmean")
                + F.nll_loss(log_q[b:], y[mine])
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(batch)
    return seen


def best(*works: Callable[[], int], turns: int = TURNS) -> list[float]:
    """Images a second of each, in turn, the best of ``turns``."""
    found = [0.0] * len(works)
    for _ in range(turns):
        for i, work in enumerate(works):
            begin = time.perf_counter()
            images = work()
            found[i] = max(found[i], images / (time.perf_counter() - begin))
    return found


def training_part(name: str) -> tuple[Data, np.ndarray]:
    data = open_data(name)
    train, _ = split(data, "80/20", seed=0)
    part = data.subset(train)
    known = np.full(len(part.pool), -1, dtype=np.int64)
    rows = rng_for(0, 0, "initial").permutation(len(known))[:LABELS]
    assert part.labels is not None
    known[rows] = part.labels[rows]
    return part, known


def usps() -> None:
    part, known = training_part("usps")
    pool = part.pool
    view = View(pool, known, Classes(part.classes), 1)
    labelled = torch.from_numpy(np.flatnonzero(known >= 0))
    x = torch.from_numpy(pool.read(np.arange(len(pool))))
    y = torch.from_numpy(known)
    learners = {}
    for augment in ("none", "glyph"):
        options = CCLOptions(
            ccl_form="student", augment=augment, pretrain_epochs=1, epochs=EPOCHS
        )  # fmt: skip
        learners[augment] = CCL(options)
        learners[augment].fit(view, rng_for(0, 0, "fit"), Silent())
    with seeded(rng_for(0, 0, "bare")):
        net = CAE(1, pool.size)
        ours, augmented, bare = best(
            lambda: learners["none"].fit(view, rng_for(0, 1, "fit"), Silent()).images,
            lambda: learners["glyph"].fit(view, rng_for(0, 1, "fit"), Silent()).images,
            lambda: bare_ccl(net, x, y, labelled, EPOCHS),
        )
        images = Images(pool)
        own = CAE(1, pool.size).to(memory_format=torch.channels_last)

        def pretrain() -> int:
            done = pretrain_autoencoder(
                own, images, epochs=EPOCHS, rng=rng_for(0, 0, "fit"), progress=Silent()
            )
            return int(done["images"])

        pre, bare_pre = best(pretrain, lambda: bare_pretraining(net, x, EPOCHS))
    for variant, mine, other in (
        ("a CCL round, refresh included", ours, bare),
        ("a CCL round with glyph augmentation, bare without", augmented, bare),
        ("pre-training", pre, bare_pre),
    ):
        row("usps", variant, "images_per_second", mine, "images/s")
        row("usps", f"{variant}: bare loop", "images_per_second", other, "images/s")
        row("usps", variant, "ratio", mine / other, "")


def refresh() -> None:
    part, known = training_part("mnist")
    view = View(part.pool, known, Classes(part.classes), 1)
    base = CCL(CCLOptions(ccl_form="student", pretrain_epochs=1, pretrain_steps=20, epochs=0))
    base.fit(view, rng_for(0, 0, "fit"), Silent())
    seconds: dict[str, float] = {}
    cases = {
        "a forward pass every 80 steps": {},
        "the running q": {"refresh": "running"},
        "none after the first step": {"p_interval": 1 << 30},
    }
    for _ in range(2):
        for name, options in cases.items():
            learner = CCL(CCLOptions(ccl_form="student", epochs=1, **options))
            learner.load(base.state())
            learner.space.attach(part.pool)
            learner.space.z()  # the round before has it; not part of the epoch
            fit = learner.fit(view, rng_for(0, 1, "fit"), Silent())
            seconds[name] = min(seconds.get(name, np.inf), fit.seconds)
    least = seconds["none after the first step"]
    for name, value in seconds.items():
        row("mnist", f"epoch, P from {name}", "seconds", value, "s")
        row("mnist", f"epoch, P from {name}", "share of refresh", (value - least) / value, "")


def row(data: str, variant: str, metric: str, value: float, unit: str) -> None:
    variant = f"{variant}, {torch.get_num_threads()} thread(s)"
    record("throughput", data, "ccl-student", variant, 0, LABELS, metric, value, unit)
    print(f"{data:6} {variant:70} {metric:18} {value:10.3f} {unit}", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["usps", "refresh"]:
        {"usps": usps, "refresh": refresh}[name]()
