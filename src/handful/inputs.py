"""What a network trains on: the cached vectors of a frozen backbone, or images through it.

::

    frozen      G stands still: vectors of the pool once, from a cache; a step costs a product
    finetune    G trains as well: images, flipped and cropped a little, batch after batch
    auto        finetune where torch sees a GPU and the images need a backbone, else frozen

A learner asks for rows and gets what its network takes, whichever way it is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn

from handful import features
from handful.augment import AUGMENTS, Kind
from handful.errors import InputError, RecipeError
from handful.features import FeatureOptions, FeatureSpace
from handful.networks.backbones import Backbone, backbone, resize
from handful.progress import Progress
from handful.training import Images, Precision, device_for, torch_generator
from handful.types import Array, Pool

__all__ = ["WAYS", "InputOptions", "Inputs", "Way"]

Way: TypeAlias = Literal["frozen", "finetune"]
WAYS: tuple[Way, ...] = ("frozen", "finetune")
Ints: TypeAlias = NDArray[np.int64]
Matrix: TypeAlias = NDArray[np.float32]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputOptions(FeatureOptions):
    """What the network stands on, and whether the backbone trains with it."""

    train: Literal["auto", "frozen", "finetune"] = "auto"  # auto: finetune on a GPU
    train_aug: Literal["weak", "none"] = "weak"  # of finetune: flip and crop; not of gray images
    precision: Precision = "32-true"  # of finetune; bf16-mixed is faster where it is at home
    devices: int = 1  # GPUs of this machine to split a batch over


class Inputs:
    """Rows of a pool, or new images, as what a network takes; on the device where it trains."""

    def __init__(self, options: InputOptions) -> None:
        self.options = options
        self.way: Way | None = None  # settled by the first pool: the weights depend on it
        self._space = FeatureSpace(options)
        self._pool: Pool | None = None
        self._x: Matrix = np.empty((0, 0), dtype=np.float32)
        self._images: Images | None = None
        self._body: Backbone | None = None

    @property
    def device(self) -> torch.device:
        return device_for(self.options.precision, self.options.devices)

    def __len__(self) -> int:
        return len(self._pool) if self._pool is not None else 0

    def attach(self, pool: Pool, progress: Progress | None = None) -> bool:
        """Read a pool, once for as long as it is the same; True when it is another one."""
        if self._pool is pool:
            return False
        self.way = self.way or self._settle(pool)
        if self.way == "finetune":
            self._images = Images(pool, device=self.device, progress=progress)
        else:
            self._x = self._space.vectors(pool, progress)
        self._pool = pool
        return True

    def _settle(self, pool: Pool) -> Way:
        o = self.options
        if o.train == "finetune" and pool.features is not None:
            raise RecipeError("train = 'finetune' needs images and this pool holds ready features")
        if o.train != "auto":
            return o.train
        if self._space.kind(pool.channels, pool.size) != "backbone":
            log.info("train = auto: frozen, since these vectors need no backbone")
            return "frozen"
        gpu = self.device.type != "cpu"
        log.info(
            "train = auto: %s",
            "finetune, since torch sees a GPU" if gpu else "frozen, since torch sees no GPU",
        )
        return "finetune" if gpu else "frozen"

    def body(self) -> nn.Module:
        """What stands in front of the trained layers: a backbone that trains, or nothing."""
        if self.way != "finetune":
            return nn.Identity()
        o = self.options
        self._body = backbone(o.backbone, weights=o.backbone_weights, device=self.device)
        return self._body

    def vectors(self, progress: Progress | None = None) -> Matrix:
        """``(n, p)`` of the attached pool as the untrained body gives them; perhaps read-only."""
        if self.way != "finetune" or self._pool is None:
            return self._x
        space = FeatureSpace(replace(self.options, features="backbone"))
        return space.vectors(self._pool, progress)

    def __call__(self, rows: Ints) -> Tensor:
        """These rows as they are."""
        if self._images is not None:
            return self._sized(self._images.float(rows))
        # a copy of the batch alone: the matrix may be a read-only map of a file
        return torch.from_numpy(np.take(self._x, rows, axis=0)).to(self.device)

    def seen(self) -> Callable[[Ints], Tensor]:
        """Rows -> what the untrained body makes of them, whichever way it is."""
        x = self.vectors()
        return lambda rows: torch.from_numpy(np.take(x, rows, axis=0)).to(self.device)

    def training(self, rng: Generator) -> Callable[[Ints], Tensor]:
        """Rows -> what to train on: images anew each time, vectors as they are."""
        images = self._images
        if images is None:
            return self
        gray = images.channels == 1  # signs are not flipped
        kind: Kind = "none" if self.options.train_aug == "none" or gray else "photo"
        augment, draws = AUGMENTS[kind], torch_generator(rng)
        return lambda rows: augment(self(rows), draws)

    def embed(
        self, forward: Callable[[Tensor], Tensor], m: int, images: Array | None = None
    ) -> Matrix:
        """``forward`` of every row of the pool, or of new images, in blocks: ``(n, m)``.

        New images are uint8 ``(B, C, H, W)``, or vectors where the pool holds ready features.
        """
        if images is None:
            form = self._x.shape[1:] if self._images is None else self._images.size
            return self._blocks(forward, self, (len(self), m), form)
        x = np.asarray(images) if self.way == "finetune" else self._space.encode(images)
        if self.way == "finetune" and (x.ndim != 4 or x.dtype != np.uint8):
            raise InputError(f"images of {x.dtype} {x.shape}: give uint8 (B, C, H, W)")

        def read(rows: Ints) -> Tensor:
            piece = torch.from_numpy(np.take(x, rows, axis=0)).to(self.device)
            return self._sized(Images.scale(piece)) if self.way == "finetune" else piece

        return self._blocks(forward, read, (len(x), m), x.shape[2:] or x.shape[1:])

    def _blocks(
        self,
        forward: Callable[[Tensor], Tensor],
        read: Callable[[Ints], Tensor],
        shape: tuple[int, int],
        form: tuple[int, ...],
    ) -> Matrix:
        """Rows of ``form``: vectors ``(p,)`` or images ``(h, w)``."""
        out = np.empty(shape, dtype=np.float32)
        if self.way == "finetune":
            form = self._body_of().output_size((form[0], form[1]), self.options.image_size)
            pieces = features.batches(np.arange(len(out)), features.at_once(form, self.device))
        else:
            pieces = features.blocks(len(out), math.prod(form))
        with torch.inference_mode():
            for rows in pieces:
                out[rows] = forward(read(rows)).float().cpu().numpy()
        return out

    def _sized(self, x: Tensor) -> Tensor:
        """Images in [0, 1] at the side that the backbone works with."""
        size = self._body_of().output_size((x.shape[2], x.shape[3]), self.options.image_size)
        return resize(x, size)

    def _body_of(self) -> Backbone:
        if self._body is None:
            raise InputError("these images have no backbone yet: call fit or load first")
        return self._body
