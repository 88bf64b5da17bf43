"""Leaves of training that learners share; each learner writes its own loop.

Device, precision and several devices come from lightning-fabric; randomness from the
caller; images from a pool, as one uint8 tensor when it fits, else as a stream.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from queue import Queue
from threading import Thread
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful.augment import Augment
from handful.errors import InputError, TrainingError
from handful.progress import Progress, Silent
from handful.types import Array, Pool, View, Weights

__all__ = [
    "Images",
    "Meter",
    "Precision",
    "batches",
    "check_finite",
    "cycle",
    "device_for",
    "ema",
    "embed",
    "fabric",
    "known_classes",
    "load_weights",
    "pretrain_autoencoder",
    "seeded",
    "torch_generator",
    "variance",
    "weights_of",
]

Precision: TypeAlias = Literal["32-true", "bf16-mixed", "16-mixed"]
PIXELS_A_BLOCK = 1 << 20  # of an evaluation pass: bounds the memory of activations
log = logging.getLogger(__name__)


class AutoEncoder(Protocol):
    """What `pretrain_autoencoder` needs of a network."""

    def encode(self, x: Tensor) -> Tensor: ...
    def decode(self, z: Tensor) -> Tensor: ...


@contextmanager
def seeded(rng: Generator) -> Iterator[None]:
    """Seed torch's global state for a while, and put it back as it was.

    Layers draw their first weights, and dropout its masks, from the global state; nothing
    outside this block notices.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(int(rng.integers(1 << 62)))
        yield


def torch_generator(rng: Generator) -> torch.Generator:
    """A CPU generator of torch that goes on from ``rng``."""
    return torch.Generator().manual_seed(int(rng.integers(1 << 62)))


def fabric(precision: Precision = "32-true", devices: int = 1) -> Fabric:
    """Where to train: a GPU when torch sees one, else the CPU.

    ``devices > 1`` splits each batch over the GPUs of this machine within one process.
    """
    _keep_freed_memory()
    strategy = "dp" if devices > 1 else "auto"
    return Fabric(accelerator="auto", devices=devices, precision=precision, strategy=strategy)


@cache
def device_for(precision: Precision = "32-true", devices: int = 1) -> torch.device:
    """The device that `fabric` trains on; asked once, for a fabric takes 30 ms to make."""
    return fabric(precision, devices).device


@cache
def _keep_freed_memory() -> None:
    """Ask glibc to hand freed memory to the next step instead of to the system.

    A training step frees and asks again for the same few hundred megabytes; fetched anew
    from the system each time, every page costs a fault: a tenth of a step on a CPU.
    Elsewhere than on glibc this does nothing.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of <malloc.h>
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 << 20)  # the most that glibc takes
        mallopt(trim_threshold, 1 << 30)
        mallopt(top_pad, 64 << 20)


def known_classes(view: View) -> NDArray[np.int64]:
    """A copy of the view's labels ``(n,)``, -1 unknown; `InputError` where they do not fit it."""
    known = np.array(view.known, dtype=np.int64)
    if known.shape != (len(view.pool),):
        raise InputError(f"{known.shape} labels for {len(view.pool)} images")
    bad = np.flatnonzero(known >= len(view.classes))
    if len(view.classes) and len(bad):
        raise InputError(
            f"the label {known[bad[0]]} of {view.pool.ids[int(bad[0])]!r} is not in the list"
            f" of {len(view.classes)} classes: add the class first"
        )
    return known


def batches(
    n: int | Array, size: int, rng: Generator, *, shuffle: bool = True
) -> Iterator[NDArray[np.int64]]:
    """One epoch over ``n`` rows (or over the rows given), ``size`` at a time.

    A last batch of one row joins the batch before it: batch-norm cannot train on one image.
    """
    rows = np.arange(n) if isinstance(n, int) else np.asarray(n, dtype=np.int64)
    if shuffle:
        rows = rng.permutation(rows)
    starts = list(range(0, len(rows), size))
    if len(starts) > 1 and len(rows) - starts[-1] == 1:
        starts.pop()
    for start, end in pairwise([*starts, len(rows)]):
        yield rows[start:end].astype(np.int64, copy=False)


def cycle(rows: Array, size: int, rng: Generator) -> Iterator[NDArray[np.int64]]:
    """Shuffled batches of ``min(size, len(rows))`` rows for ever, reshuffled when used up."""
    size = min(size, len(rows))
    queue = rng.permutation(rows)
    while True:
        if len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(rows)])
        yield queue[:size].astype(np.int64, copy=False)
        queue = queue[size:]


