"""SimCLR: pre-train any encoder on a pool without a label.

Source: T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for contrastive
learning of visual representations", ICML 2020, Algorithm 1; settings for small images from
its appendix B.9.  With the encoder ``G`` (images -> ``(B, p)``) and the projection head
``P = linear(p, p) - BN - ReLU - linear(p, 128, no bias)``::

    for a batch of N images:  a, b = two views of each;  L = NT-Xent(P(G(a)), P(G(b)); tau)
    AdamW (no decay of biases and norms), warm-up and cosine by the step

``G(x)`` is used afterwards, ``P`` is thrown away.  Where we differ: AdamW for LARS, which is
for batches of thousands.  Images enter in [0, 1]: an encoder normalises them itself, as its
weights want it.  Cost: 2 N forward and backward passes and a ``(2N)^2`` product a step.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, TypedDict

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from handful.augment import VIEWS, Views
from handful.errors import InputError, TrainingError
from handful.losses.ntxent import ntxent, simclr_authors
from handful.networks.backbones import Backbone, resize
from handful.progress import Progress, Task
from handful.rng import rng_for
from handful.training import (
    Images,
    Meter,
    Precision,
    batches,
    check_finite,
    fabric,
    seeded,
    torch_generator,
)
from handful.types import Pool

__all__ = [
    "SimCLRFit",
    "SimCLROptions",
    "alignment",
    "pretrain",
    "rank",
    "save_encoder",
    "uniformity",
]


class _Schedule(NamedTuple):
    batch: int
    epochs: int
    warm_up: int  # epochs
    most: int  # images; 0: all


class _Figures(TypedDict):
    alignment: float
    uniformity: float
    rank: int


SCHEDULES = {
    "published": _Schedule(512, 500, 10, 0),
    "gpu": _Schedule(512, 200, 10, 0),
    "fast": _Schedule(256, 20, 1, 10_000),
}
LEAST_STEPS = 300  # unless epochs are asked for: an epoch of a small folder is a step or two
CHECKED = 2048  # images that the checks after training look at
COLLAPSED = -0.1  # uniformity above it: all images on one point
LEAST_RANK = 10
MANY_REPEATS = 0.05
Rows: TypeAlias = NDArray[np.int64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimCLROptions:
    """How the encoder is pre-trained; ``None`` is settled by ``schedule``."""

    schedule: Literal["published", "gpu", "fast"] = "fast"
    augment: Literal["auto", "photo", "glyph", "object"] = "auto"  # by channels and size
    image_size: int | None = None  # side that images are brought to; None: their own
    batch_size: int | None = None  # N, images a step: 512 published and gpu, 256 fast
    epochs: int | None = None  # 500 published, 200 gpu, 20 fast
    warm_up: int | None = None  # epochs: 10 published and gpu, 1 fast
    most: int | None = None  # images used: all published and gpu, 10,000 fast; 0: all
    tau: float | None = None  # temperature: 0.5 photos, 0.2 else; 0.7 for simclr-authors
    projection: int = 128  # q, width of the head
    lr: float = 1e-3  # of AdamW
    weight_decay: float = 1e-4  # not of biases and norms
    loss: Literal["ntxent", "simclr-authors"] = "ntxent"  # authors: DSAC's code, no head
    precision: Precision = "32-true"  # similarities are float32 in any case
    devices: int = 1  # GPUs of this machine to split a batch over


@dataclass(frozen=True)
class SimCLRFit:
    """What came of it: figures of the last epoch and of the checks, none of them from a label."""

    loss: float  # below `chance`
    chance: float  # ln(2N - 1): the loss when all views lie on one point
    alignment: float  # mean |u_a - u_b|^2 of two views of an image
    uniformity: float  # log mean exp(-2 |u_i - u_j|^2) of two images
    rank: int  # of the covariance of G(x)
    epochs: int
    steps: int
    images: int  # that it was trained on
    passed: int  # images that passed, each as two views, all calls together
    seconds: float  # of training, all calls together
    augment: Views

    @property
    def images_per_second(self) -> float:
        return self.passed / self.seconds if self.seconds else math.nan


@dataclass(frozen=True)
class _Plan:
    """The options with nothing left open, and what the steps are counted by."""

    augment: Views
    batch: int
    epochs: int
    warm_up: int  # steps
    tau: float
    a_epoch: int  # steps

    @property
    def steps(self) -> int:
        return self.epochs * self.a_epoch

    @property
    def images(self) -> int:
        """That pass in an epoch."""
        return self.a_epoch * self.batch

    def batches(self, rows: Rows, rng: Generator) -> Iterator[Rows]:
        """An epoch over these rows in whole batches."""
        return batches(rng.permutation(rows)[: self.images], self.batch, rng, shuffle=False)

    def lr(self, step: int) -> float:
        """Share of the learning rate: linear warm-up, then half a cosine down to 0."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        return (1 + math.cos(math.pi * (step - self.warm_up) / (self.steps - self.warm_up))) / 2


