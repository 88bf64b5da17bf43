"""Pool -> matrix: the vectors that learners without a network of their own stand on.

Ready features are taken as they are, small gray images as their pixels in [0, 1], row after
row, all others as what a pretrained encoder makes of them: computed once, kept on disk and
memory-mapped.  Everything is read in blocks, so a pool on disk is never whole in memory as
floats unless the caller keeps it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handful.cache import FeatureCache
from handful.errors import InputError, RecipeError
from handful.networks.backbones import Backbone, backbone, resize
from handful.progress import Progress
from handful.training import device_for
from handful.types import Array, Pool

__all__ = [
    "FeatureOptions",
    "FeatureSpace",
    "Kind",
    "at_once",
    "batches",
    "blocks",
    "check",
    "flat",
    "moments",
    "vectors",
    "width",
]

Kind: TypeAlias = Literal["auto", "pixels", "features", "backbone"]
BLOCK_BYTES = 64 << 20
GRAY_SIDE = 48  # gray images up to this side are their pixels, with "auto"
BATCH_PIXELS = 16 * 160 * 160  # of one forward pass on a CPU: larger ones are slower an image
T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True)
class FeatureOptions:
    """What a learner stands on; mixed into the options of the learners that have no network."""

    features: Kind = "auto"  # ready ones; gray up to 48 pixels: pixels; else the backbone
    backbone: str = "lite0"  # lite0 lite1 lite2, convnext-nano, small, timm:NAME
    backbone_weights: str | None = None  # a .safetensors or .pth file, or "random"
    image_size: int | None = None  # side in pixels; None: the backbone's own (lite: 160)
    bf16: bool = False  # half the time where the processor has it, features to 2 digits


class FeatureSpace:
    """Images -> vectors as the options say; the same for a pool and for new images.

    ``vectors(pool)`` gives all rows, ``encode(images)`` those of uint8 ``(B, C, H, W)`` (or
    of ready features, as they are).  New images come in the form in which the pool gives
    its own, so both see the same pixels.  The encoder is loaded when it is first needed and
    runs in evaluation mode, never trained here.
    """

    def __init__(self, options: FeatureOptions | None = None, *, cache: Path | None = None) -> None:
        self.options = options or FeatureOptions()
        self._cache = cache
        self._backbone: Backbone | None = None
        self._digest = ""
        self._width: int | None = None
        self._said = ""
        self._last: tuple[Pool, NDArray[np.float32]] | None = None

    def kind(self, channels: int, size: tuple[int, int]) -> Kind:
        """What stands for images of this form; 0 channels: ready features."""
        if self.options.features != "auto":
            return self.options.features
        if channels == 0:
            return "features"
        return "pixels" if channels == 1 and max(size) <= GRAY_SIDE else "backbone"

    def attach(self, pool: Pool) -> None:
        """Check that this pool has what the options ask for, and set ``width``."""
        check(pool, self.options.features)
        kind = self.kind(pool.channels, pool.size)
        if kind == "backbone":
            net, (h, w) = self.backbone, self._form(pool.size)
            self._width = net.width
            self._said = f"{net.name} ({net.weights}) at {h} x {w} pixels, {net.width:,} numbers"
        else:
            self._width = width(pool)
            self._said = (
                f"{'pixels' if kind == 'pixels' else 'ready features'}, {self._width:,} numbers"
            )

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        if self._width is None:
            raise InputError("this feature space has seen no images yet: call vectors or encode")
        return self._width

    def describe(self) -> str:
        """Where the numbers come from, in words: for reports."""
        return self._said or "no images seen yet"

    @property
    def backbone(self) -> Backbone:
        """The encoder, on the device where it runs."""
        if self._backbone is None:
            o = self.options
            self._backbone = backbone(
                o.backbone, weights=o.backbone_weights, device=device_for()
            ).requires_grad_(False)
            self._digest = self._backbone.digest  # once: nothing changes its weights here
        return self._backbone

    def vectors(
        self, pool: Pool, progress: Progress | None = None, rows: Array | None = None
    ) -> NDArray[np.float32]:
        """The vectors of these rows (default: all), ``(m, d) float32``; perhaps read-only.

        The backbone's are computed once a pool and kept on disk; the matrix of the last pool
        stays at hand.  Cost: one forward pass an image that the cache does not hold.
        """
        self.attach(pool)
        if self.kind(pool.channels, pool.size) != "backbone":
            return vectors(pool, rows)
        if self._last is None or self._last[0] is not pool:
            self._last = (pool, self._encoded(pool, progress))
        matrix = self._last[1]
        return matrix if rows is None else matrix[np.asarray(rows, dtype=np.int64)]

    def encode(self, images: Array) -> NDArray[np.float32]:
        """Vectors ``(B, d)`` of new images uint8 ``(B, C, H, W)``; ready features as they are."""
        x = np.asarray(images)
        if x.ndim != 4 or self.kind(x.shape[1], (x.shape[2], x.shape[3])) != "backbone":
            return flat(x)
        if x.dtype != np.uint8 or x.shape[1] not in (1, 3):
            raise InputError(f"images of {x.dtype} {x.shape}: give uint8 (B, C, H, W), gray or RGB")
        form = self._form((x.shape[2], x.shape[3]))
        out = np.empty((len(x), self.backbone.width), dtype=np.float32)
        for rows in batches(np.arange(len(x)), self._at_once(form)):
            out[rows] = self._forward(resize(torch.from_numpy(x[rows]), form))
        return out

    def _form(self, size: tuple[int, int]) -> tuple[int, int]:
        return self.backbone.output_size(size, self.options.image_size)

    def _at_once(self, form: tuple[int, int]) -> int:
        return at_once(form, next(self.backbone.parameters()).device)

    def _encoded(self, pool: Pool, progress: Progress | None) -> NDArray[np.float32]:
        net, form = self.backbone, self._form(pool.size)
        encoder = {
            "backbone": net.name,
            "weights": self._digest,
            "mean": net.mean,
            "deviation": net.deviation,
            "resize": "bicubic, antialiased",
            "from": [pool.channels, *pool.size],
            "to": list(form),
            "bf16": self.options.bf16,
        }
        cache = FeatureCache(encoder, self._cache)
        return cache.matrix(pool, lambda rows: self._pieces(pool, rows, form), net.width, progress)

    def _pieces(
        self, pool: Pool, rows: NDArray[np.int64], form: tuple[int, int]
    ) -> Iterator[NDArray[np.float32]]:
        """Vectors of these rows, batch by batch; a thread reads and resizes the next ones."""

        def read(batch: NDArray[np.int64]) -> Tensor:
            return resize(torch.from_numpy(pool.read(batch)), form)

        for images in _ahead(read, batches(rows, self._at_once(form))):
            yield self._forward(images)

    def _forward(self, images: Tensor) -> NDArray[np.float32]:
        net = self.backbone
        device = next(net.parameters()).device
        half = torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.options.bf16)
        with torch.inference_mode(), half:
            found: NDArray[np.float32] = net(images.to(device)).float().cpu().numpy()
        return found


def at_once(form: tuple[int, ...], device: torch.device) -> int:
    """Images ``(h, w)`` of one forward pass: a power of two, at most 256.

    Batches then end where the blocks of the cache end.
    """
    most = BATCH_PIXELS * (1 if device.type == "cpu" else 32) // max(1, math.prod(form))
    return int(2 ** min(8, max(0, most.bit_length() - 1)))


def batches(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """``rows`` in pieces of ``size``, the last one shorter."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _ahead(work: Callable[[T], S], pieces: Iterable[T], *, depth: int = 2) -> Iterator[S]:
    """``work`` of every piece, in order, done in a thread up to ``depth`` pieces ahead."""
    thread = ThreadPoolExecutor(1)
    waiting: deque[Future[S]] = deque()
    try:
        for piece in pieces:
            waiting.append(thread.submit(work, piece))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        thread.shutdown(wait=True, cancel_futures=True)