class Images:
    """The pixels of a pool for training: float32 in [0, 1], or ready features as they are.

    Kept whole as uint8 on the device when they take at most ``keep_bytes``; else read batch
    by batch, the next one in a thread while the present one trains.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        device: torch.device | str = "cpu",
        keep_bytes: int = 4 << 30,
        progress: Progress | None = None,
    ) -> None:
        self.pool = pool
        self.device = torch.device(device)
        self.channels = pool.channels
        self.size = pool.size
        features = pool.features
        self._kept: Tensor | None = None
        if features is not None:
            if features.nbytes <= keep_bytes:
                self._kept = torch.from_numpy(np.array(features, dtype=np.float32)).to(device)
        elif len(pool) * pool.channels * math.prod(pool.size) <= keep_bytes:
            self._kept = self._read_all(progress)

    def _read_all(self, progress: Progress | None, block: int = 4096) -> Tensor:
        n, (h, w) = len(self.pool), self.size
        kept = torch.empty((n, self.channels, h, w), dtype=torch.uint8)
        with (progress or Silent()).task("reading images", n) as task:
            for start in range(0, n, block):
                rows = np.arange(start, min(n, start + block))
                kept[start : start + len(rows)] = torch.from_numpy(self.pool.read(rows))
                task.advance(len(rows))
        return kept.to(self.device)

    def __len__(self) -> int:
        return len(self.pool)

    @property
    def kept(self) -> bool:
        """True when the whole pool is in memory."""
        return self._kept is not None

    def float(self, rows: Array) -> Tensor:
        """The images of these rows, ready for a network."""
        rows = np.asarray(rows, dtype=np.int64)
        if self._kept is not None:
            # selecting before scaling: only this batch is ever float
            return self.scale(self._kept.index_select(0, torch.from_numpy(rows).to(self.device)))
        if self.pool.features is not None:
            picked = np.ascontiguousarray(self.pool.features[rows], dtype=np.float32)
            return torch.from_numpy(picked).to(self.device)
        return self.scale(torch.from_numpy(self.pool.read(rows)).to(self.device))

    @staticmethod
    def scale(x: Tensor) -> Tensor:
        """uint8 -> [0, 1] float32, channels last (a tenth faster on a CPU, more on a GPU)."""
        if x.dtype == torch.uint8:
            return (x.float() / 255).contiguous(memory_format=torch.channels_last)
        return x.float()

    def stream(
        self, order: Iterator[NDArray[np.int64]]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        """``(rows, images)`` for each batch of ``order``; reads ahead when not kept."""
        if self.kept:
            for rows in order:
                yield rows, self.float(rows)
            return
        queue: Queue[tuple[NDArray[np.int64], Tensor] | BaseException | None] = Queue(maxsize=2)
        stop = False

        def read_ahead() -> None:
            try:
                for rows in order:
                    if stop:
                        return
                    queue.put((rows, self.float(rows)))
                queue.put(None)
            except BaseException as error:  # noqa: BLE001 - handed to the thread that trains
                queue.put(error)

        reader = Thread(target=read_ahead, daemon=True)
        reader.start()
        try:
            while (item := queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop = True
            while reader.is_alive():
                if not queue.empty():
                    queue.get_nowait()
                reader.join(timeout=0.01)


def embed(
    forward: Callable[[Tensor], Tensor],
    images: Images,
    rows: Array | None = None,
    *,
    network: nn.Module | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """``forward`` of all rows in evaluation mode, without gradients: ``(n, ...)`` on the CPU.

    The network's mode is restored afterwards: a refresh in the middle of an epoch must not
    leave batch-norm frozen for the rest of it.
    """
    rows = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
    side = max(1, images.channels * math.prod(images.size)) if images.channels else 64
    block = max(1, min(PIXELS_A_BLOCK // side, 4096))
    was_training = network.training if network is not None else False
    if network is not None:
        network.eval()
    out: list[Tensor] = []
    try:
        with torch.inference_mode():
            order = batches(rows, block, np.random.default_rng(0), shuffle=False)
            for _, x in images.stream(order):
                out.append(forward(x).float().cpu())
    finally:
        if network is not None:
            network.train(was_training)
    # cloned out of inference mode, so that autograd may use it as a constant
    return torch.cat(out).clone() if out else torch.empty(0)


def check_finite(losses: Mapping[str, Tensor], *, stage: str, step: int, lr: float) -> None:
    """Stop early and readably when a loss is NaN or infinite."""
    for name, value in losses.items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"the loss {name!r} became {value.detach().sum().item()} at step {step} of {stage}:"
                f" lower the learning rate (now {lr:g}) or choose a bounded form of the loss"
            )


class Meter:
    """Running means of losses and the count of images, without a synchronisation a step."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0
        self.images = 0
        self.started = time.perf_counter()

    def add(self, images: int, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            value = value.detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.steps += 1
        self.images += images

    def means(self) -> dict[str, float]:
        return {name: float(total) / max(self.steps, 1) for name, total in self.sums.items()}

    def restart(self) -> None:
        """Begin a new window of means; images and seconds go on."""
        self.sums, self.steps = {}, 0

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.started


def ema(average: nn.Module, network: nn.Module, decay: float) -> None:
    """``average <- decay average + (1 - decay) network``; buffers are copied."""
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(weight, 1 - decay)
        for mine, theirs in zip(average.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)


def weights_of(network: nn.Module, prefix: str = "") -> Weights:
    """All parameters and buffers as numpy arrays, names prefixed: safetensors-able."""
    state = network.state_dict()
    return {prefix + k: v.detach().cpu().contiguous().numpy().copy() for k, v in state.items()}


def load_weights(network: nn.Module, state: Mapping[str, Array], prefix: str = "") -> None:
    """Put arrays from `weights_of` back; an array of another shape is an error."""
    own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    try:
        network.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in own.items()})
    except RuntimeError as error:
        raise InputError(
            "these weights are of another network: use the recipe, image size and class list"
            " that they were trained with"
        ) from error