class _Projected(nn.Module):
    """``P(G(x))``: linear - BN - ReLU - linear without bias; without the head for the authors."""

    def __init__(self, network: nn.Module, p: int, q: int | None) -> None:
        super().__init__()
        self.network = network
        self.head: nn.Module = nn.Identity()
        if q is not None:
            layers = [nn.Linear(p, p), nn.BatchNorm1d(p), nn.ReLU(), nn.Linear(p, q, bias=False)]
            self.head = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.head(self.network(x))
        return z


def pretrain(
    network: nn.Module,
    pool: Pool,
    *,
    rng: Generator,
    progress: Progress,
    options: SimCLROptions | None = None,
    checkpoint: Path | None = None,
) -> SimCLRFit:
    """Train ``network`` in place on the images of ``pool``; its mode is left as it was.

    network : images ``(B, C, H, W)`` in [0, 1] -> ``(B, p)``; frozen weights stay as they are.
    checkpoint : a safetensors file, written after every epoch.  Where it stands already, the
        run goes on behind its last whole epoch, equal to one that was never cut off; one of
        other images, options or another ``rng`` is an `InputError`.

    The last incomplete batch of an epoch is dropped.  `TrainingError` when the loss is not
    finite or not below ``ln(2N - 1)``, or when all images come to lie on one point.
    """
    o = options or SimCLROptions()
    seed = int(rng.integers(1 << 62))
    pool = _sample(pool, network, o, seed)
    accelerator = fabric(o.precision, o.devices)
    images = Images(pool, device=accelerator.device, progress=progress)
    rows = _readable(pool)
    plan = _plan(o, pool, len(rows))
    was_training = network.training
    try:
        model = _projected(network.to(accelerator.device), images, o, seed)
        adam = torch.optim.AdamW(_groups(model, o.weight_decay), lr=o.lr)
        kept = _Kept(checkpoint, _identity(pool, rows, model, plan, o, seed), model, adam)
        first, loss, before = kept.load()
        trained, optimizer = accelerator.setup(model, adam)
        run = _Run(accelerator, trained, optimizer, images, rows, plan, o, seed, Meter())
        with progress.task("SimCLR", (plan.epochs - first) * plan.images) as task:
            for epoch in range(first, plan.epochs):
                loss = run.epoch(epoch, task)
                progress.log("simclr", (epoch + 1) * plan.a_epoch, ntxent=loss)
                kept.save(epoch + 1, loss, before + run.meter.seconds)
        seconds = before + run.meter.seconds
        figures = _checks(model, images, rows, plan, o, seed)
    finally:
        network.train(was_training)
    fit = SimCLRFit(
        loss=loss,
        chance=math.log(2 * plan.batch - 1),
        epochs=plan.epochs,
        steps=plan.steps,
        images=len(rows),
        passed=plan.epochs * plan.images,
        seconds=seconds,
        augment=plan.augment,
        **figures,
    )
    _judge(fit, o)
    return fit


