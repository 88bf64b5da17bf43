"""From pixels to vectors: what a picture looks like, in numbers.

::

    glance       16 x 16 pixels in colour: for near-duplicates
    pixels       strokes: how strongly the brightness changes in 8 directions, cell by cell,
                 and the pixels themselves; for pictures of small true size
    autoencoder  the latent vector of a convolutional auto-encoder trained on these pictures
    lite0 ...    a pretrained encoder; for photos

``about`` is all that decides an encoder's output, so that it names what is kept.

Strokes: gradients after a blur of half a pixel, their direction dealt to the two nearest of 8,
blurred over a pixel, every second pixel kept, root taken, length 1: histograms of oriented
gradients without blocks (Dalal & Triggs, CVPR 2005).  Against plain or standardised pixels and
the auto-encoder, see ``benchmarks/looks.py``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry import unit_rows
from handful.pool import ArrayPool
from handful.pool.decode import Layout
from handful.progress import Progress
from handful.rng import rng_for
from handful.types import RowIds, Weights
from handful.worker.pictures import Detail

if TYPE_CHECKING:
    from handful.latent import AutoEncoderOptions

__all__ = [
    "SOURCES", "AutoEncoded", "Encoder", "Glance", "Pretrained", "Source", "Strokes",
    "chosen", "opened", "small_form", "strokes",
]  # fmt: skip

Pixels: TypeAlias = NDArray[np.uint8]
Matrix: TypeAlias = NDArray[np.float32]
Source: TypeAlias = Literal["auto", "pixels", "autoencoder", "lite0", "lite1", "lite2"]
SOURCES: tuple[Source, ...] = ("auto", "pixels", "autoencoder", "lite0", "lite1", "lite2")
GLANCE = 16
SMALL = 48  # true sides up to this: the pixels themselves
LEAST, MOST = 16, 32  # longest side of what strokes look at
DIRECTIONS = 8
PIXELS = 0.25  # weight of the pixels beside the strokes
STRETCHED = 1.6  # longer pictures are not pressed into a square
SIDE = 160
MOSTLY = 0.95  # of a sample
LATENT = 32  # numbers of an auto-encoder


class Encoder(Protocol):
    """Pixels of one layout a picture -> vectors of one width."""

    kind: ClassVar[str]

    @property
    def width(self) -> int: ...
    @property
    def batch(self) -> int: ...  # pictures at once
    @property
    def about(self) -> Mapping[str, Any]: ...
    @property
    def words(self) -> str: ...
    def layout(self, width: int, height: int) -> Layout: ...
    def encode(self, images: Pixels) -> Matrix: ...
    def state(self) -> Weights: ...


@dataclass(frozen=True)
class Glance:
    """The picture in 16 x 16 pixels, as bytes."""

    kind: ClassVar[str] = "glance"
    width: int = 3 * GLANCE * GLANCE
    batch: int = 64

    @property
    def about(self) -> Mapping[str, Any]:
        return {"kind": self.kind, "side": GLANCE}

    @property
    def words(self) -> str:
        return "a first look at the pictures"

    def layout(self, width: int, height: int) -> Layout:
        return Layout(3, (GLANCE, GLANCE), (GLANCE, GLANCE))

    def encode(self, images: Pixels) -> Matrix:
        return np.asarray(images.reshape(len(images), -1), dtype=np.float32)

    def state(self) -> Weights:
        return {}


@dataclass(frozen=True)
class Strokes:
    """See above.  ``height`` and ``across`` are the true size, at most 32 the longer."""

    kind: ClassVar[str] = "pixels"
    gray: bool
    height: int
    across: int
    batch: int = 64

    @classmethod
    def of(cls, seen: Detail) -> Strokes:
        """For pictures that look like this."""
        return cls(seen.gray, *_within(seen, MOST))

    @property
    def width(self) -> int:
        h, w = self.looked_at
        return DIRECTIONS * (h // 2) * (w // 2) + self.height * self.across * self._channels

    @property
    def _channels(self) -> int:
        return 1 if self.gray else 3

    @property
    def looked_at(self) -> tuple[int, int]:
        scale = max(1.0, LEAST / max(self.height, self.across))
        return max(4, round(self.height * scale)), max(4, round(self.across * scale))

    @property
    def about(self) -> Mapping[str, Any]:
        form = {"gray": self.gray, "height": self.height, "across": self.across}
        return {"kind": self.kind, **form, "version": 1}

    @property
    def words(self) -> str:
        return f"the pixels and strokes of the pictures, {self.across} x {self.height}"

    def layout(self, width: int, height: int) -> Layout:
        size = (self.height, self.across)
        return Layout(self._channels, size, size)

    def encode(self, images: Pixels) -> Matrix:
        x = images.astype(np.float32) / 255
        drawn = strokes(x.mean(axis=1), self.looked_at)
        plain = unit_rows(x.reshape(len(x), -1)).astype(np.float32)
        return np.concatenate([drawn, PIXELS * plain], axis=1)

    def state(self) -> Weights:
        return {}


class Pretrained:
    """A pretrained encoder of photos, at 160 pixels; pictures are pressed into its square.

    One that is more than 1.6 times as long as wide keeps its form, its edges drawn out.
    """

    kind: ClassVar[str] = "backbone"

    def __init__(self, name: str = "lite0", batch: int = 16) -> None:
        from handful.features import FeatureOptions, FeatureSpace  # torch: only where needed

        self.name, self.batch = name, batch
        self.space = FeatureSpace(
            FeatureOptions(features="backbone", backbone=name, image_size=SIDE)
        )
        self.width: int = self.space.backbone.width

    @property
    def about(self) -> Mapping[str, Any]:
        net = self.space.backbone
        return {"kind": self.kind, "name": self.name, "weights": net.digest, "side": SIDE}

    @property
    def words(self) -> str:
        return f"the packaged encoder {self.name}, {SIDE} x {SIDE} pixels"

    def layout(self, width: int, height: int) -> Layout:
        longest = max(width, height)
        h, w = (
            max(1, round(SIDE * min(1.0, STRETCHED * side / longest))) for side in (height, width)
        )
        return Layout(3, (h, w), (SIDE, SIDE))

    def encode(self, images: Pixels) -> Matrix:
        return self.space.encode(images)

    def state(self) -> Weights:
        return {}


class AutoEncoded:
    """The latent vector of a convolutional auto-encoder; trained once, without a label."""

    kind: ClassVar[str] = "autoencoder"

    def __init__(self, gray: bool, height: int, across: int, weights: Weights) -> None:
        from handful.latent import LatentSpace

        self.gray, self.height, self.across, self.batch = gray, height, across, 256
        self.space = LatentSpace(_latent())
        self.weights = weights
        self.space.load(weights)
        self.width = LATENT

    @staticmethod
    def train(small: Pixels, progress: Progress) -> Weights:
        """Weights from pictures ``(n, C, H, W) uint8``: at most 1,500 steps."""
        from handful.latent import LatentSpace

        n, _, height, width = small.shape
        space = LatentSpace(_latent())
        layout = Layout(small.shape[1], (height, width), (height, width))
        space.attach(ArrayPool(small.transpose(0, 2, 3, 1), RowIds(n), layout))
        space.pretrain(rng_for(0, None, "auto-encoder"), progress)
        return space.state()

    @property
    def about(self) -> Mapping[str, Any]:
        digest = sha256()
        for name, array in sorted(self.weights.items()):
            digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
        form = {"gray": self.gray, "height": self.height, "across": self.across}
        return {"kind": self.kind, **form, "weights": digest.hexdigest()}

    @property
    def words(self) -> str:
        return f"an auto-encoder of these pictures, {self.across} x {self.height} pixels"

    def layout(self, width: int, height: int) -> Layout:
        size = (self.height, self.across)
        return Layout(1 if self.gray else 3, size, size)

    def encode(self, images: Pixels) -> Matrix:
        return np.asarray(self.space.encode(images).numpy(), dtype=np.float32)

    def state(self) -> Weights:
        return self.weights


def _latent() -> AutoEncoderOptions:
    from handful.latent import AutoEncoderOptions

    return AutoEncoderOptions(schedule="fast", embedding_dim=LATENT)


def strokes(x: Matrix, size: tuple[int, int]) -> Matrix:
    """Strokes of gray pictures ``(n, H, W)`` in [0, 1], brought to ``size`` first: unit rows."""
    from scipy.ndimage import gaussian_filter, zoom

    n, h, w = x.shape
    if size != (h, w):
        x = zoom(x, (1, size[0] / h, size[1] / w), order=1, grid_mode=True, mode="nearest")
    x = gaussian_filter(x, (0, 0.5, 0.5))
    dy, dx = np.gradient(x, axis=1), np.gradient(x, axis=2)
    turn = np.mod(np.arctan2(dy, dx) * np.float32(DIRECTIONS / (2 * np.pi)), DIRECTIONS)
    low = np.minimum(turn.astype(np.int64), DIRECTIONS - 1)
    share, strength = (turn - low)[..., None], np.hypot(dy, dx)[..., None]
    dealt = np.zeros((*x.shape, DIRECTIONS), dtype=np.float32)
    np.put_along_axis(dealt, low[..., None], strength * (1 - share), axis=3)
    high = np.mod(low + 1, DIRECTIONS)[..., None]
    np.put_along_axis(dealt, high, strength * share, axis=3)
    cells = gaussian_filter(dealt, (0, 1.0, 1.0, 0))[:, 1::2, 1::2]
    found: Matrix = unit_rows(np.sqrt(np.maximum(cells, 0)).reshape(n, -1)).astype(np.float32)
    return found


def chosen(source: Source, seen: list[Detail]) -> tuple[str, Detail]:
    """What "auto" means for a sample of pictures, and how these look: the medians.

    Gray ones of a true size up to 48 pixels are their pixels; all others go through the
    pretrained encoder.  Small pictures in colour too: enlarged, it tells them better.
    """
    if not seen:
        return ("lite0" if source == "auto" else source), Detail(False, SIDE, SIDE)
    gray = float(np.mean([d.gray for d in seen])) >= MOSTLY
    h, w = (int(np.median([getattr(d, side) for d in seen])) for side in ("height", "width"))
    small = float(np.mean([max(d.height, d.width) <= SMALL for d in seen])) >= MOSTLY
    look = Detail(gray, h, w)
    if source != "auto":
        return source, look
    return ("pixels" if gray and small else "lite0"), look


def opened(said: Mapping[str, Any], weights: Weights) -> Encoder:
    """The encoder that a model file describes; `InputError` where it is of no kind known here."""
    kind = said.get("kind")
    if kind == "pixels":
        return Strokes(bool(said["gray"]), int(said["height"]), int(said["across"]))
    if kind == "autoencoder":
        return AutoEncoded(
            bool(said["gray"]), int(said["height"]), int(said["across"]), dict(weights)
        )
    if kind == "backbone":
        encoder = Pretrained(str(said["name"]))
        if encoder.about["weights"] != said["weights"]:
            raise InputError(
                f"the model was made with other weights of {encoder.name}: install the version of"
                " handful that made it"
            )
        return encoder
    raise InputError(f"the model stands on {json.dumps(kind)}, which is not known here")


def _within(seen: Detail, most: int) -> tuple[int, int]:
    """Height and width of a picture inside a square, never enlarged."""
    scale = min(1.0, most / max(seen.height, seen.width))
    return max(1, round(seen.height * scale)), max(1, round(seen.width * scale))


def small_form(seen: Detail) -> tuple[bool, int, int]:
    """How an auto-encoder sees such pictures: gray, height, width."""
    height, across = (max(8, side) for side in _within(seen, MOST))
    return seen.gray, height, across