def pretrain_autoencoder(
    network: nn.Module,
    images: Images,
    *,
    epochs: int,
    rng: Generator,
    progress: Progress,
    steps: int | None = None,
    lr: float = 1e-3,
    batch_size: int = 256,
    augment: Augment | None = None,
    precision: Precision = "32-true",
    devices: int = 1,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, float]:
    """Train a network whose ``forward(x)`` gives ``(z, x_hat)`` on ``mean (x - x_hat)^2``.

    Adam, all rows of the pool, shuffled, no label; ends after ``epochs`` or ``steps``,
    whichever comes first.  Returns the last epoch's mean ``mse``, the ``variance`` of the
    pixels (the error of the mean image) and ``images`` that passed.  A ratio above 0.9
    means a dead auto-encoder and is logged as a warning.
    """
    accelerator = fabric(precision, devices)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    model, optimizer = accelerator.setup(network, optimizer)
    draws = torch_generator(rng)
    n, meter, step = len(images), Meter(), 0
    a_epoch = max(1, math.ceil(n / batch_size))
    epochs = min(epochs, math.ceil(steps / a_epoch)) if steps is not None else epochs
    spread = variance(images, prepare)
    network.train()
    with progress.task("pre-training", epochs * n) as task:
        for epoch in range(epochs):
            meter.restart()
            for rows, x in images.stream(batches(n, batch_size, rng)):
                x = prepare(x) if prepare is not None else x
                x = augment(x, draws) if augment is not None else x
                _, x_hat = model(x)
                loss = (x_hat - x).square().mean()
                optimizer.zero_grad(set_to_none=True)
                accelerator.backward(loss)
                optimizer.step()
                step += 1
                meter.add(len(rows), {"rec": loss})
                task.advance(len(rows))
                if step % 50 == 0 or epoch == 0:
                    check_finite({"rec": loss}, stage="pre-training", step=step, lr=lr)
            check_finite(meter.sums, stage="pre-training", step=step, lr=lr)
            progress.log("pre-training", step, rec=meter.means()["rec"], variance=spread)
    mse = meter.means().get("rec", math.nan)
    if spread > 0 and mse / spread > 0.9:
        log.warning(
            "the auto-encoder is nearly dead: its error %.4f is %.0f %% of the images' variance",
            mse,
            100 * mse / spread,
        )
    return {"mse": mse, "variance": spread, "images": float(meter.images)}


def variance(
    images: Images, prepare: Callable[[Tensor], Tensor] | None = None, *, most: int = 4096
) -> float:
    """The error of predicting the mean image, over evenly spread rows."""
    x = images.float(np.linspace(0, len(images) - 1, min(most, len(images))).astype(np.int64))
    x = prepare(x) if prepare is not None else x
    return float((x - x.mean(dim=0)).square().mean())
