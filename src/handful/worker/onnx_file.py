"""The model as ONNX: pixels in, probabilities out, for programs that know nothing of handful.

::

    images        uint8 (n, C, H, W), of the one size that the metadata name
    probability   float32 (n, K); the classes, in order, stand in the metadata
    unlike        bool (n,): unlike anything that the model has seen

Whoever calls it brings a picture into that form (as `handful predict` does: turned by its EXIF,
on white, resized).  The file is checked against the model that it was made from before it is
written.  Needs the extra ``handful[onnx]``.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handful.errors import InputError
from handful.store.files import write_whole
from handful.worker.encoders import (
    DIRECTIONS,
    PIXELS,
    AutoEncoded,
    Encoder,
    Pretrained,
    Strokes,
)
from handful.worker.modelfile import ModelFile

__all__ = ["LARGEST_DIFFERENCE", "OnnxModel", "as_onnx", "sample", "write_onnx"]

LARGEST_DIFFERENCE = 1e-4
_TRIED = 16  # pictures
_OPSET = 18
_FLAT = 1e-9


class OnnxModel(nn.Module):
    """`ModelFile` as one network: encoder, projection, layer, distances to what was seen."""

    def __init__(self, model: ModelFile) -> None:
        super().__init__()
        arrays, card = model.arrays, model.card
        self.encoder = _twin(model.encoder)
        for name in ("mean", "projection", "references"):
            self.register_buffer(name, torch.from_numpy(arrays[name].astype(np.float32)))
        T = float(card["temperature"])
        self.register_buffer("W", torch.from_numpy((arrays["W"] / T).astype(np.float32)))
        self.register_buffer("b", torch.from_numpy((arrays["b"] / T).astype(np.float32)))
        self.floor = float(card["floor"])
        self.away, self.off = float(card["unlike"]["away"]), float(card["unlike"]["off"])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        centred = _unit(self.encoder(images)) - self.get_buffer("mean")
        held = centred @ self.get_buffer("projection")
        u = _unit(held)
        p = torch.softmax(u @ self.get_buffer("W").T + self.get_buffer("b"), dim=1)
        p = (1 - self.floor) * p + self.floor / p.shape[1]
        references = self.get_buffer("references")
        d2 = 2 - 2 * u @ references.T + (references.square().sum(dim=1) - 1)
        away = d2.amin(dim=1).clamp(min=0).sqrt()
        length = centred.square().sum(dim=1)
        left = (length - held.square().sum(dim=1)).clamp(min=0)
        off = (left / length.clamp(min=1e-12)).sqrt()
        return p, (away > self.away) | (off > self.off)


def _unit(x: Tensor) -> Tensor:
    return x / x.square().sum(dim=1, keepdim=True).sqrt().clamp(min=1e-12)


def _twin(encoder: Encoder) -> nn.Module:
    """The encoder as a network that takes uint8."""
    if isinstance(encoder, Strokes):
        return _StrokesNetwork(encoder)
    if isinstance(encoder, Pretrained):
        return encoder.space.backbone
    if isinstance(encoder, AutoEncoded):
        return _Latent(encoder)
    raise InputError("this model has no form in ONNX")


class _Latent(nn.Module):
    def __init__(self, encoder: AutoEncoded) -> None:
        super().__init__()
        self.network = encoder.space.network.cpu().eval()

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.network.encode(images.float() / 255)
        return z


class _StrokesNetwork(nn.Module):
    """Strokes: every filter is linear along each axis, hence a matrix from the left and right.

    In float64: the root at the end would make a difference of rounding in flat parts visible.
    """

    def __init__(self, encoder: Strokes) -> None:
        super().__init__()
        plain = (encoder.height, encoder.across)
        for name, n, size in zip(("h", "w"), plain, encoder.looked_at, strict=True):
            for what, matrix in _filters(n, size).items():
                self.register_buffer(f"{what}_{name}", torch.from_numpy(matrix))

    def forward(self, images: Tensor) -> Tensor:
        x = images.double() / 255
        gray, of = x.mean(dim=1), self.get_buffer
        dy = of("slope_h") @ gray @ of("smooth_w").T
        dx = of("smooth_h") @ gray @ of("slope_w").T
        strength = (dy.square() + dx.square()).sqrt()
        strength = torch.where(strength > _FLAT, strength, 0.0)  # rounding is no stroke
        angle = torch.atan2(dy.float(), dx.float()).double()  # runtimes have it for float32
        turn = torch.remainder(angle * (DIRECTIONS / (2 * np.pi)), DIRECTIONS)
        cells = []
        for k in range(DIRECTIONS):
            d = (turn - k).abs()
            share = (1 - torch.minimum(d, DIRECTIONS - d)).clamp(min=0)
            cells.append(of("cells_h") @ (strength * share) @ of("cells_w").T)
        drawn = torch.stack(cells, dim=3).flatten(1).clamp(min=0).sqrt()
        both = torch.cat([_unit(drawn), PIXELS * _unit(x.flatten(1))], dim=1)
        return both.float()


def _filters(n: int, size: int) -> dict[str, NDArray[np.float64]]:
    """What `strokes` does along one axis, as matrices: what it does to the unit vectors."""
    from scipy.ndimage import gaussian_filter1d, zoom

    x = np.eye(n)
    if size != n:
        x = zoom(x, (size / n, 1), order=1, grid_mode=True, mode="nearest")
    smooth = gaussian_filter1d(x, 0.5, axis=0)
    cells = gaussian_filter1d(np.eye(size), 1.0, axis=0)[1::2]
    return {"smooth": smooth, "slope": np.gradient(smooth, axis=0), "cells": cells}


def as_onnx(model: ModelFile) -> bytes:
    """The bytes of an ONNX file that agrees with the model to 1e-4.

    `InputError` where the extra is not installed, or the two differ.
    """
    run = _runtime()
    network = OnnxModel(model).eval()
    layout = model.encoder.layout(160, 160)
    shape = (2, layout.channels, *layout.size)
    with torch.inference_mode(), _quiet():
        program = torch.onnx.export(
            network, (torch.zeros(shape, dtype=torch.uint8),), input_names=["images"],
            output_names=["probability", "unlike"], opset_version=_OPSET, dynamo=True,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), verbose=False,
        )  # fmt: skip
    if program is None:
        raise InputError("this model has no form in ONNX: use model.handful")
    body = _told(program.model_proto, model, shape)
    _agree(run(body), model, shape)
    return body


def write_onnx(path: Path, model: ModelFile) -> int:
    """Write the file; its size in bytes."""
    body = as_onnx(model)
    write_whole(path, body)
    return len(body)


def _runtime() -> Callable[[bytes], Any]:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"ONNX needs the package {error.name}: pip install 'handful[onnx]'"
        ) from error

    def run(body: bytes) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(body, options, providers=["CPUExecutionProvider"])

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _told(made: Any, model: ModelFile, shape: tuple[int, ...]) -> bytes:
    """The bytes of a graph, with the card and the form of the pictures in its metadata."""
    import onnx

    classes = [name for _, name in model.classes]
    said = {
        "classes": json.dumps(classes, ensure_ascii=False),
        "images": json.dumps({"dtype": "uint8", "shape": ["n", *shape[1:]], "order": "CHW"}),
        "card": json.dumps(dict(model.card), sort_keys=True, ensure_ascii=False),
    }
    onnx.helper.set_model_props(made, said)
    whole: bytes = made.SerializeToString()
    return whole


def _agree(session: Any, model: ModelFile, shape: tuple[int, ...]) -> None:
    """`InputError` when the file says something else than the model, on noise and on shapes."""
    images = sample(shape)
    p, _ = session.run(None, {"images": images})
    wanted, _ = model.judge(model.encoder.encode(images))
    worst = float(np.abs(p - wanted).max())
    if not worst <= LARGEST_DIFFERENCE:
        raise InputError(f"the ONNX file differs from the model by {worst:.2g}: use model.handful")


def sample(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Pictures that try a model: noise, patterns, all black, all white."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (_TRIED, *shape[1:]), dtype=np.uint8)
    images[0], images[1] = 0, 255
    for n in range(2, _TRIED // 2):
        h, w = shape[2:]
        images[n] = 255 * (np.add.outer(np.arange(h), n * np.arange(w)) % h < h // 2)
    return images