@dataclass(frozen=True)
class _Run:
    """One epoch of Algorithm 1 after the other."""

    accelerator: Fabric
    model: nn.Module
    optimizer: torch.optim.Optimizer
    images: Images
    rows: Rows
    plan: _Plan
    options: SimCLROptions
    seed: int
    meter: Meter

    def epoch(self, epoch: int, task: Task) -> float:
        """The mean loss of an epoch.  All its draws come from the seed and its number."""
        plan, o, view = self.plan, self.options, VIEWS[self.plan.augment]
        authors = o.loss == "simclr-authors"
        order, draws = rng_for(self.seed, epoch, "order"), rng_for(self.seed, epoch, "views")
        generator, step = torch_generator(draws), epoch * plan.a_epoch
        self.meter.restart()
        self.model.train()
        with seeded(rng_for(self.seed, epoch, "dropout")):
            for _, x in self.images.stream(plan.batches(self.rows, order)):
                for group in self.optimizer.param_groups:
                    group["lr"] = o.lr * plan.lr(step)
                x = _sized(x, o.image_size)
                a, b = x if authors else view(x, generator), view(x, generator)
                z_a, z_b = self.model(_last(torch.cat([a, b]))).chunk(2)
                loss = (simclr_authors if authors else ntxent)(z_a, z_b, tau=plan.tau)
                self.optimizer.zero_grad(set_to_none=True)
                self.accelerator.backward(loss)
                self.optimizer.step()
                step += 1
                self.meter.add(len(x), {"NT-Xent": loss})
                task.advance(len(x))
                if step % 50 == 0 or epoch == 0:
                    check_finite({"NT-Xent": loss}, stage="SimCLR", step=step, lr=o.lr)
        check_finite(self.meter.sums, stage="SimCLR", step=step, lr=o.lr)
        return self.meter.means()["NT-Xent"]