def check(pool: Pool, kind: Kind = "auto") -> None:
    """Raise where a pool has not what is asked for, or has features with NaN or inf."""
    if kind == "features" and pool.features is None:
        raise RecipeError("features = 'features' needs ready features and this pool holds images")
    if kind in ("pixels", "backbone") and pool.features is not None:
        raise RecipeError(f"features = {kind!r} needs images and this pool holds ready features")
    if pool.features is None:
        return
    for rows in blocks(len(pool), pool.features.shape[1]):
        bad = np.flatnonzero(~np.isfinite(pool.features[rows]).all(axis=1))
        if len(bad):
            raise InputError(
                f"the features of {pool.ids[int(rows[bad[0]])]!r} hold NaN or inf:"
                " leave such rows out or compute them again"
            )


def width(pool: Pool) -> int:
    """Numbers in one vector."""
    if pool.features is not None:
        return int(pool.features.shape[1])
    return pool.channels * math.prod(pool.size)


def blocks(n: int, width: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers 0..n-1 in pieces of at most 64 MB of float32."""
    size = max(1, BLOCK_BYTES // (4 * max(1, width)))
    for start in range(0, n, size):
        yield np.arange(start, min(n, start + size))


def flat(images: Array) -> NDArray[np.float32]:
    """Images uint8 ``(B, C, H, W)`` -> pixels in [0, 1] ``(B, C H W)``; vectors as they are."""
    x = np.asarray(images)
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
    return np.ascontiguousarray(x.reshape(len(x), math.prod(x.shape[1:])), dtype=np.float32)


def vectors(pool: Pool, rows: Array | None = None) -> NDArray[np.float32]:
    """The vectors of these rows (default: all), ``(m, d) float32``."""
    rows = np.arange(len(pool)) if rows is None else np.asarray(rows, dtype=np.int64)
    d = width(pool)
    out = np.empty((len(rows), d), dtype=np.float32)
    for piece in blocks(len(rows), d):
        some = rows[piece]
        out[piece] = flat(pool.read(some) if pool.features is None else pool.features[some])
    return out


def moments(
    pool: Pool, space: FeatureSpace | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every column over the whole pool; constant columns get 1.

    Two passes in float64: the one-pass form loses all digits where the mean is large.
    """

    def read(rows: Array) -> NDArray[np.float32]:
        return vectors(pool, rows) if space is None else space.vectors(pool, rows=rows)

    n, d = len(pool), width(pool)
    if space is not None:
        space.attach(pool)
        d = space.width
    mean, square = np.zeros(d), np.zeros(d)
    for rows in blocks(n, d):
        mean += read(rows).sum(axis=0, dtype=np.float64)
    mean /= max(n, 1)
    for rows in blocks(n, d):
        square += np.square(read(rows) - mean).sum(axis=0)
    deviation = np.sqrt(square / max(n, 1))
    return mean, np.where(deviation > 1e-6, deviation, 1.0)