@dataclass(frozen=True)
class _Kept:
    """The checkpoint: weights, head, moments of AdamW, epochs done; and what run it is of."""

    path: Path | None
    run: Mapping[str, str]
    model: nn.Module
    adam: torch.optim.AdamW

    def save(self, epochs: int, loss: float, seconds: float) -> None:
        """Write the file whole or not at all; a disk that refuses costs the file, not the run."""
        if self.path is None:
            return
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for name, weight in self.model.named_parameters():
            for key, value in self.adam.state.get(weight, {}).items():
                tensors[f"adam.{key}.{name}"] = value
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        done = {"epochs": epochs, "loss": loss, "seconds": seconds}
        about = {"simclr": json.dumps(dict(self.run)), "done": json.dumps(done)}
        try:
            _write(self.path, save(tensors, about))
        except OSError as error:
            log.warning("%s cannot be written (%s): training goes on", self.path, error.strerror)

    def load(self) -> tuple[int, float, float]:
        """Take up where the file stands: epochs done, the loss of the last one, seconds."""
        if self.path is None or not self.path.exists():
            return 0, math.nan, 0.0
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
            theirs, done = json.loads(about["simclr"]), json.loads(about["done"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(
                f"{str(self.path)!r} is damaged or no checkpoint of SimCLR: remove it to begin"
                " anew, or name another file"
            ) from error
        for key, mine in self.run.items():
            if theirs.get(key) != mine:
                raise InputError(
                    f"the checkpoint {str(self.path)!r} is of another run, {key} differs: go on"
                    " with the same images, options and seed, or name another file"
                )
        self.model.load_state_dict(
            {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        )
        for name, weight in self.model.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if (value := tensors.get(f"adam.{key}.{name}")) is not None:
                    # moments lie in memory as their weights do, so that sums come out alike
                    like = torch.empty_like(weight) if key != "step" else torch.empty_like(value)
                    self.adam.state[weight][key] = like.copy_(value).detach()
        return int(done["epochs"]), float(done["loss"]), float(done["seconds"])


def save_encoder(network: Backbone, path: Path, fit: SimCLRFit) -> None:
    """Write the encoder alone, what came of it in the metadata.

    ``backbone(network.name, weights=path)`` makes it again, and so does the option
    ``backbone_weights`` of the learners that stand on features.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.trunk.state_dict().items()}
    about = {"backbone": network.name, "began_with": network.weights}
    _write(path, save(tensors, about | {"simclr": json.dumps(asdict(fit))}))


def alignment(a: Tensor, b: Tensor) -> float:
    """``mean |a_i - b_i|^2`` of two views, rows of length 1: ``(n, q), (n, q)``, 0 to 4.

    T. Wang, P. Isola, ICML 2020.
    """
    return float((a - b).square().sum(dim=1).mean())


def uniformity(u: Tensor) -> float:
    """``log mean_{i < j} exp(-2 |u_i - u_j|^2)``: ``(n, q)``, rows of length 1; 0: one point.

    T. Wang, P. Isola, ICML 2020.  O(n^2) time and memory.
    """
    return float(F.pdist(u).square().mul(-2).exp().mean().log())


def rank(h: Tensor, *, share: float = 1e-4) -> int:
    """Directions in which ``h (n, p)`` varies: eigenvalues above ``share`` of the largest."""
    spread = torch.linalg.svdvals((h - h.mean(dim=0)).double()).square()
    top = float(spread.max()) if spread.numel() else 0.0
    return int((spread > share * top).sum()) if top > 1e-12 * len(h) else 0


def _sample(pool: Pool, network: nn.Module, o: SimCLROptions, seed: int) -> Pool:
    """The pool, or as many of its images as are used."""
    if pool.features is not None:
        raise InputError("SimCLR needs images and this pool holds ready features")
    if not any(weight.requires_grad for weight in network.parameters()):
        raise InputError("the encoder is frozen: call requires_grad_(True) before pre-training it")
    most = SCHEDULES[o.schedule].most if o.most is None else o.most
    if not most or len(pool) <= most:
        return pool
    drawn = rng_for(seed, None, "sample").choice(len(pool), most, replace=False)
    return pool.subset(np.sort(drawn))


def _readable(pool: Pool) -> Rows:
    """Rows without the images that turned out to be broken when they were read."""
    rows = np.setdiff1d(np.arange(len(pool)), np.array(sorted(pool.broken), dtype=np.int64))
    if len(rows) < 2:
        raise InputError(
            f"SimCLR needs two images at least and found {len(rows)}: every other image of a"
            " batch is what it learns from"
        )
    return rows


def _plan(o: SimCLROptions, pool: Pool, n: int) -> _Plan:
    known = SCHEDULES[o.schedule]
    gray = pool.channels == 1 and max(pool.size) <= 48
    kind: Views = o.augment if o.augment != "auto" else "glyph" if gray else "photo"
    batch = min(o.batch_size or known.batch, n)
    if batch < 2:
        raise InputError(f"batch_size = {batch}: SimCLR needs two images a batch at least")
    a_epoch = n // batch
    epochs = o.epochs or max(known.epochs, math.ceil(LEAST_STEPS / a_epoch))
    warm_up = (known.warm_up if o.warm_up is None else o.warm_up) * a_epoch
    tau = o.tau or (0.7 if o.loss == "simclr-authors" else 0.5 if kind == "photo" else 0.2)
    return _Plan(kind, batch, epochs, min(warm_up, epochs * a_epoch // 2), tau, a_epoch)


def _projected(network: nn.Module, images: Images, o: SimCLROptions, seed: int) -> _Projected:
    """``P(G(.))`` with p read off two images."""
    network.eval()
    with torch.inference_mode():
        h = network(_last(_sized(images.float(np.arange(2)), o.image_size)))
    if h.ndim != 2:
        raise InputError(f"the encoder gives {tuple(h.shape)} for 2 images: it must give (2, p)")
    with seeded(rng_for(seed, None, "head")):
        head = None if o.loss == "simclr-authors" else o.projection
        return _Projected(network, h.shape[1], head).to(h.device)


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weights decay; biases, norms and scales, which have one axis, do not."""
    weights = [w for w in model.parameters() if w.requires_grad]
    flat = [w for w in weights if w.ndim <= 1]
    return [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": decay},
        {"params": flat, "weight_decay": 0.0},
    ]


def _identity(
    pool: Pool, rows: Rows, model: nn.Module, plan: _Plan, o: SimCLROptions, seed: int
) -> dict[str, str]:
    """What two runs must share to be one; warns of a pool that is full of repeats."""
    digests = [pool.digest(int(row)) for row in rows]
    repeats = len(digests) - len(set(digests))
    if repeats > MANY_REPEATS * len(digests):
        log.warning(
            "%d of %d images are exact repeats of others: SimCLR pushes them apart as if they"
            " differed; leave them out if you can",
            repeats,
            len(digests),
        )
    form = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    options = asdict(o) | asdict(plan)
    return {
        "seed": str(seed),
        "images": sha256("".join(digests).encode()).hexdigest(),
        "network": sha256(repr(form).encode()).hexdigest(),
        **{f"options.{key}": repr(value) for key, value in sorted(options.items())},
    }


def _checks(
    model: _Projected, images: Images, rows: Rows, plan: _Plan, o: SimCLROptions, seed: int
) -> _Figures:
    """Alignment, uniformity and rank on a sample of the pool, in evaluation mode."""
    draw = rng_for(seed, None, "checks")
    rows = np.sort(draw.choice(rows, min(CHECKED, len(rows)), replace=False))
    generator, view = torch_generator(draw), VIEWS[plan.augment]
    model.eval()
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.inference_mode():
        for _, x in images.stream(batches(rows, plan.batch, draw, shuffle=False)):
            x = _last(_sized(x, o.image_size))
            a, b = (F.normalize(model(_last(view(x, generator)))) for _ in range(2))
            found.append((model.network(x).float().cpu(), a.float().cpu(), b.float().cpu()))
        h, a, b = (torch.cat(one) for one in zip(*found, strict=True))
        return {"alignment": alignment(a, b), "uniformity": uniformity(a), "rank": rank(h)}


def _judge(fit: SimCLRFit, o: SimCLROptions) -> None:
    """`TrainingError` for a run that is no result."""
    if not fit.uniformity <= COLLAPSED:
        raise TrainingError(
            f"SimCLR has collapsed: all images lie on one point (uniformity {fit.uniformity:.3f});"
            f" check that the images differ, lower lr (now {o.lr:g}) or train for more epochs"
        )
    if o.loss == "ntxent" and fit.loss >= fit.chance:
        raise TrainingError(
            f"SimCLR learnt nothing: its loss {fit.loss:.3f} is not below {fit.chance:.3f}, that of"
            f" all images on one point; lower lr (now {o.lr:g}) or train for more epochs"
        )
    if fit.rank <= LEAST_RANK < fit.images - 1:
        log.warning("SimCLR's features vary in %d directions only: train for more epochs", fit.rank)


def _write(path: Path, content: bytes) -> None:
    """Replace a file whole or not at all."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        with suppress(OSError):
            new.unlink()


def _sized(x: Tensor, side: int | None) -> Tensor:
    """Images brought to ``side`` squared pixels, their aspect ratio kept."""
    if side is None:
        return x
    h, w = x.shape[2:]
    scale = side / math.sqrt(h * w)
    return resize(x, (max(1, round(h * scale)), max(1, round(w * scale))))


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
